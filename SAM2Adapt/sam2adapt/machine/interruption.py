"""Stopping inside long computations: what computes looks, and need not be handed the question through every call.

A batch of slices or one large picture takes a network seconds on a CPU, and a user who cancels waits for less.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..shared.errors import check_cancelled

_check: ContextVar[Callable[[], None] | None] = ContextVar("check", default=None)


@contextmanager
def interruptible(cancelled: Callable[[], bool] | None, what: str) -> Iterator[None]:
    """Let ``look`` stop the work of this block, in this thread.

    :param cancelled: None: nothing changes, so that a block around this one keeps its say.
    :param what: the work, as the sentence begins: "The segmentation".
    :raises CancelledError: within the block, at a ``look`` once ``cancelled()`` is true.
    """
    if cancelled is None:
        yield
        return
    token = _check.set(lambda: check_cancelled(cancelled, what))
    try:
        yield
    finally:
        _check.reset(token)


def look() -> None:
    """Stop here if the user has cancelled the work; costs less than a microsecond.

    :raises CancelledError: ``interruptible`` around this call says so.
    """
    check = _check.get()
    if check is not None:
        check()
