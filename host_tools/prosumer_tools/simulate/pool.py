"""Runs on the MicroPython Unix port: the firmware's clearing and settlement, a line a slot.

First line in: {"genesis"}. Then [slot, limits, orders, delivered]: clear the orders of `slot`; `delivered` is null or
[price, cleared import, cleared export, congestion, volume, [[member, bought, sold, net, net alone, generation], …]] of a slot before.
Out: [[price, congestion, volume, import, export, fills], [[member's ucr, the same without the market] …, feeder's ucr, sum of all, share]];
`share` is what each member got of the feeder account, which a month's first block shares out: it is in the member's ucr already.
"""
import json
import sys

from prosumer.identity.genesis import Genesis
from prosumer.ledger.block import _share
from prosumer.ledger.state import State
from prosumer.market import settlement, statement
from prosumer.market.book import check_curve
from prosumer.market.clearing import clear


def settled(g, common, slot, delivered):
    price, imported, exported, congestion, volume, rows = delivered
    tariff, entries, alone_ucr = g.tariff(slot), [], []
    for _, bought, sold, net, alone in rows:
        entries.append(settlement.settle(tariff, price, bought, sold, max(net, 0), max(-net, 0)))
        alone_ucr.append(statement.utility_only(tariff, max(alone, 0), max(-alone, 0)))
    had = common.feeder_ucr
    _share(g, common, slot + 1)     # by the block that settles this slot
    share = common.accounts[0].balance_ucr
    for account in common.accounts:
        account.balance_ucr = 0
    books = statement.books(tariff, entries, imported, exported, congestion, settlement.lost_mwh(tariff, volume))
    common.feeder_ucr += books.feeder_ucr
    feeder = common.feeder_ucr - had
    total = sum([e.member_ucr for e in entries]) + books.feeder_ucr + books.utility_ucr
    return [[[e.member_ucr + share, a] for e, a in zip(entries, alone_ucr)], feeder, total + feeder + share * len(entries) - books.feeder_ucr, share]


def main():
    g = Genesis(bytes.fromhex(json.loads(sys.stdin.readline())["genesis"]))
    common = State(g)
    print("ready")
    for line in sys.stdin:
        slot, limits, orders, delivered = json.loads(line)
        tariff = g.tariff(slot)
        for member, buy, sell in orders:
            check_curve(buy, sell, tariff, g.fuse_mwh(member))
        c = clear(slot, tariff, limits, orders)
        print(json.dumps([[c.price_ucr_per_kwh, c.congestion_ucr_per_kwh, c.volume_mwh, c.import_mwh, c.export_mwh,
                           [[m, f[0], f[1]] for m, f in sorted(c.fills.items()) if f != (0, 0)]],
                          delivered and settled(g, common, slot - 2, delivered)]))


main()
