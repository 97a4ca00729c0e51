/*
 * A program compiled with an older header has smaller structs. For each struct that may grow: the size that it had in the
 * first release, and every size from there to today's is taken, with defaults for the fields that are missing; nothing
 * beyond it is read or written. The first sizes may never change.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "check.h"

enum { MOST = 64, STEP = 8, BEYOND = 64, CLASSES = 10, PIXELS = 28 * 28 };

static tb_engine *engine;
static tb_graph *graph;
static tb_network *network;
static tb_optimizer *optimizer;
static tb_dataset *dataset;
static tb_tensor *tensor;
static tb_experiment *experiment;
static tb_experiment_result *result;
static size_t parameters, census, count;

static const int64_t image_shape[4] = {1, 1, 28, 28}, four[4] = {1, 1, 2, 2}, one[4] = {1, 1, 1, 1};
static float pixels[PIXELS];
static const tb_view image = {pixels, image_shape, 4, TB_DTYPE_F32};
static const int64_t label[1] = {3};

/* ---- A call that takes the struct, for each -------------------------------------------------------------------- */

static tb_status engine_options(void *s) {
    tb_engine *made = NULL;
    tb_engine_options *o = s;
    tb_status status;
    o->device = TB_DEVICE_CPU;
    status = tb_engine_create(o, &made);
    return status ? status : tb_engine_free(made);
}
static tb_status kink(void *s) {
    const uint8_t ties[1] = {1};
    const float gy[1] = {1};
    float gx[4];
    const tb_view gy_view = {gy, one, 4, TB_DTYPE_F32};
    const tb_view_mut gx_view = {gx, four, 4, TB_DTYPE_F32};
    return tb_maxpool2d_backward(engine, &gy_view, ties, 1, NULL, s, &gx_view);
}
static tb_status conv2d_options(void *s) {
    const float x[4] = {1, 2, 3, 4}, weight[1] = {2};
    float y[4];
    const tb_view x_view = {x, four, 4, TB_DTYPE_F32}, weight_view = {weight, one, 4, TB_DTYPE_F32};
    const tb_view_mut y_view = {y, four, 4, TB_DTYPE_F32};
    return tb_conv2d_forward(engine, &x_view, &weight_view, NULL, s, &y_view);
}
static tb_status pool2d_options(void *s) {
    int64_t y_shape[4];
    size_t size;
    return tb_pool2d_output_shape(four, s, y_shape, &size);
}
static tb_status batchnorm_options(void *s) {
    static const int64_t rows[2] = {1, 1};
    const float x[1] = {1};
    float y[1];
    const tb_view x_view = {x, rows, 2, TB_DTYPE_F32}, channel = {x, rows, 1, TB_DTYPE_F32};
    const tb_view_mut y_view = {y, rows, 2, TB_DTYPE_F32};
    return tb_batchnorm_inference(engine, &x_view, &channel, &channel, &channel, &channel, s, &y_view);
}
static tb_status zoo_options(void *s) {
    tb_graph *made = NULL;
    const tb_status status = tb_graph_from_zoo("lenet5", s, &made);
    return status ? status : tb_graph_free(made);
}
static tb_status network_options(void *s) {
    tb_network *made = NULL;
    const tb_status status = tb_network_create_from_graph(engine, graph, s, &made);
    return status ? status : tb_network_free(made);
}
static tb_status optimizer_options(void *s) {
    tb_optimizer *made = NULL;
    const tb_status status = tb_optimizer_create(network, s, &made);
    return status ? status : tb_optimizer_free(made);
}
static tb_status parameter_group(void *s) {
    tb_optimizer_options options;
    const tb_status status = tb_optimizer_options_init(&options, sizeof options, TB_ALGORITHM_SGD);
    options.groups = s;
    options.group_count = 1;
    return status ? status : optimizer_options(&options);
}
static tb_status schedule(void *s) {
    double rate;
    return tb_schedule_learning_rate(s, 0.1, 3, &rate);
}
static tb_status dataset_options(void *s) {
    tb_dataset *train, *test;
    const tb_status status = tb_dataset_open("no such folder", s, NULL, NULL, &train, &test);
    return status == TB_STATUS_IO ? TB_STATUS_OK : status; /* the options are looked at first */
}
static tb_status augmentation(void *s) {
    static const size_t index[1] = {0};
    float x[PIXELS];
    int64_t labels[1];
    const tb_view_mut x_view = {x, image_shape, 4, TB_DTYPE_F32};
    return tb_dataset_batch(dataset, index, 1, s, &x_view, labels);
}

