"""`prosumer archive`: keep every block of one or many feeders in a database that nobody has to trust, and answer with proofs.

    prosumer archive import DB RUN|ARCHIVE|URL…                     blocks that were recorded; fills gaps
    prosumer archive repair DB [RUN|ARCHIVE|URL…]                   mends what check finds, with blocks from these
    prosumer archive follow DB --broker HOST --genesis FILE…        until stopped; answers over MQTT, and with --http over HTTP
    prosumer archive serve DB --http HOST:PORT                      answers over HTTP alone
    prosumer archive ask QUESTION … --broker HOST --genesis FILE    asks one that follows; what it answers is checked
    prosumer archive status|search|check|backup|restore|export|token DB …
DB is a file (SQLite) or postgresql://user:password@host/name. Receipts: `prosumer receipt DB --member M --slot K`.
"""
import json
import sys
from pathlib import Path

from prosumer_tools.archive import answers, database, format, words
from prosumer_tools.archive.chain import Refused
from prosumer_tools.archive.check import against, check
from prosumer_tools.archive.database import Database, DatabaseError, restore
from prosumer_tools.archive.export import FORMATS, export
from prosumer_tools.archive.search import KINDS, SIDES, count, keep, search
from prosumer_tools.archive.source import choose
from prosumer_tools.archive.store import Archive
from prosumer_tools.commands import archive_ask, archive_fill, broker
from prosumer_tools.feederkeys import BadSeal
from prosumer_tools.verify.records import Malformed


def add_parser(subparsers):
    p = subparsers.add_parser("archive", help="keep every block of many feeders, search them, prove what was found",
                              description=__doc__.split("\n\n")[0])
    actions = p.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name, does, text, feeder=True):
        a = actions.add_parser(name, help=text, description=text)
        a.add_argument("db", metavar="DB", help="an SQLite file, or postgresql://user:password@host/name")
        if feeder:
            a.add_argument("--feeder", metavar="ID", help="id (its first digits are enough) or name; not needed when there is one")
        a.set_defaults(run=_run, does=does)
        return a

    def sources(name, does, text, least):
        a = action(name, does, text)
        a.add_argument("sources", nargs=least, metavar="RUN|ARCHIVE|URL")
        a.add_argument("--token", action="append", help="for a URL: the operator's there; again for another feeder's (default: $PROSUMER_TOKEN)")

    sources("import", archive_fill.bring, "take in runs, other archives, or an archive's URL; what is there already is skipped", "+")
    sources("repair", archive_fill.mend, "mend in place what check finds; what is lost or damaged comes from these", "*")
    a = action("follow", archive_fill.follow, "follow feeders over MQTT until stopped", False)
    _listening(a)
    a.add_argument("--http", metavar="HOST:PORT", help="answer over HTTP too")
    a.add_argument("--peer", nargs="+", default=[], metavar="URL", help="archives that answer over HTTP: what is missing here is fetched there")
    a.add_argument("--peer-token", action="append", metavar="TOKEN", help="the operator's there; again for another feeder's (default: $PROSUMER_TOKEN)")
    a = action("serve", archive_fill.serve, "answer over HTTP alone", False)
    a.add_argument("--http", metavar="HOST:PORT", default="127.0.0.1:8046")
    action("status", _status, "feeders, blocks, gaps", False).add_argument("--json", action="store_true")
    a = action("search", _search, "readings, trades, entries or coins, with their receipts")
    a.add_argument("kind", choices=KINDS)
    for name, text in (("member", "number"), ("first", "slot"), ("last", "slot"), ("limit", "most hits"), ("skip", "leave out the first hits")):
        a.add_argument(f"--{name}", type=int, metavar="N", help=text, default={"limit": 100, "skip": 0}.get(name))
    for name in ("min", "max"):
        a.add_argument(f"--{name}-kwh", type=float, metavar="KWH")
    a.add_argument("--side", help="; ".join(f"{kind}: {', '.join(words)}" for kind, words in SIDES.items() if words))
    a.add_argument("--receipts", type=Path, metavar="FOLDER", help="write the receipt of each hit there")
    a.add_argument("--json", action="store_true", help="with the receipts in base64")
    archive_ask.add_parser(actions)
    a = action("check", _check, "check all of it again, down to every signature")
    a.add_argument("--quick", action="store_true", help="without the signatures inside the bodies")
    a.add_argument("--against", nargs="+", type=Path, default=[], metavar="FILE", help="headers that meters hold (meter-NAME.bin of a run)")
    a = action("backup", lambda args: _archive(args, False).db.backup(args.out), "copy a running archive", False)
    a.add_argument("out", type=Path, metavar="FILE")
    a = action("restore", lambda args: restore(args.backup, args.db), "bring a backup back, into an empty place", False)
    a.add_argument("backup", type=Path, metavar="FILE")
    a = action("export", _export, "tables as CSV or Parquet")
    a.add_argument("out", type=Path, metavar="FOLDER")
    a.add_argument("--format", choices=FORMATS, default="csv")
    for name in ("first", "last"):
        a.add_argument(f"--{name}", type=int, metavar="SLOT")
    a = action("token", _token, "a new secret with which a member (or the operator) asks over HTTP")
    a.add_argument("--member", type=int, metavar="N", help="default: the operator")


