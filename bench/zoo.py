#!/usr/bin/env python3
"""Every f32 model of the zoo on every machine, against onnxruntime: the largest difference over the largest magnitude expected.

    cargo build --release -p maquette
    python3 bench/zoo.py [more] [--bin DIR] [--models DIR] [--zoo DIR] [--machine NAME ...] [MODEL ...]

`more` stands for the models of speech, sound and text beside the pictures (with `--machine x86-64-v4`: an emulator takes its time).
Needs numpy, onnx, onnxruntime from PyPI, the zoo beside the repository, qemu-user and node. Ends with status 1 when a difference is
above 1e-4. Timing is not its business."""
import argparse, os, subprocess, sys, tempfile
import numpy as np
import onnxruntime

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = ["mnist", "mlt_ad_f32", "mlt_kws_f32", "mlt_vww_f32", "mlt_resnet8_f32", "face_rfb320", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "resnet50", "yolo_n320"]
MORE = ["silero_vad", "lstm_2x256", "gru_2x256", "gpt2_decode_p128", "llama15m_decode_p128", "minilm_s128", "minilm_dyn", "distilbert_s128", "whisper_tiny_enc", "vit_b_16", "basic_pitch"]
# inputs that decide which branch is taken
CHOSEN = {"silero_vad": {"sr": np.array(16000, dtype=np.int64)}}
# Node 20 has relaxed SIMD behind a word that later versions do not know
RELAXED = "node --experimental-wasm-relaxed-simd" if subprocess.run(["node", "--experimental-wasm-relaxed-simd", "-e", "0"], capture_output=True).returncode == 0 else "node"
MACHINES = {
    "x86-64-v3": ["--cpu", "x86-64-v3"],
    "x86-64-v4": ["--cpu", "x86-64-v4"],
    "armv8": ["--target", "aarch64-linux", "--runner", "qemu-aarch64 -cpu cortex-a53"],
    "armv8+dotprod": ["--target", "aarch64-linux", "--cpu", "armv8+dotprod", "--runner", "qemu-aarch64 -cpu cortex-a76"],
    "armv8+i8mm": ["--target", "aarch64-linux", "--cpu", "armv8+i8mm", "--runner", "qemu-aarch64 -cpu max"],
    "simd128": ["--target", "wasm32", "--cpu", "simd128"],
    "relaxed": ["--target", "wasm32", "--cpu", "relaxed", "--runner", RELAXED],
}
TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}


def inputs(path, given, session):
    if os.path.exists(given):
        return dict(np.load(given))
    rng = np.random.default_rng(1)
    shape = lambda i: [d if isinstance(d, int) else 1 for d in i.shape]
    return {i.name: rng.standard_normal(shape(i)).astype(TYPES[i.type]) for i in session.get_inputs()}


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("models", nargs="*", default=MODELS)
    p.add_argument("--models", dest="folder", default=os.path.join(HERE, "../../shared/zoo"))
    p.add_argument("--zoo", default=os.path.join(tempfile.gettempdir(), "zoo-full"), help="where inflate.py put the large ones")
    p.add_argument("--machine", nargs="*", default=list(MACHINES), choices=list(MACHINES))
    p.add_argument("--bin", default=os.path.join(HERE, "../target/release"))
    a = p.parse_args()
    a.models = [m for name in a.models for m in (MORE if name == "more" else [name])]
    print("| model | " + " | ".join(a.machine) + " |\n|---|" + "---|" * len(a.machine), flush=True)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name in a.models:
            path = next(q for q in (os.path.join(a.folder, "models", name + ".onnx"), os.path.join(a.zoo, name + ".onnx")) if os.path.exists(q))
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            feeds = inputs(path, os.path.join(a.folder, "inputs", name + ".npz"), session)
            given, got = os.path.join(folder, "in.npz"), os.path.join(folder, "out.npz")
            feeds.update(CHOSEN.get(name, {}))
            wanted = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds)))
            np.savez(given, **feeds)
            cells = []
            for machine in a.machine:
                command = [os.path.join(a.bin, "maquette"), "run", path, "--inputs", given, "--outputs", got, *MACHINES[machine]]
                said = subprocess.run(command, capture_output=True, text=True)
                if said.returncode:
                    cells.append(f"exit {said.returncode}")
                    worst = float("inf")
                    print(said.stderr.strip()[-300:], file=sys.stderr)
                    continue
                ours = np.load(got)
                error = max(float(np.abs(ours[k].astype("f8") - w.astype("f8")).max()) / max(float(np.abs(w).max()), 1e-30) for k, w in wanted.items())
                worst = max(worst, error) if error == error else float("inf")
                cells.append(f"{error:.0e}")
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    sys.exit(worst > 1e-4)


main()
