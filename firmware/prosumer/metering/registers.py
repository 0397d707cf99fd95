"""Energy registers: what a meter has counted since it was made. They never go back.

Every journal entry is a whole copy of all registers, in one of two files in turn, so that a torn or rotten
newer copy leaves the older one:

    "PREG" version:1 count:1 sequence:6 names_crc:4 count × value_mwh:6 crc32:4      (big-endian, ≤ 128 bytes)

48 bits of mWh are 281 GWh: 100 years of 3 × 63 A are 38 GWh. An entry of at most 128 bytes lies inside LittleFS's
directory (its inline files), which costs a tenth of the flash wear of a file with a block of its own. Names lie in two
files of their own, written only when a register is added; their order never changes, new ones go to the end.

A journal every 10 s is 79,000 erases a year, which LittleFS levels over the blocks that are free: 180 of a meter's 1 MiB, at 100,000
erases each, last 227 years (counted by tests/bench/soak_registers.py; what else the meter writes comes on top).

A power cut costs what was added since the last `journal()`: it is a gap, to be reported and not to be estimated.
"""
import binascii
import os

from micropython import const

from prosumer.errors import Halt, Reject

_MAGIC = b"PREG\x01"
_HEAD = const(16)  # up to and with the names' checksum
_VALUE = const(6)
_MAX = const(16)  # registers: 16 + 16*6 + 4 ≤ 128


class EnergyRegisters:
    """Registers `names` in the directory `path` of the mounted filesystem, restored on construction.

    events: what was found on the way ("journal-copy-corrupt", "names-copy-corrupt"), for the meter's event log.
    Raises Halt when there are registers but none can be read: going on from zero would be going back."""

    def __init__(self, path, names):
        self.path = path
        self.events = []
        try:
            os.mkdir(path)
        except OSError:
            pass  # it is there
        self._names = self._load_names()
        new = [n for n in names if n not in self._names]
        if len(self._names) + len(new) > _MAX or any([not n or "\n" in n for n in new]):
            raise Reject("register-names")
        self._values = {}
        self.sequence = 0
        self._restore()
        if new:
            self._names += new
            text = "\n".join(self._names).encode()
            for copy in "ab":  # the first is whole before the second is touched
                self._write("names." + copy, text + b"\n%08x" % binascii.crc32(text))
        for n in self._names:
            self._values.setdefault(n, 0)
        self._durable = dict(self._values)
        while self.sequence < 2:
            self.journal()  # both copies exist before anything is published

    def add(self, name, mwh):
        """Count `mwh` ≥ 0 more; unknown names and negative energy are refused."""
        if type(mwh) is not int or mwh < 0:
            raise Reject("register-would-go-back")
        if name not in self._values:
            raise Reject("no-such-register")
        if self._values[name] + mwh >> 48:
            raise Reject("register-full")
        self._values[name] += mwh

    def value(self, name):
        """mWh counted; what is published must be `durable(name)`."""
        return self._values[name]

    def durable(self, name):
        """mWh that a power cut cannot take back."""
        return self._durable[name]

    def journal(self):
        """Make the values durable; call at least every 10 s of metering. Returns whether anything was written."""
        if self._values == self._durable and self.sequence > 1:
            return False
        self.sequence += 1
        entry = bytearray(_MAGIC)
        entry.append(len(self._names))
        entry += self.sequence.to_bytes(6, "big") + self._names_crc(len(self._names))
        for n in self._names:
            entry += self._values[n].to_bytes(_VALUE, "big")
        entry += binascii.crc32(entry).to_bytes(4, "big")
        self._write("journal.%d" % (self.sequence & 1), entry)
        self._durable.update(self._values)
        return True

    def _names_crc(self, count):
        return binascii.crc32("\n".join(self._names[:count]).encode()).to_bytes(4, "big")

    def _load_names(self):
        for copy in "ab":
            data = self._read("names." + copy)
            if not data:
                continue  # not there, or the power went while it was created
            text = data[:-9]
            if len(data) > 9 and data[-9:] == b"\n%08x" % binascii.crc32(text):
                return text.decode().split("\n")
            self.events.append("names-copy-corrupt")
        return []

    def _restore(self):
        best = None
        there = 0  # one copy alone: the power went in the constructor, nothing had been published
        for copy in (0, 1):
            data = self._read("journal.%d" % copy)
            if not data:
                continue
            there += 1
            if not self._valid(data):
                self.events.append("journal-copy-corrupt")
                continue
            sequence = int.from_bytes(data[6:12], "big")
            if sequence & 1 != copy:
                self.events.append("journal-copy-corrupt")
            elif best is None or sequence > self.sequence:
                best = data
                self.sequence = sequence
        if best:
            for k in range(best[5]):
                at = _HEAD + k * _VALUE
                self._values[self._names[k]] = int.from_bytes(best[at:at + _VALUE], "big")
        elif there == 2:
            raise Halt("energy registers corrupt")

    def _valid(self, data):
        count = data[5] if len(data) > _HEAD else 255
        return (data[:5] == _MAGIC and count <= len(self._names) and len(data) == _HEAD + count * _VALUE + 4
                and binascii.crc32(data[:-4]).to_bytes(4, "big") == data[-4:] and data[12:16] == self._names_crc(count))

    def _read(self, name):
        try:
            with open(self.path + "/" + name, "rb") as f:
                return f.read(600)
        except OSError:
            return None

    def _write(self, name, data):
        with open(self.path + "/" + name, "wb") as f:
            f.write(data)
