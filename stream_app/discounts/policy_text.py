"""The text of a policy file, or of the one that comes with the program."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

from stream_app.discounts.core.policy_file import POLICY_CHARS_MAX, PolicyError

#: Of a file: characters that the reader takes, in the longest encoding.
_BYTES_MAX: Final = 4 * POLICY_CHARS_MAX


def policy_text(path: Path | None) -> str:
    """Read it; None is the default policy.

    Raises
    ------
    PolicyError
        If it cannot be read, is too large or is no UTF-8.
    """
    if path is None:
        return resources.files("stream_app.discounts").joinpath("default_policy.toml").read_text(encoding="utf-8")
    try:
        with path.open("rb") as file:
            told = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}; give another with --discount-policy") from None
    if len(told) > _BYTES_MAX:
        raise PolicyError(f"{path}: got more than {_BYTES_MAX} bytes, expected a policy")
    try:
        return told.decode()
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path}: got what is not UTF-8: {error.reason}") from None
