"""Displays of solved dynamic models: policies, values, errors, paths and impulse responses."""

from .functions import PolicyDisplay, ResidualDisplay, ValueDisplay
from .paths import ImpulseResponseDisplay, PathDisplay
from .slices import StateRange, StateSlice

__all__ = [
    "ImpulseResponseDisplay",
    "PathDisplay",
    "PolicyDisplay",
    "ResidualDisplay",
    "StateRange",
    "StateSlice",
    "ValueDisplay",
]
