//! E1: a program for zero whose derivative is not.
//!
//!   zero(t) = max_loop(t x) - max_tie_averaging(t x)
//!
//! is 0 for every t, but at a tie the two maxima choose different derivatives (R. Boustany, TMLR 2024, section 1). The
//! derivative at t is that of reverse mode: the gradients of both maxima meet in one vector g, and the result is
//! g_1 x_1 + ... + g_n x_n, products and sums rounded in this order. At t = 0 everything ties, and the result is what the
//! choices differ by (bifurcation); where all x_i are equal it is rounding alone (compensation).
//!
//! The same with a maximum of ReLUs, max(a, b) = (a + b) / 2 + r((a - b) / 2) + r((b - a) / 2), taken from the left, with
//! r'(0) = 0 against r'(0) = 1.

use half::f16;

use super::columns::Columns;
use super::experiment::{Experiment, common_settings};
use super::journal::Record;
use super::protocol::protocol;
use super::registry::Images;
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::kink::{Composition, MaxPoolKink, ReluKink};
use crate::progress::Progress;
use crate::report::page::{Cell, Page, Table};
use crate::shape::Window2d;
use crate::tensor::Tensor;

protocol! {
    /// The protocol of [E1](self).
    pub struct ZeroProgram {
        /// Widths of the storage type: 16, 32, 64
        precisions: Vec<DType> = DType::ALL.to_vec();
        /// Vectors x
        vectors: Vec<Vec<f64>> = vec![vec![1.0, 2.0, 3.0, 4.0], vec![1.14; 4], vec![1.4; 4]];
        /// Values of t
        times: Vec<f64> = vec![-1.0, -0.5, 0.0, 0.5, 1.0];
    }
}

impl ZeroProgram {
    /// With its protocol chosen. Errors: [`Error::InvalidArgument`] for images, and for an empty vector.
    pub fn create(self, images: Images) -> Result<ZeroProgram> {
        images.refuse()?;
        match self.vectors.iter().any(Vec::is_empty) {
            true => Err(Error::invalid("vectors", "at least one number in each", "an empty one")),
            false => Ok(self),
        }
    }
}

/// How the two maxima are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Max pooling over one window, native against minimal.
    MaxPool,
    /// ReLUs, r'(0) = 0 against 1.
    Relu,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Program::MaxPool => "maxpool",
            Program::Relu => "relu",
        }
    }
}

/// A program on a vector in a storage type.
#[derive(Debug, Clone, PartialEq)]
pub struct ZeroUnit {
    precision: DType,
    program: Program,
    x: Vec<f64>,
}

impl Experiment for ZeroProgram {
    type Unit = ZeroUnit;

    fn name(&self) -> &'static str {
        "zero_program"
    }

    fn units(&self) -> Vec<ZeroUnit> {
        let mut units = Vec::new();
        for &precision in &self.precisions {
            for program in [Program::MaxPool, Program::Relu] {
                units.extend(self.vectors.iter().map(|x| ZeroUnit { precision, program, x: x.clone() }));
            }
        }
        units
    }

    fn settings(&self, engine: &Engine, unit: &ZeroUnit) -> Columns {
        let x: Vec<String> = unit.x.iter().map(f64::to_string).collect();
        common_settings(self.name(), engine, unit.precision)
            .with("precision", u64::from(unit.precision.bits()))
            .with("program", unit.program.name())
            .with("x", x.join(" "))
    }

    fn measure(&self, engine: &Engine, unit: &ZeroUnit, progress: &mut Progress) -> Result<Vec<Columns>> {
        progress.tell(0, 1)?;
        let dtype = unit.precision;
        let round = |v: f64| rounded(v, dtype);
        let x: Vec<f64> = unit.x.iter().map(|&v| round(v)).collect();
        let row = |&t: &f64| {
            let z: Vec<f64> = x.iter().map(|v| round(t * v)).collect();
            let [first, second] = match unit.program {
                Program::MaxPool => {
                    let minimal = MaxPoolKink::beta(1.0, Composition::Exact);
                    [MaxPoolKink::default(), minimal].map(|kink| max_pool(engine, dtype, &z, kink))
                }
                Program::Relu => [0.0, 1.0].map(|alpha| relu_maximum(engine, dtype, &z, ReluKink { alpha })),
            };
            let ((value, first), (other, second)) = (first?, second?);
            let gradient = first.iter().zip(&second).map(|(a, b)| round(a - b));
            let terms = gradient.zip(&x).map(|(g, x)| round(g * x));
            let derivative = terms.reduce(|sum, term| round(sum + term)).unwrap_or(0.0);
            Ok(Columns::new().with("t", t).with("value", round(value - other)).with("derivative", derivative))
        };
        self.times.iter().map(row).collect()
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

/// `v` rounded once; sums, differences and products of two f16 or f32 are exact enough in f64 for that to be the rounding
/// of the operation itself (53 >= 2 p + 2 digits).
fn rounded(v: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F16 => f16::from_f64(v).to_f64(),
        DType::F32 => f64::from(v as f32),
        DType::F64 => v,
    }
}

