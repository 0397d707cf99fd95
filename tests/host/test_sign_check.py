"""`prosumer sign` and `prosumer check` as a person uses them; what they print is checked by OpenSSL."""
import argparse
import hashlib
import io
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from test_provision_meter import street_with

from prosumer_tools import cli
from prosumer_tools.commands import check, sign

EXAMPLE = Path(__file__).resolve().parents[1] / "vectors/readings.json"
SEED = bytes(range(32))
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
PUBLIC = KEY.public_key().public_bytes_raw()


@pytest.fixture
def prosumer(tmp_path, capsys, monkeypatch):
    """Runs a command on an object; (exit code, parsed output or None, standard error)."""
    (tmp_path / "key").write_text(SEED.hex() + "\n")

    def run(command, data, *options):
        parser = argparse.ArgumentParser(prog="prosumer")
        (sign if command == "sign" else check).add_parser(parser.add_subparsers(required=True))
        monkeypatch.setattr("sys.stdin", io.StringIO(data if isinstance(data, str) else json.dumps(data)))
        args = parser.parse_args([command, "-", *(("--key", str(tmp_path / "key")) if command == "sign" else ()), *map(str, options)])
        code = args.run(args)
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else None, err
    return run


@pytest.fixture
def readings():
    return json.loads(EXAMPLE.read_text())


def test_readings_are_signed_and_continue_each_other(prosumer, readings):
    code, signed, err = prosumer("sign", readings)
    assert (code, err) == (0, "")
    first, second = signed
    assert (first["seq"], first["previous"], second["seq"], second["previous"]) == (0, "00" * 32, 1, first["hash"])
    for r in signed:
        message = bytes.fromhex(r["message"])
        assert message.startswith(b"prosumer/reading/v1\0feeder-1\x01\x03") and len(message) == 20 + 8 + 93
        assert hashlib.sha256(message).hexdigest() == r["hash"] and message[28:] + bytes.fromhex(r["signature"]) == bytes.fromhex(r["raw"])
        assert r["signature"] == KEY.sign(message).hex() and r["public_key"] == PUBLIC.hex()
    code, checked, err = prosumer("check", signed)
    assert (code, err) == (0, "") and [c["valid"] for c in checked] == [True, True] and checked[1]["continues"] is True


def test_what_was_changed_left_out_or_moved_is_found(prosumer, readings):
    third = dict(readings[1], slot=9)
    _, signed, _ = prosumer("sign", [*readings, third])
    code, checked, _ = prosumer("check", [signed[0], signed[2]])
    assert code == 1 and checked[1]["reason"] == "broken-chain" and checked[1]["continues"] is False, "a gap"
    code, checked, _ = prosumer("check", [signed[1], signed[0]])
    assert code == 1 and checked[1]["reason"] == "broken-chain", "a reordering"
    _, fork, _ = prosumer("sign", dict(signed[1], import_mwh=1101, **{k: signed[1][k] for k in ("seq", "previous")}))
    code, checked, _ = prosumer("check", [signed[0], signed[1], fork])
    assert code == 1 and [c["reason"] for c in checked] == [None, None, "broken-chain"], "a fork"
    raw = bytearray.fromhex(signed[0]["raw"])
    for at in (1, 5, 40, 92, 93, 156):
        bad = bytearray(raw)
        bad[at] ^= 16
        code, checked, _ = prosumer("check", {"record": "reading", "feeder_id": "6665656465722d31", "raw": bad.hex()}, "--key", PUBLIC.hex())
        assert code == 1 and checked["reason"] == "bad-signature"
    for change, reason in (({"feeder_id": "6665656465722d32"}, "bad-signature"), ({"public_key": "01" + "00" * 31}, "key-small-order"),
                           ({"public_key": Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()}, "bad-signature"),
                           ({"import_mwh": 7}, "fields-differ-from-raw")):
        code, checked, _ = prosumer("check", {**signed[0], **change})
        assert code == 1 and checked["reason"] == reason, reason
    fields = {k: v for k, v in signed[0].items() if k != "raw"}
    assert prosumer("check", fields)[0] == 0
    assert prosumer("check", dict(fields, import_mwh=7))[1]["reason"] == "bad-signature"
    assert prosumer("check", dict(fields, raw=signed[0]["raw"][:-2]))[1]["reason"] == "wrong-length"
    assert prosumer("check", dict(fields, raw="02" + signed[0]["raw"][2:]))[1]["reason"] == "wrong-type"


