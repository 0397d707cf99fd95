"""Settlement by hand-worked slots; the books balance in every one of them."""
from prosumer.market.settlement import (
    correct, gets, local_charges, lost_mwh, pays, settle, settle_open)
from prosumer.market.statement import books, make_tariff, settle_missing, utility_only

TARIFF = make_tariff(300000, 80000, local_fee=20000, loss_per_mille=50)  # a local kWh loses 15000 ucr of energy
PLAIN = make_tariff(300000, 80000)
KWH = 1000000


def legs(entry):
    return entry.trade_ucr, entry.loss_ucr, entry.fee_ucr, entry.imbalance_ucr, entry.short_mwh, entry.long_mwh


def imbalance(tariff, *numbers):
    return legs(correct(tariff, *numbers))[3:]


def balanced(b, entries, penalty=0):
    for e in entries:
        assert e.member_ucr + e.feeder_ucr + e.utility_ucr == 0
        assert e.member_ucr == e.trade_ucr + e.loss_ucr + e.fee_ucr + e.imbalance_ucr
    assert sum([e.member_ucr for e in entries]) - penalty + b.feeder_ucr + b.utility_ucr == 0
    assert b.feeder_ucr == b.rent_ucr + b.loss_ucr + b.fee_ucr + b.penalty_ucr + b.rounding_ucr
    assert b.rounding_ucr >= 0
    return True


def test_buyers_round_up_and_sellers_down():
    assert (pays(3, 333333), gets(3, 333333)) == (1, 0)
    assert (pays(3, KWH), gets(3, KWH)) == (3, 3)
    assert (pays(1, 1), gets(1, 1), pays(5, 0), gets(5, 0)) == (1, 0, 0, 0)
    assert pays(0x3FFFFFFF, 0x3FFFFFFF) == gets(0x3FFFFFFF, 0x3FFFFFFF) + 1 == 1152921502460


def test_exact_delivery_has_no_imbalance():
    buyer = settle(PLAIN, 190000, KWH, 0, KWH, 0)
    seller = settle(PLAIN, 190000, 0, KWH, 0, KWH)
    assert buyer == (-190000, 190000, 0, -190000, 0, 0, 0, 0, 0)
    assert seller == (190000, -190000, 0, 190000, 0, 0, 0, 0, 0)
    b = books(PLAIN, [buyer, seller])
    assert balanced(b, [buyer, seller]) and b.feeder_ucr == b.utility_ucr == 0


