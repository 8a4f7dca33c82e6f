"""The search for the terms of a projection pursuit regression [L]."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh

from mlp.projection_pursuit.ridge_function import FloatArray, RidgeFunction, smooth

if TYPE_CHECKING:
    from mlp.projection_pursuit.regressor import ProjectionPursuitRegressor

_RANDOM_PER_START = 20  # random directions per starting direction
_SCREEN_ROWS = 2000  # rows on which directions are scored
_SCREEN_KNOTS = 50
_SCREEN_STEPS = 3  # Gauss-Newton steps spent on each starting direction
_POLISH_STEPS = 20  # Gauss-Newton steps spent on the best directions
_SETTLING_PASSES = 3  # smoothing passes after all directions have moved
_HALVINGS = 6
_DAMPING = 1e-4  # fraction of the mean diagonal of the normal equations


@dataclass(frozen=True)
class Term:
    """One ridge function and its direction, for standardised features."""

    omega: FloatArray
    v: FloatArray
    g: RidgeFunction
    score: float

    @cached_property
    def values(self) -> FloatArray:
        return self.g(self.v)


@dataclass(frozen=True)
class PursuitModel:
    """The fitted sum of ridge functions, for features in their original units."""

    directions: FloatArray
    ridge_functions: list[RidgeFunction]
    intercept: float

    def predict(self, X: FloatArray) -> FloatArray:
        """Return the predicted value of each row of X."""
        prediction = np.full(X.shape[0], self.intercept)
        for omega, g in zip(self.directions, self.ridge_functions, strict=True):
            prediction += g(X @ omega)
        return prediction


class Pursuit:
    """Search for the terms, on merged rows and standardised features.

    Repeated rows are merged into one row with the sum of their weights, because a repeated
    row adds no information to cross-validation. Weights then act as repetitions.
    """

    def __init__(
        self,
        params: ProjectionPursuitRegressor,
        X: FloatArray,
        y: FloatArray,
        weight: FloatArray,
        seed: int,
    ) -> None:
        used = weight > 0
        rows, inverse = np.unique(
            np.column_stack([X[used], y[used]]), axis=0, return_inverse=True
        )
        X, y = rows[:, :-1], rows[:, -1]
        self.weight: FloatArray = np.bincount(
            inverse.ravel(), weights=weight[used]
        ).astype(np.float64)
        self.share = self.weight / self.weight.sum()
        self.mean = self.share @ X
        scale = np.sqrt(self.share @ (X - self.mean) ** 2)
        self.varying = scale > 1e-12 * np.abs(self.mean)
        self.scale = np.where(self.varying, scale, 1.0)
        self.Z = ((X - self.mean) / self.scale)[:, self.varying]
        self.y_mean = float(self.share @ y)
        self.y = y - self.y_mean
        self.params = params
        self.rng = np.random.default_rng(seed)
        self.losses: list[float] = []

    def grow(self, n_terms: int) -> Iterator[list[Term]]:
        """Add terms one by one, until there are enough or a stage gains nothing.

        Yields
        ------
        list of Term
            The terms after a stage.
        """
        terms: list[Term] = []
        loss = self._loss(terms)
        # This is about the residual of a constant target, from rounding alone.
        floor = 1e-24 * (loss + self.y_mean**2)
        for _ in range(n_terms if self.varying.any() else 0):
            if loss <= floor:
                return
            added = [*terms, self._search(self._residual(terms))]
            self.losses.append(self._loss(added))
            added = self._backfit(added)
            if loss - self._loss(added) <= self.params.tol * loss:
                return
            terms, loss = added, self._loss(added)
            yield terms

    def model(self, terms: Sequence[Term]) -> PursuitModel:
        """Express the terms in the features' own units, each with mean zero."""
        directions = np.zeros((len(terms), self.mean.size))
        functions, intercept = [], self.y_mean
        for direction, term in zip(directions, terms, strict=True):
            direction[self.varying] = term.omega
            direction /= self.scale
            length = float(np.linalg.norm(direction))
            # A direction and its negative are the same term: fix the sign.
            if direction[np.argmax(np.abs(direction))] < 0:
                length = -length
            offset = float(self.share @ term.values)
            shift = float(direction @ self.mean)
            functions.append(term.g.rescaled(length, shift, offset))
            direction /= length
            intercept += offset
        return PursuitModel(directions, functions, intercept)

    def _residual(self, terms: Iterable[Term]) -> FloatArray:
        return self.y - sum((term.values for term in terms), np.zeros_like(self.y))

    def _loss(self, terms: Iterable[Term]) -> float:
        return float(self.share @ self._residual(terms) ** 2)

    def _score(self, terms: Sequence[Term]) -> float:
        """Return the loss divided by the squared fraction of unused degrees of freedom."""
        n = self.weight.sum() ** 2 / (self.weight @ self.weight)
        used = sum(term.g.degrees_of_freedom for term in terms)
        rest: float = max(1 - self.params.gcv_penalty * used / n, 0.05)
        return self._loss(terms) / rest**2

    def _backfit(self, terms: list[Term]) -> list[Term]:
        """Refit all terms in turn and together, until this gains nothing."""
        for _ in range(self.params.max_iter if len(terms) > 1 else 0):
            before = self._score(terms)
            refitted = self._turn(self._smooth_all(terms))
            gain = before - self._score(refitted)
            if gain <= 0:
                break
            terms = refitted
            self.losses.append(self._loss(terms))
            if gain <= self.params.tol * before:
                break
        return terms

    def _smooth_all(self, terms: Sequence[Term]) -> list[Term]:
        """Smooth the residual of the other terms, term by term, with fixed directions."""
        terms = list(terms)
        for m, term in enumerate(terms):
            others = self._residual(terms[:m] + terms[m + 1 :])
            terms[m] = self._term(term.omega, others)
        return terms

    def _turn(self, terms: list[Term]) -> list[Term]:
        """Move all directions at once by a Gauss-Newton step, halved until it helps.

        With one direction at a time, correlated terms need hundreds of sweeps to converge.
        """
        if terms[0].omega.size == 1:
            return terms
        score = self._score(terms)
        steps = self._gauss_newton_step(terms, self._residual(terms))
        for halving in range(_HALVINGS):
            turned = []
            for term, step in zip(terms, steps, strict=True):
                omega = term.omega + step / 2**halving
                omega /= np.linalg.norm(omega)
                turned.append(Term(omega, self.Z @ omega, term.g, term.score))
            for _ in range(_SETTLING_PASSES):
                turned = self._smooth_all(turned)
            if self._score(turned) < score:
                return turned
        return terms

    def _search(self, target: FloatArray) -> Term:
        """Return the best single term for the target, over all starting directions."""
        screened = [
            self._improve(self._term(omega, target), target, _SCREEN_STEPS)
            for omega in self._starts(target)
        ]
        best = min(screened, key=lambda term: term.score)
        return self._improve(best, target, _POLISH_STEPS)

    def _starts(self, target: FloatArray) -> FloatArray:
        """Return the most promising directions, shape (n_starts, p)."""
        candidates = self._candidates(target)
        rows = np.arange(self.y.size)
        if rows.size > _SCREEN_ROWS:
            rows = self.rng.choice(rows, _SCREEN_ROWS, replace=False)
        scores = [
            smooth(
                self.Z[rows] @ omega,
                target[rows],
                self.weight[rows],
                n_knots=min(self.params.n_knots, _SCREEN_KNOTS),
                gcv_penalty=self.params.gcv_penalty,
            )[1]
            for omega in candidates
        ]
        return candidates[np.argsort(scores, kind="stable")[: self.params.n_starts]]

    def _candidates(self, target: FloatArray) -> FloatArray:
        """Return unit directions to choose the starts from, shape (n_candidates, p).

        They are the least-squares direction, which finds monotone ridge functions, the two
        principal Hessian directions, which find even ones, and random directions,
        alternately uniform in the whitened and in the standardised features.
        """
        p = self.Z.shape[1]
        if p == 1:
            return np.ones((1, 1))
        weighted = self.Z * self.share[:, None]
        covariance = weighted.T @ self.Z
        covariance[np.diag_indices(p)] += _DAMPING
        linear = np.linalg.solve(covariance, weighted.T @ target)
        centred = target - self.share @ target
        curvature, axes = eigh((weighted * centred[:, None]).T @ self.Z, covariance)
        hessian = axes[:, np.argsort(-np.abs(curvature))[:2]].T
        random = self.rng.normal(size=(_RANDOM_PER_START * self.params.n_starts, p))
        random[::2] = random[::2] @ axes.T
        candidates = np.vstack([linear, hessian, random])
        length = np.linalg.norm(candidates, axis=1)
        directions: FloatArray = candidates[length > 0] / length[length > 0, None]
        return directions

    def _term(self, omega: FloatArray, target: FloatArray) -> Term:
        v = self.Z @ omega
        g, score = smooth(
            v,
            target,
            self.weight,
            n_knots=self.params.n_knots,
            gcv_penalty=self.params.gcv_penalty,
        )
        return Term(omega, v, g, score)

    def _improve(self, term: Term, target: FloatArray, n_steps: int) -> Term:
        """Move the direction by Gauss-Newton steps, each halved until it helps.

        A step must lower the cross-validation score after a new smoothing, because a
        rougher ridge function alone could lower the residual.
        """
        for _ in range(n_steps if term.omega.size > 1 else 0):
            [step] = self._gauss_newton_step([term], target - term.values)
            for halving in range(_HALVINGS):
                omega = term.omega + step / 2**halving
                trial = self._term(omega / np.linalg.norm(omega), target)
                if trial.score < term.score:
                    break
            else:
                return term
            gain, term = term.score - trial.score, trial
            if gain <= self.params.tol * trial.score:
                return term
        return term

    def _gauss_newton_step(
        self, terms: Sequence[Term], residual: FloatArray
    ) -> FloatArray:
        """Return the least-squares changes of direction, shape (n_terms, p).

        The linearised change, the sum of g'(omega'x) step'x, is fitted to the residual [L],
        over steps orthogonal to their omega, since a step along omega only stretches the
        abscissa. A small basis for a change of each g is fitted together with the steps and
        then discarded. With a fixed g instead, smoothing undoes a part of the steps, and
        correlated terms need hundreds of sweeps.
        """
        p = self.Z.shape[1]
        columns = []
        for term in terms:
            block = term.g.derivative(term.v)[:, None] * self.Z
            columns.append(block - np.outer(block @ term.omega, term.omega))
        columns += [_hat_functions(term.v) for term in terms]
        jacobian = np.hstack(columns)
        weighted = jacobian * self.share[:, None]
        normal = weighted.T @ jacobian
        diagonal = normal.diagonal().copy()
        n_steps = len(terms) * p
        diagonal[:n_steps] = diagonal[:n_steps].mean()
        diagonal = _DAMPING * diagonal + np.finfo(float).tiny
        normal[np.diag_indices_from(normal)] += diagonal
        change = np.linalg.solve(normal, weighted.T @ residual)
        return change[:n_steps].reshape(-1, p)


def _hat_functions(v: FloatArray) -> FloatArray:
    """Return the piecewise linear basis on the octiles of v, shape (n_samples, 9)."""
    knots = np.unique(np.quantile(v, np.linspace(0, 1, 9)))
    if knots.size < 2:
        return np.ones((v.size, 1))
    return np.column_stack([np.interp(v, knots, row) for row in np.eye(knots.size)])
