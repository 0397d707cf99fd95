"""SHA-512 (FIPS 180-4, section 6.4), which MicroPython lacks: `sha512(data) -> 64 bytes`.

A 64-bit word is a pair (high, low) of 32-bit words, so the one source compiles for xtensawin, rv32imc and x64.
A viper int is a machine word: on 64 bits whatever spills over bit 31 is masked away or dropped by a 32-bit store; on
32 bits the mask is -1 and does nothing. Carries come from unsigned comparisons, so nothing branches on the data.
"""
import array
import struct
from micropython import const

_BLOCK = const(128)
# Offsets in the working array, in 32-bit words; pairs are (high, low).
_H = const(0)  # 8 pairs: the chaining value
_W = const(16)  # 16 pairs: the message schedule, as a ring
# 48: 4 pairs, a to d of the round, as a ring; 56: e to h
_MASK = const(64)  # 0xffffffff
_K = const(66)  # 80 pairs: the round constants


def _root_bits(n, power):
    """The first 64 bits after the point of the square or cube root of n, by Newton's method on integers."""
    n <<= 64 * power
    x = 21 << 64  # above every root that is asked for: 409 ** (1/3) = 7.4, 19 ** (1/2) = 4.4
    while True:
        y = ((power - 1) * x + n // x ** (power - 1)) // power
        if y >= x:
            return x & 0xFFFFFFFFFFFFFFFF
        x = y


def _constants():
    """They are roots of primes (FIPS 180-4, sections 4.2.3 and 5.3.5), made here so that none can be mistyped."""
    words = array.array("I", bytes(4 * (_K + 160)))
    words[_MASK] = 0xFFFFFFFF
    at = 0
    n = 1
    while at < 160:
        n += 1
        if all(n % d for d in range(2, n)):
            for base, power in (_K, 3), (_H, 2):
                if power == 3 or at < _W:
                    bits = _root_bits(n, power)
                    words[base + at] = bits >> 32
                    words[base + at + 1] = bits & 0xFFFFFFFF
            at += 2
    return words


_words = _constants()
_start = _words[_H:_W]


@micropython.viper
def _compress(s: ptr32, m: ptr8, at: int):
    """One block m[at:at+128] into the chaining value.

    The same code makes both halves of a word: j is 1 for the low half, then 0 for the high one, which takes the
    carries of the low one. What rotates into one half comes out of the other, so p is this half and q the other.
    """
    mask = uint(s[64])
    i = int(0)
    while i < 32:
        s[16 + i] = (m[at] << 24) | (m[at + 1] << 16) | (m[at + 2] << 8) | m[at + 3]
        at += 4
        i += 1
    i = 0
    while i < 16:  # the rings start so that round 0 finds d, c, b, a and h, g, f, e in slots 0..3
        s[48 + (i ^ 6)] = s[i]
        i += 1
    t = int(0)
    while t < 80:
        w = int(16) + ((t & 15) << 1)
        d = int(48) + ((t & 3) << 1)
        c = int(48) + (((t + 1) & 3) << 1)
        b = int(48) + (((t + 2) & 3) << 1)
        a = int(48) + (((t + 3) & 3) << 1)
        carry_w = uint(0)
        carry = uint(0)
        carry_a = uint(0)
        carry_e = uint(0)
        j = int(1)
        while j >= 0:
            n = uint(s[w + j])
            if t >= 16:  # W[t] = W[t-16] + s0(W[t-15]) + s1(W[t-2]) + W[t-7]
                n = (n + carry_w) & mask
                carry_w = uint(int(n < carry_w))
                i = int(16) + (((t + 1) & 15) << 1)
                p = uint(s[i + j])
                q = uint(s[i + 1 - j])
                x = (((p >> 1) | (q << 31)) ^ ((p >> 8) | (q << 24)) ^ (p >> 7) ^ ((q << 25) & uint(0 - j))) & mask
                n = (n + x) & mask
                carry_w = carry_w + uint(int(n < x))
                i = int(16) + (((t + 14) & 15) << 1)
                p = uint(s[i + j])
                q = uint(s[i + 1 - j])
                x = (((p >> 19) | (q << 13)) ^ ((q >> 29) | (p << 3)) ^ (p >> 6) ^ ((q << 26) & uint(0 - j))) & mask
                n = (n + x) & mask
                carry_w = carry_w + uint(int(n < x))
                x = uint(s[16 + (((t + 9) & 15) << 1) + j])
                n = (n + x) & mask
                carry_w = carry_w + uint(int(n < x))
                s[w + j] = int(n)
            # T1 = W[t] + K[t] + h + S1(e) + Ch(e, f, g)
            n = (n + carry) & mask
            carry = uint(int(n < carry))
            x = uint(s[66 + (t << 1) + j])
            n = (n + x) & mask
            carry = carry + uint(int(n < x))
            x = uint(s[d + 8 + j])
            n = (n + x) & mask
            carry = carry + uint(int(n < x))
            p = uint(s[a + 8 + j])
            q = uint(s[a + 9 - j])
            x = (((p >> 14) | (q << 18)) ^ ((p >> 18) | (q << 14)) ^ ((q >> 9) | (p << 23))) & mask
            n = (n + x) & mask
            carry = carry + uint(int(n < x))
            x = uint(s[c + 8 + j])
            x = x ^ (p & (uint(s[b + 8 + j]) ^ x))
            n = (n + x) & mask
            carry = carry + uint(int(n < x))
            # e = d + T1
            x = uint(s[d + j])
            p = (n + carry_e) & mask
            carry_e = uint(int(p < carry_e))
            p = (p + x) & mask
            carry_e = carry_e + uint(int(p < x))
            s[d + 8 + j] = int(p)
            # a = T1 + S0(a) + Maj(a, b, c)
            n = (n + carry_a) & mask
            carry_a = uint(int(n < carry_a))
            p = uint(s[a + j])
            q = uint(s[a + 1 - j])
            x = (((p >> 28) | (q << 4)) ^ ((q >> 2) | (p << 30)) ^ ((q >> 7) | (p << 25))) & mask
            n = (n + x) & mask
            carry_a = carry_a + uint(int(n < x))
            q = uint(s[b + j])
            x = uint(s[c + j])
            x = (p & (q | x)) | (q & x)
            n = (n + x) & mask
            carry_a = carry_a + uint(int(n < x))
            s[d + j] = int(n)
            j -= 1
        t += 1
    i = 0
    while i < 16:
        n = uint(s[i + 1])
        x = (n + uint(s[49 + (i ^ 6)])) & mask
        s[i + 1] = int(x)
        s[i] = int(uint(s[i]) + uint(s[48 + (i ^ 6)]) + uint(int(x < n)))
        i += 2


def sha512(data):
    """The 64-byte digest of bytes-like `data`."""
    size = len(data)
    rest = size % _BLOCK
    tail = bytearray(_BLOCK if rest < 112 else 2 * _BLOCK)
    tail[:rest] = data[size - rest :]
    tail[rest] = 0x80
    tail[-5:] = (size << 3).to_bytes(5, "big")
    s = _words
    s[:_W] = _start
    for part, end in (data, size - rest), (tail, len(tail)):
        for at in range(0, end, _BLOCK):
            _compress(s, part, at)
    return struct.pack(">16I", *s[:_W])
