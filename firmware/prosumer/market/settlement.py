"""Clearing → settlement: what each member pays or gets for a slot, to the last micro-credit. Pure functions.

Trades are against the pool at the one clearing price. A member's *entry* has these legs (ucr, negative: pays):

    trade      bought or sold energy · clearing price
    loss, fee  for energy that stays in the street: the energy lost on the way, bought at retail, and the local
               network fee that replaces the grid part inside retail
    imbalance  metered net against traded net: what is short is bought at retail, what is over sold at feed-in

Every leg of a buyer is rounded up and of a seller down. Retail and feed-in are the utility's all-in prices, so
imported and exported energy bears no local charge. The charges of a local kWh, loss before fee, fall on the
buyer as far as price + charges ≤ retail, and the rest on the seller as far as price − charges ≥ feed-in:
nobody is worse off than under the utility's tariff, and where retail − feed-in covers the charges they are
paid in full. A buyer pays them only below retail, where nothing is imported, and a seller only above
feed-in, where nothing is exported; so one member's entry needs only his own numbers and the price.

Counter-entries (`close`): the *utility* sells import, short and lost energy at retail and buys export and
surplus at feed-in; the *feeder account* gets all else: congestion rent, fees, loss charges less the losses
paid, penalties and the rounding. All changes add up to zero.

A reading that is missing or flagged faulty: trade, loss and fee legs stand at once (`settle` with import and
export None); the imbalance waits for the late reading, at most the correction window (24 h, genesis). After
that `worst_case` holds, as if nothing had been metered: sold energy is bought back at retail, bought energy
sold at feed-in. The registers never decrease, so energy of such slots turns up in the next reading's advance
and is settled there at the tariff (`imbalance` with nothing traded).
"""
from collections import namedtuple

from micropython import const

_MWH_PER_KWH = const(1000000)

Entry = namedtuple("Entry", ("trade_ucr", "loss_ucr", "fee_ucr", "imbalance_ucr", "short_mwh", "long_mwh"))
Books = namedtuple("Books", (
    "feeder_ucr", "utility_ucr",  # changes of the two accounts
    "rent_ucr", "loss_ucr", "fee_ucr", "penalty_ucr", "rounding_ucr",  # what feeder_ucr is made of
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


def imbalance(tariff, bought_mwh, sold_mwh, import_mwh, export_mwh):
    """(change_ucr, short_mwh, long_mwh) for what was metered beyond what was traded."""
    short = import_mwh - export_mwh - bought_mwh + sold_mwh
    if short > 0:
        return -pays(tariff.retail_ucr_per_kwh, short), short, 0
    return gets(tariff.feed_in_ucr_per_kwh, -short), 0, -short


def worst_case(tariff, bought_mwh, sold_mwh):
    """The imbalance leg when no valid reading came within the correction window; as `imbalance`."""
    return imbalance(tariff, bought_mwh, sold_mwh, 0, 0)


def settle(tariff, price, bought_mwh, sold_mwh, import_mwh, export_mwh):
    """A member's `Entry` for a slot; with import_mwh None the imbalance leg is left open, its fields 0."""
    of_buyer, of_seller = local_charges(tariff, price)
    trade = gets(price, sold_mwh) - pays(price, bought_mwh)
    loss = -pays(of_buyer[0], bought_mwh) - pays(of_seller[0], sold_mwh)
    fee = -pays(of_buyer[1], bought_mwh) - pays(of_seller[1], sold_mwh)
    if import_mwh is None:
        return Entry(trade, loss, fee, 0, 0, 0)
    change, short, long = imbalance(tariff, bought_mwh, sold_mwh, import_mwh, export_mwh)
    return Entry(trade, loss, fee, change, short, long)


def correction(tariff, bought_mwh, sold_mwh, import_mwh, export_mwh):
    """The `Entry` that closes an open imbalance leg later, by a late reading or, with None, by the worst case."""
    if import_mwh is None:
        import_mwh = export_mwh = 0
    change, short, long = imbalance(tariff, bought_mwh, sold_mwh, import_mwh, export_mwh)
    return Entry(0, 0, 0, change, short, long)


def change_ucr(entry):
    """What an entry does to its member's balance."""
    return entry.trade_ucr + entry.loss_ucr + entry.fee_ucr + entry.imbalance_ucr


def lost_mwh(tariff, volume_mwh, head_net_mwh=None, members_net_mwh=None):
    """Energy lost in the feeder in a slot: between head meter and members where there is one, else by rule.

    Nets are import − export. A head meter that shows less than the members do means no loss, not a gain.
    """
    if head_net_mwh is None:
        return -(-volume_mwh * tariff.loss_per_mille // 1000)
    return max(0, head_net_mwh - members_net_mwh)


def close(tariff, entries, import_mwh=0, export_mwh=0, congestion=0, loss_mwh=0, penalty_ucr=0):
    """The counter-entries (`Books`) of a slot's entries, or of later corrections (then all else is 0).

    import, export and congestion are the clearing's; penalty_ucr is what members pay beside their entries.
    """
    members = loss = fee = 0
    bought_mwh = import_mwh + loss_mwh
    sold_mwh = export_mwh
    for entry in entries:
        members += change_ucr(entry)
        loss -= entry.loss_ucr
        fee -= entry.fee_ucr
        bought_mwh += entry.short_mwh
        sold_mwh += entry.long_mwh
    utility = gets(tariff.retail_ucr_per_kwh, bought_mwh) - pays(tariff.feed_in_ucr_per_kwh, sold_mwh)
    feeder = penalty_ucr - members - utility
    rent = gets(congestion, import_mwh + export_mwh)
    loss -= pays(tariff.retail_ucr_per_kwh, loss_mwh)
    return Books(feeder, utility, rent, loss, fee, penalty_ucr, feeder - rent - loss - fee - penalty_ucr)


def utility_only(tariff, import_mwh, export_mwh):
    """What the same slot would have changed without the market: its net at the utility's tariff, ucr."""
    return imbalance(tariff, 0, 0, import_mwh, export_mwh)[0]
