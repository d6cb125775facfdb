"""Addresses of tables and datasets in BigQuery, as settings and the run's form take them."""

from data_engineering.errors import DataError

SCHEME = "bigquery://"


def parts(address: str, wanted: str) -> list[str]:
    """Return what the names of a `bigquery://` address are, as in `wanted`, such as `project.dataset.table`.

    Raises:
        DataError: the address has another shape.
    """
    found = address.removeprefix(SCHEME).split(".")
    if not address.startswith(SCHEME) or len(found) != len(wanted.split(".")) or not all(found) or "`" in address:
        raise DataError(f"{address}: not a BigQuery address: write {SCHEME}{wanted}")
    return found
