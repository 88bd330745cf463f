"""Runs a solver on the conditions of a functional equation."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from ..solvers.newton import Report
from ..solvers.root import Residuals, Root, gauss_newton, minimize_lbfgs, newton

__all__ = ["Progress", "Runner", "least_squares_descent", "run", "run_network"]

#: Mean unit-free error at which a network is taken for solved: the usual target for policies.
TARGET = 1e-4

#: A search is slow if so many iterations leave more than this share of the loss.
WINDOW, SLOW = 30, 0.35


class Runner(Protocol):
    """From a start to a root."""

    def __call__(self, theta: Tensor) -> Root:
        """Solve from these coefficients."""


def run(
    system: Residuals, solver: str, theta: Tensor, *, tol: float, max_iter: int, report: Report
) -> Root:
    """Solve a system with the solver of a name: "newton", "gauss_newton" or "lbfgs"."""
    if solver == "newton":
        return newton(system, theta, tol=tol, max_iter=max_iter, report=report)
    if solver == "gauss_newton":
        return gauss_newton(system, theta, tol=tol, max_iter=max_iter, report=report)
    return least_squares_descent(system, theta, tol=tol, max_iter=max_iter, report=report)


class Progress:
    """Stops a search that hardly gets on: a network never meets the tolerance of a basis.

    Parameters
    ----------
    report : callable
        Told of every iteration, and may stop the search too.
    """

    def __init__(self, report: Report) -> None:
        self._report, self._losses = report, [float("inf")]
        self.stalled = False

    def __call__(self, record: dict[str, float], theta: Tensor) -> bool:
        """Take note of an iteration; True asks to stop."""
        self._losses.append(record["loss"])
        long = len(self._losses) > WINDOW
        self.stalled = long and self._losses[-1] > SLOW * self._losses[-1 - WINDOW]
        return self._report(record, theta) or self.stalled


def run_network(
    system: Residuals, solver: str, theta: Tensor, *, tol: float, max_iter: int, report: Report
) -> Root:
    """Solve for the weights of a network, until it meets the tolerance or hardly gets on."""
    progress = Progress(report)
    root = run(system, solver, theta, tol=tol, max_iter=max_iter, report=progress)
    return replace(root, reason="it hardly got on any more") if progress.stalled else root


def least_squares_descent(
    system: Residuals, theta: Tensor, *, tol: float, max_iter: int, report: Report
) -> Root:
    """Minimise half the mean of squared residuals by L-BFGS; ``tol`` bounds the gradient."""

    def value_and_gradient(theta: Tensor) -> tuple[float, Tensor]:
        residual = system.residual(theta)
        if not residual.isfinite().all():
            return float("inf"), torch.zeros_like(theta)
        residual, jacobian = system.linearize(theta)
        return 0.5 * float(residual.square().mean()), jacobian.T @ residual / len(residual)

    end = minimize_lbfgs(value_and_gradient, theta, tol=tol, max_iter=max_iter, report=report)
    return Root(end.theta, system.residual(end.theta), end.n_iter, end.converged, end.reason)
