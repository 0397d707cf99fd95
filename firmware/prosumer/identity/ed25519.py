"""Ed25519 (RFC 8032, section 5.1), strict: reading → signed reading, and the check by every neighbour.

Accepted is exactly what satisfies sB = R + hA without the cofactor, with s < L, R and A canonical, and A not of small order.
A key of mixed order is used as it is (h is not reduced further than modulo L), as OpenSSL does. R is never decompressed:
the point is encoded and the bytes are compared, so a non-canonical R cannot match.

    signature: R (32) ‖ s (32, little-endian)
"""
from hashlib import sha256
from micropython import const

from prosumer.errors import Reject

from . import comb
from .comb import DOUBLE, NOTHING, ROW
from .field import P, inverse, root_power
from .sha512 import sha512

KEY_SIZE = const(32)
SIGNATURE_SIZE = const(64)

L = 2**252 + 27742317777372353535851937790883648493
_HALF = (L + 1) // 2  # 1/2 modulo L
_ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)

# The base point's comb and a key's comb. Rows 0..63 of a program are the base point's, 64..96 the key's.
_BASE = comb.Shape(6, 2, 22, 0)
_KEY = comb.Shape(5, 2, 26, 64)
_SPLIT = const(6144)  # 64 rows of the base point
_WHOLE = const(3072)  # where row 32 of a key's table starts: the negated key itself, for even scalars
_CHECK = const(8)
TABLE_SIZE = const(3176)

_SIGN_STRIDE = const(3)  # double, two base rows
_VERIFY_STRIDE = const(5)  # double, two base rows, two key rows


def _number(data):
    return int.from_bytes(data, "little")


def _decompress(public):
    """The extended point of an encoded key; Reject unless canonical, on the curve and not of small order."""
    if len(public) != KEY_SIZE:
        raise Reject("key-length")
    y = _number(public)
    sign = y >> 255
    y &= (1 << 255) - 1
    if y >= P:
        raise Reject("key-not-canonical")
    u = (y * y - 1) % P
    v = (comb.D * y * y + 1) % P
    w = v * v % P * v % P
    x = u * w % P * root_power(u * w % P * w % P * v % P) % P
    w = v * x % P * x % P
    if w != u:
        if w + u != P:
            raise Reject("key-not-on-curve")
        x = x * _ROOT_OF_MINUS_1 % P
    if not x and sign:
        raise Reject("key-not-canonical")
    if x & 1 != sign:
        x = P - x
    point = (x, y, 1, x * y % P)
    if not comb.run(bytes([DOUBLE, DOUBLE]), b"", b"", 0, point)[0]:
        raise Reject("key-small-order")  # four times the point has x = 0: it is the identity or of order 2
    return point


def check_public_key(public):
    """Reject a key that is not 32 bytes, not canonical, not on the curve or of small order."""
    _decompress(public)


def _base_rows():
    rows = bytearray(_SPLIT)
    y = 4 * inverse(5) % P
    _BASE.fill(rows, _decompress(y.to_bytes(32, "little")))
    return memoryview(rows)


_rows = _base_rows()


def _encode(x, y, z_inverse):
    x = x * z_inverse % P
    y = y * z_inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _base_program(program, scalar, stride):
    """The base point's steps for `scalar`, made odd modulo L without a branch."""
    _BASE.compile(program, (scalar + (1 << 264) - 1) * _HALF % L, stride, 1)


def _times_base(scalar, blind):
    """The encoding of scalar * B, computed on coordinates scaled by the random `blind`."""
    program = bytearray(_SIGN_STRIDE * 22)
    for i in range(_SIGN_STRIDE, len(program), _SIGN_STRIDE):
        program[i] = DOUBLE
    program[0] = NOTHING
    _base_program(program, scalar, _SIGN_STRIDE)
    x, y, z, _ = comb.run(program, _rows, b"", _SPLIT, (0, blind, blind, 0))
    return _encode(x, y, inverse(z))


class Signer:
    """A seed expanded once. `repr` shows nothing; nothing it raises carries the seed.

    What remains of side channels: rows are read at addresses that depend on the nonce, and its reduction modulo L is
    ordinary big-integer arithmetic. Coordinates and the secret scalar are masked anew for every signature, with
    values that only the holder of the seed can make, so their big-integer timing says nothing about them.
    """

    def __init__(self, seed):
        if len(seed) != KEY_SIZE:
            raise Reject("seed-length")
        h = sha512(seed)
        self._prefix = h[32:]
        self._scalar = (_number(h[:32]) & ((1 << 254) - 8) | 1 << 254) % L
        self.public = _times_base(self._scalar, _number(sha256(self._prefix).digest()) | 1)

    def sign(self, message):
        """The 64-byte signature of bytes `message`, the same each time (RFC 8032, section 5.1.6)."""
        nonce = sha512(self._prefix + message)
        mask = sha256(self._prefix + nonce).digest()
        r = _number(nonce) % L
        encoded = _times_base(r, _number(mask[:16]) | 1)
        h = _number(sha512(encoded + self.public + message)) % L
        s = (r + h * (self._scalar + _number(mask[16:]) * L)) % L
        return encoded + s.to_bytes(32, "little")


