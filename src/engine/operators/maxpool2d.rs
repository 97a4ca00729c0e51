use super::{dims, expect_out, expect_view, with_kink};
use crate::engine::op::Op;
use crate::engine::{Engine, device_memory};
use crate::error::{Error, Result};
use crate::kink::{Kink, Margin, MaxPoolKink};
use crate::precision::Format;
use crate::shape::{Pool2dGeometry, Window2d};
use crate::tensor::{Bytes, BytesMut, Tensor, View, ViewMut};

/// How often the windows of a max pooling stand on a kink, and how often rounding would put them there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MaxPool2dDiagnosis {
    /// All windows: the sum of the next four.
    pub windows: u64,
    /// Windows that hold a NaN.
    pub nan: u64,
    /// Windows whose maximum one element attains.
    pub untied: u64,
    /// Windows with several such elements whose maximum is 0.
    pub tied_at_zero: u64,
    /// Windows with several such elements whose maximum is not 0.
    pub tied_elsewhere: u64,
    /// Tied windows where the choice can matter: they receive a gradient that is not 0.
    pub alive: u64,
    /// Windows whose maximum rounding to f16 is expected to make equal to the largest element below it: the sum of
    /// [`Margin::tie_probability`] over the windows, tied or not.
    pub predicted_ties_f16: f64,
    /// The same for bfloat16.
    pub predicted_ties_bf16: f64,
    /// The same for f32.
    pub predicted_ties_f32: f64,
}

impl Engine {
    /// Max pooling, and the tie set of each window.
    ///
    /// Shapes: x `[N, C, H, W]`, y `[N, C, OH, OW]`; ties: `OH * OW * tie_bytes(KH * KW)` bytes a channel
    /// ([`crate::shape::tie_bytes`] tells their layout). A NaN in a window wins, as in PyTorch.
    pub fn maxpool2d_forward<'t>(
        &self,
        x: View,
        window: Window2d,
        kink: MaxPoolKink,
        y: ViewMut,
        ties: impl Into<BytesMut<'t>>,
    ) -> Result<()> {
        kink.validate()?;
        let geometry = Pool2dGeometry::new(dims("x", "[N, C, H, W]", x.shape())?, window)?;
        let dtype = x.dtype();
        expect_out("y", dtype, &geometry.y_shape(), &y)?;
        let ties = ties.into();
        expect_ties(&geometry, ties.len())?;
        let op = Op::MaxPool2dForward { geometry };
        let settings = with_kink(Kink::MaxPool(kink));
        self.execute(op, dtype, &[x.memory()], &mut [y.into_memory(), ties], &settings)
    }

    /// Gradient with respect to the input of [`Engine::maxpool2d_forward`] under any choice, from the tie sets
    /// that the forward pass stored. Where windows overlap, contributions are added one by one in the order of
    /// the windows, each sum rounded to the storage type, as PyTorch does.
    ///
    /// Shapes: gy `[N, C, OH, OW]`, ties as stored, gx `[N, C, H, W]`.
    pub fn maxpool2d_backward<'t>(
        &self,
        gy: View,
        ties: impl Into<Bytes<'t>>,
        window: Window2d,
        kink: MaxPoolKink,
        gx: ViewMut,
    ) -> Result<()> {
        kink.validate()?;
        let geometry = Pool2dGeometry::new(dims("gx", "[N, C, H, W]", gx.shape())?, window)?;
        let dtype = gy.dtype();
        expect_view("gy", dtype, &geometry.y_shape(), &gy)?;
        expect_out("gx", dtype, &geometry.x_shape(), &gx)?;
        let ties = ties.into();
        expect_ties(&geometry, ties.len())?;
        let op = Op::MaxPool2dBackward { geometry };
        let settings = with_kink(Kink::MaxPool(kink));
        self.execute(op, dtype, &[gy.memory(), ties], &mut [gx.into_memory()], &settings)
    }

    /// How often the windows of a max pooling of x tie, and how often they would in narrower arithmetic. With gy, the
    /// gradient of its output, `alive` leaves out tied windows where that is 0; without it counts all of them. What is
    /// predicted follows from the leads of the maxima, which are those over the reals, but for 1e-16, where x was computed
    /// in f64. Counted on the host.
    ///
    /// Shapes: x `[N, C, H, W]`, gy `[N, C, OH, OW]`.
    pub fn maxpool2d_diagnose(
        &self,
        x: View,
        gy: Option<View>,
        window: Window2d,
    ) -> Result<MaxPool2dDiagnosis> {
        let geometry = Pool2dGeometry::new(dims("x", "[N, C, H, W]", x.shape())?, window)?;
        if let Some(gy) = &gy {
            expect_view("gy", x.dtype(), &geometry.y_shape(), gy)?;
        }
        let values = self.read_values(&x)?;
        let gy = gy.map(|gy| self.read_values(&gy)).transpose()?;
        let mut found = MaxPool2dDiagnosis { windows: geometry.windows() as u64, ..Default::default() };
        for index in 0..geometry.windows() {
            let elements = || geometry.elements(index).map(|(place, _)| values[place]);
            let Some(margin) = Margin::of(elements()) else {
                found.nan += 1;
                continue;
            };
            if elements().filter(|v| *v == margin.max).nth(1).is_none() {
                found.untied += 1;
            } else {
                let tied =
                    if margin.max == 0.0 { &mut found.tied_at_zero } else { &mut found.tied_elsewhere };
                *tied += 1;
                found.alive += gy.as_ref().is_none_or(|gy| gy[index] != 0.0) as u64;
            }
            found.predicted_ties_f16 += margin.tie_probability(Format::F16);
            found.predicted_ties_bf16 += margin.tie_probability(Format::BF16);
            found.predicted_ties_f32 += margin.tie_probability(Format::F32);
        }
        Ok(found)
    }

    /// The values of a tensor, wherever it lies.
    fn read_values(&self, view: &View) -> Result<Vec<f64>> {
        let mut copy = Tensor::zeros(view.dtype(), view.shape())?;
        let _serial = self.lock();
        copy.bytes_mut().copy_from_slice(&device_memory::on_host(&view.memory())?);
        Ok(copy.to_f64())
    }
}

fn expect_ties(geometry: &Pool2dGeometry, ties: usize) -> Result<()> {
    let shape = geometry.ties_shape();
    let expected: usize = shape.iter().product();
    if ties != expected {
        return Err(Error::shape("ties", format!("{expected} bytes for {shape:?}"), &[ties]));
    }
    Ok(())
}
