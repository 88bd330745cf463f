"""What all displays do before they draw."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["check_option", "checked_axes", "require_matplotlib"]


def require_matplotlib(caller: str) -> None:
    """Say how to get matplotlib where it is missing."""
    try:
        import_module("matplotlib")
    except ImportError as error:
        raise ImportError(
            f"{caller} requires matplotlib: pip install 'thetalearn[plot]'"
        ) from error


def check_option(name: str, value: str, options: tuple[str, ...]) -> None:
    """Refuse what is not an option, and name the options."""
    if value not in options:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(map(repr, options))}")


def checked_axes(ax: Any, figsize: tuple[float, float] | None = None) -> Any:
    """The axes given, or those of a new figure of a size in inches."""
    from matplotlib.axes import Axes

    if ax is None:
        import matplotlib.pyplot as plt

        return plt.subplots(figsize=figsize, layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be a matplotlib Axes or None, not {type(ax).__name__}")
    return ax
