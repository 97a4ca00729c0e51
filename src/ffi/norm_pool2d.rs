use super::engine::{self, tb_engine};
use super::guard;
use super::kink::{self, tb_kink};
use super::pool2d::{self, tb_pool2d_options};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};

/// Norm pooling: y = sqrt(sum of x_i^2) over each window, with the roundings of the published program, so that f16
/// overflows from |x| = 256 on. All tensors have one dtype.
///
/// @param x        `[N, C, H, W]`
/// @param options  NULL for the defaults: 2x2, stride 2
/// @param y        out: `[N, C, OH, OW]`, as `tb_pool2d_output_shape` gives it
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_norm_pool2d_forward(
    engine: *const tb_engine,
    x: *const tb_view,
    options: *const tb_pool2d_options,
    y: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_norm_pool2d_forward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let mut y = borrows.output(y, "y")?;
        let window = pool2d::read(options)?;
        Ok(engine.norm_pool2d_forward(x.view()?, window, y.view()?)?)
    })
}

/// Gradient of `tb_norm_pool2d_forward`: (x_i / y) gy where y is not 0, else at_zero gy.
///
/// @param x        `[N, C, H, W]`, the input of the forward pass
/// @param y        `[N, C, OH, OW]`, as the forward pass gave it
/// @param gy       `[N, C, OH, OW]`
/// @param options  as in the forward pass
/// @param kink     a choice of kind `TB_KINK_NORM_POOL`; NULL for at_zero = 0
/// @param gx       out: `[N, C, H, W]`; sums over overlapping windows are rounded one by one
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_norm_pool2d_backward(
    engine: *const tb_engine,
    x: *const tb_view,
    y: *const tb_view,
    gy: *const tb_view,
    options: *const tb_pool2d_options,
    kink: *const tb_kink,
    gx: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_norm_pool2d_backward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let y = borrows.input(y, "y")?;
        let gy = borrows.input(gy, "gy")?;
        let mut gx = borrows.output(gx, "gx")?;
        let (window, kink) = (pool2d::read(options)?, kink::norm_pool(kink)?);
        Ok(engine.norm_pool2d_backward(x.view()?, y.view()?, gy.view()?, window, kink, gx.view()?)?)
    })
}
