"""Which rows changed: a note beside the online rows says what was materialized last, and DuckDB compares with that.

The note is there only while it is true. It goes before the first row of a run is written and comes back after the
last, so a stopped run leaves none and the next one writes every row.

A run enters its name beside the note in place of those there, whose runs may be dead. One that is not finds its name
missing at its next batch and begins again, beside the other. So whatever is written was read offline after the last
run began: a slow run undoes no correction, and a note is never followed by rows that it does not know of.

A row that is left out keeps its older instant online, by which a run of an earlier interval would take it for older
than it is. So the intervals that rows were left out of are kept as well, whatever becomes of the note.
"""

import json
import logging
from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import version
from typing import Any

from bulk_engine.encode import KEY_VERSION
from bulk_engine.offline import Interval, Source, quoted

log = logging.getLogger(__name__)


class SupersededError(Exception):
    """Another run has begun since this one, which has to begin again."""


class Changes:
    """The rows of one materialization that differ from the last one's."""

    def __init__(self, source: Source, rows: Any, ignored: set[str] | None) -> None:
        """Take a view's source and its online rows; `ignored` features are no change, None: every row is written."""
        self._source, self._rows, self._ignored = source, rows, ignored
        self._names = [name for name in source.features if name not in (ignored or ())]

    def begun(self, interval: Interval, *, again: bool) -> str:
        """Enter this run, take the note away, and return the query for the rows to write."""
        note = "" if self._ignored is None else self._rows.note()
        before, self._note = self._verified(note), "" if self._ignored is None else self._described(interval)
        left_out = _read(self._rows.left_out())
        compared = before if not _earlier(interval, left_out) else None
        more = _said([*left_out, interval]) if compared else ""
        self._known = self._rows.begin(note, more, again=again)
        if compared and self._known:
            return self._changed(interval, compared)
        if self._ignored is not None:
            log.info("%s: what is online is not known: every row is written", self._source.view.name)
        left_out = _read(self._rows.left_out())  # again: from now on nobody leaves out rows
        self._known = self._known and not _earlier(interval, left_out)
        return self._every(interval, left_out)

    def completed(self) -> None:
        """Leave the note, unless newer rows were found online or another run was at work."""
        self._rows.complete(self._note if self._known and not self._rows.rejected else "")

    def _every(self, interval: Interval, left_out: list[Interval]) -> str:
        """Return the query for all rows, but for those older than one that was left out."""
        return self._source.newest(interval, left_out if _earlier(interval, left_out) else ())

    def _changed(self, interval: Interval, before: Interval) -> str:
        keys = " AND ".join(f"n.{quoted(key)} = b.{quoted(key)}" for key in self._source.keys)
        same = " AND ".join(f"n.{quoted(name)} IS NOT DISTINCT FROM b.{quoted(name)}" for name in self._names)
        newest, last = self._source.newest(interval), self._source.newest(before)
        return f"SELECT n.* FROM ({newest}) n ANTI JOIN ({last}) b ON {keys} AND {same or 'true'}"  # noqa: S608

    def _verified(self, note: str) -> Interval | None:
        """Return the interval that a note speaks of, if the files still say what they said then."""
        if not note.startswith("{"):
            return None
        said = json.loads(note)
        interval = Interval(datetime.fromisoformat(said["start"]), datetime.fromisoformat(said["end"]))
        return interval if self._described(interval) == note else None

    def _described(self, interval: Interval) -> str:
        """Return the note on an interval: with a digest of its rows, so that a file changed since is noticed."""
        columns = [*self._source.keys, *self._names]
        row = ", ".join(map(quoted, columns))
        query = f"SELECT count(*), sum(hash({row})::HUGEINT) FROM ({self._source.newest(interval)})"  # noqa: S608
        rows, digest = self._source.asked(query)
        said = {
            "start": interval.start.isoformat(),
            "end": interval.end.isoformat(),
            "rows": rows,
            "digest": str(digest),
            "columns": columns,
            "types": [self._source.kind(name) for name in columns],
            "written": {field.name: field.dtype.to_value_type().name for field in self._source.fields},
            "feast": [version("feast"), KEY_VERSION],
        }
        return json.dumps(said, sort_keys=True)


def _earlier(interval: Interval, left_out: list[Interval]) -> bool:
    """Return whether rows of an interval may be older than rows that were left out."""
    return any(one.end > interval.end for one in left_out)


def _said(intervals: Iterable[Interval]) -> str:
    """Return intervals as a text, those that meet as one: incremental ones do, and the text stays short."""
    apart: list[Interval] = []
    for one in sorted(intervals):
        last = apart.pop() if apart and one.start <= apart[-1].end else one
        apart.append(Interval(last.start, max(last.end, one.end)))
    return json.dumps([[one.start.isoformat(), one.end.isoformat()] for one in apart])


def _read(said: str) -> list[Interval]:
    return [Interval(*map(datetime.fromisoformat, ends)) for ends in json.loads(said or "[]")]
