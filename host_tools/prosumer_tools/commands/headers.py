"""`prosumer headers FILE`: settlement → header: show headers and check how they hang together, by the firmware's own code.

In:  headers as a meter's ring exports them (count:4, then 146 bytes each), of a run (RUN/records/meter-NAME.bin), a meter's folder of
     ring segments, or an archive's /FEEDER/headers, one file after the other; with --genesis from the first block on
Out: one line a header; then what holds: links, rising slots, accumulator roots; with --consistency A:B a proof that the accumulator of B
     headers continues that of A, made and checked; with --continues FILE that these headers begin with all that a meter had when it
     came back after longer than its neighbours' rings go (/data/unprovenN on the meter: CRC-32:4, count:4, peaks).
     With --json: {"headers": […], "faults": […], …}. Exit code 0: all holds; 1: faults; 2: nothing to check.
"""
import binascii
import json
import struct
import sys
from pathlib import Path

from prosumer_tools.archive.words import kwh, price
from prosumer_tools.commands import check_receipt
from prosumer_tools.unixport import FirmwareError, run_firmware

SIZE = 146
SCRIPT = """
import json, sys
from prosumer.errors import Reject
from prosumer.ledger import proofs
from prosumer.ledger.mmr import MMR
from prosumer.records import Header

given = json.loads(sys.stdin.readline())
feeder = bytes.fromhex(given["feeder"])
mmr = MMR() if given["first"] == 0 else None
previous, slot, iteration = bytes.fromhex(given["genesis"]), -1, 0
hashes, roots = [], []
for i in range(given["count"]):
    try:
        h = Header.parse(bytes.fromhex(sys.stdin.readline().strip()))
    except Reject as e:
        print(json.dumps({"fault": "header %d: %s" % (i, e.code)}))
        break
    faults = []
    if previous and h.previous != previous:
        faults.append("its previous hash is not that of the header before it" if i else "does not follow the genesis")
    if h.slot <= slot or h.iteration <= iteration:
        faults.append("slot or iteration do not rise")
    if mmr and h.accumulator != mmr.root():
        faults.append("its accumulator is not that of the headers before it")
    previous, slot, iteration = h.hash(feeder), h.slot, h.iteration
    if mmr:
        roots.append(mmr.root())
        if mmr.serialize().hex() == given["left"]:
            print(json.dumps({"continues": mmr.count}))
        mmr.append(previous)
    hashes.append(previous)
    print(json.dumps({"slot": h.slot, "iteration": h.iteration, "proposer": h.proposer, "hash": previous.hex(), "price_ucr_per_kwh": h.price_ucr_per_kwh,
                      "volume_mwh": h.volume_mwh, "faults": faults}))
if mmr:
    roots.append(mmr.root())
    if mmr.serialize().hex() == given["left"]:
        print(json.dumps({"continues": mmr.count}))
    print(json.dumps({"count": mmr.count, "peaks": [p.hex() for p in mmr.peaks], "root": mmr.root().hex()}))
if given["consistency"]:
    old, new = given["consistency"]
    try:
        if not mmr or new > mmr.count:
            raise Reject("header-missing")
        proof = proofs.prove_consistency(proofs.header_nodes(hashes[:new]), old, new)
        proofs.verify_consistency(roots[old], old, roots[new], new, proof)
        print(json.dumps({"consistency": [old, new], "bytes": len(proof), "proof": proof.hex()}))
    except Reject as e:
        print(json.dumps({"fault": "consistency of %d with %d headers: %s" % (old, new, e.code)}))
"""


class BadInput(ValueError):
    """Nothing to check: one line that says why."""


