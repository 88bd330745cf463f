"""Steps that a class of the user's may replace, and that fits made together do not call."""

from __future__ import annotations

from collections.abc import Iterable

from ...fusion import NotFusable

__all__ = ["FIT_STEPS", "INPUT_STEPS", "check_steps", "replaced_step"]

PACKAGE = __name__.partition(".")[0]

#: From X to rows: called once for all fits, on all rows.
INPUT_STEPS = ("_input_rows", "_as_rows", "_checked_tensor", "_resolved_device")

#: What every fit goes through.
FIT_STEPS = (
    *INPUT_STEPS,
    "fit",
    "_fit",
    "_all_or_nothing",
    "_training_rows",
    "_weighted_rows",
    "_weight_tensor",
    "_class_probabilities",
    "_encode",
    "_check_classes",
    "_class_weighted",
    "_monitored",
    "_fit_rows",
)


def replaced_step(kind: type, steps: Iterable[str]) -> str | None:
    """The first of the steps that a class from outside the package replaces."""
    lineage = kind.__mro__
    ours = [base.__module__.partition(".")[0] == PACKAGE for base in lineage]
    last = max((place for place, own in enumerate(ours) if own), default=0)
    for step in steps:
        author = next((place for place, base in enumerate(lineage) if step in vars(base)), last)
        if author < last and not ours[author]:
            return step
    return None


def check_steps(kind: type, steps: Iterable[str]) -> None:
    """Raise `NotFusable` if a class from outside the package replaces one of the steps."""
    step = replaced_step(kind, steps)
    if step is not None:
        raise NotFusable(f"{kind.__name__} replaces {step}, which fits made together do not call")
