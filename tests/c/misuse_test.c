/*
 * Misuse of every function of the C ABI: each wrong call gives its status and a message that starts with the
 * function's name and holds the argument's, nothing crashes, and the same call made rightly works afterwards. Then
 * threads that free what others use.
 *
 * Each function has a right call in the table `functions`; the loops of `main` spoil one thing of it at a time.
 */
#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/resource.h>
#include <sys/wait.h>
#endif

#include "check.h"
#include "dlpack.h"

enum { SLOTS = 9, RANK = 10, DOUBLES = 4096, BATCH = 2, PIXELS = 28 * 28, CLASSES = 10 };
enum { PARAMETERS = 18, CENSUS = 4 + 2 * 5, NODES = 2 }; /* of lenet5_bn */

/* A tensor of a call. Its memory has room for every wrong shape and dtype that is tried on it. */
typedef struct slot {
    const char *name;
    int output, optional, absent;
    int64_t shape[RANK];
    tb_view in;
    tb_view_mut out;
} slot;

/* All that any function may take. */
typedef struct arguments {
    void *handle;
    slot slots[SLOTS];
    int slot_count;
    void *options;
    tb_kink *kink;
    int64_t *labels;
    size_t label_count;
    uint8_t *bytes;
    size_t bytes_size;
    char *name;
    char *layer;
    void *properties;
    void *handle_out;
    double *loss;
    size_t *size_out;
    int64_t *x_shape, *y_shape;
    size_t struct_size;
    size_t index;
    double number;
    int32_t flag;
    tb_node *node_out;
    tb_graph *graph;
    tb_zoo_options *zoo;
    tb_choice *choices;
    size_t choice_count;
    void *array; /* of structs that the library fills */
    size_t array_count;
    void *more; /* a second one, which may be missing */
    size_t more_count;
} arguments;

typedef enum handle_kind {
    NONE,
    ENGINE,
    GRAPH,
    NETWORK,
    OPTIMIZER,
    TENSOR,
    DATASET,
    EXPERIMENT,
    RESULT,
    LAST = RESULT
} handle_kind;

/* What kind of struct an options pointer points to. */
typedef enum options_kind {
    NO_OPTIONS,
    ENGINE_OPTIONS,
    CONV,
    POOL,
    BATCHNORM,
    ZOO,
    NETWORK_OPTIONS,
    OPTIMIZER_OPTIONS,
    SCHEDULE,
    DATASET_OPTIONS,
    AUGMENTATION
} options_kind;

typedef struct function {
    const char *name;
    tb_status (*call)(arguments *);
    void (*prepare)(arguments *);
    handle_kind handle;
    options_kind options;
    int kink; /* 0: takes none, 1: MaxPool's, 2: ReLU's, 3: norm pooling's, 4: any */
} function;

static tb_engine *engine;
static tb_graph *graph, *finished; /* the first grows, the second is a whole network */
static tb_network *network, *recorded; /* the second has run, and is no handle of the table */
static tb_optimizer *optimizer;
static tb_tensor *device_tensor; /* [2, 3, 4] of f32 */
static tb_dataset *dataset;      /* 10 digits */
static tb_experiment *experiment; /* of two units, a row each */
static tb_experiment_result *result;

static double memory[SLOTS + 1][DOUBLES], large[BATCH * 6 * 24 * 24 * 2];
static union {
    tb_engine_options engine;
    tb_conv2d_options conv;
    tb_pool2d_options pool;
    tb_batchnorm_options batchnorm;
    tb_zoo_options zoo;
    tb_network_options network;
    tb_optimizer_options optimizer;
    tb_schedule schedule;
    tb_dataset_options dataset;
    tb_augmentation augmentation;
    unsigned char room[512];
} options;
static union {
    tb_zoo_options zoo;
    unsigned char room[512];
} zoo;
static tb_parameter_group groups[2];
static tb_choice choices[2];
static tb_comparison comparisons[2];
static tb_difference differences[2 * PARAMETERS];
static tb_norms norms[PARAMETERS];
static tb_census_entry entries[CENSUS];
static tb_tie_classes classes[2];
static tb_non_finite found[2];
static tb_kernel_profile kernels[4];
static tb_adapter_properties adapters[1];
static tb_experiment_properties known[1];
static size_t indices[10];
static dl_legacy legacy;
static dl_versioned versioned;
static int64_t dl_shape[2], dl_strides[2];
static union {
    tb_kink kink;
    unsigned char room[512];
} kink;
static union {
    tb_engine_properties engine;
    tb_memory_use memory;
    tb_graph_properties graph;
    tb_network_properties network;
    tb_tensor_properties tensor;
    tb_memory_plan plan;
    tb_maxpool2d_diagnosis diagnosis;
    tb_optimizer_properties optimizer;
    tb_step_report report;
    tb_epoch_report epoch;
    tb_work work;
    tb_dataset_properties dataset;
    tb_experiment_properties experiment;
    tb_experiment_result_properties result;
    tb_column_properties column;
    tb_kink kink;
    unsigned char room[2048];
} properties;
static int64_t labels[BATCH + 1], x_shape[4], y_shape[4];
static tb_node nodes[NODES], node_room;
static uint64_t milestones[2];
static uint8_t byte_room[4096];
static char name_room[64], layer_room[64], path_room[4096];
static double loss_room;
static size_t size_room;
static void *handle_room;

/* ---- The right call of each function -------------------------------------------------------------------------- */

#define IN(i) (a->slots[i].absent ? NULL : &a->slots[i].in)
#define OUT(i) (a->slots[i].absent ? NULL : &a->slots[i].out)

static void tensor(arguments *a, const char *name, int output, int rank, int64_t d0, int64_t d1, int64_t d2,
                   int64_t d3) {
    const int index = a->slot_count++;
    slot *s = &a->slots[index];
    const int64_t dimensions[4] = {d0, d1, d2, d3};
    int i;
    memset(s, 0, sizeof *s);
    s->name = name;
    s->output = output;
    for (i = 0; i < RANK; i++) s->shape[i] = i < 4 && i < rank ? dimensions[i] : 1;
    s->in.data = s->out.data = memory[index];
    s->in.shape = s->out.shape = s->shape;
    s->in.rank = s->out.rank = rank;
    s->in.dtype = s->out.dtype = TB_DTYPE_F32;
}

static void optional_tensor(arguments *a, const char *name, int output, int64_t d0) {
    tensor(a, name, output, 1, d0, 0, 0, 0);
    a->slots[a->slot_count - 1].optional = 1;
}

static void set(arguments *a) {
    int i;
    memset(a, 0, sizeof *a);
    memset(memory, 0, sizeof memory);
    memset(&options, 0, sizeof options);
    memset(&kink, 0, sizeof kink);
    memset(&properties, 0, sizeof properties);
    OK(tb_kink_init(&kink.kink, sizeof kink.kink));
    OK(tb_zoo_options_init(&zoo.zoo, sizeof zoo.zoo));
    for (i = 0; i <= BATCH; i++) labels[i] = i;
    a->kink = &kink.kink;
    nodes[0] = nodes[1] = TB_GRAPH_INPUT;
    a->labels = labels;
    a->label_count = BATCH;
    a->bytes = byte_room;
    a->name = name_room;
    a->layer = layer_room;
    a->loss = &loss_room;
    a->size_out = &size_room;
    a->handle_out = &handle_room;
    a->options = &options;
    a->properties = &properties;
    a->x_shape = x_shape;
    a->y_shape = y_shape;
    a->number = 0.01;
    a->node_out = &node_room;
    a->graph = finished;
    a->zoo = &zoo.zoo;
}

static void conv_options(void) {
    OK(tb_conv2d_options_init(&options.conv, sizeof options.conv));
}

static void pool_options(void) {
    OK(tb_pool2d_options_init(&options.pool, sizeof options.pool));
}

static void batchnorm_options(void) {
    OK(tb_batchnorm_options_init(&options.batchnorm, sizeof options.batchnorm));
}

static void optimizer_options(tb_algorithm algorithm) {
    OK(tb_optimizer_options_init(&options.optimizer, sizeof options.optimizer, algorithm));
    options.optimizer.momentum = 0.9;
    options.optimizer.amsgrad = options.optimizer.centered = 1;
}

/* A path in the folder for files of the tests. */
static char *file(const char *name) {
    const char *folder = getenv("TIEBREAK_TEST_FOLDER");
    snprintf(path_room, sizeof path_room, "%s/%s", folder ? folder : ".", name);
    return path_room;
}

static void p_engine_create(arguments *a) {
    (void)a;
    OK(tb_engine_options_init(&options.engine, sizeof options.engine));
    options.engine.device = TB_DEVICE_CPU;
    options.engine.threads = 1;
}
static tb_status c_engine_create(arguments *a) {
    tb_status status = tb_engine_create(a->options, a->handle_out);
    if (status == TB_STATUS_OK) CHECK(tb_engine_free(handle_room) == TB_STATUS_OK);
    return status;
}

static void p_engine_info(arguments *a) {
    a->struct_size = properties.engine.struct_size = sizeof properties.engine;
}
static tb_status c_engine_info(arguments *a) {
    return tb_engine_info(a->handle, a->properties);
}

static void p_engine_memory(arguments *a) {
    a->struct_size = properties.memory.struct_size = sizeof properties.memory;
}
static tb_status c_engine_memory(arguments *a) {
    return tb_engine_memory(a->handle, a->properties);
}

static void p_conv_forward(arguments *a) {
    tensor(a, "x", 0, 4, 2, 3, 5, 6);
    tensor(a, "weight", 0, 4, 4, 3, 2, 2);
    optional_tensor(a, "bias", 0, 4);
    tensor(a, "y", 1, 4, 2, 4, 4, 5);
    conv_options();
}
static tb_status c_conv_forward(arguments *a) {
    return tb_conv2d_forward(a->handle, IN(0), IN(1), IN(2), a->options, OUT(3));
}

static void p_conv_backward_input(arguments *a) {
    tensor(a, "gy", 0, 4, 2, 4, 4, 5);
    tensor(a, "weight", 0, 4, 4, 3, 2, 2);
    tensor(a, "gx", 1, 4, 2, 3, 5, 6);
    conv_options();
}
static tb_status c_conv_backward_input(arguments *a) {
    return tb_conv2d_backward_input(a->handle, IN(0), IN(1), a->options, OUT(2));
}

static void p_conv_backward_weight(arguments *a) {
    tensor(a, "x", 0, 4, 2, 3, 5, 6);
    tensor(a, "gy", 0, 4, 2, 4, 4, 5);
    tensor(a, "gweight", 1, 4, 4, 3, 2, 2);
    optional_tensor(a, "gbias", 1, 4);
    conv_options();
}
static tb_status c_conv_backward_weight(arguments *a) {
    return tb_conv2d_backward_weight(a->handle, IN(0), IN(1), a->options, OUT(2), OUT(3));
}

static void p_output_shape(arguments *a) {
    static const int64_t right[4] = {2, 3, 5, 7};
    memcpy(x_shape, right, sizeof x_shape);
    (void)a;
    pool_options();
}
static tb_status c_output_shape(arguments *a) {
    return tb_pool2d_output_shape(a->x_shape, a->options, a->y_shape, a->size_out);
}

static void p_pool_forward(arguments *a) {
    tensor(a, "x", 0, 4, 2, 3, 5, 7);
    tensor(a, "y", 1, 4, 2, 3, 2, 3);
    a->bytes_size = 36;
    pool_options();
}
static tb_status c_pool_forward(arguments *a) {
    return tb_maxpool2d_forward(a->handle, IN(0), a->options, a->kink, OUT(1), a->bytes, a->bytes_size);
}

static void p_pool_backward(arguments *a) {
    tensor(a, "gy", 0, 4, 2, 3, 2, 3);
    tensor(a, "gx", 1, 4, 2, 3, 5, 7);
    a->bytes_size = 36;
    memset(byte_room, 0x05, sizeof byte_room);
    pool_options();
}
static tb_status c_pool_backward(arguments *a) {
    return tb_maxpool2d_backward(a->handle, IN(0), a->bytes, a->bytes_size, a->options, a->kink, OUT(1));
}

static void p_pool_diagnose(arguments *a) {
    tensor(a, "x", 0, 4, 2, 3, 5, 7);
    tensor(a, "gy", 0, 4, 2, 3, 2, 3);
    a->slots[1].optional = 1;
    a->struct_size = properties.diagnosis.struct_size = sizeof properties.diagnosis;
    pool_options();
}
static tb_status c_pool_diagnose(arguments *a) {
    return tb_maxpool2d_diagnose(a->handle, IN(0), IN(1), a->options, a->properties);
}

static void p_norm_pool_forward(arguments *a) {
    tensor(a, "x", 0, 4, 2, 3, 5, 7);
    tensor(a, "y", 1, 4, 2, 3, 2, 3);
    pool_options();
}
static tb_status c_norm_pool_forward(arguments *a) {
    return tb_norm_pool2d_forward(a->handle, IN(0), a->options, OUT(1));
}
static tb_status c_avgpool_forward(arguments *a) {
    return tb_avgpool2d_forward(a->handle, IN(0), a->options, OUT(1));
}

static void p_norm_pool_backward(arguments *a) {
    tensor(a, "x", 0, 4, 2, 3, 5, 7);
    tensor(a, "y", 0, 4, 2, 3, 2, 3);
    tensor(a, "gy", 0, 4, 2, 3, 2, 3);
    tensor(a, "gx", 1, 4, 2, 3, 5, 7);
    kink.kink.kind = TB_KINK_NORM_POOL;
    pool_options();
}
static tb_status c_norm_pool_backward(arguments *a) {
    return tb_norm_pool2d_backward(a->handle, IN(0), IN(1), IN(2), a->options, a->kink, OUT(3));
}

static void p_avgpool_backward(arguments *a) {
    tensor(a, "gy", 0, 4, 2, 3, 2, 3);
    tensor(a, "gx", 1, 4, 2, 3, 5, 7);
    pool_options();
}
static tb_status c_avgpool_backward(arguments *a) {
    return tb_avgpool2d_backward(a->handle, IN(0), a->options, OUT(1));
}

static void p_adaptive_forward(arguments *a) {
    tensor(a, "x", 0, 4, 2, 3, 4, 6);
    tensor(a, "y", 1, 4, 2, 3, 2, 3);
}
static tb_status c_adaptive_forward(arguments *a) {
    return tb_adaptive_avgpool2d_forward(a->handle, IN(0), OUT(1));
}
static void p_adaptive_backward(arguments *a) {
    tensor(a, "gy", 0, 4, 2, 3, 2, 3);
    tensor(a, "gx", 1, 4, 2, 3, 4, 6);
}
static tb_status c_adaptive_backward(arguments *a) {
    return tb_adaptive_avgpool2d_backward(a->handle, IN(0), OUT(1));
}

static void p_batchnorm_forward(arguments *a) {
    tensor(a, "x", 0, 4, 2, 3, 4, 5);
    tensor(a, "weight", 0, 1, 3, 0, 0, 0);
    tensor(a, "bias", 0, 1, 3, 0, 0, 0);
    tensor(a, "y", 1, 4, 2, 3, 4, 5);
    tensor(a, "mean", 1, 1, 3, 0, 0, 0);
    tensor(a, "inv_std", 1, 1, 3, 0, 0, 0);
    tensor(a, "running_mean", 1, 1, 3, 0, 0, 0);
    tensor(a, "running_var", 1, 1, 3, 0, 0, 0);
    batchnorm_options();
}
static tb_status c_batchnorm_forward(arguments *a) {
    return tb_batchnorm_forward(a->handle, IN(0), IN(1), IN(2), a->options, OUT(3), OUT(4), OUT(5), OUT(6), OUT(7));
}

static void p_batchnorm_inference(arguments *a) {
    tensor(a, "x", 0, 2, 2, 3, 0, 0);
    tensor(a, "weight", 0, 1, 3, 0, 0, 0);
    tensor(a, "bias", 0, 1, 3, 0, 0, 0);
    tensor(a, "running_mean", 0, 1, 3, 0, 0, 0);
    tensor(a, "running_var", 0, 1, 3, 0, 0, 0);
    tensor(a, "y", 1, 2, 2, 3, 0, 0);
    batchnorm_options();
}
static tb_status c_batchnorm_inference(arguments *a) {
    return tb_batchnorm_inference(a->handle, IN(0), IN(1), IN(2), IN(3), IN(4), a->options, OUT(5));
}

static void p_batchnorm_backward(arguments *a) {
    tensor(a, "x", 0, 4, 2, 3, 4, 5);
    tensor(a, "gy", 0, 4, 2, 3, 4, 5);
    tensor(a, "weight", 0, 1, 3, 0, 0, 0);
    tensor(a, "mean", 0, 1, 3, 0, 0, 0);
    tensor(a, "inv_std", 0, 1, 3, 0, 0, 0);
    tensor(a, "gx", 1, 4, 2, 3, 4, 5);
    tensor(a, "gweight", 1, 1, 3, 0, 0, 0);
    tensor(a, "gbias", 1, 1, 3, 0, 0, 0);
    batchnorm_options();
}
static tb_status c_batchnorm_backward(arguments *a) {
    return tb_batchnorm_backward(a->handle, IN(0), IN(1), IN(2), IN(3), IN(4), OUT(5), OUT(6), OUT(7));
}
static void p_batchnorm_inference_backward(arguments *a) {
    p_batchnorm_backward(a);
    a->slots[3].name = "running_mean";
    a->slots[4].name = "running_var";
}
static tb_status c_batchnorm_inference_backward(arguments *a) {
    return tb_batchnorm_inference_backward(a->handle, IN(0), IN(1), IN(2), IN(3), IN(4), a->options, OUT(5), OUT(6),
                                           OUT(7));
}

static void p_add(arguments *a) {
    tensor(a, "a", 0, 3, 2, 3, 4, 0);
    tensor(a, "b", 0, 3, 2, 3, 4, 0);
    tensor(a, "y", 1, 3, 2, 3, 4, 0);
}
static tb_status c_add(arguments *a) {
    return tb_add(a->handle, IN(0), IN(1), OUT(2));
}

