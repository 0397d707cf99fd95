"""`prosumer clear BOOK.json`: order → clearing, by the firmware's own code on the Unix port; `prosumer clear RUN --slot N`: of a run.

In:  {"slot": 7, "tariff": {"retail_ucr_per_kwh": …, "feed_in_ucr_per_kwh": …},
      "envelope": {"import_limit_mwh": …, "export_limit_mwh": …},
      "orders": [{"member": 0, "buy": [[price_ucr_per_kwh, energy_mwh], …], "sell": […]}, …]}
     The tariff may also give min_price_ucr_per_kwh, max_price_ucr_per_kwh, local_fee_ucr_per_kwh, loss_per_mille;
     the book a "seed" (hex) for the remainders; an order its "slot" and "max_energy_mwh" (fuse, credit) a side.
Out: {"slot", "price_ucr_per_kwh", "congestion_ucr_per_kwh", "volume_mwh", "import_mwh", "export_mwh",
      "fills": [{"member", "bought_mwh", "sold_mwh"}, …]}, members in order.
A book that breaks a rule: one line on standard error that names the member and the reason, exit code 2.
"""
import json
import sys
from pathlib import Path

from prosumer_tools.unixport import FirmwareError, run_firmware

# One book a line in, one result or refusal a line out.
SCRIPT = """
import gc, json, sys
from prosumer.errors import Reject
from prosumer.market.book import ENERGY_CEILING, check_curve, check_member
from prosumer.market.statement import make_tariff
from prosumer.market.clearing import clear

def cleared(slot, tariff, envelope, orders, seed):
    member = None
    try:
        tariff = make_tariff(*tariff)
        for member, buy, sell, max_energy in orders:
            check_member(member)
            check_curve(buy, sell, tariff, ENERGY_CEILING if max_energy is None else max_energy)
        member = None
        c = clear(slot, tariff, envelope, [order[:3] for order in orders], bytes(seed))
    except Reject as e:
        return {"refused": e.code, "member": member}
    return [c.price_ucr_per_kwh, c.congestion_ucr_per_kwh, c.volume_mwh, c.import_mwh, c.export_mwh,
            [[m, c.fills[m][0], c.fills[m][1]] for m in sorted(c.fills)]]

for line in sys.stdin:
    print(json.dumps(cleared(*json.loads(line))))
    gc.collect()
"""

_OUT = ("price_ucr_per_kwh", "congestion_ucr_per_kwh", "volume_mwh", "import_mwh", "export_mwh")
_TARIFF = ("retail_ucr_per_kwh", "feed_in_ucr_per_kwh")
_TARIFF_MORE = {"min_price_ucr_per_kwh": None, "max_price_ucr_per_kwh": (1 << 30) - 1,
                "local_fee_ucr_per_kwh": 0, "loss_per_mille": 0}

REASONS = {
    "tariff-not-integer": "the tariff's numbers must be whole micro-credits",
    "tariff-out-of-range": "a number of the tariff is negative or too large",
    "tariff-out-of-order": "needs 0 ≤ min_price ≤ feed_in ≤ retail ≤ max_price",
    "envelope-not-integer": "the envelope's limits must be whole mWh",
    "envelope-out-of-range": "a limit of the envelope is negative or too large",
    "slot-out-of-range": "the slot must be a whole number from 0",
    "order-too-many-steps": "more than 8 steps on one side",
    "order-not-integer": "prices and energies must be whole numbers",
    "order-energy-not-positive": "a step's energy must be above zero",
    "order-price-out-of-bounds": "a price lies outside the tariff's bounds",
    "order-not-monotone": "buy limits must fall and sell limits must rise from step to step",
    "order-energy-too-large": "the steps of one side add up to more energy than the member may trade",
    "order-sides-overlap": "every sell limit must lie above every buy limit of the same member",
    "order-duplicate": "there are two orders from this member",
    "order-member-unknown": "a member is a whole number from 0 to 65535",
    "order-wrong-slot": "the order is for another slot",
}


class BadInput(ValueError):
    """What the user's file lacks or breaks, in one line."""


def refusal(code, member=None):
    who = "" if member is None else f"member {member}: "
    return BadInput(who + code + (f" ({REASONS[code]})" if code in REASONS else ""))


def field(record, name, where, kind=None):
    """record[name], which must be there and, with `kind`, of that type."""
    if not isinstance(record, dict):
        raise BadInput(f"{where} must be an object, not {type(record).__name__}")
    if name not in record:
        raise BadInput(f"{where} lacks {name!r}")
    if kind is not None and not isinstance(record[name], kind):
        raise BadInput(f"{where}: {name!r} must be {'a list' if kind is list else 'an object'}")
    return record[name]


def tariff_numbers(book):
    """The tariff of a book as `make_tariff` takes it."""
    tariff = field(book, "tariff", "the file", dict)
    unknown = set(tariff) - set(_TARIFF) - set(_TARIFF_MORE)
    if unknown:
        raise BadInput(f"the tariff has an unknown {sorted(unknown)[0]!r}")
    numbers = [field(tariff, name, "the tariff") for name in _TARIFF]
    for name, default in _TARIFF_MORE.items():
        numbers.append(tariff.get(name, default))
        if numbers[-1] is None and name in tariff:
            raise refusal("tariff-not-integer")
    return [sendable(n, "tariff-not-integer") for n in numbers]


