"""Sums of a run with and without the market; and `sample_run`, the run that the tests of the view look at.

sample_run is no market: it plays the demo street's houses with two simple rules (the car waits for the sun, neighbours get what
is there at a price by scarcity), only so that pictures and sums have something of the right shape to show.
"""
import functools

import pytest

from prosumer_tools.emulator.baseline import baseline, money_ucr
from prosumer_tools.emulator.plant import Plant
from prosumer_tools.profiles import demo_profiles, demo_street
from prosumer_tools.view import Counters, HomeData, HomeSlot, RunData, SlotData, Verdict, WalkStep
from prosumer_tools.view.totals import condensed, home_energy, neighbours_mwh, totals


@functools.cache
def sample_run():
    street, profiles = demo_street(), demo_profiles()
    alone = baseline(street, profiles)
    plants = [Plant(home, profiles) for home in street.homes]
    start, minutes = profiles.start_s, street.slot_minutes
    paid, slots = [0] * len(plants), []
    before = [plant.energy_mwh() for plant in plants]
    limit_in, limit_out = (round(kw * 1e6 * minutes / 60) for kw in (street.feeder.import_limit_kw, street.feeder.export_limit_kw))
    for k in range(96):
        for minute in range(minutes):
            now = (start + (k * minutes + minute) * 60) * 1000
            spare = -sum(plant.powers_mw(now)["grid"] - plant.powers_mw(now)["battery"] - plant.powers_mw(now)["ev"] for plant in plants)
            for plant in plants:
                if plant.home.ev:
                    plant.set_power("ev", max(0, min(spare, 7_400_000)) if k < 60 else 7_400_000, now)
                    spare -= plant.powers_mw(now)["ev"]
                if plant.home.battery:
                    plant.set_power("battery", max(spare, -4_000_000) if spare < 0 else max(0, spare - 5_000_000), now)
        for plant in plants:
            plant.advance((start + (k + 1) * minutes * 60) * 1000)
        after = [plant.energy_mwh() for plant in plants]
        homes = [HomeSlot(b["import"] - a["import"], b["export"] - a["export"], b["pv"] - a["pv"],
                          battery_mwh=b["battery_in"] - b["battery_out"] - a["battery_in"] + a["battery_out"]) for a, b in zip(before, after)]
        before = after
        slots.append(_trade(street, profiles, k, homes, limit_in, limit_out, paid))
    run = RunData(street.name, minutes, 250_000, 60_000, 20_000, [], slots, walk=_walk(), wall_s=171.4,
                  note="PV from NREL measurements and the sun at Carros, loads from the Richardson model.")
    run.homes = [HomeData(home.name, home.kind, home.pv_kwp, home.battery.capacity_kwh if home.battery else 0, home.ev is not None,
                          -paid[i], sum(s.homes[i].generation_mwh for s in slots), paid[i], money_ucr(alone[home.name].slots, street.tariff),
                          [HomeSlot.alone(s) for s in alone[home.name].slots],
                          plants[i].state(plants[i].now_ms).get("battery_soc_mwh", 2_000_000) - 2_000_000,
                          alone[home.name].battery_change_mwh) for i, home in enumerate(street.homes)]
    run.verdict = Verdict(True, {"headers": 96, "signatures": 4321, "clearings re-computed": 95, "settlements re-computed": 95}, [])
    run.counters = Counters({"reading": 768, "order": 768, "reveal": 760, "vote": 2304}, {"late": 3, "replayed": 2}, 1_843_200)
    return run


def _trade(street, profiles, k, homes, limit_in, limit_out, paid):
    tariff = street.tariff
    need, spare = (sum(getattr(h, key) for h in homes) for key in ("import_mwh", "export_mwh"))
    volume = min(need, spare) * 9 // 10
    void = k == 31
    price = None
    if volume and not void:
        price = int(80_000 + 150_000 * need / (need + spare)) // 100 * 100
        for h in homes:
            h.bought_mwh, h.sold_mwh = volume * h.import_mwh // need, volume * h.export_mwh // spare
    for i, h in enumerate(homes):
        paid[i] += (h.bought_mwh * ((price or 0) + tariff.local_fee_ucr_per_kwh) - h.sold_mwh * (price or 0)
                    + (h.import_mwh - h.bought_mwh) * tariff.retail_ucr_per_kwh
                    - (h.export_mwh - h.sold_mwh) * tariff.feed_in_ucr_per_kwh) // 1_000_000
    start = profiles.local(profiles.start_s + k * street.slot_minutes * 60).isoformat()
    return SlotData(k, start, price, volume if price else 0, max(need - spare, 0), max(spare - need, 0), limit_in, limit_out, homes, void)


