"""Rules of the market as a block applies them: who may trade for how much, which tariff settles, losses by a head meter, the
feeder account shared out, members who come and go. Blocks are made by hand here; signatures are other tests' business."""
import paper
from prosumer.errors import Reject
from prosumer.identity.genesis import NO_LIMIT, Genesis
from prosumer.ledger import block
from prosumer.ledger.pool import check_order, credit_ucr
from prosumer.ledger.state import State
from prosumer.market.book import exposure_ucr
from prosumer.records import (
    PAY_IN, ROLE_GENERATES, ROLE_HEAD, ROLE_LEFT, ROLE_STORES, Amendment, Body, Commit, Order, Reading, Transfer)

OPERATOR = paper.signer("operator")
SIGNERS = [paper.signer("member %d" % i) for i in range(4)]
NIGHT = (127, 0, 360, 180000, 60000)
MIDNIGHT_S = 1751320800  # 1 July 2025 at UTC+2
ROLES = [ROLE_GENERATES, 0, ROLE_STORES, 0]
KWH = 1000000


def genesis(**changes):
    return Genesis(paper.make_genesis(OPERATOR, changes.pop("signers", SIGNERS), changes.pop("roles", ROLES), **changes))


def code(call, *args):
    try:
        call(*args)
    except Reject as e:
        return e.code
    return None


def order(member, buy=(), sell=(), slot=1):
    return Order(member, slot, bytes(16), buy, sell)


def reading(state, member, slot, taken=0, given=0, made=0, unread=0, **fields):
    """The next one of a member, with so much in its interval, and `unread` mWh of import before that."""
    a = state.accounts[member]
    if not a.next_seq:
        unread = 0
    numbers = dict(member=member, slot=slot, seq=a.next_seq, previous=a.head, import_mwh=a.import_mwh + taken + unread,
                   export_mwh=a.export_mwh + given, generation_mwh=a.generation_mwh + made, interval_import_mwh=taken,
                   interval_export_mwh=given, interval_generation_mwh=made, uncertainty_mwh=0, flags=0, accuracy=2, calibration=bytes(8))
    numbers.update(fields)
    return Reading(**numbers)


def play(g, state, slot, readings=(), orders=(), transfers=(), commits=(), evidence=(), amendments=()):
    """Execute a block; the sum of all accounts stays zero."""
    for o in orders:
        state.commits.setdefault(slot + 1, {})[o.member] = o.digest(g.feeder_id)
    body = Body(bytes(16), [], list(commits), list(orders), list(readings), list(transfers), list(evidence), list(amendments))
    cleared = block.execute(g, state, slot, body, lambda record: None)
    assert sum([a.balance_ucr for a in state.accounts]) + state.feeder_ucr + state.utility_ucr == 0
    assert State.parse(state.pack()).pack() == state.pack()
    return cleared


# -- who may trade, and for how much


def test_credit_is_balance_and_limit_less_what_open_trades_may_cost():
    g = genesis(credit=500000, loss=0, fee=0)
    state = State(g)
    assert check_order(g, state, order(1, [(250000, 2 * KWH)])) is None, "just covered"
    assert code(check_order, g, state, order(1, [(250000, 2 * KWH + 1)])) == "over-credit"
    assert code(check_order, g, state, order(0, (), [(100000, 4 * KWH)])) == "over-credit", "sold, not delivered, bought back at retail"
    assert check_order(g, state, order(0, (), [(100000, 3 * KWH)])) is None
    state.accounts[1].balance_ucr = 250000
    assert check_order(g, state, order(1, [(250000, 3 * KWH)])) is None
    state.trade(1, 200000, {1: (KWH, 0), 0: (0, KWH)})
    assert credit_ucr(g, state, 1) == 550000 and credit_ucr(g, state, 0) == 450000
    assert code(check_order, g, state, order(1, [(250000, 2 * KWH + 200001)])) == "over-credit"
    state.accounts[1].balance_ucr = -600000
    assert code(check_order, g, state, order(1, [(1, 1)])) == "over-credit"
    assert credit_ucr(genesis(credit=NO_LIMIT), state, 1) is None


def test_the_credit_of_a_block_is_that_before_it():
    """Whoever builds a block and whoever runs it agree, whatever readings and payments it brings."""
    g = genesis(credit=0, loss=0, fee=0)
    pay = Transfer(member=255, kind=PAY_IN, seq=0, to=1, amount=KWH, note=bytes(16))
    state = State(g)
    assert code(play, g, state, 0, (), [order(1, [(250000, KWH)])], [pay]) == "over-credit"
    state = State(g)
    play(g, state, 0, (), (), [pay])
    assert play(g, state, 1, (), [order(1, [(250000, KWH)], slot=2)]).import_mwh == KWH


