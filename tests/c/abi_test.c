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
#include "dlpack.h"

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
    tb_memory_use memory;
    tb_engine *other = NULL;
    memset(&info, 0xff, sizeof info);
    OK(tb_engine_options_init(&options, sizeof options));
    CHECK(options.struct_size == sizeof options);
    CHECK(options.device == TB_DEVICE_AUTO && options.threads == 0);
    CHECK(options.adapter == NULL && options.log == NULL && options.log_user_data == NULL);
    CHECK(options.memory_limit == 0);
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
    memory.struct_size = sizeof memory;
    OK(tb_engine_memory(engine, &memory));
    CHECK(memory.host_bytes <= memory.host_peak && memory.device_bytes <= memory.device_peak);
    CHECK(info.gpu || memory.device_peak == 0);

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
        {TB_JACOBIAN_BETA, 3, TB_COMPOSITION_FORWARD, {0, 2, 0, 0}},
        {TB_JACOBIAN_FIRST_COLUMN, 0, TB_COMPOSITION_EXACT, {0, 0, 2, 0}},
        {TB_JACOBIAN_ALL, 0, TB_COMPOSITION_EXACT, {0, 2, 2, 0}},
        {TB_JACOBIAN_SCALED, 0, TB_COMPOSITION_EXACT, {0, 1, 1, 0}},
    };
    tb_pool2d_options options;
    tb_kink kink;
    int64_t y_shape[4] = {0};
    size_t ties_size = 0, i;
    float y = 0, gy = 2, gx[9];
    uint8_t ties[9];
    tb_view x_view = in(x, x_shape, 4, TB_DTYPE_F32), gy_view = in(&gy, y_shape, 4, TB_DTYPE_F32);
    tb_view_mut y_view = out(&y, y_shape, 4, TB_DTYPE_F32), gx_view = out(gx, x_shape, 4, TB_DTYPE_F32);

    OK(tb_pool2d_options_init(&options, sizeof options));
    CHECK(options.kernel[0] == 2 && options.kernel[1] == 2 && options.stride[0] == 0 && options.padding[1] == 0);
    OK(tb_kink_init(&kink, sizeof kink));
    CHECK(kink.kind == TB_KINK_MAXPOOL && kink.jacobian == TB_JACOBIAN_NATIVE);
    CHECK(kink.composition == TB_COMPOSITION_EXACT && kink.beta == 0 && kink.alpha == 0 && kink.seed == 0);
    CHECK(kink.at_zero == 0);
    OK(tb_pool2d_output_shape(x_shape, &options, y_shape, &ties_size));
    CHECK(memcmp(y_shape, y_expected, sizeof y_shape) == 0 && ties_size == 1);
    OK(tb_pool2d_output_shape(x_shape, NULL, y_shape, NULL));
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

/* Four windows: a tie at 0, one at 5, a NaN, and a maximum that leads by a quarter of an ulp of f16. */
static void diagnosis(void) {
    static const int64_t x_shape[4] = {1, 1, 2, 8}, y_shape[4] = {1, 1, 1, 4}, short_shape[4] = {1, 1, 1, 3};
    static const double gy[4] = {0, 3, 1, 1};
    double x[16] = {0, 0, 5, 5, 0, 1, 1, 1 - 1.0 / 4096, -1, -2, 5, 1, 1, 1, 0.5, 0};
    const tb_view x_view = in(x, x_shape, 4, TB_DTYPE_F64), gy_view = in(gy, y_shape, 4, TB_DTYPE_F64);
    const tb_view short_view = in(gy, short_shape, 4, TB_DTYPE_F64), f32_view = in(gy, y_shape, 4, TB_DTYPE_F32);
    tb_pool2d_options options;
    tb_maxpool2d_diagnosis d;
    x[4] = NAN;
    d.struct_size = sizeof d;
    OK(tb_maxpool2d_diagnose(engine, &x_view, NULL, NULL, &d));
    CHECK(d.struct_size == sizeof d && d.windows == 4 && d.nan == 1 && d.untied == 1);
    CHECK(d.tied_at_zero == 1 && d.tied_elsewhere == 1 && d.alive == 2);
    CHECK(d.predicted_ties_f16 == 0.75 && d.predicted_ties_bf16 == 1 - 1.0 / 32 && d.predicted_ties_f32 == 0);
    OK(tb_maxpool2d_diagnose(engine, &x_view, &gy_view, NULL, &d));
    CHECK(d.windows == 4 && d.tied_at_zero == 1 && d.tied_elsewhere == 1 && d.alive == 1);
    /* Windows of a row each. */
    OK(tb_pool2d_options_init(&options, sizeof options));
    options.kernel[0] = 1;
    options.kernel[1] = 8;
    OK(tb_maxpool2d_diagnose(engine, &x_view, NULL, &options, &d));
    CHECK(d.windows == 2 && d.nan == 1 && d.untied == 1 && d.alive == 0);
    FAILS(tb_maxpool2d_diagnose(engine, &x_view, &short_view, NULL, &d), TB_STATUS_SHAPE_MISMATCH,
          "tb_maxpool2d_diagnose", "`gy`");
    FAILS(tb_maxpool2d_diagnose(engine, &x_view, &f32_view, NULL, &d), TB_STATUS_DTYPE_MISMATCH,
          "tb_maxpool2d_diagnose", "`gy`");
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
    kink.composition = TB_COMPOSITION_FORWARD;
    OK(tb_maxpool2d_forward(engine, &x_view, NULL, &kink, &y_view, &ties, 1));
    OK(tb_maxpool2d_backward(engine, &gy_view, &ties, 1, NULL, &kink, &gx_view));
    CHECK(y == a && gx[0] == 0.7f);
}

