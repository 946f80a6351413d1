"""One training in several processes that ``torchrun`` started: each computes its part of every batch.

The terms of a batch's loss are ratios of sums over its images, so the processes exchange these sums and each computes
the loss of the whole batch; gradients then only need to be added up. That is done at once, in one buffer, and not by
torch's DistributedDataParallel, which wants to wrap a module whose ``forward`` is called once a step: ours is called in
pieces, twice each, and by other names. With a frozen base there is too little to send to gain from sending it during
the backward pass. Outside ``joined``, every function here does what a single process needs.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..shared.errors import DeviceError, UserError
from .team import Team

T = TypeVar("T")

# One process may wait long for another: for an archive that is read, a large validation, a pause over the weekend. That
# one has died is found out by torchrun, not by a limit of time.
_LONGEST = timedelta(days=7)


@contextlib.contextmanager
def joined(team: Team) -> Iterator[None]:
    """Connect the processes of a team for as long as the block lasts; nothing if they are, or there is only one."""
    if team.size == 1 or dist.is_initialized():
        yield
        return
    # Its functions keep the group that there is when something first imports it: one that is there later would never
    # be destroyed, and its threads can abort the process as it exits ("terminate called without an active exception").
    import torch.distributed.nn

    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    dist.init_process_group(backend, timeout=_LONGEST, store=team.store(), rank=team.rank, world_size=team.size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def training_device(team: Team, name: str) -> tuple[torch.device, str]:
    """Choose this process's own GPU, or its share of the cores.

    :raises DeviceError: the device is not there, or several processes would have to share it.
    """
    if team.size == 1:
        return team.device(name)
    gpus = torch.cuda.device_count()
    if name in ("auto", "cuda") and gpus and gpus < team.local_size:
        raise DeviceError(
            f"{team.local_size} processes cannot share {gpus} GPU{'s' * (gpus > 1)}: each needs its own.",
            f"Start only {gpus} process{'es' * (gpus > 1)} on this computer, or train on the CPU.",
            setting="device",
            value="cpu",
        )
    if team.local_size > 1 and name.startswith("cuda:"):
        raise DeviceError(
            f"{team.local_size} processes cannot share '{name}'.",
            "Choose no GPU: each process then takes its own.",
            setting="device",
            value="auto",
        )
    device, reason = team.device(name)
    if device.type == "mps" or (device.type == "cuda" and not dist.is_nccl_available()):
        raise DeviceError(
            f"This PyTorch cannot connect several processes on '{device}'.",
            "Start one process, or train on the CPU.",
            setting="device",
            value="cpu",
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device, f"{reason}; {team.size} processes"


def count() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def number() -> int:
    """Number of this process among them; 0 is the first one, which decides, writes and speaks."""
    return dist.get_rank() if dist.is_initialized() else 0


def own(items: Sequence[T]) -> Sequence[T]:
    """This process's part of the items: every n-th of them."""
    return items[number() :: count()]


def lead(work: Callable[[], T]) -> T:
    """Do work in the first process only and give its result in all; they wait for it.

    :raises UserError: the work raised it; in all processes.
    """
    if count() == 1:
        return work()
    told: list[Any] = [_tried(work) if number() == 0 else None]
    dist.broadcast_object_list(told, device=torch.device("cpu"))
    return _result(told)


def together(work: Callable[[], T]) -> list[T]:
    """Do work in all processes and give all results in all of them, in their order.

    :raises UserError: the work raised it in one of them; in all processes.
    """
    if count() == 1:
        return [work()]
    told: list[Any] = [None] * count()
    dist.all_gather_object(told, _tried(work))
    _result(told)
    return [result for result, _ in told]


def agreed(work: Callable[[], T]) -> T:
    """Do work in all processes, of which each keeps its own result.

    :raises UserError: the work raised it in one of them; in all processes.
    """
    results: list[T] = []
    together(lambda: results.append(work()))
    return results[0]


def spread(work: Callable[[T], Any], items: Sequence[T]) -> list[Any]:
    """Do work with every item, in one of the processes each; gives the results of all items in their order.

    :raises UserError: the work raised it in one of them; in all processes.
    """
    parts = together(lambda: [work(item) for item in own(items)])
    return [result for row in itertools.zip_longest(*parts) for result in row][: len(items)]


