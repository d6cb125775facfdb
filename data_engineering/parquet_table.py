"""A census table in a Parquet file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
from ibis.backends.duckdb import Backend

from data_engineering.columns import check_names
from data_engineering.errors import DataError
from data_engineering.schema import COLUMNS

MAGIC = b"PAR1"


def is_parquet(path: Path) -> bool:
    """Return whether the file begins like Parquet."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def copy(connection: Backend, path: Path, source: str, key_column: str | None, draft: Path) -> None:
    """Write the table at `path` to `draft`, columns found by name; integers of any width become 64-bit.

    Raises:
        DataError: the file is damaged, a column is missing or unknown, or has another type.
    """
    with _readable(source):
        table = connection.read_parquet(path)
    names = check_names(list(table.columns), source, key_column)
    for name in names:
        found, wanted = table[name].type(), COLUMNS.get(name, str)
        fits = found.is_integer() if wanted is int else found.is_string()
        if not fits and name in COLUMNS:
            raise DataError(
                f"{source}: column {name} has type {found}, not {_type_name(wanted)}: cast it where it is written"
            )
    wide = table.select(**{name: table[name].cast(_type_name(COLUMNS.get(name, str))) for name in names})
    with _readable(source):  # opening the file has read its footer only: damage and numbers too large show here
        connection.to_parquet(wide, draft)


@contextmanager
def _readable(source: str) -> Iterator[None]:
    try:
        yield
    except duckdb.ConversionException as error:
        raise DataError(f"{source}: {str(error).splitlines()[0]}: correct it where it is written") from None
    except (duckdb.Error, OSError) as error:
        raise DataError(
            f"{source}: not a readable Parquet file ({str(error).splitlines()[0]}): fetch it again"
        ) from None


def _type_name(kind: type[int] | type[str]) -> str:
    return "int64" if kind is int else "string"
