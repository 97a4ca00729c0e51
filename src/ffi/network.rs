use std::ffi::c_char;
use std::sync::{Arc, Mutex};

use super::engine::{self, tb_engine};
use super::handle::{self, Handle, Object, lock};
use super::kink::{self, tb_kink};
use super::options::{self, Growable};
use super::status::tb_status;
use super::view::{Borrows, MAX_RANK, TB_DTYPE_F32, dtype, dtype_number, tb_dtype, tb_view, tb_view_mut};
use super::{Failure, copy_text, guard, non_null_mut, optional_string, string};
use crate::error::Error;
use crate::net::{Network, zoo};
use crate::tensor::{Tensor, ViewMut};

/// A network whose parameters, gradients and activations live on an engine. Created by `tb_network_create`,
/// given back by `tb_network_free`.
pub struct tb_network {
    _opaque: [u8; 0],
}

impl Handle for tb_network {
    const NAME: &'static str = "tb_network";
    type Target = Arc<Mutex<Network>>;
    fn open(object: Object) -> Option<Self::Target> {
        match object {
            Object::Network(network) => Some(network),
            _ => None,
        }
    }
}

/// How to create a network of the zoo; `tb_network_options_init` sets the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_network_options {
    /// `sizeof(tb_network_options)`.
    pub struct_size: usize,
    /// A `TB_DTYPE_` value; default f32.
    pub dtype: tb_dtype,
    /// Number of classes; default 10.
    pub classes: u32,
    /// Seed of PyTorch's default initialisation; default 0. The same values for each dtype, each rounded once.
    pub seed: u64,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_network_options {
    const FIRST_SIZE: usize = 24;
    fn defaults() -> Self {
        tb_network_options { struct_size: size_of::<Self>(), dtype: TB_DTYPE_F32, classes: 10, seed: 0 }
    }
}

/// What a network is; filled by `tb_network_info`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_network_properties {
    /// `sizeof(tb_network_properties)`; set by the caller.
    pub struct_size: usize,
    /// A `TB_DTYPE_` value.
    pub dtype: tb_dtype,
    /// 1 where a GPU runs it, else 0.
    pub gpu: i32,
    /// Number of parameter tensors.
    pub parameter_count: usize,
    /// Number of layers, the input counted.
    pub layer_count: usize,
    /// Number of classes.
    pub classes: usize,
    /// Bytes that it holds on its engine.
    pub allocated_bytes: usize,
    /// `[C, H, W]` of the input.
    pub input_shape: [i64; 3],
    /// Why a GPU engine leaves it to the CPU; empty where it does not.
    pub placement: [c_char; 256],
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_network_properties {
    const FIRST_SIZE: usize = 328;
    fn defaults() -> Self {
        tb_network_properties {
            struct_size: size_of::<Self>(),
            dtype: 0,
            gpu: 0,
            parameter_count: 0,
            layer_count: 0,
            classes: 0,
            allocated_bytes: 0,
            input_shape: [0; 3],
            placement: [0; 256],
        }
    }
}

/// A parameter or a layer; filled by `tb_network_parameter_info` and `tb_network_layer_info`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_tensor_properties {
    /// `sizeof(tb_tensor_properties)`; set by the caller.
    pub struct_size: usize,
    /// Name, PyTorch's where the network comes from there: "features.0.weight".
    pub name: [c_char; 128],
    /// "parameter", or the layer's kind: "conv2d", "relu", "maxpool2d" ...
    pub kind: [c_char; 32],
    /// Number of dimensions.
    pub rank: i32,
    /// Dimensions, of a layer's output without that of the batch.
    pub shape: [i64; 8],
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_tensor_properties {
    const FIRST_SIZE: usize = 240;
    fn defaults() -> Self {
        tb_tensor_properties {
            struct_size: size_of::<Self>(),
            name: [0; 128],
            kind: [0; 32],
            rank: 0,
            shape: [0; MAX_RANK],
        }
    }
}

/// Gradients of two choices on the same weights and batch; filled by `tb_network_compare`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_comparison {
    /// `sizeof(tb_comparison)`; set by the caller.
    pub struct_size: usize,
    /// Sum over the parameters of the L1 norms of the differences.
    pub l1: f64,
    /// Sum over the parameters of the Euclidean norms of the differences.
    pub l2: f64,
    /// Sum over the parameters of the largest absolute differences.
    pub linf: f64,
    /// Number of gradient elements that are not equal.
    pub differing: u64,
    /// Loss under the first and the second choice.
    pub losses: [f64; 2],
    /// 1 where one forward pass served both, 0 where a coupled composition needed its own.
    pub shared_forward: i32,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_comparison {
    const FIRST_SIZE: usize = 64;
    fn defaults() -> Self {
        tb_comparison {
            struct_size: size_of::<Self>(),
            l1: 0.0,
            l2: 0.0,
            linf: 0.0,
            differing: 0,
            losses: [0.0; 2],
            shared_forward: 0,
        }
    }
}

