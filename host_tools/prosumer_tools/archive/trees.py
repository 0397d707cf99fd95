"""Proofs over the ledger's hash trees, from a list of leaves or from a table of nodes (RFC 6962, RFC 9162 section 2.1).

A node is (level, position): the top of the full subtree over leaves [position << level, (position + 1) << level).
"""
import hashlib


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def leaf_salt(salt, tree, index):
    """`tree`: b"b" body, b"S" state."""
    return sha256(salt, tree, index.to_bytes(2, "big"))[:16]


def salted_leaves(salt, tree, records):
    return [sha256(b"\0", leaf_salt(salt, tree, i), r) for i, r in enumerate(records)]


def bound(tag, count, top):
    """Roots bind their count: tag 2 for body and state, 3 for the accumulator of headers."""
    return sha256(tag, count.to_bytes(4, "big"), top)


def split(size):
    """The largest power of two below size."""
    return 1 << (size - 1).bit_length() - 1


def full(lo, hi):
    """The full subtrees that leaves [lo, hi) consist of, from the left."""
    out = []
    while lo < hi:
        size = 1 << (hi - lo).bit_length() - 1
        out.append((size.bit_length() - 1, lo // size))
        lo += size
    return out


def path_ranges(count, index):
    """Leaf ranges whose tops prove leaf `index` of `count`, from the leaf upwards."""
    lo, hi, out = 0, count, []
    while hi - lo > 1:
        middle = lo + split(hi - lo)
        if index < middle:
            out.append((middle, hi))
            hi = middle
        else:
            out.append((lo, middle))
            lo = middle
    return out[::-1]


def consistency_ranges(old, new):
    """Leaf ranges whose tops prove that the first `old` of `new` leaves are the same; the first range is in both trees."""
    if old == new:
        return []
    lo, hi, out = 0, new, []
    while hi != old:
        middle = lo + split(hi - lo)
        if old <= middle:
            out.append((middle, hi))
            hi = middle
        else:
            out.append((lo, middle))
            lo = middle
    return [*out, (lo, hi)][::-1]


def fold(tops):
    """The top over full subtrees that stand side by side, largest first."""
    top = tops[-1] if tops else sha256()
    for left in tops[-2::-1]:
        top = sha256(b"\1", left, top)
    return top


def tops(ranges, fetch):
    """The hash of each range; `fetch` takes [(level, position)] and returns {(level, position): hash}."""
    nodes = fetch({node for lo, hi in ranges for node in full(lo, hi)})
    return [fold([nodes[node] for node in full(lo, hi)]) for lo, hi in ranges]


def grown(leaves):
    """All nodes over a list of leaf hashes, as `fetch` of `tops` wants them."""
    nodes = {(0, i): leaf for i, leaf in enumerate(leaves)}
    level = 0
    while len(leaves) >> level + 1:
        for i in range(len(leaves) >> level + 1):
            nodes[level + 1, i] = sha256(b"\1", nodes[level, 2 * i], nodes[level, 2 * i + 1])
        level += 1
    return nodes


class Range:
    """The accumulator of headers while it grows: `append` returns the nodes that are new."""

    def __init__(self, count=0, peaks=()):
        self.count, self.peaks = count, list(peaks)

    def append(self, header_hash):
        top, level, position = sha256(b"\0", header_hash), 0, self.count
        new = [(level, position, top)]
        while position & 1:
            top = sha256(b"\1", self.peaks.pop(), top)
            level, position = level + 1, position >> 1
            new.append((level, position, top))
        self.peaks.append(top)
        self.count += 1
        return new

    def root(self):
        return bound(b"\3", self.count, fold(self.peaks))
