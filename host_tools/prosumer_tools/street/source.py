"""What the clamps of every house see: profile → plant (battery, car, in closed loop) → waveform → modelled converter."""
import json
import math
import zlib

from prosumer_tools.emulator.adc import ModelledADC
from prosumer_tools.emulator.bus import ACTUATORS
from prosumer_tools.emulator.device import FrontEnd
from prosumer_tools.emulator.plant import Plant
from prosumer_tools.image import BOARDS

_Q_SHARE = 0.2    # reactive part of a household's load, inductive
_NOTHING = (0, 0, 0, 0, 0, 1)


def board_front_end(board="EMULATED"):
    return json.loads((BOARDS / board / "board.json").read_text())["front_end"]


class House:
    """One home's plant and converter."""

    def __init__(self, home, profiles, seed, window_ms=None):
        self.plant = Plant(home, profiles)
        self.channels = ["grid"] + [c for c, has in (("pv", home.pv_kwp), ("battery", home.battery), ("ev", home.ev)) if has]
        board = board_front_end()
        self.front_end = FrontEnd(board["rate_hz"], board["frames"], window_ms or board["window_ms"], 1 + len(self.channels))
        self.adc = ModelledADC(rate_hz=board["rate_hz"], bits=board["bits"], noise_lsb=board["noise_lsb"], skew_us=board["skew_us"],
                               inl_bow_lsb=board["inl_bow_lsb"], inl_s_lsb=board["inl_s_lsb"], v_full_scale=board["v_full_scale"],
                               i_full_scale=tuple(board["i_full_scale"][c] for c in self.channels),
                               seed=seed + zlib.crc32(home.name.encode()))
        self._taken = self._sums()
        self._taken_ms = self.plant.now_ms
        self.window_power_w = {c: 0.0 for c in self.channels}

    def _sums(self):
        s = self.plant.sums()
        return {"grid": s["import"] - s["export"], "pv": s["pv"], "battery": s["battery_in"] - s["battery_out"], "ev": s["ev"]}

    def advance(self, now_ms):
        if now_ms > self.plant.now_ms:
            self.plant.advance(now_ms)

    def samples(self, now_ms, since_ms=0):
        """A window with the mean powers since the last one, so that the energy it stands for is the plant's own.

        `since_ms`: when the meter took its last window or got its power; what passed before that it cannot know.
        """
        if since_ms > self._taken_ms:
            self.advance(since_ms)
            self._taken, self._taken_ms = self._sums(), self.plant.now_ms
        else:
            since_ms = self._taken_ms
        self.advance(now_ms)
        sums, covers_ms = self._sums(), now_ms - since_ms
        if now_ms > self._taken_ms:
            self.window_power_w = {c: (sums[c] - self._taken[c]) / (now_ms - self._taken_ms) / 1000 for c in self.channels}
            self._taken, self._taken_ms = sums, now_ms
        t = now_ms / 1000
        volts = 230 + 2 * math.sin(t / 4000) + 1.0 * math.sin(t / 611)
        hertz = round(50 + 0.02 * math.sin(t / 937), 2)
        loads = [(p, _Q_SHARE * abs(p) if c == "grid" else 0.0) for c, p in self.window_power_w.items()]
        return self.adc.window(t % 86400, self.front_end.frames_max, volts, hertz, loads), max(covers_ms, 0)

    def state(self, now_ms):
        """Six numbers for the bus: battery charge and capacity, car plugged, its need and deadline, relay."""
        self.advance(now_ms)
        s = self.plant.state(self.plant.now_ms)
        return (s.get("battery_soc_mwh", 0), s.get("battery_capacity_mwh", 0), int(s.get("ev_plugged", False)),
                s.get("ev_need_mwh", 0), s.get("ev_deadline_s", 0), 1)

    def battery_in_mwh(self, now_ms):
        """Net energy into the battery since the start."""
        self.advance(now_ms)
        s = self.plant.energy_mwh()
        return s["battery_in"] - s["battery_out"]

    def actuate(self, name_id, power_mw, now_ms):
        self.advance(now_ms)
        name = ACTUATORS[name_id]
        if name in self.channels:
            self.plant.set_power(name, power_mw, self.plant.now_ms)

    def devices(self):
        """The `devices` part of the meter's configuration."""
        home, out = self.plant.home, {}
        if home.battery:
            out["battery"] = {"capacity_mwh": round(home.battery.capacity_kwh * 1e6), "power_mw": round(home.battery.power_kw * 1e6),
                              "efficiency_permille": round(1000 * math.sqrt(home.battery.efficiency_percent / 100))}
        if home.ev:
            out["ev"] = {"power_mw": round(home.ev.power_kw * 1e6)}
        if home.pv_kwp:
            out["pv"] = {"peak_mw": round(home.pv_kwp * 1e6)}
        return out
