"""Geneses, orders, coins and payments that are broken at random: the firmware and the independent check refuse the same ones, and what
is refused has changed nothing."""
import json
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prosumer_tools.unixport import FirmwareSession
from prosumer_tools.verify import genesis as street
from prosumer_tools.verify import rules
from prosumer_tools.verify.books import Books
from prosumer_tools.verify.genesis import GENERATES, STORES
from prosumer_tools.verify.records import Order, Transfer

FAST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SCRIPT = """
import json, sys
from prosumer.errors import Reject
from prosumer.identity.genesis import Genesis
from prosumer.ledger.pool import check_order
from prosumer.ledger.state import State
from prosumer.market import green
from prosumer.records import Order, Transfer

def code(call, *args):
    try:
        call(*args)
    except Reject as e:
        return e.code

def told(genesis):
    try:
        g = Genesis(bytes.fromhex(genesis))
    except Reject as e:
        return e.code
    return [[g.month(s), g.tariff(s).retail_ucr_per_kwh, g.tariff(s).feed_in_ucr_per_kwh] for s in range(0, 700, 23)]

def moved(genesis, coins, balances, transfers):
    state = State(genesis)
    for a, c, b in zip(state.accounts, coins, balances):
        a.green_mwh, a.balance_ucr = c, b
        state.utility_ucr -= b
    out = []
    for member, kind, seq, to, amount in transfers:
        before = state.pack()
        reason = code(green.move, state, Transfer(member=member, kind=kind, seq=seq, to=to, amount=amount, note=bytes(16)))
        out.append([reason, reason is None or state.pack() == before])
    return [out, state.pack().hex()]

def ordered(genesis, balances, positions, member, slot, buy, sell):
    state = State(genesis)
    for a, b in zip(state.accounts, balances):
        a.balance_ucr = b
    for s, price, m, bought, sold in positions:
        state.trade(s, price, {m: (bought, sold)})
    return code(check_order, genesis, state, Order(member, slot, bytes(16), buy, sell))

genesis = Genesis(bytes.fromhex(json.loads(sys.stdin.readline())))
print("ready")
for line in sys.stdin:
    what, *args = json.loads(line)
    print(json.dumps(told(*args) if what == "genesis" else moved(genesis, *args) if what == "moves" else ordered(genesis, *args)))
"""

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32) for i in range(6)]
PUBLIC = [k.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw) for k in KEYS]
GOOD = {"number": 0, "feeder": bytes(8), "previous": bytes(32), "start_s": 1_750_000_200, "slot_s": 900, "delta_ms": 2000, "retail": 250_000,
        "feed_in": 80_000, "min": 1, "max": 1_000_000, "fee": 20_000, "loss": 20, "penalty": 10_000, "import": 10**7, "export": 10**7,
        "credit": 300_000, "correction": 86400, "accuracy": 1, "offset": 120}


def genesis(bands=((127, 0, 360, 180_000, 60_000), (31, 1080, 1440, 320_000, 90_000)), members=((1, 63, 1), (0, 63, 0), (2, 25, 2), (3, 32, 3)),
            **changes):
    body = struct.pack(">BH8s32sIHHIIIIIHIIIIIBh32s", 10, *(GOOD | changes).values(), PUBLIC[0])
    body += b"\4Fuzz" + bytes([len(bands)]) + b"".join(struct.pack(">BHHII", *b) for b in bands)
    body += bytes([len(members)]) + b"".join(PUBLIC[1 + i % 5] + bytes(m) for i, m in enumerate(members))
    return body + KEYS[0].sign(b"prosumer/genesis/v2\0" + body)


U32 = st.one_of(st.integers(0, 400_000), st.sampled_from((0, 1, (1 << 30) - 1, 1 << 30, (1 << 32) - 1)))
U16 = st.one_of(st.integers(0, 2000), st.sampled_from((0, 59, 60, 3600, 3601, 0xFFFF)))
BAND = st.tuples(st.integers(1, 127), st.integers(0, 700), st.integers(701, 1440), st.integers(200_000, 300_000), st.integers(1, 200_000))
BANDS = st.lists(BAND, max_size=8) | st.lists(BAND | st.tuples(st.integers(0, 255), U16, U16, U32, U32), max_size=9)
HOUSES = st.lists(st.tuples(st.sampled_from((0, 1, 2, 3, 128, 129)), st.integers(0, 255), st.integers(0, 3)), min_size=1, max_size=5)
MEMBERS = HOUSES | st.lists(st.tuples(st.sampled_from((0, 1, 2, 3, 4, 5, 8, 128, 132, 255)), st.integers(0, 255), st.integers(0, 3)), max_size=6)
NUMBERS = {"retail": U32, "feed_in": U32, "min": U32, "max": U32, "loss": U16, "slot_s": U16, "delta_ms": U16, "correction": U32,
           "accuracy": st.integers(0, 255), "offset": st.integers(-1500, 1500), "feeder": st.sampled_from((bytes(8), b"feeder--")),
           "previous": st.sampled_from((bytes(32), bytes(31) + b"p"))}
