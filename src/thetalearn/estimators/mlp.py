"""Multilayer perceptrons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d
from torch import Tensor

from .._sklearn_compat import StrOptions, fit_context
from ..base import ProbabilityMixin, ThetaClassifier, ThetaRegressor, is_soft
from ..objectives.losses import (
    GaussianNLL,
    Loss,
    Poisson,
    PoissonMean,
    make_classification_loss,
    make_regression_loss,
)
from ..representations.forms import Form, SumForm
from ..representations.networks.activations import Activation, Identity, make_activation
from ..rows import as_array, as_tensor, output_like
from ..solvers.gradient.optimizers import Optimizer
from ..solvers.gradient.schedules import Schedule
from ..threads import threads_for
from .gradient import GradientEstimator, trains_on_minibatches
from .multilayer import ActivationSpec, MultilayerPerceptron

__all__ = ["MLPClassifier", "MLPRegressor"]


class MLPRegressor(MultilayerPerceptron, ThetaRegressor):
    r"""Multilayer perceptron for regression.

    With inputs :math:`h_0 = x`, hidden layers and outputs are

    .. math:: h_l = \sigma(h_{l-1} W_l + b_l), \qquad z = h_L W_{L+1} + b_{L+1},

    and θ = (W, b) minimises the mean over the rows of a loss of z and y, plus a penalty on the
    weights. All parameters of scikit-learn's ``MLPRegressor`` mean the same here, and with the same
    ``random_state`` the fit starts from the same weights and visits the rows in the same order.
    Derivatives are written out, not recorded: a fit takes a fraction of the time.

    Parameters
    ----------
    loss : str, Loss or callable, default="squared_error"
        "squared_error" (half the square), "absolute_error", "huber", "pinball", "poisson" (z is the
        logarithm of the mean), "gaussian" (mean and variance are both learned, see
        ``predict(return_std=True)``); one of their classes with parameters, such as
        ``Pinball(quantile=0.9)``, from ``thetalearn.objectives.losses``; or a function of
        predictions and targets (n, m) that gives the losses of the rows (n,). Losses of several
        targets are added; what is reported is their mean over the targets, but for "poisson".
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Width > 0 of each hidden layer; () makes a linear model.
    activation : str, Activation or callable, or a sequence of these, default="relu"
        Function σ of the hidden layers, one for all or one for each: "identity", "logistic",
        "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "softsign",
        "arctan", "clipped_relu", "exp", "sin", "cos", "gaussian", "erf", "hard_tanh", "heaviside";
        one of their classes with parameters, such as ``Softplus(beta=2)``, from
        ``thetalearn.representations.networks.activations``; or a function of torch tensors.
    solver : str or Optimizer, default="adam"
        How θ is found. On minibatches: "gd" (all rows at once by default), "sgd", "heavy_ball",
        "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "adamax", or one of their
        classes with parameters, from ``thetalearn.solvers.gradient.optimizers``. On all rows:
        "lbfgs"; "newton", for at most 2000 parameters; and "random_search", which draws θ
        ``max_iter`` times and keeps the best.
    alpha : float, default=0.0001
        Strength ≥ 0 of the penalty on the weights, divided by the sum of sample weights of the
        batch, as in scikit-learn.
    batch_size : int or "auto", default="auto"
        Rows of a minibatch; "auto" is min(200, n_samples).
    learning_rate : str, Schedule or callable, default="constant"
        Schedule of the learning rate η: "constant", "invscaling", "adaptive", "sqrt",
        "inverse_time", "step", "cosine", "one_cycle", "plateau"; or one of their classes with
        parameters, from ``thetalearn.solvers.gradient.schedules``. Here they hold for every
        minibatch solver, where scikit-learn has them for "sgd".
    learning_rate_init : float, default=0.001
        η at the start, > 0. "adadelta" is made for 1, "adagrad" and "gd" for 0.01 and more.
    power_t : float, default=0.5
        Exponent of "invscaling".
    max_iter : int, default=200
        Epochs at most; iterations for solvers on all rows.
    shuffle : bool, default=True
        Whether the rows come in another order in every epoch.
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the minibatches, the validation rows and dropout.
    tol : float, default=1e-4
        Training stops when the loss, or the validation score, has not improved by ``tol`` for more
        than ``n_iter_no_change`` epochs in a row. For "lbfgs" and "newton", the largest entry of
        the gradient at which to stop.
    verbose : int, default=False
        Whether to show a progress bar.
    warm_start : bool, default=False
        Whether ``fit`` starts from the weights of the fit before.
    momentum : float, default=0.9
        Momentum in [0, 1] of "sgd", "heavy_ball" and "nesterov".
    nesterovs_momentum : bool, default=True
        Whether the momentum of "sgd" is Nesterov's.
    early_stopping : bool, default=False
        Whether to hold out rows, stop when their score stalls, and keep the best epoch.
    validation_fraction : float, default=0.1
        Share in [0, 1) of the rows to hold out.
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay rates in [0, 1) of the moments of "adam", "adamw" and "adamax".
    epsilon : float, default=1e-8
        Added to the root of the second moment, after its correction, as in torch; scikit-learn adds
        it before, which matters for gradients of its size.
    n_iter_no_change : int or inf, default=10
        Epochs without improvement that are tolerated.
    max_fun : int, default=15000
        Evaluations of the loss at most, for "lbfgs".
    out_activation : str, Activation, callable or None, default=None
        Function of the outputs; None is "identity", and "exp" for "poisson".
    normalization : {"batch", "layer"} or None, default=None
        Normalisation before each activation. With sample weights, those of batch normalisation are
        weighted; its running statistics follow torch.
    residual : bool, default=False
        Whether a hidden layer that is as wide as its input adds it to its output.
    dropout : float or sequence of float, default=0.0
        Probability in [0, 1) that the output of a unit is set to zero in training, for all hidden
        layers or for each; the others grow by 1 / (1 - p) (inverted dropout).
    input_dropout : float, default=0.0
        The same for the inputs.
    init : {"auto", "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", \
"lecun_normal", "normal"}, default="auto"
        Distribution of the weights to start from. "auto" is scikit-learn's: Glorot's uniform, for
        biases too; with ``width_scaling`` it is "normal", N(0, 1). `from_weights` starts from
        given ones.
    width_scaling : float, sequence of float or None, default=None
        Exponents γ in [1/2, 1] of one or two hidden layers of width N: sums over a layer are
        divided by :math:`N^\gamma`, and learning rates follow, :math:`\eta / N^{2(1-\gamma)}` for
        one hidden layer. γ = 1/2 is the neural tangent kernel, γ = 1 the mean field. A step takes
        the time η / N: with ``learning_rate_init`` in proportion to N, as many steps reach the
        same time.
        Set ``alpha`` and ``tol`` to 0. For "gd", "sgd", "heavy_ball" and "nesterov", without
        normalization and residual.
    l1_ratio : float, default=0.0
        Share in [0, 1] of the l1 norm in the penalty,
        :math:`\alpha (\rho \|W\|_1 + (1 - \rho) \|W\|^2 / 2)`. It is met by a proximal step, which
        makes exact zeros.
    weight_decay : float, default=0.0
        Decay ≥ 0 of all parameters, biases too, as torch has it: decoupled from the gradient for
        "adamw", else the gradient of ``weight_decay / 2 * theta ** 2``.
    sampling : {"shuffle", "replacement"}, default="shuffle"
        Whether an epoch visits each row once, or draws as many with replacement.
    accumulation_steps : int, default=1
        Minibatches whose gradients make one update.
    clip_norm, clip_value : float or None, default=None
        Largest norm of the gradient, and largest size of its entries; longer ones are cut.
    average : bool or int, default=False
        Whether the parameters are the mean of all iterates (Polyak averaging); an integer leaves
        out that many updates at first. A mean has no exact zeros, and no running statistics: it
        does not go with ``normalization="batch"``.
    callbacks : list or None, default=None
        Callbacks of skorch as they are: instances, classes, or pairs of a name and either, for
        ``fit`` with the stochastic solvers. They may watch, stop the training, restore weights, set
        the learning rate, change gradients and freeze parameters. They are copied, so that a fit
        leaves them as they were: ``net_.callbacks_`` holds what became of them. A grid goes over
        lists of them, as in ``{"callbacks": [[EarlyStopping(patience=p)] for p in (3, 9)]}``.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision of the parameters; "auto" is that of X.
    amp : bool, default=False
        Whether products are computed in bfloat16 (automatic mixed precision); parameters are then
        float32, and ``dtype`` may not be "float64".
    device : str or torch.device, default="auto"
        Where to compute; "auto" leaves the data where they are.

    Attributes
    ----------
    coefs_ : list of ndarray of shape (n_inputs_of_layer, n_outputs_of_layer)
        Weights of each layer.
    intercepts_ : list of ndarray of shape (n_outputs_of_layer,)
        Biases of each layer.
    norms_ : list of dict of str to ndarray
        Weight, bias and running statistics of each normalisation, if there are any.
    loss_ : float
        Loss of the last epoch, with the penalty.
    best_loss_ : float or None
        Least loss of an epoch; None with ``early_stopping``.
    loss_curve_ : list of float
        Loss of every epoch.
    validation_scores_ : list of float or None
        Score of every epoch on the validation rows, R²; None without any.
    best_validation_score_ : float or None
        The largest of them, with ``early_stopping``.
    history_ : list of dict
        For every epoch "iteration", "loss", "validation_loss" and "validation_score" where there
        are validation rows, "learning_rate" and "seconds" since the start: data for a DataFrame,
        or for `TrainingDisplay`.
    n_iter_ : int
        Epochs of the last fit, or iterations.
    t_ : int
        Rows seen in all.
    converged_ : bool
        Whether a stopping rule ended the last fit, rather than ``max_iter``; or a schedule that is
        planned to the last epoch, "cosine" or "one_cycle".
    n_layers_ : int
        Number of layers, counting the inputs and the outputs.
    n_outputs_ : int
        Number of targets of the network.
    out_activation_ : str
        Function of the outputs.
    architecture_ : MLPArchitecture
        What the network is made of; ``MLP(architecture_)`` is it as a torch module.
    net_ : skorch.NeuralNet
        The fitted network in skorch's hands, with its history and the callbacks of the last fit;
        made when it is asked for. What its ``load_params`` reads, this estimator has.

    Raises
    ------
    DivergenceError
        If the loss becomes NaN or infinite; the estimator keeps the last finite parameters.

    Warns
    -----
    ConvergenceWarning
        If ``max_iter`` ended the fit.

    Notes
    -----
    Scale the columns of X, for example with ``StandardScaler``.

    References
    ----------
    K. Spiliopoulos, R. Sowers, J. Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, chapters 5 to 10 (networks, backpropagation, dropout, batch normalisation), 17 and
    18 (solvers), 19 and 20 (width). D. Kingma and J. Ba, *Adam: A Method for Stochastic
    Optimization*.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import MLPRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (500, 2))
    >>> y = np.abs(X[:, 0]) + X[:, 1] ** 2
    >>> model = MLPRegressor(hidden_layer_sizes=(32, 32), solver="lbfgs", random_state=0)
    >>> model.fit(X, y).score(X, y) > 0.99
    True

    The median and the ninth decile of what x says about y:

    >>> from thetalearn.objectives.losses import Pinball
    >>> noisy = X[:, 0] + np.abs(X[:, 0]) * rng.standard_normal(500)
    >>> low, high = (
    ...     MLPRegressor(Pinball(q), (16,), learning_rate_init=0.02, random_state=0).fit(X, noisy)
    ...     for q in (0.5, 0.9))
    >>> float(np.mean(noisy <= high.predict(X)).round(1))
    0.9
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "loss": [str, Loss, callable],
        **MultilayerPerceptron._network_constraints,
        "out_activation": [str, Activation, callable, None],
        **GradientEstimator._gradient_constraints,
    }

    def __init__(
        self,
        loss: str | Loss | Callable[..., Tensor] = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: ActivationSpec | Sequence[ActivationSpec] = "relu",
        *,
        solver: str | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str | Schedule | Callable[..., float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        out_activation: ActivationSpec | None = None,
        normalization: str | None = None,
        residual: bool = False,
        dropout: float | Sequence[float] = 0.0,
        input_dropout: float = 0.0,
        init: str = "auto",
        width_scaling: float | Sequence[float] | None = None,
        l1_ratio: float = 0.0,
        weight_decay: float = 0.0,
        sampling: str = "shuffle",
        accumulation_steps: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        average: bool | int = False,
        callbacks: Sequence[Any] | None = None,
        dtype: str = "auto",
        amp: bool = False,
        device: str | torch.device = "auto",
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.out_activation = out_activation
        self.normalization = normalization
        self.residual = residual
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.init = init
        self.width_scaling = width_scaling
        self.l1_ratio = l1_ratio
        self.weight_decay = weight_decay
        self.sampling = sampling
        self.accumulation_steps = accumulation_steps
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.average = average
        self.callbacks = callbacks
        self.dtype = dtype
        self.amp = amp
        self.device = device

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Fit the network.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs, finite.
        y : array-like or torch.Tensor of shape (n_samples,) or (n_samples, n_targets)
            Targets, finite.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights of the rows; where all rows are in one batch, an integer weight
            equals repeating the row.
        X_val, y_val : array-like, default=None
            Rows on which to validate after every epoch. With ``early_stopping=True`` they take the
            place of the split by ``validation_fraction``; without it they are reported only.
        sample_weight_val : array-like of shape (n_val_samples,), default=None
            Weights of these rows.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If an input is empty, not finite, or of the wrong shape.
        DivergenceError
            If the loss became NaN or infinite; the estimator keeps the last finite parameters.
        """
        with self._holding_out(X_val, y_val, sample_weight_val):
            return super().fit(X, y, sample_weight)

    @available_if(trains_on_minibatches)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch on the rows given, going on from what is fitted.

        The memory of the optimizer and the learning rate go on from call to call; a schedule with
        an end is that of ``max_iter`` calls. After ``fit`` the optimizer starts at rest. Rows are
        shuffled anew in every call, where scikit-learn repeats the order of the first.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs, finite.
        y : array-like or torch.Tensor of shape (n_samples,) or (n_samples, n_targets)
            Targets, finite.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights of the rows.

        Returns
        -------
        self : object
            The estimator.
        """
        with self._all_or_nothing():
            first = not self.__sklearn_is_fitted__()
            rows = self._training_rows(X, y, sample_weight, reset=first)
            with (
                self._monitored(
                    X, y, sample_weight, None, getattr(self, "history_", None)
                ) as monitor,
                threads_for(self._work(rows[0], fitting=True)),
            ):
                inputs, targets, weight = rows
                weight = self._network_weights(targets, weight)
                self._fit_network(inputs, targets, weight, monitor, incremental=True)
        return self

    def _make_loss(self, n_targets: int) -> tuple[Loss, Activation]:
        output = Identity() if self.out_activation is None else make_activation(self.out_activation)
        loss = make_regression_loss(self.loss)
        if isinstance(loss, Poisson) and not isinstance(output, Identity):
            loss = PoissonMean()
        if isinstance(loss, GaussianNLL) and not isinstance(output, Identity):
            raise ValueError(
                f"out_activation={self.out_activation!r} would act on the variances of "
                f"loss={self.loss!r} too: leave it None"
            )
        return loss, output

    def _training_rows(self, X: Any, y: Any, *args: Any, **kwargs: Any) -> Any:
        if self._counts() and y is not None and np.asarray(as_array(y)).shape[1:] == (1,):
            y = column_or_1d(y, warn=True)
        return super()._training_rows(X, y, *args, **kwargs)

    def _counts(self) -> bool:
        """Whether targets are counts."""
        return self.loss == "poisson" or bool(getattr(self.loss, "counts", False))

    def _network_targets(self, y: Tensor) -> Tensor:
        return y

    def _network_weights(self, y: Tensor, weight: Tensor | None) -> Tensor | None:
        if self._counts() and bool((y < 0).any()):
            raise ValueError(
                f"loss={self.loss!r} needs targets y >= 0, but the least is {float(y.min()):g}"
            )
        return weight

    def __sklearn_tags__(self) -> Any:
        """Tags; counts are not negative."""
        tags = super().__sklearn_tags__()
        if self._counts():
            tags.target_tags.positive_only = True
            # Several targets work, but scikit-learn's check of them draws negative ones.
            tags.target_tags.multi_output = False
        tags.regressor_tags.poor_score = self.solver == "random_search"
        return tags

    def _report_scale(self, n_targets: int) -> float:
        # As scikit-learn reports it: the mean over targets, but of counts their sum.
        return 1.0 if self._counts() else 1 / n_targets

    def predict(self, X: ArrayLike, return_std: bool = False) -> Any:
        """Predict targets.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs.
        return_std : bool, default=False
            Whether to give the standard deviation of the targets around the prediction too, which
            the loss "gaussian" learns.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets), or a pair of them
            Predictions, and standard deviations if asked for; for a tensor, tensors on the same
            device.

        Raises
        ------
        ValueError
            If ``return_std`` is asked of a loss that learns no standard deviation.
        """
        if not return_std:
            return super().predict(X)
        check_is_fitted(self)
        std = getattr(self._loss, "std", None)
        if std is None:
            raise ValueError(
                f"return_std=True needs a loss that learns a standard deviation, which loss="
                f'{self.loss!r} does not: fit with loss="gaussian"'
            )
        rows = self._input_rows(X, reset=False)
        with threads_for(self._work(rows, fitting=False)):
            outputs = self._network_outputs(rows)
            pair = self._loss.prediction(outputs), std(outputs)
            return tuple(self._target_like(values, X, rows) for values in pair)

    def _predict_rows(self, X: Tensor) -> Tensor:
        return self._loss.prediction(self._network_outputs(X))

    def functional_form(self, response_method: str = "predict") -> SumForm | None:
        """The network as a function of the sums of its first layer.

        Parameters
        ----------
        response_method : {"predict"}, default="predict"
            Which of the estimator's methods is meant.

        Returns
        -------
        SumForm or None
            A function of rows (n, n_features).
        """
        check_is_fitted(self)
        if response_method != "predict":
            return None
        form = self._network_form()
        if self._loss.link == "identity" and form.n_outputs == self.n_outputs_:
            return form
        return form.followed_by(self._loss.prediction, self.n_outputs_)

    def _score_outputs(self, outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        """R², as `score` gives it."""
        prediction, y = self._loss.prediction(outputs).double(), targets.double()
        own = torch.ones_like(y[..., :1]) if weight is None else weight.double().unsqueeze(-1)
        mean = (own * y).sum(-2, keepdim=True) / own.sum(-2, keepdim=True)
        residual = (own * (y - prediction).square()).sum(-2)
        total = (own * (y - mean).square()).sum(-2)
        # As in r2_score: a constant target is predicted perfectly, or not at all.
        ratio = torch.where(total > 0, residual / total, (residual > 0).to(residual))
        return (1 - ratio).mean(-1)

    def _stratify(self, y: Tensor) -> np.ndarray | None:
        return None

    def _encode_held_out(self, y: Any) -> Tensor:
        targets = check_array(as_array(y), ensure_2d=False, dtype=np.float64, input_name="y_val")
        targets = targets.reshape(len(targets), -1)
        if targets.shape[1] != self._n_targets:
            raise ValueError(f"y_val has {targets.shape[1]} target(s), but y has {self._n_targets}")
        if self._counts() and targets.min() < 0:
            raise ValueError(
                f"loss={self.loss!r} needs y_val >= 0, but the least is {targets.min():g}"
            )
        return as_tensor(targets)

    def _adopt(self, n_features: int, n_outputs: int, classes: ArrayLike | None) -> None:
        if classes is not None:
            raise ValueError("classes are for MLPClassifier: a regressor has none")
        n_targets = n_outputs // make_regression_loss(self.loss).n_outputs(1)
        self.n_features_in_, self._n_targets = n_features, n_targets
        self._one_target = n_targets == 1
        self._build_network(n_features, n_targets)


class MLPClassifier(ProbabilityMixin, MultilayerPerceptron, ThetaClassifier):
    r"""Multilayer perceptron for classification.

    With inputs :math:`h_0 = x`, hidden layers and logits are

    .. math:: h_l = \sigma(h_{l-1} W_l + b_l), \qquad z = h_L W_{L+1} + b_{L+1},

    and θ = (W, b) minimises the mean cross-entropy of the labels and the softmax of z (the logistic
    function of a single z for two classes, and of each z where a row may have several labels), plus
    a penalty on the weights. All parameters of scikit-learn's ``MLPClassifier`` mean the same here,
    and with the same ``random_state`` the fit starts from the same weights and visits the rows in
    the same order. Derivatives are written out, not recorded: a fit takes a fraction of the time.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Width > 0 of each hidden layer; () makes a linear model.
    activation : str, Activation or callable, or a sequence of these, default="relu"
        Function σ of the hidden layers, one for all or one for each: "identity", "logistic",
        "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "softsign",
        "arctan", "clipped_relu", "exp", "sin", "cos", "gaussian", "erf", "hard_tanh", "heaviside";
        one of their classes with parameters, such as ``Softplus(beta=2)``, from
        ``thetalearn.representations.networks.activations``; or a function of torch tensors.
    solver : str or Optimizer, default="adam"
        How θ is found. On minibatches: "gd" (all rows at once by default), "sgd", "heavy_ball",
        "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "adamax", or one of their
        classes with parameters, from ``thetalearn.solvers.gradient.optimizers``. On all rows:
        "lbfgs"; "newton", for at most 2000 parameters; and "random_search", which draws θ
        ``max_iter`` times and keeps the best.
    alpha : float, default=0.0001
        Strength ≥ 0 of the penalty on the weights, divided by the sum of sample weights of the
        batch, as in scikit-learn.
    batch_size : int or "auto", default="auto"
        Rows of a minibatch; "auto" is min(200, n_samples).
    learning_rate : str, Schedule or callable, default="constant"
        Schedule of the learning rate η: "constant", "invscaling", "adaptive", "sqrt",
        "inverse_time", "step", "cosine", "one_cycle", "plateau"; or one of their classes with
        parameters, from ``thetalearn.solvers.gradient.schedules``. Here they hold for every
        minibatch solver, where scikit-learn has them for "sgd".
    learning_rate_init : float, default=0.001
        η at the start, > 0. "adadelta" is made for 1, "adagrad" and "gd" for 0.01 and more.
    power_t : float, default=0.5
        Exponent of "invscaling".
    max_iter : int, default=200
        Epochs at most; iterations for solvers on all rows.
    shuffle : bool, default=True
        Whether the rows come in another order in every epoch.
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the minibatches, the validation rows and dropout.
    tol : float, default=1e-4
        Training stops when the loss, or the validation score, has not improved by ``tol`` for more
        than ``n_iter_no_change`` epochs in a row. For "lbfgs" and "newton", the largest entry of
        the gradient at which to stop.
    verbose : int, default=False
        Whether to show a progress bar.
    warm_start : bool, default=False
        Whether ``fit`` starts from the weights of the fit before.
    momentum : float, default=0.9
        Momentum in [0, 1] of "sgd", "heavy_ball" and "nesterov".
    nesterovs_momentum : bool, default=True
        Whether the momentum of "sgd" is Nesterov's.
    early_stopping : bool, default=False
        Whether to hold out rows, stop when their score stalls, and keep the best epoch.
    validation_fraction : float, default=0.1
        Share in [0, 1) of the rows to hold out.
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay rates in [0, 1) of the moments of "adam", "adamw" and "adamax".
    epsilon : float, default=1e-8
        Added to the root of the second moment, after its correction, as in torch; scikit-learn adds
        it before, which matters for gradients of its size.
    n_iter_no_change : int or inf, default=10
        Epochs without improvement that are tolerated.
    max_fun : int, default=15000
        Evaluations of the loss at most, for "lbfgs".
    loss : str, LogLoss, FocalLoss or callable, default="log_loss"
        "log_loss", "focal"; ``LogLoss(label_smoothing=0.1)`` or ``FocalLoss(gamma=2)``, from
        ``thetalearn.objectives.losses``; or a function of logits and class probabilities (n, q)
        that gives the losses of the rows (n,).
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, by which the weights of their rows are multiplied; "balanced" is
        inversely proportional to their frequency in the rows of ``fit``. For one label a row.
    normalization : {"batch", "layer"} or None, default=None
        Normalisation before each activation. With sample weights, those of batch normalisation are
        weighted; its running statistics follow torch.
    residual : bool, default=False
        Whether a hidden layer that is as wide as its input adds it to its output.
    dropout : float or sequence of float, default=0.0
        Probability in [0, 1) that the output of a unit is set to zero in training, for all hidden
        layers or for each; the others grow by 1 / (1 - p) (inverted dropout).
    input_dropout : float, default=0.0
        The same for the inputs.
    init : {"auto", "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", \
"lecun_normal", "normal"}, default="auto"
        Distribution of the weights to start from. "auto" is scikit-learn's: Glorot's uniform, for
        biases too; with ``width_scaling`` it is "normal", N(0, 1). `from_weights` starts from
        given ones.
    width_scaling : float, sequence of float or None, default=None
        Exponents γ in [1/2, 1] of one or two hidden layers of width N: sums over a layer are
        divided by :math:`N^\gamma`, and learning rates follow, :math:`\eta / N^{2(1-\gamma)}` for
        one hidden layer. γ = 1/2 is the neural tangent kernel, γ = 1 the mean field. A step takes
        the time η / N: with ``learning_rate_init`` in proportion to N, as many steps reach the
        same time.
        Set ``alpha`` and ``tol`` to 0. For "gd", "sgd", "heavy_ball" and "nesterov", without
        normalization and residual.
    l1_ratio : float, default=0.0
        Share in [0, 1] of the l1 norm in the penalty,
        :math:`\alpha (\rho \|W\|_1 + (1 - \rho) \|W\|^2 / 2)`. It is met by a proximal step, which
        makes exact zeros.
    weight_decay : float, default=0.0
        Decay ≥ 0 of all parameters, biases too, as torch has it: decoupled from the gradient for
        "adamw", else the gradient of ``weight_decay / 2 * theta ** 2``.
    sampling : {"shuffle", "replacement"}, default="shuffle"
        Whether an epoch visits each row once, or draws as many with replacement.
    accumulation_steps : int, default=1
        Minibatches whose gradients make one update.
    clip_norm, clip_value : float or None, default=None
        Largest norm of the gradient, and largest size of its entries; longer ones are cut.
    average : bool or int, default=False
        Whether the parameters are the mean of all iterates (Polyak averaging); an integer leaves
        out that many updates at first. A mean has no exact zeros, and no running statistics: it
        does not go with ``normalization="batch"``.
    callbacks : list or None, default=None
        Callbacks of skorch as they are: instances, classes, or pairs of a name and either, for
        ``fit`` with the stochastic solvers. They may watch, stop the training, restore weights, set
        the learning rate, change gradients and freeze parameters. They are copied, so that a fit
        leaves them as they were: ``net_.callbacks_`` holds what became of them. A grid goes over
        lists of them, as in ``{"callbacks": [[EarlyStopping(patience=p)] for p in (3, 9)]}``.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision of the parameters; "auto" is that of X.
    amp : bool, default=False
        Whether products are computed in bfloat16 (automatic mixed precision); parameters are then
        float32, and ``dtype`` may not be "float64".
    device : str or torch.device, default="auto"
        Where to compute; "auto" leaves the data where they are.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    coefs_ : list of ndarray of shape (n_inputs_of_layer, n_outputs_of_layer)
        Weights of each layer.
    intercepts_ : list of ndarray of shape (n_outputs_of_layer,)
        Biases of each layer.
    norms_ : list of dict of str to ndarray
        Weight, bias and running statistics of each normalisation, if there are any.
    loss_ : float
        Loss of the last epoch, with the penalty.
    best_loss_ : float or None
        Least loss of an epoch; None with ``early_stopping``.
    loss_curve_ : list of float
        Loss of every epoch.
    validation_scores_ : list of float or None
        Score of every epoch on the validation rows, the accuracy; None without any.
    best_validation_score_ : float or None
        The largest of them, with ``early_stopping``.
    history_ : list of dict
        For every epoch "iteration", "loss", "validation_loss" and "validation_score" where there
        are validation rows, "learning_rate" and "seconds" since the start: data for a DataFrame,
        or for `TrainingDisplay`.
    n_iter_ : int
        Epochs of the last fit, or iterations.
    t_ : int
        Rows seen in all.
    converged_ : bool
        Whether a stopping rule ended the last fit, rather than ``max_iter``; or a schedule that is
        planned to the last epoch, "cosine" or "one_cycle".
    n_layers_ : int
        Number of layers, counting the inputs and the outputs.
    n_outputs_ : int
        Number of targets of the network.
    out_activation_ : str
        Function of the outputs.
    architecture_ : MLPArchitecture
        What the network is made of; ``MLP(architecture_)`` is it as a torch module.
    net_ : skorch.NeuralNet
        The fitted network in skorch's hands, with its history and the callbacks of the last fit;
        made when it is asked for. What its ``load_params`` reads, this estimator has.

    Raises
    ------
    DivergenceError
        If the loss becomes NaN or infinite; the estimator keeps the last finite parameters.

    Warns
    -----
    ConvergenceWarning
        If ``max_iter`` ended the fit.

    Notes
    -----
    Scale the columns of X, for example with ``StandardScaler``. With ``early_stopping`` the
    validation rows are stratified, those of more than two classes too.

    References
    ----------
    K. Spiliopoulos, R. Sowers, J. Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, chapters 5 to 10 (networks, backpropagation, dropout, batch normalisation), 17 and
    18 (solvers), 19 and 20 (width). D. Kingma and J. Ba, *Adam: A Method for Stochastic
    Optimization*.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from thetalearn import MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
    >>> model = MLPClassifier(
    ...     (64,), dropout=0.2, learning_rate_init=0.01, early_stopping=True, random_state=0)
    >>> model.fit(X_train, y_train).score(X_test, y_test) > 0.95
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **MultilayerPerceptron._network_constraints,
        "loss": [object],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        **GradientEstimator._gradient_constraints,
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: ActivationSpec | Sequence[ActivationSpec] = "relu",
        *,
        solver: str | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str | Schedule | Callable[..., float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: Any = "log_loss",
        class_weight: dict[Any, float] | str | None = None,
        normalization: str | None = None,
        residual: bool = False,
        dropout: float | Sequence[float] = 0.0,
        input_dropout: float = 0.0,
        init: str = "auto",
        width_scaling: float | Sequence[float] | None = None,
        l1_ratio: float = 0.0,
        weight_decay: float = 0.0,
        sampling: str = "shuffle",
        accumulation_steps: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        average: bool | int = False,
        callbacks: Sequence[Any] | None = None,
        dtype: str = "auto",
        amp: bool = False,
        device: str | torch.device = "auto",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.loss = loss
        self.class_weight = class_weight
        self.normalization = normalization
        self.residual = residual
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.init = init
        self.width_scaling = width_scaling
        self.l1_ratio = l1_ratio
        self.weight_decay = weight_decay
        self.sampling = sampling
        self.accumulation_steps = accumulation_steps
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.average = average
        self.callbacks = callbacks
        self.dtype = dtype
        self.amp = amp
        self.device = device

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Fit the network.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs, finite.
        y : array-like or torch.Tensor of shape (n_samples,) or (n_samples, n_classes)
            Class labels; or an indicator matrix of several labels a row; or, as rows of
            probabilities that sum to one, soft labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights of the rows; where all rows are in one batch, an integer weight
            equals repeating the row.
        X_val, y_val : array-like, default=None
            Rows on which to validate after every epoch. With ``early_stopping=True`` they take the
            place of the split by ``validation_fraction``; without it they are reported only.
        sample_weight_val : array-like of shape (n_val_samples,), default=None
            Weights of these rows.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If an input is empty, not finite, or of the wrong shape, or if there is one class only.
        DivergenceError
            If the loss became NaN or infinite; the estimator keeps the last finite parameters.
        """
        with self._holding_out(X_val, y_val, sample_weight_val):
            return super().fit(X, y, sample_weight)

    def _network_weights(self, y: Tensor, weight: Tensor | None) -> Tensor | None:
        return self._class_weighted(y, weight)

    def _class_weighted(self, y: Tensor, weight: Tensor | None) -> Tensor | None:
        if self.class_weight is not None and self._multilabel:
            raise ValueError(
                f"class_weight={self.class_weight!r} weighs rows by their class, and these have "
                "several labels each: give sample_weight instead"
            )
        return super()._class_weighted(y, weight)

    @available_if(trains_on_minibatches)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch on the rows given, going on from what is fitted.

        The memory of the optimizer and the learning rate go on from call to call; a schedule with
        an end is that of ``max_iter`` calls. After ``fit`` the optimizer starts at rest. Rows are
        shuffled anew in every call, where scikit-learn repeats the order of the first.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs, finite.
        y : array-like or torch.Tensor of shape (n_samples,) or (n_samples, n_labels)
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights of the rows.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever come; needed by the first call.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If the first call has no ``classes``, or y holds a label that is not one of them.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                'class_weight="balanced" needs the frequencies of all classes, which a batch of '
                "partial_fit does not tell: give a dict of weights"
            )
        if classes is None and not hasattr(self, "classes_"):
            raise ValueError(
                "classes must be passed on the first call to partial_fit: all labels that will "
                "ever come"
            )
        with self._all_or_nothing():
            first = not self.__sklearn_is_fitted__()
            if first:
                self.classes_, self._multilabel = np.unique(as_array(classes)), is_multilabel(y)
            elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
                raise ValueError(
                    f"classes={classes!r} differ from those of the first call to partial_fit, "
                    f"{self.classes_.tolist()!r}"
                )
            rows = self._input_rows(X, reset=first)
            rows, labels, weight = self._weighted_rows(
                rows, self._encode_known(as_array(y)), sample_weight
            )
            with (
                self._monitored(
                    X, y, sample_weight, None, getattr(self, "history_", None)
                ) as monitor,
                threads_for(self._work(rows, fitting=True)),
            ):
                weight = self._class_weighted(labels, weight)
                targets = self._network_targets(labels)
                self._fit_network(rows, targets, weight, monitor, incremental=True)
        return self

    def _class_probabilities(self, y: Any, *, reset: bool) -> np.ndarray:
        if self._goes_on(False):
            return self._encode_same(y)
        self._multilabel = is_multilabel(y)
        if not self._multilabel:
            return super()._class_probabilities(y, reset=reset)
        self.classes_ = np.arange(np.shape(y)[1])
        return self._encode_known(y)

    def _encode_same(self, y: Any) -> np.ndarray:
        """Probabilities, or indicators, of the classes of the fit before, and of no others."""
        if is_multilabel(y) != self._multilabel:
            kinds = "one label a row", "several labels a row"
            raise ValueError(
                f"warm_start=True goes on with {kinds[self._multilabel]}, but y holds "
                f"{kinds[not self._multilabel]}: set warm_start=False"
            )
        if not (self._multilabel or is_soft(y)):
            found = np.unique(column_or_1d(y, warn=True))
            if not np.array_equal(found, self.classes_):
                raise ValueError(
                    f"warm_start=True goes on with the classes {self.classes_.tolist()!r}, but y "
                    f"holds {found.tolist()!r}: keep them, or set warm_start=False"
                )
        return self._encode_known(y)

    def _encode_known(self, y: Any, name: str = "y") -> np.ndarray:
        """Probabilities, or indicators, of classes that are known already."""
        n_classes = len(self.classes_)
        if self._multilabel or is_soft(y):
            matrix = y.toarray() if sp.issparse(y) else y
            matrix = np.asarray(matrix if self._multilabel else self._encode(y)[1], np.float64)
            if matrix.ndim != 2 or matrix.shape[1] != n_classes:
                raise ValueError(
                    f"{name} of shape {matrix.shape} does not fit the {n_classes} classes of "
                    f"{type(self).__name__}: it must have one column for each"
                )
            if self._multilabel and not ((matrix == 0) | (matrix == 1)).all():
                raise ValueError(
                    f"{name} must hold 0 and 1 alone: it says which labels each row has"
                )
            return matrix
        labels = column_or_1d(y, warn=True)
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            remedy = "pass all labels as classes in the first call to partial_fit"
            raise ValueError(
                f"{name} holds the labels {unknown.tolist()!r}, which are not among the classes "
                f"{self.classes_.tolist()!r}" + (f": {remedy}" if name == "y" else " of y")
            )
        probabilities = np.zeros((len(labels), n_classes))
        probabilities[np.arange(len(labels)), np.searchsorted(self.classes_, labels)] = 1.0
        return probabilities

    def _check_classes(self, labels: Tensor) -> None:
        if not self._multilabel:
            super()._check_classes(labels)

    def _network_targets(self, y: Tensor) -> Tensor:
        """Targets of the network: one column for two classes."""
        return y[:, 1:] if y.shape[1] == 2 and not self._multilabel else y

    def _make_loss(self, n_targets: int) -> tuple[Loss, Activation]:
        binary = self._multilabel or n_targets == 1
        return make_classification_loss(self.loss, binary=binary), Identity()

    def functional_form(self, response_method: str = "predict_proba") -> Form | None:
        """The network as a function of the sums of its first layer.

        Parameters
        ----------
        response_method : {"predict", "decision_function", "predict_proba"}, default="predict_proba"
            Which of the estimator's methods is meant.

        Returns
        -------
        SumForm or None
            A function of rows (n, n_features); None for classes.
        """
        check_is_fitted(self)
        if self._multilabel and response_method == "predict_proba":
            return self._decision_form().followed_by(torch.sigmoid)
        return super().functional_form(response_method)

    def _decision_form(self) -> SumForm:
        form = self._network_form()
        if not self._multilabel and form.n_outputs == 2:
            return form.times(form.constant.new_tensor([[-1], [1]]))
        return form

    def _decide_rows(self, X: Tensor) -> Tensor:
        outputs = self._network_outputs(X)
        if self._multilabel or outputs.shape[1] > 2:
            return outputs
        # Of given weights, two classes may have an output each.
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the class of each row, or its labels.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Class labels; for several labels a row, an indicator matrix.
        """
        if getattr(self, "_multilabel", False):
            return (np.asarray(as_array(self.decision_function(X))) > 0).astype(np.int64)
        return super().predict(X)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probability of each class.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns are in the order of ``classes_``. Rows sum to one, but for several labels a
            row, where each column is the probability of its label.
        """
        check_is_fitted(self)
        if not self._multilabel:
            return super().predict_proba(X)
        rows = self._input_rows(X, reset=False)
        return output_like(self._label_probabilities(self._network_outputs(rows), rows), X)

    def _label_probabilities(self, outputs: Tensor, rows: Any) -> Tensor:
        # A label is never certain: what rounds to one stays below it.
        largest = 1 - torch.finfo(rows.dtype).eps / 2
        return torch.sigmoid(outputs).to(rows.dtype).clamp_max(largest)

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithm of the probability of each class, without loss for probabilities near zero.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns are in the order of ``classes_``. As in scikit-learn, −∞ where `predict_proba`
            is zero.
        """
        check_is_fitted(self)
        if not self._multilabel:
            exact: Any = super().predict_log_proba(X)
            library: Any = torch if isinstance(exact, Tensor) else np
            return library.where(library.exp(exact) == 0, -np.inf, exact)
        rows = self._input_rows(X, reset=False)
        outputs = self._network_outputs(rows)
        exact = torch.nn.functional.logsigmoid(outputs).to(rows.dtype)
        # Near one, of what is shown: logarithms that have more digits would rank labels otherwise.
        shown = self._label_probabilities(outputs, rows)
        return output_like(torch.where(shown > 0.5, shown.log(), exact), X)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Mean accuracy; for several labels a row, the share of rows with all labels right.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
            Accuracy between 0 and 1.
        """
        if getattr(self, "_multilabel", False):
            return float(accuracy_score(y, self.predict(X), sample_weight=sample_weight))
        return super().score(X, y, sample_weight)

    def _score_outputs(self, outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        """Accuracy, as `score` gives it."""
        if self._multilabel:
            hits = ((outputs > 0) == (targets > 0.5)).all(-1).double()
        elif targets.shape[-1] == 1:
            chosen = (outputs > 0).to(targets)
            hits = (chosen * targets + (1 - chosen) * (1 - targets))[..., 0].double()
        else:
            hits = targets.gather(-1, outputs.argmax(-1, keepdim=True))[..., 0].double()
        own = torch.ones_like(hits) if weight is None else weight
        score = (hits * own).sum(-1) / own.sum(-1)
        return torch.where(torch.isfinite(outputs).flatten(-2).all(-1), score, torch.nan)

    def _stratify(self, y: Tensor) -> np.ndarray | None:
        if self._multilabel or not bool(((y == 0) | (y == 1)).all()):
            return None
        labels = (y[:, 0] if y.shape[1] == 1 else y.argmax(1)).cpu().numpy()
        counts = np.unique(labels, return_counts=True)[1]
        # Where a class has too few rows for both parts, the split is not stratified.
        n_held = int(np.ceil(self.validation_fraction * len(y)))
        rare = counts.min() < 2 or min(n_held, len(y) - n_held) < len(counts)
        return None if rare else labels

    def _encode_held_out(self, y: Any) -> Tensor:
        return self._network_targets(as_tensor(self._encode_known(as_array(y), "y_val")))

    def _adopt(self, n_features: int, n_outputs: int, classes: ArrayLike | None) -> None:
        n_classes = 2 if n_outputs == 1 else n_outputs
        labels = np.arange(n_classes) if classes is None else np.asarray(classes)
        if not np.array_equal(labels, np.unique(labels)) or len(labels) != n_classes:
            raise ValueError(
                f"classes={classes!r} must hold {n_classes} different labels in ascending order: "
                "sort them, and the columns of the last coefs and intercepts with them"
            )
        self.n_features_in_, self.classes_, self._multilabel = n_features, labels, False
        self._build_network(n_features, n_outputs)

    def __sklearn_tags__(self) -> Any:
        """Tags; a row may have several labels."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.classifier_tags.poor_score = self.solver == "random_search"
        return tags


def is_multilabel(y: Any) -> bool:
    """Whether y is an indicator matrix of several labels a row."""
    return bool(type_of_target(as_array(y)) == "multilabel-indicator")
