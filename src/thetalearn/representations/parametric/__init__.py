"""Functions f(x; θ) with exact derivatives by x and by θ: the unknowns of functional equations.

A Bellman or an Euler equation holds at many points at once, and evaluates its unknown function at
each of them and at all states that may follow. What a solver needs there is a value, derivatives
by the inputs, and for the Jacobian of the residuals the derivative by the parameters summed over
the points of an equation, never the derivative at each point on its own.
"""

from .function import ParametricFunction, Points
from .linear import LinearFunction
from .network import NetworkFunction

__all__ = ["LinearFunction", "NetworkFunction", "ParametricFunction", "Points"]
