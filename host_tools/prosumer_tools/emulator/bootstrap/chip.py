"""The emulated chip, seen from inside: flash, `machine`, and the boot order. Runs on the Unix port before the image does.

Never part of an image: what it does is done by ROM and C code on a board. It runs in place from a ROMFS of its own (start.py), so
that the device's heap holds none of it. `CHIP_FLASH` names the flash file, `CHIP_ROM` that of the ROMFS partition if the build has one,
`CHIP_ID` is the unique id in hex, `CHIP_RAW` says that a soft reset came from the raw REPL (boot.py runs, main.py does not),
`CHIP_CUT=N` pulls the power in the middle of the N-th flash operation.
"""
import gc
import os
import sys
import time

import micropython
import uctypes
import vfs
from micropython import const

_BLOCK = const(4096)
_BLANK = b"\xff" * 256


class Flash:
    """NOR flash in a file: 4096-byte blocks, erased to ff; programming only clears bits.

    A cut leaves the first half of a page written, or of a block erased.
    """

    def __init__(self, path, bus, cut):
        self._file = open(path, "r+b")
        self._blocks = self._file.seek(0, 2) // _BLOCK
        self._bus = bus
        self._cut = cut

    def readblocks(self, block, buf, offset=0):
        self._file.seek(block * _BLOCK + offset)
        self._file.readinto(buf)

    def writeblocks(self, block, buf, offset=0):
        if self._cut_now():
            buf = memoryview(buf)[: len(buf) // 2]
        at, size = block * _BLOCK + offset, len(buf)
        self._file.seek(at)
        before = self._file.read(size)
        if before != _BLANK[:size]:
            buf = (int.from_bytes(before, "big") & int.from_bytes(buf, "big")).to_bytes(size, "big")
        self._file.seek(at)
        self._file.write(buf)
        self._die_if_cut()

    def ioctl(self, op, arg):
        if op == 4:
            return self._blocks
        if op == 5:
            return _BLOCK
        if op == 6:
            pages = 8 if self._cut_now() else 16
            self._file.seek(arg * _BLOCK)
            for _ in range(pages):
                self._file.write(_BLANK)
            self._die_if_cut()
        return 0

    def _cut_now(self):
        if self._cut:
            self._cut -= 1
            if not self._cut:
                self._cut = -1
        return self._cut < 0

    def _die_if_cut(self):
        if self._cut < 0:
            self._bus.write(b"X")
            while True:  # no code runs after the power is gone
                time.sleep(1)


class Rom:
    """What `import vfs` gives on a build with a memory-mapped ROMFS partition: `rom_ioctl` is what `mpremote romfs` asks and writes by."""

    mount, umount, VfsFat, VfsLfs2, VfsPosix, VfsRom = vfs.mount, vfs.umount, vfs.VfsFat, vfs.VfsLfs2, vfs.VfsPosix, vfs.VfsRom

    def __init__(self, file, memory):
        self._file = file
        self._memory = memory

    def rom_ioctl(self, op, segment=0, offset=0, data=None):
        if op == 1:    # how many segments
            return 1
        if op == 2:    # the segment's memory
            return self._memory
        if op == 6:    # its block size
            return _BLOCK
        if op in (3, 4):
            self._file.seek(offset)
            if op == 4:
                self._file.write(data)
            else:  # erase `data` bytes
                for _ in range(data // len(_BLANK)):
                    self._file.write(_BLANK)
            return 16  # the least that can be written at once
        return 0


class WDT:
    """The chip's watchdog; the supervisor plays it: it resets a device that stays busy longer than its limit."""

    def __init__(self, id=0, timeout=5000):
        self.timeout = timeout

    def feed(self):
        pass


class Machine:
    """What `import machine` gives on the emulated chip."""

    WDT = WDT
    PWRON_RESET = 1

    def __init__(self, bus, unique_id):
        self.bus = bus
        self._unique_id = unique_id

    def unique_id(self):
        return self._unique_id

    def reset(self):
        self.bus.write(b"R")
        while True:
            time.sleep(1)

    def soft_reset(self):
        sys.exit(0)

    def reset_cause(self):
        return self.PWRON_RESET

    def idle(self):
        pass


def run(names, rom):
    """Mount the flash at `/`, run boot.py and main.py in the namespace `names`, and leave the REPL to the port.

    `rom`: (address, size) of the ROMFS partition, or None. It is mounted at `/rom`, and both it and its `lib` are searched for modules
    after the flash, as MicroPython does by itself on a board.
    """
    bus = open(3, "r+b")
    sys.modules["machine"] = Machine(bus, bytes.fromhex(os.getenv("CHIP_ID") or "000000000000"))
    flash = Flash(os.getenv("CHIP_FLASH"), bus, int(os.getenv("CHIP_CUT") or 0))
    if rom:
        memory = memoryview(uctypes.bytearray_at(*rom))
        sys.modules["vfs"] = Rom(open(os.getenv("CHIP_ROM"), "r+b"), memory)
    vfs.umount("/chip")
    vfs.umount("/")
    vfs.mount(vfs.VfsLfs2(flash), "/")
    os.chdir("/")
    sys.path[:] = ["", "/lib"]
    if rom:
        try:
            vfs.mount(vfs.VfsRom(memory), "/rom")
            sys.path.extend(("/rom", "/rom/lib"))
        except OSError:
            pass  # blank, or half written when the power went: the flash and the REPL are there
    raw = os.getenv("CHIP_RAW")
    del sys.modules["chip"]
    for name in ("run", "vfs", "uctypes"):
        names.pop(name)
    gc.collect()
    try:
        for path in ("boot.py", "main.py"):
            if path == "main.py" and raw or not _execute(path, names):
                break
        micropython.kbd_intr(-1)  # from here on Ctrl-C is a byte for the REPL
    except KeyboardInterrupt:  # at the very end of a program, or typed once more than was needed
        micropython.kbd_intr(-1)
    _drop_sockets(6 if rom else 5)  # 3 is the bus, 4 the flash, 5 its ROMFS
    bus.write(b"Q")


def _drop_sockets(first):
    """What the ended program had open is garbage now; a chip closes its sockets then, the Unix port has no finaliser for them."""
    for fd in range(first, 64):
        try:
            open(fd, "rb").close()
        except OSError:
            pass


def _execute(path, names):
    try:
        sys.modules["machine"].bus.write(b"U")
        with open(path) as file:
            code = compile(file.read(), path, "exec")
        exec(code, names)
    except SystemExit:
        raise
    except BaseException as error:
        if isinstance(error, OSError) and not _exists(path):
            return True
        try:
            bytearray(64)
        except MemoryError:
            # This port lets a Ctrl-C into a garbage collection, which a chip does not: the heap stays locked and half marked.
            sys.modules["machine"].bus.write(b"C")
            while True:
                time.sleep(1)
        sys.print_exception(error)
        return False
    return True


def _exists(path):
    try:
        os.stat(path)
    except OSError:
        return False
    return True
