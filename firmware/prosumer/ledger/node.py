"""One meter's part in the agreement: it feeds the pure core (simplex) with what it checked, and says what the core decides.

Nothing leaves through `publish` before it is durable. Files in `folder`:

    final      the newest final header with certificate, accumulator and state
    vote       domain, simplex snapshot and the certificates since (what this meter must never forget)
    bITERATION a proposal above the final block that this meter executed, one for an iteration: what it may have voted for
    evidence   what excluded members signed: a neighbour that was away wants to see it
    amended    the operator's newest genesis, to be put in a block
    genesisN   amended ones; the final state says which is in force
    former     the one before, for whoever joins with the present one and knows no other

A block that changes who votes (members.py) is a *stop block*: nothing extends it, it is only proposed and voted on again until it
is final. Then the agreement starts anew behind it, among those who vote now: so no two electorates ever decide side by side.
"""
import os

from prosumer import durable
from prosumer.codec import Cursor, Parts, list_pieces
from prosumer.errors import Halt, Reject
from prosumer.ledger import block, notarized, sketch
from prosumer.ledger.catchup import Catchup
from prosumer.ledger.evidence import keep
from prosumer.ledger.inbox import Inbox
from prosumer.ledger.mmr import MMR
from prosumer.ledger.pool import Pool
from prosumer.ledger.simplex import Simplex
from prosumer.ledger.state import State, regime_of
from prosumer.link import topics
from prosumer.records import DUMMY, FINALIZE, PROPOSE, VOTE, Certificate, Proposal, make_vote


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
        self.catchup, self.inbox = Catchup(self), Inbox(self)
        self.receive, self.add = self.inbox.receive, self.inbox.add
        self._load()
        self.pool.load(folder + "amended")

    # -- durable state

    def _load(self):
        self.final_hash = self.genesis.hash
        first = State(self.genesis)
        self.certified = first.regime()  # under which the final block was certified
        self.chain = {self.final_hash: block.Link(None, self.final_hash, first.pack(), MMR().serialize())}
        saved = durable.load(self.folder + "final")
        if saved:
            self.certified, header, self.certificate, before, state = self.catchup.read_final(Cursor(saved))
            self.root(block.Link(header, header.hash(self.genesis.feeder_id), state, before))
        self.enter()
        vote = durable.load(self.folder + "vote")
        if not vote or vote[:8] != self.members.domain:
            return  # it never voted, or among others
        cursor = Cursor(vote)
        cursor.at = 8
        self.simplex = Simplex.restore(self.simplex.n, self.simplex.me, cursor.take(cursor.uint(2)))
        self.notarizations = cursor.records(Certificate, 255)
        if self.final.iteration > self.simplex.final[0]:
            self.simplex.adopt_final(self.final.iteration, self.final_hash)
        for name in sorted(os.listdir(self.folder[:-1])):
            if name[0] == "b" and len(name) == 9:
                try:
                    self.extend(Proposal.parse(durable.load(self.folder + name)))
                except (Reject, MemoryError):  # overtaken by a later final block, or a neighbour must help out
                    self.count("old-block")

    def enter(self):
        """Begin the agreement behind the final block, among those whom its state lets vote."""
        self.members.enter(self.state.regime())
        self.chain = {self.final_hash: self.final}
        voters = self.members.voters
        mine = self.me in voters and (self.final.header or not self.genesis.number)  # who joins later first wants to know the chain
        self.simplex = Simplex(len(voters), voters.index(self.me) if mine else None, self.final.iteration, self.final_hash)
        self.signatures = {}
        self.notarizations = []
        self.timer = self.early = None

    @property
    def amended(self):
        """The final block put a genesis in force that this meter does not run by: it must start again."""
        return self.members.regime[12:] != self.genesis.hash

    def root(self, link):
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
        """When step() or the catch-up has something to do next."""
        if self.catchup.job:
            return now_ms
        slot = self.genesis.slot_at(now_ms)
        gate = self.genesis.gate_ms(slot)
        if now_ms < gate:
            return gate
        due = self.genesis.gate_ms(slot + 1)
        if self.timer and self.timer[1] == slot:
            due = min(due, self.timer[2])
        return min([due] + [lack[0] for lack in self.inbox.lack.values()])

    def step(self, now_ms):
        """Propose when it is this meter's turn, time out when it was another's."""
        slot = self.genesis.slot_at(now_ms)
        if slot < 0 or now_ms < self.genesis.gate_ms(slot) or self.amended:
            return
        h = self.simplex.iteration
        tip = self.chain.get(self.simplex.tip[1])
        patience = 3 * self.genesis.delta_ms
        if tip and tip.slot >= slot:  # this slot has its block; the next iteration waits for the next gate
            if self.final.slot >= slot:
                self.timer = None
            elif not self.timer or self.timer[0] != h:
                self.timer = (h, slot, now_ms + patience)
            elif now_ms >= self.timer[2]:  # who lost the finalize votes asks for the certificate
                self.timer = (h, slot, now_ms + patience)
                self.announce()
                self.catchup.ask(now_ms)
            return
        if not self.timer or self.timer[0] != h or self.timer[1] != slot:
            self.timer = (h, slot, now_ms + patience)
            for _ in range(2):
                try:
                    self._begin(slot, tip, now_ms)
                    break
                except Reject as e:
                    self.early = None
                    self.count(e.code)
                    break
                except MemoryError:  # the second time the turn passes to the next
                    self.relieve()
        elif now_ms >= self.timer[2]:
            self.timer = (h, slot, now_ms + patience)
            self.count("timeout")
            self.act(self.simplex.on_timeout(h))
            self.announce()
            self.catchup.ask(now_ms)

    def _begin(self, slot, tip, now_ms):
        """An iteration of this slot begins: a proposal of this meter's, or one that came before its gate."""
        if tip and self.simplex.propose_parent():
            if self.stops(tip):
                self._again(self.simplex.tip)
            else:
                self.propose(slot, tip)
        elif self.early:
            self.inbox.accept(self.early, now_ms)
            self.early = None

    def propose(self, slot, tip):
        for made in self.chain.values():
            if made.iteration == self.simplex.iteration:  # but not told: memory or power failed; another one would be evidence
                parent = self.chain.get(made.header.previous)
                if parent:
                    self.act(self.simplex.on_proposal(made.iteration, made.digest, parent.iteration, parent.digest))
                    self.tell(made.iteration, tip)
                return
        h, parent_hash = self.simplex.tip
        state = State.parse(tip.state)
        body = block.build(self.genesis, state, slot, self.pool, self.entropy(16))
        cleared = block.execute(self.genesis, state, slot, body, lambda record: None)
        header = block.header(self.genesis, parent_hash, tip.accumulator().root(), slot, self.simplex.iteration, self.me,
                              body, state, cleared)
        digest = header.hash(self.genesis.feeder_id)
        signature = self.sign(PROPOSE, header.iteration, digest).signature
        proposal = Proposal(header, signature, body)
        self.link(header, digest, state, tip, proposal.pieces())
        self.act(self.simplex.on_proposal(header.iteration, digest, h, parent_hash))
        self.tell(header.iteration, tip, proposal)

    def tell(self, iteration, tip=None, proposal=None):
        """First what all can put together, then the whole for whoever cannot; before it the one it rests on, if its proposer kept that."""
        path = self.block_path(iteration)
        self.publish(topics.SKETCH, Parts(sketch.pieces(proposal or Proposal.parse(durable.load(path)))))
        if tip and tip.header and tip.header.proposer != self.me and durable.exists(self.block_path(tip.iteration)):
            self.publish(topics.PROPOSAL, durable.File(self.block_path(tip.iteration)))
        self.publish(topics.PROPOSAL, durable.File(path))

    def relieve(self):
        """The heap is too full for a block."""
        self.count("no-memory")
        self.pool.relieve()

    def stops(self, link):
        link.refill(self)  # the tip may be one again that was left behind
        return regime_of(link.state) != self.members.regime

    def _again(self, tip):
        """Propose the stop block at the tip once more; its proposal is this one signature."""
        self.act(self.simplex.on_proposal(self.simplex.iteration, tip[1], *tip))
        self.publish(topics.VOTE, self.sign(PROPOSE, self.simplex.iteration, tip[1]).pack())

    def block_path(self, iteration):
        return "%sb%08x" % (self.folder, iteration)

    def link(self, header, digest, state, parent, pieces):
        """Every block above the final one lies in flash, so that a street without power keeps what it may have voted for."""
        if pieces:
            durable.save(self.block_path(header.iteration), *pieces)
        self.chain = {h: b for h, b in self.chain.items() if b.iteration != header.iteration}
        self.chain[digest] = block.Link(header, digest, state.pack(), parent.accumulator().serialize())
        self.inbox.has(header.iteration)

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
        for b in self.chain.values():
            if b in keep:
                b.refill(self)
            elif b.iteration < self.simplex.iteration:
                b.state = None  # hardly ever wanted again, and of a large street some kilobytes
        paths = [self.block_path(b.iteration) for b in self.chain.values()]
        for name in os.listdir(self.folder[:-1]):
            if name[0] == "b" and self.folder + name not in paths:
                os.remove(self.folder + name)

    def extend(self, proposal, pieces=None, state=None):
        """Re-run a block on its parent and remember the result; Reject unless every byte of the header agrees.

        `pieces`: its bytes, unless they come from flash; `state`: the parent's, if it is open already: it is used up."""
        header, genesis = proposal.header, self.genesis
        parent = self.chain.get(header.previous)
        if not parent:
            raise Reject("unknown-parent")
        parent.refill(self)
        if header.slot <= parent.slot or header.iteration <= parent.iteration:
            raise Reject("wrong-slot")
        state = state or State.parse(parent.state)
        cleared = block.execute(genesis, state, header.slot, proposal.body, self.inbox.verified)
        mine = block.header(genesis, header.previous, parent.accumulator().root(), header.slot, header.iteration,
                            header.proposer, proposal.body, state, cleared)
        if mine.pack() != header.pack():
            raise Reject("different-result")
        self.link(header, header.hash(genesis.feeder_id), state, parent, pieces)

    # -- what the core decided

    def act(self, actions):
        """Make it durable, then say it."""
        out, core = [], self.simplex
        for action in actions:
            if self.simplex is not core:
                break  # a new electorate begins: what is left was meant for the old one
            what, h, digest = action[0], action[1], action[2]
            if what in ("vote", "finalize"):
                out.append(self.sign(VOTE if what == "vote" else FINALIZE, h, digest))
            elif what == "enter":
                self._entered(h, digest)
            elif what == "final":
                self._finalized(h, digest)
            elif what == "fork":
                raise Halt("fork: more than a third of the meters lie")
        if actions:
            self.save()
        for vote in out:
            self.publish(topics.VOTE, vote.pack())

    def save(self):
        snapshot = self.simplex.snapshot()
        durable.save(self.folder + "vote", self.members.domain, len(snapshot).to_bytes(2, "big"), snapshot, *list_pieces(self.notarizations))

    def sign(self, kind, h, digest):
        vote = make_vote(kind, h, digest, self.me)
        known = self.signatures.setdefault((kind, h, digest), {})
        vote.signature = known[self.me] = known.get(self.me) or self.signer.sign(vote.message(self.members.domain))
        return vote

    def _entered(self, h, by):
        self.timer = None
        votes = self.signatures.get((VOTE, h - 1, by), {})
        if len(votes) >= self.members.quorum():
            if by != DUMMY:
                notarized.forget(self)
            notarized.note(self, self._certificate(VOTE, h - 1, by, votes))
        for key in [k for k in self.signatures if k[1] < (h if k[0] == VOTE else self.simplex.final[0])]:
            del self.signatures[key]  # votes of an ended iteration live on in its certificate
        self._sweep()

    def _finalized(self, h, digest):
        signatures = self.signatures.get((FINALIZE, h, digest), {})
        if digest == self.final_hash:
            return  # adopted from a neighbour's certificate just now
        if digest not in self.chain:
            self.inbox.fetch(h)
        elif len(signatures) < self.members.quorum():
            self.catchup.wanted = True
        else:
            self.finish(digest, self._certificate(FINALIZE, h, digest, signatures))

    def _certificate(self, kind, h, digest, signatures):
        """A quorum is enough: the rest would only be carried about."""
        members = sorted(signatures)[:self.members.quorum()]
        return Certificate(kind, h, digest, {m: signatures[m] for m in members})

    def finish(self, digest, certificate):
        """`digest` and its ancestors are final: keep state and headers, then tell the agent."""
        headers, link = [b.header for b in self.above(digest)], self.chain[digest]
        if self.stops(link):
            body = Proposal.parse(durable.load(self.block_path(link.iteration))).body
            keep(self.folder, body.evidence)
            for genesis in body.amendments:
                self.keep_genesis(genesis.raw, self.genesis.raw)
                self.pool.add_amendment(genesis.raw)  # for neighbours that missed it
        self.root(link)
        self.certificate, self.certified = certificate, self.members.regime
        self.notarizations = [c for c in self.notarizations if c.iteration > link.iteration]
        self._keep(headers, link)

    def keep_genesis(self, raw, before):
        """Before the final state says that it is in force; with the one `before`, whose voters made it so."""
        durable.save("%sgenesis%d" % (self.folder, int.from_bytes(raw[1:3], "big")), raw)
        durable.save(self.folder + "former", before)

    def _keep(self, headers, link, fresh=False):
        try:
            index = MMR.parse(link.before).count + 1 - len(headers)
            if index > self.ring.next:
                self.ring.restart(index)  # caught up over a gap: the ring holds one unbroken run
            for i, header in enumerate(headers):
                if index + i >= self.ring.first:
                    self.ring.append(index + i, header.pack())
            durable.save(self.folder + "final", *self.catchup.final_pieces())  # after the ring, which could not fill a gap
            if fresh or self.state.regime() != self.members.regime:
                self.enter()
                notarized.forget(self)
        except MemoryError:
            raise RuntimeError("no memory for a final block")  # half of it is done: main.py begins anew from what is on flash
        if not self.amended:
            self.pool.settled(self.state, link.slot)
        if self.on_final:
            self.on_final(link.header)

    def jump(self, headers, certified, header, certificate, before, state):
        """A certified final header from a neighbour, with its state and some headers before it (linked, checked)."""
        self.count("caught-up")
        link = block.Link(header, certificate.header_hash, state, before)
        core, fresh = self.simplex, self.simplex.me is None and not self.final.header  # who has voted never forgets it
        self.root(link)
        self.certificate, self.certified = certificate, certified
        self.notarizations = []
        self._keep(headers + [header], link, fresh)
        self.act(self.simplex.adopt_final(link.iteration, link.digest) if core is self.simplex else [])

    def adopt(self, certificate):
        """A checked notarization from a neighbour."""
        before = self.simplex.iteration, self.simplex.tip
        actions = self.simplex.adopt_notarized(certificate.iteration, certificate.header_hash)
        if (self.simplex.iteration, self.simplex.tip) != before:
            notarized.note(self, certificate)
        self.act(actions)

    def announce(self):
        """Say again what others may have missed; harmless when they have not."""
        self.save()  # if memory failed in the middle of act(), this was not yet on flash
        for what, h, digest in self.simplex.resend():
            self.publish(topics.VOTE, self.sign(VOTE if what == "vote" else FINALIZE, h, digest).pack())
        h, voted = self.simplex.iteration, self.simplex.voted
        if self.members.leader(h) == self.me and voted in self.chain:
            if self.chain[voted].iteration < h:
                self.publish(topics.VOTE, self.sign(PROPOSE, h, voted).pack())
            else:
                try:
                    self.tell(h)
                except MemoryError:  # the votes are said
                    self.relieve()
