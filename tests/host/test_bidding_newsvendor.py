"""The firmware's orders, made on the Unix port, against what they cost on average by direct integration.

The reference knows nothing of curves: it draws the house's net need from the stated distribution, dispatches the flexible
steps in order of value, settles what is left at the tariff, and averages.
"""
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from prosumer_tools.unixport import FirmwareSession

FAST = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much])
AT = np.array([-48, -24, -12, -6, -3, 0, 3, 6, 12, 24, 48]) / 8
SCRIPT = """
import json, sys
from prosumer.market.bidding import make_order, position_at
for line in sys.stdin:
    q = json.loads(line)
    buy, sell = make_order(q["retail"], q["feed_in"], q["need"], q["deviation"], [tuple(s) for s in q["flex"]],
                           q["most"], q["most"], 0, q["tails"])
    print(json.dumps([buy, sell, [position_at(buy, sell, p) for p in q["prices"]]]))
"""


@pytest.fixture(scope="module")
def firmware():
    with FirmwareSession(SCRIPT) as session:
        yield lambda question: json.loads(session.ask(json.dumps(question)))


@st.composite
def questions(draw, flexible=True):
    feed_in = draw(st.integers(0, 200_000))
    retail = feed_in + draw(st.integers(10_000, 300_000))
    # beyond three mean deviations an error cannot be frequent, or its mean deviation would be larger
    inner = sorted([draw(st.integers(3700, 4095)), *draw(st.lists(st.integers(1, 4095), min_size=7, max_size=7)),
                    draw(st.integers(1, 400))], reverse=True)
    # `deviation` is the mean absolute error, so only distributions that have about that one are questions at all
    mass = -np.diff([4096, *inner, 0]) / 4096
    assume(0.5 <= (mass * (np.abs(AT[1:]) + np.abs(AT[:-1])) / 2).sum() <= 1.5)
    flex = []
    if flexible:
        value = st.integers(feed_in, retail)
        energy = st.integers(1, 800_000)
        flex = [(draw(value), draw(energy), 0) for _ in range(draw(st.integers(0, 3)))]
        flex += [(draw(value), 0, draw(energy)) for _ in range(draw(st.integers(0, 3)))]
    prices = [feed_in + (retail - feed_in) * i // 12 for i in range(13)]
    return {"retail": retail, "feed_in": feed_in, "need": draw(st.integers(-800_000, 800_000)), "flex": flex, "most": 4_000_000,
            "deviation": draw(st.integers(100, 300_000)), "tails": [4096, *inner, 0], "prices": prices}


def needs(q):
    """250 equally likely net needs: quantiles of the piecewise linear distribution."""
    cumulated = 1 - np.array(q["tails"]) / 4096
    return q["need"] + q["deviation"] * np.interp((np.arange(250) + 0.5) / 250, cumulated, AT)


def cost(q, position, price):
    """Mean cost in ucr of a position bought at a price: what it took, less the worth of what flexible devices keep."""
    surplus = position - needs(q)
    given_away = sum(give for _, _, give in q["flex"])
    left = surplus + given_away             # as if all that can be given were: then fed to the steps by value
    worth = np.zeros_like(left)
    worth -= np.where(left < 0, -left, 0) * q["retail"]
    left = np.maximum(left, 0)
    for value, take, give in sorted(q["flex"], reverse=True):
        part = np.minimum(left, take + give)
        worth += part * value
        left = left - part
    worth += left * q["feed_in"]
    return price * position / 1e6 - worth.mean() / 1e6


@FAST
@given(q=questions())
def test_at_no_price_does_an_order_lose_on_average(firmware, q):
    _, _, positions = firmware(q)
    for price, position in zip(q["prices"], positions):
        # a clearing fills the marginal step in any part, so every part must hold, down to nothing
        for part in (0.25, 0.5, 1):
            gain = cost(q, 0, price) - cost(q, position * part, price)
            assert gain >= -1 - 2e-5 * q["deviation"], (price, position, part, gain)


@FAST
@given(q=questions())
def test_an_order_finds_most_of_what_a_price_offers(firmware, q):
    _, _, positions = firmware(q)
    grid = np.unique(np.concatenate([np.linspace(-q["most"], q["most"], 161), needs(q)[::10]]))
    caution = (q["retail"] - q["feed_in"]) / 32
    # a table of eleven points and eight steps cannot follow an error that lies all in one cell: a part of what one mean deviation costs
    coarse = max(200, 0.05 * q["deviation"] * (q["retail"] - q["feed_in"]) / 1e6)
    for price, position in zip(q["prices"][2:-2:2], positions[2:-2:2]):
        best_at = min(grid, key=lambda p: cost(q, p, price))
        best = cost(q, 0, price) - cost(q, best_at, price)
        gain = cost(q, 0, price) - cost(q, position, price)
        kept_back = caution * abs(best_at - position) / 1e6
        assert gain >= 0.8 * best - kept_back - coarse, (price, position, best_at, gain, best)


@FAST
@given(q=questions())
def test_form_of_the_order(firmware, q):
    buy, sell, _ = firmware(q)
    buys, sells = [p for p, _ in buy], [p for p, _ in sell]
    assert buys == sorted(set(buys), reverse=True) and sells == sorted(set(sells))
    assert len(buys) <= 8 and len(sells) <= 8
    assert all(q["feed_in"] <= p <= q["retail"] for p in buys + sells)
    assert all(energy > 0 for _, energy in buy + sell)
    assert not (buys and sells) or sells[0] > buys[0]


@FAST
@given(q=questions(flexible=False))
def test_more_certainty_never_costs(firmware, q):
    """The gain at a price on average over outcomes grows when the same house knows itself better."""
    vague = firmware(q)[2]
    sure = dict(q, deviation=q["deviation"] // 4)
    for price, position in list(zip(q["prices"], vague))[1:-1]:
        known = firmware(sure)[2][q["prices"].index(price)]
        loss = {name: cost(of, p, price) - ideal(of, price) for name, of, p in (("vague", q, position), ("sure", sure, known))}
        assert loss["sure"] <= loss["vague"] + 1500, (price, loss)


def ideal(q, price):
    """Mean cost of one who knows his need: buys or sells exactly it where that pays."""
    return float(np.mean(price * needs(q))) / 1e6
