//! How a run computes: storage, accumulation, master copies, simulated formats, order of reductions.

use std::fmt;
use std::str::FromStr;

use crate::dtype::DType;
use crate::error::{Error, Result};

/// A binary floating-point format that no hardware type needs to offer: one sign bit, exponent, fraction, with
/// subnormals, and infinities unless `finite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format {
    exponent_bits: u32,
    mantissa_bits: u32,
    finite: bool,
}

impl Format {
    /// bfloat16: 8 exponent bits, 7 fraction bits.
    pub const BF16: Format = Format { exponent_bits: 8, mantissa_bits: 7, finite: false };
    /// TensorFloat-32: 8 exponent bits, 10 fraction bits.
    pub const TF32: Format = Format { exponent_bits: 8, mantissa_bits: 10, finite: false };
    /// IEEE binary16: 5 exponent bits, 10 fraction bits.
    pub const F16: Format = Format { exponent_bits: 5, mantissa_bits: 10, finite: false };
    /// IEEE binary32: 8 exponent bits, 23 fraction bits.
    pub const F32: Format = Format { exponent_bits: 8, mantissa_bits: 23, finite: false };
    /// IEEE binary64: 11 exponent bits, 52 fraction bits.
    pub const F64: Format = Format { exponent_bits: 11, mantissa_bits: 52, finite: false };
    /// FP8 E5M2 (OCP OFP8): 5 exponent bits, 2 fraction bits, with infinities.
    pub const E5M2: Format = Format { exponent_bits: 5, mantissa_bits: 2, finite: false };
    /// FP8 E4M3 (OCP OFP8; the numbers of PyTorch's `float8_e4m3fn`): no infinities, so that the largest number is
    /// 448; what overflows is NaN, OCP's mode without saturation.
    pub const E4M3: Format = Format { exponent_bits: 4, mantissa_bits: 3, finite: true };

    /// An IEEE-like format of 2 to 11 exponent bits and 1 to 52 fraction bits.
    pub fn new(exponent_bits: u32, mantissa_bits: u32) -> Result<Format> {
        if !(2..=11).contains(&exponent_bits) {
            return Err(Error::invalid("exponent_bits", "2 to 11", exponent_bits));
        }
        if !(1..=52).contains(&mantissa_bits) {
            return Err(Error::invalid("mantissa_bits", "1 to 52", mantissa_bits));
        }
        Ok(Format { exponent_bits, mantissa_bits, finite: false })
    }

    /// Bits of the exponent.
    pub const fn exponent_bits(self) -> u32 {
        self.exponent_bits
    }

    /// Bits of the fraction, the leading one not counted.
    pub const fn mantissa_bits(self) -> u32 {
        self.mantissa_bits
    }

    /// True where the largest exponent holds numbers too and overflow gives NaN, as in E4M3.
    pub const fn is_finite(self) -> bool {
        self.finite
    }

    /// The narrowest of f32 and f64 that holds every number of the format: the storage type of a simulated run.
    pub const fn carrier(self) -> DType {
        if self.exponent_bits <= 8 && self.mantissa_bits <= 23 { DType::F32 } else { DType::F64 }
    }

    /// Exponent of the smallest normal number.
    pub const fn min_exponent(self) -> i32 {
        2 - (1 << (self.exponent_bits - 1))
    }

    /// The largest number.
    pub fn max_value(self) -> f64 {
        let mut exponent = (1 << (self.exponent_bits - 1)) - 1;
        let mut ulps_below_two = 1;
        if self.finite {
            // One more binade, whose last number is NaN.
            exponent += 1;
            ulps_below_two = 2;
        }
        (2.0 - ulps_below_two as f64 * 2f64.powi(-(self.mantissa_bits as i32))) * 2f64.powi(exponent)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Format::BF16 => f.write_str("bf16"),
            Format::TF32 => f.write_str("tf32"),
            Format { exponent_bits: 4, mantissa_bits: 3, finite: false } => f.write_str("e4m3ieee"),
            _ => write!(f, "e{}m{}", self.exponent_bits, self.mantissa_bits),
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    /// Reads `bf16`, `tf32`, `e4m3` (the finite OCP format), `e4m3ieee` (with infinities, as any other), or
    /// `e<exponent bits>m<fraction bits>`.
    fn from_str(text: &str) -> Result<Format> {
        match text {
            "bf16" => return Ok(Format::BF16),
            "tf32" => return Ok(Format::TF32),
            "e4m3" => return Ok(Format::E4M3),
            "e4m3ieee" => return Format::new(4, 3),
            _ => {}
        }
        let bits = text.strip_prefix('e').and_then(|t| t.split_once('m'));
        match bits.and_then(|(e, m)| Some((digits(e)?, digits(m)?))) {
            Some((exponent_bits, mantissa_bits)) => Format::new(exponent_bits, mantissa_bits),
            None => Err(Error::invalid("format", "bf16, tf32 or e<bits>m<bits> such as e5m2", text)),
        }
    }
}

/// A number as it is written, without sign or leading zeros: one name for one thing.
fn digits<T: FromStr + ToString>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number: &T| number.to_string() == text)
}

