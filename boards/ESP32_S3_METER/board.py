"""The recommended meter: an ESP32-S3 with PSRAM, a PCM1820 on I2S, a voltage adapter on its left input and a clamp on its right.

Full scale of the converter (2 V rms differential, 1 V rms as wired here) stands for 396 V peak and 128.6 A peak; board.md has the
parts. A count is full scale over 32767. These are nominal numbers: until `prosumer calibrate` has written
/calibration.json the readings say so and count as indicative.
"""
from prosumer.errors import Reject
from prosumer.metering.calibration import Calibration

_TOP = 32767
_VOLTS_PEAK = 396
_AMPERES_PEAK_10 = 1286
_SCK, _WS, _SD = 4, 5, 6
_PLUGS = (7,)  # the switch in the clamp's jack


def hal():
    from prosumer.hal.esp32_i2s import I2sHal
    return I2sHal(_SCK, _WS, _SD, rate_hz=8000, plugs=_PLUGS)


def channels(settings):
    """Voltage left, the grid's clamp right: the converter has no third input."""
    if list(settings["channels"]) != ["grid"]:
        raise Reject("board-has-one-clamp")
    return (("v", "voltage"), ("grid", "grid"))


def calibration(settings):
    return Calibration.load("/calibration.json", Calibration.nominal(
        [{"gain_nv": _VOLTS_PEAK * 1000000000 // _TOP, "noise_mc": 700, "clip": _TOP - 1}],
        [{"gain_na": _AMPERES_PEAK_10 * 100000000 // _TOP, "no_load_mw": 5000, "noise_mc": 700, "clip": _TOP - 1, "max_ma": 63000}]))
