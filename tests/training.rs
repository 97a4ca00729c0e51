//! Optimizers, groups, clipping, loss scaling, schedules and run files on whole networks.

mod support;

use support::*;
use tiebreak::data::synthetic;
use tiebreak::net::{Graph, Network, zoo};
use tiebreak::shape::Window2d;
use tiebreak::train::*;
use tiebreak::*;

/// A small network with every kind of parameter.
fn graph() -> Graph {
    let mut g = Graph::new([1, 28, 28]);
    let x = g.conv2d("conv", g.input(), 4, Window2d::new(5, 2, 0), true).unwrap();
    let x = g.batchnorm("norm", x).unwrap();
    let x = g.relu("relu", x).unwrap();
    let x = g.maxpool2d("pool", x, Window2d::new(2, 2, 0)).unwrap();
    let x = g.flatten("flatten", x).unwrap();
    let x = g.dropout("dropout", x, 0.1).unwrap();
    g.linear("head", x, 10, true).unwrap();
    g
}

fn batch(dtype: DType, from: usize) -> (Tensor, Vec<i64>) {
    synthetic::digits(64, 3).batch(&(from..from + 16).collect::<Vec<_>>(), dtype).unwrap()
}

fn algorithms() -> [Algorithm; 5] {
    let sgd = SgdOptions {
        learning_rate: 0.05,
        momentum: 0.9,
        dampening: 0.1,
        weight_decay: 5e-4,
        nesterov: false,
    };
    let adam = AdamOptions { learning_rate: 3e-3, weight_decay: 0.01, eps: 1e-4, ..Default::default() };
    let rms = RmsPropOptions {
        learning_rate: 1e-3,
        momentum: 0.5,
        centered: true,
        eps: 1e-3,
        ..Default::default()
    };
    [
        sgd.into(),
        adam.into(),
        AdamOptions { decoupled: true, ..adam }.into(),
        AdamOptions { amsgrad: true, ..adam }.into(),
        rms.into(),
    ]
}

fn snapshot(network: &mut Network) -> Vec<Tensor> {
    let names: Vec<String> = network.parameters().map(|p| p.name.clone()).collect();
    let buffers: Vec<String> = network.buffers().map(|p| p.name.clone()).collect();
    let parameters = names.iter().map(|n| network.parameter(n).unwrap()).collect::<Vec<_>>();
    parameters.into_iter().chain(buffers.iter().map(|n| network.buffer(n).unwrap())).collect()
}

#[test]
fn every_algorithm_trains_in_every_precision() {
    for (name, engine) in engines() {
        let precisions =
            if name == "gpu" { vec!["f16", "f32", "mixed"] } else { vec!["f16", "f32", "f64", "mixed"] };
        for precision in precisions {
            for algorithm in algorithms() {
                let precision: Precision = precision.parse().unwrap();
                let mut network = Network::new(&engine, &graph(), precision, 1).unwrap();
                let mut options = OptimizerOptions::from(algorithm);
                options.grad_scaler = precision.is_mixed().then(GradScaler::default);
                let mut optimizer = Optimizer::new(&mut network, options).unwrap();
                let (x, labels) = batch(precision.storage, 0);
                let mut losses = Vec::new();
                while losses.len() < 15 {
                    let report = optimizer.train_step(&mut network, x.view(), &labels).unwrap();
                    assert!(!report.skipped || precision.is_mixed());
                    losses.push(network.loss().unwrap());
                }
                let what = format!("{algorithm:?} in {precision} on {name}: {losses:?}");
                assert!(losses[14] < 0.7 * losses[0], "{what}");
            }
        }
    }
}

