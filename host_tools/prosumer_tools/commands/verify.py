"""`prosumer verify RUN`: check a whole run again, by code that shares nothing with the meters'.

In:  RUN/genesis.bin, keys.bin, RUN/records/block-*.bin, meter-*.bin (RUN/run.json for names and the number of slots only), and what was made
     of them: slots.csv, homes.csv, readings.csv, summary.json, each figure against the records; its last lines name what was not checked
Out: a verdict with counts; every fault is one line that names the record. Exit code 0: all holds, 1: faults, 2: no run there.
"""
import json
import sys
import textwrap
import time

from prosumer_tools.verify.check import BadRun, verify_run
from prosumer_tools.verify.figures import TABLES


def add_parser(subparsers):
    p = subparsers.add_parser("verify", help="re-check a whole run by independent code: signatures, hashes, clearing, every micro-credit",
                              description=__doc__.split("\n\n")[0])
    p.add_argument("folder", metavar="RUN", help="folder of a run, as `prosumer demo` writes it")
    p.add_argument("--json", action="store_true", help="the result as one JSON object")
    p.set_defaults(run=run)


def run(args):
    try:
        began = time.monotonic()
        result = verify_run(args.folder, None if args.json else _Progress())
        seconds = time.monotonic() - began
    except (BadRun, OSError) as e:
        print(f"prosumer verify: {e}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({"ok": result.ok, "counts": result.counts, "faults": result.faults, "not_checked": result.not_checked}, indent=1))
    else:
        print(text(result, seconds))
    return 0 if result.ok else 1


class _Progress:
    """One line on a terminal, rewritten at most ten times a second; nothing when output goes to a file."""

    def __init__(self):
        self.next = time.monotonic() + 0.5 if sys.stderr.isatty() else float("inf")

    def __call__(self, done, of):
        now = time.monotonic()
        if now >= self.next and of:
            self.next = now + 0.1
            end = "\r" if done < of else "\r" + " " * 40 + "\r"
            print(f"  block {done} of {of} ({100 * done // of} %)", end=end, file=sys.stderr, flush=True)


def text(result, seconds=None):
    """The verdict a person reads."""
    c = result.counts
    lines = list(result.faults)
    if lines:
        lines.append("")
    lines += [
        f"blocks         {c['blocks']} final, {c['void_slots']} slots void, {c['certificates']} certificates with a quorum",
        f"signatures     {c['signatures']} checked",
        f"readings       {c['readings']} settled, {c['late_readings']} of them late",
        f"orders         {c['orders']} shown of {c['commits']} sealed, {c['not_shown']} paid the penalty",
        f"trades         {c['trades']} fills, {kwh(c['traded_mwh'])} from member to member,"
        f" {kwh(c['imported_mwh'])} imported, {kwh(c['exported_mwh'])} exported",
        f"transfers      {c['transfers']} of coins and payments; {c['amendments']} amendments, {c['excluded']} members excluded",
        f"books          balanced to the micro-credit after {c['books_balanced']} of {c['blocks']} blocks,"
        f" {c['turnover_ucr'] / 1e6:.2f} credits of sales, {kwh(c['green_mwh'])} of green coins",
        f"meters         {c['meters']} hold the same chain, {c['ring_headers']} headers compared",
        f"figures        {c['figures']:,} of {', '.join(TABLES)} are those of the records" if c["figures"] else
        "figures        no tables to compare" if result.ok else "figures        not compared: the records do not hold",
    ]
    verdict = "VERIFIED: all that was checked holds" if result.ok else f"NOT VERIFIED: {len(result.faults)} faults"
    lines.append(verdict + (f" ({seconds:.1f} s)" if seconds is not None else ""))
    lines += [textwrap.fill(f"not checked: {what}", 120, subsequent_indent=" " * 13) for what in _unchecked(result)]
    return "\n".join(lines)


def _unchecked(result):
    """The files in one line, then the figures that no record states."""
    files = [what for what in result.not_checked if not what.startswith("of ")]
    return ([", ".join(files)] if files else []) + [what for what in result.not_checked if what.startswith("of ")]


def kwh(mwh):
    return f"{mwh / 1e6:.3f} kWh"
