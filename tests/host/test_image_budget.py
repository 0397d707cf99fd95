"""What the firmware may cost: bytes of bytecode, heap after import, and names (the table of interned names grows by doubling)."""
import re
import subprocess

import pytest

from prosumer_tools import image
from prosumer_tools.emulator.device import MICROPYTHON

HEAP_BYTES = 192 << 10   # of 253 KiB on the emulated device (64 bits); the rest is for data, and a block needs 20 KiB of that
NAMES = 1270             # one more, and the next table takes 14 KiB of heap
CHIP_NAMES = 60          # what the emulated chip, main.py and the board bring beside the modules

_LOAD = """
import gc, micropython, sys
sys.path[:] = [%r, %r]
gc.threshold(4096)
import prosumer.identity.keystore, prosumer.agent, prosumer.hal.unix
for name in ("keystore", "seal", "entropy"):
    del sys.modules["prosumer.identity." + name]
del prosumer
gc.collect()
print("heap", gc.mem_alloc())
micropython.qstr_info()
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    built = image.build_image(out=folder / "device.img")
    fs = image.filesystem(built.path.read_bytes())
    for name in built.files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with fs.open(name, "rb") as file:
            path.write_bytes(file.read())
    machine = folder / "machine.py"     # the chip's own module, which the emulator provides
    machine.write_text("bus = None\n")
    done = subprocess.run([MICROPYTHON, "-X", "heapsize=256K", "-c", _LOAD % (str(folder), str(folder / "lib"))],
                          capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return built, done.stdout


def test_bytecode_fits_its_budget(loaded):
    assert loaded[0].mpy_bytes <= 96 << 10, loaded[0].packages


def test_heap_after_import_leaves_room_for_a_block(loaded):
    heap = int(re.search(r"heap (\d+)", loaded[1])[1])
    assert heap <= HEAP_BYTES, f"{heap} bytes of heap hold code"


def test_names_stay_below_the_next_doubling(loaded):
    names = int(re.search(r"n_qstr=(\d+)", loaded[1])[1])
    assert names <= NAMES - CHIP_NAMES, f"{names} interned names"
