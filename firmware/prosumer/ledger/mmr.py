"""Merkle mountain range over header hashes: a few peaks on the meter prove every header since the genesis.

    leaf = SHA-256(00 | header hash), node = SHA-256(01 | left | right), peaks: tops of full subtrees, largest first
    root = SHA-256(03 | u32 count | peaks folded from the right)

That is RFC 6962's tree, grown in place: 105,120 headers (a year of 5-minute slots) keep at most 17 peaks, and 17 hashes prove one.
Proofs are made by whoever holds the nodes (an archive, or a list of all header hashes) and checked by anyone with a root.
"""
import hashlib
import struct

from micropython import const
from prosumer.errors import Reject
from prosumer.ledger import merkle

_HASH = const(32)
_TAG = b"\3"


def hash_leaf(header_hash):
    return hashlib.sha256(b"\0" + header_hash).digest()


class MMR:
    """`count` header hashes seen so far and their `peaks`."""

    def __init__(self):
        self.count = 0
        self.peaks = []

    def append(self, header_hash):
        if len(header_hash) != _HASH:
            raise Reject("hash-size")
        merkle.push(self.peaks, self.count, hash_leaf(header_hash))
        self.count += 1

    def root(self):
        return merkle.bind(_TAG, self.count, self.peaks)

    def serialize(self):
        """u32 count | 32 B a peak, one for each bit set in count."""
        return struct.pack(">I", self.count) + b"".join(self.peaks)

    @classmethod
    def parse(cls, data):
        """Reject "mmr-malformed". Peaks from a stranger are good if `root()` is the accumulator of a final header."""
        if len(data) < 4:
            raise Reject("mmr-malformed")
        m = cls()
        m.count = count = struct.unpack(">I", data[:4])[0]
        bits = 0
        while count:
            count &= count - 1
            bits += 1
        if len(data) != 4 + bits * _HASH:
            raise Reject("mmr-malformed")
        m.peaks = [bytes(data[at : at + _HASH]) for at in range(4, len(data), _HASH)]
        return m


def nodes_of(header_hashes):
    """node(level, i) over a list of header hashes; an archive gives the same from its table."""
    return merkle.nodes_of([hash_leaf(h) for h in header_hashes])


def prove_inclusion(node, count, index):
    """Siblings from leaf `index` upwards in the tree of `count`, 32 B each."""
    return merkle.prove(node, count, index)


def verify_inclusion(root, count, index, header_hash, proof):
    """True if the header hash is number `index` of the `count` under this root; else Reject ("proof-…")."""
    return merkle.verify_in(_TAG, root, count, index, hash_leaf(header_hash), proof)


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
        middle = lo + merkle.split(hi - lo)
        if old <= middle:
            path.append(merkle.top(node, middle, hi))
            hi = middle
        else:
            path.append(merkle.top(node, lo, middle))
            lo = middle
    path.append(merkle.top(node, lo, hi))
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
            a = merkle.hash_node(sibling, a)
            b = merkle.hash_node(sibling, b)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            b = merkle.hash_node(b, sibling)
        at >>= 1
        last >>= 1
    if last:
        raise Reject("proof-size")
    if merkle.bind(_TAG, old, [a]) != old_root or merkle.bind(_TAG, new, [b]) != new_root:
        raise Reject("proof-wrong")
    return True
