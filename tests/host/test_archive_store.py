"""The archive in SQLite and in PostgreSQL: what goes in, what comes out with proofs, what is found when the database lies or has lost."""
import argparse
import base64
import csv
import json
import shutil
import sqlite3

import psycopg
import pyarrow.parquet
import pytest
from chain_kit import Paper
from postgres_kit import create, postgres, url  # noqa: F401 (fixtures)
from verify_kit import day, month, run  # noqa: F401 (fixtures)

from prosumer_tools.archive import answers, receipts
from prosumer_tools.archive.chain import Refused
from prosumer_tools.archive.check import against, check
from prosumer_tools.archive.database import Database
from prosumer_tools.archive.search import search
from prosumer_tools.archive.store import Archive
from prosumer_tools.commands import archive as command
from prosumer_tools.commands.check_receipt import check as check_receipts

def main(*args):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["archive", *map(str, args)])
    return args.run(args)


def filled(url, slots=8, n=4):
    archive, street = Archive(Database(url)), Paper(n)
    feeder = archive.enrol(street.record)
    assert [archive.take(feeder, *street.block()) for _ in range(slots)] == [1] * slots
    return archive, street, feeder


# -- in and out


def test_a_day_goes_in_and_every_search_comes_out_with_its_proof(url, day):
    archive = Archive(Database(url))
    feeder, joined = archive.bring_in(day)
    assert joined == 18 and archive.bring_in(day) == (feeder, 0), "a second time changes nothing"
    genesis = (day / "genesis.bin").read_bytes()
    hits = search(archive, feeder, "readings", member=2) + search(archive, feeder, "trades", min_mwh=200_000) \
        + search(archive, feeder, "entries", side="penalty", member=2) + search(archive, feeder, "coins", first=3, last=4)
    assert len(hits) > 30 and len({h["member"] for h in hits}) > 3
    found = check_receipts([base64.b64decode(h["receipt"]) for h in hits], genesis)
    for hit, receipt in zip(hits, found):
        assert (receipt["member"], receipt["slot"]) == (hit["member"], hit["slot"])
        if "bought_mwh" in hit:
            assert receipt["trade"] == {k: hit[k] for k in ("price_ucr_per_kwh", "bought_mwh", "sold_mwh")}
        elif "import_mwh" in hit:
            assert {k: receipt["reading"][k] for k in ("import_mwh", "export_mwh", "generation_mwh")} == {
                k: hit[k] for k in ("import_mwh", "export_mwh", "generation_mwh")}
        elif "amount" in hit:
            assert receipt["account"]["green_mwh"] >= hit["amount"]


def test_searches_narrow_down(url):
    archive, street, feeder = filled(url, 9)
    def find(kind, **how):
        return search(archive, feeder, kind, proofs=False, **how)
    trades = find("trades")
    assert {t["slot"] for t in trades} == set(range(2, 10)) and len(trades) == len({(t["slot"], t["member"]) for t in trades})
    assert find("trades", member=1) == [t for t in trades if t["member"] == 1]
    assert find("trades", first=4, last=6) == [t for t in trades if 4 <= t["slot"] <= 6]
    assert find("trades", min_mwh=30_000) == [t for t in trades if t["bought_mwh"] + t["sold_mwh"] >= 30_000]
    assert find("trades", max_mwh=30_000) == [t for t in trades if t["bought_mwh"] + t["sold_mwh"] <= 30_000]
    assert find("trades", side="sold") == [t for t in trades if t["sold_mwh"]] != trades
    assert find("trades", limit=3) == trades[:3]
    assert find("coins", side="minted", member=0) and not find("coins", member=1)
    for how in ({"side": "left"}, {"side": "minted"}):
        with pytest.raises(Refused):
            find("trades", **how)
    with pytest.raises(Refused):
        find("passwords")


def test_blocks_in_any_order_and_twice(url):
    archive, street = Archive(Database(url)), Paper(4)
    feeder = archive.enrol(street.record)
    blocks = [street.block(certified=i not in (2, 3)) for i in range(8)]
    order = [1, 0, 0, 3, 5, 4, 7, 6, 2]
    assert [archive.take(feeder, *blocks[i]) for i in order] == [0, 2, 0, 0, 0, 0, 0, 0, 6]
    assert archive.gap(feeder) == (7, []) and archive.chain(feeder).height == 8
    assert check(archive, feeder).ok


