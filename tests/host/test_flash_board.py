"""`prosumer flash`: real esptool against a ROM bootloader that keeps its flash in memory; what was flashed boots in the emulator."""
import random
import re
import socket
import struct
import threading
import time

import pytest
from emulator_kit import Street, build, run
from esp32_mock_bootloader import server
from prosumer_tools import board, cli, image
from prosumer_tools.commands.flash import files_of

MIB = 1 << 20
HELLO = b"import os\nprint('flashed', os.statvfs('/')[2], 'blocks')\n"


@pytest.fixture
def chip():
    """(URL, flash) of an ESP32-S3 with 4 MiB of erased flash, waiting in its ROM loader."""
    memory = server.get_flash_image()
    memory.reset()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threading.Thread(target=server.run_server, args=(port, 86400, "esp32s3"), daemon=True).start()
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.02)
    return f"socket://127.0.0.1:{port}", memory


def table(*entries):
    """A partition table; entries are (type, offset, size, label)."""
    out = b"".join(struct.pack("<2sBBII16sI", b"\xaa\x50", kind, 0, offset, size, label, 0) for kind, offset, size, label in entries)
    return out.ljust(board.TABLE_BYTES, b"\xff")


APP = (0, 0x10000, 0x1F0000, b"factory")
NEW_TABLE = table((1, 0x9000, 0x6000, b"nvs"), (1, 0xF000, 0x1000, b"phy_init"), APP)


def micropython(partitions=NEW_TABLE):
    """An image that starts as one for the S3 does; the code in it is noise."""
    head = bytes([0xE9, 0, 2, 0x20]) + bytes(8) + struct.pack("<H", 9) + bytes(10)
    return head.ljust(board.TABLE_AT, b"\xff") + partitions.ljust(0x8000, b"\xff") + random.Random(1).randbytes(64 << 10)


def flash(*arguments):
    return cli.main(["flash", "--board", "ESP32_S3_METER", *map(str, arguments)])


def test_a_bare_chip_gets_both_and_the_file_system_boots(chip, tmp_path, capsys):
    url, memory = chip
    (tmp_path / "mp.bin").write_bytes(micropython())
    small = build(tmp_path, HELLO, rom=False)
    assert flash("--port", url, "--micropython", tmp_path / "mp.bin", "--image", small.path) == 0
    assert "file system at 0x200000, 2048 KiB, written and verified, MicroPython too" in capsys.readouterr().out
    assert memory.read(0, 0x20000) == micropython()

    async def scenario():
        async with Street(tmp_path / "street", broker=None) as street:
            flashed = tmp_path / "street" / "devices" / "h0" / "flash.bin"
            flashed.parent.mkdir(parents=True)
            flashed.write_bytes(memory.read(0x200000, 2 * MIB))
            street.add("h0", bytes(6))
            street.boot()
            await street.until(lambda: street.devices["h0"].state == "repl")
            return street.log_of("h0")

    assert "flashed 512 blocks" in run(scenario)


def test_the_firmware_itself_is_built_for_the_chip_and_only_the_file_system_is_replaced(chip, capsys):
    url, memory = chip
    before = micropython(table(APP, (1, 0x200000, 0x180000, b"vfs")))
    memory.data[:len(before)] = before
    assert flash("--port", url) == 0
    assert "file system at 0x200000, 1536 KiB" in capsys.readouterr().out
    assert memory.read(0, len(before)) == before
    fs = image.filesystem(memory.read(0x200000, 0x180000))
    with fs.open("prosumer/metering/kernel.mpy", "rb") as file:
        xtensawin = 10 << 2
        assert file.read(3)[2] & 0x3C == xtensawin
    assert flash("--port", url) == 2
    assert "--replace does away with it" in capsys.readouterr().err
    assert flash("--port", url, "--replace") == 0


def test_where_the_chip_has_a_rom_partition_the_bytecode_goes_there(chip, tmp_path, capsys):
    url, memory = chip
    romfs = (1, 0x1E0000, 0x20000, b"romfs")
    (tmp_path / "mp.bin").write_bytes(micropython(table((0, 0x10000, 0x1D0000, b"factory"), romfs)))
    assert flash("--port", url, "--micropython", tmp_path / "mp.bin") == 0
    assert "file system at 0x200000, 2048 KiB, ROMFS at 0x1e0000, 128 KiB, written and verified" in capsys.readouterr().out
    code = image.romfs_files(memory.read(0x1E0000, 0x20000))
    assert code["prosumer/metering/kernel.mpy"][2] & 0x3C == 10 << 2, "xtensawin"
    assert not [path for path in files_of(memory.read(0x200000, 2 * MIB)) if path.endswith(".mpy")]


