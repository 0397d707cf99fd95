"""`prosumer settle SLOT.json`: clearing → settlement, by the firmware's own code on the Unix port; `prosumer settle RUN --slot N`: of a run.

In:  {"tariff": {as for `prosumer clear`}, "price_ucr_per_kwh": …,
      "members": [{"member": 0, "bought_mwh": …, "sold_mwh": …, "import_mwh": …, "export_mwh": …}, …]}
     A member whose reading is awaited has no import_mwh and export_mwh; "missing": true settles it by the
     missing-reading rule. "generation_mwh" (advance of its PV register) mints green coins, "penalty_ucr" is paid on
     top. The slot may give "head_net_mwh" (import − export at a feeder-head meter); without it losses go by the tariff.
Out: {"members": [{"member", "change_ucr", "trade_ucr", "loss_ucr", "fee_ucr", "imbalance_ucr", "penalty_ucr",
      "short_mwh", "long_mwh", "open", "green_mwh", "utility_only_ucr"}, …], "feeder": {…}, "utility_ucr", "sum_ucr": 0}
Changes of balances in micro-credits, negative: pays. `utility_only_ucr` is the same slot without the market.
"""
import json
from pathlib import Path

from prosumer_tools.commands.clear import BadInput, command, field, read_json, refusal, tariff_numbers
from prosumer_tools.unixport import run_firmware

SCRIPT = """
import json, sys
from prosumer.errors import Reject
from prosumer.market.settlement import lost_mwh, settle, settle_open
from prosumer.market.statement import make_tariff, settle_missing, utility_only
from prosumer.market.statement import books

def settled(tariff, price, members, head_net):
    try:
        tariff = make_tariff(*tariff)
    except Reject as e:
        return {"refused": e.code}
    if not tariff.min_price_ucr_per_kwh <= price <= tariff.max_price_ucr_per_kwh:
        return {"refused": "price-out-of-bounds"}
    entries, out = [], []
    bought = sold = net = penalties = 0
    for member, b, s, imported, exported, missing, generation, penalty in members:
        if missing:
            entry = settle_missing(tariff, price, b, s)
        elif imported is None:
            entry = settle_open(tariff, price, b, s)
        else:
            entry = settle(tariff, price, b, s, imported, exported)
        metered = imported is not None and not missing
        entries.append(entry)
        bought += b
        sold += s
        penalties += penalty
        if metered:
            net += imported - exported
        out.append([member, entry.member_ucr - penalty, entry.trade_ucr, entry.loss_ucr, entry.fee_ucr,
                    entry.imbalance_ucr, -penalty, entry.short_mwh, entry.long_mwh, imported is None and not missing,
                    generation,
                    utility_only(tariff, imported, exported) if metered else None])
    congestion = max(0, price - tariff.retail_ucr_per_kwh, tariff.feed_in_ucr_per_kwh - price)
    loss = lost_mwh(tariff, min(bought, sold), head_net, net)
    b = books(tariff, entries, max(0, bought - sold), max(0, sold - bought), congestion, loss, penalties)
    return [out, list(b), loss, sum([row[1] for row in out]) + b.feeder_ucr + b.utility_ucr]

for line in sys.stdin:
    print(json.dumps(settled(*json.loads(line))))
"""

_ENERGY_CEILING = 1 << 30  # as prosumer.market.book
_MEMBER = ("member", "change_ucr", "trade_ucr", "loss_ucr", "fee_ucr", "imbalance_ucr", "penalty_ucr",
           "short_mwh", "long_mwh", "open", "green_mwh", "utility_only_ucr")
_FEEDER = ("change_ucr", "utility_ucr", "rent_ucr", "loss_ucr", "fee_ucr", "penalty_ucr", "rounding_ucr")
_KNOWN = {"member", "bought_mwh", "sold_mwh", "import_mwh", "export_mwh", "missing", "generation_mwh", "penalty_ucr"}


def _amount(record, name, member, default=None):
    number = record.get(name, default)
    if type(number) is not int or not 0 <= number < _ENERGY_CEILING:
        raise BadInput(f"member {member}: {name!r} must be a whole number from 0 to {_ENERGY_CEILING - 1}")
    return number


