"""A street of real devices on a real broker: time, restarts, faults. The small agent in data/emulator checks the time of each message itself."""
import asyncio
import os
import signal

import pytest
from emulator_kit import Street, run

from prosumer_tools.emulator import bus


def test_every_message_arrives_at_the_virtual_time_it_was_sent(tmp_path):
    async def scenario():
        async with Street(tmp_path) as street:
            street.add_homes(4, answers=True)
            street.boot()
            await street.live(1)
            before = {name: member.received for name, member in street.clock.members.items()}
            await street.live(20)
            for name, member in street.clock.members.items():
                # in each period 4 devices tell, and each of 4 answers each of these
                assert member.received - before[name] == 20 * (4 + 4 * 4)
                assert "LATE" not in street.log_of(name)
            assert street.clock.lost == 0
    run(scenario)


def test_a_device_sees_its_id_its_samples_its_plant_and_moves_its_actuators(tmp_path):
    main = b"""
import array, json, machine
from prosumer.hal.unix import Hal
hal = Hal()
buf = array.array("h", bytes(4 * hal.frames_max))
hal.wait(hal.now_ms() + hal.window_ms)
print("SEEN", machine.unique_id().hex(), hal.rate_hz, hal.frames_max, hal.channels)
frames, covers_ms = hal.read_window(buf)
print("WINDOW", frames, covers_ms, buf[0], buf[1], buf[2 * frames - 1])
print("PLANT", hal.plant())
hal.set_power("battery", -1500000)
hal.set_power("relay", 1)
print("ENTROPY", hal.entropy(16) != hal.entropy(16), len(hal.entropy(5)))
hal.wait(hal.now_ms() + 5000)
print("NOW", hal.now_ms())
"""
    async def scenario():
        async with Street(tmp_path, main, broker=None) as street:
            street.add_homes(1)
            actions = []
            street.sample_source = lambda device, now_ms: b"\x01\x00\xfe\xff" * 399 + b"\x03\x00\x00\x80"
            street.plant_state = lambda device, now_ms: (4_000_000, 10_000_000, 1, 7_000_000, 1_700_003_600, 0)
            street.on_actuator = lambda device, name_id, power_mw, now_ms: actions.append((bus.ACTUATORS[name_id], power_mw, now_ms))
            street.boot()
            start = street.now_ms
            await street.live(1)
            await street.until(lambda: "NOW" in street.log_of("h0"))
            log = street.log_of("h0")
            assert "SEEN 020000000000 4000 400 2\n" in log
            assert "WINDOW 400 1000 1 -2 -32768\n" in log
            assert "PLANT (4000000, 10000000, 1, 7000000, 1700003600, 0)\n" in log
            assert "ENTROPY True 5\n" in log
            assert actions == [("battery", -1_500_000, start + 1000), ("relay", 1, start + 1000)]
            assert f"NOW {start + 6000}\n" in log
    run(scenario)


def test_the_firmware_sees_its_flash_and_no_file_of_the_host(tmp_path):
    main = b"""
import os, sys
print("ROOT", sorted(os.listdir("/")), sys.path)
try:
    open("/etc/passwd")
    print("HOST SEEN")
except OSError:
    print("HOST HIDDEN")
"""
    async def scenario():
        async with Street(tmp_path, main, broker=None) as street:
            street.add_homes(1)
            street.boot()
            await street.until(lambda: "HOST" in street.log_of("h0"))
            log = street.log_of("h0")
            assert "ROOT ['board.py', 'boot.py', 'config.json', 'main.py', 'rom'] ['', '/lib', '/rom', '/rom/lib']" in log
            assert "HOST HIDDEN" in log
    run(scenario)


