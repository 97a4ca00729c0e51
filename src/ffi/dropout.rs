use super::engine::{self, tb_engine};
use super::guard;
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};
use crate::engine::DropoutOptions;

/// Each element becomes 0 with probability p, the others are divided by 1 - p; elementwise on any shape. The mask is
/// a function of p, seed, step and the element's index alone.
///
/// @param x     any shape
/// @param p     0 to 1
/// @param seed  of the mask
/// @param step  another mask for each
/// @param y     out: the shape and dtype of x
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_dropout_forward(
    engine: *const tb_engine,
    x: *const tb_view,
    p: f64,
    seed: u64,
    step: u64,
    y: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_dropout_forward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let mut y = borrows.output(y, "y")?;
        Ok(engine.dropout_forward(x.view()?, DropoutOptions { p, seed, step }, y.view()?)?)
    })
}

/// Gradient of `tb_dropout_forward` under the same mask.
///
/// @param gy             any shape
/// @param p, seed, step  as in the forward pass
/// @param gx             out: the shape and dtype of gy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_dropout_backward(
    engine: *const tb_engine,
    gy: *const tb_view,
    p: f64,
    seed: u64,
    step: u64,
    gx: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_dropout_backward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let gy = borrows.input(gy, "gy")?;
        let mut gx = borrows.output(gx, "gx")?;
        Ok(engine.dropout_backward(gy.view()?, DropoutOptions { p, seed, step }, gx.view()?)?)
    })
}
