"""Sealed records: they come out as they went in, in pieces and in place; no other feeder, kind, sender, epoch or bit will do.

The vectors of one whole epoch were made by host_tools/prosumer_tools/feederkeys.py (tests/host/test_identity_wire.py checks that).
"""
import os
from binascii import hexlify, unhexlify

from prosumer import durable
from prosumer.codec import Parts
from prosumer.errors import Reject
from prosumer.identity.ed25519 import PreparedKey, Signer
from prosumer.identity.wire import Wire

_PATH = "wire_test"
_FEEDER = b"feeder-1"
_OPERATOR = Signer(b"o" * 32)
_MEMBERS = [Signer(bytes((i,)) * 32) for i in range(3)]
# Keys of epochs 1 and 2, member 1 left out of the second; feeder keys are b"k" * 32 and b"K" * 32.
_RECORDS = [unhexlify(h) for h in open(__file__.rsplit("/unit/", 1)[0] + "/vectors/wire_keys.txt").read().split()]


def _clean():
    for name in _PATH, _PATH + "~":
        try:
            os.remove(name)
        except OSError:
            pass


def _operator():
    return PreparedKey(_OPERATOR.public)


def _wire(member=0, *records, plain=False):
    _clean()
    wire = Wire(_PATH, _FEEDER, member, _MEMBERS[member], plain)
    for record in records:
        _take(wire, record)
    return wire


def _take(wire, record):
    """What it leaves on flash is removed: only test_a_key_that_was_taken_is_on_flash looks at that."""
    assert wire.take(record, _operator())
    _clean()


def _refused(code, call, *args):
    try:
        call(*args)
    except Reject as e:
        return e.code == code
    return False


def _sent(wire, kind, sender, record):
    sealed = wire.seal(kind, sender, record)
    out = b"".join([bytes(p) for p in sealed.pieces])
    assert len(sealed) == len(out)
    assert out == b"".join([bytes(p) for p in sealed.pieces])  # as often as the broker asks
    return out


def test_what_one_seals_another_opens_in_place():
    a, b = _wire(0, _RECORDS[0]), _wire(2, _RECORDS[0])
    for size in 0, 1, 15, 16, 17, 127, 128, 129, 300, 2000:
        record = bytes((i * 7 & 255 for i in range(size)))
        sent = _sent(a, "reading", 0, record)
        assert len(sent) == size + 17 and sent[0] == 128 + 1
        assert size < 8 or record[:8] not in sent
        assert bytes(b.open("reading", 0, sent)) == record
        buffer = bytearray(5) + sent + b"rest"
        opened = b.open("reading", 0, memoryview(buffer)[5 : 5 + len(sent)])
        assert bytes(opened) == record and bytes(buffer[22 : 22 + size]) == record and buffer[-4:] == b"rest"


def test_pieces_and_files_are_sealed_as_the_whole():
    wire = _wire(0, _RECORDS[0])
    record = bytes((i * 11 & 255 for i in range(700)))
    whole = _sent(wire, "proposal", 0, record)
    assert _sent(wire, "proposal", 0, Parts([record[:1], b"", record[1:130], bytearray(record[130:131]), memoryview(record)[131:]])) == whole
    durable.save("wire_file", record)
    try:
        assert _sent(wire, "proposal", 0, durable.File("wire_file")) == whole
        assert _sent(wire, "proposal", 0, Parts([record[:0], durable.File("wire_file")])) == whole
    finally:
        os.remove("wire_file")


def test_only_the_same_record_on_the_same_topic_in_the_same_epoch_looks_the_same():
    one, two = _wire(0, _RECORDS[0]), _wire(0, *_RECORDS)
    record = b"a reading of some length, or so it seems"
    sent = _sent(one, "reading", 0, record)
    assert sent == _sent(one, "reading", 0, record)
    others = [_sent(one, "reading", 1, record), _sent(one, "order", 0, record), _sent(two, "reading", 0, record),
              _sent(one, "reading", 0, record[:-1] + b"S")]
    for i, other in enumerate(others):
        assert not [1 for later in others[i + 1 :] + [sent] if later[1:17] == other[1:17] or later[17:25] == other[17:25]]


