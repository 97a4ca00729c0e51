//! Every operator against vectors made with PyTorch, on both engines, in every dtype that the vectors hold.

mod support;

use support::*;
use tiebreak::shape::{Conv2dOptions, Pool2dGeometry, Window2d, tie_bytes};
use tiebreak::*;

fn like(t: &Tensor) -> Tensor {
    Tensor::zeros(t.dtype(), t.shape()).unwrap()
}

/// Runs `check` for each engine, case and dtype of a golden file.
fn for_each(file: &str, check: impl Fn(&Engine, &Golden, &str, &str)) {
    let Some(golden) = Golden::open(file) else { return };
    let mut count = 0;
    for (name, engine) in engines() {
        for case in golden.cases() {
            for dtype in DType::ALL {
                let prefix = format!("{case}.{dtype}.");
                if ["x", "p0"].iter().any(|t| golden.has(&format!("{prefix}{t}"))) {
                    check(&engine, &golden, &case, &prefix);
                    count += 1;
                }
            }
        }
        eprintln!("{file}: {count} cases so far, {name}");
    }
    assert!(count > 0);
}

#[test]
fn conv2d() {
    let Some(_) = shared("golden") else { return };
    let params = golden_params("conv2d");
    for_each("conv2d", |engine, golden, case, p| {
        let get = |name: &str| golden.tensor(&format!("{p}{name}"));
        let size = |name: &str| params[case][name].as_u64().unwrap() as usize;
        let (x, w, gy) = (get("x"), get("w"), get("gy"));
        let bias = golden.has(&format!("{p}b")).then(|| get("b"));
        let options = Conv2dOptions {
            stride: [size("stride"); 2],
            padding: [size("padding"); 2],
            dilation: [size("dilation"); 2],
            groups: size("groups"),
        };
        let expected = golden.sums(p, "y");
        let patch = w.shape()[1..].iter().product::<usize>();

        let mut y = like(&expected);
        let b = bias.as_ref().map(|b| b.view());
        engine.conv2d_forward(x.view(), w.view(), b, options, y.view_mut()).unwrap();
        assert_close(&format!("{p}y"), &y, &expected, patch);

        let mut gx = like(&x);
        engine.conv2d_backward_input(gy.view(), w.view(), options, gx.view_mut()).unwrap();
        assert_close(&format!("{p}gx"), &gx, &golden.sums(p, "gx"), w.len() / w.shape()[1]);

        let (mut gw, mut gb) = (like(&w), bias.as_ref().map(like));
        engine
            .conv2d_backward_weight(
                x.view(),
                gy.view(),
                options,
                gw.view_mut(),
                gb.as_mut().map(|b| b.view_mut()),
            )
            .unwrap();
        let sum = gy.len() / gy.shape()[1];
        assert_close(&format!("{p}gw"), &gw, &golden.sums(p, "gw"), sum);
        if let Some(gb) = gb {
            assert_close(&format!("{p}gb"), &gb, &golden.sums(p, "gb"), sum);
        }
    });
}

#[test]
fn linear() {
    for_each("linear", |engine, golden, _, p| {
        let get = |name: &str| golden.tensor(&format!("{p}{name}"));
        let (x, w, gy) = (get("x"), get("w"), get("gy"));
        let bias = golden.has(&format!("{p}b")).then(|| get("b"));
        let mut y = like(&gy);
        engine.linear_forward(x.view(), w.view(), bias.as_ref().map(|b| b.view()), y.view_mut()).unwrap();
        assert_close(&format!("{p}y"), &y, &golden.sums(p, "y"), w.shape()[1]);
        let mut gx = like(&x);
        engine.linear_backward_input(gy.view(), w.view(), gx.view_mut()).unwrap();
        assert_close(&format!("{p}gx"), &gx, &golden.sums(p, "gx"), w.shape()[0]);
        let (mut gw, mut gb) = (like(&w), bias.as_ref().map(like));
        let gbias = gb.as_mut().map(|b| b.view_mut());
        engine.linear_backward_weight(x.view(), gy.view(), gw.view_mut(), gbias).unwrap();
        assert_close(&format!("{p}gw"), &gw, &golden.sums(p, "gw"), x.shape()[0]);
        if let Some(gb) = gb {
            assert_close(&format!("{p}gb"), &gb, &golden.sums(p, "gb"), x.shape()[0]);
        }
    });
}

