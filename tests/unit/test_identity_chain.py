"""Hash-chained readings as any neighbour sees them: a gap, a fork and a reordering are refused, with a code, and counted."""
import paper
from prosumer.codec import sha256
from prosumer.errors import Halt
from prosumer.identity.chain import ReadingChain
from prosumer.link import topics
from prosumer.records import FLAG_GAP, Reading


def street(slots=3):
    s = paper.Street(4, paper.fresh_folder())
    s.run(slots)
    return s


def reading(s, member, seq, slot, previous, more_mwh=0):
    """Signed by the member itself: only the chain can show what is wrong with it."""
    meter = s.meters[member]
    last = meter.chain.readings[-1]
    r = Reading(member=member, slot=slot, seq=seq, previous=previous, import_mwh=last.import_mwh + more_mwh, export_mwh=last.export_mwh,
                generation_mwh=last.generation_mwh, interval_import_mwh=more_mwh, interval_export_mwh=0, interval_generation_mwh=0,
                uncertainty_mwh=50, flags=0, accuracy=0, calibration=bytes(8))
    r.signature = meter.signer.sign(r.message(s.genesis.feeder_id))
    return r


def told(s, *readings):
    """Publish them in that order; what each neighbour counted for it."""
    before = [dict(m.counts) for m in s.meters]
    for r in readings:
        s.send(r.member, topics.READING, r.member, r.pack())
    s.play(s.now + 1000)
    return [{k: n - b.get(k, 0) for k, n in m.counts.items() if n != b.get(k, 0)} for m, b in zip(s.meters, before)]


def waiting(s, member):
    return [[r.seq for r in m.node.pool.readings[member]] for m in s.meters if m.me != member]


def last(s, member):
    r = s.meters[member].chain.readings[-1]
    return r.seq, r.slot, r.hash(s.genesis.feeder_id)


def test_each_reading_names_the_one_before_and_carries_all_since():
    s = street()
    readings = s.meters[0].chain.readings
    assert readings[0].previous == bytes(32) and readings[0].seq == 0
    for a, b in zip(readings, readings[1:]):
        assert b.previous == a.hash(s.genesis.feeder_id) and b.seq == a.seq + 1
        assert b.import_mwh - a.import_mwh == b.interval_import_mwh and b.generation_mwh - a.generation_mwh == b.interval_generation_mwh
    s.run(2)
    account = s.meters[3].node.state.accounts[0]  # a neighbour's view: one hash stands for all readings so far
    settled = [r for r in s.meters[0].chain.readings if r.seq == account.next_seq - 1]
    assert settled and account.head == settled[0].hash(s.genesis.feeder_id)


def test_a_fork_is_refused_by_every_neighbour_and_counted():
    s = street()
    seq, slot, head = last(s, 1)
    s.meters[1].end_slot(slot + 1)
    s.now = s.genesis.start_ms(slot + 2)
    s.play(s.now + 1000)
    forked = reading(s, 1, seq + 1, slot + 1, head, more_mwh=1)
    counted = told(s, forked)
    assert [c for i, c in enumerate(counted) if i != 1] == [{"two-readings": 1}] * 3
    # the same after the first is settled: then it is a replay
    s.now = s.genesis.start_ms(slot + 2)
    for m in s.meters:
        if m.me != 1:
            m.end_slot(slot + 1)
    s.play(s.genesis.start_ms(slot + 3))
    assert s.meters[0].node.state.accounts[1].next_seq == seq + 2
    counted = told(s, forked)
    assert [c for i, c in enumerate(counted) if i != 1] == [{"replayed": 1}] * 3


def test_a_reading_that_names_another_predecessor_is_refused_and_never_settled():
    s = street()
    seq, slot, head = last(s, 1)
    s.now = s.genesis.start_ms(slot + 2)
    counted = told(s, reading(s, 1, seq + 1, slot + 1, sha256(b"invented")))
    assert [c for i, c in enumerate(counted) if i != 1] == [{"broken-chain": 1}] * 3
    assert not [1 for seqs in waiting(s, 1) if seq + 1 in seqs]
    true = told(s, reading(s, 1, seq + 1, slot + 1, head))  # the invented one did not take its place
    assert true[0] == {} and [1 for seqs in waiting(s, 1) if seq + 1 in seqs]


