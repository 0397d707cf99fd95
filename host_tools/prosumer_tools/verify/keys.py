"""Ed25519: signatures by the `cryptography` package, and the strict rules for public keys in plain arithmetic."""
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P


def _double(x, y):
    """Twice an affine point."""
    k = _D * x * x * y * y % _P
    return (2 * x * y * pow(1 + k, -1, _P) % _P, (y * y + x * x) * pow(1 - k, -1, _P) % _P)


def key_fault(key):
    """Why these 32 bytes are no public key to trust; None if they are."""
    number = int.from_bytes(key, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if y >= _P:
        return "key is not canonical"
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if x * x % _P != square:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    if x * x % _P != square:
        return "key is not a point of the curve"
    if not x and sign:
        return "key is not canonical"
    for _ in range(3):
        x, y = _double(x, y)
    return "key is of small order" if (x, y) == (0, 1) else None


class Key:
    """A public key that counts what it checked."""

    checked = 0

    def __init__(self, key):
        self._key = Ed25519PublicKey.from_public_bytes(key)

    def signed(self, message, signature):
        Key.checked += 1
        try:
            self._key.verify(signature, message)
            return True
        except InvalidSignature:
            return False
