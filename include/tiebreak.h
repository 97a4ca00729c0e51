/*
 * Tiebreak: what automatic differentiation computes at the kinks of a convolutional network, and the choice of it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 * Generated from src/ffi by cbindgen; tests/header.rs says how to renew it. Do not edit.
 *
 * CONVENTIONS
 *
 * Status. Every function that can fail returns a tb_status: TB_STATUS_OK (0) or the reason. The numbers are frozen.
 * tb_last_error_message() then names the function, the argument, what was expected and what came, for the calling
 * thread. Out-parameters come last, handles are set to NULL first and written only on success; other outputs are
 * untouched, or undefined where work had begun. No call aborts, and no panic or exception leaves the library: an
 * internal error is TB_STATUS_PANIC and the program may go on. The library prints nothing.
 *
 * Handles (tb_engine, tb_tensor, tb_graph, tb_network, tb_optimizer, tb_dataset, tb_experiment, tb_experiment_result) look
 * like pointers and are tokens: never dereference them. A handle that was freed, is of another type or was never created
 * gives TB_STATUS_INVALID_HANDLE. Freeing NULL is fine.
 * An object lives until its handle is freed and nothing else needs it, so the order of freeing does not matter.
 *
 * Tensors are the caller's memory, dense and row-major, described by a tb_view or tb_view_mut: [N, C, H, W] images,
 * [O, C / groups, KH, KW] convolution weights, [O, I] linear weights. They are borrowed for the length of one call,
 * never kept. All tensors of a call have one dtype unless its function says otherwise; outputs overlap nothing. In place
 * of the caller's memory a view may name a tb_tensor, memory of the engine: operators of that engine use it where it
 * lies, and on a GPU nothing waits if no argument is host memory; the two kinds may be mixed in a call. Everything else
 * copies it. Strings and paths of files are NUL-terminated UTF-8.
 *
 * Structs with struct_size grow with the library: call the init function, or for a struct that the library fills
 * set struct_size = sizeof(it). In an array that the library fills the first one's struct_size speaks for all. A
 * program compiled with an older header works with a newer library.
 *
 * Long work (reading a data set, an epoch, an experiment) takes a tb_progress_callback that may stop it.
 *
 * Threads. Any handle may be used from any thread; calls on one engine run one after the other. There is no global
 * state but the table of handles, each thread's error message, and a Rust panic hook that keeps the library quiet.
 *
 * Numbers. Sums are accumulated in f32 for f16 and f32, in f64 for f64; an operator rounds to nearest even once for
 * each element that it writes (MaxPool under TB_COMPOSITION_SPLIT and _COUPLED, overlapping windows, norm pooling, and
 * optimizers as their functions say). The same inputs give the same bits on the same machine, whatever the number of
 * threads; another kind of processor, or a GPU, may order the sums of convolutions and linear layers differently.
 */

#ifndef TIEBREAK_H
#define TIEBREAK_H

#include <stddef.h>
#include <stdint.h>

/**
 * Version of the binary interface that this header describes.
 */
#define TB_ABI_VERSION 1

/**
 * In place of the size of tie sets: they are a `tb_tensor` of `TB_DTYPE_BYTE`, whose handle is the pointer.
 */
#define TB_TIES_TENSOR 4611686018427387904

/**
 * Labelled images, 8 bits a channel, in host memory, or photos whose files each batch reads. Created by `tb_dataset_open`,
 * `tb_dataset_digits`, `tb_dataset_shapes` or `tb_dataset_create`, given back by `tb_dataset_free`. It never changes. In a
 * build without the feature `lab` those four give `TB_STATUS_UNSUPPORTED`.
 */
typedef struct tb_dataset tb_dataset;

/**
 * Runs operators and networks. Created by `tb_engine_create`, given back by `tb_engine_free`.
 */
typedef struct tb_engine tb_engine;

/**
 * An experiment with its protocol chosen: a list of units, each of which is measured by itself. Created by
 * `tb_experiment_create`, given back by `tb_experiment_free`. It never changes, and may run more than once. In a build
 * without the feature `lab` there is none.
 */
typedef struct tb_experiment tb_experiment;

/**
 * What a run of an experiment measured: a table with a row for each measurement, all settings among its columns, and the
 * answer in sentences. Created by `tb_experiment_run`, given back by `tb_experiment_result_free`. It never changes.
 */
typedef struct tb_experiment_result tb_experiment_result;

/**
 * The layers of a network to be, and the shapes between them. Created by `tb_graph_create`, `tb_graph_from_zoo` or
 * `tb_graph_from_json`, given back by `tb_graph_free`.
 *
 * Layers are added one by one, each on the nodes of earlier ones; the last one added is the output. A network takes
 * a copy: the graph may be freed, or go on growing, afterwards.
 */
typedef struct tb_graph tb_graph;

/**
 * A network whose parameters, gradients and activations live on an engine. Created by `tb_network_create` or
 * `tb_network_create_from_graph`, given back by `tb_network_free`.
 */
typedef struct tb_network tb_network;

/**
 * Updates the parameters of one network, which it keeps alive. Created by `tb_optimizer_create`, given back by
 * `tb_optimizer_free`.
 */
typedef struct tb_optimizer tb_optimizer;

/**
 * A tensor in memory of an engine, dense and row-major: on a GPU the device's, on the CPU host memory. Operators of that
 * engine take it in place of the caller's memory, in a `tb_view` or `tb_view_mut` of `TB_DTYPE_TENSOR`, and use it where
 * it lies; what else takes a view copies it. Created by `tb_tensor_create`, given back by `tb_tensor_free`.
 */
typedef struct tb_tensor tb_tensor;

/**
 * What every function returns: `TB_STATUS_OK` (0) or the reason of its failure. The numbers are frozen.
 */
typedef int32_t tb_status;

/**
 * Where an engine computes.
 */
typedef int32_t tb_device;

/**
 * How serious a log message is.
 */
typedef int32_t tb_log_level;

/**
 * Receives log messages. `message` is valid during the call only. May be called from any thread, by one at a
 * time; must not call the library on the same engine.
 */
typedef void (*tb_log_callback)(tb_log_level level, const char *message, void *user_data);

/**
 * How to create an engine; `tb_engine_options_init` sets the defaults.
 */
typedef struct tb_engine_options {
    /**
     * `sizeof(tb_engine_options)`.
     */
    size_t struct_size;
    /**
     * A `TB_DEVICE_` value; default auto.
     */
    tb_device device;
    /**
     * Threads of the CPU engine; 0, the default, takes all cores. Results do not depend on it.
     */
    uint32_t threads;
    /**
     * Part of the name of the GPU adapter to take, in any case; NULL, the default, takes the best.
     */
    const char *adapter;
    /**
     * Where log messages go; NULL, the default: nowhere. The library itself prints nothing.
     */
    tb_log_callback log;
    /**
     * Passed to `log`; must stay valid as long as the engine or a network on it lives.
     */
    void *log_user_data;
    /**
     * Bytes that one network may hold; 0, the default: on the CPU what the system has available, on a GPU what the
     * driver gives.
     */
    size_t memory_limit;
} tb_engine_options;

/**
 * What an engine computes with; filled by `tb_engine_info`.
 */
typedef struct tb_engine_properties {
    /**
     * `sizeof(tb_engine_properties)`; set by the caller.
     */
    size_t struct_size;
    /**
     * 1 where a GPU is in use, else 0.
     */
    int32_t gpu;
    /**
     * 1 where f16 runs on the GPU, else 0.
     */
    int32_t gpu_f16;
    /**
     * Threads of the CPU engine.
     */
    uint32_t threads;
    /**
     * Name of the GPU adapter, or "cpu".
     */
    char name[256];
    /**
     * Driver and version of the GPU, or the CPU's architecture.
     */
    char driver[256];
} tb_engine_properties;

/**
 * Bytes that an engine holds for all its networks and calls; filled by `tb_engine_memory`.
 */
typedef struct tb_memory_use {
    /**
     * `sizeof(tb_memory_use)`; set by the caller.
     */
    size_t struct_size;
    /**
     * In host memory, now: what the CPU computes with.
     */
    size_t host_bytes;
    /**
     * The most so far.
     */
    size_t host_peak;
    /**
     * On the GPU, now; 0 where there is none.
     */
    size_t device_bytes;
    /**
     * The most so far.
     */
    size_t device_peak;
} tb_memory_use;

/**
 * What an adapter is.
 */
typedef int32_t tb_adapter_kind;

/**
 * A GPU, or a driver that imitates one; filled by `tb_adapters`.
 */
typedef struct tb_adapter_properties {
    /**
     * `sizeof(tb_adapter_properties)`; set by the caller, of an array in the first.
     */
    size_t struct_size;
    /**
     * Its name, which `adapter` of `tb_engine_options` chooses by; its first 255 bytes.
     */
    char name[256];
    /**
     * Driver and version; their first 255 bytes.
     */
    char driver[256];
    /**
     * A `TB_ADAPTER_` value.
     */
    tb_adapter_kind kind;
    /**
     * 1 where f16 runs on it, else 0.
     */
    int32_t f16;
    /**
     * 1 where it times kernels, which `tb_optimizer_profile_step` needs, else 0.
     */
    int32_t timestamps;
    /**
     * 0.
     */
    int32_t reserved;
    /**
     * Bytes of the largest buffer.
     */
    uint64_t largest_buffer;
    /**
     * Bytes that a kernel can reach of one buffer: the largest tensor has the smaller of both.
     */
    uint64_t largest_binding;
    /**
     * Why an engine cannot use it; empty where it can.
     */
    char unusable[256];
} tb_adapter_properties;

/**
 * Type of the elements of a tensor.
 */
typedef int32_t tb_dtype;

/**
 * A layer, a parameter, a buffer or a tensor; filled by the `_info` functions of graphs, networks and tensors.
 */
typedef struct tb_tensor_properties {
    /**
     * `sizeof(tb_tensor_properties)`; set by the caller.
     */
    size_t struct_size;
    /**
     * Name, PyTorch's where the network comes from there: "features.0.weight"; cut where it has more than 127 bytes.
     */
    char name[128];
    /**
     * "parameter", "buffer", "tensor", or the layer's kind: "conv2d", "relu", "maxpool2d" ...
     */
    char kind[32];
    /**
     * Number of dimensions.
     */
    int32_t rank;
    /**
     * Dimensions, of a layer's output without that of the batch.
     */
    int64_t shape[8];
    /**
     * A `TB_DTYPE_` value; 0 of a graph's layers.
     */
    tb_dtype dtype;
    /**
     * 1 where it lies on a GPU, else 0.
     */
    int32_t gpu;
} tb_tensor_properties;

/**
 * The caller's memory seen as a dense, row-major tensor that the library only reads; with `TB_DTYPE_TENSOR` a
 * `tb_tensor` instead.
 *
 * The library borrows `data` and `shape` for the length of the call and keeps neither.
 */
typedef struct tb_view {
    /**
     * The elements, aligned to their size; may be NULL only where a dimension is 0.
     */
    const void *data;
    /**
     * `rank` dimensions, outermost first, none negative.
     */
    const int64_t *shape;
    /**
     * Number of dimensions, 0 to 8.
     */
    int32_t rank;
    /**
     * A `TB_DTYPE_` value.
     */
    tb_dtype dtype;
} tb_view;

/**
 * The caller's memory seen as a dense, row-major tensor that the library writes; with `TB_DTYPE_TENSOR` a `tb_tensor`
 * instead.
 *
 * Must not overlap any other tensor of the same call. Otherwise like `tb_view`.
 */
typedef struct tb_view_mut {
    /**
     * The elements, aligned to their size; may be NULL only where a dimension is 0.
     */
    void *data;
    /**
     * `rank` dimensions, outermost first, none negative.
     */
    const int64_t *shape;
    /**
     * Number of dimensions, 0 to 8.
     */
    int32_t rank;
    /**
     * A `TB_DTYPE_` value.
     */
    tb_dtype dtype;
} tb_view_mut;

/**
 * Which kink a choice is about.
 */
typedef int32_t tb_kink_kind;

/**
 * What the backward pass of MaxPool gives to the elements of a window that attain its maximum. With A the set
 * of these elements in row-major order, k their number and g the upstream gradient:
 */
typedef int32_t tb_jacobian;

/**
 * How `TB_JACOBIAN_BETA` is evaluated in floating point.
 */
typedef int32_t tb_composition;

/**
 * A choice where there is no derivative; `tb_kink_init` sets the defaults: what PyTorch computes.
 */
typedef struct tb_kink {
    /**
     * `sizeof(tb_kink)`.
     */
    size_t struct_size;
    /**
     * A `TB_KINK_` value: which of the fields below count.
     */
    tb_kink_kind kind;
    /**
     * MaxPool: a `TB_JACOBIAN_` value.
     */
    tb_jacobian jacobian;
    /**
     * MaxPool: a `TB_COMPOSITION_` value; counts with `TB_JACOBIAN_BETA`.
     */
    tb_composition composition;
    /**
     * 0.
     */
    int32_t reserved;
    /**
     * MaxPool: any number within the range of float; counts with `TB_JACOBIAN_BETA`. 0 is native, 1 is minimal.
     */
    double beta;
    /**
     * MaxPool: counts with `TB_JACOBIAN_RANDOM`.
     */
    uint64_t seed;
    /**
     * ReLU: the derivative at 0, any number within the range of float.
     */
    double alpha;
    /**
     * Norm pooling: what each element of a window of zeros gets of g, any number within the range of float.
     */
    double at_zero;
} tb_kink;

/**
 * The window of a convolution; `tb_conv2d_options_init` sets the defaults.
 */
typedef struct tb_conv2d_options {
    /**
     * `sizeof(tb_conv2d_options)`.
     */
    size_t struct_size;
    /**
     * Height and width; default 1, 1.
     */
    int64_t stride[2];
    /**
     * Zeros on each side, height and width; default 0, 0.
     */
    int64_t padding[2];
    /**
     * Distance between the elements of the kernel, height and width; default 1, 1.
     */
    int64_t dilation[2];
    /**
     * Groups of channels that do not see each other; default 1.
     */
    int64_t groups;
    /**
     * Height and width; `tb_graph_conv2d` needs them. 0, the default, means the weight's.
     */
    int64_t kernel[2];
} tb_conv2d_options;

/**
 * The window of a pooling; `tb_pool2d_options_init` sets the defaults.
 */
typedef struct tb_pool2d_options {
    /**
     * `sizeof(tb_pool2d_options)`.
     */
    size_t struct_size;
    /**
     * Height and width; default 2, 2.
     */
    int64_t kernel[2];
    /**
     * Height and width; 0, the default, means the kernel's.
     */
    int64_t stride[2];
    /**
     * On each side, height and width, at most half the kernel; default 0, 0. Padding never belongs to a window of a
     * max or norm pooling; an average counts it as zeros.
     */
    int64_t padding[2];
} tb_pool2d_options;

/**
 * How often the windows of a max pooling stand on a kink, and how often rounding would put them there; filled by
 * `tb_maxpool2d_diagnose`.
 */
