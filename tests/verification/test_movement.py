"""Translation validation: the boxes of plans against formulas that share nothing with the layouts."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import convert.prepare
from convert.checkpoint import open_checkpoint
from convert.checkpoint.stored import Checkpoint, Stored, row_major
from convert.planning import Plan
from convert.prepare import plan_conversion
from convert.verification import movement
from convert.verification.addresses import origins
from convert.verification.movement import prove
from convert.verification.run import verify
from mappings import families
from mappings.family import Family, Row
from surgery.errors import ConversionError
from tests.goldens import Golden, golden, goldens
from tests.mappings.pairs import randomised, saved
from tests.mappings.test_chatglm import per_head
from tests.oracle import tensors, transformers
from tests.verification.decoding import BAICHUAN
from tests.writing import write

CASES = [case for case in goldens() if not case.name.startswith(("lora-", "delta-"))]
TARGETS = tuple(dict.fromkeys(family.name for family in families()))
EVERY = 1 << 40


def plans(case: Golden) -> dict[str, Plan]:
    """Every plan that a golden checkpoint has, by target."""
    checkpoint = open_checkpoint(case.checkpoint)
    found = {}
    for target in TARGETS:
        try:
            found[target] = plan_conversion(checkpoint, target, variant=variant_of(case))
        except ConversionError:
            continue
    return found


def variant_of(case: Golden) -> str | None:
    variant = case.provenance.get("variant")
    return BAICHUAN[variant["family"]] if variant else None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_plan_of_a_golden_case_moves_what_the_formulas_say(case: Golden):
    for target, plan in plans(case).items():
        lineage = prove(plan, variant=variant_of(case))
        assert lineage.passed, (target, lineage.sentence)
        assert lineage.tensors == plan.tensors and lineage.addresses >= plan.tensors


def test_both_forms_of_mixtrals_experts_are_followed_and_a_mistake_in_one_is_seen(tmp_path, monkeypatch):
    case = golden("mixtral")
    plan = plan_conversion(open_checkpoint(case.checkpoint), "mixtral-fused")
    lineage = prove(plan, most=EVERY)
    assert lineage is not None and lineage.passed and lineage.complete and not lineage.unfollowed
    assert lineage.addresses == plan.elements and "experts by number" in lineage.sentence
    write(plan, tmp_path / "fused")
    back = prove(plan_conversion(open_checkpoint(tmp_path / "fused"), "mixtral"), most=EVERY)
    assert back is not None and back.passed and back.addresses == plan.elements and not back.unfollowed

    def wrong(family: Family) -> Family:
        expert = R + "expert.{expert}."
        return relayed(family, f"{expert}gate {expert}up", f"{expert}up {expert}gate") if family.variant == "fused" else family

    monkeypatch.setattr(convert.prepare, "families", lambda: tuple(map(wrong, families())))
    swapped_ = prove(plan_conversion(open_checkpoint(case.checkpoint), "mixtral-fused"))
    assert swapped_ is not None and "w3.weight at 0, not from" in swapped_.sentence


def imagined(config: dict[str, Any], shapes: dict[str, tuple[int, ...]], like: Checkpoint) -> Checkpoint:
    """A checkpoint of headers."""
    tensors = {name: Stored(name, "f", "F32", shape, row_major(shape), 0) for name, shape in shapes.items()}
    return replace(like, config=config, tensors=tensors, documents={})


@settings(max_examples=25)
@given(
    kv=st.integers(1, 3), group=st.integers(1, 3), dim=st.sampled_from([4, 8]), ffn=st.integers(5, 9),
    target=st.sampled_from(["aquila", "glm", "internlm2", "meta", "mistral", "phi3", "qwen2", "yi", "baichuan"]),
)  # fmt: skip
def test_every_element_of_models_of_random_sizes_goes_there_and_back(kv, group, dim, ffn, target):
    heads = kv * group
    hidden, vocab = heads * dim, 11
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 2, "hidden_size": hidden,
        "num_attention_heads": heads, "num_key_value_heads": kv, "intermediate_size": ffn, "vocab_size": vocab,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 4096, "hidden_act": "silu",
    }  # fmt: skip
    sizes = {"q": heads * dim, "k": kv * dim, "v": kv * dim}
    shapes: dict[str, tuple[int, ...]] = {"model.norm.weight": (hidden,)}
    shapes |= dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (vocab, hidden))
    for layer in range(2):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}self_attn.{part}_proj.weight": (rows, hidden) for part, rows in sizes.items()}
        shapes |= dict.fromkeys((f"{at}mlp.gate_proj.weight", f"{at}mlp.up_proj.weight"), (ffn, hidden))
        shapes |= {f"{at}self_attn.o_proj.weight": (hidden, heads * dim), f"{at}mlp.down_proj.weight": (hidden, ffn)}
        shapes |= dict.fromkeys((f"{at}input_layernorm.weight", f"{at}post_attention_layernorm.weight"), (hidden,))
    llama = imagined(config, shapes, open_checkpoint(golden("llama-gqa").checkpoint))
    mends = ["repeat-kv"] if target == "baichuan" and group > 1 else []
    there = plan_conversion(llama, target, mends=mends)
    lineage = prove(there, most=EVERY)
    assert lineage.passed and lineage.complete, lineage.sentence
    if target in ("meta", "qwen2"):  # without a file there are no biases that could be read as zeros
        return
    made = {output.name: output.shape for file in there.files for output in file.outputs}
    stored = imagined(json.loads(there.documents["config.json"]), made, llama)
    back = prove(plan_conversion(stored, "llama"), most=EVERY)
    assert back.passed and back.complete, back.sentence


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", ["meta-llama2-gqa", "meta-llama3"])
def test_model_parallel_files_hold_what_the_formulas_say(name: str, ranks: int):
    plan = plan_conversion(open_checkpoint(golden(name).checkpoint), "meta", tensor_parallel=ranks)
    assert prove(plan).passed


def swapped(family: Family, one: str, other: str) -> Family:
    """The family with two tensors' roles exchanged in its table."""
    exchanged = {one: other, other: one}

    def renamed(roles: str) -> str:
        return " ".join(exchanged.get(role, role) for role in roles.split())

    rows = tuple(replace(row, roles=renamed(row.roles)) for row in family.rows)
    return replace(family, rows=rows)


