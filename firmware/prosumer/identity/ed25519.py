"""Ed25519 (RFC 8032, section 5.1), strict: reading → signed reading, and the check by every neighbour.

Accepted is exactly what satisfies sB = R + hA without the cofactor, where s < L, R and A are canonical and A is not of
small order; h is SHA-512(R ‖ A ‖ message) modulo L. All ways to verify agree on every input, keys of mixed order
included, so that no two meters can be split over a signature. One caller at a time: buffers are shared.

    signature: R (32) ‖ s (32, little-endian)
"""
from hashlib import sha256
from micropython import const

from prosumer.errors import Reject

from .comb import Shape
from .curve import DOUBLE, IDENTITY, decode, encode, inverses, negative, number, point, run, write_rows
from .machine import P, inverse
from .sha512 import sha512

KEY_SIZE = const(32)
SIGNATURE_SIZE = const(64)
TABLE_SIZE = const(3176)

L = 2**252 + 27742317777372353535851937790883648493
_HALF = (L + 1) // 2  # 1/2 modulo L

# Rows 0..63 of a program are the base point's, those from 64 on the key's.
_BASE = Shape(6, 2, 22, 0)
_KEY = Shape(5, 2, 26, 64)
_WHOLE = const(96)  # the last row of a key's table: the negated key itself, for even scalars
_CHECK = const(8)

def _base_rows():
    rows = bytearray(64 * 96)
    y = 4 * inverse(5)  # RFC 8032: B = (x, 4/5) with x even
    write_rows(_BASE.sums(decode(point(y))), rows)
    return memoryview(rows)


_rows = _base_rows()  # made in the time of three verifications; as a constant it would be 6 KiB of .mpy and of heap


def _times_base(scalar, blind):
    """The encoding of scalar * B, computed on coordinates scaled by the secret `blind`."""
    program = _BASE.program()
    _compile_base(program, scalar)
    q = run(program, _rows, b"", point(0, blind, blind, 0))
    return encode(q, inverse(number(q, 64)))


def _compile_base(program, scalar):
    """The base point's steps; (scalar + 2**264 - 1) / 2 modulo L makes the scalar odd without a branch."""
    _BASE.compile(program, (scalar + (1 << 264) - 1) * _HALF % L, 1)


class Signer:
    """A seed expanded once. `repr` shows nothing, and nothing it raises carries the seed.

    The steps of a signature are the same for every key and message, and the machine that runs them branches on no
    number. What remains of side channels: rows are read at addresses that depend on the nonce, whether a row is negated
    is a branch, and the nonce is reduced modulo L by ordinary big-integer arithmetic. The result's coordinates and the
    secret scalar meet big integers too, masked for every message with what only the holder of the seed can make. The same
    holds of `agree`; nobody but the operator, whose signature is checked first, makes a meter run it on a point of his choice.
    """

    def __init__(self, seed):
        if len(seed) != KEY_SIZE:
            raise Reject("seed-length")
        h = sha512(seed)
        self._prefix = h[32:]
        self._scalar = (number(h) & (1 << 254) - 8 | 1 << 254) % L
        self.public = _times_base(self._scalar, number(sha256(self._prefix).digest()) | 1)
        sha512(b"")  # its working memory held the seed

    def sign(self, message):
        """The 64-byte signature of bytes `message`, the same each time (RFC 8032, section 5.1.6)."""
        nonce = sha512(self._prefix + message)
        mask = sha256(self._prefix + nonce).digest()
        r = int.from_bytes(nonce, "little") % L
        encoded = _times_base(r, number(mask[:16]) | 1)
        h = _challenge(encoded, self.public, message)
        s = (r + h * (self._scalar + number(mask[16:]) * L)) % L
        return encoded + s.to_bytes(32, "little")

    def agree(self, public):
        """X25519 (RFC 7748) of this key and another's 32-byte `public` u: 32 bytes that only these two can know.

        u = (1 + y) / (1 - y) takes a point here to curve25519 and leaves secrets as they are (section 4.1), so the machine that
        signs does it: eight times the point, and a comb of one tooth. What is signed and what is agreed never meet, which makes
        one key for both sound (Thormarker 2021). Reject('key-length' | 'key-not-on-curve' | 'key-small-order'): nobody's public key.
        """
        if len(public) != KEY_SIZE:
            raise Reject("key-length")
        u = number(public) & (1 << 255) - 1
        rows = bytearray(96)
        q = decode(((u - 1) * inverse(u + 1) % P).to_bytes(32, "little"))
        write_rows((run(b"\x7f\x7f\x7f", b"", b"", q),), rows)
        comb = Shape(1, 1, 253, 0)
        program = comb.program()
        mask = sha256(self._prefix + public).digest()
        comb.compile(program, ((self._scalar + number(mask[:16]) * L) * _HALF**4 + ((1 << 253) - 1) * _HALF) % L, 1)
        blind = number(mask[16:]) | 1
        q = run(program, rows, b"", point(0, blind, blind, 0))
        u = (number(q, 64) + number(q, 32)) * inverse(number(q, 64) - number(q, 32)) % P
        if not u:
            raise Reject("key-small-order")
        return u.to_bytes(32, "little")