typedef struct tb_maxpool2d_diagnosis {
    /**
     * `sizeof(tb_maxpool2d_diagnosis)`; set by the caller.
     */
    size_t struct_size;
    /**
     * All windows: the sum of the next four.
     */
    uint64_t windows;
    /**
     * Windows that hold a NaN.
     */
    uint64_t nan;
    /**
     * Windows whose maximum one element attains.
     */
    uint64_t untied;
    /**
     * Windows with several such elements whose maximum is 0.
     */
    uint64_t tied_at_zero;
    /**
     * Windows with several such elements whose maximum is not 0.
     */
    uint64_t tied_elsewhere;
    /**
     * Tied windows where the choice can matter: they receive a gradient that is not 0.
     */
    uint64_t alive;
    /**
     * Windows whose maximum rounding to f16 is expected to make equal to the largest element below it: the sum of
     * max(0, 1 - lead / ulp) over the windows, tied or not, with the lead of the maximum over that element and the
     * distance ulp of the numbers of f16 around the maximum.
     */
    double predicted_ties_f16;
    /**
     * The same for bfloat16.
     */
    double predicted_ties_bf16;
    /**
     * The same for f32.
     */
    double predicted_ties_f32;
} tb_maxpool2d_diagnosis;

/**
 * Scalars of a batch normalisation, as PyTorch's `torch.nn.BatchNorm2d`; `tb_batchnorm_options_init` sets the
 * defaults.
 */
typedef struct tb_batchnorm_options {
    /**
     * `sizeof(tb_batchnorm_options)`.
     */
    size_t struct_size;
    /**
     * Added to the variance, at least 0; default 1e-5.
     */
    double eps;
    /**
     * Share of the batch's statistics that the running ones take, 0 to 1; default 0.1.
     */
    double momentum;
} tb_batchnorm_options;

/**
 * Parameters that are trained differently; `tb_parameter_group_init` sets the defaults.
 */
typedef struct tb_parameter_group {
    /**
     * `sizeof(tb_parameter_group)`.
     */
    size_t struct_size;
    /**
     * Which: names that match a pattern with * and ?, such as "features.0.*"; NULL, the default, means biases, and
     * weights and biases of batch normalisation. A pattern that matches no parameter is refused.
     */
    const char *names;
    /**
     * What the learning rate is multiplied by; default 1.
     */
    double learning_rate_factor;
    /**
     * Instead of the optimizer's `weight_decay`; below 0, the default, means the optimizer's.
     */
    double weight_decay;
} tb_parameter_group;

/**
 * How parameters are updated, with PyTorch's order of operations.
 */
typedef int32_t tb_algorithm;

/**
 * An algorithm with its scalars, and what an optimizer does besides; `tb_optimizer_options_init` sets the defaults of
 * the algorithm. What it does not have does not count.
 */
typedef struct tb_optimizer_options {
    /**
     * `sizeof(tb_optimizer_options)`.
     */
    size_t struct_size;
    /**
     * A `TB_ALGORITHM_` value.
     */
    tb_algorithm algorithm;
    /**
     * SGD: not 0 for Nesterov's momentum, which needs momentum above 0 and no dampening; default 0.
     */
    int32_t nesterov;
    /**
     * Adam, AdamW: not 0 to divide by the largest second average so far; default 0.
     */
    int32_t amsgrad;
    /**
     * RMSprop: not 0 to divide by the standard deviation of the gradient, not its root mean square; default 0.
     */
    int32_t centered;
    /**
     * Step length, at least 0; default 0.01, of Adam and AdamW 0.001.
     */
    double learning_rate;
    /**
     * At least 0: this times the parameter is added to the gradient; of AdamW it is the share of the parameter, times
     * the step length, that a step takes away. Default 0, of AdamW 0.01.
     */
    double weight_decay;
    /**
     * SGD, RMSprop: share of the momentum buffer that is kept, at least 0; default 0, which keeps no buffer.
     */
    double momentum;
    /**
     * SGD: share of the gradient that the momentum buffer does not take; default 0.
     */
    double dampening;
    /**
     * Adam, AdamW: shares of the two moving averages that a step keeps, from 0 to below 1; default 0.9, 0.999.
     */
    double betas[2];
    /**
     * RMSprop: share of the moving averages that a step keeps, at least 0; default 0.99.
     */
    double alpha;
    /**
     * Adam, AdamW, RMSprop: added to the root of the average, at least 0; default 1e-8, which is 0 in f16.
     */
    double eps;
    /**
     * `tb_optimizer_create`: exceptions by parameter, which belongs to the first group that holds it; NULL, the
     * default, means none.
     */
    const struct tb_parameter_group *groups;
    /**
     * How many.
     */
    size_t group_count;
    /**
     * `tb_optimizer_create`: scales all gradients down together where the Euclidean norm over all of them exceeds
     * this, as `torch.nn.utils.clip_grad_norm_`; 0, the default, means never.
     */
    double clip_norm;
    /**
     * `tb_optimizer_create`: not 0 for dynamic loss scaling, as `torch.amp.GradScaler`: a step with a gradient that is
     * not finite is skipped and the scale multiplied by `backoff_factor`; after `growth_interval` good steps in a row
     * it is multiplied by `growth_factor`. Default 0.
     */
    int32_t grad_scaler;
    /**
     * At least 1; default 2000.
     */
    uint32_t growth_interval;
    /**
     * The scale at first, above 0; default 65536.
     */
    double loss_scale;
    /**
     * Above 1; default 2.
     */
    double growth_factor;
    /**
     * Between 0 and 1; default 0.5.
     */
    double backoff_factor;
} tb_optimizer_options;

/**
 * Which network of the zoo; `tb_zoo_options_init` sets the defaults. A network ignores what it does not have.
 */
typedef struct tb_zoo_options {
    /**
     * `sizeof(tb_zoo_options)`.
     */
    size_t struct_size;
    /**
     * Number of classes; default 10.
     */
    uint32_t classes;
    /**
     * Not 0: with batch normalisation, as behind a name the suffix "_bn"; default 0.
     */
    int32_t batch_norm;
    /**
     * Channels of the first convolution, of which the others are multiples; default 64. LeNet-5's are fixed.
     */
    uint32_t base_width;
    /**
     * LeNet-5: widths of the two hidden fully connected layers; default 120, 84.
     */
    uint32_t hidden[2];
    /**
     * `[C, H, W]` of a sample; 0, 0, 0, the default, means the network's own.
     */
    int64_t input_shape[3];
    /**
     * Which of the networks of that name: "cifar" (images `[3, 32, 32]`), "imagenet" (`[3, 224, 224]`; both as the
     * published code has them) or "torchvision" (`[3, 224, 224]`); NULL, the default, means "cifar". LeNet-5
     * (`[1, 28, 28]`) is one.
     */
    const char *variant;
} tb_zoo_options;

/**
 * What a graph is; filled by `tb_graph_info`.
 */
typedef struct tb_graph_properties {
    /**
     * `sizeof(tb_graph_properties)`; set by the caller.
     */
    size_t struct_size;
    /**
     * Number of layers, the input counted.
     */
    size_t layer_count;
    /**
     * `[C, H, W]` of the input.
     */
    int64_t input_shape[3];
} tb_graph_properties;

/**
 * A layer of a graph: its place in the order in which they were added, as `tb_graph_layer_info` and
 * `tb_network_layer_info` count them.
 */
typedef size_t tb_node;

/**
 * How to create a network; `tb_network_options_init` sets the defaults.
 */
typedef struct tb_network_options {
    /**
     * `sizeof(tb_network_options)`.
     */
    size_t struct_size;
    /**
     * Its arithmetic: "f16", "f32" or "f64" throughout; "mixed": f16 operators on f32 parameters, to be trained with
     * loss scaling; "f16+narrow": sums in f16 too, on the CPU; or every stored value rounded to a simulated format:
     * "bf16", "tf32", "e4m3" (OCP's, without infinities; with them it is "e4m3ieee"), "e5m2", any
     * "e<exponent bits>m<fraction bits>", each also with random rounding as "e5m2:stochastic(<seed>)", and stored in f64
     * with "/f64" behind it. NULL, the default, means "f32".
     */
    const char *precision;
    /**
     * How parameters start: "pytorch" (its defaults), "kaiming_uniform_fan_in", "kaiming_uniform_fan_out",
     * "kaiming_normal_fan_in", "kaiming_normal_fan_out", or as published "resnet", "densenet", "volume". NULL, the
     * default, means "pytorch".
     */
    const char *initialization;
    /**
     * Seed of initialisation and dropout; default 0. The same values for each precision, each rounded once.
     */
    uint64_t seed;
} tb_network_options;

/**
 * What a network is; filled by `tb_network_info`.
 */
typedef struct tb_network_properties {
    /**
     * `sizeof(tb_network_properties)`; set by the caller.
     */
    size_t struct_size;
    /**
     * A `TB_DTYPE_` value: of the batches that it takes, its activations and logits.
     */
    tb_dtype dtype;
    /**
     * A `TB_DTYPE_` value: of parameters, buffers and gradients as the host reads and writes them. Another than
     * `dtype` with "mixed" precision.
     */
    tb_dtype parameter_dtype;
    /**
     * 1 where a GPU runs it, else 0.
     */
    int32_t gpu;
    /**
     * 0.
     */
    int32_t reserved;
    /**
     * Number of parameter tensors.
     */
    size_t parameter_count;
    /**
     * Number of buffers: running statistics of batch normalisation.
     */
    size_t buffer_count;
    /**
     * Number of layers, the input counted.
     */
    size_t layer_count;
    /**
     * Number of entries of `tb_network_census`.
     */
    size_t census_count;
    /**
     * Number of classes.
     */
    size_t classes;
    /**
     * Bytes that it holds on its engine.
     */
    size_t allocated_bytes;
    /**
     * `[C, H, W]` of the input.
     */
    int64_t input_shape[3];
    /**
     * Its arithmetic, as in `tb_network_options`.
     */
    char precision[64];
    /**
     * Why a GPU engine leaves it to the CPU; empty where it does not.
     */
    char placement[256];
} tb_network_properties;

/**
 * Order of the sums over the batch in gradients of parameters and in batch statistics.
 */
typedef int32_t tb_reduction_order;

/**
 * What one of several alternatives computes at a layer; see `tb_network_compare`.
 */
typedef struct tb_choice {
    /**
     * Number of the alternative, from 0.
     */
    size_t alternative;
    /**
     * The layer's name; NULL for every layer of the kink's kind.
     */
    const char *layer;
    /**
     * What it computes there.
     */
    const struct tb_kink *kink;
} tb_choice;

/**
 * Gradients under the present choices and under an alternative, on the same weights and batch; filled by
 * `tb_network_compare`.
 */
typedef struct tb_comparison {
    /**
     * `sizeof(tb_comparison)`; set by the caller, of an array in the first.
     */
    size_t struct_size;
    /**
     * Sum over the parameters of the L1 norms of the differences.
     */
    double l1;
    /**
     * Sum over the parameters of the Euclidean norms of the differences.
     */
    double l2;
    /**
     * Sum over the parameters of the largest absolute differences.
     */
    double linf;
    /**
     * Number of gradient elements that are not equal.
     */
    uint64_t differing;
    /**
     * Loss under the present choices and under the alternative.
     */
    double losses[2];
    /**
     * 1 where one forward pass served both, 0 where the composition coupled or forward needed its own.
     */
    int32_t shared_forward;
} tb_comparison;

/**
 * How far two gradients of one parameter are apart; filled by `tb_network_compare`.
 */
typedef struct tb_difference {
    /**
     * `sizeof(tb_difference)`; set by the caller, of an array in the first.
     */
    size_t struct_size;
    /**
     * The parameter; its first 127 bytes.
     */
    char name[128];
    /**
     * Sum of absolute differences.
     */
    double l1;
    /**
     * Euclidean norm of the difference.
     */
    double l2;
    /**
     * Largest absolute difference.
     */
    double linf;
    /**
     * Number of elements that are not equal.
     */
    uint64_t differing;
} tb_difference;

/**
 * Norms of the gradient of one parameter; filled by `tb_network_gradient_norms`.
 */
typedef struct tb_norms {
    /**
     * `sizeof(tb_norms)`; set by the caller, of an array in the first.
     */
    size_t struct_size;
    /**
     * The parameter; its first 127 bytes.
     */
    char name[128];
    /**
     * Sum of absolute values.
     */
    double l1;
    /**
     * Euclidean norm.
     */
    double l2;
    /**
     * Largest absolute value.
     */
    double linf;
    /**
     * Number of elements that are not finite.
     */
    uint64_t non_finite;
} tb_norms;

/**
 * What was counted at one kink layer, of a max pooling for one number of ties; filled by `tb_network_census`.
 */
typedef struct tb_census_entry {
    /**
     * `sizeof(tb_census_entry)`; set by the caller, of an array in the first.
     */
    size_t struct_size;
    /**
     * The layer; its first 127 bytes.
     */
    char layer[128];
    /**
     * `TB_KINK_MAXPOOL` or `TB_KINK_RELU`.
     */
    tb_kink_kind kind;
    /**
     * MaxPool: the number of elements that attain the maximum, from 0 (windows that hold a NaN) and 1 (no tie) to all
     * of the window. ReLU: 0.
     */
    uint32_t ties;
    /**
     * MaxPool: windows with so many ties whose maximum is 0. ReLU: inputs that are 0.
     */
    uint64_t zero;
    /**
     * MaxPool: those of them where the choice can matter: they receive a gradient that is not 0, and at least one tied
     * element passes it on through the ReLU before, where there is one. ReLU: 0.
     */
    uint64_t zero_alive;
    /**
     * MaxPool: windows with so many ties whose maximum is not 0. ReLU: inputs that are not 0.
     */
    uint64_t nonzero;
    /**
     * MaxPool: those of them where the choice can matter. ReLU: 0.
     */
    uint64_t nonzero_alive;
} tb_census_entry;

/**
 * The windows of one max pooling by the cause of their tie; filled by `tb_network_tie_classes`.
 */
typedef struct tb_tie_classes {
    /**
     * `sizeof(tb_tie_classes)`; set by the caller, of an array in the first.
     */
    size_t struct_size;
    /**
     * The layer; its first 127 bytes.
     */
    char layer[128];
    /**
     * All windows: the sum of the next five.
     */
    uint64_t windows;
    /**
     * Windows that hold a NaN.
     */
    uint64_t nan;
    /**
     * Windows whose maximum one element attains: there is nothing to choose.
     */
    uint64_t untied;
    /**
     * Tied windows of which no tied element passes a gradient on through the ReLU before: no choice can be seen.
     */
    uint64_t masked;
    /**
     * Tied windows whose tied elements are all the same function of the weights, on the branches that the run took: they
     * see the same pixels through the same active ReLUs and maxima, and are equal in any arithmetic. What a choice does
     * cancels in the gradients of weights, but for rounding.
     */
    uint64_t structural;
    /**
     * The other tied windows: rounding has made them tie, or chance. A choice changes the gradient.
     */
    uint64_t accidental;
} tb_tie_classes;

/**
 * A part of a training step.
 */
typedef int32_t tb_pass;

/**
 * The first value of a tensor that is NaN or infinite; filled by `tb_network_non_finite`.
 */
