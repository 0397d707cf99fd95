"""Bytes → records, written from the layouts in the documentation and from nothing else. All numbers are big-endian.

    genesis.bin          0a …: genesis.py
    block-NNNNN.bin      length:4, proposal, certificate
    proposal             09 header:146 sig:64 body
    header               05 slot:4 iteration:4 proposer previous:32 accumulator:32 body_root:32 state_root:32 price:4 volume:4
    body                 08 salt:16, then envelopes, commits, orders, readings, transfers, evidence, amendments: each a count byte
                         and its records
    certificate          07 kind iteration:4 header_hash:32 members:8 sig:64 for each bit set in members, from the lowest
    meter-NAME.bin       count:4, then headers of 146 bytes
"""
import struct
from dataclasses import dataclass

from .genesis import GENESIS_TAG, Genesis, genesis
from .genesis import read as read_genesis
from .reader import Malformed, Reader, sha256

__all__ = ["FAULTS", "FINALIZE", "GENESIS_TAG", "HEADER_SIZE", "Genesis", "Malformed", "Reader", "block", "genesis", "ring", "sha256"]

HEADER_SIZE = 146
VOTE, FINALIZE, PROPOSE = 0, 1, 2
GIVE, RETIRE, PAY_IN, PAY_OUT = range(4)
OPERATOR = 255
FAULTS = 0b11110110  # flags of a reading that settles nothing: clipped, no voltage, reversed, frequency, clamp, cycles missing


class Signed:
    """A record that is signed as `TAG 00 feeder_id raw`."""

    def message(self, feeder_id):
        return self.TAG + b"\0" + feeder_id + self.raw

    def hash(self, feeder_id):
        return sha256(self.message(feeder_id))

    def bytes(self):
        return self.raw + self.signature


def _signed(cls, layout):
    size = struct.calcsize(layout)

    def read(reader, what):
        reader.type(cls.TYPE, what)
        start = reader.at - 1
        numbers = struct.unpack(layout, reader.take(size, what))
        raw = reader.data[start:reader.at]
        return cls(*numbers, raw, reader.take(64, what))

    cls.read = staticmethod(read)
    return cls


@dataclass
class Reading(Signed):
    member: int
    slot: int
    seq: int
    previous: bytes
    import_mwh: int
    export_mwh: int
    generation_mwh: int
    interval_import_mwh: int
    interval_export_mwh: int
    interval_generation_mwh: int
    uncertainty_mwh: int
    flags: int
    accuracy: int
    calibration: bytes
    raw: bytes
    signature: bytes
    TYPE, TAG = 1, b"prosumer/reading/v1"

    @property
    def faulty(self):
        return bool(self.flags & FAULTS)


@dataclass
class Commit(Signed):
    member: int
    slot: int
    digest: bytes
    raw: bytes
    signature: bytes
    TYPE, TAG = 2, b"prosumer/commit/v1"


@dataclass
class Envelope(Signed):
    first_slot: int
    last_slot: int
    import_limit_mwh: int
    export_limit_mwh: int
    raw: bytes
    signature: bytes
    TYPE, TAG = 4, b"prosumer/envelope/v1"


@dataclass
class Transfer(Signed):
    member: int
    kind: int
    seq: int
    to: int
    amount: int
    note: bytes
    raw: bytes
    signature: bytes
    TYPE, TAG = 11, b"prosumer/transfer/v1"


@dataclass
class Vote(Signed):
    kind: int
    iteration: int
    member: int
    header_hash: bytes
    raw: bytes
    signature: bytes
    TYPE, TAG = 6, b"prosumer/vote/v1"

    def message(self, domain):
        """Without the member: all votes for one thing sign the same bytes."""
        return vote_message(domain, self.kind, self.iteration, self.header_hash)


_signed(Reading, ">BII32sQQQIIIIHB8s")
_signed(Commit, ">BI32s")
_signed(Envelope, ">IIII")
_signed(Transfer, ">BBIBQ16s")
_signed(Vote, ">BIB32s")


def vote_message(domain, kind, iteration, header_hash):
    return b"prosumer/vote/v1\0" + domain + struct.pack(">BI", kind, iteration) + header_hash


@dataclass
class Evidence:
    """Two things of one member's that contradict each other."""

    member: int
    domain: bytes
    one: Signed
    other: Signed
    raw: bytes

    @staticmethod
    def read(reader, what):
        reader.type(12, what)
        start = reader.at - 1
        member = reader.take(1, what)[0]
        domain = bytes(reader.take(8, what))
        cls = {c.TYPE: c for c in (Reading, Commit, Vote)}.get(reader.data[reader.at] if reader.at < len(reader.data) else 0)
        if not cls:
            raise Malformed(f"{what}: holds neither readings nor commits nor votes")
        one, other = cls.read(reader, what), cls.read(reader, what)
        return Evidence(member, domain, one, other, reader.data[start:reader.at])

    def bytes(self):
        return self.raw

    def fault(self):
        """Why this proves nothing (signatures apart); None if it does."""
        a, b = self.one, self.other
        if not a.member == b.member == self.member:
            return "is not about one member"
        if a.bytes() >= b.bytes():
            return "is not in order"
        if isinstance(a, Reading):
            lies = a.seq == b.seq and a.raw != b.raw
        elif isinstance(a, Commit):
            lies = a.slot == b.slot and a.digest != b.digest
        else:
            lies = a.iteration == b.iteration and a.header_hash != b.header_hash
            if a.kind == b.kind:
                lies = lies and any(a.header_hash) and any(b.header_hash)
            else:
                said = {(v.kind, any(v.header_hash)) for v in (a, b)}
                lies = lies and (VOTE, False) in said and FINALIZE in (a.kind, b.kind)
        return None if lies else "proves nothing: the two do not contradict each other"