def _listening(a):
    broker.add_arguments(a)
    a.add_argument("--genesis", nargs="+", type=Path, default=[], metavar="FILE", help="of feeders that are new here")
    a.add_argument("--keys", nargs="+", type=Path, default=[], metavar="FILE", help="feeder keys, of feeders that seal their records")
    a.add_argument("--client-id", default="prosumer-archive", help="its name at the broker, which queues for it while it is off")


def _run(args):
    try:
        args.does(args)
        return 0
    except archive_fill.Fault:
        return 1
    except (Refused, Malformed, DatabaseError, BadSeal) as e:
        print(f"prosumer archive: {e}", file=sys.stderr)
    except database.errors() as e:
        print(f"prosumer archive: {(str(e).splitlines() or [type(e).__name__])[0]}: `prosumer archive check` tells more", file=sys.stderr)
    except OSError as e:
        print(f"prosumer archive: {e.filename or args.db}: {e.strerror or e}", file=sys.stderr)
    return 2


def _archive(args, create=False):
    return Archive(Database(args.db, create))


def _status(args):
    archive = _archive(args)
    found = [answers.status(archive, f) for f, _ in archive.feeders()]
    if args.json:
        print(json.dumps(found, indent=1))
        return
    for s in found:
        print(f"{s['feeder']}  {s['street']:24}{s['members']:>4} members{s['blocks']:>9} blocks, the last of slot {s['last_slot']}")
    archive_fill.say_gaps(archive)


def _search(args):
    archive = _archive(args)
    feeder = choose(archive, args.feeder)
    low, high = (None if v is None else round(v * 1e6) for v in (args.min_kwh, args.max_kwh))
    how = args.kind, args.member, args.first, args.last, low, high, args.side
    hits = search(archive, feeder, *how, args.limit, bool(args.json or args.receipts), args.skip)
    if args.receipts:
        keep(args.receipts, args.kind, hits)
    if args.json:
        print(json.dumps(hits, indent=1))
        return
    print("\n".join(words.table(hits)))
    print(words.found(args.kind, len(hits), count(archive, feeder, *how), args.skip) + (f", receipts in {args.receipts}" if args.receipts else ""))


def _check(args):
    archive = _archive(args)
    chosen = [choose(archive, args.feeder)] if args.feeder else archive.known()
    bad = not chosen
    if bad:
        print("the archive has no feeders")
    for feeder in chosen:
        result = check(archive, feeder, not args.quick, archive_fill.progress())
        for path in args.against:
            data = path.read_bytes()
            headers = [data[at:at + format.HEADER_SIZE] for at in range(4, len(data), format.HEADER_SIZE)]
            try:
                result.faults += [f"{line} ({path.name})" for line in against(archive, feeder, headers)]
            except Malformed as error:
                raise Malformed(f"{path}: {error}") from None
        archive_fill.say(feeder, result)
        bad = bad or not result.ok
    if bad:
        raise archive_fill.Fault


def _export(args):
    archive = _archive(args)
    last = 1 << 32 if args.last is None else args.last
    for path, rows in export(archive, choose(archive, args.feeder), args.out, args.format, args.first or 0, last):
        print(f"{path}: {rows} rows")


def _token(args):
    archive = _archive(args)
    feeder = choose(archive, args.feeder)
    print(answers.new_token(archive, feeder, answers.OPERATOR if args.member is None else args.member))
