"""The Python sides of overhead.py: times a max pooling's backward pass and prints a line of JSON.

backward.py tiebreak|torch|tiebreak.torch N C H W SECONDS THREADS
"""

import json
import sys
import time

import numpy as np


def values(shape, factor):
    with np.errstate(over="ignore"):
        integers = np.arange(np.prod(shape), dtype=np.uint64) * np.uint64(factor)
    return ((integers % 2048).astype(np.float32) / 1024 - 1).reshape(shape)


def tiebreak_call(x, gy, threads):
    import tiebreak

    engine = tiebreak.Engine("cpu", threads=threads)
    _, ties = engine.maxpool2d_forward(x)
    gx = np.empty_like(x)
    return lambda: engine.maxpool2d_backward(gy, ties, x.shape, gx=gx)


def torch_call(pool, x, gy, threads):
    """Under autograd, which makes a fresh tensor for the gradient."""
    import torch

    torch.set_num_threads(threads)
    leaf, upstream = torch.from_numpy(x).requires_grad_(), torch.from_numpy(gy)
    y = pool(leaf)
    return lambda: torch.autograd.grad(y, leaf, upstream, retain_graph=True)


def pooling(who, threads):
    if who == "torch":
        import torch

        return lambda x: torch.nn.functional.max_pool2d(x, 2)
    import tiebreak
    import tiebreak.torch

    engine = tiebreak.Engine("cpu", threads=threads)
    return lambda x: tiebreak.torch.max_pool2d(x, 2, engine=engine)


def main():
    who, *numbers = sys.argv[1:]
    n, c, h, w = (int(number) for number in numbers[:4])
    spend, threads = float(numbers[4]), int(numbers[5])
    x, gy = values((n, c, h, w), 2654435761), values((n, c, h // 2, w // 2), 40503)
    if who == "tiebreak":
        call = tiebreak_call(x, gy, threads)
    else:
        call = torch_call(pooling(who, threads), x, gy, threads)
    call()
    seconds = []
    while len(seconds) < 3 or (sum(seconds) < spend and len(seconds) < 1000):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds}))


main()
