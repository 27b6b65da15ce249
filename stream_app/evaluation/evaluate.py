"""A question to a history → the report."""

from __future__ import annotations

from pathlib import Path

from stream_app.evaluation.history import History, Progress
from stream_app.evaluation.question import Question
from stream_app.evaluation.report import Report, make_report
from stream_app.evaluation.run import Pass


def evaluate(question: Question, history: History, directory: Path, *, drawn: int, progress: Progress) -> Report:
    """Make the pass and report on it; sessions are drawn `drawn` times for the intervals.

    `directory` takes the rows; what is in it afterwards is of no use to anybody.

    Raises
    ------
    EvaluationError
        If there is nothing to train on or nothing to test.
    SourceError
        If a file turns out damaged.
    """
    work = Pass(question, history, directory)
    try:
        return make_report(question, history.survey, work.run(progress), drawn=drawn, progress=progress)
    finally:
        work.close()
