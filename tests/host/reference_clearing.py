"""The clearing worked out a second time, by other means, so that the firmware's can be held against it.

`welfare_by_lp` asks SciPy's HiGHS for the optimum of the linear program as designed. `by_exhaustion` tries every pair
of totals (bought, sold) and every price of a small book and takes the best by the words of the definition; it knows
nothing of bisection. `by_vertices` does the same for books of any size, trying only the totals at which
an optimum can lie: the objective is linear between the ends of steps, so lines through those and through the limits
of the grid cross at every candidate. Books and results are as in `prosumer clear`.
"""
from fractions import Fraction
from hashlib import sha256
from itertools import accumulate, product

import numpy as np
from scipy.optimize import linprog


def steps_of(book, side):
    """[(price, energy, member)] of one side of the whole book."""
    return [(price, energy, order["member"]) for order in book["orders"] for price, energy in order.get(side, [])]


def terms(book):
    """(retail, feed_in, import limit, export limit)."""
    return (book["tariff"]["retail_ucr_per_kwh"], book["tariff"]["feed_in_ucr_per_kwh"],
            book["envelope"]["import_limit_mwh"], book["envelope"]["export_limit_mwh"])


def welfare_by_lp(book):
    """The optimal welfare in ucr·mWh/kWh (a float), import and export being two variables as designed."""
    retail, feed_in, import_limit, export_limit = terms(book)
    buy, sell = steps_of(book, "buy"), steps_of(book, "sell")
    cost = np.array([-p for p, _, _ in buy] + [p for p, _, _ in sell] + [retail, -feed_in], float)
    balance = np.array([[1.0] * len(buy) + [-1.0] * len(sell) + [-1.0, 1.0]])
    bounds = [(0, e) for _, e, _ in buy + sell] + [(0, import_limit), (0, export_limit)]
    done = linprog(cost, A_eq=balance, b_eq=[0.0], bounds=bounds, method="highs")
    assert done.status == 0, done.message
    return -done.fun


def _best_first(steps, total):
    """Value of filling `total` mWh of steps that are sorted best first."""
    value = 0
    for price, energy, _ in steps:
        part = min(energy, total)
        value += price * part
        total -= part
    return value


def welfare_of(book, result):
    """The exact welfare that a result reaches; each member's best limits fill first, which is what a fill means."""
    retail, feed_in, _, _ = terms(book)
    fills = {f["member"]: f for f in result["fills"]}
    value = feed_in * result["export_mwh"] - retail * result["import_mwh"]
    for order in book["orders"]:
        m = order["member"]
        value += _best_first([(p, e, m) for p, e in order.get("buy", [])], fills[m]["bought_mwh"])
        value -= _best_first([(p, e, m) for p, e in order.get("sell", [])], fills[m]["sold_mwh"])
    return value


def supports(book, price, bought, sold):
    """Is everybody content with these totals at this price?"""
    retail, feed_in, import_limit, export_limit = terms(book)
    buy, sell = steps_of(book, "buy"), steps_of(book, "sell")
    wanted = sum(e for p, e, _ in buy if p > price), sum(e for p, e, _ in buy if p >= price)
    offered = sum(e for p, e, _ in sell if p < price), sum(e for p, e, _ in sell if p <= price)
    net = bought - sold
    if price > retail:
        grid = net == import_limit
    elif price < feed_in:
        grid = net == -export_limit
    else:
        grid = (0 <= net or price == feed_in) and (net <= 0 or price == retail)
    return grid and wanted[0] <= bought <= wanted[1] and offered[0] <= sold <= offered[1]


def _shares(book, side, price, total, seed):
    """{member: mWh} of one side: better limits in full, limits at the price pro rata, remainders by hash."""
    steps = steps_of(book, side)
    better = (lambda p: p > price) if side == "buy" else (lambda p: p < price)
    shares = {order["member"]: 0 for order in book["orders"]}
    for p, e, m in steps:
        if better(p):
            shares[m] += e
    marginal = {m: e for p, e, m in steps if p == price}
    left = total - sum(shares.values())
    if not marginal:
        assert left == 0
        return shares
    exact = {m: Fraction(left * e, sum(marginal.values())) for m, e in marginal.items()}
    for m in exact:
        shares[m] += int(exact[m])
    left -= sum(int(x) for x in exact.values())

    def turn(m):
        return sha256(book["slot"].to_bytes(8, "big") + m.to_bytes(2, "big")
                      + (b"\0" if side == "buy" else b"\1") + seed).digest()

    for m in sorted((m for m in exact if exact[m].denominator > 1), key=turn)[:left]:
        shares[m] += 1
    return shares


def _result(book, totals, prices):
    """The result of a book, tried over pairs of totals and over prices (both must hold the right ones)."""
    retail, feed_in, import_limit, export_limit = terms(book)
    buy, sell = sorted(steps_of(book, "buy"), reverse=True), sorted(steps_of(book, "sell"))
    value = {bought: _best_first(buy, bought) for bought in {t[0] for t in totals}}
    cost = {sold: _best_first(sell, sold) for sold in {t[1] for t in totals}}
    allowed = [(b, s) for b, s in totals if -export_limit <= b - s <= import_limit]
    bought, sold = max(allowed, key=lambda t: (
        value[t[0]] - cost[t[1]] - retail * max(t[0] - t[1], 0) + feed_in * max(t[1] - t[0], 0),
        min(t), t[0], max(t[1] - t[0], 0)))

    content = [p for p in prices if supports(book, p, bought, sold)]
    low, high = min(content), max(content)
    if supports(book, -1, bought, sold):  # nothing bounds it from below
        low = min(feed_in, high)
    if supports(book, 1 << 40, bought, sold):
        high = max(retail, low)
    if low <= retail and high >= feed_in:
        low, high = max(low, feed_in), min(high, retail)
    price = (low + high) // 2

    seed = bytes.fromhex(book.get("seed", ""))
    bought_by, sold_by = _shares(book, "buy", price, bought, seed), _shares(book, "sell", price, sold, seed)
    volume = min(bought, sold)
    return {"slot": book["slot"], "price_ucr_per_kwh": price,
            "congestion_ucr_per_kwh": max(0, price - retail, feed_in - price), "volume_mwh": volume,
            "import_mwh": bought - volume, "export_mwh": sold - volume,
            "fills": [{"member": m, "bought_mwh": bought_by[m], "sold_mwh": sold_by[m]} for m in sorted(bought_by)]}


def by_exhaustion(book):
    """The whole result of a small book (a few dozen mWh and ucr) by trying everything."""
    buy, sell = steps_of(book, "buy"), steps_of(book, "sell")
    totals = list(product(range(sum(e for _, e, _ in buy) + 1), range(sum(e for _, e, _ in sell) + 1)))
    return _result(book, totals, range(max([terms(book)[0]] + [p for p, _, _ in buy + sell]) + 2))


def by_vertices(book):
    """The whole result of any book, by the vertices of its totals and the prices that stand in it."""
    retail, feed_in, import_limit, export_limit = terms(book)
    buy, sell = sorted(steps_of(book, "buy"), reverse=True), sorted(steps_of(book, "sell"))
    bought = [0, *accumulate(e for _, e, _ in buy)]
    sold = [0, *accumulate(e for _, e, _ in sell)]
    totals = set(product(bought, sold))
    for net in (0, import_limit, -export_limit):
        totals |= {(b, b - net) for b in bought if 0 <= b - net <= sold[-1]}
        totals |= {(s + net, s) for s in sold if 0 <= s + net <= bought[-1]}
    return _result(book, sorted(totals), {retail, feed_in, *(p for p, _, _ in buy + sell)})
