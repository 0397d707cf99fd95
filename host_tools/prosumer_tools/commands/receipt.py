"""`prosumer receipt RUN --member M --slot K --out FILE`: header → receipt: what a member may show of one slot, provable for ever.

In:  a folder of a run, or an archive (a file, or a PostgreSQL URL)
Out: a receipt of at most 4,096 bytes (reading → order → trade → header and certificate), and with --qr a page of QR symbols for a phone.
     Whoever has the feeder's genesis.bin checks it with `prosumer check-receipt`.

What it shows is its owner's choice, each thing a leaf with a salt of its own, so that the rest cannot be guessed from the hashes beside it:
    order    what the meter offered or asked for, sealed before the others' were known      reading  what it measured, with its registers
    trade    price and energy of this slot, or that there was none                          rules    the member's entry, tariff and envelope
    account  balance, green coins and registers after the block of this slot                open     trades up to this slot not settled then
"""
import sys
from pathlib import Path

from prosumer_tools.archive import qr, receipts
from prosumer_tools.archive.chain import Refused
from prosumer_tools.archive.database import DatabaseError
from prosumer_tools.archive.source import Source
from prosumer_tools.verify.records import Malformed


def add_parser(subparsers):
    p = subparsers.add_parser("receipt", help="header → receipt: a member's slot, or its account, as a proof of at most 4 kB; QR codes too",
                              description=__doc__.split("\n\n")[0])
    p.add_argument("source", metavar="RUN", help="folder of a run, or an archive")
    p.add_argument("--member", required=True, metavar="M", help="number, or in a run the name of the home")
    p.add_argument("--slot", type=int, metavar="K", help="the slot of delivery; with --account the block (default: the newest)")
    p.add_argument("--show", metavar="WHAT", help=f"some of {','.join(receipts.SHOW)} (default: {','.join(receipts.SLOT)})")
    p.add_argument("--account", action="store_true", help="the same as --show account, and the newest block without --slot")
    p.add_argument("--feeder", metavar="ID", help="which feeder of an archive: its id or name")
    p.add_argument("--out", required=True, type=Path, metavar="FILE", help="where to write the receipt")
    p.add_argument("--qr", type=Path, metavar="FILE", help="QR symbols too: a page (.html), or pictures FILE-1.png … (.png)")
    p.add_argument("--amendments", type=Path, metavar="FOLDER", help="write the geneses after the first there, for whoever has only that one")
    p.set_defaults(run=run)


def run(args):
    show = args.show if args.show is not None else "account" if args.account else ",".join(receipts.SLOT)
    if args.account and show and "account" not in show.split(","):
        show += ",account"
    if args.slot is None and not args.account:
        print("prosumer receipt: --slot is needed (or --account)", file=sys.stderr)
        return 2
    try:
        source = Source(args.source, args.feeder)
        member = source.member(args.member)
        data = receipts.entry(source.archive, source.feeder, member, args.slot, show)
        args.out.write_bytes(data)
        written = [args.out, *write_qr(args.qr, data, f"Receipt of member {member}, slot {args.slot}")] if args.qr else [args.out]
        if args.amendments:
            args.amendments.mkdir(parents=True, exist_ok=True)
            for number, record in enumerate(source.archive.records_of_genesis(source.feeder)[1:], 1):
                written.append(args.amendments / f"genesis-{number}.bin")
                written[-1].write_bytes(record)
    except (Refused, Malformed, DatabaseError) as e:
        print(f"prosumer receipt: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"prosumer receipt: {e.filename}: {e.strerror}", file=sys.stderr)
        return 2
    print(f"{len(data):,} bytes: " + ", ".join(map(str, written)))
    return 0


def write_qr(path, data, title):
    """The files written: one page, or a picture a symbol."""
    if path.suffix != ".png":
        path.write_text(qr.page(data, title, "\n".join(qr.lines(data))), encoding="utf-8")
        return [path]
    out = []
    for i, symbol in enumerate(qr.symbols(data), 1):
        out.append(path.with_name(f"{path.stem}-{i}.png"))
        symbol.save(str(out[-1]), scale=4, border=4)
    return out
