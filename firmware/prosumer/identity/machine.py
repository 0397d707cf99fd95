"""The machine that does the curve's arithmetic: numbers modulo 2**255 - 19 in viper, without one allocation.

A register holds a number in 20 limbs of 13 bits, lowest first, a word each. Every operation leaves limbs of 13 bits (one
may exceed that by 57), so the 20 products of a column stay below 20 * 8248**2 < 2**31 - 2**29 and all sums fit a signed
32-bit word. Nothing branches on a limb. Big integers take twice as long, leave 600 KB of garbage for each verification, and
their time depends on the values.

A program has one byte a step; the point it works on is kept as e, f, g, h with X = ef, Y = gh, Z = fg, T = eh:

    0..119 add that row, negated when step & 128: rows 0..63 come from the first buffer, the others from the second
    127 double · 126 nothing · 125 add X2.. to X.. · 124 make X Y Z T · 123 X to the power 2**252 - 3
    122 load X Y Z T from the first buffer · 121 load X2.. from the second · 120 start from X Y Z T

Each step is microcode, four bytes an operation: what, to, a, b. What: 0 end · 1 add · 2 subtract · 2 + n multiply and
square n - 1 times; written below as "to=a*bn".
"""
import array

P = 2**255 - 19
D = 37095705934669439343138083508754565189542113879843219016388785533085940283555  # -121665/121666
_NAMES = "EFGHXYZTPMDAxyztK0"  # registers; P, M, D hold a row's y+x, y-x, 2dxy; x, y, z, t the second point; K is 2d
_POINT = "X=E*F Y=G*H Z=F*G "
_ADD = _POINT + "T=E*H T=T*D Z=Z+Z A=Y+X H=Y-X A=A*P H=H*M E=A-H H=A+H "
_STEPS = (
    "E=X+0 F=Z+0 G=Z+0 H=Y+0",  # 120
    "",
    "",
    # 123: the usual chain of 254 products: X to the powers 2**5 - 1, 2**10 - 1, 2**20 - 1, ...
    "Y=X*X Z=Y*Y2 Z=Z*X Y=Z*Y T=Y*Y T=T*Z P=T*T5 P=P*T M=P*P10 M=M*P D=M*M20 D=D*M "
    "D=D*D10 D=D*P M=D*D50 M=M*D P=M*M100 P=P*M P=P*P50 P=P*D P=P*P2 X=P*X",
    _POINT + "T=E*H",
    "A=Y-X H=y-x H=A*H A=Y+X E=y+x A=A*E T=T*t T=T*K Z=Z*z Z=Z+Z E=A-H H=A+H F=Z-T G=Z+T",  # 125
    "",
    _POINT + "E=X*Y E=E+E X=X*X Y=Y*Y Z=Z*Z G=Y-X Z=Z+Z F=G-Z H=Y+X H=0-H",  # 127
    _ADD + "F=Z-T G=Z+T",  # a row
    _ADD + "F=Z+T G=Z-T",  # a negated row
)


