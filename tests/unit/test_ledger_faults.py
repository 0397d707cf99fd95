"""What a member with firmware of its own can sign, and what a power cut can leave: nothing of it stops a street or makes money."""

import paper
from prosumer.ledger import block
from prosumer.ledger.simplex import leader
from prosumer.link import topics
from prosumer.records import PROPOSE, Proposal, Reading, vote_message
from test_ledger_node import check_same_state, final_by, street


def signed(s, member, **changes):
    """A reading of the member's that continues its account, but for the changes."""
    m = s.meters[member]
    account = s.meters[(member + 1) % len(s.meters)].node.state.accounts[member]
    fields = dict(member=member, slot=s.genesis.slot_at(s.now) - 1, seq=account.next_seq, previous=account.head,
                  import_mwh=account.import_mwh + 1000, export_mwh=account.export_mwh, generation_mwh=account.generation_mwh,
                  interval_import_mwh=1000, interval_export_mwh=0, interval_generation_mwh=0, uncertainty_mwh=1, flags=0,
                  accuracy=0, calibration=bytes(8))
    fields.update(changes)
    r = Reading(**fields)
    r.signature = m.signer.sign(r.message(s.genesis.feeder_id))
    return r


def play_with(changes, member=0):
    """A street in which one member sends such a reading instead of its own; it must go on without it."""
    s = street(4)
    s.run(4)
    liar = s.meters[member]
    liar.up = False
    before = s.meters[1].node.state.accounts[member]
    account = before.pack()
    r = signed(s, member, **changes(before))
    for m in s.meters[1:]:
        m.receive(topics.READING, member, r.pack())
    s.run(3)
    for slot in (4, 5, 6):
        assert final_by(s, slot) == [1, 2, 3], slot
    state = check_same_state(s, s.meters[1:])
    now = state.accounts[member]
    assert (now.next_seq, now.import_mwh, now.export_mwh, now.green_mwh) == (
        before.next_seq, before.import_mwh, before.export_mwh, before.green_mwh), account
    return s


def test_registers_that_went_back_stop_nobody():
    play_with(lambda a: {"import_mwh": a.import_mwh - 1})


def test_a_slot_that_was_read_already_stops_nobody():
    play_with(lambda a: {"slot": 0})


def test_the_last_sequence_number_of_all_is_not_the_first_again():
    """next_seq would be 2^32, which is 0 in an account: the registers would begin to count anew, unpaid."""
    play_with(lambda a: {"seq": 0xFFFFFFFF, "import_mwh": 0xFFFFFFFFFFFF0000})


def test_more_energy_than_the_fuse_lets_through_makes_no_money():
    play_with(lambda a: {"export_mwh": 1 << 62, "interval_export_mwh": 0xFFFFFFFF})
    play_with(lambda a: {"generation_mwh": 1 << 62})
    play_with(lambda a: {"import_mwh": (1 << 64) - 1})


def proposal_by(s, proposer, h, slot, salt, previous=None):
    """A valid signed proposal for iteration h that this meter's firmware would not make, e.g. a second one."""
    from prosumer.ledger.state import State
    node = s.meters[proposer].node
    parent = node.chain[previous or node.simplex.tip[1]]
    state = State.parse(parent.state)
    body = block.build(s.genesis, state, slot, node.pool, salt)
    cleared = block.execute(s.genesis, state, slot, body, lambda r: None)
    header = block.header(s.genesis, parent.digest, parent.accumulator().root(), slot, h, proposer, body, state, cleared)
    digest = header.hash(s.genesis.feeder_id)
    signature = s.meters[proposer].signer.sign(vote_message(node.members.domain, PROPOSE, h, digest))
    return digest, b"".join(Proposal(header, signature, body).pieces())


def at_the_gate(s, slot):
    """Everything up to the gate of a slot, which is about to begin."""
    for m in s.meters:
        m.end_slot(slot - 1)
    s.play(s.genesis.gate_ms(slot) - paper.COMMIT_BEFORE_MS)
    for m in s.meters:
        m.commit(slot + 2)
    s.play(s.genesis.gate_ms(slot))


def test_a_leader_with_many_proposals_fills_no_memory_and_a_later_one_harms_no_vote():
    s = street(4)
    s.run(3)
    at_the_gate(s, 3)
    h = s.meters[0].node.simplex.iteration
    liar = leader(h, 4)
    s.meters[liar].up = False
    blocks = [proposal_by(s, liar, h, 3, bytes([i]) * 16) for i in range(6)]
    far = [proposal_by(s, liar, h + 4 * i, 3, bytes(16)) for i in range(2, 6)]
    others = [m for m in s.meters if m.me != liar]
    for m in others:
        size = len(m.node.chain)
        for _, raw in blocks + far:
            m.receive(topics.PROPOSAL, liar, raw)
        assert len(m.node.chain) == size + 1
        assert m.node.simplex.voted == blocks[0][0]
    for m in others:  # and without power what was voted for is still there
        m.boot()
        assert m.node.simplex.voted == blocks[0][0] and blocks[0][0] in m.node.chain
        m.reconnect()
    s.play(s.genesis.start_ms(4))
    assert final_by(s, 3) == [m.me for m in others]
    check_same_state(s, others)


