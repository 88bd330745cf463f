"""Shapley values and interactions of sums of products, in closed form.

A product of functions of single columns is averaged over some of its columns without evaluating it
at mixed rows, so that one pass over the background serves every row and every coalition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ....representations.forms import Linear, ProductForm, SumForm
from ....rows import row_blocks
from .exact import interaction_matrix, shapley_matrix
from .expansion import (
    CHUNK,
    Combinations,
    TargetsOfTerms,
    WeightsOfSubsets,
    combine,
    expand,
    taking_part,
)
from .game import ClosedGame, pieces

__all__ = ["MAX_EXPANSIONS", "AdditiveGame", "ProductGame", "n_expansions"]

#: More subsets of the players of a term, summed over all terms, are refused.
MAX_EXPANSIONS = 4_000_000

#: Bytes of a block of rows, unless it would have fewer than 256.
CACHE_BYTES = 2**22

#: Bytes of a block of rows, however few these are.
BLOCK_BYTES = 2**28


def n_expansions(form: ProductForm, players: Sequence[np.ndarray]) -> int:
    r"""How many pairs of a term and a subset of its players a form has, :math:`\sum_t 2^{q_t}`.

    Memory and time of :class:`ProductGame` grow with it.

    Parameters
    ----------
    form : ProductForm
        A sum of products over d columns.
    players : sequence of ndarray of int
        The columns of each player.

    Returns
    -------
    int
        The number of pairs; q_t counts the players in term t.

    Raises
    ------
    ValueError
        If a column belongs to no player or to several.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from thetalearn.inspection.importance.games.closed import n_expansions
    >>> from thetalearn.representations.bases import Polynomial, ProductBasis, complete_indices
    >>> from thetalearn.representations.forms import basis_form
    >>> basis = ProductBasis([Polynomial(2)] * 2, complete_indices(2, 2))
    >>> form = basis_form(basis, torch.ones(6, 1, dtype=torch.float64))
    >>> n_expansions(form, [np.array([0]), np.array([1])])  # 1, b, a, b^2, a b, a^2
    13
    """
    _check_players(players, form.n_columns)
    counts = np.bincount(taking_part(form.indices, players).sum(1))
    return sum(int(count) << q for q, count in enumerate(counts))


class ProductGame(ClosedGame):
    r"""The games of rows x against a background, for a sum of products.

    Term t of the form takes q players, the set A. Let :math:`g_U` be its product over the columns
    of the players in U alone, and :math:`\mu_U` the weighted mean of :math:`g_U` over the
    background. The term is worth :math:`v(S; x) = c\, g_{S \cap A}(x)\, \mu_{A \setminus S}` to a
    coalition S, and to player p

    .. math::
        \phi_p(x) = c \sum_{U \subseteq A} g_U(x)\, \mu_{A \setminus U}\, a_p(U), \quad
        a_p(U) = \begin{cases} (|U|-1)!\,(q-|U|)!\,/\,q! & p \in U \\
        -|U|!\,(q-|U|-1)!\,/\,q! & p \notin U. \end{cases}

    So the values of all terms together are the distinct :math:`g_U` times a matrix that depends on
    the background alone. Players outside a term are dummies in it. The means are of products, not
    products of means: columns of the background may be correlated.

    Parameters
    ----------
    form : ProductForm
        A sum of products over d columns, with m outputs.
    players : sequence of ndarray of int
        The columns of each of the P players: every column belongs to exactly one of them, and a
        player may have none.
    background : Tensor of shape (B, d)
        Rows that the players outside a coalition take their columns from, jointly.
    weights : Tensor of shape (B,), default=None
        Weights of these rows, not negative; None for equal ones. They are divided by their sum.

    Raises
    ------
    ValueError
        If a column belongs to no player or to several, if shapes disagree, if the weights are
        negative or all zero, or if :func:`n_expansions` is above ``MAX_EXPANSIONS``.

    References
    ----------
    L. S. Shapley, *A Value for n-Person Games*. M. Grabisch and M. Roubens, *An Axiomatic Approach
    to the Concept of Interaction among Players in Cooperative Games*, section 3.
    S. M. Lundberg, G. G. Erion and S.-I. Lee, *Consistent Individualized Feature Attribution for
    Tree Ensembles*, section 4, for the share of an interaction that each of a pair is given.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from thetalearn.inspection.importance.games.closed import ProductGame
    >>> from thetalearn.representations.forms import ProductForm
    >>> def powers(x):
    ...     return torch.stack([torch.ones_like(x), x])
    >>> coef = torch.tensor([[1.0]], dtype=torch.float64)
    >>> form = ProductForm([powers, powers], np.array([[1, 1]]), coef)  # x0 x1
    >>> background = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    >>> game = ProductGame(form, [np.array([0]), np.array([1])], background)
    >>> x = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    >>> game.base_values
    tensor([1.], dtype=torch.float64)
    >>> game.shapley(x)[0, :, 0]
    tensor([5.5000, 5.5000], dtype=torch.float64)
    >>> game.interactions(x)[0, :, :, 0]
    tensor([[-1.0000,  6.5000],
            [ 6.5000, -1.0000]], dtype=torch.float64)
    """

    def __init__(
        self,
        form: ProductForm,
        players: Sequence[np.ndarray],
        background: Tensor,
        weights: Tensor | None = None,
    ) -> None:
        count = n_expansions(form, players)
        if count > MAX_EXPANSIONS:
            raise ValueError(
                f"the form expands to {count} subsets of the players in its terms, more than the "
                f"{MAX_EXPANSIONS} that are kept: group columns into fewer players, or sample "
                "coalitions"
            )
        self.form = form
        self.n_players = len(players)
        self.n_outputs = form.n_outputs
        self.n_background = len(background)
        self._expansion = expand(form.indices, players)
        self._coef = form.coef.detach().cpu().double().numpy()[self._expansion.order]
        self._means = self._mean(background, _normalised(weights, background, form.n_columns))

    @cached_property
    def base_values(self) -> Tensor:
        """Mean of the form over the background, shape (m,)."""
        means = self._means[self._expansion.places[self._expansion.ends - 1]]
        return torch.from_numpy(means @ self._coef).to(self._device)

    def predictions(self, x: Tensor) -> Tensor:
        """Values of the form, shape (N, m)."""
        return self.form(_checked(x, self.form.n_columns))

    def values(self, x: Tensor, masks: np.ndarray) -> Tensor:
        """What coalitions are worth.

        Parameters
        ----------
        x : Tensor of shape (N, d)
            Rows.
        masks : ndarray of bool of shape (M, P)
            The players in each coalition.

        Returns
        -------
        Tensor of shape (N, M, m)
            Mean of the form over the background with the coalition's columns taken from the row.
        """
        masks = np.asarray(masks, dtype=bool)
        x = _checked(x, self.form.n_columns)
        values = x.new_empty(len(x), len(masks), self.n_outputs)
        size = max(1, CHUNK // max(self._expansion.n_products * self.n_outputs, len(self._coef)))
        for block in pieces(len(masks), size):
            combination = self._coalitions(masks[block]).to(x.device)
            for rows in self._row_blocks(len(x), values[:1, block].numel()):
                values[rows, block] = (combination @ self._products(x[rows])).permute(2, 1, 0)
        return values

    def shapley(self, x: Tensor) -> Tensor:
        """Shapley values of the players, which add up to the form minus its base value.

        Parameters
        ----------
        x : Tensor of shape (N, d)
            Rows.

        Returns
        -------
        Tensor of shape (N, P, m)
            The values.
        """
        x = _checked(x, self.form.n_columns)
        values = x.new_empty(len(x), self.n_players, self.n_outputs)
        for rows in self._row_blocks(len(x)):
            values[rows] = self._shapley(self._products(x[rows]))
        return values

    def interactions(self, x: Tensor) -> Tensor:
        r"""Shapley interaction values of pairs of players.

        Off the diagonal half of the Shapley interaction index,

        .. math::
            \Phi_{pr} = \sum_{T \not\ni p, r} \frac{|T|!\,(P-|T|-2)!}{2\,(P-1)!}\,
            [v(T \cup \{p, r\}) - v(T \cup \{p\}) - v(T \cup \{r\}) + v(T)],

        and on it what remains of the Shapley value, :math:`\phi_p - \sum_{r \ne p} \Phi_{pr}`.

        Parameters
        ----------
        x : Tensor of shape (N, d)
            Rows.

        Returns
        -------
        Tensor of shape (N, P, P, m)
            The values, symmetric in the players; they add up to the form minus its base value.
        """
        x = _checked(x, self.form.n_columns)
        pairs, pair_values = self._pair_values
        first, second = torch.from_numpy(np.stack(np.divmod(pairs, self.n_players))).to(x.device)
        values = x.new_zeros(len(x), self.n_players, self.n_players, self.n_outputs)
        for rows in self._row_blocks(len(x), values[:1].numel()):
            products = self._products(x[rows])
            block = values[rows]
            block[:, first, second] = pair_values(products)
            block += block.transpose(1, 2).clone()
            own = self._shapley(products) - block.sum(2)
            block.diagonal(dim1=1, dim2=2).copy_(own.transpose(1, 2))
        return values

    @property
    def _device(self) -> torch.device:
        return self.form.coef.device

    @cached_property
    def _shapley(self) -> Combinations:
        """Shapley values from the products."""
        return self._combine(shapley_matrix, lambda players: players, self.n_players)

    @cached_property
    def _pair_values(self) -> tuple[np.ndarray, Combinations]:
        """The pairs p P + r, p < r, that share a term, and their interactions from the products."""

        def code(players: np.ndarray) -> np.ndarray:
            first, second = np.triu_indices(players.shape[1], 1)
            return players[:, first] * self.n_players + players[:, second]

        codes = [code(group.players).ravel() for group in self._expansion.groups]
        pairs = np.unique(np.concatenate(codes))
        return pairs, self._combine(
            interaction_matrix, lambda players: np.searchsorted(pairs, code(players)), len(pairs)
        )

    def _combine(
        self, weights: WeightsOfSubsets, targets: TargetsOfTerms, n_targets: int
    ) -> Combinations:
        return combine(self._expansion, self._means, self._coef, weights, targets, n_targets)

    def _coalitions(self, masks: np.ndarray) -> Tensor:
        """What masks (M, P) make of the products: combinations of shape (m, M, K)."""
        expansion = self._expansion
        subset = np.empty((len(masks), len(self._coef)), dtype=np.int64)
        for group in expansion.groups:
            bits = masks[:, group.players].astype(np.int64)  # (M, n, q)
            subset[:, group.terms] = bits @ (1 << np.arange(group.n_active))
        places = expansion.places[expansion.starts + subset]
        rest = self._means[expansion.places[expansion.ends - 1 - subset]]
        keys = (places + expansion.n_products * np.arange(len(masks))[:, None]).ravel()
        size = len(masks) * expansion.n_products
        sums = [np.bincount(keys, (rest * c).ravel(), size) for c in self._coef.T]
        shape = (self.n_outputs, len(masks), expansion.n_products)
        return torch.from_numpy(np.stack(sums).reshape(shape))

    def _mean(self, background: Tensor, weights: Tensor) -> np.ndarray:
        """Weighted mean of every product over the background, shape (K,)."""
        background = _checked(background, self.form.n_columns)
        mean = background.new_zeros(self._expansion.n_products)
        for rows in self._row_blocks(len(background)):
            mean += self._products(background[rows]) @ weights[rows]
        return mean.cpu().numpy()

    def _products(self, x: Tensor) -> Tensor:
        """All distinct products of players' functions, shape (K, n)."""
        expansion = self._expansion
        singles = self.form.design(x, expansion.singles)
        products = x.new_empty(expansion.n_products, len(x))
        products[0] = 1.0
        products[1 : 1 + len(expansion.singles)] = singles.T
        for level, parents, factors in expansion.levels:
            known, block = products[: level.start], products[level]
            torch.index_select(known, 0, parents.to(x.device), out=block)
            block *= known.index_select(0, factors.to(x.device))
        return products

    def _row_blocks(self, n_rows: int, n_results: int = 0) -> Iterator[slice]:
        """Blocks of rows whose products and results fit the cache, or a bounded memory."""
        row_bytes = 8 * max(self._expansion.n_products, n_results)
        size = min(max(CACHE_BYTES // row_bytes, 256), BLOCK_BYTES // row_bytes)
        return pieces(n_rows, max(size, 1))


class AdditiveGame(ClosedGame):
    r"""The games of rows x against a background, for a sum of functions of single columns.

    Player p contributes :math:`u_p(x) - \sum_b w_b\, u_p(b)` to every coalition, so this is its
    Shapley value, and there are no interactions.

    Parameters
    ----------
    form : SumForm
        A sum over d columns without a head, with m outputs.
    players : sequence of ndarray of int
        The columns of each of the P players: every column belongs to exactly one of them, and a
        player may have none.
    background : Tensor of shape (B, d)
        Rows that the players outside a coalition take their columns from.
    weights : Tensor of shape (B,), default=None
        Weights of these rows, not negative; None for equal ones. They are divided by their sum.

    Raises
    ------
    ValueError
        If the form has a head, if a column belongs to no player or to several, if shapes disagree,
        or if the weights are negative or all zero.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from thetalearn.inspection.importance.games.closed import AdditiveGame
    >>> from thetalearn.representations.forms import Linear, SumForm
    >>> slopes = torch.tensor([[2.0], [3.0]], dtype=torch.float64)
    >>> form = SumForm(Linear(slopes), torch.zeros(1, dtype=torch.float64), 1)
    >>> background = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    >>> game = AdditiveGame(form, [np.array([0]), np.array([1])], background)
    >>> game.shapley(torch.tensor([[1.0, 3.0]], dtype=torch.float64))[0, :, 0]
    tensor([2., 6.], dtype=torch.float64)
    """

    def __init__(
        self,
        form: SumForm,
        players: Sequence[np.ndarray],
        background: Tensor,
        weights: Tensor | None = None,
    ) -> None:
        if form.head is not None:
            raise ValueError("form has a head: its sums do not add up to its values")
        _check_players(players, form.n_columns)
        self.form = form
        self.n_players = len(players)
        self.n_outputs = form.n_outputs
        self.n_background = len(background)
        self._columns = [np.sort(columns).tolist() for columns in players]
        weights = _normalised(weights, background, form.n_columns)
        background = _checked(background, form.n_columns)
        self._means = torch.zeros(
            self.n_players, self.n_outputs, dtype=torch.float64, device=background.device
        )
        for rows in row_blocks(len(background), 8 * self.n_players * self.n_outputs):
            sums = self._sums(background[rows])
            self._means += torch.einsum("b,bpm->pm", weights[rows], sums)

    @cached_property
    def base_values(self) -> Tensor:
        """Mean of the form over the background, shape (m,)."""
        return self._means.sum(0) + self.form.constant.to(self._means)

    def predictions(self, x: Tensor) -> Tensor:
        """Values of the form, shape (N, m)."""
        return self.form(_checked(x, self.form.n_columns)).double()

    def values(self, x: Tensor, masks: np.ndarray) -> Tensor:
        """What coalitions (M, P) are worth, as in :meth:`ProductGame.values`."""
        inside = torch.from_numpy(np.asarray(masks, dtype=np.float64)).to(x.device)
        added = torch.einsum("sp,npm->nsm", inside, self.shapley(x))
        return added + self.base_values.to(x.device)

    def shapley(self, x: Tensor) -> Tensor:
        """Shapley values of the players, shape (N, P, m)."""
        x = _checked(x, self.form.n_columns)
        values = x.new_empty(len(x), self.n_players, self.n_outputs)
        for rows in row_blocks(len(x), 8 * self.n_players * self.n_outputs):
            values[rows] = self._sums(x[rows]) - self._means.to(x.device)
        return values

    def interactions(self, x: Tensor) -> Tensor:
        """Shapley values on the diagonal of zeros, shape (N, P, P, m)."""
        return torch.diag_embed(self.shapley(x).transpose(1, 2)).permute(0, 2, 3, 1)

    def _sums(self, x: Tensor) -> Tensor:
        """The sum over each player's columns, shape (n, P, m)."""
        x, sums = x.to(self.form.dtype), self.form.sums
        if isinstance(sums, Linear) and all(len(columns) == 1 for columns in self._columns):
            order = [columns[0] for columns in self._columns]
            return (x[:, order, None] * sums.weights[order]).double()
        parts = [sums(x[:, columns], columns) for columns in self._columns]
        return torch.stack(parts, 1).double()


def _check_players(players: Sequence[np.ndarray], n_columns: int) -> None:
    columns = np.concatenate([np.empty(0, np.int64), *players])
    if not np.array_equal(np.sort(columns), np.arange(n_columns)):
        raise ValueError(
            f"players hold the columns {np.sort(columns).tolist()}: each of the {n_columns} "
            "columns must belong to exactly one player"
        )


def _checked(x: Tensor, n_columns: int) -> Tensor:
    """Rows in float64, if they have the columns of the form."""
    if x.ndim != 2 or x.shape[1] != n_columns:
        raise ValueError(f"rows of shape {tuple(x.shape)}: they must have {n_columns} columns")
    return x.double()


def _normalised(weights: Tensor | None, background: Tensor, n_columns: int) -> Tensor:
    """Weights of the background rows that sum to one."""
    n_rows = len(_checked(background, n_columns))
    if not n_rows:
        raise ValueError("background has no rows: at least one is needed")
    if weights is None:
        return background.new_full((n_rows,), 1 / n_rows, dtype=torch.float64)
    weights = weights.to(background.device).double()
    if weights.shape != (n_rows,):
        raise ValueError(
            f"weights of shape {tuple(weights.shape)}: the {n_rows} rows of the background need "
            "one each"
        )
    total = float(weights.sum())
    if not (weights.min() >= 0 and 0 < total < np.inf):
        raise ValueError("weights must be finite, not negative, and not all zero")
    return weights / total