typedef struct tb_non_finite {
    /**
     * `sizeof(tb_non_finite)`; set by the caller, of an array in the first.
     */
    size_t struct_size;
    /**
     * A `TB_PASS_` value: the part of the step.
     */
    tb_pass pass;
    /**
     * 1 where it is the loss, a running statistic, or in what the optimizer writes: nothing that follows masks it; else 0.
     */
    int32_t lasts;
    /**
     * The layer; "loss", or for the optimizer the parameter; its first 127 bytes.
     */
    char layer[128];
    /**
     * The operator that made it, as `kernel` of `tb_kernel_profile` calls it on the CPU; "input" for what the step began
     * with.
     */
    char operator_name[128];
    /**
     * The tensor that holds it: "x", a parameter or buffer by its name, "gradient of" a parameter, "gradient of the input",
     * "gradient of the logits", "output", "statistics", "loss"; of an optimizer "parameter", "copy in 16 bits", or a state
     * by PyTorch's name. Its first 127 bytes.
     */
    char tensor[128];
    /**
     * Its place in the tensor, in row-major order.
     */
    uint64_t element;
    /**
     * NaN, infinity or -infinity.
     */
    double value;
    /**
     * How it arose, if all that the operator read was finite: a sentence for people; its first 255 bytes.
     */
    char cause[256];
} tb_non_finite;

/**
 * Bytes that a run needs on the engine that runs the network; filled by `tb_network_memory_plan`.
 */
typedef struct tb_memory_plan {
    /**
     * `sizeof(tb_memory_plan)`; set by the caller.
     */
    size_t struct_size;
    /**
     * Parameters, their master copies and running statistics.
     */
    size_t parameters;
    /**
     * Gradients.
     */
    size_t gradients;
    /**
     * Activations and their gradients, which share memory as soon as they are dead, tie sets, input and labels.
     */
    size_t activations;
    /**
     * Memory that the GPU's kernels share; the CPU's take theirs as they run.
     */
    size_t scratch;
    /**
     * The largest single buffer.
     */
    size_t largest;
    /**
     * All of it, `largest` apart, which is a part of it.
     */
    size_t total;
} tb_memory_plan;

/**
 * Where an optimizer stands; filled by `tb_optimizer_info`.
 */
typedef struct tb_optimizer_properties {
    /**
     * `sizeof(tb_optimizer_properties)`; set by the caller.
     */
    size_t struct_size;
    /**
     * The present step length.
     */
    double learning_rate;
    /**
     * What the next loss is scaled by; 1 without loss scaling.
     */
    double loss_scale;
    /**
     * Steps that changed the parameters.
     */
    uint64_t steps;
    /**
     * A `TB_ALGORITHM_` value.
     */
    tb_algorithm algorithm;
} tb_optimizer_properties;

/**
 * What a step did; filled by `tb_optimizer_step` and `tb_optimizer_train_step`.
 */
typedef struct tb_step_report {
    /**
     * `sizeof(tb_step_report)`; set by the caller.
     */
    size_t struct_size;
    /**
     * The mean cross-entropy of the last run with labels, before the update; NaN where there was none.
     */
    double loss;
    /**
     * Euclidean norm of all gradients before clipping; NaN unless clipping or loss scaling asked for it.
     */
    double gradient_norm;
    /**
     * What the next loss is scaled by; 1 without loss scaling.
     */
    double loss_scale;
    /**
     * 1 where loss scaling skipped the update because a gradient was not finite, else 0.
     */
    int32_t skipped;
} tb_step_report;

/**
 * What a run has to do at the least; filled by `tb_network_work`.
 */
typedef struct tb_work {
    /**
     * `sizeof(tb_work)`; set by the caller.
     */
    size_t struct_size;
    /**
     * Additions and multiplications of convolutions and linear layers, two for each product. All else is bound by
     * memory and counts as 0.
     */
    uint64_t operations;
    /**
     * Bytes of the tensors, each read or written once.
     */
    uint64_t bytes;
} tb_work;

/**
 * What one kernel of a training step took; filled by `tb_optimizer_profile_step`.
 */
typedef struct tb_kernel_profile {
    /**
     * `sizeof(tb_kernel_profile)`; set by the caller, of an array in the first.
     */
    size_t struct_size;
    /**
     * The layer's name, "loss" or "optimizer"; its first 127 bytes.
     */
    char layer[128];
    /**
     * The operator's name on the CPU, the shader's on a GPU.
     */
    char kernel[64];
    /**
     * Seconds on the device.
     */
    double seconds;
    /**
     * As in `tb_work`. On a GPU, where an operator may take several kernels, that of all stands at the first.
     */
    uint64_t operations;
    /**
     * As in `tb_work`.
     */
    uint64_t bytes;
} tb_kernel_profile;

/**
 * How to read a data set; `tb_dataset_options_init` sets the defaults.
 */
typedef struct tb_dataset_options {
    /**
     * `sizeof(tb_dataset_options)`.
     */
    size_t struct_size;
    /**
     * Photos in folders: height and width of the images, 1 to 65535; default 224.
     */
    size_t image_size;
    /**
     * Photos in folders: takes the first so many of each class, by file name; 0, the default, takes all.
     */
    size_t limit_per_class;
    /**
     * Keeps the first so many images of each part; 0, the default, keeps all.
     */
    size_t limit;
    /**
     * Photos in folders: what the shorter side becomes before the centre is cut out, at least `image_size`; 0, the default:
     * `image_size`. ImageNet is usually tested with 256 for 224.
     */
    size_t resize;
    /**
     * Photos in folders: not 0 reads the files anew for each batch, instead of all of them once into memory; default 0.
     * A `resized_crop` then cuts from the whole photo instead of the centre that is in memory.
     */
    int32_t from_files;
    /**
     * 0.
     */
    int32_t reserved;
} tb_dataset_options;

/**
 * Random changes of training images, as torchvision's RandomResizedCrop, RandomCrop with padding and RandomHorizontalFlip,
 * in this order; what happens to an image depends on seed, epoch and its index alone. `tb_augmentation_init` sets the defaults.
 */
typedef struct tb_augmentation {
    /**
     * `sizeof(tb_augmentation)`.
     */
    size_t struct_size;
    /**
     * Black pixels added on each side before a part of the image's size is cut out, below height and width; default 0.
     */
    size_t crop_padding;
    /**
     * Not 0: mirrors every second image, drawn at random; default 0.
     */
    int32_t horizontal_flip;
    /**
     * Not 0: takes a random rectangle of the image, resized to the size of the data set's images; default 0.
     */
    int32_t resized_crop;
    /**
     * Seed; default 0.
     */
    uint64_t seed;
    /**
     * Epoch: other draws in each; default 0.
     */
    uint64_t epoch;
    /**
     * Of `resized_crop`: least and largest share of the area, in (0, 1], uniform between them; default 0.08 and 1.
     */
    double scale[2];
    /**
     * Of `resized_crop`: least and largest ratio of width to height, above 0, its logarithm uniform; default 3/4 and 4/3.
     */
    double ratio[2];
} tb_augmentation;

/**
 * Hears how far long work has come, in the unit that its function says, and may stop it: not 0 ends the call with
 * `TB_STATUS_CANCELLED`, or as its function says. Called on the thread of the call, which holds nothing then: it may call
 * the library. NULL: nobody hears.
 */
typedef int32_t (*tb_progress_callback)(uint64_t done, uint64_t total, void *user_data);

/**
 * What a data set is; filled by `tb_dataset_info`.
 */
typedef struct tb_dataset_properties {
    /**
     * `sizeof(tb_dataset_properties)`; set by the caller.
     */
    size_t struct_size;
    /**
     * Number of images.
     */
    size_t count;
    /**
     * Number of classes.
     */
    size_t classes;
    /**
     * `[C, H, W]` of an image.
     */
    int64_t shape[3];
    /**
     * Its name; its first 127 bytes.
     */
    char name[128];
    /**
     * CRC-32 of pixels, labels and normalisation: tells two data sets of one name apart.
     */
    uint32_t fingerprint;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * What batches subtract from pixels of 0 to 1, of the first four channels.
     */
    double mean[4];
    /**
     * What batches then divide by, of the first four channels.
     */
    double std[4];
} tb_dataset_properties;

/**
 * What an epoch did; filled by `tb_optimizer_train_epoch`.
 */
typedef struct tb_epoch_report {
    /**
     * `sizeof(tb_epoch_report)`; set by the caller.
     */
    size_t struct_size;
    /**
     * The mean of the losses of all samples, each before the update of its step; NaN where there was none.
     */
    double loss;
    /**
     * Steps made.
     */
    uint64_t steps;
    /**
     * Those whose update loss scaling skipped.
     */
    uint64_t skipped;
} tb_epoch_report;

/**
 * What an experiment is; filled by `tb_experiments` and `tb_experiment_info`.
 */
typedef struct tb_experiment_properties {
    /**
     * `sizeof(tb_experiment_properties)`; set by the caller, of an array in the first.
     */
    size_t struct_size;
    /**
     * Its name.
     */
    char name[64];
    /**
     * What it measures, in a line.
     */
    char about[256];
    /**
     * How many units it has; 0 where no protocol was chosen.
     */
    size_t unit_count;
} tb_experiment_properties;

/**
 * What a run of an experiment did; filled by `tb_experiment_result_info`.
 */
typedef struct tb_experiment_result_properties {
    /**
     * `sizeof(tb_experiment_result_properties)`; set by the caller.
     */
    size_t struct_size;
    /**
     * Units of the experiment, all shards together.
     */
    size_t unit_count;
    /**
     * Units that had finished before, in the folder.
     */
    size_t skipped;
    /**
     * Units that this run finished.
     */
    size_t finished;
    /**
     * Units that have not finished yet, here or in another shard.
     */
    size_t missing;
    /**
     * Rows of the table.
     */
    size_t row_count;
    /**
     * Columns of the table; 0 where nothing has finished.
     */
    size_t column_count;
    /**
     * Sentences of the answer; 0 where nothing has finished.
     */
    size_t sentence_count;
    /**
     * 1 where `progress` stopped the run, else 0.
     */
    int32_t cancelled;
    /**
     * 0.
     */
    int32_t reserved;
} tb_experiment_result_properties;

/**
 * What a column of a table holds.
 */
typedef int32_t tb_column_kind;

/**
 * A column of a table; filled by `tb_experiment_result_column`.
 */
typedef struct tb_column_properties {
    /**
     * `sizeof(tb_column_properties)`; set by the caller.
     */
    size_t struct_size;
    /**
     * Its name; its first 127 bytes.
     */
    char name[128];
    /**
     * A `TB_COLUMN_` value.
     */
    tb_column_kind kind;
    /**
     * 0.
     */
    int32_t reserved;
    /**
     * Bytes of the longest cell as a text, with its NUL.
     */
    size_t text_size;
} tb_column_properties;

/**
 * How a learning rate depends on the epoch, with the values of PyTorch's `torch.optim.lr_scheduler`.
 */
typedef int32_t tb_schedule_kind;

/**
 * A schedule of learning rates; `tb_schedule_init` sets the defaults.
 */
typedef struct tb_schedule {
    /**
     * `sizeof(tb_schedule)`.
     */
    size_t struct_size;
    /**
     * A `TB_SCHEDULE_` value: which of the fields below count; default constant.
     */
    tb_schedule_kind kind;
    /**
     * Step, multi-step, exponential: factor of each change, at least 0; default 0.1.
     */
    double gamma;
    /**
     * Step: epochs between two changes, at least 1; default 1.
     */
    uint64_t step_size;
    /**
     * Multi-step: epochs at which the rate changes.
     */
    const uint64_t *milestones;
    /**
     * Multi-step: how many.
     */
    size_t milestone_count;
    /**
     * Cosine: epochs from the base rate down to `eta_min`, at least 1; default 1. It rises again after that.
     */
    uint64_t t_max;
    /**
     * Cosine: the lowest rate, at least 0; default 0.
     */
    double eta_min;
} tb_schedule;

/**
 * Success.
 */
#define TB_STATUS_OK 0

/**
 * A pointer that must not be NULL was NULL.
 */
#define TB_STATUS_NULL_POINTER 1

/**
 * A handle that was never created, was freed, or is of another type.
 */
#define TB_STATUS_INVALID_HANDLE 2

/**
 * A value outside its domain.
 */
#define TB_STATUS_INVALID_ARGUMENT 3

/**
 * A tensor of the wrong shape.
 */
#define TB_STATUS_SHAPE_MISMATCH 4

/**
 * A tensor of the wrong element type.
 */
#define TB_STATUS_DTYPE_MISMATCH 5

/**
 * A name that is not known.
 */
#define TB_STATUS_NOT_FOUND 6

/**
 * A file could not be read or written.
 */
#define TB_STATUS_IO 7

/**
 * A damaged or foreign file.
 */
#define TB_STATUS_FORMAT 8

/**
 * Not possible with this build, engine or state.
 */
#define TB_STATUS_UNSUPPORTED 9

/**
 * A GPU call failed.
 */
#define TB_STATUS_DEVICE 10

/**
 * The GPU went away: the engine stays unusable; create a new one.
 */
#define TB_STATUS_DEVICE_LOST 11

/**
 * Not enough memory.
 */
#define TB_STATUS_OUT_OF_MEMORY 12

/**
 * Stopped at the caller's wish.
 */
#define TB_STATUS_CANCELLED 13

/**
 * A bug in the library was caught; the program may go on. Please report the message.
 */
#define TB_STATUS_PANIC 255

/**
 * IEEE binary16.
 */
#define TB_DTYPE_F16 1

/**
 * IEEE binary32, C's `float`.
 */
#define TB_DTYPE_F32 2

/**
 * IEEE binary64, C's `double`.
 */
#define TB_DTYPE_F64 3

/**
 * Bytes: tie sets in a `tb_tensor`, nothing else.
 */
#define TB_DTYPE_BYTE 4

/**
 * In a view alone: it stands for a `tb_tensor`, whose handle is `data`. `shape` NULL and `rank` 0 mean the tensor's own
 * shape, others another one of as many elements.
 */
#define TB_DTYPE_TENSOR 16

/**
 * A hardware GPU where there is one, else the CPU.
 */
#define TB_DEVICE_AUTO 0

/**
 * The CPU: f16, f32 and f64.
 */
#define TB_DEVICE_CPU 1

/**
 * A GPU, a software one too: f16 (where it can) and f32; f64 stays on the CPU.
 */
#define TB_DEVICE_GPU 2

/**
 * Something was done otherwise than asked, or failed.
 */
#define TB_LOG_LEVEL_WARNING 1

/**
 * What was chosen.
 */
#define TB_LOG_LEVEL_INFO 2

/**
 * The driver does not say.
 */
#define TB_ADAPTER_OTHER 0

/**
 * A GPU with memory of its own.
 */
#define TB_ADAPTER_DISCRETE 1

/**
 * A GPU that shares the host's memory.
 */
#define TB_ADAPTER_INTEGRATED 2

/**
 * A GPU given to a virtual machine.
 */
#define TB_ADAPTER_VIRTUAL 3

/**
 * A driver that computes on the CPU, no hardware.
 */
#define TB_ADAPTER_SOFTWARE 4

/**
 * Ties of a max pooling.
 */
#define TB_KINK_MAXPOOL 0

/**
 * ReLU at 0.
 */
#define TB_KINK_RELU 1

/**
 * Windows of zeros of a norm pooling.
 */
#define TB_KINK_NORM_POOL 2

/**
 * g to the first of A: PyTorch's max_pool2d.
 */
#define TB_JACOBIAN_NATIVE 0

/**
 * g to the last of A.
 */
#define TB_JACOBIAN_LAST 1

/**
 * g / k to each of A: the Clarke Jacobian of least norm.
 */
#define TB_JACOBIAN_MINIMAL 2

/**
 * beta * minimal + (1 - beta) * native.
 */
#define TB_JACOBIAN_BETA 3

/**
 * g to one of A, drawn uniformly from a seed: repeatable.
 */
