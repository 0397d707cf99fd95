"""The signed comb: a point with precomputed rows is multiplied by a few additions and fewer doublings.

After Lim & Lee (1994) and, for the signs, Hamburg (2012), "Fast and compact elliptic-curve cryptography", section 3.3: an
odd scalar is written in digits +1 and -1 only; the teeth of a comb take digits that lie far apart, whose sum is one row.
No digit is zero, so how many additions are made depends on no scalar.
"""
from micropython import const

from .curve import DOUBLE, NOTHING, add, negative, run

_STRIDE = const(5)  # steps for each column: a doubling, two rows of the base point, two of a key


class Shape:
    """Bit (j*blocks + b)*columns + c of the scalar is tooth j of block b in column c."""

    def __init__(self, teeth, blocks, columns, first):
        """`first` is the number of the first of this shape's blocks * 2**(teeth - 1) rows in a program."""
        self._numbers = bytes((teeth, blocks, columns, first))

    def sums(self, point):
        """The points of the rows: all sums of the teeth with signs, the last tooth's being +, block by block."""
        teeth, blocks, columns, _ = self._numbers
        double = bytes((DOUBLE,)) * columns
        powers = [point]
        for _ in range(teeth * blocks - 1):
            powers.append(run(double, b"", b"", powers[-1]))
        sums = []
        for block in range(blocks):
            total = powers[-blocks + block]
            twice = []
            for j in range(teeth - 1):
                q = powers[j * blocks + block]
                total = add(total, negative(q))
                twice.append(add(q, q))
            start = len(sums)
            sums.append(total)
            for q in twice:
                for i in range(start, len(sums)):
                    sums.append(add(sums[i], q))
        return sums

    def program(self):
        """A doubling for each column from the highest down, with slots for additions; the first doubling is left out."""
        steps = bytearray(b"\x7f\x7e\x7e\x7e\x7e" * self._numbers[2])
        steps[0] = NOTHING
        return steps

    def compile(self, program, scalar, slot):
        """Put the additions for the odd number 2*`scalar` + 1 - 2**bits into `slot` and those after it."""
        numbers = self._numbers
        bits = numbers[0] * numbers[1] * numbers[2]
        steps = memoryview(program)[len(program) - _STRIDE * numbers[2] + slot :]
        _digits(steps, scalar.to_bytes((bits + 7) // 8, "little"), numbers)


@micropython.viper
def _digits(program: ptr8, scalar: ptr8, shape: ptr8):
    blocks = int(shape[1])
    columns = int(shape[2])
    half = (1 << (int(shape[0]) - 1)) - 1
    step = int(0)
    c = columns - 1
    while c >= 0:
        first = int(shape[3])
        b = int(0)
        while b < blocks:
            at = b * columns + c
            row = int(0)
            j = int(0)
            while j < int(shape[0]):
                row = row | (((scalar[at >> 3] >> (at & 7)) & 1) << j)
                at += blocks * columns
                j += 1
            minus = (row >> (j - 1)) - 1  # -1 when the last tooth is -1: then the negated row is added
            program[step + b] = (first + ((row ^ minus) & half)) | (minus & 128)
            first += half + 1
            b += 1
        step += 5
        c -= 1
