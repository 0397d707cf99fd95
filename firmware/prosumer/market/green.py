"""Green coins, one for each metered renewable mWh, and the operator's payments: what a signed transfer moves. Loaded when there is one.

Coins are minted as the advance of a generation register, which never decreases and is signed with every reading, so that a
mWh is not minted twice, whatever is sent again. They are given to a neighbour, or retired when used as a certificate.
"""
from prosumer.errors import Reject
from prosumer.link.topics import OPERATOR
from prosumer.records import GIVE, PAY_IN, PAY_OUT, RETIRE


def next_seq(state, member):
    """The sequence number that the next transfer of a member (or of the operator) has; Reject('not-a-member')."""
    if member == OPERATOR:
        return state.operator_seq
    if member >= len(state.accounts):
        raise Reject("not-a-member")
    return state.accounts[member].next_transfer


def move(state, t):
    """Book a transfer. Reject: not-a-member, replayed, wrong-sequence, wrong-kind, wrong-recipient, bad-amount, unfunded, already-retired."""
    due = next_seq(state, t.member)
    if t.seq != due or due == 0xFFFFFFFF:
        raise Reject("replayed" if t.seq < due else "wrong-sequence")
    if t.to >= len(state.accounts):
        raise Reject("not-a-member")
    kind, amount, to = t.kind, t.amount, state.accounts[t.to]
    if not 0 < amount < 1 << 48:
        raise Reject("bad-amount")
    if t.member == OPERATOR:
        if kind not in (PAY_IN, PAY_OUT):
            raise Reject("wrong-kind")
        if kind == PAY_OUT:
            if amount > to.balance_ucr:
                raise Reject("unfunded")
            amount = -amount
        elif to.balance_ucr >= 1 << 62:  # no end of payments makes a number that does not fit
            raise Reject("bad-amount")
        to.balance_ucr += amount
        state.utility_ucr -= amount
        state.operator_seq += 1
        return
    if kind not in (GIVE, RETIRE):
        raise Reject("wrong-kind")
    if (t.to == t.member) != (kind == RETIRE):
        raise Reject("wrong-recipient")
    giver = state.accounts[t.member]
    if amount > giver.green_mwh:
        raise Reject("already-retired" if amount <= giver.green_mwh + giver.retired_mwh else "unfunded")
    giver.green_mwh -= amount
    if kind == GIVE:
        to.green_mwh += amount
    else:
        giver.retired_mwh += amount
    giver.next_transfer += 1
