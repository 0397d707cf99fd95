"""Runs to be verified, ways to spoil one, and a forger who has every key of the street on paper."""
import hashlib
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from prosumer_tools.verify.check import verify_run
from prosumer_tools.verify.records import Transfer
from prosumer_tools.verify.records import block as decode
from prosumer_tools.verify.records import genesis as decode_genesis
from prosumer_tools.verify.trees import salted_root

ROOT = Path(__file__).resolve().parents[2]
_made = {}


def play(folder, *args):
    done = subprocess.run([Path(sys.executable).parent / "micropython", "-X", "heapsize=4M", ROOT / "tests/host/paper_street.py",
                           folder, *args], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def _once(tmp_path_factory, *args):
    """Each street is played once, for all files of tests."""
    if args not in _made:
        _made[args] = play(tmp_path_factory.mktemp("paper") / "run", *args)
    return _made[args]


@pytest.fixture(scope="session")
def day(tmp_path_factory):
    return _once(tmp_path_factory)


@pytest.fixture(scope="session")
def month(tmp_path_factory):
    return _once(tmp_path_factory, "month")


@pytest.fixture
def run(tmp_path_factory, tmp_path):
    """A copy of the short run, to be spoiled."""
    return shutil.copytree(_once(tmp_path_factory, "short"), tmp_path / "run", ignore=shutil.ignore_patterns("flash"))


def faults(run):
    result = verify_run(run)
    assert result.ok == (not result.faults)
    return result.faults


def flip(path, at, bit=1):
    data = bytearray(path.read_bytes())
    data[at] ^= bit
    path.write_bytes(data)


def key(name):
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"paper " + name.encode()).digest())


class Forger:
    """The last block of a run, taken apart; `write` makes it consistent again and signs with whatever keys it has."""

    def __init__(self, run, signers=3):
        self.path = sorted((run / "records").glob("block-*.bin"))[-1]
        genesis = decode_genesis((run / "genesis.bin").read_bytes())
        self.feeder = genesis.feeder_id
        self.domain = hashlib.sha256(self.feeder + bytes(12) + genesis.hash).digest()[:8]
        self.block = decode(self.path.read_bytes())
        self.signers = list(range(signers))
        for ring in (run / "records").glob("meter-*"):
            ring.unlink()

    def sign(self, record, name):
        record.signature = key(name).sign(record.TAG + b"\0" + self.feeder + record.raw)

    def reading(self, i, **changes):
        r = self.block.readings[i]
        for name, value in changes.items():
            setattr(r, name, value)
        r.raw = b"\1" + struct.pack(">BII32sQQQIIIIHB8s", r.member, r.slot, r.seq, r.previous, r.import_mwh, r.export_mwh,
                                    r.generation_mwh, r.interval_import_mwh, r.interval_export_mwh, r.interval_generation_mwh,
                                    r.uncertainty_mwh, r.flags, r.accuracy, r.calibration)
        self.sign(r, f"member {r.member}")

    def transfer(self, by, **fields):
        """Put a transfer in, signed by `by`."""
        t = Transfer(**{"member": 0, "kind": 0, "seq": 0, "to": 1, "amount": 1, "note": bytes(16), "raw": b"", "signature": b"", **fields})
        t.raw = b"\x0b" + struct.pack(">BBIBQ16s", t.member, t.kind, t.seq, t.to, t.amount, t.note)
        self.sign(t, by)
        self.block.transfers.append(t)

    def write(self, root=True):
        b = self.block
        h = b.header
        if root:
            h.body_root = salted_root(b.salt, b"b", b.leaves())
        raw = b"\5" + struct.pack(">IIB32s32s32s32sII", h.slot, h.iteration, h.proposer, h.previous, h.accumulator, h.body_root,
                                  h.state_root, h.price_ucr_per_kwh, h.volume_mwh)
        digest = hashlib.sha256(b"prosumer/header/v1\0" + self.feeder + raw).digest()
        body = b"\x08" + b.salt
        for part in b.parts():
            body += bytes([len(part)]) + b"".join(r.bytes() for r in part)
        proposal = b"\x09" + raw + key(f"member {h.proposer}").sign(b"prosumer/vote/v1\0" + self.domain + struct.pack(">BI32s", 2, h.iteration, digest)) + body
        vote = b"prosumer/vote/v1\0" + self.domain + struct.pack(">BI32s", 1, h.iteration, digest)
        certificate = struct.pack(">BBI32sQ", 7, 1, h.iteration, digest, sum(1 << m for m in self.signers))
        certificate += b"".join(key(f"member {m}").sign(vote) for m in self.signers)
        self.path.write_bytes(struct.pack(">I", len(proposal)) + proposal + certificate)
