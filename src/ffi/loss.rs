use super::engine::{self, tb_engine};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};
use super::{guard, non_null_mut};

/// Softmax cross-entropy, mean over the batch, and its gradient.
///
/// @param logits       `[N, C]`
/// @param labels       N class numbers in 0..C
/// @param label_count  N
/// @param glogits      out: `[N, C]`, the gradient of the loss
/// @param loss         out: the loss, computed in the accumulate type and rounded once to the dtype
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_cross_entropy(
    engine: *const tb_engine,
    logits: *const tb_view,
    labels: *const i64,
    label_count: usize,
    glogits: *const tb_view_mut,
    loss: *mut f64,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_cross_entropy", || unsafe {
        let loss = non_null_mut(loss, "loss")?;
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let logits = borrows.input(logits, "logits")?;
        let labels = borrows.array(labels, label_count, "labels")?;
        let mut glogits = borrows.output(glogits, "glogits")?;
        *loss = engine.cross_entropy(logits.view()?, labels, glogits.view()?)?;
        Ok(())
    })
}