def test_shortfall_is_bought_at_retail_and_surplus_sold_at_feed_in():
    assert imbalance(PLAIN, KWH, 0, 3 * KWH, 0) == (-600000, 2 * KWH, 0)
    assert imbalance(PLAIN, KWH, 0, 0, KWH) == (160000, 0, 2 * KWH)
    assert imbalance(PLAIN, 0, KWH, 0, KWH // 2) == (-150000, KWH // 2, 0)
    assert imbalance(PLAIN, 0, KWH, 0, 2 * KWH) == (80000, 0, KWH)
    assert imbalance(PLAIN, 0, 0, 1, 0) == (-1, 1, 0)  # 0.3 ucr rounded up against the buyer
    assert imbalance(PLAIN, 0, 0, 0, 1) == (0, 0, 1)


def test_short_and_long_go_through_the_utility():
    entries = [settle(PLAIN, 190000, KWH, 0, KWH + 7, 0), settle(PLAIN, 190000, 0, KWH, 0, KWH + 5)]
    b = books(PLAIN, entries)
    assert balanced(b, entries)
    assert b.utility_ucr == 2 - 1 and b.rounding_ucr == 2  # 2.1 → 2 got, 0.4 → 1 paid; members 3 and 0


def test_local_charges_fall_on_the_buyer_as_far_as_retail_and_then_on_the_seller():
    assert local_charges(TARIFF, 190000) == ((15000, 20000), (0, 0))
    assert local_charges(TARIFF, 290000) == ((10000, 0), (5000, 20000))
    assert local_charges(TARIFF, 300000) == ((0, 0), (15000, 20000))
    assert local_charges(TARIFF, 450000) == ((0, 0), (15000, 20000))
    assert local_charges(TARIFF, 80000) == ((15000, 20000), (0, 0))
    tight = make_tariff(100000, 90000, local_fee=20000, loss_per_mille=50)  # charges of 25000 in a gap of 10000
    assert local_charges(tight, 95000) == ((5000, 0), (0, 5000))


def test_fees_and_losses_reach_the_feeder_account_and_lost_energy_is_bought():
    entries = [settle(TARIFF, 190000, KWH, 0, KWH, 0), settle(TARIFF, 190000, 0, KWH, 0, KWH)]
    assert legs(entries[0]) == (-190000, -15000, -20000, 0, 0, 0)
    loss = lost_mwh(TARIFF, KWH)
    assert loss == 50000
    b = books(TARIFF, entries, loss_mwh=loss)
    assert balanced(b, entries)
    assert b == (20000, 15000, 0, 0, 20000, 0, 0)
    better = books(TARIFF, entries, loss_mwh=lost_mwh(TARIFF, KWH, 30000, 0))  # a head meter saw 30 Wh lost
    assert balanced(better, entries) and better.loss_ucr == 15000 - 9000 and better.utility_ucr == 9000


def test_head_meter_below_the_members_means_no_loss():
    assert lost_mwh(TARIFF, KWH, 100, 130) == 0
    assert lost_mwh(TARIFF, KWH, -100, -130) == 30
    assert lost_mwh(TARIFF, 1) == 1 and lost_mwh(TARIFF, 0) == 0


def test_congestion_rent_goes_to_the_feeder_account():
    buyer = settle(PLAIN, 450000, KWH, 0, KWH, 0)
    b = books(PLAIN, [buyer], import_mwh=KWH, congestion=150000)
    assert balanced(b, [buyer]) and b == (150000, 300000, 150000, 0, 0, 0, 0)
    seller = settle(PLAIN, 15000, 0, KWH, 0, KWH)
    b = books(PLAIN, [seller], export_mwh=KWH, congestion=65000)
    assert balanced(b, [seller]) and b == (65000, -80000, 65000, 0, 0, 0, 0)


def test_penalties_go_to_the_feeder_account():
    b = books(PLAIN, [], penalty_ucr=1234)
    assert balanced(b, [], 1234) and b.feeder_ucr == 1234


def test_a_missing_reading_leaves_the_imbalance_open_until_it_comes():
    waiting = settle_open(TARIFF, 190000, 0, KWH)
    assert legs(waiting) == (190000, 0, 0, 0, 0, 0)
    late = correct(TARIFF, 0, KWH, 0, KWH + 5)
    whole = settle(TARIFF, 190000, 0, KWH, 0, KWH + 5)
    assert [a + b for a, b in zip(waiting, late)] == list(whole)
    assert balanced(books(TARIFF, [late]), [late])


def test_after_the_window_the_missing_reading_rule_holds():
    assert imbalance(PLAIN, 0, KWH) == (-300000, KWH, 0)  # seller: bought back at retail
    assert imbalance(PLAIN, KWH, 0) == (80000, 0, KWH)  # buyer: sold at feed-in
    entries = [settle_missing(PLAIN, 190000, 0, KWH), settle(PLAIN, 190000, KWH, 0, KWH, 0)]
    assert legs(entries[0]) == (190000, 0, 0, -300000, KWH, 0)
    b = books(PLAIN, entries)
    assert balanced(b, entries) and (b.feeder_ucr, b.utility_ucr) == (0, 300000)


def test_who_trades_nothing_pays_the_utility_bill():
    for imported, exported in ((KWH, 0), (0, KWH), (5, 3), (3, 5), (0, 0)):
        assert settle(TARIFF, 190000, 0, 0, imported, exported).member_ucr == utility_only(TARIFF, imported, exported)
    assert utility_only(TARIFF, KWH, 0) == -300000 and utility_only(TARIFF, 0, KWH) == 80000


def test_delivering_what_was_traded_is_never_worse_than_the_utility():
    for price in range(80000, 300001, 5500):
        bought = settle(TARIFF, price, 777777, 0, 777777, 0).member_ucr
        sold = settle(TARIFF, price, 0, 777777, 0, 777777).member_ucr
        assert bought >= utility_only(TARIFF, 777777, 0) - 2 and sold >= utility_only(TARIFF, 0, 777777) - 2
