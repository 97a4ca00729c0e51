/*
 * A trainer with its own tensors, layers and loop, that hands only its max pooling to tiebreak.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What such a trainer changes is marked "tiebreak:": an engine at the start, two calls in place of its own pooling,
 * and 1 byte for each window. The network is conv 3x3 (8 channels), activations on a grid, max pooling 2x2, ReLU,
 * and a linear layer; the grid is that of training for 4-bit devices, and makes windows tie all the time.
 *
 * Build, at the root of the repository, after `cargo build --release`:
 *
 *   cc -std=c11 -O2 -Iinclude examples/c/own_trainer.c -o own_trainer \
 *      -Ltarget/release -ltiebreak -Wl,-rpath,"$PWD/target/release" -lm         (shared library)
 *   cc -std=c11 -O2 -Iinclude examples/c/own_trainer.c -o own_trainer \
 *      target/release/libtiebreak.a -lpthread -ldl -lm                          (static library, Linux)
 *
 * `./own_trainer` trains on pictures that it draws itself, `./own_trainer DIR` on MNIST (unpacked, or built with
 * -DTIEBREAK_ZLIB and -lz).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mnist.h"
#include "tiebreak.h"

static void check(tb_status status) {
    if (status == TB_STATUS_OK) return;
    fprintf(stderr, "own_trainer: %s (%s)\n", tb_last_error_message(), tb_status_name(status));
    exit(1);
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) {
        fprintf(stderr, "own_trainer: out of memory\n");
        exit(1);
    }
    return memory;
}

/* ---- The trainer as it was before ---------------------------------------------------------------------------- */

enum { BATCH = 32, CHANNELS = 8, KERNEL = 3, TAPS = KERNEL * KERNEL };

static const float GRID = 1.0f / 8; /* distance of two activations */

typedef struct data {
    size_t count, side, classes;
    float *images; /* [count, side, side], 0 to 1 */
    unsigned char *labels;
} data;

typedef struct net {
    size_t side, conv_side, pool_side, features, classes;
    float weight[CHANNELS * TAPS], bias[CHANNELS];
    float gweight[CHANNELS * TAPS], gbias[CHANNELS];
    float *head, *head_bias, *ghead, *ghead_bias; /* [classes, features], [classes] */
    float *conv, *gconv;                          /* [BATCH, CHANNELS, conv_side, conv_side] */
    float *pooled, *gpooled;                      /* [BATCH, CHANNELS, pool_side, pool_side] */
    float *active;                                /* ReLU of pooled */
    float *logits;                                /* [BATCH, classes], then their gradient */
    /* tiebreak: what its calls need. */
    tb_engine *engine;
    tb_kink kink;
    uint8_t *ties;
    size_t ties_size;
    int64_t conv_shape[4], pool_shape[4];
} net;

static uint32_t random_state = 1;

static uint32_t random_bits(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    return random_state ^= random_state << 5;
}

static float uniform(float least, float most) {
    return least + (most - least) * (float)(random_bits() >> 8) / 16777216.0f;
}

static void fill_uniform(float *values, size_t count, float bound) {
    size_t i;
    for (i = 0; i < count; i++) values[i] = uniform(-bound, bound);
}

/* Convolution, and its result on the grid (its gradient passes the grid unchanged). */
static void conv_forward(net *n, const float *images, size_t count) {
    size_t b, o, r, c, t;
    float *y = n->conv;
    for (b = 0; b < count; b++) {
        const float *x = images + b * n->side * n->side;
        for (o = 0; o < CHANNELS; o++) {
            for (r = 0; r < n->conv_side; r++) {
                for (c = 0; c < n->conv_side; c++) {
                    float sum = n->bias[o];
                    for (t = 0; t < TAPS; t++) {
                        sum += n->weight[o * TAPS + t] * x[(r + t / KERNEL) * n->side + c + t % KERNEL];
                    }
                    *y++ = roundf(sum / GRID) * GRID;
                }
            }
        }
    }
}

