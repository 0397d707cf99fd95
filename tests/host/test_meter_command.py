"""`prosumer meter`: recorded waveforms whose quantities are known in closed form, through the firmware on the Unix port."""
import argparse
import json
import math

import numpy as np
import pytest
from prosumer_tools.commands import meter
from prosumer_tools.emulator import adc

RATE = 8000


def run(capsys, *argv):
    top = argparse.ArgumentParser()
    meter.add_parser(top.add_subparsers())
    args = top.parse_args(["meter", *map(str, argv)])
    code = args.run(args)
    out, err = capsys.readouterr()
    return code, [json.loads(line) for line in out.splitlines()], err


def table(path, columns, first=None):
    names = ["v"] + [f"i{k}" for k in range(1, len(columns))] if len(columns) < 6 else ["v1", "v2", "v3", "i1", "i2", "i3"]
    if first is not None:
        names, columns = ["t_us", *names], [first, *columns]
    np.savetxt(path, np.stack(columns, 1), fmt="%d", delimiter=",", header=",".join(names), comments="")
    return path


def wave(peak, f=50.0, lag=0.0, seconds=1.0, rate=RATE, late_us=0.0):
    t = np.arange(round(seconds * rate)) / rate + late_us * 1e-6
    return np.rint(peak * np.sin(2 * np.pi * f * t - lag))


V, A = 0.0125, 0.003  # a count
VRMS = 26000 * V / math.sqrt(2)
ARMS = 20000 * A / math.sqrt(2)


def test_quantities_and_energy_of_whole_seconds(tmp_path, capsys):
    lag = math.pi / 3
    w = table(tmp_path / "w.csv", [wave(26000, seconds=3), wave(20000, lag=lag, seconds=3, late_us=50), wave(-6000, seconds=3, late_us=90)])
    code, lines, err = run(capsys, w, "--rate", RATE, "--v-scale", V, "--i-scale", f"{A},{A / 2}", "--skew-us", "50,90", "--interval", 1)
    assert code == 0 and err == "" and len(lines) == 3
    total = 0
    for r in lines:
        assert r["frequency_mhz"] == 50000 and r["cycles_processed"] == 50 and r["cycles_missing"] == 0
        assert r["voltage_mv"] == pytest.approx(VRMS * 1000, rel=2e-5)
        one, two = r["channels"]
        assert one["name"] == "i1" and one["flags"] == [] and r["flags"] == []
        assert one["current_ma"] == pytest.approx(ARMS * 1000, rel=1e-4)
        assert one["active_power_mw"] == pytest.approx(VRMS * ARMS * 500, rel=1e-4)
        assert one["reactive_power_mvar"] == pytest.approx(VRMS * ARMS * 1000 * math.sin(lag), rel=1e-4)
        assert one["apparent_power_mva"] == pytest.approx(VRMS * ARMS * 1000, rel=1e-4)
        assert one["power_factor_milli"] == 500
        assert two["active_power_mw"] == pytest.approx(-VRMS * ARMS * 150, rel=1e-4)
        assert two["import_mwh"] == 0 and two["export_mwh"] > 0
        total += one["import_mwh"]
    assert total == pytest.approx(VRMS * ARMS * 0.5 * 3 / 3.6, rel=1e-4, abs=1)


def test_skew_per_current_or_per_channel(tmp_path, capsys):
    w = table(tmp_path / "w.csv", [wave(26000, late_us=20), wave(20000, lag=1, late_us=120), wave(20000, lag=1, late_us=-30)])
    powers = []
    for skew in ("100,-50", "20,120,-30", "0,100,-50"):
        code, (r,), _ = run(capsys, w, "--rate", RATE, "--v-scale", V, "--i-scale", A, f"--skew-us={skew}")
        powers += [c["active_power_mw"] for c in r["channels"]]
    assert powers == pytest.approx([VRMS * ARMS * math.cos(1) * 1000] * 6, rel=2e-4)


