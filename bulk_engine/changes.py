"""Which rows changed: a note beside the online rows says what was materialized last, and DuckDB compares with that.

The note is there only while it is true. It goes before the first row of a run is written and comes back after the
last, so a stopped run leaves none and the next one writes every row.
"""

import json
import logging
import uuid
from datetime import datetime
from typing import Any

from bulk_engine.offline import Interval, Source, quoted

log = logging.getLogger(__name__)

RUNNING = "running"


class Changes:
    """The rows of one materialization that differ from the last one's."""

    def __init__(self, source: Source, rows: Any, ignored: set[str] | None) -> None:
        """Take a view's source and its online rows; `ignored` features are no change, None: every row is written."""
        self._source, self._rows, self._ignored = source, rows, ignored
        self._names = [name for name in source.features if name not in (ignored or ())]
        self._running = f"{RUNNING} {uuid.uuid4()}"

    def begun(self, interval: Interval) -> str:
        """Take the note away, and return the query for the rows to write."""
        note = self._rows.state()
        if self._ignored is None:
            if note:
                self._rows.set_state("")
            return self._source.newest(interval)
        before, self._note = self._verified(note), self._described(interval)
        # Another materialization that is at work, or was killed, may write until after we have left a note.
        self._alone = self._rows.set_state(self._running, expected=note) and not note.startswith(RUNNING)
        if before and self._alone:
            return self._changed(interval, before)
        self._rows.set_state(self._running)
        log.info("%s: what is online is not known: every row is written", self._source.view.name)
        return self._source.newest(interval)

    def completed(self) -> None:
        """Leave the note, unless newer rows were found online or another materialization was at work."""
        if self._ignored is not None:
            known = self._alone and not self._rows.rejected
            if not (known and self._rows.set_state(self._note, expected=self._running)):
                self._rows.set_state("")

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
            "written": sorted(self._source.features),
        }
        return json.dumps(said, sort_keys=True)
