"""What a person sees: while it runs (live.py), at the end (summary.py), and to show around (report.py).

data.py     `RunData`: everything the pictures are made of; the recorder fills it
totals.py   what follows from it: kWh traded, money kept, self-consumption
text.py     numbers as people write them
charts.py   the pictures, on the primitives of svg.py
"""
from .data import Absence, Counters, HomeData, HomeSlot, RunData, Shown, SlotData, Verdict, WalkStep, Witness
from .live import LiveView
from .report import write_report
from .summary import print_summary, print_witness, write_summary

__all__ = ["Absence", "Counters", "HomeData", "HomeSlot", "LiveView", "RunData", "Shown", "SlotData", "Verdict", "WalkStep", "Witness",
           "print_summary", "print_witness", "write_report", "write_summary"]
