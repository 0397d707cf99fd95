"""HMAC, HKDF, PBKDF2 and AES-CTR against their standards' own examples; sealed bytes give way to no change."""
from binascii import hexlify, unhexlify

from prosumer.identity.seal import Ctr, hkdf, hmac, pbkdf2, same, seal, unseal


def test_hmac_rfc4231():
    cases = (  # RFC 4231, test cases 1 to 4, 6 and 7 (5 is about truncation)
        (b"\x0b" * 20, b"Hi There", b"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", b"what do ya want for nothing?", b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (b"\xaa" * 20, b"\xdd" * 50, b"773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (bytes(range(1, 26)), b"\xcd" * 50, b"82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        (b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First", b"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
        (b"\xaa" * 131, b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed "
         b"before being used by the HMAC algorithm.", b"9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
    )  # fmt: skip
    for key, data, mac in cases:
        assert hexlify(hmac(key, data)) == mac
        assert hexlify(hmac(key, data[:5], [data[5:6], b"", data[6:]])) == mac


def test_hkdf_rfc5869():
    okm = hkdf(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)  # RFC 5869, test case 1
    assert hexlify(okm) == b"3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    okm = hkdf(bytes(range(80)), bytes(range(0x60, 0xB0)), bytes(range(0xB0, 0x100)), 82)  # test case 2
    assert hexlify(okm) == (b"b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
                            b"da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87")
    okm = hkdf(b"\x0b" * 22, b"", b"", 42)  # test case 3
    assert hexlify(okm) == b"8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"


def test_pbkdf2_rfc7914():
    key = pbkdf2(b"passwd", b"salt", 1)  # RFC 7914, section 11
    assert hexlify(key) == b"55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
    key = pbkdf2(b"password", b"salt", 4096)  # the widely used SHA-256 counterpart of RFC 6070's third case
    assert hexlify(key) == b"c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a"


def test_ctr_sp800_38a():
    key = unhexlify("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")  # SP 800-38A, F.5.5 and F.5.6
    plain = unhexlify("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
                      "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
    sealed = (b"601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
              b"2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6")
    counter = unhexlify("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    for size in 64, 16, 1, 7, 63:  # in pieces of that size
        data = bytearray(plain)
        stream = Ctr(key, counter)
        for at in range(0, 64, size):
            stream.apply(memoryview(data)[at : at + size])
        assert hexlify(data) == sealed
        Ctr(key, counter).apply(data)
        assert data == plain
    # RFC 3686, test vector 7 (AES-256), with its first block counted from 1 as CTR mode there does
    key = unhexlify("776beff2851db06f4c8a0542c8696f6c6a81af1eec96b4d37fc1d689e6c1c104")
    data = bytearray(b"Single block msg")
    Ctr(key, unhexlify("00000060db5672c97aa8f0b200000001")).apply(data)
    assert hexlify(data) == b"145ad01dbf824ec7560863dc71e3e0c0"


def test_the_counter_carries_and_goes_on_beyond_a_buffer():
    from cryptolib import aes

    data = bytearray(1000)
    Ctr(b"k" * 32, b"\x7f" + b"\xff" * 15).apply(data)
    for i in 0, 1, 7, 8, 9, 61:
        counter = ((1 << 127) - 1 + i).to_bytes(16, "big")
        assert data[16 * i : 16 * i + 16] == aes(b"k" * 32, 1).encrypt(counter)


def test_same():
    assert same(b"", b"") and same(b"abc", b"abc")
    for other in b"abd", b"bbc", b"ab", b"abcd", b"":
        assert not same(b"abc", other)


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
