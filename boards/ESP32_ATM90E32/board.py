"""Three clamps on an ATM90E32AS, which measures by itself; one or three phases.

The chip's gains are those of a 9 V AC adapter and SCT-013-000 clamps, as its usual boards come; board.md has the parts. They are
nominal numbers: until `prosumer calibrate` has written /calibration.json the readings say so and count as indicative.
"""
from prosumer.errors import Reject
from prosumer.metering.calibration import ROLES, Calibration

_SCK, _MOSI, _MISO, _SELECT = 18, 23, 19, 5
_PLUGS = 25, 26, 27  # the switches in the clamps' jacks
_WIRING = {"mmode0": 0x87, "mmode1": 0}  # 50 Hz, three phases with neutral; gain 1 before the converters
_UGAIN, _IGAIN = 7305, 27961


def hal():
    from prosumer.hal.esp32_chip import ChipHal
    return ChipHal(_SCK, _MOSI, _MISO, _SELECT, _WIRING, _PLUGS)


def channels(settings):
    """Clamps on phases A, B, C in this order. A name is a role, with a digit behind it where there are several: grid1, grid2, grid3."""
    clamps = [(name, name.rstrip("123")) for name in settings["channels"]]
    if not 1 <= len(clamps) <= 3 or [role for _, role in clamps if role not in ROLES]:
        raise Reject("board-has-three-clamps")
    return (("v", "voltage"),) + tuple(clamps)


def calibration(settings):
    """For this chip the gains are millionths of its gain registers."""
    clamps = [{"gain_na": _IGAIN * 1000000, "max_ma": 100000} for _ in settings["channels"]]
    return Calibration.load("/calibration.json", Calibration.nominal([{"gain_nv": _UGAIN * 1000000}], clamps))
