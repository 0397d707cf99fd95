"""The house's devices: exact sums, limits, the car's window, and the street without the market."""
import random

import numpy as np
import pytest

from prosumer_tools.emulator.baseline import baseline, money_ucr
from prosumer_tools.emulator.plant import Plant, PlantError
from prosumer_tools.profiles import Battery, Ev, Home, Profiles, Street, Tariff

HOUR_MS = 3_600_000


def profiles(load, pv=None, step_s=3600, start_s=0):
    pv = {} if pv is None else {"h": np.array(pv, dtype=np.int64)}
    return Profiles(start_s, step_s, {"h": np.array(load, dtype=np.int64)}, pv)


def battery_home(**changes):
    return Home("h", pv_kwp=3.0, battery=Battery(**{"capacity_kwh": 2.0, "power_kw": 1.0, "efficiency_percent": 90,
                                                    "initial_percent": 50, **changes}))


def test_grid_is_load_less_pv():
    plant = Plant(Home("h", pv_kwp=3.0), profiles([500_000, 800_000], [0, 2_000_000]))
    assert plant.powers(0)["grid"] == 500.0
    flows = plant.powers_mw(HOUR_MS)
    assert (flows["grid"], flows["pv"], flows["load"]) == (-1_200_000, 2_000_000, 800_000)
    plant.advance(2 * HOUR_MS)
    sums = plant.energy_mwh()
    assert (sums["import"], sums["export"], sums["pv"], sums["load"]) == (500_000, 1_200_000, 2_000_000, 1_300_000)


def test_pv_limit_curtails_and_is_lifted():
    plant = Plant(Home("h", pv_kwp=3.0), profiles([0, 0], [2_000_000, 2_000_000]))
    plant.set_power("pv", 700_000, 0)
    assert plant.powers_mw(0)["grid"] == -700_000
    plant.set_power("pv", None, HOUR_MS)
    assert plant.powers_mw(HOUR_MS)["pv"] == 2_000_000


def test_battery_fills_at_the_millisecond_and_loses_its_share():
    plant = Plant(battery_home(), profiles([0] * 4, [0] * 4))
    plant.set_power("battery", 5_000_000, 0)             # clipped to 1 kW
    assert plant.powers_mw(0)["battery"] == 1_000_000
    full_ms = 4_000_000                                  # 1 kWh of room at 0.9 kW: 4000 s
    assert plant.powers_mw(full_ms - 1)["battery"] == 1_000_000
    assert plant.powers_mw(full_ms + 1)["battery"] == 0
    assert 1_999_999 <= plant.state(2 * HOUR_MS)["battery_soc_mwh"] <= 2_000_000
    assert plant.energy_mwh()["battery_in"] == 1_111_111


def test_battery_empties_and_stops():
    plant = Plant(battery_home(), profiles([2_000_000] * 4, [0] * 4))
    plant.set_power("battery", -800_000, 0)
    assert plant.powers_mw(1)["grid"] == 1_200_000
    plant.advance(3 * HOUR_MS)
    assert plant.powers_mw(3 * HOUR_MS)["grid"] == 2_000_000
    assert plant.energy_mwh()["battery_out"] == 1_000_000 and plant.state(3 * HOUR_MS)["battery_soc_mwh"] == 0


def car(**changes):
    return Home("h", ev=Ev(**{"power_kw": 4.0, "need_kwh": 6.0, "plugged_from": "01:00", "plugged_until": "04:00", **changes}))


def test_car_charges_only_while_plugged_and_until_it_is_full():
    plant = Plant(car(), profiles([0] * 6))
    assert not plant.state(0)["ev_plugged"] and plant.powers_mw(HOUR_MS - 1)["ev"] == 0
    state = plant.state(HOUR_MS)
    assert state["ev_plugged"] and state["ev_need_mwh"] == 6_000_000 and state["ev_deadline_s"] == 4 * 3600
    assert plant.powers_mw(HOUR_MS)["ev"] == 4_000_000       # never set: at once, at full power
    assert plant.powers_mw(int(2.5 * HOUR_MS) - 1)["ev"] == 4_000_000
    assert plant.powers_mw(int(2.5 * HOUR_MS))["ev"] == 0
    plant.advance(6 * HOUR_MS)
    assert plant.energy_mwh()["ev"] == 6_000_000 and plant.ev_missing_mwh() == 0


def test_car_held_back_leaves_short():
    plant = Plant(car(), profiles([0] * 6))
    plant.set_power("ev", 1_000_000, HOUR_MS)
    plant.advance(5 * HOUR_MS)
    assert plant.ev_missing_mwh() == 3_000_000 and not plant.state(5 * HOUR_MS)["ev_plugged"]


def test_car_comes_every_local_day():
    two_days = Profiles(0, 3600, {"h": np.zeros(48, dtype=np.int64)}, {}, utc_offset_s=7200)
    plant = Plant(car(), two_days)
    plugged = [plant.state(hour * HOUR_MS)["ev_plugged"] for hour in range(48)]
    assert [hour for hour, is_in in enumerate(plugged) if is_in] == [0, 1, 23, 24, 25, 47]   # 01..04 local is 23..02 UTC
    plant.advance(48 * HOUR_MS)
    assert plant.energy_mwh()["ev"] == 16_000_000      # 6 on each whole stay (the first began before the profile did), 4 in the last hour


