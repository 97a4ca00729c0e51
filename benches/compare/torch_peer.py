"""PyTorch's side of compare.py: `torch_peer.py WORK` measures one piece of work and prints a line of JSON.

The networks, weights and data are those of ours.rs. "published" is the max pooling of the MaxPool study as a sequence of
PyTorch operations: beta times a pooling whose backward pass divides among ties, plus 1 - beta times the native one.
"""

import json
import math
import os
import sys
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

DTYPES = {"f16": torch.float16, "f32": torch.float32, "f64": torch.float64}
PLANES = (128, 64, 32, 32)
PARAMETERS = 10_000_000
BETA = 100.0


def uniform(stream, n):
    """Numbers in (-1, 1) that every dtype holds: the same in every peer."""
    with np.errstate(over="ignore"):
        z = np.uint64(80871424 + (stream << 40)) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (2.0 * (z >> np.uint64(54)).astype(np.float64) - 1023.0) / 1024.0


class DivideAmongTies(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        n, c, h, w = x.shape
        windows = x.reshape(n, c, h // 2, 2, w // 2, 2)
        y = windows.amax(3).amax(4)
        ctx.save_for_backward(windows, y)
        return y

    @staticmethod
    def backward(ctx, gy):
        windows, y = ctx.saved_tensors
        tied = windows == y[:, :, :, None, :, None]
        gx = torch.zeros_like(windows)
        gx[tied] = gy[:, :, :, None, :, None].broadcast_to(windows.shape)[tied]
        gx /= tied.sum((3, 5), keepdim=True)
        n, c, h, _, w, _ = windows.shape
        return gx.reshape(n, c, 2 * h, 2 * w)


class PublishedMaxPool(nn.Module):
    def forward(self, x):
        return BETA * DivideAmongTies.apply(x) + (1 - BETA) * F.max_pool2d(x, 2)


def pooling(choice):
    return PublishedMaxPool() if choice == "published" else nn.MaxPool2d(2)


def lenet5(choice, bn):
    assert not bn
    convolutions = [nn.Conv2d(1, 6, 5), nn.ReLU(), pooling(choice), nn.Conv2d(6, 16, 5), nn.ReLU(), pooling(choice)]
    linears = [nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    return nn.Sequential(*convolutions, nn.Flatten(), *linears)


def vgg11(choice, bn):
    layers, channels = [], 3
    for width in [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"]:
        if width == "M":
            layers.append(pooling(choice))
            continue
        layers.append(nn.Conv2d(channels, width, 3, padding=1))
        layers += [nn.BatchNorm2d(width)] if bn else []
        layers.append(nn.ReLU(inplace=True))
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


class Block(nn.Module):
    def __init__(self, channels, width, stride, norm):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False), norm(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), norm(width),
        )
        same = stride == 1 and channels == width
        self.shortcut = nn.Identity() if same else nn.Sequential(
            nn.Conv2d(channels, width, 1, stride, bias=False), norm(width)
        )

    def forward(self, x):
        return F.relu(self.main(x) + self.shortcut(x), inplace=True)


def resnet18(choice, bn):
    norm = nn.BatchNorm2d if bn else lambda _: nn.Identity()
    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), norm(64), nn.ReLU(inplace=True), pooling(choice)]
    channels = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(channels, width, stride, norm), Block(width, width, 1, norm)]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def network(name, dtype, choice):
    base, _, bn = name.partition("_")
    model = {"lenet5": lenet5, "vgg11": vgg11, "resnet18": resnet18}[base](choice, bn == "bn").to(dtype)
    stream = 0
    for parameter in model.parameters():
        if parameter.ndim > 1:
            stream += 1
            fan_in = parameter.numel() // parameter.shape[0]
            scale = 2.0 ** math.floor(math.log2(math.sqrt(6 / fan_in)))
            values = uniform(stream, parameter.numel()) * scale
            parameter.data = torch.from_numpy(values).reshape(parameter.shape).to(dtype)
        elif bn != "bn":
            parameter.data.zero_()
    if bn == "bn":
        for layer in model.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
                layer.bias.data.zero_()
    return model


