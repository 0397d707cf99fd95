"""Receipts end to end: made from runs by the host, checked by the firmware and by a second check that shares nothing with either."""
import argparse
import json
import random
import struct

import numpy
import pytest
import receipt_reference
import zxingcpp
from chain_kit import Paper
from PIL import Image
from verify_kit import day, month, run  # noqa: F401 (fixtures)

from prosumer_tools.archive import qr, receipts
from prosumer_tools.archive.chain import Refused
from prosumer_tools.archive.database import Database
from prosumer_tools.archive.source import Source
from prosumer_tools.archive.store import Archive
from prosumer_tools.commands import check_receipt, receipt
from prosumer_tools.unixport import run_firmware


def command(module, name, *args):
    parser = argparse.ArgumentParser()
    module.add_parser(parser.add_subparsers())
    args = parser.parse_args([name, *map(str, args)])
    return args.run(args)


def street(n, slots, **options):
    """(Paper, archive, feeder) with so many blocks."""
    paper, archive = Paper(n, **options), Archive(Database(":memory:"))
    feeder = archive.enrol(paper.record)
    for _ in range(slots):
        archive.take(feeder, *paper.block())
    return paper, archive, feeder


def same(firmware, reference):
    """What both checks found in one receipt is the same."""
    assert ("refused" in firmware) == (reference is None), (firmware, reference)
    if reference:
        trade = firmware["trade"] and (firmware["trade"]["price_ucr_per_kwh"], firmware["trade"]["bought_mwh"], firmware["trade"]["sold_mwh"])
        assert trade == reference["trade"]
        assert (firmware["order"] is None) == (reference["order"] is None)
        reading = firmware["reading"]
        assert (reading and tuple(reading[k] for k in ("import_mwh", "export_mwh", "generation_mwh", "uncertainty_mwh"))) == reference["reading"]
        assert (firmware["account"] and firmware["account"]["balance_ucr"]) == (reference["account"] and reference["account"][0])
        still = firmware["open"]
        assert (still if still is None else {t["slot"]: (t["price_ucr_per_kwh"], t["bought_mwh"], t["sold_mwh"]) for t in still}) == reference["open"]
        rules = firmware["rules"]
        assert (rules and (bytes.fromhex(rules["genesis"]), rules["import_limit_mwh"], rules["export_limit_mwh"])) == reference["rules"]


def reference(data, genesis):
    try:
        return receipt_reference.check(data, genesis)
    except ValueError:
        return None


def test_every_slot_of_every_member_of_a_long_day(day):
    """Faulty and late readings, an order not shown, void slots: each receipt holds, and firmware and reference see the same in it."""
    source = Source(day)
    genesis = (day / "genesis.bin").read_bytes()
    made = []
    for member in range(8):
        made.append(receipts.entry(source.archive, source.feeder, member))
        for slot in range(20):
            try:
                made.append(receipts.receipt(source.archive, source.feeder, member, slot))
            except Refused as e:
                assert "nothing is known" in str(e)
    assert len(made) > 140
    found = check_receipt.check(made, genesis)
    for data, firmware in zip(made, found):
        assert "refused" not in firmware, firmware
        same(firmware, reference(data, genesis))
    assert sum(bool(f["order"] and f["trade"] and f["reading"] and f["money"]) for f in found) > 60
    assert any(f["trade"] and not f["reading"] for f in found) and any(f["reading"] and f["reading"]["flags"] and not f["money"] for f in found)
    assert any(f["reading"] and f["trade"] is None for f in found), "a slot that no block cleared"


def test_money_of_the_receipts_is_what_the_books_say(day):
    source = Source(day)
    made, expected = [], []
    for member, slot, *legs in source.archive.db.all(
            "SELECT member, slot, trade_ucr, loss_ucr, fee_ucr, imbalance_ucr FROM entries WHERE kind = 'settled' AND slot > 1 ORDER BY slot LIMIT 60"):
        data = receipts.receipt(source.archive, source.feeder, member, slot)
        made.append(data)
        expected.append(legs)
    found = check_receipt.check(made, (day / "genesis.bin").read_bytes())
    together = [(f["money"], legs) for f, legs in zip(found, expected) if f["money"]]
    assert len(together) > 40
    for money, legs in together:
        assert [money[leg + "_ucr"] for leg in ("trade", "loss", "fee", "imbalance")] == legs


