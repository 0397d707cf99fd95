"""A recorded waveform as a CSV table: raw counts per channel, one row per sampling instant. What is wrong in it is named with its place."""
import array
import csv
import math
import re

UNITS = (8, 10, 12, 14, 16, 18, 20, 24, 32)  # bits of converters


class BadTable(ValueError):
    """What is wrong with the file, with line and column."""


def read_table(path):
    """→ (names of the channels, times in µs or None, counts of each channel). Columns that are no channel are refused."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        try:
            header = [name.strip().lower() for name in next(rows, [])]
            names = _channels(header)
            return names, *_columns(rows, header, names)
        except (UnicodeDecodeError, csv.Error):
            raise BadTable(f"line {rows.line_num + 1}: no text in UTF-8") from None


def _channels(header):
    """Names of the header, voltages first."""
    if not header or header == [""]:
        raise BadTable("line 1: no header")
    for k, name in enumerate(header):
        if not re.fullmatch(r"t_us|v[123]?|i[1-6]?", name):
            raise BadTable(f"line 1, column {k + 1}: {name!r} is not t_us, v, v1…v3 or i1…i6")
        if name in header[:k]:
            raise BadTable(f"line 1, column {k + 1}: {name!r} twice")
    volts = sorted(n for n in header if n[0] == "v")
    currents = sorted(n for n in header if n[0] == "i")
    if volts not in (["v"], ["v1"], ["v1", "v2", "v3"]):
        raise BadTable(f"line 1: needs a column v, or v1, v2 and v3; it has {', '.join(volts) or 'no voltage'}")
    if not currents or ("i" in currents and len(currents) > 1):
        raise BadTable("line 1: needs a column i1 (i2, …) with a current")
    return volts + currents


def _columns(rows, header, names):
    """→ (times in µs or None, counts of each channel)."""
    places = [header.index(n) for n in names]
    at = header.index("t_us") if "t_us" in header else None
    times, data = array.array("d"), [array.array("q") for _ in names]
    for row in rows:
        if not row or row == [""]:
            continue
        if len(row) != len(header):
            raise BadTable(f"line {rows.line_num}, column {min(len(row), len(header)) + 1}: "
                           f"{len(row)} values where the header has {len(header)}")
        try:
            counts = [int(row[p]) for p in places]
        except ValueError:
            counts = _slowly(row, header, places, rows.line_num)
        if max(counts) >= 1 << 32 or min(counts) < -(1 << 31):
            p = next(p for p, count in zip(places, counts, strict=True) if not -(1 << 31) <= count < 1 << 32)
            raise BadTable(f"line {rows.line_num}, column {p + 1} ({header[p]}): a count of more than 32 bits")
        for column, count in zip(data, counts, strict=True):
            column.append(count)
        if at is not None:
            times.append(_number(row[at], rows.line_num, at, "t_us"))
            if not math.isfinite(times[-1]):
                raise BadTable(f"line {rows.line_num}, column {at + 1} (t_us): {row[at].strip()!r} is not a time")
            if len(times) > 1 and times[-1] <= times[-2]:
                raise BadTable(f"line {rows.line_num}, column {at + 1} (t_us): time does not go on")
    if not data[0]:
        raise BadTable("line 2: no samples")
    return times or None, data


def _number(text, line, column, name):
    try:
        return float(text)
    except ValueError:
        raise BadTable(f"line {line}, column {column + 1} ({name}): {text.strip()!r} is not a number") from None


def _slowly(row, header, places, line):
    """A row in which something is not an integer: whole numbers written as 12.0 are, all else is named."""
    out = []
    for p in places:
        value = _number(row[p], line, p, header[p])
        if not math.isfinite(value) or value != int(value):
            raise BadTable(f"line {line}, column {p + 1} ({header[p]}): {row[p].strip()!r} is not a whole count")
        out.append(int(value))
    return out


def sampling(times, rate):
    """→ (rate in mHz, [(frame, lost frames before it)]). A gap is where more than one and a half periods lie between rows."""
    if times is None:
        if not rate or not math.isfinite(rate) or rate <= 0:
            raise BadTable("no column t_us: the sampling rate is needed (--rate HZ)")
        return round(rate * 1000), []
    if len(times) < 3:
        raise BadTable(f"line {len(times) + 1}: too few samples")
    steps = sorted(b - a for a, b in zip(times, times[1:]))
    usual = steps[len(steps) // 2]
    gaps = [(k + 1, round((b - a) / usual) - 1) for k, (a, b) in enumerate(zip(times, times[1:])) if b - a > 1.5 * usual]
    whole = len(times) - 1 + sum(n for _, n in gaps)
    return round(1e9 * whole / (times[-1] - times[0])), gaps


def to_int16(column):
    """Counts of one channel as int16 → (counts, shift to the right, count at which the converter saturates or 0).

    Of a converter that counts from 0, or has more than 16 bits, the middle is taken off and the lowest bits are dropped."""
    low, high = min(column), max(column)
    unsigned = low >= 0 and high > 0
    bits = next(b for b in UNITS if (high < 1 << b if unsigned else -(1 << b - 1) <= low and high < 1 << b - 1))
    top = (1 << bits - 1) - 1
    middle = top + 1 if unsigned else 0
    shift = max(0, bits - 16)
    # at the limit twice in a row or more: saturated (once can be the peak of a wave that just fits)
    clipped = any(a == b and a - middle in (top, -top - 1) for a, b in zip(column, column[1:]))
    return array.array("h", ((c - middle) >> shift for c in column)), shift, (top >> shift) if clipped else 0