def _challenge(encoded, public, message):
    return int.from_bytes(sha512(bytes(encoded) + public + message), "little") % L


def check_public_key(public):
    """The key's point; Reject a key that is not 32 bytes, not canonical, not on the curve or of small order."""
    q = decode(public)
    if not number(run(bytes((DOUBLE, DOUBLE)), b"", b"", q)) % P:
        raise Reject("key-small-order")  # four times the point has x = 0: it is the identity or of order 2
    return q


_shared = None  # the table of the last key that was read from a file, and which key that was
_shared_by = None


def _check(public, table):
    h = sha256(public)
    h.update(memoryview(table)[_CHECK:])
    return h.digest()[:_CHECK]


class PreparedKey:
    """A public key with its comb: built once (about three verifications), then each check needs 25 doublings.

    table: SHA-256(public ‖ rows)[:8] ‖ rows (33 * 96), 3,176 bytes. Given a `path`, the table lives in that file and
    is read into one buffer shared by all keys, so 64 neighbours cost 3 KiB of heap in all; a missing or damaged file
    is made again from the key.
    """

    def __init__(self, public, path=None):
        self.public = bytes(public)
        self._path = path
        self._table = None
        if path is None:
            self._table = bytearray(TABLE_SIZE)
            self._build(self._table)
        else:
            self._read()

    def verify(self, message, signature):
        """True if `signature` is this key's signature of `message`; False for anything else."""
        q = self._point(message, signature)
        return q is not None and encode(q, inverse(number(q, 64))) == bytes(signature[:32])

    def _point(self, message, signature):
        """sB - hA, which encodes to R in a good signature; R itself is never decoded. None: not even well formed."""
        s = number(signature, 32)
        if len(signature) != SIGNATURE_SIZE or s >= L:
            return None
        h = _challenge(signature[:32], self.public, message)
        program = _KEY.program()
        _compile_base(program, s)
        _KEY.compile(program, h >> 1 | 1 << 259, 3)  # h, or h + 1 when h is even: then one more step takes it back
        if not h & 1:
            program.append(_WHOLE | 128)
        return run(program, _rows, memoryview(self._table or self._read())[_CHECK:], IDENTITY)

    def _build(self, table):
        minus = negative(check_public_key(self.public))
        write_rows(_KEY.sums(minus) + [minus], memoryview(table)[_CHECK:])
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
                good = f.readinto(_shared) == TABLE_SIZE and _check(self.public, _shared) == _shared[:_CHECK]
        except OSError:
            good = False
        if not good:
            self._build(_shared)
            try:
                with open(self._path, "wb") as f:
                    f.write(_shared)
            except OSError:
                pass  # a full flash costs time only: the table is built again when it is next wanted
        _shared_by = self.public
        return _shared


def public_key(seed):
    """The 32-byte public key of a 32-byte seed."""
    return Signer(seed).public


def sign(seed, message):
    """One signature; whoever signs more often keeps a Signer."""
    return Signer(seed).sign(message)


def verify(public, message, signature):
    """True if `signature` is that of a key without a table, which is made first; False for anything else."""
    return verify_many(((public, message, signature),))[0]


def verify_many(items):
    """One bool for each (PreparedKey or public key, message, signature); all share one inversion.

    For a batch that is expected to be good: 27 votes take 0.6 to 0.75 of the time. The agent checks one by one, since votes come
    singly and a forged certificate is refused at its first bad signature: as a batch it would cost a meter 36 times as much.
    """
    points = []
    for key, message, signature in items:
        try:
            if not isinstance(key, PreparedKey):
                key = PreparedKey(key)
            points.append(key._point(message, signature))
        except Reject:
            points.append(None)
    z = iter(inverses([number(q, 64) for q in points if q]))
    return [bool(q) and encode(q, next(z)) == bytes(item[2][:32]) for q, item in zip(points, items)]
