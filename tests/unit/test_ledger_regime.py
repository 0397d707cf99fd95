"""Members come, go, lose their key or lie: who votes changes behind a stop block, and nobody ever decides two things."""
import paper
from prosumer.codec import sha256
from prosumer.errors import Reject
from prosumer.identity.members import electorate
from prosumer.ledger import evidence
from prosumer.ledger.evidence import kept
from prosumer.link import topics
from prosumer.records import FINALIZE, PROPOSE, VOTE, make_vote
from test_ledger_node import all_but, check_same_state, counted, final_by, street


def keys(*numbers):
    return [paper.signer("member %d" % i) for i in numbers]


def signed(s, member, kind, h, digest):
    vote = make_vote(kind, h, digest, member)
    node = s.meters[0].node
    vote.signature = paper.signer("member %d" % member).sign(vote.message(node.members.domain))
    return vote


def lie(s, member):
    """Two blocks voted for in one iteration, shown to everybody."""
    h = s.meters[0].node.simplex.iteration
    for i in (1, 2):
        vote = signed(s, member, VOTE, h, sha256(bytes([i])))
        for m in s.meters:
            m.receive(topics.VOTE, member, vote.pack())


def test_who_joins_votes_and_trades_once_the_genesis_that_names_it_is_final():
    s = street(4)
    s.run(2)
    s.amend(keys(0, 1, 2, 3, 4))
    s.run(2)
    assert [len(m.node.members.voters) for m in s.meters] == [5] * 4
    assert [m.node.members.quorum() for m in s.meters] == [4] * 4
    new = s.enrol(4, keys(4)[0], "/paper/4/")
    assert new.node.simplex.me is None  # it does not vote before it knows the chain
    s.run(4)
    assert final_by(s, 7) == [0, 1, 2, 3, 4]
    state = check_same_state(s)
    assert len(state.accounts) == 5 and state.accounts[4].next_slot == 7 and state.accounts[4].balance_ucr
    assert new.node.simplex.me == 4 and new.node.members.leader(4) == 4


def test_a_street_without_the_member_that_left_needs_it_no_more():
    s = street(4)
    s.run(2)
    s.amend(keys(0, 1, 2, 3), [1, 0, 1, 128])
    s.run(2)
    s.meters[3].up = s.meters[2].up = False
    assert s.meters[0].node.members.voters == [0, 1, 2]
    s.run(2)
    assert final_by(s, 5) == []  # of three all three are needed
    s.meters[2].boot()
    s.meters[2].reconnect()
    s.run(2)
    assert final_by(s, 7) == [0, 1, 2]
    check_same_state(s, s.meters[:3])


def test_readings_of_a_member_that_left_may_come_together():
    s = street(4)
    s.run(4)
    s.lost = lambda sender, to, kind, payload: sender == 3 and kind == topics.READING
    s.amend(keys(0, 1, 2, 3), [1, 0, 1, 128])
    s.run(3)
    there = s.meters[0].node.state.accounts[3]
    assert len(there.open()) > 1  # what it bought and sold before
    s.lost = lambda sender, to, kind, payload: False
    s.run(2)
    state = check_same_state(s)
    assert final_by(s, 8) and not state.accounts[3].trades and state.accounts[3].next_slot > there.next_slot + 1


def test_a_new_key_takes_over_the_account_and_the_old_one_counts_no_more():
    s = street(4)
    s.run(3)
    old = s.meters[1]
    balance = old.node.state.accounts[1].balance_ucr
    new_key = paper.signer("another board")
    s.amend(keys(0) + [new_key] + keys(2, 3))
    s.run(2)
    old.up = False
    s.enrol(1, new_key, "/paper/1new/")
    s.run(4)
    state = check_same_state(s)
    assert final_by(s, 8) == [0, 1, 2, 3] and state.accounts[1].next_slot == 8
    assert balance and state.accounts[1].balance_ucr != balance
    vote = make_vote(VOTE, s.meters[0].node.simplex.iteration, bytes([7]) * 32, 1)
    vote.signature = keys(1)[0].sign(vote.message(s.meters[0].node.members.domain))
    s.meters[0].receive(topics.VOTE, 1, vote.pack())
    assert s.meters[0].counts["bad-signature"]


