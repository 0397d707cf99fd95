"""`prosumer verify` on runs of the street on paper: what holds is passed, and whatever is changed is found and named."""
import argparse
import hashlib
import json
import random
import shutil
import struct

from verify_kit import day, faults, flip, run  # noqa: F401 (day and run are fixtures)

from prosumer_tools.commands import verify as command
from prosumer_tools.verify.check import load_run, verify_run
from prosumer_tools.verify.records import HEADER_SIZE

HOMES = ("mimosa", "olivier", "figuier", "lavande")


# -- what is right


def test_a_street_with_everything_that_a_day_may_bring_holds(day):
    result = verify_run(day)
    assert result.faults == [] and result.ok
    c = result.counts
    assert (c["blocks"], c["void_slots"], c["meters"]) == (18, 2, 8)
    assert c["books_balanced"] == 18
    assert c["late_readings"] and c["not_shown"] and c["imported_mwh"] and c["green_mwh"]
    assert c["signatures"] > 18 * 6 + c["readings"] + c["commits"]


def test_the_blocks_for_reports_add_up_to_the_accounts(day):
    balances = [0] * 8
    kinds = set()
    for step in load_run(day):
        for member, sums in step.outcome.by_member().items():
            balances[member] += sum(sums.values())
        kinds |= {e.kind for e in step.outcome.entries}
        assert balances == step.balances_ucr
        assert step.outcome.clearing.price_ucr_per_kwh == step.block.header.price_ucr_per_kwh
    assert kinds == {"settled", "missing", "gap", "penalty"}


def test_the_command_says_so_and_exits_with_it(run, capsys):
    def main(*args):
        parser = argparse.ArgumentParser()
        command.add_parser(parser.add_subparsers())
        args = parser.parse_args(["verify", *args])
        return args.run(args)

    assert main(str(run)) == 0
    out = capsys.readouterr().out
    assert "VERIFIED: all that was checked holds" in out and "6 final" in out
    assert main("--json", str(run)) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["blocks"] == 6
    flip(run / "records/block-00002.bin", 100)
    assert main(str(run)) == 1
    assert "NOT VERIFIED" in capsys.readouterr().out
    assert main(str(run / "records")) == 2
    assert "no run here" in capsys.readouterr().err


def test_names_are_only_names(run):
    (run / "run.json").write_text("not JSON")
    assert faults(run) == []
    flip(run / "records/block-00004.bin", 1400)
    assert any("member " in f for f in faults(run))


# -- one changed byte


def fields_of_block(data):
    """(what the fault must say, offset, size) of every field of a block file, laid out by hand."""
    out, at = [], 0

    def add(what, *sizes):
        nonlocal at
        for size in sizes:
            out.append((what, at, size))
            at += size

    add("length field", 4)
    add("proposal", 1)
    add("header", 1)
    for name, size in (("slot", 4), ("iteration", 4), ("proposer", 1), ("previous", 32), ("accumulator", 32), ("body_root", 32),
                       ("state_root", 32), ("price_ucr_per_kwh", 4), ("volume_mwh", 4)):
        add(f"changed: {name}", size)
    add("the proposer's signature does not match", 64)
    add("body", 1)
    add("body: its records have another root", 16)
    count = data[at]
    add(": ", 1)
    for _ in range(count):
        add("envelope", 1, 4, 4, 4, 4, 64)
    count = data[at]
    add(": ", 1)
    for i in range(count):
        add("commit", 1, 1)
        add(f"commit of {HOMES[i]}", 4, 32, 64)
    count = data[at]
    add(": ", 1)
    for i in range(count):
        steps = data[at + 22] + data[at + 23]
        add("order", 1, 1)
        add(f"order of {HOMES[i]}", 4, 16)
        add(": ", 1, 1)
        add(f"order of {HOMES[i]}", *(4, 4) * steps)
    count = data[at]
    add(": ", 1)
    for i in range(count):
        add("reading", 1, 1)
        add(f"reading of {HOMES[i]}", 4, 4, 32, 8, 8, 8, 4, 4, 4, 4, 2, 1, 8, 64)
    add(": ", 1, 1, 1)  # no transfers, evidence or amendments
    assert at == 4 + int.from_bytes(data[:4], "big")
    add("certificate", 1, 1, 4, 32, 8)
    while at < len(data):
        add("certificate: signature does not match: ", 64)
    return out


def test_a_changed_byte_in_any_field_of_a_block_is_found_and_named(run):
    path = run / "records/block-00004.bin"
    data = path.read_bytes()
    for what, start, size in fields_of_block(data):
        for at, bit in ((start, 128), (start + size - 1, 1)):
            flip(path, at, bit)
            found = faults(run)
            assert found, (what, at)
            assert found[0].startswith("block 4: ") and what in "\n".join(found), (what, at, found)
            assert all(f.startswith("block 4: ") for f in found) and len(found) <= 4, (what, at, found)
            path.write_bytes(data)


def test_a_changed_byte_anywhere_else_is_found_in_its_file(run):
    dice = random.Random(2)
    for path in [run / "genesis.bin", *sorted((run / "records").iterdir())]:
        data = path.read_bytes()
        where = {"b": f"block {path.name[6:11].lstrip('0') or 0}:", "m": f"ring of {path.name[6:-4]}", "g": "genesis.bin"}[path.name[0]]
        for _ in range(25):
            at = dice.randrange(len(data))
            flip(path, at, 1 << dice.randrange(8))
            found = faults(run)
            assert found and found[0].startswith(where), (path.name, at, found)
            path.write_bytes(data)