/// The network behind a handle.
pub(super) fn get(network: *const tb_network) -> Result<Arc<Mutex<Network>>, Failure> {
    handle::get(network, "network")
}

/// Fills `options` with the defaults. `struct_size` is `sizeof(tb_network_options)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_options_init(
    options: *mut tb_network_options,
    struct_size: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_options_init", || unsafe { options::init(options, struct_size, "options") })
}

/// Creates a network of the zoo on an engine.
///
/// @param engine   may be freed before the network. On a GPU engine f64 (and f16 where the GPU has none) is
///                 placed on the CPU; `tb_network_info` says so.
/// @param name     "lenet5": input `[N, 1, 28, 28]`
/// @param options  NULL for the defaults
/// @param network  out: the handle; free it with `tb_network_free`. NULL on failure.
/// @return `TB_STATUS_NOT_FOUND` for an unknown name
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_create(
    engine: *const tb_engine,
    name: *const c_char,
    options: *const tb_network_options,
    network: *mut *mut tb_network,
) -> tb_status {
    guard("tb_network_create", || {
        // SAFETY: the caller's promise, as the header states it.
        let network = unsafe { non_null_mut(network, "network") }?;
        *network = std::ptr::null_mut();
        let engine = engine::get(engine)?;
        // SAFETY: the caller's promise.
        let name = unsafe { string(name, "name") }?;
        // SAFETY: the caller's promise.
        let options = unsafe { options::read(options, "options") }?;
        let dtype = dtype(options.dtype, "options.dtype")?;
        let graph = zoo::by_name(name, options.classes as usize)?;
        let created = Network::new(&engine, &graph, dtype, options.seed)?;
        *network = handle::create(Object::Network(Arc::new(Mutex::new(created))));
        Ok(())
    })
}

/// Frees a network; optimizers that were created for it keep it alive. NULL is nothing to do; a handle freed
/// before is `TB_STATUS_INVALID_HANDLE`.
#[unsafe(no_mangle)]
pub extern "C" fn tb_network_free(network: *mut tb_network) -> tb_status {
    guard("tb_network_free", || handle::free(network, "network"))
}

/// What a network is.
///
/// @param properties  in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_info(
    network: *const tb_network,
    properties: *mut tb_network_properties,
) -> tb_status {
    guard("tb_network_info", || {
        let network = get(network)?;
        let network = lock(&network);
        let layers = network.layers();
        let mut values = tb_network_properties {
            dtype: dtype_number(network.dtype()),
            gpu: network.placement().gpu as i32,
            parameter_count: network.parameters().count(),
            layer_count: layers.len(),
            classes: layers.last().and_then(|l| l.shape.first().copied()).unwrap_or(0),
            allocated_bytes: network.allocated_bytes(),
            ..Growable::defaults()
        };
        for (to, &from) in values.input_shape.iter_mut().zip(&layers[0].shape) {
            *to = from as i64;
        }
        copy_text(network.placement().reason.as_deref().unwrap_or_default(), &mut values.placement);
        // SAFETY: the caller's promise, as the header states it.
        unsafe { options::write(properties, values, "properties") }
    })
}

fn tensor_properties(name: &str, kind: &str, shape: &[usize]) -> tb_tensor_properties {
    let mut values = tb_tensor_properties { rank: shape.len() as i32, ..Growable::defaults() };
    copy_text(name, &mut values.name);
    copy_text(kind, &mut values.kind);
    for (to, &from) in values.shape.iter_mut().zip(shape) {
        *to = from as i64;
    }
    values
}

fn index_error(index: usize, count: usize) -> Failure {
    Error::invalid("index", format!("below {count}"), index).into()
}

