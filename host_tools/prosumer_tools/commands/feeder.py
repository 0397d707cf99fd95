"""`prosumer feeder`: start a feeder, change who and what is in it, book payments, tell the meters, see how the street does.

All that the operator signs for one feeder lies in one folder (--desk, default: here). Whatever is signed is first taken up by the
firmware's own code; --dry-run shows what would be signed and writes nothing. The passphrase of the key is asked for, or taken from
PROSUMER_OPERATOR_PASSPHRASE, the broker's password from PROSUMER_MQTT_PASSWORD.
"""
import argparse
import json
import re
import sys
import time
from decimal import Decimal, InvalidOperation
from pathlib import Path

from prosumer_tools.operator import OperatorError, key, record, status, words
from prosumer_tools.operator.acl import acl
from prosumer_tools.operator.desk import Desk
from prosumer_tools.operator.link import Link
from prosumer_tools.operator.plan import LEFT, Member, load_plan, moment, mwh, public_key
from prosumer_tools.operator.publish import Publisher

_FOREVER = 2**32 - 1
_MOST_UCR = 2**48     # of one payment
_KINDS = {"in": record.PAY_IN, "out": record.PAY_OUT}


def add_parser(subparsers):
    top = subparsers.add_parser("feeder", help="for the operator: start a feeder, change it, book payments, see how the street does",
                                description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = top.add_subparsers(dest="what", required=True, metavar="WHAT")

    def command(name, function, text, **parts):
        p = sub.add_parser(name, help=text, description=text[0].upper() + text[1:])
        p.add_argument("--desk", type=Path, default=Path(), metavar="FOLDER", help="what was signed for this feeder (default: this folder)")
        if parts.get("street"):
            p.add_argument("street", type=Path, metavar="STREET.toml", help="homes, tariff, limits: what the street is to be")
            p.add_argument("--keys", type=Path, metavar="FILE.json", help='the meters\' public keys: {"NAME": "64 hex digits", …}')
            p.add_argument("--read", action="append", default=[], metavar="NAME=PORT", help="read the key of this home's meter from the board at PORT")
        if parts.get("dry"):
            p.add_argument("--dry-run", action="store_true", help="show what would be signed; write and send nothing")
        if "broker" in parts:
            p.add_argument("--broker", required=parts["broker"], metavar="HOST[:PORT]", help="the street's broker" if parts["broker"] else
                           "send it at once and wait until the meters have it (else: `publish` sends it)")
            p.add_argument("--user", help="name at the broker (password: PROSUMER_MQTT_PASSWORD)")
            p.add_argument("--ca", type=Path, metavar="FILE", help="TLS: certificate of who signed the broker's")
            p.add_argument("--cert", type=Path, metavar="FILE", help="TLS: the operator's own certificate")
            p.add_argument("--cert-key", type=Path, metavar="FILE", help="TLS: its key")
        if parts.get("wait"):
            p.add_argument("--wait", type=float, metavar="SECONDS", help="for the meters (default: three slots)")
        p.set_defaults(run=_guarded(function))
        return p

    p = command("new", new, "start a feeder: make the operator's key, sign the genesis", street=True, dry=True)
    p.add_argument("--start", metavar="TIME", help="beginning of slot 0, 2026-07-01T00:00+02:00 or Unix seconds (default: start in STREET.toml)")
    p = command("show", show, "the genesis in words, with the fingerprints to compare by telephone")
    p.add_argument("file", nargs="?", type=Path, metavar="FILE", help="any genesis (default: the newest of this desk)")
    p.add_argument("--history", action="store_true", help="what each amendment changed")
    p.add_argument("--json", action="store_true", help="as the firmware reads it")
    p = command("amend", amend, "join, leave, new key, tariff, limits: sign what makes the street as STREET.toml says", street=True, dry=True)
    p.add_argument("--renew", action="store_true", help="sign a new number though nothing changes, for meters that were away half a year")
    command("acl", access, "mosquitto's access list for this street")
    p = command("keys", keys, "a new key that seals the street's records, wrapped for each member", dry=True)
    p.add_argument("--without", action="append", default=[], metavar="NAME", help="a member that the street has excluded: it gets no key")
    p = command("envelope", envelope, "sign what the cable carries from a slot on", dry=True, broker=False)
    p.add_argument("--import-kw", type=float, required=True, metavar="KW")
    p.add_argument("--export-kw", type=float, required=True, metavar="KW")
    p.add_argument("--from", dest="first", metavar="SLOT|TIME", help="first slot (default: the next but one)")
    p.add_argument("--until", dest="last", metavar="SLOT|TIME", help="last slot, itself included (default: for ever)")
    p = command("weather", weather, "send the forecast by which the meters foresee their roofs; publish sends it again with new keys", broker=False)
    p.add_argument("file", type=Path, metavar="FILE.json", help='hourly W/m²: {"start_s": Unix seconds, "irradiance": [0, 12, 88, …]}, up to 96 hours')
    p = command("pay", pay, "book a payment: in, what a member has paid; out, what it was paid", dry=True, broker=False, wait=True)
    p.add_argument("kind", choices=_KINDS)
    p.add_argument("name", metavar="NAME")
    p.add_argument("amount", metavar="AMOUNT", help="credits, 25.00")
    p.add_argument("--note", default="", help="up to 16 bytes, kept in the ledger")
    p.add_argument("--instead", action="store_true", help="of the last payment, which the meters have not booked: it takes its number")
    command("publish", publish, "send genesis, keys, envelope and payments; wait until the meters show that they have them", broker=True, wait=True)
    p = command("status", state, "the street at a glance: who is online, last final slot, what was refused", broker=True)
    p.add_argument("--json", action="store_true")


def _guarded(function):
    def run(args):
        try:
            return function(args) or 0
        except OperatorError as e:
            print(f"prosumer feeder: {e}", file=sys.stderr)
        except OSError as e:
            print(f"prosumer feeder: {e.filename or args.desk}: {(e.strerror or str(e)).lower()}", file=sys.stderr)
        return 2
    return run


# -- what is signed

def new(args):
    desk = Desk(args.desk)
    if desk.chain:
        raise OperatorError(f"{desk.genesis_path(0)} is there: this feeder was started. `amend` changes it; another feeder needs another folder")
    plan = load_plan(args.street, _keys(args), args.start)
    if plan.start_s is None:
        raise OperatorError("when does slot 0 begin? start = … in STREET.toml, or --start")
    plan.utc_offset_min = plan.utc_offset_min or 0
    names = [m.name for m in plan.members]
    facts = record.rehearse(plan, plan.members)
    if args.dry_run:
        print("\n".join(line for line in words.show(facts, names).splitlines() if line.split()[0] not in ("feeder", "hash", "operator")))
        return _nothing()
    desk.folder.mkdir(parents=True, exist_ok=True)
    made = not desk.key_path.exists()
    operator = key.make(desk.key_path) if made else key.load(desk.key_path)
    path = desk.add_genesis(record.genesis(operator, plan, plan.members), names)
    epoch = desk.rotate(operator)
    print(words.show(desk.now, names))
    print(f"\n{'made' if made else 'used'}: {desk.key_path}; signed: {path}, keys of epoch {epoch}"
          "\nCompare each fingerprint with its installer's. Then: prosumer provision … --genesis "
          f"{path}\nKeep {desk.key_path.name} and feeder-keys.json secret, and a copy of both elsewhere")


def amend(args):
    desk = Desk(args.desk).opened()
    plan = load_plan(args.street, _keys(args), known=_kept_keys(desk))
    now = desk.now
    for what, said in (("start_s", plan.start_s), ("slot_s", plan.slot_s)):
        if said is not None and said != now[what]:
            raise OperatorError(f"{args.street}: {what[:-2]} cannot be amended ({now[what]} s it is, {said} s it says): that is a new feeder")
    plan.start_s = now["start_s"]
    plan.utc_offset_min = now["utc_offset_min"] if plan.utc_offset_min is None else plan.utc_offset_min
    members, names = _by_index(desk, plan)
    draft = record.rehearse(plan, members, desk.chain[-1])
    told = words.changes(now, draft, names)
    if not told and not args.renew:
        print(f"nothing changes: {desk.genesis_path(now['number'])} says this already (--renew signs it again)")
        return 0
    print("\n".join(told or ["nothing changes but the number"]))
    if args.dry_run:
        return _nothing()
    operator = _operator(desk)
    path = desk.add_genesis(record.genesis(operator, plan, members, now), names)
    print(f"\nsigned: {path}; the firmware takes it as the next of {desk.genesis_path(now['number']).name}")
    if words.keys_change(now, desk.now) and desk.keys().epoch:
        print(f"other members may read the street now: keys of epoch {desk.rotate(operator)}")
    print("Now: prosumer feeder publish")


def keys(args):
    desk = Desk(args.desk).opened()
    without = [desk.member(name) for name in args.without]
    have = [name for name, i in desk.living().items() if i not in without]
    print(f"keys of epoch {desk.keys().epoch + 1} for {len(have)} members: {', '.join(have)}")
    if args.dry_run:
        return _nothing()
    desk.rotate(_operator(desk), without)
    print("Now: prosumer feeder publish")


def envelope(args):
    desk = Desk(args.desk).opened()
    now, before = desk.now, desk.envelope()
    first = _slot(now, args.first) if args.first else max(0, (int(time.time()) - now["start_s"]) // now["slot_s"] + 2)
    last = _slot(now, args.last) if args.last else _FOREVER
    if not 0 <= first <= last <= _FOREVER:
        raise OperatorError(f"slots {first} to {last}: the first is 0 or more, the last not before it")
    limits = []
    for what, kilowatts in (("--import-kw", args.import_kw), ("--export-kw", args.export_kw)):
        if not 0 <= kilowatts <= 1e6 or mwh(kilowatts, now["slot_s"]) > _FOREVER:
            raise OperatorError(f"{what} {kilowatts:g}: 0 up to what 32 bits of energy in a slot are")
        limits.append(mwh(kilowatts, now["slot_s"]))
    if before and first <= int.from_bytes(before[1:5], "big"):
        raise OperatorError(f"the last envelope begins with slot {int.from_bytes(before[1:5], 'big')}: what replaces it must begin later")
    until = "on" if last == _FOREVER else f"to {last} ({words.local_time(now['start_s'] + (last + 1) * now['slot_s'], now['utc_offset_min'])})"
    print(f"slots {first} ({words.local_time(now['start_s'] + first * now['slot_s'], now['utc_offset_min'])}) {until}: "
          f"import {args.import_kw:g} kW, export {args.export_kw:g} kW")
    if args.dry_run:
        return _nothing()
    desk.write(desk.folder / "envelope.bin", record.envelope(_operator(desk), desk.feeder_id, first, last, *limits))
    if not args.broker:
        print("Now: prosumer feeder publish")
        return 0
    with _link(args) as link:
        Publisher(desk, link, 0).send("envelope", desk.envelope())
    print("sent, and kept by the broker for meters that come later")


def weather(args):
    """No signature: it moves forecasts, never money."""
    desk = Desk(args.desk).opened()
    try:
        said = json.loads(args.file.read_text())
        hours = said["irradiance"]
        good = set(said) == {"start_s", "irradiance"} and len(hours) <= 96 and all(type(n) is int for n in [said["start_s"], *hours])
    except (ValueError, TypeError, KeyError):
        good = False
    if not good or not all(0 <= watts <= 2000 for watts in hours):
        raise OperatorError(f'{args.file}: {{"start_s": Unix seconds, "irradiance": up to 96 whole numbers from 0 to 2000}} is expected')
    desk.write(desk.folder / "weather.json", json.dumps(said).encode())
    print(f"{len(hours)} hours from {words.local_time(said['start_s'], desk.now['utc_offset_min'])}")
    if not args.broker:
        print("Now: prosumer feeder publish")
        return
    with _link(args) as link:
        Publisher(desk, link, 0).send("weather", desk.weather())


def pay(args):
    desk = Desk(args.desk).opened()
    ucr, note = _ucr(args.amount), args.note.encode()
    if len(note) > 16:
        raise OperatorError(f"--note: {len(note)} bytes; 16 are kept")
    if not args.broker:
        _sign_payment(args, desk, ucr, note, None)
        if not args.dry_run:
            print("Now: prosumer feeder publish")
        return 0
    with _link(args) as link:
        link.settle()
        street = Publisher(desk, link, _wait_s(args, desk))
        has = link.states.get(args.name, {}).get("balance_ucr")
        if args.kind == "out" and isinstance(has, int) and has < ucr:
            raise OperatorError(f"{args.name} has {words.amount(has)} by its own word: the meters refuse to pay out more")
        street.note_booked()
        _sign_payment(args, desk, ucr, note, street.most_say("operator_seq"))
        return 1 if not args.dry_run and street.payments() else 0


def _sign_payment(args, desk, ucr, note, due):
    """File the next payment; `due`: its number by the meters, for a desk that has lost its list."""
    member, rows = desk.member(args.name), desk.payments()
    seq = rows[-1]["seq"] + 1 if rows else due or 0
    if args.instead:
        if not rows or rows[-1]["slot"] is not None:
            raise OperatorError("--instead: the last payment is booked, or there is none")
        seq = rows.pop()["seq"]
    way, sign = ("paid in by", "+") if args.kind == "in" else ("paid out to", "−")
    print(f"payment {seq}: {words.amount(ucr)} {way} {args.name} (member {member}), its balance {sign}{words.amount(ucr)}"
          + (f"; {args.note}" if args.note else ""))
    if args.dry_run:
        return _nothing()
    raw = record.payment(_operator(desk), desk.feeder_id, _KINDS[args.kind], seq, member, ucr, note.ljust(16, b"\0"))
    rows.append({"seq": seq, "kind": _KINDS[args.kind], "member": member, "amount_ucr": ucr, "note": args.note, "record": raw, "slot": None})
    desk.write_payments(rows)


def _ucr(text):
    """Micro-credits of an amount in credits."""
    try:
        ucr = Decimal(text) * 1_000_000
        if ucr == int(ucr) and 0 < ucr < _MOST_UCR:
            return int(ucr)
    except (InvalidOperation, ValueError, OverflowError):
        pass
    raise OperatorError(f"{text}: an amount is more than 0, has at most six decimals, and is less than {words.amount(_MOST_UCR)}")


# -- the street

def publish(args):
    desk = Desk(args.desk).opened()
    with _link(args) as link:
        link.settle()
        late = Publisher(desk, link, _wait_s(args, desk)).everything()
    if late:
        print("The broker keeps genesis, keys and envelope: meters that come later get them. Run `publish` again to see that they have")
    return 1 if late else 0


def state(args):
    desk = Desk(args.desk).opened()
    with _link(args) as link:
        link.settle()
        states, online = dict(link.states), dict(link.online)
    members = status.rows(desk, states, online)
    total = status.summary(desk, members, sorted(n for n in {*states, *online} - set(desk.names)))
    print(json.dumps({**total, "rows": members}, indent=1) if args.json else status.text(desk, members, total))


def access(args):
    print(acl(Desk(args.desk).opened()), end="")


def show(args):
    if args.file:
        (facts,), names = record.take_up([args.file.read_bytes()], part=True), []
        print(json.dumps(facts, indent=1) if args.json else words.show(facts, names))
        return
    desk = Desk(args.desk).opened()
    if args.json:
        print(json.dumps(desk.facts if args.history else desk.now, indent=1))
        return
    print(words.show(desk.now, desk.names))
    epoch = desk.keys().epoch
    print(f"\nkeys: {f'epoch {epoch}' if epoch else 'none, the street runs in plain'}")
    for old, later in zip(desk.facts, desk.facts[1:]) if args.history else ():
        print(f"\namendment {later['number']}\n  " + "\n  ".join(words.changes(old, later, desk.names) or ["nothing but its number"]))


# -- parts

def _operator(desk):
    """The operator's key, if it is the one in the genesis."""
    operator = key.load(desk.key_path)
    if operator.public.hex() != desk.now["operator"]:
        raise OperatorError(f"{desk.key_path} is not the key of this feeder's operator: {record.fingerprint(operator.public.hex())} is not "
                            f"{record.fingerprint(desk.now['operator'])}")
    return operator


def _keys(args):
    """{name: key} of --keys and --read."""
    out = {}
    if args.keys:
        try:
            said = json.loads(args.keys.read_text())
            out = {name: public_key(text, f"{args.keys}: {name}") for name, text in said.items()}
        except (ValueError, AttributeError) as e:
            raise OperatorError(f"{args.keys}: {e}") from None
    for pair in args.read:
        name, _, port = pair.partition("=")
        if not port:
            raise OperatorError(f"--read {pair}: NAME=PORT is expected")
        from prosumer_tools.commands import provision
        from prosumer_tools.meter_port import PortError
        try:
            answer = provision.ask(port)
        except (provision.ProvisionError, PortError) as e:
            raise OperatorError(f"{name}: {e}") from None
        out[name] = bytes.fromhex(answer["key"])
        print(provision.card(name, out[name], answer["id"]))
    return out


def _kept_keys(desk):
    """Keys of who is there, so that STREET.toml need not repeat them."""
    return {name: bytes.fromhex(desk.now["members"][i][0]) for name, i in desk.living().items()}


def _by_index(desk, plan):
    """([Member], [name]) by index: who was there keeps its place, who is missing in the plan has left, who is new comes behind."""
    wanted, members, names = {m.name: m for m in plan.members}, [], list(desk.names)
    living = desk.living()
    for i, (old, bits, fuse_a, phase) in enumerate(desk.now["members"]):
        name = names[i]
        stays = living.get(name) == i and wanted.pop(name, None)
        members.append(stays or Member(name, bytes.fromhex(old), bits | LEFT, fuse_a, phase))
    for name, member in wanted.items():
        if name in names:
            raise OperatorError(f"{name} has left as member {desk.member(name)}: a place is never given away, so give the newcomer another name")
        members.append(member)
        names.append(name)
    return members, names


def _slot(facts, text):
    """A slot from its number, or the one that delivers at a time."""
    if re.fullmatch(r"\d{1,10}", text):
        return int(text)
    return (moment(text)[0] - facts["start_s"]) // facts["slot_s"]


def _link(args):
    host, _, port = args.broker.partition(":")
    if not host or not (port or "1").isdigit() or not 0 < int(port or 1) < 65536:
        raise OperatorError(f"--broker {args.broker}: HOST or HOST:PORT is expected")
    if (args.cert or args.cert_key) and not args.ca:
        raise OperatorError("--cert and --cert-key go with --ca")
    tls = tuple(str(p) if p else None for p in (args.ca, args.cert, args.cert_key)) if args.ca else None
    return Link(host, int(port or (8883 if tls else 1883)), args.user, tls)


def _wait_s(args, desk):
    return 3 * desk.now["slot_s"] if args.wait is None else args.wait


def _nothing():
    print("\n(dry run: nothing was signed, written or sent)")
    return 0
