"""``convert chat-check``."""

from __future__ import annotations

import click

from convert.cli.options import debug_option, json_option
from convert.cli.places import command
from convert.cli.running import emit
from surgery.errors import CannotJudge, VerificationFailed


@command("chat-check")
@click.argument("src")
@click.argument("out")
@json_option
@debug_option
def chat_check_(src: str, out: str, as_json: bool, debug: bool) -> None:
    """Compare the chat prompts of SRC and OUT token for token, and say what a user's own words can do to OUT's.

    Exit status 5 when a prompt differs, 9 when both refuse every conversation, so that none was compared.
    """
    from convert.chat_check import chat_check
    from convert.checkpoint import open_checkpoint

    found = chat_check(open_checkpoint(src), open_checkpoint(out))
    emit("\n".join(found.lines), as_json, found.to_json)
    if found.undecided:
        raise CannotJudge(
            "no conversation gave a prompt: both templates refuse every one, for the same reasons. Correct the template, or take "
            "it from the model's repository, and check again."
        )
    if not found.passed:
        raise VerificationFailed("a chat prompt of OUT has other tokens than SRC's; a chat model would answer worse.")
