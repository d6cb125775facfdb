"""Rows as the online stores want them: each distinct value of a column goes through Feast's own converters once."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureView, Field, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from bulk_engine.feast_internals import (
    python_values_to_proto_values,
    serialize_entity_key,
    serialize_entity_key_prefix,
)

KEY_VERSION = 3
BYTES = pa.large_binary()
NOTHING = pa.scalar(b"", BYTES)
SAMPLE = b"0"

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Coded(Generic[T]):
    """A column: `values[codes[i]]` is row i's value."""

    values: list[T]
    codes: np.ndarray

    def map(self, change: Callable[[T], U]) -> "Coded[U]":
        """Return the column with each distinct value changed."""
        return Coded([change(value) for value in self.values], self.codes)

    def rows(self) -> list[T]:
        """Return the values row by row."""
        return [self.values[code] for code in self.codes.tolist()]


@dataclass(frozen=True)
class Rows:
    """A batch: entities as an array of serialized keys, features as Feast's values, instants in UTC."""

    keys: pa.Array
    features: dict[str, Coded[Value]]
    event: Coded[datetime]
    created: Coded[datetime | None]


def encoded(batch: pa.RecordBatch, view: FeatureView) -> Rows:
    """Return a batch of a view's source as Rows."""
    source = view.batch_source
    created = source.created_timestamp_column
    return Rows(
        keys=entity_keys(batch, view),
        features={field.name: values(batch[field.name], field.dtype.to_value_type()) for field in view.features},
        event=_instants(batch[source.timestamp_field]),
        created=_instants(batch[created]) if created else Coded([None], np.zeros(batch.num_rows, dtype=int)),
    )


def values(column: pa.Array, value_type: ValueType) -> Coded[Value]:
    """Return a column as Feast's values, equal to those that stock Feast makes of it."""
    if pa.types.is_nested(column.type):  # Arrow has no dictionaries of lists
        return Coded(python_values_to_proto_values(_as_feast_reads(column), value_type), np.arange(len(column)))
    distinct, codes = _distinct(column)
    if pa.types.is_integer(column.type):
        # Stock's way through pandas turns integers beside a NULL into floats and rounds those beyond 2^53.
        known = distinct.drop_null()
        protos = python_values_to_proto_values(known.to_numpy(zero_copy_only=False), value_type) if len(known) else []
        if distinct.null_count:
            protos.insert(distinct.is_null().index(True).as_py(), Value())
    else:
        protos = python_values_to_proto_values(_as_feast_reads(_with_sample(distinct)), value_type)
    return Coded(protos, codes)  # what a sample adds has no code


def entity_keys(batch: pa.RecordBatch, view: FeatureView) -> pa.Array:
    """Return each row's serialized entity key: Feast's for the names, and for each value in the names' order."""
    prefix = pa.scalar(serialize_entity_key_prefix(view.join_keys), BYTES)
    parts = [_key_part(batch[column.name], column) for column in sorted(view.entity_columns, key=lambda c: c.name)]
    return pc.binary_join_element_wise(prefix, *parts, NOTHING)


def headed(payload: pa.Array, head: Callable[[int], bytes]) -> pa.Array:
    """Return byte strings with a head that depends on their length alone, made once for each length."""
    lengths, codes = _distinct(pc.binary_length(payload))
    return pc.binary_join_element_wise(taken([head(n) for n in lengths.to_pylist()], codes), payload, NOTHING)


def taken(values: list[bytes], codes: np.ndarray) -> pa.Array:
    """Return byte strings by their codes."""
    return pa.array(values, BYTES).take(pa.array(codes))


def _key_part(column: pa.Array, field: Field) -> pa.Array:
    """Return what each value adds to a serialized key.

    Keys are as many as rows, so Feast serializes only one value of each length, and the others take over its head.
    """
    kind = field.dtype.to_value_type()

    def serialized(value: Value) -> bytes:
        whole: bytes = serialize_entity_key(EntityKey(join_keys=[field.name], entity_values=[value]), KEY_VERSION)
        return whole[len(serialize_entity_key_prefix([field.name])) :]

    def head(value: Value, length: int) -> bytes:
        return serialized(value)[:-length] if length else serialized(value)

    if kind is ValueType.STRING and not column.null_count:
        return headed(column.cast(pa.large_string()).cast(BYTES), lambda n: head(Value(string_val="0" * n), n))
    if kind is ValueType.INT64 and not column.null_count:
        integers = column.cast(pa.int64()).to_numpy(zero_copy_only=False).astype("<i8")
        payload = pa.FixedSizeBinaryArray.from_buffers(pa.binary(8), len(integers), [None, pa.py_buffer(integers)])
        return headed(payload.cast(BYTES), lambda n: head(Value(int64_val=0), n))
    coded = values(column, kind).map(serialized)
    return taken(coded.values, coded.codes)


def _instants(column: pa.Array) -> Coded[Any]:
    distinct, codes = _distinct(column)
    instants = pd.to_datetime(distinct.to_numpy(zero_copy_only=False), utc=True)
    return Coded([None if at is pd.NaT else at.to_pydatetime(warn=False) for at in instants], codes)


def _distinct(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    coded = column.dictionary_encode(null_encoding="encode")
    return coded.dictionary, coded.indices.to_numpy()


def _with_sample(column: pa.Array) -> pa.Array:
    """Return bytes with some that are not empty: where Feast's converter sees none, it makes all of them NULL."""
    if pa.types.is_binary(column.type):
        return pa.concat_arrays([column, pa.array([SAMPLE], column.type)])
    return column


def _as_feast_reads(column: pa.Array) -> np.ndarray:
    """Return what reaches Feast's converters in stock: its local engine takes every table through pandas and back."""
    table = pa.Table.from_pandas(pa.table({"value": column}).to_pandas())
    read: np.ndarray = table["value"].combine_chunks().to_numpy(zero_copy_only=False)
    return read
