"""A block told by which records are in it: put together from one's own, fetched whole where one is missing or another."""
import paper
from prosumer.errors import Reject
from prosumer.ledger import sketch
from prosumer.ledger.sketch import Sketch
from prosumer.link import topics
from prosumer.records import PROPOSE, Commit, Header, Proposal, make_vote

AWAY = 2


def street(n, **changes):
    return paper.Street(n, paper.fresh_folder(), **changes)


def finals(s, slot):
    """Who has the block of a slot as final; all agree on it."""
    found = s.finals.get(slot, {})
    assert len(found) <= 1
    return sorted([m for members in found.values() for m in members])


def newest(s):
    """The newest block as bytes, and its proposer's meter."""
    raw = max(s.proposals.values(), key=lambda raw: raw[2:10])
    return raw, s.meters[raw[10]]


def reason(work, *args):
    try:
        work(*args)
    except Reject as e:
        return e.code


def test_a_sketch_and_the_own_records_give_the_block_byte_for_byte():
    s = street(4)
    s.run(3)
    told, blocks = [], []
    s.lost = lambda sender, to, kind, payload: kind == topics.SKETCH and payload not in told and told.append(payload)
    for m in s.meters:
        m.node.inbox._whole = keep(m.node.inbox._whole, blocks)
    s.run(2)
    assert len(told) == 2 and len(blocks) == 2 * 3, "who proposes puts nothing together"
    whole = [raw for raw in s.proposals.values()]
    assert all([b"".join(b.pieces()) in whole for b in blocks])
    assert all([len(t) < 400 for t in told]) and all([len(w) > 1200 for w in whole])
    assert [finals(s, slot) for slot in (3, 4)] == [[0, 1, 2, 3]] * 2


def keep(work, results):
    def call(*args):
        results.append(work(*args))
        return results[-1]
    return call


def test_who_missed_any_one_record_fetches_the_whole_block():
    s = street(4)
    s.run(3)
    for kind in (topics.COMMIT, topics.READING, topics.ORDER):
        asked = []

        def lost(sender, to, k, payload):
            if k == topics.PROPOSAL:
                asked.append(to)
            return to == AWAY and k in (kind, topics.CHAIN)

        s.lost = lost
        for _ in range(2):  # orders are shown once the block before is final
            before, slot = s.meters[AWAY].counts.get("record-missing", 0), s.genesis.slot_at(s.now)
            s.run(1)
            assert finals(s, slot) == [0, 1, 2, 3]
            missed = s.meters[AWAY].counts.get("record-missing", 0) - before
            assert missed == (newest(s)[1].me != AWAY and (kind != topics.ORDER or bool(asked))), (kind, asked)
        assert asked and not [to for to in asked if to != AWAY]
        s.lost = lambda *_: False
        s.run(1)  # and what was not in time for one block is there for the next
    attempts = sum([m.counts.get("timeout", 0) for m in s.meters])
    refused = sum([m.counts.get("record-left-out", 0) for m in s.meters])
    assert attempts <= 4 * refused, "a slot needs a second attempt only where it was the turn of who had not heard of a record"


def test_members_that_hold_different_orders_of_a_liar_agree_on_the_proposers():
    """Half of the street got one commit of member 3, half another: both have a sketch that names it."""
    s = street(4)
    s.run(3)
    liar, feeder = s.meters[3], s.genesis.feeder_id

    def two_faced(sender, to, kind, payload):
        if kind != topics.COMMIT or sender != liar.me or to % 2:
            return False
        other = Commit(member=3, slot=Commit.parse(payload).slot, digest=bytes(32))
        other.signature = liar.signer.sign(other.message(feeder))
        s.meters[to].receive(topics.COMMIT, 3, other.pack())
        return True

    s.lost = two_faced
    s.run(1)
    s.lost = lambda *_: False
    s.run(3)
    assert [finals(s, slot)[:3] for slot in range(3, 7)] == [[0, 1, 2]] * 4, "no slot is lost by it"
    assert sum([m.counts.get("record-missing", 0) for m in s.meters]) >= 1


