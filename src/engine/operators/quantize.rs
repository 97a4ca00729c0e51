use crate::engine::Engine;
use crate::engine::op::{Op, Settings};
use crate::error::{Error, Result};
use crate::precision::Simulated;
use crate::tensor::ViewMut;

impl Engine {
    /// Rounds every element to a simulated format, in place; any shape, f32 or f64 (f64 alone where f32 does not
    /// hold the format, see [`crate::Format::carrier`]). `step` enters the draws of stochastic rounding.
    ///
    /// What exceeds the format's largest number becomes infinite, or NaN where the format has no infinity.
    pub fn quantize(&self, simulated: Simulated, step: u64, x: ViewMut) -> Result<()> {
        let (Simulated { format, rounding }, dtype) = (simulated, x.dtype());
        if dtype.size() < format.carrier().size() {
            let expected = format!("at least {}, which holds {format}", format.carrier());
            return Err(Error::dtype("x", expected, dtype));
        }
        let op = Op::Quantize { len: x.shape().iter().product(), format, rounding };
        let settings = Settings { step, ..Default::default() };
        self.execute(op, dtype, &[], &mut [x.into_memory()], &settings)
    }
}
