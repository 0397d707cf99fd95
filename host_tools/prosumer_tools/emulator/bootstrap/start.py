"""What a chip's ROM loader does: map the ROMFS partitions, so that bytecode in them runs in place, then become MicroPython.

    CHIP_ROM=PARTITION python start.py HEAP CHIP.romfs

PARTITION holds the firmware (no CHIP_ROM: a build without ROMFS). CHIP.romfs holds the emulated chip itself (chip.mpy): its code
costs the device's heap nothing, as C code costs a board none. Files are mapped for reading and shared: every device of a street has
the same pages of the chip, and what is written through a file is seen here.
"""
import ctypes
import mmap
import os
import sys

from micropython_unix import main

_BOOT = """
import sys,vfs,uctypes
vfs.mount(vfs.VfsRom(memoryview(uctypes.bytearray_at(%d,%d))),"/chip")
sys.path[:]=["/chip"]
from chip import run
run(globals(),%r)
"""


def mapped(path):
    """(address, size) of the file's bytes."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ssize_t)
    fd = os.open(path, os.O_RDONLY)
    size = os.fstat(fd).st_size
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    os.close(fd)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), f"cannot map {path}")
    return address, size


if __name__ == "__main__":
    heap, chip = sys.argv[1:]
    partition = os.environ.get("CHIP_ROM")
    code = _BOOT % (*mapped(chip), mapped(partition) if partition else None)
    sys.argv = ["micropython", "-X", f"heapsize={heap}", "-i", "-c", code]
    sys.exit(main())
