#!/usr/bin/env python3
"""Times Tiebreak, PyTorch and burn on the same work, in turn, and prints a table.

    python3 benches/compare/compare.py                 all of it: about half an hour
    python3 benches/compare/compare.py --work lenet5   what has `lenet5` in its name
    python3 benches/compare/compare.py --gpu           the GPU engine beside burn's, on the first Vulkan adapter
    python3 benches/compare/compare.py --list          the work and the goals

Needs nothing but Python 3.9 and cargo: the first run makes a virtual environment under target/compare, installs PyTorch
in it (--python takes one that has it) and builds burn, which takes minutes (--peer torch leaves it out). Each piece of
work runs in a process of its own, ours and theirs by turns, --rounds times; all start from the same numbers, and their
losses must agree. PyTorch runs with each of two settings of malloc, and the better one counts. Ratios are of medians, ours
over theirs; the spread is that of the rounds. "Of the limit" is the share of our time that the machine needs at least: for
a step, its multiplications and additions at the rate of the best product of matrices 1024 x 1024 (that of f32 for f16), for
an operator, its tensors, each read or written once, at the rate of STREAM's triad; both from the same run.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = ROOT / "target" / "compare"
# Keeps glibc from giving pages back, which costs PyTorch a page fault for each page of a fresh buffer.
KEEP_PAGES = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TOP_PAD_": "67108864",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
}

# What the machine can do, measured before all else: the better of ours and PyTorch's counts.
LIMITS = ["limit/gemm/f32", "limit/gemm/f64", "limit/triad/f32"]
# Work, and the ratio to PyTorch that we want to reach.
WORK = [
    ("step/lenet5/128/f32/native", 0.5),
    ("step/lenet5/128/f32/published", 0.2),
    ("step/lenet5/128/f64/native", 0.65),
    ("step/lenet5/128/f16/native", 0.15),
    ("step/lenet5/128/f16/published", 0.15),
    ("step/vgg11/32/f32/native", 0.9),
    ("step/vgg11/32/f32/published", 0.7),
    ("step/vgg11_bn/32/f32/native", 0.9),
    ("step/vgg11/128/f32/native", 0.9),
    ("step/vgg11/128/f32/published", 0.7),
    ("step/resnet18/32/f32/native", 0.9),
    ("step/resnet18_bn/32/f32/native", 0.9),
    ("step/resnet18_bn/32/f32/published", 0.7),
    ("step/vgg11/32/f64/native", 0.65),
    ("step/resnet18/32/f64/native", 0.65),
    ("step/vgg11/32/f16/native", 0.05),
    ("operator/maxpool2d/f32/native", 0.4),
    ("operator/maxpool2d/f32/published", 0.05),
    ("operator/maxpool2d/f64/native", 0.4),
    ("operator/maxpool2d/f64/published", 0.05),
    ("operator/maxpool2d/f16/native", 0.4),
    ("operator/maxpool2d/f16/published", 0.05),
    ("operator/batchnorm/f32/native", 0.8),
    ("operator/batchnorm/f64/native", 0.8),
    ("operator/batchnorm/f16/native", 0.8),
    ("operator/relu/f32/native", 0.8),
    ("operator/relu/f64/native", 0.8),
    ("operator/relu/f16/native", 0.8),
    ("operator/sgd/f32/fused", 0.8),
    ("operator/sgd/f64/fused", 0.8),
    ("operator/sgd/f16/fused", 0.8),
    ("operator/adam/f32/fused", 0.8),
    ("operator/adam/f64/fused", 0.8),
    ("operator/adam/f16/fused", 0.8),
    ("compare/lenet5/128/f32", 0.35),
    ("compare/vgg11/32/f32", 0.35),
]
# Burn trains without a choice of the Jacobian, on its CPU backend flex; the ratios that we want to reach.
BURN = {
    "step/lenet5/128/f32/native": 0.35,
    "step/lenet5/128/f64/native": 0.65,
    "step/lenet5/128/f16/native": 0.15,
    "step/vgg11/32/f32/native": 0.5,
    "step/vgg11/32/f64/native": 0.65,
    "step/vgg11/32/f16/native": 0.15,
}
# The same on the GPU. Its first step takes minutes, in which it tries its kernels out; medians are without it.
BURN_GPU = {
    "step/lenet5/128/f32/native": 0.5,
    "step/vgg11/16/f32/native": 0.5,
}
TOLERANCE = {"f64": 1e-10, "f32": 1e-4, "f16": 1e-2}


def say(text):
    print(text, file=sys.stderr, flush=True)


def torch_python(given):
    if given:
        return given
    python = CACHE / "venv" / "bin" / "python"
    if not python.exists():
        say("making a virtual environment with PyTorch under target/compare")
        subprocess.run([sys.executable, "-m", "venv", str(CACHE / "venv")], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "numpy", "torch"]
        if subprocess.run(pip).returncode != 0:
            shutil.rmtree(CACHE / "venv")
            sys.exit("PyTorch could not be installed; --python takes an interpreter that has it")
    return str(python)


def build():
    command = ["cargo", "bench", "--quiet", "--bench", "compare", "--no-run", "--message-format", "json"]
    out = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    programs = [json.loads(line).get("executable") for line in out.splitlines() if line.startswith("{")]
    return [program for program in programs if program][-1]


def build_burn(gpu):
    say("building burn under target/compare")
    environment = {**os.environ, "CARGO_TARGET_DIR": str(CACHE / "burn")}
    profile = "gpu" if gpu else "release"
    command = ["cargo", "build", "--quiet", "--profile", profile, *(["--features", "wgpu"] if gpu else [])]
    subprocess.run(command, cwd=HERE / "burn", check=True, env=environment)
    return str(CACHE / "burn" / profile / "burn-peer")


def run(command, environment):
    """What the program measured, and what it took of memory."""
    start = time.time()
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} failed")
    result = json.loads(out.splitlines()[-1])
    result["start"] = result["first_step"] - start
    result["megabytes"] = usage.ru_maxrss / 1024
    result["median"] = statistics.median(result["seconds"])
    return result


def disagreement(work, ours, theirs):
    """Largest relative distance of the losses of the first two steps; None where there is none to compare."""
    if not work.startswith("step/"):
        return None
    return max(abs(a - b) / abs(b) for a, b in zip(ours["results"], theirs["results"]))


def milliseconds(runs):
    values = sorted(run["median"] * 1e3 for run in runs)
    return statistics.median(values), values[0], values[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", action="append", help="measure what has this in its name (may be repeated)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each for a piece of work [3]")
    parser.add_argument("--seconds", type=float, default=2.0, help="time that a process measures for [2]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--python", help="an interpreter that has PyTorch")
    parser.add_argument("--peer", action="append", choices=["torch", "burn"], help="beside whom [both]")
    parser.add_argument("--gpu", action="store_true", help="the GPU engines")
    parser.add_argument("--list", action="store_true", help="print the work and the goals")
    arguments = parser.parse_args()
    burn = BURN_GPU if arguments.gpu else BURN
    work = [(name, None) for name in BURN_GPU] if arguments.gpu else WORK
    work = [w for w in work if not arguments.work or any(part in w[0] for part in arguments.work)]
    if arguments.list:
        for name, goal in work:
            goals = {"PyTorch": goal, "burn": burn.get(name)}
            print(f"{name:<40}", *(f"{peer} {goal:<6}" for peer, goal in goals.items() if goal))
        return
    if not work:
        parser.error("no work has that in its name; --list shows all")
    program, peers = build(), {}
    if "torch" in (arguments.peer or ["torch"]) and not arguments.gpu:
        peers["PyTorch"] = [torch_python(arguments.python), str(HERE / "torch_peer.py")]
    if "burn" in (arguments.peer or ["burn"]) and any(name in burn for name, _ in work):
        peers["burn"] = [build_burn(arguments.gpu)]
    environment = {"THREADS": str(arguments.threads), "SECONDS": str(arguments.seconds), "GPU": str(int(arguments.gpu))}
    rows = {peer: [] for peer in peers}
    limits = {}
    try:
        for name in LIMITS if not arguments.gpu else []:
            say(name)
            beside = {peer: command for peer, command in peers.items() if peer == "PyTorch"}
            limits[name] = measure_limit(name, *measure(name, program, beside, environment, arguments.rounds))
        for index, (name, goal) in enumerate(work):
            say(f"{index + 1}/{len(work)} {name}")
            beside = {peer: command for peer, command in peers.items() if peer == "PyTorch" or name in burn}
            try:
                ours, theirs = measure(name, program, beside, environment, arguments.rounds)
            except RuntimeError as error:
                say(f"left out: {error}")
                continue
            for peer in beside:
                rows[peer].append((name, goal if peer == "PyTorch" else burn[name], ours, theirs[peer]))
                check_losses(name, ours[0], peer, theirs[peer][0])
    except KeyboardInterrupt:
        say("stopped; what is done:")
    device = "the GPU engines, " if arguments.gpu else ""
    print(f"{time.strftime('%Y-%m-%d')}, {device}{cpu()}, {arguments.threads} threads, medians of {arguments.rounds} "
          "processes, in brackets the fastest and the slowest.")
    for peer, measured in rows.items():
        if measured:
            print_table(peer, measured, limits)


def measure(name, program, peers, environment, rounds):
    """Our runs, and for each peer those with its best setting."""
    # Minutes for PyTorch.
    slow = "vgg11/32/f16" in name
    ours, theirs = [], {peer: {} for peer in peers}
    for _ in range(1 if slow else rounds):
        ours.append(run([program, name], environment))
        for peer, command in peers.items():
            settings = {"": {"RUNS": "1"} if slow else {}}
            if peer == "PyTorch" and not slow:
                settings["keep pages"] = KEEP_PAGES
            for setting, extra in settings.items():
                theirs[peer].setdefault(setting, []).append(run([*command, name], {**environment, **extra}))
    return ours, {peer: min(runs.values(), key=lambda r: milliseconds(r)[0]) for peer, runs in theirs.items()}


def measure_limit(name, ours, theirs):
    """Operations or bytes a second, the best of all runs, and a line that says so."""
    amount = ours[0]["operations"] or ours[0]["bytes"]
    best = {who: max(amount / min(run["seconds"]) for run in runs) for who, runs in {"ours": ours, **theirs}.items()}
    unit = "GFLOP/s" if ours[0]["operations"] else "GB/s"
    say(f"{name}: " + ", ".join(f"{who} {rate / 1e9:.1f} {unit}" for who, rate in best.items()))
    return max(best.values()), f"{name} {max(best.values()) / 1e9:.0f} {unit} ({max(best, key=best.get)})"


def share_of_limit(name, ours, limits):
    """The least time that the machine needs for the work over what we take; None where no limit was measured."""
    dtype = "f64" if "/f64" in name else "f32"
    limit = "limit/triad/f32" if name.startswith("operator/") else f"limit/gemm/{dtype}"
    if limit not in limits:
        return None
    amount = ours[0]["bytes"] if name.startswith("operator/") else ours[0]["operations"]
    return amount / limits[limit][0] / (milliseconds(ours)[0] / 1e3)


def check_losses(name, ours, peer, theirs):
    apart = disagreement(name, ours, theirs)
    dtype = next(part for part in name.split("/") if part in TOLERANCE)
    if apart is not None and not apart <= TOLERANCE[dtype]:
        say(f"losses of {peer} are {apart:.1e} apart: {theirs['results']}, ours {ours['results']}")


def print_table(peer, measured, limits):
    version = measured[0][3][0]["version"]
    if limits:
        print("\nLimits: " + ", ".join(text for _, text in limits.values()) + ".")
    print(f"\n| work | ours, ms | {peer} {version}, ms | ratio | goal | | of the limit | losses apart | memory, MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, goal, ours, theirs in measured:
        ratio = milliseconds(ours)[0] / milliseconds(theirs)[0]
        apart = disagreement(name, ours[0], theirs[0])
        share = share_of_limit(name, ours, limits)
        distance = "" if apart is None else f"{apart:.0e}"
        memory = " / ".join(f"{max(r['megabytes'] for r in runs):.0f}" for runs in (ours, theirs))
        print(f"| {name} | {cell(milliseconds(ours))} | {cell(milliseconds(theirs))} | {ratio:.2f} | {goal} "
              f"| {'met' if ratio <= goal else ''} | {'' if share is None else f'{share:.0%}'} | {distance} | {memory} |")
    for name, _, ours, theirs in measured:
        if name == "step/lenet5/128/f32/native":
            starts = [statistics.median(r["start"] for r in runs) for runs in (ours, theirs)]
            print(f"\nFrom the start of the process to the end of the first step of LeNet-5: {starts[0]:.3f} s and "
                  f"{starts[1]:.3f} s, ratio {starts[0] / starts[1]:.3f}.")


def cell(times):
    digits = 2 if times[0] < 20 else 1 if times[0] < 1000 else 0
    return f"{times[0]:.{digits}f} ({times[1]:.{digits}f} to {times[2]:.{digits}f})"


def cpu():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


main()
