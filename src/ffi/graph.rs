use std::ffi::c_char;
use std::sync::{Arc, Mutex};

use super::batchnorm::{self, tb_batchnorm_options};
use super::conv2d::{self, tb_conv2d_options};
use super::handle::{self, Handle, Object, lock};
use super::options::{self, Growable};
use super::pool2d::{self, tb_pool2d_options};
use super::status::tb_status;
use super::tensor_properties::{layer_properties, tb_tensor_properties};
use super::view::Borrows;
use super::zoo::{self, sample_shape, tb_zoo_options};
use super::{Failure, guard, non_null, non_null_mut, string, write_text};
use crate::error::{Error, Result as NetResult};
use crate::net::{Graph, NodeId, zoo as networks};
use crate::shape::Window2d;

/// The layers of a network to be, and the shapes between them. Created by `tb_graph_create`, `tb_graph_from_zoo` or
/// `tb_graph_from_json`, given back by `tb_graph_free`.
///
/// Layers are added one by one, each on the nodes of earlier ones; the last one added is the output. A network takes
/// a copy: the graph may be freed, or go on growing, afterwards.
pub struct tb_graph {
    _opaque: [u8; 0],
}

impl Handle for tb_graph {
    const NAME: &'static str = "tb_graph";
    type Target = Arc<Mutex<Graph>>;
    fn open(object: Object) -> Option<Self::Target> {
        match object {
            Object::Graph(graph) => Some(graph),
            _ => None,
        }
    }
}

/// A layer of a graph: its place in the order in which they were added, as `tb_graph_layer_info` and
/// `tb_network_layer_info` count them.
pub type tb_node = usize;

/// The input of every graph.
pub const TB_GRAPH_INPUT: tb_node = 0;

/// What a graph is; filled by `tb_graph_info`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_graph_properties {
    /// `sizeof(tb_graph_properties)`; set by the caller.
    pub struct_size: usize,
    /// Number of layers, the input counted.
    pub layer_count: usize,
    /// `[C, H, W]` of the input.
    pub input_shape: [i64; 3],
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_graph_properties {
    const FIRST_SIZE: usize = 40;
    fn defaults() -> Self {
        tb_graph_properties { struct_size: size_of::<Self>(), layer_count: 0, input_shape: [0; 3] }
    }
}

/// The graph behind a handle.
pub(super) fn get(graph: *const tb_graph) -> Result<Arc<Mutex<Graph>>, Failure> {
    handle::get(graph, "graph")
}

/// Adds a layer; its node goes to the caller, unless he does not want it.
///
/// # Safety
/// `name` as [`string`]; a non-NULL `node` must be valid for writes.
unsafe fn add_layer(
    graph: *const tb_graph,
    name: *const c_char,
    node: *mut tb_node,
    add: impl FnOnce(&mut Graph, &str) -> NetResult<NodeId>,
) -> Result<(), Failure> {
    let graph = get(graph)?;
    // SAFETY: the caller's promise.
    let name = unsafe { string(name, "name") }?;
    let mut unwanted = TB_GRAPH_INPUT;
    // SAFETY: the caller's promise.
    let node = if node.is_null() { &mut unwanted } else { unsafe { non_null_mut(node, "node") }? };
    *node = add(&mut lock(&graph), name)?.0;
    Ok(())
}

/// Creates a graph that has its input alone, node `TB_GRAPH_INPUT`.
///
/// @param input_shape  `[C, H, W]` of a sample, 3 numbers
/// @param graph        out: the handle; free it with `tb_graph_free`. NULL on failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_create(input_shape: *const i64, graph: *mut *mut tb_graph) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_create", || unsafe {
        let graph = non_null_mut(graph, "graph")?;
        *graph = std::ptr::null_mut();
        let shape = sample_shape(*non_null(input_shape.cast::<[i64; 3]>(), "input_shape")?, "input_shape")?;
        *graph = handle::create(Object::Graph(Arc::new(Mutex::new(Graph::new(shape)))));
        Ok(())
    })
}

