"""Simplex consensus: each rule of the paper, one by one. The adversary lives in tests/sim."""
from prosumer.errors import Reject
from prosumer.ledger.simplex import DUMMY, Simplex, count, leader, quorum

G = b"g" * 32
A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


def node(n=4, me=0):
    return Simplex(n, me, 0, G)


def code(f, *args):
    try:
        f(*args)
    except Reject as e:
        return e.code
    return None


def votes(s, h, x, members):
    out = []
    for m in members:
        out += s.on_vote(h, m, x)
    return out


def finals(s, h, x, members):
    out = []
    for m in members:
        out += s.on_finalize(h, m, x)
    return out


def test_quorum_is_n_minus_f_for_every_n():
    assert [quorum(n) for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 32, 40)] == [1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 9, 22, 27]
    for n in range(1, 65):
        f = (n - 1) // 3
        assert 2 * quorum(n) - n >= f + 1 and n - f >= quorum(n)
    assert count(0b101101) == 4 and count(0) == 0 and count((1 << 63) | 1) == 2


def test_an_iteration_from_proposal_to_final():
    s = node()
    assert s.on_proposal(1, A, 0, G) == [("vote", 1, A)]
    assert s.on_vote(1, 1, A) == []
    assert s.on_vote(1, 2, A) == [("finalize", 1, A), ("enter", 2, A)]
    assert s.tip == (1, A) and s.final == (0, G) and s.iteration == 2
    assert s.on_vote(1, 3, A) == []
    assert s.on_finalize(1, 1, A) == []
    assert s.on_finalize(1, 3, A) == [("final", 1, A, 0b1011)]
    assert s.final == (1, A)
    assert s.on_finalize(1, 2, A) == []
    assert s.votes_of(1) == {A: 0b1111} and s.votes_of(3) == {}


def test_duplicates_do_not_count_twice():
    s = node()
    s.on_proposal(1, A, 0, G)
    for _ in range(5):
        assert s.on_vote(1, 1, A) == [] and s.on_proposal(1, A, 0, G) == [] and s.on_vote(1, 0, A) == []
    assert s.iteration == 1
    votes(s, 1, A, (2,))
    for _ in range(5):
        assert s.on_finalize(1, 1, A) == []
    assert s.final == (0, G)


def test_one_block_vote_an_iteration():
    s = node()
    s.on_proposal(1, A, 0, G)
    assert s.on_proposal(1, B, 0, G) == [("equivocation", 1, 1, "propose", A)]
    assert s.on_proposal(1, B, 0, G) == []
    assert s.votes_of(1) == {A: 1}


def test_no_block_vote_after_the_dummy_vote():
    s = node()
    assert s.on_timeout(1) == [("vote", 1, DUMMY)]
    assert s.on_timeout(1) == []
    assert s.on_proposal(1, A, 0, G) == []


def test_timing_out_after_a_block_vote_forbids_finalize():
    s = node()
    s.on_proposal(1, A, 0, G)
    assert s.on_timeout(1) == [("vote", 1, DUMMY)]
    assert votes(s, 1, A, (1, 2)) == [("enter", 2, A)]
    assert s.resend() == [("vote", 1, A), ("vote", 1, DUMMY)]


def test_dummy_quorum_enters_and_the_parent_stays():
    s = node(me=2)
    s.on_timeout(1)
    assert votes(s, 1, DUMMY, (0, 1)) == [("enter", 2, DUMMY)]
    assert s.propose_parent() == (0, G)
    assert s.on_proposal(2, A, 0, G) == [("vote", 2, A)]
    assert s.propose_parent() is None


def test_timeout_of_another_iteration_is_nothing():
    s = node()
    assert s.on_timeout(2) == [] and s.on_timeout(0) == []


def test_parent_must_be_notarized_and_the_gap_dummy():
    s = node()
    s.adopt_notarized(1, A)
    assert s.iteration == 2
    assert s.on_proposal(2, B, 0, G) == [], "iteration 1 has no dummy here"
    assert s.adopt_notarized(1, DUMMY) == [("vote", 2, B)], "now it has: the proposal that waited gets the vote"
    s = node()
    s.adopt_notarized(1, A)
    assert s.on_proposal(2, B, 1, C) == [], "not the notarized block"
    assert s.on_proposal(2, B, 1, C) == []
    assert not s.votable(2, 1, C) and s.votable(2, 1, A) and not s.votable(3, 1, A)


def test_proposal_waits_for_its_iteration():
    s = node()
    assert s.on_proposal(2, B, 1, A) == []
    assert s.on_proposal(1, A, 0, G) == [("vote", 1, A)]
    assert votes(s, 1, A, (1, 2)) == [("finalize", 1, A), ("enter", 2, A), ("vote", 2, B)]


