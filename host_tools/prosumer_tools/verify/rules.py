"""What a book must clear to and what a slot must cost, worked out apart from the firmware.

Clearing. The welfare problem's dual says what the traders and the grid together would gain at a price p:

    D(p) = Σ buy energy · max(0, limit − p) + Σ sell energy · max(0, p − limit)
           + import limit · max(0, p − retail) + export limit · max(0, feed-in − p)

D is convex and piecewise linear; its minimum is the largest welfare there is (LP duality), reached at the supporting prices.
So the price interval is where D is least among the prices of the book, and a set of fills is proven optimal by reaching
that same number. Everything is in integers and fractions; nothing is searched by halving.
"""
import math
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256

KWH = 1_000_000  # mWh


@dataclass
class Clearing:
    price_ucr_per_kwh: int
    congestion_ucr_per_kwh: int
    volume_mwh: int
    import_mwh: int
    export_mwh: int
    fills: dict  # member → (bought_mwh, sold_mwh)
    fault: str = ""  # why this result is not the best one: never, unless this file is wrong


def order_fault(genesis, order):
    """Why a price curve breaks the rules; None if it does not."""
    for what, steps, sign in (("buy", order.buy, -1), ("sell", order.sell, 1)):
        for price, energy in steps:
            if not genesis.min_price <= price <= genesis.max_price:
                return f"{what} price {price} is outside {genesis.min_price}…{genesis.max_price}"
            if not energy:
                return f"a {what} step without energy"
        if any(sign * (b - a) <= 0 for (a, _), (b, _) in zip(steps, steps[1:])):
            return f"{what} prices are not in order"
        if sum(e for _, e in steps) > genesis.fuse_mwh(order.member):
            return f"{what} steps add up to more than the member's fuse carries"
    if order.buy and order.sell and order.sell[0][0] <= order.buy[0][0]:
        return "buy and sell prices overlap"
    return None


def clear(slot, genesis, limits, orders):
    """`limits`: (import_limit_mwh, export_limit_mwh); `orders`: the checked orders of the slot."""
    retail, feed_in = genesis.retail, genesis.feed_in
    import_limit, export_limit = limits
    buys = [(p, e, o.member) for o in orders for p, e in o.buy]
    sells = [(p, e, o.member) for o in orders for p, e in o.sell]

    def dual(price):
        return (sum(e * max(0, p - price) for p, e, _ in buys) + sum(e * max(0, price - p) for p, e, _ in sells)
                + import_limit * max(0, price - retail) + export_limit * max(0, feed_in - price))

    gains = {p: dual(p) for p in {retail, feed_in} | {p for p, _, _ in buys + sells}}
    best = min(gains.values())
    low, high = min(p for p in gains if gains[p] == best), max(p for p in gains if gains[p] == best)
    if high >= feed_in and low <= retail:
        low, high = max(low, feed_in), min(high, retail)
    price = math.floor(Fraction(low + high, 2))

    # Indifferent sides trade all they can: first demand, then supply.
    wanted = sum(e for p, e, _ in buys if p >= price)
    offered = sum(e for p, e, _ in sells if p <= price)
    may_import = import_limit if price >= retail else 0 if price >= feed_in else -export_limit
    must_import = import_limit if price > retail else 0 if price > feed_in else -export_limit
    bought = min(wanted, offered + may_import)
    sold = min(offered, bought - must_import)

    fills = {o.member: [0, 0] for o in orders}
    _fill(slot, fills, 0, [s for s in buys if s[0] > price], [s for s in buys if s[0] == price], bought)
    _fill(slot, fills, 1, [s for s in sells if s[0] < price], [s for s in sells if s[0] == price], sold)
    volume = min(bought, sold)
    result = Clearing(price, max(0, price - retail, feed_in - price), volume, bought - volume, sold - volume,
                      {m: tuple(f) for m, f in fills.items()})
    result.fault = _not_optimal(result, genesis, limits, orders, best)
    return result


def _fill(slot, fills, side, better, marginal, total):
    """Better limits in full, limits at the price pro rata, one mWh each of what rounding leaves, by lot."""
    for _, energy, member in better:
        fills[member][side] += energy
    left = total - sum(e for _, e, _ in better)
    whole = sum(e for _, e, _ in marginal)
    shares = {m: Fraction(left * e, whole) for _, e, m in marginal}
    for m, share in shares.items():
        fills[m][side] += math.floor(share)
    left -= sum(math.floor(s) for s in shares.values())
    lots = {m: sha256(slot.to_bytes(8, "big") + m.to_bytes(2, "big") + bytes([side])).digest() for m in shares}
    for m in sorted((m for m in shares if shares[m].denominator != 1), key=lots.get)[:max(0, left)]:
        fills[m][side] += 1


