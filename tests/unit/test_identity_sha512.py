"""SHA-512 against the examples of FIPS 180-4 and, over every padding, against CPython's hashlib."""
from binascii import hexlify

from prosumer.identity.sha512 import sha512

_ABC = (  # NIST, "SHA-512 example values": one block, two blocks
    (b"abc", b"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"),
    (b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
     b"8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909"),
)  # fmt: skip


def test_nist_examples():
    for data, digest in _ABC:
        assert hexlify(sha512(data)) == digest


def test_every_length_up_to_three_blocks():
    # d = b""; for n in range(385): d = hashlib.sha512(d + bytes(i * 7 & 255 for i in range(n))).digest()
    digest = b""
    for n in range(385):
        digest = sha512(digest + bytes(i * 7 & 255 for i in range(n)))
    assert hexlify(digest) == b"5a3421e97237965db2dc6f4e9c7914f85c83be02e48d974523de30c32e8a422a6516b7ee1444e16116096849696a5caa2a3844bb6ec3f9d2467d0bdc9c07c01d"


def test_takes_any_buffer():
    for kind in bytes, bytearray, memoryview:
        assert sha512(kind(b"abc")) == sha512(b"abc")
