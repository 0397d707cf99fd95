"""`prosumer verify` on what a run's tables state: each figure that follows from the records is theirs, and what cannot be checked is said."""
import argparse
import csv
import datetime
import json
import random
import shutil

import pytest
from verify_kit import day, faults, flip, run  # noqa: F401 (day and run are fixtures)

from prosumer_tools.commands import verify as command
from prosumer_tools.street.genesis import Operator
from prosumer_tools.street.story import Story
from prosumer_tools.feederkeys import keys_record
from prosumer_tools.verify.check import verify_run
from prosumer_tools.verify.figures import keys_fault
from prosumer_tools.verify.records import genesis as decode_genesis
from prosumer_tools.view import Counters, HomeData, HomeSlot, RunData, Verdict, write_report, write_summary

HOMES = ("mimosa", "olivier", "figuier", "lavande")


def told(run):
    """Write the tables of a run on paper as a street that was played does."""
    story = Story((run / "genesis.bin").read_bytes())
    for path in sorted((run / "records").glob("block-*.bin")):
        story.take(path.read_bytes())
    story.zone = datetime.timezone(datetime.timedelta(minutes=story.genesis.utc_offset_min))
    n = max(story.blocks)
    names = [f"home {m}" for m in range(story.genesis.n)] if story.genesis.n != len(HOMES) else HOMES
    homes = [HomeData(name, balance_ucr=a.balance_ucr, green_mwh=a.green_mwh, paid_ucr=story.payments_ucr.get(m, 0) - a.balance_ucr,
                      alone=[HomeSlot()] * n) for m, (name, a) in enumerate(zip(names, story.books.accounts))]
    g, result = story.genesis, verify_run(run)
    data = RunData(g.name, g.slot_s // 60, g.retail, g.feed_in, g.local_fee, homes, [story.slot(k) for k in range(n)], [],
                   Verdict(True, {k: result.counts[k] for k in ("blocks", "readings", "orders")}, []), Counters({"vote": 3}))
    (run / "run.json").write_text(json.dumps({"slots": n, "homes": [{"member": m, "name": name} for m, name in enumerate(names)]}))
    write_summary(data, run)
    write_report(data, run)
    return run


@pytest.fixture
def tables(run):
    return told(run)


def test_the_tables_of_a_run_are_those_of_its_records(tables):
    result = verify_run(tables)
    assert result.faults == [] and result.counts["figures"] > 5 * 9 + 4 * 9 + 20 * 9 + 30
    assert "report.html" in result.not_checked and "run.json" in result.not_checked
    said = "\n".join(result.not_checked)
    assert "of readings.csv battery_mwh" in said and "of homes.csv kind, pv_kwp" in said and "counters" in said


def test_a_street_that_had_void_slots_late_readings_and_penalties_has_true_tables_too(day, tmp_path):
    run = told(shutil.copytree(day, tmp_path / "run", ignore=shutil.ignore_patterns("flash")))
    assert faults(run) == []


