"""The census table as the source gives it, named as in `bigquery-public-data.ml_datasets.census_adult_income`."""

COLUMNS: dict[str, type[int] | type[str]] = {
    "age": int,
    "workclass": str,
    "functional_weight": int,
    "education": str,
    "education_num": int,
    "marital_status": str,
    "occupation": str,
    "relationship": str,
    "race": str,
    "sex": str,
    "capital_gain": int,
    "capital_loss": int,
    "hours_per_week": int,
    "native_country": str,
    "income_bracket": str,
}
NUMBERS = [name for name, kind in COLUMNS.items() if kind is int]
TEXTS = [name for name, kind in COLUMNS.items() if kind is str]
DROPPED = ["functional_weight", "education_num", "relationship"]
LABELS = ["marital_status", "income_bracket"]
FEATURES = [name for name in COLUMNS if name not in DROPPED]