#define TB_JACOBIAN_RANDOM 4

/**
 * g to the first of A in column-major order: mlpack.
 */
#define TB_JACOBIAN_FIRST_COLUMN 5

/**
 * g to each of A, which is no Jacobian of the maximum: Theano.
 */
#define TB_JACOBIAN_ALL 6

/**
 * g k / n to each of A, n the elements of a window, also where k = 1, which is no Jacobian of the maximum: candle.
 */
#define TB_JACOBIAN_SCALED 7

/**
 * The forward is the maximum; the backward multiplies g once by a coefficient formed in f64.
 */
#define TB_COMPOSITION_EXACT 0

/**
 * The forward is the maximum; the backward is that of the published program.
 */
#define TB_COMPOSITION_SPLIT 1

/**
 * The published program, operation by operation in the storage type: its forward is not the maximum.
 */
#define TB_COMPOSITION_COUPLED 2

/**
 * The forward of the published program, the backward of `TB_JACOBIAN_NATIVE`.
 */
#define TB_COMPOSITION_FORWARD 3

/**
 * Stochastic gradient descent: `torch.optim.SGD`.
 */
#define TB_ALGORITHM_SGD 0

/**
 * `torch.optim.Adam`.
 */
#define TB_ALGORITHM_ADAM 1

/**
 * `torch.optim.AdamW`: Adam with decoupled weight decay.
 */
#define TB_ALGORITHM_ADAMW 2

/**
 * `torch.optim.RMSprop`.
 */
#define TB_ALGORITHM_RMS_PROP 3

/**
 * The input of every graph.
 */
#define TB_GRAPH_INPUT 0

/**
 * The order of the samples.
 */
#define TB_REDUCTION_ORDER_FIXED 0

/**
 * An order drawn from a seed, the layer and the number of training steps: imitates, repeatably, the order of GPU
 * atomics.
 */
#define TB_REDUCTION_ORDER_SEEDED 1

/**
 * From the input to the logits.
 */
#define TB_PASS_FORWARD 0

/**
 * The loss and the gradient of the logits.
 */
#define TB_PASS_LOSS 1

/**
 * From there to the gradients of the parameters.
 */
#define TB_PASS_BACKWARD 2

/**
 * The update of the parameters.
 */
#define TB_PASS_OPTIMIZER 3

/**
 * Measurements, read by `tb_experiment_result_numbers`.
 */
#define TB_COLUMN_NUMBERS 0

/**
 * Counts, seeds, widths in bits; read by `tb_experiment_result_integers`, and as numbers.
 */
#define TB_COLUMN_INTEGERS 1

/**
 * Names, read by `tb_experiment_result_text`.
 */
#define TB_COLUMN_TEXTS 2

/**
 * The same throughout.
 */
#define TB_SCHEDULE_CONSTANT 0

/**
 * StepLR: times `gamma` every `step_size` epochs.
 */
#define TB_SCHEDULE_STEP 1

/**
 * MultiStepLR: times `gamma` at each milestone.
 */
#define TB_SCHEDULE_MULTI_STEP 2

/**
 * ExponentialLR: times `gamma` every epoch.
 */
#define TB_SCHEDULE_EXPONENTIAL 3

/**
 * CosineAnnealingLR: `eta_min + (base - eta_min) (1 + cos(pi epoch / t_max)) / 2`.
 */
#define TB_SCHEDULE_COSINE 4

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Version of the binary interface of the library in use. Within one version functions and struct fields are
 * only added. Compare with `TB_ABI_VERSION`. Any thread.
 */
uint32_t tb_abi_version(void);

/**
 * Version of the library, such as "0.1.0". Never NULL; static. Any thread.
 */
const char *tb_version_string(void);

/**
 * The reason of the last failure on the calling thread: function, argument, expected and got.
 *
 * Never NULL; empty where nothing has failed. The text belongs to the library and stays valid until the next
 * function fails on this thread. Any thread.
 */
const char *tb_last_error_message(void);

/**
 * The name of a status, such as "TB_STATUS_SHAPE_MISMATCH"; "unknown status" for a number that is none.
 *
 * Never NULL; static. Any thread.
 */
const char *tb_status_name(tb_status status);

/**
 * Fills `options` with the defaults. `struct_size` is `sizeof(tb_engine_options)`.
 */
tb_status tb_engine_options_init(struct tb_engine_options *options, size_t struct_size);

/**
 * Creates an engine.
 *
 * @param options  NULL for the defaults.
 * @param engine   out: the handle; free it with `tb_engine_free`. NULL on failure.
 * @return `TB_STATUS_UNSUPPORTED` where a GPU was asked for and there is none; `TB_STATUS_INVALID_ARGUMENT`.
 */
tb_status tb_engine_create(const struct tb_engine_options *options, struct tb_engine **engine);

/**
 * Frees an engine. Networks and tensors on it live on. NULL is nothing to do; a handle freed before is
 * `TB_STATUS_INVALID_HANDLE`.
 */
tb_status tb_engine_free(struct tb_engine *engine);

/**
 * What an engine computes with.
 *
 * @param properties  in: `struct_size`; out: the rest.
 */
tb_status tb_engine_info(const struct tb_engine *engine, struct tb_engine_properties *properties);

/**
 * Bytes that an engine holds for all its networks and calls.
 *
 * @param memory  in: `struct_size`; out: the rest
 */
tb_status tb_engine_memory(const struct tb_engine *engine, struct tb_memory_use *memory);

/**
 * The GPU adapters that there are; none in a build without a GPU engine.
 *
 * @param adapters  in: `struct_size` of the first; out: as many as there is room for; NULL where room is 0
 * @param room      number of structs at adapters
 * @param count     out: number of adapters; those beyond `room` were not written
 */
tb_status tb_adapters(struct tb_adapter_properties *adapters, size_t room, size_t *count);

/**
 * Creates a tensor of zeros on an engine.
 *
 * @param engine  may be freed before the tensor. On a GPU engine f64, and f16 where the GPU has none, lie in host
 *                memory, where their operators run; `tb_tensor_info` says so.
 * @param dtype   a `TB_DTYPE_` value; `TB_DTYPE_BYTE` for the tie sets of f32, or f16, tensors
 * @param shape   `rank` dimensions, outermost first; NULL where rank is 0
 * @param rank    number of dimensions, 0 to 8
 * @param tensor  out: the handle; free it with `tb_tensor_free`. NULL on failure.
 * @return `TB_STATUS_OUT_OF_MEMORY`
 */
tb_status tb_tensor_create(const struct tb_engine *engine,
                           tb_dtype dtype,
                           const int64_t *shape,
                           int32_t rank,
                           struct tb_tensor **tensor);

/**
 * Frees a tensor; a call that uses it meanwhile ends as it should. NULL is nothing to do; a handle freed before is
 * `TB_STATUS_INVALID_HANDLE`.
 */
tb_status tb_tensor_free(struct tb_tensor *tensor);

/**
 * Shape and dtype of a tensor, and where it lies.
 *
 * @param properties  in: `struct_size`; out: the rest; `kind` is "tensor", `name` empty
 */
tb_status tb_tensor_info(const struct tb_tensor *tensor, struct tb_tensor_properties *properties);

/**
 * Copies the caller's memory to a tensor.
 *
 * @param values  host memory of the tensor's shape and dtype
 */
tb_status tb_tensor_write(const struct tb_tensor *tensor, const struct tb_view *values);

/**
 * Copies a tensor to the caller's memory, after everything that operators have written to it.
 *
 * @param values  out: host memory of the tensor's shape and dtype
 */
tb_status tb_tensor_read(const struct tb_tensor *tensor, const struct tb_view_mut *values);

/**
 * A DLPack tensor seen as a view, to be read. Nothing is copied or taken over: data and shape stay the producer's, and the
 * view is valid until its deleter runs, which stays the caller's duty.
 *
 * @param managed    a DLManagedTensorVersioned of DLPack 1.x or a DLManagedTensor, on the CPU, of float16, float32 or
 *                   float64, dense and row-major
 * @param versioned  not 0: DLManagedTensorVersioned ("dltensor_versioned"); 0: DLManagedTensor ("dltensor")
 * @param view       out: the view
 * @return `TB_STATUS_DTYPE_MISMATCH`; `TB_STATUS_INVALID_ARGUMENT` for another device or other strides
 */
tb_status tb_dlpack_view(const void *managed,
                         int32_t versioned,
                         struct tb_view *view);

/**
 * As `tb_dlpack_view`, to be written; a tensor that is marked read-only is refused.
 *
 * @param managed    as for `tb_dlpack_view`
 * @param versioned  as for `tb_dlpack_view`
 * @param view       out: the view
 */
tb_status tb_dlpack_view_mut(void *managed, int32_t versioned, struct tb_view_mut *view);

/**
 * A tensor for a consumer of DLPack. A `tb_tensor` in host memory is shared: the consumer sees what operators write, and
 * keeps it alive after its handle was freed; who writes while the other reads is for the program to order. The caller's
 * memory is copied.
 *
 * @param view       host memory, or a `tb_tensor` that is not on a GPU
 * @param versioned  not 0: a DLManagedTensorVersioned of DLPack 1.0; 0: a DLManagedTensor
 * @param managed    out: the DLPack struct; its `deleter`, called once by whoever has it, frees it. NULL on failure.
 * @return `TB_STATUS_UNSUPPORTED` for a tensor on a GPU
 */
tb_status tb_dlpack_export(const struct tb_view *view,
                           int32_t versioned,
                           void **managed);

/**
 * Fills `kink` with the defaults. `struct_size` is `sizeof(tb_kink)`.
 */
tb_status tb_kink_init(struct tb_kink *kink, size_t struct_size);

/**
 * Fills `options` with the defaults. `struct_size` is `sizeof(tb_conv2d_options)`.
 */
tb_status tb_conv2d_options_init(struct tb_conv2d_options *options, size_t struct_size);

/**
 * Convolution (cross-correlation): y = x * weight + bias. All tensors have one dtype.
 *
 * @param x        `[N, C, H, W]`
 * @param weight   `[O, C / groups, KH, KW]`
 * @param bias     `[O]`, or NULL
 * @param options  NULL for the defaults
 * @param y        out: `[N, O, OH, OW]`, OH = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1
 * @return `TB_STATUS_SHAPE_MISMATCH`, `TB_STATUS_DTYPE_MISMATCH`, `TB_STATUS_INVALID_ARGUMENT` ...
 */
tb_status tb_conv2d_forward(const struct tb_engine *engine,
                            const struct tb_view *x,
                            const struct tb_view *weight,
                            const struct tb_view *bias,
                            const struct tb_conv2d_options *options,
                            const struct tb_view_mut *y);

/**
 * Gradient with respect to the input of `tb_conv2d_forward`.
 *
 * @param gy       `[N, O, OH, OW]`
 * @param weight   `[O, C / groups, KH, KW]`
 * @param options  as in the forward pass
 * @param gx       out: `[N, C, H, W]`
 */
tb_status tb_conv2d_backward_input(const struct tb_engine *engine,
                                   const struct tb_view *gy,
                                   const struct tb_view *weight,
                                   const struct tb_conv2d_options *options,
                                   const struct tb_view_mut *gx);

/**
 * Gradients with respect to the weight and bias of `tb_conv2d_forward`.
 *
 * @param x        `[N, C, H, W]`
 * @param gy       `[N, O, OH, OW]`
 * @param options  as in the forward pass
 * @param gweight  out: `[O, C / groups, KH, KW]`
 * @param gbias    out: `[O]`, or NULL
 */
tb_status tb_conv2d_backward_weight(const struct tb_engine *engine,
                                    const struct tb_view *x,
                                    const struct tb_view *gy,
                                    const struct tb_conv2d_options *options,
                                    const struct tb_view_mut *gweight,
                                    const struct tb_view_mut *gbias);

/**
 * Fills `options` with the defaults. `struct_size` is `sizeof(tb_pool2d_options)`.
 */
tb_status tb_pool2d_options_init(struct tb_pool2d_options *options, size_t struct_size);

/**
 * Shape of a pooling's output for an input shape, and for `tb_maxpool2d_forward` the size of the tie sets.
 *
 * @param x_shape    `[N, C, H, W]`, 4 numbers
 * @param options    NULL for the defaults
 * @param y_shape    out: `[N, C, OH, OW]`, 4 numbers, OH = floor((H + 2 padding - kernel) / stride) + 1
 * @param ties_size  out: bytes of the tie sets; NULL where they are not wanted
 */
tb_status tb_pool2d_output_shape(const int64_t *x_shape,
                                 const struct tb_pool2d_options *options,
                                 int64_t *y_shape,
                                 size_t *ties_size);

/**
 * Max pooling, and the tie set of each window, which the backward pass needs. A NaN in a window wins.
 *
 * A tie set is 1 byte for windows of up to 7 elements, 2 for up to 15, else 4 (len / 32 + 1) bytes: bit i
 * (little endian, row-major in the window) is set where element i attains the maximum. The highest bit of the
 * last byte is set where the window holds a NaN; then the others mark the NaNs.
 *
 * @param x          `[N, C, H, W]`
 * @param options    NULL for the defaults: 2x2, stride 2
 * @param kink       a choice of kind `TB_KINK_MAXPOOL`: only `TB_COMPOSITION_COUPLED` and `_FORWARD` change y; NULL:
 *                   native
 * @param y          out: `[N, C, OH, OW]`
 * @param ties       out: `ties_size` bytes
 * @param ties_size  as `tb_pool2d_output_shape` gives it; `TB_TIES_TENSOR` where ties is a `tb_tensor` of so many bytes
 */
tb_status tb_maxpool2d_forward(const struct tb_engine *engine,
                               const struct tb_view *x,
                               const struct tb_pool2d_options *options,
                               const struct tb_kink *kink,
                               const struct tb_view_mut *y,
                               uint8_t *ties,
                               size_t ties_size);

/**
 * Gradient with respect to the input of `tb_maxpool2d_forward` under any choice, from the stored tie sets: two
 * choices can be compared on one forward pass.
 *
 * @param gy         `[N, C, OH, OW]`
 * @param ties       as the forward pass wrote them
 * @param ties_size  as in the forward pass
 * @param options    as in the forward pass
 * @param kink       a choice of kind `TB_KINK_MAXPOOL`; NULL: native
 * @param gx         out: `[N, C, H, W]`
 */
tb_status tb_maxpool2d_backward(const struct tb_engine *engine,
                                const struct tb_view *gy,
                                const uint8_t *ties,
                                size_t ties_size,
                                const struct tb_pool2d_options *options,
                                const struct tb_kink *kink,
                                const struct tb_view_mut *gx);

/**
 * How often the windows of a max pooling of the caller's own layer tie, and how often they would in narrower arithmetic.
 * The leads that the predictions follow from are those over the reals, but for 1e-16, where x was computed in f64. Counted
 * on the host, whichever engine it is.
 *
 * @param x          `[N, C, H, W]`
 * @param gy         `[N, C, OH, OW]`, the gradient of the output, whose zeros `alive` leaves out; NULL: `alive` is of all
 *                   tied windows
 * @param options    NULL for the defaults: 2x2, stride 2
 * @param diagnosis  in: `struct_size`; out: the rest
 */
tb_status tb_maxpool2d_diagnose(const struct tb_engine *engine,
                                const struct tb_view *x,
                                const struct tb_view *gy,
                                const struct tb_pool2d_options *options,
                                struct tb_maxpool2d_diagnosis *diagnosis);

