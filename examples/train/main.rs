//! Trains a network of the zoo, in any precision, under any choice at its kinks.

mod profile;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use tiebreak::data::image_folder::{self, ImageFolderOptions};
use tiebreak::data::{self, Augmentation, Batches, Dataset, Split, cifar10, synthetic};
use tiebreak::net::{Initialization, Network, NetworkOptions, zoo};
use tiebreak::train::{GradScaler, Optimizer, OptimizerOptions, ParameterGroup, Schedule};
use tiebreak::{
    AdamOptions, Composition, Convention, Device, Engine, EngineOptions, Kink, MaxPoolKink, Precision,
    Prefetch, Progress, ReluKink, RmsPropOptions, SgdOptions,
};

const AFTER: &str = "Examples:
  train                                             LeNet-5 on drawn digits, which need no file: seconds
  train --network vgg11_bn                          VGG11 on drawn shapes of 32x32 pixels, likewise: minutes
  train --data mnist --precision 16 --beta 100      LeNet-5 on MNIST in 16 bits, with beta * minimal + (1 - beta) * native
  train --network vgg11 --data cifar-10 --augment   VGG11 on CIFAR-10, as in the paper
  train --network resnet18_bn --data cifar-10 --precision mixed --device gpu
  train --network vgg11 --data svhn                 SVHN; MNIST and Fashion-MNIST: --data mnist, --data fashion-mnist
  train --network resnet50_bn --variant imagenet --data imagenette --size 224 --resize 256 --from-files \
      --augment resized-crop --batch-size 32        photos, as in the paper
  train ... --save run.safetensors                  keeps the run after each epoch, and on Ctrl-C
  train ... --resume run.safetensors                goes on with it, with the same bits
  train ... --profile                               where the time of a step goes, layer by layer

Data: a folder with the four IDX files of MNIST or (`fashion` is part of its name) Fashion-MNIST, CIFAR-10's binary files,
SVHN's *_32x32.mat (trains on `extra`, or `train` where that is not there), or a folder `train` and a folder `val` (or `test`)
with one sub-folder of JPEG or PNG files per class. `--example fetch` gets them.

Precisions: 16, 32, 64, mixed (f16 on f32 master weights, with loss scaling), f16+narrow (sums in 16 bits too), and
simulated: bf16, tf32, e4m3, e5m2, any e<bits>m<bits>, each also as e5m2:stochastic(<seed>).";

#[derive(Clone, Copy, ValueEnum)]
enum Algorithm {
    Sgd,
    Adam,
    Adamw,
    Rmsprop,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    Constant,
    Step,
    Cosine,
}

#[derive(Clone, Copy, ValueEnum)]
enum Changes {
    /// Random crops of the images padded by 4, and horizontal flips: CIFAR-10
    Crop,
    /// Random parts, resized, and horizontal flips: photos
    ResizedCrop,
}

#[derive(Parser)]
#[command(version, about = "Trains a network of the zoo, in any precision, under any choice at its kinks.", after_help = AFTER)]
struct Args {
    /// lenet5, vgg11, vgg13, vgg16, vgg19, resnet18, resnet34, resnet50, densenet121, densenet201; with `_bn`
    /// behind it: with batch normalisation
    #[arg(long, default_value = "lenet5", value_name = "NAME")]
    network: String,
    /// Which of the networks of that name: cifar, imagenet or torchvision
    #[arg(long, default_value = "cifar", value_name = "NAME")]
    variant: zoo::Variant,
    /// Initial weights: pytorch, kaiming_uniform_fan_in, kaiming_normal_fan_out, ... [default: the published code's]
    #[arg(long, value_name = "NAME")]
    initialization: Option<Initialization>,
    /// Folder with the data; without it: drawn digits for lenet5, drawn shapes in colour for the others
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Side of the images of a folder of photos
    #[arg(long, default_value_t = 64, value_name = "N")]
    size: usize,
    /// What their shorter side becomes before the centre is cut out [default: that of --size]
    #[arg(long, value_name = "N")]
    resize: Option<usize>,
    /// Reads photos anew for each batch, instead of all of them once into memory
    #[arg(long)]
    from_files: bool,
    /// Random changes of the training images; without a name: crop
    #[arg(long, value_enum, value_name = "NAME", num_args = 0..=1, default_missing_value = "crop")]
    augment: Option<Changes>,
    /// Where to compute: auto, cpu or gpu
    #[arg(long, default_value = "auto", value_name = "NAME")]
    device: Device,
    /// Arithmetic; see below
    #[arg(long, default_value = "32", value_name = "NAME")]
    precision: Precision,
    /// What a framework computes at the kinks, instead of the three options below: pytorch, jax, tensorflow, candle,
    /// mlpack, theano, cudnn-random
    #[arg(long, value_name = "NAME", conflicts_with_all = ["beta", "composition", "relu_alpha"])]
    kinks: Option<Convention>,
    /// beta of every max pooling: 0 is PyTorch's Jacobian, 1 the one of least norm
    #[arg(long, default_value_t = 0.0, value_name = "X", allow_negative_numbers = true)]
    beta: f64,
    /// How beta is evaluated: coupled, split, exact or forward
    #[arg(long, default_value = "exact", value_name = "NAME")]
    composition: Composition,
    /// ReLU'(0)
    #[arg(long, default_value_t = 0.0, value_name = "X", allow_negative_numbers = true)]
    relu_alpha: f64,
    #[arg(long, value_enum, default_value = "sgd", value_name = "NAME")]
    algorithm: Algorithm,
    /// In the first epoch
    #[arg(long, default_value_t = 0.01, value_name = "X")]
    learning_rate: f64,
    /// Over the epochs: constant, step (times 0.1 every 30 epochs) or cosine (to 0)
    #[arg(long, value_enum, default_value = "cosine", value_name = "NAME")]
    schedule: ScheduleName,
    /// Of SGD and RMSprop
    #[arg(long, default_value_t = 0.9, value_name = "X")]
    momentum: f64,
    #[arg(long, default_value_t = 5e-4, value_name = "X")]
    weight_decay: f64,
    /// Biases and batch normalisation decay as well
    #[arg(long)]
    decay_all: bool,
    /// Largest Euclidean norm of all gradients together
    #[arg(long, value_name = "X")]
    clip_norm: Option<f64>,
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = positive())]
    batch_size: usize,
    #[arg(long, default_value_t = 5, value_name = "N")]
    epochs: u64,
    /// Training images to use
    #[arg(long, value_name = "N", value_parser = positive())]
    limit: Option<usize>,
    /// Test images to use
    #[arg(long, value_name = "N", value_parser = positive())]
    test_limit: Option<usize>,
    /// Of the initial weights, the order of the images, augmentation and dropout
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// File to keep the run in
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// File of a run to go on with, for as many epochs as are missing
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Instead of training, time each kernel of a few steps, layer by layer
    #[arg(long)]
    profile: bool,
    /// Threads of the CPU engine; 0 takes all cores (the results are the same)
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
}

