use super::engine::{self, tb_engine};
use super::guard;
use super::optimizer_options::{
    TB_ALGORITHM_RMS_PROP, read_algorithm, tb_optimizer_options, wrong_algorithm,
};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};
use crate::engine::RmsPropState;
use crate::train::Algorithm;

/// One step of RMSprop on the caller's memory, in place, elementwise on any shape. The state is zeros before the first
/// step.
///
/// @param options          of `TB_ALGORITHM_RMS_PROP`; NULL for its defaults
/// @param grad             the gradient
/// @param param            in and out: the shape and dtype of grad
/// @param square_avg       in and out: moving average of the gradient's square
/// @param momentum_buffer  in and out; NULL exactly when momentum is 0
/// @param grad_avg         in and out: moving average of the gradient; NULL exactly without `centered`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_rms_prop_step(
    engine: *const tb_engine,
    options: *const tb_optimizer_options,
    grad: *const tb_view,
    param: *const tb_view_mut,
    square_avg: *const tb_view_mut,
    momentum_buffer: *const tb_view_mut,
    grad_avg: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_rms_prop_step", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let grad = borrows.input(grad, "grad")?;
        let mut param = borrows.output(param, "param")?;
        let mut square_avg = borrows.output(square_avg, "square_avg")?;
        let mut momentum_buffer = borrows.optional_output(momentum_buffer, "momentum_buffer")?;
        let mut grad_avg = borrows.optional_output(grad_avg, "grad_avg")?;
        let options = match read_algorithm(options, TB_ALGORITHM_RMS_PROP)? {
            Algorithm::RmsProp(options) => options,
            other => return Err(wrong_algorithm("TB_ALGORITHM_RMS_PROP", other)),
        };
        let state = RmsPropState {
            square_avg: square_avg.view()?,
            momentum_buffer: momentum_buffer.as_mut().map(|b| b.view()).transpose()?,
            grad_avg: grad_avg.as_mut().map(|b| b.view()).transpose()?,
        };
        Ok(engine.rms_prop_step(&options, grad.view()?, param.view()?, state)?)
    })
}
