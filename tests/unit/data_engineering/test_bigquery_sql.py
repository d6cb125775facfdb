"""The SQL that BigQuery gets: kept as files, parsed as its dialect, and held against its documentation.

The emulator runs on DuckDB, so what it answers does not show that the service would. Written anew with
`UPDATE_GOLDEN=1 pytest tests/unit/data_engineering/test_bigquery_sql.py`; read the difference before it is committed.
"""

import os
import string
from pathlib import Path

import ibis
import pytest
import sqlglot
import sqlglot.expressions as sge

from data_engineering import contract, digests
from data_engineering.bigquery_sql import compiled
from data_engineering.bigquery_warehouse import BigQueryWarehouse
from data_engineering.clean import cleaned
from data_engineering.erase import row_digest
from data_engineering.publish import features, snapshot_columns, stamped
from data_engineering.schema import COLUMNS, FEATURES

GOLDEN = Path(__file__).with_name("golden")
SNAPSHOT = "20260102T030405.678901Z-0123456789abcdef"
WAREHOUSE = BigQueryWarehouse(None, "project", "dataset")
KINDS = {name: "int64" if kind is int else "string" for name, kind in COLUMNS.items()}
RAW = ibis.table(KINDS, name="raw", database="dataset", catalog="project")
CLEAN = ibis.table(
    {"person_id": "string"} | {name: KINDS[name] for name in FEATURES},
    name="clean",
    database="dataset",
    catalog="project",
)


def _publication():
    text = WAREHOUSE.publication(SNAPSHOT, stamped(features(CLEAN), SNAPSHOT))
    tree = sqlglot.parse_one(text, dialect="bigquery")
    created = next(alias for alias in tree.find_all(sge.Alias) if alias.alias == "created_timestamp")
    return text.replace(created.this.sql(dialect="bigquery"), "TIMESTAMP('2026-01-02T03:04:06+00:00')")


def _checked():
    rules = contract.rules(CLEAN)
    flagged = CLEAN.mutate(**{f"ok{i}": ok for i, ok in enumerate(rules.values())})
    return flagged.aggregate(**{f"n{i}": (~flagged[f"ok{i}"].fill_null(False)).sum() for i in range(len(rules))})


STATEMENTS = {
    "clean": lambda: compiled(cleaned(RAW)),
    "clean_with_key": lambda: compiled(cleaned(RAW.mutate(id=RAW.race), "id")),
    "digest": lambda: compiled(digests.group_digests(digests.row_hashes(features(CLEAN)))),
    "contract": lambda: compiled(_checked()),
    "create": WAREHOUSE.creation,
    "publish": _publication,
    "erase_person": lambda: WAREHOUSE.removal("project.dataset.clean", CLEAN, CLEAN.person_id == "it's"),
    "erase_raw": lambda: WAREHOUSE.removal("project.dataset.raw", RAW, row_digest(RAW).isin(["0" * 64])),
    "snapshot": lambda: compiled(WAREHOUSE.snapshot(SNAPSHOT)),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_statement_is_the_one_that_was_read(name):
    path = GOLDEN / f"{name}.sql"
    text = STATEMENTS[name]() + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_statement_is_bigquerys_dialect(name):
    (tree,) = sqlglot.parse(STATEMENTS[name](), dialect="bigquery", error_level=sqlglot.ErrorLevel.RAISE)
    assert not list(tree.find_all(sge.Command))  # what sqlglot does not understand


def column(expression):
    """Return the SQL of one column of the raw table."""
    (select,) = sqlglot.parse_one(compiled(RAW.select(x=expression)), dialect="bigquery").selects
    return select.this.sql(dialect="bigquery")


def test_trim_names_its_characters():
    """Without them BigQuery removes every Unicode white space, DuckDB and Python's tables of tests do not.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/string_functions#trim
    """
    trim = sqlglot.parse_one(column(RAW.race.strip()), dialect="bigquery")
    assert isinstance(trim, sge.Trim)
    assert set(trim.expression.this.encode().decode("unicode_escape")) == set(string.whitespace)


def test_sha256_is_in_lower_case_hexadecimal_digits():
    """SHA256 gives BYTES, TO_HEX lower-case digits; a STRING is hashed as its UTF-8.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/hash_functions#sha256
    https://cloud.google.com/bigquery/docs/reference/standard-sql/string_functions#to_hex
    """
    assert (
        column(RAW.race.hexdigest("sha256"))
        .upper()
        .replace("LOWER(", "")
        .replace("`", "")
        .startswith("TO_HEX(SHA256(T0.RACE)")
    )


def test_the_separator_is_a_hexadecimal_escape():
    r"""`\x1f` in a quoted literal is that character.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#escape_sequences
    """
    text = column(ibis.literal(digests.SEPARATOR).join([RAW.race, RAW.sex]))
    assert text == r"ARRAY_TO_STRING([`t0`.`race`, `t0`.`sex`], '\x1f')"


def test_a_timestamp_has_microseconds_and_its_zone():
    """TIMESTAMP has microseconds; a literal with an offset is that instant.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#timestamp_type
    """
    assert "678901+00:00" in STATEMENTS["snapshot"]()
    assert "678901+00:00" in STATEMENTS["publish"]()


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_aggregate_orders_nulls_last(name):
    """ "NULLS LAST not supported with ascending sort order in aggregate functions": ibis-project/ibis#10499.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/aggregate-function-calls#agg_function_call_syntax
    """
    assert "NULLS" not in STATEMENTS[name]().upper()


@pytest.mark.parametrize("name", ["clean", "digest", "publish"])
def test_rows_are_ordered_only_inside_windows_and_aggregates(name):
    """A table has no order, and sorting all of a result is one worker's task.

    https://cloud.google.com/bigquery/docs/best-practices-performance-compute#use_a_limit_clause_with_large_sorts
    """
    tree = sqlglot.parse_one(STATEMENTS[name](), dialect="bigquery")
    assert not [select for select in tree.find_all(sge.Select) if select.args.get("order")]


@pytest.mark.parametrize("name", STATEMENTS)
def test_integers_have_64_bits(name):
    """INT64 is BigQuery's one integer, so a narrower cast would be another table on DuckDB.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#integer_types
    """
    tree = sqlglot.parse_one(STATEMENTS[name](), dialect="bigquery")
    found = {kind.sql(dialect="bigquery") for kind in tree.find_all(sge.DataType)}
    assert found <= {"INT64", "STRING", "TIMESTAMP", "BOOL"}


def test_the_feature_table_is_partitioned_by_day_and_clustered_by_person():
    """https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#create_table_statement."""
    text = WAREHOUSE.creation()
    assert text.endswith(" PARTITION BY DATE(event_timestamp) CLUSTER BY person_id")
    assert text.startswith("CREATE TABLE IF NOT EXISTS `project.dataset.census` (")
    assert all(f"`{name}`" in text for name in snapshot_columns())


def test_a_snapshot_is_published_by_one_statement_that_replaces():
    """Constant false predicate: rows of the snapshot are deleted and inserted, atomically.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/dml-syntax#merge_statement
    """
    merge = sqlglot.parse_one(STATEMENTS["publish"](), dialect="bigquery")
    assert isinstance(merge, sge.Merge)
    assert merge.args["on"].sql() == "FALSE"
    delete, insert = merge.args["whens"].expressions
    assert (delete.args["source"], delete.args["then"].sql()) == (True, "DELETE")
    assert SNAPSHOT in delete.args["condition"].sql()
    assert isinstance(insert.args["then"], sge.Insert)
