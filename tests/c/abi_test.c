/*
 * Every function of the C ABI once on its happy path, with answers worked out by hand, and the errors that a
 * program meets in ordinary use. The argument is the device: cpu (the default), auto or gpu; without a GPU the
 * last ends with 77: skipped.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "check.h"

static tb_engine *engine;

static tb_view in(const void *data, const int64_t *shape, int32_t rank, tb_dtype dtype) {
    tb_view v = {data, shape, rank, dtype};
    return v;
}

static tb_view_mut out(void *data, const int64_t *shape, int32_t rank, tb_dtype dtype) {
    tb_view_mut v = {data, shape, rank, dtype};
    return v;
}

static int same(const float *a, const float *b, size_t count) {
    return memcmp(a, b, count * sizeof *a) == 0;
}

static int near(double a, double b, double tolerance) {
    return fabs(a - b) <= tolerance;
}

static void versions(void) {
    int i;
    CHECK(tb_abi_version() == TB_ABI_VERSION);
    CHECK(strchr(tb_version_string(), '.') != NULL);
    CHECK(strcmp(tb_last_error_message(), "") == 0);
    CHECK(strcmp(tb_status_name(TB_STATUS_OK), "TB_STATUS_OK") == 0);
    CHECK(strcmp(tb_status_name(TB_STATUS_PANIC), "TB_STATUS_PANIC") == 0);
    CHECK(strcmp(tb_status_name(-7), "unknown status") == 0);
    for (i = 0; i <= 13; i++) CHECK(strncmp(tb_status_name(i), "TB_STATUS_", 10) == 0);
}

static int log_messages;

static void on_log(tb_log_level level, const char *message, void *user_data) {
    CHECK(level == TB_LOG_LEVEL_INFO || level == TB_LOG_LEVEL_WARNING);
    CHECK(message[0] != '\0');
    ++*(int *)user_data;
}

static void engines(tb_device device) {
    tb_engine_options options;
    tb_engine_properties info;
    tb_engine *other = NULL;
    memset(&info, 0xff, sizeof info);
    OK(tb_engine_options_init(&options, sizeof options));
    CHECK(options.struct_size == sizeof options);
    CHECK(options.device == TB_DEVICE_AUTO && options.threads == 0);
    CHECK(options.adapter == NULL && options.log == NULL && options.log_user_data == NULL);
    options.device = device;
    options.log = on_log;
    options.log_user_data = &log_messages;
    if (tb_engine_create(&options, &engine) == TB_STATUS_UNSUPPORTED && device == TB_DEVICE_GPU) {
        printf("skipped: %s\n", tb_last_error_message());
        exit(77);
    }
    CHECK(engine != NULL);
    CHECK(log_messages > 0);
    info.struct_size = sizeof info;
    OK(tb_engine_info(engine, &info));
    CHECK(info.gpu == 0 || info.gpu == 1);
    CHECK(device == TB_DEVICE_AUTO || info.gpu == (device == TB_DEVICE_GPU));
    CHECK(info.gpu_f16 == 0 || info.gpu == 1);
    CHECK(info.threads > 0);
    CHECK(memchr(info.name, 0, sizeof info.name) && info.name[0]);
    CHECK(memchr(info.driver, 0, sizeof info.driver) && info.driver[0]);

    /* Looks for a GPU; under valgrind the loading of its drivers alone gives reports. */
    if (!getenv("TIEBREAK_TEST_CPU_ONLY")) {
        OK(tb_engine_create(NULL, &other));
        OK(tb_engine_free(other));
    }
    options.device = TB_DEVICE_CPU;
    options.threads = 1;
    OK(tb_engine_create(&options, &other));
    CHECK(other != NULL && other != engine);
    OK(tb_engine_info(other, &info));
    CHECK(info.threads == 1 && strcmp(info.name, "cpu") == 0);
    OK(tb_engine_free(other));
    OK(tb_engine_free(NULL));
    FAILS(tb_engine_info(other, &info), TB_STATUS_INVALID_HANDLE, "tb_engine_info", "`engine`");
    FAILS(tb_engine_free(other), TB_STATUS_INVALID_HANDLE, "tb_engine_free", "`engine`");
}

static void kink_of(tb_kink *kink, tb_jacobian jacobian, double beta, tb_composition composition) {
    OK(tb_kink_init(kink, sizeof *kink));
    kink->jacobian = jacobian;
    kink->beta = beta;
    kink->composition = composition;
}

