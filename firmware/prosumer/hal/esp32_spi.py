"""A part on the ESP32's second SPI bus: mode 3, the most significant bit first."""
import machine


class Bus:
    def __init__(self, baudrate, sck, mosi, miso, select):
        pin = machine.Pin
        self._spi = machine.SPI(1, baudrate=baudrate, polarity=1, phase=1, sck=pin(sck), mosi=pin(mosi), miso=pin(miso))
        self._select = pin(select, pin.OUT, value=1)

    def exchange(self, buf):
        """Clock `buf` out and what comes back into it, with the part selected."""
        self._select.value(0)
        self._spi.write_readinto(buf, buf)
        self._select.value(1)
