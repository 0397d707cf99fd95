"""Back after a day, a week, a year: one answer, checked by its certificate, brings a meter to the newest final header, whatever it missed."""
import gc
import hashlib
import vfs

import paper
from flash import Flash
from prosumer import durable
from prosumer.codec import Cursor, list_pieces, sha256
from prosumer.errors import Halt, Reject
from prosumer.ledger import catchup, mmr
from prosumer.ledger.mmr import MMR
from prosumer.link import topics
from prosumer.records import MAX_MEMBERS, Evidence, Header
from test_ledger_node import check_same_state, final_by, street

DAY = 96
YEAR = 365 * DAY


class Talk:
    """What goes to and from one meter about catching up: (kind, bytes)."""

    def __init__(self, s, meter):
        self.said, self.send = [], s.send

        def heard(sender, kind, member, payload):
            if kind in (topics.ASK, topics.CHAIN):
                self.said.append((kind, len(payload)))
            self.send(sender, kind, member, payload)

        s.send = heard

    def answers(self):
        return [size for kind, size in self.said if kind == topics.CHAIN]


def away(s, slots, played=None):
    """One of four meters is without power for so many slots, of which the others play `played` (all of them); it comes back at a gate."""
    lost = s.meters[3]
    lost.up = False
    if played is not None:
        s.now = s.genesis.start_ms(s.genesis.slot_at(s.now) + slots - played)
    s.run(slots if played is None else played)
    talk = Talk(s, lost)
    lost.boot()
    lost.reconnect()
    slot = s.genesis.slot_at(s.now)
    s.run(1)
    assert lost.node.final.slot == slot, "it takes part in the very slot in which it is back"
    assert final_by(s, slot) == [0, 1, 2, 3]
    s.run(2)
    state = check_same_state(s)
    assert state.accounts[3].next_slot == slot + 2, "what it metered since is settled"
    assert lost.counts["caught-up"] == 1
    return talk


def test_a_header_said_twice_is_no_fork_and_no_way_into_the_ring():
    """A true final block with true tops, and the last header in place of those before it: a liar must not halt an honest meter."""
    for behind in (2, 3, 6):
        s = street(4)
        s.run(3)
        lost, node = s.meters[3], s.meters[0].node
        lost.up = False
        s.run(behind)
        lost.boot()
        lost.up = True
        stop = MMR.parse(node.final.before).count
        headers, tops = [Header.parse(raw) for _, raw in node.ring.iterate(0, stop)], []
        list(node.catchup.prove(tops, lost.node.final.accumulator().count, stop))
        final = [b"\1"] + node.catchup.final_pieces() + [b"\0", bytes([len(tops)])] + tops
        before = [raw for _, raw in lost.node.ring.iterate(0, 99)]
        for said in ([headers[-1]] * behind, [headers[-2], headers[-1], headers[-1]], [headers[-1], headers[-2]]):
            answer = [b"\x11", bytes([lost.me])] + final + list_pieces(said) + [b"\0"]
            counted, lost.node.catchup.asked = lost.counts.get("broken-chain", 0), 1
            lost.receive(topics.CHAIN, 0, b"".join(answer))
            assert lost.counts.get("broken-chain", 0) == counted + 1
        for few in range(behind - 1):  # the ring would begin anew behind a gap, and prove nothing of the week before any more
            lost.node.catchup.asked = 1
            lost.receive(topics.CHAIN, 0, b"".join([b"\x11", bytes([lost.me])] + final + list_pieces(headers[len(headers) - few:]) + [b"\0"]))
            assert lost.counts.get("unproven", 0) == few + 1
        lost.receive(topics.CHAIN, 0, b"".join([b"\x11", bytes([lost.me])] + final + list_pieces(headers[-behind + 1:]) + [b"\0"]))
        assert lost.counts["unasked"] == 1 and lost.node.final_hash != node.final_hash
        assert [raw for _, raw in lost.node.ring.iterate(0, 99)] == before
        lost.node.catchup.asked = 1
        lost.receive(topics.CHAIN, 0, b"".join([b"\x11", bytes([lost.me])] + final + list_pieces(headers[-behind + 1:]) + [b"\0"]))
        assert lost.node.final_hash == node.final_hash, "the true answer is taken"


