"""Secrets from files, as Docker and Kubernetes hand them out: `STREAM_APP_X_FILE` names a file with the value of the
secret `x`, and so does `x_file` in the settings file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: A secret is a line, or a few; a larger file is another one, named by mistake.
_BYTES_MAX: Final = 65_536

SUFFIX: Final = "_file"


class SecretFileError(ValueError):
    """The file cannot be used; its contents are never in the text."""


def read_secret(path: str) -> str:
    """The file's text without the line end that editors and `echo` put there. Raises SecretFileError."""
    try:
        with Path(path).open("rb") as file:
            found = file.read(_BYTES_MAX + 1)
        if len(found) > _BYTES_MAX:
            raise SecretFileError(f"secret file {path}: more than {_BYTES_MAX} bytes, expected one secret")
        text = found.decode().rstrip("\r\n")
    except OSError as error:
        raise SecretFileError(f"secret file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        # Its own message quotes what it could not read.
        raise SecretFileError(f"secret file {path}: not UTF-8 text, expected one secret") from None
    if not text:
        raise SecretFileError(f"secret file {path}: empty, expected one secret")
    return text
