"""Layers for PyTorch that let you choose what the backward pass computes at a kink.

    model.pool = tiebreak.torch.MaxPool2d(2, jacobian="minimal")       # one layer, or
    model = tiebreak.torch.replace_layers(model, maxpool=tiebreak.MaxPoolKink("minimal"))

They run on the memory of CPU tensors of float16, float32 or float64; one that is not contiguous is copied first, as
PyTorch's own layers do. Gradients are first derivatives. Importing this module imports torch.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .array import Array
from .engine import Engine
from .kink import Composition, Jacobian, MaxPoolKink, NormPoolKink, ReluKink
from .operators import Pair, pool2d_output_shape

__all__ = [
    "MaxPool2d",
    "NormPool2d",
    "ReLU",
    "default_engine",
    "max_pool2d",
    "norm_pool2d",
    "relu",
    "replace_layers",
]

DTYPES = (torch.float16, torch.float32, torch.float64)


def default_engine() -> Engine:
    """The CPU engine of layers that were given none, with all cores; each process has its own."""
    return _engine(os.getpid())


@functools.cache
def _engine(process: int) -> Engine:
    # A forked child has none of its parent's threads.
    return Engine("cpu")


def _check(x: Tensor, *ranks: int) -> None:
    if x.device.type != "cpu" or x.dtype not in DTYPES:
        raise TypeError(
            f"x: expected a CPU tensor of float16, float32 or float64, got {x.dtype} on {x.device}"
        )
    if ranks and x.dim() not in ranks:
        raise ValueError(f"x: expected [N, C, H, W] or [C, H, W], got shape {list(x.shape)}")


def _memory(x: Tensor) -> Array:
    """The tensor's own memory; a copy where it is not contiguous."""
    memory: Array = x.detach().contiguous().numpy()
    return memory


def _pooled(x: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
    """`pool` on a batch, or on a single image."""
    _check(x, 3, 4)
    return pool(x) if x.dim() == 4 else pool(x.unsqueeze(0)).squeeze(0)


class _MaxPool2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, window: tuple[Pair, Pair | None, Pair], kink: MaxPoolKink | None, engine: Engine
    ) -> Tensor:
        shape = pool2d_output_shape(x.shape, *window)
        y, ties = x.new_empty(shape[:4]), torch.empty(shape, dtype=torch.uint8)
        engine.maxpool2d_forward(_memory(x), *window, kink=kink, y=_memory(y), ties=ties.numpy())
        ctx.save_for_backward(ties)
        ctx.x_shape, ctx.window, ctx.kink, ctx.engine = x.shape, window, kink, engine
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None, None, None]:
        (ties,) = ctx.saved_tensors
        gx = gy.new_empty(ctx.x_shape)
        ctx.engine.maxpool2d_backward(
            _memory(gy), ties.numpy(), ctx.x_shape, *ctx.window, kink=ctx.kink, gx=_memory(gx)
        )
        return gx, None, None, None


class _NormPool2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, window: tuple[Pair, Pair | None, Pair], kink: NormPoolKink | None, engine: Engine
    ) -> Tensor:
        y = x.new_empty(pool2d_output_shape(x.shape, *window)[:4])
        engine.norm_pool2d_forward(_memory(x), *window, y=_memory(y))
        ctx.save_for_backward(x, y)
        ctx.window, ctx.kink, ctx.engine = window, kink, engine
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None, None, None]:
        x, y = ctx.saved_tensors
        gx = gy.new_empty(x.shape)
        ctx.engine.norm_pool2d_backward(
            _memory(x), _memory(y), _memory(gy), *ctx.window, kink=ctx.kink, gx=_memory(gx)
        )
        return gx, None, None, None


class _ReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kink: ReluKink | None, engine: Engine) -> Tensor:
        y = x.new_empty(x.shape)
        engine.relu_forward(_memory(x), y=_memory(y))
        ctx.save_for_backward(x)
        ctx.kink, ctx.engine = kink, engine
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        gx = gy.new_empty(x.shape)
        ctx.engine.relu_backward(_memory(x), _memory(gy), kink=ctx.kink, gx=_memory(gx))
        return gx, None, None


@torch.compiler.disable
def max_pool2d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    *,
    kink: MaxPoolKink | None = None,
    engine: Engine | None = None,
) -> Tensor:
    """As `torch.nn.functional.max_pool2d`, with a choice at ties.

    Args:
        x: `[N, C, H, W]` or `[C, H, W]`
        kernel_size, stride, padding: height and width, as in PyTorch
        kink: None is native: PyTorch's gradient, to the bit
        engine: None is `default_engine()`

    Returns:
        `[N, C, OH, OW]` or `[C, OH, OW]`
    """
    window = (kernel_size, stride, padding)
    chosen = engine or default_engine()
    return _pooled(x, lambda batch: _MaxPool2d.apply(batch, window, kink, chosen))


