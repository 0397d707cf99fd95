"""The local guard: who is cut first, that limits hold wherever they can, and what a blind meter does."""
from prosumer.market.envelope import guard

KW = 1_000_000


def test_within_limits_nothing_changes():
    assert guard(10 * KW, 5 * KW, 2 * KW, KW, 3 * KW, KW, 7 * KW, 5 * KW, 5 * KW)[:2] == (3 * KW, KW)
    assert guard(10 * KW, 5 * KW, 2 * KW, 0, 0, 0) == (0, 0, 7 * KW, 0)


def test_import_the_car_waits_first_then_the_battery_helps_then_loads_are_shed():
    def over(limit):
        ev, battery, _, shed = guard(limit, 0, 4 * KW, 0, 3 * KW, KW, 7 * KW, 5 * KW, 2 * KW)
        return ev // KW, battery // KW, shed // KW
    assert over(8 * KW) == (3, 1, 0)
    assert over(6 * KW) == (1, 1, 0)
    assert over(5 * KW) == (0, 1, 0)
    assert over(3 * KW) == (0, -1, 0)
    assert over(2 * KW) == (0, -2, 0)
    assert over(KW) == (0, -2, 1)


def test_export_what_is_too_much_is_kept_before_generation_is_limited():
    def under(limit):
        return [x // KW for x in guard(9 * KW, limit, KW, 9 * KW, 0, -2 * KW, 2 * KW, 3 * KW, 5 * KW)[:3]]
    assert under(10 * KW) == [0, -2, 9]
    assert under(9 * KW) == [0, -1, 9]
    assert under(6 * KW) == [2, 0, 9]
    assert under(5 * KW) == [2, 1, 9]
    assert under(3 * KW) == [2, 3, 9]
    assert under(KW) == [2, 3, 7]           # now the inverter is held back
    assert under(0) == [2, 3, 6]


def test_a_blind_meter_moves_nothing():
    assert guard(9 * KW, 4 * KW, None, KW, 3 * KW, KW, 7 * KW, 5 * KW, 5 * KW) == (0, 0, 4 * KW, 0)
    assert guard(9 * KW, None, KW, None, 3 * KW, -KW, 7 * KW, 5 * KW, 5 * KW) == (0, 0, 0, 0)


def test_without_any_limit_devices_take_only_own_surplus_and_nothing_is_fed_in():
    assert guard(None, None, 2 * KW, 0, 3 * KW, KW, 7 * KW, 5 * KW, 0) == (0, 0, 2 * KW, 0)
    assert guard(None, None, KW, 5 * KW, 3 * KW, 0, 7 * KW, 5 * KW, 0) == (4 * KW, 0, 5 * KW, 0)


def test_wishes_beyond_what_devices_can_are_cut():
    assert guard(99 * KW, 0, 0, 0, 9 * KW, 9 * KW, 7 * KW, 5 * KW, 5 * KW)[:2] == (7 * KW, 5 * KW)
    assert guard(99 * KW, 99 * KW, 0, 0, -KW, -9 * KW, 7 * KW, 5 * KW, 5 * KW)[:2] == (0, -5 * KW)


def test_limits_hold_wherever_devices_and_switches_can_make_it():
    state = 5
    def below(n):
        nonlocal state
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        return (state >> 8) % n
    for _ in range(2000):
        limit_in, limit_out, load, pv = below(20), below(20), below(30), below(30)
        ev_max, charge, discharge = below(8), below(6), below(6)
        ev, battery, pv_limit, shed = guard(limit_in, limit_out, load, pv, below(9), below(14) - 7, ev_max, charge, discharge)
        assert 0 <= ev <= ev_max and -discharge <= battery <= charge and 0 <= shed <= load and pv_limit >= 0
        net = load - shed - min(pv, pv_limit) + ev + battery
        assert net <= limit_in, net
        assert net >= -limit_out, net
        if shed:
            assert ev == 0 and battery == -discharge
        if pv_limit < pv:
            assert ev == ev_max and battery == charge
