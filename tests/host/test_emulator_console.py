"""Real mpremote on the serial port of a device, while the rest of the street goes on."""
import asyncio
import os
import re
import sys
from pathlib import Path

import psutil
from emulator_kit import Street, run

MPREMOTE = Path(sys.executable).parent / "mpremote"


async def mpremote(street, name, *command):
    """Run one mpremote command on a device; returns its output."""
    process = await asyncio.create_subprocess_exec(MPREMOTE, "connect", str(street.devices[name].folder / "tty"), *command,
                                                   stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await asyncio.wait_for(process.communicate(), 90)
    text = output.decode()
    assert process.returncode == 0, text
    return text.replace("\r\n", "\n")


async def send(street, name, data, answer):
    """Type on the port as a terminal would, until `answer` comes back."""
    loop, got = asyncio.get_running_loop(), b""
    fd = os.open(street.devices[name].console.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        os.write(fd, data)
        end = loop.time() + 60
        while answer not in got:
            assert loop.time() < end, got
            try:
                got += os.read(fd, 4096)
            except BlockingIOError:
                await asyncio.sleep(0.01)
    finally:
        os.close(fd)
    return got


def test_mpremote_sees_the_rom_partition_and_nobody_writes_there_by_the_way(tmp_path):
    async def scenario():
        async with Street(tmp_path, broker=None) as street:
            street.add_homes(1)
            street.boot()
            living = asyncio.ensure_future(street.run(street.now_ms + 10**9))
            before = street.devices["h0"].flash.rom.read_bytes()
            assert "prosumer/" in await mpremote(street, "h0", "fs", "ls", ":/rom")
            assert "ROMFS0 partition has size 131072 bytes (32 blocks of 4096 bytes each)" in await mpremote(street, "h0", "romfs", "query")
            said = await mpremote(street, "h0", "exec", "import prosumer.codec as c; print(c.__file__)\n"
                                  "try: open('/rom/prosumer/codec.mpy', 'wb')\nexcept OSError as e: print(e)\n"
                                  "try: open('/rom/new', 'w')\nexcept OSError as e: print(e)")
            assert said == "/rom/prosumer/codec.mpy\n30\n30\n", "EROFS"
            assert street.devices["h0"].flash.rom.read_bytes() == before
            living.cancel()
    run(scenario)


def test_mpremote_works_on_one_device_while_the_street_runs(tmp_path):
    data = os.urandom(9000)
    (tmp_path / "data.bin").write_bytes(data)
    (tmp_path / "script.py").write_text("import time\nprint('begin')\ntime.sleep(0.1)\nprint('end')\n")

    async def scenario():
        async with Street(tmp_path / "run", speed=500) as street:
            street.add_homes(3)
            street.boot()
            living = asyncio.ensure_future(street.run(street.now_ms + 10**9))
            await street.until(lambda: street.devices["h0"].waits > 3)
            time_before = street.now_ms

            assert await mpremote(street, "h0", "exec", "print(6 * 7)") == "42\n"
            assert street.devices["h0"].state == "repl"
            assert not psutil.Process(street.devices["h0"].pid).net_connections(), "its session is garbage"
            assert len(psutil.Process(street.devices["h1"].pid).net_connections()) == 1
            assert "main.py" in await mpremote(street, "h0", "fs", "ls")
            await mpremote(street, "h0", "fs", "cp", str(tmp_path / "data.bin"), ":/data.bin")
            await mpremote(street, "h0", "fs", "cp", ":/data.bin", str(tmp_path / "back.bin"))
            assert (tmp_path / "back.bin").read_bytes() == data
            await mpremote(street, "h0", "fs", "rm", ":/data.bin")
            assert "data.bin" not in await mpremote(street, "h0", "fs", "ls")
            assert await mpremote(street, "h0", "run", str(tmp_path / "script.py")) == "begin\nend\n"
            (tmp_path / "back.bin").unlink()
            assert "script.py" in await mpremote(street, "h0", "mount", str(tmp_path), "exec", "import os; print(os.listdir())")
            await mpremote(street, "h0", "soft-reset")
            assert street.devices["h0"].state == "repl", "a soft reset from the raw REPL runs boot.py only"
            by_hand = "from prosumer.hal.unix import Hal; h = Hal(); t = h.now_ms(); h.wait(t + 30000); print(h.now_ms() - t)"
            assert await mpremote(street, "h0", "exec", by_hand) == "30000\n"
            await mpremote(street, "h0", "reset")
            waits = street.devices["h0"].waits
            await street.until(lambda: street.devices["h0"].waits > waits + 5)  # it is back among its neighbours
            assert street.devices["h0"].resets == 1

            assert street.now_ms - time_before > 100_000, "the neighbours went on"
            assert not living.done()
            living.cancel()
            for name in ("h1", "h2"):
                assert street.devices[name].state in ("waiting", "busy")
                assert street.devices[name].boots == 1
    run(scenario)


def test_a_terminal_interrupts_types_and_soft_resets(tmp_path):
    async def scenario():
        async with Street(tmp_path, speed=500) as street:
            street.add_homes(1)
            street.boot()
            living = asyncio.ensure_future(street.run(street.now_ms + 10**9))
            device = street.devices["h0"]
            await street.until(lambda: device.waits > 3)
            assert b"KeyboardInterrupt" in await send(street, "h0", b"\x03", b">>> ")
            assert b"\r\n42\r\n>>> " in await send(street, "h0", b"6*7\r", b"42\r\n>>> ")
            assert b"MPY: soft reboot\r\nup " in await send(street, "h0", b"\x04", b"020000000000\r\n")
            await send(street, "h0", b"\x03", b">>> ")
            by_call = await send(street, "h0", b"import machine; machine.soft_reset()\r", b"020000000000\r\n")
            assert b"MPY: soft reboot\r\nup " in by_call
            waits = device.waits
            await street.until(lambda: device.waits > waits + 5)
            assert b"raw REPL; CTRL-B to exit\r\n>" in await send(street, "h0", b"\x03\x03\r\x01", b"exit\r\n>")
            assert b"OKMPY: soft reboot" in re.sub(b"\r\n", b"", await send(street, "h0", b"\x04", b"raw REPL; CTRL-B to exit\r\n>"))
            assert b"OK1\r\n\x04\x04>" in await send(street, "h0", b"import sys; print(1)\x04", b"\x04\x04>")
            assert device.resets == 0
            living.cancel()
    run(scenario)


def test_a_ctrl_c_in_a_garbage_collection_stops_a_device_as_any_other(tmp_path):
    main = b"""
import gc
from prosumer.hal.unix import Hal
hal = Hal()
hal.wait(hal.now_ms() + 1000)
full = [[i] for i in range(3000)]
print("collects")
while True:
    gc.collect()
"""

    async def scenario():
        async with Street(tmp_path, main=main, speed=500, broker=None) as street:
            street.add_homes(1)
            street.boot()
            living = asyncio.ensure_future(street.run(street.now_ms + 10**9))
            for times in range(1, 4):
                await street.until(lambda: street.log_of("h0").count("collects") >= times, 60)
                assert b"KeyboardInterrupt" in await send(street, "h0", b"\x03", b">>> ")
                assert b"\r\n42\r\n>>> " in await send(street, "h0", b"6*7\r", b"42\r\n>>> ")
                await send(street, "h0", b"\x04", b"MPY: soft reboot")
            assert street.devices["h0"].resets == 0
            living.cancel()
    run(scenario)


def test_output_that_nobody_reads_does_not_stop_a_device_and_goes_to_its_log(tmp_path):
    main = b"""  # some 200 KB, far more than the port's buffers hold
from prosumer.hal.unix import Hal
hal = Hal()
for k in range(20):
    hal.wait(hal.now_ms() + 1000)
    for i in range(100):
        print("line", k, i, "." * 90)
print("THE END")
"""
    async def scenario():
        async with Street(tmp_path, main, broker=None) as street:
            street.add_homes(1)
            street.boot()
            living = asyncio.ensure_future(street.live(9))
            await street.until(lambda: "THE END" in street.log_of("h0"), 20)
            log = street.log_of("h0")
            assert all(f"line {k} {i} ." in log for k in range(20) for i in range(100))
            await living
            assert await mpremote(street, "h0", "exec", "print('still there')") == "still there\n"
    run(scenario)


def test_a_full_disk_ends_the_log_with_a_clear_line_and_not_the_device(tmp_path, caplog):
    main = b"""
from prosumer.hal.unix import Hal
hal = Hal()
while True:
    print("a line")
    hal.wait(hal.now_ms() + 1000)
"""
    async def scenario():
        async with Street(tmp_path, main, broker=None) as street:
            (tmp_path / "devices" / "h0").mkdir(parents=True)
            (tmp_path / "devices" / "h0" / "console.log").symlink_to("/dev/full")
            street.add_homes(1)
            street.boot()
            await street.live(3)
            await street.until(lambda: caplog.records)
            await street.live(3)
            assert street.devices["h0"].state == "waiting"
    run(scenario)
    assert [record.message for record in caplog.records] == [
        f"cannot write {tmp_path}/devices/h0/console.log: no space left on device; the log ends here"]


def test_ctrl_c_while_the_chip_boots_is_kept_for_the_program(tmp_path):
    async def scenario():
        async with Street(tmp_path / "run", main=b"print('up')\nwhile True: pass\n") as street:
            for delay in (0, 0.02, 0.05, 0.08, 0.12):
                street.add("a", bytes(6)) if "a" not in street.devices else street.kill("a")
                street.boot()
                await asyncio.sleep(delay)
                assert b">>> " in await send(street, "a", b"\x03", b">>> ")
                assert street.devices["a"].resets == 0 and "Fatal" not in street.log_of("a")
            assert street.log_of("a").count("KeyboardInterrupt") == 5 == street.devices["a"].boots

    run(scenario)


def test_what_is_typed_behind_a_ctrl_c_at_any_moment_of_the_boot_reaches_the_repl(tmp_path):
    """As mpremote does: it interrupts, and asks for the raw REPL without waiting for a prompt."""
    async def scenario():
        async with Street(tmp_path / "run", main=b"print('up')\nfor i in range(3000): bytearray(i)\n", broker=None) as street:
            for i in range(24):
                street.add("a", bytes(6)) if "a" not in street.devices else street.kill("a")
                street.boot()
                await asyncio.sleep(0.008 * i)
                assert b"raw REPL; CTRL-B to exit\r\n>" in await send(street, "a", b"\r\x03\r\x01", b"exit\r\n>")
    run(scenario)
