"""`prosumer check-receipt FILE --genesis genesis.bin`: check a receipt off-line, by the firmware's own code on the Unix port.

In:  receipts as `prosumer receipt` and `archive search --receipts` write them; text of QR symbols (any order) and pictures of them
     (PNG, JPEG), which together are one more
Out: what each proves and what it hides, in words, and what two of one member's account prove by their difference; with --json as one
     object, of several receipts an array of them. Exit code 0: all hold; 1: one does not; 2: nothing to check.
"""
import json
import sys
from pathlib import Path

from prosumer_tools.archive import qr, words
from prosumer_tools.unixport import FirmwareError, run_firmware

SCRIPT = """
import json, sys
from prosumer.codec import Cursor
from prosumer.errors import Reject
from prosumer.identity.genesis import Genesis
from prosumer.identity.members import Members
from prosumer.ledger.pool import fault
from prosumer.ledger.receipt import Receipt, lineage
from prosumer.market.settlement import settle
from prosumer.records import MAX_MEMBERS, ROLE_HEAD, Certificate, Evidence, Header, Transfer

def no_money(known, r):
    # why the slot's money does not follow from its trade and its reading; None if it does
    g = r.genesis
    if g.number and r.settled is not r.header:
        return "earlier-rules"  # of the certified header alone it is sure that it is under this genesis
    if fault(g, r.reading):
        return "not-counted"
    if g.members[r.member][1] & ROLE_HEAD:
        return "head"
    window_s = min([k.correction_s for k in known.values()]) if 0 in known else g.slot_s  # the shortest that there may have been
    if any(r.trade[1:]) and r.slot < r.settled.slot - 1 - window_s // g.slot_s:
        return "late"  # a block before this one has booked the trade already, unless its slots were void

def told(known, r):
    genesis = r.genesis
    out = {"member": r.member, "slot": r.slot, "street": genesis.name, "feeder": genesis.feeder_id.hex(), "start_s": genesis.start_s,
           "slot_s": genesis.slot_s, "number": genesis.number, "excluded": [m for m in range(64) if r.excluded >> m & 1],
           "members": genesis.n, "voters": r.voters, "quorum": r.quorum, "signatures": r.signatures, "header_slot": r.header.slot,
           "header": r.header.hash(genesis.feeder_id).hex(), "order": None, "trade": None, "cleared": None, "reading": None, "money": None, "no_money": None,
           "account": None, "open": None, "rules": None, "others": [], "transfers": []}
    for h, data in r.others:
        if data[0] == 11:
            t = Transfer.parse(data)
            out["transfers"].append({"slot": h.slot, "member": t.member, "kind": t.kind, "to": t.to, "amount": t.amount, "seq": t.seq,
                                     "note": t.note.hex()})
        else:
            out["others"].append({"slot": h.slot, "type": data[0], "hex": data.hex()})
    if r.order:
        out["order"] = {"buy": r.order.buy, "sell": r.order.sell}
    if r.trade:
        price, bought, sold = r.trade
        out["trade"] = {"price_ucr_per_kwh": price, "bought_mwh": bought, "sold_mwh": sold}
    if r.cleared:
        out["cleared"] = {"slot": r.cleared.slot, "price_ucr_per_kwh": r.cleared.price_ucr_per_kwh, "volume_mwh": r.cleared.volume_mwh}
    if r.reading:
        m = r.reading
        out["reading"] = {"seq": m.seq, "import_mwh": m.interval_import_mwh, "export_mwh": m.interval_export_mwh,
                          "generation_mwh": m.interval_generation_mwh, "uncertainty_mwh": m.uncertainty_mwh, "flags": m.flags,
                          "accuracy": m.accuracy, "settled_slot": r.settled.slot,
                          "registers_mwh": [m.import_mwh, m.export_mwh, m.generation_mwh]}
        if r.trade:
            out["no_money"] = no_money(known, r)
        if r.trade and not out["no_money"]:
            e = settle(genesis.tariff(r.slot), price, bought, sold, m.interval_import_mwh, m.interval_export_mwh)
            out["money"] = {"member_ucr": e.member_ucr, "trade_ucr": e.trade_ucr, "loss_ucr": e.loss_ucr, "fee_ucr": e.fee_ucr,
                            "imbalance_ucr": e.imbalance_ucr}
    if r.rules:
        g, import_mwh, export_mwh = r.rules
        key, roles, fuse_a, phase = g.members[r.member] if r.member < g.n else (b"", 128, 0, 0)
        t = g.tariff(r.slot)
        out["rules"] = {"number": g.number, "genesis": g.hash.hex(), "key": key.hex(), "roles": roles, "fuse_a": fuse_a, "phase": phase,
                        "retail_ucr_per_kwh": t.retail_ucr_per_kwh, "feed_in_ucr_per_kwh": t.feed_in_ucr_per_kwh,
                        "local_fee_ucr_per_kwh": t.local_fee_ucr_per_kwh, "import_limit_mwh": import_mwh, "export_limit_mwh": export_mwh}
    if r.open is not None:
        out["open"] = [{"slot": s, "price_ucr_per_kwh": r.open[s][0], "bought_mwh": r.open[s][1], "sold_mwh": r.open[s][2]} for s in sorted(r.open)]
    if r.account:
        a = r.account
        out["account"] = {"balance_ucr": a.balance_ucr, "green_mwh": a.green_mwh, "next_slot": a.next_slot, "import_mwh": a.import_mwh,
                          "export_mwh": a.export_mwh, "generation_mwh": a.generation_mwh, "retired_mwh": a.retired_mwh}
    return out

MIXED = ("proof-mismatch", "broken-chain", "proof-wrong", "bad-signature")  # what a receipt of another feeder is refused for

def foreign(genesis, data):
    # whether its certificate is for another header than its first: hashes hold the feeder's id
    cursor = Cursor(data)
    try:
        cursor.take(20)
        cursor.records(Evidence, MAX_MEMBERS)
        certificate = Certificate.read(cursor)
        cursor.uint(1)
        return certificate.header_hash != Header.parse(cursor.take(Header.size())).hash(genesis.feeder_id)
    except Reject:
        return False

given = json.loads(sys.stdin.readline())
try:
    geneses = [Genesis(bytes.fromhex(g)) for g in given["geneses"]]
    known = lineage(geneses[0], geneses[1:])
except Reject as e:
    print(json.dumps({"genesis": e.code}))
    sys.exit()
tables = {}
def members_of(genesis):
    if genesis.number not in tables:
        tables[genesis.number] = Members(genesis)
    return tables[genesis.number]
for receipt in given["receipts"]:
    try:
        print(json.dumps(told(known, Receipt(bytes.fromhex(receipt), known, members_of))))
    except Reject as e:
        print(json.dumps({"refused": "other-feeder" if e.code in MIXED and foreign(geneses[0], bytes.fromhex(receipt)) else e.code}))
"""