/**
 * Norm pooling: y = sqrt(sum of x_i^2) over each window, with the roundings of the published program, so that f16
 * overflows from |x| = 256 on. All tensors have one dtype.
 *
 * @param x        `[N, C, H, W]`
 * @param options  NULL for the defaults: 2x2, stride 2
 * @param y        out: `[N, C, OH, OW]`, as `tb_pool2d_output_shape` gives it
 */
tb_status tb_norm_pool2d_forward(const struct tb_engine *engine,
                                 const struct tb_view *x,
                                 const struct tb_pool2d_options *options,
                                 const struct tb_view_mut *y);

/**
 * Gradient of `tb_norm_pool2d_forward`: (x_i / y) gy where y is not 0, else at_zero gy.
 *
 * @param x        `[N, C, H, W]`, the input of the forward pass
 * @param y        `[N, C, OH, OW]`, as the forward pass gave it
 * @param gy       `[N, C, OH, OW]`
 * @param options  as in the forward pass
 * @param kink     a choice of kind `TB_KINK_NORM_POOL`; NULL for at_zero = 0
 * @param gx       out: `[N, C, H, W]`; sums over overlapping windows are rounded one by one
 */
tb_status tb_norm_pool2d_backward(const struct tb_engine *engine,
                                  const struct tb_view *x,
                                  const struct tb_view *y,
                                  const struct tb_view *gy,
                                  const struct tb_pool2d_options *options,
                                  const struct tb_kink *kink,
                                  const struct tb_view_mut *gx);

/**
 * Average pooling: y = sum of each window over KH KW; padding counts as zeros. All tensors have one dtype.
 *
 * @param x        `[N, C, H, W]`
 * @param options  NULL for the defaults: 2x2, stride 2
 * @param y        out: `[N, C, OH, OW]`, as `tb_pool2d_output_shape` gives it
 */
tb_status tb_avgpool2d_forward(const struct tb_engine *engine,
                               const struct tb_view *x,
                               const struct tb_pool2d_options *options,
                               const struct tb_view_mut *y);

/**
 * Gradient of `tb_avgpool2d_forward`.
 *
 * @param gy       `[N, C, OH, OW]`
 * @param options  as in the forward pass
 * @param gx       out: `[N, C, H, W]`
 */
tb_status tb_avgpool2d_backward(const struct tb_engine *engine,
                                const struct tb_view *gy,
                                const struct tb_pool2d_options *options,
                                const struct tb_view_mut *gx);

/**
 * Average pooling to the size of y: the mean of the plane where that is 1 x 1. All tensors have one dtype.
 *
 * @param x  `[N, C, H, W]`
 * @param y  out: `[N, C, OH, OW]`; OH divides H, OW divides W
 */
tb_status tb_adaptive_avgpool2d_forward(const struct tb_engine *engine,
                                        const struct tb_view *x,
                                        const struct tb_view_mut *y);

/**
 * Gradient of `tb_adaptive_avgpool2d_forward`.
 *
 * @param gy  `[N, C, OH, OW]`
 * @param gx  out: `[N, C, H, W]`
 */
tb_status tb_adaptive_avgpool2d_backward(const struct tb_engine *engine,
                                         const struct tb_view *gy,
                                         const struct tb_view_mut *gx);

/**
 * y = max(x, 0), elementwise on any shape; NaN stays NaN and -0 stays -0, as in PyTorch.
 *
 * @param x  any shape
 * @param y  out: the shape and dtype of x
 */
tb_status tb_relu_forward(const struct tb_engine *engine,
                          const struct tb_view *x,
                          const struct tb_view_mut *y);

/**
 * Gradient of `tb_relu_forward`: gy where x > 0 (and where x is NaN), alpha gy where x = 0, else 0.
 *
 * @param x     the input of the forward pass
 * @param gy    the shape and dtype of x
 * @param kink  a choice of kind `TB_KINK_RELU`; NULL for alpha = 0
 * @param gx    out: the shape and dtype of x
 */
tb_status tb_relu_backward(const struct tb_engine *engine,
                           const struct tb_view *x,
                           const struct tb_view *gy,
                           const struct tb_kink *kink,
                           const struct tb_view_mut *gx);

/**
 * Fills `options` with the defaults. `struct_size` is `sizeof(tb_batchnorm_options)`.
 */
tb_status tb_batchnorm_options_init(struct tb_batchnorm_options *options, size_t struct_size);

/**
 * Batch normalisation in training mode: y = (x - mean) / sqrt(var + eps) weight + bias, with the mean and the biased
 * variance of each channel over the batch. Weight, bias and running statistics have one dtype: that of x, or f32
 * beside f16. A batch with one value for each channel is refused, as in PyTorch.
 *
 * @param x             `[N, C, H, W]` or `[N, C]`
 * @param weight        `[C]`
 * @param bias          `[C]`
 * @param options       NULL for the defaults
 * @param y             out: the shape and dtype of x
 * @param mean          out: `[C]`, f64 for f64, else f32
 * @param inv_std       out: `[C]`, 1 / sqrt(var + eps), f64 for f64, else f32
 * @param running_mean  in and out: `[C]`, takes `momentum` of the mean; NULL where it is not wanted
 * @param running_var   in and out: `[C]`, takes `momentum` of the unbiased variance; NULL exactly with `running_mean`
 */
tb_status tb_batchnorm_forward(const struct tb_engine *engine,
                               const struct tb_view *x,
                               const struct tb_view *weight,
                               const struct tb_view *bias,
                               const struct tb_batchnorm_options *options,
                               const struct tb_view_mut *y,
                               const struct tb_view_mut *mean,
                               const struct tb_view_mut *inv_std,
                               const struct tb_view_mut *running_mean,
                               const struct tb_view_mut *running_var);

/**
 * Batch normalisation in evaluation mode: as `tb_batchnorm_forward` with the running statistics in place of the
 * batch's.
 *
 * @param x             `[N, C, H, W]` or `[N, C]`
 * @param weight        `[C]`
 * @param bias          `[C]`
 * @param running_mean  `[C]`
 * @param running_var   `[C]`
 * @param options       NULL for the defaults
 * @param y             out: the shape and dtype of x
 */
tb_status tb_batchnorm_inference(const struct tb_engine *engine,
                                 const struct tb_view *x,
                                 const struct tb_view *weight,
                                 const struct tb_view *bias,
                                 const struct tb_view *running_mean,
                                 const struct tb_view *running_var,
                                 const struct tb_batchnorm_options *options,
                                 const struct tb_view_mut *y);

/**
 * Gradients of `tb_batchnorm_forward`, through the batch's statistics too.
 *
 * @param x        `[N, C, H, W]` or `[N, C]`, the input of the forward pass
 * @param gy       the shape and dtype of x
 * @param weight   `[C]`
 * @param mean     `[C]`, as the forward pass wrote it
 * @param inv_std  `[C]`, as the forward pass wrote it
 * @param gx       out: the shape and dtype of x
 * @param gweight  out: `[C]`, the dtype of weight
 * @param gbias    out: `[C]`, the dtype of weight
 */
tb_status tb_batchnorm_backward(const struct tb_engine *engine,
                                const struct tb_view *x,
                                const struct tb_view *gy,
                                const struct tb_view *weight,
                                const struct tb_view *mean,
                                const struct tb_view *inv_std,
                                const struct tb_view_mut *gx,
                                const struct tb_view_mut *gweight,
                                const struct tb_view_mut *gbias);

/**
 * Gradients of `tb_batchnorm_inference`.
 *
 * @param x             `[N, C, H, W]` or `[N, C]`, the input of the forward pass
 * @param gy            the shape and dtype of x
 * @param weight        `[C]`
 * @param running_mean  `[C]`
 * @param running_var   `[C]`
 * @param options       as in the forward pass
 * @param gx            out: the shape and dtype of x
 * @param gweight       out: `[C]`, the dtype of weight
 * @param gbias         out: `[C]`, the dtype of weight
 */
tb_status tb_batchnorm_inference_backward(const struct tb_engine *engine,
                                          const struct tb_view *x,
                                          const struct tb_view *gy,
                                          const struct tb_view *weight,
                                          const struct tb_view *running_mean,
                                          const struct tb_view *running_var,
                                          const struct tb_batchnorm_options *options,
                                          const struct tb_view_mut *gx,
                                          const struct tb_view_mut *gweight,
                                          const struct tb_view_mut *gbias);

/**
 * Fully connected layer: y = x weight^T + bias. All tensors have one dtype.
 *
 * @param x       `[N, I]`
 * @param weight  `[O, I]`
 * @param bias    `[O]`, or NULL
 * @param y       out: `[N, O]`
 */
tb_status tb_linear_forward(const struct tb_engine *engine,
                            const struct tb_view *x,
                            const struct tb_view *weight,
                            const struct tb_view *bias,
                            const struct tb_view_mut *y);

/**
 * Gradient with respect to the input of `tb_linear_forward`: gx = gy weight.
 *
 * @param gy      `[N, O]`
 * @param weight  `[O, I]`
 * @param gx      out: `[N, I]`
 */
tb_status tb_linear_backward_input(const struct tb_engine *engine,
                                   const struct tb_view *gy,
                                   const struct tb_view *weight,
                                   const struct tb_view_mut *gx);

/**
 * Gradients with respect to the weight and bias of `tb_linear_forward`.
 *
 * @param x        `[N, I]`
 * @param gy       `[N, O]`
 * @param gweight  out: `[O, I]`
 * @param gbias    out: `[O]`, or NULL
 */
tb_status tb_linear_backward_weight(const struct tb_engine *engine,
                                    const struct tb_view *x,
                                    const struct tb_view *gy,
                                    const struct tb_view_mut *gweight,
                                    const struct tb_view_mut *gbias);

/**
 * y = a + b, elementwise on any shape. The gradient with respect to both is that of y.
 *
 * @param a  any shape
 * @param b  the shape and dtype of a
 * @param y  out: the shape and dtype of a
 */
tb_status tb_add(const struct tb_engine *engine,
                 const struct tb_view *a,
                 const struct tb_view *b,
                 const struct tb_view_mut *y);

/**
 * Concatenation along dimension 1, the channels. All tensors have one dtype.
 *
 * @param inputs       `[N, C_i, ...]` each
 * @param input_count  how many
 * @param y            out: `[N, sum of C_i, ...]`
 */
tb_status tb_concat(const struct tb_engine *engine,
                    const struct tb_view *inputs,
                    size_t input_count,
                    const struct tb_view_mut *y);

/**
 * Gradients with respect to the inputs of `tb_concat`: the parts of gy.
 *
 * @param gy              `[N, sum of C_i, ...]`
 * @param gradients       out: `[N, C_i, ...]` each
 * @param gradient_count  how many
 */
tb_status tb_concat_backward(const struct tb_engine *engine,
                             const struct tb_view *gy,
                             const struct tb_view_mut *gradients,
                             size_t gradient_count);

/**
 * Each element becomes 0 with probability p, the others are divided by 1 - p; elementwise on any shape. The mask is
 * a function of p, seed, step and the element's index alone.
 *
 * @param x     any shape
 * @param p     0 to 1
 * @param seed  of the mask
 * @param step  another mask for each
 * @param y     out: the shape and dtype of x
 */
tb_status tb_dropout_forward(const struct tb_engine *engine,
                             const struct tb_view *x,
                             double p,
                             uint64_t seed,
                             uint64_t step,
                             const struct tb_view_mut *y);

/**
 * Gradient of `tb_dropout_forward` under the same mask.
 *
 * @param gy             any shape
 * @param p, seed, step  as in the forward pass
 * @param gx             out: the shape and dtype of gy
 */
tb_status tb_dropout_backward(const struct tb_engine *engine,
                              const struct tb_view *gy,
                              double p,
                              uint64_t seed,
                              uint64_t step,
                              const struct tb_view_mut *gx);

/**
 * Softmax cross-entropy, mean over the batch, and its gradient.
 *
 * @param logits       `[N, C]`
 * @param labels       N class numbers in 0..C
 * @param label_count  N
 * @param glogits      out: `[N, C]`, the gradient of the loss
 * @param loss         out: the loss, computed in the accumulate type and rounded once to the dtype
 */
tb_status tb_cross_entropy(const struct tb_engine *engine,
                           const struct tb_view *logits,
                           const int64_t *labels,
                           size_t label_count,
                           const struct tb_view_mut *glogits,
                           double *loss);

/**
 * Rounds every element to a simulated format, in place. What exceeds its largest number becomes infinite, or NaN where
 * the format ("e4m3", which is OCP's; "e4m3ieee" is as the others) has no infinity.
 *
 * @param format  "bf16", "tf32", "e4m3", "e5m2", any "e<exponent bits>m<fraction bits>", each also with random
 *                rounding as "e5m2:stochastic(<seed>)"
 * @param step    other random numbers for each
 * @param x       in and out: any shape, f32 or f64; f64 where f32 does not hold the format
 */
tb_status tb_quantize(const struct tb_engine *engine,
                      const char *format,
                      uint64_t step,
                      const struct tb_view_mut *x);

/**
 * Fills `group` with the defaults. `struct_size` is `sizeof(tb_parameter_group)`.
 */
tb_status tb_parameter_group_init(struct tb_parameter_group *group, size_t struct_size);

/**
 * Fills `options` with the defaults of an algorithm. `struct_size` is `sizeof(tb_optimizer_options)`.
 *
 * @param algorithm  a `TB_ALGORITHM_` value
 */
tb_status tb_optimizer_options_init(struct tb_optimizer_options *options,
                                    size_t struct_size,
                                    tb_algorithm algorithm);

/**
 * One step of stochastic gradient descent on the caller's memory, in place, elementwise on any shape.
 *
 * @param options          of `TB_ALGORITHM_SGD`; NULL for its defaults
 * @param first            not 0 at the first step, where the buffer's contents do not count
 * @param grad             the gradient
 * @param param            in and out: the shape and dtype of grad
 * @param momentum_buffer  in and out: the shape and dtype of grad; NULL exactly when momentum is 0
 */
tb_status tb_sgd_step(const struct tb_engine *engine,
                      const struct tb_optimizer_options *options,
                      int32_t first,
                      const struct tb_view *grad,
                      const struct tb_view_mut *param,
                      const struct tb_view_mut *momentum_buffer);

/**
 * One step of Adam or AdamW on the caller's memory, in place, elementwise on any shape. The state is zeros before the
 * first step.
 *
 * @param options         of `TB_ALGORITHM_ADAM` or `TB_ALGORITHM_ADAMW`; NULL for the defaults of Adam
 * @param step            number of this step, from 1
 * @param grad            the gradient
 * @param param           in and out: the shape and dtype of grad
 * @param exp_avg         in and out: moving average of the gradient
 * @param exp_avg_sq      in and out: moving average of its square
 * @param max_exp_avg_sq  in and out: the largest `exp_avg_sq` so far; NULL exactly without `amsgrad`
 */
tb_status tb_adam_step(const struct tb_engine *engine,
                       const struct tb_optimizer_options *options,
                       uint64_t step,
                       const struct tb_view *grad,
                       const struct tb_view_mut *param,
                       const struct tb_view_mut *exp_avg,
                       const struct tb_view_mut *exp_avg_sq,
                       const struct tb_view_mut *max_exp_avg_sq);

