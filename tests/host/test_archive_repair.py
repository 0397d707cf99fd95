"""A damaged archive is mended in place from what others have, and never ends in a traceback; what is no archive is left alone."""
import random
import sqlite3

import pytest
from chain_kit import Paper
from postgres_kit import create, postgres, url  # noqa: F401 (fixtures)
from test_archive_store import filled, main

from prosumer_tools.archive import answers, receipts
from prosumer_tools.archive.chain import Refused
from prosumer_tools.archive.check import check
from prosumer_tools.archive.database import Database
from prosumer_tools.archive.format import file_of
from prosumer_tools.archive.repair import repair
from prosumer_tools.archive.sources import Kept
from prosumer_tools.archive.store import Archive


def pair(url, tmp_path, slots=12):
    """(archive, another with the same blocks, street, feeder): an amendment, evidence and transfers among them."""
    archive, street = Archive(Database(url)), Paper(5)
    other = Archive(Database(tmp_path / "other.db"))
    feeder = archive.enrol(street.record)
    other.enrol(street.record)
    for slot in range(slots):
        if slot == 2:
            street.lie(4)
        if slot == 4:
            street.amend(retail=260_000)
        if slot == 5:
            street.transfer(255, 2, 1, 5_000_000, b"July")
        block = street.block(certified=slot in (4, slots - 1) or slot % 3 > 0)
        for a in (archive, other):
            a.take(feeder, *block)
    assert archive.chain(feeder).height == slots and check(archive, feeder).ok
    return archive, other, street, feeder


def spoil(column, height=5):
    def damage(archive):
        value = bytearray(archive.db.one(f"SELECT {column} FROM blocks WHERE height = {height}")[0])
        value[-3] ^= 4
        archive.db.do(f"UPDATE blocks SET {column} = ? WHERE height = {height}", bytes(value))
    return damage


def does(*statements):
    def damage(archive):
        for statement in statements:
            archive.db.do(statement)
    return damage


DERIVED = {
    "state": spoil("state"), "hash": spoil("hash"), "last state": spoil("state", 11),
    "another state": does("UPDATE blocks SET state = (SELECT state FROM blocks WHERE height = 3) WHERE height = 11"),
    "slot": does("UPDATE blocks SET slot = 77 WHERE height = 3"),
    "heights": does(*(f"UPDATE blocks SET height = {h + 1} WHERE height = {h}" for h in range(11, 4, -1))),
    "readings": does("UPDATE readings SET import_mwh = import_mwh + 1 WHERE member = 1 AND slot = 4", "DELETE FROM readings WHERE member = 2"),
    "a reading under another block": does("UPDATE readings SET height = 1 WHERE member = 1 AND slot = 4"),
    "entries": does("DELETE FROM entries WHERE height = 5 AND place = 0", "UPDATE entries SET height = 99 WHERE height = 6"),
    "trades": does("INSERT INTO trades SELECT feeder, member, 99, 99, price_ucr_per_kwh, bought_mwh, sold_mwh FROM trades WHERE slot = 4 AND member = 1"),
    "coins": does("UPDATE coins SET amount = amount * 2"), "evidence": does("DELETE FROM evidence"),
    "nodes": does("DELETE FROM nodes WHERE level = 1 AND place = 1", "UPDATE nodes SET level = 50 WHERE level = 2 AND place = 1"),
    "all derived": does(*(f"DELETE FROM {table}" for table in ("nodes", "readings", "trades", "entries", "coins", "evidence"))),
    "amendment": does("DELETE FROM genesis WHERE number = 1"),
    "amendment's number": does("UPDATE genesis SET number = 7 WHERE number = 1"),
    "name": does("UPDATE feeders SET name = 'Elsewhere'"), "list": does("DELETE FROM feeders"),
}
LOST = {
    "tail": does("DELETE FROM blocks WHERE height >= 6"), "one": does("DELETE FROM blocks WHERE height = 5"), "first": does("DELETE FROM blocks WHERE height = 0"),
    "all": does("DELETE FROM blocks"), "proposal": spoil("proposal"), "head": does("UPDATE blocks SET proposal = hash WHERE height = 6"),
    "certificate": spoil("certificate"), "certificates": does("UPDATE blocks SET certificate = hash"),
    "two": does("DELETE FROM blocks WHERE height IN (3, 8)"), "genesis": does("DELETE FROM genesis"),
    "genesis and list": does("DELETE FROM genesis", "DELETE FROM feeders", "UPDATE blocks SET state = hash WHERE height > 7"),
}


