"""All that the archive knows of the ledger's bytes, on top of the decoder and the books of `prosumer verify`. What changes in a record
or in the state changes here and nowhere else in the archive.

    state leaves  the rules (epoch:4 excluded:8 genesis:32, then the slot:4 just cleared and its import_limit_mwh:4 export_limit_mwh:4); of
                  each member its account, its older open trades, its trade of that slot (count:2, then slot:4 price:4 bought_mwh:4
                  sold_mwh:4 each); the common accounts with month:2 operator_seq:4 lost_mwh:8; sealed commits
"""
import base64
import struct
from dataclasses import fields

from prosumer_tools.verify import genesis as street
from prosumer_tools.verify import records
from prosumer_tools.verify.books import Account, Books
from prosumer_tools.verify.keys import Key
from prosumer_tools.verify.records import FINALIZE, OPERATOR, Malformed
from prosumer_tools.verify.rules import Entry

from . import trees

HEADER_SIZE = records.HEADER_SIZE
MOST_BYTES = 1536 + 448 * 64  # of a proposal: the largest street's meters have no room for more (firmware: agent.py)
RUBBISH = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError, struct.error)  # what bytes can do to a decoder
READING, COMMIT, ORDER = 1, 2, 3
BODY, STATE = b"b", b"S"
RULES = 0  # its place among the leaves of the state
_ACCOUNT = ">qQIIQQQ32sQI"


def genesis_of(data):
    """The decoded genesis; Malformed when it breaks a rule or its operator did not sign it."""
    g = records.genesis(data)
    for text in street.faults(g, lambda member: f"member {member}"):
        raise Malformed(f"genesis: {text}")
    return g


def header_at(proposal):
    return records.Header.read(records.Reader(proposal[1:1 + HEADER_SIZE], "header"), "header")


def block_of(proposal, certificate=b""):
    """Decoded proposal (and certificate); Malformed."""
    return records.block(len(proposal).to_bytes(4, "big") + proposal + certificate)


def file_of(proposal, certificate):
    """As a run keeps a block: length, proposal, certificate."""
    return len(proposal).to_bytes(4, "big") + proposal + certificate


def parts_of(data):
    """(proposal, certificate) of such a file."""
    size = int.from_bytes(data[:4], "big")
    if len(data) < 4 or size > len(data) - 4:
        raise Malformed("length field: says more than the file has")
    return data[4:4 + size], data[4 + size:]


def certificate_fault(books, certificate, header, digest):
    """Why this certificate does not make the header final, in the regime that `books` hold; None if it does.

    Its iteration may be a later one: a block that changes who votes is proposed again until it is final."""
    g, voters = books.genesis, books.voters()
    if (certificate.kind, certificate.header_hash) != (FINALIZE, digest) or certificate.iteration < header.iteration:
        return "the certificate is for another header"
    message = records.vote_message(books.domain(), FINALIZE, certificate.iteration, digest)
    good = [m for m, s in certificate.signatures.items() if m in voters and g.keys[m].signed(message, s)]
    if len(good) != len(certificate.signatures) or len(good) < books.quorum():
        return f"{len(good)} good signatures of {len(certificate.signatures)}, {books.quorum()} are needed"
    return None


def trimmed(books, certificate):
    """Certificate bytes with no more signatures than are needed: receipts carry it."""
    keep = dict(sorted(certificate.signatures.items())[:books.quorum()])
    bits = sum(1 << m for m in keep)
    return struct.pack(">BBI32sQ", 7, certificate.kind, certificate.iteration, certificate.header_hash, bits) + b"".join(keep.values())


def from_base64(text):
    return base64.b64decode(text)


# -- the state


def pack_leaves(leaves):
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)


def unpack_leaves(data):
    out, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at:at + 2], "big")
        out.append(data[at + 2:at + 2 + size])
        at += 2 + size
    return out


def regime_of(leaves):
    """(epoch, excluded, hash of the genesis in force) after a block."""
    return struct.unpack_from(">IQ32s", leaves[0])


def account_place(member):
    return 3 * member + 1


def open_place(member):
    """Its trades of slots before the one just cleared, not settled yet."""
    return 3 * member + 2


def trade_place(member):
    """Its trade of the slot just cleared."""
    return 3 * member + 3


