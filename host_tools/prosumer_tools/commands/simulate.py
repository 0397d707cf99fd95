"""`prosumer simulate`: weeks to a year of a street at market level: the firmware's own trading code on the Unix port, no devices.

In:  nothing (16 homes at Carros from the models), or --profiles FILE.csv and --config STREET.toml as `prosumer neighbourhood` takes
Out: OUT/simulation.html, simulation.json, homes.csv, hours.csv, months.csv, slots.csv
"""
import datetime
import sys
import time
from dataclasses import replace
from pathlib import Path

from prosumer_tools.image import BUILD
from prosumer_tools.profiles import ProfileError, StreetError, load_street, read_profiles, street_of
from prosumer_tools.profiles.street import check_profiles
from prosumer_tools.simulate import report, results, year
from prosumer_tools.simulate.play import UnbalancedError, play
from prosumer_tools.unixport import FirmwareError
from prosumer_tools.view.text import duration


def add_parser(subparsers):
    p = subparsers.add_parser("simulate", help="weeks to a year of a street at market level: the firmware's trading code, no devices",
                              description=__doc__.split("\n\n")[0])
    p.add_argument("--profiles", metavar="FILE.csv", help="a street of your own: timestamp, <home>_load_w, <home>_pv_w")
    p.add_argument("--config", metavar="STREET.toml", help="homes, devices, tariff, feeder limits; goes with --profiles")
    p.add_argument("--homes", type=int, default=16, metavar="N", help="without --profiles: homes in the street, 2 to 64 (default 16)")
    p.add_argument("--from", dest="first_day", default="2026-01-01", metavar="DAY",
                   help="without --profiles: first day (default 2026-01-01)")
    p.add_argument("--days", type=int, metavar="N", help="days to play, 1 to 366 (default: 365, or the whole profiles)")
    p.add_argument("--slot-minutes", type=int, metavar="M",
                   help="length of a slot, 1 to 60, a part of a day (default: of the config, else 15)")
    p.add_argument("--seed", type=int, help="of the models and what is drawn by lot (default: of the config, else 1)")
    p.add_argument("--out", metavar="OUT", required=True, type=Path, help="folder of the results")
    p.set_defaults(run=run)


def run(args):
    show = Progress()
    try:
        street, profiles, note = _street(args, show)
        slot_s = street.slot_minutes * 60
        slots = (profiles.end_s - profiles.start_s) // slot_s
        if args.days:
            slots = min(slots, args.days * 86400 // slot_s)
        if slots < 1:
            raise StreetError(f"the profiles are shorter than one slot of {street.slot_minutes} minutes")
        args.out.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        played = play(street, profiles, slots, show.slots)
        data = results.summary(street, profiles, played, time.monotonic() - began)
        results.write(args.out, data, profiles, played)
        page = args.out / "simulation.html"
        page.write_text(report.render(data, note), encoding="utf-8")
    except (ProfileError, StreetError, FirmwareError, UnbalancedError) as e:
        print(f"prosumer simulate: {e}", file=sys.stderr)
        return 1 if isinstance(e, (FirmwareError, UnbalancedError)) else 2
    except OSError as e:
        print(f"prosumer simulate: cannot write {e.filename or args.out}: {e.strerror or e}", file=sys.stderr)
        return 2
    print(report.text(data))
    print(f"\nReport: {page}")
    return 0


def _street(args, show):
    if args.slot_minutes is not None and not (1 <= args.slot_minutes <= 60 and 1440 % args.slot_minutes == 0):
        raise StreetError(f"--slot-minutes {args.slot_minutes}: 1 to 60, and a whole number of slots makes a day")
    if args.days is not None and not 1 <= args.days <= 366:
        raise StreetError(f"--days {args.days}: 1 to 366 are possible")
    if args.seed is not None and not 0 <= args.seed < 2**31:
        raise StreetError(f"--seed {args.seed}: 0 to {2**31 - 1} are possible")
    if args.profiles:
        profiles = read_profiles(args.profiles)
        street = load_street(args.config) if args.config else street_of(profiles)
        changes = {k: v for k, v in (("slot_minutes", args.slot_minutes), ("seed", args.seed)) if v is not None}
        street = replace(street, **changes)
        check_profiles(street, profiles)
        return street, profiles, f"Profiles: {Path(args.profiles).name}."
    if args.config:
        raise StreetError("--config goes with --profiles: without profiles the street is the built-in one")
    if not 2 <= args.homes <= 64:
        raise StreetError(f"--homes {args.homes}: 2 to 64 can trade")
    try:
        datetime.date.fromisoformat(args.first_day)
    except ValueError:
        raise StreetError(f"--from {args.first_day}: a day is YYYY-MM-DD") from None
    street = year.year_street(args.homes, 1 if args.seed is None else args.seed, args.slot_minutes or 15)
    return street, year.year_profiles(street, args.first_day, args.days or 365, BUILD / "profiles", show.said), year.NOTE


class Progress:
    """A line that is rewritten on a terminal; a line every tenth of the way elsewhere."""

    def __init__(self):
        self.live, self.next, self.began = sys.stderr.isatty(), 0.0, None

    def said(self, text):
        print(f"\r{text:60}" if self.live else text, end="\r" if self.live else "\n", file=sys.stderr, flush=True)

    def slots(self, done, of):
        now = time.monotonic()
        self.began = self.began or now
        if self.live:
            if now < self.next and done < of:
                return
            self.next = now + 0.2
        elif done * 10 // of == (done - 1) * 10 // of:
            return
        left = (now - self.began) * (of - done) / done
        self.said(f"slot {done} of {of} ({100 * done // of} %), {duration(left)} left" if done < of else "" if self.live else "played")
