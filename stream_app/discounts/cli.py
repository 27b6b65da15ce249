"""`stream-app discounts`: offers, live; and what goes with them. Without a subcommand it is `run`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

import click

from stream_app.cli_options import with_settings
from stream_app.cli_refusal import refusing
from stream_app.cli_run import require_topics
from stream_app.settings import Settings

#: Commands that are imported when they are asked for.
_LATER: Final = {
    "report": "stream_app.discounts.cli_report:report_command",
    "replay": "stream_app.discounts.cli_replay:replay_command",
}


class _Discounts(click.Group):
    """A group that runs where no subcommand is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`discounts --web-port 0` is `discounts run --web-port 0`."""
        if not args or (args[0] not in self.list_commands(ctx) and args[0] not in ("-h", "--help")):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return [*super().list_commands(ctx), *_LATER]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported where it is not yet."""
        if cmd_name not in _LATER:
            return super().get_command(ctx, cmd_name)
        module, name = _LATER[cmd_name].split(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group("discounts", cls=_Discounts)
def discounts_group() -> None:
    """Make offers to the sessions in which they pay; without a subcommand: `run`."""


@discounts_group.command("run")
@with_settings()
def run_command(settings: Settings) -> None:
    """Decide who is offered a discount, until Ctrl-C or SIGTERM.

    Reads intent.moments.v1 and sessions.closed.v1, writes discount.offers.v1 and discount.exposures.v1; the budget is
    in Redis. Start as many as there are partitions. The policy file is looked at every second: `enabled = false` saved
    into it stops offers. /metrics, /healthz and /readyz answer on the web port.

    \b
    Examples:
      stream-app discounts
      stream-app discounts --discount-policy policy.toml --web-port 8091
      faust -A stream_app.discounts.app worker
    """
    require_topics(settings)
    # Faust and River take a second to import: not before it is known that there is something to run on.
    from stream_app.discounts.beginning import begin_where_sessions_go_on
    from stream_app.discounts.core.policy_file import PolicyError
    from stream_app.discounts.deployment import create_app
    from stream_app.process import run

    with refusing(PolicyError):
        deployment = create_app(settings)
    begin_where_sessions_go_on(settings)
    click.get_current_context().exit(run(deployment))


@discounts_group.command("check")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
def check_command(file: Path | None) -> None:
    """Say what a policy FILE does, and what in it was probably not meant; the default policy without one.

    Exit code 0 when it can be used, also with warnings; 2 when it cannot.

    \b
    Examples:
      stream-app discounts check
      stream-app discounts check policy.toml
    """
    from stream_app.discounts.core.explaining import explain
    from stream_app.discounts.core.policy_file import PolicyError, read_policy
    from stream_app.discounts.policy_text import policy_text

    with refusing(PolicyError):
        policy = read_policy(policy_text(file), where=str(file or "the default policy"))
    told = explain(policy)
    for line in told.lines:
        click.echo(line)
    for warning in told.warnings:
        click.echo(f"warning: {warning}")