def test_after_a_day_one_answer_is_enough():
    s = street(4)
    s.run(3)
    talk = away(s, DAY)
    assert max(talk.answers()) == talk.answers()[0] < 3500 and sum(talk.answers()) < 4500, talk.said


def long_ago(s, slots):
    """The fourth of four meters loses power; the others go on for so many slots."""
    s.meters[3].up = False
    s.skip(slots, s.meters[:3])
    return s.meters[3]


def back(s):
    """It is switched on at the start of a slot; how many bytes the answers had that it got."""
    talk, lost = Talk(s, s.meters[3]), s.meters[3]
    try:
        lost.boot()
        lost.reconnect()
        for _ in range(4):  # an agent looks after it with every window of samples
            s.play(s.now + 2100)
            lost.node.catchup.step(s.now)
        s.run(1)
    finally:
        s.send = talk.send
    return talk.answers()


def week(slots=2000):
    """A street of 5-minute slots, the rings of which have turned when one meter goes off."""
    s = paper.Street(4, paper.fresh_folder(8000), slot_s=300)
    s.run(2)
    s.skip(401, s.meters)
    return s, long_ago(s, slots)


def test_after_a_week_the_ring_of_a_neighbour_proves_that_history_goes_on():
    s, lost = week()
    left = lost.node.final.accumulator()
    assert s.meters[0].node.ring.first > 300 and left.count == 403, "the ring turned"
    sizes = back(s)
    assert lost.counts == {"caught-up": 1} and final_by(s, s.genesis.slot_at(s.now) - 1) == [0, 1, 2, 3]
    assert sizes[0] < 2700, sizes
    s.run(1)
    check_same_state(s)
    assert lost.node.ring.next == s.meters[0].node.ring.next and lost.node.ring.next - lost.node.ring.first < 12
    tops = []
    list(s.meters[1].node.catchup.prove(tops, left.count, 2403))
    assert [size for _, size in mmr.lacks(left.count, 2403)] == [1, 4, 8, 32, 64, 512, 1024] and len(tops) == 7


def test_a_proof_of_a_week_is_made_in_steps_and_begun_anew_behind_a_new_final_block():
    s, lost = week()
    node, said = s.meters[0].node, []
    node.publish = lambda kind, payload, member=None: said.append(b"".join(list(payload.pieces)))
    ask = catchup.Ask(member=3, to=0, iteration=0, slot=3, count=lost.node.final.accumulator().count, domain=lost.node.members.domain)
    node.catchup._answer(ask)
    steps = 1
    while not said:
        assert node.next_due(s.now) == s.now, "there is more to do"
        node.catchup.step(s.now)
        steps += 1
        if steps == 10:
            node.final_hash = bytes(32)
            node.chain[bytes(32)] = node.chain[s.meters[1].node.final_hash]  # as good as another
    assert 32 < steps < 80 and node.next_due(s.now) > s.now and len(said) == 1
    node.final_hash = s.meters[1].node.final_hash
    lost.boot()
    lost.up, lost.node.catchup.asked = True, 1
    lost.receive(topics.CHAIN, 0, said[0])
    assert lost.counts == {"caught-up": 1}


def test_after_more_than_the_ring_the_certificate_counts_and_what_was_left_behind_is_kept():
    s, lost = week(2300)
    left = lost.node.final.accumulator().serialize()
    back(s)
    assert lost.counts == {"caught-up": 1, "caught-up-unproven": 1}
    assert durable.load(lost.folder + "unproven0") == left
    s.run(1)
    check_same_state(s)


def test_of_neighbours_that_were_away_themselves_the_next_is_asked_and_at_last_the_certificate_counts():
    for rings in (1, 0):
        s, lost = week(300)
        for m in s.meters[rings:3]:
            ring = m.node.ring
            header = ring.get(ring.next - 1)
            ring.restart(ring.next - 1)
            ring.append(ring.next, header)
        back(s)
        assert lost.counts["caught-up"] == 1 and lost.counts["unproven"] == 2
        assert lost.counts.get("caught-up-unproven", 0) == 1 - rings
        s.run(1)
        check_same_state(s)


