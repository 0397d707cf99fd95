"""A scalar cut into digits +1 and -1, so that a point with precomputed rows is multiplied by a few additions.

In a *comb* (Lim & Lee 1994; signed: Hamburg 2012, "Fast and compact elliptic-curve cryptography", section 3.3) the teeth
of one addition lie far apart, so a known point needs few doublings; in a *window* they lie side by side, so few doublings
make the rows of a point that is seen once. Each digit is non-zero: how many additions are made depends on no scalar.
"""
from .curve import DOUBLE, add, negative, run

STRIDE = 5  # steps of a program for each bit: a doubling, two of the base point, two of other points


class Shape:
    """Bit j*tooth + b*columns + c*column of the scalar is tooth j of block b in column c."""

    def __init__(self, teeth, blocks, columns, first, window=False):
        """`first` is the number of the first of this shape's blocks * 2**(teeth - 1) rows in a program."""
        self.bits = teeth * blocks * columns
        self._tooth = 1 if window else blocks * columns
        self._teeth = teeth
        self._blocks = blocks
        self._columns = columns
        self._column = teeth if window else 1
        self._first = first

    def sums(self, point):
        """The points of the rows: all sums of the teeth with signs, the last tooth's being +, block by block."""
        blocks = self._blocks
        double = bytes((DOUBLE,)) * (self._tooth // blocks)
        powers = [point]
        for _ in range(self._teeth * blocks - 1):
            powers.append(run(double, b"", b"", powers[-1]))
        sums = []
        for block in range(blocks):
            teeth = powers[block::blocks]
            total = teeth.pop()
            if self._tooth == 1:  # a window: 8 - 4 - 2 - 1 = 1, and twice a tooth is the next
                total = point
                twice = powers[1:]
            else:
                for q in teeth:
                    total = add(total, negative(q))
                twice = [add(q, q) for q in teeth]
            start = len(sums)
            sums.append(total)
            for q in twice:
                for i in range(start, len(sums)):
                    sums.append(add(sums[i], q))
        return sums

    def program(self):
        """Doublings for every bit from the highest column's down, with slots for additions; the first is left out."""
        steps = bytearray(b"\x7f\x7e\x7e\x7e\x7e" * ((self._columns - 1) * self._column + 1))
        steps[0] = 126
        return steps

    def compile(self, program, scalar, slot):
        """Put the additions for the odd number 2*`scalar` + 1 - 2**bits into `slot` and those after it."""
        column = STRIDE * self._column
        numbers = bytearray((self._teeth, self._blocks, self._columns, self._first, column, self._tooth, self._column))
        steps = memoryview(program)[len(program) - column * (self._columns - 1) - STRIDE + slot :]
        _digits(steps, scalar.to_bytes((self.bits + 7) // 8, "little"), numbers)


@micropython.viper
def _digits(program: ptr8, scalar: ptr8, shape: ptr8):
    blocks = int(shape[1])
    half = (1 << (int(shape[0]) - 1)) - 1
    step = int(0)
    c = int(shape[2]) - 1
    while c >= 0:
        first = int(shape[3])
        b = int(0)
        while b < blocks:
            at = b * int(shape[2]) + c * int(shape[6])
            row = int(0)
            j = int(0)
            while j < int(shape[0]):
                row = row | (((scalar[at >> 3] >> (at & 7)) & 1) << j)
                at += int(shape[5])
                j += 1
            minus = (row >> (j - 1)) - 1  # -1 when the last tooth is -1: then the negated row is added
            program[step + b] = (first + ((row ^ minus) & half)) | (minus & 128)
            first += half + 1
            b += 1
        step += int(shape[4])
        c -= 1
