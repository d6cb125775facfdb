"""The batch engine that feature_store.yaml names."""

import logging
from collections.abc import Sequence
from contextlib import closing
from importlib.util import find_spec
from typing import Any, Literal

from feast import FeatureView
from feast.data_format import ParquetFormat
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from feast.types import UnixTimestamp
from tqdm import tqdm

from bulk_engine import online
from bulk_engine.changes import Changes, SupersededError
from bulk_engine.encode import encoded
from bulk_engine.feast_internals import (
    DUMMY_ENTITY_ID,
    LocalComputeEngine,
    LocalMaterializationJob,
    MaterializationJobStatus,
    MaterializationTask,
    check_version,
)
from bulk_engine.offline import DRIVERS, Interval, Source, opened

log = logging.getLogger(__name__)

BATCH_ROWS = 10_000
MOST_FEATURES = 1_000  # what a call in Redis' scripts can take


class BulkEngineConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """The options of `batch_engine` in feature_store.yaml."""

    type: Literal["bulk_engine.BulkEngine"] = "bulk_engine.BulkEngine"

    write: Literal["all", "changed"] = "all"
    """`changed` leaves out entities whose values are those of the last materialized interval."""

    ignore: tuple[str, ...] = ()
    """Features whose change alone is no reason to write a row; with `write: changed` only."""

    memory_limit: str = "512MB"
    """How much memory DuckDB takes before it spills to a temporary folder."""

    wait_seconds: float = online.WAIT_SECONDS
    """How long a batch waits for SQLite's lock."""


class BulkEngine(LocalComputeEngine):  # type: ignore[misc]
    """Materializes views of Parquet files into SQLite and Redis in bulk, and all else as Feast's local engine does."""

    def __init__(self, *, repo_config: Any, offline_store: Any, online_store: Any, **options: Any) -> None:
        check_version()
        super().__init__(repo_config=repo_config, offline_store=offline_store, online_store=online_store)
        self.options = BulkEngineConfig(**options)

    def _materialize_one(
        self, registry: BaseRegistry, task: MaterializationTask, **kwargs: Any
    ) -> LocalMaterializationJob:
        view = task.feature_view
        try:
            if not (why := self.refusal(task)):
                with opened(view, self.options.memory_limit) as source:
                    if not (why := source.refusal()):
                        self._write(source, task)
            if why:
                log.warning("%s: %s: Feast's own engine materializes it", view.name, why)
                with online.other_run(self.repo_config, self.online_store, view, self.options.wait_seconds):
                    return super()._materialize_one(registry, task, **kwargs)
        except Exception as error:  # noqa: BLE001  a job carries its error, which Feast raises
            return self._job(task, MaterializationJobStatus.ERROR, error)
        return self._job(task, MaterializationJobStatus.SUCCEEDED)

    def refusal(self, task: MaterializationTask) -> str | None:
        """Return why a view is not for this engine, as far as its definition says, or None."""
        if self.repo_config.offline_store.type != "duckdb":
            return f"offline store {self.repo_config.offline_store.type}"
        return online.refusal(self.repo_config) or _refusal(task.feature_view)

    def _write(self, source: Source, task: MaterializationTask) -> None:
        view = source.view
        with online.rows_of(self.repo_config, self.online_store, view, self.options.wait_seconds) as rows:
            changes = Changes(source, rows, self._ignored(view))
            again = False
            while True:
                try:
                    read = self._run(source, rows, changes, task, again=again)
                    break
                except SupersededError:
                    again = True
                    log.info("%s: another materialization has begun meanwhile: this one begins again", view.name)
        log.info(
            "%s: %s rows written, %s newer ones online left", view.name, f"{read - rows.rejected:,}", rows.rejected
        )

    def _run(self, source: Source, rows: Any, changes: Changes, task: MaterializationTask, *, again: bool) -> int:
        """Write the rows of an interval; return how many were read."""
        interval = Interval(task.start_time, task.end_time)
        size = min(self.repo_config.materialization_config.online_write_batch_size or BATCH_ROWS, rows.most_rows)
        query = changes.begun(interval, again=again)
        read = 0
        with closing(task.tqdm_builder(source.count(interval)) if task.tqdm_builder else tqdm(disable=True)) as bar:
            for batch in source.rows(query, interval, size, in_order=rows.in_order):
                rows.write(encoded(batch, source.view))
                read += batch.num_rows
                bar.update(batch.num_rows)
            rows.flush()
        changes.completed()
        return read

    def _ignored(self, view: FeatureView) -> set[str] | None:
        """Return the features that do not count as a change; None if every row is written, changed or not."""
        if self.options.write == "all":
            return None
        if view.ttl or getattr(self.repo_config.online_store, "key_ttl_seconds", None):
            log.info("%s: rows expire, so unchanged ones are written too", view.name)
            return None
        return set(self.options.ignore)

    def _job(
        self, task: MaterializationTask, status: MaterializationJobStatus, error: Exception | None = None
    ) -> LocalMaterializationJob:
        name = f"{task.feature_view.name}-{task.start_time}-{task.end_time}"
        return LocalMaterializationJob(job_id=name, status=status, error=error)

    def update(
        self,
        project: str,
        views_to_delete: Sequence[Any],
        views_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Any],
        entities_to_keep: Sequence[Any],
    ) -> None:
        """Forget what was materialized of the views to delete."""
        super().update(project, views_to_delete, views_to_keep, entities_to_delete, entities_to_keep)
        self._forget(views_to_delete)

    def teardown_infra(self, project: str, fvs: Sequence[Any], entities: Sequence[Any]) -> None:
        """Forget what was materialized of all views."""
        super().teardown_infra(project, fvs, entities)
        self._forget(fvs)

    def _forget(self, views: Sequence[Any]) -> None:
        for view in views:
            if isinstance(view, FeatureView):
                online.forget(self.repo_config, self.online_store, view, self.options.wait_seconds)