static void conv_backward(net *n, const float *images, size_t count) {
    size_t b, o, r, c, t;
    const float *g = n->gconv;
    memset(n->gweight, 0, sizeof n->gweight);
    memset(n->gbias, 0, sizeof n->gbias);
    for (b = 0; b < count; b++) {
        const float *x = images + b * n->side * n->side;
        for (o = 0; o < CHANNELS; o++) {
            for (r = 0; r < n->conv_side; r++) {
                for (c = 0; c < n->conv_side; c++, g++) {
                    if (*g == 0) continue;
                    n->gbias[o] += *g;
                    for (t = 0; t < TAPS; t++) {
                        n->gweight[o * TAPS + t] += *g * x[(r + t / KERNEL) * n->side + c + t % KERNEL];
                    }
                }
            }
        }
    }
}

static void head_forward(net *n, size_t count) {
    size_t b, k, i;
    for (i = 0; i < count * n->features; i++) n->active[i] = n->pooled[i] > 0 ? n->pooled[i] : 0;
    for (b = 0; b < count; b++) {
        for (k = 0; k < n->classes; k++) {
            float sum = n->head_bias[k];
            for (i = 0; i < n->features; i++) sum += n->head[k * n->features + i] * n->active[b * n->features + i];
            n->logits[b * n->classes + k] = sum;
        }
    }
}

/* Mean cross-entropy and hits; turns the logits into their gradient. */
static float loss_backward(net *n, const unsigned char *labels, size_t count, size_t *hits) {
    float loss = 0;
    size_t b, k;
    for (b = 0; b < count; b++) {
        float *z = n->logits + b * n->classes, sum = 0, most;
        size_t best = 0;
        for (k = 1; k < n->classes; k++) best = z[k] > z[best] ? k : best;
        *hits += best == labels[b];
        most = z[best];
        for (k = 0; k < n->classes; k++) sum += expf(z[k] - most);
        loss += (logf(sum) - (z[labels[b]] - most)) / (float)count;
        for (k = 0; k < n->classes; k++) {
            z[k] = (expf(z[k] - most) / sum - (k == labels[b] ? 1.0f : 0.0f)) / (float)count;
        }
    }
    return loss;
}

static void head_backward(net *n, size_t count) {
    size_t b, k, i;
    memset(n->ghead, 0, n->classes * n->features * sizeof *n->ghead);
    memset(n->ghead_bias, 0, n->classes * sizeof *n->ghead_bias);
    memset(n->gpooled, 0, count * n->features * sizeof *n->gpooled);
    for (b = 0; b < count; b++) {
        for (k = 0; k < n->classes; k++) {
            const float g = n->logits[b * n->classes + k];
            n->ghead_bias[k] += g;
            for (i = 0; i < n->features; i++) {
                n->ghead[k * n->features + i] += g * n->active[b * n->features + i];
                n->gpooled[b * n->features + i] += g * n->head[k * n->features + i];
            }
        }
    }
    for (i = 0; i < count * n->features; i++) n->gpooled[i] = n->pooled[i] > 0 ? n->gpooled[i] : 0;
}

static void descend(float *values, const float *gradient, size_t count, float rate) {
    size_t i;
    for (i = 0; i < count; i++) values[i] -= rate * gradient[i];
}

/* ---- tiebreak: what it does now in place of its own pooling --------------------------------------------------- */

static tb_view view(const float *values, const int64_t *shape) {
    tb_view v = {values, shape, 4, TB_DTYPE_F32};
    return v;
}

static tb_view_mut view_mut(float *values, const int64_t *shape) {
    tb_view_mut v = {values, shape, 4, TB_DTYPE_F32};
    return v;
}

static void set_batch(net *n, size_t count) {
    n->conv_shape[0] = (int64_t)count;
    n->conv_shape[1] = CHANNELS;
    n->conv_shape[2] = n->conv_shape[3] = (int64_t)n->conv_side;
    check(tb_pool2d_output_shape(n->conv_shape, NULL, n->pool_shape, &n->ties_size));
}

static void pool_forward(net *n) {
    const tb_view x = view(n->conv, n->conv_shape);
    const tb_view_mut y = view_mut(n->pooled, n->pool_shape);
    check(tb_maxpool2d_forward(n->engine, &x, NULL, &n->kink, &y, n->ties, n->ties_size));
}

static void pool_backward(net *n) {
    const tb_view gy = view(n->gpooled, n->pool_shape);
    const tb_view_mut gx = view_mut(n->gconv, n->conv_shape);
    check(tb_maxpool2d_backward(n->engine, &gy, n->ties, n->ties_size, NULL, &n->kink, &gx));
}

