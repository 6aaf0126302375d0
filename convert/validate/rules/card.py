"""The model card: README.md and the block of YAML that the Hub shows, filters and counts by."""

from __future__ import annotations

from collections.abc import Iterator

from convert.validate.hub_names import LICENCES, RELATIONS, TASKS, is_language, is_path, is_repository
from convert.validate.model_index import model_index_fault
from convert.validate.rule import Found, rule
from convert.validate.subject import Subject, said
from surgery.errors import listed, show

README = "README.md"
_DOCS = "hub-docs modelcard.md specification, read; huggingface_hub 2.4 ModelCardData"
_LEFT = ("[More Information Needed]", "{{ ", "[optional]")


@rule(
    "card-missing", "warning",
    what="there is no model card",
    why="the Hub shows an empty page, and nobody learns the licence or the origin",
    fix="`weightsmith card SRC OUT` writes one from facts (`--fix` a skeleton)",
    source=_DOCS,
)  # fmt: skip
def card_missing(subject: Subject) -> Iterator[Found]:
    if not subject.card.present:
        yield Found(README, "README.md is not there")


@rule(
    "card-no-metadata", "warning",
    what="the card has no block of YAML",
    why="licence, base model, task and languages are then unknown to the Hub's search and to every tool",
    fix="`weightsmith card SRC OUT` adds it",
    source=_DOCS,
)  # fmt: skip
def card_no_metadata(subject: Subject) -> Iterator[Found]:
    if subject.card.present and not subject.card.has_block:
        yield Found(README, "it does not begin with --- and metadata")


@rule(
    "card-yaml", "error",
    what="the card's block of YAML is damaged",
    why="the Hub refuses the commit",
    fix="correct the YAML",
    source="the Hub's /api/validate-yaml refuses it; PyYAML executed here",
)  # fmt: skip
def card_yaml(subject: Subject) -> Iterator[Found]:
    if subject.card.fault:
        yield Found(README, subject.card.fault)


@rule(
    "licence-missing", "warning",
    what="no licence is stated",
    why="without one nobody may use the model; companies filter such repositories out, and a LICENSE file alone is not seen",
    fix="state the licence of the source model; it is never inferred",
    source=_DOCS,
)  # fmt: skip
def licence_missing(subject: Subject) -> Iterator[Found]:
    if not subject.card.fault and subject.card.data.get("license") in (None, "", []):
        where = "" if subject.card.has_block else ": there is no card" if not subject.card.present else ": it has no metadata"
        yield Found(README, f"license is not stated{where}")


@rule(
    "licence-unknown", "error",
    what="the licence id is none that the Hub knows",
    why="the Hub refuses the commit, or shows no licence",
    fix='use one of the ids of the Hub\'s list, or "other" with license_name and license_link',
    source="hub-docs, list of licences (83 ids)",
)  # fmt: skip
def licence_unknown(subject: Subject) -> Iterator[Found]:
    stated = subject.card.data.get("license")
    if stated not in (None, "", []) and (not subject.card.texts("license") or not set(subject.card.texts("license")) <= LICENCES):
        yield Found(README, f"license is {said(stated)}")


@rule(
    "licence-unnamed", "error",
    what='the licence is "other" without a name or a link',
    why="nobody can tell which terms hold",
    fix="add license_name, and license_link to a file of the repository or a page",
    source=_DOCS,
)  # fmt: skip
def licence_unnamed(subject: Subject) -> Iterator[Found]:
    if "other" in subject.card.texts("license"):
        absent = [key for key in ("license_name", "license_link") if not subject.card.texts(key)]
        if absent:
            yield Found(README, f"license is other, and {listed(absent)} is not stated")


@rule(
    "licence-link", "error",
    what="license_link names a file that is not in the repository",
    why="the Hub's link to the licence leads nowhere",
    fix="add the file, or link the page that has the terms",
    source=_DOCS,
)  # fmt: skip
def licence_link(subject: Subject) -> Iterator[Found]:
    for link in subject.card.texts("license_link"):
        if not link.startswith(("http://", "https://")) and link.removeprefix("./") not in subject.files:
            yield Found(README, f"license_link is {show(link)}")


@rule(
    "base-model-form", "error",
    what="base_model or new_version is not the id of a repository",
    why="the Hub refuses the commit or draws no tree of models; a path of this machine tells more than it should",
    fix="write org/name",
    source="huggingface_hub 2.4 validate_repo_id",
)  # fmt: skip
def base_model_form(subject: Subject) -> Iterator[Found]:
    for key in ("base_model", "new_version"):
        if (value := subject.card.data.get(key)) is None:
            continue
        names = subject.card.texts(key)
        wrong = [name for name in names if not is_repository(name, owner=key == "new_version")]
        if wrong or not names:
            yield Found(README, f"{key} is {said(value)}")


@rule(
    "base-model-missing", "warning",
    what="the card does not name the model that this one was made from",
    why="lineage, licence and credit are lost, and the Hub draws no tree of models",
    fix="state base_model: org/name",
    source=_DOCS,
)  # fmt: skip
def base_model_missing(subject: Subject) -> Iterator[Found]:
    made = bool(subject.provenance) or subject.kind == "adapter"
    if subject.card.data and made and not subject.card.data.get("base_model"):
        yield Found(README, "base_model is not stated, though the weights were made from another model")


@rule(
    "base-model-relation", "error",
    what="base_model_relation is none of the Hub's four",
    why="the Hub refuses the commit",
    fix="one of adapter, merge, quantized, finetune; or remove the key",
    source=_DOCS,
)  # fmt: skip
def base_model_relation(subject: Subject) -> Iterator[Found]:
    stated = subject.card.data.get("base_model_relation")
    if stated is not None and not (isinstance(stated, str) and stated in RELATIONS):
        yield Found(README, f"base_model_relation is {said(stated)}")
    if subject.kind == "adapter" and stated not in (None, "adapter"):
        yield Found(README, f"base_model_relation is {said(stated)}, but the repository holds an adapter")


