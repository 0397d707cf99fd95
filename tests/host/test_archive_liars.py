"""Whoever may write on one topic of the broker, or hands over a file, neither stops the archive nor makes it believe anything."""
import json
import os
import socket
import struct

import pytest
from chain_kit import RETAIL, Paper, genesis, key
from postgres_kit import create, postgres, url  # noqa: F401 (fixtures)
from test_archive_serve import Voice, broker, said, until  # noqa: F401 (fixture)

from prosumer_tools.archive import format, http
from prosumer_tools.archive.chain import Refused
from prosumer_tools.archive.check import check
from prosumer_tools.archive.database import Database, DatabaseError
from prosumer_tools.archive.listen import Ear, Listener
from prosumer_tools.archive.store import MOST_OF_ONE, Archive

def new(url, slots=3):
    """(archive, street, its ear, what it told) after some slots."""
    archive, street, told = Archive(Database(url)), Paper(4), []
    archive.enrol(street.record)
    ear = Ear(archive, street.feeder, told.append)
    for _ in range(slots):
        tell(ear, said(street))
    assert archive.chain(street.feeder).height == slots
    return archive, street, ear, told


def tell(ear, messages):
    for message in messages:
        ear.hear(*message)


def signed(street, raw, proposer):
    """The signature of a header's proposer."""
    digest = format.header_at(b"\x09" + raw).hash(street.feeder)
    return street.keys[proposer].sign(b"prosumer/vote/v1\0" + street.books.domain() + struct.pack(">BI", 2, int.from_bytes(raw[5:9], "big")) + digest)


def rubbish(street, slot, number, signer=None, size=0):
    """A proposal behind a gap whose body is the one of its header, of nothing."""
    body = b"\x08" + os.urandom(16) + bytes(7)
    head = struct.pack(">BIIB32s32s", 5, slot, 1000 + number, signer or 0, os.urandom(32), bytes(32))
    draft = format.block_of(b"\x09" + head + bytes(72 + 64) + body)
    raw = head + format.body_root(draft) + bytes(40)
    return b"\x09" + raw + (bytes(64) if signer is None else signed(street, raw, signer)) + body + bytes(size)


# -- questions


QUESTIONS = [b"", b"\xff", b"[" * 4000, b'{"a":' * 800, b"7", b"[]", b"null", b"{}", b'{"ask": []}', b'{"ask": {"a": 1}}', b'{"ask": "status", "id": [[1]], "x": 1}',
             b'{"ask": "block", "slot": 1}', b'{"ask": "' + b"x" * 5000 + b'"}']
QUESTIONS += [json.dumps({"id": 1, "ask": what, name: value}).encode()
              for what, name in (("headers", "first"), ("headers", "count"), ("receipt", "slot"), ("search", "limit"), ("catch-up", "old"), ("genesis", "number"))
              for value in (10**30, -1, 2**64, float("inf"), 1.5, "x", "a\0b", [1], {"a": 1}, "9" * 3000)]
QUESTIONS += [json.dumps({"id": 1, "ask": "search", "kind": kind, "side": side}).encode()
              for kind, side in (("coins", "a\0b"), ("coins", "\ud800"), ("coins", 7), ("coins", "x" * 900), (7, "minted"), ([], "minted"), ("trades", ["sold", 1]))]


def test_no_question_does_more_than_get_an_error(url):
    archive, street, _, _ = new(url)
    listener = Listener.__new__(Listener)
    listener.archive = archive
    for question in QUESTIONS:
        assert json.loads(json.dumps(listener.asked(street.feeder, 2, question)))["error"], question
    good = listener.asked(street.feeder, 2, b'{"id": "a", "ask": "account", "show": ["account", "rules"], "slot": 2}')
    assert good["id"] == "a" and good["account"]
    assert listener.asked(street.feeder, 2, b'{"ask": "search", "kind": "readings", "member": 2, "proofs": false}')["search"]["hits"]
    assert archive.take(street.feeder, *street.block()) == 1


def test_the_listener_lives_through_them(broker):
    archive, street, _, told = new(":memory:")
    listener = Listener(archive, broker.host, broker.port, told=told.append).start()
    until(lambda: "listening to 1 feeder" in told)
    voice = Voice(broker, street.feeder)
    for question in (b"[" * 100_000, b'{"ask": "headers", "first": %d}' % 10**30, b'{"ask": "headers", "first": [1]}'):
        voice.client.publish(f"a/{street.feeder.hex()[:8]}/ask/2", question, qos=1).wait_for_publish(10)
        until(lambda: (2, None) in voice.heard)
        assert voice.heard.pop((2, None))["error"]
    voice.say(said(street))
    until(lambda: archive.chain(street.feeder).height == 4)
    assert not listener.ended.is_set()
    voice.stop()
    listener.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # so it is to end