def test_all_at_once(url, tmp_path, capsys):
    mended(url, tmp_path, lambda archive: [damage(archive) for damage in DERIVED.values()], True, capsys)


def test_blocks_are_lost(url, tmp_path, capsys):
    mended(url, tmp_path, lambda archive: [LOST[what](archive) for what in ("tail", "one", "genesis and list")], False, capsys)


@pytest.mark.parametrize("what", DERIVED | LOST)
def test_all_that_check_finds_is_mended(tmp_path, what, capsys):
    mended(tmp_path / "a.db", tmp_path, (DERIVED | LOST)[what], what in DERIVED, capsys)


def mended(url, tmp_path, damage, derived, capsys):
    """`derived`: the archive's own blocks are enough."""
    archive, other, street, feeder = pair(url, tmp_path)
    damage(archive)
    archive.db.close()
    assert main("check", url) == 1
    if derived:
        assert main("repair", url) == 0, capsys.readouterr().out
    else:
        assert main("repair", url, tmp_path / "other.db") == 0, capsys.readouterr().out
        assert "other.db" in capsys.readouterr().out
    again = Archive(Database(url))
    assert again.db.all("SELECT feeder, height, slot, hash, proposal FROM blocks ORDER BY height") == \
        other.db.all("SELECT feeder, height, slot, hash, proposal FROM blocks ORDER BY height")
    assert check(again, feeder).ok and again.take(feeder, *street.block()) == 1
    again.db.close()
    capsys.readouterr()
    assert main("repair", url) == 0
    assert "\n" + capsys.readouterr().out.split(": ")[1] == "\n0 blocks mended\n" + feeder.hex(), "a second time changes nothing"


def test_import_into_an_archive_whose_newest_blocks_are_lost_says_what_to_do(url, tmp_path, capsys):
    archive, other, street, feeder = pair(url, tmp_path)
    LOST["tail"](archive)
    archive.db.close()
    assert main("import", url, tmp_path / "other.db") == 2
    said = capsys.readouterr()
    assert "block 6 cannot be stored, for rows of lost blocks are in its way" in said.err and "`repair` mends it" in said.err
    archive = Archive(Database(url))
    with pytest.raises(Refused, match="in its way"):
        archive.take(feeder, *street.block())  # what comes meanwhile waits
    archive.db.close()
    assert main("repair", url, tmp_path / "other.db") == 0
    assert Archive(Database(url)).chain(feeder).height == 13


def test_without_a_source_what_is_there_stays(url, tmp_path, capsys):
    archive, other, street, feeder = pair(url, tmp_path)
    LOST["one"](archive)
    DERIVED["state"](other)
    rows = archive.db.all("SELECT height, hash FROM blocks ORDER BY height")
    archive.db.close()
    assert main("repair", url) == 1
    said = capsys.readouterr().out
    assert "after slot 4 a block is missing or damaged that no source has: 6 blocks from slot 6 on are not checked" in said
    assert "blocks 5 to 5 (from slot 5 on) are lost" in said
    assert Archive(Database(url)).db.all("SELECT height, hash FROM blocks ORDER BY height") == rows
    assert main("repair", url, tmp_path / "other.db") == 0, "a source may be damaged itself"


def test_a_newest_block_that_cannot_be_gone_on_from_is_taken_out(url, tmp_path):
    archive, other, street, feeder = pair(url, tmp_path)
    for height in (10, 11):
        spoil("proposal", height)(archive)
    does("DELETE FROM blocks WHERE height = 6", "UPDATE blocks SET state = hash WHERE height = 9")(archive)
    told = []
    assert repair(archive, feeder, [], told.append) == 3 and [t.split(",")[0] for t in told[:3]] == [f"block {h}: taken out" for h in (11, 10, 9)]
    assert archive.chain(feeder).height == 9
    assert repair(archive, feeder, [Kept(other)], told.append) == 4
    assert check(archive, feeder).ok and archive.chain(feeder).height == 12


