"""Building a block and executing it: the one place where orders become trades and readings become money.

`execute` is what every meter re-runs: same state and body in, same new state out, or a Reject that names why the
block is not valid. It does no I/O; signatures are checked through `verified(record)`, which raises Reject.
"""
from prosumer import durable
from prosumer.errors import Reject
from prosumer.ledger import salted
from prosumer.ledger.mmr import MMR
from prosumer.ledger.pool import check_order, check_trader, fault, good, rank
from prosumer.ledger.state import Account, State
from prosumer.link import topics
from prosumer.market import clearing, settlement
from prosumer.records import COMMITTEE, EPOCH_SLOTS, MAX_TRANSFERS, ROLE_GENERATES, ROLE_HEAD, ROLE_LEFT, Body, Header, Proposal, Reading, Transfer

_NOT_BEGUN = -(1 << 63)  # State.lost_mwh until head and houses stand at one slot


class Link:
    """A block in the chain as this meter sees it: its header (None: genesis), the packed state after it (None: see refill), and
    `before`, the packed accumulator over all earlier headers, which its header carries the root of."""

    def __init__(self, header, digest, state, before):
        self.header, self.digest, self.state, self.before = header, digest, state, before
        self.slot = header.slot if header else -1
        self.iteration = header.iteration if header else 0

    def accumulator(self):
        """Over all headers up to this one, packed."""
        mmr = MMR.parse(self.before)
        if self.header:
            mmr.append(self.digest)
        return mmr

    def refill(self, node):
        """Make its state anew, if that left memory when its iteration ended without it. Reject('unknown-parent')."""
        if self.state is None:
            parent = node.chain.get(self.header.previous)
            if not parent:
                raise Reject("unknown-parent")
            parent.refill(node)
            state = State.parse(parent.state)
            execute(node.genesis, state, self.slot, Proposal.parse(durable.load(node.block_path(self.iteration))).body, lambda record: None)
            self.state = state.pack()


def limits(genesis, body, slot):
    """(import_limit_mwh, export_limit_mwh) of `slot`: the operator's envelope, else the genesis' safe default."""
    for e in body.envelopes:
        if e.first_slot <= slot <= e.last_slot:
            return e.import_limit_mwh, e.export_limit_mwh
    return genesis.import_limit_mwh, genesis.export_limit_mwh