_AT_ONCE = 32  # receipts that the firmware's heap holds beside one another
REASONS = {
    "too-long": "a receipt has at most 4,096 bytes", "wrong-type": "this is no receipt", "truncated": "it ends too early",
    "trailing-bytes": "there are bytes behind its end", "not-a-member": "it is of nobody of this feeder",
    "no-quorum": "too few meters signed", "bad-signature": "a signature does not match",
    "proof-mismatch": "its parts do not belong together", "broken-chain": "its headers do not lead to one another",
    "proof-wrong": "a record is not under the header it is said to be under", "proof-size": "a proof is too short or too long",
    "proof-index": "a record is said to stand where it cannot", "wrong-slot": "a record is of another member or slot",
    "header-missing": "it has no header", "record-missing": "it shows nothing", "not-a-voter": "somebody signed who does not vote",
    "older-layout": "it was made by an older version, in which all open trades of a member stood in one leaf of the state",
    "no-evidence": "it does not show why a member is excluded", "strange-regime": "it is under a genesis that is not known here:"
    " give it with --amendment", "other-feeder": "it is of another feeder than this genesis, or was changed: its certificate is for no header of this one",
}


class BadInput(ValueError):
    """Nothing to check: one line that says why."""


def add_parser(subparsers):
    p = subparsers.add_parser("check-receipt", help="check a receipt off-line, by the firmware's own code",
                              description=__doc__.split("\n\n")[0])
    p.add_argument("files", nargs="+", metavar="FILE", help="receipts; or text or pictures of QR symbols ('-': text on standard input)")
    p.add_argument("--genesis", required=True, type=Path, metavar="FILE", help="the feeder's genesis.bin, which you trust")
    p.add_argument("--amendment", nargs="+", default=[], type=Path, metavar="FILE",
                   help="other geneses of the feeder, signed by its operator: needed when members or tariff changed")
    p.add_argument("--json", action="store_true", help="all that it proves, as one JSON object")
    p.set_defaults(run=run)


