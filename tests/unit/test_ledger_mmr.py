"""Mountain range over headers: peaks, inclusion, consistency. The independent check is tests/host/test_mmr_reference.py."""
import hashlib
from binascii import unhexlify

from prosumer.errors import Reject
from prosumer.ledger import merkle, mmr, proofs
from test_ledger_merkle import ct_leaves

# Consistency proof from 6 to 8 leaves, as in the Certificate Transparency project's Merkle tree tests.
PROOF_6_TO_8 = (
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"
)


def code(f, *args):
    try:
        f(*args)
    except Reject as e:
        return e.code
    return None


def hashes(n):
    return [hashlib.sha256(b"header %d" % i).digest() for i in range(n)]


def grown(n):
    """All ranges from 0 to n headers, as roots."""
    m = mmr.MMR()
    roots = [m.root()]
    for h in hashes(n):
        m.append(h)
        roots.append(m.root())
    return roots, m


def test_peaks_follow_the_bits_of_count():
    m = mmr.MMR()
    for i, h in enumerate(hashes(70)):
        m.append(h)
        assert m.count == i + 1 and len(m.peaks) == bin(i + 1).count("1")
    assert m.peaks[-1] == proofs.header_nodes(hashes(70))(1, 34) and m.peaks[0] == proofs.header_nodes(hashes(70))(6, 0)
    assert code(m.append, b"short") == "hash-size" and m.count == 70


def test_serialize_parse():
    for n in (0, 1, 2, 7, 64, 65):
        roots, m = grown(n)
        data = m.serialize()
        t = mmr.MMR.parse(data)
        assert t.root() == m.root() == roots[n] and t.count == n and t.serialize() == data
        for bad in (data + b"\0", data[:-1], data + bytes(32)):
            assert code(mmr.MMR.parse, bad) == "mmr-malformed"
        h = hashes(n + 1)[n]
        t.append(h)
        m.append(h)
        assert t.root() == m.root()


def test_a_year_is_17_peaks():
    m = mmr.MMR()
    m.count = 0x1FFFF  # 131,071 >= 105,120 slots: the worst case
    m.peaks = [bytes(32)] * 17
    assert len(m.serialize()) == 548


def test_inclusion_everywhere():
    roots, _ = grown(40)
    hs = hashes(40)
    node = proofs.header_nodes(hs)
    for n in range(1, 41):
        for i in range(n):
            assert proofs.verify_inclusion(roots[n], n, i, hs[i], proofs.prove_inclusion(node, n, i))
    proof = proofs.prove_inclusion(node, 40, 7)
    for args in ((roots[40], 40, 8, hs[7], proof), (roots[40], 40, 7, hs[8], proof), (roots[39], 39, 7, hs[7], proof)):
        assert code(proofs.verify_inclusion, *args) in ("proof-wrong", "proof-size")
    top = merkle.root([mmr.hash_leaf(h) for h in hs])
    assert code(proofs.verify_inclusion, top, 40, 7, hs[7], proof) == "proof-wrong", "a body root is not an accumulator"


def test_consistency_of_rfc_6962():
    leaves = ct_leaves()
    assert proofs.prove_consistency(proofs.nodes_of(leaves), 6, 8) == unhexlify(PROOF_6_TO_8)


def test_consistency_everywhere():
    roots, _ = grown(34)
    node = proofs.header_nodes(hashes(34))
    for new in range(1, 35):
        for old in range(1, new + 1):
            proof = proofs.prove_consistency(node, old, new)
            assert proofs.verify_consistency(roots[old], old, roots[new], new, proof), (old, new)


