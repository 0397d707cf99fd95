"""`prosumer verify` against forgers: with the keys of a quorum, of one meter, or without any."""
import hashlib

import pytest
from chain_kit import Paper
from verify_kit import Forger, faults, run  # noqa: F401 (run is a fixture)

from prosumer_tools.archive import format
from prosumer_tools.verify.records import HEADER_SIZE
from prosumer_tools.verify.records import genesis as decode_genesis


def test_the_forger_is_a_good_one(run):
    Forger(run).write()
    assert faults(run) == []


def test_a_price_changed_and_hashed_again_without_keys(run):
    path = run / "records/block-00004.bin"
    data = bytearray(path.read_bytes())
    data[142] ^= 1  # the price
    size = int.from_bytes(data[:4], "big")
    feeder = decode_genesis((run / "genesis.bin").read_bytes()).feeder_id
    digest = hashlib.sha256(b"prosumer/header/v1\0" + feeder + data[5:5 + HEADER_SIZE]).digest()
    data[4 + size + 6:4 + size + 38] = digest
    path.write_bytes(data)
    assert any("certificate: signature does not match: none of them does" in f for f in faults(run))


@pytest.mark.parametrize("field, text", [
    ("price_ucr_per_kwh", "but the orders clear at"), ("volume_mwh", "mWh, but the orders clear"), ("state_root", "state root is not"),
    ("accumulator", "accumulator is not"), ("previous", "previous hash is not that of block 4"), ("body_root", "have another root"),
    ("iteration", "the turn of"), ("proposer", "the turn of")])
def test_a_header_that_a_quorum_signed_falsely(run, field, text):
    forger = Forger(run)
    value = getattr(forger.block.header, field)
    setattr(forger.block.header, field, bytes(31) + b"\1" if isinstance(value, bytes) else (value + 1) % 4 if field == "proposer" else value + 1)
    forger.write(root=field != "body_root")
    found = faults(run)
    assert len(found) == 1 and text in found[0] and found[0].startswith("block 5: "), found


def test_signatures_of_members_who_do_not_vote(tmp_path):
    """Two were excluded; with two others they are as many as a quorum."""
    street = Paper(7)
    (tmp_path / "records").mkdir()
    (tmp_path / "genesis.bin").write_bytes(street.record)

    def grow(slots=1, signers=None):
        for _ in range(slots):
            proposal, certificate = street.block()
            place = tmp_path / f"records/block-{street.slot - 1:05d}.bin"
            place.write_bytes(format.file_of(proposal, street.certificate(signers) if signers else certificate))
    grow(3)
    for liar in (5, 6):
        street.lie(liar)
        grow()
    assert faults(tmp_path) == []
    grow(1, [0, 1, 5, 6])
    by_liars = [f"block 5: certificate: names member {m}, who does not vote" for m in (5, 6)]
    assert faults(tmp_path) == [*by_liars, "block 5: certificate: 2 signatures, 4 are needed"]
    place = tmp_path / "records/block-00005.bin"
    proposal = format.parts_of(place.read_bytes())[0]
    place.write_bytes(format.file_of(proposal, street.certificate([0, 1, 2, 3, 5])))
    assert faults(tmp_path) == by_liars[:1]
    place.write_bytes(format.file_of(proposal, street.certificate([0, 1, 2, 3])))
    assert faults(tmp_path) == []


def test_too_few_signatures(run):
    forger = Forger(run)
    forger.signers = [1, 3]
    forger.write()
    assert faults(run) == ["block 5: certificate: 2 signatures, 3 are needed"]


@pytest.mark.parametrize("changes, text", [
    ({"interval_export_mwh": 0}, "state root"), ({"seq": 7}, "has sequence number 7"),
    ({"previous": bytes(32)}, "does not continue"), ({"slot": 5}, "may be read here"), ({"import_mwh": 5}, "went back"),
    ({"generation_mwh": 0}, "went back"), ({"import_mwh": 1 << 40}, "fuse"),
    ({"interval_import_mwh": 30000000, "import_mwh": 90000000}, "fuse"), ({"seq": 0xFFFFFFFF}, "none could follow"), ({"flags": 2}, "state root")])
def test_a_reading_that_its_meter_signed_falsely(run, changes, text):
    forger = Forger(run)
    forger.reading(0, **changes)
    forger.write()
    found = faults(run)
    assert any(text in f for f in found) and all(f.startswith("block 5: ") for f in found), found


def test_records_put_in_left_out_or_out_of_order(run):
    whole = (run / "records/block-00005.bin").read_bytes()
    for part, name in (("commits", "commit"), ("orders", "order"), ("readings", "reading")):
        forger = Forger(run)
        getattr(forger.block, part).reverse()
        forger.write()
        assert any(name in f and "stands in the wrong place" in f for f in faults(run)), part
        forger.path.write_bytes(whole)
        forger = Forger(run)
        records = getattr(forger.block, part)
        records.insert(1, records[0])
        forger.write()
        assert any(name in f and "stands in the wrong place" in f for f in faults(run)), part
        forger.path.write_bytes(whole)
        forger = Forger(run)
        del getattr(forger.block, part)[0]
        forger.write()
        assert faults(run), part
        forger.path.write_bytes(whole)
    forger = Forger(run)
    forger.block.envelopes = []
    forger.write()
    assert any("clear" in f for f in faults(run))


def test_an_envelope_by_someone_else_and_an_order_that_nobody_sealed(run):
    whole = (run / "records/block-00005.bin").read_bytes()
    forger = Forger(run)
    forger.sign(forger.block.envelopes[0], "member 0")
    forger.write()
    assert faults(run)[0] == "block 5: the operator's envelope: signature does not match"
    forger.path.write_bytes(whole)
    forger = Forger(run)
    order = forger.block.orders[0]
    order.raw = order.raw[:-1] + bytes([order.raw[-1] ^ 1])
    forger.write()
    assert faults(run)[0] == "block 5: order of mimosa (member 0, slot 6): is not the one that its commit sealed"


def test_a_block_without_certificate_is_final_by_a_later_one_only(run):
    records = run / "records"
    for slot in (3, 5):
        path = records / f"block-{slot:05d}.bin"
        data = path.read_bytes()
        path.write_bytes(data[:4 + int.from_bytes(data[:4], "big")])
        assert faults(run) == ([] if slot == 3 else ["block 5: has no certificate, and no later block makes it final"])
