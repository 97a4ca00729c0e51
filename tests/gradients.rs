//! Gradients in f64 against central differences of the forward pass.

mod support;

use proptest::prelude::*;
use tiebreak::net::{Graph, Network, zoo};
use tiebreak::shape::{Conv2dGeometry, Window2d};
use tiebreak::*;

/// A reproducible number in (-1, 1), different for each argument.
fn noise(i: usize) -> f64 {
    let z = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (z >> 11) as f64 / 2f64.powi(52) - 1.0
}

fn tensor(shape: &[usize], salt: usize) -> Tensor {
    let values: Vec<f64> = (0..shape.iter().product()).map(|i| noise(i * 7 + salt)).collect();
    Tensor::from_f64(DType::F64, shape, &values).unwrap()
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    a.to_f64().iter().zip(b.to_f64()).map(|(a, b)| a * b).sum()
}

/// Checks a claimed gradient of `f` at `at` along each of a few coordinates.
fn check(what: &str, at: &Tensor, gradient: &Tensor, f: impl Fn(&Tensor) -> f64) {
    const H: f64 = 1e-5;
    let values = at.to_f64();
    let gradient = gradient.to_f64();
    let scale = gradient.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    for i in (0..values.len()).step_by(values.len().div_ceil(9).max(1)) {
        let moved = |h: f64| {
            let mut values = values.clone();
            values[i] += h;
            f(&Tensor::from_f64(DType::F64, at.shape(), &values).unwrap())
        };
        let numeric = (moved(H) - moved(-H)) / (2.0 * H);
        assert!((numeric - gradient[i]).abs() < 1e-6 * scale, "{what} [{i}]: {} for {numeric}", gradient[i]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..Default::default() })]

    #[test]
    fn conv2d(n in 1..4usize, c in 1..4usize, o in 1..5usize, h in 3..9usize, w in 3..9usize,
              kh in 1..4usize, kw in 1..4usize, sh in 1..4usize, sw in 1..3usize,
              ph in 0..3usize, pw in 0..3usize) {
        let engine = Engine::cpu();
        let window = Window2d { kernel: [kh, kw], stride: [sh, sw], padding: [ph, pw] };
        let g = Conv2dGeometry::new([n, c, h, w], o, window).unwrap();
        let (x, weight, bias) = (tensor(&g.x_shape(), 1), tensor(&g.weight_shape(), 2), tensor(&[o], 3));
        let gy = tensor(&g.y_shape(), 4);
        let forward = |x: &Tensor, weight: &Tensor, bias: &Tensor| {
            let mut y = Tensor::zeros(DType::F64, &g.y_shape()).unwrap();
            let views = (x.view(), weight.view(), Some(bias.view()));
            engine.conv2d_forward(views.0, views.1, views.2, [sh, sw], [ph, pw], y.view_mut()).unwrap();
            dot(&y, &gy)
        };
        let mut gx = Tensor::zeros(DType::F64, &g.x_shape()).unwrap();
        let mut gw = Tensor::zeros(DType::F64, &g.weight_shape()).unwrap();
        let mut gb = Tensor::zeros(DType::F64, &[o]).unwrap();
        let (stride, padding) = ([sh, sw], [ph, pw]);
        engine.conv2d_backward_input(gy.view(), weight.view(), stride, padding, gx.view_mut()).unwrap();
        let gbias = Some(gb.view_mut());
        engine
            .conv2d_backward_weight(x.view(), gy.view(), stride, padding, gw.view_mut(), gbias)
            .unwrap();
        check("gx", &x, &gx, |x| forward(x, &weight, &bias));
        check("gweight", &weight, &gw, |weight| forward(&x, weight, &bias));
        check("gbias", &bias, &gb, |bias| forward(&x, &weight, bias));
    }

    /// Images so large that they are unfolded in bands.
    #[test]
    fn large_conv2d(pad in 0..2usize, stride in 1..3usize) {
        let engine = Engine::cpu();
        let (n, c, o, h, w) = (2, 16, 3, 70, 64);
        let g = Conv2dGeometry::new([n, c, h, w], o, Window2d::new(5, stride, pad)).unwrap();
        prop_assert!(g.patch_len() * g.output_pixels() > 1 << 18);
        let (x, weight, gy) = (tensor(&g.x_shape(), 1), tensor(&g.weight_shape(), 2), tensor(&g.y_shape(), 4));
        let (stride, padding) = ([stride; 2], [pad; 2]);
        let forward = |x: &Tensor, weight: &Tensor| {
            let mut y = Tensor::zeros(DType::F64, &g.y_shape()).unwrap();
            engine.conv2d_forward(x.view(), weight.view(), None, stride, padding, y.view_mut()).unwrap();
            dot(&y, &gy)
        };
        let mut gx = Tensor::zeros(DType::F64, &g.x_shape()).unwrap();
        let mut gw = Tensor::zeros(DType::F64, &g.weight_shape()).unwrap();
        engine.conv2d_backward_input(gy.view(), weight.view(), stride, padding, gx.view_mut()).unwrap();
        engine.conv2d_backward_weight(x.view(), gy.view(), stride, padding, gw.view_mut(), None).unwrap();
        check("gx", &x, &gx, |x| forward(x, &weight));
        check("gweight", &weight, &gw, |weight| forward(&x, weight));
    }

    #[test]
    fn linear(n in 1..70usize, i in 1..9usize, o in 1..40usize) {
        let engine = Engine::cpu();
        let (x, weight, bias) = (tensor(&[n, i], 1), tensor(&[o, i], 2), tensor(&[o], 3));
        let gy = tensor(&[n, o], 4);
        let forward = |x: &Tensor, weight: &Tensor, bias: &Tensor| {
            let mut y = Tensor::zeros(DType::F64, &[n, o]).unwrap();
            engine.linear_forward(x.view(), weight.view(), Some(bias.view()), y.view_mut()).unwrap();
            dot(&y, &gy)
        };
        let mut gx = Tensor::zeros(DType::F64, &[n, i]).unwrap();
        let mut gw = Tensor::zeros(DType::F64, &[o, i]).unwrap();
        let mut gb = Tensor::zeros(DType::F64, &[o]).unwrap();
        engine.linear_backward_input(gy.view(), weight.view(), gx.view_mut()).unwrap();
        let gbias = Some(gb.view_mut());
        engine.linear_backward_weight(x.view(), gy.view(), gw.view_mut(), gbias).unwrap();
        check("gx", &x, &gx, |x| forward(x, &weight, &bias));
        check("gweight", &weight, &gw, |weight| forward(&x, weight, &bias));
        check("gbias", &bias, &gb, |bias| forward(&x, &weight, bias));
    }

    #[test]
    fn cross_entropy(n in 1..9usize, classes in 1..12usize, spread in 0.1..20.0f64) {
        let engine = Engine::cpu();
        let logits: Vec<f64> = (0..n * classes).map(|i| spread * noise(i)).collect();
        let logits = Tensor::from_f64(DType::F64, &[n, classes], &logits).unwrap();
        let labels: Vec<i64> = (0..n).map(|i| (i * 5 % classes) as i64).collect();
        let loss = |z: &Tensor| {
            let mut gz = Tensor::zeros(DType::F64, &[n, classes]).unwrap();
            engine.cross_entropy(z.view(), &labels, gz.view_mut()).unwrap()
        };
        let mut gz = Tensor::zeros(DType::F64, &[n, classes]).unwrap();
        engine.cross_entropy(logits.view(), &labels, gz.view_mut()).unwrap();
        check("glogits", &logits, &gz, loss);
    }
}

