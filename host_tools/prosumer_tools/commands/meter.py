"""`prosumer meter WAVEFORM.csv`: sample → reading, by the firmware's own code on the Unix port.

In:  CSV with a header line. Raw counts per channel, one row per sampling instant: columns `v` or `v1` `v2` `v3`, then `i1` …
     `i6`; either a column `t_us` (its gaps are lost samples) or a constant rate with --rate. A count may be signed or start at
     zero (0 … 2^bits-1, with the zero in the middle); the offset does not matter.
Out: one JSON object per line and interval, see README; quantities of whole mains cycles. What is not part of a whole cycle at the
     start and the end of the file counts as missing, and its energy is not estimated. An interval ends with the last cycle in it.
Skew: how much later than the voltage the current is sampled, in microseconds (or one time for each channel, voltages first).
A file that is not such a table: one line on standard error that names line and column, exit code 2.
"""
import array
import csv
import json
import math
import re
import sys
import tempfile
from pathlib import Path

from prosumer_tools.unixport import ROOT, FirmwareError, run_firmware

FLAGS = ((1, "missing-cycles"), (2, "clipping"), (4, "no-voltage"), (8, "uncalibrated"), (16, "reversed-clamp"),
         (32, "frequency"), (64, "clamp"), (128, "gap"))
BOARD_ROLES = ("grid", "pv", "battery", "ev", "load", "load")
UNITS = (8, 10, 12, 14, 16, 18, 20, 24, 32)  # bits of converters

SCRIPT = """
import json, sys
job = json.load(open(sys.argv[1]))
from prosumer.errors import Reject
from prosumer.metering import kernel
from prosumer.metering.calibration import Calibration
from prosumer.metering.meter import Meter

class Recording(Meter):
    # A stream whose past is known: the filters need not wait for it.
    def lead(self, past, buf, frames):
        self._prime(buf, frames)
        self._join[:len(past)] = past
        h = self.history
        self._detector[0] = self._raw(self._join, self._cross[1], h - self._length, h)[0] + kernel.BIAS

    def end(self, borrowed):
        self.finish()
        self._rest -= borrowed

try:
    if job["board"]:
        sys.path.insert(0, job["board"])
        import board
        settings = {"channels": job["clamps"]}
        channels = board.channels(settings)
        calibration = board.calibration(settings)
    else:
        channels = job["channels"]
    if job["calibration"]:
        calibration = Calibration.from_dict(job["calibration"])
    for entry, skew in zip(calibration.currents, job["skew_ns"]):
        entry["skew_ns"] = skew
    for entry, clip in zip(calibration.voltages + calibration.currents, job["clip"]):
        entry["clip"] = clip or entry["clip"]
    meter = Recording(channels, job["rate_hz"], calibration, job["nominal_hz"], job["group"], job["rate_mhz"])
    width = 2 * len(channels)
    buf = bytearray(width * (2 * job["chunk"] + meter.min_frames))
    f = open(job["samples"], "rb")
    pad = job["pad"]
    f.seek((pad - meter.history) * width if pad else 0)
    past = f.read(meter.history * width) if pad else None
    start = 0
    stops = job["stops"]
    for k in range(len(stops)):
        what, frame = stops[k]
        if what == "lost":
            meter.lost(frame)
            past = None
            continue
        if what == "close":
            # what the sums have seen lies `delay` frames back; 2 more, so that noise does not move a border that lies right there
            ahead = meter.delay + 2
            frame = min(frame + ahead, job["frames"] + (ahead if pad else 0), *[s[1] for s in stops[k:] if s[0] == "run"][:1])
        while start < frame:
            n = frame - start
            if n >= 2 * job["chunk"]:
                n = job["chunk"]
            view = memoryview(buf)[:n * width]
            f.readinto(view)
            if n < meter.min_frames:
                meter.lost(n)
            else:
                if past:
                    meter.lead(past, view, n)
                meter.window(view, n)
            past = None
            start += n
        if what == "close":
            if k == len(stops) - 1:
                meter.end(meter.delay + 2 if pad else 0)
            r = meter.close_interval()
            r["calibration"] = "".join("%02x" % b for b in r["calibration"])
            r["channels"] = [dict(r["channels"][c.name], name=c.name) for c in meter.clamps]
            print(json.dumps(r))
except Reject as e:
    print(json.dumps({"refused": e.code}))
"""


class BadTable(ValueError):
    """What is wrong with the file, with line and column."""


def add_parser(subparsers):
    p = subparsers.add_parser("meter", help="sample → reading: measure a recorded waveform",
                              description="Measure a recorded waveform with the firmware's own code; one JSON line per interval.")
    p.add_argument("waveform", metavar="WAVEFORM.csv", help="raw counts: t_us (or --rate), v or v1…v3, i1…")
    p.add_argument("--rate", type=float, metavar="HZ", help="samples a second of each channel, when there is no t_us")
    p.add_argument("--board", metavar="NAME", help="board whose rate and nominal calibration hold (default EMULATED)")
    p.add_argument("--calibration", metavar="FILE", help="calibration.json of a device")
    p.add_argument("--v-scale", metavar="V_PER_COUNT", help="volts a count, one or one per voltage")
    p.add_argument("--i-scale", metavar="A_PER_COUNT[,…]", help="amperes a count, one or one per current; negative turns a clamp round")
    p.add_argument("--skew-us", metavar="US[,…]", help="how much later than the voltage each current was sampled")
    p.add_argument("--interval", type=float, metavar="SECONDS", help="length of an interval (default: the whole file)")
    p.set_defaults(run=run)


