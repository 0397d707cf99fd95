"""The whole policy in a street: no home is noticeably worse off, the street keeps most of what it could, the car leaves full."""
import sys
import types
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
import bench_bidding
import bidding_days
from prosumer_tools.profiles import demo


@pytest.fixture(scope="module")
def three_days():
    return bidding_days.street_days("summer", 3, 11)


def played(data, **changes):
    options = types.SimpleNamespace(slot_minutes=15, oracle=False)
    vars(options).update(changes)
    return bench_bidding.compare(data, demo.demo_street(11), options)


def test_three_summer_days_pay_for_the_street_and_harm_no_home(three_days):
    result = played(three_days)
    assert result["members"] > 0.4 * result["possible"]
    assert result["members"] + result["feeder"] <= result["as_one"] + 0.01 <= result["possible"] + 0.02
    for home, gain, bill in zip(result["homes"], result["gains"], result["bill_without"]):
        assert gain > -0.02 - 0.01 * abs(bill), (home, gain, bill)
    assert result["unmet_mwh"] < 1000


def test_a_better_forecast_is_worth_money(three_days):
    assert played(three_days, oracle=True)["members"] > played(three_days)["members"]


@pytest.mark.parametrize("minutes", (5, 60))
def test_other_slot_lengths_pay_too(three_days, minutes):
    result = played(three_days, slot_minutes=minutes)
    assert result["members"] > 0.3 * result["possible"]
    assert result["unmet_mwh"] < 1000
