#include <stdio.h>
#include <tiebreak.h>

int main(void) {
    float x[4] = {2, 2, 2, 1}, y[1], gy[1] = {3}, gx[4];
    const int64_t in[4] = {1, 1, 2, 2}, out[4] = {1, 1, 1, 1};
    const tb_view x_view = {x, in, 4, TB_DTYPE_F32}, gy_view = {gy, out, 4, TB_DTYPE_F32};
    const tb_view_mut y_view = {y, out, 4, TB_DTYPE_F32}, gx_view = {gx, in, 4, TB_DTYPE_F32};
    uint8_t ties[1];
    tb_kink kink;
    tb_engine_options options;
    tb_engine *engine;
    if (tb_abi_version() != TB_ABI_VERSION) return 2;
    tb_engine_options_init(&options, sizeof options);
    options.device = TB_DEVICE_CPU;
    tb_kink_init(&kink, sizeof kink);
    kink.jacobian = TB_JACOBIAN_MINIMAL;
    if (tb_engine_create(&options, &engine) || tb_maxpool2d_forward(engine, &x_view, NULL, NULL, &y_view, ties, 1) ||
        tb_maxpool2d_backward(engine, &gy_view, ties, 1, NULL, &kink, &gx_view) || tb_engine_free(engine)) {
        fprintf(stderr, "%s\n", tb_last_error_message());
        return 1;
    }
    printf("%g: %g %g %g %g\n", y[0], gx[0], gx[1], gx[2], gx[3]);
    return 0;
}
