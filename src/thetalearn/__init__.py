"""Deep and numerical models as scikit-learn estimators.

The public names are imported when they are first used, so that ``import thetalearn`` is quick and
imports neither torch nor scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # For type checkers and editors: the same names as in the table below.
    from thetalearn.estimators.basis import BSplineRegressor as BSplineRegressor
    from thetalearn.estimators.basis import ChebyshevRegressor as ChebyshevRegressor
    from thetalearn.estimators.basis import PolynomialRegressor as PolynomialRegressor
    from thetalearn.estimators.basis import RandomFeatureRegressor as RandomFeatureRegressor
    from thetalearn.estimators.basis import ReLURegressor as ReLURegressor
    from thetalearn.estimators.bellman import BellmanApproximator as BellmanApproximator
    from thetalearn.estimators.bellman import PolicyEvaluator as PolicyEvaluator
    from thetalearn.estimators.euler import EulerApproximator as EulerApproximator
    from thetalearn.estimators.euler import FunctionalEquation as FunctionalEquation
    from thetalearn.estimators.features import BSplineFeatures as BSplineFeatures
    from thetalearn.estimators.features import ChebyshevFeatures as ChebyshevFeatures
    from thetalearn.estimators.features import PolynomialFeatures as PolynomialFeatures
    from thetalearn.estimators.features import RandomFeatures as RandomFeatures
    from thetalearn.estimators.features import ReLUFeatures as ReLUFeatures
    from thetalearn.estimators.kernel import KernelRidgeRegressor as KernelRidgeRegressor
    from thetalearn.estimators.linear import LinearRegressor as LinearRegressor
    from thetalearn.estimators.logistic import LogisticClassifier as LogisticClassifier
    from thetalearn.estimators.logistic import SoftmaxClassifier as SoftmaxClassifier
    from thetalearn.estimators.mlp import MLPClassifier as MLPClassifier
    from thetalearn.estimators.mlp import MLPRegressor as MLPRegressor
    from thetalearn.estimators.perceptron import PerceptronClassifier as PerceptronClassifier
    from thetalearn.inspection.dynamics import ImpulseResponseDisplay as ImpulseResponseDisplay
    from thetalearn.inspection.dynamics import PathDisplay as PathDisplay
    from thetalearn.inspection.dynamics import PolicyDisplay as PolicyDisplay
    from thetalearn.inspection.dynamics import ResidualDisplay as ResidualDisplay
    from thetalearn.inspection.dynamics import ValueDisplay as ValueDisplay
    from thetalearn.inspection.importance.dependence.partial import (
        partial_dependence as partial_dependence,
    )
    from thetalearn.inspection.importance.dependence.partial import projections as projections
    from thetalearn.inspection.importance.displays import (
        PartialDependenceDisplay as PartialDependenceDisplay,
    )
    from thetalearn.inspection.importance.displays import (
        PermutationImportanceDisplay as PermutationImportanceDisplay,
    )
    from thetalearn.inspection.importance.displays import SageDisplay as SageDisplay
    from thetalearn.inspection.importance.displays import ShapleyDisplay as ShapleyDisplay
    from thetalearn.inspection.importance.permutation.importance import (
        permutation_importance as permutation_importance,
    )
    from thetalearn.inspection.importance.sage.accuracy import (
        accuracy_shapley_values as accuracy_shapley_values,
    )
    from thetalearn.inspection.importance.sage.values import sage_values as sage_values
    from thetalearn.inspection.importance.shapley import ShapleyExplainer as ShapleyExplainer
    from thetalearn.inspection.importance.shapley import shapley_values as shapley_values
    from thetalearn.inspection.search import SearchDisplay as SearchDisplay
    from thetalearn.inspection.training import TrainingDisplay as TrainingDisplay
    from thetalearn.model_selection.functions import (
        fused_cross_val_predict as fused_cross_val_predict,
    )
    from thetalearn.model_selection.functions import fused_cross_val_score as fused_cross_val_score
    from thetalearn.model_selection.functions import fused_cross_validate as fused_cross_validate
    from thetalearn.model_selection.functions import fused_learning_curve as fused_learning_curve
    from thetalearn.model_selection.functions import (
        fused_validation_curve as fused_validation_curve,
    )
    from thetalearn.model_selection.searches import FusedGridSearchCV as FusedGridSearchCV
    from thetalearn.model_selection.searches import (
        FusedHalvingGridSearchCV as FusedHalvingGridSearchCV,
    )
    from thetalearn.model_selection.searches import (
        FusedHalvingRandomSearchCV as FusedHalvingRandomSearchCV,
    )
    from thetalearn.model_selection.searches import (
        FusedRandomizedSearchCV as FusedRandomizedSearchCV,
    )
    from thetalearn.plugins import all_estimators as all_estimators
    from thetalearn.plugins import get_estimator as get_estimator
    from thetalearn.plugins import list_estimators as list_estimators

    __version__: str

_MODULE_OF = {
    "BSplineFeatures": "thetalearn.estimators.features",
    "BSplineRegressor": "thetalearn.estimators.basis",
    "BellmanApproximator": "thetalearn.estimators.bellman",
    "ChebyshevFeatures": "thetalearn.estimators.features",
    "ChebyshevRegressor": "thetalearn.estimators.basis",
    "EulerApproximator": "thetalearn.estimators.euler",
    "FunctionalEquation": "thetalearn.estimators.euler",
    "FusedGridSearchCV": "thetalearn.model_selection.searches",
    "FusedHalvingGridSearchCV": "thetalearn.model_selection.searches",
    "FusedHalvingRandomSearchCV": "thetalearn.model_selection.searches",
    "FusedRandomizedSearchCV": "thetalearn.model_selection.searches",
    "ImpulseResponseDisplay": "thetalearn.inspection.dynamics",
    "KernelRidgeRegressor": "thetalearn.estimators.kernel",
    "LinearRegressor": "thetalearn.estimators.linear",
    "LogisticClassifier": "thetalearn.estimators.logistic",
    "MLPClassifier": "thetalearn.estimators.mlp",
    "MLPRegressor": "thetalearn.estimators.mlp",
    "PartialDependenceDisplay": "thetalearn.inspection.importance.displays",
    "PathDisplay": "thetalearn.inspection.dynamics",
    "PerceptronClassifier": "thetalearn.estimators.perceptron",
    "PermutationImportanceDisplay": "thetalearn.inspection.importance.displays",
    "PolicyDisplay": "thetalearn.inspection.dynamics",
    "PolicyEvaluator": "thetalearn.estimators.bellman",
    "PolynomialFeatures": "thetalearn.estimators.features",
    "PolynomialRegressor": "thetalearn.estimators.basis",
    "RandomFeatureRegressor": "thetalearn.estimators.basis",
    "RandomFeatures": "thetalearn.estimators.features",
    "ReLUFeatures": "thetalearn.estimators.features",
    "ReLURegressor": "thetalearn.estimators.basis",
    "ResidualDisplay": "thetalearn.inspection.dynamics",
    "SageDisplay": "thetalearn.inspection.importance.displays",
    "SearchDisplay": "thetalearn.inspection.search",
    "ShapleyDisplay": "thetalearn.inspection.importance.displays",
    "ShapleyExplainer": "thetalearn.inspection.importance.shapley",
    "SoftmaxClassifier": "thetalearn.estimators.logistic",
    "TrainingDisplay": "thetalearn.inspection.training",
    "ValueDisplay": "thetalearn.inspection.dynamics",
    "accuracy_shapley_values": "thetalearn.inspection.importance.sage.accuracy",
    "all_estimators": "thetalearn.plugins",
    "fused_cross_val_predict": "thetalearn.model_selection.functions",
    "fused_cross_val_score": "thetalearn.model_selection.functions",
    "fused_cross_validate": "thetalearn.model_selection.functions",
    "fused_learning_curve": "thetalearn.model_selection.functions",
    "fused_validation_curve": "thetalearn.model_selection.functions",
    "get_estimator": "thetalearn.plugins",
    "list_estimators": "thetalearn.plugins",
    "partial_dependence": "thetalearn.inspection.importance.dependence.partial",
    "permutation_importance": "thetalearn.inspection.importance.permutation.importance",
    "projections": "thetalearn.inspection.importance.dependence.partial",
    "sage_values": "thetalearn.inspection.importance.sage.values",
    "shapley_values": "thetalearn.inspection.importance.shapley",
}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        value = version("thetalearn")
    elif name in _MODULE_OF:
        value = getattr(import_module(_MODULE_OF[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__, "__version__"})