def test_a_listener_that_fails_in_any_way_says_so(broker):
    archive, street, _, told = new(":memory:")
    listener = Listener(archive, broker.host, broker.port, told=told.append).start()
    until(lambda: "listening to 1 feeder" in told)

    def full(text):
        raise OSError("no space left on device")
    listener.ears[street.feeder].told = full
    voice = Voice(broker, street.feeder)
    voice.say(said(street))
    assert listener.ended.wait(10) and listener.failure == "no space left on device"
    voice.stop()
    listener.stop()


def test_what_a_decoder_cannot_bear_is_told(monkeypatch):
    archive, street, ear, told = new(":memory:")
    with monkeypatch.context() as patch:
        patch.setattr(format, "proposal_fault", lambda *_: struct.unpack(">I", b""))
        tell(ear, said(street))
    assert "a proposal of member" in told[-1] and "cannot be read: error" in told[-1]
    tell(ear, [("proposal", 0, b"")])


# -- proposals


def test_a_false_body_under_a_true_header_is_not_kept(url):
    archive, street, ear, told = new(url)
    messages = said(street)
    proposal = messages[0][2]
    ear.hear("proposal", 3, proposal[:147 + 64] + b"\x08" + bytes(16 + 7))
    assert told[-1] == "block 3: its body is not the one that the header names"
    tell(ear, messages)
    tell(ear, said(street))
    assert archive.chain(street.feeder).height == 5


def test_a_copy_with_a_false_signature_gives_way_to_the_true_one(url):
    """Behind a gap nobody knows yet who votes, so the signature cannot be checked."""
    archive, street, ear, told = new(url)
    gap = said(street)
    street.amend(retail=260_000)
    stop, after = said(street), said(street)
    proposer, proposal = after[0][1], after[0][2]
    copy = proposal[:147] + bytes(64) + proposal[147 + 64:]
    liar = (proposer + 1) % 4
    tell(ear, [stop[0], ("proposal", liar, copy), after[0], ("proposal", liar, copy)])
    tell(ear, gap)
    tell(ear, stop[1:])
    tell(ear, after[1:])
    assert archive.chain(street.feeder).height == 6, told
    assert check(archive, street.feeder).ok


def test_of_those_that_wait_only_the_false_one_goes(url):
    """A copy with a false signature below a certified block: when the true one comes, both join."""
    archive, street, ear, told = new(url)
    gap, proposal, above = street.block(), street.block(certified=False)[0], street.block()
    copy = proposal[:147] + bytes(64) + proposal[147 + 64:]
    archive.take(street.feeder, copy)
    archive.take(street.feeder, *above)
    with pytest.raises(Refused, match="its proposer did not sign it"):
        archive.take(street.feeder, *gap)
    assert archive.gap(street.feeder) == (3, [5])
    assert archive.take(street.feeder, proposal) == 2 and check(archive, street.feeder).ok


