"""One voltage or current of a meter: its sums, its energy of the interval, and what is in doubt about it."""
from array import array

from micropython import const

from prosumer.metering import kernel
from prosumer.metering.calibration import CLASSES, CLASS_PPM
from prosumer.metering.quantities import isqrt, nearest

_CLIPPED = const(2)  # flags.py
_REVERSED = const(16)
_UNIT = const(4096)  # parts of a frame, as in meter.py
ZERO = array("i", [0] * kernel.WORDS)
NWMS_PER_MWH = 3600000000000  # 1 mWh = 3.6e12 nanowatt-milliseconds


class Channel:
    """One voltage or current: where it lies in the frame, its sums, its energy since the interval was opened."""

    def __init__(self, spec, geometry):
        self.name = spec[0]
        self.role = spec[1]
        self.geometry = geometry
        self.sums, self.edge, self.edge0 = [array("i", ZERO) for _ in range(3)]
        self.power_nw = self.reactive_nw = self.level = 0  # level: mV or mA of the last group
        self.kept_import = self.kept_export = 0  # nW*ms below a mWh
        self.reset()

    def reset(self):
        self.imported = self.exported = self.reactive = 0  # nW*ms
        self.squares = self.variance = self.groups = self.p_sum = self.p_squares = self.p_most = self.flags = 0

    def add(self, buf, acc, start, end):
        """Frames start … end of `buf` to all sums in `acc`."""
        for g in self.geometry:
            kernel.add_dot(start, end, buf, g, acc)

    def count(self, p, q, span, per, noise, length):
        """A group of so many nW and nvar stands for span/per ms; noise: variance of a sample's power, mW^2; length: in 1/_UNIT frames."""
        self.power_nw, self.reactive_nw = p, q
        e = nearest(p * span, per)
        if e >= 0:
            self.imported += e
        else:
            self.exported -= e
        self.reactive += nearest(q * span, per)
        mw = p // 1000000
        self.groups += 1
        self.p_sum += mw
        self.p_squares += mw * mw
        self.p_most = max(self.p_most, abs(mw))
        self.variance += noise * _UNIT * span * span // (length * per * per)

    def so_far(self):
        """(import, export) of the open interval in whole mWh: what a journal may count before the interval is closed."""
        return (self.kept_import + self.imported) // NWMS_PER_MWH, (self.kept_export + self.exported) // NWMS_PER_MWH

    def sum(self, word, w1, w0):
        """Sum of products whose low word is `word`, in 1/_UNIT, with the shares of the two border samples."""
        s, e, f = self.sums, self.edge, self.edge0
        return (((s[word + 1] << 16) + s[word]) * _UNIT + ((e[word + 1] << 16) + e[word]) * w1
                - ((f[word + 1] << 16) + f[word]) * w0)

    def moments(self, w1, w0, length):
        """Sum of the samples, and sum of the squares about their mean."""
        total = self.sums[0] * _UNIT + self.edge[0] * w1 - self.edge0[0] * w0
        if self.sums[1]:
            self.flags |= _CLIPPED
        return total, self.sum(2, w1, w0) - total * total // length

    def reading(self, length, volts_mv, span, per, windowed, lost_ms, calibration, flags):
        """The interval that ends here, which covered span/per ms: a dict; the rest below a mWh is kept for the next."""
        ms = span // per
        amps = isqrt(self.squares // length) // 1000000 if length else 0
        power = nearest((self.imported - self.exported) * per, span * 1000000)
        apparent = volts_mv * amps // 1000
        imported, rest_i = divmod(self.kept_import + self.imported, NWMS_PER_MWH)
        exported, rest_e = divmod(self.kept_export + self.exported, NWMS_PER_MWH)
        out = {"role": self.role, "import_mwh": imported, "export_mwh": exported,
               "uncertainty_mwh": self._uncertainty(ms, windowed, lost_ms, CLASS_PPM[CLASSES.index(calibration.accuracy)]),
               "current_ma": amps, "active_power_mw": power,
               "reactive_power_mvar": nearest(self.reactive * per, span * 1000000), "apparent_power_mva": apparent,
               "power_factor_milli": max(-1000, min(1000, nearest(power * 1000, apparent))), "flags": self.flags | flags}
        self.reset()
        self.kept_import, self.kept_export = rest_i, rest_e
        return out

    def _uncertainty(self, ms, windowed, lost_ms, ppm):
        """Expanded uncertainty (k = 2) of the interval's energy in mWh, rounded up.

        The class's share of the energy; a tenth of a degree of the reactive energy; noise; for windows, the spread of
        their powers; for lost time, the highest power that was seen."""
        energy = (self.imported + self.exported) * ppm + abs(self.reactive) * 1745
        variance = self.variance
        n = self.groups
        if windowed and n:
            spread = (self.p_squares - self.p_sum * self.p_sum // n) // (n - 1) if n > 1 else self.p_squares
            variance += spread * ms * ms // n
        return (energy // 1000000 + (2 * isqrt(variance) + lost_ms * self.p_most) * 1000000) // NWMS_PER_MWH + 1


def check_balance(clamps, ms):
    """What grid and PV bring and battery and car do not take is what the house uses: if that is negative, a clamp is reversed."""
    rest = total = 0
    roles = set()
    for c in clamps:
        e = c.imported - c.exported
        roles.add(c.role)
        if c.role != "load":
            rest += e if c.role in ("grid", "pv") else -e
            total += abs(e)
    # 100 W and 3 %: what small clamps may be off by
    if "grid" in roles and "pv" in roles and -rest > 100000000000 * ms + total // 33:
        for c in clamps:
            c.flags |= _REVERSED
