"""Collective operations for one training in several processes that ``torchrun`` started.

Each process computes its shard of every batch. The loss of a batch is a ratio of sums over its images, so the processes
all-reduce these sums, and each computes the loss of the whole batch. After that, the gradients only need to be added:
once per step, in one buffer. torch's DistributedDataParallel does not fit, because it expects one call of ``forward``
per step; ours is called in pieces, each twice, and by other names. And with a frozen base, there is too little to send
to gain from sending it during the backward pass.

Outside ``process_group``, every function here works for a single process.
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

# A process may wait long for another one that reads an archive, validates, or is paused over the weekend. torchrun, not
# a time limit, notices that a process has died.
_LONGEST = timedelta(days=7)


@contextlib.contextmanager
def process_group(team: Team) -> Iterator[None]:
    """Connect the processes of a team in the block; do nothing for one process, or if they are connected."""
    if team.world_size == 1 or dist.is_initialized():
        yield
        return
    # Import this before the group exists: its functions keep a group that exists at import, which can then never be
    # destroyed, and whose threads can abort the process at exit ("terminate called without an active exception").
    import torch.distributed.nn

    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    dist.init_process_group(backend, timeout=_LONGEST, store=team.store(), rank=team.rank, world_size=team.world_size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def training_device(team: Team, name: str) -> tuple[torch.device, str]:
    """Choose the GPU of this process, or its share of the CPU cores.

    :raises DeviceError: the device does not exist, or several processes would have to share it.
    """
    if team.world_size == 1:
        return team.device(name)
    gpus, processes = torch.cuda.device_count(), team.local_world_size
    if name in ("auto", "cuda") and gpus and gpus < processes:
        raise DeviceError(
            f"{processes} processes cannot share {gpus} GPU{'s' * (gpus > 1)}: each needs its own.",
            f"Start only {gpus} process{'es' * (gpus > 1)} on this computer, or train on the CPU.",
            setting="device",
            value="cpu",
        )
    if processes > 1 and name.startswith("cuda:"):
        raise DeviceError(
            f"{processes} processes cannot share '{name}'.",
            "Choose no particular GPU: each process then takes its own.",
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
    return device, f"{reason}; {team.world_size} processes"


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process; rank 0 decides, writes files and talks to the user."""
    return dist.get_rank() if dist.is_initialized() else 0


def shard(items: Sequence[T]) -> Sequence[T]:
    """The items of this rank, every n-th for n processes: rank 1 of 3 gets items 1, 4, 7, …"""
    return items[rank() :: world_size()]


def on_rank_zero(work: Callable[[], T]) -> T:
    """Call ``work`` on rank 0 only and return its result on every rank; the others wait for it.

    :raises UserError: on every rank, if ``work`` raised it.
    """
    if world_size() == 1:
        return work()
    outcomes: list[Any] = [_outcome(work) if rank() == 0 else None]
    dist.broadcast_object_list(outcomes, device=torch.device("cpu"))
    _raise_first_error(outcomes)
    return outcomes[0][0]


def all_gather(work: Callable[[], T]) -> list[T]:
    """Call ``work`` on every rank and return the results of all ranks, by rank.

    :raises UserError: on every rank, if ``work`` raised it on one.
    """
    if world_size() == 1:
        return [work()]
    outcomes: list[Any] = [None] * world_size()
    dist.all_gather_object(outcomes, _outcome(work))
    _raise_first_error(outcomes)
    return [result for result, _ in outcomes]


def on_every_rank(work: Callable[[], T]) -> T:
    """Call ``work`` on every rank and return the result of this rank, which is not sent.

    :raises UserError: on every rank, if ``work`` raised it on one, so that none goes on alone.
    """
    results: list[T] = []
    all_gather(lambda: results.append(work()))
    return results[0]


def map_over_ranks(work: Callable[[T], Any], items: Sequence[T]) -> list[Any]:
    """Return ``[work(item) for item in items]`` on every rank; each rank computes its shard.

    :raises UserError: on every rank, if ``work`` raised it on one.
    """
    shards = all_gather(lambda: [work(item) for item in shard(items)])
    # Shards of unequal length end in None, which the last slice removes: [0, 2, 4], [1, 3] -> 0 1 2 3 4 None.
    return [result for row in itertools.zip_longest(*shards) for result in row][: len(items)]


def _outcome(work: Callable[[], Any]) -> tuple[Any, UserError | None]:
    try:
        return work(), None
    except UserError as error:
        return None, error


def _raise_first_error(outcomes: list[tuple[Any, UserError | None]]) -> None:
    for _, error in outcomes:
        if error is not None:
            raise error


class OutOfMemoryElsewhere(MemoryError):
    """Another rank ran out of memory, so that no rank can finish this batch."""