def test_a_meter_that_learnt_the_tip_from_a_neighbour_can_tell_it_to_the_next():
    """A notarized block that is not final passes from meter to meter; nobody's answer needs a file that is not there."""
    s = street(4)
    s.run(3)
    s.lost = lambda sender, to, kind, payload: 3 in (sender, to) or kind == topics.VOTE and payload[1]  # nothing becomes final
    s.run(1)
    assert final_by(s, 3) == []
    tip = s.meters[0].node.simplex.tip[1]
    late, answers = s.meters[3].node, []
    assert late.simplex.tip[1] != tip
    for m in (s.meters[0], s.meters[3]):
        m.node.publish = lambda kind, payload, member=None: answers.append(b"".join(list(payload.pieces)) if kind == topics.CHAIN else b"")
    from prosumer.ledger.catchup import Ask

    def ask(to, member):
        a = Ask(member=member, to=to, iteration=0, slot=3, count=3, domain=late.members.domain)
        a.signature = s.meters[member].signer.sign(a.message(s.genesis.feeder_id))
        s.meters[to].node.receive(topics.ASK, member, a.pack(), s.now)
        return [a for a in answers if a][-1]

    late.receive(topics.CHAIN, 0, ask(0, 3), s.now)
    assert late.simplex.tip[1] == tip and tip in late.chain
    node = s.meters[1].node
    node.chain = {h: b for h, b in node.chain.items() if h != tip}  # as if it had voted without keeping the block
    node.receive(topics.CHAIN, 3, ask(3, 1), s.now)
    assert tip in node.chain


def test_two_blocks_that_are_not_final_survive_a_power_loss_of_the_whole_street():
    s = street(4)
    s.run(3)
    s.lost = lambda sender, to, kind, payload: kind == topics.VOTE and payload[1]
    s.run(2)
    assert final_by(s, 3) == final_by(s, 4) == []
    tip = s.meters[0].node.simplex.tip
    assert s.meters[0].node.chain[tip[1]].slot == 4
    s.lost = lambda *_: False
    s.queue = []
    for m in s.meters:
        m.boot()
        assert tip[1] in m.node.chain
        m.reconnect()
    s.run(2)
    assert final_by(s, 6) == [0, 1, 2, 3]
    check_same_state(s)


def test_an_answer_brings_no_block_that_nobody_vouches_for():
    s = street(4)
    s.run(3)
    at_the_gate(s, 3)
    node = s.meters[1].node
    h = node.simplex.iteration
    digest, raw = proposal_by(s, 2, h, 3, b"x" * 16)
    answer = b"\x0c\x01\x00\x00\x00" + raw
    node.catchup.asked = 1 << 2
    node.receive(topics.CHAIN, 2, answer, s.now)
    assert digest not in node.chain


def test_an_ask_played_again_is_answered_once():
    s = street(4)
    s.run(3)
    asks = []
    s.meters[0].node.publish = lambda kind, payload, member=None: asks.append(payload)
    s.meters[0].node.simplex.iteration -= 1
    s.meters[0].node.catchup.ask(s.now)
    to = s.meters[asks[0][2]]
    answers = []
    to.node.publish = lambda kind, payload, member=None: answers.append(kind)
    for _ in range(20):
        to.receive(topics.ASK, 0, asks[0])
    assert answers == [topics.CHAIN]


def test_no_block_is_longer_than_the_buffer_it_is_received_in_however_long_the_standstill():
    s = street(4)
    room, longest = 1024 + 448 * 4, [0]
    send = s.send

    def measured(sender, kind, member, payload):
        if kind in (topics.PROPOSAL, topics.CHAIN):
            longest[0] = max(longest[0], len(payload))
        send(sender, kind, member, payload)

    s.send = measured
    s.run(3)
    s.lost = lambda *_: True
    s.run(9)
    s.lost = lambda *_: False
    for m in s.meters:
        m.reconnect()
    s.run(12)
    state = check_same_state(s)
    assert longest[0] <= room, longest
    assert [a.next_slot for a in state.accounts] == [23] * 4
    assert [a.import_mwh for a in state.accounts] == [m.house.totals[0] for m in s.meters]


def test_readings_of_all_share_what_a_block_holds():
    """One of each member, then more of one after the other, beginning with another member each slot."""
    s = street(4)
    s.run(3)
    s.lost = lambda *_: True
    s.run(6)
    node = s.meters[0].node
    for m in s.meters:
        for r in m.chain.unsettled(2)[:4]:
            node.receive(topics.READING, m.me, r.pack(), s.now)
    counts = []
    for slot in (9, 10):
        readings = block.build(s.genesis, node.state, slot, node.pool, bytes(16)).readings
        counts.append([len([r for r in readings if r.member == m]) for m in range(4)])
    assert counts[0] != counts[1] and sum(counts[0]) == sum(counts[1]) == 15, counts




