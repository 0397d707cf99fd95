"""Is the database lying, or has it lost something? All of it again from the genesis: every block, proof node, state and row.

    result = check(archive, feeder)      → Result(blocks, signatures, faults); a fault is one line
Nothing here trusts the database: what is final is what a quorum of meters signed. A tail that was cut off shows against something else that
knows the chain: a meter's ring of headers, a run, another archive.
"""
import zlib
from dataclasses import dataclass, field

from prosumer_tools.verify.keys import Key
from prosumer_tools.verify.rules import Entry

from . import format
from .chain import Chain, Refused
from .format import Malformed
from .reader import node_rows
from .store import table_rows

MOST = 100  # lines kept
_ROWS = {
    "readings": "member, slot, height, import_mwh, export_mwh, generation_mwh, uncertainty_mwh, flags, accuracy",
    "trades": "member, slot, height, price_ucr_per_kwh, bought_mwh, sold_mwh",
    "entries": "height, place, member, slot, kind, " + ", ".join(Entry.LEGS),
    "coins": "height, place, member, slot, kind, other, amount, note",
}


@dataclass
class Result:
    blocks: int = 0
    signatures: int = 0
    certificates: int = 0
    faults: list = field(default_factory=list)
    more: int = 0

    @property
    def ok(self):
        return not self.faults

    def fault(self, text):
        if len(self.faults) < MOST:
            self.faults.append(text)
        else:
            self.more += 1


def check(archive, feeder, records=True, progress=lambda done, of: None):
    """`records`: also every signature inside the bodies (a quorum checked them before it signed)."""
    db, result = archive.db, Result()
    for line in db.integrity():
        result.fault(f"the database file is damaged: {line}")
    try:
        _walk(archive, feeder, result, records, progress)
    except db.errors as error:
        result.fault(f"the database cannot be read: {str(error).splitlines()[0]}")
    return result


def _walk(archive, feeder, result, records, progress):
    db = archive.db
    found = archive.records_of_genesis(feeder)
    if not found:
        return result.fault("the genesis is missing")
    try:
        genesis = format.genesis_of(found[0])  # its amendments come out of the blocks again
    except Malformed as error:
        return result.fault(str(error))
    if genesis.feeder_id != feeder:
        return result.fault("the genesis is another feeder's")
    listed = db.one("SELECT name FROM feeders WHERE feeder = ?", feeder)
    if listed != (genesis.name,):
        result.fault(f"the list of feeders calls it {listed[0]!r}, its genesis {genesis.name!r}" if listed else "the list of feeders has lost it")
    chain, checked, certified = Chain([genesis]), Key.checked, -1
    of = db.one("SELECT count(*) FROM blocks WHERE feeder = ?", feeder)[0]
    while True:
        rows = db.all("SELECT height, slot, hash, proposal, certificate, state FROM blocks WHERE feeder = ? AND height >= ? "
                      "ORDER BY height LIMIT 256", feeder, chain.height)
        if not rows:
            break
        for height, slot, digest, proposal, certificate, state in rows:
            if height != chain.height:
                return result.fault(f"blocks {chain.height} to {height - 1} (from slot {chain.slot + 1} on) are lost")
            proposal, certificate = bytes(proposal), bytes(certificate)
            in_force, domain = chain.genesis, chain.books.domain()
            try:
                step = chain.add(proposal, certificate)
            except (Refused, Malformed) as error:
                return result.fault(f"height {height}: {error}")
            if certificate:
                certified, result.certificates = height, result.certificates + 1
            if records:
                for line in format.signature_faults(in_force, domain, step.block):
                    result.fault(f"block {step.header.slot}: {line}")
            compare(db, feeder, step, slot, bytes(digest), certificate, bytes(state), result)
            result.blocks += 1
        progress(result.blocks, of)
    for number, record in db.all("SELECT number, record FROM genesis WHERE feeder = ? ORDER BY number", feeder):
        if bytes(record) not in [g.bytes() for g in chain.known.values() if g.number == number]:
            result.fault(f"genesis number {number} is not the one that the blocks brought")
    if len(found) < len(chain.known):
        result.fault(f"{len(chain.known) - len(found)} amendments of the genesis are lost")
    result.signatures = Key.checked - checked
    if certified < chain.height - 1:
        result.fault(f"the last {chain.height - 1 - certified} blocks have no certificate over them")
    _nothing_else(db, feeder, chain.height, result)


def compare(db, feeder, step, slot, digest, certificate, state, result):
    """What stands under a Step's height against what it is: faults into `result`."""
    where = f"block {step.header.slot}"
    if (slot, digest) != (step.header.slot, step.digest):
        result.fault(f"{where}: stands under slot {slot}, or another hash")
    if certificate != step.certificate:
        result.fault(f"{where}: its certificate has more signatures than are needed, or too few")
    try:
        if zlib.decompress(state) != step.state:
            result.fault(f"{where}: the state kept with it is not the one it leads to")
    except zlib.error:
        result.fault(f"{where}: the state kept with it cannot be read")
    kept = node_rows(db, feeder, [(level, place) for level, place, _ in step.nodes])
    for level, place, node in step.nodes:
        if kept.get((level, place)) != node:
            result.fault(f"{where}: node {level}/{place} of the accumulator is {'another' if (level, place) in kept else 'lost'}")
    kept = db.all("SELECT member, record FROM evidence WHERE feeder = ? AND height = ?", feeder, step.height)
    if [(m, bytes(r)) for m, r in kept] != step.evidence:
        result.fault(f"{where}: the evidence kept is not that of the block")
    for table, expected in table_rows(feeder, step.height, step.rows).items():
        found = db.all(f"SELECT feeder, {_ROWS[table]} FROM {table} WHERE feeder = ? AND height = ?", feeder, step.height)
        found = sorted((bytes(f), *rest) for f, *rest in found)
        if found != sorted(expected):
            result.fault(f"{where}: its {table} in the tables of the search are not those of the block"
                         f" ({len(set(expected) - set(found))} lost or changed, {len(set(found) - set(expected))} too many)")


def _nothing_else(db, feeder, height, result):
    for table in _ROWS:
        extra = db.one(f"SELECT count(*) FROM {table} WHERE feeder = ? AND (height >= ? OR height < 0)", feeder, height)[0]
        if extra:
            result.fault(f"{extra} {table} belong to no block")
    nodes = db.one("SELECT count(*) FROM nodes WHERE feeder = ?", feeder)[0]
    if nodes != 2 * height - height.bit_count():
        result.fault(f"the accumulator has {nodes} nodes; {height} headers have {2 * height - height.bit_count()}")


def against(archive, feeder, headers):
    """Compare with headers that somebody else holds (raw, oldest first): lines. One that is newer than all of the archive's was lost."""
    out, last = [], archive.chain(feeder).slot
    newer = 0
    for raw in headers:
        header = format.header_at(b"\x09" + raw)
        row = archive.db.one("SELECT hash FROM blocks WHERE feeder = ? AND slot = ?", feeder, header.slot)
        if header.slot > last:
            newer += 1
        elif not row:
            out.append(f"block {header.slot} is lost: others hold its header")
        elif bytes(row[0]) != header.hash(feeder):
            out.append(f"block {header.slot} is not the one that others hold the header of")
    if newer:
        out.append(f"{newer} blocks after slot {last} are lost: others hold their headers")
    return out[:MOST]