#[test]
fn cross_entropy() {
    for_each("cross_entropy", |engine, golden, _, p| {
        let get = |name: &str| golden.tensor(&format!("{p}{name}"));
        let x = get("x");
        let labels = golden.integers(&format!("{p}labels"));
        let mut gx = like(&x);
        let loss = engine.cross_entropy(x.view(), &labels, gx.view_mut()).unwrap();
        let loss = Tensor::from_f64(x.dtype(), &[], &[loss]).unwrap();
        assert_close(&format!("{p}loss"), &loss, &golden.sums(p, "loss"), 4);
        assert_close(&format!("{p}gx"), &gx, &golden.sums(p, "gx"), 4);
        // A batch of one row: its loss is -log_softmax at the label, its gradient softmax less one there.
        let (log_softmax, softmax) = (golden.sums(p, "log_softmax"), golden.sums(p, "softmax"));
        for (i, &label) in labels.iter().enumerate() {
            let [z, log_probabilities, probabilities] = [&x, &log_softmax, &softmax].map(|t| row(t, i));
            let batch = Tensor::from_f64(z.dtype(), &[1, z.len()], &z.to_f64()).unwrap();
            let mut gz = like(&batch);
            let loss = engine.cross_entropy(batch.view(), &[label], gz.view_mut()).unwrap();
            let at_label = -log_probabilities.to_f64()[label as usize];
            let scalar = |v: f64| Tensor::from_f64(z.dtype(), &[1], &[v]).unwrap();
            assert_close(&format!("{p}log_softmax {i}"), &scalar(loss), &scalar(at_label), 4);
            let mut expected = probabilities.to_f64();
            expected[label as usize] -= 1.0;
            let expected = Tensor::from_f64(z.dtype(), &[1, z.len()], &expected).unwrap();
            assert_close(&format!("{p}softmax {i}"), &gz, &expected, 4);
        }
    });
}

#[test]
fn relu() {
    let Some(_) = shared("golden") else { return };
    let params = golden_params("relu");
    for_each("relu", |engine, golden, case, p| {
        let get = |name: &str| golden.tensor(&format!("{p}{name}"));
        let (x, gy) = (get("x"), get("gy"));
        let check = |alpha: f64, y_name: &str, gx_name: &str| {
            let (mut y, mut gx) = (like(&x), like(&x));
            engine.relu_forward(x.view(), y.view_mut()).unwrap();
            engine.relu_backward(x.view(), gy.view(), ReluKink { alpha }, gx.view_mut()).unwrap();
            assert_same(&format!("{p}{y_name}"), &y, &get(y_name));
            assert_same(&format!("{p}{gx_name}"), &gx, &get(gx_name));
            // The sign of zero too.
            let bits = |t: &Tensor| t.to_f64().iter().map(|v| v.is_sign_negative()).collect::<Vec<_>>();
            let numbers = !x.to_f64().iter().any(|v| v.is_nan());
            assert!(!numbers || bits(&y) == bits(&get(y_name)), "{p}{y_name}: sign of zero");
        };
        if case == "special" {
            check(0.0, "y_alpha_0", "gx_alpha_0");
            check(1.0, "y_alpha_1", "gx_alpha_1");
        } else {
            check(params[case]["alpha"].as_f64().unwrap(), "y", "gx");
        }
    });
}

