"""Runs on the MicroPython Unix port: the firmware's clearing and settlement, a line a slot.

First line in: {"genesis"}. Then [slot, limits, orders, delivered]: clear the orders of `slot`; `delivered` is null or
[price, cleared import, cleared export, congestion, volume, [[member, bought, sold, net, net alone, generation], …]] of a slot before.
Out: [[price, congestion, volume, import, export, fills], [[member's ucr, the same without the market] …, feeder's ucr, sum of all]].
"""
import json
import sys

from prosumer.identity.genesis import Genesis
from prosumer.market import settlement, statement
from prosumer.market.book import check_curve
from prosumer.market.clearing import clear


def settled(g, delivered):
    price, imported, exported, congestion, volume, rows = delivered
    entries, money = [], []
    for _, bought, sold, net, alone in rows:
        entries.append(settlement.settle(g, price, bought, sold, max(net, 0), max(-net, 0)))
        money.append([entries[-1].member_ucr, settlement.utility_only(g, max(alone, 0), max(-alone, 0))])
    books = statement.books(g, entries, imported, exported, congestion, settlement.lost_mwh(g, volume))
    return [money, books.feeder_ucr, sum([e.member_ucr for e in entries]) + books.feeder_ucr + books.utility_ucr]


def main():
    g = Genesis(bytes.fromhex(json.loads(sys.stdin.readline())["genesis"]))
    print("ready")
    for line in sys.stdin:
        slot, limits, orders, delivered = json.loads(line)
        for member, buy, sell in orders:
            check_curve(buy, sell, g, g.fuse_mwh(member))
        c = clear(slot, g, limits, orders)
        print(json.dumps([[c.price_ucr_per_kwh, c.congestion_ucr_per_kwh, c.volume_mwh, c.import_mwh, c.export_mwh,
                           [[m, f[0], f[1]] for m, f in sorted(c.fills.items()) if f != (0, 0)]],
                          delivered and settled(g, delivered)]))


main()
