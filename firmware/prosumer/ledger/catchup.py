"""Back after an absence: ask a neighbour, check its answer by certificate and consistency proof, jump. Nothing is replayed or trusted.

    Ask    10 member to iteration:4 slot:4 count:4 domain:8 sig:64        count: headers up to the asker's final one
    Chain  11 to finals (count: 0 or 1) [final evidence tops] headers certificates [proposal]
    final  regime:44 header:146 certificate mmr (length:2, bytes; before the header) state (length:4, bytes)
    tops   count:1, then 32 bytes each: of mmr.lacks() from the asker's count to the accumulator in `final`

Whoever lacks the final block gets it, with the headers (count, then 146 bytes each, oldest first) before it, and asks
again; whoever has it gets certificates since, and one block after the other, with the headers that link it to the
notarized tip. So an answer is hardly longer than a block. The state must hash to the header's state root and the
accumulator to its accumulator: an answer can be short or missing but not false.

`tops` show that the headers the asker has are the first of those in `final`. The answerer finds them in its ring, so for a week; over a longer
absence nobody can be asked to, and certificate and trust period alone count, as they do when every neighbour was asked and none had them:
"caught-up-unproven", and the accumulator that was left behind is kept in unprovenN, for `prosumer headers --continues` to look for in
an archive. Wrong tops are a Reject and the next neighbour is asked. A certified header which contradicts the own one whatever the tops is a
fork: Halt, for then more than a third lie.

The certificate is that of `regime` (members.py). Whoever was away may not know it; then it must follow from what is signed: the
genesis by the operator, and each exclusion by the excluded member itself, in the evidence. Keys of those who left long ago
may be in strange hands: after half a year away ("trust-period", by header and clock) only a genesis of the operator that is newer than
one's own counts, also if all seem to be there still.
"""
import os

from micropython import const

from prosumer import durable
from prosumer.codec import Cursor, Parts, Record, list_pieces
from prosumer.errors import Reject
from prosumer.ledger.evidence import check, keep, kept
from prosumer.identity.genesis import Genesis
from prosumer.identity.members import Members
from prosumer.ledger import merkle, notarized
from prosumer.ledger.mmr import MMR, hash_leaf, lacks
from prosumer.ledger.pool import good
from prosumer.ledger.state import State
from prosumer.link import topics
from prosumer.records import FINALIZE, MAX_MEMBERS, VOTE, Certificate, Evidence, Header, Proposal

_MAX_HEADERS = const(8)
_TRUST_S = const(15552000)  # half a year
_STEP = const(64)
_HEADER_MS = const(100)  # for a header hashed into a proof: who asks for a week of them waits minutes for the next answer


def in_force(genesis, folder):
    """The genesis that the final state in `folder` names; `genesis` is the one this meter was enrolled with."""
    saved = durable.load(folder + "final")
    if saved:
        cursor = Cursor(saved)
        cursor.take(190)  # regime and header
        Certificate.read(cursor)
        cursor.take(cursor.uint(2))
        digest = State.parse(cursor.take(cursor.uint(4))).genesis
        for name in os.listdir(folder[:-1]):
            if genesis.hash != digest and name[:7] == "genesis" and name[-1] != "~":
                genesis = Genesis(durable.load(folder + name))
    return genesis


class Ask(Record):
    TYPE, TAG, SIGNED = 16, b"prosumer/ask/v1", True
    FIELDS = ("member", ">B", 1, "to", ">B", 2, "iteration", ">I", 3, "slot", ">I", 7, "count", ">I", 11,
              "domain", "8s", 15)


