"""The copy in which CPUID is an illegal instruction: which bytes change, and what it then
answers.
"""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from onnxlift.compress.cpu import mask, patch, saturation
from onnxlift.compress.cpu.features import BEYOND_AVX2, Hidden
from tests.support.errors import raises

# Each function holds the bytes of a CPUID; only in two are they an instruction.
LIBRARY = r"""
unsigned feature(void) { /* Leaf 7, EBX */
    unsigned a = 7, b = 0, c = 0, d = 0;
    __asm__ volatile("cpuid" : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
    return b;
}
unsigned immediate(void) {
    unsigned value;
    __asm__ volatile("movl $0x00a20f77, %0" : "=r"(value));
    return value;
}
unsigned displacement(unsigned *numbers) {
    unsigned value = 0;
    __asm__ volatile("jmp 1f; movl 0x0000a20f(%1), %0; 1:" : "+r"(value) : "r"(numbers));
    return value;
}
unsigned highest(void) { /* Leaf 0, EAX, after a branch over an immediate */
    unsigned a = 0, b, c = 0, d;
    __asm__ volatile("jmp 1f; pushq $0x0a20f; 1: cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return a;
}
const unsigned char data[] = {0x0f, 0xa2, 0x0f, 0xa2};
"""
ASK = """
import ctypes, os, sys
ctypes.CDLL(os.environ["ONNXLIFT_MASK"])
library = ctypes.CDLL(sys.argv[1])
print(library.feature() >> 5 & 1, hex(library.immediate()), bytes((ctypes.c_char * 4)
      .in_dll(library, "data")).hex())
"""
AVX2: Hidden = {(7, 0): (0, 1 << 5, 0, 0)}
# FMA, XSAVE, OSXSAVE, AVX and F16C; BMI1, AVX2 and BMI2.
BEYOND_NEHALEM: Hidden = {
    (1, 0xFFFFFFFF): (0, 0, sum(1 << bit for bit in (12, 26, 27, 28, 29)), 0),
    (7, 0): (0, sum(1 << bit for bit in (3, 5, 8)), 0, 0),
}
HERE: Mapping[str, str] = {}


def _require(*reasons: str | None) -> None:
    for reason in reasons:
        if reason is not None:
            pytest.skip(reason)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    _require(patch.obstacle())
    source, built = tmp_path / "library.c", tmp_path / "library.so"
    source.write_text(LIBRARY)
    compiler = shutil.which("cc") or "gcc"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", built, source], check=True)
    return built


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies"


def test_instructions_are_found_and_not_their_bytes_elsewhere(library: Path) -> None:
    content = library.read_bytes()

    sites = patch.cpuid_sites(library)

    assert len(sites) == 2
    assert content.count(b"\x0f\xa2") >= 7
    assert all(content[site : site + 2] == b"\x0f\xa2" for site in sites)


def test_the_copy_differs_in_these_instructions_alone(library: Path, folder: Path) -> None:
    original = library.read_bytes()

    copy = patch.patched(library, folder).read_bytes()

    changed = [at for at, pair in enumerate(zip(original, copy, strict=True)) if len({*pair}) == 2]
    assert changed == [site + 1 for site in patch.cpuid_sites(library)]


@pytest.mark.usefixtures("_cache")
def test_the_copy_asks_the_library_that_hides(library: Path, folder: Path) -> None:
    copy = patch.patched(library, folder)

    answers = {}
    for path in (library, copy):
        done = subprocess.run(
            [sys.executable, "-c", ASK, path],
            env={**os.environ, **mask.environment(AVX2, faulting=False)},
            capture_output=True,
            check=True,
            text=True,
        )
        answers[path] = done.stdout.split()

    assert answers[library] == [f"{'avx2' in mask.cpu_flags():d}", "0xa20f77", "0fa20fa2"]
    assert answers[copy] == ["0", "0xa20f77", "0fa20fa2"]


def test_the_copy_is_made_once(library: Path, folder: Path) -> None:
    copy = patch.patched(library, folder)
    made = copy.stat().st_mtime_ns
    patch.patched.cache_clear()

    assert patch.patched(library, folder) == copy
    assert copy.stat().st_mtime_ns == made
    assert list(folder.rglob("*.*")) == [copy]


@pytest.mark.parametrize("damage", ["cut", "other", "not patched", "elsewhere"])
def test_a_damaged_copy_is_made_anew(library: Path, folder: Path, damage: str) -> None:
    copy = patch.patched(library, folder)
    good, original = copy.read_bytes(), library.read_bytes()
    middle = len(good) // 2
    copy.write_bytes(
        {
            "cut": good[:middle],
            "other": bytes(len(good)),
            "not patched": original,
            "elsewhere": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
        }[damage]
    )
    patch.patched.cache_clear()

    assert patch.patched(library, folder) == copy
    assert copy.read_bytes() == good


def test_another_wheel_has_another_copy(library: Path, folder: Path) -> None:
    first = patch.patched(library, folder)
    newer = library.with_name("newer.so")
    newer.write_bytes(library.read_bytes() + b"\0")

    assert patch.patched(newer, folder) != first


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"MZ\x90\0", "ELF"), (b"\x7fELF\x02\x01\x01" + bytes(80), ".eh_frame_hdr")],
)
def test_a_file_without_a_table_of_functions_is_refused(
    tmp_path: Path, content: bytes, word: str
) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(content)

    with raises(ValueError, word):
        patch.cpuid_sites(path)


