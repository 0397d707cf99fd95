"""An ESP32 with a metering chip: SPI stand-in of chip_esp32.py, registers of test_metering_atm90e32.py."""
import os

from chip_esp32 import Chip, board_of
from prosumer.errors import Reject
from prosumer.metering import flags as m
from prosumer.metering.calibration import Calibration
from prosumer.metering.house import House
from test_metering_atm90e32 import CALIBRATION, SETTINGS
from test_metering_atm90e32 import Chip as Registers
from test_metering_registers import fresh

CALIBRATION_2 = Calibration(CALIBRATION.voltages, CALIBRATION.currents[:2], "factory", "B")
CHANNELS = (("v", "voltage"), ("grid", "grid"), ("pv", "pv"), ("ev", "ev"))


def on_board():
    chip = Chip()
    chip.hal_module._settings = lambda: {"wifi": {"ssid": "home", "password": "right"}}
    chip.slave = Registers()
    from prosumer.hal.esp32_chip import ChipHal  # not before the stand-ins are there
    hal = ChipHal(18, 23, 19, 5, SETTINGS)
    hal.now_ms()
    return chip, hal


def turn(chip, hal, seconds, house):
    """The agent's loop."""
    until = hal.now_ms() + seconds * 1000
    while hal.now_ms() < until:
        began = chip.us
        hal.feed()
        house.sample(hal.now_ms())
        hal.wait((hal.now_ms() // hal.window_ms + 1) * hal.window_ms)
        chip.slave.run((chip.us - began) // 1000)


def in_house(scenario):
    chip, hal = on_board()
    fresh()
    try:
        scenario(chip, hal, House(hal, CHANNELS, CALIBRATION, "/flash/", bytearray(64)))
    finally:
        os.umount("/flash")


def test_half_an_hour_of_energy():
    def scenario(chip, hal, house):
        chip.slave.power_mw = [2000000, -3000000, 500000]
        turn(chip, hal, 1800, house)
        house.sample(hal.now_ms())
        interval = house.close_slot()
        imported, exported, _ = house.totals()
        assert abs(imported - 1000000) < 2500 and exported == 0, house.totals()
        assert abs(interval["channels"]["pv"]["export_mwh"] - 1500000) < 3500
        assert interval["flags"] == 0 and interval["channels"]["ev"]["role"] == "ev" and hal.lost == 0
        assert house.power_mw["grid"] == 2000000

    in_house(scenario)


def test_a_chip_that_is_cut_off_is_missing_time_and_not_energy_lost():
    def scenario(chip, hal, house):
        chip.slave.power_mw = [1000000, 0, 0]
        turn(chip, hal, 60, house)
        chip.slave.stuck = 0xFF
        turn(chip, hal, 10, house)
        chip.slave.stuck = None
        turn(chip, hal, 60, house)
        house.sample(hal.now_ms())
        d = house.close_slot()
        assert d["flags"] & m.MISSING and abs(house.totals()[0] - 130 * 1000000 // 3600) < 1000, house.totals()

    in_house(scenario)


def test_without_a_chip_the_meter_does_not_start():
    chip, hal = on_board()
    chip.slave.stuck = 0
    try:
        hal.meter(CHANNELS, CALIBRATION)
    except Reject as e:
        assert e.code == "meter-chip-silent"
        return
    assert False


def test_the_switches_in_the_jacks_tell_which_plug_is_out():
    chip, _ = on_board()
    board = board_of("ESP32_ATM90E32")
    hal = board.hal()
    hal.now_ms()
    fresh()
    try:
        house = House(hal, board.channels({"channels": ["grid", "pv"]}), CALIBRATION_2, "/flash/")
        chip.levels[26] = chip.levels[27] = 0  # no clamp in the third jack: nobody asks for it
        turn(chip, hal, 10, house)
        d = house.close_slot()
        assert [d["channels"][n]["flags"] for n in ("grid", "pv")] == [0, m.CLAMP] and d["flags"] == m.CLAMP
    finally:
        os.umount("/flash")
