"""Energy registers on a real LittleFS over a RAM flash: never back, never more than was counted, whatever rots or tears."""
import os

from prosumer.errors import Halt, Reject
from prosumer.metering.registers import EnergyRegisters

NAMES = ("grid.import", "grid.export", "pv.import")


class RamFlash:
    """NOR flash of 4 KiB blocks. Power goes away at the `cut_at`-th program or erase, which stays half done; nothing works
    after that (I/O error), so that an open file of the dead machine cannot write any more."""

    def __init__(self, data=None, cut_at=0, blocks=48):
        self.data = bytearray(b"\xff" * (4096 * blocks)) if data is None else bytearray(data)
        self.view = memoryview(self.data)
        self.cut_at = cut_at
        self.operations = self.erases = 0
        self.dead = False

    def _done(self, size):
        """How much of an operation on `size` bytes is carried out."""
        if self.dead:
            return 0
        self.operations += 1
        if self.operations == self.cut_at:
            self.dead = True
            return self.cut_at * 7919 % size
        return size

    def readblocks(self, n, buf, off=0):
        at = n * 4096 + off
        for k in range(len(buf)):
            buf[k] = self.data[at + k]

    def writeblocks(self, n, buf, off=0):
        at = n * 4096 + off
        for k in range(self._done(len(buf))):
            self.data[at + k] &= buf[k]
        return -5 if self.dead else 0

    def ioctl(self, op, arg):
        if op == 4:
            return len(self.data) // 4096
        if op == 5:
            return 4096
        if op == 6:
            at = arg * 4096
            for k in range(self._done(4096)):
                self.data[at + k] = 255
            self.erases += 1
            return -5 if self.dead else 0
        return 0


def mounted(flash, fresh=False):
    if fresh:
        os.VfsLfs2.mkfs(flash)
    os.mount(os.VfsLfs2(flash), "/flash")


def fresh():
    flash = RamFlash()
    mounted(flash, True)
    return flash


def reject(code, f, *args):
    try:
        f(*args)
    except Reject as e:
        assert e.code == code, e.code
        return
    assert False, code


def test_what_was_journalled_is_there_again():
    fresh()
    try:
        r = EnergyRegisters("/flash/energy", NAMES)
        assert r.value("pv.import") == 0 and r.sequence == 2
        for k in range(5):
            r.add("grid.import", 10 ** 12)
            r.add("pv.import", k)
            assert r.durable("grid.import") == k * 10 ** 12
            assert r.journal() and not r.journal()
        r.add("grid.export", 99)  # never made durable
        r = EnergyRegisters("/flash/energy", NAMES)
        assert [r.value(n) for n in NAMES] == [5 * 10 ** 12, 0, 10] and r.events == [] and r.sequence == 7
    finally:
        os.umount("/flash")


def test_registers_never_go_back_and_hold_a_century():
    fresh()
    try:
        r = EnergyRegisters("/flash/energy", NAMES)
        century = 3 * 63 * 230 * 24 * 36525 * 1000  # mWh of 3 x 63 A at 230 V
        r.add("grid.import", century)
        assert r.value("grid.import") == 38105802000000 and r.journal()
        reject("register-would-go-back", r.add, "grid.import", -1)
        reject("register-would-go-back", r.add, "grid.import", 1.5)
        reject("no-such-register", r.add, "roof", 1)
        reject("register-full", r.add, "grid.import", 1 << 48)
        reject("register-names", EnergyRegisters, "/flash/other", ["x\ny"])
        assert EnergyRegisters("/flash/energy", NAMES).value("grid.import") == century
    finally:
        os.umount("/flash")


def test_new_registers_go_to_the_end_and_old_ones_stay():
    fresh()
    try:
        r = EnergyRegisters("/flash/energy", NAMES)
        r.add("pv.import", 77)
        r.journal()
        r = EnergyRegisters("/flash/energy", ("ev.import", "pv.import"))
        assert r.value("pv.import") == 77 and r.value("ev.import") == 0
        r.add("ev.import", 5)
        r.journal()
        r = EnergyRegisters("/flash/energy", NAMES)
        assert r.value("pv.import") == 77 and r.value("ev.import") == 5
    finally:
        os.umount("/flash")