@dataclass
class Order:
    """Signed through its commit, which holds `hash`."""

    member: int
    slot: int
    salt: bytes
    buy: list      # (price_ucr_per_kwh, energy_mwh), falling in price
    sell: list     # rising
    raw: bytes

    @staticmethod
    def read(reader, what):
        reader.type(3, what)
        start = reader.at - 1
        member, slot, salt, buys, sells = reader.unpack(">BI16sBB", what)
        if buys > 8 or sells > 8:
            raise Malformed(f"{what}: more than 8 steps on a side")
        steps = [reader.unpack(">II", what) for _ in range(buys + sells)]
        return Order(member, slot, salt, steps[:buys], steps[buys:], reader.data[start:reader.at])

    def hash(self, feeder_id):
        return sha256(b"prosumer/order/v1\0", feeder_id, self.raw)

    def bytes(self):
        return self.raw


@dataclass
class Header:
    slot: int
    iteration: int
    proposer: int
    previous: bytes
    accumulator: bytes
    body_root: bytes
    state_root: bytes
    price_ucr_per_kwh: int
    volume_mwh: int
    raw: bytes

    FIELDS = ("slot", "iteration", "proposer", "previous", "accumulator", "body_root", "state_root", "price_ucr_per_kwh", "volume_mwh")

    @staticmethod
    def read(reader, what):
        reader.type(5, what)
        start = reader.at - 1
        return Header(*reader.unpack(">IIB32s32s32s32sII", what), reader.data[start:reader.at])

    def hash(self, feeder_id):
        return sha256(b"prosumer/header/v1\0", feeder_id, self.raw)


@dataclass
class Certificate:
    kind: int
    iteration: int
    header_hash: bytes
    signatures: dict  # member → 64 bytes

    @staticmethod
    def read(reader):
        what = "certificate"
        reader.type(7, what)
        kind, iteration, header_hash, bits = reader.unpack(">BI32sQ", what)
        return Certificate(kind, iteration, header_hash, {m: reader.take(64, what) for m in range(64) if bits >> m & 1})


@dataclass
class Block:
    """One stored block, decoded; `check` and `books` add what follows from it."""

    header: Header
    signature: bytes
    salt: bytes
    envelopes: list
    commits: list
    orders: list
    readings: list
    transfers: list
    evidence: list
    amendments: list
    certificate: Certificate

    @property
    def slot(self):
        return self.header.slot

    def leaves(self):
        return [r.bytes() for part in self.parts() for r in part]

    def parts(self):
        return self.envelopes, self.commits, self.orders, self.readings, self.transfers, self.evidence, self.amendments


class _Amendment:
    read = staticmethod(read_genesis)


_PARTS = (("envelope", Envelope, 1), ("commit", Commit, 64), ("order", Order, 64), ("reading", Reading, 255),
          ("transfer", Transfer, 16), ("evidence", Evidence, 1), ("amendment", _Amendment, 1))


def block(data):
    """The content of a block file. A certificate may be absent (None): the block is then final by a later one."""
    r = Reader(data, "file")
    size = r.unpack(">I", "length field")[0]
    if size > len(data) - 4:
        raise Malformed(f"length field: says {size} bytes of proposal, the file has {len(data) - 4}")
    try:
        parts = _proposal(Reader(r.take(size), "proposal"))
    except Malformed as e:
        doubt = " (or the length field in front is wrong)" if "ends after" in str(e) or "too many" in str(e) else ""
        raise Malformed(f"{e}{doubt}") from None
    r.what = "certificate"
    certificate = Certificate.read(r) if r.at < len(data) else None
    r.end()
    return Block(*parts, certificate)


def _proposal(p):
    p.type(9, "proposal")
    header = Header.read(p, "header")
    signature = p.take(64, "proposer's signature")
    p.type(8, "body")
    salt = p.take(16, "body")
    parts = []
    for what, cls, most in _PARTS:
        count = p.take(1, f"count of {what}s")[0]
        if count > most:
            raise Malformed(f"count of {what}s: {count}, at most {most}")
        parts.append([cls.read(p, f"{what} {i + 1} of {count}") for i in range(count)])
    p.end()
    return header, signature, salt, *parts


def ring(data):
    """The headers of a meter's own flash, oldest first."""
    r = Reader(data, "ring")
    count = r.unpack(">I", "count")[0]
    if len(data) != 4 + count * HEADER_SIZE:
        raise Malformed(f"count: says {count} headers, the file holds {(len(data) - 4) / HEADER_SIZE:.3g}")
    return [Header.read(r, f"header {i + 1} of {count}") for i in range(count)]
