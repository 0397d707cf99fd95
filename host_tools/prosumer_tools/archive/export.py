"""Tables of one feeder as CSV or Parquet, with the beginning of each slot in UTC."""
import csv
import datetime
from pathlib import Path

from . import format
from .search import KINDS

FORMATS = ("csv", "parquet")
HEADERS = ("height", "slot", "iteration", "proposer", "price_ucr_per_kwh", "volume_mwh", "hash", "certified")


def export(archive, feeder, folder, kind="csv", first=0, last=1 << 32):
    """Write readings, trades, entries, coins, headers of slots [first, last] into `folder`; [(path, rows)]."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for name, columns, rows in tables(archive, feeder, first, last):
        path = folder / f"{name}.{kind}"
        (_csv if kind == "csv" else _parquet)(path, columns, rows)
        out.append((path, len(rows)))
    return out


def tables(archive, feeder, first=0, last=1 << 32):
    g = archive.genesis(feeder)

    def start(slot):
        return datetime.datetime.fromtimestamp(g.start_s + slot * g.slot_s, datetime.timezone.utc)

    for name, (columns, _) in KINDS.items():
        columns = columns.split(", ")
        rows = archive.db.all(f"SELECT {', '.join(columns)} FROM {name} WHERE feeder = ? AND slot >= ? AND slot <= ? ORDER BY slot, member",
                              feeder, first, last)
        at = columns.index("slot")
        yield name, ["start", *columns], [(start(row[at]), *row) for row in rows]
    rows = []
    for height, proposal, digest, certificate in archive.db.all(
            "SELECT height, proposal, hash, certificate FROM blocks WHERE feeder = ? AND slot >= ? AND slot <= ? ORDER BY height", feeder, first, last):
        h = format.header_at(bytes(proposal))
        rows.append((start(h.slot), height, h.slot, h.iteration, h.proposer, h.price_ucr_per_kwh, h.volume_mwh, bytes(digest).hex(), bool(certificate)))
    yield "headers", ["start", *HEADERS], rows


def _csv(path, columns, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(columns)
        out.writerows([row[0].strftime("%Y-%m-%dT%H:%M:%SZ"), *row[1:]] for row in rows)


def _parquet(path, columns, rows):
    import pyarrow
    import pyarrow.parquet
    types = {"start": pyarrow.timestamp("ms", tz="UTC"), "kind": pyarrow.string(), "note": pyarrow.string(), "hash": pyarrow.string(),
             "certified": pyarrow.bool_()}
    arrays = [pyarrow.array([row[i] for row in rows], types.get(name, pyarrow.int64())) for i, name in enumerate(columns)]
    pyarrow.parquet.write_table(pyarrow.table(arrays, names=columns), path)
