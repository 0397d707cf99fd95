"""Proofs over the ledger's two trees and their check; a meter imports this only when somebody shows it a receipt.

A proof is the sibling hashes from the leaf upwards, 32 B each, at most 32 of them; order and side follow from count and index.
Body and state trees: `prove`, `verify`. Header accumulator: `prove_inclusion`, `verify_inclusion`, `prove_consistency`,
`verify_consistency`. Sources: RFC 6962, RFC 9162 section 2.1.
"""
from micropython import const

from prosumer.errors import Reject
from prosumer.ledger.merkle import bind, bound, hash_node
from prosumer.ledger.mmr import TAG, hash_leaf

_HASH = const(32)
_LEVELS = const(32)
_MAX = const(0xFFFFFFFF)


def nodes_of(leaves):
    """node(level, i) over a list of leaf hashes: the top of the full subtree over leaves [i << level, (i + 1) << level)."""

    def node(level, i):
        if not level:
            return leaves[i]
        return hash_node(node(level - 1, 2 * i), node(level - 1, 2 * i + 1))

    return node


def split(size):
    """The largest power of two below size (>= 2)."""
    k = 1
    while 2 * k < size:
        k *= 2
    return k


def top(node, lo, hi):
    """Top of the RFC 6962 tree over leaves [lo, hi), lo as such a tree would split; `node` gives full subtrees."""
    size = hi - lo
    if size & (size - 1) == 0:
        level = 0
        while size >> level > 1:
            level += 1
        return node(level, lo >> level)
    k = split(size)
    return hash_node(top(node, lo, lo + k), top(node, lo + k, hi))


def prove(node, count, index):
    """Proof that leaf `index` is one of the first `count`: node as `nodes_of` gives it, or an archive's table of nodes."""
    if not 0 <= index < count:
        raise Reject("proof-index")
    lo, hi = 0, count
    path = []
    while hi - lo > 1:
        middle = lo + split(hi - lo)
        if index < middle:
            path.append(top(node, middle, hi))
            hi = middle
        else:
            path.append(top(node, lo, middle))
            lo = middle
    return b"".join(reversed(path))


def verify_in(tag, root_hash, count, index, leaf, proof):
    """RFC 9162 section 2.1.3.2 with the bound root; Reject "proof-index", "proof-size" or "proof-wrong"."""
    if not 0 <= index < count <= _MAX:
        raise Reject("proof-index")
    if len(proof) % _HASH or len(proof) > _HASH * _LEVELS:
        raise Reject("proof-size")
    last = count - 1
    for at in range(0, len(proof), _HASH):
        if not last:
            raise Reject("proof-size")
        sibling = proof[at : at + _HASH]
        if index & 1 or index == last:
            leaf = hash_node(sibling, leaf)
            while not index & 1 and index:
                index >>= 1
                last >>= 1
        else:
            leaf = hash_node(leaf, sibling)
        index >>= 1
        last >>= 1
    if last:
        raise Reject("proof-size")
    if bound(tag, count, leaf) != root_hash:
        raise Reject("proof-wrong")
    return True


def verify(root_hash, count, index, leaf, proof):
    """True if the leaf hash is number `index` of `count` under this body root; else Reject."""
    return verify_in(b"\2", root_hash, count, index, leaf, proof)


def header_nodes(header_hashes):
    """node(level, i) over a list of header hashes; an archive gives the same from its table."""
    return nodes_of([hash_leaf(h) for h in header_hashes])


def prove_inclusion(node, count, index):
    """Siblings from leaf `index` upwards in the tree of `count`, 32 B each."""
    return prove(node, count, index)


def verify_inclusion(root, count, index, header_hash, proof):
    """True if the header hash is number `index` of the `count` under this root; else Reject ("proof-…")."""
    return verify_in(TAG, root, count, index, hash_leaf(header_hash), proof)


def prove_consistency(node, old, new):
    """That the first `old` of `new` headers are the very ones of the tree of `old`.

    RFC 9162 section 2.1.4.1, always starting with the node that both trees share (the RFC leaves it out where `old` is a
    power of two and the verifier has it as the old root; here the root is bound to its count).
    """
    if not 0 < old <= new:
        raise Reject("proof-index")
    if old == new:
        return b""
    lo, hi = 0, new
    path = []
    while hi != old:
        middle = lo + split(hi - lo)
        if old <= middle:
            path.append(top(node, middle, hi))
            hi = middle
        else:
            path.append(top(node, lo, middle))
            lo = middle
    path.append(top(node, lo, hi))
    return b"".join(reversed(path))


def verify_consistency(old_root, old, new_root, new, proof):
    """True if the tree of `new` headers continues the one of `old`: RFC 9162 section 2.1.4.2; else Reject ("proof-…")."""
    if not 0 < old <= new <= 0xFFFFFFFF:
        raise Reject("proof-index")
    if len(proof) % _HASH or len(proof) > _HASH * 34 or (old == new) != (not proof):
        raise Reject("proof-size")
    if old == new:
        if old_root != new_root:
            raise Reject("proof-wrong")
        return True
    at, last = old - 1, new - 1
    while at & 1:
        at >>= 1
        last >>= 1
    a = b = proof[:_HASH]
    for i in range(_HASH, len(proof), _HASH):
        if not last:
            raise Reject("proof-size")
        sibling = proof[i : i + _HASH]
        if at & 1 or at == last:
            a = hash_node(sibling, a)
            b = hash_node(sibling, b)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            b = hash_node(b, sibling)
        at >>= 1
        last >>= 1
    if last:
        raise Reject("proof-size")
    if bind(TAG, old, [a]) != old_root or bind(TAG, new, [b]) != new_root:
        raise Reject("proof-wrong")
    return True
