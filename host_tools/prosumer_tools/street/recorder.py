"""Listens on the broker and keeps what the street agreed on: every final block with its certificate. It only listens.

    RUN/records/block-00012.bin    length:4, proposal, certificate (FINALIZE, a quorum of signatures)

A proposal is kept once enough finalize votes for its header came by; whether the signatures are any good is
`prosumer verify`'s business, not the recorder's.
"""
import hashlib
import json
import struct

_HEADER_TAG = b"prosumer/header/v1\0"
_HEADER = 146
_FINALIZE = 1


class Recorder:
    """`on_block(slot, bytes of the file)` is called for each final block, `on_state(name, dict)` for each meter's state."""

    def __init__(self, folder, feeder_id, members):
        self.folder = folder / "records"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.feeder_id, self.members = feeder_id, members
        self.quorum = members - (members - 1) // 3
        self.proposals = {}   # header hash → proposal bytes
        self.votes = {}       # (iteration, header hash) → {member: signature}
        self.final = {}       # slot → header hash
        self.messages, self.bytes = {}, 0
        self.states = {}
        self.on_block = lambda slot, raw: None
        self.on_state = lambda name, state: None

    def take(self, topic, payload):
        parts = topic.split("/")
        if parts[0] == "prosumer" and parts[-1] == "state":
            self._state(parts[1], payload)
            return
        if parts[0] != "p" or len(parts) != 4:
            return
        kind = parts[2]
        self.messages[kind] = self.messages.get(kind, 0) + 1
        self.bytes += len(payload)
        if kind == "proposal" and len(payload) > 1 + _HEADER + 64:
            header = payload[1:1 + _HEADER]
            digest = hashlib.sha256(_HEADER_TAG + self.feeder_id + header).digest()
            self.proposals[digest] = payload
            self._settle(digest)
        elif kind == "vote" and len(payload) == 103 and payload[1] == _FINALIZE:
            iteration, member = struct.unpack(">IB", payload[2:7])
            self.votes.setdefault((iteration, payload[7:39]), {})[member] = payload[39:]
            self._settle(payload[7:39])

    def _state(self, name, payload):
        try:
            self.states[name] = json.loads(payload)
        except ValueError:
            return
        self.on_state(name, self.states[name])

    def _settle(self, digest):
        """Write the block of `digest` if it is final now, and any ancestors that were waiting for it."""
        proposal = self.proposals.get(digest)
        if not proposal:
            return
        slot, iteration = struct.unpack(">II", proposal[2:10])
        votes = self.votes.get((iteration, digest), {})
        if len(votes) < self.quorum or slot in self.final:
            return
        self.final[slot] = digest
        members = sorted(votes)
        bitmap = sum(1 << m for m in members)
        certificate = struct.pack(">BBI32sQ", 7, _FINALIZE, iteration, digest, bitmap) + b"".join(votes[m] for m in members)
        path = self.folder / f"block-{slot:05d}.bin"
        path.write_bytes(struct.pack(">I", len(proposal)) + proposal + certificate)
        self.on_block(slot, path.read_bytes())
        for old in [d for d, p in self.proposals.items() if struct.unpack(">I", p[2:6])[0] < slot - 4]:
            del self.proposals[old]
        for key in [k for k in self.votes if k[0] < iteration - 8]:
            del self.votes[key]

    def write_manifest(self):
        lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}" for p in sorted(self.folder.glob("*.bin"))]
        (self.folder / "MANIFEST").write_text("\n".join(lines) + "\n")
