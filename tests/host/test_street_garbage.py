"""Rubbish from outside, a member that lies in every way it can, and floods: the street trades on, and says why it refused what."""
import asyncio
import hashlib
import random
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from street_kit import FINALIZE, SLOT_S, START_S, VOTE, Game, play, play_async

KINDS = ("reading", "commit", "order", "envelope", "weather", "sketch", "proposal", "vote", "ask", "chain")
DAY = (20, 255, 271, 285)  # seconds of a slot: early, before the commits, in the agreement, after it


def test_rubbish_all_day_changes_nothing_and_is_counted_by_reason(tmp_path):
    rnd = random.Random(7)

    def vandal(game):
        """Anybody who reaches the broker: noise on every topic, and what was really said flipped, forged, cut, extended, replayed."""
        messages = [(f"{kind}/{rnd.randrange(4)}", rnd.randbytes(rnd.choice((0, 1, 40, 103, 157, 600)))) for kind in KINDS]
        for kind in KINDS:
            real = [(member, raw) for _, k, member, raw in game.said if k == kind and raw]
            for member, raw in real[:1] + real[-1:]:
                flipped = bytearray(raw)
                flipped[rnd.randrange(len(raw))] ^= 1 << rnd.randrange(8)
                forged = raw[:-1] + bytes([raw[-1] ^ 1])
                messages += [(f"{kind}/{member}", m) for m in (bytes(flipped), forged, raw, raw[:len(raw) // 2], raw + b"\0")]
                messages += [(f"{kind}/{(member + 1) % 4}", raw), (f"{kind}/200", raw)]
        messages += [("vote/0", rnd.randbytes(100_000)), ("proposal/1", rnd.randbytes(9000)), ("weather/255", b'{"start_s": 1e999}'),
                     ("weather/255", b"[" * 3000), ("weather/255", b'{"start_s": 0, "irradiance": [-1]}'), ("weather/255", b"3"),
                     ("nonsense/0", b""), ("vote/x", b""), ("vote/0/0", b""), ("vote/99999999999999999999", b"x"), ("\u00e9" * 300, b"")]
        return game.publish(*messages)

    run = play(tmp_path, count=4, slots=5, faults=[(slot, second, vandal) for slot in range(1, 5) for second in DAY])
    assert run.result.ok, run.result.faults
    assert run.blocks == [0, 1, 2, 3, 4, 5]
    assert run.result.counts["trades"] >= 16
    counted = run.rejects()
    assert {"bad-topic", "wrong-length", "wrong-type", "bad-signature", "wrong-sender", "wrong-slot", "replayed", "not-the-proposer",
            "trailing-bytes", "truncated", "bad-operator-signature", "bad-weather", "malformed", "oversized"} <= set(counted), counted
    assert "timeout" not in counted, "no slot needed a second attempt"
    assert all(device["boots"] == 2 for device in run.facts["devices"].values()), "no meter stopped"


def test_floods_are_cut_off_and_cost_no_slot(tmp_path):
    def flood(count, size, topic):
        return lambda game: game.publish(*[(topic, bytes([9]) * size)] * count)

    run = play(tmp_path, count=4, slots=5, faults=[(1, 100, flood(100, 8000, "proposal/1")), (2, 271, flood(60, 8000, "chain/2")),
                                                  (3, 100, flood(1000, 100, "vote/1")), (4, 271, flood(40, 20_000, "reading/3"))])
    assert run.result.ok, run.result.faults
    assert run.blocks == [0, 1, 2, 3, 4, 5]
    for state in run.states.values():
        assert state["counts"]["oversized"] == 40 and state["counts"]["flood"] > 100, "large ones find no room"
        assert state["heap_free"] > 15_000
    assert all(device["boots"] == 2 for device in run.facts["devices"].values())


class Liar(Game):
    """elm, the last member, is no meter: its key is held by somebody who signs whatever could do harm."""

    def __init__(self, folder, **options):
        super().__init__(folder, **options)
        self.secret = Ed25519PrivateKey.generate()
        self.me = len(self.street.homes) - 1
        self.name = self.street.homes[-1].name
        self.random = random.Random(11)

    async def _key(self, name):
        if name == self.name:
            return self.secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return await super()._key(name)

    async def _provision(self, name, gate):
        if name == self.name:
            self.supervisor.kill(name)
        else:
            await super()._provision(name, gate)

    @property
    def domain(self):
        """What the first voters' votes are signed under."""
        digest = hashlib.sha256(b"prosumer/genesis/v2\0" + self.genesis).digest()
        return hashlib.sha256(self.feeder_id + bytes(12) + digest).digest()[:8]

    def signed(self, tag, body):
        return body + self.secret.sign(tag + b"\0" + self.feeder_id + body)

    def vote(self, kind, iteration, digest):
        """The member's own number is not under the signature."""
        message = struct.pack(">BI32s", kind, iteration, digest)
        signature = self.secret.sign(b"prosumer/vote/v1\0" + self.domain + message)
        return struct.pack(">BBIB32s", 6, kind, iteration, self.me, digest) + signature

    def reading(self, slot, seq, imported, salt=0):
        body = struct.pack(">BBII32sQQQIIIIHB8s", 1, self.me, slot, seq, bytes([salt]) * 32, imported, 0, 0, 0xFFFFFFFF, 0, 0, 0, 0, 1,
                           bytes(8))
        return self.signed(b"prosumer/reading/v1", body)

    def commit(self, slot, digest):
        return self.signed(b"prosumer/commit/v1", struct.pack(">BBI32s", 2, self.me, slot, digest))

    def proposal(self, real):
        """A block of somebody else's under its own name, signed as the protocol asks."""
        header = bytearray(real[1:147])
        header[1:5] = struct.pack(">I", (self.supervisor.now_ms // 1000 - START_S) // SLOT_S)
        header[5:9] = struct.pack(">I", self.iteration)
        header[9] = self.me
        digest = hashlib.sha256(b"prosumer/header/v1\0" + self.feeder_id + header).digest()
        return real[:1] + bytes(header) + self.secret.sign(
            b"prosumer/vote/v1\0" + self.domain + struct.pack(">BI32s", 2, self.iteration, digest)) + real[211:]

    @property
    def iteration(self):
        return max([struct.unpack(">I", raw[2:6])[0] for member, raw in self.votes() if member != self.me], default=0) + 1

    def votes(self):
        return [(member, raw) for _, kind, member, raw in self.said if kind == "vote" and len(raw) == 103]

    def lie(self):
        me, slot = self.me, (self.supervisor.now_ms // 1000 - START_S) // SLOT_S
        noise = [self.random.randbytes(32) for _ in range(4)]
        out = []
        for iteration in (self.iteration - 1, self.iteration, self.iteration + 1):
            out += [(f"vote/{me}", self.vote(kind, iteration, digest)) for kind in (VOTE, FINALIZE) for digest in noise + [bytes(32)]]
            out += [(f"vote/{me}", self.vote(VOTE, iteration, raw[7:39])) for _, raw in self.votes()[-20:]]
        out += [(f"vote/{me}", self.vote(7, self.iteration, noise[0])), (f"vote/{me}", self.vote(VOTE, self.iteration + 900, noise[0]))]
        out += [(f"commit/{me}", self.commit(slot + 2, digest)) for digest in noise] + [(f"commit/{me}", self.commit(slot + 90, noise[0]))]
        out += [(f"order/{me}", struct.pack(">BBI16sBB", 3, me, slot + 1, bytes(16), 0, 0))]
        out += [(f"reading/{me}", self.reading(slot - 1, seq, 2**63, salt)) for seq in (0, 1, 2**32 - 1) for salt in (0, 1)]
        out += [(f"reading/{me}", self.reading(slot + 5, 3, 0))]
        ask = struct.pack(">BBBII8s", 16, me, self.random.randrange(4), 0, 0, self.domain)
        out += [(f"ask/{me}", self.signed(b"prosumer/ask/v1", ask))] * 5
        for told in ("sketch", "proposal"):
            proposals = [raw for _, kind, _, raw in self.said if kind == told and len(raw) > 300]
            out += [(f"{told}/{me}", self.proposal(raw)) for raw in proposals[-2:]]
        out += [(f"chain/{me}", b"\x11" + bytes([victim]) + self.random.randbytes(300)) for victim in range(4)]
        return self.publish(*out)


def test_one_member_of_four_that_signs_every_lie_stops_nothing(tmp_path):
    faults = [(slot, second, Liar.lie) for slot in range(1, 6) for second in (30, 262, 271, 277, 283)]
    run = asyncio.run(play_async(Liar(tmp_path, count=4, slots=6, faults=faults)))
    honest = ("alder", "birch", "cedar")
    assert run.result.ok, run.result.faults
    assert run.blocks == list(range(7)), "the three honest ones are a quorum"
    assert len({tuple(run.rings[name]) for name in honest}) == 1
    assert run.result.counts["trades"] >= 12
    counted = run.rejects()
    assert {"equivocation", "excluded", "not-a-voter", "iteration-far", "wrong-kind"} <= set(counted), counted
    assert run.result.counts["excluded"] == 1, "a block holds the proof, and from then on it neither votes nor trades"
    assert all(run.facts["devices"][name]["boots"] == 2 for name in honest)
