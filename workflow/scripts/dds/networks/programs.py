"""Networks as whole programs, which later processes find again without tracing anything.

What torch.compile itself keeps between processes is kernels. To find them it traces a network
again, and that takes longer than all else that a process does before its first batch.
"""

from __future__ import annotations

import copyreg
import hashlib
import importlib
import inspect
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from dds.files import atomic_path
from dds.reasons import first_line

logger = logging.getLogger(__name__)

#: The memory that CUDA graphs share, as `torch.cuda.graph_pool_handle` numbers it.
Pool = tuple[int, int]

#: Called with a network and its inputs; what `torch.compiler.load_compiled_function` returns.
Compiled = Callable[..., Tensor]


class Program:
    """A network's forward pass as one compiled program for each shape of its inputs.

    A program is looked for in a folder and put there, under a name that holds all that it was
    made from: see `structure` and `_circumstances`. One that went through code that has changed
    since is made anew. On a GPU a program runs as a CUDA graph.

    Parameters
    ----------
    network : Module
        In evaluation mode, on its device. Its inputs are tensors; it returns one, or an object
        that holds it as ``.logits`` or ``.sample``, in the place of which it stands.
    folder : Path
        Of one kind of device. What lies there is code that is run: nobody else may write to it.
    instead : callable
        Compiles the network in another way, where tracing it whole fails.
    pool : tuple of int or None
        The memory that CUDA graphs share, from `torch.cuda.graph_pool_handle`.

    Attributes
    ----------
    found : bool
        Whether every program so far was in the folder.

    Notes
    -----
    Values of modules' global variables are held to be what the source says.
    """

    def __init__(
        self,
        network: nn.Module,
        folder: Path,
        instead: Callable[[], None],
        pool: Pool | None,
    ) -> None:
        self._network, self._folder, self._instead, self._pool = network, folder, instead, pool
        self._ready: dict[Any, Compiled] = {}
        self.found = True

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Run the network."""
        key = tuple(map(_layout, inputs))
        if key not in self._ready:
            self._ready[key] = self._get_ready(inputs)
        return self._ready[key](*inputs)

    def forget(self, pool: Pool | None) -> None:
        """Free the memory of what ran so far, and take another from now on."""
        self._ready.clear()
        self._pool = pool

    def _get_ready(self, inputs: tuple[Tensor, ...]) -> Compiled:
        try:
            program = partial(self._find(inputs), self._network)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # such as what torch cannot trace whole
            name = type(self._network).__name__
            logger.info("%s is not one program: %s", name, first_line(error))
            self._instead()
            self.found = False
            return self._network
        return _Graph(program, inputs, self._pool) if inputs[0].is_cuda else program

    def _find(self, inputs: tuple[Tensor, ...]) -> Compiled:
        """Return the program for inputs, from the folder or made and put there."""
        layouts = [_layout(tensor) for tensor in inputs]
        about = [structure(self._network), layouts, _circumstances(inputs[0].device)]
        name = hashlib.sha256(json.dumps(about).encode()).hexdigest()
        path = self._folder / f"{name[:32]}.program"
        program = _load(path)
        if program is None:
            self.found = False
            whole = torch.compile(
                _answer,
                fullgraph=True,
                dynamic=False,
                # What guards would look at in every call is what the name holds.
                options={"guard_filter_fn": torch.compiler.skip_all_guards_unsafe},
            )
            program = whole.aot_compile(((self._network, *inputs), {}))
            _save(program, path)
        program.disable_guard_check()
        return program


class _Graph:
    """A program as a CUDA graph: Python takes longer to queue kernels than a GPU to run them."""

    def __init__(self, program: Compiled, inputs: tuple[Tensor, ...], pool: Pool | None) -> None:
        program(*inputs)  # kernels are loaded and libraries make their choices, which none may hold
        self._inputs = [tensor.clone() for tensor in inputs]
        self._graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.device(inputs[0].device),
            torch.cuda.graph(self._graph, pool, capture_error_mode="thread_local"),
        ):
            self._output = program(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given)
        self._graph.replay()
        return self._output.clone()  # the next call writes over it


def structure(network: nn.Module) -> Any:
    """Describe all that a network's objects hold, but for the values of its weights.

    Parameters
    ----------
    network : Module
        Any.

    Returns
    -------
    object
        Of lists, strings, numbers and None. What two networks of the same code compute from the
        same weights and inputs differs only where this does.

    Raises
    ------
    TypeError
        If the network holds something that does not show its state, such as a lock.

    Examples
    --------
    >>> structure(torch.nn.ReLU()) == structure(torch.nn.ReLU())
    True
    >>> structure(torch.nn.Dropout(0.1)) == structure(torch.nn.Dropout(0.2))
    False
    """
    return _describe(network, {})


def _describe(value: Any, seen: dict[int, tuple[int, Any]]) -> Any:
    """Describe a value; `seen` numbers what has been, by its id."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | complex | bytes):
        return [type(value).__name__, repr(value)]
    if id(value) in seen:  # what is shared, such as tied weights, or holds itself
        return ["again", seen[id(value)][0]]
    seen[id(value)] = (len(seen), value)  # held, lest another object gets its id
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return [kind, *(_describe(part, seen) for part in _parts(value))]


