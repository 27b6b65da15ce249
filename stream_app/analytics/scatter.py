"""Means, correlations and principal components of many rows, from sums: rows are seen once and not kept.

Sums of products about the mean, merged as by Chan, Golub & LeVeque ("Updating formulae and a pairwise algorithm for
computing sample variances", 1982): they lose no digits where means are large, as plain sums of squares would.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from stream_app.analytics.table import Floats

#: Relative spread below which a column does not vary: rounding errors of float64 stay a thousand times below.
_ROUNDING: Final = 1e-12


class Components(NamedTuple):
    """Principal components of standardised columns, by falling share of the variance.

    `shares` has shape (K,), `loadings` (K, D): the correlation of component and column. A component's sign is such that
    its largest loading is positive.
    """

    shares: Floats
    loadings: Floats


class Scatter:
    """Sums of D columns."""

    def __init__(self, columns: int) -> None:
        self.rows = 0
        self.mean: Floats = np.zeros(columns)
        #: Σ (x − mean)(x − mean)ᵀ
        self._products: Floats = np.zeros((columns, columns))

    def add(self, x: Floats) -> None:
        """Take in rows of shape (N, D), all finite."""
        if len(x):
            mean: Floats = x.mean(axis=0)
            about = x - mean
            self._merge(len(x), mean, about.T @ about)

    def merge(self, other: Scatter) -> None:
        """Take in what another has seen."""
        if other.rows:
            self._merge(other.rows, other.mean, other._products)

    def covariance(self) -> Floats:
        """Shape (D, D); denominator N − 1. NaN with fewer than two rows."""
        return self._products / (self.rows - 1) if self.rows > 1 else np.full_like(self._products, np.nan)

    def correlation(self) -> Floats:
        """Shape (D, D); NaN with a column that does not vary."""
        deviation = np.sqrt(np.diag(self._products))
        # What rounding leaves of a column that is the same in all rows is no variation.
        deviation[deviation <= _ROUNDING * np.abs(self.mean) * np.sqrt(max(1, self.rows))] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.outer(deviation, deviation)
            found: Floats = np.where(scale > 0.0, self._products / scale, np.nan)
        return found

    def components(self) -> Components:
        """Of the columns that vary; the others have loadings of 0."""
        correlation = self.correlation()
        varies = ~np.isnan(np.diag(correlation))
        values, vectors = np.linalg.eigh(correlation[np.ix_(varies, varies)])
        values, vectors = np.clip(values[::-1], 0.0, None), vectors[:, ::-1].T
        loadings = np.zeros((len(values), len(varies)))
        loadings[:, varies] = vectors * np.sqrt(values)[:, None]
        largest = np.abs(loadings).argmax(axis=1)
        loadings *= np.where(loadings[np.arange(len(loadings)), largest] < 0.0, -1.0, 1.0)[:, None]
        return Components(values / max(1.0, values.sum()), loadings)

    def _merge(self, rows: int, mean: Floats, products: Floats) -> None:
        both = self.rows + rows
        apart = mean - self.mean
        self._products = self._products + products + np.outer(apart, apart) * (self.rows * rows / both)
        self.mean = self.mean + apart * (rows / both)
        self.rows = both
