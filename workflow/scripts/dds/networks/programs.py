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
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import cache, partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any

import torch
from torch import Tensor, nn

from dds.files import atomic_path
from dds.networks.bytecode import with_inner
from dds.reasons import first_line

logger = logging.getLogger(__name__)

#: The memory that CUDA graphs share, as `torch.cuda.graph_pool_handle` numbers it.
Pool = tuple[int, int]

#: Settings of PyTorch's compiler. A sum of more than two maps is written where it is used again; by
#: default only one of more than four is, and a residual network reads all of its blocks' anew.
COMPILER = {"realize_reads_threshold": 2}

#: Called with a network and its inputs; what `torch.compiler.load_compiled_function` returns.
Compiled = Callable[..., Tensor]

#: What is told apart by its value, where tracing reads it.
_PLAIN = (
    NoneType, bool, int, float, complex, str, bytes, range, slice, Enum,
    torch.dtype, torch.device, torch.layout, torch.memory_format,
)  # fmt: skip


#: What every module has.
_BLANK = vars(nn.Module())


class Program:
    """A network's forward pass as one compiled program for each shape of its inputs.

    A program is looked for in a folder and put there, under a name that holds what it was made
    from: see `structure` and `_circumstances`. With it is kept what tracing read beside that, such
    as constants of modules: where any of it, or code, has changed since, the program is made anew.
    On a GPU a program runs as a CUDA graph.

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
    What tracing does not go through is not compared: what lies behind an operator of a library.
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
        path = self._folder / f"{_hash(json.dumps(about))}.program"
        given = {"network": self._network, "inputs": inputs}
        program = _load(path, given)
        if program is None:
            self.found = False
            guards: list[Any] = []
            whole = torch.compile(
                _answer,
                fullgraph=True,
                dynamic=False,
                options=COMPILER | {"guard_filter_fn": partial(_take_all, guards)},
            )
            program = whole.aot_compile(((self._network, *inputs), {}))
            _save(program, _read(guards, _names(program, given)), path)
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
        If the network holds something that does not show its state, such as a lock, or a module
        whose code is of no file.

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
    return [_kind(value), *(_describe(part, seen) for part in _parts(value))]


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _parts(value: Any) -> Iterable[Any]:
    """Return what an object is made of."""
    if isinstance(value, Tensor):
        memory = value.untyped_storage(), value.storage_offset()
        # Compiling leaves notes on tensors.
        own = [part for part in vars(value).items() if not part[0].startswith("_dynamo")]
        return *_layout(value), value.requires_grad, *memory, *own
    if isinstance(value, torch.UntypedStorage):
        return ()
    if isinstance(value, nn.Module):  # not as pickled: some leave out what they make again
        if inspect.getmodule(inspect.unwrap(type(value).forward).__code__) is None:
            raise TypeError(f"{_kind(value)} is of no module, such as what a notebook defines")
        return [part for part in vars(value).items() if not _is_of_any_module(*part)]
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


def _is_of_any_module(name: str, value: Any) -> bool:
    """Tell whether an attribute is that of a module without hooks, weights and parts."""
    # Whether it is compiled is no part of what it computes.
    return name == "_compiled_call_impl" or (name in _BLANK and value == _BLANK[name])


def _of_code(code: CodeType) -> tuple[Any, ...]:
    """Return what tells functions of one name apart, as lambdas on one line are."""
    constants = [_of_code(e) if isinstance(e, CodeType) else e for e in code.co_consts]
    return code.co_firstlineno, code.co_code, code.co_names, constants


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return str(tensor.dtype), tuple(tensor.shape), tensor.stride(), str(tensor.device)


def _circumstances(device: torch.device) -> list[Any]:
    """Return what decides how torch computes, beside the network."""
    from torch._inductor import config  # not at the top: most processes compile nothing

    return [
        torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else None,
        _describe(config.save_config_portable(), {}),
        str(torch.get_default_device()),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
        torch.backends.cuda.cudnn_sdp_enabled(),
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


def _take_all(taken: list[Any], guards: Sequence[Any]) -> list[bool]:
    """Take guards from torch, which would look at them in every call."""
    taken += guards
    return [False] * len(guards)


def _names(program: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the names in guards' expressions stand for: modules, and what a program takes."""
    # What else a program has of global variables, no later process has.
    modules = {
        name: value
        for name, value in program.fn.__globals__.items()
        if name.startswith("__import_")
    }
    return {"G": modules, "L": given}


