"""Meter: quantities and energy of waveforms whose values are known in closed form (double precision on this port)."""
import math
from array import array

from prosumer.errors import Reject
from prosumer.metering import flags as m
from prosumer.metering.calibration import Calibration
from prosumer.metering.channel import NWMS_PER_MWH
from prosumer.metering.meter import Meter

RATE = 8000
V_GAIN, I_GAIN = 12000000, 3000000  # 12 mV and 3 mA a count: 16 bits
V_PEAK, I_PEAK = 27000, 20000
VOLTS = V_PEAK * V_GAIN / 1e9 / math.sqrt(2)
AMPS = I_PEAK * I_GAIN / 1e9 / math.sqrt(2)


def calibration(currents=1, voltages=1, state="factory", **fields):
    entry = {"gain_na": I_GAIN, "max_ma": 63000}
    entry.update(fields)
    return Calibration.nominal([{"gain_nv": V_GAIN}] * voltages, [entry] * currents, state, "B")


def meter(**fields):
    return Meter((("v", "voltage"), ("grid", "grid")), RATE, calibration(**fields), group_cycles=10)


def buffer(start, count, f, lag, peak=I_PEAK, skew_us=0, v_peak=V_PEAK, offset=(0, 0)):
    out = array("h", [0] * (2 * count))
    w = 2 * math.pi * f / RATE
    late = skew_us * 1e-6 * RATE
    for k in range(count):
        out[2 * k] = round(v_peak * math.sin(w * (start + k))) + offset[0]
        out[2 * k + 1] = round(peak * math.sin(w * (start + k + late) - lag)) + offset[1]
    return bytearray(bytes(out))


def run(mt, f, lag, buffers=6, size=1600, **wave):
    for k in range(buffers):
        mt.window(buffer(k * size, size, f, lag, **wave), size)
    d = mt.close_interval()
    return d, d["channels"]["grid"]


def near(a, b, ppm):
    assert abs(a - b) <= abs(b) * ppm / 1e6, (a, b, (a - b) / b * 1e6)


def test_power_at_every_angle_and_frequency():
    for f in (45, 49, 50, 50.37, 51, 60, 65):
        for lag in (0.0, math.pi / 3, -math.acos(0.8), math.pi, 2.5):
            d, c = run(meter(), f, lag, buffers=3)
            assert abs(d["frequency_mhz"] - f * 1000) <= 1
            near(d["voltage_mv"], VOLTS * 1000, 50)
            near(c["current_ma"], AMPS * 1000, 100)
            near(c["active_power_mw"], VOLTS * AMPS * math.cos(lag) * 1000, 150)
            assert abs(c["reactive_power_mvar"] - VOLTS * AMPS * math.sin(lag) * 1000) < VOLTS * AMPS * 0.3
            assert abs(c["power_factor_milli"] - 1000 * math.cos(lag)) <= 1
            assert c["flags"] == 0, c


def test_skew_and_clamp_phase_are_taken_out():
    lag = math.pi / 3
    for skew in (-350, -125, -40, 0, 50, 125, 300):
        d, c = run(meter(skew_ns=skew * 1000), 50, lag, buffers=2, skew_us=skew)
        near(c["active_power_mw"], VOLTS * AMPS * 500, 150)
    lead = math.pi / 180  # a clamp that leads by 1 degree
    d, c = run(meter(phase=[[0, 1000]]), 50, lag - lead, buffers=2)
    near(c["active_power_mw"], VOLTS * AMPS * 500, 200)
    near(d["channels"]["grid"]["reactive_power_mvar"], VOLTS * AMPS * 1000 * math.sin(lag), 300)


def test_phase_table_follows_the_current():
    """3 degrees at 1 A, 1 degree at 21 A: at 11 A it must take out 2 degrees."""
    peak = round(11 * math.sqrt(2) * 1e9 / I_GAIN)
    d, c = run(meter(phase=[[1000, 3000], [21000, 1000]]), 50, math.pi / 3 - math.radians(2), buffers=2, peak=peak)
    near(c["active_power_mw"], VOLTS * 11 * 500, 300)


def test_offsets_do_not_become_power():
    d, c = run(meter(), 50, math.pi / 2, offset=(900, -700))
    assert abs(c["active_power_mw"]) < VOLTS * AMPS * 0.1
    near(d["voltage_mv"], VOLTS * 1000, 50)
    near(c["current_ma"], AMPS * 1000, 100)


def test_buffers_of_any_size_give_the_same_energy():
    """4 s with crossings at all places in the buffer: whole cycles, no sample lost or counted twice."""
    energies = []
    for size in (591, 600, 777, 1600, 3333):
        mt = meter()
        total = 4 * RATE
        done = 0
        while done < total:
            n = min(size, total - done)
            if n < 591:
                break
            mt.window(buffer(done, n, 50.1, 0.3), n)
            done += n
        c = mt.clamps[0]
        energies.append(c.imported)
        seconds = mt.close_interval()["cycles_processed"] / 50.1
        assert seconds > 3.6
        near(energies[-1] / seconds, VOLTS * AMPS * math.cos(0.3) * 1e12, 20)


