"""ESP32 boards read in bursts, as their board.py makes them: an MCP3208 on SPI, the chip's own ADC1; stand-ins of chip_esp32.py."""
import math
import os

from chip_esp32 import Chip, board_of
from prosumer.errors import Reject
from prosumer.metering import flags as m
from prosumer.metering.house import House
from test_metering_registers import fresh

VOLTS, AMPS = 230, (10, 4, 0)  # of the clamps on the three jacks; none on the third


class Wires:
    """230 V and three clamps, as volts at the inputs: 1.65 V is the middle. A plug that is out leaves its input to the pull-up."""

    def __init__(self, chip):
        self.chip = chip
        self.noise = 0.4  # counts
        self.out = set()
        self.mains = True
        self.seed = 1

    def code(self, channel, us):
        """The converter's count, its noise included."""
        self.seed = (self.seed * 1103515245 + 12345) & 0x7FFFFFFF
        noise = self.noise * ((self.seed >> 8 & 0xFFFF) / 18918 - 1.7321)
        if channel in self.out:
            return 4047 + noise  # 470 kOhm to 3.3 V, less what the converter's sampling draws
        w = math.sin(2 * math.pi * 50.02e-6 * us) * math.sqrt(2) * 2047
        if channel == 0:
            return 2048 + noise + (VOLTS / 429 * w if self.mains else 0)
        return 2048 + noise + AMPS[channel - 1] / 99 * w


class Mcp:
    """MCP3208 at the level of its protocol; `stuck` is the level of a broken line."""

    def __init__(self, wires):
        self.wires = wires
        self.stuck = None

    def exchange(self, buf):
        if self.stuck is not None:
            buf[0] = buf[1] = buf[2] = self.stuck
            return
        if buf[0] & 0xFE != 6:  # start bit, single-ended, D2
            raise ValueError("no start bit")
        code = max(0, min(4095, round(self.wires.code((buf[0] & 1) << 2 | buf[1] >> 6, self.wires.chip.us))))
        buf[0], buf[1], buf[2] = 0xFF, code >> 8, code & 255


def on_board(name, clamps):
    """(chip, wires, slave, hal, board, channels) of a board that has been started."""
    chip = Chip()
    chip.hal_module._settings = lambda: {"wifi": {"ssid": "home", "password": "right"}}
    wires = Wires(chip)
    chip.slave = slave = Mcp(wires)
    pins = {36: 0, 39: 1, 34: 2}
    chip.analogue = lambda pin, us: wires.code(pins[pin], us)
    board = board_of(name)
    hal = board.hal()
    hal.now_ms()
    chip.tick_us = 4
    return chip, wires, slave, hal, board, board.channels({"channels": clamps})


