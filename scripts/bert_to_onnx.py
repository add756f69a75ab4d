#!/usr/bin/env python3
"""Exports a BERT directory of Hugging Face (config.json, model.safetensors) as ONNX: bert_to_onnx.py DIR OUT.onnx

Inputs `input_ids`, `attention_mask`, `token_type_ids` [batch, tokens]; output `last_hidden_state` [batch, tokens, hidden].
Needs nothing but Python: the few messages of ONNX that a graph is made of are encoded here.
"""
import json
import math
import struct
import sys
from pathlib import Path

FLOAT, INT64 = 1, 7


def varint(value):
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field, value):
    return varint(field << 3) + varint(value)


def blob(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def tensor(name, kind, shape, raw):
    """TensorProto: dims, data_type, name, raw_data."""
    return b"".join(number(1, size) for size in shape) + number(2, kind) + blob(8, name) + blob(9, raw)


def attribute(name, value):
    """AttributeProto: name, and f, i or ints with its type."""
    if isinstance(value, float):
        return blob(1, name) + varint(2 << 3 | 5) + struct.pack("<f", value) + number(20, 1)
    if isinstance(value, int):
        return blob(1, name) + number(3, value) + number(20, 2)
    return blob(1, name) + b"".join(number(8, item) for item in value) + number(20, 7)


def shaped(name, kind, shape):
    """ValueInfoProto of a tensor whose dimensions are sizes or names."""
    dims = b"".join(blob(1, number(1, size) if isinstance(size, int) else blob(2, size)) for size in shape)
    return blob(1, name) + blob(2, blob(1, number(1, kind) + blob(2, dims)))


class Graph:
    def __init__(self):
        self.nodes, self.initializers, self.count = [], [], 0

    def constant(self, values, shape, kind=FLOAT):
        self.count += 1
        name = f"c{self.count}"
        raw = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{'f' if kind == FLOAT else 'q'}", *values)
        self.initializers.append(tensor(name, kind, shape, raw))
        return name

    def ints(self, *values):
        return self.constant(values, [len(values)], INT64)

    def real(self, value):
        return self.constant([value], [])

    def node(self, op, *inputs, out=None, **attributes):
        self.count += 1
        out = out or f"n{self.count}"
        fields = [blob(1, name) for name in inputs] + [blob(2, out), blob(3, out), blob(4, op)]
        fields += [blob(5, attribute(name, value)) for name, value in attributes.items()]
        self.nodes.append(b"".join(fields))
        return out

    def encoded(self, inputs, outputs):
        fields = [blob(1, node) for node in self.nodes] + [blob(2, "bert")]
        fields += [blob(5, initializer) for initializer in self.initializers]
        fields += [blob(11, value) for value in inputs] + [blob(12, value) for value in outputs]
        # ModelProto: ir_version 8, the graph, operators of version 17.
        return number(1, 8) + blob(7, b"".join(fields)) + blob(8, blob(1, "") + number(2, 17))


def weights(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        if entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            found[name.removeprefix("bert.")] = (entry["shape"], body[start:end])
    return found


def main(directory, out):
    config, stored = json.loads((directory / "config.json").read_text()), weights(directory / "model.safetensors")
    hidden, heads, epsilon = config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]
    if config.get("hidden_act", "gelu") != "gelu":
        sys.exit("only the activation gelu is known here")
    graph = Graph()

    def weight(name):
        shape, raw = stored[name]
        return graph.constant(raw, shape)

    def linear(name, x):
        turned = graph.node("Transpose", weight(f"{name}.weight"), perm=[1, 0])
        return graph.node("Add", graph.node("MatMul", x, turned), weight(f"{name}.bias"))

    def norm(name, x, out=None):
        scale, bias = weight(f"{name}.weight"), weight(f"{name}.bias")
        return graph.node("LayerNormalization", x, scale, bias, out=out, axis=-1, epsilon=float(epsilon))

    zero, tokens = graph.ints(0), graph.node("Shape", "input_ids", start=1, end=2)
    positions = graph.node("Slice", weight("embeddings.position_embeddings.weight"), zero, tokens, zero)
    words = graph.node("Gather", weight("embeddings.word_embeddings.weight"), "input_ids")
    kinds = graph.node("Gather", weight("embeddings.token_type_embeddings.weight"), "token_type_ids")
    x = norm("embeddings.LayerNorm", graph.node("Add", graph.node("Add", words, kinds), positions))
    # 0 where a token is, far below every score where none is.
    seen = graph.node("Cast", "attention_mask", to=FLOAT)
    hide = graph.node("Mul", graph.node("Sub", seen, graph.real(1.0)), graph.real(1e9))
    hide = graph.node("Unsqueeze", hide, graph.ints(1, 2))
    split, join = graph.ints(0, 0, heads, hidden // heads), graph.ints(0, 0, hidden)
    scale, half, one = graph.real(math.sqrt(hidden // heads)), graph.real(0.5), graph.real(1.0)
    root = graph.real(math.sqrt(2.0))
    for layer in range(config["num_hidden_layers"]):
        own = f"encoder.layer.{layer}"

        def by_head(name, order):
            rows = linear(f"{own}.attention.self.{name}", x)
            return graph.node("Transpose", graph.node("Reshape", rows, split), perm=order)

        query, key, value = by_head("query", [0, 2, 1, 3]), by_head("key", [0, 2, 3, 1]), by_head("value", [0, 2, 1, 3])
        scores = graph.node("Add", graph.node("Div", graph.node("MatMul", query, key), scale), hide)
        read = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
        read = graph.node("Reshape", graph.node("Transpose", read, perm=[0, 2, 1, 3]), join)
        read = graph.node("Add", linear(f"{own}.attention.output.dense", read), x)
        read = norm(f"{own}.attention.output.LayerNorm", read)
        wide = linear(f"{own}.intermediate.dense", read)
        error = graph.node("Add", graph.node("Erf", graph.node("Div", wide, root)), one)
        wide = graph.node("Mul", graph.node("Mul", wide, half), error)
        last = layer + 1 == config["num_hidden_layers"]
        x = graph.node("Add", linear(f"{own}.output.dense", wide), read)
        x = norm(f"{own}.output.LayerNorm", x, out="last_hidden_state" if last else None)
    inputs = [shaped(name, INT64, ["batch", "tokens"]) for name in ("input_ids", "attention_mask", "token_type_ids")]
    out.write_bytes(graph.encoded(inputs, [shaped("last_hidden_state", FLOAT, ["batch", "tokens", hidden])]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
