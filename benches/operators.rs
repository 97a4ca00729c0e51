//! Each operator of the CPU engine by itself: `cargo bench --bench operators [-- WORDS]`.
//!
//! WORDS pick the benchmarks whose names hold them: `conv2d_forward/f32`, `sgd`, `maxpool2d.*beta`. Names are
//! operator / dtype / size. Convolutions and linear layers report operations (a multiply-add counts as two), all else
//! bytes read and written. `THREADS=1` takes one thread. Convolutions are those of LeNet-5 (batch 128), VGG11 and ResNet18
//! (batch 32).

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tiebreak::shape::{Conv2dGeometry, Conv2dOptions, Pool2dGeometry, Window2d};
use tiebreak::*;

/// Batch size, channels in and out, extent of the image, kernel, stride, padding, groups.
const CONVOLUTIONS: &[[usize; 8]] = &[
    [128, 1, 6, 28, 5, 1, 0, 1],
    [128, 6, 16, 12, 5, 1, 0, 1],
    [32, 3, 64, 32, 3, 1, 1, 1],
    [32, 64, 64, 16, 3, 1, 1, 1],
    [32, 64, 128, 16, 3, 1, 1, 1],
    [32, 64, 128, 16, 3, 2, 1, 1],
    [32, 64, 128, 16, 1, 2, 0, 1],
    [32, 128, 256, 8, 3, 1, 1, 1],
    [32, 256, 512, 4, 3, 1, 1, 1],
    [32, 512, 512, 4, 3, 1, 1, 1],
    [32, 512, 512, 2, 3, 1, 1, 1],
    [32, 256, 256, 16, 3, 1, 1, 256],
];

/// The plane of FIELD's comparisons: large enough to leave the caches.
const PLANES: [usize; 4] = [128, 64, 32, 32];
const PARAMETERS: usize = 10_000_000;

fn engine() -> Engine {
    let threads = std::env::var("THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(0);
    Engine::new(&EngineOptions { device: Device::Cpu, threads, ..Default::default() }).expect("the CPU")
}

/// Numbers from -1/2 to 1/2 with ties.
fn tensor(dtype: DType, shape: &[usize]) -> Tensor {
    let values: Vec<f64> =
        (0..shape.iter().product()).map(|i| ((i * 37) % 101) as f64 / 101.0 - 0.5).collect();
    Tensor::from_f64(dtype, shape, &values).expect("a tensor")
}

fn zeros(dtype: DType, shape: &[usize]) -> Tensor {
    Tensor::zeros(dtype, shape).expect("a tensor")
}

struct Bench<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    size: String,
}

impl<'a> Bench<'a> {
    fn new(c: &'a mut Criterion, operator: &str, size: impl ToString) -> Bench<'a> {
        let mut group = c.benchmark_group(operator);
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(400));
        Bench { group, size: size.to_string() }
    }

    fn time(&mut self, dtype: DType, amount: Throughput, mut run: impl FnMut() -> Result<()>) {
        self.group.throughput(amount);
        let id = BenchmarkId::new(dtype.to_string(), &self.size);
        self.group.bench_function(id, |b| b.iter(|| run().expect("an operator that runs")));
    }
}

fn moved(tensors: &[&Tensor]) -> Throughput {
    Throughput::Bytes(tensors.iter().map(|t| t.bytes().len() as u64).sum())
}

fn convolutions(c: &mut Criterion) {
    let engine = engine();
    for &[batch, channels, o, size, kernel, stride, padding, groups] in CONVOLUTIONS {
        let window = Window2d::new(kernel, stride, padding);
        let g = Conv2dGeometry::new([batch, channels, size, size], o, window, groups).expect("a geometry");
        let options =
            Conv2dOptions { stride: [stride; 2], padding: [padding; 2], groups, ..Default::default() };
        let size = format!("{batch}x{channels}-{o} {size}x{size} k{kernel} s{stride} g{groups}");
        let work = Throughput::Elements(2 * (batch * o * g.patch_len() * g.output_pixels()) as u64);
        for dtype in DType::ALL {
            let (x, weight, bias) =
                (tensor(dtype, &g.x_shape()), tensor(dtype, &g.weight_shape()), tensor(dtype, &[o]));
            let (gy, mut y) = (tensor(dtype, &g.y_shape()), zeros(dtype, &g.y_shape()));
            let (mut gx, mut gweight, mut gbias) =
                (x.clone(), zeros(dtype, &g.weight_shape()), zeros(dtype, &[o]));
            Bench::new(c, "conv2d_forward", &size).time(dtype, work.clone(), || {
                engine.conv2d_forward(x.view(), weight.view(), Some(bias.view()), options, y.view_mut())
            });
            Bench::new(c, "conv2d_backward_input", &size).time(dtype, work.clone(), || {
                engine.conv2d_backward_input(gy.view(), weight.view(), options, gx.view_mut())
            });
            Bench::new(c, "conv2d_backward_weight", &size).time(dtype, work.clone(), || {
                let gbias = Some(gbias.view_mut());
                engine.conv2d_backward_weight(x.view(), gy.view(), options, gweight.view_mut(), gbias)
            });
        }
    }
}

