"""What an archive's database holds, read: feeders, chains, blocks, proof nodes. Damage is told as Refused or Malformed."""
import zlib

from . import format, trees
from .chain import Chain, Refused

MOST_OPEN = 64
MEND = "`prosumer archive check` tells what else, `repair` mends it"


class Reader:
    def __init__(self, database):
        self.db = database
        self.chains = {}
        self._opened = {}  # the last few blocks that were asked for, decoded

    # -- feeders

    def feeders(self):
        """[(feeder id, name)]"""
        return [(bytes(f), name) for f, name in self.db.all("SELECT feeder, name FROM feeders ORDER BY name, feeder")]

    def known(self):
        """Ids of feeders that any of the ledger's tables names: the list may have lost one."""
        return sorted({bytes(f) for table in ("feeders", "genesis", "blocks") for f, in self.db.all(f"SELECT DISTINCT feeder FROM {table}")})

    def genesis(self, feeder):
        return self.chain(feeder).genesis

    def records_of_genesis(self, feeder):
        """The genesis and its amendments, as signed bytes."""
        return [bytes(r) for r, in self.db.all("SELECT record FROM genesis WHERE feeder = ? ORDER BY number", feeder)]

    def chain(self, feeder):
        """The feeder's chain as the database has it: another program may have added to it. Refused."""
        with self.db.lock:
            chain = self.chains.get(feeder)
            if not chain or self.height(feeder) != chain.height:
                chain = self.chains[feeder] = self._load(feeder)
            return chain

    def height(self, feeder):
        """How many blocks the database has up to the newest."""
        newest = self.db.one("SELECT height FROM blocks WHERE feeder = ? ORDER BY height DESC LIMIT 1", feeder)
        return newest[0] + 1 if newest else 0

    def forget(self, feeder):
        """What is remembered of a feeder: its rows have changed."""
        self.chains.pop(feeder, None)
        self._opened = {key: opened for key, opened in self._opened.items() if key[0] != feeder}

    def _load(self, feeder):
        last = self.db.one("SELECT height, proposal, hash, state FROM blocks WHERE feeder = ? ORDER BY height DESC LIMIT 1", feeder)
        found = self.records_of_genesis(feeder)  # after the block: what it brought is among them
        if not found:
            raise Refused(f"no feeder {feeder.hex()} here")
        geneses = [format.genesis_of(record) for record in found]
        if not last:
            return Chain(geneses[:1])
        height, proposal, digest, state = last[0], bytes(last[1]), bytes(last[2]), bytes(last[3])
        block = format.block_of(proposal)
        tip = height, block.header, digest, block.salt, _leaves(state, block.slot)
        nodes = self.nodes(feeder, trees.full(0, height + 1))
        try:
            return Chain(geneses, tip, [nodes[node] for node in trees.full(0, height + 1)])
        except format.RUBBISH:
            raise Refused(f"the state kept with block {block.slot} is another block's: {MEND}") from None

    # -- blocks out

    def proposal(self, feeder, height):
        return self._block(feeder, height)[0]

    def _block(self, feeder, height):
        row = self.db.one("SELECT proposal, certificate, state FROM blocks WHERE feeder = ? AND height = ?", feeder, height)
        if not row:
            raise Refused(f"the block at height {height} is missing: {MEND}")
        return tuple(map(bytes, row))

    def bytes_of(self, feeder, height):
        """(proposal, certificate)"""
        return self._block(feeder, height)[:2]

    def block(self, feeder, height):
        """(decoded block with its certificate or None, certificate bytes, state leaves)"""
        return self._open(feeder, height)[:3]

    def regime_before(self, feeder, height):
        """(epoch, excluded, genesis in force): under which a block was agreed on."""
        if not height:
            return 0, 0, self.chain(feeder).first
        epoch, excluded, digest = format.regime_of(self.block(feeder, height - 1)[2])
        return epoch, excluded, self.chain(feeder).known[digest]

    def books_before(self, feeder, height):
        """The books that a block was executed on."""
        genesis = self.regime_before(feeder, height)[2]
        if not height:
            return format.books_of(genesis)
        block, _, leaves = self.block(feeder, height - 1)
        return format.books_of(genesis, block.salt, leaves)

    def leaf_nodes(self, feeder, height, tree):
        """(records, hash tree over their salted leaves) of a block's body (format.BODY) or state (format.STATE)."""
        opened = self._open(feeder, height)
        if tree not in opened[3]:
            records = opened[0].leaves() if tree == format.BODY else opened[2]
            opened[3][tree] = records, trees.grown(trees.salted_leaves(opened[0].salt, tree, records))
        return opened[3][tree]

    def _open(self, feeder, height):
        with self.db.lock:
            opened = self._opened.get((feeder, height))
            if not opened:
                proposal, certificate, state = self._block(feeder, height)
                block = format.block_of(proposal, certificate)
                opened = block, certificate, _leaves(state, block.slot), {}
                if certificate:  # one without may get its own yet, and another program may bring it
                    while len(self._opened) >= MOST_OPEN:
                        del self._opened[next(iter(self._opened))]
                    self._opened[feeder, height] = opened
            return opened

    def height_of(self, feeder, slot):
        row = self.db.one("SELECT height FROM blocks WHERE feeder = ? AND slot = ?", feeder, slot)
        return row[0] if row else None

    def certified(self, feeder, height, most=1):
        """The first heights from there on whose blocks have a certificate of their own."""
        return [h for h, in self.db.all("SELECT height FROM blocks WHERE feeder = ? AND height >= ? AND certificate <> ? ORDER BY height LIMIT ?",
                                        feeder, height, b"", most)]

    def nodes(self, feeder, wanted):
        """{(level, place): hash} of the accumulator's full subtrees."""
        out = node_rows(self.db, feeder, wanted)
        for level, place in wanted:
            if (level, place) not in out:
                raise Refused(f"node {level}/{place} is missing: {MEND}")
        return out

    def gap(self, feeder):
        """(slot of the last block in the chain, slots of blocks that wait for one that is missing)."""
        rows = self.db.all("SELECT slot FROM waiting WHERE feeder = ? AND certificate <> ? ORDER BY slot", feeder, b"")
        return self.chain(feeder).slot, [slot for slot, in rows]


def _leaves(state, slot):
    try:
        return format.unpack_leaves(zlib.decompress(state))
    except zlib.error:
        raise Refused(f"the state kept with block {slot} cannot be read: {MEND}") from None


def node_rows(db, feeder, wanted):
    """{(level, place): hash} of those that are there. One question to a server; SQLite is asked node by node, for then it uses its index."""
    wanted = sorted(wanted)
    if not db.postgres:
        found = [db.one("SELECT level, place, hash FROM nodes WHERE feeder = ? AND level = ? AND place = ?", feeder, *node) for node in wanted]
    elif wanted:
        places = ", ".join(["(?, ?)"] * len(wanted))
        found = db.all(f"SELECT level, place, hash FROM nodes WHERE feeder = ? AND (level, place) IN (VALUES {places})",
                       feeder, *[n for node in wanted for n in node])
    else:
        found = []
    return {(level, place): bytes(digest) for level, place, digest in filter(None, found)}
