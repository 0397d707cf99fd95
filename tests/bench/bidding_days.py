"""Days for the demo street's houses: as many as wanted, in summer or winter, each with its own clouds and its own people.

Loads are the Richardson model with the appliances of a household kept over the days; clouds are the 25 measured days that the
profiles' one day was taken from; the weather forecast misses by as much as theirs. Kept in build/, since drawing takes seconds.
"""
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pvlib
from prosumer_tools.profiles import demo, household, sun, weather
from prosumer_tools.profiles.shop import shop_w

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
    load, pv, said = {}, {}, []
    pick = []
    for day in range(days):
        date = pd.Timestamp(FIRST_DAY[season]) + pd.Timedelta(days=day)
        times = sun.minutes_of(date.strftime("%Y-%m-%d"), demo.ZONE)
        air = weather.air_c(np.arange(1440)) - (WINTER_COLDER_K if season == "winter" else 0)
        sky = sun.Sky(demo.PLACE, times, air)
        at, index = measured[order[day % len(order)]]
        sky.index = np.nan_to_num(np.interp(sun.daylight(sky._sun), at, index), nan=1.0)
        sky.ghi = sky.clear_ghi * sky.index
        sky._parts = sun.irradiance.erbs(sky.ghi, sky._sun["zenith"].to_numpy(), times.day_of_year)
        for home in demo.demo_street(seed).homes:
            roof = demo._HOUSES.get(home.name, (0, None))[1]
            if roof:
                pv.setdefault(home.name, []).append(sky.roof_w(home.pv_kwp, *roof))
        pick.append((times[0].isoweekday(), times[0].day_of_year, sky.ghi))
        said += [h[0] for h in weather.forecast(0, sky.clear_ghi, sky.index, seed * 1000 + day).hours]
    for i, home in enumerate(demo.demo_street(seed).homes):
        if home.kind == "shop":
            load[home.name] = np.concatenate([shop_w(30, seed * 100 + day, d[0]) for day, d in enumerate(pick)])
        else:
            load[home.name] = household_days(demo._HOUSES[home.name][0], seed * 100 + i, pick)
    return load, {name: np.concatenate(parts) for name, parts in pv.items()}, said


def cloud_days():
    """[(daylight part, cloud index)] of 25 measured days."""
    days = sun._measured_days()
    clear = days.quantile(0.9, axis=1).to_numpy()
    out = []
    for date in days.columns:
        times = pd.date_range(date, periods=96, freq="15min", tz="Etc/GMT+7")
        part = sun.daylight(pvlib.location.Location(**sun._SERF).get_solarposition(times))
        told = ~np.isnan(part) & (clear > sun._LEAST_W)
        out.append((part[told], np.clip(days[date].to_numpy()[told] / clear[told], 0, sun._MAX_INDEX)))
    return out


def household_days(persons, seed, days):
    """Load in W per minute of one household over several days: its appliances stay, its people move."""
    import richardsonpy
    from richardsonpy.classes import appliance, lighting, occupancy, stochastic_el_load_wrapper

    inputs = os.path.join(os.path.dirname(richardsonpy.__file__), "inputs")
    random.seed(seed)
    np.random.seed(seed)
    appliances = appliance.Appliances(os.path.join(inputs, "Appliances.csv"), prev_heat_dev=True, randomize_appliances=True,
                                      annual_consumption=household._APPLIANCES_PART * household._YEAR_KWH[persons - 1])
    lamps = lighting.load_lighting_profile(filename=os.path.join(inputs, "LightBulbs.csv"), index=seed % 100)
    out = []
    for weekday, day_of_year, ghi in days:
        present = occupancy.Occupancy(persons, initial_day=weekday, nb_days=1).occupancy
        model = stochastic_el_load_wrapper.ElectricityProfile(appliances, lamps)
        out.append(np.asarray(model.power_sim(irradiation=ghi, weekend=weekday > 5, day=day_of_year, occupancy=present)[0], dtype=float))
    return np.concatenate(out)
