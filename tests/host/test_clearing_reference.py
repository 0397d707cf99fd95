"""The firmware's clearing, run on the Unix port, against an independent reference on books that hypothesis invents."""
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference_clearing import by_exhaustion, by_vertices, supports, terms, welfare_by_lp, welfare_of

from prosumer_tools.commands.clear import SCRIPT, book_line, result_of
from prosumer_tools.unixport import FirmwareSession

FAST = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def clear():
    with FirmwareSession(SCRIPT) as session:
        def ask(book):
            line = book_line(book)
            return result_of(book["slot"], json.loads(session.ask(line)))
        yield ask


@st.composite
def books(draw, top_price, top_energy, members, steps):
    """A valid book; prices up to `top_price` around the tariff, energies up to `top_energy` a step."""
    feed_in, retail = sorted(draw(st.tuples(*[st.integers(0, top_price)] * 2)))
    limit = st.one_of(st.just(0), st.integers(0, top_energy), st.just(1000 * top_energy))
    lowest = 1 if feed_in else 0
    orders = []
    for member in draw(st.lists(st.integers(0, 300), max_size=members, unique=True)):
        some = st.sets(st.integers(lowest, top_price), max_size=2 * steps)
        prices = sorted(draw(some))
        cut = draw(st.integers(max(0, len(prices) - steps), min(steps, len(prices))))
        energy = st.integers(1, top_energy)
        orders.append({"member": member,
                       "buy": [[p, draw(energy)] for p in reversed(prices[:cut])],
                       "sell": [[p, draw(energy)] for p in prices[cut:]]})
    return {"slot": draw(st.integers(0, 1 << 40)), "seed": draw(st.binary(max_size=4)).hex(),
            "tariff": {"retail_ucr_per_kwh": retail, "feed_in_ucr_per_kwh": feed_in},
            "envelope": {"import_limit_mwh": draw(limit), "export_limit_mwh": draw(limit)}, "orders": orders}


SMALL = books(top_price=14, top_energy=6, members=5, steps=2)  # prices collide, so ties are the rule
WIDE = books(top_price=1_000_000, top_energy=40_000_000, members=12, steps=8)


@FAST
@given(book=SMALL)
def test_small_books_come_out_as_by_trying_everything(clear, book):
    assert clear(book) == by_exhaustion(book)


@FAST
@given(book=SMALL)
def test_the_two_references_agree(book):
    assert by_vertices(book) == by_exhaustion(book)


@FAST
@given(energies=st.lists(st.integers(1, 6), min_size=2, max_size=9), left=st.integers(0, 40), slot=st.integers(0, 99),
       selling=st.booleans())
def test_remainders_among_equal_limits(clear, energies, left, slot, selling):
    left = min(left, sum(energies))
    sides = ("sell", "buy") if selling else ("buy", "sell")
    orders = [{"member": m, sides[0]: [[50, e]]} for m, e in enumerate(energies)]
    if left:
        orders.append({"member": 99, sides[1]: [[60 if selling else 40, left]]})
    book = {"slot": slot, "tariff": {"retail_ucr_per_kwh": 80, "feed_in_ucr_per_kwh": 20},
            "envelope": {"import_limit_mwh": 0, "export_limit_mwh": 0}, "orders": orders}
    assert clear(book) == by_vertices(book)


@FAST
@given(book=WIDE)
def test_books_of_any_size_come_out_as_by_vertices(clear, book):
    assert clear(book) == by_vertices(book)


@FAST
@given(book=WIDE)
def test_welfare_is_the_optimum_of_the_linear_program(clear, book):
    best = welfare_by_lp(book)
    assert welfare_of(book, clear(book)) == pytest.approx(best, rel=1e-9, abs=1e-3)


def check_laws(book, r):
    """What must hold for any result."""
    retail, feed_in, import_limit, export_limit = terms(book)
    fills = {f["member"]: (f["bought_mwh"], f["sold_mwh"]) for f in r["fills"]}
    bought, sold = (sum(f[i] for f in fills.values()) for i in (0, 1))
    assert list(fills) == sorted(o["member"] for o in book["orders"])
    assert sold + r["import_mwh"] == bought + r["export_mwh"]
    assert 0 <= r["import_mwh"] <= import_limit and 0 <= r["export_mwh"] <= export_limit
    assert not (r["import_mwh"] and r["export_mwh"]) and r["volume_mwh"] == min(bought, sold)
    price = r["price_ucr_per_kwh"]
    assert supports(book, price, bought, sold)
    for order in book["orders"]:  # individually rational, step by step
        b, s = fills[order["member"]]
        assert sum(e for p, e in order["buy"] if p > price) <= b <= sum(e for p, e in order["buy"] if p >= price)
        assert sum(e for p, e in order["sell"] if p < price) <= s <= sum(e for p, e in order["sell"] if p <= price)
        assert not (b and s)
    surplus = price * (bought - sold) - retail * r["import_mwh"] + feed_in * r["export_mwh"]
    assert surplus == r["congestion_ucr_per_kwh"] * (r["import_mwh"] + r["export_mwh"])  # budget balance, exactly


@FAST
@given(book=WIDE)
def test_rational_balanced_and_within_the_envelope(clear, book):
    check_laws(book, clear(book))


@FAST
@given(book=SMALL, wide=WIDE, random=st.randoms(use_true_random=False))
def test_order_of_arrival_changes_no_byte(clear, book, wide, random):
    for b in (book, wide):
        shuffled = dict(b, orders=b["orders"][:])
        random.shuffle(shuffled["orders"])
        assert json.dumps(clear(shuffled)) == json.dumps(clear(b))


@FAST
@given(book=SMALL)
def test_congestion_is_there_exactly_when_a_wider_envelope_would_help(clear, book):
    r = clear(book)
    limits = book["envelope"]
    wider = [clear(dict(book, envelope=dict(limits, **{name: limits[name] + 1})))
             for name in ("import_limit_mwh", "export_limit_mwh")]
    gain = [welfare_of(book, w) - welfare_of(book, r) for w in wider]
    assert (max(gain) > 0) == (r["congestion_ucr_per_kwh"] > 0)
    assert max(gain) <= r["congestion_ucr_per_kwh"] or max(gain) == 0  # no less than the next mWh is worth


def test_a_full_street_of_64_members_and_8_steps(clear):
    rng = random.Random(5)
    for limit in (10**10, 30_000_000, 0):
        orders = []
        for member in range(64):
            prices = sorted(rng.sample(range(60_000, 400_000, 500), 16))
            orders.append({"member": member, "buy": [[p, rng.randint(1, 900_000)] for p in reversed(prices[:8])],
                           "sell": [[p, rng.randint(1, 900_000)] for p in prices[8:]]})
        book = {"slot": 9, "tariff": {"retail_ucr_per_kwh": 300_000, "feed_in_ucr_per_kwh": 80_000},
                "envelope": {"import_limit_mwh": limit, "export_limit_mwh": limit}, "orders": orders}
        result = clear(book)
        check_laws(book, result)
        assert welfare_of(book, result) == pytest.approx(welfare_by_lp(book), rel=1e-9)
