"""Every record that is sent, signed or stored, in the order of the walk, with its exact bytes.

All numbers are unsigned big-endian; `sig` is Ed25519 over `TAG 00 feeder_id body` (see codec.Record).
Units stand in the names: mwh = milliwatt-hours, ucr = micro-credits (1 credit = 1 EUR).

    Reading      01 member slot:4 seq:4 previous:32 import_mwh:8 export_mwh:8 generation_mwh:8
                 interval_import_mwh:4 interval_export_mwh:4 interval_generation_mwh:4
                 uncertainty_mwh:4 flags:2 accuracy:1 calibration:8 sig:64                       157 bytes
    Commit       02 member slot:4 digest:32 sig:64                                              102 bytes
    Order        03 member slot:4 salt:16 buys sells (price_ucr_per_kwh:4 energy_mwh:4)*      ≤ 152 bytes
    Envelope     04 first_slot:4 last_slot:4 import_limit_mwh:4 export_limit_mwh:4 sig:64        81 bytes
    Header       05 slot:4 iteration:4 proposer previous:32 accumulator:32 body_root:32
                 state_root:32 price_ucr_per_kwh:4 volume_mwh:4                                 146 bytes
    Vote         06 kind iteration:4 member header_hash:32 sig:64                               103 bytes
    Certificate  07 kind iteration:4 header_hash:32 members:8 sig:64*                         ≤ 4142 bytes
    Body         08 salt:16 envelopes commits orders readings transfers evidence amendments
                 (each: count:1, then the records, sorted)
    Proposal     09 header:146 sig:64 body                             (signed as a Vote of kind PROPOSE)
    Genesis      0a: identity/genesis.py; an amendment is one
    Transfer     0b member kind seq:4 to amount:8 note:16 sig:64                                 96 bytes
    Evidence     0c member domain:8, then two signed records of one type that it should not both have signed ≤ 324 bytes
"""
import struct

from prosumer.codec import SIGNATURE_BYTES, Cursor, Record, list_pieces, sha256
from prosumer.errors import Reject

MAX_MEMBERS = 64
ROLE_GENERATES = 1  # a member's roles in the genesis: only these mint green coins and may export beyond their trades
ROLE_STORES = 2     # a battery or car that gives: may sell too
ROLE_HEAD = 4       # the meter at the feeder's head: its readings say what is lost on the way; it does not trade
ROLE_LEFT = 128     # no longer of the street: neither votes nor trades, and nobody else gets its number
MAX_STEPS = 8
MAX_LATE_READINGS = 4  # a member catches up with at most this many readings in one block
DUMMY = bytes(32)

VOTE = 0      # for a block, or for the dummy (all zero hash)
FINALIZE = 1  # the iteration's block is seen notarized and its timer had not fired
PROPOSE = 2   # the iteration's leader says that this is its block

GIVE, RETIRE, PAY_IN, PAY_OUT = 0, 1, 2, 3  # Transfer.kind: coins to a neighbour, coins used up; money by the operator
MAX_TRANSFERS = 16
COMMITTEE = 40      # the most that vote; in a larger street others do in each epoch
EPOCH_SLOTS = 2016

# Reading.flags: the meter's own (metering.meter), and what only the chain of readings knows
FLAG_GAP = 256  # the meter was off before this interval: registers continue, nothing is estimated
# A reading with one of these follows the missing-reading rule: clipped, no voltage, reversed, frequency, clamp, cycles missing
FAULTS = 2 | 4 | 16 | 32 | 64 | 128


class Reading(Record):
    """What one house took, gave and generated in one slot, chained to its previous reading by hash."""

    TYPE, TAG, SIGNED = 1, b"prosumer/reading/v1", True
    FIELDS = ("member", ">B", 1, "slot", ">I", 2, "seq", ">I", 6, "previous", "32s", 10, "import_mwh", ">Q", 42,
              "export_mwh", ">Q", 50, "generation_mwh", ">Q", 58, "interval_import_mwh", ">I", 66,
              "interval_export_mwh", ">I", 70, "interval_generation_mwh", ">I", 74, "uncertainty_mwh", ">I", 78,
              "flags", ">H", 82, "accuracy", ">B", 84, "calibration", "8s", 85)


class Commit(Record):
    """A sealed order: its digest, signed. The last to speak gains nothing."""

    TYPE, TAG, SIGNED = 2, b"prosumer/commit/v1", True
    FIELDS = ("member", ">B", 1, "slot", ">I", 2, "digest", "32s", 6)


class Whole:
    """Base of records that vary in length; each is its bytes."""

    def __init__(self, raw):
        self.raw = raw

    def pack(self):
        return self.raw

    def pieces(self):
        return [self.raw]

    @classmethod
    def parse(cls, data):
        cursor = Cursor(data)
        record = cls.read(cursor)
        cursor.end()
        return record


