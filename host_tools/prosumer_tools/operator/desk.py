"""The operator's folder for one feeder. Only operator.pem and feeder-keys.json are secret; the rest is public or signed.

    operator.pem         the signing key, under a passphrase
    feeder-keys.json     the keys that seal the street's records, by epoch (prosumer_tools.feederkeys)
    genesis.bin          number 0; genesis-1.bin, genesis-2.bin …: its amendments
    names.json           the homes' names by member: the genesis has none
    keys-E-genesis-N.bin the key of epoch E wrapped for the members of genesis N, as it is published
    envelope.bin         the envelope signed last; weather.json: the forecast sent last
    payments.csv         seq, kind, member, amount_ucr, note, record, slot (final when the meters had booked it)
"""
import csv
import json
import os
from pathlib import Path

from prosumer_tools.feederkeys import BadSeal, FeederKeys
from prosumer_tools.operator import OperatorError, record, words
from prosumer_tools.operator.plan import LEFT

_PAYMENT = ("seq", "kind", "member", "amount_ucr", "note", "record", "slot")


class Desk:
    """What was signed so far; `chain` and `facts` (of record.take_up) from genesis to the newest amendment."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.key_path = self.folder / "operator.pem"
        self.chain, self.facts, self.names = [], [], []
        while (path := self.genesis_path(len(self.chain))).exists():
            self.chain.append(path.read_bytes())
        if not self.chain:
            return
        self.facts = record.take_up(self.chain)
        try:
            self.names = json.loads((self.folder / "names.json").read_text())
            if len(self.names) < len(self.now["members"]) or not all(isinstance(n, str) for n in self.names):
                raise ValueError
        except (OSError, ValueError):
            raise OperatorError(f"{self.folder / 'names.json'} does not name the {len(self.now['members'])} members") from None

    def opened(self):
        """Itself, if a feeder was started here."""
        if not self.chain:
            raise OperatorError(f"no feeder in {self.folder}: `prosumer feeder new STREET.toml` starts one, --desk names another folder")
        return self

    @property
    def now(self):
        """Facts of the newest genesis."""
        return self.facts[-1]

    @property
    def feeder_id(self):
        return bytes.fromhex(self.now["feeder_id"])

    def genesis_path(self, number):
        return self.folder / (f"genesis-{number}.bin" if number else "genesis.bin")

    def living(self):
        """{name: index} of who has not left."""
        return {self.names[i]: i for i, m in enumerate(self.now["members"]) if not m[1] & LEFT}

    def member(self, name):
        """Index of who has this name, also of one that left; OperatorError."""
        at = [i for i, n in enumerate(self.names) if n == name]
        if not at:
            raise OperatorError(f"{name} is none of {', '.join(self.names)}")
        return at[-1]

    def write(self, path, data):
        """Whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + "~")
        beside.write_bytes(data)
        os.replace(beside, path)
        return path

    def add_genesis(self, raw, names):
        """File the next genesis; OperatorError, and nothing is written, if the firmware does not take it."""
        self.facts = record.take_up([*self.chain, raw])
        self.write(self.folder / "names.json", (json.dumps(names) + "\n").encode())
        path = self.write(self.genesis_path(len(self.chain)), raw)
        self.chain.append(raw)
        self.names = names
        return path

    # -- the feeder's keys

    def keys(self):
        """FeederKeys; without an epoch for a street that runs in plain."""
        path = self.folder / "feeder-keys.json"
        try:
            keys = FeederKeys.load(path) if path.exists() else FeederKeys(self.feeder_id, {})
        except BadSeal as e:
            raise OperatorError(str(e)) from None
        if keys.feeder_id != self.feeder_id:
            raise OperatorError(f"{path} belongs to the feeder {keys.feeder_id.hex()}")
        return keys

    def wrapped(self, epoch):
        """(path, number of the genesis they were wrapped for) of the keys of an epoch; OperatorError when they are gone."""
        for path in self.folder.glob(f"keys-{epoch}-genesis-*.bin"):
            number = path.stem.rpartition("-")[2]
            if number.isdigit() and int(number) < len(self.chain):
                return path, int(number)
        raise OperatorError(f"keys-{epoch}-genesis-N.bin is missing in {self.folder}: `prosumer feeder keys` makes new ones")

    def rotate(self, key, without=()):
        """A new feeder key for the members of the newest genesis but those in `without` (indices): its epoch, filed and wrapped."""
        keys = self.keys()
        try:
            epoch = keys.rotate()
        except BadSeal as e:
            raise OperatorError(str(e)) from None
        readers = [None if i in without else r for i, r in enumerate(words.readers(self.now))]
        keys.save(self.folder / "feeder-keys.json")
        self.write(self.folder / f"keys-{epoch}-genesis-{self.now['number']}.bin", keys.record(key.sign, readers))
        return epoch

    def keys_record(self):
        """The newest keys as published, None for a plain street; OperatorError when who may read has changed since."""
        epoch = self.keys().epoch
        if not epoch:
            return None
        path, number = self.wrapped(epoch)
        if words.keys_change(self.facts[number], self.now):
            raise OperatorError(f"the members have changed since the keys of epoch {epoch}: run `prosumer feeder keys`")
        return path.read_bytes()

    # -- envelope and payments

    def envelope(self):
        """Bytes of the envelope signed last, or None."""
        path = self.folder / "envelope.bin"
        return path.read_bytes() if path.exists() else None

    def weather(self):
        """Bytes of the forecast sent last, or None."""
        path = self.folder / "weather.json"
        return path.read_bytes() if path.exists() else None

    def payments(self):
        """Rows of payments.csv, oldest first, numbers as int, slot None while no meter was seen to have booked it."""
        path = self.folder / "payments.csv"
        if not path.exists():
            return []
        try:
            with open(path, newline="", encoding="utf-8") as file:
                rows = [{**row, **{k: int(row[k]) for k in ("seq", "kind", "member", "amount_ucr")},
                         "slot": int(row["slot"]) if row["slot"] else None, "record": bytes.fromhex(row["record"])}
                        for row in csv.DictReader(file)]
        except (ValueError, KeyError, TypeError):
            raise OperatorError(f"{path} is damaged") from None
        return rows

    def write_payments(self, rows):
        lines = [",".join(_PAYMENT)]
        for row in rows:
            note = '"' + row["note"].replace('"', '""') + '"'
            lines.append(f"{row['seq']},{row['kind']},{row['member']},{row['amount_ucr']},{note},{row['record'].hex()},"
                         + ("" if row["slot"] is None else str(row["slot"])))
        self.write(self.folder / "payments.csv", ("\n".join(lines) + "\n").encode())
