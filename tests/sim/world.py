"""A street under an adversary who owns the network and f members: honest members run the real core, as its caller must.

The adversary sees every message at once, holds, drops, doubles, reorders and replays what it likes, restarts members in the
middle of a step, fires their timers, builds certificates from any signatures that exist, and signs anything in the name of the
members it owns. It cannot sign for the others: whatever arrives is checked against the log of what was really signed.
"""
from random import getrandbits

from prosumer.errors import Reject
from prosumer.ledger.simplex import DUMMY, count, leader

GENESIS = b"\xff" * 32


class Conflict(Exception):
    """Two final blocks, neither an ancestor of the other."""


class Broken(Exception):
    """An honest member broke its word, was accused of it, or an honest slot did not finalise under synchrony."""


class Member:
    """What a caller of the core keeps: the core, its snapshot on disk, and certificates (of the tip and the dummies since)."""

    def __init__(self, core):
        self.core = core
        self.certs = {}  # (h, hash): bitmap
        self.final_cert = None
        self.disk = core.snapshot()
        self.disk_certs = {}
        self.inbox = []
        self.blocks = {}  # what it published, for the promises
        self.dummies = set()
        self.finals = {}


class World:
    def __init__(self, n, make, byzantine, strict):
        """make: the core's class; byzantine: bitmap; strict: check promises too (broken rules are to be found without)."""
        self.n = n
        self.make = make
        self.byzantine = byzantine
        self.strict = strict
        self.members = [None if byzantine >> i & 1 else Member(make(n, i, 0, GENESIS)) for i in range(n)]
        self.honest = [i for i in range(n) if self.members[i]]
        self.quorum = self.members[self.honest[0]].core._quorum()
        self.blocks = {GENESIS: (0, 0, GENESIS)}  # hash: (h, parent h, parent hash)
        self.by_iteration = {}  # h: hashes proposed in it
        self.signed = {}  # (kind, h, hash): bitmap
        self.statements = []  # its keys as they came: the order of a dict of tuples differs from process to process
        self.final = (0, GENESIS)  # the longest anyone has
        self.finals = 0
        self.alarms = 0  # a member saw by itself that too many lie
        self.groups = 0  # members on one side of the partition; 0: none

    # -- the truth

    def new_block(self, h, parent_h, parent_hash):
        block = len(self.blocks).to_bytes(4, "big") + bytes(27) + b"\1"
        self.blocks[block] = (h, parent_h, parent_hash)
        self.by_iteration.setdefault(h, []).append(block)
        return block

    def is_ancestor(self, low, high):
        h, block = high
        while h > low[0]:
            _, h, block = self.blocks[block]
        return (h, block) == low

    def check_final(self, h, block):
        self.finals += 1
        if h > self.final[0]:
            if not self.is_ancestor(self.final, (h, block)):
                raise Conflict("final in %d and in %d" % (self.final[0], h))
            self.final = (h, block)
        elif not self.is_ancestor((h, block), self.final):
            raise Conflict("final in %d and in %d" % (h, self.final[0]))

    def genuine(self, kind, h, block, bitmap):
        return bitmap & ~(self.signed.get((kind, h, block), 0) | self.byzantine) == 0

    def certificate(self, kind, h, block):
        """The bitmap of a certificate that can be built from all signatures there are, or 0."""
        bitmap = self.signed.get((kind, h, block), 0) | self.byzantine
        return bitmap if count(bitmap) >= self.quorum else 0

    # -- the network

    def send(self, message, to):
        """From the adversary, whom nothing holds back."""
        self.members[to].inbox.append((-1, message))

    def broadcast(self, message, sender):
        item = (sender, message)
        for i in self.honest:
            if i != sender:
                self.members[i].inbox.append(item)

    def deliver(self, i, message):
        """The member's caller: check signatures, feed the core, do what it says. Refusals are no event."""
        m = self.members[i]
        core = m.core
        kind, h = message[0], message[1]
        try:
            if kind == "vote":
                if not self.genuine(kind, h, message[3], 1 << message[2]):
                    return
                actions = core.on_vote(h, message[2], message[3])
            elif kind == "finalize":
                if not self.genuine(kind, h, message[3], 1 << message[2]):
                    return
                actions = core.on_finalize(h, message[2], message[3])
            elif kind == "propose":
                for c in message[5]:
                    self.deliver(i, c)
                core = m.core  # the proofs may have cost it a power cut
                actions = core.on_proposal(h, message[2], message[3], message[4])
            else:
                _, _, block, bitmap = message
                word = "vote" if kind == "notarized" else "finalize"
                if not self.genuine(word, h, block, bitmap) or count(bitmap) < self.quorum:
                    return
                if kind == "notarized":
                    if h > core.final[0]:
                        m.certs[(h, block)] = bitmap
                    actions = core.adopt_notarized(h, block)
                else:
                    if h > core.final[0]:
                        m.final_cert = message
                    actions = core.adopt_final(h, block)
        except Reject:
            return
        if actions:
            self.act(i, actions)

    def act(self, i, actions):
        """Persist, then publish; the adversary may cut the power before, between or not at all."""
        m = self.members[i]
        for a in actions:
            if a[0] == "enter":
                bitmap = m.core.votes_of(a[1] - 1).get(a[2], 0)
                if count(bitmap) >= self.quorum:
                    m.certs[(a[1] - 1, a[2])] = bitmap
        h, block = m.core.tip  # it may also have risen by votes that came late, without a new iteration
        bitmap = m.core.votes_of(h).get(block, 0)
        if count(bitmap) >= self.quorum:
            m.certs[(h, block)] = bitmap
        cut = self.power_cut()
        if cut == 1:
            self.restart(i)
            return
        m.disk = m.core.snapshot()
        m.disk_certs = dict(m.certs)
        if cut == 2:
            for a in actions:  # what it is bound by, though nobody heard it; and what it told its own house
                self.note(i, a)
            self.restart(i)
            return
        for a in actions:
            self.note(i, a)
            if a[0] in ("vote", "finalize"):
                self.broadcast((a[0], a[1], i, a[2]), i)
            elif a[0] == "enter" and (a[1] - 1, a[2]) in m.certs:
                self.broadcast(("notarized", a[1] - 1, a[2], m.certs[(a[1] - 1, a[2])]), i)
        self.forget(m)

    def power_cut(self):
        return 0

    def note(self, i, action):
        """Enter what a member says into the log of signatures, check its promises and the street's."""
        what, h, block = action[0], action[1], action[2]
        m = self.members[i]
        if what == "vote" or what == "finalize":
            if (what, h, block) not in self.signed:
                self.statements.append((what, h, block))
            self.signed[(what, h, block)] = self.signed.get((what, h, block), 0) | 1 << i
            if what == "finalize" and self.certificate(what, h, block):
                self.check_final(h, block)  # whether or not anyone has put the certificate together yet
            if not self.strict:
                return
            if what == "finalize":
                if h in m.dummies or m.finals.get(h, block) != block:
                    raise Broken("finalize and dummy")
                m.finals[h] = block
            elif block == DUMMY:
                if h in m.finals:
                    raise Broken("finalize and dummy")
                m.dummies.add(h)
            elif m.blocks.get(h, block) != block:
                raise Broken("two votes")
            else:
                m.blocks[h] = block
        elif what == "final":
            if action[3]:
                m.final_cert = ("final", h, block, action[3])
            self.check_final(h, block)
        elif what == "fork":
            self.alarms += 1
            if self.strict:
                raise Broken("an alarm without a cause")
        elif what == "equivocation" and self.strict and not self.byzantine >> block & 1:
            raise Broken("an honest member accused")

    def forget(self, m):
        """Certificates below the final block are of no use any more."""
        final = m.core.final[0]
        if len(m.certs) > 8:
            m.certs = {k: v for k, v in m.certs.items() if k[0] > final}

    def restart(self, i):
        m = self.members[i]
        m.core = self.make.restore(self.n, i, m.disk)
        m.certs = dict(m.disk_certs)
        m.final_cert = None

    # -- what honest members do by themselves

    def proofs(self, m):
        """Certificates of the tip and of the dummies since: why a proposal of this member may be voted for."""
        h, block = m.core.tip
        found = []
        for k in range(h, m.core.iteration):
            x = block if k == h else DUMMY
            bitmap = m.certs.get((k, x), 0)
            if not bitmap:
                bitmap = m.core.votes_of(k).get(x, 0)
            if count(bitmap) >= self.quorum:
                found.append(("notarized", k, x, bitmap))
        if m.final_cert:
            found.append(m.final_cert)
        return found

    def propose(self, i):
        m = self.members[i]
        parent = m.core.propose_parent()
        if parent is None:
            return
        h = m.core.iteration
        block = self.new_block(h, *parent)
        proofs = self.proofs(m)
        disk = m.disk
        self.act(i, m.core.on_proposal(h, block, *parent))
        if m.disk != disk:  # its own vote is durable: it cannot propose another
            self.broadcast(("propose", h, block, parent[0], parent[1], proofs), i)

    def timeout(self, i):
        core = self.members[i].core
        actions = core.on_timeout(core.iteration)
        if actions:
            self.act(i, actions)

    def retransmit(self, i):
        m = self.members[i]
        for proof in self.proofs(m):
            self.broadcast(proof, i)
        for what, h, block in m.core.resend():
            self.broadcast((what, h, i, block), i)

    # -- synchrony

    def flush(self):
        """Deliver everything that is under way, in random order, and what that causes."""
        busy = True
        while busy:
            busy = False
            for i in self.honest:
                inbox = self.members[i].inbox
                while inbox:
                    busy = True
                    k = getrandbits(16) % len(inbox)
                    message = inbox[k][1]
                    inbox[k] = inbox[-1]
                    inbox.pop()
                    self.deliver(i, message)

    def together(self):
        return len(set([self.members[i].core.iteration for i in self.honest])) == 1

    def settle(self):
        """The network heals: repeat, and let timers fire until all stand in the same fresh iteration."""
        for _ in range(3):
            for i in self.honest:
                self.retransmit(i)
            self.flush()
            for i in self.honest:
                self.timeout(i)
            self.flush()
            if self.together():
                return
        raise Broken("not together after the network healed")

    def slot(self, mischief):
        """One iteration under synchrony; an honest leader's block must be final everywhere before any timer fires."""
        h = self.members[self.honest[0]].core.iteration
        lead = leader(h, self.n)
        if self.members[lead]:
            self.propose(lead)
            mischief()
            self.flush()
            if self.finals_everywhere(h):
                return True
            raise Broken("the slot of an honest leader is not final")
        mischief()
        self.flush()
        for i in self.honest:
            self.timeout(i)
        self.flush()
        if not self.together() or self.members[self.honest[0]].core.iteration == h:
            raise Broken("a lying leader stopped the street")
        return False

    def finals_everywhere(self, h):
        for i in self.honest:
            if self.members[i].core.final[0] < h:
                return False
        return True
