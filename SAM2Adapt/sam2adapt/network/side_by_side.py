"""Train independent parts of a network at the same time, each with its share of the threads of a CPU.

Most operators of a step are too small for several cores to share them well. Parts of a network that only have their
input in common need not share them: each runs, forwards and backwards, in a thread of its own. The operators of a part
stay in their order, so the gradients do not depend on which part is faster.
"""

import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Result = TypeVar("Result")
Part = Callable[[], Sequence[Tensor]]


def side_by_side(parts: Sequence[Part]) -> list[list[Tensor]]:
    """Call functions of no arguments at the same time, and return the tensors that each of them returns.

    In the backward pass, each part adds the gradients of its parameters to ``grad`` itself; so no two parts may share a
    parameter, and the tensors that they use from outside get no gradients.
    """
    counts: list[int] = []
    start = torch.zeros((), requires_grad=True)  # a function needs an input with gradients to be called on the way back
    results = iter(_SideBySide.apply(start, parts, counts))
    return [[next(results) for _ in range(count)] for count in counts]


class _SideBySide(torch.autograd.Function):
    @staticmethod
    def forward(ctx, start: Tensor, parts: Sequence[Part], counts: list[int]) -> tuple[Tensor, ...]:
        enabled, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

        def with_gradients(part: Part) -> list[Tensor]:
            # Autocast belongs to a thread, but what it has cast is kept for all threads.
            with torch.enable_grad(), torch.autocast("cpu", dtype, enabled, cache_enabled=False):
                return list(part())

        ctx.results = at_once([lambda part=part: with_gradients(part) for part in parts])
        ctx.set_materialize_grads(False)
        counts += [len(result) for result in ctx.results]
        return tuple(tensor.detach() for result in ctx.results for tensor in result)

    @staticmethod
    @once_differentiable
    def backward(ctx, *slopes: Tensor | None) -> tuple[None, ...]:
        passes, slopes = [], list(slopes)
        for result in ctx.results:
            of_result, slopes = slopes[: len(result)], slopes[len(result) :]
            pairs = [p for p in zip(result, of_result, strict=True) if p[0].requires_grad and p[1] is not None]
            if pairs:
                passes.append(lambda pairs=pairs: torch.autograd.backward(*zip(*pairs, strict=True)))
        at_once(passes)
        return None, None, None


def at_once(parts: Sequence[Callable[[], Result]]) -> list[Result]:
    """Call functions at the same time, the first in this thread; return their results in order.

    An error of one is raised once all have ended.
    """
    threads = torch.get_num_threads()

    def call(part: Callable[[], Result]) -> Result:
        torch.set_num_threads(max(1, threads // len(parts)))
        return part()

    others = [_threads().submit(contextvars.copy_context().run, call, part) for part in parts[1:]]
    try:
        first = [call(part) for part in parts[:1]]
    finally:
        torch.set_num_threads(threads)
        wait(others)
    return first + [other.result() for other in others]


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="part of a network")
