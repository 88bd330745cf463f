"""The display of a search over parameters."""

from .display import SearchDisplay

__all__ = ["SearchDisplay"]
