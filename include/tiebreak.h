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
 * Handles (tb_engine, tb_network, tb_optimizer) look like pointers and are tokens: never dereference them. A handle
 * that was freed, is of another type or was never created gives TB_STATUS_INVALID_HANDLE. Freeing NULL is fine. An
 * object lives until its handle is freed and nothing else needs it, so the order of freeing does not matter.
 *
 * Tensors are the caller's memory, dense and row-major, described by a tb_view or tb_view_mut: [N, C, H, W] images,
 * [O, C, KH, KW] convolution weights, [O, I] linear weights. They are borrowed for the length of one call, never
 * kept. All tensors of a call have one dtype; outputs overlap nothing. Strings are NUL-terminated UTF-8.
 *
 * Structs with struct_size grow with the library: call the init function, or for a struct that the library fills
 * set struct_size = sizeof(it). A program compiled with an older header works with a newer library.
 *
 * Threads. Any handle may be used from any thread; calls on one engine run one after the other. There is no global
 * state but the table of handles, each thread's error message, and a Rust panic hook that keeps the library quiet.
 *
 * Numbers. Sums are accumulated in f32 for f16 and f32, in f64 for f64; an operator rounds to nearest even once for
 * each element that it writes (MaxPool under TB_COMPOSITION_SPLIT and _COUPLED, overlapping windows, and SGD as their
 * functions say). The same inputs give the same bits on the same machine, whatever the number of threads; another
 * kind of processor, or a GPU, may order the sums of convolutions and linear layers differently.
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
 * Runs operators and networks. Created by `tb_engine_create`, given back by `tb_engine_free`.
 */
typedef struct tb_engine tb_engine;

/**
 * A network whose parameters, gradients and activations live on an engine. Created by `tb_network_create`,
 * given back by `tb_network_free`.
 */
typedef struct tb_network tb_network;

/**
 * Updates the parameters of one network, which it keeps alive. Created by `tb_optimizer_create_sgd`, given
 * back by `tb_optimizer_free`.
 */
typedef struct tb_optimizer tb_optimizer;

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
} tb_kink;

/**
 * Stride and padding of a convolution; `tb_conv2d_options_init` sets the defaults.
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
} tb_conv2d_options;

/**
 * Type of the elements of a tensor.
 */
typedef int32_t tb_dtype;

/**
 * The caller's memory seen as a dense, row-major tensor that the library only reads.
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
 * The caller's memory seen as a dense, row-major tensor that the library writes.
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
 * The window of a max pooling; `tb_maxpool2d_options_init` sets the defaults.
 */
typedef struct tb_maxpool2d_options {
    /**
     * `sizeof(tb_maxpool2d_options)`.
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
     * On each side, height and width, at most half the kernel; default 0, 0. Padding never belongs to a window.
     */
    int64_t padding[2];
} tb_maxpool2d_options;

/**
 * How to create a network of the zoo; `tb_network_options_init` sets the defaults.
 */
typedef struct tb_network_options {
    /**
     * `sizeof(tb_network_options)`.
     */
    size_t struct_size;
    /**
     * A `TB_DTYPE_` value; default f32.
     */
    tb_dtype dtype;
    /**
     * Number of classes; default 10.
     */
    uint32_t classes;
    /**
     * Seed of PyTorch's default initialisation; default 0. The same values for each dtype, each rounded once.
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
     * A `TB_DTYPE_` value.
     */
    tb_dtype dtype;
    /**
     * 1 where a GPU runs it, else 0.
     */
    int32_t gpu;
    /**
     * Number of parameter tensors.
     */
    size_t parameter_count;
    /**
     * Number of layers, the input counted.
     */
    size_t layer_count;
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
     * Why a GPU engine leaves it to the CPU; empty where it does not.
     */
    char placement[256];
} tb_network_properties;

/**
 * A parameter or a layer; filled by `tb_network_parameter_info` and `tb_network_layer_info`.
 */
