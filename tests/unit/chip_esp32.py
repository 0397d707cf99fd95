"""Stand-ins for what an ESP32 gives: machine, network, time, sockets. They keep the parts' contracts and fail as the parts do.

`Chip()` puts itself in the place of the modules that prosumer.hal.esp32 imports. Time moves only in sleeps, waits and `work`.
"""
import math
import sys
from array import array

from chip_radio import Bitten, Network, Ntp, Registers, Wlan  # noqa: F401

HERE = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."


def board_of(name):
    """The board's own board.py; Chip() must be there when it makes its hal."""
    sys.path.insert(0, HERE + "/../../boards/" + name)
    sys.modules.pop("board", None)
    try:
        import board
    finally:
        sys.path.pop(0)
    return board


class Stop(Exception):
    """The test has seen enough."""


class Chip:
    def __init__(self):
        self.us = 5
        self.epoch_ms = 1_800_000_000_000  # Unix time when the chip got its power
        self.rtc_ms = 0  # since 2000, as after a power cut
        self.timers = []
        self.fed = None
        self.stop_us = None
        self.i2s_ppm = 0
        self.callbacks_run = True
        self.i2s = None
        self.wlan = Wlan(self)
        self.machine = "Generic ESP32S3 module with ESP32-S3"
        self.registers = Registers(self, 0x6003507C, 0x60026014, 0x78878F)
        self.ntp = Ntp(self)
        self.resets = 0
        self.said = []
        sys.modules["machine"], sys.modules["network"] = Machine(self), Network(self)
        self.nvs = {}  # (namespace, key): bytes
        self.nvs_fault = None
        sys.modules["esp32"] = self
        self.tick_us = 0  # what asking the time takes: loops that wait for it need some
        self.levels = {}  # of input pins; pulled up where nothing is said
        self.slave = self.analogue = None
        from prosumer.hal import esp32, esp32_burst, esp32_chip, esp32_i2s, esp32_spi
        for module in esp32, esp32_burst, esp32_chip, esp32_i2s, esp32_spi:
            module.machine, module.network, module.time = sys.modules["machine"], sys.modules["network"], self
        esp32.esp32 = esp32.os = esp32.select = esp32.socket = self
        esp32.print = lambda *words: self.said.append(" ".join([str(w) for w in words]))
        self.hal_module = esp32

    # -- time

    def work(self, us, callbacks=True):
        """The chip computes for so long; timers' callbacks run between bytecodes unless native code holds the processor."""
        end = self.us + us
        while self.us < end:
            due = min([t.due for t in self.timers] + [end])
            if callbacks and due < end:
                self.us = max(self.us, due)
                for t in self.timers:
                    t.run()
            else:
                self.us = end
            self.check()
        for t in self.timers:
            t.run()

    def check(self):
        if self.fed is not None and self.us - self.fed[0] > self.fed[1] * 1000:
            raise Bitten()
        if self.stop_us and self.us > self.stop_us:
            raise Stop()

    def ticks_us(self):
        self.us += self.tick_us
        return self.us & 0x3FFFFFFF

    def ticks_ms(self):
        return self.us // 1000 & 0x3FFFFFFF

    def ticks_diff(self, a, b):
        return ((a - b + 0x20000000) & 0x3FFFFFFF) - 0x20000000

    def sleep_ms(self, ms):
        self.work(ms * 1000)

    def sleep_us(self, us):
        self.us += us

    def unix_ms(self):
        return self.epoch_ms + self.us // 1000

    def time_ns(self):
        return (self.rtc_ms + self.us // 1000) * 1000000

    def gmtime(self, seconds=0):
        import time
        return time.gmtime(seconds + 946684800)[:8]  # this port's epoch is 2000

    # -- esp32, os, select, socket

    def NVS(self, namespace):
        return Nvs(self, namespace)

    def uname(self):
        return "esp32", "esp32", "1.29.0", "v1.29.0", self.machine

    def urandom(self, n):
        return bytes(range(n))  # bound to something else, as may happen to a name

    def poll(self):
        return Poll(self)

    POLLIN = 1
    AF_INET = 2
    SOCK_DGRAM = 2

    def getaddrinfo(self, host, port):
        if not self.wlan.joined() or self.ntp.unknown:
            raise OSError(-2)
        return [(2, 2, 0, "", (host, port))]

    def socket(self, *_):
        return self.ntp.open()


class Nvs:
    """A namespace of the NVS partition; what was set is lost if nobody commits."""

    def __init__(self, chip, namespace):
        if not 0 < len(namespace) < 16:
            raise OSError(-0x1109, "ESP_ERR_NVS_KEY_TOO_LONG")
        self.chip, self.namespace, self.set = chip, namespace, {}

    def get_blob(self, key, buf):
        if self.chip.nvs_fault:
            raise OSError(self.chip.nvs_fault, "ESP_ERR_NVS_…")
        if (self.namespace, key) not in self.chip.nvs:
            raise OSError(-0x1102, "ESP_ERR_NVS_NOT_FOUND")
        data = self.chip.nvs[self.namespace, key]
        if len(data) > len(buf):
            raise OSError(-0x110C, "ESP_ERR_NVS_INVALID_LENGTH")
        buf[:len(data)] = data
        return len(data)

    def set_blob(self, key, data):
        self.set[self.namespace, key] = bytes(data)

    def commit(self):
        self.chip.nvs.update(self.set)


class Poll:
    def __init__(self, chip):
        self.chip = chip
        self.sources = []

    def register(self, source, flags):
        self.sources.append(source)

    def unregister(self, source):
        self.sources.remove(source)

    def ipoll(self, timeout):
        end = self.chip.us + timeout * 1000
        while True:
            ready = [(s, 1) for s in self.sources if s.ready_us() is not None and s.ready_us() <= self.chip.us]
            if ready or self.chip.us >= end:
                return ready
            next_us = min([s.ready_us() for s in self.sources if s.ready_us() is not None] + [end])
            self.chip.work(max(1, next_us - self.chip.us))


class Link:
    """What `wait` sees of the session: a socket that has data at a time."""

    def __init__(self, at_us=None):
        self.sock = self
        self.at_us = at_us

    def ready_us(self):
        return self.at_us


class Timer:
    def __init__(self, chip):
        self.chip = chip
        self.due = 1 << 60

    def init(self, period, mode, callback):
        self.period, self.callback = period * 1000, callback
        self.due = self.chip.us + self.period
        self.chip.timers.append(self)

    def run(self):
        if self.chip.us >= self.due:
            self.due = self.chip.us + self.period  # what was missed meanwhile is not made up for
            if self.chip.callbacks_run:
                self.callback(self)


class Wdt:
    def __init__(self, chip, timeout):
        self.chip, self.timeout = chip, timeout
        self.feed()

    def feed(self):
        self.chip.fed = self.chip.us, self.timeout


class Pin:
    IN, OUT, PULL_UP = 1, 3, 2

    def __init__(self, number, mode=0, pull=None, value=0):
        self.number, self.level = number, value
        if mode == self.IN and pull != self.PULL_UP:
            raise ValueError("a switch needs its pull-up")
        if mode == self.OUT:
            self.chip.select = self  # the only output there is

    def value(self, level=None):
        if level is None:
            return self.chip.levels.get(self.number, 1)
        self.level = level
        return None


class Adc:
    """12 bits scaled to 16 at what `chip.analogue(pin, us)` says; ADC1's pins alone, as ADC2 fails while the radio is on. 40 us a read."""

    ATTN_11DB = 3

    def __init__(self, pin, atten=0):
        if not 32 <= pin.number <= 39:
            raise ValueError("invalid pin")
        if atten != self.ATTN_11DB:
            raise ValueError("1.1 V is full scale")
        self.pin = pin

    def read_u16(self):
        chip = self.pin.chip
        chip.us += 40
        code = max(0, min(4095, round(chip.analogue(self.pin.number, chip.us))))
        return code << 4 | code >> 8


class Spi:
    """Mode 3, most significant bit first; `chip.slave` answers while `chip.select` is low, else the line floats high."""

    def __init__(self, chip, baudrate, polarity, phase, sck, mosi, miso):
        self.chip = chip
        if not polarity or not phase or baudrate > 1200000:
            raise ValueError("the parts need mode 3 and 1.2 MHz at most")

    def write_readinto(self, out, into):
        into[:] = out
        if self.chip.select.level:
            into[:] = b"\xff" * len(into)
        else:
            self.chip.slave.exchange(into)
        self.chip.us += 60


class Rtc:
    def __init__(self, chip):
        self.chip = chip

    def datetime(self, t):
        self.chip.rtc = t


class Maker:
    """A class of the chip's: called with the number of the peripheral."""

    RX, STEREO, PERIODIC = 1, 2, 1

    def __init__(self, part, chip):
        self.part, self.chip = part, chip

    def __call__(self, number, **options):
        if number not in (0, 1):
            raise ValueError("invalid id")
        return self.part(self.chip, **options)


class Machine:
    def __init__(self, chip):
        self.chip = chip
        self.I2S = Maker(I2s, chip)
        self.Timer = Maker(Timer, chip)
        self.WDT = lambda timeout: Wdt(chip, timeout)
        self.RTC = lambda: Rtc(chip)
        self.Pin, self.ADC = Pin, Adc
        Pin.chip = chip
        self.SPI = Maker(Spi, chip)

    @property
    def mem32(self):
        return self.chip.registers

    def unique_id(self):
        return b"\x01\x02\x03\x04\x05\x06"

    def reset(self):
        self.chip.resets += 1


class I2s:
    """RX in 32-bit stereo: DMA descriptors of 256 frames, filled in real time; when all are full the oldest is dropped.

    readinto blocks until the buffer, of one descriptor at most, is full.
    50 Hz: 27000 counts of voltage, 20000 of current 0.5 rad behind."""

    memory = 64 << 10

    def __init__(self, chip, sck, ws, sd, mode, bits, format, rate, ibuf):
        if ibuf > self.memory or mode != 1 or bits != 32 or format != 2:
            raise OSError(0x101)
        self.chip, self.rate = chip, rate
        self.queue = max(ibuf // 2048, 2) - 1
        self.start_us = chip.us
        self.read = self.forgotten = self.waits = 0  # frames, frames, count
        chip.i2s = self

    def sampled(self):
        """Frames in finished descriptors."""
        return (self.chip.us - self.start_us) * self.rate * (1000000 + self.chip.i2s_ppm) // 1000000000000 // 256 * 256

    def readinto(self, raw):
        want = len(raw) // 8
        over = self.sampled() - self.read - self.queue * 256
        if over > 0:
            self.forgotten += over
            self.read += over
        if self.sampled() - self.read < want:
            self.waits += 1
            while self.sampled() - self.read < want:
                self.chip.us += 125
        else:
            self.chip.us += 60
        at = self.read % 160 * 8
        raw[:] = self.wave[at:at + 8 * want]
        self.read += want
        return len(raw)

    wave = bytes(array("i", [round(a * 65536 * math.sin(2 * math.pi * k / 160 - p)) for k in range(160 + 256)
                             for a, p in ((27000, 0), (20000, 0.5))]))
