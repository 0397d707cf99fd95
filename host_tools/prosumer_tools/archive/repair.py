"""Mends what `check` finds, in place: each block of a feeder again from the genesis on, with all its rows.

    repair(archive, feeder, sources, told) → number of blocks that were mended; `told(text)`: what was done
A block that is damaged or missing comes from the sources, checked like any, its members' signatures too; rows that the blocks lead to
(nodes, states, readings, trades, entries, coins, evidence, amendments) are made anew from them. What no source has stays as it is.
"""
from . import format
from .chain import Chain, Refused
from .check import Result, compare
from .database import DatabaseError
from .fill import Filled, given
from .format import Malformed
from .sources import failures

MOST_OPEN = 64  # blocks that one certificate makes final; store.py joins no more at once either
_TABLES = ("readings", "trades", "entries", "coins", "evidence")


def repair(archive, feeder, sources, told=lambda text: None, progress=lambda done, of: None):
    """DatabaseError when the file itself is damaged, Refused when the genesis is lost."""
    for line in archive.db.integrity():
        raise DatabaseError(f"the database file itself is damaged ({line}), no row in it can be mended; bring what can be read into a new one: "
                            "prosumer archive import NEW OLD SOURCE …")
    return _Repair(archive, feeder, sources, told, progress).run()


