"""Whether `feast apply` has registered what this area is about to publish."""

from pathlib import PurePath

from feast import FeatureStore, FeatureView

from data_engineering.errors import DataError
from data_engineering.materialize import VIEW
from data_engineering.publish import columns
from data_engineering.settings import Settings
from data_engineering.warehouse import place

FEAST_TYPES = {"string": "String", "int64": "Int64", "float64": "Float64", "boolean": "Bool"}


def check(store: FeatureStore, settings: Settings) -> None:
    """Raise DataError unless the registry has the feature view with the columns and the place that are published."""
    registry = f"the registry of project {store.project!r}"
    views = {view.name: view for view in store.list_feature_views()}
    if VIEW not in views:
        others = [project.name for project in store.list_projects() if project.name != store.project]
        hint = f" (it has project {', '.join(map(repr, others))})" if others else ""
        raise DataError(f"feature view {VIEW} is not in {registry}{hint}: run `feast apply` in feature_repo")
    if different := _differences(views[VIEW], settings):
        raise DataError(f"feature view {VIEW} in {registry} {different[0]}: run `feast apply` in feature_repo")


def _differences(view: FeatureView, settings: Settings) -> list[str]:
    found = {field.name: str(field.dtype) for field in [*view.entity_columns, *view.features]}
    wanted = {name: FEAST_TYPES.get(kind, kind) for name, kind in columns().items()}
    source = view.batch_source
    published, read = place(settings), getattr(source, "table", None) or getattr(source, "path", None)
    return [
        *(f"lacks {name}, which is published" for name in wanted if name not in found),
        *(f"has {name}, which is not published" for name in found if name not in wanted),
        *(
            f"has {n} as {found[n]}, and {kind} is published"
            for n, kind in wanted.items()
            if found.get(n, kind) != kind
        ),
        *([f"reads {read}, and {published} is published"] if not read or PurePath(read) != PurePath(published) else []),
    ]
