"""The decision: from what a training measured to whether its model is registered, and whether it becomes champion.

`decide` is a function of two records that every run keeps, so a decision can be made again and compared.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from training.records import Check, Decision, Evaluation, Opponent, Rules, Slice

# Of 5 folds repeated 3 times (Nadeau & Bengio 2003; Bouckaert & Frank 2004): folds share rows, so their scores vary
# less than those of independent samples would; test rows / training rows = 1/4 is added to 1/15.
FOLDS = 15
VARIANCE_FACTOR = 1 / FOLDS + 1 / 4
DEGREES_OF_FREEDOM = FOLDS - 1


def decide(evaluation: Evaluation, rules: Rules) -> Decision:
    """Return the decision that follows from `evaluation` under `rules`.

    `passed` says that the model is good enough and new, so that it is fitted and registered; `promote` that it also
    beats the best baseline, meets the champion as `rules.policy` asks, and fails no threshold on slices.
    """
    entrance = [_accurate(evaluation, rules), _new(evaluation, rules)]
    refusal = next((check for check in entrance if not check.passed), None)
    contest = (
        []
        if refusal
        else [_useful(evaluation, rules), *_champion(evaluation, rules), *_slices(evaluation.slices, rules)]
    )
    against = [check.reason for check in (refusal, *contest) if check and not check.passed]
    return Decision(
        passed=refusal is None,
        gate_reason=(refusal or entrance[0]).reason,
        promote=not against,
        reason="; ".join(against or [check.reason for check in contest]),
        champion_met=evaluation.champion.version if evaluation.champion else "none",
        checks=[*entrance, *contest],
    )


def compare(ours: Sequence[float], theirs: Sequence[float], margin: float = 0.0) -> tuple[float, float]:
    """Return the mean difference over the folds, and the p-value of "it is at most -margin".

    One-sided corrected resampled t-test for repeated k-fold cross-validation. Without variance the difference is
    taken as it is, and the p-value is 0 or 1.

    Raises:
        ValueError: not one figure per fold on each side.
    """
    if not len(ours) == len(theirs) == FOLDS:
        raise ValueError(f"{len(ours)} and {len(theirs)} scores to compare, {FOLDS} folds")
    differences = np.subtract(ours, theirs)
    mean = float(differences.mean())
    deviation = float(np.sqrt(differences.var(ddof=1) * VARIANCE_FACTOR))
    if np.ptp(differences) < 1e-12:  # equal but for rounding
        return mean, 0.0 if mean > -margin else 1.0
    return mean, float(stats.t.sf((mean + margin) / deviation, DEGREES_OF_FREEDOM))


def _accurate(evaluation: Evaluation, rules: Rules) -> Check:
    accuracy = float(np.mean(evaluation.accuracy))
    passed = len(evaluation.accuracy) == FOLDS and accuracy >= rules.min_accuracy
    says = "reaches" if passed else "is below"
    return Check(
        name="accuracy",
        passed=passed,
        reason=f"accuracy {accuracy:.4f} {says} the minimum of {rules.min_accuracy:.4f}",
    )


def _new(evaluation: Evaluation, rules: Rules) -> Check:
    champion = evaluation.champion
    same = champion and (champion.recipe, champion.training_set_digest) == (
        evaluation.recipe,
        evaluation.training_set_digest,
    )
    if champion and same and not rules.force:
        reason = f"version {champion.version} already has this recipe and training set; force=true registers another"
        return Check(name="new", passed=False, reason=reason)
    return Check(name="new", passed=True, reason="asked for with force" if same else "recipe or training set is new")


def _useful(evaluation: Evaluation, rules: Rules) -> Check:
    name, folds = max(evaluation.baselines.items(), key=lambda item: float(np.mean(item[1])))
    difference, p_value = compare(evaluation.accuracy, folds)
    passed = p_value < rules.alpha
    says = "beats" if passed else "does not significantly beat"
    reason = f"{says} the best baseline, {name} with {np.mean(folds):.4f}, by {difference:+.4f} (p = {p_value:.2g})"
    return Check(name="baselines", passed=passed, reason=reason, difference=difference, p_value=p_value)


def _champion(evaluation: Evaluation, rules: Rules) -> list[Check]:
    champion = evaluation.champion
    if rules.policy == "never":
        return [Check(name="champion", passed=False, reason="policy never: no version becomes champion by itself")]
    if champion is None:
        return [Check(name="champion", passed=True, reason="there was no champion")]
    if rules.policy == "always":
        return [Check(name="champion", passed=True, reason="policy always: the champion is not asked")]
    if rules.policy == "not_worse" and champion.recipe == evaluation.recipe:
        reason = f"refresh: version {champion.version} has the same recipe"
        return [Check(name="champion", passed=True, reason=reason, difference=0.0)]
    checks = [_against("champion", f"champion version {champion.version}", evaluation, champion, rules)]
    if rules.policy == "not_worse" and evaluation.best:
        # Small losses within the margin, one after the other, would else add up to a large one.
        checks.append(_against("best", "the best on this training set", evaluation, evaluation.best, rules))
    return checks


def _against(name: str, called: str, evaluation: Evaluation, opponent: Opponent, rules: Rules) -> Check:
    if opponent.accuracy is None:
        return Check(name=name, passed=False, reason=f"cannot be compared with {called}: {opponent.reason}")
    margin = rules.margin if rules.policy == "not_worse" else 0.0
    difference, p_value = compare(evaluation.accuracy, opponent.accuracy, margin)
    if rules.policy == "not_worse" and evaluation.accuracy == opponent.accuracy:
        reason = f"refresh: equal to {called} in every fold"
        return Check(name=name, passed=True, reason=reason, difference=difference, p_value=p_value)
    passed = p_value < rules.alpha
    wanted = "better than" if rules.policy == "better" else f"not worse by {margin} than"
    says = wanted if passed else f"not shown to be {wanted}"
    reason = f"{says} {called}: {difference:+.4f} (p = {p_value:.2g})"
    return Check(name=name, passed=passed, reason=reason, difference=difference, p_value=p_value)


def _slices(slices: list[Slice], rules: Rules) -> list[Check]:
    wanted = [name for name in ("worst_lift", "largest_gap") if getattr(rules, name) is not None]
    judged = [found for found in slices if found.judged]
    if wanted and not judged:
        return [Check(name="slices", passed=False, reason=f"{wanted[0]} is set, and no slice is large enough to judge")]
    checks = []
    if rules.worst_lift is not None:
        worst = min(judged, key=lambda found: found.lift)
        reason = (
            f"worst lift {worst.lift:+.4f}, of {worst.column} {worst.value}; at least {rules.worst_lift:+.4f} wanted"
        )
        checks.append(Check(name="worst lift", passed=worst.lift >= rules.worst_lift, reason=reason))
    if rules.largest_gap is not None:
        gap, column = max((_gap([s.accuracy for s in judged if s.column == name]), name) for name in _columns(judged))
        reason = f"largest gap in accuracy {gap:.4f}, by {column}; at most {rules.largest_gap:.4f} wanted"
        checks.append(Check(name="largest gap", passed=gap <= rules.largest_gap, reason=reason))
    return checks


def _columns(slices: list[Slice]) -> set[str]:
    return {found.column for found in slices}


def _gap(accuracies: list[float]) -> float:
    return max(accuracies) - min(accuracies)
