"""The street while it runs: one panel that redraws itself, or one line per slot where the output is no terminal."""
import time

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .text import cents, clock, duration, kw, kwh

_BAR = 24          # characters of the feeder bar
_TRADE_BAR = 14    # of a member's bar
_ROWS = 6          # of sellers and buyers; always drawn, so that the panel does not jump


class LiveView:
    """Use as a context manager; call slot_done() for each slot. Never reads the clock but for the time left.

    homes: names in the order of SlotData.homes; slots: how many will be played.
    """

    def __init__(self, street, homes, slots, slot_minutes, console=None, clock_s=time.monotonic):
        self._street, self._homes, self._slots, self._minutes = street, list(homes), slots, slot_minutes
        self._console = console or Console(highlight=False)
        self._clock_s, self._began = clock_s, clock_s()
        self._done, self._traded_mwh, self._last, self._status = 0, 0, None, "starting"
        self._live = None

    def __enter__(self):
        self._began = self._clock_s()
        if self._console.is_terminal:
            self._live = Live(self._panel(), console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        else:
            self._console.print(f"{self._street}: {len(self._homes)} homes, {self._slots} slots of {self._minutes} min", markup=False)
        return self

    def __exit__(self, *_):
        if self._live:
            self._live.stop()
        return False

    def status(self, text):
        """A word on what happens before the first slot and between slots ('booting 8 meters')."""
        self._status = text
        if self._live:
            self._live.update(self._panel())
        else:
            self._console.print(text, soft_wrap=True, markup=False)

    def slot_done(self, slot):
        """slot: SlotData of the slot that is settled (or void)."""
        self._done += 1
        self._traded_mwh += slot.volume_mwh
        self._last, self._status = slot, ""
        if self._live:
            self._live.update(self._panel())
        else:
            self._console.print(self._line(slot), soft_wrap=True, markup=False)

    def left_s(self):
        """Seconds to go at the pace so far; None before the first slot."""
        if not self._done:
            return None
        return (self._clock_s() - self._began) / self._done * (self._slots - self._done)

    def _line(self, slot):
        net = slot.feeder_import_mwh - slot.feeder_export_mwh
        limit = slot.limit_import_mwh if net >= 0 else slot.limit_export_mwh
        price = "void" if slot.void else "no trade" if slot.price_ucr_per_kwh is None or not slot.volume_mwh else f"{cents(slot.price_ucr_per_kwh)} ct/kWh"
        return (f"{clock(slot.start)}  slot {self._done}/{self._slots}  {price:>13}  {kwh(slot.volume_mwh, 2):>6} kWh  "
                f"feeder {'in ' if net >= 0 else 'out'} {kw(abs(net), self._minutes):>5} of {kw(limit, self._minutes)} kW  "
                f"left {duration(self.left_s())}")

    def _panel(self):
        head = Table.grid(expand=True)
        head.add_column()
        head.add_column(justify="right")
        slot = self._last
        if slot is None:
            head.add_row(Text(self._street, "bold"), Text(f"{self._status} ...", "dim"))
            return Panel(head, border_style="green")
        head.add_row(Text(f"{clock(slot.start)}  {self._street}", "bold"), Text(f"{kwh(self._traded_mwh)} kWh traded so far", "green"))
        price = "void: utility tariff" if slot.void else "no trade" if slot.price_ucr_per_kwh is None or not slot.volume_mwh else \
            f"{cents(slot.price_ucr_per_kwh)} ct/kWh"
        facts = Table.grid(padding=(0, 2))
        facts.add_row(Text("price", "dim"), Text(price, "bold"), Text("volume", "dim"), Text(f"{kwh(slot.volume_mwh, 2)} kWh", "bold"))
        rows = [head, Text(), facts, self._feeder(slot), Text(), self._members(slot), Text(), self._progress()]
        return Panel(Group(*rows), border_style="green")

    def _feeder(self, slot):
        net = slot.feeder_import_mwh - slot.feeder_export_mwh
        limit = slot.limit_import_mwh if net >= 0 else slot.limit_export_mwh
        part = abs(net) / limit if limit else 1.0
        colour = "red" if part > 1 else "yellow" if part > 0.85 else "cyan"
        filled = min(_BAR, round(part * _BAR))
        text = Text("feeder ", "dim")
        text.append("█" * filled, colour)
        text.append("░" * (_BAR - filled), "dim")
        text.append(f"  {kw(abs(net), self._minutes)} kW {'in' if net >= 0 else 'out'} of {kw(limit, self._minutes)} kW", colour)
        return text

    def _members(self, slot):
        """Who sells and who buys, each with a bar; widest trades first."""
        sells = sorted(((h.sold_mwh, name) for h, name in zip(slot.homes, self._homes) if h.sold_mwh), reverse=True)
        buys = sorted(((h.bought_mwh, name) for h, name in zip(slot.homes, self._homes) if h.bought_mwh), reverse=True)
        most = max([mwh for mwh, _ in sells + buys] + [1])
        table = Table.grid(padding=(0, 1))
        for justify, width in (("right", 20), ("right", _TRADE_BAR), ("left", 1), ("left", _TRADE_BAR), ("left", 20)):
            table.add_column(justify=justify, width=width, no_wrap=True)
        table.add_row("", Text("sells", "bold yellow"), "", Text("buys", "bold blue"), "")
        for i in range(_ROWS):
            row = []
            for side, colour, mirrored in ((sells, "yellow", True), (buys, "blue", False)):
                if i == _ROWS - 1 and len(side) > _ROWS:
                    bar, label = Text(), Text(f"and {len(side) - i} more", "dim")
                else:
                    mwh, name = side[i] if i < len(side) else (0, "")
                    bar = Text("■" * max(1 if mwh else 0, round(_TRADE_BAR * mwh / most)), colour)
                    label = Text(f"{name} {kwh(mwh, 2)}" if mwh else "")
                row += [label, bar, ""] if mirrored else [bar, label]
            table.add_row(*row)
        return table

    def _progress(self):
        left = self.left_s()
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(ratio=1)
        grid.add_column(justify="right")
        grid.add_row(ProgressBar(total=self._slots, completed=self._done, complete_style="green"),
                     Text(f"{self._done}/{self._slots} slots, {duration(left) if self._done < self._slots else '0 s'} left"))
        return grid