def test_a_fork_below_the_tip_can_be_extended():
    """Two notarized chains: the leader knows the older block alone, with the dummies after it."""
    s = node()
    s.adopt_notarized(1, A)
    s.adopt_notarized(2, B)
    s.adopt_notarized(2, DUMMY)
    assert s.tip == (2, B) and s.final == (0, G)
    assert s.on_proposal(3, C, 1, A) == [("vote", 3, C)]


def test_a_late_block_becomes_the_tip():
    s = node()
    votes(s, 1, DUMMY, (1, 2, 3))
    votes(s, 2, DUMMY, (1, 2, 3))
    assert s.iteration == 3 and s.tip == (0, G)
    assert s.adopt_notarized(1, A) == []
    assert s.tip == (1, A) and s.iteration == 3
    assert s.votable(3, 1, A) and s.votable(3, 0, G)


def test_future_votes_cascade():
    s = node()
    assert votes(s, 2, DUMMY, (1, 2, 3)) == [] and votes(s, 3, DUMMY, (1, 2, 3)) == []
    assert votes(s, 1, DUMMY, (1, 2, 3)) == [("enter", 2, DUMMY), ("enter", 3, DUMMY), ("enter", 4, DUMMY)]
    assert s.votable(4, 0, G)


def test_a_notarized_block_ahead_is_jumped_to_and_finalized():
    s = node()
    assert votes(s, 4, A, (1, 2, 3)) == [("finalize", 4, A), ("enter", 5, A)]
    assert s.tip == (4, A)
    assert not s.votable(5, 0, G)


def test_final_quorum_ahead_moves_a_laggard():
    s = node()
    assert finals(s, 3, A, (1, 2, 3)) == [("finalize", 3, A), ("enter", 4, A), ("final", 3, A, 0b1110)]
    assert s.final == s.tip == (3, A)


def test_window():
    s = node()
    assert code(s.on_vote, 6, 1, A) == "iteration-far"
    assert code(s.on_vote, 0, 1, A) == "iteration-old"
    assert code(s.on_vote, 1, 4, A) == "member-unknown"
    assert code(s.on_vote, 1, -1, A) == "member-unknown"
    assert code(s.on_finalize, 1, 1, DUMMY) == "finalize-dummy"
    assert code(s.on_proposal, 1, DUMMY, 0, G) == "proposal-parent"
    assert code(s.on_proposal, 1, A, 1, G) == "proposal-parent"
    assert code(s.adopt_notarized, 9, DUMMY) == "iteration-far"
    assert code(Simplex, 65, 0) == "members-range" and code(Simplex, 4, 4) == "members-range"
    s.adopt_final(100, A)
    assert s.iteration == 101
    assert code(s.on_vote, 96, 1, A) == "iteration-old"
    assert s.on_vote(97, 1, A) == [] and s.on_vote(105, 1, A) == [] and code(s.on_vote, 106, 1, A) == "iteration-far"
    assert s.keeps(97) and s.keeps(100) and not s.keeps(96)
    for h in range(101, 120):
        s.adopt_notarized(h, DUMMY)
    assert s.iteration == 120 and s.keeps(100), "votes for the tip still count"
    assert s.on_finalize(100, 1, A) == []


def test_memory_is_bounded():
    s = node(n=40)
    for h in range(1, 3000):
        s.on_vote(h, 1, A)
        s.on_vote(h, 1, B)
        s.on_finalize(h, 1, B)
        s.on_timeout(h)
        if h % 3:
            s.adopt_notarized(h, bytes([h & 255]) * 31 + b"\x01")
        s.adopt_notarized(h, DUMMY)
    assert s.iteration == 3000
    assert len(s._rounds) <= 10 and len(s._forks) <= 7
    assert len(s.snapshot()) <= 403


def test_equivocation_is_told_once_with_what_it_contradicts():
    s = node()
    s.on_vote(1, 2, A)
    assert s.on_vote(1, 2, B) == [("equivocation", 1, 2, "vote", A)]
    assert s.on_vote(1, 2, C) == []
    assert s.votes_of(1) == {A: 0b100}, "the first one counts"
    assert s.on_vote(1, 3, A) == [] and s.on_vote(1, 3, DUMMY) == [], "a block and then the dummy is honest"
    s.on_finalize(2, 3, A)
    assert s.on_finalize(2, 3, B) == [("equivocation", 2, 3, "finalize", A)]
    s.on_finalize(3, 3, A)
    assert s.on_vote(3, 3, DUMMY) == [("equivocation", 3, 3, "finalize", A)]
    s.on_vote(4, 3, DUMMY)
    assert s.on_finalize(4, 3, A) == [("equivocation", 4, 3, "vote", DUMMY)]


