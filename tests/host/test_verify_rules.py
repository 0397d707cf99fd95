"""The rules of `prosumer verify` (own clearing, own settlement) against the conformance corpus and against the firmware."""
import json
import random
import re
from pathlib import Path

import pytest

from prosumer_tools.unixport import run_firmware
from prosumer_tools.verify import rules, trees
from prosumer_tools.verify.keys import key_fault
from prosumer_tools.verify.records import FAULTS, Genesis, Order

ROOT = Path(__file__).resolve().parents[2]
CASES = [p for p in sorted((ROOT / "tests/vectors/clearing").glob("*.json"))
         if (case := json.loads(p.read_text())) and "result" in case and not case["book"].get("seed")]


def genesis(tariff, members=64):
    return Genesis(0, bytes(8), bytes(32), 0, 900, 2000, tariff["retail_ucr_per_kwh"], tariff["feed_in_ucr_per_kwh"],
                   tariff.get("min_price_ucr_per_kwh", 1), tariff.get("max_price_ucr_per_kwh", (1 << 30) - 1),
                   tariff.get("local_fee_ucr_per_kwh", 0), tariff.get("loss_per_mille", 0), 0, 0, 0, (1 << 32) - 1, 86400, 0, 0,
                   bytes(32), "", [], [(bytes(32), 3, 255, 0)] * members, b"", b"")


def orders(book):
    return [Order(o["member"], book["slot"], bytes(16), [tuple(s) for s in o.get("buy", [])], [tuple(s) for s in o.get("sell", [])], b"")
            for o in book["orders"]]


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_the_corpus_clears_as_it_says(path):
    case = json.loads(path.read_text())
    book, result = case["book"], case["result"]
    limits = book["envelope"]["import_limit_mwh"], book["envelope"]["export_limit_mwh"]
    c = rules.clear(book["slot"], genesis(book["tariff"]), limits, orders(book))
    assert c.fault == ""
    for name in ("price_ucr_per_kwh", "congestion_ucr_per_kwh", "volume_mwh", "import_mwh", "export_mwh"):
        assert getattr(c, name) == result[name], name
    assert c.fills == {f["member"]: (f["bought_mwh"], f["sold_mwh"]) for f in result["fills"]}


def test_there_is_a_corpus():
    assert len(CASES) > 40


def test_fills_that_are_not_the_best_are_told_from_those_that_are():
    book = json.loads((ROOT / "tests/vectors/clearing").joinpath(CASES[-1].name).read_text())["book"]
    g, limits, book_orders = genesis(book["tariff"]), (book["envelope"]["import_limit_mwh"], book["envelope"]["export_limit_mwh"]), orders(book)
    c = rules.clear(book["slot"], g, limits, book_orders)
    retail, feed_in = g.retail, g.feed_in
    best = c.export_mwh * feed_in - c.import_mwh * retail + sum(
        rules._value(o.buy, c.fills[o.member][0]) - rules._value(o.sell, c.fills[o.member][1]) for o in book_orders)
    assert rules._not_optimal(c, g, limits, book_orders, best) == ""
    buyer = max(c.fills, key=lambda m: c.fills[m][0])
    seller = max(c.fills, key=lambda m: c.fills[m][1])
    assert c.fills[buyer][0] and c.fills[seller][1]
    c.fills[buyer] = (c.fills[buyer][0] - 1, 0)
    assert "balance" in rules._not_optimal(c, g, limits, book_orders, best)
    c.fills[seller] = (0, c.fills[seller][1] - 1)
    c.volume_mwh -= 1
    assert "not the largest" in rules._not_optimal(c, g, limits, book_orders, best)
    c.import_mwh = limits[0] + 1
    c.export_mwh = 0
    assert rules._not_optimal(c, g, limits, book_orders, best)


SETTLE = """
import json, sys
from prosumer.market import settlement, statement
for line in sys.stdin:
    tariff, price, bought, sold, taken, given, volume, imported, exported = json.loads(line)
    t = statement.make_tariff(*tariff)
    e = settlement.settle(t, price, bought, sold, taken, given)
    lost = settlement.lost_mwh(t, volume)
    print(json.dumps([e.trade_ucr, e.loss_ucr, e.fee_ucr, e.imbalance_ucr, e.utility_ucr, e.feeder_ucr,
                      settlement.pool_with_utility(t, imported, exported, lost)]))
"""


