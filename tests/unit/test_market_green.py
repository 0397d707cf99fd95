"""Coins given and retired, money paid in and out: what is booked, and what is refused with which reason."""
from prosumer.errors import Reject
from prosumer.ledger.state import State
from prosumer.market import green
from prosumer.records import GIVE, PAY_IN, PAY_OUT, RETIRE, Transfer

OPERATOR = 255


class Street:
    hash = bytes(32)
    members = [None] * 4


def state_with(*coins):
    state = State(Street)
    for account, held in zip(state.accounts, coins):
        account.green_mwh = held
    return state


def transfer(member, kind, seq, to, amount):
    return Transfer(member=member, kind=kind, seq=seq, to=to, amount=amount, note=bytes(16))


def refused(state, *numbers):
    """The reason, when nothing has changed."""
    before = state.pack()
    try:
        green.move(state, transfer(*numbers))
    except Reject as e:
        assert state.pack() == before, numbers
        return e.code
    raise RuntimeError("booked: %r" % (numbers,))


def test_coins_move_to_a_neighbour_and_are_retired_once():
    s = state_with(300, 1)
    green.move(s, transfer(0, GIVE, 0, 1, 100))
    assert (s.accounts[0].green_mwh, s.accounts[1].green_mwh) == (200, 101)
    green.move(s, transfer(0, RETIRE, 1, 0, 150))
    assert (s.accounts[0].green_mwh, s.accounts[0].retired_mwh, s.accounts[0].next_transfer) == (50, 150, 2)
    assert refused(s, 0, RETIRE, 2, 0, 51) == "already-retired"
    assert refused(s, 0, GIVE, 2, 1, 200) == "already-retired"
    assert refused(s, 0, GIVE, 2, 1, 201) == "unfunded"
    green.move(s, transfer(1, RETIRE, 0, 1, 101))
    assert sum([a.green_mwh + a.retired_mwh for a in s.accounts]) == 301


def test_each_sequence_number_counts_once_and_in_order():
    s = state_with(300)
    assert refused(s, 0, GIVE, 1, 1, 1) == "wrong-sequence"
    green.move(s, transfer(0, GIVE, 0, 1, 1))
    assert refused(s, 0, GIVE, 0, 1, 1) == "replayed"
    assert refused(s, 1, GIVE, 1, 0, 1) == "wrong-sequence"  # everyone counts for himself
    s.accounts[0].next_transfer = 0xFFFFFFFF
    assert refused(s, 0, GIVE, 0xFFFFFFFF, 1, 1) == "wrong-sequence"  # none could follow


def test_amounts_recipients_and_kinds_that_make_no_sense():
    s = state_with(300)
    for amount in (0, 1 << 48, (1 << 64) - 1):
        assert refused(s, 0, GIVE, 0, 1, amount) == refused(s, OPERATOR, PAY_IN, 0, 1, amount) == "bad-amount"
    for to in (4, 64, OPERATOR):
        assert refused(s, 0, GIVE, 0, to, 1) == refused(s, OPERATOR, PAY_IN, 0, to, 1) == "not-a-member"
    assert refused(s, 4, GIVE, 0, 1, 1) == refused(s, 254, GIVE, 0, 1, 1) == "not-a-member"
    assert refused(s, 0, GIVE, 0, 0, 1) == refused(s, 0, RETIRE, 0, 1, 1) == "wrong-recipient"
    for kind in (PAY_IN, PAY_OUT, 4, 255):
        assert refused(s, 0, kind, 0, 1, 1) == "wrong-kind"
    for kind in (GIVE, RETIRE, 4, 255):
        assert refused(s, OPERATOR, kind, 0, 1, 1) == "wrong-kind"


def test_the_operator_pays_in_and_pays_out_what_is_there():
    s = state_with()
    green.move(s, transfer(OPERATOR, PAY_IN, 0, 2, 5000))
    assert (s.accounts[2].balance_ucr, s.utility_ucr, s.operator_seq) == (5000, -5000, 1)
    assert refused(s, OPERATOR, PAY_OUT, 1, 2, 5001) == "unfunded"
    assert refused(s, OPERATOR, PAY_OUT, 1, 1, 1) == "unfunded"
    green.move(s, transfer(OPERATOR, PAY_OUT, 1, 2, 5000))
    assert s.accounts[2].balance_ucr == s.utility_ucr == 0
    s.accounts[1].balance_ucr = -5000
    green.move(s, transfer(OPERATOR, PAY_IN, 2, 1, 7000))  # a debt paid
    assert s.accounts[1].balance_ucr == 2000
    s.accounts[1].balance_ucr = 1 << 62
    assert refused(s, OPERATOR, PAY_IN, 3, 1, 1) == "bad-amount"
