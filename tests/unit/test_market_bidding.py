"""Bidding: the curve's form, what it is worth by hand, and where it is cut."""
from prosumer.errors import Reject
from prosumer.market.bidding import MAX_STEPS, above, edges_of, make_order, marginal_value, position_at
from prosumer.market.book import check_curve
from prosumer.market.forecast import ALWAYS, LAPLACE
from prosumer.market.statement import make_tariff

RETAIL, FEED_IN = 250_000, 60_000
CAUTION = (RETAIL - FEED_IN) // 32
BIG = 10_000_000


class Dice:
    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self.state >> 8) % n


def total(steps):
    return sum([energy for _, energy in steps])


def test_a_sure_need_is_bought_at_retail_and_nothing_else():
    assert make_order(RETAIL, FEED_IN, 100_000, 0, (), BIG, 0) == (((RETAIL, 100_000),), ())
    assert make_order(RETAIL, FEED_IN, 100_000, 0, (), 70_000, 0) == (((RETAIL, 70_000),), ())


def test_a_sure_surplus_is_sold_from_feed_in_up():
    buy, sell = make_order(RETAIL, FEED_IN, -100_000, 0, (), 0, 100_000)
    assert buy == () and sell == ((FEED_IN, 100_000),)


def test_probability_is_the_table_and_between_it_a_line():
    assert above(0, 100) == 2048 and above(-1, 0) == ALWAYS and above(1, 0) == 0 and above(0, 0) == 2048
    assert above(75, 100) == LAPLACE[7] and above(-75, 100) == LAPLACE[3]
    assert above(600, 100) == 0 and above(-601, 100) == ALWAYS
    assert LAPLACE[7] > above(100, 100) > LAPLACE[8]
    last = ALWAYS
    for excess in range(-700, 700, 7):
        assert above(excess, 100) <= last
        last = above(excess, 100)


def test_the_even_odds_unit_is_worth_the_middle_of_the_tariff():
    edges = edges_of(RETAIL, FEED_IN, ())
    assert edges == [(0, RETAIL - FEED_IN)]
    assert marginal_value(100_000, 100_000, 30_000, FEED_IN, edges) == (RETAIL + FEED_IN) // 2
    assert marginal_value(-BIG, 100_000, 30_000, FEED_IN, edges) == RETAIL
    assert marginal_value(BIG, 100_000, 30_000, FEED_IN, edges) == FEED_IN


def test_a_battery_adds_steps_on_both_sides_of_the_need():
    # may give 40 Wh for 200000 and take 50 Wh at 120000; need exactly 100 Wh
    flex = [(200_000, 0, 40_000), (120_000, 50_000, 0)]
    assert edges_of(RETAIL, FEED_IN, flex) == [(-40_000, 50_000), (0, 80_000), (50_000, 60_000)]
    buy, sell = make_order(RETAIL, FEED_IN, 100_000, 0, flex, 200_000, 0)
    assert buy == ((RETAIL, 60_000), (200_000 - CAUTION, 40_000), (120_000 - CAUTION, 50_000))
    assert sell == ()


def test_a_full_battery_is_offered_above_its_worth():
    assert make_order(RETAIL, FEED_IN, 0, 0, [(110_000, 0, 80_000)], 0, 80_000)[1] == ((110_000 + CAUTION, 80_000),)


def test_a_car_that_must_charge_bids_retail_and_one_that_may_its_value():
    buy, _ = make_order(RETAIL, FEED_IN, 100_000, 0, [(RETAIL, 30_000, 0), (90_000, 70_000, 0)], 200_000, 0)
    assert buy == ((RETAIL, 130_000), (90_000 - CAUTION, 70_000))


def test_charges_of_the_street_are_left_out_of_buy_limits_and_kept_above_by_sell_limits():
    buy, sell = make_order(RETAIL, FEED_IN, 50_000, 40_000, (), BIG, 0, 20_000)
    for price, _ in buy:
        assert price == RETAIL or price <= RETAIL - 20_000 - CAUTION
    buy, _ = make_order(RETAIL, FEED_IN, 100_000, 0, [(150_000, 50_000, 0)], BIG, 0, 20_000)
    assert buy == ((RETAIL, 100_000), (150_000 - CAUTION - 20_000, 50_000))
    _, sell = make_order(RETAIL, FEED_IN, -50_000, 40_000, (), 0, BIG, 20_000)
    assert sell and sell[-1][0] <= RETAIL - 20_000


def test_every_order_is_one_the_book_takes():
    dice = Dice(11)
    tariff = make_tariff(RETAIL, FEED_IN)
    for _ in range(300):
        need, deviation = dice.below(600_000) - 300_000, dice.below(200_000) * dice.below(2)
        flex = [(dice.below(300_000), dice.below(2) * dice.below(500_000), 0) for _ in range(dice.below(4))]
        flex += [(dice.below(300_000), 0, dice.below(500_000)) for _ in range(dice.below(4))]
        most = dice.below(800_000), dice.below(800_000)
        buy, sell = make_order(RETAIL, FEED_IN, need, deviation, flex, most[0], most[1], dice.below(2) * 20_000)
        check_curve(buy, sell, tariff)
        assert len(buy) <= MAX_STEPS and len(sell) <= MAX_STEPS
        assert total(buy) <= most[0] and total(sell) <= most[1]
        for price, energy in buy + sell:
            assert FEED_IN <= price <= RETAIL and energy > 0 and type(price) is int and type(energy) is int


def test_free_feed_in_makes_no_step_without_a_price():
    tariff = make_tariff(RETAIL, 0)
    buy, sell = make_order(RETAIL, 0, -50_000, 20_000, (), BIG, BIG)
    check_curve(buy, sell, tariff)
    assert sell[0][0] >= 1
    assert make_order(RETAIL, 0, 0, 0, [(RETAIL // 32, 50_000, 0)], BIG, 0) == ((), ())


def test_one_price_for_both_directions_leaves_nothing_to_gain_and_no_broken_order():
    buy, sell = make_order(RETAIL, RETAIL, 50_000, 20_000, (), BIG, BIG)
    check_curve(buy, sell, make_tariff(RETAIL, RETAIL))


def test_the_dearest_units_are_kept_apart_when_steps_are_joined():
    buy, _ = make_order(RETAIL, FEED_IN, 1_000_000, 100_000, (), BIG, 0)
    assert len(buy) == MAX_STEPS
    assert buy[0] == (RETAIL, 1_000_000 - 600_000)      # beyond six deviations: surely needed


def test_position_of_an_order_at_a_price():
    buy, sell = ((200, 5), (150, 7)), ((170, 3), (220, 9))
    assert [position_at(buy, sell, p) for p in (140, 150, 151, 170, 200, 201, 220)] == [12, 12, 5, 2, 2, -3, -12]


def test_impossible_inputs_are_refused():
    for bad in ((1, 2, 0, 0), (2, -1, 0, 0), (2, 1, 0, -1)):
        try:
            make_order(*bad)
        except Reject as e:
            assert e.code == "order-inputs"
        else:
            assert False, bad
