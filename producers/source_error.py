"""What goes wrong with a file as a whole."""


class SourceError(Exception):
    """The file as a whole cannot be read (missing, damaged, wrong header); the text is one line that says why."""
