#!/usr/bin/env python3
"""Pictures of the book: charts of a report as SVG files of their own.

    memtrain report quickstart/runs/seed-1
    python3 scripts/book_pictures.py quickstart/runs/seed-1/report.html docs/images
"""

import pathlib
import re
import sys

# Title of the chart in the report, and the name of the file.
CHARTS = {
    "Reward": "quickstart-reward",
    "Held-out documents": "quickstart-heldout",
    "Groups without a gradient": "quickstart-groups",
    "Tokens of a memory": "quickstart-memory-tokens",
}
COLOURS = ["#1f6fb2", "#c4611b", "#3b8a4b"]
FIGURE = re.compile(r"<figure><figcaption>([^<]*)(.*?)</figcaption><svg viewBox=\"[^\"]*\" role=\"img\">(.*?)</svg>", re.S)
LEGEND = re.compile(r"<small class=\"name(\d)\">(.*?)</small>")


def picture(title, legend, drawing):
    """A chart with its title and its legend above it, on a white ground."""
    labels, x = [f'<text class="title" x="0" y="-26">{title}</text>'], 0
    for number, label in LEGEND.findall(legend):
        labels.append(f'<text x="{x}" y="-12" style="fill:{COLOURS[int(number)]}">{label}</text>')
        x += 6 * len(label) + 12
    style = "text{font:10px sans-serif;fill:#6b6b70}.title{font-size:12px;fill:#1c1c1e}polyline{fill:none;stroke-width:1.6}"
    style += "".join(f".curve{number}{{stroke:{colour}}}" for number, colour in enumerate(COLOURS))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 -44 336 172" width="504" role="img" aria-label="{title}">'
        f'<style>{style}</style><rect x="-8" y="-44" width="336" height="172" fill="#fff"/>{"".join(labels)}{drawing}</svg>\n'
    )


def main():
    page, folder = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"), pathlib.Path(sys.argv[2])
    found = {title.strip(): picture(title.strip(), legend, drawing) for title, legend, drawing in FIGURE.findall(page)}
    for title, name in CHARTS.items():
        path = folder / f"{name}.svg"
        path.write_text(found[title], encoding="utf-8")
        print(path)


main()