def test_a_false_certificate_does_not_take_its_block_along(url):
    archive, street, ear, told = new(url)
    gap, (proposal, good) = street.block(), street.block()
    archive.take(street.feeder, proposal, good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(Refused, match="good signatures"):
        archive.take(street.feeder, *gap)
    assert archive.chain(street.feeder).height == 4 and archive.proposal_of(street.feeder, street.tip)
    assert archive.take(street.feeder, *street.block()) == 2, "final by the next"


@pytest.mark.parametrize("signer", [None, 3])
def test_a_flood_drives_out_nobody_elses_blocks(url, signer):
    archive, street, ear, told = new(url)
    blocks = [said(street) for _ in range(3)]
    tell(ear, blocks[2][:1])  # waits, and then the flood
    for i in range(MOST_OF_ONE + 20):
        ear.hear("proposal", 3, rubbish(street, 3 + i % 3, i, signer))
    assert archive.db.one("SELECT count(*) FROM waiting WHERE sender = 3")[0] <= MOST_OF_ONE + 1
    tell(ear, blocks[2][1:])
    tell(ear, blocks[1])
    tell(ear, blocks[0])
    assert archive.chain(street.feeder).height == 6
    assert archive.db.one("SELECT count(*) FROM waiting")[0] == 0, "they were of slots that are past"


def test_what_no_meter_could_hold_or_has_not_come_is_not_kept():
    archive, street, ear, told = new(":memory:")
    ear.hear("proposal", 3, rubbish(street, 5, 1, size=format.MOST_BYTES))
    assert "no meter could receive it" in told[-1]
    archive.clock = lambda: street.genesis.start_s + 10 * street.genesis.slot_s
    for slot in (13, 0xFFFFFFFF):
        ear.hear("proposal", 3, rubbish(street, slot, 1))
        assert told[-1] == f"a proposal for slot {slot}, which has not come"
    ear.hear("proposal", 3, rubbish(street, 12, 1))
    assert archive.db.all("SELECT slot FROM waiting") == [(12,)]
    archive.clock = lambda: 0  # it lost its time
    tell(ear, said(street))
    assert archive.chain(street.feeder).height == 4


# -- who votes


def test_nobody_but_the_operator_changes_who_votes(url):
    """A block that puts keys of the forger's in force, and one behind it that these certify."""
    archive, street, _, _ = new(url, 0)
    for _ in range(3):
        archive.take(street.feeder, *street.block())
    evil = [key(f"evil {i}") for i in range(4)]
    record = genesis(key("operator"), evil, street.name, 1, street.feeder, street.genesis.hash, RETAIL)
    street.extra[2].append(record[:-64] + bytes(64))
    street.then = evil, None
    street.body = lambda slot: [[], [], [], [], *street.extra]
    stop, _ = street.block()  # its proposer may be one of the forgers
    street.extra = [], [], []
    assert archive.take(street.feeder, stop) == 0
    with pytest.raises(Refused, match="amendment 1: the operator's signature does not match"):
        archive.take(street.feeder, *street.block())
    assert archive.genesis(street.feeder).number == 0 and archive.chain(street.feeder).height == 3


def test_nobody_is_excluded_by_false_evidence(url):
    archive, street, _, _ = new(url)
    street.lie(2)
    (evidence,) = street.extra[1]
    street.extra[1][:] = [evidence[:-1] + bytes([evidence[-1] ^ 1])]
    archive.take(street.feeder, street.block()[0])
    with pytest.raises(Refused, match="evidence against member 2: a signature does not match"):
        archive.take(street.feeder, *street.block())
    assert archive.chain(street.feeder).height == 3


def test_votes_outlast_a_restart(url):
    """Of a block that changes who votes, for nobody certifies it afterwards."""
    archive, street, ear, told = new(url)
    street.amend(retail=260_000)
    messages = said(street)
    tell(ear, messages[:3])
    archive.db.close()
    archive = Archive(Database(url))
    ear = Ear(archive, street.feeder, told.append)
    tell(ear, messages[3:4])
    assert archive.genesis(street.feeder).number == 1
    tell(ear, said(street))
    assert archive.chain(street.feeder).height == 5 and check(archive, street.feeder).ok


def test_a_feeder_is_what_its_first_genesis_says(url):
    archive, street = Archive(Database(url)), Paper(4)
    evil = genesis(key("mallory"), [key(f"evil {i}") for i in range(4)], street.name, 1, street.feeder, bytes(32))
    with pytest.raises(Refused, match="genesis number 1 is an amendment"):
        archive.enrol(evil)
    assert archive.feeders() == []
    assert archive.enrol(street.record) == archive.enrol(street.record) == street.feeder
    archive.db.do("UPDATE genesis SET record = ?", evil)
    with pytest.raises(Refused, match="is here already, with another genesis"):
        archive.enrol(street.record)


def test_an_archive_of_before_is_refused(url):
    database = Database(url)
    database.do("UPDATE meta SET value = '3'")
    database.close()
    with pytest.raises(DatabaseError, match="version 3.*prosumer archive import NEW OLD"):
        Database(url)


# -- over HTTP


def test_who_holds_all_connections_leaves_others_waiting_not_the_machine(monkeypatch):
    monkeypatch.setattr(http, "MOST_ASKERS", 3)
    archive, street, _, _ = new(":memory:")
    server = http.Server(archive).start()
    held = [socket.create_connection(server.server_address) for _ in range(3)]
    ask = b"GET /%s/headers?count=2 HTTP/1.1\r\n\r\n" % street.feeder.hex().encode()
    for link in held:
        link.sendall(ask)
        assert link.recv(99).startswith(b"HTTP/1.1 200")
    with socket.create_connection(server.server_address) as late:
        late.settimeout(10)
        assert late.recv(99).startswith(b"HTTP/1.1 503")
    held.pop().close()

    def let_in():
        with socket.create_connection(server.server_address) as link:
            link.settimeout(10)
            link.sendall(ask)
            try:
                return link.recv(99).startswith(b"HTTP/1.1 200")
            except ConnectionError:
                return False
    until(let_in)
    for link in held:
        link.close()
    server.shutdown()
    server.server_close()
