"""A power cut at every flash operation of a day of journalling: `micropython -X heapsize=64M tests/bench/soak_registers.py [periods]`.

A day has 8640 periods of 10 s. The run is played once on an emulated NOR flash that writes down each program and erase, then
again operation by operation: for each, a copy of the flash in which just that operation was cut short (a program after
part of its page, an erase after part of its block) is mounted, and the registers are restored from it. Each must be
what was durable before the cut or what was being written; and the meter must be able to go on, and to restore that again.

Last result (a day): 9303 operations (9086 programs, 217 erases), 9303 cuts, 0 that went back, gained, or stopped the meter;
79205 erases a year, 227 years.
"""
import gc
import os
import sys

here = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
sys.path[:0] = [here + "/../../firmware", here + "/../unit"]

from prosumer.metering.registers import EnergyRegisters  # noqa: E402
from test_metering_registers import NAMES  # noqa: E402

BLOCKS = 16


class Flash:
    """NOR flash on `data`, that keeps a log of its operations when it is given one."""

    def __init__(self, data, log=None):
        self.data = data
        self.view = memoryview(data)
        self.log = log

    def readblocks(self, n, buf, off=0):
        at = n * 4096 + off
        buf[:] = self.view[at:at + len(buf)]

    def writeblocks(self, n, buf, off=0):
        at = n * 4096 + off
        if self.log is not None:
            self.log.append((at, bytes(buf)))
        program(self.data, at, buf, len(buf))

    def ioctl(self, op, arg):
        if op == 4:
            return BLOCKS
        if op == 5:
            return 4096
        if op == 6:
            if self.log is not None:
                self.log.append((arg * 4096, None))
            erase(self.data, arg * 4096, 4096)
        return 0


def program(data, at, buf, size):
    for k in range(size):
        data[at + k] &= buf[k]


BLANK = b"\xff" * 4096


def erase(data, at, size):
    data[at:at + size] = BLANK[:size]


def counted(k):
    """mWh after period k."""
    return 700 * k + k * k % 311


def main(periods):
    data = bytearray(b"\xff" * (4096 * BLOCKS))
    os.VfsLfs2.mkfs(Flash(data))
    start = bytes(data)
    log = []
    durable = []  # at which length of the log which period was durable
    os.mount(os.VfsLfs2(Flash(data, log)), "/flash")
    r = EnergyRegisters("/flash/energy", NAMES)
    for k in range(periods):
        r.add("grid.import", counted(k + 1) - counted(k))
        r.journal()
        durable.append(len(log))
    os.umount("/flash")

    data = bytearray(start)
    copy = bytearray(len(data))
    bad = period = 0
    for n in range(len(log)):
        at, content = log[n]
        copy[:] = data
        size = (n * 7919 + 13) % (len(content) if content else 4096)
        if content:
            program(copy, at, content, size)
        else:
            erase(copy, at, size)
        while period < periods and durable[period] <= n:
            period += 1
        try:
            os.mount(os.VfsLfs2(Flash(copy)), "/flash")
            try:
                r = EnergyRegisters("/flash/energy", NAMES)
                value = r.value("grid.import")
                r.add("grid.import", 5)
                r.journal()
                again = EnergyRegisters("/flash/energy", NAMES).value("grid.import")
            finally:
                os.umount("/flash")
            if value not in (counted(period), counted(period + 1)) or again != value + 5:
                bad += 1
                print("operation", n, "period", period, "value", value, "again", again)
        except Exception as e:
            bad += 1
            print("operation", n, "of", len(log), "at", at, "stops the meter:", repr(e))
        if content:
            program(data, at, content, len(content))
        else:
            erase(data, at, 4096)
        if n % 500 == 0:
            gc.collect()
    programs = len([1 for e in log if e[1]])
    print("%d periods: %d operations (%d programs, %d erases), %d cuts, %d that went back, gained, or stopped the meter"
          % (periods, len(log), programs, len(log) - programs, len(log), bad))
    # wear: erases of a year, levelled by LittleFS (it moves a directory's blocks every 100 erases of theirs) over the blocks that
    # are free: 180 of 1 MiB with the firmware on it
    a_year = (len(log) - programs) * 365 * 8640 // periods
    print("erases a year: %d; on 180 blocks of 100,000 erases that is %d years" % (a_year, 180 * 100000 // a_year if a_year else 0))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8640))
