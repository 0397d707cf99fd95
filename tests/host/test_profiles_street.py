"""The street's description, and the demo day that is made for it."""
import numpy as np
import pytest

from prosumer_tools.profiles import StreetError, demo_profiles, demo_street, load_street, street_of
from prosumer_tools.profiles.series import Weather
from prosumer_tools.profiles.street import check_profiles

STREET = """
name = "Rue des Oliviers"
slot_minutes = 5
[tariff]
retail_ucr_per_kwh = 200_000
[feeder]
export_limit_kw = 9
[[home]]
name = "olivier"
pv_kwp = 6.0
battery = {capacity_kwh = 10, power_kw = 5.0}
[[home]]
name = "figuier"
ev = {power_kw = 7.4, need_kwh = 12.0, plugged_from = "09:30", plugged_until = "17:00"}
"""


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "street.toml"
        path.write_text(text)
        return load_street(path)
    return load


def test_reads_a_street(load):
    street = load(STREET)
    assert street.slot_minutes == 5 and street.tariff.retail_ucr_per_kwh == 200_000 and street.tariff.feed_in_ucr_per_kwh == 60_000
    assert street.feeder.export_limit_kw == 9.0 and street.home("olivier").battery.capacity_kwh == 10.0
    assert street.home("figuier").ev.window_s() == (34_200, 61_200)


@pytest.mark.parametrize("old, new, why", [
    ("slot_minutes = 5", "slot_minutes = 61", "slot_minutes: value 61"),
    ("slot_minutes = 5", "slot_minutes = 5.5", "slot_minutes: 5.5 is not a whole number"),
    ("slot_minutes = 5", "slot_minutes = true", "slot_minutes"),
    ("slot_minutes = 5", "slots = 5", "slots: unknown key"),
    ("200_000", "50_000", "cannot pay more than it asks"),
    ("200_000", "0.2", "tariff.retail_ucr_per_kwh: 0.2 is not a whole number"),
    ('name = "figuier"', 'name = "olivier"', "home[2].name: 'olivier' appears twice"),
    ('name = "figuier"', 'name = "Figuier"', "home[2].name"),
    ('name = "figuier"', "", "home[2].name: missing"),
    ('name = "figuier"', 'name = "figuier"\nkind = "castle"', "home[2].kind"),
    ("capacity_kwh = 10", "capacity_kwh = nan", "home[1].battery.capacity_kwh"),
    ("capacity_kwh = 10, ", "", "home[1].battery.capacity_kwh: missing"),
    ("capacity_kwh = 10", "capacity = 10", "home[1].battery.capacity: unknown key"),
    ('"17:00"', '"09:00"', "later in the day"),
    ('"17:00"', '"17:60"', "not a time of day"),
    ("need_kwh = 12.0", "need_kwh = 80.0", "home[2].ev.need_kwh: more than 7.4 kW can charge"),
    ("[feeder]", "[feeder", "not TOML"),
])
def test_refuses_and_names_the_key(load, old, new, why):
    assert STREET.count(old) == 1
    with pytest.raises(StreetError) as caught:
        load(STREET.replace(old, new))
    assert why in str(caught.value)


def test_refuses_a_street_without_homes(load):
    with pytest.raises(StreetError, match="home"):
        load('name = "x"')


@pytest.fixture(scope="module")
def demo():
    return demo_profiles()


def test_demo_day_is_whole_and_lively(demo):
    assert demo.step_s == 60 and demo.steps == 1440 and demo.local(demo.start_s).isoformat() == "2026-06-11T00:00:00+02:00"
    assert len(demo.homes) == 8 and len(demo.pv_mw) == 4
    load = sum(demo.energy_mwh(h) for h in demo.homes) / 1e6
    pv = sum(demo.energy_mwh(h, "pv") for h in demo.homes) / 1e6
    assert 80 < load < 150 and 80 < pv < 150
    net = sum(demo.load_mw.values()) - sum(demo.pv_mw.values())
    assert net[12 * 60:16 * 60].mean() < -3e6 and net[20 * 60:22 * 60].mean() > 3e6   # surplus at noon, need in the evening
    for home, series in demo.pv_mw.items():
        assert not series[:5 * 60].any() and not series[22 * 60:].any()
        assert series.max() <= demo_street().home(home).pv_kwp * 1e6


def test_roofs_follow_the_sun(demo):
    """An eastern roof earns its energy earlier than a southern one, that earlier than a western one."""
    middle = {h: float(np.average(np.arange(1440), weights=demo.pv_mw[h])) for h in demo.pv_mw}
    assert middle["mimosa"] + 30 < middle["olivier"] < middle["laurier"] - 30
    assert 13 * 60 < middle["olivier"] < 14.2 * 60      # solar noon at Carros is 13:31 in summer time


def test_demo_same_seed_same_day(demo, tmp_path):
    kept = demo_profiles(cache_dir=tmp_path)
    again = demo_profiles(cache_dir=tmp_path)
    for made in (kept, again):
        assert made.weather == demo.weather and made.start_s == demo.start_s
        assert all((made.load_mw[h] == demo.load_mw[h]).all() for h in demo.homes)
        assert all((made.pv_mw[h] == demo.pv_mw[h]).all() for h in demo.pv_mw)
    other = demo_profiles(seed=2)
    assert (other.load_mw["romarin"] != demo.load_mw["romarin"]).any()


def test_demo_survives_a_torn_cache(demo, tmp_path):
    demo_profiles(cache_dir=tmp_path)
    for torn in tmp_path.iterdir():
        lines = torn.read_bytes().splitlines(keepends=True)
        torn.write_bytes(b"".join(lines[:100]))       # whole lines: still a valid profile, of a part of the day
    again = demo_profiles(cache_dir=tmp_path)
    assert again.steps == 1440 and again.weather == demo.weather


def test_forecast_is_near_the_truth_but_not_it(demo):
    assert len(demo.weather.hours) == 24 and all(isinstance(x, int) for hour in demo.weather.hours for x in hour)
    said = np.array([light for light, _, _ in demo.weather.hours])
    made = demo.pv_mw["olivier"].reshape(24, 60).mean(axis=1) / 9e3 / 0.8    # W/m2 that the roof's power tells of
    error = np.sqrt(np.mean((said - made)[8:18] ** 2)) / made[8:18].mean()
    assert 0.02 < error < 0.35
    assert demo.weather.at(demo.start_s - 5) == demo.weather.hours[0] and demo.weather.at(demo.end_s) == demo.weather.hours[-1]
    assert Weather(0, ((1, 2, 3), (4, 5, 6))).at(3600) == (4, 5, 6)


def test_street_of_plain_profiles(demo):
    street = street_of(demo, slot_minutes=5)
    assert [h.name for h in street.homes] == list(demo.homes) and street.slot_minutes == 5
    assert street.home("olivier").pv_kwp > 5 and street.home("cypres").pv_kwp == 0
    assert check_profiles(street, demo) is street
    check_profiles(demo_street(), demo)


def test_street_and_profiles_must_agree(demo, load):
    with pytest.raises(StreetError, match="in the profiles but not in the street"):
        check_profiles(load(STREET), demo)