def test_a_member_that_votes_for_two_blocks_is_excluded_for_all_to_see():
    s = street(4)
    s.run(2)
    lie(s, 2)
    assert [m.counts.get("equivocation", 0) > 0 for m in s.meters] == [True, True, False, True]
    s.run(3)
    honest = all_but(s, 2)
    assert [m.node.members.voters for m in honest] == [[0, 1, 3]] * 3
    state = check_same_state(s, honest)
    assert state.excluded == 4 and 2 not in state.commits.get(6, {})
    assert state.accounts[2].next_slot == 4  # still metered, at the tariff
    proofs = kept(s.meters[0].folder)
    assert [e.member for e in proofs] == [2]
    evidence.check(proofs[0], s.meters[0].node.members)
    s.run(2)
    assert set(all_but(s, 2)[0].node.members.voters) <= set(final_by(s, 6))


def test_two_proposals_two_finals_and_a_final_beside_the_dummy_are_evidence_an_honest_change_of_mind_is_not():
    s = street(4)
    node, h, a, b = s.meters[0].node, 9, bytes([1]) * 32, bytes([2]) * 32
    for one, other in (((PROPOSE, a), (PROPOSE, b)), ((FINALIZE, a), (FINALIZE, b)), ((FINALIZE, a), (VOTE, bytes(32)))):
        found = evidence.find(signed(s, 3, one[0], h, one[1]), signed(s, 3, other[0], h, other[1]), node.members.domain)
        evidence.check(found, node.members)
    for one, other in (((VOTE, a), (VOTE, bytes(32))), ((VOTE, a), (FINALIZE, a)), ((VOTE, a), (VOTE, a)), ((PROPOSE, a), (VOTE, b))):
        assert evidence.find(signed(s, 3, one[0], h, one[1]), signed(s, 3, other[0], h, other[1]), node.members.domain) is None
    framed = bytearray(found.pack())
    framed[10 + 1 + 1 + 4] ^= 1  # somebody else's
    try:
        evidence.check(type(found).parse(bytes(framed)), node.members)
        assert False
    except Reject:
        pass


def test_a_stop_block_that_did_not_become_final_is_proposed_again_and_no_other_behind_it():
    s = street(4)
    s.run(2)
    s.lost = lambda sender, to, kind, payload: kind == topics.VOTE and payload[1] == FINALIZE
    s.amend(keys(0, 1, 2, 3), [1, 0, 1, 0], retail=260000)
    s.run(1)
    tips = [m.node.simplex.tip for m in s.meters]
    assert final_by(s, 2) == [] and len(set(tips)) == 1 and s.meters[0].node.stops(s.meters[0].node.chain[tips[0][1]])
    proofs, final = {}, s.final

    def keep(meter, header):
        final(meter, header)
        proofs[header.slot] = meter.node.certificate.iteration - header.iteration
    s.final = keep
    s.lost = lambda sender, to, kind, payload: kind == topics.CHAIN or kind == topics.VOTE and payload[1] == FINALIZE and payload[2:6] == tips[0][0].to_bytes(4, "big")
    s.run(2)
    assert final_by(s, 2) == [0, 1, 2, 3] and s.meters[0].genesis.retail_ucr_per_kwh == 260000
    assert proofs[2] > 0 and proofs[4] == 0
    s.lost = lambda sender, to, kind, payload: False
    s.run(2)
    assert final_by(s, 6) == [0, 1, 2, 3]
    check_same_state(s)


