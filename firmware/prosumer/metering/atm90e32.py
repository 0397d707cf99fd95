"""Front end ATM90E32AS: a three-phase metering chip on SPI, continuous inside the chip. Readings have the shape of Meter's.

SPI: 32 clocks, mode 3: bit 15 of the first word says read, its low bits the register; the second word is the data. The
energy registers are cleared when they are read, so a garbled transfer would lose energy: each value is taken from
LastSPIData, which the chip keeps until the next access, until two of its readings agree. Units (datasheet, chapters 5.2, 6):
    energy   0.01 CF pulses; with PL constant 450,000,000,000 / 3200 one count is 3.125 mWh, a register 204 Wh: 17 s of 3 × 63 A
    power    32 bits signed, 0.32 mW        U  10 mV        I  1 mA        f  10 mHz        power factor  1/1000

`bus.exchange(buf)` clocks four bytes out of `buf` and what comes back into it, with the chip selected.
"""
from micropython import const

from prosumer.errors import Reject
from prosumer.metering.calibration import CLASSES, CLASS_PPM
from prosumer.metering.channel import CLIPPED, FREQUENCY, GAP, MISSING, NO_VOLTAGE, UNCALIBRATED

_METER_EN = const(0x00)
_SOFT_RESET = const(0x70)
_EMM_STATE0 = const(0x71)
_EMM_STATE1 = const(0x72)
_LAST_SPI_DATA = const(0x78)
_ACCESS = const(0x7F)
_FORWARD = const(0x81)  # active energy of phase A; B and C follow
_REVERSE = const(0x85)
_P_MEAN = const(0xB1)
_Q_MEAN = const(0xB5)
_LOW_WORDS = const(0x10)  # further on: the low words of P and Q
_PF_MEAN = const(0xBD)
_U_RMS = const(0xD9)
_I_RMS = const(0xDD)
_FREQ = const(0xF8)
_OVERCURRENT = const(0xE000)  # EMMState0, phases A, B, C from bit 15 down
_FREQ_BITS = const(0x8800)  # EMMState1
_LOSS = const(0x0400)  # EMMState1, phase A; B and C one bit lower each
_LONGEST_MS = const(15000)  # between two readings of the energy registers, before one can overflow
_MWH_1000 = const(3125)  # a count of energy, in thousandths of mWh

# register, value: mode, pulse constant 3200/kWh, starting thresholds, sag and frequency limits; the chip's own defaults elsewhere
_SETUP = ((0x05, 0x143F), (0x31, 0x0861), (0x32, 0xC468), (0x07, 0xD654), (0x0D, 6500), (0x0C, 4500),
          (0x35, 0x1D4C), (0x36, 0x1D4C), (0x37, 0x1D4C), (0x38, 0x02EE), (0x39, 0x02EE))


