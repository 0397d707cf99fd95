"""One feeder's chain as the archive follows it: a block goes in only when it continues what is there, byte for byte.

Checked here: link, accumulator, body root, certificate, and by booking it price, volume and state root; and the signatures of its proposer
and of all that changes who votes, for a block may be final by a later one that others certified. Those of the other records in a body are
left to `prosumer archive check`: a quorum of meters checked each before it voted.
"""
from . import format, trees


class Refused(ValueError):
    """This block does not continue the chain; the text says why."""


class Step:
    """A block that fits: what is to be stored for it."""

    def __init__(self, height, block, digest, proposal, certificate, nodes, state, rows):
        self.height, self.block, self.header, self.digest = height, block, block.header, digest
        self.proposal, self.certificate = proposal, certificate
        self.nodes, self.state, self.rows = nodes, state, rows
        self.amendments = [(g.number, g.bytes()) for g in block.amendments]
        self.evidence = [(e.member, e.bytes()) for e in block.evidence]


class Chain:
    def __init__(self, geneses, tip=None, peaks=()):
        """`geneses`: the first and its amendments so far; `tip`: (height, header, digest, salt, state leaves) of the last block;
        `peaks`: of the accumulator over all blocks."""
        self.first, self.known = geneses[0], {g.hash: g for g in geneses}
        self._load(tip, peaks)

    def _load(self, tip, peaks):
        self._tip, self._peaks = tip, list(peaks)
        if tip:
            height, header, self.tip, salt, leaves = tip
            self.height, self.slot, self.iteration = height + 1, header.slot, header.iteration
            self.books = format.books_of(self.known[format.regime_of(leaves)[2]], salt, leaves)
        else:
            self.height, self.slot, self.iteration, self.tip = 0, -1, 0, self.first.hash
            self.books = format.books_of(self.first)
        self.range = trees.Range(self.height, peaks)

    @property
    def genesis(self):
        """The one in force."""
        return self.books.genesis

    def mark(self):
        """For `back`: where the chain is now."""
        return self._tip, list(self._peaks)

    def back(self, mark):
        self._load(*mark)

    def add(self, proposal, certificate=b""):
        """The Step of the next block; Refused or Malformed, and nothing has changed. `certificate` may be empty: a later block has it."""
        try:
            return self._add(proposal, certificate)
        except BaseException:
            self._load(self._tip, self._peaks)
            raise

    def _add(self, proposal, certificate):
        g, block = self.genesis, format.block_of(proposal, certificate)
        h = block.header
        digest = h.hash(g.feeder_id)
        if h.previous != self.tip or h.slot <= self.slot or h.iteration <= self.iteration:
            raise Refused(f"block {h.slot} does not follow block {self.slot}")
        if h.accumulator != self.range.root():
            raise Refused(f"block {h.slot}: its accumulator is not that of the headers before it")
        if certificate:
            fault = format.certificate_fault(self.books, block.certificate, h, digest)
            if fault:
                raise Refused(f"block {h.slot}: {fault}")
            certificate = format.trimmed(self.books, block.certificate)
        if h.body_root != format.body_root(block):
            raise Refused(f"block {h.slot}: its body is not the one that the header names")
        faults = format.entry_faults(g, self.books.domain(), block)
        if faults:
            raise Refused(f"block {h.slot}: {faults[0]}")
        outcome = self.books.apply(block, lambda record, text: faults.append(text))
        if faults:
            raise Refused(f"block {h.slot}: {faults[0]}")
        if (h.price_ucr_per_kwh, h.volume_mwh) != (outcome.clearing.price_ucr_per_kwh, outcome.clearing.volume_mwh):
            raise Refused(f"block {h.slot}: its orders do not clear as the header says")
        leaves = self.books.leaves()
        if h.state_root != format.state_root(self.books):
            raise Refused(f"block {h.slot}: its state is not the one that the header names")
        self.known[self.genesis.hash] = self.genesis
        step = Step(self.height, block, digest, proposal, certificate, self.range.append(digest), format.pack_leaves(leaves),
                    format.rows(block, outcome, outcome.minted))
        self._tip, self._peaks = (self.height, h, digest, block.salt, leaves), list(self.range.peaks)
        self.height, self.slot, self.iteration, self.tip = self.height + 1, h.slot, h.iteration, digest
        return step
