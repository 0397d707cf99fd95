"""Writes the conformance corpus of the clearing, tests/vectors/clearing/*.json.

    python tests/vectors/clearing_make.py

Every result comes from the independent reference (tests/host/reference_clearing.py: vertices of the program,
supporting prices, fractions) and its welfare is confirmed by HiGHS; the firmware has no part in it. Refused books carry
the reason.
"""
import json
import random
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "host"))

from reference_clearing import by_vertices, welfare_by_lp, welfare_of  # noqa: E402

RETAIL, FEED_IN, KWH = 300_000, 80_000, 1_000_000
OPEN = (10**10, 10**10)


def order(member, buy=(), sell=(), **more):
    return {"member": member, "buy": [list(s) for s in buy], "sell": [list(s) for s in sell], **more}


def book(*orders, slot=7, envelope=OPEN, retail=RETAIL, feed_in=FEED_IN, seed=None, **tariff):
    b = {"slot": slot, "tariff": {"retail_ucr_per_kwh": retail, "feed_in_ucr_per_kwh": feed_in, **tariff},
         "envelope": {"import_limit_mwh": envelope[0], "export_limit_mwh": envelope[1]}, "orders": list(orders)}
    return b if seed is None else {**b, "seed": seed}


def street(seed, members, steps, envelope, low=60_000, high=330_000, grid=1000):
    """A random book; a coarse price grid makes ties."""
    rng = random.Random(seed)
    orders = []
    for m in range(members):
        prices = sorted(rng.sample(range(low, high, grid), 2 * steps))
        cut = rng.randint(0, steps)
        orders.append(order(m, [(p, rng.randint(1, KWH)) for p in reversed(prices[:cut])],
                            [(p, rng.randint(1, KWH)) for p in prices[cut:cut + steps]]))
    rng.shuffle(orders)
    return book(*orders, slot=rng.randrange(1 << 32), envelope=envelope, seed=rng.randbytes(8).hex())