@pytest.mark.parametrize("f", [45.0, 49.87, 50.2, 60.0, 65.0])
def test_frequency_and_elapsed_cycles(tmp_path, capsys, f):
    w = table(tmp_path / "w.csv", [wave(26000, f, 0.7, 2), wave(20000, f, 0.7, 2)])
    code, (r,), _ = run(capsys, w, "--rate", RATE, "--v-scale", V, "--i-scale", A)
    assert code == 0 and abs(r["frequency_mhz"] - f * 1000) <= 1
    assert abs(r["cycles_processed"] + r["cycles_missing"] - 2 * f) <= 1 and r["cycles_missing"] <= 2
    assert r["channels"][0]["power_factor_milli"] == 1000 and r["flags"] == []


def test_rate_from_times_with_lost_samples(tmp_path, capsys):
    rate = 7812.5  # 128 us: no whole number of hertz
    t = np.arange(15625) * 128.0
    columns = [wave(26000, 50, 0, 2, rate), wave(20000, 50, 0.2, 2, rate)]
    code, (r,), _ = run(capsys, table(tmp_path / "a.csv", columns, t), "--v-scale", V, "--i-scale", A)
    assert code == 0 and r["frequency_mhz"] == 50000 and r["cycles_processed"] == 100 and r["flags"] == []
    keep = np.r_[0:7000, 7400:15625]
    code, (r,), _ = run(capsys, table(tmp_path / "b.csv", [c[keep] for c in columns], t[keep]), "--v-scale", V, "--i-scale", A)
    assert code == 0 and r["cycles_missing"] >= 3 and "missing-cycles" in r["flags"]
    assert abs(r["cycles_processed"] + r["cycles_missing"] - 100) <= 1
    assert r["channels"][0]["active_power_mw"] == pytest.approx(VRMS * ARMS * 1000 * math.cos(0.2), rel=2e-4)


def test_lost_samples_without_times_are_noticed(tmp_path, capsys):
    keep = np.r_[0:7000, 7100:16000]
    columns = [wave(26000, seconds=2)[keep], wave(20000, seconds=2)[keep]]
    _, (r,), _ = run(capsys, table(tmp_path / "w.csv", columns), "--rate", RATE, "--v-scale", V, "--i-scale", A)
    assert "missing-cycles" in r["flags"]


def test_counts_from_zero_and_wide_counts_read_the_same(tmp_path, capsys):
    t = np.arange(16000) / RATE
    v, i = np.sin(2 * np.pi * 50 * t), np.sin(2 * np.pi * 50 * t - 1)
    powers = []
    for bits, unsigned in ((12, False), (12, True), (16, True), (24, False), (24, True)):
        top = (1 << bits - 1) - 1
        off = top + 1 if unsigned else 0
        w = table(tmp_path / "w.csv", [np.rint(0.9 * top * v) + off, np.rint(0.5 * top * i) + off])
        code, (r,), _ = run(capsys, w, "--rate", RATE, "--v-scale", 400 / top, "--i-scale", 100 / top)
        assert code == 0 and r["flags"] == []
        powers.append(r["channels"][0]["active_power_mw"])
    assert powers == pytest.approx([0.9 * 400 * 0.5 * 100 / 2 * math.cos(1) * 1000] * 5, rel=3e-4)


def test_clipping_no_voltage_and_frequency_are_named(tmp_path, capsys):
    def flags(columns, *more):
        code, (r,), _ = run(capsys, table(tmp_path / "w.csv", columns), "--rate", RATE, *(more or ("--v-scale", V, "--i-scale", A)))
        assert code == 0
        return r["flags"], r["channels"][0]

    assert flags([wave(26000), np.clip(wave(40000), -32768, 32767)])[0] == ["clipping"]
    assert flags([wave(1700), np.clip(wave(2500), -2048, 2047)], "--v-scale", 0.2, "--i-scale", 0.05)[0] == ["clipping"]
    assert flags([wave(1700), np.clip(wave(2500), -2048, 2047)], "--board", "EMULATED")[0] == ["clipping"]
    found, channel = flags([wave(20), wave(20000)])
    assert "no-voltage" in found and channel["active_power_mw"] == channel["import_mwh"] == 0
    assert flags([wave(26000, 67), wave(20000, 67)])[0] == ["frequency"]