def _walk():
    raw = bytes(range(7, 7 + 96))
    return [WalkStep("sample", "The meter samples voltage and current 8000 times a second.", [("samples", "7 200 000"), ("Vrms", "231.4 V")], raw[:24]),
            WalkStep("reading", "It adds them up to the energy of the quarter of an hour.", [("export_mwh", "812 345"), ("flags", "none")], raw[:40]),
            WalkStep("signed reading", "It signs the reading with its own key.", [("signature", "Ed25519, 64 bytes")], raw + raw[:64]),
            WalkStep("order", "It offers what it expects to have left.", [("sell", "0.7 kWh from 8.0 ct"), ("buy", "none")], raw[:80]),
            WalkStep("clearing", "All meters find the same price.", [("price", "12.4 ct/kWh"), ("volume", "2.1 kWh")], raw[:72]),
            WalkStep("settlement", "What was really delivered is paid.", [("credit", "0.09 €")], raw[:56]),
            WalkStep("header", "Six of eight meters sign the result.", [("votes", "8 of 8")], raw + raw[:60])]


def demo_load_mwh():
    profiles = demo_profiles()
    return sum(profiles.energy_mwh(home) for home in profiles.homes) + 12_000_000      # and the car


def hand_made():
    """Two slots and two homes whose sums can be done in the head (kWh: 1_000_000 mWh)."""
    def kwh(*values):
        return HomeSlot(*(round(v * 1e6) for v in values))
    slots = [SlotData(0, "2026-06-11T12:00:00+02:00", 120_000, 1_000_000, 0, 1_000_000, 5_000_000, 500_000,
                      [kwh(0, 2, 3, 0, 1), kwh(1, 0, 0, 1, 0)]),
             SlotData(1, "2026-06-11T12:15:00+02:00", None, 0, 2_000_000, 0, 5_000_000, 500_000,
                      [kwh(1, 0, 0), kwh(1, 0, 0)], void=True)]
    homes = [HomeData("a", pv_kwp=3, paid_ucr=-50_000, paid_alone_ucr=130_000, green_mwh=3_000_000, alone=[kwh(0, 3, 4), kwh(1, 0, 0)]),
             HomeData("b", paid_ucr=400_000, paid_alone_ucr=500_000, alone=[kwh(1, 0, 0), kwh(6, 0, 0)])]
    return RunData("two", 15, 250_000, 60_000, 0, homes, slots)


def test_sums_by_hand():
    t = totals(hand_made())
    assert (t.traded_mwh, t.neighbours_mwh, t.generation_mwh, t.consumption_mwh) == (1_000_000, 1_000_000, 3_000_000, 4_000_000)
    assert t.self_consumption == pytest.approx(2 / 3) and t.self_consumption_alone == pytest.approx(1 / 4)
    assert t.self_sufficiency == pytest.approx(2 / 4) and t.self_sufficiency_alone == pytest.approx(1 / 9)
    assert (t.saved_ucr, t.mean_price_ucr_per_kwh, t.traded_slots, t.void_slots) == (280_000, 120_000, 1, 1)
    assert (t.feeder_import_alone_mwh, t.feeder_export_alone_mwh) == (7_000_000, 2_000_000)
    assert (t.over_limit_slots, t.over_limit_alone_slots, t.peak_over_alone_mwh) == (1, 2, 2_000_000)
    assert home_energy(hand_made(), 0) == {"imported_mwh": 1_000_000, "exported_mwh": 2_000_000, "generated_mwh": 3_000_000,
                                           "bought_mwh": 0, "sold_mwh": 1_000_000}


def test_traded_but_not_delivered_does_not_count():
    run = hand_made()
    run.slots[0].volume_mwh = 5_000_000
    assert neighbours_mwh(run.slots[0]) == 1_000_000


def test_no_baseline_and_no_slots_are_no_fault():
    run = hand_made()
    run.homes[1].alone = []
    assert totals(run).over_limit_alone_slots == 0
    run.slots = []
    assert totals(run).self_consumption is None


def test_market_keeps_energy_and_money_in_the_sample_street():
    t = totals(sample_run())
    assert t.self_consumption > t.self_consumption_alone + 0.1
    assert abs(t.consumption_mwh - demo_load_mwh()) < 2_000      # the batteries' charge is not consumption
    assert t.saved_ucr > 0 and t.feeder_export_mwh < t.feeder_export_alone_mwh


def test_long_runs_are_condensed_for_drawing_without_losing_energy():
    run = sample_run()
    few = condensed(run, 30)
    assert len(few.slots) == 24 and few.slot_minutes == 60 and condensed(run) is run
    before, after = totals(run), totals(few)
    for key in ("generation_mwh", "consumption_mwh", "traded_mwh", "import_mwh", "export_mwh"):
        assert getattr(before, key) == getattr(after, key), key
    assert sum(home_energy(few, i)["sold_mwh"] for i in range(8)) == sum(home_energy(run, i)["sold_mwh"] for i in range(8))
    assert abs(after.mean_price_ucr_per_kwh - before.mean_price_ucr_per_kwh) <= 1
    assert few.slots[7].price_ucr_per_kwh is not None and not few.slots[7].void      # one void quarter does not make a void hour
