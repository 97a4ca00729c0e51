use std::cmp::Ordering;
use std::ffi::c_char;
use std::sync::{Arc, Mutex, MutexGuard};

use super::engine::{self, tb_engine};
use super::graph::{self, tb_graph};
use super::handle::{self, Handle, Object, lock};
use super::kink::{self, tb_kink};
use super::options::{self, Growable};
use super::status::tb_status;
use super::tensor_properties::{layer_properties, tb_tensor_properties, tensor_properties};
use super::view::{dtype_number, tb_dtype};
use super::zoo::{self, tb_zoo_options};
use super::{Failure, copy_text, guard, non_null_mut, optional_string, string};
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::Error;
use crate::kink::Convention;
use crate::net::{Graph, Initialization, Layer, Network, NetworkOptions, ParameterInfo, zoo as networks};
use crate::precision::{Precision, ReductionOrder};

/// A network whose parameters, gradients and activations live on an engine. Created by `tb_network_create` or
/// `tb_network_create_from_graph`, given back by `tb_network_free`.
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

/// How to create a network; `tb_network_options_init` sets the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_network_options {
    /// `sizeof(tb_network_options)`.
    pub struct_size: usize,
    /// Its arithmetic: "f16", "f32" or "f64" throughout; "mixed": f16 operators on f32 parameters, to be trained with
    /// loss scaling; "f16+narrow": sums in f16 too, on the CPU; or every stored value rounded to a simulated format:
    /// "bf16", "tf32", "e4m3" (OCP's, without infinities; with them it is "e4m3ieee"), "e5m2", any
    /// "e<exponent bits>m<fraction bits>", each also with random rounding as "e5m2:stochastic(<seed>)", and stored in f64
    /// with "/f64" behind it. NULL, the default, means "f32".
    pub precision: *const c_char,
    /// How parameters start: "pytorch" (its defaults), "kaiming_uniform_fan_in", "kaiming_uniform_fan_out",
    /// "kaiming_normal_fan_in", "kaiming_normal_fan_out", or as published "resnet", "densenet", "volume". NULL, the
    /// default, means "pytorch".
    pub initialization: *const c_char,
    /// Seed of initialisation and dropout; default 0. The same values for each precision, each rounded once.
    pub seed: u64,
}

// SAFETY: repr(C), plain numbers and pointers, struct_size first.
unsafe impl Growable for tb_network_options {
    const FIRST_SIZE: usize = 32;
    fn defaults() -> Self {
        tb_network_options {
            struct_size: size_of::<Self>(),
            precision: std::ptr::null(),
            initialization: std::ptr::null(),
            seed: NetworkOptions::default().seed,
        }
    }
}

/// What a network is; filled by `tb_network_info`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_network_properties {
    /// `sizeof(tb_network_properties)`; set by the caller.
    pub struct_size: usize,
    /// A `TB_DTYPE_` value: of the batches that it takes, its activations and logits.
    pub dtype: tb_dtype,
    /// A `TB_DTYPE_` value: of parameters, buffers and gradients as the host reads and writes them. Another than
    /// `dtype` with "mixed" precision.
    pub parameter_dtype: tb_dtype,
    /// 1 where a GPU runs it, else 0.
    pub gpu: i32,
    /// 0.
    pub reserved: i32,
    /// Number of parameter tensors.
    pub parameter_count: usize,
    /// Number of buffers: running statistics of batch normalisation.
    pub buffer_count: usize,
    /// Number of layers, the input counted.
    pub layer_count: usize,
    /// Number of entries of `tb_network_census`.
    pub census_count: usize,
    /// Number of classes.
    pub classes: usize,
    /// Bytes that it holds on its engine.
    pub allocated_bytes: usize,
    /// `[C, H, W]` of the input.
    pub input_shape: [i64; 3],
    /// Its arithmetic, as in `tb_network_options`.
    pub precision: [c_char; 64],
    /// Why a GPU engine leaves it to the CPU; empty where it does not.
    pub placement: [c_char; 256],
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_network_properties {
    const FIRST_SIZE: usize = 416;
    fn defaults() -> Self {
        tb_network_properties {
            struct_size: size_of::<Self>(),
            dtype: 0,
            parameter_dtype: 0,
            gpu: 0,
            reserved: 0,
            parameter_count: 0,
            buffer_count: 0,
            layer_count: 0,
            census_count: 0,
            classes: 0,
            allocated_bytes: 0,
            input_shape: [0; 3],
            precision: [0; 64],
            placement: [0; 256],
        }
    }
}

