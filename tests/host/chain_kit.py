"""Streets of any size without meters: a chain of blocks that hold, made on the host with every key, fast enough for many members and slots.

    street = Paper(40)
    proposal, certificate = street.block()      the next slot's
"""
import hashlib
import random
import struct
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from prosumer_tools.archive import format, trees

RETAIL, FEED_IN = 250_000, 80_000
START_S, SLOT_S = 1_750_000_200, 300


def key(name):
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"chain kit " + name.encode()).digest())


def public(private):
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def genesis(operator, keys, name="Chain Street"):
    body = struct.pack(">BH8s32sIHHIIIIIHIIIIIBh32s", 10, 0, bytes(8), bytes(32), START_S, SLOT_S, 2000, RETAIL, FEED_IN, 1, 1_000_000, 30_000, 25, 100_000,
                       20_000_000, 20_000_000, 0xFFFFFFFF, 86400, 0, 120, public(operator))
    body += bytes([len(name)]) + name.encode() + bytes([0, len(keys)])
    for i, k in enumerate(keys):
        body += public(k) + bytes([1 - i % 2, 63, i % 4])
    return body + operator.sign(b"prosumer/genesis/v2\0" + body)


class Paper:
    def __init__(self, n, name="Chain Street", steps=2, lists=("envelopes", "commits", "orders", "readings")):
        """`steps`: of an order's curve."""
        self.n, self.steps = n, steps
        self.keys = [key(f"{name} {i}") for i in range(n)]
        self.record = genesis(key("operator"), self.keys, name)
        self.genesis = format.genesis_of(self.record)
        self.feeder = self.genesis.feeder_id
        self.books, self.range = format.books_of(self.genesis), trees.Range()
        self.tip, self.slot, self.iteration = self.genesis.hash, 0, 0
        self.dice = random.Random(name)
        self.sealed = {}    # slot → {member: order bytes}
        self.registers = [[5_000_000, 1_000_000, 2_000_000] for _ in range(n)]
        self.seqs, self.heads = [0] * n, [bytes(32)] * n

    def _sign(self, member, tag, raw):
        return raw + self.keys[member].sign(tag + b"\0" + self.feeder + raw)

    def order(self, member, slot):
        net = self.dice.randrange(20_000, 60_000)
        raw = struct.pack(">BBI16sBB", 3, member, slot, self.dice.randbytes(16), *((0, self.steps) if member % 2 == 0 else (self.steps, 0)))
        for i in range(self.steps):
            raw += struct.pack(">II", FEED_IN + 10_000 * i if member % 2 == 0 else RETAIL - 10_000 * i, net // self.steps)
        return raw

    def reading(self, member, slot):
        sold = member % 2 == 0
        energy = self.dice.randrange(20_000, 60_000)
        self.registers[member] = [a + b for a, b in zip(self.registers[member], (0 if sold else energy, energy if sold else 0, energy if sold else 0))]
        raw = struct.pack(">BBII32sQQQIIIIHB8s", 1, member, slot, self.seqs[member], self.heads[member], *self.registers[member],
                          0 if sold else energy, energy if sold else 0, energy if sold else 0, 50, 0, 1, b"calibrat")
        self.seqs[member] += 1
        self.heads[member] = hashlib.sha256(b"prosumer/reading/v1\0" + self.feeder + raw).digest()
        return self._sign(member, b"prosumer/reading/v1", raw)

    def body(self, slot):
        """Records of each list of the body."""
        orders = {m: self.order(m, slot + 2) for m in range(self.n)}
        commits = [self._sign(m, b"prosumer/commit/v1", struct.pack(">BBI32s", 2, m, slot + 2,
                   hashlib.sha256(b"prosumer/order/v1\0" + self.feeder + raw).digest())) for m, raw in orders.items()]
        self.sealed[slot + 2] = orders
        shown = [raw for _, raw in sorted(self.sealed.pop(slot + 1, {}).items())]
        readings = [self.reading(m, slot - 1) for m in range(self.n)] if slot else []
        return [[], commits, shown, readings, [], [], []]

    def block(self, certified=True):
        """(proposal, certificate) of the next slot."""
        slot, self.slot, self.iteration = self.slot, self.slot + 1, self.iteration + 1
        packed = b"\x08" + self.dice.randbytes(16)
        for part in self.body(slot):
            packed += bytes([len(part)]) + b"".join(part)
        head = struct.pack(">BIIB32s32s", 5, slot, self.iteration, self.iteration % self.n, self.tip, self.range.root())
        draft = format.block_of(b"\x09" + head + bytes(64 + 8) + bytes(64) + packed)
        faults = []
        outcome = self.books.apply(draft, lambda record, text: faults.append(text))
        assert not faults, faults[:3]
        raw = head + format.body_root(draft) + format.state_root(self.books) + struct.pack(
            ">II", outcome.clearing.price_ucr_per_kwh, outcome.clearing.volume_mwh)
        self.tip = hashlib.sha256(b"prosumer/header/v1\0" + self.feeder + raw).digest()
        self.range.append(self.tip)
        proposer = self.keys[self.iteration % self.n]
        proposal = b"\x09" + raw + proposer.sign(b"prosumer/vote/v1\0" + self.books.domain() + struct.pack(">BI", 2, self.iteration) + self.tip) + packed
        return proposal, self.certificate() if certified else b""

    def certificate(self, members=None):
        members = range(self.books.quorum()) if members is None else members
        vote = struct.pack(">BI32s", 1, self.iteration, self.tip)
        return struct.pack(">BBI32sQ", 7, 1, self.iteration, self.tip, sum(1 << m for m in members)) + b"".join(
            self.keys[m].sign(b"prosumer/vote/v1\0" + self.books.domain() + vote) for m in members)


def main(folder, n, slots):
    """Write a run: `python chain_kit.py FOLDER MEMBERS SLOTS`."""
    from pathlib import Path
    (Path(folder) / "records").mkdir(parents=True)
    street = Paper(int(n))
    (Path(folder) / "genesis.bin").write_bytes(street.record)
    for slot in range(int(slots)):
        (Path(folder) / f"records/block-{slot:05d}.bin").write_bytes(format.file_of(*street.block()))


if __name__ == "__main__":
    main(*sys.argv[1:])
