"""Our engine leaves the bytes that stock's leaves, over generated tables."""

import json
import string
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.unit.bulk_engine.conftest import END, START

PERSONS = ["", "a", "b", "Zoë", "a person of a long name"]
# Where all bytes in a batch are empty, stock writes NULL in their place.
BYTES = st.binary(min_size=1, max_size=6)
SAFE = 2**53  # stock rounds greater integers beside a NULL
INSTANTS = st.datetimes(datetime(1950, 1, 1), datetime(2150, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001
TEXTS = st.text(string.printable + "äé☃𝄞", max_size=6)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "a_bool": st.booleans(),
    "a_bytes": BYTES,
    "a_decimal": st.decimals(allow_nan=False, allow_infinity=False).map(str),
    "a_double": st.floats(),
    "a_float": st.floats(width=32),
    "a_json": st.dictionaries(TEXTS, st.integers() | TEXTS, max_size=2).map(json.dumps),
    "a_pdf": BYTES,
    "a_string": TEXTS,
    "a_time_uuid": st.integers(0, 2**48 - 1).map(lambda node: str(uuid.uuid1(node, 1))),
    "a_timestamp": INSTANTS,
    "a_uuid": st.uuids().map(str),
    "an_image": BYTES,
    "an_int32": st.integers(-(2**31), 2**31 - 1),
    "an_int64": st.integers(-SAFE, SAFE),
    "small": st.integers(-(2**15), 2**15 - 1),
    "whole": st.integers(-(2**31), 2**31 - 1),
}
ELEMENTS: dict[str, st.SearchStrategy[Any]] = {
    "bools": st.booleans(),
    "bytes_": st.binary(max_size=4),
    "doubles": st.floats(),
    "floats": st.floats(width=32),
    "int32s": VALUES["an_int32"],
    "int64s": VALUES["an_int64"],
    "strings": TEXTS,
    "timestamps": INSTANTS,
}
# Few instants, so that many rows of an entity tie; some out of the interval.
EVENTS = st.sampled_from([START - timedelta(seconds=1), START, START + timedelta(days=1, microseconds=7), END,
                          END + timedelta(seconds=1)])  # fmt: skip
MADE = st.sampled_from([START + timedelta(days=n) for n in range(4)])


def nullable(values: dict[str, st.SearchStrategy[Any]]) -> dict[str, st.SearchStrategy[Any]]:
    return {name: st.none() | strategy for name, strategy in values.items()}


def naive(at: datetime) -> datetime:
    return at.replace(tzinfo=None)


SCALAR_ROWS = st.lists(
    st.fixed_dictionaries({"person": st.sampled_from(PERSONS), **nullable(VALUES), "event": EVENTS, "made": MADE}),
    max_size=14,
    unique_by=lambda row: (row["person"], row["event"], row["made"]),  # else stock's choice is DuckDB's mood
)
ARRAY_ROWS = st.lists(
    st.fixed_dictionaries(
        {"left": st.integers(-2, 2), "right": st.sampled_from(PERSONS[:3])}
        | nullable({name: st.lists(element, max_size=3) for name, element in ELEMENTS.items()})
        | {"event": EVENTS.map(naive), "made": MADE.map(naive)}
    ),
    max_size=10,
    unique_by=lambda row: (row["left"], row["right"], row["event"], row["made"]),
)
KEYED_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "code": st.binary(min_size=1, max_size=3),  # where all are empty stock takes them for NULL, and fails
            "number": st.sampled_from([-1, 0, 2**31 - 1]),
            "value": st.none() | st.integers(0, 9),
            "event": EVENTS,
            "made": MADE,
        }
    ),
    max_size=8,
    unique_by=lambda row: (row["code"], row["number"], row["event"], row["made"]),
)
MAPPED_ROWS = st.lists(
    st.fixed_dictionaries(
        {"PERSON": st.sampled_from(PERSONS), "VALUE": st.integers(0, 3), "other": TEXTS, "WHEN": EVENTS}
    ),
    max_size=8,
    unique_by=lambda row: (row["PERSON"], row["WHEN"]),
)


ROWS = st.fixed_dictionaries({"scalars": SCALAR_ROWS, "arrays": ARRAY_ROWS, "keyed": KEYED_ROWS, "mapped": MAPPED_ROWS})
# At once, or one after the other onto what is there. (Where windows overlap stock is wrong: test_guard.py.)
WINDOWS = st.sampled_from([[(START, END)], [(START, START + timedelta(days=2)), (START + timedelta(days=3), END)]])


def check(pair, rows, windows):
    pair.clear()
    for name, found in rows.items():
        pair.put(name, found[::2], "first")
        pair.put(name, found[1::2], "second")
    for online in (pair.stock, pair.ours):
        for start, end in windows:
            online.materialize(*rows, start=start, end=end)
    assert pair.ours.dump() == pair.stock.dump()


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS, windows=WINDOWS)
def test_the_store_holds_the_bytes_that_stock_leaves(pair, rows, windows):
    check(pair, rows, windows)


@pytest.mark.sweep
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS, windows=WINDOWS)
def test_the_store_holds_the_bytes_that_stock_leaves_in_many_more_cases(pair, rows, windows):
    check(pair, rows, windows)
