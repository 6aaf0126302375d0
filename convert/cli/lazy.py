"""Command groups whose commands are imported only when they are run, so that ``--help`` answers at once."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import ClassVar

import click


def with_limits(command: click.Command) -> click.Command:
    """The command with the options that every command has, before those of how it answers."""
    from convert.cli.options import file_limits

    command.params += [option for option in file_limits if option not in command.params]
    return command


class Lazy(click.Group):
    """Finds commands by name in ``table``: command -> (module:attribute, one line for --help)."""

    table: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name][0].partition(":")
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command)
        return with_limits(found)

    def listing(self) -> list[tuple[str, str]]:
        """What --help says of each command."""
        return [(name, text) for name, (_, text) in self.table.items()]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self.listing())
