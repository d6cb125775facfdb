"""A census of any size: copies of the official file with distinct keys and jittered numbers, from a seed."""

from pathlib import Path

import duckdb

from data_engineering.schema import COLUMNS
from data_engineering.settings import BUNDLED_SOURCE

SEED = 1
CENSUS = 32_561  # rows of the official file
# How far a copy's number may lie from the original's, and the contract's range; both ends inclusive.
JITTER = {
    "age": (3, 17, 90),
    "hours_per_week": (5, 1, 99),
    "capital_gain": (50, 0, 99_999),
    "capital_loss": (50, 0, 99_999),
}


def write(path: Path, copies: int, seed: int = SEED) -> Path:
    """Write `copies` × 32,561 rows as CSV or Parquet, by the suffix of `path`, and return it.

    The first copy is the official file but for functional_weight, which tells the copies apart: so no derived key
    is there twice that is not twice in the official file. A zero gain or loss stays zero.
    """
    values = ", ".join(f"{_value(name, copies)} AS {name}" for name in COLUMNS)
    form = "(FORMAT csv, HEADER)" if path.suffix == ".csv" else "(FORMAT parquet)"
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE TABLE official AS FROM read_csv('{BUNDLED_SOURCE}', header = false, names = {list(COLUMNS)})"
        )
        rows = f"SELECT *, hash(official.rowid, copy, {seed}) AS chance FROM range({copies}) r(copy), official"
        connection.execute(f"COPY (SELECT {values} FROM ({rows})) TO '{path}' {form}")
    return path


def _value(name: str, copies: int) -> str:
    if name == "functional_weight":
        return f"{name} * {copies} + copy"
    if name not in JITTER:
        return name
    width, low, high = JITTER[name]
    step = f"(hash(chance, '{name}') % {2 * width + 1})::BIGINT - {width}"
    return f"CASE WHEN copy = 0 OR {name} = 0 THEN {name} ELSE least(greatest({name} + {step}, {low}), {high}) END"
