"""One voltage and up to two clamps on the ESP32's own ADC1, read in bursts of 200 ms each second: readings are indicative, whatever the care.

At 11 dB half of 3.3 V stands for 429 V peak and, with clamps of 60 A : 1 V, for 99 A peak; the transfer curve bends, so that a calibration
holds near its points. Each channel is read about 80 µs after the one before. board.md has the parts.
"""
from prosumer.errors import Reject
from prosumer.metering.calibration import ROLES, Calibration

BEST_CLASS = "indicative"
_PINS = 36, 39, 34  # voltage first
_TOP = 2047
_VOLTS_PEAK = 429
_AMPERES_PEAK = 99
_LATE_NS = 80000


def hal():
    from prosumer.hal.esp32_burst import BurstHal, adc1
    return BurstHal(lambda: adc1(*_PINS))


def channels(settings):
    """Voltage on GPIO36, clamps on GPIO39 and GPIO34 in this order."""
    clamps = [(name, name.rstrip("12")) for name in settings["channels"]]
    if not 1 <= len(clamps) <= 2 or [role for _, role in clamps if role not in ROLES]:
        raise Reject("board-has-two-clamps")
    return (("v", "voltage"),) + tuple(clamps)


def calibration(settings):
    clamps = [{"gain_na": _AMPERES_PEAK * 1000000000 // _TOP, "skew_ns": _LATE_NS * (k + 1), "no_load_mw": 20000, "noise_mc": 4000,
               "clip": _TOP, "max_ma": 60000} for k in range(len(settings["channels"]))]
    return Calibration.load("/calibration.json", Calibration.nominal(
        [{"gain_nv": _VOLTS_PEAK * 1000000000 // _TOP, "noise_mc": 4000, "clip": _TOP}], clamps))