/* Parts of an array cannot be NULL themselves. */
static void p_concat(arguments *a) {
    tensor(a, "inputs[0]", 0, 3, 2, 1, 4, 0);
    tensor(a, "inputs[1]", 0, 3, 2, 2, 4, 0);
    tensor(a, "y", 1, 3, 2, 3, 4, 0);
    a->slots[0].optional = a->slots[1].optional = 1;
    a->array_count = 2;
}
static tb_status c_concat(arguments *a) {
    tb_view parts[2];
    parts[0] = a->slots[0].in;
    parts[1] = a->slots[1].in;
    return tb_concat(a->handle, a->flag ? NULL : parts, a->array_count, OUT(2));
}
static void p_concat_backward(arguments *a) {
    tensor(a, "gy", 0, 3, 2, 3, 4, 0);
    tensor(a, "gradients[0]", 1, 3, 2, 1, 4, 0);
    tensor(a, "gradients[1]", 1, 3, 2, 2, 4, 0);
    a->slots[1].optional = a->slots[2].optional = 1;
    a->array_count = 2;
}
static tb_status c_concat_backward(arguments *a) {
    tb_view_mut parts[2];
    parts[0] = a->slots[1].out;
    parts[1] = a->slots[2].out;
    return tb_concat_backward(a->handle, IN(0), a->flag ? NULL : parts, a->array_count);
}

static void p_dropout_forward(arguments *a) {
    tensor(a, "x", 0, 3, 2, 3, 4, 0);
    tensor(a, "y", 1, 3, 2, 3, 4, 0);
}
static tb_status c_dropout_forward(arguments *a) {
    return tb_dropout_forward(a->handle, IN(0), a->number, 1, 2, OUT(1));
}
static void p_dropout_backward(arguments *a) {
    tensor(a, "gy", 0, 3, 2, 3, 4, 0);
    tensor(a, "gx", 1, 3, 2, 3, 4, 0);
}
static tb_status c_dropout_backward(arguments *a) {
    return tb_dropout_backward(a->handle, IN(0), a->number, 1, 2, OUT(1));
}

static void p_quantize(arguments *a) {
    (void)a;
    strcpy(name_room, "e5m2:stochastic(1)");
    memory[0][0] = 1;
    x_shape[0] = 3;
}
static tb_status c_quantize(arguments *a) {
    const tb_view_mut x = {memory[0], x_shape, 1, a->flag ? a->flag : TB_DTYPE_F32};
    return tb_quantize(a->handle, a->name, 1, a->properties ? &x : NULL);
}

static void p_relu_forward(arguments *a) {
    tensor(a, "x", 0, 3, 2, 3, 4, 0);
    tensor(a, "y", 1, 3, 2, 3, 4, 0);
}
static tb_status c_relu_forward(arguments *a) {
    return tb_relu_forward(a->handle, IN(0), OUT(1));
}

static void p_relu_backward(arguments *a) {
    tensor(a, "x", 0, 3, 2, 3, 4, 0);
    tensor(a, "gy", 0, 3, 2, 3, 4, 0);
    tensor(a, "gx", 1, 3, 2, 3, 4, 0);
    kink.kink.kind = TB_KINK_RELU;
}
static tb_status c_relu_backward(arguments *a) {
    return tb_relu_backward(a->handle, IN(0), IN(1), a->kink, OUT(2));
}

static void p_linear_forward(arguments *a) {
    tensor(a, "x", 0, 2, 3, 4, 0, 0);
    tensor(a, "weight", 0, 2, 5, 4, 0, 0);
    optional_tensor(a, "bias", 0, 5);
    tensor(a, "y", 1, 2, 3, 5, 0, 0);
}
static tb_status c_linear_forward(arguments *a) {
    return tb_linear_forward(a->handle, IN(0), IN(1), IN(2), OUT(3));
}

static void p_linear_backward_input(arguments *a) {
    tensor(a, "gy", 0, 2, 3, 5, 0, 0);
    tensor(a, "weight", 0, 2, 5, 4, 0, 0);
    tensor(a, "gx", 1, 2, 3, 4, 0, 0);
}
static tb_status c_linear_backward_input(arguments *a) {
    return tb_linear_backward_input(a->handle, IN(0), IN(1), OUT(2));
}

static void p_linear_backward_weight(arguments *a) {
    tensor(a, "x", 0, 2, 3, 4, 0, 0);
    tensor(a, "gy", 0, 2, 3, 5, 0, 0);
    tensor(a, "gweight", 1, 2, 5, 4, 0, 0);
    optional_tensor(a, "gbias", 1, 5);
}
static tb_status c_linear_backward_weight(arguments *a) {
    return tb_linear_backward_weight(a->handle, IN(0), IN(1), OUT(2), OUT(3));
}

static void p_cross_entropy(arguments *a) {
    tensor(a, "logits", 0, 2, BATCH, CLASSES, 0, 0);
    tensor(a, "glogits", 1, 2, BATCH, CLASSES, 0, 0);
}
static tb_status c_cross_entropy(arguments *a) {
    return tb_cross_entropy(a->handle, IN(0), a->labels, a->label_count, OUT(1), a->loss);
}

static void p_network_create(arguments *a) {
    (void)a;
    strcpy(name_room, "lenet5");
    OK(tb_network_options_init(&options.network, sizeof options.network));
}
static tb_status c_network_create(arguments *a) {
    tb_status status = tb_network_create(a->handle, a->name, a->zoo, a->options, a->handle_out);
    if (status == TB_STATUS_OK) CHECK(tb_network_free(handle_room) == TB_STATUS_OK);
    return status;
}
static tb_status c_network_create_from_graph(arguments *a) {
    tb_status status = tb_network_create_from_graph(a->handle, a->graph, a->options, a->handle_out);
    if (status == TB_STATUS_OK) CHECK(tb_network_free(handle_room) == TB_STATUS_OK);
    return status;
}

static void p_graph_create(arguments *a) {
    (void)a;
    x_shape[0] = 3;
    x_shape[1] = x_shape[2] = 8;
}
static tb_status c_graph_create(arguments *a) {
    tb_status status = tb_graph_create(a->x_shape, a->handle_out);
    if (status == TB_STATUS_OK) CHECK(tb_graph_free(handle_room) == TB_STATUS_OK);
    return status;
}
static void p_graph_from_zoo(arguments *a) {
    (void)a;
    strcpy(name_room, "resnet18_bn");
    OK(tb_zoo_options_init(&options.zoo, sizeof options.zoo));
}
static tb_status c_graph_from_zoo(arguments *a) {
    tb_status status = tb_graph_from_zoo(a->name, a->options, a->handle_out);
    if (status == TB_STATUS_OK) CHECK(tb_graph_free(handle_room) == TB_STATUS_OK);
    return status;
}
static void p_graph_from_json(arguments *a) {
    strcpy(path_room, "{\"input\": [1, 4, 4], \"layers\": [{\"name\": \"a\", \"type\": \"relu\"}]}");
    a->name = path_room;
}
static tb_status c_graph_from_json(arguments *a) {
    tb_status status = tb_graph_from_json(a->name, a->handle_out);
    if (status == TB_STATUS_OK) CHECK(tb_graph_free(handle_room) == TB_STATUS_OK);
    return status;
}
static void p_text(arguments *a) {
    a->bytes_size = sizeof byte_room;
}
static tb_status c_graph_to_json(arguments *a) {
    return tb_graph_to_json(a->handle, (char *)a->bytes, a->bytes_size, a->size_out);
}
static void p_graph_info(arguments *a) {
    a->struct_size = properties.graph.struct_size = sizeof properties.graph;
}
static tb_status c_graph_info(arguments *a) {
    return tb_graph_info(a->handle, a->properties);
}
static tb_status c_graph_layer_info(arguments *a) {
    return tb_graph_layer_info(a->handle, a->index, a->properties);
}

/* Layers of a graph: each right call adds one more. */
static void p_layer(arguments *a) {
    static unsigned count;
    (void)a;
    snprintf(name_room, sizeof name_room, "layer%u", count++);
}
static void p_graph_conv2d(arguments *a) {
    p_layer(a);
    conv_options();
    options.conv.kernel[0] = options.conv.kernel[1] = 3;
    a->index = 4;
}
static tb_status c_graph_conv2d(arguments *a) {
    return tb_graph_conv2d(a->handle, a->name, nodes[0], a->index, a->options, 1, a->node_out);
}
static void p_graph_pool(arguments *a) {
    p_layer(a);
    pool_options();
}
static tb_status c_graph_maxpool2d(arguments *a) {
    return tb_graph_maxpool2d(a->handle, a->name, nodes[0], a->options, a->node_out);
}
static tb_status c_graph_norm_pool2d(arguments *a) {
    return tb_graph_norm_pool2d(a->handle, a->name, nodes[0], a->options, a->node_out);
}
static tb_status c_graph_avgpool2d(arguments *a) {
    return tb_graph_avgpool2d(a->handle, a->name, nodes[0], a->options, a->node_out);
}
static tb_status c_graph_adaptive_avgpool2d(arguments *a) {
    return tb_graph_adaptive_avgpool2d(a->handle, a->name, nodes[0], a->node_out);
}
static tb_status c_graph_relu(arguments *a) {
    return tb_graph_relu(a->handle, a->name, nodes[0], a->node_out);
}
static void p_graph_batchnorm(arguments *a) {
    p_layer(a);
    batchnorm_options();
}
static tb_status c_graph_batchnorm(arguments *a) {
    return tb_graph_batchnorm(a->handle, a->name, nodes[0], a->options, a->node_out);
}
static tb_status c_graph_dropout(arguments *a) {
    return tb_graph_dropout(a->handle, a->name, nodes[0], a->number, a->node_out);
}
static tb_status c_graph_flatten(arguments *a) {
    return tb_graph_flatten(a->handle, a->name, nodes[0], a->node_out);
}
static void p_graph_linear(arguments *a) {
    p_layer(a);
    nodes[0] = 1; /* flattened */
    a->index = 5;
}
static tb_status c_graph_linear(arguments *a) {
    return tb_graph_linear(a->handle, a->name, nodes[0], a->index, 1, a->node_out);
}
static tb_status c_graph_add(arguments *a) {
    return tb_graph_add(a->handle, a->name, nodes[1], nodes[0], a->node_out);
}
static void p_graph_concat(arguments *a) {
    p_layer(a);
    a->array = nodes;
    a->array_count = NODES;
}
static tb_status c_graph_concat(arguments *a) {
    return tb_graph_concat(a->handle, a->name, a->array, a->array_count, a->node_out);
}

static void p_network_info(arguments *a) {
    a->struct_size = properties.network.struct_size = sizeof properties.network;
}
static tb_status c_network_info(arguments *a) {
    return tb_network_info(a->handle, a->properties);
}

static void p_tensor_info(arguments *a) {
    a->struct_size = properties.tensor.struct_size = sizeof properties.tensor;
}
static tb_status c_parameter_info(arguments *a) {
    return tb_network_parameter_info(a->handle, a->index, a->properties);
}
static tb_status c_buffer_info(arguments *a) {
    return tb_network_buffer_info(a->handle, a->index, a->properties);
}
static tb_status c_layer_info(arguments *a) {
    return tb_network_layer_info(a->handle, a->index, a->properties);
}

static void p_set_kink(arguments *a) {
    (void)a;
    strcpy(layer_room, "features.2");
}
static tb_status c_set_kink(arguments *a) {
    return tb_network_set_kink(a->handle, a->layer, a->kink);
}

static void p_set_kinks(arguments *a) {
    (void)a;
    strcpy(name_room, "jax");
}
static tb_status c_set_kinks(arguments *a) {
    return tb_network_set_kinks(a->handle, a->name);
}

static void p_kink(arguments *a) {
    p_set_kink(a);
    a->struct_size = properties.kink.struct_size = sizeof properties.kink;
}
static tb_status c_kink(arguments *a) {
    return tb_network_kink(a->handle, a->layer, a->properties);
}
static void p_nothing(arguments *a) {
    (void)a;
}
static tb_status c_set_reduction_order(arguments *a) {
    return tb_network_set_reduction_order(a->handle, a->flag, 7);
}
static tb_status c_freeze_batchnorm(arguments *a) {
    return tb_network_freeze_batchnorm(a->handle, 0);
}
static void p_loss_scale(arguments *a) {
    a->number = 1;
}
static tb_status c_set_loss_scale(arguments *a) {
    return tb_network_set_loss_scale(a->handle, a->number);
}

static void p_parameter_out(arguments *a) {
    strcpy(name_room, "features.0.weight");
    tensor(a, "values", 1, 4, 6, 1, 5, 5);
}
static tb_status c_read_parameter(arguments *a) {
    return tb_network_read_parameter(a->handle, a->name, OUT(0));
}
static tb_status c_read_gradient(arguments *a) {
    return tb_network_read_gradient(a->handle, a->name, OUT(0));
}
static void p_parameter_in(arguments *a) {
    strcpy(name_room, "features.0.weight");
    tensor(a, "values", 0, 4, 6, 1, 5, 5);
}
static tb_status c_write_parameter(arguments *a) {
    return tb_network_write_parameter(a->handle, a->name, IN(0));
}

static void p_buffer_out(arguments *a) {
    strcpy(name_room, "features.3.running_mean");
    tensor(a, "values", 1, 1, 6, 0, 0, 0);
}
static tb_status c_read_buffer(arguments *a) {
    return tb_network_read_buffer(a->handle, a->name, OUT(0));
}
static void p_buffer_in(arguments *a) {
    strcpy(name_room, "features.3.running_mean");
    tensor(a, "values", 0, 1, 6, 0, 0, 0);
}
static tb_status c_write_buffer(arguments *a) {
    return tb_network_write_buffer(a->handle, a->name, IN(0));
}

static void p_forward(arguments *a) {
    tensor(a, "x", 0, 4, BATCH, 1, 28, 28);
    tensor(a, "logits", 1, 2, BATCH, CLASSES, 0, 0);
}
static tb_status c_forward(arguments *a) {
    return tb_network_forward(a->handle, IN(0), OUT(1));
}

static void p_batch(arguments *a) {
    tensor(a, "x", 0, 4, BATCH, 1, 28, 28);
}
static tb_status c_loss_and_gradients(arguments *a) {
    return tb_network_loss_and_gradients(a->handle, IN(0), a->labels, a->label_count, a->loss);
}
static tb_status c_evaluate(arguments *a) {
    return tb_network_evaluate(a->handle, IN(0), a->labels, a->label_count, a->loss, a->size_out);
}
static void p_train_step(arguments *a) {
    p_batch(a);
    a->struct_size = properties.report.struct_size = sizeof properties.report;
}
static tb_status c_train_step(arguments *a) {
    return tb_optimizer_train_step(a->handle, IN(0), a->labels, a->label_count, a->properties);
}

static void p_compare(arguments *a) {
    p_batch(a);
    strcpy(layer_room, "features.2");
    choices[0].alternative = 0;
    choices[1].alternative = 1;
    choices[0].layer = NULL;
    choices[1].layer = layer_room;
    choices[0].kink = choices[1].kink = &kink.kink;
    a->choices = choices;
    a->choice_count = 2;
    a->array = comparisons;
    a->array_count = 2;
    a->more = differences;
    a->more_count = 2 * PARAMETERS;
    comparisons[0].struct_size = sizeof comparisons[0];
    differences[0].struct_size = sizeof differences[0];
}
static tb_status c_compare(arguments *a) {
    if (!a->kink) choices[1].kink = NULL;
    return tb_network_compare(a->handle, IN(0), a->labels, a->label_count, a->choices, a->choice_count, a->array,
                              a->array_count, a->more, a->more_count);
}

static void p_census(arguments *a) {
    p_batch(a);
    a->array = entries;
    a->array_count = CENSUS;
    entries[0].struct_size = sizeof entries[0];
}
static tb_status c_census(arguments *a) {
    return tb_network_census(a->handle, IN(0), a->labels, a->label_count, a->array, a->array_count);
}

static void p_norms(arguments *a) {
    a->array = norms;
    a->array_count = PARAMETERS;
    norms[0].struct_size = sizeof norms[0];
}
static tb_status c_norms(arguments *a) {
    return tb_network_gradient_norms(a->handle, a->array, a->array_count);
}

static void p_memory_plan(arguments *a) {
    a->struct_size = properties.plan.struct_size = sizeof properties.plan;
    a->index = 64;
}
static tb_status c_memory_plan(arguments *a) {
    return tb_network_memory_plan(a->handle, a->index, 1, a->properties);
}

/* Files of the two kinds, written before the first test. */
static void p_network_file(arguments *a) {
    a->name = file("misuse_network.safetensors");
}
static tb_status c_network_save(arguments *a) {
    return tb_network_save(a->handle, a->name);
}
static tb_status c_network_load(arguments *a) {
    return tb_network_load(a->handle, a->name, 0);
}
static void p_optimizer_file(arguments *a) {
    a->name = file("misuse_run.safetensors");
}
static tb_status c_optimizer_save(arguments *a) {
    return tb_optimizer_save(a->handle, a->name);
}
static tb_status c_optimizer_load(arguments *a) {
    return tb_optimizer_load(a->handle, a->name);
}

/* Gradients and tie sets are there only after a run. */
static void p_after_run(arguments *a) {
    p_batch(a);
    a->handle = network;
    OK(c_loss_and_gradients(a));
    a->handle = NULL;
    a->slot_count = 0;
}
static tb_status c_backward(arguments *a) {
    return tb_network_backward(a->handle);
}
static void p_ties(arguments *a) {
    p_after_run(a);
    strcpy(layer_room, "features.6");
    a->bytes_size = BATCH * 16 * 4 * 4;
}
static tb_status c_ties(arguments *a) {
    return tb_network_ties(a->handle, a->layer, a->bytes, a->bytes_size);
}

static void p_compare_stored(arguments *a) {
    p_compare(a);
    p_after_run(a);
}
static tb_status c_compare_stored(arguments *a) {
    if (!a->kink) choices[1].kink = NULL;
    return tb_network_compare_stored(a->handle, a->choices, a->choice_count, a->array, a->array_count, a->more,
                                     a->more_count);
}
static void p_tie_classes(arguments *a) {
    p_after_run(a);
    a->array = classes;
    a->array_count = 2;
    classes[0].struct_size = sizeof classes[0];
}
static tb_status c_tie_classes(arguments *a) {
    return tb_network_tie_classes(a->handle, a->array, a->array_count, a->size_out);
}
static tb_status c_watch_non_finite(arguments *a) {
    return tb_network_watch_non_finite(a->handle);
}
static void p_non_finite(arguments *a) {
    p_after_run(a);
    a->array = found;
    a->array_count = 2;
    found[0].struct_size = sizeof found[0];
}
static tb_status c_non_finite(arguments *a) {
    return tb_network_non_finite(a->handle, a->array, a->array_count, a->size_out);
}
/* `more` is the other network. */
static void p_other_network(arguments *a) {
    a->more = recorded;
}
static tb_status c_replay(arguments *a) {
    return tb_network_replay(a->handle, a->more, a->loss);
}
static tb_status c_copy_state(arguments *a) {
    return tb_network_copy_state(a->handle, a->more);
}

