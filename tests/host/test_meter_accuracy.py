"""The meter's figures on the modelled chain, with the margins of the issue: the bench's own cases, fewer of them."""
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from prosumer_tools.emulator import adc

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

import bench_metering as bench  # noqa: E402


def test_100_to_1_in_5_s():
    case, = bench.measure([bench.Case("", *bench.loads(bench.IMAX / 100), 5.0, 8)])
    assert 3 * np.std(case.errors, ddof=1) < 0.15  # 8 runs: their spread is itself uncertain by a quarter; 0.072 over 40
    assert 3 * bench.expected_sigma(case) < 0.1
    assert abs(np.mean(case.errors)) < 0.1


def test_1000_to_1_in_6_min():
    case, = bench.measure([bench.Case("", *bench.loads(bench.IMAX / 1000), 360.0, 2)])
    assert 3 * bench.expected_sigma(case) < 0.1
    assert all(abs(e) < 0.1 for e in case.errors), case.errors


@pytest.mark.parametrize(("pf", "capacitive"), [(0.5, False), (0.8, True)])
def test_power_factor(pf, capacitive):
    for amps in (1.0, 10.0, 63.0):
        wave, truth = bench.loads(amps, pf, capacitive)
        case, = bench.measure([bench.Case("", wave, truth, 5.0)])
        assert abs(case.errors[0]) < 0.15
        q = bench.U * amps * math.sin(math.acos(pf)) * (-1 if capacitive else 1)
        assert case.readings[0][5][0][1] / 1000 == pytest.approx(q, rel=2e-3)


def test_frequency_over_5_s():
    for f in (45.0, 49.99, 50.037, 65.0):
        case, = bench.measure([bench.Case("", adc.sine(10, f), bench.U * 10, 5.0, f=f)])
        assert abs(case.readings[0][0] - 1000 * f) <= 2


def test_no_load_counts_nothing():
    case, = bench.measure([bench.Case("", adc.sine(0.0), 0.0, 300.0)])
    assert case.readings[0][5][0][3:5] == [0, 0]
    # and with the crosstalk of a bad layout: 2 W in phase would count, 1 W must not
    case, = bench.measure([bench.Case("", adc.sine(0.004), 0.0, 20.0)])
    assert case.readings[0][5][0][3:5] == [0, 0]


def test_influence_waveforms():
    rows = bench.influences(quick=True)
    assert len(rows) == 27 and [name for name, _, _, ours in rows if ours is None] == ["phase-fired at 90°, 8000 Hz, no filter"]
    for name, error, limit, ours in rows:
        assert abs(error) <= (ours or limit), name


def test_what_noise_and_reported_uncertainty_say_agrees():
    """The spread of repeated readings at 0.63 A is what the reading's own noise term says, within a factor of two."""
    case, = bench.measure([bench.Case("", *bench.loads(0.63), 5.0, 12)])
    spread = 2 * np.std([r[5][0][0] for r in case.readings], ddof=1) * 5 / 3600  # mWh, k = 2
    classed = case.truth_w * 1000 * 5 / 3600 * 0.01
    reported = np.mean([r[5][0][5] for r in case.readings])
    assert classed < reported < classed + 2 * spread + 2


@pytest.mark.parametrize(("kind", "offset", "flagged"), [
    ("mcp3204", 1999.0, True), ("esp32-adc1", 1999.0, True), ("esp32-adc1", 2100.0, True), ("mcp3204", 0.0, False), ("esp32-adc1", 60.0, False),
    ("pcm1820", 0.0, False)])
def test_an_open_input_at_its_pull_up_is_a_clamp_that_is_out_whatever_the_noise(kind, offset, flagged):
    """Within one window of 200 ms, on the modelled converters. Behind the capacitors of the pcm1820 samples cannot tell: its jack's switch does."""
    preset = adc.PRESETS[kind]
    through = bench.chain(**preset, offset_lsb=(0.0, offset))
    windowed = kind != "pcm1820"
    case, = bench.measure([bench.Case("", adc.sine(0.0), 0.0, 0.4, through=through, covers_ms=1000 if windowed else 0)])
    assert bool(case.readings[0][2] & 64) is flagged, case.readings
    assert case.readings[0][5][0][3:5] == [0, 0]
