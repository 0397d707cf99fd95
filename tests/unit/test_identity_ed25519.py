"""Ed25519 against RFC 8032, Wycheproof, "Taming the many EdDSAs" and CCTV; all ways to verify give one answer."""
import gc
import os
from binascii import unhexlify

from prosumer.errors import Reject
from prosumer.identity import ed25519
from prosumer.identity.ed25519 import L, PreparedKey, Signer

_HERE = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
_SEED = bytes(range(32))
_FILE = "identity_test.key"


def _vectors(name):
    with open("%s/../vectors/ed25519_%s.txt" % (_HERE, name)) as f:
        for line in f:
            if line[0] != "#":
                yield line.split()


def _bytes(text):
    return b"" if text == "-" else unhexlify(text)


def _refused(code, call, *args):
    try:
        call(*args)
    except Reject as e:
        return e.code == code
    return False


def _all_ways(key, public, message, signature):
    """The answer of every way to verify, which must be one."""
    once = ed25519.verify(public, message, signature)
    if key is None:
        try:
            key = PreparedKey(public)
        except Reject:
            assert not once
            return once
    assert key.verify(message, signature) == once
    assert ed25519.verify_many([(key, message, signature), (public, message, signature)]) == [once, once]
    return once


def test_rfc8032_vectors():
    for fields in _vectors("rfc8032"):
        seed, public, message, signature = (_bytes(v) for v in fields)
        assert ed25519.public_key(seed) == public
        assert ed25519.sign(seed, message) == signature
        assert Signer(seed).sign(message) == signature
        assert _all_ways(None, public, message, signature)
        assert not _all_ways(None, public, message + b"\0", signature)


def _check_file(name, count, least):
    keys = {}  # several vectors share a key
    seen = accepted = 0
    for fields in _vectors(name):
        public, message, signature = (_bytes(v) for v in fields[:3])
        if fields[0] not in keys:
            keys.clear()
            gc.collect()
            try:
                keys[fields[0]] = PreparedKey(public)
            except Reject:
                keys[fields[0]] = None
        wanted = fields[3] == "1"
        if _all_ways(keys[fields[0]], public, message, signature) != wanted:
            raise AssertionError("%s %s" % (name, fields[4:] or fields[:1]))
        seen += 1
        accepted += wanted
    assert seen == count and accepted == least


def test_wycheproof():
    _check_file("wycheproof", 151, 88)


def test_taming_the_many_eddsas():
    _check_file("speccheck", 12, 2)


def test_edge_points():
    _check_file("edges", 189, 14)


def test_keys_that_are_refused():
    zero = bytes(31)
    for last in b"\x00", b"\x80":  # (+-sqrt(-1), 0), of order 4
        assert _refused("key-small-order", ed25519.check_public_key, zero + last)
    assert _refused("key-small-order", ed25519.check_public_key, b"\x01" + zero)  # the identity
    assert _refused("key-not-canonical", ed25519.check_public_key, b"\x01" + zero[1:] + b"\x80")  # the same, x = -0
    assert _refused("key-not-canonical", ed25519.check_public_key, b"\xed" + b"\xff" * 30 + b"\x7f")  # y = P
    assert _refused("key-not-canonical", ed25519.check_public_key, b"\xff" * 32)
    assert _refused("key-not-on-curve", ed25519.check_public_key, b"\x02" + zero)
    for size in 0, 31, 33, 64:
        assert _refused("key-length", ed25519.check_public_key, bytes(size))
    ed25519.check_public_key(ed25519.public_key(_SEED))


def test_malformed_signatures_are_false_not_errors():
    signer = Signer(_SEED)
    key = PreparedKey(signer.public)
    good = signer.sign(b"m")
    s = int.from_bytes(good[32:], "little")
    bad = [b"", good[:63], good + b"\0", bytes(64), b"\xff" * 64, good[32:] + good[:32]]
    bad += [good[:32] + (s + k * L).to_bytes(32, "little") for k in range(1, 16)]
    bad += [good[:32] + (L + d).to_bytes(32, "little") for d in (-1, 0, 1)]
    for i in range(0, 512, 37):
        flipped = bytearray(good)
        flipped[i >> 3] ^= 1 << (i & 7)
        bad.append(flipped)
    for signature in bad:
        assert not _all_ways(key, signer.public, b"m", signature)
    for public in b"", bytes(31), bytes(33), b"\xff" * 32:
        assert not ed25519.verify(public, b"m", good)
        assert ed25519.verify_many([(public, b"m", good)]) == [False]
    for kind in bytearray, memoryview:
        assert _all_ways(key, kind(signer.public), kind(b"m"), kind(good))


def test_a_batch_tells_the_bad_from_the_good():
    signers = [Signer(bytes([i]) * 32) for i in range(4)]
    items = []
    for i in range(12):
        signer = signers[i % 4]
        key = PreparedKey(signer.public) if i % 3 else signer.public
        items.append([key, b"reading %d" % i, signer.sign(b"reading %d" % i)])
    wanted = [True] * 12
    for i in 1, 6:
        items[i][1] += b"!"
        wanted[i] = False
    items[8][2] = items[8][2][:40]
    wanted[8] = False
    assert ed25519.verify_many(items) == wanted
    assert ed25519.verify_many([]) == []


def test_tables_in_files_share_one_buffer_and_heal():
    a, b = Signer(_SEED), Signer(b"\1" * 32)
    names = _FILE + "a", _FILE + "b"
    try:
        keys = [PreparedKey(s.public, n) for s, n in zip((a, b), names)]
        signatures = [s.sign(b"m") for s in (a, b)]
        for _ in range(2):
            for i in 0, 1:
                assert keys[i].verify(b"m", signatures[i])
                assert not keys[i].verify(b"m", signatures[1 - i])
        with open(names[0], "rb") as f:
            whole = f.read()
        with open(names[1], "rb") as f:
            another = f.read()
        assert len(whole) == ed25519.TABLE_SIZE <= 4096 and whole != another
        for damage in (whole[:-1], b"", bytes(len(whole)), another, b"\4" + whole[1:], whole[:8] + bytes((whole[8] ^ 4,)) + whole[9:],
                       whole[:-1] + bytes((whole[-1] ^ 128,))):
            with open(names[0], "wb") as f:
                f.write(damage)
            assert keys[1].verify(b"m", signatures[1])
            assert keys[0].verify(b"m", signatures[0])
            with open(names[0], "rb") as f:
                assert f.read() == whole
        os.remove(names[0])
        assert keys[1].verify(b"m", signatures[1])
        assert keys[0].verify(b"m", signatures[0])
        # a table that stays in memory is the same
        assert bytes(PreparedKey(a.public)._table) == whole
    finally:
        for n in names:
            os.remove(n)


def test_a_signer_shows_nothing():
    signer = Signer(_SEED)
    assert repr(signer).startswith("<Signer object")
    for size in 0, 31, 33:
        assert _refused("seed-length", Signer, bytes(size))
