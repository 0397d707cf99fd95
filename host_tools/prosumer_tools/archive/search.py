"""Searches over readings, trades, entries of the settlement and green coins, each hit with what proves it:

    readings, trades    the receipt of the slot
    entries             the same; it proves the money of a slot that its reading settled, of the other kinds what they come from
    coins               of a transfer its record; of minted coins the account after the block, and `before` it: what it grew by
"""
import base64

from . import receipts
from .chain import Refused

MOST = 1000
# kind: (columns shown, column of the slot, an SQL expression of the energy that `min_mwh` and `max_mwh` look at)
KINDS = {
    "readings": ("member, slot, import_mwh, export_mwh, generation_mwh, uncertainty_mwh, flags, accuracy", "import_mwh + export_mwh"),
    "trades": ("member, slot, price_ucr_per_kwh, bought_mwh, sold_mwh", "bought_mwh + sold_mwh"),
    "entries": ("member, slot, kind, trade_ucr, loss_ucr, fee_ucr, imbalance_ucr, penalty_ucr, share_ucr, payment_ucr", None),
    "coins": ("member, slot, kind, other, amount, note, place", "amount"),
}
SIDES = {
    "readings": (), "trades": ("bought", "sold"), "entries": ("settled", "missing", "gap", "penalty", "share", "payment"),
    "coins": ("minted", "given", "received", "retired", "paid-in", "paid-out"),
}


def search(archive, feeder, kind, member=None, first=None, last=None, min_mwh=None, max_mwh=None, side=None, limit=100, proofs=True, skip=0):
    """[{column: value, …, "receipt": base64}], oldest first; at most `limit` of them, without the first `skip`. `side`: one of SIDES. Refused.

    A hit of coins has the slot of its block, and if they were minted `readings`: the slots that they were generated in.
    One that no certificate covers yet has the receipt None."""
    if not 1 <= limit <= MOST or skip < 0:
        raise Refused(f"1 to {MOST} hits at a time, not {limit}" if skip >= 0 else f"no {skip} hits can be left out")
    where, values = _where(feeder, kind, member, first, last, min_mwh, max_mwh, side)
    columns = KINDS[kind][0].split(", ")
    order = "slot, member, height" + ", place" * (kind in ("entries", "coins"))
    rows = archive.db.all(f"SELECT {', '.join(columns)}, height FROM {kind} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?", *values, limit, skip)
    found = []
    for *row, height in rows:
        hit = dict(zip(columns, row))
        place = hit.pop("place", None)
        if kind == "coins":
            hit["readings"] = _read(archive, feeder, hit["member"], height) if hit["kind"] == "minted" else []
        found.append({**hit, **_proof(archive, feeder, kind, hit, height, place)} if proofs else hit)
    return found


def count(archive, feeder, kind, member=None, first=None, last=None, min_mwh=None, max_mwh=None, side=None):
    """How many hits there are in all. Refused."""
    where, values = _where(feeder, kind, member, first, last, min_mwh, max_mwh, side)
    return archive.db.one(f"SELECT count(*) FROM {kind} WHERE {where}", *values)[0]


def keep(folder, kind, hits):
    """The receipts of the hits as files. OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, hit in enumerate(hits):
        for what, end in (("receipt", ""), ("before", "-before")):
            if hit.get(what):
                (folder / f"{kind}-{hit['slot']}-{hit['member']}-{i}{end}.bin").write_bytes(base64.b64decode(hit[what]))


def _where(feeder, kind, member, first, last, min_mwh, max_mwh, side):
    if kind not in KINDS:
        raise Refused(f"no {kind!r} to search; there are {', '.join(KINDS)}")
    energy = KINDS[kind][1]
    where, values = ["feeder = ?"], [feeder]
    for value, clause in ((member, "member = ?"), (first, "slot >= ?"), (last, "slot <= ?")):
        if value is not None:
            where.append(clause)
            values.append(value)
    for value, sign in ((min_mwh, ">="), (max_mwh, "<=")):
        if value is not None:
            if not energy:
                raise Refused(f"{kind} have no energy to search by")
            where.append(f"{energy} {sign} ?")
            values.append(value)
    if side is not None:
        if side not in SIDES[kind]:
            raise Refused(f"{kind} cannot be searched by {side!r}" + (f"; there are {', '.join(SIDES[kind])}" if SIDES[kind] else ""))
        where.append(f"{side}_mwh > 0" if kind == "trades" else "kind = ?")
        values += [side] * (kind != "trades")
    return " AND ".join(where), values


def _read(archive, feeder, member, height):
    """Slots of the member's readings in that block."""
    return [s for s, in archive.db.all("SELECT slot FROM readings WHERE feeder = ? AND member = ? AND height = ? ORDER BY slot", feeder, member, height)]


def _proof(archive, feeder, kind, hit, height, place):
    """{"receipt": base64 or None}, of minted coins with "before"; None there too if no block is before."""
    def made(make, *given):
        try:
            return base64.b64encode(make(archive, feeder, hit["member"], *given)).decode()
        except Refused:
            return None
    if kind != "coins":
        return {"receipt": made(receipts.receipt, hit["slot"])}
    if hit["kind"] != "minted":
        return {"receipt": made(receipts.transfer, height, place)}
    before = made(receipts.entry, archive.block(feeder, height - 1)[0].slot) if height else None
    return {"receipt": made(receipts.entry, hit["slot"]), "before": before}
