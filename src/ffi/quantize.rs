use std::ffi::c_char;

use super::engine::{self, tb_engine};
use super::status::tb_status;
use super::view::{Borrows, tb_view_mut};
use super::{guard, string};
use crate::precision::Simulated;

/// Rounds every element to a simulated format, in place. What exceeds its largest number becomes infinite, or NaN where
/// the format ("e4m3", which is OCP's; "e4m3ieee" is as the others) has no infinity.
///
/// @param format  "bf16", "tf32", "e4m3", "e5m2", any "e<exponent bits>m<fraction bits>", each also with random
///                rounding as "e5m2:stochastic(<seed>)"
/// @param step    other random numbers for each
/// @param x       in and out: any shape, f32 or f64; f64 where f32 does not hold the format
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_quantize(
    engine: *const tb_engine,
    format: *const c_char,
    step: u64,
    x: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_quantize", || unsafe {
        let engine = engine::get(engine)?;
        let simulated: Simulated = string(format, "format")?.parse()?;
        let mut borrows = Borrows::on(&engine);
        let mut x = borrows.output(x, "x")?;
        Ok(engine.quantize(simulated, step, x.view()?)?)
    })
}