def run(args):
    try:
        given = read(args.files)
        results = check([data for _, data in given], args.genesis.read_bytes(), [p.read_bytes() for p in args.amendment])
    except (BadInput, qr.QRError) as e:
        print(f"prosumer check-receipt: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"prosumer check-receipt: {e.filename}: {e.strerror}", file=sys.stderr)
        return 2
    except FirmwareError as e:
        print(f"prosumer check-receipt: {e}", file=sys.stderr)
        return 1
    several = len(results) > 1
    if args.json:
        print(json.dumps([{"file": name, **r} for (name, _), r in zip(given, results)] if several else results[0], indent=1))
    else:
        told = [f"{name}:\n" * several + said(r) for (name, _), r in zip(given, results)] + [*filter(None, [together(results)])]
        print("\n\n".join(told))
    return 1 if any("refused" in r for r in results) else 0


def said(result):
    """One of `check` in words."""
    code = result.get("refused")
    return f"REFUSED: {REASONS.get(code, 'a rule is broken')} ({code})" if code else words.text(result)


def together(results):
    """What accounts of one member prove by their difference: lines, "" without any."""
    accounts = {(r["feeder"], r["member"], r["slot"]): r for r in results if r.get("account")}
    ordered = [accounts[k] for k in sorted(accounts)]
    lines = [*filter(None, map(words.grown, ordered, ordered[1:]))]
    return "PROVEN by two accounts together:\n" + "\n".join("  " + line for line in lines) if lines else ""


def check(receipts, genesis, amendments=()):
    """What the firmware finds in each: the dict of `told`, or {"refused": code}. BadInput when a genesis is none.

    `genesis` is trusted, and of `amendments` what it leads to, later or earlier."""
    answers = []
    for at in range(0, max(1, len(receipts)), _AT_ONCE):
        given = json.dumps({"geneses": [g.hex() for g in (genesis, *amendments)], "receipts": [r.hex() for r in receipts[at:at + _AT_ONCE]]})
        answers += [json.loads(line) for line in run_firmware(SCRIPT, given + "\n", "2M").splitlines()]
        if answers and "genesis" in answers[0]:
            raise BadInput(f"the genesis is not valid: {answers[0]['genesis']}")
    return answers


def read(files):
    """[(name, receipt)]: each binary file is one, all texts and pictures together are another. BadInput, QRError, OSError."""
    out, parts = [], []
    for file in files:
        data = b"" if file == "-" else Path(file).read_bytes()
        if data[:1] == b"\x0e":
            out.append((str(file), data))
        else:
            parts.append(file)
    if parts:
        try:
            out.append((", ".join(map(str, parts)), qr.joined("\n".join(map(_text, parts)))))
        except qr.QRError as error:
            raise BadInput(f"{', '.join(map(str, parts))}: {error}") from None
    return out


def _text(file):
    if file == "-":
        return sys.stdin.read()
    data = Path(file).read_bytes()
    if data[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1"):
        import numpy
        import zxingcpp
        from PIL import Image
        with Image.open(file) as picture:
            return "\n".join(code.text for code in zxingcpp.read_barcodes(numpy.asarray(picture.convert("L"))))
    return data.decode(errors="replace")
