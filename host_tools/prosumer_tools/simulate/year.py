"""Profiles of as many days as wanted for a street that comes with the tools: 16 homes at Carros, or any other number.

Loads are the Richardson model, drawn day by day with the appliances of a household kept over the year and its sum set to that of a
household of its size (2,700 to 5,500 kWh a year); light follows the season.
The sun is pvlib's at Carros; clouds are 25 measured summer days (NREL SERF East) in drawn order, so winters come out clearer than they
are. The weather forecast misses as that of the demo day does. Local time is UTC+1 all year. Kept under build/ by seed.
"""
import os
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from prosumer_tools.profiles import Profiles, Weather
from prosumer_tools.profiles.demo import PLACE
from prosumer_tools.profiles.street import Battery, Ev, Feeder, Home, Street
from prosumer_tools.simulate.days import cloud_days, day_after, household_w, sky_of

NOTE = ("Generation: cloudiness of 25 summer days measured by NREL (SERF East), the sun at Carros (43.79 N 7.19 E) by pvlib. "
        "Consumption: Richardson's 1-minute model of households; shops by the BDEW shape G4.")
_FORMAT = 2      # raise it when the making changes: older caches are then left alone
_ZONE, _OFFSET_S = "Etc/GMT-1", 3600
_PEOPLE = {"mimosa": 2, "olivier": 4, "lavande": 3, "laurier": 3, "figuier": 2, "romarin": 5, "cypres": 1, "tilleul": 4, "jasmin": 2,
           "genet": 3, "cedre": 5, "amandier": 1, "thym": 2, "sauge": 4}
_ROOFS = {"mimosa": (3.0, 20, 120), "olivier": (9.0, 25, 180), "lavande": (6.0, 30, 205), "laurier": (4.5, 18, 255),
          "tilleul": (5.0, 25, 190), "cedre": (9.0, 22, 170), "thym": (3.0, 20, 100), "sauge": (6.0, 28, 230)}  # kWp, tilt, azimuth
_SHOPS = {"epicerie": 30, "boulangerie": 45}   # kWh a working day
_BATTERIES = {"lavande": Battery(10.0, 5.0), "tilleul": Battery(7.0, 3.5)}
_CARS = {"figuier": Ev(7.4, 8.0, "09:30", "17:00"), "genet": Ev(3.7, 8.0, "00:00", "07:00")}
_ORDER = ("mimosa", "olivier", "lavande", "laurier", "figuier", "romarin", "cypres", "epicerie", "tilleul", "jasmin", "genet", "cedre",
          "amandier", "thym", "sauge", "boulangerie")


def year_street(homes=16, seed=1, slot_minutes=15):
    """The street: the 16 kinds of homes in turn."""
    out = []
    for i in range(homes):
        kind, again = _ORDER[i % len(_ORDER)], i // len(_ORDER)
        out.append(Home(kind + (f"-{again + 1}" if again else ""), "shop" if kind in _SHOPS else "house", 60 if kind in _SHOPS else 45,
                        _ROOFS.get(kind, (0.0,))[0], _BATTERIES.get(kind), _CARS.get(kind)))
    return Street(tuple(out), f"A street of {homes} homes, Carros", slot_minutes, seed,
                  feeder=Feeder(round(2.25 * homes, 1), round(1.1 * homes, 1)))


def year_profiles(street, first_day="2026-01-01", days=365, cache_dir=None, progress=lambda text: None):
    """`Profiles` in one-minute steps; the same street names, seed, day and number of days give the same."""
    path = Path(cache_dir) / f"year-v{_FORMAT}-{first_day}-{days}-{len(street.homes)}-seed{street.seed}.npz" if cache_dir else None
    if path and path.exists():
        try:
            return _load(path)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            pass    # torn: made anew
    profiles = _make(street, first_day, days, progress)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        arrays = {f"{kind}-{name}": s.astype(np.int32) for kind, of in (("load", profiles.load_mw), ("pv", profiles.pv_mw))
                  for name, s in of.items()}
        np.savez_compressed(part, start=profiles.start_s, weather=np.array(profiles.weather.hours), **arrays)
        os.replace(part, path)
    return profiles


def _load(path):
    with np.load(path) as kept:
        of = {kind: {k.split("-", 1)[1]: kept[k].astype(np.int64) for k in kept.files if k.startswith(kind + "-")}
              for kind in ("load", "pv")}
        start = int(kept["start"])
        hours = tuple(map(tuple, kept["weather"].tolist()))
    return Profiles(start, 60, of["load"], of["pv"], _OFFSET_S, Weather(start, hours))


def _make(street, first_day, days, progress):
    progress("the sun of each day")
    start_s, skies, hours, pv = _skies(street, first_day, days)
    load = {}
    with ProcessPoolExecutor(2) as crew:
        jobs = {h.name: crew.submit(_loads, h.name.split("-")[0], street.seed * 1009 + i, skies) for i, h in enumerate(street.homes)}
        for i, (name, job) in enumerate(jobs.items()):
            progress(f"consumption of {name} ({i + 1} of {len(jobs)})")
            load[name] = np.rint(job.result() * 1000).astype(np.int64)
    pv = {name: np.rint(np.concatenate(parts) * 1000).astype(np.int64) for name, parts in pv.items()}
    return Profiles(start_s, 60, load, pv, _OFFSET_S, Weather(start_s, tuple(hours)))


def _skies(street, first_day, days):
    """(start, [(weekday, day of year, irradiance per minute)], hourly forecast, {home: [W per minute of a day]})."""
    from prosumer_tools.profiles import weather

    clouds = cloud_days()
    order = np.random.default_rng([street.seed, 7])
    out, hours, pv, start_s = [], [], {}, None
    for day in range(days):
        times = day_after(first_day, day, _ZONE)
        start_s = start_s or int(times[0].timestamp()) - 30
        cold_k = 7.5 * (1 + np.cos(2 * np.pi * (times[0].day_of_year - 25) / 365))
        sky = sky_of(PLACE, times, cold_k, clouds[order.integers(len(clouds))])
        for home in street.homes:
            roof = _ROOFS.get(home.name.split("-")[0])
            if roof:
                pv.setdefault(home.name, []).append(sky.roof_w(*roof))
        out.append((times[0].isoweekday(), int(times[0].day_of_year), sky.ghi))
        hours += weather.forecast(0, sky.clear_ghi, sky.index, street.seed * 1000 + day).hours
    return start_s, out, hours, pv


def _loads(kind, seed, days):
    """W per minute of one home over all days; runs in a process of its own."""
    if kind in _SHOPS:
        from prosumer_tools.profiles.shop import shop_w
        return np.concatenate([shop_w(_SHOPS[kind], [seed, day], d[0]) for day, d in enumerate(days)])
    from prosumer_tools.profiles.household import _YEAR_KWH

    persons = _PEOPLE[kind]
    watts = household_w(persons, seed, days)
    # a drawn set of appliances may use twice what such a household does; normalised to the model's table, as richardsonpy does
    return watts * (_YEAR_KWH[persons - 1] * len(days) / 365 / (watts.sum() / 60_000))