def test_a_changed_byte_is_refused_by_both():
    paper, archive, feeder = street(4, 8)
    dice = random.Random(5)
    good = receipts.receipt(archive, feeder, 2, 4)
    bad = []
    for _ in range(60):
        data = bytearray(good)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        bad.append(bytes(data))
    bad += [good[:-1], good + b"\0", good[:700], b"\x0e", good[6:]]
    for data, firmware in zip(bad, check_receipt.check(bad, paper.record)):
        assert "refused" in firmware and reference(data, paper.record) is None
    other = Paper(4, "Another Street")
    assert "refused" in check_receipt.check([good], other.record)[0] and reference(good, other.record) is None


@pytest.mark.parametrize(("n", "most"), [(8, 2400), (40, 4096)])
def test_sizes(n, most):
    """With orders of 8 steps, the reading of the next block; and at 40 members one that came a day late in a year of headers."""
    paper, archive, feeder = street(n, 7, steps=8)
    data = receipts.receipt(archive, feeder, 3, 4)
    assert check_receipt.check([data], paper.record)[0]["order"] and len(data) <= most
    block, path = 147, 9 + 1 + 32 * 17
    assert len(data) - block + path + 2 * 32 <= 4096, "by the accumulator of a year, in a body twice as long"
    assert data.count(struct.pack(">B", 7) + b"\1") >= 1
    assert struct.unpack(">Q", data[59:67])[0].bit_count() == n - (n - 1) // 3


_ON_A_METER = """
import gc, sys
gc.threshold(4096)
from prosumer.errors import Reject
from prosumer.identity.genesis import Genesis
from prosumer.identity.members import Members
genesis = Genesis(bytes.fromhex(sys.stdin.readline().strip()))
mine = Members(genesis, sys.argv[1])  # key tables in flash, as a meter has them
data = bytes.fromhex(sys.stdin.readline().strip())
gc.collect()
before = gc.mem_alloc()
from prosumer.ledger.receipt import Receipt
gc.collect()
code = gc.mem_alloc() - before
r = Receipt(data, {0: genesis}, lambda genesis: mine)
peak = gc.mem_alloc() - before - code
print(r.member, r.reading.slot, r.signatures, code, peak)
"""


def test_a_meter_of_a_street_of_40_checks_a_neighbours_receipt(tmp_path):
    """In a meter's heap, with the key tables that it has in flash: 27 signatures, and data of a few kilobytes."""
    paper, archive, feeder = street(40, 7, steps=8)
    data = receipts.receipt(archive, feeder, 3, 4)
    said = run_firmware(_ON_A_METER, f"{paper.record.hex()}\n{data.hex()}\n", heap="256K", args=(f"{tmp_path}/",))
    member, slot, signatures, code, peak = map(int, said.split())
    assert (member, slot, signatures) == (3, 4, 27) and peak < 48 << 10, said


def test_a_receipt_holds_nothing_of_the_others():
    _, archive, feeder = street(8, 8)
    data = receipts.receipt(archive, feeder, 2, 5)
    for height in (4, 6):
        block, _, leaves = archive.block(feeder, height)
        own = {receipts.trees.leaf_salt(block.salt, tree, i) for tree, records in ((b"b", block.leaves()), (b"S", leaves))
               for i, r in enumerate(records) if r in data and len(r) > 2}
        assert len(own) in (1, 2) and all(salt in data for salt in own)
        assert block.salt not in data, "with it all leaves could be guessed"
        for tree, records in ((b"b", block.leaves()), (b"S", leaves)):
            for i, r in enumerate(records):
                salt = receipts.trees.leaf_salt(block.salt, tree, i)
                assert salt in own or (salt not in data and (len(r) <= 2 or r not in data))


def test_a_late_reading_by_the_accumulator_and_a_block_without_certificate():
    paper, archive = Paper(4), Archive(Database(":memory:"))
    feeder = archive.enrol(paper.record)
    body = paper.body
    paper.body = lambda slot: [p if i != 3 or slot == 0 else [r for r in p if slot in (1, 2) or r[1] != 1] for i, p in enumerate(body(slot))]
    kept = []
    reading = paper.reading

    def late(member, slot):
        raw = reading(member, slot)
        if member == 1 and slot > 1:
            kept.append(raw)
        return raw
    paper.reading = late
    for _ in range(30):
        archive.take(feeder, *paper.block())
    paper.body = lambda slot: [p if i != 3 else sorted([*(r for r in p if r[1] != 1), *kept[:4]], key=lambda r: r[1:10]) for i, p in enumerate(body(slot))]
    assert archive.take(feeder, *paper.block(certified=False)) == 0
    with pytest.raises(Refused):
        receipts.receipt(archive, feeder, 1, 40)
    paper.body = lambda slot: [p if i != 3 else [r for r in p if r[1] != 1] for i, p in enumerate(body(slot))]
    assert archive.take(feeder, *paper.block()) == 2
    data = receipts.receipt(archive, feeder, 1, 3)
    found = check_receipt.check([data], paper.record)[0]
    same(found, reference(data, paper.record))
    assert found["reading"]["settled_slot"] == 30 and found["header_slot"] == 31 and found["cleared"]["slot"] == 2 and found["trade"]["bought_mwh"]


