"""A real Redis that speaks TLS only and knows its users by an access list."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from stream_app.backends.child_process import ChildProcess, free_port, port_answers
from tests.security.certificates import Authority
from tests.support.servers import program

ADMIN_PASSWORD = "loads-functions-and-writes-the-list"


class SecuredRedis:
    """`users` is name → the words of its line, without a password. With `mutual`, clients show certificates."""

    def __init__(self, authority: Authority, users: Mapping[str, str], *, mutual: bool = False) -> None:
        self._authority, self._users, self._mutual = authority, users, mutual
        self._directory = Path(tempfile.mkdtemp(prefix=f"stream-app-redis-{os.getpid()}-"))
        self._child: ChildProcess | None = None
        #: `rediss://host:port/0`
        self.url = ""

    @staticmethod
    def password(user: str) -> str:
        """Of a user."""
        return f"only-{user}-knows"

    def __enter__(self) -> Self:
        binary = program("redis-server", "apt-get install redis-server")
        server, port = self._authority.server(), free_port()
        lines = [f"user admin on >{ADMIN_PASSWORD} ~* &* +@all", "user default off"]
        lines += [f"user {line} >{self.password(name)}" for name, line in self._users.items()]
        (self._directory / "users.acl").write_text("\n".join(lines) + "\n")
        command = [
            binary, "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "127.0.0.2",
            "--save", "", "--appendonly", "no",
            "--tls-cert-file", str(server.cert), "--tls-key-file", str(server.key),
            "--tls-ca-cert-file", str(self._authority.ca), "--tls-auth-clients", "yes" if self._mutual else "no",
            "--aclfile", str(self._directory / "users.acl"), "--dir", str(self._directory),
        ]  # fmt: skip
        self._child = ChildProcess("secured Redis", command)
        self._child.start(lambda: port_answers(port))
        self.url = f"rediss://127.0.0.1:{port}/0"
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
