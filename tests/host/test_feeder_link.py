"""`prosumer feeder` at a real broker: what it publishes is retained and sealed, and it waits until the meters say that they have it."""
import json

import pytest
from feeder_kit import PASSPHRASE, STREET, Meter, Office, public
from prosumer_tools.emulator.broker import Broker
from prosumer_tools.operator import link
from prosumer_tools.feederkeys import FeederKeys


@pytest.fixture
def broker(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("broker"), "amqtt")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def office(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PROSUMER_OPERATOR_PASSPHRASE", PASSPHRASE)
    monkeypatch.setattr(link, "_SILENCE_S", 0.4)
    office = Office(tmp_path, capsys)
    office.new()
    office.feeder_id = json.loads(office.done("show", "--json"))["feeder_id"]
    return office


@pytest.fixture
def meters(broker, office):
    made = []

    def make(*names, **options):
        made.extend(Meter(broker.port, office.feeder_id, name, **options) for name in names)
        return made
    yield make
    for meter in made:
        meter.leave()


def of(meter, kind):
    return [raw for what, raw, _ in meter.heard if what == kind]


def test_publish_waits_for_every_meter_and_says_what_it_saw(broker, office, meters):
    mimosa, *_ = meters("mimosa", "olivier", "cypres")
    at = ("--broker", f"127.0.0.1:{broker.port}")
    office.done("envelope", "--import-kw", 8, "--export-kw", 3, "--from", "120")
    office.done("pay", "in", "olivier", "25")
    office.done("pay", "out", "mimosa", "10")
    forecast = office.folder / "forecast.json"
    forecast.write_text('{"start_s": 1782860400, "irradiance": [0, 12, 88, 240]}')
    office.done("weather", forecast)
    out = office.done("publish", *at, "--wait", 60)
    assert "keys of epoch 1: 3 of 3 meters have it" in out and "payments up to 1: 3 of 3 meters have it" in out
    assert [f.split(",")[-1] for f in (office.folder / "payments.csv").read_text().splitlines()[1:]] == ["8", "8"]
    keys = FeederKeys.load(office.folder / "feeder-keys.json")
    assert of(mimosa, "genesis") == [(office.folder / "genesis.bin").read_bytes()], "plain, and signed"
    assert of(mimosa, "keys") == [(office.folder / "keys-1-genesis-0.bin").read_bytes()]
    (envelope,) = of(mimosa, "envelope")
    assert keys.open("envelope", 255, envelope) == (office.folder / "envelope.bin").read_bytes() != envelope
    (sealed,) = of(mimosa, "weather")
    assert json.loads(keys.open("weather", 255, sealed)) == json.loads(forecast.read_text())
    first, second = (keys.open("transfer", 255, raw) for raw in of(mimosa, "transfer"))
    assert first[3:7] == bytes(4) and second[3:7] == bytes([0, 0, 0, 1]), "in their order"
    office.done("publish", *at, "--wait", 60)
    assert len(of(mimosa, "transfer")) == 2, "what is booked is not sent again"

    office.write(STREET.replace("retail_ucr_per_kwh = 250_000", "retail_ucr_per_kwh = 270_000").replace('name = "olivier"', 'name = "cedre"'))
    office.bring(cedre=public())
    office.done("amend", office.street, "--keys", office.keys)
    out = office.done("publish", *at, "--wait", 60)
    assert "genesis 1: 2 of 3 meters have it" in out and "cedre: offline" in out, "who left is not waited for, who joins may come later"
    assert of(mimosa, "genesis")[-1] == (office.folder / "genesis-1.bin").read_bytes()
    (late,) = meters("cedre")[3:]
    heard = {kind: retained for kind, _, retained in late.heard}
    assert heard == {"genesis": True, "keys": True, "envelope": True, "weather": True}, "the broker keeps all but payments"


def test_amendments_go_out_one_after_the_other(broker, office, meters):
    mimosa, *_ = meters("mimosa", "olivier", "cypres")
    at = ("--broker", f"127.0.0.1:{broker.port}")
    for fee in (21_000, 22_000, 23_000):
        office.write(STREET.replace("local_fee_ucr_per_kwh = 20_000", f"local_fee_ucr_per_kwh = {fee}"))
        office.done("amend", office.street)
    out = office.done("publish", *at, "--wait", 60)
    assert [line for line in out.splitlines() if line.endswith("3 of 3 meters have it") and line.startswith("genesis")] == [
        f"genesis {n}: 3 of 3 meters have it" for n in (1, 2, 3)]
    assert [int.from_bytes(raw[1:3], "big") for raw in of(mimosa, "genesis")] == [1, 2, 3]
    mimosa.deaf, said = ("genesis",), office.files()
    office.done("amend", office.street, "--renew")
    office.done("amend", office.street, "--renew")
    code, out, err = office("publish", *at, "--wait", 1)
    assert code == 2 and "genesis 4 is not in force yet" in err and "mimosa: did not take it up" in out
    assert len(of(mimosa, "genesis")) == 4, "the fifth waits"
    assert {n for n in office.files() if n not in said} == {"genesis-4.bin", "genesis-5.bin"}


def test_a_meter_that_does_not_take_it_up_is_named(broker, office, meters):
    meters("mimosa", "olivier")
    meters("cypres", deaf=("keys",))
    code, out, _ = office("publish", "--broker", f"127.0.0.1:{broker.port}", "--wait", 1)
    assert code == 1 and "2 of 3" in out and "cypres: did not take it up within 1 s" in out


def test_a_payment_with_nobody_there_is_not_called_booked(broker, office):
    code, out, _ = office("pay", "in", "olivier", "25", "--broker", f"127.0.0.1:{broker.port}", "--wait", 0.5)
    assert code == 1 and "0 of 3" in out
    assert (office.folder / "payments.csv").read_text().splitlines()[1].endswith(",")


def test_keys_of_former_members_are_not_published(broker, office):
    files = office.files()
    office.write(STREET.replace('name = "olivier"', 'name = "cedre"'))
    office.bring(cedre=public())
    office.done("amend", office.street, "--keys", office.keys)
    (office.folder / "keys-2-genesis-1.bin").unlink()
    (office.folder / "feeder-keys.json").write_bytes(files["feeder-keys.json"])    # as if it had been cut off in between
    assert "members have changed since the keys of epoch 1" in office.refused("publish", "--broker", f"127.0.0.1:{broker.port}")


def test_the_street_at_a_glance(broker, office, meters):
    mimosa, olivier = meters("mimosa", "olivier")
    olivier.state.update(final_slot=4, balance_ucr=1_790_000)
    olivier.tell()
    stranger = Meter(broker.port, office.feeder_id, "nobody")
    out = office.done("status", "--broker", f"127.0.0.1:{broker.port}")
    stranger.leave()
    assert "2 of 3 members online, last final slot 6" in out
    rows = {line.split()[1]: line.split() for line in out.splitlines() if line.strip()[:1].isdigit()}
    assert rows["mimosa"][2:6] == ["online", "6", "0", "0"] and rows["mimosa"][6:8] == ["1", "234"] and "OFFLINE" in rows["cypres"]
    assert "behind slot 6: olivier" in out and "bad-seal 6" in out and "timeout" not in out and "nobody" in out
    assert "not yet with the keys of epoch 1: mimosa, olivier" in out
    assert "half a year" not in out and "by certificate alone" not in out
    olivier.state["counts"] = {"trust-period": 3, "caught-up-unproven": 1}
    olivier.tell()
    out = office.done("status", "--broker", f"127.0.0.1:{broker.port}")
    assert "believing nobody since: olivier. Sign anew: `prosumer feeder amend STREET.toml --renew`" in out and "trust-period 3" in out
    assert "by certificate alone: olivier" in out and "unproven 1" not in out
    mimosa.state["final_hash"], olivier.state["final_slot"] = "cd" * 32, 6
    mimosa.tell(), olivier.tell()
    told = json.loads(office.done("status", "--broker", f"127.0.0.1:{broker.port}", "--json"))
    assert not told["agree"] and told["online"] == 2 and [row["name"] for row in told["rows"]] == ["mimosa", "olivier", "cypres"]


def test_a_broker_with_passwords(office, tmp_path, monkeypatch):
    guarded = Broker(tmp_path / "guarded", "amqtt", users={"operator": "right"})
    guarded.start()
    at = ("--broker", f"127.0.0.1:{guarded.port}", "--user", "operator")
    try:
        monkeypatch.setenv("PROSUMER_MQTT_PASSWORD", "right")
        assert "0 of 3 members online" in office.done("status", *at)
        monkeypatch.setenv("PROSUMER_MQTT_PASSWORD", "wrong")
        assert "refuses" in office.refused("status", *at)
    finally:
        guarded.stop()


@pytest.mark.parametrize("broker_at, why", [("127.0.0.1:1", "no broker on 127.0.0.1:1"), ("host:port", "HOST:PORT"), ("", "HOST")])
def test_no_broker(office, broker_at, why):
    assert why in office.refused("status", "--broker", broker_at)