CHANGES = st.just({}) | st.just({"loss": 0}) | st.sampled_from(sorted(NUMBERS)).flatmap(lambda name: st.fixed_dictionaries({name: NUMBERS[name]}))


@pytest.fixture(scope="module")
def firmware():
    with FirmwareSession(SCRIPT) as session:
        session.ask(json.dumps(genesis().hex()))
        yield lambda *question: json.loads(session.ask(json.dumps(question)))


@FAST
@given(bands=BANDS, members=MEMBERS, changes=CHANGES)
def test_a_genesis_is_good_for_both_or_for_neither(firmware, bands, members, changes):
    raw = genesis(bands, members, **changes)
    g = street.genesis(raw)
    faults, answer = street.faults(g, str), firmware("genesis", raw.hex())
    assert isinstance(answer, str) == bool(faults), (faults, answer)
    if not faults:
        assert answer == [[g.month(s), g.tariff(s).retail, g.tariff(s).feed_in] for s in range(0, 700, 23)]


AMOUNT = st.one_of(st.integers(0, 300), st.sampled_from((0, 1 << 47, 1 << 48, (1 << 64) - 1)))
TRANSFER = st.tuples(st.sampled_from((0, 1, 2, 3, 4, 255)), st.integers(0, 5), st.integers(0, 3), st.sampled_from((0, 1, 2, 3, 3, 4, 255)), AMOUNT)
LIKELY = st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 2), st.integers(0, 3), st.integers(1, 90)) | st.tuples(
    st.just(255), st.integers(2, 3), st.integers(0, 2), st.integers(0, 3), st.integers(1, 900))


@FAST
@given(coins=st.lists(st.integers(0, 200), min_size=4, max_size=4), balances=st.lists(st.integers(-500, 500), min_size=4, max_size=4),
       transfers=st.lists(TRANSFER | LIKELY | LIKELY, max_size=12))
def test_coins_and_payments_are_booked_by_both_or_by_neither(firmware, coins, balances, transfers):
    books = Books(street.genesis(genesis()))
    books.coins = []
    for account, c, b in zip(books.accounts, coins, balances):
        account.green_mwh, account.balance_ucr = c, b
        books.utility_ucr -= b
    said = []
    for t in transfers:
        faults = []
        books._transfer(Transfer(*t, bytes(16), b"", b""), 0, [], lambda record, text, faults=faults: faults.append(text))
        said.append(bool(faults))
    answers, state = firmware("moves", coins, balances, transfers)
    assert [reason is not None for reason, _ in answers] == said, (answers, transfers)
    assert all(unchanged for _, unchanged in answers)
    assert state == (bytes([128 + 4]) + bytes(16) + b"".join(books.leaves())).hex()
    assert books.balanced() and sum(a.green_mwh + a.retired_mwh for a in books.accounts) == sum(coins)


PRICE = st.integers(60_000, 400_000) | st.one_of(st.integers(0, 400_000), st.sampled_from((0, 1, 60_000, 180_000, 250_000, 1_000_000, 1_000_001, (1 << 32) - 1)))
ENERGY = st.integers(1, 600_000) | st.integers(1, 600_000) | st.one_of(st.integers(0, 2_000_000), st.sampled_from((0, 1, 1_207_500, 3_622_500, (1 << 32) - 1)))
STEPS = st.lists(st.tuples(PRICE, ENERGY), max_size=2, unique_by=lambda step: step[0]).map(lambda steps: sorted(steps, reverse=True))


@FAST
@given(balances=st.lists(st.integers(-400_000, 400_000), min_size=4, max_size=4), member=st.sampled_from((0, 0, 1, 2, 2, 3, 3, 4, 255)), slot=st.integers(1, 90),
       positions=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 300_000), st.integers(0, 3), st.integers(0, 900_000), st.just(0)), max_size=3,
                          unique_by=lambda p: p[0]),
       buy=STEPS, sell=STEPS.map(lambda steps: steps[::-1]))
def test_an_order_is_good_for_both_or_for_neither(firmware, balances, member, slot, positions, buy, sell):
    books = Books(street.genesis(genesis()))
    g = books.genesis
    for account, b in zip(books.accounts, balances):
        account.balance_ucr = b
    for s, price, m, bought, sold in positions:
        books.positions.setdefault(s, (price, {}))[1][m] = (bought, sold)
    o, faults = Order(member, slot, bytes(16), buy, sell, b""), []
    books._barred(o, lambda record, text: faults.append(text))
    if not faults:
        fault = rules.order_fault(g.tariff(slot), o) or (sell and not g.roles(member) & (GENERATES | STORES) and "cannot sell")
        faults += [fault] if fault else []
        books._credit(o, lambda record, text: faults.append(text))
    answer = firmware("order", balances, positions, member, slot, buy, sell)
    assert (answer is not None) == bool(faults), (answer, faults)