fn pool(engine: &Engine, x: &Tensor, gy: &Tensor, window: Window2d, kink: MaxPoolKink) -> [Tensor; 2] {
    let g = Pool2dGeometry::new(x.shape().try_into().unwrap(), window).unwrap();
    let (mut y, mut gx) = (like(gy), like(x));
    let mut ties = vec![0; g.windows() * tie_bytes(window.len())];
    engine.maxpool2d_forward(x.view(), window, kink, y.view_mut(), &mut ties).unwrap();
    engine.maxpool2d_backward(gy.view(), &ties, window, kink, gx.view_mut()).unwrap();
    [y, gx]
}

const BETAS: [(&str, f64); 8] = [
    ("0", 0.0),
    ("0p5", 0.5),
    ("1", 1.0),
    ("10", 10.0),
    ("100", 100.0),
    ("1000", 1000.0),
    ("10000", 10000.0),
    ("m1", -1.0),
];

/// All Jacobians of one set of windows: the published ones to the bit, `exact` against its definition.
fn check_jacobians(engine: &Engine, golden: &Golden, p: &str, window: Window2d) {
    let get = |name: &str| golden.tensor(&format!("{p}{name}"));
    let (x, gy) = (get("x"), get("gy"));
    let native = MaxPoolKink::default();
    let [y, gx] = pool(engine, &x, &gy, window, native);
    assert_same(&format!("{p}y_native"), &y, &get("y_native"));
    assert_same(&format!("{p}gx_native"), &gx, &get("gx_native"));
    let minimal = MaxPoolKink { jacobian: MaxPoolJacobian::Minimal, ..native };
    let [y, gx] = pool(engine, &x, &gy, window, minimal);
    assert_same(&format!("{p}y_minimal"), &y, &get("y_minimal"));
    assert_same(&format!("{p}gx_minimal"), &gx, &get("gx_minimal"));
    for (name, beta) in BETAS.iter().filter(|(name, _)| golden.has(&format!("{p}y_beta_{name}"))) {
        let coupled = pool(engine, &x, &gy, window, MaxPoolKink::beta(*beta, Composition::Coupled));
        assert_same(&format!("{p}y_beta_{name}"), &coupled[0], &get(&format!("y_beta_{name}")));
        assert_same(&format!("{p}gx_beta_{name}"), &coupled[1], &get(&format!("gx_beta_{name}")));
        let split = pool(engine, &x, &gy, window, MaxPoolKink::beta(*beta, Composition::Split));
        assert_same(&format!("{p} split forward is the maximum"), &split[0], &get("y_native"));
        assert_same(&format!("{p} split backward is the published one"), &split[1], &coupled[1]);
        let exact = pool(engine, &x, &gy, window, MaxPoolKink::beta(*beta, Composition::Exact));
        assert_same(&format!("{p} exact forward is the maximum"), &exact[0], &get("y_native"));
        if *beta == 0.0 {
            assert_same(&format!("{p} exact(0) is native"), &exact[1], &get("gx_native"));
        }
    }
}

#[test]
fn maxpool2x2() {
    for_each("maxpool2x2", |engine, golden, _, p| {
        check_jacobians(engine, golden, p, Window2d::new(2, 2, 0));
    });
}

#[test]
fn maxpool_special() {
    for_each("maxpool_special", |engine, golden, case, p| {
        if case == "k2s2_special" {
            check_jacobians(engine, golden, p, Window2d::new(2, 2, 0));
        } else {
            check_native(engine, golden, p, Window2d::new(3, 2, 1));
        }
    });
}

fn check_native(engine: &Engine, golden: &Golden, p: &str, window: Window2d) {
    let get = |name: &str| golden.tensor(&format!("{p}{name}"));
    let [y, gx] = pool(engine, &get("x"), &get("gy"), window, MaxPoolKink::default());
    assert_same(&format!("{p}y"), &y, &get("y"));
    assert_same(&format!("{p}gx"), &gx, &get("gx"));
}

#[test]
fn maxpool_native() {
    let Some(_) = shared("golden") else { return };
    let params = golden_params("maxpool_native");
    for_each("maxpool_native", |engine, golden, case, p| {
        let size = |name: &str| params[case][name].as_u64().unwrap() as usize;
        check_native(engine, golden, p, Window2d::new(size("kernel"), size("stride"), size("padding")));
    });
}

