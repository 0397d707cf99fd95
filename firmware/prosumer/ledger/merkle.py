"""Merkle trees as in RFC 6962 / RFC 9162 section 2.1: body roots over salted leaves, their proofs, the check of a proof.

    leaf  = SHA-256(00 | salt | data)           16 B random salt: a hash seen in a proof tells nothing about its data
    node  = SHA-256(01 | left | right)          a tree of n leaves splits at the largest power of two below n
    root  = SHA-256(02 | u32 n | top node)      n is bound, so a proof cannot lie about the place of a leaf in the tree

A proof is the sibling hashes from the leaf upwards, 32 B each, at most 32 of them; order and side follow from n and index.
"""
import hashlib
import struct

from micropython import const
from prosumer.errors import Reject

SALT_SIZE = 16
_HASH = const(32)
_LEVELS = const(32)
_MAX = const(0xFFFFFFFF)


def hash_leaf(salt, data):
    """A leaf: the salt (16 B) and the record as it stands in the body."""
    if len(salt) != SALT_SIZE:
        raise Reject("salt-size")
    h = hashlib.sha256(b"\0")
    h.update(salt)
    h.update(data)
    return h.digest()


def hash_node(left, right):
    h = hashlib.sha256(b"\1")
    h.update(left)
    h.update(right)
    return h.digest()


def push(peaks, count, leaf):
    """Add a leaf hash to the tops (largest first) of the full subtrees over the `count` leaves before it."""
    while count & 1:
        leaf = hash_node(peaks.pop(), leaf)
        count >>= 1
    peaks.append(leaf)


def bind(tag, count, peaks):
    """The root over `count` leaves whose full subtrees have these tops. Folding them from the right gives RFC 6962's tree."""
    if peaks:
        top = peaks[-1]
        for i in range(len(peaks) - 2, -1, -1):
            top = hash_node(peaks[i], top)
    else:
        top = hashlib.sha256(b"").digest()
    return _bound(tag, count, top)


def _bound(tag, count, top):
    return hashlib.sha256(tag + struct.pack(">I", count) + top).digest()


def root(leaves):
    """Root over an iterable of leaf hashes; it is read once and not kept."""
    peaks = []
    count = 0
    for leaf in leaves:
        push(peaks, count, leaf)
        count += 1
    return bind(b"\2", count, peaks)


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
    if _bound(tag, count, leaf) != root_hash:
        raise Reject("proof-wrong")
    return True


def verify(root_hash, count, index, leaf, proof):
    """True if the leaf hash is number `index` of `count` under this body root; else Reject."""
    return verify_in(b"\2", root_hash, count, index, leaf, proof)