def flip(path, bit):
    with open(path, "rb") as f:
        data = bytearray(f.read())
    data[bit >> 3 & 0xFF if bit >> 3 < len(data) else -1] ^= 1 << (bit & 7)
    with open(path, "wb") as f:
        f.write(data)
    return len(data)


def test_any_flipped_bit_of_the_newer_copy_is_noticed_and_the_older_used():
    fresh()
    try:
        r = EnergyRegisters("/flash/energy", NAMES)
        r.add("grid.import", 1000)
        r.journal()
        r.add("grid.import", 234)
        r.journal()
        with open("/flash/energy/journal.0", "rb") as f:
            good = f.read()
        for bit in range(8 * len(good)):
            flip("/flash/energy/journal.0", bit)
            r = EnergyRegisters("/flash/energy", NAMES)
            assert r.value("grid.import") == 1000 and r.events == ["journal-copy-corrupt"], bit
            with open("/flash/energy/journal.0", "wb") as f:
                f.write(good)
        for size in range(len(good)):
            with open("/flash/energy/journal.0", "wb") as f:
                f.write(good[:size])
            assert EnergyRegisters("/flash/energy", NAMES).value("grid.import") == 1000
    finally:
        os.umount("/flash")


def test_going_on_after_a_corrupt_copy_replaces_it():
    fresh()
    try:
        r = EnergyRegisters("/flash/energy", NAMES)
        for k in range(2):
            r.add("grid.import", 1)
            r.journal()
        flip("/flash/energy/journal.0", 100)
        r = EnergyRegisters("/flash/energy", NAMES)
        r.add("grid.import", 50)
        r.journal()
        r = EnergyRegisters("/flash/energy", NAMES)
        assert r.value("grid.import") == 51 and r.events == [] and r.sequence == 4
    finally:
        os.umount("/flash")


def test_both_copies_rotten_halts_instead_of_starting_at_zero():
    fresh()
    try:
        r = EnergyRegisters("/flash/energy", NAMES)
        for k in range(2):
            r.add("grid.import", 1)
            r.journal()
        flip("/flash/energy/journal.0", 100)
        flip("/flash/energy/journal.1", 100)
        try:
            EnergyRegisters("/flash/energy", NAMES)
        except Halt:
            return
        assert False
    finally:
        os.umount("/flash")


def test_names_have_two_copies():
    fresh()
    try:
        r = EnergyRegisters("/flash/energy", NAMES)
        r.add("grid.export", 8)
        r.journal()
        flip("/flash/energy/names.a", 3)
        r = EnergyRegisters("/flash/energy", tuple(reversed(NAMES)))
        assert r.value("grid.export") == 8 and r.events == ["names-copy-corrupt"]
    finally:
        os.umount("/flash")


def test_power_cut_at_every_flash_operation_of_a_run():
    """60 journal periods, cut at each program and erase: what comes back is what was durable, or what was being written."""
    start = bytes(fresh().data)
    os.umount("/flash")
    at = cuts = 0
    while True:
        at += 1
        flash = RamFlash(start, at)
        durable = counted = 0
        try:
            mounted(flash)
            r = EnergyRegisters("/flash/energy", NAMES)
            for k in range(60):
                r.add("grid.import", 1000 + k)
                counted = r.value("grid.import")
                r.journal()
                durable = r.durable("grid.import")
        except OSError:
            cuts += 1
        os.umount("/flash")
        if not flash.dead:
            break
        mounted(RamFlash(flash.data))
        r = EnergyRegisters("/flash/energy", NAMES)
        value = r.value("grid.import")
        assert durable <= value <= counted and value in (durable, counted), (at, value, durable, counted)
        r.add("grid.import", 1)
        r.journal()
        assert EnergyRegisters("/flash/energy", NAMES).value("grid.import") == value + 1
        os.umount("/flash")
    assert cuts == at - 1 and cuts > 60, (cuts, at)
