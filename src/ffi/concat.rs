use super::engine::{self, tb_engine};
use super::guard;
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};

/// Concatenation along dimension 1, the channels. All tensors have one dtype.
///
/// @param inputs       `[N, C_i, ...]` each
/// @param input_count  how many
/// @param y            out: `[N, sum of C_i, ...]`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_concat(
    engine: *const tb_engine,
    inputs: *const tb_view,
    input_count: usize,
    y: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_concat", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let mut parts = Vec::new();
        for (i, input) in borrows.array(inputs, input_count, "inputs")?.iter().enumerate() {
            parts.push(borrows.input(input, format!("inputs[{i}]"))?);
        }
        let mut y = borrows.output(y, "y")?;
        let views = parts.iter().map(|p| p.view()).collect::<Result<Vec<_>, _>>()?;
        Ok(engine.concat(&views, y.view()?)?)
    })
}

/// Gradients with respect to the inputs of `tb_concat`: the parts of gy.
///
/// @param gy              `[N, sum of C_i, ...]`
/// @param gradients       out: `[N, C_i, ...]` each
/// @param gradient_count  how many
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_concat_backward(
    engine: *const tb_engine,
    gy: *const tb_view,
    gradients: *const tb_view_mut,
    gradient_count: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_concat_backward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let gy = borrows.input(gy, "gy")?;
        let mut parts = Vec::new();
        for (i, gradient) in borrows.array(gradients, gradient_count, "gradients")?.iter().enumerate() {
            parts.push(borrows.output(gradient, format!("gradients[{i}]"))?);
        }
        let mut views = parts.iter_mut().map(|p| p.view()).collect::<Result<Vec<_>, _>>()?;
        Ok(engine.concat_backward(gy.view()?, &mut views)?)
    })
}
