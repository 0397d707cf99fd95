"""The street: homes with their devices, tariff, feeder limits. Read from TOML, every key checked.

    name = "Rue des Oliviers"
    slot_minutes = 15
    seed = 1
    [tariff]
    retail_ucr_per_kwh = 250_000        # 1 credit ~ 1 EUR = 1_000_000 ucr
    feed_in_ucr_per_kwh = 60_000
    local_fee_ucr_per_kwh = 20_000
    [feeder]
    import_limit_kw = 36.0
    export_limit_kw = 15.0
    [[home]]
    name = "olivier"
    kind = "house"                      # house | shop
    fuse_a = 45
    pv_kwp = 6.0
    battery = {capacity_kwh = 10.0, power_kw = 5.0, efficiency_percent = 92, initial_percent = 20}
    ev = {power_kw = 7.4, need_kwh = 12.0, plugged_from = "09:30", plugged_until = "17:00"}
"""
import dataclasses
import re
import tomllib
from dataclasses import dataclass, field

from .read import MAX_HOMES


class StreetError(ValueError):
    """A street description that cannot be used; the message names the key."""


@dataclass(frozen=True)
class Tariff:
    """What the utility asks and pays, and the fee for using the street's wires; micro-credits per kWh."""
    retail_ucr_per_kwh: int = 250_000
    feed_in_ucr_per_kwh: int = 60_000
    local_fee_ucr_per_kwh: int = 20_000


@dataclass(frozen=True)
class Feeder:
    """What the cable may carry at the transformer, kW."""
    import_limit_kw: float = 36.0
    export_limit_kw: float = 36.0


@dataclass(frozen=True)
class Battery:
    """efficiency_percent is the round trip, initial_percent the charge at the start of the run."""
    capacity_kwh: float
    power_kw: float
    efficiency_percent: int = 92
    initial_percent: int = 20


@dataclass(frozen=True)
class Ev:
    """A car that needs need_kwh in its battery between two local times of each day."""
    power_kw: float
    need_kwh: float
    plugged_from: str
    plugged_until: str

    def window_s(self):
        """(from, until) as seconds after local midnight."""
        return _clock(self.plugged_from), _clock(self.plugged_until)


@dataclass(frozen=True)
class Home:
    name: str
    kind: str = "house"
    fuse_a: int = 45
    pv_kwp: float = 0.0
    battery: Battery | None = None
    ev: Ev | None = None


@dataclass(frozen=True)
class Street:
    homes: tuple
    name: str = "street"
    slot_minutes: int = 15
    seed: int = 1
    tariff: Tariff = field(default_factory=Tariff)
    feeder: Feeder = field(default_factory=Feeder)

    def home(self, name):
        for home in self.homes:
            if home.name == name:
                return home
        raise KeyError(name)


# key: (type, least, most); everything not named here is refused
_RULES = {
    Street: {"name": (str, 1, 60), "slot_minutes": (int, 1, 60), "seed": (int, 0, 2**31 - 1)},
    Tariff: {"retail_ucr_per_kwh": (int, 0, 10_000_000), "feed_in_ucr_per_kwh": (int, 0, 10_000_000),
             "local_fee_ucr_per_kwh": (int, 0, 10_000_000)},
    Feeder: {"import_limit_kw": (float, 0, 2000), "export_limit_kw": (float, 0, 2000)},
    Battery: {"capacity_kwh": (float, 0.1, 1000), "power_kw": (float, 0.1, 1000), "efficiency_percent": (int, 50, 100),
              "initial_percent": (int, 0, 100)},
    Ev: {"power_kw": (float, 0.1, 350), "need_kwh": (float, 0, 200), "plugged_from": (str, 5, 5), "plugged_until": (str, 5, 5)},
    Home: {"name": (str, 1, 24), "kind": (str, 1, 10), "fuse_a": (int, 1, 1000), "pv_kwp": (float, 0, 1000)},
}
_KINDS = ("house", "shop")


