"""Windows that do nothing, and contexts cut so that they do nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from surgery.facts import Facts
from surgery.model import Model
from surgery.passes.limit_context import drop_idle_window, limit_context
from tests.mappings.pairs import converted, randomised, saved, tokens
from tests.oracle import native_logits, transformers

lengths = st.integers(1, 10**6)


def windowed(window, context, **more):
    return Model(Facts().with_({"window": window, "context": context, **more}, "a test"), {})


@given(window=lengths, context=lengths)
def test_only_a_window_that_reaches_every_token_is_idle(window, context):
    # the oldest key that the last token of the longest text sees is context - 1 tokens back: seen iff less than window
    sees_all = context - 1 < window
    facts = drop_idle_window(windowed(window, context)).facts
    assert (facts["window"] is None) == sees_all
    assert facts["context"] == context


@given(window=lengths, context=lengths | st.none())
def test_a_limited_context_is_the_shorter_of_both_and_the_window_is_gone(window, context):
    facts = limit_context(windowed(window, context, **{"window.full": (0,)})).facts
    assert facts["context"] == (window if context is None else min(window, context))
    assert (facts["window"], facts["window.full"]) == (None, ())


def test_a_model_without_a_window_is_returned_as_it_is():
    model = windowed(None, 100)
    assert limit_context(model) is model
    assert drop_idle_window(model) is model


def test_a_scaling_that_leans_on_the_context_is_told_its_lengths_first():
    yarn = (("rope_type", "yarn"), ("factor", 4.0))
    facts = limit_context(windowed(8, 64, **{"rope.scaling": yarn})).facts
    assert dict(facts["rope.scaling"]) == {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    known = {"rope_type": "longrope", "original_max_position_embeddings": 16}
    facts = limit_context(windowed(8, 64, **{"rope.scaling": tuple(known.items())})).facts
    assert dict(facts["rope.scaling"]) == {**known, "factor": 4.0}


def test_logits_are_the_same_up_to_the_window_with_a_scaled_rope(tmp_path):
    library = transformers()
    scaled = {"rope_type": "yarn", "factor": 2.0, "rope_theta": 10000.0, "original_max_position_embeddings": 32}
    config = library.MistralConfig(
        vocab_size=131, hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=24, max_position_embeddings=64, rope_parameters=scaled,
    )  # fmt: skip
    folder = saved(randomised(library.MistralForCausalLM(config)), tmp_path / "in")
    converted(folder, "llama", tmp_path / "out", mends=["limit-context"])
    ids = tokens(40, 131)
    short = ids[:, :24]
    assert (native_logits(folder, short) - native_logits(tmp_path / "out", short)).abs().max().item() <= 1e-5
    assert (native_logits(folder, ids) - native_logits(tmp_path / "out", ids)).abs().max().item() > 1e-2
