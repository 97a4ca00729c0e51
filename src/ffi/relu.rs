use super::engine::{self, tb_engine};
use super::guard;
use super::kink::{self, tb_kink};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};

/// y = max(x, 0), elementwise on any shape; NaN stays NaN and -0 stays -0, as in PyTorch.
///
/// @param x  any shape
/// @param y  out: the shape and dtype of x
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_relu_forward(
    engine: *const tb_engine,
    x: *const tb_view,
    y: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_relu_forward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let mut y = borrows.output(y, "y")?;
        Ok(engine.relu_forward(x.view()?, y.view()?)?)
    })
}

/// Gradient of `tb_relu_forward`: gy where x > 0 (and where x is NaN), alpha gy where x = 0, else 0.
///
/// @param x     the input of the forward pass
/// @param gy    the shape and dtype of x
/// @param kink  a choice of kind `TB_KINK_RELU`; NULL for alpha = 0
/// @param gx    out: the shape and dtype of x
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_relu_backward(
    engine: *const tb_engine,
    x: *const tb_view,
    gy: *const tb_view,
    kink: *const tb_kink,
    gx: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_relu_backward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let gy = borrows.input(gy, "gy")?;
        let mut gx = borrows.output(gx, "gx")?;
        let kink = kink::relu(kink)?;
        Ok(engine.relu_backward(x.view()?, gy.view()?, kink, gx.view()?)?)
    })
}
