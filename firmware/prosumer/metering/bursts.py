"""Windowed front ends: a converter read by a paced loop, in bursts that stand for the time since the last one.

    read_window(buf) → (frames, covers_ms)    (0, 0): no burst; `lost` may say all the same that time was lost

MCP3204/3208 on SPI (Mcp320x), or the ESP32's own ADC1 (Adc1, *indicative*). Time comes in as `ticks_us()` and `ticks_diff(a, b)`.
"""
from micropython import const

from prosumer.errors import Reject

_LONGEST = const(5)  # windows that one burst may stand for


class Mcp320x:
    """MCP3204/3208: 12 bits, `read(channel)` → count -2048 … 2047. `bus.exchange(buf)` clocks three bytes, chip selected.

    The null bit before the result tells a chip that answers from a line that is stuck high."""

    def __init__(self, bus):
        self.bus = bus
        self._buf = bytearray(3)

    def read(self, channel):
        b = self._buf
        b[0], b[1], b[2] = 6 | channel >> 2, (channel & 3) << 6, 0
        self.bus.exchange(b)
        if b[1] & 0x10:
            raise Reject("adc-bus")
        return ((b[1] & 15) << 8 | b[2]) - 2048


class Adc1:
    """The ESP32's own converter, `pins` of machine.ADC: 12 bits, `read(channel)` → count -2048 … 2047. Class *indicative*.

    Through read_u16, which scales 12 bits up; read_uv rounds to millivolts."""

    def __init__(self, pins):
        self.pins = pins

    def read(self, channel):
        return (self.pins[channel].read_u16() >> 4) - 2048


class BurstFrontEnd:
    """Bursts of `frames_max` frames at `rate_hz` through `read(channel)`; between bursts the chip is free for `window_ms`.

    A burst has as many channels as its buffer has room for. One that the scheduler tore (a frame more than half a period late, twice
    in a row) or whose converter did not answer is thrown away: no cycle of it would be right. `torn` counts them; the next good one
    stands for their time, unless that is longer than five windows: then it is lost."""

    lost = torn = 0

    def __init__(self, read, rate_hz, frames_max, window_ms, ticks_us, ticks_diff):
        self.read = read
        self.rate_hz = rate_hz
        self.frames_max = frames_max
        self.window_ms = window_ms
        self._ticks_us = ticks_us
        self._ticks_diff = ticks_diff
        self._since = None
        self._rest = 0  # microseconds that no window has stood for yet

    def read_window(self, buf):
        try:
            whole = self._burst(buf)
        except Reject:
            whole = False
        now = self._ticks_us()
        if self._since is None:  # the first stands for its own window: nobody counted before
            self._since = now
            covers, rest = self.window_ms, 0
        else:
            covers, rest = divmod(self._ticks_diff(now, self._since) + self._rest, 1000)
        self.lost = 0
        if covers > _LONGEST * self.window_ms:
            self.lost = (covers - whole * self.window_ms) * self.rate_hz // 1000
            covers = self.window_ms
            self._since, self._rest = now, rest
        if not whole:
            self.torn += 1
            return 0, 0
        self._since, self._rest = now, rest
        return self.frames_max, covers

    def _burst(self, buf):
        period = 1000000 // self.rate_hz
        ticks_us, ticks_diff, read = self._ticks_us, self._ticks_diff, self.read
        channels = range(len(buf) // (2 * self.frames_max))
        at = late = 0
        start = ticks_us()
        for n in range(self.frames_max):
            due = n * 1000000 // self.rate_hz
            while True:
                waited = ticks_diff(ticks_us(), start)
                if waited >= due:
                    break
            if waited - due > period >> 1:
                late += 1
                if late > 1:
                    return False
            else:
                late = 0
            for k in channels:
                value = read(k)
                buf[at] = value & 255
                buf[at + 1] = value >> 8 & 255
                at += 2
        return True