def run(args):
    try:
        for line in measure(args):
            print(line)
    except (BadTable, FirmwareError, OSError) as e:
        print(f"prosumer meter: {e}", file=sys.stderr)
        return 2
    return 0


# -- the table -------------------------------------------------------------------------------------------

def read_table(path):
    """→ (names of the channels, times in µs or None, counts of each channel). Columns that are no channel are refused."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        header = [name.strip().lower() for name in next(rows, [])]
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
        names = volts + currents
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
                raise BadTable(f"line {rows.line_num}: counts of more than 32 bits")
            for column, count in zip(data, counts, strict=True):
                column.append(count)
            if at is not None:
                times.append(_number(row[at], rows.line_num, at, "t_us"))
            if at is not None and not math.isfinite(times[-1]):
                raise BadTable(f"line {rows.line_num}, column {at + 1} (t_us): {row[at].strip()!r} is not a time")
            if len(times) > 1 and times[-1] <= times[-2]:
                raise BadTable(f"line {rows.line_num}, column {at + 1} (t_us): time does not go on")
    if not data[0]:
        raise BadTable("line 2: no samples")
    return names, times or None, data


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


def scales(text, count, what):
    if text is None:
        return None
    try:
        values = [float(v) for v in text.split(",")]
    except ValueError:
        raise BadTable(f"{what}: {text!r} is not a list of numbers") from None
    if len(values) == 1:
        values *= count
    if len(values) != count or not all(math.isfinite(v) for v in values):
        raise BadTable(f"{what}: {count} values are needed, there are {len(values)}")
    return values


# -- the job ---------------------------------------------------------------------------------------------

def measure(args):
    """Lines of JSON, one per interval."""
    names, times, data = read_table(args.waveform)
    phases = sum(n[0] == "v" for n in names)
    clamps = len(names) - phases
    if (args.v_scale is None) != (args.i_scale is None):
        raise BadTable("--v-scale and --i-scale belong together")
    job = {"board": None, "calibration": None, "clamps": list(BOARD_ROLES[:clamps])}
    rate = args.rate
    if args.v_scale is None:
        folder = ROOT / "boards" / (args.board or "EMULATED")
        if not (folder / "board.json").is_file():
            names = sorted(p.parent.name for p in folder.parent.glob("*/board.json"))
            raise BadTable(f"no board {folder.name}: boards are {', '.join(names)}")
        job["board"] = str(folder)
        front_end = json.loads((folder / "board.json").read_text())["front_end"]
        rate = rate or front_end.get("rate_hz")
    rate_mhz, gaps = sampling(times, rate)

    frames = len(data[0])
    columns, shifts, clips = zip(*map(to_int16, data), strict=True)
    if args.v_scale is not None:
        volts = scales(args.v_scale, phases, "--v-scale")
        amps = scales(args.i_scale, clamps, "--i-scale")
        if 0 in volts or 0 in amps:
            raise BadTable("a scale of 0 measures nothing")
        job["calibration"] = from_scales([v * 2 ** s for v, s in zip(volts, shifts)],
                                         [a * 2 ** s for a, s in zip(amps, shifts[phases:])], columns[phases:])
        job["channels"] = [[n, "voltage"] for n in names[:phases]] + [[n, "load", k % phases] for k, n in enumerate(names[phases:])]
    if args.calibration:
        try:
            job["calibration"] = json.loads(Path(args.calibration).read_text())
        except ValueError as e:
            raise BadTable(f"{args.calibration}: {e}") from None
    skew = scales(args.skew_us, len(names) if args.skew_us and args.skew_us.count(",") == len(names) - 1 else clamps, "--skew-us")
    if skew and len(skew) == len(names):
        skew = [s - skew[k % phases] for k, s in enumerate(skew[phases:])]
    job["skew_ns"] = [round(1000 * s) for s in skew] if skew else []
    # a board says itself where its converter ends
    job["clip"] = [] if job["board"] else list(clips)

    interval = args.interval
    if interval is not None and not interval >= 0.2:
        raise BadTable("--interval: at least 0.2 s")
    job.update(rate_hz=round(rate_mhz / 1000), rate_mhz=rate_mhz, nominal_hz=50, chunk=max(600, round(rate_mhz / 5000)),
               group=1 if not interval or interval < 60 else 10, stops=stops(frames, gaps, interval and interval * rate_mhz / 1000))
    job["frames"] = frames
    least = round(rate_mhz / 1000 / 50 * 4.5)
    if frames < least:
        raise BadTable(f"line {frames + 1}: too few samples, {least} are needed at this rate")
    columns, job["pad"] = continued(columns, job["rate_hz"], gaps[0][0] if gaps else frames)
    with tempfile.TemporaryDirectory() as folder:
        flat = array.array("h", bytes(2 * len(columns[0]) * len(names)))
        for k, column in enumerate(columns):
            flat[k::len(names)] = column
        if sys.byteorder == "big":
            flat.byteswap()
        job["samples"] = str(Path(folder) / "samples")
        Path(job["samples"]).write_bytes(flat.tobytes())
        (Path(folder) / "job.json").write_text(json.dumps(job))
        lines = run_firmware(SCRIPT, heap="8M", args=[str(Path(folder) / "job.json")], timeout_s=3600).splitlines()
    for line in lines:
        r = json.loads(line)
        if "refused" in r:
            raise BadTable(f"{args.waveform}: the meter refuses this: {r['refused']}")
        yield json.dumps(present(r))


def from_scales(volts, amps, columns):
    """A calibration that holds the given scales and nothing else. What no converter's range is known for is taken from the counts."""
    out = []
    for a, column in zip(amps, columns):
        bits = next(b for b in UNITS if max(abs(c) for c in column) <= (1 << b - 1))
        full = abs(a) * (1 << max(bits, 12) - 1) / math.sqrt(2)
        # 1/5000 of full scale at 230 V: see calibration.py, no_load_mw
        out.append({"gain_na": round(a * 1e9), "skew_ns": 0, "offset_mw": 0, "no_load_mw": round(230 * full / 5),
                    "noise_mc": 0, "clip": 32767, "max_ma": round(1000 * full), "phase": []})
    return {"version": 1, "state": "field", "accuracy": "indicative", "date": 0, "currents": out,
            "voltages": [{"gain_nv": round(v * 1e9), "noise_mc": 0, "clip": 32767} for v in volts]}


