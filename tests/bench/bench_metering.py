"""How well the meter measures: the firmware's own code on a modelled chain, against the limits of the standards.

    python tests/bench/bench_metering.py [--json FILE] [--quick]

Every figure comes from samples of the modelled converter (8 kHz, 12 bits, 0.55 LSB of noise before rounding, 50 µs of skew
unless it says otherwise), measured by `prosumer.metering` on the MicroPython Unix port and compared with what the waveforms
are worth in closed form. Side by side: the published algorithms of emonLib, emonLibCM and ESPHome's ct_clamp, written anew from
their documentation in double precision, on the same samples, with the true gains and the best phase setting they allow.

Limits: IEC 62053-21:2003 table 6 and 8 (class 1), IEC 62053-22:2003 table 4 and 6 (class 0.5 S), EN 50470-3:2006 table 4 (class
B and C, the harmonised standard for MID Annex V). Direct connection: Ib = In = 10 A, Imax = 63 A, Itr = 1 A.
Error curves are drawn to build/bench/metering_errors.png.
"""
import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "host_tools"), str(ROOT / "tests/bench")]

from metering_cost import cost  # noqa: E402
from metering_curves import draw  # noqa: E402
from metering_others import ct_clamp, emonlib, emonlibcm  # noqa: E402
from prosumer_tools.emulator import adc  # noqa: E402
from prosumer_tools.unixport import run_firmware  # noqa: E402

U = 230.0
IMAX = 63.0
FULL_SCALE = 90.0  # A peak: what 63 A rms needs
LEAD_S = 0.4  # before the measurement: the first cycle has been found
SCRIPT = """
import json, sys
from prosumer.metering.calibration import Calibration
from prosumer.metering.meter import Meter
for line in sys.stdin:
    job = json.loads(line)
    cal = Calibration.from_dict(job["calibration"])
    channels = [("v", "voltage")] + [("i%d" % k, "load") for k in range(len(cal.currents))]
    meter = Meter(channels, job["rate"], cal)
    step = 2 * len(channels)
    buf = bytearray(1600 * step)
    view = memoryview(buf)
    out = []
    with open(job["file"], "rb") as f:
        done = 0
        for frame in job["closes"]:
            while done < frame:
                n = min(1600, frame - done)
                if frame - done - n < meter.min_frames:
                    n = frame - done
                    if n > 1600:
                        n //= 2
                f.readinto(view[:n * step])
                meter.window(view[:n * step], n, job["covers_ms"])
                done += n
            r = meter.close_interval()
            out.append([r["frequency_mhz"], r["voltage_mv"], r["flags"], r["cycles_processed"], r["cycles_missing"],
                        [[c["active_power_mw"], c["reactive_power_mvar"], c["current_ma"], c["import_mwh"], c["export_mwh"],
                          c["uncertainty_mwh"]] for c in [r["channels"][x.name] for x in meter.clamps]]])
    print(json.dumps(out))
"""

DRIFT = """
import sys
from prosumer.metering.channel import NWMS_PER_MWH
from prosumer.metering.calibration import Calibration
from prosumer.metering.meter import Meter
from prosumer.metering.registers import EnergyRegisters
meter = Meter((("v", "voltage"), ("grid", "grid")), 8000, Calibration.nominal([{"gain_nv": 195000000}], [{"gain_na": 44000000}], "factory", "B"))
registers = EnergyRegisters(sys.argv[1] + "/registers", ["grid+"])
with open(sys.argv[1] + "/samples", "rb") as f:
    buf = f.read()
exact = 0
for k in range(2000):
    meter.window(buf, 1600, 50000000)
    exact += meter.clamps[0].power_nw * 50000000
    registers.add("grid+", meter.close_interval()["channels"]["grid"]["import_mwh"])
    registers.journal()
print(exact // NWMS_PER_MWH - EnergyRegisters(sys.argv[1] + "/registers", ["grid+"]).value("grid+"))
"""


def chain(**settings):
    return adc.ModelledADC(**{"i_full_scale": FULL_SCALE, **settings})