def load_street(path):
    """Street from a TOML file. Raises StreetError naming the key (or the line, for a syntax error)."""
    try:
        with open(path, "rb") as file:
            tree = tomllib.load(file)
    except OSError as e:
        raise StreetError(f"cannot read {path}: {e.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise StreetError(f"{path} is not TOML: {e}") from None
    return parse_street(tree)


def parse_street(tree):
    """Street from the tree that tomllib gives; raises StreetError."""
    tables = {"tariff": Tariff, "feeder": Feeder}
    values = {key: value for key, value in tree.items() if key not in ("tariff", "feeder", "home")}
    for key, kind in tables.items():
        if key in tree:
            values[key] = _build(kind, tree[key], key)
    homes = tree.get("home")
    if not isinstance(homes, list) or not homes:
        raise StreetError("home: at least one [[home]] is needed")
    if len(homes) > MAX_HOMES:
        raise StreetError(f"home: {len(homes)} homes; at most {MAX_HOMES} can trade")
    values["homes"] = tuple(_home(entry, f"home[{i}]") for i, entry in enumerate(homes, 1))
    street = _build(Street, values, "", skip=("homes", "tariff", "feeder"))
    return _check(street)


def street_of(profiles, **changes):
    """A street for profiles that came without a description: PV rated at the highest power seen, no devices, defaults else."""
    homes = tuple(Home(name, pv_kwp=round(float(profiles.pv_mw[name].max()) / 1e6, 2) if name in profiles.pv_mw else 0.0)
                  for name in profiles.homes)
    return dataclasses.replace(Street(homes), **changes)


def check_profiles(street, profiles):
    """Both must name the same homes; a home with a PV column must be rated for it. Raises StreetError."""
    known, given = [home.name for home in street.homes], set(profiles.homes)
    for name in sorted(given - set(known)):
        raise StreetError(f"home {name!r} is in the profiles but not in the street")
    for home in street.homes:
        if home.name not in given:
            raise StreetError(f"home {home.name!r} is in the street but not in the profiles (no column {home.name}_load_w)")
        if home.pv_kwp and home.name not in profiles.pv_mw:
            raise StreetError(f"home {home.name!r} has pv_kwp = {home.pv_kwp} but no column {home.name}_pv_w")
        if not home.pv_kwp and home.name in profiles.pv_mw and profiles.pv_mw[home.name].any():
            raise StreetError(f"home {home.name!r} generates in the profiles but has no pv_kwp")
    return street


def _home(entry, where):
    if not isinstance(entry, dict):
        raise StreetError(f"{where}: expected a table")
    entry = dict(entry)
    for key, kind in (("battery", Battery), ("ev", Ev)):
        if key in entry:
            entry[key] = _build(kind, entry[key], f"{where}.{key}")
    return _build(Home, entry, where, skip=("battery", "ev"))


def _build(kind, entry, where, skip=()):
    if not isinstance(entry, dict):
        raise StreetError(f"{where}: expected a table")
    dot = where + "." if where else ""
    rules, out = _RULES[kind], {}
    for key, value in entry.items():
        if key in skip:
            out[key] = value
            continue
        if key not in rules:
            raise StreetError(f"{dot}{key}: unknown key; known are {', '.join(list(rules) + list(skip))}")
        out[key] = _value(value, *rules[key], dot + key)
    for each in dataclasses.fields(kind):
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING and each.name not in out:
            raise StreetError(f"{dot}{each.name}: missing")
    return kind(**out)


def _value(value, kind, least, most, where):
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise StreetError(f"{where}: {value!r} is not {'a text' if kind is str else 'a whole number' if kind is int else 'a number'}")
    size = len(value) if kind is str else value
    if not least <= size <= most:
        what = "length" if kind is str else "value"
        raise StreetError(f"{where}: {what} {size} is not within {least} to {most}")
    return value


def _check(street):
    tariff, seen = street.tariff, set()
    if tariff.feed_in_ucr_per_kwh > tariff.retail_ucr_per_kwh:
        raise StreetError("tariff.feed_in_ucr_per_kwh: the utility cannot pay more than it asks (retail_ucr_per_kwh)")
    for i, home in enumerate(street.homes, 1):
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,23}", home.name):
            raise StreetError(f"home[{i}].name: {home.name!r} is not lower-case letters, digits and '-'")
        if home.name in seen:
            raise StreetError(f"home[{i}].name: {home.name!r} appears twice")
        seen.add(home.name)
        if home.kind not in _KINDS:
            raise StreetError(f"home[{i}].kind: {home.kind!r} is none of {', '.join(_KINDS)}")
        if home.ev:
            start, end = (_clock(text, f"home[{i}].ev.{key}") for key, text in
                          (("plugged_from", home.ev.plugged_from), ("plugged_until", home.ev.plugged_until)))
            if end <= start:
                raise StreetError(f"home[{i}].ev.plugged_until: must be later in the day than plugged_from")
            if home.ev.need_kwh > home.ev.power_kw * (end - start) / 3600:
                raise StreetError(f"home[{i}].ev.need_kwh: more than {home.ev.power_kw:g} kW can charge while plugged")
    return street


def _clock(text, where="time"):
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", text)
    if not found:
        raise StreetError(f"{where}: {text!r} is not a time of day HH:MM")
    return int(found[1]) * 3600 + int(found[2]) * 60
