"""The firmware's settlement, run on the Unix port, against rational arithmetic on slots that hypothesis invents."""
import json
import math
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prosumer_tools.commands.settle import SCRIPT, result_of, slot_line
from prosumer_tools.unixport import FirmwareSession

FAST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MAX_PRICE = 1_000_000


@pytest.fixture(scope="module")
def settle():
    with FirmwareSession(SCRIPT) as session:
        yield lambda slot: result_of(json.loads(session.ask(slot_line(slot))))


ENERGY = st.one_of(st.integers(0, 20), st.integers(0, 30_000_000))


@st.composite
def slots(draw, charges=True):
    """A slot with its price where the clearing would put it: ≥ retail with import, ≤ feed-in with export."""
    feed_in, retail = sorted(draw(st.tuples(st.integers(0, MAX_PRICE), st.integers(0, MAX_PRICE))))
    members, bought, sold = [], 0, 0
    for number in draw(st.lists(st.integers(0, 60), max_size=8, unique=True)):
        member = {"member": number, "generation_mwh": draw(ENERGY), "penalty_ucr": draw(st.sampled_from((0, 0, 500)))}
        side, traded = draw(st.sampled_from(("bought_mwh", "sold_mwh"))), draw(ENERGY)
        member[side] = traded
        reading = draw(st.sampled_from(("good", "exact", "open", "missing")))
        if reading == "good":
            member.update(import_mwh=draw(ENERGY), export_mwh=draw(ENERGY))
        elif reading == "exact":
            member.update(import_mwh=member.get("bought_mwh", 0), export_mwh=member.get("sold_mwh", 0))
        member["missing"] = reading == "missing"
        bought, sold = bought + member.get("bought_mwh", 0), sold + member.get("sold_mwh", 0)
        members.append(member)
    lowest = retail if bought > sold else 0 if sold > bought else feed_in
    highest = feed_in if sold > bought else MAX_PRICE if bought > sold else retail
    price = draw(st.integers(max(lowest, 1 if feed_in else 0), max(highest, 1 if feed_in else 0)))
    tariff = {"retail_ucr_per_kwh": retail, "feed_in_ucr_per_kwh": feed_in}
    if charges:
        tariff["local_fee_ucr_per_kwh"] = draw(st.integers(0, retail))
        tariff["loss_per_mille"] = draw(st.integers(0, 200))
    return {"tariff": tariff, "price_ucr_per_kwh": price, "members": members}


def up(price, energy):
    return math.ceil(Fraction(price * energy, 10**6))


def down(price, energy):
    return math.floor(Fraction(price * energy, 10**6))


def expected_member(slot, m):
    """A member's legs by the words of the rule."""
    tariff, price = slot["tariff"], slot["price_ucr_per_kwh"]
    retail, feed_in = tariff["retail_ucr_per_kwh"], tariff["feed_in_ucr_per_kwh"]
    bought, sold = m.get("bought_mwh", 0), m.get("sold_mwh", 0)
    loss = math.ceil(Fraction(retail * tariff.get("loss_per_mille", 0), 1000))
    fee = tariff.get("local_fee_ucr_per_kwh", 0)
    room = {"buyer": max(0, retail - price), "seller": max(0, price - feed_in)}
    burden = {}
    for who in ("buyer", "seller"):  # loss before fee, the buyer as far as retail, then the seller down to feed-in
        part_loss = min(loss, room[who])
        part_fee = min(fee, room[who] - part_loss)
        loss, fee = loss - part_loss, fee - part_fee
        burden[who] = part_loss, part_fee
    who, energy = ("buyer", bought) if bought else ("seller", sold)
    trade = down(price, sold) - up(price, bought)
    short = long = imbalance = 0
    waits = "import_mwh" not in m and not m["missing"]
    if not waits:
        deviation = m.get("import_mwh", 0) - m.get("export_mwh", 0) - bought + sold
        short, long = max(0, deviation), max(0, -deviation)
        imbalance = down(feed_in, long) - up(retail, short)
    utility_only = None
    if "import_mwh" in m:
        net = m["import_mwh"] - m["export_mwh"]
        utility_only = down(feed_in, max(0, -net)) - up(retail, max(0, net))
    legs = {"trade_ucr": trade, "loss_ucr": -up(burden[who][0], energy), "fee_ucr": -up(burden[who][1], energy),
            "imbalance_ucr": imbalance, "penalty_ucr": -m["penalty_ucr"]}
    return {"member": m["member"], "change_ucr": sum(legs.values()), **legs, "short_mwh": short, "long_mwh": long,
            "open": waits, "green_mwh": m["generation_mwh"],
            "utility_only_ucr": utility_only}


