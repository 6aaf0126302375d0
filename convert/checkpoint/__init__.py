"""Reads checkpoints of every kind from their headers alone; runs nothing that is in them."""

from convert.checkpoint.documents import find_documents, is_document, read_bytes, read_json
from convert.checkpoint.files import Missing, Sources, fingerprint, open_sources
from convert.checkpoint.open import open_adapter, open_checkpoint
from convert.checkpoint.quantised import refuse_quantised
from convert.checkpoint.reading import read_rows, read_tensor
from convert.checkpoint.stored import Checkpoint, SourceFile, Stored, row_major

__all__ = [
    "Checkpoint",
    "Missing",
    "SourceFile",
    "Sources",
    "Stored",
    "find_documents",
    "fingerprint",
    "is_document",
    "open_adapter",
    "open_checkpoint",
    "open_sources",
    "read_bytes",
    "read_json",
    "read_rows",
    "read_tensor",
    "refuse_quantised",
    "row_major",
]
