"""Proof that a member lied: two things it signed that an honest meter never signs both. Loaded when there is one to make or check.

    readings  of one sequence number that differ
    commits   of one slot to different orders
    votes     in one iteration: of one kind for different blocks (the dummy is none), or a finalize and the dummy
"""
from prosumer.errors import Reject
from prosumer.records import DUMMY, FINALIZE, VOTE, Commit, Evidence, Reading, Vote


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
