"""Verified records that wait for a block: commits, orders, readings, the operator's envelopes; transfers, evidence, amendments.

Everything in here has passed its signature; the pool is bounded by members × slots, never by what a sender likes.
"""
import gc

from micropython import const

from prosumer import durable
from prosumer.errors import Reject
from prosumer.identity.genesis import NO_LIMIT
from prosumer.ledger.state import Account
from prosumer.link import topics
from prosumer.market.book import check_curve, exposure_ucr
from prosumer.records import FAULTS, MAX_LATE_READINGS, MAX_TRANSFERS, ROLE_GENERATES, ROLE_HEAD, ROLE_LEFT, ROLE_STORES

_MAX_ENVELOPES = 6
_MAX_WAITING = const(2)  # transfers of one member; the operator may pay many at a time


class Pool:
    def __init__(self, genesis, members):
        self.genesis, self.members = genesis, members
        self.commits = {}   # slot → {member: Commit}
        self.orders = {}    # slot → {member: Order}
        self.readings = [[] for _ in range(genesis.n)]  # by member, in order of seq
        self.envelopes = []  # by rank, lowest first
        self.transfers = {}  # signer → [Transfer] in order of seq
        self.evidence = None   # one is enough: the next liar has his turn after this one
        self.amendment = None  # the newest Genesis that the operator signed
        self.former = None     # the one before it, which it names by hash
        self.path = None
        self.excluded = 0      # bitmap, of the agreed state
        self.late = []      # (kind, slot, member) of what came too close to its gate to be missed in the block

    @staticmethod
    def _near(slot, due_slot):
        """A clock may be one slot border away from ours, no more."""
        if not due_slot - 1 <= slot <= due_slot + 1:
            raise Reject("wrong-slot")

    def add_commit(self, commit, now_ms):
        """True if it is new. Reject: wrong-slot, not-a-member, cannot-trade, excluded, bad-signature, two-orders (the first stays, both are evidence)."""
        self._near(commit.slot, self.genesis.slot_at(now_ms) + 2)
        check_trader(self.genesis, self, commit.member)
        known = self.commits.get(commit.slot, {}).get(commit.member)
        if known:
            if known.digest != commit.digest:
                self._twice(known, commit, "two-orders", now_ms)
            return False
        self.members.check_record(commit)
        self.commits.setdefault(commit.slot, {})[commit.member] = commit
        self._note("c", commit.slot, commit.member, now_ms)
        return True

    def _twice(self, one, other, code, now_ms):
        """Refuse the second of two different things; with a good signature it is evidence against who signed both."""
        self.members.check_record(other)
        if not self.evidence:
            from prosumer.ledger.evidence import find
            self.evidence = find(one, other, self.genesis.feeder_id)
            self._note(topics.EVIDENCE, 0, 0, now_ms)
        raise Reject(code)

    def add_order(self, order, digest, state, now_ms):
        """`digest`: what the member committed to, from the agreed `state` or a verified commit, or None."""
        self._near(order.slot, self.genesis.slot_at(now_ms) + 1)
        if order.member in self.orders.get(order.slot, {}):
            return False
        if digest is None:
            raise Reject("no-commit")
        if order.digest(self.genesis.feeder_id) != digest:
            raise Reject("reveal-mismatch")
        check_order(self.genesis, state, order)
        self.orders.setdefault(order.slot, {})[order.member] = order
        self._note("o", order.slot, order.member, now_ms)
        return True

    def add_reading(self, reading, account, now_ms):
        """`account`: the member's agreed account; older than its last settled reading is a replay."""
        if reading.slot >= self.genesis.slot_at(now_ms + self.genesis.delta_ms):  # its clock may be a little ahead
            raise Reject("wrong-slot")
        far = account.next_seq + MAX_LATE_READINGS
        if reading.seq < account.next_seq:
            raise Reject("replayed")
        waiting = self.readings[reading.member] if reading.member < self.genesis.n else ()
        for r in waiting:
            if r.seq == reading.seq:
                if r.hash(self.genesis.feeder_id) != reading.hash(self.genesis.feeder_id):
                    self._twice(r, reading, "two-readings", now_ms)
                return False
        if (reading.seq >= far and [r for r in waiting if far <= r.seq < reading.seq]
                or reading.seq > account.next_seq and sum([len(w) for w in self.readings]) >= 16 + self.genesis.n):
            raise Reject("too-many")  # the oldest must be settled first; its sender keeps the others
        self.members.check_record(reading)
        heads = [r.hash(self.genesis.feeder_id) for r in waiting if r.seq + 1 == reading.seq]
        if reading.seq == account.next_seq:
            heads = [account.head]
        if heads and reading.previous not in heads:
            raise Reject("broken-chain")
        waiting = [r for r in waiting if r.seq < far or reading.seq < far] + [reading]
        waiting.sort(key=lambda r: r.seq)
        self.readings[reading.member] = waiting
        self._note("r", reading.slot, reading.member, now_ms)
        return True

    def add_envelope(self, envelope, now_ms):
        """Reject: wrong-slot, bad-operator-signature. One that ranks below all there is room for is passed over."""
        if [e for e in self.envelopes if e.raw == envelope.raw]:
            return
        if envelope.last_slot < max(envelope.first_slot, self.genesis.slot_at(now_ms) - 1):
            raise Reject("wrong-slot")
        if len(self.envelopes) == _MAX_ENVELOPES and rank(envelope) < rank(self.envelopes[0]):
            return
        self.members.check_operator(envelope)
        self.envelopes = sorted(self.envelopes + [envelope], key=rank)[-_MAX_ENVELOPES:]
        self._note("e", rank(envelope), 0, now_ms)

    def add_transfer(self, transfer, state, now_ms):
        """`state`: the agreed one, opened for this call, which uses it up. Reject: as green.move, two-transfers, too-many, bad-…signature."""
        from prosumer.market import green
        member = transfer.member
        waiting = self.transfers.get(member, [])
        for t in waiting:
            if t.seq == transfer.seq:
                if t.raw != transfer.raw:
                    raise Reject("two-transfers")
                return False
        for t in waiting:
            green.move(state, t)
        green.move(state, transfer)
        if len(waiting) >= (MAX_TRANSFERS if member == topics.OPERATOR else _MAX_WAITING):
            raise Reject("too-many")
        if member == topics.OPERATOR:
            self.members.check_operator(transfer)
        else:
            self.members.check_record(transfer)
        self.transfers[member] = waiting + [transfer]
        self._note("t", transfer.seq, member, now_ms)
        return True

    def add_evidence(self, evidence, state, now_ms=None):
        """True if it is new. Reject: no-evidence, excluded (already), bad-signature."""
        if self.evidence:
            return False
        if state.excluded >> evidence.member & 1:
            raise Reject("excluded")
        from prosumer.ledger.evidence import check
        check(evidence, self.members)
        self.evidence = evidence
        if now_ms is not None:
            self._note(topics.EVIDENCE, 0, 0, now_ms)
        return True

    def add_amendment(self, raw, now_ms=None):
        """True if it is new: then it is on flash. Reject: as Genesis, replayed, not-a-successor, too-large."""
        known = self.amendment
        if known and known.raw == raw or raw == self.genesis.raw:
            return False
        if len(raw) > 700 + 37 * self.genesis.n:
            raise Reject("too-large")  # beside a block's other records: the operator takes smaller steps
        from prosumer.identity.genesis import Genesis
        new, newest = Genesis(bytes(raw)), known or self.genesis
        if new.hash in (newest.previous, self.genesis.previous):  # a new board may hear of the next one before it has caught up with its own
            self.former = new
            return False
        newest.check_successor(new, True)
        if self.path:
            durable.save(self.path, new.raw)
        self.amendment = new
        if now_ms is not None:
            self._note(topics.GENESIS, 0, 0, now_ms)
        return True

    def load(self, path):
        """Keep the newest amendment in this file, and begin with what is there."""
        saved = durable.load(path)
        if saved:
            try:
                self.add_amendment(saved)
            except Reject:
                pass  # in force already
        self.path = path

    def envelope(self, slot):
        """The one that counts in a slot, or None. An old one that is played again ranks below what has replaced it."""
        for e in reversed(self.envelopes):
            if e.first_slot <= slot <= e.last_slot:
                return e

    def limits(self, slot):
        """(import_limit_mwh, export_limit_mwh) of the feeder in a slot: the envelope's, else the genesis' safe default."""
        e = self.envelope(slot)
        if e:
            return e.import_limit_mwh, e.export_limit_mwh
        return self.genesis.import_limit_mwh, self.genesis.export_limit_mwh

    def readings_for(self, member, account, slot, skip):
        """The unbroken run of readings that continues the account, at most up to `slot`.

        `skip`: if there is none, one that may leave out what is lost (block.execute says from where on).
        """
        out, account = [], Account(account.values())
        for r in self.readings[member]:
            try:
                account.gap(r, slot + 1, self.genesis.fuse_mwh(member), skip and not out)
            except Reject:
                continue  # it waits for its turn, or its sender lies
            account.advance(r, r.hash(self.genesis.feeder_id))
            out.append(r)
        return out

    def settled(self, state, slot):
        """Drop what the agreed state has overtaken. `state` is used up."""
        for m, account in enumerate(state.accounts):
            self.readings[m] = [r for r in self.readings[m] if r.seq >= account.next_seq]
        self.excluded = state.excluded
        if self.evidence and state.excluded >> self.evidence.member & 1:
            self.evidence = None
        if self.transfers:
            from prosumer.market import green
            for m, waiting in list(self.transfers.items()):
                waiting = [t for t in waiting if t.seq >= green.next_seq(state, m)]
                if waiting and good(green.move, state, waiting[0]):
                    self.transfers[m] = waiting
                else:
                    del self.transfers[m]  # all are booked, or this one cannot be any more and nothing may stand behind it
        self.forget(slot + 1)

    def relieve(self):
        """Late readings make room in a heap that is full; their senders say them again."""
        for waiting in self.readings:
            del waiting[1:]
        gc.collect()

    def forget(self, slot):
        """`slot` delivers now, or its successor's block is final: whatever should have been in earlier blocks is of no use."""
        for store, oldest in ((self.commits, slot + 2), (self.orders, slot + 1)):
            for s in [s for s in store if s < oldest]:
                del store[s]
        self.envelopes = [e for e in self.envelopes if e.last_slot >= slot - 1]
        self.late = []

    def _note(self, kind, slot, member, now_ms):
        gate_ms = self.genesis.gate_ms(self.genesis.slot_at(now_ms))
        if now_ms > gate_ms - self.genesis.delta_ms and (kind, slot, member) not in self.late:
            self.late.append((kind, slot, member))


