"""training/dataset.py on the real store: which snapshot, which rows, and what their digest depends on."""

import hashlib
import re
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training import dataset as datasets, features
from training.errors import TrainingError
from training.models import never_married


def instant(snapshot_id: str) -> datetime:
    return datetime.strptime(snapshot_id.partition("-")[0] + "+0000", "%Y%m%dT%H%M%S.%fZ%z")


def pulled(publisher, as_of: datetime | None = None) -> pa.Table:
    return datasets.pull(never_married, publisher.store, as_of)


def training_set(publisher, as_of: datetime | None = None) -> datasets.TrainingSet:
    return datasets.training_set(never_married, publisher.store, as_of)


def test_a_training_set_is_the_snapshot_that_was_published(publisher):
    found = training_set(publisher)
    published = pd.read_parquet(publisher.settings.lake / "census" / f"{publisher.first}.parquet")
    published = published.sort_values("person_id", ignore_index=True)
    pd.testing.assert_frame_equal(found.rows, published[found.inputs.columns], check_dtype=False)
    assert list(found.label) == list(published["marital_status"] == "Never-married")
    assert 0.2 < found.label.mean() < 0.5
    assert found.snapshot_id == publisher.first


def test_inputs_are_the_inference_services_columns_and_categories_its_strings(publisher):
    found = training_set(publisher)
    (projection,) = publisher.store.get_feature_service("never_married").feature_view_projections
    assert sorted(found.inputs.columns) == sorted(feature.name for feature in projection.features)
    assert set(found.text_columns) == set(found.inputs.select_dtypes("category").columns)
    assert set(found.text_columns) == set(found.rows.select_dtypes(object).columns)
    assert all(found.inputs[name].cat.categories.is_monotonic_increasing for name in found.text_columns)
    assert found.label.dtype == bool


def test_rows_are_ordered_by_person(publisher):
    persons = pulled(publisher)["person_id"].to_pylist()
    assert len(persons) == 300
    assert persons == sorted(persons)


def test_the_newest_verified_snapshot_is_the_default(publisher):
    later = publisher.verified(publisher.lines[:290])
    found = training_set(publisher)
    assert (found.snapshot_id, len(found.inputs)) == (later, 290)


def test_as_of_picks_the_snapshot_of_then(publisher):
    later = publisher.verified(publisher.lines[:290])
    just_before = instant(later) - timedelta(microseconds=1)
    assert training_set(publisher, just_before).snapshot_id == publisher.first
    assert len(training_set(publisher, just_before).inputs) == 300
    assert training_set(publisher, instant(publisher.first)).snapshot_id == publisher.first
    assert training_set(publisher, instant(later)).snapshot_id == later


def test_an_earlier_as_of_has_the_earlier_values(publisher):
    before = training_set(publisher)
    publisher.verified([line.replace(" >50K", " <=50K") for line in publisher.lines])
    assert set(training_set(publisher).inputs["income_bracket"]) == {"<=50K"}
    then = training_set(publisher, instant(before.snapshot_id))
    assert then.digest == before.digest
    assert set(then.inputs["income_bracket"]) == {"<=50K", ">50K"}


def test_as_of_without_a_zone_is_utc(publisher):
    naive = instant(publisher.first).replace(tzinfo=None)
    assert training_set(publisher, naive).snapshot_id == publisher.first


def test_before_the_first_snapshot_there_is_none_and_the_first_is_named(publisher):
    first = instant(publisher.first)
    as_of = first - timedelta(seconds=1)
    message = (
        f"project census has no verified snapshot at {as_of.isoformat()}, the first is of {first.isoformat()}: "
        "run the DAG publish_features"
    )
    with pytest.raises(TrainingError, match=f"^{re.escape(message)}$"):
        pulled(publisher, as_of)


def test_without_any_verified_snapshot_the_message_says_what_to_run(publisher):
    publisher.store.registry.delete_saved_dataset(f"census_{publisher.first}", "census")
    message = "^project census has no verified snapshot: run the DAG publish_features$"
    with pytest.raises(TrainingError, match=message):
        pulled(publisher)


def test_a_later_snapshot_that_is_not_verified_is_not_read(publisher):
    digest = training_set(publisher).digest
    publisher.published([line.replace(" >50K", " <=50K") for line in publisher.lines])
    assert (training_set(publisher).snapshot_id, training_set(publisher).digest) == (publisher.first, digest)


def test_equal_content_has_an_equal_digest_in_another_snapshot(publisher):
    before = training_set(publisher)
    later = publisher.verified(publisher.lines[::-1])
    after = training_set(publisher)
    assert (after.snapshot_id, after.digest) == (later, before.digest)
    assert later != publisher.first
    assert re.fullmatch("[0-9a-f]{64}", after.digest)


def test_one_cell_changes_the_digest(publisher):
    before = training_set(publisher)
    changed = publisher.lines[0].replace(" <=50K", " >50K")
    assert changed != publisher.lines[0]
    publisher.verified([changed, *publisher.lines[1:]])
    after = training_set(publisher)
    assert (after.inputs != before.inputs).to_numpy().sum() == 1
    assert after.digest != before.digest


@pytest.mark.parametrize(
    "other",
    [
        pa.table({"a": [1, 2], "b": ["x", "z"]}),
        pa.table({"a": [2, 1], "b": ["x", "y"]}),
        pa.table({"a": [1.0, 2.0], "b": ["x", "y"]}),
        pa.table({"a": [1, 2], "c": ["x", "y"]}),
        pa.table({"b": ["x", "y"], "a": [1, 2]}),
        pa.table({"a": [1, 2], "b": ["x", None]}),
        pa.table({"a": [1], "b": ["x"]}),
    ],
    ids=["value", "order", "type", "name", "columns", "null", "rows"],
)
def test_the_digest_depends_on_values_order_types_and_names(other: pa.Table):
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    assert datasets.digest_of(other) != datasets.digest_of(table)


