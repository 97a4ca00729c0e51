use super::engine::{self, tb_engine};
use super::guard;
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};

/// Fully connected layer: y = x weight^T + bias. All tensors have one dtype.
///
/// @param x       `[N, I]`
/// @param weight  `[O, I]`
/// @param bias    `[O]`, or NULL
/// @param y       out: `[N, O]`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_linear_forward(
    engine: *const tb_engine,
    x: *const tb_view,
    weight: *const tb_view,
    bias: *const tb_view,
    y: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_linear_forward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let weight = borrows.input(weight, "weight")?;
        let bias = borrows.optional_input(bias, "bias")?;
        let mut y = borrows.output(y, "y")?;
        let bias = bias.as_ref().map(|b| b.view()).transpose()?;
        Ok(engine.linear_forward(x.view()?, weight.view()?, bias, y.view()?)?)
    })
}

/// Gradient with respect to the input of `tb_linear_forward`: gx = gy weight.
///
/// @param gy      `[N, O]`
/// @param weight  `[O, I]`
/// @param gx      out: `[N, I]`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_linear_backward_input(
    engine: *const tb_engine,
    gy: *const tb_view,
    weight: *const tb_view,
    gx: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_linear_backward_input", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let gy = borrows.input(gy, "gy")?;
        let weight = borrows.input(weight, "weight")?;
        let mut gx = borrows.output(gx, "gx")?;
        Ok(engine.linear_backward_input(gy.view()?, weight.view()?, gx.view()?)?)
    })
}

/// Gradients with respect to the weight and bias of `tb_linear_forward`.
///
/// @param x        `[N, I]`
/// @param gy       `[N, O]`
/// @param gweight  out: `[O, I]`
/// @param gbias    out: `[O]`, or NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_linear_backward_weight(
    engine: *const tb_engine,
    x: *const tb_view,
    gy: *const tb_view,
    gweight: *const tb_view_mut,
    gbias: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_linear_backward_weight", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let gy = borrows.input(gy, "gy")?;
        let mut gweight = borrows.output(gweight, "gweight")?;
        let mut gbias = borrows.optional_output(gbias, "gbias")?;
        let gbias = gbias.as_mut().map(|b| b.view()).transpose()?;
        Ok(engine.linear_backward_weight(x.view()?, gy.view()?, gweight.view()?, gbias)?)
    })
}
