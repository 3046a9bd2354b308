"""Our kernels compile for the GPUs that they are for, where there is none.

Triton's interpreter, in which their numerics are tested, takes much that its compiler refuses.
"""

import pytest

pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from dds.networks import biased_attention, linear_gelu
from dds.networks._biased_attention_kernel import attend
from dds.networks._group_norm_kernel import differentiate, normalise
from dds.networks._linear_gelu_kernel import multiply

#: What a program may take of the memory that a multiprocessor shares, in bytes.
SHARED = {80: 163 * 1024, 90: 227 * 1024}


@pytest.fixture(autouse=True)
def anew(tmp_path, monkeypatch):
    """Find no kernel that an earlier run has compiled."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def tile(rows, columns):
    return f"tensordesc<bf16[{rows}, {columns}]>"


def compiled(kernel, capability, types, constants, **options):
    """Compile a kernel for arguments of some types, in their order, and constants."""
    names = kernel.arg_names
    constants = {(names.index(name),): value for name, value in constants.items()}
    types = dict(zip(names, [*types, *["constexpr"] * len(constants)], strict=True))
    source = ASTSource(kernel, types, constants)
    return compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def test_attention_with_a_bias_is_a_program_of_hopper():
    size, width = biased_attention._TILE, biased_attention._WIDTH
    types = [tile(size, width), tile(size, size), tile(size, width), *["*bf16"] * 3]
    program = compiled(
        attend, 90, [*types, "i32", "i32", "i32", "i32", "fp32"], {"TILE": size, "WIDTH": width},
        num_warps=biased_attention._WARPS, num_stages=biased_attention._STAGES,
    )  # fmt: skip
    # Matrix products and reading of tiles as this generation has them; four programs at once.
    assert "wgmma.mma_async" in program.asm["ptx"]
    assert "cp.async.bulk.tensor" in program.asm["ptx"]
    assert program.metadata.shared <= SHARED[90] / 4


def test_a_layer_with_its_activation_is_a_program_of_hopper():
    sizes = {"ROWS": linear_gelu._ROWS, "COLUMNS": linear_gelu._COLUMNS,
             "DEPTH": linear_gelu._DEPTH, "BAND": linear_gelu._BAND}  # fmt: skip
    x, weight = tile(sizes["ROWS"], sizes["DEPTH"]), tile(sizes["COLUMNS"], sizes["DEPTH"])
    y = tile(sizes["ROWS"], sizes["COLUMNS"] // 2)
    program = compiled(
        multiply, 90, [x, weight, "*fp32", y, "i32", "i32", "i32"], sizes,
        num_warps=linear_gelu._WARPS, num_stages=linear_gelu._STAGES,
    )  # fmt: skip
    assert "wgmma.mma_async" in program.asm["ptx"]
    assert "cp.async.bulk.tensor" in program.asm["ptx"]
    assert program.metadata.shared <= SHARED[90]


#: A map of 128 channels in 32 groups, with all that a normalisation may come with.
GROUPS = {"SIZE": 4, "GROUPS": 32, "GROUPS_PADDED": 32, "COLUMNS": 128, "ROWS": 32}


@pytest.mark.parametrize("capability", SHARED)
@pytest.mark.parametrize("once", [True, False])
def test_a_normalisation_is_a_program_of_any_generation(once, capability):
    types = ["*bf16", "*bf16", *["*fp32"] * 4, "*bf16", "*bf16", "i32", "i32", "fp32"]
    options = {"ONCE": once, "HAS_BEFORE": True, "HAS_SCALE": True, "SILU": True}
    program = compiled(normalise, capability, types, GROUPS | options, num_warps=4)
    assert program.metadata.shared <= SHARED[capability]


@pytest.mark.parametrize("capability", SHARED)
def test_its_derivative_is_a_program_of_any_generation(capability):
    types = ["*bf16", "*bf16", *["*fp32"] * 3, "*bf16", "*bf16", "*bf16", "*fp32", "i32", "i32"]
    program = compiled(
        differentiate, capability, types, GROUPS | {"HAS_SCALE": True, "SILU": True}, num_warps=4
    )
    assert program.metadata.shared <= SHARED[capability]
