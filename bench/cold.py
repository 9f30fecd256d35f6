#!/usr/bin/env python3
"""Cold start, peak memory and deployed size beside onnxruntime and OpenVINO, each from a small C program (bench/cold).

    cargo build --release -p maquette
    python3 bench/cold.py [--bin DIR] [--rounds 7] [--models DIR] [--zoo DIR] [MODEL ...]

One thread. *start*: from before the process is started to its first answer, the smallest of some runs that take turns; *peak*: the most
resident memory, libraries and mapped files included; *size*: the program, and for the others the model and the libraries that it loads.
`plain` is ours with --no-winograd. Needs cc, and onnxruntime and openvino from PyPI, for their libraries."""
import argparse, glob, os, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SMALL = ["mnist", "mlt_ad_f32", "mlt_kws_f32", "mlt_vww_f32", "mlt_resnet8_f32", "mlt_ad_i8", "mlt_kws_i8", "face_rfb320", "lstm_2x256"]
LARGE = ["mobilenet_v2", "resnet18", "resnet50", "yolo_n320", "minilm_s128", "distilbert_s128", "vit_b_16"]
TYPES = {"tensor(float)": "f32", "tensor(int64)": "i64", "tensor(int32)": "i32", "tensor(uint8)": "u8", "tensor(int8)": "i8"}
# what OpenVINO loads for an ONNX model on a CPU
OPENVINO = ["libopenvino.so.*", "libopenvino_c.so.*", "libopenvino_onnx_frontend.so.*", "libopenvino_intel_cpu_plugin.so", "libtbb.so.*", "libtbbmalloc.so.*"]


def folder_of(package):
    import importlib.util
    spec = importlib.util.find_spec(package)
    return os.path.dirname(spec.origin) if spec else None


def ports(path):
    """Inputs as words of the command line, and the first output."""
    import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    dims = lambda i: ",".join(str(d if isinstance(d, int) else 1) for d in i.shape)
    return [f"{i.name}={TYPES[i.type]}:{dims(i)}" for i in session.get_inputs()], session.get_outputs()[0].name


def ours(a, path, folder, flags):
    subprocess.run([os.path.join(a.bin, "maquette"), "-q", "compile", path, "--name", "net", "--emit", "a,h", "-o", folder] + flags, check=True)
    program = os.path.join(folder, "ours" + "".join(flags).replace("-", "_"))
    subprocess.run(["cc", "-O2", "-s", '-DHEADER="net.h"', "-DMODEL=net_model", "-I" + folder, "-I" + os.path.join(HERE, "cold"),
                    os.path.join(HERE, "cold/ours.c"), os.path.join(folder, "libnet.a"), "-o", program], check=True)
    return [program], os.path.getsize(program)


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("models", nargs="*", default=SMALL + LARGE)
    p.add_argument("--bin", default=os.path.join(HERE, "../target/release"))
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--models", dest="folder", default=os.path.join(HERE, "../../shared/zoo/models"))
    p.add_argument("--zoo", default=os.path.join(tempfile.gettempdir(), "zoo-full"))
    a = p.parse_args()
    print("| model | file MB | start ms | plain | onnxruntime | OpenVINO | peak MB | plain | onnxruntime | OpenVINO | size MB | onnxruntime | OpenVINO | at least, times |")
    print("|---" * 14 + "|", flush=True)
    with tempfile.TemporaryDirectory() as work:
        built = {}
        for name in ("measure", "ort", "openvino"):
            built[name] = os.path.join(work, name)
            subprocess.run(["cc", "-O2", os.path.join(HERE, "cold", name + ".c"), "-o", built[name], "-ldl"], check=True)
        libraries = {}
        if where := folder_of("onnxruntime"):
            libraries["ort"] = glob.glob(os.path.join(where, "capi/libonnxruntime.so*"))
        if where := folder_of("openvino"):
            libraries["openvino"] = [f for pattern in OPENVINO for f in glob.glob(os.path.join(where, "libs", pattern))]
        for name in a.models:
            path = next((q for q in (os.path.join(a.folder, name + ".onnx"), os.path.join(a.zoo, name + ".onnx")) if os.path.exists(q)), None)
            if path is None:
                print(f"skipped: {name} is not there", file=sys.stderr)
                continue
            row(a, name, path, built, libraries, os.path.join(work, name))


def row(a, name, path, built, libraries, folder):
    words, output = ports(path)
    weights = os.path.getsize(path)
    os.makedirs(folder)
    commands, sizes = {}, {}
    for kind, flags in (("ours", []), ("plain", ["--no-winograd"])):
        commands[kind], sizes[kind] = ours(a, path, folder, flags)
        commands[kind] += words
    for kind, files in libraries.items():
        library = next(f for f in files if "openvino_c" in f or "onnxruntime.so" in f)
        commands[kind] = [built[kind], library, path, output] + words
        sizes[kind] = os.path.getsize(path) + sum(os.path.getsize(f) for f in files)
    start, peak, said = {}, {}, {}
    for _ in range(a.rounds):
        for kind, command in list(commands.items()):
            run = subprocess.run([built["measure"]] + command, capture_output=True, text=True)
            if run.returncode:
                print(f"skipped: {name} with {kind}: {run.stderr.strip()[:200]}", file=sys.stderr)
                del commands[kind]
                continue
            ms, kb, answer = run.stdout.split()
            start[kind] = min(start.get(kind, 1e9), float(ms))
            peak[kind] = max(peak.get(kind, 0), int(kb) / 1e3)
            said[kind] = answer
    if not said:
        return
    show = lambda of, kind, digits: f"{of[kind]:.{digits}f}" if kind in of else "–"
    mega = {k: v / 1e6 for k, v in sizes.items() if k in start}
    ratio = lambda of: min((of[k] for k in libraries if k in of), default=0) / of["ours"]
    print(f"| {name} | {weights / 1e6:.2f} | " + " | ".join(show(start, k, 2) for k in ("ours", "plain", "ort", "openvino")) + " | "
          + " | ".join(show(peak, k, 1) for k in ("ours", "plain", "ort", "openvino")) + " | "
          + " | ".join(show(mega, k, 2) for k in ("ours", "ort", "openvino"))
          + f" | {ratio(start):.0f}, {ratio(peak):.1f}, {ratio(mega):.0f} |", flush=True)
    import struct
    numbers = {k: struct.unpack("<f", bytes.fromhex(v)[::-1])[0] for k, v in said.items()}
    print(f"{name}: first output {numbers}", file=sys.stderr)


main()