def test_a_genesis_tells_whose_key_counts(prosumer, readings, tmp_path):
    others = [Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32).public_key().public_bytes_raw() for i in range(1, 4)]
    genesis = tmp_path / "genesis.bin"
    genesis.write_bytes(street_with(*others, PUBLIC))
    from prosumer_tools.verify import records
    feeder = records.genesis(genesis.read_bytes()).feeder_id.hex()
    _, signed, _ = prosumer("sign", dict(readings[0], feeder_id=feeder))
    code, checked, _ = prosumer("check", signed, "--genesis", genesis)
    assert code == 0 and checked["public_key"] == PUBLIC.hex()
    for member, reason in ((2, "bad-signature"), (4, "not-a-member"), (255, "bad-signature")):
        _, signed, _ = prosumer("sign", dict(readings[0], feeder_id=feeder, member=member))
        code, checked, _ = prosumer("check", signed, "--genesis", genesis)
        assert (code, checked["reason"]) == (1, reason)
    _, elsewhere, _ = prosumer("sign", readings[0])
    assert prosumer("check", elsewhere, "--genesis", genesis)[1]["reason"] == "wrong-feeder"
    (tmp_path / "key").write_text("00" * 32)  # street_with's operator
    _, envelope, _ = prosumer("sign", {"record": "envelope", "feeder_id": feeder, "first_slot": 1, "last_slot": 2, "import_limit_mwh": 3,
                                       "export_limit_mwh": 4})
    assert prosumer("check", envelope, "--genesis", genesis)[0] == 0
    genesis.write_bytes(genesis.read_bytes()[:-1] + b"x")
    code, out, err = prosumer("check", envelope, "--genesis", genesis)
    assert (code, out) == (2, None) and "the operator's signature does not match" in err


@pytest.mark.parametrize("change, message", [
    ({"record": "invoice"}, "'record' is one of: commit, envelope, reading"),
    ({"slot": -1}, "'slot' must be a whole number from 0"),
    ({"slot": 1 << 32}, "'slot' must be a whole number from 0"),
    ({"slot": 1.5}, "'slot' must be a whole number from 0"),
    ({"slot": True}, "'slot' must be a whole number from 0"),
    ({"slot": "7"}, "'slot' must be a whole number from 0"),
    ({"calibration": "01"}, "'calibration' has the wrong length"),
    ({"calibration": "zz"}, "'calibration' must be a string of hexadecimal digits"),
    ({"calibration": 8}, "'calibration' must be a string of hexadecimal digits"),
    ({"colour": 8}, "has an unknown 'colour'"),
    ({"feeder_id": "00"}, "'feeder_id' must be 16 hexadecimal digits"),
    ({"feeder_id": None}, "'feeder_id' must be 16 hexadecimal digits"),
])
def test_bad_input_is_one_line_and_exit_2(prosumer, readings, change, message):
    code, out, err = prosumer("sign", {**readings[0], **change})
    assert (code, out, err.count("\n")) == (2, None, 1) and err.startswith("prosumer sign: the record: ") and message in err


def test_what_is_missing_or_no_record_is_said(prosumer, readings, tmp_path):
    for name in ("record", "feeder_id", "member", "flags"):
        code, out, err = prosumer("sign", [{k: v for k, v in readings[0].items() if k != name}])
        assert (code, out) == (2, None) and f"record 1 lacks '{name}'" in err.replace("record 1:", "record 1")
    for text in ("", "7", '"x"', "[7]", "{", "null"):
        for command in ("sign", "check"):
            code, out, err = prosumer(command, text)
            assert (code, out, err.count("\n")) == (2, None, 1), text
    assert "public_key" in prosumer("check", {"record": "reading", "feeder_id": "00" * 8, "raw": "00"})[2]
    assert "'signature' must be 128 hexadecimal digits" in prosumer("check", dict(readings[0], public_key=PUBLIC.hex(), signature="00"))[2]
    assert prosumer("check", readings[0], "--key", "00")[0] == 2
    assert prosumer("check", readings[0], "--genesis", tmp_path / "none")[0] == 2
    for text in ("", "x" * 64, SEED.hex()[1:]):
        (tmp_path / "key").write_text(text)
        code, out, err = prosumer("sign", readings[0])
        assert (code, out) == (2, None) and "64 hexadecimal digits" in err and (not text or text not in err)


def test_the_walk_names_them_in_order():
    assert cli.COMMANDS.index("meter") + 1 == cli.COMMANDS.index("sign") == cli.COMMANDS.index("check") - 1
