"""What stops an evaluation, with a text of one line that says what to do."""

from __future__ import annotations


class EvaluationError(Exception):
    """The history or the question does not allow an answer; asking differently may."""
