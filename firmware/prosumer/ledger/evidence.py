"""Proof that a member lied: two things it signed that an honest meter never signs both. Loaded when there is one to make or check.

    readings  of one sequence number that differ
    commits   of one slot to different orders
    votes     in one iteration: of one kind for different blocks (the dummy is none), or a finalize and the dummy
"""
from prosumer import durable
from prosumer.codec import Cursor, list_pieces
from prosumer.errors import Reject
from prosumer.records import DUMMY, FINALIZE, MAX_MEMBERS, VOTE, Commit, Evidence, Reading, Vote


def _conflict(a, b):
    if type(a) is not type(b) or a.member != b.member:
        return False
    if isinstance(a, Reading):
        return a.seq == b.seq and a.raw != b.raw
    if isinstance(a, Commit):
        return a.slot == b.slot and a.digest != b.digest
    if a.iteration != b.iteration or a.header_hash == b.header_hash:
        return False
    if a.kind == b.kind:
        return DUMMY not in (a.header_hash, b.header_hash)
    return (VOTE, DUMMY, FINALIZE) in ((a.kind, a.header_hash, b.kind), (b.kind, b.header_hash, a.kind))


def find(a, b, domain):
    """The Evidence in two verified records that were signed under one domain, or None."""
    if _conflict(a, b):
        one, other = sorted([a.pack(), b.pack()])
        return Evidence(bytes([12, a.member]) + domain + one + other)


def check(evidence, members):
    """Reject('no-evidence'|'bad-signature'|…) unless its member signed both."""
    a, b = evidence.pair()
    if a.member != evidence.member or not a.pack() < b.pack() or not _conflict(a, b):
        raise Reject("no-evidence")
    domain = evidence.domain
    if domain != members.genesis.feeder_id and not isinstance(a, Vote):
        raise Reject("no-evidence")
    for r in (a, b):
        members.check(r.member, r.message(domain), r.signature)


def kept(folder):
    """What is known against excluded members."""
    return Cursor(durable.load(folder + "evidence") or b"\0").records(Evidence, MAX_MEMBERS)


def keep(folder, found):
    """What excludes a member, so that it convinces whoever comes back later."""
    known, found = kept(folder), list(found)
    raw = [e.raw for e in known]
    if [e for e in found if e.raw not in raw]:
        liars = [e.member for e in found]  # of one who came back with another key and lied again the newer counts
        durable.save(folder + "evidence", *list_pieces([e for e in known if e.member not in liars] + found))
