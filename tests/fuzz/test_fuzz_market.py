"""Books and slots that are broken at random: each is cleared or refused with a reason, and the next one still works."""
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prosumer_tools.commands import clear, settle
from prosumer_tools.unixport import FirmwareSession

FAST = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

NUMBER = st.one_of(st.integers(-3, 12), st.sampled_from((0, -1, 1 << 30, (1 << 30) - 1, 1 << 63, 1 << 64, -(1 << 70))))
JUNK = st.recursive(st.one_of(NUMBER, st.none(), st.booleans(), st.floats(), st.text(max_size=3)),
                    lambda inner: st.one_of(st.lists(inner, max_size=3),
                                            st.dictionaries(st.text(max_size=3), inner, max_size=3)), max_leaves=6)
STEPS = st.one_of(st.lists(st.lists(NUMBER, min_size=2, max_size=2), max_size=10), JUNK)


def record(**fields):
    """An object whose fields may be missing, junk, or what they should be."""
    return st.fixed_dictionaries({}, optional={k: v if i % 2 else st.one_of(v, v, v, JUNK)
                                               for i, (k, v) in enumerate(fields.items())})


TARIFF = st.one_of(st.just({"retail_ucr_per_kwh": 9, "feed_in_ucr_per_kwh": 3}),
                   record(retail_ucr_per_kwh=NUMBER, feed_in_ucr_per_kwh=NUMBER, min_price_ucr_per_kwh=NUMBER,
                          max_price_ucr_per_kwh=NUMBER, local_fee_ucr_per_kwh=NUMBER, loss_per_mille=NUMBER))
ENVELOPE = st.one_of(st.just({"import_limit_mwh": 4, "export_limit_mwh": 2}),
                     record(import_limit_mwh=NUMBER, export_limit_mwh=NUMBER))
ORDER = record(member=NUMBER, buy=STEPS, sell=STEPS, slot=NUMBER, max_energy_mwh=NUMBER)
BOOK = st.fixed_dictionaries({"slot": NUMBER, "tariff": TARIFF, "envelope": ENVELOPE,
                              "orders": st.lists(ORDER, max_size=4)}, optional={"seed": JUNK})
MEMBER = record(member=NUMBER, bought_mwh=NUMBER, sold_mwh=NUMBER, import_mwh=NUMBER, export_mwh=NUMBER,
                missing=st.booleans(), generation_mwh=NUMBER, penalty_ucr=NUMBER)
SLOT = st.fixed_dictionaries({"price_ucr_per_kwh": NUMBER, "tariff": TARIFF, "members": st.lists(MEMBER, max_size=4)},
                             optional={"head_net_mwh": JUNK})

GOOD_BOOK = {"slot": 1, "tariff": {"retail_ucr_per_kwh": 9, "feed_in_ucr_per_kwh": 3},
             "envelope": {"import_limit_mwh": 4, "export_limit_mwh": 2},
             "orders": [{"member": 0, "buy": [[9, 6]]}, {"member": 1, "sell": [[4, 1]]}]}


@pytest.fixture(scope="module")
def sessions():
    with FirmwareSession(clear.SCRIPT) as clearing, FirmwareSession(settle.SCRIPT) as settling:
        yield clearing, settling


@FAST
@given(book=st.one_of(BOOK, JUNK))
def test_broken_books_are_refused_with_a_reason(sessions, book):
    try:
        result = clear.result_of(0, json.loads(sessions[0].ask(clear.book_line(book))))
    except clear.BadInput as error:
        result = error
    if isinstance(result, clear.BadInput):
        assert str(result) and "\n" not in str(result)
    else:
        assert sum(f["bought_mwh"] - f["sold_mwh"] for f in result["fills"]) == (
            result["import_mwh"] - result["export_mwh"])
    after = clear.result_of(1, json.loads(sessions[0].ask(clear.book_line(GOOD_BOOK))))
    assert (after["price_ucr_per_kwh"], after["volume_mwh"], after["import_mwh"]) == (9, 1, 4)


@FAST
@given(slot=st.one_of(SLOT, JUNK))
def test_broken_slots_are_refused_with_a_reason(sessions, slot):
    try:
        result = settle.result_of(json.loads(sessions[1].ask(settle.slot_line(slot))))
    except clear.BadInput as error:
        result = error
    if isinstance(result, clear.BadInput):
        assert str(result) and "\n" not in str(result)
    else:
        assert result["sum_ucr"] == 0