ties = [order(m, [(200_000, 10 + m)]) for m in range(5)]
CASES = {
    "nobody": ("an empty book: the middle of the tariff", book()),
    "nobody-island": ("an empty book without a grid: still the middle of the tariff", book(envelope=(0, 0))),
    "empty-curves": ("members who ask for nothing are listed with nothing", book(order(4), order(2))),
    "one-buyer": ("a single member imports at retail", book(order(3, [(RETAIL, KWH)]))),
    "one-seller": ("a single member exports at feed-in", book(order(3, sell=[(FEED_IN, KWH)]))),
    "one-buyer-too-low": ("a limit below retail alone buys nothing", book(order(0, [(299_999, KWH)]))),
    "one-seller-too-high": ("a limit above feed-in alone sells nothing", book(order(0, sell=[(80_001, KWH)]))),
    "one-member-two-sides": ("a battery between its limits does nothing",
                             book(order(0, [(150_000, KWH)], [(160_000, KWH)]))),
    "pair": ("the middle of buyer and seller", book(order(0, [(250_000, KWH)]), order(1, sell=[(100_000, KWH)]))),
    "pair-odd": ("the middle is rounded down", book(order(0, [(250_001, KWH)]), order(1, sell=[(100_000, KWH)]))),
    "pair-same-limit": ("no gain, but most trade", book(order(0, [(123_456, KWH)]), order(1, sell=[(123_456, KWH)]))),
    "pair-no-overlap": ("asks more than is bid", book(order(0, [(100_000, KWH)]), order(1, sell=[(100_001, KWH)]))),
    "shortage": ("members first, the rest is imported, all at retail",
                 book(order(0, [(RETAIL, 3 * KWH)]), order(1, sell=[(100_000, KWH)]))),
    "surplus": ("members first, the rest is exported, all at feed-in",
                book(order(0, [(RETAIL, KWH)]), order(1, sell=[(FEED_IN, 3 * KWH)]))),
    "interval-cut-by-tariff": ("buyer above retail, seller below feed-in: the tariff's middle",
                               book(order(0, [(900_000, KWH)]), order(1, sell=[(10_000, KWH)]))),
    "marginal-buyer": ("the price is the limit of the buyer that is filled in part",
                       book(order(0, [(250_000, KWH)]), order(1, [(200_000, KWH)]),
                            order(2, sell=[(100_000, 1_500_000)]))),
    "marginal-seller": ("the price is the limit of the seller that is filled in part",
                        book(order(0, sell=[(150_000, KWH)]), order(1, sell=[(100_000, KWH)]),
                             order(2, [(250_000, 1_500_000)]))),
    "seller-at-retail": ("indifferent to import: members first",
                         book(order(0, [(RETAIL, 2 * KWH)]), order(1, sell=[(RETAIL, KWH)]))),
    "buyer-at-feed-in": ("indifferent to export: members first",
                         book(order(0, [(FEED_IN, KWH)]), order(1, sell=[(FEED_IN, 2 * KWH)]))),
    "buyers-at-retail-short-envelope": ("indifferent buyers share what the envelope lets in; no congestion",
                                        book(*[order(m, [(RETAIL, 10)]) for m in range(3)], envelope=(20, 0))),
    "tie-exact": ("pro rata without a remainder",
                  book(*[order(m, [(200_000, 20 * (m + 1))]) for m in range(3)],
                       order(9, sell=[(90_000, 60)]), envelope=(0, 0))),
    "tie-remainder-buy": ("pro rata, left-over by hash", book(*ties, order(9, sell=[(90_000, 33)]), envelope=(0, 0))),
    "tie-remainder-slot": ("the same book in another slot",
                           book(*ties, order(9, sell=[(90_000, 33)]), envelope=(0, 0), slot=8)),
    "tie-remainder-seed": ("the same book with a seed",
                           book(*ties, order(9, sell=[(90_000, 33)]), envelope=(0, 0), seed="00ff10")),
    "tie-remainder-sell": ("sellers share alike, the side is part of the hash",
                           book(*[order(m, sell=[(200_000, 10 + m)]) for m in range(5)],
                                order(9, [(220_000, 33)]), envelope=(0, 0))),
    "tie-some-exact": ("who has no fraction gets no left-over, whatever its hash",
                       book(*[order(m, [(200_000, 4 if m < 6 else 2)]) for m in range(12)],
                            order(99, sell=[(90_000, 9)]), envelope=(0, 0))),
    "tie-one-mwh": ("one mWh for twenty equal buyers",
                    book(*[order(m, [(200_000, 1)]) for m in range(20)], order(99, sell=[(90_000, 1)]),
                         envelope=(0, 0))),
    "tie-both-sides": ("both sides at one limit: the shorter is filled, the longer shares",
                       book(*[order(m, [(150_000, 7)]) for m in range(4)],
                            *[order(m, sell=[(150_000, 5)]) for m in range(4, 7)], envelope=(0, 0))),
    "tie-with-better-steps": ("a member's better step is filled before its marginal one shares",
                              book(order(0, [(210_000, 5), (200_000, 10)]), order(1, [(200_000, 11)]),
                                   order(2, sell=[(90_000, 17)]), envelope=(0, 0))),
    "import-congested": ("price rises to the buyer that is filled in part",
                         book(order(0, [(500_000, KWH)]), order(1, [(400_000, KWH)]), envelope=(1_500_000, 0))),
    "import-congested-between": ("limit ends with a step: the middle between filled and unfilled",
                                 book(order(0, [(500_000, KWH)]), order(1, [(400_001, KWH)]), envelope=(KWH, 0))),
    "import-congested-dear-seller": ("a seller above retail is needed",
                                     book(order(0, [(500_000, 2 * KWH)]), order(1, sell=[(350_000, 3 * KWH)]),
                                          envelope=(KWH, 0))),
    "import-just-enough": ("a limit that is used up but leaves nobody out is no congestion",
                           book(order(0, [(500_000, KWH)]), envelope=(KWH, 0))),
    "import-one-mwh-short": ("one mWh less is", book(order(0, [(500_000, KWH)]), envelope=(KWH - 1, 0))),
    "import-congested-tie": ("equal buyers share the envelope",
                             book(*[order(m, [(450_000, 1000 + m)]) for m in range(7)], envelope=(3000, 0))),
    "export-congested": ("price falls to the seller that is filled in part",
                         book(order(0, sell=[(10_000, KWH)]), order(1, sell=[(20_000, KWH)]),
                              envelope=(0, 1_500_000))),
    "export-congested-between": ("limit ends with a step: the middle, rounded down",
                                 book(order(0, sell=[(10_000, KWH)]), order(1, sell=[(20_001, KWH)]),
                                      envelope=(0, KWH))),
    "export-congested-low-buyer": ("a buyer below feed-in takes what cannot leave",
                                   book(order(0, sell=[(5_000, 3 * KWH)]), order(1, [(40_000, KWH)]),
                                        envelope=(0, KWH))),
    "export-just-enough": ("a limit that is used up but leaves nothing behind",
                           book(order(0, sell=[(1, KWH)]), envelope=(0, KWH))),
    "island-pair": ("no grid: members alone, the tariff still cuts the interval",
                    book(order(0, [(900_000, KWH)]), order(1, sell=[(100_000, KWH)]), envelope=(0, 0))),
    "island-buyers": ("no grid and no seller: the best bid", book(order(0, [(500_000, KWH)]), envelope=(0, 0))),
    "island-low-buyers": ("no grid, no seller, bids inside the tariff: from the bid to retail",
                          book(order(0, [(200_000, KWH)]), envelope=(0, 0))),
    "island-sellers": ("no grid and no buyer: the best offer",
                       book(order(0, sell=[(20_000, KWH)]), envelope=(0, 0))),
    "one-way-import": ("surplus that may not leave: sellers share one buyer",
                       book(order(0, [(RETAIL, KWH)]), order(1, sell=[(FEED_IN, KWH)]),
                            order(2, sell=[(FEED_IN, KWH)]), envelope=(KWH, 0))),
    "flat-tariff-shortage": ("feed-in = retail: nothing passes through for nothing",
                             book(order(0, [(100_000, 2 * KWH)]), order(1, sell=[(100_000, KWH)]),
                                  retail=100_000, feed_in=100_000)),
    "flat-tariff-surplus": ("feed-in = retail with a surplus",
                            book(order(0, [(100_000, KWH)]), order(1, sell=[(100_000, 2 * KWH)]),
                                 retail=100_000, feed_in=100_000)),
    "no-feed-in": ("feed-in of nothing, limits may be nothing too",
                   book(order(0, [(0, KWH)]), order(1, sell=[(0, 3 * KWH)]), feed_in=0)),
    "price-bounds": ("limits on the bounds of the tariff",
                     book(order(0, [(400_000, 9)]), order(1, sell=[(50_000, 5)]), envelope=(1, 0),
                          min_price_ucr_per_kwh=50_000, max_price_ucr_per_kwh=400_000)),
    "eight-steps": ("all steps of a side", book(
        order(0, [(290_000 - 10_000 * i, 100 + i) for i in range(8)]),
        order(1, sell=[(150_000 + 10_000 * i, 90 + i) for i in range(8)]), envelope=(50, 50))),
    "largest-numbers": ("highest slot, member, price and energy", book(
        order(65535, [((1 << 30) - 1, (1 << 30) - 1)]), order(65534, [((1 << 30) - 1, (1 << 30) - 2)]),
        order(0, sell=[((1 << 30) - 2, (1 << 30) - 1)]), slot=(1 << 64) - 1, envelope=(12345, 0))),
    "one-mwh": ("the smallest trade", book(order(0, [(81_000, 1)]), order(1, sell=[(80_500, 1)]), envelope=(0, 0))),
    "street-12-open": ("12 members, random curves", street(1, 12, 4, OPEN)),
    "street-12-import": ("the same kind of street, short of import",
                         street(2, 12, 4, (KWH, KWH), low=200_000, high=600_000)),
    "street-12-export": ("and short of export", street(3, 12, 4, (KWH, KWH), low=1_000, high=120_000)),
    "street-12-ties": ("prices on a coarse grid: many equal limits", street(4, 12, 3, (0, 0), grid=30_000)),
    "street-40-island": ("40 members without a grid", street(5, 40, 8, (0, 0))),
    "street-64": ("64 members × 8 steps", street(6, 64, 8, (5 * KWH, 5 * KWH))),
}

