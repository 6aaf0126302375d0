"""All the cases, by what is changed."""

from __future__ import annotations

from tests.corpus import configs, headers, indices, places, torch_files, unusual, weights

GROUPS = {
    "safetensors files": headers.CASES,
    "tensors": weights.CASES,
    "indices": indices.CASES,
    "configs": configs.CASES,
    "folders": places.CASES,
    "torch's files": torch_files.CASES,
    "odd and good": unusual.CASES,
}
