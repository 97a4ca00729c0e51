//! Whole training steps of LeNet-5 at batch 128: `cargo bench --bench train_step [-- gpu]`.
//!
//! Prints the median and the spread (10th to 90th percentile) of each variant, measured in turn in one run, and
//! the ratio to the first. benches/README.md keeps a table.

use std::time::Instant;

use tiebreak::net::{Network, zoo};
use tiebreak::train::Sgd;
use tiebreak::{
    Composition, DType, Device, Engine, EngineOptions, Kink, MaxPoolKink, Result, SgdOptions, Tensor,
};

const BATCH: usize = 128;

struct Variant {
    name: String,
    network: Network,
    sgd: Sgd,
    x: Tensor,
    seconds: Vec<f64>,
}

fn main() -> Result<()> {
    let start = Instant::now();
    let gpu = std::env::args().any(|a| a == "gpu");
    let device = if gpu { Device::Gpu } else { Device::Cpu };
    let threads = std::env::var("THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(0);
    let engine = Engine::new(&EngineOptions { device, threads, ..Default::default() })?;
    let info = engine.info();
    println!("{} ({}), {} threads", info.name, info.driver, info.threads);
    let labels: Vec<i64> = (0..BATCH as i64).map(|i| i % 10).collect();
    let mut variants = Vec::new();
    for dtype in [DType::F32, DType::F16, DType::F64] {
        if gpu && dtype == DType::F64 {
            continue;
        }
        let kinks = [
            ("native", MaxPoolKink::default()),
            ("beta 100 exact", MaxPoolKink::beta(100.0, Composition::Exact)),
            ("beta 100 coupled", MaxPoolKink::beta(100.0, Composition::Coupled)),
        ];
        for (name, kink) in kinks {
            let mut network = Network::new(&engine, &zoo::lenet5(&Default::default())?, dtype, 1)?;
            network.set_kink(None, Kink::MaxPool(kink))?;
            let options = SgdOptions { learning_rate: 0.001, momentum: 0.9, ..Default::default() };
            let sgd = Sgd::new(&mut network, options)?;
            // Strokes on a flat background, so that windows tie as they do on digits.
            let pixel =
                |i: usize| if (i / 28) % 5 == 2 || i % 7 == 3 { (i % 97) as f64 / 97.0 } else { -1.0 };
            let values: Vec<f64> = (0..BATCH * 784).map(pixel).collect();
            let x = Tensor::from_f64(dtype, &[BATCH, 1, 28, 28], &values)?;
            variants.push(Variant { name: format!("{dtype} {name}"), network, sgd, x, seconds: vec![] });
        }
    }
    let v = &mut variants[0];
    v.sgd.train_step(&mut v.network, v.x.view(), &labels)?;
    v.network.loss()?;
    println!("process start to the end of the first step: {:.3} s", start.elapsed().as_secs_f64());
    let rounds = if gpu { 10 } else { 60 };
    for round in 0..rounds + 3 {
        for v in &mut variants {
            let start = Instant::now();
            v.sgd.train_step(&mut v.network, v.x.view(), &labels)?;
            v.network.loss()?;
            if round >= 3 {
                v.seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    println!("{:<24} {:>9} {:>17} {:>6}", "LeNet-5, batch 128", "median", "10 % to 90 %", "ratio");
    let mut base = None;
    for v in &mut variants {
        v.seconds.sort_by(f64::total_cmp);
        let at = |q: f64| v.seconds[((v.seconds.len() - 1) as f64 * q) as usize] * 1e3;
        let base = *base.get_or_insert(at(0.5));
        let (low, mid, high) = (at(0.1), at(0.5), at(0.9));
        println!("{:<24} {mid:>6.2} ms {low:>6.2} to {high:>6.2} {:>6.2}", v.name, mid / base);
    }
    for name in ["f32 native", "f16 native"] {
        let v = variants.iter_mut().find(|v| v.name == name).expect("a variant of that name");
        print_profile(v, &labels)?;
    }
    Ok(())
}

/// Share of each kernel in a step that runs one kernel at a time: the mean of ten.
fn print_profile(v: &mut Variant, labels: &[i64]) -> Result<()> {
    const STEPS: usize = 10;
    let mut kernels: Vec<(&str, f64)> = Vec::new();
    for _ in 0..STEPS {
        for time in v.sgd.profile_step(&mut v.network, v.x.view(), labels)? {
            match kernels.iter_mut().find(|(name, _)| *name == time.name) {
                Some((_, seconds)) => *seconds += time.seconds,
                None => kernels.push((time.name, time.seconds)),
            }
        }
    }
    let total: f64 = kernels.iter().map(|(_, seconds)| seconds).sum();
    kernels.sort_by(|a, b| b.1.total_cmp(&a.1));
    println!("\nkernels of {}: {:.2} ms", v.name, total / STEPS as f64 * 1e3);
    for (name, seconds) in kernels {
        println!("  {name:<32} {:>7.3} ms {:>5.1} %", seconds / STEPS as f64 * 1e3, 100.0 * seconds / total);
    }
    Ok(())
}
