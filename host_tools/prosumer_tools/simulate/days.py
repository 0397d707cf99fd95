"""Day after day at one place: measured clouds over a modelled sun, and a household whose appliances stay and whose people move.

Clouds are the 25 measured days (NREL SERF East) that the demo's one day was taken from; loads are Richardson's 1-minute model.
pandas, pvlib and the model take seconds to load: only when there is something to make.
"""
import os
import random

import numpy as np


def cloud_days():
    """[(part of the daylight, cloud index)] of each measured day."""
    import pandas as pd
    import pvlib

    from prosumer_tools.profiles import sun

    days = sun._measured_days()
    clear = days.quantile(0.9, axis=1).to_numpy()
    out = []
    for date in days.columns:
        times = pd.date_range(date, periods=96, freq="15min", tz="Etc/GMT+7")
        part = sun.daylight(pvlib.location.Location(**sun._SERF).get_solarposition(times))
        told = ~np.isnan(part) & (clear > sun._LEAST_W)
        out.append((part[told], np.clip(days[date].to_numpy()[told] / clear[told], 0, sun._MAX_INDEX)))
    return out


def day_after(first_day, day, zone):
    """The minutes of the day `day` days after `first_day` (YYYY-MM-DD)."""
    import pandas as pd

    from prosumer_tools.profiles import sun

    return sun.minutes_of((pd.Timestamp(first_day) + pd.Timedelta(days=day)).strftime("%Y-%m-%d"), zone)


def sky_of(place, times, cold_k, clouds):
    """The sky over `place` in these minutes, `cold_k` below a June day, its clouds one of `cloud_days()`."""
    from prosumer_tools.profiles import sun, weather

    sky = sun.Sky(place, times, weather.air_c(np.arange(1440)) - cold_k)
    sky.index = np.nan_to_num(np.interp(sun.daylight(sky._sun), *clouds), nan=1.0)
    sky.ghi = sky.clear_ghi * sky.index
    sky._parts = sun.irradiance.erbs(sky.ghi, sky._sun["zenith"].to_numpy(), times.day_of_year)
    return sky


def household_w(persons, seed, days):
    """Load in W per minute of one household. `days`: [(weekday, day of the year, irradiance per minute)]."""
    import richardsonpy
    from richardsonpy.classes import appliance, lighting, occupancy, stochastic_el_load_wrapper

    from prosumer_tools.profiles import household

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
