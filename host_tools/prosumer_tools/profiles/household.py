"""One-minute load of a household: the stochastic model of Richardson et al. (Energy and Buildings 42, 2010), validated on
measured British homes, in the Python version richardsonpy (RWTH Aachen, MIT).

Its classes are used below `ElectricLoad`, which knows whole years only. It draws from the global generators, so they are
seeded for the call and put back after it.
"""
import os
import random

import numpy as np

_YEAR_KWH = (2700, 3200, 4000, 4400, 5500)   # a house of 1..5 persons, richardsonpy's table
_APPLIANCES_PART = 0.91                      # the rest is light, which the model makes from occupancy and daylight


def household_w(persons, seed, weekday, day_of_year, ghi):
    """Load in W per minute of one day.

    persons 1..5; weekday 1 = Monday .. 7; ghi: W/m2 on the horizontal per minute, 1440 values (light is used when it is dark).
    No electric heating and hot water: a house in June.
    """
    import richardsonpy
    from richardsonpy.classes import appliance, lighting, occupancy, stochastic_el_load_wrapper

    inputs = os.path.join(os.path.dirname(richardsonpy.__file__), "inputs")
    kept = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        present = occupancy.Occupancy(persons, initial_day=weekday, nb_days=1).occupancy
        appliances = appliance.Appliances(os.path.join(inputs, "Appliances.csv"), prev_heat_dev=True, randomize_appliances=True,
                                          annual_consumption=_APPLIANCES_PART * _YEAR_KWH[persons - 1])
        lamps = lighting.load_lighting_profile(filename=os.path.join(inputs, "LightBulbs.csv"), index=seed % 100)
        model = stochastic_el_load_wrapper.ElectricityProfile(appliances, lamps)
        total, _, _ = model.power_sim(irradiation=ghi, weekend=weekday > 5, day=day_of_year, occupancy=present)
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
    return np.asarray(total, dtype=float)
