"""Points of edwards25519 and the small machine that adds and doubles them.

Points between functions are extended coordinates (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z (Hisil et al. 2008).
All formulas are complete: no input makes them fail. A known point that will be added often is kept as a *row*:

    y + x (32) ‖ y - x (32) ‖ 2dxy (32)        affine, little-endian, each below P

Rows are bytes, not integers: 96 bytes instead of some 200 on the heap, and ready for flash. A multiplication is first
compiled to a *program*, one byte per step, which `run` executes:

    127 double · 126 nothing · else add row (step & 127), negated when step & 128

It is bytecode on purpose: nearly all of its time goes to big-integer products, and native code gained 7 % for 5 KB.
"""
from micropython import const

from prosumer.errors import Reject

from .field import MASK, P, inverse, root_power

ROW = const(96)
DOUBLE = const(127)
NOTHING = const(126)

_D = 37095705934669439343138083508754565189542113879843219016388785533085940283555
_D2 = 2 * _D % P
_ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


def run(program, rows, more, point):
    """Execute `program` from `point`: the first rows come from memoryview `rows`, the others from `more`.

    Between steps the point is kept as (e, f, g, h) with X = ef, Y = gh, Z = fg, T = eh, so that T is made only where
    an addition follows. Products of reduced values take one fold, products of folded values the full reduction.
    """
    p = P
    m = MASK
    number = int.from_bytes
    split = len(rows)
    e, h, f, _ = point
    g = f
    for step in program:
        if step == NOTHING:
            continue
        x = e * f
        x = ((x & m) + (x >> 255) * 19) % p
        y = g * h
        y = ((y & m) + (y >> 255) * 19) % p
        z = f * g
        z = ((z & m) + (z >> 255) * 19) % p
        if step == DOUBLE:
            e = x * y
            e = (e & m) + (e >> 255) * 19 << 1
            x = x * x
            x = (x & m) + (x >> 255) * 19
            y = y * y
            y = (y & m) + (y >> 255) * 19
            z = z * z
            g = y - x
            f = g - ((z & m) + (z >> 255) * 19 << 1)
            h = -x - y
            continue
        at = (step & 127) * ROW
        row = rows
        if at >= split:
            at -= split
            row = more
        t = e * h
        t = ((t & m) + (t >> 255) * 19) % p * number(row[at + 64 : at + 96], "little")
        t = (t & m) + (t >> 255) * 19
        z <<= 1
        e = number(row[at : at + 32], "little")
        h = number(row[at + 32 : at + 64], "little")
        if step & 128:
            e, h, t = h, e, -t
        e *= y + x
        e = (e & m) + (e >> 255) * 19
        h *= y - x
        h = (h & m) + (h >> 255) * 19
        e, h = e - h, e + h
        f = z - t
        g = z + t
    return finish(e, g, f, h)


def add(a, b):
    """The sum of two extended points (RFC 8032, section 5.1.4)."""
    ax, ay, az, at = a
    bx, by, bz, bt = b
    m = MASK
    c = (ay - ax) * (by - bx)
    c = (c & m) + (c >> 255) * 19
    d = (ay + ax) * (by + bx)
    d = (d & m) + (d >> 255) * 19
    t = at * bt
    t = ((t & m) + (t >> 255) * 19) * _D2
    t = (t & m) + (t >> 255) * 19
    z = az * bz << 1
    z = (z & m) + (z >> 255) * 19
    return finish(d - c, z + t, z - t, d + c)


def finish(e, g, f, h):
    """The reduced point (ef, gh, fg, eh)."""
    p = P
    m = MASK
    x = e * f
    y = g * h
    z = f * g
    t = e * h
    return (
        ((x & m) + (x >> 255) * 19) % p,
        ((y & m) + (y >> 255) * 19) % p,
        ((z & m) + (z >> 255) * 19) % p,
        ((t & m) + (t >> 255) * 19) % p,
    )


def negative(a):
    return -a[0], a[1], a[2], -a[3]


def inverses(values):
    """1/v for each v, for the price of one inversion and three products each (Montgomery 1987)."""
    product = 1
    before = []
    for v in values:
        before.append(product)
        product = product * v % P
    product = inverse(product)
    for i in range(len(values) - 1, -1, -1):
        before[i] = before[i] * product % P
        product = product * values[i] % P
    return before


def write_rows(points, rows):
    """Write extended points as rows into `rows`."""
    at = 0
    for (x, y, _, _), z in zip(points, inverses([q[2] for q in points])):
        x = x * z % P
        y = y * z % P
        for v in (y + x) % P, (y - x) % P, x * y % P * _D2 % P:
            rows[at : at + 32] = v.to_bytes(32, "little")
            at += 32


def encode(point, z_inverse):
    """The 32 bytes of a point (RFC 8032, section 5.1.2): y, and the lowest bit of x on top."""
    x = point[0] * z_inverse % P
    y = point[1] * z_inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(data):
    """The extended point of 32 bytes (RFC 8032, section 5.1.3); Reject unless canonical and on the curve."""
    y = int.from_bytes(data, "little")
    sign = y >> 255
    y &= MASK
    if len(data) != 32:
        raise Reject("key-length")
    if y >= P:
        raise Reject("key-not-canonical")
    u = (y * y - 1) % P
    v = (_D * y * y + 1) % P
    w = v * v % P * v % P
    x = u * w % P * root_power(u * w % P * w % P * v % P) % P
    w = v * x % P * x % P
    if w != u:
        if w + u != P:
            raise Reject("key-not-on-curve")
        x = x * _ROOT_OF_MINUS_1 % P
    if not x and sign:
        raise Reject("key-not-canonical")
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P
