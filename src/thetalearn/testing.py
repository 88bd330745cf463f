"""The contract suite: what every estimator, ours or a plugin's, must fulfil.

scikit-learn's own checks are the floor. The checks of this module ask for what they leave out:
nothing global is touched, refitting equals fitting, columns cannot be mixed up, tensors and single
precision are kept, pickles stay small, iterations are recorded and can be stopped.

``thetalearn check NAME`` runs both suites; plugin authors can run them in pytest:

>>> from thetalearn import ChebyshevRegressor
>>> from thetalearn.testing import parametrize_with_contract
>>> @parametrize_with_contract([ChebyshevRegressor()])
... def test_contract(estimator, check):
...     check(estimator)
"""

from __future__ import annotations

import contextlib
import io
import pickle
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_predict
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from ._sklearn_compat import HAS_CALLBACKS

__all__ = ["CheckResult", "check_contract", "contract_checks", "parametrize_with_contract"]

Check = Callable[[Any], None]


@dataclass(frozen=True)
class CheckResult:
    """How one check ended.

    Attributes
    ----------
    suite : {"scikit-learn", "thetalearn"}
        Where the check comes from.
    name : str
        Its name.
    status : {"passed", "failed", "skipped"}
        How it ended.
    error : Exception or None
        Why it failed or was skipped.
    """

    suite: Literal["scikit-learn", "thetalearn"]
    name: str
    status: Literal["passed", "failed", "skipped"]
    error: BaseException | None = None


class SkipCheck(Exception):
    """A check does not apply to the estimator, or not on this machine."""


def check_contract(
    estimator: Any, *, on_result: Callable[[CheckResult], None] | None = None
) -> list[CheckResult]:
    """Run scikit-learn's checks and those of the contract on one estimator.

    Parameters
    ----------
    estimator : estimator or class
        A class is taken with its default arguments.
    on_result : callable, default=None
        Told of each result as it comes.

    Returns
    -------
    list of CheckResult
        One for each check.

    Examples
    --------
    >>> from thetalearn import LinearRegressor
    >>> from thetalearn.testing import check_contract
    >>> {result.status for result in check_contract(LinearRegressor)} <= {"passed", "skipped"}
    True
    """
    instance = estimator() if isinstance(estimator, type) else estimator
    results: list[CheckResult] = []

    def note(result: CheckResult) -> None:
        results.append(result)
        if on_result is not None:
            on_result(result)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for outcome in check_estimator(instance, on_skip=None, on_fail=None):
            status: Any = "failed" if outcome["status"] == "xfail" else outcome["status"]
            note(CheckResult("scikit-learn", outcome["check_name"], status, outcome["exception"]))
        for name, check in contract_checks(instance):
            note(_run(name, check, instance))
    return results


def _run(name: str, check: Check, estimator: Any) -> CheckResult:
    try:
        check(estimator)
    except SkipCheck as reason:
        return CheckResult("thetalearn", name, "skipped", reason)
    except Exception as error:
        return CheckResult("thetalearn", name, "failed", error)
    return CheckResult("thetalearn", name, "passed")


def contract_checks(estimator: Any) -> Iterator[tuple[str, Check]]:
    """The contract's checks that concern an estimator, by name."""
    predicts = is_regressor(estimator) or is_classifier(estimator)
    yield "check_parameters_are_documented", check_parameters_are_documented
    yield "check_parameters_are_validated", check_parameters_are_validated
    yield "check_nothing_global_is_touched", check_nothing_global_is_touched
    yield "check_silent", check_silent
    yield "check_refit_equals_fit", check_refit_equals_fit
    yield "check_failed_fit_leaves_unfitted", check_failed_fit_leaves_unfitted
    yield "check_columns_cannot_be_mixed_up", check_columns_cannot_be_mixed_up
    yield "check_dataframes_equal_arrays", check_dataframes_equal_arrays
    yield "check_tensors_in_tensors_out", check_tensors_in_tensors_out
    yield "check_single_precision_is_kept", check_single_precision_is_kept
    yield "check_pickle", check_pickle
    yield "check_device_round_trip", check_device_round_trip
    yield "check_zero_weights_are_refused", check_zero_weights_are_refused
    yield "check_iterations_are_recorded", check_iterations_are_recorded
    yield "check_callbacks", check_callbacks
    yield "check_interruption_keeps_the_fit", check_interruption_keeps_the_fit
    if predicts:
        yield "check_same_result_for_any_n_jobs", check_same_result_for_any_n_jobs


