//! Every operator against vectors made with PyTorch, on both engines, in every dtype that the vectors hold.

mod support;

use support::*;
use tiebreak::net::{Network, zoo};
use tiebreak::shape::{Pool2dGeometry, Window2d, tie_bytes};
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
        let (stride, padding) = ([size("stride"); 2], [size("padding"); 2]);
        let expected = golden.sums(p, "y");
        let patch = w.shape()[1..].iter().product::<usize>();

        let mut y = like(&expected);
        let b = bias.as_ref().map(|b| b.view());
        engine.conv2d_forward(x.view(), w.view(), b, stride, padding, y.view_mut()).unwrap();
        assert_close(&format!("{p}y"), &y, &expected, patch);

        let mut gx = like(&x);
        engine.conv2d_backward_input(gy.view(), w.view(), stride, padding, gx.view_mut()).unwrap();
        assert_close(&format!("{p}gx"), &gx, &golden.sums(p, "gx"), w.len() / w.shape()[1]);

        let (mut gw, mut gb) = (like(&w), bias.as_ref().map(like));
        engine
            .conv2d_backward_weight(
                x.view(),
                gy.view(),
                stride,
                padding,
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

#[test]
fn sgd() {
    let Some(_) = shared("golden") else { return };
    let params = golden_params("optimizers");
    for_each("optimizers", |engine, golden, case, p| {
        let number = |name: &str| params[case][name].as_f64().unwrap_or(0.0);
        if !case.starts_with("sgd") || number("dampening") != 0.0 {
            return; // other optimizers and dampening are not there yet
        }
        let options = SgdOptions {
            learning_rate: number("lr"),
            momentum: number("momentum"),
            weight_decay: number("weight_decay"),
            nesterov: params[case]["nesterov"].as_bool().unwrap(),
        };
        let get = |name: &str| golden.tensor(&format!("{p}{name}"));
        let row = |t: &Tensor, i: usize| {
            let n = t.shape()[1];
            Tensor::from_f64(t.dtype(), &[n], &t.to_f64()[i * n..(i + 1) * n]).unwrap()
        };
        let (mut param, grads, after) = (get("p0"), get("grads"), get("params_after"));
        let mut buffer = (options.momentum != 0.0).then(|| like(&param));
        for step in 0..grads.shape()[0] {
            let grad = row(&grads, step);
            let momentum = buffer.as_mut().map(|b| b.view_mut());
            engine.sgd_step(&options, grad.view(), param.view_mut(), momentum, step == 0).unwrap();
            let expected = row(&after, step);
            if param.dtype() == DType::F16 {
                // PyTorch's f16 kernel on the CPU rounds the learning rate to f16, that on the GPU does not, and
                // neither do we: one ulp of the largest parameter a step apart.
                let largest = expected.to_f64().iter().fold(0.0f64, |m, v| m.max(v.abs()));
                let bound = (step + 1) as f64 * ulp(DType::F16, largest);
                for (g, e) in param.to_f64().iter().zip(expected.to_f64()) {
                    assert!((g - e).abs() <= bound, "{p} step {step}: got {g:e}, expected {e:e}");
                }
            } else {
                assert_close(&format!("{p} step {step}"), &param, &expected, 4);
            }
        }
        if let Some(buffer) = buffer {
            assert_close(&format!("{p} buffer"), &buffer, &get("state_momentum_buffer"), 16);
        }
    });
}

/// Whole networks: weights and batch from the file, then loss, logits and every gradient for each beta.
fn check_network(file: &str) {
    let Some(golden) = Golden::open(file) else { return };
    let params = golden_params(file);
    let x32 = golden.tensor("inputs.f32.x");
    let labels = golden.integers("inputs.f32.labels");
    let fc = params["inputs"]["fc"].as_array().unwrap();
    let hidden = [0, 1].map(|i| fc[i].as_u64().unwrap() as usize);
    let graph = zoo::lenet5(&zoo::LeNet5Options { hidden, ..Default::default() }).unwrap();
    let mut count = 0;
    for (name, engine) in engines() {
        for dtype in [DType::F64, DType::F32] {
            let mut network = Network::new(&engine, &graph, dtype, 0).unwrap();
            let names: Vec<String> = network.parameters().map(|p| p.name.clone()).collect();
            for parameter in &names {
                let value = golden.tensor(&format!("inputs.f32.w.{parameter}")).to_dtype(dtype);
                network.set_parameter(parameter, value.view()).unwrap();
            }
            let x = x32.to_dtype(dtype);
            for case in golden.cases().iter().filter(|c| c.starts_with("beta")) {
                let number = |key: &str| params[case][key].as_f64().unwrap();
                let kink = MaxPoolKink::beta(number("beta"), Composition::Coupled);
                network.set_kink(None, Kink::MaxPool(kink)).unwrap();
                network.set_kink(None, Kink::Relu(ReluKink { alpha: number("relu_alpha") })).unwrap();
                let loss = network.loss_and_gradients(x.view(), &labels).unwrap();
                let loss = Tensor::from_f64(dtype, &[], &[loss]).unwrap();
                let what = format!("{file}.{case}.{dtype} on {name}");
                // In f32 the published forward loses beta * eps of the maximum; PyTorch's own distance from
                // f64 is the measure.
                let expected = |key: &str| golden.tensor(&format!("{case}.{dtype}.{key}"));
                let check = |key: &str, got: &Tensor| match dtype {
                    DType::F64 => assert_relative(&format!("{what} {key}"), got, &expected(key), 1e-10),
                    _ => {
                        let truth = golden.tensor(&format!("{case}.f64.{key}"));
                        let theirs = relative_error(&expected(key), &truth);
                        let bound = 4.0 * theirs + 8.0 * epsilon(DType::F32);
                        assert_relative(&format!("{what} {key}"), got, &truth, bound);
                    }
                };
                check("loss", &loss);
                check("logits", &network.forward(x.view()).unwrap());
                network.loss_and_gradients(x.view(), &labels).unwrap();
                for parameter in &names {
                    check(&format!("g.{parameter}"), &network.gradient(parameter).unwrap());
                }
                count += 1;
            }
        }
    }
    eprintln!("{file}: {count} runs");
    assert!(count >= 4);
}

#[test]
fn lenet5_gradients() {
    check_network("net_lenet5");
}

#[test]
fn lenet5_alpha_gradients() {
    check_network("net_lenet5_alpha");
}

/// Full-width LeNet-5 whose weights come from a formula; the file holds statistics and samples of gradients.
#[test]
fn lenet5_from_formula() {
    let Some(golden) = Golden::open("full_lenet5") else { return };
    let params = golden_params("full_lenet5");
    let exponents = &params["inputs"]["generator"]["exponents"];
    let uniform = |stream: u64, i: usize| {
        let s = 80871424u64.wrapping_add(stream << 40);
        let mut z = s.wrapping_add((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (2.0 * (z >> 54) as f64 + 1.0 - 1024.0) / 1024.0
    };
    let graph = zoo::lenet5(&zoo::LeNet5Options::default()).unwrap();
    for (name, engine) in engines() {
        for dtype in [DType::F64, DType::F32] {
            let mut network = Network::new(&engine, &graph, dtype, 0).unwrap();
            let parameters: Vec<_> = network.parameters().cloned().collect();
            for (index, p) in parameters.iter().enumerate() {
                let scale = 2f64.powi(exponents[&p.name][1].as_i64().unwrap() as i32);
                let len = p.shape.iter().product();
                let values: Vec<f64> = (0..len).map(|i| uniform(index as u64 + 1, i) * scale).collect();
                let tensor = Tensor::from_f64(dtype, &p.shape, &values).unwrap();
                network.set_parameter(&p.name, tensor.view()).unwrap();
            }
            let x: Vec<f64> = (0..4 * 28 * 28).map(|i| uniform(0, i).max(0.0)).collect();
            let x = Tensor::from_f64(dtype, &[4, 1, 28, 28], &x).unwrap();
            let labels: Vec<i64> = (0..4).map(|i| (7 * i + 3) % 10).collect();
            for (case, beta) in [("beta_0", 0.0), ("beta_1", 1.0), ("beta_100", 100.0)] {
                let kink = MaxPoolKink::beta(beta, Composition::Coupled);
                network.set_kink(None, Kink::MaxPool(kink)).unwrap();
                let loss = network.loss_and_gradients(x.view(), &labels).unwrap();
                let bound = if dtype == DType::F64 { 1e-10 } else { 1e-6 * (1.0 + beta) };
                let what = format!("{case} {dtype} on {name}");
                let loss = Tensor::from_f64(DType::F64, &[], &[loss]).unwrap();
                assert_relative(&what, &loss, &golden.tensor(&format!("{case}.f64.loss")), bound);
                let samples = golden.tensor(&format!("{case}.f64.grad_samples")).to_f64();
                let largest = golden.tensor(&format!("{case}.f64.grad_stats")).to_f64();
                for (index, p) in parameters.iter().enumerate() {
                    let gradient = network.gradient(&p.name).unwrap().to_f64();
                    for j in 0..12u64 {
                        let at = ((j * 2654435761 + 12345) % gradient.len() as u64) as usize;
                        let gap = (gradient[at] - samples[index * 12 + j as usize]).abs();
                        let scale = largest[index * 4 + 3];
                        assert!(
                            gap <= bound * scale,
                            "{what} {} [{at}]: off by {gap:e} of {scale:e}",
                            p.name
                        );
                    }
                }
            }
        }
    }
}

/// Largest difference over the largest element.
fn relative_error(got: &Tensor, expected: &Tensor) -> f64 {
    let (got, expected) = (got.to_f64(), expected.to_f64());
    let largest = expected.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let gap = got.iter().zip(&expected).map(|(g, e)| (g - e).abs());
    gap.fold(0.0, |m: f64, v| if v > m || v.is_nan() { v } else { m }) / largest
}

#[track_caller]
fn assert_relative(what: &str, got: &Tensor, expected: &Tensor, bound: f64) {
    assert_eq!(got.shape(), expected.shape(), "{what}");
    let error = relative_error(got, expected);
    assert!(error <= bound, "{what}: relative error {error:e}, bound {bound:e}");
}