def turn(hal, seconds, house):
    """The agent's loop."""
    until = hal.now_ms() + seconds * 1000
    while hal.now_ms() < until:
        hal.feed()
        house.sample(hal.now_ms())
        hal.wait((hal.now_ms() // hal.window_ms + 1) * hal.window_ms)


def closed(house):
    """As the agent does at the end of a slot."""
    interval = house.close_slot()
    house.open_slot()
    return interval


def in_house(name, clamps, scenario, **calibrated):
    chip, wires, slave, hal, board, channels = on_board(name, clamps)
    calibration = board.calibration({"channels": clamps})
    for entry in calibration.currents:
        entry["skew_ns"] = 0  # the stand-ins' own times differ from the parts', which an installer's calibration would find
        entry["phase"] = [[0, calibrated.get("mdeg", 0) * (calibration.currents.index(entry) + 1)]]
    fresh()
    try:
        scenario(chip, wires, slave, hal, House(hal, channels, calibration, "/flash/"))
    finally:
        os.umount("/flash")


def _energies(chip, wires, slave, hal, house):
    assert hal.out == 0
    turn(hal, 40, house)
    d = closed(house)
    assert d["flags"] == m.UNCALIBRATED and d["accuracy"] == 0 and abs(d["frequency_mhz"] - 50020) < 20, d
    assert d["cycles_estimated"] > 3 * d["cycles_processed"] > 1000 and d["cycles_missing"] == 0
    for name, amps in (("grid", 10), ("pv", 4)):
        c = d["channels"][name]
        true = VOLTS * amps * d["covered_ms"] / 3600
        assert abs(c["import_mwh"] - true) < true * 0.01, (c, true)
        assert abs(c["power_factor_milli"]) > 998
        assert c["uncertainty_mwh"] >= c["import_mwh"] // 20
    assert abs(d["covered_ms"] - 40000) < 2000 and house.registers.durable("grid+") >= d["channels"]["grid"]["import_mwh"] - 1


def test_an_mcp3208_in_bursts_measures_three_clamps():
    # 64 us from channel to channel: 1.15 degrees each
    in_house("ESP32_MCP3208", ["grid", "pv", "battery"], _energies, mdeg=1090)


def test_the_chips_own_converter_is_indicative():
    def scenario(chip, wires, slave, hal, house):
        wires.noise = 4
        _energies(chip, wires, slave, hal, house)

    in_house("ESP32_ADC1", ["grid", "pv"], scenario, mdeg=720)
    board = board_of("ESP32_ADC1")
    assert board.BEST_CLASS == "indicative" and board.calibration({"channels": ["grid"]}).accuracy == "indicative"


def test_a_clamp_whose_plug_is_out_is_flagged_in_its_interval():
    for name, noise in (("ESP32_MCP3208", 0.4), ("ESP32_ADC1", 4)):
        def scenario(chip, wires, slave, hal, house):
            wires.noise = noise
            turn(hal, 10, house)
            assert not closed(house)["flags"] & m.FAULTS
            wires.out.add(2)
            turn(hal, 3, house)
            d = closed(house)
            assert d["channels"]["pv"]["flags"] & m.CLAMP and not d["channels"]["grid"]["flags"] & m.FAULTS, d
            assert d["flags"] & m.CLAMP
            wires.out.clear()
            turn(hal, 3, house)
            assert not closed(house)["flags"] & m.FAULTS

        in_house(name, ["grid", "pv"], scenario)


def test_a_clamp_without_current_is_no_fault():
    def scenario(chip, wires, slave, hal, house):
        turn(hal, 10, house)
        c = closed(house)["channels"]["battery"]
        assert c["flags"] == m.UNCALIBRATED and c["import_mwh"] == c["export_mwh"] == 0

    in_house("ESP32_MCP3208", ["grid", "pv", "battery"], scenario)


def test_a_converter_that_falls_silent_is_a_gap_and_no_energy():
    for level in (0xFF, 0):
        def scenario(chip, wires, slave, hal, house):
            turn(hal, 10, house)
            before = closed(house)["channels"]["grid"]
            slave.stuck = level
            turn(hal, 20, house)
            d = closed(house)
            assert d["flags"] & (m.GAP | m.NO_VOLTAGE) and d["flags"] & m.MISSING, d
            assert d["channels"]["grid"]["import_mwh"] == 0 and d["cycles_missing"] > 500
            slave.stuck = None
            turn(hal, 10, house)
            d = closed(house)
            assert abs(d["channels"]["grid"]["import_mwh"] - before["import_mwh"]) < before["import_mwh"] * 0.7

        in_house("ESP32_MCP3208", ["grid"], scenario)


def test_no_mains_is_no_voltage():
    def scenario(chip, wires, slave, hal, house):
        wires.mains = False
        turn(hal, 5, house)
        d = closed(house)
        assert d["flags"] & m.NO_VOLTAGE and d["channels"]["grid"]["import_mwh"] == 0

    in_house("ESP32_MCP3208", ["grid"], scenario)


def test_channels_that_the_boards_do_not_have_are_refused():
    for name, clamps in (("ESP32_MCP3208", ["grid", "pv", "battery", "ev"]), ("ESP32_MCP3208", []), ("ESP32_MCP3208", ["boiler"]),
                         ("ESP32_ADC1", ["grid", "pv", "ev"]), ("ESP32_ADC1", ["boiler"])):
        try:
            board_of(name).channels({"channels": clamps})
        except Reject:
            continue
        assert False, (name, clamps)
    assert board_of("ESP32_MCP3208").channels({"channels": ["grid", "pv1", "pv2"]})[3] == ("pv2", "pv")


def test_the_converters_pins_are_adc1s():
    Chip()
    from prosumer.hal.esp32_burst import adc1
    try:
        adc1(36, 25)
    except ValueError:
        return
    assert False