def test_a_gap_is_told_and_closes_later(url, tmp_path, capsys):
    archive, street = Archive(Database(url)), Paper(4)
    feeder = archive.enrol(street.record)
    blocks = [street.block() for _ in range(6)]
    for i in (0, 1, 3, 4, 5):
        archive.take(feeder, *blocks[i])
    assert archive.gap(feeder) == (1, [3, 4, 5]) and answers.status(archive, feeder)["missing_between"] == [1, 3]
    assert main("status", url) == 0 and "3 blocks from slot 3 on wait for one that is missing after slot 1" in capsys.readouterr().out
    other = Archive(Database(tmp_path / "other.db"))
    other.enrol(street.record)
    for b in blocks[:4]:
        other.take(feeder, *b)
    assert main("import", url, tmp_path / "other.db") == 0
    assert "4 blocks joined" in capsys.readouterr().out
    assert Archive(Database(url)).gap(feeder) == (5, [])


def test_what_does_not_fit_is_refused_and_changes_nothing(url):
    archive, street, feeder = filled(url, 3)
    other = Paper(4, "Another Street")
    good = street.block()
    few = street.certificate([0, 1])
    double = bytearray(good[1])
    double[-1] ^= 1
    bad_body = bytearray(good[0])
    bad_body[-1] ^= 1
    for proposal, certificate in ((good[0], few), (good[0], bytes(double)), (bytes(bad_body), good[1]), (good[0], other.block()[1])):
        with pytest.raises(ValueError):
            archive.take(feeder, proposal, certificate)
        assert archive.chain(feeder).slot == 2 and archive.db.one("SELECT count(*) FROM blocks")[0] == 3
    assert archive.take(feeder, *good) == 1
    with pytest.raises(Refused, match="not the one that is final"):
        archive.take(feeder, good[0][:40] + b"x" + good[0][41:], good[1])
    with pytest.raises(Refused, match="no feeder"):
        archive.take(other.feeder, *good)


