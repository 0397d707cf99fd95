"""Who said what in one iteration of the agreement: bitmaps of members by block hash, and lies told by contradiction."""

DUMMY = bytes(32)


def faults(n):
    """How many of n voters may lie."""
    return (n - 1) // 3


def quorum(n):
    """Votes that make a certificate among n voters; 2f+1 would be right for n = 3f+1 alone."""
    return n - faults(n)


def leader(h, n):
    return h % n


def count(bitmap):
    """Members in a bitmap."""
    c = 0
    while bitmap:
        bitmap &= bitmap - 1
        c += 1
    return c


def _said(table, member):
    """The hash this member is counted for, or None."""
    for block_hash, members in table.items():
        if members >> member & 1:
            return block_hash
    return None


class Round:
    """What was heard in one iteration. A member's first block counts, so f liars add f hashes at most."""

    def __init__(self):
        self.proposal = None  # (hash, parent_h, parent_hash), the first one
        self.votes = {}  # block hash: bitmap of members
        self.dummies = 0
        self.finals = {}  # block hash: bitmap of members
        self.liars = 0  # accused already
        self.dummy_known = False  # by quorum or by an adopted certificate

    def vote(self, h, member, block_hash, out):
        """Count a vote; the members that now stand behind this hash, or 0 if that changed nothing."""
        bit = 1 << member
        if block_hash == DUMMY:
            if self.dummies & bit:
                return 0
            said = _said(self.finals, member)
            if said:
                self.accuse(h, member, "finalize", said, out)
            self.dummies |= bit
            return self.dummies
        return self._count(self.votes, "vote", h, member, block_hash, out)

    def finalize(self, h, member, block_hash, out):
        """Count a finalize, likewise."""
        if self.dummies >> member & 1:
            self.accuse(h, member, "vote", DUMMY, out)
        return self._count(self.finals, "finalize", h, member, block_hash, out)

    def _count(self, table, kind, h, member, block_hash, out):
        said = _said(table, member)
        if said is None:
            table[block_hash] = members = table.get(block_hash, 0) | 1 << member
            return members
        if said != block_hash:
            self.accuse(h, member, kind, said, out)
        return 0

    def accuse(self, h, member, kind, block_hash, out):
        if not self.liars >> member & 1:
            self.liars |= 1 << member
            out.append(("equivocation", h, member, kind, block_hash))
