"""The continuous front end: `read_window(buf)` fills `buf` (int16 frames) and returns (frames, 0). bursts.py has the windowed ones.

`lost` is the number of frames lost before the buffer that was just read: tell the meter (`Meter.lost`) before its window.
Time comes in as `ticks_us()` and `ticks_diff(a, b)`; nothing here imports the chip.
"""
import micropython


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
