"""The order book: what a tariff, an envelope and a price curve must look like before anything is cleared.

    Tariff(retail_ucr_per_kwh, feed_in_ucr_per_kwh, min_price…, max_price…, local_fee_ucr_per_kwh, loss_per_mille)
    envelope   (import_limit_mwh, export_limit_mwh) of the feeder for one slot
    order      (member, buy, sell), each side a sequence of at most 8 (price_ucr_per_kwh, energy_mwh)

A curve says: buy falls strictly in price, sell rises strictly, and every sell limit lies above every buy
limit of the same member, so that at one price nobody trades with himself. Everything is an integer:
prices stay below 2**30 so that they are small ints on a 32-bit chip too. Refusals are `Reject(code)`.
"""
from collections import namedtuple

from micropython import const

from prosumer.errors import Reject

MAX_STEPS = const(8)
MAX_MEMBER = const(0xFFFF)
PRICE_CEILING = const(0x3FFFFFFF)  # 1073 credits per kWh
ENERGY_CEILING = const(0x3FFFFFFF)  # 1073 kWh in one slot, more than any house fuse carries in an hour
_LIMIT_CEILING = const(1 << 48)  # of a whole feeder
_MWH_PER_KWH = const(1000000)

Tariff = namedtuple("Tariff", (
    "retail_ucr_per_kwh",  # what the utility asks, all in
    "feed_in_ucr_per_kwh",  # what it pays
    "min_price_ucr_per_kwh", "max_price_ucr_per_kwh",  # bounds of every limit in an order
    "local_fee_ucr_per_kwh",  # for energy that stays in the street, instead of the grid part inside retail
    "loss_per_mille",  # of that energy, where no feeder-head meter says better
))


def check_envelope(envelope):
    """Two integers from zero up, or Reject('envelope-…')."""
    if len(envelope) != 2:
        raise Reject("envelope-malformed")
    for limit in envelope:
        if type(limit) is not int:
            raise Reject("envelope-not-integer")
        if not 0 <= limit <= _LIMIT_CEILING:
            raise Reject("envelope-out-of-range")


def _check_side(steps, tariff, rising, max_energy_mwh):
    if len(steps) > MAX_STEPS:
        raise Reject("order-too-many-steps")
    total = 0
    last = None
    for step in steps:
        if len(step) != 2:
            raise Reject("order-step-malformed")
        price, energy = step
        if type(price) is not int or type(energy) is not int:
            raise Reject("order-not-integer")
        if energy <= 0:
            raise Reject("order-energy-not-positive")
        if not tariff.min_price_ucr_per_kwh <= price <= tariff.max_price_ucr_per_kwh:
            raise Reject("order-price-out-of-bounds")
        if last is not None and (price <= last if rising else price >= last):
            raise Reject("order-not-monotone")
        last = price
        total += energy
        if total > max_energy_mwh:
            raise Reject("order-energy-too-large")


def check_curve(buy, sell, tariff, max_energy_mwh=ENERGY_CEILING):
    """Refuse a price curve that breaks a rule above; `max_energy_mwh` bounds each side's sum."""
    _check_side(buy, tariff, False, max_energy_mwh)
    _check_side(sell, tariff, True, max_energy_mwh)
    if buy and sell and sell[0][0] <= buy[0][0]:
        raise Reject("order-sides-overlap")


def check_member(member):
    if type(member) is not int or not 0 <= member <= MAX_MEMBER:
        raise Reject("order-member-unknown")


def exposure_ucr(tariff, buy, sell):
    """The most that this order can cost its member, to hold against balance + credit limit.

    Bought energy at its limit with the local charges on top; sold energy that is not delivered is bought
    back at retail. Only one side of an order can be filled, so it is the larger of the two.
    """
    local = tariff.local_fee_ucr_per_kwh + (tariff.retail_ucr_per_kwh * tariff.loss_per_mille + 999) // 1000
    cost = sum([(price + local) * energy for price, energy in buy])
    risk = sum([max(0, tariff.retail_ucr_per_kwh + local - price) * energy for price, energy in sell])
    return -(-max(cost, risk) // _MWH_PER_KWH)