good = [[200_000, 5]]
REFUSED = {
    "energy-zero": ("order-energy-not-positive", 1, book(order(1, [(200_000, 0)]))),
    "energy-negative": ("order-energy-not-positive", 1, book(order(1, [(200_000, -5)]))),
    "energy-huge": ("order-energy-too-large", 1, book(order(1, [(200_000, 1 << 40)]))),
    "energy-above-limit": ("order-energy-too-large", 1, book(order(1, [(2, 5), (1, 6)], max_energy_mwh=10))),
    "energy-fraction": ("order-not-integer", 1, book(order(1, [(200_000, 0.5)]))),
    "price-zero": ("order-price-out-of-bounds", 1, book(order(1, [(0, 5)]))),
    "price-negative": ("order-price-out-of-bounds", 1, book(order(1, sell=[(-1, 5)]))),
    "price-huge": ("order-price-out-of-bounds", 1, book(order(1, [(1 << 30, 5)]))),
    "buy-rises": ("order-not-monotone", 1, book(order(1, [(2, 5), (3, 5)]))),
    "buy-equal": ("order-not-monotone", 1, book(order(1, [(3, 5), (3, 5)]))),
    "sell-equal": ("order-not-monotone", 1, book(order(1, sell=[(3, 5), (3, 5)]))),
    "sell-falls": ("order-not-monotone", 1, book(order(0, good), order(1, sell=[(3, 5), (2, 5)]))),
    "sides-overlap": ("order-sides-overlap", 1, book(order(1, [(200_000, 5)], [(200_000, 5)]))),
    "nine-steps": ("order-too-many-steps", 1, book(order(1, [(200_000 - i, 5) for i in range(9)]))),
    "two-orders": ("order-duplicate", 1, book(order(1, good), order(0, good), order(1, good))),
    "member-negative": ("order-member-unknown", -1, book(order(-1, good))),
    "wrong-slot": ("order-wrong-slot", 1, book(order(1, good, slot=8))),
    "feed-in-above-retail": ("tariff-out-of-order", None, book(order(1, good), retail=1000, feed_in=1001)),
    "retail-above-bound": ("tariff-out-of-order", None, book(order(1, good), max_price_ucr_per_kwh=299_999)),
    "envelope-negative": ("envelope-out-of-range", None, book(order(1, good), envelope=(-1, 0))),
    "slot-negative": ("slot-out-of-range", None, book(order(1, good), slot=-1)),
}


