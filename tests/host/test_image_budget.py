"""What the firmware may cost: bytes of bytecode, and heap after import when the bytecode runs in place from its ROMFS."""
import os
import re
import subprocess
import sys

import pytest

from prosumer_tools import image
from prosumer_tools.emulator.device import BOOTSTRAP

HEAP_BYTES = 128 << 10   # of 253 KiB on the emulated device (64 bits); the rest is for data
ROM_PARTITION = 128 << 10

_LOAD = """
import gc, sys, uctypes, vfs
vfs.mount(vfs.VfsRom(memoryview(uctypes.bytearray_at(%d, %d))), "/rom")
sys.path[:] = [%r, "/rom", "/rom/lib"]
gc.threshold(4096)
import prosumer.identity.keystore, prosumer.agent, prosumer.hal.unix
for name in ("keystore", "seal", "entropy"):
    del sys.modules["prosumer.identity." + name]
del prosumer
gc.collect()
print("heap", gc.mem_alloc())
"""

_START = """
import sys
from micropython_unix import main
from start import mapped
code = %r %% (*mapped(%r), %r)
sys.argv = ["micropython", "-X", "heapsize=256K", "-c", code]
sys.exit(main())
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    built = image.build_image(out=folder / "device.img")
    (folder / "machine.py").write_text("bus = None\n")  # the chip's own module, which the emulator provides
    (folder / "start_it.py").write_text(_START % (_LOAD, str(built.rom), str(folder)))
    done = subprocess.run([sys.executable, folder / "start_it.py"], capture_output=True, text=True, cwd=folder,
                          env=dict(os.environ, PYTHONPATH=str(BOOTSTRAP)))
    assert done.returncode == 0, done.stdout + done.stderr
    return built, done.stdout


def test_bytecode_fits_the_smallest_partition(loaded):
    assert loaded[0].rom.stat().st_size <= ROM_PARTITION


def test_heap_after_import_leaves_room_for_a_block(loaded):
    heap = int(re.search(r"heap (\d+)", loaded[1])[1])
    assert heap <= HEAP_BYTES, f"{heap} bytes of heap are taken once all code is loaded"
