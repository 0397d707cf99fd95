"""Front ends against stand-ins of their parts: I2S with an overflowing ring, an SPI converter, a clock that stalls."""
import math
from array import array

from prosumer.errors import Reject
from prosumer.metering import flags as m
from prosumer.metering.calibration import Calibration
from prosumer.metering.bursts import Adc1, BurstFrontEnd, Mcp320x
from prosumer.metering.frontends import I2sFrontEnd, narrow
from prosumer.metering.meter import Meter

RATE = 8000
CALIBRATION = Calibration.nominal([{"gain_nv": 12000000}], [{"gain_na": 3000000, "max_ma": 60000}], "factory", "B")


class Clock:
    def __init__(self):
        self.us = 5

    def ticks_us(self):
        return self.us & 0x3FFFFFFF

    def ticks_diff(self, a, b):
        return ((a - b + 0x20000000) & 0x3FFFFFFF) - 0x20000000


class I2s:
    """machine.I2S in blocking mode: a ring of `ring` frames that DMA fills in real time and that forgets the oldest."""

    def __init__(self, clock, ring):
        self.clock = clock
        self.ring = ring
        self.read = 0  # frames handed over or forgotten
        self.forgotten = 0

    def readinto(self, raw):
        want = len(raw) // 8
        sampled = self.clock.us * RATE // 1000000
        if sampled - self.read > self.ring:
            gone = sampled - self.read - self.ring
            self.forgotten += gone
            self.read += gone
        if sampled - self.read < want:  # block until they are there
            self.clock.us = -(-(self.read + want) * 1000000 // RATE)
        out = array("i", [0] * (2 * want))
        for k in range(want):
            w = 2 * math.pi * 50 / RATE * (self.read + k)
            out[2 * k] = round(27000 * 65536 * math.sin(w))
            out[2 * k + 1] = round(20000 * 65536 * math.sin(w - 0.5))
        raw[:] = bytes(out)
        self.read += want
        return len(raw)


def test_upper_halves():
    raw = array("i", [0x12345678, -2, -0x7FFF0001, 65535])
    out = bytearray(8)
    narrow(bytes(raw), out, 4)
    assert list(array("h", out)) == [0x1234, -1, -0x8000, 0]


def measured(clock, i2s, busy_us):
    front = I2sFrontEnd(i2s, RATE, 1600, i2s.ring, clock.ticks_us, clock.ticks_diff)
    mt = Meter((("v", "voltage"), ("grid", "grid")), RATE, CALIBRATION, group_cycles=10)
    buf = bytearray(1600 * 4)
    lost = 0
    for k in range(40):
        frames, covers = front.read_window(buf)
        assert frames == 1600 and covers == 0
        if front.lost:
            mt.lost(front.lost)
            lost += front.lost
        mt.window(buf, frames, covers)
        clock.us += busy_us(k)
    return mt.close_interval(), lost, clock.us


def test_i2s_is_continuous_while_the_ring_holds():
    clock = Clock()
    i2s = I2s(clock, 3200)
    d, lost, us = measured(clock, i2s, lambda k: 350000 if k % 10 == 3 else 40000)
    assert lost == i2s.forgotten == 0 and d["flags"] == 0
    assert 385 <= d["cycles_processed"] <= 400
    p = 27000 * 0.012 * 20000 * 0.003 / 2 * math.cos(0.5) * 1000
    assert abs(d["channels"]["grid"]["active_power_mw"] - p) < p / 10000


def test_i2s_overrun_counts_as_missing_cycles():
    clock = Clock()
    i2s = I2s(clock, 3200)
    d, lost, us = measured(clock, i2s, lambda k: 900000 if k in (11, 25) else 40000)
    assert i2s.forgotten > 5000
    assert abs(lost - i2s.forgotten) <= 4, (lost, i2s.forgotten)
    assert d["flags"] & m.MISSING and d["flags"] & m.GAP
    elapsed = us * 50 // 1000000
    assert abs(d["cycles_processed"] + d["cycles_missing"] - elapsed) < 25
    p = 27000 * 0.012 * 20000 * 0.003 / 2 * math.cos(0.5) * 1000
    assert abs(d["channels"]["grid"]["active_power_mw"] - p) < p / 10000


class Mcp:
    """MCP3204 at the level of its protocol; `stuck` is the level of a broken MISO line."""

    def __init__(self, clock):
        self.clock = clock
        self.stuck = None

    def exchange(self, buf):
        self.clock.us += 30
        if self.stuck is not None:
            buf[0] = buf[1] = buf[2] = self.stuck
            return
        assert buf[0] & 0xF8 == 0 and buf[0] & 4 and buf[0] & 2  # start bit, single-ended
        w = 2 * math.pi * 50e-6 * self.clock.us
        channel = (buf[0] & 1) << 2 | buf[1] >> 6
        code = 2048 + round((1700 * math.sin(w), 900 * math.sin(w))[channel])
        buf[0], buf[1], buf[2] = 0xFF, code >> 8, code & 255


def test_bursts_of_an_spi_converter_stand_for_their_window():
    clock = Clock()
    adc = Mcp320x(Mcp(clock))

    def ticks():
        clock.us += 3
        return clock.ticks_us()

    front = BurstFrontEnd(adc.read, 2000, 400, 1000, ticks, clock.ticks_diff)
    c = Calibration.nominal([{"gain_nv": 200000000, "clip": 2047}],
                            [{"gain_na": 50000000, "max_ma": 60000, "skew_ns": 30000, "clip": 2047}], "factory", "indicative")
    mt = Meter((("v", "voltage"), ("grid", "grid")), 2000, c)
    buf = bytearray(400 * 4)
    began = clock.us
    for k in range(5):
        clock.us += 800000
        frames, covers = front.read_window(buf)
        assert frames == 400 and 990 <= covers <= 1010
        mt.window(buf, frames, covers)
    d = mt.close_interval()
    p = 1700 * 0.2 * 900 * 0.05 / 2
    g = d["channels"]["grid"]
    assert abs(g["import_mwh"] - p * (clock.us - began) * 1e-6 / 3.6) < g["import_mwh"] * 0.002, (g, p)
    assert d["flags"] == 0 and d["cycles_estimated"] > 3 * d["cycles_processed"] and d["accuracy"] == 0


def test_a_torn_burst_is_thrown_away_and_its_time_covered_by_the_next():
    clock = Clock()
    calls = [300]

    def read(channel):
        calls[0] += 1
        clock.us += 30
        if calls[0] == 300:
            clock.us += 5000  # another task had the core
        return 0

    def ticks():
        clock.us += 3
        return clock.ticks_us()

    front = BurstFrontEnd(read, 2000, 400, 1000, ticks, clock.ticks_diff)
    buf = bytearray(1600)
    assert front.read_window(buf) == (400, 1000)  # the first stands for its window alone, however late it is
    calls[0] = 0
    clock.us += 800000
    assert front.read_window(buf) == (0, 0) and front.torn == 1 and front.lost == 0
    clock.us += 900000
    frames, covers = front.read_window(buf)
    assert frames == 400 and 1900 < covers < 2200 and front.lost == 0, covers


def test_bursts_that_stay_away_are_lost_time():
    clock = Clock()
    answers = [True]

    def read(channel):
        clock.us += 30
        if not answers[0]:
            raise Reject("adc-bus")
        return 0

    def ticks():
        clock.us += 3
        return clock.ticks_us()

    front = BurstFrontEnd(read, 2000, 400, 1000, ticks, clock.ticks_diff)
    buf = bytearray(1600)
    front.read_window(buf)
    began = clock.us
    stood = 0
    for k in range(50):
        clock.us += 700000 + 777
        stood += front.read_window(buf)[1]
    assert abs(stood - (clock.us - began) / 1000) <= 1  # what is below a millisecond is kept for the next
    answers[0] = False
    lost = 0
    began = clock.us
    for _ in range(30):
        clock.us += 1000000
        assert front.read_window(buf) == (0, 0)
        lost += front.lost
    answers[0] = True
    clock.us += 800000
    frames, covers = front.read_window(buf)
    lost += front.lost
    assert frames == 400 and front.torn == 30
    assert abs(lost // 2 + covers - (clock.us - began) // 1000) < 20, (lost, covers)  # every millisecond is one or the other


def test_eight_channels_are_asked_for_as_the_datasheet_says():
    asked = []

    class Bus:
        def exchange(self, buf):
            asked.append((buf[0] << 16 | buf[1] << 8) >> 14)  # start, single, D2, D1, D0
            buf[0], buf[1], buf[2] = 0xFF, 0xE0 | 0x09, 0x34

    adc = Mcp320x(Bus())
    assert [adc.read(k) for k in range(8)] == [0x934 - 2048] * 8
    assert asked == [0b11000 | k for k in range(8)]


def test_a_stuck_line_is_not_a_sample():
    clock = Clock()
    chip = Mcp(clock)
    adc = Mcp320x(chip)
    assert -2048 <= adc.read(0) <= 2047
    chip.stuck = 0xFF
    try:
        adc.read(0)
    except Reject as e:
        assert e.code == "adc-bus"
        chip.stuck = 0
        # a line stuck low reads as the lowest count: flat, so the meter finds no voltage and flags it
        assert adc.read(0) == -2048
        return
    assert False


class Pin:
    """machine.ADC of an ESP32 at the level of read_u16: 12 bits scaled to 16, a bent transfer curve, 45 us a read."""

    def __init__(self, clock, peak, shift):
        self.clock, self.peak, self.shift = clock, peak, shift

    def read_u16(self):
        self.clock.us += 45
        x = self.peak * math.sin(2 * math.pi * 50e-6 * self.clock.us - self.shift)
        code = max(0, min(4095, round(2048 + x + 12 * (1 - (x / 2048) ** 2))))
        return code << 4 | code >> 8


def test_the_chips_own_converter_counts_as_indicative():
    clock = Clock()
    adc = Adc1((Pin(clock, 1500, 0), Pin(clock, 800, 0)))

    def ticks():
        clock.us += 3
        return clock.ticks_us()

    front = BurstFrontEnd(adc.read, 2000, 400, 1000, ticks, clock.ticks_diff)
    c = Calibration.nominal([{"gain_nv": 220000000, "clip": 2047}],
                            [{"gain_na": 50000000, "max_ma": 60000, "skew_ns": 45000, "clip": 2047}], "field", "indicative")
    mt = Meter((("v", "voltage"), ("grid", "grid")), 2000, c)
    buf = bytearray(400 * 4)
    for k in range(5):
        clock.us += 800000
        frames, covers = front.read_window(buf)
        mt.window(buf, frames, covers)
    d = mt.close_interval()
    p = 1500 * 0.22 * 800 * 0.05 / 2 * 1000
    assert abs(d["channels"]["grid"]["active_power_mw"] - p) < p * 0.02
    assert d["accuracy"] == 0 and d["flags"] == 0  # a class, not a fault
    assert d["channels"]["grid"]["uncertainty_mwh"] >= d["channels"]["grid"]["import_mwh"] // 20