class Catchup:
    def __init__(self, node):
        self.node = node
        self.wanted = False
        self.job = None  # (ask, final hash, tops, steps): a proof that is being made
        self.proposer = None  # who builds on a block that is not known here
        self.asked_ms = 0
        self.asked = 0  # bit m: member m owes an answer
        self.turn = 0
        self.slot = 0  # blocks up to this one came with the last answer
        self.turns = {}  # member → when it was answered
        self.last = 0  # the turn in which an answer without proof is as good as it gets; 0: none came yet

    def step(self, now_ms):
        if self.job:
            self._prove_on()
        if self.wanted:
            self.ask(now_ms)

    def learn_tip(self, proposer):
        """It knows what it builds on, which may be notarized in an iteration that this meter left by its dummy."""
        self.proposer, self.wanted = proposer, True

    def ask(self, now_ms):
        """Ask the next neighbour in turn, at most once per network delay bound."""
        node = self.node
        if now_ms - self.asked_ms < node.genesis.delta_ms or node.genesis.n < 2:
            return
        self.turn += 1
        self.asked_ms, self.wanted = now_ms, self.turn < self.last
        to = (node.me + 1 + self.turn % (node.genesis.n - 1)) % node.genesis.n
        iteration, slot = node.simplex.iteration, node.final.slot + 1
        if self.proposer is not None:
            to, iteration, self.proposer = self.proposer, node.simplex.tip[0] + 1, None
        if node.simplex.tip[1] not in node.chain:
            iteration, slot = 0, max(slot, self.slot)  # the tip itself is missing, or more below it
        self.asked |= 1 << to
        ask = Ask(member=node.me, to=to, iteration=iteration, slot=slot, count=node.final.accumulator().count,
                  domain=node.members.domain)
        ask.signature = node.signer.sign(ask.message(node.genesis.feeder_id))
        node.publish(topics.ASK, ask.pack())

    def receive(self, kind, member, payload, now_ms):
        if kind == topics.ASK:
            ask = Ask.parse(payload)
            if ask.member != member:
                raise Reject("wrong-sender")
            if ask.to == self.node.me and not self.job and now_ms - self.turns.get(member, 0) >= self.node.genesis.delta_ms:
                self.node.members.check_record(ask)
                self.turns[member] = now_ms  # an old ask played again is no way to make this meter talk
                self._answer(ask)
        elif len(payload) > 2 and payload[1] == self.node.me:
            if not self.asked >> member & 1:
                raise Reject("unasked")
            self.asked &= ~(1 << member)
            self._learn(payload, now_ms)

    def final_pieces(self):
        final = self.node.final
        return [self.node.certified, final.header.raw] + self.node.certificate.pieces() + [
            len(final.before).to_bytes(2, "big"), final.before, len(final.state).to_bytes(4, "big"), final.state]

    def read_final(self, cursor):
        """(regime, header, certificate, accumulator before it, state), checked against each other, not yet the signatures."""
        regime = cursor.take(44)
        header = Header.parse(cursor.take(Header.size()))
        certificate = Certificate.read(cursor)
        before = cursor.take(cursor.uint(2))
        packed = cursor.take(cursor.uint(4))
        state = State.parse(packed)
        if (certificate.iteration < header.iteration or certificate.header_hash != header.hash(self.node.genesis.feeder_id)
                or MMR.parse(before).root() != header.accumulator or state.root() != header.state_root or state.pack() != packed):
            raise Reject("proof-mismatch")
        return regime, header, certificate, before, packed

    def _genesis(self, digest):
        """Of ours, the operator's newest and the one before it whichever has this hash; Reject("strange-regime")."""
        node = self.node
        for genesis in (node.genesis, node.pool.amendment, node.pool.former):
            if genesis and genesis.hash == digest and (not node.final.header or genesis.number >= node.genesis.number):
                return genesis
        raise Reject("strange-regime")

    def _members(self, regime, slot):
        """Who votes in a regime that may not be ours, up to `slot`; Reject("strange-regime"|"trust-period")."""
        node = self.node
        same = regime == node.members.regime
        genesis = node.genesis if same else self._genesis(regime[12:])
        if genesis is node.genesis and node.final.header and (slot - node.final.slot) * genesis.slot_s > _TRUST_S:
            raise Reject("trust-period")
        if same:
            return node.members
        members = Members(genesis, node.members.folder)
        members.enter(regime)
        return members

    def _check_final(self, now_ms, headers, peaks, proofs, regime, header, certificate, before, packed):
        """Final by those who vote in `regime`, which the operator and `proofs` justify, and behind our own final block; what proves it is kept."""
        node = self.node
        members = self._members(regime, max(header.slot, node.genesis.slot_at(now_ms)))  # a liar's slots may be few
        shown = [e for e in proofs + kept(node.folder) if good(check, e, members)]
        excluded = sum(set([1 << e.member for e in shown]))
        if int.from_bytes(regime[4:12], "big") & ~excluded:
            raise Reject("strange-regime")
        members.check_certificate(certificate, FINALIZE)
        self.verify(before, peaks, headers + [header])
        keep(node.folder, shown)
        digest = State.parse(packed).genesis  # in force behind that block
        if digest != node.genesis.hash:
            node.keep_genesis(self._genesis(digest).raw, members.genesis.raw)

    def verify(self, before, peaks, headers):
        """That a certified header, `headers` and the accumulator before them go on from our final one: Halt or Reject."""
        node = self.node
        mine, later, given = node.final.accumulator(), MMR.parse(before), len(peaks)
        size, whole = later.count - mine.count, mine.extend(later, peaks)
        if whole is None or mine.count and len(headers) > size and headers[-size - 1].previous != node.final_hash:
            node.act([("fork", 0, None)])
        short = len(headers) <= min(size, _MAX_HEADERS)  # then the ring would begin anew behind a gap
        if whole and not short:
            return
        self.wanted = True  # ask the next one
        if given and not whole:
            raise Reject("proof-wrong")
        if size < node.ring.capacity:
            self.last = self.last or self.turn + node.genesis.n - 2
            if self.turn < self.last:
                raise Reject("unproven")
        if whole:
            return
        path = "%sunproven%d" % (node.folder, node.final.accumulator().count // node.ring.capacity)
        if not durable.exists(path):  # one for a ring of headers: a broker that lets no answers through could have one made in each slot
            durable.save(path, node.final.accumulator().serialize())
        node.count("caught-up-unproven")

    def prove(self, out, count, stop):
        """Append what shows that the first `count` of `stop` headers are among them to `out`; in steps of some 50 ms on a board."""
        node = self.node
        for start, size in lacks(count, stop):
            peaks, i = [], start
            while i < start + size:
                upto = min(i + _STEP, start + size)
                for i, raw in node.ring.iterate(i + 1, upto + 1):  # a header names the hash of the one before
                    merkle.push(peaks, i - start - 1, hash_leaf(raw[10:42]))
                if i != upto:
                    raise Reject("header-missing")
                if size > _STEP:
                    yield
            out += peaks

    def _prove_on(self):
        """One step of the proof that an answer waits for."""
        ask, digest, tops, steps = self.job
        try:
            next(steps)
            return
        except StopIteration:
            pass
        except Reject:
            tops.clear()
        self.job = None
        self._answer(ask, tops if digest == self.node.final_hash else None)

    def _answer(self, ask, tops=None):
        """`tops`: the proof, if there is one; None: it has not been looked for."""
        node = self.node
        newest = node.pool.amendment or node.genesis
        if ask.domain != node.members.domain and newest.number:
            node.publish(topics.GENESIS, newest.raw, topics.OPERATOR)  # the broker may have lost what it retained
            former = durable.load(node.folder + "former")
            if former and node.certified[12:] != node.members.regime[12:]:
                node.publish(topics.GENESIS, former, topics.OPERATOR)
        certificates, block = [], []
        if ask.slot <= node.final.slot:
            stop = MMR.parse(node.final.before).count
            if tops is None and ask.count >= node.ring.first:  # else it is older than what this meter has
                tops = []
                self.job = ask, node.final_hash, tops, self.prove(tops, ask.count, stop)
                return self._prove_on()
            if tops:
                self.turns[ask.member] = self.turns.get(ask.member, 0) + (stop - ask.count) * _HEADER_MS
            headers = [Header.parse(raw) for _, raw in node.ring.iterate(max(0, stop - _MAX_HEADERS), stop)]
            headers = [h for h in headers if h.slot >= ask.slot]
            tops = tops or []
        elif ask.iteration >= node.simplex.iteration:
            return
        else:
            missing = [b for b in node.above(node.simplex.tip[1]) if b.iteration >= ask.iteration and b.slot >= ask.slot]
            if missing:
                block = [durable.File(node.block_path(missing[0].iteration))]
            headers = [b.header for b in missing[1:1 + _MAX_HEADERS]]
            certificates = notarized.since(node, ask.iteration, 2 if missing else 5)
            if len(Parts(block + list_pieces(headers) + list_pieces(certificates))) > 1400 + 448 * node.genesis.n:
                if ask.iteration:  # more than the buffer that it is received in (agent.py): first what makes the block its tip
                    block, headers = [], []
                else:  # which it has, for it asks for the block
                    certificates = []
        final = [b"\0"]
        if ask.slot <= node.final.slot:
            final = [b"\1"] + self.final_pieces() + list_pieces(kept(node.folder)) + [bytes([len(tops)])] + tops
        node.publish(topics.CHAIN, Parts([b"\x11", bytes([ask.member])] + final + list_pieces(headers) + list_pieces(certificates) + block))

    def _learn(self, payload, now_ms):
        node = self.node
        feeder = node.genesis.feeder_id
        cursor = Cursor(payload)
        cursor.take(2)
        final = None
        if cursor.uint(1):
            final = self.read_final(cursor)
            proofs = cursor.records(Evidence, MAX_MEMBERS)
            tops = [cursor.take(32) for _ in range(cursor.uint(1))]
            if final[1].iteration <= node.final.iteration:
                final = None
        headers = cursor.records(Header, _MAX_HEADERS)
        certificates = cursor.records(Certificate, 5)
        block = cursor.take(len(payload) - cursor.at)
        proposal = Proposal.parse(block) if block else None
        vouched = [node.simplex.tip[1]]
        if final:
            at = final[1].previous
            for h in reversed(headers):  # each once and in its place: verify and the ring count them
                if h.hash(feeder) != at:
                    raise Reject("broken-chain")
                at = h.previous
        certificates = [c for c in certificates if c.iteration > node.final.iteration]
        for c in certificates:  # also dummies below: a proposal may rest on the block before them
            node.members.check_certificate(c, VOTE)
            vouched.append(c.header_hash)
        for h in reversed(headers):
            if h.hash(feeder) in vouched:
                vouched.append(h.previous)
        if final:
            self._check_final(now_ms, headers, tops, proofs, *final)
            node.jump(headers, *final)
            self.wanted, self.asked_ms, self.last = True, 0, 0
        if proposal:
            self.slot = 0  # begin at the final block again if this one is of no use
            header = proposal.header
            digest = header.hash(feeder)
            if digest in vouched and (digest in node.chain or header.previous in node.chain):
                if digest not in node.chain:
                    node.extend(proposal, [block])
                self.slot, self.wanted = header.slot + 1, True
        core, before = node.simplex, node.simplex.iteration
        for c in certificates:
            if node.simplex is core:
                node.adopt(c)
        if node.simplex is core and node.simplex.iteration > before:
            self.wanted = True  # there may be more: an answer has few certificates
