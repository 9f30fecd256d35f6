#!/usr/bin/env python3
"""What compiling takes: seconds, processor seconds and memory for every model of the zoo, with --tune too if asked.

    cargo build --release -p maquette
    python3 bench/compile.py [--tune] [--bin DIR] [--cpu LEVEL] [--models DIR] [--zoo DIR] [MODEL ...]

*anonymous*: the most memory of the compiler's own (RssAnon, sampled every few milliseconds), the mapped model not counted; *of file*: relative to the model's file.
Ends with status 1 when a model takes more than 5 seconds (30 with --tune), or vit_b_16 more than half of its file."""
import argparse, os, resource, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("models", nargs="*")
    p.add_argument("--tune", action="store_true")
    p.add_argument("--bin", default=os.path.join(HERE, "../target/release"))
    p.add_argument("--cpu", default="native")
    p.add_argument("--models", dest="folder", default=os.path.join(HERE, "../../shared/zoo/models"))
    p.add_argument("--zoo", default=os.path.join(tempfile.gettempdir(), "zoo-full"))
    a = p.parse_args()
    found = {f[:-5]: os.path.join(d, f) for d in (a.folder, a.zoo) if os.path.isdir(d) for f in sorted(os.listdir(d)) if f.endswith(".onnx")}
    names = a.models or sorted(found, key=lambda n: os.path.getsize(found[n]))
    heads = ["model", "file MB", "seconds", "processor", "anonymous MB", "of file", "artifact MB"] + (["seconds with --tune"] if a.tune else [])
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|", flush=True)
    late = []
    for name in names:
        size = os.path.getsize(found[name])
        seconds, user, anonymous, artifact = compile(a, found[name], [])
        cells = [name, f"{size / 1e6:.1f}", f"{seconds:.2f}", f"{user:.2f}", f"{anonymous / 1e6:.1f}", f"{anonymous / size:.2f}", f"{artifact / 1e6:.2f}"]
        if seconds > 5 or (name == "vit_b_16" and anonymous > size / 2):
            late.append(name)
        if a.tune:
            tuned = compile(a, found[name], ["--tune"])[0]
            cells.append(f"{tuned:.1f}")
            if tuned > 30:
                late.append(name + " with --tune")
        print("| " + " | ".join(cells) + " |", flush=True)
    if late:
        sys.exit("too much: " + ", ".join(late))


def compile(a, path, more):
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        command = [os.path.join(a.bin, "maquette"), "-q", "compile", path, "--name", "net", "--cpu", a.cpu, "--emit", "a", "-o", folder] + more
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        anonymous = 0
        while child.poll() is None:
            try:
                with open(f"/proc/{child.pid}/status") as status:
                    lines = dict(line.split(":", 1) for line in status)
                anonymous = max(anonymous, int(lines.get("RssAnon", "0 kB").split()[0]) * 1024)
            except (FileNotFoundError, ProcessLookupError):
                break
            time.sleep(0.002)
        child.wait()
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if child.returncode:
            print(f"{path}: exit {child.returncode}", file=sys.stderr)
        written = os.path.join(folder, "libnet.a")
        size = os.path.getsize(written) if os.path.exists(written) else 0
        return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, anonymous, size


main()
