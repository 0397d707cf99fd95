"""A street at market level: deterministic, balanced, and the same plant as the emulator's where nothing moves."""
import json
from dataclasses import replace

import numpy as np
import pytest
from prosumer_tools.cli import main
from prosumer_tools.profiles import demo_profiles, demo_street
from prosumer_tools.simulate import results
from prosumer_tools.simulate.play import play


@pytest.fixture(scope="module")
def demo():
    street, profiles = demo_street(), demo_profiles()
    return street, profiles, play(street, profiles, 96)


def test_the_same_seed_gives_the_same_run(demo):
    street, profiles, first = demo
    again = play(street, profiles, 96)
    for name in ("net", "money", "price", "volume", "feeder_ucr"):
        assert np.array_equal(getattr(first, name), getattr(again, name))


def test_the_demo_street_trades_and_gains(demo):
    street, profiles, played = demo
    data = results.summary(street, profiles, played, 1.0)
    assert data["volume_mwh"] > 10_000_000 and len(data["homes"]) == 8 and len(data["hours"]) == 24
    assert data["paid_ucr"] < data["paid_alone_ucr"]
    assert data["self_consumption"] > data["self_consumption_alone"]
    assert data["feeder"]["slots_over"] <= data["feeder"]["alone"]["slots_over"]
    assert all(home["car_short_mwh"] == 0 for home in data["homes"])
    assert sum(h["volume_mwh"] for h in data["hours"]) == sum(m["volume_mwh"] for m in data["months"]) == data["volume_mwh"]


def test_the_feeder_account_is_shared_with_the_month(demo):
    """The demo street once more, begun on the last day of a month: what the account had at midnight went to the homes, alike."""
    street, profiles, played = demo
    later = play(street, replace(profiles, start_s=1_782_806_400, weather=None), 96)     # 2026-06-30 08:00 UTC
    (first,) = np.flatnonzero(later.shared)
    earned = later.feeder_ucr[:first].sum()
    assert later.shared[first] == earned // len(street.homes) > 0
    assert abs(later.feeder_ucr[first] + earned // len(street.homes) * len(street.homes)) < earned, "what did not divide stays"
    assert not played.shared.any(), "within one month nothing is"


def test_energy_is_what_the_profiles_say(demo):
    """A home without devices draws its load; a roof gives its profile alone, and with the market never more."""
    street, profiles, played = demo
    for i, home in enumerate(street.homes):
        load, pv = profiles.energy_mwh(home.name), profiles.energy_mwh(home.name, "pv")
        assert abs(played.made_alone[:, i].sum() - pv) <= 96 and (played.made[:, i] <= played.made_alone[:, i]).all()
        if not (home.battery or home.ev):
            assert abs(played.net_alone[:, i].sum() - (load - pv)) <= 96
    car = next(i for i, h in enumerate(street.homes) if h.ev)
    extra = played.net[:, car].sum() - profiles.energy_mwh(street.homes[car].name)
    assert abs(extra - street.homes[car].ev.need_kwh * 1e6) < 1000


def test_files_of_a_short_run(tmp_path, capsys):
    profiles = demo_profiles()
    profiles.write_csv(tmp_path / "p.csv")
    out = tmp_path / "out"
    assert main(["simulate", "--profiles", str(tmp_path / "p.csv"), "--slot-minutes", "60", "--out", str(out)]) == 0
    data = json.loads((out / "simulation.json").read_text())
    assert data["slots"] == 24 and (out / "homes.csv").read_text().count("\n") == 9
    assert (out / "slots.csv").read_text().count("\n") == 25
    page = (out / "simulation.html").read_text()
    assert page.count("<svg") == 8 and "http" not in page and "p.csv" in page
    assert "self-consumption" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, said", [
    (["--slot-minutes", "7"], "whole number of slots"), (["--days", "0"], "--days 0"), (["--homes", "1"], "--homes 1"),
    (["--from", "June"], "--from June"), (["--config", "x.toml"], "goes with --profiles"), (["--profiles", "none.csv"], "none.csv")])
def test_what_cannot_be_played_is_named(arguments, said, tmp_path, capsys):
    assert main(["simulate", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
