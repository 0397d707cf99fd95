"""The street as a drawing: one house per member, with what it has (panels, battery, car, shop front)."""
from html import escape

_W, _H = 104, 112


def street_picture(homes):
    """HTML with the houses in rows of 8 (wide) and of 4 (narrow)."""
    return f'<div class="wide">{_rows(homes, 8)}</div><div class="narrow">{_rows(homes, 4)}</div>'


def _rows(homes, per_row):
    per_row = min(per_row, max(len(homes), 1))
    rows = -(-len(homes) // per_row)
    parts = []
    for row in range(rows):
        ground = row * (_H + 14) + 92
        parts.append(f'<line class="ground" x1="0" x2="{per_row * _W}" y1="{ground}" y2="{ground}"/>')
        for column, home in enumerate(homes[row * per_row:(row + 1) * per_row]):
            parts.append(f'<g transform="translate({column * _W},{row * (_H + 14)})">{_house(home)}</g>')
    label = "The street: " + ", ".join(f"{home.name} ({', '.join(equipment(home)) or 'no devices'})" for home in homes)
    return (f'<svg class="street" viewBox="0 0 {per_row * _W} {rows * (_H + 14)}" role="img" aria-label="{escape(label)}">'
            f'{"".join(parts)}</svg>')


def equipment(home):
    """What a home has, in words."""
    out = [f"{home.pv_kwp:g} kWp solar"] if home.pv_kwp else []
    if home.battery_kwh:
        out.append(f"{home.battery_kwh:g} kWh battery")
    if home.ev:
        out.append("electric car")
    if home.kind == "shop":
        out.append("shop")
    return out


def _house(home):
    parts = ['<rect class="wall" x="26" y="48" width="52" height="44"/>']
    if home.kind == "shop":
        parts.append('<rect class="roof" x="22" y="34" width="60" height="14"/>')
        parts += [f'<path class="awning{i % 2}" d="M{24 + i * 8} 52h8v9a4 4 0 0 1-8 0z"/>' for i in range(7)]
        parts.append('<rect class="window" x="32" y="69" width="22" height="15"/><rect class="door" x="60" y="67" width="12" height="25"/>')
    else:
        parts.append('<path class="chimney" d="M70 14h7v14h-7z"/><path class="roof" d="M16 50 28 20h48l12 30z"/>')
        parts.append('<rect class="window" x="33" y="57" width="13" height="13"/><rect class="door" x="57" y="66" width="13" height="26"/>')
    if home.pv_kwp and home.kind != "shop":
        parts += _panels(home.pv_kwp)
    elif home.pv_kwp:
        parts += [f'<path class="panel" d="M{28 + 12 * i} 33l5-11h9l-5 11z"/>' for i in range(4)]
    if home.battery_kwh:
        parts.append('<rect class="battery-box" x="80" y="68" width="11" height="24" rx="2"/><path class="bolt" d="m86.5 71-4 9h3l-1 8 4.500-10h-3z"/>')
    if home.ev:
        parts.append('<path class="car" d="M72 88v-6l5-1 4-7h12l4 7 3 1v6z"/><circle class="wheel" cx="79" cy="89" r="3.600"/>'
                     '<circle class="wheel" cx="94" cy="89" r="3.600"/>')
    parts.append(f'<text class="house-name" x="52" y="108" text-anchor="middle">{escape(home.name)}</text>')
    return "".join(parts)


def _panels(kwp):
    """Panels on the slope: about one per 1.1 kWp, in one row or two."""
    count = max(2, min(8, round(kwp / 1.1)))
    rows = 1 if count <= 4 else 2
    per_row = -(-count // rows)
    out = []
    for i in range(count):
        row, column = divmod(i, per_row)
        top, height = (25, 10) if rows == 2 else (27, 13)
        y = top + row * 12
        spread = 10.5 + 0.1 * (y - 20)                  # the slope widens towards the eaves
        x = 52 + (column - (per_row - 1) / 2) * spread
        lean = (x - 52) * 0.09
        out.append(f'<path class="panel" d="M{x - 4.5:.1f} {y}h9l{lean + .4:.1f} {height}h-9.8z"/>')
    return out
