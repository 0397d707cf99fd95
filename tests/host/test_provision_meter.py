"""`prosumer provision` over real mpremote, on an emulated meter that boots the firmware's own image."""
import asyncio
import hashlib
import json
import os
import re
import tty
from pathlib import Path
from types import SimpleNamespace

import pytest
from emulator_kit import START_MS
from prosumer_tools import cli, image
from prosumer_tools.emulator.device import FrontEnd
from prosumer_tools.emulator.supervisor import Supervisor
from prosumer_tools.street.genesis import Operator

UNIQUE_ID = bytes([2, 0, 0, 0, 0, 9])


def street_with(*keys):
    """A genesis of these members."""
    street = SimpleNamespace(
        tariff=SimpleNamespace(retail_ucr_per_kwh=300000, feed_in_ucr_per_kwh=80000, local_fee_ucr_per_kwh=20000), slot_minutes=15,
        feeder=SimpleNamespace(import_limit_kw=50, export_limit_kw=30), name="rue-test",
        homes=[SimpleNamespace(name=f"h{i}", pv_kwp=0, battery=None, fuse_a=63) for i in range(len(keys))])
    return Operator(bytes(32)).genesis(street, {f"h{i}": key for i, key in enumerate(keys)}, START_MS // 1000 + 600)


class Bench:
    """One meter on the bench: powered, with the image of the EMULATED board, and `prosumer` beside it."""

    def __init__(self, folder, capsys, files=None):
        self.folder, self.capsys, self.files = folder, capsys, files

    async def __aenter__(self):
        self.street = Supervisor(self.folder / "run", image.build_image().path, START_MS, speed=1, broker="amqtt",
                                 front_end=FrontEnd(8000, 800, 60000, 2))
        await self.street.__aenter__()
        self.device = self.street.add("m", UNIQUE_ID, files=self.files)
        self.street.boot()
        self.living = asyncio.ensure_future(self.street.run(START_MS + 10**9))
        self.broker = f"127.0.0.1:{self.street.broker.port}"
        return self

    async def __aexit__(self, *exc):
        self.living.cancel()
        await self.street.__aexit__(*exc)

    async def provision(self, *arguments):
        """(exit code, standard output, standard error)"""
        code = await asyncio.to_thread(cli.main, ["provision", self.device.console.path, *map(str, arguments)])
        out, err = self.capsys.readouterr()
        return code, out, err

    def off(self):
        self.street.kill("m")
        return self.device.flash


def on_bench(tmp_path, capsys, scenario, **options):
    async def run():
        async with Bench(tmp_path, capsys, **options) as bench:
            await asyncio.wait_for(scenario(bench), 180)
    asyncio.run(run())


def test_from_a_new_meter_to_one_that_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PROSUMER_WIFI_PASSWORD", "under the mat")

    async def scenario(bench):
        code, out, _ = await bench.provision()
        assert code == 0
        key = bytes.fromhex(re.search(r"public key +([0-9a-f]{64})\n", out)[1])
        sha = hashlib.sha256(key).hexdigest()
        assert f"{sha[:4]} {sha[4:8]} {sha[8:12]} {sha[12:16]}" in out and UNIQUE_ID.hex() in out
        assert "/config.json" not in bench.device.flash.names()

        options = ("--name", "mill", "--broker", bench.broker, "--wifi", "Chez Nous", "--wait", 90)
        code, out, err = await bench.provision(*options)
        assert (code, err) == (0, "") and "mill is configured and waits for its genesis" in out and key.hex() in out

        genesis = tmp_path / "genesis.bin"
        genesis.write_bytes(street_with(key))
        code, out, err = await bench.provision(*options, "--genesis", genesis)
        assert (code, err) == (0, "") and "member       0 of 1 in rue-test" in out and out.endswith("mill runs\n")
        assert "silent towards its neighbours" in out and "wire silent" in bench.device.console.log_path.read_text(errors="replace")
        assert not bench.living.done()
        code, out, err = await bench.provision(*options, "--genesis", genesis, "--open", "--keys", genesis)
        assert code == 2 and "--open and --keys" in err
        code, out, err = await bench.provision(*options, "--genesis", genesis, "--open")
        assert (code, err) == (0, "") and "silent" not in out and "wire OPEN" in bench.device.console.log_path.read_text(errors="replace")
        flash = bench.off()
        assert flash.read("genesis.bin") == genesis.read_bytes()
        config = json.loads(flash.read("config.json"))
        assert config["wifi"] == {"ssid": "Chez Nous", "password": "under the mat"} and config["name"] == "mill" and config["open"] is True
        assert not [name for name in flash.names() if name.endswith("~") and not name.startswith("/data/")]  # there the meter was writing
        log = bench.device.console.log_path.read_text(errors="replace")
        assert "under the mat" not in out and log.count(f"meter {key.hex()}") >= 2

    on_bench(tmp_path, capsys, scenario)


def test_a_meter_that_is_no_member_keeps_what_it_had(tmp_path, capsys):
    async def scenario(bench):
        other = Operator(b"\1" * 32).public
        (tmp_path / "g").write_bytes(street_with(other))
        code, out, err = await bench.provision("--name", "mill", "--broker", bench.broker, "--genesis", tmp_path / "g")
        assert code == 2 and "not among the 1 members" in err and "public key" in out
        code, _, err = await bench.provision("--name", "mill", "--broker", bench.broker, "--channels", "grid,roof")
        assert code == 2 and "the meter refuses" in err
        assert not {"/config.json", "/genesis.bin"} & set(bench.off().names())

    on_bench(tmp_path, capsys, scenario)


def test_a_full_file_system_is_told(tmp_path, capsys):
    async def scenario(bench):
        code, _, err = await bench.provision("--name", "mill", "--broker", bench.broker)
        assert code == 2 and re.search(r"file system is full: \d+ KiB are free", err)

    on_bench(tmp_path, capsys, scenario, files={"junk": os.urandom(940 << 10)})


def test_a_meter_that_stops_is_told_with_its_reason(tmp_path, capsys):
    async def scenario(bench):
        code, _, err = await bench.provision("--name", "mill", "--broker", bench.broker)
        assert code == 2 and "the meter refuses: key-store-damaged" in err

    on_bench(tmp_path, capsys, scenario, files={"seed.key": b"PKS" + bytes(121)})


def test_an_enrolled_meter_gets_no_second_key(tmp_path, capsys):
    async def scenario(bench):
        code, out, err = await bench.provision()
        assert code == 2 and "the meter refuses: key-store-missing" in err and "public key" not in out
        assert "/seed.key" not in bench.off().names()

    on_bench(tmp_path, capsys, scenario, files={"genesis.bin": street_with(Operator(b"\1" * 32).public)})


def test_a_fault_at_the_start_is_told(tmp_path, capsys):
    async def scenario(bench):
        genesis = tmp_path / "genesis.bin"
        _, out, _ = await bench.provision()
        genesis.write_bytes(street_with(bytes.fromhex(re.search(r"public key +([0-9a-f]{64})", out)[1])))
        code, _, err = await bench.provision("--name", "mill", "--broker", bench.broker, "--genesis", genesis, "--wait", 60)
        assert code == 2 and "the meter stopped: HALT: head-is-damaged" in err

    main = (image.FIRMWARE / "main.py").read_text()
    main = main.replace('print("runs")', "pass").replace("agent.run()", "raise Halt('head-is-damaged')")
    on_bench(tmp_path, capsys, scenario, files={"main.py": main.encode()})


def test_a_silent_port_and_no_port(capsys):
    outer, inner = os.openpty()
    tty.setraw(inner)
    try:
        assert cli.main(["provision", os.ttyname(inner)]) == 2
        assert "no answer on /dev/pts/" in capsys.readouterr().err
    finally:
        os.close(outer)
        os.close(inner)
    assert cli.main(["provision", "/dev/ttyNONE9"]) == 2
    assert "/dev/ttyNONE9 cannot be opened" in capsys.readouterr().err


@pytest.mark.parametrize("arguments, reason", [
    (["--genesis", "g"], "--name is missing"),
    (["--name", "a/b", "--broker", "x"], "letters, digits"),
    (["--name", "mill"], "--broker HOST"),
    (["--name", "mill", "--broker", "h:70000"], "wrong port"),
    (["--name", "mill", "--broker", "h", "--wifi", "w"], "PROSUMER_WIFI_PASSWORD"),
    (["--name", "mill", "--broker", "h", "--devices", "wind.json"], "battery, ev or pv"),
    (["--name", "mill", "--broker", "h", "--genesis", "bad"], "genesis: "),
    (["--name", "mill", "--broker", "h", "--genesis", "forged"], "signature does not match"),
    (["--name", "mill", "--broker", "h", "--genesis", "absent"], "absent: no such file"),
])
def test_what_is_wrong_on_the_command_line_is_said_before_the_port_is_touched(tmp_path, capsys, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    Path("wind.json").write_text('{"windmill": 1}')
    Path("bad").write_bytes(b"\x0a123")
    forged = bytearray(street_with(Operator(b"\1" * 32).public))
    forged[8] ^= 1
    Path("forged").write_bytes(forged)
    assert cli.main(["provision", "/dev/ttyNONE9", *arguments]) == 2
    assert reason in capsys.readouterr().err
