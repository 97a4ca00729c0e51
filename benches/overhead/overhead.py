#!/usr/bin/env python3
"""What a call through C, C++ and Python costs over one in Rust: the backward pass of a 2x2 max pooling in f32.

    python3 benches/overhead/overhead.py

Builds the library and a program for each language, and runs them in turn, --rounds times. The large pooling is that of
the figures, the small one shows the cost of a call by itself. PyTorch's max_pool2d backward, on the same numbers, is
measured where --python or target/compare/venv has torch (compare.py makes that environment); under autograd ours as well.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT = ROOT / "target" / "overhead"
VENV = ROOT / "target" / "compare" / "venv" / "bin" / "python"
SHAPES = [(128, 64, 32, 32), (1, 1, 2, 2)]


def build():
    """The command of each language."""
    cargo = ["cargo", "build", "--release", "--quiet", "--lib"]
    subprocess.run(cargo, cwd=ROOT, check=True)
    bench = ["cargo", "bench", "--quiet", "--bench", "overhead", "--no-run", "--message-format", "json"]
    lines = subprocess.run(bench, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    programs = [json.loads(line).get("executable") for line in lines if line.startswith("{")]
    OUT.mkdir(parents=True, exist_ok=True)
    folder = ROOT / "target" / "release"
    link = ["-O2", f"-I{ROOT / 'include'}", f"-L{folder}", "-ltiebreak", f"-Wl,-rpath,{folder}"]
    for compiler, source in ((["cc", "-std=c11"], "backward.c"), (["c++", "-std=c++17"], "backward.cpp")):
        name = "c" if source.endswith(".c") else "cpp"
        subprocess.run([*compiler, HERE / source, "-o", OUT / name, *link], check=True)
    return {"Rust": [[p for p in programs if p][-1]], "C": [OUT / "c"], "C++": [OUT / "cpp"]}


def python_commands(given):
    python = given or (str(VENV) if VENV.exists() else sys.executable)
    script = [python, HERE / "backward.py"]
    commands = {"Python": [*script, "tiebreak"]}
    if subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 0:
        commands |= {"PyTorch": [*script, "torch"], "tiebreak.torch": [*script, "tiebreak.torch"]}
    else:
        print(f"{python} has no torch: PyTorch is not measured", file=sys.stderr)
    return commands


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="processes of each [5]")
    parser.add_argument("--seconds", type=float, default=1.0, help="time that a process measures for [1]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--python", help="an interpreter that has numpy, and torch")
    arguments = parser.parse_args()
    commands = {**build(), **python_commands(arguments.python)}
    library = next(p for p in (ROOT / "target" / "release").glob("*tiebreak.*") if p.suffix in (".so", ".dylib", ".dll"))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "bindings" / "python" / "src"),
        "TIEBREAK_LIBRARY": str(library),
    }
    for shape in SHAPES:
        medians = {name: [] for name in commands}
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                numbers = [*map(str, shape), str(arguments.seconds), str(arguments.threads)]
                out = subprocess.run([*command, *numbers], env=environment, check=True, stdout=subprocess.PIPE, text=True)
                medians[name].append(1e6 * statistics.median(json.loads(out.stdout)["seconds"]))
        print(f"\nmax pooling 2x2, backward, f32, {list(shape)}, {arguments.threads} threads: medians of "
              f"{arguments.rounds} processes\n\n| | us | fastest to slowest | over Rust | over PyTorch |\n|---|---|---|---|---|")
        middle = {name: statistics.median(times) for name, times in medians.items()}
        for name, times in medians.items():
            over = [f"{middle[name] / middle[base]:.3f}" if base in middle else "" for base in ("Rust", "PyTorch")]
            print(f"| {name} | {middle[name]:.1f} | {min(times):.1f} to {max(times):.1f} | {over[0]} | {over[1]} |")


main()
