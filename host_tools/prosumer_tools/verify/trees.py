"""Hash trees of a block: RFC 6962 by its recursive definition, with the number of leaves bound into the root."""
import hashlib


def _h(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def _split(n):
    """The largest power of two below n."""
    return 1 << (n - 1).bit_length() - 1


def _top(leaves):
    if not leaves:
        return _h()
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return _h(b"\1", _top(leaves[:k]), _top(leaves[k:]))


def salted_root(salt, tree, records):
    """Root over records, each hashed with a salt of its own: SHA-256(salt, tree, u16 number)[:16]."""
    leaves = [_h(b"\0", _h(salt, tree, i.to_bytes(2, "big"))[:16], r) for i, r in enumerate(records)]
    return _h(b"\2", len(leaves).to_bytes(4, "big"), _top(leaves))


class Accumulator:
    """Over all header hashes so far. Full subtrees are kept, so that a root costs few hashes however long the chain is."""

    def __init__(self):
        self.leaves = []
        self.full = {}

    def append(self, header_hash):
        self.leaves.append(_h(b"\0", header_hash))

    def _top(self, low, high):
        size = high - low
        if size == 1:
            return self.leaves[low]
        whole = size & (size - 1) == 0
        if whole and (low, high) in self.full:
            return self.full[low, high]
        middle = low + _split(size)
        top = _h(b"\1", self._top(low, middle), self._top(middle, high))
        if whole:
            self.full[low, high] = top
        return top

    def root(self):
        top = self._top(0, len(self.leaves)) if self.leaves else _h()
        return _h(b"\3", len(self.leaves).to_bytes(4, "big"), top)