/// Row `i` of a matrix.
fn row(t: &Tensor, i: usize) -> Tensor {
    let n = t.shape()[1];
    Tensor::from_f64(t.dtype(), &[n], &t.to_f64()[i * n..(i + 1) * n]).unwrap()
}

#[test]
fn max_reduce() {
    for_each("max_reduce", |engine, golden, _, p| {
        let get = |name: &str| golden.tensor(&format!("{p}{name}"));
        let x = get("x");
        let [rows, columns] = x.shape().try_into().unwrap();
        let window =
            Window2d { kernel: [1, columns], stride: [1, columns], padding: [0; 2], dilation: [1; 2] };
        let reshaped = |t: &Tensor, shape: &[usize]| Tensor::from_f64(t.dtype(), shape, &t.to_f64()).unwrap();
        let ones = Tensor::from_f64(x.dtype(), &[rows, 1, 1, 1], &vec![1.0; rows]).unwrap();
        // The whole tensor's maximum shares the gradient, that of a dimension gives it to one index.
        for (jacobian, name) in [(MaxPoolJacobian::Minimal, "gx_full"), (MaxPoolJacobian::Native, "gx_dim")] {
            let kink = MaxPoolKink { jacobian, ..Default::default() };
            let [y, gx] = pool(engine, &reshaped(&x, &[rows, 1, 1, columns]), &ones, window, kink);
            assert_same(&format!("{p}y"), &reshaped(&y, &[rows]), &get("y"));
            assert_same(&format!("{p}{name}"), &reshaped(&gx, &[rows, columns]), &get(name));
        }
    });
}

#[test]
fn normpool() {
    let Some(_) = shared("golden") else { return };
    let params = golden_params("normpool");
    for_each("normpool", |engine, golden, case, p| {
        let get = |name: &str| golden.tensor(&format!("{p}{name}"));
        let (x, gy) = (get("x"), get("gy"));
        let size = |name: &str| params[case][name].as_u64().unwrap() as usize;
        let window = Window2d::new(size("kernel"), size("stride"), 0);
        let (mut y, mut gx) = (like(&gy), like(&x));
        engine.norm_pool2d_forward(x.view(), window, y.view_mut()).unwrap();
        let check = |name: &str, got: &Tensor| match x.dtype() {
            DType::F16 => assert_same(&format!("{p}{name}"), got, &get(name)),
            // PyTorch's vectorised square root is an ulp off here and there.
            _ => assert_close(&format!("{p}{name}"), got, &get(name), 4),
        };
        check("y", &y);
        for (name, at_zero) in params[case]["jacobian_at_zero"].as_object().unwrap() {
            let kink = NormPoolKink { at_zero: at_zero.as_f64().unwrap() };
            engine.norm_pool2d_backward(x.view(), y.view(), gy.view(), window, kink, gx.view_mut()).unwrap();
            check(name, &gx);
        }
    });
}

#[test]
fn avgpool() {
    let Some(_) = shared("golden") else { return };
    let params = golden_params("avgpool");
    for_each("avgpool", |engine, golden, case, p| {
        let get = |name: &str| golden.tensor(&format!("{p}{name}"));
        let (x, gy) = (get("x"), get("gy"));
        let (mut y, mut gx) = (like(&gy), like(&x));
        let len = x.len() / y.len();
        if params[case].get("kernel").is_some() {
            let size = |name: &str| params[case][name].as_u64().unwrap() as usize;
            let window = Window2d::new(size("kernel"), size("stride"), size("padding"));
            engine.avgpool2d_forward(x.view(), window, y.view_mut()).unwrap();
            engine.avgpool2d_backward(gy.view(), window, gx.view_mut()).unwrap();
        } else {
            engine.adaptive_avgpool2d_forward(x.view(), y.view_mut()).unwrap();
            engine.adaptive_avgpool2d_backward(gy.view(), gx.view_mut()).unwrap();
        }
        assert_close(&format!("{p}y"), &y, &golden.sums(p, "y"), len);
        assert_same(&format!("{p}gx"), &gx, &get("gx"));
    });
}