def books_of(genesis, salt=bytes(16), leaves=()):
    """The books after a block, from the leaves of its state; those of the genesis without any."""
    books = Books(genesis)
    books.salt = salt
    for m in range((len(leaves) - 3) // 3):
        books.accounts[m] = Account(*struct.unpack(_ACCOUNT, leaves[account_place(m)]))
        for data in leaves[open_place(m)], leaves[trade_place(m)]:
            for slot, price, bought, sold in struct.iter_unpack(">IIII", data[2:]):
                books.positions.setdefault(slot, (price, {}))[1][m] = (bought, sold)
    if leaves:
        books.epoch, books.excluded, _, books.slot, *books.limits = struct.unpack(">IQ32sIII", leaves[RULES])
        books.feeder_ucr, books.utility_ucr, books.month, books.operator_seq, books.lost_mwh = struct.unpack(">qqHIq", leaves[-2])
        r = records.Reader(leaves[-1], "commits")
        for _ in range(r.unpack(">H")[0]):
            slot, count = r.unpack(">IB")
            books.commits[slot] = {r.take(1)[0]: r.take(32) for _ in range(count)}
    return books


def account_of(leaf):
    """{name: value} of an account's leaf."""
    values = struct.unpack(_ACCOUNT, leaf)
    return dict(zip([f.name for f in fields(Account)], values))


def state_root(books):
    return trees.bound(b"\2", len(books.leaves()), _top(trees.salted_leaves(books.salt, STATE, books.leaves())))


def body_root(block):
    leaves = trees.salted_leaves(block.salt, BODY, block.leaves())
    return trees.bound(b"\2", len(leaves), _top(leaves))


def first_leaf(block, part):
    """Where a part of the body, such as `block.orders`, begins among its leaves."""
    return block.leaves().index(part[0].bytes())


def _top(leaves):
    nodes = trees.grown(leaves)
    return trees.fold([nodes[node] for node in trees.full(0, len(leaves))])


# -- what a block did, as rows of the tables


def rows(block, outcome, minted):
    """{table: [row without feeder and height, with the place where there is one]}"""
    price = outcome.clearing.price_ucr_per_kwh
    return {
        "readings": [(r.member, r.slot, r.interval_import_mwh, r.interval_export_mwh, r.interval_generation_mwh, r.uncertainty_mwh,
                      r.flags, r.accuracy) for r in block.readings],
        "trades": [(m, block.slot + 1, price, bought, sold) for m, (bought, sold) in sorted(outcome.clearing.fills.items()) if bought or sold],
        "entries": [(e.member, e.slot, e.kind, *(getattr(e, leg) for leg in Entry.LEGS)) for e in outcome.entries],
        "coins": [(m, m, block.slot, "minted", m, amount, "") for m, amount in sorted(minted.items()) if amount] + _moved(block),
    }


_MINTED = 64  # places of the members' own; transfers stand behind, two for each


def _moved(block):
    """Transfers as (place, member, slot, kind, other, amount, note): coins given stand with both."""
    out = []
    for i, t in enumerate(block.transfers):
        note = t.note.rstrip(b"\0").decode("utf-8", "replace").replace("\0", " ")
        what = {records.GIVE: "given", records.RETIRE: "retired", records.PAY_IN: "paid-in", records.PAY_OUT: "paid-out"}[t.kind]
        if t.kind in (records.PAY_IN, records.PAY_OUT):
            out.append((_MINTED + 2 * i, t.to, block.slot, what, records.OPERATOR, t.amount, note))
            continue
        out.append((_MINTED + 2 * i, t.member, block.slot, what, t.to, t.amount, note))
        if t.kind == records.GIVE:
            out.append((_MINTED + 2 * i + 1, t.to, block.slot, "received", t.member, t.amount, note))
    return out


def transfer_leaf(block, place):
    """Where the transfer behind such a row stands among the leaves of the body."""
    return first_leaf(block, block.transfers) + (place - _MINTED) // 2


# -- what is heard


def voted(books, proposal):
    """(iteration, header hash) that finalize votes for this proposal name."""
    header = header_at(proposal)
    return header.iteration, header.hash(books.genesis.feeder_id)


def proposal_fault(books, proposal):
    """Why nobody need keep this proposal as the next one; None if its proposer signed it."""
    g, header = books.genesis, header_at(proposal)
    if header.proposer not in books.voters():
        return "a proposal of nobody"
    if not _proposed(g, books.domain(), header, proposal[1 + HEADER_SIZE:65 + HEADER_SIZE]):
        return f"a proposal that member {header.proposer} did not sign"
    return None


def _proposed(g, domain, header, signature):
    message = records.vote_message(domain, records.PROPOSE, header.iteration, header.hash(g.feeder_id))
    return header.proposer < g.n and g.keys[header.proposer].signed(message, signature)


def finalize_vote(books, raw, sender):
    """(iteration, header hash, signature) of a good finalize vote; None of any other. Malformed when it is none."""
    r = records.Reader(raw, "vote")
    r.type(6, "vote")
    kind, iteration, member, digest = r.unpack(">BIB32s")
    signature = r.take(64)
    r.end()
    if kind != FINALIZE:
        return None
    g = books.genesis
    message = records.vote_message(books.domain(), kind, iteration, digest)
    if member != sender or member >= g.n or not g.keys[member].signed(message, signature):
        raise Malformed(f"a vote that member {sender} did not sign")
    return iteration, digest, signature


def certificate_of(iteration, digest, signatures):
    bits = sum(1 << m for m in signatures)
    return struct.pack(">BBI32sQ", 7, FINALIZE, iteration, digest, bits) + b"".join(signatures[m] for m in sorted(signatures))


def signature_faults(g, domain, block):
    """Records of the body that who they name did not sign, and a header that its proposer did not: lines; arguments as of `entry_faults`."""
    out, operator = [], Key(g.operator)
    for r in (*block.envelopes, *block.commits, *block.readings, *block.transfers):
        member = getattr(r, "member", OPERATOR)
        key = operator if member == OPERATOR else g.keys[member] if member < g.n else None
        if key is None or not key.signed(r.message(g.feeder_id), r.signature):
            who = "the operator" if member == OPERATOR else f"member {member}"
            out.append(f"{type(r).__name__.lower()} of {who}: its signature does not match")
    return out + entry_faults(g, domain, block)


def entry_faults(g, domain, block):
    """What nobody signed of all that says who votes behind a block, and its header: lines.

    `g`, `domain`: genesis and domain of votes in force before the block."""
    out = []
    for e in block.evidence:
        if e.member >= g.n or not all(g.keys[e.member].signed(r.message(e.domain), r.signature) for r in (e.one, e.other)):
            out.append(f"evidence against member {e.member}: a signature does not match")
    for new in block.amendments:
        out += [f"amendment {new.number}: {text}" for text in street.faults(new, lambda member: f"member {member}")]
    if not _proposed(g, domain, block.header, block.signature):
        out.append("header: its proposer did not sign it")
    return out