typedef struct tb_tensor_properties {
    /**
     * `sizeof(tb_tensor_properties)`; set by the caller.
     */
    size_t struct_size;
    /**
     * Name, PyTorch's where the network comes from there: "features.0.weight".
     */
    char name[128];
    /**
     * "parameter", or the layer's kind: "conv2d", "relu", "maxpool2d" ...
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
} tb_tensor_properties;

/**
 * Gradients of two choices on the same weights and batch; filled by `tb_network_compare`.
 */
typedef struct tb_comparison {
    /**
     * `sizeof(tb_comparison)`; set by the caller.
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
     * Loss under the first and the second choice.
     */
    double losses[2];
    /**
     * 1 where one forward pass served both, 0 where a coupled composition needed its own.
     */
    int32_t shared_forward;
} tb_comparison;

/**
 * Scalars of stochastic gradient descent, as PyTorch's `torch.optim.SGD`; `tb_sgd_options_init` sets the
 * defaults.
 */
typedef struct tb_sgd_options {
    /**
     * `sizeof(tb_sgd_options)`.
     */
    size_t struct_size;
    /**
     * Step length, at least 0; default 0.01.
     */
    double learning_rate;
    /**
     * Share of the momentum buffer that is kept, at least 0; default 0, which keeps no buffer.
     */
    double momentum;
    /**
     * `weight_decay` times the parameter is added to the gradient; at least 0; default 0.
     */
    double weight_decay;
    /**
     * 1 for Nesterov's momentum, which needs momentum above 0; default 0.
     */
    int32_t nesterov;
} tb_sgd_options;

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
 * Ties of a max pooling.
 */
#define TB_KINK_MAXPOOL 0

/**
 * ReLU at 0.
 */
#define TB_KINK_RELU 1

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
 * Frees an engine. Networks on it live on. NULL is nothing to do; a handle freed before is
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
 * @param weight   `[O, C, KH, KW]`
 * @param bias     `[O]`, or NULL
 * @param options  NULL for the defaults
 * @param y        out: `[N, O, OH, OW]`, OH = floor((H + 2 padding - KH) / stride) + 1
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
 * @param weight   `[O, C, KH, KW]`
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
 * @param gweight  out: `[O, C, KH, KW]`
 * @param gbias    out: `[O]`, or NULL
 */
tb_status tb_conv2d_backward_weight(const struct tb_engine *engine,
                                    const struct tb_view *x,
                                    const struct tb_view *gy,
                                    const struct tb_conv2d_options *options,
                                    const struct tb_view_mut *gweight,
                                    const struct tb_view_mut *gbias);

/**
 * Fills `options` with the defaults. `struct_size` is `sizeof(tb_maxpool2d_options)`.
 */
tb_status tb_maxpool2d_options_init(struct tb_maxpool2d_options *options, size_t struct_size);

/**
 * Shape of the output and size of the tie sets for an input shape.
 *
 * @param x_shape    `[N, C, H, W]`, 4 numbers
 * @param options    NULL for the defaults
 * @param y_shape    out: `[N, C, OH, OW]`, 4 numbers
 * @param ties_size  out: bytes of the tie sets
 */
tb_status tb_maxpool2d_output_shape(const int64_t *x_shape,
                                    const struct tb_maxpool2d_options *options,
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
 * @param kink       a choice of kind `TB_KINK_MAXPOOL`: only `TB_COMPOSITION_COUPLED` changes y; NULL: native
 * @param y          out: `[N, C, OH, OW]`
 * @param ties       out: `ties_size` bytes
 * @param ties_size  as `tb_maxpool2d_output_shape` gives it
 */
tb_status tb_maxpool2d_forward(const struct tb_engine *engine,
                               const struct tb_view *x,
                               const struct tb_maxpool2d_options *options,
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
 * @param ties_size  as `tb_maxpool2d_output_shape` gives it
 * @param options    as in the forward pass
 * @param kink       a choice of kind `TB_KINK_MAXPOOL`; NULL: native
 * @param gx         out: `[N, C, H, W]`
 */
tb_status tb_maxpool2d_backward(const struct tb_engine *engine,
                                const struct tb_view *gy,
                                const uint8_t *ties,
                                size_t ties_size,
                                const struct tb_maxpool2d_options *options,
                                const struct tb_kink *kink,
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
 * Fills `options` with the defaults. `struct_size` is `sizeof(tb_network_options)`.
 */
tb_status tb_network_options_init(struct tb_network_options *options, size_t struct_size);

/**
 * Creates a network of the zoo on an engine.
 *
 * @param engine   may be freed before the network. On a GPU engine f64 (and f16 where the GPU has none) is
 *                 placed on the CPU; `tb_network_info` says so.
 * @param name     "lenet5": input `[N, 1, 28, 28]`
 * @param options  NULL for the defaults
 * @param network  out: the handle; free it with `tb_network_free`. NULL on failure.
 * @return `TB_STATUS_NOT_FOUND` for an unknown name
 */
tb_status tb_network_create(const struct tb_engine *engine,
                            const char *name,
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
 * Copies a parameter to the caller's memory.
 *
 * @param name    "features.0.weight" ...
 * @param values  out: the parameter's shape, the network's dtype
 */
tb_status tb_network_read_parameter(const struct tb_network *network,
                                    const char *name,
                                    const struct tb_view_mut *values);

/**
 * Overwrites a parameter.
 *
 * @param name    "features.0.weight" ...
 * @param values  the parameter's shape, the network's dtype
 */
tb_status tb_network_write_parameter(const struct tb_network *network,
                                     const char *name,
                                     const struct tb_view *values);

/**
 * Copies the gradient of a parameter, as the last backward pass left it, to the caller's memory.
 *
 * @param name    "features.0.weight" ...
 * @param values  out: the parameter's shape, the network's dtype
 */
tb_status tb_network_read_gradient(const struct tb_network *network,
                                   const char *name,
                                   const struct tb_view_mut *values);

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
 *         that), or where a choice is coupled and would have made others
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
 * Gradients under the present choices against those with `kink` at `layer`, on one forward pass unless a
 * coupled composition needs its own. Afterwards choices, gradients and stored activations are the present ones'.
 *
 * @param x            `[N, C, H, W]` of the network's dtype
 * @param labels       N class numbers
 * @param label_count  N
 * @param layer        a layer's name; NULL for every layer of the kink's kind
 * @param kink         the second choice
 * @param comparison   in: `struct_size`; out: the rest
 */
tb_status tb_network_compare(const struct tb_network *network,
                             const struct tb_view *x,
                             const int64_t *labels,
                             size_t label_count,
                             const char *layer,
                             const struct tb_kink *kink,
                             struct tb_comparison *comparison);

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
 * Fills `options` with the defaults. `struct_size` is `sizeof(tb_sgd_options)`.
 */
tb_status tb_sgd_options_init(struct tb_sgd_options *options, size_t struct_size);

/**
 * One step of stochastic gradient descent on the caller's memory, in place, on any shape.
 *
 * @param options          NULL for the defaults
 * @param grad             the gradient
 * @param param            in and out: the shape and dtype of grad
 * @param momentum_buffer  in and out: the shape and dtype of grad; NULL exactly when momentum is 0
 * @param first            not 0 at the first step, where the buffer's contents do not count
 */
tb_status tb_sgd_step(const struct tb_engine *engine,
                      const struct tb_sgd_options *options,
                      const struct tb_view *grad,
                      const struct tb_view_mut *param,
                      const struct tb_view_mut *momentum_buffer,
                      int32_t first);

/**
 * Creates an optimizer (stochastic gradient descent) for a network.
 *
 * @param network    stays usable on its own; the optimizer keeps it alive
 * @param options    NULL for the defaults
 * @param optimizer  out: the handle; free it with `tb_optimizer_free`. NULL on failure.
 */
tb_status tb_optimizer_create_sgd(const struct tb_network *network,
                                  const struct tb_sgd_options *options,
                                  struct tb_optimizer **optimizer);

/**
 * Frees an optimizer. The network lives on. NULL is nothing to do; a handle freed before is
 * `TB_STATUS_INVALID_HANDLE`.
 */
tb_status tb_optimizer_free(struct tb_optimizer *optimizer);

/**
 * Changes the step length, as schedules do.
 */
tb_status tb_optimizer_set_learning_rate(const struct tb_optimizer *optimizer, double learning_rate);

/**
 * Updates the parameters from the gradients that the last `tb_network_loss_and_gradients` or
 * `tb_network_backward` left.
 */
tb_status tb_optimizer_step(const struct tb_optimizer *optimizer);

/**
 * A whole training step: forward, loss, backward, update. On a GPU it is one submission, and without `loss`
 * nothing waits for it.
 *
 * @param x            `[N, C, H, W]` of the network's dtype
 * @param labels       N class numbers
 * @param label_count  N
 * @param loss         out: the mean cross-entropy before the update; NULL where it is not wanted
 */
tb_status tb_optimizer_train_step(const struct tb_optimizer *optimizer,
                                  const struct tb_view *x,
                                  const int64_t *labels,
                                  size_t label_count,
                                  double *loss);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TIEBREAK_H */