def test_only_those_sell_who_can_have_something_to_sell():
    g = genesis()
    state = State(g)
    sell = [(100000, 5)]
    assert check_order(g, state, order(0, (), sell)) is check_order(g, state, order(2, (), sell)) is None
    assert code(check_order, g, state, order(1, (), sell)) == code(check_order, g, state, order(3, [(90000, 5)], sell)) == "cannot-sell"
    assert check_order(g, state, order(1, [(100000, 5)])) is None


def test_head_meters_and_those_who_left_or_lied_do_not_trade():
    g = genesis(roles=[ROLE_GENERATES, ROLE_LEFT, ROLE_HEAD, 0], loss=0)
    state = State(g)
    state.excluded = 8
    buy = [(100000, 5)]
    assert [code(check_order, g, state, order(m, buy)) for m in range(5)] == [None, "cannot-trade", "cannot-trade", "excluded", "not-a-member"]
    for m, reason in ((1, "cannot-trade"), (2, "cannot-trade"), (3, "excluded"), (4, "not-a-member"), (255, "not-a-member")):
        commit = Commit(member=m, slot=2, digest=bytes(32))
        assert code(play, g, State.parse(state.pack()), 0, (), (), (), [commit]) == reason


def test_an_order_that_has_the_limits_of_its_slots_tariff():
    g = genesis(start_s=MIDNIGHT_S - 900, bands=[NIGHT], loss=0, fee=0, credit=180000)
    state = State(g)
    assert check_order(g, state, order(1, [(180000, KWH)], slot=1)) is None
    assert exposure_ucr(g.tariff(0), (), [(100000, KWH)]) == 150000 and exposure_ucr(g.tariff(1), (), [(100000, KWH)]) == 80000


# -- which tariff settles


def test_each_slot_is_cleared_and_settled_at_its_own_tariff():
    g = genesis(start_s=MIDNIGHT_S - 900, bands=[NIGHT], loss=0, fee=0)
    state = State(g)
    buy = order(1, [(300000, KWH)])
    cleared = play(g, state, 0, (), [buy])
    assert cleared.price_ucr_per_kwh == 180000, "imported at the night's price"
    play(g, state, 1, [reading(state, 1, 0, taken=KWH)])
    assert state.accounts[1].balance_ucr == -250000, state.accounts[1].balance_ucr
    play(g, state, 2, [reading(state, 1, 1, taken=2 * KWH)])
    assert state.accounts[1].balance_ucr == -250000 - 180000 - 180000


def test_energy_of_nobody_knows_which_slot_costs_the_dearest_and_earns_the_least():
    g = genesis(start_s=MIDNIGHT_S, bands=[NIGHT, (127, 1080, 1440, 320000, 90000)], loss=0, fee=0)
    state = State(g)
    play(g, state, 1, [reading(state, 1, 0)])
    play(g, state, 4, [reading(state, 1, 3, taken=KWH, unread=KWH)])
    assert state.accounts[1].balance_ucr == -180000 - 320000
    play(g, state, 5, [reading(state, 1, 4, taken=KWH, flags=4)])
    assert state.accounts[1].balance_ucr == -180000 - 320000 - 180000, "a doubtful one of one slot: at that slot's"


def test_a_reading_of_too_low_a_class_settles_its_trade_as_if_it_were_missing():
    g = genesis(accuracy=2, loss=0, fee=0)
    results = []
    for accuracy in (1, 2, 3):
        state = State(g)
        play(g, state, 0, (), [order(1, [(250000, KWH)])])
        play(g, state, 2, [reading(state, 1, 1, taken=KWH, accuracy=accuracy)])
        results.append(state.accounts[1].balance_ucr)
    assert results == [-250000 + 80000 - 250000, -250000, -250000], "bought and not metered; then what it did take, at the tariff"


