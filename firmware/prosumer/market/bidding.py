"""From a forecast to an order: a price curve that says what each further unit is worth to this house.

A position is net energy bought for a slot, in mWh (negative: sold). What is not traded is settled at the tariff, a
shortfall at retail, a surplus at feed-in. So the q-th unit bought is worth, with a net need x known only in distribution,

    m(q) = retail * P(x > q) + feed_in * P(x < q)

the newsvendor's marginal value: it falls with q, from retail (surely needed) to feed-in (surely left over). Where m(q) is
above the price the house buys, below it sells; one falling curve is both sides of the order, cut at q = 0, and that sell
limits lie above buy limits is a property of it. No price makes such an order lose on average: at price p it is filled up to
m(q) = p, where the risk of the last unit just pays.

Storage and shiftable loads add steps between the two tariffs: they take up a surplus (or give up what they take) at their
own value before the tariff does. With edges y of the steps and drops d in value at them, the curve is the same convolved:

    m(q) = feed_in + sum of d * P(x > q - y)

P comes from the forecast: how often the house's net exceeded its forecast by so many mean absolute deviations.
"""
from micropython import const

from prosumer.errors import Reject
from prosumer.market.forecast import ALWAYS, AT, LAPLACE

MAX_STEPS = const(8)
_CAUTION = const(32)    # a trade must promise 1/32 of what the tariff leaves between its prices, for what no forecast knows


def above(excess_mwh, deviation_mwh, tails=LAPLACE):
    """P(error > excess) in 1/4096, interpolated in the table of `tails` (see forecast.AT)."""
    z = excess_mwh * 8
    if deviation_mwh <= 0:
        return tails[len(AT) // 2] if not z else ALWAYS if z < 0 else 0
    high = 0
    while high < len(AT) and z >= AT[high] * deviation_mwh:
        high += 1
    if high == 0 or high == len(AT):
        return 0 if high else ALWAYS
    low = high - 1
    return tails[low] - (tails[low] - tails[high]) * (z - AT[low] * deviation_mwh) // ((AT[high] - AT[low]) * deviation_mwh)


def marginal_value(position_mwh, need_mwh, deviation_mwh, feed_in, edges, tails=LAPLACE):
    """Value in ucr/kWh of one more unit at this position. `edges` are (y_mwh, drop_ucr_per_kwh)."""
    value = 0
    for y, drop in edges:
        value += drop * above(position_mwh - y - need_mwh, deviation_mwh, tails)
    return feed_in + value // ALWAYS


def edges_of(retail, feed_in, flex):
    """Edges (y_mwh, drop) of the value of a surplus: retail, then the steps of `flex` by falling value, then feed-in.

    `flex` holds (value_ucr_per_kwh, take_mwh, give_mwh): a step would take `take_mwh` of surplus at that value, or is a
    part of what would be given (discharged) below it, so it lies left of zero.
    """
    steps = sorted([(min(max(value, feed_in), retail), take + give) for value, take, give in flex if take + give > 0],
                   reverse=True)
    y = -sum([give for _, _, give in flex])
    level, edges = retail, []
    for value, energy in steps:
        edges.append((y, level - value))
        level = value
        y += energy
    edges.append((y, level - feed_in))
    return [e for e in edges if e[1] > 0]


def make_order(retail, feed_in, need_mwh, deviation_mwh, flex=(), max_buy_mwh=0, max_sell_mwh=0, local=0, tails=LAPLACE):
    """The order for one slot: (buy, sell), each a tuple of (price_ucr_per_kwh, energy_mwh).

    `need_mwh` is forecast consumption - generation without the flexible devices, `deviation_mwh` its mean absolute error and
    `tails` its distribution (Forecast.tails). Buy limits fall strictly, sell limits rise strictly and lie above them, all
    within [feed_in, retail]; at most 8 steps and `max_buy_mwh`, `max_sell_mwh` (fuse, credit, what the house can have) a
    side. `local` is what a kWh that stays in the street costs beside its price (fee and losses, ucr): the buyer bears it
    up to retail, the seller only beyond that.
    """
    if not 0 <= feed_in <= retail or min(deviation_mwh, max_buy_mwh, max_sell_mwh, local) < 0:
        raise Reject("order-inputs")
    edges = edges_of(retail, feed_in, flex)
    cuts = {-max_sell_mwh, 0, max_buy_mwh}
    for y, _ in edges:
        for z in AT:
            cuts.add(min(max(need_mwh + y + z * deviation_mwh // 8, -max_sell_mwh), max_buy_mwh))
    cuts = sorted(cuts)
    caution = (retail - feed_in) // _CAUTION
    buy, sell = [], []
    for i in range(len(cuts) - 1):
        low, high = cuts[i], cuts[i + 1]
        value = marginal_value((low + high) // 2, need_mwh, deviation_mwh, feed_in, edges, tails)
        if low >= 0:
            if value < retail:
                value -= caution + local
            if value >= max(feed_in, 1):        # a limit of 0 is none
                buy.append([value, high - low])
        else:
            if value > feed_in:
                value = min(value + caution, retail)
            if value + local <= retail or not local:
                sell.append([value, high - low])
    sell.reverse()                      # outwards from zero, as the steps of an order stand
    buy = _few(buy)
    floor = buy[0][0] + 1 if buy else max(feed_in, 1)
    for step in sell:
        step[0] = max(step[0], floor)
    return _order(buy), _order([s for s in _few(sell) if s[0] <= retail])


def position_at(buy, sell, price):
    """Net energy (mWh, bought positive) an order comes to at a clearing price when its marginal step is filled."""
    return sum([e for p, e in buy if p >= price]) - sum([e for p, e in sell if p <= price])


def _few(steps):
    """Join neighbouring steps of one price, then those that lose least by a common price until 8 are left."""
    while len(steps) > 1:
        at, least = 0, None
        for i in range(len(steps) - 1):
            (p, e), (q, f) = steps[i], steps[i + 1]
            loss = -1 if p == q else (p - q) * (p - q) // ALWAYS * (e * f // (e + f))
            if least is None or loss < least:
                at, least = i, loss
        if least >= 0 and len(steps) <= MAX_STEPS:
            break
        (p, e), (q, f) = steps[at], steps[at + 1]
        steps[at:at + 2] = [[(p * e + q * f) // (e + f), e + f]]
    return steps


def _order(steps):
    return tuple([(price, energy) for price, energy in steps])