def _member(record):
    member = field(record, "member", "a member")
    if type(member) is not int or not 0 <= member <= 0xFFFF:
        raise refusal("order-member-unknown", json.dumps(member))
    unknown = set(record) - _KNOWN
    if unknown:
        raise BadInput(f"member {member}: unknown {sorted(unknown)[0]!r}")
    bought, sold = _amount(record, "bought_mwh", member, 0), _amount(record, "sold_mwh", member, 0)
    if bought and sold:
        raise BadInput(f"member {member}: nobody buys and sells in one slot")
    missing = record.get("missing", False)
    if type(missing) is not bool:
        raise BadInput(f"member {member}: 'missing' must be true or false")
    if record.get("import_mwh") is None and record.get("export_mwh") is None:
        imported = exported = None
    elif missing:
        raise BadInput(f"member {member}: a missing reading has no import_mwh and export_mwh")
    else:
        imported, exported = _amount(record, "import_mwh", member, 0), _amount(record, "export_mwh", member, 0)
    return [member, bought, sold, imported, exported, missing,
            _amount(record, "generation_mwh", member, 0), _amount(record, "penalty_ucr", member, 0)]


def slot_line(slot):
    """A slot as the one line the script reads; BadInput when its shape is wrong."""
    price = field(slot, "price_ucr_per_kwh", "the file")
    if type(price) is not int:
        raise BadInput("price_ucr_per_kwh must be a whole number")
    members = [_member(record) for record in field(slot, "members", "the file", list)]
    numbers = [m[0] for m in members]
    if len(set(numbers)) < len(numbers):
        twice = next(n for n in numbers if numbers.count(n) > 1)
        raise BadInput(f"member {twice}: is in the list twice")
    head = slot.get("head_net_mwh")
    if head is not None and (type(head) is not int or abs(head) >= 1 << 48):
        raise BadInput("head_net_mwh must be a whole number of mWh")
    if head is not None and any(m[3] is None for m in members):
        raise BadInput("head_net_mwh says nothing while a member's reading is awaited or missing")
    return json.dumps([tariff_numbers(slot), price, sorted(members), head])


def settle_slots(slots, heap="1M"):
    """The result of each slot, or a BadInput in its place; one run of the firmware for all of them."""
    results, lines = [], []
    for slot in slots:
        try:
            lines.append(slot_line(slot))
            results.append(None)
        except BadInput as error:
            results.append(error)
    answers = iter(run_firmware(SCRIPT, "".join(line + "\n" for line in lines), heap).splitlines())
    return [r or result_of(json.loads(next(answers))) for r in results]


def result_of(answer):
    """What the script's answer for a slot says: the result as printed, or a BadInput."""
    if isinstance(answer, dict):
        return refusal(answer["refused"])
    members, books, loss, total = answer
    feeder = dict(zip(_FEEDER, books))
    utility = feeder.pop("utility_ucr")
    feeder["lost_mwh"] = loss
    return {"members": [dict(zip(_MEMBER, row)) for row in members], "feeder": feeder, "utility_ucr": utility,
            "sum_ucr": total}


def _settle(args):
    from prosumer_tools.statements import slots
    result = settle_slots([slots.chosen(args, Path(args.slot), read_json, slots.slot_of)])[0]
    if isinstance(result, BadInput):
        raise result
    return result


def add_parser(subparsers):
    parser = subparsers.add_parser("settle", help="clearing → settlement: settle one slot (JSON in, JSON out)",
                                   description=__doc__.split("\n\n")[0],
                                   epilog="A slot: tariff, price_ucr_per_kwh, members [{member, bought_mwh, sold_mwh, "
                                   "import_mwh, export_mwh}]; leave the last two out while a reading is awaited, or "
                                   "set \"missing\": true when it never came. \"generation_mwh\" mints green coins.")
    parser.add_argument("slot", metavar="SLOT.json", help="fills and readings of one slot; - for standard input; or the folder of a run")
    parser.add_argument("--slot", dest="slot_of_run", metavar="N", type=int, help="settle this slot of the run again")
    parser.set_defaults(run=command("settle", _settle))