/// Creates the graph of a network of the zoo, to look at or to build on.
///
/// @param name     "lenet5", "vgg9", "vgg11", "vgg13", "vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "densenet121",
///                 "densenet201"; with the suffix "_bn": with batch normalisation
/// @param options  NULL for the defaults
/// @param graph    out: the handle; free it with `tb_graph_free`. NULL on failure.
/// @return `TB_STATUS_NOT_FOUND` for an unknown name
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_from_zoo(
    name: *const c_char,
    options: *const tb_zoo_options,
    graph: *mut *mut tb_graph,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_from_zoo", || unsafe {
        let graph = non_null_mut(graph, "graph")?;
        *graph = std::ptr::null_mut();
        let created = networks::by_name(string(name, "name")?, &zoo::read(options, "options")?)?;
        *graph = handle::create(Object::Graph(Arc::new(Mutex::new(created))));
        Ok(())
    })
}

/// Creates a graph from its description, a JSON object such as
/// `{"input": [1, 8, 8], "layers": [{"name": "pool", "type": "maxpool2d", "kernel": 2}, {"name": "flat", "type": "flatten"},
/// {"name": "head", "type": "linear", "out_features": 10}]}`.
///
/// `input` is `[C, H, W]`. A layer reads the one before it, or those named by `inputs`, of which `add` has two and `concat`
/// any number; the network's input is called "input". Types and their fields: `conv2d` (out_channels, kernel, stride 1,
/// padding 0, dilation 1, groups 1, bias true), `linear` (out_features, bias true), `batchnorm` (eps 1e-5, momentum 0.1),
/// `maxpool2d`, `avgpool2d`, `norm_pool2d` (kernel, stride: the kernel, padding 0), `relu`, `flatten`, `add`, `concat`,
/// `dropout` (p). A kernel, stride, padding or dilation is a number or `[height, width]`.
///
/// @param description  NUL-terminated UTF-8
/// @param graph        out: the handle; free it with `tb_graph_free`. NULL on failure.
/// @return `TB_STATUS_INVALID_ARGUMENT`, `TB_STATUS_SHAPE_MISMATCH` or `TB_STATUS_NOT_FOUND` with the name of the layer
///         that is wrong
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_from_json(
    description: *const c_char,
    graph: *mut *mut tb_graph,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_from_json", || unsafe {
        let graph = non_null_mut(graph, "graph")?;
        *graph = std::ptr::null_mut();
        let created = Graph::from_json(string(description, "description")?)?;
        *graph = handle::create(Object::Graph(Arc::new(Mutex::new(created))));
        Ok(())
    })
}

/// The description of a graph, as `tb_graph_from_json` reads it.
///
/// @param text  out: NUL-terminated UTF-8, cut where `room` ends; NULL where room is 0
/// @param room  bytes at text
/// @param size  out: bytes that the whole text takes, with its NUL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_to_json(
    graph: *const tb_graph,
    text: *mut c_char,
    room: usize,
    size: *mut usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_to_json", || unsafe {
        let graph = get(graph)?;
        let description = lock(&graph).to_json();
        write_text(&description, text, room, size)
    })
}

/// Frees a graph. NULL is nothing to do; a handle freed before is `TB_STATUS_INVALID_HANDLE`.
#[unsafe(no_mangle)]
pub extern "C" fn tb_graph_free(graph: *mut tb_graph) -> tb_status {
    guard("tb_graph_free", || handle::free(graph, "graph"))
}

/// What a graph is.
///
/// @param properties  in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_info(
    graph: *const tb_graph,
    properties: *mut tb_graph_properties,
) -> tb_status {
    guard("tb_graph_info", || {
        let graph = get(graph)?;
        let layers: Vec<_> = lock(&graph).layers().collect();
        let mut values = tb_graph_properties { layer_count: layers.len(), ..Growable::defaults() };
        for (to, &from) in values.input_shape.iter_mut().zip(&layers[0].shape) {
            *to = from as i64;
        }
        // SAFETY: the caller's promise, as the header states it.
        unsafe { options::write(properties, values, "properties") }
    })
}

