"""Primitives of the pictures: a plot over slots with step-shaped areas and lines, as inline SVG. Colours are CSS classes."""
from html import escape


class Plot:
    """x: slots 0..count, y: low..high in the unit of the axis. Collects parts; svg() closes it.

    `title` is what a screen reader says, `hover(i)` gives the text that shows over slot i.
    """

    def __init__(self, width, height, count, low, high, left=44, right=10, top=26, bottom=24, tight=False):
        self.width, self.height, self.slots, self.count = width, height, count, max(count, 1)
        self._left, self._right, self._top, self._bottom = left, width - right, top, height - bottom
        self.ticks = nice_ticks(low, high, max(2, int((self._bottom - self._top) / 38)))
        if tight:      # ends where the values end, not at the next tick
            self.ticks = [tick for tick in self.ticks if low <= tick <= high]
            self.low, self.high = low, high
        else:
            self.low, self.high = min(low, self.ticks[0]), max(high, self.ticks[-1])
        if self.high <= self.low:
            self.high = self.low + 1
        self._parts = []

    def x(self, slot):
        return self._left + (self._right - self._left) * slot / self.count

    def y(self, value):
        return self._bottom - (self._bottom - self._top) * (value - self.low) / (self.high - self.low)

    def grid(self, label=str):
        """Horizontal lines at the ticks with their labels."""
        for tick in self.ticks:
            y = self.y(tick)
            kind = "zero" if tick == 0 else "grid"
            self._parts.append(f'<line class="{kind}" x1="{self._left}" x2="{self._right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            self._parts.append(f'<text class="tick" x="{self._left - 7}" y="{y + 4:.1f}" text-anchor="end">{escape(label(tick))}</text>')

    def unit(self, text):
        self._parts.append(f'<text class="unit" x="0" y="{self._top - 13}">{escape(text)}</text>')

    def time_axis(self, marks):
        """marks: [(slot, label)]."""
        for slot, label in marks:
            x = self.x(slot)
            anchor = "start" if x < self._left + 14 else "end" if x > self._right - 14 else "middle"
            self._parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{self._bottom}" y2="{self._bottom + 4}"/>')
            self._parts.append(f'<text class="tick" x="{x:.1f}" y="{self._bottom + 17}" text-anchor="{anchor}">{escape(label)}</text>')

    def area(self, values, kind, base=None):
        """Step area between values and base (0 or a list)."""
        base = [0] * len(values) if base is None else base
        there = [f"{self.x(i + side):.1f},{self.y(v):.1f}" for i, v in enumerate(values) for side in (0, 1)]
        back = [f"{self.x(i + side):.1f},{self.y(base[i]):.1f}" for i in range(len(values) - 1, -1, -1) for side in (1, 0)]
        if any(v != b for v, b in zip(values, base)):
            self._parts.append(f'<path class="{kind}" d="M{" ".join(there + back)}Z"/>')

    def line(self, values, kind):
        """Step line; None makes a hole."""
        runs, current = [], []
        for i, value in enumerate(values):
            if value is None:
                runs, current = runs + [current], []
                continue
            current += [f"{self.x(i):.1f},{self.y(value):.1f}", f"{self.x(i + 1):.1f},{self.y(value):.1f}"]
        for run in runs + [current]:
            if run:
                self._parts.append(f'<path class="{kind}" d="M{" ".join(run)}"/>')

    def rule(self, value, kind, label="", below=False):
        """A horizontal line over the whole width with a label at its right end."""
        y = self.y(value)
        self._parts.append(f'<line class="{kind}" x1="{self._left}" x2="{self._right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        if label:
            self.label(self.count, value, label, "end", 13 if below else -5)

    def label(self, slot, value, text, anchor="middle", dy=-5, kind="note"):
        self._parts.append(f'<text class="{kind}" x="{self.x(slot):.1f}" y="{self.y(value) + dy:.1f}" text-anchor="{anchor}">{escape(text)}</text>')

    def band(self, slots, kind, title):
        """Marks whole slots from bottom to top."""
        for i in slots:
            self._parts.append(f'<rect class="{kind}" x="{self.x(i):.1f}" y="{self._top}" width="{self.x(i + 1) - self.x(i):.1f}" '
                               f'height="{self._bottom - self._top}"><title>{escape(title)}</title></rect>')

    def hover(self, text):
        """An invisible column over each slot that shows text(i)."""
        for i in range(self.slots):
            self._parts.append(f'<rect class="hover" x="{self.x(i):.1f}" y="{self._top}" width="{self.x(i + 1) - self.x(i):.2f}" '
                               f'height="{self._bottom - self._top}"><title>{escape(text(i))}</title></rect>')

    def svg(self, title, kind=""):
        body = "".join(self._parts)
        return (f'<svg class="{kind}" viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(title)}" '
                f'preserveAspectRatio="xMidYMid meet">{body}</svg>')


def nice_ticks(low, high, most):
    """Round numbers from at or below low to at or above high, at most about `most` steps; 0 is among them if it lies between."""
    span = max(high - low, 1e-9)
    step = 10.0 ** -6
    while True:
        for factor in (1, 2, 2.5, 5):
            if span / (step * factor) <= most:
                step *= factor
                first = int(low // step)
                last = -int(-high // step)
                return [round(i * step, 9) for i in range(first, last + 1)]
        step *= 10
