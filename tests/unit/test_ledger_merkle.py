"""Body trees: the published vectors of Certificate Transparency (RFC 6962 reference tests), then every small tree and every lie."""
import hashlib
from binascii import unhexlify

from prosumer.errors import Reject
from prosumer.ledger import merkle, proofs

# Leaf inputs and tree heads of sizes 1..8 as in the Certificate Transparency project's Merkle tree tests.
INPUTS = [
    unhexlify(x)
    for x in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
HEADS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
PATH_0_OF_8 = (
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
)


def code(f, *args):
    try:
        f(*args)
    except Reject as e:
        return e.code
    return None


def ct_leaves():
    return [hashlib.sha256(b"\0" + x).digest() for x in INPUTS]


def salted(n):
    return [merkle.hash_leaf(bytes([i]) * 16, b"record %d" % i) for i in range(n)]


def test_tree_heads_of_rfc_6962():
    leaves = ct_leaves()
    for n in range(1, 9):
        head = proofs.top(proofs.nodes_of(leaves), 0, n)
        assert head == unhexlify(HEADS[n - 1]), n
        assert merkle.root(leaves[:n]) == hashlib.sha256(b"\2" + bytes((0, 0, 0, n)) + head).digest()


def test_audit_path_of_rfc_6962():
    assert proofs.prove(proofs.nodes_of(ct_leaves()), 8, 0) == unhexlify(PATH_0_OF_8)


def test_salted_leaf():
    assert merkle.hash_leaf(b"s" * 16, b"data") == hashlib.sha256(b"\0" + b"s" * 16 + b"data").digest()
    assert code(merkle.hash_leaf, b"s" * 15, b"xdata") == "salt-size"


def test_every_leaf_of_every_small_tree():
    leaves = salted(33)
    node = proofs.nodes_of(leaves)
    for n in range(1, 34):
        root = merkle.root(leaves[:n])
        for i in range(n):
            proof = proofs.prove(node, n, i)
            assert proofs.verify(root, n, i, leaves[i], proof)
            assert len(proof) <= 32 * 6
    assert merkle.root([]) == hashlib.sha256(b"\2\0\0\0\0" + hashlib.sha256(b"").digest()).digest()


def test_no_other_place_count_leaf_or_proof():
    n = 11
    leaves = salted(n)
    root = merkle.root(leaves)
    for i in range(n):
        proof = proofs.prove(proofs.nodes_of(leaves), n, i)
        for j in range(n):
            if i != j:
                assert code(proofs.verify, root, n, j, leaves[i], proof) in ("proof-wrong", "proof-size")
                assert code(proofs.verify, root, n, i, leaves[j], proof) == "proof-wrong"
        for m in list(range(i + 1, 40)) + [1 << 31, 0xFFFFFFFF]:
            if m != n:
                assert code(proofs.verify, root, m, i, leaves[i], proof) in ("proof-wrong", "proof-size")
        for at in range(0, len(proof), 5):
            bad = bytearray(proof)
            bad[at] ^= 1
            assert code(proofs.verify, root, n, i, leaves[i], bytes(bad)) == "proof-wrong"
        assert code(proofs.verify, root, n, i, leaves[i], proof[:-32]) == "proof-size"
        assert code(proofs.verify, root, n, i, leaves[i], proof + proof[:32]) == "proof-size"
        assert code(proofs.verify, root, n, i, leaves[i], proof[:-1]) == "proof-size"
    assert code(proofs.verify, root, n, n, leaves[0], b"") == "proof-index"
    assert code(proofs.verify, root, n, -1, leaves[0], b"") == "proof-index"
    assert code(proofs.verify, root, 1 << 32, 0, leaves[0], b"") == "proof-index"
    assert code(proofs.prove, proofs.nodes_of(leaves), n, n) == "proof-index"


def test_a_node_is_not_a_leaf():
    """The second-preimage trick on trees without domain separation: pass an inner node off as a leaf."""
    leaves = salted(4)
    inner = [merkle.hash_node(leaves[0], leaves[1]), merkle.hash_node(leaves[2], leaves[3])]
    assert merkle.root(leaves) != merkle.root(inner)
    assert code(proofs.verify, merkle.root(leaves), 2, 0, inner[0], inner[1]) == "proof-wrong"