def test_settlement_is_the_firmwares_to_the_last_micro_credit():
    dice = random.Random(5)
    cases = []
    for _ in range(3000):
        feed_in = dice.randrange(0, 200000)
        retail = feed_in + dice.choice((0, 1, 30000, 200000))
        tariff = (retail, feed_in, 0, 1 << 29, dice.choice((0, 1, 20000, 90000)), dice.choice((0, 1, 20, 77, 1000)))
        price = dice.choice((0, feed_in, retail, feed_in + 1, dice.randrange(0, 400000), dice.randrange(feed_in, retail + 1)))
        energy = [dice.choice((0, 1, 999999, dice.randrange(1 << 24))) for _ in range(7)]
        energy[dice.randrange(2)] = 0
        cases.append((tariff, price, *energy))
    lines = run_firmware(SETTLE, "\n".join(json.dumps(c) for c in cases) + "\n").splitlines()
    assert len(lines) == len(cases)
    for case, line in zip(cases, lines):
        tariff, price, bought, sold, taken, given, volume, imported, exported = case
        g = genesis({"retail_ucr_per_kwh": tariff[0], "feed_in_ucr_per_kwh": tariff[1], "local_fee_ucr_per_kwh": tariff[4],
                     "loss_per_mille": tariff[5]})
        e = rules.settle(g, 0, 0, "settled", price, bought, sold, taken, given)
        pool = rules.pool_ucr(g, rules.Clearing(price, 0, volume, imported, exported, {}))
        assert [e.trade_ucr, e.loss_ucr, e.fee_ucr, e.imbalance_ucr, e.utility_ucr, e.feeder_ucr, pool] == json.loads(line), case
        assert e.member_ucr + e.feeder_ucr + e.utility_ucr == 0


def test_curves_against_the_rules():
    g = genesis({"retail_ucr_per_kwh": 250000, "feed_in_ucr_per_kwh": 80000, "max_price_ucr_per_kwh": 1000000})
    fuse = g.fuse_mwh(0)

    def fault(buy, sell=()):
        return rules.order_fault(g, Order(0, 5, bytes(16), buy, list(sell), b""))

    assert fault([(200000, fuse)]) is None and fault([(200000, 5), (100000, 5)], [(200001, fuse)]) is None
    assert "fuse" in fault([(200000, fuse), (100000, 1)])
    assert "without energy" in fault([(200000, 0)])
    assert "order" in fault([(100000, 5), (200000, 5)]) and "order" in fault([(100000, 5), (100000, 5)])
    assert "order" in fault([], [(200000, 5), (100000, 5)])
    assert "outside" in fault([(0, 5)]) and "outside" in fault([], [(1000001, 5)])
    assert "overlap" in fault([(200000, 5)], [(200000, 5)])


def test_the_mask_of_faulty_readings_is_the_firmwares():
    text = (ROOT / "firmware/prosumer/records.py").read_text()
    mask = re.search(r"^FAULTS = ([0-9 |]+)$", text, re.M)[1]
    assert sum(int(bit) for bit in mask.split("|")) == FAULTS


def test_trees_with_a_published_root_and_by_growth():
    """RFC 6962's example leaves; the top nodes are those that the certificate-transparency project publishes."""
    data = [b"", b"\0", b"\x10", b"\x20\x21", b"\x30\x31", b"\x40\x41\x42\x43", b"\x50\x51\x52\x53\x54\x55\x56\x57",
            bytes(range(0x60, 0x70))]
    leaves = [trees._h(b"\0", d) for d in data]
    assert trees._top(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert trees._top(leaves[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    grown = trees.Accumulator()
    for n in range(70):
        top = trees._top(grown.leaves)
        assert grown.root() == trees._h(b"\3", n.to_bytes(4, "big"), top)
        grown.append(bytes([n]) * 32)


def test_keys_that_no_genesis_may_name():
    assert key_fault(bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")) is None  # RFC 8032, test 1
    assert "small order" in key_fault(b"\1" + bytes(31)) and "small order" in key_fault(bytes(32))
    assert "small order" in key_fault(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"))
    assert "canonical" in key_fault((2**255 - 19).to_bytes(32, "little")) and "canonical" in key_fault(b"\1" + bytes(30) + b"\x80")
    assert "not a point" in key_fault(b"\2" + bytes(31))