@torch.compiler.disable
def norm_pool2d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    *,
    kink: NormPoolKink | None = None,
    engine: Engine | None = None,
) -> Tensor:
    """The Euclidean norm of each window, with a choice on windows of zeros; otherwise as `max_pool2d`."""
    window = (kernel_size, stride, padding)
    chosen = engine or default_engine()
    return _pooled(x, lambda batch: _NormPool2d.apply(batch, window, kink, chosen))


@torch.compiler.disable
def relu(x: Tensor, *, kink: ReluKink | None = None, engine: Engine | None = None) -> Tensor:
    """As `torch.nn.functional.relu`, with a choice of the derivative at 0; any shape."""
    _check(x)
    y: Tensor = _ReLU.apply(x, kink, engine or default_engine())
    return y


class MaxPool2d(nn.Module):
    """As `torch.nn.MaxPool2d`, with a choice at ties, which may change between two forward passes: `layer.kink`."""

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        *,
        jacobian: Jacobian | str = Jacobian.NATIVE,
        beta: float = 0.0,
        composition: Composition | str = Composition.EXACT,
        seed: int = 0,
        engine: Engine | None = None,
    ) -> None:
        """The window as in PyTorch, the choice as in `MaxPoolKink`."""
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.kink = MaxPoolKink(jacobian, beta, composition, seed)
        self.engine = engine

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` to `[N, C, OH, OW]`, or without N."""
        window = (self.kernel_size, self.stride, self.padding)
        return max_pool2d(x, *window, kink=self.kink, engine=self.engine)

    def extra_repr(self) -> str:
        """For `print(model)`."""
        return f"{self.kernel_size}, stride={self.stride}, padding={self.padding}, kink={self.kink}"


class NormPool2d(nn.Module):
    """The Euclidean norm of each window, with a choice on windows of zeros: `layer.kink`.

    The backward pass reads the output, which therefore must not be changed in place: no `nn.ReLU(inplace=True)` after.
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        *,
        at_zero: float = 0.0,
        engine: Engine | None = None,
    ) -> None:
        """The window as of `MaxPool2d`, the choice as in `NormPoolKink`."""
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.kink = NormPoolKink(at_zero)
        self.engine = engine

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` to `[N, C, OH, OW]`, or without N."""
        window = (self.kernel_size, self.stride, self.padding)
        return norm_pool2d(x, *window, kink=self.kink, engine=self.engine)

    def extra_repr(self) -> str:
        """For `print(model)`."""
        return f"{self.kernel_size}, stride={self.stride}, padding={self.padding}, kink={self.kink}"


class ReLU(nn.Module):
    """As `torch.nn.ReLU`, never in place, with a choice of the derivative at 0: `layer.kink`."""

    def __init__(self, *, alpha: float = 0.0, engine: Engine | None = None) -> None:
        """The choice as in `ReluKink`."""
        super().__init__()
        self.kink = ReluKink(alpha)
        self.engine = engine

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return relu(x, kink=self.kink, engine=self.engine)

    def extra_repr(self) -> str:
        """For `print(model)`."""
        return f"kink={self.kink}"


def replace_layers(
    model: nn.Module,
    *,
    maxpool: MaxPoolKink | None = None,
    relu: ReluKink | None = None,
    engine: Engine | None = None,
) -> nn.Module:
    """Puts our layers in the place of a model's `nn.MaxPool2d` and `nn.ReLU`, under one choice; on layers of ours it
    changes the choice.

    Parameters and names stay. Functions that the model calls in its own code (`F.relu`, `F.max_pool2d`) are not seen.

    Args:
        model: changed in place
        maxpool: the choice of every max pooling; None leaves them alone
        relu: the choice of every ReLU; None leaves them alone
        engine: None is `default_engine()`

    Returns:
        the model, or where it is itself such a layer what replaces it

    Raises:
        ValueError: a max pooling with dilation, ceil_mode or return_indices, which ours does not have. The model is
            then as it was.
    """
    ours = {id(layer): _replacement(name, layer, maxpool, relu) for name, layer in model.named_modules()}
    for name, layer in list(model.named_modules(remove_duplicate=False)):
        if ours[id(layer)] is not layer and layer is not model:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, ours[id(layer)])
    for layer in ours.values():
        if isinstance(layer, MaxPool2d) and maxpool is not None:
            layer.kink, layer.engine = maxpool, engine
        elif isinstance(layer, ReLU) and relu is not None:
            layer.kink, layer.engine = relu, engine
    return ours[id(model)]


def _replacement(
    name: str, layer: nn.Module, maxpool: MaxPoolKink | None, relu: ReluKink | None
) -> nn.Module:
    new: nn.Module
    if maxpool is not None and type(layer) is nn.MaxPool2d:
        if layer.dilation not in (1, (1, 1)) or layer.ceil_mode or layer.return_indices:
            raise ValueError(
                f"{name or 'model'}: expected no dilation, ceil_mode or return_indices, got {layer}"
            )
        new = MaxPool2d(layer.kernel_size, layer.stride, layer.padding)
    elif relu is not None and type(layer) is nn.ReLU:
        new = ReLU()
    else:
        return layer
    return new.train(layer.training)
