"""The demo street: eight homes at Carros on Thursday, 11 June 2026, in one-minute steps."""
import json
import os
import tomllib
from dataclasses import asdict, replace
from importlib.resources import files

import numpy as np

from .read import ProfileError, read_profiles
from .series import Profiles, Weather
from .street import parse_street

DAY, ZONE = "2026-06-11", "Europe/Paris"
PLACE = {"latitude": 43.79, "longitude": 7.19, "altitude": 120}
_FORMAT = 1   # raise it when the making of the profiles changes: older caches are then left alone

# name: (persons, roof = (tilt, azimuth) in degrees)
_HOUSES = {
    "mimosa": (2, (20, 120)),
    "olivier": (4, (25, 180)),
    "lavande": (3, (30, 205)),
    "laurier": (3, (18, 255)),
    "figuier": (2, None),
    "romarin": (5, None),
    "cypres": (1, None),
}
_SHOP_DAY_KWH = 30


def demo_street(seed=None):
    """The street of `make demo`: four roofs of 22.5 kWp, one battery, one car, one shop (demo_street.toml)."""
    street = parse_street(tomllib.loads((files(__package__) / "demo_street.toml").read_text("utf-8")))
    return street if seed is None else replace(street, seed=seed)


def demo_profiles(seed=None, cache_dir=None):
    """Profiles of the demo street for a whole local day, with the weather forecast.

    The same seed (None: the street's own) gives the same profiles. cache_dir: folder that keeps them as CSV and JSON, so that
    the second run starts at once; None makes them anew.
    """
    seed = demo_street().seed if seed is None else seed
    if cache_dir is None:
        return _make(seed)
    stem = os.path.join(cache_dir, f"demo-{DAY}-v{_FORMAT}-seed{seed}")
    try:
        return _load(stem)
    except (ProfileError, OSError, ValueError, KeyError):   # no cache, or a torn one
        profiles = _make(seed)
        os.makedirs(cache_dir, exist_ok=True)
        _store(profiles, stem)
        return profiles


def _make(seed):
    from .household import household_w  # pandas and pvlib take a second to load: only when there is something to make
    from .shop import shop_w
    from .sun import Sky, minutes_of
    from .weather import air_c, forecast

    times = minutes_of(DAY, ZONE)
    sky = Sky(PLACE, times, air_c(np.arange(1440)))
    weekday, day_of_year = times[0].isoweekday(), times[0].day_of_year
    start_s = int(times[0].timestamp()) - 30
    load, pv = {}, {}
    for i, home in enumerate(demo_street(seed).homes):
        if home.kind == "shop":
            load[home.name] = _milliwatts(shop_w(_SHOP_DAY_KWH, seed * 100 + i, weekday))
            continue
        persons, roof = _HOUSES[home.name]
        load[home.name] = _milliwatts(household_w(persons, seed * 100 + i, weekday, day_of_year, sky.ghi))
        if roof:
            pv[home.name] = _milliwatts(sky.roof_w(home.pv_kwp, *roof))
    return Profiles(start_s, 60, load, pv, int(times[0].utcoffset().total_seconds()),
                    forecast(start_s, sky.clear_ghi, sky.index, seed))


def _milliwatts(watts):
    """Whole tenths of a watt, so that the CSV of the cache holds exactly what was made."""
    return (np.rint(watts * 10) * 100).astype(np.int64)


def _load(stem):
    profiles = read_profiles(stem + ".csv")
    if profiles.steps != 1440:
        raise ValueError("a part of the day only")
    with open(stem + ".json", encoding="utf-8") as file:
        kept = json.load(file)
    weather = Weather(kept["start_s"], tuple(tuple(hour) for hour in kept["hours"]))
    return Profiles(profiles.start_s, profiles.step_s, profiles.load_mw, profiles.pv_mw, profiles.utc_offset_s, weather)


def _store(profiles, stem):
    profiles.write_csv(stem + ".csv.new")
    with open(stem + ".json", "w", encoding="utf-8") as file:
        json.dump(asdict(profiles.weather), file)
    os.replace(stem + ".csv.new", stem + ".csv")