def _value(steps, energy):
    """Worth of the first `energy` mWh of a side."""
    value = 0
    for price, most in steps:
        part = min(most, energy)
        value, energy = value + price * part, energy - part
    return value


def _not_optimal(c, genesis, limits, orders, best):
    bought, sold = sum(f[0] for f in c.fills.values()), sum(f[1] for f in c.fills.values())
    if bought != c.volume_mwh + c.import_mwh or sold != c.volume_mwh + c.export_mwh or c.import_mwh * c.export_mwh:
        return "energy is not in balance"
    if not (0 <= c.import_mwh <= limits[0] and 0 <= c.export_mwh <= limits[1]):
        return "the envelope is exceeded"
    welfare = c.export_mwh * genesis.feed_in - c.import_mwh * genesis.retail
    for o in orders:
        b, s = c.fills[o.member]
        if b > sum(e for _, e in o.buy) or s > sum(e for _, e in o.sell):
            return f"member {o.member} gets more than it asked for"
        welfare += _value(o.buy, b) - _value(o.sell, s)
    return "" if welfare == best else f"welfare {welfare} is not the largest, {best}"


# -- settlement


def up(price, energy):
    return math.ceil(Fraction(price * energy, KWH))


def down(price, energy):
    return math.floor(Fraction(price * energy, KWH))


@dataclass
class Entry:
    """What one settled slot of one member moves, ucr. `kind`: settled, missing, gap, penalty, share (of the feeder account) or payment."""

    member: int
    slot: int
    kind: str
    bought_mwh: int = 0
    sold_mwh: int = 0
    import_mwh: int = 0
    export_mwh: int = 0
    trade_ucr: int = 0
    loss_ucr: int = 0
    fee_ucr: int = 0
    imbalance_ucr: int = 0
    penalty_ucr: int = 0
    share_ucr: int = 0
    payment_ucr: int = 0
    utility_ucr: int = 0

    LEGS = ("trade_ucr", "loss_ucr", "fee_ucr", "imbalance_ucr", "penalty_ucr", "share_ucr", "payment_ucr")

    @property
    def member_ucr(self):
        return sum(getattr(self, leg) for leg in self.LEGS)

    @property
    def feeder_ucr(self):
        return -self.member_ucr - self.utility_ucr


def exposure(genesis, buy, sell):
    """The most that an order or an open trade can cost: buys at their limits with the local charges, or sales bought back at retail."""
    local = genesis.local_fee + math.ceil(Fraction(genesis.retail * genesis.loss_per_mille, 1000))
    cost = sum(Fraction((price + local) * energy, KWH) for price, energy in buy)
    risk = sum(Fraction(max(0, genesis.retail + local - price) * energy, KWH) for price, energy in sell)
    return math.ceil(max(cost, risk))


def charges(genesis, price):
    """((loss, fee) of a buyer, (loss, fee) of a seller) per local kWh: never worse than the utility's tariff."""
    loss = math.ceil(Fraction(genesis.retail * genesis.loss_per_mille, 1000))
    left_loss, left_fee, out = loss, genesis.local_fee, []
    for room in (genesis.retail - price, price - genesis.feed_in):
        room = max(0, room)
        pays_loss = min(left_loss, room)
        pays_fee = min(left_fee, room - pays_loss)
        left_loss, left_fee = left_loss - pays_loss, left_fee - pays_fee
        out.append((pays_loss, pays_fee))
    return tuple(out)


def settle(genesis, member, slot, kind, price, bought, sold, import_mwh, export_mwh):
    (buyer_loss, buyer_fee), (seller_loss, seller_fee) = charges(genesis, price)
    e = Entry(member, slot, kind, bought, sold, import_mwh, export_mwh)
    e.trade_ucr = down(price, sold) - up(price, bought)
    e.loss_ucr = -up(buyer_loss, bought) - up(seller_loss, sold)
    e.fee_ucr = -up(buyer_fee, bought) - up(seller_fee, sold)
    short = (import_mwh - export_mwh) - (bought - sold)
    if short > 0:
        e.imbalance_ucr, e.utility_ucr = -up(genesis.retail, short), down(genesis.retail, short)
    else:
        e.imbalance_ucr, e.utility_ucr = down(genesis.feed_in, -short), -up(genesis.feed_in, -short)
    return e


def pool_ucr(genesis, clearing):
    """What the feeder account gets from the utility for the street's own import, export and losses."""
    lost = math.ceil(Fraction(clearing.volume_mwh * genesis.loss_per_mille, 1000))
    return up(genesis.feed_in, clearing.export_mwh) - down(genesis.retail, clearing.import_mwh + lost)
