"""Many feeders in one database: takes what comes in any order, stores what is final, and keeps what waits for a gap to close.

    archive = Archive(Database("street.db"));  archive.enrol(genesis_bytes)
    archive.take(feeder, proposal, certificate)      → number of blocks that became part of the chain
A transaction holds a block with all its rows, so a cut at any time leaves whole blocks.
"""
import time
import zlib
from pathlib import Path

from . import format
from .chain import Refused
from .format import Malformed
from .reader import MEND, Reader

MOST_WAITING = 4096  # proposals of a feeder that wait: the certified stay longest, then the lowest slots
MOST_OF_ONE = 64  # of these without a certificate, from one sender: a flood drives out its own, not others'
MOST_VOTES = 64  # of one member: whoever votes for more than that loses the oldest
SLOTS_AHEAD = 2  # of the clock
IMPORTED = 255  # in place of a sender: brought by whoever runs the archive


class Blocked(Refused):
    """The database cannot take a block that is good: rows are in its way."""


class Archive(Reader):
    def __init__(self, database, clock=time.time):
        super().__init__(database)
        self.clock = clock

    def enrol(self, record):
        """Keep a feeder from its genesis on; its id. A second time changes nothing. Malformed; Refused: no first genesis, or not that of here."""
        g = format.genesis_of(record)
        if g.number:
            raise Refused(f"genesis number {g.number} is an amendment: a feeder begins with its first genesis")
        with self.db.transaction():
            self.db.do("INSERT INTO feeders VALUES (?, ?) ON CONFLICT DO NOTHING", g.feeder_id, g.name)
            self.db.do("INSERT INTO genesis VALUES (?, 0, ?) ON CONFLICT DO NOTHING", g.feeder_id, record)
            if self.records_of_genesis(g.feeder_id)[0] != record:
                raise Refused(f"feeder {g.feeder_id.hex()} is here already, with another genesis")
        return g.feeder_id

    # -- blocks in

    def take(self, feeder, proposal, certificate=b""):
        """Keep a proposal, and with a certificate all that is final by it. How many blocks joined the chain; Refused, Malformed."""
        with self.db.lock:
            chain, header = self.chain(feeder), format.header_at(proposal)
            digest = header.hash(feeder)
            if self._known(chain, feeder, header, digest, certificate):
                return 0
            if certificate and header.previous == chain.tip:  # what nearly always happens
                try:
                    self._append(feeder, [chain.add(proposal, certificate)])
                except Blocked:
                    self.wait(feeder, header, digest, proposal, certificate)  # until the rows are mended
                    raise
                return 1 + self.join_waiting(feeder)
            self.wait(feeder, header, digest, proposal, certificate)
            return self.join_waiting(feeder)

    def _known(self, chain, feeder, header, digest, certificate):
        if header.slot > chain.slot:
            return False
        row = self.db.one("SELECT hash, certificate, height FROM blocks WHERE feeder = ? AND slot = ?", feeder, header.slot)
        if not row or bytes(row[0]) != digest:
            raise Refused(f"block {header.slot} is not the one that is final here")
        if certificate and not row[1]:
            parsed = format.block_of(self.proposal(feeder, row[2]), certificate).certificate
            books = self.books_before(feeder, row[2])
            if not format.certificate_fault(books, parsed, header, digest):
                self.db.do("UPDATE blocks SET certificate = ? WHERE feeder = ? AND height = ?", format.trimmed(books, parsed), feeder, row[2])
                self._opened.pop((feeder, row[2]), None)
        return True

    def wait_for(self, feeder, proposal, sender):
        """Keep a proposal that `sender` published until a certificate comes; False if it is of no use. Refused, Malformed."""
        header = format.header_at(proposal)
        chain = self.chain(feeder)
        if header.slot <= chain.slot:
            return False
        if len(proposal) > format.MOST_BYTES:
            raise Refused(f"a proposal of {len(proposal)} bytes: no meter could receive it")
        now = int(self.clock() - chain.genesis.start_s) // chain.genesis.slot_s
        if header.slot > max(now, chain.slot) + SLOTS_AHEAD:  # a clock that is behind does not lose a street that is not
            raise Refused(f"a proposal for slot {header.slot}, which has not come")
        fault = format.proposal_fault(chain.books, proposal)
        if fault and header.previous == chain.tip:  # behind a gap others may vote
            raise Refused(fault)
        self.wait(feeder, header, header.hash(feeder), proposal, b"", sender if fault else header.proposer, not fault)
        self.join_waiting(feeder)  # it may be the one that certified blocks wait for
        return True

    def proposal_of(self, feeder, digest):
        """The bytes of the proposal with that header, waiting or final; None."""
        row = self.db.one("SELECT proposal FROM waiting WHERE feeder = ? AND hash = ?", feeder, digest) \
            or self.db.one("SELECT proposal FROM blocks WHERE feeder = ? AND hash = ?", feeder, digest)
        return bytes(row[0]) if row else None

    def wait(self, feeder, header, digest, proposal, certificate, sender=IMPORTED, signed=True):
        """The header's hash covers the body, but not its proposer's signature: `signed` says that it holds, or comes from whoever runs the archive.
        A copy of which that is not known never takes the place of another, unless it is the proposer's own and the other is not."""
        if format.body_root(format.block_of(proposal)) != header.body_root:
            raise Refused(f"block {header.slot}: its body is not the one that the header names")
        with self.db.transaction():
            kept = self.db.one("SELECT sender FROM waiting WHERE feeder = ? AND hash = ?", feeder, digest)
            if not kept or signed or sender == header.proposer and kept[0] not in (sender, IMPORTED):
                self.db.do("INSERT INTO waiting VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (feeder, hash) DO UPDATE "
                           "SET proposal = excluded.proposal, sender = excluded.sender",
                           feeder, digest, header.slot, header.previous, proposal, b"", sender)
            if certificate:
                self.db.do("UPDATE waiting SET certificate = ? WHERE feeder = ? AND hash = ?", certificate, feeder, digest)
            most = MOST_WAITING if sender == IMPORTED else MOST_OF_ONE
            over = self.db.all("SELECT hash FROM waiting WHERE feeder = ? AND sender = ? AND certificate = ? ORDER BY slot LIMIT 1000 OFFSET ?",
                               feeder, sender, b"", most)
            over += self.db.all("SELECT hash FROM waiting WHERE feeder = ? ORDER BY CASE WHEN certificate = ? THEN 1 ELSE 0 END, slot "
                                "LIMIT 1000 OFFSET ?", feeder, b"", MOST_WAITING)
            for old, in over:
                self.db.do("DELETE FROM waiting WHERE feeder = ? AND hash = ?", feeder, bytes(old))

    def join_waiting(self, feeder):
        """Append what waited and now continues the chain up to a certificate. Refused, Malformed: one is not what it seemed, and is gone."""
        done, failed = 0, None
        while True:
            chain, steps = self.chain(feeder), []
            path = self._next(feeder, chain)
            if not path:
                self.db.do("DELETE FROM waiting WHERE feeder = ? AND slot <= ?", feeder, chain.slot)
                if failed:
                    raise failed
                return done
            try:
                for proposal, certificate in path:
                    steps.append(chain.add(proposal, certificate))
                self._append(feeder, steps)
                done += len(steps)
            except Blocked:
                raise
            except (Refused, Malformed) as error:
                failed = error
                self.chains.pop(feeder)  # it has taken those before
                self._reject(feeder, *path[len(steps)])

    def _reject(self, feeder, proposal, certificate):
        """This one of a path does not fit: its certificate goes, which is not the proposer's; without one the block does."""
        digest = format.header_at(proposal).hash(feeder)
        if certificate:
            self.db.do("UPDATE waiting SET certificate = ? WHERE feeder = ? AND hash = ?", b"", feeder, digest)
        else:
            self.db.do("DELETE FROM waiting WHERE feeder = ? AND hash = ?", feeder, digest)

    def _next(self, feeder, chain):
        """[(proposal, certificate)] from the tip to the first certified descendant that waits; None."""
        for digest, previous, in self.db.all("SELECT hash, previous FROM waiting WHERE feeder = ? AND certificate <> ? AND slot > ? "
                                             "ORDER BY slot LIMIT 64", feeder, b"", chain.slot):
            path = [bytes(digest)]
            previous = bytes(previous)
            while previous != chain.tip and len(path) < 64:
                row = self.db.one("SELECT hash, previous FROM waiting WHERE feeder = ? AND hash = ?", feeder, previous)
                if not row:
                    break
                path.insert(0, previous)
                previous = bytes(row[1])
            if previous == chain.tip:
                return [tuple(map(bytes, self.db.one("SELECT proposal, certificate FROM waiting WHERE feeder = ? AND hash = ?", feeder, d))) for d in path]
        return None

    # -- votes

    def keep_vote(self, feeder, domain, member, iteration, digest, signature):
        """A good finalize vote under `domain`: on the disk, for the broker does not say it again."""
        with self.db.transaction():
            self.db.do("INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", feeder, iteration, digest, domain, member, signature)
            over = self.db.one("SELECT iteration FROM votes WHERE feeder = ? AND member = ? ORDER BY iteration DESC LIMIT 1 OFFSET ?",
                               feeder, member, MOST_VOTES)
            if over:
                self.db.do("DELETE FROM votes WHERE feeder = ? AND member = ? AND iteration <= ?", feeder, member, over[0])

    def votes(self, feeder, domain, iteration, digest):
        """{member: signature}"""
        return {m: bytes(s) for m, s in self.db.all("SELECT member, signature FROM votes WHERE feeder = ? AND iteration = ? AND hash = ? AND domain = ?",
                                                    feeder, iteration, digest, domain)}

    # -- what is final

    def _append(self, feeder, steps):
        try:
            with self.db.transaction():
                for step in steps:
                    self.put(feeder, step)
        except BaseException as error:
            self.chains.pop(feeder, None)  # its books are ahead of the disk now
            if isinstance(error, self.db.conflicts) and self.height(feeder) <= steps[0].height:  # so no other program added it
                raise Blocked(f"block {steps[0].header.slot} cannot be stored, for rows of lost blocks are in its way: {MEND}") from None
            raise

    def put(self, feeder, s):
        """The rows of a Step."""
        self.db.do("INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?)", feeder, s.height, s.header.slot, s.digest, s.proposal,
                   s.certificate, zlib.compress(s.state, 1))
        self.db.many("INSERT INTO genesis VALUES (?, ?, ?)", [(feeder, *amendment) for amendment in s.amendments])
        self.db.many("INSERT INTO evidence VALUES (?, ?, ?, ?)", [(feeder, s.height, *evidence) for evidence in s.evidence])
        self.db.many("INSERT INTO nodes VALUES (?, ?, ?, ?)", [(feeder, *node) for node in s.nodes])
        for table, values in table_rows(feeder, s.height, s.rows).items():
            self.db.many(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values[0]))})" if values else "", values)

    # -- a recorded run

    def bring_in(self, run, progress=lambda done, of: None):
        """Import RUN/genesis.bin and RUN/records/block-*.bin; (feeder, blocks that joined). Malformed, Refused, OSError."""
        feeder = self.enrol((Path(run) / "genesis.bin").read_bytes())
        files = sorted((Path(run) / "records").glob("block-*.bin"))
        joined = 0
        for i, path in enumerate(files):
            joined += self.take(feeder, *format.parts_of(path.read_bytes()))
            progress(i + 1, len(files))
        return feeder, joined


def table_rows(feeder, height, rows):
    """The rows of a block as the tables hold them."""
    return {
        "readings": [(feeder, m, slot, height, *rest) for m, slot, *rest in rows["readings"]],
        "trades": [(feeder, m, slot, height, *rest) for m, slot, *rest in rows["trades"]],
        "entries": [(feeder, height, i, *row) for i, row in enumerate(rows["entries"])],
        "coins": [(feeder, height, *row) for row in rows["coins"]],
    }