/* One window {1, 3, 3, 0}: a tie of elements 1 and 2; g = 2. */
static void maxpool(void) {
    static const int64_t x_shape[4] = {1, 1, 2, 2}, y_expected[4] = {1, 1, 1, 1};
    static const float x[4] = {1, 3, 3, 0};
    static const struct {
        tb_jacobian jacobian;
        double beta;
        tb_composition composition;
        float gx[4];
    } cases[] = {
        {TB_JACOBIAN_NATIVE, 0, TB_COMPOSITION_EXACT, {0, 2, 0, 0}},
        {TB_JACOBIAN_LAST, 0, TB_COMPOSITION_EXACT, {0, 0, 2, 0}},
        {TB_JACOBIAN_MINIMAL, 0, TB_COMPOSITION_EXACT, {0, 1, 1, 0}},
        {TB_JACOBIAN_BETA, 0, TB_COMPOSITION_EXACT, {0, 2, 0, 0}},
        {TB_JACOBIAN_BETA, 1, TB_COMPOSITION_EXACT, {0, 1, 1, 0}},
        {TB_JACOBIAN_BETA, 3, TB_COMPOSITION_EXACT, {0, -1, 3, 0}},
        {TB_JACOBIAN_BETA, 3, TB_COMPOSITION_SPLIT, {0, -1, 3, 0}},
        {TB_JACOBIAN_BETA, 3, TB_COMPOSITION_COUPLED, {0, -1, 3, 0}},
        {TB_JACOBIAN_BETA, -2, TB_COMPOSITION_EXACT, {0, 4, -2, 0}},
    };
    tb_maxpool2d_options options;
    tb_kink kink;
    int64_t y_shape[4] = {0};
    size_t ties_size = 0, i;
    float y = 0, gy = 2, gx[9];
    uint8_t ties[9];
    tb_view x_view = in(x, x_shape, 4, TB_DTYPE_F32), gy_view = in(&gy, y_shape, 4, TB_DTYPE_F32);
    tb_view_mut y_view = out(&y, y_shape, 4, TB_DTYPE_F32), gx_view = out(gx, x_shape, 4, TB_DTYPE_F32);

    OK(tb_maxpool2d_options_init(&options, sizeof options));
    CHECK(options.kernel[0] == 2 && options.kernel[1] == 2 && options.stride[0] == 0 && options.padding[1] == 0);
    OK(tb_kink_init(&kink, sizeof kink));
    CHECK(kink.kind == TB_KINK_MAXPOOL && kink.jacobian == TB_JACOBIAN_NATIVE);
    CHECK(kink.composition == TB_COMPOSITION_EXACT && kink.beta == 0 && kink.alpha == 0 && kink.seed == 0);
    OK(tb_maxpool2d_output_shape(x_shape, &options, y_shape, &ties_size));
    CHECK(memcmp(y_shape, y_expected, sizeof y_shape) == 0 && ties_size == 1);
    OK(tb_maxpool2d_forward(engine, &x_view, NULL, NULL, &y_view, ties, ties_size));
    CHECK(y == 3 && ties[0] == 0x06);
    OK(tb_maxpool2d_backward(engine, &gy_view, ties, ties_size, NULL, NULL, &gx_view));
    CHECK(same(gx, cases[0].gx, 4));
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        kink_of(&kink, cases[i].jacobian, cases[i].beta, cases[i].composition);
        OK(tb_maxpool2d_forward(engine, &x_view, &options, &kink, &y_view, ties, ties_size));
        CHECK(y == 3); /* 3 * 3 - 2 * 3: exact under the coupled composition too */
        OK(tb_maxpool2d_backward(engine, &gy_view, ties, ties_size, &options, &kink, &gx_view));
        CHECK(same(gx, cases[i].gx, 4));
    }
    /* One of the two, the same one each time. */
    kink_of(&kink, TB_JACOBIAN_RANDOM, 0, TB_COMPOSITION_EXACT);
    for (i = 0; i < 16; i++) {
        float again[4];
        tb_view_mut again_view = out(again, x_shape, 4, TB_DTYPE_F32);
        kink.seed = i;
        OK(tb_maxpool2d_backward(engine, &gy_view, ties, ties_size, NULL, &kink, &gx_view));
        OK(tb_maxpool2d_backward(engine, &gy_view, ties, ties_size, NULL, &kink, &again_view));
        CHECK(gx[0] == 0 && gx[3] == 0 && gx[1] + gx[2] == 2 && gx[1] * gx[2] == 0);
        CHECK(same(gx, again, 4));
    }
}

