//! Tiebreak for C++ code bases that build with Cargo: engines, max pooling, networks and optimizers over [cxx], which
//! turns a `Result` into an exception. A panic becomes one too.
//!
//! What is not here is in `tiebreak.hpp`, over the C API, which this library holds as well: a program links exactly
//! one Rust static library, `libtiebreak_cxx.a`.
//!
//! [cxx]: https://cxx.rs

use std::panic::{AssertUnwindSafe, catch_unwind};

use tiebreak::net::{self, Choice, zoo};
use tiebreak::shape::{Pool2dGeometry, Window2d};
use tiebreak::train::{self, OptimizerOptions};
use tiebreak::{
    AdamOptions, Composition, DType, Device, EngineOptions, Error, Kink, MaxPoolJacobian, MaxPoolKink,
    ReluKink, SgdOptions, Tensor, View, ViewMut,
};

#[cxx::bridge(namespace = "tiebreak::bridge")]
mod ffi {
    /// What MaxPool gives to the elements of a window that attain its maximum.
    enum Jacobian {
        Native,
        Last,
        Minimal,
        Beta,
        Random,
        FirstColumn,
        All,
        Scaled,
    }

    /// How `Jacobian::Beta` is evaluated.
    enum Composition {
        Exact,
        Split,
        Coupled,
        Forward,
    }

    /// A choice at the ties of a max pooling; `maxpool_kink` makes the others' default.
    #[derive(Clone, Copy)]
    struct MaxPoolKink {
        jacobian: Jacobian,
        /// Counts with `Jacobian::Beta`.
        composition: Composition,
        beta: f64,
        /// Counts with `Jacobian::Random`.
        seed: u64,
    }

    /// A square window; a stride of 0 is the kernel's.
    #[derive(Clone, Copy)]
    struct Pool2d {
        kernel: usize,
        stride: usize,
        padding: usize,
    }

    /// Shape `[N, C, OH, OW]` of a pooling's output, and bytes of its tie sets.
    struct Pool2dOutput {
        shape: [usize; 4],
        ties_size: usize,
    }

    /// Name and shape of a parameter.
    struct Parameter {
        name: String,
        shape: Vec<usize>,
    }

    /// Loss and hits on a batch.
    struct Evaluation {
        loss: f64,
        correct: usize,
    }

    /// Gradients under the present choices and under another, summed over the parameters.
    struct Comparison {
        l1: f64,
        l2: f64,
        linf: f64,
        /// Number of gradient elements that are not equal.
        differing: usize,
        /// Loss under the present choices and under the other.
        losses: [f64; 2],
    }

    extern "Rust" {
        type Engine;
        type Network;
        type Optimizer;

        fn version() -> String;

        /// The kink that frameworks compute, under `jacobian`.
        fn maxpool_kink(jacobian: Jacobian) -> MaxPoolKink;

        /// `device`: "auto", "cpu" or "gpu". `threads`: 0 takes all cores.
        fn new_engine(device: &str, threads: usize) -> Result<Box<Engine>>;
        /// Name of the GPU adapter, or "cpu".
        fn name(self: &Engine) -> String;
        fn pool2d_output(x_shape: [usize; 4], pool: Pool2d) -> Result<Pool2dOutput>;
        /// x `[N, C, H, W]`, y `[N, C, OH, OW]`, ties as `pool2d_output` says.
        fn maxpool2d_forward(
            self: &Engine,
            x: &[f32],
            x_shape: [usize; 4],
            pool: Pool2d,
            kink: MaxPoolKink,
            y: &mut [f32],
            ties: &mut [u8],
        ) -> Result<()>;
        /// gy `[N, C, OH, OW]`, ties as the forward pass wrote them, gx `[N, C, H, W]`.
        fn maxpool2d_backward(
            self: &Engine,
            gy: &[f32],
            ties: &[u8],
            pool: Pool2d,
            kink: MaxPoolKink,
            gx: &mut [f32],
            x_shape: [usize; 4],
        ) -> Result<()>;

        /// `name`: of the zoo, "lenet5" ... `precision`: "f16", "f32", "f64", "mixed" ...
        fn new_network(engine: &Engine, name: &str, precision: &str, seed: u64) -> Result<Box<Network>>;
        fn parameters(self: &Network) -> Result<Vec<Parameter>>;
        /// Row-major, widened without loss.
        fn parameter(self: &mut Network, name: &str) -> Result<Vec<f64>>;
        fn set_parameter(self: &mut Network, name: &str, values: &[f64]) -> Result<()>;
        fn gradient(self: &mut Network, name: &str) -> Result<Vec<f64>>;
        /// `layer`: empty for every max pooling.
        fn set_maxpool_kink(self: &mut Network, layer: &str, kink: MaxPoolKink) -> Result<()>;
        /// `layer`: empty for every ReLU. `alpha`: the derivative at 0.
        fn set_relu_kink(self: &mut Network, layer: &str, alpha: f64) -> Result<()>;
        /// Logits `[N, classes]` of N samples x `[N, C, H, W]`, rounded to the network's type.
        fn forward(self: &mut Network, x: &[f32]) -> Result<Vec<f64>>;
        /// The mean cross-entropy; the gradients stay in the network.
        fn loss_and_gradients(self: &mut Network, x: &[f32], labels: &[i64]) -> Result<f64>;
        fn evaluate(self: &mut Network, x: &[f32], labels: &[i64]) -> Result<Evaluation>;
        /// Gradients under the present choices against those under each of `kinks` at every max pooling.
        fn compare(
            self: &mut Network,
            x: &[f32],
            labels: &[i64],
            kinks: &[MaxPoolKink],
        ) -> Result<Vec<Comparison>>;
        fn save(self: &mut Network, path: &str) -> Result<()>;
        fn load(self: &mut Network, path: &str) -> Result<()>;

        fn new_sgd(
            network: &mut Network,
            learning_rate: f64,
            momentum: f64,
            weight_decay: f64,
        ) -> Result<Box<Optimizer>>;
        fn new_adam(network: &mut Network, learning_rate: f64, weight_decay: f64) -> Result<Box<Optimizer>>;
        fn set_learning_rate(self: &mut Optimizer, learning_rate: f64) -> Result<()>;
        /// Forward, loss, backward, update; the loss before the update. `network`: the optimizer's.
        fn train_step(self: &mut Optimizer, network: &mut Network, x: &[f32], labels: &[i64]) -> Result<f64>;
    }
}