def test_silent_firmware_falls_back_to_fail_safe():
    plant = Plant(car(), profiles([0] * 6), heartbeat_ms=600_000)
    plant.set_power("ev", 0, HOUR_MS)
    assert plant.powers_mw(HOUR_MS + 599_999)["ev"] == 0
    assert plant.powers_mw(HOUR_MS + 600_000)["ev"] == 4_000_000
    plant.advance(6 * HOUR_MS)
    assert plant.energy_mwh()["ev"] == 6_000_000


def test_sums_do_not_depend_on_how_often_one_looks():
    """However the time is cut up, the same settings give the same sums, and energy is conserved."""
    rng = np.random.default_rng(5)
    series = profiles(rng.integers(0, 3_000_000, 240).tolist(), rng.integers(0, 4_000_000, 240).tolist(), step_s=60)
    home = Home("h", pv_kwp=4.0, battery=Battery(0.3, 3.0), ev=Ev(3.0, 2.0, "00:30", "03:00"))
    settings = [(rng_ms, name, mw) for rng_ms, name, mw in
                ((int(t) * 7919, str(n), int(p)) for t, n, p in zip(sorted(rng.integers(0, 1800, 60)), rng.choice(["battery", "ev", "pv"], 60),
                                                                   rng.integers(-3_000_000, 3_000_000, 60)))]
    ends = []
    for looks in (0, 5000):
        plant = Plant(home, series)
        times = sorted(random.Random(1).randrange(240 * 60_000) for _ in range(looks))
        todo = sorted([(t, 0, None, None) for t in times] + [(t, 1, n, p) for t, n, p in settings], key=lambda e: e[:2])
        for t, _, name, mw in todo:
            plant.set_power(name, mw, t) if name else plant.advance(t)
        plant.advance(240 * 60_000)
        ends.append((plant.energy_mwh(), plant.state(plant.now_ms)))
    assert ends[0][0]["battery_in"] > 0 and ends[0][0]["battery_out"] > 0 and ends[0][0]["ev"] > 0
    for name in ends[0][0]:
        assert abs(ends[0][0][name] - ends[1][0][name]) <= 3, name
    sums = ends[0][0]
    used = sums["load"] + sums["battery_in"] - sums["battery_out"] + sums["ev"]
    assert abs(sums["import"] - sums["export"] + sums["pv"] - used) <= 3


def test_refuses_what_is_not_there_and_time_that_goes_back():
    plant = Plant(Home("h"), profiles([0, 0]))
    for name in ("battery", "ev", "pv", "oven"):
        with pytest.raises(PlantError, match=name):
            plant.set_power(name, 0, 0)
    plant.advance(1000)
    with pytest.raises(PlantError, match="back"):
        plant.powers(999)


def test_baseline_of_a_house_without_devices_is_its_net_per_instant():
    street = Street((Home("h", pv_kwp=3.0),), slot_minutes=60)
    alone = baseline(street, profiles([1_000_000, 0], [0, 2_000_000], step_s=1800))["h"]
    assert [(s.import_mwh, s.export_mwh, s.generation_mwh, s.battery_mwh) for s in alone.slots] == [(500_000, 1_000_000, 1_000_000, 0)]


def test_baseline_stores_its_own_surplus_for_its_own_evening():
    home = battery_home(efficiency_percent=100, initial_percent=0)
    alone = baseline(Street((home,), slot_minutes=60), profiles([0, 500_000, 500_000, 500_000], [700_000, 0, 0, 0]))["h"]
    assert [s.import_mwh for s in alone.slots] == [0, 0, 300_000, 500_000]
    assert [s.export_mwh for s in alone.slots] == [0, 0, 0, 0] and [s.battery_mwh for s in alone.slots] == [700_000, -500_000, -200_000, 0]
    assert alone.battery_change_mwh == 0


def test_baseline_charges_the_car_at_once():
    alone = baseline(Street((car(),), slot_minutes=60), profiles([0] * 6))["h"]
    assert [s.import_mwh for s in alone.slots] == [0, 4_000_000, 2_000_000, 0, 0, 0] and alone.ev_missing_mwh == 0


def test_baseline_money_rounds_each_slot_for_the_utility():
    alone = baseline(Street((Home("h", pv_kwp=3.0),), slot_minutes=60), profiles([3_600, 0], [0, 3_600]))["h"]
    assert (alone.slots[0].import_mwh, alone.slots[1].export_mwh) == (3_600, 3_600)
    assert money_ucr(alone.slots, Tariff(250_000, 60_000, 0)) == 900 - 216
    assert money_ucr(alone.slots, Tariff(250_001, 60_001, 0)) == 901 - 216


def test_sums_hold_up_to_now_between_events():
    plant = Plant(Home("h", pv_kwp=3.0), profiles([500_000, 800_000], [0, 2_000_000]))
    plant.advance(1_234)
    assert plant.sums()["import"] == 500_000 * 1_234
    plant.advance(HOUR_MS + 10)
    assert plant.sums()["import"] == 500_000 * HOUR_MS and plant.sums()["export"] == 12_000_000
