"""The comparison passes the same function in another layout, and fails every other function."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from convert.checkpoint import open_checkpoint
from convert.verification import compare
from convert.verification.decoders import decoder_for
from convert.verification.run import judge, verify
from convert.verification.verdict import Verdict, tolerance
from convert.verification.weights import open_weights
from surgery.errors import ConversionError
from tests.goldens import golden
from tests.verification.decoding import held

Tensors = dict[str, torch.Tensor]
Edit = Callable[[Tensors, dict[str, Any]], None]
LARGE = 1 << 40  # bytes: too large for quick to be full
Q, K = "model.layers.1.self_attn.q_proj.weight", "model.layers.1.self_attn.k_proj.weight"


def loaded(name: str) -> tuple[Tensors, dict[str, Any]]:
    """A golden checkpoint's tensors, in the type they are stored in, and its config."""
    checkpoint = open_checkpoint(golden(name).checkpoint)
    weights = open_weights(checkpoint)
    types = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
    tensors = {
        name: weights.rows(name, 0, stored.shape[0]).to(types[stored.dtype])
        for name, stored in checkpoint.tensors.items()
    }
    return tensors, copy.deepcopy(dict(checkpoint.config))


def judged(name: str, edit: Edit, *, variant: str | None = None, to: str | None = None, **options: Any) -> Verdict:
    """The verdict on a golden case against an edited copy of it."""
    tensors, config = loaded(name)
    edited, said = dict(tensors), copy.deepcopy(config)
    edit(edited, said)
    compute = getattr(torch, options.get("compute", "float32"))
    source = decoder_for(config, held(tensors, compute=compute), variant)
    output = decoder_for(said, held(edited, compute=compute), to or variant)
    return judge(source, output, **{"exactness": "byte", **options})


def unchanged(tensors: Tensors, config: dict[str, Any]) -> None:
    pass


def swapped(tensors: Tensors, config: dict[str, Any]) -> None:
    tensors[Q], tensors[K] = tensors[K], tensors[Q]


def interleaved(tensors: Tensors, config: dict[str, Any]) -> None:
    matrix = tensors[Q]
    tensors[Q] = matrix.reshape(4, 2, 8, -1).transpose(1, 2).reshape(matrix.shape)


def another_theta(tensors: Tensors, config: dict[str, Any]) -> None:
    config["rope_theta"] = 20000.0


def another_eps(tensors: Tensors, config: dict[str, Any]) -> None:
    config["rms_norm_eps"] *= 10


def gate_and_up_swapped(tensors: Tensors, config: dict[str, Any]) -> None:
    at = "model.layers.2.mlp."
    tensors[at + "gate_proj.weight"], tensors[at + "up_proj.weight"] = (
        tensors[at + "up_proj.weight"],
        tensors[at + "gate_proj.weight"],
    )


def one_value(tensors: Tensors, config: dict[str, Any]) -> None:
    tensors[K] = tensors[K].clone()
    tensors[K][3, 5] += 0.05


def two_head_rows(tensors: Tensors, config: dict[str, Any]) -> None:
    tensors["lm_head.weight"] = tensors["lm_head.weight"][[0, 2, 1, *range(3, 257)]]


def two_embedding_rows(tensors: Tensors, config: dict[str, Any]) -> None:
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][[0, 2, 1, *range(3, 257)]]


def a_nan(tensors: Tensors, config: dict[str, Any]) -> None:
    tensors["lm_head.weight"] = tensors["lm_head.weight"].clone()
    tensors["lm_head.weight"][5, 5] = float("nan")


MISTAKES = {
    swapped: "layer 1 attention",
    interleaved: "layer 1 attention",
    another_theta: "layer 0 attention",
    another_eps: "layer 0 attention",
    gate_and_up_swapped: "layer 2 mlp",
    one_value: "layer 1 attention",
    two_head_rows: "head",
    two_embedding_rows: "embedding",
    a_nan: "head",
}


@pytest.mark.parametrize("compute", ["float32", "float64"])
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_fails_where_it_was_made(mistake: Edit, compute: str):
    verdict = judged("llama-mha", mistake, compute=compute)
    assert not verdict.passed
    assert verdict.first_divergence == MISTAKES[mistake]
    assert verdict.sentence.startswith("NOT the same function")


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_quick_run_that_reads_the_layer_sees_the_mistake_too(mistake: Edit):
    verdict = judged("llama-mha", mistake, mode="quick", size=LARGE)
    assert not verdict.passed
    assert verdict.first_divergence == MISTAKES[mistake]


@pytest.mark.parametrize("mode", ["full", "quick"])
def test_a_checkpoint_computes_what_it_computes(mode: str):
    verdict = judged("llama-mha", unchanged, mode=mode, size=LARGE)
    assert verdict.passed and verdict.first_divergence is None
    assert verdict.logits.largest == 0.0 == verdict.logits.kl_source_output
    assert verdict.logits.top1 == verdict.logits.top5 == 1.0
    assert verdict.frame == "equal hidden states"


