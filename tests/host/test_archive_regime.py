"""Archive and receipts while those who vote change: amendments, an excluded liar, a committee; and transfers with their proofs."""
import argparse
import base64

import pytest
import receipt_reference
from chain_kit import Paper

from prosumer_tools.archive import receipts
from prosumer_tools.archive.chain import Refused
from prosumer_tools.archive.check import check
from prosumer_tools.archive.database import Database
from prosumer_tools.archive.search import search
from prosumer_tools.archive.store import Archive
from prosumer_tools.commands import check_receipt


def grow(archive, street, slots, **how):
    for _ in range(slots):
        assert archive.take(street.feeder, *street.block(**how)) == 1


def new(n, place=":memory:", slots=5):
    archive, street = Archive(Database(place)), Paper(n)
    archive.enrol(street.record)
    grow(archive, street, slots)
    return archive, street


def both(receipt, street, amendments=()):
    """What the firmware finds, after the reference found the same."""
    found = check_receipt.check([receipt], street.record, amendments)[0]
    try:
        reference = receipt_reference.check(receipt, street.record, amendments)
    except ValueError:
        reference = None
    assert ("refused" in found) == (reference is None), (found, reference)
    return found


def test_receipts_before_and_after_an_amendment():
    """Another tariff, a new key for member 2, member 3 leaves, two more come; the stop block is final in a later iteration."""
    archive, street = new(5)
    first = street.amend(retail=300_000, key_of=2)
    grow(archive, street, 1, later=2)
    second = street.amend(retail=300_000, left=(3,), more=2)
    grow(archive, street, 6)
    assert archive.genesis(street.feeder).number == 2 and archive.genesis(street.feeder).n == 7
    amendments = archive.records_of_genesis(street.feeder)[1:]
    assert amendments == [first, second] and check(archive, street.feeder).ok

    def of(member, slot):
        return receipts.receipt(archive, street.feeder, member, slot)
    before = both(of(1, 3), street)
    assert before["number"] == 0 and before["money"] and before["reading"] and before["members"] == 5
    after = of(1, 9)
    assert both(after, street)["refused"] == "strange-regime", "an amendment is needed"
    assert both(after, street, [first])["refused"] == "strange-regime"
    found = both(after, street, [second, first])
    assert (found["number"], found["members"], found["voters"], found["quorum"]) == (2, 7, 6, 5) and found["money"]
    assert both(of(2, 9), street, amendments)["reading"], "signed by its new key"
    assert both(of(6, 9), street, amendments)["reading"], "of a new member"
    gone = both(of(3, 9), street, amendments)
    assert gone["reading"] is None and gone["order"] is None and gone["trade"] == {"price_ucr_per_kwh": 0, "bought_mwh": 0, "sold_mwh": 0}
    # whoever has only the newest genesis believes an older one that it leads to
    assert check_receipt.check([of(1, 3)], second, [street.record, first])[0]["number"] == 0
    assert check_receipt.check([of(1, 3)], second, [first])[0] == {"refused": "strange-regime"}
    other = Paper(5, "Another Street")
    with pytest.raises(check_receipt.BadInput, match="not-a-successor"):
        check_receipt.check([after], street.record, [other.amend()])


def test_the_old_quorum_is_worth_nothing_after_an_amendment():
    """Everybody gets a new key; those who hold the old ones sign a block: no archive takes it."""
    archive, street = new(4)
    old = [street.keys[m] for m in range(4)]
    street.amend(key_of=0)
    grow(archive, street, 1)
    for m in (1, 2, 3):
        street.amend(key_of=m)
        grow(archive, street, 1)
    stolen, (proposal, good) = street.keys, street.block()
    street.keys = old
    forged = street.certificate([0, 1, 2])
    street.keys = stolen
    with pytest.raises(Refused, match="0 good signatures of 3"):
        archive.take(street.feeder, proposal, forged)
    assert archive.take(street.feeder, proposal, good) == 1


