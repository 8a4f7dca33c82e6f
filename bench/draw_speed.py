"""Draw the speed-ups recorded in RESULTS.md as bars: docs/images/speed.png.

    python bench/draw_speed.py [--out FILE]
"""

import argparse
import re
from pathlib import Path

from matplotlib import pyplot as plt

RESULTS = Path(__file__).with_name("RESULTS.md")
IMAGE = RESULTS.parents[1] / "docs" / "images" / "speed.png"
LIBRARIES = {"scikit-learn": "#e8833a", "PyTorch": "#7a5195", "JAX": "#4c9f70"}


def recorded():
    """Return (workload, ratio of each library) of the first table, top to bottom."""
    text = RESULTS.read_text(encoding="utf-8")
    head = "| workload | mlp, µs per step | " + " | ".join(LIBRARIES) + " |"
    table = text[text.index(head) :].split("\n\n")[0]
    rows = re.findall(r"^\| (.+) \|$", table, flags=re.M)[1:]
    cells = [row.split(" | ") for row in rows]
    return [(workload, [float(r) for r in ratios]) for workload, _, *ratios in cells]


def draw(rows):
    """Return a figure with one group of bars per workload on a logarithmic axis."""
    figure, ax = plt.subplots(figsize=(8, 0.85 * len(rows) + 0.9), layout="constrained")
    height = 0.26
    for i, (name, colour) in enumerate(LIBRARIES.items()):
        at = [row + (i - 1) * height for row in range(len(rows))]
        ratios = [values[i] for _, values in rows]
        bars = ax.barh(at, ratios, height, label=name, color=colour)
        ax.bar_label(bars, [f"{r:g}×" for r in ratios], padding=3, fontsize=9)
    ax.set_xscale("log")
    ax.set_xlim(1, 1500)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    labels = [workload.replace(", ", "\n", 1) for workload, _ in rows]
    ax.set_yticks(range(len(rows)), labels, fontsize=9)
    ax.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
    label = "time per training step as a multiple of mlp's, logarithmic scale"
    ax.set_xlabel(label, fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 0.3), frameon=False)
    return figure


def main():
    """Write the image."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=IMAGE, metavar="FILE")
    options = parser.parse_args()
    draw(recorded()).savefig(options.out, dpi=110, facecolor="white")


if __name__ == "__main__":
    main()
