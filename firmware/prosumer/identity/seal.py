"""Keys from keys, and bytes sealed under them: HMAC-SHA256 (RFC 2104), HKDF (RFC 5869), PBKDF2 (RFC 8018), AES-256-CTR.

Not every build of cryptolib has the CTR mode, so the key stream is made from ECB, which all have. Encrypt-then-MAC:

    sealed: ciphertext (as long as the plain bytes) ‖ HMAC-SHA256 (32) over header ‖ nonce ‖ ciphertext

What crosses the broker is sealed in another way, which needs no nonce: see wire.py.
"""
from hashlib import sha256

from cryptolib import aes
from micropython import const

MAC_SIZE = const(32)
_ROOM = const(128)  # of key stream made at a time
_INNER = int.from_bytes(b"\x36" * 64, "big")
_OUTER = int.from_bytes(b"\x5c" * 64, "big")
_EACH = int.from_bytes((bytes(15) + b"\1") * 8, "big")
_STEPS = sum([i << 128 * (7 - i) for i in range(8)])


def pads(key):
    """What HMAC makes of a key first: whoever uses one often keeps these."""
    if len(key) > 64:
        key = sha256(key).digest()
    key = int.from_bytes(key + bytes(64 - len(key)), "big")
    return (key ^ _INNER).to_bytes(64, "big"), (key ^ _OUTER).to_bytes(64, "big")


def hmac(key, data, pieces=()):
    """32 bytes over `data` and the pieces behind it, which need not be in memory all at once. `key`: bytes, or its `pads`."""
    inner, outer = key if type(key) is tuple else pads(key)
    h = sha256(inner)
    h.update(data)
    for piece in pieces:
        h.update(piece)
    o = sha256(outer)
    o.update(h.digest())
    return o.digest()


def same(a, b):
    """Whether two MACs are equal, in a time that does not tell where they differ."""
    different = len(a) ^ len(b)
    for x, y in zip(a, b):
        different |= x ^ y
    return not different


def hkdf(secret, salt, info, size):
    """`size` bytes of key, for the one use that `info` names."""
    key = pads(hmac(salt, secret))
    block = out = b""
    while len(out) < size:
        block = hmac(key, block + info + bytes((len(out) // 32 + 1,)))
        out += block
    return out[:size]


def pbkdf2(password, salt, rounds):
    """32 bytes; each round costs whoever guesses passwords as much as it costs here."""
    key = pads(password)
    u = hmac(key, salt + b"\0\0\0\1")
    total = int.from_bytes(u, "big")
    for _ in range(rounds - 1):
        u = hmac(key, u)
        total ^= int.from_bytes(u, "big")
    return total.to_bytes(32, "big")


class Ctr:
    """AES-256-CTR (SP 800-38A), either way; `counter`: the first counter block, 16 bytes, which must not come to overflow."""

    def __init__(self, key, counter):
        self._key = aes(key, 1)
        self._counter = int.from_bytes(counter, "big")
        self._at = 0  # bytes of the key stream that are used

    def apply(self, data):
        """Change `data` (a bytearray, or a view of one) in place; the next call goes on in the key stream."""
        data = memoryview(data)
        while data:
            used = self._at % _ROOM
            if not used:  # eight counters side by side are one number
                self._rows = memoryview(self._key.encrypt((self._counter * _EACH + _STEPS).to_bytes(_ROOM, "big")))
                self._counter += 8
            n = min(_ROOM - used, len(data))
            _xor(data, self._rows[used:], n)
            data = data[n:]
            self._at += n


@micropython.viper
def _xor(data: ptr8, rows: ptr8, n: int):
    while n:
        n -= 1
        data[n] = data[n] ^ rows[n]


def wipe(data):
    """Overwrite `data` with zeros where it lies, bytes too: a secret that is done with."""
    _xor(data, data, len(data))


def seal(key, nonce, header, data):
    """`key`: 64 bytes, half for AES, half for the MAC; a `nonce` (12 bytes) must never come twice under one key."""
    sealed = bytearray(data)
    Ctr(key[:32], nonce + bytes(4)).apply(sealed)
    return bytes(sealed) + hmac(key[32:], header + nonce, (sealed,))


def unseal(key, nonce, header, sealed):
    """The plain bytes (a bytearray, to be wiped), or None if header, nonce or bytes are not what was sealed under this key."""
    data = bytearray(sealed[:-MAC_SIZE])
    if not same(hmac(key[32:], header + nonce, (data,)), sealed[-MAC_SIZE:]):
        return None
    Ctr(key[:32], nonce + bytes(4)).apply(data)
    return data
