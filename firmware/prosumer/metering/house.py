"""The sampling task: buffers from the front end in, registers that are already in flash out.

One metering interval a journal period; the sums of a slot are kept per role beside the registers, for the forecast.
"""
from micropython import const

from prosumer.metering.calibration import CLASSES
from prosumer.metering.meter import Meter
from prosumer.metering.registers import EnergyRegisters

_JOURNAL_MS = const(10000)


class House:
    """`hal`: rate_hz, frames_max, window_ms, read_window(buf); `channels`: ((name, role[, phase]), …) voltages first."""

    def __init__(self, hal, channels, calibration, folder, buffer=None):
        self.hal = hal
        self.meter = Meter(channels, hal.rate_hz, calibration)
        self.buffer = memoryview(buffer or bytearray(self.buffer_bytes(hal, channels)))[:self.buffer_bytes(hal, channels)]
        self.roles = [(c[0], c[1]) for c in channels if c[1] != "voltage"]
        names = []
        for name, role in self.roles:
            names += [name + "+", name + "-"]
        self.registers = EnergyRegisters(folder + "registers", names)
        self.calibration = calibration
        self._journal_ms, self._fresh = 0, False
        self.power_mw = {}  # role → newest mean power, signed as in meter
        self.open_slot()

    @staticmethod
    def buffer_bytes(hal, channels):
        return hal.frames_max * len(channels) * 2

    def open_slot(self):
        self.energy_mwh = {}  # role → net energy of this slot, positive as the role's sign
        self.uncertainty_mwh = self.flags = 0

    def sample(self, now_ms):
        """One buffer; true when a journal period ended with it and the registers are on flash."""
        frames, covers_ms = self.hal.read_window(self.buffer)
        if frames:
            self.meter.window(self.buffer, frames, covers_ms)
            self._fresh = True
        if now_ms - self._journal_ms < _JOURNAL_MS:
            return False
        self.journal(now_ms)
        return True

    def journal(self, now_ms):
        if not self._fresh:
            return  # nothing was sampled since
        self._journal_ms, self._fresh = now_ms, False
        interval = self.meter.close_interval()
        for name, role in self.roles:
            c = interval["channels"][name]
            self.registers.add(name + "+", c["import_mwh"])
            self.registers.add(name + "-", c["export_mwh"])
            self.power_mw[role] = c["active_power_mw"]
            self.energy_mwh[role] = self.energy_mwh.get(role, 0) + c["import_mwh"] - c["export_mwh"]
            if role == "grid":
                self.uncertainty_mwh += c["uncertainty_mwh"]
                self.voltage_mv, self.frequency_mhz = interval["voltage_mv"], interval["frequency_mhz"]
        self.flags |= interval["flags"]
        self.registers.journal()

    voltage_mv = frequency_mhz = 0

    def totals(self):
        """(import, export, generation) mWh since the meter was made: the grid clamps and the PV clamps, as journalled."""
        value = self.registers.durable
        grid = [n for n, role in self.roles if role == "grid"]
        pv = [n for n, role in self.roles if role == "pv"]
        return (sum([value(n + "+") for n in grid]), sum([value(n + "-") for n in grid]), sum([value(n + "+") for n in pv]))

    def accuracy(self):
        return CLASSES.index(self.calibration.accuracy)

    def consumption(self):
        """(consumption, generation) mWh of the slot so far, without battery and car."""
        e = self.energy_mwh
        generation = e.get("pv", 0)
        return e.get("grid", 0) + generation - e.get("battery", 0) - e.get("ev", 0), generation