/// Order of the sums over the batch in gradients of parameters and in batch statistics.
pub type tb_reduction_order = i32;

/// The order of the samples.
pub const TB_REDUCTION_ORDER_FIXED: tb_reduction_order = 0;
/// An order drawn from a seed, the layer and the number of training steps: imitates, repeatably, the order of GPU
/// atomics.
pub const TB_REDUCTION_ORDER_SEEDED: tb_reduction_order = 1;

/// The network behind a handle.
pub(super) fn get(network: *const tb_network) -> Result<Arc<Mutex<Network>>, Failure> {
    handle::get(network, "network")
}

/// Both networks, locked in the order of their addresses, so that two calls never wait for each other. One network twice is
/// refused: a thread that holds it would wait for itself.
pub(super) fn lock_two<'a>(
    first: &'a Mutex<Network>,
    second: &'a Mutex<Network>,
    argument: &str,
) -> Result<(MutexGuard<'a, Network>, MutexGuard<'a, Network>), Failure> {
    match std::ptr::from_ref(first).cmp(&std::ptr::from_ref(second)) {
        Ordering::Equal => Err(Error::invalid(argument, "another network", "the same one").into()),
        Ordering::Less => {
            let first = lock(first);
            Ok((first, lock(second)))
        }
        Ordering::Greater => {
            let second = lock(second);
            Ok((lock(first), second))
        }
    }
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

/// # Safety
/// As [`options::read`], for the texts too.
unsafe fn read(options: *const tb_network_options) -> Result<NetworkOptions, Failure> {
    // SAFETY: the caller's promise.
    let o = unsafe { options::read(options, "options") }?;
    let d = NetworkOptions::default();
    // SAFETY: the caller's promise.
    let precision = unsafe { optional_string(o.precision, "options.precision") }?;
    // SAFETY: the caller's promise.
    let initialization = unsafe { optional_string(o.initialization, "options.initialization") }?;
    Ok(NetworkOptions {
        precision: precision.map_or(Ok(d.precision), str::parse::<Precision>)?,
        initialization: initialization.map_or(Ok(d.initialization), str::parse::<Initialization>)?,
        seed: o.seed,
    })
}

fn create(engine: &Engine, graph: &Graph, options: &NetworkOptions) -> Result<*mut tb_network, Failure> {
    let created = Network::with_options(engine, graph, options)?;
    Ok(handle::create(Object::Network(Arc::new(Mutex::new(created)))))
}

/// Creates a network of the zoo on an engine.
///
/// @param engine   may be freed before the network. On a GPU engine f64 (and f16 where the GPU has none) is
///                 placed on the CPU; `tb_network_info` says so.
/// @param name     as for `tb_graph_from_zoo`: "lenet5", "resnet18_bn" ...
/// @param zoo      which of the networks of that name; NULL for the defaults
/// @param options  NULL for the defaults
/// @param network  out: the handle; free it with `tb_network_free`. NULL on failure.
/// @return `TB_STATUS_NOT_FOUND` for an unknown name
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_create(
    engine: *const tb_engine,
    name: *const c_char,
    zoo: *const tb_zoo_options,
    options: *const tb_network_options,
    network: *mut *mut tb_network,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_create", || unsafe {
        let network = non_null_mut(network, "network")?;
        *network = std::ptr::null_mut();
        let engine = engine::get(engine)?;
        let graph = networks::by_name(string(name, "name")?, &zoo::read(zoo, "zoo")?)?;
        *network = create(&engine, &graph, &read(options)?)?;
        Ok(())
    })
}

