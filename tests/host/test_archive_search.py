"""What a search of the archive finds, how much there is beside it, and that what is written with a hit proves it."""
import base64
import json

import pytest
from chain_kit import Paper
from test_archive_store import filled, main
from test_receipt import command

from prosumer_tools.archive import answers, words
from prosumer_tools.archive.database import Database
from prosumer_tools.archive.search import count, search
from prosumer_tools.archive.store import Archive
from prosumer_tools.commands import check_receipt


@pytest.fixture
def archive(tmp_path):
    """A street of four with nine blocks, its genesis beside it."""
    archive, street, feeder = filled(tmp_path / "a.db", 9)
    (tmp_path / "genesis.bin").write_bytes(street.record)
    return archive, street, feeder


def test_minted_coins_are_proven_by_the_accounts_before_and_after(archive, tmp_path, capsys):
    archive, street, feeder = archive
    hits = search(archive, feeder, "coins", side="minted", member=2)
    assert len(hits) == 8 and [h["readings"] for h in hits] == [[h["slot"] - 1] for h in hits], "it names the slot that they were generated in"
    for hit in hits:
        before, after = check_receipt.check([base64.b64decode(hit[k]) for k in ("before", "receipt")], street.record)
        assert (before["member"], before["slot"], after["slot"]) == (2, hit["slot"] - 1, hit["slot"])
        assert after["account"]["green_mwh"] - before["account"]["green_mwh"] == hit["amount"] > 0
    assert main("search", tmp_path / "a.db", "coins", "--side", "minted", "--member", 2, "--first", 5, "--last", 6, "--receipts", tmp_path / "found") == 0
    assert "2 coins, receipts in" in capsys.readouterr().out
    files = sorted((tmp_path / "found").iterdir())
    assert [f.name for f in files] == ["coins-5-2-0-before.bin", "coins-5-2-0.bin", "coins-6-2-1-before.bin", "coins-6-2-1.bin"]
    assert command(check_receipt, "check-receipt", *files, "--genesis", tmp_path / "genesis.bin") == 0
    said = capsys.readouterr().out
    grown = {h["slot"]: f"{h['amount'] / 1e6:+.6f} kWh" for h in hits}
    for slot in (5, 6):
        assert f"member 2 from after block {slot - 1} to after block {slot}: green coins {grown[slot]}, retired +0.000000 kWh" in said
    assert said.count("register of generation") == 2 and f"{files[0]}:\nmember 2 of Chain Street, slot 4" in said


def test_coins_that_came_and_went_have_their_own_record():
    archive, street = Archive(Database(":memory:")), Paper(4)
    feeder = archive.enrol(street.record)
    for i in range(6):
        if i == 4:
            street.transfer(0, 0, 1, 1000, b"for the lamp")
        archive.take(feeder, *street.block())
    given, = search(archive, feeder, "coins", side="given")
    assert "before" not in given and given["readings"] == []
    found, = check_receipt.check([base64.b64decode(given["receipt"])], street.record)
    assert found["transfers"][0]["amount"] == given["amount"] == 1000
    minted = search(archive, feeder, "coins", side="minted", member=0, first=4, last=4)[0]
    two = check_receipt.check([base64.b64decode(minted[k]) for k in ("before", "receipt")], street.record)
    assert f"register of generation {minted['amount'] / 1e6:+.6f} kWh" in words.grown(*two), "what was minted shows beside what went away"


def test_it_says_how_many_there_are_and_shows_the_others(archive, tmp_path, capsys):
    archive, _, feeder = archive
    everything = search(archive, feeder, "trades", proofs=False)
    assert count(archive, feeder, "trades") == len(everything) > 10
    assert search(archive, feeder, "trades", proofs=False, limit=5, skip=3) == everything[3:8]
    assert main("search", tmp_path / "a.db", "trades", "--limit", 5) == 0
    assert f"the first 5 of {len(everything)} trades; --limit and --skip show others" in capsys.readouterr().out
    assert main("search", tmp_path / "a.db", "trades", "--limit", 5, "--skip", len(everything) - 5) == 0
    assert capsys.readouterr().out.endswith(f"5 of {len(everything)} trades, after the first {len(everything) - 5}\n")
    assert main("search", tmp_path / "a.db", "trades") == 0
    assert capsys.readouterr().out.endswith(f"\n{len(everything)} trades\n")
    said = answers.answer(archive, feeder, "search", {"kind": "trades", "limit": 2, "skip": 1, "proofs": 0}, answers.OPERATOR)
    assert said == {"hits": everything[1:3], "of": len(everything)}


@pytest.mark.parametrize(("given", "why"), [
    (("trades", "--limit", 0), "1 to 1000 hits at a time, not 0"), (("trades", "--limit", 1001), "not 1001"), (("trades", "--skip", -1), "no -1 hits"),
    (("entries", "--side", "settld"), "entries cannot be searched by 'settld'; there are settled, missing, gap, penalty"),
    (("coins", "--side", "mint"), "there are minted, given"), (("readings", "--side", "bought"), "readings cannot be searched by 'bought'")])
def test_what_cannot_be_meant_is_refused(archive, tmp_path, capsys, given, why):
    assert main("search", tmp_path / "a.db", *given) == 2
    assert why in capsys.readouterr().err


def test_receipts_of_a_search_are_checked_together(archive, tmp_path, capsys):
    archive, street, feeder = archive
    assert main("search", tmp_path / "a.db", "trades", "--limit", 3, "--receipts", tmp_path / "found") == 0
    files = sorted((tmp_path / "found").iterdir())
    genesis = ("--genesis", tmp_path / "genesis.bin")
    assert command(check_receipt, "check-receipt", *files, *genesis) == 0
    capsys.readouterr()
    assert command(check_receipt, "check-receipt", "--json", *files, *genesis) == 0
    found = json.loads(capsys.readouterr().out)
    assert [f["file"] for f in found] == [str(f) for f in files] and all(f["trade"] for f in found)
    files[1].write_bytes(files[1].read_bytes()[:-1] + b"\1")
    assert command(check_receipt, "check-receipt", *files, *genesis) == 1
    assert capsys.readouterr().out.count("REFUSED") == 1
    (tmp_path / "letter").write_text("no receipt at all")
    assert command(check_receipt, "check-receipt", *files, tmp_path / "letter", *genesis) == 2
    assert f"{tmp_path / 'letter'}: no receipt in it" in capsys.readouterr().err


def test_a_receipt_under_another_feeders_genesis_is_called_so(archive, tmp_path, capsys):
    archive, _, feeder = archive
    (tmp_path / "other.bin").write_bytes(Paper(4, "Another Street").record)
    assert main("search", tmp_path / "a.db", "trades", "--limit", 1, "--receipts", tmp_path / "found") == 0
    file, = (tmp_path / "found").iterdir()
    assert command(check_receipt, "check-receipt", file, "--genesis", tmp_path / "other.bin") == 1
    assert "REFUSED: it is of another feeder than this genesis, or was changed" in capsys.readouterr().out
