"""Build every variant, compare them in one run, and write ``results.json`` and the README's table.

``python -m benchmarks.compression`` from the repository's root takes about a quarter of an hour on
two cores. Answers do not depend on what else the machine does; times do, so the load is written
down with them.
"""

import argparse
import dataclasses
import gzip
import json
import logging
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime as ort

from benchmarks.compression import minilm, timing
from benchmarks.compression.closeness import Closeness, compare, cosines, embed_everywhere
from benchmarks.compression.recipes import Variant, variants
from benchmarks.compression.sentences import Splits, encode, load_splits, paraphrases, stack
from benchmarks.compression.table import render
from benchmarks.compression.timing import LENGTHS, Opened
from onnxlift.compress.cpu.description import describe_cpu
from onnxlift.compress.cpu.instructions import InstructionSet
from onnxlift.compress.graph.packing import pack

HERE: Final = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Built:
    """One variant on disk: the file as quantizers write it, what is served, and what making it
    took.
    """

    variant: Variant
    raw: Opened
    served: Opened
    files: tuple[Path, ...]
    seconds: float


def main() -> None:
    """Run everything; ``--only NAME`` limits it to variants whose name contains the text, and
    writes nothing.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compression", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--only", default="", help="limit to variants whose name contains this; writes no file"
    )
    only = parser.parse_args().only
    chosen = [item for item in variants() if only in item.name or item.name == "fp32"]
    logging.disable(logging.WARNING)  # onnxruntime's quantizers tell what they skip, node by node
    splits = load_splits()
    with TemporaryDirectory(prefix="onnxlift-benchmark-") as folder:
        built = _build_all(chosen, splits, Path(folder))
        results = {**_conditions(splits), "variants": _measure_all(built, splits)}
    text = render(results)
    if not only:
        (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
        _insert(HERE / "README.md", text)
    print(text)


def _build_all(chosen: list[Variant], splits: Splits, folder: Path) -> list[Built]:
    fp32 = minilm.build(minilm.weights_folder())
    samples = stack(encode(splits.calibration))
    return [_build(item, fp32, samples, folder / str(index)) for index, item in enumerate(chosen)]


def _build(
    variant: Variant, fp32: onnx.ModelProto, samples: Mapping[str, np.ndarray], folder: Path
) -> Built:
    started = perf_counter()
    model = variant.build(fp32, samples)
    seconds = perf_counter() - started
    raw, packed = folder / "raw" / "model.onnx", folder / "packed"
    raw.parent.mkdir(parents=True)
    packed.mkdir()
    onnx.save(model, raw)
    opened = Opened(raw, optimized=False)
    _say(f"built {variant.name} in {seconds:.0f} s: {raw.stat().st_size / 1e6:.2f} MB")
    if not variant.ours:
        return Built(variant, opened, opened, (raw,), seconds)
    made = pack(model, packed)
    return Built(
        variant, opened, Opened(made.files[0], not made.optimize_at_load), made.files, seconds
    )


def _conditions(splits: Splits) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": describe_cpu(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "onnxruntime": ort.__version__,
        "python": platform.python_version(),
        "sentences": splits.digest,
    }


def _measure_all(built: list[Built], splits: Splits) -> list[dict[str, Any]]:
    text = " ".join(splits.gate)
    served = {item.variant.name: item.served for item in built}
    # Times first: what follows warms the machine up.
    _say("timing")
    speeds = timing.speeds(served, {length: encode([text], length)[0] for length in LENGTHS})
    openings = timing.openings(
        served | {f"{item.variant.name} raw": item.raw for item in built if item.variant.ours}
    )
    rows = []
    fresh, other = encode(splits.fresh), encode(paraphrases())
    expected = {
        name: timing.run(built[0].served, feeds, minilm.OUTPUT)
        for name, feeds in _sets(fresh, other).items()
    }
    for item in built:
        _say(f"comparing {item.variant.name}")
        name = item.variant.name
        rows.append(
            {
                "name": name,
                "ours": item.variant.ours,
                "bytes": sum(path.stat().st_size for path in item.files),
                "gzip_bytes": sum(len(gzip.compress(path.read_bytes(), 6)) for path in item.files),
                "build_s": round(item.seconds, 1),
                "ms": speeds[name],
                "open_ms": openings[name],
                "open_raw_ms": openings.get(f"{name} raw", openings[name]),
                **_closeness(item, fresh, other, expected),
            }
        )
    return rows


def _sets(fresh: Any, other: Any) -> dict[str, Any]:
    return {"fresh": fresh, "paraphrases": other}


def _closeness(
    item: Built, fresh: Any, other: Any, expected: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    everywhere = embed_everywhere(item.served.path, fresh, emulate=item.variant.emulable)
    here = {
        name: timing.run(item.served, feeds, minilm.OUTPUT)
        for name, feeds in _sets(fresh, other).items()
    }
    plain = here["fresh"] if item.raw is item.served else timing.run(item.raw, fresh, minilm.OUTPUT)
    avx2, vnni = everywhere.get(InstructionSet.AVX2), everywhere.get(InstructionSet.VNNI)
    agree = None if avx2 is None or vnni is None else float(cosines(avx2, vnni).mean())
    return {
        "closeness": {
            key.value: _data(compare(expected["fresh"], found)) for key, found in everywhere.items()
        },
        "paraphrases": _data(compare(expected["paraphrases"], here["paraphrases"])),
        "agreement": agree,
        "same_bits_as_raw": bool(np.array_equal(here["fresh"], plain)),
    }


def _data(closeness: Closeness) -> dict[str, float]:
    return dataclasses.asdict(closeness)


def _insert(path: Path, text: str) -> None:
    """Put the table between the README's two marks."""
    start, end = "<!-- table -->\n", "<!-- end -->"
    before, _, rest = path.read_text("utf-8").partition(start)
    path.write_text(f"{before}{start}{text}\n{end}{rest.partition(end)[2]}", "utf-8")


def _say(what: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", flush=True)


if __name__ == "__main__":
    main()