def test_a_neighbour_that_is_off_keeps_nobody_from_asking_on():
    s = paper.Street(7, paper.fresh_folder(8000))
    s.run(1)
    lost = s.meters[6]
    s.skip(100, s.meters[:6])
    ring = s.meters[1].node.ring
    header = ring.get(ring.next - 1)
    ring.restart(ring.next - 1)
    ring.append(ring.next, header)  # who is asked first was away, too, and who is asked next is still
    s.meters[2].up = s.meters[3].up = False
    lost.reconnect()
    for _ in range(4):
        s.play(s.now + 2100)
        lost.node.catchup.step(s.now)
    assert lost.counts == {"unproven": 1, "caught-up": 1} and lost.node.final_hash == s.meters[0].node.final_hash


def test_false_tops_move_nothing_and_the_next_neighbour_is_asked():
    s, lost = week(300)

    def false(out, count, stop):
        yield out.append(bytes(32))
    s.meters[1].node.catchup.prove = false
    back(s)
    assert lost.counts["proof-wrong"] == 1 and lost.counts["caught-up"] == 1 and "caught-up-unproven" not in lost.counts
    s.run(1)
    check_same_state(s)


def fork(headers, slots):
    """A meter whose last final headers, as it was told by a quorum, are others than those of the street."""
    s = paper.Street(4, paper.fresh_folder(8000), slot_s=300)
    s.run(3)
    final = s.meters[3].node.final
    s.skip(headers, s.meters[:3])
    now = s.now
    s.now = s.genesis.start_ms(3)
    s.skip(headers, s.meters[3:], b"other")
    assert s.now == now and s.meters[3].node.final is not final
    lost = long_ago(s, slots)
    lost.node.catchup.ask(s.now)
    lost.up, lost.boot = True, None
    try:
        s.run(1)
    except Halt as e:
        assert str(e) == "fork: more than a third of the meters lie"
        return True
    assert lost.counts["proof-wrong"] and "caught-up" not in lost.counts and lost.node.final.slot == 2 + headers
    return False


def test_a_certified_history_that_contradicts_the_own_one_stops_the_meter():
    assert fork(1, 6), "linked headers lead past the own final one"
    assert fork(400, 90), "a peak that both must have is another"
    assert not fork(1, 300), "it may be the neighbours that lie, not a third of the street: nothing is believed"
    s, lost = week(8)
    node, final = s.meters[0].node, lost.node.final
    fewer = MMR.parse(node.final.before)
    fewer.count, fewer.peaks = 256, fewer.peaks[:1]
    assert MMR.parse(final.accumulator().serialize()).extend(fewer, []) is None, "a later header has fewer before it"


def test_after_a_year_nobody_is_believed_until_the_operator_signs_anew():
    """Nothing in an answer grows with the time away but the accumulator's peaks, of which a year has 17 at most."""
    s = street(4)
    history = MMR()
    for i in range(131070):  # all peaks there can be: 17
        history.append(hashlib.sha256(b"%d" % i).digest())
    for m in s.meters:
        m.node.final.before = history.serialize()
        m.node.ring.restart(131070)
    s.run(1)
    lost = s.meters[3]
    lost.up = False
    s.now = s.genesis.start_ms(s.genesis.slot_at(s.now) + YEAR)
    s.run(2)
    assert max(back(s)) < 4100
    assert lost.counts.get("trust-period") and lost.node.final.slot == 0
    counts = lost.counts
    s.amend([m.signer for m in s.meters])  # prosumer feeder amend --renew
    s.run(3)
    assert counts["caught-up"] == 1 and lost.genesis.number == 1
    s.run(2)
    check_same_state(s)


def test_the_trust_period_is_not_walked_through_in_small_steps():
    """Whoever bought the keys of half a year ago can sign slots of then, too."""
    s = street(4)
    s.run(3)
    lost = long_ago(s, 96)
    answers = []
    node = s.meters[0].node
    node.publish = lambda kind, payload, member=None: answers.append(b"".join(list(payload.pieces)))
    node.catchup._answer(catchup.Ask(member=3, to=0, iteration=0, slot=3, count=3, domain=lost.node.members.domain))
    lost.boot()
    for days, code in ((181, "trust-period"), (170, None)):
        lost.node.catchup.asked = 1
        try:
            lost.node.receive(topics.CHAIN, 0, answers[0], s.genesis.start_ms(days * DAY))
            assert code is None and lost.counts["caught-up"] == 1
        except Reject as e:
            assert e.code == code


