"""What a call through Python costs: max pooling of [128, 64, 32, 32] in 2 x 2 windows, beside C and PyTorch.

The C call is the same function of the same library with its arguments prepared beforehand: what a program in C or Rust
pays. PyTorch is measured where torch can be imported. With --rust the program of `cargo bench --bench compare`, such as
target/release/deps/compare-..., gives the time of both passes in Rust.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tiebreak
from tiebreak import operators
from tiebreak._library import lib
from tiebreak.array import byte_pointer, view, view_mut

SHAPE = (128, 64, 32, 32)


def medians(
    calls: dict[str, Callable[[], object]], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """The median time of each call in seconds; they take turns, so that the machine's moods meet all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end or any(len(t) < 5 for t in times.values()):
        for name, call in calls.items():
            start = clock()
            call()
            times[name].append(clock() - start)
    return {name: statistics.median(t[1:]) for name, t in times.items()}


def ours(engine: tiebreak.Engine, x: np.ndarray, gy: np.ndarray) -> dict[str, Callable[[], object]]:
    """The passes through the package, and the backward pass through C alone."""
    y, ties = engine.maxpool2d_forward(x)
    gx = np.empty_like(x)
    views, window = (view("gy", gy), view_mut("gx", gx)), operators.pool2d_options(2, None, 0)
    pointer = byte_pointer("ties", ties)

    def both() -> None:
        engine.maxpool2d_forward(x, y=y, ties=ties)
        engine.maxpool2d_backward(gy, ties, x.shape, gx=gx)

    return {
        "backward, C": lambda: lib.maxpool2d_backward(
            engine, views[0], pointer, ties.nbytes, window, None, views[1]
        ),
        "backward, Python": lambda: engine.maxpool2d_backward(gy, ties, x.shape, gx=gx),
        "both passes, Python": both,
    }


def pytorch(x: np.ndarray, gy: np.ndarray, threads: int) -> dict[str, Callable[[], object]]:
    """PyTorch's backward pass and ours under its autograd, on the same arrays."""
    try:
        import torch

        import tiebreak.torch as layers
    except ImportError:
        print("no torch: PyTorch is not measured")
        return {}
    torch.set_num_threads(threads)
    leaf, upstream = torch.from_numpy(x).requires_grad_(), torch.from_numpy(gy)
    theirs = torch.nn.functional.max_pool2d(leaf, 2)
    mine = layers.max_pool2d(leaf, 2)

    def backward(y: torch.Tensor) -> object:
        return torch.autograd.grad(y, leaf, upstream, retain_graph=True)

    return {
        "backward, PyTorch": lambda: backward(theirs),
        "backward, tiebreak.torch": lambda: backward(mine),
    }


def main() -> None:
    """Prints the times and their ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rust", type=Path, help="the program of `cargo bench --bench compare`")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each line")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="f32", choices=["f16", "f32", "f64"])
    o = parser.parse_args()

    random = np.random.default_rng(1)
    dtype = tiebreak.DType(o.dtype).numpy
    x = random.uniform(-1, 1, SHAPE).astype(dtype)
    gy = random.uniform(-1, 1, (128, 64, 16, 16)).astype(dtype)
    engine = tiebreak.Engine("cpu", threads=o.threads)
    times = medians(ours(engine, x, gy) | pytorch(x, gy, o.threads), o.seconds)
    if o.rust:
        command = [o.rust, f"operator/maxpool2d/{o.dtype}/native"]
        env = os.environ | {"SECONDS": str(o.seconds), "THREADS": str(o.threads)}
        printed = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
        times["both passes, Rust"] = statistics.median(json.loads(printed)["seconds"])
    for name, seconds in times.items():
        print(f"{name:26} {seconds * 1e3:8.3f} ms")

    tiny = np.zeros((1, 1, 2, 2), dtype)
    # This thread's own time, which other programs do not disturb.
    small = medians(ours(engine, tiny, tiny[..., :1, :1].copy()), o.seconds / 3, time.thread_time)
    cost = small["backward, Python"] - small["backward, C"]
    print(f"a call through Python adds {cost * 1e6:.1f} us, seen on [1, 1, 2, 2]")
    for above, below in [
        ("backward, Python", "backward, C"),
        ("both passes, Python", "both passes, Rust"),
        ("backward, Python", "backward, PyTorch"),
        ("backward, tiebreak.torch", "backward, PyTorch"),
    ]:
        if above in times and below in times:
            print(f"{above} / {below}: {times[above] / times[below]:.3f}")


if __name__ == "__main__":
    main()
