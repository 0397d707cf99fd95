"""Green coins, one for each metered renewable mWh, and the operator's payments: what a signed transfer moves. Loaded when there is one.

    {"give_mwh": 5000000, "to": 3}    {"retire_mwh": 5000000, "for": "heat pump 2026"}    what a member asks its own meter for

Coins are minted as the advance of a generation register, which never decreases and is signed with every reading, so that a
mWh is not minted twice, whatever is sent again. They are given to a neighbour, or retired when used as a certificate.
"""
from prosumer.errors import Reject
from prosumer.link.topics import OPERATOR
from prosumer.records import GIVE, PAY_IN, PAY_OUT, RETIRE, Transfer


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


def request(message, genesis, member, account, signer):
    """The signed Transfer that a person's JSON object asks for, next in the member's sequence. Reject: bad-request, and what `move` refuses."""
    note = message.get("for", "")
    note = note.encode() if type(note) is str else b"-" * 17
    give = "give_mwh" in message
    amount, to = (message["give_mwh"], message.get("to")) if give else (message.get("retire_mwh"), member)
    if sorted(message) not in (["give_mwh", "to"], ["for", "give_mwh", "to"], ["for", "retire_mwh"]) \
            or type(amount) is not int or type(to) is not int or len(note) > 16:
        raise Reject("bad-request")
    if not 0 < amount < 1 << 48:
        raise Reject("bad-amount")
    if not 0 <= to < genesis.n:
        raise Reject("not-a-member")
    if give and to == member:
        raise Reject("wrong-recipient")
    if amount > account.green_mwh:
        raise Reject("already-retired" if amount <= account.green_mwh + account.retired_mwh else "unfunded")
    t = Transfer(member=member, kind=GIVE if give else RETIRE, seq=account.next_transfer, to=to, amount=amount, note=note + bytes(16 - len(note)))
    t.signature = signer.sign(t.message(genesis.feeder_id))
    return t
