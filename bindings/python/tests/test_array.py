"""Arrays at the border: used where they lie, or refused."""

from __future__ import annotations

import numpy as np
import pytest

import tiebreak
from tiebreak import Status


class Foreign:
    """An array of another library that speaks DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **how):
        return self.array.__dlpack__(**how)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def refused(status: Status, call, *arguments, **more) -> str:
    with pytest.raises(tiebreak.Error) as caught:
        call(*arguments, **more)
    assert caught.value.status is status, caught.value
    return str(caught.value)


def test_memory_is_used_where_it_lies(engine, dtype):
    x = np.array([-1, 0, 2], dtype)
    y = np.full(3, 9, dtype)
    assert engine.relu_forward(x, y=y) is y
    assert y.tolist() == [0, 0, 2]
    # The gradient of an array is written into a part of a larger one.
    whole = np.full(5, 7, dtype)
    part = whole[1:4]
    assert engine.relu_backward(x, x, gx=part) is part
    assert whole.tolist() == [7, 0, 0, 2, 7]


def test_dlpack(engine, dtype):
    x = np.array([-1, 0, 2], dtype)
    y = engine.relu_forward(Foreign(x))
    assert y.dtype == dtype and y.tolist() == [0, 0, 2]
    logits = np.zeros((2, 3), np.float32)
    loss, _ = engine.cross_entropy(Foreign(logits), Foreign(np.array([0, 2])))
    assert loss == pytest.approx(np.log(3))


def test_other_objects_are_refused(engine):
    for wrong in ([1.0, 2.0], None, 3.0, "x"):
        with pytest.raises(TypeError, match=f"x: expected a NumPy array .* got {type(wrong).__name__}"):
            engine.relu_forward(wrong)

    class Broken(Foreign):
        def __dlpack__(self, **how):
            raise BufferError("it lies on a GPU")

    with pytest.raises(TypeError, match="x: Broken does not give its memory: it lies on a GPU"):
        engine.relu_forward(Broken(np.zeros(2)))


def test_layouts_are_refused(engine):
    x = np.zeros((1, 1, 4, 4), np.float32)
    for wrong in (
        x.transpose(0, 1, 3, 2)[:, :, ::2],
        x[..., ::2],
        np.asfortranarray(np.ones((2, 3), np.float32)),
    ):
        text = refused(Status.INVALID_ARGUMENT, engine.relu_forward, wrong)
        assert text.startswith("x: expected a C-contiguous") and "ascontiguousarray" in text
    assert engine.relu_forward(np.ascontiguousarray(x[..., ::2])).shape == (1, 1, 4, 2)
    unaligned = np.frombuffer(bytearray(9), np.uint8)[1:].view(np.float32)
    assert "aligned" in refused(Status.INVALID_ARGUMENT, engine.relu_forward, unaligned)
    frozen = np.zeros(3, np.float32)
    frozen.flags.writeable = False
    assert engine.relu_forward(frozen).tolist() == [0, 0, 0]
    text = refused(Status.INVALID_ARGUMENT, engine.relu_forward, np.zeros(3, np.float32), y=frozen)
    assert text.startswith("y: expected a writable array")


@pytest.mark.parametrize("wrong", ["int32", ">f4", "complex64", "bool", "object", "longdouble"])
def test_dtypes_are_refused(engine, wrong):
    text = refused(Status.DTYPE_MISMATCH, engine.relu_forward, np.zeros(3, wrong))
    assert text == f"x: expected float16, float32 or float64, got {np.dtype(wrong)}"


def test_what_the_library_refuses_keeps_its_message(engine):
    x = np.zeros((2, 3), np.float32)
    text = refused(Status.DTYPE_MISMATCH, engine.add, x, x.astype(np.float64))
    assert text.startswith("tb_add:") and "f64" in text
    text = refused(Status.SHAPE_MISMATCH, engine.add, x, x[:1])
    assert text.startswith("tb_add:") and "[2, 3]" in text
    assert "overlap" in refused(Status.INVALID_ARGUMENT, engine.add, x, x, y=x)
    refused(Status.SHAPE_MISMATCH, engine.maxpool2d_forward, x)
    refused(Status.INVALID_ARGUMENT, engine.relu_forward, np.zeros((1,) * 9, np.float32))


def test_edges(engine, dtype):
    assert engine.relu_forward(np.zeros((0, 3), dtype)).shape == (0, 3)
    assert engine.relu_forward(np.array(-2, dtype)).shape == ()
    y, ties = engine.maxpool2d_forward(np.zeros((0, 3, 4, 4), dtype))
    assert y.shape == (0, 3, 2, 2) and ties.size == 0


def test_labels(engine):
    logits = np.eye(3, dtype=np.float32)
    expected, _ = engine.cross_entropy(logits, np.arange(3))
    for labels in ([0, 1, 2], (0, 1, 2), range(3), np.arange(3, dtype=np.uint8), np.arange(6)[::2] // 2):
        assert engine.cross_entropy(logits, labels)[0] == expected
    for wrong in ([0.0, 1.0, 2.0], [[0, 1, 2]], 1, ["a", "b", "c"]):
        assert "labels" in refused(Status.INVALID_ARGUMENT, engine.cross_entropy, logits, wrong)
    refused(Status.INVALID_ARGUMENT, engine.cross_entropy, logits, [0, 1, 3])


def test_tie_sets_are_bytes(engine):
    x = np.zeros((1, 1, 4, 4), np.float32)
    y, ties = engine.maxpool2d_forward(x)
    assert ties.dtype == np.uint8 and ties.shape == (1, 1, 2, 2, 1)
    text = refused(Status.DTYPE_MISMATCH, engine.maxpool2d_backward, y, ties.astype(np.int32), x.shape)
    assert text == "ties: expected uint8, got int32"
    refused(
        Status.INVALID_ARGUMENT, engine.maxpool2d_backward, y, ties[..., ::-1, :, :][:, :, ::-1, ::2], x.shape
    )


def test_names_of_dtypes():
    sizes = {tiebreak.DType.F16: 2, tiebreak.DType.F32: 4, tiebreak.DType.F64: 8, tiebreak.DType.BYTE: 1}
    assert set(sizes) == set(tiebreak.DType)
    for dtype, size in sizes.items():
        assert tiebreak.DType(dtype.name.lower()) is dtype and dtype.numpy.itemsize == size
        assert tiebreak.DType.of(dtype.numpy) is tiebreak.DType.of(dtype.name.lower()) is dtype
    refused(Status.DTYPE_MISMATCH, tiebreak.DType.of, "int32")
