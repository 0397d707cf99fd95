"""Points of edwards25519 and the signed comb that multiplies a known point by a scalar.

A comb (Lim & Lee 1994; signed: Hamburg 2012, "Fast and compact elliptic-curve cryptography", section 3.3) writes an odd
scalar of teeth*blocks*columns bits with digits +1 and -1 only, so every column of every block costs one addition of a
row and nothing depends on zeros. A row is an affine point (x, y) ready for addition:

    y + x (32) ‖ y - x (32) ‖ 2dxy (32)        little-endian, each below P

Rows are kept as bytes, not as integers: 96 bytes instead of some 200 on the heap, and ready for flash. A
multiplication is first compiled to a *program*, one byte per step, which `run` executes:

    127 double · 126 nothing · else add row (step & 127), negated when step & 128

Points between functions are extended coordinates (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z (Hisil et al. 2008).
All formulas are complete: no input makes them fail.
"""
from micropython import const

from .field import MASK, P, inverse

ROW = const(96)
DOUBLE = const(127)
NOTHING = const(126)

D = 37095705934669439343138083508754565189542113879843219016388785533085940283555
D2 = 2 * D % P
IDENTITY = (0, 1, 1, 0)


@micropython.native
def run(program, rows, more, split, point):
    """Execute `program` from `point`: rows below `split` come from buffer `rows`, the others from buffer `more`.

    Between steps the point is kept as (e, f, g, h) with X = ef, Y = gh, Z = fg, T = eh, so that T is made only where
    an addition follows. Products of reduced values take one fold, products of folded values the full reduction.
    """
    p = P
    m = MASK
    number = int.from_bytes
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
            e = ((e & m) + (e >> 255) * 19) << 1
            x = x * x
            x = (x & m) + (x >> 255) * 19
            y = y * y
            y = (y & m) + (y >> 255) * 19
            z = z * z
            z = (z & m) + (z >> 255) * 19
            g = y - x
            f = g - (z << 1)
            h = -x - y
        else:
            t = e * h
            t = ((t & m) + (t >> 255) * 19) % p
            at = (step & 127) * ROW
            if at < split:
                row = rows[at : at + ROW]
            else:
                at -= split
                row = more[at : at + ROW]
            t = t * number(row[64:], "little")
            t = (t & m) + (t >> 255) * 19
            z = z << 1
            if step & 128:
                f = (y - x) * number(row[:32], "little")
                h = (y + x) * number(row[32:64], "little")
                g = z - t
                z = z + t
            else:
                f = (y - x) * number(row[32:64], "little")
                h = (y + x) * number(row[:32], "little")
                g = z + t
                z = z - t
            f = (f & m) + (f >> 255) * 19
            h = (h & m) + (h >> 255) * 19
            e = h - f
            h = h + f
            f = z
    return e * f % p, g * h % p, f * g % p, e * h % p


def add(a, b):
    """The sum of two extended points (RFC 8032, section 5.1.4)."""
    ax, ay, az, at = a
    bx, by, bz, bt = b
    c = (ay - ax) * (by - bx) % P
    d = (ay + ax) * (by + bx) % P
    t = at * bt % P * D2 % P
    z = 2 * az * bz % P
    e = d - c
    f = z - t
    g = z + t
    h = d + c
    return e * f % P, g * h % P, f * g % P, e * h % P


def negative(a):
    return -a[0], a[1], a[2], -a[3]


def inverses(values):
    """1/v for each v, for the price of one inversion and three products each (Montgomery 1987)."""
    before = []
    product = 1
    for v in values:
        before.append(product)
        product = product * v % P
    rest = inverse(product)
    for i in range(len(values) - 1, -1, -1):
        v = values[i]
        values[i] = rest * before[i] % P
        rest = rest * v % P
    return values


def write_rows(points, rows, at):
    """Write extended points as rows into `rows` from byte `at` on."""
    for (x, y, _, _), z in zip(points, inverses([q[2] for q in points])):
        x = x * z % P
        y = y * z % P
        for v in (y + x) % P, (y - x) % P, x * y % P * D2 % P:
            rows[at : at + 32] = v.to_bytes(32, "little")
            at += 32


class Shape:
    """How a comb cuts a scalar: bit (j*blocks + b)*columns + c is tooth j of block b in column c."""

    def __init__(self, teeth, blocks, columns, first):
        """`first` is the number of the comb's first row in a program."""
        self.teeth = teeth
        self.blocks = blocks
        self.columns = columns
        self.bits = teeth * blocks * columns
        self.rows = blocks << (teeth - 1)
        self._numbers = bytearray((teeth, blocks, columns, first, 0, 0))

    def fill(self, rows, point):
        """Write the comb's rows for an extended point: all sums of its teeth with signs, the last one's being +."""
        double = bytes([DOUBLE]) * self.columns
        powers = [point]
        for _ in range(self.teeth * self.blocks - 1):
            powers.append(run(double, b"", b"", 0, powers[-1]))
        sums = []
        for block in range(self.blocks):
            teeth = powers[block :: self.blocks]
            total = teeth.pop()
            for q in teeth:
                total = add(total, negative(q))
            start = len(sums)
            sums.append(total)
            for q in teeth:
                twice = add(q, q)
                for i in range(start, len(sums)):
                    sums.append(add(sums[i], twice))
        write_rows(sums, rows, 0)

    def compile(self, program, scalar, stride, slot):
        """Put the additions for the odd scalar 2*`scalar` + 1 - 2**bits into slots slot.. of each column's `stride` steps.

        The first `stride` steps of the program are its highest column; `program` must have room for all columns.
        """
        n = self._numbers
        n[4] = stride
        n[5] = slot
        skip = len(program) - stride * self.columns
        _digits(memoryview(program)[skip:], scalar.to_bytes((self.bits + 7) // 8, "little"), n)


@micropython.viper
def _digits(program: ptr8, scalar: ptr8, shape: ptr8):
    teeth = int(shape[0])
    blocks = int(shape[1])
    columns = int(shape[2])
    stride = int(shape[4])
    half = (1 << (teeth - 1)) - 1
    step = int(shape[5])
    c = columns - 1
    while c >= 0:
        first = int(shape[3])
        b = int(0)
        while b < blocks:
            row = int(0)
            j = int(0)
            at = b * columns + c
            while j < teeth:
                row = row | (((scalar[at >> 3] >> (at & 7)) & 1) << j)
                at += blocks * columns
                j += 1
            minus = (row >> (teeth - 1)) - 1  # -1 when the last tooth is -1: then take the negated row
            program[step + b] = (first + ((row ^ minus) & half)) | (minus & 128)
            first += half + 1
            b += 1
        step += stride
        c -= 1