/// The network's step against the same operator on host memory, bit for bit.
#[test]
fn a_step_is_the_operator_on_each_parameter() {
    for (_, engine) in engines() {
        for dtype in [DType::F16, DType::F32] {
            let options = AdamOptions { weight_decay: 0.1, ..Default::default() };
            let mut network = Network::new(&engine, &graph(), dtype, 1).unwrap();
            let mut optimizer = Optimizer::new(&mut network, options).unwrap();
            let (x, labels) = batch(dtype, 0);
            network.loss_and_gradients(x.view(), &labels).unwrap();
            let names: Vec<String> = network.parameters().map(|p| p.name.clone()).collect();
            let before: Vec<_> =
                names.iter().map(|n| (network.parameter(n).unwrap(), network.gradient(n).unwrap())).collect();
            optimizer.step(&mut network).unwrap();
            let state = optimizer.state(&mut network).unwrap();
            for (i, (name, (mut param, grad))) in names.iter().zip(before).enumerate() {
                let zeros = || Tensor::zeros(dtype, param.shape()).unwrap();
                let (mut exp_avg, mut exp_avg_sq) = (zeros(), zeros());
                let states = AdamState {
                    exp_avg: exp_avg.view_mut(),
                    exp_avg_sq: exp_avg_sq.view_mut(),
                    max_exp_avg_sq: None,
                };
                engine.adam_step(&options, grad.view(), param.view_mut(), states, 1).unwrap();
                assert_eq!(network.parameter(name).unwrap(), param, "{name}");
                assert_eq!(state[2 * i], (format!("{name}.exp_avg"), exp_avg));
                assert_eq!(state[2 * i + 1], (format!("{name}.exp_avg_sq"), exp_avg_sq));
            }
        }
    }
}

#[test]
fn groups_change_decay_and_rate_of_their_parameters_alone() {
    let engine = Engine::cpu();
    let (x, labels) = batch(DType::F64, 0);
    let after = |options: OptimizerOptions| {
        let mut network = Network::new(&engine, &graph(), DType::F64, 1).unwrap();
        let mut optimizer = Optimizer::new(&mut network, options).unwrap();
        optimizer.train_step(&mut network, x.view(), &labels).unwrap();
        let names: Vec<String> = network.parameters().map(|p| p.name.clone()).collect();
        names.into_iter().map(|n| (network.parameter(&n).unwrap(), n)).collect::<Vec<_>>()
    };
    let sgd = |weight_decay| {
        OptimizerOptions::from(SgdOptions { learning_rate: 0.1, weight_decay, ..Default::default() })
    };
    let (plain, decayed) = (after(sgd(0.0)), after(sgd(0.5)));
    let grouped = after(OptimizerOptions {
        groups: vec![
            ParameterGroup {
                selection: Selection::Names("head.*".into()),
                learning_rate_factor: 0.0,
                weight_decay: None,
            },
            ParameterGroup::no_decay(),
        ],
        ..sgd(0.5)
    });
    let start = after(OptimizerOptions::from(SgdOptions { learning_rate: 0.0, ..Default::default() }));
    for (i, (values, name)) in grouped.iter().enumerate() {
        let expected = match name.as_str() {
            "head.weight" | "head.bias" => &start,
            "conv.weight" => &decayed,
            _ => &plain,
        };
        assert_eq!(values, &expected[i].0, "{name}");
    }
    let mut network = Network::new(&engine, &graph(), DType::F64, 1).unwrap();
    let mut refused = |wrong: ParameterGroup, part: &str| {
        let options = OptimizerOptions { groups: vec![ParameterGroup::no_decay(), wrong], ..sgd(0.0) };
        let error = Optimizer::new(&mut network, options).unwrap_err();
        assert!(
            matches!(error, Error::InvalidArgument { .. }) && error.to_string().contains(part),
            "{error}"
        );
    };
    refused(ParameterGroup { weight_decay: Some(-1.0), ..ParameterGroup::no_decay() }, "weight_decay");
    let selection = Selection::Names("haed.*".into());
    refused(ParameterGroup { selection, ..ParameterGroup::no_decay() }, "haed.*");
}

#[test]
fn clipping_scales_all_gradients_by_their_norm() {
    for (_, engine) in engines() {
        let (x, labels) = batch(DType::F32, 0);
        let mut network = Network::new(&engine, &graph(), DType::F32, 1).unwrap();
        let sgd = SgdOptions { learning_rate: 1.0, ..Default::default() };
        let options = OptimizerOptions { clip_norm: Some(0.01), ..sgd.into() };
        let mut optimizer = Optimizer::new(&mut network, options).unwrap();
        let names: Vec<String> = network.parameters().map(|p| p.name.clone()).collect();
        let before: Vec<_> = names.iter().map(|n| network.parameter(n).unwrap().to_f64()).collect();
        let report = optimizer.train_step(&mut network, x.view(), &labels).unwrap();
        let gradients: Vec<_> = names.iter().map(|n| network.gradient(n).unwrap().to_f64()).collect();
        let norm = gradients.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
        let reported = report.gradient_norm.unwrap();
        assert!((reported - norm).abs() < 1e-5 * norm, "{reported} for {norm}");
        let clip = 0.01 / (norm + 1e-6);
        for ((name, before), gradient) in names.iter().zip(&before).zip(&gradients) {
            let after = network.parameter(name).unwrap().to_f64();
            for ((b, g), a) in before.iter().zip(gradient).zip(after) {
                assert!((b - clip * g - a).abs() <= 2.0 * ulp(DType::F32, *b) + 1e-9, "{name}");
            }
        }
    }
}

