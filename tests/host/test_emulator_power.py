"""Power cuts in the middle of a flash operation: the filesystem and the agent's counter come back, at every one of them."""
import asyncio
import subprocess

from emulator_kit import Street, run

from prosumer_tools.emulator.device import MICROPYTHON, compiled_chip

KEEPER = b"""
import os
from prosumer.hal.unix import Hal
hal = Hal()
try:
    with open("/count") as file:
        count = int(file.read())
except OSError:
    count = 0
for _ in range(5):
    count += 1
    with open("/count.new", "w") as file:
        file.write("%d" % count)
    os.rename("/count.new", "/count")
    with open("/big", "wb") as file:
        for _ in range(3):
            file.write(bytes([count]) * 2000)
    with open("/journal", "a") as file:
        file.write("%d\\n" % count)
    hal.set_power("relay", count)  # done, as the world outside sees it
    hal.wait(hal.now_ms() + 1000)
while True:
    hal.wait(hal.now_ms() + 1000)
"""


def test_a_cut_at_any_flash_operation_leaves_whole_files_and_loses_at_most_the_step_it_interrupted(tmp_path):
    async def scenario():
        async with Street(tmp_path, KEEPER, broker=None) as street:
            street.add_homes(1)
            device = street.devices["h0"]
            told, cuts = [], 0
            street.on_actuator = lambda device, name_id, power_mw, now_ms: told.append(power_mw)
            for after in range(1, 90, 4):
                device.flash.program(street.image_path)
                device.cut_after = after
                told.clear()
                street.boot()
                living = asyncio.ensure_future(street.live(1))
                await street.until(lambda living=living: device.state == "off" or living.done())
                await living
                if device.state != "off":
                    assert told[-1] == 5
                    street.kill("h0")
                    break
                cuts += 1
                done = told[-1] if told else 0
                stored = int(device.flash.read("count")) if "/count" in device.flash.names() else 0
                assert stored in (done, done + 1), f"cut in operation {after}"
                journal = device.flash.read("journal").decode().split() if "/journal" in device.flash.names() else []
                assert journal in ([str(n + 1) for n in range(done)], [str(n + 1) for n in range(done + 1)])

                street.boot()  # the power is back: it goes on from what it had
                await street.live(1)
                street.kill("h0")
                assert int(device.flash.read("count")) == stored + 5
            assert cuts >= 10, "too few flash operations to cut"
    run(scenario)


def test_a_cut_tears_the_write_it_comes_in(tmp_path):
    """The half of the page, or of the erased block, that was done when the power went is on the flash; the rest is as before."""
    probe = b"""
import sys
sys.path.insert(0, CHIP)
from chip import Flash

class Bus:
    def write(self, data):
        raise SystemExit

path, cut = PATH, CUT
flash = Flash(path, Bus(), cut)
flash.ioctl(6, 3)
flash.writeblocks(3, bytes([0x55]) * 256, 512)
flash.ioctl(6, 3)
flash.writeblocks(3, bytes([0x0f]) * 300, 64)
flash.writeblocks(3, bytes([0x55]) * 4, 64)
"""
    def after(cut):
        path = tmp_path / f"flash{cut}"
        path.write_bytes(b"\x11" * 8 * 4096)
        script = probe.replace(b"CHIP)", repr(str(compiled_chip())).encode() + b")")
        script = script.replace(b"PATH, CUT", f"{str(path)!r}, {cut}".encode())
        subprocess.run([MICROPYTHON, "-c", script.decode()], check=True, timeout=180)
        content = path.read_bytes()
        assert content[: 3 * 4096] + content[4 * 4096 :] == b"\x11" * 7 * 4096, "another block was touched"
        return content[3 * 4096 : 4 * 4096]

    page = b"\x55" * 256
    nibbles = b"\xff" * 64 + b"\x05" * 4 + b"\x0f" * 296 + b"\xff" * (4096 - 364)
    assert after(0) == nibbles, "programming clears bits and sets none"
    assert after(1) == b"\xff" * 2048 + b"\x11" * 2048
    assert after(2) == b"\xff" * 512 + page[:128] + b"\xff" * (4096 - 640)
    assert after(3) == b"\xff" * 4096
    assert after(5) == nibbles[:66] + b"\x0f" * 2 + nibbles[68:]
