"""Makes receipts from the archive (their bytes: firmware/prosumer/ledger/receipt.py) and proofs over the headers.

The certified header is the newest that is needed; those below it are reached by hash links or, where that is shorter, by the accumulator.
"""
import struct

from . import format, trees
from .chain import Refused

TYPE = 14
MAX_SIZE = 4096
SLOT = ("order", "trade", "reading")  # what a receipt shows unless its owner wants otherwise
SHOW = (*SLOT, "rules", "account", "open")


def receipt(archive, feeder, member, slot, show=SLOT):
    """What `member` did in `slot`, and of that only what `show` names.

    order, trade  with the block that cleared the slot; reading  with the block that settled it; of these three, those that there are
    rules         who was a member under which tariff after the block that cleared the slot, and what the wires carried in it
    account       balance, green coins, registers after block `slot`; open  trades up to `slot` that were not settled then"""
    show = show.replace(",", " ").split() if isinstance(show, str) else show
    unknown = [what for what in show if what not in SHOW]
    if unknown or not show:
        raise Refused(f"a receipt cannot show {' '.join(unknown) or 'nothing'}; it can show {', '.join(SHOW)}")
    if not 0 <= member < archive.genesis(feeder).n:
        raise Refused(f"no member {member} on this feeder")
    shown, seal = [], bytes(64)  # shown: (height, tree, leaf index)
    cleared = archive.height_of(feeder, slot - 1)
    for what, block, place in (("rules", slot - 1, format.RULES), ("trade", slot - 1, format.trade_place(member)),
                               ("account", slot, format.account_place(member)), ("open", slot, format.open_place(member))):
        height = archive.height_of(feeder, block) if what in show else None
        if height is not None and place + 2 < len(archive.block(feeder, height)[2]):
            shown.append((height, format.STATE, place))
        elif what in show and what != "trade":
            raise Refused(f"there is no {what} to show: slot {block} has no block, or not with member {member}")
    if cleared is not None and "order" in show:
        block = archive.block(feeder, cleared)[0]
        place = [i for i, o in enumerate(block.orders) if o.member == member]
        if place:
            shown.append((cleared, format.BODY, format.first_leaf(block, block.orders) + place[0]))
            sealed = archive.block(feeder, archive.height_of(feeder, slot - 2))[0]
            seal = [c.signature for c in sealed.commits if c.member == member][0]
    row = archive.db.one("SELECT height FROM readings WHERE feeder = ? AND member = ? AND slot = ?", feeder, member, slot)
    if row and "reading" in show:
        readings = archive.block(feeder, row[0])[0]
        place = [i for i, r in enumerate(readings.readings) if (r.member, r.slot) == (member, slot)][0]
        shown.append((row[0], format.BODY, format.first_leaf(readings, readings.readings) + place))
    if not shown:
        raise Refused(f"nothing is known of slot {slot}: it was void and has no reading of member {member}, or it is not final yet"
                      if set(SLOT) <= set(show) else f"there is no {', '.join(show)} of member {member} in slot {slot}")
    return build(archive, feeder, member, slot, shown, seal)


def entry(archive, feeder, member, slot=None, show=("account",)):
    """A member's own entry of the state after block `slot` (default: the newest certified one)."""
    if slot is None:
        slot = _newest(archive, feeder)[1]
    return receipt(archive, feeder, member, slot, show)


def _newest(archive, feeder):
    """(height, slot) of the newest block with a certificate of its own."""
    newest = archive.db.one("SELECT height, slot FROM blocks WHERE feeder = ? AND certificate <> ? ORDER BY height DESC LIMIT 1", feeder, b"")
    if not newest:
        raise Refused("there is no final block yet")
    return newest


def transfer(archive, feeder, member, height, place):
    """A transfer of coins or money that stands in a block, for whom it concerns."""
    return record(archive, feeder, member, height, format.transfer_leaf(archive.block(feeder, height)[0], place))


def record(archive, feeder, member, height, index):
    """Any other record of a body, by its place among the leaves."""
    return build(archive, feeder, member, archive.block(feeder, height)[0].slot, [(height, format.BODY, index)])