fn positive() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..1 << 31)
}

/// The exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    match train(&Args::parse()) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e}");
            let usage = matches!(e.downcast_ref(), Some(tiebreak::Error::InvalidArgument { .. }));
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

fn open(args: &Args) -> tiebreak::Result<Split> {
    let Split { train, test } = match &args.data {
        Some(folder) => {
            let photos = ImageFolderOptions {
                size: args.size,
                resize: args.resize,
                from_files: args.from_files,
                ..Default::default()
            };
            data::load_with(folder, &photos, &mut Progress::silent())?
        }
        None if args.network.starts_with("lenet") => synthetic::embedded(6400, 2000),
        None => synthetic::embedded_colour(6400, 2000),
    };
    let all = usize::MAX;
    Ok(Split {
        train: train.take(args.limit.unwrap_or(all)),
        test: test.take(args.test_limit.unwrap_or(all)),
    })
}

fn optimizer_options(args: &Args) -> OptimizerOptions {
    let Args { learning_rate, momentum, weight_decay, .. } = *args;
    let adam = AdamOptions { learning_rate, weight_decay, ..Default::default() };
    let algorithm = match args.algorithm {
        Algorithm::Sgd => SgdOptions { learning_rate, momentum, weight_decay, ..Default::default() }.into(),
        Algorithm::Adam => adam.into(),
        Algorithm::Adamw => AdamOptions { decoupled: true, ..adam }.into(),
        Algorithm::Rmsprop => {
            RmsPropOptions { learning_rate, momentum, weight_decay, ..Default::default() }.into()
        }
    };
    OptimizerOptions {
        algorithm,
        groups: if args.decay_all { vec![] } else { vec![ParameterGroup::no_decay()] },
        clip_norm: args.clip_norm,
        grad_scaler: args.precision.is_mixed().then(GradScaler::default),
    }
}

