"""A year of a street of 16 homes at market level, in slots of 15 minutes: how long it takes, and what the market was worth.

    python tests/bench/bench_simulate.py [--days 365] [--homes 16] [--json FILE]

The firmware's forecast, orders, clearing and settlement run on the Unix port (`prosumer simulate`). "Without" is the peer in the same
run: the same homes and devices, each for itself at the utility's tariff. The profiles are drawn once and kept in build/.
"""
import argparse
import json
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "host_tools"))
warnings.simplefilter("ignore")

from prosumer_tools.image import BUILD
from prosumer_tools.simulate import report, results, year
from prosumer_tools.simulate.play import play


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--homes", type=int, default=16)
    parser.add_argument("--json", metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    street = year.year_street(options.homes)
    began = time.monotonic()
    profiles = year.year_profiles(street, days=options.days, cache_dir=BUILD / "profiles")
    drawn_s = time.monotonic() - began
    slots = options.days * 96
    began = time.monotonic()
    played = play(street, profiles, slots, lambda done, of: done % (of // 4) or print(f"  {100 * done // of} %", flush=True))
    seconds = time.monotonic() - began
    data = results.summary(street, profiles, played, seconds)
    print(report.text(data))
    print(f"profiles in {drawn_s:.0f} s (kept: then at once), played in {seconds:.0f} s: {seconds / slots * 1e3:.1f} ms a slot, "
          f"{seconds / slots / options.homes * 1e3:.2f} ms a slot and home, {slots * 900 / seconds:,.0f} times real time")
    if options.json:
        Path(options.json).write_text(json.dumps({"profiles_s": drawn_s, "played_s": seconds, **data}, indent=1) + "\n")


if __name__ == "__main__":
    main()