def test_consistency_refuses_every_other_history():
    n = 21
    roots, _ = grown(n)
    hs = hashes(n)
    for old in (1, 4, 5, 8, 13, 16, 20):
        other = hs[:]
        other[old - 1] = bytes(32)  # the last header both share was changed afterwards
        lie = mmr.MMR()
        for h in other:
            lie.append(h)
        for node in (proofs.header_nodes(hs), proofs.header_nodes(other)):
            proof = proofs.prove_consistency(node, old, n)
            assert code(proofs.verify_consistency, roots[old], old, lie.root(), n, proof) == "proof-wrong"
        proof = proofs.prove_consistency(proofs.header_nodes(hs), old, n)
        for wrong in range(1, 30):
            if wrong != n and wrong > old:
                assert code(proofs.verify_consistency, roots[old], old, roots[n], wrong, proof) in ("proof-wrong", "proof-size")
            if wrong != old and wrong < n:
                assert code(proofs.verify_consistency, roots[old], wrong, roots[n], n, proof) in ("proof-wrong", "proof-size")
        for at in range(0, len(proof), 7):
            bad = bytearray(proof)
            bad[at] ^= 128
            assert code(proofs.verify_consistency, roots[old], old, roots[n], n, bytes(bad)) == "proof-wrong"
        for bad in (b"", proof[:-1], proof[:-32], proof + bytes(32)):
            assert code(proofs.verify_consistency, roots[old], old, roots[n], n, bad) in ("proof-size", "proof-wrong")
    assert proofs.verify_consistency(roots[9], 9, roots[9], 9, b"")
    assert code(proofs.verify_consistency, roots[9], 9, roots[8], 9, b"") == "proof-wrong"
    assert code(proofs.verify_consistency, roots[9], 9, roots[8], 8, b"") == "proof-index"
    assert code(proofs.verify_consistency, roots[0], 0, roots[8], 8, b"") == "proof-index"
    assert code(proofs.prove_consistency, None, 0, 8) == "proof-index"


def ranges(hs):
    """The packed range over none, one, … of these headers."""
    m = mmr.MMR()
    out = [m.serialize()]
    for h in hs:
        m.append(h)
        out.append(m.serialize())
    return out


def grows(old, new, tops):
    return mmr.MMR.parse(old).extend(mmr.MMR.parse(new), list(tops))


def test_a_range_grows_into_every_later_one_by_the_tops_between_and_by_no_others():
    hs = hashes(40)
    packed, node = ranges(hs), proofs.header_nodes(hs)
    most = 0
    for new in range(41):
        for old in range(new + 1):
            steps = list(mmr.lacks(old, new))
            tops = [node(bin(size).count("0") - 1, start // size) for start, size in steps]
            most = max(most, len(tops))
            assert grows(packed[old], packed[new], tops) is True, (old, new)
            assert grows(packed[old], packed[new], tops + [bytes(32)]) is False
            for i in range(len(tops)):
                assert grows(packed[old], packed[new], tops[:i]) is False
                assert grows(packed[old], packed[new], tops[:i] + [hs[0]] + tops[i + 1:]) is False
            if old < new:
                assert grows(packed[new], packed[old], []) is None, "a later one has fewer"
    assert most == 5
    assert len(list(mmr.lacks(1, 105120))) == 16 and max([len(list(mmr.lacks(n, n + 2015))) for n in range(1, 2049)]) == 10


def test_a_range_grows_into_no_other_history():
    n = 40
    hs = hashes(n)
    packed, seen = ranges(hs), set()
    for changed in range(n):
        other = hs[:]
        other[changed] = bytes(32)
        lies, node = ranges(other), proofs.header_nodes(other)
        for old in range(changed + 1, n + 1):
            for new in (old, min(old + 1, n), min(old + 5, n), n):
                steps = list(mmr.lacks(old, new))
                tops = [node(bin(size).count("0") - 1, start // size) for start, size in steps]
                end = sum(steps[-1]) if steps else 0
                touched = changed >= end - (end & -end)  # inside the peak that the tops complete: they may be what is false
                got = grows(packed[old], lies[new], tops)
                assert got is (False if steps and touched else None), (changed, old, new, got)
                seen.add(got)
    assert len(seen) == 2