def test_a_receipt_shows_why_somebody_is_excluded(tmp_path):
    archive, street = new(7, tmp_path / "a.db")
    street.lie(5)
    grow(archive, street, 4)
    receipt = receipts.receipt(archive, street.feeder, 1, 7)
    found = both(receipt, street)
    assert found["excluded"] == [5] and (found["voters"], found["quorum"]) == (6, 5) and found["money"]
    assert both(receipts.receipt(archive, street.feeder, 5, 7), street)["order"] is None
    without = receipt[:20] + b"\0" + receipt[21 + 214:]
    assert receipt[20] == 1 and both(without, street)["refused"] == "strange-regime"
    forged = bytearray(receipt)
    forged[300 - 70] ^= 1
    assert "refused" in both(bytes(forged), street)
    nobody = receipt[:10] + bytes(8) + receipt[18:20] + b"\0" + receipt[21 + 214:]
    assert both(nobody, street)["refused"] in ("no-quorum", "bad-signature"), "votes of another regime"

    again = Archive(Database(tmp_path / "a.db"))
    grow(again, street, 2)
    assert check(again, street.feeder).ok
    again.db.do("DELETE FROM evidence")
    assert any("the evidence kept is not" in f for f in check(again, street.feeder).faults)
    with pytest.raises(Refused, match="evidence against member 5 is lost"):
        receipts.receipt(again, street.feeder, 1, 7)


def test_a_lost_or_changed_amendment_is_found():
    archive, street = new(4)
    street.amend(retail=260_000)
    grow(archive, street, 2)
    assert check(archive, street.feeder).ok
    archive.db.do("UPDATE genesis SET record = (SELECT record FROM genesis WHERE number = 0) WHERE number = 1")
    assert any("genesis number 1 is not the one" in f for f in check(archive, street.feeder).faults)
    archive.db.do("DELETE FROM genesis WHERE number = 1")
    assert any("1 amendments of the genesis are lost" in f for f in check(archive, street.feeder).faults)


def test_a_committee_signs_in_a_street_of_many():
    archive, street = new(52, slots=6)
    assert len(street.voters) == 40
    data = receipts.receipt(archive, street.feeder, 51, 4)
    found = both(data, street)
    assert (found["members"], found["voters"], found["signatures"]) == (52, 40, 27) and found["money"] and len(data) <= 4096
    moved = data[:6] + (1).to_bytes(4, "big") + data[10:]
    assert both(moved, street)["refused"] in ("strange-regime", "not-a-voter", "bad-signature"), "another epoch's committee"


def test_transfers_are_found_and_proven():
    archive, street = new(4, slots=8)
    street.transfer(0, 0, 1, 30_000, b"for the garden")
    street.transfer(0, 1, 0, 20_000, b"carbon report")
    street.transfer(255, 2, 3, 5_000_000, b"bank 17")
    grow(archive, street, 1)
    street.transfer(1, 0, 2, 10_000)
    street.transfer(255, 3, 3, 1_000_000)
    grow(archive, street, 2)
    assert check(archive, street.feeder).ok
    kinds = {"given": 2, "received": 2, "retired": 1, "paid-in": 1, "paid-out": 1}
    for kind, count in kinds.items():
        hits = search(archive, street.feeder, "coins", side=kind)
        assert len(hits) == count, kind
        for hit in hits:
            found = both(base64.b64decode(hit["receipt"]), street)
            (t,) = found["transfers"]
            assert t["amount"] == hit["amount"] and hit["member"] in (t["member"], t["to"])
    assert search(archive, street.feeder, "coins", side="given", member=0)[0]["note"] == "for the garden"
    text = check_receipt.words.text(found)
    assert "the operator paid out 1.000000 EUR to member 3" in text


def test_the_command_wants_amendments(tmp_path, capsys):
    archive, street = new(4, tmp_path / "a.db")
    amendment = street.amend(retail=280_000)
    grow(archive, street, 5)
    for name, data in (("r.bin", receipts.receipt(archive, street.feeder, 1, 8)), ("genesis.bin", street.record), ("genesis-1.bin", amendment)):
        (tmp_path / name).write_bytes(data)

    def main(*args):
        parser = argparse.ArgumentParser()
        check_receipt.add_parser(parser.add_subparsers())
        args = parser.parse_args(["check-receipt", *map(str, args)])
        return args.run(args)
    assert main(tmp_path / "r.bin", "--genesis", tmp_path / "genesis.bin") == 1
    assert "give it with --amendment" in capsys.readouterr().out
    assert main(tmp_path / "r.bin", "--genesis", tmp_path / "genesis.bin", "--amendment", tmp_path / "genesis-1.bin") == 0
    assert "under genesis number 1" in capsys.readouterr().out