/// Name, kind and output shape of a layer.
///
/// @param node        the layer
/// @param properties  in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_layer_info(
    graph: *const tb_graph,
    node: tb_node,
    properties: *mut tb_tensor_properties,
) -> tb_status {
    guard("tb_graph_layer_info", || {
        let graph = get(graph)?;
        let layers: Vec<_> = lock(&graph).layers().collect();
        let expected = format!("below {}", layers.len());
        let layer = layers.get(node).ok_or_else(|| Error::invalid("node", expected, node))?;
        // SAFETY: the caller's promise, as the header states it.
        unsafe { options::write(properties, layer_properties(layer), "properties") }
    })
}

/// Adds a convolution: `[C, H, W]` to `[out_channels, OH, OW]`, with parameters `<name>.weight` and `<name>.bias`.
///
/// @param name          the layer's, not used before
/// @param x             its input
/// @param out_channels  a multiple of the groups
/// @param options       with the kernel's height and width
/// @param bias          not 0: with bias
/// @param node          out: the layer; NULL where it is not wanted
/// @return `TB_STATUS_SHAPE_MISMATCH`, `TB_STATUS_INVALID_ARGUMENT`; the message names the layer
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_conv2d(
    graph: *const tb_graph,
    name: *const c_char,
    x: tb_node,
    out_channels: usize,
    options: *const tb_conv2d_options,
    bias: i32,
    node: *mut tb_node,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_conv2d", || unsafe {
        let (o, kernel) = conv2d::read(options)?;
        let window = Window2d { kernel, stride: o.stride, padding: o.padding, dilation: o.dilation };
        add_layer(graph, name, node, |g, name| {
            g.grouped_conv2d(name, NodeId(x), out_channels, window, o.groups, bias != 0)
        })
    })
}

/// Adds a ReLU on any shape: a kink layer.
///
/// @param name  the layer's, not used before
/// @param x     its input
/// @param node  out: the layer; NULL where it is not wanted
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_relu(
    graph: *const tb_graph,
    name: *const c_char,
    x: tb_node,
    node: *mut tb_node,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_relu", || unsafe { add_layer(graph, name, node, |g, name| g.relu(name, NodeId(x))) })
}

/// Adds a max pooling, `[C, H, W]` to `[C, OH, OW]`: a kink layer.
///
/// @param name     the layer's, not used before
/// @param x        its input
/// @param options  NULL for the defaults
/// @param node     out: the layer; NULL where it is not wanted
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_maxpool2d(
    graph: *const tb_graph,
    name: *const c_char,
    x: tb_node,
    options: *const tb_pool2d_options,
    node: *mut tb_node,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_maxpool2d", || unsafe {
        let window = pool2d::read(options)?;
        add_layer(graph, name, node, |g, name| g.maxpool2d(name, NodeId(x), window))
    })
}

/// Adds a norm pooling, `[C, H, W]` to `[C, OH, OW]`, the Euclidean norm of each window: a kink layer.
///
/// @param name     the layer's, not used before
/// @param x        its input
/// @param options  NULL for the defaults
/// @param node     out: the layer; NULL where it is not wanted
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_norm_pool2d(
    graph: *const tb_graph,
    name: *const c_char,
    x: tb_node,
    options: *const tb_pool2d_options,
    node: *mut tb_node,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_norm_pool2d", || unsafe {
        let window = pool2d::read(options)?;
        add_layer(graph, name, node, |g, name| g.norm_pool2d(name, NodeId(x), window))
    })
}

/// Adds an average pooling: `[C, H, W]` to `[C, OH, OW]`; padding counts as zeros.
///
/// @param name     the layer's, not used before
/// @param x        its input
/// @param options  NULL for the defaults
/// @param node     out: the layer; NULL where it is not wanted
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_avgpool2d(
    graph: *const tb_graph,
    name: *const c_char,
    x: tb_node,
    options: *const tb_pool2d_options,
    node: *mut tb_node,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_avgpool2d", || unsafe {
        let window = pool2d::read(options)?;
        add_layer(graph, name, node, |g, name| g.avgpool2d(name, NodeId(x), window))
    })
}