def _microcode():
    """Where each of the ten begins, in operations; then the operations."""
    starts = []
    code = [0] * 12
    for text in _STEPS:
        starts.append(len(code) // 4)
        for op in text.split():
            n = int(op[5:] or 1) + 2 if op[3] == "*" else 1 if op[3] == "+" else 2
            code += [n] + [_NAMES.index(op[i]) for i in (0, 2, 4)]
        code += [0] * 4
    return bytes(starts + code[10:])


_code = _microcode()
_words = array.array("I", bytes(4 * 20 * (2 + 18)))  # a product of 40 limbs, then the registers
for _i in range(20):
    _words[20 * (2 + 16) + _i] = 2 * D % P >> 13 * _i & 8191


def work(steps, first=b"", second=b""):
    """Execute the steps on the machine's registers, with rows or points from the two buffers."""
    _work(_words, 0, _words, _code, steps, len(steps), first, second)


def point():
    """X ‖ Y ‖ Z ‖ T, 32 bytes each, little-endian, below 2**256."""
    out = bytearray(128)
    _store(_words, out)
    return out


def root_power(x):
    """x to the power (P - 5) / 8 = 2**252 - 3, from which RFC 8032, section 5.1.3, makes the square root."""
    work(b"\x7a\x7b", (x % P).to_bytes(128, "little"))
    return int.from_bytes(point()[:32], "little")


def inverse(x):
    """1/x modulo P, 0 for 0: x to the power 8 * (2**252 - 3) + 3. As long for any x."""
    y = root_power(x)
    y = y * y % P
    y = y * y % P
    y = y * y % P
    return y * x % P * x % P * x % P


@micropython.viper
def _work(r: ptr32, x: int, b: ptr32, code: ptr8, steps: ptr8, count: int, first: ptr8, second: ptr8):
    # r and x come first because the first two locals live in processor registers, which shortens each product by a third.
    base = int(r)
    s = int(0)
    while s < count:
        step = int(steps[s])
        s += 1
        minus = step >> 7
        row = step & 127
        n = int(0)
        to = int(8)
        source = int(first)
        if step < 120 or minus:
            at = int(code[8 + minus]) << 2
            n = 3
            if row >= 64:
                row -= 64
                source = int(second)
            source += row * 96
        else:
            at = int(code[step - 120]) << 2
            if step == 122:
                n = 4
                to = 4
            if step == 121:
                n = 4
                to = 12
                source = int(second)
        while n:  # 32 bytes to 20 limbs; a negated row has its y + x and y - x exchanged
            n -= 1
            b = ptr32(base + 160 + 80 * (to ^ (minus & int(n > 0))))
            to += 1
            i = int(0)
            while i < 20:
                x = 13 * i
                q = ptr8(source + (x >> 3))
                high = q[0] | (q[1] << 8)
                if i < 19:
                    high |= q[2] << 16
                b[i] = (high >> (x & 7)) & 8191
                i += 1
            source += 32
        while code[at]:
            n = int(code[at])
            to = base + 160 + 80 * int(code[at + 1])
            a = ptr32(base + 160 + 80 * int(code[at + 2]))
            b = ptr32(base + 160 + 80 * int(code[at + 3]))
            at += 4
            if n < 3:
                minus = 1 - n  # 0 to add, -1 to subtract: then 2p - b is added
                r = ptr32(to)
                x = 38 * minus
                i = 20
                while i:
                    x += a[0] + ((b[0] ^ minus) - minus)
                    r[0] = x & 8191
                    x >>= 13
                    a = ptr32(int(a) + 4)
                    b = ptr32(int(b) + 4)
                    r = ptr32(int(r) + 4)
                    i -= 1
                r = ptr32(to)
                x = (x << 13) + r[19] + (512 & minus)
                r[19] = x & 255
                r[0] = r[0] + 19 * (x >> 8)
            while n > 2:
                n -= 1
                r = ptr32(base)
                i = 20
                while i:  # written out, so that each index is part of its instruction
                    x = a[0]
                    a = ptr32(int(a) + 4)
                    r[0] = b[0] * x + r[0]
                    r[1] = b[1] * x + r[1]
                    r[2] = b[2] * x + r[2]
                    r[3] = b[3] * x + r[3]
                    r[4] = b[4] * x + r[4]
                    r[5] = b[5] * x + r[5]
                    r[6] = b[6] * x + r[6]
                    r[7] = b[7] * x + r[7]
                    r[8] = b[8] * x + r[8]
                    r[9] = b[9] * x + r[9]
                    r[10] = b[10] * x + r[10]
                    r[11] = b[11] * x + r[11]
                    r[12] = b[12] * x + r[12]
                    r[13] = b[13] * x + r[13]
                    r[14] = b[14] * x + r[14]
                    r[15] = b[15] * x + r[15]
                    r[16] = b[16] * x + r[16]
                    r[17] = b[17] * x + r[17]
                    r[18] = b[18] * x + r[18]
                    r[19] = b[19] * x + r[19]
                    r = ptr32(int(r) + 4)
                    r[19] = 0
                    i -= 1
                r = ptr32(base)
                b = ptr32(to)
                a = b
                i = 20
                x = 0
                high = 0
                while i:  # carry in both halves at once; 2**260 is 32 * 19; the lower half is left clear for the next
                    high += r[20]
                    x += 608 * (high & 8191) + r[0]
                    high >>= 13
                    r[0] = 0
                    b[0] = x & 8191
                    x >>= 13
                    r = ptr32(int(r) + 4)
                    b = ptr32(int(b) + 4)
                    i -= 1
                b = a
                x = ((x << 5) | (b[19] >> 8)) * 19  # below 2**28, so that its carry ends in the fourth limb
                b[19] = b[19] & 255
                x += b[0]
                b[0] = x & 8191
                x = (x >> 13) + b[1]
                b[1] = x & 8191
                x = (x >> 13) + b[2]
                b[2] = x & 8191
                b[3] = b[3] + (x >> 13)


@micropython.viper
def _store(words: ptr32, out: ptr8):
    b = ptr32(int(words) + 160 + 80 * 4)
    n = int(0)
    while n < 4:
        x = int(0)
        bits = int(0)
        i = int(0)
        while i < 20:
            x |= b[i] << bits
            bits += 13
            while bits > 7:
                out[0] = x
                out = ptr8(int(out) + 1)
                x >>= 8
                bits -= 8
            i += 1
        b = ptr32(int(b) + 80)
        n += 1
