"""ESP32 boards with an ATM90E32AS on SPI: the chip samples and integrates, each window its energy counts are taken over."""
import time

import machine
from micropython import const

from prosumer.hal.esp32 import Esp32
from prosumer.metering.atm90e32 import Atm90e32

_HZ = const(500000)  # the chip's limit is 1.2 MHz
_COUNT_UWH = const(3125)  # a count of its energy registers, in thousandths of mWh


class Bus:
    def __init__(self, spi, select):
        self._spi, self._select = spi, select

    def exchange(self, buf):
        self._select.value(0)
        self._spi.write_readinto(buf, buf)
        self._select.value(1)


class ChipMeter(Atm90e32):
    def so_far(self, k):
        """(import, export) of clamp `k` in the open interval, whole mWh."""
        c = self._counts[k]
        return (c[0] * _COUNT_UWH + c[2]) // 1000, (c[1] * _COUNT_UWH + c[3]) // 1000


class ChipHal(Esp32):
    """No samples reach the meter (rate_hz 0): `meter` makes the chip's own, and read_window polls it and returns (0, 0)."""

    rate_hz = frames_max = channels = 0
    window_ms = 2000

    def __init__(self, sck, mosi, miso, select, gains):
        super().__init__()
        self._pins = sck, mosi, miso, select
        self._gains = gains  # Atm90e32's settings

    def _begin(self):
        pass  # the chip counts already

    def meter(self, channels, calibration):
        sck, mosi, miso, select = self._pins
        spi = machine.SPI(1, baudrate=_HZ, polarity=1, phase=1, sck=machine.Pin(sck), mosi=machine.Pin(mosi), miso=machine.Pin(miso))
        bus = Bus(spi, machine.Pin(select, machine.Pin.OUT, value=1))
        self._chip = ChipMeter(bus, [c[:2] for c in channels if c[1] != "voltage"], self._gains, calibration, time.sleep_ms)
        self._polled_ms = time.ticks_ms()
        return self._chip

    def read_window(self, buf):
        now = time.ticks_ms()
        elapsed = time.ticks_diff(now, self._polled_ms)
        self._polled_ms = now
        self._chip.poll(elapsed)
        return 0, 0