def test_a_device_killed_from_outside_comes_back_with_what_it_had_stored(tmp_path):
    async def scenario():
        async with Street(tmp_path) as street:
            street.add_homes(3)
            street.boot()
            await street.live(5)
            device = street.devices["h1"]
            device.signal(signal.SIGKILL)
            await street.until(lambda: device.state == "off")
            stored = int(device.flash.read("count"))
            assert stored == 5
            await street.live(5)  # the neighbours go on without it
            assert device.state == "off"
            street.boot("h1")
            await street.live(5)
            assert device.state == "waiting"
            street.kill("h1")
            assert int(device.flash.read("count")) == stored + 5
            street.kill("h0")
            assert int(street.devices["h0"].flash.read("count")) == 15
            assert "LATE" not in street.log_of("h0") + street.log_of("h1") + street.log_of("h2")
    run(scenario)


def test_a_killed_device_gets_its_power_back_when_the_street_says_so(tmp_path):
    async def scenario():
        async with Street(tmp_path, speed=200, power_back_s=0.1) as street:
            street.add_homes(2)
            street.boot()
            await street.live(2)
            device = street.devices["h1"]
            living = asyncio.ensure_future(street.live(1000))
            os.kill(int((device.folder / "pid").read_text()), signal.SIGKILL)
            waits = device.waits
            await street.until(lambda: device.boots == 2 and device.waits > waits + 3)
            living.cancel()
            assert street.clock.members["h1"].connected
        assert not (device.folder / "pid").exists()
        assert not (device.folder / "tty").is_symlink()
    run(scenario)


def test_the_street_survives_a_broker_that_restarts(tmp_path):
    async def scenario():
        async with Street(tmp_path) as street:
            street.add_homes(3)
            street.boot()
            await street.live(3)
            street.broker.restart()
            await street.live(3)
            before = street.clock.members["h0"].received
            await street.live(5)
            assert street.clock.members["h0"].received - before == 5 * 3
            assert all(m.connected for m in street.clock.members.values())
    run(scenario)


def test_a_device_that_computes_for_ever_is_reset_and_one_that_only_resets_is_left_off(tmp_path):
    async def scenario():
        async with Street(tmp_path, b"while True:\n    pass\n", broker=None, busy_limit_s=0.2) as street:
            street.add_homes(1)
            street.boot()
            await street.until(lambda: street.devices["h0"].resets > 0)
        async with Street(tmp_path / "b", b"import machine\nprint('again')\nmachine.reset()\nprint('never')\n", broker=None) as street:
            street.add_homes(1)
            street.boot()
            await street.until(lambda: street.devices["h0"].state == "off" and street.devices["h0"].resets > 5)
            assert street.log_of("h0").count("again") == street.devices["h0"].boots == 6 + 1
            assert "never" not in street.log_of("h0")
            await street.live(3)  # and time is free
    run(scenario)


def test_an_error_in_a_hook_comes_out_of_run(tmp_path):
    async def scenario():
        async with Street(tmp_path, b"from prosumer.hal.unix import Hal\nHal().plant()\n", broker=None) as street:
            street.add_homes(1)

            def broken(device, now_ms):
                raise ValueError("no plant")

            street.plant_state = broken
            street.boot()
            with pytest.raises(ValueError, match="no plant"):
                await street.live(1)
    run(scenario)


def test_alarms_come_at_their_time_and_are_awaited_before_time_moves_on(tmp_path):
    async def scenario():
        async with Street(tmp_path) as street:
            street.add_homes(1)
            street.boot()
            start, seen = street.now_ms, []

            async def slow():
                await asyncio.sleep(0.1)
                seen.append(("slow", street.now_ms - start))

            street.at(start + 7777, slow)
            street.at(start + 7778, lambda: seen.append(("next", street.now_ms - start)))
            street.at(start + 100, lambda: seen.append(("first", street.now_ms - start)))
            await street.live(2)
            assert seen == [("first", 100), ("slow", 7777), ("next", 7778)]
    run(scenario)


def test_a_limited_speed_is_kept(tmp_path):
    async def scenario():
        async with Street(tmp_path, speed=100) as street:
            street.add_homes(2)
            street.boot()
            await street.live(1)
            loop = asyncio.get_running_loop()
            begun = loop.time()
            await street.live(5)
            assert loop.time() - begun > 0.45
            assert street.devices["h0"].counters()["cpu_s"] > 0
    run(scenario)
