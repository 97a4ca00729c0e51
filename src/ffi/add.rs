use super::engine::{self, tb_engine};
use super::guard;
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};

/// y = a + b, elementwise on any shape. The gradient with respect to both is that of y.
///
/// @param a  any shape
/// @param b  the shape and dtype of a
/// @param y  out: the shape and dtype of a
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_add(
    engine: *const tb_engine,
    a: *const tb_view,
    b: *const tb_view,
    y: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_add", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let a = borrows.input(a, "a")?;
        let b = borrows.input(b, "b")?;
        let mut y = borrows.output(y, "y")?;
        Ok(engine.add(a.view()?, b.view()?, y.view()?)?)
    })
}