def test_a_rom_that_this_micropython_has_no_room_for_is_refused(chip, tmp_path, capsys):
    url, memory = chip
    blank = bytes(memory.data)
    built = image.build_image("ESP32_S3_METER", out=tmp_path / "with.img", rom=True)
    (tmp_path / "stock.bin").write_bytes(micropython())
    assert flash("--port", url, "--image", built.path, "--micropython", tmp_path / "stock.bin") == 2
    assert "with.img has its bytecode in with.romfs, and this MicroPython has no romfs partition" in capsys.readouterr().err
    (tmp_path / "small.bin").write_bytes(micropython(table(APP, (1, 0x1F0000, 0x8000, b"romfs"))))
    assert flash("--port", url, "--image", built.path, "--micropython", tmp_path / "small.bin") == 2
    assert "the romfs partition has 32 KiB; the bytecode needs" in capsys.readouterr().err
    assert bytes(memory.data) == blank


def test_a_cell_that_cannot_be_programmed_is_found(chip, capsys, monkeypatch):
    url, memory = chip
    memory.data[:0x20000] = micropython()
    write = memory.write_defl_block

    def worn(payload):
        write(payload)
        memory.data[0x200008] &= 0xF0  # the l of littlefs

    monkeypatch.setattr(memory, "write_defl_block", worn)
    assert flash("--port", url) == 2
    assert re.search(r"does not match", capsys.readouterr().err)


@pytest.mark.parametrize("content, reason", [
    (None, "no MicroPython here.*--micropython"),
    (micropython(table((1, 0x9000, 0x6000, b"nvs"))), "no MicroPython here"),
    (micropython(table((0, 0x10000, 0x3F0000, b"factory"))), "no room for a file system"),
    (micropython(table(APP, (1, 0x200000, 0x600000, b"vfs"))), "beyond this chip's 4 MiB"),
    (micropython(table(APP, (1, 0x200000, 0x80000, b"vfs"))), "has 512 KiB; the image needs 1024 KiB"),
])
def test_a_flash_where_it_does_not_fit_is_left_alone(chip, capsys, content, reason):
    url, memory = chip
    if content:
        memory.data[:len(content)] = content
    before = bytes(memory.data)
    assert flash("--port", url) == 2
    assert re.search(reason, capsys.readouterr().err)
    assert bytes(memory.data) == before


def test_another_chip_and_other_files_are_refused(chip, tmp_path, capsys):
    url, memory = chip
    blank = bytes(memory.data)
    assert flash("--port", url, "--chip", "esp32c3") == 2
    assert "ESP32-S3, the board's is esp32c3: nothing was written" in capsys.readouterr().err
    (tmp_path / "mp.uf2").write_bytes(b"UF2\n" + bytes(70000))
    assert flash("--port", url, "--micropython", tmp_path / "mp.uf2") == 2
    assert "no ESP32 image" in capsys.readouterr().err
    assert flash("--port", url, "--micropython", tmp_path / "none.bin") == 2
    assert "none.bin: no such file" in capsys.readouterr().err
    assert bytes(memory.data) == blank


def test_a_port_without_a_board_and_a_board_without_a_chip_are_named(capsys):
    assert flash("--port", "/dev/ttyNONE9") == 2
    assert "/dev/ttyNONE9" in capsys.readouterr().err
    assert cli.main(["flash", "--board", "EMULATED", "--port", "x"]) == 2
    assert "prosumer emulate EMULATED" in capsys.readouterr().err
    assert cli.main(["flash", "--board", "NOWHERE", "--port", "x"]) == 2
    assert "ESP32_S3_METER" in capsys.readouterr().err


@pytest.mark.parametrize("size", [MIB, 2 * MIB, 6 * MIB, 14 * MIB])
def test_an_image_fills_its_partition(tmp_path, size):
    small = build(tmp_path, HELLO).path.read_bytes()
    full = board.grown(small, size)
    assert len(full) == len(small)
    fs = image.filesystem(full.ljust(size, b"\xff"))
    assert fs.block_count == size // image.BLOCK_BYTES and "main.py" in fs.listdir("/")
    data = random.Random(2).randbytes(size // 2)
    image.write_file(fs, "big", data)
    with fs.open("big", "rb") as file:
        assert file.read() == data


def test_an_image_does_not_shrink():
    with pytest.raises(board.BoardError, match="needs 1024 KiB"):
        board.grown(bytes(MIB), MIB // 2)
