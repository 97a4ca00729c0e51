use crate::dtype::DType;
use crate::engine::Engine;
use crate::engine::op::{Op, RowsGeometry, Settings};
use crate::error::{Error, Result};
use crate::shape::element_count;
use crate::tensor::{View, ViewMut};

impl Engine {
    /// Concatenation along dimension 1, the channels.
    ///
    /// Shapes: inputs `[N, C_i, ...]`, y `[N, sum of C_i, ...]`.
    pub fn concat(&self, inputs: &[View], y: ViewMut) -> Result<()> {
        let (dtype, shape) = (y.dtype(), y.shape());
        let parts: Vec<_> = inputs.iter().map(|x| (x.dtype(), x.shape())).collect();
        let lens = part_lens(("inputs", &parts), "y", (dtype, shape))?;
        let (whole, mut offset) = (lens.iter().sum(), 0);
        let mut y = y.into_memory();
        for (x, len) in inputs.iter().zip(lens) {
            let geometry = RowsGeometry { rows: shape[0], len, from: [len, 0], to: [whole, offset] };
            let op = Op::CopyRows { geometry };
            self.execute(op, dtype, &[x.memory()], &mut [y.reborrow()], &Settings::default())?;
            offset += len;
        }
        Ok(())
    }

    /// Gradients with respect to the inputs of [`Engine::concat`]: the parts of gy.
    ///
    /// Shapes: gy `[N, sum of C_i, ...]`, gradients `[N, C_i, ...]`.
    pub fn concat_backward(&self, gy: View, gradients: &mut [ViewMut]) -> Result<()> {
        let (dtype, shape) = (gy.dtype(), gy.shape());
        let parts: Vec<_> = gradients.iter().map(|x| (x.dtype(), x.shape())).collect();
        let lens = part_lens(("gradients", &parts), "gy", (dtype, shape))?;
        let (whole, mut offset) = (lens.iter().sum(), 0);
        for (gx, len) in gradients.iter_mut().zip(lens) {
            let geometry = RowsGeometry { rows: shape[0], len, from: [whole, offset], to: [len, 0] };
            let op = Op::CopyRows { geometry };
            self.execute(op, dtype, &[gy.memory()], &mut [gx.memory_mut()], &Settings::default())?;
            offset += len;
        }
        Ok(())
    }
}

/// Elements of one sample of each part.
fn part_lens(
    (argument, parts): (&str, &[(DType, &[usize])]),
    whole_argument: &str,
    (dtype, whole): (DType, &[usize]),
) -> Result<Vec<usize>> {
    if whole.len() < 2 {
        return Err(Error::shape(whole_argument, "[N, C, ...]", whole));
    }
    for (i, (part_dtype, part)) in parts.iter().enumerate() {
        let name = format!("{argument}[{i}]");
        if *part_dtype != dtype {
            return Err(Error::dtype(name, dtype, part_dtype));
        }
        if part.len() != whole.len() || part[0] != whole[0] || part[2..] != whole[2..] {
            return Err(Error::shape(name, format!("{whole:?} but for dimension 1"), part));
        }
    }
    let channels = parts.iter().try_fold(0usize, |sum, (_, part)| sum.checked_add(part[1]));
    if channels != Some(whole[1]) {
        let expected = format!("dimension 1 to be the sum of those of {argument}");
        return Err(Error::shape(whole_argument, expected, whole));
    }
    parts.iter().map(|(_, part)| element_count(&part[1..])).collect()
}
