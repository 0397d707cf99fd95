"""What an archive's answers prove to whoever has the feeder's genesis: each question is asked, and its answer checked before it is shown.

    trust = Trust(genesis, ask)                         ask(what, **arguments), as answers.py answers it, over whatever wire
    found, text, data = ANSWERS["receipt"](trust, {"member": 3, "slot": 7})

Receipts, headers' places and consistency are checked by the firmware's own code. `found` is for programs, `text` for people and says what is
not proven too; `data` are the bytes that came, or None. Refused: the archive's own no; Unproven: its answer does not hold.
"""
import base64
import json

from prosumer_tools.commands import check_receipt, headers
from prosumer_tools.unixport import run_firmware

from . import format, receipts, words
from .answers import MOST_HEADERS
from .chain import Refused
from .format import Malformed

_HEADERS = 256  # at a time, and so many hits: a broker lets 64 KiB pass (OPERATOR.md), base64 included
_HITS = 5
_TRANSFERS = {"given": 0, "received": 0, "retired": 1, "paid-in": 2, "paid-out": 3}
_SCRIPT = """
import json, sys
from prosumer.errors import Reject
from prosumer.ledger import proofs
from prosumer.records import Header
given = json.loads(sys.stdin.readline())
feeder, proof = bytes.fromhex(given["feeder"]), bytes.fromhex(given["proof"])
one, other = [Header.parse(bytes.fromhex(given[k])) for k in ("one", "other")]
try:
    if given["same"]:
        proofs.verify_consistency(one.accumulator, given["at"], other.accumulator, given["of"], proof)
    elif given["at"] != given["of"]:
        proofs.verify_inclusion(other.accumulator, given["of"], given["at"], one.hash(feeder), proof)
    elif given["one"] != given["other"]:
        raise Reject("proof-wrong")
    print(json.dumps({"hash": one.hash(feeder).hex(), "root": one.accumulator.hex(), "other": other.hash(feeder).hex()}))
except Reject as e:
    print(json.dumps({"fault": e.code}))
"""


class Unproven(ValueError):
    """The answer does not prove what it says; one line."""


class Trust:
    """The feeder by its genesis (bytes), which is trusted; other geneses come from the archive, if they are needed, by the operator's signature."""

    def __init__(self, genesis, ask):
        self.bytes, self.ask, self.genesis = genesis, ask, format.genesis_of(genesis)
        self.amendments = None

    def check(self, made):
        """What these receipts prove, a dict each, {"refused": code} of one that does not hold."""
        found = check_receipt.check(made, self.bytes, self.amendments or ())
        if self.amendments is None and any(f.get("refused") == "strange-regime" for f in found):
            found = check_receipt.check(made, self.bytes, self.others())
        return found

    def receipt(self, data):
        """What one receipt proves. Unproven."""
        found, = self.check([data])
        if "refused" in found:
            raise Unproven(f"its receipt is refused: {check_receipt.REASONS.get(found['refused'], found['refused'])}")
        return found

    def others(self):
        """All geneses besides the trusted one, each signed by the operator and leading to the next. Unproven."""
        out = []
        for number in range(1 << 16 if self.amendments is None else 0):
            try:
                record = self.ask("genesis", number=number)
                g = format.genesis_of(record)
            except Refused:
                break
            except Malformed as error:
                raise Unproven(str(error)) from None
            if (g.feeder_id, g.operator, g.number) != (self.genesis.feeder_id, self.genesis.operator, number):
                raise Unproven(f"genesis number {number} is not one of this feeder")
            out += [record] * (number != self.genesis.number)
        try:
            check_receipt.check([], self.bytes, out)
        except check_receipt.BadInput as error:
            raise Unproven(f"the geneses that came do not lead to one another: {error}") from None
        self.amendments = out if self.amendments is None else self.amendments
        return self.amendments

    def header(self, slot=None):
        """Of the final block of `slot` (default: the newest): {"slot", "index", "header", "hash", "root", "newest": what its receipt proves}."""
        said = self.ask("header", **({} if slot is None else {"slot": slot}))
        one, newest, proof, receipt = (_bytes(said.get(k)) for k in ("header", "newest", "proof", "receipt"))
        index, count = said.get("index"), said.get("count")
        try:
            at = _slot(one)
            found = self._places(one, newest, index, count, proof)
        except ValueError as error:
            raise Unproven(f"the header that came for slot {slot} is not proven ({error})") from None
        final = self.receipt(receipt)
        if final["header"] != found["other"] or slot not in (None, at):
            raise Unproven(f"the header that came for slot {slot} is another, or is not under the final one of slot {final['header_slot']}")
        return {"slot": at, "index": index, "header": one, "hash": found["hash"], "root": found["root"], "newest": final}

    def _places(self, one, other, at, of, proof, same=False):
        if len(one) != format.HEADER_SIZE or len(other) != format.HEADER_SIZE:
            raise ValueError("it is no header")
        if not all(isinstance(n, int) and 0 <= n < 1 << 32 for n in (at, of)):
            raise ValueError("it has no place")
        given = {"feeder": self.genesis.feeder_id.hex(), "one": one.hex(), "other": other.hex(), "at": at, "of": of, "proof": proof.hex(), "same": same}
        found = json.loads(run_firmware(_SCRIPT, json.dumps(given) + "\n"))
        if "fault" in found:
            raise ValueError(found["fault"])
        return found

    def continued(self, old, new, proof):
        """The final headers behind `old` and `new` headers, when the accumulator of the one continues that of the other; Unproven."""
        one, other = (self.header(_slot(self.headers(count, 1)[0])) for count in (old, new))
        try:
            self._places(one["header"], other["header"], old, new, proof, True)
        except ValueError as error:
            raise Unproven(f"the accumulator of {new} headers does not continue that of {old}: {error}") from None
        return one, other

    def headers(self, first, count):
        """The raw headers, as they came. Unproven, Refused when there are none."""
        out = []
        while len(out) < count:
            data = self.ask("headers", first=first + len(out), count=min(count - len(out), _HEADERS))
            if len(data) < 4 or len(data) != 4 + format.HEADER_SIZE * int.from_bytes(data[:4], "big") or len(data) > 4 + format.HEADER_SIZE * _HEADERS:
                raise Unproven("what came is no file of headers")
            if len(data) == 4:
                break
            out += [data[at:at + format.HEADER_SIZE] for at in range(4, len(data), format.HEADER_SIZE)]
        if not out:
            raise Refused(f"there is no header number {first} yet")
        return out