def relayed(family: Family, old: str, new: str) -> Family:
    """The family with some words of its layouts, or of the roles beside them, replaced."""
    rows = (replace(r, layout=r.layout.replace(old, new), roles=r.roles.replace(old, new)) for r in family.rows)
    return replace(family, rows=tuple(rows))


R = "layer.{layer}."
QK = ("q L.k L.v", "k L.q L.v"), ("(kv group two pair) + (kv two pair) +", "(kv two pair) + (kv group two pair) +")
KV = ("q L.k L.v", "q L.v L.k"), ("(two pair) + head", "head + (two pair)")


def repacked(family: Family, changes: tuple[tuple[str, str], ...]) -> Family:
    """The family with the parts of its fused row in another order."""
    for old, new in changes:
        family = relayed(family, old.replace("L.", R), new.replace("L.", R))
    return family


@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        ("baichuan-7b", lambda f: repacked(f, QK) if f.name == "baichuan" else f),
        ("baichuan-7b", lambda f: swapped(f, R + "gate", R + "up") if f.name == "baichuan" else f),
        ("baichuan-7b", lambda f: relayed(f, "two pair", "pair two") if f.name == "baichuan" else f),
        ("llama-mha", lambda f: swapped(f, R + "attention_norm", R + "mlp_norm") if f.name == "yi" else f),
        ("llama-mha", lambda f: relayed(f, "(kv head)", "(head kv)") if f.name == "yi" else f),
        ("internlm2-7b", lambda f: repacked(f, KV) if f.name == "internlm2" else f),
    ],
    ids=["q/k", "gate/up", "interleaved", "norms", "v by dimension", "k and v in a group"],
)  # fmt: skip
def test_a_mistake_in_a_table_fails_symbolically_and_by_logits(name, damaged, tmp_path, monkeypatch):
    """Both sides read through the wrong table agree with each other; neither proof reads through it."""
    case = golden(name)
    wrong = tuple(map(damaged, families()))
    assert wrong != families()
    monkeypatch.setattr(convert.prepare, "families", lambda: wrong)
    target = "yi" if name == "llama-mha" else "llama"
    plan = plan_conversion(open_checkpoint(case.checkpoint), target)
    lineage = prove(plan)
    assert not lineage.passed and " comes from " in lineage.sentence
    write(plan, tmp_path / "out", verify="off")
    verdict = verify(open_checkpoint(case.checkpoint), open_checkpoint(tmp_path / "out"), exactness="algebraic")
    assert not verdict.passed


def exchanged(plan: Plan, one: str, other: str) -> Plan:
    """The plan with the contents of two outputs exchanged."""
    boxes = {output.name: output.boxes for file in plan.files for output in file.outputs}
    boxes[one], boxes[other] = boxes[other], boxes[one]
    files = (
        replace(file, outputs=tuple(replace(output, boxes=boxes[output.name]) for output in file.outputs))
        for file in plan.files
    )
    return replace(plan, files=tuple(files))


def test_keys_of_every_head_are_followed_through_the_fused_tensor(tmp_path):
    plan = plan_conversion(open_checkpoint(per_head(tmp_path / "in")), "glm")
    lineage, at = prove(plan), "model.layers.1.self_attn."
    assert lineage.passed and "chatglm-per-head" in lineage.how
    assert not prove(exchanged(plan, f"{at}k_proj.weight", f"{at}v_proj.weight")).passed


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_model_that_stores_both_ends_may_take_the_head_from_either(tied, tmp_path):
    """In the corpus as `ok_tied_stored_twice`: a right output of Baichuan 2 was called wrong."""
    base = golden("baichuan2-7b").checkpoint
    held = tensors(base)
    if tied:
        held["lm_head.weight"] = held["model.embed_tokens.weight"].clone()
    save_file({name: tensor.contiguous() for name, tensor in held.items()}, tmp_path / "model.safetensors", {"format": "pt"})
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": tied}), encoding="utf-8")
    plan = plan_conversion(open_checkpoint(tmp_path), "llama")
    assert prove(plan).passed
    assert not prove(exchanged(plan, "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight")).passed


