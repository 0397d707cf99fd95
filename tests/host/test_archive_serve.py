"""The archive follows a feeder over a real broker, is off for a while, and answers over MQTT and HTTP, to whom it may."""
import base64
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import paho.mqtt.client as mqtt
import pytest
from chain_kit import Paper
from verify_kit import run  # noqa: F401 (fixture)

from prosumer_tools.archive import answers, format, receipts
from prosumer_tools.archive.check import check
from prosumer_tools.archive.database import Database
from prosumer_tools.archive.http import Server
from prosumer_tools.archive.listen import Ear, Listener
from prosumer_tools.archive.store import Archive
from prosumer_tools.commands.check_receipt import check as check_receipts
from prosumer_tools.emulator.broker import Broker, mosquitto
from prosumer_tools.feederkeys import FeederKeys
from prosumer_tools.unixport import run_firmware

KINDS = ["amqtt", "mosquitto"] if mosquitto() else ["amqtt"]


def votes(street, members=None):
    """[(member, finalize vote)] for the street's newest block."""
    return [(m, struct.pack(">BBIB32s", 6, 1, street.iteration, m, street.tip) + street.finalize(m))
            for m in (street.voters if members is None else members)]


def said(street):
    """[(kind, member, payload)] of the next slot, as the meters would say it."""
    proposal, _ = street.block()
    return [("proposal", format.header_at(proposal).proposer, proposal)] + [("vote", m, raw) for m, raw in votes(street)]


# -- what is heard


def new(place=":memory:", n=4):
    archive, street = Archive(Database(place)), Paper(n)
    feeder = archive.enrol(street.record)
    told = []
    return archive, street, feeder, Ear(archive, feeder, told.append), told


def test_a_quorum_of_votes_makes_a_block_final_in_any_order():
    archive, street, feeder, ear, told = new()
    for order in (1, -1, 1):
        for message in said(street)[::order]:
            ear.hear(*message)
    assert archive.chain(feeder).height == 3 and told == ["block 0", "block 1", "block 2"]
    assert archive.certified(feeder, 0, 9) == [0, 1, 2]
    two = said(street)
    for message in two[:3]:
        ear.hear(*message)
    assert archive.chain(feeder).height == 3, "two of four are no quorum"
    for message in said(street):
        ear.hear(*message)
    assert archive.chain(feeder).height == 5 and archive.certified(feeder, 3, 9) == [4], "final by the next one"
    for message in two[3:]:
        ear.hear(*message)
    assert archive.certified(feeder, 3, 9) == [3, 4], "its own certificate came late"
    assert check(archive, feeder).ok


def test_forged_messages_count_for_nothing():
    archive, street, feeder, ear, told = new()
    other = Paper(4, "Another Street")
    messages, foreign = said(street), said(other)
    good = votes(street)
    ear.hear(*messages[0])
    for member, raw in good:
        ear.hear("vote", (member + 1) % 4, raw)                      # under another's name
        ear.hear("vote", member, raw[:-1] + bytes([raw[-1] ^ 1]))
        ear.hear("vote", member, raw[:-1])
        ear.hear("vote", member, b"\6\0" + raw[2:])                  # a vote that is not for finality
        ear.hear("vote", member, foreign[1 + member][2])
        ear.hear("vote", 0, good[0][1])                              # the same one again and again
    ear.hear("vote", 63, b"\6\1" + bytes(101))
    assert archive.chain(feeder).height == 0
    rows = archive.db.one("SELECT count(*) FROM waiting")[0]
    for bad in (foreign[0][2], b"", b"\x09", messages[0][2][:150] + bytes(64) + messages[0][2][214:], b"\x09" + bytes(300)):
        ear.hear("proposal", 0, bad)
    assert archive.db.one("SELECT count(*) FROM waiting")[0] <= rows + 1 == 2, "one that others might have signed behind a gap"
    for message in messages:
        ear.hear(*message)
    assert archive.chain(feeder).height == 1 and archive.db.one("SELECT count(*) FROM waiting")[0] == 0


