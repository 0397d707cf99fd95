"""`prosumer calibrate PORT`: give a meter's clamp its gain, offset and phase, with a reference beside it.

The reference is a meter that shows voltage and power, or a resistive load whose rated power is known. The full way takes a reading
without load, three loads or more that span 10:1 and one inductive load (class B); the quick way a reading without load and one
resistive load (class A). The meter measures, the firmware's own wizard computes, and the errors before and after are shown; only then
is /calibration.json written, with its date. A clamp that sits backwards is turned round by its gain; one that sits on another phase, or
saturates, is named, and stored only with --force.

With several clamps each has its turn (--channel NAME); the meter's class is that of its worst clamp, and it stays indicative until
all have had theirs. Power is positive in the clamp's own sense: grid what is drawn, pv what is generated, battery what is charged.
"""
import argparse
import datetime
import sys
from pathlib import Path

from prosumer_tools.calibration import device, points
from prosumer_tools.calibration.solve import solve
from prosumer_tools.meter_port import PortError, check_answers
from prosumer_tools.unixport import FirmwareError

POINTS = """the file of --points, in the order in which the loads will be switched on (a reading without load comes before, unless --no-idle):

  [
    {"load": "lamp 100 W",   "voltage_v": 230.4, "power_w": 98.2},
    {"load": "toaster",      "voltage_v": 229.8, "power_w": 812.5},
    {"load": "kettle",       "voltage_v": 228.9, "power_w": 1985},
    {"load": "vacuum, idle", "voltage_v": 229.9, "power_w": 402, "power_factor": 0.71}
  ]

  voltage_v      what the reference shows at that load
  power_w        what the reference shows; or, of a resistive load that is known,
  rated_w        its power at
  rated_v        this voltage (a kettle's plate: 2200 and 230)
  power_factor   of an inductive load; or apparent_va, its apparent power
  load           what to switch on: shown when it is its turn

three resistive loads or more that span 10:1 and an inductive one: class B; one resistive load: class A.
"""
WARNINGS = {
    "reversed": "the clamp sits backwards: its sign is turned round; better turn the clamp itself and calibrate again",
    "wrong-phase": "the current belongs to another phase than the voltage: put the clamp on the conductor of its phase",
    "saturated": "the clamp's input saturates at these loads: a clamp of a higher rating, or a smaller burden, is needed",
    "nonlinear": "gains at different loads differ by more than 1 %: check the reference, the load and the clamp's rating",
    "range-below-10-to-1": "the loads do not span 10:1 in three steps or more: class A at best",
    "no-inductive-point": "no inductive load: the phase is right if the loads really were resistive; class A at best",
    "other-clamps": "other clamps of this meter are not calibrated yet: its readings stay indicative until they are (--channel NAME)",
}
MOST_IDLE_A = 0.5  # crosstalk and noise are far below
GRAVE = {"wrong-phase", "saturated"}


