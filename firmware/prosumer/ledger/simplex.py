"""Agreement between meters: Simplex consensus as a pure state machine: no I/O, no clock, no cryptography.

Source: B. Y. Chan, R. Pass, "Simplex Consensus: A Simple and Fast Consensus Protocol", TCC 2023 (ePrint 2023/463).
Fewer than a third of the n voters lie; messages may be late, lost, doubled or reordered for any time; safety never
depends on time. f = (n-1)//3, quorum q = n - f, so that two quorums share n - 2f >= f + 1 voters, one of them honest.

Iteration h = 1, 2, 3 … has one proposer, `leader(h, n)`, and ends *notarized*, by q votes for its block or for the dummy:

    propose  (h, hash, parent)  valid block, parent notarized, every iteration between them dummy-notarized -> vote
    vote     (h, hash)          at most one block a voter and iteration, none after its dummy vote or after leaving h
    vote     (h, DUMMY)         when its timer for h fires, also if it voted a block before
    q votes  (h, X)             enter h+1; if X is a block and this voter never voted DUMMY in h: finalize (h, X)
    q finalize (h, hash)        the block and all its ancestors are final; those q signatures are the proof of it

Why it is safe: one block at most gets q votes in h. Whoever finalizes h never votes the dummy of h, so a final block
of h excludes q dummy votes in h, and no later block can skip it. A notarized block vouches for its whole chain (one
honest voter checked it), hence a meter need not know what lies under its tip. The paper lets a voter vote for a
block after its dummy vote too; that would be safe and is not done here, since the dummy vote ends its interest in h.

Calls (the caller has verified signatures and, for a proposal, the block; it calls with one message at a time):

    s = Simplex(n, me, h=0, block_hash=GENESIS)   me: this member's number in 0..n-1, or None for one who only follows
    s.propose_parent()                      -> (h, hash) to extend if it is mine to propose now, else None
    s.on_proposal(h, hash, parent_h, parent_hash), s.on_vote(h, member, hash), s.on_finalize(h, member, hash),
    s.on_timeout(h), s.adopt_notarized(h, hash), s.adopt_final(h, hash)   -> list of actions, in the order to do them:

    ("vote", h, hash or DUMMY)              sign and publish; already counted here
    ("finalize", h, hash)                   sign and publish; already counted here
    ("enter", h, hash or DUMMY)             iteration h starts, h-1 having ended with this; start the timer of h, drop older
    ("final", h, hash, bitmap)              final by the finalize signatures of these members (0: by adopt_final)
    ("equivocation", h, member, kind, hash) contradicts its earlier "propose", "vote" or "finalize" of this hash (once a
                                            member and h). Both signed messages are the proof; honest members never do it
    ("fork", h, hash)                       this quorum cannot exist unless more than f members lie: halt, call a human

Durability: persist `snapshot()` BEFORE any of the actions leaves the meter, together with the certificates (q votes) of
the tip and of the dummies since: they are what a restarted street gives to its laggards. After a restart, and at every
retransmission, publish `resend()` and those certificates. Vote sets of others are not in the snapshot.

Signatures worth keeping are those of iterations with `keeps(h)`; `votes_of(h)` and the bitmap of "final" say whose counted.
A certificate (q checked signatures) goes into `adopt_notarized`/`adopt_final`: it counts whatever this meter saw before.
Memory: iterations [iteration - 4, iteration + 4] and the tip's, one bitmap for each hash voted. Outside: Reject
"iteration-old" or "iteration-far" (the latter says: we lag, ask for certificates).
"""
import struct

from micropython import const
from prosumer.errors import Reject
from prosumer.ledger.tally import DUMMY, Round, count, leader, quorum

_BEHIND = const(4)  # iterations whose votes are kept behind the current one: late votes still prove equivocation, finality
_AHEAD = const(4)  # and before it: neighbours that are faster
_DEPTH = const(32)  # dummies remembered at and below the tip, in iterations
_FORKS = const(7)  # notarized, not final blocks remembered beside the tip

