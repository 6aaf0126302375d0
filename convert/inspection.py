"""What a checkpoint is, from its headers: family, sizes, traits, types, documents. Works for unknown families too."""

from __future__ import annotations

from collections import Counter
from typing import Any

from convert.checkpoint import Checkpoint
from convert.prepare import identify, open_artefact
from convert.report import counted, size
from convert.sizing import needs
from convert.tokenizer_facts import tokenizer_facts, tokenizer_lines
from surgery.errors import ConversionError, show
from surgery.facts import FACTS


def inspect(checkpoint: Checkpoint, variant: str | None = None) -> dict[str, Any]:
    """Everything that can be said without reading weights, as JSON values."""
    dtypes: Counter[str] = Counter()
    for tensor in checkpoint.tensors.values():
        dtypes[tensor.dtype] += tensor.nbytes
    told: dict[str, Any] = {
        "path": str(checkpoint.path),
        "tensors": len(checkpoint.tensors),
        "elements": sum(t.numel for t in checkpoint.tensors.values()),
        "parameters": None,  # which elements are buffers, scales or second copies is the family's to say
        "bytes": sum(dtypes.values()),
        "dtypes": dict(dtypes.most_common()),
        "files": [{"name": f.name, "bytes": f.size} for _, f in sorted(checkpoint.files.items())],
        "documents": sorted(checkpoint.documents),
        "warnings": list(checkpoint.warnings),
        "architectures": checkpoint.config.get("architectures"),
        "family": None,
    }
    try:
        candidates = identify(checkpoint.config, None, variant)
        told["candidates"] = [f.label for f in candidates]
        artefact = open_artefact(checkpoint, variant=variant)
    except ConversionError as error:
        return {**told, "tokenizer": tokenizer_facts(checkpoint, ""), "problem": str(error)}
    facts = artefact.model.facts
    context = facts["context"] or 4096
    return {
        **told,
        "family": artefact.label,
        "parameters": artefact.model.parameters,
        "sizes": {n: facts[n] for n, f in FACTS.items() if f.kind == "size" and facts.knows(n)},
        "context": facts["context"],
        "tokenizer": tokenizer_facts(checkpoint, artefact.family),
        "traits": {n: _plain(facts[n]) for n, f in FACTS.items() if f.kind == "trait" and facts[n] != f.neutral},
        "left": dict(artefact.left),
        "notes": list(artefact.notes),
        "memory": [
            {"use": n.use, "weights": n.weights, "cache": n.cache, "states": n.states, "total": n.total}
            for n in needs(artefact, context)
        ],
    }


def inspection_text(told: dict[str, Any]) -> str:
    """The same for a person."""
    lines = [
        f"{told['path']}",
        f"  family      {told['family'] or 'unknown'}"
        + (
            f" (candidates: {', '.join(told['candidates'])})"
            if told["family"] is None and told.get("candidates")
            else ""
        ),
        counted(told["parameters"], told["elements"], f"in {told['tensors']} tensors, {size(told['bytes'])}"),
        f"  types       {', '.join(f'{name} {size(n)}' for name, n in told['dtypes'].items())}",
        f"  files       {', '.join(show(f['name'])[1:-1] for f in told['files'][:4])}{' ...' if len(told['files']) > 4 else ''}",
        f"  documents   {', '.join(show(n)[1:-1] for n in told['documents']) or 'none'}",
    ]
    if "sizes" in told:
        lines.append(
            f"  sizes       {', '.join(f'{n} {v}' for n, v in told['sizes'].items())}, context {told['context']}"
        )
        lines.append(
            f"  traits      {'; '.join(f'{n} {v}' for n, v in told['traits'].items()) or 'all as Llama has them'}"
        )
        if told["left"]:
            lines.append(f"  left        {len(told['left'])} tensors: {'; '.join(sorted(set(told['left'].values())))}")
        lines.append(f"  memory      with {told['context'] or 4096} tokens of context, without activations:")
        lines += [f"    {row['use']:<38} {size(row['total']):>9}" for row in told["memory"]]
    if told["tokenizer"] is not None:
        rows = told.get("sizes", {}).get("vocab")
        lines += [f"  tokenizer   {line}" for line in tokenizer_lines(told["tokenizer"], rows)]
    lines += [f"  note        {line}" for line in [*told["warnings"], *told.get("notes", [])]]
    if "problem" in told:
        lines.append(f"  problem     {told['problem']}")
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, tuple) and value and isinstance(value[0], tuple) else value
