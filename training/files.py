"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage import places


@contextmanager
def committed(path: Path) -> Iterator[Path]:
    """Give a temporary path on this machine whose file becomes that of `path` in one step, or not at all."""
    if not places.is_folder(path):
        with places.uploaded(path) as draft:
            yield draft
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)  # by an earlier try, killed while it wrote
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
