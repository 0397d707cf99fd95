"""The firmware's sealed records, on the Unix port, beside the host's own implementation by the `cryptography` package."""
import json
import random
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from prosumer_tools.feederkeys import BadSeal, FeederKeys, keys_record, montgomery, read_record
from prosumer_tools.unixport import run_firmware

VECTORS = Path(__file__).resolve().parents[1] / "vectors/wire_keys.txt"

_AGREE = """
import json, sys
from binascii import unhexlify
from prosumer.errors import Reject
from prosumer.identity.ed25519 import Signer
for line in sys.stdin:
    seed, scalar, u = json.loads(line)
    signer = Signer(unhexlify(seed))
    if scalar:
        signer._scalar = int.from_bytes(unhexlify(scalar), "little") & (1 << 254) - 8 | 1 << 254
    try:
        print(signer.agree(unhexlify(u)).hex())
    except Reject as e:
        print(e.code)
"""


def _agree(cases):
    return run_firmware(_AGREE, "".join(json.dumps(c) + "\n" for c in cases)).split()


def _on_curve(u):
    p = 2**255 - 19
    x = int.from_bytes(u, "little") % 2**255
    return pow(x**3 + 486662 * x * x + x, (p - 1) // 2, p) in (0, 1)


def test_x25519_of_rfc_7748():
    cases = [  # section 5.2, first vector and the first iteration; section 6.1: both public keys, the secret from both sides
        ("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4", "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
         "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"),
        ("09" + 31 * "00", "09" + 31 * "00", "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"),
    ]
    alice, bob = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a", "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
    public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a", "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    cases += [(alice, "09" + 31 * "00", public[0]), (bob, "09" + 31 * "00", public[1]), (alice, public[1], shared), (bob, public[0], shared)]
    for seed in ("11" * 32, "fe" * 32):  # whatever blinds the arithmetic
        assert _agree([(seed, scalar, u) for scalar, u, _ in cases]) == [result for _, _, result in cases]


def test_what_nobody_has_as_a_public_key_is_refused():
    p = 2**255 - 19
    small = [0, 1, p - 1, p, p + 1, 325606250916557431795983626356110631294008115727848805560023387167927233504,
             39382357235489614581723060781553021112529911719440698176882885853963445705823]  # orders 1, 2, 4, 8 of curve and twist
    twist = bytes.fromhex("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a413")  # RFC 7748, section 5.2, second vector
    assert not _on_curve(twist)
    answers = _agree([("22" * 32, "", n.to_bytes(32, "little").hex()) for n in small] + [("22" * 32, "", twist.hex()), ("22" * 32, "", "11" * 31)])
    assert set(answers[:-2]) <= {"key-small-order", "key-not-on-curve"} and answers[0] == "key-small-order"
    assert answers[-2:] == ["key-not-on-curve", "key-length"]


def test_random_keys_agree_with_openssl():
    rng = random.Random(7748)
    cases, wanted = [], []
    for _ in range(40):
        seed, other = rng.randbytes(32), X25519PrivateKey.from_private_bytes(rng.randbytes(32))
        own = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        cases.append((seed.hex(), "", other.public_key().public_bytes_raw().hex()))
        wanted.append(other.exchange(X25519PublicKey.from_public_bytes(montgomery(own))).hex())
    for _ in range(40):  # any u, those with a part of small order and a highest bit set among them
        u, scalar = rng.randbytes(32), rng.randbytes(32)
        cases.append(("33" * 32, scalar.hex(), u.hex()))
        wanted.append(X25519PrivateKey.from_private_bytes(scalar).exchange(X25519PublicKey.from_public_bytes(u)).hex()
                      if _on_curve(u) else "key-not-on-curve")
    assert _agree(cases) == wanted
    assert 50 < sum(w != "key-not-on-curve" for w in wanted) < 75


_WIRE = """
import json, sys
from binascii import unhexlify
from prosumer.errors import Reject
from prosumer.identity.ed25519 import PreparedKey, Signer
from prosumer.identity.wire import Wire
from prosumer import durable
files = {}
durable.load = files.get
durable.save = files.__setitem__
for line in sys.stdin:
    seed, feeder, member, operator, record, kind, plain, sealed = json.loads(line)
    try:
        wire = Wire("x", unhexlify(feeder), member, Signer(unhexlify(seed)))
        files.clear()
        wire = Wire("x", unhexlify(feeder), member, Signer(unhexlify(seed)))
        wire.take(unhexlify(record), PreparedKey(unhexlify(operator)))
        mine = wire.seal(kind, member, unhexlify(plain))
        print(json.dumps([mine and b"".join([bytes(p) for p in mine.pieces]).hex(), bytes(wire.open(kind, 255, unhexlify(sealed))).hex()]))
    except Reject as e:
        print(json.dumps([None, e.code]))
"""


def test_meter_and_operator_read_each_other():
    rng = random.Random(3610)
    operator = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
    lines, wanted = [], []
    for i in range(24):
        n = rng.choice((1, 2, 8, 40, 64))
        seeds = [rng.randbytes(32) for _ in range(n)]
        members = [Ed25519PrivateKey.from_private_bytes(s).public_key().public_bytes_raw() for s in seeds]
        keys = FeederKeys(rng.randbytes(8), {rng.randrange(1, 65535): rng.randbytes(32)})
        keys.rotate()
        member = rng.randrange(n)
        left = i % 6 == 5
        record = keys.record(operator.sign, [None if left and m == member else k for m, k in enumerate(members)])
        kind, plain, other = rng.choice(("reading", "vote", "proposal")), rng.randbytes(rng.randrange(400)), rng.randbytes(rng.randrange(700))
        lines.append([seeds[member].hex(), keys.feeder_id.hex(), member, operator.public_key().public_bytes_raw().hex(), record.hex(), kind,
                      plain.hex(), keys.seal(kind, 255, other).hex()])
        wanted.append([None, "unknown-epoch"] if left else [keys.seal(kind, member, plain).hex(), other.hex()])
        if not left:
            assert keys.open(kind, member, bytes.fromhex(wanted[-1][0])) == plain
    assert [json.loads(line) for line in run_firmware(_WIRE, "".join(json.dumps(x) + "\n" for x in lines)).splitlines()] == wanted


def test_the_vectors_of_the_unit_tests_are_the_hosts():
    operator = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
    members = [Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32).public_key().public_bytes_raw() for i in range(3)]
    first = keys_record(operator.sign, b"feeder-1", 1, b"k" * 32, members, b"e" * 32)
    second = keys_record(operator.sign, b"feeder-1", 2, b"K" * 32, [members[0], None, members[2]], b"E" * 32)
    assert VECTORS.read_text().split() == [first.hex(), second.hex()]
    epoch, _, wrapped = read_record(second)
    assert epoch == 2 and [w is None for w in wrapped] == [False, True, False]


