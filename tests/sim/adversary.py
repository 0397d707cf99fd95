"""One random schedule: a style drawn from the seed, a stretch of chaos, then synchrony."""
from random import getrandbits, seed

from prosumer.ledger.simplex import DUMMY, leader
from world import GENESIS, World


def chance(in_256):
    return getrandbits(8) < in_256


def pick(items):
    return items[getrandbits(16) % len(items)]


class Adversary(World):
    def __init__(self, n, make, number, strict):
        seed(number * 64 + n)
        f = (n - 1) // 3
        owned = 0
        for _ in range(f if chance(230) else 0):
            i = getrandbits(16) % n
            while owned >> i & 1:
                i = (i + 1) % n
            owned |= 1 << i
        super().__init__(n, make, owned, strict)
        self.liars = [i for i in range(n) if owned >> i & 1]
        self.calm = False
        # the style of this schedule, in 1/256 of the events
        self.drop = pick((0, 0, 8, 40))
        self.double = pick((0, 8, 40))
        self.fire = pick((1, 3, 8))
        self.crash = pick((0, 0, 6, 30))
        self.lie = pick((8, 30, 60)) if owned else 0
        self.storm = pick((0, 1, 3))  # all timers at once
        self.two_faced = chance(128)
        # In each fourth iteration one side hears of the block first, the other (few) of the dummy alone.
        self.tear = getrandbits(2) if chance(128) else -1
        self.split = pick((0, 2, 5)) if not self.two_faced else 4
        self.witnesses = 0
        self.sides = self.draw_sides()

    def draw_sides(self):
        """Some honest members, at random: whom the liars tell one story; the rest hear the other."""
        side = 0
        honest = list(self.honest)
        few = 1 + getrandbits(16) % len(honest) if self.tear >= 0 else len(honest) // 2
        for _ in range(few - (few == len(honest))):
            side |= 1 << honest.pop(getrandbits(16) % len(honest))
        self.witnesses = 1 << pick(self.honest) | 1 << pick(self.honest)
        return side

    def power_cut(self):
        """0: none, 1: before the state is durable, 2: before anything is published."""
        if self.calm or not self.crash or not chance(self.crash):
            return 0
        return 1 + getrandbits(1)

    # -- lies

    def audience(self, side):
        if side is None:
            return [i for i in self.honest if chance(150)]
        return [i for i in self.honest if (self.sides >> i & 1) == side]

    def some_parent(self, h):
        """Mostly a block that really is notarized (or could be), sometimes any."""
        if chance(200):
            blocks = [k for k in self.statements if k[0] == "vote" and k[1] < h and k[2] != DUMMY]
            good = [(k[1], k[2]) for k in blocks if self.certificate(*k)]
            return pick(good[-3:] + [(0, GENESIS)])
        return pick([(self.blocks[b][0], b) for b in self.blocks if self.blocks[b][0] < h])

    def favourite(self, h, side):
        """The block the liars support on a side in iteration h; one they propose there if it is theirs to propose."""
        blocks = self.by_iteration.get(h, ())
        if leader(h, self.n) in self.liars and len(blocks) < 2:
            parent_h, parent = self.some_parent(h)
            block = self.new_block(h, parent_h, parent)
            proofs = [("notarized", k, x, self.certificate("vote", k, x)) for k, x in self.behind(parent_h, parent, h)]
            for i in self.audience(None if side is None else side):
                self.send(("propose", h, block, parent_h, parent, proofs), i)
            return block
        if not blocks:
            return DUMMY
        return blocks[0] if side is None or len(blocks) == 1 else blocks[side]

    def behind(self, parent_h, parent, h):
        points = [(parent_h, parent)] + [(k, DUMMY) for k in range(parent_h + 1, h)]
        return [(k, x) for k, x in points if k and self.certificate("vote", k, x)]

    def tell_a_lie(self):
        h = self.members[pick(self.honest)].core.iteration
        if chance(40):
            h = max(1, h - 1 + getrandbits(2))
        what = getrandbits(3)
        side = getrandbits(1) if self.two_faced or self.tears(h) else None
        if what < 5:
            block = self.favourite(h, side if self.two_faced else None) if side or not self.tears(h) else DUMMY
            if chance(30 if self.two_faced else 90):
                block = DUMMY
            for liar in self.liars:
                for i in self.audience(side):
                    self.send(("vote", h, liar, block), i)
                    if block != DUMMY and (self.two_faced or chance(128)):
                        self.send(("finalize", h, liar, block), i)
        elif what < 7 and self.statements:  # a certificate of anything that can be certified, to some
            kind, h, block = pick(self.statements)
            bitmap = self.certificate(kind, h, block)
            if bitmap:
                for i in self.audience(side):
                    self.send(("notarized" if kind == "vote" else "final", h, block, bitmap), i)
        elif self.statements:  # replay or forge
            kind, h, block = pick(self.statements)
            self.send((kind, h, getrandbits(16) % self.n, block), pick(self.honest))

    # -- chaos

    def hear(self, i):
        inbox = self.members[i].inbox
        if not inbox:
            return
        k = getrandbits(16) % len(inbox)
        sender, message = inbox[k]
        if self.groups and sender >= 0 and (self.groups >> i ^ self.groups >> sender) & 1:
            return  # held back by the partition
        if self.tears(message[1]) and message[0] != "propose" and self.held_back(i, message):
            return
        if not chance(self.double):
            inbox[k] = inbox[-1]
            inbox.pop()
        if not chance(self.drop):
            self.deliver(i, message)

    def tears(self, h):
        return self.tear >= 0 and h & 3 == self.tear

    def held_back(self, i, message):
        """In a torn iteration: blocks from the one side, dummies from the other until it is through, finality from all but some."""
        if message[0] == "finalize" or message[0] == "final":
            return not self.witnesses >> i & 1
        if message[2 if message[0] == "notarized" else 3] != DUMMY:
            return not self.sides >> i & 1
        return self.sides >> i & 1 and self.members[i].core.iteration <= message[1]

    def event(self):
        r = getrandbits(8)
        if r < self.lie:
            self.tell_a_lie()
            return
        i = pick(self.honest)
        r = getrandbits(8)
        if r < self.fire:
            self.timeout(i)
            if self.crash and chance(80):
                self.restart(i)
        elif r < self.fire + 4:
            self.retransmit(i)
        elif r < self.fire + 24:
            self.propose(i)
        elif r < self.fire + 24 + self.storm:
            for i in self.honest:
                if self.tear < 0 or self.tears(self.members[i].core.iteration):
                    self.timeout(i)
                    if self.crash and chance(40):
                        self.restart(i)
        elif r < self.fire + 28 + self.split:
            self.groups = 0 if self.groups and chance(128) else self.sides
            if not self.groups and chance(128):
                self.sides = self.draw_sides()
        elif self.crash and r >= 256 - self.crash // 3:
            self.restart(i)
        else:
            for _ in range(4):
                self.hear(i)

    def run(self, events, slots):
        """Chaos, then `slots` iterations of synchrony. Returns how many honest slots were final then."""
        for _ in range(events):
            self.event()
        self.calm = True
        self.groups = 0
        self.drop = self.double = 0
        self.settle()
        done = 0
        for _ in range(slots):
            done += self.slot(self.mischief)
        return done

    def mischief(self):
        for _ in range(getrandbits(2) if self.liars else 0):
            self.tell_a_lie()
