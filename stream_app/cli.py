"""The command `stream-app`: a list of commands, each loaded when it is asked for, so that `--help` answers at once."""

from __future__ import annotations

from importlib import import_module
from typing import Final, NamedTuple

import click

from stream_app import __version__


class LazyCommand(NamedTuple):
    """Where a command lives, `module:attribute`, and the line about it in the list."""

    target: str
    about: str


#: Under headings, in the order in which a newcomer needs them.
SECTIONS: Final[dict[str, dict[str, LazyCommand]]] = {
    "Try it": {
        "demo": LazyCommand("stream_app.demo.command:demo", "a synthetic shop, scored live; nothing else is needed"),
    },
    "Set up": {
        "doctor": LazyCommand("stream_app.cli_admin:doctor_command", "what is wrong here, and what to do about it"),
        "topics": LazyCommand("stream_app.cli_admin:topics_group", "create or check the Kafka topics"),
        "settings": LazyCommand("stream_app.cli_admin:settings_command", "every setting: value, unit, source, reason"),
        "acls": LazyCommand("stream_app.cli_acls:acls_group", "what to allow whom in Kafka and Redis"),
    },
    "Run": {
        "run": LazyCommand("stream_app.cli_run:run_command", "score and learn in one process"),
        "worker": LazyCommand("stream_app.cli_run:worker_command", "score only; start as many as there are partitions"),
        "trainer": LazyCommand("stream_app.cli_run:trainer_command", "learn only; a second one stands by"),
        "discounts": LazyCommand("stream_app.discounts.cli:discounts_group", "offer discounts where they pay"),
    },
    "Feed": {
        "ingest": LazyCommand("stream_app.cli_ingest:ingest_command", "take in a topic or files of any format"),
        "collect": LazyCommand("stream_app.collect.cli:collect_command", "take events over HTTP, from sites or apps"),
        "produce": LazyCommand("producers.cli:produce", "send a file of history, or a synthetic shop"),
    },
    "Look after": {
        "health": LazyCommand("stream_app.cli_health:health_command", "whether the process here is alive, by its port"),
    },
    "Erase": {
        "forget": LazyCommand("stream_app.cli_forget:forget_command", "erase what is known of a visitor"),
    },
    "Look": {
        "session": LazyCommand("stream_app.cli_session:session_command", "a visitor's state, features and last score"),
        "explain": LazyCommand("stream_app.cli_explain:explain_command", "why a visitor was scored so, in words"),
        "audit": LazyCommand("stream_app.cli_audit:audit_command", "prove that nothing was lost or counted twice"),
        "evaluate": LazyCommand("stream_app.cli_evaluate:evaluate_command", "how good the models are on your history"),
        "report": LazyCommand("stream_app.cli_report:report_command", "what your history says of the shop, as a page"),
        "sessions": LazyCommand("stream_app.cli_sessions:sessions_command", "a history as visitor × item rows"),
        "features": LazyCommand("stream_app.cli_facts:features_command", "the features: name, unit, meaning"),
        "schemas": LazyCommand("stream_app.cli_schemas:schemas_group", "the records as JSON Schema, AsyncAPI, Avro"),
        "models": LazyCommand(
            "stream_app.cli_models:models_group", "which models there are, how they stand, which serves"
        ),
    },
}
_COMMANDS: Final = {name: command for commands in SECTIONS.values() for name, command in commands.items()}


class LazyGroup(click.Group):
    """A group whose commands are imported one by one, when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the list."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module; None for an unknown name."""
        found = _COMMANDS.get(cmd_name)
        if found is None:
            return None
        module, attribute = found.target.split(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list under its headings, without importing anything."""
        for heading, commands in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, command.about) for name, command in commands.items()], col_max=12)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="stream-app")
def main() -> None:
    """How likely is this session to end in a checkout? Answered after every event of a clickstream.

    Events come from Kafka, states live in Redis, scores go back to Kafka, and the model learns from every checkout.

    \b
    First steps:
      stream-app demo                             watch it learn, on a made-up shop
      stream-app demo --input FILE                the same on your own history
    \b
    For real (settings by flag, STREAM_APP_… variable or stream-app.toml):
      stream-app topics create
      stream-app run
      stream-app produce replay FILE
      stream-app session VISITOR_ID
      stream-app explain VISITOR_ID

    Every command explains itself: stream-app COMMAND --help. Exit codes: 0 done or asked to stop, 1 it went wrong,
    2 asked wrongly.
    """