def add_parser(subparsers):
    p = subparsers.add_parser("calibrate", help="calibrate a meter's clamp with a reference", description=__doc__, epilog=POINTS,
                              formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("port", metavar="PORT", help="serial port of the meter")
    p.add_argument("--channel", metavar="NAME", default="grid", help="the clamp (default: grid)")
    p.add_argument("--channels", default="grid", help="clamps in the order of the board's inputs, if the meter is not provisioned yet")
    p.add_argument("--quick", action="store_true", help="the quick way: no load, then one resistive load")
    p.add_argument("--points", type=Path, metavar="FILE.json", help="what the reference says, instead of asking (see below)")
    p.add_argument("--no-idle", action="store_true", help="leave out the reading without load (keeps the offset)")
    p.add_argument("--seconds", type=seconds, default=10, metavar="S", help="how long to measure at each load, 1 to 40 (default: 10)")
    p.add_argument("--yes", action="store_true", help="ask nothing: the loads are switched otherwise, and the result is stored")
    p.add_argument("--force", action="store_true", help="store in spite of a clamp on the wrong phase or saturation")
    p.set_defaults(run=run)


def seconds(text):
    value = float(text)
    if not 1 <= value <= device.LONGEST_S:
        raise argparse.ArgumentTypeError(f"1 to {device.LONGEST_S}, not {text}")
    return value


def run(args):
    try:
        return calibrate(args)
    except (points.BadPoint, PortError, device.Refused, FirmwareError, ValueError) as error:
        print(f"prosumer calibrate: {error}", file=sys.stderr)
    except OSError as error:
        print(f"prosumer calibrate: {error.filename}: {error.strerror.lower()}", file=sys.stderr)
    except EOFError:
        print("prosumer calibrate: no answer; give --points FILE.json and --yes", file=sys.stderr)
    return 2


def calibrate(args):
    loads = points.from_file(args.points) if args.points else None
    if args.yes and not loads:
        raise points.BadPoint("--yes needs --points FILE.json")
    check_answers(args.port)
    idle, taken = None, []
    while not args.no_idle:
        wait(args, f"No load: open the clamp {args.channel} or switch everything off behind it")
        idle = take(args)["reading"]
        amps = idle["channels"][args.channel]["current_ma"] / 1000
        if amps < MOST_IDLE_A:
            break
        said = f"{amps:.3f} A is no reading without load: open the clamp, or leave this step out with --no-idle"
        if args.yes:
            raise ValueError(said)
        print(f"  {said}")
    steps = [(e.get("load", f"load {n}"), e) for n, e in enumerate(loads, 1)] if loads else \
        [(text, inductive) for text, inductive in points.WAYS["quick" if args.quick else "full"]]
    for number, (text, known) in enumerate(steps, 1):
        wait(args, f"Load {number} of {len(steps)}: {text}")
        measured = take(args)
        entry = known if loads else points.typed(input, known)
        volts, power, apparent = points.reference(entry)
        taken.append({"reading": measured["reading"], "voltage_mv": volts, "power_mw": power, "inductive_va_mw": apparent})
    date = int(datetime.datetime.now(datetime.UTC).timestamp())
    result = solve(measured, args.channel, idle, taken, date)
    show(args.channel, result, taken, measured["calibration"])
    grave = GRAVE & set(result["warnings"])
    if grave and not args.force:
        device.restart(args.port)
        raise ValueError(f"nothing is stored: {', '.join(sorted(grave))} (--force stores it all the same)")
    if not args.yes and input("Store this calibration on the meter? [y/N] ").strip().lower() not in ("y", "yes"):
        device.restart(args.port)
        print("nothing was stored; the meter runs on as before")
        return 1
    stored = device.store(args.port, result["calibration"], measured["channels"])
    if stored != result["hash"]:
        raise ValueError(f"the meter read back {stored} where {result['hash']} was written; calibrate again")
    device.restart(args.port)
    print(f"stored as {stored}; the meter restarts and names it in its readings")
    return 0


def wait(args, text):
    print(text)
    if not args.yes:
        input("  press Enter when it is so ")


def take(args):
    """One measurement; what it saw is shown at once, so that a load that is off is noticed."""
    measured = device.measure(args.port, args.channels.split(","), args.seconds)
    channels = measured["reading"]["channels"]
    if args.channel not in channels:
        there = [c[0] for c in measured["channels"] if c[1] != "voltage"]
        raise ValueError(f"the meter has no clamp {args.channel}: it has {', '.join(there)}")
    c = channels[args.channel]
    print(f"  the meter sees {measured['reading']['voltage_mv'] / 1000:.2f} V, {c['current_ma'] / 1000:.3f} A, "
          f"{c['active_power_mw'] / 1000:.2f} W, power factor {c['power_factor_milli'] / 1000:.3f}")
    return measured


def show(name, result, taken, old):
    """The errors before and after, and what the installer has to know."""
    print("  reference W   before %    after %")
    for point, before, after in zip(taken, result["before"], result["after"], strict=True):
        print(f"  {point['power_mw'] / 1000:11.2f}  {before / 10000:+9.3f}  {after / 10000:+9.3f}")
    new = result["calibration"]
    print(f"  clamp {name}: class {old['accuracy']} ({old['state']}) before, {new['accuracy']} ({new['state']}) after; "
          f"hash {result['hash']}")
    for warning in result["warnings"]:
        print(f"  warning, {warning}: {WARNINGS[warning]}")
