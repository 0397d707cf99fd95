"""The walk over a whole run: every signature, hash, rule and sum again, from the stored bytes alone.

    result = verify_run("runs/demo")          Result(ok, counts, faults): a fault is one line that names the record
    for step in load_run("runs/demo"): …      the same blocks, decoded and booked, without the checks (for reports)

A block that is wrong is named with what is wrong in it. What follows from it is not told again: links then go by the hash that
the certificate of the bad block names, and sums that rest on its body are not compared any more.
"""
import json
from dataclasses import dataclass, field
from pathlib import Path

from . import genesis as street
from . import records
from .books import Books, Outcome
from .figures import TABLES, Figures, keys_fault, other_files
from .files import BLOCK_NAME, Files
from .keys import Key
from .records import FINALIZE, OPERATOR, PROPOSE, Malformed, vote_message
from .trees import Accumulator, salted_root

MOST_FAULTS = 200  # lines kept; the rest is only counted


class BadRun(ValueError):
    """This is no run at all: nothing to check."""


@dataclass
class Result:
    ok: bool
    counts: dict
    faults: list  # of lines
    names: dict = field(default_factory=dict)  # member → home
    not_checked: list = field(default_factory=list)  # files, and figures that no record states


@dataclass
class Step:
    """One block of `load_run`: the decoded records, what they did, and each member's account afterwards."""

    block: records.Block
    outcome: Outcome
    balances_ucr: list
    green_mwh: list
    genesis: object     # in force for the next block


def names_of(run):
    """{member: home} from run.json, which nobody signed: for names only."""
    try:
        homes = json.loads((Path(run) / "run.json").read_text())["homes"]
        return {int(h["member"]): str(h["name"]) for h in homes}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _files(run):
    folder = Path(run) / "records"
    if not (Path(run) / "genesis.bin").is_file() or not folder.is_dir():
        raise BadRun(f"{run}: no run here (genesis.bin and a folder records are needed)")
    return sorted(p for p in folder.iterdir())


def load_run(run):
    """Yield a `Step` for each block in order of slots. Malformed or BadRun if the bytes cannot be read."""
    files = _files(run)
    books = Books(records.genesis((Path(run) / "genesis.bin").read_bytes()))
    for path in sorted((p for p in files if BLOCK_NAME.fullmatch(p.name)), key=lambda p: int(BLOCK_NAME.fullmatch(p.name)[1])):
        block = records.block(path.read_bytes())
        outcome = books.apply(block, lambda record, text: None)
        yield Step(block, outcome, [a.balance_ucr for a in books.accounts], [a.green_mwh for a in books.accounts], books.genesis)


def verify_run(run, progress=None):
    """Check everything. `progress(done, of)` is called now and then. BadRun if there is nothing to check."""
    return _Walk(run, progress).result()


