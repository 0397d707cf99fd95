"""Calibration: what a count is worth, its table, its canonical form."""
import hashlib
import json
import os

from prosumer.errors import Reject
from prosumer.metering.calibration import Calibration

VOLTS = [{"gain_nv": 190000000}]
AMPS = [{"gain_na": 48000000, "skew_ns": 50000, "max_ma": 63000, "phase": [[1000, 3000], [21000, 1000], [60000, 900]]}]


def test_json_there_and_back():
    c = Calibration.nominal(VOLTS, AMPS, "field", "C")
    d = Calibration.from_dict(json.loads(json.dumps(c.to_dict())))
    assert d.hash() == c.hash() and d.to_dict() == c.to_dict() and len(c.hash()) == 8


def test_hash_is_that_of_the_written_form():
    c = Calibration.nominal(VOLTS, AMPS, "field", "C")
    text = ("prosumer/calibration/1\nfield C 0\n190000000 0 32767\n"
            "48000000 50000 0 0 0 32767 63000 1000 3000 21000 1000 60000 900\n")
    assert c.hash() == hashlib.sha256(text.encode()).digest()[:8]


def test_any_change_changes_the_hash():
    seen = {Calibration.nominal(VOLTS, AMPS, "field", "C").hash()}
    for field in AMPS[0]:
        other = dict(AMPS[0])
        other[field] = [[1, 2]] if field == "phase" else other[field] + 1
        seen.add(Calibration.nominal(VOLTS, [other], "field", "C").hash())
    for state, accuracy in (("factory", "C"), ("field", "B")):
        seen.add(Calibration.nominal(VOLTS, AMPS, state, accuracy).hash())
    assert len(seen) == 1 + len(AMPS[0]) + 2


def test_phase_is_interpolated_and_flat_outside():
    c = Calibration.nominal(VOLTS, AMPS)
    for ma, mdeg in ((0, 3000), (1000, 3000), (11000, 2000), (16000, 1500), (21000, 1000), (40500, 950), (99000, 900)):
        assert c.phase_mdeg(0, ma) == mdeg, ma
    assert Calibration.nominal(VOLTS, [{"gain_na": 1}]).phase_mdeg(0, 500) == 0


def test_bad_calibrations_are_refused():
    good = Calibration.nominal(VOLTS, AMPS).to_dict()
    bad = [None, [], {}, {"version": 1}, {"version": 2, "date": 0}]
    for key, value in (("state", "fine"), ("accuracy", "D"), ("voltages", []), ("voltages", VOLTS * 2), ("currents", AMPS * 7),
                       ("currents", [{"skew_ns": 1}]), ("currents", [5]), ("voltages", [{}]), ("date", 1.5), ("voltages", 3), ("currents", [dict(good["currents"][0], gain_na=0)]),
                       ("currents", [dict(good["currents"][0], gain_na=1.5)]), ("currents", [dict(good["currents"][0], phase=[[1]])]),
                       ("currents", [dict(good["currents"][0], clip=40000)]), ("currents", [dict(good["currents"][0], phase=[[1, 0.5]])])):
        d = dict(good)
        d[key] = value
        bad.append(d)
    for d in bad:
        try:
            Calibration.from_dict(d)
        except Reject:
            continue
        assert False, d


def test_a_file_is_used_when_it_is_there_and_refused_when_it_is_damaged():
    nominal = Calibration.nominal(VOLTS, AMPS)
    path = "/tmp/prosumer-test-calibration.json"
    field = Calibration.nominal(VOLTS, AMPS, "field", "B")
    with open(path, "w") as f:
        json.dump(field.to_dict(), f)
    assert Calibration.load(path, nominal).hash() == field.hash()
    for text in ("{", '{"version": 2}', "[]", ""):
        with open(path, "w") as f:
            f.write(text)
        try:
            Calibration.load(path, nominal)
        except Reject as e:
            assert e.code == "calibration-damaged"
            continue
        assert False, text
    os.remove(path)
    assert Calibration.load(path, nominal) is nominal
