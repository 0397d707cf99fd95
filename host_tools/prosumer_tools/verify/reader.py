"""Bytes taken from the front, piece by piece; what is missing or wrong is named."""
import hashlib
import struct


class Malformed(ValueError):
    """These bytes are not such a record; the text says where and why."""


class Reader:
    """Takes pieces from the front; what is missing is named by `what`."""

    def __init__(self, data, what):
        self.data, self.at, self.what = data, 0, what

    def take(self, size, what=None):
        if self.at + size > len(self.data):
            raise Malformed(f"{what or self.what}: ends after {len(self.data)} bytes, {self.at + size} are needed")
        self.at += size
        return self.data[self.at - size:self.at]

    def unpack(self, layout, what=None):
        return struct.unpack(layout, self.take(struct.calcsize(layout), what))

    def type(self, number, what):
        found = self.take(1, what)[0]
        if found != number:
            raise Malformed(f"{what}: first byte is {found:02x}, not {number:02x}")

    def end(self):
        if self.at != len(self.data):
            raise Malformed(f"{self.what}: {len(self.data) - self.at} bytes too many at the end")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()
