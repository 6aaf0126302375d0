"""The command line: ``convert`` and ``weightsmith`` (the same), and ``surgery``."""

from convert.cli.main import main

__all__ = ["main"]