/**
 * One step of RMSprop on the caller's memory, in place, elementwise on any shape. The state is zeros before the first
 * step.
 *
 * @param options          of `TB_ALGORITHM_RMS_PROP`; NULL for its defaults
 * @param grad             the gradient
 * @param param            in and out: the shape and dtype of grad
 * @param square_avg       in and out: moving average of the gradient's square
 * @param momentum_buffer  in and out; NULL exactly when momentum is 0
 * @param grad_avg         in and out: moving average of the gradient; NULL exactly without `centered`
 */
tb_status tb_rms_prop_step(const struct tb_engine *engine,
                           const struct tb_optimizer_options *options,
                           const struct tb_view *grad,
                           const struct tb_view_mut *param,
                           const struct tb_view_mut *square_avg,
                           const struct tb_view_mut *momentum_buffer,
                           const struct tb_view_mut *grad_avg);

/**
 * Fills `options` with the defaults. `struct_size` is `sizeof(tb_zoo_options)`.
 */
tb_status tb_zoo_options_init(struct tb_zoo_options *options, size_t struct_size);

/**
 * Creates a graph that has its input alone, node `TB_GRAPH_INPUT`.
 *
 * @param input_shape  `[C, H, W]` of a sample, 3 numbers
 * @param graph        out: the handle; free it with `tb_graph_free`. NULL on failure.
 */
tb_status tb_graph_create(const int64_t *input_shape, struct tb_graph **graph);

/**
 * Creates the graph of a network of the zoo, to look at or to build on.
 *
 * @param name     "lenet5", "vgg9", "vgg11", "vgg13", "vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "densenet121",
 *                 "densenet201"; with the suffix "_bn": with batch normalisation
 * @param options  NULL for the defaults
 * @param graph    out: the handle; free it with `tb_graph_free`. NULL on failure.
 * @return `TB_STATUS_NOT_FOUND` for an unknown name
 */
tb_status tb_graph_from_zoo(const char *name,
                            const struct tb_zoo_options *options,
                            struct tb_graph **graph);

/**
 * Creates a graph from its description, a JSON object such as
 * `{"input": [1, 8, 8], "layers": [{"name": "pool", "type": "maxpool2d", "kernel": 2}, {"name": "flat", "type": "flatten"},
 * {"name": "head", "type": "linear", "out_features": 10}]}`.
 *
 * `input` is `[C, H, W]`. A layer reads the one before it, or those named by `inputs`, of which `add` has two and `concat`
 * any number; the network's input is called "input". Types and their fields: `conv2d` (out_channels, kernel, stride 1,
 * padding 0, dilation 1, groups 1, bias true), `linear` (out_features, bias true), `batchnorm` (eps 1e-5, momentum 0.1),
 * `maxpool2d`, `avgpool2d`, `norm_pool2d` (kernel, stride: the kernel, padding 0), `relu`, `flatten`, `add`, `concat`,
 * `dropout` (p). A kernel, stride, padding or dilation is a number or `[height, width]`.
 *
 * @param description  NUL-terminated UTF-8
 * @param graph        out: the handle; free it with `tb_graph_free`. NULL on failure.
 * @return `TB_STATUS_INVALID_ARGUMENT`, `TB_STATUS_SHAPE_MISMATCH` or `TB_STATUS_NOT_FOUND` with the name of the layer
 *         that is wrong
 */
tb_status tb_graph_from_json(const char *description,
                             struct tb_graph **graph);

/**
 * The description of a graph, as `tb_graph_from_json` reads it.
 *
 * @param text  out: NUL-terminated UTF-8, cut where `room` ends; NULL where room is 0
 * @param room  bytes at text
 * @param size  out: bytes that the whole text takes, with its NUL
 */
tb_status tb_graph_to_json(const struct tb_graph *graph, char *text, size_t room, size_t *size);

/**
 * Frees a graph. NULL is nothing to do; a handle freed before is `TB_STATUS_INVALID_HANDLE`.
 */
tb_status tb_graph_free(struct tb_graph *graph);

/**
 * What a graph is.
 *
 * @param properties  in: `struct_size`; out: the rest
 */
tb_status tb_graph_info(const struct tb_graph *graph, struct tb_graph_properties *properties);

/**
 * Name, kind and output shape of a layer.
 *
 * @param node        the layer
 * @param properties  in: `struct_size`; out: the rest
 */
tb_status tb_graph_layer_info(const struct tb_graph *graph,
                              tb_node node,
                              struct tb_tensor_properties *properties);

/**
 * Adds a convolution: `[C, H, W]` to `[out_channels, OH, OW]`, with parameters `<name>.weight` and `<name>.bias`.
 *
 * @param name          the layer's, not used before
 * @param x             its input
 * @param out_channels  a multiple of the groups
 * @param options       with the kernel's height and width
 * @param bias          not 0: with bias
 * @param node          out: the layer; NULL where it is not wanted
 * @return `TB_STATUS_SHAPE_MISMATCH`, `TB_STATUS_INVALID_ARGUMENT`; the message names the layer
 */
tb_status tb_graph_conv2d(const struct tb_graph *graph,
                          const char *name,
                          tb_node x,
                          size_t out_channels,
                          const struct tb_conv2d_options *options,
                          int32_t bias,
                          tb_node *node);

/**
 * Adds a ReLU on any shape: a kink layer.
 *
 * @param name  the layer's, not used before
 * @param x     its input
 * @param node  out: the layer; NULL where it is not wanted
 */
tb_status tb_graph_relu(const struct tb_graph *graph, const char *name, tb_node x, tb_node *node);

/**
 * Adds a max pooling, `[C, H, W]` to `[C, OH, OW]`: a kink layer.
 *
 * @param name     the layer's, not used before
 * @param x        its input
 * @param options  NULL for the defaults
 * @param node     out: the layer; NULL where it is not wanted
 */
tb_status tb_graph_maxpool2d(const struct tb_graph *graph,
                             const char *name,
                             tb_node x,
                             const struct tb_pool2d_options *options,
                             tb_node *node);

/**
 * Adds a norm pooling, `[C, H, W]` to `[C, OH, OW]`, the Euclidean norm of each window: a kink layer.
 *
 * @param name     the layer's, not used before
 * @param x        its input
 * @param options  NULL for the defaults
 * @param node     out: the layer; NULL where it is not wanted
 */
tb_status tb_graph_norm_pool2d(const struct tb_graph *graph,
                               const char *name,
                               tb_node x,
                               const struct tb_pool2d_options *options,
                               tb_node *node);

/**
 * Adds an average pooling: `[C, H, W]` to `[C, OH, OW]`; padding counts as zeros.
 *
 * @param name     the layer's, not used before
 * @param x        its input
 * @param options  NULL for the defaults
 * @param node     out: the layer; NULL where it is not wanted
 */
tb_status tb_graph_avgpool2d(const struct tb_graph *graph,
                             const char *name,
                             tb_node x,
                             const struct tb_pool2d_options *options,
                             tb_node *node);

/**
 * Adds an average pooling over each whole plane: `[C, H, W]` to `[C, 1, 1]`.
 *
 * @param name  the layer's, not used before
 * @param x     its input
 * @param node  out: the layer; NULL where it is not wanted
 */
tb_status tb_graph_adaptive_avgpool2d(const struct tb_graph *graph,
                                      const char *name,
                                      tb_node x,
                                      tb_node *node);

/**
 * Adds a batch normalisation of `[C, H, W]` by channel or of `[F]` by feature, with parameters `<name>.weight` and
 * `<name>.bias` and buffers `<name>.running_mean` and `<name>.running_var`.
 *
 * @param name     the layer's, not used before
 * @param x        its input
 * @param options  NULL for the defaults
 * @param node     out: the layer; NULL where it is not wanted
 */
tb_status tb_graph_batchnorm(const struct tb_graph *graph,
                             const char *name,
                             tb_node x,
                             const struct tb_batchnorm_options *options,
                             tb_node *node);

/**
 * Adds a dropout on any shape: in training each element is 0 with probability `p`, else divided by 1 - `p`.
 *
 * @param name  the layer's, not used before
 * @param x     its input
 * @param p     0 to 1
 * @param node  out: the layer; NULL where it is not wanted
 */
tb_status tb_graph_dropout(const struct tb_graph *graph,
                           const char *name,
                           tb_node x,
                           double p,
                           tb_node *node);

/**
 * Adds a fully connected layer: `[I]` to `[out_features]`, with parameters `<name>.weight` and `<name>.bias`.
 *
 * @param name          the layer's, not used before
 * @param x             its input
 * @param out_features  at least 1
 * @param bias          not 0: with bias
 * @param node          out: the layer; NULL where it is not wanted
 */
tb_status tb_graph_linear(const struct tb_graph *graph,
                          const char *name,
                          tb_node x,
                          size_t out_features,
                          int32_t bias,
                          tb_node *node);

/**
 * Adds a layer that sees `[C, H, W]` as `[C * H * W]`.
 *
 * @param name  the layer's, not used before
 * @param x     its input
 * @param node  out: the layer; NULL where it is not wanted
 */
tb_status tb_graph_flatten(const struct tb_graph *graph, const char *name, tb_node x, tb_node *node);

/**
 * Adds the sum of two tensors of equal shape.
 *
 * @param name  the layer's, not used before
 * @param a, b  its inputs
 * @param node  out: the layer; NULL where it is not wanted
 */
tb_status tb_graph_add(const struct tb_graph *graph, const char *name, tb_node a, tb_node b, tb_node *node);

/**
 * Adds a concatenation of `[C_i, H, W]` to `[sum of C_i, H, W]`, or of `[F_i]` to `[sum of F_i]`.
 *
 * @param name         the layer's, not used before
 * @param inputs       the nodes, one after the other
 * @param input_count  at least 1
 * @param node         out: the layer; NULL where it is not wanted
 */
tb_status tb_graph_concat(const struct tb_graph *graph,
                          const char *name,
                          const tb_node *inputs,
                          size_t input_count,
                          tb_node *node);

/**
 * Fills `options` with the defaults. `struct_size` is `sizeof(tb_network_options)`.
 */
tb_status tb_network_options_init(struct tb_network_options *options, size_t struct_size);

/**
 * Creates a network of the zoo on an engine.
 *
 * @param engine   may be freed before the network. On a GPU engine f64 (and f16 where the GPU has none) is
 *                 placed on the CPU; `tb_network_info` says so.
 * @param name     as for `tb_graph_from_zoo`: "lenet5", "resnet18_bn" ...
 * @param zoo      which of the networks of that name; NULL for the defaults
 * @param options  NULL for the defaults
 * @param network  out: the handle; free it with `tb_network_free`. NULL on failure.
 * @return `TB_STATUS_NOT_FOUND` for an unknown name
 */
tb_status tb_network_create(const struct tb_engine *engine,
                            const char *name,
                            const struct tb_zoo_options *zoo,
                            const struct tb_network_options *options,
                            struct tb_network **network);

/**
 * Creates a network of a graph on an engine.
 *
 * @param engine   as for `tb_network_create`
 * @param graph    its output is `[classes]`; it is copied and may be freed or changed afterwards
 * @param options  NULL for the defaults
 * @param network  out: the handle; free it with `tb_network_free`. NULL on failure.
 */
tb_status tb_network_create_from_graph(const struct tb_engine *engine,
                                       const struct tb_graph *graph,
                                       const struct tb_network_options *options,
                                       struct tb_network **network);

/**
 * Frees a network; optimizers that were created for it keep it alive. NULL is nothing to do; a handle freed
 * before is `TB_STATUS_INVALID_HANDLE`.
 */
tb_status tb_network_free(struct tb_network *network);

/**
 * What a network is.
 *
 * @param properties  in: `struct_size`; out: the rest
 */
tb_status tb_network_info(const struct tb_network *network, struct tb_network_properties *properties);

/**
 * Name and shape of a parameter.
 *
 * @param index       below `parameter_count` of `tb_network_info`
 * @param properties  in: `struct_size`; out: the rest
 */
tb_status tb_network_parameter_info(const struct tb_network *network,
                                    size_t index,
                                    struct tb_tensor_properties *properties);

/**
 * Name and shape of a buffer: running statistics of batch normalisation.
 *
 * @param index       below `buffer_count` of `tb_network_info`
 * @param properties  in: `struct_size`; out: the rest
 */
tb_status tb_network_buffer_info(const struct tb_network *network,
                                 size_t index,
                                 struct tb_tensor_properties *properties);

/**
 * Name, kind and output shape of a layer.
 *
 * @param index       below `layer_count` of `tb_network_info`; 0 is the input
 * @param properties  in: `struct_size`; out: the rest
 */
tb_status tb_network_layer_info(const struct tb_network *network,
                                size_t index,
                                struct tb_tensor_properties *properties);

/**
 * Chooses what a kink layer computes from the next run on, without building the network again.
 *
 * @param layer  its name; NULL for every layer of the kink's kind
 * @param kink   the choice
 * @return `TB_STATUS_NOT_FOUND` for an unknown layer, `TB_STATUS_INVALID_ARGUMENT` for one of another kind
 */
tb_status tb_network_set_kink(const struct tb_network *network,
                              const char *layer,
                              const struct tb_kink *kink);

/**
 * Chooses what a framework computes, at every kink layer, from the next run on.
 *
 * @param convention  "pytorch", "jax", "tensorflow", "candle", "mlpack", "theano" or "cudnn-random"
 * @return `TB_STATUS_INVALID_ARGUMENT` for another name
 */
tb_status tb_network_set_kinks(const struct tb_network *network, const char *convention);

/**
 * The present choice at a kink layer.
 *
 * @param layer  its name
 * @param kink   in: `struct_size`; out: the rest
 * @return `TB_STATUS_NOT_FOUND` for an unknown layer, `TB_STATUS_INVALID_ARGUMENT` for one that is no kink layer
 */
tb_status tb_network_kink(const struct tb_network *network,
                          const char *layer,
                          struct tb_kink *kink);

/**
 * Chooses the order of sums over the batch, from the next run on.
 *
 * @param order  a `TB_REDUCTION_ORDER_` value
 * @param seed   counts with `TB_REDUCTION_ORDER_SEEDED`
 */
tb_status tb_network_set_reduction_order(const struct tb_network *network,
                                         tb_reduction_order order,
                                         uint64_t seed);

/**
 * Lets training runs take the running statistics of batch normalisation instead of those of the batch, and leave
 * them as they are.
 *
 * @param frozen  not 0: they do; 0: they do not
 */
tb_status tb_network_freeze_batchnorm(const struct tb_network *network,
                                      int32_t frozen);

/**
 * Chooses what the loss is multiplied by before it is differentiated, so that small gradients do not underflow;
 * `tb_network_read_gradient`, norms, comparisons and optimizers divide by it again. An optimizer with `grad_scaler`
 * chooses it itself.
 *
 * @param scale  above 0, within the range of float; 1 at first
 */
tb_status tb_network_set_loss_scale(const struct tb_network *network,
                                    double scale);

/**
 * Copies a parameter to the caller's memory.
 *
 * @param name    "features.0.weight" ...
 * @param values  out: the parameter's shape, of type `parameter_dtype`
 */
tb_status tb_network_read_parameter(const struct tb_network *network,
                                    const char *name,
                                    const struct tb_view_mut *values);

/**
 * Overwrites a parameter.
 *
 * @param name    "features.0.weight" ...
 * @param values  the parameter's shape, of type `parameter_dtype`
 */
tb_status tb_network_write_parameter(const struct tb_network *network,
                                     const char *name,
                                     const struct tb_view *values);

