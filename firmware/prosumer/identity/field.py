"""Arithmetic modulo 2**255 - 19 on MicroPython's big integers: the two costly powers of Ed25519, made cheap.

`pow(x, P - 2, P)` divides after each of its 500 products. Here the inverse takes 600 *divsteps* (Bernstein & Yang 2019,
"Fast constant-time gcd computation and modular inversion", in the half-delta variant whose 590 steps suffice for 256
bits): thirty at a time on small integers in viper, then four short products on big ones. The square root takes the
usual chain of 254 products, reduced by shifts, since the 16-bit digits of a division cost more than a product.
"""
import array
from micropython import const

P = 2**255 - 19
MASK = 2**255 - 1  # x is congruent to (x & MASK) + 19 * (x >> 255): one fold

_STEPS = const(30)
_ROUNDS = const(20)
_SCALE = pow(2, P - 1 - 30 * 20, P)  # every round leaves out one division by 2**30; this does all of them

_matrix = array.array("i", [0, 0, 0, 0])


@micropython.viper
def _divsteps(zeta: int, f: int, g: int, t: ptr32) -> int:
    """Thirty divsteps on the low 30 bits of f (odd) and g; leaves the 2x2 matrix (times 2**30) in t."""
    u = int(1)
    v = int(0)
    q = int(0)
    r = int(1)
    i = int(0)
    while i < 30:
        c = zeta >> 31
        odd = 0 - (g & 1)
        g = g + (((f ^ c) - c) & odd)
        q = q + (((u ^ c) - c) & odd)
        r = r + (((v ^ c) - c) & odd)
        c = c & odd
        zeta = (zeta ^ c) - 1
        f = f + (g & c)
        u = (u + (q & c)) << 1
        v = (v + (r & c)) << 1
        g = g >> 1
        i += 1
    t[0] = u
    t[1] = v
    t[2] = q
    t[3] = r
    return zeta


def inverse(x):
    """1/x modulo P, in 0..P-1, for any integer x (0 for 0). The number of rounds does not depend on x."""
    p = P
    t = _matrix
    f = p
    g = x % p
    d = 0
    e = 1
    zeta = -1
    for _ in range(_ROUNDS):
        zeta = _divsteps(zeta, f & 0x3FFFFFFF, g & 0x3FFFFFFF, t)
        u = t[0]
        v = t[1]
        q = t[2]
        r = t[3]
        h = (u * f + v * g) >> _STEPS
        g = (q * f + r * g) >> _STEPS
        f = h
        h = (u * d + v * e) % p
        e = (q * d + r * e) % p
        d = h
    return f * d * _SCALE % p


def _squared(x, n):
    """x to the power 2**n. A value under 2**256 may take one fold only, its square then needs the full reduction."""
    p = P
    m = MASK
    for _ in range(n >> 1):
        x = x * x
        x = (x & m) + (x >> 255) * 19
        x = x * x
        x = ((x & m) + (x >> 255) * 19) % p
    return x * x % p if n & 1 else x


def root_power(x):
    """x to the power (P - 5) / 8 = 2**252 - 3 modulo P, from which RFC 8032, section 5.1.3, makes the square root."""
    x2 = x * x % P
    x9 = _squared(x2, 2) * x % P
    e5 = _squared(x9 * x2 % P, 1) * x9 % P  # eN: x to the power 2**N - 1
    e10 = _squared(e5, 5) * e5 % P
    e20 = _squared(e10, 10) * e10 % P
    e40 = _squared(e20, 20) * e20 % P
    e50 = _squared(e40, 10) * e10 % P
    e100 = _squared(e50, 50) * e50 % P
    e200 = _squared(e100, 100) * e100 % P
    e250 = _squared(e200, 50) * e50 % P
    return _squared(e250, 2) * x % P
