"""Three clamps on an ATM90E32AS, which measures by itself; one or three phases.

The chip's gains are those of a 9 V AC adapter and SCT-013-000 clamps, as its usual boards come; board.md has the parts. They are
nominal numbers: readings say so and count as indicative until /gains.json and /calibration.json are there.
"""
import json

from prosumer.errors import Reject
from prosumer.metering.calibration import Calibration
from prosumer.metering.channel import ROLES

_SCK, _MOSI, _MISO, _SELECT = 18, 23, 19, 5
_GAINS = {"mmode0": 0x87, "mmode1": 0, "ugain": (7305,) * 3, "igain": (27961,) * 3, "pqgain": (0,) * 3, "phi": (0,) * 3}


def hal():
    from prosumer.hal.esp32_chip import ChipHal
    try:
        with open("/gains.json") as f:
            gains = json.load(f)
    except OSError:
        gains = _GAINS
    return ChipHal(_SCK, _MOSI, _MISO, _SELECT, gains)


def channels(settings):
    """Clamps on phases A, B, C in this order. A name is a role, with a digit behind it where there are several: grid1, grid2, grid3."""
    clamps = [(name, name.rstrip("123")) for name in settings["channels"]]
    if not 1 <= len(clamps) <= 3 or [role for _, role in clamps if role not in ROLES]:
        raise Reject("board-has-three-clamps")
    return (("v", "voltage"),) + tuple(clamps)


def calibration(settings):
    """The gains are the chip's; this names their state, class and date."""
    return Calibration.load("/calibration.json", Calibration.nominal([{"gain_nv": 1}], [{"gain_na": 1} for _ in settings["channels"]]))
