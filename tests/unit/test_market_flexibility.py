"""Battery and car: limits, greedy behaviour with nothing traded, what they say their energy is worth."""
from prosumer.errors import Reject
from prosumer.market.flexibility import Battery, Ev, dispatch, must_mw, target_mw

RETAIL, FEED_IN, SLOT_S = 250_000, 60_000, 900
KWH = 1_000_000
NIGHT, SUN = [100_000] * 48, [-500_000] * 48      # a day's outlook: 4.8 kWh needed, then 24 kWh left over


def battery(**changes):
    values = dict(capacity_mwh=10 * KWH, power_mw=5 * KWH, efficiency_permille=950)
    values.update(changes)
    return Battery(**values)


def worth(steps, take):
    """[(value, energy)] of the taking or the giving steps, as a house meets them: outwards from what it holds."""
    chosen = [(v, t if take else g) for v, t, g in steps if (t if take else g) > 0]
    return sorted(chosen, reverse=take)


def test_target_makes_up_for_what_the_slot_has_drawn():
    assert target_mw(250_000, 0, 900) == KWH
    assert target_mw(250_000, 150_000, 360) == KWH
    assert target_mw(-250_000, 50_000, 300) == -3_600_000
    assert target_mw(100, 100, 0) == 0


def test_with_nothing_traded_a_battery_is_greedy():
    b = battery()
    assert b.setpoint(-300_000, 5 * KWH) == -300_000        # the house lacks: give
    assert b.setpoint(300_000, 5 * KWH) == 300_000          # the house has over: take
    assert b.setpoint(-9 * KWH, 5 * KWH) == -5 * KWH and b.setpoint(9 * KWH, 5 * KWH) == 5 * KWH


