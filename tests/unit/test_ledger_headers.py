"""The header ring on a real LittleFS, with power cut in the middle of every single flash operation."""
import os

import vfs
from flash import Flash
from prosumer.errors import Reject
from prosumer.ledger.headers import HeaderRing

SIZE = 100
CAPACITY = 32  # 16 segments of 2
PATH = "/lfs/headers"


def header(i, salt=0):
    return bytes([i & 255, i >> 8, salt]) * 33 + b"h"


def mounted(flash, work):
    """work() with the flash mounted; whatever happens it is unmounted again."""
    vfs.mount(vfs.VfsLfs2(flash, readsize=32, progsize=32, lookahead=32), "/lfs")
    try:
        return work()
    finally:
        vfs.umount("/lfs")


def formatted():
    flash = Flash()
    vfs.VfsLfs2.mkfs(flash, readsize=32, progsize=32, lookahead=32)
    return flash


def ring(capacity=CAPACITY):
    return HeaderRing(PATH, SIZE, capacity)


def code(f, *args):
    try:
        f(*args)
    except Reject as e:
        return e.code
    return None


def content(r):
    """All that is in the ring, checked to be what was put in."""
    found = list(r.iterate(0, 1 << 30))
    assert [i for i, _ in found] == list(range(r.first, r.next)), (r.first, r.next, len(found))
    for i, h in found:
        assert h[:3] * 33 + b"h" == h and h == header(i, h[2]), i
    return r.first, r.next


def test_append_get_wrap_and_reopen():
    def work():
        r = ring()
        assert len(r) == 0 and code(r.get, 0) == "header-missing"
        for i in range(100):
            r.append(i, header(i))
            assert min(i + 1, CAPACITY) <= len(r) <= CAPACITY + 2
            if i % 7 == 0:
                r = ring()
        assert content(r) == (68, 100)
        assert r.get(99) == header(99) and r.get(68) == header(68)
        assert code(r.get, 67) == code(r.get, 100) == "header-missing"
        assert len(os.listdir(PATH)) == 16

    mounted(formatted(), work)


def test_wrong_appends():
    def work():
        r = ring()
        r.restart(7)
        r.extend(7, [header(i) for i in range(7, 20)])
        assert code(r.append, 21, header(21)) == "header-gap"
        assert code(r.append, 19, header(20)) == "header-conflict"
        assert code(r.append, 20, b"short") == "header-size"
        assert code(r.append, 6, header(6)) == "header-missing"
        r.append(19, header(19))
        assert content(r) == (7, 20) and content(ring()) == (7, 20)
        r.extend(15, [header(i) for i in range(15, 90)])
        assert content(r) == (58, 90) and content(ring()) == (58, 90)
        r.restart(1000)
        assert len(r) == 0
        r.append(1000, header(1000))
        assert content(ring()) == (1000, 1001)

    mounted(formatted(), work)


def flip(name, at, bit=4):
    with open(name, "rb") as f:
        data = bytearray(f.read())
    data[at] ^= bit
    with open(name, "wb") as f:
        f.write(data)


def test_flipped_bits_are_found_and_repaired():
    def work():
        r = ring()
        r.extend(0, [header(i) for i in range(41)])
        for at in (0, SIZE + 1, SIZE + 7):  # header, index, CRC
            flip(PATH + "/0000001e", at)
            r = ring()
            assert code(r.get, 30) == "header-corrupt" and r.get(31) == header(31)
            r.repair(30, header(30))
            assert content(ring()) == (8, 41)
        assert code(r.repair, 41, header(41)) == "header-missing"
        flip(PATH + "/00000028", 5)  # the tail: dropped, and put in again by the one who knows it
        r = ring()
        assert content(r) == (8, 40)
        r.append(40, header(40))
        assert content(ring()) == (8, 41)

    mounted(formatted(), work)


