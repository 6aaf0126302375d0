"""Where the shared ground (real weights, vendors' vocabularies) lies, when it lies beside the repository at all.

A second layer: what a test can ask of something that we make ourselves, it asks of that.
"""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"

#: left out by tests/conftest.py where there is no ../shared
needs_shared = pytest.mark.needs_shared
