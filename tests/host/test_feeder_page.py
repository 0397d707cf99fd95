"""OPERATOR.md: every `prosumer feeder` in it runs, in the order of the page, against a real broker with meters at it."""
import json
import re
import shlex

import pytest
from feeder_kit import PASSPHRASE, Meter, Office, public
from prosumer_tools.emulator.broker import Broker
from prosumer_tools.operator import link
from prosumer_tools.unixport import ROOT

PAGE = (ROOT / "host_tools/OPERATOR.md").read_text(encoding="utf-8")


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path / "broker", "amqtt")
    broker.start()
    yield broker
    broker.stop()


def test_what_the_page_tells_an_operator_to_do(broker, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PROSUMER_OPERATOR_PASSPHRASE", PASSPHRASE)
    monkeypatch.setattr(link, "_SILENCE_S", 0.4)
    monkeypatch.chdir(tmp_path)
    (street,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.M | re.S)
    office = Office(tmp_path, capsys, street)
    (tmp_path / "joining.json").write_text(json.dumps({"cedre": public().hex()}))
    (weather,) = re.findall(r'`(\{"start_s": .*?\})`', PAGE)
    (tmp_path / "weather.json").write_text(weather)
    commands = re.findall(r"^prosumer feeder .*$", PAGE, re.M)
    assert len(commands) >= 12
    meters, said = [], {}
    for line in commands:
        what, *arguments = shlex.split(line)[2:]
        if what == "amend" and "amend" not in said:     # the page says: edit street.toml
            office.write(street.replace('"cypres"', '"cedre"').replace("retail_ucr_per_kwh = 250_000", "retail_ucr_per_kwh = 270_000"))
        if what == "publish":
            feeder = json.loads(office.done("show", "--json"))["feeder_id"]
            meters = [Meter(broker.port, feeder, name) for name in ("mimosa", "olivier", "cedre")]
        arguments = [f"127.0.0.1:{broker.port}" if a == "192.168.1.10" else a for a in arguments]
        said[what] = office.done(what, *arguments)
    for meter in meters:
        meter.leave()
    assert set(said) == {"new", "acl", "amend", "show", "envelope", "pay", "keys", "publish", "status", "weather"}, "no command is left out"
    assert "4 hours from 2026-07-01T01:00+02:00" in said["weather"]
    assert "genesis 1: 3 of 3 meters have it" in said["publish"] and "payments up to 1: 3 of 3" in said["publish"]
    assert "3 of 3 members online" in said["status"] and "cypres" not in said["status"]
    assert "cedre joins as member 3" in said["show"] and "retail: 25 ct/kWh → 27 ct/kWh" in said["show"]