def test_torn_tail_is_cut_off():
    def work():
        r = ring()
        r.extend(0, [header(i) for i in range(41)])
        with open(PATH + "/00000028", "ab") as f:
            f.write(b"torn")
        r = ring()
        assert content(r) == (8, 41) and os.stat(PATH + "/00000028")[6] == SIZE + 8
        r.append(41, header(41))
        assert content(ring()) == (10, 42)

    mounted(formatted(), work)


def test_foreign_and_broken_files_are_removed():
    def work():
        r = ring()
        r.extend(0, [header(i) for i in range(20)])
        open(PATH + "/new", "wb").close()
        open(PATH + "/00000014", "wb").close()
        os.remove(PATH + "/0000000a")
        r = ring()
        assert content(r) == (12, 20), "the run before the gap is of no use"
        assert sorted(os.listdir(PATH)) == ["%08x" % i for i in (12, 14, 16, 18)]

    mounted(formatted(), work)


def test_full_flash_loses_nothing_and_says_so():
    def work():
        r = ring(2000)
        i = 0
        try:
            while i < 2000:
                r.append(i, header(i))
                i += 1
        except OSError:
            pass
        assert 100 < i < 300, i
        assert content(r)[1] == i and content(ring(2000))[1] == i

    mounted(formatted(), work)


def cut_everywhere(before, work, allowed):
    """Run work(ring) on the flash that before(ring) left, with power failing in each operation in turn.

    After each cut the ring opens, holds one of the allowed (first, next), and can go on. Returns the number of cuts.
    """
    flash = formatted()
    mounted(flash, lambda: before(ring()))
    cut = 0
    while True:
        cut += 1
        hurt = Flash(data=flash.data, cut=cut)
        try:
            mounted(hurt, lambda: work(ring()))
        except OSError:
            pass
        else:
            assert hurt.operations < cut, "an error of the flash went unnoticed"
            return cut - 1

        def after():
            r = ring()
            held = content(r)
            assert held in allowed or (r.next == r.first and (0, 0) in allowed), (cut, held)
            if len(r):
                r.append(r.next, header(r.next, 9))
                assert content(ring())[1] == held[1] + 1

        mounted(Flash(data=hurt.data), after)


def fill(n):
    return lambda r: r.extend(0, [header(i) for i in range(n)])


def test_power_cuts_while_appending():
    for n in (0, 1, 2, 33):
        assert cut_everywhere(fill(n), lambda r: r.append(n, header(n)), [(0, n), (0, n + 1)]) >= 2


def test_power_cuts_while_the_ring_turns():
    def three(r):
        for i in range(33, 36):
            r.append(i, header(i))

    allowed = [(0, 33), (0, 34), (2, 34), (2, 35), (2, 36), (4, 36)]
    assert cut_everywhere(fill(33), three, allowed) > 10


def test_power_cuts_while_extending():
    allowed = [(0, n) for n in range(10, 21)]
    assert cut_everywhere(fill(9), lambda r: r.extend(9, [header(i) for i in range(9, 20)]), [(0, 9)] + allowed) > 10


def test_power_cuts_while_restarting():
    def work(r):
        r.restart(500)
        r.append(500, header(500))

    allowed = [(n, 9) for n in range(0, 9, 2)] + [(0, 0), (500, 501)]
    assert cut_everywhere(fill(9), work, allowed) > 5


def test_power_cuts_while_repairing():
    assert cut_everywhere(fill(10), lambda r: r.repair(4, header(4, 7)), [(0, 10)]) > 3


def test_power_cuts_while_recovering_a_torn_tail():
    def before(r):
        fill(10)(r)
        with open(PATH + "/00000008", "ab") as f:
            f.write(b"torn")

    assert cut_everywhere(before, lambda r: None, [(0, 10)]) > 3


def test_wear():
    """A week of headers into a warm ring: about one erase a header, whichever way the ring stands."""
    flash = formatted()

    def work():
        r = ring()
        r.extend(0, [header(i) for i in range(40)])
        before = flash.erases
        for i in range(40, 140):
            r.append(i, header(i))
        return flash.erases - before

    assert mounted(flash, work) <= 300  # of 512-byte blocks, metadata included
