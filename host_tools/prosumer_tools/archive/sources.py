"""Places to bring blocks from. None is trusted: each block is checked on its way in.

    source = opened("RUN" | "other.db" | "postgresql://…" | "https://archive.example", tokens)
    source.feeders() → [feeder id];  source.genesis(feeder) → bytes;  source.opens(feeder): may its blocks be asked for?
    source.blocks(feeder, height, slot) → (slot, header hash, read) from that slot on, oldest first; read() → (proposal, certificate)
What a place does not give as it should raises one of `failures()`: Refused, Malformed, OSError, a database's own error, what rubbish does.
"""
import http.client
import json
import urllib.error
import urllib.request
from pathlib import Path

from . import database, format
from .chain import Refused
from .database import SAME_BLOCKS, Database
from .format import Malformed
from .store import Archive

MOST_BYTES = 1 << 22  # of one answer
MOST_HEADERS = 256  # asked for at once


class Closed(Refused):
    """The tokens do not open this feeder."""


def failures():
    return (OSError, *database.errors(), *format.RUBBISH)


def opened(place, tokens=()):
    """The source that a command names; Refused, DatabaseError."""
    place = str(place)
    if place.startswith(("http://", "https://")):
        return Url(place.rstrip("/"), tokens)
    if (Path(place) / "genesis.bin").is_file():
        return Run(place)
    if Path(place).is_dir():
        raise Refused(f"{place}: no run here (genesis.bin and a folder records are needed)")
    return Kept(Archive(Database(place, False, SAME_BLOCKS)))


class Run:
    """RUN/genesis.bin and RUN/records/block-SLOT.bin, as a recorder writes them."""

    def __init__(self, folder):
        self.name, self.folder = str(folder), Path(folder)

    def feeders(self):
        return [format.genesis_of(self.genesis(None)).feeder_id]

    def genesis(self, feeder):
        return (self.folder / "genesis.bin").read_bytes()

    def opens(self, feeder):
        return True

    def blocks(self, feeder, height, slot):
        for path in sorted((self.folder / "records").glob("block-*.bin"), key=_slot_of):
            if _slot_of(path) >= slot:
                yield _slot_of(path), self._digest(feeder, path), lambda path=path: format.parts_of(path.read_bytes())

    @staticmethod
    def _digest(feeder, path):
        try:
            return format.header_at(format.parts_of(path.read_bytes())[0]).hash(feeder)
        except Malformed:
            return None  # reading it says why


def _slot_of(path):
    digits = path.stem.rpartition("-")[2]
    return int(digits) if digits.isdigit() else -1


class Kept:
    """Another archive's database; it may be damaged itself."""

    def __init__(self, archive):
        self.name, self.archive = archive.db.shown(), archive

    def feeders(self):
        return self.archive.known()

    def genesis(self, feeder):
        found = self.archive.records_of_genesis(feeder)
        if not found:
            raise Refused(f"the genesis of feeder {feeder.hex()} is missing")
        return found[0]

    def opens(self, feeder):
        return True

    def blocks(self, feeder, height, slot):
        while rows := self.archive.db.all("SELECT height, slot, hash FROM blocks WHERE feeder = ? AND height >= ? ORDER BY height LIMIT 1000",
                                          feeder, height):
            for at, its_slot, digest in rows:
                if its_slot >= slot:
                    yield its_slot, bytes(digest), lambda at=at: self.archive.bytes_of(feeder, at)
            height = rows[-1][0] + 1


class Url:
    """An archive that answers over HTTP. Its blocks are for the operator's token of each feeder; the others are skipped."""

    def __init__(self, url, tokens=()):
        self.name = self.url = url
        self.tokens = list(tokens)

    def feeders(self):
        try:
            return [bytes.fromhex(f["feeder"]) for f in json.loads(self._ask("/"))["feeders"]]
        except (ValueError, KeyError, TypeError):
            raise Malformed("no archive answers there") from None

    def genesis(self, feeder):
        return self._ask(f"/{feeder.hex()}/genesis")

    def opens(self, feeder):
        first = next(self.blocks(feeder, 0, 0), None)
        try:
            return not first or bool(first[2]())
        except Closed:
            return False

    def blocks(self, feeder, height, slot):
        while headers := self._headers(feeder, height):
            for header in headers:
                if header.slot >= slot:
                    yield header.slot, header.hash(feeder), lambda at=header.slot: self._block(feeder, at)
            height += len(headers)

    def _headers(self, feeder, height):
        data = self._ask(f"/{feeder.hex()}/headers?first={height}&count={MOST_HEADERS}")
        if int.from_bytes(data[:4], "big") * format.HEADER_SIZE != len(data) - 4:
            raise Malformed("no headers came")
        return [format.header_at(b"\x09" + data[at:at + format.HEADER_SIZE]) for at in range(4, len(data), format.HEADER_SIZE)]

    def _block(self, feeder, slot):
        for token in self.tokens or [None]:
            try:
                data = format.parts_of(self._ask(f"/{feeder.hex()}/block?slot={slot}", token))
            except Closed:
                continue
            self.tokens.sort(key=lambda t: t != token)  # the one that opened is tried first
            return data
        raise Closed(f"no token here opens the blocks of feeder {feeder.hex()}")

    def _ask(self, path, token=None):
        try:
            request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token}"} if token else {})
            with urllib.request.urlopen(request, timeout=30) as answer:
                data = answer.read(MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise (Closed if error.code in (401, 403) else Refused)(f"{path}: {error.code} {error.reason}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Refused(str(getattr(error, "reason", error)) or type(error).__name__) from None
        if len(data) > MOST_BYTES:
            raise Malformed(f"{path}: more than {MOST_BYTES} bytes")
        return data
