"""Receipts of a street on paper, made here by the meter's own tree code: what holds is taken, and no other byte is."""
import struct

import paper
from prosumer.codec import Cursor
from prosumer.errors import Reject
from prosumer.identity.members import Members
from prosumer.ledger import merkle, proofs, receipt, salted
from prosumer.ledger.state import State
from prosumer.records import FINALIZE, VOTE, Certificate, Header, Proposal, vote_message

SLOT = 4  # sold and bought in it; its reading is in block 5
made = {}


class Kept:
    regime = bytes(15)  # epoch 0, nobody excluded, genesis number 0, no evidence

    """A played street, with every block, state and certificate of it."""

    def __init__(self):
        self.street = s = paper.Street(4, paper.fresh_folder())
        s.forget = lambda slot: None
        self.states = {}
        final = s.final

        def keep(meter, header):
            final(meter, header)
            self.states[header.slot] = meter.node.final.state
        s.final = keep
        s.run(7)
        self.headers = [Header.parse(list(s.finals[slot])[0]) for slot in range(6)]
        self.members = Members(s.genesis)
        self.feeder = s.genesis.feeder_id

    def proposal(self, slot):
        return Proposal.parse(self.street.proposals[self.headers[slot].hash(self.feeder)])

    def certificate(self, slot, kind=FINALIZE, signers=(0, 1, 2)):
        h = self.headers[slot]
        digest = h.hash(self.feeder)
        message = vote_message(self.members.domain, kind, h.iteration, digest)
        return Certificate(kind, h.iteration, digest, {m: paper.signer("member %d" % m).sign(message) for m in signers})

    def leaf(self, which, slot, tree, index, data=None):
        body = self.proposal(slot).body
        records = list((body if tree == salted.BODY else State.parse(self.states[slot])).leaves())
        salts = [salted.leaf_salt(body.salt, tree, i) for i in range(len(records))]
        path = proofs.prove(proofs.nodes_of([merkle.hash_leaf(x, r) for x, r in zip(salts, records)]), len(records), index)
        data = records[index] if data is None else data
        return struct.pack(">B1sHH", which, tree, index, len(records)) + salts[index] + struct.pack(">H", len(data)) + data + bytes([len(path) // 32]) + path

    def place(self, slot, first, member):
        return [i for i, r in enumerate(self.proposal(slot).body.leaves()) if r[0] == first and r[1] == member][0]

    def seal(self, member):
        return [c.signature for c in self.proposal(SLOT - 2).body.commits if c.member == member][0]

    def receipt(self, member, slot=SLOT, certificate=None, links=None, leaves=None, seal=None, regime=None):
        """Headers of blocks SLOT + 1, SLOT, SLOT - 1 by hash links, unless told otherwise."""
        certificate = certificate or self.certificate(SLOT + 1)
        links = links or [self.headers[SLOT + 1].raw, b"\0" + self.headers[SLOT].raw, b"\0" + self.headers[SLOT - 1].raw]
        if leaves is None:
            leaves = [self.leaf(2, SLOT - 1, b"S", 3 * member + 3), self.leaf(2, SLOT - 1, b"b", self.place(SLOT - 1, 3, member)),
                      self.leaf(0, SLOT + 1, b"b", self.place(SLOT + 1, 1, member))]
        return b"".join([bytes([14, member]) + slot.to_bytes(4, "big") + (self.regime if regime is None else regime)] + certificate.pieces() + [bytes([len(links)])] + links
                        + [bytes([len(leaves)])] + leaves + [self.seal(member) if seal is None else seal])

    def code(self, data):
        try:
            receipt.Receipt(data, {0: self.street.genesis}, lambda genesis: self.members)
        except Reject as e:
            return e.code
        return None


def kept():
    if not made:
        made["kept"] = Kept()
    return made["kept"]


def test_a_receipt_shows_reading_order_and_trade():
    k = kept()
    for m in range(4):
        r = receipt.Receipt(k.receipt(m), {0: k.street.genesis}, lambda genesis: k.members)
        before = State.parse(k.states[SLOT - 1])
        fills = before.fills(SLOT)
        price = [t[1] for a in before.accounts for t in a.open() if t[0] == SLOT][0]
        assert (r.member, r.slot, r.header.slot, r.settled.slot, r.cleared.slot) == (m, SLOT, SLOT + 1, SLOT + 1, SLOT - 1)
        assert r.trade == ([price] + list(fills[m]) if m in fills else [0, 0, 0])
        assert (r.order.member, r.order.slot, r.reading.member, r.reading.slot) == (m, SLOT, m, SLOT)
        assert r.signatures == r.quorum == 3 and not r.account and not r.others and r.open is r.rules is None
    assert len([m for m in range(4) if m in fills]) > 1, "nobody traded"


def test_own_account_and_any_other_record():
    k = kept()
    account = k.receipt(1, SLOT, k.certificate(SLOT), [k.headers[SLOT].raw], [k.leaf(0, SLOT, b"S", 4)], bytes(64))
    r = receipt.Receipt(account, {0: k.street.genesis}, lambda genesis: k.members)
    assert r.account.pack() == State.parse(k.states[SLOT]).accounts[1].pack() and r.reading is r.order is r.trade is None
    commit = k.receipt(1, SLOT, k.certificate(SLOT), [k.headers[SLOT].raw], [k.leaf(0, SLOT, b"b", 0)], bytes(64))
    r = receipt.Receipt(commit, {0: k.street.genesis}, lambda genesis: k.members)
    assert [(h.slot, d[0]) for h, d in r.others] == [(SLOT, 2)]


def test_rules_and_open_trades_are_shown_when_the_owner_wants():
    k = kept()
    state = State.parse(k.states[SLOT - 1])
    rules = k.receipt(1, leaves=[k.leaf(2, SLOT - 1, b"S", 0)], seal=bytes(64))
    r = receipt.Receipt(rules, {0: k.street.genesis}, lambda genesis: k.members)
    g = k.street.genesis
    assert r.rules == [g] + list(state.limits) and state.slot == SLOT and state.limits == [g.import_limit_mwh, g.export_limit_mwh]
    assert r.trade is r.account is r.open is r.reading is None
    for m in range(4):
        still = k.receipt(m, leaves=[k.leaf(1, SLOT, b"S", 3 * m + 2)], seal=bytes(64))
        r = receipt.Receipt(still, {0: k.street.genesis}, lambda genesis: k.members)
        assert sorted(r.open.items()) == [(t[0], list(t[1:])) for t in State.parse(k.states[SLOT]).accounts[m].open() if t[0] <= SLOT]
        assert r.trade is r.account is r.rules is None
    assert [m for m in range(4) if [t for t in state.accounts[m].open() if t[0] < SLOT]], "nobody had another open trade"


def test_what_a_packed_state_of_the_older_layout_says():
    k = kept()
    now = k.states[SLOT]
    for first in (4, 127, 0):
        try:
            State.parse(bytes([first]) + now[1:])
        except Reject as e:
            assert e.code == "older-layout"
        else:
            raise AssertionError(first)


def test_a_meter_with_a_state_of_the_older_layout_says_so_and_does_not_start():
    from prosumer import durable
    from prosumer.ledger.catchup import in_force
    s = paper.Street(4, paper.fresh_folder())
    s.run(3)
    meter = s.meters[1].node
    saved = durable.load(meter.folder + "final")
    at = saved.index(meter.final.state)
    assert in_force(s.genesis, meter.folder) is s.genesis and saved[at] == 128 + 4
    durable.save(meter.folder + "final", saved[:at] + b"\4" + saved[at + 1:])
    try:
        in_force(s.genesis, meter.folder)
    except Reject as e:
        assert e.code == "older-layout"
    else:
        raise AssertionError("started")


def test_an_older_header_by_the_accumulator():
    k = kept()
    hashes = [h.hash(k.feeder) for h in k.headers[:SLOT + 1]]
    path = proofs.prove_inclusion(proofs.header_nodes(hashes), SLOT + 1, SLOT - 1)
    by = b"\1" + struct.pack(">IIB", SLOT + 1, SLOT - 1, len(path) // 32) + path
    links = [k.headers[SLOT + 1].raw, by + k.headers[SLOT - 1].raw]
    leaves = [k.leaf(1, SLOT - 1, b"S", 6)]
    good = k.receipt(1, SLOT, None, links, leaves, bytes(64))
    assert receipt.Receipt(good, {0: k.street.genesis}, lambda genesis: k.members).cleared.slot == SLOT - 1
    for wrong in (k.headers[SLOT - 2].raw, k.headers[SLOT].raw):
        assert k.code(k.receipt(1, SLOT, None, [links[0], by + wrong], leaves, bytes(64))) == "proof-wrong"
    assert k.code(k.receipt(1, SLOT, None, [links[0], b"\2" + by[1:] + k.headers[SLOT - 1].raw], leaves, bytes(64))) == "broken-chain"


def test_every_other_byte_is_refused():
    k = kept()
    good = k.receipt(2)
    assert k.code(good) is None
    bad = bytearray(good)
    for at in range(0, len(good), 3):
        bad[at] ^= 1 << at % 8
        assert k.code(bytes(bad)), at
        bad[at] = good[at]
    for cut in range(0, len(good), 37):
        assert k.code(good[:cut]) in ("truncated", "too-many", "wrong-length", "no-quorum", "header-missing"), cut
    assert k.code(good + b"\0") == "trailing-bytes"
    assert k.code(good + bytes(4096)) == "too-long"


def test_too_few_or_other_signatures_prove_nothing():
    k = kept()
    assert k.code(k.receipt(2, certificate=k.certificate(SLOT + 1, signers=(0, 3)))) == "no-quorum"
    assert k.code(k.receipt(2, certificate=k.certificate(SLOT + 1, VOTE))) == "no-quorum", "a notarized block need not become final"
    assert k.code(k.receipt(2, certificate=k.certificate(SLOT))) == "proof-mismatch"
    c = k.certificate(SLOT + 1)
    signatures = c.signatures
    signatures[1] = signatures[0]
    changed = Certificate(c.kind, c.iteration, c.header_hash, signatures)
    assert k.code(k.receipt(2, certificate=changed)) == "bad-signature"


def test_what_shows_nothing_is_no_receipt():
    k = kept()
    for slot in (SLOT, 4000000):
        assert k.code(k.receipt(1, slot, leaves=[], seal=bytes(64))) == "record-missing"


def test_another_members_or_slots_record_is_refused():
    k = kept()
    reading = k.leaf(0, SLOT + 1, b"b", k.place(SLOT + 1, 1, 1))
    order = k.leaf(2, SLOT - 1, b"b", k.place(SLOT - 1, 3, 1))
    assert k.code(k.receipt(2, leaves=[reading])) == "wrong-slot"
    assert k.code(k.receipt(2, leaves=[order])) == "wrong-slot"
    assert k.code(k.receipt(1, SLOT + 1, leaves=[reading])) == "wrong-slot"
    assert k.code(k.receipt(1, leaves=[reading, reading], seal=bytes(64))) == "wrong-slot", "twice the same"
    assert k.code(k.receipt(1, leaves=[reading])) == "proof-mismatch", "a seal without an order"
    assert k.code(k.receipt(1, leaves=[order], seal=k.seal(2))) == "bad-signature"
    for index in (1, 2, 3, 7, 8, 9, 13, 14):
        assert k.code(k.receipt(1, leaves=[k.leaf(2, SLOT - 1, b"S", index)], seal=bytes(64))) == "proof-index", index
    for index in (4, 5):
        assert k.code(k.receipt(1, leaves=[k.leaf(2, SLOT - 1, b"S", index)], seal=bytes(64))) == "wrong-slot", "account and open trades before"
    for index in (0, 6):
        assert k.code(k.receipt(1, leaves=[k.leaf(0, SLOT + 1, b"S", index)], seal=bytes(64))) == "wrong-slot", "rules and trade of another slot"
    for index in (13, 14):
        assert k.code(k.receipt(4, leaves=[k.leaf(2, SLOT - 1, b"S", index)], seal=bytes(64))) == "not-a-member", "the common accounts"
    assert k.code(k.receipt(4, leaves=[], seal=bytes(64))) == "not-a-member"


def test_a_leaf_is_not_another_trees():
    k = kept()
    state = k.leaf(2, SLOT - 1, b"S", 6)
    assert k.code(k.receipt(1, leaves=[state[:1] + b"b" + state[2:]], seal=bytes(64))) == "proof-wrong"
    assert k.code(k.receipt(1, leaves=[state[:1] + b"x" + state[2:]], seal=bytes(64))) == "proof-index"
    assert k.code(k.receipt(1, leaves=[state[:1] + b"s" + state[2:]], seal=bytes(64))) == "older-layout"
    assert k.code(k.receipt(1, leaves=[b"\7" + state[1:]], seal=bytes(64))) == "proof-index"
    good = k.leaf(0, SLOT + 1, b"b", k.place(SLOT + 1, 1, 1))
    forged = k.leaf(0, SLOT + 1, b"b", k.place(SLOT + 1, 1, 1), data=good[24:24 + 93] + b"\1" + good[24 + 94:24 + 157])
    assert k.code(k.receipt(1, leaves=[forged], seal=bytes(64))) == "proof-wrong"


def test_headers_must_lead_to_one_another():
    k = kept()
    h = [x.raw for x in k.headers]
    assert k.code(k.receipt(1, links=[h[SLOT + 1], b"\0" + h[SLOT - 1]], leaves=[], seal=bytes(64))) == "broken-chain"
    assert k.code(k.receipt(1, links=[h[SLOT]], leaves=[], seal=bytes(64))) == "proof-mismatch"
    assert Cursor(k.receipt(1)).uint(1) == 14
