"""Back after an absence: ask a neighbour, check its answer by certificates alone, jump. Nothing is replayed or trusted.

    Ask    0b member to iteration:4 slot:4 sig:64
    Chain  0c to headers (count, then 146 bytes each, oldest first) final certificates proposals
    final  header:146 certificate mmr (length:2, bytes; before the header) state (length:2, bytes)

The state must hash to the header's state root and the accumulator to its accumulator, so the answer can be
short or missing but not false. `proposals` (length:3 each) are notarized blocks above the final one.
"""
from prosumer.codec import Cursor, Parts, Record, list_pieces
from prosumer.errors import Reject
from prosumer.ledger.mmr import MMR
from prosumer.ledger.state import State
from prosumer.link import topics
from prosumer.records import FINALIZE, VOTE, Certificate, Header, Proposal, vote_message
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
        ask = Ask(member=node.me, to=to, iteration=node.simplex.iteration, slot=node.final.slot + 1)
        ask.signature = node.signer.sign(ask.message(node.genesis.feeder_id))
        node.publish(topics.ASK, ask.pack())

    def receive(self, kind, member, payload, now_ms):
        if kind == topics.ASK:
            ask = Ask.parse(payload)
            if ask.member != member:
                raise Reject("wrong-sender")
            if ask.to == self.node.me:
                self.node.members.check_record(ask)
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
        """The newest final header with its proof, up to 8 headers before it, and what is notarized since."""
        node = self.node
        if not node.certificate or (ask.slot > node.final.slot and ask.iteration >= node.simplex.iteration):
            return
        stop = node.ring.next - 1  # the final header itself follows with its proof
        headers = [Header.parse(raw) for _, raw in node.ring.iterate(stop - _MAX_HEADERS, stop)]
        headers = [h for h in headers if h.slot >= ask.slot]
        tip = node.chain.get(node.simplex.tip[1])
        proposals = [b"\0"]
        if tip and tip.iteration > node.final.iteration:
            tip = durable.File(node.folder + "tip")
            proposals = [b"\1", len(tip).to_bytes(3, "big"), tip]
        node.publish(topics.CHAIN, Parts([b"\x0c", bytes([ask.member])] + list_pieces(headers) + self.final_pieces() +
                                         list_pieces(node.notarizations) + proposals))

    def _learn(self, payload):
        node = self.node
        cursor = Cursor(payload)
        cursor.take(2)
        headers = cursor.records(Header, _MAX_HEADERS)
        header, certificate, before, state = self.read_final(cursor)
        notarized = cursor.records(Certificate, 64)
        proposals = [Proposal.parse(cursor.take(cursor.uint(3))) for _ in range(cursor.uint(1))]
        cursor.end()
        feeder = node.genesis.feeder_id
        digest = header.hash(feeder)
        if header.iteration > node.final.iteration:
            node.members.check_certificate(certificate, FINALIZE, vote_message(feeder, FINALIZE, header.iteration, digest))
            previous = header.previous
            for h in reversed(headers):
                if h.hash(feeder) != previous:
                    raise Reject("broken-chain")
                previous = h.previous
            node.jump(headers, header, digest, before, state, certificate)
        for proposal in proposals:
            if proposal.header.previous in node.chain:
                node.extend(proposal)
        for c in notarized:
            if c.iteration > node.final.iteration:  # also dummies below: a proposal may rest on the block before them
                node.members.check_certificate(c, VOTE, vote_message(feeder, VOTE, c.iteration, c.header_hash))
                node.adopt(c)