/// Adds an average pooling over each whole plane: `[C, H, W]` to `[C, 1, 1]`.
///
/// @param name  the layer's, not used before
/// @param x     its input
/// @param node  out: the layer; NULL where it is not wanted
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_adaptive_avgpool2d(
    graph: *const tb_graph,
    name: *const c_char,
    x: tb_node,
    node: *mut tb_node,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_adaptive_avgpool2d", || unsafe {
        add_layer(graph, name, node, |g, name| g.adaptive_avgpool2d(name, NodeId(x)))
    })
}

/// Adds a batch normalisation of `[C, H, W]` by channel or of `[F]` by feature, with parameters `<name>.weight` and
/// `<name>.bias` and buffers `<name>.running_mean` and `<name>.running_var`.
///
/// @param name     the layer's, not used before
/// @param x        its input
/// @param options  NULL for the defaults
/// @param node     out: the layer; NULL where it is not wanted
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_batchnorm(
    graph: *const tb_graph,
    name: *const c_char,
    x: tb_node,
    options: *const tb_batchnorm_options,
    node: *mut tb_node,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_batchnorm", || unsafe {
        let o = batchnorm::read(options)?;
        add_layer(graph, name, node, |g, name| g.batchnorm_with(name, NodeId(x), o.eps, o.momentum))
    })
}

/// Adds a dropout on any shape: in training each element is 0 with probability `p`, else divided by 1 - `p`.
///
/// @param name  the layer's, not used before
/// @param x     its input
/// @param p     0 to 1
/// @param node  out: the layer; NULL where it is not wanted
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_dropout(
    graph: *const tb_graph,
    name: *const c_char,
    x: tb_node,
    p: f64,
    node: *mut tb_node,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_dropout", || unsafe {
        add_layer(graph, name, node, |g, name| g.dropout(name, NodeId(x), p))
    })
}

/// Adds a fully connected layer: `[I]` to `[out_features]`, with parameters `<name>.weight` and `<name>.bias`.
///
/// @param name          the layer's, not used before
/// @param x             its input
/// @param out_features  at least 1
/// @param bias          not 0: with bias
/// @param node          out: the layer; NULL where it is not wanted
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_linear(
    graph: *const tb_graph,
    name: *const c_char,
    x: tb_node,
    out_features: usize,
    bias: i32,
    node: *mut tb_node,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_linear", || unsafe {
        add_layer(graph, name, node, |g, name| g.linear(name, NodeId(x), out_features, bias != 0))
    })
}

/// Adds a layer that sees `[C, H, W]` as `[C * H * W]`.
///
/// @param name  the layer's, not used before
/// @param x     its input
/// @param node  out: the layer; NULL where it is not wanted
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_flatten(
    graph: *const tb_graph,
    name: *const c_char,
    x: tb_node,
    node: *mut tb_node,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_flatten", || unsafe {
        add_layer(graph, name, node, |g, name| g.flatten(name, NodeId(x)))
    })
}

/// Adds the sum of two tensors of equal shape.
///
/// @param name  the layer's, not used before
/// @param a, b  its inputs
/// @param node  out: the layer; NULL where it is not wanted
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_add(
    graph: *const tb_graph,
    name: *const c_char,
    a: tb_node,
    b: tb_node,
    node: *mut tb_node,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_add", || unsafe {
        add_layer(graph, name, node, |g, name| g.add(name, NodeId(a), NodeId(b)))
    })
}

/// Adds a concatenation of `[C_i, H, W]` to `[sum of C_i, H, W]`, or of `[F_i]` to `[sum of F_i]`.
///
/// @param name         the layer's, not used before
/// @param inputs       the nodes, one after the other
/// @param input_count  at least 1
/// @param node         out: the layer; NULL where it is not wanted
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_graph_concat(
    graph: *const tb_graph,
    name: *const c_char,
    inputs: *const tb_node,
    input_count: usize,
    node: *mut tb_node,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_graph_concat", || unsafe {
        // A copy: `node` may be one of the inputs' variables.
        let inputs: Vec<NodeId> =
            Borrows::default().array(inputs, input_count, "inputs")?.iter().map(|&n| NodeId(n)).collect();
        add_layer(graph, name, node, |g, name| g.concat(name, &inputs))
    })
}