#[test]
fn loss_scaling_follows_the_gradients() {
    for (name, engine) in engines() {
        let (x, labels) = batch(DType::F16, 0);
        let mut network = Network::new(&engine, &graph(), Precision::MIXED, 1).unwrap();
        // So large that the first gradients overflow in f16.
        let scaler = GradScaler { scale: 2f64.powi(30), growth_interval: 4, ..Default::default() };
        let sgd = SgdOptions { learning_rate: 0.01, ..Default::default() };
        let options = OptimizerOptions { grad_scaler: Some(scaler), ..sgd.into() };
        let mut optimizer = Optimizer::new(&mut network, options).unwrap();
        let before = network.parameter("head.weight").unwrap();
        let report = optimizer.train_step(&mut network, x.view(), &labels).unwrap();
        assert!(report.skipped, "{name}");
        assert_eq!(network.parameter("head.weight").unwrap(), before, "a skipped step changes nothing");
        assert_eq!((optimizer.steps(), optimizer.options().grad_scaler.unwrap().scale), (0, 2f64.powi(29)));
        let mut skipped = 1;
        while optimizer.train_step(&mut network, x.view(), &labels).unwrap().skipped {
            skipped += 1;
            assert!(skipped < 30, "{name}: the scale does not come down");
        }
        let low = optimizer.options().grad_scaler.unwrap().scale;
        assert_eq!(low, 2f64.powi(30 - skipped));
        let gradient = network.gradient("head.weight").unwrap();
        assert_eq!(gradient.dtype(), DType::F32);
        (0..3).for_each(|_| {
            optimizer.train_step(&mut network, x.view(), &labels).unwrap();
        });
        assert_eq!(optimizer.options().grad_scaler.unwrap().scale, 2.0 * low, "four good steps");
        // Gradients come back unscaled: near those of an unscaled f32 network with the same weights.
        let mut wide = Network::new(&engine, &graph(), DType::F32, 1).unwrap();
        let names: Vec<String> = network.parameters().map(|p| p.name.clone()).collect();
        for n in &names {
            wide.set_parameter(n, network.parameter(n).unwrap().view()).unwrap();
        }
        network.loss_and_gradients(x.view(), &labels).unwrap();
        wide.loss_and_gradients(x.to_dtype(DType::F32).view(), &labels).unwrap();
        // Both drop the same elements: the same seed and the same step are needed for that, so only the scale is
        // compared, on the layer behind the dropout.
        let (ours, theirs) =
            (network.gradient("head.bias").unwrap().to_f64(), wide.gradient("head.bias").unwrap().to_f64());
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() < 0.05, "{name}: {ours:?} for {theirs:?}");
        }
    }
}

/// What was saved within an epoch goes on with the same bits, in a process that starts anew.
#[test]
fn a_saved_run_goes_on_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for (name, engine) in engines() {
        for (i, algorithm) in algorithms().into_iter().enumerate() {
            let precision: Precision =
                ["mixed", "f16", "f32", "f64", "bf16:stochastic(3)"][i].parse().unwrap();
            if name == "gpu" && precision.storage == DType::F64 {
                continue;
            }
            let path = folder.path().join(format!("{name}-{i}.safetensors"));
            let options = OptimizerOptions {
                grad_scaler: precision.is_mixed().then(GradScaler::default),
                groups: vec![ParameterGroup::no_decay()],
                ..algorithm.into()
            };
            let data = synthetic::digits(64, 3);
            let steps = |network: &mut Network, optimizer: &mut Optimizer, count: usize| {
                let done = network.steps() as usize;
                for indices in data.batches(16, 5, 0).unwrap().skip(done).take(count) {
                    let (x, labels) = data.batch(&indices, precision.storage).unwrap();
                    optimizer.train_step(network, x.view(), &labels).unwrap();
                }
            };
            let mut network = Network::new(&engine, &graph(), precision, 1).unwrap();
            let mut optimizer = Optimizer::new(&mut network, options.clone()).unwrap();
            steps(&mut network, &mut optimizer, 2);
            optimizer.set_learning_rate(1e-3).unwrap();
            optimizer.save(&mut network, &path).unwrap();
            steps(&mut network, &mut optimizer, 9);
            assert_eq!(network.steps(), 4);

            let mut again = Network::new(&engine, &graph(), precision, 1).unwrap();
            let mut other = Optimizer::new(&mut again, options.clone()).unwrap();
            // Something of its own that loading must replace.
            steps(&mut again, &mut other, 1);
            other.load(&mut again, &path).unwrap();
            steps(&mut again, &mut other, 9);
            assert_eq!(
                snapshot(&mut network),
                snapshot(&mut again),
                "{algorithm:?} in {precision} on {name}"
            );
            assert_eq!(
                optimizer.state(&mut network).unwrap(),
                other.state(&mut again).unwrap(),
                "{algorithm:?} in {precision} on {name}"
            );
        }
    }
}

