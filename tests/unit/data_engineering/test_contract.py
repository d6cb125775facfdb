"""The contract: each rule broken once, with the message and the report."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_engineering.contract import CATEGORIES, RANGES, SAMPLES, validate
from data_engineering.errors import DataError
from data_engineering.lake import new_batch, read_json, staged, write_json
from data_engineering.schema import FEATURES
from data_engineering.warehouse import opened

ROWS = 20
ON_DUCKDB = pytest.mark.parametrize("on_both", ["duckdb"], indirect=True)  # BigQuery's integers have one width


@pytest.fixture
def settings(on_both):
    """Everything here holds on both engines."""
    return on_both


@pytest.fixture
def clean_batch(settings, row, tmp_path):
    """Return a maker of a batch of twenty clean rows, the first ones changed."""

    def make(*changes, drop=0, counts=None, **types):
        source = {name: value for name, value in row().items() if name in FEATURES}
        people = [{"person_id": f"p{i:02}", **source} for i in range(ROWS)]
        people = [{**person, **change} for person, change in zip(people, [*changes, *[{}] * ROWS], strict=False)]
        arrays = {
            name: pa.array(
                [p[name] for p in people[drop:]], types.get(name, pa.int64() if name in RANGES else pa.string())
            )
            for name in people[0]
        }
        batch = new_batch(settings.lake)
        path = tmp_path / "clean.parquet"
        pq.write_table(pa.table(arrays), path)
        with opened(settings) as tables:
            tables.load(batch, path)
            tables.write_clean(batch, tables.raw(batch))
        rows = ROWS - drop
        usual = {"rows_in": rows, "with_null": 0, "duplicates": 0, "rows_out": rows}
        write_json(staged(settings.lake, batch, "clean.json"), counts or usual)
        return batch

    return make


@pytest.fixture
def breaches(settings):
    """Return a check that validation fails with a message, which returns the report's breaches."""

    def check(batch, message, last_rows=None):
        with pytest.raises(DataError, match=f"^batch {batch} breaks the contract: .*{re.escape(message)}"):
            validate(settings, batch, last_rows)
        report = read_json(staged(settings.lake, batch, "contract.json"))
        assert not report["passed"]
        return report["breaches"]

    return check


def test_the_official_table_meets_the_contract(official):
    settings, batch = official
    assert validate(settings, batch, 32_537) == batch
    report = read_json(staged(settings.lake, batch, "contract.json"))
    assert report == {"passed": True, "rows": 32_537, "breaches": []}


def test_a_small_good_table_meets_the_contract(settings, clean_batch):
    batch = clean_batch()
    assert validate(settings, batch, None) == batch


def test_the_ends_of_a_range_are_allowed(settings, clean_batch):
    batch = clean_batch(*({name: value} for name, pair in RANGES.items() for value in pair))
    assert validate(settings, batch, None) == batch


OUT_OF_RANGE = {
    ("age", "between 17 and 100"): (16, 101),
    ("capital_gain", "between 0 and 99999"): (-1, 100_000),
    ("capital_loss", "between 0 and 99999"): (-1, 100_000),
    ("hours_per_week", "between 1 and 99"): (0, 100),
}


def test_values_out_of_range_break_the_contract(clean_batch, breaches):
    changes = [{name: value} for (name, _), values in OUT_OF_RANGE.items() for value in values]
    found = breaches(clean_batch(*changes), "age: between 17 and 100: 2 rows, such as [{'person_id'")
    assert {(b["column"], b["rule"]): b["count"] for b in found} == dict.fromkeys(OUT_OF_RANGE, 2)
    for breach in found:
        values = [sample[breach["column"]] for sample in breach["samples"]]
        assert values == list(OUT_OF_RANGE[breach["column"], breach["rule"]])


def test_unknown_categories_break_the_contract(clean_batch, breaches):
    found = breaches(
        clean_batch(*({name: "Martian"} for name in CATEGORIES)), "sex: one of the known categories: 1 rows"
    )
    assert [(b["column"], b["count"], b["samples"][0][b["column"]]) for b in found] == [
        (name, 1, "Martian") for name in CATEGORIES
    ]


def test_a_category_is_compared_as_a_whole(clean_batch, breaches):
    values = ["?", "state-gov", " State-gov", "State"]
    found = breaches(clean_batch(*({"workclass": value} for value in values)), "workclass: one of the known categories")
    assert [sample["workclass"] for sample in found[0]["samples"]] == values