static void p_activation(arguments *a) {
    p_after_run(a);
    strcpy(layer_room, "features.0");
    tensor(a, "values", 1, 4, BATCH, 6, 24, 24);
    a->slots[0].out.data = large;
}
static tb_status c_read_activation(arguments *a) {
    return tb_network_read_activation(a->handle, a->layer, OUT(0));
}

static void p_sgd_step(arguments *a) {
    tensor(a, "grad", 0, 3, 2, 3, 4, 0);
    tensor(a, "param", 1, 3, 2, 3, 4, 0);
    tensor(a, "momentum_buffer", 1, 3, 2, 3, 4, 0);
    optimizer_options(TB_ALGORITHM_SGD);
}
static tb_status c_sgd_step(arguments *a) {
    return tb_sgd_step(a->handle, a->options, 1, IN(0), OUT(1), OUT(2));
}

static void p_adam_step(arguments *a) {
    tensor(a, "grad", 0, 3, 2, 3, 4, 0);
    tensor(a, "param", 1, 3, 2, 3, 4, 0);
    tensor(a, "exp_avg", 1, 3, 2, 3, 4, 0);
    tensor(a, "exp_avg_sq", 1, 3, 2, 3, 4, 0);
    tensor(a, "max_exp_avg_sq", 1, 3, 2, 3, 4, 0);
    optimizer_options(TB_ALGORITHM_ADAM);
    a->index = 1;
}
static tb_status c_adam_step(arguments *a) {
    return tb_adam_step(a->handle, a->options, a->index, IN(0), OUT(1), OUT(2), OUT(3), OUT(4));
}

static void p_rms_prop_step(arguments *a) {
    tensor(a, "grad", 0, 3, 2, 3, 4, 0);
    tensor(a, "param", 1, 3, 2, 3, 4, 0);
    tensor(a, "square_avg", 1, 3, 2, 3, 4, 0);
    tensor(a, "momentum_buffer", 1, 3, 2, 3, 4, 0);
    tensor(a, "grad_avg", 1, 3, 2, 3, 4, 0);
    optimizer_options(TB_ALGORITHM_RMS_PROP);
}
static tb_status c_rms_prop_step(arguments *a) {
    return tb_rms_prop_step(a->handle, a->options, IN(0), OUT(1), OUT(2), OUT(3), OUT(4));
}

static void p_optimizer_create(arguments *a) {
    int i;
    (void)a;
    optimizer_options(TB_ALGORITHM_SGD);
    for (i = 0; i < 2; i++) OK(tb_parameter_group_init(&groups[i], sizeof groups[i]));
    groups[1].names = "*.weight";
    options.optimizer.groups = groups;
    options.optimizer.group_count = 2;
    options.optimizer.clip_norm = 1;
}
static tb_status c_optimizer_create(arguments *a) {
    tb_status status = tb_optimizer_create(a->handle, a->options, a->handle_out);
    if (status == TB_STATUS_OK) CHECK(tb_optimizer_free(handle_room) == TB_STATUS_OK);
    return status;
}
static void p_optimizer_info(arguments *a) {
    a->struct_size = properties.optimizer.struct_size = sizeof properties.optimizer;
}
static tb_status c_optimizer_info(arguments *a) {
    return tb_optimizer_info(a->handle, a->properties);
}
static tb_status c_set_learning_rate(arguments *a) {
    return tb_optimizer_set_learning_rate(a->handle, a->number);
}
static void p_step(arguments *a) {
    a->struct_size = properties.report.struct_size = sizeof properties.report;
}
static tb_status c_step(arguments *a) {
    return tb_optimizer_step(a->handle, a->properties);
}

static void p_schedule(arguments *a) {
    (void)a;
    OK(tb_schedule_init(&options.schedule, sizeof options.schedule));
    options.schedule.kind = TB_SCHEDULE_MULTI_STEP;
    options.schedule.milestones = milestones;
    options.schedule.milestone_count = 2;
}
static tb_status c_schedule(arguments *a) {
    return tb_schedule_learning_rate(a->options, a->number, 3, a->loss);
}

static void p_work(arguments *a) {
    a->struct_size = properties.work.struct_size = sizeof properties.work;
    a->index = 64;
}
static tb_status c_work(arguments *a) {
    return tb_network_work(a->handle, a->index, 1, a->properties);
}
static void p_profile_step(arguments *a) {
    p_batch(a);
    a->array = kernels;
    a->array_count = 4;
    kernels[0].struct_size = sizeof kernels[0];
}
static tb_status c_profile_step(arguments *a) {
    return tb_optimizer_profile_step(a->handle, IN(0), a->labels, a->label_count, a->array, a->array_count, a->size_out);
}
static void p_adapters(arguments *a) {
    a->array = adapters;
    a->array_count = 1;
    adapters[0].struct_size = sizeof adapters[0];
}
static tb_status c_adapters(arguments *a) {
    return tb_adapters(a->array, a->array_count, a->size_out);
}

static void p_tensor_create(arguments *a) {
    static const int64_t right_shape[4] = {2, 3, 4, 5};
    memcpy(x_shape, right_shape, sizeof x_shape);
    a->flag = TB_DTYPE_F32;
    a->index = 4;
}
static tb_status c_tensor_create(arguments *a) {
    tb_status status = tb_tensor_create(a->handle, a->flag, a->x_shape, (int32_t)a->index, a->handle_out);
    if (status == TB_STATUS_OK) CHECK(tb_tensor_free(handle_room) == TB_STATUS_OK);
    return status;
}
static void p_device_tensor_info(arguments *a) {
    a->struct_size = properties.tensor.struct_size = sizeof properties.tensor;
}
static tb_status c_device_tensor_info(arguments *a) {
    return tb_tensor_info(a->handle, a->properties);
}
static void p_tensor_write(arguments *a) {
    tensor(a, "values", 0, 3, 2, 3, 4, 0);
}
static tb_status c_tensor_write(arguments *a) {
    return tb_tensor_write(a->handle, IN(0));
}
static void p_tensor_read(arguments *a) {
    tensor(a, "values", 1, 3, 2, 3, 4, 0);
}
static tb_status c_tensor_read(arguments *a) {
    return tb_tensor_read(a->handle, OUT(0));
}

static void p_dlpack(arguments *a) {
    memset(&legacy, 0, sizeof legacy);
    dl_shape[0] = 2, dl_shape[1] = 3, dl_strides[0] = 3, dl_strides[1] = 1;
    legacy.tensor.data = memory[0];
    legacy.tensor.device_type = 1;
    legacy.tensor.ndim = 2;
    legacy.tensor.code = 2;
    legacy.tensor.bits = 32;
    legacy.tensor.lanes = 1;
    legacy.tensor.shape = dl_shape;
    legacy.tensor.strides = dl_strides;
    memset(&versioned, 0, sizeof versioned);
    versioned.major = 1;
    versioned.tensor = legacy.tensor;
    a->flag = 1;
    a->array = &versioned;
}
static tb_view view_room;
static tb_view_mut view_mut_room;
static tb_status c_dlpack_view(arguments *a) {
    return tb_dlpack_view(a->array, a->flag, a->properties ? &view_room : NULL);
}
static tb_status c_dlpack_view_mut(arguments *a) {
    return tb_dlpack_view_mut(a->array, a->flag, a->properties ? &view_mut_room : NULL);
}
static void p_dlpack_export(arguments *a) {
    memcpy(x_shape, dl_shape, sizeof dl_shape);
    x_shape[0] = 2, x_shape[1] = 3;
    view_room.data = memory[0];
    view_room.shape = x_shape;
    view_room.rank = 2;
    view_room.dtype = TB_DTYPE_F32;
    a->array = &view_room;
}
static tb_status c_dlpack_export(arguments *a) {
    tb_status status = tb_dlpack_export(a->array, a->flag, a->handle_out);
    if (status == TB_STATUS_OK) ((dl_legacy *)handle_room)->deleter(handle_room);
    return status;
}

static int32_t stop_at_once(uint64_t done, uint64_t total, void *user_data) {
    (void)done;
    (void)total;
    (void)user_data;
    return 1;
}
/* `index` of 1 means a callback that stops at once. */
#define PROGRESS (a->index == 1 ? stop_at_once : NULL)

static void p_dataset_open(arguments *a) {
    OK(tb_dataset_options_init(&options.dataset, sizeof options.dataset));
    a->name = file("misuse_images");
    a->more = &node_room; /* where the second handle goes */
}
static tb_status c_dataset_open(arguments *a) {
    /* No data set is there: what the call is to find out last. */
    tb_dataset *test = NULL;
    tb_status status = tb_dataset_open(a->name, a->options, PROGRESS, NULL, a->handle_out, a->more ? &test : NULL);
    CHECK(status != TB_STATUS_OK && (!a->handle_out || !handle_room));
    return status == TB_STATUS_IO && strstr(tb_last_error_message(), "neither MNIST") ? TB_STATUS_OK : status;
}
static void p_dataset_digits(arguments *a) {
    a->label_count = 3;
}
static tb_status c_dataset_digits(arguments *a) {
    tb_status status = tb_dataset_digits(a->label_count, 1, PROGRESS, NULL, a->handle_out);
    if (status == TB_STATUS_OK) CHECK(tb_dataset_free(handle_room) == TB_STATUS_OK);
    return status;
}
static tb_status c_dataset_shapes(arguments *a) {
    tb_status status = tb_dataset_shapes(a->label_count, 1, PROGRESS, NULL, a->handle_out);
    if (status == TB_STATUS_OK) CHECK(tb_dataset_free(handle_room) == TB_STATUS_OK);
    return status;
}
static void p_dataset_create(arguments *a) {
    strcpy(name_room, "own");
    x_shape[0] = 1, x_shape[1] = x_shape[2] = 2;
    a->array_count = CLASSES;
}
static tb_status c_dataset_create(arguments *a) {
    tb_status status = tb_dataset_create(a->name, a->bytes, a->x_shape, a->labels, a->label_count, a->array_count,
                                         a->handle_out);
    if (status == TB_STATUS_OK) CHECK(tb_dataset_free(handle_room) == TB_STATUS_OK);
    return status;
}
static void p_dataset_info(arguments *a) {
    a->struct_size = properties.dataset.struct_size = sizeof properties.dataset;
}
static tb_status c_dataset_info(arguments *a) {
    return tb_dataset_info(a->handle, a->properties);
}
static void p_dataset_order(arguments *a) {
    a->array = indices;
    a->array_count = 10;
}
static tb_status c_dataset_order(arguments *a) {
    return tb_dataset_order(a->handle, 1, 2, a->array, a->array_count);
}
static void p_dataset_batch(arguments *a) {
    OK(tb_augmentation_init(&options.augmentation, sizeof options.augmentation));
    indices[0] = 9, indices[1] = 0;
    a->array = indices;
    a->array_count = 2;
    a->flag = TB_DTYPE_F32;
    x_shape[0] = 2, x_shape[1] = 1, x_shape[2] = x_shape[3] = 28;
}
static tb_status c_dataset_batch(arguments *a) {
    tb_view_mut x = {large, a->x_shape, 4, a->flag};
    return tb_dataset_batch(a->handle, a->array, a->array_count, a->options, a->properties ? &x : NULL, a->labels);
}
static void p_train_epoch(arguments *a) {
    OK(tb_augmentation_init(&options.augmentation, sizeof options.augmentation));
    a->array = dataset;
    a->array_count = 5;
    a->struct_size = properties.epoch.struct_size = sizeof properties.epoch;
}
static tb_status c_train_epoch(arguments *a) {
    return tb_optimizer_train_epoch(a->handle, a->array, a->array_count, 1, 0, a->options, PROGRESS, NULL, a->properties);
}
static void p_evaluate_dataset(arguments *a) {
    a->array = dataset;
    a->array_count = 5;
}
static tb_status c_evaluate_dataset(arguments *a) {
    return tb_network_evaluate_dataset(a->handle, a->array, a->array_count, PROGRESS, NULL, a->loss, a->size_out);
}

static void p_experiments(arguments *a) {
    a->array = known;
    a->array_count = 1;
    known[0].struct_size = sizeof known[0];
}
static tb_status c_experiments(arguments *a) {
    return tb_experiments(a->array, a->array_count, a->size_out);
}
static void p_experiment_defaults(arguments *a) {
    strcpy(name_room, "relu");
    a->bytes_size = sizeof byte_room;
}
static tb_status c_experiment_defaults(arguments *a) {
    return tb_experiment_defaults(a->name, a->flag, (char *)a->bytes, a->bytes_size, a->size_out);
}
static void p_experiment_create(arguments *a) {
    strcpy(name_room, "training");
    strcpy(layer_room, "{\"seeds\": 1}");
    a->array = a->more = dataset;
}
static tb_status c_experiment_create(arguments *a) {
    tb_status status = tb_experiment_create(a->name, a->layer, a->array, a->more, a->handle_out);
    if (status == TB_STATUS_OK) CHECK(tb_experiment_free(handle_room) == TB_STATUS_OK);
    return status;
}
static void p_experiment_info(arguments *a) {
    a->struct_size = properties.experiment.struct_size = sizeof properties.experiment;
}
static tb_status c_experiment_info(arguments *a) {
    return tb_experiment_info(a->handle, a->properties);
}
static void p_experiment_run(arguments *a) {
    a->array = engine;
    a->layer = NULL; /* no folder */
}
static tb_status c_experiment_run(arguments *a) {
    tb_status status = tb_experiment_run(a->handle, a->array, a->layer, a->index, a->more_count, NULL, NULL, a->handle_out);
    if (status == TB_STATUS_OK) CHECK(tb_experiment_result_free(handle_room) == TB_STATUS_OK);
    return status;
}
static void p_result_info(arguments *a) {
    a->struct_size = properties.result.struct_size = sizeof properties.result;
}
static tb_status c_result_info(arguments *a) {
    return tb_experiment_result_info(a->handle, a->properties);
}
static void p_result_column(arguments *a) {
    a->struct_size = properties.column.struct_size = sizeof properties.column;
}
static tb_status c_result_column(arguments *a) {
    return tb_experiment_result_column(a->handle, a->index, a->properties);
}
enum { EXPERIMENT_COLUMN, VERSION_COLUMN, ENGINE_COLUMN, ADAPTER_COLUMN, PRECISION_COLUMN, ROWS = 2 };
static void p_result_numbers(arguments *a) {
    a->index = PRECISION_COLUMN;
    a->array = memory[0];
    a->array_count = ROWS;
}
static tb_status c_result_numbers(arguments *a) {
    return tb_experiment_result_numbers(a->handle, a->index, a->array, a->array_count);
}
static void p_result_integers(arguments *a) {
    p_result_numbers(a);
}
static tb_status c_result_integers(arguments *a) {
    return tb_experiment_result_integers(a->handle, a->index, a->array, a->array_count);
}
static void p_result_text(arguments *a) {
    a->bytes_size = sizeof byte_room;
}
static tb_status c_result_text(arguments *a) {
    return tb_experiment_result_text(a->handle, a->index, a->more_count, (char *)a->bytes, a->bytes_size, a->size_out);
}
static tb_status c_result_sentence(arguments *a) {
    return tb_experiment_result_sentence(a->handle, a->index, (char *)a->bytes, a->bytes_size, a->size_out);
}

