"""Faster arithmetic for networks that are only run, never trained.

What is here changes how long a network takes and, like any other order of summation,
the last bits of what it computes. The choice follows from the device and the
precision alone, never from a timing, so that a network stays one fixed function.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from dds.networks.parts import computed_in

PRECISIONS = ("float32", "bfloat16")

# bfloat16 costs digits; it has to save a third of the time to be worth them.
_WORTH_BFLOAT16 = 1.5

# Batch sizes that reach this share of the best rate count as equally fast.
_ABOUT_AS_FAST = 0.95
_LARGEST_BATCH = 4096
_LONG_BATCH_SECONDS = 2.0

# Tokens above which fused attention is as fast on a CPU.
_LONG_SEQUENCE = 512


@contextmanager
def inference(
    device: str | torch.device, precision: str, *, compiled: bool = False
) -> Iterator[None]:
    """Run networks in a precision, with the fastest kernels of a device.

    Parameters
    ----------
    device : str or torch.device
        Where the networks run. On a GPU PyTorch's own kernels are the fastest; on a
        CPU linear layers and attention get others.
    precision : {"float32", "bfloat16"}
        Of matrix products and convolutions. Normalisation and sums of bfloat16
        products stay in float32.
    compiled : bool, optional
        Whether torch.compile chooses the kernels.

    Notes
    -----
    Weights must not change inside one ``with`` block, which may keep them repacked.
    """
    kind = torch.device(device).type
    ours = kind == "cpu" and not compiled and _has_packed_linear()
    # autocast keeps weights in float32 and rounds them on the way in.
    autocast = torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16")
    with torch.inference_mode(), autocast, _CPUKernels() if ours else nullcontext():
        yield


def choose_precision(wanted: str, device: str | torch.device) -> str:
    """Settle ``"auto"``: by a GPU's generation, on a CPU by timing a matrix product in both.

    Parameters
    ----------
    wanted : {"float32", "bfloat16", "auto"}
        Returned as it is, but for ``"auto"``.
    device : str or torch.device
        Where the networks will run.

    Returns
    -------
    {"float32", "bfloat16"}
        bfloat16 on GPUs with tensor cores for it, and on CPUs where it is at least 1.5 times
        as fast: those with AVX-512 BF16 or AMX. Takes a fraction of a second.

    Raises
    ------
    ValueError
        If the precision is unknown.
    """
    if wanted in PRECISIONS:
        return wanted
    if wanted != "auto":
        raise ValueError(f"unknown precision {wanted!r}; allowed: {', '.join(PRECISIONS)}, auto")
    # Other programs on the machine must not change the choice, for counts of two precisions cannot
    # be merged.
    device = torch.device(device)
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float32"
    return "bfloat16" if _speed_up(device) >= _WORTH_BFLOAT16 else "float32"


def _speed_up(device: torch.device) -> float:
    """Return how many times as fast a CPU multiplies in bfloat16 as in float32."""
    # Processor time of one thread, in turn and the best of many.
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        rates = [
            [matmul_rate(kind, device, 1024, clock=time.thread_time) for kind in PRECISIONS]
            for _ in range(5)
        ]
    finally:
        torch.set_num_threads(threads)
    float32, bfloat16 = map(max, zip(*rates, strict=True))
    return bfloat16 / float32


def matmul_rate(
    precision: str,
    device: str | torch.device,
    size: int = 2048,
    repeats: int = 5,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Measure how fast a device multiplies square matrices, in FLOP/s.

    Parameters
    ----------
    precision : {"float32", "bfloat16"}
        Of the factors.
    device : str or torch.device
        What is measured.
    size : int, optional
        Rows of each matrix; a product is ``2 * size**3`` FLOP.
    repeats : int, optional
        The fastest of so many counts, after one that does not.
    clock : callable, optional
        Gives the seconds so far.
    """
    # Casting them would take as long as multiplying them, on a GPU.
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    factor = torch.randn(size, size, device=device, dtype=dtype)
    weight = nn.Parameter(torch.randn_like(factor), requires_grad=False)
    fastest = float("inf")
    with inference(device, precision):
        for repeat in range(repeats + 1):
            started = clock()
            functional.linear(factor, weight)
            wait_for(device)
            if repeat:
                fastest = min(fastest, clock() - started)
    return 2 * size**3 / fastest