def test_every_cycle_is_accounted_for():
    mt = meter()
    for k in range(25):
        if k in (7, 8, 15):
            mt.lost(1600)
        else:
            mt.window(buffer(k * 1600, 1600, 50, 0), 1600)
    d = mt.close_interval()
    pending = mt._cycles
    assert 248 <= d["cycles_processed"] + d["cycles_missing"] + pending <= 250, (d, pending)
    assert d["cycles_missing"] >= 30 and d["flags"] & m.MISSING and d["flags"] & m.GAP


def test_lost_samples_nobody_reported_are_noticed():
    for gone in (2, 40, 80, 150):
        mt = meter()
        data = buffer(0, 3500 + gone, 50, 0)
        data = data[:1000 * 4] + data[(1000 + gone) * 4:]
        mt.window(data, 3500)
        d = mt.close_interval()
        assert d["flags"] & m.MISSING, gone
        assert 1 <= d["cycles_missing"] <= 2 and d["cycles_processed"] == 19  # the first one is needed to begin
        assert abs(d["frequency_mhz"] - 50000) <= 10  # the cycle that was cut is left out


def test_window_stands_for_the_time_it_covers():
    mt = meter()
    for k in range(5):
        mt.window(buffer(k * 8000 + 13 * k, 1600, 49.8, 0.5), 1600, 1000)
    d = mt.close_interval()
    c = d["channels"]["grid"]
    near(c["import_mwh"], VOLTS * AMPS * math.cos(0.5) * 5 / 3.6, 100)
    assert d["cycles_processed"] + d["cycles_estimated"] + d["cycles_missing"] in (249, 250), d
    assert d["cycles_missing"] == 0 and c["flags"] == 0


def test_no_voltage_gives_no_power_and_a_flag():
    for covers in (0, 1000):
        mt = meter()
        mt.window(buffer(0, 1600, 50, 0), 1600, covers)
        mt.window(buffer(1600, 1600, 50, 0, v_peak=3), 1600, covers)
        assert mt.power_mw("grid") == 0 and mt.voltage_mv == 0
        d = mt.close_interval()
        assert d["flags"] & m.NO_VOLTAGE and d["cycles_missing"] >= 10, d


def test_a_scale_far_too_small_is_no_voltage():
    for gain in (1, 100, 10000):
        mt = Meter((("v", "voltage"), ("grid", "grid")), RATE, Calibration.nominal([{"gain_nv": gain}], [{"gain_na": 1}], "field"))
        mt.window(buffer(0, 1600, 50, 0), 1600, 1000)
        assert mt.close_interval()["flags"] == m.NO_VOLTAGE | m.MISSING | m.GAP


def test_clipping_and_frequency_are_flagged():
    mt = meter(clip=20000)
    assert run(mt, 50, 0)[1]["flags"] == m.CLIPPED
    assert run(meter(), 66.5, 0)[1]["flags"] == m.FREQUENCY
    assert run(meter(), 44, 0)[1]["flags"] == m.FREQUENCY
    assert run(meter(state="nominal"), 50, 0)[1]["flags"] == m.UNCALIBRATED
    assert run(meter(noise_mc=550), 50, 0, peak=0)[1]["flags"] == m.CLAMP