class Atm90e32:
    """`clamps`: ((name, role), …) on the phases A, B, C; `settings`: mmode0, mmode1, and for each phase ugain, igain, phi, pqgain.

    `calibration`: its state, class and hash stand in the readings; the gains themselves are the chip's (`settings`).
    Raises Reject("meter-chip-silent") when nothing answers and "meter-chip-wrong" when something else does."""

    def __init__(self, bus, clamps, settings, calibration, sleep_ms):
        self.bus = bus
        self.clamps = clamps
        self.calibration = calibration
        self._sleep_ms = sleep_ms
        self._buf = bytearray(4)
        setup = list(_SETUP) + [(0x33, settings["mmode0"]), (0x34, settings["mmode1"])]
        for k in range(len(clamps)):
            setup += [(0x61 + 4 * k, settings["ugain"][k]), (0x62 + 4 * k, settings["igain"][k]),
                      (0x47 + 2 * k, settings["pqgain"][k]), (0x48 + 2 * k, settings["phi"][k])]
        self._setup = setup
        self._counts = [[0, 0, 0, 0] for _ in clamps]  # forward and reverse counts of the interval; thousandths of mWh kept
        self._powers = [(0, 0, 0, 0, 0)] * len(clamps)
        self.errors = 0  # transfers that were read again
        self._start()
        self._begin()

    def _begin(self):
        self._ms = self._lost_ms = 0
        self._most = [0] * len(self.clamps)
        self.flags = 0 if self.calibration.state != "nominal" else UNCALIBRATED
        for c in self._counts:
            c[0] = c[1] = 0

    # -- bus --------------------------------------------------------------------------------------------

    def _access(self, first, value):
        b = self._buf
        b[0], b[1], b[2], b[3] = first >> 8, first & 255, value >> 8, value & 255
        self.bus.exchange(b)
        return b[2] << 8 | b[3]

    def _write(self, register, value):
        self._access(register, value)

    def _read(self, register):
        """A register, confirmed by LastSPIData; Reject when the bus does not give the same value twice in eight tries."""
        value = self._access(0x8000 | register, 0)
        for _ in range(8):
            again = self._access(0x8000 | _LAST_SPI_DATA, 0)
            if again == value:
                return value
            self.errors += 1
            value = again
        raise Reject("meter-chip-silent")

    def _start(self):
        self._write(_SOFT_RESET, 0x789A)
        self._sleep_ms(100)
        self._write(_ACCESS, 0x55AA)
        for register, value in self._setup:
            self._write(register, value)
        self._write(_METER_EN, 1)
        if not self._intact():
            answers = {self._access(0x8000 | register, 0) for register, _ in self._setup}
            raise Reject("meter-chip-silent" if answers <= {0, 0xFFFF} else "meter-chip-wrong")

    def _intact(self):
        """Whether every setting is still there: a chip that was reset by a brown-out has lost them."""
        for register, value in self._setup + [(_METER_EN, 1)]:
            if self._read(register) != value:
                return False
        return True

    # -- readings ---------------------------------------------------------------------------------------

    def poll(self, elapsed_ms):
        """Take over the energy counted since the last call, `elapsed_ms` ago; at least every 10 s.

        After a reset of the chip the time counts as lost, and it is set up again."""
        try:
            if not self._intact():
                self._start()
                raise Reject("meter-chip-restarted")
            state0, state1 = self._read(_EMM_STATE0), self._read(_EMM_STATE1)
            self.frequency_mhz = self._read(_FREQ) * 10
            for k in range(len(self.clamps)):
                c = self._counts[k]
                c[0] += self._read(_FORWARD + k)
                c[1] += self._read(_REVERSE + k)
                p = self._wide(_P_MEAN + k)
                self._powers[k] = (p, self._wide(_Q_MEAN + k), self._read(_U_RMS + k) * 10, self._read(_I_RMS + k),
                                   _signed(self._read(_PF_MEAN + k), 16))
                self._most[k] = max(self._most[k], abs(p))
        except Reject:
            # what the chip counts meanwhile comes with the next poll that succeeds, unless it was reset
            self._lost_ms += elapsed_ms
            self.flags |= MISSING
            return False
        if elapsed_ms > _LONGEST_MS:
            self.flags |= MISSING  # a register may have overflowed
        if state0 & _OVERCURRENT:
            self.flags |= CLIPPED
        if state1 & _FREQ_BITS:
            self.flags |= FREQUENCY
        for k in range(len(self.clamps)):
            if state1 & (_LOSS >> k):
                self.flags |= NO_VOLTAGE
        self._ms += elapsed_ms
        return True

    def _wide(self, register):
        """P or Q in mW or mvar."""
        return _signed(self._read(register) << 16 | self._read(register + _LOW_WORDS), 32) * 32 // 100

    def power_mw(self, name):
        """Latest active power of a channel, or the sum over all channels of a role."""
        for by in (0, 1):
            found = [self._powers[k][0] for k in range(len(self.clamps)) if self.clamps[k][by] == name]
            if found:
                return sum(found)
        raise Reject("no-such-channel")

    frequency_mhz = 0

    @property
    def voltage_mv(self):
        return self._powers[0][2]

    def close_interval(self):
        """As Meter.close_interval; the powers are those of the last poll, the energies those of the whole interval."""
        channels = {}
        hz = self.frequency_mhz or 50000
        if self._lost_ms * 100 > self._lost_ms + self._ms:
            self.flags |= GAP
        ppm = CLASS_PPM[CLASSES.index(self.calibration.accuracy)]
        for k in range(len(self.clamps)):
            c = self._counts[k]
            energy = []
            for sign in (0, 1):
                mwh, c[2 + sign] = divmod(c[sign] * _MWH_1000 + c[2 + sign], 1000)
                energy.append(mwh)
            p, q, _u, i, pf = self._powers[k]
            u = (energy[0] + energy[1]) * ppm // 1000000 + self._lost_ms * self._most[k] // 3600000 + 4
            channels[self.clamps[k][0]] = {
                "role": self.clamps[k][1], "import_mwh": energy[0], "export_mwh": energy[1], "uncertainty_mwh": u, "current_ma": i,
                "active_power_mw": p, "reactive_power_mvar": q, "apparent_power_mva": _u * i // 1000, "power_factor_milli": pf,
                "flags": self.flags}
        volts = [p[2] for p in self._powers]
        out = {"frequency_mhz": self.frequency_mhz, "voltage_mv": volts[0], "voltages_mv": volts, "covered_ms": self._ms,
               "cycles_processed": self._ms * hz // 1000000, "cycles_estimated": 0, "cycles_missing": self._lost_ms * hz // 1000000,
               "flags": self.flags, "calibration": self.calibration.hash(), "accuracy": CLASSES.index(self.calibration.accuracy),
               "channels": channels}
        self._begin()
        return out


def _signed(value, bits):
    return value - (1 << bits) if value >> (bits - 1) else value
