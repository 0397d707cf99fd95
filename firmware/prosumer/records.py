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
    Body         08 salt:16 envelopes commits orders readings    (each: count:1, then the records, sorted)
    Proposal     09 header:146 sig:64 body
"""
import struct

from prosumer.codec import SIGNATURE_BYTES, Cursor, Record, pack_list, sha256
from prosumer.errors import Reject

MAX_MEMBERS = 64
MAX_STEPS = 8
MAX_LATE_READINGS = 4  # a member catches up with at most this many readings in one block
DUMMY = bytes(32)

VOTE = 0      # for a block, or for the dummy (all zero hash)
FINALIZE = 1  # the iteration's block is seen notarized and its timer had not fired

# Reading.flags: the meter's own (metering.meter), and what only the chain of readings knows
FLAG_GAP = 256  # the meter was off before this interval: registers continue, nothing is estimated
# A reading with one of these follows the missing-reading rule: clipped, no voltage, reversed, frequency, clamp
FAULTS = 2 | 4 | 16 | 32 | 64


class Reading(Record):
    """What one house took, gave and generated in one slot, chained to its previous reading by hash."""

    TYPE, TAG, SIGNED = 1, b"prosumer/reading/v1", True
    LAYOUT = "BII32sQQQIIIIHB8s"
    FIELDS = ("member", "slot", "seq", "previous", "import_mwh", "export_mwh", "generation_mwh",
              "interval_import_mwh", "interval_export_mwh", "interval_generation_mwh",
              "uncertainty_mwh", "flags", "accuracy", "calibration")


class Commit(Record):
    """A sealed order: its digest, signed. The last to speak gains nothing."""

    TYPE, TAG, SIGNED = 2, b"prosumer/commit/v1", True
    LAYOUT = "BI32s"
    FIELDS = ("member", "slot", "digest")


class Order:
    """A price curve: up to 8 (price_ucr_per_kwh, energy_mwh) steps a side. Signed through its Commit."""

    TYPE, TAG = 3, b"prosumer/order/v1"

    def __init__(self, member, slot, salt, buy, sell):
        self.member, self.slot, self.salt, self.buy, self.sell = member, slot, salt, buy, sell

    def pack(self):
        head = struct.pack(">BBI16sBB", 3, self.member, self.slot, self.salt, len(self.buy), len(self.sell))
        return head + b"".join([struct.pack(">II", p, e) for p, e in self.buy + self.sell])

    def digest(self, feeder_id):
        return sha256(self.TAG, b"\0", feeder_id, self.pack())

    @staticmethod
    def read(cursor):
        if cursor.uint(1) != 3:
            raise Reject("wrong-type")
        member, slot, salt = cursor.uint(1), cursor.uint(4), cursor.take(16)
        buys, sells = cursor.uint(1), cursor.uint(1)
        if buys > MAX_STEPS or sells > MAX_STEPS:
            raise Reject("too-many-steps")
        steps = [(cursor.uint(4), cursor.uint(4)) for _ in range(buys + sells)]
        return Order(member, slot, salt, steps[:buys], steps[buys:])

    @staticmethod
    def parse(data):
        cursor = Cursor(data)
        order = Order.read(cursor)
        cursor.end()
        return order


class Envelope(Record):
    """What the wires of the feeder carry in each of these slots, signed by the grid operator."""

    TYPE, TAG, SIGNED = 4, b"prosumer/envelope/v1", True
    LAYOUT = "IIII"
    FIELDS = ("first_slot", "last_slot", "import_limit_mwh", "export_limit_mwh")


class Header(Record):
    """One slot's block in 146 bytes; its hash is what meters vote on."""

    TYPE, TAG = 5, b"prosumer/header/v1"
    LAYOUT = "IIB32s32s32s32sII"
    FIELDS = ("slot", "iteration", "proposer", "previous", "accumulator", "body_root", "state_root",
              "price_ucr_per_kwh", "volume_mwh")


class Vote(Record):
    TYPE, TAG, SIGNED = 6, b"prosumer/vote/v1", True
    LAYOUT = "BIB32s"
    FIELDS = ("kind", "iteration", "member", "header_hash")

    def message(self, feeder_id):
        """The member is left out: all votes for one thing sign the same bytes, so a certificate is short."""
        return vote_message(feeder_id, self.kind, self.iteration, self.header_hash)


def vote_message(feeder_id, kind, iteration, header_hash):
    return Vote.TAG + b"\0" + feeder_id + struct.pack(">BI32s", kind, iteration, header_hash)


class Certificate:
    """A quorum of equal votes: kind FINALIZE proves a header final, kind VOTE proves it notarized."""

    TYPE = 7

    def __init__(self, kind, iteration, header_hash, signatures):
        """`signatures`: {member: 64 bytes}."""
        self.kind, self.iteration, self.header_hash, self.signatures = kind, iteration, header_hash, signatures

    def pack(self):
        members = 0
        for m in self.signatures:
            members |= 1 << m
        head = struct.pack(">BBI32sQ", 7, self.kind, self.iteration, self.header_hash, members)
        return head + b"".join([self.signatures[m] for m in sorted(self.signatures)])

    @staticmethod
    def read(cursor):
        if cursor.uint(1) != 7:
            raise Reject("wrong-type")
        kind, iteration, header_hash, members = cursor.uint(1), cursor.uint(4), cursor.take(32), cursor.uint(8)
        signatures = {}
        for m in range(MAX_MEMBERS):
            if members >> m & 1:
                signatures[m] = cursor.take(SIGNATURE_BYTES)
        return Certificate(kind, iteration, header_hash, signatures)

    @staticmethod
    def parse(data):
        cursor = Cursor(data)
        certificate = Certificate.read(cursor)
        cursor.end()
        return certificate


class Body:
    """All that block k brings: envelope for k+1, commits for k+2, orders of k+1, readings up to k−1."""

    TYPE = 8

    def __init__(self, salt, envelopes, commits, orders, readings):
        self.salt, self.envelopes, self.commits, self.orders, self.readings = salt, envelopes, commits, orders, readings

    def pack(self):
        return b"\x08" + self.salt + b"".join([pack_list(r) for r in (self.envelopes, self.commits, self.orders, self.readings)])

    def leaves(self):
        """The records one by one, as the body root's Merkle leaves."""
        return [r.pack() for part in (self.envelopes, self.commits, self.orders, self.readings) for r in part]

    @staticmethod
    def read(cursor):
        if cursor.uint(1) != 8:
            raise Reject("wrong-type")
        return Body(cursor.take(16), cursor.records(Envelope, 1), cursor.records(Commit, MAX_MEMBERS),
                    cursor.records(Order, MAX_MEMBERS), cursor.records(Reading, MAX_MEMBERS * MAX_LATE_READINGS))


class Proposal:
    """A header with its body, signed by the iteration's proposer over the header's hash."""

    TYPE, TAG = 9, b"prosumer/proposal/v1"

    def __init__(self, header, signature, body):
        self.header, self.signature, self.body = header, signature, body

    @staticmethod
    def message(feeder_id, header_hash):
        return Proposal.TAG + b"\0" + feeder_id + header_hash

    def pack(self):
        return b"\x09" + self.header.pack() + self.signature + self.body.pack()

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
