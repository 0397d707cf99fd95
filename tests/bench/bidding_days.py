"""Days for the demo street's houses: as many as wanted, in summer or winter, each with its own clouds and its own people.

Loads and clouds are those of prosumer_tools.simulate.days; the weather forecast misses by as much as the demo's. Kept in build/,
since drawing takes seconds.
"""
import pickle
from pathlib import Path

import numpy as np
from prosumer_tools.profiles import demo, weather
from prosumer_tools.profiles.shop import shop_w
from prosumer_tools.simulate.days import cloud_days, day_after, household_w, sky_of

CACHE = Path(__file__).resolve().parents[2] / "build"
FIRST_DAY = {"summer": "2026-06-01", "winter": "2026-01-12"}
WINTER_COLDER_K = 15


def days_of(season, days, seed):
    """What `street_days` makes, from the cache if it is there."""
    path = CACHE / f"bidding-{season}-{days}-{seed}.pickle"
    if not path.exists():
        made = street_days(season, days, seed)
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".new").write_bytes(pickle.dumps(made))
        path.with_suffix(".new").replace(path)
    return pickle.loads(path.read_bytes())


def demo_day(seed):
    """The day that `make demo` plays, in the same form."""
    profiles = demo.demo_profiles(seed)
    watts = [{name: series / 1000 for name, series in of.items()} for of in (profiles.load_mw, profiles.pv_mw)]
    return watts[0], watts[1], [hour[0] for hour in profiles.weather.hours]


def street_days(season, days, seed):
    """({home: W per minute}, {home: W per minute}, hourly irradiance forecast): what happens, and what was forecast."""
    measured = cloud_days()
    order = np.random.default_rng([seed, 7]).permutation(len(measured))
    homes = demo.demo_street(seed).homes
    load, pv, said, pick = {}, {}, [], []
    for day in range(days):
        times = day_after(FIRST_DAY[season], day, demo.ZONE)
        sky = sky_of(demo.PLACE, times, WINTER_COLDER_K if season == "winter" else 0, measured[order[day % len(order)]])
        for home in homes:
            roof = demo._HOUSES.get(home.name, (0, None))[1]
            if roof:
                pv.setdefault(home.name, []).append(sky.roof_w(home.pv_kwp, *roof))
        pick.append((times[0].isoweekday(), times[0].day_of_year, sky.ghi))
        said += [h[0] for h in weather.forecast(0, sky.clear_ghi, sky.index, seed * 1000 + day).hours]
    for i, home in enumerate(homes):
        if home.kind == "shop":
            load[home.name] = np.concatenate([shop_w(30, seed * 100 + day, d[0]) for day, d in enumerate(pick)])
        else:
            load[home.name] = household_w(demo._HOUSES[home.name][0], seed * 100 + i, pick)
    return load, {name: np.concatenate(parts) for name, parts in pv.items()}, said
