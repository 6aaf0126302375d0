"""The words that the Hub's metadata is written in."""

from __future__ import annotations

import re

_LICENCES = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0
    cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0
    cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl
    gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr
    mpl-2.0 odc-by odbl openmdw-1.0 openmdw-1.1 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl
    lgpl-lr deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4
    grok2-community gemma unknown other
"""
_TASKS = """
    text-classification token-classification table-question-answering question-answering zero-shot-classification
    translation summarization feature-extraction text-generation text2text-generation fill-mask sentence-similarity
    text-to-speech text-to-audio automatic-speech-recognition audio-to-audio audio-classification audio-text-to-text
    voice-activity-detection depth-estimation image-classification object-detection image-segmentation text-to-image
    image-to-text image-to-image image-to-video unconditional-image-generation video-classification
    reinforcement-learning robotics tabular-classification tabular-regression tabular-to-text table-to-text
    multiple-choice text-ranking text-retrieval time-series-forecasting text-to-video image-text-to-text
    visual-question-answering document-question-answering zero-shot-image-classification graph-ml mask-generation
    zero-shot-object-detection text-to-3d image-to-3d image-feature-extraction video-text-to-text keypoint-detection
    visual-document-retrieval any-to-any video-to-video image-text-to-image image-text-to-video other
"""

#: ids that the Hub knows as licences: hub-docs, list of licences, read 2026-11
LICENCES = frozenset(_LICENCES.split())
#: what a model can be for: huggingface.js packages/tasks pipelines.ts
TASKS = frozenset(_TASKS.split())
#: how a model can come from its base model: hub-docs model-cards
RELATIONS = frozenset({"adapter", "merge", "quantized", "finetune"})

_PATH = re.compile(r"[/~\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\]|file:|.*\\.*|[^/]+/[^/]+/.+")
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})?")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*|code|multilingual")


def is_repository(name: str, *, owner: bool = True) -> bool:
    """Whether this can be the id of a repository: at most 96 characters, no ``--`` or ``..``, no ``.git``.

    >>> is_repository("meta-llama/Llama-2-7b-hf"), is_repository("./out"), is_repository("gpt2", owner=False)
    (True, False, True)
    """
    fine = _REPOSITORY.fullmatch(name) and len(name) <= 96 and "--" not in name and ".." not in name
    return bool(fine) and not name.endswith(".git") and (not owner or "/" in name)


def is_path(name: str) -> bool:
    """Whether this is a path of some machine, and so no id of a repository.

    >>> is_path("/var/images"), is_path("./data"), is_path("org/name"), is_path("some texts")
    (True, True, False, False)
    """
    return "://" not in name.removeprefix("file:") and _PATH.match(name) is not None


def is_language(code: str) -> bool:
    """Whether this is a code of ISO 639 (with a region or script), or one of the Hub's two words.

    >>> is_language("zh"), is_language("en-US"), is_language("Chinese")
    (True, True, False)
    """
    return _LANGUAGE.fullmatch(code) is not None