def test_a_missing_normalised_head_fails_and_a_baked_one_passes():
    def baked(tensors: Tensors, config: dict[str, Any]) -> None:
        tensors["lm_head.weight"] /= tensors["lm_head.weight"].double().norm(dim=1, keepdim=True).float()

    bare = judged("baichuan2-7b", unchanged, variant="2-7b", to="7b", exactness="algebraic")
    assert not bare.passed and bare.first_divergence == "head"
    assert judged("baichuan2-7b", baked, variant="2-7b", to="7b", exactness="algebraic").passed


def test_alibi_is_not_rope():
    assert not judged("baichuan-13b", unchanged, variant="13b", to="7b").passed


def dropped_key_bias(tensors: Tensors, config: dict[str, Any]) -> None:
    tensors["model.layers.2.self_attn.k_proj.bias"] = torch.zeros_like(tensors["model.layers.2.self_attn.k_proj.bias"])


def narrowed(tensors: Tensors, config: dict[str, Any]) -> None:
    for name, tensor in tensors.items():
        tensors[name] = tensor.to(torch.bfloat16)


def test_rounding_once_is_algebraic_and_not_byte_and_a_lost_key_bias_shows_through_it():
    assert judged("llama-attention-bias", narrowed, exactness="algebraic").passed
    assert not judged("llama-attention-bias", narrowed, exactness="byte").passed

    def both(tensors: Tensors, config: dict[str, Any]) -> None:
        dropped_key_bias(tensors, config)
        narrowed(tensors, config)

    for exactness in ("algebraic", "approximate"):
        verdict = judged("llama-attention-bias", both, exactness=exactness)
        assert not verdict.passed and verdict.first_divergence == "layer 2 attention"


def gauge(factor: float) -> Edit:
    """The residual stream times a factor: the same function, since norms forget it (eps goes along)."""

    def edit(tensors: Tensors, config: dict[str, Any]) -> None:
        config["rms_norm_eps"] *= factor**2
        for name in tensors:
            if name.endswith(("embed_tokens.weight", "o_proj.weight", "down_proj.weight")):
                tensors[name] = tensors[name] * factor

    return edit


@pytest.mark.parametrize("mode", ["full", "quick"])
def test_a_scaled_residual_stream_is_the_same_function_in_another_frame(mode: str):
    verdict = judged("llama-mha", gauge(1 / 12), exactness="algebraic", mode=mode, size=LARGE)
    assert verdict.passed
    assert verdict.frame == f"hidden states times {1 / 12:.6g}"


def test_a_gauge_that_leaves_one_matrix_out_fails():
    def forgetful(tensors: Tensors, config: dict[str, Any]) -> None:
        name = "model.layers.1.mlp.down_proj.weight"
        kept = tensors[name]
        gauge(1 / 12)(tensors, config)
        tensors[name] = kept

    verdict = judged("llama-mha", forgetful, exactness="algebraic")
    assert verdict.first_divergence == "layer 1 mlp"


def test_taking_the_mean_out_of_a_layer_norms_residual_stream_is_another_frame_of_the_same_function():
    def centred(tensors: Tensors, config: dict[str, Any]) -> None:
        for name, tensor in tensors.items():
            if name.endswith("embed_tokens.weight"):
                tensors[name] = tensor - tensor.mean(1, keepdim=True)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                tensors[name] = tensor - tensor.mean(0, keepdim=True)

    verdict = judged("stablelm", centred, exactness="algebraic")
    assert verdict.passed and verdict.frame.startswith("hidden states centred")


def test_a_quick_run_says_what_it_proved_and_a_small_one_is_full():
    verdict = judged("llama-mha", unchanged, mode="quick", size=LARGE)
    assert verdict.mode == "quick" and verdict.proved.startswith("3 of 3 layers (0, 1, 2) from random hidden states")
    verdict = judged("llama-mha", unchanged, mode="quick", size=0)
    assert verdict.mode == "full" and verdict.proved.endswith("(small enough for quick to be full)")


def test_a_larger_vocabulary_is_compared_where_both_have_tokens():
    def padded(tensors: Tensors, config: dict[str, Any]) -> None:
        config["vocab_size"] += 7
        for name in ("lm_head.weight", "model.embed_tokens.weight"):
            tensors[name] = torch.cat((tensors[name], torch.zeros(7, 64)))

    verdict = judged("llama-mha", padded)
    assert verdict.passed and verdict.logits.tokens == 257
    assert "7 further rows of the output have no counterpart" in verdict.proved


def test_tensors_that_the_output_never_uses_are_named():
    def extra(tensors: Tensors, config: dict[str, Any]) -> None:
        tensors["model.layers.0.self_attn.q_proj.bias"] = torch.ones(64)

    assert judged("llama-mha", extra).unread == ("model.layers.0.self_attn.q_proj.bias",)


def test_given_prompts_are_compared_with_their_own_tokens():
    verdict = judged("llama-mha", two_head_rows, prompts=[[5, 6, 7], [8]])
    assert verdict.logits.positions == 3 * 3  # two prompts of three, and the first once more with a perturbed start
    with pytest.raises(ConversionError, match="token 257 lies outside the common 257 tokens"):
        judged("llama-mha", unchanged, prompts=[[257]])


