"""The chart: a bar for each competitor's median, a line from its fastest to its slowest run."""

from __future__ import annotations

import statistics
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.figures import Figures

__all__ = ["chart"]

WIDTH, LABELS, BARS, ROW, TOP = 760, 190, 380, 44, 56

# A background of its own, so that it is readable wherever it is shown.
STYLE = """
  .ground { fill: #ffffff } text { fill: #1f2328; font: 14px system-ui, sans-serif }
  .note { fill: #59636e; font-size: 12px } .own { fill: #0969da } .peer { fill: #818b98 }
  .spread { stroke: #1f2328; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } text { fill: #f0f6fc } .note { fill: #9198a1 } .own { fill: #4493f8 }
    .peer { fill: #656c76 } .spread { stroke: #f0f6fc }
  }
"""


def chart(figures: Figures, *, title: str) -> str:
    """Return the seconds of all competitors as SVG; what something is promised of stands out."""
    longest = max(max(figures.seconds(name)) for name in figures.competitors)
    rows = [_row(figures, name, TOP + number * ROW, longest) for number, name in enumerate(figures.competitors)]
    height = TOP + ROW * len(rows) + 34
    note = f"median of {figures.rounds} rounds; the line goes from the fastest to the slowest; shorter is better"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>',
            f'<text x="16" y="30">{escape(title)}</text>',
            *rows,
            f'<text class="note" x="16" y="{height - 14}">{escape(note)}</text>',
            "</svg>\n",
        ]
    )


def _row(figures: Figures, name: str, top: int, longest: float) -> str:
    seconds = figures.seconds(name)
    median = statistics.median(seconds)
    end, low, high = (LABELS + BARS * value / longest for value in (median, min(seconds), max(seconds)))
    ratio = figures.ratios.get(name)
    label = f"{median:.1f} s" + (f", {ratio.median:.2f} times" if ratio else "")
    kind = "own" if name in {promise.competitor for promise in figures.promises} else "peer"
    return (
        f'<text x="16" y="{top + 19}">{escape(name)}</text>'
        f'<rect class="{kind}" x="{LABELS}" y="{top + 3}" width="{end - LABELS:.1f}" height="22"/>'
        f'<line class="spread" x1="{low:.1f}" x2="{high:.1f}" y1="{top + 14}" y2="{top + 14}"/>'
        f'<text x="{max(end, high) + 10:.1f}" y="{top + 19}">{label}</text>'
    )
