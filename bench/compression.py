#!/usr/bin/env python3
"""The table of docs/compression.md: the digits network as it is, quantized, pruned and both, on three machines: bytes, time or
instructions of one run, images read right and the worst class. Build first:

    cargo build --release -p maquette
    python3 bench/compression.py [--maquette target/release/maquette] [--rounds 2000]

Needs qemu-aarch64 and node for their columns; says what is missing. Times are the least of interleaved runs of this machine's CPU level;
ARM instructions are counted by qemu one by one (a run more against a run less), for armv8+dotprod."""
import argparse, array, json, os, shutil, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
DIGITS = os.path.join(HERE, "../examples/digits")
SPARSITY = "0.8"


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("--maquette", default=os.path.join(HERE, "../target/release/maquette"))
    p.add_argument("--rounds", default="2000")
    a = p.parse_args()
    maquette = os.path.abspath(a.maquette)
    with tempfile.TemporaryDirectory() as work:
        names = models(maquette, work)
        rows = {name: {} for name in names}
        x86(maquette, work, names, rows, a.rounds)
        arm(maquette, work, names, rows)
        web(maquette, work, names, rows)
        print("| | model | x86-64: executable | one run | right | worst class | ARM64: executable | instructions of a run | right | worst class | WebAssembly: module | one run | right | worst class |")
        print("|---|" + "---|" * 13)
        for name in names:
            size = os.path.getsize(f"{work}/{name}.onnx")
            cells = [name, kilo(size)]
            for machine in ("x86", "arm", "web"):
                cells += rows[name].get(machine, ["–"] * 4)
            print("| " + " | ".join(cells) + " |", flush=True)


def models(maquette, work):
    """The four models, by the commands of docs/compression.md."""
    calib = ["--calib", os.path.join(DIGITS, "calib.npz")]
    shutil.copy(os.path.join(DIGITS, "digits.onnx"), f"{work}/float.onnx")
    run = lambda *words: subprocess.run([maquette, *words, *calib, "-q"], check=True, stdout=subprocess.DEVNULL, cwd=work)
    run("quantize", "float.onnx", "-o", "int8.onnx")
    run("prune", "float.onnx", "--sparsity", SPARSITY, "--pattern", "4x1", "-o", "pruned.onnx")
    run("quantize", "pruned.onnx", "-o", "both.onnx")
    return ["float", "int8", "pruned", "both"]


def kilo(size):
    return f"{size / 1000:.1f} KB"


def images():
    with open(os.path.join(DIGITS, "test.images.u8"), "rb") as f:
        pixels = f.read()
    with open(os.path.join(DIGITS, "test.labels.u8"), "rb") as f:
        labels = f.read()
    return [array.array("f", list(pixels[64 * i : 64 * i + 64])).tobytes() for i in range(len(labels))], labels


def accuracy(answers):
    """Images read right, and the share of the class that is read worst."""
    _, labels = images()
    right = sum(a == b for a, b in zip(answers, labels))
    by = lambda c: [a == c for a, b in zip(answers, labels) if b == c]
    worst = min(sum(by(c)) / len(by(c)) for c in range(10))
    return [f"{100 * right / len(labels):.1f} %", f"{100 * worst:.1f} %"]


def best(values):
    return max(range(len(values)), key=values.__getitem__)


def executable(maquette, work, name, target):
    out = f"{work}/{target[1]}-{name}"
    subprocess.run([maquette, "compile", f"{work}/{name}.onnx", "--name", "digits", "--emit", "exe,o,json", "-o", out, "-q", *target], check=True)
    return f"{out}/digits"


def native(program, words, data):
    return subprocess.run([*words, program], input=data, stdout=subprocess.PIPE, check=True).stdout


def answers(program, words):
    return [best(array.array("f", native(program, words, image))) for image in images()[0]]


def x86(maquette, work, names, rows, rounds):
    programs = {n: executable(maquette, work, n, ["--target", "x86_64-linux", "--cpu", "native"]) for n in names}
    image = images()[0][0]
    least = {n: float("inf") for n in names}
    for _ in range(7):
        for n in names:
            times = subprocess.run([programs[n], "--bench", rounds], input=image, stdout=subprocess.PIPE, check=True).stdout.split()
            least[n] = min(least[n], min(map(int, times)))
    for n in names:
        size = os.path.getsize(programs[n])
        rows[n]["x86"] = [kilo(size), f"{least[n] / 1000:.2f} µs", *accuracy(answers(programs[n], []))]


def arm(maquette, work, names, rows):
    if not shutil.which("qemu-aarch64"):
        return print("qemu-aarch64 is not installed: no ARM64", file=sys.stderr)
    qemu = ["qemu-aarch64", "-cpu", "cortex-a76"]
    image = images()[0][0]

    def count(program, runs):
        log = f"{work}/log"
        command = [*qemu, "-singlestep", "-d", "nochain,exec", "-D", log, program, "--bench", str(runs)]
        subprocess.run(command, input=image, stdout=subprocess.DEVNULL, check=True)
        with open(log, "rb") as f:
            lines = sum(1 for line in f if line.startswith(b"Trace"))
        os.remove(log)
        return lines

    for n in names:
        program = executable(maquette, work, n, ["--target", "aarch64-linux", "--cpu", "armv8+dotprod"])
        instructions = count(program, 2) - count(program, 1)
        rows[n]["arm"] = [kilo(os.path.getsize(program)), f"{instructions:,}".replace(",", " "), *accuracy(answers(program, qemu))]


SCRIPT = """
import { readFileSync } from 'node:fs';
const models = [];
for (const name of process.argv.slice(3)) {
  const { load } = await import(`${process.argv[2]}/web-${name}/digits.mjs`);
  models.push({ name, model: await load({ relaxed: false }), least: Infinity, said: [] });
}
const pixels = readFileSync(0);
for (const m of models)
  for (let i = 0; i < pixels.length / 64; i++) {
    m.model.inputs.image = Float32Array.from(pixels.subarray(64 * i, 64 * i + 64));
    const p = m.model.run().probabilities;
    m.said.push(p.indexOf(Math.max(...p)));
  }
for (let round = 0; round < 60; round++)
  for (const m of models) {
    const start = performance.now();
    for (let i = 0; i < 100; i++) m.model.run();
    m.least = Math.min(m.least, (performance.now() - start) * 10);
  }
console.log(JSON.stringify(models.map(({ name, least, said }) => ({ name, least, said }))));
"""


def web(maquette, work, names, rows):
    if not shutil.which("node"):
        return print("node is not installed: no WebAssembly", file=sys.stderr)
    for n in names:
        out = f"{work}/web-{n}"
        subprocess.run([maquette, "compile", f"{work}/{n}.onnx", "--name", "digits", "--target", "wasm32", "-o", out, "-q"], check=True)
    with open(f"{work}/run.mjs", "w") as f:
        f.write(SCRIPT)
    with open(os.path.join(DIGITS, "test.images.u8"), "rb") as f:
        said = subprocess.run(["node", f"{work}/run.mjs", work, *names], stdin=f, stdout=subprocess.PIPE, check=True).stdout
    for row in json.loads(said):
        size = os.path.getsize(f"{work}/web-{row['name']}/digits.simd128.wasm")
        rows[row["name"]]["web"] = [kilo(size), f"{row['least']:.1f} µs", *accuracy(row["said"])]


main()