/// Name and shape of a parameter.
///
/// @param index       below `parameter_count` of `tb_network_info`
/// @param properties  in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_parameter_info(
    network: *const tb_network,
    index: usize,
    properties: *mut tb_tensor_properties,
) -> tb_status {
    guard("tb_network_parameter_info", || {
        let network = get(network)?;
        let network = lock(&network);
        let count = network.parameters().count();
        let p = network.parameters().nth(index).ok_or_else(|| index_error(index, count))?;
        // SAFETY: the caller's promise, as the header states it.
        unsafe { options::write(properties, tensor_properties(&p.name, "parameter", &p.shape), "properties") }
    })
}

/// Name, kind and output shape of a layer.
///
/// @param index       below `layer_count` of `tb_network_info`; 0 is the input
/// @param properties  in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_layer_info(
    network: *const tb_network,
    index: usize,
    properties: *mut tb_tensor_properties,
) -> tb_status {
    guard("tb_network_layer_info", || {
        let layers = lock(&*get(network)?).layers();
        let l = layers.get(index).ok_or_else(|| index_error(index, layers.len()))?;
        // SAFETY: the caller's promise, as the header states it.
        unsafe {
            options::write(properties, tensor_properties(&l.name, l.layer.kind(), &l.shape), "properties")
        }
    })
}

/// Chooses what a kink layer computes from the next run on, without building the network again.
///
/// @param layer  its name; NULL for every layer of the kink's kind
/// @param kink   the choice
/// @return `TB_STATUS_NOT_FOUND` for an unknown layer, `TB_STATUS_INVALID_ARGUMENT` for one of another kind
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_set_kink(
    network: *const tb_network,
    layer: *const c_char,
    kink: *const tb_kink,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_set_kink", || unsafe {
        let network = get(network)?;
        let layer = optional_string(layer, "layer")?;
        let kink = kink::read(kink)?;
        Ok(lock(&network).set_kink(layer, kink)?)
    })
}

/// Copies `tensor` to the caller's memory `argument`, which must have its shape and dtype.
fn copy_out(tensor: &Tensor, mut view: ViewMut, argument: &str) -> Result<(), Failure> {
    if view.dtype() != tensor.dtype() {
        return Err(Error::dtype(argument, tensor.dtype(), view.dtype()).into());
    }
    if view.shape() != tensor.shape() {
        return Err(Error::shape(argument, format!("{:?}", tensor.shape()), view.shape()).into());
    }
    view.bytes_mut().copy_from_slice(tensor.bytes());
    Ok(())
}

/// Copies a parameter to the caller's memory.
///
/// @param name    "features.0.weight" ...
/// @param values  out: the parameter's shape, the network's dtype
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_read_parameter(
    network: *const tb_network,
    name: *const c_char,
    values: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_read_parameter", || unsafe {
        let network = get(network)?;
        let mut values = Borrows::default().output(values, "values")?;
        let tensor = lock(&network).parameter(string(name, "name")?)?;
        copy_out(&tensor, values.view()?, "values")
    })
}

/// Overwrites a parameter.
///
/// @param name    "features.0.weight" ...
/// @param values  the parameter's shape, the network's dtype
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_write_parameter(
    network: *const tb_network,
    name: *const c_char,
    values: *const tb_view,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_write_parameter", || unsafe {
        let network = get(network)?;
        let name = string(name, "name")?;
        let values = Borrows::default().input(values, "values")?;
        Ok(lock(&network).set_parameter(name, values.view()?)?)
    })
}

/// Copies the gradient of a parameter, as the last backward pass left it, to the caller's memory.
///
/// @param name    "features.0.weight" ...
/// @param values  out: the parameter's shape, the network's dtype
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_read_gradient(
    network: *const tb_network,
    name: *const c_char,
    values: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_read_gradient", || unsafe {
        let network = get(network)?;
        let mut values = Borrows::default().output(values, "values")?;
        let tensor = lock(&network).gradient(string(name, "name")?)?;
        copy_out(&tensor, values.view()?, "values")
    })
}

/// Logits of a batch.
///
/// @param x       `[N, C, H, W]` of the network's dtype
/// @param logits  out: `[N, classes]`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_forward(
    network: *const tb_network,
    x: *const tb_view,
    logits: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_forward", || unsafe {
        let network = get(network)?;
        let mut borrows = Borrows::default();
        let x = borrows.input(x, "x")?;
        let mut logits = borrows.output(logits, "logits")?;
        let logits = logits.view()?;
        let tensor = lock(&network).forward(x.view()?)?;
        copy_out(&tensor, logits, "logits")
    })
}