static const function functions[] = {
    {"tb_engine_create", c_engine_create, p_engine_create, NONE, ENGINE_OPTIONS, 0},
    {"tb_engine_info", c_engine_info, p_engine_info, ENGINE, NO_OPTIONS, 0},
    {"tb_engine_memory", c_engine_memory, p_engine_memory, ENGINE, NO_OPTIONS, 0},
    {"tb_conv2d_forward", c_conv_forward, p_conv_forward, ENGINE, CONV, 0},
    {"tb_conv2d_backward_input", c_conv_backward_input, p_conv_backward_input, ENGINE, CONV, 0},
    {"tb_conv2d_backward_weight", c_conv_backward_weight, p_conv_backward_weight, ENGINE, CONV, 0},
    {"tb_pool2d_output_shape", c_output_shape, p_output_shape, NONE, POOL, 0},
    {"tb_maxpool2d_forward", c_pool_forward, p_pool_forward, ENGINE, POOL, 1},
    {"tb_maxpool2d_backward", c_pool_backward, p_pool_backward, ENGINE, POOL, 1},
    {"tb_maxpool2d_diagnose", c_pool_diagnose, p_pool_diagnose, ENGINE, POOL, 0},
    {"tb_norm_pool2d_forward", c_norm_pool_forward, p_norm_pool_forward, ENGINE, POOL, 0},
    {"tb_norm_pool2d_backward", c_norm_pool_backward, p_norm_pool_backward, ENGINE, POOL, 3},
    {"tb_avgpool2d_forward", c_avgpool_forward, p_norm_pool_forward, ENGINE, POOL, 0},
    {"tb_avgpool2d_backward", c_avgpool_backward, p_avgpool_backward, ENGINE, POOL, 0},
    {"tb_adaptive_avgpool2d_forward", c_adaptive_forward, p_adaptive_forward, ENGINE, NO_OPTIONS, 0},
    {"tb_adaptive_avgpool2d_backward", c_adaptive_backward, p_adaptive_backward, ENGINE, NO_OPTIONS, 0},
    {"tb_relu_forward", c_relu_forward, p_relu_forward, ENGINE, NO_OPTIONS, 0},
    {"tb_relu_backward", c_relu_backward, p_relu_backward, ENGINE, NO_OPTIONS, 2},
    {"tb_batchnorm_forward", c_batchnorm_forward, p_batchnorm_forward, ENGINE, BATCHNORM, 0},
    {"tb_batchnorm_inference", c_batchnorm_inference, p_batchnorm_inference, ENGINE, BATCHNORM, 0},
    {"tb_batchnorm_backward", c_batchnorm_backward, p_batchnorm_backward, ENGINE, NO_OPTIONS, 0},
    {"tb_batchnorm_inference_backward", c_batchnorm_inference_backward, p_batchnorm_inference_backward, ENGINE,
     BATCHNORM, 0},
    {"tb_linear_forward", c_linear_forward, p_linear_forward, ENGINE, NO_OPTIONS, 0},
    {"tb_linear_backward_input", c_linear_backward_input, p_linear_backward_input, ENGINE, NO_OPTIONS, 0},
    {"tb_linear_backward_weight", c_linear_backward_weight, p_linear_backward_weight, ENGINE, NO_OPTIONS, 0},
    {"tb_add", c_add, p_add, ENGINE, NO_OPTIONS, 0},
    {"tb_concat", c_concat, p_concat, ENGINE, NO_OPTIONS, 0},
    {"tb_concat_backward", c_concat_backward, p_concat_backward, ENGINE, NO_OPTIONS, 0},
    {"tb_dropout_forward", c_dropout_forward, p_dropout_forward, ENGINE, NO_OPTIONS, 0},
    {"tb_dropout_backward", c_dropout_backward, p_dropout_backward, ENGINE, NO_OPTIONS, 0},
    {"tb_cross_entropy", c_cross_entropy, p_cross_entropy, ENGINE, NO_OPTIONS, 0},
    {"tb_quantize", c_quantize, p_quantize, ENGINE, NO_OPTIONS, 0},
    {"tb_sgd_step", c_sgd_step, p_sgd_step, ENGINE, OPTIMIZER_OPTIONS, 0},
    {"tb_adam_step", c_adam_step, p_adam_step, ENGINE, OPTIMIZER_OPTIONS, 0},
    {"tb_rms_prop_step", c_rms_prop_step, p_rms_prop_step, ENGINE, OPTIMIZER_OPTIONS, 0},
    {"tb_graph_create", c_graph_create, p_graph_create, NONE, NO_OPTIONS, 0},
    {"tb_graph_from_zoo", c_graph_from_zoo, p_graph_from_zoo, NONE, ZOO, 0},
    {"tb_graph_from_json", c_graph_from_json, p_graph_from_json, NONE, NO_OPTIONS, 0},
    {"tb_graph_to_json", c_graph_to_json, p_text, GRAPH, NO_OPTIONS, 0},
    {"tb_graph_info", c_graph_info, p_graph_info, GRAPH, NO_OPTIONS, 0},
    {"tb_graph_layer_info", c_graph_layer_info, p_tensor_info, GRAPH, NO_OPTIONS, 0},
    {"tb_graph_conv2d", c_graph_conv2d, p_graph_conv2d, GRAPH, CONV, 0},
    {"tb_graph_relu", c_graph_relu, p_layer, GRAPH, NO_OPTIONS, 0},
    {"tb_graph_maxpool2d", c_graph_maxpool2d, p_graph_pool, GRAPH, POOL, 0},
    {"tb_graph_norm_pool2d", c_graph_norm_pool2d, p_graph_pool, GRAPH, POOL, 0},
    {"tb_graph_avgpool2d", c_graph_avgpool2d, p_graph_pool, GRAPH, POOL, 0},
    {"tb_graph_adaptive_avgpool2d", c_graph_adaptive_avgpool2d, p_layer, GRAPH, NO_OPTIONS, 0},
    {"tb_graph_batchnorm", c_graph_batchnorm, p_graph_batchnorm, GRAPH, BATCHNORM, 0},
    {"tb_graph_dropout", c_graph_dropout, p_layer, GRAPH, NO_OPTIONS, 0},
    {"tb_graph_linear", c_graph_linear, p_graph_linear, GRAPH, NO_OPTIONS, 0},
    {"tb_graph_flatten", c_graph_flatten, p_layer, GRAPH, NO_OPTIONS, 0},
    {"tb_graph_add", c_graph_add, p_layer, GRAPH, NO_OPTIONS, 0},
    {"tb_graph_concat", c_graph_concat, p_graph_concat, GRAPH, NO_OPTIONS, 0},
    {"tb_network_create", c_network_create, p_network_create, ENGINE, NETWORK_OPTIONS, 0},
    {"tb_network_create_from_graph", c_network_create_from_graph, p_network_create, ENGINE, NETWORK_OPTIONS, 0},
    {"tb_network_info", c_network_info, p_network_info, NETWORK, NO_OPTIONS, 0},
    {"tb_network_parameter_info", c_parameter_info, p_tensor_info, NETWORK, NO_OPTIONS, 0},
    {"tb_network_buffer_info", c_buffer_info, p_tensor_info, NETWORK, NO_OPTIONS, 0},
    {"tb_network_layer_info", c_layer_info, p_tensor_info, NETWORK, NO_OPTIONS, 0},
    {"tb_network_set_kink", c_set_kink, p_set_kink, NETWORK, NO_OPTIONS, 4},
    {"tb_network_set_kinks", c_set_kinks, p_set_kinks, NETWORK, NO_OPTIONS, 0},
    {"tb_network_kink", c_kink, p_kink, NETWORK, NO_OPTIONS, 0},
    {"tb_network_set_reduction_order", c_set_reduction_order, p_nothing, NETWORK, NO_OPTIONS, 0},
    {"tb_network_freeze_batchnorm", c_freeze_batchnorm, p_nothing, NETWORK, NO_OPTIONS, 0},
    {"tb_network_set_loss_scale", c_set_loss_scale, p_loss_scale, NETWORK, NO_OPTIONS, 0},
    {"tb_network_read_parameter", c_read_parameter, p_parameter_out, NETWORK, NO_OPTIONS, 0},
    {"tb_network_write_parameter", c_write_parameter, p_parameter_in, NETWORK, NO_OPTIONS, 0},
    {"tb_network_read_gradient", c_read_gradient, p_parameter_out, NETWORK, NO_OPTIONS, 0},
    {"tb_network_read_buffer", c_read_buffer, p_buffer_out, NETWORK, NO_OPTIONS, 0},
    {"tb_network_write_buffer", c_write_buffer, p_buffer_in, NETWORK, NO_OPTIONS, 0},
    {"tb_network_forward", c_forward, p_forward, NETWORK, NO_OPTIONS, 0},
    {"tb_network_loss_and_gradients", c_loss_and_gradients, p_batch, NETWORK, NO_OPTIONS, 0},
    {"tb_network_backward", c_backward, p_after_run, NETWORK, NO_OPTIONS, 0},
    {"tb_network_evaluate", c_evaluate, p_batch, NETWORK, NO_OPTIONS, 0},
    {"tb_network_ties", c_ties, p_ties, NETWORK, NO_OPTIONS, 0},
    {"tb_network_read_activation", c_read_activation, p_activation, NETWORK, NO_OPTIONS, 0},
    {"tb_network_compare", c_compare, p_compare, NETWORK, NO_OPTIONS, 4},
    {"tb_network_compare_stored", c_compare_stored, p_compare_stored, NETWORK, NO_OPTIONS, 4},
    {"tb_network_tie_classes", c_tie_classes, p_tie_classes, NETWORK, NO_OPTIONS, 0},
    {"tb_network_watch_non_finite", c_watch_non_finite, p_nothing, NETWORK, NO_OPTIONS, 0},
    {"tb_network_non_finite", c_non_finite, p_non_finite, NETWORK, NO_OPTIONS, 0},
    {"tb_network_replay", c_replay, p_other_network, NETWORK, NO_OPTIONS, 0},
    {"tb_network_copy_state", c_copy_state, p_other_network, NETWORK, NO_OPTIONS, 0},
    {"tb_network_gradient_norms", c_norms, p_norms, NETWORK, NO_OPTIONS, 0},
    {"tb_network_census", c_census, p_census, NETWORK, NO_OPTIONS, 0},
    {"tb_network_memory_plan", c_memory_plan, p_memory_plan, NETWORK, NO_OPTIONS, 0},
    {"tb_network_save", c_network_save, p_network_file, NETWORK, NO_OPTIONS, 0},
    {"tb_network_load", c_network_load, p_network_file, NETWORK, NO_OPTIONS, 0},
    {"tb_optimizer_create", c_optimizer_create, p_optimizer_create, NETWORK, OPTIMIZER_OPTIONS, 0},
    {"tb_optimizer_info", c_optimizer_info, p_optimizer_info, OPTIMIZER, NO_OPTIONS, 0},
    {"tb_optimizer_set_learning_rate", c_set_learning_rate, p_nothing, OPTIMIZER, NO_OPTIONS, 0},
    {"tb_optimizer_step", c_step, p_step, OPTIMIZER, NO_OPTIONS, 0},
    {"tb_optimizer_train_step", c_train_step, p_train_step, OPTIMIZER, NO_OPTIONS, 0},
    {"tb_optimizer_save", c_optimizer_save, p_optimizer_file, OPTIMIZER, NO_OPTIONS, 0},
    {"tb_optimizer_load", c_optimizer_load, p_optimizer_file, OPTIMIZER, NO_OPTIONS, 0},
    {"tb_schedule_learning_rate", c_schedule, p_schedule, NONE, SCHEDULE, 0},
    {"tb_network_work", c_work, p_work, NETWORK, NO_OPTIONS, 0},
    {"tb_optimizer_profile_step", c_profile_step, p_profile_step, OPTIMIZER, NO_OPTIONS, 0},
    {"tb_adapters", c_adapters, p_adapters, NONE, NO_OPTIONS, 0},
    {"tb_tensor_create", c_tensor_create, p_tensor_create, ENGINE, NO_OPTIONS, 0},
    {"tb_tensor_info", c_device_tensor_info, p_device_tensor_info, TENSOR, NO_OPTIONS, 0},
    {"tb_tensor_write", c_tensor_write, p_tensor_write, TENSOR, NO_OPTIONS, 0},
    {"tb_tensor_read", c_tensor_read, p_tensor_read, TENSOR, NO_OPTIONS, 0},
    {"tb_dlpack_view", c_dlpack_view, p_dlpack, NONE, NO_OPTIONS, 0},
    {"tb_dlpack_view_mut", c_dlpack_view_mut, p_dlpack, NONE, NO_OPTIONS, 0},
    {"tb_dlpack_export", c_dlpack_export, p_dlpack_export, NONE, NO_OPTIONS, 0},
    {"tb_dataset_open", c_dataset_open, p_dataset_open, NONE, DATASET_OPTIONS, 0},
    {"tb_dataset_digits", c_dataset_digits, p_dataset_digits, NONE, NO_OPTIONS, 0},
    {"tb_dataset_shapes", c_dataset_shapes, p_dataset_digits, NONE, NO_OPTIONS, 0},
    {"tb_dataset_create", c_dataset_create, p_dataset_create, NONE, NO_OPTIONS, 0},
    {"tb_dataset_info", c_dataset_info, p_dataset_info, DATASET, NO_OPTIONS, 0},
    {"tb_dataset_order", c_dataset_order, p_dataset_order, DATASET, NO_OPTIONS, 0},
    {"tb_dataset_batch", c_dataset_batch, p_dataset_batch, DATASET, AUGMENTATION, 0},
    {"tb_optimizer_train_epoch", c_train_epoch, p_train_epoch, OPTIMIZER, AUGMENTATION, 0},
    {"tb_network_evaluate_dataset", c_evaluate_dataset, p_evaluate_dataset, NETWORK, NO_OPTIONS, 0},
    {"tb_experiments", c_experiments, p_experiments, NONE, NO_OPTIONS, 0},
    {"tb_experiment_defaults", c_experiment_defaults, p_experiment_defaults, NONE, NO_OPTIONS, 0},
    {"tb_experiment_create", c_experiment_create, p_experiment_create, NONE, NO_OPTIONS, 0},
    {"tb_experiment_info", c_experiment_info, p_experiment_info, EXPERIMENT, NO_OPTIONS, 0},
    {"tb_experiment_run", c_experiment_run, p_experiment_run, EXPERIMENT, NO_OPTIONS, 0},
    {"tb_experiment_result_info", c_result_info, p_result_info, RESULT, NO_OPTIONS, 0},
    {"tb_experiment_result_column", c_result_column, p_result_column, RESULT, NO_OPTIONS, 0},
    {"tb_experiment_result_numbers", c_result_numbers, p_result_numbers, RESULT, NO_OPTIONS, 0},
    {"tb_experiment_result_integers", c_result_integers, p_result_integers, RESULT, NO_OPTIONS, 0},
    {"tb_experiment_result_text", c_result_text, p_result_text, RESULT, NO_OPTIONS, 0},
    {"tb_experiment_result_sentence", c_result_sentence, p_result_text, RESULT, NO_OPTIONS, 0},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

/* ---- One wrong call ------------------------------------------------------------------------------------------- */

static void *handle_of(handle_kind kind) {
    switch (kind) {
    case ENGINE: return engine;
    case GRAPH: return graph;
    case NETWORK: return network;
    case OPTIMIZER: return optimizer;
    case TENSOR: return device_tensor;
    case DATASET: return dataset;
    case EXPERIMENT: return experiment;
    case RESULT: return result;
    default: return NULL;
    }
}

static void right(const function *f, arguments *a) {
    set(a);
    f->prepare(a);
    a->handle = handle_of(f->handle);
}

/* Calls with the spoilt arguments, then with right ones. `expected` is a status, or the sum of two as two decimal
 * digits where either is right: what is wrong depends on the side from which one looks. */
static void wrong(const function *f, arguments *a, int expected, const char *text, const char *what) {
    const tb_status status = f->call(a);
    const char *message = tb_last_error_message();
    const size_t length = strlen(f->name);
    char where[1200];
    int as_expected = status == expected || (expected > 9 && (status == expected / 10 || status == expected % 10));
    snprintf(where, sizeof where, "%s, %s: %s: %s", f->name, what, tb_status_name(status), message);
    check_at(status != TB_STATUS_OK && as_expected, "the status", where, __LINE__);
    if (status != TB_STATUS_OK) {
        check_at(strncmp(message, f->name, length) == 0 && strncmp(message + length, ": ", 2) == 0,
                 "the message starts with the function", where, __LINE__);
        check_at(strstr(message, text) != NULL, "the message names the argument", where, __LINE__);
    }
    right(f, a);
    snprintf(where, sizeof where, "%s after %s", f->name, what);
    check_at(f->call(a) == TB_STATUS_OK, "the right call works", where, __LINE__);
    right(f, a);
}

/* An engine that no test needs a GPU for. */
static tb_engine *new_engine(uint32_t threads) {
    tb_engine_options o;
    tb_engine *e = NULL;
    OK(tb_engine_options_init(&o, sizeof o));
    o.device = TB_DEVICE_CPU;
    o.threads = threads;
    OK(tb_engine_create(&o, &e));
    return e;
}

static void handles(const function *f, arguments *a) {
    void *own = handle_of(f->handle);
    tb_engine *stale;
    int here, i;
    if (f->handle == NONE) return;
    stale = new_engine(1);
    OK(tb_engine_free(stale));
    a->handle = NULL;
    wrong(f, a, TB_STATUS_NULL_POINTER, "argument `", "a NULL handle");
    a->handle = stale;
    wrong(f, a, TB_STATUS_INVALID_HANDLE, "argument `", "a stale handle");
    for (i = ENGINE; i <= LAST; i++) {
        if (i == (int)f->handle) continue;
        a->handle = handle_of((handle_kind)i);
        wrong(f, a, TB_STATUS_INVALID_HANDLE, "argument `", "a handle of another type");
    }
    a->handle = &here;
    wrong(f, a, TB_STATUS_INVALID_HANDLE, "argument `", "a pointer to the stack");
    a->handle = (void *)UINTPTR_MAX;
    wrong(f, a, TB_STATUS_INVALID_HANDLE, "argument `", "all ones");
    for (i = 1; i < 40; i++) {
        a->handle = (void *)(uintptr_t)i;
        wrong(f, a, TB_STATUS_INVALID_HANDLE, "argument `", "a small number");
    }
    for (i = 0; i < 64; i++) {
        int live, k;
        a->handle = (void *)((uintptr_t)own ^ (uintptr_t)1 << i);
        live = a->handle == finished || a->handle == recorded;
        for (k = ENGINE; k <= LAST; k++) live |= a->handle == handle_of((handle_kind)k);
        if (a->handle == NULL || live) continue;
        wrong(f, a, TB_STATUS_INVALID_HANDLE, "argument `", "a handle with a bit flipped");
    }
}

/* State that an optimizer has only where a scalar asks for it. */
static int is_state(const char *name) {
    return strcmp(name, "momentum_buffer") == 0 || strcmp(name, "max_exp_avg_sq") == 0 || strcmp(name, "grad_avg") == 0;
}

static void tensors(const function *f, arguments *a) {
    static const tb_dtype no_dtypes[] = {0, 5, -1, INT32_MAX, INT32_MIN};
    static const int32_t no_ranks[] = {-1, 9, INT32_MAX, INT32_MIN};
    const int count = a->slot_count;
    char what[80], text[40];
    int i, j;
    size_t k;
    for (i = 0; i < count; i++) {
        slot *s = &a->slots[i];
        const int rank = s->in.rank;
        snprintf(text, sizeof text, "`%s", s->name);
#define WRONG(expected, of, problem)                                       \
    do {                                                                   \
        snprintf(what, sizeof what, "%s: %s", a->slots[i].name, problem);  \
        wrong(f, a, expected, of, what);                                   \
    } while (0)
        if (!s->optional) {
            s->absent = 1;
            /* State that a scalar asks for is missed for that scalar's sake. */
            if (is_state(s->name)) WRONG(TB_STATUS_INVALID_ARGUMENT, text, "NULL");
            else WRONG(TB_STATUS_NULL_POINTER, text, "NULL");
        }
        s->in.data = s->out.data = NULL;
        WRONG(TB_STATUS_NULL_POINTER, text, "data NULL");
        s->in.shape = s->out.shape = NULL;
        WRONG(TB_STATUS_NULL_POINTER, text, "shape NULL");
        s->in.data = (const char *)memory[i] + 1;
        s->out.data = (char *)memory[i] + 1;
        WRONG(TB_STATUS_INVALID_ARGUMENT, text, "misaligned data");
        s->in.shape = s->out.shape = (const int64_t *)((const char *)s->shape + 4);
        WRONG(TB_STATUS_INVALID_ARGUMENT, text, "misaligned shape");
        for (k = 0; k < sizeof no_dtypes / sizeof *no_dtypes; k++) {
            s->in.dtype = s->out.dtype = no_dtypes[k];
            WRONG(TB_STATUS_INVALID_ARGUMENT, text, "no dtype");
        }
        /* Another dtype or shape than the rest: which tensor is the wrong one is a matter of view, but what a network
         * writes is named. */
        s->in.dtype = s->out.dtype = TB_DTYPE_F64;
        WRONG(TB_STATUS_DTYPE_MISMATCH, f->handle == NETWORK && s->output ? text : "dtype of `", "f64 among f32");
        s->in.dtype = s->out.dtype = TB_DTYPE_F16;
        WRONG(TB_STATUS_DTYPE_MISMATCH, f->handle == NETWORK && s->output ? text : "dtype of `", "f16 among f32");
        for (k = 0; k < sizeof no_ranks / sizeof *no_ranks; k++) {
            s->in.rank = s->out.rank = no_ranks[k];
            WRONG(TB_STATUS_INVALID_ARGUMENT, text, "no rank");
        }
        s->in.rank = s->out.rank = 0;
        WRONG(TB_STATUS_SHAPE_MISMATCH, "shape of `", "rank 0");
        s->in.rank = s->out.rank = rank - 1;
        WRONG(TB_STATUS_SHAPE_MISMATCH, "shape of `", "rank too small");
        s->in.rank = s->out.rank = rank + 1;
        WRONG(TB_STATUS_SHAPE_MISMATCH, "shape of `", "rank too large");
        for (j = 0; j < rank; j++) {
            const int64_t d = s->shape[j];
            s->shape[j] = -1;
            WRONG(TB_STATUS_INVALID_ARGUMENT, text, "a dimension of -1");
            s->shape[j] = INT64_MIN;
            WRONG(TB_STATUS_INVALID_ARGUMENT, text, "a dimension of INT64_MIN");
            s->shape[j] = d + 1;
            WRONG(TB_STATUS_SHAPE_MISMATCH, "`", "a dimension one too large");
            s->shape[j] = 0;
            /* What is wrong about it depends on the operator: the shape, or a value that must be above 0. */
            WRONG(10 * TB_STATUS_SHAPE_MISMATCH + TB_STATUS_INVALID_ARGUMENT, "`", "a dimension of 0");
            s->shape[j] = INT64_MAX;
            WRONG(TB_STATUS_SHAPE_MISMATCH, text, "a dimension of INT64_MAX");
        }
        if (rank > 1) {
            for (j = 0; j < rank; j++) s->shape[j] = INT64_C(1) << 32; /* a product that would wrap to 0 */
            WRONG(TB_STATUS_SHAPE_MISMATCH, text, "a shape that overflows");
        }
        /* Outputs overlap nothing, whole or in part; the later argument is named. */
        for (j = 0; j < count; j++) {
            if (j == i || !(s->output || a->slots[j].output)) continue;
            s->in.data = s->out.data = memory[j];
            WRONG(TB_STATUS_INVALID_ARGUMENT, "overlap", "another tensor's memory");
            s->in.data = s->out.data = (float *)memory[j] + 1;
            WRONG(TB_STATUS_INVALID_ARGUMENT, "overlap", "a part of another tensor's memory");
        }
    }
#undef WRONG
}

static int takes(const function *f, const char *list) {
    const char *at = strstr(list, f->name);
    return at != NULL && at[strlen(f->name)] == ' ';
}

static void option_structs(const function *f, arguments *a) {
    static const size_t no_sizes[] = {0, 1, 8, SIZE_MAX, (size_t)1 << 20};
    size_t size, k;
    if (f->options == NO_OPTIONS) return;
    memcpy(&size, &options, sizeof size);
    for (k = 0; k < sizeof no_sizes / sizeof *no_sizes; k++) {
        memcpy(&options, &no_sizes[k], sizeof size);
        wrong(f, a, TB_STATUS_INVALID_ARGUMENT, "struct_size`", "options of no size");
    }
    /* Sizes between the first one and today's are those of older programs: prefix_test.c. */
    size += 8;
    memcpy(&options, &size, sizeof size);
    options.room[size - 1] = 1;
    wrong(f, a, TB_STATUS_INVALID_ARGUMENT, "newer version", "options with an unknown field");

#define SPOIL(assignment, expected, text)             \
    do {                                              \
        assignment;                                   \
        wrong(f, a, expected, text, #assignment);     \
    } while (0)
#define INVALID(assignment, text) SPOIL(assignment, TB_STATUS_INVALID_ARGUMENT, text)
    if (f->options == ENGINE_OPTIONS) {
        INVALID(options.engine.device = 3, "`options.device`");
        INVALID(options.engine.device = -1, "`options.device`");
        INVALID(options.engine.threads = UINT32_MAX, "`threads`");
        INVALID(options.engine.adapter = "\xff\xfe", "`options.adapter`");
    }
    if (f->options == CONV) {
        INVALID(options.conv.stride[0] = 0, "stride`");
        INVALID(options.conv.stride[1] = -1, "`options.stride`");
        INVALID(options.conv.stride[1] = INT64_MAX, "stride`");
        INVALID(options.conv.padding[0] = -1, "`options.padding`");
        INVALID(options.conv.padding[1] = INT64_MAX, "padding`");
        INVALID(options.conv.dilation[0] = 0, "dilation`");
        INVALID(options.conv.dilation[1] = INT64_MAX, "dilation`");
        INVALID(options.conv.groups = -1, "`options.groups`");
        INVALID(options.conv.kernel[0] = -1, "`options.kernel`");
        INVALID(options.conv.kernel[1] = 30, "kernel`");
    }
    if (f->options == CONV && a->slot_count) {
        SPOIL(options.conv.stride[0] = 2, TB_STATUS_SHAPE_MISMATCH, "`");
        SPOIL(options.conv.padding[0] = 1, TB_STATUS_SHAPE_MISMATCH, "`");
        SPOIL(options.conv.groups = 2, TB_STATUS_SHAPE_MISMATCH, "`");
        SPOIL(options.conv.groups = INT64_MAX, TB_STATUS_SHAPE_MISMATCH, "`");
    }
    if (f->options == CONV && !a->slot_count) {
        INVALID(options.conv.groups = 2, "groups`");
        INVALID(options.conv.groups = 0, "groups`");
        INVALID(options.conv.kernel[0] = 0, "kernel`");
        INVALID(a->options = NULL, "kernel`");
    }
    if (f->options == POOL) {
        INVALID(options.pool.kernel[0] = 0, "kernel`");
        INVALID(options.pool.kernel[0] = -2, "`options.kernel`");
        INVALID(options.pool.kernel[1] = INT64_MAX, "kernel`");
        INVALID(options.pool.kernel[0] = 50, "kernel`");
        INVALID(options.pool.stride[0] = -1, "`options.stride`");
        INVALID(options.pool.stride[1] = INT64_MAX, "stride`");
        INVALID(options.pool.padding[0] = -1, "`options.padding`");
        INVALID(options.pool.padding[1] = 2, "padding`");
    }
    if (f->options == POOL && a->slot_count) {
        SPOIL(options.pool.stride[0] = 1, TB_STATUS_SHAPE_MISMATCH, "`");
        SPOIL(options.pool.padding[0] = 1, TB_STATUS_SHAPE_MISMATCH, "`");
    }
    if (f->options == POOL && a->bytes_size) {
        SPOIL((options.pool.kernel[0] = 4, options.pool.stride[0] = 2, options.pool.padding[0] = 1),
              TB_STATUS_SHAPE_MISMATCH, "ties");
    }
    if (f->options == BATCHNORM) {
        INVALID(options.batchnorm.eps = -1, "eps`");
        INVALID(options.batchnorm.eps = NAN, "eps`");
        INVALID(options.batchnorm.momentum = 1.5, "momentum`");
        INVALID(options.batchnorm.momentum = NAN, "momentum`");
    }
    if (f->options == ZOO) {
        SPOIL(options.zoo.classes = 0, 10 * TB_STATUS_SHAPE_MISMATCH + TB_STATUS_INVALID_ARGUMENT, "`");
        INVALID(options.zoo.base_width = 0, "`base_width`");
        INVALID(options.zoo.base_width = UINT32_MAX, "`base_width`");
        INVALID(options.zoo.input_shape[0] = 3, "`options.input_shape`");
        INVALID(options.zoo.input_shape[0] = -3, "`options.input_shape`");
        SPOIL((options.zoo.input_shape[0] = options.zoo.input_shape[1] = options.zoo.input_shape[2] = INT64_MAX),
              10 * TB_STATUS_SHAPE_MISMATCH + TB_STATUS_INVALID_ARGUMENT, "`");
        INVALID(options.zoo.variant = "cifar100", "`variant`");
        INVALID(options.zoo.variant = "\xff", "`options.variant`");
    }
    if (f->options == NETWORK_OPTIONS) {
        INVALID(options.network.precision = "", "`precision`");
        INVALID(options.network.precision = "f8", "`precision`");
        INVALID(options.network.precision = "e99m1", "`precision`");
        INVALID(options.network.precision = "\xff", "`options.precision`");
        INVALID(options.network.initialization = "zeros", "`initialization`");
        INVALID(options.network.initialization = "\xff", "`options.initialization`");
    }
    if (f->options == OPTIMIZER_OPTIONS) {
        INVALID(options.optimizer.algorithm = -1, "`options.algorithm`");
        INVALID(options.optimizer.algorithm = 4, "`options.algorithm`");
        INVALID(options.optimizer.learning_rate = -1, "`learning_rate`");
        INVALID(options.optimizer.learning_rate = NAN, "`learning_rate`");
        INVALID(options.optimizer.weight_decay = -1, "`weight_decay`");
        INVALID(options.optimizer.weight_decay = -INFINITY, "`weight_decay`");
    }
    if (takes(f, "tb_sgd_step tb_optimizer_create tb_rms_prop_step ")) {
        INVALID(options.optimizer.momentum = -0.1, "`momentum`");
        INVALID(options.optimizer.momentum = INFINITY, "`momentum`");
    }
    if (takes(f, "tb_sgd_step tb_optimizer_create ")) {
        INVALID((options.optimizer.nesterov = 1, options.optimizer.momentum = 0), "`nesterov`");
        INVALID(options.optimizer.dampening = NAN, "`dampening`");
    }
    if (takes(f, "tb_sgd_step ")) INVALID(options.optimizer.algorithm = TB_ALGORITHM_ADAM, "`options.algorithm`");
    if (takes(f, "tb_adam_step ")) {
        INVALID(options.optimizer.algorithm = TB_ALGORITHM_SGD, "`options.algorithm`");
        INVALID(options.optimizer.betas[0] = 1, "`betas`");
        INVALID(options.optimizer.betas[1] = NAN, "`betas`");
        INVALID(options.optimizer.eps = -1, "`eps`");
        INVALID(a->index = 0, "`step`");
    }
    if (takes(f, "tb_rms_prop_step ")) {
        INVALID(options.optimizer.algorithm = TB_ALGORITHM_ADAMW, "`options.algorithm`");
        INVALID(options.optimizer.alpha = -1, "`alpha`");
        INVALID(options.optimizer.eps = NAN, "`eps`");
    }
    if (takes(f, "tb_optimizer_create ")) {
        SPOIL(options.optimizer.groups = NULL, TB_STATUS_NULL_POINTER, "`options.groups`");
        INVALID(options.optimizer.groups = (void *)((char *)groups + 4), "`options.groups`");
        INVALID(options.optimizer.group_count = SIZE_MAX, "`options.groups`");
        INVALID(options.optimizer.group_count = SIZE_MAX / sizeof *groups + 2, "`options.groups`");
        INVALID(groups[0].struct_size = 0, "`options.groups[0].struct_size`");
        INVALID(groups[0].struct_size = 33, "`options.groups[0].struct_size`");
        INVALID(groups[1].struct_size = 40, "`options.groups[1].struct_size`");
        INVALID(groups[1].names = "\xff", "`options.groups[1].names`");
        INVALID(groups[0].learning_rate_factor = -1, "`learning_rate`");
        INVALID(groups[0].learning_rate_factor = NAN, "`learning_rate`");
        INVALID(groups[1].weight_decay = NAN, "`weight_decay`");
        INVALID(options.optimizer.clip_norm = -1, "`clip_norm`");
        INVALID(options.optimizer.clip_norm = NAN, "`clip_norm`");
        INVALID((options.optimizer.grad_scaler = 1, options.optimizer.loss_scale = 0), "scale`");
        INVALID((options.optimizer.grad_scaler = 1, options.optimizer.loss_scale = INFINITY), "scale`");
        INVALID((options.optimizer.grad_scaler = 1, options.optimizer.growth_factor = 1), "`growth_factor`");
        INVALID((options.optimizer.grad_scaler = 1, options.optimizer.backoff_factor = 1), "`backoff_factor`");
        INVALID((options.optimizer.grad_scaler = 1, options.optimizer.growth_interval = 0), "`growth_interval`");
    }
    if (f->options == SCHEDULE) {
        SPOIL(a->options = NULL, TB_STATUS_NULL_POINTER, "`schedule`");
        INVALID(options.schedule.kind = -1, "`schedule.kind`");
        INVALID(options.schedule.kind = 5, "`schedule.kind`");
        INVALID(options.schedule.gamma = -1, "`gamma`");
        INVALID(options.schedule.gamma = NAN, "`gamma`");
        SPOIL(options.schedule.milestones = NULL, TB_STATUS_NULL_POINTER, "`schedule.milestones");
        INVALID(options.schedule.milestone_count = SIZE_MAX, "`schedule.milestones");
        INVALID((options.schedule.kind = TB_SCHEDULE_STEP, options.schedule.step_size = 0), "`step_size`");
        INVALID((options.schedule.kind = TB_SCHEDULE_COSINE, options.schedule.t_max = 0), "`t_max`");
        INVALID((options.schedule.kind = TB_SCHEDULE_COSINE, options.schedule.eta_min = -1), "`eta_min`");
        INVALID(a->number = -1, "`base`");
        INVALID(a->number = INFINITY, "`base`");
        SPOIL(a->loss = NULL, TB_STATUS_NULL_POINTER, "`learning_rate`");
    }
}

static void kinks(const function *f, arguments *a) {
    int kind;
    if (!f->kink) return;
    INVALID(kink.kink.struct_size = 0, "struct_size`");
    INVALID(kink.kink.struct_size = sizeof kink.kink - 1, "struct_size`");
    INVALID((kink.kink.struct_size = 72, kink.room[71] = 1), "newer version");
    INVALID(kink.kink.kind = 3, "kink.kind`");
    INVALID(kink.kink.kind = -1, "kink.kind`");
    for (kind = TB_KINK_MAXPOOL; kind <= TB_KINK_NORM_POOL; kind++) {
        if (f->kink != 4 && kind != f->kink - 1) INVALID(kink.kink.kind = kind, "kink.kind`");
    }
    INVALID(kink.kink.reserved = 1, "kink.reserved`");
    if (f->kink == 2 || f->kink == 4) {
        INVALID((kink.kink.kind = TB_KINK_RELU, kink.kink.alpha = NAN), "`alpha`");
        INVALID((kink.kink.kind = TB_KINK_RELU, kink.kink.alpha = INFINITY), "`alpha`");
    }
    if (f->kink == 3 || f->kink == 4) {
        INVALID((kink.kink.kind = TB_KINK_NORM_POOL, kink.kink.at_zero = NAN), "`at_zero`");
        INVALID((kink.kink.kind = TB_KINK_NORM_POOL, kink.kink.at_zero = 1e39), "`at_zero`");
    }
    if (f->kink == 1 || f->kink == 4) {
        INVALID(kink.kink.jacobian = 8, "kink.jacobian`");
        INVALID(kink.kink.jacobian = -1, "kink.jacobian`");
        INVALID(kink.kink.composition = 4, "kink.composition`");
        INVALID((kink.kink.jacobian = TB_JACOBIAN_BETA, kink.kink.beta = NAN), "`beta`");
        INVALID((kink.kink.jacobian = TB_JACOBIAN_BETA, kink.kink.beta = -INFINITY), "`beta`");
    }
    if (f->kink == 4) {
        SPOIL(a->kink = NULL, TB_STATUS_NULL_POINTER, "kink`");
        SPOIL(a->layer[0] = 'F', TB_STATUS_NOT_FOUND, "Features.2");
        INVALID(strcpy(a->layer, "features.0"), "`layer`");
        INVALID(strcpy(a->layer, "\xc3"), "layer`");
    }
}

/* An array of structs that the library fills. */
static void filled_array(const function *f, arguments *a, const char *name, size_t struct_size) {
    size_t *first = a->array;
    SPOIL(a->array = NULL, TB_STATUS_NULL_POINTER, name);
    INVALID(a->array = (char *)a->array + 4, name);
    INVALID(*first = 0, "[0].struct_size`");
    INVALID(*first = SIZE_MAX, "[0].struct_size`");
    INVALID(*first = struct_size - 8, "[0].struct_size`");
    INVALID(*first = struct_size + 1, "[0].struct_size`");
    INVALID(a->array_count++, "`");
    INVALID(a->array_count--, "`");
    INVALID(a->array_count = 0, "`");
    INVALID(a->array_count = SIZE_MAX, "`");
}

static void others(const function *f, arguments *a) {
    if (takes(f, "tb_cross_entropy tb_network_loss_and_gradients tb_network_evaluate tb_network_compare "
                 "tb_network_census tb_optimizer_train_step ")) {
        SPOIL(a->labels = NULL, TB_STATUS_NULL_POINTER, "`labels");
        INVALID(a->labels = (int64_t *)((char *)labels + 4), "`labels");
        INVALID(labels[1] = -1, "`labels[1]`");
        INVALID(labels[0] = CLASSES, "`labels[0]`");
        INVALID(labels[1] = INT64_MIN, "`labels[1]`");
        INVALID(labels[1] = INT64_C(1) << 32, "`labels[1]`");
        SPOIL(a->label_count = BATCH + 1, TB_STATUS_SHAPE_MISMATCH, "`labels`");
        SPOIL(a->label_count = BATCH - 1, TB_STATUS_SHAPE_MISMATCH, "`labels`");
        SPOIL(a->label_count = 0, TB_STATUS_SHAPE_MISMATCH, "`labels`");
        INVALID(a->label_count = SIZE_MAX, "`labels`");
        INVALID(a->label_count = SIZE_MAX / 8 + 2, "`labels`"); /* 8 bytes, if it wrapped */
    }
    if (takes(f, "tb_cross_entropy tb_network_loss_and_gradients tb_network_evaluate tb_network_replay ")) {
        SPOIL(a->loss = NULL, TB_STATUS_NULL_POINTER, "`loss`");
    }
    if (takes(f, "tb_network_evaluate ")) SPOIL(a->size_out = NULL, TB_STATUS_NULL_POINTER, "`correct`");
    if (takes(f, "tb_pool2d_output_shape ")) {
        SPOIL(a->x_shape = NULL, TB_STATUS_NULL_POINTER, "`x_shape");
        SPOIL(a->y_shape = NULL, TB_STATUS_NULL_POINTER, "`y_shape`");
        INVALID(a->size_out = (size_t *)((char *)&size_room + 1), "`ties_size`");
        INVALID(x_shape[0] = -1, "`x_shape`");
        INVALID(x_shape[2] = 0, "`x`");
        SPOIL(x_shape[1] = INT64_MAX, TB_STATUS_SHAPE_MISMATCH, "`x`");
    }
    if (takes(f, "tb_maxpool2d_forward tb_maxpool2d_backward ")) {
        SPOIL(a->bytes = NULL, TB_STATUS_NULL_POINTER, "`ties");
        SPOIL(a->bytes_size--, TB_STATUS_SHAPE_MISMATCH, "`ties`");
        SPOIL(a->bytes_size++, TB_STATUS_SHAPE_MISMATCH, "`ties`");
        SPOIL(a->bytes_size = 0, TB_STATUS_SHAPE_MISMATCH, "`ties`");
        INVALID(a->bytes_size = SIZE_MAX, "`ties`");
        INVALID(a->bytes = (uint8_t *)memory[1] + 5, "overlap");
    }
    if (takes(f, "tb_engine_create tb_graph_create tb_graph_from_zoo tb_graph_from_json tb_network_create tb_network_create_from_graph "
                 "tb_optimizer_create ")) {
        SPOIL(a->handle_out = NULL, TB_STATUS_NULL_POINTER, "argument `");
    }
    if (takes(f, "tb_network_create tb_graph_from_zoo tb_network_read_parameter tb_network_write_parameter "
                 "tb_network_read_gradient tb_network_read_buffer tb_network_write_buffer ")) {
        SPOIL(a->name = NULL, TB_STATUS_NULL_POINTER, "`name`");
        SPOIL(strcpy(a->name, "no such thing"), TB_STATUS_NOT_FOUND, "no such thing");
        SPOIL(a->name[0] = '\0', TB_STATUS_NOT_FOUND, "``");
        INVALID(strcpy(a->name, "\xff"), "`name`");
    }
    if (a->struct_size) {
        const int wanted = !takes(f, "tb_optimizer_step tb_optimizer_train_step tb_optimizer_train_epoch ");
        const char *name = takes(f, "tb_engine_memory ")         ? "`memory`"
                           : takes(f, "tb_network_memory_plan ") ? "`plan`"
                           : takes(f, "tb_network_kink ")        ? "`kink`"
                           : takes(f, "tb_maxpool2d_diagnose ")  ? "`diagnosis`"
                           : takes(f, "tb_network_work ")        ? "`work`"
                                                                 : "`properties`";
        if (wanted) SPOIL(a->properties = NULL, TB_STATUS_NULL_POINTER, name);
        INVALID(a->properties = (char *)a->properties + 4, "`");
        INVALID(properties.engine.struct_size = 0, "struct_size`");
        INVALID(properties.engine.struct_size -= 9, "struct_size`"); /* smaller than the first release's, of structs that grew too */
        INVALID(properties.engine.struct_size = SIZE_MAX, "struct_size`");
    }
    if (takes(f, "tb_network_parameter_info tb_network_buffer_info tb_network_layer_info ")) {
        INVALID(a->index = 18, "`index`");
        INVALID(a->index = SIZE_MAX, "`index`");
    }
    if (takes(f, "tb_graph_create ")) {
        SPOIL(a->x_shape = NULL, TB_STATUS_NULL_POINTER, "`input_shape`");
        INVALID(a->x_shape = (int64_t *)((char *)x_shape + 4), "`input_shape`");
        INVALID(x_shape[0] = 0, "`input_shape`");
        INVALID(x_shape[2] = INT64_MIN, "`input_shape`");
    }
    if (takes(f, "tb_graph_layer_info ")) {
        INVALID(a->index = 1000000, "`node`");
        INVALID(a->index = SIZE_MAX, "`node`");
    }
    if (takes(f, "tb_graph_conv2d tb_graph_relu tb_graph_maxpool2d tb_graph_norm_pool2d tb_graph_avgpool2d "
                 "tb_graph_adaptive_avgpool2d tb_graph_batchnorm tb_graph_dropout tb_graph_linear tb_graph_flatten "
                 "tb_graph_add tb_graph_concat ")) {
        SPOIL(a->name = NULL, TB_STATUS_NULL_POINTER, "`name`");
        INVALID(a->name[0] = '\0', "`name`");
        INVALID(strcpy(a->name, "input"), "`name`");
        INVALID(strcpy(a->name, "\xff"), "`name`");
        INVALID((strcpy(a->name, "here"), nodes[0] = 1000000), "here");
        INVALID((strcpy(a->name, "here"), nodes[0] = SIZE_MAX), "here");
        INVALID(a->node_out = (tb_node *)((char *)&node_room + 1), "`node`");
    }
    if (takes(f, "tb_graph_conv2d tb_graph_maxpool2d tb_graph_norm_pool2d tb_graph_avgpool2d tb_graph_add "
                 "tb_graph_adaptive_avgpool2d tb_graph_concat ")) {
        SPOIL((strcpy(a->name, "flat"), nodes[0] = 1), TB_STATUS_SHAPE_MISMATCH, "flat");
    }
    if (takes(f, "tb_graph_conv2d ")) {
        INVALID(a->index = 0, "channels`");
        SPOIL(a->index = SIZE_MAX, 10 * TB_STATUS_SHAPE_MISMATCH + TB_STATUS_INVALID_ARGUMENT, "`");
    }
    if (takes(f, "tb_graph_linear ")) {
        SPOIL(a->index = 0, TB_STATUS_SHAPE_MISMATCH, "layer");
        SPOIL(nodes[0] = TB_GRAPH_INPUT, TB_STATUS_SHAPE_MISMATCH, "layer");
    }
    if (takes(f, "tb_graph_dropout tb_dropout_forward tb_dropout_backward ")) {
        INVALID(a->number = -0.1, "p`");
        INVALID(a->number = 1.1, "p`");
        INVALID(a->number = NAN, "p`");
    }
    if (takes(f, "tb_graph_concat ")) {
        SPOIL(a->array = NULL, TB_STATUS_NULL_POINTER, "`inputs`");
        INVALID(a->array_count = 0, "inputs`");
        INVALID(a->array_count = SIZE_MAX, "`inputs`");
    }
    if (takes(f, "tb_concat tb_concat_backward ")) {
        SPOIL(a->flag = 1, TB_STATUS_NULL_POINTER, takes(f, "tb_concat ") ? "`inputs`" : "`gradients`");
        SPOIL(a->array_count = 0, TB_STATUS_SHAPE_MISMATCH, "`");
        SPOIL(a->array_count = 1, TB_STATUS_SHAPE_MISMATCH, "`");
        INVALID(a->array_count = SIZE_MAX, "`");
    }
    if (takes(f, "tb_quantize ")) {
        SPOIL(a->name = NULL, TB_STATUS_NULL_POINTER, "`format`");
        SPOIL(a->properties = NULL, TB_STATUS_NULL_POINTER, "`x`");
        INVALID(strcpy(a->name, "mixed"), "`format`");
        INVALID(strcpy(a->name, "bf16+narrow"), "`format`");
        INVALID(strcpy(a->name, "e5m2:stochastic()"), "`format`");
        INVALID(strcpy(a->name, "\xff"), "`format`");
        INVALID(a->flag = 7, "`x.dtype`");
        INVALID(x_shape[0] = -1, "`x.shape`");
        SPOIL(a->flag = TB_DTYPE_F16, TB_STATUS_DTYPE_MISMATCH, "`x`");
        SPOIL(strcpy(a->name, "e9m2"), TB_STATUS_DTYPE_MISMATCH, "`x`");
    }
    if (takes(f, "tb_network_create ")) {
        INVALID(zoo.zoo.struct_size = 0, "`zoo.struct_size`");
        INVALID(zoo.zoo.variant = "none", "`variant`");
        SPOIL(zoo.zoo.classes = 0, 10 * TB_STATUS_SHAPE_MISMATCH + TB_STATUS_INVALID_ARGUMENT, "`");
    }
    if (takes(f, "tb_network_create_from_graph ")) {
        SPOIL(a->graph = NULL, TB_STATUS_NULL_POINTER, "`graph`");
        SPOIL(a->graph = (tb_graph *)network, TB_STATUS_INVALID_HANDLE, "`graph`");
        SPOIL(a->graph = (tb_graph *)engine, TB_STATUS_INVALID_HANDLE, "`graph`");
        SPOIL(a->graph = graph, TB_STATUS_SHAPE_MISMATCH, "output of the network");
    }
    if (takes(f, "tb_network_kink ")) {
        SPOIL(a->layer = NULL, TB_STATUS_NULL_POINTER, "`layer`");
        SPOIL(strcpy(a->layer, "pool"), TB_STATUS_NOT_FOUND, "pool");
        INVALID(strcpy(a->layer, "features.0"), "`layer`");
    }
    if (takes(f, "tb_network_read_activation ")) {
        SPOIL(a->layer = NULL, TB_STATUS_NULL_POINTER, "`layer`");
        SPOIL(strcpy(a->layer, "pool"), TB_STATUS_NOT_FOUND, "pool");
        INVALID(strcpy(a->layer, "\xff"), "`layer`");
    }
    if (takes(f, "tb_network_set_reduction_order ")) {
        INVALID(a->flag = 2, "`order`");
        INVALID(a->flag = -1, "`order`");
    }
    if (takes(f, "tb_network_set_loss_scale ")) {
        INVALID(a->number = 0, "`loss_scale`");
        INVALID(a->number = NAN, "`loss_scale`");
        INVALID(a->number = INFINITY, "`loss_scale`");
    }
    if (takes(f, "tb_network_memory_plan ")) {
        SPOIL(a->index = SIZE_MAX, 10 * TB_STATUS_SHAPE_MISMATCH + TB_STATUS_INVALID_ARGUMENT, "`");
    }
    if (takes(f, "tb_network_set_kinks ")) {
        SPOIL(a->name = NULL, TB_STATUS_NULL_POINTER, "`convention`");
        INVALID(a->name[0] = '\0', "`kinks`");
        INVALID(strcpy(a->name, "JAX"), "mlpack");
        INVALID(strcpy(a->name, "\xff"), "`convention`");
    }
    if (takes(f, "tb_graph_from_json ")) {
        SPOIL(a->name = NULL, TB_STATUS_NULL_POINTER, "`description`");
        INVALID(a->name[0] = '\0', "`description`");
        INVALID(a->name[0] = '\xff', "`description`");
        INVALID(strcpy(a->name, "{\"input\": [1, 4], \"layers\": []}"), "`description`");
        INVALID(strcpy(a->name, "{\"input\": [1, 4, 4], \"layers\": [{\"name\": \"a\"}]}"), "layer a");
        INVALID(strcpy(a->name, "{\"input\": [1, 4, 4], \"layers\": [{\"type\": \"relu\"}]}"), "layers[0].name");
    }
    if (takes(f, "tb_network_replay tb_network_copy_state ")) {
        const char *name = takes(f, "tb_network_replay ") ? "`recorded`" : "`from`";
        SPOIL(a->more = NULL, TB_STATUS_NULL_POINTER, name);
        SPOIL(a->more = engine, TB_STATUS_INVALID_HANDLE, name);
        INVALID(a->more = network, name); /* which would wait for itself */
    }
    if (takes(f, "tb_network_compare tb_network_compare_stored ")) {
        filled_array(f, a, "`comparisons`", sizeof(tb_comparison));
        SPOIL(a->choices = NULL, TB_STATUS_NULL_POINTER, "`choices`");
        INVALID(a->choice_count = SIZE_MAX, "`choices`");
        INVALID(choices[1].alternative = 2, "`choices[1].alternative`");
        INVALID(choices[1].alternative = SIZE_MAX, "`choices[1].alternative`");
        SPOIL(choices[0].kink = NULL, TB_STATUS_NULL_POINTER, "`choices[0].kink`");
        SPOIL(a->more = NULL, TB_STATUS_NULL_POINTER, "`differences`");
        INVALID(differences[0].struct_size = 7, "`differences[0].struct_size`");
        INVALID(a->more_count--, "`difference_count`");
        INVALID(a->more_count = 0, "`difference_count`");
        INVALID(a->more_count = SIZE_MAX, "`differences`");
    }
    if (takes(f, "tb_network_gradient_norms ")) filled_array(f, a, "`norms`", sizeof(tb_norms));
    if (takes(f, "tb_network_census ")) filled_array(f, a, "`entries`", sizeof(tb_census_entry));
    if (takes(f, "tb_network_save tb_network_load tb_optimizer_save tb_optimizer_load ")) {
        SPOIL(a->name = NULL, TB_STATUS_NULL_POINTER, "`path`");
        SPOIL(a->name[0] = '\0', TB_STATUS_IO, ": ");
        INVALID(a->name[0] = '\xff', "`path`");
        SPOIL(a->name = file("no/such/folder"), TB_STATUS_IO, "no/such/folder");
        SPOIL(a->name = file("."), TB_STATUS_IO, ": ");
    }
    if (takes(f, "tb_network_load ")) {
        SPOIL(a->name = file("misuse_run.safetensors"), TB_STATUS_FORMAT, "misuse_run.safetensors");
        SPOIL(a->name = file("misuse_text.safetensors"), TB_STATUS_FORMAT, "misuse_text.safetensors");
    }
    if (takes(f, "tb_optimizer_load ")) {
        SPOIL(a->name = file("misuse_network.safetensors"), TB_STATUS_FORMAT, "misuse_network.safetensors");
        SPOIL(a->name = file("misuse_text.safetensors"), TB_STATUS_FORMAT, "misuse_text.safetensors");
    }
    if (takes(f, "tb_network_ties ")) {
        SPOIL(a->layer = NULL, TB_STATUS_NULL_POINTER, "`layer`");
        SPOIL(strcpy(a->layer, "pool"), TB_STATUS_NOT_FOUND, "pool");
        INVALID(strcpy(a->layer, "features.0"), "`layer`");
        INVALID(strcpy(a->layer, "\xff"), "`layer`");
        SPOIL(a->bytes = NULL, TB_STATUS_NULL_POINTER, "`counts");
        INVALID(a->bytes_size--, "`counts_size`");
        INVALID(a->bytes_size = 0, "`counts_size`");
        INVALID(a->bytes_size = SIZE_MAX, "`counts");
    }
    if (takes(f, "tb_optimizer_set_learning_rate ")) {
        INVALID(a->number = -1, "`learning_rate`");
        INVALID(a->number = NAN, "`learning_rate`");
    }
}

/* Experiments and their results. */
static void experiments(const function *f, arguments *a) {
    if (takes(f, "tb_experiment_defaults tb_experiment_create ")) {
        SPOIL(a->name = NULL, TB_STATUS_NULL_POINTER, "`name`");
        SPOIL(strcpy(a->name, "zero"), TB_STATUS_NOT_FOUND, "no experiment named `zero`; known: zero_program, ");
        INVALID(strcpy(a->name, "\xff"), "`name`");
    }
    if (takes(f, "tb_experiment_create ")) {
        SPOIL(a->handle_out = NULL, TB_STATUS_NULL_POINTER, "`experiment`");
        INVALID(a->array = NULL, "`train`: expected a data set");
        INVALID(a->more = NULL, "`test`: expected a data set");
        SPOIL(a->array = engine, TB_STATUS_INVALID_HANDLE, "`train`");
        SPOIL(a->more = engine, TB_STATUS_INVALID_HANDLE, "`test`");
        INVALID((strcpy(a->name, "zero_program"), a->layer = NULL), "`train`: expected no images");
        INVALID(strcpy(a->layer, "seeds = 1"), "`protocol`: expected a JSON object");
        INVALID(strcpy(a->layer, "[1]"), "`protocol`: expected a JSON object");
        INVALID(strcpy(a->layer, "{\"seeds\": 1"), "`protocol`: expected a JSON object");
        INVALID(a->layer[0] = '\xff', "`protocol`");
        SPOIL(strcpy(a->layer, "{\"seed\": 1}"), TB_STATUS_NOT_FOUND,
              "no field named `seed`; known: networks, precisions, optimizers");
        INVALID(strcpy(a->layer, "{\"seeds\": \"one\"}"), "`seeds`: expected a whole number");
        INVALID(strcpy(a->layer, "{\"seeds\": 1e30}"), "`seeds`");
        INVALID(strcpy(a->layer, "{\"seeds\": 9000000000}"), "`seeds`: expected at most");
        INVALID(strcpy(a->layer, "{\"precisions\": [8]}"), "`precisions`");
        INVALID(strcpy(a->layer, "{\"batch_size\": 0}"), "`batch_size`: expected at least 1");
        INVALID(strcpy(a->layer, "{\"full\": 1}"), "`full`: expected true or false");
        SPOIL(strcpy(a->layer, "{\"networks\": [\"lenet6\"]}"), TB_STATUS_NOT_FOUND, "no network named `lenet6`");
    }
    if (takes(f, "tb_experiment_run ")) {
        SPOIL(a->handle_out = NULL, TB_STATUS_NULL_POINTER, "`result`");
        SPOIL(a->array = NULL, TB_STATUS_NULL_POINTER, "`engine`");
        SPOIL(a->array = dataset, TB_STATUS_INVALID_HANDLE, "`engine`");
        INVALID(a->index = 1, "shard");
        INVALID(a->more_count = 2, "shard");
        INVALID((a->index = 3, a->more_count = 2), "shard");
        INVALID((a->index = SIZE_MAX, a->more_count = SIZE_MAX - 1), "shard");
        SPOIL(a->layer = file("misuse_network.safetensors"), TB_STATUS_IO, "misuse_network.safetensors");
        INVALID((a->layer = layer_room, strcpy(a->layer, "\xff")), "`out`");
    }
    if (takes(f, "tb_experiment_result_column tb_experiment_result_numbers tb_experiment_result_integers "
                 "tb_experiment_result_text tb_experiment_result_sentence ")) {
        INVALID(a->index = 1000, "`: expected below ");
        INVALID(a->index = SIZE_MAX, "`: expected below ");
    }
    if (takes(f, "tb_experiment_result_numbers tb_experiment_result_integers ")) {
        INVALID(a->index = EXPERIMENT_COLUMN, "`column`");
        SPOIL(a->array = NULL, TB_STATUS_NULL_POINTER, "`values");
        INVALID(a->array = (char *)memory[0] + 4, "`values");
        INVALID(a->array_count = ROWS - 1, "`count`");
        INVALID(a->array_count = SIZE_MAX, "`count`");
    }
    if (takes(f, "tb_experiment_result_text ")) {
        INVALID(a->more_count = ROWS, "`row`: expected below 2");
        INVALID(a->more_count = SIZE_MAX, "`row`");
    }
    if (takes(f, "tb_experiment_defaults tb_experiment_result_text tb_experiment_result_sentence tb_graph_to_json ")) {
        SPOIL(a->bytes = NULL, TB_STATUS_NULL_POINTER, "`text");
        INVALID(a->bytes_size = SIZE_MAX, "`text");
        SPOIL(a->size_out = NULL, TB_STATUS_NULL_POINTER, "`size`");
        INVALID(a->size_out = (size_t *)((char *)&size_room + 1), "`size`");
    }
}

/* What came with tensors on the engine, DLPack and data sets. */
static void more(const function *f, arguments *a) {
    if (takes(f, "tb_network_work ")) {
        SPOIL(a->index = SIZE_MAX, 10 * TB_STATUS_SHAPE_MISMATCH + TB_STATUS_INVALID_ARGUMENT, "`");
    }
    if (takes(f, "tb_optimizer_profile_step tb_adapters tb_experiments tb_network_tie_classes "
                 "tb_network_non_finite ")) {
        size_t *first = a->array;
        SPOIL(a->array = NULL, TB_STATUS_NULL_POINTER, "`");
        INVALID(a->array = (char *)a->array + 4, "`");
        INVALID(*first = 0, "[0].struct_size`");
        INVALID(*first = SIZE_MAX, "[0].struct_size`");
        INVALID(a->array_count = SIZE_MAX, "`");
        SPOIL(a->size_out = NULL, TB_STATUS_NULL_POINTER, "count`");
        INVALID(a->size_out = (size_t *)((char *)&size_room + 1), "count`");
    }
    if (takes(f, "tb_tensor_create ")) {
        INVALID(a->flag = 0, "`dtype`");
        INVALID(a->flag = TB_DTYPE_TENSOR, "`dtype`");
        INVALID(a->index = 9, "rank`");
        INVALID(a->index = SIZE_MAX, "rank`");
        SPOIL(a->x_shape = NULL, TB_STATUS_NULL_POINTER, "shape`");
        INVALID(a->x_shape = (int64_t *)((char *)x_shape + 4), "shape`");
        INVALID(x_shape[1] = -1, "shape`");
        SPOIL(x_shape[1] = INT64_MAX, TB_STATUS_SHAPE_MISMATCH, "`shape`");
        SPOIL((x_shape[0] = x_shape[1] = INT64_C(1) << 20, x_shape[2] = x_shape[3] = 1), TB_STATUS_OUT_OF_MEMORY, "tensor");
    }
    if (takes(f, "tb_tensor_write tb_tensor_read ")) {
        a->slots[0].in.dtype = a->slots[0].out.dtype = TB_DTYPE_TENSOR;
        wrong(f, a, TB_STATUS_INVALID_ARGUMENT, "`values.dtype`", "a tensor in place of host memory");
        a->slots[0].in.dtype = a->slots[0].out.dtype = TB_DTYPE_BYTE;
        wrong(f, a, TB_STATUS_DTYPE_MISMATCH, "`values`", "bytes");
    }
    if (takes(f, "tb_dlpack_view tb_dlpack_view_mut ")) {
        SPOIL(a->array = NULL, TB_STATUS_NULL_POINTER, "`managed`");
        INVALID(a->array = (char *)&versioned + 4, "`managed`");
        SPOIL(a->properties = NULL, TB_STATUS_NULL_POINTER, "`view`");
        INVALID(versioned.major = 0, "version");
        INVALID(versioned.tensor.device_type = 0, "device");
        SPOIL(versioned.tensor.bits = 8, TB_STATUS_DTYPE_MISMATCH, "managed");
        SPOIL(versioned.tensor.lanes = 0, TB_STATUS_DTYPE_MISMATCH, "managed");
        INVALID(versioned.tensor.ndim = -1, "rank`");
        INVALID(versioned.tensor.ndim = 9, "rank`");
        SPOIL(versioned.tensor.shape = NULL, TB_STATUS_NULL_POINTER, "shape`");
        INVALID(dl_shape[0] = -1, "shape`");
        INVALID(dl_strides[0] = 4, "strides`");
        INVALID(versioned.tensor.strides = (int64_t *)((char *)dl_strides + 4), "strides`");
        SPOIL((a->flag = 0, a->array = NULL), TB_STATUS_NULL_POINTER, "`managed`");
    }
    if (takes(f, "tb_dlpack_view_mut ")) INVALID(versioned.flags = 1, "read-only");
    if (takes(f, "tb_dlpack_export ")) {
        SPOIL(a->array = NULL, TB_STATUS_NULL_POINTER, "`view`");
        SPOIL(a->handle_out = NULL, TB_STATUS_NULL_POINTER, "`managed`");
        SPOIL(view_room.data = NULL, TB_STATUS_NULL_POINTER, "`view.data`");
        INVALID(view_room.dtype = TB_DTYPE_BYTE, "`view.dtype`");
        INVALID(x_shape[0] = -1, "`view.shape`");
        SPOIL((view_room.dtype = TB_DTYPE_TENSOR, view_room.data = engine), TB_STATUS_INVALID_HANDLE, "`view.data`");
        SPOIL((view_room.dtype = TB_DTYPE_TENSOR, view_room.data = device_tensor), TB_STATUS_SHAPE_MISMATCH, "`view`");
    }
    if (takes(f, "tb_dataset_open tb_dataset_digits tb_dataset_create ")) {
        SPOIL(a->handle_out = NULL, TB_STATUS_NULL_POINTER, "argument `");
    }
    if (takes(f, "tb_dataset_open ")) {
        SPOIL(a->more = NULL, TB_STATUS_NULL_POINTER, "`test`");
        SPOIL(a->name = NULL, TB_STATUS_NULL_POINTER, "`path`");
        INVALID(a->name[0] = '\xff', "`path`");
        SPOIL(a->name = file("no/such/folder"), TB_STATUS_IO, "no/such/folder");
    }
    if (takes(f, "tb_dataset_digits tb_optimizer_train_epoch tb_network_evaluate_dataset ")) {
        SPOIL(a->index = 1, TB_STATUS_CANCELLED, "cancelled");
    }
    if (takes(f, "tb_dataset_digits ")) {
        SPOIL(a->label_count = SIZE_MAX, TB_STATUS_OUT_OF_MEMORY, "digits");
        SPOIL(a->label_count = SIZE_MAX / 784 + 1, TB_STATUS_OUT_OF_MEMORY, "digits");
    }
    if (takes(f, "tb_dataset_create ")) {
        SPOIL(a->name = NULL, TB_STATUS_NULL_POINTER, "`name`");
        SPOIL(a->bytes = NULL, TB_STATUS_NULL_POINTER, "`images");
        SPOIL(a->labels = NULL, TB_STATUS_NULL_POINTER, "`labels");
        SPOIL(a->x_shape = NULL, TB_STATUS_NULL_POINTER, "shape`");
        INVALID(x_shape[0] = 0, "shape`");
        INVALID(x_shape[2] = INT64_MAX, "`");
        INVALID(labels[1] = CLASSES, "`labels[1]`");
        INVALID(labels[0] = -1, "`labels[0]`");
        INVALID(a->array_count = 0, "`labels[0]`");
        INVALID(a->label_count = SIZE_MAX, "`");
    }
    if (takes(f, "tb_dataset_order ")) {
        SPOIL(a->array = NULL, TB_STATUS_NULL_POINTER, "`indices");
        INVALID(a->array = (char *)indices + 4, "`indices");
        INVALID(a->array_count = 9, "`count`");
        INVALID(a->array_count = SIZE_MAX, "`count`");
    }
    if (takes(f, "tb_dataset_batch ")) {
        SPOIL(a->array = NULL, TB_STATUS_NULL_POINTER, "`indices");
        INVALID(indices[1] = 10, "`indices`");
        INVALID(indices[0] = SIZE_MAX, "`indices`");
        SPOIL(a->array_count = 1, TB_STATUS_SHAPE_MISMATCH, "`x`");
        INVALID(a->array_count = SIZE_MAX, "`indices`");
        SPOIL(a->properties = NULL, TB_STATUS_NULL_POINTER, "`x`");
        SPOIL(a->labels = NULL, TB_STATUS_NULL_POINTER, "`labels");
        INVALID(a->flag = TB_DTYPE_BYTE, "`x.dtype`");
        SPOIL(x_shape[3] = 27, TB_STATUS_SHAPE_MISMATCH, "`x`");
        INVALID(a->labels = (int64_t *)indices, "overlap");
        INVALID(options.augmentation.crop_padding = 28, "`crop_padding`");
        INVALID(options.augmentation.crop_padding = SIZE_MAX, "`crop_padding`");
    }
    if (takes(f, "tb_optimizer_train_epoch tb_network_evaluate_dataset ")) {
        SPOIL(a->array = NULL, TB_STATUS_NULL_POINTER, "`dataset`");
        SPOIL(a->array = engine, TB_STATUS_INVALID_HANDLE, "`dataset`");
        INVALID(a->array_count = 0, "`batch_size`");
    }
    if (takes(f, "tb_network_evaluate_dataset ")) {
        SPOIL(a->loss = NULL, TB_STATUS_NULL_POINTER, "`loss`");
        SPOIL(a->size_out = NULL, TB_STATUS_NULL_POINTER, "`correct`");
    }
}

/* The init functions take a struct and its size, nothing else. */
static void inits(void) {
    union {
        tb_kink kink;
        tb_engine_options engine;
        tb_conv2d_options conv;
        tb_pool2d_options pool;
        tb_batchnorm_options batchnorm;
        tb_zoo_options zoo;
        tb_network_options network;
        tb_parameter_group group;
        tb_schedule schedule;
        tb_optimizer_options optimizer;
        tb_dataset_options dataset;
        tb_augmentation augmentation;
        unsigned char room[4096];
    } u;
#define INIT(init, member, name)                                                                  \
    FAILS(init(NULL, sizeof u.member), TB_STATUS_NULL_POINTER, name, "NULL");                     \
    FAILS(init(&u.member, 0), TB_STATUS_INVALID_ARGUMENT, name, "struct_size");                   \
    FAILS(init(&u.member, 8), TB_STATUS_INVALID_ARGUMENT, name, "struct_size");                   \
    FAILS(init(&u.member, SIZE_MAX), TB_STATUS_INVALID_ARGUMENT, name, "struct_size");            \
    OK(init(&u.member, sizeof u.room));                                                           \
    OK(init(&u.member, sizeof u.member))
    INIT(tb_kink_init, kink, "tb_kink_init");
    INIT(tb_engine_options_init, engine, "tb_engine_options_init");
    INIT(tb_conv2d_options_init, conv, "tb_conv2d_options_init");
    INIT(tb_pool2d_options_init, pool, "tb_pool2d_options_init");
    INIT(tb_batchnorm_options_init, batchnorm, "tb_batchnorm_options_init");
    INIT(tb_zoo_options_init, zoo, "tb_zoo_options_init");
    INIT(tb_parameter_group_init, group, "tb_parameter_group_init");
    INIT(tb_schedule_init, schedule, "tb_schedule_init");
    INIT(tb_dataset_options_init, dataset, "tb_dataset_options_init");
    INIT(tb_augmentation_init, augmentation, "tb_augmentation_init");
#define OF_ADAM(options, struct_size) tb_optimizer_options_init(options, struct_size, TB_ALGORITHM_ADAM)
    INIT(OF_ADAM, optimizer, "tb_optimizer_options_init");
    FAILS(tb_optimizer_options_init(&u.optimizer, sizeof u.optimizer, 4), TB_STATUS_INVALID_ARGUMENT,
          "tb_optimizer_options_init", "`algorithm`");
    INIT(tb_network_options_init, network, "tb_network_options_init");
}

/* NULL is nothing to free; everything else that is no handle of the type is refused, and nothing is freed by it. */
static void frees(void) {
    int here, i;
    tb_engine *e = new_engine(1);
    tb_graph *g = NULL;
    tb_network *n = NULL;
    tb_optimizer *o = NULL;
    tb_network_properties info;
    OK(tb_graph_from_zoo("lenet5", NULL, &g));
    OK(tb_network_create_from_graph(e, g, NULL, &n));
    OK(tb_optimizer_create(n, NULL, &o));
    OK(tb_engine_free(NULL));
    OK(tb_graph_free(NULL));
    OK(tb_network_free(NULL));
    OK(tb_optimizer_free(NULL));
    OK(tb_tensor_free(NULL));
    OK(tb_dataset_free(NULL));
    OK(tb_experiment_free(NULL));
    OK(tb_experiment_result_free(NULL));
    FAILS(tb_tensor_free((tb_tensor *)n), TB_STATUS_INVALID_HANDLE, "tb_tensor_free", "`tensor`");
    FAILS(tb_dataset_free((tb_dataset *)e), TB_STATUS_INVALID_HANDLE, "tb_dataset_free", "`dataset`");
    FAILS(tb_experiment_free((tb_experiment *)result), TB_STATUS_INVALID_HANDLE, "tb_experiment_free", "`experiment`");
    FAILS(tb_experiment_result_free((tb_experiment_result *)experiment), TB_STATUS_INVALID_HANDLE,
          "tb_experiment_result_free", "`result`");
    FAILS(tb_engine_free((tb_engine *)n), TB_STATUS_INVALID_HANDLE, "tb_engine_free", "`engine`");
    FAILS(tb_engine_free((tb_engine *)o), TB_STATUS_INVALID_HANDLE, "tb_engine_free", "`engine`");
    FAILS(tb_graph_free((tb_graph *)n), TB_STATUS_INVALID_HANDLE, "tb_graph_free", "`graph`");
    FAILS(tb_graph_free((tb_graph *)e), TB_STATUS_INVALID_HANDLE, "tb_graph_free", "`graph`");
    FAILS(tb_network_free((tb_network *)g), TB_STATUS_INVALID_HANDLE, "tb_network_free", "`network`");
    FAILS(tb_network_free((tb_network *)e), TB_STATUS_INVALID_HANDLE, "tb_network_free", "`network`");
    FAILS(tb_network_free((tb_network *)o), TB_STATUS_INVALID_HANDLE, "tb_network_free", "`network`");
    FAILS(tb_optimizer_free((tb_optimizer *)e), TB_STATUS_INVALID_HANDLE, "tb_optimizer_free", "`optimizer`");
    FAILS(tb_optimizer_free((tb_optimizer *)n), TB_STATUS_INVALID_HANDLE, "tb_optimizer_free", "`optimizer`");
    FAILS(tb_engine_free((tb_engine *)&here), TB_STATUS_INVALID_HANDLE, "tb_engine_free", "`engine`");
    for (i = 1; i < 40; i++) {
        void *forged = (void *)(uintptr_t)i;
        FAILS(tb_engine_free(forged), TB_STATUS_INVALID_HANDLE, "tb_engine_free", "`engine`");
        FAILS(tb_graph_free(forged), TB_STATUS_INVALID_HANDLE, "tb_graph_free", "`graph`");
        FAILS(tb_network_free(forged), TB_STATUS_INVALID_HANDLE, "tb_network_free", "`network`");
        FAILS(tb_optimizer_free(forged), TB_STATUS_INVALID_HANDLE, "tb_optimizer_free", "`optimizer`");
        FAILS(tb_tensor_free(forged), TB_STATUS_INVALID_HANDLE, "tb_tensor_free", "`tensor`");
        FAILS(tb_dataset_free(forged), TB_STATUS_INVALID_HANDLE, "tb_dataset_free", "`dataset`");
        FAILS(tb_experiment_free(forged), TB_STATUS_INVALID_HANDLE, "tb_experiment_free", "`experiment`");
        FAILS(tb_experiment_result_free(forged), TB_STATUS_INVALID_HANDLE, "tb_experiment_result_free", "`result`");
    }
    info.struct_size = sizeof info;
    OK(tb_network_info(n, &info));
    OK(tb_graph_free(g));
    FAILS(tb_graph_free(g), TB_STATUS_INVALID_HANDLE, "tb_graph_free", "`graph`");
    OK(tb_engine_free(e));
    FAILS(tb_engine_free(e), TB_STATUS_INVALID_HANDLE, "tb_engine_free", "`engine`");
    OK(tb_network_info(n, &info));
    OK(tb_network_free(n));
    FAILS(tb_network_free(n), TB_STATUS_INVALID_HANDLE, "tb_network_free", "`network`");
    OK(tb_optimizer_step(o, NULL));
    OK(tb_optimizer_free(o));
    FAILS(tb_optimizer_free(o), TB_STATUS_INVALID_HANDLE, "tb_optimizer_free", "`optimizer`");
    /* A slot that is used again does not bring the old handle back. */
    e = new_engine(1);
    FAILS(tb_optimizer_step(o, NULL), TB_STATUS_INVALID_HANDLE, "tb_optimizer_step", "`optimizer`");
    FAILS(tb_network_info(n, &info), TB_STATUS_INVALID_HANDLE, "tb_network_info", "`network`");
    OK(tb_engine_free(e));
}

/* Tie sets that no forward pass has written: any answer but a crash or an internal error. */
static void foreign_ties(void) {
    static const int64_t x3[4] = {1, 1, 9, 9}, y3[4] = {1, 1, 3, 3};
    static const unsigned char fills[] = {0x00, 0x7f, 0x80, 0xff, 0xa5};
    static float gy[9], gx[81];
    static unsigned char sets[9 * 8];
    tb_view gy_view = {gy, y3, 4, TB_DTYPE_F32};
    tb_view_mut gx_view = {gx, x3, 4, TB_DTYPE_F32};
    tb_pool2d_options pool;
    tb_kink choice;
    size_t i, ties_size;
    int64_t shape[4];
    int jacobian, composition;
    OK(tb_pool2d_options_init(&pool, sizeof pool));
    OK(tb_kink_init(&choice, sizeof choice));
    choice.beta = 10;
    pool.kernel[0] = pool.kernel[1] = 3;
    OK(tb_pool2d_output_shape(x3, &pool, shape, &ties_size));
    for (i = 0; i < sizeof fills; i++) {
        memset(sets, fills[i], sizeof sets);
        for (jacobian = 0; jacobian <= TB_JACOBIAN_RANDOM; jacobian++) {
            for (composition = 0; composition <= TB_COMPOSITION_COUPLED; composition++) {
                tb_status status;
                choice.jacobian = jacobian;
                choice.composition = composition;
                status = tb_maxpool2d_backward(engine, &gy_view, sets, ties_size, &pool, &choice, &gx_view);
                check_at(status == TB_STATUS_OK || status == TB_STATUS_INVALID_ARGUMENT, "foreign tie sets",
                         status ? tb_last_error_message() : "", __LINE__);
            }
        }
    }
}

/* ---- Threads --------------------------------------------------------------------------------------------------- */

enum { THREADS = 6, ROUNDS = 200 };

typedef struct worker {
    pthread_t thread;
    int number;
    tb_engine *engine;
    tb_network *network;
    tb_optimizer *optimizer;
    int calls, refused, unexpected;
    char own_message[200], message[200];
} worker;

static void tally(worker *w, tb_status status) {
    w->calls++;
    if (status == TB_STATUS_INVALID_HANDLE) w->refused++;
    else if (status != TB_STATUS_OK) w->unexpected++;
}

/* Uses everything at once until it is all gone. */
static void *use(void *argument) {
    static const int64_t shape[1] = {1000}, image[4] = {1, 1, 28, 28}, row[2] = {1, 10};
    static const float pixels[PIXELS];
    worker *w = argument;
    float x[1000], y[1000], logits[10];
    int64_t label = w->number % 10;
    double loss;
    tb_step_report report;
    tb_view x_view = {x, shape, 1, TB_DTYPE_F32}, image_view = {pixels, image, 4, TB_DTYPE_F32};
    tb_view_mut y_view = {y, shape, 1, TB_DTYPE_F32}, logits_view = {logits, row, 2, TB_DTYPE_F32};
    tb_tensor_properties info;
    int i, k;
    for (i = 0; i < 1000; i++) x[i] = (float)(i - 500 + w->number);
    info.struct_size = sizeof info;
    report.struct_size = sizeof report;
    for (k = 0; k < 100000; k++) {
        tb_status status = tb_relu_forward(w->engine, &x_view, &y_view);
        tally(w, status);
        for (i = 0; i < 1000 && status == TB_STATUS_OK; i++) w->unexpected += y[i] != (x[i] > 0 ? x[i] : 0);
        tally(w, tb_network_forward(w->network, &image_view, &logits_view));
        tally(w, tb_optimizer_train_step(w->optimizer, &image_view, &label, 1, &report));
        tally(w, tb_network_loss_and_gradients(w->network, &image_view, &label, 1, &loss));
        tally(w, tb_optimizer_set_learning_rate(w->optimizer, 0.001));
        if (status == TB_STATUS_INVALID_HANDLE && tb_network_info(w->network, NULL) == TB_STATUS_INVALID_HANDLE &&
            tb_optimizer_step(w->optimizer, NULL) == TB_STATUS_INVALID_HANDLE) {
            break;
        }
    }
    /* Each thread reads its own last error, whatever the others do meanwhile. */
    snprintf(w->own_message, sizeof w->own_message, "tb_pool2d_output_shape: argument `x_shape`: expected at least "
             "0, got %d", -1 - w->number);
    for (k = 0; k < ROUNDS; k++) {
        int64_t bad[4] = {1, 1, 4, 4}, good[4];
        size_t size;
        bad[1] = -1 - w->number;
        if (tb_pool2d_output_shape(bad, NULL, good, &size) != TB_STATUS_INVALID_ARGUMENT) w->unexpected++;
        snprintf(w->message, sizeof w->message, "%s", tb_last_error_message());
        if (strcmp(w->message, w->own_message) != 0) w->unexpected++;
    }
    return NULL;
}

static void wait_a_little(void) {
    struct timespec pause = {0, 30000000};
    nanosleep(&pause, NULL);
}

static void in_use(void) {
    worker workers[THREADS];
    int i;
    memset(workers, 0, sizeof workers);
    workers[0].engine = new_engine(2);
    OK(tb_network_create(workers[0].engine, "lenet5", NULL, NULL, &workers[0].network));
    OK(tb_optimizer_create(workers[0].network, NULL, &workers[0].optimizer));
    for (i = 0; i < THREADS; i++) {
        workers[i] = workers[0];
        workers[i].number = i;
    }
    for (i = 0; i < THREADS; i++) CHECK(pthread_create(&workers[i].thread, NULL, use, &workers[i]) == 0);
    wait_a_little();
    OK(tb_engine_free(workers[0].engine));
    wait_a_little();
    OK(tb_network_free(workers[0].network));
    wait_a_little();
    OK(tb_optimizer_free(workers[0].optimizer));
    for (i = 0; i < THREADS; i++) {
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
        check_at(workers[i].unexpected == 0, "a thread saw only success and INVALID_HANDLE", workers[i].message,
                 __LINE__);
        CHECK(workers[i].calls > workers[i].refused && workers[i].refused > 0);
    }
}

/* Many threads free one handle: one of them does. */
static void *free_once(void *argument) {
    worker *w = argument;
    w->calls = tb_network_free(w->network) == TB_STATUS_OK;
    return NULL;
}

static void freed_by_all(void) {
    int round, i;
    for (round = 0; round < 20; round++) {
        worker workers[THREADS];
        int freed = 0;
        memset(workers, 0, sizeof workers);
        OK(tb_network_create(engine, "lenet5", NULL, NULL, &workers[0].network));
        for (i = 0; i < THREADS; i++) {
            workers[i].network = workers[0].network;
            CHECK(pthread_create(&workers[i].thread, NULL, free_once, &workers[i]) == 0);
        }
        for (i = 0; i < THREADS; i++) {
            CHECK(pthread_join(workers[i].thread, NULL) == 0);
            freed += workers[i].calls;
        }
        CHECK(freed == 1);
    }
}

/* A call that fails while its thread ends, after the thread's own storage has gone. */
static pthread_key_t late_key;
static int late_calls;

static void late(void *value) {
    late_calls += tb_engine_free(value) == TB_STATUS_INVALID_HANDLE && tb_last_error_message() != NULL;
}

static void *end_late(void *argument) {
    CHECK(tb_engine_free(argument) == TB_STATUS_INVALID_HANDLE); /* makes the storage */
    pthread_setspecific(late_key, argument);
    return NULL;
}

static void at_thread_end(void) {
    pthread_t thread;
    CHECK(pthread_key_create(&late_key, late) == 0);
    CHECK(pthread_create(&thread, NULL, end_late, &late_calls) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(late_calls == 1);
}

/* Threads that use two tensors in opposite directions while the first one frees them: no call waits for ever, none sees a
 * tensor half freed, and each output is whole. */
typedef struct pair {
    pthread_t thread;
    tb_engine *engine;
    tb_tensor *from, *to;
    int unexpected, done;
} pair;

static void *copy_to_and_fro(void *argument) {
    pair *p = argument;
    int k;
    for (k = 0; k < 100000; k++) {
        tb_view from = {p->from, NULL, 0, TB_DTYPE_TENSOR};
        tb_view_mut to = {p->to, NULL, 0, TB_DTYPE_TENSOR};
        const tb_status status = tb_relu_forward(p->engine, &from, &to);
        if (status == TB_STATUS_INVALID_HANDLE) break;
        p->unexpected += status != TB_STATUS_OK;
        p->done++;
    }
    return NULL;
}

static void tensors_in_use(void) {
    static const int64_t shape[1] = {1000};
    pair pairs[THREADS];
    tb_engine *e = new_engine(2);
    tb_tensor *both[2] = {NULL, NULL};
    int i;
    OK(tb_tensor_create(e, TB_DTYPE_F32, shape, 1, &both[0]));
    OK(tb_tensor_create(e, TB_DTYPE_F32, shape, 1, &both[1]));
    memset(pairs, 0, sizeof pairs);
    for (i = 0; i < THREADS; i++) {
        pairs[i].engine = e;
        pairs[i].from = both[i % 2];
        pairs[i].to = both[1 - i % 2];
        CHECK(pthread_create(&pairs[i].thread, NULL, copy_to_and_fro, &pairs[i]) == 0);
    }
    wait_a_little();
    OK(tb_tensor_free(both[0]));
    wait_a_little();
    OK(tb_tensor_free(both[1]));
    OK(tb_engine_free(e));
    for (i = 0; i < THREADS; i++) {
        CHECK(pthread_join(pairs[i].thread, NULL) == 0);
        CHECK(pairs[i].unexpected == 0);
    }
}

/* Resident bytes of this process; 0 where the system does not tell. */
static size_t resident(void) {
    size_t pages = 0;
#ifdef __linux__
    FILE *text = fopen("/proc/self/statm", "r");
    if (text) {
        if (fscanf(text, "%*u %zu", &pages) != 1) pages = 0;
        fclose(text);
    }
#endif
    return pages * 4096;
}

/* Each kind of handle, created and freed again and again, leaves the memory as it was. */
static void rounds(void) {
    enum { ROUNDS_EACH = 10000, WARM_UP = 500 };
    static const int64_t shape[2] = {16, 16}, sample[3] = {1, 2, 2};
    tb_engine *e = new_engine(1);
    tb_graph *small = NULL;
    tb_node node = 0;
    int kind;
    OK(tb_graph_create(sample, &small));
    OK(tb_graph_flatten(small, "flat", TB_GRAPH_INPUT, &node));
    OK(tb_graph_linear(small, "fc", node, 2, 1, NULL));
    for (kind = ENGINE; kind <= LAST; kind++) {
        /* What an allocator keeps; a leak of 1 KiB a round would be 10 MiB. Threads of an engine end a little after it:
         * their stacks come and go, and 2 KiB a round would be 20 MiB. A run makes and frees a network: the sanitizer's
         * allocator keeps 5 MiB. */
        const size_t allowed = (size_t)(kind == ENGINE ? 16 : kind == RESULT ? 8 : 4) << 20;
        size_t before = 0, after;
        int i;
        for (i = 0; i < ROUNDS_EACH; i++) {
            tb_status status;
            void *made = NULL;
            tb_network *n = NULL;
            /* On a busy machine threads would end more slowly than new ones begin. */
            if (kind == ENGINE && i % 250 == 0) wait_a_little();
            if (i == WARM_UP) before = resident();
            switch (kind) {
            case ENGINE: {
                tb_engine_options o;
                tb_engine_options_init(&o, sizeof o);
                o.device = TB_DEVICE_CPU;
                o.threads = 1;
                status = tb_engine_create(&o, (tb_engine **)&made);
                status = status ? status : tb_engine_free(made);
                break;
            }
            case GRAPH:
                status = tb_graph_create(sample, (tb_graph **)&made);
                status = status ? status : tb_graph_free(made);
                break;
            case NETWORK:
                status = tb_network_create_from_graph(e, small, NULL, (tb_network **)&made);
                status = status ? status : tb_network_free(made);
                break;
            case OPTIMIZER:
                status = tb_network_create_from_graph(e, small, NULL, &n);
                status = status ? status : tb_optimizer_create(n, NULL, (tb_optimizer **)&made);
                status = status ? status : tb_network_free(n);
                status = status ? status : tb_optimizer_free(made);
                break;
            case TENSOR:
                status = tb_tensor_create(e, TB_DTYPE_F32, shape, 2, (tb_tensor **)&made);
                status = status ? status : tb_tensor_free(made);
                break;
            case EXPERIMENT:
                status = tb_experiment_create("relu", NULL, dataset, NULL, (tb_experiment **)&made);
                status = status ? status : tb_experiment_free(made);
                break;
            case RESULT:
                status = tb_experiment_run(experiment, e, NULL, 0, 0, NULL, NULL, (tb_experiment_result **)&made);
                status = status ? status : tb_experiment_result_free(made);
                break;
            default:
                status = tb_dataset_digits(1, 1, NULL, NULL, (tb_dataset **)&made);
                status = status ? status : tb_dataset_free(made);
                break;
            }
            if (status != TB_STATUS_OK) break;
        }
        after = resident();
        if (!CHECK(i == ROUNDS_EACH)) printf("  kind %d, round %d: %s\n", kind, i, tb_last_error_message());
        if (!CHECK(after <= before + allowed)) printf("  kind %d: %zu, then %zu bytes\n", kind, before, after);
    }
    {
        tb_memory_use use;
        use.struct_size = sizeof use;
        OK(tb_engine_memory(e, &use));
        CHECK(use.host_bytes == 0);
    }
    OK(tb_graph_free(small));
    OK(tb_engine_free(e));
}

/* ---- Memory ---------------------------------------------------------------------------------------------------- */

/* With little memory left a large network is refused, whichever of its allocations fails; a child process, so that
 * the limit ends with it. */
static void out_of_memory(void) {
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) /* which needs terabytes of addresses itself */
    static const uint32_t classes[] = {300000, 600000, 900000, 1200000, 2000000, 100000000, UINT32_MAX};
    size_t i;
    for (i = 0; i < sizeof classes / sizeof *classes; i++) {
        int status = 0;
        pid_t child;
        fflush(stdout);
        child = fork();
        if (child == 0) {
            const struct rlimit limit = {(rlim_t)1 << 30, (rlim_t)1 << 30};
            tb_zoo_options large_zoo;
            tb_network *n = NULL;
            tb_engine *e;
            tb_status created;
            if (setrlimit(RLIMIT_AS, &limit) || !(e = new_engine(1))) _exit(2);
            tb_zoo_options_init(&large_zoo, sizeof large_zoo);
            large_zoo.classes = classes[i];
            created = tb_network_create(e, "lenet5", &large_zoo, NULL, &n);
            _exit(created == TB_STATUS_OK || created == TB_STATUS_OUT_OF_MEMORY ||
                          created == TB_STATUS_SHAPE_MISMATCH || created == TB_STATUS_INVALID_ARGUMENT
                      ? 0
                      : 3);
        }
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        if (!CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0)) printf("  with %u classes\n", classes[i]);
    }
#endif
}

/* Both directions at once: neither call may wait for the other. */
static void *copies(void *from_to) {
    tb_network **pair = from_to;
    int i;
    for (i = 0; i < 100; i++) {
        const tb_status status = tb_network_copy_state(pair[0], pair[1]);
        if (status != TB_STATUS_OK) return pair;
    }
    return NULL;
}
static void crosswise(void) {
    tb_network *there[2], *back[2];
    pthread_t thread;
    void *failed = NULL;
    there[0] = back[1] = network;
    there[1] = back[0] = recorded;
    CHECK(pthread_create(&thread, NULL, copies, there) == 0);
    CHECK(copies(back) == NULL);
    CHECK(pthread_join(thread, &failed) == 0 && failed == NULL);
}

/* So that there is something to replay. */
static void run_once(tb_network *n) {
    static const int64_t shape[4] = {BATCH, 1, 28, 28}, classes_of[BATCH] = {0, 1};
    static const float x[BATCH * PIXELS];
    const tb_view view = {x, shape, 4, TB_DTYPE_F32};
    double loss;
    OK(tb_network_loss_and_gradients(n, &view, classes_of, BATCH, &loss));
}

int main(void) {
    static const int64_t input[3] = {3, 8, 8}, tensor_shape[3] = {2, 3, 4};
    static const char *written[3] = {"misuse_network.safetensors", "misuse_run.safetensors", "misuse_text.safetensors"};
    arguments a;
    size_t i;
    FILE *text;
    out_of_memory(); /* first: a child of a process with threads may do very little */
    engine = new_engine(0);
    OK(tb_graph_create(input, &graph));
    OK(tb_graph_flatten(graph, "flattened", TB_GRAPH_INPUT, NULL));
    OK(tb_graph_relu(graph, "last", TB_GRAPH_INPUT, NULL));
    OK(tb_graph_from_zoo("lenet5", NULL, &finished));
    OK(tb_network_create(engine, "lenet5_bn", NULL, NULL, &network));
    OK(tb_network_create(engine, "lenet5_bn", NULL, NULL, &recorded));
    run_once(recorded);
    OK(tb_optimizer_create(network, NULL, &optimizer));
    OK(tb_tensor_create(engine, TB_DTYPE_F32, tensor_shape, 3, &device_tensor));
    OK(tb_dataset_digits(10, 1, NULL, NULL, &dataset));
    OK(tb_experiment_create("zero_program", "{\"precisions\": [16], \"vectors\": [[1, 2]], \"times\": [0]}", NULL, NULL,
                            &experiment));
    OK(tb_experiment_run(experiment, engine, NULL, 0, 0, NULL, NULL, &result));
    CHECK(mkdir(file("misuse_images"), 0700) == 0);
    OK(tb_network_save(network, file(written[0])));
    OK(tb_optimizer_save(optimizer, file(written[1])));
    text = fopen(file(written[2]), "wb");
    if (CHECK(text != NULL)) {
        fputs("no safetensors file, but a text that is long enough to look at", text);
        fclose(text);
    }
    right(&functions[0], &a);
    for (i = 0; i < FUNCTIONS; i++) {
        const function *f = &functions[i];
        tb_status status;
        right(f, &a);
        status = f->call(&a);
        if (!check_at(status == TB_STATUS_OK, f->name, tb_last_error_message(), __LINE__)) continue;
        right(f, &a);
        handles(f, &a);
        tensors(f, &a);
        option_structs(f, &a);
        kinks(f, &a);
        others(f, &a);
        more(f, &a);
        experiments(f, &a);
    }
    inits();
    frees();
    foreign_ties();
    crosswise();
    in_use();
    freed_by_all();
    tensors_in_use();
    rounds();
    at_thread_end();
    OK(tb_tensor_free(device_tensor));
    OK(tb_dataset_free(dataset));
    OK(tb_experiment_free(experiment));
    OK(tb_experiment_result_free(result));
    CHECK(rmdir(file("misuse_images")) == 0);
    OK(tb_optimizer_free(optimizer));
    OK(tb_network_free(network));
    OK(tb_network_free(recorded));
    OK(tb_graph_free(graph));
    OK(tb_graph_free(finished));
    OK(tb_engine_free(engine));
    for (i = 0; i < 3; i++) CHECK(remove(file(written[i])) == 0);
    return finish("misuse_test");
}
