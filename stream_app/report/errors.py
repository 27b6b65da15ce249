"""What can be wrong with a question about a history."""


class ReportError(Exception):
    """There can be no report of this; the text says why and what was expected."""
