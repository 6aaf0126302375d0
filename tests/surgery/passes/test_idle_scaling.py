"""Dynamic scaling does nothing up to the context, and only it is dropped."""

from __future__ import annotations

import json

import pytest

from surgery.facts import Facts
from surgery.model import Model
from surgery.passes.idle_scaling import drop_dynamic_scaling
from tests.mappings.pairs import randomised, saved, tokens
from tests.oracle import native_logits, transformers


def scaled(scaling, context=32):
    return Model(Facts().with_({"rope.scaling": scaling, "context": context}, "a test"), {})


@pytest.mark.parametrize("factor", [1.0, 2.0, 8.0])
def test_logits_are_the_same_up_to_the_context_and_not_beyond(factor, tmp_path):
    dynamic = (("rope_type", "dynamic"), ("factor", factor))
    assert drop_dynamic_scaling(scaled(dynamic)).facts["rope.scaling"] is None
    library = transformers()
    config = library.LlamaConfig(
        vocab_size=131, hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=32, rope_parameters={**dict(dynamic), "rope_theta": 10000.0},
    )  # fmt: skip
    folder = saved(randomised(library.LlamaForCausalLM(config)), tmp_path / "in")
    ids = tokens(48, 131)
    with_it = [native_logits(folder, ids[:, :32]), native_logits(folder, ids)]
    stated = json.loads((folder / "config.json").read_text())
    stated["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0}
    (folder / "config.json").write_text(json.dumps(stated))
    assert (native_logits(folder, ids[:, :32]) - with_it[0]).abs().max().item() <= 1e-5
    assert (native_logits(folder, ids) - with_it[1]).abs().max().item() > 1e-3


@pytest.mark.parametrize(
    ("scaling", "context"),
    [(None, 32), ((("rope_type", "linear"), ("factor", 2.0)), 32), ((("rope_type", "dynamic"), ("factor", 2.0)), None)],
)
def test_every_other_scaling_is_left_as_it_is(scaling, context):
    model = scaled(scaling, context)
    assert drop_dynamic_scaling(model) is model