def parametrize_with_contract(estimators: Sequence[Any]) -> Any:
    """Pytest decorator: one test for each estimator and check of the contract.

    The test takes the arguments ``estimator`` and ``check``; use it beside scikit-learn's
    ``parametrize_with_checks``.

    Parameters
    ----------
    estimators : sequence of estimators
        Instances to check.
    """
    import pytest

    def skipping(check: Check, estimator: Any) -> None:
        try:
            check(estimator)
        except SkipCheck as reason:
            pytest.skip(str(reason))

    cases = [
        pytest.param(estimator, partial(skipping, check), id=f"{estimator}-{name}")
        for estimator in estimators
        for name, check in contract_checks(estimator)
    ]
    return pytest.mark.parametrize(("estimator", "check"), cases)


def check_parameters_are_documented(estimator: Any) -> None:
    """Every parameter has an entry in the docstring's Parameters section."""
    documented = type(estimator).__doc__ or ""
    missing = [
        name
        for name in estimator.get_params(deep=False)
        if not any(
            name in [part.strip() for part in line.split(" : ")[0].split(",")]
            for line in documented.splitlines()
            if " : " in line
        )
    ]
    assert not missing, f"{type(estimator).__name__} does not document {missing}"


def check_parameters_are_validated(estimator: Any) -> None:
    """A value of a wrong kind is refused, and the message names the parameter."""
    X, y = _data(estimator)
    for name in estimator.get_params(deep=False):
        if name in ("device", "random_state", "verbose"):
            continue
        wrong = clone(estimator)
        setattr(wrong, name, object())
        try:
            _fit(wrong, X, y)
        except (ValueError, TypeError) as error:
            assert name in str(error), f"{name}=object() is refused without naming it: {error}"
        else:
            raise AssertionError(f"{name}=object() is accepted")


def check_nothing_global_is_touched(estimator: Any) -> None:
    """Global generators, thread counts and defaults are as before."""
    X, y = _data(estimator)

    def state() -> tuple[Any, ...]:
        return (
            pickle.dumps(np.random.get_state()),  # noqa: NPY002
            torch.get_rng_state().numpy().tobytes(),
            random.getstate(),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            np.geterr(),
        )

    before = state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Not seeded: also without a random_state the global generators are none of ours.
        _output(clone(estimator).fit(X, y), X)
    assert state() == before, f"{type(estimator).__name__} changes global state"


def check_silent(estimator: Any) -> None:
    """With default verbosity nothing is printed."""
    X, y = _data(estimator)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        _output(_fit(clone(estimator), X, y), X)
    printed = out.getvalue() + err.getvalue()
    assert not printed, f"{type(estimator).__name__} prints {printed!r}"


def check_refit_equals_fit(estimator: Any) -> None:
    """A second fit forgets the first."""
    X, y = _data(estimator)
    fresh = _output(_fit(clone(estimator), X, y), X)
    used = _fit(clone(estimator), X[::2, :2], y[::2])
    np.testing.assert_array_equal(_output(_fit(used, X, y), X), fresh)


def check_failed_fit_leaves_unfitted(estimator: Any) -> None:
    """An estimator whose fit failed does not pass for fitted."""
    X, y = _data(estimator)
    broken = clone(estimator)
    with contextlib.suppress(ValueError):
        _fit(broken, np.full_like(X, np.nan), y)
    try:
        check_is_fitted(broken)
    except NotFittedError:
        return
    raise AssertionError(f"{type(estimator).__name__} passes for fitted after a failed fit")


