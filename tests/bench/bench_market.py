"""Clearing and settlement: time, growth and heap on the Unix port, beside peers on CPython in the same run.

    python tests/bench/bench_market.py [--runs 15] [--json FILE]

Peers: a plain sort-based float clearing (no pro rata, no congestion price, no integers: what one writes first), the
firmware's own module on CPython, SciPy's HiGHS, and pymarket (peers.py): the time of its two auctions, and its two linear programs as a
second, independent word on the best welfare and on the volume. It stops when a welfare or a volume differs.

The ESP32 estimate is derived, not measured: a kernel like the clearing's hottest loop runs in the same process between
the clearings. Stock MicroPython 1.12 on an ESP32 at 240 MHz makes 1661 pystones/s (micropython issue 5673; a slower
build there 499), and on the Unix port pystone ran 0.52 times as often as one pass of the kernel, so an ESP32 does about
3200 passes/s. What scales otherwise (sort, SHA-256, PSRAM) should be inside the factor 3.3 between those two builds.
"""
import argparse
import json
import random
import sys
import time
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "host_tools"), str(ROOT / "tests/host"), str(ROOT / "firmware"), str(Path(__file__).resolve().parent)]
sys.modules.setdefault("micropython", types.SimpleNamespace(const=lambda value: value))

import peers  # noqa: E402
from prosumer.market import clearing  # noqa: E402
from prosumer.market.statement import make_tariff  # noqa: E402
from prosumer_tools.unixport import run_firmware  # noqa: E402

SIZES = (8, 16, 32, 64, 128, 256)
STEPS = 8
GRID = 9998                 # the grid's two names among pymarket's bids
PYMARKET_MOST = 64          # members: its program has a variable for every pair of steps
PYMARKET_VOLUME = 8         # its bound on volume searches a list for each pair
RETAIL, FEED_IN = 300_000, 80_000
ESP32_PASSES_PER_S = 3200
ESP32_SLOW_BUILD = 1661 / 499
HEAP_64_TO_32 = 1.44  # a 64-bit heap against a 32-bit one

_SCRIPT = """
import gc, json, sys, time
from prosumer.market.statement import make_tariff
from prosumer.market.clearing import clear
from prosumer.market.settlement import settle

tariff = make_tariff(%d, %d)
steps = [(i * 7919 %% 1000, i) for i in range(64)]

def kernel(passes):
    total = 0
    for r in range(passes):
        limit = r %% 1000
        for price, energy in steps:
            if price < limit:
                continue
            if price == limit:
                total += energy
            total += price
    return total

def timed(f, *args):
    start = time.ticks_us()
    f(*args)
    return time.ticks_diff(time.ticks_us(), start)

def heap(f, *args):
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    kept = f(*args)
    used = gc.mem_alloc() - before
    gc.enable()
    gc.collect()
    return used, gc.mem_alloc() - before

def settle_all(price, fills):
    return [settle(tariff, price, fills[m][0], fills[m][1], fills[m][0] + 7, fills[m][1]) for m in sorted(fills)]

for line in sys.stdin:
    envelope, orders, runs = json.loads(line)
    orders = [(m, [tuple(s) for s in buy], [tuple(s) for s in sell]) for m, buy, sell in orders]
    clear_us, kernel_us, settle_us = [], [], []
    c = clear(7, tariff, envelope, orders)
    for _ in range(runs):
        gc.collect()
        kernel_us.append(timed(kernel, 100))
        clear_us.append(timed(clear, 7, tariff, envelope, orders))
        settle_us.append(timed(settle_all, c.price_ucr_per_kwh, c.fills))
    print(json.dumps([clear_us, kernel_us, settle_us, heap(clear, 7, tariff, envelope, orders),
                      heap(settle_all, c.price_ucr_per_kwh, c.fills),
                      [c.price_ucr_per_kwh, c.volume_mwh, c.import_mwh, c.export_mwh]]))
""" % (RETAIL, FEED_IN)

def street(members, seed=1):
    rng = random.Random(seed)
    orders = []
    for m in range(members):
        prices = sorted(rng.sample(range(60_000, 330_000, 500), 2 * STEPS))
        orders.append((m, [(p, rng.randint(1, 900_000)) for p in reversed(prices[:STEPS])],
                       [(p, rng.randint(1, 900_000)) for p in prices[STEPS:]]))
    return orders


