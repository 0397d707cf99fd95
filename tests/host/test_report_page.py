"""The report, the files beside it and the screens: complete, self-contained, and saying what the run says."""
import csv
import dataclasses
import html.parser
import io
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from rich.console import Console
from test_report_totals import hand_made, sample_run

from prosumer_tools.view import Absence, LiveView, Shown, Verdict, WalkStep, Witness, print_summary, print_witness, write_report, write_summary
from prosumer_tools.view.report import render
from prosumer_tools.view.svg import Plot, nice_ticks
from prosumer_tools.view.totals import totals

_VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(html.parser.HTMLParser):
    """Text, links and nesting of a page; raises on tags that do not close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.links = [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.links += [value for key, value in attrs if key in ("href", "src")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.getpos(), self.open[-3:])
        self.open.pop()

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())


@pytest.fixture(scope="module")
def page():
    return render(sample_run())


def test_page_is_well_formed_and_needs_nothing_else(page):
    parsed = Page(page)
    assert not re.search(r"""https?:|url\(|@import|<script|src=""", page)
    assert set(parsed.links) == {"summary.json", "slots.csv", "homes.csv", "readings.csv"}
    assert len(page) < 600_000


def test_every_picture_is_xml_with_a_title_for_those_who_cannot_see_it(page):
    pictures = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(pictures) == 2 + 2 + 4 + 2 + 8 + 8      # street, power, price and volume, feeder, homes, money
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        assert root.get("role") == "img" and len(root.get("aria-label")) > 12


def test_page_says_what_the_run_says(page):
    run, t, text = sample_run(), totals(sample_run()), Page(page).text
    assert f"{t.neighbours_mwh / 1e6:.1f} kWh went from neighbour to neighbour in one day" in text
    assert f"{t.saved_ucr / 1e6:.2f} € stayed in the street" in text
    assert f"{100 * t.self_consumption:.0f} % of the solar energy" in text
    assert "Thursday, 11 June 2026" in text and "1 slot was void" in text
    for home in run.homes:
        assert home.name in text and f"{abs(home.paid_ucr) / 1e6:.2f} €" in text
    for step in run.walk:
        assert step.stage in text and step.raw.hex(" ") in text and step.explanation in text
    assert "late" in text and "4 321" in text


def test_page_shows_faults_first():
    run = hand_made()
    run.verdict = Verdict(False, {"headers": 2}, ["block 1: signature of member 3 does not verify"])
    text = Page(render(run)).text
    assert "1 faults found by the check" in text and "block 1: signature of member 3 does not verify" in text


def test_page_takes_short_runs_and_strange_names():
    run = hand_made()
    run.street, run.homes[0].name = "<script>alert(1)</script>", "a<b>&\"c"
    run.walk = [WalkStep("order", "a < b & c", [("x", "<i>")], b"\x00<")]
    run.counters.rejects = {"<bad>": 1}
    page = render(run)
    Page(page)
    assert "<script" not in page and "<bad>" not in page and "<b>&" not in page
    assert "in one run" in Page(page).text
    run.slots = []
    for home in run.homes:
        home.alone = []
    Page(render(run))


def test_page_and_screen_say_what_an_archive_kept_and_proved():
    run = sample_run()
    assert "kept" not in Page(render(run)).links and "receipt" not in Page(render(run)).text
    run.witness = Witness(97, [Absence("cypres", "2026-06-11T12:20:00+02:00", "2026-06-11T13:50:00+02:00", 6, 3237)],
                          Shown("olivier", 1, 62, "2026-06-11T15:30:00+02:00", 0, 1110000, 139795, 1751, 6, 8))
    parsed = Page(render(run))
    assert {"receipt.html", "genesis.bin"} <= set(parsed.links)
    out = io.StringIO()
    print_witness(run, "runs/x", ".venv/bin/prosumer", Console(file=out, width=60))
    for text in (parsed.text, " ".join(out.getvalue().replace("\u00a0", " ").split())):
        assert "12:20 to 13:50" in text and "caught up by certificates and consistency proofs: 6 blocks in 3 237 bytes" in text
        assert "olivier sold 1.110 kWh at 13.98 ct/kWh at 15:30" in text and "6 of 8 meters signed" in text and "1 751 bytes" in text
    assert "  .venv/bin/prosumer receipt runs/x/archive.db --member 1 --slot 62 --out runs/x/mine.bin --qr runs/x/mine.html\n" in out.getvalue()
    run.witness.absences[0].proven = False
    assert "caught up by a certificate:" in Page(render(run)).text


def test_files_hold_the_same_figures(tmp_path):
    run = sample_run()
    assert write_report(run, tmp_path) == str(tmp_path / "report.html")
    for name in write_summary(run, tmp_path):
        assert (tmp_path / name).stat().st_size > 100
    summary = json.loads((tmp_path / "summary.json").read_text())
    rows = {name: list(csv.DictReader((tmp_path / f"{name}.csv").open())) for name in ("slots", "homes", "readings")}
    assert [len(rows[name]) for name in ("slots", "homes", "readings")] == [96, 8, 768]
    assert sum(int(row["volume_mwh"]) for row in rows["slots"]) == summary["totals"]["traded_mwh"] == totals(run).traded_mwh
    assert sum(int(row["generation_mwh"]) for row in rows["readings"]) == summary["totals"]["generation_mwh"]
    assert sum(int(row["paid_ucr"]) for row in rows["homes"]) == summary["totals"]["paid_ucr"]
    assert rows["slots"][31]["void"] == "1" and rows["slots"][31]["price_ucr_per_kwh"] == ""
    assert not list(tmp_path.glob("*.new"))


def test_plot_puts_values_where_they_belong():
    plot = Plot(100, 100, 2, 0, 10, left=0, right=0, top=0, bottom=0)
    plot.line([0, 10], "l")
    assert 'd="M0.0,100.0 50.0,100.0 50.0,0.0 100.0,0.0"' in plot.svg("a line of two")
    plot = Plot(100, 100, 3, 0, 10, left=0, right=0, top=0, bottom=0)
    plot.line([1, None, 2], "l")
    assert plot.svg("a line with a hole").count("<path") == 2
    for low, high in ((0, 17.3), (-6.7, 7.5), (0, 0), (0, 0.004), (-5, 0), (0, 2_000_000)):
        ticks = nice_ticks(low, high, 5)
        assert ticks[0] <= low and ticks[-1] >= high and len(ticks) <= 7 and (0 in ticks)


def screen(terminal, width=100):
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, highlight=False, color_system=None)


def test_summary_fits_one_screen_of_80_columns():
    console = screen(False, 80)
    print_summary(sample_run(), console)
    lines = console.file.getvalue().splitlines()
    assert len(lines) <= 20 and max(map(len, lines)) <= 80
    text = "\n".join(lines).replace("\u00a0", " ")
    for home in sample_run().homes:
        row = next(line for line in text.splitlines() if line.split()[:1] == [home.name])
        assert f"{abs(home.paid_ucr) / 1e6:.2f} €" in row and f"{abs(home.paid_alone_ucr) / 1e6:.2f} €" in row
    assert "1 void" in text and "5 refused" in text


def test_live_view_is_one_line_a_slot_without_a_terminal():
    run, console, now = sample_run(), screen(False), [0.0]
    with LiveView("Rue [red]", [h.name for h in run.homes], 96, 15, console, lambda: now[0]) as view:
        view.status("booting 8 meters")
        for slot in run.slots[:40]:
            now[0] += 2
            view.slot_done(slot)
        assert view.left_s() == pytest.approx(2 * 56)
    lines = console.file.getvalue().replace("\u00a0", " ").splitlines()
    assert len(lines) == 42 and "Rue [red]" in lines[0] and lines[1] == "booting 8 meters"
    assert "slot 40/96" in lines[-1] and "ct/kWh" in lines[-1] and "left 1 min 52 s" in lines[-1] and "void" in lines[33]


def test_live_view_draws_and_leaves_the_terminal_clean():
    run, console = sample_run(), screen(True)
    view = LiveView(run.street, [h.name for h in run.homes], 96, 15, console)
    with view:
        view.status("booting 8 meters")
        for slot in run.slots[:50]:
            view.slot_done(slot)
    plain = screen(False)
    plain.print(view._panel())
    text = plain.file.getvalue().replace("\u00a0", " ")
    assert "sells" in text and "buys" in text and "olivier" in text and "50/96 slots" in text and "feeder" in text
    assert console.file.getvalue().endswith(("\x1b[?25h", "\x1b[2K")) or "\x1b[?25h" in console.file.getvalue()[-40:]


def test_live_view_names_what_is_over_the_limit():
    run, console = hand_made(), screen(False)
    with LiveView("two", ["a", "b"], 2, 15, console) as view:
        view.slot_done(run.slots[0])
    assert "out   4.0 of 2.0 kW" in console.file.getvalue().replace("\u00a0", " ")


def test_a_week_is_drawn_in_bounds():
    run = sample_run()
    week = dataclasses.replace(run, slots=run.slots * 7, homes=[dataclasses.replace(home, alone=home.alone * 7) for home in run.homes])
    page = render(week)
    assert len(page) < 1_500_000 and "in one week" in Page(page).text and "mean of 2 slots" in Page(page).text
