"""Order → clearing: one price for a slot that every meter computes alike, whatever order the orders came in.

A uniform-price double auction (pay-as-clear). The grid is a seller at retail and a buyer at feed-in, as far
as the envelope lets it. The outcome maximises

    Σ buy limit · bought  −  Σ sell limit · sold  −  retail · import  +  feed-in · export

subject to   Σ sold + import = Σ bought + export,  import ≤ import limit,  export ≤ export limit,

and import or export is zero, being the net flow at the head of the feeder. A price *supports* that outcome
when everybody is content with it: buy limits above it are filled, below it not, sell limits the other way
round, and the grid takes part only from retail up or from feed-in down. Supporting prices form an interval:

    low    the lowest price at which demand strictly above it finds enough supply
    high   the highest price at which demand at or above it still takes up all cheaper supply

*Price*: the middle of the interval, rounded down. Where the interval meets [feed-in, retail], only the part
inside counts, so nobody pays for congestion that is not there: the price leaves the tariff's range exactly
when a wider envelope would have raised the welfare, and `congestion_ucr_per_kwh` says how far (the shadow
price of the limit that binds). An end that nothing bounds (no sellers and no import, or no buyers and no
export) is the tariff's, or the other end where that lies beyond.

*Volume*: at the price, sides that are indifferent trade as much as they can. First all the demand that
supply and import can carry, then all the supply that demand and export can take. Both are largest at once,
so this is also the most member-to-member trade, then the most demand filled, then the most export.

*Marginal steps* (limits equal to the price) share what is left pro rata, each rounded down; the left-over
mWh go one each to members whose share was rounded, in the order of
SHA-256(slot, 8 bytes ‖ member, 2 bytes ‖ side, 1 byte: 0 buy, 1 sell ‖ seed), big-endian.

*Money*: import happens at prices ≥ retail only and export at ≤ feed-in only, so buyers' payments cover sellers
and grid, and what remains is the congestion rent congestion · (import + export) / 10⁶; see settlement.
"""
from hashlib import sha256

from prosumer.errors import Reject
from prosumer.market.book import check_curve, check_envelope, check_member

_BUY = 0
_SELL = 1


class Clearing:
    """The result of one slot. `fills` is {member: (bought_mwh, sold_mwh)}; walk it by `sorted(fills)` only."""

    def __init__(self, price, congestion, volume, imported, exported, fills):
        self.price_ucr_per_kwh = price
        self.congestion_ucr_per_kwh = congestion
        self.volume_mwh = volume
        self.import_mwh = imported
        self.export_mwh = exported
        self.fills = fills


def _sides(orders, price):
    """(demand above, demand at or above, supply below, supply at or below) a price, in mWh."""
    demand = at_demand = supply = at_supply = 0
    for _, buy, sell in orders:
        for limit, energy in buy:
            if limit < price:
                break
            if limit == price:
                at_demand += energy
                break
            demand += energy
        for limit, energy in sell:
            if limit > price:
                break
            if limit == price:
                at_supply += energy
                break
            supply += energy
    return demand, demand + at_demand, supply, supply + at_supply


def _grid(tariff, envelope, price):
    """(least, most) net import in mWh that suits the grid at a price; negative is export."""
    retail = tariff.retail_ucr_per_kwh
    feed_in = tariff.feed_in_ucr_per_kwh
    least = envelope[0] if price > retail else 0 if price > feed_in else -envelope[1]
    most = envelope[0] if price >= retail else 0 if price >= feed_in else -envelope[1]
    return least, most


def _interval(tariff, envelope, orders):
    """The ends (low, high) of the supporting prices, which are among the prices that stand in the book."""
    prices = [tariff.retail_ucr_per_kwh, tariff.feed_in_ucr_per_kwh]
    for _, buy, sell in orders:
        for step in buy:
            prices.append(step[0])
        for step in sell:
            prices.append(step[0])
    prices.sort()

    first, last = 0, len(prices) - 1  # the lowest price with enough supply; the last one always has
    while first < last:
        middle = (first + last) // 2
        demand, _, _, supply = _sides(orders, prices[middle])
        if demand <= supply + _grid(tariff, envelope, prices[middle])[1]:
            last = middle
        else:
            first = middle + 1
    low = prices[first]

    high = low  # the highest price with enough demand: few prices lie between, as each would have to change nothing
    while first < len(prices):
        if prices[first] > high:
            _, demand, supply, _ = _sides(orders, prices[first])
            if demand < supply + _grid(tariff, envelope, prices[first])[0]:
                break
            high = prices[first]
        first += 1
    return low, high


def _middle(tariff, low, high):
    retail = tariff.retail_ucr_per_kwh
    feed_in = tariff.feed_in_ucr_per_kwh
    if low <= retail and high >= feed_in:
        low = max(low, feed_in)
        high = min(high, retail)
    return (low + high) // 2


def _fill(fills, orders, price, available, slot, side, seed):
    """Fill one side at a price: better steps in full, `available` mWh pro rata among the marginal ones."""
    marginal = []  # (member, energy_mwh), their sum is at least what is available
    total = 0
    for order in orders:
        member = order[0]
        filled = 0
        for limit, energy in order[1 + side]:
            if limit == price:
                marginal.append((member, energy))
                total += energy
                break
            if (limit < price) != side:  # not better, and neither are those that follow
                break
            filled += energy
        fills[member][side] = filled
    rounded = []
    left = available
    for member, energy in marginal:
        part, rest = divmod(energy * available, total)
        fills[member][side] += part
        left -= part
        if rest:
            turn = sha256(slot.to_bytes(8, "big") + member.to_bytes(2, "big") + bytes((side,)) + seed).digest()
            rounded.append((turn, member))
    rounded.sort()
    for _, member in rounded[:left]:
        fills[member][side] += 1


def _check(slot, envelope, tariff, orders):
    if type(slot) is not int or not 0 <= slot < 1 << 64:
        raise Reject("slot-out-of-range")
    check_envelope(envelope)
    seen = set()
    for member, buy, sell in orders:
        check_member(member)
        check_curve(buy, sell, tariff)
        if member in seen:
            raise Reject("order-duplicate")
        seen.add(member)


def clear(slot, tariff, envelope, orders, seed=b""):
    """Clear one slot: `orders` is a sequence of (member, buy, sell), in any order; see the module's text.

    Raises Reject with the code of `check_curve`, 'order-duplicate', 'order-member-unknown', 'envelope-…' or
    'slot-out-of-range'; to refuse one order without harming the others, check each before it goes in.
    """
    _check(slot, envelope, tariff, orders)
    low, high = _interval(tariff, envelope, orders)
    price = _middle(tariff, low, high)

    demand, most_demand, supply, most_supply = _sides(orders, price)
    least_grid, most_grid = _grid(tariff, envelope, price)
    bought = min(most_demand, most_supply + most_grid)
    sold = min(most_supply, bought - least_grid)

    fills = {order[0]: [0, 0] for order in orders}
    _fill(fills, orders, price, bought - demand, slot, _BUY, seed)
    _fill(fills, orders, price, sold - supply, slot, _SELL, seed)
    for member in fills:
        fills[member] = tuple(fills[member])

    congestion = max(0, price - tariff.retail_ucr_per_kwh, tariff.feed_in_ucr_per_kwh - price)
    volume = min(bought, sold)
    return Clearing(price, congestion, volume, bought - volume, sold - volume, fills)
