"""Profiles from CSV: what is read, and how each fault is refused with its place."""
import datetime

import pytest

from prosumer_tools.profiles import ProfileError, read_profiles

GOOD = """timestamp,a_load_w,a_pv_w,b_load_w
2026-06-11T00:00:00+02:00,100,0,50.5
2026-06-11T00:15:00+02:00,200.125,10,60
2026-06-11T00:30:00+02:00,300,20,70
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "p.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_profiles(path)
    return read


def test_reads_integers_and_times(read):
    profiles = read(GOOD)
    assert profiles.homes == ("a", "b") and list(profiles.pv_mw) == ["a"]
    assert profiles.start_s == int(datetime.datetime(2026, 6, 10, 22, tzinfo=datetime.timezone.utc).timestamp())
    assert (profiles.step_s, profiles.steps, profiles.utc_offset_s) == (900, 3, 7200)
    assert profiles.load_mw["a"].tolist() == [100_000, 200_125, 300_000]
    assert profiles.pv("b", profiles.start_s * 1000) == 0


def test_constant_within_a_step(read):
    profiles = read(GOOD)
    start = profiles.start_s * 1000
    assert profiles.load("a", start) == profiles.load("a", start + 899_999) == 100_000
    assert profiles.load("a", start + 900_000) == 200_125
    with pytest.raises(ValueError):
        profiles.load("a", profiles.end_s * 1000)
    with pytest.raises(ValueError):
        profiles.load("a", start - 1)


def test_written_is_read_back(read, tmp_path):
    profiles = read(GOOD)
    profiles.write_csv(tmp_path / "q.csv")
    again = read_profiles(tmp_path / "q.csv")
    assert again.start_s == profiles.start_s and again.utc_offset_s == 7200
    assert all((again.load_mw[h] == profiles.load_mw[h]).all() for h in "ab")


def test_reads_across_a_clock_change(read):
    profiles = read("timestamp,a_load_w\n2026-10-25T02:30:00+02:00,1\n2026-10-25T02:00:00+01:00,2\n2026-10-25T02:30:00+01:00,3\n")
    assert (profiles.step_s, profiles.steps) == (1800, 3)


def test_naive_times_are_utc_and_byte_order_mark_is_no_fault(read):
    profiles = read(b"\xef\xbb\xbftimestamp,a_load_w\r\n1970-01-01 00:00,1\r\n1970-01-01 00:01,2\r\n")
    assert (profiles.start_s, profiles.step_s) == (0, 60)


def change(old, new):
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


@pytest.mark.parametrize("text, line, column, why", [
    (change("200.125", "-1"), 3, "a_load_w", "negative load"),
    (change(",10,", ",-10,"), 3, "a_pv_w", "negative generation"),
    (change(",20,", ",nan,"), 4, "a_pv_w", "finite"),
    (change(",20,", ",inf,"), 4, "a_pv_w", "finite"),
    (change(",20,", ",1e400,"), 4, "a_pv_w", "finite"),
    (change(",20,", ",2e6,"), 4, "a_pv_w", "more than"),
    (change(",20,", ",,"), 4, "a_pv_w", "empty cell"),
    (change(",20,", ", ,"), 4, "a_pv_w", "empty cell"),
    (change(",20,", ",2_0,"), 4, "a_pv_w", "not a number"),
    (change(",20,", ",twenty,"), 4, "a_pv_w", "not a number"),
    (change(",20,", ",0x14,"), 4, "a_pv_w", "not a number"),
    (change("a_pv_w", "a_heat_w"), 1, "a_heat_w", "unknown column"),
    (change("a_pv_w", "A_pv_w"), 1, "A_pv_w", "unknown column"),
    (change("a_pv_w", "a_load_w"), 1, "a_load_w", "twice"),
    (change("a_pv_w", "c_pv_w"), 1, "c_pv_w", "no column c_load_w"),
    (change("timestamp", "time"), 1, "time", "first column"),
    (GOOD.replace(",", ";"), 1, None, "separated by commas"),
    (change("00:30:00", "00:45:00"), 4, "timestamp", "gap: 1 step"),
    (change("00:30:00", "00:25:00"), 4, "timestamp", "mixed steps"),
    (change("00:30:00", "00:15:00"), 4, "timestamp", "same as"),
    (change("00:30:00", "00:10:00"), 4, "timestamp", "before the one"),
    (change("2026-06-11T00:30:00+02:00", "2026-06-11T00:30:00"), 4, "timestamp", "mixed"),
    (change("2026-06-11T00:30:00+02:00", "11/06/2026 00:30"), 4, "timestamp", "bad timestamp"),
    (change("2026-06-11T00:30:00+02:00", "2026-06-31T00:30:00+02:00"), 4, "timestamp", "bad timestamp"),
    (change("2026-06-11T00:30:00+02:00", "2026-06-12"), 4, "timestamp", "no time of day"),
    (change("2026-06-11T00:30:00+02:00", ""), 4, "timestamp", "bad timestamp"),
    (change("00:30:00+02:00", "00:30:00.5+02:00"), 4, "timestamp", "whole seconds"),
    (change(",20,70", ",20"), 4, "b_load_w", "3 cells"),
    (change(",20,70", ",20,70,80"), 4, "5", "5 cells"),
    (GOOD + "\n", 5, "timestamp", "empty line"),
    (GOOD.replace("\n2026", "\n\n2026", 1), 2, "timestamp", "empty line"),
    ("\n".join(GOOD.split("\n")[:2]) + "\n", 2, "timestamp", "at least two rows"),
    ("timestamp,a_load_w\n2026-06-11T00:00:30,1\n2026-06-11T00:00:45,1\n", 3, "timestamp", "1 to 60"),
    ("timestamp,a_load_w\n2026-06-11T00:00,1\n2026-06-11T02:00,1\n", 3, "timestamp", "1 to 60"),
    ("timestamp,a_load_w\n2026-06-11T00:00:00,1\n2026-06-11T00:01:30,1\n", 3, "timestamp", "1 to 60"),
    ("timestamp\n2026-06-11T00:00:00\n2026-06-11T00:01:00\n", 1, "timestamp", "0 homes"),
    ("", 1, "timestamp", "empty"),
    (change("100,0", '"100,0'), None, None, "not CSV"),
])
def test_refuses_and_names_the_place(read, text, line, column, why):
    with pytest.raises(ProfileError) as caught:
        read(text)
    assert why in str(caught.value)
    if line is not None:
        assert caught.value.line == line and f"line {line}" in str(caught.value)
    if column is not None:
        assert str(caught.value.column) == column and f"column {column}" in str(caught.value)


def test_refuses_what_is_not_text_or_not_there(read, tmp_path):
    with pytest.raises(ProfileError, match="not UTF-8"):
        read(b"timestamp,\xff_load_w\n")
    with pytest.raises(ProfileError, match="cannot read"):
        read_profiles(tmp_path / "none.csv")
    with pytest.raises(ProfileError, match="cannot read"):
        read_profiles(tmp_path)
