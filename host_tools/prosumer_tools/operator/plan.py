"""STREET.toml → what the genesis is to say. The file is that of `prosumer neighbourhood`; a feeder's has more keys:

    start = 2026-07-01T00:00:00+02:00   # of slot 0; its offset is the feeder's local time, with no summer time
    [tariff]
    min_price_ucr_per_kwh = 0           # bounds of what neighbours may ask (default: 0 and four times retail)
    max_price_ucr_per_kwh = 1_000_000
    loss_per_mille = 20                 # of what is traded, where no head meter says better (default 20, with a head meter 0)
    band = [{days = "mon-fri", from = "22:00", until = "24:00", retail_ucr_per_kwh = 180_000, feed_in_ucr_per_kwh = 60_000}]
    [rules]
    penalty_ucr = 10_000                # for an order that was sealed and not shown
    credit_limit_ucr = 50_000_000       # how far an account may fall before orders are refused, or "none"
    correction_hours = 24               # how late a reading may come
    accuracy = "indicative"             # lowest class that settles: indicative, A, B, C
    delta_ms = 2000                     # bound of the network's delay
    [[home]]
    key = "64 hex digits"               # the meter's public key, unless --keys or --read brings it
    phase = 1                           # 1 to 3; 0: three-phase
    stores = true                       # a car that gives; a home with a battery stores anyway
    head = true                         # the meter at the feeder's head, no home
"""
import datetime
import re
import tomllib
from dataclasses import dataclass

from prosumer_tools.operator import OperatorError
from prosumer_tools.profiles.street import StreetError, parse_street
from prosumer_tools.street.genesis import CORRECTION_S, CREDIT_UCR, DELTA_MS, LOSS_PER_MILLE, PENALTY_UCR

GENERATES, STORES, HEAD, LEFT = 1, 2, 4, 128
NO_LIMIT = 0xFFFFFFFF
CLASSES = ("indicative", "A", "B", "C")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MIN = 1440
_UINT = 2**32 - 1

# table: {key: (kind, least, most)}; everything else must be known to profiles.street
_EXTRA = {
    "tariff": {"min_price_ucr_per_kwh": (int, 0, 2**30 - 1), "max_price_ucr_per_kwh": (int, 0, 2**30 - 1), "loss_per_mille": (int, 0, 1000),
               "band": (list, 0, 8)},
    "home": {"key": (str, 64, 64), "phase": (int, 0, 3), "stores": (bool, 0, 1), "head": (bool, 0, 1)},
}
_RULES = {"penalty_ucr": (int, 0, _UINT), "correction_hours": (int, 1, 48), "accuracy": (str, 1, 10), "delta_ms": (int, 1, 65535)}
_BAND = {"days": (str, 3, 27), "from": (str, 5, 5), "until": (str, 5, 5), "retail_ucr_per_kwh": (int, 0, 10_000_000),
         "feed_in_ucr_per_kwh": (int, 0, 10_000_000)}


@dataclass
class Member:
    name: str
    key: bytes
    roles: int
    fuse_a: int
    phase: int


@dataclass
class Plan:
    """Numbers as they stand in the genesis; `start_s` and `utc_offset_min` are None when the file does not say."""

    name: str
    start_s: int | None
    slot_s: int
    utc_offset_min: int | None
    numbers: dict
    bands: list        # (days, from_min, until_min, retail, feed_in)
    members: list


