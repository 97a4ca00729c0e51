//! Our side of compare.py: `compare WORK` measures one piece of work and prints a line of JSON. Networks, weights, data and
//! the names of the work are those of torch_peer.py.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tiebreak::net::{Network, zoo};
use tiebreak::shape::{Pool2dGeometry, Window2d};
use tiebreak::train::{Optimizer, OptimizerOptions};
use tiebreak::*;

const PLANES: [usize; 4] = [128, 64, 32, 32];
const PARAMETERS: usize = 10_000_000;
const BETA: f64 = 100.0;

/// Number `i` of a stream, in (-1, 1); every dtype holds it.
fn uniform(stream: u64, i: usize) -> f64 {
    let mut z = 80_871_424u64.wrapping_add(stream << 40);
    z = z.wrapping_add((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (2.0 * (z >> 54) as f64 - 1023.0) / 1024.0
}

fn tensor(dtype: DType, shape: &[usize], value: impl Fn(usize) -> f64) -> Result<Tensor> {
    let values: Vec<f64> = (0..shape.iter().product()).map(value).collect();
    Tensor::from_f64(dtype, shape, &values)
}

type Run = Box<dyn FnMut() -> Result<f64>>;

/// A piece of work, and what it has to do.
struct Task {
    run: Run,
    work: Work,
}

impl Task {
    fn new(operations: u64, bytes: usize, run: impl FnMut() -> Result<f64> + 'static) -> Task {
        Task { run: Box::new(run), work: Work { operations, bytes: bytes as u64 } }
    }
}

fn kink(choice: &str) -> MaxPoolKink {
    match choice {
        "published" => MaxPoolKink::beta(BETA, Composition::Coupled),
        "exact" => MaxPoolKink::beta(BETA, Composition::Exact),
        "minimal" => MaxPoolKink::beta(1.0, Composition::Exact),
        _ => MaxPoolKink::default(),
    }
}

fn network(engine: &Engine, name: &str, dtype: DType, choice: &str) -> Result<Network> {
    let mut network = Network::new(engine, &zoo::by_name(name, &Default::default())?, dtype, 1)?;
    let parameters: Vec<_> = network.parameters().cloned().collect();
    let mut stream = 0;
    for parameter in parameters {
        let value = if parameter.shape.len() > 1 {
            stream += 1;
            let fan_in: usize = parameter.shape[1..].iter().product();
            let scale = 2f64.powf((6.0 / fan_in as f64).sqrt().log2().floor());
            tensor(dtype, &parameter.shape, |i| uniform(stream, i) * scale)?
        } else {
            // The weight of a batch normalisation is 1 already.
            match parameter.name.ends_with("bias") {
                true => Tensor::zeros(dtype, &parameter.shape)?,
                false => continue,
            }
        };
        network.set_parameter(&parameter.name, value.view())?;
    }
    network.set_kink(None, Kink::MaxPool(kink(choice)))?;
    Ok(network)
}

fn batch(network: &Network, size: usize, dtype: DType) -> Result<(Tensor, Vec<i64>)> {
    let mut shape = vec![size];
    shape.extend(&network.layers()[0].shape);
    let x = tensor(dtype, &shape, |i| uniform(0, i).max(0.0))?;
    Ok((x, (0..size as i64).map(|i| (7 * i + 3) % 10).collect()))
}

fn step(engine: &Engine, name: &str, size: usize, dtype: DType, choice: &str) -> Result<Task> {
    let mut network = network(engine, name, dtype, choice)?;
    let sgd = SgdOptions { learning_rate: 0.001, momentum: 0.9, weight_decay: 5e-4, ..Default::default() };
    let mut optimizer = Optimizer::new(&mut network, OptimizerOptions::from(sgd))?;
    let (x, labels) = batch(&network, size, dtype)?;
    let work = network.work(size, true)?;
    let run = move || {
        optimizer.train_step(&mut network, x.view(), &labels)?;
        network.loss()
    };
    Ok(Task { run: Box::new(run), work })
}

fn comparison(engine: &Engine, name: &str, size: usize, dtype: DType) -> Result<Task> {
    let mut network = network(engine, name, dtype, "native")?;
    let (x, labels) = batch(&network, size, dtype)?;
    let [forward, both] = [network.work(size, false)?, network.work(size, true)?];
    let twice = |both, forward| 2 * both - forward;
    let work = Work {
        operations: twice(both.operations, forward.operations),
        bytes: twice(both.bytes, forward.bytes),
    };
    let run = move || {
        let other = Kink::MaxPool(MaxPoolKink::beta(BETA, Composition::Split));
        Ok(network.compare(x.view(), &labels, &[vec![other.into()]])?[0].l1())
    };
    Ok(Task { run: Box::new(run), work })
}

fn operator(engine: Engine, name: &str, dtype: DType, choice: &str) -> Result<Task> {
    // Each tensor that a pass reads or writes, once: such an operator needs nothing else.
    let (large, parameters) = (PLANES.iter().product::<usize>() * dtype.size(), PARAMETERS * dtype.size());
    let planes = |stream: u64| tensor(dtype, &PLANES, |i| uniform(stream, i));
    let flat = |stream: u64| tensor(dtype, &[PARAMETERS], |i| uniform(stream, i));
    let zeros = |shape: &[usize]| Tensor::zeros(dtype, shape);
    Ok(match name {
        "maxpool2d" => {
            let (window, kink) = (Window2d::new(2, 2, 0), kink(choice));
            let g = Pool2dGeometry::new(PLANES, window)?;
            let (x, mut y, mut gx) = (planes(0)?, zeros(&g.y_shape())?, zeros(&PLANES)?);
            let gy = tensor(dtype, &g.y_shape(), |i| uniform(3, i))?;
            let mut ties = vec![0; g.ties_shape().iter().product()];
            Task::new(0, 2 * (large + large / 4 + ties.len()), move || {
                engine.maxpool2d_forward(x.view(), window, kink, y.view_mut(), &mut ties)?;
                engine.maxpool2d_backward(gy.view(), &ties, window, kink, gx.view_mut())?;
                Ok(0.0)
            })
        }
        "relu" => {
            let (x, gy, mut y, mut gx) = (planes(0)?, planes(3)?, zeros(&PLANES)?, zeros(&PLANES)?);
            Task::new(0, 5 * large, move || {
                engine.relu_forward(x.view(), y.view_mut())?;
                engine.relu_backward(x.view(), gy.view(), ReluKink::default(), gx.view_mut())?;
                Ok(0.0)
            })
        }
        "batchnorm" => {
            let (x, gy, mut y, mut gx) = (planes(0)?, planes(3)?, zeros(&PLANES)?, zeros(&PLANES)?);
            let channels = [PLANES[1]];
            let (weight, bias) = (tensor(dtype, &channels, |_| 1.0)?, zeros(&channels)?);
            let (mut gweight, mut gbias) = (zeros(&channels)?, zeros(&channels)?);
            let mut running = [zeros(&channels)?, tensor(dtype, &channels, |_| 1.0)?];
            let [mut mean, mut inv_std] = [0, 1].map(|_| Tensor::zeros(dtype.accumulate(), &channels));
            Task::new(0, 5 * large, move || {
                let (mean, inv_std) = (mean.as_mut().expect("a tensor"), inv_std.as_mut().expect("a tensor"));
                let parameters = BatchNormParameters { weight: weight.view(), bias: bias.view() };
                let [running_mean, running_var] = &mut running;
                let running =
                    RunningStatistics { mean: running_mean.view_mut(), var: running_var.view_mut() };
                let statistics = BatchStatistics { mean: mean.view_mut(), inv_std: inv_std.view_mut() };
                let options = BatchNormOptions::default();
                engine.batchnorm_forward(
                    x.view(),
                    parameters,
                    &options,
                    Some(running),
                    y.view_mut(),
                    statistics,
                )?;
                let statistics = BatchStatistics { mean: mean.view(), inv_std: inv_std.view() };
                let gradients = BatchNormGradients {
                    gx: gx.view_mut(),
                    gweight: gweight.view_mut(),
                    gbias: gbias.view_mut(),
                };
                engine.batchnorm_backward(x.view(), gy.view(), weight.view(), statistics, gradients)?;
                Ok(0.0)
            })
        }
        "sgd" => {
            let (mut param, grad, mut buffer) = (flat(1)?, flat(2)?, flat(2)?);
            let sgd =
                SgdOptions { learning_rate: 0.001, momentum: 0.9, weight_decay: 5e-4, ..Default::default() };
            Task::new(0, 5 * parameters, move || {
                engine.sgd_step(&sgd, grad.view(), param.view_mut(), Some(buffer.view_mut()), false)?;
                Ok(0.0)
            })
        }
        "adam" => {
            let (mut param, grad) = (flat(1)?, flat(2)?);
            let (mut mean, mut square, mut step) = (zeros(&[PARAMETERS])?, zeros(&[PARAMETERS])?, 0);
            let adam = AdamOptions { eps: 1e-3, ..Default::default() };
            Task::new(0, 7 * parameters, move || {
                step += 1;
                let state = AdamState {
                    exp_avg: mean.view_mut(),
                    exp_avg_sq: square.view_mut(),
                    max_exp_avg_sq: None,
                };
                engine.adam_step(&adam, grad.view(), param.view_mut(), state, step)?;
                Ok(0.0)
            })
        }
        _ => panic!("unknown operator {name}"),
    })
}

/// What the machine can do: a product of two matrices 1024 x 1024, and STREAM's triad, a = b + s c.
fn limit(engine: Engine, name: &str, dtype: DType, threads: usize) -> Result<Task> {
    match name {
        "gemm" => {
            let shape = [1024, 1024];
            let matrix = |stream: u64| tensor(dtype, &shape, |i| uniform(stream, i));
            let (x, weight, mut y) = (matrix(0)?, matrix(1)?, Tensor::zeros(dtype, &shape)?);
            Ok(Task::new(2 << 30, 0, move || {
                engine.linear_forward(x.view(), weight.view(), None, y.view_mut())?;
                Ok(0.0)
            }))
        }
        "triad" => {
            let len = PLANES.iter().product::<usize>();
            let [mut a, b, c] = [0.0f32, 1.0, 2.0].map(|v| vec![v; len]);
            Ok(Task::new(0, 3 * len * size_of::<f32>(), move || {
                let part = len.div_ceil(threads);
                std::thread::scope(|scope| {
                    for (a, (b, c)) in a.chunks_mut(part).zip(b.chunks(part).zip(c.chunks(part))) {
                        let triad = |(a, (b, c)): (&mut f32, (&f32, &f32))| *a = b + 3.0 * c;
                        scope.spawn(move || a.iter_mut().zip(b.iter().zip(c)).for_each(triad));
                    }
                });
                Ok(0.0)
            }))
        }
        _ => panic!("unknown limit {name}"),
    }
}

fn main() -> Result<()> {
    let work = std::env::args().skip(1).find(|a| !a.starts_with("--")).expect("a piece of work");
    let number = |name: &str, default: f64| -> f64 {
        std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let threads = number("THREADS", 2.0) as usize;
    let engine = Engine::new(&EngineOptions {
        device: if number("GPU", 0.0) > 0.0 { Device::Gpu } else { Device::Cpu },
        threads,
        ..Default::default()
    })?;
    let parts: Vec<&str> = work.split('/').collect();
    let size = |text: &str| text.parse::<usize>().expect("a batch size");
    let Task { mut run, work: amount } = match parts[..] {
        ["step", name, batch, dtype, choice] => step(&engine, name, size(batch), dtype.parse()?, choice)?,
        ["compare", name, batch, dtype] => comparison(&engine, name, size(batch), dtype.parse()?)?,
        ["operator", name, dtype, choice] => operator(engine, name, dtype.parse()?, choice)?,
        ["limit", name, dtype] => limit(engine, name, dtype.parse()?, threads)?,
        _ => panic!("unknown work {work}"),
    };
    let mut results = vec![run()?];
    let first_step = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64();
    results.push(run()?);
    let (mut seconds, spend) = (Vec::new(), number("SECONDS", 3.0));
    while seconds.len() < 3 || (seconds.iter().sum::<f64>() < spend && seconds.len() < 200) {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let line = serde_json::json!({
        "seconds": seconds, "results": results, "first_step": first_step, "version": env!("CARGO_PKG_VERSION"),
        "operations": amount.operations, "bytes": amount.bytes,
    });
    println!("{line}");
    Ok(())
}
