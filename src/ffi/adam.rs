use super::engine::{self, tb_engine};
use super::guard;
use super::optimizer_options::{TB_ALGORITHM_ADAM, read_algorithm, tb_optimizer_options, wrong_algorithm};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};
use crate::engine::AdamState;
use crate::train::Algorithm;

/// One step of Adam or AdamW on the caller's memory, in place, elementwise on any shape. The state is zeros before the
/// first step.
///
/// @param options         of `TB_ALGORITHM_ADAM` or `TB_ALGORITHM_ADAMW`; NULL for the defaults of Adam
/// @param step            number of this step, from 1
/// @param grad            the gradient
/// @param param           in and out: the shape and dtype of grad
/// @param exp_avg         in and out: moving average of the gradient
/// @param exp_avg_sq      in and out: moving average of its square
/// @param max_exp_avg_sq  in and out: the largest `exp_avg_sq` so far; NULL exactly without `amsgrad`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_adam_step(
    engine: *const tb_engine,
    options: *const tb_optimizer_options,
    step: u64,
    grad: *const tb_view,
    param: *const tb_view_mut,
    exp_avg: *const tb_view_mut,
    exp_avg_sq: *const tb_view_mut,
    max_exp_avg_sq: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_adam_step", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let grad = borrows.input(grad, "grad")?;
        let mut param = borrows.output(param, "param")?;
        let mut exp_avg = borrows.output(exp_avg, "exp_avg")?;
        let mut exp_avg_sq = borrows.output(exp_avg_sq, "exp_avg_sq")?;
        let mut max_exp_avg_sq = borrows.optional_output(max_exp_avg_sq, "max_exp_avg_sq")?;
        let options = match read_algorithm(options, TB_ALGORITHM_ADAM)? {
            Algorithm::Adam(options) => options,
            other => return Err(wrong_algorithm("TB_ALGORITHM_ADAM or TB_ALGORITHM_ADAMW", other)),
        };
        let state = AdamState {
            exp_avg: exp_avg.view()?,
            exp_avg_sq: exp_avg_sq.view()?,
            max_exp_avg_sq: max_exp_avg_sq.as_mut().map(|b| b.view()).transpose()?,
        };
        Ok(engine.adam_step(&options, grad.view()?, param.view()?, state, step)?)
    })
}
