"""Values that add: a product of low rank in any order of axes and any region, and what comes after it."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

import convert
import surgery
from convert.edits.lora import merge_lora
from convert.evaluate import evaluate
from convert.stream import Scratch, Source
from mappings.family import Row
from mappings.slots import slot
from mappings.updates import Place, Product, with_product
from surgery.facts import Facts
from surgery.layout import leaves, parse
from surgery.model import Model
from surgery.movement import Piece
from surgery.values import Moved, Shifted, reindexed
from tests.edits.adapters import written
from tests.goldens import golden
from tests.oracle import native_logits, tensors
from tests.writing import write

SIZES = {"kv": 2, "group": 3, "two": 2, "pair": 2, "head": 4, "hidden": 5}
L = "layer.{layer}."

#: layouts of a tensor that holds queries, keys and values, and whether its rows are the outputs
LAYOUTS = {
    "((kv group two pair) + (kv two pair) + (kv head)) hidden": True,
    "(kv ((group two pair) + (two pair) + head)) hidden": True,
    "((kv group pair two) + (kv pair two) + (kv head)) hidden": True,
    "hidden ((kv group two pair) + (kv two pair) + (kv head))": False,
}


class Memory:
    """Tensors by name, as the evaluator reads them."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.raw = {name: tensor.contiguous().numpy().tobytes() for name, tensor in tensors.items()}

    def source(self) -> Source:
        def read(file: str, offset: int, buffer: memoryview) -> None:
            buffer[:] = self.raw[file][offset : offset + len(buffer)]

        return Source({name: type("At", (), {"file": name, "offset": 0})() for name in self.raw}, read)


def header(name: str, tensor: torch.Tensor) -> object:
    return type("Header", (), {"name": name, "dtype": "F32", "shape": tuple(tensor.shape), "strides": tensor.stride()})()


@given(st.sampled_from(list(LAYOUTS)), st.integers(1, 3), st.sampled_from([1.0, -0.5]), st.integers(0, 99), st.data())
def test_each_role_of_a_fused_tensor_gets_its_share_of_the_product(text, rank, factor, seed, data):
    generator = torch.Generator().manual_seed(seed)
    place = Place("w", slot(Row(f"{L}w", f"{L}q {L}k {L}v", text), SIZES), ("q", "k", "v"))
    weight = torch.randn(place.shape, generator=generator)
    out, over = place.shape if LAYOUTS[text] else place.shape[::-1]
    a, b = torch.randn(rank, over, generator=generator), torch.randn(out, rank, generator=generator)
    merged = weight + factor * ((b @ a) if LAYOUTS[text] else (b @ a).T)
    roles = {}
    for name, part in zip(place.roles, place.slot.parts, strict=True):
        pieces = (Piece("w", part.leaf.offset, (0,) * len(part.axes), part.leaf.sizes, part.leaf.strides),)
        roles[name] = Moved(part.axes, part.leaf.sizes, "F32", pieces)
    model = with_product(Model(Facts(), roles), place, Product(header("a", a), header("b", b), factor))
    memory = Memory({"w": weight, "a": a, "b": b}).source()
    for name, leaf in zip(place.roles, leaves(parse(text), SIZES), strict=True):
        expr = model.tensors[name]
        order = [leaf.axes.index(axis) for axis in expr.axes]
        expected = merged.flatten().as_strided([leaf.sizes[i] for i in order], [leaf.strides[i] for i in order], leaf.offset)
        region = []
        for size in expr.shape:
            first = data.draw(st.integers(0, size - 1))
            region.append((first, data.draw(st.integers(1, size - first))))
        found = evaluate(expr, tuple(region), memory, Scratch())
        wanted = expected[tuple(slice(first, first + count) for first, count in region)]
        assert torch.allclose(found, wanted, rtol=0, atol=1e-5)


def test_taking_a_product_out_again_is_its_inverse():
    a, b = torch.ones(1, 5), torch.ones(4, 1)
    place = Place("w", slot(Row("w", "embed", "vocab hidden"), {"vocab": 4, "hidden": 5}), ("embed",))
    weight = Moved(("vocab", "hidden"), (4, 5), "F32", (Piece("w", 0, (0, 0), (4, 5), (5, 1)),))
    model = with_product(Model(Facts(), {"embed": weight}), place, Product(header("a", a), header("b", b), 2.0))
    expr = model.tensors["embed"]
    values = torch.arange(20.0).reshape(4, 5)
    memory = Memory({"w": values, "a": a, "b": b}).source()
    assert torch.equal(evaluate(expr, expr.whole, memory, Scratch()), values + 2)
    assert torch.equal(evaluate(expr.undo(expr), expr.whole, memory, Scratch()), values)


@given(st.integers(1, 3), st.integers(1, 3), st.data())
def test_slices_of_computed_tensors_are_those_of_moved_ones(old, times, data):
    values = torch.arange(float(old * 2 * 3)).reshape(old, 2, 3)
    moved = Moved(("kv", "head", "hidden"), (old, 2, 3), "F32", (Piece("w", 0, (0, 0, 0), (old, 2, 3), (6, 3, 1)),))
    computed = Shifted(moved.axes, moved.shape, "F32", (moved,), 1.0)
    copies = [((i,), (i // times,)) for i in range(old * times)]
    region = []
    for size in (old * times, 2, 3):
        first = data.draw(st.integers(0, size - 1))
        region.append((first, data.draw(st.integers(1, size - first))))
    memory = Memory({"w": values}).source()
    found = [evaluate(reindexed(e, ("kv",), (old * times,), copies), tuple(region), memory, Scratch()) for e in (moved, computed)]
    assert torch.equal(found[0] + 1, found[1])
    assert math.prod(found[0].shape) == math.prod(count for _, count in region)


def test_heads_of_a_merged_model_are_repeated(tmp_path):
    base = golden("llama-gqa").checkpoint
    torch.manual_seed(9)
    parts = {}
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        rows, columns = tensors(base)[f"model.layers.2.self_attn.{name}.weight"].shape
        parts[f"model.layers.2.self_attn.{name}.lora_A.weight"] = torch.randn(4, columns) * 0.2
        parts[f"model.layers.2.self_attn.{name}.lora_B.weight"] = torch.randn(rows, 4) * 0.2
    adapter = written(tmp_path / "adapter", parts)
    whole = merge_lora(convert.open(base), adapter)
    write(convert.plan(whole), tmp_path / "one")
    write(convert.plan(surgery.repeat_kv(whole)), tmp_path / "other")
    ids = torch.arange(40).reshape(2, 20)
    one, other = (native_logits(tmp_path / name, ids) for name in ("one", "other"))
    assert (one - other).abs().max() <= 1e-4
