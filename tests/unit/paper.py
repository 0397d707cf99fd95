"""A street on paper: several `Node`s with real keys and a real genesis in one process, a message bus in memory, virtual time.

What a meter does around its node (sample, seal, reveal) is played here with made-up houses; everything that is agreed on
runs in the firmware's own node, block, pool and catch-up. One process verifies each signature once and remembers the answer.
"""
import gc
import os
import struct
import time
import vfs

from prosumer import durable
from prosumer.codec import sha256
from prosumer.errors import Reject
from prosumer.identity.chain import ReadingChain
from prosumer.identity.ed25519 import Signer
from prosumer.identity.genesis import NO_LIMIT, TAG, Genesis
from prosumer.identity.members import Members
from prosumer.ledger.catchup import in_force
from prosumer.ledger.headers import HeaderRing
from prosumer.ledger.block import Link
from prosumer.ledger.node import Node
from prosumer.link import topics
from prosumer.records import (FINALIZE, MAX_LATE_READINGS, ROLE_GENERATES, ROLE_HEAD, Certificate, Commit, Envelope, Header, Order, Transfer, Vote,
                              vote_message)

START_S = 1750000200
SLOT_S = 900
RETAIL, FEED_IN = 250000, 80000
DELAY_MS = 40
COMMIT_BEFORE_MS = 15000
_BLOCK = 512
gc.threshold(150000)  # long messages need room in one piece


class Disk:
    """A block device for LittleFS, so that rename and full disks behave as on the board. Its file has no name left."""

    def __init__(self, blocks):
        name = "/tmp/paper-%d-%d" % (time.time_ns(), id(self))
        self.file = open(name, "w+b")
        os.remove(name)
        for _ in range(blocks):
            self.file.write(bytes(_BLOCK))
        self.blocks = blocks

    def readblocks(self, block, buffer, offset=0):
        self.file.seek(block * _BLOCK + offset)
        self.file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=0):
        self.file.seek(block * _BLOCK + offset)
        self.file.write(buffer)

    def ioctl(self, op, arg):
        return self.blocks if op == 4 else _BLOCK if op == 5 else 0


_mounted = False


def fresh_folder(blocks=2000):
    """An empty LittleFS, in place of the one before."""
    global _mounted
    if _mounted:
        vfs.umount("/paper")
    gc.collect()
    disk = Disk(blocks)
    vfs.VfsLfs2.mkfs(disk)
    vfs.mount(vfs.VfsLfs2(disk), "/paper")
    _mounted = True
    return "/paper"


def signer(name):
    return Signer(sha256(b"paper " + name.encode()))


_ORDER = ("number", "feeder", "previous", "start_s", "slot_s", "delta_ms", "retail", "feed_in", "min", "max", "fee", "loss", "penalty",
          "import", "export", "credit", "correction", "accuracy", "utc_offset")


def make_genesis(operator, signers, roles=None, fuses=None, bands=(), before=None, **changes):
    """Signed bytes of a genesis in which every second member generates; `before`: the Genesis that it amends."""
    numbers = {"number": 0, "feeder": bytes(8), "previous": bytes(32), "start_s": START_S, "slot_s": SLOT_S, "delta_ms": 2000,
               "retail": RETAIL, "feed_in": FEED_IN, "min": 1, "max": 1000000, "fee": 30000, "loss": 25, "penalty": 100000,
               "import": 20000000, "export": 20000000, "credit": NO_LIMIT, "correction": 86400, "accuracy": 0, "utc_offset": 120}
    if before:
        numbers.update(number=before.number + 1, feeder=before.feeder_id, previous=before.hash)
    numbers.update(changes)
    body = struct.pack(">BH8s32sIHHIIIIIHIIIIIBh32s", 10, *([numbers[k] for k in _ORDER] + [operator.public]))
    name = b"Paper Street"
    body += bytes([len(name)]) + name + bytes([len(bands)]) + b"".join([struct.pack(">BHHII", *b) for b in bands]) + bytes([len(signers)])
    for i, s in enumerate(signers):
        body += s.public + bytes([roles[i] if roles else 1 - i % 2, fuses[i] if fuses else 63, i % 4])
    return body + operator.sign(TAG + body)


