"""One meter's part in the agreement: it feeds the pure core (simplex) with what it checked, and says what the core decides.

Nothing leaves through `publish` before it is durable. Files in `folder`:

    final      the newest final header with certificate, accumulator and state
    vote       simplex snapshot and the certificates since (what this meter must never forget)
    bITERATION a proposal above the final block that this meter executed, one for an iteration: what it may have voted for
"""
import os

from micropython import const
from prosumer import durable
from prosumer.codec import Cursor, Parts, list_pieces
from prosumer.errors import Halt, Reject
from prosumer.ledger import block
from prosumer.ledger.catchup import Catchup
from prosumer.ledger.mmr import MMR
from prosumer.ledger.pool import Pool
from prosumer.ledger.simplex import Simplex, leader
from prosumer.ledger.state import State
from prosumer.link import topics
from prosumer.records import (
    DUMMY, FINALIZE, PROPOSE, VOTE, Certificate, Commit, Envelope, Evidence, Order, Proposal, Reading, Transfer, Vote, vote_message)

_MOST_CERTIFICATES = const(16)  # of dummies in a row, when no block is agreed on for long: a laggard waits for the next block


class Link:
    """A block in the chain as this meter sees it: its header (None: genesis), the packed state after it, and `before`,
    the packed accumulator over all earlier headers, which its header carries the root of."""

    def __init__(self, header, digest, state, before):
        self.header, self.digest, self.state, self.before = header, digest, state, before
        self.slot = header.slot if header else -1
        self.iteration = header.iteration if header else 0

    def accumulator(self):
        """Over all headers up to this one, packed."""
        mmr = MMR.parse(self.before)
        if self.header:
            mmr.append(self.digest)
        return mmr