/* A window without a tie, where the compositions differ by rounding alone. */
static void compositions(void) {
    static const int64_t x_shape[4] = {1, 1, 2, 2}, y_shape[4] = {1, 1, 1, 1};
    const volatile float beta = 10000.0f, rest = -9999.0f;
    volatile float a, b;
    float x[4] = {0.1f, 0, 0, 0}, y, gy = 0.7f, gx[4];
    uint8_t ties;
    tb_kink kink;
    tb_view x_view = in(x, x_shape, 4, TB_DTYPE_F32), gy_view = in(&gy, y_shape, 4, TB_DTYPE_F32);
    tb_view_mut y_view = out(&y, y_shape, 4, TB_DTYPE_F32), gx_view = out(gx, x_shape, 4, TB_DTYPE_F32);

    kink_of(&kink, TB_JACOBIAN_BETA, 10000, TB_COMPOSITION_EXACT);
    OK(tb_maxpool2d_forward(engine, &x_view, NULL, &kink, &y_view, &ties, 1));
    OK(tb_maxpool2d_backward(engine, &gy_view, &ties, 1, NULL, &kink, &gx_view));
    CHECK(y == 0.1f && ties == 1 && gx[0] == 0.7f);

    a = beta * gy;
    b = rest * gy;
    a = a + b;
    kink.composition = TB_COMPOSITION_SPLIT;
    OK(tb_maxpool2d_forward(engine, &x_view, NULL, &kink, &y_view, &ties, 1));
    OK(tb_maxpool2d_backward(engine, &gy_view, &ties, 1, NULL, &kink, &gx_view));
    CHECK(y == 0.1f && gx[0] == a && gx[0] != 0.7f);

    kink.composition = TB_COMPOSITION_COUPLED;
    OK(tb_maxpool2d_backward(engine, &gy_view, &ties, 1, NULL, &kink, &gx_view));
    CHECK(gx[0] == a);
    a = beta * x[0];
    b = rest * x[0];
    a = a + b;
    OK(tb_maxpool2d_forward(engine, &x_view, NULL, &kink, &y_view, &ties, 1));
    CHECK(y == a && y != 0.1f);
}

/* 3x3 windows with stride 2 and padding 1 on nine equal values: each window holds 4 of them and shares some. */
static void overlapping(void) {
    static const int64_t x_shape[4] = {1, 1, 3, 3};
    double x[9], y[4], gy[4] = {1, 1, 1, 1}, gx[9], sum = 0;
    int64_t y_shape[4];
    uint8_t ties[8];
    size_t ties_size, i;
    tb_maxpool2d_options options;
    tb_kink kink;
    tb_view x_view = in(x, x_shape, 4, TB_DTYPE_F64), gy_view = in(gy, y_shape, 4, TB_DTYPE_F64);
    tb_view_mut y_view = out(y, y_shape, 4, TB_DTYPE_F64), gx_view = out(gx, x_shape, 4, TB_DTYPE_F64);
    for (i = 0; i < 9; i++) x[i] = -5;
    OK(tb_maxpool2d_options_init(&options, sizeof options));
    options.kernel[0] = options.kernel[1] = 3;
    options.stride[0] = options.stride[1] = 2;
    options.padding[0] = options.padding[1] = 1;
    OK(tb_maxpool2d_output_shape(x_shape, &options, y_shape, &ties_size));
    CHECK(y_shape[2] == 2 && y_shape[3] == 2 && ties_size == 8);
    OK(tb_maxpool2d_forward(engine, &x_view, &options, NULL, &y_view, ties, ties_size));
    for (i = 0; i < 4; i++) CHECK(y[i] == -5); /* padding is no 0 */
    kink_of(&kink, TB_JACOBIAN_MINIMAL, 0, TB_COMPOSITION_EXACT);
    OK(tb_maxpool2d_backward(engine, &gy_view, ties, ties_size, &options, &kink, &gx_view));
    for (i = 0; i < 9; i++) sum += gx[i];
    CHECK(gx[0] == 0.25 && gx[1] == 0.5 && gx[4] == 1 && sum == 4);
}

static void relu(void) {
    static const int64_t shape[2] = {2, 2};
    /* -1, 0, -0, 2 and gradients 1, 2, 4, 8; alpha 0.25 */
    static const float x[4] = {-1, 0, -0.0f, 2}, gy[4] = {1, 2, 4, 8};
    static const float at_zero[4] = {0, 0.5f, 1, 8}, none[4] = {0, 0, 0, 8};
    static const uint16_t half_x[4] = {0xbc00, 0x0000, 0x3800, 0x4000}, half_y[4] = {0, 0, 0x3800, 0x4000};
    float y[4], gx[4];
    uint16_t half[4];
    tb_kink kink;
    tb_view x_view = in(x, shape, 2, TB_DTYPE_F32), gy_view = in(gy, shape, 2, TB_DTYPE_F32);
    tb_view half_view = in(half_x, shape, 2, TB_DTYPE_F16);
    tb_view_mut y_view = out(y, shape, 2, TB_DTYPE_F32), gx_view = out(gx, shape, 2, TB_DTYPE_F32);
    tb_view_mut half_out = out(half, shape, 2, TB_DTYPE_F16);
    OK(tb_relu_forward(engine, &x_view, &y_view));
    CHECK(y[0] == 0 && y[1] == 0 && y[2] == 0 && y[3] == 2 && signbit(y[2]) && !signbit(y[0]));
    OK(tb_relu_backward(engine, &x_view, &gy_view, NULL, &gx_view));
    CHECK(gx[0] == none[0] && gx[1] == none[1] && gx[2] == none[2] && gx[3] == none[3]);
    OK(tb_kink_init(&kink, sizeof kink));
    kink.kind = TB_KINK_RELU;
    kink.alpha = 0.25;
    OK(tb_relu_backward(engine, &x_view, &gy_view, &kink, &gx_view));
    CHECK(gx[0] == at_zero[0] && gx[1] == at_zero[1] && gx[2] == at_zero[2] && gx[3] == at_zero[3]);
    OK(tb_relu_forward(engine, &half_view, &half_out));
    CHECK(memcmp(half, half_y, sizeof half) == 0);
}