def batch(name, size, dtype):
    shape = (size, 1, 28, 28) if name.startswith("lenet5") else (size, 3, 32, 32)
    x = np.maximum(uniform(0, math.prod(shape)), 0)
    return torch.from_numpy(x).reshape(shape).to(dtype), (7 * torch.arange(size) + 3) % 10


def step(name, size, dtype, choice):
    model = network(name, dtype, choice)
    x, labels = batch(name, size, dtype)
    optimizer = torch.optim.SGD(model.parameters(), 0.001, 0.9, weight_decay=5e-4)

    def run():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def comparison(name, size, dtype):
    """As published: two networks, two forward and two backward passes."""
    models = [network(name, dtype, "native"), network(name, dtype, "published")]
    x, labels = batch(name, size, dtype)

    def run():
        for model in models:
            model.zero_grad()
            F.cross_entropy(model(x), labels).backward()
        gradients = [torch.cat([p.grad.flatten() for p in model.parameters()]) for model in models]
        return (gradients[0] - gradients[1]).abs().sum().item()

    return run


def operator(name, dtype, choice):
    x = torch.from_numpy(uniform(0, math.prod(PLANES))).reshape(PLANES).to(dtype)
    if name in ("sgd", "adam"):
        parameter = nn.Parameter(torch.from_numpy(uniform(1, PARAMETERS)).to(dtype))
        parameter.grad = torch.from_numpy(uniform(2, PARAMETERS)).to(dtype)
        fused = choice == "fused"
        optimizer = (
            torch.optim.SGD([parameter], 0.001, 0.9, weight_decay=5e-4, fused=fused)
            if name == "sgd"
            else torch.optim.Adam([parameter], eps=1e-3, fused=fused)
        )
        return lambda: optimizer.step() or 0.0
    layer = {
        "maxpool2d": lambda: pooling(choice),
        "relu": nn.ReLU,
        "batchnorm": lambda: nn.BatchNorm2d(PLANES[1], dtype=dtype),
    }[name]()
    x.requires_grad_()
    gy = torch.from_numpy(uniform(3, math.prod(layer(x).shape))).reshape(layer(x).shape).to(dtype)

    def run():
        x.grad = None
        layer(x).backward(gy)
        return 0.0

    return run


def limit(name, dtype):
    """What the machine can do: a product of two matrices 1024 x 1024, and STREAM's triad, a = b + s c."""
    shape = (1024, 1024) if name == "gemm" else PLANES
    b, c = (torch.from_numpy(uniform(stream, math.prod(shape))).reshape(shape).to(dtype) for stream in (0, 1))
    a = torch.zeros_like(b)
    if name == "gemm":
        return lambda: torch.mm(b, c.T, out=a) is None
    return lambda: torch.add(b, c, alpha=3, out=a) is None


def main():
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    kind, name, *rest = sys.argv[1].split("/")
    seconds_to_spend, least_runs = float(os.environ.get("SECONDS", "3")), int(os.environ.get("RUNS", "3"))
    if kind == "step":
        run = step(name, int(rest[0]), DTYPES[rest[1]], rest[2])
    elif kind == "compare":
        run = comparison(name, int(rest[0]), DTYPES[rest[1]])
    elif kind == "limit":
        run = limit(name, DTYPES[rest[0]])
    else:
        run = operator(name, DTYPES[rest[0]], rest[1])
    results = [run()]
    first_step = time.time()
    results.append(run())
    seconds = []
    while len(seconds) < least_runs or (least_runs > 1 and sum(seconds) < seconds_to_spend and len(seconds) < 200):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds, "results": results, "first_step": first_step, "version": torch.__version__}))


main()
