"""The sampling task: lost frames, journal in time, what a restart says, and a chip that counts by itself."""
import math
import os
from array import array

from prosumer.metering import flags as m
from prosumer.metering.calibration import Calibration
from prosumer.metering.house import House
from prosumer.records import FLAG_GAP
from test_metering_atm90e32 import Chip, front_end
from test_metering_registers import RamFlash

CALIBRATION = Calibration.nominal([{"gain_nv": 12000000}], [{"gain_na": 3000000, "max_ma": 60000}], "factory", "B")
CHANNELS = (("v", "voltage"), ("grid", "grid"))
POWER = 27000 * 0.012 * 20000 * 0.003 / 2 * 1000  # mW


class Continuous:
    """A stream at 8 kHz in windows of 250 ms; `drop` frames are missing before the next one."""

    rate_hz, frames_max, window_ms, channels = 8000, 2000, 250, 2
    out = 0

    def __init__(self):
        self.at = self.lost = self.drop = 0

    def read_window(self, buf):
        self.lost, self.drop = self.drop, 0
        self.at += self.lost
        out = array("h", [0] * 4000)
        for k in range(2000):
            w = math.sin(2 * math.pi * 50 / 8000 * ((self.at + k) % 160))
            out[2 * k], out[2 * k + 1] = round(27000 * w), round(20000 * w)
        buf[:] = bytes(out)
        self.at += 2000
        return 2000, 0


def on_flash(test):
    """Runs `test` with an empty flash at /flash."""
    flash = RamFlash()
    os.VfsLfs2.mkfs(flash)
    os.mount(os.VfsLfs2(flash), "/flash")
    try:
        test()
    finally:
        os.umount("/flash")


def sampled(house, start_ms, windows):
    """Times at which a journal period ended."""
    return [t for t in [start_ms + 250 * (k + 1) for k in range(windows)] if house.sample(t)]


def closed(house):
    """As the agent does at the end of a slot."""
    interval = house.close_slot()
    house.open_slot()
    return interval


def _journal():
    hal = Continuous()
    house = House(hal, CHANNELS, CALIBRATION, "/flash/")
    done = sampled(house, 1000000, 100)
    gaps = [b - a for a, b in zip(done, done[1:])]
    assert gaps and max(gaps) == 10000, done
    assert house.registers.durable("grid+") > POWER * 0.95 * (done[-1] - 1000000) / 3600000
    # the clock goes back: the next journal does not wait for the old time
    assert house.sample(500000)
    assert sampled(house, 500000, 45) == [510000]


def _lost():
    hal = Continuous()
    house = House(hal, CHANNELS, CALIBRATION, "/flash/")
    sampled(house, 0, 40)
    hal.drop = 8013  # a second that nobody read
    sampled(house, 10000, 40)
    d = closed(house)
    assert d["flags"] & m.MISSING and d["flags"] & m.GAP
    assert abs(d["cycles_processed"] + d["cycles_missing"] - hal.at // 160) <= 26  # a group is open at the end
    assert d["cycles_missing"] >= 50
    got = house.registers.value("grid+")
    assert POWER / 3600000 * 18000 < got < POWER / 3600000 * 20000, got  # nothing was made up for the lost second


def _restart():
    house = House(Continuous(), CHANNELS, CALIBRATION, "/flash/")
    sampled(house, 1000000, 44)
    d = closed(house)
    assert d["flags"] & FLAG_GAP == 0  # a new meter has lost nothing
    usual = house.uncertainty_mwh(d)
    before = house.registers.durable("grid+")
    again = House(Continuous(), CHANNELS, CALIBRATION, "/flash/")
    assert again.registers.value("grid+") == before > 0
    # the last journal was at 1,010,250; samples begin again 250 ms before 1,022,250
    sampled(again, 1022000, 44)
    d = closed(again)
    assert d["flags"] & FLAG_GAP and not d["flags"] & m.FAULTS
    lost = POWER * 11750 / 3600000
    assert abs(again.uncertainty_mwh(d) - usual - lost) < lost / 50, (again.uncertainty_mwh(d), usual, lost)
    sampled(again, 1033000, 44)
    d = closed(again)
    assert d["flags"] & FLAG_GAP == 0 and abs(again.uncertainty_mwh(d) - usual) < usual / 10


def _long_off():
    """Nobody counted for a day: of that the slot's own length lies in the slot."""
    sampled(House(Continuous(), CHANNELS, CALIBRATION, "/flash/"), 1000000, 4)
    again = House(Continuous(), CHANNELS, CALIBRATION, "/flash/")
    sampled(again, 87400000, 8)
    d = again.close_slot(300000)
    wide = POWER * (300000 - d["covered_ms"]) / 3600000
    assert wide < again.uncertainty_mwh(d) < wide * 1.02
    again.open_slot()
    # a clock that goes back: time is not counted twice, and nothing goes back with it
    newest = again.registers.value("time")
    sampled(again, 500000, 4)
    closed(again)
    assert again.registers.value("time") == newest > 87400000


class Chipped:
    """A board whose chip counts by itself."""

    rate_hz = frames_max = lost = out = 0
    window_ms, channels = 1000, 0

    def __init__(self):
        self.chip = Chip()

    def meter(self, channels, calibration):
        return front_end(self.chip, calibration)

    def read_window(self, buf):
        self.chip.run(1000)
        return 1, 1000


def _chip():
    from test_metering_atm90e32 import CALIBRATION as of_chip
    hal = Chipped()
    house = House(hal, (("v", "voltage"), ("grid1", "grid"), ("grid2", "grid"), ("pv", "pv")), of_chip, "/flash/")
    hal.chip.power_mw = [3000000, -1000000, 2000000]
    done = [t for t in range(1000, 301000, 1000) if house.sample(t)]
    assert 29 <= len(done) <= 31 and abs(house.power_mw["grid"] - 2000000) <= 2
    d = closed(house)
    assert d["flags"] == 0 and d["covered_ms"] == 300000 and d["voltage_mv"] == 230000
    assert [abs(a - b) <= 8 for a, b in zip(house.totals(), (250000, 83333, 166666))] == [True] * 3, house.totals()


def test_journal_in_time():
    on_flash(_journal)


def test_lost_frames_are_missing_cycles():
    on_flash(_lost)


def test_a_restart_says_that_it_was_one():
    on_flash(_restart)


def test_only_the_slots_share_of_a_long_absence_counts():
    on_flash(_long_off)


def test_a_chip_that_counts_by_itself():
    on_flash(_chip)
