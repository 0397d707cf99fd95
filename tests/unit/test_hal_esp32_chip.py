"""An ESP32 with a metering chip: SPI stand-in of chip_esp32.py, registers of test_metering_atm90e32.py."""
from chip_esp32 import Chip
from prosumer.errors import Reject
from prosumer.metering import channel as m
from test_metering_atm90e32 import CALIBRATION, SETTINGS
from test_metering_atm90e32 import Chip as Registers

CHANNELS = (("v", "voltage"), ("grid", "grid"), ("pv", "pv"), ("ev", "ev"))


def on_board():
    chip = Chip()
    chip.hal_module._settings = lambda: {"wifi": {"ssid": "home", "password": "right"}}
    chip.slave = Registers()
    from prosumer.hal.esp32_chip import ChipHal  # not before the stand-ins are there
    hal = ChipHal(18, 23, 19, 5, SETTINGS)
    hal.now_ms()
    return chip, hal


def turn(chip, hal, seconds):
    """The agent's loop."""
    for _ in range(seconds // 2):
        began = chip.us
        hal.feed()
        assert hal.read_window(None) == (0, 0)
        hal.wait((hal.now_ms() // hal.window_ms + 1) * hal.window_ms)
        chip.slave.run((chip.us - began) // 1000)


def test_an_hour_of_energy():
    chip, hal = on_board()
    meter = hal.meter(CHANNELS, CALIBRATION)
    chip.slave.power_mw = [2000000, -3000000, 500000]
    turn(chip, hal, 3600)
    hal.read_window(None)
    imported, exported = meter.so_far(0)
    assert abs(imported - 2000000) < 2500 and exported == 0, meter.so_far(0)
    assert abs(meter.so_far(1)[1] - 3000000) < 3500
    d = meter.close_interval()
    assert d["channels"]["grid"]["import_mwh"] == imported and d["flags"] == 0 and meter.so_far(0) == (0, 0)
    assert d["channels"]["ev"]["role"] == "ev" and hal.lost == 0


def test_a_chip_that_is_cut_off_is_missing_time_and_not_energy_lost():
    chip, hal = on_board()
    meter = hal.meter(CHANNELS, CALIBRATION)
    chip.slave.power_mw = [1000000, 0, 0]
    turn(chip, hal, 60)
    chip.slave.stuck = 0xFF
    turn(chip, hal, 10)
    chip.slave.stuck = None
    turn(chip, hal, 60)
    d = meter.close_interval()
    assert d["flags"] & m.MISSING and abs(d["channels"]["grid"]["import_mwh"] - 130 * 1000000 // 3600) < 1000


def test_without_a_chip_the_meter_does_not_start():
    chip, hal = on_board()
    chip.slave.stuck = 0
    try:
        hal.meter(CHANNELS, CALIBRATION)
    except Reject as e:
        assert e.code == "meter-chip-silent"
        return
    assert False


def test_it_says_what_it_is():
    chip, hal = on_board()
    assert (hal.rate_hz, hal.frames_max, hal.window_ms) == (0, 0, 2000) and hal.plant()[0] == 0
