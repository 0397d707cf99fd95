"""Points of edwards25519 as bytes, on the machine.

A point between programs is its extended coordinates with x = X/Z, y = Y/Z, xy = T/Z (Hisil et al. 2008):

    X (32) ‖ Y (32) ‖ Z (32) ‖ T (32)          little-endian, below 2**256

A known point that will be added often is kept as a row, affine, each number below P:

    y + x (32) ‖ y - x (32) ‖ 2dxy (32)
"""
from micropython import const

from prosumer.errors import Reject

from . import machine
from .machine import D, P, inverse, root_power

ROW = const(96)
DOUBLE = const(127)
NOTHING = const(126)

_ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


def point(*coordinates):
    return b"".join([(v % P).to_bytes(32, "little") for v in coordinates])


IDENTITY = point(0, 1, 1, 0)


def number(data, at=0):
    """A coordinate of a point, as an integer."""
    return int.from_bytes(data[at : at + 32], "little")


def run(program, rows, more, start):
    """The point that `program` makes of `start`. All formulas are complete: no input makes them fail."""
    machine.work(b"\x7a\x78", start)
    machine.work(program, rows, more)
    machine.work(b"\x7c")
    return machine.point()


def add(a, b):
    machine.work(b"\x7a\x79\x7d\x7c", a, b)
    return machine.point()


def negative(a):
    return point(-number(a), number(a, 32), number(a, 64), -number(a, 96))


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
    """Write points as rows into `rows`."""
    at = 0
    for q, z in zip(points, inverses([number(q, 64) for q in points])):
        x = number(q) * z % P
        y = number(q, 32) * z % P
        rows[at : at + ROW] = point(y + x, y - x, 2 * D * x * y)
        at += ROW


def encode(q, z_inverse):
    """The 32 bytes of a point (RFC 8032, section 5.1.2): y, and the lowest bit of x on top."""
    x = number(q) * z_inverse % P
    y = number(q, 32) * z_inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(data):
    """The point of 32 bytes (RFC 8032, section 5.1.3); Reject unless canonical and on the curve."""
    if len(data) != 32:
        raise Reject("key-length")
    y = number(data)
    sign = y >> 255
    y &= (1 << 255) - 1
    if y >= P:
        raise Reject("key-not-canonical")
    u = (y * y - 1) % P
    v = (D * y * y + 1) % P
    w = v * v % P * v % P
    x = u * w % P * root_power(u * w % P * w % P * v) % P
    w = v * x % P * x % P
    if w != u:
        if w + u != P:
            raise Reject("key-not-on-curve")
        x = x * _ROOT_OF_MINUS_1 % P
    if not x and sign:
        raise Reject("key-not-canonical")
    if x & 1 != sign:
        x = P - x
    return point(x, y, 1, x * y)
