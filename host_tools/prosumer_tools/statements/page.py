"""A statement as a page to print: the period's sums, then a row a day. Money in cents here; the CSV has every micro-credit."""
from datetime import date
from html import escape

from prosumer_tools.view.text import euro, kwh, number

_STYLE = """
body { font: 15px/1.45 "Source Sans 3", "Segoe UI", system-ui, Arial, sans-serif; color: #1c2a33; max-width: 900px; margin: 40px auto;
  padding: 0 20px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 17px; margin: 30px 0 6px; } .soft { color: #526370; margin: 4px 0 0; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: right; padding: 4px 8px; border-bottom: 1px solid #dde3e6; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; } th { font-weight: 600; color: #526370; }
.days { font-size: 13.5px; } .days td, .days th { padding: 4px 6px; } .days th { white-space: normal; vertical-align: bottom; }
tr.sum td { font-weight: 700; border-top: 2px solid #1c2a33; }
.scroll { overflow-x: auto; } .small { font-size: 13px; color: #526370; margin-top: 24px; }
@page { size: A4; margin: 16mm 14mm; }
@media print { body { margin: 0; max-width: none; padding: 0; font-size: 10pt; } h1 { font-size: 17pt; }
  td, th { padding: 2pt 4pt; font-size: 9pt; }
  .days td, .days th { padding: 2pt 3pt; font-size: 8pt; }
  thead { display: table-header-group; } tr { break-inside: avoid; } h2 { break-after: avoid; } .scroll { overflow: visible; } }
"""
_MEMBER = (("trade_ucr", "trades with the neighbours, at the slots' prices"), ("fee_ucr", "local network fee"),
           ("loss_ucr", "losses on the way"), ("imbalance_ucr", "with the utility: what was short or over"), ("penalty_ucr", "penalties"),
           ("share_ucr", "share of the feeder account"), ("payment_ucr", "payments, by the operator"))
_FEEDER = (("rent_ucr", "congestion rent"), ("fee_ucr", "local network fees"), ("loss_ucr", "loss charges less the losses paid"),
           ("penalty_ucr", "penalties"), ("rounding_ucr", "rounding"), ("shared_ucr", "shared out among the members"))
_COINS = (("minted_mwh", "for what the house generated"), ("received_mwh", "from neighbours"), ("given_mwh", "to neighbours"),
          ("retired_mwh", "used as certificates"))
_ENERGY = {"member": (("bought_mwh", "bought"), ("sold_mwh", "sold"), ("import_mwh", "drawn"), ("export_mwh", "given")),
           "feeder": (("volume_mwh", "traded"), ("import_mwh", "imported"), ("export_mwh", "exported"), ("lost_mwh", "lost"))}


def render(statement, feeder=False):
    """HTML as text."""
    s, legs, energy = statement, _FEEDER if feeder else _MEMBER, _ENERGY["feeder" if feeder else "member"]
    title = "Feeder account" if feeder else s.name
    moved = [[escape(what), euro(s.total(leg))] for leg, what in legs]
    sums = [["balance before", euro(s.opening_ucr)], *moved]
    days = {}
    for line in s.lines:
        days.setdefault(line["start"][:10], []).append(line)
    rows = [[_day(day), *(kwh(sum(line[c] for line in lines), 2) for c, _ in energy),
             *(_cents(sum(line[leg] for line in lines)) for leg, _ in legs), _cents(sum(line["change_ucr"] for line in lines)),
             _cents(lines[-1]["balance_ucr"])] for day, lines in days.items()]
    total = ["all", *(kwh(s.total(c), 2) for c, _ in energy), *(_cents(s.total(leg)) for leg, _ in legs), _cents(s.total("change_ucr")),
             _cents(s.closing_ucr)]
    heading = ["day", *(f"{name} kWh" for _, name in energy), *(leg[:-4] + " €" for leg, _ in legs), "change €", "balance €"]
    coins = "" if feeder else f"""<h2>Green coins</h2><table>{_rows([["held before, kWh", kwh(s.opening_mwh, 2)],
                *([what, kwh(s.total(c), 2)] for c, what in _COINS)])}{_rows([["held after", kwh(_held(s), 2)]], "sum")}</table>"""
    missing = sum(line.get("kind") == "missing" for line in s.lines)
    note = f" {missing} slots were settled without a reading." if missing else ""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}, {escape(s.period)}</title><style>{_STYLE}</style></head><body>
<h1>{escape(title)}</h1><p class="soft">{escape(s.street)} · statement for {escape(s.period)}</p>
<h2>Balance</h2><table>{_rows(sums)}{_rows([["balance after", euro(s.closing_ucr)]], "sum")}</table>
{coins}
<h2>Day by day</h2><div class="scroll"><table class="days"><thead><tr>{"".join(f"<th>{h}</th>" for h in heading)}</tr></thead>
<tbody>{_rows(rows)}{_rows([total], "sum")}</tbody></table></div>
<p class="small">A minus is paid, or owed. Rounded to cents for reading; the CSV beside this page has each slot to the micro-credit.{note}
Made from the final blocks of the run; <code>prosumer verify</code> checks them.</p></body></html>
"""


def _held(statement):
    return statement.lines[-1]["coins_mwh"] if statement.lines else statement.opening_mwh


def _day(text):
    day = date.fromisoformat(text)
    return f"{day:%a} {day.day} {day:%b %Y}"


def _cents(ucr):
    return number(ucr / 1e6, 2)


def _rows(rows, kind=""):
    return "".join(f'<tr class="{kind}">' + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
