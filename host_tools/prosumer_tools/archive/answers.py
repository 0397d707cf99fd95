"""What the archive answers, over HTTP and MQTT alike, and to whom.

    everybody   feeders, status, genesis, header, headers, catch-up, consistency: public, and worth nothing without their proofs
    a member    receipt, account, search: of itself
    operator    all members, and whole blocks
"""
import base64
import hashlib
import secrets

from . import format, receipts
from .chain import Refused
from .search import count, search

OPERATOR = 255
MOST_HEADERS = 2016
WORDS = ("kind", "side", "show")  # arguments that are no numbers


class Forbidden(Refused):
    """Not for this asker."""


def answer(archive, feeder, what, given, who=None):
    """`given`: dict of arguments, of any type; `who`: None, a member's number or OPERATOR. A dict for JSON, or bytes. Refused, Forbidden."""
    if not isinstance(what, str) or what not in _ANSWERS:
        raise Refused(f"no such question: {str(what)[:40]!r}; there are {', '.join(sorted(_ANSWERS))}")
    make, public = _ANSWERS[what]
    given = {k: _argument(k, v) for k, v in given.items() if v is not None}
    if not public and who != OPERATOR and (who is None or what == "block" or given.get("member", who) != who):
        raise Forbidden("a member's records are for that member and the operator")
    if not public and what != "block":
        given.setdefault("member", None if who == OPERATOR else who)
    try:
        return make(archive, feeder, **given)
    except TypeError as error:
        raise Refused(f"{what}: {str(error).split(') ')[-1].replace('_', '-')}") from None


def _argument(name, value):
    """A value that the database takes: a number from 0 to 2^32 or a word, of `show` also a list of words. Refused."""
    if name not in WORDS:
        if isinstance(value, int) and 0 <= value <= 1 << 32:
            return int(value)
        raise Refused(f"{name[:40]}: a number from 0 to {1 << 32} is wanted")
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        value = ",".join(value)
    if isinstance(value, str) and len(value) <= 64 and value.isascii() and value.isprintable():
        return value
    raise Refused(f"{name}: a word of at most 64 letters is wanted")


def b64(data):
    return base64.b64encode(data).decode()


def status(archive, feeder):
    g, chain = archive.genesis(feeder), archive.chain(feeder)
    slot, waiting = archive.gap(feeder)
    return {"feeder": feeder.hex(), "street": g.name, "members": g.n, "slot_s": g.slot_s, "start_s": g.start_s, "blocks": chain.height,
            "last_slot": slot, "last_hash": chain.tip.hex(), "missing_between": [slot, waiting[0]] if waiting else None, "waiting": len(waiting)}


def genesis(archive, feeder, number=0):
    found = archive.records_of_genesis(feeder)
    if not 0 <= number < len(found):
        raise Refused(f"no genesis number {number}")
    return found[number]


def headers(archive, feeder, first=0, count=MOST_HEADERS):
    """A file of headers, as `prosumer headers` reads it: count:4, then 146 bytes each, by height from `first` on."""
    rows = archive.db.all(f"SELECT substr(proposal, 2, {format.HEADER_SIZE}) FROM blocks WHERE feeder = ? AND height >= ? ORDER BY height LIMIT ?",
                          feeder, first, min(count, MOST_HEADERS))
    return len(rows).to_bytes(4, "big") + b"".join(bytes(header) for header, in rows)


def header(archive, feeder, slot=None):
    return _text(receipts.final(archive, feeder, slot))


def catch_up(archive, feeder, old):
    return _text(receipts.catch_up(archive, feeder, old))


def _text(found):
    return {k: b64(v) if isinstance(v, bytes) else v for k, v in found.items()}


def consistency(archive, feeder, old, new):
    return {"old": old, "new": new, "proof": b64(b"".join(receipts.consistency(archive, feeder, old, new)))}


def block(archive, feeder, slot):
    """As a run keeps it."""
    height = archive.height_of(feeder, slot)
    if height is None:
        raise Refused(f"slot {slot} has no block")
    proposal, certificate = archive.bytes_of(feeder, height)
    return format.file_of(proposal, certificate)


def receipt(archive, feeder, slot, member=None, show=receipts.SLOT):
    return receipts.receipt(archive, feeder, _needed(member), slot, show)


def account(archive, feeder, member=None, slot=None, show=("account",)):
    return receipts.entry(archive, feeder, _needed(member), slot, show)


def searched(archive, feeder, kind, member=None, first=None, last=None, min_mwh=None, max_mwh=None, side=None, limit=100, proofs=1, skip=0):
    how = kind, member, first, last, min_mwh, max_mwh, side
    return {"hits": search(archive, feeder, *how, limit, bool(proofs), skip), "of": count(archive, feeder, *how)}


def _needed(member):
    if member is None:
        raise Refused("say which member")
    return member


_ANSWERS = {"status": (status, True), "genesis": (genesis, True), "header": (header, True), "headers": (headers, True), "catch-up": (catch_up, True),
            "consistency": (consistency, True), "receipt": (receipt, False), "account": (account, False), "search": (searched, False),
            "block": (block, False)}


# -- who asks over HTTP


def new_token(archive, feeder, member):
    """A secret for a member or the operator; the database keeps only its hash."""
    if member != OPERATOR and not 0 <= member < archive.genesis(feeder).n:
        raise Refused(f"no member {member} on this feeder")
    token = secrets.token_hex(24)  # one that began with a dash was an option to every command that was given it
    archive.db.do("INSERT INTO tokens VALUES (?, ?, ?)", hashlib.sha256(token.encode()).digest(), feeder, member)
    return token


def asker(archive, feeder, token):
    row = archive.db.one("SELECT member FROM tokens WHERE digest = ? AND feeder = ?", hashlib.sha256(token.encode()).digest(), feeder)
    return row[0] if row else None
