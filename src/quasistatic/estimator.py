"""Density of a table as a scikit-learn estimator."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from quasistatic.checks import whole_number
from quasistatic.errors import InputError
from quasistatic.likelihood.bound import Bound
from quasistatic.memory import require_memory
from quasistatic.tables.coding import decode_rows, encode, modelled
from quasistatic.tables.frames import frame_of
from quasistatic.tables.imputed import Imputed, restore
from quasistatic.tables.inference import infer
from quasistatic.tables.inputs import TableEstimator, kinds_by_name
from quasistatic.tables.parameters import checked_settings
from quasistatic.tables.settings import DEFAULTS
from quasistatic.tables.training import fit_ensemble, hold_out

__all__ = ["DiffusionDensity"]


class DiffusionDensity(DensityMixin, TableEstimator):
    r"""Normalised density of the rows of a table.

    Columns may be numeric, integer, ordinal, binary or categorical. Entries may be missing (nan or None), in training and
    later; they must be missing at random. The model is a diffusion on top of a normal distribution of the numbers and the
    rates of the classes; an untrained network *is* that distribution. It is averaged with baselines in closed form,

    .. math:: p(x) = \sum_j w_j\, p_j(x).

    Validation rows, taken from the training rows, choose when to stop and the weights. The log density of each diffusion is
    a lower bound, so the logarithm of the average is one too.

    Parameters
    ----------
    types : dict or list, optional
        Kind of some columns by name or number, or of all columns: "numeric", "integer", "ordinal", "binary",
        "categorical", "constant" or "atoms". "ordinal:0..16" also gives the range. "atoms" is a number with repeated
        values that have a probability of their own, "numeric" one without. Other columns are inferred
        (:func:`quasistatic.tables.inference.infer`).
    marginals : {"auto", "none", "power", "ratio"}
        Transform of numeric columns: their scale only; Yeo and Johnson's power of the standardised number; or a power of
        the ratio to the mean, for columns that are never negative. "auto" chooses by cross-validation.
    n_members : int or "auto"
        Number of diffusions, trained from different starts. "auto" is 4 for fewer than 2000 rows, or 2 if there are more
        than 32 columns too; else 1.
    average : bool
        Average the diffusions with the closed-form baselines.
    n_steps : int or "auto"
        Steps T of the chain. "auto" is 100 for fewer than 2000 rows or more than 16 columns, 200 for more than 32 columns,
        10 for more rows of at most two columns, else 30.
    n_components : int or "auto"
        Components of each reverse kernel. "auto" is 1 for fewer than 2000 rows or more than 16 columns, 16 for more rows of
        at most two columns, else 4.
    max_updates : int or "auto"
        Most updates of the optimiser. "auto" is 1500 for fewer than 2000 rows, 5000 for more rows, and 6000 for more than
        32 columns.
    width, depth : int
        Size of the network.
    dropout : float or "auto"
        Dropout rate of the network. "auto" is 0.3 for fewer than 2000 rows or more than 16 columns, 0 for more rows of at
        most two columns, else 0.1.
    learning_rate : float
        Of AdamW.
    batch_size : int
        Rows of one update.
    validation_fraction : float
        Share of the training rows that choose when to stop, and the weights.
    patience : int or None
        Evaluations of the validation rows without improvement beyond noise after which a member is finished; None for all
        of ``max_updates``. An evaluation comes every 50 updates for fewer than 2000 rows, every 150 if there are more than
        32 columns too, else every 250.
    max_time : float, optional
        Seconds of training for each member.
    n_trajectories : int
        Forward trajectories that a score averages over: 1 for the bound, more for a tighter number.
    random_state : int, RandomState or None
        Seed of the fit and of the draws.
    verbose : bool
        Show progress.

    Attributes
    ----------
    ensemble_ : DensityEnsemble
        The fitted density; the attributes below are parts of it.
    columns_ : list of Column
        Name, kind and values of each column.
    members_ : list of DiffusionModel
    weights_ : ndarray
        Of the members, then of the normal distribution, the one with heavy tails and the mixture of normals.
    validation_score_ : float
        Mean log density of the validation rows, nats.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])
    >>> model = DiffusionDensity(max_updates=20, width=16, random_state=0).fit(x)
    >>> far, near = model.score_samples([[3.0, -3.0], [0.0, 0.0]])
    >>> bool(far < near - 5.0)
    True
    """

    def __init__(
        self,
        *,
        types: Any = None,
        marginals: str = DEFAULTS.marginals,
        n_members: int | str = "auto",
        average: bool = DEFAULTS.average,
        n_steps: int | str = "auto",
        n_components: int | str = "auto",
        max_updates: int | str = "auto",
        width: int = DEFAULTS.width,
        depth: int = DEFAULTS.depth,
        dropout: float | str = "auto",
        learning_rate: float = DEFAULTS.learning_rate,
        batch_size: int = DEFAULTS.batch_size,
        validation_fraction: float = DEFAULTS.validation_fraction,
        patience: int | None = DEFAULTS.patience,
        max_time: float | None = None,
        n_trajectories: int = DEFAULTS.n_trajectories,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.types = types
        self.marginals = marginals
        self.n_members = n_members
        self.average = average
        self.n_steps = n_steps
        self.n_components = n_components
        self.max_updates = max_updates
        self.width = width
        self.depth = depth
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.max_time = max_time
        self.n_trajectories = n_trajectories
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, validation: Any = None) -> DiffusionDensity:
        """Fit to rows.

        Parameters
        ----------
        X : array or DataFrame, shape (n, d)
            nan or None where missing.
        y : ignored
        validation : array or DataFrame, optional
            Validation rows; a share of X if not given.

        Raises
        ------
        InputError
            If a parameter or the table is at fault.
        """
        settings = checked_settings(self)
        cells, names = self._cells(X, reset=True)
        n = len(cells[0])
        least = 3 if validation is None else 2  # of which one is held out
        if n < least:
            raise InputError(f"a density needs at least {least} rows, got n_samples={n}: give more rows")
        self.seed_, self._frame = int(check_random_state(self.random_state).randint(2**31 - 1)), frame_of(X)
        kinds = ({} if self._frame is None else self._frame.kinds()) | kinds_by_name(self.types, names)
        columns = [infer(c, name, kinds.get(name)) for c, name in zip(cells, names, strict=True)]
        if not modelled(columns):
            raise InputError("every column is constant, so there is nothing to model: give a column that varies")
        x, _ = encode(columns, cells)
        if validation is None:
            train, held_out = hold_out(x, self.validation_fraction, seed=self.seed_)
        else:
            train, (held_out, impossible) = x, encode(columns, self._cells(validation, reset=False)[0])
            held_out = held_out[~impossible]
        self.ensemble_ = fit_ensemble(
            columns, train, held_out, settings, seed=self.seed_, quiet=not self.verbose,
            time_budget=math.inf if self.max_time is None else float(self.max_time),
        )  # fmt: skip
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Bound the log density of each row from below.

        Missing entries are integrated out. Numeric columns count as densities in their own units, all others as
        probabilities.

        Parameters
        ----------
        X : array or DataFrame, shape (n, d)

        Returns
        -------
        ndarray, shape (n,)
            Nats; minus infinity for a row with a category, or a fraction among integers, that cannot occur.
        """
        x, impossible = self._rows(X)
        return self.ensemble_.log_prob(x, self.n_trajectories).masked_fill(impossible, -math.inf).numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of :meth:`score_samples`.

        Parameters
        ----------
        X : array or DataFrame, shape (n, d)
            Rows of the table.
        y : None
            Ignored, present for scikit-learn.

        Returns
        -------
        float
            Nats per row.
        """
        return float(np.mean(self.score_samples(X)))

    def anomaly_score(self, X: Any) -> NDArray[np.float64]:
        """Return minus :meth:`score_samples`."""
        return -self.score_samples(X)

    def elbo(self, X: Any) -> Bound:
        """Bound the log density of each row, as a record with units.

        The mean in bits is ``model.elbo(X).mean("bits")``.

        Parameters
        ----------
        X : array or DataFrame, shape (n, d)

        Returns
        -------
        Bound
            In three parts for a single density; for an average, all of it is in ``data``.

        Raises
        ------
        InputError
            If a row is impossible.
        """
        return self.ensemble_.elbo(self._possible_rows(X, "has no bound")[0])

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw rows.

        Parameters
        ----------
        n_samples : int
        random_state : int, RandomState or None
            That of the estimator if not given.

        Returns
        -------
        ndarray or DataFrame, shape (n_samples, d)
            Floats, or objects where columns hold text. A data frame with the same columns and types if the estimator was
            fitted to one of pandas.
        """
        check_is_fitted(self)
        width = len(self.columns_)
        whole_number("the number of samples", n_samples, 1)
        room = n_samples * (80.0 * width + 24.0 * self.width)
        require_memory(f"{n_samples} samples of {width} columns", room, "draw fewer at once")
        cells = decode_rows(self.columns_, self.ensemble_.sample(n_samples, generator=self._generator(random_state)))
        return cells if self._frame is None else self._frame.table(cells)

    def impute(
        self,
        X: Any,
        n_draws: int = 20,
        *,
        n_particles: int | None = None,
        n_steps: int | None = 25,
        random_state: Any = None,
    ) -> Imputed:
        r"""Fill missing entries with draws.

        They come from :math:`p(x_m \mid x_o)`, the distribution given the observed entries.

        Parameters
        ----------
        X : array or DataFrame, shape (n, d)
            nan or None where missing.
        n_draws : int
        n_particles : int, optional
            Particles of sequential Monte Carlo for each row: by default 50, or five times the draws if that is more.
        n_steps : int, optional
            Steps of the chain; None for all.
        random_state : int, RandomState or None
            That of the estimator if not given.

        Returns
        -------
        Imputed
            If X is a data frame of pandas, its ``mean``, ``quantile(q)`` and ``draw(k)`` are data frames too.

        Raises
        ------
        InputError
            If a row is impossible.
        """
        x, cells = self._possible_rows(X, "cannot be filled")
        generator = self._generator(random_state)
        filled = self.ensemble_.impute(x, n_draws, n_particles=n_particles, n_steps=n_steps, generator=generator)
        restore(filled.draws, cells)
        if (frame := frame_of(X)) is not None:
            filled = dataclasses.replace(filled, frame=self._frame or frame, index=X.index, observed=X)
        return filled

    def condition(self, known: dict[Any, Any], n_draws: int = 100, *, random_state: Any = None, **settings: Any) -> Imputed:
        """Draw whole rows given the values of some columns.

        An example is ``model.condition({"sex": "M"})``.

        Parameters
        ----------
        known : dict
            From the name or number of a column to its value.
        n_draws : int
        random_state : int, RandomState or None
            That of the estimator if not given.
        **settings
            ``n_particles`` and ``n_steps`` of :meth:`impute`.

        Raises
        ------
        InputError
            If there is no such column, or it cannot have that value.
        """
        check_is_fitted(self)
        drawn = self.ensemble_.condition(known, n_draws, generator=self._generator(random_state), **settings)
        return dataclasses.replace(drawn, frame=self._frame)