def _refusal(view: FeatureView) -> str | None:
    source = view.batch_source
    checks = {
        f"a {type(view).__name__}": type(view) is not FeatureView,
        "made of other views": bool(view.source_views),
        "transformed": bool(getattr(view, "feature_transformation", None) or getattr(view, "aggregations", None)),
        "fed by a stream": view.stream_source is not None,
        "validated": view.enable_validation,
        "written offline too": view.offline,
        "not online": not view.online,
        # Feast keeps their whole seconds: keys that differ offline may be one online.
        "a join key is a timestamp": any(key.dtype == UnixTimestamp for key in view.entity_columns),
        "without join keys": not view.entity_columns or view.join_keys == [DUMMY_ENTITY_ID],
        f"more than {MOST_FEATURES:,} features": len(view.features) > MOST_FEATURES,
        "a feature is a vector": any(field.vector_index for field in view.features),
    }
    found = next((why for why, applies in checks.items() if applies), None)
    return found or _source_refusal(source)


def _source_refusal(source: Any) -> str | None:
    if type(source) is not FileSource:
        return f"a {type(source).__name__}"
    path, file_format = source.path, source.file_format
    if not isinstance(file_format, ParquetFormat) and (file_format or not path.endswith(".parquet")):
        return "its files are not Parquet"
    return _remote(source) if "://" in path else None


def _remote(source: FileSource) -> str | None:
    scheme = source.path.partition("://")[0]
    if scheme not in DRIVERS:
        return f"its files are remote ({source.path})"
    if source.s3_endpoint_override or getattr(source, "connection_ref", None):
        return f"its files are remote ({source.path}), behind an endpoint or credentials of their own"
    return (
        None if find_spec(DRIVERS[scheme]) else f"its files are remote ({source.path}) and {DRIVERS[scheme]} is missing"
    )