def test_a_battery_never_leaves_its_limits():
    b = battery(reserve_mwh=KWH)
    assert b.setpoint(-300_000, KWH) == 0 and b.setpoint(300_000, 10 * KWH) == 0
    assert b.setpoint(-KWH, KWH // 2) == 0                  # below its reserve it never gives
    stored = 5 * KWH
    for surplus in (-9 * KWH, 7 * KWH, -KWH, 4 * KWH, -9 * KWH):
        for _ in range(200):
            power = b.setpoint(surplus, stored)
            stored += power * 95 // 100 // 60 if power > 0 else -(-power * 100 // 95 // 60)
            assert KWH - 10 <= stored <= 10 * KWH


def test_what_a_slot_leaves_in_it():
    b = battery()
    assert b.after(5 * KWH, 100_000, SLOT_S) == 5 * KWH + 95_000
    assert b.after(5 * KWH, -95_000, SLOT_S) == 5 * KWH - 100_000
    assert b.after(10 * KWH, 100_000, SLOT_S) == 10 * KWH and b.after(0, -100_000, SLOT_S) == 0


def test_night_then_sun_leaves_a_spare_part():
    shift, spread, slots = battery().turning_point(8 * KWH, NIGHT + SUN, SLOT_S)
    assert -3_200_000 < shift < -2_700_000, shift           # 4.8 kWh need 5.05 of the 8; the rest would only be sold
    assert spread > 0 and slots > 48


def test_a_dark_day_empties_it_whatever_it_holds():
    shift, _, slots = battery().turning_point(5 * KWH, [200_000] * 96, SLOT_S)
    assert shift >= 4 * KWH and slots <= 50


def test_a_bright_day_fills_it():
    shift, _, slots = battery().turning_point(5 * KWH, [-400_000] * 96, SLOT_S)
    assert shift <= -4 * KWH and slots < 30


def test_stored_energy_is_worth_less_beyond_what_the_night_needs():
    prices = [150_000] * 48 + [FEED_IN] * 48
    steps = battery().steps(8 * KWH, NIGHT + SUN, SLOT_S, RETAIL, FEED_IN, prices)
    give = worth(steps, False)
    assert sum([e for _, e in give]) == 1_250_000           # what 5 kW give in a quarter of an hour
    assert 140_000 < give[0][0] < 200_000
    dark = worth(battery().steps(8 * KWH, [200_000] * 96, SLOT_S, RETAIL, FEED_IN, [RETAIL] * 96), False)
    assert [v for v, _ in dark] == [RETAIL - 1]


def test_charging_waits_for_the_cheap_hours():
    outlook = SUN[:1] + [100_000] * 95
    cheap_later = [240_000] * 8 + [80_000] * 16 + [240_000] * 72
    value = worth(battery().steps(2 * KWH, outlook, SLOT_S, RETAIL, FEED_IN, cheap_later), True)[0][0]
    assert 80_000 <= value < 110_000, value
    value = worth(battery().steps(2 * KWH, outlook, SLOT_S, RETAIL, FEED_IN, [240_000] * 96), True)[0][0]
    assert value > 200_000, value


def test_first_day_without_an_outlook_is_greedy():
    steps = battery().steps(5 * KWH, [], SLOT_S, RETAIL, FEED_IN, [RETAIL] * 96)
    assert [v for v, _ in worth(steps, False)] == [RETAIL - 1]
    for value, _ in worth(steps, True):
        assert FEED_IN < value <= (RETAIL + 3 * FEED_IN) // 4


def test_steps_lie_within_tariff_and_limits():
    for stored in (0, 500_000, 5 * KWH, 9_900_000, 10 * KWH):
        for outlook in ([], NIGHT + SUN, SUN + NIGHT, [0] * 96, [10 ** 8] * 96):
            for prices in ((), [FEED_IN] * 96, [RETAIL] * 96, [10 ** 9] * 96, [0] * 96):
                b = battery()
                steps = b.steps(stored, outlook, SLOT_S, RETAIL, FEED_IN, prices)
                give, take = b.limits_mw(stored, SLOT_S)
                assert abs(sum([g for _, _, g in steps]) - give // 4) <= 5
                assert abs(sum([t for _, t, _ in steps]) - take // 4) <= 5
                for value, t, g in steps:
                    assert FEED_IN <= value <= RETAIL and t >= 0 and g >= 0 and {type(value), type(t), type(g)} == {int}


def test_car_charges_at_once_when_no_hour_is_cheaper():
    # 7.4 kW: 1.85 kWh a slot
    steps = Ev(7_400_000).steps(12 * KWH, 30, SLOT_S, RETAIL, FEED_IN, [RETAIL] * 29)
    assert steps[-1] == (RETAIL, 1_850_000, 0) and must_mw(steps, RETAIL, SLOT_S) == 7_400_000
    assert Ev(7_400_000).steps(12 * KWH, 30, SLOT_S, RETAIL, FEED_IN, ()) == [(RETAIL, 1_850_000, 0)]


def test_car_waits_for_cheap_slots_and_grows_urgent():
    prices = [220_000] * 10 + [80_000] * 10 + [220_000] * 9
    calm = Ev(7_400_000).steps(4 * KWH, 30, SLOT_S, RETAIL, FEED_IN, prices)
    assert len(calm) == 1 and calm[0][1] == 1_850_000 and 80_000 <= calm[0][0] < 110_000
    assert must_mw(calm, RETAIL, SLOT_S) == 0
    busy = Ev(7_400_000).steps(16 * KWH, 30, SLOT_S, RETAIL, FEED_IN, prices)
    assert RETAIL > busy[0][0] > calm[0][0]
    late = Ev(7_400_000).steps(3 * KWH, 2, SLOT_S, RETAIL, FEED_IN, prices)
    assert late == [(RETAIL, 1_850_000, 0)]
    some = Ev(7_400_000).steps(3_800_000, 3, SLOT_S, RETAIL, FEED_IN, [80_000] * 2)
    assert some == [(RETAIL, 1_850_000, 0)]


def test_car_is_full_at_the_deadline_even_if_nobody_sells():
    ev, need, slots = Ev(7_400_000), 12 * KWH, 20
    for left in range(slots, 0, -1):
        steps = ev.steps(need, left, SLOT_S, RETAIL, FEED_IN, [80_000] * 30)
        must = must_mw(steps, RETAIL, SLOT_S)
        for _ in range(15):
            need -= ev.setpoint(-KWH, must, need) // 60     # the house itself lacks: only what must be
    assert need <= 60, need


def test_no_car_no_steps():
    ev = Ev(7_400_000)
    assert ev.steps(0, 9, SLOT_S, RETAIL, FEED_IN) == [] and ev.steps(KWH, 0, SLOT_S, RETAIL, FEED_IN) == []


def test_car_takes_surplus_only_and_not_below_its_least_power():
    ev = Ev(7_400_000, 1_400_000)
    assert ev.setpoint(3 * KWH, 0, 5 * KWH) == 3 * KWH
    assert ev.setpoint(KWH, 0, 5 * KWH) == 0
    assert ev.setpoint(-KWH, 500_000, 5 * KWH) == 1_400_000
    assert ev.setpoint(9 * KWH, 0, 5 * KWH) == 7_400_000
    assert ev.setpoint(9 * KWH, 0, 50_000) == 3 * KWH       # the last minute's rest
    assert ev.setpoint(9 * KWH, 7_400_000, 0) == 0


def test_dispatch_keeps_the_house_at_its_target():
    b, ev = battery(), Ev(7_400_000)
    assert dispatch(2 * KWH, 0, b, 5 * KWH) == (-2 * KWH, 0)
    assert dispatch(-4 * KWH, -KWH, b, 5 * KWH) == (3 * KWH, 0)
    assert dispatch(-6 * KWH, 0, b, 5 * KWH, ev, 0, 9 * KWH) == (0, 6 * KWH)        # the car first: no round trip
    assert dispatch(-6 * KWH, 4 * KWH, b, 5 * KWH, ev, 0, 9 * KWH) == (2_600_000, 7_400_000)
    assert dispatch(KWH, 0, b, 5 * KWH, ev, 2 * KWH, 9 * KWH) == (-3 * KWH, 2 * KWH)
    assert dispatch(KWH, 0) == (0, 0)


def test_impossible_devices_are_refused():
    for code, make in (("battery-parameters", lambda: battery(capacity_mwh=0)),
                       ("battery-parameters", lambda: battery(power_mw=0)),
                       ("battery-parameters", lambda: battery(efficiency_permille=1001)),
                       ("battery-parameters", lambda: battery(reserve_mwh=10 * KWH)),
                       ("ev-parameters", lambda: Ev(0)), ("ev-parameters", lambda: Ev(5, 6)), ("ev-parameters", lambda: Ev(5, -1))):
        try:
            make()
        except Reject as e:
            assert e.code == code
        else:
            assert False, code
