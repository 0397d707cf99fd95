"""What else a block carries: transfers and evidence, how many of each list, and what a proposer may not leave out."""
import paper
from prosumer.ledger import block
from prosumer.ledger.state import State
from prosumer.records import GIVE, PAY_IN, Body, Commit, Reading, Transfer
from test_ledger_rules import OPERATOR, SIGNERS, code, play, reading


def test_transfers_enter_a_block_as_far_as_they_are_covered_and_there_is_room():
    s = paper.Street(4, paper.fresh_folder())
    g, pool = s.genesis, s.meters[0].node.pool
    state = State(g)
    for m in range(4):
        state.accounts[m].green_mwh = 100

    def made(member, kind, seq, to, amount):
        t = Transfer(member=member, kind=kind, seq=seq, to=to, amount=amount, note=bytes(16))
        t.signature = (OPERATOR if member == 255 else SIGNERS[member]).sign(t.message(g.feeder_id))
        return t

    def add(t):
        return pool.add_transfer(t, State.parse(state.pack()), s.now)

    assert add(made(0, GIVE, 0, 1, 60)) and add(made(0, GIVE, 1, 1, 40))
    assert not add(made(0, GIVE, 0, 1, 60)), "known"
    assert code(add, made(0, GIVE, 1, 2, 40)) == "two-transfers"
    assert code(add, made(0, GIVE, 2, 1, 1)) == "unfunded"
    assert code(add, made(1, GIVE, 1, 0, 1)) == "wrong-sequence"
    stolen = made(1, GIVE, 0, 3, 5)
    stolen.signature = SIGNERS[3].sign(stolen.message(g.feeder_id))
    assert code(add, stolen) == "bad-signature" and 1 not in pool.transfers
    for seq in (0, 1):
        assert add(made(2, GIVE, seq, 3, 1))
    assert code(add, made(2, GIVE, 2, 3, 1)) == "too-many"
    for seq in range(16):
        assert add(made(255, PAY_IN, seq, 3, 1))
    assert code(add, made(255, PAY_IN, 16, 3, 1)) == "too-many"
    body = block.build(g, State.parse(state.pack()), 0, pool, bytes(16))
    assert [(t.member, t.seq) for t in body.transfers][:5] == [(0, 0), (0, 1), (2, 0), (2, 1), (255, 0)] and len(body.transfers) == 16
    play(g, state, 0, (), (), body.transfers)
    assert [a.green_mwh for a in state.accounts] == [0, 200, 98, 102] and state.operator_seq == 12
    pool.settled(State.parse(state.pack()), 0)
    assert sorted(pool.transfers) == [255] and [t.seq for t in pool.transfers[255]] == [12, 13, 14, 15]
    assert code(add, made(0, GIVE, 0, 1, 60)) == "replayed"


def test_a_transfer_that_was_left_out_is_missed_if_there_was_room():
    s = paper.Street(4, paper.fresh_folder())
    g, pool = s.genesis, s.meters[0].node.pool
    state = State(g)
    t = Transfer(member=255, kind=PAY_IN, seq=0, to=3, amount=1, note=bytes(16))
    t.signature = OPERATOR.sign(t.message(g.feeder_id))
    s.now = g.start_ms(0)
    pool.add_transfer(t, State(g), s.now)
    without = Body(bytes(16), [], [], [], [], [], [], [])
    omitted = lambda *args: [kind for kind, _ in block.omitted(*args)]  # noqa: E731
    assert omitted(g, state, 0, pool, without) == ["transfer"]
    assert not omitted(g, state, 0, pool, Body(bytes(16), [], [], [], [], [t], [], []))
    full = [Reading(member=0, slot=0, seq=i, previous=bytes(32), import_mwh=0, export_mwh=0, generation_mwh=0, interval_import_mwh=0,
                    interval_export_mwh=0, interval_generation_mwh=0, uncertainty_mwh=0, flags=0, accuracy=0, calibration=bytes(8)) for i in range(16)]
    for r in full:
        r.signature = bytes(64)
    assert omitted(g, state, 0, pool, Body(bytes(16), [], [], [], full[:15], [], [], []))
    assert not omitted(g, state, 0, pool, Body(bytes(16), [], [], [], full, [], [], [])), "the buffer of a meter is full"
    s.now = g.gate_ms(0) - 1
    other = s.meters[1].node.pool
    other.add_transfer(t, State(g), s.now)
    assert not omitted(g, state, 0, other, without), "it came too late to be missed"


def test_the_second_of_two_things_is_evidence_only_with_a_good_signature():
    s = paper.Street(4, paper.fresh_folder())
    g, pool = s.genesis, s.meters[0].node.pool

    def commit(digest, signer):
        c = Commit(member=1, slot=2, digest=digest)
        c.signature = signer.sign(c.message(g.feeder_id))
        return c

    def read(taken, signer):
        r = reading(State(g), 1, 0, taken)
        r.signature = signer.sign(r.message(g.feeder_id))
        return r

    s.now = g.start_ms(0)
    assert pool.add_commit(commit(b"a" * 32, SIGNERS[1]), s.now)
    assert code(pool.add_commit, commit(b"b" * 32, SIGNERS[2]), s.now) == "bad-signature" and not pool.evidence
    assert code(pool.add_commit, commit(b"b" * 32, SIGNERS[1]), s.now) == "two-orders" and pool.evidence.member == 1
    pool.evidence = None
    s.now = g.start_ms(1)
    account = State(g).accounts[1]
    assert pool.add_reading(read(5, SIGNERS[1]), account, s.now)
    assert code(pool.add_reading, read(6, SIGNERS[0]), account, s.now) == "bad-signature" and not pool.evidence
    assert code(pool.add_reading, read(6, SIGNERS[1]), account, s.now) == "two-readings" and pool.evidence.member == 1
    assert len(pool.readings[1]) == len(pool.commits[2]) == 1


def test_a_body_with_more_in_a_list_than_a_block_takes():
    from prosumer.codec import Cursor

    def read(counts, rest=b""):
        cursor = Cursor(b"\x08" + bytes(16) + bytes(counts) + rest)
        Body.read(cursor)
        cursor.end()

    assert code(read, [0] * 7) is None
    for place, most in enumerate((1, 64, 64, 256, 16, 1, 1)):
        if most < 255:
            assert code(read, [0] * place + [most + 1]) == "too-many", place
        assert code(read, [0] * place + [1]) == "truncated"
    assert code(read, [0] * 6) == "truncated" and code(read, [0] * 8) == "trailing-bytes"
    t = Transfer(member=0, kind=GIVE, seq=0, to=1, amount=1, note=bytes(16))
    t.signature = bytes(64)
    full = Body(bytes(16), [], [], [], [], [t] * 16, [], [])
    raw = b"".join(full.pieces())
    again = Body.read(Cursor(raw))
    assert [r.pack() for r in again.transfers] == [t.pack()] * 16 and list(again.leaves()) == list(full.leaves())
    assert b"".join(again.pieces()) == raw


# -- a long absence