class Case:
    """One waveform through one converter: `seconds` of it, `repeats` times; `truth_w` is what its power is.

    late_us: how much later than the wave's zero the first sample is taken."""

    def __init__(self, name, current, truth_w, seconds=5.0, repeats=1, f=50.0, volts=None, through=None, covers_ms=0, late_us=0.0):
        self.name, self.truth_w, self.seconds, self.repeats, self.covers_ms = name, truth_w, seconds, repeats, covers_ms
        self.late_s = late_us * 1e-6
        self.chain = through or chain()
        self.volts = volts or adc.sine(U, f)
        self.current = current
        self.calibration = self.chain.calibration(1)

    def sample(self, path):
        """Write the samples; returns the frames at which to close an interval (the first one is the lead)."""
        rate = self.chain.rate_hz
        lead = round(LEAD_S * rate)
        frames = lead + round(self.seconds * rate) * self.repeats
        with open(path, "wb") as file:
            done = 0
            while done < frames:
                n = min(1 << (15 if self.chain.antialias else 19), frames - done)
                file.write(self.chain.samples(self.late_s + done / rate, n, [self.volts], [self.current]))
                done += n
        return [lead] + [lead + round(self.seconds * rate) * (k + 1) for k in range(self.repeats)]


def measure(cases, keep=False):
    """Runs the cases through the firmware; each gets `.errors` in % (one for each repeat), `.readings`, and `.raw` counts on demand."""
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            path = Path(folder) / "samples"
            closes = case.sample(path)
            job = {"file": str(path), "closes": closes, "rate": case.chain.rate_hz, "calibration": case.calibration,
                   "covers_ms": case.covers_ms}
            out = json.loads(run_firmware(SCRIPT, json.dumps(job) + "\n", heap="2M"))
            if keep:
                case.raw = np.fromfile(path, "<i2").reshape(-1, 2)[closes[0]:]
            case.readings = out[1:]
            case.errors = [100 * (r[5][0][0] / 1000 / case.truth_w - 1) if case.truth_w else r[5][0][0] / 1000 for r in case.readings]
    return cases


def loads(current_a, pf=1.0, capacitive=False, f=50.0):
    lag = math.acos(pf) * (-1 if capacitive else 1)
    return adc.sine(current_a, f, lag), U * current_a * pf


# -- figures of the issue --------------------------------------------------------------------------------

def figures(quick=False):
    """[(name, value, limit, unit)]: 3 sigma of one measurement, and the mean of all."""
    n = 8 if quick else 40
    cases = {}
    for name, current, pf, cap, seconds, repeats in (
            ("100:1 of Imax in 5 s", IMAX / 100, 1.0, False, 5, n),
            ("1000:1 of Imax in 6 min", IMAX / 1000, 1.0, False, 360, 1 if quick else 20),
            ("PF 0.5 inductive, 10 A, 5 s", 10, 0.5, False, 5, n), ("PF 0.8 capacitive, 10 A, 5 s", 10, 0.8, True, 5, n),
            ("PF 0.5 inductive, Imax, 5 s", IMAX, 0.5, False, 5, n)):
        wave, truth = loads(current, pf, cap)
        cases[name] = Case(name, wave, truth, seconds, repeats)
    measure(cases.values())
    rows = []
    for name, case in cases.items():
        sigma = float(np.std(case.errors, ddof=1)) if len(case.errors) > 1 else expected_sigma(case)
        limit = 0.15 if "PF" in name else 0.1
        rows.append((name + ", 3 sigma", 3 * sigma, limit, "%"))
        rows.append((name + f", |mean of {len(case.errors)}|", abs(float(np.mean(case.errors))), limit, "%"))
    worst = 0.0
    for f in (45.0, 47.5, 49.99, 50.0, 50.017, 52.5, 60.0, 65.0):
        case, = measure([Case("f", adc.sine(10, f), U * 10, 5, 2 if quick else 6, f=f)])
        worst = max(worst, *(abs(r[0] - f * 1000) for r in case.readings))
    rows.append(("frequency 45…65 Hz over 5 s, worst", worst, 2, "mHz"))
    case, = measure([Case("no load", adc.sine(0.0), 0.0, 60 if quick else 3600, 1)])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "samples").write_bytes(chain().samples(0, 1600, [adc.sine(U)], [adc.sine(7.3, lag=0.4)]))
        drift = int(run_firmware(DRIFT, args=[folder], heap="1M"))
    rows.append(("registers after 10^8 s in 2000 intervals, |drift|", abs(drift), 0, "mWh"))
    rows.append(("no load, one minute" if quick else "no load, one hour", case.readings[0][5][0][3] + case.readings[0][5][0][4], 0, "mWh"))
    return rows


def expected_sigma(case):
    """Of one long measurement: noise of the current (with that of rounding) times the voltage, in % of the power."""
    top = case.chain.top
    noise = math.hypot(case.chain.noise_lsb, 12 ** -0.5)
    amps = case.chain.per_current(case.chain.i_full_scale, 0) / top * noise
    return 100 * U * amps / math.sqrt(case.seconds * case.chain.rate_hz) / case.truth_w


