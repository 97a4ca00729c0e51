//! Gradients in f64 against central differences of the forward pass.

mod support;

use proptest::prelude::*;
use tiebreak::net::{Graph, Network, zoo};
use tiebreak::shape::{Conv2dGeometry, Conv2dOptions, Pool2dGeometry, Window2d};
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

fn like(t: &Tensor) -> Tensor {
    Tensor::zeros(t.dtype(), t.shape()).unwrap()
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
    fn conv2d([n, c, o, groups] in [1..4usize, 1..4, 1..4, 1..4], input in [3..9usize, 3..9],
              kernel in [1..4usize, 1..4], stride in [1..4usize, 1..3], padding in [0..3usize, 0..3],
              dilation in [1..4usize, 1..3]) {
        let engine = Engine::cpu();
        let options = Conv2dOptions { stride, padding, dilation, groups };
        let window = Window2d { kernel, stride, padding, dilation };
        let (x, o) = ([n, c * groups, input[0], input[1]], o * groups);
        let extent = |i: usize| dilation[i] * (kernel[i] - 1) + 1;
        prop_assume!((0..2).all(|i| input[i] + 2 * padding[i] >= extent(i)));
        let g = Conv2dGeometry::new(x, o, window, groups).unwrap();
        let (x, weight, bias) = (tensor(&g.x_shape(), 1), tensor(&g.weight_shape(), 2), tensor(&[o], 3));
        let gy = tensor(&g.y_shape(), 4);
        let forward = |x: &Tensor, weight: &Tensor, bias: &Tensor| {
            let mut y = Tensor::zeros(DType::F64, &g.y_shape()).unwrap();
            let views = (x.view(), weight.view(), Some(bias.view()));
            engine.conv2d_forward(views.0, views.1, views.2, options, y.view_mut()).unwrap();
            dot(&y, &gy)
        };
        let mut gx = Tensor::zeros(DType::F64, &g.x_shape()).unwrap();
        let mut gw = Tensor::zeros(DType::F64, &g.weight_shape()).unwrap();
        let mut gb = Tensor::zeros(DType::F64, &[o]).unwrap();
                engine.conv2d_backward_input(gy.view(), weight.view(), options, gx.view_mut()).unwrap();
        let gbias = Some(gb.view_mut());
        engine
            .conv2d_backward_weight(x.view(), gy.view(), options, gw.view_mut(), gbias)
            .unwrap();
        check("gx", &x, &gx, |x| forward(x, &weight, &bias));
        check("gweight", &weight, &gw, |weight| forward(&x, weight, &bias));
        check("gbias", &bias, &gb, |bias| forward(&x, &weight, bias));
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
    fn avgpool2d(n in 1..3usize, c in 1..4usize, h in 3..9usize, w in 3..9usize, kh in 1..4usize,
                 kw in 1..4usize, s in 1..4usize, pad in 0..2usize) {
        let engine = Engine::cpu();
        let padding = [pad.min(kh / 2), pad.min(kw / 2)];
        let window = Window2d { kernel: [kh, kw], stride: [s; 2], padding, dilation: [1; 2] };
        let g = Pool2dGeometry::new([n, c, h, w], window).unwrap();
        let (x, gy) = (tensor(&g.x_shape(), 1), tensor(&g.y_shape(), 2));
        let mut gx = like(&x);
        engine.avgpool2d_backward(gy.view(), window, gx.view_mut()).unwrap();
        check("gx", &x, &gx, |x| {
            let mut y = like(&gy);
            engine.avgpool2d_forward(x.view(), window, y.view_mut()).unwrap();
            dot(&y, &gy)
        });
    }

    #[test]
    fn norm_pool2d(n in 1..3usize, c in 1..4usize, h in 3..9usize, w in 3..9usize, k in 1..4usize,
                   s in 1..4usize, pad in 0..2usize) {
        let engine = Engine::cpu();
        let window = Window2d::new(k, s, pad.min(k / 2));
        let g = Pool2dGeometry::new([n, c, h, w], window).unwrap();
        // Away from 0, where windows of one element have their kink.
        let values: Vec<f64> = tensor(&g.x_shape(), 1).to_f64().iter().map(|v| v + v.signum()).collect();
        let x = Tensor::from_f64(DType::F64, &g.x_shape(), &values).unwrap();
        let gy = tensor(&g.y_shape(), 2);
        let (mut y, mut gx) = (like(&gy), like(&x));
        engine.norm_pool2d_forward(x.view(), window, y.view_mut()).unwrap();
        let kink = NormPoolKink { at_zero: 5.0 };
        engine.norm_pool2d_backward(x.view(), y.view(), gy.view(), window, kink, gx.view_mut()).unwrap();
        check("gx", &x, &gx, |x| {
            let mut y = like(&gy);
            engine.norm_pool2d_forward(x.view(), window, y.view_mut()).unwrap();
            dot(&y, &gy)
        });
    }

    #[test]
    fn batchnorm(n in 2..6usize, c in 1..5usize, h in 1..5usize, w in 1..5usize, flat: bool,
                 training: bool) {
        let engine = Engine::cpu();
        let shape = if flat { vec![n, c] } else { vec![n, c, h, w] };
        let (x, gy, weight, bias) = (tensor(&shape, 1), tensor(&shape, 2), tensor(&[c], 3), tensor(&[c], 4));
        let squares: Vec<f64> = tensor(&[c], 5).to_f64().iter().map(|v| v * v).collect();
        let (mean, var) = (tensor(&[c], 6), Tensor::from_f64(DType::F64, &[c], &squares).unwrap());
        // A large eps keeps the second derivative, hence the error of the differences, small.
        let options = BatchNormOptions { eps: 0.1, ..Default::default() };
        let running = || RunningStatistics { mean: mean.view(), var: var.view() };
        let forward = |x: &Tensor, weight: &Tensor, bias: &Tensor| {
            let (mut y, mut mean, mut inv_std) = (like(x), like(weight), like(weight));
            let parameters = BatchNormParameters { weight: weight.view(), bias: bias.view() };
            if training {
                let statistics = BatchStatistics { mean: mean.view_mut(), inv_std: inv_std.view_mut() };
                engine
                    .batchnorm_forward(x.view(), parameters, &options, None, y.view_mut(), statistics)
                    .unwrap();
            } else {
                engine.batchnorm_inference(x.view(), parameters, &options, running(), y.view_mut()).unwrap();
            }
            (dot(&y, &gy), mean, inv_std)
        };
        let (mut gx, mut gweight, mut gbias) = (like(&x), like(&weight), like(&bias));
        let gradients =
            BatchNormGradients { gx: gx.view_mut(), gweight: gweight.view_mut(), gbias: gbias.view_mut() };
        let views = (x.view(), gy.view(), weight.view());
        if training {
            let (_, mean, inv_std) = forward(&x, &weight, &bias);
            let statistics = BatchStatistics { mean: mean.view(), inv_std: inv_std.view() };
            engine.batchnorm_backward(views.0, views.1, views.2, statistics, gradients).unwrap();
        } else {
            engine
                .batchnorm_inference_backward(views.0, views.1, views.2, &options, running(), gradients)
                .unwrap();
        }
        check("gx", &x, &gx, |x| forward(x, &weight, &bias).0);
        check("gweight", &weight, &gweight, |weight| forward(&x, weight, &bias).0);
        check("gbias", &bias, &gbias, |bias| forward(&x, &weight, bias).0);
    }

    #[test]
    fn dropout(len in 1..200usize, p in 0.0..0.95f64, seed: u64, step: u64) {
        let engine = Engine::cpu();
        let (x, gy) = (tensor(&[len], 1), tensor(&[len], 2));
        let options = DropoutOptions { p, seed, step };
        let mut gx = like(&x);
        engine.dropout_backward(gy.view(), options, gx.view_mut()).unwrap();
        check("gx", &x, &gx, |x| {
            let mut y = like(x);
            engine.dropout_forward(x.view(), options, y.view_mut()).unwrap();
            dot(&y, &gy)
        });
    }

    #[test]
    fn concat(n in 1..4usize, channels in prop::collection::vec(1..5usize, 1..4), flat: bool) {
        let engine = Engine::cpu();
        let shape = |c: usize| if flat { vec![n, c] } else { vec![n, c, 2, 3] };
        let inputs: Vec<Tensor> = channels.iter().enumerate().map(|(i, &c)| tensor(&shape(c), i)).collect();
        let gy = tensor(&shape(channels.iter().sum()), 9);
        let mut gradients: Vec<Tensor> = inputs.iter().map(like).collect();
        let mut views: Vec<ViewMut> = gradients.iter_mut().map(|g| g.view_mut()).collect();
        engine.concat_backward(gy.view(), &mut views).unwrap();
        for (i, gx) in gradients.iter().enumerate() {
            check(&format!("gx {i}"), &inputs[i], gx, |x| {
                let mut parts: Vec<View> = inputs.iter().map(|x| x.view()).collect();
                parts[i] = x.view();
                let mut y = like(&gy);
                engine.concat(&parts, y.view_mut()).unwrap();
                dot(&y, &gy)
            });
        }
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
    let graph = zoo::lenet5(&zoo::Options { hidden: [12, 9], ..Default::default() }).unwrap();
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
