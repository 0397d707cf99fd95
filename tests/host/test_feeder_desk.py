"""`prosumer feeder` without a broker: what is signed stands before the firmware and before independent code, and what cannot be is refused."""
import json
import re
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from feeder_kit import PASSPHRASE, START_S, STREET, Office, public
from prosumer_tools.feederkeys import read_record
from prosumer_tools.operator import words
from prosumer_tools.operator.plan import load_plan
from prosumer_tools.operator.record import fingerprint
from prosumer_tools.unixport import ROOT
from prosumer_tools.verify import records


@pytest.fixture
def office(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PROSUMER_OPERATOR_PASSPHRASE", PASSPHRASE)
    return Office(tmp_path, capsys)


def test_a_new_feeder(office):
    out = office.new()
    genesis = records.genesis((office.folder / "genesis.bin").read_bytes())
    keys = json.loads(office.keys.read_text())
    assert [m[0].hex() for m in genesis.members] == list(keys.values())
    assert [m[1:] for m in genesis.members] == [(1, 45, 1), (2, 45, 1), (0, 30, 0)]
    assert (genesis.start_s, genesis.slot_s) == (START_S, 900)
    assert (genesis.import_limit_mwh, genesis.export_limit_mwh) == (3_000_000, 2_250_000)
    Ed25519PublicKey.from_public_bytes(genesis.operator).verify(genesis.signature, records.GENESIS_TAG + genesis.body)
    assert all(fingerprint(key) in out for key in keys.values()), "to compare by telephone"
    assert genesis.feeder_id.hex() in out and "12.000 kW" in out and "25 ct/kWh" in out
    for name in ("operator.pem", "feeder-keys.json"):
        assert (office.folder / name).stat().st_mode & 0o077 == 0
    epoch, _, wrapped = read_record((office.folder / "keys-1-genesis-0.bin").read_bytes())
    assert epoch == 1 and all(wrapped) and len(wrapped) == 3
    assert "was started" in office.refused("new", office.street, "--keys", office.keys)


def test_the_key_opens_with_its_passphrase_alone(office, monkeypatch):
    office.new()
    pem = office.folder / "operator.pem"
    done = subprocess.run(["openssl", "pkey", "-in", str(pem), "-passin", f"pass:{PASSPHRASE}", "-pubout"], capture_output=True, text=True)
    assert done.returncode == 0, "any tool of the trade opens it"
    monkeypatch.setenv("PROSUMER_OPERATOR_PASSPHRASE", "another sixteen letters")
    assert "does not fit" in office.refused("keys")
    monkeypatch.delenv("PROSUMER_OPERATOR_PASSPHRASE")
    assert "PROSUMER_OPERATOR_PASSPHRASE" in office.refused("keys"), "no terminal to ask"
    monkeypatch.setenv("PROSUMER_OPERATOR_PASSPHRASE", PASSPHRASE)
    pem.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert "not under a passphrase" in office.refused("keys")
    pem.unlink()
    assert "missing" in office.refused("keys")


def test_the_key_of_another_operator_signs_nothing_here(office, tmp_path_factory, capsys):
    office.new()
    other = Office(tmp_path_factory.mktemp("other"), capsys)
    other.new()
    (office.folder / "operator.pem").write_bytes((other.folder / "operator.pem").read_bytes())
    assert "not the key of this feeder's operator" in office.refused("keys")


def test_a_short_passphrase_makes_no_key(office, monkeypatch):
    monkeypatch.setenv("PROSUMER_OPERATOR_PASSPHRASE", "secret")
    assert "too short" in office.refused("new", office.street, "--keys", office.keys)


def test_join_leave_new_key_tariff_and_limits_in_one_amendment(office):
    office.new()
    before = records.genesis((office.folder / "genesis.bin").read_bytes())
    office.write(STREET.replace('name = "olivier"', 'name = "cedre"').replace("retail_ucr_per_kwh = 250_000", "retail_ucr_per_kwh = 270_000")
                 .replace("import_limit_kw = 12.0", "import_limit_kw = 10.0"))
    new_key, joined = public(), public()
    office.bring(mimosa=new_key, cedre=joined)
    files = office.files()
    draft = office.done("amend", office.street, "--keys", office.keys, "--dry-run")
    assert office.files() == files, "a dry run writes nothing"
    out = office.done("amend", office.street, "--keys", office.keys)
    for said in (draft, out):
        assert "retail: 25 ct/kWh → 27 ct/kWh" in said and "import 12.000 kW" in said and "import 10.000 kW" in said
        assert "mimosa (member 0) has a new key" in said and fingerprint(new_key.hex()) in said
        assert "olivier (member 1) leaves" in said and "cedre joins as member 3" in said
        assert "cypres" not in said
    after = records.genesis((office.folder / "genesis-1.bin").read_bytes())
    assert (after.number, after.previous, after.feeder_id) == (1, before.hash, before.feeder_id)
    assert [m[0] for m in after.members] == [new_key, before.members[1][0], before.members[2][0], joined]
    assert [m[1] for m in after.members] == [1, 2 | 128, 0, 2]
    _, _, wrapped = read_record((office.folder / "keys-2-genesis-1.bin").read_bytes())
    assert [w is not None for w in wrapped] == [True, False, True, True], "who left reads no more"
    history = office.done("show", "--history")
    assert "3 members, 1 left" in history and "amendment 1" in history and "cedre joins" in history
    assert "says this already" in office.done("amend", office.street)
    assert "nothing changes but the number" in office.done("amend", office.street, "--renew")
    assert "amendment 2" in office.done("show", office.folder / "genesis-2.bin"), "also by itself"
    assert records.genesis((office.folder / "genesis-2.bin").read_bytes()).number == 2


def test_a_place_is_never_given_away(office):
    office.new()
    office.write(STREET.replace('name = "cypres"', 'name = "cedre"'))
    office.bring(cedre=public())
    office.done("amend", office.street, "--keys", office.keys)
    office.write(STREET)
    office.bring(cypres=public())
    assert "cypres has left as member 2" in office.refused("amend", office.street, "--keys", office.keys)


@pytest.mark.parametrize("old, new, why", [
    ("slot_minutes = 15", "slot_minutes = 5", "slot cannot be amended"),
    ("start = 2026-07-01T00:00:00+02:00", "start = 2026-08-01T00:00:00+02:00", "start cannot be amended"),
    ("feed_in_ucr_per_kwh = 60_000", "feed_in_ucr_per_kwh = 300_000", "cannot pay more than it asks"),
    ("[feeder]", "[feder]", "feder"),
    ("fuse_a = 30", "fuse_a = 300", "at most 255 A"),
    ("phase = 0", "phase = 4", "home[3].phase"),
    ("pv_kwp = 3.0", "pv_kwp = 3.0\nhead = true", "neither generates nor stores"),
    ("[feeder]", 'band = [{days = "fri-mon", from = "22:00", until = "24:00", retail_ucr_per_kwh = 1, feed_in_ucr_per_kwh = 0}]\n[feeder]', "ends before"),
    ("[feeder]", 'band = [{days = "mon", from = "22:00", until = "06:00", retail_ucr_per_kwh = 1, feed_in_ucr_per_kwh = 0}]\n[feeder]', "two bands"),
    ("[feeder]", "min_price_ucr_per_kwh = 100_000\n[feeder]", "tariff-out-of-order"),
    ("[feeder]", '[rules]\naccuracy = "D"\n[feeder]', "indicative, A, B, C"),
    ("[feeder]", "[rules]\ncredit_limit_ucr = -1\n[feeder]", "credit_limit_ucr"),
    ('name = "cypres"', 'name = "cedre"', "has no key yet"),
    ('name = "cypres"', 'name = "cypres"\nkey = "12"', "home[3].key")])
def test_what_no_meter_would_take_is_named_before_it_is_signed(office, old, new, why):
    office.new()
    office.write(STREET.replace(old, new))
    assert why in office.refused("amend", office.street)


def test_too_many_who_join_at_once_go_in_steps(office):
    office.new()
    many = {f"n{i}": public() for i in range(40)}
    office.write(STREET + "".join(f'[[home]]\nname = "{name}"\n' for name in many))
    office.bring(**many)
    assert "too-large" in office.refused("amend", office.street, "--keys", office.keys)


def test_a_key_that_is_there_twice_is_the_firmwares_to_refuse(office):
    key = public()
    office.bring(mimosa=key, olivier=key, cypres=public())
    assert "duplicate-key" in office.refused("new", office.street, "--keys", office.keys)
    office.bring(mimosa=bytes(32), olivier=key, cypres=public())
    assert "would be refused by every meter" in office.refused("new", office.street, "--keys", office.keys)


def test_files_that_were_changed_are_found(office):
    office.new()
    path = office.folder / "genesis.bin"
    raw = bytearray(path.read_bytes())
    raw[60] ^= 1
    path.write_bytes(raw)
    assert "bad-operator-signature" in office.refused("show")


def test_a_payment(office):
    office.new()
    genesis = records.genesis((office.folder / "genesis.bin").read_bytes())
    assert "25.5 €" in office.done("pay", "in", "olivier", "25.50", "--note", "June", "--dry-run")
    assert not (office.folder / "payments.csv").exists()
    office.done("pay", "in", "olivier", "25.50", "--note", "June, \"cash\"")
    office.done("pay", "out", "mimosa", "0.000001")
    lines = (office.folder / "payments.csv").read_text().splitlines()
    raws = [bytes.fromhex(re.search(r",([0-9a-f]{192}),", line)[1]) for line in lines[1:]]
    body = bytes([11, 255, 2]) + (0).to_bytes(4, "big") + bytes([1]) + (25_500_000).to_bytes(8, "big") + b'June, "cash"'.ljust(16, b"\0")
    assert raws[0][:-64] == body
    assert raws[1][:-64] == bytes([11, 255, 3]) + (1).to_bytes(4, "big") + bytes([0]) + (1).to_bytes(8, "big") + bytes(16)
    for raw in raws:
        Ed25519PublicKey.from_public_bytes(genesis.operator).verify(raw[-64:], b"prosumer/transfer/v1\0" + genesis.feeder_id + raw[:-64])
    for arguments, why in ((("in", "olivier", "0"), "more than 0"), (("in", "olivier", "-3"), "more than 0"), (("in", "olivier", "1e-9"), "decimals"),
                           (("in", "olivier", "x"), "more than 0"), (("in", "nobody", "1"), "none of"), (("in", "olivier", "1", "--note", "x" * 17), "16"),
                           (("in", "olivier", "300000000"), "less than")):
        assert why in office.refused("pay", *arguments)
    assert "payment 1: 2 €" in office.done("pay", "out", "mimosa", "2", "--instead"), "the ledger refused it: another under its number"


def test_an_envelope(office):
    office.new()
    genesis = records.genesis((office.folder / "genesis.bin").read_bytes())
    out = office.done("envelope", "--import-kw", 8, "--export-kw", 2.5, "--from", "2026-07-02T06:00+02:00", "--until", "143")
    assert "slots 120 (2026-07-02T06:00+02:00) to 143 (2026-07-02T12:00+02:00)" in out
    envelope = records.Envelope.read(records.Reader((office.folder / "envelope.bin").read_bytes(), "envelope"), "envelope")
    assert (envelope.first_slot, envelope.last_slot, envelope.import_limit_mwh, envelope.export_limit_mwh) == (120, 143, 2_000_000, 625_000)
    Ed25519PublicKey.from_public_bytes(genesis.operator).verify(envelope.signature, envelope.message(genesis.feeder_id))
    assert "must begin later" in office.refused("envelope", "--import-kw", 9, "--export-kw", 3, "--from", "120")
    assert "not before it" in office.refused("envelope", "--import-kw", 9, "--export-kw", 3, "--from", "150", "--until", "149")
    assert "--import-kw" in office.refused("envelope", "--import-kw", -1, "--export-kw", 3, "--from", "150")
    assert "no time" in office.refused("envelope", "--import-kw", 1, "--export-kw", 3, "--from", "noon")


def test_the_access_list_is_what_the_firmware_speaks_and_no_more(office):
    office.new()
    feeder = json.loads(office.done("show", "--json"))["feeder_id"][:8]
    text = office.done("acl")
    olivier = text.split("user olivier\n")[1].split("user ")[0]
    topics = (ROOT / "firmware/prosumer/link/topics.py").read_text()
    kinds = {word for line in re.findall(r"^[A-Z, ]+ = (\".*)", topics, re.M) for word in re.findall(r'"(\w+)"', line)}
    may = dict(re.findall(rf"topic write [pb]/{feeder}/(\w+)/(\S+)", olivier))
    assert set(may) == kinds - {"weather", "keys"}
    assert {kind for kind, who in may.items() if who == "1"} == {"sketch", "proposal", "vote", "ask", "chain"}
    operator = text.split("user operator\n")[1]
    for line in (f"readwrite p/{feeder}/#", f"write a/{feeder}/ask/255", f"read a/{feeder}/answer/255"):
        assert f"topic {line}\n" in operator


@pytest.mark.parametrize("text", ["", "[]", "3", '{"start_s": 1.5, "irradiance": []}', '{"start_s": 1, "irradiance": [2001]}', '{"start_s": 1, "irradiance": [true]}',
                                  '{"start_s": 1, "irradiance": 7}', '{"start_s": 1, "irradiance": [], "more": 1}', '{"start_s": 1}'])
def test_a_forecast_that_meters_would_refuse_is_not_sent(office, text):
    office.new()
    (office.folder / "f.json").write_text(text)
    assert "is expected" in office.refused("weather", office.folder / "f.json")


def test_keys_for_all_but_an_excluded_member(office):
    office.new()
    out = office.done("keys", "--without", "olivier")
    assert "2 members: mimosa, cypres" in out
    epoch, _, wrapped = read_record((office.folder / "keys-2-genesis-0.bin").read_bytes())
    assert epoch == 2 and [w is not None for w in wrapped] == [True, False, True]


def test_a_calendar_and_a_head_meter(office):
    office.write(STREET.replace("[feeder]", 'band = [{days = "sat,sun", from = "00:00", until = "24:00", retail_ucr_per_kwh = 180_000, '
                                'feed_in_ucr_per_kwh = 70_000}]\n[rules]\ncredit_limit_ucr = 50_000_000\naccuracy = "B"\n[feeder]')
                 + '[[home]]\nname = "trafo"\nhead = true\nfuse_a = 250\nphase = 0\n')
    keys = {**json.loads(office.keys.read_text()), "trafo": public().hex()}
    office.keys.write_text(json.dumps(keys))
    out = office.new()
    assert "sat,sun 00:00 to 24:00: retail 18 ct/kWh, feed-in 7 ct/kWh" in out
    assert "credit limit        50.00 €" in out.replace("\u00a0", " ") and "lowest class        B" in out
    assert "3 × 250 A, head meter" in out and "loss                none" in out
    facts = json.loads(office.done("show", "--json"))
    assert facts["bands"] == [[96, 0, 1440, 180_000, 70_000]] and facts["members"][3][1:] == [4, 250, 0]


def test_days_are_said_as_they_are_written(office):
    for text in ("mon", "mon-fri", "sat,sun", "mon,wed,fri-sun", "mon-sun"):
        office.write(STREET.replace("[feeder]", f'band = [{{days = "{text}", from = "01:00", until = "02:00", retail_ucr_per_kwh = 180_000, '
                                    'feed_in_ucr_per_kwh = 70_000}]\n[feeder]'))
        keys = {name: bytes.fromhex(key) for name, key in json.loads(office.keys.read_text()).items()}
        assert words.days(load_plan(office.street, keys).bands[0][0]) == text