def build(archive, feeder, member, slot, shown, seal=bytes(64)):
    """The bytes of a receipt that shows these leaves: [(height, tree, index)]."""
    wanted = sorted({height for height, _, _ in shown}, reverse=True)
    epoch, excluded, genesis = regime = archive.regime_before(feeder, wanted[0])
    tops = archive.certified(feeder, wanted[0], 1)
    if tops != [wanted[0]]:  # final by a later one: the one that makes the shortest receipt, of those who voted for this one
        tops = [top for top in archive.certified(feeder, wanted[0], 8) if archive.regime_before(feeder, top) == regime]
    if not tops:  # a block that ends a regime has its own certificate, so this one is not final yet
        raise Refused(f"block {archive.block(feeder, wanted[0])[0].slot} has no certificate yet; the next final block brings one")
    headers, place, top = min([(*_headers(archive, feeder, top, wanted), top) for top in tops], key=lambda made: len(made[0]))
    proofs = [_against(archive, feeder, m, wanted[0]) for m in range(64) if excluded >> m & 1]
    out = struct.pack(">BBIIQHB", TYPE, member, slot, epoch, excluded, genesis.number, len(proofs)) + b"".join(proofs)
    out += archive.block(feeder, top)[1] + bytes([len(place)]) + headers
    out += bytes([len(shown)])
    for height, tree, index in shown:
        records, nodes = archive.leaf_nodes(feeder, height, tree)
        path = trees.tops(trees.path_ranges(len(records), index), lambda _, nodes=nodes: nodes)
        out += struct.pack(">BcHH", place[height], tree, index, len(records)) + trees.leaf_salt(archive.block(feeder, height)[0].salt, tree, index)
        out += struct.pack(">H", len(records[index])) + records[index] + bytes([len(path)]) + b"".join(path)
    if len(out + seal) > MAX_SIZE:  # the reading came days late and its block has no certificate of its own
        raise Refused(f"the receipt would have {len(out + seal):,} bytes; show less in each of two")
    return out + seal


def _against(archive, feeder, member, height):
    """The evidence that a member is excluded by, before that block."""
    row = archive.db.one("SELECT record FROM evidence WHERE feeder = ? AND member = ? AND height < ? ORDER BY height DESC LIMIT 1", feeder, member, height)
    if not row:
        raise Refused(f"the evidence against member {member} is lost: `prosumer archive check` tells what else")
    return bytes(row[0])


def _headers(archive, feeder, top, wanted):
    """(bytes of the headers, {height: place among them})"""
    out, place, at = _header(archive, feeder, top), {top: 0}, top
    for height in wanted:
        if height == at:
            continue
        ranges = trees.path_ranges(at, height)
        if (at - height) * 147 <= 147 + 9 + 32 * len(ranges):
            for h in range(at - 1, height - 1, -1):
                place[h] = len(place)
                out += b"\0" + _header(archive, feeder, h)
        else:
            path = trees.tops(ranges, lambda nodes: archive.nodes(feeder, nodes))
            place[height] = len(place)
            out += struct.pack(">BIIB", 1, at, height, len(path)) + b"".join(path) + _header(archive, feeder, height)
        at = height
    return out, place


def _header(archive, feeder, height):
    return archive.proposal(feeder, height)[1:1 + format.HEADER_SIZE]


# -- proofs over the headers alone


def inclusion(archive, feeder, height, count):
    """Siblings, 32 B each, of header `height` in the accumulator over `count` headers."""
    return trees.tops(trees.path_ranges(count, height), lambda nodes: archive.nodes(feeder, nodes))


def consistency(archive, feeder, old, new):
    """That the first `old` of `new` headers are the same ones."""
    if not 0 < old <= new <= archive.chain(feeder).height:
        raise Refused(f"a consistency proof is from 1 to {archive.chain(feeder).height} headers")
    return trees.tops(trees.consistency_ranges(old, new), lambda nodes: archive.nodes(feeder, nodes))


def catch_up(archive, feeder, old):
    """For whoever holds the accumulator of `old` headers: the newest certified header and the proof that it continues them.

    → {"old", "new", "header", "certificate", "proof"}: `new` headers are covered by the header's accumulator."""
    top, _ = _newest(archive, feeder)
    if top < old:
        raise Refused(f"there is no final block above {old} headers")
    proof = consistency(archive, feeder, old, top) if old else []
    return {"old": old, "new": top, "header": _header(archive, feeder, top), "certificate": archive.block(feeder, top)[1], "proof": b"".join(proof)}


def final(archive, feeder, slot=None):
    """That the header of `slot` (default: the newest that is final) is one of the street's: its place under the newest, and a receipt for that.

    → {"slot", "index", "header", "count", "newest", "proof", "receipt"}: the accumulator of `newest` covers `count` headers, `header` is number
    `index` of them (its siblings in `proof`) or `newest` itself. The receipt shows the rules after the newest block, which are public."""
    top, last = _newest(archive, feeder)
    height = top if slot is None else archive.height_of(feeder, slot)
    if height is None or height > top:
        raise Refused(f"slot {slot} has no block that is final here; the newest is that of slot {last}")
    return {"slot": last if slot is None else slot, "index": height, "header": _header(archive, feeder, height), "count": top,
            "newest": _header(archive, feeder, top), "proof": b"".join(inclusion(archive, feeder, height, top) if height < top else []),
            "receipt": receipt(archive, feeder, 0, last + 1, ("rules",))}