def test_the_digest_tells_an_empty_text_from_none_and_a_comma_from_a_border():
    assert datasets.digest_of(pa.table({"a": [""]})) != datasets.digest_of(pa.table({"a": pa.array([None], "string")}))
    assert datasets.digest_of(pa.table({"a": ["x,y"], "b": ["z"]})) != datasets.digest_of(
        pa.table({"a": ["x"], "b": ["y,z"]})
    )


def test_the_digest_does_not_depend_on_how_texts_are_held():
    plain = pa.table({"person_id": ["b", "a", "c"], "sex": ["Male", "Female", "Male"], "age": [1, 2, 3]})
    coded = features.with_codes(plain)
    assert pa.types.is_dictionary(coded["sex"].type)
    assert pa.types.is_string(coded["person_id"].type)
    assert datasets.digest_of(coded) == datasets.digest_of(plain)
    assert datasets.digest_of(coded) != datasets.digest_of(plain.set_column(1, "sex", [["Male", "Female", "Female"]]))


def test_the_digest_does_not_depend_on_chunks():
    table = pa.table({"a": range(200_000)})
    parts = pa.concat_tables([table.slice(0, 1), table.slice(1, 100_000), table.slice(100_001)])
    assert parts["a"].num_chunks == 3
    assert datasets.digest_of(parts) == datasets.digest_of(table)


def test_a_missing_value_names_column_and_count(publisher):
    path = publisher.settings.lake / "census" / f"{publisher.first}.parquet"
    table = pq.read_table(path)
    gone = pa.array([None, None, *table["occupation"].to_pylist()[2:]], "string")
    index = table.column_names.index("occupation")
    pq.write_table(table.set_column(index, "occupation", gone), path)
    message = f"^snapshot {publisher.first}: 2 of 300 persons have no occupation: run publish_features again$"
    with pytest.raises(TrainingError, match=message):
        pulled(publisher)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_refused(value: float | None):
    table = pa.table({"person_id": ["a", "b"], "income": pa.array([1.0, value], "float64")})
    with pytest.raises(TrainingError, match=r"^snapshot s: 1 of 2 persons have no finite income: run"):
        features.check_values(table, "s")


def test_the_persons_held_out_are_always_the_same_and_no_part_of_the_digest(publisher):
    everybody = training_set(publisher)
    table = datasets.pull(never_married, publisher.store, holdout_share=0.2)
    found = datasets.parse(never_married, table)
    keys = pa.table({"key": table["person_id"]}).to_pandas()["key"]
    hashed = keys.map(lambda key: int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 16**8)
    pd.testing.assert_frame_equal(found.inputs, everybody.inputs[hashed >= 0.2].reset_index(drop=True))
    pd.testing.assert_frame_equal(found.held_out.inputs, everybody.inputs[hashed < 0.2].reset_index(drop=True))
    assert found.held_out.label.tolist() == everybody.label[hashed < 0.2].tolist()
    assert found.slices.index.equals(found.inputs.index)
    assert 30 < len(found.held_out.inputs) < 90
    assert found.digest != everybody.digest

    publisher.verified(publisher.lines[::-1])
    assert datasets.training_set(never_married, publisher.store, holdout_share=0.2).digest == found.digest


def test_more_inputs_come_from_the_same_snapshot_and_the_same_persons(publisher):
    share = 0.2
    found = datasets.training_set(never_married, publisher.store, holdout_share=share)
    publisher.verified([line.replace(" Never-married", " Divorced") for line in publisher.lines])
    more = datasets.extended(publisher.store, found, ["marital_status", "age_bin"])
    assert (more.inputs["marital_status"] == "Never-married").tolist() == found.label.tolist()
    assert more.inputs["age_bin"].tolist() == found.slices["age_bin"].tolist()
    assert more.text_columns == (*found.text_columns, "marital_status")
    message = "^it needs height, shoe_size, which feature view census no longer has$"
    with pytest.raises(TrainingError, match=message):
        datasets.extended(publisher.store, found, ["shoe_size", "age_bin", "height"])


def test_what_is_saved_is_loaded(publisher, tmp_path):
    table = pulled(publisher)
    path = datasets.save(table, tmp_path / "training")
    found, wanted = datasets.load(never_married, path), datasets.parse(never_married, table)
    assert path.name == f"{publisher.first}-{wanted.digest[:16]}.parquet"
    pd.testing.assert_frame_equal(found.inputs, wanted.inputs)
    pd.testing.assert_series_equal(found.label, wanted.label)
    assert (found.digest, found.lineage, found.text_columns) == (wanted.digest, wanted.lineage, wanted.text_columns)


def test_saving_twice_leaves_one_file(publisher, tmp_path):
    table = pulled(publisher)
    assert datasets.save(table, tmp_path) == datasets.save(table, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_with_another_value_is_refused(publisher, tmp_path):
    path = datasets.save(pulled(publisher), tmp_path)
    table = pq.read_table(path)
    ages = pa.array([table["age"][0].as_py() + 1, *table["age"].to_pylist()[1:]])
    pq.write_table(table.set_column(table.column_names.index("age"), table.schema.field("age"), ages), path)
    message = f"^{path}: the values are not those that were saved: clear the run's task training_set$"
    with pytest.raises(TrainingError, match=message):
        datasets.load(never_married, path)


def test_only_keeps_the_label_and_takes_columns_in_order(publisher):
    found = training_set(publisher)
    few = found.only(["sex", "age"])
    assert list(few.inputs.columns) == ["sex", "age"]
    assert np.array_equal(few.label, found.label)
    assert few.digest == found.digest
