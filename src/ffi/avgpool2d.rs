use super::engine::{self, tb_engine};
use super::guard;
use super::pool2d::{self, tb_pool2d_options};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};

/// Average pooling: y = sum of each window over KH KW; padding counts as zeros. All tensors have one dtype.
///
/// @param x        `[N, C, H, W]`
/// @param options  NULL for the defaults: 2x2, stride 2
/// @param y        out: `[N, C, OH, OW]`, as `tb_pool2d_output_shape` gives it
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_avgpool2d_forward(
    engine: *const tb_engine,
    x: *const tb_view,
    options: *const tb_pool2d_options,
    y: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_avgpool2d_forward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let mut y = borrows.output(y, "y")?;
        let window = pool2d::read(options)?;
        Ok(engine.avgpool2d_forward(x.view()?, window, y.view()?)?)
    })
}

/// Gradient of `tb_avgpool2d_forward`.
///
/// @param gy       `[N, C, OH, OW]`
/// @param options  as in the forward pass
/// @param gx       out: `[N, C, H, W]`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_avgpool2d_backward(
    engine: *const tb_engine,
    gy: *const tb_view,
    options: *const tb_pool2d_options,
    gx: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_avgpool2d_backward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let gy = borrows.input(gy, "gy")?;
        let mut gx = borrows.output(gx, "gx")?;
        let window = pool2d::read(options)?;
        Ok(engine.avgpool2d_backward(gy.view()?, window, gx.view()?)?)
    })
}

/// Average pooling to the size of y: the mean of the plane where that is 1 x 1. All tensors have one dtype.
///
/// @param x  `[N, C, H, W]`
/// @param y  out: `[N, C, OH, OW]`; OH divides H, OW divides W
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_adaptive_avgpool2d_forward(
    engine: *const tb_engine,
    x: *const tb_view,
    y: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_adaptive_avgpool2d_forward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let mut y = borrows.output(y, "y")?;
        Ok(engine.adaptive_avgpool2d_forward(x.view()?, y.view()?)?)
    })
}

/// Gradient of `tb_adaptive_avgpool2d_forward`.
///
/// @param gy  `[N, C, OH, OW]`
/// @param gx  out: `[N, C, H, W]`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_adaptive_avgpool2d_backward(
    engine: *const tb_engine,
    gy: *const tb_view,
    gx: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_adaptive_avgpool2d_backward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let gy = borrows.input(gy, "gy")?;
        let mut gx = borrows.output(gx, "gx")?;
        Ok(engine.adaptive_avgpool2d_backward(gy.view()?, gx.view()?)?)
    })
}