@pytest.mark.parametrize("block", [12, 13])
def test_money_is_told_only_as_long_as_a_reading_settles_its_trade(block):
    """Readings may come five slots late: block 12 takes that of slot 6 still, at block 13 the trade was booked without it one block before."""
    paper, archive = Paper(4, correction_s=1500), Archive(Database(":memory:"))
    feeder = archive.enrol(paper.record)
    reading, body = paper.reading, paper.body
    paper.reading = lambda member, slot: b"" if member == 1 and slot > 5 else reading(member, slot)

    def late(slot):
        parts = body(slot)
        parts[3] = sorted([r for r in parts[3] if r] + ([reading(1, 6)] if slot == block else []), key=lambda r: r[1:10])
        return parts
    paper.body = late
    for _ in range(15):
        archive.take(feeder, *paper.block())
    entries = archive.db.all("SELECT kind, trade_ucr, imbalance_ucr FROM entries WHERE member = 1 AND slot = 6 ORDER BY height, place")
    data = receipts.receipt(archive, feeder, 1, 6)
    found = check_receipt.check([data], paper.record)[0]
    same(found, reference(data, paper.record))
    assert found["trade"]["bought_mwh"] and found["reading"]["settled_slot"] == block
    said = check_receipt.words.text(found)
    if block == 12:
        assert entries == [("settled", found["money"]["trade_ucr"], found["money"]["imbalance_ucr"])] and "by the rules of settlement" in said
    else:
        assert [kind for kind, *_ in entries] == ["missing", "settled"] and entries[0][1] and not entries[1][1]
        assert found["money"] is None and found["no_money"] == "late" and "an earlier block may have settled the trade" in said


def test_a_heads_reading_moves_no_money(month):
    source = Source(month)
    genesis = source.archive.genesis(source.feeder)
    head = [m for m in range(genesis.n) if genesis.roles(m) & 4][0]
    slot = source.archive.db.one("SELECT max(slot) FROM readings WHERE member = ? AND import_mwh > 0", head)[0]
    found = check_receipt.check([receipts.receipt(source.archive, source.feeder, head, slot)], (month / "genesis.bin").read_bytes())[0]
    assert found["reading"]["import_mwh"] and found["trade"] and found["money"] is None and found["no_money"] == "head"


def test_a_receipt_that_shows_nothing_is_refused():
    paper, archive, feeder = street(4, 6)
    data = receipts.receipt(archive, feeder, 2, 4, "trade")
    at = data.index(struct.pack(">cH", b"S", receipts.format.trade_place(2))) - 2
    assert data[at] == 1, "number of leaves"
    empty = data[:at] + b"\0" + bytes(64)
    for nothing in (empty, empty[:2] + struct.pack(">I", 4000000) + empty[6:]):
        assert check_receipt.check([nothing], paper.record)[0] == {"refused": "record-missing"}
        assert reference(nothing, paper.record) is None
    assert "shows nothing" in check_receipt.REASONS["record-missing"]


