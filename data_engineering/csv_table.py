"""A census table in a CSV file, with or without a header."""

import csv
from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend

from data_engineering.columns import check_names
from data_engineering.errors import DataError
from data_engineering.schema import COLUMNS, NUMBERS

# DuckDB's own cast also takes 39.0, 1_000 and 0x10, each a silent change of what the file says.
WHOLE_NUMBER = r"^\s*[+-]?[0-9]+\s*$"


def copy(connection: Backend, path: Path, source: str, key_column: str | None, draft: Path) -> None:
    """Write the table at `path` to `draft`: strings as written, numbers as 64-bit integers, empty fields as NULL.

    A first line that names census columns is a header, and columns are then found by name in any order; without
    one they are the BigQuery table's, in its order. The file is read once, unless a number is missing or none.

    Raises:
        DataError: a line has too few or too many fields or an open quote, or a number column has something else.
    """
    header = _header(path)
    names = check_names(header, source, key_column) if header else _without_header(source, key_column)
    text = connection.read_csv(
        path,
        table_name="source_file",
        auto_detect=False,
        header=bool(header),
        delim=",",
        quote='"',
        escape='"',
        columns=dict.fromkeys(names, "VARCHAR"),
        store_rejects=True,
    )
    try:
        connection.to_parquet(text.mutate(**{name: _number(text[name]) for name in NUMBERS}), draft)
    except duckdb.InvalidInputException as error:
        raise DataError(
            f"{source}: not a readable CSV file ({str(error).splitlines()[0]}): "
            "export it again, with one kind of line end and closed quotes"
        ) from None
    _refuse_rejects(connection, source)
    written = connection.read_parquet(draft, table_name="written")
    counts = written.aggregate(**{name: written[name].count() for name in NUMBERS}).to_pyarrow().to_pylist()[0]
    rows = pq.read_metadata(draft).num_rows
    for name in (name for name in NUMBERS if counts[name] < rows):
        _refuse_non_numbers(text, name, source)


def _number(text: ir.StringColumn) -> ir.IntegerColumn:
    """Return the whole numbers that the text has, and NULL where it has something else."""
    found = text.strip().try_cast("int64")
    # Most numbers are written as they are printed, which is found much faster than that they match.
    return ibis.or_(found.cast("string") == text, text.re_search(WHOLE_NUMBER)).ifelse(found, ibis.null("int64"))


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            first = next(csv.reader([file.readline()], skipinitialspace=True), [])
        except csv.Error:  # a field longer than any name
            return []
    names = [name.strip() for name in first]
    return names if {name.lower() for name in names} & set(COLUMNS) else []


def _without_header(source: str, key_column: str | None) -> list[str]:
    if key_column:
        raise DataError(
            f"{source}: no header, so column {key_column} cannot be found: add a header or unset DATA_KEY_COLUMN"
        )
    return list(COLUMNS)


def _refuse_rejects(connection: Backend, source: str) -> None:
    rejects = (
        "SELECT line, error_message, csv_line, count(DISTINCT line) OVER () FROM reject_errors ORDER BY line LIMIT 1"
    )
    if bad := connection.raw_sql(rejects).fetchone():
        line, message, text, count = bad
        more = f" ({count:,} lines in all)" if count > 1 else ""
        raise DataError(f"{source}: line {line}: {message.rstrip('.')}: {text.strip()[:120]!r}{more}: correct the line")


def _refuse_non_numbers(table: ir.Table, name: str, source: str) -> None:
    text = table[name]
    wrong = text.strip().notnull() & (text.strip() != "") & _number(text).isnull()
    bad = table.filter(wrong).aggregate(count=ibis._.count(), value=text.min(where=wrong)).to_pyarrow().to_pylist()[0]
    if bad["count"]:
        raise DataError(
            f"{source}: column {name}: {bad['value']!r} is not a 64-bit whole number ({bad['count']:,} rows): "
            "correct it"
        )
