/*
 * Trains LeNet-5 on MNIST with a chosen Jacobian of max pooling, in 16, 32 or 64 bits, through tiebreak's C ABI.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Build, at the root of the repository:
 *
 *   cargo build --release
 *   cc -std=c11 -O2 -Iinclude examples/c/train_lenet.c -o train_lenet \
 *      -Ltarget/release -ltiebreak -Wl,-rpath,"$PWD/target/release" -lm         (shared library)
 *   cc -std=c11 -O2 -Iinclude examples/c/train_lenet.c -o train_lenet \
 *      target/release/libtiebreak.a -lpthread -ldl -lm                          (static library, Linux)
 *
 * MNIST comes as four .gz files. Either unpack them once, `gunzip -k *.gz` in their folder, or add -DTIEBREAK_ZLIB
 * and -lz to the line above. Then:
 *
 *   ./train_lenet --data DIR
 *   ./train_lenet --data DIR --jacobian beta --beta 100 --composition coupled --precision 16
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef _WIN32
#include <io.h>
#define is_terminal() _isatty(_fileno(stdout))
#else
#include <unistd.h>
#define is_terminal() isatty(fileno(stdout))
#endif

#include "mnist.h"
#include "tiebreak.h"

/* Every call of the library goes through this one. */
static void check(tb_status status) {
    if (status == TB_STATUS_OK) return;
    fprintf(stderr, "train_lenet: %s (%s)\n", tb_last_error_message(), tb_status_name(status));
    exit(1);
}

typedef struct options {
    const char *data;
    const char *jacobian;
    double beta;
    const char *composition;
    long precision;
    const char *device;
    long epochs;
    long batch_size;
    double learning_rate;
    long seed;
    long limit;
} options;

/* A word of the command line and the number that it stands for. */
typedef struct word {
    const char *text;
    int32_t value;
} word;

static const word jacobians[] = {{"native", TB_JACOBIAN_NATIVE},
                                 {"last", TB_JACOBIAN_LAST},
                                 {"minimal", TB_JACOBIAN_MINIMAL},
                                 {"beta", TB_JACOBIAN_BETA},
                                 {"random", TB_JACOBIAN_RANDOM},
                                 {"first_column", TB_JACOBIAN_FIRST_COLUMN},
                                 {"all", TB_JACOBIAN_ALL},
                                 {"scaled", TB_JACOBIAN_SCALED},
                                 {NULL, 0}};
static const word compositions[] = {{"exact", TB_COMPOSITION_EXACT},
                                    {"split", TB_COMPOSITION_SPLIT},
                                    {"coupled", TB_COMPOSITION_COUPLED},
                                    {"forward", TB_COMPOSITION_FORWARD},
                                    {NULL, 0}};
static const word devices[] = {
    {"auto", TB_DEVICE_AUTO}, {"cpu", TB_DEVICE_CPU}, {"gpu", TB_DEVICE_GPU}, {NULL, 0}};

static void help(void) {
    puts("Trains LeNet-5 on MNIST with a chosen Jacobian of max pooling.\n"
         "\n"
         "  train_lenet --data DIR [options]\n"
         "\n"
         "  --data DIR          folder with train-images-idx3-ubyte and the other three files\n"
         "  --jacobian NAME     who receives the gradient of a tied window: native (the first: what PyTorch\n"
         "                      does), last, minimal (all alike), beta (beta * minimal + (1 - beta) * native),\n"
         "                      random (drawn from the seed), first_column (mlpack), all (Theano), scaled\n"
         "                      (candle); default native\n"
         "  --beta B            any number, for --jacobian beta; default 1\n"
         "  --composition NAME  how beta is evaluated: exact, split (rounded as in the published program),\n"
         "                      coupled (the published program, forward pass too) or forward (its forward pass\n"
         "                      with the native gradient); default exact\n"
         "  --precision BITS    16, 32 or 64; default 32\n"
         "  --device NAME       auto, cpu or gpu; default auto\n"
         "  --epochs N          default 2\n"
         "  --batch-size N      default 128\n"
         "  --learning-rate R   of stochastic gradient descent with momentum 0.9 and weight decay 5e-4;\n"
         "                      default 0.05\n"
         "  --seed N            of the initial weights and the order of the images; default 1\n"
         "  --limit N           take only the first N training and N test images; default 0: all\n"
         "  --help");
}

