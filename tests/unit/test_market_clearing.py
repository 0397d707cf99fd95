"""Clearing by hand-worked books: the definition, one rule a test. Wider: tests/host/test_clearing_reference.py."""
import gc

from prosumer.errors import Reject
from prosumer.market.book import check_curve, exposure_ucr
from prosumer.market.clearing import clear
from prosumer.market.statement import make_tariff

TARIFF = make_tariff(300000, 80000)
WIDE = (10**9, 10**9)
KWH = 1000000


def summary(c):
    return c.price_ucr_per_kwh, c.congestion_ucr_per_kwh, c.volume_mwh, c.import_mwh, c.export_mwh


def code_of(call, *args):
    try:
        call(*args)
    except Reject as e:
        return e.code
    return None


def test_price_is_the_middle_between_buyer_and_seller_rounded_down():
    c = clear(1, TARIFF, WIDE, [(0, [(250001, KWH)], []), (1, [], [(100000, KWH)])])
    assert summary(c) == (175000, 0, KWH, 0, 0)
    assert c.fills == {0: (KWH, 0), 1: (0, KWH)}


def test_interval_is_cut_to_the_tariff_where_it_meets_it():
    c = clear(1, TARIFF, (0, 0), [(0, [(9000000, KWH)], []), (1, [], [(100000, KWH)])])
    assert summary(c) == (200000, 0, KWH, 0, 0)


def test_shortage_without_congestion_trades_at_retail_and_imports():
    c = clear(1, TARIFF, WIDE, [(0, [(300000, 3 * KWH)], []), (1, [], [(100000, KWH)])])
    assert summary(c) == (300000, 0, KWH, 2 * KWH, 0)


def test_surplus_without_congestion_trades_at_feed_in_and_exports():
    c = clear(1, TARIFF, WIDE, [(0, [(300000, KWH)], []), (1, [], [(80000, 3 * KWH)])])
    assert summary(c) == (80000, 0, KWH, 0, 2 * KWH)


def test_import_congestion_lifts_the_price_to_the_marginal_buyer():
    c = clear(1, TARIFF, (KWH, KWH), [(0, [(500000, KWH), (400000, KWH)], []), (1, [(350000, KWH)], [])])
    assert summary(c) == (450000, 150000, 0, KWH, 0)  # supported by any price from 400000 to 500000
    c = clear(1, TARIFF, (KWH + 1, KWH), [(0, [(500000, KWH), (400000, KWH)], []), (1, [(350000, KWH)], [])])
    assert summary(c) == (400000, 100000, 0, KWH + 1, 0)
    assert c.fills == {0: (KWH + 1, 0), 1: (0, 0)}


def test_export_congestion_drops_the_price_to_the_marginal_seller():
    c = clear(1, TARIFF, (KWH, KWH), [(0, [], [(10000, KWH), (20000, KWH)])])
    assert summary(c) == (15000, 65000, 0, 0, KWH)
    c = clear(1, TARIFF, (KWH, KWH + 1), [(0, [], [(10000, KWH), (20000, KWH)])])
    assert summary(c) == (20000, 60000, 0, 0, KWH + 1)


def test_limit_that_is_just_enough_is_no_congestion():
    c = clear(1, TARIFF, (KWH, 0), [(0, [(500000, KWH)], [])])
    assert summary(c) == (300000, 0, 0, KWH, 0)


def test_indifferent_steps_trade_first_with_members_then_fill_then_export():
    at_retail = [(0, [(300000, 2 * KWH)], []), (1, [], [(300000, KWH)])]
    assert summary(clear(1, TARIFF, WIDE, at_retail)) == (300000, 0, KWH, KWH, 0)
    at_feed_in = [(0, [(80000, KWH)], []), (1, [], [(80000, 2 * KWH)])]
    assert summary(clear(1, TARIFF, WIDE, at_feed_in)) == (80000, 0, KWH, 0, KWH)
    flat = make_tariff(100000, 100000)
    same = [(0, [(100000, 2 * KWH)], []), (1, [], [(100000, KWH)])]
    assert summary(clear(1, flat, WIDE, same)) == (100000, 0, KWH, KWH, 0)


