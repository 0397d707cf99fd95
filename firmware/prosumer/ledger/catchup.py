"""Back after an absence: ask a neighbour, check its answer by certificates alone, jump. Nothing is replayed or trusted.

    Ask    0b member to iteration:4 slot:4 sig:64
    Chain  0c to finals (count: 0 or 1) [final] headers certificates [proposal]
    final  header:146 certificate mmr (length:2, bytes; before the header) state (length:2, bytes)

Whoever lacks the final block gets it, with the headers (count, then 146 bytes each, oldest first) before it, and asks
again; whoever has it gets certificates since, and one block after the other, with the headers that link it to the
notarized tip. So an answer is hardly longer than a block. The state must hash to the header's state root and the
accumulator to its accumulator: an answer can be short or missing but not false.
"""
from prosumer.codec import Cursor, Parts, Record, list_pieces
from prosumer.errors import Reject
from prosumer.ledger.mmr import MMR
from prosumer.ledger.state import State
from prosumer.link import topics
from prosumer.records import DUMMY, FINALIZE, VOTE, Certificate, Header, Proposal, vote_message
from prosumer import durable

_MAX_HEADERS = 8


class Ask(Record):
    TYPE, TAG, SIGNED = 11, b"prosumer/ask/v1", True
    FIELDS = ("member", ">B", "to", ">B", "iteration", ">I", "slot", ">I")


class Catchup:
    def __init__(self, node):
        self.node = node
        self.wanted = False
        self.asked_ms = 0
        self.turn = 0
        self.slot = 0  # blocks up to this one came with the last answer
        self.turns = {}  # member → when it was answered

    def step(self, now_ms):
        if self.wanted:
            self.ask(now_ms)

    def ask(self, now_ms):
        """Ask the next neighbour in turn, at most once per network delay bound."""
        node = self.node
        if now_ms - self.asked_ms < node.genesis.delta_ms or node.genesis.n < 2:
            return
        self.asked_ms, self.wanted = now_ms, False
        self.turn += 1
        to = (node.me + 1 + self.turn % (node.genesis.n - 1)) % node.genesis.n
        iteration, slot = node.simplex.iteration, node.final.slot + 1
        if node.simplex.tip[1] not in node.chain:
            iteration, slot = 0, max(slot, self.slot)  # the tip itself is missing, or more below it
        ask = Ask(member=node.me, to=to, iteration=iteration, slot=slot)
        ask.signature = node.signer.sign(ask.message(node.genesis.feeder_id))
        node.publish(topics.ASK, ask.pack())

    def receive(self, kind, member, payload, now_ms):
        if kind == topics.ASK:
            ask = Ask.parse(payload)
            if ask.member != member:
                raise Reject("wrong-sender")
            if ask.to == self.node.me and now_ms - self.turns.get(member, 0) >= self.node.genesis.delta_ms:
                self.node.members.check_record(ask)
                self.turns[member] = now_ms  # an old ask played again is no way to make this meter talk
                self._answer(ask)
        elif len(payload) > 2 and payload[1] == self.node.me:
            self._learn(payload)

    def final_pieces(self):
        final = self.node.final
        return [final.header.raw] + self.node.certificate.pieces() + [
            len(final.before).to_bytes(2, "big"), final.before, len(final.state).to_bytes(2, "big"), final.state]

    def read_final(self, cursor):
        """(header, certificate, accumulator before it, state), checked against each other, not yet the signatures."""
        header = Header.parse(cursor.take(Header.size()))
        certificate = Certificate.read(cursor)
        before = cursor.take(cursor.uint(2))
        packed = cursor.take(cursor.uint(2))
        state = State.parse(packed)
        digest = header.hash(self.node.genesis.feeder_id)
        if ((certificate.iteration, certificate.header_hash) != (header.iteration, digest)
                or MMR.parse(before).root() != header.accumulator or state.root() != header.state_root or len(state.accounts) != self.node.genesis.n):
            raise Reject("proof-mismatch")
        return header, certificate, before, packed

    def _answer(self, ask):
        node = self.node
        certificates, block = [], []
        if ask.slot <= node.final.slot:
            stop = MMR.parse(node.final.before).count
            headers = [Header.parse(raw) for _, raw in node.ring.iterate(max(0, stop - _MAX_HEADERS), stop)]
            headers = [h for h in headers if h.slot >= ask.slot]
        elif ask.iteration >= node.simplex.iteration:
            return
        else:
            missing = [b for b in node.above(node.simplex.tip[1]) if b.iteration >= ask.iteration and b.slot >= ask.slot]
            if missing:
                block = [durable.File(node.block_path(missing[0].iteration))]
            headers = [b.header for b in missing[1:1 + _MAX_HEADERS]]
            certificates = [c for c in node.notarizations if c.header_hash != DUMMY or c.iteration >= ask.iteration]
            certificates = certificates[:2 if missing else 5]
        final = [b"\1"] + self.final_pieces() if ask.slot <= node.final.slot else [b"\0"]
        node.publish(topics.CHAIN, Parts([b"\x0c", bytes([ask.member])] + final + list_pieces(headers) + list_pieces(certificates) + block))

    def _learn(self, payload):
        node = self.node
        feeder = node.genesis.feeder_id
        cursor = Cursor(payload)
        cursor.take(2)
        final = self.read_final(cursor) if cursor.uint(1) else None
        headers = cursor.records(Header, _MAX_HEADERS)
        certificates = cursor.records(Certificate, 255)
        block = cursor.take(len(payload) - cursor.at)
        proposal = Proposal.parse(block) if block else None
        vouched, linked = [node.simplex.tip[1]], []
        if final and final[0].iteration > node.final.iteration:
            c = final[1]
            node.members.check_certificate(c, FINALIZE, vote_message(feeder, FINALIZE, c.iteration, c.header_hash))
            vouched = [final[0].previous]
        certificates = [c for c in certificates if c.iteration > node.final.iteration]
        for c in certificates:  # also dummies below: a proposal may rest on the block before them
            node.members.check_certificate(c, VOTE, vote_message(feeder, VOTE, c.iteration, c.header_hash))
            vouched.append(c.header_hash)
        for h in reversed(headers):
            if h.hash(feeder) in vouched:
                vouched.append(h.previous)
                linked.insert(0, h)
        if final and final[0].iteration > node.final.iteration:
            if len(linked) != len(headers):
                raise Reject("broken-chain")
            node.jump(headers, *final)
            self.wanted, self.asked_ms = True, 0
        if proposal:
            self.slot = 0  # begin at the final block again if this one is of no use
            header = proposal.header
            digest = header.hash(feeder)
            if digest in vouched and (digest in node.chain or header.previous in node.chain):
                if digest not in node.chain:
                    node.extend(proposal, [block])
                self.slot, self.wanted = header.slot + 1, True
        before = node.simplex.iteration
        for c in certificates:
            node.adopt(c)
        if node.simplex.iteration > before:
            self.wanted = True  # there may be more: an answer has few certificates
