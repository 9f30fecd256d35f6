#!/usr/bin/env python3
"""Rates of a CPU level for backends/kernels/src/cost/rates.rs, fitted to measured steps of models.

    cargo build --release -p maquette
    python3 bench/fit.py [--bin DIR] [--cpu LEVEL] [--zoo DIR] [MODEL ...]

Runs `maquette explain --measure` and `bench --layers` on each model. The peaks are those that `bench --layers` measures beside the layers; bytes a second
are the best that nodes without products reach, by how many bytes they touch; what a call costs is the least that any step takes. Prints the row, and how
far predictions are from measurements now (median, and the middle nine tenths). Needs nothing but Python."""
import argparse, json, os, re, statistics, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = ["mnist", "mlt_resnet8_f32", "face_rfb320", "mobilenet_v2", "resnet18", "yolo_n320", "minilm_s128"]
# bytes that nodes touch whose data comes from L1, L2, L3, memory
BOUNDS = [24e3, 700e3, 12e6, float("inf")]


def said(a, words):
    run = subprocess.run([os.path.join(a.bin, "maquette")] + words, capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    return json.loads(run.stdout), run.stderr


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("models", nargs="*", default=MODELS)
    p.add_argument("--bin", default=os.path.join(HERE, "../target/release"))
    p.add_argument("--cpu", default="native")
    p.add_argument("--models", dest="folder", default=os.path.join(HERE, "../../shared/zoo/models"))
    p.add_argument("--zoo", default=os.path.join(tempfile.gettempdir(), "zoo-full"))
    a = p.parse_args()
    floats, products, best, calls, off = [], [], [0.0] * 4, [], []
    for name in a.models:
        path = next((q for q in (name, os.path.join(a.folder, name + ".onnx"), os.path.join(a.zoo, name + ".onnx")) if os.path.exists(q)), None)
        if path is None:
            print(f"skipped: {name} is not there", file=sys.stderr)
            continue
        layers, told = said(a, ["bench", path, "--layers", "--json", "--cpu", a.cpu])
        peak = re.search(r"the peak of (\S+) in this run: (\d+) GFLOP/s(?:, (\d+) Gop/s)?", told)
        level = peak.group(1)
        floats.append(float(peak.group(2)) / 2)
        products.append(float(peak.group(3) or 0) / 2)
        for row in layers[:-1]:
            if row["MMACs"] == 0 and row["min_us"] > 0.2:
                at = next(i for i, bound in enumerate(BOUNDS) if row["KB"] * 1e3 < bound)
                best[at] = max(best[at], row["GB/s"])
        for row in said(a, ["explain", path, "--measure", "--json", "--cpu", a.cpu])[0]:
            calls.append(row["measured_us"])
            if row["measured_/_predicted"] is not None and row["measured_us"] > 0.5:
                off.append(row["measured_/_predicted"])
    # farther memory is never faster, and a place that no node shows is as the one before
    for i in range(1, 4):
        best[i] = min(best[i] or best[i - 1], best[i - 1] or best[i])
    read = ", ".join(f"{b:.0f}e9" for b in best)
    call = max(1.0, 1e3 * min(calls))
    print(f'("{level}", Rates {{ floats: {max(floats):.0f}e9, bytes: {max(products):.0f}e9, read: [{read}], call: {call:.0f}e-9 }}),')
    off.sort()
    cut = len(off) // 20
    print(f"measured / predicted of {len(off)} steps: median {statistics.median(off):.2f}, nine tenths within {off[cut]:.2f} and {off[-1 - cut]:.2f}", file=sys.stderr)


main()
