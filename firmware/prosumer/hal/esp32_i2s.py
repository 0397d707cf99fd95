"""ESP32 boards with a stereo converter on I2S: every sample of one voltage and one current, without a gap."""
import time

import machine
from micropython import const

from prosumer.hal.esp32 import Esp32
from prosumer.hal.sampler import CHUNK, Sampler

_DMA_CHUNKS = const(16)  # 512 ms at 8 kHz, 32 KiB of internal memory
_DRAIN_MS = const(100)


class I2sHal(Esp32):
    """`sck`, `ws`, `sd`: pins of an I2S converter, left channel voltage, right channel current; plugs: see Esp32."""

    channels = 2

    def __init__(self, sck, ws, sd, rate_hz=8000, window_ms=250, ring_ms=8000, plugs=()):
        super().__init__(plugs)
        self._pins = sck, ws, sd
        self.rate_hz, self.window_ms = rate_hz, window_ms
        self.frames_max = rate_hz * window_ms // 500 // CHUNK * CHUNK  # twice a window: to catch up after long computing
        self._ring_frames = rate_hz * ring_ms // 1000 // CHUNK * CHUNK

    def _begin(self):
        sck, ws, sd = [machine.Pin(n) for n in self._pins]
        i2s = machine.I2S(0, sck=sck, ws=ws, sd=sd, mode=machine.I2S.RX, bits=32, format=machine.I2S.STEREO, rate=self.rate_hz,
                          ibuf=_DMA_CHUNKS * CHUNK * 8)
        self._sampler = Sampler(i2s, self.rate_hz, (_DMA_CHUNKS - 1) * CHUNK, self._ring_frames, time.ticks_us, time.ticks_diff)
        self._timer = machine.Timer(0)
        self._timer.init(period=_DRAIN_MS, mode=machine.Timer.PERIODIC, callback=self._sampler.drain)

    def read_window(self, buf):
        frames, self.lost = self._sampler.take(buf)
        return frames, 0
