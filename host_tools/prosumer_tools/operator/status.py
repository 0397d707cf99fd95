"""The street at a glance, from what the meters say themselves: a row for each member, then what they refused and why."""
from prosumer_tools.operator.plan import HEAD, LEFT
from prosumer_tools.view.text import euro, number

# Counted by a meter, but nothing was refused.
EVENTS = ("pv-curtailed", "over-import", "timeout", "caught-up", "caught-up-unproven", "flood", "old-block")

_TOLD = {  # what an operator should do about a count
    "trust-period": "away for half a year, and believing nobody since: %s. Sign anew: `prosumer feeder amend STREET.toml --renew`, then `publish`",
    "caught-up-unproven": "back after more than a week, by certificate alone: %s. The archive has the proof: `prosumer headers … --continues`",
}


def rows(desk, states, online):
    """[dict] of each member that has not left, in order of members."""
    out = []
    for name, i in desk.living().items():
        s = states.get(name, {})
        number_of, key = s.get("genesis"), s.get("epoch")
        out.append({
            "member": i, "name": name, "online": online.get(name, False), "head": bool(desk.now["members"][i][1] & HEAD),
            "slot": s.get("slot"), "final_slot": s.get("final_slot"), "final_hash": s.get("final_hash"), "genesis": number_of, "epoch": key,
            "grid_mw": s.get("power_mw", {}).get("grid") if isinstance(s.get("power_mw"), dict) else None,
            "balance_ucr": s.get("balance_ucr"), "counts": s.get("counts") if isinstance(s.get("counts"), dict) else {}})
    return out


def summary(desk, members, strangers):
    """{"members", "online", "final_slot", "agree", "refused", "left", "strangers"}; `agree`: nobody names another hash for the last slot."""
    slots = [m["final_slot"] for m in members if isinstance(m["final_slot"], int)]
    last = max(slots, default=None)
    refused = {}
    for m in members:
        for code, count in m["counts"].items():
            if code not in EVENTS and isinstance(count, int):
                refused[code] = refused.get(code, 0) + count
    return {"feeder": desk.now["feeder_id"], "street": desk.now["name"], "members": len(members), "online": sum(m["online"] for m in members),
            "final_slot": last, "behind": [m["name"] for m in members if last is not None and m["final_slot"] != last],
            "agree": len({m["final_hash"] for m in members if m["final_slot"] == last}) <= 1, "refused": refused,
            "left": sum(bool(m[1] & LEFT) for m in desk.now["members"]), "strangers": strangers}


def text(desk, members, total):
    epoch = desk.keys().epoch
    out = [f"{total['street']}, feeder {total['feeder']}: {total['online']} of {total['members']} members online, "
           + (f"last final slot {total['final_slot']}" if total["final_slot"] is not None else "nothing is final yet"), "",
           f"{'member':>6}  {'name':<16}{'':<9}{'final':>7}{'genesis':>9}{'keys':>6}{'grid W':>9}{'balance':>14}  refused"]
    for m in members:
        refused = sum(c for code, c in m["counts"].items() if code not in EVENTS and isinstance(c, int))
        power = "–" if not isinstance(m["grid_mw"], int) else number(m["grid_mw"] / 1000)
        balance = "–" if not isinstance(m["balance_ucr"], int) else euro(m["balance_ucr"])
        out.append(f"{m['member']:>6}  {m['name']:<16}{'online' if m['online'] else 'OFFLINE':<9}{_or(m['final_slot']):>7}{_or(m['genesis']):>9}"
                   f"{_or(m['epoch']):>6}{power:>9}{balance:>14}  {refused or '–'}")
    out.append("")
    if not total["agree"]:
        out.append(f"MEMBERS DISAGREE about slot {total['final_slot']}: they name different blocks as final. Keep all records")
    if total["behind"]:
        out.append(f"behind slot {total['final_slot']}: {', '.join(total['behind'])}")
    old = [m["name"] for m in members if isinstance(m["genesis"], int) and m["genesis"] != desk.now["number"]]
    if old:
        out.append(f"not yet under genesis {desk.now['number']}: {', '.join(old)}")
    late = [m["name"] for m in members if isinstance(m["epoch"], int) and m["epoch"] != epoch]
    if late:
        out.append(f"not yet with the keys of epoch {epoch}: {', '.join(late)}")
    for code, told in _TOLD.items():
        names = [m["name"] for m in members if m["counts"].get(code)]
        if names:
            out.append(told % ", ".join(names))
    if total["refused"]:
        out.append("refused: " + ", ".join(f"{code} {count}" for code, count in sorted(total["refused"].items(), key=lambda item: -item[1])))
    if total["strangers"]:
        out.append(f"also on this broker, of no member's name: {', '.join(total['strangers'])}")
    return "\n".join(out).rstrip()


def _or(value):
    return "–" if value is None else str(value)
