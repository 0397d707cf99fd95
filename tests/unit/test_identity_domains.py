"""Replay and domain separation: what a signature is worth elsewhere, tried for every signed thing there is. Nothing.

The table of records is read from prosumer.records, so that a new one is tried without being listed here.
"""
import struct

from prosumer import records
from prosumer.codec import Record
from prosumer.errors import Reject
from prosumer.identity import genesis
from prosumer.identity.ed25519 import PreparedKey, Signer
from prosumer.ledger.catchup import Ask

FEEDER, OTHER_FEEDER = b"feeder-1", b"feeder-2"
SIGNER, OTHER = Signer(b"a" * 32), Signer(b"b" * 32)
KEY = PreparedKey(SIGNER.public)
_STEPS = {">B": 1, ">H": 1, ">I": 1, ">Q": 1}


def kinds():
    """All classes of fixed-size signed records."""
    found = [getattr(records, name) for name in dir(records)]
    return [c for c in found if isinstance(c, type) and issubclass(c, Record) and c is not Record and c.SIGNED]


def test_every_field_begins_where_the_one_before_ends():
    classes = kinds() + [records.Header, Ask]
    assert len(classes) >= 7
    for cls in classes:
        at = 1
        for i in range(0, len(cls.FIELDS), 3):
            assert cls.FIELDS[i + 2] == at, (cls, cls.FIELDS[i])
            at += struct.calcsize(cls.FIELDS[i + 1])
        assert cls.length() == at


def example(cls, **changes):
    fields = {}
    for i in range(0, len(cls.FIELDS), 3):
        name, code = cls.FIELDS[i], cls.FIELDS[i + 1]
        fields[name] = 1 if code in _STEPS else bytes(range(1, 1 + int(code[:-1].lstrip(">"))))
    fields.update(changes)
    return cls(**fields)


def signed(record, feeder=FEEDER, signer=SIGNER):
    record.signature = signer.sign(record.message(feeder))
    return record


def tags():
    """{tag: what is signed under it}, of records and of what is no fixed-size record."""
    out = {c.TAG + b"\0": c for c in kinds()}
    for name in dir(records):
        c = getattr(records, name)
        if isinstance(c, type) and getattr(c, "TAG", None):
            out[c.TAG + b"\0"] = c
    out[genesis.TAG] = "genesis"
    out[b"prosumer/keys/v1\0"] = "keys"
    return out


def test_every_tag_is_versioned_and_none_begins_another():
    all_tags = tags()
    assert len(all_tags) >= 8 and len(kinds()) >= 4
    for tag in all_tags:
        assert tag.startswith(b"prosumer/") and b"/v" in tag and tag[-1:] == b"\0" and tag.count(b"\0") == 1
        assert not [t for t in all_tags if t != tag and t.startswith(tag)]
    types = [c.TYPE for c in all_tags.values() if hasattr(c, "TYPE")]
    assert len(types) == len(set(types))


def test_a_signature_of_one_kind_is_worth_nothing_as_another():
    """The same bytes behind it, as long as the other kind needs them, and its type in front; also the other tag alone."""
    for cls in kinds():
        record = signed(example(cls))
        assert KEY.verify(record.message(FEEDER), record.signature)
        for tag, other in tags().items():
            if other is cls:
                continue
            body = record.raw
            if other in kinds():
                body = (bytes((other.TYPE,)) + body[1:] + bytes(200))[: other.length()]
                as_other = other.parse(body + record.signature)  # well formed, only not signed
                assert not KEY.verify(as_other.message(FEEDER), record.signature)
            assert not KEY.verify(tag + FEEDER + body, record.signature)
            assert not KEY.verify(tag + FEEDER + record.raw, record.signature)
            assert not KEY.verify(tag + body, record.signature)


def test_no_field_can_be_changed_and_no_feeder_or_signer():
    """Slot, sequence, member, amounts: whatever the record says is under the signature (a vote's member: by the key)."""
    tried = 0
    for cls in kinds():
        record = signed(example(cls))
        for i in range(0, len(cls.FIELDS), 3):
            name, code = cls.FIELDS[i], cls.FIELDS[i + 1]
            value = 2 if code in _STEPS else b"x" * int(code[:-1].lstrip(">"))
            other = example(cls, **{name: value})
            if cls is records.Vote and name == "member":
                assert other.message(FEEDER) == record.message(FEEDER)  # so that a certificate is short: the key tells who
                continue
            assert not KEY.verify(other.message(FEEDER), record.signature), (cls.TAG, name)
            tried += 1
        assert not KEY.verify(record.message(OTHER_FEEDER), record.signature)
        assert not PreparedKey(OTHER.public).verify(record.message(FEEDER), record.signature)
        assert not KEY.verify(record.message(FEEDER), signed(example(cls), signer=OTHER).signature)
    assert tried >= 20


def test_every_bit_of_every_record_counts():
    """Refused with a code by the parser, or by the signature; never taken, never another exception."""
    for cls in kinds():
        good = signed(example(cls)).pack()
        for i in range(8 * len(good)):
            bad = bytearray(good)
            bad[i // 8] ^= 1 << i % 8
            if i % 8 and i // 8 % 5:
                continue  # one bit of each byte, all bits of every fifth
            try:
                record = cls.parse(bytes(bad))
            except Reject as e:
                assert e.code == "wrong-type" and i < 8
                continue
            vote_of_another = cls is records.Vote and record.member != 1
            assert vote_of_another or not KEY.verify(record.message(FEEDER), record.signature), (cls.TAG, i)


def test_every_length_is_refused_with_a_code():
    for cls in kinds():
        good = signed(example(cls)).pack()
        for size in [n for n in range(len(good) + 3) if n != len(good)]:
            try:
                cls.parse((good + b"\0\0")[:size])
                raise RuntimeError((cls.TAG, size))
            except Reject as e:
                assert e.code == "wrong-length"
