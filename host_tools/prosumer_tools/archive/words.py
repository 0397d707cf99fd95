"""What a checked receipt proves, in words, and what it leaves hidden."""
import datetime

NO_MONEY = {
    "earlier-rules": "the reading was taken before the certified header, perhaps under an earlier genesis; the books of a whole run tell",
    "not-counted": "the meter doubts its reading, or its accuracy class is too low, so the trade was settled as if nothing had been metered",
    "head": "it is the meter of the feeder's head, which settles nothing of its own",
    "late": "the reading came so late that an earlier block may have settled the trade, as if nothing had been metered",
}


def when(start_s, slot_s, slot, offset_s=0):
    zone = datetime.timezone(datetime.timedelta(seconds=offset_s))
    begin = datetime.datetime.fromtimestamp(start_s + slot * slot_s, zone)
    return f"{begin:%Y-%m-%d %H:%M}–{begin + datetime.timedelta(seconds=slot_s):%H:%M} {zone}"


def kwh(mwh):
    return f"{mwh / 1e6:.6f}".rstrip("0").ljust(5, "0") + " kWh"


def money(ucr, sign=False):
    return f"{ucr / 1e6:{'+' if sign else ''}.6f} EUR"


def price(ucr):
    return f"{ucr / 1e6:.6f}".rstrip("0").ljust(4, "0") + " EUR/kWh"


def text(r, name=None):
    """Lines for a person from what check-receipt found (a dict, see commands/check_receipt.py)."""
    who = f"member {r['member']}" + (f" ({name})" if name else "")
    span = when(r["start_s"], r["slot_s"], r["slot"])
    out = [f"{who} of {r['street']}, slot {r['slot']}: {span}, feeder {r['feeder']}", "",
           "PROVEN, from the genesis alone:" if not r["number"] else "PROVEN, from the genesis and its amendments:"]
    out.append(f"  final      {r['signatures']} of {r['voters']} meters that vote ({r['quorum']} are enough) signed the header of slot {r['header_slot']}"
               f" under genesis number {r['number']}")
    if r["excluded"]:
        out.append(f"  excluded   member {', '.join(map(str, r['excluded']))}, by what it signed itself: two things that contradict each other")
    hidden = ["readings, orders, trades and accounts of all other members"]
    if r["order"]:
        out.append(f"  order      sealed and signed by the meter before the others' were known: {_order(r['order'])}")
    else:
        hidden.append(f"{who}'s order, if there was one")
    if r["trade"]:
        out.append(f"  trade      {_trade(r['trade']) or 'none: nothing bought or sold in this slot'}")
    else:
        hidden.append("whether anything was traded in the slot")
    if r["cleared"]:
        c = r["cleared"]
        out.append(f"  clearing   the street's price {price(c['price_ucr_per_kwh'])}, {kwh(c['volume_mwh'])} from member to member"
                   f" (header of slot {c['slot']})")
    if r["reading"]:
        m = r["reading"]
        out.append(f"  reading    signed by the meter: took {kwh(m['import_mwh'])}, gave {kwh(m['export_mwh'])}, generated {kwh(m['generation_mwh'])},"
                   f" ± {kwh(m['uncertainty_mwh'])}; accuracy class {m['accuracy']}, flags {m['flags']}; taken by block {m['settled_slot']}")
        taken, given, generated = map(kwh, m["registers_mwh"])
        out.append(f"             what it signed says its registers too: {taken} taken, {given} given, {generated} generated")
    else:
        hidden.append("the meter's reading")
    if r["money"]:
        legs = ", ".join(f"{leg} {money(r['money'][leg + '_ucr'], True)}" for leg in ("trade", "loss", "fee", "imbalance"))
        out.append(f"  money      {money(r['money']['member_ucr'], True)} by the rules of settlement ({legs})")
    elif r["no_money"]:
        out.append(f"  money      cannot be told from this: {NO_MONEY[r['no_money']]}")
    if r["account"]:
        a = r["account"]
        out.append(f"  account    after block {r['slot']}: balance {money(a['balance_ucr'], True)}, green coins {kwh(a['green_mwh'])},"
                   f" {kwh(a['retired_mwh'])} retired,"
                   f" registers {kwh(a['import_mwh'])} taken, {kwh(a['export_mwh'])} given; readings settled up to slot {a['next_slot'] - 1}")
    else:
        hidden.append("balance and green coins" if r["reading"] else "balance, green coins and registers")
    if r["open"] is not None:
        trades = "; ".join(f"slot {t['slot']}: {_trade(t)}" for t in r["open"])
        out.append(f"  open       after block {r['slot']}, of slots up to {r['slot']}: {trades or 'nothing'}")
    else:
        hidden.append(f"{who}'s trades of other slots")
    if r["rules"]:
        out += _rules(r["rules"], r["slot"], who)
    for t in r["transfers"]:
        out.append(f"  transfer   in block {t['slot']}: {_transfer(t)}")
    for o in r["others"]:
        out.append(f"  record     of type {o['type']} in block {o['slot']}: {o['hex'][:48]}…")
    out += ["", "NOT SHOWN: " + "; ".join(hidden) + ".", "It does not prove that the meter measured right, only what it signed and the street agreed on."]
    return "\n".join(out)