/// What a bridged function fails with: its text is the exception's.
type Result<T> = std::result::Result<T, String>;

/// Runs the body of a bridged function: a panic, which would end the program in cxx, becomes an error.
fn guard<T>(body: impl FnOnce() -> tiebreak::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
            let text = text.or(panic.downcast_ref::<String>().cloned()).unwrap_or("no message".into());
            Err(format!("internal error, please report it: {text}"))
        }
    }
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").into()
}

fn maxpool_kink(jacobian: ffi::Jacobian) -> ffi::MaxPoolKink {
    ffi::MaxPoolKink { jacobian, composition: ffi::Composition::Exact, beta: 1.0, seed: 0 }
}

/// The library's choice; an enumeration of C++ may hold any number.
fn kink(kink: ffi::MaxPoolKink) -> tiebreak::Result<MaxPoolKink> {
    let unknown = |argument: &str, number: u8| {
        let (expected, got) = ("one of the enumeration".into(), number.to_string());
        Err(Error::InvalidArgument { argument: argument.into(), expected, got })
    };
    let jacobian = match kink.jacobian {
        ffi::Jacobian::Native => MaxPoolJacobian::Native,
        ffi::Jacobian::Last => MaxPoolJacobian::Last,
        ffi::Jacobian::Minimal => MaxPoolJacobian::Minimal,
        ffi::Jacobian::Beta => MaxPoolJacobian::Beta(kink.beta),
        ffi::Jacobian::Random => MaxPoolJacobian::Random(kink.seed),
        ffi::Jacobian::FirstColumn => MaxPoolJacobian::FirstColumn,
        ffi::Jacobian::All => MaxPoolJacobian::All,
        ffi::Jacobian::Scaled => MaxPoolJacobian::Scaled,
        other => return unknown("jacobian", other.repr),
    };
    let composition = match kink.composition {
        ffi::Composition::Exact => Composition::Exact,
        ffi::Composition::Split => Composition::Split,
        ffi::Composition::Coupled => Composition::Coupled,
        ffi::Composition::Forward => Composition::Forward,
        other => return unknown("composition", other.repr),
    };
    Ok(MaxPoolKink { jacobian, composition })
}

fn window(pool: ffi::Pool2d) -> Window2d {
    let stride = if pool.stride == 0 { pool.kernel } else { pool.stride };
    Window2d::new(pool.kernel, stride, pool.padding)
}

fn pool2d_output(x_shape: [usize; 4], pool: ffi::Pool2d) -> Result<ffi::Pool2dOutput> {
    guard(|| {
        let geometry = Pool2dGeometry::new(x_shape, window(pool))?;
        Ok(ffi::Pool2dOutput { shape: geometry.y_shape(), ties_size: geometry.ties_shape().iter().product() })
    })
}