def build(genesis, state, slot, pool, salt, skip=True):
    """Everything the pool has for block `slot`, in canonical order. `salt`: 16 random bytes; `skip`: see readings_for."""
    e = pool.envelope(slot + 1)
    n, feeder = genesis.n, genesis.feeder_id
    commits = pool.commits.get(slot + 2, {})
    agreed = state.commits.get(slot + 1, {})
    orders = pool.orders.get(slot + 1, {})
    commits = [commits[m] for m in sorted(commits) if good(check_trader, genesis, state, m)]
    orders = [orders[m] for m in sorted(orders) if agreed.get(m) == orders[m].digest(feeder) and good(check_order, genesis, state, orders[m])]
    evidence, amendments = [], []
    left = _room(genesis, commits + orders)
    if pool.evidence and _counts(genesis, state, pool.evidence.member):
        evidence = [pool.evidence]
    elif pool.amendment and pool.amendment.previous == genesis.hash and len(pool.amendment.raw) <= left:
        amendments = [pool.amendment]
    left -= sum([len(r.raw) for r in evidence + amendments])
    runs = [pool.readings_for(m, state.accounts[m], slot - 1, skip) if _metered(genesis, state, m) else [] for m in range(n)]
    left = left // Reading.size() - n  # there is room for one reading of each, and for these
    for i in range(n):
        m = (slot + i) % n  # another member first in each slot
        more = min(len(runs[m]), max(0, 1 + left))
        runs[m] = runs[m][:more]
        left -= more - 1
    readings = [r for run in runs for r in run]
    left = _room(genesis, commits + orders + readings + evidence + amendments)
    return Body(salt, [e] if e else [], commits, orders, readings, _transfers(state, pool, left // Transfer.size()), evidence, amendments)


def _room(genesis, records):
    """How many bytes are left beside `records`: the block must fit the buffer that a meter receives it in (agent.py)."""
    left = 700 + 448 * genesis.n  # header, envelope and the like are less than 324
    for r in records:
        left -= sum([len(p) for p in r.pieces()])
    return left


def _transfers(state, pool, most):
    """Those that can be booked one after the other, tried on copies of the accounts they touch."""
    out = []
    if pool.transfers:
        from prosumer.market import green
        trial = State()
        trial.operator_seq, trial.accounts = state.operator_seq, list(state.accounts)
        for m in sorted(pool.transfers):
            for t in pool.transfers[m]:
                for touched in (m, t.to):
                    if touched < len(trial.accounts) and trial.accounts[touched] is state.accounts[touched]:
                        trial.accounts[touched] = Account(state.accounts[touched].values())
                if len(out) < min(most, MAX_TRANSFERS) and good(green.move, trial, t):
                    out.append(t)
    return out


def omitted(genesis, state, slot, pool, body):
    """(kind as in topics, record) of each that the proposer left out although it was here in good time."""
    have = build(genesis, state, slot, pool, b"", False)
    for e in have.envelopes:
        if not [t for t in body.envelopes if rank(t) >= rank(e)] and ("e", rank(e), 0) not in pool.late:
            yield topics.ENVELOPE, e
    rare = list(body.evidence) + list(body.amendments)
    for kind, mine in ((topics.EVIDENCE, have.evidence), (topics.GENESIS, have.amendments)):
        if mine and not rare and (kind, 0, 0) not in pool.late:
            yield kind, mine[0]
    there = [(r.member, r.seq) for r in body.readings]
    for r in have.readings:  # the one that is due of each; of those behind it, the proposer may have fewer, or others
        due = r.seq == state.accounts[r.member].next_seq == pool.readings[r.member][0].seq  # behind a block that is not final pools differ
        if due and not rare and (r.member, r.seq) not in there and ("r", r.slot, r.member) not in pool.late:
            yield topics.READING, r
    for key, kind, mine, theirs in (("o", topics.ORDER, have.orders, body.orders), ("c", topics.COMMIT, have.commits, body.commits)):
        there = [(r.member, r.slot) for r in theirs]
        for r in mine:
            if (r.member, r.slot) not in there and (key, r.slot, r.member) not in pool.late:
                yield kind, r
    if have.transfers and not rare:
        there = [(t.member, t.seq) for t in body.transfers]
        spare = _room(genesis, list(body.commits) + list(body.orders)) - Reading.size() * len(list(body.readings)) - Transfer.size() * len(there)
        for t in have.transfers:
            if ((t.member, t.seq) not in there and ("t", t.seq, t.member) not in pool.late
                    and len(there) < MAX_TRANSFERS and spare >= Transfer.size()):
                yield topics.TRANSFER, t


def _sorted(records, what, key):
    """The records one by one; Reject when their keys do not rise."""
    last = None
    for r in records:
        now = key(r)
        if last is not None and now <= last:
            raise Reject(what + "-not-sorted")
        last = now
        yield r


def execute(genesis, state, slot, body, verified):
    """Apply block `slot` to `state` (in place) under the genesis in force; returns the Clearing of slot+1."""
    if state.genesis != genesis.hash:
        raise Reject("wrong-genesis")
    for envelope in body.envelopes:
        if not envelope.first_slot <= slot + 1 <= envelope.last_slot:
            raise Reject("wrong-envelope")
        verified(envelope)
    _check_orders(genesis, state, slot, body)
    state.salt, state.slot, state.limits = body.salt, slot + 1, limits(genesis, body, slot + 1)
    for t in _sorted(body.transfers, "transfers", lambda t: (t.member, t.seq)):
        from prosumer.market import green
        green.move(state, t)
        verified(t)
    _settle(genesis, state, slot, body.readings, verified)
    _losses(genesis, state)
    _share(genesis, state, slot)
    cleared = _clear(genesis, state, slot, body)
    digests = {}
    for commit in _sorted(body.commits, "commits", lambda c: c.member):
        if commit.slot != slot + 2:
            raise Reject("wrong-slot")
        check_trader(genesis, state, commit.member)
        verified(commit)
        digests[commit.member] = commit.digest
    if digests:
        state.commits[slot + 2] = digests
    _regime(genesis, state, slot, body, verified)
    return cleared


def _counts(genesis, state, member):
    """Whether evidence against this member changes anything."""
    return member < genesis.n and not (genesis.members[member][1] & ROLE_LEFT or state.excluded >> member & 1)


def _regime(genesis, state, slot, body, verified):
    """Who votes from here on: a liar does not, nor whoever left; whoever joined does."""
    for e in body.evidence:
        if not _counts(genesis, state, e.member):
            raise Reject("excluded")
        verified(e)
        state.excluded |= 1 << e.member
    for amendment in body.amendments:
        from prosumer.identity.genesis import Genesis
        new = Genesis(amendment.pack())
        genesis.check_successor(new)
        for m in range(new.n):
            if m >= genesis.n:
                state.accounts.append(Account())
            elif new.members[m][0] != genesis.members[m][0]:  # a new meter: its registers and readings begin anew
                a = state.accounts[m]
                a.next_seq = a.import_mwh = a.export_mwh = a.generation_mwh = 0
                a.head = bytes(32)
                state.excluded &= ~(1 << m)
        state.genesis, genesis = new.hash, new
    for digests in state.commits.values():  # who may not trade any more owes no order either
        for m in [m for m in digests if not good(check_trader, genesis, state, m)]:
            del digests[m]
    if len([m for m in range(genesis.n) if _counts(genesis, state, m)]) > COMMITTEE:
        state.epoch = slot // EPOCH_SLOTS


def _check_orders(genesis, state, slot, body):
    """Before anything of the block counts, so that whoever builds it and whoever runs it see the same balances."""
    digests = state.commits.get(slot + 1, {})
    for order in _sorted(body.orders, "orders", lambda o: o.member):
        if order.slot != slot + 1 or digests.get(order.member) != order.digest(genesis.feeder_id):
            raise Reject("reveal-mismatch")
        check_order(genesis, state, order)


def _clear(genesis, state, slot, body):
    """The checked orders of slot+1; whoever sealed one and does not show it pays the penalty."""
    digests = state.commits.get(slot + 1, {})
    orders = [(o.member, o.buy, o.sell) for o in body.orders]
    shown = [o[0] for o in orders]
    penalty = 0
    for m in sorted(digests):
        if m not in shown:
            state.accounts[m].balance_ucr -= genesis.penalty_ucr
            penalty += genesis.penalty_ucr
    for s in [s for s in state.commits if s <= slot + 1]:
        del state.commits[s]
    tariff = genesis.tariff(slot + 1)
    cleared = clearing.clear(slot + 1, tariff, state.limits, orders)
    fills = {m: f for m, f in cleared.fills.items() if f != (0, 0)}
    state.trade(slot + 1, cleared.price_ucr_per_kwh, fills)
    pool = settlement.pool_with_utility(tariff, cleared.import_mwh, cleared.export_mwh,
                                        settlement.lost_mwh(tariff, cleared.volume_mwh))
    state.feeder_ucr += pool + penalty
    state.utility_ucr -= pool
    return cleared


def _metered(genesis, state, member):
    """Whether readings of a member count: of one that has left, until its last trade is settled."""
    return not genesis.members[member][1] & ROLE_LEFT or state.accounts[member].trades


def _settle(genesis, state, slot, readings, verified):
    """Readings in, balances and green coins changed."""
    metered = [_metered(genesis, state, m) for m in range(genesis.n)]  # as `build` sees it: the first of several may settle the last trade
    for r in _sorted(readings, "readings", lambda r: (r.member, r.seq)):
        if r.member >= genesis.n or not metered[r.member]:
            raise Reject("not-a-member")
        a, roles = state.accounts[r.member], genesis.members[r.member][1]
        gap_import, gap_export, minted = a.gap(r, slot, genesis.fuse_mwh(r.member))
        verified(r)
        if not roles & ROLE_HEAD:
            _trades(genesis, state, r, gap_import, gap_export)
        if not a.next_seq:
            state.lost_mwh = _NOT_BEGUN  # what a new meter's house took before is not lost on the way
        elif state.lost_mwh != _NOT_BEGUN:
            net = gap_import + r.interval_import_mwh - gap_export - r.interval_export_mwh
            state.lost_mwh += net if roles & ROLE_HEAD else -net
        if roles & ROLE_GENERATES:
            a.green_mwh += minted + r.interval_generation_mwh
        a.advance(r, r.hash(genesis.feeder_id))
    oldest = slot - genesis.correction_s // genesis.slot_s
    for m, a in enumerate(state.accounts):
        for trade in a.open():
            if trade[0] < oldest:
                _book(genesis, state, m, trade[0], None)


def _trades(genesis, state, r, gap_import, gap_export):
    """Settle what the reading of a house closes: its slot, older ones by rule, and what came in between them at the tariff."""
    if fault(genesis, r):  # its energy counts at the tariff, its trades as a missing reading's
        gap_import += r.interval_import_mwh
        gap_export += r.interval_export_mwh
    else:
        _book(genesis, state, r.member, r.slot, r)
    for trade in state.accounts[r.member].open():
        if trade[0] <= r.slot:
            _book(genesis, state, r.member, trade[0], None)
    if gap_import or gap_export:  # of one slot, or nobody knows of which: then late readings must not make it cheaper
        known = state.accounts[r.member].next_slot == r.slot
        _enter(state, r.member, settlement.correct(genesis.tariff(r.slot) if known else genesis.dearest(), 0, 0, gap_import, gap_export))


def _losses(genesis, state):
    """Where a head meter is: once it and all houses are read up to one slot, the utility charges the street what was lost on the way."""
    lost, roles = state.lost_mwh, [m[1] for m in genesis.members]
    read = [a.next_slot for a, role in zip(state.accounts, roles) if not role & ROLE_LEFT]
    if not [r for r in roles if r & (ROLE_HEAD | ROLE_LEFT) == ROLE_HEAD]:
        lost = _NOT_BEGUN  # nobody says
    elif not read or min(read) != max(read):
        return
    if lost != _NOT_BEGUN:
        cost = settlement.gets(genesis.tariff(read[0] - 1).retail_ucr_per_kwh, lost)
        state.feeder_ucr -= cost
        state.utility_ucr += cost
    state.lost_mwh = 0


def _share(genesis, state, slot):
    """The first block of a local month shares out the feeder account, or its debt, alike; what does not divide stays there.

    Open trades count as if they were settled as traded: the pool has dealt with the utility for them already."""
    month = genesis.month(slot)
    if month > state.month:
        state.month = month
        mine = [m for m in range(genesis.n) if good(check_trader, genesis, state, m)]
        there = state.feeder_ucr
        for a in state.accounts:
            for s, price, bought, sold in a.open():
                there += settlement.settle_open(genesis.tariff(s), price, bought, sold).feeder_ucr
        for m in mine:
            state.accounts[m].balance_ucr += there // len(mine)
            state.feeder_ucr -= there // len(mine)


def _book(genesis, state, member, slot, reading):
    """Settle one member's trades of `slot` against its reading; None: by the missing-reading rule."""
    price, bought, sold = state.accounts[member].close(slot)
    metered = (reading.interval_import_mwh, reading.interval_export_mwh) if reading else (0, 0)
    _enter(state, member, settlement.settle(genesis.tariff(slot), price, bought, sold, *metered))


def _enter(state, member, entry):
    state.accounts[member].balance_ucr += entry.member_ucr
    state.feeder_ucr += entry.feeder_ucr
    state.utility_ucr += entry.utility_ucr


def header(genesis, parent_hash, accumulator, slot, iteration, proposer, body, state, cleared):
    """The header of an executed block; what a voter compares byte for byte with the proposed one."""
    return Header(slot=slot, iteration=iteration, proposer=proposer, previous=parent_hash, accumulator=accumulator,
                  body_root=salted.root(body.salt, salted.BODY, body.leaves()), state_root=state.root(),
                  price_ucr_per_kwh=cleared.price_ucr_per_kwh, volume_mwh=cleared.volume_mwh)