def rank(envelope):
    """Of the envelopes for a slot the one that begins last counts; of those that begin together, the narrowest."""
    return envelope.first_slot, -envelope.import_limit_mwh, -envelope.export_limit_mwh, -envelope.last_slot


def good(check, *args):
    """Whether a check lets this pass."""
    try:
        check(*args)
    except Reject:
        return False
    return True


def check_trader(genesis, state, member):
    """Reject('not-a-member'|'cannot-trade'|'excluded') unless this member may trade."""
    if member >= genesis.n:
        raise Reject("not-a-member")
    if genesis.members[member][1] & (ROLE_HEAD | ROLE_LEFT):
        raise Reject("cannot-trade")
    if state.excluded >> member & 1:
        raise Reject("excluded")


def check_order(genesis, state, order):
    """Who may trade, price curve within the rules, the member's fuse, what its meter can have and its credit; Reject otherwise.

    `state`: the agreed one before the block, so that everyone sees the same balances."""
    member, buy, sell = order.member, order.buy, order.sell
    check_trader(genesis, state, member)
    if sell and not genesis.members[member][1] & (ROLE_GENERATES | ROLE_STORES):
        raise Reject("cannot-sell")
    tariff = genesis.tariff(order.slot)
    check_curve(buy, sell, tariff, genesis.fuse_mwh(member))
    credit = credit_ucr(genesis, state, member)
    if credit is not None and exposure_ucr(tariff, buy, sell) > credit:
        raise Reject("over-credit")


def credit_ucr(genesis, state, member):
    """What orders of a member may cost at worst: balance and credit limit, less what its open trades may. None: no limit."""
    if genesis.credit_limit_ucr == NO_LIMIT:
        return None
    credit = state.accounts[member].balance_ucr + genesis.credit_limit_ucr
    for slot, price, bought, sold in state.accounts[member].open():
        credit -= exposure_ucr(genesis.tariff(slot), [(price, bought)], [(price, sold)])
    return credit


def fault(genesis, reading):
    """Whether a reading settles nothing: the meter doubts it, or its accuracy class is too low."""
    return reading.flags & FAULTS or reading.accuracy < genesis.accuracy
