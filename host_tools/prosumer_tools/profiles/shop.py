"""Load of a small shop: the standard load profile G4 (shop, hairdresser) of BDEW, summer, with its cold cabinets running.

shop_g4.csv holds the 96 quarter-hours of G4 (working day, Saturday, Sunday; relative power), taken
from demandlib 0.2.2 (MIT). The published shape is the mean of many shops; a single one's compressors switch, so a two-point
compressor of zero mean is laid over it.
"""
import csv
from importlib.resources import files

import numpy as np

_COMPRESSOR_W, _RUN_MIN, _REST_MIN = 420, 9, 15


def shop_w(day_kwh, seed, weekday):
    """Load in W per minute of one day that sums to about day_kwh; weekday 1 = Monday .. 7."""
    column = "workday" if weekday <= 5 else "saturday" if weekday == 6 else "sunday"
    with (files(__package__) / "shop_g4.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    shape = np.array([float(row[column]) for row in rows])
    minutes = np.interp(np.arange(1440) + 0.5, np.arange(96) * 15 + 7.5, shape, period=1440)
    smooth = minutes / minutes.sum() * day_kwh * 60_000
    return np.maximum(smooth + _compressor(np.random.default_rng(seed)), 60.0)


def _compressor(random):
    out = np.full(1440, -_COMPRESSOR_W * _RUN_MIN / (_RUN_MIN + _REST_MIN))
    at = int(random.integers(0, _RUN_MIN + _REST_MIN))
    while at < 1440:
        run = int(random.integers(_RUN_MIN - 2, _RUN_MIN + 3))
        out[at:at + run] += _COMPRESSOR_W
        at += run + int(random.integers(_REST_MIN - 4, _REST_MIN + 5))
    return out