def test_where_one_source_has_a_gap_or_a_damage_the_next_is_asked(url, tmp_path, capsys):
    street = Paper(4)
    blocks = [street.block() for _ in range(10)]
    run = tmp_path / "run"
    (run / "records").mkdir(parents=True)
    (run / "genesis.bin").write_bytes(street.record)
    for slot, block in enumerate(blocks):
        (run / f"records/block-{slot:05d}.bin").write_bytes(file_of(*block)[:(None, 40)[slot == 7]])
    for name, lost in (("one", 2), ("two", 5)):
        other = Archive(Database(tmp_path / f"{name}.db"))
        other.enrol(street.record)
        for block in blocks:
            other.take(street.feeder, *block)
        other.db.do("DELETE FROM blocks WHERE height = ?", lost)
        if name == "two":
            spoil("proposal", 8)(other)
        other.db.close()
    (run / "records/block-00002.bin").unlink()
    for sources in (("one.db", "two.db", "run"), ("two.db", "run", "one.db")):
        place = tmp_path / f"{sources[0]}-new"
        assert main("import", place, *(tmp_path / s for s in sources)) == 0, capsys.readouterr().err
        assert Archive(Database(place)).chain(street.feeder).height == 10
    assert main("import", url, tmp_path / "one.db", run) == 2
    said = capsys.readouterr()
    assert "run: block 7: length field: says more than the file has" in said.err
    assert said.out.splitlines()[-1].endswith("7 blocks from slot 3 on wait for one that is missing after slot 1; import it from a run or another archive")
    assert main("import", url, tmp_path / "two.db") == 0
    assert Archive(Database(url)).gap(street.feeder) == (9, [])
    spoiled = Archive(Database(url))
    for height in range(10):
        spoil("proposal", height)(spoiled)
    spoiled.db.close()
    assert main("repair", url, run, tmp_path / "two.db", tmp_path / "one.db") == 0
    assert "block 2: from " + str(tmp_path / "two.db") in capsys.readouterr().out


