#!/usr/bin/env python3
"""MNN and ncnn beside onnxruntime and ours, one thread, f32: for a table that is made once in a while.

    cargo build --release -p maquette
    pip install numpy onnxruntime mnn ncnn pnnx      (in an environment of their own)
    python3 bench/peers/others.py [--bin DIR] [--mnn DIR] [--tract PROGRAM] [--models DIR] [--zoo DIR] [--rounds 30] [MODEL ...]

ncnn's models are converted by the program in the wheel of pnnx. MNN's are brought (--mnn, NAME.mnn): its `mnnconvert` installs packages with whatever pip it finds,
replacing others, and sends what it did to its makers, so run it in a container without a network. Smallest times of runs that take turns, through the Python interfaces of MNN, ncnn and
onnxruntime (some ten microseconds of each call are Python's), ours as `maquette bench` tells it. What does not convert, load or run
is told as such. ncnn is given no batch."""
import argparse, importlib.util, json, os, subprocess, sys, tempfile, time
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = ["mnist", "mlt_ad_f32", "mlt_kws_f32", "mlt_vww_f32", "mlt_resnet8_f32", "face_rfb320", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "resnet50", "yolo_n320", "minilm_s128"]
SCRIPTS = os.path.dirname(sys.executable)
NUMPY = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}


def onnxruntime(path, _, feeds, folder):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feeds)


def mnn(path, name, feeds, folder):
    import MNN
    to = os.path.join(os.environ.get("MNN_MODELS", ""), name + ".mnn")
    if not os.path.exists(to):
        raise RuntimeError("no converted model in --mnn")
    net = MNN.Interpreter(to)
    session = net.createSession({"numThread": 1, "precision": "high"})
    for key, value in feeds.items():
        tensor = net.getSessionInput(session, key)
        if value.dtype != np.float32:
            value = value.astype(np.int32)
        net.resizeTensor(tensor, value.shape)
        net.resizeSession(session)
        kind = MNN.Halide_Type_Float if value.dtype == np.float32 else MNN.Halide_Type_Int
        tensor.copyFrom(MNN.Tensor(value.shape, kind, value, MNN.Tensor_DimensionType_Caffe))
    return lambda: net.runSession(session)


def ncnn(path, name, feeds, folder):
    import ncnn as n
    import shutil
    here = os.path.join(folder, name + ".onnx")
    shutil.copy(path, here)
    kinds = {"float32": "f32", "int64": "i64", "int32": "i32"}
    shape = "inputshape=" + ",".join(f"[{','.join(map(str, v.shape))}]{kinds[str(v.dtype)]}" for v in feeds.values())
    param = os.path.join(folder, name + ".ncnn.param")
    # the program in the wheel; what it is wrapped in wants torch
    program = os.path.join(os.path.dirname(importlib.util.find_spec("pnnx").origin), "pnnx")
    os.chmod(program, 0o755)
    tell([program, here, shape, "fp16=0"], param)
    net = n.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    if net.load_param(param) or net.load_model(param.replace(".param", ".bin")):
        raise RuntimeError("does not load")
    mats = [n.Mat(np.ascontiguousarray(v[0] if v.ndim > 1 else v)).clone() for v in feeds.values()]

    def run():
        extractor = net.create_extractor()
        for i, mat in enumerate(mats):
            extractor.input(f"in{i}", mat)
        status, _ = extractor.extract("out0")
        if status:
            raise RuntimeError(f"status {status}")
    return run


def tell(command, made):
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if not os.path.exists(made):
        raise RuntimeError("not converted: " + (run.stderr or run.stdout).strip()[-160:].replace("\n", " "))


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("models", nargs="*", default=MODELS)
    p.add_argument("--bin", default=os.path.join(HERE, "../../target/release"))
    p.add_argument("--mnn", default="", help="folder of NAME.mnn")
    p.add_argument("--tract", help="the program of another runtime: MODEL ROUNDS in, a line \"ms N\" out")
    p.add_argument("--models", dest="folder", default=os.path.join(HERE, "../../../shared/zoo/models"))
    p.add_argument("--zoo", default=os.path.join(tempfile.gettempdir(), "zoo-full"))
    p.add_argument("--rounds", type=int, default=30)
    p.add_argument("--one", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.one:
        return one(a)
    os.environ["MNN_MODELS"] = os.path.abspath(a.mnn) if a.mnn else ""
    heads = ["onnxruntime", "MNN", "ncnn"] + (["tract"] if a.tract else [])
    print("| model | ours ms | " + " | ".join(heads) + " |\n|---|---|" + "---|" * len(heads), flush=True)
    for name in a.models:
        path = next((q for q in (os.path.join(a.folder, name + ".onnx"), os.path.join(a.zoo, name + ".onnx")) if os.path.exists(q)), None)
        if path is None:
            print(f"skipped: {name} is not there", file=sys.stderr)
            continue
        ours = json.loads(subprocess.run([os.path.join(a.bin, "maquette"), "bench", path, "--json"], capture_output=True, text=True, check=True).stdout)[0]
        cells = [f"{ours['min_us'] / 1e3:.4g}"]
        for kind in ("onnxruntime", "mnn", "ncnn"):
            # a crash of one is its own
            run = subprocess.run([sys.executable, __file__, "--one", kind, "--rounds", str(a.rounds), path], capture_output=True, text=True, timeout=240)
            cells.append(last(run, f"{name} with {kind}"))
        if a.tract:
            cells.append(last(subprocess.run([a.tract, path, str(a.rounds)], capture_output=True, text=True), f"{name} with tract"))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def last(run, what):
    lines = run.stdout.strip().splitlines()
    if run.returncode == 0 and lines and lines[-1].startswith("ms "):
        return f"{float(lines[-1][3:]):.4g}"
    why = (run.stderr.strip() or f"ended with {run.returncode}").splitlines()[-1][:200]
    print(f"{what}: {why}", file=sys.stderr)
    return "–"


def one(a):
    import onnxruntime as ort
    path = a.models[0]
    asked = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs()
    shape = lambda i: [d if isinstance(d, int) else 1 for d in i.shape]
    make = lambda i: np.full(shape(i), 0.5, NUMPY[i.type]) if i.type == "tensor(float)" else np.ones(shape(i), NUMPY[i.type])
    feeds = {i.name: make(i) for i in asked}
    with tempfile.TemporaryDirectory() as folder:
        run = {"onnxruntime": onnxruntime, "mnn": mnn, "ncnn": ncnn}[a.one](path, os.path.splitext(os.path.basename(path))[0], feeds, folder)
        run()
        times = []
        while len(times) < a.rounds or (sum(times) < 1.0 and len(times) < 20000):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        print(f"ms {min(times) * 1e3:.6f}")


main()
