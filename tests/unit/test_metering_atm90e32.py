"""ATM90E32AS against a register-level stand-in that can fail as the part does: silent, stuck, another chip, garbled bits, a brown-out."""
from prosumer.errors import Reject
from prosumer.metering import flags as m
from prosumer.metering.atm90e32 import Atm90e32, gains
from prosumer.metering.calibration import Calibration

CLAMPS = (("grid1", "grid"), ("grid2", "grid"), ("pv", "pv"))
SETTINGS = {"mmode0": 0x87, "mmode1": 0}
# gains in millionths of the registers; the clamps lead by 0.09, lag by 0.03 and lead by 0.11 degrees
CALIBRATION = Calibration.nominal([{"gain_nv": 20000000000}, {"gain_nv": 20001000000}, {"gain_nv": 20002000000}],
                                  [{"gain_na": 30000000000 + 1000000 * k, "phase": [[0, mdeg]], "max_ma": 60000}
                                   for k, mdeg in enumerate((90, -30, 110))], "factory", "B")


class Chip:
    """The registers of the datasheet that metering needs. Energy counts are cleared by reading; LastSPIData keeps the last value.

    Settings are taken in configuration mode alone (CfgRegAccEn 55AA); leaving it fixes their CRC, which CRCErrStatus watches. The
    interrupt states keep what was so for a moment, until ones are written to them."""

    def __init__(self):
        self.power_mw = [0, 0, 0]
        self.volts = [230000, 231000, 232000]
        self.amps = [1000, 2000, 3000]
        self.hertz = 50000
        self.state0 = self.state1 = 0
        self.stuck = None
        self.garble = 0  # one bit of every n-th transfer arrives wrong
        self.transfers = 0
        self.last = 0
        self.wrong = False
        self.reset()

    def reset(self):
        self.registers = {}
        self.energy = [0] * 6  # uJ: forward A, B, C, reverse A, B, C
        self.unlocked = False
        self.golden = None
        self.latched = [0x0200, 0x7700]  # an order, sags and losses: the voltages have just come
        self.resets += 1

    resets = 0

    def run(self, ms):
        for k in range(3):
            if self.registers.get(0):
                power = self.measured(k)
                self.energy[k if power > 0 else 3 + k] += abs(power) * ms

    def measured(self, k):
        """Power of a phase with its offset register, in mW."""
        offset = self.registers.get(0x41 + 2 * k, 0)
        return self.power_mw[k] + (offset - (offset >> 15 << 16)) * 32 // 100

    def exchange(self, buf):
        self.transfers += 1
        if self.stuck is not None:
            buf[0] = buf[1] = buf[2] = buf[3] = self.stuck
            return
        register = (buf[0] << 8 | buf[1]) & 0x3FF
        if buf[0] & 0x80:
            value = self.last if register == 0x78 else self.read(register)
            self.last = value
            if self.garble and self.transfers % self.garble == 0:
                value ^= 1 << (self.transfers % 16)
            buf[2], buf[3] = value >> 8, value & 255
        else:
            value = buf[2] << 8 | buf[3]
            self.last = value
            if register == 0x70 and value == 0x789A:
                self.reset()
            elif register == 0x7F:
                if self.unlocked and value != 0x55AA:
                    self.golden = self.settings()
                self.unlocked = value == 0x55AA
            elif register in (0x73, 0x74):
                self.latched[register - 0x73] &= ~value
            elif (self.unlocked or register in (0x75, 0x76)) and not self.wrong:
                self.registers[register] = value

    def settings(self):
        return sorted([(r, v) for r, v in self.registers.items() if r < 0x70])

    def read(self, register):
        if 0x81 <= register <= 0x83 or 0x85 <= register <= 0x87:
            k = register - 0x81 if register < 0x84 else register - 0x85 + 3
            # 0.01 pulse of 3200 a kWh is 3.125 mWh = 11.25 J; what is below a count stays
            counts, self.energy[k] = divmod(self.energy[k], 11250000)
            return counts & 0xFFFF
        apparent = [u * i // 1000 for u, i in zip(self.volts, self.amps)]
        for base, values in ((0xB1, [self.measured(k) for k in range(3)]), (0xB5, [-p // 2 for p in self.power_mw]), (0xB9, apparent)):
            if base <= register < base + 3:
                return (values[register - base] * 100 // 32 >> 16) & 0xFFFF
            if base + 16 <= register < base + 19:
                return (values[register - base - 16] * 100 // 32) & 0xFFFF
        if 0xD9 <= register <= 0xDB:
            return self.volts[register - 0xD9] // 10
        if 0xDD <= register <= 0xDF:
            return self.amps[register - 0xDD]
        if 0xBD <= register <= 0xBF:
            return -894 & 0xFFFF
        known = {0xF8: self.hertz // 10, 0x71: self.state0, 0x72: self.state1, 0x73: self.state0 | self.latched[0],
                 0x74: self.state1 | self.latched[1], 0x79: int(self.golden not in (None, self.settings()))}
        if self.wrong:
            return 0x1234
        return known.get(register, self.registers.get(register, 0))


def test_settings_that_rot_are_noticed_by_the_chips_crc_and_by_reading_them():
    for register in (0x62, 0x3A):  # one of ours, and one that we leave at its default
        chip = Chip()
        f = front_end(chip)
        chip.power_mw = [5000000, 0, 0]
        chip.run(5000)
        assert f.poll(5000) and chip.resets == 2  # its own, and ours
        chip.registers[register] = 0x0101
        chip.run(5000)
        assert not f.poll(5000) and chip.resets == 3 and chip.registers.get(register, 0) != 0x0101
        chip.run(5000)
        assert f.poll(5000)
        d = f.close_interval()
        assert d["flags"] & m.GAP and d["cycles_missing"] == 250


def test_settings_are_closed_after_the_start():
    chip = Chip()
    front_end(chip)
    assert not chip.unlocked and chip.golden
    chip.exchange(bytearray((0, 0x62, 0x12, 0x34)))  # a stray write changes nothing
    assert chip.registers[0x62] == 30000


def test_a_meter_that_was_reset_finds_what_the_chip_counted_meanwhile():
    chip = Chip()
    front_end(chip).poll(1000)
    chip.power_mw = [5000000, 0, 0]
    chip.run(9000)
    again = front_end(chip)
    assert chip.resets == 2 and again.poll(1000)
    assert again.close_interval()["channels"]["grid1"]["import_mwh"] == 12500
    other = Calibration.from_dict(CALIBRATION.to_dict())
    other.currents[0]["gain_na"] += 5000000
    front_end(chip, other)
    assert chip.resets == 3 and chip.registers[0x62] == 30005


def front_end(chip, calibration=CALIBRATION):
    slept = []
    return Atm90e32(chip, CLAMPS, SETTINGS, calibration, slept.append)


def test_settings_reach_the_chip():
    chip = Chip()
    front_end(chip)
    assert (chip.registers[0x31] << 16 | chip.registers[0x32]) == 450000000000 // 3200
    assert [chip.registers[r] for r in (0x61, 0x65, 0x69)] == [20000, 20001, 20002]
    assert [chip.registers[r] for r in (0x62, 0x66, 0x6A)] == [30000, 30001, 30002]
    assert [chip.registers[r] for r in (0x48, 0x4A, 0x4C)] == [10, 0x8004, 12]  # of 1/2.048 MHz, 114 a degree at 50 Hz; bit 15 turns
    assert chip.registers[0x08] == 17940 * 141421 * 16384 // (100000 * 20000)  # sag below 78 % of 230 V
    assert chip.registers[0] == 1 and chip.registers[0x33] == 0x87


def test_energy_of_an_hour_to_the_count():
    chip = Chip()
    f = front_end(chip)
    chip.power_mw = [1234567, -765432, 4321000]
    total = {n: [0, 0] for n, _ in CLAMPS}
    for k in range(720):
        chip.run(5000)
        assert f.poll(5000)
        if k % 2:
            d = f.close_interval()
            assert d["flags"] == 0 and d["cycles_processed"] == 500 and d["cycles_missing"] == 0
            for n in total:
                total[n][0] += d["channels"][n]["import_mwh"]
                total[n][1] += d["channels"][n]["export_mwh"]
    assert 0 <= 1234567 - total["grid1"][0] <= 4 and total["grid1"][1] == 0
    assert 0 <= 765432 - total["grid2"][1] <= 4 and total["grid2"][0] == 0
    assert 0 <= 4321000 - total["pv"][0] <= 4
    assert abs(f.power_mw("pv") - 4321000) <= 1 and abs(f.power_mw("grid") - (1234567 - 765432)) <= 2
    c = d["channels"]["grid1"]
    assert d["voltages_mv"] == [230000, 231000, 232000] and d["frequency_mhz"] == 50000 and c["current_ma"] == 1000
    assert abs(c["reactive_power_mvar"] + 617284) <= 1 and c["power_factor_milli"] == -894
    assert abs(c["apparent_power_mva"] - 230000) <= 1


def test_garbled_transfers_lose_nothing():
    clean, dirty = Chip(), Chip()
    out = []
    for chip in (clean, dirty):
        f = front_end(chip)
        if chip is dirty:
            chip.garble = 7
        chip.power_mw = [9000000, 8000000, -7000000]
        for k in range(60):
            chip.run(9000)
            assert f.poll(9000)
        d = f.close_interval()
        out.append([(c["import_mwh"], c["export_mwh"]) for c in [d["channels"][n] for n, _ in CLAMPS]])
    assert out[0] == out[1] and out[0][0][0] > 1000000
    assert f.errors > 50


def refused(chip):
    try:
        front_end(chip)
    except Reject as e:
        return e.code
    return None


def test_a_bus_that_is_stuck_and_a_wrong_chip_are_told_apart():
    for level in (0, 0xFF):
        chip = Chip()
        chip.stuck = level
        assert refused(chip) == "meter-chip-silent"
    chip = Chip()
    chip.wrong = True
    assert refused(chip) == "meter-chip-wrong"
    assert refused(Chip()) is None


def test_a_bus_that_dies_gives_missing_time_and_no_energy():
    chip = Chip()
    f = front_end(chip)
    chip.power_mw = [5000000, 0, 0]
    chip.run(5000)
    f.poll(5000)
    for level in (0, 0xFF):
        chip.stuck = level
        chip.run(5000)
        assert not f.poll(5000)
    chip.stuck = None
    d = f.close_interval()
    c = d["channels"]["grid1"]
    assert d["cycles_missing"] == 500 and d["flags"] & m.MISSING and d["flags"] & m.GAP
    assert c["import_mwh"] <= 6945 and c["uncertainty_mwh"] >= 5000000 * 10000 // 3600000


def test_brown_out_of_the_chip_is_noticed_and_set_right():
    chip = Chip()
    f = front_end(chip)
    chip.power_mw = [5000000, 0, 0]
    chip.run(5000)
    assert f.poll(5000)
    chip.reset()
    chip.run(5000)
    assert not f.poll(5000) and chip.registers[0] == 1
    chip.run(5000)
    assert f.poll(5000)
    d = f.close_interval()
    assert d["flags"] & m.MISSING and d["cycles_missing"] == 250
    assert abs(d["channels"]["grid1"]["import_mwh"] - 2 * 6944) <= 4


def test_events_become_flags():
    for name, value, flag in (("state0", 0x8000, m.CLIPPED), ("state0", 0x2000, m.CLIPPED), ("state1", 0x8000, m.FREQUENCY),
                              ("state1", 0x0800, m.FREQUENCY), ("state1", 0x0400, m.NO_VOLTAGE), ("state1", 0x0100, m.NO_VOLTAGE)):
        chip = Chip()
        f = front_end(chip)
        setattr(chip, name, value)
        f.poll(1000)
        assert f.close_interval()["flags"] == flag
    chip = Chip()
    f = front_end(chip)
    f.poll(20000)  # a register could have overflowed in between
    assert f.close_interval()["flags"] == m.MISSING


def test_sags_and_phase_events_are_named():
    chip = Chip()
    f = front_end(chip)
    for state0, state1 in ((0, 0x4000), (0, 0), (0x1200, 0), (0x0200, 0x0100)):
        chip.state0, chip.state1 = state0, state1
        assert f.poll(1000)
    d = f.close_interval()
    assert d["events"] == ["sag-a", "overvoltage-a", "phase-order", "phase-loss-c"] and d["flags"] == m.NO_VOLTAGE
    chip.state0 = chip.state1 = 0
    f.poll(1000)
    assert f.close_interval()["events"] == []
    chip.latched = [0, 0x2000]  # a sag between two polls, long over
    assert f.poll(1000) and f.poll(1000)
    assert f.close_interval()["events"] == ["sag-b"] and chip.latched == [0, 0]


def test_a_plug_that_is_out_and_time_that_was_lost():
    chip = Chip()
    f = front_end(chip)
    chip.power_mw = [3600000, 0, 0]
    chip.run(10000)
    f.poll(10000)
    f.clamps[1].flags |= m.CLAMP
    d = f.close_interval(20000)
    assert [d["channels"][n]["flags"] for n, _ in CLAMPS] == [0, m.CLAMP, 0] and d["flags"] == m.CLAMP
    assert 20000 <= d["channels"]["grid1"]["uncertainty_mwh"] - 10000 // 100 <= 20010  # 20 s at 3.6 kW, and class B of 10 Wh
    f.poll(1000)
    assert f.close_interval()["flags"] == 0


def test_a_clamp_turned_by_its_calibration():
    c = Calibration.from_dict(CALIBRATION.to_dict())
    c.currents[1]["gain_na"] = -30001000000
    chip = Chip()
    f = front_end(chip, c)
    assert chip.registers[0x66] == 30001
    chip.power_mw = [0, -5000000, 0]
    chip.run(9000)
    assert f.poll(9000)
    clamp = f.close_interval()["channels"]["grid2"]
    assert clamp["import_mwh"] == 12500 and clamp["export_mwh"] == 0 and abs(clamp["active_power_mw"] - 5000000) <= 1
    assert clamp["reactive_power_mvar"] < 0 and clamp["power_factor_milli"] == 894


def test_the_offset_that_calibration_found_is_taken_off():
    for turned in (1, -1):
        c = Calibration.from_dict(CALIBRATION.to_dict())
        c.currents[0]["offset_mw"] = 3500
        c.currents[0]["gain_na"] *= turned
        chip = Chip()
        f = front_end(chip, c)
        for load, expected in ((3500, 0), (1003500, 1000000), (-996500, -1000000)):
            chip.power_mw[0] = turned * load
            chip.run(3600)
            assert f.poll(3600) and abs(f.power_mw("grid1") - expected) <= 3, (turned, load, f.power_mw("grid1"))
        d = f.close_interval()["channels"]["grid1"]
        assert abs(d["import_mwh"] - 1000) <= 4 and abs(d["export_mwh"] - 1000) <= 4, d


def test_gains_out_of_the_registers_range_are_refused():
    for entry, field, value in (("voltages", "gain_nv", 70000000000), ("currents", "gain_na", 70000000000),
                                ("currents", "phase", [[0, 2260]]), ("currents", "skew_ns", -131000), ("currents", "offset_mw", 10600)):
        c = Calibration.from_dict(CALIBRATION.to_dict())
        getattr(c, entry)[0][field] = value
        try:
            gains(c, 0)
        except Reject as e:
            assert e.code == "calibration-range"
            continue
        assert False, field