static void usage(const char *problem, const char *name, const char *value) {
    fprintf(stderr, "train_lenet: %s: %s%s%s; --help lists the options\n", name, problem, value ? ", got " : "",
            value ? value : "");
    exit(2);
}

static double number(const char *name, const char *text, double least, double most) {
    char *end;
    double value = strtod(text, &end);
    if (*text == '\0' || *end != '\0' || !(value >= least && value <= most)) {
        char problem[80];
        snprintf(problem, sizeof problem, "expected a number from %g to %g", least, most);
        usage(problem, name, text);
    }
    return value;
}

static long integer(const char *name, const char *text, long least, long most) {
    char *end;
    long value;
    errno = 0;
    value = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || errno || value < least || value > most) {
        char problem[80];
        snprintf(problem, sizeof problem, "expected a whole number from %ld to %ld", least, most);
        usage(problem, name, text);
    }
    return value;
}

static int32_t lookup(const char *name, const word *words, const char *text) {
    char problem[80] = "expected one of";
    const word *w;
    for (w = words; w->text; w++) {
        if (strcmp(w->text, text) == 0) return w->value;
        strcat(strcat(problem, " "), w->text);
    }
    usage(problem, name, text);
    return 0;
}

static options parse(int argc, char **argv) {
    options o = {NULL, "native", 1.0, "exact", 32, "auto", 2, 128, 0.05, 1, 0};
    int i;
    for (i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(name, "--help") == 0) {
            help();
            exit(0);
        }
        if (strncmp(name, "--", 2) != 0) usage("is no option", name, NULL);
        if (!value) usage("unknown, or without its value", name, NULL);
        if (strcmp(name, "--data") == 0) o.data = value;
        else if (strcmp(name, "--jacobian") == 0) o.jacobian = value;
        else if (strcmp(name, "--beta") == 0) o.beta = number(name, value, -1e300, 1e300);
        else if (strcmp(name, "--composition") == 0) o.composition = value;
        else if (strcmp(name, "--precision") == 0) o.precision = integer(name, value, 16, 64);
        else if (strcmp(name, "--device") == 0) o.device = value;
        else if (strcmp(name, "--epochs") == 0) o.epochs = integer(name, value, 1, 100000);
        else if (strcmp(name, "--batch-size") == 0) o.batch_size = integer(name, value, 1, 60000);
        else if (strcmp(name, "--learning-rate") == 0) o.learning_rate = number(name, value, 0, 1e6);
        else if (strcmp(name, "--seed") == 0) o.seed = integer(name, value, 0, 1000000000);
        else if (strcmp(name, "--limit") == 0) o.limit = integer(name, value, 0, 60000);
        else usage("unknown option", name, NULL);
        i++;
    }
    if (!o.data) usage("is missing", "--data", NULL);
    if (o.precision != 16 && o.precision != 32 && o.precision != 64) {
        usage("expected 16, 32 or 64", "--precision", NULL);
    }
    return o;
}

static double seconds(void) {
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) {
        fprintf(stderr, "train_lenet: out of memory\n");
        exit(1);
    }
    return memory;
}

/* SplitMix64: small, and the same on every platform. */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void shuffle(size_t *order, size_t count, uint64_t *state) {
    size_t i;
    for (i = count; i > 1; i--) {
        size_t j = (size_t)(next_random(state) % i), keep = order[i - 1];
        order[i - 1] = order[j];
        order[j] = keep;
    }
}

/* The bits of the IEEE binary16 number nearest to `value`, to even between two. */
static uint16_t half_bits(double value) {
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    double size = fabs(value);
    int exponent, unit;
    if (isnan(value)) return 0x7e00;
    if (size >= 65520.0) return sign | 0x7c00;
    if (size == 0.0) return sign;
    /* Near `size` these numbers are multiples of 2^unit; in `unit`s the scaling is exact, the rounding the only
     * one, and a carry into the next power of two falls into the exponent's bits, as it must. */
    frexp(size, &exponent);
    unit = exponent - 11 < -24 ? -24 : exponent - 11;
    return (uint16_t)(sign | (((unit + 24) << 10) + (int)nearbyint(ldexp(size, -unit))));
}