@rule(
    "library-missing", "warning",
    what="the card does not say which library loads the model",
    why="since August 2024 the Hub no longer infers it: no code snippet, no download counts by library",
    fix="library_name: transformers (or peft for an adapter; `--fix` adds it)",
    source=_DOCS,
)  # fmt: skip
def library_missing(subject: Subject) -> Iterator[Found]:
    if subject.card.data and not subject.card.texts("library_name"):
        yield Found(README, f"library_name is {said(subject.card.data.get('library_name'))}")


@rule(
    "pipeline-tag", "warning",
    what="the card states no task, or one that the Hub does not know",
    why="search by task and the inference widget go by it",
    fix="pipeline_tag: text-generation (`--fix` adds it)",
    source="huggingface.js packages/tasks pipelines.ts",
)  # fmt: skip
def pipeline_tag(subject: Subject) -> Iterator[Found]:
    stated = subject.card.data.get("pipeline_tag")
    if subject.card.data and (not isinstance(stated, str) or stated not in TASKS):
        yield Found(README, f"pipeline_tag is {said(stated)}")


@rule(
    "languages", "warning",
    what="languages are not given by their codes",
    why="the Hub refuses or ignores names such as Chinese; search by language misses the model",
    fix="language: [zh, en]",
    source="ISO 639; " + _DOCS,
)  # fmt: skip
def languages(subject: Subject) -> Iterator[Found]:
    stated = subject.card.data.get("language")
    if stated is None:
        return
    names = subject.card.texts("language")
    if not names or not all(map(is_language, names)) or (isinstance(stated, list) and len(names) != len(stated)):
        yield Found(README, f"language is {said(stated)}")


@rule(
    "datasets-form", "warning",
    what="datasets are not given by the ids of their repositories",
    why="the Hub links none of them",
    fix="datasets: [org/name]",
    source=_DOCS,
)  # fmt: skip
def datasets_form(subject: Subject) -> Iterator[Found]:
    stated = subject.card.data.get("datasets")
    if stated is None:
        return
    names = subject.card.texts("datasets")
    odd = [name for name in names if not is_repository(name, owner=False) and not is_path(name)]
    if not isinstance(stated, list) or len(names) != len(stated) or odd:
        yield Found(README, f"datasets is {said(stated)}")


@rule(
    "datasets-path", "error",
    what="datasets names a path of the machine that trained the model",
    why="the Hub refuses the commit (400: the value is not the id of a dataset), and the path tells more than it should",
    fix="datasets: [org/name], or leave the key out",
    source="autotrain-advanced #648: the Hub's answer; " + _DOCS,
)  # fmt: skip
def datasets_path(subject: Subject) -> Iterator[Found]:
    if paths := [name for name in subject.card.texts("datasets") if is_path(name)]:
        yield Found(README, f"datasets names {listed(map(show, paths))}")


@rule(
    "model-index", "error",
    what="model-index does not have the form that the Hub's leaderboards read",
    why="the Hub refuses the commit, and huggingface_hub does not load the card",
    fix="a list of name and results, each with task.type, dataset.type, dataset.name and metrics of type and value; "
    "or remove the key",
    source="huggingface_hub 2.4 model_index_to_eval_results, executed in the tests; huggingface_hub #1927; hub-docs "
    "modelcard.md",
)  # fmt: skip
def model_index(subject: Subject) -> Iterator[Found]:
    if (stated := subject.card.data.get("model-index")) is not None and (fault := model_index_fault(stated)):
        yield Found(README, fault)


@rule(
    "widget-form", "error",
    what="widget is not a list of examples",
    why="the Hub refuses the commit",
    fix="widget: [{text: ...}], or remove the key",
    source="ai-toolkit #260: the Hub's answer; hub-docs models-widgets",
)  # fmt: skip
def widget_form(subject: Subject) -> Iterator[Found]:
    stated = subject.card.data.get("widget")
    if stated is not None and not (isinstance(stated, list) and all(isinstance(one, dict) for one in stated)):
        yield Found(README, f"widget is {said(stated)}")


@rule(
    "tags-form", "error",
    what="tags are not a list of words",
    why="the Hub refuses the commit",
    fix="tags: [one, two]",
    source=_DOCS,
)  # fmt: skip
def tags_form(subject: Subject) -> Iterator[Found]:
    stated = subject.card.data.get("tags")
    if stated is not None and (not isinstance(stated, list) or len(subject.card.texts("tags")) != len(stated)):
        yield Found(README, f"tags is {said(stated)}")


@rule(
    "card-unfinished", "warning",
    what="the card still has words of its template",
    why="it says that nobody read it before it was published",
    fix="fill the places in, or remove their sections",
    source="huggingface_hub 2.4 templates/modelcard_template.md",
)  # fmt: skip
def card_unfinished(subject: Subject) -> Iterator[Found]:
    left = [words for words in _LEFT if words in subject.card.body]
    if left:
        yield Found(README, f"{listed(map(show, left))}")


@rule(
    "card-empty", "warning",
    what="the card says nothing beside its metadata",
    why="nobody learns what the model is, where it comes from or how to load it",
    fix="`weightsmith card SRC OUT` writes the facts; add your own words",
    source=_DOCS,
)  # fmt: skip
def card_empty(subject: Subject) -> Iterator[Found]:
    if subject.card.present and len(subject.card.body.strip()) < 40:
        yield Found(README, f"{len(subject.card.body.strip())} characters of text")
