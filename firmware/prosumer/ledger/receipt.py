"""A receipt: what one member shows of one slot, provable for ever from the genesis alone; a meter imports this when it is shown one.

    Receipt  0e member slot:4 certificate (of the first header)
             headers  count, then 146 B each, newest first, and before each but the first how the one above leads to it:
                      00 by its `previous`  |  01 by its accumulator: index:4 (of the one above) index:4 path
             leaves   count, then each: header (which) tree ("b" body, "s" state) index:2 of:2 salt:16 length:2 data path
             seal:64  signature of the commit behind the order; zeros if no order is shown
    path     count, then 32 B each, from the leaf upwards                                               ≤ 4,096 bytes in all

A leaf stands under the root of its header with the salt of its own: it tells nothing of its neighbours. Leaves of the body:
the reading, the order, or another record; leaves of the state: the member's account, the member's open trades.
"""
import struct

from prosumer.codec import SIGNATURE_BYTES, Cursor
from prosumer.errors import Reject
from prosumer.ledger import merkle, proofs
from prosumer.ledger.state import _ACCOUNT, Account
from prosumer.records import FINALIZE, Certificate, Commit, Header, Order, Reading

MAX_SIZE = 4096


def _path(cursor):
    return cursor.take(32 * cursor.uint(1))


class Receipt:
    """Parsed and checked in one go: Reject, or every attribute is proven.

    header: the certified one; reading, order: records, or None when not shown; settled: header of the block that took the reading;
    cleared: header of the block that cleared `slot`; trades: {slot: [price_ucr_per_kwh, bought_mwh, sold_mwh]}, all that the member had
    open then, None when not shown; account: its state entry after block `slot`; others: [(header, bytes)].
    """

    def __init__(self, data, genesis, members):
        """`members`: who may sign in the regime of the certificate."""
        if len(data) > MAX_SIZE:
            raise Reject("too-long")
        self.reading = self.order = self.trades = self.account = self.settled = self.cleared = None
        self.others = []
        cursor = Cursor(data)
        if cursor.uint(1) != 14:
            raise Reject("wrong-type")
        self.member, self.slot = cursor.uint(1), cursor.uint(4)
        if self.member >= genesis.n:
            raise Reject("not-a-member")
        certificate = Certificate.read(cursor)
        headers = self._headers(cursor, genesis.feeder_id)
        self.header = headers[0]
        digest = self.header.hash(genesis.feeder_id)
        if (certificate.iteration, certificate.header_hash) != (self.header.iteration, digest):
            raise Reject("proof-mismatch")
        self.quorum, self.signatures = members.quorum(), len(certificate.signatures)
        members.check_certificate(certificate, FINALIZE)
        for _ in range(cursor.uint(1)):
            self._leaf(cursor, headers, genesis, members)
        seal = cursor.take(SIGNATURE_BYTES)
        cursor.end()
        if self.order:
            commit = Commit(member=self.member, slot=self.slot, digest=self.order.digest(genesis.feeder_id))
            members.check(self.member, commit.message(genesis.feeder_id), seal)
        elif seal != bytes(SIGNATURE_BYTES):
            raise Reject("proof-mismatch")

    @staticmethod
    def _headers(cursor, feeder_id):
        headers = []
        for _ in range(cursor.uint(1)):
            by = cursor.uint(1) if headers else 0
            if by:
                count, index = cursor.uint(4), cursor.uint(4)
                path = _path(cursor)
            header = Header.parse(cursor.take(Header.size()))
            if headers:
                digest = header.hash(feeder_id)
                if by == 1:
                    proofs.verify_inclusion(headers[-1].accumulator, count, index, digest, path)
                elif by or headers[-1].previous != digest:
                    raise Reject("broken-chain")
            headers.append(header)
        if not headers:
            raise Reject("header-missing")
        return headers

    def _leaf(self, cursor, headers, genesis, members):
        which, tree, index, count = cursor.uint(1), cursor.uint(1), cursor.uint(2), cursor.uint(2)
        salt = cursor.take(merkle.SALT_SIZE)
        data = cursor.take(cursor.uint(2))
        if which >= len(headers) or tree not in b"bs":
            raise Reject("proof-index")
        header = headers[which]
        root = header.body_root if tree == 98 else header.state_root
        proofs.verify(root, count, index, merkle.hash_leaf(salt, data), _path(cursor))
        if tree == 115:
            return self._state(header, index, count, data)
        if data[:1] == b"\x01":
            reading = Reading.parse(data)
            if (reading.member, reading.slot) != (self.member, self.slot) or self.reading:
                raise Reject("wrong-slot")
            members.check_record(reading)
            self.reading, self.settled = reading, header
        elif data[:1] == b"\x03":
            order = Order.parse(data)
            if (order.member, order.slot, header.slot + 1) != (self.member, self.slot, self.slot):
                raise Reject("wrong-slot")
            self.order, self.cleared = order, header
        else:
            self.others.append((header, data))

    def _state(self, header, index, count, data):
        """Account and open trades of member m are leaves 2m + 1 and 2m + 2; the first leaf and the last two are nobody's."""
        if (index - 1) >> 1 != self.member or index + 2 >= count:
            raise Reject("proof-index")
        if not index & 1 and header.slot + 1 == self.slot:
            self.cleared, self.trades = header, {}
            cursor = Cursor(data)
            for _ in range(cursor.uint(2)):
                slot, *trade = struct.unpack(">IIII", cursor.take(16))
                self.trades[slot] = trade
            cursor.end()
        elif index & 1 and header.slot == self.slot:
            self.account = Account(struct.unpack(_ACCOUNT, data))
        else:
            raise Reject("wrong-slot")
