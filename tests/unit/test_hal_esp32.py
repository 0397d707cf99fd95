"""The ESP32's hardware layer against stand-ins of machine, network and a time server (chip_esp32.py)."""
import math
import os

from chip_esp32 import Bitten, Chip, Link, Stop, board_of
from prosumer.errors import Halt, Reject
from prosumer.hal.clock import LEAST_MS, Clock, answer_ms, request
from prosumer.metering import flags as m
from prosumer.metering.calibration import Calibration
from prosumer.metering.meter import Meter

CALIBRATION = Calibration.nominal([{"gain_nv": 12000000}], [{"gain_na": 3000000, "max_ma": 60000}], "factory", "B")
WATTS = 27000 * 0.012 * 20000 * 0.003 / 2 * math.cos(0.5)


def started(chip=None, settings=None):
    chip = chip or Chip()
    chip.hal_module._settings = lambda: settings or {"wifi": {"ssid": "home", "password": "right"}}
    from prosumer.hal.esp32_i2s import I2sHal  # not before the stand-ins are there
    return chip, I2sHal(4, 5, 6)


def raises(error, call, *args):
    try:
        call(*args)
    except error as e:
        return str(e)
    raise AssertionError("nothing was raised")


# -- start

def test_the_first_time_comes_from_the_network():
    chip, hal = started()
    assert chip.i2s is None and chip.ntp.asked == 0  # a meter that is not enrolled needs neither
    now = hal.now_ms()
    assert abs(now - chip.unix_ms()) < 100, now - chip.unix_ms()
    assert hal.network_up() and chip.i2s.rate == 8000 and hal.unique_id() == b"\x01\x02\x03\x04\x05\x06"
    assert chip.rtc[0] == 2027, chip.rtc
    assert hal.plant() == (0, 0, 0, 0, 0, 1) and hal.frames_max * 4 <= 16384


def test_a_house_whose_router_is_late_is_waited_for():
    chip = Chip()
    chip.wlan.tries_needed = 12
    chip, hal = started(chip)
    hal.now_ms()
    assert chip.us > 200 * 1000000 and chip.said[0] == "waiting for the network home: no connection"


def test_a_wrong_password_is_said_and_the_watchdog_fed_for_ever():
    chip = Chip()
    chip.stop_us = 3600 * 1000000
    chip, hal = started(chip, {"wifi": {"ssid": "home", "password": "wrong"}})
    raises(Stop, hal.now_ms)
    assert chip.said[-1] == "waiting for the network home: wrong password" and chip.i2s is None


def test_without_time_nothing_runs():
    for mood in ("silent", "forged", "unsure"):
        chip = Chip()
        chip.stop_us = 300 * 1000000
        chip.ntp.mood = mood
        chip, hal = started(chip)
        raises(Stop, hal.now_ms)
        assert chip.i2s is None and chip.ntp.asked > 10
    chip = Chip()
    chip.stop_us = 300 * 1000000
    chip.ntp.unknown = True
    chip, hal = started(chip)
    raises(Stop, hal.now_ms)
    assert "time server pool.ntp.org: -2" in chip.said and "waiting for the time from pool.ntp.org" in chip.said


def test_after_a_reset_the_chips_own_clock_will_do():
    chip = Chip()
    chip.rtc_ms = chip.epoch_ms - 946684800000
    chip.wlan.tries_needed = 1000
    chip, hal = started(chip)
    assert abs(hal.now_ms() - chip.unix_ms()) < 1000 and "chip's clock" in chip.said[-1]
    chip.wlan.tries_needed = 0
    until = hal.now_ms() + 200000
    while not hal.wait(min(until, hal.now_ms() + 250)) and hal.now_ms() < until:
        hal.feed()
    assert chip.ntp.asked and hal._clock.refused == 0  # asks as soon as the network is back


def test_a_board_without_settings_or_radio_halts():
    chip, hal = started(settings={"name": "x"})
    assert raises(Halt, hal.now_ms) == "no-wifi-in-config"
    chip = Chip()
    chip, hal = started(chip)
    assert raises(Halt, hal.set_power, "battery", 1000) == "no-actuator-battery"


def test_reset_and_watchdog():
    chip, hal = started()
    hal.feed()
    hal.now_ms()
    hal.reset()
    assert chip.resets == 1
    chip.work(50000000)
    hal.feed()
    chip.work(50000000)
    raises(Bitten, chip.work, 20000000)


# -- waiting