def cells(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_any_changed_figure_of_a_table_is_named_with_its_line(tables):
    unchecked = {"slots.csv": {"feeder_net_without_market_mwh"}, "readings.csv": {"battery_mwh"},
                 "homes.csv": {"kind", "pv_kwp", "imported_without_market_mwh", "exported_without_market_mwh", "paid_without_market_ucr",
                               "battery_change_mwh", "battery_change_without_market_mwh"}}
    dice = random.Random(6)
    for name, free in unchecked.items():
        path = tables / name
        before, rows = path.read_text(), cells(path)
        for column, title in enumerate(rows[0]):
            line = dice.randrange(1, len(rows))
            changed = [list(row) for row in rows]
            changed[line][column] += "7"
            with open(path, "w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(changed)
            found = faults(tables)
            if title in free:
                assert found == [], (name, title)
            else:
                assert len(found) == 1 and found[0].startswith(f"{name} line {line + 1} (") and f"{title} is '{changed[line][column]}'" in found[0], found
        path.write_text(before)
    assert faults(tables) == []


def test_any_changed_figure_of_the_summary_is_named(tables):
    path = tables / "summary.json"
    before = path.read_text()

    def places(tree, way=()):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            if isinstance(value, (dict, list)) and value:
                yield from places(value, (*way, key))
            else:
                yield (*way, key)

    caught = set()
    for way in places(json.loads(before)):
        tree = json.loads(before)
        at = tree
        for key in way[:-1]:
            at = at[key]
        old = at[way[-1]]
        at[way[-1]] = not old if isinstance(old, bool) else old + "x" if isinstance(old, str) else [1] if isinstance(old, list) else (old or 0) + 1
        path.write_text(json.dumps(tree))
        found = faults(tables)
        assert len(found) <= 1 and all(f.startswith("summary.json") and str(way[-1]) in f for f in found), (way, found)
        caught |= {str(way[-1])} if found else set()
    assert caught >= {"street", "slots", "slot_minutes", "start", "retail_ucr_per_kwh", "traded_mwh", "neighbours_mwh", "generation_mwh", "self_consumption",
                      "paid_ucr", "mean_price_ucr_per_kwh", "void_slots", "over_limit_slots", "missing_readings", "green_mwh", "home", "imported_mwh", "bought_mwh",
                      "balance_ucr", "ok", "faults", "blocks", "orders"}
    path.write_text("{}")
    assert faults(tables) == ["summary.json: is no summary of a run"]


def test_rows_columns_and_files_that_are_left_out_or_put_in_are_found(tables):
    for name in ("slots.csv", "homes.csv", "readings.csv"):
        path = tables / name
        before = path.read_text()
        lines = before.splitlines(keepends=True)
        for text, words in (("".join(lines[:-1]), "rows, the records give"), (before + lines[-1], "rows, the records give"), ("", "has no column"),
                            (before.replace(lines[0], "x" + lines[0]), "has no column"), (before.replace("\n", ",1\n", 2).replace(",1\n", "\n", 1), "cells"),
                            ("".join([lines[0], lines[2], lines[1], *lines[3:]]), f"{name} line 2 ("), ('"', "no CSV")):
            path.write_text(text)
            found = "\n".join(faults(tables))
            assert name in found and words in found, (name, words, found)
        path.write_bytes(b"\xff\xfe")
        assert faults(tables) == [f"{name}: is no CSV"]
        path.unlink()
        assert faults(tables) == [f"{name}: is missing"]
        path.write_text(before)
    (tables / "run.json").write_text((tables / "run.json").read_text().replace('"slots": 5', '"slots": 4'))
    assert any(f == "run.json: says 4 slots, the records go up to slot 5" for f in faults(tables))


def test_wrapped_feeder_keys_are_those_that_the_operator_signed(run):
    operator = Operator(bytes(32))
    genesis = decode_genesis((run / "genesis.bin").read_bytes())
    genesis.operator = operator.public
    raw = keys_record(operator.sign, genesis.feeder_id, 1, bytes(32), [m[0] for m in genesis.members])
    assert keys_fault(raw, genesis) is None
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:]
        assert keys_fault(changed, genesis), at
    short = keys_record(operator.sign, genesis.feeder_id, 1, bytes(32), [m[0] for m in genesis.members[1:]])
    assert keys_fault(short, genesis) == f"is for {genesis.n - 1} members, the street has {genesis.n}"
    (run / "keys.bin").write_bytes(raw)
    assert faults(run) == ["keys.bin: the operator's signature does not match"], "this street has another operator"


def test_tables_are_not_compared_with_records_that_do_not_hold(tables, capsys):
    (tables / "homes.csv").write_text("home\n")
    flip(tables / "records/block-00004.bin", 1400)
    result = verify_run(tables)
    assert all(f.startswith("block 4: ") for f in result.faults)
    assert {"homes.csv", "summary.json"} <= set(result.not_checked)
    assert "not compared: the records do not hold" in command.text(result)


def test_the_command_names_at_its_end_what_it_did_not_check(tables, capsys):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    for name in ("archive.db", "archive.db-wal"):
        (tables / name).write_bytes(b"")
    args = parser.parse_args(["verify", str(tables)])
    assert args.run(args) == 0
    verdict, *last = capsys.readouterr().out.partition("VERIFIED: ")[2].splitlines()
    assert last[0] == "not checked: archive.db (`prosumer archive check` does), report.html, run.json"
    assert any(line.startswith("not checked: of homes.csv kind, pv_kwp") for line in last)