class Order(Whole):
    """A price curve: up to 8 (price_ucr_per_kwh, energy_mwh) steps a side. Signed through its Commit."""

    TYPE, TAG = 3, b"prosumer/order/v1"

    def __init__(self, member, slot, salt, buy, sell):
        head = struct.pack(">BBI16sBB", 3, member, slot, salt, len(buy), len(sell))
        self.raw = head + b"".join([struct.pack(">II", p, e) for p, e in list(buy) + list(sell)])

    @property
    def member(self):
        return self.raw[1]

    @property
    def slot(self):
        return struct.unpack_from(">I", self.raw, 2)[0]

    @property
    def buy(self):
        return self._steps(0, self.raw[22])

    @property
    def sell(self):
        return self._steps(self.raw[22], self.raw[22] + self.raw[23])

    def _steps(self, first, stop):
        return [struct.unpack_from(">II", self.raw, 24 + 8 * i) for i in range(first, stop)]

    def digest(self, feeder_id):
        return sha256(self.TAG, b"\0", feeder_id, self.raw)

    @staticmethod
    def read(cursor):
        head = cursor.take(24)
        if head[0] != 3:
            raise Reject("wrong-type")
        if head[22] > MAX_STEPS or head[23] > MAX_STEPS:
            raise Reject("too-many-steps")
        order = Order(0, 0, b"", (), ())
        order.raw = head + cursor.take(8 * (head[22] + head[23]))
        return order


class Envelope(Record):
    """What the wires of the feeder carry in each of these slots, signed by the grid operator."""

    TYPE, TAG, SIGNED = 4, b"prosumer/envelope/v1", True
    FIELDS = ("first_slot", ">I", 1, "last_slot", ">I", 5, "import_limit_mwh", ">I", 9, "export_limit_mwh", ">I", 13)


class Header(Record):
    """One slot's block in 146 bytes; its hash is what meters vote on."""

    TYPE, TAG = 5, b"prosumer/header/v1"
    FIELDS = ("slot", ">I", 1, "iteration", ">I", 5, "proposer", ">B", 9, "previous", "32s", 10,
              "accumulator", "32s", 42, "body_root", "32s", 74, "state_root", "32s", 106,
              "price_ucr_per_kwh", ">I", 138, "volume_mwh", ">I", 142)


class Vote(Record):
    TYPE, TAG, SIGNED = 6, b"prosumer/vote/v1", True
    FIELDS = ("kind", ">B", 1, "iteration", ">I", 2, "member", ">B", 6, "header_hash", "32s", 7)

    def message(self, feeder_id):
        """The member is left out: all votes for one thing sign the same bytes, so a certificate is short."""
        return vote_message(feeder_id, self.kind, self.iteration, self.header_hash)


def make_vote(kind, iteration, header_hash, member, signature=b""):
    vote = Vote(kind=kind, iteration=iteration, header_hash=header_hash, member=member)
    vote.signature = signature
    return vote


def vote_message(feeder_id, kind, iteration, header_hash):
    return Vote.TAG + b"\0" + feeder_id + struct.pack(">BI32s", kind, iteration, header_hash)


