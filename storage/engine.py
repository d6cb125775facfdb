"""Ibis' DuckDB within a limit of memory, which reads objects through fsspec: its own way needs a download first."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from storage.places import OPTIONS, local
from storage.scratch import spill_folder


class ObjectBackend(Backend):  # type: ignore[misc]
    """Ibis' backend, which knows the object stores."""

    def read_parquet(
        self, paths: str | Path | Iterable[str | Path], /, *, table_name: str | None = None, **options: Any
    ) -> ir.Table:
        """Return the table in one or more files, folders or patterns of them, each a path or an address."""
        listed = [paths] if isinstance(paths, str) or not isinstance(paths, Iterable) else list(paths)
        addresses = [str(path) for path in listed]
        schemes = {address.partition("://")[0] for address in addresses if "://" in address}
        if not schemes & OPTIONS.keys():
            return super().read_parquet(paths, table_name=table_name, **options)
        for scheme in schemes:
            if not self.con.filesystem_is_registered(scheme):
                self.register_filesystem(_filesystem(scheme))
        return self._created(addresses, table_name, options)

    def _created(self, addresses: list[str], table_name: str | None, options: dict[str, Any]) -> ir.Table:
        relation = self.con.read_parquet(addresses, **options)
        name = table_name or ibis.util.gen_name("read_parquet")
        relation.create_view(name, replace=True)
        return self.table(name)


def _filesystem(scheme: str) -> Any:
    found = fsspec.filesystem(scheme, **OPTIONS.get(scheme, {}))
    if scheme == "gs":  # it else reads ahead in the background, and DuckDB closes no file
        found.__dict__.setdefault("open", partial(found.open, cache_type="readahead"))
    return found


@contextmanager
def connected(near: Path, memory_limit: str) -> Iterator[Backend]:
    """Give a connection that keeps to a limit and spills to a folder that ends with it: of a place, if that is one."""
    with spill_folder(local(near)) as folder:
        connection = ObjectBackend()
        connection.do_connect(memory_limit=memory_limit, temp_directory=folder)
        try:
            yield connection
        finally:
            connection.disconnect()


@contextmanager
def asked_by_feast(near: Path, memory_limit: str) -> Iterator[None]:
    """Have Feast's DuckDB store ask such a connection.

    Feast asks the default backend of Ibis, which would take up to 80 % of the machine's memory.
    """
    before = ibis.options.default_backend
    with connected(near, memory_limit) as connection:
        ibis.set_backend(connection)
        try:
            yield
        finally:
            ibis.options.default_backend = before
