/*
 * Many threads on one engine and one network, and on engines of their own, at once: each call gives the bits that it
 * gives alone. Run under ThreadSanitizer too where the library is built for it.
 */
#include <pthread.h>

#include "check.h"

enum { THREADS = 4, ROUNDS = 5, BATCH = 2, PIXELS = 28 * 28, CLASSES = 10 };

typedef struct worker {
    pthread_t thread;
    int number;
    tb_engine *engine;
    tb_network *network;
    double loss;
    float logits[BATCH * CLASSES];
    int failed, differ;
} worker;

static const int64_t image_shape[4] = {BATCH, 1, 28, 28}, logits_shape[2] = {BATCH, CLASSES};

static tb_status new_engine(tb_engine **engine) {
    tb_engine_options options;
    tb_status status = tb_engine_options_init(&options, sizeof options);
    options.device = TB_DEVICE_CPU;
    options.threads = 2;
    return status ? status : tb_engine_create(&options, engine);
}

static void images(int number, float *x) {
    int i;
    for (i = 0; i < BATCH * PIXELS; i++) x[i] = (float)((i * 7 + number * 13) % 32) / 16 - 1;
}

/* The loss of a network of its own after a few steps on images that only this number has. */
static tb_status train(tb_engine *engine, int number, double *loss) {
    float x[BATCH * PIXELS];
    const tb_view view = {x, image_shape, 4, TB_DTYPE_F32};
    const int64_t labels[BATCH] = {number, number + 1};
    tb_network *network = NULL;
    tb_optimizer *optimizer = NULL;
    tb_step_report report;
    tb_status status;
    int i;
    images(number, x);
    report.struct_size = sizeof report;
    status = tb_network_create(engine, "lenet5", NULL, NULL, &network);
    if (status == TB_STATUS_OK) status = tb_optimizer_create(network, NULL, &optimizer);
    for (i = 0; i < 3 && status == TB_STATUS_OK; i++) {
        status = tb_optimizer_train_step(optimizer, &view, labels, BATCH, &report);
    }
    *loss = report.loss;
    tb_optimizer_free(optimizer);
    tb_network_free(network);
    return status;
}

static tb_status forward(tb_network *network, int number, float *logits) {
    float x[BATCH * PIXELS];
    const tb_view view = {x, image_shape, 4, TB_DTYPE_F32};
    const tb_view_mut out = {logits, logits_shape, 2, TB_DTYPE_F32};
    images(number, x);
    return tb_network_forward(network, &view, &out);
}

static void *work(void *argument) {
    worker *w = argument;
    int round;
    for (round = 0; round < ROUNDS; round++) {
        tb_engine *own = NULL;
        float logits[BATCH * CLASSES];
        double shared = 0, alone = 0;
        w->failed += new_engine(&own) != TB_STATUS_OK;
        w->failed += train(w->engine, w->number, &shared) != TB_STATUS_OK;
        w->failed += train(own, w->number, &alone) != TB_STATUS_OK;
        w->failed += forward(w->network, w->number, logits) != TB_STATUS_OK;
        w->failed += tb_engine_free(own) != TB_STATUS_OK;
        w->differ += shared != w->loss || alone != w->loss || memcmp(logits, w->logits, sizeof logits) != 0;
    }
    return NULL;
}

int main(void) {
    worker workers[THREADS];
    tb_engine *engine = NULL;
    tb_network *network = NULL;
    int i;
    OK(new_engine(&engine));
    OK(tb_network_create(engine, "lenet5", NULL, NULL, &network));
    memset(workers, 0, sizeof workers);
    for (i = 0; i < THREADS; i++) {
        workers[i].number = i;
        workers[i].engine = engine;
        workers[i].network = network;
        OK(train(engine, i, &workers[i].loss));
        OK(forward(network, i, workers[i].logits));
    }
    CHECK(workers[0].loss != workers[1].loss);
    for (i = 0; i < THREADS; i++) CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
    for (i = 0; i < THREADS; i++) {
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
        CHECK(workers[i].failed == 0);
        CHECK(workers[i].differ == 0);
    }
    OK(tb_network_free(network));
    OK(tb_engine_free(engine));
    return finish("threads_test");
}
