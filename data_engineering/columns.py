"""Which columns a source file has, found by name."""

import difflib
from collections import Counter

from data_engineering.errors import DataError
from data_engineering.schema import COLUMNS


def check_names(found: list[str], source: str, key_column: str | None) -> list[str]:
    """Return `found` if it is the census table's columns in any order, plus the key column if one is named.

    Raises:
        DataError: a column is missing, unknown or there twice.
    """
    wanted = [*COLUMNS, *([key_column] if key_column else [])]
    times = Counter(name.lower() for name in found)  # DuckDB's names know no case
    if doubled := [name for name in found if times[name.lower()] > 1]:
        raise DataError(f"{source}: column {doubled[0]} is there more than once: keep one of them")
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    if missing:
        lowered = {name.lower(): name for name in unknown}
        near = difflib.get_close_matches(missing[0], lowered, n=1, cutoff=0.5)
        hint = f"rename {lowered[near[0]]!r}" if near else f"the header has {', '.join(found)}"
        raise DataError(f"{source}: column {missing[0]} is missing: {hint}")
    if unknown:
        raise DataError(
            f"{source}: unknown column {unknown[0]!r}: remove it, or set DATA_KEY_COLUMN if it is the table's own key"
        )
    return found