def test_every_bit_counts():
    a, b = _wire(0, _RECORDS[0]), _wire(1, _RECORDS[0])
    record = b"\x01" + bytes(range(40))
    sent = _sent(a, "vote", 0, record)
    assert bytes(b.open("vote", 0, sent)) == record
    for i in range(8 * len(sent)):
        bad = bytearray(sent)
        bad[i // 8] ^= 1 << i % 8
        code = "not-sealed" if i == 7 else "unknown-epoch" if i < 7 else "bad-seal"
        assert _refused(code, b.open, "vote", 0, bytes(bad)), i
    for size in range(len(sent)):
        assert _refused("bad-seal" if size > 16 else "not-sealed", b.open, "vote", 0, sent[:size])
    assert _refused("bad-seal", b.open, "vote", 0, sent + b"\0")


def test_another_sender_kind_or_feeder_is_refused():
    a, b = _wire(0, _RECORDS[0]), _wire(1, _RECORDS[0])
    sent = _sent(a, "vote", 0, b"yes")
    for kind, sender in ("vote", 1), ("vote", 255), ("votes", 0), ("reading", 0), ("", 0):
        assert _refused("bad-seal", b.open, kind, sender, sent)
    b.feeder_id = b"feeder-2"
    assert _refused("bad-seal", b.open, "vote", 0, sent)


def test_the_epoch_before_is_still_understood_and_no_older_one():
    third = _record(3)
    old, new = _wire(0, _RECORDS[0]), _wire(2, *_RECORDS)
    assert bytes(new.open("ask", 0, _sent(old, "ask", 0, b"x"))) == b"x"
    assert _sent(new, "ask", 2, b"x")[0] == 128 + 2
    assert _refused("unknown-epoch", old.open, "ask", 2, _sent(new, "ask", 2, b"x"))
    _take(new, third)
    assert new.epoch == 3
    assert _refused("unknown-epoch", new.open, "ask", 0, _sent(old, "ask", 0, b"x"))


def _record(epoch, operator=_OPERATOR):
    """A Keys record in which nobody gets a key."""
    body = b"\x0d" + epoch.to_bytes(2, "big") + bytes(32) + b"\x03" + bytes(3 * 48)
    return body + operator.sign(b"prosumer/keys/v1\0" + _FEEDER + body)


def test_a_key_that_was_taken_is_on_flash():
    _clean()
    try:
        wire = Wire(_PATH, _FEEDER, 0, _MEMBERS[0])
        for record in _RECORDS:
            assert wire.take(record, _operator())
        sent = _sent(wire, "vote", 0, b"yes")
        again = Wire(_PATH, _FEEDER, 0, _MEMBERS[0])
        assert again.epoch == 2 and bytes(again.open("vote", 0, sent)) == b"yes" and _sent(again, "vote", 0, b"yes") == sent
        assert not again.take(_RECORDS[1], _operator())  # nothing new
        with open(_PATH, "rb") as f:
            stored = f.read()
        assert b"k" * 8 not in stored and b"K" * 8 not in stored  # wrapped, for a key that is sealed itself
        stranger = Wire(_PATH, _FEEDER, 0, _MEMBERS[2])  # the file of another meter
        assert stranger.epoch == 2 and stranger.seal("vote", 0, b"yes") is None
        assert _refused("unknown-epoch", stranger.open, "vote", 0, sent)
    finally:
        _clean()


def test_old_forged_and_broken_keys_records_change_nothing():
    wire = _wire(0, _RECORDS[0])
    good = _RECORDS[1]
    before = _sent(wire, "vote", 0, b"yes")
    forged = _record(2, Signer(b"x" * 32))
    cases = [("no-epoch", _record(0)), ("old-epoch", _record(1)), ("bad-operator-signature", forged), ("wrong-type", b"\x0c" + good[1:]),
             ("wrong-length", good[:-1]), ("wrong-length", good + b"\0"), ("wrong-length", b""), ("wrong-length", good[:36])]
    for i in range(1, len(good)):
        bad = bytearray(good)
        bad[i] ^= 1 << (i & 7)
        code = "wrong-length" if i == 35 else "no-epoch" if bad[1:3] == b"\0\0" else "old-epoch" if bytes(bad[1:3]) <= b"\0\1" else "bad-operator-signature"
        cases.append((code, bytes(bad)))
    for code, bad in cases:
        assert _refused(code, wire.take, bad, _operator()), (code, hexlify(bad))
        assert wire.epoch == 1 and _sent(wire, "vote", 0, b"yes") == before
    wire.feeder_id = b"feeder-2"
    assert _refused("bad-operator-signature", wire.take, good, _operator())
    wire.feeder_id = _FEEDER
    _take(wire, memoryview(good))
    assert wire.epoch == 2


def test_who_has_left_gets_no_new_key_and_never_talks_in_the_open():
    gone, stays = _wire(1, *_RECORDS), _wire(0, *_RECORDS)
    assert gone.epoch == 2
    assert _refused("unknown-epoch", gone.open, "vote", 0, _sent(stays, "vote", 0, b"yes"))
    sent = _sent(gone, "vote", 1, b"no")  # until the next epoch
    assert sent[0] == 128 + 1 and bytes(stays.open("vote", 1, sent)) == b"no"
    outsider = _wire(1, _RECORDS[1])
    assert outsider.seal("vote", 1, b"no") is None and _refused("not-sealed", outsider.open, "vote", 0, b"\x06plain")


def test_a_meter_that_waits_for_its_first_key_says_and_takes_nothing():
    for plain in False, None:
        wire = _wire(0, plain=plain)
        assert wire.epoch == 0 and wire.seal("vote", 0, b"yes") is None
        for message in b"\x06no", b"{}", b"", b"\x81":
            assert _refused("not-sealed", wire.open, "vote", 1, message)
        assert _refused("unknown-epoch", wire.open, "vote", 1, bytes((129,)) * 30)
        assert _refused("no-epoch", wire.take, _record(0), _operator()) and wire.seal("vote", 0, b"yes") is None
        _take(wire, _RECORDS[0])
        assert _sent(wire, "vote", 0, b"yes")[0] == 129


def test_a_meter_talks_in_the_open_if_it_was_told_to_and_never_again_once_it_had_a_key():
    wire = _wire(0, plain=True)
    assert wire.epoch == 0 and wire.seal("vote", 0, b"yes") == b"yes" and wire.open("vote", 1, b"\x06no") == b"\x06no"
    assert wire.open("vote", 1, b"") == b""
    assert _refused("unknown-epoch", wire.open, "vote", 1, bytes((129,)) * 30) and _refused("not-sealed", wire.open, "vote", 1, b"\x81")
    assert _refused("no-epoch", wire.take, _record(0), _operator()) and wire.seal("vote", 0, b"yes") == b"yes"
    assert wire.take(_RECORDS[0], _operator())
    again = Wire(_PATH, _FEEDER, 0, _MEMBERS[0], True)  # the setting stands, the key counts
    _clean()
    for each in wire, again:
        assert not each.plain and _sent(each, "vote", 0, b"yes")[0] == 129
        for plain in b"\x06no", b"{}", b"":
            assert _refused("not-sealed", each.open, "vote", 1, plain)
