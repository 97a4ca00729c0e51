//! Where the time of a training step goes.

use tiebreak::net::{Graph, KernelProfile, Network};
use tiebreak::train::Optimizer;
use tiebreak::{Engine, Precision, Result, SgdOptions, Tensor, Work};

const STEPS: usize = 5;

/// Prints, for each kernel of each layer in the order of a step, its fastest time, its share, its rates, and how near
/// these are to the best that the engine reaches here.
pub fn print(
    engine: &Engine,
    network: &mut Network,
    optimizer: &mut Optimizer,
    batches: impl Iterator<Item = Result<(Tensor, Vec<i64>)>>,
) -> Result<()> {
    let mut kernels: Vec<KernelProfile> = Vec::new();
    // The first step warms up.
    for (step, batch) in batches.take(STEPS + 1).enumerate() {
        let (x, labels) = batch?;
        let times = optimizer.profile_step(network, x.view(), &labels)?;
        // A last batch with fewer images has other work.
        let same = times.len() == kernels.len() && times.iter().zip(&kernels).all(|(a, b)| a.work == b.work);
        if step < 2 {
            kernels = times;
        } else if same {
            kernels.iter_mut().zip(times).for_each(|(k, t)| k.seconds = k.seconds.min(t.seconds));
        }
    }
    let limits = Limits::measure(engine, network.precision())?;
    let total: f64 = kernels.iter().map(|k| k.seconds).sum();
    println!(
        "best rates of this engine here: {:.0} GFLOP/s, {:.1} GB/s",
        limits.operations / 1e9,
        limits.bytes / 1e9
    );
    println!(
        "{:<24} {:<30} {:>10} {:>7} {:>9} {:>8} {:>8}",
        "layer", "kernel", "ms", "share", "GFLOP/s", "GB/s", "of best"
    );
    let row = |layer: &str, kernel: &str, seconds: f64, work: Work| {
        let rate = |amount: u64| match amount {
            0 => "-".to_string(),
            amount => format!("{:.1}", amount as f64 / seconds / 1e9),
        };
        let needed = limits.seconds(work);
        let nearness = if needed > 0.0 { format!("{:.0} %", 100.0 * needed / seconds) } else { "-".into() };
        println!(
            "{layer:<24} {kernel:<30} {:>10.3} {:>5.1} % {:>9} {:>8} {nearness:>8}",
            seconds * 1e3,
            100.0 * seconds / total,
            rate(work.operations),
            rate(work.bytes),
        );
    };
    let mut sum = Work::default();
    for k in &kernels {
        sum += k.work;
    }
    // The optimizer has a kernel for each tensor.
    let (optimizer, layers): (Vec<_>, Vec<_>) = kernels.iter().partition(|k| k.layer == "optimizer");
    layers.iter().for_each(|k| row(&k.layer, k.kernel, k.seconds, k.work));
    if let Some(first) = optimizer.first() {
        let mut work = Work::default();
        optimizer.iter().for_each(|k| work += k.work);
        row("optimizer", first.kernel, optimizer.iter().map(|k| k.seconds).sum(), work);
    }
    row("all", "", total, sum);
    Ok(())
}

/// Operations and bytes a second.
struct Limits {
    operations: f64,
    bytes: f64,
}

impl Limits {
    /// Of a product of matrices 1024 x 1024, and of a ReLU on 64 MB and more.
    fn measure(engine: &Engine, precision: Precision) -> Result<Limits> {
        let mut product = Graph::new([1, 1, 1024]);
        let x = product.flatten("flatten", product.input())?;
        product.linear("linear", x, 1024, false)?;
        let mut memory = Graph::new([16, 32, 32]);
        let x = memory.relu("relu", memory.input())?;
        let x = memory.adaptive_avgpool2d("pool", x)?;
        let x = memory.flatten("flatten", x)?;
        memory.linear("linear", x, 10, false)?;
        let best = |graph: &Graph, rate: &dyn Fn(&KernelProfile) -> f64| -> Result<f64> {
            let mut network = Network::new(engine, graph, precision, 0)?;
            let mut optimizer = Optimizer::new(&mut network, SgdOptions::default())?;
            let mut shape = vec![1024];
            shape.extend(&network.layers()[0].shape);
            let (x, labels) = (Tensor::zeros(precision.storage, &shape)?, vec![0; 1024]);
            let mut best = 0.0f64;
            for _ in 0..STEPS {
                let kernels = optimizer.profile_step(&mut network, x.view(), &labels)?;
                best = kernels.iter().map(rate).fold(best, f64::max);
            }
            Ok(best)
        };
        Ok(Limits {
            operations: best(&product, &|k| k.work.operations as f64 / k.seconds)?,
            bytes: best(&memory, &|k| match k.layer == "relu" {
                true => k.work.bytes as f64 / k.seconds,
                false => 0.0,
            })?,
        })
    }

    /// The least time that a kernel could take.
    fn seconds(&self, work: Work) -> f64 {
        (work.operations as f64 / self.operations).max(work.bytes as f64 / self.bytes)
    }
}
