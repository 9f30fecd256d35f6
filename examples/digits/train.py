#!/usr/bin/env python3
"""Trains the digits network with numpy alone and writes every committed file of this example beside itself:
digits.onnx, test.images.u8, test.labels.u8, expected.txt, calib.npz.

Needs: pip install numpy scikit-learn onnx onnxruntime (only to make the files again; using them needs no Python).
The seed is fixed. Another BLAS may round sums differently, so another machine trains a network that is as good, not
the same bits; the committed files belong together.

The recipe was chosen on folds of the training images only; the 360 test images are looked at once, by the last lines.
"""
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = pathlib.Path(__file__).resolve().parent
SEED, EPOCHS, BATCH, PEAK_RATE, DECAY = 0, 120, 48, 3e-3, 5e-3
TEST, CALIBRATION = 360, 256


# ------------------------------------------------------------------ the network, forward and backward, channels last
def patches(x):
    """[n, h, w, c] -> [n, h, w, 9 c]: the 3x3 surroundings of every pixel, zero outside."""
    n, h, w, c = x.shape
    wide = np.zeros((n, h + 2, w + 2, c), np.float32)
    wide[:, 1:-1, 1:-1] = x
    return np.concatenate([wide[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=3)


def unpatches(g, c):
    """The adjoint of `patches`."""
    n, h, w, _ = g.shape
    wide = np.zeros((n, h + 2, w + 2, c), np.float32)
    for tap in range(9):
        i, j = divmod(tap, 3)
        wide[:, i : i + h, j : j + w] += g[..., tap * c : (tap + 1) * c]
    return wide[:, 1:-1, 1:-1]


def he(rng, rows, cols):
    return (rng.standard_normal((rows, cols)) * np.sqrt(2 / rows)).astype(np.float32)


def fresh(rng):
    """Weights are [9 c_in, c_out] for convolutions (tap-major) and [h w c, 10] for the classifier."""
    shapes = {"conv1": (9, 16), "conv2": (144, 32), "conv3": (288, 32), "fc": (512, 10)}
    p = {}
    for name, (rows, cols) in shapes.items():
        p[name + ".weight"] = he(rng, rows, cols)
        p[name + ".bias"] = np.zeros(cols, np.float32)
    return p


def forward(p, x, drop=None):
    """x: [n, 8, 8, 1] in 0..1. Returns logits [n, 10] and what `backward` needs. `drop`: mask on the classifier's input."""
    a0 = patches(x)
    h1 = np.maximum(a0 @ p["conv1.weight"] + p["conv1.bias"], 0)
    a1 = patches(h1)
    h2 = np.maximum(a1 @ p["conv2.weight"] + p["conv2.bias"], 0)
    n = len(x)
    cells = h2.reshape(n, 4, 2, 4, 2, 32).transpose(0, 1, 3, 2, 4, 5).reshape(n, 4, 4, 4, 32)
    top = cells.argmax(axis=3)
    pooled = np.take_along_axis(cells, top[:, :, :, None], axis=3)[:, :, :, 0]
    a2 = patches(pooled)
    h3 = np.maximum(a2 @ p["conv3.weight"] + p["conv3.bias"], 0)
    flat = h3.reshape(n, 512)
    if drop is not None:
        flat = flat * drop
    return flat @ p["fc.weight"] + p["fc.bias"], (a0, h1, a1, h2, top, a2, h3, flat, drop)


def backward(p, g, saved):
    """g: gradient of the loss by the logits. Returns the gradient by every parameter."""
    a0, h1, a1, h2, top, a2, h3, flat, drop = saved
    n, d = len(g), {}

    def linear(name, a, g):
        rows = a.reshape(-1, a.shape[-1])
        cols = g.reshape(-1, g.shape[-1])
        d[name + ".weight"] = rows.T @ cols
        d[name + ".bias"] = cols.sum(axis=0)
        return g @ p[name + ".weight"].T

    g = linear("fc", flat, g)
    if drop is not None:
        g = g * drop
    g = unpatches(linear("conv3", a2, g.reshape(h3.shape) * (h3 > 0)), 32)
    cells = np.zeros((n, 4, 4, 4, 32), np.float32)
    np.put_along_axis(cells, top[:, :, :, None], g[:, :, :, None], axis=3)
    g = cells.reshape(n, 4, 4, 2, 2, 32).transpose(0, 1, 3, 2, 4, 5).reshape(h2.shape)
    g = unpatches(linear("conv2", a1, g * (h2 > 0)), 16)
    linear("conv1", a0, g * (h1 > 0))
    return d


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# ------------------------------------------------------------------ training
def jitter(rng, x):
    """A small random turn, scaling, shear and shift of each image; sampled bilinearly, zero outside."""
    n = len(x)
    turn = rng.uniform(-0.2, 0.2, n)
    sy, sx, shear = rng.uniform(0.88, 1.12, n), rng.uniform(0.88, 1.12, n), rng.uniform(-0.15, 0.15, n)
    dy, dx = rng.uniform(-1, 1, n), rng.uniform(-1, 1, n)
    y, z = np.meshgrid(np.arange(8) - 3.5, np.arange(8) - 3.5, indexing="ij")
    cos, sin = np.cos(turn), np.sin(turn)

    def along(a, b, shift):
        return a[:, None, None] * y + b[:, None, None] * z + 3.5 + shift[:, None, None] + 2

    v = np.clip(along(cos * sy, -sin * sx, dy), 0, 10.999)
    u = np.clip(along(sin * sy + shear, cos * sx, dx), 0, 10.999)
    wide = np.zeros((n, 12, 12), np.float32)
    wide[:, 2:-2, 2:-2] = x[..., 0]
    i, j = v.astype(int), u.astype(int)
    fv, fu, k = v - i, u - j, np.arange(n)[:, None, None]
    out = (1 - fv) * ((1 - fu) * wide[k, i, j] + fu * wide[k, i, j + 1])
    out += fv * ((1 - fu) * wide[k, i + 1, j] + fu * wide[k, i + 1, j + 1])
    return out.astype(np.float32)[..., None]


def train(x, labels, seed):
    """Adam with decoupled weight decay, a one-cycle rate and a running mean of the weights, which is what is returned."""
    rng = np.random.default_rng(seed)
    p = fresh(rng)
    first = {k: np.zeros_like(v) for k, v in p.items()}
    second = {k: np.zeros_like(v) for k, v in p.items()}
    mean = {k: v.copy() for k, v in p.items()}
    goal = np.eye(10, dtype=np.float32)[labels] * 0.95 + 0.005
    steps, t = EPOCHS * (len(x) // BATCH), 0
    for epoch in range(EPOCHS):
        order, loss = rng.permutation(len(x)), 0.0
        for start in range(0, len(x) - BATCH + 1, BATCH):
            at = order[start : start + BATCH]
            drop = (rng.random((BATCH, 512)) < 0.7).astype(np.float32) / np.float32(0.7)
            z, saved = forward(p, jitter(rng, x[at]), drop)
            q = softmax(z)
            loss -= float((goal[at] * np.log(q + 1e-9)).sum())
            d = backward(p, (q - goal[at]) / BATCH, saved)
            t += 1
            part = t / steps
            rate = PEAK_RATE * (part / 0.15 if part < 0.15 else 0.5 * (1 + np.cos(np.pi * (part - 0.15) / 0.85)))
            for k in p:
                first[k] += 0.1 * (d[k] - first[k])
                second[k] += 0.001 * (d[k] ** 2 - second[k])
                step = first[k] / (1 - 0.9**t) / (np.sqrt(second[k] / (1 - 0.999**t)) + 1e-8)
                p[k] = (p[k] - rate * (step + (DECAY * p[k] if k.endswith("weight") else 0))).astype(np.float32)
                mean[k] += np.float32(0.005) * (p[k] - mean[k])
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1:3}  loss {loss / len(x):.4f}", flush=True)
    return mean


def folds(x, labels):
    """Accuracy on five folds of the training images: how the recipe was chosen."""
    part = np.random.default_rng(1).permutation(len(x)) % 5
    right = 0
    for f in range(5):
        p = train(x[part != f], labels[part != f], SEED)
        hits = int((forward(p, x[part == f])[0].argmax(axis=1) == labels[part == f]).sum())
        print(f"fold {f}: {hits} of {(part == f).sum()}", flush=True)
        right += hits
    print(f"{right} of {len(x)} right over all folds ({100 * right / len(x):.2f} %)")


# ------------------------------------------------------------------ the files
def export(p):
    """The ONNX model. Pixels come in as 0..16: the first convolution's weights carry the division by 16."""

    def kernel(name, c_in, scale=1.0):
        w = p[name + ".weight"].reshape(3, 3, c_in, -1).transpose(3, 2, 0, 1) * np.float32(scale)
        return np.ascontiguousarray(w, np.float32)

    classifier = p["fc.weight"].reshape(4, 4, 32, 10).transpose(3, 2, 0, 1).reshape(10, 512)
    weights = {
        "conv1.weight": kernel("conv1", 1, 1 / 16),
        "conv2.weight": kernel("conv2", 16),
        "conv3.weight": kernel("conv3", 32),
        "fc.weight": np.ascontiguousarray(classifier, np.float32),
        **{k: v for k, v in p.items() if k.endswith(".bias")},
    }

    def conv(name, x):
        inputs = [x, name + ".weight", name + ".bias"]
        return helper.make_node("Conv", inputs, [name], name, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    nodes = [
        conv("conv1", "image"),
        helper.make_node("Relu", ["conv1"], ["relu1"], "relu1"),
        conv("conv2", "relu1"),
        helper.make_node("Relu", ["conv2"], ["relu2"], "relu2"),
        helper.make_node("MaxPool", ["relu2"], ["pool"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        conv("conv3", "pool"),
        helper.make_node("Relu", ["conv3"], ["relu3"], "relu3"),
        helper.make_node("Flatten", ["relu3"], ["flat"], "flat", axis=1),
        helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["logits"], "fc", transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(weights[k], k) for k in sorted(weights)],
    )
    model = helper.make_model(graph, producer_name="train.py", opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, HERE / "digits.onnx")


def main():
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.astype(np.uint8).reshape(-1, 8, 8)
    a, b, la, lb = train_test_split(pixels, labels, test_size=TEST, stratify=labels, random_state=SEED)
    x = (a / np.float32(16)).astype(np.float32)[..., None]
    if sys.argv[1:] == ["--folds"]:
        return folds(x, la)

    export(train(x, la, SEED))
    (HERE / "test.images.u8").write_bytes(b.tobytes())
    (HERE / "test.labels.u8").write_bytes(lb.astype(np.uint8).tobytes())
    np.savez_compressed(HERE / "calib.npz", image=a[:CALIBRATION].astype(np.float32)[:, None])

    import onnxruntime

    session = onnxruntime.InferenceSession(HERE / "digits.onnx", providers=["CPUExecutionProvider"])
    q = np.concatenate([session.run(None, {"image": i.astype(np.float32)[None, None]})[0] for i in b])
    said, best = q.argmax(axis=1), np.sort(q, axis=1)
    (HERE / "expected.txt").write_text("".join(f"{d}\n" for d in said))
    right = int((said == lb).sum())
    print(f"{right} of {len(lb)} right ({100 * right / len(lb):.1f} %), closest call {(best[:, -1] - best[:, -2]).min():.4f}")
    print(f"digits.onnx {(HERE / 'digits.onnx').stat().st_size} bytes")


main()