fn train(args: &Args) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let Split { train, test } = open(args)?;
    let [train, test] = [train, test].map(Arc::new);
    let engine =
        Engine::new(&EngineOptions { device: args.device, threads: args.threads, ..Default::default() })?;
    let options = zoo::Options {
        classes: train.classes,
        variant: args.variant,
        input: Some(train.shape),
        ..Default::default()
    };
    let graph = zoo::by_name(&args.network, &options)?;
    let options = NetworkOptions {
        precision: args.precision,
        seed: args.seed,
        initialization: match args.initialization {
            Some(initialization) => initialization,
            None => zoo::published_initialization(&args.network, args.variant)?,
        },
    };
    let mut network = Network::with_options(&engine, &graph, &options)?;
    match args.kinks {
        Some(convention) => network.set_kinks(convention),
        None => {
            network.set_kink(None, Kink::MaxPool(MaxPoolKink::beta(args.beta, args.composition)))?;
            network.set_kink(None, Kink::Relu(ReluKink { alpha: args.relu_alpha }))?;
        }
    }
    let mut optimizer = Optimizer::new(&mut network, optimizer_options(args))?;

    let parameters: usize = network.parameters().map(|p| p.shape.iter().product::<usize>()).sum();
    let memory = network.memory_plan(args.batch_size.min(train.len()), true)?;
    println!(
        "{}, {parameters} parameters, {}; {}: {} training and {} test images; {:.2} GB and {:.1} GFLOP a step on {}",
        args.network,
        args.precision,
        train.name,
        train.len(),
        test.len(),
        memory.total() as f64 / 1e9,
        network.work(args.batch_size.min(train.len()), true)?.operations as f64 / 1e9,
        if network.placement().gpu { engine.info().name } else { "the CPU".into() }
    );
    if let Some(reason) = &network.placement().reason {
        println!("note: {reason}");
    }
    if args.profile {
        let batches = train.batches(args.batch_size, args.seed, 0)?;
        let batches = batches.map(|indices| train.batch(&indices, args.precision.storage));
        profile::print(&engine, &mut network, &mut optimizer, batches)?;
        return Ok(ExitCode::SUCCESS);
    }
    let steps_per_epoch = train.len().div_ceil(args.batch_size) as u64;
    let (mut first_epoch, mut done) = (0, 0);
    if let Some(path) = &args.resume {
        optimizer.load(&mut network, path)?;
        (first_epoch, done) = (network.steps() / steps_per_epoch, network.steps() % steps_per_epoch);
        println!("{}: {first_epoch} epochs and {done} steps are done", path.display());
    }

    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
        eprintln!("\nstopping after this step; Ctrl-C again stops at once");
    })?;
    let schedule = match args.schedule {
        ScheduleName::Constant => Schedule::Constant,
        ScheduleName::Step => Schedule::Step { step_size: 30, gamma: 0.1 },
        ScheduleName::Cosine => Schedule::Cosine { t_max: args.epochs.max(1), eta_min: 0.0 },
    };
    let augmentation = match args.augment {
        None => Augmentation::default(),
        Some(Changes::Crop) => cifar10::AUGMENTATION,
        Some(Changes::ResizedCrop) => image_folder::AUGMENTATION,
    };
    println!(
        "{:>5} {:>11} {:>11} {:>10} {:>9} {:>8} {:>9}",
        "epoch", "rate", "train loss", "test loss", "accuracy", "skipped", "images/s"
    );
    for epoch in first_epoch..args.epochs {
        optimizer.set_learning_rate(schedule.learning_rate(args.learning_rate, epoch))?;
        // The batches of an epoch are the same each time, so a run that was stopped within one takes the rest of it.
        let done = std::mem::take(&mut done);
        let bar = ProgressBar::new(steps_per_epoch).with_position(done);
        let style = "epoch {msg}  {wide_bar} {percent:>3} %  {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a constant template"));
        bar.set_message(epoch.to_string());
        let start = Instant::now();
        let (mut sum, mut skipped, mut images) = (0.0, 0, 0);
        let (data, dtype, seed) = (train.clone(), args.precision.storage, args.seed);
        let batches = train.batches(args.batch_size, seed, epoch)?.skip(done as usize);
        let batches =
            batches.map(move |indices| data.augmented_batch(&indices, dtype, &augmentation, seed, epoch));
        for batch in Prefetch::new(batches)? {
            let (x, labels) = batch?;
            let report = optimizer.train_step(&mut network, x.view(), &labels)?;
            skipped += report.skipped as u32;
            sum += network.loss()? * labels.len() as f64;
            images += labels.len();
            bar.inc(1);
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        bar.finish_and_clear();
        let rate = images as f64 / start.elapsed().as_secs_f64();
        if let Some(path) = &args.save {
            optimizer.save(&mut network, path)?;
        }
        if stop.load(Ordering::Relaxed) {
            println!("stopped in epoch {epoch} after {images} images, mean loss {:.4}", sum / images as f64);
            return Ok(INTERRUPTED.into());
        }
        let (test_loss, accuracy) = evaluate(&mut network, &test, args)?;
        println!(
            "{epoch:>5} {:>11.4e} {:>11.4} {test_loss:>10.4} {:>7.2} % {skipped:>8} {rate:>9.0}",
            optimizer.options().algorithm.learning_rate(),
            sum / images as f64,
            100.0 * accuracy
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Mean loss and share of hits.
fn evaluate(network: &mut Network, test: &Arc<Dataset>, args: &Args) -> tiebreak::Result<(f64, f64)> {
    let (mut loss, mut correct) = (0.0, 0);
    let (data, dtype) = (test.clone(), args.precision.storage);
    let batches = Batches::in_order(test.len(), 100)?.map(move |indices| data.batch(&indices, dtype));
    for batch in Prefetch::new(batches)? {
        let (x, labels) = batch?;
        let evaluation = network.evaluate(x.view(), &labels)?;
        loss += evaluation.loss * labels.len() as f64;
        correct += evaluation.correct;
    }
    Ok((loss / test.len() as f64, correct as f64 / test.len() as f64))
}
