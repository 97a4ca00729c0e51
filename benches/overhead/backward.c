/*
 * The C side of overhead.py: times tb_maxpool2d_backward and prints a line of JSON.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tiebreak.h"

static void check(tb_status status) {
    if (status == TB_STATUS_OK) return;
    fprintf(stderr, "%s\n", tb_last_error_message());
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Arguments: N C H W, seconds, threads. */
int main(int count, char **arguments) {
    int64_t in[4], out[4];
    size_t size, x_len = 1;
    tb_engine_options options;
    tb_engine *engine;
    if (count != 7) return 2;
    for (int i = 0; i < 4; i++) x_len *= (size_t)(in[i] = atoll(arguments[1 + i]));
    const double spend = atof(arguments[5]);
    check(tb_engine_options_init(&options, sizeof options));
    options.device = TB_DEVICE_CPU;
    options.threads = (uint32_t)atoi(arguments[6]);
    check(tb_engine_create(&options, &engine));
    check(tb_pool2d_output_shape(in, NULL, out, &size));

    float *x = malloc(x_len * sizeof *x), *gx = malloc(x_len * sizeof *x);
    float *y = malloc(x_len / 4 * sizeof *y), *gy = malloc(x_len / 4 * sizeof *y);
    uint8_t *ties = malloc(size);
    if (!x || !gx || !y || !gy || !ties) return 1;
    for (size_t i = 0; i < x_len; i++) x[i] = (float)(i * 2654435761u % 2048) / 1024 - 1;
    for (size_t i = 0; i < x_len / 4; i++) gy[i] = (float)(i * 40503u % 2048) / 1024 - 1;
    check(tb_maxpool2d_forward(engine, &(tb_view){x, in, 4, TB_DTYPE_F32}, NULL, NULL,
                               &(tb_view_mut){y, out, 4, TB_DTYPE_F32}, ties, size));

    const tb_view gy_view = {gy, out, 4, TB_DTYPE_F32};
    const tb_view_mut gx_view = {gx, in, 4, TB_DTYPE_F32};
    check(tb_maxpool2d_backward(engine, &gy_view, ties, size, NULL, NULL, &gx_view));
    printf("{\"seconds\": [");
    double spent = 0;
    for (int runs = 0; runs < 3 || (spent < spend && runs < 1000); runs++) {
        const double start = now();
        check(tb_maxpool2d_backward(engine, &gy_view, ties, size, NULL, NULL, &gx_view));
        const double seconds = now() - start;
        printf(runs ? ", %.9f" : "%.9f", seconds);
        spent += seconds;
    }
    printf("]}\n");
    return 0;
}
