"""Listens on the broker and keeps what the street agreed on: every final block with its certificate. It only listens.

It holds the feeder keys, as an enrolled archive does, and keeps plain records: sealed ones end at the broker.

    RUN/records/block-00012.bin    length:4, proposal, certificate (FINALIZE, a quorum of signatures)

A proposal is kept once a quorum of good finalize votes for its header came by, and with it those of its ancestors that
became final through it alone; these have no certificate of their own.
"""
import hashlib
import json
import struct

from prosumer_tools.feederkeys import BadSeal, FeederKeys
from prosumer_tools.verify import records
from prosumer_tools.verify.books import Books

_HEADER_TAG = b"prosumer/header/v1\0"
_VOTE_TAG = b"prosumer/vote/v1\0"
_HEADER = 146
_MOST_PROPOSALS = 256
_FINALIZE = 1


class Recorder:
    """`on_block(slot, bytes of the file)` is called for each final block, `on_state(name, dict)` for each meter's state."""

    def __init__(self, folder, feeder_id, genesis, keys=None):
        """`keys`: the FeederKeys of a street that seals its records."""
        self.feeder_keys = keys or FeederKeys(feeder_id, {})
        self.folder = folder / "records"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.feeder_id = feeder_id
        self.books = Books(records.genesis(genesis))  # of them only who votes when
        self.proposals = {}   # header hash → proposal bytes
        self.votes = {}       # (iteration, header hash) → {member: signature}
        self.final = {}       # slot → header hash
        self.messages, self.bytes = {}, 0  # as they crossed the broker
        self.refused = {}     # why a message could not be opened → how many
        self.catching_up = {} # member → bytes it asked with and was answered with
        self.states = {}
        self.on_block = lambda slot, raw: None
        self.on_state = lambda name, state: None

    def take(self, topic, payload):
        parts = topic.split("/")
        if parts[0] == "prosumer" and parts[-1] == "state":
            self._state(parts[1], payload)
            return
        if parts[0] not in ("p", "b") or len(parts) != 4:
            return
        kind = parts[2]
        self.messages[kind] = self.messages.get(kind, 0) + 1
        size = len(payload)
        self.bytes += size
        try:
            payload = self.feeder_keys.open(kind, int(parts[3]), payload)
        except (BadSeal, ValueError) as error:  # a forger's topic may name anything
            code = str(error) if isinstance(error, BadSeal) else "bad-topic"
            self.refused[code] = self.refused.get(code, 0) + 1
            return
        if kind == "proposal" and len(payload) > 1 + _HEADER + 64:
            header = payload[1:1 + _HEADER]
            digest = hashlib.sha256(_HEADER_TAG + self.feeder_id + header).digest()
            while len(self.proposals) >= _MOST_PROPOSALS:  # whoever floods the topic loses the oldest, not the disk
                del self.proposals[next(iter(self.proposals))]
            self.proposals[digest] = payload
            self._settle(digest)
        elif kind == "ask" or kind == "chain" and len(payload) > 2:  # a chain's second byte says to whom
            member = int(parts[3]) if kind == "ask" else payload[1]
            self.catching_up[member] = self.catching_up.get(member, 0) + size
        elif kind == "vote" and len(payload) == 103 and payload[1] == _FINALIZE:
            self._vote(payload, parts[3])

    def _state(self, name, payload):
        try:
            self.states[name] = json.loads(payload)
        except ValueError:
            return
        self.on_state(name, self.states[name])

    def _vote(self, payload, sender):
        iteration, member = struct.unpack(">IB", payload[2:7])
        digest = payload[7:39]
        if str(member) != sender or member not in self.books.voters() or member in self.votes.get((iteration, digest), {}):
            return
        if not self.books.genesis.keys[member].signed(_VOTE_TAG + self.books.domain() + payload[1:6] + digest, payload[39:]):
            return
        self.votes.setdefault((iteration, digest), {})[member] = payload[39:]
        self._settle(digest)

    def _settle(self, digest):
        """Write the block of `digest` if it is final now, and any ancestors that were waiting for it."""
        proposal = self.proposals.get(digest)
        if not proposal:
            return
        slot, iteration = struct.unpack(">II", proposal[2:10])
        # a block that changes who votes may be proposed again, and become final in a later iteration
        iteration, votes = max([(h, v) for (h, d), v in self.votes.items() if d == digest], key=lambda x: len(x[1]), default=(iteration, {}))
        if len(votes) < self.books.quorum() or slot in self.final:
            return
        self._ancestors(proposal[11:43])
        self.final[slot] = digest
        members = sorted(votes)
        bitmap = sum(1 << m for m in members)
        certificate = struct.pack(">BBI32sQ", 7, _FINALIZE, iteration, digest, bitmap) + b"".join(votes[m] for m in members)
        self._write(slot, proposal, certificate)
        for old in [d for d, p in self.proposals.items() if struct.unpack(">I", p[2:6])[0] < slot - 4]:
            del self.proposals[old]
        for key in [k for k in self.votes if k[0] < iteration - 8]:
            del self.votes[key]

    def _ancestors(self, digest):
        proposal = self.proposals.get(digest)
        if proposal:
            slot = struct.unpack(">I", proposal[2:6])[0]
            if slot not in self.final:
                self._ancestors(proposal[11:43])
                self.final[slot] = digest
                self._write(slot, proposal, b"")

    def _write(self, slot, proposal, certificate):
        raw = struct.pack(">I", len(proposal)) + proposal + certificate
        (self.folder / f"block-{slot:05d}.bin").write_bytes(raw)
        self.books.enter(records.block(raw), lambda record, text: None)
        self.on_block(slot, raw)

    def write_manifest(self):
        lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}" for p in sorted(self.folder.glob("*.bin"))]
        (self.folder / "MANIFEST").write_text("\n".join(lines) + "\n")
