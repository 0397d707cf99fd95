"""`prosumer keys` as an installer and an operator use it: on files, and over real mpremote on an emulated meter."""
import asyncio
import json
import re
import zlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from test_provision_meter import Bench, street_with

from prosumer_tools import cli
from prosumer_tools.feederkeys import FeederKeys
from prosumer_tools.verify import records
from prosumer_tools.verify.keys import Key

OPERATOR = bytes(32)  # of street_with's genesis
MEMBERS = [Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32).public_key().public_bytes_raw() for i in range(1, 4)]


@pytest.fixture
def keys(capsys):
    """(exit code, parsed output or None, standard error) of `prosumer keys …`"""
    def run(*arguments):
        code = cli.main(["keys", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else None, err
    return run


def test_a_key_is_made_once_and_shown(keys, tmp_path):
    code, made, _ = keys("new", tmp_path / "operator.key")
    assert code == 0 and keys("show", tmp_path / "operator.key")[1] == made
    path = tmp_path / "operator.key"
    seed = bytes.fromhex(path.read_text())
    assert Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw().hex() == made["key"]
    assert path.stat().st_mode & 0o077 == 0 and seed.hex() not in json.dumps(made)
    code, out, err = keys("new", path)
    assert (code, out) == (2, None) and "is never written over" in err and bytes.fromhex(path.read_text()) == seed
    assert keys("new", tmp_path / "no" / "key")[0] == 2
    path.write_text("no key")
    assert keys("show", path)[0] == 2
    assert keys("show", tmp_path / "absent")[0] == 2


def new_keys(genesis, out, feeder=None):
    """The keys record of a genesis file, as its operator makes it."""
    street = records.genesis(genesis.read_bytes())
    made = FeederKeys(street.feeder_id, {})
    made.rotate()
    out.write_bytes(made.record(Ed25519PrivateKey.from_private_bytes(OPERATOR).sign, [m[0] for m in street.members]))
    if feeder:
        made.save(feeder)
    return made


def test_a_sealed_message_is_opened_and_made(keys, tmp_path):
    (tmp_path / "genesis.bin").write_bytes(street_with(*MEMBERS))
    feeder = tmp_path / "feeder.json"
    held = new_keys(tmp_path / "genesis.bin", tmp_path / "keys.bin", feeder)
    sealed = held.seal("vote", 1, b"\x06yes").hex()
    assert keys("open", "vote/1", sealed, "--feeder", feeder)[1]["raw"] == b"\x06yes".hex()
    assert keys("seal", "vote/1", b"\x06yes".hex(), "--feeder", feeder)[1]["raw"] == sealed
    for topic, message, why in (("vote/2", sealed, "bad-seal"), ("vote", sealed, "KIND/MEMBER"), ("vote/256", sealed, "KIND/MEMBER"),
                                ("vote/1", "0", "hexadecimal"), ("vote/1", "06aa", "not-sealed")):
        code, _, err = keys("open", topic, message, "--feeder", feeder)
        assert code == 2 and why in err
    feeder.write_text("{}")
    assert "is no file of feeder keys" in keys("open", "vote/1", sealed, "--feeder", feeder)[2]


def test_a_keys_record_that_is_not_this_streets_is_refused_before_the_port_is_touched(tmp_path, capsys):
    genesis, out = tmp_path / "genesis.bin", tmp_path / "keys.bin"
    genesis.write_bytes(street_with(*MEMBERS))
    new_keys(genesis, out)
    good = out.read_bytes()
    changed = bytearray(good)
    changed[40] ^= 1
    genesis2 = tmp_path / "genesis2.bin"
    genesis2.write_bytes(street_with(*MEMBERS[:2]))
    provision = ["provision", str(tmp_path / "no-port"), "--name", "mill", "--broker", "h", "--keys", str(out)]
    for record, street, why in ((bytes(changed), genesis, "is not signed by the operator"), (good[:-1], genesis, "this is no keys record"),
                                (good, genesis2, "is not signed by the operator of rue-test for its 2 members"), (good, None, "--keys needs --genesis"),
                                (good, genesis, "no-port")):
        out.write_bytes(record)
        assert cli.main([*provision, *(("--genesis", str(street)) if street else ())]) == 2
        assert why in capsys.readouterr().err


def on_bench(tmp_path, capsys, scenario, **options):
    async def run():
        async with Bench(tmp_path, capsys, **options) as bench:
            async def keys(*arguments):
                code = await asyncio.to_thread(cli.main, ["keys", *map(str, arguments)])
                out, err = capsys.readouterr()
                return code, json.loads(out) if out else None, err
            await asyncio.wait_for(scenario(bench, keys), 180)
    asyncio.run(run())


def test_a_meters_key_is_replaced(tmp_path, capsys):
    async def scenario(bench, keys):
        port = bench.device.console.path
        _, out, _ = await bench.provision()
        old = re.search(r"public key +([0-9a-f]{64})\n", out)[1]
        (tmp_path / "g1").write_bytes(street_with(bytes.fromhex(old)))
        new_keys(tmp_path / "g1", tmp_path / "k1")
        code, out, err = await bench.provision("--name", "mill", "--broker", bench.broker, "--genesis", tmp_path / "g1", "--keys", tmp_path / "k1")
        assert code == 0, err
        code, held, _ = await keys("show", port)
        assert code == 0 and held == {**held, "key": old, "prepared": None, "pin": False, "erased": False, "enrolled": True, "epoch": 1}
        assert (await keys("replace", port))[2].count("no key is prepared") == 1

        code, card, _ = await keys("prepare", port, "--genesis", tmp_path / "g1")
        assert code == 0 and card["old"] == old and card["new"] != old
        (tmp_path / "card.json").write_text(json.dumps(card))
        assert await asyncio.to_thread(cli.main, ["check", str(tmp_path / "card.json")]) == 0
        assert json.loads(capsys.readouterr().out)["valid"]
        (tmp_path / "card.json").write_text(json.dumps(dict(card, feeder_id="00" * 8)))
        assert await asyncio.to_thread(cli.main, ["check", str(tmp_path / "card.json")]) == 1
        assert json.loads(capsys.readouterr().out)["reason"] == "bad-old-signature"
        assert (await keys("prepare", port, "--genesis", tmp_path / "g1"))[1]["new"] == card["new"], "asked again, the same"

        assert "is not among the 1 members" in (await keys("replace", port, "--genesis", tmp_path / "g1"))[2]
        waiting = bytes([1]) + bytes([1, 0]) + bytes(91) + bytes(64)  # one reading that no block has taken, with a signature that counts no more
        bench.off().write({"data/readings": zlib.crc32(waiting).to_bytes(4, "big") + waiting})
        bench.street.boot()
        (tmp_path / "g2").write_bytes(street_with(bytes.fromhex(card["new"])))
        code, done, err = await keys("replace", port, "--genesis", tmp_path / "g2")
        assert code == 0 and done["key"] == card["new"] and done["prepared"] is None, err
        flash = bench.off()
        assert flash.read("genesis.bin") == (tmp_path / "g2").read_bytes()
        saved = flash.read("data/readings")[4:]
        assert saved[:94] == waiting[:94]
        street = records.genesis((tmp_path / "g2").read_bytes())
        assert Key(bytes.fromhex(card["new"])).signed(b"prosumer/reading/v1\0" + street.feeder_id + saved[1:94], saved[94:])

    on_bench(tmp_path, capsys, scenario)


def test_a_pin_guards_the_key_and_is_asked_for_at_each_start(tmp_path, capsys, monkeypatch):
    async def scenario(bench, keys):
        port = bench.device.console.path
        _, out, _ = await bench.provision()
        key = re.search(r"public key +([0-9a-f]{64})\n", out)[1]
        for what in "pin", "unlock":
            assert "no terminal to ask for the" in (await keys(what, port))[2]
        monkeypatch.setenv("PROSUMER_NEW_PIN", "123")
        assert "6 characters" in (await keys("pin", port))[2]
        monkeypatch.setenv("PROSUMER_NEW_PIN", "under-the-mat")
        flash = bench.device.folder / "flash.bin"
        bare = bench.device.flash.read("seed.key")[56:120]
        assert bare in flash.read_bytes()
        code, held, err = await keys("pin", port)
        assert code == 0 and held["pin"] and held["key"] == key, err
        code, _, err = await keys("prepare", port)
        assert code == 2 and "sealed under a PIN" in err
        monkeypatch.setenv("PROSUMER_PIN", "not-this-one")
        code, _, err = await keys("prepare", port)
        assert code == 2 and "not the PIN" in err

        bench.off()
        assert bare not in flash.read_bytes(), "the copy without a PIN is gone"
        bench.street.boot()
        log = bench.device.console.log_path
        await wait(lambda: "PIN?" in log.read_text(errors="replace").splitlines()[-1:][0])
        monkeypatch.setenv("PROSUMER_PIN", "under-the-mat")
        code, answer, err = await keys("unlock", port, "--wait", 90)
        assert code == 0 and answer["meter"].startswith("not enrolled"), err
        assert "under-the-mat" not in log.read_text(errors="replace").split("PIN?")[-1]
        code, held, err = await keys("pin", port, "--none")
        assert code == 0 and held["pin"] is False and held["key"] == key, err

    async def wait(condition):
        for _ in range(1200):
            if condition():
                return
            await asyncio.sleep(0.05)
        raise AssertionError("it did not happen")

    on_bench(tmp_path, capsys, scenario)


def test_nothing_is_left_of_a_meter_that_was_erased(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PROSUMER_WIFI_PASSWORD", "Sesame-in-the-flash")

    async def scenario(bench, keys):
        port = bench.device.console.path
        _, out, _ = await bench.provision("--name", "mill", "--broker", bench.broker, "--wifi", "Chez Nous", "--wait", 90)
        key = re.search(r"public key +([0-9a-f]{64})\n", out)[1]
        code, _, err = await keys("erase", port)
        assert code == 2 and "--yes" in err
        sealed = bench.device.flash.read("seed.key")[56:120]
        flash = bench.device.folder / "flash.bin"
        assert sealed in flash.read_bytes() and b"Sesame-in-the-flash" in flash.read_bytes(), "the search finds what is there"
        code, gone, err = await keys("erase", port, "--yes")
        assert code == 0 and gone == {"key": key, "erased": True}, err
        code, _, err = await keys("prepare", port)
        assert code == 2 and "was erased" in err
        bench.off()
        assert sealed not in flash.read_bytes() and b"Sesame-in-the-flash" not in flash.read_bytes()
        bench.street.boot()
        log = bench.device.console.log_path
        for _ in range(1200):
            if "HALT: key-store-erased" in log.read_text(errors="replace"):
                break
            await asyncio.sleep(0.05)
        assert "HALT: key-store-erased" in log.read_text(errors="replace"), "no new identity by itself"

    on_bench(tmp_path, capsys, scenario)
