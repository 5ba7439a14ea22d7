"""The scikit-learn face: a density of tables of numbers, classes and holes."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Generator, Tensor

from quasistatic.checks import (
    MOST,
    MOST_DEPTH,
    MOST_STEPS,
    MOST_WIDTH,
    instance_of,
    one_of,
    real_number,
    require_memory,
    shown,
    true_or_false,
    whole_number,
)
from quasistatic.errors import InputError
from quasistatic.likelihood.bound import Bound
from quasistatic.model import DiffusionModel
from quasistatic.storage.atomic import new_folder, write_text
from quasistatic.storage.files import (
    Check,
    Optional,
    a_list,
    a_number,
    a_record,
    a_text,
    a_whole,
    anything,
    path_of,
    read_json,
    strict,
)
from quasistatic.storage.modules import load_module, save_module
from quasistatic.streams import say
from quasistatic.tables.build import FEW_ROWS, MANY_COLUMNS, Shape, build, preconditioned, shape_for
from quasistatic.tables.coded import coded_columns, missing_cells, values_of
from quasistatic.tables.coding import Coding
from quasistatic.tables.columns import NUMERIC, Column, infer
from quasistatic.tables.frames import Frame, frame_of
from quasistatic.tables.imputing import AT_ONCE, Filling, Imputed, draw_holes, restore
from quasistatic.tables.mixture import NormalMixture, mixing_weights
from quasistatic.tables.rows import log_prob_alone
from quasistatic.train import TrainConfig, fit
from quasistatic.transforms import Chain

__all__ = ["DiffusionDensity"]

MOST_MIXED = 20_000  # rows that the mixture is fitted to
MOST_VALIDATION = 2000  # rows that weigh the average
SAVED: dict[str, Check | Optional] = {
    "params": a_record(), "seed": a_whole(), "weights": a_list(a_number, 1), "laws": a_whole(),
    "columns": a_list(a_record({"name": a_text, "kind": a_text, "values": a_list(anything)}), 1), "n_features": a_whole(1),
    "validation_score": Optional(a_number, required=True), "names": a_list(a_text),
    "frame": Optional(a_list(a_record({"name": anything, "dtype": a_text, "categories": a_list(anything)}))),
}  # fmt: skip


def _whole(name: str, value: Any, *, least: int, most: int) -> int:
    return whole_number(name, value, least, most)


class DiffusionDensity(DensityMixin, Coding):
    r"""Density of the rows of a table: normalised, with samples, anomaly scores and gaps filled by draws.

    Columns may be numeric, integer, ordinal, binary or categorical, and entries may be missing (nan or None), in
    training and later; they must be missing at random. The model is a diffusion on top of a normal law of the numbers,
    fitted by expectation maximisation behind a transform of each column, beside the rates of the classes: an untrained
    network *is* that law. Validation rows, taken from the training rows, choose when to stop, and the weights of an
    average of densities,

    .. math:: p(x) = \sum_j w_j\, p_j(x),

    of the diffusions, the normal law, the same with heavy tails, and a mixture of normals. Each :math:`p_j` is bounded or
    known, so the logarithm of the average is a bound too.

    Parameters
    ----------
    types : dict or list, optional
        Kind of some columns by name or number, or of all: "numeric", "integer", "ordinal", "binary", "categorical",
        "constant"; "ordinal:0..16" also says which levels there are; "atoms" is a number with values that repeat, which
        have a probability of their own, "numeric" one without. What is not said is inferred
        (:mod:`quasistatic.tables.columns`).
    marginals : {"auto", "none", "power", "ratio"}
        Transform of numeric columns: none but their scale; Yeo and Johnson's power about the mean; or a power of the ratio
        to the mean, for columns that are never negative. "auto" chooses by cross-validation of the normal law.
    n_members : int or "auto"
        Diffusions that are trained, from different starts; by default 4 for a table of fewer than 2000 rows, 2 if it has
        more than 32 columns as well, else 1.
    average : bool
        Whether the normal law and a mixture of normals join the average.
    n_steps, n_components, max_updates : int or "auto"
        Steps T of the chain, components of its kernels, and steps of the optimiser. By default a table of fewer than 2000
        rows or more than 16 columns gets T = 100, of more than 32 columns T = 200, and one normal a step; others T = 30 and
        mixtures of 4, or, of two columns at most, T = 10 and mixtures of 16.
    width, depth : int
        Of the network.
    dropout : float or "auto"
        By default 0.3 for small tables, 0.1 for large ones.
    learning_rate : float
    batch_size : int
    validation_fraction : float
        Share of the training rows that choose and stop.
    patience : int, optional
        Measurements of the validation rows without an improvement beyond noise after which a member is done; None for all
        of ``max_updates``. They come every 50 steps on fewer than 2000 rows, every 150 on as few of more than 32
        columns, else
        every 250.
    max_time : float, optional
        Seconds of training for each member.
    n_trajectories : int
        Forward paths that a score averages over, in weights: one for the bound, more for a tighter number.
    random_state : int, RandomState or None
    verbose : bool
        Show progress.

    Attributes
    ----------
    columns_ : list of Column
        What each column is.
    members_ : list of DiffusionModel
    normal_, tailed_, mixture_ : NormalMixture
        The normal law that members start from, the same with heavy tails, and several normals.
    weights_ : ndarray
        Of the members, then of these three.

    Examples
    --------
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
        marginals: str = "auto",
        n_members: int | str = "auto",
        average: bool = True,
        n_steps: int | str = "auto",
        n_components: int | str = "auto",
        max_updates: int | str = "auto",
        width: int = 128,
        depth: int = 3,
        dropout: float | str = "auto",
        learning_rate: float = 1e-3,
        batch_size: int = 256,
        validation_fraction: float = 0.15,
        patience: int | None = 5,
        max_time: float | None = None,
        n_trajectories: int = 8,
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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags

    N_LAWS = 3
    """Densities in closed form that join the average."""
    _frame: Frame | None = None  # what a data frame it was fitted to looked like

    # ------------------------------------------------------------------------------------------------ fitting

    def fit(self, X: Any, y: Any = None, *, validation: Any = None) -> DiffusionDensity:
        """Fit to rows.

        Parameters
        ----------
        X : array or DataFrame, shape (n, d)
            nan or None for what is missing.
        y : ignored
        validation : array or DataFrame, optional
            Rows to choose and stop by; a share of X if not given.
        """
        self._check_parameters()
        cells, names = self._cells(X, reset=True)
        n = len(cells[0])
        least = 3 if validation is None else 2  # of which one is held out
        if n < least:
            raise InputError(f"a density needs at least {least} rows, got n_samples={n}: give more rows")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.seed_, self._frame = seed, frame_of(X)
        kinds = ({} if self._frame is None else self._frame.kinds()) | self._kinds(names)
        self.columns_ = [infer(c, name, kinds.get(name)) for c, name in zip(cells, names, strict=True)]
        if not self._modelled:
            raise InputError("every column is constant, so there is nothing to model")
        x, wrong = self._encoded(cells)
        if wrong.any():
            raise InputError(f"row {int(wrong.int().argmax())} holds a value that its column cannot have")
        if validation is None:
            order = torch.as_tensor(np.random.default_rng(seed).permutation(n))
            n_validation = min(n - 1, max(1, round(n * self.validation_fraction)))
            train, held_out = x[order[n_validation:]], x[order[:n_validation]]
        else:
            train, (held_out, wrong) = x, self._encoded(self._cells(validation, reset=False)[0])
            held_out = held_out[~wrong]
        self._fit_members(train, held_out, seed)
        return self

    def _check_parameters(self) -> None:
        """Check every parameter, which scikit-learn wants done here and not before."""

        def automatic(name: str, check: Callable[[str, Any], Any]) -> None:
            if not (isinstance(value := getattr(self, name), str) and value == "auto"):
                check(name, value)

        for name, most in (
            ("n_steps", MOST_STEPS),
            ("n_components", MOST_WIDTH),
            ("max_updates", MOST),
            ("n_members", 1000),
        ):
            least = 2 if name == "n_steps" else 1
            automatic(name, partial(_whole, least=least, most=most))
        automatic("dropout", lambda name, value: real_number(name, value, least=0.0, below=1.0))
        one_of("marginals", self.marginals, ("auto", "none", "power", "ratio"))
        true_or_false("average", self.average)
        instance_of("verbose", self.verbose, (bool, int), "True or False")
        whole_number("width", self.width, 1, MOST_WIDTH)
        whole_number("depth", self.depth, 1, MOST_DEPTH)
        whole_number("batch_size", self.batch_size, 2)
        whole_number("n_trajectories", self.n_trajectories, 1)
        real_number("learning_rate", self.learning_rate, above=0.0)
        real_number("validation_fraction", self.validation_fraction, above=0.0, below=1.0)
        if self.patience is not None:
            whole_number("patience", self.patience, 1, otherwise="None to take every step")
        if self.max_time is not None:
            real_number("max_time", self.max_time, above=0.0, infinite=True)

    def _fit_members(self, train: Tensor, held_out: Tensor, seed: int) -> None:
        train = train[~train.isnan().all(1)]
        columns = coded_columns(self.columns_)
        transform = preconditioned(train, columns, self.marginals, seed=seed)
        shape, config = self._shape(len(train), len(columns)), self._config(len(train), len(columns))
        self.members_ = []
        n = self._n_members(len(train), len(columns))
        for k in range(n):
            if self.verbose:
                say(f"training member {k + 1} of {n}")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed + k)
                model = build(transform, columns, shape)
            budget = math.inf if self.max_time is None else float(self.max_time)
            model = fit(model, train, held_out, config, seed=seed + k, quiet=not self.verbose, time_budget=budget)
            self.members_.append(model)
        self._average(train, held_out, seed)

    def adopt(
        self, columns: list[Column], members: list[DiffusionModel], train: Tensor, validation: Tensor, *, seed: int
    ) -> DiffusionDensity:
        """Take models that were trained elsewhere, of coded rows, and weigh the average on validation rows."""
        self.columns_, self.members_, self.seed_ = list(columns), list(members), seed
        self._frame = None
        self.n_features_in_ = len(columns)
        self.feature_names_in_ = np.array([column.name for column in columns], dtype=object)
        self._average(train, validation, seed)
        return self

    def _average(self, train: Tensor, held_out: Tensor, seed: int) -> None:
        for member in self.members_:
            member.kernel.double()  # a row must not feel which others it is scored with
        transform = self.members_[0].transform
        assert isinstance(transform, Chain)
        self.normal_ = NormalMixture.single(transform)
        held_out, few = held_out[:MOST_VALIDATION], train[:MOST_MIXED]
        self.tailed_ = self.mixture_ = self.normal_
        if self.average:
            self.tailed_ = NormalMixture.tailed(transform, few, seed=seed)
            self.mixture_ = NormalMixture.fit(transform, few, held_out, seed=seed)
        scores = self._each(held_out)
        self.weights_ = mixing_weights(scores).numpy()
        self.validation_score_ = float(torch.logsumexp(scores + torch.as_tensor(self.weights_).log(), 1).mean())

    def _n_members(self, n: int, d: int) -> int:
        few = n < FEW_ROWS
        return ((2 if d > MANY_COLUMNS else 4) if few else 1) if self.n_members == "auto" else int(self.n_members)

    def _shape(self, n: int, d: int) -> Shape:
        given: dict[str, Any] = {
            name: None if (value := getattr(self, name)) == "auto" else kind(value)
            for name, kind in (("n_steps", int), ("n_components", int), ("dropout", float))
        }
        return shape_for(n, d, **given, width=self.width, depth=self.depth)

    def _config(self, n: int, d: int) -> TrainConfig:
        few, wide = n < FEW_ROWS, d > MANY_COLUMNS
        steps = (6000 if wide else 1500 if few else 5000) if self.max_updates == "auto" else int(self.max_updates)
        # a wide correction is worse than none for its first few hundred steps
        every = min((150 if wide else 50) if few else 250, steps)
        return TrainConfig(
            n_updates=steps, batch_size=self.batch_size, learning_rate=self.learning_rate, weight_decay=1e-2,
            evaluate_every=every, validation_pairs=20_000, patience=self.patience or 0,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------ scores

    def _each(self, x: Tensor, n_trajectories: int | None = None) -> Tensor:
        """Log density of coded rows under each density of the average, (n, J)."""
        paths = self.n_trajectories if n_trajectories is None else n_trajectories
        scores = [log_prob_alone(member, x, paths, self.seed_) for member in self.members_]
        if self.average:
            scores += [law.log_prob(x, seed=self.seed_) for law in self._laws]
        each = torch.stack(scores, 1)
        return each.masked_fill(each.isnan(), -math.inf)  # so far from all rows that squares overflow

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Lower bound of the log density of each row, (n,), nats; of its observed entries, where some are missing.

        Numeric columns count as densities in their own units, all others as probabilities. A row that holds a class, or a
        whole number, that was never possible has minus infinity.
        """
        x, wrong = self._rows(X)
        return self.score_coded(x).masked_fill(wrong, -math.inf).numpy()

    def score_coded(self, x: Tensor) -> Tensor:
        """Score rows that are coded by ``columns_``, (n, columns that are not constant)."""
        return torch.logsumexp(self._each(x) + torch.as_tensor(self.weights_).log(), 1)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of :meth:`score_samples`."""
        return float(np.mean(self.score_samples(X)))

    def anomaly_score(self, X: Any) -> NDArray[np.float64]:
        """Minus :meth:`score_samples`: the less likely, the higher."""
        return -self.score_samples(X)

    def elbo(self, X: Any) -> Bound:
        """Bound of each row as a record with means and units: ``model.elbo(X).mean("bits")``.

        With a single density it is told in its parts; of an average all of it stands in ``data``.
        """
        x, wrong = self._rows(X)
        if wrong.any():
            raise InputError(f"row {int(wrong.int().argmax())} holds a value that was never possible, so it has no bound")
        if len(self.weights_) == 1:
            return self.members_[0].elbo(x, method="trajectory", generator=Generator().manual_seed(self.seed_))
        total = torch.logsumexp(self._each(x, 1) + torch.as_tensor(self.weights_).log(), 1)
        return Bound(torch.zeros_like(total), total.new_zeros(len(total), 0), total, (x.shape[1],))

    # ------------------------------------------------------------------------------------------------ samples

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw rows, (n_samples, d): floats, or objects where columns hold text.

        Fitted to a data frame of pandas, it draws one with the same columns and types. There is no ``set_output``: a density
        is no transformer, and gives back what it got.
        """
        check_is_fitted(self)
        width = len(self.columns_)
        whole_number("the number of samples", n_samples, 1)
        bytes_of_row = 80.0 * width + 24.0 * self.width
        require_memory(f"{n_samples} samples of {width} columns", n_samples * bytes_of_row, "draw fewer at once")
        generator = self._generator(random_state)
        which = torch.multinomial(torch.as_tensor(self.weights_), n_samples, replacement=True, generator=generator)
        counts = torch.bincount(which, minlength=len(self.weights_)).tolist()
        drawn: list[Tensor] = []
        for source, count in zip(self._densities, counts, strict=True):
            if count:
                drawn.append(source.sample(count, generator=generator))
        x = torch.cat(drawn)
        cells = self._table(x[torch.randperm(n_samples, generator=generator)])
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
        r"""Fill holes with draws from :math:`p(x_m \mid x_o)`.

        Parameters
        ----------
        X : array or DataFrame, shape (n, d)
            nan or None for what is missing.
        n_draws : int
        n_particles : int, optional
            Of sequential Monte Carlo, for each row: 50, or five times the draws, if not given. More come closer to the
            model.
        n_steps : int, optional
            Steps of the chain that are walked; None for all.
        random_state : int, RandomState or None
            The estimator's own if not given.

        Returns
        -------
        Imputed
            ``draws``, ``mean``, ``quantile``, ``log_evidence`` of what was observed, and ``ess``. If X is a data frame of
            pandas, ``mean``, ``quantile(q)`` and ``draw(k)`` are, too.

        Raises
        ------
        InputError
            If a row holds what was never possible: nothing follows from it.
        """
        check_is_fitted(self)
        cells, _ = self._cells(X, reset=False)
        x, wrong = self._encoded(cells)
        if wrong.any():
            raise InputError(
                f"row {int(wrong.int().argmax())} holds a value that was never possible, so it cannot be filled"
            )
        told = self.impute_coded(x, n_draws, n_particles=n_particles, n_steps=n_steps, random_state=random_state)
        restore(told.draws, cells)
        if (frame := frame_of(X)) is not None:
            told = dataclasses.replace(told, frame=self._frame or frame, index=X.index, observed=X)
        return told

    def impute_coded(
        self,
        x: Tensor,
        n_draws: int = 20,
        *,
        n_particles: int | None = None,
        n_steps: int | None = 25,
        random_state: Any = None,
    ) -> Imputed:
        """Fill the holes of rows that are coded by ``columns_``, (n, columns that are not constant)."""
        told = self.draw_coded(x, n_draws, n_particles=n_particles, n_steps=n_steps, random_state=random_state)
        cells = self._table(told.draws.flatten(0, 1)).reshape(n_draws, len(x), -1)
        expected = np.full(cells.shape[1:], np.nan)
        for j, mean in zip(self._modelled, told.mean.T, strict=True):
            if self.columns_[j].kind in NUMERIC:
                expected[:, j] = mean
        return Imputed(cells, told.log_evidence.numpy(), told.ess.numpy(), self.columns_, expected)

    def draw_coded(
        self,
        x: Tensor,
        n_draws: int,
        *,
        n_particles: int | None = None,
        n_steps: int | None = 25,
        random_state: Any = None,
    ) -> Filling:
        """Draw the holes of coded rows, and leave the draws in codes."""
        columns = self.columns_
        whole_number("n_draws", n_draws, 1)
        if n_particles is not None:
            whole_number("n_particles", n_particles, 1)
        if n_steps is not None:
            whole_number("n_steps", n_steps, 1, MOST_STEPS)
        require_memory(
            f"{n_draws} draws of {len(x)} rows of {x.shape[1]} columns",
            n_draws * (8.0 * 4 * x.numel() + 5 * 8.0 * min(len(x), AT_ONCE) * 12 * x.shape[1]),
            "take fewer draws, or fewer rows at once",
        )
        generator = self._generator(random_state)
        draws, mean = x.repeat(n_draws, 1, 1), values_of(x, columns)
        log_evidence, ess = torch.full((2, len(x)), math.nan, dtype=torch.float64)
        holes = missing_cells(x, columns).any(1).nonzero().flatten()
        if len(holes):
            particles = max(50, 5 * n_draws) if n_particles is None else n_particles
            filled = draw_holes(
                self._densities, self.weights_.tolist(), x[holes], columns, n_draws,
                n_particles=particles, n_steps=n_steps, generator=generator,
            )  # fmt: skip
            draws[:, holes], mean[holes], log_evidence[holes], ess[holes] = filled
        return Filling(draws, mean, log_evidence, ess)

    def condition(self, known: dict[Any, Any], n_draws: int = 100, *, random_state: Any = None, **settings: Any) -> Imputed:
        """Draw whole rows given some of their columns, by name or number: ``model.condition({"sex": "M"})``."""
        check_is_fitted(self)
        whole_number("n_draws", n_draws, 1)
        instance_of("known", known, dict, "a dictionary from columns to values")
        names = [column.name for column in self.columns_]
        row: dict[str, Any] = dict.fromkeys(names)
        for key, value in known.items():
            name = names[key] if isinstance(key, int) and 0 <= key < len(names) else key
            if name not in names:
                raise InputError(f"there is no column {key!r}; there are {', '.join(names)}")
            row[name] = value
        cells = [np.empty(1, dtype=object) for _ in names]
        for cell, name in zip(cells, names, strict=True):
            cell[0] = row[name]
        x, wrong = self._encoded(cells)
        if wrong.any():
            raise InputError("a value that was never possible is given as known, so nothing follows from it")
        told = self.impute_coded(x, n_draws, random_state=random_state, **settings)
        return dataclasses.replace(told, frame=self._frame)

    @property
    def _densities(self) -> list[DiffusionModel | NormalMixture]:
        return [*self.members_, *(self._laws if self.average else [])]

    @property
    def _laws(self) -> list[NormalMixture]:
        """What is known in closed form."""
        return [self.normal_, self.tailed_, self.mixture_]

    def _generator(self, random_state: Any) -> Generator:
        draws = self.random_state if random_state is None else random_state
        return Generator().manual_seed(int(check_random_state(draws).randint(2**31 - 1)))

    # ------------------------------------------------------------------------------------------------ files

    def save(self, path: str | Path) -> None:
        """Write a folder of safetensors and JSON; no pickle."""
        check_is_fitted(self)
        plain = self.get_params()
        if not isinstance(plain["random_state"], int | None):
            plain["random_state"] = None  # a state that moves on cannot be kept; the seed of the fit is
        told = {
            "params": plain, "seed": self.seed_, "columns": [column.plain() for column in self.columns_],
            "weights": self.weights_.tolist(), "laws": self.N_LAWS,
            "validation_score": self.validation_score_, "n_features": self.n_features_in_,
            "names": getattr(self, "feature_names_in_", np.array([])).tolist(),
            "frame": None if self._frame is None else self._frame.plain(),
        }  # fmt: skip
        try:
            text = json.dumps(strict(told), indent=1)
        except TypeError:
            raise InputError("the parameters of this estimator cannot be written as JSON") from None
        with new_folder(path_of("path", path)) as folder:
            write_text(folder / "estimator.json", text)
            for k, member in enumerate([*self.members_, *self._laws]):
                (folder / f"density-{k}").mkdir()
                save_module(member, folder / f"density-{k}")

    @classmethod
    def load(cls, path: str | Path) -> DiffusionDensity:
        """Read what :meth:`save` wrote."""
        folder = path_of("path", path)
        if not os.path.lexists(folder / "estimator.json"):
            raise InputError(f"{folder} holds no estimator")
        if read_json(folder / "estimator.json", {}).get("laws") != cls.N_LAWS:
            raise InputError(f"{folder} was written by another version, whose averages have other parts: fit it again")
        told = read_json(folder / "estimator.json", SAVED)
        unknown = sorted(set(told["params"]) - set(cls._get_param_names()))
        if unknown:
            raise InputError(f"{folder} was written by another version: there is no parameter {', '.join(unknown)}")
        model = cls(**told["params"])
        model.columns_ = [Column.from_plain(c) for c in told["columns"]]
        model.seed_, model.weights_ = told["seed"], np.array(told["weights"], dtype=np.float64)
        score = told["validation_score"]
        model.validation_score_ = -math.inf if score is None else score
        model.n_features_in_ = told["n_features"]
        if told["names"]:
            model.feature_names_in_ = np.array(told["names"], dtype=object)
        try:
            model._frame = Frame.from_plain(told.get("frame"))  # not told by older versions
        except (KeyError, TypeError) as error:
            raise InputError(f"{folder / 'estimator.json'} is damaged: its frame cannot be read ({error})") from None
        model._take_densities(folder)
        return model

    def _take_densities(self, folder: Path) -> None:
        """Load the densities of a saved average, and check that weights and columns go with them."""
        n = len(list(folder.glob("density-*")))
        weights, few = self.weights_, "its estimator.json does not go with its densities"
        if n <= self.N_LAWS or len(weights) not in (n, n - self.N_LAWS) or len(self.columns_) != self.n_features_in_:
            raise InputError(f"{folder} is damaged: {few}")
        if not (weights >= 0).all() or abs(weights.sum() - 1.0) > 1e-3:
            raise InputError(f"{folder / 'estimator.json'} is damaged: weights must sum to 1, got {shown(weights.tolist())}")
        loaded = [load_module(folder / f"density-{k}")[0] for k in range(n)]
        *self.members_, self.normal_, self.tailed_, self.mixture_ = loaded
        width = (len(coded_columns(self.columns_)),)
        if not all(isinstance(member, DiffusionModel) and member.event_shape == width for member in self.members_):
            raise InputError(f"{folder} is damaged: {few}")
        if not all(isinstance(law, NormalMixture) for law in self._laws):
            raise InputError(f"{folder} is damaged: {few}")
        for member in self.members_:
            member.kernel.double()