def write(number, name, case):
    """One case a file; lists of numbers and fills stand on one line, so that a person can read a book."""
    text = json.dumps(case, indent=1)
    text = re.sub(r"\[\s+(-?[\d.]+),\s+(-?[\d.]+)\s+\]", r"[\1, \2]", text)
    text = re.sub(r'\{\s+("member": -?\d+),\s+("bought_mwh": \d+),\s+("sold_mwh": \d+)\s+\}', r"{\1, \2, \3}", text)
    (HERE / "clearing" / f"{number:02}-{name}.json").write_text(text + "\n")


def main():
    for old in (HERE / "clearing").glob("*.json"):
        old.unlink()
    number = 0
    for name, (why, b) in CASES.items():
        result = by_vertices(b)
        best, reached = welfare_by_lp(b), welfare_of(b, result)
        if abs(best - reached) > max(1e-9 * abs(best), 1e-3):
            raise SystemExit(f"{name}: the reference reaches {reached}, HiGHS {best}")
        number += 1
        write(number, name, {"why": why, "book": b, "result": result})
    for name, (code, member, b) in REFUSED.items():
        number += 1
        write(number, "refused-" + name, {"why": code, "book": b, "refused": {"code": code, "member": member}})
    print(f"{len(CASES)} books with results, {len(REFUSED)} that are refused")


main()
