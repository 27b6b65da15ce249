"""Secured servers, started once for all tests here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.security.certificates import Authority
from tests.security.deployment import SecuredServers, secured_servers
from tests.support.fixtures import skip_or_fail
from tests.support.servers import UnavailableError


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def secured(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredServers]:
    """A Kafka and a Redis in which each role is a user of its own; Redis's list is already there."""
    with ExitStack() as stack:
        try:
            servers = stack.enter_context(secured_servers(authority, tmp_path_factory.mktemp("secured")))
        except UnavailableError as reason:
            skip_or_fail(reason)
        yield servers