def fastest_batch_size(run: Callable[[int], None]) -> int:
    """Search the smallest batch size that is about as fast as any.

    Sizes double from 1 until two in a row bring nothing, a batch takes seconds, or
    memory is used up.

    Parameters
    ----------
    run : callable
        Runs a batch of a size, and waits for it.

    Returns
    -------
    int

    Raises
    ------
    torch.OutOfMemoryError
        If not even one sample fits.
    """
    rates: dict[int, float] = {}
    size, seconds = 1, 0.0
    while size <= _LARGEST_BATCH and seconds < _LONG_BATCH_SECONDS:
        try:
            run(size)
        except torch.OutOfMemoryError:
            if not rates:
                raise
            break
        started = time.perf_counter()
        run(size)
        seconds = time.perf_counter() - started
        rates[size] = size / seconds
        *earlier, last, latest = [0.0, 0.0, *rates.values()]
        if max(last, latest) * _ABOUT_AS_FAST < max(earlier, default=0.0):
            break
        size *= 2
    enough = _ABOUT_AS_FAST * max(rates.values())
    return min(size for size, rate in rates.items() if rate >= enough)


@contextmanager
def tf32(products: bool, convolutions: bool) -> Iterator[None]:
    """Let a GPU compute float32 matrix products and convolutions in TF32, or not.

    PyTorch comes with the first off and the second on. Both are restored at the end.

    Parameters
    ----------
    products, convolutions : bool
        What may be computed so.
    """
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend, allowed in zip(backends, (products, convolutions), strict=True):
            backend.allow_tf32 = allowed
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def current(device: str | torch.device) -> AbstractContextManager[None]:
    """Return a context in which a GPU is the current one, on which Triton runs its kernels."""
    device = torch.device(device)
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def wait_for(device: str | torch.device) -> None:
    """Wait until the device has done all that is queued on it."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


class _CPUKernels(TorchFunctionMode):
    """oneDNN's linear layers on repacked weights, and unfused attention in bfloat16.

    PyTorch hands float32 linear layers to MKL, which reaches half of oneDNN's rate on
    some CPUs, and its fused attention on CPUs takes longer in bfloat16 than two matrix
    products and a softmax, as long as the scores of a head stay in the cache.
    """

    def __init__(self) -> None:
        super().__init__()
        self._packed: dict[tuple[int, torch.dtype], tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.compiler.is_compiling():  # a network that its user compiles has its own kernels
            return func(*args, **kwargs)
        if func is functional.linear:
            return self._linear(*args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        return func(*args, **kwargs)

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        kind = computed_in(input)
        # Only parameters outlive a call, so that what is packed stays theirs.
        if not isinstance(weight, nn.Parameter) or input.ndim < 2 or not _can_pack(kind):
            return functional.linear(input, weight, bias)
        key = (id(weight), kind)
        if key not in self._packed:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.to(kind).contiguous())
            self._packed[key] = (weight, packed)
        return torch.ops.mkldnn._linear_pointwise(
            input.to(kind),
            self._packed[key][1],
            None if bias is None else bias.to(kind),
            "none",
            [],
            "",
        )


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    unusual = is_causal or enable_gqa or dropout_p
    if query.dtype != torch.bfloat16 or key.shape[-2] > _LONG_SEQUENCE or unusual:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = (query * factor) @ key.transpose(-1, -2)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1).to(value.dtype) @ value


def _has_packed_linear() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(
        torch.ops.mkldnn, "_reorder_linear_weight"
    )


def _can_pack(kind: torch.dtype) -> bool:
    if kind == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return kind == torch.float32
