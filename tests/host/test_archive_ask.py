"""An archive is asked over a real broker, and what it answers is checked before it is shown: a lying one is found out, a silent one explained."""
import argparse
import base64
import json

import paho.mqtt.client as mqtt
import pytest
from chain_kit import Paper
from test_archive_serve import broker, until  # noqa: F401 (fixture)
from test_receipt import command

from prosumer_tools.archive import answers, format, proven, receipts
from prosumer_tools.archive.ask import Asker, NoAnswer
from prosumer_tools.archive.chain import Refused
from prosumer_tools.archive.database import Database
from prosumer_tools.archive.listen import Listener
from prosumer_tools.archive.store import Archive
from prosumer_tools.commands import archive as archive_command
from prosumer_tools.commands import check_receipt
from prosumer_tools.feederkeys import FeederKeys


def main(*args):
    parser = argparse.ArgumentParser()
    archive_command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["archive", "ask", *map(str, args)])
    return args.run(args)


def street(place=":memory:"):
    """(archive, street, feeder): twelve blocks of four members, the tariff amended in one of them, and coins that change hands."""
    archive, street = Archive(Database(place)), Paper(4)
    feeder = archive.enrol(street.record)
    for i in range(12):
        if i == 5:
            street.amend(retail=300_000)
        if i == 8:
            street.transfer(0, 0, 1, 1000, b"lamp")
        archive.take(feeder, *street.block())
    return archive, street, feeder


@pytest.fixture
def asked(broker, tmp_path):  # noqa: F811
    """(ask, archive, feeder, folder): an archive that listens, and the command that asks it; sealed at mosquitto."""
    sealed = broker.kind == "mosquitto"
    archive, paper, feeder = street(tmp_path / "a.db")
    (tmp_path / "genesis.bin").write_bytes(paper.record)
    keys = FeederKeys(feeder, {3: bytes(range(32))} if sealed else {})
    keys.save(tmp_path / "keys.json")
    told = []
    listener = Listener(archive, broker.host, broker.port, told=told.append, keys=lambda: {feeder: keys}).start()
    until(lambda: told == ["listening to 1 feeder"])
    at = ["--broker", f"{broker.host}:{broker.port}", "--genesis", tmp_path / "genesis.bin", *(["--keys", tmp_path / "keys.json"] if sealed else [])]

    def ask(*args):
        return main(*args, *at)
    yield ask, archive, feeder, tmp_path
    listener.stop()


def test_every_question_over_the_broker(asked, capsys):
    ask, archive, feeder, folder = asked

    def said(*args):
        assert ask(*args) == 0, capsys.readouterr().err
        return capsys.readouterr().out
    tip = archive.chain(feeder).tip.hex()
    assert f"the block of slot 11, header {tip}, is the newest: 3 of 4 meters" in said("status")
    assert "genesis number 1 of Chain Street" in said("genesis", "number=1", "--out", folder / "g1.bin")
    assert (folder / "g1.bin").read_bytes() == archive.records_of_genesis(feeder)[1]
    assert "slot 4, header " in said("header", "slot=4") and "stands under that of slot 11" in said("header", "slot=0")
    text = said("headers", "first=2", "count=6", "--out", folder / "h.bin")
    assert "6 headers: links hold" in text and "the block of slot 7" in text
    assert (folder / "h.bin").read_bytes() == answers.headers(archive, feeder, 2, 6)
    assert "the accumulator of 11 headers" in said("catch-up", "old=5") and "PROVEN" in said("catch-up", "old=0")
    assert "the accumulator of 8 headers" in said("consistency", "old=3", "new=8")
    assert "body       4 commits, 4 orders, 4 readings, 0 transfers" in said("block", "slot=6", "--out", folder / "b.bin")
    assert (folder / "b.bin").read_bytes() == format.file_of(*archive.bytes_of(feeder, 6))
    assert "trade      " in said("receipt", "member=2", "slot=4", "--out", folder / "r.bin", "--qr", folder / "r.html")
    assert (folder / "r.bin").read_bytes() == receipts.receipt(archive, feeder, 2, 4) and (folder / "r.html").exists()
    assert "after block 11: balance" in said("account", "--as", 1)
    assert json.loads(said("receipt", "slot=9", "show=rules", "--as", 3, "--json"))["rules"]["retail_ucr_per_kwh"] == 300_000
    trades = said("search", "kind=trades", "limit=7", "--as", 1, "--receipts", folder / "found")
    assert "the first 7 of " in trades and "7 proven by receipts" in trades and len(list((folder / "found").iterdir())) == 7
    assert command(check_receipt, "check-receipt", *(folder / "found").iterdir(), "--genesis", folder / "genesis.bin", "--amendment", folder / "g1.bin") == 0
    capsys.readouterr()
    for kind, sure in (("readings", 11 * 4), ("coins", None)):
        hits = json.loads(said("search", f"kind={kind}", "--json"))["hits"]
        assert sum(h["proven"] == "yes" for h in hits) == (sure or len(hits) - 1), "in one block coins were minted and given away"


