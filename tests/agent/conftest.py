"""The meter under test: an emulated one (`--sim`, the default) or a real board (`--dev PORT`). Tests know its serial port and no more."""
import asyncio
import json
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import serial
from prosumer_tools import image
from prosumer_tools.emulator.device import FrontEnd
from prosumer_tools.emulator.supervisor import Supervisor
from prosumer_tools.profiles.street import Home, Street
from prosumer_tools.street.genesis import Operator
from prosumer_tools.street.source import board_front_end

COMMAND_S = 240
ANSWER_S = 120


class Meter:
    """A MicroPython on a serial port, by real mpremote and by the bytes of the line."""

    def __init__(self, port):
        self.port = port

    def mpremote(self, *command, resume=False):
        """One mpremote command; what it printed. Without `resume` the first one of a connection soft-resets the meter."""
        start = [sys.executable, "-m", "mpremote", "connect", self.port] + (["resume"] if resume else [])
        done = subprocess.run(start + [str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=COMMAND_S, check=False)
        output = done.stdout.decode(errors="replace").replace("\r\n", "\n")
        assert done.returncode == 0, output
        return output

    def exec(self, script, **options):
        return self.mpremote("exec", script, **options)

    def type(self, data, until):
        """Type on the line as a person would; what came back, up to and with `until`."""
        got, end = b"", time.monotonic() + ANSWER_S
        with serial.Serial(self.port, 115200, timeout=0.1) as line:
            line.write(data)
            while until not in got:
                assert time.monotonic() < end, got
                got += line.read(4096)
        return got


class Simulation(threading.Thread):
    """One emulated device in an event loop of its own: the tests block, the device's supervisor does not."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.ready, self.error = folder, threading.Event(), None

    def run(self):
        asyncio.run(self._live())

    async def _live(self):
        self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
        try:
            built = image.build_image(out=self.folder / "device.img")
            board = board_front_end()
            front_end = FrontEnd(board["rate_hz"], board["frames"], board["window_ms"], 2)
            quiet = bytes(2 * 2 * board["frames"])  # no voltage, no current
            start_ms = int(time.time() * 1000)
            async with Supervisor(self.folder, built.path, start_ms, speed=20, broker=None, front_end=front_end) as supervisor:
                supervisor.sample_source = lambda device, now_ms: quiet
                device = supervisor.add("meter", secrets.token_bytes(6))
                supervisor.boot()
                self.port = device.console.path
                living = asyncio.ensure_future(supervisor.run(start_ms + 10**12))
                self.ready.set()
                await asyncio.wait([living, asyncio.ensure_future(self.over.wait())], return_when=asyncio.FIRST_COMPLETED)
                living.cancel()
        except Exception as error:
            self.error = error
            self.ready.set()

    def stop(self):
        self.loop.call_soon_threadsafe(self.over.set)
        self.join(60)


@pytest.fixture(scope="session")
def meter(request, tmp_path_factory):
    port = request.config.getoption("--dev")
    if port:
        yield Meter(port)
        return
    simulation = Simulation(tmp_path_factory.mktemp("agent"))
    simulation.start()
    simulation.ready.wait(240)
    assert not simulation.error, simulation.error
    yield Meter(simulation.port)
    simulation.stop()


@pytest.fixture(scope="session")
def enrolled(meter, tmp_path_factory):
    """The meter is a member of a feeder: of its own, or of a street of four that is made up for these tests and taken away again."""
    enrol = "genesis.bin" not in meter.exec("import os; print(os.listdir('/'))")
    if enrol:
        folder = tmp_path_factory.mktemp("enrolment")
        public = bytes.fromhex(meter.exec(PUBLIC).strip())
        homes = tuple(Home(name) for name in ("tested", "second", "third", "fourth"))
        keys = {home.name: Operator().public for home in homes} | {"tested": public}
        (folder / "genesis.bin").write_bytes(Operator().genesis(Street(homes), keys, int(time.time()) // 900 * 900))
        nobody = {"host": "127.0.0.1", "port": 9}
        (folder / "config.json").write_text(json.dumps({"name": "tested", "channels": ["grid"], "devices": {}, "broker": nobody}))
        meter.mpremote("fs", "cp", folder / "config.json", ":/config.json", "+", "fs", "cp", folder / "genesis.bin", ":/genesis.bin",
                       "+", "reset")
    yield meter
    if enrol:
        meter.exec("import os\nfor f in ('/genesis.bin', '/config.json'):\n    os.remove(f)")
        meter.mpremote("rm", "-r", ":/data", resume=True)
        meter.mpremote("reset", resume=True)


PUBLIC = """
import board
from prosumer.identity.keystore import KeyStore
print(KeyStore('/seed.key', board.hal().binding()).public().hex())
"""
SCRIPTS = Path(__file__).parent / "device"
TESTS = Path(__file__).parent.parent
