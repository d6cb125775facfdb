"""The gate: whether the accuracy is high enough, and whether there is anything new to register."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """Whether a model may be fitted and registered, and why."""

    passed: bool
    reason: str


def gate(accuracy: float, min_accuracy: float, same_version: str | None = None, *, force: bool = False) -> Verdict:
    """Return the verdict on a mean accuracy; one that is not a number does not pass.

    `same_version` is a registered version of the same recipe on the same training set; another one of it would say
    nothing new, so that only `force` makes one.
    """
    if not (math.isfinite(accuracy) and accuracy >= min_accuracy):
        return Verdict(passed=False, reason=f"accuracy {accuracy:.4f} is below the minimum of {min_accuracy:.4f}")
    if same_version and not force:
        return Verdict(
            passed=False,
            reason=f"version {same_version} already has this recipe and training set; force=true registers another",
        )
    return Verdict(passed=True, reason=f"accuracy {accuracy:.4f} reaches the minimum of {min_accuracy:.4f}")