def test_a_null_breaks_the_contract(clean_batch, breaches):
    names = ["person_id", *FEATURES]
    found = breaches(clean_batch(*({name: None} for name in names)), "income_bracket: not NULL: 1 rows")
    nulls = [breach for breach in found if breach["rule"] == "not NULL"]
    assert [(b["column"], b["count"], b["samples"][0][b["column"]]) for b in nulls] == [
        (name, 1, None) for name in names
    ]


def test_a_doubled_key_breaks_the_contract(clean_batch, breaches):
    (breach,) = breaches(clean_batch(*[{"person_id": "p19"}] * 2), "person_id: unique: 3 rows")
    assert (breach["rule"], breach["count"]) == ("unique", 3)
    assert [sample["person_id"] for sample in breach["samples"]] == ["p19"] * 3


def test_the_count_is_exact_and_the_samples_a_few(clean_batch, breaches):
    (breach,) = breaches(clean_batch(*[{"age": 5}] * 13), "age: between 17 and 100: 13 rows")
    assert breach["count"] == 13
    assert [sample["person_id"] for sample in breach["samples"]] == [f"p{i:02}" for i in range(SAMPLES)]


@ON_DUCKDB
def test_another_type_breaks_the_contract(clean_batch, breaches):
    (breach,) = breaches(clean_batch(age=pa.int32()), "age: type int64: 0 rows, such as ['int32']")
    assert breach == {"column": "age", "rule": "type int64", "count": 0, "samples": ["int32"]}


def test_every_breach_is_told(clean_batch, breaches):
    found = breaches(clean_batch({"age": 5}, {"sex": "x"}), "age: between 17 and 100: 1 rows")
    assert {(breach["column"], breach["rule"]) for breach in found} == {
        ("age", "between 17 and 100"),
        ("sex", "one of the known categories"),
    }


@pytest.mark.parametrize("name", ["workclass", "occupation", "native_country"])
def test_too_many_unknowns_break_the_contract(clean_batch, breaches, name):
    (breach,) = breaches(clean_batch(*[{name: "Unknown"}] * 3), f"{name}: at most 10.0% Unknown: 3 rows")
    assert breach == {"column": name, "rule": "at most 10.0% Unknown", "count": 3, "samples": ["15.0%"]}


def test_unknowns_up_to_the_limit_are_allowed(settings, clean_batch):
    batch = clean_batch(*[{"workclass": "Unknown"}] * 2)
    assert validate(settings, batch, None) == batch


def test_too_many_dropped_rows_break_the_contract(clean_batch, breaches):
    counts = {"rows_in": 22, "with_null": 1, "duplicates": 1, "rows_out": 20}
    (breach,) = breaches(clean_batch(counts=counts), "(table): at most 5.0% of the rows dropped: 2 rows")
    assert (breach["column"], breach["count"], breach["samples"]) == ("(table)", 2, ["9.1%", counts])


def test_dropped_rows_up_to_the_limit_are_allowed(settings, clean_batch):
    batch = clean_batch(counts={"rows_in": 100, "with_null": 5, "duplicates": 0, "rows_out": 95})
    assert validate(settings, batch, None) == batch


@pytest.mark.parametrize(("last_rows", "change"), [(26, "-23.1%"), (16, "+25.0%")])
def test_a_row_count_that_jumps_breaks_the_contract(clean_batch, breaches, last_rows, change):
    rule = f"row count within 20% of the last snapshot's {last_rows}"
    (breach,) = breaches(clean_batch(), f"(table): {rule}: 20 rows", last_rows=last_rows)
    assert breach == {"column": "(table)", "rule": rule, "count": 20, "samples": [change]}


def test_a_row_count_that_moves_to_the_limit_is_allowed(settings, clean_batch):
    batch = clean_batch()
    assert validate(settings, batch, 25) == batch


def test_a_table_without_rows_breaks_the_contract(clean_batch, breaches):
    counts = {"rows_in": 20, "with_null": 20, "duplicates": 0, "rows_out": 0}
    (breach,) = breaches(clean_batch(drop=ROWS, counts=counts), "(table): at most 5.0% of the rows dropped: 20 rows")
    assert breach["samples"] == ["100.0%", counts]


def test_the_message_names_the_report_and_the_remedy(settings, clean_batch, breaches):
    batch = clean_batch({"age": 5})
    breaches(batch, f"Report: {staged(settings.lake, batch, 'contract.json')}. Correct the source or the contract")