/* 3x3 windows with stride 2 and padding 1 on nine equal values: each window holds 4 of them and shares some. */
static void overlapping(void) {
    static const int64_t x_shape[4] = {1, 1, 3, 3};
    double x[9], y[4], gy[4] = {1, 1, 1, 1}, gx[9], sum = 0;
    int64_t y_shape[4];
    uint8_t ties[8];
    size_t ties_size, i;
    tb_pool2d_options options;
    tb_kink kink;
    tb_view x_view = in(x, x_shape, 4, TB_DTYPE_F64), gy_view = in(gy, y_shape, 4, TB_DTYPE_F64);
    tb_view_mut y_view = out(y, y_shape, 4, TB_DTYPE_F64), gx_view = out(gx, x_shape, 4, TB_DTYPE_F64);
    for (i = 0; i < 9; i++) x[i] = -5;
    OK(tb_pool2d_options_init(&options, sizeof options));
    options.kernel[0] = options.kernel[1] = 3;
    options.stride[0] = options.stride[1] = 2;
    options.padding[0] = options.padding[1] = 1;
    OK(tb_pool2d_output_shape(x_shape, &options, y_shape, &ties_size));
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
    CHECK(options.dilation[0] == 1 && options.dilation[1] == 1 && options.groups == 1 && options.kernel[0] == 0);
    options.stride[0] = options.stride[1] = 2;
    options.padding[0] = options.padding[1] = 1;
    options.kernel[0] = options.kernel[1] = 2; /* may be repeated, but not contradicted */
    OK(tb_conv2d_forward(engine, &x_view, &weight_view, NULL, &options, &y_view));
    CHECK(same(y, strided, 4));
    options.kernel[1] = 3;
    FAILS(tb_conv2d_forward(engine, &x_view, &weight_view, NULL, &options, &y_view), TB_STATUS_INVALID_ARGUMENT,
          "tb_conv2d_forward", "`options.kernel`");
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

/* Channel {1, 3, 1, 3}: mean 2, variance 1; with eps = 3 inv_std is 1/2. weight 2, bias 10. */
static void batchnorm(void) {
    static const int64_t shape[4] = {2, 1, 1, 2}, one[1] = {1};
    static const float x[4] = {1, 3, 1, 3}, gy[4] = {1, 0, 0, 0}, weight[1] = {2}, bias[1] = {10};
    static const float y_train[4] = {9, 11, 9, 11}, y_eval[4] = {11, 13, 11, 13};
    /* weight inv_std / 4 (4 gy - sum gy - xhat sum(gy xhat)), xhat = {-1/2, 1/2, -1/2, 1/2} */
    static const float gx_train[4] = {0.6875f, -0.1875f, -0.3125f, -0.1875f}, gx_eval[4] = {1, 0, 0, 0};
    float y[4], gx[4], mean[1], inv_std[1], gweight[1], gbias[1], running_mean[1] = {0}, running_var[1] = {1};
    int i;
    tb_batchnorm_options options;
    tb_view x_view = in(x, shape, 4, TB_DTYPE_F32), gy_view = in(gy, shape, 4, TB_DTYPE_F32);
    tb_view weight_view = in(weight, one, 1, TB_DTYPE_F32), bias_view = in(bias, one, 1, TB_DTYPE_F32);
    tb_view mean_view = in(mean, one, 1, TB_DTYPE_F32), inv_std_view = in(inv_std, one, 1, TB_DTYPE_F32);
    tb_view running_mean_view = in(running_mean, one, 1, TB_DTYPE_F32);
    tb_view running_var_view = in(running_var, one, 1, TB_DTYPE_F32);
    tb_view_mut y_out = out(y, shape, 4, TB_DTYPE_F32), gx_out = out(gx, shape, 4, TB_DTYPE_F32);
    tb_view_mut mean_out = out(mean, one, 1, TB_DTYPE_F32), inv_std_out = out(inv_std, one, 1, TB_DTYPE_F32);
    tb_view_mut gweight_out = out(gweight, one, 1, TB_DTYPE_F32), gbias_out = out(gbias, one, 1, TB_DTYPE_F32);
    tb_view_mut running_mean_out = out(running_mean, one, 1, TB_DTYPE_F32);
    tb_view_mut running_var_out = out(running_var, one, 1, TB_DTYPE_F32);
    OK(tb_batchnorm_options_init(&options, sizeof options));
    CHECK(options.eps == 1e-5 && options.momentum == 0.1);
    options.eps = 3;
    options.momentum = 0.5;
    OK(tb_batchnorm_forward(engine, &x_view, &weight_view, &bias_view, &options, &y_out, &mean_out, &inv_std_out, NULL,
                            NULL));
    CHECK(mean[0] == 2 && near(inv_std[0], 0.5, 1e-6) && running_mean[0] == 0);
    for (i = 0; i < 4; i++) CHECK(near(y[i], y_train[i], 1e-5));
    OK(tb_batchnorm_forward(engine, &x_view, &weight_view, &bias_view, &options, &y_out, &mean_out, &inv_std_out,
                            &running_mean_out, &running_var_out));
    /* Half of the old, half of the new; the variance is the unbiased 4/3. */
    CHECK(near(running_mean[0], 1, 1e-6) && near(running_var[0], 0.5 + 2.0 / 3, 1e-6));
    OK(tb_batchnorm_backward(engine, &x_view, &gy_view, &weight_view, &mean_view, &inv_std_view, &gx_out, &gweight_out,
                             &gbias_out));
    for (i = 0; i < 4; i++) CHECK(near(gx[i], gx_train[i], 1e-6));
    CHECK(near(gweight[0], -0.5, 1e-6) && gbias[0] == 1);

    running_mean[0] = 0;
    running_var[0] = 1;
    OK(tb_batchnorm_inference(engine, &x_view, &weight_view, &bias_view, &running_mean_view, &running_var_view,
                              &options, &y_out));
    for (i = 0; i < 4; i++) CHECK(near(y[i], y_eval[i], 1e-5));
    OK(tb_batchnorm_inference_backward(engine, &x_view, &gy_view, &weight_view, &running_mean_view, &running_var_view,
                                       &options, &gx_out, &gweight_out, &gbias_out));
    for (i = 0; i < 4; i++) CHECK(near(gx[i], gx_eval[i], 1e-6));
    CHECK(near(gweight[0], 0.5, 1e-6) && gbias[0] == 1);

    FAILS(tb_batchnorm_forward(engine, &x_view, &weight_view, &bias_view, NULL, &y_out, &mean_out, &inv_std_out,
                               &running_mean_out, NULL),
          TB_STATUS_NULL_POINTER, "tb_batchnorm_forward", "`running_var`");
}

/* A window {3, 4, 0, 0} and a window of zeros. */
static void norm_pool2d(void) {
    static const int64_t x_shape[4] = {1, 1, 2, 4}, y_shape[4] = {1, 1, 1, 2};
    static const float x[8] = {3, 4, 0, 0, 0, 0, 0, 0}, gy[2] = {10, 4};
    static const float flat[8] = {6, 8, 0, 0, 0, 0, 0, 0}, at_one[8] = {6, 8, 4, 4, 0, 0, 4, 4};
    float y[2], gx[8];
    int i;
    tb_kink kink;
    tb_view x_view = in(x, x_shape, 4, TB_DTYPE_F32), gy_view = in(gy, y_shape, 4, TB_DTYPE_F32);
    tb_view y_view = in(y, y_shape, 4, TB_DTYPE_F32);
    tb_view_mut y_out = out(y, y_shape, 4, TB_DTYPE_F32), gx_out = out(gx, x_shape, 4, TB_DTYPE_F32);
    OK(tb_norm_pool2d_forward(engine, &x_view, NULL, &y_out));
    CHECK(near(y[0], 5, 1e-6) && y[1] == 0);
    OK(tb_norm_pool2d_backward(engine, &x_view, &y_view, &gy_view, NULL, NULL, &gx_out));
    for (i = 0; i < 8; i++) CHECK(near(gx[i], flat[i], 1e-5));
    OK(tb_kink_init(&kink, sizeof kink));
    kink.kind = TB_KINK_NORM_POOL;
    kink.at_zero = 1;
    OK(tb_norm_pool2d_backward(engine, &x_view, &y_view, &gy_view, NULL, &kink, &gx_out));
    for (i = 0; i < 8; i++) CHECK(near(gx[i], at_one[i], 1e-5));
}

static void avgpool2d(void) {
    static const int64_t square[4] = {1, 1, 2, 2}, one[4] = {1, 1, 1, 1};
    static const float x[4] = {1, 2, 3, 6}, gy[1] = {4}, ones[4] = {1, 1, 1, 1};
    float y[4], gx[4];
    tb_pool2d_options options;
    tb_view x_view = in(x, square, 4, TB_DTYPE_F32), gy_view = in(gy, one, 4, TB_DTYPE_F32);
    tb_view_mut y_out = out(y, one, 4, TB_DTYPE_F32), gx_out = out(gx, square, 4, TB_DTYPE_F32);
    tb_view_mut padded_out = out(y, square, 4, TB_DTYPE_F32);
    OK(tb_avgpool2d_forward(engine, &x_view, NULL, &y_out));
    CHECK(y[0] == 3);
    OK(tb_avgpool2d_backward(engine, &gy_view, NULL, &gx_out));
    CHECK(same(gx, ones, 4));
    OK(tb_adaptive_avgpool2d_forward(engine, &x_view, &y_out));
    CHECK(y[0] == 3);
    OK(tb_adaptive_avgpool2d_backward(engine, &gy_view, &gx_out));
    CHECK(same(gx, ones, 4));
    OK(tb_pool2d_options_init(&options, sizeof options));
    options.padding[0] = options.padding[1] = 1; /* counts as zeros */
    OK(tb_avgpool2d_forward(engine, &x_view, &options, &padded_out));
    CHECK(y[0] == 0.25f && y[1] == 0.5f && y[2] == 0.75f && y[3] == 1.5f);
}

static void add(void) {
    static const int64_t shape[1] = {3};
    static const double a[3] = {1, 2, 3}, b[3] = {10, 20, -3};
    double y[3];
    tb_view a_view = in(a, shape, 1, TB_DTYPE_F64), b_view = in(b, shape, 1, TB_DTYPE_F64);
    tb_view_mut y_out = out(y, shape, 1, TB_DTYPE_F64);
    OK(tb_add(engine, &a_view, &b_view, &y_out));
    CHECK(y[0] == 11 && y[1] == 22 && y[2] == 0);
}

static void concat(void) {
    static const int64_t narrow[2] = {2, 1}, wide[2] = {2, 2}, whole[2] = {2, 3};
    static const float a[2] = {1, 4}, b[4] = {2, 3, 5, 6}, counted[6] = {1, 2, 3, 4, 5, 6};
    float y[6], ga[2], gb[4];
    tb_view parts[2], gy;
    tb_view_mut gradients[2], y_out = out(y, whole, 2, TB_DTYPE_F32);
    parts[0] = in(a, narrow, 2, TB_DTYPE_F32);
    parts[1] = in(b, wide, 2, TB_DTYPE_F32);
    OK(tb_concat(engine, parts, 2, &y_out));
    CHECK(same(y, counted, 6));
    gy = in(counted, whole, 2, TB_DTYPE_F32);
    gradients[0] = out(ga, narrow, 2, TB_DTYPE_F32);
    gradients[1] = out(gb, wide, 2, TB_DTYPE_F32);
    OK(tb_concat_backward(engine, &gy, gradients, 2));
    CHECK(same(ga, a, 2) && same(gb, b, 4));
    parts[1].shape = narrow;
    FAILS(tb_concat(engine, parts, 2, &y_out), TB_STATUS_SHAPE_MISMATCH, "tb_concat", "`y`");
    parts[1].dtype = TB_DTYPE_F64;
    FAILS(tb_concat(engine, parts, 2, &y_out), TB_STATUS_DTYPE_MISMATCH, "tb_concat", "`inputs[1]`");
}

static void dropout(void) {
    enum { COUNT = 1000 };
    static const int64_t shape[1] = {COUNT};
    static float ones[COUNT], first[COUNT], again[COUNT];
    int i, dropped = 0;
    tb_view x_view = in(ones, shape, 1, TB_DTYPE_F32);
    tb_view_mut first_out = out(first, shape, 1, TB_DTYPE_F32), again_out = out(again, shape, 1, TB_DTYPE_F32);
    for (i = 0; i < COUNT; i++) ones[i] = 1;
    OK(tb_dropout_forward(engine, &x_view, 0.5, 7, 3, &first_out));
    for (i = 0; i < COUNT; i++) {
        CHECK(first[i] == 0 || first[i] == 2);
        dropped += first[i] == 0;
    }
    CHECK(dropped > 400 && dropped < 600);
    OK(tb_dropout_backward(engine, &x_view, 0.5, 7, 3, &again_out));
    CHECK(same(first, again, COUNT));
    OK(tb_dropout_forward(engine, &x_view, 0.5, 7, 4, &again_out));
    CHECK(!same(first, again, COUNT));
    OK(tb_dropout_forward(engine, &x_view, 0, 7, 3, &again_out));
    CHECK(same(ones, again, COUNT));
}

/* bf16 has 7 bits of fraction: between 1 and 2 its numbers are 1/128 apart. */
static void quantize(void) {
    static const int64_t shape[1] = {4};
    static const float exact[4] = {1 + 1.0f / 256, 1 + 3.0f / 256, -1 - 1.1f / 256, 1e30f};
    float x[4];
    int i, up = 0;
    tb_view_mut x_out = out(x, shape, 1, TB_DTYPE_F32);
    memcpy(x, exact, sizeof x);
    OK(tb_quantize(engine, "bf16", 0, &x_out));
    CHECK(x[0] == 1 && x[1] == 1 + 4.0f / 256 && x[2] == -1 - 2.0f / 256 && near(x[3], 1e30, 1e28));
    memcpy(x, exact, sizeof x);
    OK(tb_quantize(engine, "e4m3", 0, &x_out));
    CHECK(x[0] == 1 && isnan(x[3]));
    for (i = 0; i < 64; i++) {
        memcpy(x, exact, sizeof x);
        OK(tb_quantize(engine, "bf16:stochastic(7)", (uint64_t)i, &x_out));
        CHECK(x[0] == 1 || x[0] == 1 + 2.0f / 256);
        up += x[0] != 1;
    }
    CHECK(up > 12 && up < 52);
    FAILS(tb_quantize(engine, "f16", 0, &x_out), TB_STATUS_INVALID_ARGUMENT, "tb_quantize", "`format`");
    FAILS(tb_quantize(engine, "e11m52", 0, &x_out), TB_STATUS_DTYPE_MISMATCH, "tb_quantize", "`x`");
}

/* One parameter 1 with gradient 1/2, in f64. */
static void optimizers(void) {
    static const int64_t shape[1] = {1};
    double param = 1, grad = 0.5, buffer = NAN, average = 0, square = 0, largest = 0;
    tb_optimizer_options options;
    tb_parameter_group group;
    tb_view grad_view = in(&grad, shape, 1, TB_DTYPE_F64);
    tb_view_mut param_out = out(&param, shape, 1, TB_DTYPE_F64), buffer_out = out(&buffer, shape, 1, TB_DTYPE_F64);
    tb_view_mut average_out = out(&average, shape, 1, TB_DTYPE_F64), square_out = out(&square, shape, 1, TB_DTYPE_F64);
    tb_view_mut largest_out = out(&largest, shape, 1, TB_DTYPE_F64);
    OK(tb_parameter_group_init(&group, sizeof group));
    CHECK(group.names == NULL && group.learning_rate_factor == 1 && group.weight_decay < 0);

    OK(tb_optimizer_options_init(&options, sizeof options, TB_ALGORITHM_SGD));
    CHECK(options.algorithm == TB_ALGORITHM_SGD && options.learning_rate == 0.01 && options.momentum == 0);
    CHECK(options.weight_decay == 0 && options.dampening == 0 && options.nesterov == 0);
    CHECK(options.groups == NULL && options.group_count == 0 && options.clip_norm == 0 && options.grad_scaler == 0);
    CHECK(options.loss_scale == 65536 && options.growth_factor == 2 && options.backoff_factor == 0.5);
    CHECK(options.growth_interval == 2000);
    OK(tb_sgd_step(engine, NULL, 1, &grad_view, &param_out, NULL));
    CHECK(near(param, 1 - 0.01 * 0.5, 1e-15));
    param = 1;
    options.learning_rate = 0.1;
    options.momentum = 0.9;
    options.weight_decay = 0.1;
    OK(tb_sgd_step(engine, &options, 1, &grad_view, &param_out, &buffer_out));
    CHECK(near(buffer, 0.6, 1e-15) && near(param, 0.94, 1e-15));
    OK(tb_sgd_step(engine, &options, 0, &grad_view, &param_out, &buffer_out));
    CHECK(near(buffer, 1.134, 1e-15) && near(param, 0.8266, 1e-15));
    options.weight_decay = 0;
    options.dampening = 0.5; /* 0.9 * 1.134 + 0.5 * 0.5 */
    OK(tb_sgd_step(engine, &options, 0, &grad_view, &param_out, &buffer_out));
    CHECK(near(buffer, 1.2706, 1e-15) && near(param, 0.8266 - 0.12706, 1e-15));
    FAILS(tb_sgd_step(engine, &options, 0, &grad_view, &param_out, NULL), TB_STATUS_INVALID_ARGUMENT, "tb_sgd_step",
          "momentum_buffer");

    /* The first step of Adam is the learning rate long, whatever the gradient. */
    OK(tb_optimizer_options_init(&options, sizeof options, TB_ALGORITHM_ADAM));
    CHECK(options.learning_rate == 0.001 && options.betas[0] == 0.9 && options.betas[1] == 0.999);
    CHECK(options.eps == 1e-8 && options.weight_decay == 0 && options.amsgrad == 0);
    param = 1;
    OK(tb_adam_step(engine, NULL, 1, &grad_view, &param_out, &average_out, &square_out, NULL));
    CHECK(near(param, 0.999, 1e-9) && near(average, 0.05, 1e-15) && near(square, 0.00025, 1e-15));
    param = 1;
    average = square = 0;
    options.learning_rate = 0.1;
    options.amsgrad = 1;
    OK(tb_adam_step(engine, &options, 1, &grad_view, &param_out, &average_out, &square_out, &largest_out));
    CHECK(near(param, 0.9, 1e-8) && largest == square);
    FAILS(tb_adam_step(engine, &options, 2, &grad_view, &param_out, &average_out, &square_out, NULL),
          TB_STATUS_INVALID_ARGUMENT, "tb_adam_step", "max_exp_avg_sq");
    OK(tb_optimizer_options_init(&options, sizeof options, TB_ALGORITHM_ADAMW));
    CHECK(options.weight_decay == 0.01 && options.learning_rate == 0.001);
    param = 1;
    average = square = 0;
    options.learning_rate = 0.1;
    options.weight_decay = 0.5; /* shrinks the parameter by 0.1 * 0.5 first */
    OK(tb_adam_step(engine, &options, 1, &grad_view, &param_out, &average_out, &square_out, NULL));
    CHECK(near(param, 0.95 - 0.1, 1e-8));

    OK(tb_optimizer_options_init(&options, sizeof options, TB_ALGORITHM_RMS_PROP));
    CHECK(options.learning_rate == 0.01 && options.alpha == 0.99 && options.eps == 1e-8 && options.centered == 0);
    param = 1;
    square = 0;
    OK(tb_rms_prop_step(engine, NULL, &grad_view, &param_out, &square_out, NULL, NULL));
    CHECK(near(square, 0.0025, 1e-15) && near(param, 1 - 0.01 * 0.5 / 0.05, 1e-7));
    param = 1;
    square = average = buffer = 0;
    options.momentum = 0.9;
    options.centered = 1;
    OK(tb_rms_prop_step(engine, &options, &grad_view, &param_out, &square_out, &buffer_out, &average_out));
    CHECK(near(average, 0.005, 1e-15) && near(buffer, 0.5 / sqrt(0.0025 - 0.000025), 1e-5));
    CHECK(near(param, 1 - 0.01 * buffer, 1e-15));
    FAILS(tb_sgd_step(engine, &options, 1, &grad_view, &param_out, NULL), TB_STATUS_INVALID_ARGUMENT, "tb_sgd_step",
          "`options.algorithm`");
}

static void schedules(void) {
    static const uint64_t milestones[2] = {3, 5};
    double rate;
    tb_schedule schedule;
    OK(tb_schedule_init(&schedule, sizeof schedule));
    CHECK(schedule.kind == TB_SCHEDULE_CONSTANT && schedule.gamma == 0.1 && schedule.milestones == NULL);
    OK(tb_schedule_learning_rate(&schedule, 0.5, 100, &rate));
    CHECK(rate == 0.5);
    schedule.gamma = 0.5;
    schedule.kind = TB_SCHEDULE_STEP;
    schedule.step_size = 2;
    OK(tb_schedule_learning_rate(&schedule, 1, 5, &rate));
    CHECK(rate == 0.25);
    schedule.kind = TB_SCHEDULE_MULTI_STEP;
    schedule.milestones = milestones;
    schedule.milestone_count = 2;
    OK(tb_schedule_learning_rate(&schedule, 1, 4, &rate));
    CHECK(rate == 0.5);
    OK(tb_schedule_learning_rate(&schedule, 1, 5, &rate));
    CHECK(rate == 0.25);
    schedule.kind = TB_SCHEDULE_EXPONENTIAL;
    OK(tb_schedule_learning_rate(&schedule, 1, 3, &rate));
    CHECK(rate == 0.125);
    schedule.kind = TB_SCHEDULE_COSINE;
    schedule.t_max = 200;
    schedule.eta_min = 0.001;
    OK(tb_schedule_learning_rate(&schedule, 0.1, 100, &rate));
    CHECK(near(rate, 0.0505, 1e-15));
    schedule.t_max = UINT64_MAX;
    OK(tb_schedule_learning_rate(&schedule, 0.1, 0, &rate));
    CHECK(rate == 0.1);
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
    tb_optimizer_options sgd_options;
    tb_comparison comparison;
    tb_choice choice = {0, NULL, NULL};
    tb_kink native, beta, alpha, present;
    tb_step_report report;
    tb_view x_view = in(x, x_shape, 4, TB_DTYPE_F32), changed_view = in(changed, bias_shape, 1, TB_DTYPE_F32);
    tb_view_mut logits_view = out(logits, logits_shape, 2, TB_DTYPE_F32);
    tb_view_mut bias_view = out(bias, bias_shape, 1, TB_DTYPE_F32);
    tb_view_mut first_view = out(first, weight_shape, 4, TB_DTYPE_F32);
    tb_view_mut second_view = out(second, weight_shape, 4, TB_DTYPE_F32);
    pictures(x, labels);

    OK(tb_network_options_init(&options, sizeof options));
    CHECK(options.precision == NULL && options.initialization == NULL && options.seed == 0);
    OK(tb_network_create(engine, "lenet5", NULL, &options, &network));
    info.struct_size = sizeof info;
    OK(tb_network_info(network, &info));
    CHECK(info.dtype == TB_DTYPE_F32 && info.parameter_count == 10 && info.layer_count == 13 && info.classes == 10);
    CHECK(info.parameter_dtype == TB_DTYPE_F32 && info.buffer_count == 0 && strcmp(info.precision, "f32") == 0);
    CHECK(info.census_count == 4 + 2 * 5);
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
    choice.kink = &beta;
    OK(tb_network_compare(network, &x_view, labels, BATCH, &choice, 1, &comparison, 1, NULL, 0));
    CHECK(comparison.l1 >= sum && comparison.l2 > 0 && comparison.linf > 0 && comparison.linf <= comparison.l1);
    CHECK(comparison.differing > 0 && comparison.shared_forward == 1);
    CHECK(comparison.losses[0] == loss && comparison.losses[1] == loss);
    choice.layer = "features.2";
    choice.kink = &native;
    OK(tb_network_compare(network, &x_view, labels, BATCH, &choice, 1, &comparison, 1, NULL, 0));
    CHECK(comparison.l1 == 0 && comparison.differing == 0);
    beta.composition = TB_COMPOSITION_COUPLED;
    choice.layer = NULL;
    choice.kink = &beta;
    OK(tb_network_compare(network, &x_view, labels, BATCH, &choice, 1, &comparison, 1, NULL, 0));
    CHECK(comparison.shared_forward == 0 && comparison.losses[0] == loss);
    OK(tb_network_loss_and_gradients(network, &x_view, labels, BATCH, &loss));
    OK(tb_network_set_kink(network, "features.6", &beta));
    present.struct_size = sizeof present;
    OK(tb_network_kink(network, "features.6", &present));
    CHECK(present.kind == TB_KINK_MAXPOOL && present.jacobian == TB_JACOBIAN_BETA && present.beta == 100);
    CHECK(present.composition == TB_COMPOSITION_COUPLED);
    FAILS(tb_network_backward(network), TB_STATUS_UNSUPPORTED, "tb_network_backward", "coupled");
    OK(tb_network_set_kink(network, "features.6", &native));
    OK(tb_network_backward(network));

    OK(tb_kink_init(&alpha, sizeof alpha));
    alpha.kind = TB_KINK_RELU;
    alpha.alpha = 1;
    choice.layer = "features.1";
    choice.kink = &alpha;
    OK(tb_network_compare(network, &x_view, labels, BATCH, &choice, 1, &comparison, 1, NULL, 0));
    OK(tb_network_kink(network, "features.1", &present));
    CHECK(present.kind == TB_KINK_RELU && present.alpha == 0);
    FAILS(tb_network_set_kink(network, "features.2", &alpha), TB_STATUS_INVALID_ARGUMENT, "tb_network_set_kink",
          "features.2");
    FAILS(tb_network_set_kink(network, "nowhere", &alpha), TB_STATUS_NOT_FOUND, "tb_network_set_kink", "nowhere");

    /* The same steps by hand and in one call; both lower the loss. */
    OK(tb_network_info(network, &info));
    bytes = info.allocated_bytes;
    OK(tb_optimizer_options_init(&sgd_options, sizeof sgd_options, TB_ALGORITHM_SGD));
    sgd_options.learning_rate = 0.01;
    sgd_options.momentum = 0.9;
    OK(tb_optimizer_create(network, &sgd_options, &optimizer));
    OK(tb_network_loss_and_gradients(network, &x_view, labels, BATCH, &before));
    report.struct_size = sizeof report;
    OK(tb_optimizer_step(optimizer, &report));
    CHECK(report.loss == before && isnan(report.gradient_norm) && report.loss_scale == 1 && report.skipped == 0);
    OK(tb_network_loss_and_gradients(network, &x_view, labels, BATCH, &loss));
    CHECK(loss < before);
    OK(tb_optimizer_step(optimizer, NULL));
    OK(tb_optimizer_set_learning_rate(optimizer, 0.02));
    for (i = 0; i < 5; i++) {
        OK(tb_optimizer_train_step(optimizer, &x_view, labels, BATCH, i % 2 ? NULL : &report));
    }
    CHECK(report.loss < loss);
    OK(tb_optimizer_set_learning_rate(optimizer, 0));
    OK(tb_optimizer_train_step(optimizer, &x_view, labels, BATCH, &report));
    before = report.loss;
    OK(tb_optimizer_train_step(optimizer, &x_view, labels, BATCH, &report));
    CHECK(before == report.loss);
    OK(tb_optimizer_free(optimizer));
    OK(tb_optimizer_free(NULL));
    FAILS(tb_optimizer_step(optimizer, NULL), TB_STATUS_INVALID_HANDLE, "tb_optimizer_step", "`optimizer`");
    OK(tb_network_info(network, &info));
    CHECK(info.allocated_bytes == bytes);

    /* An optimizer keeps its network. */
    OK(tb_optimizer_create(network, NULL, &optimizer));
    OK(tb_network_free(network));
    FAILS(tb_network_info(network, &info), TB_STATUS_INVALID_HANDLE, "tb_network_info", "`network`");
    OK(tb_optimizer_train_step(optimizer, &x_view, labels, BATCH, NULL));
    OK(tb_optimizer_free(optimizer));
    OK(tb_network_free(NULL));
}

/* The same seed gives the same weights, each rounded once, in f16, f32 and f64. */
static void dtypes(void) {
    static const int64_t shape[1] = {6};
    static const tb_dtype all[3] = {TB_DTYPE_F16, TB_DTYPE_F32, TB_DTYPE_F64};
    static const char *precisions[3] = {"f16", "f32", "f64"};
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
        options.precision = precisions[i];
        OK(tb_network_create(engine, "lenet5", NULL, &options, &network));
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

/* The bits of a number that binary16 holds exactly. */
static uint16_t half_bits(float value) {
    int exponent;
    double fraction = frexp(fabs((double)value), &exponent);
    if (value == 0) return 0;
    return (uint16_t)((signbit(value) ? 0x8000 : 0) | (exponent + 14) << 10 | (int)(fraction * 2048 - 1024));
}

/* Every kind of layer: convolutions, plain and by groups, a residual sum, a concatenation, three poolings. */
static tb_graph *own_graph(void) {
    static const int64_t input[3] = {1, 28, 28};
    tb_graph *graph = NULL;
    tb_conv2d_options conv;
    tb_pool2d_options pool;
    tb_batchnorm_options norm;
    tb_node x, y, both[2];
    OK(tb_conv2d_options_init(&conv, sizeof conv));
    OK(tb_pool2d_options_init(&pool, sizeof pool));
    OK(tb_batchnorm_options_init(&norm, sizeof norm));
    norm.momentum = 0.5;
    OK(tb_graph_create(input, &graph));
    conv.kernel[0] = conv.kernel[1] = 3;
    conv.padding[0] = conv.padding[1] = 1;
    OK(tb_graph_conv2d(graph, "conv1", TB_GRAPH_INPUT, 4, &conv, 0, &x));
    CHECK(x == 1);
    OK(tb_graph_batchnorm(graph, "norm1", x, &norm, &x));
    OK(tb_graph_relu(graph, "relu1", x, &x));
    OK(tb_graph_maxpool2d(graph, "pool1", x, NULL, &x));
    conv.groups = 4;
    OK(tb_graph_conv2d(graph, "conv2", x, 4, &conv, 1, &y));
    OK(tb_graph_add(graph, "sum", x, y, &y));
    both[0] = x;
    both[1] = y;
    OK(tb_graph_concat(graph, "both", both, 2, &x));
    OK(tb_graph_norm_pool2d(graph, "pool2", x, NULL, &x));
    OK(tb_graph_adaptive_avgpool2d(graph, "means", x, &y));
    OK(tb_graph_flatten(graph, "flat_means", y, &y));
    pool.kernel[0] = pool.kernel[1] = 3;
    pool.stride[0] = pool.stride[1] = 2;
    pool.padding[0] = pool.padding[1] = 1;
    OK(tb_graph_avgpool2d(graph, "pool3", x, &pool, &x));
    OK(tb_graph_flatten(graph, "flatten", x, &x));
    both[0] = x;
    both[1] = y;
    OK(tb_graph_concat(graph, "features", both, 2, &x));
    OK(tb_graph_dropout(graph, "dropout", x, 0.05, &x));
    OK(tb_graph_linear(graph, "head", x, 10, 1, NULL));
    return graph;
}

static void graphs(void) {
    static const char *kinds[] = {"input",     "conv2d",      "batchnorm", "relu",    "maxpool2d", "conv2d", "add",
                                  "concat",    "norm_pool2d", "avgpool2d", "flatten", "avgpool2d", "flatten", "concat",
                                  "dropout",   "linear"};
    static const int64_t wrong[3] = {1, 0, 28};
    tb_graph *graph = own_graph(), *other = NULL;
    tb_graph_properties info;
    tb_tensor_properties layer;
    tb_zoo_options zoo;
    tb_conv2d_options conv;
    tb_node node = 77;
    size_t i;
    info.struct_size = sizeof info;
    layer.struct_size = sizeof layer;
    OK(tb_graph_info(graph, &info));
    CHECK(info.layer_count == sizeof kinds / sizeof *kinds);
    CHECK(info.input_shape[0] == 1 && info.input_shape[1] == 28 && info.input_shape[2] == 28);
    for (i = 0; i < info.layer_count; i++) {
        OK(tb_graph_layer_info(graph, i, &layer));
        CHECK(strcmp(layer.kind, kinds[i]) == 0);
    }
    OK(tb_graph_layer_info(graph, 8, &layer));
    CHECK(strcmp(layer.name, "pool2") == 0 && layer.rank == 3);
    CHECK(layer.shape[0] == 8 && layer.shape[1] == 7 && layer.shape[2] == 7);
    OK(tb_graph_layer_info(graph, 13, &layer));
    CHECK(layer.rank == 1 && layer.shape[0] == 8 * 4 * 4 + 8);

    /* Errors name the layer, and add none. */
    OK(tb_conv2d_options_init(&conv, sizeof conv));
    FAILS(tb_graph_conv2d(graph, "no_kernel", TB_GRAPH_INPUT, 4, &conv, 1, &node), TB_STATUS_INVALID_ARGUMENT,
          "tb_graph_conv2d", "no_kernel");
    conv.kernel[0] = conv.kernel[1] = 29;
    FAILS(tb_graph_conv2d(graph, "too_large", TB_GRAPH_INPUT, 4, &conv, 1, &node), TB_STATUS_INVALID_ARGUMENT,
          "tb_graph_conv2d", "too_large");
    FAILS(tb_graph_linear(graph, "not_flat", TB_GRAPH_INPUT, 4, 1, &node), TB_STATUS_SHAPE_MISMATCH, "tb_graph_linear",
          "not_flat");
    FAILS(tb_graph_add(graph, "unequal", TB_GRAPH_INPUT, 1, &node), TB_STATUS_SHAPE_MISMATCH, "tb_graph_add",
          "unequal");
    FAILS(tb_graph_relu(graph, "conv1", TB_GRAPH_INPUT, &node), TB_STATUS_INVALID_ARGUMENT, "tb_graph_relu", "conv1");
    FAILS(tb_graph_relu(graph, "nowhere", 16, &node), TB_STATUS_INVALID_ARGUMENT, "tb_graph_relu", "nowhere");
    FAILS(tb_graph_create(wrong, &other), TB_STATUS_INVALID_ARGUMENT, "tb_graph_create", "`input_shape`");
    CHECK(node == 77 && other == NULL);
    OK(tb_graph_info(graph, &info));
    CHECK(info.layer_count == sizeof kinds / sizeof *kinds);
    OK(tb_graph_free(graph));
    OK(tb_graph_free(NULL));
    FAILS(tb_graph_info(graph, &info), TB_STATUS_INVALID_HANDLE, "tb_graph_info", "`graph`");

    OK(tb_zoo_options_init(&zoo, sizeof zoo));
    CHECK(zoo.classes == 10 && zoo.batch_norm == 0 && zoo.base_width == 64 && zoo.hidden[0] == 120);
    CHECK(zoo.hidden[1] == 84 && zoo.input_shape[0] == 0 && zoo.variant == NULL);
    zoo.classes = 7;
    zoo.batch_norm = 1;
    zoo.base_width = 4;
    zoo.variant = "imagenet";
    zoo.input_shape[0] = 3;
    zoo.input_shape[1] = zoo.input_shape[2] = 64;
    OK(tb_graph_from_zoo("resnet18", &zoo, &graph));
    OK(tb_graph_info(graph, &info));
    CHECK(info.input_shape[0] == 3 && info.input_shape[2] == 64 && info.layer_count > 50);
    OK(tb_graph_layer_info(graph, info.layer_count - 1, &layer));
    CHECK(strcmp(layer.name, "fc") == 0 && layer.shape[0] == 7);
    OK(tb_graph_free(graph));
    OK(tb_graph_from_zoo("lenet5", NULL, &graph));
    OK(tb_graph_info(graph, &info));
    CHECK(info.layer_count == 13);
    OK(tb_graph_free(graph));
    FAILS(tb_graph_from_zoo("lenet6", NULL, &graph), TB_STATUS_NOT_FOUND, "tb_graph_from_zoo", "lenet6");
    zoo.variant = "mnist";
    FAILS(tb_graph_from_zoo("resnet18", &zoo, &graph), TB_STATUS_INVALID_ARGUMENT, "tb_graph_from_zoo", "variant");
}

/* A graph comes back from its description. */
static void descriptions(void) {
    static char text[4096], again[4096], cut[9];
    tb_graph *graph = own_graph(), *other = NULL;
    tb_graph_properties info;
    size_t size = 0;
    info.struct_size = sizeof info;
    OK(tb_graph_to_json(graph, NULL, 0, &size));
    CHECK(size > 100 && size <= sizeof text);
    OK(tb_graph_to_json(graph, text, sizeof text, &size));
    CHECK(size == strlen(text) + 1 && strstr(text, "\"pool1\"") != NULL);
    OK(tb_graph_from_json(text, &other));
    OK(tb_graph_info(other, &info));
    CHECK(info.layer_count == 16 && info.input_shape[2] == 28);
    OK(tb_graph_to_json(other, again, sizeof again, &size));
    CHECK(strcmp(text, again) == 0);
    OK(tb_graph_to_json(other, cut, sizeof cut, &size));
    CHECK(size == strlen(text) + 1 && strlen(cut) == 8 && strncmp(cut, text, 8) == 0);
    OK(tb_graph_free(graph));
    OK(tb_graph_free(other));
    FAILS(tb_graph_from_json("{}", &other), TB_STATUS_INVALID_ARGUMENT, "tb_graph_from_json", "`description`");
    CHECK(other == NULL);
    FAILS(tb_graph_from_json("{\"input\": [1, 4, 4], \"layers\": [{\"name\": \"a\", \"type\": \"gelu\"}]}", &other),
          TB_STATUS_INVALID_ARGUMENT, "tb_graph_from_json", "layer a");
    FAILS(tb_graph_from_json(
              "{\"input\": [1, 4, 4], \"layers\": [{\"name\": \"a\", \"type\": \"relu\", \"inputs\": [\"b\"]}]}", &other),
          TB_STATUS_NOT_FOUND, "tb_graph_from_json", "`b`");
}

static void read_gradient(tb_network *network, const char *name, float *values, const int64_t *shape, int32_t rank) {
    tb_view_mut view = out(values, shape, rank, TB_DTYPE_F32);
    OK(tb_network_read_gradient(network, name, &view));
}

/* A network of one's own: buffers, trained in three precisions, norms, several alternatives at once. */
static void own_networks(void) {
    enum { PARAMETERS = 7, ALTERNATIVES = 3 };
    static float x[BATCH * PIXELS];
    static uint16_t half_x[BATCH * PIXELS];
    static const int64_t x_shape[4] = {BATCH, 1, 28, 28}, four[1] = {4}, conv1[4] = {4, 1, 3, 3};
    static const int64_t head[2] = {10, 136}, activation[4] = {BATCH, 4, 28, 28};
    static float activations[BATCH * 4 * PIXELS], gradient[1360];
    static const char *precisions[] = {"f32", "mixed", "bf16:stochastic(3)"};
    static const char *buffers[2] = {"norm1.running_mean", "norm1.running_var"};
    int64_t labels[BATCH];
    size_t i, k;
    double first, loss, sum;
    float mean[4], var[4], fresh[4];
    tb_graph *graph = own_graph();
    tb_network *network = NULL;
    tb_optimizer *optimizer = NULL;
    tb_network_options options;
    tb_optimizer_options adam;
    tb_parameter_group groups[2];
    struct larger_group {
        tb_parameter_group group;
        uint64_t more;
    } larger[2];
    tb_network_properties info;
    tb_tensor_properties tensor;
    tb_optimizer_properties state;
    tb_step_report report;
    tb_memory_plan plan, inference;
    tb_norms norms[PARAMETERS];
    tb_comparison comparisons[ALTERNATIVES], alone;
    struct newer_comparison {
        tb_comparison comparison;
        uint64_t more[2];
    } newer[ALTERNATIVES];
    tb_difference differences[ALTERNATIVES * PARAMETERS];
    tb_kink beta, alpha, at_zero;
    tb_choice choices[4] = {{0, NULL, &beta}, {1, "relu1", &alpha}, {2, NULL, &beta}, {2, "pool2", &at_zero}};
    tb_view x_view = in(x, x_shape, 4, TB_DTYPE_F32), half_view = in(half_x, x_shape, 4, TB_DTYPE_F16);
    tb_view mean_view = in(fresh, four, 1, TB_DTYPE_F32);
    tb_view_mut mean_out = out(mean, four, 1, TB_DTYPE_F32), var_out = out(var, four, 1, TB_DTYPE_F32);
    tb_view_mut activation_out = out(activations, activation, 4, TB_DTYPE_F32);
    pictures(x, labels);
    for (i = 0; i < BATCH * PIXELS; i++) half_x[i] = half_bits(x[i]);
    info.struct_size = sizeof info;
    tensor.struct_size = sizeof tensor;
    state.struct_size = sizeof state;
    report.struct_size = sizeof report;
    OK(tb_network_options_init(&options, sizeof options));
    options.initialization = "kaiming_normal_fan_in";
    options.seed = 5;

    /* Each precision trains, with decay of the weights alone, a slower head, and clipping. */
    OK(tb_optimizer_options_init(&adam, sizeof adam, TB_ALGORITHM_ADAMW));
    for (i = 0; i < 2; i++) OK(tb_parameter_group_init(&groups[i], sizeof groups[i]));
    groups[0].weight_decay = 0;
    groups[1].names = "head.*";
    groups[1].learning_rate_factor = 0.5;
    adam.learning_rate = 0.01;
    adam.groups = groups;
    adam.group_count = 2;
    adam.clip_norm = 5;
    adam.loss_scale = 1024;
    for (i = 0; i < 3; i++) {
        const int mixed = i == 1;
        options.precision = precisions[i];
        adam.grad_scaler = mixed;
        OK(tb_network_create_from_graph(engine, graph, &options, &network));
        OK(tb_network_info(network, &info));
        CHECK(strcmp(info.precision, precisions[i]) == 0 && info.parameter_dtype == TB_DTYPE_F32);
        CHECK(info.dtype == (mixed ? TB_DTYPE_F16 : TB_DTYPE_F32));
        CHECK(info.parameter_count == PARAMETERS && info.buffer_count == 2 && info.classes == 10);
        OK(tb_optimizer_create(network, &adam, &optimizer));
        OK(tb_optimizer_train_step(optimizer, mixed ? &half_view : &x_view, labels, BATCH, &report));
        first = report.loss;
        CHECK(report.skipped == 0 && report.gradient_norm > 0 && report.loss_scale == (mixed ? 1024 : 1));
        for (k = 0; k < 11; k++) {
            OK(tb_optimizer_train_step(optimizer, mixed ? &half_view : &x_view, labels, BATCH, &report));
        }
        CHECK(report.loss < 0.7 * first);
        OK(tb_optimizer_info(optimizer, &state));
        CHECK(state.steps == 12 && state.learning_rate == 0.01 && state.algorithm == TB_ALGORITHM_ADAMW);
        CHECK(state.loss_scale == report.loss_scale);
        OK(tb_optimizer_free(optimizer));
        OK(tb_network_free(network));
    }
    /* A scale that overflows f16 is found out, and halved. */
    options.precision = "mixed";
    adam.grad_scaler = 1;
    adam.loss_scale = ldexp(1, 40);
    OK(tb_network_create_from_graph(engine, graph, &options, &network));
    OK(tb_optimizer_create(network, &adam, &optimizer));
    OK(tb_optimizer_train_step(optimizer, &half_view, labels, BATCH, &report));
    CHECK(report.skipped == 1 && report.loss_scale == ldexp(1, 39));
    OK(tb_optimizer_info(optimizer, &state));
    CHECK(state.steps == 0 && state.loss_scale == ldexp(1, 39));
    OK(tb_optimizer_free(optimizer));
    OK(tb_network_free(network));

    /* Groups of a newer program lie further apart. */
    options.precision = NULL;
    OK(tb_network_create_from_graph(engine, graph, &options, &network));
    OK(tb_graph_free(graph));
    for (i = 0; i < 2; i++) OK(tb_parameter_group_init(&larger[i].group, sizeof larger[i]));
    larger[1].group.names = "head.*";
    adam.groups = &larger[0].group;
    OK(tb_optimizer_create(network, &adam, &optimizer));
    OK(tb_optimizer_free(optimizer));
    larger[1].more = 1;
    FAILS(tb_optimizer_create(network, &adam, &optimizer), TB_STATUS_INVALID_ARGUMENT, "tb_optimizer_create",
          "`options.groups[1]`");
    OK(tb_network_set_loss_scale(network, 1));
    for (i = 0; i < 2; i++) {
        OK(tb_network_buffer_info(network, i, &tensor));
        CHECK(strcmp(tensor.name, buffers[i]) == 0 && strcmp(tensor.kind, "buffer") == 0);
        CHECK(tensor.rank == 1 && tensor.shape[0] == 4);
    }
    FAILS(tb_network_buffer_info(network, 2, &tensor), TB_STATUS_INVALID_ARGUMENT, "tb_network_buffer_info", "`index`");

    /* Buffers follow training runs until they are frozen. */
    OK(tb_network_read_buffer(network, "norm1.running_mean", &mean_out));
    OK(tb_network_read_buffer(network, "norm1.running_var", &var_out));
    for (i = 0; i < 4; i++) CHECK(mean[i] == 0 && var[i] == 1);
    OK(tb_network_loss_and_gradients(network, &x_view, labels, BATCH, &loss));
    OK(tb_network_read_buffer(network, "norm1.running_mean", &mean_out));
    CHECK(mean[0] != 0 && mean[1] != 0);
    for (i = 0; i < 4; i++) fresh[i] = 0.25f * (float)i;
    OK(tb_network_write_buffer(network, "norm1.running_mean", &mean_view));
    OK(tb_network_freeze_batchnorm(network, 1));
    OK(tb_network_loss_and_gradients(network, &x_view, labels, BATCH, &loss));
    OK(tb_network_read_buffer(network, "norm1.running_mean", &mean_out));
    CHECK(same(mean, fresh, 4));
    OK(tb_network_freeze_batchnorm(network, 0));
    FAILS(tb_network_read_buffer(network, "conv1.weight", &mean_out), TB_STATUS_NOT_FOUND, "tb_network_read_buffer",
          "running_mean");

    /* Norms are those of the gradients, whatever the loss scale. */
    OK(tb_network_set_loss_scale(network, 8));
    OK(tb_network_loss_and_gradients(network, &x_view, labels, BATCH, &loss));
    OK(tb_network_set_loss_scale(network, 1));
    read_gradient(network, "head.weight", gradient, head, 2);
    for (i = 0, sum = 0; i < 1360; i++) sum += fabs((double)gradient[i]);
    norms[0].struct_size = sizeof norms[0];
    OK(tb_network_gradient_norms(network, norms, PARAMETERS));
    CHECK(strcmp(norms[0].name, "conv1.weight") == 0 && strcmp(norms[5].name, "head.weight") == 0);
    CHECK(norms[5].struct_size == sizeof norms[0] && norms[5].non_finite == 0);
    CHECK(near(norms[5].l1, sum, 1e-5 * sum) && norms[5].linf <= norms[5].l2 && norms[5].l2 <= norms[5].l1);
    OK(tb_network_read_activation(network, "conv1", &activation_out));
    for (i = 0, sum = 0; i < BATCH * 4 * PIXELS; i++) sum += fabs(activations[i]);
    CHECK(sum > 0);

    /* The order of sums changes the last bits alone, and can be had again. */
    OK(tb_network_loss_and_gradients(network, &x_view, labels, BATCH, &loss));
    read_gradient(network, "conv1.weight", activations, conv1, 4);
    OK(tb_network_set_reduction_order(network, TB_REDUCTION_ORDER_SEEDED, 3));
    OK(tb_network_loss_and_gradients(network, &x_view, labels, BATCH, &loss));
    read_gradient(network, "conv1.weight", gradient, conv1, 4);
    for (i = 0; i < 36; i++) CHECK(near(gradient[i], activations[i], 1e-4 * (1 + fabs(activations[i]))));
    OK(tb_network_set_reduction_order(network, TB_REDUCTION_ORDER_FIXED, 0));
    FAILS(tb_network_set_reduction_order(network, 2, 0), TB_STATUS_INVALID_ARGUMENT, "tb_network_set_reduction_order",
          "`order`");

    /* Three alternatives at once are what each is alone, by parameter and in sum. */
    kink_of(&beta, TB_JACOBIAN_BETA, 10, TB_COMPOSITION_EXACT);
    OK(tb_kink_init(&alpha, sizeof alpha));
    alpha.kind = TB_KINK_RELU;
    alpha.alpha = 0.5;
    OK(tb_kink_init(&at_zero, sizeof at_zero));
    at_zero.kind = TB_KINK_NORM_POOL;
    at_zero.at_zero = 1;
    comparisons[0].struct_size = sizeof comparisons[0];
    differences[0].struct_size = sizeof differences[0];
    OK(tb_network_compare(network, &x_view, labels, BATCH, choices, 4, comparisons, ALTERNATIVES, differences,
                          ALTERNATIVES * PARAMETERS));
    CHECK(comparisons[0].l1 > 0 && comparisons[2].shared_forward == 1);
    for (i = 0; i < ALTERNATIVES; i++) {
        const tb_difference *d = differences + i * PARAMETERS;
        uint64_t differing = 0;
        for (k = 0, sum = 0; k < PARAMETERS; k++) {
            sum += d[k].l1;
            differing += d[k].differing;
            CHECK(d[k].struct_size == sizeof *d && strcmp(d[k].name, norms[k].name) == 0);
        }
        CHECK(comparisons[i].struct_size == sizeof *comparisons && sum == comparisons[i].l1);
        CHECK(differing == comparisons[i].differing);
        /* Behind every kink nothing changes. */
        CHECK(d[5].differing == 0 && d[6].differing == 0);
    }
    /* An array of a newer program's larger structs is filled as far as it is known. */
    memset(newer, 0xff, sizeof newer);
    newer[0].comparison.struct_size = sizeof newer[0];
    OK(tb_network_compare(network, &x_view, labels, BATCH, choices, 4, &newer[0].comparison, ALTERNATIVES, NULL, 0));
    for (i = 0; i < ALTERNATIVES; i++) {
        CHECK(newer[i].comparison.struct_size == sizeof newer[i] && newer[i].comparison.l1 == comparisons[i].l1);
        CHECK(newer[i].comparison.differing == comparisons[i].differing && newer[i].more[0] == UINT64_MAX);
    }
    alone.struct_size = sizeof alone;
    OK(tb_network_compare(network, &x_view, labels, BATCH, choices, 1, &alone, 1, NULL, 0));
    CHECK(alone.l1 == comparisons[0].l1 && alone.linf == comparisons[0].linf);
    FAILS(tb_network_compare(network, &x_view, labels, BATCH, choices, 4, comparisons, 2, NULL, 0),
          TB_STATUS_INVALID_ARGUMENT, "tb_network_compare", "`choices[2].alternative`");
    OK(tb_network_kink(network, "pool2", &at_zero));
    CHECK(at_zero.kind == TB_KINK_NORM_POOL && at_zero.at_zero == 0);

    /* Training needs more than evaluation, in step with the batch. */
    plan.struct_size = inference.struct_size = sizeof plan;
    OK(tb_network_memory_plan(network, 64, 0, &inference));
    OK(tb_network_memory_plan(network, 64, 1, &plan));
    CHECK(plan.total == plan.parameters + plan.gradients + plan.activations + plan.scratch);
    CHECK(plan.parameters >= 4 * 1422 && plan.activations > inference.activations && plan.largest <= plan.activations);
    OK(tb_network_memory_plan(network, 128, 1, &inference));
    CHECK(inference.activations > 3 * (plan.activations / 2) && inference.parameters == plan.parameters);
    OK(tb_network_free(network));
}

/* A run that would take more than the engine may is refused before it starts. */
static void memory_limit(void) {
    static const float x[8 * PIXELS];
    static const int64_t one[4] = {1, 1, 28, 28}, eight[4] = {8, 1, 28, 28}, labels[8] = {0};
    tb_engine *small = NULL;
    tb_network *network = NULL;
    tb_engine_options options;
    tb_memory_plan plan;
    tb_memory_use before, after;
    double loss;
    tb_view one_view = in(x, one, 4, TB_DTYPE_F32), eight_view = in(x, eight, 4, TB_DTYPE_F32);
    plan.struct_size = sizeof plan;
    before.struct_size = after.struct_size = sizeof before;
    OK(tb_network_create(engine, "lenet5", NULL, NULL, &network));
    OK(tb_network_memory_plan(network, 4, 1, &plan));
    OK(tb_network_free(network));
    OK(tb_engine_options_init(&options, sizeof options));
    options.device = TB_DEVICE_CPU;
    options.memory_limit = plan.total;
    OK(tb_engine_create(&options, &small));
    OK(tb_network_create(small, "lenet5", NULL, NULL, &network));
    OK(tb_network_loss_and_gradients(network, &one_view, labels, 1, &loss));
    OK(tb_engine_memory(small, &before));
    CHECK(before.host_bytes > 0 && before.device_peak == 0);
    FAILS(tb_network_loss_and_gradients(network, &eight_view, labels, 8, &loss), TB_STATUS_OUT_OF_MEMORY,
          "tb_network_loss_and_gradients", "memory_limit");
    OK(tb_network_loss_and_gradients(network, &one_view, labels, 1, &loss));
    OK(tb_network_free(network));
    OK(tb_engine_memory(small, &after));
    CHECK(after.host_bytes < before.host_bytes && after.host_peak >= before.host_peak);
    OK(tb_engine_free(small));
}

/* One image whose windows are known: after the ReLU they are (1 1 0 0), (0 0 0 0) from negative inputs, (0 0 0 0) from
 * inputs of 0, and (2 2 2 2). */
static void census(void) {
    static const int64_t input[3] = {1, 4, 4}, x_shape[4] = {1, 1, 4, 4}, one[4] = {1, 1, 1, 1}, two[2] = {2, 4};
    static const float image[16] = {1, 1, -1, -2, 0, -1, -3, -1, 0, 0, 2, 2, 0, 0, 2, 2};
    /* The second window receives no gradient: its weights are equal for both classes. */
    static const float identity[1] = {1}, weights[8] = {1, 3, 1, 1, -1, 3, 2, -1};
    static const int64_t labels[1] = {0};
    tb_graph *graph = NULL;
    tb_network *network = NULL;
    tb_conv2d_options conv;
    tb_kink kink;
    tb_network_properties info;
    tb_census_entry entries[6];
    tb_tie_classes classes[2];
    size_t count = 0;
    double loss;
    tb_node x;
    tb_view x_view = in(image, x_shape, 4, TB_DTYPE_F32), identity_view = in(identity, one, 4, TB_DTYPE_F32);
    tb_view weights_view = in(weights, two, 2, TB_DTYPE_F32);
    uint64_t windows = 0;
    uint32_t i;
    OK(tb_graph_create(input, &graph));
    OK(tb_conv2d_options_init(&conv, sizeof conv));
    conv.kernel[0] = conv.kernel[1] = 1;
    OK(tb_graph_conv2d(graph, "identity", TB_GRAPH_INPUT, 1, &conv, 0, &x));
    OK(tb_graph_relu(graph, "relu", x, &x));
    OK(tb_graph_maxpool2d(graph, "pool", x, NULL, &x));
    OK(tb_graph_flatten(graph, "flatten", x, &x));
    OK(tb_graph_linear(graph, "head", x, 2, 0, NULL));
    OK(tb_network_create_from_graph(engine, graph, NULL, &network));
    OK(tb_graph_free(graph));
    classes[0].struct_size = sizeof classes[0];
    FAILS(tb_network_tie_classes(network, classes, 2, &count), TB_STATUS_UNSUPPORTED, "tb_network_tie_classes",
          "loss_and_gradients");
    OK(tb_network_write_parameter(network, "identity.weight", &identity_view));
    OK(tb_network_write_parameter(network, "head.weight", &weights_view));
    info.struct_size = sizeof info;
    OK(tb_network_info(network, &info));
    CHECK(info.census_count == 6);
    entries[0].struct_size = sizeof entries[0];
    OK(tb_network_census(network, &x_view, labels, 1, entries, 6));
    CHECK(strcmp(entries[0].layer, "relu") == 0 && entries[0].kind == TB_KINK_RELU);
    CHECK(entries[0].zero == 5 && entries[0].nonzero == 11);
    for (i = 0; i < 5; i++) {
        const tb_census_entry *e = &entries[1 + i];
        CHECK(strcmp(e->layer, "pool") == 0 && e->kind == TB_KINK_MAXPOOL && e->ties == i);
        CHECK(e->struct_size == sizeof *e);
        windows += e->zero + e->nonzero;
    }
    CHECK(windows == 4);
    CHECK(entries[3].nonzero == 1 && entries[3].nonzero_alive == 1);
    CHECK(entries[5].nonzero == 1 && entries[5].nonzero_alive == 1);
    CHECK(entries[5].zero == 2 && entries[5].zero_alive == 0);
    /* With ReLU'(0) = 1 the window of zeros passes its gradient on. */
    OK(tb_kink_init(&kink, sizeof kink));
    kink.kind = TB_KINK_RELU;
    kink.alpha = 1;
    OK(tb_network_set_kink(network, NULL, &kink));
    OK(tb_network_census(network, &x_view, labels, 1, entries, 6));
    CHECK(entries[5].zero == 2 && entries[5].zero_alive == 1);
    FAILS(tb_network_census(network, &x_view, labels, 1, entries, 5), TB_STATUS_INVALID_ARGUMENT, "tb_network_census",
          "`entry_count`");
    /* Equal pixels are equal whatever the weight. */
    OK(tb_network_tie_classes(network, NULL, 0, &count));
    CHECK(count == 1);
    OK(tb_network_loss_and_gradients(network, &x_view, labels, 1, &loss));
    OK(tb_network_tie_classes(network, classes, 2, &count));
    CHECK(count == 1 && strcmp(classes[0].layer, "pool") == 0 && classes[0].struct_size == sizeof classes[0]);
    CHECK(classes[0].windows == 4 && classes[0].masked == 1 && classes[0].structural == 3);
    CHECK(classes[0].nan == 0 && classes[0].untied == 0 && classes[0].accidental == 0);
    OK(tb_network_set_kinks(network, "pytorch"));
    OK(tb_network_tie_classes(network, classes, 2, &count));
    CHECK(classes[0].masked == 2 && classes[0].structural == 2);
    OK(tb_network_free(network));
}

/* What f32 has computed, differentiated in f64. */
static void replay(void) {
    static float x[BATCH * PIXELS], weight[150], copied[150];
    static const int64_t x_shape[4] = {BATCH, 1, 28, 28}, weight_shape[4] = {6, 1, 5, 5};
    int64_t labels[BATCH];
    tb_network *narrow = NULL, *wide = NULL, *bn = NULL;
    tb_network_options options;
    tb_kink minimal, coupled, present;
    tb_choice choices[2] = {{0, NULL, NULL}, {1, NULL, NULL}};
    tb_comparison comparisons[2];
    tb_difference differences[20];
    double loss = 0, replayed = 0, sum = 0;
    size_t i;
    tb_view x_view = in(x, x_shape, 4, TB_DTYPE_F32);
    tb_view_mut weight_out = out(weight, weight_shape, 4, TB_DTYPE_F32);
    tb_view_mut copied_out = out(copied, weight_shape, 4, TB_DTYPE_F32);
    pictures(x, labels);
    OK(tb_network_options_init(&options, sizeof options));
    OK(tb_network_create(engine, "lenet5", NULL, &options, &narrow));
    options.precision = "f64";
    options.seed = 9;
    OK(tb_network_create(engine, "lenet5", NULL, &options, &wide));
    OK(tb_network_create(engine, "lenet5_bn", NULL, NULL, &bn));
    FAILS(tb_network_replay(wide, narrow, &replayed), TB_STATUS_UNSUPPORTED, "tb_network_replay", "nothing is recorded");
    OK(tb_network_loss_and_gradients(narrow, &x_view, labels, BATCH, &loss));
    OK(tb_network_replay(wide, narrow, &replayed));
    CHECK(near(loss, replayed, 1e-5) && replayed != 0);
    FAILS(tb_network_replay(wide, wide, &replayed), TB_STATUS_INVALID_ARGUMENT, "tb_network_replay", "`recorded`");
    FAILS(tb_network_replay(bn, narrow, &replayed), TB_STATUS_INVALID_ARGUMENT, "tb_network_replay", "`recorded`");

    kink_of(&minimal, TB_JACOBIAN_MINIMAL, 0, TB_COMPOSITION_EXACT);
    kink_of(&coupled, TB_JACOBIAN_BETA, 10, TB_COMPOSITION_COUPLED);
    choices[0].kink = choices[1].kink = &minimal;
    comparisons[0].struct_size = sizeof comparisons[0];
    differences[0].struct_size = sizeof differences[0];
    OK(tb_network_compare_stored(wide, choices, 1, comparisons, 2, differences, 20));
    CHECK(comparisons[0].losses[0] == replayed && comparisons[0].shared_forward == 1 && comparisons[1].l1 == 0);
    for (i = 0; i < 10; i++) sum += differences[i].l1;
    CHECK(sum == comparisons[0].l1 && strcmp(differences[0].name, "features.0.weight") == 0);
    OK(tb_network_compare_stored(narrow, choices, 2, comparisons, 2, NULL, 0));
    CHECK(comparisons[0].l1 == comparisons[1].l1);
    choices[1].kink = &coupled;
    FAILS(tb_network_compare_stored(wide, choices, 2, comparisons, 2, NULL, 0), TB_STATUS_UNSUPPORTED,
          "tb_network_compare_stored", "coupled");

    FAILS(tb_network_copy_state(bn, narrow), TB_STATUS_INVALID_ARGUMENT, "tb_network_copy_state", "`from`");
    FAILS(tb_network_copy_state(narrow, narrow), TB_STATUS_INVALID_ARGUMENT, "tb_network_copy_state", "`from`");
    OK(tb_network_read_parameter(narrow, "features.0.weight", &weight_out));
    OK(tb_network_free(narrow));
    options.precision = NULL;
    OK(tb_network_create(engine, "lenet5", NULL, &options, &narrow));
    OK(tb_network_read_parameter(narrow, "features.0.weight", &copied_out));
    CHECK(!same(weight, copied, 150));
    OK(tb_network_copy_state(narrow, wide)); /* it has those of the run that it replayed */
    OK(tb_network_read_parameter(narrow, "features.0.weight", &copied_out));
    CHECK(same(weight, copied, 150));

    OK(tb_network_set_kinks(narrow, "candle"));
    present.struct_size = sizeof present;
    OK(tb_network_kink(narrow, "features.2", &present));
    CHECK(present.kind == TB_KINK_MAXPOOL && present.jacobian == TB_JACOBIAN_SCALED);
    OK(tb_network_kink(narrow, "features.1", &present));
    CHECK(present.kind == TB_KINK_RELU && present.alpha == 1);
    OK(tb_network_set_kinks(narrow, "cudnn-random"));
    OK(tb_network_kink(narrow, "features.2", &present));
    CHECK(present.jacobian == TB_JACOBIAN_RANDOM && present.seed == 0);
    FAILS(tb_network_set_kinks(narrow, "caffe"), TB_STATUS_INVALID_ARGUMENT, "tb_network_set_kinks", "mlpack");
    OK(tb_network_free(narrow));
    OK(tb_network_free(wide));
    OK(tb_network_free(bn));
}

/* In f16 a maximum of 8 times 10000 is infinite, and (1 - 10000) times 8 is -infinite: their sum is NaN. */
static void non_finite(void) {
    static const int64_t input[3] = {1, 4, 4}, x_shape[4] = {1, 1, 4, 4}, one[4] = {1, 1, 1, 1};
    static const float image[16] = {1, 0, 2, 0, 0, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0, 0};
    static const int64_t labels[1] = {0};
    static tb_non_finite found[64];
    const uint16_t identity[1] = {0x3c00};
    uint16_t x[16];
    char name[200];
    tb_graph *graph = NULL;
    tb_network *network = NULL;
    tb_optimizer *optimizer = NULL;
    tb_network_options options;
    tb_conv2d_options conv;
    tb_kink kink;
    tb_step_report report;
    tb_node node;
    size_t count = 7, all, correct, i, losses = 0;
    double loss;
    tb_view x_view = in(x, x_shape, 4, TB_DTYPE_F16), identity_view = in(identity, one, 4, TB_DTYPE_F16);
    for (i = 0; i < 16; i++) x[i] = half_bits(image[i]);
    memset(name, 'p', sizeof name);
    name[sizeof name - 1] = '\0';
    OK(tb_graph_create(input, &graph));
    OK(tb_conv2d_options_init(&conv, sizeof conv));
    conv.kernel[0] = conv.kernel[1] = 1;
    OK(tb_graph_conv2d(graph, "identity", TB_GRAPH_INPUT, 1, &conv, 0, &node));
    OK(tb_graph_maxpool2d(graph, name, node, NULL, &node));
    OK(tb_graph_flatten(graph, "flatten", node, &node));
    OK(tb_graph_linear(graph, "head", node, 2, 0, NULL));
    OK(tb_network_options_init(&options, sizeof options));
    options.precision = "f16";
    OK(tb_network_create_from_graph(engine, graph, &options, &network));
    OK(tb_graph_free(graph));
    OK(tb_network_write_parameter(network, "identity.weight", &identity_view));
    kink_of(&kink, TB_JACOBIAN_BETA, 10000, TB_COMPOSITION_COUPLED);
    OK(tb_network_set_kink(network, NULL, &kink));

    /* Nothing is known before the watch is on, nor before a run under it. */
    OK(tb_network_loss_and_gradients(network, &x_view, labels, 1, &loss));
    CHECK(loss != loss);
    OK(tb_network_non_finite(network, NULL, 0, &count));
    CHECK(count == 0);
    OK(tb_network_watch_non_finite(network));
    count = 7;
    OK(tb_network_non_finite(network, NULL, 0, &count));
    CHECK(count == 0);
    FAILS(tb_network_backward(network), TB_STATUS_UNSUPPORTED, "tb_network_backward", "loss_and_gradients");

    OK(tb_network_loss_and_gradients(network, &x_view, labels, 1, &loss));
    CHECK(loss != loss);
    OK(tb_network_watch_non_finite(network)); /* changes nothing */
    OK(tb_network_non_finite(network, NULL, 0, &all));
    CHECK(all > 3 && all < 64);
    found[0].struct_size = sizeof found[0];
    found[1].element = 77;
    OK(tb_network_non_finite(network, found, 1, &count));
    CHECK(count == all && found[0].struct_size == sizeof found[0] && found[1].element == 77);
    /* The window of the 8 is the third. */
    CHECK(found[0].pass == TB_PASS_FORWARD && found[0].lasts == 0 && found[0].element == 2);
    CHECK(strcmp(found[0].operator_name, "maxpool2d_forward") == 0 && strcmp(found[0].tensor, "output") == 0);
    CHECK(strlen(found[0].layer) == 127 && strncmp(found[0].layer, name, 127) == 0);
    CHECK(found[0].value != found[0].value);
    CHECK(strstr(found[0].cause, "coupled, beta = 10000") && strstr(found[0].cause, "65504"));
    OK(tb_network_non_finite(network, found, 64, &count));
    CHECK(count == all);
    for (i = 0; i < count; i++) {
        CHECK(found[i].struct_size == sizeof found[0] && found[i].cause[0]);
        CHECK(i == 0 || found[i].pass >= found[i - 1].pass);
        CHECK(found[i].lasts == (strcmp(found[i].tensor, "loss") == 0));
        losses += found[i].pass == TB_PASS_LOSS && found[i].lasts;
    }
    CHECK(losses == 1 && found[count - 1].pass == TB_PASS_BACKWARD);
    FAILS(tb_network_non_finite(network, NULL, 1, &count), TB_STATUS_NULL_POINTER, "tb_network_non_finite", "`entries`");
    found[0].struct_size = 8;
    FAILS(tb_network_non_finite(network, found, 1, &count), TB_STATUS_INVALID_ARGUMENT, "tb_network_non_finite",
          "struct_size");
    found[0].struct_size = sizeof found[0];

    /* An evaluation has no backward pass, a choice without an overflow nothing to tell. */
    OK(tb_network_evaluate(network, &x_view, labels, 1, &loss, &correct));
    OK(tb_network_non_finite(network, found, 64, &count));
    CHECK(count > 0 && found[count - 1].pass == TB_PASS_LOSS);
    kink.composition = TB_COMPOSITION_EXACT;
    kink.beta = 0;
    OK(tb_network_set_kink(network, NULL, &kink));
    OK(tb_network_loss_and_gradients(network, &x_view, labels, 1, &loss));
    OK(tb_network_non_finite(network, NULL, 0, &count));
    CHECK(count == 0 && loss == loss);

    /* An optimizer writes it into the parameters, where it stays; the next step begins with it. */
    kink_of(&kink, TB_JACOBIAN_BETA, 10000, TB_COMPOSITION_COUPLED);
    OK(tb_network_set_kink(network, NULL, &kink));
    OK(tb_optimizer_create(network, NULL, &optimizer));
    report.struct_size = sizeof report;
    OK(tb_optimizer_train_step(optimizer, &x_view, labels, 1, &report));
    OK(tb_network_non_finite(network, found, 64, &count));
    CHECK(count > all && count <= 64 && found[0].pass == TB_PASS_FORWARD);
    CHECK(found[count - 1].pass == TB_PASS_OPTIMIZER && found[count - 1].lasts == 1);
    CHECK(strcmp(found[count - 1].operator_name, "sgd") == 0 && strstr(found[count - 1].layer, ".weight"));
    OK(tb_optimizer_train_step(optimizer, &x_view, labels, 1, &report));
    OK(tb_network_non_finite(network, found, 64, &count));
    CHECK(count > 0 && strcmp(found[0].operator_name, "input") == 0 && strstr(found[0].tensor, ".weight"));
    OK(tb_optimizer_free(optimizer));
    OK(tb_network_free(network));
}

/* A path in the folder for files of the tests. */
static const char *file(const char *name) {
    static char path[4096];
    const char *folder = getenv("TIEBREAK_TEST_FOLDER");
    snprintf(path, sizeof path, "%s/%s", folder ? folder : ".", name);
    return path;
}

/* The first `count` bytes of a file, or all, under another name. */
static long copy_file(const char *from, const char *to, long count) {
    long size, i;
    FILE *in_file = fopen(file(from), "rb"), *out_file;
    if (!CHECK(in_file != NULL)) return 0;
    out_file = fopen(file(to), "wb");
    fseek(in_file, 0, SEEK_END);
    size = ftell(in_file);
    rewind(in_file);
    for (i = 0; i < size && (count < 0 || i < count); i++) fputc(fgetc(in_file), out_file);
    fclose(in_file);
    fclose(out_file);
    return size;
}

static void files(void) {
    static float x[BATCH * PIXELS];
    static const int64_t x_shape[4] = {BATCH, 1, 28, 28}, four[1] = {4}, six[1] = {6};
    static const char *saved[] = {"network.safetensors", "run.safetensors", "part.safetensors", "f64.safetensors"};
    int64_t labels[BATCH];
    float saved_var[4], var[4], single[6];
    double after[3], saved_bias[6];
    long size, length;
    int i;
    tb_graph *graph = own_graph();
    tb_network *network = NULL, *other = NULL;
    tb_optimizer *optimizer = NULL;
    tb_network_options options;
    tb_optimizer_options sgd;
    tb_optimizer_properties state;
    tb_step_report report;
    tb_view x_view = in(x, x_shape, 4, TB_DTYPE_F32);
    tb_view_mut saved_out = out(saved_var, four, 1, TB_DTYPE_F32), var_out = out(var, four, 1, TB_DTYPE_F32);
    tb_view_mut bias_out = out(saved_bias, six, 1, TB_DTYPE_F64), bias_single = out(single, six, 1, TB_DTYPE_F32);
    pictures(x, labels);
    report.struct_size = sizeof report;
    state.struct_size = sizeof state;
    OK(tb_network_options_init(&options, sizeof options));
    OK(tb_optimizer_options_init(&sgd, sizeof sgd, TB_ALGORITHM_SGD));
    sgd.momentum = 0.9;
    OK(tb_network_create_from_graph(engine, graph, &options, &network));
    options.seed = 99;
    OK(tb_network_create_from_graph(engine, graph, &options, &other));
    OK(tb_graph_free(graph));
    OK(tb_optimizer_create(network, &sgd, &optimizer));
    OK(tb_optimizer_train_step(optimizer, &x_view, labels, BATCH, NULL));

    /* A network goes to a file and into another one: parameters and buffers. */
    OK(tb_network_save(network, file(saved[0])));
    OK(tb_network_read_buffer(network, "norm1.running_var", &saved_out));
    OK(tb_network_load(other, file(saved[0]), 0));
    OK(tb_network_read_buffer(other, "norm1.running_var", &var_out));
    CHECK(same(saved_var, var, 4) && var[0] != 1);
    OK(tb_network_loss_and_gradients(network, &x_view, labels, BATCH, &after[0]));
    OK(tb_network_loss_and_gradients(other, &x_view, labels, BATCH, &after[1]));
    CHECK(near(after[0], after[1], 0.2)); /* dropout draws from another seed */
    OK(tb_network_evaluate(network, &x_view, labels, BATCH, &after[0], &(size_t){0}));

    /* Whatever is cut off is missed, and the network stays as it was. */
    OK(tb_network_load(network, file(saved[0]), 0));
    OK(tb_network_evaluate(network, &x_view, labels, BATCH, &after[0], &(size_t){0}));
    size = copy_file(saved[0], saved[2], -1);
    for (length = 0; length < size; length += size / 7) {
        copy_file(saved[0], saved[2], length);
        FAILS(tb_network_load(network, file(saved[2]), 0), TB_STATUS_FORMAT, "tb_network_load", "part.safetensors");
    }
    FAILS(tb_network_load(network, file("none.safetensors"), 0), TB_STATUS_IO, "tb_network_load", "none.safetensors");
    FAILS(tb_network_save(network, file("none/network.safetensors")), TB_STATUS_IO, "tb_network_save", "none");
    OK(tb_network_evaluate(network, &x_view, labels, BATCH, &after[1], &(size_t){0}));
    CHECK(after[0] == after[1]);
    OK(tb_network_free(other));

    /* Another dtype is refused, or rounded where that is asked for. */
    options.precision = "f64";
    OK(tb_network_create(engine, "lenet5", NULL, &options, &other));
    OK(tb_network_save(other, file(saved[3])));
    OK(tb_network_read_parameter(other, "features.0.bias", &bias_out));
    FAILS(tb_network_load(network, file(saved[3]), 1), TB_STATUS_FORMAT, "tb_network_load", "conv1.weight");
    OK(tb_network_free(other));
    options.precision = "f32";
    options.seed = 1;
    OK(tb_network_create(engine, "lenet5", NULL, &options, &other));
    FAILS(tb_network_load(other, file(saved[3]), 0), TB_STATUS_FORMAT, "tb_network_load", "f64");
    OK(tb_network_load(other, file(saved[3]), 1));
    OK(tb_network_read_parameter(other, "features.0.bias", &bias_single));
    for (i = 0; i < 6; i++) CHECK(single[i] == (float)saved_bias[i]);
    OK(tb_network_free(other));

    /* A run goes on from its file with the bits that it would have had. */
    OK(tb_optimizer_set_learning_rate(optimizer, 0.02));
    OK(tb_optimizer_save(optimizer, file(saved[1])));
    for (i = 0; i < 3; i++) {
        OK(tb_optimizer_train_step(optimizer, &x_view, labels, BATCH, &report));
        after[i] = report.loss;
    }
    OK(tb_optimizer_set_learning_rate(optimizer, 0.5));
    OK(tb_optimizer_load(optimizer, file(saved[1])));
    OK(tb_optimizer_info(optimizer, &state));
    CHECK(state.steps == 1 && state.learning_rate == 0.02);
    for (i = 0; i < 3; i++) {
        OK(tb_optimizer_train_step(optimizer, &x_view, labels, BATCH, &report));
        CHECK(after[i] == report.loss);
    }
    FAILS(tb_optimizer_load(optimizer, file(saved[0])), TB_STATUS_FORMAT, "tb_optimizer_load", "network.safetensors");
    size = copy_file(saved[1], saved[2], -1);
    copy_file(saved[1], saved[2], size - 1);
    FAILS(tb_optimizer_load(optimizer, file(saved[2])), TB_STATUS_FORMAT, "tb_optimizer_load", "part.safetensors");
    OK(tb_optimizer_info(optimizer, &state));
    CHECK(state.steps == 4);
    OK(tb_optimizer_free(optimizer));
    OK(tb_network_free(network));
    for (i = 0; i < 4; i++) CHECK(remove(file(saved[i])) == 0);
}

/* ---- Tensors on the engine -------------------------------------------------------------------------------------- */

static tb_tensor *tensor_of(tb_dtype dtype, const int64_t *shape, int32_t rank) {
    tb_tensor *tensor = NULL;
    OK(tb_tensor_create(engine, dtype, shape, rank, &tensor));
    return tensor;
}

static tb_view on(tb_tensor *tensor) {
    return in(tensor, NULL, 0, TB_DTYPE_TENSOR);
}

static tb_view_mut onto(tb_tensor *tensor) {
    return out(tensor, NULL, 0, TB_DTYPE_TENSOR);
}

/* Operators on tensors of the engine give the bits that they give on the caller's memory. */
static void tensors_of(tb_dtype dtype, size_t element) {
    static const int64_t image[4] = {1, 1, 4, 4}, pooled[4] = {1, 1, 2, 2}, flat[1] = {16}, sets[1] = {4};
    static const int64_t weights[4] = {2, 1, 3, 3}, convolved[4] = {1, 2, 2, 2}, wrong[1] = {15};
    const double values[16] = {3, 3, 0, 1, 3, 0, 1, 1, -2, 5, 4, 4, 5, 5, 4, 4};
    unsigned char x[128], w[144], y[64], y2[64], g[32], gx[128], gx2[128], ties[4], ties2[4];
    tb_tensor *dx, *dw, *dy, *dp, *dg, *dgx, *dties;
    tb_tensor_properties info;
    tb_engine_properties properties;
    tb_kink minimal;
    tb_view x_view = in(x, image, 4, dtype), w_view = in(w, weights, 4, dtype), g_view = in(g, pooled, 4, dtype);
    tb_view_mut y_view = out(y, convolved, 4, dtype), y2_view = out(y2, convolved, 4, dtype);
    tb_view_mut p_view = out(y, pooled, 4, dtype), p2_view = out(y2, pooled, 4, dtype);
    tb_view_mut gx_view = out(gx, image, 4, dtype), gx2_view = out(gx2, image, 4, dtype);
    tb_view dx_view, dw_view, dg_view, dx_flat;
    tb_view_mut dy_view, dp_view, dgx_view, dgx_flat;
    size_t i;
    for (i = 0; i < 34; i++) {
        const double v = i < 16 ? values[i] : (double)(i % 5) - 2;
        void *to = i < 16 ? x + i * element : w + (i - 16) * element;
        const float f = (float)v;
        /* Small whole numbers: their top bits are those of a float. */
        uint32_t bits;
        uint16_t half = 0;
        memcpy(&bits, &f, sizeof bits);
        if (v != 0) half = (uint16_t)((bits >> 16 & 0x8000) | (((bits >> 23 & 255) - 112) << 10) | (bits >> 13 & 1023));
        if (element == 8) memcpy(to, &v, 8);
        if (element == 4) memcpy(to, &f, 4);
        if (element == 2) memcpy(to, &half, 2);
    }
    memcpy(g, x + 9 * element, 4 * element);
    dx = tensor_of(dtype, image, 4);
    dw = tensor_of(dtype, weights, 4);
    dy = tensor_of(dtype, convolved, 4);
    dp = tensor_of(dtype, pooled, 4);
    dg = tensor_of(dtype, pooled, 4);
    dgx = tensor_of(dtype, image, 4);
    dties = tensor_of(TB_DTYPE_BYTE, sets, 1);
    dx_view = on(dx), dw_view = on(dw), dg_view = on(dg), dy_view = onto(dy), dp_view = onto(dp), dgx_view = onto(dgx);

    info.struct_size = sizeof info;
    OK(tb_tensor_info(dx, &info));
    CHECK(strcmp(info.kind, "tensor") == 0 && info.name[0] == '\0' && info.rank == 4 && info.dtype == dtype);
    CHECK(memcmp(info.shape, image, sizeof image) == 0);
    properties.struct_size = sizeof properties;
    OK(tb_engine_info(engine, &properties));
    CHECK(info.gpu == (dtype == TB_DTYPE_F64 ? 0 : dtype == TB_DTYPE_F16 ? properties.gpu_f16 : properties.gpu));

    /* Zeros at first; what was written comes back. */
    memset(gx, 0xff, sizeof gx);
    OK(tb_tensor_read(dx, &gx_view));
    for (i = 0; i < 16 * element; i++) CHECK(gx[i] == 0);
    OK(tb_tensor_write(dx, &x_view));
    OK(tb_tensor_read(dx, &gx_view));
    CHECK(memcmp(gx, x, 16 * element) == 0);
    OK(tb_tensor_write(dw, &w_view));
    OK(tb_tensor_write(dg, &g_view));

    OK(tb_conv2d_forward(engine, &x_view, &w_view, NULL, NULL, &y_view));
    OK(tb_conv2d_forward(engine, &dx_view, &dw_view, NULL, NULL, &dy_view));
    OK(tb_tensor_read(dy, &y2_view));
    CHECK(memcmp(y, y2, 8 * element) == 0);
    /* Host and engine mixed. */
    memset(y2, 0, sizeof y2);
    OK(tb_conv2d_forward(engine, &dx_view, &w_view, NULL, NULL, &y2_view));
    CHECK(memcmp(y, y2, 8 * element) == 0);

    OK(tb_maxpool2d_forward(engine, &x_view, NULL, NULL, &p_view, ties, 4));
    OK(tb_maxpool2d_forward(engine, &dx_view, NULL, NULL, &dp_view, (uint8_t *)dties, TB_TIES_TENSOR));
    OK(tb_tensor_read(dp, &p2_view));
    CHECK(memcmp(y, y2, 4 * element) == 0);
    {
        tb_view_mut sets_view = out(ties2, sets, 1, TB_DTYPE_BYTE);
        OK(tb_tensor_read(dties, &sets_view));
    }
    CHECK(memcmp(ties, ties2, 4) == 0);
    kink_of(&minimal, TB_JACOBIAN_MINIMAL, 0, TB_COMPOSITION_EXACT);
    OK(tb_maxpool2d_backward(engine, &g_view, ties, 4, NULL, &minimal, &gx_view));
    OK(tb_maxpool2d_backward(engine, &dg_view, (uint8_t *)dties, TB_TIES_TENSOR, NULL, &minimal, &dgx_view));
    OK(tb_tensor_read(dgx, &gx2_view));
    CHECK(memcmp(gx, gx2, 16 * element) == 0);

    /* Seen in another shape of as many elements. */
    dx_flat = in(dx, flat, 1, TB_DTYPE_TENSOR);
    dgx_flat = out(dgx, flat, 1, TB_DTYPE_TENSOR);
    OK(tb_relu_forward(engine, &dx_flat, &dgx_flat));
    OK(tb_relu_forward(engine, &x_view, &gx_view));
    OK(tb_tensor_read(dgx, &gx2_view));
    CHECK(memcmp(gx, gx2, 16 * element) == 0);
    dx_flat.shape = wrong;
    FAILS(tb_relu_forward(engine, &dx_flat, &dgx_view), TB_STATUS_SHAPE_MISMATCH, "tb_relu_forward", "`x`");
    FAILS(tb_relu_forward(engine, &dw_view, &dgx_view), TB_STATUS_SHAPE_MISMATCH, "tb_relu_forward", "`y`");
    /* An output is nothing else of the call. */
    dgx_view = onto(dx);
    FAILS(tb_relu_forward(engine, &dx_view, &dgx_view), TB_STATUS_INVALID_ARGUMENT, "tb_relu_forward", "overlap");
    /* Tie sets are bytes, and bytes are tie sets. */
    FAILS(tb_maxpool2d_forward(engine, &dx_view, NULL, NULL, &dp_view, (uint8_t *)dg, TB_TIES_TENSOR),
          TB_STATUS_DTYPE_MISMATCH, "tb_maxpool2d_forward", "`ties`");
    dx_view = on(dties);
    FAILS(tb_relu_forward(engine, &dx_view, &dgx_view), TB_STATUS_INVALID_ARGUMENT, "tb_relu_forward", "`x.dtype`");
    OK(tb_tensor_free(dx));
    FAILS(tb_tensor_free(dx), TB_STATUS_INVALID_HANDLE, "tb_tensor_free", "`tensor`");
    dx_view = on(dx);
    FAILS(tb_relu_forward(engine, &dx_view, &dp_view), TB_STATUS_INVALID_HANDLE, "tb_relu_forward", "`x.data`");
    OK(tb_tensor_free(dw));
    OK(tb_tensor_free(dy));
    OK(tb_tensor_free(dp));
    OK(tb_tensor_free(dg));
    OK(tb_tensor_free(dgx));
    OK(tb_tensor_free(dties));
    OK(tb_tensor_free(NULL));
}

static void tensors(void) {
    static const int64_t shape[1] = {3}, none[2] = {0, 7};
    static const float three[3] = {-1, 0, 2};
    float y[3] = {9, 9, 9};
    tb_engine_options options;
    tb_engine *other = NULL;
    tb_tensor *theirs = NULL, *ours, *empty_one;
    tb_view view = in(three, shape, 1, TB_DTYPE_F32), empty_view;
    tb_view_mut y_view = out(y, shape, 1, TB_DTYPE_F32), empty_out;
    tensors_of(TB_DTYPE_F16, 2);
    tensors_of(TB_DTYPE_F32, 4);
    tensors_of(TB_DTYPE_F64, 8);
    empty_one = tensor_of(TB_DTYPE_F32, none, 2);
    empty_view = on(empty_one);
    empty_out = out(NULL, none, 2, TB_DTYPE_F32);
    OK(tb_relu_forward(engine, &empty_view, &empty_out));
    OK(tb_tensor_free(empty_one));

    /* A tensor outlives its engine, and is no other engine's. */
    OK(tb_engine_options_init(&options, sizeof options));
    options.device = TB_DEVICE_CPU;
    options.threads = 1;
    OK(tb_engine_create(&options, &other));
    OK(tb_tensor_create(other, TB_DTYPE_F32, shape, 1, &theirs));
    ours = tensor_of(TB_DTYPE_F32, shape, 1);
    {
        tb_view from = on(theirs);
        tb_view_mut to = onto(ours);
        FAILS(tb_relu_forward(engine, &from, &y_view), TB_STATUS_INVALID_ARGUMENT, "tb_relu_forward", "another engine");
        FAILS(tb_relu_forward(other, &from, &to), TB_STATUS_INVALID_ARGUMENT, "tb_relu_forward", "another engine");
    }
    OK(tb_engine_free(other));
    OK(tb_tensor_write(theirs, &view));
    OK(tb_tensor_read(theirs, &y_view));
    CHECK(same(three, y, 3));
    OK(tb_tensor_free(theirs));
    OK(tb_tensor_free(ours));
}

/* ---- DLPack ------------------------------------------------------------------------------------------------------ */

static void dlpack(void) {
    static const int64_t shape[2] = {2, 3};
    int64_t dl_shape[2] = {2, 3}, strides[2] = {3, 1}, odd[2] = {1, 2};
    float values[7] = {9, 1, 2, 3, 4, 5, 6}, y[6];
    dl_legacy legacy, *made = NULL;
    dl_versioned versioned, *made_versioned = NULL;
    tb_view view, host = in(values + 1, shape, 2, TB_DTYPE_F32);
    tb_view_mut view_mut, y_view = out(y, shape, 2, TB_DTYPE_F32);
    tb_engine_options options;
    tb_engine *cpu = NULL;
    tb_tensor *tensor = NULL;
    void *managed = NULL;
    int i;
    memset(&legacy, 0, sizeof legacy);
    legacy.tensor.data = values;
    legacy.tensor.byte_offset = 4;
    legacy.tensor.device_type = 1;
    legacy.tensor.ndim = 2;
    legacy.tensor.code = 2;
    legacy.tensor.bits = 32;
    legacy.tensor.lanes = 1;
    legacy.tensor.shape = dl_shape;
    memset(&versioned, 0, sizeof versioned);
    versioned.major = 1;
    versioned.minor = 9;
    versioned.tensor = legacy.tensor;
    versioned.tensor.strides = strides;
    OK(tb_dlpack_view(&legacy, 0, &view));
    CHECK(view.data == values + 1 && view.shape == dl_shape && view.rank == 2 && view.dtype == TB_DTYPE_F32);
    OK(tb_dlpack_view(&versioned, 1, &view));
    OK(tb_dlpack_view_mut(&versioned, 1, &view_mut));
    CHECK(view_mut.data == values + 1);
    OK(tb_relu_forward(engine, &view, &y_view));
    for (i = 0; i < 6; i++) CHECK(y[i] == values[i + 1]);
    versioned.flags = 1;
    OK(tb_dlpack_view(&versioned, 1, &view));
    FAILS(tb_dlpack_view_mut(&versioned, 1, &view_mut), TB_STATUS_INVALID_ARGUMENT, "tb_dlpack_view_mut", "read-only");
    versioned.major = 2;
    FAILS(tb_dlpack_view(&versioned, 1, &view), TB_STATUS_INVALID_ARGUMENT, "tb_dlpack_view", "version");
    versioned.major = 1;
    versioned.tensor.strides = odd;
    FAILS(tb_dlpack_view(&versioned, 1, &view), TB_STATUS_INVALID_ARGUMENT, "tb_dlpack_view", "strides");
    versioned.tensor.strides = NULL;
    versioned.tensor.device_type = 2;
    FAILS(tb_dlpack_view(&versioned, 1, &view), TB_STATUS_INVALID_ARGUMENT, "tb_dlpack_view", "device");
    versioned.tensor.device_type = 1;
    versioned.tensor.code = 0;
    FAILS(tb_dlpack_view(&versioned, 1, &view), TB_STATUS_DTYPE_MISMATCH, "tb_dlpack_view", "managed");
    versioned.tensor.code = 2;
    versioned.tensor.lanes = 4;
    FAILS(tb_dlpack_view(&versioned, 1, &view), TB_STATUS_DTYPE_MISMATCH, "tb_dlpack_view", "lanes");
    versioned.tensor.lanes = 1;
    versioned.tensor.ndim = 9;
    FAILS(tb_dlpack_view(&versioned, 1, &view), TB_STATUS_INVALID_ARGUMENT, "tb_dlpack_view", "rank");

    /* The caller's memory is copied. */
    OK(tb_dlpack_export(&host, 0, &managed));
    made = managed;
    CHECK(made->tensor.data != values + 1 && made->tensor.ndim == 2 && made->tensor.code == 2);
    CHECK(made->tensor.bits == 32 && made->tensor.lanes == 1 && made->tensor.device_type == 1);
    CHECK(made->tensor.shape[0] == 2 && made->tensor.shape[1] == 3 && made->tensor.strides[0] == 3);
    CHECK(made->tensor.strides[1] == 1 && made->tensor.byte_offset == 0);
    CHECK(same(made->tensor.data, values + 1, 6));
    OK(tb_dlpack_view(made, 0, &view)); /* what goes out comes in */
    made->deleter(made);

    /* A tensor of a CPU engine is shared, and outlives its handle. */
    OK(tb_engine_options_init(&options, sizeof options));
    options.device = TB_DEVICE_CPU;
    options.threads = 1;
    OK(tb_engine_create(&options, &cpu));
    OK(tb_tensor_create(cpu, TB_DTYPE_F32, shape, 2, &tensor));
    view = on(tensor);
    OK(tb_dlpack_export(&view, 1, &managed));
    made_versioned = managed;
    CHECK(made_versioned->major == 1 && made_versioned->flags == 0);
    OK(tb_tensor_write(tensor, &host));
    CHECK(same(made_versioned->tensor.data, values + 1, 6));
    ((float *)made_versioned->tensor.data)[5] = 60;
    OK(tb_tensor_read(tensor, &y_view));
    CHECK(y[5] == 60);
    OK(tb_tensor_free(tensor));
    OK(tb_engine_free(cpu));
    CHECK(same(made_versioned->tensor.data, values + 1, 5));
    made_versioned->deleter(made_versioned);
}

/* ---- Adapters, data sets, profiles -------------------------------------------------------------------------------- */

static void adapter_list(void) {
    static tb_adapter_properties list[16];
    tb_engine_properties info;
    size_t count = 99, i, found = 0;
    if (getenv("TIEBREAK_TEST_CPU_ONLY")) return;
    info.struct_size = sizeof info;
    OK(tb_engine_info(engine, &info));
    OK(tb_adapters(NULL, 0, &count));
    CHECK(count < 99 && (count > 0 || !info.gpu));
    list[0].struct_size = sizeof list[0];
    OK(tb_adapters(list, 16, &count));
    for (i = 0; i < count && i < 16; i++) {
        CHECK(list[i].name[0] && list[i].driver[0] && list[i].struct_size == sizeof list[0]);
        CHECK(list[i].kind >= TB_ADAPTER_OTHER && list[i].kind <= TB_ADAPTER_SOFTWARE);
        CHECK(list[i].largest_buffer > 0 && list[i].largest_binding > 0);
        found += strcmp(list[i].name, info.name) == 0 && list[i].f16 == info.gpu_f16 && !list[i].unusable[0];
    }
    CHECK(found > 0 || !info.gpu);
}

typedef struct heard {
    uint64_t calls, last, total, stop_at;
} heard;

static int32_t hear(uint64_t done, uint64_t total, void *user_data) {
    heard *h = user_data;
    CHECK(done <= total && (h->calls == 0 || done >= h->last));
    h->calls++;
    h->last = done;
    h->total = total;
    return h->calls == h->stop_at;
}

static void datasets(void) {
    static const int64_t own_shape[3] = {1, 2, 2}, own_labels[3] = {2, 0, 1};
    static const uint8_t own_pixels[12] = {0, 255, 51, 102, 1, 2, 3, 4, 250, 251, 252, 253};
    static const int64_t one_shape[4] = {2, 1, 2, 2}, batch_shape[4] = {4, 1, 28, 28};
    static float batch[4 * PIXELS], again[4 * PIXELS];
    const size_t indices[4] = {3, 1, 99, 0}, own_indices[2] = {0, 2}, beyond[1] = {100};
    size_t order[100], other[100], seen[100] = {0}, correct, i;
    float x[8];
    int64_t labels[4];
    double loss;
    tb_dataset *digits = NULL, *own = NULL, *train = NULL, *test = NULL;
    tb_dataset_properties info;
    tb_dataset_options options;
    tb_augmentation augmentation;
    tb_network *network = NULL;
    tb_optimizer *optimizer = NULL;
    tb_epoch_report report;
    tb_view_mut x_view = out(x, one_shape, 4, TB_DTYPE_F32), batch_view = out(batch, batch_shape, 4, TB_DTYPE_F32);
    tb_view_mut again_view = out(again, batch_shape, 4, TB_DTYPE_F32), device_view;
    tb_tensor *device;
    heard h = {0, 0, 0, 0};

    OK(tb_dataset_digits(100, 7, hear, &h, &digits));
    CHECK(h.calls == 2 && h.last == 100 && h.total == 100);
    info.struct_size = sizeof info;
    OK(tb_dataset_info(digits, &info));
    CHECK(info.count == 100 && info.classes == 10 && strcmp(info.name, "digits") == 0);
    CHECK(info.shape[0] == 1 && info.shape[1] == 28 && info.shape[2] == 28 && info.mean[0] == 0.5 && info.std[0] == 0.5);
    h.calls = 0;
    h.stop_at = 1;
    FAILS(tb_dataset_digits(100, 7, hear, &h, &own), TB_STATUS_CANCELLED, "tb_dataset_digits", "cancelled");
    CHECK(own == NULL);
    OK(tb_dataset_shapes(3, 7, NULL, NULL, &own));
    OK(tb_dataset_info(own, &info));
    CHECK(info.count == 3 && info.classes == 10 && info.shape[0] == 3 && info.shape[1] == 32);
    OK(tb_dataset_free(own));

    OK(tb_dataset_order(digits, 1, 0, order, 100));
    OK(tb_dataset_order(digits, 1, 0, other, 100));
    CHECK(memcmp(order, other, sizeof order) == 0);
    OK(tb_dataset_order(digits, 1, 1, other, 100));
    CHECK(memcmp(order, other, sizeof order) != 0);
    for (i = 0; i < 100; i++) seen[order[i]]++;
    for (i = 0; i < 100; i++) CHECK(seen[i] == 1);

    OK(tb_dataset_batch(digits, indices, 4, NULL, &batch_view, labels));
    for (i = 0; i < 4; i++) CHECK(labels[i] >= 0 && labels[i] < 10);
    device = tensor_of(TB_DTYPE_F32, batch_shape, 4);
    device_view = onto(device);
    OK(tb_dataset_batch(digits, indices, 4, NULL, &device_view, labels));
    OK(tb_tensor_read(device, &again_view));
    CHECK(same(batch, again, 4 * PIXELS));
    OK(tb_augmentation_init(&augmentation, sizeof augmentation));
    OK(tb_dataset_batch(digits, indices, 4, &augmentation, &again_view, labels));
    CHECK(same(batch, again, 4 * PIXELS)); /* nothing is changed by default */
    CHECK(augmentation.scale[0] == 0.08 && augmentation.scale[1] == 1 && augmentation.resized_crop == 0);
    augmentation.resized_crop = 1;
    OK(tb_dataset_batch(digits, indices, 4, &augmentation, &again_view, labels));
    CHECK(!same(batch, again, 4 * PIXELS));
    augmentation.ratio[0] = 0;
    FAILS(tb_dataset_batch(digits, indices, 4, &augmentation, &again_view, labels), TB_STATUS_INVALID_ARGUMENT,
          "tb_dataset_batch", "`ratio`");
    OK(tb_augmentation_init(&augmentation, sizeof augmentation));
    augmentation.crop_padding = 4;
    augmentation.horizontal_flip = 1;
    OK(tb_dataset_batch(digits, indices, 4, &augmentation, &again_view, labels));
    CHECK(!same(batch, again, 4 * PIXELS));
    FAILS(tb_dataset_batch(digits, beyond, 1, NULL, &batch_view, labels), TB_STATUS_SHAPE_MISMATCH, "tb_dataset_batch",
          "`x`");

    OK(tb_dataset_create("own", own_pixels, own_shape, own_labels, 3, 3, &own));
    OK(tb_dataset_batch(own, own_indices, 2, NULL, &x_view, labels));
    CHECK(x[0] == -1 && x[1] == 1 && near(x[2], -0.6, 1e-6) && near(x[4], 245 / 127.5 - 1 + 5 / 127.5, 1e-6));
    CHECK(labels[0] == 2 && labels[1] == 1);
    OK(tb_dataset_free(own));

    /* A network reads a batch from the engine, and learns in epochs. */
    OK(tb_network_create(engine, "lenet5", NULL, NULL, &network));
    {
        static const int64_t logits_shape[2] = {4, 10};
        float logits[40], logits2[40];
        tb_view host = in(batch, batch_shape, 4, TB_DTYPE_F32), there = on(device);
        tb_view_mut logits_view = out(logits, logits_shape, 2, TB_DTYPE_F32);
        tb_tensor *dlogits = tensor_of(TB_DTYPE_F32, logits_shape, 2);
        tb_view_mut there_view = onto(dlogits), logits2_view = out(logits2, logits_shape, 2, TB_DTYPE_F32);
        OK(tb_network_forward(network, &host, &logits_view));
        OK(tb_network_forward(network, &there, &there_view));
        OK(tb_tensor_read(dlogits, &logits2_view));
        CHECK(same(logits, logits2, 40));
        OK(tb_tensor_free(dlogits));
    }
    OK(tb_optimizer_create(network, NULL, &optimizer));
    report.struct_size = sizeof report;
    h.calls = h.last = 0;
    h.stop_at = 3;
    FAILS(tb_optimizer_train_epoch(optimizer, digits, 32, 1, 0, NULL, hear, &h, &report), TB_STATUS_CANCELLED,
          "tb_optimizer_train_epoch", "cancelled");
    CHECK(report.steps == 2 && report.skipped == 0 && report.loss > 0);
    h.calls = h.last = h.stop_at = 0;
    OK(tb_optimizer_train_epoch(optimizer, digits, 32, 1, 1, &augmentation, hear, &h, &report));
    CHECK(report.steps == 4 && h.calls == 5 && h.last == 100 && near(report.loss, log(10.0), 0.5));
    h.calls = h.last = 0;
    OK(tb_network_evaluate_dataset(network, digits, 64, hear, &h, &loss, &correct));
    CHECK(near(loss, log(10.0), 0.5) && correct <= 100 && h.last == 100 && h.calls == 3);
    OK(tb_optimizer_train_epoch(optimizer, digits, 50, 1, 2, NULL, NULL, NULL, NULL));
    OK(tb_optimizer_free(optimizer));
    OK(tb_network_free(network));
    OK(tb_tensor_free(device));
    OK(tb_dataset_free(digits));
    FAILS(tb_dataset_info(digits, &info), TB_STATUS_INVALID_HANDLE, "tb_dataset_info", "`dataset`");

    OK(tb_dataset_options_init(&options, sizeof options));
    CHECK(options.image_size == 224 && options.limit_per_class == 0 && options.limit == 0);
    CHECK(options.resize == 0 && options.from_files == 0);
    FAILS(tb_dataset_open("/no/such/folder", &options, NULL, NULL, &train, &test), TB_STATUS_IO, "tb_dataset_open",
          "/no/such/folder");
    CHECK(train == NULL && test == NULL);
    if (getenv("TIEBREAK_TEST_MNIST")) { /* a small one, written by the test that runs this */
        h.calls = h.last = 0;
        options.limit = 32;
        OK(tb_dataset_open(getenv("TIEBREAK_TEST_MNIST"), &options, hear, &h, &train, &test));
        CHECK(h.last == 4 && h.total == 4);
        OK(tb_dataset_info(train, &info));
        CHECK(info.count == 32 && info.classes == 10 && info.shape[1] == 28);
        OK(tb_dataset_info(test, &info));
        CHECK(info.count == 32);
        OK(tb_dataset_free(train));
        OK(tb_dataset_free(test));
        h.calls = h.last = 0;
        h.stop_at = 2;
        FAILS(tb_dataset_open(getenv("TIEBREAK_TEST_MNIST"), NULL, hear, &h, &train, &test), TB_STATUS_CANCELLED,
              "tb_dataset_open", "cancelled");
        CHECK(train == NULL && test == NULL);
    }
}

/* A cell of a result as a text. */
static const char *cell(tb_experiment_result *result, size_t column, size_t row) {
    static char text[256];
    size_t size = 0;
    OK(tb_experiment_result_text(result, column, row, text, sizeof text, &size));
    CHECK(size == strlen(text) + 1);
    return text;
}

/* The column of that name. */
static size_t column_of(tb_experiment_result *result, const char *name, tb_column_kind kind) {
    tb_experiment_result_properties info;
    tb_column_properties column;
    size_t i;
    info.struct_size = sizeof info;
    column.struct_size = sizeof column;
    OK(tb_experiment_result_info(result, &info));
    for (i = 0; i < info.column_count; i++) {
        OK(tb_experiment_result_column(result, i, &column));
        if (strcmp(column.name, name) == 0) {
            check_at(column.kind == kind, "kind of", name, __LINE__);
            return i;
        }
    }
    check_at(0, "no column", name, __LINE__);
    return 0;
}

/* Runs all units in memory and counts what it hears. */
static tb_experiment_result *run_all(tb_experiment *experiment, heard *h) {
    tb_experiment_result *result = NULL;
    h->calls = h->last = 0;
    OK(tb_experiment_run(experiment, engine, NULL, 0, 0, hear, h, &result));
    return result;
}

static void experiments(void) {
    static const char *relu_protocol =
        "{\"precisions\": [32], \"layers\": [1, 2], \"width\": 16, \"seeds\": 3, \"batch_size\": 32}";
    static const char *thresholds_protocol =
        "{\"precisions\": [\"f16\"], \"seeds\": 1, \"orders\": [\"fixed\"], \"batch_size\": 8, \"mini_batches\": 2}";
    static double numbers[90], again[90];
    static uint64_t integers[90];
    tb_experiment_properties list[32], info;
    tb_experiment_result_properties done;
    tb_column_properties column;
    tb_experiment *zero = NULL, *relu_zeros = NULL, *distances = NULL;
    tb_experiment_result *result = NULL, *other = NULL;
    tb_dataset *digits = NULL;
    char text[1024], folder[4096];
    size_t count = 0, size = 0, c, i, zeros = 0;
    const char *test_folder = getenv("TIEBREAK_TEST_FOLDER");
    heard h = {0, 0, 0, 0};

    list[0].struct_size = info.struct_size = sizeof info;
    done.struct_size = sizeof done;
    column.struct_size = sizeof column;
    OK(tb_experiments(NULL, 0, &count));
    CHECK(count >= 19 && count <= 32);
    OK(tb_experiments(list, 32, &count));
    CHECK(strcmp(list[0].name, "zero_program") == 0 && strncmp(list[0].about, "E1: ", 4) == 0 && list[0].unit_count == 0);
    for (i = 0; i < count && i < 32; i++) {
        OK(tb_experiment_defaults(list[i].name, 1, NULL, 0, &size));
        CHECK(size > 10);
    }
    OK(tb_experiment_defaults("relu", 0, text, sizeof text, &size));
    CHECK(size == strlen(text) + 1 && strstr(text, "\"seeds\":200") && strstr(text, "\"precisions\":[\"f32\",\"f64\"]"));
    OK(tb_experiment_defaults("relu", 1, text, 8, &size));
    CHECK(strlen(text) == 7 && size > 8);

    /* Without images, in memory. */
    OK(tb_experiment_create("zero_program", NULL, NULL, NULL, &zero));
    OK(tb_experiment_info(zero, &info));
    CHECK(strcmp(info.name, "zero_program") == 0 && info.unit_count == 18);
    result = run_all(zero, &h);
    CHECK(h.last == 18000 && h.total == 18000);
    OK(tb_experiment_result_info(result, &done));
    CHECK(done.unit_count == 18 && done.finished == 18 && done.skipped == 0 && done.missing == 0 && !done.cancelled);
    CHECK(done.row_count == 90 && done.sentence_count == 4);
    c = column_of(result, "derivative", TB_COLUMN_NUMBERS);
    OK(tb_experiment_result_numbers(result, c, numbers, 90));
    CHECK(numbers[2] == -1.5 && numbers[0] == 0); /* the published program, at t = 0 */
    CHECK(strcmp(cell(result, c, 2), "-1.5") == 0);
    FAILS(tb_experiment_result_integers(result, c, integers, 90), TB_STATUS_INVALID_ARGUMENT,
          "tb_experiment_result_integers", "`derivative`");
    c = column_of(result, "precision", TB_COLUMN_INTEGERS);
    OK(tb_experiment_result_integers(result, c, integers, 90));
    OK(tb_experiment_result_numbers(result, c, numbers, 90));
    CHECK(integers[0] == 16 && integers[89] == 64 && numbers[89] == 64);
    c = column_of(result, "program", TB_COLUMN_TEXTS);
    CHECK(strcmp(cell(result, c, 0), "maxpool") == 0 && strcmp(cell(result, c, 89), "relu") == 0);
    OK(tb_experiment_result_column(result, c, &column));
    CHECK(column.text_size == sizeof "maxpool");
    FAILS(tb_experiment_result_numbers(result, c, numbers, 90), TB_STATUS_INVALID_ARGUMENT,
          "tb_experiment_result_numbers", "`program`");
    OK(tb_experiment_result_sentence(result, 0, text, sizeof text, &size));
    CHECK(strstr(text, "-1.5 at t = 0") && size == strlen(text) + 1);
    OK(tb_experiment_result_free(result));

    /* What the callback stops keeps the units that have finished, and says so. */
    h.stop_at = 4; /* two calls a unit */
    result = run_all(zero, &h);
    OK(tb_experiment_result_info(result, &done));
    CHECK(done.cancelled == 1 && done.finished == 2 && done.missing == 16 && done.row_count == 10);
    OK(tb_experiment_result_sentence(result, done.sentence_count - 1, text, sizeof text, &size));
    CHECK(strstr(text, "16 of 18 units have not finished") != NULL);
    OK(tb_experiment_result_free(result));
    h.stop_at = 1;
    result = run_all(zero, &h);
    OK(tb_experiment_result_info(result, &done));
    CHECK(done.cancelled == 1 && done.finished == 0 && done.row_count == 0 && done.column_count == 0);
    OK(tb_experiment_result_free(result));

    /* A part of the units. */
    h.stop_at = 0;
    OK(tb_experiment_run(zero, engine, NULL, 2, 3, NULL, NULL, &result));
    OK(tb_experiment_result_info(result, &done));
    CHECK(done.finished == 6 && done.missing == 12 && !done.cancelled);
    OK(tb_experiment_result_free(result));
    OK(tb_experiment_free(zero));

    /* On images, in a folder: the second run finds all of it there. */
    OK(tb_dataset_digits(64, 7, NULL, NULL, &digits));
    OK(tb_experiment_create("relu", relu_protocol, digits, NULL, &relu_zeros));
    OK(tb_experiment_create("thresholds", thresholds_protocol, digits, digits, &distances));
    OK(tb_dataset_free(digits));
    snprintf(folder, sizeof folder, "%s/experiment", test_folder ? test_folder : ".");
    result = run_all(relu_zeros, &h);
    OK(tb_experiment_run(relu_zeros, engine, folder, 0, 0, NULL, NULL, &other));
    OK(tb_experiment_result_info(other, &done));
    CHECK(done.row_count == 6 && done.finished + done.skipped == 2);
    c = column_of(result, "loss", TB_COLUMN_NUMBERS);
    OK(tb_experiment_result_numbers(result, c, numbers, 6));
    OK(tb_experiment_result_numbers(other, c, again, 6));
    for (i = 0; i < 6; i++) CHECK(numbers[i] == again[i] && near(numbers[i], log(10.0), 0.5));
    OK(tb_experiment_result_free(other));
    OK(tb_experiment_run(relu_zeros, engine, folder, 0, 0, NULL, NULL, &other));
    OK(tb_experiment_result_info(other, &done));
    CHECK(done.skipped == 2 && done.finished == 0);
    OK(tb_experiment_result_free(other));
    OK(tb_experiment_result_free(result));
    OK(tb_experiment_free(relu_zeros));

    result = run_all(distances, &h);
    OK(tb_experiment_free(distances));
    c = column_of(result, "mini_batch", TB_COLUMN_INTEGERS);
    CHECK(strcmp(cell(result, c, 1), "1") == 0);
    OK(tb_experiment_result_numbers(result, column_of(result, "d_l1", TB_COLUMN_NUMBERS), numbers, 2));
    for (i = 0; i < 2; i++) zeros += numbers[i] == 0;
    CHECK(zeros == 0);
    OK(tb_experiment_result_free(result));
    FAILS(tb_experiment_result_info(result, &done), TB_STATUS_INVALID_HANDLE, "tb_experiment_result_info", "`result`");
}

/* Every convolution and linear layer's products are in the work of a step, and in its profile. */
static void profile(void) {
    static float x[BATCH * PIXELS];
    static const int64_t x_shape[4] = {BATCH, 1, 28, 28};
    static tb_kernel_profile kernels[256];
    int64_t labels[BATCH];
    size_t count = 0, i, optimizers_seen = 0;
    uint64_t operations = 0;
    tb_network *network = NULL;
    tb_optimizer *optimizer = NULL;
    tb_optimizer_properties state;
    tb_work forward, training;
    tb_view x_view = in(x, x_shape, 4, TB_DTYPE_F32);
    tb_status status;
    pictures(x, labels);
    OK(tb_network_create(engine, "lenet5", NULL, NULL, &network));
    forward.struct_size = training.struct_size = sizeof forward;
    OK(tb_network_work(network, BATCH, 0, &forward));
    OK(tb_network_work(network, BATCH, 1, &training));
    /* Two convolutions and three linear layers. */
    CHECK(forward.operations == 2 * BATCH *
                                    (uint64_t)(6 * 24 * 24 * 25 + 16 * 8 * 8 * 150 + 256 * 120 + 120 * 84 + 84 * 10));
    CHECK(training.operations > 2 * forward.operations && training.operations < 3 * forward.operations);
    CHECK(training.bytes > forward.bytes && forward.bytes > sizeof x);
    OK(tb_optimizer_create(network, NULL, &optimizer));
    kernels[0].struct_size = sizeof kernels[0];
    status = tb_optimizer_profile_step(optimizer, &x_view, labels, BATCH, kernels, 256, &count);
    if (status != TB_STATUS_UNSUPPORTED) { /* a GPU without timestamps */
        CHECK(status == TB_STATUS_OK && count > 20 && count <= 256);
        for (i = 0; i < count; i++) {
            CHECK(kernels[i].layer[0] && kernels[i].kernel[0] && kernels[i].seconds >= 0);
            operations += kernels[i].operations;
            optimizers_seen += strcmp(kernels[i].layer, "optimizer") == 0;
        }
        CHECK(operations == training.operations && optimizers_seen >= 10);
        i = count;
        OK(tb_optimizer_profile_step(optimizer, &x_view, labels, BATCH, kernels, 1, &count));
        CHECK(count == i);
        state.struct_size = sizeof state;
        OK(tb_optimizer_info(optimizer, &state));
        CHECK(state.steps == 2);
    }
    OK(tb_optimizer_free(optimizer));
    OK(tb_network_free(network));
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
    /* An older program, whose struct ends where the first release's did. */
    {
        static const int64_t three[1] = {3};
        tb_tensor *tensor = NULL;
        tb_tensor_properties older;
        OK(tb_tensor_create(engine, TB_DTYPE_F32, three, 1, &tensor));
        memset(&older, 0x55, sizeof older);
        older.struct_size = 240;
        OK(tb_tensor_info(tensor, &older));
        CHECK(older.struct_size == 240 && older.shape[0] == 3 && older.dtype == 0x55555555);
        older.struct_size = 239;
        FAILS(tb_tensor_info(tensor, &older), TB_STATUS_INVALID_ARGUMENT, "tb_tensor_info", "struct_size");
        OK(tb_tensor_free(tensor));
    }
    options.more = 1;
    FAILS(tb_engine_create(&options.options, &other), TB_STATUS_INVALID_ARGUMENT, "tb_engine_create", "newer version");
    CHECK(other == NULL);
}

int main(int argc, char **argv) {
    const char *device = argc > 1 ? argv[1] : "cpu";
    versions();
    engines(strcmp(device, "gpu") == 0 ? TB_DEVICE_GPU : strcmp(device, "auto") == 0 ? TB_DEVICE_AUTO : TB_DEVICE_CPU);
    maxpool();
    diagnosis();
    compositions();
    overlapping();
    relu();
    conv2d();
    linear();
    cross_entropy();
    batchnorm();
    norm_pool2d();
    avgpool2d();
    add();
    concat();
    dropout();
    quantize();
    optimizers();
    schedules();
    empty();
    networks();
    dtypes();
    graphs();
    descriptions();
    own_networks();
    memory_limit();
    census();
    replay();
    non_finite();
    files();
    tensors();
    dlpack();
    adapter_list();
    datasets();
    experiments();
    profile();
    struct_sizes();
    OK(tb_engine_free(engine));
    return finish("abi_test");
}
