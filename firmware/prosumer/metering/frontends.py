"""Front ends that hand over samples: `read_window(buf)` fills `buf` (int16 frames) and returns (frames, covers_ms).

    continuous  I2sFrontEnd    PCM182x and other I2S converters: DMA, every cycle; covers_ms is 0
    windowed    BurstFrontEnd  a converter read by a paced loop: Mcp320x on SPI, or Adc1 (indicative)

`lost` is the number of frames lost before the buffer that was just read: tell the meter (`Meter.lost`) before its window.
Time comes in as `ticks_us()` and `ticks_diff(a, b)`; nothing here imports the chip.
"""
import micropython

from prosumer.errors import Reject


@micropython.viper
def narrow(raw, out, samples: int):
    """Upper halves of `samples` 32-bit little-endian samples in `raw` → 16-bit samples in `out`."""
    source = ptr16(raw)
    target = ptr16(out)
    n = 0
    while n < samples:
        target[n] = source[n + n + 1]
        n += 1


class I2sFrontEnd:
    """A stereo converter on `i2s` (machine.I2S, 32 bits, with a ring of `ring_frames`), left: voltage, right: current.

    MicroPython's I2S says nothing when its ring overflows. The converter's clock and the ticks come from one crystal, so the
    frames that should have come are known; those that neither came nor can still be in the ring are lost."""

    def __init__(self, i2s, rate_hz, frames_max, ring_frames, ticks_us, ticks_diff, channels=2):
        self.i2s = i2s
        self.rate_hz = rate_hz
        self.frames_max = frames_max
        self.channels = channels
        self.lost = 0
        self._ring = ring_frames
        self._ticks_us = ticks_us
        self._ticks_diff = ticks_diff
        self._raw = bytearray(frames_max * channels * 4)
        self._last = None
        self._behind = 0  # frames * 1,000,000 that have been sampled and not yet read

    def read_window(self, buf):
        self._pass()
        # a frame of tolerance for the ticks' rounding, so that nothing is called lost that is not
        self.lost = max(0, self._behind // 1000000 - self._ring - 1)
        got = self.i2s.readinto(self._raw)
        frames = got // (4 * self.channels)
        narrow(self._raw, buf, frames * self.channels)
        self._pass()
        # after a read that had to wait nothing is behind: what was not known at the start is known from then on
        self._behind = max(0, self._behind - (self.lost + frames) * 1000000)
        return frames, 0

    def _pass(self):
        now = self._ticks_us()
        if self._last is not None:
            self._behind += self._ticks_diff(now, self._last) * self.rate_hz
        self._last = now


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

    A burst that the scheduler tore (a frame more than half a period late, twice in a row or at its end) is thrown away: no
    cycle of it would be right. `torn` counts them."""

    def __init__(self, read, channels, rate_hz, frames_max, window_ms, ticks_us, ticks_diff):
        self.read = read
        self.channels = channels
        self.rate_hz = rate_hz
        self.frames_max = frames_max
        self.window_ms = window_ms
        self.lost = self.torn = 0
        self._ticks_us = ticks_us
        self._ticks_diff = ticks_diff
        self._since = ticks_us()

    def read_window(self, buf):
        """(0, 0) when the burst was torn; its time is covered by the next good one."""
        period = 1000000 // self.rate_hz
        ticks_us, ticks_diff, read = self._ticks_us, self._ticks_diff, self.read
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
                    self.torn += 1
                    return 0, 0
            else:
                late = 0
            for k in range(self.channels):
                value = read(k)
                buf[at] = value & 255
                buf[at + 1] = value >> 8 & 255
                at += 2
        end = ticks_us()
        covers = ticks_diff(end, self._since) // 1000
        self._since = end
        return self.frames_max, max(1, covers)
