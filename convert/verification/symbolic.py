"""What logits cannot see, compared symbolically: constants and variants as both sides' configs state them.

An eps of 1e-6 for 1e-5 moves logits by less than rounding to bfloat16 does, and erf-GELU for tanh-GELU by as little.
So the configs are read (`meaning`), brought to one form, and every difference is a finding. It *fails* unless the frame
between the hidden states explains it (a residual stream scaled by a scales eps by its square), or it is of the kind
that the weights can take up, so large that the layers would show it if they had not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from convert.verification import rope
from convert.verification.asked import NOTHING, Asked
from convert.verification.frame import Frame
from convert.verification.meaning import Meaning
from convert.verification.verdict import Finding, Status
from surgery.errors import show

_SAME = 1e-6  # relative: numbers that went through decimal text or float32
_FITTED = 1e-3  # relative: what a scale fitted to rounded embeddings is good for
_SEEN = 1e-2  # relative: a scale that is off by more than this is off in every layer's output
_BEYOND = 4  # times the longer context: where what only counts beyond it is looked at
_ANGLE = 1e-6  # radians over the whole context

#: what must be equal, whatever the weights
_STRICT: tuple[tuple[str, Callable[[Meaning], Any]], ...] = (
    ("activation", lambda m: m.activation),
    ("positions", lambda m: m.positions),
    ("query heads", lambda m: m.heads),
    ("width of a head", lambda m: m.dim),
    ("norms of query and key heads", lambda m: m.head_norms),
    ("norms behind the blocks", lambda m: m.after_norms),
    ("parallel blocks", lambda m: m.parallel),
    ("cap on attention scores", lambda m: m.scores_cap),
    ("cap on logits", lambda m: m.logits_cap),
    ("choice of experts", lambda m: m.experts),
)
#: factors that weights can take up
_FOLDABLE: tuple[tuple[str, Callable[[Meaning], float]], ...] = (
    ("factor on embeddings", lambda m: m.embedding_scale),
    ("factor on residual branches", lambda m: m.branch_scale),
    ("factor on logits", lambda m: m.logit_scale),
    ("offset of norm weights", lambda m: m.offset),
)


def differences(
    source: Meaning | None, output: Meaning | None, frame: Frame, asked: Asked = NOTHING
) -> tuple[Finding, ...]:
    """Every difference between the two sides' statements, judged; empty where they say the same.

    `asked`: a plan may keep the function only up to a context, or want other special tokens.
    """
    if source is None or output is None:
        side = "source" if source is None else "output"
        why = f"no reader knows the config of the {side}: constants were not compared"
        return (Finding("config", "", "", "warns", why),)
    found: list[Finding] = [*_eps(source, output, frame), *_norms(source, output, frame)]
    for fact, of in _STRICT:
        if of(source) != of(output):
            found.append(_finding(fact, of(source), of(output), "fails", "no weights can make up for it"))
    if output.rope_conflict and output.rope_conflict != source.rope_conflict:
        why = f"{output.rope_conflict}: one library reads the one, and another the other"
        found.append(Finding("rotation said twice", show(source.rope_conflict), show(output.rope_conflict), "fails", why))
    found += _rotation(source, output)
    found += _windows(source, output)
    found += _folded(source, output)
    found += _carried(source, output, asked.parts)
    found += _context(source, output, asked.shorter)
    return tuple(found)


def common_context(source: Meaning, output: Meaning) -> int | None:
    """The length up to which both sides claim to be defined."""
    return min((m.context for m in (source, output) if m.context), default=None)


def _finding(fact: str, one: Any, other: Any, status: Status, because: str) -> Finding:
    return Finding(fact, show(one), show(other), status, because)


def _eps(source: Meaning, output: Meaning, frame: Frame) -> Iterator[Finding]:
    expected = source.eps * frame.scale**2
    allowed = _SAME if frame.scale == 1.0 else _FITTED
    if math.isclose(output.eps, expected, rel_tol=allowed):
        if output.eps != source.eps and frame.scale != 1.0:
            head = source.head_norms is not None
            status: Status = "fails" if head else "explained"
            why = f"hidden states are {frame.scale:.6g} times the source's, and eps the square of that times its"
            why += ", but not in the norms of heads" if head else ""
            yield _finding("eps", source.eps, output.eps, status, why)
        return
    yield _finding("eps", source.eps, output.eps, "fails", f"the hidden states ask for {expected:.6g}")


def _norms(source: Meaning, output: Meaning, frame: Frame) -> Iterator[Finding]:
    if source.norm == output.norm:
        return
    explained = frame.centred and (source.norm, output.norm) == ("layer", "rms")
    why = "the output's residual stream has no mean" if explained else "one takes the mean away, the other does not"
    yield _finding("kind of norm", source.norm, output.norm, "explained" if explained else "fails", why)


def _rotation(source: Meaning, output: Meaning) -> Iterator[Finding]:
    """The angles that queries and keys turn by, at every length where a table may change; and the factor on them."""
    if "rope" not in (source.positions, output.positions) or source.positions != output.positions:
        return
    if source.dim != output.dim:
        return
    longest = common_context(source, output) or 2048
    for length in _lengths(source, output, longest):
        one, other = (_table(m, length) for m in (source, output))
        for a, b in zip(one[0], other[0], strict=True):
            if not math.isclose(a, b, rel_tol=_SAME) and abs(a - b) * length > _ANGLE:
                yield _finding(
                    "rotary frequencies", _told(source), _told(output), "fails",
                    f"at {length} tokens a pair turns by {a:.9g} per token on one side and {b:.9g} on the other",
                )  # fmt: skip
                return
        factors = source.scores * one[1] ** 2, output.scores * other[1] ** 2
        if not math.isclose(*factors, rel_tol=_SAME):
            yield _scale("factor on attention scores", *factors)
            return
    beyond = _BEYOND * max(source.context or longest, output.context or longest)
    one, other = (_table(m, beyond) for m in (source, output))
    if any(not math.isclose(a, b, rel_tol=_SAME) for a, b in zip(one[0], other[0], strict=True)):
        why = f"texts beyond the context come out otherwise: at {beyond} tokens the table is another one"
        yield _finding("rotation beyond the context", _told(source), _told(output), "warns", why)


def _lengths(source: Meaning, output: Meaning, longest: int) -> list[int]:
    """2, the end of the common context, and both sides of every length where a table changes."""
    turns = {2, longest}
    for m in (source, output):
        for original in m.originals:
            turns |= {original, original + 1}
    return sorted(length for length in turns if 1 <= length <= longest)


def _table(m: Meaning, length: int) -> tuple[list[float], float]:
    """Frequencies of all pairs of a head, fastest first and still ones last, and the factor on cos and sin."""
    keys = rope.settings(m.rope, m.rope.get("rope_theta", 10000.0))
    whole = keys["rope_type"] == "proportional"  # its share says which pairs of the whole head turn
    if not whole:
        keys["partial_rotary_factor"] = 1.0
    table = rope.table(keys, m.dim if whole else m.turned, length=length, longest=m.context or length)
    moving = sorted(table.frequencies.tolist(), reverse=True)
    return moving + [0.0] * (m.dim // 2 - len(moving)), table.factor


def _told(m: Meaning) -> dict[str, Any]:
    share = {"share": m.turned / m.dim} if m.turned != m.dim else {}
    scaling = {key: value for key in ("rope_scaling", "rope_parameters") if (value := m.rope.get(key))}
    return {"theta": m.rope.get("rope_theta"), **share, **scaling}


def _windows(source: Meaning, output: Meaning) -> Iterator[Finding]:
    """Windows that reach as far as both contexts do nothing."""
    reach = common_context(source, output)

    def effective(m: Meaning) -> tuple[int | None, ...]:
        return tuple(None if w is None or (reach is not None and w >= reach) else w for w in m.windows)

    if effective(source) != effective(output):
        one, other = (sorted({w or 0 for w in m.windows}) for m in (source, output))
        why = f"texts up to {reach or 'any'} tokens can be longer than the window"
        yield _finding("window", one, other, "fails", why)


def _folded(source: Meaning, output: Meaning) -> Iterator[Finding]:
    for fact, of in _FOLDABLE:
        if not math.isclose(of(source), of(output), rel_tol=_SAME):
            yield _scale(fact, of(source), of(output))
    if source.unit_head != output.unit_head:
        status: Status = "explained" if source.unit_head else "fails"
        why = "unit rows can be stored" if source.unit_head else "the output normalises rows that the source does not"
        yield _finding("normalised head", source.unit_head, output.unit_head, status, why)
    if source.kv != output.kv:
        more, whole = output.kv > source.kv, max(source.kv, output.kv) % min(source.kv, output.kv) == 0
        why = "heads can be repeated" if more else "heads that repeat others can go"
        told = f"{why}; the layers show that they did" if whole else "neither is a multiple of the other"
        yield _finding("key-value heads", source.kv, output.kv, "explained" if whole else "fails", told)


def _scale(fact: str, one: float, other: float) -> Finding:
    """A factor is taken up by weights or it is not; one that is nearly the same was not taken up but mistaken."""
    near = math.isclose(one, other, rel_tol=_SEEN)
    taken = "weights can take it up; the layers show that they did"
    why = "so near to equal that no layer would show it" if near else taken
    return _finding(fact, one, other, "fails" if near else "explained", why)


def _carried(source: Meaning, output: Meaning, asked: str) -> Iterator[Finding]:
    """What changes no logits but what users get: where texts begin and end."""
    for name in ("bos", "eos", "pad"):
        one, other = source.ids.get(name), output.ids.get(name)
        if one == other:
            continue
        both = one is not None and other is not None
        apart = name == "eos" and both and not set(one or ()) & set(other or ())
        why = "generation would not end where it did" if apart else "logits do not depend on it, but generation may"
        status: Status = "explained" if asked else "fails" if apart else "warns"
        yield _finding(f"{name} token", one, other, status, asked or why)


def _context(source: Meaning, output: Meaning, shorter: bool) -> Iterator[Finding]:
    """How long texts may be: more than the source was made for is a claim, less takes something away."""
    if source.context in (None, output.context) or (output.context is None and not output.has_context):
        return
    if output.context and source.context and output.context > source.context:
        status: Status = "warns"
        why = "the output claims longer texts than the source; only the common length was compared"
    elif output.context is None:
        status, why = "warns", "the output does not say how long a text may be, and libraries take a length of their own"
    elif shorter:
        status, why = "explained", "the plan keeps the function up to this length, and says so"
    else:
        status, why = "fails", "texts that the source reads are too long for what the output says"
    yield _finding("context", source.context, output.context, status, why)
