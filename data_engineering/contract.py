"""Validate: the contract that a clean table must meet before anything is published.

All rules are one aggregate query, so that a table of any size is judged where it lies and counts are exact.
"""

import logging
from dataclasses import asdict, dataclass
from typing import Any

import ibis
import ibis.expr.types as ir

from data_engineering.errors import DataError
from data_engineering.lake import read_json, staged, write_json
from data_engineering.schema import COLUMNS, FEATURES
from data_engineering.settings import Settings
from data_engineering.warehouse import Warehouse, opened

log = logging.getLogger(__name__)

RANGES = {"age": (17, 100), "capital_gain": (0, 99_999), "capital_loss": (0, 99_999), "hours_per_week": (1, 99)}

# The categories of the official table; https://archive.ics.uci.edu/dataset/2/adult lists them.
CATEGORIES: dict[str, str] = {
    "workclass": "Private|Self-emp-not-inc|Self-emp-inc|Federal-gov|Local-gov|State-gov|Without-pay|Never-worked"
    "|Unknown",
    "education": "Bachelors|Some-college|11th|HS-grad|Prof-school|Assoc-acdm|Assoc-voc|9th|7th-8th|12th|Masters|1st-4th"
    "|10th|Doctorate|5th-6th|Preschool",
    "marital_status": "Married-civ-spouse|Divorced|Never-married|Separated|Widowed|Married-spouse-absent"
    "|Married-AF-spouse",
    "occupation": "Tech-support|Craft-repair|Other-service|Sales|Exec-managerial|Prof-specialty|Handlers-cleaners"
    "|Machine-op-inspct|Adm-clerical|Farming-fishing|Transport-moving|Priv-house-serv|Protective-serv|Armed-Forces"
    "|Unknown",
    "race": "White|Asian-Pac-Islander|Amer-Indian-Eskimo|Other|Black",
    "sex": "Female|Male",
    "native_country": "United-States|Cambodia|England|Puerto-Rico|Canada|Germany|Outlying-US(Guam-USVI-etc)|India|Japan"
    "|Greece|South|China|Cuba|Iran|Honduras|Philippines|Italy|Poland|Jamaica|Vietnam|Mexico|Portugal|Ireland|France"
    "|Dominican-Republic|Laos|Ecuador|Taiwan|Haiti|Columbia|Hungary|Guatemala|Nicaragua|Scotland|Thailand|Yugoslavia"
    "|El-Salvador|Trinadad&Tobago|Peru|Hong|Holand-Netherlands|Unknown",
    "income_bracket": ">50K|<=50K",
}
SAMPLES = 5


@dataclass(frozen=True)
class Breach:
    """A rule that the table breaks: where, which, how often, and sample rows or the measured value."""

    column: str
    rule: str
    count: int
    samples: list[Any]


def validate(settings: Settings, batch: str, last_rows: int | None) -> str:
    """Return the batch if its clean table meets the contract; keep the report in the lake either way.

    `last_rows` is the row count of the last verified snapshot, if there is one.

    Raises:
        DataError: the contract is broken; the message and the report list every breach.
    """
    counts = read_json(staged(settings.lake, batch, "clean.json"))
    with opened(settings) as tables:
        table = tables.clean(batch)
        breaches = [
            *row_breaches(tables, table),
            *share_breaches(tables, table, settings.max_unknown_share),
            *count_breaches(counts, last_rows, settings),
        ]
    report = staged(settings.lake, batch, "contract.json")
    write_json(report, {"passed": not breaches, "rows": counts["rows_out"], "breaches": [asdict(b) for b in breaches]})
    if breaches:
        lines = "; ".join(f"{b.column}: {b.rule}: {b.count:,} rows, such as {b.samples}" for b in breaches)
        raise DataError(
            f"batch {batch} breaks the contract: {lines}. Report: {report}. Correct the source or the contract"
        )
    log.info("contract met by %s rows: %s", f"{counts['rows_out']:,}", report)
    return batch