def _read(guards: Iterable[Any], names: Mapping[str, Any]) -> dict[str, str]:
    """Return what tracing read: for each expression, as guards have them, what its value was."""
    wanted = sorted({guard.orig_guard.name for guard in guards if guard.has_value})
    found = {expression: _look(expression, names) for expression in wanted}
    return {expression: value for expression, value in found.items() if value is not None}


def _look(expression: str, names: Mapping[str, Any]) -> str | None:
    """Return a hash of an expression's value today, or None where it has none."""
    try:
        value = eval(expression, dict(names))
    except Exception:  # such as KeyError, for Python's own functions
        return None
    return _hash(json.dumps(_glance(value)))


def _glance(value: Any) -> Any:
    """Describe a value, but not what is in objects: what is read of them has its own expression."""
    if inspect.ismodule(value):
        return value.__name__, _source(value)
    if hasattr(value, "__qualname__"):  # a function, a class, or made of one, as by Triton
        home, name = getattr(value, "__module__", ""), value.__qualname__
        code = getattr(value, "__code__", None)  # of a class of functions no code
        code = _describe(_of_code(code), {}) if isinstance(code, CodeType) else None
        return home, name, _source(sys.modules.get(home)), code
    if isinstance(value, dict | set | frozenset):
        return _kind(value), sorted(json.dumps(_glance(key)) for key in value)
    if isinstance(value, list | tuple):
        return _kind(value), [_glance(part) for part in value]
    return _describe(value, {}) if isinstance(value, _PLAIN) else _kind(value)


@cache
def _source(module: ModuleType | None) -> str | None:
    """Return a hash of a module's source; None for other modules, and where that has changed."""
    try:
        text = inspect.getsource(module)
        compiled = compile(text, module.__file__, "exec", dont_inherit=True)
    except (TypeError, OSError, SyntaxError):
        return None
    there = set(with_inner(compiled))
    loaded = (each for holder in _holders(module) for each in vars(holder).values())
    functions = (inspect.unwrap(each) for each in loaded if inspect.isfunction(each))
    codes = (each.__code__ for each in functions if inspect.isfunction(each))
    is_loaded = all(code in there for code in codes if code.co_filename == module.__file__)
    return _hash(text) if is_loaded else None


def _holders(module: ModuleType) -> Iterator[Any]:
    yield module
    yield from (each for each in vars(module).values() if inspect.isclass(each))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _load(path: Path, given: Mapping[str, Any]) -> Any | None:
    """Return the program that a file holds, or None where there is none for today's code."""
    from torch._inductor import config  # not at the top: most processes compile nothing

    try:
        # torch would start processes to compile in, and wait for them in the end.
        with path.open("rb") as file, config.patch(compile_threads=1):
            read = json.loads(file.readline())
            program = torch.compiler.load_compiled_function(file)
        names = _names(program, given)
        is_alike = all(_look(each, names) == value for each, value in read.items())
        return program if is_alike and _is_current(program) else None
    except OSError:
        return None
    except Exception as error:  # damaged, or of another torch: whatever it is, it can be remade
        logger.warning("%s is not used: %s", path, first_line(error))
        return None


def _is_current(program: Any) -> bool:
    """Tell whether all modules that tracing went through are what they were."""
    modules = {source.module: source.content for source in program.source_info().inlined_sources}
    return all(
        _source(importlib.import_module(name)) == _hash(content)
        for name, content in modules.items()
    )


def _save(program: Any, read: Mapping[str, str], path: Path) -> None:
    if not _is_current(program):
        logger.info("%s is not kept: code has changed since it was loaded", path)
        return
    try:
        with atomic_path(path) as temporary:
            program.save_compiled_function(str(temporary))
            content = temporary.read_bytes()
            temporary.write_bytes(json.dumps(read).encode() + b"\n" + content)
    except Exception as error:  # a full disk, or a program that holds what cannot be written
        logger.warning("%s is not kept: %s", path, first_line(error))
