"""The archive: blocks a second into SQLite and PostgreSQL (and how many feeders of 5-minute slots that is), receipts out, proofs over a year.

    python tests/bench/bench_archive.py [--quick] [--json FILE]

Blocks are made beforehand, with every signature (tests/host/chain_kit.py); what is timed is the whole way in: decode, certificate, body
root, booking, state root, tables, commit to disk. PostgreSQL is a server of its own with its usual durability. One process, one thread.
"""
import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/host"))

from chain_kit import Paper  # noqa: E402
from postgres_kit import cluster, create  # noqa: E402

from prosumer_tools.archive import receipts, trees  # noqa: E402
from prosumer_tools.archive.check import check  # noqa: E402
from prosumer_tools.archive.database import Database  # noqa: E402
from prosumer_tools.archive.search import search  # noqa: E402
from prosumer_tools.archive.store import Archive  # noqa: E402
from prosumer_tools.unixport import run_firmware  # noqa: E402

SLOT_S = 300
YEAR = 105_120

HEADERS = """
import sys, time
from prosumer.ledger.mmr import MMR
from prosumer.records import Header
feeder = bytes(8)
def chain(n):
    m, out, previous = MMR(), [], bytes(32)
    for i in range(n):
        h = Header(slot=i, iteration=i + 1, proposer=0, previous=previous, accumulator=m.root(), body_root=bytes(32), state_root=bytes(32),
                   price_ucr_per_kwh=1, volume_mwh=1)
        previous = h.hash(feeder)
        m.append(previous)
        out.append(h.pack())
    return out
raw = chain(2016)
best = 0
for _ in range(5):
    start = time.ticks_us()
    m, previous = MMR(), bytes(32)
    for r in raw:
        h = Header.parse(r)
        if h.previous != previous or h.accumulator != m.root():
            raise ValueError
        previous = h.hash(feeder)
        m.append(previous)
    best = max(best, 2016e6 / time.ticks_diff(time.ticks_us(), start))
print(round(best))
"""

RECEIPT = """
import gc, sys, time
from prosumer.identity.members import Members
from prosumer.identity.genesis import Genesis
from prosumer.ledger.receipt import Receipt
genesis = Genesis(bytes.fromhex(sys.stdin.readline().strip()))
data = bytes.fromhex(sys.stdin.readline().strip())
start = time.ticks_us()
members = Members(genesis)
keys = time.ticks_diff(time.ticks_us(), start)
best = 1e9
for _ in range(5):
    gc.collect()
    start = time.ticks_us()
    Receipt(data, {0: genesis}, lambda genesis: members)
    best = min(best, time.ticks_diff(time.ticks_us(), start))
print(best, keys)
"""

CATCH_UP = """
import sys, time
from prosumer.ledger.proofs import verify_consistency
a, old, b, new, proof = sys.stdin.read().split()
a, b, proof = [bytes.fromhex(x) for x in (a, b, proof)]
n = 0
start = time.ticks_us()
while time.ticks_diff(time.ticks_us(), start) < 300000:
    verify_consistency(a, int(old), b, int(new), proof)
    n += 1
print(round(n * 1e6 / time.ticks_diff(time.ticks_us(), start)))
"""


def ingest(url, n, slots, feeders=1):
    """{"slots_per_s", "feeders", "receipts_per_s", "searches_per_s", "check_slots_per_s", "receipt_bytes", …}"""
    archive, streets = Archive(Database(url)), [Paper(n, f"Street {i}") for i in range(feeders)]
    for s in streets:
        archive.enrol(s.record)
    blocks = [(s.feeder, *s.block()) for _ in range(slots) for s in streets]
    empty = database_bytes(archive.db)
    times = []
    for block in blocks:
        start = time.perf_counter()
        archive.take(*block)
        times.append(time.perf_counter() - start)
    per_s = 1 / statistics.median(times)
    feeder, count = streets[0].feeder, 0
    start = time.perf_counter()
    while time.perf_counter() - start < 1:
        data = receipts.receipt(archive, feeder, count % n, 2 + count % (slots - 4))
        count += 1
    receipts_per_s = count / (time.perf_counter() - start)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < 1:
        hits = search(archive, feeder, "trades", member=1, limit=10)
        count += 1
    searches_per_s = count / (time.perf_counter() - start)
    start = time.perf_counter()
    result = check(archive, feeder)
    assert result.ok and hits, result.faults
    check_per_s = result.blocks / (time.perf_counter() - start)
    size = database_bytes(archive.db) - empty
    archive.db.close()
    return {"members": n, "slots_per_s": round(per_s), "slowest_ms": round(1000 * max(times), 1), "feeders_of_5_min": round(per_s * SLOT_S),
            "receipts_per_s": round(receipts_per_s), "searches_of_10_with_receipts_per_s": round(searches_per_s, 1),
            "check_slots_per_s": round(check_per_s), "bytes_per_slot": round(size / len(blocks)), "receipt_bytes": len(data)}


