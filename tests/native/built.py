"""Whether the compiled engine is built: where it is not, its tests are skipped, and in CI fail."""

from __future__ import annotations

import os

import pytest

from stream_app.core.native import native

#: In CI nothing is skipped: the tests then fail when they ask for the engine.
needs_native = pytest.mark.skipif(
    native is None and not os.environ.get("CI"), reason="the compiled engine is not built: pip install ./native"
)
