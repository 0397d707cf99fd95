"""A house's devices in closed loop: what the wires really carry, exactly integrated between changes.

    grid = load - pv + battery + ev        (import and charging positive)

Load and available PV come from the profile and are constant within its steps; the firmware moves the battery, the car's
charger and a limit on the PV through its actuators. Powers are integer milliwatts and energies integer mW x ms inside, so the
sums that a meter is judged against are exact; a battery loses its share of the round trip when it charges.
"""
MWH = 3_600_000          # mW x ms in a milliwatt-hour
_DAY_MS = 86_400_000
CHANNELS = ("grid", "pv", "battery", "ev")


class PlantError(ValueError):
    """An actuator that the house does not have, or a time that lies before the last."""


class Plant:
    """The devices of one home. All times are Unix milliseconds and never go back."""

    def __init__(self, home, profiles, heartbeat_ms=None):
        """home: street.Home; profiles: Profiles with a series of that name.

        heartbeat_ms: an actuator that is not set for so long falls back to its fail-safe value (battery rests, car charges
        at full power, PV runs free); None: the last setting holds.
        """
        self.home, self._profiles, self._heartbeat_ms = home, profiles, heartbeat_ms
        self.now_ms = profiles.start_s * 1000
        self._set = {}        # actuator -> (mW, since ms)
        battery, ev = home.battery, home.ev
        self._capacity = round(battery.capacity_kwh * 1e6) * MWH if battery else 0
        self._soc = self._capacity * battery.initial_percent // 100 if battery else 0
        self._efficiency = battery.efficiency_percent if battery else 100
        self._battery_max_mw = round(battery.power_kw * 1e6) if battery else 0
        self._ev_max_mw = round(ev.power_kw * 1e6) if ev else 0
        self._ev_need_full = round(ev.need_kwh * 1e6) * MWH if ev else 0
        self._ev_windows = self._windows() if ev else ()
        self._ev_got = {}     # index of window -> mW ms charged in it
        self._energy = dict.fromkeys(("load", "pv", "import", "export", "battery_in", "battery_out", "ev"), 0)
        self._summed_ms = self.now_ms          # the sums hold up to here; from here on _flow holds, until _until_ms
        self._look()

    # --- what the firmware does

    def set_power(self, name, mw, now_ms):
        """Sets an actuator: 'battery' (+ charges, - discharges), 'ev' (charging power), 'pv' (upper limit; None = free)."""
        self.advance(now_ms)
        has = {"battery": self.home.battery, "ev": self.home.ev, "pv": self.home.name in self._profiles.pv_mw}
        if not has.get(name):
            raise PlantError(f"{self.home.name} has no actuator {name!r}")
        self._sum_up(now_ms)
        if mw is None and name == "pv":
            self._set.pop(name, None)
            self._look()
            return
        most = self._battery_max_mw if name == "battery" else self._ev_max_mw if name == "ev" else 10**9
        least = -most if name == "battery" else 0
        self._set[name] = (max(least, min(int(mw), most)), now_ms)
        self._look()

    # --- what the firmware sees

    def powers_mw(self, now_ms):
        """Power per channel at now_ms, integer mW: grid (+ import), pv (generation), battery (+ charge), ev, load."""
        self.advance(now_ms)
        return dict(self._flow)

    def powers(self, now_ms):
        """powers_mw() in watts, for the waveform source."""
        return {name: mw / 1000 for name, mw in self.powers_mw(now_ms).items()}

    def state(self, now_ms):
        """What the devices themselves report, as a dict of ints and bools (only the keys of devices that are there)."""
        self.advance(now_ms)
        self._sum_up(now_ms)
        out = {}
        if self.home.battery:
            out.update(battery_soc_mwh=self._soc // MWH, battery_capacity_mwh=self._capacity // MWH,
                       battery_max_mw=self._battery_max_mw, battery_efficiency_percent=self._efficiency)
        if self.home.ev:
            i = self._window(now_ms)
            out.update(ev_plugged=i is not None, ev_max_mw=self._ev_max_mw,
                       ev_need_mwh=0 if i is None else self._ev_left(i) // MWH,
                       ev_deadline_s=0 if i is None else self._ev_windows[i][1] // 1000)
        return out

    def sums(self):
        """Energy since the start in mW x ms, exact: load, pv, import, export, battery_in, battery_out, ev."""
        self._sum_up(self.now_ms)
        return dict(self._energy)

    _sums = property(sums)

    def energy_mwh(self):
        """sums() in mWh, rounded down."""
        return {name: value // MWH for name, value in self.sums().items()}

    def ev_missing_mwh(self):
        """What the car still lacked when it left, over all departures so far; mWh."""
        self._sum_up(self.now_ms)
        return sum(self._ev_left(i) for i, (_, leave) in enumerate(self._ev_windows) if leave <= self.now_ms) // MWH

    # --- the passage of time

    def advance(self, now_ms):
        """Integrates up to now_ms."""
        if now_ms < self.now_ms:
            raise PlantError(f"time went back from {self.now_ms} to {now_ms} ms")
        while now_ms >= self._until_ms:
            self._sum_up(self._until_ms)
            self._look()
        self.now_ms = now_ms

    def next_event_ms(self):
        """When some power changes by itself next: a profile step, the car coming or leaving, a battery full or empty."""
        return self._until_ms

    def _look(self):
        """What flows from _summed_ms on, and how long that holds: looking often costs nothing in between."""
        self._flow = self._flows()
        self._until_ms = self._next_event(self._flow)

    def _sum_up(self, until_ms):
        self._integrate(self._flow, until_ms - self._summed_ms)
        self._summed_ms = until_ms

    def _flows(self):
        t = self._summed_ms
        last = self._profiles.end_s * 1000 - 1      # at the very end the last step still holds
        load, pv = (of(self.home.name, min(t, last)) for of in (self._profiles.load, self._profiles.pv))
        limit = self._setting("pv", None)
        if limit is not None:
            pv = min(pv, limit)
        battery = self._setting("battery", 0)
        if battery > 0 and (self._capacity - self._soc) * 100 < battery * self._efficiency:   # no room for another millisecond
            battery = 0
        elif battery < 0 and self._soc < -battery:
            battery = 0
        i = self._window(t)
        ev = self._setting("ev", self._ev_max_mw) if i is not None else 0
        if ev and self._ev_left(i) < ev:
            ev = 0
        return {"grid": load - pv + battery + ev, "pv": pv, "battery": battery, "ev": ev, "load": load}

    def _setting(self, name, fail_safe):
        mw, since = self._set.get(name, (fail_safe, None))
        if since is not None and self._heartbeat_ms is not None and self._summed_ms - since >= self._heartbeat_ms:
            return fail_safe
        return mw

    def _next_event(self, flows):
        t, step_ms = self._summed_ms, self._profiles.step_s * 1000
        start = self._profiles.start_s * 1000
        events = [start + ((t - start) // step_ms + 1) * step_ms]
        events += [edge for window in self._ev_windows for edge in window if edge > t]
        if self._heartbeat_ms is not None:
            events += [since + self._heartbeat_ms for _, since in self._set.values() if since + self._heartbeat_ms > t]
        if flows["battery"] > 0:
            events.append(t + max(1, (self._capacity - self._soc) * 100 // (flows["battery"] * self._efficiency)))
        elif flows["battery"] < 0:
            events.append(t + max(1, self._soc // -flows["battery"]))
        if flows["ev"]:
            events.append(t + max(1, self._ev_left(self._window(t)) // flows["ev"]))
        return min(events)

    def _integrate(self, flows, ms):
        sums = self._energy
        sums["load"] += flows["load"] * ms
        sums["pv"] += flows["pv"] * ms
        sums["import" if flows["grid"] > 0 else "export"] += abs(flows["grid"]) * ms
        if flows["battery"] > 0:
            sums["battery_in"] += flows["battery"] * ms
            self._soc = min(self._capacity, self._soc + flows["battery"] * ms * self._efficiency // 100)
        elif flows["battery"] < 0:
            sums["battery_out"] -= flows["battery"] * ms
            self._soc += flows["battery"] * ms
        if flows["ev"]:
            i = self._window(self._summed_ms)
            sums["ev"] += flows["ev"] * ms
            self._ev_got[i] = self._ev_got.get(i, 0) + flows["ev"] * ms

    # --- the car

    def _windows(self):
        """((from, until), ...) in ms for every local day that the profile touches."""
        offset = self._profiles.utc_offset_s * 1000
        start, end = self._profiles.start_s * 1000, self._profiles.end_s * 1000
        plug, leave = (s * 1000 for s in self.home.ev.window_s())
        first = (start + offset) // _DAY_MS * _DAY_MS - offset
        return tuple((day + plug, day + leave) for day in range(first, end, _DAY_MS) if day + leave > start)

    def _window(self, t_ms):
        for i, (plug, leave) in enumerate(self._ev_windows):
            if plug <= t_ms < leave:
                return i
        return None

    def _ev_left(self, i):
        return self._ev_need_full - self._ev_got.get(i, 0)
