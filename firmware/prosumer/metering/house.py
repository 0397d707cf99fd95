"""The sampling task: buffers from the front end in, registers that are already in flash out.

One metering interval a journal period; the sums of a slot are kept per role beside the registers, for the forecast.
"""
from micropython import const

from prosumer.metering.calibration import CLASSES
from prosumer.metering.registers import EnergyRegisters
from prosumer.records import FLAG_GAP

_JOURNAL_MS = const(10000)
_CLAMP = const(64)  # flags.py
_TIME = "time"  # a register too: Unix ms of the newest journal, by which a restart knows for how long nobody counted


class House:
    """`hal`: rate_hz, frames_max, window_ms, read_window(buf), lost, out; `channels`: ((name, role[, phase]), …) voltages first.

    A board whose chip counts by itself has hal.meter(channels, calibration) too: what that returns is asked instead of a Meter."""

    def __init__(self, hal, channels, calibration, folder, buffer=None):
        self.hal = hal
        if hasattr(hal, "meter"):
            self.meter = hal.meter(channels, calibration)
        else:
            from prosumer.metering.meter import Meter  # which a board with a metering chip goes without
            self.meter = Meter(channels, hal.rate_hz, calibration)
        self.buffer = memoryview(buffer or bytearray(self.buffer_bytes(hal, channels)))[:self.buffer_bytes(hal, channels)]
        self.roles = [(c[0], c[1]) for c in channels if c[1] != "voltage"]
        names = []
        for name, role in self.roles:
            names += [name + "+", name + "-"]
        self.registers = EnergyRegisters(folder + "registers", names + [_TIME])
        # counted before: what came after the last journal is lost, and said to be
        self._gap = FLAG_GAP if self.registers.sequence > 2 else 0
        self._lost_ms = 0
        self.flags = 0  # of the newest slot
        self.calibration = calibration
        self._journal_ms = 0
        self.power_mw = {}  # role → newest mean power, signed as in meter
        self.open_slot()

    @staticmethod
    def buffer_bytes(hal, channels):
        return hal.frames_max * len(channels) * 2

    def open_slot(self):
        self.energy_mwh = {}  # role → net energy of this slot, positive as the role's sign
        self._counted = [(0, 0) for _ in self.roles]  # what of the open interval is in the registers

    def sample(self, now_ms):
        """One buffer; true when a journal period ended with it and the registers are on flash."""
        frames, covers_ms = self.hal.read_window(self.buffer)
        if self.hal.lost:
            self.meter.lost(self.hal.lost)
        if frames:
            self.meter.window(self.buffer, frames, covers_ms)
        out = self.hal.out
        for c in self.meter.clamps:
            if out & 1:
                c.flags |= _CLAMP
            out >>= 1
        if 0 <= now_ms + self.hal.window_ms - self._journal_ms <= _JOURNAL_MS:  # the next one comes early enough
            return False
        self._journal_ms = now_ms
        for i, (name, role) in enumerate(self.roles):
            self.power_mw[role] = self.meter.power_mw(role)
            self._count(i, *self.meter.clamps[i].so_far())
        then = self.registers.value(_TIME)
        if self._gap and then and not self._lost_ms:  # the first time after a restart
            self._lost_ms = max(1, now_ms - (covers_ms or self.hal.window_ms) - then)
        self.registers.add(_TIME, max(0, now_ms - then))
        self.registers.journal()
        return True

    def _count(self, i, imported, exported):
        name, role = self.roles[i]
        more = imported - self._counted[i][0], exported - self._counted[i][1]
        self._counted[i] = (imported, exported)
        self.registers.add(name + "+", more[0])
        self.registers.add(name + "-", more[1])
        self.energy_mwh[role] = self.energy_mwh.get(role, 0) + more[0] - more[1]

    def close_slot(self, slot_ms=3600000):
        """The slot's interval as meter.close_interval gives it; all of it is in the registers and on flash.

        Time in which nobody counted, as far as it lies in the slot, widens its uncertainty."""
        interval = self.meter.close_interval(self._lost_ms, slot_ms)
        self.flags = interval["flags"] = interval["flags"] | self._gap
        self._gap = self._lost_ms = 0
        for i, (name, role) in enumerate(self.roles):
            c = interval["channels"][name]
            self._count(i, c["import_mwh"], c["export_mwh"])
        self.registers.journal()
        return interval

    def uncertainty_mwh(self, interval):
        return sum([interval["channels"][name]["uncertainty_mwh"] for name, role in self.roles if role == "grid"])

    def totals(self):
        """(import, export, generation) mWh since the meter was made: the grid clamps and the PV clamps, as journalled."""
        return self._total("grid", "+"), self._total("grid", "-"), self._total("pv", "+")

    def _total(self, of, sign):
        return sum([self.registers.durable(name + sign) for name, role in self.roles if role == of])

    def accuracy(self):
        return CLASSES.index(self.calibration.accuracy)

    def consumption(self):
        """(consumption, generation) mWh of the slot so far, without battery and car."""
        e = self.energy_mwh
        generation = e.get("pv", 0)
        return e.get("grid", 0) + generation - e.get("battery", 0) - e.get("ev", 0), generation