/// Forward and backward pass: the gradients stay in the network.
///
/// @param x            `[N, C, H, W]` of the network's dtype
/// @param labels       N class numbers
/// @param label_count  N
/// @param loss         out: the mean cross-entropy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_loss_and_gradients(
    network: *const tb_network,
    x: *const tb_view,
    labels: *const i64,
    label_count: usize,
    loss: *mut f64,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_loss_and_gradients", || unsafe {
        let loss = non_null_mut(loss, "loss")?;
        let network = get(network)?;
        let mut borrows = Borrows::default();
        let x = borrows.input(x, "x")?;
        let labels = borrows.array(labels, label_count, "labels")?;
        *loss = lock(&network).loss_and_gradients(x.view()?, labels)?;
        Ok(())
    })
}

/// A further backward pass, under the present choices, on the activations of the last
/// `tb_network_loss_and_gradients`.
///
/// @return `TB_STATUS_UNSUPPORTED` where there are none, where parameters have changed since (a training step does
///         that), or where a choice is coupled and would have made others
#[unsafe(no_mangle)]
pub extern "C" fn tb_network_backward(network: *const tb_network) -> tb_status {
    guard("tb_network_backward", || Ok(lock(&*get(network)?).backward()?))
}

/// Loss and hits on a batch; no gradients.
///
/// @param x            `[N, C, H, W]` of the network's dtype
/// @param labels       N class numbers
/// @param label_count  N
/// @param loss         out: the mean cross-entropy
/// @param correct      out: number of samples whose largest logit is the label's
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_evaluate(
    network: *const tb_network,
    x: *const tb_view,
    labels: *const i64,
    label_count: usize,
    loss: *mut f64,
    correct: *mut usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_evaluate", || unsafe {
        let loss = non_null_mut(loss, "loss")?;
        let correct = non_null_mut(correct, "correct")?;
        let network = get(network)?;
        let mut borrows = Borrows::default();
        let x = borrows.input(x, "x")?;
        let labels = borrows.array(labels, label_count, "labels")?;
        let evaluation = lock(&network).evaluate(x.view()?, labels)?;
        (*loss, *correct) = (evaluation.loss, evaluation.correct);
        Ok(())
    })
}

/// Gradients under the present choices against those with `kink` at `layer`, on one forward pass unless a
/// coupled composition needs its own. Afterwards choices, gradients and stored activations are the present ones'.
///
/// @param x            `[N, C, H, W]` of the network's dtype
/// @param labels       N class numbers
/// @param label_count  N
/// @param layer        a layer's name; NULL for every layer of the kink's kind
/// @param kink         the second choice
/// @param comparison   in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_compare(
    network: *const tb_network,
    x: *const tb_view,
    labels: *const i64,
    label_count: usize,
    layer: *const c_char,
    kink: *const tb_kink,
    comparison: *mut tb_comparison,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_compare", || unsafe {
        // Looked at before the work is done.
        options::write(comparison, Growable::defaults(), "comparison")?;
        let network = get(network)?;
        let mut borrows = Borrows::default();
        let x = borrows.input(x, "x")?;
        let labels = borrows.array(labels, label_count, "labels")?;
        let layer = optional_string(layer, "layer")?;
        let result = lock(&network).compare(x.view()?, labels, layer, kink::read(kink)?)?;
        let values = tb_comparison {
            l1: result.l1(),
            l2: result.differences.iter().map(|d| d.l2).sum(),
            linf: result.linf(),
            differing: result.differences.iter().map(|d| d.differing as u64).sum(),
            losses: result.losses,
            shared_forward: result.shared_forward as i32,
            ..Growable::defaults()
        };
        options::write(comparison, values, "comparison")
    })
}

/// How many elements attain the maximum of each window of a max pooling, in the last
/// `tb_network_loss_and_gradients` or training step; 0 where a window holds a NaN.
///
/// @param layer        a maxpool2d layer's name
/// @param counts       out: N C OH OW numbers
/// @param counts_size  N C OH OW
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_ties(
    network: *const tb_network,
    layer: *const c_char,
    counts: *mut u8,
    counts_size: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_ties", || unsafe {
        let network = get(network)?;
        let layer = string(layer, "layer")?;
        let counts = Borrows::default().bytes_mut(counts, counts_size, "counts")?;
        let ties = lock(&network).ties(layer)?;
        if counts.len() != ties.counts.len() {
            let expected = format!("{} for windows {:?}", ties.counts.len(), ties.shape);
            return Err(Error::invalid("counts_size", expected, counts.len()).into());
        }
        counts.copy_from_slice(&ties.counts);
        Ok(())
    })
}
