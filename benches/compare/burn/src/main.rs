//! Burn's side of compare.py: `burn-peer WORK` measures training steps on the CPU backend flex, or with GPU=1 (feature
//! `wgpu`) on the first Vulkan adapter, and prints a line of JSON. Networks, weights, data and the names of the work are
//! those of ours.rs; work that Burn cannot do ends with status 3.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use burn::module::{Initializer, Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::MaxPool2dConfig;
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData, activation::relu};

/// The first `n` numbers of a stream, in (-1, 1); every dtype holds them.
fn uniform(stream: u64, n: usize) -> impl Iterator<Item = f64> {
    (1..=n as u64).map(move |i| {
        let mut z = i.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(80_871_424 + (stream << 40));
        for (shift, factor) in [(30, 0xBF58_476D_1CE4_E5B9), (27, 0x94D0_49BB_1331_11EB)] {
            z = (z ^ (z >> shift)).wrapping_mul(factor);
        }
        (((z ^ (z >> 31)) >> 54) as f64 * 2.0 - 1023.0) / 1024.0
    })
}

fn tensor<const D: usize>(
    values: impl Iterator<Item = f64>,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.collect::<Vec<_>>(), shape), device)
}

/// The weight of a layer, with the output channels first.
fn weight<const D: usize>(stream: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let fan_in: usize = shape[1..].iter().product();
    let scale = (6.0 / fan_in as f64).sqrt().log2().floor().exp2();
    tensor(uniform(stream, shape[0] * fan_in).map(|u| u * scale), shape, device)
}

#[derive(Module, Debug)]
struct Network {
    convolutions: Vec<Conv2d>,
    linears: Vec<Linear>,
    /// Which convolutions a max pooling follows.
    #[module(skip)]
    pooled: Vec<bool>,
}

impl Network {
    /// The network and the shape of an example.
    fn new(name: &str, device: &Device) -> Option<(Self, [usize; 3])> {
        let (input, kernel, padding, planes, widths): (_, _, _, &[(usize, bool)], &[usize]) = match name {
            "lenet5" => {
                let planes = &[(6, true), (16, true)];
                ([1, 28, 28], 5, PaddingConfig2d::Valid, planes, &[256, 120, 84, 10])
            }
            "vgg11" => {
                let (one, two) = (|width| [(width, true)], |width| [(width, false), (width, true)]);
                let planes = [&one(64)[..], &one(128), &two(256), &two(512), &two(512)].concat();
                ([3, 32, 32], 3, PaddingConfig2d::Explicit(1, 1, 1, 1), &planes.leak()[..], &[512, 10])
            }
            _ => return None,
        };
        let (mut stream, mut channels) = (0, input[0]);
        let mut convolutions = Vec::new();
        for &(width, _) in planes {
            stream += 1;
            let config = Conv2dConfig::new([channels, width], [kernel; 2]).with_padding(padding.clone());
            let mut layer = config.with_initializer(Initializer::Zeros).init(device);
            layer.weight = Param::from_tensor(weight(stream, [width, channels, kernel, kernel], device));
            convolutions.push(layer);
            channels = width;
        }
        let linears = widths.windows(2).map(|pair| {
            stream += 1;
            let mut layer =
                LinearConfig::new(pair[0], pair[1]).with_initializer(Initializer::Zeros).init(device);
            // Burn stores it with the inputs first.
            let transposed = weight(stream, [pair[1], pair[0]], device).transpose().into_data();
            layer.weight = Param::from_data(transposed, device);
            layer
        });
        let linears = linears.collect();
        let pooled = planes.iter().map(|&(_, pooled)| pooled).collect();
        Some((Self { convolutions, linears, pooled }, input))
    }

    fn forward(&self, mut x: Tensor<4>) -> Tensor<2> {
        let pool = MaxPool2dConfig::new([2, 2]).init();
        for (layer, &pooled) in self.convolutions.iter().zip(&self.pooled) {
            x = relu(layer.forward(x));
            if pooled {
                x = pool.forward(x);
            }
        }
        let (last, hidden) = self.linears.split_last().expect("a layer");
        last.forward(hidden.iter().fold(x.flatten(1, 3), |x, layer| relu(layer.forward(x))))
    }
}

/// One training step, which returns the loss.
fn step(name: &str, size: usize, device: &Device) -> Option<impl FnMut() -> f64> {
    let (network, [c, h, w]) = Network::new(name, device)?;
    let x = tensor(uniform(0, size * c * h * w).map(|u| u.max(0.0)), [size, c, h, w], device);
    let labels: Vec<i64> = (0..size as i64).map(|i| (7 * i + 3) % 10).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [size]), device);
    let loss = CrossEntropyLossConfig::new().init(device);
    // PyTorch's momentum; Burn dampens by default.
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let sgd = SgdConfig::new().with_momentum(Some(momentum));
    let mut optimizer = sgd.with_weight_decay(Some(WeightDecayConfig::new(5e-4))).init();
    let mut network = Some(network);
    Some(move || {
        let before = network.take().expect("a network");
        let loss = loss.forward(before.forward(x.clone()), labels.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &before);
        network = Some(optimizer.step(0.001, before, gradients));
        loss.into_scalar()
    })
}

#[cfg(feature = "wgpu")]
fn gpu() -> Device {
    Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)
}

#[cfg(not(feature = "wgpu"))]
fn gpu() -> Device {
    unsupported("built without the feature `wgpu`")
}

fn unsupported(reason: &str) -> ! {
    eprintln!("burn-peer: {reason}");
    std::process::exit(3)
}

fn main() {
    let work = std::env::args().nth(1).expect("a piece of work");
    let number = |name: &str, default: f64| -> f64 {
        std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let (spend, least_runs) = (number("SECONDS", 3.0), number("RUNS", 3.0) as usize);
    let threads = rayon::ThreadPoolBuilder::new().num_threads(number("THREADS", 2.0) as usize);
    threads.build_global().expect("threads");

    let parts: Vec<&str> = work.split('/').collect();
    let ["step", name, size, dtype, "native"] = parts[..] else { unsupported("only step/.../native") };
    let dtype = match dtype {
        "f16" => FloatDType::F16,
        "f32" => FloatDType::F32,
        "f64" => FloatDType::F64,
        _ => unsupported("only f16, f32 and f64"),
    };
    let mut device = if number("GPU", 0.0) > 0.0 { gpu() } else { Device::flex() }.autodiff();
    if !device.supports_dtype(dtype) || device.configure(dtype).is_err() {
        unsupported("the backend does not compute in that dtype");
    }
    let Some(mut run) = step(name, size.parse().expect("a batch size"), &device) else {
        unsupported("only lenet5 and vgg11")
    };

    let mut results = vec![run()];
    let first_step = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64();
    results.push(run());
    let mut seconds: Vec<f64> = Vec::new();
    while seconds.len() < least_runs
        || (least_runs > 1 && seconds.iter().sum::<f64>() < spend && seconds.len() < 200)
    {
        let start = Instant::now();
        run();
        seconds.push(start.elapsed().as_secs_f64());
    }
    // Burn does not tell its version, but cargo has locked it.
    let lock = include_str!("../Cargo.lock");
    let version = lock.split("name = \"burn\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    let line = serde_json::json!({
        "seconds": seconds, "results": results, "first_step": first_step, "version": version,
    });
    println!("{line}");
}