def test_a_changed_byte_in_a_long_day_is_found_too(day, tmp_path):
    run = shutil.copytree(day, tmp_path / "run", ignore=shutil.ignore_patterns("flash"))
    dice = random.Random(3)
    files = sorted((run / "records").glob("block-*"))
    for _ in range(40):
        path = dice.choice(files)
        data = path.read_bytes()
        flip(path, dice.randrange(len(data)), 1 << dice.randrange(8))
        found = faults(run)
        assert found and found[0].startswith(f"block {int(path.name[6:11])}:"), (path, found)
        assert len(found) < 8
        path.write_bytes(data)


def test_a_file_that_cannot_be_read_is_one_fault_however_long_the_day(day, tmp_path):
    run = shutil.copytree(day, tmp_path / "run", ignore=shutil.ignore_patterns("flash"))
    for slot, at in ((0, 0), (5, 4), (9, 5), (13, 215)):
        path = run / f"records/block-{slot:05d}.bin"
        flip(path, at, 2)
        found = faults(run)
        assert len(found) == 1 and found[0].startswith(f"block {slot}:"), found
        flip(path, at, 2)
    for slot in (5, 6):
        flip(run / f"records/block-{slot:05d}.bin", 5, 2)
    found = faults(run)
    assert [f.split(":")[0] for f in found] == ["block 5", "block 6"], found


def test_two_changes_in_two_blocks_are_both_named(run):
    flip(run / "records/block-00002.bin", 400)
    flip(run / "records/block-00004.bin", 1400)
    found = faults(run)
    assert any(f.startswith("block 2:") for f in found) and any(f.startswith("block 4:") for f in found)


# -- files


def test_files_that_are_cut_lengthened_missing_doubled_swapped_or_strange(run):
    records = run / "records"
    path = records / "block-00003.bin"
    data = path.read_bytes()
    for size in (0, 3, 4, 100, 300, 1000, len(data) - 65, len(data) - 1):
        path.write_bytes(data[:size])
        assert faults(run)[0].startswith("block 3:"), size
    path.write_bytes(data + b"\0")
    assert "too many at the end" in faults(run)[0]

    path.unlink()
    found = faults(run)
    assert "the file of block 3 is missing" in found[0] and any(f.startswith("block 3: its file is missing; 4 meters") for f in found)
    path.write_bytes((records / "block-00002.bin").read_bytes())
    assert "block 3: the file holds the block of slot 2" in faults(run)
    path.write_bytes((records / "block-00004.bin").read_bytes())
    (records / "block-00004.bin").write_bytes(data)
    found = faults(run)
    assert "block 3: the file holds the block of slot 4" in found and "block 4: the file holds the block of slot 3" in found
    (records / "block-00004.bin").write_bytes(path.read_bytes())
    path.write_bytes(data)
    assert faults(run) == []

    last = records / "block-00005.bin"
    kept = last.read_bytes()
    last.unlink()
    assert faults(run) == ["block 5: its file is missing; 4 meters hold its header"]
    last.write_bytes(kept)
    first = (records / "block-00000.bin").read_bytes()
    (records / "block-00000.bin").unlink()
    assert "missing" in faults(run)[0] and "block 0" in faults(run)[0]
    (records / "block-00000.bin").write_bytes(first)
    (records / "block-00009.bin").write_bytes(kept)
    assert faults(run)[0].startswith("block 9: the file holds the block of slot 5")
    (records / "block-00009.bin").unlink()
    (records / "block-3.bin").write_bytes(data)
    assert faults(run) == ["block-3.bin: no such file belongs to a run"]


def test_the_rings_of_the_meters_must_hold_the_chain(run):
    path = run / "records/meter-figuier.bin"
    data = path.read_bytes()
    header = [data[4 + HEADER_SIZE * i:4 + HEADER_SIZE * (i + 1)] for i in range(6)]

    def write(headers):
        path.write_bytes(struct.pack(">I", len(headers)) + b"".join(headers))

    write(header[:3])  # one that was off at the end
    assert faults(run) == []
    write(header[3:])  # one that jumped
    assert faults(run) == []
    write(header[:2] + header[3:])
    assert faults(run) == ["ring of figuier: header 3 (slot 3): does not follow the header before it"]
    write(header[:3] + [header[2]] + header[3:])
    assert "does not follow" in faults(run)[0]
    write([header[1], header[0]] + header[2:])
    assert "does not follow" in faults(run)[0]


def test_the_list_of_sums_names_a_file_and_proves_nothing(run):
    records = run / "records"

    def write():
        lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}" for p in sorted(records.glob("*.bin"))]
        (records / "MANIFEST").write_text("\n".join(lines) + "\n")

    write()
    assert faults(run) == []
    flip(records / "block-00003.bin", 700)
    assert faults(run)[0].startswith("MANIFEST: block-00003.bin")
    write()
    found = faults(run)
    assert found and all(f.startswith("block 3:") for f in found)
    flip(records / "block-00003.bin", 700)
    write()
    size = (records / "MANIFEST").stat().st_size
    for at in range(0, size, 7):
        flip(records / "MANIFEST", at, 1)
        assert any(f.startswith("MANIFEST:") for f in faults(run)), at
        flip(records / "MANIFEST", at, 1)
    flip(records / "MANIFEST", size - 1, 1)
    assert faults(run)
