"""What comes in: the power a street's roofs and houses draw and make over a day.

read.py      a CSV of one's own, checked cell by cell
series.py    `Profiles`: the checked series, integers in milliwatts
street.py    `Street`: who lives there, tariff, feeder limits (TOML; demo_street.toml is the pattern)
demo.py      the demo street: a day in June at Carros, built from
  sun.py       measured cloudiness x the sun's geometry -> PV per roof
  household.py the Richardson model: one-minute household load
  shop.py      a small shop by the BDEW shape G4
  weather.py   what a forecast service would have said the evening before
"""
from .demo import demo_profiles, demo_street
from .read import ProfileError, read_profiles
from .series import Profiles, Weather
from .street import Battery, Ev, Feeder, Home, Street, StreetError, Tariff, check_profiles, load_street, street_of

__all__ = ["Battery", "Ev", "Feeder", "Home", "ProfileError", "Profiles", "Street", "StreetError", "Tariff", "Weather",
           "check_profiles", "demo_profiles", "demo_street", "load_street", "read_profiles", "street_of"]