class _Repair:
    def __init__(self, archive, feeder, sources, told, progress):
        self.archive, self.db, self.feeder, self.told, self.progress = archive, archive.db, feeder, told, progress
        self.filled = Filled()
        self.cursors = [_Cursor(source, feeder, self.filled) for source in sources]
        self.dead = set()   # hashes of blocks without a certificate that led to none
        self.mended = 0

    def run(self):
        self.chain = Chain([self._genesis()])
        of = self.db.one("SELECT count(*) FROM blocks WHERE feeder = ?", self.feeder)[0]
        while span := self._span():
            with self.db.transaction():
                for origin, step in span:
                    self._keep(origin, step)
            self.progress(self.chain.height, max(of, self.chain.height))
        for name, (_, why) in self.filled.faults.items():
            self.told(f"{name}: {why}")
        for name in self.filled.closed:
            self.told(f"{name}: no token given opens this feeder")
        self._end()
        return self.mended

    def _genesis(self):
        """The decoded genesis, put back from a source when it is lost or another's, with the feeder's place in the list."""
        for place, read in [(None, lambda: self.archive.records_of_genesis(self.feeder)[0]),
                             *((c.source.name, lambda c=c: c.source.genesis(self.feeder)) for c in self.cursors)]:
            try:
                record = read()
                genesis = format.genesis_of(record)
            except (IndexError, *failures()):
                continue
            if genesis.feeder_id == self.feeder:
                origin = place
                break
        else:
            raise Refused(f"the genesis of feeder {self.feeder.hex()} is lost: name a source that has it (a folder with genesis.bin is one)")
        listed = self.db.one("SELECT name FROM feeders WHERE feeder = ?", self.feeder)
        with self.db.transaction():
            if origin:
                self.db.do("DELETE FROM genesis WHERE feeder = ? AND number <= 0", self.feeder)
                self.told(f"genesis: from {origin}")
            if listed != (genesis.name,):
                self.db.do("DELETE FROM feeders WHERE feeder = ?", self.feeder)
                self.told(f"list of feeders: {genesis.name}, as the genesis says")
            self.archive.enrol(record)
        return genesis

    # -- the next blocks

    def _span(self):
        """[(name of the source or None, Step)] up to the next certificate; [] when the way ends."""
        mark = self.chain.mark()
        while True:
            span = []
            while len(span) < MOST_OPEN and (found := self._next()):
                span.append(found)
                if found[1].certificate:
                    return span
            self.chain.back(mark)
            if not span:
                return []
            self.dead.add(span[-1][1].digest)

    def _next(self):
        """(origin, Step) of what continues the chain: with its certificate if anybody has it."""
        bare = []
        for origin, proposal, certificate in self._candidates():
            if certificate and (step := self._step(proposal, certificate)):
                return origin, step
            if not certificate and (step := self._step(proposal, b"")):
                return origin, step
            bare.append((origin, proposal))
        return next(((origin, step) for origin, proposal in bare if (step := self._step(proposal, b""))), None)

    def _step(self, proposal, certificate):
        mark, genesis, domain = self.chain.mark(), self.chain.genesis, self.chain.books.domain()
        try:
            if not certificate and format.header_at(proposal).hash(self.feeder) in self.dead:
                return None
            step = self.chain.add(proposal, certificate)
        except format.RUBBISH:  # Refused and Malformed among them
            return None
        if format.signature_faults(genesis, domain, step.block):
            self.chain.back(mark)
            return None
        return step

    def _candidates(self):
        """(origin, proposal, certificate): the archive's own first, by height, by slot, then what waits; then the sources'."""
        height, slot, tip = self.chain.height, self.chain.slot, self.chain.tip
        for where, *values in (("blocks WHERE feeder = ? AND height = ?", height), ("blocks WHERE feeder = ? AND slot > ? ORDER BY slot LIMIT 1", slot),
                               ("waiting WHERE feeder = ? AND previous = ? ORDER BY length(certificate) DESC LIMIT 4", tip)):
            for proposal, certificate in self._own(where, *values):
                yield None, bytes(proposal), bytes(certificate)
        for cursor in self.cursors:
            if found := cursor.at(height, slot):
                yield cursor.source.name, *found

    def _own(self, where, *values):
        return self.db.all(f"SELECT proposal, certificate FROM {where}", self.feeder, *values)

    # -- rows

    def _keep(self, origin, step):
        found = self.db.one("SELECT slot, hash, proposal, certificate, state FROM blocks WHERE feeder = ? AND height = ?", self.feeder, step.height)
        result = Result()
        if found:
            slot, digest, proposal, certificate, state = found
            if bytes(proposal) != step.proposal:
                result.fault("another block stood there")
            compare(self.db, self.feeder, step, slot, bytes(digest), bytes(certificate), bytes(state), result)
        else:
            result.fault("it was missing")
        kept = {number: bytes(record) for number, record in self.db.all("SELECT number, record FROM genesis WHERE feeder = ?", self.feeder)}
        if any(kept.get(number) != record for number, record in step.amendments):
            result.fault("its amendment was missing, or another")
        if result.ok:
            return
        self._clear(step)
        self.archive.put(self.feeder, step)
        self.mended += 1
        why = result.faults[0].removeprefix(f"block {step.header.slot}: ")
        self.told(f"block {step.header.slot}: {'made anew' if origin is None else f'from {origin}'} ({why})")

    def _clear(self, step):
        """Whatever stands where the rows of this step belong."""
        db, feeder = self.db, self.feeder
        db.do("DELETE FROM blocks WHERE feeder = ? AND (height = ? OR slot = ?)", feeder, step.height, step.header.slot)
        for table in _TABLES:
            db.do(f"DELETE FROM {table} WHERE feeder = ? AND height = ?", feeder, step.height)
        for table in ("readings", "trades"):
            db.many(f"DELETE FROM {table} WHERE feeder = ? AND member = ? AND slot = ?", [(feeder, *row[:2]) for row in step.rows[table]])
        db.many("DELETE FROM nodes WHERE feeder = ? AND level = ? AND place = ?", [(feeder, level, place) for level, place, _ in step.nodes])
        db.many("DELETE FROM genesis WHERE feeder = ? AND number = ?", [(feeder, number) for number, _ in step.amendments])

    def _end(self):
        """What is left behind the last block that could be reached."""
        db, feeder, archive = self.db, self.feeder, self.archive
        behind = db.one("SELECT count(*), min(slot) FROM blocks WHERE feeder = ? AND height >= ?", feeder, self.chain.height)
        with db.transaction():
            while archive.height(feeder) > self.chain.height and not self._loads():
                self._take_out(archive.height(feeder) - 1)
            self._orphans()
            if not behind[0]:
                numbers = {g.number for g in self.chain.known.values()}
                for number, in db.all("SELECT number FROM genesis WHERE feeder = ?", feeder):
                    if number not in numbers:
                        db.do("DELETE FROM genesis WHERE feeder = ? AND number = ?", feeder, number)
        if behind[0]:
            self.told(f"after slot {self.chain.slot} a block is missing or damaged that no source has: {behind[0]} blocks from slot {behind[1]} on"
                      " are not checked; name a source that has it")
        archive.forget(feeder)
        try:
            archive.join_waiting(feeder)
        except (Refused, Malformed) as error:
            self.told(f"of what waited: {error}")

    def _loads(self):
        """Whether the chain can go on from the newest block as it is."""
        self.archive.forget(self.feeder)
        try:
            chain = self.archive.chain(self.feeder)
            header = self.archive.block(self.feeder, chain.height - 1)[0].header
            return header.hash(self.feeder) == chain.tip and header.state_root == format.state_root(chain.books)
        except format.RUBBISH:
            return False

    def _take_out(self, height):
        """The newest block, which the chain cannot go on from: it waits until what is before it is there, or comes again from whoever has it."""
        where = "FROM blocks WHERE feeder = ? AND height = ?", self.feeder, height
        slot, proposal, certificate = self.db.one("SELECT slot, proposal, certificate " + where[0], *where[1:])
        self.db.do("DELETE " + where[0], *where[1:])
        try:
            header = format.header_at(bytes(proposal))
            self.archive.wait(self.feeder, header, header.hash(self.feeder), bytes(proposal), bytes(certificate))
        except format.RUBBISH:
            pass
        self.mended += 1
        self.told(f"block {slot}: taken out, for the chain cannot go on from it")

    def _orphans(self):
        """Rows of blocks that are not there. One statement each, for another program may add blocks meanwhile."""
        feeder, gone = self.feeder, 0
        for table in _TABLES:
            gone += self.db.do(f"DELETE FROM {table} WHERE feeder = ? AND height NOT IN (SELECT height FROM blocks WHERE feeder = ?)",
                               feeder, feeder).rowcount
        top = "(SELECT coalesce(max(height), -1) + 1 FROM blocks WHERE feeder = ?)"
        for level in range(64):
            gone += self.db.do(f"DELETE FROM nodes WHERE feeder = ? AND level = ? AND (place < 0 OR place >= {top} / {min(1 << level, 2 ** 62)})",
                               feeder, level, feeder).rowcount
        gone += self.db.do("DELETE FROM nodes WHERE feeder = ? AND (level < 0 OR level > 63)", feeder).rowcount
        if gone:
            self.told(f"{gone} rows that belonged to no block: taken out")


class _Cursor:
    """A source's blocks, one after the other; a step back or past a block at fault begins anew."""

    def __init__(self, source, feeder, filled):
        self.source, self.feeder, self.filled = source, feeder, filled
        self.blocks, self.found, self.slot = None, None, -1

    def at(self, height, slot):
        """(proposal, certificate) of its first block above `slot`; None."""
        if self.source.name in self.filled.closed:
            return None
        if self.blocks is None or slot < self.slot or self._past_fault(slot):
            self.blocks, self.found = given(self.source, self.feeder, max(0, height - 1), slot, self.filled), (-1, None, None)
        self.slot = slot
        while self.found and (self.found[0] <= slot or self.found[2] is None):
            self.found = next(self.blocks, None)
        return self.found and self.found[2]

    def _past_fault(self, slot):
        fault = self.filled.faults.get(self.source.name)
        return not self.found and fault and fault[0] is not None and self.slot < fault[0] <= slot
