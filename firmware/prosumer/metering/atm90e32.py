"""Front end ATM90E32AS: a three-phase metering chip on SPI, continuous inside the chip. It stands in Meter's place (see House).

SPI: 32 clocks, mode 3: bit 15 of the first word says read, its low bits the register; the second word is the data. The
energy registers are cleared when they are read, so a garbled transfer would lose energy: each value is taken from
LastSPIData, which the chip keeps until the next access, until two of its readings agree. The settings are covered twice: the chip
checks their CRC all the time (CRCErrStatus), and each is read back. It has no number of its own: another chip is known by settings
that do not stay. Registers as in Microchip's own driver (metering_demo_atm90exx, atm90e32_regs.h); where it and the datasheet of the
ATM90E36A differ, the former holds (Phi has 8 bits here, 10 there). Units (datasheet, chapters 5.2, 6):
    energy   0.01 CF pulses; with PL constant 450,000,000,000 / 3200 one count is 3.125 mWh, a register 204 Wh: 17 s of 3 × 63 A
    power    32 bits signed, 0.32 mW (P, Q, S)        U  10 mV        I  1 mA        f  10 mHz        power factor  1/1000

`bus.exchange(buf)` clocks four bytes out of `buf` and what comes back into it, with the chip selected.
"""
from micropython import const

from prosumer.errors import Reject
from prosumer.metering.calibration import CLASSES, CLASS_PPM

# flags.py
_MISSING = const(1)
_CLIPPED = const(2)
_NO_VOLTAGE = const(4)
_UNCALIBRATED = const(8)
_FREQUENCY = const(32)
_GAP = const(128)
_METER_EN = const(0x00)
_SOFT_RESET = const(0x70)
_EMM_STATE0 = const(0x71)
_LATCHED = const(2)  # further on: what was so at any time since it was cleared by writing ones
_LAST_SPI_DATA = const(0x78)
_CRC_ERROR = const(0x79)
_ACCESS = const(0x7F)
_FORWARD = const(0x81)  # active energy of phase A; B and C follow
_REVERSE = const(0x85)
_P_MEAN = const(0xB1)
_Q_MEAN = const(0xB5)
_S_MEAN = const(0xB9)
_LOW_WORDS = const(0x10)  # further on: the low words of P, Q and S
_PF_MEAN = const(0xBD)
_U_RMS = const(0xD9)
_I_RMS = const(0xDD)
_FREQ = const(0xF8)
_OVERCURRENT = const(0xE000)  # EMMState0, phases A, B, C from bit 15 down
_FREQ_BITS = const(0x8800)  # EMMState1
_LOSS = const(0x0400)  # EMMState1, phase A; B and C one bit lower each
_ORDER = const(0x0200)  # EMMState0: voltages in the wrong order
_EVENTS = ((0, 0x8000, "overcurrent-"), (0, 0x1000, "overvoltage-"), (1, 0x4000, "sag-"), (1, _LOSS, "phase-loss-"))
_SAG_MV = const(179400)  # 78 % of 230 V
_LOSS_MV = const(46000)  # 20 %
_LONGEST_MS = const(15000)  # between two readings of the energy registers, before one can overflow
_MWH_1000 = const(3125)  # a count of energy, in thousandths of mWh

# register, value: mode, pulse constant 3200/kWh, starting thresholds, sag and frequency limits; the chip's own defaults elsewhere
_SETUP = ((0x05, 0x143F), (0x31, 0x0861), (0x32, 0xC468), (0x07, 0xD654), (0x0D, 6500), (0x0C, 4500),
          (0x35, 0x1D4C), (0x36, 0x1D4C), (0x37, 0x1D4C), (0x38, 0x02EE), (0x39, 0x02EE), (0x75, 0xFF00), (0x76, 0xFF00))