def _bytes(text):
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise Unproven("a part of the answer is missing") from None


def _slot(header):
    return format.header_at(b"\x09" + header).slot


def _final(h):
    n = h["newest"]
    return (f"  final      the block of slot {h['slot']}, header {h['hash']}, " + ("is the newest" if n["header"] == h["hash"] else
            f"stands under that of slot {n['header_slot']}") + f": {n['signatures']} of {n['voters']} meters that vote ({n['quorum']} are enough) signed it")


def _status(trust, given):
    said, h = trust.ask("status"), trust.header()
    return ({"said": said, "final_slot": h["slot"], "final_hash": h["hash"]},
            "\n".join([f"SAID by the archive: {json.dumps(said)}", "", "PROVEN:", _final(h)]), None)


def _genesis(trust, given):
    number = given.get("number", 0)
    found = [r for r in (trust.bytes, *trust.others()) if format.genesis_of(r).number == number]
    if not found:
        raise Refused(f"no genesis number {number}")
    g = format.genesis_of(found[0])
    return ({"number": g.number, "hash": g.hash.hex(), "members": g.n}, f"PROVEN: genesis number {g.number} of {g.name}, {g.n} members, hash {g.hash.hex()},"
            " signed by the operator; `prosumer feeder show FILE` tells the rest", found[0])


def _header(trust, given):
    h = trust.header(given.get("slot"))
    return {**h, "header": h["header"].hex()}, "PROVEN:\n" + _final(h), h["header"]


def _headers(trust, given):
    newest = trust.header()
    raw = trust.headers(given.get("first", 0), given.get("count", MOST_HEADERS))
    raw = [h for h in raw if _slot(h) <= newest["slot"]]
    if not raw:
        raise Refused("none of these headers is final yet")
    result = headers.check(raw, trust.bytes)
    if result["faults"]:
        raise Unproven(result["faults"][0])
    h = trust.header(result["headers"][-1]["slot"])
    if h["header"] != raw[-1]:
        raise Unproven(f"the last of them is not the final header of slot {h['slot']}")
    return {**result, "final_slot": h["slot"]}, f"{headers.text(result)}\n\nPROVEN:\n{_final(h)}", len(raw).to_bytes(4, "big") + b"".join(raw)


def _catch_up(trust, given):
    said = trust.ask("catch-up", **given)
    return _grown(trust, said, given.get("old", 0))


def _consistency(trust, given):
    return _grown(trust, trust.ask("consistency", **given), given.get("old", 0))


def _grown(trust, said, old):
    new, proof = said.get("new"), _bytes(said.get("proof"))
    if said.get("old") != old or not isinstance(new, int) or not 0 <= old <= new:
        raise Unproven(f"that is a proof from {said.get('old')} to {new} headers")
    if not old:
        h = trust.header(_slot(trust.headers(new, 1)[0]))
        return {"old": 0, "new": new, "root": h["root"]}, f"PROVEN:\n{_final(h)}", None
    one, other = trust.continued(old, new, proof)
    return ({"old": old, "new": new, "old_root": one["root"], "root": other["root"]}, f"PROVEN:\n{_final(other)}\n"
            f"  continues  the accumulator of {new} headers, {other['root']},\n             has the first {old} as that of {old}: {one['root']}", proof)


