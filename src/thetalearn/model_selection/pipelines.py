"""A pipeline as the preprocessing that candidates share, and the last step in which they differ."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from sklearn import get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import process_routing

from ..fusion import NotFusable
from .fingerprint import fingerprint

__all__ = ["Parts", "split_estimator"]


class Parts:
    """What an estimator is made of.

    Attributes
    ----------
    estimator : object
        The whole.
    last : object
        The estimator itself, or the last step of a pipeline.
    prefix : Pipeline or None
        The steps before it, unfitted.
    key : hashable
        Equal for estimators whose prefixes do the same.
    """

    def __init__(self, estimator: Any, last: Any, prefix: Pipeline | None) -> None:
        self.estimator, self.last, self.prefix = estimator, last, prefix
        self.key: Hashable = None if prefix is None else fingerprint(prefix.steps)

    def routed(self, fit_params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arguments of fit for the prefix, as a pipeline takes them, and for the last step."""
        params = {name: value for name, value in fit_params.items() if value is not None}
        if self.prefix is None or not params:
            return {}, params
        name = self.estimator.steps[-1][0]
        if get_config()["enable_metadata_routing"]:
            try:
                routed = process_routing(self.estimator, "fit", **params)
            except Exception as error:
                # scikit-learn meets it in fit.
                raise NotFusable(f"metadata cannot be routed ({error})") from None
            for step, _ in self.prefix.steps:
                if any(part for part in routed.get(step, {}).values()):
                    raise NotFusable("metadata are routed to the steps before the last")
            return {}, dict(routed[name].fit)
        own = {k.partition("__")[2]: v for k, v in params.items() if k.startswith(f"{name}__")}
        others = {k: v for k, v in params.items() if not k.startswith(f"{name}__")}
        return others, own

    def fitted_state(self, prefix: Pipeline | None, last: Any) -> dict[str, Any]:
        """Attributes of the whole once prefix and last step are fitted."""
        if self.prefix is None:
            return {}
        assert prefix is not None
        before = prefix.steps if len(self.estimator.steps) > 1 else []
        return {"steps": [*before, (self.estimator.steps[-1][0], last)]}


def split_estimator(estimator: Any) -> Parts:
    """Take a pipeline apart; anything else is its own last step."""
    if type(estimator) is not Pipeline:
        return Parts(estimator, estimator, None)
    last = estimator.steps[-1][1]
    if last is None or isinstance(last, str):
        raise NotFusable("the pipeline ends without an estimator")
    if estimator.verbose:
        raise NotFusable("verbose=True reports every step of every fit of the pipeline")
    if getattr(estimator, "transform_input", None):
        raise NotFusable("transform_input sends further data through the pipeline")
    if len(estimator.steps) == 1:
        prefix = Pipeline([("nothing", "passthrough")])
    else:
        prefix = Pipeline(estimator.steps[:-1], memory=estimator.memory)
    return Parts(estimator, last, prefix)
