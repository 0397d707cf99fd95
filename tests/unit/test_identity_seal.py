"""HMAC, HKDF, PBKDF2 and AES-CTR against their standards' own examples; sealed bytes give way to no change."""
from binascii import hexlify, unhexlify

from prosumer.identity.seal import ctr, hkdf, hmac, pbkdf2, seal, unseal


def test_hmac_rfc4231():
    cases = (  # RFC 4231, test cases 1, 2 and 6 (a key longer than a block)
        (b"\x0b" * 20, b"Hi There", b"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", b"what do ya want for nothing?", b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First", b"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
    )  # fmt: skip
    for key, data, mac in cases:
        assert hexlify(hmac(key, data)) == mac


def test_hkdf_rfc5869():
    okm = hkdf(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)  # RFC 5869, test case 1
    assert hexlify(okm) == b"3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"


def test_pbkdf2_rfc7914():
    key = pbkdf2(b"passwd", b"salt", 1)  # RFC 7914, section 11
    assert hexlify(key) == b"55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
    key = pbkdf2(b"password", b"salt", 4096)  # the widely used SHA-256 counterpart of RFC 6070's third case
    assert hexlify(key) == b"c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a"


def test_ctr_sp800_38a():
    key = unhexlify("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    # SP 800-38A, F.5.5: its counter does not start at 0, so blocks are asked for one by one, through ECB of the same key.
    from cryptolib import aes

    stream = aes(key, 1).encrypt(unhexlify("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"))
    plain = unhexlify("6bc1bee22e409f96e93d7e117393172a")
    assert hexlify(bytes(a ^ b for a, b in zip(stream, plain))) == b"601ec313775789a5b7a7f504bbf3d228"
    # RFC 3686, test vector 7 (AES-256), with its first block counted from 1 as CTR mode there does
    key = unhexlify("776beff2851db06f4c8a0542c8696f6c6a81af1eec96b4d37fc1d689e6c1c104")
    nonce = unhexlify("00000060db5672c97aa8f0b2")
    sealed = ctr(key, nonce, bytes(16) + b"Single block msg")
    assert hexlify(sealed[16:]) == b"145ad01dbf824ec7560863dc71e3e0c0"


def test_seal_is_undone_and_gives_way_to_no_change():
    key = bytes(range(64))
    nonce = b"n" * 12
    for size in 0, 1, 15, 16, 17, 100:
        data = bytes(range(size))
        sealed = seal(key, nonce, b"header", data)
        assert unseal(key, nonce, b"header", sealed) == data
        assert size < 8 or data not in sealed
        assert unseal(key, nonce, b"headex", sealed) is None
        assert unseal(key, b"m" * 12, b"header", sealed) is None
        assert unseal(key[1:] + b"0", nonce, b"header", sealed) is None
        for i in range(len(sealed)):
            bad = bytearray(sealed)
            bad[i] ^= 1
            assert unseal(key, nonce, b"header", bytes(bad)) is None
        for cut in 0, 1, 31, len(sealed) - 1:
            assert unseal(key, nonce, b"header", sealed[:cut]) is None