def test_wait_ends_with_data_or_at_the_deadline():
    chip, hal = started()
    now = hal.now_ms()
    assert hal.wait(now + 700) is False and 700 <= hal.now_ms() - now <= 710
    now = hal.now_ms()
    assert hal.wait(now + 5000, Link(chip.us + 1200000)) is True and 1190 <= hal.now_ms() - now <= 1300
    assert hal.wait(hal.now_ms() - 1, Link(chip.us - 1)) is True
    assert hal.wait(hal.now_ms() - 1, Link()) is False
    assert hal.wait(hal.now_ms() + 20) is False  # the connection is gone


def test_time_goes_on_by_the_hour_and_never_back():
    chip, hal = started()
    hal.now_ms()
    chip.ntp.offset_ms = -1500
    chip.timers.clear()
    last = hal.now_ms()
    for _ in range(3 * 3600):
        hal.wait(last + 1000)
        hal.feed()
        now = hal.now_ms()
        assert now >= last
        last = now
    assert 3 <= chip.ntp.asked - 1 <= 5, chip.ntp.asked
    assert abs(hal.now_ms() - chip.unix_ms() + 1500) < 60, hal.now_ms() - chip.unix_ms()


# -- samples

def run(chip, hal, seconds, busy=None, buf=bytearray(4096 * 4)):
    """An agent's loop: windows to a meter, `busy(k)` µs of computing each."""
    mt = Meter((("v", "voltage"), ("grid", "grid")), hal.rate_hz, CALIBRATION)
    began = hal.now_ms()
    k = lost = frames = 0
    while hal.now_ms() < began + seconds * 1000:
        hal.feed()
        n, covers = hal.read_window(buf)
        assert covers == 0
        if hal.lost:
            lost += hal.lost
            mt.lost(hal.lost)
        if n:
            mt.window(buf, n, 0)
            frames += n
        if busy and busy(k):
            chip.work(*busy(k))
        k += 1
        hal.wait((hal.now_ms() // 250 + 1) * 250)
    return mt.close_interval(), frames, lost


def test_a_stream_without_a_gap_while_the_meter_computes_for_seconds():
    chip, hal = started()
    d, frames, lost = run(chip, hal, 60, lambda k: (4000000,) if k % 40 == 9 else None)
    assert lost == chip.i2s.forgotten == 0 and d["flags"] == 0, (lost, chip.i2s.forgotten, d["flags"])
    assert d["cycles_processed"] >= 60 * 50 - 100 and d["cycles_missing"] <= 4
    p = d["channels"]["grid"]["active_power_mw"]
    assert abs(p - WATTS * 1000) < WATTS / 10, (p, WATTS)


def test_computing_for_longer_than_the_ring_loses_what_it_says():
    chip, hal = started()
    d, frames, lost = run(chip, hal, 60, lambda k: (12000000,) if k == 40 else None)
    assert chip.i2s.forgotten > 20000 and abs(lost - chip.i2s.forgotten) <= 260, (lost, chip.i2s.forgotten)
    assert d["flags"] & m.MISSING and d["flags"] & m.GAP
    left = (hal._sampler._in - hal._sampler._out) * 256
    assert abs(frames + lost + left - chip.i2s.sampled()) <= 20 * 256


def test_native_code_that_holds_the_processor_overruns_the_dma():
    chip, hal = started()
    d, frames, lost = run(chip, hal, 60, lambda k: (900000, False) if k in (40, 41, 120) else None)
    assert chip.i2s.forgotten > 3000 and abs(lost - chip.i2s.forgotten) <= 3 * 260, (lost, chip.i2s.forgotten)
    assert d["flags"] & m.MISSING and abs(d["channels"]["grid"]["active_power_mw"] - WATTS * 1000) < WATTS / 10
    assert abs(d["cycles_processed"] + d["cycles_missing"] - 60 * 50) < 60


def test_a_scheduler_that_drops_every_callback_costs_nothing_while_the_loop_turns():
    chip, hal = started()
    hal.now_ms()
    chip.callbacks_run = False
    d, frames, lost = run(chip, hal, 30)
    assert lost == chip.i2s.forgotten == 0 and d["flags"] == 0


def test_a_converter_clock_that_drifts_is_not_a_loss():
    for ppm in (-4000, 4000):  # a hundred times a crystal, so that minutes show it
        chip = Chip()
        chip.i2s_ppm = ppm
        chip, hal = started(chip)
        d, frames, lost = run(chip, hal, 200)
        assert lost == chip.i2s.forgotten == 0 and d["flags"] == 0, (ppm, lost)
        assert chip.i2s.sampled() - chip.i2s.read < 3000, chip.i2s.sampled() - chip.i2s.read
        assert chip.i2s.waits < 20 + (200 if ppm < 0 else 0)


def test_memory_that_is_not_there_is_an_error_and_not_silence():
    from chip_esp32 import I2s
    chip, hal = started()
    enough, I2s.memory = I2s.memory, 1000
    try:
        raises(OSError, hal.now_ms)
    finally:
        I2s.memory = enough


# -- the clock by itself

class Ticks:
    ms = 7

    def ticks(self):
        return self.ms & 0x3FFFFFFF

    def diff(self, a, b):
        return ((a - b + 0x20000000) & 0x3FFFFFFF) - 0x20000000


def test_a_clock_is_put_right_slowly_and_only_by_a_plausible_server():
    t = Ticks()
    c = Clock(LEAST_MS, t.ticks, t.diff)
    t.ms += 10000
    assert c.correct(LEAST_MS + 10000 + 500)
    last = c.now_ms()
    for _ in range(100000):
        t.ms += 10
        now = c.now_ms()
        assert now >= last
        last = now
    assert last == LEAST_MS + 10000 + 500 + 1000000
    assert not c.correct(last + 3000) and c.refused == 1
    t.ms += 7 * 86400000 // 2
    c.now_ms()
    t.ms += 7 * 86400000 // 2
    assert c.correct(c.now_ms() - 24000)  # a week alone with a crystal of 40 ppm
    assert not c.correct(c.now_ms() - 24000 - 9000)


def test_answers_that_are_none():
    nonce = b"12345678"
    assert len(request(nonce)) == 48 and request(nonce)[40:] == nonce
    good = bytearray(48)
    good[0], good[1], good[24:32] = 0x24, 1, nonce
    good[40:48] = (0xEC000000).to_bytes(4, "big") + b"\x80\0\0\0"
    assert answer_ms(good, nonce) == (0xEC000000 - 2208988800) * 1000 + 500
    late = bytearray(good)
    late[40:44] = b"\x10\0\0\0"
    assert answer_ms(late, nonce) == ((1 << 32) + 0x10000000 - 2208988800) * 1000 + 500  # 2044
    for at, value, code in ((0, 0x23, "time-forged"), (0, 0xE4, "time-server-unsure"), (1, 0, "time-server-unsure"), (24, 0, "time-forged"),
                            (40, 0x90, "time-before-2025")):
        bad = bytearray(good)
        bad[at] = value
        assert raises(Reject, answer_ms, bad, nonce) == code
    assert raises(Reject, answer_ms, good[:47], nonce) == "time-forged"
    assert raises(Reject, answer_ms, good, None) == "time-forged"


def test_a_house_on_this_board_registers_every_watt_hour_it_says_it_saw():
    from prosumer.metering.house import House
    from test_metering_registers import fresh
    chip, hal = started()
    hal.now_ms()
    fresh()
    try:
        house = House(hal, (("v", "voltage"), ("grid", "grid")), CALIBRATION, "/flash/")
        began = hal.now_ms()
        k = 0
        while hal.now_ms() < began + 120000:
            hal.feed()
            house.sample(hal.now_ms())
            if k in (100, 250):
                chip.work(*((5000000,) if k == 100 else (2500000, False)))
            k += 1
            hal.wait((hal.now_ms() // 250 + 1) * 250)
        interval = house.close_slot()
        mwh = WATTS * (interval["cycles_processed"] / 50) / 3.6
        assert abs(house.totals()[0] - mwh) < mwh / 1000, (house.totals(), mwh)
        assert interval["flags"] & m.MISSING
        lost = chip.i2s.forgotten // 160  # what the DMA could not bridge of 2.5 s; the group they fell in is lost with them
        assert 90 < lost <= interval["cycles_missing"] <= lost + 26
        assert abs(interval["cycles_processed"] + interval["cycles_missing"] - 6000) < 60
    finally:
        os.umount("/flash")


def test_the_switch_in_a_jack_tells_that_the_plug_is_out():
    from prosumer.metering.house import House
    from test_metering_registers import fresh
    chip, _ = started()
    board = board_of("ESP32_S3_METER")
    hal = board.hal()
    hal.now_ms()
    settings = {"channels": ["grid"]}
    fresh()
    try:
        house = House(hal, board.channels(settings), board.calibration(settings), "/flash/")
        for level, flags in ((1, 0), (0, m.CLAMP), (1, 0)):
            chip.levels[7] = level
            until = hal.now_ms() + 2000
            while hal.now_ms() < until:
                house.sample(hal.now_ms())
                hal.wait((hal.now_ms() // 250 + 1) * 250)
            d = house.close_slot()
            assert d["flags"] & m.FAULTS == flags and d["channels"]["grid"]["flags"] & m.FAULTS == flags, (level, d)
            house.open_slot()
    finally:
        os.umount("/flash")