fn view<'a>(values: &'a [f32], shape: &'a [usize]) -> tiebreak::Result<View<'a>> {
    View::new(DType::F32, shape, bytemuck::cast_slice(values))
}

fn view_mut<'a>(values: &'a mut [f32], shape: &'a [usize]) -> tiebreak::Result<ViewMut<'a>> {
    ViewMut::new(DType::F32, shape, bytemuck::cast_slice_mut(values))
}

/// Runs operators and networks.
pub struct Engine(tiebreak::Engine);

fn new_engine(device: &str, threads: usize) -> Result<Box<Engine>> {
    guard(|| {
        let device: Device = device.parse()?;
        let options = EngineOptions { device, threads, ..Default::default() };
        Ok(Box::new(Engine(tiebreak::Engine::new(&options)?)))
    })
}

impl Engine {
    fn name(&self) -> String {
        self.0.info().name
    }

    fn maxpool2d_forward(
        &self,
        x: &[f32],
        x_shape: [usize; 4],
        pool: ffi::Pool2d,
        choice: ffi::MaxPoolKink,
        y: &mut [f32],
        ties: &mut [u8],
    ) -> Result<()> {
        guard(|| {
            let y_shape = Pool2dGeometry::new(x_shape, window(pool))?.y_shape();
            let y = view_mut(y, &y_shape)?;
            self.0.maxpool2d_forward(view(x, &x_shape)?, window(pool), kink(choice)?, y, ties)
        })
    }

    fn maxpool2d_backward(
        &self,
        gy: &[f32],
        ties: &[u8],
        pool: ffi::Pool2d,
        choice: ffi::MaxPoolKink,
        gx: &mut [f32],
        x_shape: [usize; 4],
    ) -> Result<()> {
        guard(|| {
            let y_shape = Pool2dGeometry::new(x_shape, window(pool))?.y_shape();
            let gx = view_mut(gx, &x_shape)?;
            self.0.maxpool2d_backward(view(gy, &y_shape)?, ties, window(pool), kink(choice)?, gx)
        })
    }
}

/// A network on an engine.
pub struct Network {
    network: net::Network,
    /// `[C, H, W]`
    input_shape: Vec<usize>,
}

fn new_network(engine: &Engine, name: &str, precision: &str, seed: u64) -> Result<Box<Network>> {
    guard(|| {
        let graph = zoo::by_name(name, &Default::default())?;
        let precision: tiebreak::Precision = precision.parse()?;
        let network = net::Network::new(&engine.0, &graph, precision, seed)?;
        let input_shape = network.layers()[0].shape.clone();
        Ok(Box::new(Network { network, input_shape }))
    })
}

impl Network {
    /// A batch of the network's type, and as many samples as `x` holds.
    fn batch<'a>(&self, x: &'a [f32], shape: &'a mut Vec<usize>) -> tiebreak::Result<Batch<'a>> {
        let sample: usize = self.input_shape.iter().product();
        if x.is_empty() || !x.len().is_multiple_of(sample) {
            let expected = format!("a multiple of {sample} elements, {:?} each", self.input_shape);
            return Err(Error::Shape { argument: "x".into(), expected, got: x.len().to_string() });
        }
        *shape = [&[x.len() / sample], &self.input_shape[..]].concat();
        let dtype = self.network.dtype();
        let x = view(x, shape)?;
        Ok(if dtype == DType::F32 {
            Batch::Borrowed(x)
        } else {
            Batch::Owned(x.to_tensor()?.to_dtype(dtype))
        })
    }

    fn layer(name: &str) -> Option<&str> {
        Some(name).filter(|name| !name.is_empty())
    }

    fn parameters(&self) -> Result<Vec<ffi::Parameter>> {
        guard(|| {
            let parameter =
                |p: &net::ParameterInfo| ffi::Parameter { name: p.name.clone(), shape: p.shape.clone() };
            Ok(self.network.parameters().map(parameter).collect())
        })
    }

    fn parameter(&mut self, name: &str) -> Result<Vec<f64>> {
        guard(|| Ok(self.network.parameter(name)?.to_f64()))
    }

    fn set_parameter(&mut self, name: &str, values: &[f64]) -> Result<()> {
        guard(|| {
            let present = self.network.parameter(name)?;
            let tensor = Tensor::from_f64(present.dtype(), present.shape(), values)?;
            self.network.set_parameter(name, tensor.view())
        })
    }

