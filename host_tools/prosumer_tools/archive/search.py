"""Searches over readings, trades, entries of the settlement and green coins, each hit with the receipt that proves it."""
import base64

from . import receipts
from .chain import Refused

MOST = 1000
# kind: (columns shown, column of the slot, an SQL expression of the energy that `min_mwh` and `max_mwh` look at)
KINDS = {
    "readings": ("member, slot, import_mwh, export_mwh, generation_mwh, uncertainty_mwh, flags, accuracy", "import_mwh + export_mwh"),
    "trades": ("member, slot, price_ucr_per_kwh, bought_mwh, sold_mwh", "bought_mwh + sold_mwh"),
    "entries": ("member, slot, kind, trade_ucr, loss_ucr, fee_ucr, imbalance_ucr, penalty_ucr, share_ucr, payment_ucr", None),
    "coins": ("member, slot, kind, other, amount, note, height, place", "amount"),
}


def search(archive, feeder, kind, member=None, first=None, last=None, min_mwh=None, max_mwh=None, side=None, limit=100, proofs=True):
    """[{column: value, …, "receipt": base64}], oldest first. `side`: bought or sold (trades), or a kind of coin's change.

    A hit that no certificate covers yet has the receipt None."""
    if kind not in KINDS:
        raise Refused(f"no {kind!r} to search; there are {', '.join(KINDS)}")
    columns, energy = KINDS[kind]
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
        where.append(_side(kind, side, values))
    rows = archive.db.all(f"SELECT {columns} FROM {kind} WHERE {' AND '.join(where)} ORDER BY slot, member LIMIT ?",
                          *values, max(1, min(limit, MOST)))
    found = [dict(zip(columns.split(", "), row)) for row in rows]
    for hit in found:
        place = hit.pop("height", None), hit.pop("place", None)
        if proofs:
            hit["receipt"] = _proof(archive, feeder, kind, hit, place)
    return found


def _side(kind, side, values):
    if kind == "trades" and side in ("bought", "sold"):
        return f"{side}_mwh > 0"
    if kind in ("coins", "entries"):
        values.append(side)
        return "kind = ?"
    raise Refused(f"{kind} cannot be searched by {side!r}")


def _proof(archive, feeder, kind, hit, place):
    try:
        if kind != "coins":
            made = receipts.receipt(archive, feeder, hit["member"], hit["slot"])
        elif hit["kind"] == "minted":
            made = receipts.entry(archive, feeder, hit["member"], hit["slot"])
        else:
            made = receipts.transfer(archive, feeder, hit["member"], *place)
    except Refused:
        return None
    return base64.b64encode(made).decode()
