"""Discovery of estimators through the entry-point group ``thetalearn.estimators``.

A distribution offers an estimator by mapping a name to a class in its ``pyproject.toml``::

    [project.entry-points."thetalearn.estimators"]
    fourier-regressor = "thetalearn_fourier:FourierRegressor"

thetalearn's own estimators are registered in the same way: there is no other list. Listing reads
the metadata of the installed distributions only; a class is imported when it is asked for.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import re
import warnings
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

__all__ = [
    "DuplicateEstimatorError",
    "EstimatorRecord",
    "PluginError",
    "PluginImportError",
    "PluginWarning",
    "UnknownEstimatorError",
    "all_estimators",
    "find_record",
    "get_estimator",
    "list_estimators",
]

GROUP = "thetalearn.estimators"
TYPE_FILTERS = ("classifier", "cluster", "regressor", "sampler", "transformer")
_KEBAB_CASE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class PluginWarning(UserWarning):
    """A registered estimator cannot be used and was skipped."""


class PluginError(Exception):
    """Base class of the errors that discovery raises."""


class UnknownEstimatorError(PluginError, LookupError):
    """No installed distribution registers an estimator of this name."""


class DuplicateEstimatorError(PluginError):
    """Two distributions register the same estimator name."""


class PluginImportError(PluginError, ImportError):
    """A registered estimator cannot be imported, or is not an estimator class."""


class EstimatorRecord(NamedTuple):
    """What the metadata of a distribution says about one of its estimators.

    Attributes
    ----------
    name : str
        The registered name, such as ``"chebyshev-regressor"``.
    object_path : str
        Where the class is, as ``"module:Class"``.
    distribution : str
        The distribution that registers it.
    version : str
        The version of that distribution.
    """

    name: str
    object_path: str
    distribution: str
    version: str


def all_estimators(
    type_filter: str | Iterable[str] | None = None,
) -> list[tuple[str, type[Any]]]:
    """Import and return every installed estimator, sorted by name.

    It mirrors :func:`sklearn.utils.discovery.all_estimators`. An estimator that cannot be imported
    is reported with a :class:`PluginWarning` and left out.

    Parameters
    ----------
    type_filter : str or iterable of str, default=None
        Keep the estimators that are at least one of these: ``"classifier"``, ``"cluster"``,
        ``"regressor"``, ``"sampler"`` (has a method ``sample``), ``"transformer"``. ``None`` keeps
        all of them.

    Returns
    -------
    estimators : list of tuple of (str, type)
        Registered name and class.

    Raises
    ------
    ValueError
        If `type_filter` is not one of the values above.
    DuplicateEstimatorError
        If two distributions register the same name.

    Warns
    -----
    PluginWarning
        For each estimator that is skipped, naming it, its distribution and the cause.

    Examples
    --------
    >>> from thetalearn import all_estimators
    >>> regressors = dict(all_estimators(type_filter="regressor"))
    >>> regressors["chebyshev-regressor"].__name__
    'ChebyshevRegressor'
    >>> "softmax-classifier" in regressors
    False
    """
    wanted = _validate_type_filter(type_filter)
    found = []
    for record in _unique_records():
        try:
            estimator = _load(record)
        except PluginImportError as error:
            warnings.warn(f"{error} It is skipped.", PluginWarning, stacklevel=2)
            continue
        if wanted is None or any(_is_type(estimator, kind) for kind in wanted):
            found.append((record.name, estimator))
    return found


def get_estimator(name: str) -> type[Any]:
    """Import and return the estimator class registered under a name.

    Only this estimator is imported; other plugins, broken or not, play no part.

    Parameters
    ----------
    name : str
        The registered name, such as ``"chebyshev-regressor"``.

    Returns
    -------
    estimator : type
        The estimator class.

    Raises
    ------
    UnknownEstimatorError
        If no distribution registers `name`; the message lists the closest names.
    DuplicateEstimatorError
        If two distributions register `name`.
    PluginImportError
        If the class cannot be imported or is not an estimator; it is chained from the cause.

    Examples
    --------
    >>> from thetalearn import get_estimator
    >>> get_estimator("chebyshev-regressor").__name__
    'ChebyshevRegressor'
    """
    return _load(find_record(name))


def find_record(name: str) -> EstimatorRecord:
    """Return the record of one registered estimator without importing it.

    Parameters
    ----------
    name : str
        The registered name, such as ``"chebyshev-regressor"``.

    Returns
    -------
    record : EstimatorRecord
        Its object path, distribution and version.

    Raises
    ------
    UnknownEstimatorError
        If no distribution registers `name`; the message lists the closest names.
    DuplicateEstimatorError
        If two distributions register `name`.

    Examples
    --------
    >>> from thetalearn.plugins import find_record
    >>> find_record("chebyshev-regressor").distribution
    'thetalearn'
    """
    records = _records()
    matching = [record for record in records if record.name == name]
    if not matching:
        raise UnknownEstimatorError(_unknown_message(name, [record.name for record in records]))
    _raise_if_duplicate(matching)
    return matching[0]


def list_estimators() -> list[EstimatorRecord]:
    """List the registered estimators, sorted by name, without importing any of them.

    Returns
    -------
    records : list of EstimatorRecord
        Name, object path, distribution and version of each.

    Raises
    ------
    DuplicateEstimatorError
        If two distributions register the same name.

    Warns
    -----
    PluginWarning
        For each entry that is skipped because its name is not lower-case kebab.

    Examples
    --------
    >>> from thetalearn import list_estimators
    >>> records = {record.name: record for record in list_estimators()}
    >>> records["chebyshev-regressor"].object_path
    'thetalearn.estimators.basis:ChebyshevRegressor'
    """
    records = []
    for record in _unique_records():
        if problem := _name_problem(record):
            warnings.warn(f"{problem} It is skipped.", PluginWarning, stacklevel=2)
        else:
            records.append(record)
    return records


def _records() -> list[EstimatorRecord]:
    """Return the records of all entries by name, each distribution counted once."""
    seen: dict[tuple[str, str, str], EstimatorRecord] = {}
    for entry_point in entry_points(group=GROUP):
        record = _record(entry_point)
        # An editable install and its egg-info are two metadata folders of one distribution.
        key = (record.name, _normalised(record.distribution), record.object_path)
        seen.setdefault(key, record)
    return sorted(seen.values())


def _unique_records() -> list[EstimatorRecord]:
    """Return the records of all entries by name; raise if a name occurs twice."""
    records = _records()
    by_name: dict[str, list[EstimatorRecord]] = {}
    for record in records:
        by_name.setdefault(record.name, []).append(record)
    for same_name in by_name.values():
        _raise_if_duplicate(same_name)
    return records


def _record(entry_point: EntryPoint) -> EstimatorRecord:
    """Return what the metadata says about an entry."""
    distribution = version = None
    if entry_point.dist is not None:
        # A half-removed distribution has no readable METADATA; what is raised depends on Python.
        with contextlib.suppress(Exception):
            distribution, version = entry_point.dist.name, entry_point.dist.version
    return EstimatorRecord(
        entry_point.name, entry_point.value, distribution or "unknown", version or "unknown"
    )


def _load(record: EstimatorRecord) -> type[Any]:
    """Import the class of an entry, or raise `PluginImportError`."""
    if problem := _name_problem(record):
        raise PluginImportError(problem)
    # SystemExit: a module that calls sys.exit() when imported must not end the user's program.
    try:
        estimator = EntryPoint(record.name, record.object_path, GROUP).load()
    except (Exception, SystemExit) as error:
        raise PluginImportError(
            f"{_subject(record)} cannot be imported: {type(error).__name__}: "
            f"{str(error).rstrip('.')}."
        ) from error
    if problem := _class_problem(estimator):
        raise PluginImportError(f"{_subject(record)} is not an estimator class: {problem}.")
    return estimator


def _raise_if_duplicate(records: list[EstimatorRecord]) -> None:
    """Raise `DuplicateEstimatorError` if there is more than one entry of a name."""
    if len(records) > 1:
        owners = " and ".join(
            f"{record.distribution!r} ({record.object_path})" for record in records
        )
        raise DuplicateEstimatorError(
            f"The estimator name {records[0].name!r} is registered by {owners}: "
            "uninstall one of the distributions, or rename the estimator in one of them."
        )


def _subject(record: EstimatorRecord) -> str:
    """Return how a message names an entry."""
    return (
        f"The estimator {record.name!r} ({record.object_path}) "
        f"of the distribution {record.distribution!r}"
    )


def _name_problem(record: EstimatorRecord) -> str | None:
    """Return what is wrong with the name of an entry, if anything."""
    if _KEBAB_CASE.fullmatch(record.name):
        return None
    return (
        f"{_subject(record)} has an invalid name: a name is lower-case words joined by hyphens, "
        "such as 'fourier-regressor'."
    )


def _class_problem(estimator: object) -> str | None:
    """Return why an object is not an estimator class, if it is not."""
    if not isinstance(estimator, type):
        return f"it is an object of type {type(estimator).__name__}"
    methods = ("get_params", "fit")
    missing = [method for method in methods if not callable(getattr(estimator, method, None))]
    if missing:
        return f"it has no {' and no '.join(missing)}"
    return "it is abstract" if inspect.isabstract(estimator) else None


def _is_type(estimator: type[Any], kind: str) -> bool:
    """Tell whether an estimator class is of one of the kinds in `TYPE_FILTERS`."""
    # Listing does not need scikit-learn, so it is imported only here.
    from sklearn.base import ClassifierMixin, ClusterMixin, RegressorMixin, TransformerMixin

    mixins = {
        "classifier": ClassifierMixin,
        "cluster": ClusterMixin,
        "regressor": RegressorMixin,
        "transformer": TransformerMixin,
    }
    if kind == "sampler":
        return callable(getattr(estimator, "sample", None))
    return issubclass(estimator, mixins[kind])


def _validate_type_filter(type_filter: str | Iterable[str] | None) -> list[str] | None:
    """Return the kinds to keep as a list, or None for all."""
    if type_filter is None:
        return None
    kinds = [type_filter] if isinstance(type_filter, str) else list(type_filter)
    for kind in kinds:
        if kind not in TYPE_FILTERS:
            raise ValueError(
                f"Invalid type_filter={kind!r}; allowed are None and one or several of "
                f"{', '.join(map(repr, TYPE_FILTERS))}."
            )
    return kinds


def _unknown_message(name: str, names: list[str]) -> str:
    """Return a message that says which names are close to an unknown one."""
    close = difflib.get_close_matches(str(name).lower().replace("_", "-"), names, n=3)
    hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"There is no estimator {name!r}. {hint or 'list_estimators() returns all names.'}"


def _normalised(distribution: str) -> str:
    """Return a distribution's name as package installers compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