def test_what_the_archive_does_not_give(asked, capsys):
    ask, _, _, folder = asked
    for args, why in ((("receipt", "member=2", "slot=4", "--as", 1), "a member's records are for that member and the operator"),
                      (("receipt", "slot=4"), "say which member"), (("receipt", "member=1", "slot=99"), "nothing is known of slot 99"),
                      (("header", "slot=12"), "the newest is that of slot 11"), (("search", "kind=trades", "side=mint"), "cannot be searched by 'mint'"),
                      (("genesis", "number=7"), "no genesis number 7"), (("receipt", "slot"), "'slot' is no NAME=NUMBER"),
                      (("receipt", "slot=x"), "'slot=x' is no NAME=NUMBER, nor kind=WORD"), (("status", "--out", folder / "x"), "status has none to write")):
        assert ask(*args) == 2
        assert why in capsys.readouterr().err, args
    (folder / "genesis.bin").write_bytes(Paper(4, "Another Street").record)
    assert ask("status", "--timeout", 1) == 2
    assert "of feeder" in (err := capsys.readouterr().err) or "no archive answered within 1 s" in err


def test_silence_is_explained(broker, tmp_path, capsys):  # noqa: F811
    archive, paper, feeder = street()
    (tmp_path / "genesis.bin").write_bytes(paper.record)
    FeederKeys(feeder, {1: bytes(32)}).save(tmp_path / "keys.json")
    at = ["--genesis", tmp_path / "genesis.bin", "--timeout", 1]
    where = ("--broker", f"{broker.host}:{broker.port}")
    assert main("status", *where, *at) == 2
    err = capsys.readouterr().err
    assert "no archive answered within 1 s: does `prosumer archive follow` run on this broker with feeder " + feeder.hex()[:8] in err and "--keys is needed" in err
    assert main("status", "--broker", "127.0.0.1:1", *at) == 2
    assert "the broker 127.0.0.1:1 cannot be reached: Connection refused" in capsys.readouterr().err
    assert main("status", "--broker", "127.0.0.1:x", *at) == 2
    told, keys = [], {feeder: FeederKeys(feeder, {1: bytes(32), 2: bytes(range(32))})}
    listener = Listener(archive, broker.host, broker.port, told=told.append, keys=lambda: keys).start()
    until(lambda: told == ["listening to 1 feeder"])
    assert main("status", *where, *at, "--keys", tmp_path / "keys.json") == 2
    assert "cannot be opened (unknown-epoch): are the feeder keys the newest?" in capsys.readouterr().err
    listener.stop()


@pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)
def test_a_broker_that_refuses_is_named(broker, tmp_path, capsys):  # noqa: F811
    """As an access list would: the word on the subscription is put into its mouth."""
    paper = Paper(4)
    (tmp_path / "genesis.bin").write_bytes(paper.record)
    asker = Asker(FeederKeys(paper.feeder, {}), 255, broker.host, broker.port, "olivier", "x", timeout_s=5)
    refused = mqtt.ReasonCode(mqtt.PacketTypes.SUBACK, identifier=135)
    asker.client.on_subscribe = lambda c, u, mid, reasons, p: asker._subscribed(c, u, mid, [refused], p)
    with pytest.raises(NoAnswer, match="does not let olivier read a/.*/answer/255: is --as right"), asker:
        pass


# -- an archive that lies


def changed(text, at=-40):
    raw = bytearray(base64.b64decode(text))
    raw[at] ^= 1
    return base64.b64encode(raw).decode()


@pytest.fixture(scope="module")
def honest():
    archive, paper, feeder = street()
    other = Paper(4, "Another Street")
    for _ in range(12):
        other.block()
    return archive, paper, feeder


def trust(honest, lie=lambda what, given, answer: answer):
    archive, paper, feeder = honest

    def ask(what, **given):
        answer = answers.answer(archive, feeder, what, given, answers.OPERATOR)
        return lie(what, given, json.loads(json.dumps(answer)) if isinstance(answer, dict) else answer)
    return proven.Trust(paper.record, ask)


