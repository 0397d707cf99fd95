"""What a count is worth: integers per channel, stored as JSON, named in every reading by its hash.

A voltage:  gain_nv    nanovolts per count            noise_mc   rms noise, thousandths of a count
            clip       count at which it saturates
A current:  gain_na    nanoamperes per count; negative turns the clamp round
            skew_ns    how much earlier the current seems to be than the voltage, whatever the frequency: the
                       converter's order of sampling (sampled later: positive) and filters
            phase      ((current_ma, mdeg), …): the clamp's own lead at that current, in thousandths of a degree
            offset_mw  what it reads without current (crosstalk from the voltage)
            no_load_mw below this nothing is counted (IEC 62053-21, 8.3.1 no load and 8.3.2 starting current)
            noise_mc, clip, max_ma (the current its class holds up to)
"""
import hashlib
import json

from micropython import const

from prosumer.errors import Reject

CLASSES = ("indicative", "A", "B", "C")  # MID Annex V; B is IEC class 1, C class 0.5
CLASS_PPM = (50000, 20000, 10000, 5000)
STATES = ("nominal", "factory", "field")  # uncalibrated; by the maker; with a reference on the spot
ROLES = ("grid", "pv", "battery", "ev", "load")  # of a clamp

_VOLTAGE = const(("gain_nv", "noise_mc", "clip"))
_CURRENT = const(("gain_na", "skew_ns", "offset_mw", "no_load_mw", "noise_mc", "clip", "max_ma"))


class Calibration:
    """`voltages` and `currents` are lists of dicts as above, in the order of the frame; what an entry leaves out is 0."""

    def __init__(self, voltages, currents, state="nominal", accuracy="indicative", date=0):
        if (state not in STATES or accuracy not in CLASSES or type(date) is not int or len(voltages) not in (1, 3)
                or not 1 <= len(currents) <= 6):
            raise Reject("calibration-shape")
        self.voltages = [_filled(v, _VOLTAGE) for v in voltages]
        self.currents = [_filled(i, _CURRENT) for i in currents]
        self.state = state
        self.accuracy = accuracy
        self.date = date  # Unix seconds

    @classmethod
    def nominal(cls, voltages, currents, state="nominal", accuracy="indicative"):
        """From the board's own numbers: board.py."""
        return cls(voltages, currents, state, accuracy)

    def to_dict(self):
        return {"version": 1, "state": self.state, "accuracy": self.accuracy, "date": self.date,
                "voltages": self.voltages, "currents": self.currents}

    @classmethod
    def from_dict(cls, d):
        if type(d) is not dict or d.get("version") != 1:
            raise Reject("calibration-version")
        try:
            return cls(d["voltages"], d["currents"], d["state"], d["accuracy"], d["date"])
        except (KeyError, TypeError, AttributeError):
            raise Reject("calibration-shape")

    @classmethod
    def load(cls, path, nominal):
        """What an installer left at `path`, else `nominal`. A damaged file is refused: the nominal numbers may be far off."""
        try:
            with open(path) as f:
                return cls.from_dict(json.load(f))
        except OSError:
            return nominal
        except ValueError:
            raise Reject("calibration-damaged")

    def hash(self):
        """First 8 bytes of SHA-256 over one line per channel, numbers in the order of the fields above."""
        h = hashlib.sha256(b"prosumer/calibration/1\n%s %s %d\n" % (self.state.encode(), self.accuracy.encode(), self.date))
        for entries, fields in ((self.voltages, _VOLTAGE), (self.currents, _CURRENT)):
            for entry in entries:
                numbers = [entry[f] for f in fields]
                for point in entry.get("phase", ()):
                    numbers.extend(point)
                h.update((" ".join([str(n) for n in numbers]) + "\n").encode())
        return h.digest()[:8]

    def phase_mdeg(self, index, current_ma):
        """The clamp's lead at this current: straight lines between the points of its table, flat beyond them."""
        table = self.currents[index].get("phase") or ((0, 0),)
        low = table[0]
        for high in table:
            if current_ma <= high[0]:
                span = high[0] - low[0]
                return high[1] if span <= 0 else low[1] + (high[1] - low[1]) * (current_ma - low[0]) // span
            low = high
        return low[1]


def _filled(entry, fields):
    full = {f: entry.get(f, 32767 if f == "clip" else 0) for f in fields}
    numbers = list(full.values())
    if fields is _CURRENT:
        full["phase"] = [list(p) for p in entry.get("phase", ())]
        for point in full["phase"]:
            if len(point) != 2:
                raise Reject("calibration-phase")
            numbers += point
    if [n for n in numbers if type(n) is not int]:
        raise Reject("calibration-field")
    if not full[fields[0]] or not 0 < full["clip"] <= 32767:
        raise Reject("calibration-range")
    return full