def test_a_cut_at_any_statement_leaves_whole_blocks(tmp_path):
    """The program dies at each statement of an append in turn; what is on the disk then is a good archive that goes on."""
    street = Paper(4)
    blocks = [street.block() for _ in range(4)]
    cuts = 0
    while True:
        path = tmp_path / f"cut{cuts}.db"
        database = Database(path)
        archive = Archive(database)
        feeder = archive.enrol(street.record)
        for b in blocks[:3]:
            archive.take(feeder, *b)
        do, left = database.do, [cuts]

        def dying(sql, *values, do=do, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return do(sql, *values)
        database.do = dying
        try:
            archive.take(feeder, *blocks[3])
            done = True
        except KeyboardInterrupt:
            done = False
        database.link.close()
        again = Archive(Database(path))
        assert check(again, feeder).ok and again.chain(feeder).height in (3, 4)
        again.take(feeder, *blocks[3])
        assert again.chain(feeder).height == 4 and check(again, feeder).ok
        if done:
            break
        cuts += 1
    assert cuts >= 4


def test_many_feeders_in_one_archive(url):
    archive = Archive(Database(url))
    streets = [Paper(4, f"Street {i}") for i in range(3)]
    for street in streets:
        archive.enrol(street.record)
    for i in range(5):
        for street in streets[:3 if i < 4 else 2]:
            archive.take(street.feeder, *street.block())
    assert [name for _, name in archive.feeders()] == ["Street 0", "Street 1", "Street 2"]
    assert [archive.chain(s.feeder).height for s in streets] == [5, 5, 4]
    again = Archive(Database(url))
    for street in streets:
        assert check(again, street.feeder).ok
        data = receipts.receipt(again, street.feeder, 1, 2)
        assert "refused" not in check_receipts([data], street.record)[0]
    assert main("status", url) == 0
    assert main("search", url, "trades") == 2, "which of them?"
    assert main("search", url, "trades", "--feeder", "Street 1") == 0


def test_resumes_where_it_stopped(url):
    archive, street, feeder = filled(url, 5)
    archive.db.close()
    again = Archive(Database(url))
    assert (again.chain(feeder).height, again.chain(feeder).tip) == (5, street.tip)
    assert again.take(feeder, *street.block()) == 1 and check(again, feeder).ok


# -- proofs over headers


def test_consistency_and_catch_up(url):
    archive, street, feeder = filled(url, 21)
    for old in range(1, 21):
        found = receipts.catch_up(archive, feeder, old)
        assert found["new"] == 20 and len(found["proof"]) % 32 == 0
    assert receipts.catch_up(archive, feeder, 20)["proof"] == b""
    with pytest.raises(Refused):
        receipts.catch_up(archive, feeder, 21)
    with pytest.raises(Refused):
        receipts.consistency(archive, feeder, 0, 5)


# -- a database that lies or has lost


LIES = (
    ("UPDATE blocks SET proposal = ? WHERE height = 3", "proposal", "height 3: "),
    ("UPDATE blocks SET certificate = ? WHERE height = 3", "certificate", "good signatures"),
    ("UPDATE blocks SET state = ? WHERE height = 3", "state", "block 3: the state kept with it"),
    ("UPDATE blocks SET hash = ? WHERE height = 3", "hash", "block 3: stands under slot 3, or another hash"),
)


@pytest.mark.parametrize(("statement", "column", "words"), LIES)
def test_a_changed_block_is_found(url, statement, column, words):
    archive, _, feeder = filled(url)
    value = bytearray(archive.db.one(f"SELECT {column} FROM blocks WHERE height = 3")[0])
    value[-3] ^= 4
    archive.db.do(statement, bytes(value))
    result = check(Archive(archive.db), feeder)
    assert not result.ok and words in result.faults[0], result.faults


@pytest.mark.parametrize(("statement", "words"), [
    ("UPDATE readings SET import_mwh = import_mwh + 1 WHERE member = 1 AND slot = 4", "block 5: its readings in the tables"),
    ("UPDATE trades SET price_ucr_per_kwh = 1 WHERE member = 1 AND slot = 4", "block 3: its trades"),
    ("DELETE FROM entries WHERE height = 5 AND place = 0", "block 5: its entries"),
    ("UPDATE coins SET amount = amount * 2 WHERE member = 0 AND slot = 4", "block 4: its coins"),
    ("INSERT INTO trades SELECT feeder, member, 99, 99, price_ucr_per_kwh, bought_mwh, sold_mwh FROM trades WHERE slot = 4 AND member = 1", "1 trades belong to no block"),
    ("DELETE FROM nodes WHERE level = 1 AND place = 1", "node 1/1 of the accumulator is lost"),
    ("UPDATE nodes SET hash = (SELECT hash FROM nodes WHERE level = 0 AND place = 0) WHERE level = 0 AND place = 2", "node 0/2 of the accumulator is another"),
    ("UPDATE blocks SET slot = 77 WHERE height = 3", "stands under slot 77"),
    ("DELETE FROM blocks WHERE height = 3", "blocks 3 to 3 (from slot 3 on) are lost"),
    ("DELETE FROM blocks WHERE height >= 5", "readings belong to no block"),
    ("DELETE FROM genesis", "the genesis is missing"),
])
def test_a_changed_or_lost_row_is_found(url, statement, words):
    archive, _, feeder = filled(url)
    assert check(archive, feeder).ok
    archive.db.do(statement)
    result = check(Archive(archive.db), feeder)
    assert any(words in f for f in result.faults), result.faults


def spoiled(raw):
    return raw[:-1] + bytes([raw[-1] ^ 1])


def test_a_record_that_its_member_did_not_sign_is_found(url):
    """A body changed together with the header, the quorum's keys in the wrong hands: only the member's own signature tells."""
    street = Paper(4)
    reading = street.reading
    street.reading = lambda m, slot: spoiled(reading(m, slot)) if (m, slot) == (2, 3) else reading(m, slot)
    archive = Archive(Database(url))
    feeder = archive.enrol(street.record)
    for _ in range(6):
        archive.take(feeder, *street.block())
    assert check(archive, feeder).faults == ["block 4: reading of member 2: its signature does not match"]
    assert check(archive, feeder, records=False).ok, "--quick trusts the quorum"


def test_a_lost_tail_shows_against_what_meters_hold(url, run, capsys):
    archive = Archive(Database(url))
    feeder, _ = archive.bring_in(run)
    ring = run / "records/meter-olivier.bin"
    assert main("check", url, "--against", ring) == 0
    assert "all holds" in capsys.readouterr().out
    for table in ("blocks", "readings", "trades", "entries", "coins"):
        archive.db.do(f"DELETE FROM {table} WHERE height >= 4")
    archive.db.do("DELETE FROM nodes WHERE level = 0 AND place >= 4 OR level = 1 AND place >= 2 OR level >= 2 AND place >= 1")
    assert check(Archive(archive.db), feeder).ok, "a shorter chain is a chain"
    assert main("check", url, "--against", ring) == 1
    assert "2 blocks after slot 3 are lost: others hold their headers (meter-olivier.bin)" in capsys.readouterr().out
    other = Paper(4)
    other.block()
    raw = other.block()[0][1:147]
    assert against(Archive(archive.db), feeder, [raw]) == ["block 1 is not the one that others hold the header of"]


def test_a_damaged_or_foreign_file(tmp_path, capsys):
    archive, street, feeder = filled(tmp_path / "a.db", 20)
    archive.db.close()
    data = bytearray((tmp_path / "a.db").read_bytes())
    assert data[:6] == b"SQLite"
    for page in range(3, len(data) // 4096):
        data[page * 4096 + 100:page * 4096 + 600] = bytes(500)
    (tmp_path / "b.db").write_bytes(data)
    assert main("check", tmp_path / "b.db") in (1, 2)
    out = capsys.readouterr()
    assert "damaged" in out.out or "malformed" in out.err or "fault" in out.out
    (tmp_path / "c.db").write_bytes(b"this is no database, it is a letter to the operator" * 100)
    assert main("status", tmp_path / "c.db") == 2
    assert "not a database" in capsys.readouterr().err
    assert main("status", tmp_path / "none.db") == 2 and not (tmp_path / "none.db").exists()
    assert "there is no archive at" in capsys.readouterr().err
    with sqlite3.connect(tmp_path / "a.db") as link:
        link.execute("UPDATE meta SET value = '99'")
    assert main("status", tmp_path / "a.db") == 2
    assert "version 99" in capsys.readouterr().err


def test_a_server_that_is_not_there(capsys):
    assert main("status", "postgresql://archive:secret@127.0.0.1:1/none") == 2
    said = capsys.readouterr().err
    assert "127.0.0.1" in said and "secret" not in said


# -- two programs, and a server that goes away


def test_who_serves_sees_what_another_program_follows(url):
    """Blocks, an amendment, and a certificate that comes late."""
    archive, street, feeder = filled(url, 5)
    serve = Archive(Database(url))
    assert answers.status(serve, feeder)["blocks"] == 5
    street.amend(retail=260_000)
    for _ in range(5):
        archive.take(feeder, *street.block())
    assert answers.status(serve, feeder)["blocks"] == 10 and answers.catch_up(serve, feeder, 2)["new"] == 9
    data = receipts.receipt(serve, feeder, 1, 8, ("trade", "rules"))
    found = check_receipts([data], street.record, serve.records_of_genesis(feeder)[1:])[0]
    assert found["rules"]["number"] == 1 and serve.genesis(feeder).number == 1
    proposal, certificate = street.block()
    archive.wait_for(feeder, proposal, 0)
    archive.take(feeder, *street.block())
    assert serve.certified(feeder, 10) == [11] and not serve.block(feeder, 10)[1]
    archive.take(feeder, proposal, certificate)
    assert serve.certified(feeder, 10) == [10] and serve.block(feeder, 10)[1]


def test_a_lost_connection_is_made_anew(postgres):
    url = create(postgres, "restarted")
    archive, street, feeder = filled(url, 3)

    def lose():
        with psycopg.connect(url, autocommit=True) as link:
            link.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'restarted'")
    lose()
    assert len(answers.headers(archive, feeder)) == 4 + 3 * 146
    lose()
    assert archive.take(feeder, *street.block()) == 1
    block, many = street.block(), archive.db.many
    archive.db.many = lambda *args: (lose(), many(*args))
    with pytest.raises(archive.db.errors):
        archive.take(feeder, *block)
    archive.db.many = many
    assert archive.chain(feeder).height == 4, "nothing of what was cut"
    assert archive.take(feeder, *block) == 1 and check(archive, feeder).ok
    archive.db.close()
    with pytest.raises(archive.db.errors):
        archive.chain(feeder)


def test_the_entries_of_a_member_are_its_balance(url, month, tmp_path):
    """A month's end: the feeder account shared out, payments of the operator."""
    archive = Archive(Database(url))
    feeder, _ = archive.bring_in(month)
    assert main("export", url, tmp_path / "csv") == 0
    balances = [0] * archive.genesis(feeder).n
    moved = dict.fromkeys(("share_ucr", "payment_ucr"), 0)
    with open(tmp_path / "csv/entries.csv") as file:
        for row in csv.DictReader(file):
            balances[int(row["member"])] += sum(int(v) for k, v in row.items() if k.endswith("_ucr"))
            for leg in moved:
                moved[leg] += abs(int(row[leg]))
    assert balances == [a.balance_ucr for a in archive.chain(feeder).books.accounts] and all(moved.values())


def test_an_archive_of_the_version_before_is_brought_into_a_new_one(tmp_path, capsys):
    archive, street, feeder = filled(tmp_path / "old.db", 4)
    for leg in ("share_ucr", "payment_ucr"):
        archive.db.do(f"ALTER TABLE entries DROP COLUMN {leg}")
    archive.db.do("UPDATE meta SET value = '2'")
    archive.db.close()
    assert main("status", tmp_path / "old.db") == 2
    assert "version 2; this program reads version 4; bring it into a new one: prosumer archive import NEW OLD" in capsys.readouterr().err
    assert main("import", tmp_path / "new.db", tmp_path / "old.db") == 0
    assert check(Archive(Database(tmp_path / "new.db")), feeder).ok


def test_export(url, tmp_path, capsys):
    archive, _, feeder = filled(url, 7)
    assert main("export", url, tmp_path / "csv", "--first", 2, "--last", 4) == 0
    with open(tmp_path / "csv/trades.csv") as file:
        rows = list(csv.DictReader(file))
    assert [{k: int(v) for k, v in r.items() if k != "start"} for r in rows] == search(archive, feeder, "trades", first=2, last=4, proofs=False)
    assert rows[0]["start"] == "2025-06-15T15:20:00Z"
    assert main("export", url, tmp_path / "pq", "--format", "parquet") == 0
    table = pyarrow.parquet.read_table(tmp_path / "pq/readings.parquet")
    assert table.num_rows == 24 and str(table.schema.field("start").type) == "timestamp[ms, tz=UTC]"
    assert table.column("import_mwh").to_pylist() == [h["import_mwh"] for h in search(archive, feeder, "readings", proofs=False)]
    assert pyarrow.parquet.read_table(tmp_path / "pq/headers.parquet").num_rows == 7


def test_search_command_writes_receipts(run, tmp_path, capsys):
    assert main("import", tmp_path / "a.db", run) == 0
    assert main("search", tmp_path / "a.db", "readings", "--member", 1, "--min-kwh", 0.05, "--receipts", tmp_path / "r", "--limit", 3) == 0
    assert "the first 3 of 5 readings; --limit and --skip show others, receipts in" in capsys.readouterr().out
    made = [p.read_bytes() for p in sorted((tmp_path / "r").iterdir())]
    assert len(made) == 3 and all("refused" not in r for r in check_receipts(made, (run / "genesis.bin").read_bytes()))
    assert main("search", tmp_path / "a.db", "coins", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["receipt"]
    assert main("import", tmp_path / "a.db", run / "records") == 2
    shutil.copytree(run, tmp_path / "bad")
    (tmp_path / "bad/records/block-00003.bin").write_bytes(b"\0\0")
    assert main("import", tmp_path / "b.db", tmp_path / "bad") == 2
    assert "length field" in capsys.readouterr().err
