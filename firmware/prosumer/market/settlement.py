"""Clearing → settlement: what each member pays or gets for a slot, to the last micro-credit. Pure functions.

Trades are against the pool at the one clearing price. A member's *entry* has these legs (ucr, negative: pays):

    trade      bought or sold energy · clearing price
    loss, fee  for energy that stays in the street: the energy lost on the way, bought at retail, and the local
               network fee that replaces the grid part inside retail
    imbalance  metered net against traded net: what is short is bought at retail, what is over sold at feed-in

Every leg of a buyer is rounded up and of a seller down. Retail and feed-in are the utility's all-in prices, so
imported and exported energy bears no local charge. The charges of a local kWh, loss before fee, fall on the
buyer as far as price + charges ≤ retail, and the rest on the seller as far as price − charges ≥ feed-in:
no charge makes a trade worse than the utility's tariff, and where retail − feed-in covers the charges they are
paid in full. A buyer pays them only below retail, where nothing is imported, and a seller only above
feed-in, where nothing is exported; so one member's entry needs only his own numbers and the price.

Counter-entries: the *utility* sells import, short and lost energy at retail and buys export and surplus at
feed-in; being on the other side, it gets rounded down and pays rounded up. The *feeder account* is the pool and
takes the rest: `pool_with_utility` at the clearing, then its side of every entry. What stays there is the congestion
rent, fees, loss charges less the losses paid, and the rounding, which never is against it. Every entry adds up to zero.

A reading that is missing or flagged faulty: trade, loss and fee legs stand (`settle_open`); the imbalance waits
for the late reading (`correct`), at most the correction window (24 h). After that `settle_missing` holds, as if
nothing had been metered: sold energy is bought back at retail, bought energy sold at feed-in. The registers never
decrease, so energy of such slots turns up in the next reading's advance and is settled there at the tariff
(`settle` with nothing traded).
"""
from collections import namedtuple

from micropython import const

_MWH_PER_KWH = const(1000000)

Entry = namedtuple("Entry", (
    "member_ucr", "feeder_ucr", "utility_ucr",  # changes of the three accounts, zero in sum
    "trade_ucr", "loss_ucr", "fee_ucr", "imbalance_ucr",  # what member_ucr is made of
    "short_mwh", "long_mwh",
))


def pays(price_ucr_per_kwh, energy_mwh):
    """Cost in whole ucr, rounded up."""
    return -(-price_ucr_per_kwh * energy_mwh // _MWH_PER_KWH)


def gets(price_ucr_per_kwh, energy_mwh):
    """Revenue in whole ucr, rounded down."""
    return price_ucr_per_kwh * energy_mwh // _MWH_PER_KWH


def local_charges(tariff, price):
    """((loss, fee) of a buyer, (loss, fee) of a seller), ucr per local kWh at a clearing price."""
    loss = pays(tariff.retail_ucr_per_kwh, tariff.loss_per_mille * 1000)
    charges = loss + tariff.local_fee_ucr_per_kwh
    of_buyer = min(charges, max(0, tariff.retail_ucr_per_kwh - price))
    of_seller = min(charges - of_buyer, max(0, price - tariff.feed_in_ucr_per_kwh))
    buyer_loss = min(loss, of_buyer)
    seller_loss = min(loss - buyer_loss, of_seller)
    return (buyer_loss, of_buyer - buyer_loss), (seller_loss, of_seller - seller_loss)


def _entry(tariff, trade, loss, fee, short):
    """Add the imbalance leg for `short` mWh (negative: long) and the counter-entries."""
    if short > 0:
        imbalance = -pays(tariff.retail_ucr_per_kwh, short)
        utility = gets(tariff.retail_ucr_per_kwh, short)
    else:
        imbalance = gets(tariff.feed_in_ucr_per_kwh, -short)
        utility = -pays(tariff.feed_in_ucr_per_kwh, -short)
    member = trade + loss + fee + imbalance
    return Entry(member, -member - utility, utility, trade, loss, fee, imbalance, max(0, short), max(0, -short))


def _trade(tariff, price, bought_mwh, sold_mwh):
    of_buyer, of_seller = local_charges(tariff, price)
    return (gets(price, sold_mwh) - pays(price, bought_mwh),
            -pays(of_buyer[0], bought_mwh) - pays(of_seller[0], sold_mwh),
            -pays(of_buyer[1], bought_mwh) - pays(of_seller[1], sold_mwh))


def settle(tariff, price, bought_mwh, sold_mwh, import_mwh, export_mwh):
    """A member's `Entry` for a slot with a valid reading."""
    trade, loss, fee = _trade(tariff, price, bought_mwh, sold_mwh)
    return _entry(tariff, trade, loss, fee, import_mwh - export_mwh - bought_mwh + sold_mwh)


def settle_open(tariff, price, bought_mwh, sold_mwh):
    """The `Entry` while the reading is awaited: trade, loss and fee; `correct` closes it later."""
    trade, loss, fee = _trade(tariff, price, bought_mwh, sold_mwh)
    return _entry(tariff, trade, loss, fee, 0)


def correct(tariff, bought_mwh, sold_mwh, import_mwh=0, export_mwh=0):
    """The imbalance left open by `settle_open`: by the late reading, or by the missing-reading rule without one."""
    return _entry(tariff, 0, 0, 0, import_mwh - export_mwh - bought_mwh + sold_mwh)


def lost_mwh(tariff, volume_mwh, head_net_mwh=None, members_net_mwh=None):
    """Energy lost in the feeder in a slot: between head meter and members where there is one, else by rule.

    Nets are import − export. A head meter that shows less than the members do means no loss, not a gain.
    """
    if head_net_mwh is None:
        return -(-volume_mwh * tariff.loss_per_mille // 1000)
    return max(0, head_net_mwh - members_net_mwh)


def pool_with_utility(tariff, import_mwh, export_mwh, loss_mwh=0):
    """What the pool's own dealings of a slot change in the feeder account, and the other way round in the utility's."""
    return (pays(tariff.feed_in_ucr_per_kwh, export_mwh)
            - gets(tariff.retail_ucr_per_kwh, import_mwh + loss_mwh))