def test_a_flood_of_signed_rubbish_costs_no_room():
    archive, street, feeder, ear, told = new()
    for i in range(300):
        digest = i.to_bytes(32, "big")
        body = struct.pack(">BBIB32s", 6, 1, 1000 + i, 2, digest)
        ear.hear("vote", 2, body + street.keys[2].sign(b"prosumer/vote/v1\0" + street.books.domain() + struct.pack(">BI32s", 1, 1000 + i, digest)))
    assert archive.db.one("SELECT count(*) FROM votes")[0] == 64
    for message in said(street):
        ear.hear(*message)
    assert archive.chain(feeder).height == 1


# -- over a broker


class Voice:
    """The meters' side of the broker, and a member that asks the archive."""

    def __init__(self, broker, feeder, keys=None):
        self.feeder, self.keys, self.heard = feeder, keys or FeederKeys(feeder, {}), {}
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"voice-{feeder.hex()}")
        self.client.on_message = self._answer
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()
        done = threading.Event()
        self.client.on_subscribe = lambda *_: done.set()
        self.client.subscribe(f"a/{feeder.hex()[:8]}/answer/+", 1)
        assert done.wait(5)

    def _answer(self, client, _, message):
        said = json.loads(self.keys.open("archive-answer", 255, message.payload))
        self.heard[int(message.topic.rsplit("/", 1)[1]), said["id"]] = said

    def say(self, messages):
        for kind, member, payload in messages:
            topic = f"{'b' if kind == 'proposal' else 'p'}/{self.feeder.hex()[:8]}/{kind}/{member}"
            self.client.publish(topic, self.keys.seal(kind, member, payload), qos=1).wait_for_publish(10)

    def ask(self, sender, number, **request):
        payload = self.keys.seal("archive-ask", sender, json.dumps({"id": number, **request}).encode())
        self.client.publish(f"a/{self.feeder.hex()[:8]}/ask/{sender}", payload, qos=1)
        return until(lambda: self.heard.get((sender, number)))

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()


def until(found, seconds=60):
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.02)
    return found()


@pytest.fixture(params=KINDS)
def broker(request, tmp_path):
    b = Broker(tmp_path / "broker", request.param)
    b.start()
    yield b
    b.stop()


