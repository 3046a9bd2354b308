"""Networks made into one program each by torch.compile, where that pays.

Where kernels are kept from one process to the next is torch's business and its caller's
(``TORCHINDUCTOR_CACHE_DIR``). Whole programs are kept where the caller says.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from dds.networks.programs import COMPILER, Pool, Program
from dds.progress import preparing
from dds.reasons import first_line

logger = logging.getLogger(__name__)

#: FLOP for which a network is compiled. On an H100 networks take 10 s for them as they come and
#: 3 to 5 when compiled; compiling takes 10 to 20 s, or 2 where an earlier process has done it.
WORTH_COMPILING = 1e15


def worth_compiling(
    networks: Sequence[nn.Module], run: Callable[[], None], samples: int
) -> list[nn.Module]:
    """Return the networks that have enough to do.

    What they have to do is counted, not timed: the same work always finds the same answer.

    Parameters
    ----------
    networks : sequence of Module
        The networks.
    run : callable
        Runs them all on one sample.
    samples : int
        How many are to be run.

    Returns
    -------
    list of Module
        Those that do at least `WORTH_COMPILING` FLOP.
    """
    flops = flops_of(networks, run)
    return [
        network
        for network, each in zip(networks, flops, strict=True)
        if each * samples >= WORTH_COMPILING
    ]


def flops_of(networks: Sequence[nn.Module], run: Callable[[], None]) -> list[int]:
    """Count the FLOP of each network's matrix products and convolutions while `run` runs."""
    from torch.utils.flop_counter import FlopCounterMode

    flops = [0] * len(networks)
    with FlopCounterMode(display=False) as counter:

        def add(index: int, sign: int, *_: object) -> None:
            flops[index] += sign * counter.get_total_flops()

        hooks = []
        for index, network in enumerate(networks):
            hooks.append(network.register_forward_pre_hook(partial(add, index, -1)))
            hooks.append(network.register_forward_hook(partial(add, index, +1)))
        try:
            run()
        finally:
            for hook in hooks:
                hook.remove()
    return flops


def compile_networks(
    networks: Sequence[nn.Module],
    run: Callable[[], None],
    *,
    once: bool,
    programs: Path | None = None,
) -> bool:
    """Compile networks, in place, for batches of few shapes; tell whether that worked.

    Parameters
    ----------
    networks : sequence of Module
        Changed in place. Without a compiler at hand they stay as they are.
    run : callable
        Runs them all on the largest batch.
    once : bool
        Whether each runs once a batch, so that CUDA graphs can hold the whole batch.
    programs : Path, optional
        The folder of whole programs, see `dds.networks.programs.Program`. Without one networks
        are traced in every process.
    """
    # All instances of a class share one limit on how many shapes are compiled.
    torch._dynamo.config.recompile_limit = max(
        torch._dynamo.config.recompile_limit, 8 * len(networks)
    )
    options, pool = COMPILER | {"triton.cudagraphs": once}, _graph_pool()
    kept = []
    for network in networks:
        as_usual = partial(network.compile, dynamic=False, options=options)
        if programs is None:
            as_usual()
        else:
            kept.append(Program(network, programs, as_usual, pool))
            network._compiled_call_impl = kept[-1]
    what = "1 network" if len(networks) == 1 else f"{len(networks)} networks"
    logger.info("compiling %s", what)
    started = time.monotonic()
    try:
        with preparing(f"compiling {what}"):
            run()
    except torch.OutOfMemoryError:
        return True  # a matter of the batch size alone
    except Exception as error:  # compilers and drivers fail in many ways, none of them fatal here
        logger.warning("torch.compile failed, going on without: %s", first_line(error))
        for network in networks:
            undo_compilation(network)
        return False
    verb = "found" if kept and all(program.found for program in kept) else "compiled"
    logger.info("%s %s in %.1f s", verb, what, time.monotonic() - started)
    return True


def undo_compilation(network: nn.Module) -> None:
    """Let a network run as it comes again."""
    network._compiled_call_impl = None


def free_programs(networks: Sequence[nn.Module]) -> None:
    """Free the memory that compiled networks hold; they are compiled again when they next run."""
    torch.compiler.reset()
    pool = _graph_pool()
    for network in networks:
        if isinstance(network._compiled_call_impl, Program):
            network._compiled_call_impl.forget(pool)


def _graph_pool() -> Pool | None:
    return torch.cuda.graph_pool_handle() if torch.cuda.is_available() else None
