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


def genesis(operator, keys, name="Chain Street", number=0, feeder=bytes(8), previous=bytes(32), retail=RETAIL, left=(), correction_s=86400):
    body = struct.pack(">BH8s32sIHHIIIIIHIIIIIBh32s", 10, number, feeder, previous, START_S, SLOT_S, 2000, retail, FEED_IN, 1, 1_000_000, 30_000, 25,
                       100_000, 20_000_000, 20_000_000, 0xFFFFFFFF, correction_s, 0, 120, public(operator))
    body += bytes([len(name)]) + name.encode() + bytes([0, len(keys)])
    for i, k in enumerate(keys):
        body += public(k) + bytes([1 - i % 2 + (128 if i in left else 0), 63, i % 4])
    return body + operator.sign(b"prosumer/genesis/v2\0" + body)


class Paper:
    def __init__(self, n, name="Chain Street", steps=2, correction_s=86400):
        """`steps`: of an order's curve; `correction_s`: how late a reading may come and settle its trade."""
        self.name, self.steps, self.correction_s = name, steps, correction_s
        self.extra, self.sent, self.then = ([], [], []), {}, None
        self.keys = [key(f"{name} {i}") for i in range(n)]
        self.record = genesis(key("operator"), self.keys, name, correction_s=correction_s)
        self.genesis = format.genesis_of(self.record)
        self.feeder = self.genesis.feeder_id
        self.books, self.range = format.books_of(self.genesis), trees.Range()
        self.tip, self.slot, self.iteration = self.genesis.hash, 0, 0
        self.dice = random.Random(name)
        self.sealed = {}    # slot → {member: order bytes}
        self.registers = [[5_000_000, 1_000_000, 2_000_000] for _ in range(n)]
        self.seqs, self.heads = [0] * n, [bytes(32)] * n

    # -- what comes seldom: it goes into the next block

    def amend(self, retail=RETAIL, left=(), key_of=None, more=0):
        """Another tariff, members who left, a new key for one, more members; the bytes."""
        keys = list(self.keys)
        if key_of is not None:
            keys[key_of] = key(f"{self.name} {key_of} again")
        keys += [key(f"{self.name} {i}") for i in range(self.n, self.n + more)]
        now = self.books.genesis
        record = genesis(key("operator"), keys, self.name, now.number + 1, self.feeder, now.hash, retail, left, self.correction_s)
        self.then = keys, key_of
        self.extra[2].append(record)
        return record

    def _enter(self):
        """The block with an amendment is made; from now on its keys sign."""
        self.keys, changed = self.then
        self.then = None
        if changed is not None:
            self.seqs[changed], self.heads[changed] = 0, bytes(32)
        for _ in range(len(self.seqs), len(self.keys)):
            self.registers.append([5_000_000, 1_000_000, 2_000_000])
            self.seqs.append(0)
            self.heads.append(bytes(32))

    def lie(self, member):
        """Evidence: two commits of one slot."""
        commits = sorted(self._sign(member, b"prosumer/commit/v1", struct.pack(">BBI32s", 2, member, 9, bytes([i]) * 32)) for i in (1, 2))
        self.extra[1].append(b"\x0c" + bytes([member]) + self.feeder + b"".join(commits))

    def transfer(self, member, kind, to, amount, note=b""):
        raw = struct.pack(">BBBIBQ16s", 11, member, kind, self.sent.get(member, 0), to, amount, note)
        self.sent[member] = self.sent.get(member, 0) + 1
        signer = key("operator") if member == 255 else self.keys[member]
        self.extra[0].append(raw + signer.sign(b"prosumer/transfer/v1\0" + self.feeder + raw))
        self.extra[0].sort(key=lambda t: (t[1], t[3:7]))

    def trades(self, member):
        return not (self.books.genesis.members[member][1] & 128 or self.books.excluded >> member & 1)

    # -- what comes every slot

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

    @property
    def n(self):
        return self.books.genesis.n

    def body(self, slot):
        """Records of each list of the body."""
        orders = {m: self.order(m, slot + 2) for m in range(self.n) if self.trades(m)}
        commits = [self._sign(m, b"prosumer/commit/v1", struct.pack(">BBI32s", 2, m, slot + 2,
                   hashlib.sha256(b"prosumer/order/v1\0" + self.feeder + raw).digest())) for m, raw in orders.items()]
        self.sealed[slot + 2] = orders
        shown = [raw for m, raw in sorted(self.sealed.pop(slot + 1, {}).items()) if self.trades(m)]
        readings = [self.reading(m, slot - 1) for m in range(self.n) if not self.books.genesis.members[m][1] & 128] if slot else []
        extra, self.extra = self.extra, ([], [], [])
        return [[], commits, shown, readings, *extra]

    def block(self, certified=True, later=0):
        """(proposal, certificate) of the next slot; `later`: iterations after that of the header in which it became final."""
        slot, self.slot, self.iteration = self.slot, self.slot + 1, self.iteration + 1
        self.domain, self.voters, self.quorum = self.books.domain(), self.books.voters(), self.books.quorum()
        proposer = self.voters[self.iteration % len(self.voters)]
        packed = b"\x08" + self.dice.randbytes(16)
        for part in self.body(slot):
            packed += bytes([len(part)]) + b"".join(part)
        head = struct.pack(">BIIB32s32s", 5, slot, self.iteration, proposer, self.tip, self.range.root())
        draft = format.block_of(b"\x09" + head + bytes(64 + 8) + bytes(64) + packed)
        faults = []
        outcome = self.books.apply(draft, lambda record, text: faults.append(text))
        assert not faults, faults[:3]
        raw = head + format.body_root(draft) + format.state_root(self.books) + struct.pack(
            ">II", outcome.clearing.price_ucr_per_kwh, outcome.clearing.volume_mwh)
        self.tip = hashlib.sha256(b"prosumer/header/v1\0" + self.feeder + raw).digest()
        self.range.append(self.tip)
        said = self.keys[proposer].sign(b"prosumer/vote/v1\0" + self.domain + struct.pack(">BI", 2, self.iteration) + self.tip)
        self.iteration += later
        certificate = self.certificate() if certified else b""
        if self.then:
            self._enter()
        return b"\x09" + raw + said + packed, certificate

    def finalize(self, member):
        """A signature for the newest block."""
        vote = struct.pack(">BI32s", 1, self.iteration, self.tip)
        return self.keys[member].sign(b"prosumer/vote/v1\0" + self.domain + vote)

    def certificate(self, members=None):
        members = self.voters[:self.quorum] if members is None else members
        return struct.pack(">BBI32sQ", 7, 1, self.iteration, self.tip, sum(1 << m for m in members)) + b"".join(map(self.finalize, members))


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