#[test]
fn batchnorm() {
    let Some(_) = shared("golden") else { return };
    let params = golden_params("batchnorm");
    for_each("batchnorm", |engine, golden, case, p| {
        let get = |name: &str| golden.tensor(&format!("{p}{name}"));
        let (x, gy, weight, bias) = (get("x"), get("gy"), get("gamma"), get("beta"));
        let (mut running_mean, mut running_var) = (get("running_mean_before"), get("running_var_before"));
        let number = |name: &str| params[case][name].as_f64().unwrap();
        let options = BatchNormOptions { eps: number("eps"), momentum: number("momentum") };
        let parameters = BatchNormParameters { weight: weight.view(), bias: bias.view() };
        let (mut y, mut gx) = (like(&x), like(&x));
        let (mut gweight, mut gbias) = (like(&weight), like(&bias));
        let gradients =
            BatchNormGradients { gx: gx.view_mut(), gweight: gweight.view_mut(), gbias: gbias.view_mut() };
        if params[case]["train"].as_bool().unwrap() {
            let mut mean = Tensor::zeros(x.dtype().accumulate(), weight.shape()).unwrap();
            let mut inv_std = mean.clone();
            let running = RunningStatistics { mean: running_mean.view_mut(), var: running_var.view_mut() };
            let statistics = BatchStatistics { mean: mean.view_mut(), inv_std: inv_std.view_mut() };
            engine
                .batchnorm_forward(x.view(), parameters, &options, Some(running), y.view_mut(), statistics)
                .unwrap();
            let statistics = BatchStatistics { mean: mean.view(), inv_std: inv_std.view() };
            engine.batchnorm_backward(x.view(), gy.view(), weight.view(), statistics, gradients).unwrap();
        } else {
            let running = || RunningStatistics { mean: running_mean.view(), var: running_var.view() };
            engine.batchnorm_inference(x.view(), parameters, &options, running(), y.view_mut()).unwrap();
            let (x, gy) = (x.view(), gy.view());
            engine
                .batchnorm_inference_backward(x, gy, weight.view(), &options, running(), gradients)
                .unwrap();
        }
        let values = x.len() / weight.len();
        for (name, got, len) in [
            ("y", &y, 4),
            ("gx", &gx, values),
            ("ggamma", &gweight, values),
            ("gbeta", &gbias, values),
            ("running_mean_after", &running_mean, values),
            ("running_var_after", &running_var, values),
        ] {
            assert_close(&format!("{p}{name}"), got, &golden.sums(p, name), len);
        }
    });
}

/// Runs the steps of an optimizer case, `step(grad, param, states, number from 1)`, and compares the parameters after
/// each and the states at the end.
///
/// In f16 PyTorch's CPU kernel for `add(alpha)` rounds alpha (the learning rate, or the share of the buffer or of the
/// parameter) and the product with it to f16; its GPU kernel rounds neither, and neither do we. Cases where that
/// happens, `alpha`, may differ by an ulp of the largest parameter a step; all others are equal to the bit.
fn check_optimizer(
    golden: &Golden,
    p: &str,
    states: &[&str],
    alpha: bool,
    mut step: impl FnMut(View, ViewMut, &mut [Tensor], u64),
) {
    let get = |name: &str| golden.tensor(&format!("{p}{name}"));
    let (mut param, grads, after) = (get("p0"), get("grads"), get("params_after"));
    let mut tensors: Vec<Tensor> = states.iter().map(|_| like(&param)).collect();
    let half = param.dtype() == DType::F16;
    for i in 0..grads.shape()[0] {
        step(row(&grads, i).view(), param.view_mut(), &mut tensors, i as u64 + 1);
        let (what, expected) = (format!("{p} step {i}"), row(&after, i));
        if half && alpha {
            let numbers = |t: &Tensor| t.to_f64().into_iter().filter(|v| v.is_finite()).collect::<Vec<_>>();
            let largest = numbers(&expected).iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let bound = (i + 1) as f64 * ulp(DType::F16, largest);
            for (g, e) in param.to_f64().iter().zip(expected.to_f64()) {
                let ok = *g == e || (g - e).abs() <= bound || (g.is_nan() && e.is_nan());
                assert!(ok, "{what}: got {g:e}, expected {e:e}");
            }
        } else if half {
            assert_same(&what, &param, &expected);
        } else {
            assert_close(&what, &param, &expected, 4);
        }
    }
    for (name, got) in states.iter().zip(&tensors) {
        let (what, expected) = (format!("{p}{name}"), get(&format!("state_{name}")));
        if half && !alpha {
            assert_same(&what, got, &expected)
        } else {
            assert_close(&what, got, &expected, 16)
        }
    }
}