def test_the_commands(run, tmp_path, capsys):
    out, genesis = tmp_path / "r.bin", run / "genesis.bin"
    assert command(receipt, "receipt", run, "--member", "olivier", "--slot", 4, "--out", out, "--qr", tmp_path / "r.png") == 0
    assert "r-1.png" in capsys.readouterr().out
    assert command(check_receipt, "check-receipt", out, "--genesis", genesis) == 0
    said = capsys.readouterr().out
    for words in ("member 1 of Paper Street, slot 4: 2025-06-15 16:10–16:25 UTC", "3 of 4 meters that vote", "order      sealed", "trade      ", "reading    signed",
                  "NOT SHOWN: readings, orders, trades and accounts of all other members; balance"):
        assert words in said, words
    assert command(check_receipt, "check-receipt", "--json", out, "--genesis", genesis) == 0
    assert json.loads(capsys.readouterr().out)["reading"]["import_mwh"]
    data = bytearray(out.read_bytes())
    data[-1] ^= 1
    out.write_bytes(data)
    assert command(check_receipt, "check-receipt", out, "--genesis", genesis) == 1
    assert "REFUSED: a signature does not match (bad-signature)" in capsys.readouterr().out
    assert command(receipt, "receipt", run, "--member", "olivier", "--account", "--out", out) == 0
    assert command(check_receipt, "check-receipt", out, "--genesis", genesis) == 0
    assert "balance" in capsys.readouterr().out
    for args, why in ((("--member", "nobody", "--slot", 4), "no member 'nobody'; there are mimosa"), (("--member", 9, "--slot", 4), "no member 9"),
                      (("--member", 1, "--slot", 99), "nothing is known of slot 99"), (("--member", 1), "--slot is needed")):
        assert command(receipt, "receipt", run, *args, "--out", out) == 2
        assert why in capsys.readouterr().err
    assert command(receipt, "receipt", tmp_path / "none", "--member", 1, "--slot", 1, "--out", out) == 2
    assert "no archive" in capsys.readouterr().err
    assert command(check_receipt, "check-receipt", tmp_path / "none", "--genesis", genesis) == 2
    (tmp_path / "empty").write_bytes(b"nothing")
    assert command(check_receipt, "check-receipt", tmp_path / "empty", "--genesis", genesis) == 2
    (tmp_path / "genesis.bin").write_bytes(genesis.read_bytes()[:-1] + b"\0")
    assert command(receipt, "receipt", run, "--member", 1, "--slot", 4, "--out", out) == 0
    assert command(check_receipt, "check-receipt", out, "--genesis", tmp_path / "genesis.bin") == 2
    assert "bad-operator-signature" in capsys.readouterr().err


def test_qr_symbols_are_read_by_a_real_decoder(tmp_path, run, capsys):
    _, archive, feeder = street(40, 7, steps=8)
    data = receipts.receipt(archive, feeder, 3, 4)
    read = []
    for symbol in qr.symbols(data):
        assert symbol.version <= 25 and symbol.error == "M"
        symbol.save(str(tmp_path / "s.png"), scale=4, border=4)
        with Image.open(tmp_path / "s.png") as picture:
            small = picture.convert("L").rotate(3, expand=True, fillcolor=255)  # held a little askew
            read += [code.text for code in zxingcpp.read_barcodes(numpy.asarray(small))]
    assert len(read) == len(qr.lines(data)) == 4
    assert qr.joined("\n".join(reversed(read))) == data
    assert qr.joined("a mail\n> " + "\nsome words\n".join(read)) == data
    with pytest.raises(qr.QRError, match="part 3 of 4 is missing"):
        qr.joined("\n".join(read[:2] + read[3:]))
    with pytest.raises(qr.QRError, match="different receipts"):
        qr.joined("\n".join(read + qr.lines(b"another")))
    with pytest.raises(qr.QRError, match="sum differs"):
        qr.joined("\n".join([read[0].replace("A", "B"), *read[1:]]))
    with pytest.raises(qr.QRError, match="no receipt"):
        qr.joined("hello")
    assert command(receipt, "receipt", run, "--member", 1, "--slot", 4, "--out", tmp_path / "r.bin", "--qr", tmp_path / "r.png") == 0
    assert command(check_receipt, "check-receipt", tmp_path / "r-2.png", tmp_path / "r-1.png", "--genesis", run / "genesis.bin") == 0
    assert command(receipt, "receipt", run, "--member", 1, "--slot", 4, "--out", tmp_path / "r.bin", "--qr", tmp_path / "r.html") == 0
    assert command(check_receipt, "check-receipt", tmp_path / "r.html", "--genesis", run / "genesis.bin") == 0
    assert (tmp_path / "r.html").read_text().count("<svg") == 2


def test_base45_of_rfc_9285():
    for plain, text in ((b"AB", "BB8"), (b"Hello!!", "%69 VD92EX0"), (b"base-45", "UJCLQE7W581"), (b"ietf!", "QED8WEX0")):
        assert qr.base45(plain) == text and qr.from_base45(text) == plain
    for bad in ("GGW", "::", "A"):
        with pytest.raises(qr.QRError):
            qr.from_base45(bad)