def test_a_certificate_counts_whatever_was_heard_first():
    """The liar's vote for B came first here; q signatures for A exist all the same."""
    s = node()
    s.on_proposal(1, A, 0, G)
    s.on_vote(1, 1, A)
    s.on_vote(1, 3, B)
    s.on_vote(1, 3, A)
    assert s.iteration == 1
    assert s.adopt_notarized(1, A) == [("finalize", 1, A), ("enter", 2, A)]


def test_forks_beyond_the_assumption_are_told():
    s = node()
    s.adopt_notarized(1, A)
    assert s.adopt_notarized(1, B) == [("fork", 1, B)]
    s.adopt_final(1, A)
    assert s.adopt_final(1, B) == [("fork", 1, B)]
    s = node()
    s.adopt_notarized(1, DUMMY)
    assert s.adopt_final(1, A) == [("fork", 1, A)]
    assert s.final == (0, G)


def test_adopt_final():
    s = node()
    s.on_proposal(1, A, 0, G)
    assert s.adopt_final(700, C) == [("finalize", 700, C), ("enter", 701, C), ("final", 700, C, 0)]
    assert s.tip == s.final == (700, C)
    assert s.adopt_final(700, C) == [] and s.adopt_final(3, A) == []
    s = node()
    s.adopt_notarized(1, A)
    s.adopt_notarized(2, B)
    s.on_timeout(3)
    assert s.adopt_final(1, A) == [("final", 1, A, 0)]
    assert s.iteration == 3 and s.dummied and s.tip == (2, B), "no vote is taken back"


def test_alone_and_following():
    s = Simplex(1, 0, 0, G)
    assert s.propose_parent() == (0, G)
    assert s.on_proposal(1, A, 0, G) == [("vote", 1, A), ("finalize", 1, A), ("enter", 2, A), ("final", 1, A, 1)]
    s = Simplex(4, None, 0, G)
    assert s.on_proposal(1, A, 0, G) == [] and s.on_timeout(1) == [] and s.propose_parent() is None
    assert votes(s, 1, A, (0, 1, 2)) == [("enter", 2, A)]
    assert finals(s, 1, A, (0, 1, 2)) == [("final", 1, A, 7)]


def test_only_the_leader_proposes_and_once():
    assert [leader(h, 4) for h in (1, 2, 3, 4)] == [1, 2, 3, 0]
    s = node(me=1)
    assert node(me=0).propose_parent() is None and s.propose_parent() == (0, G)
    s.on_proposal(1, A, 0, G)
    assert s.propose_parent() is None
    t = Simplex.restore(4, 1, s.snapshot())
    assert t.propose_parent() is None and t.voted == A


def test_snapshot_forgets_no_vote():
    s = node()
    s.on_proposal(1, A, 0, G)
    t = Simplex.restore(4, 0, s.snapshot())
    assert t.resend() == [("vote", 1, A)] and t.on_proposal(1, B, 0, G) == []
    assert t.on_timeout(1) == [("vote", 1, DUMMY)]
    t = Simplex.restore(4, 0, t.snapshot())
    assert t.resend() == [("vote", 1, A), ("vote", 1, DUMMY)] and t.on_timeout(1) == []
    assert votes(t, 1, A, (1, 2)) == [("enter", 2, A)], "no finalize after the dummy vote, though restarted; own vote counted"
    s.on_vote(1, 1, A)
    s.on_vote(1, 2, A)
    t = Simplex.restore(4, 0, s.snapshot())
    assert t.resend() == [("vote", 1, A), ("finalize", 1, A)] and t.tip == (1, A) and t.iteration == 2
    assert finals(t, 1, A, (1, 2)) == [("final", 1, A, 7)]
    assert t.snapshot() == Simplex.restore(4, 0, t.snapshot()).snapshot()


def test_snapshot_keeps_forks_and_dummies():
    s = node()
    for h, x in ((1, A), (2, B), (3, C)):
        s.adopt_notarized(h, x)
    s.adopt_notarized(3, DUMMY)
    s.adopt_notarized(4, DUMMY)
    data = s.snapshot()
    t = Simplex.restore(4, 0, data)
    assert t.votable(5, 2, B) and t.votable(5, 3, C) and not t.votable(5, 1, A)
    assert 47 <= len(data) <= 200, len(data)
    for bad in (data[:-1], data + b"\0", b"", b"\x02" + data[1:], data[:46]):
        assert code(Simplex.restore, 4, 0, bad) == "snapshot-malformed"