def load_plan(path, keys, start=None, known=None):
    """Plan from a TOML file. `keys`: {name: 32 bytes} that were given beside it, `known`: keys of homes that neither names; `start`: instead
    of the file's. OperatorError names the key."""
    try:
        with open(path, "rb") as file:
            tree = tomllib.load(file)
    except OSError as e:
        raise OperatorError(f"cannot read {path}: {e.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise OperatorError(f"{path} is not TOML: {e}") from None
    try:
        return _plan(tree, keys, start, known or {})
    except (StreetError, OperatorError) as e:
        raise OperatorError(f"{path}: {e}") from None


def moment(text):
    """Unix seconds and offset in minutes of a time as people write it, 2026-07-01T00:00+02:00; of a whole number, without an offset."""
    if re.fullmatch(r"\d{1,10}", text):
        return int(text), None
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise OperatorError(f"{text!r} is no time: 2026-07-01T00:00+02:00, or Unix seconds") from None
    return _moment(at, text)


def _moment(at, text):
    if not isinstance(at, datetime.datetime) or at.tzinfo is None:
        raise OperatorError(f"{text}: a time needs date, hour and its offset, as 2026-07-01T00:00:00+02:00")
    if not 0 <= at.timestamp() <= _UINT:
        raise OperatorError(f"{text}: before 1970 or after 2106")
    return int(at.timestamp()), int(at.utcoffset().total_seconds()) // 60


def _plan(tree, keys, start, known):
    tree = dict(tree)
    start_s, offset = (None, None)
    if start is not None:
        start_s, offset = moment(start)
        tree.pop("start", None)
    elif "start" in tree:
        said = tree.pop("start")
        start_s, offset = (said, None) if isinstance(said, int) and not isinstance(said, bool) else _moment(said, f"start = {said}")
    rules = _table(tree.pop("rules", {}), "rules", {**_RULES, "credit_limit_ucr": (object, 0, 0)})
    tariff = tree.get("tariff", {})
    extra, tree["tariff"] = _split(tariff, _EXTRA["tariff"], "tariff")
    homes, more = [], []
    for i, home in enumerate(tree.get("home") or [], 1):
        own, rest = _split(home, _EXTRA["home"], f"home[{i}]")
        homes.append(rest)
        more.append(own)
    tree["home"] = homes
    street = parse_street(tree)
    members = [_member(i, home, own, keys, known) for i, (home, own) in enumerate(zip(street.homes, more), 1)]
    for name in keys.keys() - {m.name for m in members}:
        raise OperatorError(f"there is a key for {name!r}, which is no home of the street")
    heads = [m.name for m in members if m.roles & HEAD]
    if len(heads) > 1:
        raise OperatorError(f"{' and '.join(heads)} are both head meters: a feeder has one")
    if heads and extra.get("loss_per_mille"):
        raise OperatorError("tariff.loss_per_mille: with a head meter the loss is measured: leave it out")
    slot_s, retail = street.slot_minutes * 60, street.tariff.retail_ucr_per_kwh
    numbers = {
        "delta_ms": rules.get("delta_ms", DELTA_MS), "retail_ucr_per_kwh": retail, "feed_in_ucr_per_kwh": street.tariff.feed_in_ucr_per_kwh,
        "min_price_ucr_per_kwh": extra.get("min_price_ucr_per_kwh", 0),
        "max_price_ucr_per_kwh": extra.get("max_price_ucr_per_kwh", 4 * retail),
        "local_fee_ucr_per_kwh": street.tariff.local_fee_ucr_per_kwh, "loss_per_mille": extra.get("loss_per_mille", 0 if heads else LOSS_PER_MILLE),
        "penalty_ucr": rules.get("penalty_ucr", PENALTY_UCR), "import_limit_mwh": mwh(street.feeder.import_limit_kw, slot_s),
        "export_limit_mwh": mwh(street.feeder.export_limit_kw, slot_s), "credit_limit_ucr": _credit(rules.get("credit_limit_ucr", CREDIT_UCR)),
        "correction_s": 3600 * rules.get("correction_hours", CORRECTION_S // 3600), "accuracy": _accuracy(rules.get("accuracy", CLASSES[0]))}
    bands = [_band(b, f"tariff.band[{i}]") for i, b in enumerate(extra.get("band", []), 1)]
    return Plan(street.name, start_s, slot_s, offset, numbers, bands, members)


def mwh(kilowatts, slot_s):
    """Energy of a slot at this power."""
    return round(kilowatts * 1e6) * slot_s // 3600


def public_key(text, where):
    """32 bytes from 64 hex digits."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise OperatorError(f"{where}: a public key is 64 hex digits, as `prosumer provision PORT` shows it")
    return bytes.fromhex(text)


def _member(number, home, own, keys, known):
    where = f"home[{number}]"
    if home.name in keys and own.get("key", keys[home.name].hex()).lower() != keys[home.name].hex():
        raise OperatorError(f"{where}.key: {home.name} has another key there than the one that was given or read")
    if home.name in keys or "key" not in own and home.name in known:
        key = keys.get(home.name) or known[home.name]
    elif "key" in own:
        key = public_key(own["key"], f"{where}.key ({home.name})")
    else:
        raise OperatorError(f"{where}.key: {home.name} has no key yet: write it there, or bring it with --keys or --read")
    if home.fuse_a > 255:
        raise OperatorError(f"{where}.fuse_a: {home.fuse_a} A; a member's fuse has at most 255 A")
    roles = (GENERATES if home.pv_kwp else 0) | (STORES if home.battery or own.get("stores") else 0)
    if own.get("head"):
        if roles:
            raise OperatorError(f"{where}.head: a head meter neither generates nor stores")
        roles = HEAD
    return Member(home.name, key, roles, home.fuse_a, own.get("phase", 1))


def _credit(value):
    if value == "none":
        return NO_LIMIT
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < NO_LIMIT:
        raise OperatorError(f'rules.credit_limit_ucr: {value!r} is neither "none" nor 0 to {NO_LIMIT - 1}')
    return value


def _accuracy(value):
    if value not in CLASSES:
        raise OperatorError(f"rules.accuracy: {value!r} is none of {', '.join(CLASSES)}")
    return CLASSES.index(value)


def _band(entry, where):
    entry = _table(entry, where, _BAND)
    for key in _BAND.keys() - entry.keys():
        raise OperatorError(f"{where}.{key}: missing")
    start, end = (_minute(entry[key], f"{where}.{key}") for key in ("from", "until"))
    if start >= end:
        raise OperatorError(f"{where}.until: must be later in the day than from; a band over midnight is two bands")
    return _days(entry["days"], f"{where}.days"), start, end, entry["retail_ucr_per_kwh"], entry["feed_in_ucr_per_kwh"]


def _minute(text, where):
    found = re.fullmatch(r"([01]\d|2[0-4]):([0-5]\d)", text)
    minute = int(found[1]) * 60 + int(found[2]) if found else _DAY_MIN + 1
    if minute > _DAY_MIN:
        raise OperatorError(f"{where}: {text!r} is not a time of day HH:MM up to 24:00")
    return minute


def _days(text, where):
    """Bits of "mon-fri", "sat", "mon,wed,sun"; bit 0 is Monday."""
    bits = 0
    for part in text.replace(" ", "").split(","):
        ends = part.split("-")
        if len(ends) > 2 or any(day not in DAYS for day in ends):
            raise OperatorError(f"{where}: {part!r} is no day of {', '.join(DAYS)}, nor two of them as mon-fri")
        first, last = DAYS.index(ends[0]), DAYS.index(ends[-1])
        if first > last:
            raise OperatorError(f"{where}: {part!r} ends before it begins")
        bits |= sum(1 << day for day in range(first, last + 1))
    return bits


def _split(entry, rules, where):
    """(what is ours, what profiles.street checks)."""
    if not isinstance(entry, dict):
        raise OperatorError(f"{where}: expected a table")
    return (_table({k: v for k, v in entry.items() if k in rules}, where, rules), {k: v for k, v in entry.items() if k not in rules})


def _table(entry, where, rules):
    if not isinstance(entry, dict):
        raise OperatorError(f"{where}: expected a table")
    for key, value in entry.items():
        if key not in rules:
            raise OperatorError(f"{where}.{key}: unknown key; known are {', '.join(rules)}")
        kind, least, most = rules[key]
        if kind is object:
            continue
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            names = {str: "a text", int: "a whole number", bool: "true or false", list: "a list"}
            raise OperatorError(f"{where}.{key}: {value!r} is not {names[kind]}")
        size = len(value) if kind in (str, list) else value
        if not least <= size <= most:
            raise OperatorError(f"{where}.{key}: {'value' if kind is int else 'length'} {size} is not within {least} to {most}")
    return entry
