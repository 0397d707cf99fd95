"""The agreement's driver on a street on paper (paper.py): real blocks, real signatures, several meters, virtual time."""
import struct

import paper
from prosumer.codec import sha256
from prosumer.errors import Reject
from prosumer.ledger.simplex import leader
from prosumer.link import topics
from prosumer.records import VOTE, Header, Proposal, Vote


def street(n, **changes):
    return paper.Street(n, paper.fresh_folder(), **changes)


def final_by(s, slot):
    """Members that hold the slot's final header; all hold the same one."""
    headers = s.finals.get(slot, {})
    assert len(headers) <= 1, "two final headers for one slot"
    return sorted(list(headers.values())[0]) if headers else []


def check_same_state(s, meters=None):
    """Equal final header and state everywhere, and books that balance."""
    nodes = [m.node for m in meters or s.meters]
    assert len(set([n.final_hash for n in nodes])) == 1, [n.final.slot for n in nodes]
    assert len(set([n.final.state for n in nodes])) == 1
    state = nodes[0].state
    assert sum([a.balance_ucr for a in state.accounts]) + state.feeder_ucr + state.utility_ucr == 0
    assert state.root() == nodes[0].final.header.state_root
    return state


def all_but(s, *members):
    return [m for m in s.meters if m.me not in members]


def counted(s, event):
    return sum([m.counts.get(event, 0) for m in s.meters])


def code(f, *args):
    try:
        f(*args)
    except Reject as e:
        return e.code
    return None


def test_four_meters_trade_slot_by_slot():
    s = street(4)
    s.run(8)
    for slot in range(8):
        assert final_by(s, slot) == [0, 1, 2, 3]
    state = check_same_state(s)
    assert [a.next_slot for a in state.accounts] == [7] * 4
    assert all([a.balance_ucr for a in state.accounts])
    assert state.accounts[0].green_mwh and state.accounts[2].green_mwh
    assert not state.accounts[1].green_mwh and not state.accounts[3].green_mwh
    assert sorted(set([t[0] for a in state.accounts for t in a.open()])) == [7, 8]  # slot 7 is not metered yet when block 7 is made
    assert [m.counts for m in s.meters] == [{}] * 4
    for m in s.meters:
        assert (m.node.ring.first, m.node.ring.next) == (0, 8)
        assert m.node.ring.get(7) == m.node.final.header.pack()


