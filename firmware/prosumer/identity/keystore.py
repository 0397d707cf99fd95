"""The meter's seed on flash: made once, sealed to this device, never replaced by accident.

    file  "PKS" version:1 rounds:4 salt:16 public:32 sealed seed:32 mac:32 sum:4        124 bytes

`sum` (SHA-256 of all before it, cut) tells damage from a wrong PIN or another device. The sealing key is
HKDF(binding ‖ PBKDF2(PIN, salt, rounds), salt); without a PIN rounds is 0 and the second part is empty.
Against whom this helps: someone who has the file or a backup of the file system, but not the chip, since half of `binding` lies outside of it
(hal/esp32.py; the chip's number alone is its MAC address, which everyone around hears). Against whom it does not: a stock board's
whole flash can be read by whoever holds it, and whoever has its console has its key; a PIN makes such a
thief guess, and only eFuse keys with flash encryption and secure boot keep him out. Erasing on LittleFS leaves the old
block behind, still sealed, until it is reused; `prosumer keys erase` fills the flash once for that.

In RAM the seed's bytes are overwritten as soon as its Signer stands. What signs, a scalar and a prefix, lies there as long as the meter runs;
when main.py ends, before a REPL or a soft reset, it writes over the free heap. A reset by the chip or its watchdog does not come by there
and leaves RAM as it is: who can look there then can read the flash as well.
"""
import os
import struct
from hashlib import sha256

from micropython import const

from prosumer.errors import Halt

from .ed25519 import Signer
from .entropy import draw
from .seal import hkdf, pbkdf2, seal, unseal, wipe

_HEADER = const(">3sBI16s32s")
_HEADER_SIZE = const(56)
_SIZE = const(124)
_MAGIC = const(b"PKS")
_LIVE = const(1)
_ERASED = const(0)
_PIN_ROUNDS = const(10000)
_INFO = const(b"prosumer/keystore/v1")
_NONCE = bytes(12)  # each salt makes a key of its own, which seals one seed


class KeyStore:
    """`binding` and `pin` are bytes; `pin` may be a function that asks for it when it is needed. No Halt carries a secret."""

    def __init__(self, path, binding, pin=None):
        self._path = path
        self._id = binding
        self._pin = pin

    def exists(self):
        """True if there is a file, whatever is in it."""
        return _read(self._path) is not None

    def create(self, entropy):
        """Make a seed from `entropy(n) -> bytes`; the public key. Halt if there is a file already, even a damaged one."""
        if self.exists():
            raise Halt("key-store-exists")
        return self._make(self._path, entropy)

    def open(self):
        """The Signer. Halt("key-store-missing" | "-damaged" | "-erased" | "-needs-pin" | "-wrong-pin-or-device")."""
        return self._open(self._path)

    def public(self):
        """The public key, which needs no PIN."""
        return _parse(_read(self._path))[3]

    def prepare(self, entropy):
        """A second key beside the live one, for the operator to approve; its public key. Asked again, the same one."""
        path = self._path + ".next"
        self.open()  # whoever prepares a second key can open the first, and seals both alike
        if _read(path) is not None:
            return self._open(path).public
        return self._make(path, entropy)

    def prepared(self):
        """The Signer of the second key, to sign that its holder agrees."""
        return self._open(self._path + ".next")

    def protect(self, pin):
        """Seal the live seed again, under this PIN or (None) without one."""
        data = _read(self._path)
        public = _parse(data)[3]
        seed = self._seed(data)
        self._pin = pin
        self._write(self._path, seed, data[8:24], public)  # the salt may stay: the PIN makes another key of it

    def replace(self):
        """Make the prepared key the live one, at once and for good; its Signer."""
        signer = self.prepared()
        os.rename(self._path + ".next", self._path)
        return signer

    def erase(self):
        """Decommission: what stays is the public key and the word that it is erased, so no new identity follows by itself."""
        public = self.public()
        _write(self._path, struct.pack(_HEADER, _MAGIC, _ERASED, 0, bytes(16), public) + bytes(64))
        try:
            os.remove(self._path + ".next")
        except OSError:
            pass

    def _make(self, path, entropy):
        seed = draw(entropy, 32)
        public = Signer(seed).public
        self._write(path, seed, draw(entropy, 16), public)
        if self._open(path).public != public:
            raise Halt("key-store-damaged")
        return public

    def _write(self, path, seed, salt, public):
        rounds = _PIN_ROUNDS if type(self._pin) is bytes and self._pin else 0
        header = struct.pack(_HEADER, _MAGIC, _LIVE, rounds, salt, public)
        _write(path, header + seal(self._key(salt, rounds), _NONCE, header, seed))
        wipe(seed)

    def _open(self, path):
        data = _read(path)
        seed = self._seed(data)
        signer = Signer(seed)
        wipe(seed)
        if signer.public != _parse(data)[3]:
            raise Halt("key-store-wrong-pin-or-device")
        return signer

    def _seed(self, data):
        state, rounds, salt, _ = _parse(data)
        if state == _ERASED:
            raise Halt("key-store-erased")
        if rounds and not self._pin:
            raise Halt("key-store-needs-pin")
        if rounds and type(self._pin) is not bytes:
            self._pin = self._pin()
        seed = unseal(self._key(salt, rounds), _NONCE, data[:_HEADER_SIZE], data[_HEADER_SIZE:-4])
        if not seed:
            raise Halt("key-store-wrong-pin-or-device")
        return seed

    def _key(self, salt, rounds):
        secret = pbkdf2(self._pin, salt, rounds) if rounds else b""
        return hkdf(self._id + secret, salt, _INFO, 64)


def _sum(data):
    return sha256(data).digest()[:4]


def _read(path):
    try:
        with open(path, "rb") as f:
            return f.read(_SIZE + 1)
    except OSError:
        return None


def _write(path, data):
    """Beside, then renamed over: atomic on LittleFS."""
    with open(path + "~", "wb") as f:
        f.write(data + _sum(data))
    os.rename(path + "~", path)


def _parse(data):
    """(state, rounds, salt, public) of a whole file."""
    if data is None:
        raise Halt("key-store-missing")
    if len(data) == _SIZE and data[-4:] == _sum(data[:-4]):
        magic, state, rounds, salt, public = struct.unpack(_HEADER, data[:_HEADER_SIZE])
        if magic == _MAGIC and state <= _LIVE and rounds <= 1000000:
            return state, rounds, salt, public
    raise Halt("key-store-damaged")
