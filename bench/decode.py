#!/usr/bin/env python3
"""The decoders of the zoo from their first token on, caches growing inside the compiled model, against onnxruntime that is handed
them: the largest difference of the logits of any step over the largest magnitude of that step.

    cargo build --release -p maquette
    python3 bench/decode.py [--steps N] [--bin DIR] [--zoo DIR] [--machine NAME ...] [MODEL ...]

The models of the zoo have caches of one size; a copy with an open dimension is what is compiled (`--dim past=0..N --state k0:past_k0 …`).
Needs numpy, onnx, onnxruntime from PyPI and the decoders inflated, qemu-user and node for other machines. Ends with status 1 when a
difference is above 1e-4. Timing is not its business."""
import argparse, os, subprocess, sys, tempfile
import numpy as np
import onnx, onnxruntime

HERE = os.path.dirname(os.path.abspath(__file__))
MACHINES = {
    "x86-64-v3": ["--cpu", "x86-64-v3"],
    "x86-64-v4": ["--cpu", "x86-64-v4"],
    "armv8": ["--target", "aarch64-linux", "--runner", "qemu-aarch64 -cpu cortex-a53"],
    "simd128": ["--target", "wasm32", "--cpu", "simd128"],
}


def opened(path, to):
    """A copy whose caches begin empty and grow; their names."""
    model = onnx.load(path)
    caches = [v for v in model.graph.input if v.name.startswith("past_")]
    for value in caches:
        value.type.tensor_type.shape.dim[2].dim_param = "past"
    for value in model.graph.output:
        if value.name != "logits":
            value.type.tensor_type.shape.dim[2].dim_param = "total"
    del model.graph.value_info[:]
    onnx.save(model, to)
    return [value.name for value in caches]


def expected(path, ids):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    sizes = lambda i: [d if isinstance(d, int) else 0 for d in i.shape]
    feeds = {i.name: np.zeros(sizes(i), np.float32) for i in session.get_inputs() if i.name.startswith("past_")}
    names = [o.name for o in session.get_outputs()]
    all = []
    for at, token in enumerate(ids):
        made = dict(zip(names, session.run(None, {"ids": token, "pos": np.full((1, 1), at), **feeds})))
        feeds = {"past_" + name: made[name] for name in names if name != "logits"}
        all.append(made["logits"])
    return np.stack(all)


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("models", nargs="*", default=["llama15m_decode_p128", "gpt2_decode_p128"])
    p.add_argument("--steps", type=int, default=24)
    p.add_argument("--zoo", default=os.path.join(tempfile.gettempdir(), "zoo-full"), help="where inflate.py put the models")
    p.add_argument("--machine", nargs="*", default=list(MACHINES), choices=list(MACHINES))
    p.add_argument("--bin", default=os.path.join(HERE, "../target/release"))
    a = p.parse_args()
    print("| model | " + " | ".join(a.machine) + " |\n|---|" + "---|" * len(a.machine), flush=True)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name in a.models:
            path, given, got = (os.path.join(folder, name + end) for end in (".onnx", ".in.npz", ".out.npz"))
            caches = opened(os.path.join(a.zoo, name + ".onnx"), path)
            ids = np.random.default_rng(1).integers(0, 1000, (a.steps, 1, 1))
            np.savez(given, ids=ids, pos=np.arange(a.steps).reshape(-1, 1, 1))
            wanted = expected(path, ids).reshape(a.steps, -1)
            keep = [word for cache in caches for word in ("--state", f"{cache[len('past_'):]}:{cache}")]
            cells = []
            for machine in a.machine:
                command = [os.path.join(a.bin, "maquette"), "run", path, "--inputs", given, "--outputs", got, "--dim", f"past=0..{a.steps - 1}"]
                said = subprocess.run(command + keep + MACHINES[machine], capture_output=True, text=True)
                if said.returncode:
                    print(said.stderr.strip()[-300:], file=sys.stderr)
                    worst = float("inf")
                    cells.append(f"exit {said.returncode}")
                    continue
                ours = np.load(got)["logits"].reshape(a.steps, -1)
                error = float((np.abs(ours - wanted).max(1) / np.abs(wanted).max(1)).max())
                worst = max(worst, error) if error == error else float("inf")
                cells.append(f"{error:.0e}")
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    sys.exit(worst > 1e-4)


main()