def test_a_meter_that_was_away_while_members_changed_and_one_lied_finds_its_way_by_what_is_signed():
    s = street(5)
    s.run(2)
    away = s.meters[4]
    away.up = False
    lie(s, 1)
    s.run(2)
    assert s.meters[0].node.members.voters == [0, 2, 3, 4]
    s.meters[1].up = False
    s.amend(keys(0, 1, 2, 3, 4), retail=240000)
    s.run(3)
    s.amend(keys(0, 1, 2, 3, 4), retail=230000)
    s.run(3)
    s.meters[0].counts.clear()
    away.up = True
    away.reconnect()
    s.run(4)
    assert away.genesis.number == 2 and away.counts.get("strange-regime", 0) < 4
    live = [s.meters[0], s.meters[2], s.meters[3], away]
    check_same_state(s, live)
    assert [e.member for e in kept(away.folder)] == [1]
    assert away.node.members.voters == [0, 2, 3, 4]


def test_after_half_a_year_only_a_newer_genesis_is_believed():
    s = street(5)
    s.run(2)
    away = s.meters[4]
    away.up = False
    lie(s, 1)
    s.now = s.genesis.start_ms(0) + 16000000 * 1000
    s.now = s.genesis.start_ms(s.genesis.slot_at(s.now))
    s.run(2)
    assert [m.node.members.voters for m in s.meters[:1]] == [[0, 2, 3, 4]]
    away.boot()
    away.reconnect()
    s.run(1)
    assert away.counts.get("trust-period") and away.node.final.slot == 1
    s.amend(keys(0, 1, 2, 3, 4))  # nothing but a newer signature
    s.run(3)
    assert away.genesis.number == 1
    check_same_state(s, [s.meters[0], s.meters[2], s.meters[3], away])


def test_no_power_anywhere_in_the_middle_of_a_change_loses_nothing():
    s = street(4)
    s.run(2)
    s.amend(keys(0, 1, 2, 3), retail=260000)
    for cut in range(6):
        s.play(s.genesis.gate_ms(2) + 30 * cut)
        for m in s.meters:
            m.boot()
        for m in s.meters:
            m.reconnect()
    s.play(s.genesis.start_ms(3))
    s.run(4)
    assert [m.genesis.number for m in s.meters] == [1] * 4
    assert final_by(s, 6) == [0, 1, 2, 3]
    check_same_state(s)
    assert not counted(s, "equivocation")


class Street:
    """As much of a genesis as the electorate needs."""

    def __init__(self, n, seed=b"x"):
        self.n, self.hash = n, sha256(seed)
        self.members = [(b"", 0, 63, 0)] * n


def test_above_forty_a_committee_votes_that_changes_with_the_epoch():
    few, many = Street(40), Street(64)
    assert electorate(few, bytes(44)) == list(range(40))
    first, second = electorate(many, bytes(44)), electorate(many, (1).to_bytes(4, "big") + bytes(40))
    assert len(first) == len(second) == 40 and first == sorted(first) and first != second
    seats = [0] * 64
    for epoch in range(200):
        for m in electorate(many, epoch.to_bytes(4, "big") + bytes(40)):
            seats[m] += 1
    assert min(seats) > 95 and max(seats) < 155  # 125 in the mean, sigma 6.8


def test_what_was_voted_before_the_first_final_block_is_not_forgotten_when_that_comes_from_a_neighbour():
    s = street(4)
    s.lost = lambda sender, to, kind, payload: to == 3 and kind == topics.VOTE and payload[1] == FINALIZE
    s.play(s.genesis.gate_ms(0) + 500)
    node = s.meters[3].node
    assert node.final.header is None and final_by(s, 0) == [0, 1, 2]
    before = node.simplex.iteration, node.simplex._last
    assert before[0] == 2 and before[1][0] == 1 and before[1][1]
    node.catchup.ask(s.now)
    s.play(s.now + 200)
    assert node.final.slot == 0 and (node.simplex.iteration, node.simplex._last) == before
