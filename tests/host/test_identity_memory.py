"""Where the seed is not: in no byte of a MicroPython process that has opened its key store, before and after collection."""
import hashlib
import re
import subprocess

import pytest

from prosumer_tools.unixport import FIRMWARE, find_micropython

ID = b"\x24\x0a\xc4\x12\x34\x56"
_OPEN = """
import gc, sys
sys.path[:0] = [%r]
from hashlib import sha256
from prosumer.identity.keystore import KeyStore
state = [b"source"]
def source(n):
    state[0] = sha256(state[0]).digest()
    return sha256(state[0] + b"out").digest()
store = KeyStore(%r, %r, %r)
if not store.exists():
    store.create(source)
signer = store.open()
print(signer.public.hex())
sys.stdin.readline()
signer.sign(b"x")
gc.collect()
print("signed")
sys.stdin.readline()
"""


def seed():
    """What the store above draws first."""
    state, samples = b"source", b""
    while len(samples) < 1024:
        state = hashlib.sha256(state).digest()
        samples += hashlib.sha256(state + b"out").digest()
    return hashlib.sha256(samples).digest()


def memory(pid):
    """All that the process may write to."""
    out = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            start, end, rights = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            if rights.startswith("rw"):
                mem.seek(int(start, 16))
                try:
                    out.append(mem.read(int(end, 16) - int(start, 16)))
                except OSError:
                    pass  # the kernel's own pages
    return b"".join(out)


@pytest.mark.parametrize("pin", [None, b"4711"])
def test_no_copy_of_the_seed_is_left_in_memory(tmp_path, pin):
    secret = seed()
    for boot in ("made and opened", "opened"):
        process = subprocess.Popen([find_micropython(), "-X", "heapsize=256K", "-c", _OPEN % (str(FIRMWARE), str(tmp_path / "seed.key"), ID, pin)],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            public = bytes.fromhex(process.stdout.readline())
            for _ in range(2):
                held = memory(process.pid)
                assert public in held, "the search finds what is there"
                assert secret not in held and secret.hex().encode() not in held, boot
                process.stdin.write("\n")
                process.stdin.flush()
                process.stdout.readline()
        finally:
            process.kill()
            process.communicate()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    assert Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw() == public, "it was this seed"
