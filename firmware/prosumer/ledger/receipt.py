"""A receipt: what one member shows of one slot, provable for ever from the genesis alone; a meter imports this when it is shown one.

    Receipt  0e member slot:4 epoch:4 excluded:8 number:2 evidence certificate headers leaves seal:64
    number, epoch, excluded  who voted: the genesis in force, its committee, who was excluded (members.py)
    evidence count, then a record against each of the excluded
    certificate (of the first header)
    headers  count, then 146 B each, newest first, and before each but the first how the one above leads to it:
             00 by its `previous`  |  01 by its accumulator: index:4 (of the one above) index:4 path
    leaves   count, then each: header (which) tree ("b" body, "S" state) index:2 of:2 salt:16 length:2 data path
    seal     signature of the commit behind the order; zeros if no order is shown
    path     count, then 32 B each, from the leaf upwards                                               ≤ 4,096 bytes in all

A leaf stands under the root of its header with the salt of its own: it tells nothing of its neighbours. Leaves of the body:
the reading, the order, or another record; leaves of the state (state.py): the rules, and of the member alone its trade of the slot,
its account, its older open trades.
"""
import os
import struct
from binascii import a2b_base64

from prosumer import durable
from prosumer.codec import SIGNATURE_BYTES, Cursor
from prosumer.errors import Reject
from prosumer.identity.genesis import Genesis
from prosumer.identity.members import Members
from prosumer.ledger import evidence, merkle, proofs
from prosumer.ledger.state import _ACCOUNT, Account
from prosumer.records import COMMITTEE, EPOCH_SLOTS, FINALIZE, MAX_MEMBERS, ROLE_LEFT, Certificate, Commit, Evidence, Header, Order, Reading

MAX_SIZE = 4096


def lineage(genesis, others):
    """{number: Genesis}: `genesis`, which is trusted, and those it leads to, later or earlier. Reject("strange-regime"|…)."""
    known = {genesis.number: genesis}
    for g in sorted(others, key=lambda g: abs(g.number - genesis.number)):
        before, after = known.get(g.number - 1), known.get(g.number + 1)
        if before:
            before.check_successor(g)
        elif after:
            g.check_successor(after)
        elif g.hash != genesis.hash:
            raise Reject("strange-regime")
        known[g.number] = g
    return known


def judge(text, node):
    """What a receipt (base64) proves to the meter of this `node`, as a dict for people; or why it proves nothing."""
    geneses = [node.genesis]
    for name in os.listdir(node.folder[:-1]):
        if name[:7] == "genesis" or name == "former":
            geneses.append(Genesis(durable.load(node.folder + name)))
    try:
        r = Receipt(a2b_base64(text), lineage(node.genesis, geneses),
                    lambda genesis: node.members if genesis is node.genesis else Members(genesis, node.folder))
    except (Reject, ValueError) as e:
        return {"valid": False, "why": getattr(e, "code", "malformed")}
    out = {"valid": True, "member": r.member, "slot": r.slot, "signatures": r.signatures, "quorum": r.quorum}
    if r.reading:
        out.update(import_mwh=r.reading.interval_import_mwh, export_mwh=r.reading.interval_export_mwh,
                   generation_mwh=r.reading.interval_generation_mwh)
    if r.trade:
        out["price_ucr_per_kwh"], out["bought_mwh"], out["sold_mwh"] = r.trade
    if r.rules:
        out["number"], out["import_limit_mwh"], out["export_limit_mwh"] = r.rules[0].number, r.rules[1], r.rules[2]
    if r.account:
        out.update(balance_ucr=r.account.balance_ucr, green_mwh=r.account.green_mwh)
    return out


def _path(cursor):
    return cursor.take(32 * cursor.uint(1))


class _Voters(Members):
    """The same keys in another regime; the meter's own stays as it is."""

    def __init__(self, members):
        self.genesis, self.operator, self.keys = members.genesis, members.operator, members.keys


