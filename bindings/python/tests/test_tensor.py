"""Tensors in memory of an engine."""

from __future__ import annotations

import gc
import os

import numpy as np
import pytest

import tiebreak
from conftest import batch
from tiebreak import MaxPoolKink, Status, Tensor


def test_reading_and_writing(engine, dtype):
    tensor = Tensor(engine, (2, 3), dtype)
    assert (tensor.shape, tensor.ndim, tensor.dtype, tensor.gpu) == ((2, 3), 2, dtype, False)
    assert not tensor.read().any()
    values = np.arange(6, dtype=dtype).reshape(2, 3)
    tensor.write(values)
    out = np.empty_like(values)
    assert tensor.read(out) is out and np.array_equal(out, values)
    assert np.array_equal(Tensor.of(engine, values).read(), values)
    assert "shape=(2, 3)" in repr(tensor)
    with pytest.raises(tiebreak.Error) as caught:
        tensor.write(values[:1])
    assert caught.value.status is Status.SHAPE_MISMATCH
    with pytest.raises(tiebreak.Error) as caught:
        Tensor(engine, (2, 3), np.int32)
    assert caught.value.status is Status.DTYPE_MISMATCH
    tensor.close()
    with pytest.raises(tiebreak.Error) as caught:
        tensor.read()
    assert caught.value.status is Status.INVALID_HANDLE


def test_operators_on_tensors_give_tensors(engine, dtype, rng):
    """The bits of arrays."""
    x, weight = (rng.integers(-4, 4, shape).astype(dtype) for shape in ((2, 4, 8, 8), (6, 4, 3, 3)))
    tx, tweight = Tensor.of(engine, x), Tensor.of(engine, weight)

    y, ties = engine.maxpool2d_forward(x)
    ty, tties = engine.maxpool2d_forward(tx)
    assert isinstance(ty, Tensor) and isinstance(tties, Tensor) and tties.dtype == np.uint8
    assert np.array_equal(ty.read(), y) and np.array_equal(tties.read(), ties)
    kink = MaxPoolKink("minimal")
    gx = Tensor(engine, x.shape, dtype)
    assert engine.maxpool2d_backward(ty, tties, x.shape, kink=kink, gx=gx) is gx
    assert np.array_equal(gx.read(), engine.maxpool2d_backward(y, ties, x.shape, kink=kink))

    assert np.array_equal(engine.conv2d_forward(tx, tweight).read(), engine.conv2d_forward(x, weight))
    assert np.array_equal(engine.relu_backward(tx, tx).read(), engine.relu_backward(x, x))
    assert np.array_equal(engine.concat([tx, tx]).read(), engine.concat([x, x]))
    parts = engine.concat_backward(tx, [1, 3])
    assert np.array_equal(parts[1].read(), x[:, 1:])
    one, zero = (Tensor.of(engine, np.full(4, v, dtype)) for v in (1, 0))
    for got, expected in zip(
        engine.batchnorm_forward(tx, one, zero),
        engine.batchnorm_forward(x, one.read(), zero.read()),
        strict=True,
    ):
        assert np.array_equal(got.read(), expected)
    param = Tensor.of(engine, np.ones(3, dtype))
    engine.sgd_step(tiebreak.SGD(0.5), Tensor.of(engine, np.ones(3, dtype)), param)
    assert param.read().tolist() == [0.5] * 3


def test_networks_take_tensors(engine, rng):
    x, labels = batch(rng, 4)
    network = tiebreak.Network(engine, "lenet5", seed=1)
    tensor = Tensor.of(engine, x)
    assert network.loss_and_gradients(tensor, labels) == network.loss_and_gradients(x, labels)
    gradient = network.read_gradient("features.0.weight")
    values = Tensor(engine, gradient.shape, np.float32)
    assert network.read_gradient("features.0.weight", values) is values
    assert np.array_equal(values.read(), gradient)


def test_dlpack(engine, dtype):
    tensor = Tensor.of(engine, np.arange(6, dtype=dtype).reshape(2, 3))
    seen = np.from_dlpack(tensor)
    assert np.array_equal(seen, tensor.read()) and seen.dtype == dtype
    # The memory is shared, and outlives the tensor.
    tensor.write(2 * tensor.read())
    assert seen[1, 2] == 10
    tensor.close()
    del tensor
    gc.collect()
    assert seen[1, 2] == 10


def test_a_capsule_that_nobody_takes_frees_its_memory(engine):
    before = engine.memory.host_bytes
    for version in (None, (1, 0)):
        tensor = Tensor(engine, (1000, 1000), np.float32)
        capsule = tensor.__dlpack__(max_version=version)
        tensor.close()
        assert engine.memory.host_bytes >= before + 4_000_000
        del capsule
        assert engine.memory.host_bytes == before
    with pytest.raises(BufferError):
        Tensor(engine, (2,), np.float32).__dlpack__(copy=True)


def test_on_a_gpu(rng):
    try:
        gpu = tiebreak.Engine("gpu")
    except tiebreak.Error as error:
        if os.environ.get("TIEBREAK_REQUIRE_GPU") == "1":
            raise
        pytest.skip(str(error))
    with gpu, tiebreak.Engine("cpu") as cpu:
        x = rng.integers(-4, 4, (2, 3, 6, 8)).astype(np.float32)
        tensor = Tensor.of(gpu, x)
        assert tensor.gpu
        y, ties = gpu.maxpool2d_forward(tensor)
        gx = gpu.maxpool2d_backward(y, ties, x.shape, kink=MaxPoolKink("minimal"))
        expected, sets = cpu.maxpool2d_forward(x)
        assert np.array_equal(y.read(), expected)
        minimal = cpu.maxpool2d_backward(expected, sets, x.shape, kink=MaxPoolKink("minimal"))
        assert np.array_equal(gx.read(), minimal)
        with pytest.raises(tiebreak.Error) as caught:
            np.from_dlpack(tensor)
        assert caught.value.status is Status.UNSUPPORTED