def _tried(work: Callable[[], Any]) -> tuple[Any, UserError | None]:
    try:
        return work(), None
    except UserError as error:
        return None, error


def _result(told: list[tuple[Any, UserError | None]]) -> Any:
    for _, error in told:
        if error is not None:
            raise error
    return told[0][0]


class MemoryRanOutElsewhere(MemoryError):
    """Memory has run out in another process, so that none can go on with this batch."""


class _Traffic:
    """Bytes of tensors that this process has given to be added up."""

    sent = 0


def bytes_sent() -> int:
    """Bytes of tensors that this process has given to be added up so far."""
    return _Traffic.sent


def tell_memory_ran_out() -> None:
    """Let the others know, who wait for this process in an exchange or will."""
    if count() > 1:
        with contextlib.suppress(MemoryRanOutElsewhere):
            _meet(failed=True)


def _meet(failed: bool = False) -> None:
    """Come together before an exchange, so that nobody waits in it for a process whose memory has run out."""
    flag = torch.tensor(float(failed))
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    if flag:
        raise MemoryRanOutElsewhere("Memory ran out in another process.")


def _add_up(tensor: Tensor) -> Tensor:
    """Sum of a tensor over the processes, in its place."""
    _meet()
    _Traffic.sent += tensor.nbytes
    dist.all_reduce(tensor)
    return tensor


class _Sum(torch.autograd.Function):
    """Sum over the processes. What follows from it is computed in all of them alike, or of each process's own images.

    In the first case each has the whole slope already; in the second, it is the sum of what each has.
    """

    @staticmethod
    def forward(ctx, tensor: Tensor, alike: bool) -> Tensor:
        ctx.alike = alike
        return _add_up(tensor.clone())

    @staticmethod
    @once_differentiable
    def backward(ctx, slope: Tensor) -> tuple[Tensor, None]:
        return (slope if ctx.alike else _add_up(slope.clone())), None


def summed(tensor: Tensor) -> Tensor:
    """Sum over the processes, of which each computes the loss from it; with gradients for each one's own part."""
    return _Sum.apply(tensor, True) if count() > 1 else tensor


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm by the statistics of all processes' images; torch's own ``SyncBatchNorm`` needs GPUs."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or count() == 1:
            return super().forward(x)
        variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
        # In float64, so that mean squares may be subtracted from each other.
        variance, mean = variance.double(), mean.double()
        pixels = mean.new_full((1,), x.numel() / x.shape[1])
        sums = _Sum.apply(torch.cat([pixels * mean, pixels * (variance + mean.square()), pixels]), False)
        pixels = sums[-1].detach()
        mean, squares = (sums[:-1] / pixels).chunk(2)
        variance = squares - mean.square()
        self._remember(mean.detach(), variance.detach() * pixels / (pixels - 1))
        scale = self.weight * (variance + self.eps).rsqrt().float()
        # Times one, for a slope of its own: of one pixel, autograd hands the same one on to all biases whose sum
        # follows, and what later pieces of the batch add to it would be added once for each.
        shift = 1 * self.bias - mean.float() * scale
        return torch.addcmul(shift.view(1, -1, 1, 1), x.float(), scale.view(1, -1, 1, 1)).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var), self.momentum)


def share_batch_norms(network: nn.Module) -> None:
    """Let the batch norms of a network see the images of all processes."""
    if count() > 1:
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = SharedBatchNorm  # its parameters and names stay


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by those of the first process, in place."""
    if count() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


@torch.no_grad()
def add_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Add up the gradients of all processes; one that no process has stays None, as in one process."""
    if count() == 1:
        return
    present = [float(parameter.grad is not None) for parameter in parameters]
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    sums = _add_up(torch.cat([*(part.flatten().float() for part in parts), parts[0].new_tensor(present)]))
    *gradients, present = sums.split([*(p.numel() for p in parameters), len(parameters)])
    for parameter, gradient, somewhere in zip(parameters, gradients, present.tolist(), strict=True):
        parameter.grad = gradient.view_as(parameter) if somewhere else None
