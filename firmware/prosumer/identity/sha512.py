"""SHA-512 (FIPS 180-4, section 6.4), which MicroPython lacks: `sha512(data) -> 64 bytes`.

A 64-bit word is a pair (high, low) of 32-bit words, so the one source compiles for xtensawin, rv32imc and x64.
A viper int is a machine word: on 64 bits whatever spills over bit 31 is masked away or dropped by a 32-bit store; on
32 bits the mask is -1 and does nothing. Carries come from unsigned comparisons, so nothing branches on the data.
"""
import array
from micropython import const

_BLOCK = const(128)
# Offsets in the working array, in 32-bit words; pairs are (high, low).
_H = const(0)  # 8 pairs: the chaining value
_W = const(16)  # 16 pairs: the message schedule, as a ring
_A = const(48)  # 4 pairs: a, b, c, d of the round, as a ring
_E = const(56)  # 4 pairs: e, f, g, h of the round, as a ring
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


def _initial():
    """The constants are roots of primes (FIPS 180-4, sections 4.2.3 and 5.3.5): made, so that none can be mistyped."""
    words = array.array("I", bytes(4 * (_K + 160)))
    words[_MASK] = 0xFFFFFFFF
    count = 0
    n = 2
    while count < 80:
        if all(n % d for d in range(2, n)):
            pairs = [(_K, 3)] if count >= 8 else [(_K, 3), (_H, 2)]
            for base, power in pairs:
                bits = _root_bits(n, power)
                words[base + 2 * count] = bits >> 32
                words[base + 2 * count + 1] = bits & 0xFFFFFFFF
            count += 1
        n += 1
    return words


_words = _initial()
_start_words = array.array("I", _words[_H : _H + 16])


