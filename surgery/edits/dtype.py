"""Cast: every weight as another element type."""

from __future__ import annotations

from surgery.dtypes import FLOATS, ITEMSIZE
from surgery.edits.edit import S, edited
from surgery.errors import UsageError, listed, show
from surgery.model import Applied, Model
from surgery.roles import stays_float32
from surgery.values import cast as _cast


def cast(subject: S, dtype: str, *, clamp: bool = False) -> S:
    """The model with every weight as ``dtype``, named as config.json names it; what must stay float32 does.

    A value that exceeds float16 is an error when it is written, or with ``clamp`` becomes the largest number there is.
    Widening is of class ``byte``; narrowing is ``approximate``, and the writer reports what it cost.
    """
    code = next((code for code, name in FLOATS.items() if name == dtype), None)
    if code is None:
        raise UsageError(f"there is no type {show(dtype)} to cast to: choose one of {listed(FLOATS.values())}.")
    halved = ITEMSIZE[code] < ITEMSIZE["F32"]

    def change(model: Model) -> Model:
        kept = {name for name, expr in model.tensors.items() if halved and expr.dtype == "F32" and stays_float32(name)}
        changing = {name: expr for name, expr in model.tensors.items() if name not in kept and expr.dtype != code}
        if not changing:
            return model
        return model.using({name: _cast(expr, code, clamp) for name, expr in changing.items()})

    beyond = ", what exceeds it as its largest number" if clamp else ""
    asked = Applied("cast", {"dtype": dtype, "clamp": clamp})
    return edited(subject, change, f"every weight is cast to {dtype}{beyond}", asked)
