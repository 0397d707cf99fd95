"""PV power of roofs at one place: the sun's geometry by pvlib, the clouds as they were measured.

The clouds: AC power of NREL's SERF East array (Golden, Colorado), every 15 minutes through the summer of 2016; the file ships
with pvanalytics (MIT). Over 28 July 2016, a bright morning and a broken afternoon, the cloud index is the measured power over
what the same array gave on clear days at the same time of day (0.9 quantile of the 25 days around), joined by straight lines.
Sunrise to sunset there is laid over sunrise to sunset here, so that every roof of the street sees the same clouds, each at
its own angle.
"""
import functools
import warnings
from importlib.resources import as_file, files

import numpy as np
import pandas as pd
import pvlib
from pvlib import irradiance

_SERF = {"latitude": 39.742, "longitude": -105.1727, "altitude": 1829}
_SERF_DAY, _DAYS_AROUND = "2016-07-28", 12
_MAX_INDEX = 1.1           # light reflected by the edges of clouds: more than the clear sky, but not much on a street's scale
_LEAST_W = 150             # below this a clear day's power is too small to divide by: the index is held
_INVERTER, _GAMMA = 0.96, -0.0037   # PVWatts' inverter efficiency; power per kelvin of a crystalline module


def minutes_of(day, zone):
    """DatetimeIndex of the middles of the minutes of a local day (1440 but for the two days of clock change)."""
    start = pd.Timestamp(day, tz=zone)
    return pd.date_range(start, start + pd.DateOffset(days=1), freq="min", inclusive="left") + pd.Timedelta(seconds=30)


class Sky:
    """Sun and clouds of one day at one place.

    ghi: W/m2 on the horizontal, clear_ghi: the same without clouds, index: their ratio; one value per time.
    """

    def __init__(self, place, times, air_c):
        """place: dict latitude, longitude, altitude; times: DatetimeIndex; air_c: temperature of the air per time."""
        self._place, self._times, self._air_c = place, times, air_c
        self._sun, clear = _clear_sky(place, times)
        self.clear_ghi = clear["ghi"].to_numpy()
        self.index = _clouds_over(daylight(self._sun))
        self.ghi = self.clear_ghi * self.index
        self._parts = irradiance.erbs(self.ghi, self._sun["zenith"].to_numpy(), times.day_of_year)

    def roof_w(self, kwp, tilt_deg, azimuth_deg):
        """AC power in W of a roof of kwp kilowatt-peak (PVWatts: module temperature, 14 % losses, inverter)."""
        plane = _plane(self._place, self._times, self._sun, self.ghi, self._parts["dni"], self._parts["dhi"], tilt_deg, azimuth_deg)
        module_c = self._air_c + plane / 800 * 26            # NOCT 46 degC: 26 K above the air at 800 W/m2
        dc = pvlib.pvsystem.pvwatts_dc(plane, module_c, kwp * 1000 * 0.86, _GAMMA)
        return np.minimum(dc * _INVERTER, kwp * 1000)


def daylight(sun):
    """0 at sunrise to 1 at sunset, NaN at night; from a solar position frame in order of time."""
    up = sun["apparent_elevation"].to_numpy() > 0
    first, last = np.flatnonzero(up)[[0, -1]]
    part = (np.arange(len(up)) - first) / (last - first)
    return np.where(up, part, np.nan)


def _clouds_over(day_part):
    at, index = _measured_index()
    return np.nan_to_num(np.interp(day_part, at, index), nan=1.0)


@functools.cache
def _measured_index():
    """(daylight part, cloud index) each quarter of an hour of the measured day, sun up."""
    days = _measured_days()
    power = days[_SERF_DAY].to_numpy()
    clear = days.quantile(0.9, axis=1).to_numpy()
    times = pd.date_range(_SERF_DAY, periods=96, freq="15min", tz="Etc/GMT+7")
    part = daylight(pvlib.location.Location(**_SERF).get_solarposition(times))
    told = ~np.isnan(part) & (clear > _LEAST_W)
    return part[told], np.clip(power[told] / clear[told], 0, _MAX_INDEX)


def _measured_days():
    """Measured AC power in W: one column per day around _SERF_DAY, 96 rows."""

    with as_file(files("pvanalytics") / "data" / "serf_east_15min_ac_power.csv") as path:
        power = pd.read_csv(path, index_col=0, parse_dates=True).iloc[:, 0].clip(lower=0)
    around = pd.date_range(pd.Timestamp(_SERF_DAY) - pd.Timedelta(days=_DAYS_AROUND), periods=2 * _DAYS_AROUND + 1)
    return pd.DataFrame({str(day.date()): power.loc[str(day.date())].to_numpy() for day in around})


def _clear_sky(place, times):
    location = pvlib.location.Location(**place)
    sun = location.get_solarposition(times)
    return sun, location.get_clearsky(times, model="ineichen", solar_position=sun)


def _plane(place, times, sun, ghi, dni, dhi, tilt, azimuth):
    """Irradiance on a tilted plane, W/m2 (Hay and Davies)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        total = irradiance.get_total_irradiance(
            tilt, azimuth, sun["apparent_zenith"].to_numpy(), sun["azimuth"].to_numpy(), dni, ghi, dhi,
            dni_extra=irradiance.get_extra_radiation(times).to_numpy(), model="haydavies")["poa_global"]
    return np.nan_to_num(np.asarray(total), nan=0.0).clip(min=0)