/* ---- The loop, unchanged -------------------------------------------------------------------------------------- */

static void create(net *n, const data *d) {
    tb_engine_options options;
    memset(n, 0, sizeof *n);
    n->side = d->side;
    n->conv_side = d->side - KERNEL + 1;
    n->pool_side = n->conv_side / 2;
    n->features = CHANNELS * n->pool_side * n->pool_side;
    n->classes = d->classes;
    n->head = allocate(n->classes * n->features, sizeof(float));
    n->ghead = allocate(n->classes * n->features, sizeof(float));
    n->head_bias = allocate(n->classes, sizeof(float));
    n->ghead_bias = allocate(n->classes, sizeof(float));
    n->conv = allocate(BATCH * CHANNELS * n->conv_side * n->conv_side, sizeof(float));
    n->gconv = allocate(BATCH * CHANNELS * n->conv_side * n->conv_side, sizeof(float));
    n->pooled = allocate(BATCH * n->features, sizeof(float));
    n->gpooled = allocate(BATCH * n->features, sizeof(float));
    n->active = allocate(BATCH * n->features, sizeof(float));
    n->logits = allocate(BATCH * n->classes, sizeof(float));
    fill_uniform(n->weight, CHANNELS * TAPS, 1.0f / KERNEL);
    fill_uniform(n->bias, CHANNELS, 1.0f / KERNEL);
    fill_uniform(n->head, n->classes * n->features, 1.0f / sqrtf((float)n->features));

    /* tiebreak: an engine where the tensors are, the default choice (what frameworks do), room for the tie sets. */
    check(tb_engine_options_init(&options, sizeof options));
    options.device = TB_DEVICE_CPU;
    check(tb_engine_create(&options, &n->engine));
    check(tb_kink_init(&n->kink, sizeof n->kink));
    set_batch(n, BATCH);
    n->ties = allocate(n->ties_size, 1);
}

static void destroy(net *n) {
    check(tb_engine_free(n->engine)); /* tiebreak: and back again */
    free(n->ties);
    free(n->head);
    free(n->ghead);
    free(n->head_bias);
    free(n->ghead_bias);
    free(n->conv);
    free(n->gconv);
    free(n->pooled);
    free(n->gpooled);
    free(n->active);
    free(n->logits);
}

static float forward(net *n, const data *d, size_t start, size_t count, size_t *hits) {
    set_batch(n, count);
    conv_forward(n, d->images + start * d->side * d->side, count);
    pool_forward(n);
    head_forward(n, count);
    return loss_backward(n, d->labels + start, count, hits);
}

static void train(net *n, const data *d, size_t count, int epochs) {
    int epoch;
    for (epoch = 1; epoch <= epochs; epoch++) {
        size_t start, steps = 0, hits = 0;
        float loss = 0;
        for (start = 0; start + BATCH <= count; start += BATCH, steps++) {
            const float rate = 0.05f;
            loss += forward(n, d, start, BATCH, &hits);
            head_backward(n, BATCH);
            pool_backward(n);
            conv_backward(n, d->images + start * d->side * d->side, BATCH);
            descend(n->weight, n->gweight, CHANNELS * TAPS, rate);
            descend(n->bias, n->gbias, CHANNELS, rate);
            descend(n->head, n->ghead, n->classes * n->features, rate);
            descend(n->head_bias, n->ghead_bias, n->classes, rate);
        }
        printf("epoch %d/%d  loss %.4f  training accuracy %.1f %%\n", epoch, epochs, loss / (float)steps,
               100.0 * (double)hits / (double)(steps * BATCH));
    }
}

static double test(net *n, const data *d, size_t first) {
    size_t start, hits = 0;
    for (start = first; start < d->count; start += BATCH) {
        forward(n, d, start, d->count - start < BATCH ? d->count - start : BATCH, &hits);
    }
    return 100.0 * (double)hits / (double)(d->count - first);
}

