"""Runs many emulated devices: power, pins, plant and virtual time. It takes no part in what the meters say to each other.

    async with Supervisor(folder, image.path, start_ms=…) as street:
        street.add("h1", unique_id=bytes(6), files={"config.json": b"…"})
        street.boot()
        await street.run(until_ms)

Hooks are attributes: `sample_source(device, now_ms) → bytes` or `(bytes, covers_ms)`, `plant_state(device, now_ms) → tuple` of six numbers
(bus.py, packet p), `on_actuator(device, name_id, power_mw, now_ms)`, `on_time(now_ms)`. `at(now_ms, function)` calls once; what a
function returns is awaited before time moves on.
"""
import asyncio
import bisect
import inspect
import logging
import os
import signal
import time
from pathlib import Path

from prosumer_tools.emulator import bus
from prosumer_tools.emulator.broker import Broker
from prosumer_tools.emulator.clock import STALL_S, Clock
from prosumer_tools.emulator.device import HEAP, Device, FrontEnd

_TICK_S = 0.1  # at a limited speed time moves in steps of at most this, so that outsiders find the devices awake
_FRUITLESS_BOOTS = 6


class Supervisor:
    """`speed`: virtual seconds per wall second, 0 for as fast as the devices go. `busy_limit_s`: wall time after which a device that
    computes without waiting is reset, as a watchdog would. `power_back_s`: wall time after which a device killed from outside (`kill -9`)
    has its power again; None leaves it off.
    """

    def __init__(self, folder, image_path, start_ms, speed=0, broker="amqtt", port=0, users=None, front_end=None, busy_limit_s=120,
                 power_back_s=None):
        self.folder = Path(folder)
        self.image_path = Path(image_path)
        self.clock = Clock(start_ms)
        self.speed = speed
        self.broker = Broker(self.folder, broker, port, users) if broker else None
        self.network = None  # a Network between devices and broker sets itself here
        self.heap = HEAP  # of devices that are added
        self.front_end = front_end or FrontEnd()
        self.busy_limit_s, self.power_back_s = busy_limit_s, power_back_s
        self.devices = {}
        self.log = logging.getLogger("prosumer.emulator")
        self.sample_source = lambda device, now_ms: b""
        self.plant_state = lambda device, now_ms: (0, 0, 0, 0, 0, 1)
        self.on_actuator = lambda device, name_id, power_mw, now_ms: None
        self.on_time = lambda now_ms: None
        self.until_ms = start_ms
        self._loop = None
        self._alarms = []  # (now_ms, order, function), sorted
        self._order = 0
        self._awaited = set()
        self._returning = []
        self._pump_handle = self._timer = None
        self._reached = asyncio.Event()
        self._error = None
        self._pace = None  # (wall, virtual) from which a limited speed is counted

    async def __aenter__(self):
        self._loop = asyncio.get_running_loop()
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.broker:
            self.broker.start()
        self._watchdog = self._loop.create_task(self._watch())
        return self

    async def __aexit__(self, *_):
        self._watchdog.cancel()
        for handle in (self._pump_handle, self._timer, *self._returning):
            if handle:
                handle.cancel()
        for task in self._awaited:
            task.cancel()
        for device in self.devices.values():
            device.close()
        if self.network:
            self.network.stop()
        if self.broker:
            self.broker.stop()

    @property
    def now_ms(self):
        return self.clock.now_ms

    # devices

    def add(self, name, unique_id, files=None, front_end=None, echo=None):
        """A new device with its own flash, programmed with the image if it has none; `files` are written into it. It is off."""
        device = Device(name, self.folder / "devices" / name, self._loop, unique_id, front_end or self.front_end, self.heap, echo)
        if not device.flash.path.is_file():
            device.flash.program(self.image_path)
        if files:
            device.flash.write(files)
        self.devices[name] = device
        return device

    def boot(self, *names):
        """Give power to the named devices, or to all that are off."""
        for name in names or [n for n, d in self.devices.items() if d.state == "off"]:
            self.devices[name].fruitless_boots = 0
            self._start(self.devices[name])

    def kill(self, name):
        """Pull a device's power at once (SIGKILL); it stays off until `boot(name)`."""
        device = self.devices[name]
        self.clock.leave(name, time.monotonic())
        device.end()
        self._soon()

    def set_clock(self, name, error_ms):
        """From now on the clock of this device is wrong by `error_ms(now_ms)`, ms: it drifts, or jumps with this call."""
        device, member = self.devices[name], self.clock.members.get(name)
        device.error_ms = error_ms
        if member and member.deadline_ms is not None:
            member.deadline_ms = device.virtual_ms(device.deadline_ms)
            device.send(bus.time(device.local_ms(self.now_ms)))
        self._soon()

    def host_published(self, count=1):
        """A host process is about to publish `count` messages on the feeder's topics: time waits until every device has them."""
        self.clock.host_published(count, time.monotonic())

    # time

    def at(self, now_ms, function):
        self._order += 1
        bisect.insort(self._alarms, (now_ms, self._order, function))
        self._soon()

    async def run(self, until_ms):
        """Let the street live until virtual time `until_ms`; returns when it is reached and all that was due then is done.

        Errors of hooks are raised here.
        """
        self.until_ms = until_ms
        self._pace = (time.monotonic(), self.now_ms)
        self._reached.clear()
        self._soon()
        await self._reached.wait()
        if self._error:
            raise self._error

    def _soon(self):
        if not self._pump_handle:
            self._pump_handle = self._loop.call_soon(self._pump)

    def _pump(self):
        """Move time on for as long as nothing holds it."""
        self._pump_handle = None
        if self._timer:
            self._timer.cancel()
            self._timer = None
        try:
            while not self._awaited:
                wall = time.monotonic()
                lost = self.clock.lost
                next_ms, look_again_s = self.clock.look(wall)
                if self.clock.lost != lost:
                    self.log.warning("messages were lost; the clock goes on (%d times so far)", self.clock.lost)
                if next_ms is None and look_again_s is not None:
                    self._timer = self._loop.call_later(look_again_s + 0.001, self._pump)
                    return
                if next_ms is None and self.clock.busy():
                    return
                if self.now_ms >= self.until_ms:
                    self._reached.set()
                    return
                next_ms = min(next_ms or self.until_ms, self.until_ms, self._alarms[0][0] if self._alarms else self.until_ms)
                if self.speed:
                    next_ms = min(next_ms, max(self.now_ms + int(_TICK_S * self.speed * 1000), self.now_ms + 1))
                    early_s = self._pace[0] + (next_ms - self._pace[1]) / 1000 / self.speed - wall
                    if early_s > 0.001:
                        self._timer = self._loop.call_later(early_s, self._pump)
                        return
                self._advance(max(next_ms, self.now_ms))
        except Exception as error:
            self._fail(error)

    def _advance(self, now_ms):
        self.clock.now_ms = now_ms
        while self._alarms and self._alarms[0][0] <= now_ms:
            _, _, function = self._alarms.pop(0)
            result = function()
            if inspect.isawaitable(result):
                task = self._loop.create_task(_finish(result))
                self._awaited.add(task)
                task.add_done_callback(self._awaited_done)
        self.on_time(now_ms)
        for name, member in self.clock.members.items():
            device = self.devices[name]
            due = member.deadline_ms is not None and member.deadline_ms <= now_ms
            if (due or member.holding) and device.send(bus.time(device.local_ms(now_ms))):
                device.told_ms = now_ms
            if due:
                device.busy_since = time.monotonic()

    def _awaited_done(self, task):
        self._awaited.discard(task)
        if not task.cancelled() and task.exception():
            self._fail(task.exception())
        self._soon()

    def _fail(self, error):
        """An error in a hook ends the run: it comes out of `run()`."""
        self._error = error
        self._reached.set()

    # what devices say

    def _start(self, device, back_to_raw=False):
        device.sampled_ms = self.now_ms
        device.told_ms = 0
        self.clock.join(device.name, time.monotonic())
        device.start(self._on_packets, back_to_raw)

    def _on_packets(self, device):
        end = device.bus
        while device.bus is end:
            try:
                packet = end.recv(64)
            except BlockingIOError:
                break
            except ConnectionError:
                packet = b""
            if not packet:
                self._ended(device)
                break
            try:
                self._handle(device, packet)
            except Exception as error:
                self._fail(error)
        self._soon()

    def _handle(self, device, packet):
        kind, wall = packet[0], time.monotonic()
        if kind == bus.WAIT:
            device.waits += 1
            device.fruitless_boots = 0
            device.deadline_ms, *counters = bus.parse_wait(packet)
            self.clock.waits(device.name, device.virtual_ms(device.deadline_ms), *counters, wall)
            if device.state != "repl":
                device.state = "waiting"
            if device.told_ms < self.now_ms and device.send(bus.time(device.local_ms(self.now_ms))):
                device.told_ms = self.now_ms
        elif kind == bus.BUSY:
            self.clock.computes(device.name, wall)
            device.busy_since = wall
            device.told_ms = self.now_ms
            device.send(bus.time_for_busy(device.local_ms(self.now_ms)))
            if device.state != "repl":
                device.state = "busy"
        elif kind == bus.SAMPLE:
            self._answer_sample(device)
        elif kind == bus.ACTUATE:
            self.on_actuator(device, *bus.parse_actuate(packet), self.now_ms)
        elif kind == bus.PLANT:
            device.send(bus.plant(self.plant_state(device, self.now_ms)))
        elif kind == bus.HELLO:
            device.told_ms = self.now_ms
            device.send(bus.hello(device.local_ms(self.now_ms), device.front_end))
        elif kind == bus.UP:
            device.console.up()
        elif kind == bus.REPL:
            device.program_ended()
            device.fruitless_boots = 0
            self.clock.release(device.name, wall)
            self.log.info("%s sits in its REPL", device.name)
        elif kind == bus.RESET:
            device.resets += 1
            self._reset(device)
        elif kind == bus.BROKEN:
            self._reset(device)
            device.console.interrupt_again()
        elif kind == bus.CUT:
            self.log.info("%s: the power was cut in a flash operation", device.name)
            self.kill(device.name)

    def _answer_sample(self, device):
        device.windows += 1
        taken = self.sample_source(device, self.now_ms)
        samples, covers_ms = taken if isinstance(taken, tuple) else (taken, min(device.front_end.window_ms, self.now_ms - device.sampled_ms))
        device.sampled_ms = self.now_ms
        frames = len(samples) // (2 * device.front_end.channels)
        header = bus.window(frames, covers_ms)
        device.send(*((header, samples) if frames else (header,)))

    def _reset(self, device):
        self.clock.leave(device.name, time.monotonic())
        device.end()
        self._boot_again(device)

    def _ended(self, device):
        """The process is gone by itself: soft reset, crash, or a kill from outside."""
        raw = device.console.raw_repl
        self.clock.leave(device.name, time.monotonic())
        code = device.collect()
        if code == 0:
            device.console.say(b"\r\nMPY: soft reboot\r\n")
            self._boot_again(device, back_to_raw=raw)
        elif code == -signal.SIGINT and device.console.interrupted():  # it came between a program and the REPL
            self._boot_again(device)
            device.console.interrupt_again()
        elif code < 0:
            back = "stays off" if self.power_back_s is None else f"has its power again in {self.power_back_s:g} s"
            self.log.warning("%s was killed by signal %d and %s", device.name, -code, back)
            if self.power_back_s is not None:
                self._returning.append(self._loop.call_later(self.power_back_s, self._power_back, device))
        else:
            self.log.warning("%s crashed (exit code %d) and boots again", device.name, code)
            self._boot_again(device)

    def _power_back(self, device):
        if device.state == "off":
            self.boot(device.name)

    def _boot_again(self, device, back_to_raw=False):
        """A device that resets itself over and over before its first wait is left off: it would hold the clock for ever."""
        device.fruitless_boots += 1
        if device.fruitless_boots > _FRUITLESS_BOOTS:
            self.log.error("%s booted %d times without ever waiting and stays off; see %s", device.name, _FRUITLESS_BOOTS,
                           device.console.log_path)
        else:
            self._start(device, back_to_raw)

    async def _watch(self):
        """Reset devices that compute for too long; say what holds the clock when nothing moves."""
        told = None
        while True:
            await asyncio.sleep(1)
            wall = time.monotonic()
            self.clock.stall_s = STALL_S * min(5.0, max(1.0, os.getloadavg()[0] / os.cpu_count()))  # a busy machine is no lost message
            for name in self.clock.busy():
                device = self.devices[name]
                if device.state != "off" and wall - device.busy_since > self.busy_limit_s:
                    self.log.warning("%s computes since %.0f s: watchdog reset", name, wall - device.busy_since)
                    device.resets += 1
                    self._reset(device)
            if self.now_ms != told:
                told, since = self.now_ms, wall
            elif wall - since > 10:
                self.log.debug("time stands: %s", self.clock.why())
                since = wall


async def _finish(awaitable):
    return await awaitable