/// Creates a network of a graph on an engine.
///
/// @param engine   as for `tb_network_create`
/// @param graph    its output is `[classes]`; it is copied and may be freed or changed afterwards
/// @param options  NULL for the defaults
/// @param network  out: the handle; free it with `tb_network_free`. NULL on failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_create_from_graph(
    engine: *const tb_engine,
    graph: *const tb_graph,
    options: *const tb_network_options,
    network: *mut *mut tb_network,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_create_from_graph", || unsafe {
        let network = non_null_mut(network, "network")?;
        *network = std::ptr::null_mut();
        let engine = engine::get(engine)?;
        let graph = lock(&*graph::get(graph)?).clone();
        *network = create(&engine, &graph, &read(options)?)?;
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
            parameter_dtype: dtype_number(network.precision().parameters),
            gpu: network.placement().gpu as i32,
            parameter_count: network.parameters().count(),
            buffer_count: network.buffers().count(),
            layer_count: layers.len(),
            census_count: layers.iter().map(|l| census_entries(l.layer)).sum(),
            classes: layers.last().and_then(|l| l.shape.first().copied()).unwrap_or(0),
            allocated_bytes: network.allocated_bytes(),
            ..Growable::defaults()
        };
        for (to, &from) in values.input_shape.iter_mut().zip(&layers[0].shape) {
            *to = from as i64;
        }
        copy_text(&network.precision().to_string(), &mut values.precision);
        copy_text(network.placement().reason.as_deref().unwrap_or_default(), &mut values.placement);
        // SAFETY: the caller's promise, as the header states it.
        unsafe { options::write(properties, values, "properties") }
    })
}

/// Entries of a layer in a census.
pub(super) fn census_entries(layer: Layer) -> usize {
    match layer {
        Layer::MaxPool2d { window } => window.len() + 1,
        Layer::Relu => 1,
        _ => 0,
    }
}

/// Number `index` of `list` as the caller's struct.
///
/// # Safety
/// As [`options::write`].
unsafe fn nth_tensor<'a>(
    mut list: impl Iterator<Item = &'a ParameterInfo> + Clone,
    (kind, dtype, gpu): (&str, DType, bool),
    index: usize,
    properties: *mut tb_tensor_properties,
) -> Result<(), Failure> {
    let count = list.clone().count();
    let p = list.nth(index).ok_or_else(|| index_error(index, count))?;
    let values = tb_tensor_properties {
        dtype: dtype_number(dtype),
        gpu: gpu as i32,
        ..tensor_properties(&p.name, kind, &p.shape)
    };
    // SAFETY: the caller's promise.
    unsafe { options::write(properties, values, "properties") }
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
        let list: Vec<&ParameterInfo> = network.parameters().collect();
        let what = ("parameter", network.precision().parameters, network.placement().gpu);
        // SAFETY: the caller's promise, as the header states it.
        unsafe { nth_tensor(list.into_iter(), what, index, properties) }
    })
}