/* The 256 values that a pixel can have, normalised as is usual for LeNet and rounded once to the dtype. */
typedef struct pixels {
    tb_dtype dtype;
    size_t size;
    uint16_t f16[256];
    float f32[256];
    double f64[256];
} pixels;

static pixels make_pixels(long precision) {
    pixels p;
    int v;
    memset(&p, 0, sizeof p);
    p.dtype = precision == 16 ? TB_DTYPE_F16 : precision == 32 ? TB_DTYPE_F32 : TB_DTYPE_F64;
    p.size = (size_t)precision / 8;
    for (v = 0; v < 256; v++) {
        p.f64[v] = (v / 255.0 - 0.5) / 0.5;
        p.f32[v] = (float)p.f64[v];
        p.f16[v] = half_bits(p.f64[v]);
    }
    return p;
}

/* A batch in the caller's memory, as the library takes it. */
typedef struct batch {
    void *images;
    int64_t *labels;
    size_t count;
    int64_t shape[4];
    tb_view x;
} batch;

static void make_batch(batch *b, const pixels *p, size_t most) {
    b->images = allocate(most * MNIST_PIXELS, p->size);
    b->labels = allocate(most, sizeof *b->labels);
}

static void free_batch(batch *b) {
    free(b->images);
    free(b->labels);
}

/* Puts the images `order[0..count]` in the batch. */
static void fill_batch(batch *b, const pixels *p, const mnist_set *set, const size_t *order, size_t count) {
    size_t i, j;
    for (i = 0; i < count; i++) {
        const unsigned char *from = set->images + order[i] * MNIST_PIXELS;
        size_t at = i * MNIST_PIXELS;
        switch (p->dtype) {
        case TB_DTYPE_F16:
            for (j = 0; j < MNIST_PIXELS; j++) ((uint16_t *)b->images)[at + j] = p->f16[from[j]];
            break;
        case TB_DTYPE_F32:
            for (j = 0; j < MNIST_PIXELS; j++) ((float *)b->images)[at + j] = p->f32[from[j]];
            break;
        default:
            for (j = 0; j < MNIST_PIXELS; j++) ((double *)b->images)[at + j] = p->f64[from[j]];
        }
        b->labels[i] = set->labels[order[i]];
    }
    b->count = count;
    b->shape[0] = (int64_t)count;
    b->shape[1] = 1;
    b->shape[2] = b->shape[3] = MNIST_SIDE;
    b->x.data = b->images;
    b->x.shape = b->shape;
    b->x.rank = 4;
    b->x.dtype = p->dtype;
}

/* One epoch; prints the loss on the way. */
static void train(const tb_optimizer *optimizer, const options *o, const pixels *p, const mnist_set *set,
                  const size_t *order, batch *b, long epoch) {
    const int terminal = is_terminal();
    const size_t most = (size_t)o->batch_size, steps = (set->count + most - 1) / most;
    size_t step;
    for (step = 0; step < steps; step++) {
        size_t start = step * most, left = set->count - start;
        /* On a terminal a line that renews itself, in a file one line in 100 steps. */
        int show = (step + 1) % (terminal ? 10 : 100) == 0 || step + 1 == steps;
        tb_step_report report;
        report.struct_size = sizeof report;
        fill_batch(b, p, set, order + start, left < most ? left : most);
        /* A report waits for the device, so only where it is shown. */
        check(tb_optimizer_train_step(optimizer, &b->x, b->labels, b->count, show ? &report : NULL));
        if (show) {
            printf("%sepoch %ld/%ld  step %zu/%zu  loss %.4f%s", terminal ? "\r" : "", epoch, o->epochs, step + 1,
                   steps, report.loss, terminal ? "   " : "\n");
            fflush(stdout);
        }
    }
    if (terminal) printf("\r%60s\r", "");
}

static void evaluate(const tb_network *network, const pixels *p, const mnist_set *set, size_t *order, double *loss,
                     double *accuracy) {
    const size_t most = 500;
    size_t start, i, correct = 0;
    batch b;
    *loss = 0;
    make_batch(&b, p, most);
    for (start = 0; start < set->count; start += most) {
        size_t count = set->count - start < most ? set->count - start : most, hits;
        double mean;
        for (i = 0; i < count; i++) order[i] = start + i;
        fill_batch(&b, p, set, order, count);
        check(tb_network_evaluate(network, &b.x, b.labels, count, &mean, &hits));
        *loss += mean * (double)count / (double)set->count;
        correct += hits;
    }
    free_batch(&b);
    *accuracy = 100.0 * (double)correct / (double)set->count;
}

