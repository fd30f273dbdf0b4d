"""One candidate, made and run in a process of its own.

Started as ``python -m onnxlift.compress.search.trial_process``.

The request is one line of JSON on stdin, which stays open: where it closes, whoever asked is gone
and so is this process. Files go to the candidate's folder; ``trial.json`` is written last and tells
what came out, or why nothing did.
"""

import json
import os
import shutil
import sys
import threading
import traceback
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import onnx

from onnxlift.compress.calibration.activations import MASK, unpadded
from onnxlift.compress.gate.premises import unsteady
from onnxlift.compress.graph.packing import pack
from onnxlift.compress.model.answers import Answers, join_answers, save_answers
from onnxlift.compress.model.artifact import file_entries
from onnxlift.compress.model.batch import Batch
from onnxlift.compress.model.samples import Array, Samples, read_stored
from onnxlift.compress.model.signature import Signature, read_signature
from onnxlift.compress.recipes.prefixes import begin
from onnxlift.compress.recipes.recipe import steps_from_data
from onnxlift.compress.search.workspace import Workspace
from onnxlift.compress.steps import Context
from onnxlift_runtime.dataplane.session import Session
from onnxlift_runtime.errors import ModelRefused, OnnxliftError, RecipeInvalid
from onnxlift_runtime.manifest import Manifest

RESULT_NAME: Final = "trial.json"
FILES: Final = "files"
_LONGEST_REASON: Final = 300
_GZIP_LEVEL: Final = 1  # within a percent of the usual 6 on weights
_CHUNK_BYTES: Final = 2**20
_UNFORESEEN: Final = "a library failed on this graph"


def main() -> None:
    """Read the request, make the candidate, answer the held-out samples, write the result."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_asker, daemon=True).start()
    sys.path.extend(path for path in request["path"] if path not in sys.path)
    started = perf_counter()
    folder = Path(request["folder"])
    try:
        found = _trial(request, folder)
    except MemoryError:
        raise
    except OnnxliftError as error:
        found = {"reason": (str(error) or type(error).__name__)[:_LONGEST_REASON]}
    except Exception:  # onnx, onnxruntime and numpy fail in their own ways on unforeseen models
        traceback.print_exc()
        found = {"reason": f"{_UNFORESEEN}; {folder / 'log'} has the error"}
    unfinished = folder / f".{RESULT_NAME}"
    unfinished.write_text(json.dumps({"seconds": perf_counter() - started, **found}), "utf-8")
    unfinished.replace(folder / RESULT_NAME)


def _trial(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    workspace, manifest = (
        Workspace(Path(request["workspace"])),
        Manifest.from_json(request["manifest"]),
    )
    files, optimize_at_load, notes = folder / FILES, True, list[str]()
    shutil.rmtree(files, ignore_errors=True)
    if request["steps"]:
        optimize_at_load = _build(request, workspace, manifest, files, notes)
    else:
        shutil.copytree(workspace.fp32, files)
    manifest = replace(manifest, optimize_at_load=optimize_at_load)
    entries = file_entries(files)
    session = Session(files, manifest, threads=request["threads"], verify=False)
    held_out = read_stored(workspace.held_out, manifest.inputs, Batch.of_manifest(manifest))
    seconds = {}
    for rows in request["batches"]:
        started = perf_counter()
        found = answer(session, held_out, request["output"], rows)
        save_answers(folder / f"answers-{rows}.npz", found)
        seconds[rows] = perf_counter() - started
    return {
        "unsteady": [] if request["steps"] else _unsteady(session, held_out),
        "files": [[entry.path, entry.sha256, entry.size_bytes] for entry in entries],
        "answer_seconds": seconds,
        "optimize_at_load": optimize_at_load,
        "notes": notes,
        "gzip_bytes": sum(_gzip_bytes(files / entry.path) for entry in entries),
    }


def _unsteady(session: Session, held_out: Samples) -> list[str]:
    """The outputs that two runs on the first sample disagree on."""
    feed = next(held_out.batches(1))
    names = [output.name for output in session.manifest.outputs]
    return unsteady(session.run(feed, names), session.run(feed, names))


def _gzip_bytes(path: Path) -> int:
    """About what a file takes compressed, as images ship it."""
    packer, count = zlib.compressobj(_GZIP_LEVEL), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            count += len(packer.compress(chunk))
    return count + len(packer.flush())


def _build(
    request: Mapping[str, Any],
    workspace: Workspace,
    manifest: Manifest,
    files: Path,
    notes: list[str],
) -> bool:
    """Apply the steps and pack; returns whether the session must still optimise the graph when it
    opens. ``notes`` take what the steps note.
    """
    samples: Mapping[str, Any] = {}
    if workspace.calibration.exists():
        batch = Batch.of_manifest(manifest)
        samples = read_stored(workspace.calibration, manifest.inputs, batch).columns
    model = onnx.load(workspace.start / manifest.model_file)
    context = Context(samples, request["preset"], notes=notes)
    begun = begin(workspace.beginnings, model, steps_from_data(request["steps"]), context)
    files.mkdir(parents=True)
    packed = pack(begun.finish(), files, request["preset"])
    wanted = Signature(manifest.inputs, manifest.outputs)
    if _names(_signature(files / manifest.model_file)) != _names(wanted):
        raise RecipeInvalid("it changes the model's inputs or outputs")
    return packed.optimize_at_load


def _signature(path: Path) -> Signature:
    try:
        return read_signature(path)
    except ModelRefused as error:
        traceback.print_exc()
        raise RecipeInvalid("it makes a graph that onnxruntime cannot open") from error


def answer(session: Session, samples: Samples, judged: str, rows: int) -> Answers:
    """All outputs for all samples, computed ``rows`` at a time; raises what ``Session.run`` and
    ``join_answers`` raise.
    """
    manifest = session.manifest
    feeds = served_feeds(samples, rows, trimmed=is_trimmed(manifest, judged))
    names = [output.name for output in manifest.outputs]
    results = (session.run(feed, names) for feed in feeds)
    batch = Batch.of_manifest(manifest)
    return join_answers(results, manifest.outputs, judged, len(samples), batch)


def is_trimmed(manifest: Manifest, output: str) -> bool:
    """Whether an output is not as long as the text: the columns that nothing attends to may go."""
    spec = next(spec for spec in manifest.outputs if spec.name == output)
    axis = Batch.of_manifest(manifest).axis(output)
    return all(size != -1 or place == axis for place, size in enumerate(spec.shape))


def served_feeds(samples: Samples, rows: int, *, trimmed: bool) -> Iterator[dict[str, Array]]:
    """Feeds as callers send them: ``rows`` samples, text without the columns that none of them
    attends to.

    ``trimmed`` false keeps all columns, for outputs that are as long as the text.
    """
    for feed in samples.batches(rows):
        yield unpadded(feed) if trimmed and MASK in feed else feed


def _names(signature: Signature) -> list[tuple[str, str]]:
    return [(spec.name, spec.datatype) for spec in (*signature.inputs, *signature.outputs)]


def _end_with_the_asker() -> None:
    """Wait for the end of stdin, which comes when the other process ends in whatever way."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