/// Name and shape of a buffer: running statistics of batch normalisation.
///
/// @param index       below `buffer_count` of `tb_network_info`
/// @param properties  in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_buffer_info(
    network: *const tb_network,
    index: usize,
    properties: *mut tb_tensor_properties,
) -> tb_status {
    guard("tb_network_buffer_info", || {
        let network = get(network)?;
        let network = lock(&network);
        let list: Vec<&ParameterInfo> = network.buffers().collect();
        let what = ("buffer", network.precision().parameters, network.placement().gpu);
        // SAFETY: the caller's promise, as the header states it.
        unsafe { nth_tensor(list.into_iter(), what, index, properties) }
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
        let network = get(network)?;
        let network = lock(&network);
        let layers = network.layers();
        let layer = layers.get(index).ok_or_else(|| index_error(index, layers.len()))?;
        let values = tb_tensor_properties {
            dtype: dtype_number(network.dtype()),
            gpu: network.placement().gpu as i32,
            ..layer_properties(layer)
        };
        // SAFETY: the caller's promise, as the header states it.
        unsafe { options::write(properties, values, "properties") }
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
        let kink = kink::read(kink, "kink")?;
        Ok(lock(&network).set_kink(layer, kink)?)
    })
}

/// Chooses what a framework computes, at every kink layer, from the next run on.
///
/// @param convention  "pytorch", "jax", "tensorflow", "candle", "mlpack", "theano" or "cudnn-random"
/// @return `TB_STATUS_INVALID_ARGUMENT` for another name
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_set_kinks(
    network: *const tb_network,
    convention: *const c_char,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_set_kinks", || unsafe {
        let network = get(network)?;
        let convention: Convention = string(convention, "convention")?.parse()?;
        lock(&network).set_kinks(convention);
        Ok(())
    })
}

/// The present choice at a kink layer.
///
/// @param layer  its name
/// @param kink   in: `struct_size`; out: the rest
/// @return `TB_STATUS_NOT_FOUND` for an unknown layer, `TB_STATUS_INVALID_ARGUMENT` for one that is no kink layer
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_kink(
    network: *const tb_network,
    layer: *const c_char,
    kink: *mut tb_kink,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_kink", || unsafe {
        let network = get(network)?;
        let layer = string(layer, "layer")?;
        let choice = lock(&network)
            .kink(layer)?
            .ok_or_else(|| Error::invalid("layer", "a maxpool2d, relu or norm_pool2d layer", layer))?;
        options::write(kink, kink::values(choice), "kink")
    })
}

/// Chooses the order of sums over the batch, from the next run on.
///
/// @param order  a `TB_REDUCTION_ORDER_` value
/// @param seed   counts with `TB_REDUCTION_ORDER_SEEDED`
#[unsafe(no_mangle)]
pub extern "C" fn tb_network_set_reduction_order(
    network: *const tb_network,
    order: tb_reduction_order,
    seed: u64,
) -> tb_status {
    guard("tb_network_set_reduction_order", || {
        let network = get(network)?;
        let order = match order {
            TB_REDUCTION_ORDER_FIXED => ReductionOrder::Fixed,
            TB_REDUCTION_ORDER_SEEDED => ReductionOrder::Seeded(seed),
            other => return Err(Error::invalid("order", "a TB_REDUCTION_ORDER_ value", other).into()),
        };
        lock(&network).set_reduction_order(order);
        Ok(())
    })
}

/// Lets training runs take the running statistics of batch normalisation instead of those of the batch, and leave
/// them as they are.
///
/// @param frozen  not 0: they do; 0: they do not
#[unsafe(no_mangle)]
pub extern "C" fn tb_network_freeze_batchnorm(network: *const tb_network, frozen: i32) -> tb_status {
    guard("tb_network_freeze_batchnorm", || {
        lock(&*get(network)?).freeze_batchnorm(frozen != 0);
        Ok(())
    })
}

/// Chooses what the loss is multiplied by before it is differentiated, so that small gradients do not underflow;
/// `tb_network_read_gradient`, norms, comparisons and optimizers divide by it again. An optimizer with `grad_scaler`
/// chooses it itself.
///
/// @param scale  above 0, within the range of float; 1 at first
#[unsafe(no_mangle)]
pub extern "C" fn tb_network_set_loss_scale(network: *const tb_network, scale: f64) -> tb_status {
    guard("tb_network_set_loss_scale", || Ok(lock(&*get(network)?).set_loss_scale(scale)?))
}
