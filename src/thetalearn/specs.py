"""Errors for what users name or configure: a string, an object or a function for a parameter."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["wrong_spec"]


def wrong_spec(parameter: str, spec: object, kinds: str, names: Iterable[str]) -> ValueError:
    """The error for a parameter that is neither of some kinds nor one of some names."""
    hint = " (this is a class: give an instance)" if isinstance(spec, type) else ""
    listed = ", ".join(map(repr, names))
    return ValueError(f"{parameter}={spec!r}{hint} must be {kinds} or one of {listed}")
