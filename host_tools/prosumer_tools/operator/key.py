"""The operator's key on the host: Ed25519 in PKCS#8 under a passphrase, as any tool of the trade reads it (`openssl pkey -in`).

The passphrase comes from PROSUMER_OPERATOR_PASSPHRASE or is asked for. PKCS#8 stretches it little (PBKDF2, 2048 rounds),
so a short one is refused: what keeps a stolen file closed is its length.
"""
import getpass
import os
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

from prosumer_tools.operator import OperatorError

VARIABLE = "PROSUMER_OPERATOR_PASSPHRASE"
_LEAST = 16


class Key:
    """Signs; `public` is what stands in the genesis."""

    def __init__(self, key):
        self._key, self.public = key, key.public_key().public_bytes_raw()

    def sign(self, message):
        return self._key.sign(message)


def make(path):
    """A new key in a new file; OperatorError if there is one, or the passphrase is too short."""
    if path.exists():
        raise OperatorError(f"{path} is there already: an operator's key is never overwritten")
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(_passphrase(f"new passphrase for {path}", True)))
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    return Key(key)


def load(path):
    """The key in the file; OperatorError when it is missing, no Ed25519 key, or the passphrase does not fit."""
    try:
        pem = path.read_bytes()
    except FileNotFoundError:
        raise OperatorError(f"{path} is missing: `prosumer feeder new` makes it, or bring it back from its backup") from None
    try:
        key = load_pem_private_key(pem, _passphrase(f"passphrase of {path}"))
    except ValueError:
        raise OperatorError(f"{path}: the passphrase does not fit, or this is no key") from None
    except TypeError:
        raise OperatorError(f"{path} is not under a passphrase: `openssl pkcs8 -topk8 -v2 aes-256-cbc` puts it under one") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise OperatorError(f"{path} holds no Ed25519 key")
    return Key(key)


def _passphrase(what, new=False):
    text = os.environ.get(VARIABLE)
    if text is None:
        if not sys.stdin.isatty():
            raise OperatorError(f"no terminal to ask for the {what}: set {VARIABLE}")
        text = getpass.getpass(f"{what}: ")
        if new and text != getpass.getpass("once more: "):
            raise OperatorError("these were two different passphrases")
    if new and len(text) < _LEAST:
        raise OperatorError(f"a passphrase of {len(text)} characters is too short: {_LEAST} or more, six words are good")
    return text.encode()
