"""ESP32 boards with an ATM90E32AS on SPI: the chip samples and integrates, each window its energy counts are taken over."""
import time

from micropython import const

from prosumer.hal.esp32 import Esp32
from prosumer.hal.esp32_spi import Bus
from prosumer.metering.atm90e32 import Atm90e32

_HZ = const(500000)  # the chip's limit is 1.2 MHz


class ChipHal(Esp32):
    """`wiring`: Atm90e32's mmode0 and mmode1. There are no samples: `meter` is the chip's own, and a window says how long it counted."""

    rate_hz = frames_max = channels = 0
    window_ms = 2000

    def __init__(self, sck, mosi, miso, select, wiring, plugs=()):
        super().__init__(plugs)
        self._pins = sck, mosi, miso, select
        self._wiring = wiring

    def _begin(self):
        pass  # the chip counts already

    def meter(self, channels, calibration):
        self._window_ms = time.ticks_ms()
        return Atm90e32(Bus(_HZ, *self._pins), [c[:2] for c in channels if c[1] != "voltage"], self._wiring, calibration, time.sleep_ms)

    def read_window(self, buf):
        now = time.ticks_ms()
        passed = time.ticks_diff(now, self._window_ms)
        self._window_ms = now
        return 1, passed
