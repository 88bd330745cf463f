"""Whether what a class says of many fits at once holds for its own methods."""

from __future__ import annotations

from collections.abc import Iterable

from ..fusion import NotFusable

__all__ = ["RESPONSE_METHODS", "predicts_together", "require_protocol"]

RESPONSE_METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


def require_protocol(kind: type) -> None:
    """Raise `NotFusable` if a class takes no part in fused fits."""
    if not hasattr(kind, "fit_replicas"):
        raise NotFusable(f"{kind.__name__} has no method fit_replicas")
    if replaced(kind, ["fit"], "fit_replicas"):
        raise NotFusable(f"{kind.__name__} replaces fit, and inherits fit_replicas")


def predicts_together(kind: type) -> bool:
    """Whether ``predict_replicas`` of a class stands for its methods of prediction."""
    return hasattr(kind, "predict_replicas") and not replaced(
        kind, RESPONSE_METHODS, "predict_replicas"
    )


def replaced(kind: type, methods: Iterable[str], by: str) -> bool:
    """Whether a subclass has replaced methods that the inherited method ``by`` stands for.

    A package is trusted to know its own classes.
    """
    author = next(base for base in kind.__mro__ if by in vars(base))
    for base in kind.__mro__:
        if base is author:
            return False
        if any(method in vars(base) for method in methods) and package(base) != package(author):
            return True
    return False


def package(kind: type) -> str:
    """The package that a class comes from."""
    return kind.__module__.partition(".")[0]