@pytest.mark.parametrize("sealed", [False, True])
def test_it_follows_is_off_and_resumes_and_answers(broker, tmp_path, sealed):
    street = Paper(4)
    keys = FeederKeys(street.feeder, {7: bytes(range(32))} if sealed else {})
    archive = Archive(Database(tmp_path / "a.db"))
    feeder = archive.enrol(street.record)
    told = []
    listener = Listener(archive, broker.host, broker.port, told=told.append, keys=lambda: {feeder: keys}).start()
    until(lambda: told == ["listening to 1 feeder"])
    time.sleep(0.2)  # its subscription
    voice = Voice(broker, feeder, keys)
    for _ in range(3):
        voice.say(said(street))
    until(lambda: archive.chain(feeder).height == 3)
    if sealed:
        voice.client.publish(f"b/{feeder.hex()[:8]}/proposal/1", street.block()[0][:200], qos=1)
        street = Paper(4)
        for _ in range(3):
            street.block()
        until(lambda: any("cannot be opened: not-sealed" in t for t in told))
    listener.stop()
    archive.db.close()

    for _ in range(3):  # the street goes on; mosquitto queues, the embedded broker does not
        voice.say(said(street))
    archive = Archive(Database(tmp_path / "a.db"))
    assert archive.chain(feeder).height == 3
    listener = Listener(archive, broker.host, broker.port, told=told.append, keys=lambda: {feeder: keys}).start()
    if broker.kind == "amqtt":
        time.sleep(0.3)
        voice.say(said(street))
        until(lambda: told[-1] == "blocks from slot 6 on wait for one that is missing after slot 2 (waiting: 1)")
        again = Paper(4)
        for _ in range(6):
            archive.take(feeder, *again.block())
    else:
        until(lambda: archive.chain(feeder).height == 6)
        voice.say(said(street))
    until(lambda: archive.chain(feeder).height == 7)
    assert archive.gap(feeder) == (6, []) and check(archive, feeder).ok

    receipt = base64.b64decode(voice.ask(2, 1, ask="receipt", slot=3)["receipt"])
    assert check_receipts([receipt], street.record)[0]["reading"]["settled_slot"] == 4
    assert voice.ask(2, 2, ask="receipt", slot=3, member=1)["error"] == "a member's records are for that member and the operator"
    assert base64.b64decode(voice.ask(255, 3, ask="receipt", slot=3, member=2)["receipt"]) == receipt
    hits = voice.ask(1, 4, ask="search", kind="trades")["search"]["hits"]
    assert hits and {h["member"] for h in hits} == {1}
    assert voice.ask(1, 5, ask="status")["status"]["blocks"] == 7
    assert "no such question" in voice.ask(1, 6, ask="money")["error"]
    assert "unexpected keyword" in voice.ask(1, 7, ask="receipt", slot=3, colour=2)["error"]
    if sealed:
        epochs = dict(keys.epochs)
        keys = FeederKeys(feeder, epochs | {8: bytes(32)})  # the operator's file changed; the archive opens it when it must
        voice.keys = keys
        assert voice.ask(1, 8, ask="status")["status"]["blocks"] == 7
    voice.client.publish(f"a/{feeder.hex()[:8]}/ask/1", keys.seal("archive-ask", 1, b"hello"), qos=1)
    assert 'ask as {"id"' in until(lambda: voice.heard.get((1, None)))["error"]
    voice.stop()
    listener.stop()


def test_a_broker_that_comes_later_is_waited_for(tmp_path):
    broker = Broker(tmp_path / "broker")
    broker.start()
    broker.stop()  # its port is known
    street, told = Paper(4), []
    archive = Archive(Database(tmp_path / "a.db"))
    archive.enrol(street.record)
    listener = Listener(archive, broker.host, broker.port, told=told.append).start()
    until(lambda: told == [f"the broker {broker.host}:{broker.port} cannot be reached: Connection refused; trying again"])
    time.sleep(1.5)
    assert len(told) == 1, "it tries again in silence"
    broker.start()
    until(lambda: told[1:] == ["listening to 1 feeder"])
    listener.stop()
    broker.stop()


def test_an_answer_that_no_broker_takes_is_refused_in_words():
    archive, street, feeder, _, _ = new()
    for _ in range(100):
        archive.take(feeder, *street.block())
    listener = Listener(archive, "127.0.0.1", 1)
    said = listener.asked(feeder, 255, json.dumps({"id": 1, "ask": "search", "kind": "trades"}).encode())
    assert "bytes, and a broker takes 65,000: ask for less at a time" in said["error"] and "search" not in said
    assert len(listener.asked(feeder, 255, json.dumps({"id": 1, "ask": "search", "kind": "trades", "limit": 10}).encode())["search"]["hits"]) == 10


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # so it is to end
@pytest.mark.parametrize("kind", KINDS[1:] or KINDS)
def test_a_database_that_fails_loses_nothing(tmp_path, kind):
    """The listener ends without a word to the broker; the next one gets the message again."""
    broker = Broker(tmp_path / "broker", kind)
    broker.start()
    street = Paper(4)
    archive = Archive(Database(tmp_path / "a.db"))
    feeder = archive.enrol(street.record)
    told = []
    listener = Listener(archive, broker.host, broker.port, told=told.append).start()
    until(lambda: told == ["listening to 1 feeder"])
    time.sleep(0.2)
    voice = Voice(broker, feeder)
    voice.say(said(street))
    until(lambda: archive.chain(feeder).height == 1)
    archive.db.close()
    voice.say(said(street))
    assert listener.ended.wait(10) and "closed" in listener.failure
    again = Archive(Database(tmp_path / "a.db"))
    assert again.chain(feeder).height == 1
    successor = Listener(again, broker.host, broker.port, told=told.append).start()
    if kind == "mosquitto":
        until(lambda: again.chain(feeder).height == 2)
    successor.stop()
    voice.stop()
    broker.stop()


