"""Speech-like sound: voiced syllables with formants, hissing consonants, pauses, and noise."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

Rng = np.random.Generator
Array = np.ndarray[Any, np.dtype[Any]]
Feed = dict[str, Array]
Run = Callable[[Feed], Mapping[str, Array]]

_VOWELS: Final = np.array(
    [(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410)]
)
_WIDTHS: Final = np.array([90.0, 120.0, 180.0])
_FED_BACK: Final = {"stateN": "state", "hn": "h", "cn": "c"}
_BLOCK: Final = 32  # frames that the model of sequences takes at once


def speech(rng: Rng, seconds: float, rate: int) -> Array:
    """float32 [samples] within -1 and 1."""
    parts, length = [], 0
    while length < seconds * rate:
        parts += [_pause(rng, rate), *_word(rng, rate)]
        length = sum(map(len, parts))
    sound = np.concatenate(parts)[: int(seconds * rate)]
    noise = rng.normal(0, 10 ** rng.uniform(-4, -1.8), len(sound))
    return np.clip(sound * rng.uniform(0.1, 0.8) + noise, -1, 1).astype(np.float32)


def stream(
    run: Run, inputs: Sequence[str], sound: Array, rate: int
) -> Iterator[tuple[Feed, Array]]:
    """Each feed of a stream with the speech probabilities that it gave; the state is fed back."""
    step, context = rate * 512 // 16000, rate * 64 // 16000
    padded = np.concatenate([np.zeros(context, np.float32), sound])
    starts = range(0, len(sound) - step + 1, step)
    frames = np.stack([padded[start : start + context + step] for start in starts])
    rows = _BLOCK if "h" in inputs else 1
    state: Feed = {
        name: np.zeros((2 if name == "state" else 1, 1, 128), np.float32)
        for name in inputs
        if name in _FED_BACK.values()
    }
    shared: Feed = {"sr": np.array(rate, np.int64)} if "sr" in inputs else {}
    for start in range(0, len(frames) - rows + 1, rows):
        feed = {"input": frames[start : start + rows], **state, **shared}
        answers = run(feed)
        state = {_FED_BACK[name]: value for name, value in answers.items() if name in _FED_BACK}
        (probabilities,) = (answers[name] for name in answers if name not in _FED_BACK)
        yield feed, probabilities.reshape(-1)


def _word(rng: Rng, rate: int) -> list[Array]:
    pitch, parts = rng.uniform(85, 230), []
    for _ in range(int(rng.integers(1, 5))):
        if rng.random() < 0.5:
            parts.append(_hiss(rng, rate))
        parts.append(_syllable(rng, rate, pitch * rng.uniform(0.9, 1.1)))
    return parts


def _syllable(rng: Rng, rate: int, pitch: float) -> Array:
    """Harmonics of a gliding pitch, weighted by formants that move from one vowel to another."""
    count = int(rate * rng.uniform(0.1, 0.28))
    place = np.linspace(0, 1, count)
    height = pitch * (1 + rng.uniform(-0.15, 0.15) * place + 0.01 * np.sin(40 * place))
    phase = 2 * np.pi * np.cumsum(height) / rate
    first, last = _VOWELS[rng.integers(len(_VOWELS), size=2)]
    formants = first + (last - first) * place[:, None]
    harmonics = np.arange(1, int(min(4000, rate / 2) // height.max()))
    frequency = height[:, None, None] * harmonics[:, None]
    gains = 1 / (1 + ((frequency - formants[:, None]) / _WIDTHS) ** 2)
    weights = (gains * [1, 0.6, 0.3]).sum(-1) / np.sqrt(harmonics)
    envelope = np.sin(np.pi * place) ** 0.5 * rng.uniform(0.5, 1)
    return np.asarray(envelope * (weights * np.sin(phase[:, None] * harmonics)).sum(1) / 2)


def _hiss(rng: Rng, rate: int) -> Array:
    count = int(rate * rng.uniform(0.03, 0.12))
    noise = np.diff(rng.normal(0, rng.uniform(0.02, 0.15), count + 1))
    return np.asarray(noise * np.hanning(count))


def _pause(rng: Rng, rate: int) -> Array:
    return np.zeros(int(rate * rng.choice([0.05, 0.2, 0.5, 1.2])))