static tb_status engine_properties(void *s) {
    return tb_engine_info(engine, s);
}
static tb_status memory_use(void *s) {
    return tb_engine_memory(engine, s);
}
static tb_status adapter_properties(void *s) {
    return tb_adapters(s, 1, &count);
}
static tb_status tensor_properties(void *s) {
    return tb_tensor_info(tensor, s);
}
static tb_status graph_properties(void *s) {
    return tb_graph_info(graph, s);
}
static tb_status network_properties(void *s) {
    return tb_network_info(network, s);
}
static tb_status comparison(void *s) {
    tb_kink k;
    tb_choice choice = {0, NULL, NULL};
    const tb_status status = tb_kink_init(&k, sizeof k);
    choice.kink = &k;
    return status ? status : tb_network_compare(network, &image, label, 1, &choice, 1, s, 1, NULL, 0);
}
static tb_status difference(void *s) {
    tb_kink k;
    tb_choice choice = {0, NULL, NULL};
    tb_comparison total;
    const tb_status status = tb_kink_init(&k, sizeof k);
    choice.kink = &k;
    total.struct_size = sizeof total;
    return status ? status : tb_network_compare(network, &image, label, 1, &choice, 1, &total, 1, s, parameters);
}
static tb_status norms(void *s) {
    double loss;
    const tb_status status = tb_network_loss_and_gradients(network, &image, label, 1, &loss);
    return status ? status : tb_network_gradient_norms(network, s, parameters);
}
static tb_status census_entry(void *s) {
    return tb_network_census(network, &image, label, 1, s, census);
}
static tb_status tie_classes(void *s) {
    double loss;
    const tb_status status = tb_network_loss_and_gradients(network, &image, label, 1, &loss);
    return status ? status : tb_network_tie_classes(network, s, 1, &count);
}
static tb_status non_finite(void *s) {
    static float endless[PIXELS];
    const tb_view x = {endless, image_shape, 4, TB_DTYPE_F32};
    double loss;
    tb_status status = tb_network_watch_non_finite(network);
    endless[0] = INFINITY;
    if (!status) status = tb_network_loss_and_gradients(network, &x, label, 1, &loss);
    if (!status) status = tb_network_non_finite(network, s, 2, &count);
    return status ? status : CHECK(count > 2) ? TB_STATUS_OK : TB_STATUS_UNSUPPORTED;
}
static tb_status maxpool2d_diagnosis(void *s) {
    return tb_maxpool2d_diagnose(engine, &image, NULL, NULL, s);
}
static tb_status memory_plan(void *s) {
    return tb_network_memory_plan(network, 2, 1, s);
}
static tb_status optimizer_properties(void *s) {
    return tb_optimizer_info(optimizer, s);
}
static tb_status step_report(void *s) {
    return tb_optimizer_train_step(optimizer, &image, label, 1, s);
}
static tb_status work(void *s) {
    return tb_network_work(network, 2, 1, s);
}
static tb_status kernel_profile(void *s) {
    return tb_optimizer_profile_step(optimizer, &image, label, 1, s, 2, &count);
}
static tb_status dataset_properties(void *s) {
    return tb_dataset_info(dataset, s);
}
static tb_status epoch_report(void *s) {
    return tb_optimizer_train_epoch(optimizer, dataset, 1, 1, 0, NULL, NULL, NULL, s);
}

static tb_status experiment_properties(void *s) {
    return tb_experiment_info(experiment, s);
}
static tb_status experiment_result_properties(void *s) {
    return tb_experiment_result_info(result, s);
}
static tb_status column_properties(void *s) {
    return tb_experiment_result_column(result, 0, s);
}

/* ---- Initialisers of what the caller fills --------------------------------------------------------------------- */

#define INIT(type)                                             \
    static tb_status type##_init(void *s, size_t size) {       \
        return tb_##type##_init((tb_##type *)s, size);         \
    }
INIT(engine_options)
INIT(kink)
INIT(conv2d_options)
INIT(pool2d_options)
INIT(batchnorm_options)
INIT(zoo_options)
INIT(network_options)
INIT(parameter_group)
INIT(schedule)
INIT(dataset_options)
INIT(augmentation)
static tb_status optimizer_options_init(void *s, size_t size) {
    return tb_optimizer_options_init((tb_optimizer_options *)s, size, TB_ALGORITHM_ADAM);
}

typedef struct growing {
    const char *name;
    size_t first, size;
    tb_status (*init)(void *, size_t); /* NULL: the library fills it */
    tb_status (*use)(void *);
} growing;

#define TAKEN(type, first) {"tb_" #type, first, sizeof(tb_##type), type##_init, type}
#define FILLED(type, first) {"tb_" #type, first, sizeof(tb_##type), NULL, type}