def test_a_sketch_of_one_block_and_another_left_to_be_fetched_exclude_their_proposer():
    s = street(4)
    s.run(3)
    feeder, left = s.genesis.feeder_id, []

    def other(sender, to, kind, payload):
        """Who cannot fill the sketch finds another block of the same proposer, signed as the first."""
        if kind == topics.PROPOSAL and not left:
            raw = bytearray(payload)
            raw[11 + 64] ^= 1  # of the body root
            header = Header.parse(raw[1:147])
            vote = make_vote(PROPOSE, header.iteration, header.hash(feeder), sender)
            raw[147:211] = s.meters[sender].signer.sign(vote.message(s.meters[to].node.members.domain))
            left.append(sender)
            s.meters[to].receive(topics.PROPOSAL, sender, bytes(raw))
            assert s.meters[to].counts.get("equivocation") == 1
        return to == AWAY and kind == topics.READING

    s.lost = other
    s.run(2)
    s.lost = lambda *_: False
    s.run(2)
    assert left and s.meters[0].node.state.excluded == 1 << left[0]


def test_a_proposer_that_keeps_its_block_to_itself_costs_its_turn_and_no_more():
    s = street(4)
    s.run(3)
    s.lost = lambda sender, to, kind, payload: kind in (topics.ORDER, topics.PROPOSAL) and to != sender
    s.run(2)
    s.lost = lambda *_: False
    assert sum([m.counts.get("record-missing", 0) for m in s.meters]) >= 3
    s.run(3)
    assert [finals(s, slot) for slot in (6, 7)] == [[0, 1, 2, 3]] * 2
    assert all([m.node.inbox.lack == {} for m in s.meters])


def test_what_is_no_sketch_is_refused_with_its_reason():
    s = street(4)
    s.run(4)
    raw, proposer = newest(s)
    good = b"".join(sketch.pieces(Proposal.parse(raw)))
    assert Sketch(good).header.raw == raw[1:147]
    assert reason(Sketch, good[:-1]) == "truncated" and reason(Sketch, good + b"\0") == "trailing-bytes"
    assert reason(Sketch, raw) == "wrong-type" and reason(Sketch, b"") == "truncated"
    too_many = good[:227] + b"\2" + good[228:]  # envelopes
    assert reason(Sketch, too_many) == "too-many"
    stranger = next(m for m in s.meters if m is not proposer)
    pool = stranger.node.pool
    assert reason(Sketch(good).fill, pool) == "record-missing", "its records are settled and gone"


def test_a_changed_sketch_makes_nobody_vote():
    """What names the records, bit by bit: another record, one too many, one that is not there. And the whole block is not there either."""
    s = street(4)
    s.run(3)
    changed = []

    def change(sender, to, kind, payload):
        if kind == topics.SKETCH and to != sender:
            data, i = bytearray(payload), len(changed)
            data[228 + i % 28] ^= 1 << i % 8  # behind header, signature, salt and the empty list of envelopes
            changed.append(i)
            s.meters[to].receive(kind, sender, bytes(data))
            assert s.meters[to].node.simplex.voted is None
        return kind in (topics.SKETCH, topics.PROPOSAL)

    s.lost = change
    s.run(2)
    assert len(changed) > 28 and not s.finals.get(3) and not s.finals.get(4)
    s.lost = lambda *_: False
    s.run(3)
    assert finals(s, 7) == [0, 1, 2, 3]


def unfillable(s, liar, victim, iteration, n):
    """A sketch, well signed, of a block that nobody has."""
    node = victim.node
    header = Header(slot=s.genesis.slot_at(s.now), iteration=iteration, proposer=liar.me, previous=node.simplex.tip[1], accumulator=bytes(32),
                    body_root=bytes([n]) + bytes(31), state_root=bytes(32), price_ucr_per_kwh=0, volume_mwh=0)
    vote = make_vote(PROPOSE, iteration, header.hash(s.genesis.feeder_id), liar.me)
    return b"\x12" + header.raw + liar.signer.sign(vote.message(node.members.domain)) + bytes(33) + b"\0" + b"\0\0\0"


