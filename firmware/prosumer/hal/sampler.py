"""A continuous stream that outlasts the meter's computing: DMA → (timer, every 100 ms) → ring of 16-bit frames → windows.

MicroPython runs a timer's callback between two bytecodes of whatever the meter computes, so that only the DMA's half
second must be bridged by the callback and seconds by the ring. A tick that is lost costs nothing: the next takes more.
"""
from micropython import const

from prosumer.metering.frontends import I2sFrontEnd

CHUNK = const(256)  # frames: what one DMA descriptor holds
_FRAME = const(4)
_WAITED_US = const(2000)  # a read that took longer had to wait: nothing is left in the DMA
_SYNC = const(240)  # windows: how often to read until it must wait
_LEAST = const(3)  # chunks: a shorter piece holds no whole cycle for certain (Meter.min_frames)


class Sampler(I2sFrontEnd):
    """`dma_frames`: what the DMA keeps while nobody reads; `ring_frames`: multiple of CHUNK. To be made right after `i2s`.

    What is in the DMA is known by its rate and the time; the two drift, so that once a minute a read waits for the truth."""

    def __init__(self, i2s, rate_hz, dma_frames, ring_frames, ticks_us, ticks_diff):
        super().__init__(i2s, rate_hz, CHUNK, dma_frames, ticks_us, ticks_diff)
        self._kept = memoryview(bytearray(ring_frames * _FRAME))
        self._chunks = ring_frames // CHUNK
        self._in = self._out = 0  # chunks since the start
        self._gaps = []  # [chunk, frames lost before it]
        self._draining = False
        self._takes = 0
        self._pass()

    def drain(self, _timer=None):
        """Take what the DMA has for certain, without waiting. Called by the timer, and by `take`, which it may interrupt."""
        if not self._draining:
            self._draining = True
            try:
                while self._in - self._out < self._chunks:
                    self._pass()
                    if self._behind < 2 * CHUNK * 1000000:  # one chunk is being filled
                        break
                    self._read()
            finally:
                self._draining = False

    def _read(self):
        """One chunk into the ring; whether it had to be waited for."""
        at = self._in % self._chunks * CHUNK * _FRAME
        began = self._ticks_us()
        self.read_window(self._kept[at:at + CHUNK * _FRAME])
        waited = self._ticks_diff(self._ticks_us(), began) > _WAITED_US
        if waited:
            self._behind = 0
        if self.lost:
            self._gaps.append([self._in, self.lost])
        self._in += 1
        return waited

    def _sync(self):
        self._draining = True
        try:
            while self._in - self._out < self._chunks and not self._read():
                pass
        finally:
            self._draining = False

    def take(self, buf):
        """Frames into `buf`; (frames, frames lost before them). (0, 0) when there are too few yet."""
        self.drain()
        self._takes += 1
        if self._takes % _SYNC == 0:
            self._sync()
        lost = 0
        while True:
            end = self._in
            if self._gaps and self._gaps[0][0] == self._out:
                lost += self._gaps.pop(0)[1]
            if self._gaps:
                end = self._gaps[0][0]
            n = min(end - self._out, len(buf) // (CHUNK * _FRAME))
            if n >= _LEAST:
                break
            if not self._gaps:
                if lost:
                    self._gaps.insert(0, [self._out, lost])  # for the window that will follow
                return 0, 0
            lost += n * CHUNK  # a piece between two gaps, too short to hold a cycle
            self._out += n
        for k in range(n):
            at = self._out % self._chunks * CHUNK * _FRAME
            buf[k * CHUNK * _FRAME:(k + 1) * CHUNK * _FRAME] = self._kept[at:at + CHUNK * _FRAME]
            self._out += 1
        return n * CHUNK, lost