# -- influence quantities ----------------------------------------------------------------------------------

def influences(quick=False):
    """[(name, added error in %, limit of class 1, our limit)] at half Imax; the reference is the sine at the same current.

    The chain has what every converter that samples so slowly must have: a low-pass before it, here one of third order at 1.2 kHz (one
    operational amplifier a channel). The edges of a current fall between the samples; at exactly 50 Hz they fall on the same instants
    for ever, so each such wave is shifted against the samples in quarters of one, and the worst counts. With a resistor and a
    capacitor alone, or with nothing, a rate that is no multiple of the grid's does as much. 8000 Hz without a filter cannot: stated."""
    seconds = 2.0 if quick else 5.0
    i = IMAX / 2
    half = IMAX / math.sqrt(2)  # half-wave: Imax/sqrt2 on for half of the time
    rows = []
    filtered = chain(antialias="lowpass")

    def add(name, limit, wave, truth, **more):
        rows.append((name, limit, [Case(name, wave, truth, **{"seconds": seconds, "through": filtered, **more})]))

    reference, truth = loads(i)
    inductive, truth_i = loads(i, 0.5)
    bases = {"": Case("sine", reference, truth, seconds, through=filtered),
             "PF 0.5": Case("sine, PF 0.5", inductive, truth_i, seconds, through=filtered),
             "RC": Case("sine, RC", reference, truth, seconds, through=chain(antialias="rc", rate_hz=7981))}
    add("voltage -10 %, PF 1", 0.7, reference, 0.9 * truth, volts=adc.sine(0.9 * U))
    add("voltage +10 %, PF 1", 0.7, reference, 1.1 * truth, volts=adc.sine(1.1 * U))
    add("voltage -10 %, PF 0.5", 1.0, inductive, 0.9 * truth_i, volts=adc.sine(0.9 * U))
    for f in (49.0, 51.0):
        add(f"frequency {f:.0f} Hz, PF 1", 0.5, adc.sine(i, f), truth, f=f)
        add(f"frequency {f:.0f} Hz, PF 0.5", 0.7, adc.sine(i, f, math.pi / 3), truth_i, f=f)
    add("5th harmonic 10 % U, 40 % I", 0.8, adc.sine(i, harmonics=((5, 0.4, 0.0),)), truth * 1.04,
        volts=adc.sine(U, harmonics=((5, 0.1, 0.0),)))
    add("half-wave DC", 3.0, adc.half_wave(half), U * half / 2)
    add("bursts, 2 on 2 off", 3.0, adc.bursts(i), truth / 2)
    steep = (("phase-fired at 90°", lambda f: adc.phase_fired(i, f), truth / 2),
             ("dimmer at 45°", lambda f: adc.phase_fired(i, f, 45), U * i * fired_share(45)),
             ("dimmer at 135°", lambda f: adc.phase_fired(i, f, 135), U * i * fired_share(135)),
             ("rectifier, 30° pulses", lambda f: adc.rectifier(60, f, 30), rectifier_power(60, 30)))
    shifts = [k * 31.25 for k in range(2 if quick else 4)]

    def worst(name, kind, points, **through):
        """Of several shifts, or frequencies of the grid."""
        for title, wave, power in steep:
            if title.startswith(kind):
                cases = [Case(title, wave(f), power, seconds, f=f, late_us=late, through=chain(**through)) for f, late in points]
                rows.append((f"{title}, {name}", 3.0, cases))

    worst("50 Hz", "", [(50.0, late) for late in shifts], antialias="lowpass")
    around = (50.0,) if quick else (49.95, 49.98, 50.0, 50.0376, 50.05)  # 50.0376: 7981 Hz is 159.5 times that
    worst("RC, 7981 Hz, 49.95…50.05 Hz", "", [(f, 0.0) for f in around], antialias="rc", rate_hz=7981)
    worst("7981 Hz alone, 49.98…50.013 Hz", "", [(f, 40.0) for f in around[1:3] + (50.013,)], rate_hz=7981)
    worst("sigma-delta", "", [(50.0, late) for late in shifts], antialias="decimation")
    worst("8000 Hz, no filter", "phase", [(50.0, late) for late in shifts])
    measure([*bases.values(), *(c for _, _, cases in rows for c in cases)])
    out = []
    for name, limit, cases in rows:
        against = bases[next(key for key in ("PF 0.5", "RC", "") if key in name)]
        error = max((c.errors[0] - against.errors[0] for c in cases), key=abs)
        out.append((name, error, limit, None if "8000 Hz" in name else 0.1))
    return out