_shared = None  # the table of the last key that was read from a file, and which key that was
_shared_by = None


def _check(public, table):
    h = sha256(public)
    h.update(memoryview(table)[_CHECK:])
    return h.digest()[:_CHECK]


def _matches(public, table):
    return _check(public, table) == table[:_CHECK]


class PreparedKey:
    """A public key with its comb: built once (about three verifications), then each check needs 26 doublings.

    table: SHA-256(public ‖ rows)[:8] ‖ rows (33 * 96), 3,176 bytes. Given a `path`, the table lives in that file and
    is read into one buffer shared by all keys, so 64 neighbours cost 3 KiB of heap in all; a missing or damaged file
    is made again from the key.
    """

    def __init__(self, public, path=None, table=None):
        self.public = bytes(public)
        self._path = path
        self._table = table
        if table is not None:
            if len(table) != TABLE_SIZE or not _matches(self.public, table):
                raise Reject("key-table")
        elif path is None:
            self._table = bytearray(TABLE_SIZE)
            self._build(self._table)
        else:
            self._read()

    @classmethod
    def load(cls, public, table):
        """The key whose `table()` was kept, used in place and not copied; Reject("key-table") if it is not that key's."""
        return cls(public, None, table)

    def table(self):
        """The bytes to keep in flash; from these, `load` costs no curve arithmetic."""
        return bytes(self._table or self._read())

    def _build(self, table):
        x, y, _, t = _decompress(self.public)
        minus = (-x, y, 1, -t)
        rows = memoryview(table)[_CHECK:]
        _KEY.fill(rows, minus)
        comb.write_rows([minus], rows, _WHOLE)
        table[:_CHECK] = _check(self.public, table)

    def _read(self):
        """The shared buffer, holding this key's table."""
        global _shared, _shared_by
        if _shared_by == self.public:
            return _shared
        if _shared is None:
            _shared = bytearray(TABLE_SIZE)
        _shared_by = None
        try:
            with open(self._path, "rb") as f:
                f.readinto(_shared)
        except OSError:
            _shared[0] ^= 1  # not there yet: whatever the buffer holds must not pass as this key's
        if not _matches(self.public, _shared):
            self._build(_shared)
            try:
                with open(self._path, "wb") as f:
                    f.write(_shared)
            except OSError:
                pass  # a full flash costs time only: the table is built again when it is next wanted
        _shared_by = self.public
        return _shared

    def verify(self, message, signature):
        """True if `signature` is this key's signature of `message`; False for anything else."""
        found = self._point(message, signature)
        return found is not None and _encode(found[0], found[1], inverse(found[2])) == bytes(signature[:32])

    def _point(self, message, signature):
        """sB - hA in extended coordinates, None when the signature's form already refuses it."""
        if len(signature) != SIGNATURE_SIZE:
            return None
        s = _number(signature[32:])
        if s >= L:
            return None
        h = _number(sha512(bytes(signature[:32]) + self.public + message)) % L
        program = bytearray(b"\x7f\x7e\x7e\x7e\x7e" * 26)
        program[0] = NOTHING
        _base_program(program, s, _VERIFY_STRIDE)
        _KEY.compile(program, (h >> 1) | 1 << 259, _VERIFY_STRIDE, 3)
        if not h & 1:
            program.append(64 + 32 | 128)
        return comb.run(program, _rows, memoryview(self._table or self._read())[_CHECK:], _SPLIT, comb.IDENTITY)


def public_key(seed):
    return Signer(seed).public


def sign(seed, message):
    return Signer(seed).sign(message)


def verify(public, message, signature):
    """True if `signature` is that of the unknown key `public`; False for anything else. Builds the key's comb."""
    try:
        return PreparedKey(public).verify(message, signature)
    except Reject:
        return False


def verify_many(items):
    """One bool for each (PreparedKey or public key, message, signature); all share one inversion."""
    good = []
    points = []
    for key, message, signature in items:
        try:
            if not isinstance(key, PreparedKey):
                key = PreparedKey(key)
            found = key._point(message, signature)
        except Reject:
            found = None
        good.append(found is not None)
        points.append(found)
    z = iter(comb.inverses([q[2] for q in points if q]))
    return [bool(q) and _encode(q[0], q[1], next(z)) == bytes(items[i][2][:32]) for i, q in enumerate(points)]
