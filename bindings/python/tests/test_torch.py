"""The layers for PyTorch. They are tested where torch can be imported."""

from __future__ import annotations

import copy
import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import tiebreak  # noqa: E402
import tiebreak.torch as tt  # noqa: E402
from tiebreak import MaxPoolKink, NormPoolKink, ReluKink  # noqa: E402

DTYPES = [torch.float16, torch.float32, torch.float64]
WINDOWS = [(2,), (3, 2, 1), (3, 1, 1), ((2, 3), (1, 2), (1, 0)), (5, 5)]


@pytest.fixture(params=DTYPES, ids=["f16", "f32", "f64"])
def dtype(request):
    return request.param


def gradient(function, x, seed=1):
    """y and the gradient of x under one upstream gradient."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = function(x)
    gy = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y.backward(gy.to(x.dtype))
    return y.detach(), x.grad


def with_ties(dtype, *shape):
    """Integers, NaNs and infinities; several windows in every channel tie."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randint(-2, 3, shape, generator=generator).to(dtype)
    x.view(-1)[::97] = torch.nan
    x.view(-1)[::89] = torch.inf
    return x


def same(ours, theirs):
    return all(torch.equal(a.nan_to_num(9e4), b.nan_to_num(9e4)) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_native_is_pytorchs_to_the_bit(dtype, window):
    x = with_ties(dtype, 3, 4, 11, 10)
    ours = gradient(lambda x: tt.max_pool2d(x, *window), x)
    assert same(ours, gradient(lambda x: F.max_pool2d(x, *window), x))
    assert same(gradient(tt.MaxPool2d(*window), x), ours)
    assert same(gradient(tt.MaxPool2d(*window), x[0]), gradient(nn.MaxPool2d(*window), x[0]))


def test_relu_is_pytorchs_to_the_bit(dtype):
    x = with_ties(dtype, 3, 50)
    assert same(gradient(tt.ReLU(), x), gradient(nn.ReLU(), x))


def test_gradcheck_away_from_ties():
    x = torch.randperm(2 * 2 * 6 * 5, generator=torch.Generator().manual_seed(1)).reshape(2, 2, 6, 5)
    x = (x.double() - 60.5).requires_grad_()
    for kink in MaxPoolKink(), MaxPoolKink("minimal"), MaxPoolKink("beta", beta=100.0), MaxPoolKink("random"):
        assert torch.autograd.gradcheck(lambda x, kink=kink: tt.max_pool2d(x, 3, 2, 1, kink=kink), x)
    assert torch.autograd.gradcheck(lambda x: tt.norm_pool2d(x, 2), x)
    assert torch.autograd.gradcheck(lambda x: tt.relu(x, kink=ReluKink(7.0)), x)


def test_ties_by_hand(dtype):
    x = torch.tensor([[[[3, 3], [3, 0]]]], dtype=dtype)
    for choice, expected in [
        ({}, [1, 0, 0, 0]),
        ({"jacobian": "last"}, [0, 0, 1, 0]),
        ({"jacobian": "minimal"}, [1 / 3, 1 / 3, 1 / 3, 0]),
        ({"jacobian": "beta", "beta": 6.0}, [-3, 2, 2, 0]),
        ({"jacobian": "beta", "beta": 3.0, "composition": "split"}, [-1, 1, 1, 0]),
        ({"jacobian": "beta", "beta": 3.0, "composition": "coupled"}, [-1, 1, 1, 0]),
        ({"jacobian": "beta", "beta": 3.0, "composition": "forward"}, [1, 0, 0, 0]),
        ({"jacobian": "first_column"}, [1, 0, 0, 0]),
        ({"jacobian": "all"}, [1, 1, 1, 0]),
        ({"jacobian": "scaled"}, [0.75, 0.75, 0.75, 0]),
    ]:
        x.requires_grad_().grad = None
        layer = tt.MaxPool2d(2, **choice)
        layer(x).sum().backward()
        np.testing.assert_allclose(x.grad.flatten().numpy(), expected, rtol=1e-3)
    x.grad = None
    layer.kink = MaxPoolKink("last")
    layer(x).sum().backward()
    assert x.grad.flatten().tolist() == [0, 0, 1, 0]

    zero = torch.tensor([-1, 0, 2], dtype=dtype, requires_grad=True)
    tt.ReLU(alpha=0.5)(zero).sum().backward()
    assert zero.grad.tolist() == [0, 0.5, 1]
    zeros = torch.zeros(1, 2, 2, dtype=dtype, requires_grad=True)
    tt.NormPool2d(2, at_zero=0.25)(zeros).sum().backward()
    assert zeros.grad.flatten().tolist() == [0.25] * 4


def test_norm_pool2d_is_the_norm(dtype):
    x = torch.randint(1, 4, (2, 3, 4, 4), generator=torch.Generator().manual_seed(1)).to(dtype)

    def reference(x):
        return (4 * F.avg_pool2d(x.double() ** 2, 2)).sqrt().to(x.dtype)

    ours, theirs = gradient(tt.NormPool2d(2), x), gradient(reference, x)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_no_grad_and_no_gradient_wanted():
    x = with_ties(torch.float32, 2, 2, 6, 6)
    with torch.no_grad():
        y = tt.max_pool2d(x.clone().requires_grad_(), 2)
    assert not y.requires_grad and y.grad_fn is None
    with torch.inference_mode():
        assert torch.equal(tt.relu(torch.tensor([-1.0, 2.0])), torch.tensor([0.0, 2.0]))
    assert not tt.max_pool2d(x, 2).requires_grad


def test_not_contiguous(dtype):
    x = with_ties(dtype, 2, 6, 8, 10)
    for view in (
        x.transpose(2, 3),
        x[:, ::2, 1:, ::3],
        x.to(memory_format=torch.channels_last),
        x[:1].expand(4, 6, 8, 10),
    ):
        assert same(gradient(tt.MaxPool2d(2), view), gradient(nn.MaxPool2d(2), view))
        assert same(gradient(tt.ReLU(), view), gradient(nn.ReLU(), view))
    # The upstream gradient of a sum has strides 0.
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    tt.max_pool2d(x, 2).sum().backward()
    assert x.grad.sum() == 4


def test_the_input_is_left_alone_and_may_change_before_backward():
    x = with_ties(torch.float32, 1, 2, 4, 4).nan_to_num(0, posinf=5)
    before = x.clone()
    leaf = x.requires_grad_()
    y = tt.max_pool2d(leaf * 1, 2)
    assert torch.equal(x, before)
    y.sum().backward()
    # A tensor that backward needs must not have changed: autograd finds out.
    value = torch.tensor([1.0, -1.0], requires_grad=True) * 1
    y = tt.relu(value)
    value += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_what_is_refused():
    x = torch.zeros(1, 1, 4, 4)
    for wrong in (x.int(), x.bfloat16(), x.to("meta")):
        with pytest.raises(TypeError, match="x: expected a CPU tensor of float16, float32 or float64, got"):
            tt.max_pool2d(wrong, 2)
        with pytest.raises(TypeError, match="CPU tensor"):
            tt.relu(wrong)
    with pytest.raises(ValueError, match=r"\[N, C, H, W\]"):
        tt.max_pool2d(x[0, 0], 2)
    with pytest.raises(tiebreak.Error, match="padding"):
        tt.max_pool2d(x, 2, 2, 2)
    second = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(tt.max_pool2d(second * 2, 2).sum(), second, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        grad.sum().backward()


def test_several_threads():
    x = with_ties(torch.float32, 4, 4, 16, 16).nan_to_num(0)
    kinks = [MaxPoolKink("beta", beta=float(b)) for b in range(8)]

    def run(kink):
        return gradient(lambda x: tt.relu(tt.max_pool2d(x, 2, kink=kink)), x)

    expected = [run(kink) for kink in kinks]
    with ThreadPoolExecutor(4) as pool:
        for got, one in zip(pool.map(run, kinks * 8), expected * 8, strict=True):
            assert same(got, one)


def test_a_forked_child_has_an_engine_of_its_own():
    program = """
import os, torch, tiebreak.torch as tt
x = torch.rand(64, 8, 32, 32)
expected = tt.max_pool2d(x, 2)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(tt.max_pool2d(x, 2), expected) else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=120)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        relu = nn.ReLU(inplace=True)
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), relu, nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), relu)
        self.pool, self.again = nn.MaxPool2d(3, 2, 1), relu
        self.classifier = nn.Linear(4 * 3 * 3, 5)

    def forward(self, x):
        return self.classifier(self.again(self.pool(self.features(x))).flatten(1))


def test_replace_layers():
    torch.manual_seed(0)
    theirs = Small().eval()
    ours = copy.deepcopy(theirs)
    engine = tiebreak.Engine("cpu", threads=1)
    assert tt.replace_layers(ours, maxpool=MaxPoolKink(), relu=ReluKink(), engine=engine) is ours
    kinds = [type(layer) for layer in ours.modules()]
    assert nn.ReLU not in kinds and nn.MaxPool2d not in kinds and kinds.count(tt.MaxPool2d) == 2
    # A layer that was shared still is.
    assert ours.features[1] is ours.features[4] is ours.again and isinstance(ours.again, tt.ReLU)
    assert not ours.pool.training and ours.pool.engine is engine
    assert (ours.pool.kernel_size, ours.pool.stride, ours.pool.padding) == (3, 2, 1)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.rand(3, 1, 16, 16)
    assert torch.equal(ours(x), theirs(x))
    ours(x).sum().backward()
    theirs(x).sum().backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)

    relu = ours.again
    tt.replace_layers(ours, maxpool=MaxPoolKink("minimal"))
    assert ours.pool.kink == ours.features[2].kink == MaxPoolKink("minimal")
    assert ours.again is relu and relu.kink == ReluKink() and relu.engine is engine
    again = copy.deepcopy(ours)
    assert again.pool.kink == ours.pool.kink and again.again.engine is engine

    alone = tt.replace_layers(nn.MaxPool2d(2), maxpool=MaxPoolKink("last"))
    assert isinstance(alone, tt.MaxPool2d) and alone.kink == MaxPoolKink("last")
    assert "minimal" in repr(tt.MaxPool2d(2, jacobian="minimal")).lower()
    for layer in (
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, dilation=2),
        nn.MaxPool2d(2, return_indices=True),
    ):
        model = nn.Sequential(nn.ReLU(), layer)
        with pytest.raises(ValueError, match="1: expected no dilation, ceil_mode or return_indices"):
            tt.replace_layers(model, maxpool=MaxPoolKink(), relu=ReluKink())
        assert type(model[0]) is nn.ReLU


def test_layers_are_saved():
    model = tt.replace_layers(Small(), maxpool=MaxPoolKink("beta", beta=2.0), relu=ReluKink(0.5))
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    x = torch.rand(2, 1, 16, 16)
    assert torch.equal(model(x), again(x)) and again.pool.kink == MaxPoolKink("beta", beta=2.0)


def test_norm_pool2d_replaces_by_hand():
    model = tt.replace_layers(Small(), relu=ReluKink())
    model.pool = tt.NormPool2d(3, 2, 1)
    model.pool.kink = NormPoolKink(1.0)
    model(torch.rand(2, 1, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.filterwarnings("ignore")  # torch's own
def test_a_compiled_model_runs():
    model = tt.replace_layers(Small(), maxpool=MaxPoolKink("minimal"))
    x = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(torch.compile(model, backend="eager")(x), model(x))


def test_tensors_are_accepted_as_arrays(dtype):
    """Through DLPack, without this module."""
    with tiebreak.Engine("cpu") as engine:
        x = with_ties(dtype, 1, 2, 4, 4).nan_to_num(0)
        y, _ = engine.maxpool2d_forward(x)
        assert isinstance(y, np.ndarray)
        assert torch.equal(torch.from_dlpack(y), F.max_pool2d(x, 2))
        with pytest.raises(TypeError, match=r"x: Parameter does not give its memory: .*requires?.grad"):
            engine.relu_forward(nn.Parameter(torch.zeros(2)))
        out = torch.empty(3)
        engine.relu_forward(torch.tensor([-1.0, 0.0, 2.0]), y=out)
        assert out.tolist() == [0, 0, 2]
