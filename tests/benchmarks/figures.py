"""How a contest's figures are told: a table, JSON, and a picture of cost against rows."""

import json
from dataclasses import asdict
from typing import Any

from contest import CENSUS, Measured, Part
from matplotlib.figure import Figure
from measure import RESULTS, console, verdict
from rich.table import Table

MEASURES = {"cpu": "CPU seconds", "peak": "peak memory, GB"}
Found = list[tuple[int, int, str, dict[str, Measured]]]
"""Copies, snapshots, the machine before, and each way's medians."""


def tell(part: Part, found: Found) -> None:
    """Print the table with its ratios, and save all."""
    table = Table(part.title, "rows", "snapshots", "wall s", "CPU s", "rows/s", "peak GB", "CPU, ours to it")
    for copies, snapshots, _, ways in found:
        for way, taken in ways.items():
            figures = (
                f"{taken.wall:.2f}",
                f"{taken.cpu:.2f}",
                f"{copies * CENSUS / taken.wall:,.0f}",
                f"{taken.peak:.2f}",
            )
            ratio = f"{ways['ours'].cpu / taken.cpu:.2f}" if way != "ours" else ""
            table.add_row(way, f"{copies * CENSUS:,}", str(snapshots), *figures, ratio)
        table.add_section()
    console.print(table)
    for copies, snapshots, _, ways in found:
        size = f"  {copies * CENSUS:>10,} rows, {snapshots} snapshots"
        if "bare" in ways:
            ratios = {name: getattr(ways["ours"], name) / getattr(ways["bare"], name) for name in ("wall", "cpu")}
            console.print(
                f"{size}: ours to bare, {', '.join(f'{k} {verdict(v, part.ratio)}' for k, v in ratios.items())}"
            )
        console.print(f"{size}: peak GB {verdict(ways['ours'].peak, part.memory)}")
    save(part, found)


def save(part: Part, found: Found) -> None:
    """Leave the figures as JSON and as a picture."""
    RESULTS.mkdir(exist_ok=True)
    rows = [
        {"rows": copies * CENSUS, "snapshots": snapshots, "machine": machine, "way": way, **asdict(taken)}
        for copies, snapshots, machine, ways in found
        for way, taken in ways.items()
    ]
    (RESULTS / f"{part.name}.json").write_text(json.dumps(rows, indent=2))
    for row in rows if len(part.snapshots) > 1 else ():
        row["way"] = f"{row['way']}, {row['snapshots']} snapshots"
    picture(part.name, part.title, rows, MEASURES)


def picture(name: str, title: str, rows: list[dict[str, Any]], measures: dict[str, str]) -> None:
    """Draw cost against rows: an axis for each of the `measures`, whose values are labels, a line for each way."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (measure, text) in zip(figure.subplots(1, len(measures)), measures.items(), strict=True):
        for way in sorted({row["way"] for row in rows}):
            line = [row for row in rows if row["way"] == way]
            axes.plot([row["rows"] for row in line], [row[measure] for row in line], marker="o", label=way)
        axes.set(xscale="log", yscale="log", xlabel="rows", ylabel=text)
    axes.legend(fontsize="small")
    figure.suptitle(title)
    figure.savefig(RESULTS / f"{name}.png", dpi=120)