#[test]
fn run_files_of_another_kind_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let engine = Engine::cpu();
    let make = |precision: &str, algorithm: Algorithm| {
        let mut network =
            Network::new(&engine, &graph(), precision.parse::<Precision>().unwrap(), 1).unwrap();
        let optimizer = Optimizer::new(&mut network, algorithm).unwrap();
        (network, optimizer)
    };
    let [sgd, adam, adamw, amsgrad, _] = algorithms();
    let (mut network, optimizer) = make("f32", adam);
    optimizer.save(&mut network, &path).unwrap();
    let refused = |precision: &str, algorithm: Algorithm, part: &str| {
        let (mut network, mut optimizer) = make(precision, algorithm);
        let before = snapshot(&mut network);
        let error = optimizer.load(&mut network, &path).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert_eq!(snapshot(&mut network), before);
    };
    refused("f32", sgd, "algorithm");
    refused("f32", adamw, "expected algorithm adamw, got adam");
    refused("f32", amsgrad, "max_exp_avg_sq");
    refused("f16", adam, "precision");
    network.save(&path).unwrap();
    refused("f32", adam, "run state");
    std::fs::write(&path, b"junk").unwrap();
    refused("f32", adam, "safetensors");
    std::fs::remove_file(&path).unwrap();
    refused("f32", adam, "run.safetensors");
}

/// A rate that a reader of decimal numbers gets wrong in the last bit if it is careless.
const RATE: f64 = 0.09755282581475769;