def test_a_library_without_cpuid_is_refused(library: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.so"
    content = bytearray(library.read_bytes())
    for site in patch.cpuid_sites(library):
        content[site : site + 2] = b"\x66\x90"
    plain.write_bytes(content)

    with raises(ValueError, "plain.so", "CPUID"):
        patch.cpuid_sites(plain)


def test_a_machine_without_a_disassembler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _require(mask.library_obstacle())
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if "objdump" in name else which(name))

    assert (
        patch.obstacle() == "there is no objdump (or llvm-objdump) on the path (package binutils)"
    )


def test_the_extension_is_a_library_of_the_wheel() -> None:
    assert patch.extension().is_relative_to(Path(onnxruntime.__file__).parent)


@pytest.fixture
def _cache(made_once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(made_once))


def _possible() -> None:
    no_avx2 = None if "avx2" in mask.cpu_flags() else "this CPU has no avx2"
    _require(patch.obstacle(), no_avx2)


@pytest.mark.usefixtures("_cache")
def test_the_probe_tells_which_instructions_onnxruntime_takes() -> None:
    _possible()

    avx2, older = patch.environment(BEYOND_AVX2), patch.environment(BEYOND_NEHALEM)

    assert saturation.obstacle(avx2, saturates=True) is None
    assert saturation.obstacle(avx2, saturates=False) == "the probe gave 1048544 instead of 2072640"
    # SSE widens before it multiplies.
    assert saturation.obstacle(older, saturates=False) is None
    assert stat.S_IMODE(mask.private_folder().stat().st_mode) == 0o700


def test_the_road_needs_no_plain_path_and_no_signal_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _possible()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "my cache: 2"))
    monkeypatch.setenv("PYTHONFAULTHANDLER", "1")

    assert saturation.obstacle(patch.environment(BEYOND_AVX2), saturates=True) is None


@pytest.mark.usefixtures("_cache")
def test_a_process_in_which_nothing_is_hidden_says_so() -> None:
    _possible()
    variables = mask.environment(BEYOND_AVX2, faulting=False)

    reason = saturation.obstacle(variables, saturates=True)

    assert reason == "onnxruntime's CPUID instructions are not intercepted"


@pytest.mark.usefixtures("_cache")
def test_a_process_that_dies_says_with_which_status() -> None:
    _possible()
    copy = patch.environment(BEYOND_AVX2)["ONNXLIFT_EXTENSION"]

    # Nothing answers the illegal instructions.
    assert saturation.obstacle({"ONNXLIFT_EXTENSION": copy}, saturates=True) == "exit status -4"


@pytest.mark.slow
@pytest.mark.usefixtures("_cache")
@pytest.mark.parametrize(("hidden", "cpu"), [(BEYOND_AVX2, "Haswell"), (BEYOND_NEHALEM, "Nehalem")])
def test_a_copy_answers_bit_for_bit_as_qemu_does(hidden: Hidden, cpu: str, tmp_path: Path) -> None:
    qemu = shutil.which("qemu-x86_64")
    _possible()
    _require(None if qemu else "there is no qemu-x86_64 on the path")
    _write_kernels(tmp_path)

    there = _answers(tmp_path, HERE, qemu or "", "-cpu", cpu)
    here = _answers(tmp_path, patch.environment(hidden))

    assert {name: array.tobytes() for name, array in here.items()} == {
        name: array.tobytes() for name, array in there.items()
    }
    if cpu == "Nehalem":
        plain = _answers(tmp_path, HERE)
        assert all(plain[name].tobytes() != here[name].tobytes() for name in ("0/int8", "0/conv"))


def _write_kernels(folder: Path) -> None:
    """A model with kernels that depend on the CPU, and samples for it."""
    random = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {
        "matrix": random.normal(size=(256, 128)).astype(np.float32),
        "bytes": random.integers(-127, 128, (128, 64)).astype(np.int8),
        "kernel": random.normal(size=(8, 3, 3, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "matrix"], ["hidden"]),
        helper.make_node("Tanh", ["hidden"], ["tanh"]),
        helper.make_node("Softmax", ["tanh"], ["softmax"]),
        helper.make_node("Erf", ["hidden"], ["erf"]),
        helper.make_node("DynamicQuantizeLinear", ["hidden"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "bytes", "zero"], ["int8"]),
        helper.make_node("Conv", ["image", "kernel"], ["conv"]),
    ]
    feeds = {"x": (33, 256), "image": (3, 3, 16, 16)}
    types = {"int8": TensorProto.INT32}
    graph = helper.make_graph(
        nodes,
        "kernels",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in feeds.items()],
        [
            helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), None)
            for name in ("softmax", "erf", "int8", "conv")
        ],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "model.onnx")
    arrays = {f"0/{n}": random.normal(size=s).astype(np.float32) for n, s in feeds.items()}
    np.savez(folder / "feeds.npz", **arrays)  # type: ignore[arg-type]


def _answers(folder: Path, variables: Mapping[str, str], *prefix: str) -> dict[str, np.ndarray]:
    files = [str(folder / name) for name in ("model.onnx", "feeds.npz", "outputs.npz")]
    command = [*prefix, sys.executable, str(saturation.CHILD), *files, "1"]
    done = subprocess.run(
        command,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **variables},
        capture_output=True,
        check=False,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    with np.load(files[-1]) as found:
        return {name: found[name] for name in found.files}
