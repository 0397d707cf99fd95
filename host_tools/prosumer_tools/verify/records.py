"""Bytes → records, written from the layouts in the documentation and from nothing else. All numbers are big-endian.

    genesis.bin          0a start_s:4 slot_s:2 delta_ms:2 retail:4 feed_in:4 price_min:4 price_max:4 local_fee:4
                         loss_per_mille:2 penalty_ucr:4 import_limit_mwh:4 export_limit_mwh:4 operator:32
                         name (length, text) members (count, then key:32 roles fuse_a phase each) sig:64
    block-NNNNN.bin      length:4, proposal, certificate
    proposal             09 header:146 sig:64 body
    header               05 slot:4 iteration:4 proposer previous:32 accumulator:32 body_root:32 state_root:32 price:4 volume:4
    body                 08 salt:16, then envelopes, commits, orders, readings: each a count byte and its records
    certificate          07 kind iteration:4 header_hash:32 members:8 sig:64 for each bit set in members, from the lowest
    meter-NAME.bin       count:4, then headers of 146 bytes
"""
import hashlib
import struct
from dataclasses import dataclass

GENESIS_TAG = b"prosumer/genesis/v1\0"
PRICE_CEILING = 0x3FFFFFFF
HEADER_SIZE = 146
FINALIZE = 1
FAULTS = 0b11110110  # flags of a reading that settles nothing: clipped, no voltage, reversed, frequency, clamp, cycles missing


class Malformed(ValueError):
    """These bytes are not such a record; the text says where and why."""


class Reader:
    """Takes pieces from the front; what is missing is named by `what`."""

    def __init__(self, data, what):
        self.data, self.at, self.what = data, 0, what

    def take(self, size, what=None):
        if self.at + size > len(self.data):
            raise Malformed(f"{what or self.what}: ends after {len(self.data)} bytes, {self.at + size} are needed")
        self.at += size
        return self.data[self.at - size:self.at]

    def unpack(self, layout, what=None):
        return struct.unpack(layout, self.take(struct.calcsize(layout), what))

    def type(self, number, what):
        found = self.take(1, what)[0]
        if found != number:
            raise Malformed(f"{what}: first byte is {found:02x}, not {number:02x}")

    def end(self):
        if self.at != len(self.data):
            raise Malformed(f"{self.what}: {len(self.data) - self.at} bytes too many at the end")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


@dataclass
class Genesis:
    start_s: int
    slot_s: int
    delta_ms: int
    retail: int
    feed_in: int
    min_price: int
    max_price: int
    local_fee: int
    loss_per_mille: int
    penalty_ucr: int
    import_limit_mwh: int
    export_limit_mwh: int
    operator: bytes
    name: str
    members: list      # (key, roles, fuse_a, phase)
    body: bytes
    signature: bytes

    @property
    def n(self):
        return len(self.members)

    @property
    def quorum(self):
        return self.n - (self.n - 1) // 3

    @property
    def feeder_id(self):
        return sha256(GENESIS_TAG, self.body)[:8]

    @property
    def hash(self):
        return sha256(GENESIS_TAG, self.body, self.signature)

    def fuse_mwh(self, member):
        _, _, fuse_a, phase = self.members[member]
        return fuse_a * 230 * (1 if phase else 3) * self.slot_s * 1000 // 3600


def genesis(data):
    r = Reader(data, "genesis")
    r.type(10, "genesis")
    numbers = r.unpack(">IHHIIIIIHIII32s")
    try:
        name = r.take(r.take(1)[0]).decode()
    except UnicodeDecodeError:
        raise Malformed("genesis: the street's name is not UTF-8") from None
    members = [r.unpack(">32sBBB") for _ in range(r.take(1)[0])]
    body = data[:r.at]
    signature = r.take(64)
    r.end()
    return Genesis(*numbers, name, members, body, signature)


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


_signed(Reading, ">BII32sQQQIIIIHB8s")
_signed(Commit, ">BI32s")
_signed(Envelope, ">IIII")


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
    certificate: Certificate

    @property
    def slot(self):
        return self.header.slot

    def leaves(self):
        return [r.bytes() for part in (self.envelopes, self.commits, self.orders, self.readings) for r in part]


_PARTS = (("envelope", Envelope, 1), ("commit", Commit, 64), ("order", Order, 64), ("reading", Reading, 255))


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