def test_an_output_that_lacks_a_tensor_is_refused_by_its_name():
    with pytest.raises(ConversionError, match=r"model\.layers\.1\.self_attn\.q_proj\.weight"):
        judged("llama-mha", lambda tensors, config: tensors.pop(Q))


def test_an_output_of_another_depth_is_refused():
    with pytest.raises(ConversionError, match="3 layers of width 64, the output 2 of 64"):
        judged("llama-mha", lambda tensors, config: config.update(num_hidden_layers=2))


def test_the_numbers_are_those_of_the_logits_themselves():
    """KL, differences and agreement, written out."""
    torch.manual_seed(3)
    a, b = 3 * torch.randn(6, 40, dtype=torch.float64), 3 * torch.randn(6, 40, dtype=torch.float64)
    seen = compare._Seen(6)
    for start in range(0, 40, 7):
        seen.add(a[:, start : start + 7], b[:, start : start + 7], start)
    found = seen.verdict(tolerance("byte", "float64", 1, 2, ["F32"]).logits(1.0))
    p, q = a.log_softmax(1), b.log_softmax(1)
    assert found.kl_source_output == pytest.approx(float((p.exp() * (p - q)).sum(1).mean()))
    assert found.kl_output_source == pytest.approx(float((q.exp() * (q - p)).sum(1).mean()))
    assert found.largest == pytest.approx(float((a - b).abs().max()))
    assert found.mean == pytest.approx(float((a - b).abs().mean()))
    spread = float((a - a.mean(1, keepdim=True)).square().mean().sqrt())
    assert found.error == pytest.approx(float((a - b).square().mean().sqrt()) / spread)
    assert found.top1 == float((a.argmax(1) == b.argmax(1)).double().mean())
    both = [
        len(set(x.topk(5).indices.tolist()) & set(y.topk(5).indices.tolist())) / 5 for x, y in zip(a, b, strict=True)
    ]
    assert found.top5 == pytest.approx(sum(both) / 6)


def test_a_verdict_survives_json():
    verdict = judged("llama-mha", swapped)
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


def test_the_tolerance_says_where_it_comes_from():
    exact = judged("llama-mha", unchanged).tolerance
    assert exact.because.startswith("byte: stored values are equal") and exact.stages == 8
    rounded = judged("llama-mha", narrowed, exactness="algebraic").tolerance
    assert "rounded once to BF16" in rounded.because and rounded.stored == pytest.approx(0.42 / 256)


@pytest.mark.parametrize("name", ["llama-gqa", "llama-tied"])
def test_checkpoints_on_disk_are_verified_in_either_mode(name: str):
    checkpoint = open_checkpoint(golden(name).checkpoint)
    assert verify(checkpoint, checkpoint, exactness="byte", compute="float64").passed


def test_one_rounding_has_room_in_the_tolerance_which_is_that_of_a_native_bf16_run():
    case = golden("minicpm-2b-bf16")
    native, exact = (load_file(case.logits)[name] for name in ("logits_native", "logits"))
    ideal = case.provenance["ideal_fold_rounding"]
    verdict = judged("minicpm-2b-bf16", unchanged, exactness="algebraic")
    spread = float((exact - exact.mean(-1, keepdim=True)).square().mean().sqrt())
    assert ideal["mean_abs_dlogits"] / spread < verdict.logits.allowed / 3
    assert ideal["max_abs_dlogits"] / spread < verdict.logits.worst_allowed / 3
    assert verdict.logits.allowed < 3 * float((native - exact).square().mean().sqrt()) / spread


@pytest.mark.parametrize(
    "name", ["gpt2", "nanogpt", "deepseek-v3-fp8", "llama4", "chatglm1-6b", "gemma2", "mixtral", "meta-llama3"]
)
def test_every_kind_of_architecture_is_the_same_function_as_itself(name: str):
    checkpoint = open_checkpoint(golden(name).checkpoint)
    for compute in ("float32", "float64"):
        verdict = verify(checkpoint, checkpoint, exactness="byte", compute=compute)
        assert verdict.passed, verdict.sentence


def test_prompts_stay_within_the_shorter_context():
    verdict = judged("llama-mha", lambda tensors, config: config.update(max_position_embeddings=20))
    assert verdict.passed and verdict.logits.positions == 4 * 20


def test_a_function_whose_values_have_no_square_in_float32_is_still_the_same() -> None:
    def far_out(name: str) -> Tensors:
        tensors, _ = loaded("llama-mha")
        tensors[name] = tensors[name].float()
        tensors[name].view(-1)[1] = -1e30
        return tensors

    for name in ("model.layers.0.self_attn.o_proj.weight", "model.layers.0.mlp.down_proj.weight"):
        source, output = (decoder_for(loaded("llama-mha")[1], held(far_out(name))) for _ in "ab")
        assert judge(source, output, exactness="byte").passed
