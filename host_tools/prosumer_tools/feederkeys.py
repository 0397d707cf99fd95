"""The operator's side of sealed records: feeder keys by epoch, the Keys record that brings them to the meters, and any message
sealed or opened. An independent implementation, by the `cryptography` package, of what firmware/prosumer/identity/wire.py states.

    feeder-keys.json   {"feeder_id": hex, "epochs": {"1": hex of 32 bytes, …}}       secret: whoever has it reads the street
"""
import hashlib
import hmac
import json
import os
import secrets
import struct
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

OPERATOR = 255
PLAIN_KINDS = ("keys", "genesis")  # signed, and of no one's consumption
TAG = b"prosumer/keys/v1\0"
_P = 2**255 - 19
_HEAD = 17


class BadSeal(ValueError):
    """A message or a file of keys that is not what it should be; the text says what."""


def montgomery(public):
    """The X25519 public key of an Ed25519 one (RFC 7748, section 4.1)."""
    y = int.from_bytes(public, "little") & (1 << 255) - 1
    return ((1 + y) * pow(1 - y, -1, _P) % _P).to_bytes(32, "little")


def _mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def _ctr(key, tag, data):
    first = bytes([tag[0] & 127]) + tag[1:]
    return Cipher(algorithms.AES(key), modes.CTR(first)).encryptor().update(data)


def _siv(enc, mac, header, plain):
    tag = _mac(mac, header, plain)[:16]
    return tag + _ctr(enc, tag, plain)


def _siv_open(enc, mac, header, sealed):
    plain = _ctr(enc, sealed[:16], sealed[16:])
    if not hmac.compare_digest(_mac(mac, header, plain)[:16], sealed[:16]):
        raise BadSeal("bad-seal")
    return plain


def wrap_keys(secret, ephemeral, member_key, feeder_id, epoch, member):
    """(k_enc, k_mac, header) for one member; `secret`: what X25519 gave, `ephemeral`: the operator's public half."""
    header = b"prosumer/wrap/v1" + feeder_id + struct.pack(">HB", epoch, member)
    key = HKDF(SHA256(), 64, ephemeral + member_key, header).derive(secret)
    return key[:32], key[32:], header


def keys_record(sign, feeder_id, epoch, feeder_key, members, ephemeral_seed=None):
    """The Keys record, signed by `sign(message)`. `members`: each one's Ed25519 public key by index, None for who gets no key."""
    ephemeral = X25519PrivateKey.from_private_bytes(ephemeral_seed or secrets.token_bytes(32))
    public = ephemeral.public_key().public_bytes_raw()
    body = struct.pack(">BH32sB", 13, epoch, public, len(members))
    for i, member in enumerate(members):
        if member is None:
            body += bytes(48)
            continue
        secret = ephemeral.exchange(X25519PublicKey.from_public_bytes(montgomery(member)))
        body += _siv(*wrap_keys(secret, public, member, feeder_id, epoch, i), feeder_key)
    return body + sign(TAG + feeder_id + body)


def read_record(raw):
    """(epoch, ephemeral, [wrapped key or None]) of a Keys record; its signature is checked by whoever knows the operator."""
    if len(raw) < 36 or raw[0] != 13 or len(raw) != 36 + 48 * raw[35] + 64:
        raise BadSeal("this is no keys record")
    _, epoch, ephemeral, count = struct.unpack(">BH32sB", raw[:36])
    wrapped = [raw[36 + 48 * i : 84 + 48 * i] for i in range(count)]
    return epoch, ephemeral, [w if any(w) else None for w in wrapped]


class FeederKeys:
    """Feeder keys by epoch, as a dictionary `epochs`; seals under the newest, opens under any."""

    def __init__(self, feeder_id, epochs):
        self.feeder_id, self.epochs = feeder_id, dict(epochs)

    @property
    def epoch(self):
        return max(self.epochs, default=0)

    def rotate(self):
        """A new key under the next epoch; that epoch."""
        epoch = self.epoch + 1
        if epoch > 0xFFFF:
            raise BadSeal("epochs are used up: begin a new feeder")
        self.epochs[epoch] = secrets.token_bytes(32)
        return epoch

    def record(self, sign, members):
        """The Keys record of the newest epoch."""
        return keys_record(sign, self.feeder_id, self.epoch, self.epochs[self.epoch], members)

    def _derive(self, epoch, kind, sender):
        key, s = self.epochs[epoch], bytes([sender])
        return _mac(key, b"e", s), _mac(key, b"m", s), self.feeder_id + kind.encode() + b"\0" + s

    def seal(self, kind, sender, plain):
        """What goes on the topic; plain while there is no epoch, and for the kinds that are always open."""
        if not self.epochs or kind in PLAIN_KINDS:
            return plain
        return bytes([self.epoch & 127 | 128]) + _siv(*self._derive(self.epoch, kind, sender), plain)

    def open(self, kind, sender, message):
        """The plain record; BadSeal('not-sealed' | 'unknown-epoch' | 'bad-seal')."""
        if kind in PLAIN_KINDS or not self.epochs and message[:1] < b"\x80":
            return message
        if len(message) < _HEAD or message[0] < 128:
            raise BadSeal("not-sealed")
        for epoch in sorted(self.epochs, reverse=True):
            if epoch & 127 | 128 == message[0]:
                return _siv_open(*self._derive(epoch, kind, sender), message[1:])
        raise BadSeal("unknown-epoch")

    @classmethod
    def load(cls, path):
        try:
            data = json.loads(Path(path).read_text())
            keys = cls(bytes.fromhex(data["feeder_id"]), {int(e): bytes.fromhex(k) for e, k in data["epochs"].items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BadSeal(f"{path} is no file of feeder keys") from None
        if len(keys.feeder_id) != 8 or any(len(k) != 32 or not 0 < e <= 0xFFFF for e, k in keys.epochs.items()):
            raise BadSeal(f"{path} is no file of feeder keys")
        return keys

    def save(self, path):
        """Readable by its owner alone, and whole or not at all."""
        path = Path(path)
        beside = path.with_name(path.name + "~")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"feeder_id": self.feeder_id.hex(), "epochs": {str(e): k.hex() for e, k in sorted(self.epochs.items())}}, file, indent=1)
        beside.replace(path)
