"""A ring of the latest headers in flash, `capacity` at least: a week of 5-minute slots.

    PATH/00000000  PATH/0000007e  …     one file a segment, named by the index (hex) of its first header
    entry: header | u32 index | u32 CRC-32 over both

LittleFS copies on write, and writing in the middle of a file rewrites all that follows; so headers are only appended, one block
copied each, and the ring turns by deleting its oldest segment. A file changes as a whole when it is closed: a power cut
leaves the last header in or out. The CRC finds what that does not cover (flipped bits, other file systems); a bad tail is
cut off at the next start, a bad entry elsewhere is a Reject until `repair` writes it anew.
"""
import binascii
import os
import struct

from micropython import const
from prosumer.errors import Reject

_SEGMENTS = const(16)
_TAIL = const(8)  # index and CRC
_TEMP = const("new")


class HeaderRing:
    """Headers with indices [first, next), `header_size` bytes each; the index counts headers since the genesis."""

    def __init__(self, path, header_size, capacity=2016):
        self._path = path
        self.size = header_size
        self._entry = header_size + _TAIL
        self.capacity = capacity
        self._segment = (capacity + _SEGMENTS - 1) // _SEGMENTS
        try:
            os.mkdir(path)
        except OSError:
            pass  # exists; if it could not be made, listing it fails
        self._recover()

    def __len__(self):
        return self.next - self.first

    def restart(self, index):
        """Forget all; the next header appended is `index` (catch-up jumped over some)."""
        while self._bases:  # oldest first: what a power cut leaves is still one run
            os.remove(self.name(self._bases.pop(0)))
        self.first = self.next = index

    def append(self, index, header):
        """Durable when this returns. The last one again changes nothing; Reject "header-gap", "header-conflict"."""
        self.extend(index, (header,))

    def extend(self, index, headers):
        """Append several from `index` on, one flash commit a segment; a power cut keeps the first some of them."""
        f = None
        try:
            for header in headers:
                if len(header) != self.size:
                    raise Reject("header-size")
                if index < self.next:
                    if self.get(index) != header:
                        raise Reject("header-conflict")
                    index += 1
                    continue
                if index > self.next:
                    raise Reject("header-gap")
                if f is not None and not index % self._segment:
                    f.close()
                    f = None
                if f is None:
                    f = self._open_last(index)
                f.write(self.pack(index, header))
                index += 1
                self.next = index
        finally:
            if f is not None:
                try:
                    f.close()
                except OSError:  # flash full or broken: what did get there counts, no more
                    self._recover()
                    raise
        while len(self._bases) > 1 and self.next - self._bases[1] >= self.capacity:
            os.remove(self.name(self._bases.pop(0)))
            self.first = self._bases[0]

    def get(self, index):
        """Header number `index`; Reject "header-missing", "header-corrupt"."""
        for _, header in list(self.iterate(index, index + 1)):  # to its end, which closes the file
            return header
        raise Reject("header-missing")

    def iterate(self, start, stop):
        """(index, header) for all in [start, stop) that the ring has; Reject "header-corrupt"."""
        index = max(start, self.first)
        stop = min(stop, self.next)
        buffer = bytearray(self._entry)
        while index < stop:
            base, end = self._segment_of(index)
            with open(self.name(base), "rb") as f:
                f.seek((index - base) * self._entry)
                while index < min(stop, end):
                    if f.readinto(buffer) != self._entry or not self.good(buffer, index):
                        raise Reject("header-corrupt")
                    yield index, bytes(memoryview(buffer)[: self.size])
                    index += 1

    def repair(self, index, header):
        """Write a header in the ring anew, which the caller has checked (fetched again after "header-corrupt")."""
        if not self.first <= index < self.next or len(header) != self.size:
            raise Reject("header-missing")
        base, end = self._segment_of(index)
        self._rewrite(base, end - base, index - base, self.pack(index, header))

    # -- the files

    def name(self, base):
        return "%s/%08x" % (self._path, base)

    def pack(self, index, header):
        entry = header + struct.pack(">I", index)
        return entry + struct.pack(">I", binascii.crc32(entry) & 0xFFFFFFFF)

    def good(self, entry, index):
        at, crc = struct.unpack_from(">II", entry, self.size)
        return at == index and binascii.crc32(memoryview(entry)[: self.size + 4]) & 0xFFFFFFFF == crc

    def _segment_of(self, index):
        """(first index, index after the last) of the segment that holds it."""
        end = self.next
        for base in reversed(self._bases):
            if base <= index:
                return base, end
            end = base
        raise Reject("header-missing")

    def _open_last(self, index):
        if self._bases and index % self._segment:
            return open(self.name(self._bases[-1]), "ab")
        f = open(self.name(index), "wb")
        if not self._bases:
            self.first = index
        self._bases.append(index)
        return f

    def _rewrite(self, base, entries, at=None, entry=b""):
        """Write the first entries of a segment to a new file, one of them replaced, and put it in the old one's place."""
        temp = self._path + "/" + _TEMP
        buffer = bytearray(self._entry)
        with open(self.name(base), "rb") as old, open(temp, "wb") as new:
            for i in range(entries):
                old.readinto(buffer)
                new.write(entry if i == at else buffer)
        os.rename(temp, self.name(base))

    def _recover(self):
        """Take up what the last run left: the newest unbroken run of segments, without a torn tail."""
        self._bases = []  # first index of each segment, rising
        self.first = self.next = 0
        names = sorted(os.listdir(self._path))
        end = None
        for name in reversed(names):
            whole = self._path + "/" + name
            base = int(name, 16) if len(name) == 8 else -1
            size = os.stat(whole)[6]
            count = size // self._entry
            if not self._bases and base >= 0:
                count = self._whole(whole, base, count)
                if count and count * self._entry != size:
                    self._rewrite(base, count)
            if base < 0 or not count or (end is not None and base + count != end):
                os.remove(whole)
                continue
            if end is None:
                self.next = base + count
            end = base
            self._bases.insert(0, base)
        if self._bases:
            self.first = self._bases[0]

    def _whole(self, name, base, count):
        """How many entries of the newest segment are left when bad ones at its end are dropped."""
        buffer = bytearray(self._entry)
        with open(name, "rb") as f:
            while count:
                f.seek((count - 1) * self._entry)
                if f.readinto(buffer) == self._entry and self.good(buffer, base + count - 1):
                    break
                count -= 1
        return count
