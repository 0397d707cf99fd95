"""Reads a street's profiles from CSV: `timestamp` and per home `<home>_load_w`, optionally `<home>_pv_w`.

Nothing is repaired and nothing skipped: a street that trades on an invented quarter of an hour settles invented money. Each
refusal names the line (as an editor counts them) and the column.
"""
import csv
import datetime
import re

import numpy as np

from .series import Profiles

MAX_HOMES = 64
MAX_POWER_W = 1_000_000   # a low-voltage service is far below this: such a number is in the wrong unit
_COLUMN = re.compile(r"([a-z][a-z0-9-]{0,23})_(load|pv)_w")


class ProfileError(ValueError):
    """A profile that cannot be used. `line` (1 = heading) and `column` say where, when there is a place."""

    def __init__(self, why, line=None, column=None):
        place = "" if line is None else f"line {line}"
        if column is not None:
            place += f"{', ' if place else ''}column {column}"
        super().__init__(f"{place}: {why}" if place else why)
        self.line, self.column = line, column


def read_profiles(path):
    """Profiles from the CSV file at path.

    Timestamps are ISO 8601, all with an offset or all without (then taken as UTC), rising by one step of 1 to 60 whole
    minutes; a value holds until the next timestamp. Raises ProfileError.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return _read(csv.reader(file, strict=True))
    except OSError as e:
        raise ProfileError(f"cannot read {path}: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise ProfileError(f"{path} is not UTF-8 text (byte {e.start})") from None


def _read(reader):
    try:
        heading = next(reader, None)
        columns = _columns(heading)
        times, rows, lines = [], [], []
        for cells in reader:
            if not cells:
                raise ProfileError("empty line", reader.line_num, "timestamp")
            if len(cells) != len(heading):
                at = heading[len(cells)] if len(cells) < len(heading) else len(heading) + 1
                raise ProfileError(f"{len(cells)} cells where the heading has {len(heading)}", reader.line_num, at)
            times.append(_time(cells[0], reader.line_num))
            _check_step(times, reader.line_num)
            rows.append(_values(cells, heading, reader.line_num))
            lines.append(reader.line_num)
    except csv.Error as e:
        raise ProfileError(f"not CSV: {e}", reader.line_num) from None
    if len(times) < 2:
        raise ProfileError("at least two rows of values are needed", reader.line_num, "timestamp")
    watts = np.array(rows)
    _check_range(watts, heading, lines)
    milliwatts = np.rint(watts * 1000).astype(np.int64)
    load, pv = {}, {}
    for i, (home, kind) in enumerate(columns):
        (load if kind == "load" else pv)[home] = np.ascontiguousarray(milliwatts[:, i])
    offset = times[0].utcoffset()
    step_s = int((times[1] - times[0]).total_seconds())
    return Profiles(_unix(times[0]), step_s, load, pv, int(offset.total_seconds()) if offset else 0)


def _columns(heading):
    """[(home, 'load' | 'pv')] of the columns after the first; checks the heading."""
    if not heading:
        raise ProfileError("the file is empty or starts with an empty line", 1, "timestamp")
    if heading[0] != "timestamp":
        hint = " (cells are separated by commas)" if ";" in heading[0] or "\t" in heading[0] else ""
        raise ProfileError(f"the first column must be 'timestamp', not {heading[0][:40]!r}{hint}", 1, heading[0][:40])
    columns, seen = [], set()
    for i, name in enumerate(heading[1:], 2):
        found = _COLUMN.fullmatch(name)
        if not found:
            raise ProfileError(f"unknown column {name[:40]!r}: expected <home>_load_w or <home>_pv_w, home in lower-case letters, "
                               "digits and '-'", 1, name[:40] or i)
        if name in seen:
            raise ProfileError("the column appears twice", 1, name)
        seen.add(name)
        columns.append(found.groups())
    loads = [home for home, kind in columns if kind == "load"]
    for home, kind in columns:
        if kind == "pv" and home not in loads:
            raise ProfileError(f"home {home!r} has PV but no column {home}_load_w", 1, f"{home}_pv_w")
    if not 1 <= len(loads) <= MAX_HOMES:
        raise ProfileError(f"{len(loads)} homes; 1 to {MAX_HOMES} can trade", 1, "timestamp")
    return columns


def _time(text, line):
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ProfileError(f"bad timestamp {text[:40]!r}, expected ISO 8601 such as 2026-06-11T00:15:00+02:00", line, "timestamp") from None
    if "T" not in text and " " not in text:
        raise ProfileError(f"timestamp {text[:40]!r} has no time of day", line, "timestamp")
    if time.microsecond:
        raise ProfileError("timestamps are whole seconds", line, "timestamp")
    return time


def _check_step(times, line):
    """The newest time must follow the one before by the file's own step."""
    if len(times) < 2:
        return
    if (times[-1].tzinfo is None) != (times[0].tzinfo is None):
        raise ProfileError("timestamps with and without UTC offset are mixed", line, "timestamp")
    delta = (times[-1] - times[-2]).total_seconds()
    if delta == 0:
        raise ProfileError("the timestamp is the same as on the line before", line, "timestamp")
    if delta < 0:
        raise ProfileError("the timestamp lies before the one on the line before", line, "timestamp")
    step = (times[1] - times[0]).total_seconds()
    if len(times) == 2:
        if step % 60 or not 60 <= step <= 3600:
            raise ProfileError(f"a step of {delta:g} s; steps are 1 to 60 whole minutes", line, "timestamp")
    elif delta != step:
        minutes = step / 60
        if delta % step == 0:
            raise ProfileError(f"gap: {int(delta // step) - 1} step(s) of {minutes:g} min are missing before this line", line, "timestamp")
        raise ProfileError(f"mixed steps: {delta / 60:g} min here, {minutes:g} min before", line, "timestamp")


def _values(cells, heading, line):
    try:
        if "_" in "".join(cells[1:]):   # float() would take 1_000
            raise ValueError
        return [float(cell) for cell in cells[1:]]
    except ValueError:
        for cell, name in zip(cells[1:], heading[1:]):
            if not cell.strip():
                raise ProfileError("empty cell; a value is needed at every step", line, name) from None
            if not re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*|\s*[+-]?(nan|inf|infinity)\s*", cell, re.I | re.A):
                raise ProfileError(f"{cell[:40]!r} is not a number", line, name) from None
        raise


def _check_range(watts, heading, lines):
    with np.errstate(invalid="ignore"):
        bad = ~((watts >= 0) & (watts <= MAX_POWER_W))
    if not bad.any():
        return
    row, col = np.argwhere(bad)[0]
    value, name = watts[row, col], heading[col + 1]
    if not np.isfinite(value):
        why = f"{value} is not a finite number"
    elif value < 0:
        why = f"negative {'load' if name.endswith('_load_w') else 'generation'} {value:g} W"
    else:
        why = f"{value:g} W is more than {MAX_POWER_W} W"
    raise ProfileError(why, lines[row], name)


def _unix(time):
    return int((time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)).timestamp())
