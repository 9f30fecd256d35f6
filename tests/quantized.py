#!/usr/bin/env python3
"""Random quantized graphs and what onnxruntime computes of them, for the test `quantized`.

    python3 tests/quantized.py FOLDER [--graphs N] [--seed S]

writes FOLDER/KIND_NN.onnx, each with several graphs side by side, and FOLDER/KIND_NN.npz with their inputs (`in.NAME`) and
onnxruntime's outputs (`out.NAME`). Kinds: `exact` (operators on quantized numbers, and dequantize-operator-quantize forms
that onnxruntime fuses to them: every element must agree) and `near` (forms that onnxruntime leaves in floats: one step).
"""
import argparse
import os

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

MS = "com.microsoft"
SIDE_BY_SIDE = 20
TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.int8): TensorProto.INT8}


class Model:
    """Graphs side by side; names are numbered."""

    def __init__(self, rng):
        self.rng, self.nodes, self.constants, self.inputs, self.outputs, self.feeds = rng, [], [], [], [], {}
        self.count = 0

    def name(self, stem):
        self.count += 1
        return f"{stem}{self.count}"

    def constant(self, stem, value):
        name = self.name(stem)
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op, inputs, domain="", **attributes):
        name = self.name(op.lower())
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def input(self, value):
        name = self.name("x")
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[value.dtype], value.shape))
        self.feeds[name] = value
        return name

    def output(self, name, dtype):
        self.outputs.append(helper.make_tensor_value_info(name, TYPES[np.dtype(dtype)], None))

    # -- draws
    def whole(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def of(self, *choices):
        return choices[self.whole(0, len(choices) - 1)]

    def scale(self, low=0.002, high=0.1):
        return np.float32(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def zero(self, dtype):
        info = np.iinfo(dtype)
        return np.asarray(self.of(info.min, info.max, 0, self.whole(info.min, info.max), (info.min + info.max + 1) // 2), dtype)

    def bytes(self, shape, dtype):
        info = np.iinfo(dtype)
        return self.rng.integers(info.min, info.max + 1, shape).astype(dtype)


class Data:
    """A quantized tensor: its name, and names and values of scale and zero point."""

    def __init__(self, m, dtype, name=None, shape=None, scale=None):
        self.dtype, self.scale_value, self.zero_value = np.dtype(dtype), scale or m.scale(), m.zero(dtype)
        self.name = name or m.input(m.bytes(shape, dtype))
        self.scale, self.zero = m.constant("scale", self.scale_value), m.constant("zero", self.zero_value)

    def three(self):
        return [self.name, self.scale, self.zero]

    def up(self, m):
        return m.node("DequantizeLinear", self.three())


def result(m, dtype, size):
    """Steps of a result whose floats are about `size` large."""
    return Data(m, dtype, name="-", scale=np.float32(size / 60 * np.exp(m.rng.uniform(-0.5, 0.5))))


def weights(m, shape, count, axis, dtype):
    """Constant weights with scales for one axis, or one: names of the three, and the scales."""
    w = m.bytes(shape, dtype)
    each = m.of(True, False)
    scale = np.array([m.scale() for _ in range(count)], np.float32) if each else m.scale()
    zero = np.zeros(count if each else (), dtype) if dtype == np.int8 else np.full(count if each else (), m.zero(dtype), dtype)
    return [m.constant("w", w), m.constant("ws", scale), m.constant("wz", zero)], scale


def window(m, axes):
    kernel = [m.whole(1, 3) for _ in range(axes)]
    return dict(kernel_shape=kernel, strides=[m.whole(1, 2) for _ in range(axes)], pads=[m.whole(0, k - 1) for k in kernel * 2])


def conv(m, dtype, folded):
    axes, group = m.of(1, 2, 2, 2), m.of(1, 1, 2, 0)
    channels = m.whole(1, 5) * (group or 1) if group else m.whole(2, 19)
    filters = channels * m.of(1, 1, 2) if group == 0 else (group or 1) * m.whole(1, 11)
    group = group or channels
    x = Data(m, dtype, shape=[m.whole(1, 2), channels] + [m.whole(4, 9) for _ in range(axes)])
    frame = window(m, axes)
    if axes == 2 or not folded:
        frame["dilations"] = [m.whole(1, 2) for _ in range(axes)]
    wtype = np.int8 if dtype == np.int8 else m.of(np.int8, np.int8, np.uint8)
    depth = channels // group * int(np.prod(frame["kernel_shape"]))
    w, ws = weights(m, [filters, channels // group] + frame["kernel_shape"], filters, 0, wtype)
    steps = np.float32(x.scale_value) * np.asarray(ws, np.float32)
    y = result(m, dtype, float(np.mean(steps)) * 128 * 74 * np.sqrt(depth))
    bias = m.rng.integers(-5000, 5000, filters).astype(np.int32) if m.of(True, True, False) else None
    frame.update(group=group)
    if not folded:
        rest = [] if bias is None else [m.constant("b", bias)]
        m.output(m.node("QLinearConv", x.three() + w + [y.scale, y.zero] + rest, **frame), dtype)
        return
    operands = [x.up(m), m.node("DequantizeLinear", w, axis=0)]
    if bias is not None and m.of(True, False, False):
        operands.append(m.constant("b", (bias * steps).astype(np.float32)))
    elif bias is not None:
        scale = m.constant("bs", np.broadcast_to(steps, [filters]).copy())
        operands.append(m.node("DequantizeLinear", [m.constant("b", bias), scale, m.constant("bz", np.zeros(filters, np.int32))], axis=0))
    made = m.node("Conv", operands, **frame)
    if m.of(True, False, False) and y.zero_value == np.iinfo(dtype).min:
        made = m.node("Relu", [made])
    m.output(m.node("QuantizeLinear", [made, y.scale, y.zero]), dtype)


def matmul(m, dtype, folded):
    rows, depth, columns = m.whole(1, 9), m.whole(1, 70), m.whole(1, 37)
    lead = [m.whole(1, 3)] if m.of(True, False) else []
    a = Data(m, dtype, shape=lead + [rows, depth])
    wtype = np.int8 if dtype == np.int8 else m.of(np.int8, np.int8, np.uint8)
    if m.of(True, True, False):
        b, bs = weights(m, [depth, columns], columns, 1, wtype)
        if folded and np.ndim(bs):
            b[1:] = [m.constant("ws", bs[0]), m.constant("wz", np.zeros((), wtype))]
            bs = bs[0]
    else:
        data = Data(m, dtype, shape=[depth, columns])
        b, bs = data.three(), data.scale_value
    y = result(m, dtype, float(np.mean(a.scale_value * np.asarray(bs))) * 74 * 74 * np.sqrt(depth))
    if folded:
        made = m.node("MatMul", [a.up(m), m.node("DequantizeLinear", b)])
        m.output(m.node("QuantizeLinear", [made, y.scale, y.zero]), dtype)
    else:
        m.output(m.node("QLinearMatMul", a.three() + b + [y.scale, y.zero]), dtype)


def gemm(m, dtype, folded):
    rows, depth, columns = m.whole(1, 5), m.whole(1, 70), m.whole(1, 37)
    a, turned = Data(m, dtype, shape=[rows, depth]), m.of(0, 1)
    b, bs = weights(m, [columns, depth] if turned else [depth, columns], columns, 1 - turned, np.int8)
    steps = np.float32(a.scale_value) * np.asarray(bs, np.float32)
    bias = m.rng.integers(-5000, 5000, columns).astype(np.int32)
    y = result(m, dtype, float(np.mean(steps)) * 74 * 74 * np.sqrt(depth))
    if folded:
        scale = m.constant("bs", np.broadcast_to(steps, [columns]).copy())
        c = m.node("DequantizeLinear", [m.constant("b", bias), scale, m.constant("bz", np.zeros(columns, np.int32))], axis=0)
        made = m.node("Gemm", [a.up(m), m.node("DequantizeLinear", b, axis=1 - turned), c], transB=turned)
        m.output(m.node("QuantizeLinear", [made, y.scale, y.zero]), dtype)
    else:
        m.output(m.node("QGemm", a.three() + b + [m.constant("b", bias), y.scale, y.zero], MS, transB=turned), dtype)


def pair(op):
    def draw(m, dtype, folded):
        shape = [m.whole(1, 3), m.whole(1, 5), m.whole(1, 40)]
        other = m.of(shape, shape, shape, shape[1:], [1, shape[1], 1])
        a, b = Data(m, dtype, shape=shape), Data(m, dtype, shape=other)
        size = 74 * (a.scale_value + b.scale_value) if op == "Add" else 74 * 74 * a.scale_value * b.scale_value
        y = result(m, dtype, size)
        if folded:
            m.output(m.node("QuantizeLinear", [m.node(op, [a.up(m), b.up(m)]), y.scale, y.zero]), dtype)
        else:
            m.output(m.node(f"QLinear{op}", a.three() + b.three() + [y.scale, y.zero], MS), dtype)

    return draw


def pool(m, dtype, folded):
    x = Data(m, dtype, shape=[m.whole(1, 2), m.whole(1, 19), m.whole(3, 9), m.whole(3, 9)])
    y = result(m, dtype, 40 * x.scale_value)
    op = m.of("GlobalAveragePool", "GlobalAveragePool", "AveragePool")
    frame = {} if op[0] == "G" else window(m, 2) | dict(count_include_pad=m.of(0, 1))
    if folded:
        m.output(m.node("QuantizeLinear", [m.node(op, [x.up(m)], **frame), y.scale, y.zero]), dtype)
    else:
        frame.update(channels_last=0) if op[0] == "G" else None
        m.output(m.node(f"QLinear{op}", x.three() + [y.scale, y.zero], MS, **frame), dtype)


def unary(m, dtype, folded):
    x = Data(m, dtype, shape=[m.whole(1, 3), m.whole(1, 70)])
    op = m.of("Sigmoid", "LeakyRelu")
    y = result(m, dtype, 0.8 if op == "Sigmoid" else 74 * x.scale_value)
    attributes = dict(alpha=0.1) if op == "LeakyRelu" else {}
    if folded:
        m.output(m.node("QuantizeLinear", [m.node(op, [x.up(m)], **attributes), y.scale, y.zero]), dtype)
    else:
        m.output(m.node(f"QLinear{op}", x.three() + [y.scale, y.zero], MS, **attributes), dtype)


def concat(m, dtype, folded):
    parts = [Data(m, dtype, shape=[2, m.whole(1, 5), 7]) for _ in range(m.whole(2, 3))]
    y = result(m, dtype, 74 * parts[0].scale_value)
    if folded:
        made = m.node("Concat", [p.up(m) for p in parts], axis=1)
        m.output(m.node("QuantizeLinear", [made, y.scale, y.zero]), dtype)
    else:
        operands = [y.scale, y.zero] + [name for p in parts for name in p.three()]
        m.output(m.node("QLinearConcat", operands, MS, axis=1), dtype)


def residual(m, dtype, folded):
    """A convolution, a sum with what went in, bounds, a pool: quantized between all of them."""
    channels = m.whole(1, 9)
    x = Data(m, dtype, shape=[1, channels, 6, 7])
    w, ws = weights(m, [channels, channels, 3, 3], channels, 0, np.int8)
    steps = float(np.mean(x.scale_value * np.asarray(ws)))
    middle = result(m, dtype, steps * 74 * 74 * np.sqrt(9 * channels))
    made = m.node("Conv", [x.up(m), m.node("DequantizeLinear", w, axis=0)], pads=[1, 1, 1, 1])
    middle.name = m.node("QuantizeLinear", [made, middle.scale, middle.zero])
    total = result(m, dtype, 74 * (middle.scale_value + x.scale_value))
    total.name = m.node("QuantizeLinear", [m.node("Add", [middle.up(m), x.up(m)]), total.scale, total.zero])
    m.output(m.node("QuantizeLinear", [m.node("MaxPool", [total.up(m)], kernel_shape=[2, 2], strides=[2, 2]), total.scale, total.zero]), dtype)


OPERATORS = [conv, conv, matmul, pair("Add"), pair("Mul"), pool, gemm, unary, concat]
FORMS = [conv, conv, matmul, pair("Add"), pair("Mul"), pool, gemm, unary, concat, residual]
# what onnxruntime fuses whatever the type, and what it leaves in floats for i8
KINDS = {"exact": [(False, np.uint8), (False, np.int8), (True, np.uint8), (True, np.uint8)], "near": [(True, np.int8)]}


def run(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--graphs", type=int, default=400, help="of kind exact; a quarter as many of the other")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    os.makedirs(given.folder, exist_ok=True)
    for kind, forms in KINDS.items():
        graphs = given.graphs if kind == "exact" else given.graphs // 4
        rng = np.random.default_rng([given.seed, len(kind)])
        for number in range(-(-graphs // SIDE_BY_SIDE)):
            m = Model(rng)
            for i in range(SIDE_BY_SIDE):
                folded, dtype = forms[i % len(forms)]
                draws = FORMS if folded else OPERATORS
                draws[(number * SIDE_BY_SIDE + i) // len(forms) % len(draws)](m, dtype, folded)
            graph = helper.make_graph(m.nodes, "quantized", m.inputs, m.outputs, m.constants)
            imports = [helper.make_opsetid("", 13), helper.make_opsetid(MS, 1)]
            model = helper.make_model(graph, opset_imports=imports, ir_version=8)
            outputs = run(model).run(None, m.feeds)
            arrays = {f"in.{name}": value for name, value in m.feeds.items()}
            arrays |= {f"out.{o.name}": value for o, value in zip(m.outputs, outputs)}
            stem = os.path.join(given.folder, f"{kind}_{number:02}")
            onnx.save(model, f"{stem}.onnx")
            np.savez(f"{stem}.npz", **arrays)


if __name__ == "__main__":
    main()