/// How a simulated format rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rounding {
    /// To the nearest number, ties to even.
    #[default]
    Nearest,
    /// Up or down at random, with probabilities that make the expected result the exact one; drawn by a
    /// counter-based generator (Philox4x32-10) from this seed, the place in the network, the element and the
    /// number of optimizer steps: repeatable.
    Stochastic(u64),
}

/// A format that every operator's output is rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Simulated {
    /// What is rounded to.
    pub format: Format,
    /// How.
    pub rounding: Rounding,
}

impl fmt::Display for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rounding {
            Rounding::Nearest => write!(f, "{}", self.format),
            Rounding::Stochastic(seed) => write!(f, "{}:stochastic({seed})", self.format),
        }
    }
}

impl FromStr for Simulated {
    type Err = Error;

    /// Reads a [`Format`], with `:stochastic(seed)` behind it if wanted.
    fn from_str(text: &str) -> Result<Simulated> {
        let (format, rounding) = match text.split_once(":stochastic(") {
            None => (text, Rounding::Nearest),
            Some((format, seed)) => match seed.strip_suffix(')').and_then(digits) {
                Some(seed) => (format, Rounding::Stochastic(seed)),
                None => return Err(Error::invalid("format", "a number in :stochastic(seed)", text)),
            },
        };
        Ok(Simulated { format: format.parse()?, rounding })
    }
}

/// Type in which an operator's sums are accumulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Accumulate {
    /// f32 for f16 and f32, f64 for f64: what GPU frameworks do.
    #[default]
    Wide,
    /// The storage type: each partial sum of a matrix product, convolution, average or batch statistic is rounded to
    /// it. For f16 alone; CPU engine.
    Storage,
}

/// Order of the sums over the batch in weight and bias gradients and in batch statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ReductionOrder {
    /// The order of the samples.
    #[default]
    Fixed,
    /// An order drawn from this seed, the layer and the number of optimizer steps: imitates, repeatably, the
    /// non-determinism of GPU atomics. Results differ from `Fixed` by rounding alone.
    Seeded(u64),
}

/// The arithmetic of a network.
///
/// `Precision::from(DType::F16)` keeps everything in 16 bits; [`Precision::MIXED`] keeps parameters and
/// optimizer state in 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Precision {
    /// Type of activations, gradients and the weights that operators read.
    pub storage: DType,
    /// Type of parameters (master copies where wider than `storage`), optimizer state and batch-norm statistics:
    /// `storage`, or f32 over f16.
    pub parameters: DType,
    /// Type of partial sums.
    pub accumulate: Accumulate,
    /// A format that every stored value is rounded to; `storage` is its carrier, or wider.
    pub simulated: Option<Simulated>,
}

impl From<DType> for Precision {
    fn from(storage: DType) -> Precision {
        Precision { storage, parameters: storage, accumulate: Accumulate::Wide, simulated: None }
    }
}

impl Precision {
    /// f16 operators on f32 master weights, as automatic mixed precision: train it with loss scaling
    /// ([`crate::train::GradScaler`]).
    pub const MIXED: Precision = Precision {
        storage: DType::F16,
        parameters: DType::F32,
        accumulate: Accumulate::Wide,
        simulated: None,
    };

    /// Every stored value rounded to `format`.
    pub fn simulated(format: Format, rounding: Rounding) -> Precision {
        Precision { simulated: Some(Simulated { format, rounding }), ..Precision::from(format.carrier()) }
    }

    /// The format whose numbers operators store.
    pub fn format(&self) -> Format {
        match (self.simulated, self.storage) {
            (Some(simulated), _) => simulated.format,
            (None, DType::F16) => Format::F16,
            (None, DType::F32) => Format::F32,
            (None, DType::F64) => Format::F64,
        }
    }

