"""Back after a day, a week, a year: one answer, checked by its certificate, brings a meter to the newest final header, whatever it missed."""
import hashlib

from prosumer.codec import Cursor
from prosumer.errors import Reject
from prosumer.ledger import catchup
from prosumer.ledger.mmr import MMR
from prosumer.link import topics
from prosumer.records import MAX_MEMBERS, Evidence
from test_ledger_node import check_same_state, final_by, street

DAY = 96
YEAR = 365 * DAY


class Talk:
    """What goes to and from one meter about catching up: (kind, bytes)."""

    def __init__(self, s, meter):
        self.said, send = [], s.send

        def heard(sender, kind, member, payload):
            if kind in (topics.ASK, topics.CHAIN):
                self.said.append((kind, len(payload)))
            send(sender, kind, member, payload)

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


def test_after_a_day_one_answer_is_enough():
    s = street(4)
    s.run(3)
    talk = away(s, DAY)
    assert max(talk.answers()) == talk.answers()[0] < 3500 and sum(talk.answers()) < 4500, talk.said


def test_a_year_costs_no_more_than_a_day():
    """Nothing in an answer grows with the time away but the accumulator's peaks, of which a year has 17 at most."""
    s = street(4)
    history = MMR()
    for i in range(131071):  # all peaks there can be: 17
        history.append(hashlib.sha256(b"%d" % i).digest())
    for m in s.meters:
        m.node.final.before = history.serialize()
    s.run(3)
    talk = away(s, YEAR, played=4)
    assert max(talk.answers()) == talk.answers()[0] < 4100 and sum(talk.answers()) < 5100, talk.said


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
    ask = catchup.Ask(member=3, to=0, iteration=0, slot=lost.node.final.slot + 1, domain=lost.node.members.domain)
    s.meters[0].node.catchup._answer(ask)
    good = answers[0]
    node, refused = lost.node, {}

    def read(answer):
        """(header, accumulator, state, evidence, where the headers begin), checked as a meter does."""
        cursor = Cursor(answer)
        cursor.take(3)
        regime, header, certificate, before, packed = node.catchup.read_final(cursor)
        proofs = cursor.records(Evidence, MAX_MEMBERS)
        node.catchup._check_final(regime, header, certificate, before, packed, proofs)
        return header.pack(), before, packed, len(proofs), cursor.at

    meant = read(good)
    for at in range(3, len(good), 5):
        bad = good[:at] + bytes([good[at] ^ 4]) + good[at + 1:]
        try:
            if at < meant[4]:
                read(bad)
            else:
                node.catchup.receive(topics.CHAIN, 0, bad, s.now)
            assert False, at
        except Reject as e:
            refused[e.code] = refused.get(e.code, 0) + 1
    assert node.final.slot == 2 and {"proof-mismatch", "bad-signature", "broken-chain"} <= set(refused), refused
    node.catchup.receive(topics.CHAIN, 0, good, s.now)
    assert node.final.slot == s.meters[0].node.final.slot
