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
def _compress(w: ptr16, d: ptr16, s: ptr16, m: ptr8, at: int):
    """One block m[at:at+128] into the chaining value; w, d and s are the working array (two locals live in registers)."""
    i = int(0)
    while i < 64:
        s[32 + (i ^ 3)] = (m[at] << 8) | m[at + 1]
        at += 2
        i += 1
    i = 0
    while i < 32:  # the rings start so that round 0 finds d, c, b, a and h, g, f, e in slots 0..3
        s[96 + (i ^ 12)] = s[i]
        i += 1
    base = int(s)
    constant = ptr16(base + 256)
    t = int(0)
    while t < 80:
        w = ptr16(base + 64 + ((t & 15) << 3))
        w2 = ptr16(base + 64 + (((t + 14) & 15) << 3))
        w7 = ptr16(base + 64 + (((t + 9) & 15) << 3))
        w15 = ptr16(base + 64 + (((t + 1) & 15) << 3))
        d = ptr16(base + 192 + ((t & 3) << 3))
        c = ptr16(base + 192 + (((t + 1) & 3) << 3))
        b = ptr16(base + 192 + (((t + 2) & 3) << 3))
        a = ptr16(base + 192 + (((t + 3) & 3) << 3))
        e = ptr16(int(a) + 32)
        carry_w = int(0)
        carry = int(0)
        carry_e = int(0)
        carry_a = int(0)
        j = int(0)
        while j < 4:
            k = (j + 1) & 3  # the next limbs up; what leaves the lowest enters the highest
            q = (j + 2) & 3
            r = (j + 3) & 3
            if t >= 16:  # W[t] = W[t-16] + s0(W[t-15]) + s1(W[t-2]) + W[t-7]
                x = w15[k] << 16
                p = w15[j]
                y = (0 - k) >> 2  # 0 for the highest limb: a plain shift brings nothing in
                carry_w += ((((x | p) >> 1) ^ ((x | p) >> 8) ^ (((x & y) | p) >> 7)) & 0xFFFF) + w[0] + w7[0]
                x = w2[k]
                p = w2[j]
                carry_w += (((w2[q] << 16 | x) >> 3) ^ ((p << 16 | w2[r]) >> 13) ^ ((((x << 16) & y) | p) >> 6)) & 0xFFFF
                w[0] = carry_w
                carry_w >>= 16
            # T1 = W[t] + K[t] + h + S1(e) + Ch(e, f, g)
            p = e[j]
            x = e[q] << 16 | e[k]
            y = c[16]
            carry += (((x << 16 | p) >> 14) ^ (x >> 2) ^ ((e[r] << 16 | e[q]) >> 9)) & 0xFFFF
            carry += w[0] + constant[0] + d[16] + (((b[16] ^ y) & p) ^ y)
            n = carry & 0xFFFF
            carry >>= 16
            # e = d + T1
            carry_e += d[0] + n
            d[16] = carry_e
            carry_e >>= 16
            # a = T1 + S0(a) + Maj(a, b, c)
            p = a[j]
            x = b[0]
            y = c[0]
            carry_a += n + ((p & (x | y)) | (x & y))
            p = a[q]
            x = a[r] << 16 | p
            carry_a += (((p << 16 | a[k]) >> 12) ^ (x >> 2) ^ (x >> 7)) & 0xFFFF
            d[0] = carry_a
            carry_a >>= 16
            constant = ptr16(int(constant) + 2)
            w = ptr16(int(w) + 2)
            w7 = ptr16(int(w7) + 2)
            d = ptr16(int(d) + 2)
            c = ptr16(int(c) + 2)
            b = ptr16(int(b) + 2)
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
    tail[:rest] = memoryview(data)[size - rest :]  # no copy of what may be a seed
    tail[rest] = 0x80
    tail[-5:] = (size << 3).to_bytes(5, "big")
    s = _limbs
    s[:_W] = _start
    for part, end in (data, size - rest), (tail, len(tail)):
        for at in range(0, end, _BLOCK):
            _compress(s, s, s, part, at)
    tail[:] = bytes(len(tail))  # it may have held a seed
    return struct.pack(">32H", *[s[i ^ 3] for i in range(32)])
