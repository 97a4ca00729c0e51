//! Operators on the caller's own host memory: shapes and dtypes are checked here, then the table runs.
//! One file for each noun; here, the checks that they share.

mod adam;
mod add;
mod avgpool2d;
mod batchnorm;
mod concat;
mod conv2d;
mod dropout;
mod linear;
mod loss;
mod maxpool2d;
mod norm_pool2d;
mod quantize;
mod relu;
mod rms_prop;
mod sgd;

use super::op::Settings;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::kink::Kink;
use crate::tensor::{BytesMut, View, ViewMut};

pub use adam::{AdamOptions, AdamState};
pub use batchnorm::{
    BatchNormGradients, BatchNormOptions, BatchNormParameters, BatchStatistics, RunningStatistics,
};
pub use dropout::DropoutOptions;
pub(crate) use loss::{class_indices, scalar_f64};
pub use maxpool2d::MaxPool2dDiagnosis;
pub use rms_prop::{RmsPropOptions, RmsPropState};
pub use sgd::SgdOptions;

fn dims<const R: usize>(argument: &str, layout: &str, shape: &[usize]) -> Result<[usize; R]> {
    shape.try_into().map_err(|_| Error::shape(argument, format!("{layout} (rank {R})"), shape))
}

fn expect(argument: &str, dtype: DType, shape: &[usize], got: (DType, &[usize])) -> Result<()> {
    if got.0 != dtype {
        return Err(Error::dtype(argument, dtype, got.0));
    }
    if got.1 != shape {
        return Err(Error::shape(argument, format!("{shape:?}"), got.1));
    }
    Ok(())
}

fn expect_view(argument: &str, dtype: DType, shape: &[usize], view: &View) -> Result<()> {
    expect(argument, dtype, shape, (view.dtype(), view.shape()))
}

fn expect_out(argument: &str, dtype: DType, shape: &[usize], view: &ViewMut) -> Result<()> {
    expect(argument, dtype, shape, (view.dtype(), view.shape()))
}

fn with_kink(kink: Kink) -> Settings {
    Settings { kinks: vec![Some(kink)], ..Default::default() }
}

/// Refuses scalars that are negative or beyond f32, in which most kernels compute.
fn not_negative(scalars: &[(&str, f64)]) -> Result<()> {
    match scalars.iter().find(|(_, value)| !(0.0..=f32::MAX as f64).contains(value)) {
        Some((name, value)) => {
            Err(Error::invalid(*name, "a number of at least 0 within the range of f32", value))
        }
        None => Ok(()),
    }
}

/// Adds an optional state tensor of an optimizer to those that it writes; it must be there exactly where `when` says.
fn push_state<'a>(
    argument: &str,
    (present, when): (bool, &str),
    grad: &View,
    state: Option<ViewMut<'a>>,
    writes: &mut Vec<BytesMut<'a>>,
) -> Result<()> {
    if state.is_some() != present {
        let got = if state.is_some() { "a tensor" } else { "none" };
        return Err(Error::invalid(argument, format!("a tensor exactly {when}"), got));
    }
    if let Some(state) = state {
        expect_out(argument, grad.dtype(), grad.shape(), &state)?;
        writes.push(state.into_memory());
    }
    Ok(())
}