def test_a_source_that_lies_is_not_believed(url, tmp_path):
    """Its block has a member's reading changed, its own rows follow; the certificate is of the true one."""
    archive, other, street, feeder = pair(url, tmp_path)
    forged = Paper(5)
    for _ in range(5):
        proposal, certificate = forged.block()
    liar = Archive(Database(":memory:"))
    for table in ("feeders", "genesis", "blocks"):
        for row in other.db.all(f"SELECT * FROM {table}"):
            liar.db.do(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", *row)
    liar.db.do("UPDATE blocks SET proposal = ? WHERE height = 4", proposal)
    spoil("certificate", 7)(liar)
    LOST["one"](archive)
    archive.db.do("DELETE FROM blocks WHERE height IN (4, 7)")
    told = []
    repair(archive, feeder, [Kept(liar)], told.append)
    assert not check(archive, feeder).ok and "after slot 2" in told[-1]
    repair(archive, feeder, [Kept(liar), Kept(other)], told.append)
    assert check(archive, feeder).ok


def test_another_history_is_told(url, tmp_path, capsys):
    archive, other, street, feeder = pair(url, tmp_path, 6)
    fork = Archive(Database(tmp_path / "fork.db"))
    fork.enrol(street.record)
    branch = Paper(5)
    branch.dice = random.Random("another")
    for _ in range(8):
        fork.take(feeder, *branch.block())
    fork.db.close()
    archive.db.close()
    assert main("import", url, tmp_path / "fork.db") == 2
    assert "block 5 is not the one that is final here" in capsys.readouterr().err
    assert Archive(Database(url)).gap(feeder) == (5, [])


def test_a_cut_at_any_statement_of_a_repair_leaves_what_a_repair_mends(tmp_path):
    archive, other, street, feeder = pair(tmp_path / "a.db", tmp_path, 5)
    does("DELETE FROM blocks WHERE height = 1", "DELETE FROM nodes WHERE level = 1", "UPDATE feeders SET name = 'x'")(archive)
    archive.db.backup(tmp_path / "copy")
    cuts, done = 0, False
    while not done:
        (tmp_path / f"{cuts}.db").write_bytes((tmp_path / "copy").read_bytes())
        again = Archive(Database(tmp_path / f"{cuts}.db"))
        do, left = again.db.do, [cuts]

        def dying(sql, *values, do=do, left=left):
            left[0] -= sql.startswith(("DELETE", "INSERT", "UPDATE"))
            if left[0] < 0:
                raise KeyboardInterrupt
            return do(sql, *values)
        again.db.do = dying
        try:
            repair(again, feeder, [Kept(other)])
            done = True
        except KeyboardInterrupt:
            again.db.link.close()
            again = Archive(Database(tmp_path / f"{cuts}.db"))
            repair(again, feeder, [Kept(other)])
        assert check(again, feeder).ok
        cuts += 7
    assert cuts > 30


def test_a_damaged_state_is_a_reason_not_a_traceback(url, tmp_path, capsys):
    archive, other, street, feeder = pair(url, tmp_path)
    spoil("state", 6)(archive)
    spoil("state", 11)(archive)
    archive.db.do("UPDATE blocks SET proposal = hash WHERE height = 3")
    archive = Archive(archive.db)
    with pytest.raises(Refused, match="state kept with block 6 cannot be read: `prosumer archive check` tells what else, `repair` mends it"):
        receipts.receipt(_opened_at_tip(archive, other, feeder), feeder, 1, 7)
    with pytest.raises(Refused, match="state kept with block 11 cannot be read"):
        answers.status(Archive(archive.db), feeder)
    archive.db.close()
    for action in (("status",), ("search", "trades", "--json"), ("export", tmp_path / "out")):
        assert main(action[0], url, *action[1:]) in (0, 2), action
    assert "block 11 cannot be read" in capsys.readouterr().err


def _opened_at_tip(archive, other, feeder):
    """An archive that opened its chain before the damage."""
    archive.chains[feeder] = other.chain(feeder)
    return archive


def test_what_is_no_archive_is_refused_and_stays_as_it_is(tmp_path, capsys):
    for name, data in (("empty", b""), ("byte", b"x"), ("letter", b"this is a letter"), ("long", b"this is a letter" * 1000)):
        path = tmp_path / name
        path.write_bytes(data)
        for action in (["status"], ["check"], ["repair"], ["serve"], ["export", tmp_path / "out"], ["token"], ["backup", tmp_path / "copy"]):
            assert main(action[0], path, *action[1:]) == 2, (name, action)
            said = capsys.readouterr().err
            assert ("is no archive" in said or "not a database" in said) and path.read_bytes() == data, (name, action)
        if data:
            assert main("import", path, tmp_path) == 2 and path.read_bytes() == data
    with sqlite3.connect(tmp_path / "books.db") as link:
        link.execute("CREATE TABLE recipes (name TEXT)")
    link.close()
    data = (tmp_path / "books.db").read_bytes()
    archive, street, feeder = filled(tmp_path / "a.db", 2)
    for action in (["status"], ["import", tmp_path / "a.db"]):
        assert main(action[0], tmp_path / "books.db", *action[1:]) == 2
        assert "a database of something else" in capsys.readouterr().err and (tmp_path / "books.db").read_bytes() == data
    assert main("import", tmp_path / "none.db", tmp_path / "missing.db") == 2 and not (tmp_path / "none.db").exists()
    assert main("import", tmp_path / "empty", tmp_path / "a.db") == 0, "an empty file is a place for one"


def test_an_empty_server_is_no_archive(postgres, capsys):
    place = create(postgres, "nothing")
    assert main("status", place) == 2
    assert "there is no archive in" in capsys.readouterr().err
    assert not Database(place, create=None).all("SELECT 1 FROM pg_tables WHERE schemaname = 'public'")


def test_an_archive_without_feeders_does_not_hold(url, capsys):
    archive, street, feeder = filled(url, 3)
    archive.db.do("DELETE FROM feeders")
    assert main("check", url) == 1
    assert "the list of feeders has lost it" in capsys.readouterr().out
    archive.db.do("INSERT INTO feeders VALUES (?, 'Elsewhere')", feeder)
    assert main("check", url) == 1
    assert "the list of feeders calls it 'Elsewhere', its genesis 'Chain Street'" in capsys.readouterr().out
    for table in ("feeders", "genesis", "blocks"):
        archive.db.do(f"DELETE FROM {table}")
    archive.db.close()
    for action in ("check", "repair"):
        assert main(action, url) == 1
        assert "the archive has no feeders" in capsys.readouterr().out