def check_columns_cannot_be_mixed_up(estimator: Any) -> None:
    """Reordered or renamed columns are refused."""
    pd = _optional("pandas")
    X, y = _data(estimator)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    fitted = _fit(clone(estimator), frame, y)
    assert list(fitted.feature_names_in_) == ["a", "b", "c"]
    for wrong in (frame[["b", "a", "c"]], frame.rename(columns={"a": "z"})):
        try:
            _output(fitted, wrong)
        except ValueError:
            continue
        raise AssertionError(f"columns {list(wrong)} are accepted after a fit on a, b, c")


def check_dataframes_equal_arrays(estimator: Any) -> None:
    """Pandas and polars give the results of NumPy."""
    X, y = _data(estimator)
    expected = _output(_fit(clone(estimator), X, y), X)
    for library in ("pandas", "polars"):
        frame = _optional(library).DataFrame({name: X[:, j] for j, name in enumerate("abc")})
        _assert_agree(_output(_fit(clone(estimator), frame, y), frame), expected)


def check_tensors_in_tensors_out(estimator: Any) -> None:
    """Torch tensors are taken, and outputs that are numbers come back as tensors."""
    X, y = _data(estimator)
    expected = _output(_fit(clone(estimator), X, y), X)
    tensor = torch.from_numpy(X)
    fitted = _fit(clone(estimator), tensor, y)
    _assert_agree(_output(fitted, tensor), expected)
    numbers = _numbers(fitted, tensor)
    if numbers is not None:
        assert isinstance(numbers, torch.Tensor), f"a tensor gives a {type(numbers).__name__}"
        assert numbers.device == tensor.device


def check_single_precision_is_kept(estimator: Any) -> None:
    """float32 in, float32 out; float64 in, float64 out."""
    X, y = _data(estimator)
    for dtype in (np.float32, np.float64):
        fitted = _fit(clone(estimator), X.astype(dtype), y)
        got = _numbers(fitted, X.astype(dtype))
        assert got is None or got.dtype == dtype, f"{dtype.__name__} in, {got.dtype} out"


def check_pickle(estimator: Any) -> None:
    """A pickle gives the same results, and does not grow by more than the data it was fitted to."""
    X, y = _data(estimator)
    fitted = _fit(clone(estimator), X, y)
    stored = pickle.dumps(fitted)
    np.testing.assert_array_equal(_output(pickle.loads(stored), X), _output(fitted, X))
    more = np.concatenate([X] * 10), np.concatenate([y] * 10)
    grown = len(pickle.dumps(_fit(clone(estimator), *more)))
    limit = len(stored) + 2 * (more[0].nbytes + more[1].nbytes) + 2**16
    assert grown < limit, f"ten times the rows make a pickle of {grown} bytes from {len(stored)}"


def check_device_round_trip(estimator: Any) -> None:
    """What was fitted on an accelerator predicts on the CPU, also from a pickle."""
    if not torch.cuda.is_available():
        raise SkipCheck("no accelerator on this machine")
    X, y = _data(estimator)
    there = torch.from_numpy(X).cuda()
    fitted = _fit(clone(estimator), there, y)
    got = _output(fitted, there)
    assert not isinstance(got, torch.Tensor) or got.is_cuda
    got = got.cpu() if isinstance(got, torch.Tensor) else got
    expected = _output(_fit(clone(estimator), X, y), X)
    np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(_output(pickle.loads(pickle.dumps(fitted)), X), expected, rtol=1e-6)


def check_zero_weights_are_refused(estimator: Any) -> None:
    """Weights that are negative or sum to zero are refused by name."""
    if not has_fit_parameter(estimator, "sample_weight"):
        raise SkipCheck("takes no sample_weight")
    X, y = _data(estimator)
    for weight in (np.zeros(len(X)), np.full(len(X), -1.0)):
        try:
            clone(estimator).fit(X, y, sample_weight=weight)
        except ValueError as error:
            assert "weight" in str(error), f"refused without naming sample_weight: {error}"
        else:
            raise AssertionError(f"sample_weight of {weight[0]} is accepted")


def check_iterations_are_recorded(estimator: Any) -> None:
    """An iterative estimator has n_iter_, converged_ and history_."""
    if "max_iter" not in estimator.get_params():
        raise SkipCheck("not iterative")
    fitted = _fit(clone(estimator), *_data(estimator))
    assert fitted.n_iter_ >= 1
    assert isinstance(fitted.converged_, bool)
    assert isinstance(fitted.history_, list)