def stops(frames, gaps, interval):
    """What happens at which frame: ("run", frame) before a gap, ("lost", frames), ("close", frame) at the end of an interval."""
    out = []
    closes = []  # frames, lost ones included: time passes for them too
    while interval and round((len(closes) + 1) * interval) < frames + sum(n for _, n in gaps):
        closes.append(round((len(closes) + 1) * interval))
    gone = 0
    for frame, lost in gaps + [(frames, 0)]:
        while closes and closes[0] - gone < frame:
            out.append(["close", max(closes.pop(0) - gone, 0)])
        out.append(["run", frame])
        if lost:
            out.append(["lost", lost])
            gone += lost
            while closes and closes[0] - gone < frame:
                out.append(["close", frame])
                closes.pop(0)
    if out[-1][0] == "run":
        out.pop()
    out.append(["close", frames])
    return out


def continued(columns, rate, whole):
    """The recording with some of itself, whole periods away, before and after → (columns, frames on each side).

    The meter's filters look `history` frames back and `delay` frames ahead; with these borrowed frames they need not wait, and
    the first and last cycle of a recording are not lost. The sums are over the recording's own frames; its first `whole` have no gap."""
    pad = rate // 40 + 16
    voltage = columns[0][:min(rate, whole)]
    mean = sum(voltage) / len(voltage)
    low = mean - (mean - min(voltage)) / 4
    marks, armed = [], False
    for k, value in enumerate(voltage):
        if armed and value >= mean:
            marks.append(k - (value - mean) / ((value - voltage[k - 1]) or 1))
            armed = False
        elif value < low:
            armed = True
    if len(marks) < 3 or len(columns[0]) < 2 * pad + rate // 5:
        return columns, 0
    period = (marks[-1] - marks[0]) / (len(marks) - 1)
    if not rate / 70 < period < rate / 40:
        return columns, 0
    # the number of periods, up to 8, that comes nearest to a whole number of frames and is long enough
    away = round(period * min(range(2, 9), key=lambda m: (abs(m * period - round(m * period)), m)))
    if away < pad or away + pad > len(columns[0]):
        return columns, 0
    return [c[away - pad:away] + c + c[len(c) - away:len(c) - away + pad] for c in columns], pad


def present(r):
    """The reading in the order a person reads it, flags by name."""
    def named(bits):
        return [name for bit, name in FLAGS if bits & bit]

    totals = {}
    for c in r["channels"]:
        sums = totals.setdefault(c["role"], {"active_power_mw": 0, "import_mwh": 0, "export_mwh": 0})
        for k in sums:
            sums[k] += c[k]
    keys = ("name", "role", "current_ma", "active_power_mw", "reactive_power_mvar", "apparent_power_mva", "power_factor_milli",
            "import_mwh", "export_mwh", "uncertainty_mwh")
    return {"frequency_mhz": r["frequency_mhz"], "voltage_mv": r["voltage_mv"], "voltages_mv": r["voltages_mv"],
            "channels": [{**{k: c[k] for k in keys}, "flags": named(c["flags"])} for c in r["channels"]],
            "totals": totals,
            "cycles_processed": r["cycles_processed"], "cycles_missing": r["cycles_missing"], "covered_ms": r["covered_ms"],
            "flags": named(r["flags"]), "calibration": r["calibration"],
            "accuracy": ("indicative", "A", "B", "C")[r["accuracy"]]}