def test_a_reading_comes_in_time_or_its_trade_is_settled_without():
    g = genesis(correction=1800, loss=0, fee=0)
    for slot, balance in ((2, -250000), (3, -250000), (4, -250000 + 80000 - 250000)):
        state = State(g)
        play(g, state, 0, [], [order(1, [(250000, KWH)])])
        for s in range(1, slot):
            play(g, state, s)
        play(g, state, slot, [reading(state, 1, 1, taken=KWH)])
        assert state.accounts[1].balance_ucr == -250000, slot
        state = State(g)
        play(g, state, 0, [], [order(1, [(250000, KWH)])])
        for s in range(1, slot + 1):
            play(g, state, s)
        assert state.accounts[1].balance_ucr == (-170000 if slot == 4 else 0), (slot, state.accounts[1].balance_ucr)


# -- losses and the feeder account


def test_what_a_head_meter_shows_to_be_lost_is_bought_at_retail_once_all_are_read():
    g = genesis(roles=[ROLE_GENERATES, 0, 0, ROLE_HEAD], loss=0, fee=0, bands=[NIGHT], start_s=MIDNIGHT_S)
    state = State(g)

    def read(slot, nets, head):
        readings = []
        for m, net in enumerate(nets + [head]):
            if net is not None:
                readings.append(reading(state, m, slot, taken=max(0, net), given=max(0, -net)))
        before = state.feeder_ucr
        play(g, state, slot + 1, readings)
        return state.feeder_ucr - before

    assert read(0, [0, 0, 0], 7 * KWH) == 0, "the first reading of all says nothing yet"
    assert read(1, [-KWH, KWH, KWH], KWH + 100000) == -18000
    assert state.lost_mwh == 0
    assert read(2, [0, KWH, None], KWH + 500000) == 0 and state.lost_mwh == 500000, "one is late"
    play(g, state, 4, [reading(state, 0, 3), reading(state, 1, 3), reading(state, 2, 2, taken=400000), reading(state, 3, 3)])
    assert state.lost_mwh == 100000
    assert read(4, [0, 0, 0], 0) == -18000 and state.lost_mwh == 0
    assert read(5, [KWH, KWH, KWH], 3 * KWH - 1) == 1, "a head meter that lags: credited, rounded in the street's favour"
    assert state.accounts[3].balance_ucr == 0, "the head meter is no house"


def test_a_new_meters_house_has_lost_nothing_before_it():
    g = genesis(roles=[ROLE_GENERATES, 0, 0, ROLE_HEAD], loss=0, fee=0)
    state = State(g)
    for slot in range(3):  # member 2 has no meter yet
        play(g, state, slot + 1, [reading(state, m, slot, taken=KWH if m else 0) for m in (0, 1)] + [reading(state, 3, slot, taken=9 * KWH)])
    play(g, state, 4, [reading(state, m, 3) for m in (0, 1, 2, 3)])
    assert state.lost_mwh == 0 and state.feeder_ucr == 0
    play(g, state, 5, [reading(state, m, 4, taken=KWH) for m in (0, 1, 2)] + [reading(state, 3, 4, taken=3 * KWH + 1000)])
    assert state.feeder_ucr == -250


def test_the_feeder_account_is_shared_out_in_the_first_block_of_a_month():
    for feeder, part, rest in ((10, 3, 1), (9, 3, 0), (2, 0, 2), (0, 0, 0), (-1, -1, 2), (-3, -1, 0), (-7, -3, 2)):
        g = genesis(start_s=MIDNIGHT_S - 1800)
        state = State(g)
        play(g, state, 0)
        state.excluded = 1
        state.feeder_ucr, state.utility_ucr = feeder, -feeder
        play(g, state, 1)
        assert state.feeder_ucr == feeder
        play(g, state, 3)  # the block of slot 2, the first of July, is missing
        assert [a.balance_ucr for a in state.accounts] == [0, part, part, part] and state.feeder_ucr == rest >= 0
        state.feeder_ucr += 50
        state.utility_ucr -= 50
        play(g, state, 4)
        assert state.feeder_ucr == rest + 50, "once a month"


def test_open_trades_are_shared_out_as_what_they_will_come_to():
    """The pool has paid the utility for what it imports; the buyer pays the pool when he is read."""
    g = genesis(start_s=MIDNIGHT_S - 900, fee=40000, loss=0)
    state = State(g)
    play(g, state, 0, (), [order(0, (), [(100000, KWH)]), order(1, [(230000, KWH)])])
    trades = State.parse(state.pack())
    play(g, state, 1)
    assert [a.balance_ucr for a in state.accounts] == [10000] * 4 and state.feeder_ucr == -40000, "the fee of 40000"
    play(g, state, 2, [reading(state, 0, 1, given=KWH), reading(state, 1, 1, taken=KWH)])
    assert state.feeder_ucr == 0
    price = trades.accounts[0].open()[0][1]
    assert state.accounts[0].balance_ucr == price + 10000 and state.accounts[1].balance_ucr == -price - 40000 + 10000


