"""SHA-512 (FIPS 180-4, section 6.4), which MicroPython lacks: `sha512(data) -> 64 bytes`.

A 64-bit word is four limbs of 16 bits, the lowest first. Sums of six limbs and two neighbouring limbs side by side both
fit a viper int of 32 bits, so carries are shifts, rotations are shifts, nothing branches on the data, and one short
source serves xtensawin, rv32imc and x64. (Pairs of 32-bit halves are quicker, but their code is 1.7 times as long.)
"""
import array
import struct
from micropython import const

_BLOCK = const(128)
# Offsets in the working array, in limbs.
_H = const(0)  # 8 words: the chaining value
_W = const(32)  # 16 words: the message schedule, as a ring
_A = const(96)  # 4 words: a, b, c, d of the round, as a ring; then e, f, g, h
_K = const(128)  # 80 words: the round constants


def _root_bits(n, power):
    """The first 64 bits after the point of the square or cube root of n, by Newton's method on integers."""
    n <<= 64 * power
    x = 21 << 64  # above every root that is asked for: 409 ** (1/3) = 7.4, 19 ** (1/2) = 4.4
    while True:
        y = ((power - 1) * x + n // x ** (power - 1)) // power
        if y >= x:
            return x
        x = y


def _constants():
    """They are roots of primes (FIPS 180-4, sections 4.2.3 and 5.3.5), made here so that none can be mistyped."""
    limbs = array.array("H", bytes(2 * (_K + 320)))
    count = 0
    n = 1
    while count < 80:
        n += 1
        if all(n % d for d in range(2, n)):
            for base, power in (_K, 3), (_H, 2):
                if power == 3 or count < 8:
                    bits = _root_bits(n, power)
                    for j in range(4):
                        limbs[base + 4 * count + j] = bits >> 16 * j & 0xFFFF
            count += 1
    return limbs


_limbs = _constants()
_start = _limbs[_H:_W]


@micropython.viper
def _compress(s: ptr16, m: ptr8, at: int):
    """One block m[at:at+128] into the chaining value."""
    i = int(0)
    while i < 64:
        s[32 + (i ^ 3)] = (m[at] << 8) | m[at + 1]
        at += 2
        i += 1
    i = 0
    while i < 32:  # the rings start so that round 0 finds d, c, b, a and h, g, f, e in slots 0..3
        s[96 + (i ^ 12)] = s[i]
        i += 1
    t = int(0)
    while t < 80:
        w = int(32) + ((t & 15) << 2)
        d = int(96) + ((t & 3) << 2)
        c = int(96) + (((t + 1) & 3) << 2)
        b = int(96) + (((t + 2) & 3) << 2)
        a = int(96) + (((t + 3) & 3) << 2)
        carry_w = int(0)
        carry = int(0)
        carry_e = int(0)
        carry_a = int(0)
        j = int(0)
        while j < 4:
            k = (j + 1) & 3  # the next limbs up; what leaves the lowest enters the highest
            q = (j + 2) & 3
            r = (j + 3) & 3
            n = int(s[w + j])
            if t >= 16:  # W[t] = W[t-16] + s0(W[t-15]) + s1(W[t-2]) + W[t-7]
                i = int(32) + (((t + 1) & 15) << 2)
                p = s[i + j]
                x = s[i + k] << 16
                y = (0 - k) >> 2  # 0 for the highest limb: a plain shift brings nothing in
                n += carry_w + ((((x | p) >> 1) ^ ((x | p) >> 8) ^ (((x & y) | p) >> 7)) & 0xFFFF)
                i = int(32) + (((t + 14) & 15) << 2)
                p = s[i + j]
                x = s[i + k]
                n += ((((s[i + q] << 16) | x) >> 3) ^ ((s[i + r] | (p << 16)) >> 13) ^ ((((x << 16) & y) | p) >> 6)) & 0xFFFF
                n += s[32 + (((t + 9) & 15) << 2) + j]
                carry_w = n >> 16
                n = n & 0xFFFF
                s[w + j] = n
            # T1 = W[t] + K[t] + h + S1(e) + Ch(e, f, g)
            i = a + 16
            p = s[i + j]
            x = (s[i + q] << 16) | s[i + k]
            y = s[c + 16 + j]
            n += carry + s[128 + (t << 2) + j] + s[d + 16 + j] + (y ^ (p & (s[b + 16 + j] ^ y)))
            n += ((((x << 16) | p) >> 14) ^ (x >> 2) ^ (((s[i + r] << 16) | s[i + q]) >> 9)) & 0xFFFF
            carry = n >> 16
            n = n & 0xFFFF
            # e = d + T1
            x = s[d + j] + n + carry_e
            carry_e = x >> 16
            s[d + 16 + j] = x
            # a = T1 + S0(a) + Maj(a, b, c)
            p = s[a + j]
            x = s[b + j]
            y = s[c + j]
            n += carry_a + ((p & (x | y)) | (x & y))
            x = (s[a + r] << 16) | s[a + q]
            n += ((((s[a + q] << 16) | s[a + k]) >> 12) ^ (x >> 2) ^ (x >> 7)) & 0xFFFF
            carry_a = n >> 16
            s[d + j] = n
            j += 1
        t += 1
    i = 0
    n = int(0)
    while i < 32:
        n = (n & (0 - (i & 3)) >> 2) + s[i] + s[96 + (i ^ 12)]
        s[i] = n
        n = n >> 16
        i += 1


def sha512(data):
    """The 64-byte digest of bytes-like `data`."""
    size = len(data)
    rest = size % _BLOCK
    tail = bytearray(_BLOCK if rest < 112 else 2 * _BLOCK)
    tail[:rest] = data[size - rest :]
    tail[rest] = 0x80
    tail[-5:] = (size << 3).to_bytes(5, "big")
    s = _limbs
    s[:_W] = _start
    for part, end in (data, size - rest), (tail, len(tail)):
        for at in range(0, end, _BLOCK):
            _compress(s, part, at)
    tail[:] = bytes(len(tail))  # it may have held a seed
    return struct.pack(">32H", *[s[i ^ 3] for i in range(32)])