class Known(Members):
    """Members who remember what they verified: eight meters in one process need not do it eight times."""

    def __init__(self, genesis, good, known=None):
        """`good`: what was found good, shared by the street; `known`: another's, whose key tables serve here too."""
        if known:
            self.genesis, self.folder, self.operator, self.keys = genesis, None, known.operator, known.keys
            self.enter(bytes(12) + genesis.hash)
        else:
            super().__init__(genesis)
        self.good = good

    def check(self, member, message, signature):
        key = sha256(self.keys[member].public if member < len(self.keys) else b"", signature, message)
        if key not in self.good:
            super().check(member, message, signature)
            self.good.add(key)


class House:
    """Registers that advance, and an order for each slot; every number follows from a seed."""

    def __init__(self, member, generates):
        self.member, self.generates = member, generates
        self.totals = (5000000 + member, 1000000 * generates, 2000000 * generates)

    def _random(self, slot, what, below):
        return int.from_bytes(sha256(b"house", struct.pack(">iiB", slot + 1000, self.member, what))[:4], "big") % below

    def net_mwh(self, slot):
        """(use, generation) of a slot, mWh."""
        sun = max(0, 8 - abs(slot % 16 - 8))
        use = 60000 + self._random(slot, 0, 140000)
        return use, (sun * 90000 + self._random(slot, 1, 9999) if self.generates else 0)

    def advance(self, slot):
        use, made = self.net_mwh(slot)
        taken, given, generated = self.totals
        self.totals = (taken + max(0, use - made), given + max(0, made - use), generated + made)
        return self.totals

    def curve(self, slot):
        """(buy, sell) about what will happen, with an error; limits in a coarse grid so that ties do occur."""
        use, made = self.net_mwh(slot)
        net = use - made + self._random(slot, 2, 40000) - 20000
        step = self._random(slot, 3, 8) * 10000
        if net > 1:
            return [(RETAIL, net - net // 3), (RETAIL - 50000 - step, net // 3)] if net > 3 else [(RETAIL, net)], []
        if net < -3:
            return [], [(FEED_IN - 30000 + step, -net // 2), (FEED_IN + 60000 + step, -net - -net // 2)]
        return None


class Head(House):
    """The meter at the feeder's head: what all houses took and gave, and a fiftieth of their use more, which is lost on the way."""

    def __init__(self, member, houses):
        super().__init__(member, False)
        self.houses = houses

    def net_mwh(self, slot):
        nets = [h.net_mwh(slot) for h in self.houses]
        net = sum([use + use // 50 - made for use, made in nets])
        return max(0, net), max(0, -net)

    def advance(self, slot):
        use, made = self.net_mwh(slot)
        self.totals = (self.totals[0] + use, self.totals[1] + made, 0)
        return self.totals

    def curve(self, slot):
        return None


class Meter:
    """One member: its node and the little of the agent that feeds it."""

    def __init__(self, street, member, signer, folder):
        self.street, self.me, self.signer, self.folder = street, member, signer, folder
        self.enrolled = street.genesis
        roles = self.enrolled.members[member][1]
        self.house = Head(member, [m.house for m in street.meters]) if roles & ROLE_HEAD else House(member, bool(roles & ROLE_GENERATES))
        self.flags = self.accuracy = 0
        self.hide = False  # seals orders and never shows them
        self.boot()

    def boot(self):
        """Power on: all that is known comes from the files."""
        try:
            os.mkdir(self.folder[:-1])
        except OSError:
            pass
        self.genesis = g = in_force(self.enrolled, self.folder)
        members = Known(g, self.street.good, self.street.members if g.hash == self.street.genesis.hash else None)
        self.counts = {}
        self.sealed = {}
        self.chain = ReadingChain(self.folder + "readings", g, self.me, self.signer, self.house.totals)
        ring = HeaderRing(self.folder + "headers", Header.size())
        self.node = Node(g, members, self.me, self.signer, self.folder, ring, self.entropy, self.publish, self.count)
        self.node.on_final = self.on_final
        self.up = True

    def entropy(self, n):
        self.street.drawn += 1
        return sha256(b"entropy", bytes([self.me]), self.street.drawn.to_bytes(4, "big"))[:n]

    def count(self, event):
        self.counts[event] = self.counts.get(event, 0) + 1

    def publish(self, kind, payload, member=None):
        self.street.send(self.me, kind, self.me if member is None else member, payload)

    def offer(self, kind, record):
        try:
            self.node.add(record, self.street.now)
        except Reject as e:
            self.count("own-" + e.code)
        self.publish(kind, record.pack())

    def end_slot(self, slot):
        totals = self.house.advance(slot)
        if self.up:
            reading = self.chain.extend(slot, totals, 50, self.flags, self.accuracy, b"calib%03d" % self.me)
            self.offer(topics.READING, reading)
            self.node.pool.forget(slot + 1)
            if self.node.amended:
                self.boot()
                self.reconnect()

    def commit(self, slot):
        if self.node.final.slot < slot - 3:  # as the agent does: nobody may have heard it
            self.offer_readings()
            self.node.announce()
        curve = self.house.curve(slot)
        if curve:
            self.sealed[slot] = order = Order(self.me, slot, self.entropy(16), curve[0], curve[1])
            feeder = self.street.genesis.feeder_id
            commit = Commit(member=self.me, slot=slot, digest=order.digest(feeder))
            commit.signature = self.signer.sign(commit.message(feeder))
            self.offer(topics.COMMIT, commit)

    def on_final(self, header):
        self.street.final(self, header)
        order = self.sealed.get(header.slot + 2)
        if order and self.node.state.commits.get(order.slot, {}).get(self.me) and not self.hide:
            self.offer(topics.ORDER, order)
        self.offer_readings()

    def offer_readings(self):
        for reading in self.chain.unsettled(self.node.state.accounts[self.me].next_seq)[:MAX_LATE_READINGS]:
            self.offer(topics.READING, reading)

    def reconnect(self):
        """As the agent does when its connection is back."""
        self.node.catchup.ask(self.street.now)
        self.offer_readings()
        self.node.announce()

    def receive(self, kind, member, payload):
        if member == self.me:
            return
        try:
            self.node.receive(kind, member, payload, self.street.now)
        except Reject as e:
            self.count(e.code)


class Street:
    def __init__(self, n, folder, **changes):
        """`folder` exists and is empty; `changes`: numbers of the genesis."""
        self.operator = signer("operator")
        signers = [signer("member %d" % i) for i in range(n)]
        self.genesis_bytes = make_genesis(self.operator, signers, **changes)
        self.genesis = Genesis(self.genesis_bytes)
        self.good = set()
        self.members = Known(self.genesis, self.good)
        self.now = self.genesis.start_ms(0)
        self.queue = []  # (due_ms, to, kind, member, payload), in order of due_ms: the delay is the same for all
        self.drawn = 0
        self.lost = lambda sender, to, kind, payload: False
        self.finals = {}  # slot → {header bytes: [member, …]}
        self.proposals = {}  # header hash → bytes, of this slot and the one before
        self.whole = {}  # proposer → its newest block, as the broker retains it
        self.finalize = {}  # header hash → {member: signature}
        self.meters = []
        for i, s in enumerate(signers):
            self.meters.append(Meter(self, i, s, "%s/%d/" % (folder, i)))

    # -- the bus

    def send(self, sender, kind, member, payload):
        if type(payload) is not bytes:
            payload = b"".join(list(payload.pieces))  # what goes into the socket piece by piece arrives in one
        if kind == topics.PROPOSAL:
            header = Header.parse(payload[1:147])
            self.proposals[header.hash(self.genesis.feeder_id)] = self.whole[member] = payload
            return  # the broker keeps it for whoever asks
        elif kind == topics.VOTE and payload[1]:
            vote = Vote.parse(payload)
            self.finalize.setdefault(vote.header_hash, {})[vote.member] = vote.signature
        for meter in self.meters:
            if meter.me != sender and not self.lost(sender, meter.me, kind, payload):
                self.queue.append((self.now + DELAY_MS, meter, kind, member, payload))

    def final(self, meter, header):
        self.finals.setdefault(header.slot, {}).setdefault(header.pack(), []).append(meter.me)

    def envelope(self, first, last, import_limit_mwh, export_limit_mwh):
        e = Envelope(first_slot=first, last_slot=last, import_limit_mwh=import_limit_mwh, export_limit_mwh=export_limit_mwh)
        e.signature = self.operator.sign(e.message(self.genesis.feeder_id))
        self.send(-1, topics.ENVELOPE, topics.OPERATOR, e.pack())

    def amend(self, signers, roles=None, **changes):
        """The operator changes the street: the new genesis, which is the street's for whoever is enrolled from now on."""
        genesis = self.genesis
        self.genesis = Genesis(make_genesis(self.operator, signers, roles, before=genesis, **changes))
        self.members = Known(self.genesis, self.good)
        self.send(-1, topics.GENESIS, topics.OPERATOR, self.genesis.raw)
        return self.genesis

    def enrol(self, member, signer, folder):
        """A new meter for a member of the newest genesis."""
        meter = Meter(self, member, signer, folder)
        self.meters = [m for m in self.meters if m.me != member] + [meter]
        meter.reconnect()
        return meter

    def transfer(self, member, kind, seq, to, amount, note=b"paper"):
        """A signed transfer of a member's (255: of the operator's) on its way to every meter."""
        t = Transfer(member=member, kind=kind, seq=seq, to=to, amount=amount, note=note + bytes(16 - len(note)))
        by = self.operator if member == topics.OPERATOR else self.meters[member].signer
        t.signature = by.sign(t.message(self.genesis.feeder_id))
        self.send(-1, topics.TRANSFER, member, t.pack())

    # -- time

    def run(self, slots):
        """Play that many slots, from the start of one to the start of another."""
        for _ in range(slots):
            slot = self.genesis.slot_at(self.now)
            self.forget(slot - 1)
            gc.collect()
            for meter in self.meters:
                if slot:
                    meter.end_slot(slot - 1)
            self.play(self.genesis.gate_ms(slot) - COMMIT_BEFORE_MS)
            for meter in self.meters:
                if meter.up:
                    meter.commit(slot + 2)
            self.play(self.genesis.start_ms(slot + 1))

    def skip(self, slots, meters, salt=b"skip"):
        """So many slots pass, to the start of one, in which these meters seem to have agreed on blocks that changed nothing: the
        headers are in their rings, linked and accumulated, and the last is certified."""
        final, feeder = meters[0].node.final, self.genesis.feeder_id
        self.now = self.genesis.start_ms(self.genesis.slot_at(self.now) + slots)
        slot = self.genesis.slot_at(self.now) - slots
        mmr, headers = final.accumulator(), []
        root, body, digest = meters[0].node.state.root(), sha256(salt), meters[0].node.final_hash
        for i in range(slots):
            before, first = mmr.serialize() if i == slots - 1 else None, mmr.count - i
            header = Header(slot=slot + i, iteration=final.iteration + 1 + i, proposer=0, previous=digest,
                            accumulator=mmr.root(), body_root=body, state_root=root, price_ucr_per_kwh=0, volume_mwh=0)
            digest = header.hash(feeder)
            mmr.append(digest)
            headers.append(header.pack())
        members = meters[0].node.members
        votes = {m.me: m.signer.sign(vote_message(members.domain, FINALIZE, header.iteration, digest)) for m in self.meters[:members.quorum()]}
        for m in meters:
            m.node.ring.extend(first, headers)
            m.node.root(Link(header, digest, final.state, before))
            m.node.certificate = Certificate(FINALIZE, header.iteration, digest, votes)
            durable.save(m.folder + "final", *m.node.catchup.final_pieces())
            m.node.enter()
            m.node._sweep()
        gc.collect()

    def forget(self, slot):
        """Proposals and finalize votes of earlier slots: the heap is small."""
        for h in [h for h, raw in self.proposals.items() if Header.parse(raw[1:147]).slot < slot]:
            del self.proposals[h]
            self.finalize.pop(h, None)
        self.good.clear()

    def play(self, until):
        """Deliver messages and let nodes act, up to `until`."""
        while True:
            up = [m for m in self.meters if m.up]
            due = min([m.node.next_due(self.now) for m in up] + [q[0] for q in self.queue[:1]])
            if due >= until:
                self.now = until
                return
            self.now = max(due, self.now)
            while self.queue and self.queue[0][0] <= self.now:
                _, meter, kind, member, payload = self.queue.pop(0)
                if meter.up:
                    meter.receive(kind, member, payload)
            for m in up:
                m.node.step(self.now)
                m.node.catchup.step(self.now)
                self._fetch(m, m.node.inbox.lacks(self.now))

    def _fetch(self, meter, proposer):
        payload = self.whole.get(proposer)
        if payload and not self.lost(proposer, meter.me, topics.PROPOSAL, payload):
            self.queue.append((self.now + DELAY_MS, meter, topics.PROPOSAL, proposer, payload))
