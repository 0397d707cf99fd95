"""The firmware's Ed25519, on the Unix port, against OpenSSL's through the `cryptography` package, on random input."""
import json
import random
import subprocess
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ROOT = Path(__file__).resolve().parents[2]
MICROPYTHON = Path(sys.executable).parent / "micropython"

_FIRMWARE = """
import sys, json
from binascii import hexlify, unhexlify
sys.path.insert(0, %r)
from prosumer.identity import ed25519
for line in sys.stdin:
    seed, message, public, signature = (unhexlify(v) for v in json.loads(line))
    signer = ed25519.Signer(seed)
    answers = [ed25519.verify(public, message, signature)]
    try:
        key = ed25519.PreparedKey(public)
    except ValueError:
        answers.append(False)
    else:
        answers.append(key.verify(message, signature))
        answers += ed25519.verify_many([(key, message, signature), (public, message, signature)])
    print(json.dumps([hexlify(signer.public).decode(), hexlify(signer.sign(message)).decode(), answers]))
""" % str(ROOT / "firmware")


def _firmware(cases):
    lines = "".join(json.dumps([v.hex() for v in case]) + "\n" for case in cases)
    done = subprocess.run([MICROPYTHON, "-X", "heapsize=1M", "-c", _FIRMWARE], input=lines, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


def _openssl_accepts(public, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def test_random_keys_messages_and_damage():
    rng = random.Random(8032)
    cases = []
    for i in range(120):
        seed = rng.randbytes(32)
        message = rng.randbytes(rng.choice([0, 1, 31, 47, 48, 63, 64, 100, 111, 112, 127, 128, 129, 300]))
        key = Ed25519PrivateKey.from_private_bytes(seed)
        parts = [bytearray(message), bytearray(key.public_key().public_bytes_raw()), bytearray(key.sign(message))]
        if i % 2:  # one flipped bit, in the message, the key or the signature
            part = rng.choice([p for p in parts if p])
            part[rng.randrange(len(part))] ^= 1 << rng.randrange(8)
        cases.append((seed, *map(bytes, parts)))
    accepted = 0
    for (seed, message, public, signature), (our_public, our_signature, answers) in zip(cases, _firmware(cases), strict=True):
        key = Ed25519PrivateKey.from_private_bytes(seed)
        assert our_public == key.public_key().public_bytes_raw().hex()
        assert our_signature == key.sign(message).hex()
        wanted = _openssl_accepts(public, message, signature)
        assert set(answers) == {wanted}
        accepted += wanted
    assert accepted == 60  # every undamaged one and no other
