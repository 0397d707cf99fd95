"""Building a block and executing it: the one place where orders become trades and readings become money.

`execute` is what every meter re-runs: same state and body in, same new state out, or a Reject that names why the
block is not valid. It does no I/O; signatures are checked through `verified(record)`, which raises Reject.
"""
from prosumer.errors import Reject
from prosumer.ledger import salted
from prosumer.ledger.pool import check_order, fault, rank
from prosumer.market import clearing, settlement
from prosumer.records import ROLE_GENERATES, Body, Commit, Header, Reading

_CORRECTION_S = 86400  # a reading may come this late; then its slots are settled by rule


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
    commits = [commits[m] for m in sorted(commits)]
    orders = [orders[m] for m in sorted(orders) if agreed.get(m) == orders[m].digest(feeder)]
    runs = [pool.readings_for(m, state.accounts[m], slot - 1, skip) for m in range(n)]
    more = _room(genesis, commits, orders) - n  # there is room for one reading of each, and for these
    for i in range(n):
        m = (slot + i) % n  # another member first in each slot
        runs[m] = runs[m][:1 + more]
        more -= max(0, len(runs[m]) - 1)
    return Body(salt, [e] if e else [], commits, orders, [r for run in runs for r in run])


def _room(genesis, commits, orders):
    """For how many readings: the block must fit the buffer that a meter receives it in (agent.py)."""
    left = 700 + 448 * genesis.n  # header, envelope and the like are less than 324
    for r in commits:
        left -= Commit.size()
    for o in orders:
        left -= len(o.raw)
    return left // Reading.size()


def omitted(genesis, state, slot, pool, body):
    """(kind, record) the proposer left out although it was here in good time; None if nothing is missing."""
    have = build(genesis, state, slot, pool, b"", False)
    for e in have.envelopes:
        if not [t for t in body.envelopes if rank(t) >= rank(e)] and ("e", rank(e), 0) not in pool.late:
            return "e", e
    there = [(r.member, r.seq) for r in body.readings]
    for r in have.readings:  # the one that is due of each; of those behind it, the proposer may have fewer, or others
        due = r.seq == state.accounts[r.member].next_seq
        if due and (r.member, r.seq) not in there and ("r", r.slot, r.member) not in pool.late:
            return "r", r
    for key, mine, theirs in (("o", have.orders, body.orders), ("c", have.commits, body.commits)):
        there = [(r.member, r.slot) for r in theirs]
        for r in mine:
            if (r.member, r.slot) not in there and (key, r.slot, r.member) not in pool.late:
                return key, r
    return None


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
    """Apply block `slot` to `state` (in place); returns the Clearing of slot+1."""
    for envelope in body.envelopes:
        if not envelope.first_slot <= slot + 1 <= envelope.last_slot:
            raise Reject("wrong-envelope")
        verified(envelope)
    state.salt = body.salt
    _settle(genesis, state, slot, body.readings, verified)
    cleared = _clear(genesis, state, slot, body)
    digests = {}
    for commit in _sorted(body.commits, "commits", lambda c: c.member):
        if commit.slot != slot + 2:
            raise Reject("wrong-slot")
        verified(commit)
        digests[commit.member] = commit.digest
    if digests:
        state.commits[slot + 2] = digests
    return cleared


def _clear(genesis, state, slot, body):
    """Orders of slot+1 against their commits; whoever sealed one and does not show it pays the penalty."""
    digests = state.commits.get(slot + 1, {})
    orders = []
    for order in _sorted(body.orders, "orders", lambda o: o.member):
        if order.slot != slot + 1 or digests.get(order.member) != order.digest(genesis.feeder_id):
            raise Reject("reveal-mismatch")
        check_order(genesis, order)
        orders.append((order.member, order.buy, order.sell))
    shown = [o[0] for o in orders]
    penalty = 0
    for m in sorted(digests):
        if m not in shown:
            state.accounts[m].balance_ucr -= genesis.penalty_ucr
            penalty += genesis.penalty_ucr
    for s in [s for s in state.commits if s <= slot + 1]:
        del state.commits[s]
    cleared = clearing.clear(slot + 1, genesis, limits(genesis, body, slot + 1), orders)
    fills = {m: f for m, f in cleared.fills.items() if f != (0, 0)}
    if fills:
        state.positions[slot + 1] = (cleared.price_ucr_per_kwh, fills)
    pool = settlement.pool_with_utility(genesis, cleared.import_mwh, cleared.export_mwh,
                                        settlement.lost_mwh(genesis, cleared.volume_mwh))
    state.feeder_ucr += pool + penalty
    state.utility_ucr -= pool
    return cleared


def _settle(genesis, state, slot, readings, verified):
    """Readings in, balances and green coins changed."""
    for r in _sorted(readings, "readings", lambda r: (r.member, r.seq)):
        if r.member >= genesis.n:
            raise Reject("not-a-member")
        a = state.accounts[r.member]
        gap_import, gap_export, minted = a.gap(r, slot, genesis.fuse_mwh(r.member))
        verified(r)
        if fault(r):  # its energy counts at the tariff, its trades as a missing reading's
            gap_import += r.interval_import_mwh
            gap_export += r.interval_export_mwh
        else:
            _book(genesis, state, r.member, r.slot, r)
        for s in [s for s in sorted(state.positions) if s <= r.slot and r.member in state.positions[s][1]]:
            _book(genesis, state, r.member, s, None)
        if gap_import or gap_export:
            _enter(state, r.member, settlement.correct(genesis, 0, 0, gap_import, gap_export))
        if genesis.members[r.member][1] & ROLE_GENERATES:
            a.green_mwh += minted + r.interval_generation_mwh
        a.advance(r, r.hash(genesis.feeder_id))
    oldest = slot - _CORRECTION_S // genesis.slot_s
    for s in [s for s in sorted(state.positions) if s < oldest]:
        for m in sorted(state.positions[s][1]):
            _book(genesis, state, m, s, None)
    for s in [s for s in state.positions if not state.positions[s][1]]:
        del state.positions[s]


def _book(genesis, state, member, slot, reading):
    """Settle one member's trades of `slot` against its reading; None: by the missing-reading rule."""
    price, fills = state.positions.get(slot, (0, {}))
    bought, sold = fills.pop(member, (0, 0))
    metered = (reading.interval_import_mwh, reading.interval_export_mwh) if reading else (0, 0)
    _enter(state, member, settlement.settle(genesis, price, bought, sold, *metered))


def _enter(state, member, entry):
    state.accounts[member].balance_ucr += entry.member_ucr
    state.feeder_ucr += entry.feeder_ucr
    state.utility_ucr += entry.utility_ucr


def header(genesis, parent_hash, accumulator, slot, iteration, proposer, body, state, cleared):
    """The header of an executed block; what a voter compares byte for byte with the proposed one."""
    return Header(slot=slot, iteration=iteration, proposer=proposer, previous=parent_hash, accumulator=accumulator,
                  body_root=salted.root(body.salt, salted.BODY, body.leaves()), state_root=state.root(),
                  price_ucr_per_kwh=cleared.price_ucr_per_kwh, volume_mwh=cleared.volume_mwh)
