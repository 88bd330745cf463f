"""Scorers: digits of the errors that the estimators tell."""

import numpy as np
import pytest

from thetalearn import BellmanApproximator, EulerApproximator
from thetalearn.dynamics.models import make_brock_mirman, make_growth
from thetalearn.dynamics.scorers import (
    bellman_score,
    euler_score,
    max_bellman_score,
    max_euler_score,
)


def test_euler_scores_are_digits_of_mistakes_in_consumption():
    growth = EulerApproximator(make_growth(), degree=2, random_state=0).fit()
    X = growth.ergodic_sample(50, random_state=0)
    errors = np.abs(growth.euler_errors(X, unit="consumption"))
    assert euler_score(growth, X) == pytest.approx(-np.log10(errors.mean()))
    assert max_euler_score(growth, X) == pytest.approx(-np.log10(errors.max()))
    assert max_euler_score(growth, X) < euler_score(growth, X)


def test_bellman_scores_are_digits_of_bellman_errors():
    growth = BellmanApproximator(make_growth(), degree=2, random_state=0).fit()
    X = growth.nodes_ * 1.01
    errors = np.abs(growth.bellman_errors(X))
    assert bellman_score(growth, X) == pytest.approx(-np.log10(errors.mean()))
    assert max_bellman_score(growth, X) == pytest.approx(-np.log10(errors.max()))


class Broken:
    def bellman_errors(self, X):
        return np.array([np.nan, 0.0])


class Perfect:
    def bellman_errors(self, X):
        return np.zeros(2)


def test_ends_of_the_scale():
    assert bellman_score(Perfect(), np.zeros((2, 1))) == 16
    assert max_bellman_score(Broken(), np.zeros((2, 1))) == -16


def test_a_closed_form_has_all_digits():
    model = EulerApproximator(make_brock_mirman(), degree=2, random_state=0).fit()
    assert euler_score(model, model.nodes_) > 12
