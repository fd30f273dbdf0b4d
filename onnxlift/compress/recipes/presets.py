"""The recipes of each target, from the most to the least preferred where sizes are nearly equal.

Int8 comes before weights in blocks, because its products are the quickest; static before dynamic,
because nothing is quantized while the model runs; then what is only stored in fewer bits; fp32 is
the last.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from onnxlift.compress.recipes.recipe import FP32, WORST, Recipe
from onnxlift.compress.recipes.traits import LARGE_TABLE_BYTES, Traits
from onnxlift.compress.steps import Step
from onnxlift.compress.steps.clean import Clean
from onnxlift.compress.steps.embeddings import Embeddings
from onnxlift.compress.steps.float16 import Float16
from onnxlift.compress.steps.int8_dynamic import Int8Dynamic
from onnxlift.compress.steps.int8_static import Int8Static
from onnxlift.compress.steps.integers import PRODUCTS
from onnxlift.compress.steps.matmul_int8 import MatMulInt8, Saturation
from onnxlift.compress.steps.prune import Prune
from onnxlift.compress.steps.prune_structured import PruneStructured
from onnxlift.compress.steps.smooth_quant import SmoothQuant
from onnxlift.compress.steps.weight_blocks import WeightBlocks
from onnxlift.compress.steps.weight_storage import WeightStorage
from onnxlift_runtime.errors import RecipeInvalid

_TABLES: Final[Mapping[str, tuple[Embeddings, ...]]] = {
    "": (Embeddings(8),),
    "-tables4": (
        Embeddings(4, block=32, symmetric=False, smallest_bytes=LARGE_TABLE_BYTES),
        Embeddings(8, required=False),
    ),
}
_FOUR_BITS: Final = WeightBlocks(4, block=32, symmetric=False)


def x86_64() -> tuple[Recipe, ...]:
    """Recipes for Lambda on x86_64, which promises AVX2 alone: weights that cannot saturate its
    16-bit sums.

    One recipe takes no care of that; the gate shows on AVX2 what it is worth.
    """
    return (
        *_static("uint8", reduce_range=True),
        *_pruned("uint8", reduce_range=True),
        *_int8("avoid"),
        _smooth("int8-smooth-vnni", "ignore", isa_safe=False),
        *_plain("avoid"),
        *_blocks(),
        *_stored(reduce_range=True),
        FP32,
    )


def arm64() -> tuple[Recipe, ...]:
    """Recipes for Lambda on arm64, whose dot products sum in 32 bits and take signed
    activations.
    """
    return (
        *_static("int8", reduce_range=False),
        *_pruned("int8", reduce_range=False),
        *_int8("ignore"),
        *_plain("ignore"),
        *_blocks(),
        *_stored(reduce_range=False),
        FP32,
    )


def gpu() -> tuple[Recipe, ...]:
    """Recipes for the GPU worker, which multiplies float16 fastest; weights in blocks make smaller
    files.
    """
    return (Recipe("float16", (Clean(), Float16())), *_blocks(), _INT8_WEIGHTS, FP32)


PRESETS: Final[Mapping[str, Callable[[], tuple[Recipe, ...]]]] = {
    "x86_64": x86_64,
    "arm64": arm64,
    "gpu": gpu,
}


def recipes(target: str, traits: Traits | None = None) -> tuple[Recipe, ...]:
    """The recipes for a target, the preferred first; with ``traits`` only those that make sense for
    such a graph.

    Raises ``RecipeInvalid`` for a target nobody knows.
    """
    if target not in PRESETS:
        raise RecipeInvalid(
            f"there are no recipes for {target!r}; there are for {', '.join(PRESETS)}"
        )
    found = PRESETS[target]()
    if traits is None:
        return found
    fitting = (
        item for item in found if item.needs <= traits.names and not item.unless & traits.names
    )
    return tuple(_fitted(item, traits) for item in fitting)


def recipe(name: str, target: str, traits: Traits | None = None) -> Recipe:
    """The recipe of this name for a target; raises ``RecipeInvalid`` that names the legal ones."""
    known = {item.name: item for item in recipes(target)}
    if name not in known:
        raise RecipeInvalid(
            f"there is no recipe {name!r} for {target}; legal: auto, {', '.join(known)}"
        )
    return _fitted(known[name], traits) if traits else known[name]


def _fitted(item: Recipe, traits: Traits) -> Recipe:
    """A recipe without the steps that find nothing in the graph, unless it is made for them."""
    if "large_tables" in item.needs:
        return item
    steps = (step for step in item.steps if not step.trait or step.trait in traits.names)
    return replace(item, steps=tuple(steps))


def _static(activations: Literal["int8", "uint8"], *, reduce_range: bool) -> tuple[Recipe, ...]:
    """Ranges found ahead: for convolutions and plain layers; one range for all of an attention
    loses too much. The last one spares what is between the layers, and those before an output.
    """
    methods: tuple[Literal["minmax", "entropy", "percentile"], ...] = (
        "minmax",
        "entropy",
        "percentile",
    )
    layers = Int8Static(
        activation_type=activations, reduce_range=reduce_range, operators=PRODUCTS, heads="float"
    )
    found: dict[str, tuple[Step, ...]] = {
        "int8-static" if method == "minmax" else f"int8-static-{method}": (
            Int8Static(method, activation_type=activations, reduce_range=reduce_range),
        )
        for method in methods
    }
    found["int8-static-layers"] = (layers, WeightStorage(required=False))
    return tuple(
        Recipe(name, (Clean(), *steps), unless=frozenset({"attention"}))
        for name, steps in found.items()
    )


def _pruned(activations: Literal["int8", "uint8"], *, reduce_range: bool) -> tuple[Recipe, ...]:
    """For convolutions: narrower layers, and layers whose zeros cost nothing where the file is
    shipped compressed.
    """
    static = Int8Static(activation_type=activations, reduce_range=reduce_range)
    found = (
        ("structured-int8-static", PruneStructured(), static),
        ("prune-int8-static", Prune(sparsity=0.8), static),
        ("structured", PruneStructured()),
    )
    return tuple(
        Recipe(name, (Clean(), *steps), needs=frozenset({"convolutions"})) for name, *steps in found
    )


def _int8(saturation: Saturation) -> tuple[Recipe, ...]:
    """Int8 products from smoothed activations: all of them, with the worst in blocks, with small or
    large tables.
    """
    return tuple(
        _smooth(
            f"int8-smooth{f'-mix{protect}' if protect else ''}{tables}", saturation, protect, tables
        )
        for tables in _TABLES
        for protect in (0, 2, 4, 8)
        if not (tables and protect == 2)
    )


def _smooth(
    name: str, saturation: Saturation, protect: int = 0, tables: str = "", *, isa_safe: bool = True
) -> Recipe:
    protected = (WeightBlocks(8, only=WORST),) if protect else ()
    steps = (
        Clean(),
        SmoothQuant(),
        *_TABLES[tables],
        *protected,
        MatMulInt8(saturation=saturation),
    )
    tags = {"protect": protect, "isa_safe": isa_safe, "batch_stable": False}
    return _of_projections(name, *steps, with_tables=bool(tables), **tags)


def _plain(saturation: Saturation) -> tuple[Recipe, ...]:
    """What needs no calibration."""
    return (
        _of_projections(
            "blocks8-nearest", Clean(), Embeddings(8), WeightBlocks(8, method="nearest")
        ),
        _of_projections(
            "int8-nearest",
            Clean(),
            Embeddings(8),
            MatMulInt8("nearest", saturation),
            batch_stable=False,
        ),
    )


def _stored(*, reduce_range: bool) -> tuple[Recipe, ...]:
    """For every kind of graph: smaller files that are computed in float32, and onnxruntime's own
    int8, which most published models have and which slows convolutions down.
    """
    dynamic = (Clean(), Int8Dynamic(reduce_range=reduce_range))
    cells = Int8Dynamic(reduce_range=reduce_range, operators=("LSTM", "Gemm", "MatMul"))
    return (
        Recipe(
            "int8-lstm",
            (Clean(), cells, WeightStorage(required=False)),
            batch_stable=False,
            needs=frozenset({"cells"}),
        ),
        _INT8_WEIGHTS,
        Recipe("int8-dynamic", dynamic, batch_stable=False),
        _of_weights("float16-weights", WeightStorage("float16")),
    )


def _blocks() -> tuple[Recipe, ...]:
    """Weights alone in few bits: slower than int8, the same on every instruction set and for every
    batch.
    """
    mixed = (WeightBlocks(8, only=WORST), _FOUR_BITS)
    return tuple(
        _of_projections(
            f"{name}{tables}",
            Clean(),
            *_TABLES[tables],
            *steps,
            with_tables=bool(tables),
            **settings,
        )
        for tables in _TABLES
        for name, steps, settings in (
            ("blocks8", (WeightBlocks(8),), {}),
            ("blocks4-mix9", mixed, {"protect": 9, "precision": "4-bit"}),
            ("blocks4", (_FOUR_BITS,), {}),
        )
    )


def _of_weights(name: str, step: Step) -> Recipe:
    """Folding before it may not repeat weights: each is stored once."""
    return Recipe(name, (Clean(may_grow=False), step), needs=frozenset({"weights"}))


_INT8_WEIGHTS: Final = _of_weights("int8-weights", WeightStorage())


def _of_projections(name: str, *steps: Step, with_tables: bool = False, **settings: Any) -> Recipe:
    """A recipe for graphs of projections; ``with_tables`` makes sense only where there are large
    tables.
    """
    needs = frozenset({"projections", "large_tables"} if with_tables else {"projections"})
    return Recipe(name, steps, needs=needs, unless=frozenset({"convolutions"}), **settings)
