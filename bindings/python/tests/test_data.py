"""Data sets, and the work on whole data sets that can be watched and stopped."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

import tiebreak
from conftest import batch
from tiebreak import Augmentation, Dataset, Status


def own(count=60) -> Dataset:
    x, labels = batch(np.random.default_rng(5), count)
    return Dataset("bars", (x * 255).astype(np.uint8), labels, 10)


def test_own_images():
    x, labels = batch(np.random.default_rng(5), 60)
    pixels = (x * 255).astype(np.uint8)
    data = own()
    info = data.info
    assert (len(data), info.count, info.classes, info.shape, info.name) == (60, 60, 10, (1, 28, 28), "bars")
    assert info.mean[0] == info.std[0] == 0.5 and info.fingerprint == own().info.fingerprint
    got, numbers = data.batch([3, 0, 59])
    assert numbers.tolist() == labels[[3, 0, 59]].tolist()
    np.testing.assert_allclose(got, (pixels[[3, 0, 59]] / 255 - 0.5) / 0.5, atol=1e-6)
    half = np.empty((2, 1, 28, 28), np.float16)
    assert data.batch(np.array([1, 2]), x=half)[0] is half and half.any()
    for wrong in ([60], [-1], [0.5], [[1]]):
        with pytest.raises(tiebreak.Error) as caught:
            data.batch(wrong)
        assert caught.value.status is Status.INVALID_ARGUMENT
    for arguments in [(pixels, labels[1:], 10), (pixels, labels, 5), (pixels[0], labels, 10)]:
        with pytest.raises(tiebreak.Error):
            Dataset("wrong", *arguments)


def test_order_and_augmentation():
    data = own()
    order = data.order(seed=1, epoch=2)
    assert sorted(order) == list(range(60)) and not np.array_equal(order, data.order(1, 3))
    plain, _ = data.batch(range(60))
    changed, _ = data.batch(
        range(60), augmentation=Augmentation(crop_padding=4, horizontal_flip=True, seed=1)
    )
    again, _ = data.batch(range(60), augmentation=Augmentation(crop_padding=4, horizontal_flip=True, seed=1))
    assert not np.array_equal(changed, plain) and np.array_equal(again, changed)
    other, _ = data.batch(range(60), augmentation=Augmentation(4, True, seed=1, epoch=1))
    assert not np.array_equal(other, changed)


def test_digits():
    heard = []
    digits = Dataset.digits(40, 3, progress=lambda done, total: heard.append((done, total)))
    assert len(digits) == 40 and digits.info.shape == (1, 28, 28)
    assert heard[-1] == (40, 40)
    assert np.array_equal(digits.batch(range(30))[0], Dataset.digits(30, 3).batch(range(30))[0])


def test_shapes_and_resized_crops():
    shapes = Dataset.shapes(20, 3)
    assert len(shapes) == 20 and shapes.info.shape == (3, 32, 32) and shapes.info.classes == 10
    plain, _ = shapes.batch(range(20))
    cut, _ = shapes.batch(range(20), augmentation=Augmentation(resized_crop=True))
    smaller, _ = shapes.batch(range(20), augmentation=Augmentation(resized_crop=True, scale=(0.1, 0.1)))
    assert not np.array_equal(cut, plain) and not np.array_equal(cut, smaller)
    whole, _ = shapes.batch(
        range(20), augmentation=Augmentation(resized_crop=True, scale=(1, 1), ratio=(1, 1))
    )
    np.testing.assert_allclose(whole, plain, atol=1e-6)
    with pytest.raises(tiebreak.Error) as caught:
        shapes.batch([0], augmentation=Augmentation(resized_crop=True, scale=(0.5, 2)))
    assert caught.value.status is Status.INVALID_ARGUMENT


def write_idx(folder, part, count):
    x, labels = batch(np.random.default_rng(5), count)
    for name, kind, array in (
        ("images-idx3", [3, count, 28, 28], x * 255),
        ("labels-idx1", [1, count], labels),
    ):
        header = np.array([0x800 + kind[0], *kind[1:]], ">u4").tobytes()
        (folder / f"{part}-{name}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())


def test_folders(tmp_path):
    write_idx(tmp_path, "train", 50)
    write_idx(tmp_path, "t10k", 20)
    train, test = Dataset.open(tmp_path, limit=30)
    assert (len(train), len(test)) == (30, 20)
    with pytest.raises(tiebreak.Error) as caught:
        Dataset.open(tmp_path / "nothing")
    assert caught.value.status is Status.IO
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"damaged")
    with pytest.raises(tiebreak.Error) as caught:
        Dataset.open(tmp_path)
    assert caught.value.status is Status.FORMAT


def write_svhn(path, images, labels):
    def element(kind, data):
        return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)

    def array(name, values):
        shape = np.array(values.shape, "<i4").tobytes()
        parts = [(6, struct.pack("<II", 9, 0)), (5, shape), (1, name), (2, values.tobytes(order="F"))]
        packed = zlib.compress(element(14, b"".join(element(*part) for part in parts)))
        return struct.pack("<II", 15, len(packed)) + packed

    header = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
    path.write_bytes(header + array(b"X", images) + array(b"y", labels))


def test_svhn(tmp_path):
    images = np.random.default_rng(5).integers(0, 256, (32, 32, 3, 4), np.uint8)
    labels = np.array([[1], [10], [9], [2]], np.uint8)
    write_svhn(tmp_path / "train_32x32.mat", images, labels)
    write_svhn(tmp_path / "test_32x32.mat", images[..., :2], labels[:2])
    train, test = Dataset.open(tmp_path)
    assert (train.info.name, test.info.name, len(test)) == ("svhn (train)", "svhn", 2)
    x, numbers = train.batch(range(4))
    assert numbers.tolist() == [1, 0, 9, 2]
    np.testing.assert_allclose(x, (images.transpose(3, 2, 0, 1) / 255 - 0.5) / 0.5, atol=1e-6)


def test_epochs(engine):
    data = own()
    network = tiebreak.Network(engine, "lenet5", seed=1)
    optimizer = tiebreak.Optimizer(network, tiebreak.SGD(0.05, momentum=0.9))
    heard = []
    report = optimizer.train_epoch(data, 16, progress=lambda *p: heard.append(p))
    assert report.steps == 4 and report.skipped == 0
    assert heard == [(0, 60), (16, 60), (32, 60), (48, 60), (60, 60)]
    for epoch in range(1, 12):
        last = optimizer.train_epoch(data, 16, seed=1, epoch=epoch, augmentation=Augmentation(epoch=epoch))
    loss, correct = network.evaluate_dataset(data, 32)
    assert last.loss < report.loss and correct > 50
    x, labels = data.batch(range(60))
    assert network.evaluate(x, labels) == (pytest.approx(loss, rel=1e-5), correct)


def test_progress_stops(engine):
    data = own()
    network = tiebreak.Network(engine, "lenet5", seed=1)
    optimizer = tiebreak.Optimizer(network)
    with pytest.raises(tiebreak.Error) as caught:
        optimizer.train_epoch(data, 16, progress=lambda done, total: done >= 32)
    assert caught.value.status is Status.CANCELLED and optimizer.info.steps == 2

    class Unusual(BaseException):
        pass

    def fail(done, total):
        if done:
            raise Unusual("from the progress")

    for work in (
        lambda: optimizer.train_epoch(data, 16, progress=fail),
        lambda: network.evaluate_dataset(data, 16, progress=fail),
        lambda: Dataset.digits(2000, 1, progress=fail),
    ):
        with pytest.raises(Unusual, match="from the progress"):
            work()
    assert optimizer.info.steps == 3
    # It may use the library meanwhile.
    losses = []
    optimizer.train_epoch(data, 30, progress=lambda *_: losses.append(network.evaluate_dataset(data, 60)[0]))
    assert len(set(losses)) == 3


def test_an_epoch_is_interrupted():
    """Ctrl-C ends an epoch between two steps, whether or not somebody hears of its progress."""
    program = """
