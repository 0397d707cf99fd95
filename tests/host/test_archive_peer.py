"""Two archives fill each other's gaps over HTTP, beside a follower; several feeders, of which a token opens one."""
import os
import subprocess
import sys
import time

import pytest
from chain_kit import Paper
from postgres_kit import postgres, url  # noqa: F401 (fixtures)
from test_archive_serve import Voice, broker, said, until  # noqa: F401 (fixture)
from test_archive_store import main

from prosumer_tools.archive import answers
from prosumer_tools.archive.check import check
from prosumer_tools.archive.database import Database
from prosumer_tools.archive.fill import Peer, fill
from prosumer_tools.archive.http import Server
from prosumer_tools.archive.listen import Listener
from prosumer_tools.archive.sources import Kept, Url
from prosumer_tools.archive.store import Archive


@pytest.fixture
def peer():
    """(server, its archive, street, feeder, the operator's token there)"""
    archive, street = Archive(Database(":memory:")), Paper(4)
    feeder = archive.enrol(street.record)
    server = Server(archive).start()
    yield server, archive, street, feeder, answers.new_token(archive, feeder, answers.OPERATOR)
    server.shutdown()
    server.server_close()


def test_a_follower_that_starts_late_and_misses_some_is_filled_by_its_peer(broker, url, peer):
    server, other, street, feeder, token = peer
    for _ in range(5):
        other.take(feeder, *street.block())
    archive, told = Archive(Database(url)), []
    archive.enrol(street.record)
    listener = Listener(archive, broker.host, broker.port, told=told.append).start()
    until(lambda: told)
    time.sleep(0.2)
    voice = Voice(broker, feeder)

    def speak():
        messages = said(street)
        voice.say(messages)
        return messages[0][2], street.certificate()
    missed = speak()
    until(lambda: archive.gap(feeder) == (-1, [5]) or len(archive.db.all("SELECT hash FROM waiting")) == 1)
    helper = Peer(archive, [Url(server.url, [token])], told.append, period_s=0.2).start()
    until(lambda: archive.chain(feeder).height >= 5)
    other.take(feeder, *missed)
    until(lambda: archive.chain(feeder).height == 6)
    other.take(feeder, *street.block())  # this one only the peer hears
    other.take(feeder, *speak())
    until(lambda: archive.chain(feeder).height == 8)

    for _ in range(2):  # and back: what this one heard while the peer was off
        speak()
    until(lambda: archive.chain(feeder).height == 10)
    back = Server(archive).start()
    once = Peer(other, [Url(back.url, ["wrong", answers.new_token(archive, feeder, answers.OPERATOR)])], told.append)
    once.once()
    back.shutdown()
    back.server_close()
    assert other.chain(feeder).height == 10
    helper.stop()
    voice.stop()
    listener.stop()
    assert any(f"blocks of Chain Street from {server.url}, up to slot" in t for t in told)
    assert check(archive, feeder).ok and check(other, feeder).ok and archive.gap(feeder) == (9, [])


def test_a_peer_that_is_gone_or_lies_stops_nobody_and_is_told_once(peer):
    server, other, street, feeder, token = peer
    blocks = [street.block() for _ in range(4)]
    for block in blocks:
        other.take(feeder, *block)
    archive, told = Archive(Database(":memory:")), []
    archive.enrol(street.record)
    archive.take(feeder, *blocks[0])
    raw = bytearray(other.proposal(feeder, 2))
    raw[-1] ^= 1
    other.db.do("UPDATE blocks SET proposal = ? WHERE height = 2", bytes(raw))
    helper = Peer(archive, [Url("http://127.0.0.1:1", [token]), Url(server.url, [token]), Url(server.url + "/nowhere", [token])], told.append)
    for _ in range(3):
        helper.once()
    assert archive.chain(feeder).height == 2
    assert sum("Connection refused" in t for t in told) == 1 and sum(": block 2: " in t for t in told) == 1, told
    assert len(told) == len(set(told))


def test_what_a_follower_has_in_mind_is_no_longer_true_when_another_program_filled_the_gap(url):
    """`import` into the database of a running `follow`."""
    street = Paper(4)
    blocks = [street.block() for _ in range(6)]
    follower, other = Archive(Database(url)), Archive(Database(":memory:"))
    feeder = follower.enrol(street.record)
    other.enrol(street.record)
    for block in blocks[:5]:
        other.take(feeder, *block)
    follower.take(feeder, *blocks[3])
    assert follower.gap(feeder) == (-1, [3])
    assert fill(Archive(Database(url)), feeder, [Kept(other)]).joined.total() == 5
    assert follower.gap(feeder) == (4, []) and follower.take(feeder, *blocks[5]) == 1
    assert check(follower, feeder).ok


def test_one_of_several_feeders_is_opened_by_a_token(url, peer, tmp_path, capsys):
    server, other, street, feeder, token = peer
    second = Paper(4, "Another Street")
    other.enrol(second.record)
    for _ in range(3):
        other.take(feeder, *street.block())
        other.take(second.feeder, *second.block())
    assert main("import", url, server.url) == 2
    said = capsys.readouterr()
    assert "nothing could be brought in" in said.err and said.out.count("it is skipped") == 2
    assert main("import", url, server.url, "--token", token) == 0
    said = capsys.readouterr().out
    assert f"no token given opens Another Street ({second.feeder.hex()}); it is skipped" in said and "3 blocks joined" in said
    assert [name for _, name in Archive(Database(url)).feeders()] == ["Chain Street"]
    more = answers.new_token(other, second.feeder, answers.OPERATOR)
    member = answers.new_token(other, second.feeder, 1)
    assert member.isalnum() and len(member) == 48, "nothing in it is an option of a command"
    assert main("import", url, server.url, "--token", member, "--feeder", "Another Street") == 2
    assert main("import", url, server.url, "--token", token, "--token", more, "--feeder", second.feeder.hex()[:6]) == 0
    archive = Archive(Database(url))
    assert [archive.chain(f).height for f in (feeder, second.feeder)] == [3, 3]
    other.take(feeder, *street.block())
    other.take(second.feeder, *second.block())
    told = []
    helper = Peer(archive, [Url(server.url, [token])], told.append)
    helper.once()
    helper.once()
    assert [archive.chain(f).height for f in (feeder, second.feeder)] == [4, 3]
    assert [t for t in told if "skipped" in t] == [f"{server.url}: no token given opens Another Street; it is skipped"]
    archive.db.do("DELETE FROM blocks WHERE height = 1")
    assert main("repair", url, server.url, "--token", token, "--token", more) == 0


def test_the_command_follows_with_a_peer(broker, tmp_path, peer):
    server, other, street, feeder, token = peer
    for _ in range(3):
        other.take(feeder, *street.block())
    (tmp_path / "genesis.bin").write_bytes(street.record)
    command = [sys.executable, "-m", "prosumer_tools.cli", "archive", "follow", tmp_path / "a.db", "--broker", f"{broker.host}:{broker.port}",
               "--genesis", tmp_path / "genesis.bin", "--peer", server.url]
    child = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True,
                             env=dict(os.environ, PYTHONUNBUFFERED="1", PROSUMER_TOKEN=token))
    try:
        assert {child.stdout.readline(), child.stdout.readline()} == {
            "listening to 1 feeder\n", f"3 blocks of Chain Street from {server.url}, up to slot 2\n"}
    finally:
        child.kill()
        child.communicate()
    assert Archive(Database(tmp_path / "a.db")).chain(feeder).height == 3
