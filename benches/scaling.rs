//! Time and memory of a training step against batch, width and depth of a network:
//! `cargo bench --bench scaling`. Draws target/scaling/{batch,width,depth}.svg and prints what they show.
//!
//! Everything is relative to the smallest size and to the growth of the arithmetic: 1 is linear, below 1 is better.

use std::time::Instant;

use tiebreak::net::{Network, zoo};
use tiebreak::report::plot::{Chart, Mark, Point, Series, chart};
use tiebreak::train::Optimizer;
use tiebreak::{DType, Engine, EngineOptions, Result, SgdOptions, Tensor};

const STEPS: usize = 5;
const PRECISIONS: [DType; 3] = [DType::F16, DType::F32, DType::F64];

/// A network of the zoo at some size.
struct Case {
    tick: String,
    network: &'static str,
    base_width: usize,
    batch: usize,
}

struct Measured {
    operations: f64,
    seconds: f64,
    bytes: f64,
}

fn measure(engine: &Engine, case: &Case, precision: DType) -> Result<Measured> {
    let options = zoo::Options { base_width: case.base_width, ..Default::default() };
    let mut network = Network::new(engine, &zoo::by_name(case.network, &options)?, precision, 1)?;
    let mut optimizer = Optimizer::new(&mut network, SgdOptions::default())?;
    let mut shape = vec![case.batch];
    shape.extend(&network.layers()[0].shape);
    let values: Vec<f64> = (0..shape.iter().product()).map(|i: usize| (i % 97) as f64 / 97.0).collect();
    let x = Tensor::from_f64(precision, &shape, &values)?;
    let labels: Vec<i64> = (0..case.batch as i64).map(|i| i % 10).collect();
    let mut seconds = f64::INFINITY;
    for _ in 0..STEPS {
        let start = Instant::now();
        optimizer.train_step(&mut network, x.view(), &labels)?;
        network.loss()?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    let operations = network.work(case.batch, true)?.operations as f64;
    Ok(Measured { operations, seconds, bytes: network.allocated_bytes() as f64 })
}

fn draw(engine: &Engine, axis: &str, network: &str, cases: &[Case]) -> Result<()> {
    let mut series = Vec::new();
    println!(
        "\n{network}: {axis}, then for each size the growth of the arithmetic, and of time and memory over it"
    );
    for precision in PRECISIONS {
        let measured: Vec<Measured> =
            cases.iter().map(|case| measure(engine, case, precision)).collect::<Result<_>>()?;
        let first = &measured[0];
        let growth = |m: &Measured| m.operations / first.operations;
        let lines = [
            ("time", measured.iter().map(|m| m.seconds / first.seconds / growth(m)).collect::<Vec<f64>>()),
            ("memory", measured.iter().map(|m| m.bytes / first.bytes / growth(m)).collect()),
        ];
        for ((case, m), (time, memory)) in cases.iter().zip(&measured).zip(lines[0].1.iter().zip(&lines[1].1))
        {
            println!(
                "{precision:<5} {:>5}  arithmetic {:>7.2}  time {time:.2} ({:.2} ms)  memory {memory:.2} ({:.1} MB)",
                case.tick,
                growth(m),
                m.seconds * 1e3,
                m.bytes / 1e6
            );
        }
        for (what, values) in lines {
            // The growth of memory is that of every type.
            if what == "memory" && precision != DType::F32 {
                continue;
            }
            let points = values.iter().enumerate();
            let points = points.map(|(x, &y)| Point { x: x as f64, y, low: y, high: y, failed: false });
            series.push(Series { name: format!("{what}, {precision}"), points: points.collect() });
        }
    }
    let highest = series.iter().flat_map(|s| &s.points).fold(1.0f64, |m, p| m.max(p.y));
    let svg = chart(&Chart {
        mark: Mark::Lines,
        title: format!("{network}, a training step"),
        x_label: axis.into(),
        y_label: "growth over that of the arithmetic".into(),
        x_ticks: cases.iter().enumerate().map(|(i, case)| (i as f64, case.tick.clone())).collect(),
        y_range: (0.0, 1.1 * highest),
        reference: Some((1.0, "linear".into())),
        failure: String::new(),
        series,
    })?;
    let name = axis.split(' ').next().expect("a word");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/target/scaling");
    let written =
        std::fs::create_dir_all(folder).and_then(|()| std::fs::write(format!("{folder}/{name}.svg"), svg));
    written.expect("the picture can be written");
    Ok(())
}

fn main() -> Result<()> {
    let engine = Engine::new(&EngineOptions::default())?;
    let case =
        |network, base_width, batch, tick: usize| Case { tick: tick.to_string(), network, base_width, batch };
    let batches = [1, 2, 4, 8, 16, 32, 64, 128, 256];
    let cases: Vec<Case> = batches.into_iter().map(|n| case("lenet5", 64, n, n)).collect();
    draw(&engine, "batch", "LeNet-5", &cases)?;
    let cases: Vec<Case> = [8, 16, 32, 64, 96].into_iter().map(|w| case("vgg11", w, 16, w)).collect();
    draw(&engine, "width of the first convolution, batch 16", "VGG11", &cases)?;
    let networks = [(11, "vgg11"), (13, "vgg13"), (16, "vgg16"), (19, "vgg19")];
    let cases: Vec<Case> = networks.into_iter().map(|(depth, name)| case(name, 64, 16, depth)).collect();
    draw(&engine, "depth (layers with weights), batch 16", "VGG", &cases)?;
    println!("\ndrawn in target/scaling");
    Ok(())
}
