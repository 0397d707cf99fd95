"""`prosumer neighbourhood`: play a street of one's own; `prosumer demo` plays the one that comes with the tools.

In:  --profiles FILE.csv (`timestamp`, `<home>_load_w`, `<home>_pv_w`) and optionally --config STREET.toml
Out: the folder RUN: signed genesis, every final block, summary.json, CSVs, report.html
"""
import asyncio
import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from prosumer_tools.emulator.broker import BrokerError
from prosumer_tools.emulator.device import DeviceError
from prosumer_tools.image import ImageError
from prosumer_tools.profiles import ProfileError, StreetError, load_street, read_profiles, street_of
from prosumer_tools.profiles.street import check_profiles
from prosumer_tools.street.errors import PlayError
from prosumer_tools.street.follower import FILES
from prosumer_tools.street.play import Street
from prosumer_tools.street.story import Story, run_data
from prosumer_tools.verify.check import verify_run
from prosumer_tools.view import LiveView, print_summary, print_witness, write_report, write_summary


def add_parser(subparsers):
    p = subparsers.add_parser("neighbourhood", help="play a street of your own: the firmware in every meter, your profiles behind the clamps",
                              description=__doc__.split("\n\n")[0])
    p.add_argument("--profiles", metavar="FILE.csv", required=True, help="timestamp, <home>_load_w, <home>_pv_w; a regular step of 1 to 60 min")
    p.add_argument("--config", metavar="STREET.toml", help="homes, devices, tariff, feeder limits; without it every column is a plain house")
    p.add_argument("--slot-minutes", type=int, metavar="M", help="length of a slot, 1 to 60 (default: of the config, else 15)")
    p.add_argument("--seed", type=int, help="of converter noise and device ids")
    common(p)
    p.set_defaults(run=run)


def common(p):
    p.add_argument("--slots", type=int, metavar="N", help="play only the first N slots")
    p.add_argument("--speed", type=float, default=0, metavar="X", help="virtual seconds per second; 0: as fast as the meters go (default)")
    p.add_argument("--broker", choices=("amqtt", "mosquitto"), default="amqtt", help="amqtt comes with the tools (default)")
    p.add_argument("--port", type=int, default=0, help="of the broker on loopback; 0: a free one (default)")
    p.add_argument("--out", metavar="RUN", required=True, type=Path, help="folder of the run; it is made anew")


def run(args):
    try:
        profiles = read_profiles(args.profiles)
        street = load_street(args.config) if args.config else street_of(profiles)
        changes = {k: v for k, v in (("slot_minutes", args.slot_minutes), ("seed", args.seed)) if v is not None}
        street = replace(street, **changes)
        check_profiles(street, profiles)
        if not 1 <= street.slot_minutes <= 60:
            raise StreetError(f"--slot-minutes {street.slot_minutes}: a slot takes 1 to 60 minutes")
    except (ProfileError, StreetError, OSError) as e:
        print(f"prosumer neighbourhood: {e}", file=sys.stderr)
        return 2
    return play(street, profiles, args, f"Profiles: {Path(args.profiles).name}.")


def play(street, profiles, args, note, events=(), script=lambda game: None):
    """Play and tell; 0 if the run verifies. `script(game)`: what people and the operator do in it."""
    out = args.out
    try:
        prepare(out)
    except OSError as e:
        print(f"prosumer: cannot write {out}: {e.strerror}", file=sys.stderr)
        return 2
    logging.basicConfig(filename=out / "emulator.log", level=logging.INFO, format="%(asctime)s %(message)s")
    names = [h.name for h in street.homes]
    try:
        game = Street(street, profiles, out, args.slots, args.speed, args.broker, args.port)
        game.note, game.events = note, list(events)
        script(game)
        with LiveView(street.name, names, game.slots, street.slot_minutes) as view:
            game.say = view.status
            game.on_ready = lambda g: _tell(g, view)
            try:
                asyncio.run(game.run())
            finally:
                if game.follower:
                    game.follower.close()
        return finish(game, out)
    except (PlayError, BrokerError, ImageError, DeviceError) as e:
        print(f"prosumer: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"prosumer: cannot write {e.filename or out}: {(e.strerror or str(e)).lower()}", file=sys.stderr)
        return 2


def prepare(out):
    """An empty folder; only what an earlier run wrote is removed."""
    if out.exists():
        for name in ("emulator", "records"):
            shutil.rmtree(out / name, ignore_errors=True)
        for name in ("genesis.bin", "keys.bin", "run.json", "emulator.log", "report.html", "summary.json", "slots.csv", "homes.csv", "readings.csv",
                     "feeder-keys.json", *FILES):
            (out / name).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)


def _tell(game, view):
    game.story = Story(game.genesis, game.profiles.utc_offset_s, lambda k: game.battery_mwh.get(k, [0] * len(game.houses)))

    def on_block(slot, raw):
        for done in game.story.take(raw):
            if done.slot < game.slots:
                view.slot_done(done)

    game.recorder.on_block = on_block


def finish(game, out):
    """Ask the archive if there is one, verify, write, tell; 0 if all holds. What is on the disk then is verified once more."""
    witness = game.follower.witness(game) if game.follower else None
    result = verify_run(out)
    data = run_data(out, game.story, game.street, game.profiles, result, samples=lambda k, m: game.windows.get((k, m), b""), witness=witness)
    write_summary(data, out)
    page = write_report(data, out)
    print_summary(data)
    result = verify_run(out)
    for line in result.faults:
        print(line)
    verdict = "all that was checked holds" if result.ok else f"{len(result.faults)} faults"
    checked = ", ".join(f"{result.counts[what]:,} {what}" for what in ("blocks", "signatures", "figures"))
    print(f"\nReport: {page}\nVerified: {checked} of the tables: {verdict}.")
    if witness:
        print_witness(data, str(out), prosumer())
    else:
        print(f"Check it again: {prosumer()} verify {out}")
    return 0 if result.ok else 1


def prosumer():
    """How the shell finds this program."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "prosumer" and not shutil.which("prosumer") else "prosumer"
