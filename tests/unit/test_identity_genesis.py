"""The genesis: what the operator may sign, what amends it, and the tariff, month and wires that follow from it."""
import time

import paper
from prosumer.errors import Reject
from prosumer.identity.genesis import Genesis
from prosumer.records import ROLE_GENERATES, ROLE_HEAD, ROLE_LEFT, ROLE_STORES, Amendment

OPERATOR = paper.signer("operator")
SIGNERS = [paper.signer("member %d" % i) for i in range(4)]
NIGHT, EVENING = (127, 0, 360, 180000, 60000), (31, 1080, 1440, 320000, 90000)
MONDAY_S = 1750629600  # 23 June 2025, 00:00 at UTC+2
MONDAY_UTC_S = 1750636800  # and at UTC


def signed(**changes):
    return paper.make_genesis(OPERATOR, changes.pop("signers", SIGNERS), changes.pop("roles", None), **changes)


def genesis(**changes):
    return Genesis(signed(**changes))


def code(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except Reject as e:
        return e.code
    return None


def test_numbers_that_make_no_street():
    for changes, reason in (
            ({"slot_s": 59}, "genesis-out-of-range"), ({"slot_s": 3601}, "genesis-out-of-range"), ({"delta_ms": 0}, "genesis-out-of-range"),
            ({"loss": 1001}, "genesis-out-of-range"), ({"correction": 899}, "genesis-out-of-range"), ({"correction": 172801}, "genesis-out-of-range"),
            ({"accuracy": 4}, "genesis-out-of-range"), ({"utc_offset": 1440}, "genesis-out-of-range"), ({"max": 1 << 30}, "genesis-out-of-range"),
            ({"feed_in": 250001}, "tariff-out-of-order"), ({"min": 80001}, "tariff-out-of-order"), ({"max": 249999}, "tariff-out-of-order"),
            ({"bands": [(127, 0, 360, 60000, 60001)]}, "tariff-out-of-order"), ({"bands": [(127, 0, 360, 1000001, 60000)]}, "tariff-out-of-order"),
            ({"bands": [(127, 0, 360, 80000, 0)]}, "tariff-out-of-order"), ({"bands": [NIGHT] * 9}, "too-many-bands"),
            ({"bands": [(0, 0, 360, 180000, 60000)]}, "bad-band"), ({"bands": [(128, 0, 360, 180000, 60000)]}, "bad-band"),
            ({"bands": [(127, 360, 360, 180000, 60000)]}, "bad-band"), ({"bands": [(127, 0, 1441, 180000, 60000)]}, "bad-band"),
            ({"signers": SIGNERS + SIGNERS[:1]}, "duplicate-key"), ({"signers": []}, "too-many-members"),
            ({"roles": [8, 0, 0, 0]}, "bad-roles"), ({"roles": [ROLE_HEAD | 1, 0, 0, 0], "loss": 0}, "bad-roles"),
            ({"roles": [ROLE_HEAD, ROLE_HEAD, 0, 0], "loss": 0}, "bad-roles"), ({"roles": [ROLE_HEAD, 0, 0, 0]}, "bad-roles"),
            ({"feeder": b"f" * 8}, "not-a-successor"), ({"previous": b"p" * 32}, "not-a-successor")):
        assert code(genesis, **changes) == reason, changes


def test_a_name_is_utf_8():
    for name, reason in (b"Ruelle \xc3\xa9t\xc3\xa9", None), (b"Paper Stree\xff", "bad-name"), (b"Paper Stree\xc3", "bad-name"):
        body = signed()[:-64].replace(b"Paper Street", name)
        assert code(Genesis, body + OPERATOR.sign(paper.TAG + body)) == reason, name


def test_fuses_that_carry_more_than_a_header_can_say():
    def fuses(n):
        return [255] * n, sum([255 * 230 * (3 if i % 4 == 0 else 1) * 1000 for i in range(n)])

    houses = [paper.signer("house %d" % i) for i in range(50)]
    fits = max([n for n in range(1, 51) if fuses(n)[1] < 1 << 32])
    assert 40 < fits < 50
    assert code(genesis, signers=houses[:fits], fuses=fuses(fits)[0], slot_s=3600) is None
    assert code(genesis, signers=houses[:fits + 1], fuses=fuses(fits + 1)[0], slot_s=3600) == "fuses-too-large"


def test_bytes_that_are_changed_cut_or_lengthened():
    raw = signed(bands=[NIGHT])
    assert Genesis(raw).raw == raw and Amendment.parse(raw).pack() == raw
    for at in list(range(0, len(raw), 7)) + [128, 141, 142, len(raw) - 1]:
        try:
            Genesis(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:])
            raise RuntimeError("taken: %d" % at)
        except Reject:
            pass
    for size in range(0, len(raw), 11):
        assert code(Genesis, raw[:size]) and code(Amendment.parse, raw[:size])
    assert code(Genesis, raw + b"\0") == "trailing-bytes"