def test_a_street_that_fell_in_two_has_a_block_in_the_next_slot():
    """Only one half knows that it was cut off. Before the gate all say again what the other never heard: readings, and votes that end an iteration."""
    s = street(8)
    s.run(2)
    s.lost = lambda sender, to, kind, payload: (sender < 4) != (to < 4)
    s.run(2)
    assert max(s.finals) == 1
    s.lost = lambda *_: False
    for m in s.meters[4:]:
        m.reconnect()
    s.run(1)
    assert final_by(s, 4) == list(range(8))
    s.run(2)
    check_same_state(s)


def test_all_that_a_proposer_left_out_is_forwarded():
    """Not one record for each turn that passes: the half that proposes lacks two readings of each member of the other."""
    s = street(8)
    s.run(2)
    s.lost = lambda sender, to, kind, payload: kind == topics.READING and (sender < 4) != (to < 4)
    meter = s.meters[0]
    sent, publish = [], meter.node.publish
    meter.node.publish = lambda kind, payload, member=None: (sent.append((kind, member)), publish(kind, payload, member))
    for slot in range(8):
        s.run(1)
        forwarded = [member for kind, member in sent if kind == topics.READING and member is not None]
        if forwarded:
            break
    assert len(set(forwarded)) == 4, sent


def test_certificates_of_dummies_are_bounded():
    """A street that has a quorum and no block for hours: memory, snapshot and answers keep their size."""
    s = street(4)
    s.run(2)
    for m in s.meters:
        m.node.propose = lambda slot, tip: None
    sizes = []
    for _ in range(12):
        s.run(1)
        sizes.append(len(s.meters[0].node.notarizations))
    assert s.meters[0].node.simplex.iteration > 60
    assert max(sizes) <= 16, sizes
    for m in s.meters:
        del m.node.propose
        m.boot()
        m.reconnect()
    s.run(2)
    assert final_by(s, 15) == [0, 1, 2, 3]


class PowerCut(Exception):
    pass


def test_a_power_cut_between_ring_and_state_keeps_both():
    """Whichever of the two is written first: the ring of headers is not begun anew because of it."""
    from prosumer import durable
    save = durable.save

    def no_final(path, *pieces):
        if path.endswith("/2/final"):
            raise PowerCut()
        save(path, *pieces)

    def no_ring(*_):
        raise PowerCut()

    for which in ("ring", "final"):
        s = street(4)
        s.run(3)
        m = s.meters[2]
        if which == "ring":
            m.node.ring.append = no_ring
        else:
            durable.save = no_final
        while m.up:
            try:
                s.run(1)
            except PowerCut:
                m.up = False
        durable.save = save
        s.play(s.genesis.start_ms(4))
        m.boot()
        m.reconnect()
        s.run(3)
        assert m.node.final_hash == s.meters[0].node.final_hash
        assert (m.node.ring.first, m.node.ring.next) == (0, 7), (which, m.node.ring.first, m.node.ring.next)


def test_blocks_that_are_not_final_are_learnt_one_by_one_up_to_the_tip():
    """Half of the street has certificates and no blocks, five deep: without the blocks below it nobody can vote for the next one."""
    s = street(4)
    s.run(3)
    s.lost = lambda sender, to, kind, payload: kind == topics.VOTE and payload[1]
    s.run(5)
    assert [final_by(s, slot) for slot in range(3, 8)] == [[]] * 5
    for m in s.meters[:2]:
        m.node.chain = {h: b for h, b in m.node.chain.items() if h == m.node.final_hash}
        m.node.simplex._finalized = False
    for m in s.meters[2:]:
        m.node.simplex._finalized = False  # and by its votes alone the tip does not become final
    s.lost = lambda *_: False
    s.run(4)
    assert final_by(s, 11) == [0, 1, 2, 3]
    check_same_state(s)


def test_a_heap_too_full_for_a_block_gives_up_late_readings_and_the_street_goes_on():
    s = street(4)
    s.run(2)
    s.lost = lambda sender, to, kind, payload: kind == topics.VOTE
    s.run(3)
    node = s.meters[0].node
    assert max([len(waiting) for waiting in node.pool.readings]) == 3
    build = block.build

    def full(*args):
        raise MemoryError

    block.build = full
    s.lost = lambda *_: False
    while not s.meters[0].counts.get("no-memory"):
        s.run(1)
    block.build = build
    assert max([len(waiting) for waiting in node.pool.readings]) <= 2, "the due one of each, and what came since"
    s.run(3)
    assert final_by(s, s.genesis.slot_at(s.now) - 1) == [0, 1, 2, 3]
    check_same_state(s)
    assert [a.next_slot for a in node.state.accounts] == [s.genesis.slot_at(s.now) - 1] * 4, "nothing is lost"
