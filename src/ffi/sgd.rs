use super::engine::{self, tb_engine};
use super::guard;
use super::optimizer_options::{TB_ALGORITHM_SGD, read_algorithm, tb_optimizer_options, wrong_algorithm};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};
use crate::train::Algorithm;

/// One step of stochastic gradient descent on the caller's memory, in place, elementwise on any shape.
///
/// @param options          of `TB_ALGORITHM_SGD`; NULL for its defaults
/// @param first            not 0 at the first step, where the buffer's contents do not count
/// @param grad             the gradient
/// @param param            in and out: the shape and dtype of grad
/// @param momentum_buffer  in and out: the shape and dtype of grad; NULL exactly when momentum is 0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_sgd_step(
    engine: *const tb_engine,
    options: *const tb_optimizer_options,
    first: i32,
    grad: *const tb_view,
    param: *const tb_view_mut,
    momentum_buffer: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_sgd_step", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let grad = borrows.input(grad, "grad")?;
        let mut param = borrows.output(param, "param")?;
        let mut buffer = borrows.optional_output(momentum_buffer, "momentum_buffer")?;
        let options = match read_algorithm(options, TB_ALGORITHM_SGD)? {
            Algorithm::Sgd(options) => options,
            other => return Err(wrong_algorithm("TB_ALGORITHM_SGD", other)),
        };
        let buffer = buffer.as_mut().map(|b| b.view()).transpose()?;
        Ok(engine.sgd_step(&options, grad.view()?, param.view()?, buffer, first != 0)?)
    })
}