    fn gradient(&mut self, name: &str) -> Result<Vec<f64>> {
        guard(|| Ok(self.network.gradient(name)?.to_f64()))
    }

    fn set_maxpool_kink(&mut self, layer: &str, choice: ffi::MaxPoolKink) -> Result<()> {
        guard(|| self.network.set_kink(Network::layer(layer), Kink::MaxPool(kink(choice)?)))
    }

    fn set_relu_kink(&mut self, layer: &str, alpha: f64) -> Result<()> {
        guard(|| self.network.set_kink(Network::layer(layer), Kink::Relu(ReluKink { alpha })))
    }

    fn forward(&mut self, x: &[f32]) -> Result<Vec<f64>> {
        guard(|| {
            let mut shape = Vec::new();
            let x = self.batch(x, &mut shape)?;
            Ok(self.network.forward(x.view())?.to_f64())
        })
    }

    fn loss_and_gradients(&mut self, x: &[f32], labels: &[i64]) -> Result<f64> {
        guard(|| {
            let mut shape = Vec::new();
            let x = self.batch(x, &mut shape)?;
            self.network.loss_and_gradients(x.view(), labels)
        })
    }

    fn evaluate(&mut self, x: &[f32], labels: &[i64]) -> Result<ffi::Evaluation> {
        guard(|| {
            let mut shape = Vec::new();
            let x = self.batch(x, &mut shape)?;
            let evaluation = self.network.evaluate(x.view(), labels)?;
            Ok(ffi::Evaluation { loss: evaluation.loss, correct: evaluation.correct })
        })
    }

    fn compare(
        &mut self,
        x: &[f32],
        labels: &[i64],
        kinks: &[ffi::MaxPoolKink],
    ) -> Result<Vec<ffi::Comparison>> {
        guard(|| {
            let mut shape = Vec::new();
            let x = self.batch(x, &mut shape)?;
            let alternative = |&choice| Ok(vec![Choice::from(Kink::MaxPool(kink(choice)?))]);
            let alternatives = kinks.iter().map(alternative).collect::<tiebreak::Result<Vec<_>>>()?;
            let comparisons = self.network.compare(x.view(), labels, &alternatives)?;
            let summed = |c: &net::Comparison| ffi::Comparison {
                l1: c.l1(),
                l2: c.l2(),
                linf: c.linf(),
                differing: c.differing(),
                losses: c.losses,
            };
            Ok(comparisons.iter().map(summed).collect())
        })
    }

    fn save(&mut self, path: &str) -> Result<()> {
        guard(|| self.network.save(path))
    }

    fn load(&mut self, path: &str) -> Result<()> {
        guard(|| self.network.load(path, false))
    }
}

/// The caller's memory, or a copy of it in another type.
enum Batch<'a> {
    Borrowed(View<'a>),
    Owned(Tensor),
}

impl Batch<'_> {
    fn view(&self) -> View<'_> {
        match self {
            Batch::Borrowed(view) => *view,
            Batch::Owned(tensor) => tensor.view(),
        }
    }
}

/// Updates the parameters of one network.
pub struct Optimizer(train::Optimizer);

fn new_optimizer(network: &mut Network, options: impl Into<OptimizerOptions>) -> Result<Box<Optimizer>> {
    guard(|| Ok(Box::new(Optimizer(train::Optimizer::new(&mut network.network, options)?))))
}

fn new_sgd(
    network: &mut Network,
    learning_rate: f64,
    momentum: f64,
    weight_decay: f64,
) -> Result<Box<Optimizer>> {
    new_optimizer(network, SgdOptions { learning_rate, momentum, weight_decay, ..Default::default() })
}

fn new_adam(network: &mut Network, learning_rate: f64, weight_decay: f64) -> Result<Box<Optimizer>> {
    new_optimizer(network, AdamOptions { learning_rate, weight_decay, ..Default::default() })
}

impl Optimizer {
    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        guard(|| self.0.set_learning_rate(learning_rate))
    }

    fn train_step(&mut self, network: &mut Network, x: &[f32], labels: &[i64]) -> Result<f64> {
        guard(|| {
            let mut shape = Vec::new();
            let x = network.batch(x, &mut shape)?;
            self.0.train_step(&mut network.network, x.view(), labels)?;
            network.network.loss()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let error = guard::<()>(|| panic!("what {}", "went wrong")).unwrap_err();
        assert!(error.contains("internal error") && error.ends_with("what went wrong"), "{error}");
        let error = guard::<()>(|| panic!("plainly")).unwrap_err();
        assert!(error.ends_with("plainly"), "{error}");
    }
}