/**
 * Copies the gradient of a parameter, as the last backward pass left it, to the caller's memory.
 *
 * @param name    "features.0.weight" ...
 * @param values  out: the parameter's shape, of type `parameter_dtype`
 */
tb_status tb_network_read_gradient(const struct tb_network *network,
                                   const char *name,
                                   const struct tb_view_mut *values);

/**
 * Copies a buffer (running statistics of batch normalisation) to the caller's memory.
 *
 * @param name    "features.3.running_mean" ...
 * @param values  out: the buffer's shape, of type `parameter_dtype`
 */
tb_status tb_network_read_buffer(const struct tb_network *network,
                                 const char *name,
                                 const struct tb_view_mut *values);

/**
 * Overwrites a buffer.
 *
 * @param name    "features.3.running_mean" ...
 * @param values  the buffer's shape, of type `parameter_dtype`
 */
tb_status tb_network_write_buffer(const struct tb_network *network,
                                  const char *name,
                                  const struct tb_view *values);

/**
 * Takes over parameters and buffers of another network of the same graph, each rounded to `parameter_dtype`.
 *
 * @param from  another network, which stays as it is; of any precision, on any engine
 * @return `TB_STATUS_INVALID_ARGUMENT` for the same network or one of another graph
 */
tb_status tb_network_copy_state(const struct tb_network *network, const struct tb_network *from);

/**
 * Logits of a batch.
 *
 * @param x       `[N, C, H, W]` of the network's dtype
 * @param logits  out: `[N, classes]`
 */
tb_status tb_network_forward(const struct tb_network *network,
                             const struct tb_view *x,
                             const struct tb_view_mut *logits);

/**
 * Forward and backward pass: the gradients stay in the network.
 *
 * @param x            `[N, C, H, W]` of the network's dtype
 * @param labels       N class numbers
 * @param label_count  N
 * @param loss         out: the mean cross-entropy
 */
tb_status tb_network_loss_and_gradients(const struct tb_network *network,
                                        const struct tb_view *x,
                                        const int64_t *labels,
                                        size_t label_count,
                                        double *loss);

/**
 * A further backward pass, under the present choices, on the activations of the last
 * `tb_network_loss_and_gradients`.
 *
 * @return `TB_STATUS_UNSUPPORTED` where there are none, where parameters have changed since (a training step does
 *         that), or where a choice is coupled or forward and would have made others
 */
tb_status tb_network_backward(const struct tb_network *network);

/**
 * Loss and hits on a batch; no gradients.
 *
 * @param x            `[N, C, H, W]` of the network's dtype
 * @param labels       N class numbers
 * @param label_count  N
 * @param loss         out: the mean cross-entropy
 * @param correct      out: number of samples whose largest logit is the label's
 */
tb_status tb_network_evaluate(const struct tb_network *network,
                              const struct tb_view *x,
                              const int64_t *labels,
                              size_t label_count,
                              double *loss,
                              size_t *correct);

/**
 * How many elements attain the maximum of each window of a max pooling, in the last
 * `tb_network_loss_and_gradients` or training step; 0 where a window holds a NaN.
 *
 * @param layer        a maxpool2d layer's name
 * @param counts       out: N C OH OW numbers
 * @param counts_size  N C OH OW
 */
tb_status tb_network_ties(const struct tb_network *network,
                          const char *layer,
                          uint8_t *counts,
                          size_t counts_size);

/**
 * Copies a layer's output in the last `tb_network_loss_and_gradients` or training step to the caller's memory, where
 * a backward pass reads it and it is therefore kept: inputs of convolutions, linear layers, batch normalisations and
 * ReLUs, and the logits.
 *
 * @param layer   a layer's name
 * @param values  out: `[N, ...]` as `tb_network_layer_info` says, of the network's dtype
 * @return `TB_STATUS_UNSUPPORTED` where it is not kept
 */
tb_status tb_network_read_activation(const struct tb_network *network,
                                     const char *layer,
                                     const struct tb_view_mut *values);

/**
 * Gradients under the present choices against those under each of several alternatives, on one stored forward pass,
 * but for the compositions coupled and forward, which need their own. An alternative is the present choices with some replaced; those
 * of one alternative count together. Afterwards choices, gradients and stored activations are the present ones'. After
 * an error of the device, gradients may be those of another choice: run `tb_network_loss_and_gradients` again.
 *
 * @param x                 `[N, C, H, W]` of the network's dtype
 * @param labels            N class numbers
 * @param label_count       N
 * @param choices           what replaces present choices
 * @param choice_count      how many
 * @param comparisons       in: `struct_size` of the first; out: one for each alternative
 * @param comparison_count  number of alternatives, at least 1
 * @param differences       in: `struct_size` of the first; out: the parameters' under the first alternative, in the
 *                          order of `tb_network_parameter_info`, then under the next ...; NULL where they are not
 *                          wanted
 * @param difference_count  `comparison_count` times `parameter_count` of `tb_network_info`; 0 with NULL
 */
tb_status tb_network_compare(const struct tb_network *network,
                             const struct tb_view *x,
                             const int64_t *labels,
                             size_t label_count,
                             const struct tb_choice *choices,
                             size_t choice_count,
                             struct tb_comparison *comparisons,
                             size_t comparison_count,
                             struct tb_difference *differences,
                             size_t difference_count);

/**
 * As `tb_network_compare`, on the stored forward pass, such as one that `tb_network_replay` took over: no alternative may
 * have another one.
 *
 * @param choices           what replaces present choices
 * @param choice_count      how many
 * @param comparisons       in: `struct_size` of the first; out: one for each alternative
 * @param comparison_count  number of alternatives, at least 1
 * @param differences       in: `struct_size` of the first; out: as of `tb_network_compare`; NULL where they are not wanted
 * @param difference_count  `comparison_count` times `parameter_count` of `tb_network_info`; 0 with NULL
 * @return `TB_STATUS_UNSUPPORTED` as of `tb_network_backward`, for an alternative too
 */
tb_status tb_network_compare_stored(const struct tb_network *network,
                                    const struct tb_choice *choices,
                                    size_t choice_count,
                                    struct tb_comparison *comparisons,
                                    size_t comparison_count,
                                    struct tb_difference *differences,
                                    size_t difference_count);

/**
 * Norms of the gradients that the last backward pass left, taken on the device.
 *
 * @param norms       in: `struct_size` of the first; out: one for each parameter, in the order of
 *                    `tb_network_parameter_info`
 * @param norm_count  `parameter_count` of `tb_network_info`
 */
tb_status tb_network_gradient_norms(const struct tb_network *network,
                                    struct tb_norms *norms,
                                    size_t norm_count);

/**
 * Forward and backward pass, as `tb_network_loss_and_gradients`, with a census of every max pooling and ReLU: how
 * often the network stands on a kink. Running statistics of batch normalisation stay as they are. It has a plan and
 * memory of its own, some percent more than a training step's.
 *
 * @param x            `[N, C, H, W]` of the network's dtype
 * @param labels       N class numbers
 * @param label_count  N
 * @param entries      in: `struct_size` of the first; out: for each max pooling and ReLU in the order of the layers,
 *                     of a max pooling KH KW + 1, by number of ties from 0. All 0 where a layer has no part in the
 *                     output.
 * @param entry_count  `census_count` of `tb_network_info`
 */
tb_status tb_network_census(const struct tb_network *network,
                            const struct tb_view *x,
                            const int64_t *labels,
                            size_t label_count,
                            struct tb_census_entry *entries,
                            size_t entry_count);

/**
 * Why the windows of each max pooling tied in the last `tb_network_loss_and_gradients`. Where `room` is 0 the layers are
 * counted alone.
 *
 * @param entries  in: `struct_size` of the first; out: for each max pooling in the order of the layers, as many as there
 *                 is room for; NULL where room is 0
 * @param room     number of structs at entries
 * @param count    out: number of max poolings; those beyond `room` were not written
 * @return `TB_STATUS_UNSUPPORTED` where no forward pass is stored, or no backward pass needs what a max pooling would store:
 *         there are no parameters before it, or it has no part in the output
 */
tb_status tb_network_tie_classes(const struct tb_network *network,
                                 struct tb_tie_classes *entries,
                                 size_t room,
                                 size_t *count);

/**
 * Takes over the forward pass of the last `tb_network_loss_and_gradients` of another network of the same graph: weights,
 * activations, tie sets and batch statistics, converted to this network's dtypes. `tb_network_backward` and
 * `tb_network_compare_stored` then differentiate, in this network's arithmetic, what the other has computed. With f64 here
 * that tells two causes of a difference between choices apart: one that vanishes was rounding of the other's backward pass,
 * one that stays is there over the reals, on the branches that the other took.
 *
 * The loss is computed anew from the other's logits. Gradients are those of the next backward pass.
 *
 * @param recorded  another network, which stays as it is; of any precision, on any engine
 * @param loss      out: the mean cross-entropy
 * @return `TB_STATUS_INVALID_ARGUMENT` for the same network or one of another graph, `TB_STATUS_UNSUPPORTED` where
 *         recorded has stored nothing since its parameters changed
 */
tb_status tb_network_replay(const struct tb_network *network,
                            const struct tb_network *recorded,
                            double *loss);

/**
 * Lets each training step from now on look at every tensor that it stores: `tb_network_non_finite` tells where a value that
 * is not finite arose. Steps give the same bits, and take a pass over memory longer. Of optimizers only those created after
 * this call are watched. What the last run has stored is given back, so `tb_network_backward` needs another run first. A
 * second call changes nothing.
 */
tb_status tb_network_watch_non_finite(const struct tb_network *network);

/**
 * The tensors of the last training step, `tb_network_loss_and_gradients` or `tb_network_evaluate` that hold a value that is
 * not finite, in the order in which they were computed: the first is where it arose. None where
 * `tb_network_watch_non_finite` was not called before that run. Where `room` is 0 they are counted alone.
 *
 * What follows may stop such a value: a ReLU masks it, and with a loss scale a gradient that overflows is a matter of course,
 * its step skipped. `lasts` tells.
 *
 * @param entries  in: `struct_size` of the first; out: as many as there is room for, one for each tensor; NULL where room is
 *                 0
 * @param room     number of structs at entries
 * @param count    out: number of such tensors; those beyond `room` were not written
 */
tb_status tb_network_non_finite(const struct tb_network *network,
                                struct tb_non_finite *entries,
                                size_t room,
                                size_t *count);

/**
 * What a run of one batch size would need, an optimizer's state apart; nothing is allocated.
 *
 * @param batch     number of samples
 * @param training  not 0: with the backward pass; 0: evaluation alone
 * @param plan      in: `struct_size`; out: the rest
 */
tb_status tb_network_memory_plan(const struct tb_network *network,
                                 size_t batch,
                                 int32_t training,
                                 struct tb_memory_plan *plan);

/**
 * Creates an optimizer for a network.
 *
 * @param network    stays usable on its own; the optimizer keeps it alive
 * @param options    NULL for the defaults of `TB_ALGORITHM_SGD`
 * @param optimizer  out: the handle; free it with `tb_optimizer_free`. NULL on failure.
 */
tb_status tb_optimizer_create(const struct tb_network *network,
                              const struct tb_optimizer_options *options,
                              struct tb_optimizer **optimizer);

/**
 * Frees an optimizer. The network lives on. NULL is nothing to do; a handle freed before is
 * `TB_STATUS_INVALID_HANDLE`.
 */
tb_status tb_optimizer_free(struct tb_optimizer *optimizer);

/**
 * Where an optimizer stands.
 *
 * @param properties  in: `struct_size`; out: the rest
 */
tb_status tb_optimizer_info(const struct tb_optimizer *optimizer, struct tb_optimizer_properties *properties);

/**
 * Changes the step length, as schedules do; groups keep their factors.
 */
tb_status tb_optimizer_set_learning_rate(const struct tb_optimizer *optimizer, double learning_rate);

/**
 * Updates the parameters from the gradients that the last `tb_network_loss_and_gradients` or
 * `tb_network_backward` left.
 *
 * @param report  in: `struct_size`; out: the rest; NULL where it is not wanted
 */
tb_status tb_optimizer_step(const struct tb_optimizer *optimizer, struct tb_step_report *report);

/**
 * A whole training step: forward, loss, backward, update. On a GPU it is one submission, and without `report`
 * nothing waits for it, unless clipping or loss scaling has to look at the gradients.
 *
 * @param x            `[N, C, H, W]` of the network's dtype
 * @param labels       N class numbers
 * @param label_count  N
 * @param report       in: `struct_size`; out: the rest; NULL where it is not wanted
 */
tb_status tb_optimizer_train_step(const struct tb_optimizer *optimizer,
                                  const struct tb_view *x,
                                  const int64_t *labels,
                                  size_t label_count,
                                  struct tb_step_report *report);

/**
 * What a run of one batch size has to do, the optimizer apart; nothing is run.
 *
 * @param batch     number of samples
 * @param training  not 0: with the backward pass; 0: evaluation alone
 * @param work      in: `struct_size`; out: the rest
 */
tb_status tb_network_work(const struct tb_network *network,
                          size_t batch,
                          int32_t training,
                          struct tb_work *work);

/**
 * As `tb_optimizer_train_step` without clipping and loss scaling, one kernel at a time, each timed. The step is made
 * whatever the room for its kernels.
 *
 * @param x             `[N, C, H, W]` of the network's dtype
 * @param labels        N class numbers
 * @param label_count   N
 * @param kernels       in: `struct_size` of the first; out: in the order in which they ran, as many as there is room
 *                      for
 * @param room          number of structs at kernels, at least 1
 * @param kernel_count  out: number of kernels of the step; those beyond `room` were not written
 * @return `TB_STATUS_UNSUPPORTED` on a GPU without timestamps
 */
tb_status tb_optimizer_profile_step(const struct tb_optimizer *optimizer,
                                    const struct tb_view *x,
                                    const int64_t *labels,
                                    size_t label_count,
                                    struct tb_kernel_profile *kernels,
                                    size_t room,
                                    size_t *kernel_count);

/**
 * Fills `options` with the defaults. `struct_size` is `sizeof(tb_dataset_options)`.
 */
tb_status tb_dataset_options_init(struct tb_dataset_options *options, size_t struct_size);

/**
 * Fills `augmentation` with the defaults. `struct_size` is `sizeof(tb_augmentation)`.
 */
tb_status tb_augmentation_init(struct tb_augmentation *augmentation, size_t struct_size);

/**
 * Reads whichever data set a folder holds: MNIST or Fashion-MNIST (IDX; told by `fashion` in the name of the folder or of
 * the one that it is in), CIFAR-10's binary version, SVHN (`*_32x32.mat`; trains on `extra`, or `train` where that is not
 * there), or photos (JPEG, PNG) in one folder per class below `train` and `val` or `test`.
 *
 * @param path       the folder
 * @param options    NULL for the defaults
 * @param progress   hears of files read; NULL: nobody
 * @param user_data  passed to progress
 * @param train      out: the training part; free it with `tb_dataset_free`. NULL on failure.
 * @param test       out: the test or validation part, likewise
 * @return `TB_STATUS_IO` where there is no such folder, no data set in it, or a file cannot be read; `TB_STATUS_FORMAT`
 *         for a damaged file; `TB_STATUS_CANCELLED`; `TB_STATUS_UNSUPPORTED` in a build without the feature `lab`
 */
tb_status tb_dataset_open(const char *path,
                          const struct tb_dataset_options *options,
                          tb_progress_callback progress,
                          void *user_data,
                          struct tb_dataset **train,
                          struct tb_dataset **test);

