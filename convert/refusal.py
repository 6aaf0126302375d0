"""What escaped from a run, as one of our refusals: the same in the process of a command and in that of its child."""

from __future__ import annotations

from surgery import errors
from surgery.errors import ConversionError, LimitExceeded, StorageFailed, show

_KINDS = {
    kind.status: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ConversionError)
}  # fmt: skip
#: how Python, torch, C++ and the loader of libraries complain when memory is refused
_STARVED = (
    "MemoryError", "bad_alloc", "annot allocate memory", "an't allocate memory", "not enough memory",
    "failed to map segment", "memory allocation of",
)  # fmt: skip
_OF_LIBRARIES = (OSError, RuntimeError, ImportError)  # what they complain with


def as_refusal(error: BaseException) -> ConversionError | None:
    """The refusal that an error amounts to; None where it is a fault of ours."""
    if isinstance(error, ConversionError):
        return error
    if isinstance(error, MemoryError) or (isinstance(error, _OF_LIBRARIES) and starved(str(error))):
        return LimitExceeded("there is not enough memory for this run. `convert plan` prints what is needed.")
    if isinstance(error, OSError):
        where = show(error.filename) if error.filename else "a file"
        return StorageFailed(f"{where}: {error.strerror or error}.")
    return None


def kind_of(status: int) -> type[ConversionError]:
    """The kind of refusal that ends with an exit status."""
    return _KINDS[status]


def starved(complaint: str) -> bool:
    """Whether a complaint, of whatever library, is about memory that was not to be had."""
    return any(words in complaint for words in _STARVED)
