"""`prosumer statement RUN`: what each member bought, sold, paid and got, from the run's final blocks; the feeder account too.

In:  RUN/genesis.bin, RUN/records/block-*.bin (RUN/run.json for names)
Out: for each account NAME.csv, a line per slot to the micro-credit, and NAME.html, a page to print; NAME-2026-06.… with --month
"""
import csv
import sys
from pathlib import Path

from prosumer_tools.statements.accounts import Accounts, StatementError
from prosumer_tools.statements.page import render
from prosumer_tools.verify.check import BadRun
from prosumer_tools.verify.records import Malformed
from prosumer_tools.view.text import euro


def add_parser(subparsers):
    p = subparsers.add_parser("statement", help="settlement → statement: CSV and a printable page per member, and the feeder account",
                              description=__doc__.split("\n\n")[0])
    p.add_argument("folder", metavar="RUN", help="folder of a run, as `prosumer demo` writes it")
    p.add_argument("--member", metavar="NAME", help="one home, or feeder (default: all of them)")
    p.add_argument("--month", metavar="YYYY-MM", help="what was delivered in that month (default: the whole run)")
    p.add_argument("--out", metavar="FOLDER", type=Path, help="where to write (default: RUN/statements)")
    p.set_defaults(run=run)


def run(args):
    out = args.out or Path(args.folder) / "statements"
    try:
        accounts = Accounts(args.folder)
        names = [args.member] if args.member else [*accounts.names, "feeder"]
        statements = [_statement(accounts, name, args.month) for name in names]
        out.mkdir(parents=True, exist_ok=True)
        for statement, feeder in statements:
            write(out, statement, feeder, args.month)
    except (BadRun, Malformed, StatementError) as e:
        print(f"prosumer statement: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"prosumer statement: {e.filename or out}: {e.strerror or e}", file=sys.stderr)
        return 2
    for statement, _ in statements:
        change, balance = euro(statement.total("change_ucr"), True), euro(statement.closing_ucr)
        print(f"{statement.name:24}{len(statement.lines):>7} lines{change:>14}  balance {balance}")
    print(f"\nStatements: {out}")
    return 0


def _statement(accounts, name, month):
    feeder = name == "feeder" and name not in accounts.names
    return (accounts.feeder(month) if feeder else accounts.member(name, month)), feeder


def write(out, statement, feeder, month=None):
    stem = statement.name + (f"-{month}" if month else "")
    with open(out / f"{stem}.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, statement.columns, lineterminator="\n")
        rows.writeheader()
        rows.writerows(statement.lines)
    (out / f"{stem}.html").write_text(render(statement, feeder), encoding="utf-8")