def fired_share(angle):
    """Power of a sine that is on from `angle` degrees of each half-cycle, as a share of the whole: in closed form."""
    a = math.radians(angle)
    return 1 - a / math.pi + math.sin(2 * a) / (2 * math.pi)


def rectifier_power(peak, width_deg):
    """Mean of sqrt2 U sin(x) times cosine pulses about the peaks, in closed form."""
    w = math.radians(width_deg)
    k = math.pi / w
    # integral of cos(y) cos(k y) over |y| < w/2, with cos(k w/2) = 0
    pulse = 2 * k * math.cos(w / 2) / (k * k - 1)
    return math.sqrt(2) * U * peak * pulse / math.pi


# -- tables of the standards -------------------------------------------------------------------------------

def limit_of(standard, amps, pf):
    """Limit in %, None where the standard sets none at this point."""
    one = pf == 1.0
    if standard == "class 1":
        low, mid = (0.5, 1.0) if one else (1.0, 2.0)
        return None if amps < low else 1.5 if amps < mid else 1.0
    if standard == "class 0.5 S":
        low, mid = (0.1, 0.5) if one else (0.2, 1.0)
        return None if amps < low else 1.0 if amps < mid else 0.5 if one else 0.6
    low, mid = 0.5 if standard == "class B" else 0.3, 1.0
    if not one:
        return None if amps < mid else {"class B": 1.0, "class C": 0.5}[standard]
    return None if amps < low else {"class B": (1.5, 1.0), "class C": (1.0, 0.5)}[standard][int(amps >= mid)]


STANDARDS = ("class 1", "class 0.5 S", "class B", "class C")
CURRENTS = (0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 31.5, 63.0)
ANGLES = ((1.0, False), (0.5, False), (0.8, True))


def table(quick=False):
    """[{amps, pf, error (%), spread (%), limits}] for all points of the tables."""
    cases = []
    for amps in CURRENTS[::3] if quick else CURRENTS:
        for pf, cap in ANGLES:
            wave, truth = loads(amps, pf, cap)
            case = Case("", wave, truth, (10 if quick else 60) if amps < 1 else 5, 1 if quick else 3)
            case.point = (amps, pf, cap)
            cases.append(case)
    measure(cases)
    return [{"amps": c.point[0], "pf": c.point[1], "kind": "capacitive" if c.point[2] else "inductive" if c.point[1] < 1 else "",
             "error": max(c.errors, key=abs), "limits": {s: limit_of(s, c.point[0], c.point[1]) for s in STANDARDS}} for c in cases]


# -- other settings of the chain ---------------------------------------------------------------------------

def settings(quick=False):
    """[(chain, error at 10 A PF 1, at 10 A PF 0.5, at 0.63 A PF 1)] in %, 5 s each."""
    chains = {
        "12 bits, 0.55 LSB, 50 µs (the chain)": chain(),
        "12 bits, 50 µs, INL bow and S 0.5 LSB": chain(inl_bow_lsb=0.5, inl_s_lsb=0.5),
        "12 bits, 50 µs, offsets 20 LSB": chain(offset_lsb=(20.0, -20.0)),
        "12 bits, 50 µs, jitter 2 µs": chain(jitter_us=2.0),
        "16 bits, 1 LSB, 0 µs": chain(bits=16, noise_lsb=1.0, skew_us=0.0),
        "16 bits, high-pass 1 Hz (sigma-delta, I2S)": chain(bits=16, noise_lsb=1.0, skew_us=0.0, highpass_hz=1.0,
                                                                      antialias="decimation"),
        "10 bits, 0.55 LSB, 50 µs": chain(bits=10),
        "12 bits, 2 kHz, 100 µs": chain(rate_hz=2000, skew_us=100.0),
        "12 bits, 300 µs (2.4 samples)": chain(skew_us=300.0),
    }
    chains.update({f"{name}, as it is": chain(**preset) for name, preset in adc.PRESETS.items()})
    rows = []
    for name, through in chains.items():
        cases = []
        covers_ms = 1000 if through.rate_hz < 8000 and "as it is" in name else 0
        for amps, pf in ((10, 1.0), (10, 0.5), (0.63, 1.0)):
            wave, truth = loads(amps, pf)
            cases.append(Case(name, wave, truth, 5, through=through, covers_ms=covers_ms))
        rows.append((name, *(c.errors[0] for c in measure(cases))))
    return rows


# -- other meters' algorithms on the same samples ------------------------------------------------------------