@FAST
@given(slot=slots())
def test_every_leg_is_as_the_rule_says(settle, slot):
    result = settle(slot)
    members = sorted(slot["members"], key=lambda m: m["member"])
    expected = [expected_member(slot, m) for m in members]
    assert result["members"] == expected

    retail, feed_in = slot["tariff"]["retail_ucr_per_kwh"], slot["tariff"]["feed_in_ucr_per_kwh"]
    bought, sold = (sum(m.get(k, 0) for m in members) for k in ("bought_mwh", "sold_mwh"))
    lost = math.ceil(Fraction(min(bought, sold) * slot["tariff"].get("loss_per_mille", 0), 1000))
    utility = down(retail, max(0, bought - sold) + lost) - up(feed_in, max(0, sold - bought))
    utility += sum(down(retail, m["short_mwh"]) - up(feed_in, m["long_mwh"]) for m in expected)
    assert (result["feeder"]["lost_mwh"], result["utility_ucr"]) == (lost, utility)


@FAST
@given(slot=slots())
def test_the_books_balance_and_rounding_never_is_against_the_feeder(settle, slot):
    r = settle(slot)
    feeder = r["feeder"]
    assert r["sum_ucr"] == 0
    assert sum(m["change_ucr"] for m in r["members"]) + feeder["change_ucr"] + r["utility_ucr"] == 0
    assert feeder["change_ucr"] == sum(feeder[k] for k in
                                       ("rent_ucr", "loss_ucr", "fee_ucr", "penalty_ucr", "rounding_ucr"))
    assert 0 <= feeder["rounding_ucr"] <= 4 * len(slot["members"]) + 4


@FAST
@given(slot=slots())
def test_the_utility_sells_exactly_what_flows_at_the_head(settle, slot):
    for m in slot["members"]:  # every reading good, so that the head of the feeder is known
        m.update(missing=False, import_mwh=m.get("import_mwh", 7), export_mwh=m.get("export_mwh", 0))
    r = settle(slot)
    bought, sold = (sum(m.get(k, 0) for m in slot["members"]) for k in ("bought_mwh", "sold_mwh"))
    dealt = bought - sold + sum(m["short_mwh"] - m["long_mwh"] for m in r["members"]) + r["feeder"]["lost_mwh"]
    head = sum(m["import_mwh"] - m["export_mwh"] for m in slot["members"]) + r["feeder"]["lost_mwh"]
    assert dealt == head


@FAST
@given(slot=slots())
def test_who_delivers_is_not_worse_off_than_under_the_utility(settle, slot):
    tariff = slot["tariff"]
    inside = tariff["feed_in_ucr_per_kwh"] <= slot["price_ucr_per_kwh"] <= tariff["retail_ucr_per_kwh"]
    for m in slot["members"]:
        m.update(missing=False, import_mwh=m.get("bought_mwh", 0), export_mwh=m.get("sold_mwh", 0), penalty_ucr=0)
    for row in settle(slot)["members"]:
        if inside:
            assert row["change_ucr"] >= row["utility_only_ucr"] - 2  # legs are rounded one by one


@FAST
@given(slot=slots(charges=False))
def test_congestion_rent_is_what_the_price_leaves_the_tariff_by(settle, slot):
    tariff, price = slot["tariff"], slot["price_ucr_per_kwh"]
    bought, sold = (sum(m.get(k, 0) for m in slot["members"]) for k in ("bought_mwh", "sold_mwh"))
    beyond = max(0, price - tariff["retail_ucr_per_kwh"], tariff["feed_in_ucr_per_kwh"] - price)
    assert settle(slot)["feeder"]["rent_ucr"] == down(beyond, abs(bought - sold))


def test_head_meter_replaces_the_per_mille(settle):
    slot = {"tariff": {"retail_ucr_per_kwh": 300000, "feed_in_ucr_per_kwh": 80000, "loss_per_mille": 50},
            "price_ucr_per_kwh": 190000, "head_net_mwh": 30_000, "members": [
                {"member": 0, "bought_mwh": 10**6, "import_mwh": 10**6, "export_mwh": 0},
                {"member": 1, "sold_mwh": 10**6, "import_mwh": 0, "export_mwh": 10**6}]}
    assert settle(slot)["feeder"]["lost_mwh"] == 30_000
    del slot["head_net_mwh"]
    assert settle(slot)["feeder"]["lost_mwh"] == 50_000
