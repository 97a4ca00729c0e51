"""Engines and handles: their end, threads, and functions that the library calls."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tiebreak
from conftest import batch
from tiebreak import Status


def test_properties():
    with tiebreak.Engine("cpu", threads=2) as engine:
        info = engine.info
        assert info.name == "cpu" and info.threads == 2 and info.gpu is False and info.gpu_f16 is False
        assert info.driver
        network = tiebreak.Network(engine, "lenet5")
        network.loss_and_gradients(*batch(np.random.default_rng(1), 4))
        memory = engine.memory
        assert 0 < network.info.allocated_bytes <= memory.host_bytes <= memory.host_peak
        assert memory.device_bytes == memory.device_peak == 0


def test_options_are_passed():
    with tiebreak.Engine("cpu", memory_limit=1000) as engine, pytest.raises(tiebreak.Error) as caught:
        tiebreak.Network(engine, "lenet5").loss_and_gradients(*batch(np.random.default_rng(1), 4))
    assert caught.value.status is Status.OUT_OF_MEMORY
    with pytest.raises(tiebreak.Error) as caught:
        tiebreak.Engine("gpu", adapter="an adapter that nobody has")
    assert caught.value.status is Status.UNSUPPORTED
    with pytest.raises(ValueError, match="Device: expected one of auto, cpu, gpu, got 'tpu'"):
        tiebreak.Engine("tpu")


def test_a_gpu_computes_the_same(rng):
    try:
        gpu = tiebreak.Engine("gpu")
    except tiebreak.Error as error:
        assert error.status is Status.UNSUPPORTED
        if os.environ.get("TIEBREAK_REQUIRE_GPU") == "1":
            raise
        pytest.skip(str(error))
    with gpu, tiebreak.Engine("cpu") as cpu:
        assert gpu.info.gpu and gpu.info.name != "cpu"
        x = rng.integers(-4, 4, (2, 3, 6, 8)).astype(np.float32)
        ours, theirs = gpu.maxpool2d_forward(x), cpu.maxpool2d_forward(x)
        assert all(map(np.array_equal, ours, theirs))


def test_the_end_of_a_handle():
    engine = tiebreak.Engine("cpu")
    graph = tiebreak.Graph([1, 4, 4])
    network = tiebreak.Network(engine, "lenet5")
    optimizer = tiebreak.Optimizer(network)
    for handle, use in [
        (engine, lambda: engine.info),
        (graph, lambda: graph.info),
        (optimizer, lambda: optimizer.info),
        (network, lambda: network.info),
    ]:
        assert not handle.closed
        use()
        handle.close()
        handle.close()
        assert handle.closed
        with pytest.raises(tiebreak.Error) as caught:
            use()
        assert caught.value.status is Status.INVALID_HANDLE


def test_the_order_of_closing_does_not_matter(rng):
    x, labels = batch(rng, 4)
    with tiebreak.Engine("cpu") as engine:
        network = tiebreak.Network(engine, "lenet5")
        optimizer = tiebreak.Optimizer(network)
    network.close()
    assert optimizer.train_step(x, labels).loss > 0


def test_the_last_reference_frees(rng):
    with tiebreak.Engine("cpu") as engine:
        network = tiebreak.Network(engine, "lenet5")
        network.loss_and_gradients(*batch(rng, 4))
        held = engine.memory.host_bytes
        optimizer = tiebreak.Optimizer(network)
        del network
        gc.collect()
        assert engine.memory.host_bytes >= held
        del optimizer
        gc.collect()
        assert engine.memory.host_bytes < held / 2


def test_copies_share_and_nothing_is_pickled(engine):
    assert copy.copy(engine) is engine and copy.deepcopy([engine])[0] is engine
    with pytest.raises(TypeError, match="Engine lives in this process"):
        pickle.dumps(engine)
    error = tiebreak.Error(Status.IO, "no such file")
    again = pickle.loads(pickle.dumps(error))
    assert again.status is Status.IO and str(again) == "no such file"


def test_a_failed_creation_leaves_nothing():
    with pytest.raises(tiebreak.Error) as caught:
        tiebreak.Graph.from_zoo("lenet6")
    assert caught.value.status is Status.NOT_FOUND and "lenet6" in str(caught.value)


def test_log():
    messages = []
    with tiebreak.Engine("cpu", log=lambda level, text: messages.append((level, text))):
        assert messages[0][0] is tiebreak.LogLevel.INFO and "cpu" in messages[0][1]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_a_callback_raises_comes_out_of_the_call(kind):
    def log(level, text):
        raise kind("from the log")

    for _ in range(2):
        with pytest.raises(kind, match="from the log"):
            tiebreak.Engine("cpu", log=log)
    # Nothing is left over for the next call.
    tiebreak.Engine("cpu").close()


def test_what_a_callback_raises_on_a_foreign_thread_is_reported(monkeypatch):
    """A thread that has not called the library stands for one of the library's."""
    from tiebreak import _callback

    reported = []
    monkeypatch.setattr(threading, "excepthook", lambda told: reported.append(told.exc_type))

    def fail():
        raise ValueError("from a callback")

    thread = threading.Thread(target=_callback.guarded(fail))
    thread.start()
    thread.join()
    assert reported == [ValueError]


def test_interrupt():
    """Ctrl-C ends a loop of long calls with a KeyboardInterrupt, and the interpreter in the usual way."""
    program = """
import numpy as np, tiebreak
engine = tiebreak.Engine("cpu")
x = np.ones((16, 16, 64, 64), np.float32)
w = np.ones((16, 16, 3, 3), np.float32)
try:
    print("ready", flush=True)
    while True:
        engine.conv2d_forward(x, w)
except KeyboardInterrupt:
    print("stopped", engine.relu_forward(np.ones(2, np.float32)).sum(), flush=True)
"""
    running = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    assert (out, running.returncode) == ("stopped 2.0\n", 0)


def test_many_threads_share_an_engine(engine, rng):
    x = rng.integers(-4, 4, (4, 4, 16, 16)).astype(np.float32)
    y, ties = engine.maxpool2d_forward(x)
    kinks = [tiebreak.MaxPoolKink("beta", beta=float(b)) for b in range(8)]

    def gradient(kink):
        return engine.maxpool2d_backward(np.ones_like(y), ties, x.shape, kink=kink)

    expected = [gradient(kink) for kink in kinks]
    with ThreadPoolExecutor(8) as pool:
        for got, one in zip(pool.map(gradient, kinks * 8), expected * 8, strict=True):
            assert np.array_equal(got, one)

    # An error's message belongs to its thread.
    def fail(n):
        with pytest.raises(tiebreak.Error) as caught:
            engine.add(np.zeros(n, np.float32), np.zeros(n + 1, np.float32))
        return f"[{n}]" in str(caught.value)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(fail, range(1, 200)))


def test_calls_let_other_threads_run(engine):
    """The interpreter's lock is not held while the library computes."""
    x, w = np.ones((32, 32, 64, 64), np.float32), np.ones((32, 32, 3, 3), np.float32)
    done = threading.Event()
    turns = 0

    def count():
        nonlocal turns
        while not done.wait(0.0005):
            turns += 1

    thread = threading.Thread(target=count)
    thread.start()
    for _ in range(3):
        engine.conv2d_forward(x, w)
    done.set()
    thread.join()
    assert turns >= 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_frees_nothing():
    program = """
import os, gc, numpy as np, tiebreak
engine = tiebreak.Engine("cpu")
child = os.fork()
if child == 0:
    del engine
    gc.collect()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert engine.relu_forward(np.ones(2, np.float32)).sum() == 2
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)