def test_an_input_at_the_rail_is_a_clamp_that_is_out():
    """A pull-up holds an open input near the end of the scale, with the converter's noise on it; half-wave currents stay well below."""
    for middle, swing, flag in ((0, 40, 0), (2020, 40, m.CLAMP), (-2040, 3, m.CLAMP), (1060, 3, m.CLAMP), (900, 3, 0)):
        mt = meter(clip=2047, noise_mc=500)
        out = array("h", bytearray(buffer(0, 3200, 50, 0, peak=0)))
        seed = 7
        for k in range(3200):
            seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
            out[2 * k + 1] = min(2047, middle + (seed >> 16) % swing - swing // 2)
        mt.window(bytearray(bytes(out)), 3200)
        assert mt.close_interval()["channels"]["grid"]["flags"] & m.CLAMP == flag, middle
    half = array("h", bytearray(buffer(0, 3200, 50, 0, peak=2000)))
    for k in range(3200):
        half[2 * k + 1] = max(0, half[2 * k + 1])
    mt = meter(clip=2047, noise_mc=500)
    mt.window(bytearray(bytes(half)), 3200)
    assert mt.close_interval()["flags"] == 0


def test_an_interval_without_a_single_cycle_is_a_gap():
    assert meter().close_interval()["flags"] == m.GAP


def test_time_that_nobody_counted_widens_the_uncertainty():
    a, b = meter(), meter()
    for mt in (a, b):
        for k in range(5):
            mt.window(buffer(k * 1600, 1600, 50, 0), 1600)
    plain, after = a.close_interval()["channels"]["grid"], b.close_interval(7000)["channels"]["grid"]
    assert after["import_mwh"] == plain["import_mwh"]
    near(after["uncertainty_mwh"] - plain["uncertainty_mwh"], VOLTS * AMPS * 7 / 3.6, 1000)


def test_reversed_pv_clamp():
    mt = Meter((("v", "voltage"), ("pv", "pv")), RATE, calibration(no_load_mw=3000), group_cycles=10)
    mt.window(buffer(0, 3200, 50, math.pi), 3200)
    c = mt.close_interval()["channels"]["pv"]
    assert c["flags"] == m.REVERSED
    mt = Meter((("v", "voltage"), ("pv", "pv")), RATE, calibration(no_load_mw=3000, gain_na=-I_GAIN), group_cycles=10)
    mt.window(buffer(0, 3200, 50, math.pi), 3200)
    assert mt.close_interval()["channels"]["pv"]["flags"] == 0 and mt.power_mw("pv") > 0


def test_a_house_that_would_feed_itself_has_a_reversed_clamp():
    """Grid, PV and battery clamps: 2 kW of sun, 1.5 kW into the battery, 0.3 kW of load."""
    for grid, flag in ((-200, 0), (200, 0), (-900, m.REVERSED)):
        mt = Meter((("v", "voltage"), ("grid", "grid"), ("pv", "pv"), ("b", "battery")), RATE, calibration(3), group_cycles=10)
        out = array("h", [0] * (4 * 2400))
        for k in range(2400):
            s = math.sin(2 * math.pi * 50 / RATE * k)
            out[4 * k] = round(V_PEAK * s)
            for j, watts in enumerate((grid, 2000, 1500)):
                out[4 * k + 1 + j] = round(watts / VOLTS * math.sqrt(2) * 1e9 / I_GAIN * s)
        mt.window(bytearray(bytes(out)), 2400)
        assert mt.close_interval()["flags"] == flag, grid


def test_below_the_starting_current_nothing_counts():
    mt = meter(no_load_mw=3000)
    d, c = run(mt, 50, 0, peak=round(0.012 * math.sqrt(2) * 1e9 / I_GAIN))  # 2.7 W
    assert c["import_mwh"] == c["export_mwh"] == 0 and c["active_power_mw"] == 0
    d, c = run(meter(no_load_mw=3000), 50, 0, peak=round(0.020 * math.sqrt(2) * 1e9 / I_GAIN))
    assert c["active_power_mw"] > 4000


def test_energy_is_exact_over_many_closings():
    """What is below a mWh is carried: a thousand short intervals hold what one long interval holds."""
    data = buffer(0, 1600, 50, 0, peak=700)
    one, many = meter(), meter()
    total = 0
    for k in range(300):
        one.window(data, 1600, 777)
        many.window(data, 1600, 777)
        total += many.close_interval()["channels"]["grid"]["import_mwh"]
    assert total == one.close_interval()["channels"]["grid"]["import_mwh"] and total > 0


def test_no_drift_over_a_hundred_million_seconds():
    """Registers against exact arithmetic: 10^8 s of one power, closed a hundred times."""
    mt = meter()
    data = buffer(0, 1600, 50, 0.4, peak=1234)
    total = 0
    for k in range(100):
        mt.window(data, 1600, 1000000000)
        total += mt.close_interval()["channels"]["grid"]["import_mwh"]
    power_nw = mt.clamps[0].power_nw
    assert total == power_nw * 100 * 1000000000 // NWMS_PER_MWH and total > 10 ** 9
    near(power_nw * 1e-9, 1234 * I_GAIN * 1e-9 / math.sqrt(2) * VOLTS * math.cos(0.4), 200)


def test_any_samples_are_survived():
    """Noise, square waves of any frequency, constants, jumps: no exception, no energy where there is no grid."""
    seed = 5
    for kind in range(14):
        for covers in (0, 1000):
            mt = meter()
            for part in range(4):
                out = array("h", [0] * (2 * 1600))
                for k in range(1600):
                    seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
                    noise = ((seed >> 8) & 0xFFFF) - 32768
                    if kind == 0:
                        v = noise
                    elif kind == 1:
                        v = (32767, -32768)[part & 1]
                    elif kind == 2:
                        v = 32767 if noise > 0 else -32768
                    else:
                        v = (30000, -30000)[k // (kind - 2) & 1]  # 4 kHz down to 364 Hz
                    out[2 * k] = v
                    out[2 * k + 1] = noise
                mt.window(bytearray(bytes(out)), 1600, covers)
            d = mt.close_interval()
            if kind > 2 or kind == 1:
                assert d["channels"]["grid"]["import_mwh"] == d["channels"]["grid"]["export_mwh"] == 0, (kind, d)
                assert d["flags"] & m.NO_VOLTAGE


def test_three_phases_and_six_clamps():
    channels = (("v1", "voltage"), ("v2", "voltage"), ("v3", "voltage"), ("g1", "grid", 0), ("g2", "grid", 1), ("g3", "grid", 2),
                ("pv", "pv", 1), ("ev", "ev", 2), ("b", "battery", 0))
    mt = Meter(channels, RATE, calibration(6, 3), group_cycles=10)
    phases = (0, 1, 2, 1, 2, 0)
    size = 2000
    for part in range(2):
        out = array("h", [0] * (9 * size))
        for k in range(size):
            w = 2 * math.pi * 50 / RATE * (part * size + k)
            for p in range(3):
                out[9 * k + p] = round(V_PEAK * math.sin(w - p * 2 * math.pi / 3))
            for j in range(6):
                out[9 * k + 3 + j] = round((j + 1) * 3000 * math.sin(w - phases[j] * 2 * math.pi / 3 - 0.1 * j))
        mt.window(bytearray(bytes(out)), size)
    total = 0
    for j in range(6):
        p = VOLTS * (j + 1) * 3000 * I_GAIN / 1e9 / math.sqrt(2) * math.cos(0.1 * j) * 1000
        near(mt.power_mw(channels[3 + j][0]), p, 200)
        total += p if j < 3 else 0
    near(mt.power_mw("grid"), total, 200)


def test_a_phase_without_voltage_is_not_the_reference():
    channels = (("v1", "voltage"), ("v2", "voltage"), ("v3", "voltage"), ("g2", "grid", 1))
    mt = Meter(channels, RATE, calibration(1, 3), group_cycles=10)
    out = array("h", [0] * (4 * 1600))
    for k in range(1600):
        out[4 * k + 1] = round(V_PEAK * math.sin(2 * math.pi * 50 / RATE * k))
        out[4 * k + 3] = round(I_PEAK * math.sin(2 * math.pi * 50 / RATE * k))
    mt.window(bytearray(bytes(out)), 1600, 1000)
    near(mt.power_mw("grid"), VOLTS * AMPS * 1000, 200)
    assert mt.close_interval()["flags"] == 0  # no clamp refers to the phases that are not there


def test_a_clamp_whose_phase_has_no_voltage_is_flagged():
    channels = (("v1", "voltage"), ("v2", "voltage"), ("v3", "voltage"), ("g1", "grid", 0), ("g2", "grid", 1), ("g3", "grid", 2))
    mt = Meter(channels, RATE, calibration(3, 3), group_cycles=10)
    out = array("h", [0] * (6 * 2400))
    for k in range(2400):
        for p in (0, 2):  # the second adapter is out of its socket
            out[6 * k + p] = round(V_PEAK * math.sin(2 * math.pi * (50 / RATE * k - p / 3)))
        for p in range(3):
            out[6 * k + 3 + p] = round(I_PEAK * math.sin(2 * math.pi * (50 / RATE * k - p / 3)))
    mt.window(bytearray(bytes(out)), 2400)
    d = mt.close_interval()
    assert [d["channels"][n]["flags"] for n in ("g1", "g2", "g3")] == [0, m.NO_VOLTAGE, 0] and d["flags"] == m.NO_VOLTAGE
    assert d["channels"]["g2"]["import_mwh"] == d["channels"]["g2"]["export_mwh"] == 0


def test_uncertainty_covers_class_gap_and_windows():
    d, c = run(meter(), 50, 0, buffers=10)
    # class B: 1 % of the energy
    near(c["uncertainty_mwh"], c["import_mwh"] / 100, 60000)
    mt = meter()
    mt.window(buffer(0, 1600, 50, 0), 1600, 1000)
    mt.window(buffer(0, 1600, 50, 0, peak=I_PEAK // 2), 1600, 1000)
    c = mt.close_interval()["channels"]["grid"]
    assert c["uncertainty_mwh"] > c["import_mwh"] // 4  # two windows that differ by a factor of two


def test_bad_input_is_refused():
    for bad in (lambda: Meter((("v", "voltage"), ("x", "boiler")), RATE, calibration()),
                lambda: Meter((("v", "voltage"),), RATE, calibration()),
                lambda: Meter((("v", "voltage"), ("g", "grid")), 400, calibration()),
                lambda: meter().window(bytearray(4000), 20),
                lambda: meter().power_mw("nobody")):
        try:
            bad()
        except Reject:
            continue
        assert False
