"""Sentences from the documentation inside the benchmark's own pinned packages, in three splits that
share no file.

A file's name decides its split, so neighbours and repeated docstrings never straddle two splits; a
sentence that occurs twice is kept once. The packages are pinned by hash, so every machine gets the
same sentences (``digest`` proves it).
"""

import ast
import hashlib
import importlib.util
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from tokenizers import Tokenizer

from benchmarks.compression.minilm import INPUTS, weights_folder

PACKAGES: Final = ("sklearn", "scipy", "numpy", "joblib", "safetensors", "onnx")
COUNTS: Final = {"calibration": 256, "gate": 256, "fresh": 600}
PARAPHRASES: Final = Path(__file__).parent / "paraphrases.txt"
LONGEST: Final = 128


@dataclass(frozen=True)
class Splits:
    """Sentences that recipes may look at, that the gate judges by, and that nothing has seen before
    the final table.
    """

    calibration: tuple[str, ...]
    gate: tuple[str, ...]
    fresh: tuple[str, ...]

    @property
    def digest(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 over all three splits."""
        text = "\n".join("\n".join(part) for part in (self.calibration, self.gate, self.fresh))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def load_splits() -> Splits:
    """The three splits, each in the order of its sentences' hashes; raises ``SystemExit`` when text
    is too scarce.
    """
    found: dict[str, set[str]] = {name: set() for name in COUNTS}
    seen: set[str] = set()
    for path, texts in _documents():
        fresh = set(_sentences(texts)) - seen
        seen |= fresh
        found[_split_of(path)] |= fresh
    return Splits(**{name: _pick(name, found[name]) for name in COUNTS})


def paraphrases() -> tuple[str, ...]:
    """Everyday sentences written by hand, two of one meaning after each other: another domain."""
    return tuple(line for line in PARAPHRASES.read_text("utf-8").splitlines() if line)


def encode(sentences: Iterable[str], length: int | None = None) -> list[dict[str, np.ndarray]]:
    """One feed [1, tokens] for each sentence; ``length`` pads and cuts all to one width."""
    tokenizer = Tokenizer.from_file(str(weights_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(length or LONGEST)
    tokenizer.no_padding() if length is None else tokenizer.enable_padding(length=length)
    return [
        {
            name: np.array([part], np.int64)
            for name, part in zip(INPUTS, (e.ids, e.attention_mask, e.type_ids), strict=True)
        }
        for e in tokenizer.encode_batch(list(sentences))
    ]


def stack(feeds: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One array per input, samples first, padded with zeros to the longest."""
    width = max(feed[INPUTS[0]].shape[1] for feed in feeds)
    return {
        name: np.concatenate(
            [np.pad(feed[name], ((0, 0), (0, width - feed[name].shape[1]))) for feed in feeds]
        )
        for name in INPUTS
    }


def _pick(name: str, sentences: set[str]) -> tuple[str, ...]:
    if len(sentences) < COUNTS[name]:
        raise SystemExit(f"only {len(sentences)} sentences for {name}, {COUNTS[name]} are needed")
    return tuple(sorted(sentences, key=_hash)[: COUNTS[name]])


def _split_of(path: str) -> str:
    share = int(_hash(path)[:8], 16) / 2**32
    if share < 0.2:
        return "calibration"
    return "gate" if share < 0.5 else "fresh"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _documents() -> Iterator[tuple[str, list[str]]]:
    """Every documentation file's name inside its package, and the prose blocks it holds."""
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{package} is not installed; see benchmarks/requirements.txt")
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            yield f"{package}/{path.relative_to(root).as_posix()}", list(_docstrings(path))
        for path in sorted(root.rglob("descr/*.rst")):
            yield f"{package}/{path.relative_to(root).as_posix()}", [path.read_text("utf-8")]


def _docstrings(path: Path) -> Iterator[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(path.read_text("utf-8", errors="replace"))):
        if isinstance(node, kinds) and (text := ast.get_docstring(node, clean=False)):
            yield inspect.cleandoc(text)


def _sentences(texts: Iterable[str]) -> Iterator[str]:
    """Plain prose only: starts with a capital, ends with a full stop, 6 to 60 words, mostly
    letters, no markup.
    """
    for block in (block for text in texts for block in re.split(r"\n\s*\n", text)):
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(block.split())):
            words = sentence.split()
            letters = sum(character.isalpha() or character == " " for character in sentence)
            if (
                6 <= len(words) <= 60
                and letters > 0.92 * len(sentence)
                and re.fullmatch(r"[A-Z][^`*:<>=_\\|]*\.", sentence)
            ):
                yield sentence