def plain(orders, limits):
    """The peer: merge two sorted curves of floats, the grid as one more seller and buyer; price of the last trade."""
    buy = [(p, float(e), m) for m, b, _ in orders for p, e in b] + [(FEED_IN, float(limits[1]), -1)]
    sell = [(p, float(e), m) for m, _, s in orders for p, e in s] + [(RETAIL, float(limits[0]), -1)]
    buy.sort(reverse=True)
    sell.sort()
    fills, i, j, price = {}, 0, 0, 0.0
    left_buy, left_sell = buy[0][1], sell[0][1]
    while i < len(buy) and j < len(sell) and buy[i][0] >= sell[j][0]:
        traded = min(left_buy, left_sell)
        fills[0, buy[i][2]] = fills.get((0, buy[i][2]), 0.0) + traded
        fills[1, sell[j][2]] = fills.get((1, sell[j][2]), 0.0) + traded
        price = (buy[i][0] + sell[j][0]) / 2
        left_buy -= traded
        left_sell -= traded
        if left_buy <= 0:
            i += 1
            left_buy = buy[i][1] if i < len(buy) else 0.0
        if left_sell <= 0:
            j += 1
            left_sell = sell[j][1] if j < len(sell) else 0.0
    return price, fills


def best_us(f, runs):
    times = []
    for _ in range(runs):
        start = time.process_time()
        f()
        times.append((time.process_time() - start) * 1e6)
    return min(times)


def exact_welfare(orders, result):
    """Welfare of a Clearing in ucr·mWh/kWh."""
    value = FEED_IN * result.export_mwh - RETAIL * result.import_mwh
    for m, buy, sell in orders:
        for sign, steps, left in ((1, buy, result.fills[m][0]), (-1, sell, result.fills[m][1])):
            for p, e in steps:
                value += sign * p * min(e, left)
                left -= min(e, left)
    return value


def highs(orders, limits):
    from reference_clearing import welfare_by_lp
    return welfare_by_lp({"slot": 7, "tariff": {"retail_ucr_per_kwh": RETAIL, "feed_in_ucr_per_kwh": FEED_IN},
                          "envelope": {"import_limit_mwh": limits[0], "export_limit_mwh": limits[1]},
                          "orders": [{"member": m, "buy": b, "sell": s} for m, b, s in orders]})


def as_bids(orders, limits):
    """pymarket's form of a book: (energy, price, member, buys), the grid as two more bids."""
    bids = [(e, p, m, True) for m, b, _ in orders for p, e in b] + [(e, p, m, False) for m, _, s in orders for p, e in s]
    return bids + [(limits[1], FEED_IN, GRID, True), (limits[0], RETAIL, GRID + 1, False)]


def volume(result):
    """What changed hands, the grid with it, mWh: all that was bought, and what was exported."""
    return sum(bought for bought, _ in result.fills.values()) + result.export_mwh


def beside_pymarket(books, rows, say):
    """pymarket on the same books: its answers and ours by members; None where it cannot be installed."""
    python = peers.interpreter(say)
    if python is None:
        return None
    sizes = [n for n in books if n <= PYMARKET_MOST]
    answers = peers.ask(python, [(as_bids(*books[n]), 3, n <= PYMARKET_VOLUME) for n in sizes])
    out = {}
    for n, answer in zip(sizes, answers):
        ours = clearing.clear(7, make_tariff(RETAIL, FEED_IN), books[n][1], books[n][0])
        welfare = exact_welfare(books[n][0], ours)
        unix_s = next(r for r in rows if r["members"] == n)["unix_port_us"] / 1e6
        out[n] = {"huang_s": min(answer["huang"]), "muda_s": min(answer["muda"]), "unix_port_s": unix_s,
                  "welfare_s": answer["welfare"]["s"], "welfare_error": abs(welfare - answer["welfare"]["best"]) / max(1, welfare),
                  "volume_mwh": volume(ours), "its_volume_mwh": answer["most"]["volume_mwh"],
                  "bound_mwh": answer["volume"] and answer["volume"]["best"]}
        if answer["welfare"]["status"] != "Optimal" or out[n]["welfare_error"] > 1e-9:
            raise SystemExit(f"{n} members: pymarket's optimum is {answer['welfare']}, ours {welfare}")
        if abs(out[n]["volume_mwh"] - out[n]["its_volume_mwh"]) > 1 or out[n]["volume_mwh"] > (out[n]["bound_mwh"] or 1e18) + 1:
            raise SystemExit(f"{n} members: volumes differ: {out[n]}")
    return out