def side_by_side(quick=False):
    """[(load, ours, emonLib, emonLibCM, ct_clamp times 230 V)]: errors in %."""
    rows = []
    for name, current, truth, more in (
            ("10 A, PF 1", *loads(10), {}), ("10 A, PF 0.5 inductive", *loads(10, 0.5), {}), ("0.63 A, PF 1", *loads(0.63), {}),
            ("0.1 A, PF 1", *loads(0.1), {}), ("10 A, PF 1, 49 Hz", adc.sine(10, 49.0), U * 10, {"f": 49.0}),
            ("offsets of 20 LSB, 1 A, PF 1", *loads(1), {"through": chain(offset_lsb=(20.0, -20.0))}),
            ("half-wave DC, 20 A", adc.half_wave(20), U * 10, {}), ("bursts, 2 on 2 off, 20 A", adc.bursts(20), U * 10, {}),
            ("5th harmonic", adc.sine(20, harmonics=((5, 0.4, 0.0),)), U * 20 * 1.04, {"volts": adc.sine(U, harmonics=((5, 0.1, 0.0),))})):
        case, = measure([Case(name, current, truth, 2 if quick else 5, **more)], keep=True)
        c = case.chain
        v = case.raw[:, 0] * c.v_full_scale / c.top
        i = case.raw[:, 1] * c.i_full_scale / c.top
        lag = c.skew_us * 1e-6 * c.rate_hz
        others = emonlib(v, i, lag), emonlibcm(v, i, lag, 2 * math.pi * 50 / c.rate_hz), U * ct_clamp(i, 0.2, c.rate_hz)
        rows.append((name, case.errors[0], *(100 * (p / truth - 1) for p in others)))
    return rows


# -- output ------------------------------------------------------------------------------------------------

def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="write all results here as well")
    parser.add_argument("--quick", action="store_true", help="fewer repeats and points")
    options = parser.parse_args(argv)
    started = time.time()
    missed = []

    print("figures")
    numbers = figures(options.quick)
    for name, value, limit, unit in numbers:
        print(f"  {name:52} {value:8.4f} {unit:4} limit {limit}")
        if value > limit:
            missed.append(name)
    print("influence quantities: added error in %, limit of class 1, limit set here")
    influence = influences(options.quick)
    for name, error, limit, ours in influence:
        print(f"  {name:52} {error:+8.4f}   ±{limit}   {'±' + str(ours) if ours else 'stated'}")
        if ours and abs(error) > ours:
            missed.append(name)
    print("error in % against the limits of " + ", ".join(STANDARDS))
    points = table(options.quick)
    for p in points:
        limits = "  ".join(f"{'±' + str(x) if x else '—':>5}" for x in p["limits"].values())
        print(f"  {p['amps']:5} A  PF {p['pf']} {p['kind']:10} {p['error']:+8.4f}   {limits}")
        if any(x is not None and abs(p["error"]) > x for x in p["limits"].values()):
            missed.append(f"{p['amps']} A PF {p['pf']}")
    draw(points, ANGLES, limit_of, IMAX, ROOT / "build/bench/metering_errors.png")
    print("other chains: error in % at 10 A PF 1, 10 A PF 0.5, 0.63 A PF 1")
    chains = settings(options.quick)
    for name, *errors in chains:
        print(f"  {name:46}" + "".join(f" {e:+8.4f}" for e in errors))
    print("side by side, error in %: this meter, emonLib, emonLibCM, ct_clamp x 230 V")
    others = side_by_side(options.quick)
    for name, *errors in others:
        print(f"  {name:46}" + "".join(f" {e:+9.3f}" for e in errors))
    print("cost at 8 kHz (240 MHz derived: see cost())")
    costs = cost()
    for name, values in costs.items():
        share = max(values["kernel_share_of_core"].values()) + values["interpreted_share_of_core"]
        kernels = ", ".join(f"{arch} {n}" for arch, n in values["kernel_instructions_per_frame"].items())
        print(f"  {name}: {values['samples_per_s_here'] / 1e6:.0f} million samples a second here; instructions a frame: {kernels}; of a core at "
              f"240 MHz {100 * max(values['kernel_share_of_core'].values()):.1f} % kernel + {100 * values['interpreted_share_of_core']:.1f} % "
              f"interpreted = {100 * share:.1f} %   limit {'10 %' if name.startswith('2') else 'none set'}")
        if name.startswith("2") and share > 0.1:
            missed.append("cost of 2 channels")
    print(f"curves in build/bench/metering_errors.png; {time.time() - started:.0f} s; missed: {', '.join(missed) or 'none'}")
    if options.json:
        Path(options.json).write_text(json.dumps({"figures": numbers, "influences": influence, "table": points, "chains": chains,
                                                  "side_by_side": others, "cost": costs, "missed": missed}, indent=1))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
