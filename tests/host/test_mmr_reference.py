"""The meter's tree code (on the Unix port) against a second one written here from the recursive definitions of RFC 9162, 2.1."""
import hashlib
import json
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MICROPYTHON = Path(sys.executable).parent / "micropython"
SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 100, 255, 256, 257, 1000, 2016]

DRIVER = """
import sys, json
from binascii import hexlify, unhexlify
sys.path.insert(0, "firmware")
from prosumer.errors import Reject
from prosumer.ledger import mmr, proofs
ask = json.load(sys.stdin)
hashes = [unhexlify(h) for h in ask["hashes"]]
roots, m = {}, mmr.MMR()
for h in hashes:
    m.append(h)
    roots[m.count] = hexlify(m.root()).decode()
def verdict(f, *args):
    try:
        return f(*args)
    except Reject as e:
        return e.code
node = proofs.header_nodes(hashes)
print(json.dumps({
    "roots": roots,
    "inclusion": [hexlify(proofs.prove_inclusion(node, n, i)).decode() for n, i in ask["inclusion"]],
    "consistency": [hexlify(proofs.prove_consistency(node, a, b)).decode() for a, b in ask["consistency"]],
    "grows": [verdict(lambda: mmr.MMR.parse(unhexlify(a)).extend(mmr.MMR.parse(unhexlify(b)), [unhexlify(t) for t in tops])) for a, b, tops in ask["grow"]],
    "accepts": [verdict(proofs.verify_inclusion, unhexlify(r), n, i, unhexlify(h), unhexlify(p)) for r, n, i, h, p in ask["check"]],
    "continues": [verdict(proofs.verify_consistency, unhexlify(r), a, unhexlify(s), b, unhexlify(p)) for r, a, s, b, p in ask["follow"]],
}))
"""


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def mth(leaves):
    """Merkle tree hash: RFC 9162, 2.1.1."""
    if len(leaves) == 1:
        return sha(b"\0", leaves[0])
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return sha(b"\1", mth(leaves[:k]), mth(leaves[k:]))


def bound(leaves):
    return sha(b"\3", struct.pack(">I", len(leaves)), mth(leaves))


def path(m, leaves):
    """PATH(m, D[n]): RFC 9162, 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if m < k:
        return path(m, leaves[:k]) + [mth(leaves[k:])]
    return path(m - k, leaves[k:]) + [mth(leaves[:k])]


def subproof(m, leaves, whole):
    """SUBPROOF(m, D[n], b): RFC 9162, 2.1.4.1."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if m <= k:
        return subproof(m, leaves[:k], whole) + [mth(leaves[k:])]
    return subproof(m - k, leaves[k:], False) + [mth(leaves[:k])]


def consistency(m, leaves):
    """The RFC's proof, with the shared node in front where the RFC leaves it to the verifier."""
    return subproof(m, leaves, False) if m < len(leaves) else []


def packed(leaves):
    """Count and peaks: the trees of the powers of two that make it up, the largest first."""
    out, at = struct.pack(">I", len(leaves)), 0
    for bit in reversed(range(len(leaves).bit_length())):
        if len(leaves) >> bit & 1:
            out += mth(leaves[at:at + (1 << bit)])
            at += 1 << bit
    return out


def tops(m, leaves):
    """Of the RFC's proof those to the right of the old tree that no peak of the new one shows: whole powers of two."""
    out, at = [], m
    while at + (size := at & -at) <= len(leaves):
        out.append(mth(leaves[at:at + size]))
        at += size
    assert set(out) <= set(subproof(m, leaves, False)) | {mth(leaves)}
    return out


@pytest.fixture(scope="module")
def answers():
    rng = random.Random(6962)
    hashes = [rng.randbytes(32) for _ in range(max(SIZES))]
    inclusion = [(n, i) for n in SIZES for i in sorted({0, n - 1, n // 2, rng.randrange(n)})]
    pairs = [(a, b) for b in SIZES for a in sorted({1, b, rng.randint(1, b), 1 << b.bit_length() - 1})]
    check, follow, grow = [], [], []
    for n, i in inclusion:
        proof = b"".join(path(i, hashes[:n]))
        check.append((bound(hashes[:n]).hex(), n, i, hashes[i].hex(), proof.hex()))
        check.append((bound(hashes[:n]).hex(), n, i, hashes[i - 1].hex() if n > 1 else "00" * 32, proof.hex()))
    for a, b in pairs:
        proof = b"".join(consistency(a, hashes[:b])).hex()
        follow.append((bound(hashes[:a]).hex(), a, bound(hashes[:b]).hex(), b, proof))
        changed = hashes[: a - 1] + [bytes(32)] + hashes[a:b]
        follow.append((bound(hashes[:a]).hex(), a, bound(changed).hex(), b, b"".join(consistency(a, changed)).hex()))
        for later in (hashes[:b], changed):
            grow.append((packed(hashes[:a]).hex(), packed(later).hex(), [t.hex() for t in tops(a, later)]))
    ask = {"hashes": [h.hex() for h in hashes], "inclusion": inclusion, "consistency": pairs}
    ask |= {"check": check, "follow": follow, "grow": grow}
    done = subprocess.run(
        [MICROPYTHON, "-X", "heapsize=64M", "-c", DRIVER], input=json.dumps(ask), capture_output=True, text=True,
        cwd=ROOT, timeout=120
    )
    assert done.returncode == 0 and not done.stderr, done.stderr + done.stdout[-2000:]
    return hashes, ask, json.loads(done.stdout)


def test_roots(answers):
    hashes, _, got = answers
    for n in SIZES:
        assert got["roots"][str(n)] == bound(hashes[:n]).hex(), n


def test_the_meters_inclusion_proofs(answers):
    hashes, ask, got = answers
    for (n, i), proof in zip(ask["inclusion"], got["inclusion"], strict=True):
        assert proof == b"".join(path(i, hashes[:n])).hex(), (n, i)


def test_the_meters_consistency_proofs(answers):
    hashes, ask, got = answers
    for (a, b), proof in zip(ask["consistency"], got["consistency"], strict=True):
        assert proof == b"".join(consistency(a, hashes[:b])).hex(), (a, b)


def test_the_meter_accepts_good_proofs_and_no_other(answers):
    _, _, got = answers
    assert got["accepts"][0::2] == [True] * len(got["accepts"][0::2])
    assert set(got["accepts"][1::2]) == {"proof-wrong"}
    assert got["continues"][0::2] == [True] * len(got["continues"][0::2])
    assert set(got["continues"][1::2]) == {"proof-wrong"}


def test_what_a_meter_had_grows_into_its_own_future_and_no_other(answers):
    _, _, got = answers
    assert got["grows"][0::2] == [True] * len(got["grows"][0::2])
    assert set(got["grows"][1::2]) == {False, None}


def test_a_year_of_headers_is_proven_by_17_hashes():
    """105,120 headers: the longest path, by the shape of the tree alone."""
    n, depth = 105_120, 0
    while n > 1:
        n = 1 << (n - 1).bit_length() - 1  # the left subtree, the deeper one
        depth += 1
    assert depth == 17
