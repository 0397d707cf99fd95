"""`make bench`: every bench in one go, one report, one JSON file.

    python tests/bench/run.py [--quick] [--only NAME…] [--json FILE]

Each bench prints its own table (typical or best times, ratios, its peers in the same run) and gives its figures as JSON; here they run one after
the other, so that none disturbs another, with a line of progress and what each took. A bench that fails is named, the others
still run, and the exit code is 1. Everything goes into build/bench/bench.json.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import bench_identity

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
OUT = ROOT / "build" / "bench" / "bench.json"

# name: (what it says, arguments, arguments of --quick, most seconds on a busy machine), in the order of the walk. JSON is a file for all but two.
BENCHES = {
    "metering": ("sample → reading: errors against the standards, beside published algorithms", [], ["--quick"], 720),
    "identity": ("reading → signed reading: Ed25519 beside embit's ECDSA and the RFC's way", ["--rounds", "15"], ["--rounds", "3"], 600),
    "bidding": ("signed reading → order: what orders are worth, beside no market and perfect foresight",
                ["--days", "7", "--seeds", "1", "2", "3"], ["--days", "2", "--seeds", "1", "--season", "summer"], 720),
    "market": ("order → clearing → settlement: time, growth and heap, beside plain code, HiGHS, pymarket",
               ["--runs", "15"], ["--runs", "3"], 1200),
    "ledger": ("settlement → header: proofs, ring, agreement, flash wear", [], ["--seconds", "0.1"], 600),
    "archive": ("header → archive: feeders and slots a second in SQLite and PostgreSQL, receipts, catch-up over a year", [], ["--quick"], 900),
    "street": ("the whole walk in eight meters, with amqtt and with mosquitto", ["--slots", "8"], ["--slots", "2"], 600),
    "latency": ("a slot's gate → final header on a slow and a disturbed network; bytes a meter publishes and receives", [],
                ["--members", "4", "--slots", "4"], 2700),
    "simulate": ("a year of 16 homes at market level, beside the same homes without the market", [], ["--days", "14"], 1800),
}
TO_STDOUT = ("identity", "ledger")     # their --json takes no file: they print it instead of the table


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats: about 2 minutes")
    parser.add_argument("--only", nargs="+", choices=BENCHES, metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--json", type=Path, default=OUT, metavar="FILE", help="figures of all (default: build/bench/bench.json)")
    options = parser.parse_args()
    names = [n for n in BENCHES if not options.only or n in options.only]
    began = time.monotonic()
    print(f"{len(names)} benches on {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
          f"load {os.getloadavg()[0]:.1f} before", flush=True)
    results, failed = {}, []
    for i, name in enumerate(names, 1):
        title, usual, quick, most_s = BENCHES[name]
        print(f"\n{'=' * 100}\n[{i}/{len(names)}] {name.upper()}   {title}\n{'=' * 100}", flush=True)
        results[name] = run(name, quick if options.quick else usual, most_s)
        print(f"({name}: {results[name]['seconds']:.0f} s{', ' + results[name]['fault'] if results[name]['fault'] else ''})", flush=True)
        if results[name]["fault"]:
            failed.append(name)
    report = {"quick": options.quick, "machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version(),
              "seconds": round(time.monotonic() - began, 1), "failed": failed, "benches": results}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{'bench':12}{'seconds':>9}")
    for name, result in results.items():
        print(f"{name:12}{result['seconds']:>9.0f}   {result['fault']}".rstrip())
    print(f"{'all':12}{time.monotonic() - began:>9.0f}\nfigures: {options.json}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def run(name, arguments, most_s):
    """One bench; {"seconds", "figures", "fault", "load"}. What it prints is shown as it comes."""
    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        if name in TO_STDOUT:
            fault, text = watch(name, arguments + ["--json"], most_s, show=False)
            if not fault:
                file.write_text(text)
        else:
            fault, _ = watch(name, arguments + ["--json", str(file)], most_s, show=True)
        try:
            figures = json.loads(file.read_text())
        except (OSError, ValueError):
            figures, fault = None, fault or "left no figures"
    if figures and name == "identity":
        bench_identity._print(figures)
    elif figures and name in TO_STDOUT:
        table(figures)
    return {"seconds": round(time.monotonic() - began, 1), "load": round(load, 2), "fault": fault, "figures": figures}


def watch(name, arguments, most_s, show):
    """(fault, text). A terminal sees the time pass while nothing is printed."""
    child = subprocess.Popen([sys.executable, str(HERE / f"bench_{name}.py"), *arguments], cwd=ROOT, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ, PYTHONUNBUFFERED="1"))
    late = threading.Timer(most_s, child.kill)
    late.start()
    done = threading.Event()
    if sys.stderr.isatty():
        threading.Thread(target=_tick, args=(name, done), daemon=True).start()
    lines = []
    try:
        for line in child.stdout:
            lines.append(line)
            if show:
                print(line, end="", flush=True)
        code = child.wait()
    except KeyboardInterrupt:
        child.kill()
        child.wait()
        raise
    finally:
        done.set()
        timed_out = late.finished.is_set()
        late.cancel()
    if code == 0:
        return "", "".join(lines)
    if not show:
        print("".join(lines[-12:]), flush=True)
    return f"killed after {most_s} s" if timed_out else f"exit code {code}", "".join(lines)


def _tick(name, done):
    began = time.monotonic()
    while not done.wait(1):
        print(f"\r  {name}: {time.monotonic() - began:.0f} s ", end="\r", file=sys.stderr, flush=True)


def table(figures):
    """Figures of a bench that printed JSON alone, name by name."""
    for part, values in figures.items():
        if not isinstance(values, dict):
            print(f"{part:44}{number(values)}")
            continue
        print(f"{part}")
        for key, value in sorted(values.items(), key=lambda item: (len(item[0]), item[0]) if item[0].isdigit() else (0, item[0])):
            print(f"    {str(key):52}{number(value)}")


def number(value):
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return "  ".join(number(v) for v in value)
    if isinstance(value, dict):
        return "  ".join(f"{k} {number(v)}" for k, v in value.items())
    return str(value)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