def add_parser(subparsers):
    p = subparsers.add_parser("headers", help="settlement → header: show a file of headers, check links, accumulator, consistency proofs",
                              description=__doc__.split("\n\n")[0])
    p.add_argument("files", nargs="+", type=Path, metavar="FILE",
                   help="headers: count:4, then 146 bytes each; several go on from one another; or a folder with a ring's segments")
    p.add_argument("--genesis", type=Path, metavar="FILE", help="the feeder's genesis.bin: hashes are checked, and the accumulator from the first block on")
    p.add_argument("--consistency", metavar="A:B", help="prove that the accumulator of B headers continues that of A")
    p.add_argument("--continues", type=Path, metavar="FILE", help="the unprovenN of a meter: are these the headers it had, and what came then?")
    p.add_argument("--receipt", type=Path, metavar="FILE", help="any receipt of the feeder: they are final up to the header that it proves")
    p.add_argument("--amendment", nargs="+", default=[], type=Path, metavar="FILE", help="other geneses of the feeder, which the receipt may need")
    p.add_argument("--last", type=int, metavar="N", help="show only the last N (all are checked)")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=run)


def run(args):
    try:
        result = check([h for file in args.files for h in read(file)], args.genesis and args.genesis.read_bytes(), _pair(args.consistency),
                       args.continues and _left(args.continues))
        if args.receipt:
            result["final"] = _final(args, result)
    except (BadInput, check_receipt.BadInput) as e:
        print(f"prosumer headers: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"prosumer headers: {e.filename}: {e.strerror}", file=sys.stderr)
        return 2
    except FirmwareError as e:
        print(f"prosumer headers: {e}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print(text(result, args.last))
    return 1 if result["faults"] else 0


def text(result, last=None):
    lines = []
    for h in result["headers"][-last if last else 0:]:
        lines.append(f"slot {h['slot']:>8}  iteration {h['iteration']:>8}  by member {h['proposer']:>2}  {price(h['price_ucr_per_kwh']):>17}"
                     f"  {kwh(h['volume_mwh']):>16}  {h['hash'][:16]}…")
    lines += ["", *result["faults"]] if result["faults"] else [""]
    if result["accumulator"]:
        a = result["accumulator"]
        lines.append(f"accumulator of {a['count']} headers in {len(a['peaks'])} peaks: {a['root']}")
    if result["consistency"]:
        c = result["consistency"]
        lines.append(f"the accumulator of {c['consistency'][1]} headers continues that of {c['consistency'][0]}: proof of {c['bytes']} bytes holds")
    if result["continues"]:
        lines.append(f"they begin with the {result['continues']} headers that the meter had")
    count = len(result["headers"])
    if result["faults"]:
        lines.append(f"{count} headers: {len(result['faults'])} faults")
    elif not result["linked"]:
        lines.append(f"{count} headers: slots rise; give --genesis to check their links")
    else:
        lines.append(f"{count} headers: links hold" + (", and every accumulator, from the genesis on" if result["accumulator"] else ""))
        lines.append(_agreed(result.get("final")))
    return "\n".join(lines)


def _agreed(final):
    if not final:
        return "that the street agreed on them is not shown: links need no signature; --receipt FILE proves it"
    return (f"those up to slot {final['slot']} are final: {final['signatures']} of {final['voters']} meters that vote ({final['quorum']} are enough)"
            " signed that one")


def _final(args, result):
    """What the receipt proves of these headers; a fault of the result when it is of none of them. BadInput."""
    if not args.genesis:
        raise BadInput("--receipt needs --genesis")
    found, = check_receipt.check([args.receipt.read_bytes()], args.genesis.read_bytes(), [p.read_bytes() for p in args.amendment])
    if "refused" in found:
        result["faults"].append(f"{args.receipt}: {check_receipt.REASONS.get(found['refused'], 'a rule is broken')} ({found['refused']})")
    elif found["header"] not in [h["hash"] for h in result["headers"]]:
        result["faults"].append(f"{args.receipt}: the header of slot {found['header_slot']} that it proves final is none of these")
    else:
        return {"slot": found["header_slot"], **{k: found[k] for k in ("header", "signatures", "voters", "quorum")}}
    return None


def _pair(words):
    if not words:
        return None
    a, colon, b = words.partition(":")
    if not (colon and a.isdigit() and b.isdigit()):
        raise BadInput("--consistency wants two counts, as 100:288")
    return [int(a), int(b)]


def _left(path):
    """The packed accumulator that a meter left behind."""
    data = path.read_bytes()
    if len(data) < 8 or binascii.crc32(data[4:]) != int.from_bytes(data[:4], "big"):
        raise BadInput(f"{path} is not what a meter keeps as unprovenN, or is damaged")
    return data[4:]


def read(path):
    """The raw headers of a file or of a ring's folder."""
    path = Path(path)
    if path.is_dir():
        return _ring(path)
    data = path.read_bytes()
    if len(data) < 4 or len(data) != 4 + SIZE * int.from_bytes(data[:4], "big"):
        raise BadInput(f"{path} is no file of headers: its length does not fit its count")
    return [data[at:at + SIZE] for at in range(4, len(data), SIZE)]


def _ring(folder):
    """Segments of a meter's ring: header, index:4, CRC-32:4; BadInput when an entry is damaged."""
    out, expected = [], None
    for path in sorted(p for p in folder.iterdir() if len(p.name) == 8):
        data = path.read_bytes()
        for at in range(0, len(data) - SIZE - 7, SIZE + 8):
            entry = data[at:at + SIZE + 8]
            index, crc = struct.unpack(">II", entry[SIZE:])
            if binascii.crc32(entry[:SIZE + 4]) != crc or expected not in (None, index):
                raise BadInput(f"{path}: entry {at // (SIZE + 8)} is damaged or out of place")
            out.append(entry[:SIZE])
            expected = index + 1
    if not out:
        raise BadInput(f"{folder} has no segments of a ring")
    return out


def check(headers, genesis=None, consistency=None, left=None):
    """{"headers", "faults", "accumulator", "consistency", "continues", "linked"}"""
    feeder, digest, first = bytes(8), b"", 1
    if genesis:
        feeder, digest = _ids(genesis)
        first = 0 if headers and headers[0][10:42] == digest else 1
    if (consistency or left) and first:
        raise BadInput(f"{'a consistency proof' if consistency else '--continues'} needs --genesis and the headers from the first block on")
    given = {"feeder": feeder.hex(), "genesis": digest.hex() if not first else "", "first": first, "count": len(headers), "consistency": consistency,
             "left": left.hex() if left else ""}
    answers = run_firmware(SCRIPT, json.dumps(given) + "\n" + "".join(h.hex() + "\n" for h in headers), "64M").splitlines()
    result = {"headers": [], "faults": [], "accumulator": None, "consistency": None, "continues": None, "linked": bool(genesis)}
    for line in map(json.loads, answers):
        if "slot" in line:
            faults = line.pop("faults")
            if not genesis:
                faults = [f for f in faults if "previous" not in f]
            result["faults"] += [f"slot {line['slot']}: {f}" for f in faults]
            result["headers"].append(line)
        elif "fault" in line:
            result["faults"].append(line["fault"])
        elif "continues" in line:
            result["continues"] = line["continues"]
        else:
            result["accumulator" if "root" in line else "consistency"] = line
    if left and not result["continues"]:
        had = int.from_bytes(left[:4], "big")
        result["faults"].append(f"the {had} headers that the meter had are not the first of these: one of the two histories is false")
    return result


_GENESIS = """
import sys
from prosumer.errors import Reject
from prosumer.identity.genesis import Genesis
try:
    g = Genesis(bytes.fromhex(sys.stdin.read().strip()))
    print(g.feeder_id.hex(), g.hash.hex())
except Reject as e:
    print(e.code)
"""


def _ids(genesis):
    words = run_firmware(_GENESIS, genesis.hex()).split()
    if len(words) != 2:
        raise BadInput(f"the genesis is not valid: {words[0]}")
    return bytes.fromhex(words[0]), bytes.fromhex(words[1])