def _receipt(trust, given, what="receipt"):
    data = trust.ask(what, **given)
    found = trust.receipt(data)
    show = given.get("show", "account" if what == "account" else "")
    lacks = [part for part in show.replace(",", " ").split() if part in receipts.SHOW and found[part] is None]
    if given.get("member", found["member"]) != found["member"] or given.get("slot", found["slot"]) != found["slot"] or lacks:
        raise Unproven(f"the receipt that came is of member {found['member']}, slot {found['slot']}" + "".join(f", without {part}" for part in lacks))
    return found, words.text(found), data


def _account(trust, given):
    return _receipt(trust, given, "account")


def _block(trust, given):
    data = trust.ask("block", **given)
    try:
        proposal, certificate = format.parts_of(data)
        block = format.block_of(proposal, certificate)
    except Malformed as error:
        raise Unproven(str(error)) from None
    h = trust.header(block.slot)
    if h["header"] != proposal[1:1 + format.HEADER_SIZE] or block.header.body_root != format.body_root(block) or given.get("slot", block.slot) != block.slot:
        raise Unproven(f"that is not the block that is final in slot {given.get('slot')}")
    counts = {k: len(getattr(block, k)) for k in ("commits", "orders", "readings", "transfers", "evidence", "amendments")}
    return {"slot": block.slot, "hash": h["hash"], **counts}, "PROVEN:\n" + _final(h) + "\n  body       " + ", ".join(
        f"{n} {k}" for k, n in counts.items()), data


def _search(trust, given):
    given = dict(given)
    most, skip = given.pop("limit", 100), given.pop("skip", 0)
    hits, of = [], 1
    while len(hits) < min(most, of - skip):
        said = trust.ask("search", **given, limit=min(_HITS, most - len(hits)), skip=skip + len(hits))
        of = said.get("of")
        came = said.get("hits")
        if not (isinstance(of, int) and isinstance(came, list) and all(_columns(h) == _columns((hits + came)[0]) != set() for h in came)):
            raise Unproven("what came is no answer to a search")
        if not came:
            break
        hits += came
    kind = given.get("kind")
    made = [[_bytes(h[k]) for k in ("before", "receipt") if h.get(k)] for h in hits]
    checked = iter(trust.check([data for pair in made for data in pair]) if made else ())
    for hit, pair in zip(hits, made):
        proofs = [next(checked) for _ in pair]
        refused = [p["refused"] for p in proofs if "refused" in p]
        shown = None if refused or not pair else proves(kind, hit, proofs)
        if refused or shown is False:
            raise Unproven(f"the hit {({k: v for k, v in hit.items() if k not in ('receipt', 'before')})} is not what its receipt proves"
                           + "".join(f" ({code})" for code in refused))
        hit["proven"] = "yes" if shown else "no"
    sure = sum(h["proven"] == "yes" for h in hits)
    text = [*words.table(hits), words.found(kind, len(hits), of, skip) + f": {sure} proven by receipts" +
            (f", {len(hits) - sure} only said by the archive" if sure < len(hits) else ""), "That there are no others is said by the archive, not proven."]
    return {"kind": kind, "hits": hits, "of": of}, "\n".join(text), None


def _columns(hit):
    return hit.keys() - {"receipt", "before"} if isinstance(hit, dict) else set()


def proves(kind, hit, found):
    """Whether checked receipts prove a hit of a search: True; False when they prove another; None when they are silent about it."""
    r = found[-1]
    if (r["member"], r["slot"]) != (hit.get("member"), hit.get("slot")):
        return False
    if kind in ("readings", "trades"):
        shown = r["reading" if kind == "readings" else "trade"]
        return shown and all(shown[k] == hit.get(k) for k in shown if k in hit and k != "slot")
    if kind == "entries":
        return r["money"] and all(r["money"][k] == hit.get(k) for k in r["money"] if k != "member_ucr") if hit.get("kind") == "settled" else None
    if hit.get("kind") == "minted":  # None if other coins came or went in the same block
        two = len(found) == 2 and words.grown(*found)
        return two and sum(found[1]["account"][k] - found[0]["account"][k] for k in ("green_mwh", "retired_mwh")) == hit.get("amount") or None
    said = _TRANSFERS.get(hit.get("kind")), hit.get("amount"), hit.get("other")
    return any((t["kind"], t["amount"], t["member"] if t["kind"] > 1 or hit["kind"] == "received" else t["to"]) == said for t in r["transfers"])


ANSWERS = {"status": _status, "genesis": _genesis, "header": _header, "headers": _headers, "catch-up": _catch_up, "consistency": _consistency,
           "receipt": _receipt, "account": _account, "search": _search, "block": _block}
