"""`prosumer archive ask QUESTION NAME=VALUE … --broker HOST --genesis FILE`: ask an archive that follows the feeder on that broker.

    status   genesis number=N   header slot=K   headers first=N count=N   catch-up old=N   consistency old=N new=M
    receipt member=M slot=K show=trade,rules   account member=M slot=K   search kind=trades member=M first=K last=K side=sold limit=N   block slot=K
In:  the feeder's genesis.bin, which is trusted, and its feeder keys where it seals its records; nothing of the archive is
Out: what the answer proves, in words or with --json for a program; --out writes the bytes. Exit code 0: it holds; 1: it does not, and is not
     shown; 2: no answer, with what may be amiss.
"""
import argparse
import json
import ssl
import sys
from pathlib import Path

from prosumer_tools.archive import proven, qr
from prosumer_tools.archive.answers import OPERATOR, WORDS
from prosumer_tools.archive.ask import Asker, NoAnswer
from prosumer_tools.archive.chain import Refused
from prosumer_tools.archive.format import Malformed
from prosumer_tools.archive.search import keep
from prosumer_tools.commands import broker
from prosumer_tools.commands.receipt import write_qr
from prosumer_tools.feederkeys import BadSeal, FeederKeys
from prosumer_tools.unixport import FirmwareError


def add_parser(actions):
    text = "ask an archive over MQTT, and check what it answers"
    a = actions.add_parser("ask", help=text, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("question", choices=proven.ANSWERS, metavar="QUESTION", help=", ".join(proven.ANSWERS))
    a.add_argument("given", nargs="*", metavar="NAME=VALUE", help="as above; what is left out takes the archive's default")
    broker.add_arguments(a)
    a.add_argument("--genesis", required=True, type=Path, metavar="FILE", help="the feeder's genesis.bin, which you trust")
    a.add_argument("--keys", type=Path, metavar="FILE", help="feeder keys, of a feeder that seals its records")
    a.add_argument("--as", dest="sender", type=int, default=OPERATOR, metavar="MEMBER", help="number of the member that asks (default: the operator)")
    a.add_argument("--timeout", type=float, default=30, metavar="SECONDS", help="for each answer (30)")
    a.add_argument("--out", type=Path, metavar="FILE", help="write the receipt, headers, genesis, block or proof there")
    a.add_argument("--qr", type=Path, metavar="FILE", help="of a receipt: QR symbols too, a page (.html) or pictures (.png)")
    a.add_argument("--receipts", type=Path, metavar="FOLDER", help="of a search: write the receipt of each hit there")
    a.add_argument("--json", action="store_true", help="what the answer proves, for a program")
    a.set_defaults(run=run)


def run(args):
    try:
        given, genesis = _given(args.given), args.genesis.read_bytes()
        with Asker(_keys(args, genesis), args.sender, *broker.named(args), args.timeout) as ask:
            found, text, data = proven.ANSWERS[args.question](proven.Trust(genesis, ask), given)
        _write(args, found, data)
    except (Refused, NoAnswer, Malformed, BadSeal, qr.QRError, ssl.SSLError) as e:
        if not isinstance(e, proven.Unproven):
            print(f"prosumer archive ask: {e}", file=sys.stderr)
            return 2
        print(f"prosumer archive ask: the answer is not shown, for it does not hold: {e}", file=sys.stderr)
        return 1
    except FirmwareError as e:
        print(f"prosumer archive ask: {e}", file=sys.stderr)
        return 1
    except OSError as e:
        print(f"prosumer archive ask: {e.filename}: {e.strerror or e}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1) if args.json else text)
    return 0


def _given(words):
    """{"slot": 7, …} of ["slot=7", …]. Refused."""
    out = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.replace("-", "_")
        if not equals or name not in WORDS and not value.isdigit():
            raise Refused(f"{word!r} is no NAME=NUMBER" + (f", nor {', '.join(f'{w}=WORD' for w in WORDS)}" if equals else ""))
        out[name] = value if name in WORDS else int(value)
    return out


def _keys(args, genesis):
    feeder = proven.format.genesis_of(genesis).feeder_id
    keys = FeederKeys.load(args.keys) if args.keys else FeederKeys(feeder, {})
    if keys.feeder_id != feeder:
        raise Refused(f"{args.keys} is of feeder {keys.feeder_id.hex()}, {args.genesis} of {feeder.hex()}")
    return keys


def _write(args, found, data):
    for option, value, there in (("--out", args.out, data is not None), ("--qr", args.qr, args.question in ("receipt", "account")),
                                 ("--receipts", args.receipts, args.question == "search")):
        if value and not there:
            raise Refused(f"{option}: {args.question} has none to write")
    if args.out:
        args.out.write_bytes(data)
    if args.qr:
        write_qr(args.qr, data, f"Receipt of member {found['member']}, slot {found['slot']}")
    if args.receipts:
        keep(args.receipts, found["kind"], found["hits"])