def show_pymarket(by_size):
    if not by_size:
        return
    print(f"pymarket on the same books, on CPython; its program finds our welfare, and our volume as the most that an optimum trades\n{'members':>8}{'Huang':>10}"
          f"{'MUDA':>10}{'its program':>13}{'Huang/Unix port':>17}{'welfare error':>15}{'volume kWh':>12}{'its volume':>12}{'bound':>10}")
    for n, p in by_size.items():
        bound = f"{p['bound_mwh'] / 1e6:.3f}" if p["bound_mwh"] else ""
        print(f"{n:>8}{p['huang_s'] * 1e3:>7.0f} ms{p['muda_s'] * 1e3:>7.0f} ms{p['welfare_s'] * 1e3:>10.0f} ms"
              f"{p['huang_s'] / p['unix_port_s']:>17.0f}{p['welfare_error']:>15.0e}{p['volume_mwh'] / 1e6:>12.3f}"
              f"{p['its_volume_mwh'] / 1e6:>12.3f}{bound:>10}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=15, help="clearings per size; the best is shown: a busy machine only adds")
    parser.add_argument("--json", metavar="FILE", help="write the figures there as well")
    args = parser.parse_args()

    books = {n: (street(n), (2_000_000 * n // 64, 2_000_000 * n // 64)) for n in SIZES}
    answers = run_firmware(_SCRIPT, "".join(json.dumps([limits, orders, args.runs]) + "\n"
                                            for orders, limits in books.values()), heap="8M").splitlines()
    tariff = make_tariff(RETAIL, FEED_IN)
    rows = []
    for (n, (orders, limits)), answer in zip(books.items(), answers):
        clear_us, kernel_us, settle_us, clear_heap, settle_heap, figures = json.loads(answer)
        here = clearing.clear(7, tariff, limits, orders)
        if figures != [here.price_ucr_per_kwh, here.volume_mwh, here.import_mwh, here.export_mwh]:
            raise SystemExit(f"{n} members: Unix port and CPython disagree: {figures}")
        unix = min(clear_us)
        passes = [100 * min(times) / min(kernel_us) for times in (clear_us, settle_us)]
        best = highs(orders, limits)
        rows.append({
            "members": n, "unix_port_us": unix, "settle_unix_port_us": min(settle_us),
            "firmware_on_cpython_us": best_us(lambda o=orders, e=limits: clearing.clear(7, tariff, e, o), args.runs),
            "plain_float_on_cpython_us": best_us(lambda o=orders, e=limits: plain(o, e), args.runs),
            "highs_us": best_us(lambda o=orders, e=limits: highs(o, e), 3),
            "welfare_error": abs(exact_welfare(orders, here) - best) / max(1.0, abs(best)),
            "allocated_bytes": clear_heap[0], "kept_bytes": clear_heap[1],
            "settle_allocated_bytes": settle_heap[0], "settle_kept_bytes": settle_heap[1],
            "esp32_s": passes[0] / ESP32_PASSES_PER_S, "settle_esp32_s": passes[1] / ESP32_PASSES_PER_S})

    figures = {"steps": STEPS, "rows": rows, "pymarket": beside_pymarket(books, rows, print)}
    print(f"clearing, {STEPS} steps a side, best of {args.runs}")
    print(f"{'members':>8}{'Unix port':>11}{'firmware on':>13}{'plain float':>13}{'HiGHS':>9}{'Unix port':>11}"
          f"{'allocated':>11}{'kept':>7}{'ESP32':>16}")
    print(f"{'':>8}{'ms':>11}{'CPython ms':>13}{'CPython ms':>13}{'ms':>9}{'/ plain':>11}{'kB':>11}{'kB':>7}"
          f"{'s (slow build)':>16}")
    for r in rows:
        print(f"{r['members']:>8}{r['unix_port_us'] / 1e3:>11.2f}{r['firmware_on_cpython_us'] / 1e3:>13.2f}"
              f"{r['plain_float_on_cpython_us'] / 1e3:>13.2f}{r['highs_us'] / 1e3:>9.1f}"
              f"{r['unix_port_us'] / r['plain_float_on_cpython_us']:>11.2f}{r['allocated_bytes'] / 1e3:>11.1f}"
              f"{r['kept_bytes'] / 1e3:>7.1f}{r['esp32_s']:>8.3f} ({r['esp32_s'] * ESP32_SLOW_BUILD:.2f})")
    full = next(r for r in rows if r["members"] == 64)
    growth = rows[-1]["unix_port_us"] / rows[0]["unix_port_us"]
    print(f"growth from {SIZES[0]} to {SIZES[-1]} members (×{SIZES[-1] // SIZES[0]}): ×{growth:.0f} in time; largest "
          f"relative error of the welfare against HiGHS {max(r['welfare_error'] for r in rows):.1e}")
    print(f"64 members settled: {full['settle_unix_port_us'] / 1e3:.2f} ms, "
          f"{full['settle_allocated_bytes'] / 1e3:.1f} kB allocated, {full['settle_kept_bytes'] / 1e3:.1f} kB kept, "
          f"ESP32 {full['settle_esp32_s']:.3f} s; on 32 bits heap figures are about {HEAP_64_TO_32}× less")
    show_pymarket(figures["pymarket"])
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
