"""Weather of the demo day: the air's temperature, and what a forecast service would have said about it the evening before.

A day-ahead forecast of irradiance misses by some 15 to 20 % (rms, broken clouds); so the forecast is the hour's true cloud
index smoothed over three hours, with a seeded error of 0.10 (rms, correlated from hour to hour) added.
"""
import numpy as np

from .series import Weather

_ERROR_RMS, _CORRELATION = 0.10, 0.7


def air_c(minutes):
    """Temperature of the air per minute of the local day: 17 degC at 05:30, 26 degC at 15:00, a June day near Nice."""
    hours = np.asarray(minutes) / 60
    return np.interp(hours, [0, 5.5, 10, 15, 19, 24], [19, 17, 22, 26, 23, 19])


def forecast(start_s, clear_ghi, index, seed):
    """Weather from per-minute clear-sky irradiance and cloud index (1440 values each)."""
    random = np.random.default_rng([seed, 1])
    hours = len(index) // 60
    light = clear_ghi.reshape(hours, 60).mean(axis=1)
    weight = np.maximum(light, 1e-6)
    truth = (clear_ghi * index).reshape(hours, 60).mean(axis=1) / weight
    truth = np.where(light > 5, truth, 1.0)
    smooth = np.convolve(np.pad(truth, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    error, said = 0.0, []
    for hour in range(hours):
        error = _CORRELATION * error + random.normal(0, _ERROR_RMS * (1 - _CORRELATION**2) ** 0.5)
        said.append(min(max(smooth[hour] + error, 0.15), 1.0))
    temperature = air_c(np.arange(hours) * 60 + 30)
    return Weather(start_s, tuple((round(light[h] * said[h]), _cloud_percent(said[h]), round(temperature[h])) for h in range(hours)))


def _cloud_percent(index):
    """Cloudiness from the ratio of irradiance to clear sky (Kasten and Czeplak, Solar Energy 24, 1980)."""
    return round(100 * min((1 - min(index, 1.0)) / 0.75, 1.0) ** (1 / 3.4))