def test_a_gap_waits_for_what_is_missing_and_is_not_settled_before():
    s = street()
    seq, slot, head = last(s, 1)
    missing = reading(s, 1, seq + 1, slot + 1, head, 5)
    s.meters[1].chain.readings.append(missing)
    after = reading(s, 1, seq + 2, slot + 2, missing.hash(s.genesis.feeder_id), 7)
    s.now = s.genesis.start_ms(slot + 3)
    told(s, after)
    before = s.meters[0].node.state.accounts[1].next_seq
    node = s.meters[0].node
    assert [r.seq for r in node.pool.readings_for(1, node.state.accounts[1], slot + 3, False)] == list(range(before, seq + 1))
    told(s, missing)
    assert [r.seq for r in node.pool.readings_for(1, node.state.accounts[1], slot + 3, False)] == list(range(before, seq + 3))


def test_readings_in_another_order_than_their_slots_are_not_settled():
    s = street()
    seq, slot, head = last(s, 1)
    later = reading(s, 1, seq + 1, slot + 2, head, 5)
    s.meters[1].chain.readings.append(later)
    earlier = reading(s, 1, seq + 2, slot + 1, later.hash(s.genesis.feeder_id), 7)
    s.now = s.genesis.start_ms(slot + 3)
    told(s, later, earlier)
    node = s.meters[0].node
    assert [r.seq for r in node.pool.readings_for(1, node.state.accounts[1], slot + 3, False)][-1] == seq + 1
    # readings that arrive in another order than they were made are put right
    s = street()
    seq, slot, head = last(s, 1)
    one = reading(s, 1, seq + 1, slot + 1, head, 5)
    s.meters[1].chain.readings.append(one)
    two = reading(s, 1, seq + 2, slot + 2, one.hash(s.genesis.feeder_id), 7)
    s.now = s.genesis.start_ms(slot + 3)
    told(s, two, one)
    node = s.meters[0].node
    assert [r.seq for r in node.pool.readings_for(1, node.state.accounts[1], slot + 3, False)][-2:] == [seq + 1, seq + 2]


def test_a_forged_or_stolen_sequence_number_is_refused():
    s = street()
    seq, slot, head = last(s, 1)
    s.now = s.genesis.start_ms(slot + 2)
    stolen = reading(s, 2, seq + 1, slot + 1, head)
    as_one = Reading.parse(b"\x01\x01" + stolen.pack()[2:])  # member 2 signs for member 1
    counted = told(s, as_one)
    assert [c for i, c in enumerate(counted) if i != 1] == [{"bad-signature": 1}] * 3
    nobody = Reading.parse(b"\x01\x09" + stolen.pack()[2:])
    s.send(-1, topics.READING, 9, nobody.pack())
    s.send(-1, topics.READING, 3, stolen.pack())  # on the topic of another
    s.play(s.now + 1000)
    assert [m.counts.get("wrong-sender") for m in s.meters] == [2, 2, 2, 1]


def test_no_slot_is_signed_twice_whatever_happened_to_the_power():
    s = street()
    meter = s.meters[0]
    seq, slot, head = last(s, 0)
    assert meter.chain.extend(slot, meter.house.totals, 0, 0, 0, bytes(8)) is None
    meter.boot()  # from the file
    assert last(s, 0) == (seq, slot, head)
    assert meter.chain.extend(slot, meter.house.totals, 0, 0, 0, bytes(8)) is None
    after = meter.chain.extend(slot + 3, meter.house.advance(slot + 3), 0, 0, 0, bytes(8))
    assert after.seq == seq + 1 and after.previous == head and after.flags & FLAG_GAP
    path = meter.folder + "readings"
    with open(path, "rb") as f:
        data = bytearray(f.read())
    data[-1] ^= 1
    with open(path, "wb") as f:
        f.write(data)
    try:
        ReadingChain(path, s.genesis, 0, meter.signer, (0, 0, 0))
        raise RuntimeError("taken")
    except Halt as e:
        assert str(e).startswith("flash-corrupt")