class Certificate(Whole):
    """A quorum of equal votes: kind FINALIZE proves a header final, kind VOTE proves it notarized. It is its bytes: as a dict of
    signatures those of a few iterations without a block took the room that the next block needs."""

    TYPE = 7

    def __init__(self, kind, iteration, header_hash, signatures):
        """`signatures`: {member: 64 bytes}."""
        members = 0
        for m in signatures:
            members |= 1 << m
        head = struct.pack(">BBI32sQ", 7, kind, iteration, header_hash, members)
        super().__init__(b"".join([head] + [signatures[m] for m in sorted(signatures)]))

    @property
    def kind(self):
        return self.raw[1]

    @property
    def iteration(self):
        return struct.unpack_from(">I", self.raw, 2)[0]

    @property
    def header_hash(self):
        return self.raw[6:38]

    @property
    def signatures(self):
        """{member: 64 bytes}, made anew."""
        found, at, members = {}, 46, struct.unpack_from(">Q", self.raw, 38)[0]
        for m in range(MAX_MEMBERS):
            if members >> m & 1:
                found[m] = self.raw[at:at + SIGNATURE_BYTES]
                at += SIGNATURE_BYTES
        return found

    @staticmethod
    def read(cursor):
        head = cursor.take(46)
        if head[0] != 7:
            raise Reject("wrong-type")
        certificate = Certificate(0, 0, DUMMY, {})
        count = sum([head[38 + m // 8] >> m % 8 & 1 for m in range(MAX_MEMBERS)])
        certificate.raw = head + cursor.take(SIGNATURE_BYTES * count)
        return certificate


class Transfer(Record):
    """Green coins (mWh) of a member, or money (ucr) that the operator books: GIVE, RETIRE, PAY_IN, PAY_OUT."""

    TYPE, TAG, SIGNED = 11, b"prosumer/transfer/v1", True
    FIELDS = ("member", ">B", 1, "kind", ">B", 2, "seq", ">I", 3, "to", ">B", 7, "amount", ">Q", 8, "note", "16s", 16)


class Evidence(Whole):
    """Two records that its `member` signed and an honest one never signs both (ledger/evidence.py), in order of their bytes.

    domain: what both were signed under: the feeder's id, for votes that of their electorate (identity/members.py)."""

    @property
    def member(self):
        return self.raw[1]

    @property
    def domain(self):
        return self.raw[2:10]

    def pair(self):
        cls = _SIGNED[self.raw[10]]
        middle = 10 + cls.size()
        return cls.parse(self.raw[10:middle]), cls.parse(self.raw[middle:])

    @staticmethod
    def read(cursor):
        head = cursor.take(11)
        cls = _SIGNED.get(head[10])
        if head[0] != 12 or not cls:
            raise Reject("wrong-type")
        evidence = Evidence(head + cursor.take(2 * cls.size() - 1))
        evidence.pair()
        return evidence


_SIGNED = {1: Reading, 2: Commit, 6: Vote}


class Amendment(Whole):
    """A genesis as it stands in a block, not opened: identity/genesis.py checks it."""

    @staticmethod
    def read(cursor):
        start = cursor.at
        if cursor.uint(1) != 10:
            raise Reject("wrong-type")
        cursor.take(127)
        cursor.take(cursor.uint(1))
        cursor.take(13 * cursor.uint(1))
        cursor.take(35 * cursor.uint(1) + SIGNATURE_BYTES)
        return Amendment(bytes(cursor.data[start:cursor.at]))


class Body:
    """All that block k brings: envelope for k+1, commits for k+2, orders of k+1, readings up to k−1, and what comes seldom.

    Made from lists of records, or `Body.read` from bytes: then each pass over a part parses its records anew, one at a
    time, because a block's records all at once are too much for a small heap.
    """

    TYPE = 8

    def __init__(self, salt, *parts):
        self.salt = salt
        self._parts = parts

    @property
    def envelopes(self):
        return self._part(0)

    @property
    def commits(self):
        return self._part(1)

    @property
    def orders(self):
        return self._part(2)

    @property
    def readings(self):
        return self._part(3)

    @property
    def transfers(self):
        return self._part(4)

    @property
    def evidence(self):
        return self._part(5)

    @property
    def amendments(self):
        return self._part(6)

    def _part(self, i):
        part = self._parts[i]
        return part if isinstance(part, list) else self._walk(part, _PARTS[i])

    @staticmethod
    def _walk(place, cls):
        cursor = Cursor(place[0])
        cursor.at = place[1] + 1
        for _ in range(place[0][place[1]]):
            yield cursor.record(cls)

    def pieces(self):
        out = [b"\x08", self.salt]
        for i in range(7):
            out += list_pieces(list(self._part(i)))
        return out

    def leaves(self):
        """The records one by one, as the body root's Merkle leaves."""
        for i in range(7):
            for r in self._part(i):
                yield r.pack()

    @staticmethod
    def read(cursor):
        if cursor.uint(1) != 8:
            raise Reject("wrong-type")
        salt = cursor.take(16)
        return Body(salt, *[(cursor.data, cursor.skip(cls, most)) for cls, most in zip(_PARTS, _MOST)])


_PARTS = (Envelope, Commit, Order, Reading, Transfer, Evidence, Amendment)
_MOST = (1, MAX_MEMBERS, MAX_MEMBERS, MAX_MEMBERS * MAX_LATE_READINGS, MAX_TRANSFERS, 1, 1)


class Proposal:
    """A header with its body; the signature is that of the proposer's Vote of kind PROPOSE, so that two of them are evidence."""

    TYPE = 9

    def __init__(self, header, signature, body):
        self.header, self.signature, self.body = header, signature, body

    def pieces(self):
        return [b"\x09", self.header.raw, self.signature] + self.body.pieces()

    @staticmethod
    def parse(data):
        cursor = Cursor(data)
        if cursor.uint(1) != 9:
            raise Reject("wrong-type")
        header = Header.parse(cursor.take(Header.size()))
        signature = cursor.take(SIGNATURE_BYTES)
        body = Body.read(cursor)
        cursor.end()
        return Proposal(header, signature, body)
