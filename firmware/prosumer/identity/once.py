"""Verification for a key that has no table: half-size scalars, so that 128 doublings do instead of 253.

sB = R + hA holds exactly if (bs)B - aA - bR is the identity for some a = bh modulo 8L with odd b, 0 < |b| < L: every
point's order divides 8L, and an odd b below L takes no point but the identity to it. The extended Euclidean algorithm
finds a and b of 128 bits (Antipa et al. 2005; Pornin 2020, "Optimized lattice basis reduction in dimension 2"); working
modulo 8L with odd b, not modulo L, keeps the answer the same as the comb's for points of mixed order.
"""
from .comb import Shape
from .curve import negative, run, write_rows
from .ed25519 import L, _rows, compile_base


def _halves(h):
    """(a, b) with a = b * h modulo 8L, b odd, both near 2**128."""
    r, a = 8 * L, h
    t, b = 0, 1
    while a >> 128:
        q = r // a
        r, a = a, r - q * a
        t, b = b, t - q * b
    if b & 1:
        return a, b
    # b is even, so t, coprime to it, is odd: take off the other vector until both sides are about even
    k = max(0, (r - abs(t)) // (a + abs(b)))
    return r - k * a, t - k * b


def holds(key, nonce, h, s):
    """True if s * B = nonce + h * key, for extended points, 0 <= h < L and 0 <= s < L."""
    a, b = _halves(h)
    columns = 32
    while (a | abs(b)) >> 4 * columns:
        columns += 1
    keys = Shape(4, 1, columns, 64, True)
    nonces = Shape(4, 1, columns, 72, True)
    rows = memoryview(bytearray(16 * 96))
    write_rows(keys.sums(negative(key)) + nonces.sums(negative(nonce)), rows)
    program = keys.program()
    compile_base(program, b * s % L)
    offset = 1 << 4 * columns - 1
    keys.compile(program, (a >> 1) + offset, 3)  # a, or a + 1 when a is even: then row 64, the key once, is taken back
    nonces.compile(program, (b >> 1) + offset, 4)
    if not a & 1:
        program.append(64 | 128)
    x, y, z, _ = run(program, _rows, rows, (0, 1, 1, 0))
    return not x and y == z
