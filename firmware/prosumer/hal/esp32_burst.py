"""ESP32 boards whose converter is read in bursts: an MCP3204/3208 on SPI, or the chip's own ADC1. Windowed: the rest is estimated."""
import time

import machine
from micropython import const

from prosumer.hal.esp32 import Esp32
from prosumer.metering.bursts import Adc1, BurstFrontEnd, Mcp320x

_HZ = const(1000000)  # the MCP3208's limit at 2.7 V


class BurstHal(Esp32):
    """`converter()`, called at the start, has read(channel): `mcp320x` and `adc1` below make one.

    1987 Hz is no multiple of a grid's frequency: the steep edges of a dimmer's current do not fall between the same two samples for ever.
    398 frames are 200 ms of a core's time, 9 whole cycles of 50 Hz."""

    rate_hz, frames_max, window_ms = 1987, 398, 1000

    def __init__(self, converter, plugs=()):
        super().__init__(plugs)
        self._converter = converter

    def _begin(self):
        self._front = BurstFrontEnd(self._converter().read, self.rate_hz, self.frames_max, self.window_ms, time.ticks_us, time.ticks_diff)

    def read_window(self, buf):
        window = self._front.read_window(buf)
        self.lost = self._front.lost
        return window


def mcp320x(sck, mosi, miso, select):
    from prosumer.hal.esp32_spi import Bus
    return Mcp320x(Bus(_HZ, sck, mosi, miso, select))


def adc1(*pins):
    """Voltage first; GPIO32 to 39, the pins that ADC1 has."""
    return Adc1([machine.ADC(machine.Pin(n), atten=machine.ADC.ATTN_11DB) for n in pins])