/// Numbers that a run cannot have are refused before anything is changed, those that it can have come back as they were.
#[test]
fn counters_and_scalars_of_a_run_are_restored_or_refused_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let options = OptimizerOptions {
        grad_scaler: Some(GradScaler { scale: 1.0 / 3.0, growth_interval: 9, ..Default::default() }),
        ..SgdOptions { learning_rate: RATE, momentum: 0.5, ..Default::default() }.into()
    };
    let mut network = Network::new(&Engine::cpu(), &graph(), Precision::MIXED, 1).unwrap();
    let mut optimizer = Optimizer::new(&mut network, options.clone()).unwrap();
    let (x, labels) = batch(DType::F16, 0);
    optimizer.train_step(&mut network, x.view(), &labels).unwrap();
    optimizer.save(&mut network, &path).unwrap();
    let saved = optimizer.options().clone();

    let mut other = Optimizer::new(&mut network, options).unwrap();
    other.set_learning_rate(0.5).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&whole).into_owned();
    let before = (other.options().clone(), other.state(&mut network).unwrap(), snapshot(&mut network));
    for (from, to) in [
        (r#"\"optimizer_steps\":1"#, r#"\"optimizer_steps\":18446744073709551615"#),
        (r#"\"network_steps\":1"#, r#"\"network_steps\":18446744073709551615"#),
        (r#"\"learning_rate\":0"#, r#"\"learning_rate\":-0"#),
        (r#",1]"#, r#",9]"#),
        (r#",1]"#, r#",18446744073709551615]"#),
    ] {
        assert!(text.contains(from), "{from}");
        let at = text.find(from).unwrap();
        let mut bytes = [&whole[..at], to.as_bytes(), &whole[at + from.len()..]].concat();
        // The length of the header stands before it.
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) + (to.len() - from.len()) as u64;
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let error = other.load(&mut network, &path).unwrap_err();
        assert!(
            matches!(error, Error::Format { .. }) && error.to_string().contains("run.safetensors"),
            "{error}"
        );
        let after = (other.options().clone(), other.state(&mut network).unwrap(), snapshot(&mut network));
        assert!(before == after && (other.steps(), network.steps()) == (0, 1), "{error}");
    }
    std::fs::write(&path, whole).unwrap();
    other.load(&mut network, &path).unwrap();
    assert_eq!((other.options(), other.steps()), (&saved, 1));
    assert_eq!(saved.algorithm.learning_rate(), RATE);
}

#[test]
fn a_profile_names_layers_and_their_work() {
    let engine = Engine::cpu();
    let lenet5 = zoo::by_name("lenet5", &Default::default()).unwrap();
    let [mut profiled, mut trained] = [0, 1].map(|_| Network::new(&engine, &lenet5, DType::F32, 1).unwrap());
    let x = Tensor::from_f64(DType::F32, &[4, 1, 28, 28], &[0.5; 4 * 784]).unwrap();
    let sgd = SgdOptions { momentum: 0.9, ..Default::default() };
    let mut optimizer = Optimizer::new(&mut profiled, sgd).unwrap();
    let kernels = optimizer.profile_step(&mut profiled, x.view(), &[1, 2, 3, 4]).unwrap();
    let work = profiled.work(4, true).unwrap();
    // Products of a sample: 25 * 576 * 6 and 150 * 64 * 16 of the convolutions, the linear layers'; each backward pass
    // takes as many, but for the gradient of the image.
    let [first, others] = [86_400, 153_600 + 256 * 120 + 120 * 84 + 84 * 10];
    assert_eq!(work.operations, 4 * 2 * (2 * first + 3 * others));
    assert_eq!(profiled.work(4, false).unwrap().operations, 4 * 2 * (first + others));
    let sum = |layers: &dyn Fn(&str) -> bool| {
        let mut sum = Work::default();
        kernels.iter().filter(|k| layers(&k.layer)).for_each(|k| sum += k.work);
        sum
    };
    assert_eq!(sum(&|layer| layer != "optimizer"), work);
    // Gradient, parameter and momentum buffer, the latter two read and written.
    assert_eq!(sum(&|layer| layer == "optimizer"), Work { operations: 0, bytes: 44_426 * 5 * 4 });
    assert!(kernels.iter().any(|k| k.layer == "loss" && k.kernel == "cross_entropy"));
    let pool = kernels.iter().find(|k| k.kernel == "maxpool2d_backward").unwrap();
    assert_eq!((pool.layer.as_str(), pool.work.bytes), ("features.6", 4 * 16 * (64 * 4 + 16 * 4 + 16)));
    assert!(kernels.iter().all(|k| k.seconds >= 0.0));
    // It is a step like any other.
    let mut optimizer = Optimizer::new(&mut trained, sgd).unwrap();
    optimizer.train_step(&mut trained, x.view(), &[1, 2, 3, 4]).unwrap();
    assert_eq!(snapshot(&mut profiled), snapshot(&mut trained));
}

#[test]
fn schedules_are_those_of_pytorch() {
    let Some(golden) = Golden::open("schedulers") else { return };
    for (case, p) in golden_params("schedulers") {
        let number = |key: &str| p[key].as_f64().unwrap();
        let count = |key: &str| p[key].as_u64().unwrap();
        let schedule = match case.as_str() {
            c if c.starts_with("cosine") => {
                Schedule::Cosine { t_max: count("T_max"), eta_min: number("eta_min") }
            }
            c if c.starts_with("step") => {
                Schedule::Step { step_size: count("step_size"), gamma: number("gamma") }
            }
            "multistep" => {
                let milestones = p["milestones"].as_array().unwrap().iter().map(|m| m.as_u64().unwrap());
                Schedule::MultiStep { milestones: milestones.collect(), gamma: number("gamma") }
            }
            "exponential" => Schedule::Exponential { gamma: number("gamma") },
            other => panic!("{other}"),
        };
        schedule.validate().unwrap();
        let base = number("base_lr");
        for (epoch, expected) in golden.tensor(&format!("{case}.f64.lr")).to_f64().into_iter().enumerate() {
            let rate = schedule.learning_rate(base, epoch as u64);
            // PyTorch's recursions collect rounding errors over the epochs.
            assert!(
                (rate - expected).abs() <= 1e-12 * base,
                "{case} epoch {epoch}: {rate:e} for {expected:e}"
            );
        }
    }
}
