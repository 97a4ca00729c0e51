//! Convolutions over the layer shapes of whole networks: `cargo bench --bench operators [-- words]`.
//!
//! Words pick what runs: networks and batch sizes (`vgg11:128`, `lenet5`), dtypes (`f16`). Prints the time of the fastest
//! of several runs and GFLOP/s (a multiply-add counts as two) of each pass, and the sum over the convolutions of each
//! network, without the gradient of the first one's input, which no training step computes.

use std::time::Instant;

use tiebreak::shape::{Conv2dGeometry, Conv2dOptions, Window2d};
use tiebreak::{DType, Device, Engine, EngineOptions, Result, Tensor};

const RUNS: usize = 5;

/// Channels in and out, extent of the image, kernel, stride, padding, groups, and how often the layer occurs.
type Layer = (usize, usize, usize, usize, usize, usize, usize, usize);

const LENET5: &[Layer] = &[(1, 6, 28, 5, 1, 0, 1, 1), (6, 16, 12, 5, 1, 0, 1, 1)];
const VGG11: &[Layer] = &[
    (3, 64, 32, 3, 1, 1, 1, 1),
    (64, 128, 16, 3, 1, 1, 1, 1),
    (128, 256, 8, 3, 1, 1, 1, 1),
    (256, 256, 8, 3, 1, 1, 1, 1),
    (256, 512, 4, 3, 1, 1, 1, 1),
    (512, 512, 4, 3, 1, 1, 1, 1),
    (512, 512, 2, 3, 1, 1, 1, 2),
];
const RESNET18: &[Layer] = &[
    (3, 64, 32, 3, 1, 1, 1, 1),
    (64, 64, 16, 3, 1, 1, 1, 4),
    (64, 128, 16, 3, 2, 1, 1, 1),
    (64, 128, 16, 1, 2, 0, 1, 1),
    (128, 128, 8, 3, 1, 1, 1, 3),
    (128, 256, 8, 3, 2, 1, 1, 1),
    (128, 256, 8, 1, 2, 0, 1, 1),
    (256, 256, 4, 3, 1, 1, 1, 3),
    (256, 512, 4, 3, 2, 1, 1, 1),
    (256, 512, 4, 1, 2, 0, 1, 1),
    (512, 512, 2, 3, 1, 1, 1, 3),
];
const OTHERS: &[Layer] = &[(256, 256, 16, 3, 1, 1, 256, 1), (256, 64, 16, 1, 1, 0, 1, 1)];

/// Name, batch sizes, layers.
const NETWORKS: &[(&str, &[usize], &[Layer])] = &[
    ("lenet5", &[128], LENET5),
    ("vgg11", &[32, 128], VGG11),
    ("resnet18", &[32], RESNET18),
    ("depthwise and 1x1", &[32], OTHERS),
];

fn tensor(dtype: DType, shape: &[usize]) -> Result<Tensor> {
    let values: Vec<f64> =
        (0..shape.iter().product()).map(|i| ((i * 37) % 101) as f64 / 101.0 - 0.5).collect();
    Tensor::from_f64(dtype, shape, &values)
}

/// Seconds of the fastest of several runs.
fn fastest(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    run()?;
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Seconds of forward, backward input and backward weight.
fn time_layer(engine: &Engine, dtype: DType, batch: usize, layer: Layer) -> Result<([f64; 3], f64)> {
    let (c, o, size, kernel, stride, padding, groups, _) = layer;
    let g = Conv2dGeometry::new([batch, c, size, size], o, Window2d::new(kernel, stride, padding), groups)?;
    let options = Conv2dOptions { stride: [stride; 2], padding: [padding; 2], groups, ..Default::default() };
    let (x, weight, bias) =
        (tensor(dtype, &g.x_shape())?, tensor(dtype, &g.weight_shape())?, tensor(dtype, &[o])?);
    let gy = tensor(dtype, &g.y_shape())?;
    let mut y = Tensor::zeros(dtype, &g.y_shape())?;
    let mut gx = Tensor::zeros(dtype, &g.x_shape())?;
    let mut gweight = Tensor::zeros(dtype, &g.weight_shape())?;
    let mut gbias = Tensor::zeros(dtype, &[o])?;
    let seconds = [
        fastest(|| engine.conv2d_forward(x.view(), weight.view(), Some(bias.view()), options, y.view_mut()))?,
        fastest(|| engine.conv2d_backward_input(gy.view(), weight.view(), options, gx.view_mut()))?,
        fastest(|| {
            let gbias = Some(gbias.view_mut());
            engine.conv2d_backward_weight(x.view(), gy.view(), options, gweight.view_mut(), gbias)
        })?,
    ];
    Ok((seconds, 2.0 * (batch * o * g.patch_len() * g.output_pixels()) as f64))
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let threads = std::env::var("THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(0);
    let engine = Engine::new(&EngineOptions { device: Device::Cpu, threads, ..Default::default() })?;
    let dtypes: Vec<DType> = words.iter().filter_map(|w| w.parse().ok()).collect();
    let dtypes = if dtypes.is_empty() { vec![DType::F32, DType::F16, DType::F64] } else { dtypes };
    let names: Vec<&String> = words.iter().filter(|w| w.parse::<DType>().is_err()).collect();
    println!("{} threads; fastest of {RUNS} runs", engine.info().threads);
    for &(name, batches, layers) in NETWORKS {
        for &batch in batches {
            let label = format!("{name}:{batch}");
            if !names.is_empty() && !names.iter().any(|n| label.starts_with(n.as_str())) {
                continue;
            }
            for &dtype in &dtypes {
                let mut total = [0.0; 3];
                println!(
                    "\n{name}, batch {batch}, {dtype:<16} forward            backward input     backward weight"
                );
                for (i, &layer) in layers.iter().enumerate() {
                    let (seconds, flops) = time_layer(&engine, dtype, batch, layer)?;
                    let (c, o, size, kernel, stride, _, groups, times) = layer;
                    print!("{c:>4} to {o:>3}, {size:>2}x{size:<2} k{kernel} s{stride} g{groups:<3} x{times}");
                    for (pass, &s) in seconds.iter().enumerate() {
                        print!(" {:>8.3} ms {:>6.1}", s * 1e3, flops / s * 1e-9);
                        if (i, pass) != (0, 1) {
                            total[pass] += times as f64 * s;
                        }
                    }
                    println!();
                }
                let [forward, input, weight] = total.map(|s| s * 1e3);
                let all = forward + input + weight;
                println!(
                    "all convolutions: {all:.1} ms (forward {forward:.1}, input {input:.1}, weight {weight:.1})"
                );
            }
        }
    }
    Ok(())
}
