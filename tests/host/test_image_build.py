"""The image: what is in it, that MicroPython reads it, and that a fault in a source or a download is named."""
import json
import subprocess

import pytest

from prosumer_tools import image
from prosumer_tools.emulator.device import MICROPYTHON
from prosumer_tools.emulator.flash import Flash

MAIN = {"boot.py": b"", "main.py": b"print('main')\n"}
READER = """
import json, os, sys, vfs
class Flash:
    def __init__(self, path):
        self.file = open(path, "r+b")
    def readblocks(self, n, buf, offset=0):
        self.file.seek(n * 4096 + offset)
        self.file.readinto(buf)
    def writeblocks(self, n, buf, offset=0):
        raise OSError(30)
    def ioctl(self, op, arg):
        return 256 if op == 4 else 4096 if op == 5 else 0
fs = vfs.VfsLfs2(Flash(sys.argv[1]))
vfs.mount(fs, "/flash")
def walk(folder):
    for entry in os.ilistdir(folder):
        path = folder + "/" + entry[0]
        if entry[1] == 0x4000:
            walk(path)
        else:
            sizes[path[7:]] = entry[3]
sizes = {}
walk("/flash")
with open(sys.argv[2], "rb") as file:
    vfs.mount(vfs.VfsRom(memoryview(file.read())), "/parts")
in_flash, sizes = sizes, {}
walk("/parts")
sys.path[:] = ["/parts/lib", "/parts"]
from umqtt.simple import MQTTClient
from prosumer.errors import Reject
print(json.dumps([in_flash, sizes, MQTTClient("x", "y").port, Reject("bad-thing").code]))
"""


def small(folder, modules=None, board=b"X = 1\n", **options):
    """Build an image of a made-up firmware and board."""
    firmware, boards = folder / "firmware", folder / "boards"
    (firmware / "prosumer").mkdir(parents=True, exist_ok=True)
    (boards / "TOY").mkdir(parents=True, exist_ok=True)
    (boards / "TOY" / "board.py").write_bytes(board)
    for name, source in (modules or {}).items():
        (firmware / "prosumer" / name).parent.mkdir(exist_ok=True)
        (firmware / "prosumer" / name).write_text(source)
    return image.build_image("TOY", out=folder / "toy.img", extra=MAIN, firmware=firmware, boards=boards, **options)


def test_micropython_mounts_the_image_and_imports_from_it(tmp_path):
    built = image.build_image(out=tmp_path / "i.img", extra=MAIN)
    assert built.path.stat().st_size == image.IMAGE_BYTES
    done = subprocess.run([MICROPYTHON, "-c", READER, str(built.path), str(built.rom)], capture_output=True, text=True, timeout=180)
    in_flash, in_rom, port, code = json.loads(done.stdout or done.stderr)
    assert in_flash == built.files and set(in_flash) == {"board.py", "boot.py", "main.py"}
    assert in_rom == built.rom_files and {"lib/umqtt/simple.mpy", "prosumer/hal/unix.mpy"} <= set(in_rom)
    assert (port, code) == (1883, "bad-thing")
    assert not [name for name in in_rom if "test" in name or not name.endswith(".mpy")]


def test_without_a_rom_partition_the_same_bytecode_lies_in_the_file_system(tmp_path):
    apart = image.build_image(out=tmp_path / "i.img", extra=MAIN)
    code = image.romfs_files(apart.rom.read_bytes())
    together = image.build_image(out=tmp_path / "i.img", extra=MAIN, rom=False)
    assert together.rom is None and not (tmp_path / "i.romfs").exists(), "one of an earlier build would be flashed with it"
    assert {name: Flash(together.path).read(name) for name in code} == code and len(code) > 30
    assert together.packages == apart.packages


def test_a_rom_that_does_not_fit_its_partition_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(image, "ROM_BYTES", 90_000)
    with pytest.raises(image.ImageError, match="does not fit its partition of 90000"):
        image.build_image(out=tmp_path / "i.img", extra=MAIN)