    /// True where parameters have a wider type than operators read.
    pub fn is_mixed(&self) -> bool {
        self.parameters != self.storage
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.is_mixed() && (self.storage, self.parameters) != (DType::F16, DType::F32) {
            let expected = "the storage type, or f32 over f16";
            return Err(Error::invalid("precision.parameters", expected, self.parameters));
        }
        if self.accumulate == Accumulate::Storage && self.storage != DType::F16 {
            return Err(Error::invalid(
                "precision.storage",
                "f16 for sums in the storage type",
                self.storage,
            ));
        }
        match self.simulated {
            Some(s) if self.is_mixed() || s.format.carrier().size() > self.storage.size() => {
                let expected = format!("{} for parameters and storage of {}", s.format.carrier(), s.format);
                Err(Error::invalid("precision.storage", expected, self.storage))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.simulated {
            Some(simulated) if simulated.format.carrier() == self.storage => write!(f, "{simulated}")?,
            Some(simulated) => write!(f, "{simulated}/{}", self.storage)?,
            None if self.is_mixed() => f.write_str("mixed")?,
            None => write!(f, "{}", self.storage)?,
        }
        match self.accumulate {
            Accumulate::Wide => Ok(()),
            Accumulate::Storage => f.write_str("+narrow"),
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    /// Reads what [`fmt::Display`] writes, and bare widths: `16`, `f32`, `mixed`, `f16+narrow`, `bf16`, `e5m2`,
    /// `e4m3:stochastic(7)`, `bf16/f64` (bfloat16 stored in f64).
    fn from_str(text: &str) -> Result<Precision> {
        let refuse = || {
            let expected = "16, 32, 64, mixed, f16+narrow, bf16, tf32 or e<bits>m<bits>, these with \
                            `:stochastic(seed)` and `/f64` if wanted";
            Error::invalid("precision", expected, text)
        };
        let (base, accumulate) = match text.strip_suffix("+narrow") {
            Some(base) => (base, Accumulate::Storage),
            None => (text, Accumulate::Wide),
        };
        let precision = if base == "mixed" {
            Precision::MIXED
        } else if let Ok(dtype) = base.parse::<DType>() {
            dtype.into()
        } else {
            let (simulated, storage) = match base.split_once('/') {
                Some((simulated, storage)) => (simulated, Some(storage)),
                None => (base, None),
            };
            let simulated: Simulated = simulated.parse().map_err(|_| refuse())?;
            let storage = storage.map_or(Ok(simulated.format.carrier()), str::parse).map_err(|_| refuse())?;
            Precision { simulated: Some(simulated), ..storage.into() }
        };
        let precision = Precision { accumulate, ..precision };
        precision.validate()?;
        Ok(precision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for text in
            ["f16", "f32", "f64", "mixed", "f16+narrow", "mixed+narrow", "bf16", "tf32", "e4m3", "e4m3ieee"]
        {
            assert_eq!(text.parse::<Precision>().unwrap().to_string(), text);
        }
        assert_eq!("16".parse::<Precision>().unwrap(), DType::F16.into());
        let other = ["f32+narrow", "bf16+narrow", "e11m4/f32", "bf16/", "bf16/f16", "mixed/f64", "f32/f64"];
        let wrong = ["", "8", "e1m3", "e5m60", "e04m3", "e+5m2", "bf16:stochastic(x)", "bf16:stochastic(07)"];
        for wrong in [&other[..], &wrong, &["mixed:stochastic(1)"]].concat() {
            assert!(wrong.parse::<Precision>().is_err(), "{wrong}");
        }
    }

    /// A run file is told apart by the name of its precision.
    #[test]
    fn every_simulated_precision_has_a_name_of_its_own() {
        let ieee = (2..=11).flat_map(|e| (1..=52).map(move |m| Format::new(e, m).unwrap()));
        for format in ieee.chain([Format::E4M3]) {
            for rounding in [Rounding::Nearest, Rounding::Stochastic(7)] {
                let own = Precision::simulated(format, rounding);
                for storage in [own.storage, DType::F64] {
                    let precision = Precision { storage, parameters: storage, ..own };
                    assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision, "{precision}");
                }
            }
        }
    }

    #[test]
    fn largest_numbers() {
        assert_eq!(Format::F16.max_value(), 65504.0);
        assert_eq!(Format::E4M3.max_value(), 448.0);
        assert_eq!(Format::E5M2.max_value(), 57344.0);
        assert_eq!([Format::F32, Format::F64].map(Format::max_value), [f32::MAX as f64, f64::MAX]);
        assert_eq!(Format::new(8, 23).unwrap(), Precision::from(DType::F32).format());
        assert_eq!(Precision::simulated(Format::BF16, Rounding::Nearest).format(), Format::BF16);
        assert_eq!(Format::F16.min_exponent(), -14);
    }

    #[test]
    fn carriers_hold_their_formats() {
        assert_eq!(Format::BF16.carrier(), DType::F32);
        assert_eq!(Format::new(11, 4).unwrap().carrier(), DType::F64);
        let wide = Simulated { format: Format::new(11, 4).unwrap(), rounding: Rounding::Nearest };
        let wrong = Precision { simulated: Some(wide), ..DType::F32.into() };
        assert!(wrong.validate().is_err());
        assert!(Precision { parameters: DType::F64, ..DType::F16.into() }.validate().is_err());
        assert!(Precision::MIXED.validate().is_ok());
    }
}
