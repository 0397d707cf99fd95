"""One voltage and up to three clamps on an MCP3204 or MCP3208, read in bursts of 200 ms each second.

Half of the converter's 3.3 V stands for 429 V peak and, with clamps of 60 A : 1 V, for 99 A peak; a count is that over 2047. Each channel
is read about 80 µs after the one before. board.md has the parts. These are nominal numbers: until `prosumer calibrate` has written
/calibration.json the readings say so and count as indicative.
"""
from prosumer.errors import Reject
from prosumer.metering.calibration import ROLES, Calibration

BEST_CLASS = "A"  # what lies between two bursts is estimated
_SCK, _MOSI, _MISO, _SELECT = 18, 23, 19, 5
_TOP = 2047
_VOLTS_PEAK = 429
_AMPERES_PEAK = 99
_LATE_NS = 80000


def hal():
    from prosumer.hal.esp32_burst import BurstHal, mcp320x
    return BurstHal(lambda: mcp320x(_SCK, _MOSI, _MISO, _SELECT))


def channels(settings):
    """Voltage on CH0, clamps on CH1, CH2, CH3 in this order. A name is a role, with a digit behind it where there are several."""
    clamps = [(name, name.rstrip("123")) for name in settings["channels"]]
    if not 1 <= len(clamps) <= 3 or [role for _, role in clamps if role not in ROLES]:
        raise Reject("board-has-three-clamps")
    return (("v", "voltage"),) + tuple(clamps)


def calibration(settings):
    clamps = [{"gain_na": _AMPERES_PEAK * 1000000000 // _TOP, "skew_ns": _LATE_NS * (k + 1), "no_load_mw": 3200, "noise_mc": 500,
               "clip": _TOP, "max_ma": 60000} for k in range(len(settings["channels"]))]
    return Calibration.load("/calibration.json", Calibration.nominal(
        [{"gain_nv": _VOLTS_PEAK * 1000000000 // _TOP, "noise_mc": 500, "clip": _TOP}], clamps))