def _parts(value: Any) -> Iterable[Any]:
    """Return what an object is made of."""
    if isinstance(value, Tensor):
        return _layout(value)
    if isinstance(value, nn.Module):  # not as pickled: some leave out what they make again
        return [part for part in vars(value).items() if part[0] != "_compiled_call_impl"]
    if type(value) is dict:
        return value.items()
    if type(value) in (list, tuple):
        return value
    if type(value) in (set, frozenset):
        return sorted(value)
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        defaults = (value.__defaults__, value.__kwdefaults__)
        return value.__module__, value.__qualname__, *_of_code(value.__code__), cells, *defaults
    if isinstance(value, MethodType):
        return value.__func__, value.__self__
    is_free = inspect.isroutine(value) and not hasattr(value, "__self__")
    if is_free or inspect.isclass(value) or inspect.ismodule(value):
        return getattr(value, "__module__", ""), getattr(value, "__qualname__", value.__name__)
    # Whatever else it is: what pickle would make it of.
    reduce = copyreg.dispatch_table.get(type(value))
    reduced = reduce(value) if reduce else value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return getattr(value, "__module__", ""), reduced
    make, arguments, *state = reduced
    return make, arguments, *(list(part) if isinstance(part, Iterator) else part for part in state)


def _of_code(code: CodeType) -> tuple[Any, ...]:
    """Return what tells functions of one name apart, as lambdas on one line are."""
    constants = [each for each in code.co_consts if not isinstance(each, CodeType)]
    return code.co_firstlineno, code.co_code, code.co_names, constants


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return str(tensor.dtype), tuple(tensor.shape), tensor.stride(), str(tensor.device)


def _circumstances(device: torch.device) -> list[Any]:
    """Return what decides how torch computes, beside the network."""
    return [
        torch.__version__,
        torch.is_autocast_enabled(device.type),
        str(torch.get_autocast_dtype(device.type)),
        torch.is_inference_mode_enabled(),
        str(torch.get_default_dtype()),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.enabled,
        torch.backends.cudnn.benchmark,
    ]


def _answer(network: nn.Module, *inputs: Tensor) -> Tensor:
    answer = network._call_impl(*inputs)  # as it comes, whatever it is called as
    return getattr(answer, "logits", getattr(answer, "sample", answer))


def _load(path: Path) -> Any | None:
    """Return the program that a file holds, or None where there is none for today's code."""
    from torch._inductor import config  # not at the top: most processes compile nothing

    try:
        # torch would start processes to compile in, and wait for them in the end.
        with path.open("rb") as file, config.patch(compile_threads=1):
            program = torch.compiler.load_compiled_function(file)
        return program if _is_current(program) else None
    except OSError:
        return None
    except Exception as error:  # damaged, or of another torch: whatever it is, it can be remade
        logger.warning("%s is not used: %s", path, first_line(error))
        return None


def _is_current(program: Any) -> bool:
    """Tell whether all modules that tracing went through are what they were."""
    modules = {source.module: source.content for source in program.source_info().inlined_sources}
    return all(
        inspect.getsource(importlib.import_module(name)) == content
        for name, content in modules.items()
    )


def _save(program: Any, path: Path) -> None:
    try:
        with atomic_path(path) as temporary:
            program.save_compiled_function(str(temporary))
    except Exception as error:  # a full disk, or a program that holds what cannot be written
        logger.warning("%s is not kept: %s", path, first_line(error))
