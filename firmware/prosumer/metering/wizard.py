"""Calibration on the spot: from a few loads measured by the meter and by a reference to gains and a phase table.

`prosumer calibrate` runs it on the Unix port, so it takes no room on a meter. Each point is an interval's reading of one clamp
(`Meter.close_interval()`, with no_load_mw 0) beside what a reference meter, or a load whose power is known, says. A resistive load
has no angle, so what the meter sees as its angle is the clamp's own: no inductive load is needed to find it, but one proves it. What
is read without any load (`idle`) is the offset.

Full way: three currents or more that span 10:1, and one inductive point → class B. Quick way: one resistive load → class A. Errors
that are left, saturation or a clamp on the wrong phase lower the class. A meter's class is that of its worst clamp, and it stays
uncalibrated until each clamp has had its turn (a clamp that had has a phase table, of three points or more the full way).
"""
from prosumer.errors import Reject
from prosumer.metering.calibration import CLASSES, CLASS_PPM, Calibration
from prosumer.metering.flags import CLIPPED, NO_VOLTAGE
from prosumer.metering.quantities import ONE, isqrt, sin_cos

_HALF_TURN = 180000  # thousandths of a degree


def angle_mdeg(p, q):
    """Angle of the point (p, q) in thousandths of a degree, -180000 … 180000; positive is inductive when p > 0."""
    a, b = abs(p), abs(q)
    low, high = 0, 1686629713  # 0 … pi/2, times 2^30
    while high - low > 1:
        middle = (low + high) >> 1
        s, c = sin_cos(middle)
        if b * c >= a * s:
            low = middle
        else:
            high = middle
    mdeg = (low * 90000 + 843314856) // 1686629713
    if p < 0:
        mdeg = _HALF_TURN - mdeg
    return -mdeg if q < 0 else mdeg


def _turned(mdeg):
    """The same angle in -180000 … 180000."""
    return (mdeg + _HALF_TURN) % (2 * _HALF_TURN) - _HALF_TURN


def _cos(mdeg):
    """cos times 2^30 of an angle up to half a turn."""
    mdeg = abs(_turned(mdeg))
    if mdeg > 90000:
        return -_cos(_HALF_TURN - mdeg)
    return sin_cos(mdeg * 1686629713 // 90000)[1]


class Wizard:
    """Points of the clamp `index` (of currents) of a meter that runs with `calibration`; `phase`: its voltage."""

    def __init__(self, calibration, index, phase=0):
        self.calibration = calibration
        self.index = index
        self.phase = phase
        self.points = []
        self._idle_p = self._idle_q = 0
        self.warnings = []  # "reversed", "wrong-phase", "saturated", "nonlinear", "range-below-10-to-1",
        # "no-inductive-point", "other-clamps"

    def idle(self, reading, name):
        """A reading without current: crosstalk from the voltage, found before the points are added."""
        c = reading["channels"][name]
        if self.points or c["flags"] & NO_VOLTAGE:
            raise Reject("calibration-point")
        self._idle_p, self._idle_q = c["active_power_mw"], c["reactive_power_mvar"]

    def add(self, reading, name, voltage_mv, power_mw, inductive_va_mw=0):
        """One load: the reading, and the reference's voltage and power; its apparent power too if it is inductive (else 0)."""
        c = reading["channels"][name]
        p, q = c["active_power_mw"] - self._idle_p, c["reactive_power_mvar"] - self._idle_q
        size = isqrt(p * p + q * q)
        if c["flags"] & NO_VOLTAGE or not size or power_mw <= 0 or voltage_mv <= 0 or 0 < inductive_va_mw < power_mw:
            raise Reject("calibration-point")
        if c["flags"] & CLIPPED:
            self._warn("saturated")
        true = angle_mdeg(power_mw, isqrt(inductive_va_mw * inductive_va_mw - power_mw * power_mw)) if inductive_va_mw else 0
        self.points.append((size, angle_mdeg(p, q), reading["voltages_mv"][self.phase], c["current_ma"], voltage_mv, power_mw, true))

    def _warn(self, what):
        if what not in self.warnings:
            self.warnings.append(what)

    def solve(self, date, best="B"):
        """→ (new Calibration, errors before, errors after), errors in parts per million of each point's power.

        `best`: the class that the board's front end can hold at all."""
        if not self.points:
            raise Reject("calibration-without-points")
        old = self.calibration.currents[self.index]
        n = len(self.points)
        turn = sum([abs(_turned(p[6] - p[1])) > 90000 for p in self.points]) * 2 > n
        if turn:
            self._warn("reversed")
        volts = amps = 0  # ratios times 2^30, summed
        least = most = None
        table, leads = [], []
        for size, angle, v, i, v_ref, p_ref, true in self.points:
            lead = _turned(true - angle + (_HALF_TURN if turn else 0))
            if abs(lead) > 25000:
                self._warn("wrong-phase")
            leads.append(lead)
            v_ratio = v_ref * ONE // v
            ratio = p_ref * ONE // _cos(true) * ONE // size * ONE // v_ratio
            volts += v_ratio
            amps += ratio
            least = ratio if least is None else min(least, ratio)
            most = ratio if most is None else max(most, ratio)
            if not true:
                table.append((i * ratio // ONE, self.calibration.phase_mdeg(self.index, i) + lead))
        if (most - least) * 100 > most:
            self._warn("nonlinear")
        table.sort()
        full = n > len(table) > 2 and table[-1][0] >= 10 * table[0][0]
        if not full:
            self._warn("no-inductive-point" if len(table) == n else "range-below-10-to-1")
        entry = dict(old)
        entry["gain_na"] = (old["gain_na"] * amps // n + ONE // 2) // ONE * (-1 if turn else 1)
        entry["phase"] = table or old["phase"]
        offset = (old["offset_mw"] + self._idle_p) * volts // n * amps // n
        entry["offset_mw"] = (offset + ONE * ONE // 2) // (ONE * ONE) * (-1 if turn else 1)
        voltages = [dict(v) for v in self.calibration.voltages]
        voltages[self.phase]["gain_nv"] = (voltages[self.phase]["gain_nv"] * volts // n + ONE // 2) // ONE
        currents = list(self.calibration.currents)
        currents[self.index] = entry
        new = Calibration(voltages, currents, "field", "B" if full else "A", date)
        before, after = [], []
        for size, angle, _v, i, _v_ref, p_ref, _true in self.points:
            before.append((size * _cos(angle) // ONE + self._idle_p - p_ref) * 1000000 // p_ref)
            lead = new.phase_mdeg(self.index, i * amps // n // ONE) - self.calibration.phase_mdeg(self.index, i)
            now = size * volts // n * amps // n * _cos(angle + lead + (_HALF_TURN if turn else 0)) // (ONE * ONE * ONE)
            after.append((now - p_ref) * 1000000 // p_ref)
        rank = CLASSES.index(new.accuracy)
        worst = max([abs(e) for e in after])
        while rank and CLASS_PPM[rank] < worst:
            rank -= 1
        if "wrong-phase" in self.warnings or "saturated" in self.warnings:
            rank = 0
        for k, other in enumerate(currents):
            points = len(other["phase"])
            if k != self.index and points:
                rank = min(rank, 2 if points > 2 else 1)
            elif k != self.index and self.calibration.state == "nominal":
                rank = 0
                new.state = "nominal"
                self._warn("other-clamps")
            elif k != self.index:
                rank = min(rank, CLASSES.index(self.calibration.accuracy))
        new.accuracy = CLASSES[min(rank, CLASSES.index(best))]
        return new, before, after
