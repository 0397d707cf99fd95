"""`prosumer check RECORD.json`: is this record what it says, by the firmware's own code on the Unix port?

In:  what `prosumer sign` prints, or {"record", "feeder_id", "raw"}, or the fields with "signature"; or a list of these.
     The key is the record's "public_key", unless --key (hex) or --genesis (the member's, or the operator's for an envelope) tells.
Out: each with "valid" and the "reason" why not: bad-signature, not-a-member, key-small-order, …, and for readings of a list whether
     it "continues" the one in front (false: a gap, a fork or a reordering). Exit code 0: all hold, 1: not all, 2: bad input.
"""
import json
import sys
from pathlib import Path

from prosumer_tools.commands.clear import BadInput, field, read_json
from prosumer_tools.commands.keys import replacement_fault
from prosumer_tools.commands.provision import ProvisionError, checked_genesis
from prosumer_tools.commands.sign import ask, hexadecimal, items, question, refusal
from prosumer_tools.unixport import FirmwareError


def _question(record, where, key, genesis):
    """What the firmware is asked: the record as bytes or by its fields, and the keys it may be signed with."""
    asked = question(record, where)
    if genesis:
        keys = [m[0] for m in genesis.members] + [genesis.operator]
    else:
        keys = [key or hexadecimal(field(record, "public_key", f"{where} (without --key and --genesis)"), 32, f"{where}: 'public_key'")]
    asked["keys"] = [k.hex() for k in keys]
    if "raw" in record:
        raw = record["raw"]
        asked["raw"] = hexadecimal(raw, len(raw) // 2 if isinstance(raw, str) else 1, f"{where}: 'raw'").hex()
    else:
        asked["signature"] = hexadecimal(field(record, "signature", where), 64, f"{where}: 'signature'").hex()
    return asked


def check_records(data, key=None, genesis=None):
    """(each record as it was checked, whether the input was a list). `key`: bytes; `genesis`: tells each member's key."""
    entries, listed = items(data)
    if not listed and data.get("record") == "replacement":  # a card of `prosumer keys prepare`
        reason = replacement_fault(data)
        return [dict(data, valid=not reason, reason=reason)], False
    questions = [_question(record, f"record {i + 1}" if listed else "the record", key, genesis) for i, record in enumerate(entries)]
    out, last = [], {}
    for i, (record, asked, answer) in enumerate(zip(entries, questions, ask(questions), strict=True)):
        where = f"record {i + 1}" if listed else "the record"
        result = {"record": asked["record"], "feeder_id": asked["feeder_id"]}
        if "refused" in answer:
            if "raw" not in record or answer["field"] is not None:
                raise refusal(answer, where)
            out.append(dict(result, raw=asked["raw"], valid=False, reason=answer["refused"]))
            continue
        reason = answer.pop("reason")
        result.update(answer)
        if genesis and asked["feeder_id"] != genesis.feeder_id.hex():
            reason = "wrong-feeder"
        elif any(answer.get(name, value) != value for name, value in asked["fields"].items()):
            reason = reason or "fields-differ-from-raw"
        if asked["record"] == "reading":
            before = last.get((asked["feeder_id"], answer["member"]))
            if before:
                result["continues"] = (answer["previous"], answer["seq"]) == (before["hash"], before["seq"] + 1) and answer["slot"] > before["slot"]
                reason = reason or (None if result["continues"] else "broken-chain")
            last[asked["feeder_id"], answer["member"]] = answer
        out.append(dict(result, valid=not reason, reason=reason))
    return out, listed


def add_parser(subparsers):
    parser = subparsers.add_parser("check", help="signed reading → is it genuine, and does it continue the chain (JSON in, JSON out)",
                                   description=__doc__.split("\n\n")[0], epilog="In: what `prosumer sign` prints. Exit code 1 if something does not hold.")
    parser.add_argument("record", metavar="RECORD.json", help="a signed record or a list of them; - for standard input")
    parser.add_argument("--key", metavar="HEX", help="public key of the signer")
    parser.add_argument("--genesis", metavar="FILE", type=Path, help="the street's genesis, which tells each member's key")
    parser.set_defaults(run=run)


def run(args):
    try:
        genesis = checked_genesis(args.genesis) if args.genesis else None
        result, listed = check_records(read_json(args.record), args.key and hexadecimal(args.key, 32, "--key"), genesis)
    except (BadInput, ProvisionError) as error:
        return _fail(error, 2)
    except FirmwareError as error:
        return _fail(error, 3)
    print(json.dumps(result if listed else result[0], indent=2))
    return 0 if all(r["valid"] for r in result) else 1


def _fail(text, code):
    print(f"prosumer check: {text}", file=sys.stderr)
    return code