static void conv2d(void) {
    static const int64_t x_shape[4] = {1, 1, 3, 3}, square[4] = {1, 1, 2, 2}, one[1] = {1};
    static const float x[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, weight[4] = {1, 2, 3, 4}, bias[1] = {0.5f};
    static const float gy[4] = {1, 1, 1, 1};
    static const float plain[4] = {37.5f, 47.5f, 67.5f, 77.5f}, strided[4] = {4, 18, 36, 77};
    static const float gx_expected[9] = {1, 3, 2, 4, 10, 6, 3, 7, 4}, gweight_expected[4] = {12, 16, 24, 28};
    float y[4], gx[9], gweight[4], gbias[1];
    tb_conv2d_options options;
    tb_view x_view = in(x, x_shape, 4, TB_DTYPE_F32), weight_view = in(weight, square, 4, TB_DTYPE_F32);
    tb_view bias_view = in(bias, one, 1, TB_DTYPE_F32), gy_view = in(gy, square, 4, TB_DTYPE_F32);
    tb_view_mut y_view = out(y, square, 4, TB_DTYPE_F32), gx_view = out(gx, x_shape, 4, TB_DTYPE_F32);
    tb_view_mut gweight_view = out(gweight, square, 4, TB_DTYPE_F32), gbias_view = out(gbias, one, 1, TB_DTYPE_F32);
    OK(tb_conv2d_forward(engine, &x_view, &weight_view, &bias_view, NULL, &y_view));
    CHECK(same(y, plain, 4));
    OK(tb_conv2d_options_init(&options, sizeof options));
    CHECK(options.stride[0] == 1 && options.stride[1] == 1 && options.padding[0] == 0 && options.padding[1] == 0);
    options.stride[0] = options.stride[1] = 2;
    options.padding[0] = options.padding[1] = 1;
    OK(tb_conv2d_forward(engine, &x_view, &weight_view, NULL, &options, &y_view));
    CHECK(same(y, strided, 4));
    OK(tb_conv2d_backward_input(engine, &gy_view, &weight_view, NULL, &gx_view));
    CHECK(same(gx, gx_expected, 9));
    OK(tb_conv2d_backward_weight(engine, &x_view, &gy_view, NULL, &gweight_view, &gbias_view));
    CHECK(same(gweight, gweight_expected, 4) && gbias[0] == 4);
    OK(tb_conv2d_backward_weight(engine, &x_view, &gy_view, NULL, &gweight_view, NULL));
    CHECK(same(gweight, gweight_expected, 4));
}

static void linear(void) {
    static const int64_t row[2] = {1, 2}, square[2] = {2, 2}, two[1] = {2};
    static const double x[2] = {1, 2}, weight[4] = {1, 2, 3, 4}, bias[2] = {0.5, -0.5}, gy[2] = {1, 2};
    double y[2], gx[2], gweight[4], gbias[2];
    tb_view x_view = in(x, row, 2, TB_DTYPE_F64), weight_view = in(weight, square, 2, TB_DTYPE_F64);
    tb_view bias_view = in(bias, two, 1, TB_DTYPE_F64), gy_view = in(gy, row, 2, TB_DTYPE_F64);
    tb_view_mut y_view = out(y, row, 2, TB_DTYPE_F64), gx_view = out(gx, row, 2, TB_DTYPE_F64);
    tb_view_mut gweight_view = out(gweight, square, 2, TB_DTYPE_F64), gbias_view = out(gbias, two, 1, TB_DTYPE_F64);
    OK(tb_linear_forward(engine, &x_view, &weight_view, &bias_view, &y_view));
    CHECK(y[0] == 5.5 && y[1] == 10.5);
    OK(tb_linear_forward(engine, &x_view, &weight_view, NULL, &y_view));
    CHECK(y[0] == 5 && y[1] == 11);
    OK(tb_linear_backward_input(engine, &gy_view, &weight_view, &gx_view));
    CHECK(gx[0] == 7 && gx[1] == 10);
    OK(tb_linear_backward_weight(engine, &x_view, &gy_view, &gweight_view, &gbias_view));
    CHECK(gweight[0] == 1 && gweight[1] == 2 && gweight[2] == 2 && gweight[3] == 4);
    CHECK(gbias[0] == 1 && gbias[1] == 2);
}

static void cross_entropy(void) {
    static const int64_t shape[2] = {2, 2}, labels[2] = {0, 1};
    static const double logits[4] = {0, 0, 1000, 0};
    double glogits[4], loss;
    tb_view logits_view = in(logits, shape, 2, TB_DTYPE_F64);
    tb_view_mut glogits_view = out(glogits, shape, 2, TB_DTYPE_F64);
    OK(tb_cross_entropy(engine, &logits_view, labels, 2, &glogits_view, &loss));
    CHECK(near(loss, (log(2.0) + 1000) / 2, 1e-12 * loss));
    CHECK(glogits[0] == -0.25 && glogits[1] == 0.25 && glogits[2] == 0.5 && glogits[3] == -0.5);
}

static void sgd(void) {
    static const int64_t shape[1] = {1};
    double param = 1, grad = 0.5, buffer = NAN;
    tb_sgd_options options;
    tb_view grad_view = in(&grad, shape, 1, TB_DTYPE_F64);
    tb_view_mut param_view = out(&param, shape, 1, TB_DTYPE_F64), buffer_view = out(&buffer, shape, 1, TB_DTYPE_F64);
    OK(tb_sgd_options_init(&options, sizeof options));
    CHECK(options.learning_rate == 0.01 && options.momentum == 0 && options.weight_decay == 0 && options.nesterov == 0);
    OK(tb_sgd_step(engine, NULL, &grad_view, &param_view, NULL, 1));
    CHECK(near(param, 1 - 0.01 * 0.5, 1e-15));
    param = 1;
    options.learning_rate = 0.1;
    options.momentum = 0.9;
    options.weight_decay = 0.1;
    OK(tb_sgd_step(engine, &options, &grad_view, &param_view, &buffer_view, 1));
    CHECK(near(buffer, 0.6, 1e-15) && near(param, 0.94, 1e-15));
    OK(tb_sgd_step(engine, &options, &grad_view, &param_view, &buffer_view, 0));
    CHECK(near(buffer, 1.134, 1e-15) && near(param, 0.8266, 1e-15));
    FAILS(tb_sgd_step(engine, &options, &grad_view, &param_view, NULL, 0), TB_STATUS_INVALID_ARGUMENT, "tb_sgd_step",
          "momentum_buffer");
}

/* Tensors without elements: nothing to do, NULL data. */
static void empty(void) {
    static const int64_t images[4] = {0, 1, 4, 4}, pooled[4] = {0, 1, 2, 2}, rows[2] = {0, 3}, none[1] = {0};
    tb_view x = in(NULL, images, 4, TB_DTYPE_F32), flat = in(NULL, rows, 2, TB_DTYPE_F64);
    tb_view nothing = in(NULL, none, 1, TB_DTYPE_F16);
    tb_view_mut y = out(NULL, pooled, 4, TB_DTYPE_F32), flat_out = out(NULL, rows, 2, TB_DTYPE_F64);
    tb_view_mut nothing_out = out(NULL, none, 1, TB_DTYPE_F16);
    OK(tb_maxpool2d_forward(engine, &x, NULL, NULL, &y, NULL, 0));
    OK(tb_relu_forward(engine, &flat, &flat_out));
    OK(tb_relu_forward(engine, &nothing, &nothing_out));
}

enum { BATCH = 4, PIXELS = 28 * 28 };

/* Flat pictures with a square each: background and ink tie. */
static void pictures(float *x, int64_t *labels) {
    int i, r, c;
    for (i = 0; i < BATCH; i++) {
        labels[i] = i;
        for (r = 0; r < 28; r++) {
            for (c = 0; c < 28; c++) {
                int inside = r >= 4 + 4 * i && r < 12 + 4 * i && c >= 6 && c < 20;
                x[i * PIXELS + r * 28 + c] = inside ? 1.0f : -1.0f + (float)((r * 7 + c * 3 + i) % 5) / 16;
            }
        }
    }
}

static void networks(void) {
    static float x[BATCH * PIXELS];
    static const char *kinds[13] = {"input",   "conv2d", "relu", "maxpool2d", "conv2d", "relu",  "maxpool2d",
                                    "flatten", "linear", "relu", "linear",    "relu",   "linear"};
    static const int64_t x_shape[4] = {BATCH, 1, 28, 28}, logits_shape[2] = {BATCH, 10}, bias_shape[1] = {6};
    static const int64_t weight_shape[4] = {6, 1, 5, 5};
    static uint8_t ties[BATCH * 6 * 12 * 12];
    int64_t labels[BATCH];
    float logits[BATCH * 10], bias[6], changed[6] = {1, 2, 3, 4, 5, 6}, first[150], second[150];
    double loss, again, before, sum = 0;
    size_t i, correct, hits = 0, tied = 0, bytes;
    tb_network *network = NULL;
    tb_optimizer *optimizer = NULL;
    tb_network_options options;
    tb_network_properties info;
    tb_tensor_properties tensor;
    tb_sgd_options sgd_options;
    tb_comparison comparison;
    tb_kink native, beta, alpha;
    tb_view x_view = in(x, x_shape, 4, TB_DTYPE_F32), changed_view = in(changed, bias_shape, 1, TB_DTYPE_F32);
    tb_view_mut logits_view = out(logits, logits_shape, 2, TB_DTYPE_F32);
    tb_view_mut bias_view = out(bias, bias_shape, 1, TB_DTYPE_F32);
    tb_view_mut first_view = out(first, weight_shape, 4, TB_DTYPE_F32);
    tb_view_mut second_view = out(second, weight_shape, 4, TB_DTYPE_F32);
    pictures(x, labels);

    OK(tb_network_options_init(&options, sizeof options));
    CHECK(options.dtype == TB_DTYPE_F32 && options.classes == 10 && options.seed == 0);
    OK(tb_network_create(engine, "lenet5", &options, &network));
    info.struct_size = sizeof info;
    OK(tb_network_info(network, &info));
    CHECK(info.dtype == TB_DTYPE_F32 && info.parameter_count == 10 && info.layer_count == 13 && info.classes == 10);
    CHECK(info.input_shape[0] == 1 && info.input_shape[1] == 28 && info.input_shape[2] == 28);
    CHECK(info.placement[0] == '\0' && info.allocated_bytes > 0);
    tensor.struct_size = sizeof tensor;
    OK(tb_network_parameter_info(network, 0, &tensor));
    CHECK(strcmp(tensor.name, "features.0.weight") == 0 && strcmp(tensor.kind, "parameter") == 0);
    CHECK(tensor.rank == 4 && memcmp(tensor.shape, weight_shape, sizeof weight_shape) == 0);
    for (i = 0; i < 13; i++) {
        OK(tb_network_layer_info(network, i, &tensor));
        CHECK(strcmp(tensor.kind, kinds[i]) == 0);
    }
    OK(tb_network_layer_info(network, 3, &tensor));
    CHECK(strcmp(tensor.name, "features.2") == 0 && tensor.rank == 3);
    CHECK(tensor.shape[0] == 6 && tensor.shape[1] == 12 && tensor.shape[2] == 12);
    FAILS(tb_network_layer_info(network, 13, &tensor), TB_STATUS_INVALID_ARGUMENT, "tb_network_layer_info", "`index`");

    /* A parameter: read, overwrite, read. */
    OK(tb_network_read_parameter(network, "features.0.bias", &bias_view));
    for (i = 0; i < 6; i++) CHECK(fabsf(bias[i]) <= 0.2f); /* 1 / sqrt(25) */
    before = bias[0];
    OK(tb_network_write_parameter(network, "features.0.bias", &changed_view));
    OK(tb_network_read_parameter(network, "features.0.bias", &bias_view));
    CHECK(memcmp(bias, changed, sizeof bias) == 0);
    memset(changed, 0, sizeof changed);
    OK(tb_network_write_parameter(network, "features.0.bias", &changed_view));
    CHECK(before != 0);

    /* Before any run there is nothing to go back through. */
    FAILS(tb_network_backward(network), TB_STATUS_UNSUPPORTED, "tb_network_backward", "loss_and_gradients");
    FAILS(tb_network_ties(network, "features.2", ties, sizeof ties), TB_STATUS_UNSUPPORTED, "tb_network_ties",
          "loss_and_gradients");

    /* Forward, loss and hits agree with each other. */
    OK(tb_network_forward(network, &x_view, &logits_view));
    for (i = 0; i < BATCH; i++) {
        const float *row = logits + i * 10;
        size_t best = 0, k;
        for (k = 1; k < 10; k++) best = row[k] > row[best] ? k : best;
        hits += (int64_t)best == labels[i];
    }
    OK(tb_network_evaluate(network, &x_view, labels, BATCH, &loss, &correct));
    CHECK(correct == hits && near(loss, log(10.0), 0.5));

    /* Gradients, and a second choice on the same activations. */
    OK(tb_network_loss_and_gradients(network, &x_view, labels, BATCH, &again));
    CHECK(again == loss);
    OK(tb_network_ties(network, "features.2", ties, sizeof ties));
    for (i = 0; i < sizeof ties; i++) {
        CHECK(ties[i] >= 1 && ties[i] <= 4);
        tied += ties[i] > 1;
    }
    CHECK(tied > 0);
    OK(tb_network_read_gradient(network, "features.0.weight", &first_view));
    kink_of(&native, TB_JACOBIAN_NATIVE, 0, TB_COMPOSITION_EXACT);
    kink_of(&beta, TB_JACOBIAN_BETA, 100, TB_COMPOSITION_EXACT);
    OK(tb_network_set_kink(network, NULL, &beta));
    OK(tb_network_backward(network));
    OK(tb_network_read_gradient(network, "features.0.weight", &second_view));
    for (i = 0; i < 150; i++) sum += fabs((double)first[i] - (double)second[i]);
    CHECK(sum > 0);
    OK(tb_network_set_kink(network, NULL, &native));
    OK(tb_network_backward(network));
    OK(tb_network_read_gradient(network, "features.0.weight", &second_view));
    CHECK(same(first, second, 150));

    /* The comparison is those two passes. */
    comparison.struct_size = sizeof comparison;
    OK(tb_network_compare(network, &x_view, labels, BATCH, NULL, &beta, &comparison));
    CHECK(comparison.l1 >= sum && comparison.l2 > 0 && comparison.linf > 0 && comparison.linf <= comparison.l1);
    CHECK(comparison.differing > 0 && comparison.shared_forward == 1);
    CHECK(comparison.losses[0] == loss && comparison.losses[1] == loss);
    OK(tb_network_compare(network, &x_view, labels, BATCH, "features.2", &native, &comparison));
    CHECK(comparison.l1 == 0 && comparison.differing == 0);
    beta.composition = TB_COMPOSITION_COUPLED;
    OK(tb_network_compare(network, &x_view, labels, BATCH, NULL, &beta, &comparison));
    CHECK(comparison.shared_forward == 0 && comparison.losses[0] == loss);
    OK(tb_network_loss_and_gradients(network, &x_view, labels, BATCH, &loss));
    OK(tb_network_set_kink(network, "features.6", &beta));
    FAILS(tb_network_backward(network), TB_STATUS_UNSUPPORTED, "tb_network_backward", "coupled");
    OK(tb_network_set_kink(network, "features.6", &native));
    OK(tb_network_backward(network));

    OK(tb_kink_init(&alpha, sizeof alpha));
    alpha.kind = TB_KINK_RELU;
    alpha.alpha = 1;
    OK(tb_network_compare(network, &x_view, labels, BATCH, "features.1", &alpha, &comparison));
    FAILS(tb_network_set_kink(network, "features.2", &alpha), TB_STATUS_INVALID_ARGUMENT, "tb_network_set_kink",
          "features.2");
    FAILS(tb_network_set_kink(network, "nowhere", &alpha), TB_STATUS_NOT_FOUND, "tb_network_set_kink", "nowhere");

    /* The same steps by hand and in one call; both lower the loss. */
    OK(tb_network_info(network, &info));
    bytes = info.allocated_bytes;
    OK(tb_sgd_options_init(&sgd_options, sizeof sgd_options));
    sgd_options.learning_rate = 0.01;
    sgd_options.momentum = 0.9;
    OK(tb_optimizer_create_sgd(network, &sgd_options, &optimizer));
    OK(tb_network_loss_and_gradients(network, &x_view, labels, BATCH, &before));
    OK(tb_optimizer_step(optimizer));
    OK(tb_network_loss_and_gradients(network, &x_view, labels, BATCH, &loss));
    CHECK(loss < before);
    OK(tb_optimizer_step(optimizer));
    OK(tb_optimizer_set_learning_rate(optimizer, 0.02));
    for (i = 0; i < 5; i++) OK(tb_optimizer_train_step(optimizer, &x_view, labels, BATCH, i % 2 ? NULL : &again));
    CHECK(again < loss);
    OK(tb_optimizer_set_learning_rate(optimizer, 0));
    OK(tb_optimizer_train_step(optimizer, &x_view, labels, BATCH, &before));
    OK(tb_optimizer_train_step(optimizer, &x_view, labels, BATCH, &again));
    CHECK(before == again);
    OK(tb_optimizer_free(optimizer));
    OK(tb_optimizer_free(NULL));
    FAILS(tb_optimizer_step(optimizer), TB_STATUS_INVALID_HANDLE, "tb_optimizer_step", "`optimizer`");
    OK(tb_network_info(network, &info));
    CHECK(info.allocated_bytes == bytes);

    /* An optimizer keeps its network. */
    OK(tb_optimizer_create_sgd(network, NULL, &optimizer));
    OK(tb_network_free(network));
    FAILS(tb_network_info(network, &info), TB_STATUS_INVALID_HANDLE, "tb_network_info", "`network`");
    OK(tb_optimizer_train_step(optimizer, &x_view, labels, BATCH, &loss));
    OK(tb_optimizer_free(optimizer));
    OK(tb_network_free(NULL));
}

/* The same seed gives the same weights, each rounded once, in f16, f32 and f64. */
static void dtypes(void) {
    static const int64_t shape[1] = {6};
    static const tb_dtype all[3] = {TB_DTYPE_F16, TB_DTYPE_F32, TB_DTYPE_F64};
    uint16_t f16[6];
    float f32[6];
    double f64[6];
    void *values[3];
    int i;
    tb_network *network = NULL;
    tb_network_options options;
    values[0] = f16;
    values[1] = f32;
    values[2] = f64;
    OK(tb_network_options_init(&options, sizeof options));
    options.seed = 7;
    for (i = 0; i < 3; i++) {
        tb_view_mut view = out(values[i], shape, 1, all[i]);
        options.dtype = all[i];
        OK(tb_network_create(engine, "lenet5", &options, &network));
        OK(tb_network_read_parameter(network, "features.0.bias", &view));
        OK(tb_network_free(network));
    }
    for (i = 0; i < 6; i++) {
        /* Normal numbers of this size have a unit of 2^-10 times their power of two. */
        double half = ldexp(1.0 + (f16[i] & 0x3ff) / 1024.0, (f16[i] >> 10 & 0x1f) - 15);
        CHECK(f32[i] == (float)f64[i] && f64[i] != 0);
        CHECK(near(f16[i] & 0x8000 ? -half : half, f64[i], fabs(f64[i]) / 2048));
    }
}

/* Structs of a newer program, with fields that this library does not know, and of a broken one. */
static void struct_sizes(void) {
    struct newer_kink {
        tb_kink kink;
        uint64_t more[4];
    } kink;
    struct newer_info {
        tb_engine_properties info;
        uint64_t more[2];
    } info;
    struct newer_options {
        tb_engine_options options;
        uint64_t more;
    } options;
    static const int64_t shape[4] = {1, 1, 2, 2};
    const uint8_t ties[1] = {1};
    const float gy[1] = {1};
    static const int64_t one[4] = {1, 1, 1, 1};
    float gx[4];
    tb_engine *other = NULL;
    tb_view gy_view = in(gy, one, 4, TB_DTYPE_F32);
    tb_view_mut gx_view = out(gx, shape, 4, TB_DTYPE_F32);

    memset(&kink, 0xff, sizeof kink);
    OK(tb_kink_init(&kink.kink, sizeof kink));
    CHECK(kink.kink.struct_size == sizeof kink && kink.more[0] == 0 && kink.more[3] == 0);
    OK(tb_maxpool2d_backward(engine, &gy_view, ties, 1, NULL, &kink.kink, &gx_view));
    CHECK(gx[0] == 1);
    kink.more[3] = 1;
    FAILS(tb_maxpool2d_backward(engine, &gy_view, ties, 1, NULL, &kink.kink, &gx_view), TB_STATUS_INVALID_ARGUMENT,
          "tb_maxpool2d_backward", "newer version");
    kink.kink.struct_size = sizeof(tb_kink) - 8;
    FAILS(tb_maxpool2d_backward(engine, &gy_view, ties, 1, NULL, &kink.kink, &gx_view), TB_STATUS_INVALID_ARGUMENT,
          "tb_maxpool2d_backward", "struct_size");
    FAILS(tb_kink_init(&kink.kink, 8), TB_STATUS_INVALID_ARGUMENT, "tb_kink_init", "struct_size");

    OK(tb_engine_options_init(&options.options, sizeof options));
    options.options.device = TB_DEVICE_CPU;
    options.options.threads = 1;
    OK(tb_engine_create(&options.options, &other));
    memset(&info, 0xff, sizeof info);
    info.info.struct_size = sizeof info;
    OK(tb_engine_info(other, &info.info));
    CHECK(info.info.struct_size == sizeof info && info.info.threads == 1);
    info.info.struct_size = 0;
    FAILS(tb_engine_info(other, &info.info), TB_STATUS_INVALID_ARGUMENT, "tb_engine_info", "struct_size");
    OK(tb_engine_free(other));
    options.more = 1;
    FAILS(tb_engine_create(&options.options, &other), TB_STATUS_INVALID_ARGUMENT, "tb_engine_create", "newer version");
    CHECK(other == NULL);
}

int main(int argc, char **argv) {
    const char *device = argc > 1 ? argv[1] : "cpu";
    versions();
    engines(strcmp(device, "gpu") == 0 ? TB_DEVICE_GPU : strcmp(device, "auto") == 0 ? TB_DEVICE_AUTO : TB_DEVICE_CPU);
    maxpool();
    compositions();
    overlapping();
    relu();
    conv2d();
    linear();
    cross_entropy();
    sgd();
    empty();
    networks();
    dtypes();
    struct_sizes();
    OK(tb_engine_free(engine));
    return finish("abi_test");
}
