"""Operators on arrays in the caller's memory, as methods of `Engine`.

Every array of a call has one dtype (float16, float32 or float64) unless the method says otherwise. Inputs and outputs
are used where they lie: nothing is copied, and an array with another layout or dtype is an `Error`. An output that is
not given is allocated; one that is given is written and returned. Outputs may overlap nothing. Where the arrays are
tensors of the engine (`Tensor`), so are the results.
"""

from __future__ import annotations

import ctypes as c
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from . import _abi
from ._library import lib
from ._record import Properties, filled, options, pair, text
from .array import Array, Labels, shape4
from .array import labels as label_pointer
from .kink import MaxPoolKink, NormPoolKink, ReluKink, optional_kink
from .status import Error, Status
from .tensor import (
    Operand,
    Result,
    Tensor,
    as_operand,
    optional_view,
    optional_view_mut,
    output,
    ties_arguments,
    view,
    view_mut,
)

Pair: TypeAlias = "int | Iterable[int]"
"""Height and width: one number for both, or two."""


def pool2d_options(kernel_size: Pair, stride: Pair | None, padding: Pair) -> Any:
    """A `tb_pool2d_options`; the stride of None is the kernel's size."""
    window = options(_abi.tb_pool2d_options, "pool2d_options")
    window.kernel[:] = pair(kernel_size)
    window.stride[:] = pair(kernel_size if stride is None else stride)
    window.padding[:] = pair(padding)
    return window


def conv2d_options(
    stride: Pair, padding: Pair, dilation: Pair, groups: int, kernel_size: Pair | None = None
) -> Any:
    """A `tb_conv2d_options`; without a kernel the weight's counts."""
    window = options(_abi.tb_conv2d_options, "conv2d_options")
    window.stride[:], window.padding[:], window.dilation[:] = pair(stride), pair(padding), pair(dilation)
    window.groups = groups
    if kernel_size is not None:
        window.kernel[:] = pair(kernel_size)
    return window


def batchnorm_options(eps: float, momentum: float) -> Any:
    """A `tb_batchnorm_options`."""
    scalars = options(_abi.tb_batchnorm_options, "batchnorm_options")
    scalars.eps, scalars.momentum = eps, momentum
    return scalars


