"""Profiles: load and PV power of each home, constant within a step, as integers.

Powers are int64 milliwatts, times Unix seconds. Integers, so that energy over any span is exact (mW x ms) and a reading can
be compared with the truth to the last milliwatt-hour.
"""
import csv
import datetime
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Weather:
    """Hourly forecast: `hours[i]` = (irradiance W/m2 horizontal, cloud %, temperature degC) from start_s + 3600 i on; integers."""
    start_s: int
    hours: tuple

    def at(self, t_s):
        """The (irradiance, cloud, temperature) that holds at t_s; the first or last hour outside the range."""
        i = (t_s - self.start_s) // 3600
        return self.hours[max(0, min(i, len(self.hours) - 1))]


@dataclass(frozen=True)
class Profiles:
    """Series per home from start_s on, one value each step_s seconds.

    load_mw: {home: int64[n]} every home; pv_mw: {home: int64[n]} homes with PV only. utc_offset_s: local time, for showing.
    """
    start_s: int
    step_s: int
    load_mw: dict
    pv_mw: dict
    utc_offset_s: int = 0
    weather: Weather | None = None

    @property
    def homes(self):
        return tuple(self.load_mw)

    @property
    def steps(self):
        return len(next(iter(self.load_mw.values())))

    @property
    def end_s(self):
        return self.start_s + self.steps * self.step_s

    def index(self, t_ms):
        """Step that holds at t_ms (Unix milliseconds); ValueError outside the profile."""
        i = (t_ms - self.start_s * 1000) // (self.step_s * 1000)
        if not 0 <= i < self.steps:
            raise ValueError(f"{t_ms} ms lies outside the profile ({self.start_s}..{self.end_s} s)")
        return i

    def load(self, home, t_ms):
        """Load in mW at t_ms."""
        return int(self.load_mw[home][self.index(t_ms)])

    def pv(self, home, t_ms):
        """PV power available in mW at t_ms; 0 for a home without PV."""
        return int(self.pv_mw[home][self.index(t_ms)]) if home in self.pv_mw else 0

    def energy_mwh(self, home, kind="load"):
        """Energy of the whole profile in mWh, rounded down; kind is 'load' or 'pv'."""
        series = (self.load_mw if kind == "load" else self.pv_mw).get(home)
        return 0 if series is None else int(series.sum()) * self.step_s // 3600

    def local(self, t_s):
        """datetime at t_s in the profile's own offset."""
        zone = datetime.timezone(datetime.timedelta(seconds=self.utc_offset_s))
        return datetime.datetime.fromtimestamp(t_s, zone)

    def write_csv(self, path):
        """Writes the format that read_profiles() reads: watts with up to three decimals."""
        columns = []
        for home in self.homes:
            columns.append((f"{home}_load_w", self.load_mw[home]))
            if home in self.pv_mw:
                columns.append((f"{home}_pv_w", self.pv_mw[home]))
        rows = np.stack([values for _, values in columns], axis=1).tolist()
        with open(path, "w", newline="", encoding="utf-8") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(["timestamp"] + [name for name, _ in columns])
            for i, row in enumerate(rows):
                out.writerow([self.local(self.start_s + i * self.step_s).isoformat()] + [f"{mw / 1000:.10g}" for mw in row])