def rules(table: ir.Table) -> dict[tuple[str, str], ir.BooleanValue]:
    """Return what must hold of every row, by (column, rule)."""
    found: dict[tuple[str, str], ir.BooleanValue] = {}
    for name, (low, high) in RANGES.items():
        found[name, f"between {low} and {high}"] = table[name].between(low, high)
    for name, allowed in CATEGORIES.items():
        found[name, "one of the known categories"] = table[name].isin(allowed.split("|"))
    for name in ("person_id", *FEATURES):
        found[name, "not NULL"] = table[name].notnull()
    found["person_id", "unique"] = ibis._.count().over(group_by=table.person_id) == 1
    return found


def row_breaches(tables: Warehouse, table: ir.Table) -> list[Breach]:
    """Return the rules that some row breaks, with the number of such rows and a few of them."""
    wanted = {name: "string" if kind is str else "int64" for name, kind in COLUMNS.items() if name in FEATURES}
    found = {name: str(kind).lstrip("!") for name, kind in table.schema().items() if name != "person_id"}
    if found != wanted:
        different = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        return [Breach(name, f"type {wanted.get(name)}", 0, [found.get(name)]) for name in different]
    flagged = table.mutate(**{f"ok{i}": ok for i, ok in enumerate(rules(table).values())})
    sums = {f"n{i}": (~flagged[f"ok{i}"].fill_null(False)).sum() for i in range(len(rules(table)))}  # noqa: FBT003
    counts = tables.answer(flagged.aggregate(**sums)).to_pylist()[0]
    return [
        Breach(column, rule, counts[f"n{i}"], _samples(tables, table, ok))
        for i, ((column, rule), ok) in enumerate(rules(table).items())
        if counts[f"n{i}"]
    ]


def _samples(tables: Warehouse, table: ir.Table, ok: ir.BooleanValue) -> list[Any]:
    flagged = table.mutate(ok=ok)
    bad = flagged.filter(~flagged.ok.fill_null(False)).select("person_id", *FEATURES)  # noqa: FBT003
    return list(tables.answer(bad.order_by("person_id").limit(SAMPLES)).to_pylist())


def share_breaches(tables: Warehouse, table: ir.Table, limit: float) -> list[Breach]:
    """Return the columns in which more than `limit` of the rows are `Unknown`."""
    names = [name for name, allowed in CATEGORIES.items() if "Unknown" in allowed.split("|")]
    sums = {name: (table[name] == "Unknown").sum() for name in names}
    counts = tables.answer(table.aggregate(rows=table.count(), **sums)).to_pylist()[0]
    shares = {name: (counts[name] or 0) / max(counts["rows"], 1) for name in names}
    return [
        Breach(name, f"at most {limit:.1%} Unknown", counts[name], [f"{share:.1%}"])
        for name, share in shares.items()
        if share > limit
    ]


def count_breaches(counts: dict[str, int], last_rows: int | None, settings: Settings) -> list[Breach]:
    """Return whether too many rows were dropped, or the row count moved too far since the last snapshot."""
    rows_in, rows_out = counts["rows_in"], counts["rows_out"]
    gone = rows_in - rows_out - counts.get("erased", 0)  # who was erased was not dropped
    breaches = []
    if not rows_out or gone / rows_in > settings.max_dropped_share:
        limit = f"at most {settings.max_dropped_share:.1%} of the rows dropped"
        breaches.append(Breach("(table)", limit, gone, [f"{gone / rows_in:.1%}", counts]))
    if last_rows and abs(rows_out - last_rows) / last_rows > settings.max_row_change:
        limit = f"row count within {settings.max_row_change:.0%} of the last snapshot's {last_rows:,}"
        breaches.append(Breach("(table)", limit, rows_out, [f"{(rows_out - last_rows) / last_rows:+.1%}"]))
    return breaches