def other_leader(s, victim, iteration):
    """(iteration, meter) of the next one from `iteration` on that another one leads."""
    while victim.node.members.leader(iteration) == victim.me:
        iteration += 1
    return iteration, s.meters[victim.node.members.leader(iteration)]


def test_many_sketches_of_a_liar_are_one_proof_and_take_no_room():
    s = street(4)
    s.run(3)
    s.play(s.genesis.gate_ms(3) - 1)
    s.now, victim, said = s.genesis.gate_ms(3) + 10, s.meters[0], []
    h, liar = other_leader(s, victim, victim.node.simplex.iteration)
    victim.node.publish = lambda kind, payload, member=None: said.append(kind)
    for n in range(40):
        victim.receive(topics.SKETCH, liar.me, unfillable(s, liar, victim, h, n))
    assert victim.counts["second-proposal"] == 39 and said.count(topics.EVIDENCE) == 1
    assert len([k for k in victim.node.signatures if k[0] == PROPOSE]) == 1 and list(victim.node.inbox.lack) == [h]


def test_one_sketch_said_for_ever_is_fetched_three_times_and_displaces_no_other():
    s = street(4)
    s.run(3)
    s.play(s.genesis.gate_ms(3) - 1)
    s.now, victim = s.genesis.gate_ms(3) + 10, s.meters[0]
    h, first = other_leader(s, victim, victim.node.simplex.iteration)
    later, second = other_leader(s, victim, h + 1)
    said = [(first, unfillable(s, first, victim, h, 1)), (second, unfillable(s, second, victim, later, 2))]
    fetched = []
    while s.now < s.genesis.start_ms(4):
        for liar, raw in said:
            victim.receive(topics.SKETCH, liar.me, raw)
        for _ in range(3):
            fetched.append(victim.node.inbox.lacks(s.now))
        s.now += 250
    assert fetched.count(first.me) == 3 and fetched.count(second.me) == 3
    assert victim.node.catchup.wanted, "a neighbour may have it"


def test_a_block_that_its_proposer_kept_is_published_by_the_next():
    """All could put it together and it is final: archives have only what is published."""
    s = street(4)
    s.run(3)
    send, kept = s.send, []

    def withheld(sender, kind, member, payload):
        raw = b"".join(list(payload.pieces)) if kind == topics.PROPOSAL else b""
        if raw and raw[10] == sender and not kept:
            kept.append(raw)
        else:
            send(sender, kind, member, raw or payload)

    s.send = withheld
    s.run(1)
    assert finals(s, 3) == [0, 1, 2, 3] and kept[0] not in s.proposals.values()
    s.run(1)
    assert kept[0] in s.proposals.values()


def test_a_proposer_whose_memory_or_power_fails_proposes_the_same_block_again():
    s = street(4)
    s.run(3)
    s.play(s.genesis.gate_ms(3) - 1)
    p = s.meters[s.meters[0].node.members.leader(s.meters[0].node.simplex.iteration)]
    core, told = p.node.simplex, []
    known = core._parent_known

    def once(*args):
        core._parent_known = known
        raise MemoryError

    core._parent_known = once
    s.lost = lambda sender, to, kind, payload: kind == topics.SKETCH and sender == p.me and payload[1:147] not in told and told.append(payload[1:147])
    s.play(s.genesis.gate_ms(3) + 60)
    p.boot()
    s.play(s.genesis.start_ms(4))
    s.lost = lambda *_: False
    s.run(2)
    assert len(told) == 1 and not [m for m in s.meters if m.counts.get("equivocation") or m.node.state.excluded]
    assert finals(s, 5) == [0, 1, 2, 3]
