"""The emulated meter: a 12-bit converter behind one voltage divider and up to four current clamps.

The numbers are those of the modelled converter in board.json: full scale (peak) over 2047 counts, 50 µs between voltage
and current, 0.55 LSB of noise and the rounding.
"""
from prosumer.metering.calibration import Calibration

_FULL_SCALE_A = {"grid": 100, "pv": 60, "battery": 60, "ev": 60}
_TOP = 2047


def hal():
    from prosumer.hal.unix import Hal
    return Hal()


def channels(settings):
    """((name, role), …): the voltage, then the clamps this house has."""
    return (("v", "voltage"),) + tuple([(c, c) for c in settings["channels"]])


def calibration(settings):
    """As the maker measured it (factory state, class B); an installer's own stands in /calibration.json."""
    clamps = [{"gain_na": (_FULL_SCALE_A[c] * 1000000000 + _TOP // 2) // _TOP, "skew_ns": 50000, "no_load_mw": 1500,
               "noise_mc": 621, "clip": _TOP, "max_ma": _FULL_SCALE_A[c] * 707} for c in settings["channels"]]
    return Calibration.load("/calibration.json", Calibration.nominal(
        [{"gain_nv": (400 * 1000000000 + _TOP // 2) // _TOP, "noise_mc": 621, "clip": _TOP}], clamps, "factory", "B"))