/* tiebreak: the gradient of the first layer under two choices, from one forward pass. */
static void compare(net *n, const data *d, size_t start) {
    const tb_kink before = n->kink;
    const size_t windows = BATCH * n->features;
    float native[CHANNELS * TAPS];
    double sum = 0, largest = 0, norm = 0;
    size_t i, hits = 0, tied = 0, masked = 0, differing = 0;
    forward(n, d, start, BATCH, &hits);
    head_backward(n, BATCH);

    n->kink.jacobian = TB_JACOBIAN_NATIVE;
    pool_backward(n);
    conv_backward(n, d->images + start * d->side * d->side, BATCH);
    memcpy(native, n->gweight, sizeof native);

    n->kink.jacobian = TB_JACOBIAN_BETA;
    n->kink.beta = 10;
    pool_backward(n);
    conv_backward(n, d->images + start * d->side * d->side, BATCH);
    n->kink = before;

    /* One byte for each 2x2 window, bit i set where element i attains the maximum. */
    for (i = 0; i < windows; i++) {
        if ((n->ties[i] & (n->ties[i] - 1)) == 0) continue;
        tied++;
        masked += !(n->pooled[i] > 0);
    }
    for (i = 0; i < CHANNELS * TAPS; i++) {
        const double gap = fabs((double)n->gweight[i] - (double)native[i]);
        sum += gap;
        norm += fabs((double)native[i]);
        largest = gap > largest ? gap : largest;
        differing += gap != 0;
    }
    printf("%zu of %zu windows tie, %zu of them where ReLU stops the gradient\n", tied, windows, masked);
    printf("first layer, native against beta 10: %zu of %d weights differ, L1 %.3e (of %.3e), largest %.3e\n",
           differing, CHANNELS * TAPS, sum, norm, largest);
}

/* ---- Data ----------------------------------------------------------------------------------------------------- */

/* Bars across, bars down, crosses and frames, anywhere in the picture, on a noisy ground. */
static data draw(size_t count) {
    data d = {count, 16, 4, NULL, NULL};
    size_t i, j;
    d.images = allocate(count * d.side * d.side, sizeof(float));
    d.labels = allocate(count, 1);
    for (i = 0; i < count; i++) {
        float *image = d.images + i * d.side * d.side;
        const size_t size = 7, top = random_bits() % (d.side - size + 1), left = random_bits() % (d.side - size + 1);
        const float ink = uniform(0.6f, 1.0f);
        d.labels[i] = (unsigned char)(random_bits() % d.classes);
        for (j = 0; j < d.side * d.side; j++) image[j] = uniform(0.0f, 0.2f);
        for (j = 0; j < size; j++) {
            const size_t middle = size / 2, end = size - 1;
            float *corner = image + top * d.side + left;
            switch (d.labels[i]) {
            case 0: corner[middle * d.side + j] = ink; break;
            case 1: corner[j * d.side + middle] = ink; break;
            case 2: corner[j * d.side + j] = corner[j * d.side + end - j] = ink; break;
            default:
                corner[j] = corner[end * d.side + j] = ink;
                corner[j * d.side] = corner[j * d.side + end] = ink;
            }
        }
    }
    return d;
}

static data read_mnist(const char *directory) {
    data d = {0, MNIST_SIDE, MNIST_CLASSES, NULL, NULL};
    mnist_set set;
    size_t i;
    if (!mnist_load(directory, "train", &set)) exit(1);
    d.count = set.count < 5000 ? set.count : 5000;
    d.images = allocate(d.count * MNIST_PIXELS, sizeof(float));
    d.labels = allocate(d.count, 1);
    for (i = 0; i < d.count * MNIST_PIXELS; i++) d.images[i] = (float)set.images[i] / 255.0f;
    memcpy(d.labels, set.labels, d.count);
    mnist_free(&set);
    return d;
}

int main(int argc, char **argv) {
    data d;
    net n;
    size_t training;
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: own_trainer [folder with the MNIST files]\n");
        return 2;
    }
    d = argc == 2 ? read_mnist(argv[1]) : draw(2500);
    training = d.count / 5 * 4;
    if (training < BATCH || d.count - training < BATCH) {
        fprintf(stderr, "own_trainer: %zu images are too few\n", d.count);
        return 1;
    }
    create(&n, &d);
    compare(&n, &d, 0);
    train(&n, &d, training, 4);
    printf("test accuracy %.1f %%\n", test(&n, &d, training));
    compare(&n, &d, 0);
    destroy(&n);
    free(d.images);
    free(d.labels);
    return 0;
}