def test_two_who_add_to_one_archive_do_not_hurt_each_other(tmp_path):
    archive, street, feeder, ear, told = new(tmp_path / "a.db")
    other = Archive(Database(tmp_path / "a.db"))
    for i in range(6):
        messages = said(street)
        if i % 2:
            assert other.take(feeder, messages[0][2], street.certificate()) == 1
            other.chains.clear()
        for message in messages:
            ear.hear(*message)
        other.chains.clear()
    assert archive.chain(feeder).height == 6 and check(archive, feeder).ok


def test_the_command_follows_until_it_is_stopped(tmp_path):
    street = Paper(4)
    (tmp_path / "genesis.bin").write_bytes(street.record)
    broker = Broker(tmp_path / "broker")
    broker.start()
    command = [sys.executable, "-m", "prosumer_tools.cli", "archive", "follow", tmp_path / "a.db", "--broker", f"{broker.host}:{broker.port}",
               "--genesis", tmp_path / "genesis.bin", "--http", "127.0.0.1:0"]
    child = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ, PYTHONUNBUFFERED="1"))
    try:
        url = child.stdout.readline().split()[-1]
        assert child.stdout.readline() == "listening to 1 feeder\n"
        time.sleep(0.3)
        voice = Voice(broker, street.feeder)
        voice.say(said(street))
        assert child.stdout.readline() == "block 0\n"
        with urllib.request.urlopen(f"{url}/{street.feeder.hex()}/status") as answer:
            assert json.loads(answer.read())["blocks"] == 1
        voice.stop()
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=180)
        assert child.returncode == 130 and errors.strip() == "stopped"
    finally:
        child.kill()
        broker.stop()
    assert Archive(Database(tmp_path / "a.db")).chain(street.feeder).height == 1


# -- over HTTP


@pytest.fixture
def server():
    archive, street = Archive(Database(":memory:")), Paper(4)
    feeder = archive.enrol(street.record)
    for _ in range(12):
        archive.take(feeder, *street.block())
    server = Server(archive).start()
    yield server, archive, feeder, street
    server.shutdown()
    server.server_close()


