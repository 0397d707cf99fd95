"""`prosumer headers`: a file or a ring of headers is shown and checked by the firmware's own code."""
import argparse
import binascii
import hashlib
import json

import pytest
from test_receipt import command
from verify_kit import run  # noqa: F401 (fixture)

from prosumer_tools.commands import headers, receipt


def main(*args):
    parser = argparse.ArgumentParser()
    headers.add_parser(parser.add_subparsers())
    args = parser.parse_args(["headers", *map(str, args)])
    return args.run(args)


@pytest.fixture
def file(run):
    return run / "records/meter-olivier.bin"


def spoiled(path, index, at):
    data = bytearray(path.read_bytes())
    data[4 + 146 * index + at] ^= 1
    path.write_bytes(data)


def test_what_holds(run, file, capsys):
    assert main(file, "--genesis", run / "genesis.bin", "--consistency", "2:5") == 0
    out = capsys.readouterr().out
    assert "6 headers: links hold, and every accumulator, from the genesis on" in out and out.count("iteration") == 6
    assert "the accumulator of 5 headers continues that of 2: proof of 96 bytes holds" in out
    assert main(file, "--last", 2) == 0
    out = capsys.readouterr().out
    assert out.count("iteration") == 2 and "give --genesis to check their links" in out
    data = file.read_bytes()
    file.write_bytes((4).to_bytes(4, "big") + data[4 + 2 * 146:])  # a ring that has turned
    assert main(file, "--genesis", run / "genesis.bin", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [h["slot"] for h in found["headers"]] == [2, 3, 4, 5] and found["accumulator"] is None and found["linked"]


@pytest.mark.parametrize(("at", "words"), [(10, "slot 3: its previous hash is not that of the header before it"), (42, "slot 3: its accumulator is not that"),
                                           (80, "slot 4: its previous hash"), (4, "do not rise"), (0, "header 3: wrong-type")])
def test_a_changed_byte_is_named(run, file, capsys, at, words):
    spoiled(file, 3, at)
    assert main(file, "--genesis", run / "genesis.bin") == 1
    assert words in capsys.readouterr().out


def test_a_header_left_out_shows(run, file, capsys):
    data = file.read_bytes()
    file.write_bytes((5).to_bytes(4, "big") + data[4:4 + 2 * 146] + data[4 + 3 * 146:])
    assert main(file, "--genesis", run / "genesis.bin") == 1
    assert "slot 3: its previous hash" in capsys.readouterr().out


def test_nothing_to_check(run, file, tmp_path, capsys):
    assert main(tmp_path / "none") == 2
    (tmp_path / "short").write_bytes(file.read_bytes()[:-1])
    assert main(tmp_path / "short") == 2 and "length does not fit" in capsys.readouterr().err
    (tmp_path / "genesis.bin").write_bytes((run / "genesis.bin").read_bytes()[:-1] + b"\0")
    assert main(file, "--genesis", tmp_path / "genesis.bin") == 2 and "the genesis is not valid" in capsys.readouterr().err
    assert main(file, "--consistency", "2:5") == 2 and main(file, "--consistency", "x") == 2
    assert main(file, "--genesis", run / "genesis.bin", "--consistency", "5:99") == 1
    for name, first, count in (("a", 0, 2), ("b", 2, 4)):  # an archive gives so many at a time
        (tmp_path / name).write_bytes(count.to_bytes(4, "big") + b"".join(headers.read(file)[first:first + count]))
    assert main(tmp_path / "a", tmp_path / "b", "--genesis", run / "genesis.bin") == 0 and "6 headers: links hold" in capsys.readouterr().out
    (tmp_path / "ring").mkdir()
    assert main(tmp_path / "ring") == 2 and "no segments" in capsys.readouterr().err
    entry = file.read_bytes()[4:150] + bytes(8)
    (tmp_path / "ring/00000000").write_bytes(entry)
    assert main(tmp_path / "ring") == 2 and "entry 0 is damaged" in capsys.readouterr().err


def test_what_a_meter_left_behind_is_looked_for(run, file, tmp_path, capsys):
    """Its accumulator after three headers, by a tree written here."""
    def sha(*parts):
        return hashlib.sha256(b"".join(parts)).digest()

    feeder = headers._ids((run / "genesis.bin").read_bytes())[0]
    leaves = [sha(b"\0", sha(b"prosumer/header/v1\0", feeder, h)) for h in headers.read(file)[:3]]
    left = (3).to_bytes(4, "big") + sha(b"\1", leaves[0], leaves[1]) + leaves[2]
    kept = tmp_path / "unproven3"
    kept.write_bytes(binascii.crc32(left).to_bytes(4, "big") + left)
    assert main(file, "--genesis", run / "genesis.bin", "--continues", kept) == 0
    assert "they begin with the 3 headers that the meter had" in capsys.readouterr().out
    other = left[:-1] + bytes([left[-1] ^ 1])
    kept.write_bytes(binascii.crc32(other).to_bytes(4, "big") + other)
    assert main(file, "--genesis", run / "genesis.bin", "--continues", kept) == 1
    assert "the 3 headers that the meter had are not the first of these" in capsys.readouterr().out
    assert main(file, "--continues", kept) == 2 and "--continues needs --genesis" in capsys.readouterr().err
    kept.write_bytes(left)
    assert main(file, "--genesis", run / "genesis.bin", "--continues", kept) == 2 and "or is damaged" in capsys.readouterr().err


def test_links_are_no_agreement_and_a_receipt_shows_one(run, file, tmp_path, capsys):
    made = tmp_path / "r.bin"
    assert command(receipt, "receipt", run, "--member", 1, "--account", "--out", made) == 0
    genesis = ("--genesis", run / "genesis.bin")
    capsys.readouterr()
    assert main(file, *genesis) == 0
    assert "that the street agreed on them is not shown: links need no signature; --receipt FILE proves it" in capsys.readouterr().out
    assert main(file, *genesis, "--receipt", made) == 0
    assert "those up to slot 5 are final: 3 of 4 meters that vote (3 are enough) signed that one" in capsys.readouterr().out
    assert main(file, *genesis, "--receipt", made, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["final"]["header"] == found["headers"][-1]["hash"]
    raw = headers.read(file)
    (tmp_path / "short").write_bytes((4).to_bytes(4, "big") + b"".join(raw[:4]))
    assert main(tmp_path / "short", *genesis, "--receipt", made) == 1
    assert "the header of slot 5 that it proves final is none of these" in capsys.readouterr().out
    made.write_bytes(made.read_bytes()[:-1])
    assert main(file, *genesis, "--receipt", made) == 1 and "it ends too early (truncated)" in capsys.readouterr().out
    assert main(file, "--receipt", made) == 2 and "--receipt needs --genesis" in capsys.readouterr().err