int main(int argc, char **argv) {
    const options o = parse(argc, argv);
    const pixels p = make_pixels(o.precision);
    mnist_set training, test;
    tb_engine_options engine_options;
    tb_engine_properties engine_info;
    tb_network_options network_options;
    tb_network_properties network_info;
    tb_optimizer_options sgd;
    char precision[24];
    tb_kink kink;
    tb_engine *engine;
    tb_network *network;
    tb_optimizer *optimizer;
    size_t *order, *in_order, i;
    uint64_t random = (uint64_t)o.seed;
    batch b;
    long epoch;

    if (tb_abi_version() != TB_ABI_VERSION) {
        fprintf(stderr, "train_lenet: built for version %d of the library's ABI, found version %u\n", TB_ABI_VERSION,
                tb_abi_version());
        return 1;
    }

    check(tb_kink_init(&kink, sizeof kink));
    kink.jacobian = lookup("--jacobian", jacobians, o.jacobian);
    kink.composition = lookup("--composition", compositions, o.composition);
    kink.beta = o.beta;
    kink.seed = (uint64_t)o.seed;
    check(tb_engine_options_init(&engine_options, sizeof engine_options));
    engine_options.device = lookup("--device", devices, o.device);

    if (!mnist_load(o.data, "train", &training)) return 1;
    if (!mnist_load(o.data, "t10k", &test)) return 1;
    if (o.limit && (size_t)o.limit < training.count) training.count = (size_t)o.limit;
    if (o.limit && (size_t)o.limit < test.count) test.count = (size_t)o.limit;

    check(tb_engine_create(&engine_options, &engine));
    check(tb_network_options_init(&network_options, sizeof network_options));
    snprintf(precision, sizeof precision, "%ld", o.precision);
    network_options.precision = precision;
    network_options.seed = (uint64_t)o.seed;
    check(tb_network_create(engine, "lenet5", NULL, &network_options, &network));
    /* The choice that this library is about: for every max pooling of the network, changeable at any time. */
    check(tb_network_set_kink(network, NULL, &kink));
    check(tb_optimizer_options_init(&sgd, sizeof sgd, TB_ALGORITHM_SGD));
    sgd.learning_rate = o.learning_rate;
    sgd.momentum = 0.9;
    sgd.weight_decay = 5e-4;
    check(tb_optimizer_create(network, &sgd, &optimizer));

    engine_info.struct_size = sizeof engine_info;
    check(tb_engine_info(engine, &engine_info));
    network_info.struct_size = sizeof network_info;
    check(tb_network_info(network, &network_info));
    printf("tiebreak %s on %s (%s)\n", tb_version_string(), engine_info.name, engine_info.driver);
    if (network_info.placement[0]) printf("the network runs on the CPU: %s\n", network_info.placement);
    printf("LeNet-5 in %ld bits, jacobian %s", o.precision, o.jacobian);
    if (kink.jacobian == TB_JACOBIAN_BETA) printf(" with beta %g, composition %s", o.beta, o.composition);
    printf("; %zu training and %zu test images\n", training.count, test.count);

    order = allocate(training.count, sizeof *order);
    in_order = allocate(test.count, sizeof *in_order);
    for (i = 0; i < training.count; i++) order[i] = i;
    make_batch(&b, &p, (size_t)o.batch_size);
    for (epoch = 1; epoch <= o.epochs; epoch++) {
        double start = seconds(), trained, loss, accuracy;
        shuffle(order, training.count, &random);
        train(optimizer, &o, &p, &training, order, &b, epoch);
        trained = seconds();
        evaluate(network, &p, &test, in_order, &loss, &accuracy);
        printf("epoch %ld/%ld  test loss %.4f  test accuracy %.2f %%  (training %.1f s, test %.1f s)\n", epoch,
               o.epochs, loss, accuracy, trained - start, seconds() - trained);
        fflush(stdout);
    }

    /* In any order: what is still needed lives on. */
    check(tb_engine_free(engine));
    check(tb_network_free(network));
    check(tb_optimizer_free(optimizer));
    free_batch(&b);
    free(order);
    free(in_order);
    mnist_free(&training);
    mnist_free(&test);
    return 0;
}