fn poolings(c: &mut Criterion) {
    let engine = engine();
    let window = Window2d::new(2, 2, 0);
    let g = Pool2dGeometry::new(PLANES, window).expect("a geometry");
    let size = format!("{PLANES:?}");
    let jacobians = [
        ("native", MaxPoolKink::default()),
        ("minimal", MaxPoolKink::beta(1.0, Composition::Exact)),
        ("beta 100 exact", MaxPoolKink::beta(100.0, Composition::Exact)),
        ("beta 100 coupled", MaxPoolKink::beta(100.0, Composition::Coupled)),
    ];
    for dtype in DType::ALL {
        let (x, mut y) = (tensor(dtype, &g.x_shape()), zeros(dtype, &g.y_shape()));
        let (gy, mut gx) = (tensor(dtype, &g.y_shape()), zeros(dtype, &g.x_shape()));
        let mut ties = vec![0; g.ties_shape().iter().product()];
        for (name, kink) in jacobians {
            let moved = moved(&[&x, &y, &gy, &gx]);
            Bench::new(c, &format!("maxpool2d {name}, both passes"), &size).time(dtype, moved, || {
                engine.maxpool2d_forward(x.view(), window, kink, y.view_mut(), &mut ties)?;
                engine.maxpool2d_backward(gy.view(), &ties, window, kink, gx.view_mut())
            });
        }
    }
}

fn elementwise(c: &mut Criterion) {
    let engine = engine();
    let size = format!("{PLANES:?}");
    for dtype in DType::ALL {
        let (x, gy) = (tensor(dtype, &PLANES), tensor(dtype, &PLANES));
        let (mut y, mut gx) = (zeros(dtype, &PLANES), zeros(dtype, &PLANES));
        let bytes = moved(&[&x, &y]);
        Bench::new(c, "relu_forward", &size)
            .time(dtype, bytes, || engine.relu_forward(x.view(), y.view_mut()));
        let bytes = moved(&[&x, &gy, &gx]);
        Bench::new(c, "relu_backward", &size).time(dtype, bytes, || {
            engine.relu_backward(x.view(), gy.view(), ReluKink::default(), gx.view_mut())
        });
        let channels = [PLANES[1]];
        let (weight, bias) = (tensor(dtype, &channels), tensor(dtype, &channels));
        let (mut mean, mut inv_std) =
            (zeros(dtype.accumulate(), &channels), zeros(dtype.accumulate(), &channels));
        let (mut gweight, mut gbias) = (zeros(dtype, &channels), zeros(dtype, &channels));
        let options = BatchNormOptions::default();
        let bytes = moved(&[&x, &x, &y]);
        Bench::new(c, "batchnorm_forward", &size).time(dtype, bytes, || {
            let parameters = BatchNormParameters { weight: weight.view(), bias: bias.view() };
            let statistics = BatchStatistics { mean: mean.view_mut(), inv_std: inv_std.view_mut() };
            engine.batchnorm_forward(x.view(), parameters, &options, None, y.view_mut(), statistics)
        });
        let bytes = moved(&[&x, &gy, &x, &gy, &gx]);
        Bench::new(c, "batchnorm_backward", &size).time(dtype, bytes, || {
            let statistics = BatchStatistics { mean: mean.view(), inv_std: inv_std.view() };
            let gradients = BatchNormGradients {
                gx: gx.view_mut(),
                gweight: gweight.view_mut(),
                gbias: gbias.view_mut(),
            };
            engine.batchnorm_backward(x.view(), gy.view(), weight.view(), statistics, gradients)
        });
    }
}

fn optimizers(c: &mut Criterion) {
    let engine = engine();
    for dtype in DType::ALL {
        let grad = tensor(dtype, &[PARAMETERS]);
        let mut param = tensor(dtype, &[PARAMETERS]);
        let mut state = [tensor(dtype, &[PARAMETERS]), zeros(dtype, &[PARAMETERS])];
        let sgd = SgdOptions { momentum: 0.9, weight_decay: 5e-4, ..Default::default() };
        let bytes = moved(&[&grad, &param, &param, &param, &param]);
        Bench::new(c, "sgd", PARAMETERS).time(dtype, bytes, || {
            engine.sgd_step(&sgd, grad.view(), param.view_mut(), Some(state[0].view_mut()), false)
        });
        let bytes = moved(&[&grad, &param, &param, &param, &param, &param, &param]);
        let adam = AdamOptions { eps: 1e-3, ..Default::default() };
        let [exp_avg, exp_avg_sq] = &mut state;
        Bench::new(c, "adam", PARAMETERS).time(dtype, bytes, || {
            let state = AdamState {
                exp_avg: exp_avg.view_mut(),
                exp_avg_sq: exp_avg_sq.view_mut(),
                max_exp_avg_sq: None,
            };
            engine.adam_step(&adam, grad.view(), param.view_mut(), state, 1000)
        });
    }
}

criterion_group!(operators, convolutions, poolings, elementwise, optimizers);
criterion_main!(operators);