def test_three_phases(tmp_path, capsys):
    lags = [0, 2 * math.pi / 3, 4 * math.pi / 3]
    columns = [wave(26000, lag=p) for p in lags] + [wave(5000 * (k + 1), lag=p + 0.3) for k, p in enumerate(lags)]
    code, (r,), _ = run(capsys, table(tmp_path / "w.csv", columns), "--rate", RATE, "--v-scale", V, "--i-scale", A)
    assert code == 0 and len(r["voltages_mv"]) == 3
    assert r["totals"]["load"]["active_power_mw"] == sum(c["active_power_mw"] for c in r["channels"])
    for k, c in enumerate(r["channels"]):
        assert c["active_power_mw"] == pytest.approx(VRMS * 5000 * (k + 1) * A / math.sqrt(2) * math.cos(0.3) * 1000, rel=2e-4)


def test_calibration_file_and_the_modelled_board(tmp_path, capsys):
    model = adc.ModelledADC(skew_us=50.0, i_full_scale=60.0, v_full_scale=400.0)
    data = np.frombuffer(model.samples(0, 4 * RATE, [adc.sine(231)], [adc.sine(8, lag=1.0)]), "<i2").reshape(-1, 2)
    w = table(tmp_path / "w.csv", list(data.T))
    (tmp_path / "c.json").write_text(json.dumps(model.calibration(1)))
    code, (r,), _ = run(capsys, w, "--calibration", tmp_path / "c.json")
    assert code == 0 and r["accuracy"] == "B" and r["flags"] == []
    assert r["channels"][0]["active_power_mw"] == pytest.approx(231 * 8 * math.cos(1) * 1000, rel=1e-3)
    # the clamp's own lead of 2 degrees, in the table
    calibration = model.calibration(1)
    calibration["currents"][0]["phase"] = [[1000, 2000]]
    (tmp_path / "c.json").write_text(json.dumps(calibration))
    _, (r2,), _ = run(capsys, w, "--calibration", tmp_path / "c.json")
    assert r2["channels"][0]["active_power_mw"] == pytest.approx(231 * 8 * math.cos(1 + math.radians(2)) * 1000, rel=1e-3)
    assert r2["calibration"] != r["calibration"]


BAD = [
    ("", (), "line 1"),
    ("v,i1\n", (), "line 2"),
    ("v,x\n1,2\n", (), "line 1, column 2"),
    ("v,i1,i1\n1,2,3\n", (), "line 1, column 3"),
    ("i1,i2\n1,2\n", (), "line 1"),
    ("v1,v2,i1\n1,2,3\n", (), "line 1"),
    ("v\n1\n", (), "line 1"),
    ("v,i1\n1,2\n3\n", (), "line 3, column 2"),
    ("v,i1\n1,2\n3,4,5\n", (), "line 3, column 3"),
    ("v,i1\n1,2\n3,4\n5,six\n", (), "line 4, column 2 (i1): 'six'"),
    ("v,i1\n1,2\n3.5,4\n", (), "line 3, column 1 (v): '3.5'"),
    ("v,i1\n1,2\nnan,4\n", (), "line 3, column 1"),
    ("v,i1\n1,2\n,4\n", (), "line 3, column 1"),
    ("t_us,v,i1\n0,1,2\n125,1,2\n100,1,2\n", (), "line 4, column 1 (t_us)"),
    ("t_us,v,i1\n0,1,2\ninf,1,2\n", (), "line 3, column 1 (t_us)"),
    ("t_us,v,i1\n0,1,2\nx,1,2\n", (), "line 3, column 1 (t_us)"),
    ("v,i1\n1,2\n3,4\n", (), "too few samples"),
    ("v,i1\n1,99999999999\n3,4\n", (), "line 2, column 2 (i1): a count of more than 32 bits"),
    ("v,i1\n1,2\n", ("--v-scale", "1"), "belong together"),
    ("v,i1\n1,2\n", ("--rate", "8000", "--v-scale", "1", "--i-scale", "1,2"), "--i-scale"),
    ("v,i1\n1,2\n", ("--rate", "8000", "--v-scale", "one", "--i-scale", "1"), "--v-scale"),
    ("v,i1\n1,2\n", ("--board", "NONE"), "EMULATED"),
    ("v,i1\n1,2\n", ("--board", "../boards/EMULATED"), "boards are EMULATED"),
    ("v,i1\n1,2\n", ("--rate", "8000", "--v-scale", "1e300", "--i-scale", "1"), "--v-scale: '1e300' has a number that is none or beyond"),
    ("v,i1\n1,2\n", ("--rate", "8000", "--v-scale", "nan", "--i-scale", "1"), "--v-scale: 'nan' has"),
    ("v,i1\n1,2\n", ("--rate", "8000", "--v-scale", "1", "--i-scale", "1e-12"), "measures nothing"),
    ("v,i1\n1,2\n", ("--rate", "8000", "--skew-us", "1e12"), "--skew-us: '1e12' has"),
    ("v,i1\n1,2\n", ("--board", "ESP32_ATM90E32"), "gives no samples"),
    ("v,i1\n1,2\n", ("--rate", "0"), "sampling rate is needed"),
    ("v,i1\n1,2\n", ("--rate", "nan"), "sampling rate is needed"),
    ("v,i1,i2\n" + "1,2,3\n-1,-2,-3\n" * 900, ("--board", "ESP32_S3_METER"), "this board has one clamp"),
    ("v,i1\n" + "1,2\n-1,-2\n" * 900, ("--rate", "700"), "a rate of 800 Hz to 128 kHz"),
]


