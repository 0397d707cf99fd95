"""What the accounts of a slot are made of: for statements and reports; the ledger itself only adds entries up."""
from collections import namedtuple

from prosumer.market.settlement import gets, pays, pool_with_utility

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