class Phase:
    """One clamp with its voltage; counts are those of the chip's registers since the interval began."""

    def __init__(self, name, role, turned):
        self.name, self.role = name, role
        self.turned = turned  # the clamp sits backwards: what the chip calls reverse is forward
        self.counts = [0, 0]
        self.kept = [0, 0]  # thousandths of mWh
        self.flags = 0
        self.power_mw = self.reactive_mvar = self.apparent_mva = self.voltage_mv = self.current_ma = self.factor_milli = self.most = 0

    def so_far(self):
        """(import, export) of the open interval in whole mWh."""
        return tuple([(self.counts[s] * _MWH_1000 + self.kept[s]) // 1000 for s in (0, 1)])


def gains(calibration, index):
    """The chip's registers (ugain, igain, phi, power offset) of a phase.

    For this chip gain_nv and gain_na are millionths of its gain registers (32768 is 1), so that the wizard's ratios hold. Phi: bit 15
    delays the voltage instead of the current; bits 7-0 count cycles of 2.048 MHz, 2.2 degrees at most. It has no table: the phase at
    a tenth of the current. The offset is added to the power, in its unit, 10 W at most."""
    current = calibration.currents[index]
    cycles = calibration.phase_mdeg(index, current["max_ma"] // 10) * 2048 // 18000 + current["skew_ns"] * 2048 // 1000000
    voltage = calibration.voltages[index % len(calibration.voltages)]
    offset = current["offset_mw"] * (100 if current["gain_na"] < 0 else -100) // 32
    out = ((voltage["gain_nv"] + 500000) // 1000000, (abs(current["gain_na"]) + 500000) // 1000000,
           abs(cycles) | (0x8000 if cycles < 0 else 0), offset & 0xFFFF)
    if out[0] > 0xFFFF or out[1] > 0xFFFF or abs(cycles) > 255 or abs(offset) > 0x7FFF:
        raise Reject("calibration-range")
    return out


class Atm90e32:
    """`clamps`: ((name, role), …) on the phases A, B, C; `settings`: mmode0 and mmode1, as the board is wired.

    `calibration`: one voltage or three, a current for each clamp; see `gains`.
    Raises Reject("meter-chip-silent") when nothing answers and "meter-chip-wrong" when something else does."""

    def __init__(self, bus, clamps, settings, calibration, sleep_ms):
        self.bus = bus
        self.clamps = [Phase(c[0], c[1], calibration.currents[k]["gain_na"] < 0) for k, c in enumerate(clamps)]
        self.calibration = calibration
        self._sleep_ms = sleep_ms
        self._buf = bytearray(4)
        setup = list(_SETUP) + [(0x33, settings["mmode0"]), (0x34, settings["mmode1"])]
        for k in range(len(clamps)):
            ugain, igain, phi, offset = gains(calibration, k)
            setup += [(0x61 + 4 * k, ugain), (0x62 + 4 * k, igain), (0x47 + 2 * k, 0), (0x48 + 2 * k, phi), (0x41 + 2 * k, offset)]
            if not k:  # thresholds of a peak, in the unit that the gain leaves
                setup += [(r, min(0xFFFF, mv * 141421 * 16384 // (1000000 * ugain))) for r, mv in ((0x08, _SAG_MV), (0x09, _LOSS_MV))]
        self._setup = setup
        self.errors = 0  # transfers that were read again
        if not self._intact():  # else it went on counting while we were reset: nothing of that is lost
            self._start()
        self._begin()

    def _begin(self):
        self._ms = self._lost_ms = 0
        self.events = []
        self.flags = 0 if self.calibration.state != "nominal" else _UNCALIBRATED
        for c in self.clamps:
            c.counts = [0, 0]
            c.most = c.flags = 0

    # -- bus --------------------------------------------------------------------------------------------

    def _access(self, first, value):
        b = self._buf
        b[0], b[1], b[2], b[3] = first >> 8, first & 255, value >> 8, value & 255
        self.bus.exchange(b)
        return b[2] << 8 | b[3]

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
        self._access(_SOFT_RESET, 0x789A)
        self._sleep_ms(100)
        self._access(_ACCESS, 0x55AA)
        for register, value in self._setup:
            self._access(register, value)
        self._access(_METER_EN, 1)
        self._access(_ACCESS, 0xA5A5)  # from here on nothing is taken for a setting, and the chip guards their CRC
        self._sleep_ms(200)
        for k in (0, 1):
            self._access(_EMM_STATE0 + _LATCHED + k, 0xFFFF)  # what the start looked like
        if not self._intact():
            answers = {self._access(0x8000 | register, 0) for register, _ in self._setup}
            raise Reject("meter-chip-silent" if answers <= {0, 0xFFFF} else "meter-chip-wrong")

    def _intact(self):
        """Whether every setting is still there: a chip that was reset by a brown-out has lost them."""
        for register, value in self._setup + [(_METER_EN, 1), (_CRC_ERROR, 0)]:
            if self._read(register) != value:
                return False
        return True

    def _state(self, k):
        """EMMState0 or 1, with what has been so since the last time."""
        then = self._read(_EMM_STATE0 + _LATCHED + k)
        self._access(_EMM_STATE0 + _LATCHED + k, then)
        return then | self._read(_EMM_STATE0 + k)

    # -- readings ---------------------------------------------------------------------------------------

    def poll(self, elapsed_ms):
        """Take over the energy counted since the last call, `elapsed_ms` ago; at least every 10 s.

        After a reset of the chip the time counts as lost, and it is set up again."""
        try:
            if not self._intact():
                self._start()
                raise Reject("meter-chip-restarted")
            state0, state1 = self._state(0), self._state(1)
            self.frequency_mhz = self._read(_FREQ) * 10
            for k in range(len(self.clamps)):
                c = self.clamps[k]
                c.counts[c.turned] += self._read(_FORWARD + k)
                c.counts[not c.turned] += self._read(_REVERSE + k)
                sign = -1 if c.turned else 1
                c.power_mw = sign * self._wide(_P_MEAN + k)
                c.reactive_mvar = sign * self._wide(_Q_MEAN + k)
                c.apparent_mva = self._wide(_S_MEAN + k)
                c.voltage_mv, c.current_ma = self._read(_U_RMS + k) * 10, self._read(_I_RMS + k)
                c.factor_milli = sign * _signed(self._read(_PF_MEAN + k), 16)
                c.most = max(c.most, abs(c.power_mw))
        except Reject:
            # what the chip counts meanwhile comes with the next poll that succeeds, unless it was reset
            self._lost_ms += elapsed_ms
            self.flags |= _MISSING
            return False
        if elapsed_ms > _LONGEST_MS:
            self.flags |= _MISSING  # a register may have overflowed
        if state0 & _OVERCURRENT:
            self.flags |= _CLIPPED
        if state1 & _FREQ_BITS:
            self.flags |= _FREQUENCY
        for k in range(len(self.clamps)):
            if state1 & (_LOSS >> k):
                self.flags |= _NO_VOLTAGE
            for word, bit, name in _EVENTS:
                if (state0, state1)[word] & (bit >> k):
                    self._event(name + "abc"[k])
        if len(self.clamps) > 1 and state0 & _ORDER:
            self._event("phase-order")
        self._ms += elapsed_ms
        return True

    def window(self, buf, frames, covers_ms):
        """As Meter.window, for House: there are no samples, the chip has counted for `covers_ms`."""
        return int(self.poll(covers_ms))

    def lost(self, frames):
        """Nothing is lost between two polls: the chip counts on."""

    def _event(self, name):
        if name not in self.events:
            self.events.append(name)

    def _wide(self, register):
        """P, Q or S in mW, mvar or mVA."""
        return _signed(self._read(register) << 16 | self._read(register + _LOW_WORDS), 32) * 32 // 100

    def power_mw(self, name):
        """Latest active power of a channel, or the sum over all channels of a role."""
        found = [c.power_mw for c in self.clamps if name in (c.name, c.role)]
        if not found:
            raise Reject("no-such-channel")
        return sum(found)

    frequency_mhz = 0

    @property
    def voltage_mv(self):
        return self.clamps[0].voltage_mv

    def close_interval(self, lost_ms=0, slot_ms=1 << 30):
        """As Meter.close_interval, with the `events` of the interval; powers are those of the last poll, energies of all of it."""
        channels = {}
        hz = self.frequency_mhz or 50000
        if self._lost_ms * 100 > self._lost_ms + self._ms:
            self.flags |= _GAP
        ppm = CLASS_PPM[CLASSES.index(self.calibration.accuracy)]
        lost_ms = min(lost_ms, max(0, slot_ms - self._ms))
        flags = self.flags
        for c in self.clamps:
            energy = c.so_far()
            c.kept = [(c.counts[s] * _MWH_1000 + c.kept[s]) % 1000 for s in (0, 1)]
            u = (energy[0] + energy[1]) * ppm // 1000000 + (lost_ms + self._lost_ms) * c.most // 3600000 + 4
            channels[c.name] = {
                "role": c.role, "import_mwh": energy[0], "export_mwh": energy[1], "uncertainty_mwh": u, "current_ma": c.current_ma,
                "active_power_mw": c.power_mw, "reactive_power_mvar": c.reactive_mvar, "apparent_power_mva": c.apparent_mva,
                "power_factor_milli": c.factor_milli, "flags": self.flags | c.flags}
            flags |= c.flags
        volts = [c.voltage_mv for c in self.clamps]
        out = {"frequency_mhz": self.frequency_mhz, "voltage_mv": volts[0], "voltages_mv": volts, "covered_ms": self._ms,
               "cycles_processed": self._ms * hz // 1000000, "cycles_estimated": 0, "cycles_missing": self._lost_ms * hz // 1000000,
               "flags": flags, "calibration": self.calibration.hash(), "accuracy": CLASSES.index(self.calibration.accuracy),
               "events": self.events, "channels": channels}
        self._begin()
        return out


def _signed(value, bits):
    return value - (1 << bits) if value >> (bits - 1) else value
