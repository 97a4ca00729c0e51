"""Graphs, networks and their optimizers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import tiebreak
from conftest import batch
from tiebreak import DType, MaxPoolKink, NormPoolKink, ReluKink, Status


def small_graph() -> tiebreak.Graph:
    """Every kind of layer, on `[1, 8, 8]`."""
    graph = tiebreak.Graph([1, 8, 8])
    x = graph.conv2d("conv", tiebreak.INPUT, 4, 3, padding=1)
    x = graph.relu("relu", graph.batchnorm("bn", x))
    a = graph.conv2d("groups", x, 4, (3, 3), 1, 2, 2, groups=2, bias=False)
    x = graph.concat("concat", [graph.add("add", x, a), x])
    x = graph.maxpool2d("pool", x)
    x = graph.norm_pool2d("norm", x, 2, 1)
    x = graph.avgpool2d("avg", x, 2, 1, 1)
    x = graph.linear("hidden", graph.flatten("flatten", x), 6)
    x = graph.dropout("dropout", x, 0.25)
    graph.linear("out", x, 3, bias=False)
    return graph


def test_graph():
    with small_graph() as graph:
        layers = {layer.name: (layer.kind, layer.shape) for layer in graph.layers}
        assert graph.info == tiebreak.GraphProperties(len(layers), (1, 8, 8))
        assert layers["conv"] == ("conv2d", (4, 8, 8))
        assert layers["concat"] == ("concat", (8, 8, 8))
        assert layers["pool"] == ("maxpool2d", (8, 4, 4))
        assert layers["norm"] == ("norm_pool2d", (8, 3, 3))
        assert layers["avg"] == ("avgpool2d", (8, 4, 4))
        assert layers["out"] == ("linear", (3,))
        with pytest.raises(tiebreak.Error, match="conv") as caught:
            graph.relu("conv", tiebreak.INPUT)
        assert caught.value.status is Status.INVALID_ARGUMENT
        x = graph.conv2d("again", tiebreak.INPUT, 2, 3)
        assert graph.layer(graph.adaptive_avgpool2d("mean", x)).shape == (2, 1, 1)


def test_zoo(engine):
    options = tiebreak.ZooOptions(classes=7, base_width=8, input_shape=(3, 32, 32), batch_norm=True)
    graph = tiebreak.Graph.from_zoo("vgg11", options)
    assert graph.layers[-1].shape == (7,) and graph.layers[1].shape == (8, 32, 32)
    for network in (
        tiebreak.Network(engine, graph, seed=3),
        tiebreak.Network(engine, "vgg11", zoo=options, seed=3),
    ):
        assert network.info.classes == 7 and network.info.buffer_count > 0
        assert network.buffers[0].kind == "buffer" and network.buffers[0].shape == (8,)
    lenet = tiebreak.Graph.from_zoo("lenet5", tiebreak.ZooOptions(hidden=(20, 10)))
    assert (20,) in [layer.shape for layer in lenet.layers]
    imagenet = tiebreak.Graph.from_zoo("resnet18", tiebreak.ZooOptions(variant="imagenet"))
    assert imagenet.info.input_shape == (3, 224, 224)
    with pytest.raises(tiebreak.Error, match="cifar"):
        tiebreak.Graph.from_zoo("resnet18", tiebreak.ZooOptions(variant="mnist"))
    with pytest.raises(TypeError, match="zoo"):
        tiebreak.Network(engine, graph, zoo=options)


def test_every_layer_trains(engine, rng):
    network = tiebreak.Network(engine, small_graph(), "f64", seed=1)
    x, labels = rng.normal(0, 1, (12, 1, 8, 8)), rng.integers(0, 3, 12)
    optimizer = tiebreak.Optimizer(network, tiebreak.SGD(0.05, momentum=0.9))
    losses = [optimizer.train_step(x, labels).loss for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]
    assert network.evaluate(x, labels)[1] >= 10


def test_properties(engine):
    network = tiebreak.Network(engine, "lenet5", "mixed", initialization="kaiming_normal_fan_out", seed=1)
    info = network.info
    assert (info.dtype, info.parameter_dtype, info.precision) == (DType.F16, DType.F32, "mixed")
    assert (info.classes, info.input_shape, info.placement, info.gpu) == (10, (1, 28, 28), "", False)
    assert [p.shape for p in network.parameters][:2] == [(6, 1, 5, 5), (6,)]
    assert network.layers[0].name == "input" and len(network.layers) == info.layer_count
    plan = network.memory_plan(32)
    assert plan.total >= plan.parameters + plan.gradients + plan.activations
    assert network.memory_plan(32, training=False).total < plan.total
    with pytest.raises(tiebreak.Error, match="precision"):
        tiebreak.Network(engine, "lenet5", "f8")


def test_parameters_and_buffers(engine):
    network = tiebreak.Network(engine, "vgg11_bn", zoo=tiebreak.ZooOptions(base_width=4), seed=1)
    name = network.parameters[0].name
    weight = network.read_parameter(name)
    assert weight.dtype == np.float32 and weight.shape == network.parameters[0].shape and weight.any()
    network.write_parameter(name, 2 * weight)
    again = np.empty_like(weight)
    assert network.read_parameter(name, again) is again
    assert np.array_equal(again, 2 * weight)
    buffer = network.buffers[0]
    network.write_buffer(buffer.name, np.full(buffer.shape, 3, np.float32))
    assert (network.read_buffer(buffer.name) == 3).all()
    for read in (network.read_parameter, network.read_gradient, network.read_buffer):
        with pytest.raises(tiebreak.Error) as caught:
            read("features.99.weight")
        assert caught.value.status is Status.NOT_FOUND and name.split(".")[0] in str(caught.value)
    with pytest.raises(tiebreak.Error) as caught:
        network.write_parameter(name, weight.astype(np.float64))
    assert caught.value.status is Status.DTYPE_MISMATCH


def test_runs(engine, rng):
    network = tiebreak.Network(engine, "lenet5", "f64", seed=1)
    x, labels = batch(rng, 6, np.float64)
    logits = network.forward(x)
    out = np.empty_like(logits)
    assert network.forward(x, logits=out) is out and np.array_equal(out, logits)
    loss, _ = engine.cross_entropy(logits, labels)
    assert network.loss_and_gradients(x, labels) == pytest.approx(loss, rel=1e-12)
    evaluated, correct = network.evaluate(x, labels)
    assert evaluated == pytest.approx(loss) and correct == (logits.argmax(1) == labels).sum()
    # A finite difference.
    gradient = network.read_gradient("classifier.6.bias")
    bias = network.read_parameter("classifier.6.bias")
    bias[3] += 1e-6
    network.write_parameter("classifier.6.bias", bias)
    assert (network.evaluate(x, labels)[0] - loss) / 1e-6 == pytest.approx(gradient[3], abs=1e-5)


def test_choices(engine, rng):
    # In 16 bits rounding makes ties that matter.
    network = tiebreak.Network(engine, "lenet5", "f16", seed=1)
    x, labels = batch(rng, 8, np.float16)
    pool = next(layer.name for layer in network.layers if layer.kind == "maxpool2d")
    network.loss_and_gradients(x, labels)
    counts = network.ties(pool, 8)
    assert counts.shape == (8, 6, 12, 12) and counts.min() >= 1 and counts.max() > 1
    activation = network.read_activation(pool, 8)
    assert activation.shape == (8, 6, 12, 12) and activation.any()
    native = network.read_gradient("features.0.weight")

    minimal = MaxPoolKink("minimal")
    network.set_kink(None, minimal)
    assert network.kink(pool) == minimal
    network.backward()
    changed = network.read_gradient("features.0.weight")
    assert not np.array_equal(changed, native)
    network.set_kink(pool, MaxPoolKink("beta", beta=2.5, composition="split", seed=0))
    assert network.kink(pool) == MaxPoolKink("beta", beta=2.5, composition="split")
    network.set_kink(None, ReluKink(0.25))
    assert network.kink("features.1") == ReluKink(0.25)
    network.set_kink(None, ReluKink())
    for layer, kink, status in [
        ("features.0", minimal, Status.INVALID_ARGUMENT),
        (pool, ReluKink(), Status.INVALID_ARGUMENT),
        ("pool9", minimal, Status.NOT_FOUND),
    ]:
        with pytest.raises(tiebreak.Error) as caught:
            network.set_kink(layer, kink)
        assert caught.value.status is status
    with pytest.raises(tiebreak.Error):
        network.kink("features.0")

    network.set_kink(None, MaxPoolKink())
    both = {name.name: minimal for name in network.layers if name.kind == "maxpool2d"}
    apart, same, all_pools, coupled = network.compare(
        x,
        labels,
        [minimal, MaxPoolKink(), both, MaxPoolKink("beta", beta=3.0, composition="coupled")],
        differences=True,
    )
    first = apart.differences[0]
    assert first.name == "features.0.weight"
    exact = np.abs(changed.astype(float) - native.astype(float))
    assert first.l1 == pytest.approx(exact.sum(), rel=1e-4) and first.linf == pytest.approx(
        exact.max(), rel=1e-4
    )
    assert apart.l1 == pytest.approx(sum(d.l1 for d in apart.differences))
    assert (same.l1, same.l2, same.linf, same.differing) == (0, 0, 0, 0)
    assert all_pools == apart and apart.shared_forward and not coupled.shared_forward
    assert apart.losses[0] == apart.losses[1]
    assert network.compare(x, labels, [minimal])[0].differences == ()
    with pytest.raises(tiebreak.Error):
        network.compare(x, labels, [])

    norms = {norm.name: norm for norm in network.gradient_norms()}
    network.loss_and_gradients(x, labels)
    gradient = network.read_gradient("features.0.weight").astype(float)
    assert norms["features.0.weight"].l2 == pytest.approx(np.sqrt((gradient**2).sum()), rel=1e-4)
    assert norms["features.0.weight"].non_finite == 0

    entries = network.census(x, labels)
    assert len(entries) == network.info.census_count
    windows = [e for e in entries if e.layer == pool]
    assert [e.ties for e in windows] == [0, 1, 2, 3, 4] and windows[0].kind is tiebreak.KinkKind.MAXPOOL
    assert [e.zero + e.nonzero for e in windows] == np.bincount(counts.ravel(), minlength=5).tolist()
    assert all(e.zero_alive <= e.zero and e.nonzero_alive <= e.nonzero for e in entries)


def test_diagnosis(engine, rng):
    network = tiebreak.Network(engine, "lenet5", "f16", seed=1)
    with pytest.raises(tiebreak.Error) as caught:
        network.tie_classes()
    assert caught.value.status is Status.UNSUPPORTED
    x, labels = batch(rng, 8, np.float16)
    loss = network.loss_and_gradients(x, labels)
    pools = [layer.name for layer in network.layers if layer.kind == "maxpool2d"]
    classes = network.tie_classes()
    assert [c.layer for c in classes] == pools
    for c in classes:
        counts = network.ties(c.layer, 8)
        assert (c.windows, c.nan, c.untied) == (counts.size, 0, (counts == 1).sum())
        assert c.masked + c.structural + c.accidental == (counts > 1).sum()
    assert classes[0].accidental > 0

    # The same branches in float64: what a tie changes there is no rounding.
    exact = tiebreak.Network(engine, "lenet5", "f64", seed=2)
    assert exact.replay(network) == pytest.approx(loss, rel=1e-2)
    minimal = MaxPoolKink("minimal")
    apart, same = exact.compare_stored([minimal, MaxPoolKink()], differences=True)
    assert apart.l1 > 0 and same.l1 == 0 and len(apart.differences) == 10
    assert exact.compare_stored([minimal])[0].differences == ()
    for call, status in [
        (lambda: exact.replay(exact), Status.INVALID_ARGUMENT),
        (lambda: exact.copy_state(exact), Status.INVALID_ARGUMENT),
        (lambda: tiebreak.Network(engine, "lenet5_bn").replay(network), Status.INVALID_ARGUMENT),
        (lambda: exact.replay(tiebreak.Network(engine, "lenet5")), Status.UNSUPPORTED),
        (
            lambda: exact.compare_stored([MaxPoolKink("beta", beta=2.0, composition="forward")]),
            Status.UNSUPPORTED,
        ),
        (lambda: exact.set_kinks("caffe"), Status.INVALID_ARGUMENT),
    ]:
        with pytest.raises(tiebreak.Error) as caught:
            call()
        assert caught.value.status is status
    name = "features.0.weight"
    exact.copy_state(network)
    assert np.array_equal(exact.read_parameter(name), network.read_parameter(name).astype(float))
    for convention, jacobian, alpha in [("candle", "scaled", 1.0), ("mlpack", "first_column", 0.0)]:
        exact.set_kinks(convention)
        assert all(exact.kink(pool) == MaxPoolKink(jacobian) for pool in pools)
        assert exact.kink("features.1") == ReluKink(alpha)


def test_values_that_are_not_finite(engine, rng):
    network = tiebreak.Network(engine, "lenet5", "f16", seed=1)
    x, labels = batch(rng, 8, np.float16)
    network.set_kink(None, MaxPoolKink("beta", beta=1e6, composition="coupled"))
    assert not np.isfinite(network.loss_and_gradients(x, labels))
    assert network.non_finite() == []
    network.watch_non_finite()
    assert network.non_finite() == []
    assert not np.isfinite(network.loss_and_gradients(x, labels))
    found = network.non_finite()
    first = found[0]
    assert (first.pass_, first.layer, first.tensor) == (tiebreak.Pass.FORWARD, "features.2", "output")
    assert first.operator_name == "maxpool2d_forward" and not first.lasts
    assert 0 <= first.element < 8 * 6 * 12 * 12 and not math.isfinite(first.value)
    assert "coupled, beta = 1000000" in first.cause and "65504" in first.cause
    assert [f.tensor for f in found if f.lasts] == ["loss"]
    assert found[-1].pass_ is tiebreak.Pass("backward")

    # PyTorch's eps is 0 in f16.
    network.set_kinks("pytorch")
    optimizer = tiebreak.Optimizer(network, tiebreak.Adam())
    optimizer.train_step(x, labels)
    found = network.non_finite()
    assert all(f.pass_ is tiebreak.Pass.OPTIMIZER and f.lasts for f in found)
    assert (found[0].layer, found[0].tensor) == ("features.0.weight", "parameter")
    assert "rounds to 0" in found[0].cause


def test_descriptions(engine):
    graph = small_graph()
    description = graph.to_json()
    again = tiebreak.Graph.from_json(description)
    assert again.to_json() == description and again.layers == graph.layers
    parsed = json.loads(description)
    assert tiebreak.Graph.from_json(parsed).layers == graph.layers
    parsed["layers"][0]["type"] = "gelu"
    with pytest.raises(tiebreak.Error, match=parsed["layers"][0]["name"]):
        tiebreak.Graph.from_json(parsed)


def test_norm_pooling_has_its_choice(engine):
    network = tiebreak.Network(engine, small_graph(), seed=1)
    network.set_kink("norm", NormPoolKink(0.5))
    assert network.kink("norm") == NormPoolKink(0.5)


def test_switches(engine, rng):
    network = tiebreak.Network(engine, "vgg11_bn", zoo=tiebreak.ZooOptions(base_width=4), seed=1)
    x, labels = rng.random((64, 3, 32, 32)).astype(np.float32), np.arange(64) % 10
    name = network.buffers[0].name
    before = network.read_buffer(name)
    network.freeze_batchnorm()
    network.loss_and_gradients(x, labels)
    assert np.array_equal(network.read_buffer(name), before)
    network.freeze_batchnorm(False)
    network.loss_and_gradients(x, labels)
    assert not np.array_equal(network.read_buffer(name), before)

    plain = tiebreak.Network(engine, "lenet5", seed=1)
    x, labels = batch(rng, 64)

    def gradient():
        plain.loss_and_gradients(x, labels)
        return plain.read_gradient("features.0.weight")

    fixed = gradient()
    plain.set_reduction_order("seeded", 5)
    seeded = gradient()
    assert not np.array_equal(seeded, fixed) and np.array_equal(gradient(), seeded)
    np.testing.assert_allclose(seeded, fixed, rtol=1e-2, atol=1e-5)
    plain.set_reduction_order(tiebreak.ReductionOrder.FIXED)
    plain.set_loss_scale(1024)
    np.testing.assert_allclose(gradient(), fixed, rtol=1e-5)
    with pytest.raises(tiebreak.Error, match="scale"):
        plain.set_loss_scale(0)


def test_training(engine, rng):
    x, labels = batch(rng, 32)
    for algorithm in (
        tiebreak.SGD(0.1, momentum=0.9, nesterov=True),
        tiebreak.Adam(0.01),
        tiebreak.AdamW(0.01),
        tiebreak.RMSprop(0.002),
    ):
        network = tiebreak.Network(engine, "lenet5", seed=1)
        with tiebreak.Optimizer(network, algorithm) as optimizer:
            first = optimizer.train_step(x, labels).loss
            for _ in range(30):
                optimizer.submit_train_step(x, labels)
            assert network.evaluate(x, labels)[0] < 0.8 * first
            info = optimizer.info
            assert info.steps == 31 and info.algorithm is algorithm._kind
            assert optimizer.learning_rate == algorithm.learning_rate


def test_a_step_in_parts_is_a_whole_step(engine, rng):
    x, labels = batch(rng, 8)
    whole, parts = (tiebreak.Network(engine, "lenet5", seed=1) for _ in range(2))
    report = tiebreak.Optimizer(whole).train_step(x, labels)
    loss = parts.loss_and_gradients(x, labels)
    assert tiebreak.Optimizer(parts).step().loss == report.loss == loss
    name = "features.0.weight"
    assert np.array_equal(whole.read_parameter(name), parts.read_parameter(name))


def test_groups_clipping_and_scaling(engine, rng):
    x, labels = batch(rng, 8, np.float16)
    network = tiebreak.Network(engine, "lenet5", "mixed", seed=1)
    frozen, trained = "features.0.weight", "features.4.weight"
    before = {name: network.read_parameter(name) for name in (frozen, trained)}
    optimizer = tiebreak.Optimizer(
        network,
        tiebreak.SGD(0.1, weight_decay=0.5),
        groups=[
            tiebreak.ParameterGroup("features.0.*", learning_rate_factor=0.0),
            tiebreak.ParameterGroup(weight_decay=0.0),
        ],
        clip_norm=1e-3,
        grad_scaler=tiebreak.GradScaler(loss_scale=2.0, growth_interval=1, growth_factor=4.0),
    )
    report = optimizer.train_step(x, labels)
    assert report.gradient_norm > 1e-3 and report.loss_scale == 8 and not report.skipped
    assert np.array_equal(network.read_parameter(frozen), before[frozen])
    assert not np.array_equal(network.read_parameter(trained), before[trained])
    optimizer.learning_rate = 0.0
    assert optimizer.learning_rate == 0
    still = network.read_parameter(trained)
    optimizer.train_step(x, labels)
    assert np.array_equal(network.read_parameter(trained), still)
    with pytest.raises(tiebreak.Error, match="nothing"):
        tiebreak.Optimizer(network, groups=[tiebreak.ParameterGroup("nothing.*")])
    # A scale beyond float16 overflows: the step is skipped and the scale taken back.
    bold = tiebreak.Optimizer(
        network, grad_scaler=tiebreak.GradScaler(loss_scale=2.0**60, backoff_factor=0.25)
    )
    report = bold.train_step(x, labels)
    assert report.skipped and report.loss_scale == 2.0**58
    assert bold.info.steps == 0


def test_no_report_says_nothing(engine, rng):
    network = tiebreak.Network(engine, "lenet5")
    assert math.isnan(tiebreak.Optimizer(network).train_step(*batch(rng, 4)).gradient_norm)


def test_schedules():
    base = 0.5
    for schedule, expected in [
        (tiebreak.Schedule(), [base] * 4),
        (tiebreak.Schedule("step", gamma=0.1, step_size=2), [base, base, base * 0.1, base * 0.1]),
        (tiebreak.Schedule("multi_step", gamma=0.5, milestones=[1, 3]), [base, 0.25, 0.25, 0.125]),
        (tiebreak.Schedule("exponential", gamma=0.5), [base, 0.25, 0.125, 0.0625]),
        (tiebreak.Schedule("cosine", t_max=2, eta_min=0.1), [base, 0.3, 0.1, 0.3]),
    ]:
        assert [schedule.learning_rate(base, epoch) for epoch in range(4)] == pytest.approx(expected)
    with pytest.raises(tiebreak.Error, match="step_size"):
        tiebreak.Schedule("step", step_size=0).learning_rate(base, 1)


def test_files(engine, rng, tmp_path):
    x, labels = batch(rng, 8)
    network = tiebreak.Network(engine, "lenet5", seed=1)
    optimizer = tiebreak.Optimizer(network, tiebreak.Adam())
    optimizer.train_step(x, labels)
    network.save(tmp_path / "weights.safetensors")
    optimizer.save(str(tmp_path / "run.safetensors"))
    after = optimizer.train_step(x, labels).loss

    other = tiebreak.Network(engine, "lenet5", seed=2)
    again = tiebreak.Optimizer(other, tiebreak.Adam())
    again.load(tmp_path / "run.safetensors")
    assert again.train_step(x, labels).loss == after and again.info.steps == 2
    half = tiebreak.Network(engine, "lenet5", "f16")
    with pytest.raises(tiebreak.Error) as caught:
        half.load(tmp_path / "weights.safetensors")
    assert caught.value.status is Status.FORMAT
    half.load(tmp_path / "weights.safetensors", convert=True)
    with pytest.raises(tiebreak.Error) as caught:
        half.load(tmp_path / "nothing")
    assert caught.value.status is Status.IO and "nothing" in str(caught.value)
