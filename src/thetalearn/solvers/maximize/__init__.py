"""Many small maximisation problems at once: one problem a row, a few bounded actions each.

A problem is solved in two stages: the best of a few candidates that are spread over the box, then
a climb from there, by Newton's method where there are derivatives and by golden section where
there are none. Finite lists of actions are enumerated.
"""

from .finite import Choice, maximize_enumerate
from .golden import maximize_golden
from .newton import maximize_newton
from .problems import Maximum, Objective

__all__ = [
    "Choice",
    "Maximum",
    "Objective",
    "maximize_enumerate",
    "maximize_golden",
    "maximize_newton",
]