def test_empty_book_has_the_middle_of_the_tariff_as_its_price():
    for envelope in (WIDE, (0, 0), (0, 5), (5, 0)):
        assert summary(clear(1, TARIFF, envelope, [])) == (190000, 0, 0, 0, 0)


def test_island_with_one_side_only():
    assert summary(clear(1, TARIFF, (0, 0), [(0, [(200000, KWH)], [])])) == (250000, 0, 0, 0, 0)
    assert summary(clear(1, TARIFF, (0, 0), [(0, [(500000, KWH)], [])])) == (500000, 200000, 0, 0, 0)
    assert summary(clear(1, TARIFF, (0, 0), [(0, [], [(20000, KWH)])])) == (20000, 60000, 0, 0, 0)


def test_marginal_buyers_share_pro_rata_and_the_left_over_goes_by_hash():
    sellers = [(9, [], [(100000, 100)])]
    buyers = [(m, [(200000, 70)], []) for m in range(3)] + [(3, [(150000, 50)], [])]
    c = clear(7, TARIFF, (0, 0), buyers + sellers)
    got = [c.fills[m][0] for m in range(3)]
    assert sorted(got) == [33, 33, 34] and c.fills[3] == (0, 0)
    lucky = set()
    for slot in range(40):
        c = clear(slot, TARIFF, (0, 0), buyers + sellers)
        lucky.add([c.fills[m][0] for m in range(3)].index(34))
    assert lucky == {0, 1, 2}
    seeds = {clear(7, TARIFF, (0, 0), buyers + sellers, bytes((s,))).fills[0] for s in range(20)}
    assert len(seeds) == 2


def test_known_remainders():
    # independent: sha256 of 8 + 2 + 1 bytes, computed with CPython's hashlib; the lowest digest first
    buyers = [(m, [(200000, 1)], []) for m in range(5)]
    c = clear(2, TARIFF, (0, 0), buyers + [(7, [], [(100000, 2)])])
    assert [m for m in range(5) if c.fills[m][0]] == [2, 4]


def test_order_of_arrival_does_not_matter():
    orders = [(m, [(300000 - 1000 * m, 70 + m)], [(310000 + m, 5)]) for m in range(6)]
    orders += [(m, [], [(100000, 33), (120000 + m, 90)]) for m in range(6, 9)]
    first = clear(3, TARIFF, (50, 50), orders, b"s")
    for turn in range(1, 9):
        other = clear(3, TARIFF, (50, 50), orders[turn:] + orders[:turn], b"s")
        assert summary(other) == summary(first) and other.fills == first.fills


def test_a_full_street_leaves_the_heap_alone():
    orders = [(m, [(290000 - 1000 * i - m, 1000 + m) for i in range(8)],
               [(291000 + 1000 * i + m, 900) for i in range(8)]) for m in range(64)]
    clear(1, TARIFF, (50000, 0), orders)
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    c = clear(1, TARIFF, (50000, 0), orders)
    used = gc.mem_alloc() - before
    gc.enable()
    gc.collect()
    assert used < 36000 and gc.mem_alloc() - before < 4500, (used, gc.mem_alloc() - before)
    assert len(c.fills) == 64


