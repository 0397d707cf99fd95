"""A street in which iterations pass and no block: what each meter knows of how they ended, and how the street gets out of it."""
from prosumer.errors import Reject
from prosumer.ledger import notarized
from prosumer.link import topics
from prosumer.records import DUMMY, VOTE, make_vote
from test_ledger_node import check_same_state, code, final_by, street

BLOCKS = (topics.CHAIN, topics.SKETCH, topics.PROPOSAL)


def test_half_knows_the_block_of_an_iteration_and_half_its_dummy():
    """Neither half is a quorum, and the certificate of the block lies nine dummies back."""
    s = street(7)
    s.run(3)
    h, gate = s.meters[0].node.simplex.iteration, s.genesis.gate_ms(3)

    def split(sender, to, kind, payload):  # votes for the block reach 0 and 1, those for its dummy 4, 5 and 6; answers nobody
        if kind == topics.VOTE and payload[2:6] == h.to_bytes(4, "big"):
            return to < 4 if payload[7:39] == DUMMY else to > 1
        return kind == topics.CHAIN

    s.lost = split
    s.play(gate + 8000)
    s.lost = lambda sender, to, kind, payload: (  # 2 and 3 are told of the block
        to > 3 if kind in (topics.CHAIN, topics.VOTE, topics.SKETCH) else False) or (
        split(sender, to, kind, payload) and not (kind == topics.CHAIN and sender < 2))
    s.play(gate + 25000)
    s.lost = lambda sender, to, kind, payload: kind in BLOCKS
    s.run(3)
    assert [m.node.simplex.tip[0] for m in s.meters] == [h] * 4 + [h - 1] * 3
    assert min([m.node.simplex.iteration for m in s.meters]) > h + 9
    s.lost = lambda *_: False
    s.run(2)
    assert final_by(s, s.genesis.slot_at(s.now) - 1) == list(range(7))
    check_same_state(s)


def test_who_was_left_behind_by_liars_catches_up_when_they_fall_silent():
    """Of seven, 3 and 4 vote dummies with three others for as long as 5 and 6 are cut off; then they say nothing any more."""
    s = street(7)
    s.run(3)
    s.lost = lambda sender, to, kind, payload: to > 4 or kind in BLOCKS
    s.run(3)
    node = s.meters[0].node
    assert node.simplex.iteration - s.meters[5].node.simplex.iteration > 30
    certificates = notarized.since(node, 10, 99)
    assert [c.iteration for c in certificates] == list(range(10, node.simplex.iteration))
    for c in certificates:
        node.members.check_certificate(c, VOTE)
    for m in s.meters:
        m.up = m.me not in (3, 4)
        m.boot() if m.up else None
        m.reconnect() if m.up else None
    s.lost = lambda *_: False
    s.run(3)
    assert final_by(s, 8) == [0, 1, 2, 5, 6]
    check_same_state(s, [s.meters[m] for m in (0, 1, 2, 5, 6)])
    assert notarized.since(s.meters[0].node, 0, 99) == [], "what was kept for them is gone"


def test_a_full_flash_keeps_no_dummies_and_breaks_nothing():
    s = street(4)
    s.run(2)
    node, opened = s.meters[0].node, notarized.open if hasattr(notarized, "open") else open

    def full(path, mode="r"):
        if mode == "ab":
            raise OSError(28)
        return opened(path, mode)

    notarized.open = full
    try:
        s.lost = lambda sender, to, kind, payload: kind in BLOCKS
        s.run(2)
        assert len(notarized.since(node, 0, 99)) == 2
        s.lost = lambda *_: False
        s.run(2)
    finally:
        notarized.open = opened
    assert final_by(s, 5) == [0, 1, 2, 3]
    check_same_state(s)


def test_a_member_that_forges_costs_so_much_and_no_more():
    """Checking a signature takes a board 57 ms: 64 bad ones of a member in a slot, then it is not listened to until the next."""
    s = street(4)
    s.run(2)
    node = s.meters[0].node
    s.now = s.genesis.gate_ms(2)
    checked = []
    check = node.members.check_vote

    def counted(vote):
        checked.append(vote)
        raise Reject("bad-signature")
    node.members.check_vote = counted
    for i in range(100):
        vote = make_vote(VOTE, node.simplex.iteration, bytes([i]) * 32, 3, bytes(64))
        assert code(node.receive, topics.VOTE, 3, vote.pack(), s.now) == ("bad-signature" if i < 64 else "too-many")
    assert len(checked) == 64
    node.members.check_vote = check
    s.run(2)
    assert final_by(s, 3) == [0, 1, 2, 3], "the others are heard, and from the next slot on it is, too"