def test_an_order_is_settled_at_the_clearing_price():
    """Member 1 buys what member 0 sells; both meter exactly that, so no imbalance is left."""
    s = street(2)
    sells, buys = s.meters
    sells.house.net_mwh = lambda slot: (0, 100000)
    buys.house.net_mwh = lambda slot: (100000, 0)
    sells.house.curve = lambda slot: ([], [(100000, 100000)])
    buys.house.curve = lambda slot: ([(200000, 100000)], [])
    s.run(4)
    first = s.meters[0].node.state
    s.run(1)
    state = check_same_state(s)
    assert s.meters[0].node.final.header.price_ucr_per_kwh == 150000
    loss = -(-250000 * 25 // 1000)  # at retail
    assert state.accounts[0].balance_ucr - first.accounts[0].balance_ucr == 15000
    assert state.accounts[1].balance_ucr - first.accounts[1].balance_ucr == -15000 - (loss + 30000) // 10


def test_a_silent_proposer_costs_one_iteration():
    s = street(8)
    s.run(2)
    silent = leader(s.meters[0].node.simplex.iteration, 8)
    s.meters[silent].up = False
    s.run(1)
    header = s.meters[(silent + 2) % 8].node.final.header
    assert final_by(s, 2) == [m.me for m in all_but(s, silent)]
    assert header.proposer == (silent + 1) % 8
    s.meters[silent].up = True
    s.meters[silent].reconnect()
    s.run(2)
    assert len(final_by(s, 4)) == 8
    check_same_state(s)


def test_a_meter_that_missed_slots_catches_up_and_its_readings_count():
    s = street(8)
    s.run(3)
    lost = s.meters[5]
    lost.up = False
    s.run(4)
    assert lost.node.final.slot == 2
    lost.up = True
    lost.reconnect()
    s.run(3)
    assert lost.counts["caught-up"] and final_by(s, 9) == list(range(8))
    state = check_same_state(s)
    account = state.accounts[5]
    assert account.next_slot == 9
    assert account.next_seq == lost.chain.seq
    assert account.import_mwh == lost.house.totals[0]  # what it metered in the dark is settled as a gap


def test_readings_that_could_not_be_sent_are_settled_late():
    """Metering goes on while the network blocks; four readings at most come in with one block."""
    s = street(4)
    s.run(3)
    s.lost = lambda sender, to, kind, payload: 3 in (sender, to)
    s.run(6)
    assert s.meters[0].node.state.accounts[3].next_slot == 2
    s.lost = lambda *_: False
    s.meters[3].reconnect()
    s.run(1)
    assert s.meters[0].node.state.accounts[3].next_slot == 6
    s.run(1)
    state = check_same_state(s)
    assert state.accounts[3].next_slot == 10
    assert not [t for t in state.accounts[3].open() if t[0] < 10]


def test_a_block_that_leaves_out_an_order_is_refused():
    s = street(4)
    s.run(3)
    node = s.meters[leader(s.meters[0].node.simplex.iteration, 4)].node
    victim = [m for m in sorted(node.pool.orders[4]) if m != node.me][0]
    del node.pool.orders[4][victim]
    s.run(1)
    assert counted(s, "record-left-out") >= 2
    assert final_by(s, 3) == [0, 1, 2, 3]
    header = s.meters[0].node.final.header
    assert header.proposer != node.me
    raw = s.proposals[s.meters[0].node.final_hash]
    assert victim in [o.member for o in Proposal.parse(raw).body.orders]
    check_same_state(s)


def test_an_order_that_is_not_shown_pays_the_penalty():
    s = street(4)
    s.run(3)
    hidden = s.meters[1]
    hidden.hide = True
    s.run(1)
    before = s.meters[0].node.state
    s.run(1)
    body = Proposal.parse(s.proposals[s.meters[0].node.final_hash]).body
    assert 1 not in [o.member for o in body.orders]
    state = check_same_state(s)
    assert state.feeder_ucr - before.feeder_ucr > 90000
    assert 1 not in state.fills(5)


def test_the_operators_envelope_bounds_the_street():
    s = street(4)
    s.run(2)
    s.forget = lambda slot: None
    s.envelope(3, 4, 1000, 2000)
    s.run(3)
    check_same_state(s)
    for slot, present in ((2, True), (3, True), (4, False)):
        header = Header.parse(list(s.finals[slot])[0])
        body = Proposal.parse(s.proposals[header.hash(s.genesis.feeder_id)]).body
        assert len(list(body.envelopes)) == present
        if present:
            fills = s.meters[0].node.state.fills(slot + 1)
            bought, sold = sum([f[0] for f in fills.values()]), sum([f[1] for f in fills.values()])
            assert -2000 <= bought - sold <= 1000


def test_three_of_eight_silent_and_nothing_becomes_final_until_one_is_back():
    s = street(8)
    s.run(3)
    for m in s.meters[:3]:
        m.up = False
    s.run(3)
    assert [final_by(s, slot) for slot in (3, 4, 5)] == [[], [], []]
    s.meters[1].up = True
    s.meters[1].reconnect()
    s.run(2)
    up = all_but(s, 0, 2)
    assert final_by(s, 7) == [m.me for m in up]
    assert [a.next_slot for a in check_same_state(s, up).accounts] == [2, 7, 2, 7, 7, 7, 7, 7]
    for m in s.meters[:3]:
        if not m.up:
            m.up = True
            m.reconnect()
    s.run(3)
    assert final_by(s, 10) == list(range(8))
    state = check_same_state(s)
    assert [a.next_slot for a in state.accounts] == [10] * 8


def check_standstill(silent, after):
    """Three slots, `silent` ones in which no message arrives, `after` more: every reading is settled, every register agrees."""
    s = street(4)
    s.run(3)
    s.lost = lambda *_: True
    s.run(silent)
    s.lost = lambda *_: False
    for m in s.meters:
        m.reconnect()
    s.run(after)
    state = check_same_state(s)
    assert [a.next_slot for a in state.accounts] == [3 + silent + after - 1] * 4
    assert [a.import_mwh for a in state.accounts] == [m.house.totals[0] for m in s.meters]


def test_a_long_standstill_ends_with_every_reading_settled():
    """More void slots than a block takes late readings."""
    check_standstill(7, 6)


def test_readings_that_are_lost_do_not_stop_a_member_for_ever():
    """More void slots than a meter keeps readings of: the lost ones are settled as a gap, by the registers."""
    check_standstill(13, 9)


def test_readings_kept_back_cannot_be_left_out_while_others_hold_them():
    """A proposer takes a later reading although the four before it are there: the others refuse."""
    s = street(4)
    s.run(3)
    s.lost = lambda sender, to, kind, payload: 2 in (sender, to)
    s.run(5)
    s.lost = lambda *_: False
    s.meters[2].reconnect()
    s.play(s.now + 5000)
    node = s.meters[leader(s.meters[0].node.simplex.iteration, 4)].node
    assert [r.seq for r in node.pool.readings[2]][:4] == [2, 3, 4, 5]
    node.pool.readings[2] = [s.meters[2].chain.readings[-1]]
    assert node.pool.readings[2][0].seq == 6
    s.run(1)
    assert counted(s, "record-left-out") >= 2
    assert final_by(s, 8) == [0, 1, 2, 3]
    check_same_state(s)


def test_a_restart_at_any_moment_loses_nothing():
    s = street(4)
    s.run(2)
    for slot in range(2, 12):
        m = s.meters[slot % 4]
        after = (slot - 2) * 25  # ms after the gate: before, between and after proposal, votes and finality
        m_gate = s.genesis.gate_ms(slot)
        for other in s.meters:
            other.end_slot(slot - 1)
        s.play(m_gate - paper.COMMIT_BEFORE_MS)
        for other in s.meters:
            other.commit(slot + 2)
        s.play(m_gate + after)
        sealed = m.sealed
        said = m.node.simplex.snapshot()
        m.boot()
        m.sealed = sealed  # the trader keeps its orders in flash, which is not played here
        assert m.node.simplex.snapshot() == said
        m.reconnect()
        s.play(s.genesis.start_ms(slot + 1))
        assert len(final_by(s, slot)) >= 3, slot
    s.run(2)
    assert final_by(s, 13) == [0, 1, 2, 3]
    check_same_state(s)
    assert counted(s, "equivocation") == 0


def test_all_meters_lose_power_at_once_and_go_on():
    s = street(4)
    for slot in range(3):
        s.run(1)
        for m in s.meters:
            m.boot()
        s.queue = []
    s.run(3)
    assert final_by(s, 5) == [0, 1, 2, 3]
    check_same_state(s)


def test_lost_messages_delay_but_never_split():
    s = street(4)
    drawn = [0]

    def lost(*_):
        drawn[0] += 1
        return sha256(b"loss", drawn[0].to_bytes(4, "big"))[0] < 77

    s.run(2)
    s.lost = lost
    s.run(12)
    for slot in range(14):
        final_by(s, slot)
    s.lost = lambda *_: False
    for m in s.meters:
        m.reconnect()
    s.run(6)
    assert final_by(s, 19) == [0, 1, 2, 3]
    check_same_state(s)
    assert counted(s, "equivocation") == 0


def test_forged_and_malformed_messages_change_nothing():
    s = street(4)
    s.run(3)
    node = s.meters[0].node
    before = node.simplex.snapshot(), node.final_hash, len(node.signatures), len(node.chain)
    h = node.simplex.iteration
    for i in range(50):
        forged = Vote(kind=VOTE, iteration=h, member=1, header_hash=sha256(bytes([i])), signature=bytes(64))
        assert code(node.receive, topics.VOTE, 1, forged.pack(), s.now) == "bad-signature"
    forged = Vote(kind=7, iteration=h, member=1, header_hash=b"x" * 32, signature=bytes(64))
    assert code(node.receive, topics.VOTE, 1, forged.pack(), s.now) == "wrong-kind"
    bad = [b"", b"\x09", bytes(103), bytes(2000)]
    for kind in (topics.VOTE, topics.PROPOSAL, topics.ASK, topics.CHAIN, topics.READING, topics.COMMIT, topics.ORDER, topics.ENVELOPE):
        for payload in bad:
            try:
                node.receive(kind, 1, payload, s.now)
            except (Reject, ValueError, IndexError):
                pass
    after = node.simplex.snapshot(), node.final_hash, len(node.signatures), len(node.chain)
    assert after == before, (after, before)
    s.run(1)
    assert final_by(s, 3) == [0, 1, 2, 3]


def test_a_member_cannot_fill_the_table_of_votes():
    s = street(4)
    s.run(2)
    node = s.meters[0].node
    h = node.simplex.iteration
    size = len(node.signatures)
    for i in range(30):
        vote = Vote(kind=VOTE, iteration=h, member=1, header_hash=sha256(bytes([i])))
        vote.signature = s.meters[1].signer.sign(vote.message(node.members.domain))
        try:
            node.receive(topics.VOTE, 1, vote.pack(), s.now)
        except Reject:
            pass
    assert len(node.signatures) <= size + 3
    assert s.meters[0].counts.get("equivocation")
    s.run(2)
    assert final_by(s, 3) == [0, 1, 2, 3]


def test_a_false_proposal_before_the_gate_harms_nobody():
    s = street(4)
    s.run(2)
    node = s.meters[1].node
    h = node.simplex.iteration
    proposer = leader(h, 4)
    forged = bytearray(s.proposals[node.final_hash])
    struct.pack_into(">IIB", forged, 2, 2, h, proposer)
    forged = bytes(forged)
    for m in s.meters:
        if m.me != proposer:
            m.receive(topics.PROPOSAL, proposer, forged)
            assert m.counts["bad-signature"] and not m.node.early
    s.run(2)
    assert final_by(s, 3) == [0, 1, 2, 3]
    check_same_state(s)


def test_a_false_answer_to_an_ask_is_refused():
    s = street(4)
    s.run(3)
    lost = s.meters[2]
    lost.up = False
    s.run(3)
    node = s.meters[0].node
    caught = []
    node.publish = lambda kind, payload, member=None: caught.append(b"".join(list(payload.pieces)))
    ask = (2, 0, lost.node.simplex.iteration, lost.node.final.slot + 1)
    node.catchup._answer(type("A", (), {"member": 2, "to": 0, "iteration": ask[2], "slot": ask[3], "count": 3, "domain": lost.node.members.domain})())
    answer = caught[0]
    before = lost.node.final_hash
    refused = 0
    for at in range(2, len(answer), 37):
        forged = bytearray(answer)
        forged[at] ^= 1
        lost.node.catchup.asked = 1
        try:
            lost.node.receive(topics.CHAIN, 0, bytes(forged), s.now)
        except Reject:
            refused += 1
        assert lost.node.final_hash == before, at
    assert refused
    lost.node.catchup.asked = 1
    lost.node.receive(topics.CHAIN, 0, answer, s.now)
    assert lost.node.final_hash == node.final_hash
