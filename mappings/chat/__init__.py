"""Chat templates that reproduce the vendors' prompts token for token: one .jinja file each, the folder is the list.

Two things no template can do, as a vendor that encodes each message by itself joins ids, and a template joins text:

- content that begins with a newline behind a role that ends with one: the two become one (Qwen 1, GLM-4, Llama 3);
- content that spells a special token: it becomes that token, where the vendor's code keeps it plain (Qwen 1, ChatGLM2
  and 3, GLM-4, Llama 2). `surgery.tokenizer.chat.injection_risks` finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files as resources

from surgery.errors import UsageError, listed, show
from surgery.tokenizer.adapt import configuration
from surgery.tokenizer.export import own_template
from surgery.tokenizer.recipe import Recipe


def names() -> tuple[str, ...]:
    """The templates there are."""
    return tuple(
        sorted(
            entry.name.removesuffix(".jinja")
            for entry in resources(__name__).iterdir()
            if entry.name.endswith(".jinja")
        )
    )


def template(name: str) -> str:
    """A template by name."""
    if name not in names():
        raise UsageError(f"no chat template {show(name)}; there are {listed(names(), 30)}")
    return (resources(__name__) / f"{name}.jinja").read_text(encoding="utf-8")


def template_for(recipe: Recipe, files: Mapping[str, bytes]) -> str | None:
    """The template to write: the checkpoint's own; ours where the vendor's prompt is code, or names have changed.

    A vocabulary that many models share (Llama's, Mistral's) says nothing about how its model was taught to talk: none
    then.
    """
    own = own_template(files, configuration(files))
    if own is not None and not any(old in own for old in recipe.unsaid):
        return own
    return template(recipe.chat) if recipe.chat and (recipe.chat_in_code or own is not None) else None
