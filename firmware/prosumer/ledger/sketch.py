"""A proposal as it is told: the header, and of the block's records only which ones, since every meter holds them by then.

    Sketch  12 header:146 sig:64 salt:16 envelopes commits:8 orders:8 readings (count:1, then member:1 seq:4 each)
            transfers evidence amendments                                (bitmaps by member; lists and records as in Body)

It takes some 500 bytes where the block of 40 members takes 14 kB. Whoever lacks a record, or holds another one, fetches the whole
block, which its proposer leaves at the broker (topics.py): the body root in the header says which is meant.
"""
import struct

from prosumer.codec import SIGNATURE_BYTES, Cursor, list_pieces
from prosumer.errors import Reject
from prosumer.records import MAX_TRANSFERS, Amendment, Body, Envelope, Evidence, Header, Transfer


def pieces(proposal):
    """The Sketch of a Proposal, as codec.Parts takes it."""
    body, readings = proposal.body, list(proposal.body.readings)
    out = [b"\x12", proposal.header.raw, proposal.signature, body.salt] + list_pieces(list(body.envelopes))
    for part in (body.commits, body.orders):
        out.append(sum([1 << r.member for r in part]).to_bytes(8, "big"))
    out += [bytes([len(readings)])] + [struct.pack(">BI", r.member, r.seq) for r in readings]
    for part in (body.transfers, body.evidence, body.amendments):
        out += list_pieces(list(part))
    return out


class Sketch:
    """`header` and `signature` as a Proposal's; `fill` gives its body."""

    def __init__(self, data):
        """Reject('truncated' | 'trailing-bytes' | 'wrong-type' | 'too-many' | …)."""
        cursor = Cursor(data)
        if cursor.uint(1) != 18:
            raise Reject("wrong-type")
        self.header, self.signature, self.salt = Header.parse(cursor.take(Header.size())), cursor.take(SIGNATURE_BYTES), cursor.take(16)
        self.envelopes = cursor.records(Envelope, 1)
        self.commits, self.orders = cursor.uint(8), cursor.uint(8)
        self.readings = cursor.take(5 * cursor.uint(1))
        self.records = [cursor.records(cls, most) for cls, most in ((Transfer, MAX_TRANSFERS), (Evidence, 1), (Amendment, 1))]
        cursor.end()

    def fill(self, pool):
        """The Body, of the pool's own records; Reject('record-missing')."""
        slot = self.header.slot
        commits, orders = pool.commits.get(slot + 2, {}), pool.orders.get(slot + 1, {})
        try:
            commits, orders = [[there[m] for m in range(64) if of >> m & 1] for there, of in ((commits, self.commits), (orders, self.orders))]
            readings = []
            for at in range(0, len(self.readings), 5):
                member, seq = struct.unpack_from(">BI", self.readings, at)
                readings.append([r for r in pool.readings[member] if r.seq == seq][0])
        except LookupError:
            raise Reject("record-missing")
        return Body(self.salt, self.envelopes, commits, orders, readings, *self.records)
