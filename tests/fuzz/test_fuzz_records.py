"""Transfers, payments, evidence, amendments and feeder keys that were cut, flipped, lengthened, spliced or sent under another name:
a meter of the firmware refuses each with a reason, and nothing in it has changed. Unchanged, each of them is taken.
"""
import hashlib
import json
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from prosumer_tools.feederkeys import keys_record
from prosumer_tools.unixport import ROOT, FirmwareSession

KINDS = ("give", "pay", "evidence", "genesis", "keys")
FAST = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Meter:
    """The firmware in a process of its own, with records it would take."""

    def __init__(self, session):
        self.session = session
        told = json.loads(session.receive())
        operator = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"paper operator").digest())
        members = [bytes.fromhex(key) for key in told["members"]]
        keys = keys_record(operator.sign, bytes.fromhex(told["feeder"]), 1, b"k" * 32, members, b"e" * 32)
        self.good = {name: (kind, sender, bytes.fromhex(raw)) for name, (kind, sender, raw) in told["good"].items()} | {"keys": ("keys", 255, keys)}
        _, self.at_rest = self.send("vote", 0, b"")

    def send(self, kind, sender, raw):
        """(reason or "taken", hash of all it knows)."""
        return json.loads(self.session.ask(json.dumps([kind, sender, raw.hex()])))

    def refuses(self, kind, sender, raw):
        reason, state = self.send(kind, sender, raw)
        assert reason != "taken", raw.hex()
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", reason), reason
        assert state == self.at_rest, reason
        return reason


@pytest.fixture(scope="module")
def meter():
    script = (Path(__file__).parent / "records_meter.py").read_text(encoding="utf-8")
    with FirmwareSession(script, "16M", [ROOT / "tests/unit"]) as session:
        yield Meter(session)


@FAST
@given(name=st.sampled_from(KINDS), data=st.data())
def test_a_record_with_flipped_bits_is_refused(meter, name, data):
    kind, sender, raw = meter.good[name]
    bits = data.draw(st.sets(st.integers(0, 8 * len(raw) - 1), min_size=1, max_size=3))
    broken = int.from_bytes(raw, "big")
    for bit in bits:
        broken ^= 1 << bit
    meter.refuses(kind, sender, broken.to_bytes(len(raw), "big"))


@FAST
@given(name=st.sampled_from(KINDS), data=st.data())
def test_a_record_that_was_cut_lengthened_or_spliced_is_refused(meter, name, data):
    kind, sender, raw = meter.good[name]
    other = data.draw(st.sampled_from([r for _, _, r in meter.good.values()]))
    at = data.draw(st.integers(0, len(raw)))
    broken = data.draw(st.one_of(st.just(raw[:at]), st.binary(min_size=1, max_size=80).map(lambda more: raw + more),
                                 st.just(raw[:at] + other[at:]), st.binary(max_size=200).map(lambda bytes_: raw[:1] + bytes_),
                                 st.binary(max_size=8).map(lambda hole: raw[:at] + hole + raw[at + len(hole):])))
    assume(broken != raw)
    meter.refuses(kind, sender, broken)


@FAST
@given(name=st.sampled_from(KINDS), as_kind=st.sampled_from(("reading", "commit", "order", "transfer", "evidence", "genesis", "keys", "vote", "envelope")),
       sender=st.integers(0, 255))
def test_a_record_on_a_topic_of_another_kind_is_refused(meter, name, as_kind, sender):
    kind, _, raw = meter.good[name]
    assume(as_kind != kind)
    meter.refuses(as_kind, sender, raw)


@pytest.mark.parametrize("name", ("give", "pay"))
def test_a_transfer_under_another_senders_name_is_refused(meter, name):
    kind, sender, raw = meter.good[name]
    for other in (0, 1, 2, 3, 4, 63, 64, 254, 255):
        if other != sender:
            assert meter.refuses(kind, other, raw) == "wrong-sender"


def test_every_reason_is_met(meter):
    """Each rule by itself, so that a rule that is never asked would show."""
    _, _, give = meter.good["give"]
    _, _, genesis = meter.good["genesis"]
    _, _, keys = meter.good["keys"]
    _, _, evidence = meter.good["evidence"]
    head = 10   # type, member, domain; then the two records
    half = (len(evidence) - head) // 2
    assert meter.refuses("transfer", 2, give[:-1] + bytes([give[-1] ^ 1])) == "bad-signature"
    assert meter.refuses("transfer", 2, give + b"\0") == "wrong-length"
    assert meter.refuses("transfer", 2, give[:3] + bytes([0, 0, 0, 9]) + give[7:]) == "wrong-sequence"
    assert meter.refuses("transfer", 2, give[:8] + b"\xff" * 8 + give[16:]) == "bad-amount"
    assert meter.refuses("transfer", 2, give[:7] + bytes([200]) + give[8:]) == "not-a-member"
    assert meter.refuses("transfer", 2, give[:2] + bytes([2]) + give[3:]) == "wrong-kind"
    assert meter.refuses("evidence", 3, evidence[:head] + evidence[head + half:] + evidence[head:head + half]) == "no-evidence"
    assert meter.refuses("evidence", 3, evidence[:head] + 2 * evidence[head:head + half]) == "no-evidence"
    assert meter.refuses("evidence", 3, evidence[:-1] + bytes([evidence[-1] ^ 1])) == "bad-signature"
    assert meter.refuses("genesis", 255, genesis[:-1] + bytes([genesis[-1] ^ 1])) == "bad-operator-signature"
    assert meter.refuses("genesis", 255, genesis + bytes(2000)) == "too-large"
    assert meter.refuses("keys", 255, keys[:-1] + bytes([keys[-1] ^ 1])) == "bad-operator-signature"
    assert meter.refuses("keys", 255, keys[:-1]) == "wrong-length"


def test_unbroken_they_are_taken_once(meter):
    """Last: from here on the meter has changed."""
    state = meter.at_rest
    for kind, sender, raw in meter.good.values():
        reason, after = meter.send(kind, sender, raw)
        assert (reason, after != state) == ("taken", True), (kind, reason)
        state = after
    for kind, sender, raw in meter.good.values():
        assert meter.send(kind, sender, raw)[1] == state, "played again it changes nothing"
    _, _, keys = meter.good["keys"]
    assert meter.send("keys", 255, keys[:1] + bytes(2) + keys[3:]) == ["no-epoch", state]