@pytest.mark.parametrize(("text", "argv", "said"), BAD)
def test_bad_table_names_line_and_column(tmp_path, capsys, text, argv, said):
    (tmp_path / "w.csv").write_text(text)
    code, lines, err = run(capsys, tmp_path / "w.csv", *argv)
    assert code == 2 and lines == [] and said in err and err.count("\n") == 1, err


@pytest.mark.parametrize("content", [b"\xff\xfe\x00v", b"v,i1\n1,2\n\x80,4\n", b"v,i1\n1,\x00\n"])
def test_bytes_that_are_no_text_are_named(tmp_path, capsys, content):
    (tmp_path / "w.csv").write_bytes(content)
    code, lines, err = run(capsys, tmp_path / "w.csv", "--rate", RATE)
    assert code == 2 and lines == [] and "line " in err and err.count("\n") == 1, err


@pytest.mark.parametrize(("text", "said"), [
    ("[]", "calibration-version"), ("null", "calibration-version"), ("{", "line 1 column 2"), ('{"version": 1}', "calibration-shape"),
    ('{"version": 1, "state": "field", "accuracy": "B", "date": 0, "voltages": [{"gain_nv": "x"}], "currents": [{"gain_na": 1}]}',
     "calibration-field"),
    ('{"version": 1, "state": "field", "accuracy": "B", "date": 0, "voltages": [{"gain_nv": 5}], "currents": [{"gain_na": 1}, {"gain_na": 1}]}',
     "another number of voltages or currents")])
def test_a_calibration_that_cannot_be_is_refused(tmp_path, capsys, text, said):
    (tmp_path / "c.json").write_text(text)
    w = table(tmp_path / "w.csv", [wave(26000), wave(20000)])
    code, lines, err = run(capsys, w, "--rate", RATE, "--calibration", tmp_path / "c.json")
    assert code == 2 and lines == [] and said in err and err.count("\n") == 1, err
    code, lines, err = run(capsys, w, "--rate", RATE, "--calibration", tmp_path / "c.json", "--v-scale", 1, "--i-scale", 1)
    assert code == 2 and "give one" in err


def test_a_directory_is_no_traceback(tmp_path, capsys):
    code, lines, err = run(capsys, tmp_path)
    assert code == 2 and lines == [] and err == f"prosumer meter: {tmp_path}: is a directory\n"


def test_a_missing_file_is_no_traceback(tmp_path, capsys):
    code, lines, err = run(capsys, tmp_path / "none.csv")
    assert code == 2 and "none.csv" in err
