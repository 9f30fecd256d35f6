#!/usr/bin/env python3
"""The table of bench/README.md: every model beside onnxruntime and OpenVINO, one thread, runs interleaved, with the
multiply-add peak measured right before and after each model. Build first:

    cargo build --release -p maquette -p maquette-bench
    python3 bench/table.py --peers ../shared/bench/peers.py [--zoo DIR] [--cpu x86-64-v4] [--rounds 15] [MODEL ...]

Needs numpy, onnx, onnxruntime, openvino from PyPI. A quiet machine; nothing else may run beside it.
`floor` is the time of the model's multiply-accumulates at the peak, those that Winograd's algorithm does where it is used; `of floor` is floor / ours."""
import argparse, json, os, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = ["mnist", "mlt_ad_f32", "mlt_kws_f32", "mlt_vww_f32", "mlt_resnet8_f32", "face_rfb320", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "resnet50", "yolo_n320"]


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("models", nargs="*", default=MODELS)
    p.add_argument("--peers", default=os.path.join(HERE, "../../shared/bench/peers.py"))
    p.add_argument("--zoo", default=os.path.join(tempfile.gettempdir(), "zoo-full"))
    p.add_argument("--cpu", default="x86-64-v4")
    p.add_argument("--rounds", default="15")
    p.add_argument("--bin", default=os.path.join(HERE, "../target/release"))
    a = p.parse_args()
    maquette = os.path.join(a.bin, "maquette")
    print("| model | MMACs | ours ms | onnxruntime | OpenVINO | ours / best | median | floor ms | of floor | error |\n|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in a.models:
        before = peak(a)
        command = [sys.executable, a.peers, name, "--maquette", maquette, "--flags", f"--cpu {a.cpu}", "--rounds", a.rounds, "--zoo", a.zoo, "--json"]
        said = subprocess.run(command, capture_output=True, text=True)
        if not said.stdout.startswith("{"):
            print(f"{name}: {said.stderr.strip()[-300:]}", file=sys.stderr)
            continue
        row = json.loads(said.stdout)
        top = max(before, peak(a))
        path = next(q for q in (os.path.join(os.path.dirname(a.peers), "../zoo/models", name + ".onnx"), os.path.join(a.zoo, name + ".onnx")) if os.path.exists(q))
        said = json.loads(subprocess.run([maquette, "bench", path, "--cpu", a.cpu, "--rounds", "1", "--json"], capture_output=True, text=True).stdout)[0]
        mmacs, least = said["MMACs"], said["least_MMACs"]
        who = row["contenders"]
        ours, floor = who["ours"], 2 * least / top
        peer = lambda k: f"{who[k]['min_ms']:.4g}" if "min_ms" in who.get(k, {}) else "–"
        print(f"| {name} | {mmacs:.4g} | {ours['min_ms']:.4g} | {peer('ort')} | {peer('openvino')} | **{row['ratio_min']:.2f}** | {row['ratio_median']:.2f} | {floor:.3g} | {100 * floor / ours['min_ms']:.0f} % | {ours['error_vs_ort']:.0e} |", flush=True)


def peak(a):
    lines = subprocess.run([os.path.join(a.bin, "peak")], capture_output=True, text=True, check=True).stdout.split("\n")
    return float(next(l for l in lines if l.startswith(a.cpu + " ")).split()[1])


main()
