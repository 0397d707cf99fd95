"""What crosses the broker: every machine record is sealed for the feeder, so that nobody else learns what a house uses.

    Keys     0d epoch:2 ephemeral:32 count:1 (tag:16 feeder key:32)* sig:64         by member, signed by the operator
    message  128 + epoch mod 128:1  tag:16  ciphertext as long as the record

SIV (Rogaway & Shrimpton 2006): tag = HMAC-SHA256(k_mac, header ‖ record)[:16], ciphertext = AES-256-CTR(k_enc) from counter block
`tag` without its highest bit; header = feeder_id ‖ kind ‖ 0 ‖ sender; k_enc and k_mac = HMAC(feeder key, "e" | "m" ‖ sender). There is no nonce, so no
power cut can repeat one: all that shows is that the same record was sent again. A tag says "from the street", a signature who.

The operator makes a new feeder key when members change and wraps it for each one's key: key = HKDF(X25519(ephemeral, member),
ephemeral ‖ member's key, info), info = "prosumer/wrap/v1" ‖ feeder_id ‖ epoch ‖ member, sealed as above with info as the header.
Who has left gets zeros. Epochs begin with 1. A meter talks in the open only if its people said so when it was provisioned and no Keys record
ever came; otherwise it says nothing before it has one, so that whoever withholds the record learns nothing, and it takes nothing open any more.
"""
from micropython import const

from prosumer import durable
from prosumer.codec import SIGNATURE_BYTES
from prosumer.errors import Reject

from .seal import Ctr, hkdf, hmac, pads, same

_HEAD = const(17)
_WRAPPED = const(48)
_ENTRY = const(82)  # of the file: epoch:2 ephemeral:32 wrapped:48


class Wire:
    """Seals what this meter sends and opens what it receives. `path`: a file for what was taken, the newest two epochs.

    `plain`: whether it may talk in the open; as an attribute, whether it does."""

    def __init__(self, path, feeder_id, member, signer, plain=False):
        self.path, self.feeder_id, self.member, self.signer, self.plain = path, feeder_id, member, signer, plain
        self.raw = durable.load(path) or b""
        self._load()

    def take(self, raw, operator):
        """True if `raw` is a Keys record of a new epoch; it is on flash then. `operator`: PreparedKey of the operator.

        Reject('wrong-length' | 'wrong-type' | 'no-epoch' | 'old-epoch' | 'bad-operator-signature'): nothing has changed.
        """
        raw = bytes(raw)
        if len(raw) < 36 or len(raw) != 36 + raw[35] * _WRAPPED + SIGNATURE_BYTES:
            raise Reject("wrong-length")
        if raw[0] != 13:
            raise Reject("wrong-type")
        at = 36 + self.member * _WRAPPED
        entry = raw[1:35] + (raw[at : at + _WRAPPED] if self.member < raw[35] else bytes(_WRAPPED))
        if entry == self.raw[:_ENTRY]:
            return False
        if raw[1:3] == b"\0\0":
            raise Reject("no-epoch")  # 0 is the state before the first
        if raw[1:3] <= self.raw[:2]:
            raise Reject("old-epoch")
        if not operator.verify(b"prosumer/keys/v1\0" + self.feeder_id + raw[:-SIGNATURE_BYTES], raw[-SIGNATURE_BYTES:]):
            raise Reject("bad-operator-signature")
        self.raw = entry + self.raw[:_ENTRY]
        durable.save(self.path, self.raw)
        self._load()
        return True

    def _load(self):
        """`epoch`: the newest that is known, 0 for none; `keys`: (first byte, pads of the feeder key), the newest first."""
        self.epoch = int.from_bytes(self.raw[:2], "big")
        self.plain = self.plain and not self.epoch
        self.keys = []
        for at in range(0, len(self.raw), _ENTRY):
            ephemeral, data = self.raw[at + 2 : at + 34], bytearray(self.raw[at + 34 : at + _ENTRY])
            info = b"prosumer/wrap/v1" + self.feeder_id + self.raw[at : at + 2] + bytes((self.member,))
            try:
                key = hkdf(self.signer.agree(ephemeral), ephemeral + self.signer.public, info, 64)
                self.keys.append((self.raw[at + 1] & 127 | 128, pads(bytes(_undo(key[:32], key[32:], info, memoryview(data))))))
            except Reject:
                pass  # not wrapped for us: we have left, or have another key by now

    def _key(self, key, kind, sender):
        sender = bytes((sender,))
        return hmac(key, b"e" + sender), hmac(key, b"m" + sender), self.feeder_id + kind.encode() + b"\0" + sender

    def seal(self, kind, sender, record):
        """`record` (bytes, codec.Parts or durable.File) as it is sent on that topic; None without a key."""
        if self.plain:
            return record
        for epoch, key in self.keys:
            return Sealed(epoch, self._key(key, kind, sender), record)

    def open(self, kind, sender, message):
        """The plain record: a view into `message`, which is overwritten (bytes: into a copy).

        Reject('not-sealed' | 'bad-seal' | 'unknown-epoch'), the last also without any key.
        """
        if self.plain and (not message or message[0] < 128):
            return message
        if len(message) < _HEAD or message[0] < 128:
            raise Reject("not-sealed")
        for epoch, key in self.keys:
            if epoch == message[0]:
                data = memoryview(bytearray(message) if type(message) is bytes else message)[1:]
                return _undo(*self._key(key, kind, sender), data)
        raise Reject("unknown-epoch")


class Sealed:
    """A sealed record in pieces, as codec.Parts; the record is walked through twice, first for its tag."""

    def __init__(self, epoch, keys, record):
        self._parts, self._key = record, keys[0]
        self.raw = bytes((epoch,)) + hmac(keys[1], keys[2], _pieces(record))[:16]

    def __len__(self):
        return _HEAD + len(self._parts)

    @property
    def pieces(self):
        yield self.raw
        stream = _stream(self._key, self.raw[1:])
        for piece in _pieces(self._parts):
            piece = bytearray(piece)
            stream.apply(piece)
            yield piece


def _pieces(record):
    return getattr(record, "pieces", (record,))


def _stream(key, tag):
    return Ctr(key, bytes((tag[0] & 127,)) + tag[1:])


def _undo(key, mac, header, data):
    """tag ‖ ciphertext → the plain bytes, in place; Reject('bad-seal')."""
    tag, data = bytes(data[:16]), data[16:]
    _stream(key, tag).apply(data)
    if not same(hmac(mac, header, (data,))[:16], tag):
        raise Reject("bad-seal")
    return data
