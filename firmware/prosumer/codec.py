"""Fixed big-endian layouts with one canonical form; what does not fit exactly is refused.

A record class names its `TYPE` (first byte), `TAG` (domain under the signature) and `FIELDS`; a signed record carries
64 bytes of Ed25519 signature behind them.
"""
import hashlib
import struct

from prosumer.errors import Reject

SIGNATURE_BYTES = 64


def sha256(*parts):
    h = hashlib.sha256()
    for p in parts:
        h.update(p)
    return h.digest()


class Record:
    """Base of every fixed-size record. It is its bytes and nothing else: a field is read from them when asked for,
    since a neighbour's reading as an object of fields would take three times the heap.

    FIELDS: name, struct code, place, name, struct code, place, … in the order of the bytes behind the first, which is TYPE. The
    places are written out since a block reads thousands of fields.
    """

    SIGNED = False

    def __init__(self, raw=None, signature=b"", **fields):
        if raw is None:
            raw = bytearray(self.length())
            raw[0] = self.TYPE
            for i in range(0, len(self.FIELDS), 3):
                struct.pack_into(self.FIELDS[i + 1], raw, self.FIELDS[i + 2], fields[self.FIELDS[i]])
        self.raw = bytes(raw)
        self.signature = signature

    def __getattr__(self, name):
        fields = self.FIELDS
        try:
            i = fields.index(name)
        except ValueError:
            raise AttributeError(name)
        return struct.unpack_from(fields[i + 1], self.raw, fields[i + 2])[0]

    @classmethod
    def length(cls):
        """Bytes without the signature."""
        return cls.FIELDS[-1] + struct.calcsize(cls.FIELDS[-2])

    @classmethod
    def size(cls):
        return cls.length() + (SIGNATURE_BYTES if cls.SIGNED else 0)

    def pack(self):
        return self.raw + self.signature

    def pieces(self):
        return [self.raw, self.signature] if self.signature else [self.raw]

    def message(self, feeder_id):
        """What is signed: versioned domain tag, NUL, feeder id (8 bytes), the record without its signature."""
        return self.TAG + b"\0" + feeder_id + self.raw

    def hash(self, feeder_id):
        return sha256(self.message(feeder_id))

    @classmethod
    def parse(cls, data):
        """Raises Reject('wrong-length'|'wrong-type') unless `data` is exactly one record of this class."""
        if len(data) != cls.size():
            raise Reject("wrong-length")
        if data[0] != cls.TYPE:
            raise Reject("wrong-type")
        end = cls.length()
        return cls(bytes(data[:end]), bytes(data[end:]))


class Parts:
    """Bytes in pieces, written to file or socket one after the other: a block is never joined on a small heap."""

    def __init__(self, pieces):
        self._pieces = pieces

    def __len__(self):
        return sum([len(p) for p in self._pieces])

    @property
    def pieces(self):
        for p in self._pieces:
            if hasattr(p, "pieces"):  # a durable.File
                for piece in p.pieces:
                    yield piece
            else:
                yield p

    def pack(self):
        return b"".join(list(self.pieces))


class Cursor:
    """Reads a composed record piece by piece; every length is checked against what is left."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, n):
        end = self.at + n
        if end > len(self.data):
            raise Reject("truncated")
        piece = self.data[self.at:end]
        self.at = end
        return bytes(piece)

    def uint(self, n):
        return int.from_bytes(self.take(n), "big")

    def records(self, cls, most):
        """A list with a count byte in front; `cls` is a fixed-size record or has its own `read`."""
        n = self.uint(1)
        if n > most:
            raise Reject("too-many")
        return [self.record(cls) for _ in range(n)]

    def record(self, cls):
        return cls.read(self) if hasattr(cls, "read") else cls.parse(self.take(cls.size()))

    def skip(self, cls, most):
        """Step over such a list, every record checked; returns where it begins."""
        start = self.at
        n = self.uint(1)
        if n > most:
            raise Reject("too-many")
        for _ in range(n):
            self.record(cls)
        return start

    def end(self):
        if self.at != len(self.data):
            raise Reject("trailing-bytes")


def list_pieces(records):
    """Pieces of a list: its count byte, then the records'."""
    out = [bytes([len(records)])]
    for r in records:
        out += r.pieces()
    return out
