"""Where the shared ground (goldens, real weights, tokenizers) lies, when it lies beside the repository at all."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared, which a fresh clone does not have")