def sendable(number, code, member=None):
    """Only integers go to the firmware (Python's JSON also reads NaN and true, which MicroPython's does not)."""
    if number is not None and type(number) is not int:
        raise refusal(code, member)
    return number


def _order(order, slot):
    member = field(order, "member", "an order")
    if type(member) is not int:
        raise refusal("order-member-unknown", json.dumps(member))
    if order.get("slot", slot) != slot:
        raise refusal("order-wrong-slot", member)
    sides = []
    for side in ("buy", "sell"):
        steps = order.get(side, [])
        if not isinstance(steps, list) or not all(isinstance(step, list) and len(step) == 2 for step in steps):
            raise BadInput(f"member {member}: {side!r} must be a list of [price_ucr_per_kwh, energy_mwh]")
        sides.append([[sendable(n if n is not None else "", "order-not-integer", member) for n in step]
                      for step in steps])
    if set(order) - {"member", "buy", "sell", "slot", "max_energy_mwh"}:
        raise BadInput(f"member {member}: the order has an unknown "
                       f"{sorted(set(order) - {'member', 'buy', 'sell', 'slot', 'max_energy_mwh'})[0]!r}")
    return [member, *sides, sendable(order.get("max_energy_mwh"), "order-not-integer", member)]


def book_line(book):
    """A book as the one line the script reads; BadInput when its shape is wrong."""
    slot = field(book, "slot", "the book")
    if type(slot) is not int:
        raise refusal("slot-out-of-range")
    envelope = field(book, "envelope", "the book", dict)
    limits = [field(envelope, name, "the envelope") for name in ("import_limit_mwh", "export_limit_mwh")]
    for limit in limits:
        if type(limit) is not int:
            raise refusal("envelope-not-integer")
    orders = [_order(order, slot) for order in field(book, "orders", "the book", list)]
    seen = set()
    for order in orders:
        if order[0] in seen:
            raise refusal("order-duplicate", order[0])
        seen.add(order[0])
    try:
        seed = list(bytes.fromhex(book.get("seed", "")))
    except (TypeError, ValueError):
        raise BadInput("the seed must be a string of hexadecimal digits") from None
    return json.dumps([slot, tariff_numbers(book), limits, orders, seed])


def clear_books(books, heap="1M"):
    """The result of each book, or a BadInput in its place; one run of the firmware for all of them."""
    results, lines = [], []
    for book in books:
        try:
            lines.append(book_line(book))
            results.append(book["slot"])
        except BadInput as error:
            results.append(error)
    answers = iter(run_firmware(SCRIPT, "".join(line + "\n" for line in lines), heap).splitlines())
    return [r if isinstance(r, BadInput) else result_of(r, json.loads(next(answers))) for r in results]


def result_of(slot, answer):
    """What the script's answer for a book says: the result as printed, or a BadInput."""
    if isinstance(answer, dict):
        return refusal(answer["refused"], answer["member"])
    result = {"slot": slot, **dict(zip(_OUT, answer))}
    result["fills"] = [{"member": m, "bought_mwh": b, "sold_mwh": s} for m, b, s in answer[5]]
    return result


def read_json(path):
    """The JSON of a file, or of standard input for '-'."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not JSON: {error}") from None


def command(name, work):
    """The function of a sub-command: prints `work(args)` as JSON; 2 for bad input, 1 when the firmware fails."""
    def run(args):
        try:
            print(json.dumps(work(args), indent=2))
            return 0
        except BadInput as error:
            print(f"prosumer {name}: {error}", file=sys.stderr)
            return 2
        except FirmwareError as error:
            print(f"prosumer {name}: {error}", file=sys.stderr)
            return 1
    return run


def _clear(args):
    from prosumer_tools.statements import slots
    result = clear_books([slots.chosen(args, Path(args.book), read_json, slots.book_of)])[0]
    if isinstance(result, BadInput):
        raise result
    return result


def add_parser(subparsers):
    parser = subparsers.add_parser("clear", help="order → clearing: clear a book of orders (JSON in, JSON out)",
                                   description=__doc__.split("\n\n")[0],
                                   epilog="A book: slot, tariff {retail_ucr_per_kwh, feed_in_ucr_per_kwh}, envelope "
                                   "{import_limit_mwh, export_limit_mwh}, orders [{member, buy [[price, energy], …], "
                                   "sell}]. Units: micro-credits per kWh, mWh. Examples: tests/vectors/clearing.")
    parser.add_argument("book", metavar="BOOK.json", help="the book of one slot; - for standard input; or the folder of a run")
    parser.add_argument("--slot", dest="slot_of_run", metavar="N", type=int, help="clear this slot of the run again")
    parser.set_defaults(run=command("clear", _clear))