import numpy as np, tiebreak
engine = tiebreak.Engine("cpu")
data = tiebreak.Dataset("zeros", np.zeros((60000, 1, 28, 28), np.uint8), np.zeros(60000, int), 10)
optimizer = tiebreak.Optimizer(tiebreak.Network(engine, "lenet5"))
try:
    print("ready", flush=True)
    for _ in range(10000):
        optimizer.train_epoch(data, 1)
except KeyboardInterrupt:
    print("stopped", 0 < optimizer.info.steps < 59000, flush=True)
"""
    running = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "ready\n"
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(0.5)
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    assert (out, running.returncode) == ("stopped True\n", 0)


def test_profile_and_work(engine, rng):
    x, labels = batch(rng, 8)
    network = tiebreak.Network(engine, "lenet5", seed=1)
    optimizer = tiebreak.Optimizer(network)
    kernels = optimizer.profile_step(x, labels)
    assert optimizer.info.steps == 1
    assert {"features.0", "loss", "optimizer"} <= {kernel.layer for kernel in kernels}
    assert all(kernel.seconds >= 0 and kernel.kernel for kernel in kernels)
    work = network.work(8)
    assert work.operations == sum(kernel.operations for kernel in kernels)
    assert network.work(8, training=False).operations < work.operations and work.bytes > x.nbytes


def test_adapters():
    for adapter in tiebreak.adapters():
        assert adapter.name and isinstance(adapter.kind, tiebreak.AdapterKind)
        assert adapter.unusable or adapter.largest_buffer > 0