#[test]
fn optimizers() {
    let Some(_) = shared("golden") else { return };
    let params = golden_params("optimizers");
    for_each("optimizers", |engine, golden, case, p| {
        let number = |name: &str| params[case][name].as_f64().unwrap_or(0.0);
        let flag = |name: &str| params[case][name].as_bool().unwrap_or(false);
        let (learning_rate, weight_decay) = (number("lr"), number("weight_decay"));
        let (momentum, eps) = (number("momentum"), number("eps"));
        let buffer = (momentum != 0.0).then_some("momentum_buffer");
        match case.split('_').next().unwrap() {
            "sgd" => {
                let (dampening, nesterov) = (number("dampening"), flag("nesterov"));
                let options = SgdOptions { learning_rate, momentum, dampening, weight_decay, nesterov };
                let states: Vec<&str> = buffer.into_iter().collect();
                check_optimizer(golden, p, &states, true, |grad, param, states, step| {
                    let buffer = states.first_mut().map(|b| b.view_mut());
                    engine.sgd_step(&options, grad, param, buffer, step == 1).unwrap();
                });
            }
            "rmsprop" => {
                let (alpha, centered) = (number("alpha"), flag("centered"));
                let options = RmsPropOptions { learning_rate, alpha, eps, momentum, centered, weight_decay };
                let states = ["square_avg"].into_iter().chain(buffer).chain(centered.then_some("grad_avg"));
                let alpha = momentum != 0.0 || weight_decay != 0.0;
                check_optimizer(golden, p, &states.collect::<Vec<_>>(), alpha, |grad, param, states, _| {
                    let mut states = states.iter_mut().map(|s| s.view_mut());
                    let state = RmsPropState {
                        square_avg: states.next().unwrap(),
                        momentum_buffer: buffer.and_then(|_| states.next()),
                        grad_avg: states.next(),
                    };
                    engine.rms_prop_step(&options, grad, param, state).unwrap();
                });
            }
            name => {
                let betas = [0, 1].map(|i| params[case]["betas"][i].as_f64().unwrap());
                let (decoupled, amsgrad) = (name == "adamw", flag("amsgrad"));
                let options = AdamOptions { learning_rate, betas, eps, weight_decay, decoupled, amsgrad };
                let mut states = vec!["exp_avg", "exp_avg_sq"];
                states.extend(amsgrad.then_some("max_exp_avg_sq"));
                // The one product with the weight decay happens to round alike.
                check_optimizer(golden, p, &states, false, |grad, param, states, step| {
                    let mut states = states.iter_mut().map(|s| s.view_mut());
                    let state = AdamState {
                        exp_avg: states.next().unwrap(),
                        exp_avg_sq: states.next().unwrap(),
                        max_exp_avg_sq: states.next(),
                    };
                    engine.adam_step(&options, grad, param, state, step).unwrap();
                });
            }
        }
    });
}
