"""Many runs that are asked for at once."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

PUBLISH = "publish_features"


@pytest.mark.sweep
def test_ten_triggers_at_once_queue_and_all_end_well(up, runs, finished):
    with ThreadPoolExecutor(10) as pool:
        asked = list(pool.map(lambda _: up.trigger(PUBLISH), range(10)))
    assert len(set(asked)) == 10
    for run in asked:
        states = finished(PUBLISH, run)
        assert set(states.values()) == {"success", "skipped"}
        assert states["validate"] == states["prune"] == "success"
    times = sorted((up.run(PUBLISH, run) for run in asked), key=lambda run: run["start_date"])
    assert all(earlier["end_date"] <= later["start_date"] for earlier, later in pairwise(times))