@micropython.viper
def _compress(s: ptr32, m: ptr8, at: int):
    """One block m[at:at+128] into the chaining value."""
    mask = uint(s[64])
    i = 0
    while i < 32:  # 16 schedule words, big-endian
        s[16 + i] = (m[at] << 24) | (m[at + 1] << 16) | (m[at + 2] << 8) | m[at + 3]
        at += 4
        i += 1
    i = 0
    while i < 4:  # rings start so that round 0 finds d, c, b, a in slots 0..3
        j = (3 - i) << 1
        k = i << 1
        s[48 + j] = s[k]
        s[49 + j] = s[k + 1]
        s[56 + j] = s[k + 8]
        s[57 + j] = s[k + 9]
        i += 1
    t = 0
    while t < 80:
        w = int(16) + ((t & 15) << 1)
        if t >= 16:  # W[t] = s1(W[t-2]) + W[t-7] + s0(W[t-15]) + W[t-16]
            k = int(16) + (((t + 1) & 15) << 1)
            h = uint(s[k])
            l = uint(s[k + 1])
            xh = ((h >> 1) | (l << 31)) ^ ((h >> 8) | (l << 24)) ^ (h >> 7)
            xl = (((l >> 1) | (h << 31)) ^ ((l >> 8) | (h << 24)) ^ ((l >> 7) | (h << 25))) & mask
            k = int(16) + (((t + 14) & 15) << 1)
            h = uint(s[k])
            l = uint(s[k + 1])
            yh = ((h >> 19) | (l << 13)) ^ ((l >> 29) | (h << 3)) ^ (h >> 6)
            yl = (((l >> 19) | (h << 13)) ^ ((h >> 29) | (l << 3)) ^ ((l >> 6) | (h << 26))) & mask
            lo = (xl + yl) & mask
            hi = xh + yh + uint(int(lo < xl))
            k = int(16) + (((t + 9) & 15) << 1)
            l = uint(s[k + 1])
            lo = (lo + l) & mask
            hi = hi + uint(s[k]) + uint(int(lo < l))
            l = uint(s[w + 1])
            lo = (lo + l) & mask
            hi = hi + uint(s[w]) + uint(int(lo < l))
            s[w] = int(hi)
            s[w + 1] = int(lo)
        d = int(48) + ((t & 3) << 1)
        a = int(48) + (((t + 3) & 3) << 1)
        k = int(66) + (t << 1)
        # T1 = h + S1(e) + Ch(e, f, g) + K[t] + W[t]
        h = uint(s[a + 8])
        l = uint(s[a + 9])
        xl = uint(s[w + 1])
        lo = (uint(s[k + 1]) + xl) & mask
        hi = uint(s[k]) + uint(s[w]) + uint(int(lo < xl))
        xl = uint(s[d + 9])
        lo = (lo + xl) & mask
        hi = hi + uint(s[d + 8]) + uint(int(lo < xl))
        xh = ((h >> 14) | (l << 18)) ^ ((h >> 18) | (l << 14)) ^ ((l >> 9) | (h << 23))
        xl = (((l >> 14) | (h << 18)) ^ ((l >> 18) | (h << 14)) ^ ((h >> 9) | (l << 23))) & mask
        lo = (lo + xl) & mask
        hi = hi + xh + uint(int(lo < xl))
        b = int(48) + (((t + 2) & 3) << 1)
        c = int(48) + (((t + 1) & 3) << 1)
        xl = uint(s[c + 9])
        xl = xl ^ (l & (uint(s[b + 9]) ^ xl))
        xh = uint(s[c + 8])
        xh = xh ^ (h & (uint(s[b + 8]) ^ xh))
        lo = (lo + xl) & mask
        hi = hi + xh + uint(int(lo < xl))
        # e' = d + T1
        xl = uint(s[d + 1])
        l = (lo + xl) & mask
        s[d + 9] = int(l)
        s[d + 8] = int(hi + uint(s[d]) + uint(int(l < xl)))
        # a' = T1 + S0(a) + Maj(a, b, c)
        h = uint(s[a])
        l = uint(s[a + 1])
        xh = ((h >> 28) | (l << 4)) ^ ((l >> 2) | (h << 30)) ^ ((l >> 7) | (h << 25))
        xl = (((l >> 28) | (h << 4)) ^ ((h >> 2) | (l << 30)) ^ ((h >> 7) | (l << 25))) & mask
        lo = (lo + xl) & mask
        hi = hi + xh + uint(int(lo < xl))
        yh = uint(s[b])
        yl = uint(s[b + 1])
        xh = uint(s[c])
        xl = uint(s[c + 1])
        xl = (l & (yl | xl)) | (yl & xl)
        lo = (lo + xl) & mask
        s[d + 1] = int(lo)
        s[d] = int(hi + ((h & (yh | xh)) | (yh & xh)) + uint(int(lo < xl)))
        t += 1
    i = 0
    while i < 4:
        j = (3 - i) << 1
        k = i << 1
        w = int(0)
        while w < 2:  # the half a..d, then the half e..h
            l = uint(s[k + 1])
            lo = (uint(s[49 + j]) + l) & mask
            s[k + 1] = int(lo)
            s[k] = int(uint(s[k]) + uint(s[48 + j]) + uint(int(lo < l)))
            k += 8
            j += 8
            w += 1
        i += 1


@micropython.viper
def _output(s: ptr32, out: ptr8):
    i = 0
    while i < 64:
        out[i] = uint(s[i >> 2]) >> (24 - ((i & 3) << 3))
        i += 1


def sha512(data):
    """The 64-byte digest of bytes-like `data`."""
    size = len(data)
    memoryview(_words)[_H : _H + 16] = memoryview(_start_words)
    whole = size // _BLOCK * _BLOCK
    for at in range(0, whole, _BLOCK):
        _compress(_words, data, at)
    rest = size - whole
    tail = bytearray(_BLOCK if rest < 112 else 2 * _BLOCK)
    tail[:rest] = data[whole:]
    tail[rest] = 0x80
    bits = size << 3
    for i in range(1, 6):
        tail[-i] = bits & 255
        bits >>= 8
    for at in range(0, len(tail), _BLOCK):
        _compress(_words, tail, at)
    out = bytearray(64)
    _output(_words, out)
    return bytes(out)