def put(question, **parts):
    return lambda what, given, answer: {**answer, **{k: v(answer[k]) if callable(v) else v for k, v in parts.items()}} if what == question else answer


def first_hit(**parts):
    return put("search", hits=lambda hits: [{**h, **{k: v(h[k]) if callable(v) else v for k, v in parts.items()}} if i == 0 else h for i, h in enumerate(hits)])


LIES = [
    ("header", {"slot": 4}, put("header", index=5)), ("header", {"slot": 4}, put("header", count=10)), ("header", {"slot": 4}, put("header", proof=changed)),
    ("header", {"slot": 4}, put("header", header=lambda t: changed(t, 100))), ("header", {}, put("header", receipt=changed)),
    ("header", {}, put("header", newest=lambda t: changed(t, 90))), ("header", {}, put("header", receipt=None)), ("header", {}, put("header", index="x")),
    ("header", {"slot": 4}, lambda what, given, answer: answer if what != "header" else put("header", header=answer["newest"], index=answer["count"])(what, given, answer)),
    ("headers", {"first": 2, "count": 5}, lambda what, given, answer: answer[:200] + b"\1" + answer[201:] if what == "headers" else answer),
    ("headers", {"first": 2, "count": 5}, lambda what, given, answer: answer[:-1] if what == "headers" else answer),
    ("genesis", {"number": 1}, lambda what, given, answer: answer[:-1] + bytes([answer[-1] ^ 1]) if what == "genesis" and given["number"] == 1 else answer),
    ("genesis", {"number": 1}, lambda what, given, answer: Paper(4, "Another Street").record if what == "genesis" and given["number"] == 1 else answer),
    ("catch-up", {"old": 5}, put("catch-up", proof=changed)), ("catch-up", {"old": 5}, put("catch-up", old=4)),
    ("consistency", {"old": 3, "new": 8}, put("consistency", new=9)),
    ("receipt", {"member": 2, "slot": 4}, lambda what, given, answer: answer[:-1] + b"\1" if what == "receipt" else answer),
    ("block", {"slot": 6}, lambda what, given, answer: answer[:400] + bytes([answer[400] ^ 1]) + answer[401:] if what == "block" else answer),
    ("search", {"kind": "trades"}, first_hit(bought_mwh=lambda n: n + 1)), ("search", {"kind": "readings"}, first_hit(flags=1)),
    ("search", {"kind": "trades"}, first_hit(member=lambda m: m + 1)), ("search", {"kind": "trades"}, first_hit(receipt=changed)),
    ("search", {"kind": "coins", "side": "given"}, first_hit(amount=2000)), ("search", {"kind": "coins", "side": "received"}, first_hit(other=3)),
    ("search", {"kind": "entries", "side": "settled", "first": 3}, first_hit(trade_ucr=lambda n: n + 1)), ("search", {"kind": "trades"}, put("search", of="many")),
]


@pytest.mark.parametrize(("question", "given", "lie"), LIES)
def test_a_lie_is_found_out(honest, question, given, lie):
    found, _, _ = proven.ANSWERS[question](trust(honest), dict(given))
    assert found, "the honest answer holds"
    with pytest.raises(proven.Unproven):
        proven.ANSWERS[question](trust(honest, lie), dict(given))


def test_another_members_or_slots_receipt_is_no_answer(honest):
    archive, _, feeder = honest
    for member, slot, show in ((1, 4, "trade"), (2, 5, "trade"), (2, 4, "reading")):
        other = receipts.receipt(archive, feeder, member, slot, show)
        liar = trust(honest, lambda what, given, answer, other=other: other if what == "receipt" else answer)
        with pytest.raises(proven.Unproven, match="the receipt that came is of member"):
            proven.ANSWERS["receipt"](liar, {"member": 2, "slot": 4, "show": "trade"})


def test_what_only_the_archive_says_is_called_so(honest):
    def silent(what, given, answer):
        return put("search", hits=lambda hits: [{**h, "receipt": None} for h in hits])(what, given, answer)
    found, text, _ = proven.ANSWERS["search"](trust(honest, silent), {"kind": "trades", "limit": 6})
    assert {h["proven"] for h in found["hits"]} == {"no"} and "0 proven by receipts, 6 only said by the archive" in text
    with pytest.raises(Refused, match="no final block yet"):
        archive = Archive(Database(":memory:"))
        paper = Paper(4)
        feeder = archive.enrol(paper.record)
        proven.ANSWERS["status"](proven.Trust(paper.record, lambda what, **given: answers.answer(archive, feeder, what, given, 255)), {})