def database_bytes(db):
    if db.postgres:
        return db.one("SELECT pg_database_size(current_database())")[0]
    return db.one("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")[0]


def receipt_sizes(slots=8):
    """Receipt with orders of 8 steps at 8 and 40 members, and what the firmware needs to check it on this machine."""
    out = {}
    for n in (8, 40):
        archive, street = Archive(Database(":memory:")), Paper(n, steps=8)
        feeder = archive.enrol(street.record)
        for _ in range(slots):
            archive.take(feeder, *street.block())
        data = receipts.receipt(archive, feeder, 3, 4)
        us, keys = map(int, run_firmware(RECEIPT, f"{street.record.hex()}\n{data.hex()}\n", "4M").split())
        late = len(data) - 147 + 9 + 1 + 17 * 32 + 2 * 32
        out[str(n)] = {"bytes": len(data), "bytes_a_day_late_in_a_year": late, "check_ms": round(us / 1000, 2), "key_tables_ms": round(keys / 1000, 1)}
    return out


def year(url, headers=YEAR):
    """A proof from one accumulator to another a year later, out of the table of nodes."""
    archive = Archive(Database(url))
    street = Paper(4)
    feeder = archive.enrol(street.record)
    tree, roots, rows = trees.Range(), {}, []
    for i in range(headers):
        rows += [(feeder, *node) for node in tree.append(hashlib.sha256(i.to_bytes(4, "big")).digest())]
        if i + 1 in (headers // 365, headers - 1):
            roots[i + 1] = tree.root()
    with archive.db.transaction():
        archive.db.many("INSERT INTO nodes VALUES (?, ?, ?, ?)", rows)
    times, (old, new) = [], sorted(roots)
    for _ in range(20):
        start = time.perf_counter()
        proof = b"".join(trees.tops(trees.consistency_ranges(old, new), lambda nodes: archive.nodes(feeder, nodes)))
        times.append(time.perf_counter() - start)
    per_s = int(run_firmware(CATCH_UP, f"{roots[old].hex()}\n{old}\n{roots[new].hex()}\n{new}\n{proof.hex()}\n"))
    archive.db.close()
    return {"headers": headers, "proof_bytes": len(proof), "made_ms": round(1000 * statistics.median(times), 2), "firmware_checks_per_s": per_s}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    slots = 20 if options.quick else 100
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(cluster(durable=True))
        print(f"{'database':12}{'members':>8}{'slots/s':>9}{'feeders of 5 min':>18}{'receipts/s':>12}{'searches/s':>12}{'checked/s':>11}{'B a slot':>10}")
        result = {"ingest": {}}
        for name, n, feeders in (("SQLite", 8, 1), ("SQLite", 40, 1), ("PostgreSQL", 8, 1), ("PostgreSQL", 40, 1), ("SQLite", 8, 10), ("PostgreSQL", 8, 10)):
            place = folder / f"{n}-{feeders}.db" if name == "SQLite" else create(server, f"n{n}_{feeders}")
            r = ingest(place, n, slots if feeders == 1 else slots // 2, feeders)
            result["ingest"][f"{name}, {n} members, {feeders} feeders"] = r
            print(f"{name:12}{n:>8}{r['slots_per_s']:>9,}{r['feeders_of_5_min']:>18,}{r['receipts_per_s']:>12,}"
                  f"{r['searches_of_10_with_receipts_per_s']:>12}{r['check_slots_per_s']:>11,}{r['bytes_per_slot']:>10,}"
                  + (f"   ({feeders} feeders in turn)" if feeders > 1 else ""), flush=True)
        result["receipt"] = receipt_sizes()
        for n, r in result["receipt"].items():
            print(f"receipt at {n:>2} members: {r['bytes']:,} B ({r['bytes_a_day_late_in_a_year']:,} B when the reading is a day late, in a year of headers); "
                  f"checked in {r['check_ms']} ms, key tables {r['key_tables_ms']} ms once")
        result["headers_verified_per_s"] = int(run_firmware(HEADERS, heap="8M"))
        print(f"headers verified by the firmware (parse, link, accumulator): {result['headers_verified_per_s']:,} a second")
        result["year"] = {"SQLite": year(folder / "year.db"), "PostgreSQL": year(create(server, "year"))}
        for name, r in result["year"].items():
            print(f"catch-up over {r['headers']:,} headers, {name}: {r['proof_bytes']} B, made in {r['made_ms']} ms, {r['firmware_checks_per_s']:,} checks/s")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