def test_feeder_keys_on_disk_are_for_their_owner_alone(tmp_path):
    path = tmp_path / "feeder-keys.json"
    keys = FeederKeys(b"feeder-1", {})
    assert keys.seal("vote", 0, b"x") == keys.open("vote", 0, b"x") == b"x"
    assert (keys.rotate(), keys.rotate()) == (1, 2)
    keys.save(path)
    assert path.stat().st_mode & 0o077 == 0 and FeederKeys.load(path).epochs == keys.epochs
    for text in ("", "[]", "{}", '{"feeder_id": "00", "epochs": {}}', '{"feeder_id": "6665656465722d31", "epochs": {"0": "%s"}}' % ("00" * 32),
                 '{"feeder_id": "6665656465722d31", "epochs": {"1": "00"}}'):
        path.write_text(text)
        with pytest.raises(BadSeal, match="is no file of feeder keys"):
            FeederKeys.load(path)
    for bad in (b"", b"\x06plain vote", bytes([129]) * 10):
        with pytest.raises(BadSeal, match="not-sealed"):
            keys.open("vote", 0, bad)
    with pytest.raises(BadSeal, match="unknown-epoch"):
        keys.open("vote", 0, bytes([131]) + bytes(20))
    with pytest.raises(BadSeal, match="bad-seal"):
        keys.open("vote", 1, keys.seal("vote", 0, b"x"))