def _trade(t):
    """In words; empty if nothing was traded."""
    what = " and ".join(f"{verb} {kwh(t[key])}" for verb, key in (("bought", "bought_mwh"), ("sold", "sold_mwh")) if t[key])
    return what and f"{what} at {price(t['price_ucr_per_kwh'])}"


def _rules(r, slot, who):
    roles = [word for bit, word in ((1, "generates"), (2, "stores"), (4, "meters the feeder's head"), (128, "has left")) if r["roles"] & bit]
    fuse = f"fuse {r['fuse_a']} A, {'three phases' if not r['phase'] else 'phase ' + str(r['phase'])}"
    return [f"  rules      genesis number {r['number']} was in force after block {slot - 1}: {who} {', '.join(roles) or 'takes only'}, {fuse}",
            f"             tariff of slot {slot}: retail {price(r['retail_ucr_per_kwh'])}, feed-in {price(r['feed_in_ucr_per_kwh'])},"
            f" local fee {price(r['local_fee_ucr_per_kwh'])}",
            f"             wires of slot {slot}: up to {kwh(r['import_limit_mwh'])} in and {kwh(r['export_limit_mwh'])} out for the whole feeder"]


def _transfer(t):
    note = bytes.fromhex(t["note"]).rstrip(b"\0").decode("utf-8", "replace")
    what = (f"member {t['member']} gave {kwh(t['amount'])} of green coins to member {t['to']}",
            f"member {t['member']} retired {kwh(t['amount'])} of green coins",
            f"the operator booked {money(t['amount'])} that member {t['to']} paid in", f"the operator paid out {money(t['amount'])} to member {t['to']}")
    return what[t["kind"]] + (f" ({note})" if note else "")


def _order(order):
    sides = [f"{verb} {kwh(e)} for {limit} {price(p)}" for verb, limit, side in (("buys", "at most", "buy"), ("sells", "at least", "sell"))
             for p, e in order[side]]
    return "; ".join(sides) or "an empty order"


# -- of a search


def table(hits):
    """Lines, the first with the names of the columns."""
    columns = [c for c in hits[0] if c not in ("receipt", "before")] if hits else []
    rows = [columns, *([" ".join(map(str, h[c])) if isinstance(h[c], list) else str(h[c]) for c in columns] for h in hits)]
    return ["  ".join(v.rjust(len(c)) for v, c in zip(row, columns)) for row in rows] if hits else []


def found(kind, shown, of, skip=0):
    """How many hits there are, and how to see the others."""
    if shown == of:
        return f"{of} {kind}"
    return (f"{shown} of {of} {kind}, after the first {skip}" if skip else f"the first {shown} of {of} {kind}") \
        + ("; --limit and --skip show others" if skip + shown < of else "")


def grown(one, other):
    """What two checked receipts of one member's account prove together, `one` of the earlier block; "" if they are no such two."""
    if not (one.get("account") and other.get("account")) or one["slot"] >= other["slot"] or any(one[k] != other[k] for k in ("feeder", "member")):
        return ""
    more = {k: other["account"][k] - one["account"][k] for k in ("green_mwh", "retired_mwh", "generation_mwh")}
    return (f"member {one['member']} from after block {one['slot']} to after block {other['slot']}: green coins {more['green_mwh'] / 1e6:+.6f} kWh,"
            f" retired {more['retired_mwh'] / 1e6:+.6f} kWh, register of generation {more['generation_mwh'] / 1e6:+.6f} kWh")
