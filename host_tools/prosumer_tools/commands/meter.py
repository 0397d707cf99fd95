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
import json
import math
import sys
import tempfile
from pathlib import Path

from prosumer_tools.unixport import ROOT, FirmwareError, run_firmware
from prosumer_tools.waveform import UNITS, BadTable, read_table, sampling, to_int16

FLAGS = ((1, "missing-cycles"), (2, "clipping"), (4, "no-voltage"), (8, "uncalibrated"), (16, "reversed-clamp"),
         (32, "frequency"), (64, "clamp"), (128, "gap"))
BOARD_ROLES = ("grid", "pv", "battery", "ev", "load", "load")
REASONS = {
    "calibration-channels": "the calibration is for another number of voltages or currents than the file has",
    "sample-rate": "at 50 Hz a rate of 800 Hz to 128 kHz is needed",
    "board-has-one-clamp": "this board has one clamp: v and i1", "board-has-two-clamps": "this board has one or two clamps: v, i1, i2",
    "board-has-three-clamps": "this board has one to three clamps: v, i1, i2, i3",
}

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
    if job["calibration"] is not None:
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
    except (BadTable, FirmwareError) as e:
        print(f"prosumer meter: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"prosumer meter: {e.filename}: {(e.strerror or str(e)).lower()}", file=sys.stderr)
        return 2
    return 0


# -- the job ---------------------------------------------------------------------------------------------

def scales(text, count, what, most=1e6):
    if text is None:
        return None
    try:
        values = [float(v) for v in text.split(",")]
    except ValueError:
        raise BadTable(f"{what}: {text!r} is not a list of numbers") from None
    if len(values) == 1:
        values *= count
    if len(values) != count:
        raise BadTable(f"{what}: {count} values are needed, there are {len(values)}")
    if not all(abs(v) <= most for v in values):
        raise BadTable(f"{what}: {text!r} has a number that is none or beyond ±{most:g}")
    return values


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
        boards = {path.parent.name: path.parent for path in sorted((ROOT / "boards").glob("*/board.json"))}
        folder = boards.get(args.board or "EMULATED")
        if not folder:
            raise BadTable(f"no board {args.board}: boards are {', '.join(boards)}")
        job["board"] = str(folder)
        front_end = json.loads((folder / "board.json").read_text())["front_end"]
        if "rate_hz" not in front_end:
            raise BadTable(f"the board {folder.name} meters in a chip of its own: it gives no samples to measure")
        rate = front_end["rate_hz"] if rate is None else rate
    rate_mhz, gaps = sampling(times, rate)

    frames = len(data[0])
    columns, shifts, clips = zip(*map(to_int16, data), strict=True)
    if args.v_scale is not None:
        volts = scales(args.v_scale, phases, "--v-scale")
        amps = scales(args.i_scale, clamps, "--i-scale")
        if min(map(abs, volts + amps)) < 1e-9:
            raise BadTable("a scale of 0, or below 1e-9, measures nothing")
        job["calibration"] = from_scales([v * 2 ** s for v, s in zip(volts, shifts)],
                                         [a * 2 ** s for a, s in zip(amps, shifts[phases:])], columns[phases:])
        job["channels"] = [[n, "voltage"] for n in names[:phases]] + [[n, "load", k % phases] for k, n in enumerate(names[phases:])]
    if args.calibration:
        if args.v_scale is not None:
            raise BadTable("--calibration and --v-scale: both say what a count is worth; give one")
        try:
            job["calibration"] = json.loads(Path(args.calibration).read_text()) or {}
        except ValueError as e:
            raise BadTable(f"{args.calibration}: {e}") from None
    skew = scales(args.skew_us, len(names) if args.skew_us and args.skew_us.count(",") == len(names) - 1 else clamps, "--skew-us", 1e4)
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
            raise BadTable(f"{args.waveform}: {REASONS.get(r['refused'], 'the meter refuses this: ' + r['refused'])}")
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
