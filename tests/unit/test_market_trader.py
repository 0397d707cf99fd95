"""The trader keeps to what every meter will check: credit, what its house can have, the tariff of the slot it orders for."""
import paper
from prosumer.identity.genesis import Genesis
from prosumer.ledger.pool import check_order, credit_ucr
from prosumer.ledger.state import State
from prosumer.market import green
from prosumer.errors import Reject
from prosumer.market.trader import Trader
from prosumer.records import GIVE, RETIRE, ROLE_GENERATES, ROLE_HEAD, ROLE_LEFT, ROLE_STORES, Order

OPERATOR = paper.signer("operator")
SIGNERS = [paper.signer("member %d" % i) for i in range(5)]
ROLES = [ROLE_GENERATES, 0, ROLE_STORES, ROLE_HEAD, ROLE_LEFT]
NIGHT = (127, 0, 360, 180000, 60000)
KWH = 1000000
PLANT = (4 * KWH, 8 * KWH, False, 0, 0)
BATTERY = {"battery": {"capacity_mwh": 8 * KWH, "power_mw": 3 * KWH}}


def genesis(**changes):
    return Genesis(paper.make_genesis(OPERATOR, SIGNERS, ROLES, loss=0, **changes))


def trader(g, member, use, sun, devices=None):
    """One that has seen two days of the same slots."""
    t = Trader(g, member, devices or {}, paper.fresh_folder() + "/", SIGNERS[member])
    for slot in range(192):
        t.forecast.observe(slot, use, sun)
    return t


def made(t, slot=192, credit=None, use=0, sun=0):
    curve = t.make((slot, use, sun), PLANT, credit)
    return Order(t.member, slot + 2, bytes(16), *curve) if curve else None


def test_what_it_orders_is_within_its_credit():
    g = genesis(credit=100000)
    for member, use, sun in ((1, 900000, 0), (0, 100000, 1200000)):
        t = trader(g, member, use, sun)
        free = made(t, use=use, sun=sun)
        state = State(g)
        for balance in (0, -50000, -90000, 40000):
            state.accounts[member].balance_ucr = balance
            order = made(t, credit=credit_ucr(g, state, member), use=use, sun=sun)
            check_order(g, state, order)
            assert sum([e for _, e in order.buy + order.sell]) < sum([e for _, e in free.buy + free.sell])
        assert made(t, credit=-1, use=use, sun=sun) is None


def test_an_order_that_waits_for_its_clearing_counts_too():
    g = genesis(credit=100000)
    t = trader(g, 1, 900000, 0)
    first = made(t, 191, 100000, 900000)
    t.sealed[193] = first
    second = made(t, 192, 100000, 900000)
    assert first and (second is None or sum([p * e for p, e in first.buy + second.buy]) <= 100000 * KWH)


def test_who_cannot_have_anything_offers_nothing():
    g = genesis()
    assert made(trader(g, 0, 100000, 1200000), use=100000, sun=1200000).sell
    for member in (1, 3, 4):
        order = made(trader(g, member, 100000, 1200000, BATTERY), use=100000, sun=1200000)
        assert order is None or not order.sell
        assert member == 1 or order is None, "head meters and who left do not trade at all"


def test_limits_lie_within_the_tariff_of_the_slot_ordered_for():
    g = genesis(bands=[NIGHT], start_s=1751320800 - 3 * 900)  # three slots before midnight
    t = trader(g, 1, 900000, 0)
    for slot, retail in ((0, 250000), (1, 180000), (24, 180000), (25, 250000)):
        order = made(t, slot, None, 900000)
        assert order.buy[0][0] == retail, (slot, order.buy)
        check_order(g, State(g), order)


def test_a_person_asks_for_coins_to_be_given_or_retired():
    g, state = genesis(), State(genesis())
    account = state.accounts[1]
    account.green_mwh, account.retired_mwh, account.next_transfer = 500, 30, 7

    def asked(message):
        try:
            return green.request(message, g, 1, account, SIGNERS[1])
        except Reject as e:
            return e.code

    t = asked({"give_mwh": 200, "to": 0})
    assert (t.member, t.kind, t.seq, t.to, t.amount, t.note) == (1, GIVE, 7, 0, 200, bytes(16))
    assert SIGNERS[1].sign(t.message(g.feeder_id)) == t.signature
    green.move(state, t)
    account.next_transfer = 7
    t = asked({"retire_mwh": 300, "for": "Wärmepumpe 26"})
    assert (t.kind, t.to, t.note[:14]) == (RETIRE, 1, "Wärmepumpe 26".encode())
    for message, reason in (({"give_mwh": 301, "to": 0}, "already-retired"), ({"give_mwh": 331, "to": 0}, "unfunded"), ({"give_mwh": 0, "to": 0}, "bad-amount"),
                            ({"give_mwh": -5, "to": 0}, "bad-amount"), ({"give_mwh": 1 << 50, "to": 0}, "bad-amount"), ({"give_mwh": 1, "to": 5}, "not-a-member"),
                            ({"give_mwh": 1, "to": -1}, "not-a-member"), ({"give_mwh": 1, "to": 1}, "wrong-recipient"), ({"give_mwh": True, "to": 0}, "bad-request"),
                            ({"give_mwh": 1.5, "to": 0}, "bad-request"), ({"give_mwh": "1", "to": 0}, "bad-request"), ({"give_mwh": 1, "to": None}, "bad-request"),
                            ({"give_mwh": 1}, "bad-request"), ({}, "bad-request"), ({"retire_mwh": 1}, "bad-request"), ({"retire_mwh": 1, "to": 0}, "bad-request"),
                            ({"retire_mwh": 1, "for": "x" * 17}, "bad-request"), ({"retire_mwh": 1, "for": "é" * 9}, "bad-request"), ({"retire_mwh": 1, "for": 5}, "bad-request"),
                            ({"give_mwh": 1, "to": 0, "retire_mwh": 1}, "bad-request"), ({"give_mwh": 1, "to": 0, "fee": 1}, "bad-request")):
        assert asked(message) == reason, message