class _Traffic:
    """Bytes of tensors that this process has all-reduced."""

    sent = 0


def bytes_sent() -> int:
    """Bytes of tensors that this process has all-reduced so far."""
    return _Traffic.sent


def report_out_of_memory() -> None:
    """Tell the other ranks, which wait in their next all-reduce, that this one has failed."""
    if world_size() > 1:
        with contextlib.suppress(OutOfMemoryElsewhere):
            _meet(failed=True)


def _meet(failed: bool = False) -> None:
    """Ask all ranks whether one has failed, so that none waits for a rank that never comes."""
    flag = torch.tensor(float(failed))
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    if flag:
        raise OutOfMemoryElsewhere("Memory ran out in another process.")


def _all_reduce(tensor: Tensor) -> Tensor:
    """Replace a tensor by its sum over the ranks."""
    _meet()
    _Traffic.sent += tensor.nbytes
    dist.all_reduce(tensor)
    return tensor


class _Sum(torch.autograd.Function):
    """Sum of a tensor over the ranks, with the gradient for what the ranks compute from the sum.

    ``alike`` true: every rank computes the same scalar (the loss of the whole batch), so each has the whole gradient.
    ``alike`` false: each rank computes something about its own images (batch norm), and the gradient is the sum over
    all ranks.
    """

    @staticmethod
    def forward(ctx, tensor: Tensor, alike: bool) -> Tensor:
        ctx.alike = alike
        return _all_reduce(tensor.clone())

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return (gradient if ctx.alike else _all_reduce(gradient.clone())), None


def all_reduce(tensor: Tensor) -> Tensor:
    """Sum over the ranks, from which each rank computes the same loss; gradients flow to this rank's part."""
    return _Sum.apply(tensor, True) if world_size() > 1 else tensor


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm with the statistics of the images of all ranks; torch's ``SyncBatchNorm`` needs GPUs."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the images (B, C, H, W) of this rank by mean and variance over the images of all ranks.

        Ranks may hold different numbers of images. On rank r, one channel has n_r = B * H * W pixels with mean m_r and
        variance v_r. The ranks all-reduce one vector (2 C + 1,): n_r m_r and n_r (v_r + m_r²) of each channel, and n_r.
        From the sums follow::

            N = sum of n_r,    mean = sum of n_r m_r / N,    variance = sum of n_r (v_r + m_r²) / N - mean²

        Two ranks, one channel: pixels 1, 3 (n = 2, m = 2, v = 1) and 8 (n = 1, m = 8, v = 0) give N = 3,
        mean = (4 + 8) / 3 = 4 and variance = (2 * 5 + 64) / 3 - 16 = 8.67, which is that of 1, 3, 8.
        """
        if not self.training or world_size() == 1:
            return super().forward(x)
        channels = x.shape[1]
        variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
        # In float64: "mean of squares - square of mean" cancels most digits where the mean is large.
        variance, mean = variance.double(), mean.double()
        pixels = mean.new_full((1,), x.numel() / channels)
        sums = _Sum.apply(torch.cat([pixels * mean, pixels * (variance + mean.square()), pixels]), False)
        values, squares, pixels = sums.split([channels, channels, 1])
        pixels = pixels.detach()
        mean = values / pixels
        variance = squares / pixels - mean.square()
        self._update_running_statistics(mean.detach(), variance.detach() * pixels / (pixels - 1))
        # weight * (x - mean) / std + bias, as one product and one sum.
        scale = self.weight * (variance + self.eps).rsqrt().float()
        # "1 *" gives the bias its own gradient tensor. For maps of a single pixel, autograd would give several biases
        # the same tensor, and what a later piece of the batch adds to one of them would reach all.
        shift = 1 * self.bias - mean.float() * scale
        return torch.addcmul(shift.view(1, -1, 1, 1), x.float(), scale.view(1, -1, 1, 1)).to(x.dtype)

    @torch.no_grad()
    def _update_running_statistics(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var), self.momentum)


def share_batch_norms(network: nn.Module) -> None:
    """Let the batch norms of a network use the images of all ranks."""
    if world_size() > 1:
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = SharedBatchNorm  # parameters and their names stay


def broadcast_from_rank_zero(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by those of rank 0, in place."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


@torch.no_grad()
def all_reduce_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Add the gradients of all ranks; a gradient that no rank has stays None, as in a single process."""
    if world_size() == 1:
        return
    present = [float(parameter.grad is not None) for parameter in parameters]
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    sums = _all_reduce(torch.cat([*(part.flatten().float() for part in parts), parts[0].new_tensor(present)]))
    *gradients, present = sums.split([*(p.numel() for p in parameters), len(parameters)])
    for parameter, gradient, somewhere in zip(parameters, gradients, present.tolist(), strict=True):
        parameter.grad = gradient.view_as(parameter) if somewhere else None