# -- members come and go


def amended(g, signers=SIGNERS, roles=ROLES, **changes):
    return Genesis(paper.make_genesis(OPERATOR, signers, roles, before=g, **changes))


def test_an_amendment_lets_members_in_out_and_have_another_meter():
    g = genesis()
    state = State(g)
    play(g, state, 1, [reading(state, m, 0, taken=KWH) for m in range(4)])
    state.excluded = 6
    state.accounts[1].green_mwh = 77
    signers = [SIGNERS[0], paper.signer("another meter"), SIGNERS[2], SIGNERS[3], paper.signer("new house")]
    new = amended(g, signers, [ROLE_GENERATES, 0, 0, ROLE_LEFT, 0], retail=270000)
    play(g, state, 2, (), (), (), [Commit(member=m, slot=4, digest=bytes(32)) for m in (0, 3)], (), [Amendment(new.raw)])
    assert state.genesis == new.hash and len(state.accounts) == 5 and state.excluded == 4
    a = state.accounts[1]
    assert (a.next_seq, a.head, a.import_mwh, a.next_slot, a.green_mwh) == (0, bytes(32), 0, 1, 77) and a.balance_ucr == -250000
    assert sorted(state.commits[4]) == [0], "who left owes no order"
    assert code(play, g, state, 3) == "wrong-genesis"
    play(new, state, 3, [reading(state, 1, 2, taken=KWH, import_mwh=KWH), reading(state, 4, 2, taken=KWH)])
    assert a.balance_ucr == -250000 - 270000 and state.accounts[4].next_seq == 1
    assert code(play, new, state, 4, [reading(state, 3, 3)]) == "not-a-member"


def test_an_amendment_that_is_none():
    g = genesis()
    good = amended(g)
    for raw, reason in ((amended(good).raw, "not-a-successor"), (g.raw, "replayed"), (good.raw[:-1] + bytes([good.raw[-1] ^ 1]), "bad-operator-signature"),
                        (g.raw[:1] + b"\0\1" + g.raw[3:], "bad-operator-signature")):
        assert code(play, g, State(g), 0, (), (), (), (), (), [Amendment(raw)]) == reason


def test_who_left_is_read_until_the_last_trade_is_settled():
    g = genesis()
    state = State(g)
    play(g, state, 0, (), [order(3, [(300000, KWH)])])
    new = amended(g, roles=[ROLE_GENERATES, 0, 0, ROLE_LEFT])
    play(g, state, 1, (), (), (), (), (), [Amendment(new.raw)])
    play(new, state, 2, [reading(state, 3, 1, taken=KWH)])
    assert not [a for a in state.accounts if a.trades] and state.accounts[3].balance_ucr < 0
    assert code(play, new, state, 3, [reading(state, 3, 2)]) == "not-a-member"


def test_the_committee_of_a_large_street_changes_with_the_epoch_and_a_small_ones_never():
    many = [paper.signer("house %d" % i) for i in range(41)]
    for n, left, epoch in ((41, 0, 1), (41, 1, 0), (40, 0, 0)):
        g = genesis(signers=many[:n], roles=[ROLE_LEFT] * left + [0] * (n - left), fuses=[16] * n)
        state = State(g)
        play(g, state, 2015)
        assert state.epoch == 0 and state.regime() == State(g).regime()
        play(g, state, 2016)
        assert state.epoch == epoch, (n, left)


# -- what waits for a block


def test_a_day_of_open_trades_of_a_house_that_is_away_stays_small_on_the_heap():
    import gc
    g = genesis()
    state = State(g)
    for slot in range(96):
        state.trade(slot, 200000 + slot, {1: (KWH + slot, 0), 3: (0, KWH)})
    packed = state.pack()
    gc.collect()
    before = gc.mem_alloc()
    again = State.parse(packed)
    gc.collect()
    assert gc.mem_alloc() - before < 2 * 96 * 16 + 4096
    assert again.pack() == packed and again.accounts[1].open()[95] == (95, 200095, KWH + 95, 0) and again.fills(7) == {1: (KWH + 7, 0), 3: (0, KWH)}
    assert again.accounts[3].close(4) == (200004, 0, KWH) and again.accounts[3].close(4) == (0, 0, 0) and len(again.accounts[3].open()) == 95
