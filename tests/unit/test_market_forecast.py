"""Forecast: what it learns, how sure it says it is, and that its state survives."""
from prosumer.errors import Reject
from prosumer.market.forecast import ALWAYS, AT, LAPLACE, Forecast, hourly

DAY = 96


def refused(code, call, *args):
    try:
        call(*args)
    except Reject as e:
        assert e.code == code, e.code
        return
    assert False, "not refused: " + code


class Dice:
    """A small generator of its own, so that the test is the same everywhere."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self.state >> 8) % n


def load_at(slot):
    """A house that sleeps, breakfasts, works and cooks: mWh per quarter of an hour."""
    hour = slot % DAY // 4
    return 300_000 if 18 <= hour < 21 else 150_000 if 7 <= hour < 9 else 40_000


def sun_at(slot, cloud=100):
    """Generation of a plant that gives 800 mWh per W/m2, and the irradiance it has."""
    light = max(0, 900 - abs(slot % DAY - 48) * 40) * cloud // 100
    return light * 800, light


def walk(f, first, last, load=load_at, cloud=lambda slot: 100, weather=True):
    """Predict two slots ahead at each gate and learn; (mean absolute error, mean deviation said) of the net."""
    missed = said = 0
    for slot in range(first, last):
        now, ahead = sun_at(slot, cloud(slot)), sun_at(slot + 2, cloud(slot + 2))
        run = (slot, load(slot), now[0], now[1] if weather else None)
        use, sun, deviation = f.predict(slot + 2, run, ahead[1] if weather else None)
        missed += abs(use - sun - load(slot + 2) + ahead[0])
        said += deviation
        f.observe(slot, load(slot), now[0], now[1] if weather else None)
    return missed // (last - first), said // (last - first)


def test_cold_start_is_persistence():
    f = Forecast(DAY)
    assert f.predict(2)[:2] == (0, 0)
    for slot in range(4):
        f.observe(slot, 50_000, 0)
    assert f.predict(5)[:2] == (50_000, 0)
    assert f.ahead(4, 8) == []


def test_running_slot_is_used_but_not_learnt():
    f = Forecast(DAY)
    for slot in range(4):
        f.observe(slot, 50_000, 0)
    state = f.dump()
    assert 50_000 < f.predict(5, (4, 90_000, 0, None))[0] <= 90_000
    assert f.dump() == state


def test_learns_the_shape_of_the_day():
    f = Forecast(DAY)
    first = walk(f, 0, DAY, weather=False)[0]
    walk(f, DAY, 3 * DAY, weather=False)
    later = walk(f, 3 * DAY, 4 * DAY, weather=False)[0]
    assert later * 4 < first, (first, later)


def test_a_day_with_guests_lifts_the_profile():
    f = Forecast(DAY)
    walk(f, 0, 3 * DAY)
    for slot in range(3 * DAY + 72, 3 * DAY + 78):
        f.observe(slot, load_at(slot) + 200_000, 0)
    usual, guests = load_at(82), f.predict(3 * DAY + 82)[0]
    assert usual + 50_000 < guests < usual + 200_000, guests


def test_weather_forecast_sees_a_cloud_coming():
    def cloud(slot):
        return 30 if slot % 8 < 4 and slot >= 2 * DAY else 100
    blind, told = Forecast(DAY), Forecast(DAY)
    walk(blind, 0, 2 * DAY)
    walk(told, 0, 2 * DAY)
    without = walk(blind, 2 * DAY, 3 * DAY, cloud=cloud, weather=False)[0]
    with_it = walk(told, 2 * DAY, 3 * DAY, cloud=cloud)[0]
    assert with_it * 2 < without, (with_it, without)


def test_deviation_is_the_error_it_makes():
    dice = Dice(7)
    noise = [dice.below(120_000) for _ in range(12 * DAY + 2)]
    f = Forecast(DAY)
    walk(f, 0, 4 * DAY, load=lambda s: load_at(s) + noise[s])
    missed, said = walk(f, 4 * DAY, 12 * DAY, load=lambda s: load_at(s) + noise[s])
    assert said * 3 // 4 < missed < said * 4 // 3, (said, missed)


def test_an_hour_never_seen_can_be_as_wrong_as_it_is_large():
    f = Forecast(DAY)
    for slot in range(20):
        f.predict(slot + 2)
        f.observe(slot, 80_000, 0)
    assert f.predict(21)[2] >= 80_000


def test_tails_follow_the_error_and_stay_in_order():
    dice = Dice(3)
    # mostly quiet, seldom a kettle: the error is rarely above its mean
    kettles = [250_000 if dice.below(8) == 0 else 20_000 for _ in range(9 * DAY + 2)]
    f = Forecast(DAY)
    assert tuple(f.tails) == LAPLACE
    walk(f, 0, 9 * DAY, load=lambda s: kettles[s])
    assert f.tails[0] == ALWAYS and f.tails[-1] == 0
    for i in range(len(AT) - 1):
        assert f.tails[i] >= f.tails[i + 1]
    assert f.tails[AT.index(0)] < ALWAYS // 3, list(f.tails)


def test_outlook_is_the_day_as_known():
    f = Forecast(DAY)
    walk(f, 0, 3 * DAY)
    outlook = f.ahead(3 * DAY + 40, DAY)
    assert len(outlook) == DAY and outlook[8] < 0 < outlook[36]
    assert abs(outlook[36] - load_at(76)) < 30_000


def test_prices_expected_by_brightness_then_by_experience():
    f = Forecast(DAY)
    assert f.prices(0, 3, 250_000, 50_000) == [250_000] * 3
    dark, dull, bright = f.prices(0, 3, 250_000, 50_000, [0, 400, 1000])
    assert dark == 250_000 and dull == 175_000 and bright == 100_000
    for slot in range(DAY):
        f.observe_price(slot, 60_000 if 40 <= slot < 56 else 240_000)
    assert f.prices(DAY + 39, 2, 250_000, 50_000, [1000, 1000]) == [240_000, 60_000]


def test_state_comes_back_and_others_are_refused():
    f = Forecast(DAY)
    walk(f, 0, 2 * DAY)
    for slot in range(DAY):
        f.observe_price(slot, 100_000 + slot)
    state = f.dump()
    assert len(state) <= 2048 and b"".join(f.pieces()) == state
    g = Forecast(DAY)
    g.load(state)
    assert g.dump() == state
    at = 2 * DAY + 50
    assert g.predict(at, (at - 2, 70_000, 500_000, 600), 700) == f.predict(at, (at - 2, 70_000, 500_000, 600), 700)
    for bad in (b"", state[:-1], state + b"\0", b"\x02" + state[1:], Forecast(48).dump()):
        refused("forecast-state", g.load, bad)
    assert g.dump() == state


def test_every_slot_length_fits_into_two_kilobytes():
    for slots_per_day in (24, 48, 288, 1440):
        f = Forecast(slots_per_day)
        for slot in range(slots_per_day):
            f.observe(slot, 1000, 0)
        assert f.ahead(0, slots_per_day) == [1000] * slots_per_day
        assert len(f.dump()) <= 2048
    refused("forecast-slots-per-day", Forecast, 23)
    refused("forecast-slots-per-day", Forecast, 1441)


def test_impossible_energies_are_refused_and_change_nothing():
    f = Forecast(DAY)
    walk(f, 0, 50)
    state = f.dump()
    for bad in ((-1, 0), (0, -1), (60_000_001, 0), (0, 60_000_001)):
        refused("forecast-energy-range", f.observe, 50, *bad)
    assert f.dump() == state


def test_missed_slots_and_no_weather_do_no_harm():
    f = Forecast(DAY)
    walk(f, 0, 2 * DAY)
    missed = walk(f, 2 * DAY + 37, 3 * DAY, weather=False)[0]     # the meter was off for nine hours
    assert missed < 60_000, missed


def test_never_a_float():
    f = Forecast(DAY)
    walk(f, 0, DAY)
    values = list(f.predict(DAY + 1, (DAY, 1, 2, 3), 4)) + f.ahead(0, 5) + f.prices(0, 5, 9, 1, [3]) + list(f.tails)
    assert {type(v) for v in values} == {int}


def test_hourly_weather_is_interpolated():
    assert hourly([100, 200], 7200, 7200) == 100
    assert hourly([100, 200], 7200, 7200 + 900) == 125
    assert hourly([100, 200], 7200, 10800) == 200
    assert hourly([100, 200], 7200, 10801) is None and hourly([100], 7200, 7199) is None and hourly([], 0, 0) is None
