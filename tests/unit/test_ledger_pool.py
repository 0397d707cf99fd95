"""The operator's envelopes in the pool: which one counts in a slot, whatever is played again and in whatever order."""
from prosumer.errors import Reject
from prosumer.ledger.pool import Pool
from prosumer.records import Envelope


class Street:
    """As much of a genesis and of its members as envelopes need."""

    n, delta_ms = 4, 2000
    import_limit_mwh, export_limit_mwh = 9000, 9000

    def slot_at(self, now_ms):
        return now_ms // 300000

    def gate_ms(self, slot):
        return slot * 300000 + 270000

    def check_operator(self, envelope):
        if envelope.signature != b"operator":
            raise Reject("bad-operator-signature")


DAY = (0, 288, 9000, 9000)
EVENING = (100, 103, 3000, 9000)
AFTER = (104, 288, 9000, 9000)


def envelope(numbers):
    first, last, import_mwh, export_mwh = numbers
    return Envelope(signature=b"operator", first_slot=first, last_slot=last, import_limit_mwh=import_mwh, export_limit_mwh=export_mwh)


def pool_with(*envelopes):
    street = Street()
    pool = Pool(street, street)
    for e in envelopes:
        pool.add_envelope(envelope(e), 0)
    return pool


def test_the_last_to_begin_counts_in_any_order_of_arrival_and_a_replay_changes_nothing():
    for order in ((DAY, EVENING, AFTER), (AFTER, EVENING, DAY), (EVENING, DAY, AFTER), (DAY, EVENING, AFTER, DAY, DAY)):
        pool = pool_with(*order)
        assert [pool.limits(s)[0] for s in (99, 100, 103, 104)] == [9000, 3000, 3000, 9000]


def test_of_two_that_begin_together_the_narrower_counts():
    wide, narrow = (5, 9, 8000, 8000), (5, 9, 2000, 8000)
    assert pool_with(wide, narrow).limits(5) == pool_with(narrow, wide).limits(5) == (2000, 8000)


def test_outside_of_all_the_genesis_limits_hold():
    pool = pool_with(EVENING)
    assert pool.envelope(99) is None and pool.limits(99) == (9000, 9000)


def test_what_is_kept_is_bounded_and_what_has_ended_is_dropped():
    pool = pool_with(*[(s, s, 1000, 1000) for s in range(20)])
    assert len(pool.envelopes) <= 8
    pool.forget(21)
    assert pool.envelopes == []


def test_only_the_operators_own_is_taken():
    pool = pool_with(DAY)
    forged = envelope(EVENING)
    forged.signature = b"somebody"
    backwards = envelope((9, 8, 1000, 1000))
    for bad, code in ((forged, "bad-operator-signature"), (backwards, "wrong-slot")):
        try:
            pool.add_envelope(bad, 0)
            raise RuntimeError("taken")
        except Reject as e:
            assert e.code == code
    assert len(pool.envelopes) == 1


def test_what_was_crowded_out_or_has_ended_and_is_played_again_costs_nothing():
    checked, street = [], Street()
    pool = Pool(street, street)
    check = street.check_operator
    street.check_operator = lambda e: (checked.append(e), check(e))
    now = street.gate_ms(10) - 1
    for s in range(20):
        pool.add_envelope(envelope((s, 300, 1000, 1000)), now)
    kept, late, signatures = list(pool.envelopes), len(pool.late), len(checked)
    for _ in range(5):
        for s in range(14):
            pool.add_envelope(envelope((s, 300, 1000, 1000)), now)
    assert pool.envelopes == kept and len(pool.late) == late <= 20 and len(checked) == signatures
    try:
        pool.add_envelope(envelope((2, 8, 1, 1)), now)
        raise RuntimeError("taken")
    except Reject as e:
        assert e.code == "wrong-slot" and len(checked) == signatures
