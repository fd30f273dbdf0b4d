"""Made-up reports for tests of ``report`` and ``page``: one plausible, and any that the types
allow.
"""

import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any, Final

from hypothesis import strategies as st

from onnxlift.compress.results import (
    Agreement,
    CandidateRow,
    Figure,
    LayerSize,
    Limit,
    Machine,
    NodeSensitivity,
    PrecisionError,
    Report,
    SampleSet,
)
from onnxlift_runtime.manifest import FileEntry, Latency, Source

SHA: Final = "ab" * 32


def figures(measured: float, *, metric: str = "cosine") -> tuple[Figure, ...]:
    """The figure on two instruction sets; the second is a little worse, and its bound decides."""
    return (
        Figure(metric, measured, measured - 0.0005, 600, 1, "avx512_vnni"),
        Figure(metric, measured - 0.001, measured - 0.0015, 600, 32, "avx2"),
    )


def candidate(
    recipe: str, megabytes: float, measured: float, p50_ms: float, **changes: Any
) -> CandidateRow:
    """A measured candidate that lost, unless ``changes`` say otherwise."""
    values: dict[str, Any] = {
        "steps": ("clean graph", f"{recipe} with its settings"),
        "status": "lost",
        "reason": f"{recipe} is larger",
        "size_bytes": int(megabytes * 1e6),
        "figures": figures(measured),
        "latency": (Latency(1, p50_ms, p50_ms * 1.1), Latency(8, p50_ms * 7, p50_ms * 8)),
        "load_ms": 30.0,
        "peak_memory_mb": 90.0,
        **changes,
    }
    return CandidateRow(recipe, **values)


def _candidates() -> tuple[CandidateRow, ...]:
    return (
        candidate("fp32", 90.4, 1.0, 13.1, steps=()),
        candidate(
            "int8-smooth",
            23.2,
            0.998,
            6.0,
            status="chosen",
            agreement=(Agreement("avx2", 0.9999, "masked"),),
        ),
        candidate(
            "int4", 14.3, 0.96, 17.0, predicted_error=0.04, gzip_bytes=13_000_000, cached=True
        ),
        CandidateRow("int8-static", ("int8 static",), "failed", "RuntimeError: ragged samples"),
        CandidateRow("int2", ("2-bit blocks",), "skipped", "predicted error 0.5"),
    )


def report(**changes: Any) -> Report:
    """A complete report: fp32, a chosen one, one beyond the limit, one that failed, one that was
    not tried.
    """
    values: dict[str, Any] = {
        "model": "minilm",
        "version": "1",
        "source": Source(SHA, 90_400_000, (Latency(1, 13.1, 14.0),)),
        "opset": 21,
        "limits": (Limit("cosine", 1.0, 0.99, 0.95),),
        "optimize_for": "size",
        "targets": ("avx2", "avx512_vnni"),
        "machine": Machine("A CPU (x86_64: avx2)", "x86_64", 1, "1.31.1", "0.1.0"),
        "candidates": _candidates(),
        "sensitivity": (
            NodeSensitivity(
                "/a/0/MatMul", "MatMul", "a.0", 590_000, (PrecisionError("int8", 0.001),)
            ),
            NodeSensitivity(
                "/a/1/MatMul", "MatMul", "a.1", 590_000, (PrecisionError("int8", 0.004),)
            ),
        ),
        "layers": (
            LayerSize("a.0", "MatMul", 590_000, 0),
            LayerSize("a.0", "MatMulInteger", 0, 150_000),
        ),
        "samples": (SampleSet("held out", "heldout.npz", SHA, 600),),
        "files": (FileEntry("model.onnx", SHA, 23_200_000),),
        "notes": ("not verified on neoverse-n1: qemu-aarch64 is missing",),
        "budget_s": 300.0,
        "seconds": 214.3,
        "finished_at": "2026-11-21T12:00:00+00:00",
        **changes,
    }
    return Report(**values)


def any_report(words: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Report]:
    """Every report that the types allow, with numbers of all sizes; ``words`` are its names and
    reasons.
    """
    return _any(Report, st.text(max_size=12) if words is None else words)


def _any(hint: Any, words: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return st.builds(
            hint, **{item.name: _any(hints[item.name], words) for item in fields(hint)}
        )
    if origin is tuple:
        return st.lists(_any(arguments[0], words), max_size=3).map(tuple)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is types.UnionType:
        return st.none() | _any(arguments[0], words)
    return {
        str: words,
        float: st.floats(allow_nan=False),
        int: st.integers(0, 10**12),
        bool: st.booleans(),
    }[hint]
