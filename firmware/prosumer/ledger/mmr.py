"""Merkle mountain range over header hashes: a few peaks on the meter prove every header since the genesis.

    leaf = SHA-256(00 | header hash), node = SHA-256(01 | left | right), peaks: tops of full subtrees, largest first
    root = SHA-256(03 | u32 count | peaks folded from the right)

That is RFC 6962's tree, grown in place: 105,120 headers (a year of 5-minute slots) keep at most 17 peaks, and 17 hashes prove one.
Proofs (proofs.py) are made by whoever holds the nodes and checked by anyone with a root.
"""
import hashlib
import struct

from micropython import const
from prosumer.errors import Reject
from prosumer.ledger import merkle

_HASH = const(32)
TAG = b"\3"


def hash_leaf(header_hash):
    return hashlib.sha256(b"\0" + header_hash).digest()


def lacks(old, new):
    """(first leaf, leaves) of the full subtrees, the smallest first, whose tops make a tree of `old` leaves all that it shares with one
    of `new`: what lies behind them are peaks of the latter. That is the consistency proof of RFC 9162 section 2.1.4 less what
    either side's peaks tell already: at most 16 tops over a year, 10 over a week."""
    while old and old + (old & -old) <= new:
        yield old, old & -old
        old += old & -old


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

    def extend(self, later, peaks):
        """Put the `peaks` of lacks() up to `later` behind this range. True: it is then the front of `later`, which holds all that this one
        held; False: that is not shown; None: it cannot be, whatever they are, since untouched peaks differ or headers are missing."""
        end = None
        for start, size in lacks(self.count, later.count):
            merkle.push(self.peaks, start // size, peaks.pop(0) if peaks else bytes(_HASH))
            end = -1
        same = [a == b for a, b in zip(self.peaks, later.peaks)]
        if later.count < self.count or False in same[:end]:
            return None
        return not peaks and False not in same

    def root(self):
        return merkle.bind(TAG, self.count, self.peaks)

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