static const growing structs[] = {
    TAKEN(engine_options, 48),
    TAKEN(kink, 56),
    TAKEN(conv2d_options, 80),
    TAKEN(pool2d_options, 56),
    TAKEN(batchnorm_options, 24),
    TAKEN(zoo_options, 64),
    TAKEN(network_options, 32),
    TAKEN(optimizer_options, 144),
    TAKEN(parameter_group, 32),
    TAKEN(schedule, 64),
    TAKEN(dataset_options, 32),
    TAKEN(augmentation, 40),
    FILLED(engine_properties, 536),
    FILLED(memory_use, 40),
    FILLED(adapter_properties, 808),
    FILLED(tensor_properties, 240),
    FILLED(graph_properties, 40),
    FILLED(network_properties, 416),
    FILLED(comparison, 64),
    FILLED(difference, 168),
    FILLED(norms, 168),
    FILLED(census_entry, 176),
    FILLED(tie_classes, 184),
    FILLED(non_finite, 672),
    FILLED(maxpool2d_diagnosis, 80),
    FILLED(memory_plan, 56),
    FILLED(optimizer_properties, 40),
    FILLED(step_report, 40),
    FILLED(work, 24),
    FILLED(kernel_profile, 224),
    FILLED(dataset_properties, 248),
    FILLED(epoch_report, 32),
    FILLED(experiment_properties, 336),
    FILLED(experiment_result_properties, 72),
    FILLED(column_properties, 152),
};
enum { STRUCTS = sizeof structs / sizeof *structs };

/* The call with a struct of `size` bytes, and with what is not a struct's behind it; its status. */
static tb_status with_size(const growing *g, size_t size) {
    /* Arrays of properties have one struct for each parameter, layer or kernel. */
    const size_t bytes = g->init ? size : MOST * size;
    unsigned char *room = malloc(bytes + BEYOND);
    tb_status status = TB_STATUS_OK;
    size_t i, touched = 0;
    if (!CHECK(room != NULL)) return TB_STATUS_OUT_OF_MEMORY;
    memset(room, 0x55, bytes + BEYOND);
    memcpy(room, &size, sizeof size);
    if (g->init) status = g->init(room, size);
    if (status == TB_STATUS_OK) status = g->use(room);
    for (i = 0; i < BEYOND; i++) touched += room[bytes + i] != 0x55;
    check_at(touched == 0, "nothing beyond the struct is written", g->name, __LINE__);
    if (status == TB_STATUS_OK) check_at(memcmp(room, &size, sizeof size) == 0, "keeps its size", g->name, __LINE__);
    free(room);
    return status;
}

int main(void) {
    static const int64_t input[3] = {1, 28, 28};
    tb_network_properties info;
    size_t i, size;
    tb_node node = TB_GRAPH_INPUT;
    tb_conv2d_options conv;
    tb_engine_options options;
    OK(tb_engine_options_init(&options, sizeof options));
    options.device = TB_DEVICE_CPU;
    OK(tb_engine_create(&options, &engine));
    OK(tb_graph_create(input, &graph));
    OK(tb_conv2d_options_init(&conv, sizeof conv));
    conv.kernel[0] = conv.kernel[1] = 1;
    OK(tb_graph_conv2d(graph, "conv", node, 1, &conv, 1, &node)); /* tie sets are for its gradients */
    OK(tb_graph_maxpool2d(graph, "pool", node, NULL, &node));
    OK(tb_graph_flatten(graph, "flat", node, &node));
    OK(tb_graph_linear(graph, "head", node, CLASSES, 1, NULL));
    OK(tb_network_create_from_graph(engine, graph, NULL, &network));
    OK(tb_optimizer_create(network, NULL, &optimizer));
    OK(tb_dataset_digits(2, 1, NULL, NULL, &dataset));
    OK(tb_tensor_create(engine, TB_DTYPE_F32, input, 3, &tensor));
    OK(tb_experiment_create("zero_program", "{\"precisions\": [16]}", NULL, NULL, &experiment));
    OK(tb_experiment_run(experiment, engine, NULL, 0, 0, NULL, NULL, &result));
    info.struct_size = sizeof info;
    OK(tb_network_info(network, &info));
    parameters = info.parameter_count;
    census = info.census_count;
    CHECK(parameters <= MOST && census > 0 && census <= MOST);

    for (i = 0; i < STRUCTS; i++) {
        const growing *g = &structs[i];
        CHECK(g->first <= g->size);
        for (size = g->first; size <= g->size; size += STEP) {
            const int taken = with_size(g, size) == TB_STATUS_OK; /* before its message is looked at */
            check_at(taken, g->name, taken ? "" : tb_last_error_message(), __LINE__);
        }
        for (size = g->first - STEP; size < g->first; size++) {
            const tb_status status = with_size(g, size);
            check_at(status == TB_STATUS_INVALID_ARGUMENT && strstr(tb_last_error_message(), "struct_size"),
                     "less than the first release had", g->name, __LINE__);
        }
    }
    OK(tb_experiment_result_free(result));
    OK(tb_experiment_free(experiment));
    OK(tb_tensor_free(tensor));
    OK(tb_dataset_free(dataset));
    OK(tb_optimizer_free(optimizer));
    OK(tb_network_free(network));
    OK(tb_graph_free(graph));
    OK(tb_engine_free(engine));
    return finish("prefix_test");
}