class Node:
    def __init__(self, genesis, members, me, signer, folder, ring, entropy, publish, count):
        """`publish(kind, payload)`, `count(event)`; `ring`: HeaderRing of recent headers."""
        self.genesis, self.members, self.me, self.signer = genesis, members, me, signer
        self.folder, self.ring, self.entropy, self.publish, self.count = folder, ring, entropy, publish, count
        self.pool = Pool(genesis, members)
        self.signatures = {}  # (kind, iteration, hash) → {member: signature}
        self.notarizations = []  # certificates of the tip (if not final) and of the dummies since
        self.timer = None  # (iteration, slot, due_ms)
        self.early = None  # a proposal that came before this meter's gate
        self.certificate = None
        self.on_final = None  # called with the header
        self.catchup = Catchup(self)
        self._load()

    # -- durable state

    def _load(self):
        self.final_hash = self.genesis.hash
        self.chain = {self.final_hash: Link(None, self.final_hash, State(self.genesis).pack(), MMR().serialize())}
        saved = durable.load(self.folder + "final")
        if saved:
            header, self.certificate, before, state = self.catchup.read_final(Cursor(saved))
            self._root(Link(header, header.hash(self.genesis.feeder_id), state, before))
        vote = durable.load(self.folder + "vote")
        final = self.final
        if not vote:
            self.simplex = Simplex(self.genesis.n, self.me, final.iteration, self.final_hash)
            return
        cursor = Cursor(vote)
        self.simplex = Simplex.restore(self.genesis.n, self.me, cursor.take(cursor.uint(2)))
        self.notarizations = cursor.records(Certificate, 255)
        if final.iteration > self.simplex.final[0]:
            self.simplex.adopt_final(final.iteration, self.final_hash)
        for name in sorted(os.listdir(self.folder[:-1])):
            if name[0] == "b" and len(name) == 9:
                try:
                    self.extend(Proposal.parse(durable.load(self.folder + name)))
                except Reject:  # overtaken by a later final block
                    self.count("old-block")

    def _root(self, link):
        """`link` is final: the chain starts here now."""
        self.chain = {h: b for h, b in self.chain.items() if b.iteration > link.iteration}
        self.chain[link.digest] = link
        self.final_hash = link.digest

    @property
    def final(self):
        return self.chain[self.final_hash]

    @property
    def state(self):
        """The agreed state, opened anew: it is kept packed."""
        return State.parse(self.final.state)

    # -- time

    def next_due(self, now_ms):
        """When step() has something to do next."""
        slot = self.genesis.slot_at(now_ms)
        gate = self.genesis.gate_ms(slot)
        if now_ms < gate:
            return gate
        due = self.genesis.gate_ms(slot + 1)
        if self.timer and self.timer[1] == slot:
            due = min(due, self.timer[2])
        return due

    def step(self, now_ms):
        """Propose when it is this meter's turn, time out when it was another's."""
        slot = self.genesis.slot_at(now_ms)
        if slot < 0 or now_ms < self.genesis.gate_ms(slot):
            return
        h = self.simplex.iteration
        tip = self.chain.get(self.simplex.tip[1])
        if tip and tip.slot >= slot:
            self.timer = None
            return  # this slot has its block; the next iteration waits for the next gate
        patience = 3 * self.genesis.delta_ms
        if not self.timer or self.timer[0] != h or self.timer[1] != slot:
            self.timer = (h, slot, now_ms + patience)
            try:
                if tip and self.simplex.propose_parent():
                    self._propose(slot, tip)
                elif self.early:
                    early, self.early = self.early, None
                    self._accept(early, now_ms)
            except Reject as e:
                self.count(e.code)
        elif now_ms >= self.timer[2]:
            self.timer = (h, slot, now_ms + patience)
            self.count("timeout")
            self.act(self.simplex.on_timeout(h))
            self.announce()
            self.catchup.ask(now_ms)

    def _propose(self, slot, tip):
        h, parent_hash = self.simplex.tip
        state = State.parse(tip.state)
        body = block.build(self.genesis, state, slot, self.pool, self.entropy(16))
        cleared = block.execute(self.genesis, state, slot, body, lambda record: None)
        header = block.header(self.genesis, parent_hash, tip.accumulator().root(), slot, self.simplex.iteration, self.me,
                              body, state, cleared)
        digest = header.hash(self.genesis.feeder_id)
        signature = self.signer.sign(vote_message(self.genesis.feeder_id, PROPOSE, header.iteration, digest))
        pieces = Proposal(header, signature, body).pieces()
        self._link(header, digest, state, tip, pieces)
        self.act(self.simplex.on_proposal(header.iteration, digest, h, parent_hash))
        self.publish(topics.PROPOSAL, Parts(pieces))

    def block_path(self, iteration):
        return "%sb%08x" % (self.folder, iteration)

    def _link(self, header, digest, state, parent, pieces):
        """Every block above the final one lies in flash, so that a street without power keeps what it may have voted for."""
        if pieces:
            durable.save(self.block_path(header.iteration), *pieces)
        self.chain = {h: b for h, b in self.chain.items() if b.iteration != header.iteration}
        self.chain[digest] = Link(header, digest, state.pack(), parent.accumulator().serialize())

    def above(self, at):
        """The blocks from the final one (left out) up to `at`; empty if one of them is unknown here."""
        out = []
        while at != self.final_hash:
            if at not in self.chain:
                return []
            out.insert(0, self.chain[at])
            at = out[0].header.previous
        return out

    def _sweep(self):
        """What can no longer become final leaves memory and flash."""
        h, digest = self.simplex.tip
        below = h if digest not in self.chain else 0  # blocks come one after the other while the tip is missing
        keep = [self.final] + self.above(digest)
        self.chain = {d: b for d, b in self.chain.items() if b in keep or b.iteration < below or self.simplex.keeps(b.iteration)}
        paths = [self.block_path(b.iteration) for b in self.chain.values()]
        for name in os.listdir(self.folder[:-1]):
            if name[0] == "b" and self.folder + name not in paths:
                os.remove(self.folder + name)

    # -- what arrives

    def receive(self, kind, member, payload, now_ms):
        """Raises Reject with the reason; nothing has changed then."""
        if kind == topics.VOTE:
            return self._on_vote(Vote.parse(payload), member)
        if kind == topics.PROPOSAL:
            return self._accept(payload, now_ms, member)
        if kind in (topics.ASK, topics.CHAIN):
            return self.catchup.receive(kind, member, payload, now_ms)
        if kind == topics.ENVELOPE:
            return self.pool.add_envelope(Envelope.parse(payload), now_ms)
        record = (Reading if kind == topics.READING else Commit if kind == topics.COMMIT else Order).parse(payload)
        if record.member != member or member >= self.genesis.n:
            raise Reject("wrong-sender")
        self.add(record, now_ms)

    def add(self, record, now_ms):
        """A neighbour's or this meter's own commit, order or reading."""
        if isinstance(record, Commit):
            self.pool.add_commit(record, now_ms)
        elif isinstance(record, Reading):
            self.pool.add_reading(record, self.state.accounts[record.member], now_ms)
        elif isinstance(record, Transfer):
            self.pool.add_transfer(record, self.state, now_ms)
        else:
            commit, state = self.pool.commits.get(record.slot, {}).get(record.member), self.state
            digest = state.commits.get(record.slot, {}).get(record.member)
            self.pool.add_order(record, digest or (commit and commit.digest), state, now_ms)

    def _on_vote(self, vote, sender):
        if vote.member != sender or sender >= self.genesis.n:
            raise Reject("wrong-sender")
        h = vote.iteration
        if not self.simplex.keeps(h):
            if h > self.simplex.iteration:
                self.catchup.wanted = True
            raise Reject("iteration-far" if h > self.simplex.iteration else "iteration-old")
        if vote.kind not in (VOTE, FINALIZE):
            raise Reject("wrong-kind")
        key = (vote.kind, h, vote.header_hash)
        if sender in self.signatures.get(key, ()) or (h < self.simplex.iteration if vote.kind == VOTE else h <= self.simplex.final[0]):
            return  # heard before, or no longer needed
        self.members.check_record(vote)
        if len([k for k in self.signatures if k[0] == vote.kind and k[1] == h and sender in self.signatures[k]]) > 2:
            raise Reject("equivocation")  # a block and the dummy are honest, a third is the proof; more is only flooding
        self.signatures.setdefault(key, {})[sender] = vote.signature
        heard = self.simplex.on_vote if vote.kind == VOTE else self.simplex.on_finalize
        self.act(heard(h, sender, vote.header_hash))

    def _accept(self, raw, now_ms, sender=None):
        """Check a proposal completely; vote for it if the core wants to."""
        proposal = Proposal.parse(raw)
        header, genesis = proposal.header, self.genesis
        h = header.iteration
        if header.proposer != leader(h, genesis.n) or (sender is not None and sender != header.proposer):
            raise Reject("not-the-proposer")
        slot = genesis.slot_at(now_ms)
        if header.slot != slot:
            raise Reject("wrong-slot")
        if not self.simplex.keeps(h):
            self.catchup.wanted = h > self.simplex.iteration
            raise Reject("wrong-iteration")
        digest = header.hash(genesis.feeder_id)
        known = [d for d, b in self.chain.items() if b.iteration == h]
        if known and digest not in known and digest != self.simplex.tip[1]:
            raise Reject("second-proposal")  # of a leader that lies: the first is enough to execute and to keep
        self.members.check(header.proposer, vote_message(genesis.feeder_id, PROPOSE, h, digest), proposal.signature)
        if now_ms < genesis.gate_ms(slot):
            if h == self.simplex.iteration:
                self.early = bytes(raw)
            return
        parent = self.chain.get(header.previous)
        if not parent:
            self.catchup.wanted = True
            raise Reject("unknown-parent")
        if digest in known:  # said again: this meter may have restarted before it voted
            return self.act(self.simplex.on_proposal(h, digest, parent.iteration, header.previous))
        left_out = block.omitted(genesis, State.parse(parent.state), slot, self.pool, proposal.body)
        if left_out and self.simplex.iteration == h:
            kind, record = left_out
            self.publish(kind, record.pack(), topics.OPERATOR if kind in (topics.ENVELOPE, topics.GENESIS) else
                         None if kind == topics.EVIDENCE else record.member)
            raise Reject("record-left-out")
        self.extend(proposal, [raw])
        self.act(self.simplex.on_proposal(h, digest, parent.iteration, header.previous))

    def extend(self, proposal, pieces=None):
        """Re-run a block on its parent and remember the result; Reject unless every byte of the header agrees.

        `pieces`: its bytes, unless they come from flash."""
        header, genesis = proposal.header, self.genesis
        parent = self.chain.get(header.previous)
        if not parent:
            raise Reject("unknown-parent")
        if header.slot <= parent.slot or header.iteration <= parent.iteration:
            raise Reject("wrong-slot")
        state = State.parse(parent.state)
        cleared = block.execute(genesis, state, header.slot, proposal.body, self._verified)
        mine = block.header(genesis, header.previous, parent.accumulator().root(), header.slot, header.iteration,
                            header.proposer, proposal.body, state, cleared)
        if mine.pack() != header.pack():
            raise Reject("different-result")
        self._link(header, header.hash(genesis.feeder_id), state, parent, pieces)

    def _verified(self, record):
        """Signature of a record in a block; those this meter already checked when they arrived are not checked twice."""
        raw = record.pack()
        if isinstance(record, Evidence):
            from prosumer.ledger.evidence import check
            return check(record, self.members)
        if isinstance(record, Envelope):
            if not [e for e in self.pool.envelopes if e.pack() == raw]:
                self.members.check_operator(record)
            return
        if isinstance(record, Commit):
            mine = self.pool.commits.get(record.slot, {}).get(record.member)
            known = [mine] if mine else []
        elif isinstance(record, Transfer):
            known = self.pool.transfers.get(record.member, [])
        else:
            known = self.pool.readings[record.member]
        if not [r for r in known if r.pack() == raw]:
            if record.member == topics.OPERATOR:
                self.members.check_operator(record)
            else:
                self.members.check_record(record)

    # -- what the core decided

    def act(self, actions):
        """Make it durable, then say it."""
        out = []
        for action in actions:
            what, h, digest = action[0], action[1], action[2]
            if what in ("vote", "finalize"):
                out.append(self._sign(VOTE if what == "vote" else FINALIZE, h, digest))
            elif what == "enter":
                self._entered(h, digest)
            elif what == "final":
                self._finalized(h, digest)
            elif what == "equivocation":
                self.count("equivocation")
            elif what == "fork":
                raise Halt("fork: more than a third of the meters lie")
        if actions:
            snapshot = self.simplex.snapshot()
            durable.save(self.folder + "vote", len(snapshot).to_bytes(2, "big"), snapshot, *list_pieces(self.notarizations))
        for vote in out:
            self.publish(topics.VOTE, vote.pack())

    def _sign(self, kind, h, digest):
        vote = Vote(kind=kind, iteration=h, member=self.me, header_hash=digest)
        known = self.signatures.setdefault((kind, h, digest), {})
        vote.signature = known[self.me] = known.get(self.me) or self.signer.sign(vote.message(self.genesis.feeder_id))
        return vote

    def _entered(self, h, by):
        self.timer = None
        votes = self.signatures.get((VOTE, h - 1, by), {})
        if len(votes) >= self.members.quorum():
            if by != DUMMY:
                self.notarizations = []
            self.notarizations = (self.notarizations + [self._certificate(VOTE, h - 1, by, votes)])[-_MOST_CERTIFICATES:]
        for key in [k for k in self.signatures if k[1] < (h if k[0] == VOTE else self.simplex.final[0])]:
            del self.signatures[key]  # votes of an ended iteration live on in its certificate
        self._sweep()

    def _finalized(self, h, digest):
        signatures = self.signatures.get((FINALIZE, h, digest), {})
        if digest == self.final_hash:
            return  # adopted from a neighbour's certificate just now
        if digest not in self.chain or len(signatures) < self.members.quorum():
            self.catchup.wanted = True
            return
        self.finish(digest, self._certificate(FINALIZE, h, digest, signatures))

    def _certificate(self, kind, h, digest, signatures):
        """A quorum is enough: the rest would only be carried about."""
        members = sorted(signatures)[:self.members.quorum()]
        return Certificate(kind, h, digest, {m: signatures[m] for m in members})

    def finish(self, digest, certificate):
        """`digest` and its ancestors are final: keep state and headers, then tell the agent."""
        headers, link = [b.header for b in self.above(digest)], self.chain[digest]
        self._root(link)
        self.certificate = certificate
        self.notarizations = [c for c in self.notarizations if c.iteration > link.iteration]
        self._keep(headers, link)

    def _keep(self, headers, link):
        index = MMR.parse(link.before).count + 1 - len(headers)
        if index > self.ring.next:
            self.ring.restart(index)  # caught up over a gap: the ring holds one unbroken run
        for i, header in enumerate(headers):
            if index + i >= self.ring.first:
                self.ring.append(index + i, header.pack())
        durable.save(self.folder + "final", *self.catchup.final_pieces())  # after the ring, which could not fill a gap
        self.pool.settled(self.state, link.slot)
        if self.on_final:
            self.on_final(link.header)

    def jump(self, headers, header, certificate, before, state):
        """A certified final header from a neighbour, with its state and some headers before it (linked, checked)."""
        self.count("caught-up")
        link = Link(header, certificate.header_hash, state, before)
        self._root(link)
        self.certificate = certificate
        self.notarizations = []
        self._keep(headers + [header], link)
        self.act(self.simplex.adopt_final(link.iteration, link.digest))

    def adopt(self, certificate):
        """A checked notarization from a neighbour."""
        before = self.simplex.iteration, self.simplex.tip
        actions = self.simplex.adopt_notarized(certificate.iteration, certificate.header_hash)
        if (self.simplex.iteration, self.simplex.tip) != before:
            self.notarizations = (self.notarizations + [certificate])[-_MOST_CERTIFICATES:]
        self.act(actions)

    def announce(self):
        """Say again what others may have missed; harmless when they have not."""
        for what, h, digest in self.simplex.resend():
            self.publish(topics.VOTE, self._sign(VOTE if what == "vote" else FINALIZE, h, digest).pack())
        if leader(self.simplex.iteration, self.genesis.n) == self.me and self.simplex.voted in self.chain:
            self.publish(topics.PROPOSAL, durable.File(self.block_path(self.simplex.iteration)))
