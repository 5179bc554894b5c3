"""The comparison drawn: time over table size, and a bar for each competitor at the other works."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import compare_keys as keys
from rounds import Row
from yardsticks import Missing

OURS = ("vnasfast", "dispatch_", "dispatch: ")
INSTALL = "python -m pip install 'vnasfast[bench]'"


def draw(path: Path, rows: Sequence[Row], sizes: Sequence[int], caption: str) -> None:
    """Draw the table to a file; its suffix says how: .svg, .png or .pdf.

    Raises
    ------
    Missing
        There is no matplotlib.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError:
        raise Missing(f"there is no matplotlib to draw with: {INSTALL}") from None
    titles = {keys.sizes_title(n): n for n in sizes}
    works = list(dict.fromkeys(row.work for row in rows if row.work not in titles))
    bars = {work: [row for row in rows if row.work == work] for work in works}
    curves = any(row.work in titles for row in rows)
    heights = [5.0] * curves + [0.6 + 0.24 * len(part) for part in bars.values()]
    figure = Figure(figsize=(9, sum(heights) + 0.5), layout="constrained")
    panels = list(figure.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0])
    if curves:
        panel = panels.pop(0)
        others = [f"tab:{color}" for color in ("red", "orange", "brown", "olive", "green", "purple", "pink", "gray")]
        for name in dict.fromkeys(row.name for row in rows if row.work in titles):
            line = [(titles[row.work], row.ns) for row in rows if row.work in titles and row.name == name]
            ours, floor = name.startswith("dispatch_batch"), name == keys.FLOOR_NAME
            style: dict[str, Any] = (
                {"linewidth": 2.5} if ours else {"linewidth": 2, "color": "black"} if floor else {"linestyle": "--"}
            )
            if not ours and not floor:
                style["color"] = others.pop(0) if others else "0.7"
            panel.plot(*zip(*sorted(line), strict=True), marker="o", markersize=4, label=name, **style)
        panel.set(xscale="log", yscale="log", xlabel="sockets", ylabel="ns per packet")
        panel.set_title("IPv4 keys in uniform order, hits (IPv6 where named)", loc="left", fontsize=10)
        panel.grid(alpha=0.3)
        panel.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False)
    for panel, (work, part) in zip(panels, bars.items(), strict=True):
        part = sorted(part, key=lambda row: -row.ns)  # noqa: PLW2901
        names = [row.name for row in part]
        colors = ["tab:blue" if _is_ours(row) else "0.7" for row in part]
        drawn = panel.barh(names, [row.ns for row in part], color=colors)
        panel.bar_label(drawn, [f" {row.ns:,.1f}" for row in part], fontsize=7)
        panel.set_xscale("log")
        panel.set_xlim(left=min(row.ns for row in part) / 2, right=max(row.ns for row in part) * 3)
        panel.tick_params(axis="y", labelsize=8)
        panel.set_title(f"{work}: ns per packet", loc="left", fontsize=10)
    figure.suptitle(caption, fontsize=8)
    figure.savefig(path, dpi=120)


def _is_ours(row: Row) -> bool:
    return any(name in row.name for name in OURS) or row.work.startswith("shapes")