def test_the_calendar_by_local_weekday_and_minute_and_the_first_band_that_fits_counts():
    g = genesis(start_s=MONDAY_S, utc_offset=120, bands=[NIGHT, EVENING, (96, 0, 1440, 200000, 70000), (127, 300, 720, 111111, 80000)])

    def at(day, hour, minute=0):
        t = g.tariff((day * 1440 + hour * 60 + minute) // 15)
        return t.retail_ucr_per_kwh, t.feed_in_ucr_per_kwh

    assert at(0, 0) == at(4, 5, 45) == at(6, 5, 45) == (180000, 60000), "night, Monday to Sunday"
    assert at(0, 6) == at(4, 11, 45) == (111111, 80000), "the night comes first where both fit"
    assert at(0, 12) == at(4, 17, 45) == (250000, 80000), "flat"
    assert at(0, 18) == at(4, 23, 45) == (320000, 90000)
    assert at(5, 18) == at(6, 23, 45) == at(5, 6) == (200000, 70000), "Saturday and Sunday"
    assert at(7, 18) == at(0, 18), "the next week"
    assert g.tariff(0).local_fee_ucr_per_kwh == g.local_fee_ucr_per_kwh and g.tariff(0).loss_per_mille == g.loss_per_mille
    worst = g.dearest()
    assert (worst.retail_ucr_per_kwh, worst.feed_in_ucr_per_kwh) == (320000, 60000)
    assert genesis().tariff(7).retail_ucr_per_kwh == genesis().dearest().retail_ucr_per_kwh == paper.RETAIL
    west = genesis(start_s=MONDAY_UTC_S, utc_offset=-90, bands=[(64, 1350, 1440, 1, 1)])
    assert [west.tariff(s).retail_ucr_per_kwh for s in (0, 5, 6)] == [1, 1, 250000], "still Sunday there until 01:30"


def test_months_by_the_local_calendar():
    def month(second, offset=0):
        g.start_s, g.utc_offset_min = second, offset
        return divmod(g.month(0), 12)

    g = genesis()
    for second in range(86399, 1 << 32, 86400 * 13 + 12345):
        t = time.gmtime(second)
        assert month(second) == (t[0], t[1] - 1), second
    assert month(1751320800, 120) == (2025, 6) and month(1751320799, 120) == (2025, 5)
    assert month(1709164800) == month(1709251199) == (2024, 1), "29 February"


def test_what_the_fuses_let_through():
    g = genesis(roles=[ROLE_GENERATES, 0, 0, ROLE_HEAD], loss=0)
    assert g.fuse_mwh(0) == 3 * g.fuse_mwh(1) == 63 * 230 * 3 * 250
    assert g.fuse_mwh(3) == g.fuse_mwh(0) + g.fuse_mwh(1) + g.fuse_mwh(2), "at the head all of them"


def test_an_amendment_follows_the_genesis_in_force():
    first = genesis()
    second = genesis(before=first, retail=260000)
    first.check_successor(second)
    assert (second.number, second.feeder_id) == (1, first.feeder_id) != (1, bytes(8))
    third = genesis(before=second)
    assert code(first.check_successor, third) == "not-a-successor"
    first.check_successor(third, True)
    second.check_successor(third)
    assert code(second.check_successor, second) == code(second.check_successor, first) == "replayed"
    other = Genesis(paper.make_genesis(paper.signer("another operator"), SIGNERS, before=first))
    for bad in (genesis(before=first, start_s=1), genesis(before=first, slot_s=300, correction=900), genesis(before=first, signers=SIGNERS[:3]),
                genesis(before=first, feeder=b"f" * 8), genesis(before=first, previous=b"p" * 32), genesis(before=first, number=3), other):
        assert code(first.check_successor, bad) == "not-a-successor"


def test_the_number_of_somebody_who_left_is_nobody_elses():
    roles = [ROLE_GENERATES, ROLE_LEFT, 0, ROLE_STORES]
    first, new = genesis(roles=roles), paper.signer("new")
    replaced = [SIGNERS[0], SIGNERS[1], new, SIGNERS[3]]
    first.check_successor(genesis(before=first, signers=replaced, roles=roles))
    taken = [SIGNERS[0], new, SIGNERS[2], SIGNERS[3]]
    assert code(first.check_successor, genesis(before=first, signers=taken, roles=[0, 0, 0, 0])) == "not-a-successor"
    first.check_successor(genesis(before=first, roles=[0, 0, 0, 0]))  # whoever left may come back with the same meter
