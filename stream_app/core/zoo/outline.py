"""What a classifier is made of, in one line."""

from __future__ import annotations

from typing import Any

from river import base, compose


def outline(estimator: Any) -> str:
    """The names of its classes: steps between bars, inner estimators in brackets; learning does not change it."""
    if isinstance(estimator, compose.Pipeline):
        return " | ".join(map(outline, estimator.steps.values()))
    inner = [outline(part) for part in vars(estimator).values() if isinstance(part, base.Estimator)]
    name = type(estimator).__name__
    return f"{name}({', '.join(inner)})" if inner else name
