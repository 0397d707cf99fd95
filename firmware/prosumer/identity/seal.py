"""Keys from keys, and bytes sealed under them: HMAC-SHA256 (RFC 2104), HKDF (RFC 5869), PBKDF2 (RFC 8018), AES-256-CTR.

Not every build of cryptolib has the CTR mode, so the key stream is made from ECB, which all have. Encrypt-then-MAC:

    sealed: ciphertext (as long as the plain bytes) ‖ HMAC-SHA256 (32) over header ‖ ciphertext
"""
from hashlib import sha256

from cryptolib import aes
from micropython import const

MAC_SIZE = const(32)


def _pads(key):
    if len(key) > 64:
        key = sha256(key).digest()
    key += bytes(64 - len(key))
    return bytes(b ^ 0x36 for b in key), bytes(b ^ 0x5C for b in key)


def _mac(pads, data):
    h = sha256(pads[0])
    h.update(data)
    o = sha256(pads[1])
    o.update(h.digest())
    return o.digest()


def hmac(key, data):
    return _mac(_pads(key), data)


def hkdf(secret, salt, info, size):
    """`size` bytes of key, for the one use that `info` names."""
    pads = _pads(hmac(salt, secret))
    block = out = b""
    while len(out) < size:
        block = _mac(pads, block + info + bytes((len(out) // 32 + 1,)))
        out += block
    return out[:size]


def pbkdf2(password, salt, rounds):
    """32 bytes; each round costs whoever guesses passwords as much as it costs here."""
    pads = _pads(password)
    u = _mac(pads, salt + b"\0\0\0\1")
    total = int.from_bytes(u, "big")
    for _ in range(rounds - 1):
        u = _mac(pads, u)
        total ^= int.from_bytes(u, "big")
    return total.to_bytes(32, "big")


def ctr(key, nonce, data):
    """AES-CTR (SP 800-38A) over `data`, either way; the first counter block is `nonce` (12 bytes) ‖ 0 (4)."""
    blocks = b"".join([nonce + i.to_bytes(4, "big") for i in range((len(data) + 15) // 16)])
    return bytes(a ^ b for a, b in zip(aes(key, 1).encrypt(blocks), data))


def seal(key, nonce, header, data):
    """`key`: 64 bytes, half for AES, half for the MAC; a nonce must never come twice under one key."""
    sealed = ctr(key[:32], nonce, data)
    return sealed + hmac(key[32:], header + nonce + sealed)


def unseal(key, nonce, header, sealed):
    """The plain bytes, or None if header, nonce or bytes are not what was sealed under this key."""
    mac = hmac(key[32:], header + nonce + sealed[:-MAC_SIZE])
    different = len(sealed) < MAC_SIZE
    for a, b in zip(mac, sealed[-MAC_SIZE:]):
        different |= a ^ b
    return None if different else ctr(key[:32], nonce, sealed[:-MAC_SIZE])