/// The maximum and its gradient.
fn max_pool(engine: &Engine, dtype: DType, z: &[f64], kink: MaxPoolKink) -> Result<(f64, Vec<f64>)> {
    let shape = [1, 1, 1, z.len()];
    let window = Window2d { kernel: [1, z.len()], stride: [1, z.len()], ..Window2d::new(1, 1, 0) };
    let x = Tensor::from_f64(dtype, &shape, z)?;
    let one = Tensor::from_f64(dtype, &[1, 1, 1, 1], &[1.0])?;
    let (mut y, mut gx) = (Tensor::zeros(dtype, &[1, 1, 1, 1])?, Tensor::zeros(dtype, &shape)?);
    let mut ties = vec![0; crate::shape::tie_bytes(z.len())];
    engine.maxpool2d_forward(x.view(), window, kink, y.view_mut(), &mut ties)?;
    engine.maxpool2d_backward(one.view(), &ties, window, kink, gx.view_mut())?;
    Ok((y.to_f64()[0], gx.to_f64()))
}

/// The maximum by ReLUs, and its gradient.
fn relu_maximum(engine: &Engine, dtype: DType, z: &[f64], kink: ReluKink) -> Result<(f64, Vec<f64>)> {
    let round = |v: f64| rounded(v, dtype);
    let relu = |v: f64| -> Result<[f64; 2]> {
        let x = Tensor::from_f64(dtype, &[1], &[v])?;
        let one = Tensor::from_f64(dtype, &[1], &[1.0])?;
        let [mut y, mut gx] = [Tensor::zeros(dtype, &[1])?, Tensor::zeros(dtype, &[1])?];
        engine.relu_forward(x.view(), y.view_mut())?;
        engine.relu_backward(x.view(), one.view(), kink, gx.view_mut())?;
        Ok([y.to_f64()[0], gx.to_f64()[0]])
    };
    let (mut m, mut gradient) = (z[0], vec![1.0]);
    for &b in &z[1..] {
        let half = round(round(m - b) / 2.0);
        let [[up, up_slope], [down, down_slope]] = [relu(half)?, relu(-half)?];
        m = round(round(round(round(m + b) / 2.0) + up) + down);
        // Of (a + b) / 2, r((a - b) / 2) and r((b - a) / 2), which meet in this order.
        let to_a = round(round(0.5 + up_slope / 2.0) - down_slope / 2.0);
        let to_b = round(round(0.5 - up_slope / 2.0) + down_slope / 2.0);
        gradient.iter_mut().for_each(|g| *g = round(*g * to_a));
        gradient.push(to_b);
    }
    Ok((m, gradient))
}