def pool2d_output_shape(
    x_shape: Sequence[int], kernel_size: Pair = 2, stride: Pair | None = None, padding: Pair = 0
) -> tuple[int, ...]:
    """Shape of the tie sets of a max pooling, `[N, C, OH, OW, T]`; without T, the bytes of one set, it is that of a
    pooling's output: OH = floor((H + 2 padding - kernel_size) / stride) + 1.

    Args:
        x_shape: `[N, C, H, W]`
    """
    if len(x_shape) != 4:
        raise Error(Status.SHAPE_MISMATCH, f"x: expected [N, C, H, W], got shape {list(x_shape)}")
    shape, size = (c.c_int64 * 4)(), c.c_size_t()
    window = pool2d_options(kernel_size, stride, padding)
    lib.pool2d_output_shape((c.c_int64 * 4)(*x_shape), window, shape, c.byref(size))
    windows = math.prod(shape)
    # Without windows there is no set whose size could be seen.
    return (*shape, size.value // windows if windows else 1)


@dataclass(frozen=True)
class MaxPool2dDiagnosis(Properties):
    """How often the windows of a max pooling stand on a kink, and how often rounding would put them there."""

    windows: int
    """All windows: the sum of the next four."""
    nan: int
    """Windows that hold a NaN."""
    untied: int
    """Windows whose maximum one element attains."""
    tied_at_zero: int
    """Windows with several such elements whose maximum is 0."""
    tied_elsewhere: int
    """Windows with several such elements whose maximum is not 0."""
    alive: int
    """Tied windows where the choice can matter: they receive a gradient that is not 0."""
    predicted_ties_f16: float
    """Windows whose maximum rounding to float16 is expected to make equal to the largest element below it: the sum of
    max(0, 1 - lead / ulp) over the windows, tied or not, with the lead of the maximum over that element and the
    distance ulp of the numbers of float16 around the maximum."""
    predicted_ties_bf16: float
    """The same for bfloat16."""
    predicted_ties_f32: float
    """The same for float32."""


class Operators:
    """The operators; `Engine` is their only subclass."""

    def maxpool2d_forward(
        self,
        x: Operand,
        kernel_size: Pair = 2,
        stride: Pair | None = None,
        padding: Pair = 0,
        *,
        kink: MaxPoolKink | None = None,
        y: Array | Tensor | None = None,
        ties: Array | Tensor | None = None,
    ) -> tuple[Result, Result]:
        """Max pooling, and the tie set of each window, which the backward pass needs. A NaN in a window wins.

        Args:
            x: `[N, C, H, W]`
            kernel_size: height and width of a window
            stride: height and width; None means the kernel's size
            padding: on each side, at most half the kernel; belongs to no window
            kink: only `Composition.COUPLED` and `Composition.FORWARD` change y; None is native
            y: out: `[N, C, OH, OW]`
            ties: out: uint8 `[N, C, OH, OW, T]`, T = 1 for windows of up to 7 elements, 2 for up to 15, else
                4 (len // 32 + 1). Bit i (little endian, row-major in the window) is set where element i attains the
                maximum; the highest bit of all where the window holds a NaN.

        Returns:
            y and ties
        """
        x = as_operand("x", x)
        shape = pool2d_output_shape(x.shape, kernel_size, stride, padding)
        y, ties = output("y", y, shape[:4], x), output("ties", ties, shape, x, np.uint8)
        lib.maxpool2d_forward(
            self,
            view("x", x),
            pool2d_options(kernel_size, stride, padding),
            optional_kink(kink),
            view_mut("y", y),
            *ties_arguments("ties", ties, write=True),
        )
        return y, ties

    def maxpool2d_backward(
        self,
        gy: Operand,
        ties: Array | Tensor,
        x_shape: Sequence[int],
        kernel_size: Pair = 2,
        stride: Pair | None = None,
        padding: Pair = 0,
        *,
        kink: MaxPoolKink | None = None,
        gx: Array | Tensor | None = None,
    ) -> Result:
        """Gradient with respect to the input of `maxpool2d_forward` under any choice, from the stored tie sets: two
        choices can be compared on one forward pass.

        Args:
            gy: `[N, C, OH, OW]`
            ties: as the forward pass wrote them
            x_shape: `[N, C, H, W]` of the input
            kernel_size, stride, padding: as in the forward pass
            kink: None is native: what PyTorch computes
            gx: out: `[N, C, H, W]`
        """
        gy, ties = as_operand("gy", gy), as_operand("ties", ties)
        gx = output("gx", gx, x_shape, gy)
        lib.maxpool2d_backward(
            self,
            view("gy", gy),
            *ties_arguments("ties", ties),
            pool2d_options(kernel_size, stride, padding),
            optional_kink(kink),
            view_mut("gx", gx),
        )
        return gx

    def maxpool2d_diagnose(
        self,
        x: Operand,
        gy: Operand | None = None,
        kernel_size: Pair = 2,
        stride: Pair | None = None,
        padding: Pair = 0,
    ) -> MaxPool2dDiagnosis:
        """How often the windows of a max pooling of your own layer tie, and how often they would in narrower
        arithmetic. The leads that the predictions follow from are those over the reals, but for 1e-16, where x was
        computed in float64. Counted on the host.

        Args:
            x: `[N, C, H, W]`
            gy: `[N, C, OH, OW]`, the gradient of the output, whose zeros `alive` leaves out; None: `alive` is of all
                tied windows
            kernel_size, stride, padding: as for `maxpool2d_forward`
        """
        window = pool2d_options(kernel_size, stride, padding)
        found = filled(
            _abi.tb_maxpool2d_diagnosis,
            lib.maxpool2d_diagnose,
            self,
            view("x", x),
            optional_view("gy", gy),
            window,
        )
        return MaxPool2dDiagnosis._of(found)

    def norm_pool2d_forward(
        self,
        x: Operand,
        kernel_size: Pair = 2,
        stride: Pair | None = None,
        padding: Pair = 0,
        *,
        y: Array | Tensor | None = None,
    ) -> Result:
        """Norm pooling: y = sqrt(sum of x_i^2) over each window, with the roundings of the published program, so that
        float16 overflows from |x| = 256 on.

        Args:
            x: `[N, C, H, W]`
            kernel_size, stride, padding: as for `maxpool2d_forward`
            y: out: `[N, C, OH, OW]`
        """
        return self._pool2d(lib.norm_pool2d_forward, x, kernel_size, stride, padding, y)

    def norm_pool2d_backward(
        self,
        x: Operand,
        y: Operand,
        gy: Operand,
        kernel_size: Pair = 2,
        stride: Pair | None = None,
        padding: Pair = 0,
        *,
        kink: NormPoolKink | None = None,
        gx: Array | Tensor | None = None,
    ) -> Result:
        """Gradient of `norm_pool2d_forward`: (x_i / y) gy where y is not 0, else at_zero gy.

        Args:
            x: `[N, C, H, W]`, the input of the forward pass
            y: `[N, C, OH, OW]`, as the forward pass gave it
            gy: `[N, C, OH, OW]`
            kernel_size, stride, padding: as in the forward pass
            kink: None is at_zero = 0
            gx: out: `[N, C, H, W]`; sums over overlapping windows are rounded one by one
        """
        x = as_operand("x", x)
        gx = output("gx", gx, x.shape, x)
        lib.norm_pool2d_backward(
            self,
            view("x", x),
            view("y", y),
            view("gy", gy),
            pool2d_options(kernel_size, stride, padding),
            optional_kink(kink),
            view_mut("gx", gx),
        )
        return gx

    def avgpool2d_forward(
        self,
        x: Operand,
        kernel_size: Pair = 2,
        stride: Pair | None = None,
        padding: Pair = 0,
        *,
        y: Array | Tensor | None = None,
    ) -> Result:
        """Average pooling: y = sum of each window over KH KW; padding counts as zeros.

        Args:
            x: `[N, C, H, W]`
            kernel_size, stride, padding: as for `maxpool2d_forward`
            y: out: `[N, C, OH, OW]`
        """
        return self._pool2d(lib.avgpool2d_forward, x, kernel_size, stride, padding, y)

    def avgpool2d_backward(
        self,
        gy: Operand,
        x_shape: Sequence[int],
        kernel_size: Pair = 2,
        stride: Pair | None = None,
        padding: Pair = 0,
        *,
        gx: Array | Tensor | None = None,
    ) -> Result:
        """Gradient of `avgpool2d_forward`.

        Args:
            gy: `[N, C, OH, OW]`
            x_shape: `[N, C, H, W]` of the input
            kernel_size, stride, padding: as in the forward pass
            gx: out: `[N, C, H, W]`
        """
        gy = as_operand("gy", gy)
        gx = output("gx", gx, x_shape, gy)
        window = pool2d_options(kernel_size, stride, padding)
        lib.avgpool2d_backward(self, view("gy", gy), window, view_mut("gx", gx))
        return gx

    def _pool2d(
        self,
        forward: Any,
        x: Operand,
        kernel_size: Pair,
        stride: Pair | None,
        padding: Pair,
        y: Array | Tensor | None,
    ) -> Result:
        x = as_operand("x", x)
        shape = pool2d_output_shape(x.shape, kernel_size, stride, padding)[:4]
        y = output("y", y, shape, x)
        forward(self, view("x", x), pool2d_options(kernel_size, stride, padding), view_mut("y", y))
        return y

    def adaptive_avgpool2d_forward(
        self, x: Operand, output_size: Pair = 1, *, y: Array | Tensor | None = None
    ) -> Result:
        """Average pooling to a size: the mean of the plane where that is 1 x 1.

        Args:
            x: `[N, C, H, W]`
            output_size: OH and OW, which divide H and W
            y: out: `[N, C, OH, OW]`
        """
        x = as_operand("x", x)
        y = output("y", y, (*shape4("x", x)[:2], *pair(output_size)), x)
        lib.adaptive_avgpool2d_forward(self, view("x", x), view_mut("y", y))
        return y

    def adaptive_avgpool2d_backward(
        self, gy: Operand, x_shape: Sequence[int], *, gx: Array | Tensor | None = None
    ) -> Result:
        """Gradient of `adaptive_avgpool2d_forward`.

        Args:
            gy: `[N, C, OH, OW]`
            x_shape: `[N, C, H, W]` of the input
            gx: out: `[N, C, H, W]`
        """
        gy = as_operand("gy", gy)
        gx = output("gx", gx, x_shape, gy)
        lib.adaptive_avgpool2d_backward(self, view("gy", gy), view_mut("gx", gx))
        return gx

    def relu_forward(self, x: Operand, *, y: Array | Tensor | None = None) -> Result:
        """y = max(x, 0), elementwise; NaN stays NaN and -0 stays -0, as in PyTorch.

        Args:
            x: any shape
            y: out: the shape of x
        """
        x = as_operand("x", x)
        y = output("y", y, x.shape, x)
        lib.relu_forward(self, view("x", x), view_mut("y", y))
        return y

    def relu_backward(
        self, x: Operand, gy: Operand, *, kink: ReluKink | None = None, gx: Array | Tensor | None = None
    ) -> Result:
        """Gradient of `relu_forward`: gy where x > 0 (and where x is NaN), alpha gy where x = 0, else 0.

        Args:
            x: the input of the forward pass
            gy: the shape of x
            kink: None is alpha = 0
            gx: out: the shape of x
        """
        x = as_operand("x", x)
        gx = output("gx", gx, x.shape, x)
        lib.relu_backward(self, view("x", x), view("gy", gy), optional_kink(kink), view_mut("gx", gx))
        return gx

    def conv2d_forward(
        self,
        x: Operand,
        weight: Operand,
        bias: Operand | None = None,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        *,
        y: Array | Tensor | None = None,
    ) -> Result:
        """Convolution (cross-correlation): y = x * weight + bias.

        Args:
            x: `[N, C, H, W]`
            weight: `[O, C / groups, KH, KW]`
            bias: `[O]`, or None
            stride, padding, dilation: height and width
            groups: groups of channels that do not see each other
            y: out: `[N, O, OH, OW]`, OH = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1
        """
        x, weight = as_operand("x", x), as_operand("weight", weight)
        n, _, *image = shape4("x", x)
        o, _, *kernel = shape4("weight", weight)
        # Nonsense gives some shape here, and the library says what is wrong.
        size = [
            max((i + 2 * p - d * (k - 1) - 1) // max(s, 1) + 1, 0)
            for i, k, s, p, d in zip(image, kernel, pair(stride), pair(padding), pair(dilation), strict=True)
        ]
        y = output("y", y, (n, o, *size), x)
        lib.conv2d_forward(
            self,
            view("x", x),
            view("weight", weight),
            optional_view("bias", bias),
            conv2d_options(stride, padding, dilation, groups),
            view_mut("y", y),
        )
        return y

    def conv2d_backward_input(
        self,
        gy: Operand,
        weight: Operand,
        x_shape: Sequence[int],
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        *,
        gx: Array | Tensor | None = None,
    ) -> Result:
        """Gradient with respect to the input of `conv2d_forward`.

        Args:
            gy: `[N, O, OH, OW]`
            weight: `[O, C / groups, KH, KW]`
            x_shape: `[N, C, H, W]` of the input
            stride, padding, dilation, groups: as in the forward pass
            gx: out: `[N, C, H, W]`
        """
        gy = as_operand("gy", gy)
        gx = output("gx", gx, x_shape, gy)
        window = conv2d_options(stride, padding, dilation, groups)
        lib.conv2d_backward_input(self, view("gy", gy), view("weight", weight), window, view_mut("gx", gx))
        return gx

    def conv2d_backward_weight(
        self,
        x: Operand,
        gy: Operand,
        weight_shape: Sequence[int],
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        *,
        gweight: Array | Tensor | None = None,
        gbias: Array | Tensor | None = None,
    ) -> tuple[Result, Result]:
        """Gradients with respect to the weight and bias of `conv2d_forward`.

        Args:
            x: `[N, C, H, W]`
            gy: `[N, O, OH, OW]`
            weight_shape: `[O, C / groups, KH, KW]`
            stride, padding, dilation, groups: as in the forward pass
            gweight: out: `[O, C / groups, KH, KW]`
            gbias: out: `[O]`

        Returns:
            gweight and gbias
        """
        x = as_operand("x", x)
        gweight = output("gweight", gweight, weight_shape, x)
        gbias = output("gbias", gbias, weight_shape[:1], x)
        lib.conv2d_backward_weight(
            self,
            view("x", x),
            view("gy", gy),
            conv2d_options(stride, padding, dilation, groups),
            view_mut("gweight", gweight),
            view_mut("gbias", gbias),
        )
        return gweight, gbias

    def linear_forward(
        self, x: Operand, weight: Operand, bias: Operand | None = None, *, y: Array | Tensor | None = None
    ) -> Result:
        """Fully connected layer: y = x weight^T + bias.

        Args:
            x: `[N, I]`
            weight: `[O, I]`
            bias: `[O]`, or None
            y: out: `[N, O]`
        """
        x, weight = as_operand("x", x), as_operand("weight", weight)
        y = output("y", y, (*x.shape[:1], *weight.shape[:1]), x)
        lib.linear_forward(
            self, view("x", x), view("weight", weight), optional_view("bias", bias), view_mut("y", y)
        )
        return y

    def linear_backward_input(
        self, gy: Operand, weight: Operand, *, gx: Array | Tensor | None = None
    ) -> Result:
        """Gradient with respect to the input of `linear_forward`: gx = gy weight.

        Args:
            gy: `[N, O]`
            weight: `[O, I]`
            gx: out: `[N, I]`
        """
        gy, weight = as_operand("gy", gy), as_operand("weight", weight)
        gx = output("gx", gx, (*gy.shape[:1], *weight.shape[1:]), gy)
        lib.linear_backward_input(self, view("gy", gy), view("weight", weight), view_mut("gx", gx))
        return gx

    def linear_backward_weight(
        self,
        x: Operand,
        gy: Operand,
        *,
        gweight: Array | Tensor | None = None,
        gbias: Array | Tensor | None = None,
    ) -> tuple[Result, Result]:
        """Gradients with respect to the weight and bias of `linear_forward`.

        Args:
            x: `[N, I]`
            gy: `[N, O]`
            gweight: out: `[O, I]`
            gbias: out: `[O]`

        Returns:
            gweight and gbias
        """
        x, gy = as_operand("x", x), as_operand("gy", gy)
        gweight = output("gweight", gweight, (*gy.shape[1:], *x.shape[1:]), x)
        gbias = output("gbias", gbias, gy.shape[1:], x)
        lib.linear_backward_weight(
            self, view("x", x), view("gy", gy), view_mut("gweight", gweight), view_mut("gbias", gbias)
        )
        return gweight, gbias

    def batchnorm_forward(
        self,
        x: Operand,
        weight: Operand,
        bias: Operand,
        running_mean: Array | Tensor | None = None,
        running_var: Array | Tensor | None = None,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        y: Array | Tensor | None = None,
        mean: Array | Tensor | None = None,
        inv_std: Array | Tensor | None = None,
    ) -> tuple[Result, Result, Result]:
        """Batch normalisation in training mode: y = (x - mean) / sqrt(var + eps) weight + bias, with the mean and the
        biased variance of each channel over the batch. A batch with one value for each channel is refused.

        Args:
            x: `[N, C, H, W]` or `[N, C]`
            weight, bias: `[C]`, the dtype of x, or float32 beside float16
            running_mean, running_var: in and out: `[C]`, the dtype of weight, take `momentum` of the mean and the
                unbiased variance; None both where they are not wanted
            eps: added to the variance
            momentum: share of the batch's statistics that the running ones take
            y: out: the shape of x
            mean, inv_std: out: `[C]`, 1 / sqrt(var + eps); float64 for float64, else float32

        Returns:
            y, mean and inv_std
        """
        x, weight = as_operand("x", x), as_operand("weight", weight)
        statistics = np.float64 if x.dtype == np.float64 else np.float32
        y = output("y", y, x.shape, x)
        mean = output("mean", mean, weight.shape, x, statistics)
        inv_std = output("inv_std", inv_std, weight.shape, x, statistics)
        lib.batchnorm_forward(
            self,
            view("x", x),
            view("weight", weight),
            view("bias", bias),
            batchnorm_options(eps, momentum),
            view_mut("y", y),
            view_mut("mean", mean),
            view_mut("inv_std", inv_std),
            optional_view_mut("running_mean", running_mean),
            optional_view_mut("running_var", running_var),
        )
        return y, mean, inv_std

    def batchnorm_inference(
        self,
        x: Operand,
        weight: Operand,
        bias: Operand,
        running_mean: Operand,
        running_var: Operand,
        *,
        eps: float = 1e-5,
        y: Array | Tensor | None = None,
    ) -> Result:
        """Batch normalisation in evaluation mode: with the running statistics in place of the batch's.

        Args:
            x: `[N, C, H, W]` or `[N, C]`
            weight, bias, running_mean, running_var: `[C]`, of one dtype: that of x, or float32 beside float16
            eps: added to the variance
            y: out: the shape of x
        """
        x = as_operand("x", x)
        y = output("y", y, x.shape, x)
        lib.batchnorm_inference(
            self,
            view("x", x),
            view("weight", weight),
            view("bias", bias),
            view("running_mean", running_mean),
            view("running_var", running_var),
            batchnorm_options(eps, 0.1),
            view_mut("y", y),
        )
        return y

    def batchnorm_backward(
        self,
        x: Operand,
        gy: Operand,
        weight: Operand,
        mean: Operand,
        inv_std: Operand,
        *,
        gx: Array | Tensor | None = None,
        gweight: Array | Tensor | None = None,
        gbias: Array | Tensor | None = None,
    ) -> tuple[Result, Result, Result]:
        """Gradients of `batchnorm_forward`, through the batch's statistics too.

        Args:
            x: `[N, C, H, W]` or `[N, C]`, the input of the forward pass
            gy: the shape of x
            weight: `[C]`
            mean, inv_std: `[C]`, as the forward pass wrote them
            gx: out: the shape of x
            gweight, gbias: out: `[C]`, the dtype of weight

        Returns:
            gx, gweight and gbias
        """
        x, weight = as_operand("x", x), as_operand("weight", weight)
        gx = output("gx", gx, x.shape, x)
        gweight = output("gweight", gweight, weight.shape, weight)
        gbias = output("gbias", gbias, weight.shape, weight)
        lib.batchnorm_backward(
            self,
            view("x", x),
            view("gy", gy),
            view("weight", weight),
            view("mean", mean),
            view("inv_std", inv_std),
            view_mut("gx", gx),
            view_mut("gweight", gweight),
            view_mut("gbias", gbias),
        )
        return gx, gweight, gbias

    def batchnorm_inference_backward(
        self,
        x: Operand,
        gy: Operand,
        weight: Operand,
        running_mean: Operand,
        running_var: Operand,
        *,
        eps: float = 1e-5,
        gx: Array | Tensor | None = None,
        gweight: Array | Tensor | None = None,
        gbias: Array | Tensor | None = None,
    ) -> tuple[Result, Result, Result]:
        """Gradients of `batchnorm_inference`.

        Args:
            x: `[N, C, H, W]` or `[N, C]`, the input of the forward pass
            gy: the shape of x
            weight, running_mean, running_var: `[C]`
            eps: as in the forward pass
            gx: out: the shape of x
            gweight, gbias: out: `[C]`, the dtype of weight

        Returns:
            gx, gweight and gbias
        """
        x, weight = as_operand("x", x), as_operand("weight", weight)
        gx = output("gx", gx, x.shape, x)
        gweight = output("gweight", gweight, weight.shape, weight)
        gbias = output("gbias", gbias, weight.shape, weight)
        lib.batchnorm_inference_backward(
            self,
            view("x", x),
            view("gy", gy),
            view("weight", weight),
            view("running_mean", running_mean),
            view("running_var", running_var),
            batchnorm_options(eps, 0.1),
            view_mut("gx", gx),
            view_mut("gweight", gweight),
            view_mut("gbias", gbias),
        )
        return gx, gweight, gbias

    def add(self, a: Operand, b: Operand, *, y: Array | Tensor | None = None) -> Result:
        """y = a + b, elementwise. The gradient with respect to both is that of y.

        Args:
            a: any shape
            b: the shape of a
            y: out: the shape of a
        """
        a = as_operand("a", a)
        y = output("y", y, a.shape, a)
        lib.add(self, view("a", a), view("b", b), view_mut("y", y))
        return y

    def concat(self, inputs: Sequence[Operand], *, y: Array | Tensor | None = None) -> Result:
        """Concatenation along dimension 1, the channels.

        Args:
            inputs: `[N, C_i, ...]` each, at least one
            y: out: `[N, sum of C_i, ...]`
        """
        arrays = [as_operand(f"inputs[{i}]", value) for i, value in enumerate(inputs)]
        if not arrays:
            raise Error(Status.INVALID_ARGUMENT, "inputs: expected at least one, got none")
        for i, array in enumerate(arrays):
            if array.ndim < 2:
                raise Error(
                    Status.SHAPE_MISMATCH, f"inputs[{i}]: expected [N, C, ...], got shape {list(array.shape)}"
                )
        views = [view(f"inputs[{i}]", array) for i, array in enumerate(arrays)]
        n, _, *rest = arrays[0].shape
        y = output("y", y, (n, sum(array.shape[1] for array in arrays), *rest), arrays[0])
        lib.concat(self, (_abi.tb_view * len(views))(*views), len(views), view_mut("y", y))
        return y

    def concat_backward(
        self, gy: Operand, channels: Sequence[int], *, gradients: Sequence[Array | Tensor] | None = None
    ) -> list[Result]:
        """Gradients with respect to the inputs of `concat`: the parts of gy.

        Args:
            gy: `[N, sum of C_i, ...]`
            channels: C_i of each input
            gradients: out: `[N, C_i, ...]` each
        """
        gy = as_operand("gy", gy)
        if gradients is None:
            shapes = [(*gy.shape[:1], count, *gy.shape[2:]) for count in channels]
            gradients = [output("gradients", None, shape, gy) for shape in shapes]
        views = [view_mut(f"gradients[{i}]", array) for i, array in enumerate(gradients)]
        lib.concat_backward(self, view("gy", gy), (_abi.tb_view_mut * len(views))(*views), len(views))
        return list(gradients)

    def dropout_forward(
        self, x: Operand, p: float, seed: int, step: int, *, y: Array | Tensor | None = None
    ) -> Result:
        """Each element becomes 0 with probability p, the others are divided by 1 - p. The mask is a function of p,
        seed, step and the element's index alone.

        Args:
            x: any shape
            p: 0 to 1
            seed: of the mask
            step: another mask for each
            y: out: the shape of x
        """
        x = as_operand("x", x)
        y = output("y", y, x.shape, x)
        lib.dropout_forward(self, view("x", x), p, seed, step, view_mut("y", y))
        return y

    def dropout_backward(
        self, gy: Operand, p: float, seed: int, step: int, *, gx: Array | Tensor | None = None
    ) -> Result:
        """Gradient of `dropout_forward` under the same mask.

        Args:
            gy: any shape
            p, seed, step: as in the forward pass
            gx: out: the shape of gy
        """
        gy = as_operand("gy", gy)
        gx = output("gx", gx, gy.shape, gy)
        lib.dropout_backward(self, view("gy", gy), p, seed, step, view_mut("gx", gx))
        return gx

    def cross_entropy(
        self, logits: Operand, labels: Labels, *, glogits: Array | Tensor | None = None
    ) -> tuple[float, Result]:
        """Softmax cross-entropy, mean over the batch, and its gradient.

        Args:
            logits: `[N, C]`
            labels: N class numbers in 0..C
            glogits: out: `[N, C]`, the gradient of the loss

        Returns:
            the loss, computed in the accumulate type and rounded once to the dtype, and glogits
        """
        logits = as_operand("logits", logits)
        glogits = output("glogits", glogits, logits.shape, logits)
        loss = c.c_double()
        lib.cross_entropy(
            self,
            view("logits", logits),
            *label_pointer(labels),
            view_mut("glogits", glogits),
            c.byref(loss),
        )
        return loss.value, glogits

    def quantize(self, format: str, x: Array | Tensor, *, step: int = 0) -> Result:
        """Rounds every element to a simulated format, in place. What exceeds its largest number becomes infinite, or
        NaN where the format ("e4m3", which is OCP's) has no infinity.

        Args:
            format: "bf16", "tf32", "e4m3", "e5m2", any "e<exponent bits>m<fraction bits>", each also with random
                rounding as "e5m2:stochastic(<seed>)"
            x: in and out: any shape, float32 or float64; float64 where float32 does not hold the format
            step: other random numbers for each
        """
        lib.quantize(self, text(format), step, view_mut("x", x))
        return x
