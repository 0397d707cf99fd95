"""What arrives at a meter's node: parsed, checked by whom it is signed and against what is agreed, then kept, voted on or refused.

Two signed messages of one member that contradict each other are kept and shown to all (evidence.py): a block excludes it.
"""
from micropython import const

from prosumer import durable
from prosumer.errors import Reject
from prosumer.ledger import block, evidence, salted
from prosumer.ledger.sketch import Sketch
from prosumer.ledger.state import State
from prosumer.link import topics
from prosumer.records import FINALIZE, PROPOSE, VOTE, Commit, Envelope, Evidence, Order, Proposal, Reading, Transfer, Vote, make_vote

_MOST_FORGED = const(64)  # of a member in a slot; one that has not heard yet who votes now says some
_CLASSES = {topics.READING: Reading, topics.COMMIT: Commit, topics.ORDER: Order, topics.TRANSFER: Transfer}


class Inbox:
    def __init__(self, node):
        self.node = node
        self.forged = (0, {})  # slot, member → messages with a bad signature in it: checking them is what costs a board most
        self.lack = {}  # iteration → [due_ms, tries]: a block that this meter cannot put together from its own records

    def receive(self, kind, member, payload, now_ms):
        """Raises Reject with the reason; nothing has changed then."""
        slot = self.node.genesis.slot_at(now_ms)
        if self.forged[0] != slot:
            self.forged = (slot, {})
        forged = self.forged[1]
        if forged.get(member, 0) >= _MOST_FORGED:
            raise Reject("too-many")
        try:
            self._receive(kind, member, payload, now_ms)
        except Reject as e:
            if e.code == "bad-signature":
                forged[member] = forged.get(member, 0) + 1
            raise

    def _receive(self, kind, member, payload, now_ms):
        node = self.node
        if node.amended and kind in (topics.VOTE, topics.SKETCH, topics.PROPOSAL):
            raise Reject("restart-due")
        if kind == topics.VOTE:
            return self.on_vote(Vote.parse(payload), member)
        if kind in (topics.SKETCH, topics.PROPOSAL):
            return self.accept(payload, now_ms, member)
        if kind in (topics.ASK, topics.CHAIN):
            return node.catchup.receive(kind, member, payload, now_ms)
        if kind == topics.ENVELOPE:
            return node.pool.add_envelope(Envelope.parse(payload), now_ms)
        if kind == topics.GENESIS:
            return node.pool.add_amendment(payload, now_ms)
        if kind == topics.EVIDENCE:
            return node.pool.add_evidence(Evidence.parse(payload), node.state, now_ms)
        record = _CLASSES[kind].parse(payload)
        if record.member != member or not (member < node.genesis.n or kind == topics.TRANSFER):
            raise Reject("wrong-sender")
        self.add(record, now_ms)

    def add(self, record, now_ms):
        """A neighbour's or this meter's own commit, order or reading."""
        node = self.node
        if isinstance(record, Commit):
            node.pool.add_commit(record, now_ms)
        elif isinstance(record, Reading):
            node.pool.add_reading(record, node.state.accounts[record.member], now_ms)
        elif isinstance(record, Transfer):
            node.pool.add_transfer(record, node.state, now_ms)
        else:
            commit, state = node.pool.commits.get(record.slot, {}).get(record.member), node.state
            digest = state.commits.get(record.slot, {}).get(record.member)
            node.pool.add_order(record, digest or (commit and commit.digest), state, now_ms)

    def on_vote(self, vote, sender):
        node = self.node
        if vote.member != sender:
            raise Reject("wrong-sender")
        h, kind = vote.iteration, vote.kind
        if not node.simplex.keeps(h):
            if h > node.simplex.iteration:
                node.catchup.wanted = True
            raise Reject("iteration-far" if h > node.simplex.iteration else "iteration-old")
        if kind > PROPOSE:
            raise Reject("wrong-kind")
        key = (kind, h, vote.header_hash)
        said = [k for k in node.signatures if k[1] == h and sender in node.signatures[k]]
        over = h <= node.simplex.final[0] if kind == FINALIZE else h < node.simplex.iteration
        if key in said or (over and not said):
            return  # heard before, or no longer needed
        node.members.check_vote(vote)
        for k in said:
            self._contradicts(make_vote(*k, sender, node.signatures[k][sender]), vote)
        if len([k for k in said if k[0] == kind]) > 2:
            raise Reject("equivocation")  # a block and the dummy are honest, a third is the proof; more is only flooding
        node.signatures.setdefault(key, {})[sender] = vote.signature
        if over:
            return
        if kind == PROPOSE:
            return self._proposed_again(vote)
        heard = node.simplex.on_vote if kind == VOTE else node.simplex.on_finalize
        node.act(heard(h, node.members.voters.index(sender), vote.header_hash))

    def _proposed_again(self, vote):
        """The stop block at the tip, in a new iteration."""
        node = self.node
        h, tip = vote.iteration, node.simplex.tip
        if vote.member != node.members.leader(h):
            raise Reject("not-the-proposer")
        if tip[1] != vote.header_hash or tip[1] not in node.chain or not node.stops(node.chain[tip[1]]):
            node.catchup.learn_tip(vote.member)
            raise Reject("unknown-parent")
        node.act(node.simplex.on_proposal(h, tip[1], *tip))

    def _contradicts(self, one, other):
        """Two signed things of one member that an honest one never signs both: everyone shall see them."""
        node = self.node
        found = evidence.find(one, other, node.members.domain)
        if found and not node.state.excluded >> found.member & 1:
            node.count("equivocation")
            if not node.pool.evidence:  # one is enough
                node.pool.evidence = found
                node.publish(topics.EVIDENCE, found.pack())

    def accept(self, raw, now_ms, sender=None):
        """Check a proposal, or a sketch of it, completely; vote for it if the core wants to."""
        node = self.node
        told = raw[:1] == b"\x12"
        proposal = Sketch(raw) if told else Proposal.parse(raw)
        header, genesis = proposal.header, node.genesis
        h = header.iteration
        if header.proposer != node.members.leader(h) or (sender is not None and sender != header.proposer):
            raise Reject("not-the-proposer")
        slot = genesis.slot_at(now_ms)
        if header.slot != slot:
            raise Reject("wrong-slot")
        if not node.simplex.keeps(h):
            node.catchup.wanted = h > node.simplex.iteration
            raise Reject("wrong-iteration")
        digest = header.hash(genesis.feeder_id)
        said = make_vote(PROPOSE, h, digest, header.proposer, proposal.signature)
        node.members.check_vote(said)
        for k in node.signatures:  # a sketch that could not be filled
            if k[:2] == (PROPOSE, h) and k[2] != digest and header.proposer in node.signatures[k]:
                self._contradicts(said, make_vote(*k, header.proposer, node.signatures[k][header.proposer]))
                raise Reject("second-proposal")
        known = [d for d, b in node.chain.items() if b.iteration == h]
        if known and digest not in known and digest != node.simplex.tip[1]:
            first = Proposal.parse(durable.load(node.block_path(h)))
            self._contradicts(said, make_vote(PROPOSE, h, first.header.hash(genesis.feeder_id), first.header.proposer, first.signature))
            raise Reject("second-proposal")  # of a leader that lies: the first is enough to execute and to keep
        if now_ms < genesis.gate_ms(slot) - genesis.delta_ms:  # a clock that is a little ahead is heard; what comes so late may be left out
            if h == node.simplex.iteration:
                node.early = bytes(raw)
            return
        parent = node.chain.get(header.previous)
        if not parent:
            node.catchup.learn_tip(header.proposer)
            raise Reject("unknown-parent")
        parent.refill(node)
        if digest in known:  # said again: this meter may have restarted before it voted
            return node.act(node.simplex.on_proposal(h, digest, parent.iteration, header.previous))
        if node.stops(parent):
            raise Reject("stopped")
        if header.slot <= parent.slot:
            raise Reject("wrong-slot")
        if told:
            proposal = self._whole(proposal, digest, now_ms)
        state = State.parse(parent.state)  # once: two of them, and a block that came whole, are more than the heap of a large street
        left_out = list(block.omitted(genesis, state, slot, node.pool, proposal.body))
        if left_out and node.simplex.iteration == h:
            for i in range(min(4, len(left_out))):  # one for each turn that passes would be too slow, all from all too much
                kind, record = left_out[(node.me + i) % len(left_out)]
                node.publish(kind, record.pack(), topics.OPERATOR if kind in (topics.ENVELOPE, topics.GENESIS) else
                             None if kind == topics.EVIDENCE else record.member)
            raise Reject("record-left-out")
        node.extend(proposal, proposal.pieces() if told else [raw], state)
        node.act(node.simplex.on_proposal(h, digest, parent.iteration, header.previous))
        if node.simplex.final[1] == digest != node.final_hash:  # the others were faster than the whole block
            node.act([("final",) + node.simplex.final])

    def _whole(self, sketch, digest, now_ms):
        """The proposal itself, from this meter's own records. Reject('record-missing'): one is not here, or another than the proposer's."""
        node, header = self.node, sketch.header
        try:
            body = sketch.fill(node.pool)
            if salted.root(body.salt, salted.BODY, body.leaves()) != header.body_root:
                raise Reject("record-missing")
        except Reject:
            node.signatures.setdefault((PROPOSE, header.iteration, digest), {})[header.proposer] = sketch.signature
            self.fetch(header.iteration, now_ms + node.genesis.delta_ms // 4, 3)  # it leaves its proposer after the sketch
            raise
        return Proposal(header, sketch.signature, body)

    def fetch(self, iteration, due_ms=0, tries=1):
        """Have the whole block of an iteration fetched from the broker, and if it is not there ask a neighbour; once, however often it is told."""
        self.lack.setdefault(iteration, [due_ms, tries])

    def has(self, iteration):
        """The block of an iteration is here."""
        self.lack.pop(iteration, None)

    def lacks(self, now_ms):
        """The proposer whose whole block is to be fetched now, or None."""
        node = self.node
        for h in sorted(self.lack):
            due_ms, tries = self.lack[h]
            if h <= node.final.iteration:
                del self.lack[h]
            elif now_ms >= due_ms and tries:
                self.lack[h] = now_ms + node.genesis.delta_ms // 2, tries - 1
                return node.members.leader(h)
            elif now_ms >= due_ms:
                self.lack[h] = node.genesis.start_ms(node.genesis.slot_at(now_ms) + 2), 0  # enough of it
                node.catchup.wanted = True

    def verified(self, record):
        """Signature of a record in a block; those this meter already checked when they arrived are not checked twice."""
        node = self.node
        if isinstance(record, Evidence):
            return evidence.check(record, node.members)
        if isinstance(record, Envelope):
            if not [e for e in node.pool.envelopes if e.pack() == record.pack()]:
                node.members.check_operator(record)
            return
        if isinstance(record, Commit):
            mine = node.pool.commits.get(record.slot, {}).get(record.member)
            known = [mine] if mine else []
        elif isinstance(record, Transfer):
            known = node.pool.transfers.get(record.member, [])
        else:
            known = node.pool.readings[record.member]
        if not [r for r in known if r is record or r.pack() == record.pack()]:  # of a filled sketch it is the very one
            if record.member == topics.OPERATOR:
                node.members.check_operator(record)
            else:
                node.members.check_record(record)