fn page(records: &[Record]) -> Result<Page> {
    let times: Vec<String> = records[0].rows.iter().map(|row| row.text("t")).collect();
    let row = |r: &Record| {
        let mut cells = vec![
            Cell::from(r.settings.text("program")),
            Cell::from(r.settings.text("precision")),
            Cell::from(r.settings.text("x")),
        ];
        cells.extend(r.rows.iter().map(|row| {
            let derivative = row.number("derivative");
            Cell::from(if derivative == 0.0 { "0".into() } else { format!("{derivative:.9e}") })
        }));
        cells
    };
    let mut head: Vec<String> = ["program", "bits", "x"].map(String::from).to_vec();
    head.extend(times.iter().map(|t| format!("t = {t}")));
    let table = Table {
        caption: "Derivative that reverse mode computes for a program that is 0 everywhere".into(),
        head,
        rows: records.iter().map(row).collect(),
    };
    let values = records.iter().flat_map(|r| &r.rows).filter(|row| row.number("value") != 0.0).count();
    let at_zero = |r: &&Record| r.settings.text("program") == "maxpool" && r.settings.text("x") == "1 2 3 4";
    let bifurcation = records.iter().find(at_zero).and_then(|r| {
        let row = r.rows.iter().find(|row| row.number("t") == 0.0)?;
        Some(format!("x = (1, 2, 3, 4): {} at t = 0 (published: -1.5).", row.number("derivative")))
    });
    let compensation = records.iter().filter(|r| {
        r.settings.text("program") == "maxpool"
            && r.settings.text("precision") == "32"
            && r.settings.text("x") != "1 2 3 4"
    });
    let mut verdict: Vec<String> = bifurcation.into_iter().collect();
    verdict.extend(compensation.map(|r| {
        let x = r.settings.text("x");
        format!(
            "x = ({x}) in 32 bits: {:e} at t = 1.",
            r.rows.last().map_or(f64::NAN, |row| row.number("derivative"))
        )
    }));
    verdict.push(match values {
        0 => "The value is 0 in every row.".into(),
        count => format!("The value is not 0 in {count} rows."),
    });
    Ok(Page {
        title: "A program for zero".into(),
        question: "zero(t) = max(t x) - max(t x), with two programs for the maximum that choose another derivative at ties. \
                   What does automatic differentiation compute?"
            .into(),
        verdict,
        tables: vec![table],
        definitions: vec![
            ("maxpool".into(), "native against minimal Jacobian of one window".into()),
            ("relu".into(), "max(a, b) = (a + b) / 2 + r((a - b) / 2) + r((b - a) / 2) with r'(0) = 0 against 1".into()),
            ("bifurcation".into(), "the choices differ by more than rounding".into()),
            ("compensation".into(), "over the reals the difference cancels; in floating point rounding remains".into()),
        ],
        ..Page::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineOptions;
    use crate::lab::{RunOptions, run};
    use std::ops::ControlFlow;

    /// Derivatives by program, bits and x.
    fn derivatives(program: &str, precision: u64, x: &str) -> Vec<f64> {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::new(&EngineOptions::default()).unwrap();
        let options = RunOptions { out: dir.path().into(), ..Default::default() };
        let outcome =
            run(&ZeroProgram::default(), &engine, &options, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(outcome.records.iter().flat_map(|r| &r.rows).all(|row| row.number("value") == 0.0));
        let wanted = |r: &&Record| {
            let s = &r.settings;
            s.text("program") == program && s.number("precision") == precision as f64 && s.text("x") == x
        };
        let record = outcome.records.iter().find(wanted).unwrap();
        record.rows.iter().map(|row| row.number("derivative")).collect()
    }

    #[test]
    fn published_values_to_the_last_bit() {
        for precision in [16, 32, 64] {
            assert_eq!(derivatives("maxpool", precision, "1 2 3 4"), [0.0, 0.0, -1.5, 0.0, 0.0]);
        }
        let half_ulp = 2f64.powi(-24);
        assert_eq!(derivatives("maxpool", 32, "1.14 1.14 1.14 1.14"), [half_ulp; 5]);
        assert_eq!(derivatives("maxpool", 32, "1.4 1.4 1.4 1.4"), [-half_ulp; 5]);
    }

    #[test]
    fn both_choices_at_zero_average_the_ends_of_a_maximum_by_relus() {
        assert_eq!(derivatives("relu", 64, "1 2 3 4"), [0.0; 5]);
    }
}
