"""A genesis in words, and what an amendment changes. Both take the firmware's own view of it (record.take_up)."""
import datetime

from prosumer_tools.operator.plan import CLASSES, DAYS, GENERATES, HEAD, LEFT, NO_LIMIT, STORES
from prosumer_tools.operator.record import fingerprint
from prosumer_tools.view.text import euro, kw, number

_ROLES = ((GENERATES, "generates"), (STORES, "stores"), (HEAD, "head meter"), (LEFT, "left"))


def name_of(names, member):
    return names[member] if member < len(names) else f"member {member}"


def roles(bits):
    return ", ".join(word for bit, word in _ROLES if bits & bit) or "takes only"


def cents(ucr_per_kwh):
    """With as many digits as the price has: a tariff is never rounded."""
    return f"{ucr_per_kwh / 10_000:.4f}".rstrip("0").rstrip(".") + " ct/kWh"


def local_time(unix_s, offset_min):
    return datetime.datetime.fromtimestamp(unix_s, datetime.timezone(datetime.timedelta(minutes=offset_min))).isoformat(timespec="minutes")


def days(bits):
    """"mon-fri", "sat,sun"."""
    runs, out = "".join("x" if bits >> i & 1 else " " for i in range(7)), []
    at = 0
    while at < 7:
        if runs[at] == " ":
            at += 1
            continue
        end = at
        while end + 1 < 7 and runs[end + 1] == "x":
            end += 1
        out.append(DAYS[at] if end == at else f"{DAYS[at]}-{DAYS[end]}" if end > at + 1 else f"{DAYS[at]},{DAYS[end]}")
        at = end + 1
    return ",".join(out)


def clock(minute):
    return f"{minute // 60:02d}:{minute % 60:02d}"


def band(b):
    return f"{days(b[0])} {clock(b[1])} to {clock(b[2])}: retail {cents(b[3])}, feed-in {cents(b[4])}"


def _rules(facts):
    """[(what, in words)] of everything but members, in the order it is shown."""
    n, minutes = facts["numbers"], facts["slot_s"] / 60
    credit = n["credit_limit_ucr"]
    return [
        ("start", local_time(facts["start_s"], facts["utc_offset_min"]) + f" (Unix {facts['start_s']})"),
        ("slot", f"{facts['slot_s'] // 60} min" + (f" {facts['slot_s'] % 60} s" if facts["slot_s"] % 60 else "")),
        ("local time", f"UTC{facts['utc_offset_min'] / 60:+g} h all year"),
        ("retail", cents(n["retail_ucr_per_kwh"])), ("feed-in", cents(n["feed_in_ucr_per_kwh"])),
        ("neighbours' prices", f"{cents(n['min_price_ucr_per_kwh'])} to {cents(n['max_price_ucr_per_kwh'])}"),
        ("local fee", cents(n["local_fee_ucr_per_kwh"])), ("loss", f"{n['loss_per_mille']} ‰ of what is traded" if n["loss_per_mille"] else "none"),
        ("limits", f"import {kw(n['import_limit_mwh'], minutes, 3)} kW, export {kw(n['export_limit_mwh'], minutes, 3)} kW (without an envelope)"),
        ("penalty", euro(n["penalty_ucr"]) + " for an order not shown"),
        ("credit limit", "none" if credit == NO_LIMIT else euro(credit)),
        ("late readings", f"{n['correction_s'] / 3600:g} h"), ("lowest class", CLASSES[n["accuracy"]]),
        ("network delay", f"{n['delta_ms']} ms"),
        *[(f"band {i}", band(b)) for i, b in enumerate(facts["bands"], 1)]]


def show(facts, names):
    """The whole genesis, a line each."""
    what = "genesis" if not facts["number"] else f"genesis, amendment {facts['number']}"
    living = sum(not m[1] & LEFT for m in facts["members"])
    out = [f"{facts['name']}: {what}", _row("feeder", facts["feeder_id"]), _row("hash", facts["hash"]),
           _row("operator", f"{facts['operator']} ({fingerprint(facts['operator'])})")]
    out += [_row(*rule) for rule in _rules(facts)]
    out.append(f"{living} members" + (f", {len(facts['members']) - living} left" if living < len(facts["members"]) else ""))
    for i, (key, bits, fuse_a, phase) in enumerate(facts["members"]):
        wires = "3 × " if phase == 0 else ""
        out.append(f"{i:>4}  {name_of(names, i):<16}{fingerprint(key)}  {wires}{fuse_a} A{f' phase {phase}' if phase else ''}, {roles(bits)}")
    return "\n".join(out)


def changes(old, new, names):
    """What `new` changes, a line each; empty when nothing. `names`: of the members of `new`."""
    out = []
    before, after = dict(_rules(old)), dict(_rules(new))
    if old["name"] != new["name"]:
        out.append(f"name: {old['name']} → {new['name']}")
    for what in [*after, *[w for w in before if w not in after]]:
        if before.get(what) != after.get(what):
            out.append(f"{what}: {before.get(what, 'none')} → {after.get(what, 'none')}")
    for i, member in enumerate(new["members"]):
        name = name_of(names, i)
        if i >= len(old["members"]):
            out.append(f"{name} joins as member {i}: {fingerprint(member[0])}, {member[2]} A, {roles(member[1])}")
            continue
        was = old["members"][i]
        if member[1] & LEFT and not was[1] & LEFT:
            out.append(f"{name} (member {i}) leaves; its account stays")
            continue
        if member[0] != was[0]:
            out.append(f"{name} (member {i}) has a new key: {fingerprint(was[0])} → {fingerprint(member[0])}")
        if member[1] != was[1]:
            out.append(f"{name} (member {i}): {roles(was[1])} → {roles(member[1])}")
        if member[2:] != was[2:]:
            out.append(f"{name} (member {i}): fuse {was[2]} A phase {was[3]} → {member[2]} A phase {member[3]}")
    return out


def keys_change(old, new):
    """Whether those who may read the street are others than before."""
    return readers(old) != readers(new)


def readers(facts):
    """Each member's public key by index, None for who left: who gets the feeder's key."""
    return [None if m[1] & LEFT else bytes.fromhex(m[0]) for m in facts["members"]]


def amount(ucr):
    return f"{number(ucr / 1e6, 6).rstrip('0').rstrip('.')} €"


def _row(what, text):
    return f"  {what:<20}{text}"
