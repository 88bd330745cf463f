"""Random weights to start from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .activations import Logistic
from .mlp import MLPArchitecture

__all__ = ["INITIALIZERS", "initialize"]

Draw = Callable[[np.random.RandomState, int, int, tuple[int, ...]], np.ndarray]


def _uniform(bound: Callable[[int, int], float]) -> Draw:
    def draw(
        rng: np.random.RandomState, fan_in: int, fan_out: int, shape: tuple[int, ...]
    ) -> np.ndarray:
        return rng.uniform(-bound(fan_in, fan_out), bound(fan_in, fan_out), shape)

    return draw


def _normal(deviation: Callable[[int, int], float]) -> Draw:
    def draw(
        rng: np.random.RandomState, fan_in: int, fan_out: int, shape: tuple[int, ...]
    ) -> np.ndarray:
        return rng.normal(0.0, deviation(fan_in, fan_out), shape)

    return draw


#: How weights are drawn, by the numbers of inputs and outputs of their layer. Biases start at zero,
#: but for "normal", where they are drawn like the weights.
INITIALIZERS: dict[str, Draw] = {
    "glorot_uniform": _uniform(lambda fan_in, fan_out: (6 / (fan_in + fan_out)) ** 0.5),
    "glorot_normal": _normal(lambda fan_in, fan_out: (2 / (fan_in + fan_out)) ** 0.5),
    "he_uniform": _uniform(lambda fan_in, fan_out: (6 / fan_in) ** 0.5),
    "he_normal": _normal(lambda fan_in, fan_out: (2 / fan_in) ** 0.5),
    "lecun_normal": _normal(lambda fan_in, fan_out: fan_in**-0.5),
    "normal": _normal(lambda fan_in, fan_out: 1.0),
}


def initialize(
    architecture: MLPArchitecture, init: str, rng: np.random.RandomState
) -> dict[str, np.ndarray]:
    """Draw the parameters of a network.

    Parameters
    ----------
    architecture : MLPArchitecture
        Names and shapes.
    init : str
        "auto", or a key of `INITIALIZERS`. "auto" draws weights and biases uniformly from ±√(6 /
        (fan_in + fan_out)), and from ±√(2 / (fan_in + fan_out)) if the first activation is the
        logistic function: the numbers that scikit-learn's networks draw.
    rng : RandomState
        Where the numbers come from.

    Returns
    -------
    dict of str to ndarray
        float64.
    """
    values = {}
    draw = INITIALIZERS.get(init)
    for i, (fan_in, fan_out) in enumerate(
        zip(architecture.sizes, architecture.sizes[1:], strict=False)
    ):
        if draw is None:
            activations = architecture.activations
            factor = 2 if activations and activations[0] == Logistic() else 6
            bound = (factor / (fan_in + fan_out)) ** 0.5
            weight = rng.uniform(-bound, bound, (fan_in, fan_out))
            bias = rng.uniform(-bound, bound, fan_out)
        else:
            weight = draw(rng, fan_in, fan_out, (fan_in, fan_out))
            bias = np.zeros(fan_out)
            if init == "normal":
                bias = draw(rng, fan_in, fan_out, (fan_out,))
        values[f"coefs.{i}"], values[f"intercepts.{i}"] = weight, bias
    for name, shape in architecture.shapes.items():
        if name.startswith("norms."):
            values[name] = np.ones(shape) if name.endswith("weight") else np.zeros(shape)
    return values
