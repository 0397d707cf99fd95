"""Merkle trees as in RFC 6962 / RFC 9162 section 2.1: body roots over salted leaves.

    leaf  = SHA-256(00 | salt | data)           16 B random salt: a hash seen in a proof tells nothing about its data
    node  = SHA-256(01 | left | right)          a tree of n leaves splits at the largest power of two below n
    root  = SHA-256(02 | u32 n | top node)      n is bound, so a proof cannot lie about the place of a leaf in the tree

Proofs and their check: proofs.py, imported when they are wanted.
"""
import hashlib
import struct

from prosumer.errors import Reject

SALT_SIZE = 16


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
    return bound(tag, count, top)


def bound(tag, count, top):
    return hashlib.sha256(tag + struct.pack(">I", count) + top).digest()


def root(leaves):
    """Root over an iterable of leaf hashes; it is read once and not kept."""
    peaks = []
    count = 0
    for leaf in leaves:
        push(peaks, count, leaf)
        count += 1
    return bind(b"\2", count, peaks)
