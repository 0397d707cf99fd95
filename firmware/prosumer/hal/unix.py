"""The emulated chip's hardware layer: a bus on which the supervisor plays the pins, the plant and the clock.

Time is virtual: it stands still while this device computes and moves on only in `wait()`. The packets are listed in
host_tools/prosumer_tools/emulator/bus.py.
"""
import os
import select
import struct

import machine
from micropython import const

_TIMES = const(b"tb")
_WAIT = const(0x57)     # W
_ACTUATE = const(0x41)  # A
_ACTUATORS = const(("relay", "battery", "ev", "pv"))
_PLANT = const(">IIBIIB")


class Hal:
    """Answers of the bus carry the front end's shape: `rate_hz`, `frames_max`, `window_ms`, `channels`."""

    lost = out = 0

    def __init__(self):
        self.bus = machine.bus
        self._in = bytearray(32)
        self.now = 0
        self._sock = None
        self._poll = select.poll()
        self._poll.register(self.bus, select.POLLIN)
        self.ask(b"H")
        self.now, self.rate_hz, self.frames_max, self.window_ms, self.channels = struct.unpack_from(">QIHIB", self._in, 1)

    def now_ms(self):
        """Virtual Unix time in ms."""
        return self.now

    def entropy(self, n):
        """What this port binds os.urandom to: getrandom(2) of the host. No device can look behind that."""
        return os.urandom(n)

    noise = entropy

    def unique_id(self):
        return machine.unique_id()

    binding = unique_id

    def read_window(self, buf):
        """Fill `buf` (int16, frames × channels); return (frames, ms of time this window stands for)."""
        self.ask(b"S")
        frames, covers_ms = struct.unpack_from(">HI", self._in, 1)
        if frames:
            self.bus.readinto(buf, 2 * frames * self.channels)
        return frames, covers_ms

    def set_power(self, name, power_mw):
        self.bus.write(struct.pack(">BBi", _ACTUATE, _ACTUATORS.index(name), power_mw))

    def plant(self):
        """(battery_soc_mwh, battery_capacity_mwh, ev_plugged, ev_need_mwh, ev_deadline_s, relay)"""
        self.ask(b"P")
        return struct.unpack_from(_PLANT, self._in, 1)

    def wait(self, deadline_ms, link=None):
        """Idle until data can be read on `link.sock` (returns True) or virtual time reaches the deadline (False).

        `link` also tells what the clock must wait for: `published` and `received` count messages on the feeder's topics, `unacked`
        those the broker has not confirmed.
        """
        sock = link.sock if link else None
        self._watch(sock)
        timeout = 0
        if self.now < deadline_ms:
            timeout = -1
            counters = (link.published, link.received, link.unacked, sock is not None) if link else (0, 0, 0, 0)
            self.bus.write(struct.pack(">BQIIHB", _WAIT, deadline_ms, *counters))
        while True:
            data = False
            for source, _ in self._poll.ipoll(timeout):
                if source is self.bus:
                    self.receive()
                else:
                    data = True
            if data:
                if timeout:
                    self.ask(b"B")  # its sender may have been told the new time before us
                return True
            if self.now >= deadline_ms:
                return False

    def network_up(self):
        return True

    def feed(self):
        """The supervisor is the watchdog: it resets a device that computes for too long without waiting."""

    def reset(self):
        machine.reset()

    def _watch(self, sock):
        if sock is not self._sock:
            if self._sock is not None:
                self._poll.unregister(self._sock)
            if sock is not None:
                self._poll.register(sock, select.POLLIN)
            self._sock = sock

    def ask(self, what):
        self.bus.write(what)
        while self.receive() != what[0] | 0x20:
            pass

    def receive(self):
        if not self.bus.readinto(self._in):
            raise OSError("bus closed")
        if self._in[0] in _TIMES:
            self.now = struct.unpack_from(">Q", self._in, 1)[0]
        return self._in[0]