_VOTED = const(1)  # flags of a snapshot
_DUMMIED = const(2)
_FINALIZED = const(4)
_FINAL_IS_TIP = const(8)
_LAST_VOTED = const(16)
_LAST_DUMMIED = const(32)
_HEAD = const(">BIBI")  # version, iteration, flags, dummies
_POINT = const(">I32s")  # iteration, hash


class Simplex:
    def __init__(self, n, me, h=0, block_hash=DUMMY):
        """Start after (h, block_hash), which is final: the genesis, or the last header of which a certificate was checked."""
        if not 0 < n <= 64 or (me is not None and not 0 <= me < n):
            raise Reject("members-range")
        self.n = n
        self.me = me
        self.iteration = h + 1
        self.tip = self.final = (h, block_hash)
        self.voted = None  # my block vote in this iteration
        self.dummied = False  # my dummy vote in this iteration
        self._finalized = False  # I published finalize for the tip
        self._last = (0, None, False)  # iteration, block, dummy: my votes in the last iteration I left after voting
        self._below = 0  # bit i: the dummy of iteration tip[0] - i is notarized
        self._forks = []  # notarized blocks between final and tip
        self._rounds = {}
        # Between tip and current iteration every dummy is notarized: that is how it got here.

    def propose_parent(self):
        """What to extend if I lead this iteration and have not voted in it; a proposal once voted may be sent again only."""
        if self.me is None or leader(self.iteration, self.n) != self.me or self.voted or self.dummied:
            return None
        return self.tip

    def votable(self, h, parent_h, parent_hash):
        """True if a valid block with this parent would get my vote now: worth executing."""
        if self.me is None or h != self.iteration or self.voted or self.dummied:
            return False
        return self._parent_known(parent_h, parent_hash)

    def keeps(self, h):
        """True if messages of iteration h still count; drop the signatures of all others."""
        return h == self.tip[0] or self.iteration - _BEHIND <= h <= self.iteration + _AHEAD

    def votes_of(self, h):
        """{hash or DUMMY: bitmap of the members whose vote counted} in iteration h."""
        r = self._rounds.get(h) or Round()
        votes = dict(r.votes)
        if r.dummies:
            votes[DUMMY] = r.dummies
        return votes

    def resend(self):
        """What I said and others may have missed, as actions; publishing it again is always right."""
        out = []
        h, block, dummy = self._last
        if h and h + 1 >= self.iteration:
            if block:
                out.append(("vote", h, block))
            if dummy:
                out.append(("vote", h, DUMMY))
        if self._finalized:
            out.append(("finalize",) + self.tip)
        if self.voted:
            out.append(("vote", self.iteration, self.voted))
        if self.dummied:
            out.append(("vote", self.iteration, DUMMY))
        return out

    def on_proposal(self, h, block_hash, parent_h, parent_hash):
        """The leader of h proposes a block that the caller found valid. Kept until its parent is known, while h lasts."""
        if block_hash == DUMMY or not 0 <= parent_h < h:
            raise Reject("proposal-parent")
        r = self._round(h)
        out = []
        if r.proposal is None:
            r.proposal = (block_hash, parent_h, parent_hash)
            self._try_vote(out)
        elif r.proposal[0] != block_hash:
            r.accuse(h, leader(h, self.n), "propose", r.proposal[0], out)
        return out

    def on_vote(self, h, member, block_hash):
        self._check_member(member)
        out = []
        self._count_vote(self._round(h), h, member, block_hash, out)
        self._try_vote(out)
        return out

    def on_finalize(self, h, member, block_hash):
        self._check_member(member)
        if block_hash == DUMMY:
            raise Reject("finalize-dummy")
        out = []
        self._count_final(self._round(h), h, member, block_hash, out)
        self._try_vote(out)
        return out

    def on_timeout(self, h):
        """My timer of iteration h fired: vote for its dummy, unless h is over or that was done."""
        out = []
        if h == self.iteration and not self.dummied and self.me is not None:
            self.dummied = True
            out.append(("vote", h, DUMMY))
            self._count_vote(self._round(h), h, self.me, DUMMY, out)
            self._try_vote(out)
        return out

    def adopt_notarized(self, h, block_hash):
        """A notarization certificate of (h, block or DUMMY), checked by the caller.

        A block may be any distance ahead; dummies only within the window (a run of them is given in rising order).
        """
        out = []
        if h <= self.final[0]:
            return out
        if block_hash == DUMMY and h >= self.iteration:
            self._round(h).dummy_known = True
        self._notarized(h, block_hash, out)
        self._try_vote(out)
        return out

    def adopt_final(self, h, block_hash):
        """A finality certificate of (h, block), checked by the caller: catch-up. Never takes a vote back."""
        out = []
        self._final(h, block_hash, 0, out)
        self._try_vote(out)
        return out

    # -- rules (each is a method of its own so that the adversary's tests can break exactly one)

    def _quorum(self):
        return quorum(self.n)

    def _may_finalize(self, h):
        """Having voted the dummy of h excludes it. An iteration I was never in I have not voted in, and never shall."""
        return self.me is not None and not (h == self.iteration and self.dummied)

    def _parent_known(self, parent_h, parent_hash):
        """The parent is notarized and every iteration from it to the current one has a notarized dummy."""
        parent = (parent_h, parent_hash)
        if parent == self.tip:
            return True
        if parent != self.final and parent not in self._forks:
            return False
        gap = self.tip[0] - parent_h
        if not 0 < gap <= _DEPTH:
            return False
        mask = (1 << gap) - 1
        return self._below & mask == mask

    def _check_member(self, member):
        if not 0 <= member < self.n:
            raise Reject("member-unknown")

    def _round(self, h):
        r = self._rounds.get(h)
        if r is None:
            if h > self.iteration + _AHEAD:
                raise Reject("iteration-far")
            if not self.keeps(h) or h < 1:
                raise Reject("iteration-old")
            r = self._rounds[h] = Round()
        return r

    def _count_vote(self, r, h, member, block_hash, out):
        votes = count(r.vote(h, member, block_hash, out))
        if block_hash == DUMMY:
            if votes >= self._quorum() and not r.dummy_known:
                r.dummy_known = True
                self._notarized(h, DUMMY, out)
        elif votes == self._quorum():
            self._notarized(h, block_hash, out)

    def _count_final(self, r, h, member, block_hash, out):
        members = r.finalize(h, member, block_hash, out)
        if count(members) == self._quorum():
            self._final(h, block_hash, members, out)

    def _dummy_known(self, h):
        below = self.tip[0] - h
        if below >= 0:
            return below < _DEPTH and bool(self._below >> below & 1)
        if h < self.iteration:
            return True
        r = self._rounds.get(h)
        return r is not None and r.dummy_known

    def _notarized(self, h, block_hash, out):
        """(h, block or DUMMY) is known to be notarized."""
        if block_hash == DUMMY:
            if h == self.iteration:
                self._enter(h + 1, DUMMY, out)
            elif 0 <= self.tip[0] - h < _DEPTH:
                self._below |= 1 << (self.tip[0] - h)
        elif h > self.tip[0]:
            self._raise_tip(h, block_hash)
            if h >= self.iteration:
                mine = self._may_finalize(h)
                if mine:
                    self._finalized = True
                    out.append(("finalize", h, block_hash))
                self._enter(h + 1, block_hash, out)
                if mine:
                    self._count_final(self._round(h), h, self.me, block_hash, out)
        else:
            for point in (self.tip, self.final) + tuple(self._forks):
                if point[0] == h:
                    if point[1] != block_hash:
                        out.append(("fork", h, block_hash))
                    return
            if h > self.final[0]:
                self._forks = sorted(self._forks + [(h, block_hash)])[-_FORKS:]

    def _raise_tip(self, h, block_hash):
        below = 0
        for i in range(_DEPTH):
            if self._dummy_known(h - i):
                below |= 1 << i
        if self.tip[0] > self.final[0]:
            self._forks = (self._forks + [self.tip])[-_FORKS:]
        self._below = below
        self._finalized = False
        self.tip = (h, block_hash)

    def _final(self, h, block_hash, members, out):
        if h < self.final[0] or (h, block_hash) == self.final:
            return
        if h == self.final[0] or self._dummy_known(h):
            out.append(("fork", h, block_hash))
            return
        alarms = len(out)
        self._notarized(h, block_hash, out)  # also says my own finalize: others may have fewer of them than I
        for action in out[alarms:]:
            if action[0] == "fork":
                return
        if h > self.final[0]:  # not yet by the finalize just counted
            self.final = (h, block_hash)
            self._forks = [p for p in self._forks if p[0] > h]
            out.append(("final", h, block_hash, members))

    def _enter(self, h, by, out):
        """Leave the current iteration for h; go on while the dummies of later ones are known already."""
        while True:
            if self.voted or self.dummied:
                self._last = (self.iteration, self.voted, self.dummied)
            self.iteration = h
            self.voted = None
            self.dummied = False
            out.append(("enter", h, by))
            r = self._rounds.get(h)
            if r is None or not r.dummy_known:
                break
            h += 1
            by = DUMMY
        for old in [k for k in self._rounds if not self.keeps(k)]:
            del self._rounds[old]

    def _try_vote(self, out):
        """Vote for the proposal that waits in the current iteration; my own vote may end it, and so on."""
        while True:
            h = self.iteration
            r = self._rounds.get(h)
            if r is None or r.proposal is None or not self.votable(h, r.proposal[1], r.proposal[2]):
                return
            self.voted = r.proposal[0]
            out.append(("vote", h, self.voted))
            self._count_vote(r, h, self.me, self.voted, out)

    # -- what must never be forgotten

    def snapshot(self):
        """47 to 200 bytes, at most 403: all that this voter must never forget.

        u8 1 | u32 iteration | u8 flags | u32 dummies below the tip | tip | [final, if not the tip] | [32 B my vote]
        | [last iteration voted in and 32 B its vote] | u8 k | k * notarized blocks; each point is u32 iteration, 32 B hash
        """
        last_h, last_block, last_dummy = self._last
        flags = _VOTED if self.voted else 0
        flags |= _DUMMIED if self.dummied else 0
        flags |= _FINALIZED if self._finalized else 0
        flags |= _FINAL_IS_TIP if self.final == self.tip else 0
        flags |= (_LAST_VOTED if last_block else 0) | (_LAST_DUMMIED if last_dummy else 0)
        out = struct.pack(_HEAD, 1, self.iteration, flags, self._below) + struct.pack(_POINT, *self.tip)
        if self.final != self.tip:
            out += struct.pack(_POINT, *self.final)
        if self.voted:
            out += self.voted
        if last_h:
            out += struct.pack(_POINT, last_h, last_block or DUMMY)
        out += bytes((len(self._forks),))
        for point in self._forks:
            out += struct.pack(_POINT, *point)
        return out

    @classmethod
    def restore(cls, n, me, data):
        """The voter as it was at `snapshot()`. Reject "snapshot-malformed" if these are not its bytes."""
        if len(data) < 47 or data[0] != 1:
            raise Reject("snapshot-malformed")
        _, iteration, flags, below = struct.unpack_from(_HEAD, data, 0)
        at = 10

        def point():
            nonlocal at
            if at + 36 > len(data):
                raise Reject("snapshot-malformed")
            at += 36
            return struct.unpack_from(_POINT, data, at - 36)

        tip = point()
        s = cls(n, me, *tip)
        if not flags & _FINAL_IS_TIP:
            s.final = point()
        s.iteration = iteration
        s.dummied = bool(flags & _DUMMIED)
        s._finalized = bool(flags & _FINALIZED)
        s._below = below
        if flags & _VOTED:
            s.voted = bytes(data[at : at + 32])
            at += 32
        if flags & (_LAST_VOTED | _LAST_DUMMIED):
            h, block = point()
            s._last = (h, block if flags & _LAST_VOTED else None, bool(flags & _LAST_DUMMIED))
        k = data[at] if at < len(data) else 255
        at += 1
        if k > _FORKS or at + 36 * k != len(data) or iteration <= tip[0] or s.final[0] > tip[0]:
            raise Reject("snapshot-malformed")
        s._forks = [point() for _ in range(k)]
        for kind, h, block in s.resend():
            if s.keeps(h):
                r = s._round(h)
                if kind == "finalize":
                    r.finals[block] = 1 << me
                elif block == DUMMY:
                    r.dummies = 1 << me
                else:
                    r.votes[block] = 1 << me
        return s