def test_sizes_are_counted_per_package(tmp_path):
    built = small(tmp_path, {"a.py": "x = 1\n", "market/b.py": "y = 2\n", "market/c.py": "z = 3\n"})
    market = built.files["prosumer/market/b.mpy"] + built.files["prosumer/market/c.mpy"]
    assert built.packages == {"prosumer": built.files["prosumer/a.mpy"], "prosumer/market": market, "lib/umqtt": built.files["lib/umqtt/simple.mpy"]}
    assert built.mpy_bytes == sum(built.packages.values())
    assert Flash(built.path).read("prosumer/market/b.mpy")[0:1] == b"M"


def test_umqtt_keeps_its_checks_and_the_firmware_loses_its_asserts(tmp_path):
    built = small(tmp_path, {"a.py": "def f(x):\n    assert x, 'sentinel'\n"})
    assert b"sentinel" not in Flash(built.path).read("prosumer/a.mpy")
    assert b"Subscribe callback is not set" in Flash(built.path).read("lib/umqtt/simple.mpy")


def test_each_architecture_is_its_own_and_unknown_ones_are_refused(tmp_path):
    source = {"a.py": "import micropython\n@micropython.viper\ndef f(x: int) -> int:\n    return x + 1\n"}
    codes = {march: Flash(small(tmp_path, source, march=march).path).read("prosumer/a.mpy") for march in ("x64", "xtensawin")}
    assert codes["x64"] != codes["xtensawin"]
    with pytest.raises(image.ImageError, match="mpy-cross refuses"):
        small(tmp_path, source, march="z80")


def test_a_fault_in_a_source_is_named_with_its_line(tmp_path):
    with pytest.raises(image.ImageError, match=r'(?s)prosumer/market/b.py.*line 2'):
        small(tmp_path, {"market/b.py": "x = 1\ny = = 2\n"})


def test_a_missing_board_or_main_is_named(tmp_path):
    with pytest.raises(image.ImageError, match="no board NOWHERE.*EMULATED"):
        image.build_image("NOWHERE")
    small(tmp_path)
    with pytest.raises(image.ImageError, match="boot.py is missing"):
        image.build_image("TOY", out=tmp_path / "i.img", firmware=tmp_path / "firmware", boards=tmp_path / "boards")


def test_a_download_with_another_hash_is_refused_and_removed(tmp_path, monkeypatch):
    archive = tmp_path / "vendor" / "micropython-umqtt.simple-1.3.4.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(b"something else")
    monkeypatch.setattr(image, "BUILD", tmp_path)
    with pytest.raises(image.ImageError, match="not the pinned b6a25202"):
        image.fetch_umqtt()
    assert not archive.exists()


def test_an_index_that_cannot_be_reached_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(image, "BUILD", tmp_path)
    monkeypatch.setattr(image, "UMQTT", "micropython-umqtt.simple==0.0.0.0")
    with pytest.raises(image.ImageError, match="cannot fetch micropython-umqtt.simple"):
        image.fetch_umqtt()


def test_an_image_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(image.ImageError, match="cannot hold board.py"):
        small(tmp_path, board=b"#" * (image.IMAGE_BYTES + 1))


def test_a_rebuild_compiles_only_what_changed(tmp_path, monkeypatch):
    first = image.build_image(out=tmp_path / "1.img", extra=MAIN)
    runs = []
    monkeypatch.setattr(image.subprocess, "run", lambda *args, **_: runs.append(args) or pytest.fail("compiled again"))
    second = image.build_image(out=tmp_path / "2.img", extra=MAIN)
    assert first.path.read_bytes() == second.path.read_bytes()
    assert not runs


def test_files_of_a_device_that_is_off_can_be_read_and_written(tmp_path):
    flash = Flash(tmp_path / "d" / "flash.bin")
    flash.program(small(tmp_path).path)
    flash.write({"data/config.json": b"{}", "main.py": b"pass\n"})
    assert flash.read("data/config.json") == b"{}"
    assert flash.read("main.py") == b"pass\n"
    assert flash.names() == ["/board.py", "/boot.py", "/data/config.json", "/lib/umqtt/simple.mpy", "/main.py"]
    flash.path.write_bytes(bytes(image.IMAGE_BYTES))
    with pytest.raises(image.ImageError, match="holds no LittleFS"):
        flash.names()