def get(server, path, token=None):
    request = urllib.request.Request(server.url + path, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            data = answer.read()
            return answer.status, json.loads(data) if answer.headers["Content-Type"] == "application/json" else data
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_http_answers_everybody_a_member_and_the_operator(server):
    server, archive, feeder, street = server
    root = f"/{feeder.hex()}"
    assert get(server, "/") == (200, {"feeders": [{"feeder": feeder.hex(), "street": "Chain Street"}]})
    assert get(server, root + "/genesis") == (200, street.record)
    assert get(server, root + "/status")[1]["last_slot"] == 11
    code, headers = get(server, root + "/headers?first=3&count=4")
    assert code == 200 and headers == (4).to_bytes(4, "big") + b"".join(archive.proposal(feeder, h)[1:147] for h in range(3, 7))
    found = get(server, root + "/header?slot=4")[1]
    parts = {k: base64.b64decode(found[k]) for k in ("header", "newest", "proof", "receipt")}
    assert (found["index"], found["count"], parts["header"], parts["newest"]) == (4, 11, archive.proposal(feeder, 4)[1:147], archive.proposal(feeder, 11)[1:147])
    assert check_receipts([parts["receipt"]], street.record)[0]["header"] == archive.chain(feeder).tip.hex()
    assert "the newest is that of slot 11" in get(server, root + "/header?slot=12")[1]["error"]

    mine, all_of_it = answers.new_token(archive, feeder, 1), answers.new_token(archive, feeder, answers.OPERATOR)
    assert mine not in str(archive.db.all("SELECT * FROM tokens"))
    for path in ("/receipt?slot=4&member=1", "/account?member=1", "/search?kind=trades&member=1"):
        assert get(server, root + path)[0] == 403
        assert get(server, root + path, "guessed")[0] == 403
        assert get(server, root + path, mine)[0] == get(server, root + path, all_of_it)[0] == 200
        assert get(server, root + path.replace("member=1", "member=2"), mine)[0] == 403
        assert get(server, root + path.replace("member=1", "member=2"), all_of_it)[0] == 200
    assert get(server, root + "/block?slot=4", mine)[0] == 403
    assert get(server, root + "/block?slot=4", all_of_it)[1][4:] == b"".join(archive.bytes_of(feeder, 4))
    data = get(server, root + "/receipt?slot=4", mine)[1]
    assert data == receipts.receipt(archive, feeder, 1, 4)
    assert get(server, root + "/receipt?slot=4&show=trade,rules", mine)[1] == receipts.receipt(archive, feeder, 1, 4, ("trade", "rules"))
    assert "cannot show all" in get(server, root + "/receipt?slot=4&show=all", mine)[1]["error"]
    hits = get(server, root + "/search?kind=readings", mine)[1]["hits"]
    assert {h["member"] for h in hits} == {1} and base64.b64decode(hits[3]["receipt"])[0] == 14
    assert {h["member"] for h in get(server, root + "/search?kind=readings&proofs=0&first=4&last=4", all_of_it)[1]["hits"]} == {0, 1, 2, 3}

    for path, code in (("/nonsense", 400), (root, 400), (root + "/receipt?slot=x", 400), ("/00/status", 400), (root + "/money", 404),
                       ("/0011223344556677/status", 404), (root + "/block?slot=99", 404), (root + "/catch-up", 404), (root + "/genesis?number=3", 404)):
        assert get(server, path, all_of_it)[0] == code, path
    assert get(server, root + "/receipt?slot=99&member=1", all_of_it)[1]["error"].startswith("nothing is known of slot 99")


def test_catch_up_over_http_is_believed_by_the_firmware(server):
    """A meter that holds the accumulator of 5 headers sees that the newest one continues it."""
    server, archive, feeder, street = server
    found = get(server, f"/{feeder.hex()}/catch-up?old=5")[1]
    header, proof = (base64.b64decode(found[k]) for k in ("header", "proof"))
    old = archive.proposal(feeder, 5)[43:75]
    script = """
import sys
from prosumer.ledger.proofs import verify_consistency
from prosumer.records import Header
old, header, proof = [bytes.fromhex(line) for line in sys.stdin.read().split()]
print(verify_consistency(old, 5, Header.parse(header).accumulator, int(sys.argv[1]), proof))
"""
    assert run_firmware(script, f"{old.hex()}\n{header.hex()}\n{proof.hex()}\n", args=(found["new"],)) == "True\n"


def test_another_archive_is_filled_over_http(server, tmp_path, capsys):
    server, archive, feeder, street = server
    token = answers.new_token(archive, feeder, answers.OPERATOR)
    command = [sys.executable, "-m", "prosumer_tools.cli", "archive", "import", str(tmp_path / "b.db"), server.url]
    assert subprocess.run(command, capture_output=True, text=True).returncode == 2
    done = subprocess.run([*command, "--token", token], capture_output=True, text=True)
    assert done.returncode == 0 and "12 blocks joined" in done.stdout, done.stderr
    assert check(Archive(Database(tmp_path / "b.db")), feeder).ok
