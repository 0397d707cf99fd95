"""The error curves of the bench, drawn beside the limits of the standards and again near enough to be seen."""
import numpy as np


def draw(points, angles, limit_of, most_a, path):
    """points: [{amps, pf, kind, error}], angles: ((pf, capacitive), …), limit_of(standard, amps, pf) in %."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure, (axes, near) = pyplot.subplots(2, 1, figsize=(8, 7), sharex=True)
    for pf, cap in angles:
        kind = "capacitive" if cap else "inductive" if pf < 1 else ""
        curve = [p for p in points if p["pf"] == pf and p["kind"] == kind]
        for part in axes, near:
            part.semilogx([p["amps"] for p in curve], [p["error"] for p in curve], "o-", label=f"PF {pf} {kind}")
    for standard, style in (("class 1", "k-"), ("class C", "k--")):
        amps = np.geomspace(0.1, most_a, 400)
        limits = np.array([limit_of(standard, float(a), 1.0) or np.nan for a in amps])
        axes.plot(amps, limits, style, lw=0.8, label=f"{standard}, PF 1")
        axes.plot(amps, -limits, style, lw=0.8)
    for limit in (-0.1, 0.1):
        near.axhline(limit, color="k", lw=0.8, ls=":")
    axes.set(ylabel="error, %", ylim=(-1.8, 1.8), title="8 kHz, 12 bits, 0.55 LSB, 50 µs: beside the standards' limits")
    near.set(xlabel="current, A", ylabel="error, %", ylim=(-0.12, 0.12), title="the same curves, ±0.1 % dotted")
    axes.legend(ncol=2, fontsize=8, loc="upper right")
    for part in axes, near:
        part.grid(alpha=0.3)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)
