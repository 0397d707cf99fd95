"""Fixed big-endian layouts with one canonical form; what does not fit exactly is refused.

A record class names its `TYPE` (first byte), `TAG` (domain under the signature), `LAYOUT` (struct format
without the type byte) and `FIELDS`. A signed record carries 64 bytes of Ed25519 signature behind that.
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
    """Base of every fixed-size record: `pack()` writes it, `parse()` reads it and refuses anything else."""

    SIGNED = False

    def __init__(self, **fields):
        for name in self.FIELDS:
            setattr(self, name, fields[name])
        self.signature = fields.get("signature", b"")

    @classmethod
    def size(cls):
        return 1 + struct.calcsize(">" + cls.LAYOUT) + (SIGNATURE_BYTES if cls.SIGNED else 0)

    def body(self):
        """The bytes under the signature, without domain tag and feeder."""
        return struct.pack(">B" + self.LAYOUT, self.TYPE, *[getattr(self, f) for f in self.FIELDS])

    def pack(self):
        return self.body() + self.signature

    def message(self, feeder_id):
        """What is signed: versioned domain tag, NUL, feeder id (8 bytes), body."""
        return self.TAG + b"\0" + feeder_id + self.body()

    def hash(self, feeder_id):
        return sha256(self.message(feeder_id))

    @classmethod
    def parse(cls, data):
        """Raises Reject('wrong-length'|'wrong-type') unless `data` is exactly one record of this class."""
        if len(data) != cls.size():
            raise Reject("wrong-length")
        if data[0] != cls.TYPE:
            raise Reject("wrong-type")
        end = len(data) - (SIGNATURE_BYTES if cls.SIGNED else 0)
        values = struct.unpack(">B" + cls.LAYOUT, data[:end])
        fields = dict(zip(cls.FIELDS, values[1:]))
        fields["signature"] = bytes(data[end:])
        return cls(**fields)


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
        if hasattr(cls, "read"):
            return [cls.read(self) for _ in range(n)]
        return [cls.parse(self.take(cls.size())) for _ in range(n)]

    def end(self):
        if self.at != len(self.data):
            raise Reject("trailing-bytes")


def pack_list(records):
    return bytes([len(records)]) + b"".join([r.pack() for r in records])