class _Walk(Files):
    def __init__(self, run, progress):
        self.files = _files(run)
        self.run, self.progress = Path(run), progress or (lambda done, of: None)
        self.names = names_of(run)
        self.faults, self.more, self.not_checked = [], 0, []
        self.counts = dict.fromkeys(("blocks", "void_slots", "signatures", "certificates", "readings", "late_readings", "commits",
                                     "orders", "trades", "not_shown", "settlements", "meters", "ring_headers"), 0)
        self.counts.update(transfers=0, excluded=0, amendments=0)
        self.counts.update(traded_mwh=0, imported_mwh=0, exported_mwh=0, green_mwh=0, turnover_ucr=0, books_balanced=0, figures=0)
        self.digests = {}    # slot → hash of the header that is final there
        self.rings = {}      # slot → {raw header: [meter, …]}

    def fault(self, where, text):
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(f"{where}: {text}")
        else:
            self.more += 1

    def who(self, member):
        return f"{self.names[member]} (member {member})" if member in self.names else f"member {member}"

    def result(self):
        Key.checked = 0
        if self._genesis():
            self.sort_files()
            self.read_rings()
            self._blocks()
            self.compare_rings()
            self.counts["green_mwh"] = sum(a.green_mwh for a in self.books.accounts)
            self._beside()
        self.counts["signatures"] = Key.checked
        if self.more:
            self.faults.append(f"… and {self.more} more")
        return Result(not self.faults, self.counts, self.faults, self.names, self.not_checked)

    def _beside(self):
        """What stands beside the records: the feeder's wrapped keys, and the tables that were made of good records."""
        checked = {"genesis.bin", "records"}
        if not self.faults:
            self.counts["figures"], unstated = self.figures.check(self.run, self.names, self.books.accounts, self.counts, self.fault)
            checked.update(TABLES)
        if (self.run / "keys.bin").is_file():
            text = keys_fault((self.run / "keys.bin").read_bytes(), self.first)
            if text:
                self.fault("keys.bin", text)
            checked.add("keys.bin")
        self.not_checked = other_files(self.run, checked) + (unstated if "slots.csv" in checked else [])

    # -- genesis, names of files

    def _genesis(self):
        try:
            g = self.genesis = records.genesis((self.run / "genesis.bin").read_bytes())
        except Malformed as e:
            self.fault("genesis.bin", str(e).replace("genesis: ", ""))
            return False
        for text in street.faults(g, self.who):
            self.fault("genesis.bin", text)
        if g.number:
            self.fault("genesis.bin", "is an amendment: a run begins with the first genesis of its street")
        if self.faults:
            return False
        self.first, self.figures = g, Figures(g)
        self.books, self.mmr = Books(g), Accumulator()
        self._enter()
        return True

    def _enter(self):
        """A genesis is in force, or a member excluded: from the next block on others vote."""
        g = self.genesis = self.books.genesis
        self.operator, self.keys = Key(g.operator), g.keys
        self.regime, self.voters, self.quorum = self.books.regime(), self.books.voters(), self.books.quorum()
        self.domain = self.books.domain()

    def _turn(self, iteration):
        return self.voters[iteration % len(self.voters)]

    # -- blocks

    def _blocks(self):
        self.previous, self.last = self.genesis.hash, (-1, 0)  # hash; slot and iteration of the block before
        self.sure = True  # the books rest on good blocks alone
        self.linked = True
        self.waiting = []  # blocks without a certificate, final once a later one is
        for done, slot in enumerate(sorted(self.blocks)):
            self.progress(done, len(self.blocks))
            try:
                block = records.block(self.blocks[slot].read_bytes())
            except Malformed as e:
                self.fault(f"block {slot}", str(e))
                block = None
            if block and block.header.slot != slot and block.certificate and \
                    block.certificate.header_hash == block.header.hash(self.genesis.feeder_id):
                self.fault(f"block {slot}", f"the file holds the block of slot {block.header.slot}")
                block = None
            if block:
                self._block(slot, block)
            else:
                self.sure = self.linked = False
        for slot in self.waiting:
            self.fault(f"block {slot}", "has no certificate, and no later block makes it final")
        self.progress(len(self.blocks), len(self.blocks))
        if self.blocks:
            self.counts["void_slots"] = max(self.blocks) + 1 - len(self.blocks)

    def _block(self, slot, block):
        g, h, where = self.genesis, block.header, f"block {slot}"
        digest = h.hash(g.feeder_id)
        genuine = self._certificate(where, block, digest)
        self._header(where, slot, block, digest, genuine)
        h.slot = slot  # if it was changed, the rest is still checked for what it is
        before = len(self.faults) + self.more
        wrong = self._records(where, block)
        root = salted_root(block.salt, b"b", block.leaves())
        if root != h.body_root and not wrong and genuine == digest:
            self.fault(where, "body: its records have another root than the header states (salt changed, or a record put in or left out)")
        self._book(where, block, genuine == digest, before, wrong)
        self.previous, self.linked = genuine, True
        self.last = slot, h.iteration if genuine == digest else self.last[1] + 1
        self.mmr.append(genuine)
        self.digests[slot] = genuine
        self.counts["blocks"] += 1

    def _certificate(self, where, block, digest):
        """The hash that is final here: the header's, unless the certificate proves that the header is not the real one."""
        g, c = self.genesis, block.certificate
        if c is None:
            self.waiting.append(block.slot)
            return digest
        where += ": certificate"
        message = vote_message(self.domain, c.kind, c.iteration, c.header_hash)
        for m in c.signatures:
            if m not in self.voters:
                self.fault(where, f"names {self.who(m)}, who does not vote" if m < g.n else f"names member {m}, who is nobody of the street")
        votes = {m: s for m, s in c.signatures.items() if m in self.voters}
        bad = [m for m, s in votes.items() if not self.keys[m].signed(message, s)]
        proven = len(votes) - len(bad) >= self.quorum
        if c.kind != FINALIZE:
            self.fault(where, f"is of kind {c.kind}, not a proof of finality")
        if bad and (proven or c.header_hash == digest):
            named = ", ".join(map(self.who, bad)) if len(bad) < len(votes) else "none of them does"
            self.fault(where, "signature does not match: " + named)
        if len(votes) < self.quorum:
            self.fault(where, f"{len(votes)} signatures, {self.quorum} are needed")
        if c.header_hash != digest:
            if proven:
                return c.header_hash  # the header's own check tells
            self.fault(where, "names another header than the one it stands beside")
        elif c.iteration != block.header.iteration and not (c.iteration > block.header.iteration and self._stops(block)):
            self.fault(where, f"is for iteration {c.iteration}, the header is of {block.header.iteration}")
        else:
            self.counts["certificates"] += 1
            self.waiting = []
        return digest

    def _stops(self, block):
        """Whether others vote behind this block: it alone is proposed again, in later iterations, until it is final."""
        epoch = len(self.voters) >= street.COMMITTEE and block.slot // street.EPOCH_SLOTS != self.books.epoch
        return bool(block.evidence or block.amendments or epoch)

    def _header(self, where, slot, block, digest, genuine):
        g, h = self.genesis, block.header
        where += ": header"
        signed = h.proposer < g.n and self.keys[h.proposer].signed(vote_message(self.domain, PROPOSE, h.iteration, genuine), block.signature)
        if genuine != digest:
            self.fault(where, "is not the one that the meters made final" + self._differs(slot, h, genuine))
            if not signed and h.proposer < g.n and self._turn(h.iteration) == h.proposer:
                self.fault(where, f"signature of {self.who(h.proposer)} does not match")
            return
        if h.slot != slot:
            self.fault(where, f"slot {h.slot} in a file of slot {slot}")
        if h.proposer != self._turn(h.iteration):
            turn = self.who(self._turn(h.iteration))
            self.fault(where, f"proposed by {self.who(h.proposer)} in iteration {h.iteration}, the turn of {turn}")
        elif not signed:
            self.fault(where, f"the proposer's signature does not match: {self.who(h.proposer)}")
        if not self.linked:  # what the unreadable file before it held, this header tells
            self.mmr.append(h.previous)
            self.unlinked = self.unlinked or h.accumulator != self.mmr.root()
            return
        if h.previous != self.previous:
            self.fault(where, self._gap(slot, h))
            self.sure = False
        elif h.accumulator != self.mmr.root() and not self.unlinked:
            self.fault(where, "accumulator is not that of all headers before")
        if h.slot <= self.last[0] or h.iteration <= self.last[1]:
            self.fault(where, f"slot {h.slot}, iteration {h.iteration} after slot {self.last[0]}, iteration {self.last[1]}")

    unlinked = False  # a header is missing somewhere before, so accumulators cannot be compared

    def _differs(self, slot, h, genuine):
        """Which field was changed, if a meter still holds the real header."""
        for raw in self.rings.get(slot, ()):
            real = records.Header.read(records.Reader(raw, "header"), "header")
            if real.hash(self.genesis.feeder_id) == genuine:
                return " (changed: " + ", ".join(f for f in h.FIELDS if getattr(h, f) != getattr(real, f)) + ")"
        return ""

    def _gap(self, slot, h):
        self.unlinked = True
        before = f"block {self.last[0]}" if self.last[0] >= 0 else "the genesis"
        for s in sorted(self.rings, reverse=True):
            for raw in self.rings[s]:
                if self.last[0] < s < slot and records.sha256(b"prosumer/header/v1\0", self.genesis.feeder_id, raw) == h.previous:
                    return f"does not follow {before}: the file of block {s} is missing"
        return f"previous hash is not that of {before}"

    # -- records of a body

    def _name(self, record):
        if isinstance(record, records.Envelope):
            return "the operator's envelope"
        if isinstance(record, street.Genesis):
            return f"amendment {record.number}"
        if isinstance(record, records.Evidence):
            return f"evidence against {self.who(record.member)}"
        if isinstance(record, records.Transfer):
            return f"transfer {record.seq} of {'the operator' if record.member == OPERATOR else self.who(record.member)}"
        what = type(record).__name__.lower()
        name = self.names.get(record.member)
        if name:
            return f"{what} of {name} (member {record.member}, slot {record.slot})"
        return f"{what} of member {record.member} (slot {record.slot})"

    def _records(self, where, block):
        """Signatures of the body, and seals of its orders; ids of the records that are wrong."""
        g, wrong, unsure = self.genesis, set(), set()
        for new in block.amendments:
            for text in street.faults(new, self.who):
                self.fault(f"{where}: {self._name(new)}", text)
                wrong.add(id(new))
        for e in block.evidence:
            for r in (e.one, e.other):
                if not isinstance(r, records.Vote) and e.domain != g.feeder_id:
                    self.fault(f"{where}: {self._name(e)}", "is signed for another feeder")
                    wrong.add(id(e))
                if r.member >= g.n or not self.keys[r.member].signed(r.message(e.domain), r.signature):
                    self.fault(f"{where}: {self._name(e)}", "signature does not match")
                    wrong.add(id(e))
        for r in (*block.envelopes, *block.commits, *block.readings, *block.transfers):
            if isinstance(r, records.Envelope) or r.member == OPERATOR and isinstance(r, records.Transfer):
                good = self.operator.signed(r.message(g.feeder_id), r.signature)
                if isinstance(r, records.Envelope) and r.first_slot > r.last_slot:
                    self.fault(f"{where}: {self._name(r)}", "ends before it begins")
            else:
                good = r.member < g.n and self.keys[r.member].signed(r.message(g.feeder_id), r.signature)
            if not good:
                self.fault(f"{where}: {self._name(r)}", "signature does not match" if isinstance(r, records.Envelope) or r.member < g.n or r.member == OPERATOR
                           else "is from nobody of the street")
                wrong.add(id(r))
                if isinstance(r, records.Commit):
                    unsure.add(r.member)
        for o in block.orders:
            sealed = self.sealed.get((o.slot, o.member))
            if sealed and sealed != o.hash(g.feeder_id):
                self.fault(f"{where}: {self._name(o)}", "is not the one that its commit sealed")
                wrong.add(id(o))
        self.sealed = {k: d for k, d in self.sealed.items() if k[0] > block.slot + 1}
        self.sealed.update({(c.slot, c.member): c.digest for c in block.commits if c.member not in unsure})
        return wrong

    sealed = {}  # (slot, member) → digest, of the commits seen so far

    def _book(self, where, block, genuine, before, wrong):
        """Execute the block. Books in doubt are good again once they have the state root of a final header."""
        c, h, told = self.counts, block.header, set()

        def fault(record, text):
            key = type(record), getattr(record, "member", None)  # one thing a member and kind of record: the others follow
            if self.sure and not (record and (id(record) in wrong or key in told)):
                told.add(key)
                self.fault(f"{where}: {self._name(record)}" if record else where, text)

        outcome = self.books.apply(block, fault)
        self.figures.take(block, outcome)
        cleared = outcome.clearing
        root = self.books.root()
        self.sure = (self.sure or genuine and h.state_root == root) and len(self.faults) + self.more == before
        if self.sure and genuine:
            if h.price_ucr_per_kwh != cleared.price_ucr_per_kwh:
                self.fault(f"{where}: header", f"price {h.price_ucr_per_kwh}, but the orders clear at {cleared.price_ucr_per_kwh}")
            if h.volume_mwh != cleared.volume_mwh:
                self.fault(f"{where}: header", f"volume {h.volume_mwh} mWh, but the orders clear {cleared.volume_mwh}")
            if h.state_root != root:
                self.fault(f"{where}: header", "state root is not that of the accounts, positions and commits after this block")
            self.sure = len(self.faults) + self.more == before
        if self.books.balanced():
            c["books_balanced"] += 1
        else:
            self.fault(where, "the books do not add up to zero")
        if self.books.regime() != self.regime:
            self._enter()
        c["transfers"] += len(block.transfers)
        c["excluded"] += len(block.evidence)
        c["amendments"] += len(block.amendments)
        c["readings"] += len(block.readings)
        c["late_readings"] += sum(r.slot < block.slot - 1 for r in block.readings)
        c["commits"] += len(block.commits)
        c["orders"] += len(block.orders)
        c["not_shown"] += len(outcome.penalized)
        c["settlements"] += sum(e.kind in ("settled", "missing", "gap") for e in outcome.entries)
        c["trades"] += sum(1 for b, s in cleared.fills.values() if b or s)
        c["traded_mwh"] += cleared.volume_mwh
        c["imported_mwh"] += cleared.import_mwh
        c["exported_mwh"] += cleared.export_mwh
        c["turnover_ucr"] += sum(e.trade_ucr for e in outcome.entries if e.trade_ucr > 0)