def test_norms_of_heads_are_followed_by_their_names(tmp_path):
    library = transformers()
    config = library.StableLmConfig(
        vocab_size=31, hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, partial_rotary_factor=0.5, qk_layernorm=True,
    )  # fmt: skip
    folder = saved(randomised(library.StableLmForCausalLM(config)), tmp_path / "in")
    plan = plan_conversion(open_checkpoint(folder), "stablelm")
    lineage, at = prove(plan), "model.layers.1.self_attn.q_layernorm.norms."
    assert lineage.passed and lineage.tensors == plan.tensors
    wrong = prove(exchanged(plan, f"{at}0.weight", f"{at}3.weight"))
    assert not wrong.passed and f"{at}0.weight comes from {at}3.weight" in wrong.sentence


def test_an_element_written_twice_or_never_is_a_fault():
    plan = plan_conversion(open_checkpoint(golden("llama-gqa").checkpoint), "internlm2")
    file = plan.files[0]
    at, output = next((i, o) for i, o in enumerate(file.outputs) if "wqkv" in o.name)
    for boxes in (output.boxes[1:], (*output.boxes, output.boxes[0])):
        outputs = (*file.outputs[:at], replace(output, boxes=boxes), *file.outputs[at + 1 :])
        broken = replace(plan, files=(replace(file, outputs=outputs),))
        assert any("are written" in fault for fault in prove(broken).faults)


def test_an_address_outside_a_box_has_no_origin():
    plan = plan_conversion(open_checkpoint(golden("llama-gqa").checkpoint), "internlm2")
    output = next(o for o in plan.files[0].outputs if "wqkv" in o.name)
    assert list(origins(output, output.numel)) == []
    assert len(list(origins(output, 0))) == 1


def test_a_family_without_a_formula_is_not_proved_and_that_is_said(monkeypatch):
    formulas = {name: formula for name, formula in movement.FORMULAS.items() if name not in ("Yi", "qwen2")}
    monkeypatch.setattr(movement, "FORMULAS", formulas)
    plan = plan_conversion(open_checkpoint(golden("yi-6b").checkpoint), "llama")
    there, back = prove(plan), prove(plan_conversion(open_checkpoint(golden("llama-gqa").checkpoint), "yi"))
    for lineage in (there, back):
        assert lineage is not None and lineage.passed and lineage.addresses == 0
        assert lineage.sentence == "lineage not proved: no formula of Yi"
        assert lineage.record == "not proved: no formula of Yi"
    own = prove(plan_conversion(open_checkpoint(golden("yi-6b").checkpoint), "yi"))
    assert own is not None and own.sentence.endswith("held against the same tensors of the source")


def test_biases_under_names_that_no_formula_has_are_not_proved_and_not_wrong(monkeypatch):
    """A family that is right, and calls its biases otherwise: two entries of three know it."""
    case = golden("llama-attention-bias")
    renamed = tuple(_biases_elsewhere(family) if family.name == "llama" else family for family in families())
    read = open_checkpoint(case.checkpoint)
    tensors = {_elsewhere(name): replace(stored, name=_elsewhere(name)) for name, stored in read.tensors.items()}
    monkeypatch.setattr(convert.prepare, "families", lambda: renamed)
    lineage = prove(plan_conversion(replace(read, tensors=tensors), "internlm2"))
    assert lineage is not None and lineage.passed, lineage
    assert lineage.addresses > 0
    assert all("no formula of llama names" in why for why in lineage.unfollowed) and lineage.unfollowed
    norms = (R + "attention_norm", R + "mlp_norm")
    wrong = tuple(swapped(family, *norms) if family.name == "llama" else family for family in renamed)
    monkeypatch.setattr(convert.prepare, "families", lambda: wrong)
    lineage = prove(plan_conversion(replace(read, tensors=tensors), "internlm2"))
    assert lineage is not None and "post_attention_layernorm.weight" in lineage.sentence and not lineage.passed


def _elsewhere(name: str) -> str:
    return name.removesuffix(".bias") + ".shift" if name.endswith(".bias") else name


def _biases_elsewhere(family: Family) -> Family:
    """The family with a row for each bias, under another name than its weight's."""
    layouts = {"q": "(kv group two (pair + half))", "k": "(kv two (pair + half))", "v": "(kv head)", "o": "hidden"}
    rows = tuple(
        Row(
            row.name.removesuffix(".weight") + ".shift",
            " ".join(f"{r}.bias" for r in row.roles.split()),
            layouts[at],
            when=row.bias,
        )
        for row in family.rows
        for at in layouts
        if row.name.endswith(f"{at}_proj.weight") and "self_attn" in row.name
    )
    return replace(family, rows=(*(replace(row, bias="") for row in family.rows), *rows))