def check_callbacks(estimator: Any) -> None:
    """scikit-learn's callbacks are told of the fit, and leave its result alone."""
    if not HAS_CALLBACKS:
        raise SkipCheck("this scikit-learn has no callbacks")
    X, y = _data(estimator)
    recorder = _Recorder()
    watched = _fit(clone(estimator).set_callbacks(recorder), X, y)
    assert recorder.began == recorder.ended >= 1
    expected = _output(_fit(clone(estimator), X, y), X)
    np.testing.assert_array_equal(_output(watched, X), expected)


def check_interruption_keeps_the_fit(estimator: Any) -> None:
    """Ctrl-C during the iterations leaves what was fitted so far."""
    if not HAS_CALLBACKS:
        raise SkipCheck("needs scikit-learn's callbacks")
    X, y = _data(estimator)
    recorder = _Recorder(interrupt=True)
    try:
        stopped = _fit(clone(estimator).set_callbacks(recorder), X, y)
    except KeyboardInterrupt:
        raise AssertionError("Ctrl-C during an iteration loses the fit") from None
    if not recorder.interrupted:
        raise SkipCheck("not iterative")
    assert np.isfinite(_numbers(stopped, X)).all()
    assert not stopped.converged_


def check_same_result_for_any_n_jobs(estimator: Any) -> None:
    """Cross-validation gives the same numbers in one process and in two."""
    X, y = _data(estimator)
    one, two = (cross_val_predict(_seeded(clone(estimator)), X, y, cv=3, n_jobs=n) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


class _Recorder:
    """A callback that counts, or presses Ctrl-C in the first iteration."""

    def __init__(self, interrupt: bool = False) -> None:
        self.began = self.ended = 0
        self.interrupt, self.interrupted = interrupt, False

    def setup(self, estimator: Any, context: Any) -> None:
        """Nothing to set up."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Nothing to tear down."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Count."""
        self.began += 1

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Count, or interrupt."""
        self.ended += 1
        if self.interrupt and context.parent is not None:
            self.interrupt, self.interrupted = False, True
            raise KeyboardInterrupt


def _data(estimator: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows of three inputs, positive and of moderate size, and a target that suits."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0.5, 2.0, size=(60, 3))
    signal = X[:, 0] * X[:, 1] + np.sin(2 * X[:, 2]) + 0.3 * rng.standard_normal(60)
    if not is_classifier(estimator):
        return X, signal - signal.min() if get_tags(estimator).target_tags.positive_only else signal
    cuts = [0.5] if not get_tags(estimator).classifier_tags.multi_class else [0.33, 0.67]
    return X, np.array(["a", "b", "c"])[np.digitize(signal, np.quantile(signal, cuts))]


def _seeded(estimator: Any) -> Any:
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=0)
    return estimator


def _fit(estimator: Any, X: Any, y: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _seeded(estimator).fit(X, y)


def _output(estimator: BaseEstimator, X: Any) -> Any:
    method = "predict" if hasattr(estimator, "predict") else "transform"
    values = getattr(estimator, method)(X)
    if isinstance(values, torch.Tensor):
        return values.to_dense()
    return values.toarray() if hasattr(values, "toarray") else values


def _numbers(estimator: Any, X: Any) -> Any:
    """Outputs that are numbers; None where there are only labels."""
    if is_classifier(estimator):
        method = getattr(estimator, "decision_function", None)
        return None if method is None else method(X)
    return _output(estimator, X)


def _assert_agree(got: Any, expected: Any) -> None:
    """Equal labels, or numbers equal to rounding."""
    got, expected = np.asarray(got), np.asarray(expected)
    if expected.dtype.kind in "fc":
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    else:
        np.testing.assert_array_equal(got, expected)


def _optional(library: str) -> Any:
    import importlib

    try:
        return importlib.import_module(library)
    except ImportError:
        raise SkipCheck(f"{library} is not installed") from None
