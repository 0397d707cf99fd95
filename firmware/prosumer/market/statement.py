"""What the accounts of a slot are made of, and what else statements and reports ask for: no meter does, so it is on no image."""
from collections import namedtuple

from prosumer.errors import Reject
from prosumer.market.book import PRICE_CEILING, Tariff
from prosumer.market.settlement import correct, gets, pays, pool_with_utility, settle

Books = namedtuple("Books", (
    "feeder_ucr", "utility_ucr",  # changes of the two accounts
    "rent_ucr", "loss_ucr", "fee_ucr", "penalty_ucr", "rounding_ucr",  # what feeder_ucr is made of
))


def books(tariff, entries, import_mwh=0, export_mwh=0, congestion=0, loss_mwh=0, penalty_ucr=0):
    """The `Books` of a slot's entries, or of later corrections alone (then all else is 0).

    import, export and congestion are the clearing's; penalty_ucr is what members pay beside their entries.
    """
    feeder = pool_with_utility(tariff, import_mwh, export_mwh, loss_mwh)
    utility = -feeder
    feeder += penalty_ucr
    loss = -pays(tariff.retail_ucr_per_kwh, loss_mwh)
    fee = 0
    for entry in entries:
        feeder += entry.feeder_ucr
        utility += entry.utility_ucr
        loss -= entry.loss_ucr
        fee -= entry.fee_ucr
    rent = gets(congestion, import_mwh + export_mwh)
    return Books(feeder, utility, rent, loss, fee, penalty_ucr, feeder - rent - loss - fee - penalty_ucr)


def make_tariff(retail, feed_in, min_price=None, max_price=PRICE_CEILING, local_fee=0, loss_per_mille=0):
    """A checked `Tariff`; Reject('tariff-out-of-order') unless 0 ≤ min ≤ feed-in ≤ retail ≤ max.

    Without a lower bound, limits are at least 1 ucr, or 0 where feed-in is 0.
    """
    if min_price is None:
        min_price = 1 if feed_in else 0
    tariff = Tariff(retail, feed_in, min_price, max_price, local_fee, loss_per_mille)
    for number in tariff:
        if type(number) is not int:
            raise Reject("tariff-not-integer")
        if not 0 <= number <= PRICE_CEILING:
            raise Reject("tariff-out-of-range")
    if not min_price <= feed_in <= retail <= max_price:
        raise Reject("tariff-out-of-order")
    if loss_per_mille > 1000:
        raise Reject("tariff-out-of-range")
    return tariff


def settle_missing(tariff, price, bought_mwh, sold_mwh):
    """The whole `Entry` by the missing-reading rule, for a member that settles only once the window is over."""
    return settle(tariff, price, bought_mwh, sold_mwh, 0, 0)


def utility_only(tariff, import_mwh, export_mwh):
    """What the same slot would have changed without the market: its net at the utility's tariff, ucr."""
    return correct(tariff, 0, 0, import_mwh, export_mwh).member_ucr