class Receipt:
    """Parsed and checked in one go: Reject, or every attribute is proven.

    genesis: the one in force; header: the certified one; reading, order: records, or None when not shown; settled: header of the block
    that took the reading; cleared: header of the block that cleared `slot`; trade: [price_ucr_per_kwh, bought_mwh, sold_mwh] in `slot`, zeros
    when it traded nothing, None when not shown; account: its state entry after block `slot`; open: {slot: trade} of those before the one that
    this block cleared, not settled then; rules: (Genesis in force after the block that cleared `slot`: members and tariff; import_limit_mwh,
    export_limit_mwh of `slot`); others: [(header, bytes)].
    """

    def __init__(self, data, known, members_of=Members):
        """`known`: {number: Genesis} as `lineage` gives it; `members_of(genesis)`: Members with key tables, which take time to make."""
        if len(data) > MAX_SIZE:
            raise Reject("too-long")
        self.reading = self.order = self.trade = self.open = self.rules = self.account = self.settled = self.cleared = None
        self.others = []
        cursor = Cursor(data)
        if cursor.uint(1) != 14:
            raise Reject("wrong-type")
        self.member, self.slot = cursor.uint(1), cursor.uint(4)
        self.epoch, self.excluded, number = struct.unpack(">IQH", cursor.take(14))
        self.genesis = genesis = known.get(number)
        if not genesis:
            raise Reject("strange-regime")
        if self.member >= genesis.n:
            raise Reject("not-a-member")
        members = self._voters(cursor, _Voters(members_of(genesis)))
        certificate = Certificate.read(cursor)
        headers = self._headers(cursor, genesis.feeder_id)
        self.header = headers[0]
        if certificate.iteration < self.header.iteration or certificate.header_hash != self.header.hash(genesis.feeder_id):
            raise Reject("proof-mismatch")
        able = [m for m in range(genesis.n) if not (genesis.members[m][1] & ROLE_LEFT or self.excluded >> m & 1)]
        if len(able) > COMMITTEE and self.header.slot // EPOCH_SLOTS - self.epoch not in (0, 1):
            raise Reject("strange-regime")  # committees sign in their time only
        self.quorum, self.voters, self.signatures = members.quorum(), len(members.voters), len(certificate.signatures)
        members.check_certificate(certificate, FINALIZE)
        leaves = cursor.uint(1)
        if not leaves:
            raise Reject("record-missing")
        for _ in range(leaves):
            self._leaf(cursor, headers, known, members)
        seal = cursor.take(SIGNATURE_BYTES)
        cursor.end()
        if self.order:
            commit = Commit(member=self.member, slot=self.slot, digest=self.order.digest(genesis.feeder_id))
            members.check(self.member, commit.message(genesis.feeder_id), seal)
        elif seal != bytes(SIGNATURE_BYTES):
            raise Reject("proof-mismatch")

    def _voters(self, cursor, members):
        """Who voted; the receipt shows why the excluded are."""
        excluded = 0
        for e in cursor.records(Evidence, MAX_MEMBERS):
            evidence.check(e, members)
            excluded |= 1 << e.member
        if excluded != self.excluded:
            raise Reject("strange-regime")
        members.enter(struct.pack(">IQ", self.epoch, excluded) + self.genesis.hash)
        return members

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

    def _leaf(self, cursor, headers, known, members):
        which, tree, index, count = cursor.uint(1), cursor.uint(1), cursor.uint(2), cursor.uint(2)
        salt = cursor.take(merkle.SALT_SIZE)
        data = cursor.take(cursor.uint(2))
        if tree == 115:  # "s": all open trades of a member stood in one leaf
            raise Reject("older-layout")
        if which >= len(headers) or tree not in b"bS":
            raise Reject("proof-index")
        header = headers[which]
        root = header.body_root if tree == 98 else header.state_root
        proofs.verify(root, count, index, merkle.hash_leaf(salt, data), _path(cursor))
        if tree == 83:
            return self._state(header, index, count, data, known)
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

    def _state(self, header, index, count, data, known):
        """The rules are leaf 0; account, older open trades and trade of member m are 3m + 1 and the two behind it; the last two are nobody's."""
        what = index and (index - 1) % 3 + 1
        if what and (index - 1) // 3 != self.member or index + 2 >= count:
            raise Reject("proof-index")
        if header.slot + (what in (0, 3)) != self.slot:
            raise Reject("wrong-slot")
        if not what:
            digest, _, *limits = struct.unpack(">32sIII", data[12:])
            found = [g for g in known.values() if g.hash == digest]
            if not found:
                raise Reject("strange-regime")
            self.rules = found + limits
        elif what == 1:
            self.account = Account(struct.unpack(_ACCOUNT, data))
        else:
            trades = {}
            for at in range(2, len(data), 16):
                slot, *trade = struct.unpack_from(">IIII", data, at)
                trades[slot] = trade
            if what == 2:
                self.open = trades
            else:
                self.cleared, self.trade = header, trades.get(self.slot, [0, 0, 0])