def test_bad_curves_are_refused():
    for buy, sell, code in (
        ([(200000, 0)], [], "order-energy-not-positive"),
        ([(200000, -5)], [], "order-energy-not-positive"),
        ([(-1, 5)], [], "order-price-out-of-bounds"),
        ([(0, 5)], [], "order-price-out-of-bounds"),
        ([(1 << 30, 5)], [], "order-price-out-of-bounds"),
        ([(200000, 1 << 40)], [], "order-energy-too-large"),
        ([(2, 600000000), (1, 600000000)], [], "order-energy-too-large"),
        ([(2, 1), (2, 1)], [], "order-not-monotone"),
        ([(2, 1), (3, 1)], [], "order-not-monotone"),
        ([], [(3, 1), (2, 1)], "order-not-monotone"),
        ([], [(3, 1), (3, 1)], "order-not-monotone"),
        ([(5, 1)], [(5, 1)], "order-sides-overlap"),
        ([(6, 1)], [(5, 1)], "order-sides-overlap"),
        ([(20 - i, 1) for i in range(9)], [], "order-too-many-steps"),
        ([], [(20 + i, 1) for i in range(9)], "order-too-many-steps"),
        ([(2.0, 1)], [], "order-not-integer"),
        ([(2, 1.5)], [], "order-not-integer"),
        ([(2, 1, 1)], [], "order-step-malformed"),
    ):
        assert code_of(check_curve, buy, sell, TARIFF) == code, (buy, sell, code)
        assert code_of(clear, 1, TARIFF, WIDE, [(0, buy, sell)]) == code
    assert code_of(check_curve, [(5, 10)], [(6, 10)], TARIFF, 10) is None
    assert code_of(check_curve, [(5, 11)], [(6, 10)], TARIFF, 10) == "order-energy-too-large"
    narrow = make_tariff(300000, 80000, 50000, 400000)
    assert code_of(check_curve, [(400000, 1)], [], narrow) is None
    assert code_of(check_curve, [(400001, 1)], [], narrow) == "order-price-out-of-bounds"
    assert code_of(check_curve, [], [(49999, 1)], narrow) == "order-price-out-of-bounds"


def test_bad_books_are_refused():
    one = (0, [(200000, 5)], [])
    assert code_of(clear, 1, TARIFF, WIDE, [one, one]) == "order-duplicate"
    assert code_of(clear, -1, TARIFF, WIDE, [one]) == "slot-out-of-range"
    assert code_of(clear, 1 << 64, TARIFF, WIDE, [one]) == "slot-out-of-range"
    assert code_of(clear, 1, TARIFF, (-1, 0), [one]) == "envelope-out-of-range"
    assert code_of(clear, 1, TARIFF, (1.0, 0), [one]) == "envelope-not-integer"
    assert code_of(clear, 1, TARIFF, (1,), [one]) == "envelope-malformed"
    assert code_of(clear, 1, TARIFF, WIDE, [(70000, [], [])]) == "order-member-unknown"
    assert code_of(clear, 1, TARIFF, WIDE, [(-1, [], [])]) == "order-member-unknown"


def test_bad_tariffs_are_refused():
    assert code_of(make_tariff, 80000, 80001) == "tariff-out-of-order"
    assert code_of(make_tariff, 80000, 0, 90000) == "tariff-out-of-order"
    assert code_of(make_tariff, 80000, 0, 1, 70000) == "tariff-out-of-order"
    assert code_of(make_tariff, 80000, -1) == "tariff-out-of-range"
    assert code_of(make_tariff, 80000, 0, 1, 1 << 30) == "tariff-out-of-range"
    assert code_of(make_tariff, 80000, 1, 1, 90000, 0, 1001) == "tariff-out-of-range"
    assert code_of(make_tariff, 80000.0, 1) == "tariff-not-integer"
    assert make_tariff(80000, 80000).loss_per_mille == 0


def test_exposure_is_the_most_an_order_can_cost():
    tariff = make_tariff(300000, 80000, local_fee=20000, loss_per_mille=50)  # 15000 for losses
    assert exposure_ucr(tariff, [(200000, 2 * KWH), (100000, KWH)], []) == 2 * 235000 + 135000
    assert exposure_ucr(tariff, [], [(100000, 2 * KWH), (400000, KWH)]) == 2 * 235000
    assert exposure_ucr(tariff, [], []) == 0