/// Every parameter of a whole network.
fn check_network(graph: &Graph, x: &Tensor, labels: &[i64]) {
    let mut network = Network::new(&Engine::cpu(), graph, DType::F64, 3).unwrap();
    network.loss_and_gradients(x.view(), labels).unwrap();
    let names: Vec<String> = network.parameters().map(|p| p.name.clone()).collect();
    let network = std::cell::RefCell::new(network);
    for name in names {
        let mut n = network.borrow_mut();
        let (value, gradient) = (n.parameter(&name).unwrap(), n.gradient(&name).unwrap());
        drop(n);
        check(&name, &value, &gradient, |moved| {
            let mut n = network.borrow_mut();
            n.set_parameter(&name, moved.view()).unwrap();
            n.evaluate(x.view(), labels).unwrap().loss
        });
        let mut n = network.borrow_mut();
        n.set_parameter(&name, value.view()).unwrap();
        assert!(n.backward().is_err(), "parameters have changed since the stored forward pass");
    }
}

#[test]
fn lenet5() {
    let graph = zoo::lenet5(&zoo::LeNet5Options { hidden: [12, 9], ..Default::default() }).unwrap();
    check_network(&graph, &tensor(&[3, 1, 28, 28], 5), &[1, 0, 7]);
}

/// Two paths that meet again, one tensor with three consumers, overlapping pooling, no bias: what a chain does
/// not show.
#[test]
fn residual_graph() {
    let mut g = Graph::new([2, 9, 8]);
    let stem = g.conv2d("stem", g.input(), 4, Window2d::new(3, 1, 1), false).unwrap();
    let a = g.relu("a.relu", stem).unwrap();
    let a = g.conv2d("a.conv", a, 4, Window2d::new(3, 1, 1), true).unwrap();
    let b = g.conv2d("b.conv", stem, 4, Window2d::new(1, 1, 0), true).unwrap();
    let sum = g.add("ab", a, b).unwrap();
    let sum = g.add("skip", sum, stem).unwrap();
    let pool = g.maxpool2d("pool", sum, Window2d::new(3, 2, 1)).unwrap();
    let flat = g.flatten("flatten", pool).unwrap();
    g.linear("head", flat, 5, true).unwrap();
    check_network(&g, &tensor(&[2, 2, 9, 8], 6), &[4, 2]);
}
