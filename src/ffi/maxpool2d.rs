use super::engine::{self, tb_engine};
use super::guard;
use super::kink::{self, tb_kink};
use super::pool2d::{self, tb_pool2d_options};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};

/// Max pooling, and the tie set of each window, which the backward pass needs. A NaN in a window wins.
///
/// A tie set is 1 byte for windows of up to 7 elements, 2 for up to 15, else 4 (len / 32 + 1) bytes: bit i
/// (little endian, row-major in the window) is set where element i attains the maximum. The highest bit of the
/// last byte is set where the window holds a NaN; then the others mark the NaNs.
///
/// @param x          `[N, C, H, W]`
/// @param options    NULL for the defaults: 2x2, stride 2
/// @param kink       a choice of kind `TB_KINK_MAXPOOL`: only `TB_COMPOSITION_COUPLED` changes y; NULL: native
/// @param y          out: `[N, C, OH, OW]`
/// @param ties       out: `ties_size` bytes
/// @param ties_size  as `tb_pool2d_output_shape` gives it; `TB_TIES_TENSOR` where ties is a `tb_tensor` of so many bytes
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_maxpool2d_forward(
    engine: *const tb_engine,
    x: *const tb_view,
    options: *const tb_pool2d_options,
    kink: *const tb_kink,
    y: *const tb_view_mut,
    ties: *mut u8,
    ties_size: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_maxpool2d_forward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let mut y = borrows.output(y, "y")?;
        let ties = borrows.ties_mut(ties, ties_size)?;
        let (window, kink) = (pool2d::read(options)?, kink::maxpool(kink)?);
        Ok(engine.maxpool2d_forward(x.view()?, window, kink, y.view()?, ties)?)
    })
}

/// Gradient with respect to the input of `tb_maxpool2d_forward` under any choice, from the stored tie sets: two
/// choices can be compared on one forward pass.
///
/// @param gy         `[N, C, OH, OW]`
/// @param ties       as the forward pass wrote them
/// @param ties_size  as in the forward pass
/// @param options    as in the forward pass
/// @param kink       a choice of kind `TB_KINK_MAXPOOL`; NULL: native
/// @param gx         out: `[N, C, H, W]`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_maxpool2d_backward(
    engine: *const tb_engine,
    gy: *const tb_view,
    ties: *const u8,
    ties_size: usize,
    options: *const tb_pool2d_options,
    kink: *const tb_kink,
    gx: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_maxpool2d_backward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let gy = borrows.input(gy, "gy")?;
        let ties = borrows.ties(ties, ties_size)?;
        let mut gx = borrows.output(gx, "gx")?;
        let (window, kink) = (pool2d::read(options)?, kink::maxpool(kink)?);
        Ok(engine.maxpool2d_backward(gy.view()?, ties, window, kink, gx.view()?)?)
    })
}
