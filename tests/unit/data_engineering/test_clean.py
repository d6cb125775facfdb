"""Clean: which rows stay, what becomes of their values, and who each person is."""

import csv
import gzip
import hashlib
import io
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from data_engineering.clean import clean, cleaned, dropped
from data_engineering.lake import new_batch, read_json, staged
from data_engineering.settings import BUNDLED_SOURCE, Settings
from data_engineering.source import extract
from data_engineering.warehouse import opened

# Written out once more on purpose: what the code says is what is tested.
NUMBERS = ["age", "functional_weight", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
NAMES = [
    "age",
    "workclass",
    "functional_weight",
    "education",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income_bracket",
]
KEPT = [
    "age",
    "workclass",
    "education",
    "marital_status",
    "occupation",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income_bracket",
]
HASHED = [name for name in NAMES if name not in {"marital_status", "income_bracket"}]


def _expected(fields: list[list[str]], key: str | None = None) -> list[dict]:
    """Return the clean rows of a census table's fields in plain Python, ordered by person."""
    names = [*NAMES, *([key] if key else [])]
    rows = set()
    for line in fields:
        values = [v.strip() if name != key else v for name, v in zip(names, line, strict=True)]
        if all(values):
            rows.add(tuple(int(v) if name in NUMBERS else v for name, v in zip(names, values, strict=True)))
    people, seen = [], Counter()
    records = [dict(zip(names, row, strict=True)) for row in rows]
    for record in sorted(records, key=lambda r: (r["marital_status"], r["income_bracket"])):
        digest = hashlib.sha256("\x1f".join(str(record[name]) for name in HASHED).encode()).hexdigest()
        seen[digest] += 1
        person = {"person_id": record[key] if key else f"{digest}-{seen[digest]}"}
        for name in KEPT:
            unknown = record[name] == "?" and name in {"workclass", "occupation", "native_country"}
            person[name] = "Unknown" if unknown else record[name]
        people.append(person)
    return sorted(people, key=lambda person: person["person_id"])


@pytest.fixture
def settings(on_both):
    """Everything here holds on both engines."""
    return on_both


@pytest.fixture
def raw_of(settings, tmp_path):
    """Return a maker of a batch with a raw table."""

    def make(rows):
        types = {name: pa.int64() if name in NUMBERS else pa.string() for name in rows[0]}
        arrays = {name: pa.array([r[name] for r in rows], kind) for name, kind in types.items()}
        batch, path = new_batch(settings.lake), tmp_path / "raw.parquet"
        pq.write_table(pa.table(arrays), path)
        with opened(settings) as tables:
            tables.load(batch, path)
        return batch

    return make


@pytest.fixture
def cleaned_from(settings, raw_of):
    """Return a cleaning of rows."""

    def make(rows, key_column=None):
        batch = raw_of(rows)
        with opened(settings) as tables:
            return tables.answer(cleaned(tables.raw(batch), key_column).order_by("person_id")).to_pylist()

    return make


@pytest.fixture
def ids(cleaned_from):
    """Return the keys of the persons of rows."""
    return lambda rows: [person["person_id"] for person in cleaned_from(rows)]


def test_the_official_table_is_what_plain_python_makes_of_it(official, rows_of):
    settings, batch = official
    with gzip.open(BUNDLED_SOURCE, "rt", newline="") as file:
        expected = _expected([line for line in csv.reader(file) if line])
    assert len(expected) == 32_537
    assert rows_of(staged(settings.lake, batch, "clean.parquet")) == expected


def test_the_official_counts(official):
    settings, batch = official
    counts = read_json(staged(settings.lake, batch, "clean.json"))
    assert counts == {"rows_in": 32_561, "with_null": 0, "duplicates": 24, "rows_out": 32_537, "erased": 0}


def test_the_clean_table_has_a_key_and_twelve_columns(cleaned_from, row):
    (person,) = cleaned_from([row()])
    assert list(person) == ["person_id", *KEPT]


def test_a_row_with_a_null_goes(cleaned_from, row):
    (person,) = cleaned_from([row(sex="Female"), *(row(**{name: None}) for name in NAMES)])
    assert person["sex"] == "Female"


def test_a_row_with_a_blank_text_goes(cleaned_from, row):
    (person,) = cleaned_from([row(sex="Female"), *(row(relationship=blank) for blank in ("", "  ", "\t"))])
    assert person["sex"] == "Female"


def test_small_tables_are_what_plain_python_makes_of_them(cleaned_from, row):
    rows = [row(), row(age=40, race=" x\t"), row(marital_status="Divorced"), row(workclass="?", sex="Perú \U0001f600")]
    assert cleaned_from(rows) == _expected([[str(line[name]) for name in NAMES] for line in rows])


def test_an_exact_duplicate_goes(cleaned_from, row):
    assert len(cleaned_from([row(), row(), row()])) == 1


def test_a_duplicate_but_for_blanks_goes(cleaned_from, row):
    assert len(cleaned_from([row(), row(race=" White ")])) == 1


def test_rows_that_differ_in_one_column_stay(cleaned_from, row):
    others = [row(**{name: 2 if name in NUMBERS else "other"}) for name in NAMES]
    assert len(cleaned_from([row(), *others])) == 1 + len(NAMES)


def test_what_goes_is_counted_by_reason(settings, raw_of, row):
    rows = [row(), row(), row(race=" White"), row(age=None), row(sex=" "), row(age=41)]
    batch = raw_of(rows)
    with opened(settings) as tables:
        counts = dropped(tables, tables.raw(batch), 2)
    assert counts == {"rows_in": 6, "with_null": 2, "duplicates": 2, "rows_out": 2}


def test_a_question_mark_becomes_unknown_in_three_columns_only(cleaned_from, row):
    texts = [name for name in KEPT if name not in NUMBERS]
    (person,) = cleaned_from([row(**dict.fromkeys(texts, " ?"))])
    assert {name for name in texts if person[name] == "Unknown"} == {"workclass", "occupation", "native_country"}
    assert {person[name] for name in texts} == {"Unknown", "?"}


def test_blanks_around_text_go_and_within_it_stay(cleaned_from, row):
    (person,) = cleaned_from([row(race="\t\r\v\f Amer Indian \n")])
    assert person["race"] == "Amer Indian"


def test_the_key_does_not_depend_on_the_order_of_rows(cleaned_from, row):
    rows = [row(age=age, income_bracket=bracket) for age in (20, 30) for bracket in ("<=50K", ">50K")]
    assert cleaned_from(rows) == cleaned_from(rows[::-1])


@pytest.mark.parametrize("label", [{"marital_status": "Divorced"}, {"income_bracket": ">50K"}])
def test_the_key_does_not_change_with_a_label(ids, row, label):
    assert ids([row()]) == ids([row(**label)])


def test_the_key_changes_with_every_other_column(ids, row):
    others = [row(**{name: 2 if name in NUMBERS else "other"}) for name in HASHED]
    assert len({key.partition("-")[0] for key in ids([row(), *others])}) == 1 + len(HASHED)


def test_the_key_does_not_mix_up_neighbouring_values(ids, row):
    first, second = ids([row(race="a", sex="bc"), row(race="ab", sex="c")])
    assert first.partition("-")[0] != second.partition("-")[0]


def test_rows_alike_but_for_labels_are_numbered_in_the_order_of_labels(cleaned_from, row):
    labels = [("Widowed", "<=50K"), ("Divorced", ">50K"), ("Divorced", "<=50K")]
    people = cleaned_from([row(marital_status=status, income_bracket=bracket) for status, bracket in labels])
    found = [(p["person_id"][-2:], p["marital_status"], p["income_bracket"]) for p in people]
    assert found == [("-1", "Divorced", "<=50K"), ("-2", "Divorced", ">50K"), ("-3", "Widowed", "<=50K")]


def test_the_sources_own_key_is_the_persons(cleaned_from, row):
    people = cleaned_from([row(id="b7"), row(id="a1")], key_column="id")
    assert [list(person) for person in people] == [["person_id", *KEPT]] * 2
    assert [person["person_id"] for person in people] == ["a1", "b7"]


def test_cleaning_again_writes_the_same_table(settings, source_file, csv_text, row):
    batch = extract(settings, "run", source_file(csv_text([row(), row(age=40)])))
    with opened(settings) as tables:
        found = [tables.answer(tables.clean(clean(settings, batch)).order_by("person_id")) for _ in range(2)]
    assert found[0].to_pylist() == found[1].to_pylist()
    assert found[0].num_rows == 2


BLANKS = st.sampled_from(["", " "])
TEXTS = st.builds("{}{}{}".format, BLANKS, st.sampled_from(["Sales", "?", "", "a,b", 'x"y', "Perú"]), BLANKS)
INTEGERS = st.builds("{}{}".format, BLANKS, st.sampled_from(["17", "39", "0", "", "99999", "007"]))
LINE = st.tuples(*(INTEGERS if name in NUMBERS else TEXTS for name in NAMES)).map(list)
GOOD = st.tuples(*(st.just("39") if name in NUMBERS else st.sampled_from(["?", " x", "x "]) for name in NAMES)).map(
    list
)


@st.composite
def _tables(draw):
    """Return a census table's fields, with nulls, blanks, `?` and duplicates, and an order for its columns."""
    lines = draw(st.lists(st.one_of(GOOD, GOOD, LINE), min_size=1, max_size=8))
    copies = draw(st.lists(st.sampled_from(lines), max_size=3))
    return [*lines, *copies], draw(st.one_of(st.none(), st.permutations(range(len(NAMES)))))


@hypothesis_settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(table=_tables())
def test_any_table_is_cleaned_as_plain_python_does(table):
    lines, order = table
    out = io.StringIO()
    ordered = [[line[i] for i in order] for line in [NAMES, *lines]] if order else lines
    csv.writer(out).writerows(ordered)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "census.csv"
        path.write_bytes(out.getvalue().encode())
        settings = Settings(lake=Path(folder) / "lake")
        batch = clean(settings, extract(settings, "run", str(path)))
        people = pq.read_table(staged(settings.lake, batch, "clean.parquet")).to_pylist()
    assert people == _expected(lines)
