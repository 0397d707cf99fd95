"""The clearing worked out a second time, by other means, so that the firmware's can be held against it.

`welfare_by_lp` asks SciPy's HiGHS for the optimum of the linear program in DESIGN terms. `by_exhaustion` tries every
pair of totals (bought, sold) and every price of a small book and takes the best by the words of the definition; it
knows nothing of breakpoints or bisection. Books are as in `prosumer clear`.
"""
from fractions import Fraction
from hashlib import sha256

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


def by_exhaustion(book):
    """The whole result of a small book (a few dozen mWh and ucr) by trying everything."""
    retail, feed_in, import_limit, export_limit = terms(book)
    buy, sell = sorted(steps_of(book, "buy"), reverse=True), sorted(steps_of(book, "sell"))
    best = None
    for bought in range(sum(e for _, e, _ in buy) + 1):
        for sold in range(sum(e for _, e, _ in sell) + 1):
            net = bought - sold
            if not -export_limit <= net <= import_limit:
                continue
            welfare = (_best_first(buy, bought) - _best_first(sell, sold)
                       - retail * max(net, 0) + feed_in * max(-net, 0))
            rank = welfare, min(bought, sold), bought, max(-net, 0)
            if best is None or rank > best[0]:
                best = rank, bought, sold
    _, bought, sold = best

    ceiling = max([retail] + [p for p, _, _ in buy + sell]) + 5
    content = [p for p in range(ceiling + 1) if supports(book, p, bought, sold)]
    low, high = content[0], content[-1]
    assert content == list(range(low, high + 1))
    if low == 0 and not buy and not export_limit:  # nothing bounds it from below
        low = min(feed_in, high)
    if high == ceiling:
        high = max(retail, low)
    inside = [p for p in range(low, high + 1) if feed_in <= p <= retail]
    price = (inside[0] + inside[-1]) // 2 if inside else (low + high) // 2

    seed = bytes.fromhex(book.get("seed", ""))
    bought_by, sold_by = _shares(book, "buy", price, bought, seed), _shares(book, "sell", price, sold, seed)
    volume = min(bought, sold)
    return {"slot": book["slot"], "price_ucr_per_kwh": price,
            "congestion_ucr_per_kwh": max(0, price - retail, feed_in - price), "volume_mwh": volume,
            "import_mwh": bought - volume, "export_mwh": sold - volume,
            "fills": [{"member": m, "bought_mwh": bought_by[m], "sold_mwh": sold_by[m]} for m in sorted(bought_by)]}
