"""Every operator against NumPy or numbers by hand. The library's own tests compare them with PyTorch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import tiebreak
from tiebreak import Composition, Jacobian, MaxPoolKink, NormPoolKink, ReluKink

TOLERANCE = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-13}


def close(got, expected, scale=1.0):
    tolerance = scale * TOLERANCE[got.dtype.name]
    np.testing.assert_allclose(got.astype(float), expected, rtol=tolerance, atol=tolerance)


def windows(x, kernel, stride, padding, fill):
    """`[N, C, OH, OW, KH, KW]`"""
    pad = [(0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2]
    view = np.lib.stride_tricks.sliding_window_view(np.pad(x, pad, constant_values=fill), kernel, (2, 3))
    return view[:, :, :: stride[0], :: stride[1]]


def tied():
    """Windows with 3, 2, 1 and 4 elements at the maximum."""
    return np.array([[[[3, 3, 0, 5], [3, 0, 5, 1], [2, 1, 4, 4], [0, 1, 4, 4]]]])


BY_HAND = {
    MaxPoolKink(): [[1, 0, 0, 1], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]],
    MaxPoolKink("last"): [[0, 0, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]],
    MaxPoolKink("minimal"): [
        [1 / 3, 1 / 3, 0, 0.5],
        [1 / 3, 0, 0.5, 0],
        [1, 0, 0.25, 0.25],
        [0, 0, 0.25, 0.25],
    ],
    MaxPoolKink("first_column"): [[1, 0, 0, 0], [0, 0, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]],
    MaxPoolKink("all"): [[1, 1, 0, 1], [1, 0, 1, 0], [1, 0, 1, 1], [0, 0, 1, 1]],
    MaxPoolKink("scaled"): [[0.75, 0.75, 0, 0.5], [0.75, 0, 0.5, 0], [0.25, 0, 1, 1], [0, 0, 1, 1]],
    MaxPoolKink("beta", beta=4.0, composition="forward"): [
        [1, 0, 0, 1],
        [0, 0, 0, 0],
        [1, 0, 1, 0],
        [0, 0, 0, 0],
    ],
    MaxPoolKink("beta", beta=4.0): [[-5 / 3, 4 / 3, 0, -1], [4 / 3, 0, 2, 0], [1, 0, -2, 1], [0, 0, 1, 1]],
}


@pytest.mark.parametrize("kink", BY_HAND, ids=str)
def test_maxpool2d_by_hand(engine, dtype, kink):
    x = tied().astype(dtype)
    y, ties = engine.maxpool2d_forward(x)
    assert y.tolist() == [[[[3, 5], [2, 4]]]]
    assert ties[0, 0, :, :, 0].tolist() == [[0b0111, 0b0110], [0b0001, 0b1111]]
    gx = engine.maxpool2d_backward(np.ones_like(y), ties, x.shape, kink=kink)
    close(gx, [[BY_HAND[kink]]], 4)


def test_maxpool2d_compositions(engine):
    """Those of the published forward pass change it; all but "forward" agree with beta as float16 allows."""
    x = (tied() * 1.1).astype(np.float16)
    y, ties = engine.maxpool2d_forward(x)
    for composition in Composition:
        kink = MaxPoolKink("beta", beta=1000.0, composition=composition)
        forward, again = engine.maxpool2d_forward(x, kink=kink)
        assert np.array_equal(again, ties)
        published = composition in (Composition.COUPLED, Composition.FORWARD)
        assert np.array_equal(forward, y) == (not published)
        gx = engine.maxpool2d_backward(np.ones_like(y), ties, x.shape, kink=kink).astype(float)
        # In each tied window beta / k on the others, what is left of 1 on the first.
        others = [0, 0] if composition is Composition.FORWARD else [250, 250]
        close(gx[0, 0, 3, 2:].astype(np.float16), others)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, None, 0), (3, 2, 1), ((2, 3), (1, 2), (1, 0))])
def test_maxpool2d_diagnosis(engine, dtype, rng, kernel, stride, padding):
    x = np.where(
        rng.random((2, 3, 9, 10)) < 0.5, rng.integers(-2, 3, (2, 3, 9, 10)), rng.random((2, 3, 9, 10))
    )
    x = x.astype(dtype)
    x[0, 1, 4, 5] = np.nan
    k, s, p = (tuple(v) if not isinstance(v, int) else (v, v) for v in (kernel, stride or kernel, padding))
    parts = windows(x.astype(float), k, s, p, -np.inf)
    parts = parts.reshape(-1, k[0] * k[1])
    gy = rng.integers(0, 2, tiebreak.pool2d_output_shape(x.shape, kernel, stride, padding)[:4]).astype(dtype)
    found = engine.maxpool2d_diagnose(x, gy, kernel, stride, padding)
    nan = np.isnan(parts).any(1)
    top = parts.max(1)
    tied = ~nan & ((parts == top[:, None]).sum(1) > 1)
    assert (found.windows, found.nan) == (len(parts), nan.sum())
    assert found.untied == (~nan & ~tied).sum()
    assert (found.tied_at_zero, found.tied_elsewhere) == (
        (tied & (top == 0)).sum(),
        (tied & (top != 0)).sum(),
    )
    assert found.alive == (tied & (gy.ravel() != 0)).sum()
    assert engine.maxpool2d_diagnose(x, None, kernel, stride, padding).alive == tied.sum()
    top, parts = top[~nan], parts[~nan]
    lead = top - np.where(parts < top[:, None], parts, -np.inf).max(1)
    for bits, exponent, predicted in [
        (10, -14, found.predicted_ties_f16),
        (7, -126, found.predicted_ties_bf16),
        (23, -126, found.predicted_ties_f32),
    ]:
        size = np.maximum(np.frexp(top)[1] - 1, exponent)
        ulp = 2.0 ** (np.where(top == 0, exponent, size) - bits)
        assert predicted == pytest.approx(np.maximum(0, 1 - lead / ulp).sum(), rel=1e-12)


def test_maxpool2d_random_is_repeatable(engine):
    x = np.zeros((8, 4, 8, 8), np.float32)
    y, ties = engine.maxpool2d_forward(x)
    one, two, other = (
        engine.maxpool2d_backward(np.ones_like(y), ties, x.shape, kink=MaxPoolKink("random", seed=seed))
        for seed in (1, 1, 2)
    )
    assert np.array_equal(one, two) and not np.array_equal(one, other)
    assert np.array_equal(windows(one, (2, 2), (2, 2), (0, 0), 0).sum((4, 5)), np.ones_like(y))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(2, None, 0), (3, 2, 1), ((2, 3), (1, 2), (1, 0)), (4, 4, 0), ([3, 3], None, (0, 1))],
)
def test_poolings(engine, dtype, rng, kernel, stride, padding):
    x = rng.integers(-8, 8, (2, 3, 9, 10)).astype(dtype)
    k, s, p = (tuple(v) if not isinstance(v, int) else (v, v) for v in (kernel, stride or kernel, padding))
    how = (kernel, stride, padding)

    y, ties = engine.maxpool2d_forward(x, *how)
    parts = windows(x.astype(float), k, s, p, -np.inf)
    close(y, parts.max((4, 5)))
    assert tiebreak.pool2d_output_shape(x.shape, *how) == ties.shape and ties.shape[:4] == y.shape
    bits = np.unpackbits(ties, axis=-1, bitorder="little")[..., : k[0] * k[1]]
    assert np.array_equal(bits, (parts == parts.max((4, 5), keepdims=True)).reshape(bits.shape))

    norms = engine.norm_pool2d_forward(x, *how)
    close(norms, np.sqrt((windows(x.astype(float), k, s, p, 0) ** 2).sum((4, 5))), 4)
    means = engine.avgpool2d_forward(x, *how)
    close(means, windows(x.astype(float), k, s, p, 0).mean((4, 5)), 4)

    # <gy, J v> = <J^T gy, v>, with J v from the definition.
    gy, v = rng.integers(-2, 3, y.shape).astype(dtype), rng.integers(-2, 3, x.shape).astype(float)
    gx = engine.avgpool2d_backward(gy, x.shape, *how)
    close(np.array((gx * v).sum(), dtype), (gy * windows(v, k, s, p, 0).mean((4, 5))).sum(), 60)
    gx = engine.norm_pool2d_backward(x, norms, gy, *how)
    products = (windows(x.astype(float), k, s, p, 0) * windows(v, k, s, p, 0)).sum((4, 5))
    along = np.divide(products, norms, out=np.zeros(y.shape), where=norms != 0)
    close(np.array((gx * v).sum(), dtype), (gy * along).sum(), 100)
    gx = engine.maxpool2d_backward(gy, ties, x.shape, *how, kink=MaxPoolKink("minimal"))
    is_max = parts == parts.max((4, 5), keepdims=True)
    along = (is_max * windows(v, k, s, p, 0)).sum((4, 5)) / is_max.sum((4, 5))
    close(np.array((gx * v).sum(), dtype), (gy * along).sum(), 60)


def test_norm_pool2d_at_zero(engine, dtype):
    x = np.zeros((1, 1, 2, 2), dtype)
    y = engine.norm_pool2d_forward(x)
    gy = np.full_like(y, 2)
    assert engine.norm_pool2d_backward(x, y, gy).tolist() == np.zeros_like(x).tolist()
    gx = engine.norm_pool2d_backward(x, y, gy, kink=NormPoolKink(at_zero=0.5))
    assert gx.tolist() == np.ones_like(x).tolist()


def test_adaptive_avgpool2d(engine, dtype, rng):
    x = rng.integers(-8, 8, (2, 3, 4, 6)).astype(dtype)
    close(engine.adaptive_avgpool2d_forward(x), x.astype(float).mean((2, 3), keepdims=True), 4)
    y = engine.adaptive_avgpool2d_forward(x, (2, 3))
    close(y, x.astype(float).reshape(2, 3, 2, 2, 3, 2).mean((3, 5)), 4)
    gx = engine.adaptive_avgpool2d_backward(y, x.shape)
    assert np.array_equal(gx, np.repeat(np.repeat(y / 4, 2, 2), 2, 3))


def test_relu(engine, dtype):
    x = np.array([-1, 0, -0.0, 2, np.nan], dtype)
    assert np.array_equal(engine.relu_forward(x), np.array([0, 0, -0.0, 2, np.nan], dtype), equal_nan=True)
    gy = np.full_like(x, 4)
    assert engine.relu_backward(x, gy).tolist() == [0, 0, 0, 4, 4]
    assert engine.relu_backward(x, gy, kink=ReluKink(alpha=0.5)).tolist() == [0, 2, 2, 4, 4]


@pytest.mark.parametrize("how", [(1, 0, 1, 1), (2, 1, 1, 2), ((1, 2), (2, 0), (2, 1), 1)])
def test_conv2d(engine, dtype, rng, how):
    *_, groups = how
    x = rng.integers(-2, 3, (2, 4, 7, 8)).astype(dtype)
    weight = rng.integers(-2, 3, (6, 4 // groups, 3, 2)).astype(dtype)
    bias = rng.integers(-2, 3, 6).astype(dtype)

    def reference(x, weight, bias):
        s, p, d = (v if isinstance(v, tuple) else (v, v) for v in how[:3])
        span = (d[0] * 2 + 1, d[1] + 1)
        parts = windows(x, span, s, p, 0)[..., :: d[0], :: d[1]]
        n, channels = x.shape[:2]
        parts = parts.reshape(n, groups, channels // groups, *parts.shape[2:])
        kernels = weight.reshape(groups, -1, *weight.shape[1:])
        y = np.einsum("ngchwij,gocij->ngohw", parts, kernels)
        return y.reshape(n, -1, *y.shape[3:]) + bias[:, None, None]

    x64, weight64, bias64 = (a.astype(float) for a in (x, weight, bias))
    y = engine.conv2d_forward(x, weight, bias, *how)
    # Small integers: exact in every dtype.
    assert np.array_equal(y, reference(x64, weight64, bias64))
    assert np.array_equal(engine.conv2d_forward(x, weight, None, *how), reference(x64, weight64, 0 * bias64))

    gy = rng.integers(-2, 3, y.shape).astype(dtype)
    gx = engine.conv2d_backward_input(gy, weight, x.shape, *how)
    gweight, gbias = engine.conv2d_backward_weight(x, gy, weight.shape, *how)
    v, w = rng.integers(-2, 3, x.shape).astype(float), rng.integers(-2, 3, weight.shape).astype(float)
    assert (gx * v).sum() == (gy * reference(v, weight64, 0 * bias64)).sum()
    assert (gweight * w).sum() == (gy * reference(x64, w, 0 * bias64)).sum()
    assert np.array_equal(gbias, gy.astype(float).sum((0, 2, 3)))


def test_linear(engine, dtype, rng):
    x, weight, bias, gy = (rng.integers(-3, 4, s).astype(dtype) for s in ((5, 4), (3, 4), 3, (5, 3)))
    assert np.array_equal(engine.linear_forward(x, weight, bias), x @ weight.T + bias)
    assert np.array_equal(engine.linear_forward(x, weight), x @ weight.T)
    assert np.array_equal(engine.linear_backward_input(gy, weight), gy @ weight)
    gweight, gbias = engine.linear_backward_weight(x, gy)
    assert np.array_equal(gweight, gy.T @ x) and np.array_equal(gbias, gy.sum(0))


@pytest.mark.parametrize("shape", [(6, 3, 4, 5), (9, 3)])
def test_batchnorm(engine, dtype, rng, shape):
    axes = tuple(i for i in range(len(shape)) if i != 1)
    channels = (slice(None),) + (None,) * (len(shape) - 2)
    x = rng.normal(1, 2, shape).astype(dtype)
    gy = rng.normal(0, 1, shape).astype(dtype)
    weight, bias = np.array([1, 2, 0.5], dtype), np.array([0, 1, -1], dtype)
    running_mean, running_var = np.zeros(3, dtype), np.ones(3, dtype)
    x64, count = x.astype(float), x.size // 3
    mean64, var64 = x64.mean(axes), x64.var(axes)
    centred = (x64 - mean64[channels]) / np.sqrt(var64 + 1e-3)[channels]

    y, mean, inv_std = engine.batchnorm_forward(
        x, weight, bias, running_mean, running_var, eps=1e-3, momentum=0.25
    )
    close(y, centred * weight[channels] + bias[channels], 4)
    assert mean.dtype == (np.float64 if dtype == np.float64 else np.float32)
    close(mean, mean64, 10)
    close(inv_std, 1 / np.sqrt(var64 + 1e-3), 10)
    close(running_mean, 0.25 * mean64, 4)
    close(running_var, 0.75 + 0.25 * var64 * count / (count - 1), 4)
    without, _, _ = engine.batchnorm_forward(x, weight, bias, eps=1e-3)
    assert np.array_equal(without, y)

    gx, gweight, gbias = engine.batchnorm_backward(x, gy, weight, mean, inv_std)
    g = gy.astype(float)
    close(gweight, (g * centred).sum(axes), 20)
    close(gbias, g.sum(axes), 20)
    inner = g - g.mean(axes)[channels] - centred * (g * centred).mean(axes)[channels]
    close(gx, inner * (weight / np.sqrt(var64 + 1e-3))[channels], 10)

    running_mean, running_var = np.array([0, 1, 2], dtype), np.array([1, 4, 0.25], dtype)
    scaled = (x64 - running_mean[channels]) / np.sqrt(running_var.astype(float) + 1e-5)[channels]
    y = engine.batchnorm_inference(x, weight, bias, running_mean, running_var)
    close(y, scaled * weight[channels] + bias[channels], 10)
    gx, gweight, gbias = engine.batchnorm_inference_backward(x, gy, weight, running_mean, running_var)
    close(gweight, (g * scaled).sum(axes), 100)
    close(gbias, g.sum(axes), 20)
    close(gx, g * (weight / np.sqrt(running_var.astype(float) + 1e-5))[channels], 10)


def test_add_and_concat(engine, dtype):
    a, b = np.arange(12, dtype=dtype).reshape(2, 3, 2), np.ones((2, 1, 2), dtype)
    assert np.array_equal(engine.add(a, a), 2 * a)
    y = engine.concat([a, b])
    assert np.array_equal(y, np.concatenate([a, b], 1))
    parts = engine.concat_backward(y, [3, 1])
    assert np.array_equal(parts[0], a) and np.array_equal(parts[1], b)
    given = [np.empty_like(a), np.empty_like(b)]
    for part, out in zip(engine.concat_backward(y, [3, 1], gradients=given), given, strict=True):
        assert part is out
    for nothing in ([], [np.zeros(3, dtype)]):
        with pytest.raises(tiebreak.Error, match="inputs"):
            engine.concat(nothing)


def test_dropout(engine, dtype):
    x = np.ones(2000, dtype)
    y = engine.dropout_forward(x, 0.5, seed=3, step=1)
    assert set(y.tolist()) == {0.0, 2.0} and 800 < np.count_nonzero(y) < 1200
    assert np.array_equal(engine.dropout_backward(x, 0.5, seed=3, step=1), y)
    assert not np.array_equal(engine.dropout_forward(x, 0.5, seed=3, step=2), y)
    assert not np.array_equal(engine.dropout_forward(x, 0.5, seed=4, step=1), y)


def test_cross_entropy(engine, dtype, rng):
    logits = rng.normal(0, 1, (6, 5)).astype(dtype)
    labels = np.array([0, 4, 2, 2, 1, 3])
    loss, glogits = engine.cross_entropy(logits, labels)
    p = np.exp(logits.astype(float))
    p /= p.sum(1, keepdims=True)
    assert loss == pytest.approx(-np.log(p[np.arange(6), labels]).mean(), rel=TOLERANCE[dtype.name])
    close(glogits, (p - np.eye(5)[labels]) / 6)


def test_quantize(engine):
    x = np.array([1 + 2**-8, 1 + 3 * 2**-8, 3e38, -1e-45], np.float32)
    assert engine.quantize("bf16", x) is x
    assert x.view(np.uint32)[:2].tolist() == [0x3F800000, 0x3F820000]
    x = np.full(1000, 1 + 2**-3 / 4)
    engine.quantize("e4m3:stochastic(5)", x, step=1)
    assert set(x.tolist()) == {1.0, 1.125} and 150 < np.count_nonzero(x == 1.125) < 350
    with pytest.raises(tiebreak.Error, match="format"):
        engine.quantize("e1", x)


def test_steps(engine, dtype):
    def arrays(count):
        return [np.array([1, -2, 0.5], dtype), *(np.zeros(3, dtype) for _ in range(count))]

    grad = np.array([0.5, 1, -1], dtype)
    g = grad.astype(float)
    param, buffer = arrays(1)
    start = param.astype(float)
    sgd = tiebreak.SGD(learning_rate=0.5, momentum=0.5, weight_decay=0.25)
    buffer[:] = 9
    engine.sgd_step(sgd, grad, param, buffer, first=True)
    first = g + 0.25 * start
    close(buffer, first)
    close(param, start - 0.5 * first)
    middle = param.astype(float)
    engine.sgd_step(sgd, grad, param, buffer)
    close(param, middle - 0.5 * (0.5 * first + g + 0.25 * middle), 2)
    (param,) = arrays(0)
    engine.sgd_step(tiebreak.SGD(learning_rate=0.5), grad, param)
    close(param, start - 0.5 * g)

    for adam, decay in (tiebreak.Adam(0.5, eps=1e-3), 1.0), (tiebreak.AdamW(0.5, eps=1e-3), 1 - 0.5 * 0.01):
        param, average, square = arrays(2)
        engine.adam_step(adam, 1, grad, param, average, square)
        close(average, 0.1 * g)
        # In float16 the first step's square average is small.
        close(param, decay * start - 0.5 * g / (np.abs(g) + 1e-3), 20)
    param, average, square, largest = arrays(3)
    engine.adam_step(tiebreak.Adam(amsgrad=True), 1, grad, param, average, square, largest)
    assert np.array_equal(largest, square) and square.any()

    param, square = arrays(1)
    engine.rms_prop_step(tiebreak.RMSprop(0.5, alpha=0.75, eps=1e-3), grad, param, square)
    close(square, 0.25 * g**2)
    close(param, start - 0.5 * g / (0.5 * np.abs(g) + 1e-3), 4)
    param, square, buffer, average = arrays(3)
    centered = tiebreak.RMSprop(0.5, momentum=0.5, centered=True, eps=1e-3)
    engine.rms_prop_step(centered, grad, param, square, buffer, average)
    close(average, 0.01 * g)
    assert buffer.any() and not np.array_equal(param, start)
    with pytest.raises(tiebreak.Error, match="momentum_buffer"):
        engine.rms_prop_step(centered, grad, param, square, None, average)


def test_numbers_of_the_choice_are_checked(engine):
    x = np.zeros((1, 1, 2, 2), np.float32)
    y, ties = engine.maxpool2d_forward(x)
    for beta in (float("nan"), 1e39):
        with pytest.raises(tiebreak.Error, match="beta") as caught:
            engine.maxpool2d_backward(y, ties, x.shape, kink=MaxPoolKink("beta", beta=beta))
        assert caught.value.status is tiebreak.Status.INVALID_ARGUMENT
    with pytest.raises(
        ValueError, match="native, last, minimal, beta, random, first_column, all, scaled, got 'first'"
    ):
        MaxPoolKink("first")
    with pytest.raises(TypeError, match="kink: expected a MaxPoolKink"):
        engine.maxpool2d_backward(y, ties, x.shape, kink="minimal")
    with pytest.raises(tiebreak.Error, match="kind"):
        engine.maxpool2d_backward(y, ties, x.shape, kink=ReluKink())
    with pytest.raises(tiebreak.Error, match="kernel"):
        engine.maxpool2d_forward(x, -1)
    # Every member has its name and its number.
    for jacobian, composition in itertools.product(Jacobian, Composition):
        assert MaxPoolKink(jacobian.name, composition=composition.value) == MaxPoolKink(
            jacobian, composition=composition
        )