def power(flash, cut=0):
    """What is on a flash stays, when power comes back to it and fails in the middle of operation `cut`."""
    gc.collect()  # files that were open
    vfs.umount("/lost")
    flash = Flash(data=flash.data, cut=cut)
    vfs.mount(vfs.VfsLfs2(flash), "/lost")
    return flash


class AllGood:
    """Signatures are not what this is about, and they take most of the time."""

    def __contains__(self, key):
        return True

    def clear(self):
        pass


def test_power_fails_at_each_flash_operation_of_a_return():
    """The street sees one meter with one past: nothing is lost, nothing is said twice."""
    s = paper.Street(4, paper.fresh_folder(8000))
    s.good = s.members.good = AllGood()
    for m in s.meters:
        m.signer.sign = lambda message: sha256(message) * 2
        m.node.members.good = s.good
    flash = Flash(160)
    vfs.VfsLfs2.mkfs(flash)
    vfs.mount(vfs.VfsLfs2(flash), "/lost")
    lost = s.meters[3] = paper.Meter(s, 3, s.meters[3].signer, "/lost/")
    s.run(1)
    cut, dead = 0, True
    while dead:
        cut += 1
        long_ago(s, 12)
        before = lost.node.final.iteration
        flash = power(flash, cut)
        end = s.genesis.start_ms(s.genesis.slot_at(s.now) + 1)
        try:
            back(s)
        except OSError:
            flash = power(flash)
            lost.boot()
            assert lost.node.final.iteration >= before
            lost.reconnect()
            s.play(end)
        check_same_state(s)
        assert [m.counts.get("equivocation") for m in s.meters] == [None] * 4
        ring = lost.node.ring
        assert ring.next == s.meters[0].node.ring.next and [h.slot for h in [Header.parse(raw) for _, raw in ring.iterate(0, ring.next)]][-1] == lost.node.final.slot
        dead = not flash.cut
    gc.collect()
    vfs.umount("/lost")
    assert cut > 50


def test_a_street_without_a_quorum_goes_on_when_it_has_one_again():
    s = street(4)
    s.run(3)
    for m in s.meters[2:]:
        m.up = False
    s.run(3)
    assert s.meters[0].node.final.slot == 2, "two of four are no quorum"
    for m in s.meters[2:]:
        m.up = True
        m.reconnect()
    slot = s.genesis.slot_at(s.now)
    s.run(2)
    assert final_by(s, slot) == [0, 1, 2, 3]
    check_same_state(s)


def test_an_answer_that_is_changed_in_any_part_moves_nothing():
    s = street(4)
    s.run(3)
    lost = s.meters[3]
    lost.up = False
    s.run(3)
    answers = []
    s.meters[0].publish = lambda kind, payload, member=None: answers.append(b"".join(list(payload.pieces)))
    s.meters[0].node.publish = s.meters[0].publish
    ask = catchup.Ask(member=3, to=0, iteration=0, slot=lost.node.final.slot + 1, count=3, domain=lost.node.members.domain)
    s.meters[0].node.catchup._answer(ask)
    good = answers[0]
    node, refused = lost.node, {}

    def read(answer):
        """(header, accumulator, state, evidence, where the headers begin), checked as a meter does."""
        cursor = Cursor(answer)
        cursor.take(3)
        final = node.catchup.read_final(cursor)
        proofs = cursor.records(Evidence, MAX_MEMBERS)
        tops = [cursor.take(32) for _ in range(cursor.uint(1))]
        at = cursor.at
        node.catchup._check_final(s.now, cursor.records(Header, 8), tops, proofs, *final)
        return final[1].pack(), final[3], final[4], len(proofs), at

    meant = read(good)
    for at in range(3, len(good), 5):
        bad, node.catchup.asked = good[:at] + bytes([good[at] ^ 4]) + good[at + 1:], 1
        try:
            if at < meant[4]:
                read(bad)
            else:
                node.catchup.receive(topics.CHAIN, 0, bad, s.now)
            assert False, at
        except Reject as e:
            refused[e.code] = refused.get(e.code, 0) + 1
    assert node.final.slot == 2 and {"proof-mismatch", "proof-wrong", "bad-signature", "broken-chain"} <= set(refused), refused
    node.catchup.asked = 1
    node.catchup.receive(topics.CHAIN, 0, good, s.now)
    assert node.final.slot == s.meters[0].node.final.slot