/**
 * Draws digits `[1, 28, 28]`, a stand-in for MNIST that needs no file. Image i depends on the seed and i alone; take
 * disjoint seeds for training and testing.
 *
 * @param count      number of images
 * @param seed       seed
 * @param progress   hears of images drawn; NULL: nobody
 * @param user_data  passed to progress
 * @param dataset    out: the handle; free it with `tb_dataset_free`. NULL on failure.
 * @return `TB_STATUS_CANCELLED`, `TB_STATUS_OUT_OF_MEMORY`; `TB_STATUS_UNSUPPORTED` in a build without the feature `lab`
 */
tb_status tb_dataset_digits(size_t count,
                            uint64_t seed,
                            tb_progress_callback progress,
                            void *user_data,
                            struct tb_dataset **dataset);

/**
 * Draws coloured shapes `[3, 32, 32]` of ten classes, a stand-in for CIFAR-10 that needs no file. Image i depends on the
 * seed and i alone; take disjoint seeds for training and testing.
 *
 * @param count      number of images
 * @param seed       seed
 * @param progress   hears of images drawn; NULL: nobody
 * @param user_data  passed to progress
 * @param dataset    out: the handle; free it with `tb_dataset_free`. NULL on failure.
 * @return `TB_STATUS_CANCELLED`, `TB_STATUS_OUT_OF_MEMORY`; `TB_STATUS_UNSUPPORTED` in a build without the feature `lab`
 */
tb_status tb_dataset_shapes(size_t count,
                            uint64_t seed,
                            tb_progress_callback progress,
                            void *user_data,
                            struct tb_dataset **dataset);

/**
 * A data set of the caller's images, which are copied; batches of it have mean 0.5 and standard deviation 0.5 in each
 * channel.
 *
 * @param name     what `tb_dataset_info` calls it
 * @param images   pixels `[count, C, H, W]`, 0 to 255
 * @param shape    `[C, H, W]`, 3 numbers
 * @param labels   `count` class numbers
 * @param count    number of images
 * @param classes  number of classes, at most 65536
 * @param dataset  out: the handle; free it with `tb_dataset_free`. NULL on failure.
 * @return `TB_STATUS_UNSUPPORTED` in a build without the feature `lab`
 */
tb_status tb_dataset_create(const char *name,
                            const uint8_t *images,
                            const int64_t *shape,
                            const int64_t *labels,
                            size_t count,
                            size_t classes,
                            struct tb_dataset **dataset);

/**
 * Frees a data set. NULL is nothing to do; a handle freed before is `TB_STATUS_INVALID_HANDLE`.
 */
tb_status tb_dataset_free(struct tb_dataset *dataset);

/**
 * What a data set is.
 *
 * @param properties  in: `struct_size`; out: the rest
 */
tb_status tb_dataset_info(const struct tb_dataset *dataset, struct tb_dataset_properties *properties);

/**
 * The order of an epoch: a permutation of all indices that depends on their number, seed and epoch alone. Mini-batches
 * are its pieces.
 *
 * @param seed     seed
 * @param epoch    epoch
 * @param indices  out: `count` numbers
 * @param count    `count` of `tb_dataset_info`
 */
tb_status tb_dataset_order(const struct tb_dataset *dataset,
                           uint64_t seed,
                           uint64_t epoch,
                           size_t *indices,
                           size_t count);

/**
 * Images as a batch: each channel (v / 255 - mean) / std, rounded once, and their labels.
 *
 * @param indices       which
 * @param count         how many
 * @param augmentation  NULL: the images as they are
 * @param x             out: `[count, C, H, W]`, f16, f32 or f64; host memory or a `tb_tensor`
 * @param labels        out: `count` class numbers
 * @return `TB_STATUS_INVALID_ARGUMENT` for an index that is none; `TB_STATUS_IO`, `TB_STATUS_FORMAT` for a photo that is read
 *         now and cannot be
 */
tb_status tb_dataset_batch(const struct tb_dataset *dataset,
                           const size_t *indices,
                           size_t count,
                           const struct tb_augmentation *augmentation,
                           const struct tb_view_mut *x,
                           int64_t *labels);

/**
 * One epoch of training: `tb_optimizer_train_step` on all images of a data set once, in the order of `tb_dataset_order`;
 * the last batch may be smaller. Between two steps other threads may use the network.
 *
 * @param dataset       its images have the shape of the network's input
 * @param batch_size    images of a step, at least 1
 * @param seed          of the order
 * @param epoch         of the order
 * @param augmentation  NULL: the images as they are
 * @param progress      hears of images done, after each step, and before the first; NULL: nobody
 * @param user_data     passed to progress
 * @param report        in: `struct_size`; out: the rest, after `TB_STATUS_CANCELLED` too; NULL where it is not wanted
 * @return `TB_STATUS_CANCELLED`: what was trained stays trained
 */
tb_status tb_optimizer_train_epoch(const struct tb_optimizer *optimizer,
                                   const struct tb_dataset *dataset,
                                   size_t batch_size,
                                   uint64_t seed,
                                   uint64_t epoch,
                                   const struct tb_augmentation *augmentation,
                                   tb_progress_callback progress,
                                   void *user_data,
                                   struct tb_epoch_report *report);

/**
 * Loss and hits on all images of a data set, in evaluation mode.
 *
 * @param dataset     its images have the shape of the network's input
 * @param batch_size  images of a run, at least 1
 * @param progress    hears of images done, after each run, and before the first; NULL: nobody
 * @param user_data   passed to progress
 * @param loss        out: the mean cross-entropy of all images; NaN where there is none
 * @param correct     out: number of images whose largest logit is the label's
 * @return `TB_STATUS_CANCELLED`
 */
tb_status tb_network_evaluate_dataset(const struct tb_network *network,
                                      const struct tb_dataset *dataset,
                                      size_t batch_size,
                                      tb_progress_callback progress,
                                      void *user_data,
                                      double *loss,
                                      size_t *correct);

/**
 * The experiments that there are; none in a build without the feature `lab`.
 *
 * @param experiments  in: `struct_size` of the first; out: as many as there is room for; NULL where room is 0
 * @param room         number of structs at experiments
 * @param count        out: number of experiments; those beyond `room` were not written
 */
tb_status tb_experiments(struct tb_experiment_properties *experiments, size_t room, size_t *count);

/**
 * The protocol of an experiment where nothing is chosen: a JSON object with each field and its value. What the fields mean
 * is told by `lab NAME --help`, the command line of the experiments.
 *
 * @param name  of `tb_experiments`
 * @param full  not 0: of the published size, which the field `full` of a protocol chooses; 0: of one that takes minutes
 * @param text  out: NUL-terminated UTF-8, cut where `room` ends; NULL where room is 0
 * @param room  bytes at text
 * @param size  out: bytes that the whole text takes, with its NUL
 * @return `TB_STATUS_NOT_FOUND` for an unknown name
 */
tb_status tb_experiment_defaults(const char *name,
                                 int32_t full,
                                 char *text,
                                 size_t room,
                                 size_t *size);

/**
 * An experiment with its protocol chosen.
 *
 * @param name        of `tb_experiments`
 * @param protocol    a JSON object with some of the fields that `tb_experiment_defaults` tells: the others have their
 *                    defaults, those of the published size where `"full": true` is among them. Precisions, optimizers and
 *                    the like are texts such as "f16", or widths in bits; `null` is none. NULL: the defaults.
 * @param train       images, which are copied; NULL: none, or where LeNet-5 or a perceptron is measured, drawn digits
 * @param test        images to test on, which are copied; NULL for experiments that do not test
 * @param experiment  out: the handle; free it with `tb_experiment_free`. NULL on failure.
 * @return `TB_STATUS_NOT_FOUND` for an unknown name, field or network; `TB_STATUS_INVALID_ARGUMENT` for a field of a wrong
 *         type or value, for images that are missing, and for `zero_program`, which takes none, for some;
 *         `TB_STATUS_UNSUPPORTED` in a build without the feature `lab`
 */
tb_status tb_experiment_create(const char *name,
                               const char *protocol,
                               const struct tb_dataset *train,
                               const struct tb_dataset *test,
                               struct tb_experiment **experiment);

/**
 * Frees an experiment. NULL is nothing to do; a handle freed before is `TB_STATUS_INVALID_HANDLE`.
 */
tb_status tb_experiment_free(struct tb_experiment *experiment);

/**
 * What an experiment is.
 *
 * @param properties  in: `struct_size`; out: the rest
 */
tb_status tb_experiment_info(const struct tb_experiment *experiment,
                             struct tb_experiment_properties *properties);

/**
 * Measures the units of an experiment one after the other. With a folder it measures those that have not finished there
 * yet, keeps each as it finishes, and writes `results.csv`, `results.jsonl`, `report.html` and pictures of all that have:
 * what was interrupted goes on from there, and several processes may share the units. Without one nothing is written.
 *
 * @param engine       runs it; 64 bits always run on the CPU
 * @param out          the folder, created where needed; NULL: nothing is read or written
 * @param shard        takes every `shard_count`-th unit from this number on, 1 to shard_count; 0 with a shard_count of 0
 *                     takes all
 * @param shard_count  in how many parts the units are shared
 * @param progress     hears of thousandths of a unit done, of all units to do here; NULL: nobody. Not 0 stops the run: that
 *                     is no failure, `result` has the units that have finished and says that it was `cancelled`.
 * @param user_data    passed to progress
 * @param result       out: the handle; free it with `tb_experiment_result_free`. NULL on failure.
 * @return `TB_STATUS_SHAPE_MISMATCH` where the images do not fit the experiment; `TB_STATUS_IO`, `TB_STATUS_FORMAT` for
 *         files of the folder, `TB_STATUS_IO` too where another run writes there
 */
tb_status tb_experiment_run(const struct tb_experiment *experiment,
                            const struct tb_engine *engine,
                            const char *out,
                            size_t shard,
                            size_t shard_count,
                            tb_progress_callback progress,
                            void *user_data,
                            struct tb_experiment_result **result);

/**
 * Frees a result. NULL is nothing to do; a handle freed before is `TB_STATUS_INVALID_HANDLE`.
 */
tb_status tb_experiment_result_free(struct tb_experiment_result *result);

/**
 * What a run did, and the size of its table.
 *
 * @param properties  in: `struct_size`; out: the rest
 */
tb_status tb_experiment_result_info(const struct tb_experiment_result *result,
                                    struct tb_experiment_result_properties *properties);

/**
 * Name and kind of a column.
 *
 * @param column      below `column_count` of `tb_experiment_result_info`
 * @param properties  in: `struct_size`; out: the rest
 */
tb_status tb_experiment_result_column(const struct tb_experiment_result *result,
                                      size_t column,
                                      struct tb_column_properties *properties);

/**
 * Copies a column of numbers or integers.
 *
 * @param column  below `column_count` of `tb_experiment_result_info`
 * @param values  out: `count` numbers; NaN where a row has none
 * @param count   `row_count` of `tb_experiment_result_info`
 * @return `TB_STATUS_INVALID_ARGUMENT` for a column of texts
 */
tb_status tb_experiment_result_numbers(const struct tb_experiment_result *result,
                                       size_t column,
                                       double *values,
                                       size_t count);

/**
 * Copies a column of integers.
 *
 * @param column  below `column_count` of `tb_experiment_result_info`
 * @param values  out: `count` numbers
 * @param count   `row_count` of `tb_experiment_result_info`
 * @return `TB_STATUS_INVALID_ARGUMENT` for a column of another kind
 */
tb_status tb_experiment_result_integers(const struct tb_experiment_result *result,
                                        size_t column,
                                        uint64_t *values,
                                        size_t count);

/**
 * A cell as a text, whatever the kind of its column: as `results.csv` has it.
 *
 * @param column  below `column_count` of `tb_experiment_result_info`
 * @param row     below `row_count` of `tb_experiment_result_info`
 * @param text    out: NUL-terminated UTF-8, cut where `room` ends; NULL where room is 0
 * @param room    bytes at text; `text_size` of `tb_experiment_result_column` is enough for each row
 * @param size    out: bytes that the whole text takes, with its NUL
 */
tb_status tb_experiment_result_text(const struct tb_experiment_result *result,
                                    size_t column,
                                    size_t row,
                                    char *text,
                                    size_t room,
                                    size_t *size);

/**
 * A sentence of the answer. The last one says where units are missing.
 *
 * @param index  below `sentence_count` of `tb_experiment_result_info`
 * @param text   out: NUL-terminated UTF-8, cut where `room` ends; NULL where room is 0
 * @param room   bytes at text
 * @param size   out: bytes that the whole text takes, with its NUL
 */
tb_status tb_experiment_result_sentence(const struct tb_experiment_result *result,
                                        size_t index,
                                        char *text,
                                        size_t room,
                                        size_t *size);

/**
 * Fills `schedule` with the defaults. `struct_size` is `sizeof(tb_schedule)`.
 */
tb_status tb_schedule_init(struct tb_schedule *schedule, size_t struct_size);

/**
 * The learning rate of an epoch, for `tb_optimizer_set_learning_rate`.
 *
 * @param schedule       the schedule
 * @param base           the rate of epoch 0, at least 0
 * @param epoch          from 0
 * @param learning_rate  out: the rate
 */
tb_status tb_schedule_learning_rate(const struct tb_schedule *schedule,
                                    double base,
                                    uint64_t epoch,
                                    double *learning_rate);

/**
 * Writes parameters and buffers to a safetensors file, as a PyTorch `state_dict`. The file appears whole or not at
 * all.
 *
 * @param path  where; a file that is there is replaced
 * @return `TB_STATUS_IO`
 */
tb_status tb_network_save(const struct tb_network *network,
                          const char *path);

/**
 * Reads parameters and buffers from a safetensors file, one written by `tb_network_save` or by PyTorch.
 *
 * @param path     the file
 * @param convert  not 0: values of another dtype are rounded to `parameter_dtype`; 0: they are refused
 * @return `TB_STATUS_IO`; `TB_STATUS_FORMAT` for a damaged file, or one whose names, shapes or dtypes differ: the
 *         message says which. The network then stays as it was.
 */
tb_status tb_network_load(const struct tb_network *network,
                          const char *path,
                          int32_t convert);

/**
 * Writes a whole run to a safetensors file: the network's parameters and buffers, the optimizer's state, the counters
 * that random draws and bias corrections depend on, learning rate and loss scale, and the names of precision and
 * algorithm. The file appears whole or not at all.
 *
 * Seed, choices at kinks, `tb_network_freeze_batchnorm`, `tb_network_set_reduction_order` and the other scalars of the
 * optimizer are not in it: who goes on with the run sets them again.
 *
 * @param path  where; a file that is there is replaced
 * @return `TB_STATUS_IO`
 */
tb_status tb_optimizer_save(const struct tb_optimizer *optimizer,
                            const char *path);

/**
 * Goes on with a run that `tb_optimizer_save` wrote, for a network and an optimizer created with the same options,
 * under the same choices: the next steps give the bits that they would have given there.
 *
 * @param path  the file
 * @return `TB_STATUS_IO`; `TB_STATUS_FORMAT` for a damaged file, or one of another network, precision or algorithm:
 *         the message says what differs. Network and optimizer then stay as they were.
 */
tb_status tb_optimizer_load(const struct tb_optimizer *optimizer,
                            const char *path);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TIEBREAK_H */
