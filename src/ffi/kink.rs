use super::Failure;
use super::guard;
use super::options::{self, Growable};
use super::status::tb_status;
use crate::error::Error;
use crate::kink::{Composition, Kink, MaxPoolJacobian, MaxPoolKink, NormPoolKink, ReluKink};

/// Which kink a choice is about.
pub type tb_kink_kind = i32;

/// Ties of a max pooling.
pub const TB_KINK_MAXPOOL: tb_kink_kind = 0;
/// ReLU at 0.
pub const TB_KINK_RELU: tb_kink_kind = 1;
/// Windows of zeros of a norm pooling.
pub const TB_KINK_NORM_POOL: tb_kink_kind = 2;

/// What the backward pass of MaxPool gives to the elements of a window that attain its maximum. With A the set
/// of these elements in row-major order, k their number and g the upstream gradient:
pub type tb_jacobian = i32;

/// g to the first of A: PyTorch's max_pool2d.
pub const TB_JACOBIAN_NATIVE: tb_jacobian = 0;
/// g to the last of A.
pub const TB_JACOBIAN_LAST: tb_jacobian = 1;
/// g / k to each of A: the Clarke Jacobian of least norm.
pub const TB_JACOBIAN_MINIMAL: tb_jacobian = 2;
/// beta * minimal + (1 - beta) * native.
pub const TB_JACOBIAN_BETA: tb_jacobian = 3;
/// g to one of A, drawn uniformly from a seed: repeatable.
pub const TB_JACOBIAN_RANDOM: tb_jacobian = 4;
/// g to the first of A in column-major order: mlpack.
pub const TB_JACOBIAN_FIRST_COLUMN: tb_jacobian = 5;
/// g to each of A, which is no Jacobian of the maximum: Theano.
pub const TB_JACOBIAN_ALL: tb_jacobian = 6;
/// g k / n to each of A, n the elements of a window, also where k = 1, which is no Jacobian of the maximum: candle.
pub const TB_JACOBIAN_SCALED: tb_jacobian = 7;

/// How `TB_JACOBIAN_BETA` is evaluated in floating point.
pub type tb_composition = i32;

/// The forward is the maximum; the backward multiplies g once by a coefficient formed in f64.
pub const TB_COMPOSITION_EXACT: tb_composition = 0;
/// The forward is the maximum; the backward is that of the published program.
pub const TB_COMPOSITION_SPLIT: tb_composition = 1;
/// The published program, operation by operation in the storage type: its forward is not the maximum.
pub const TB_COMPOSITION_COUPLED: tb_composition = 2;
/// The forward of the published program, the backward of `TB_JACOBIAN_NATIVE`.
pub const TB_COMPOSITION_FORWARD: tb_composition = 3;

/// A choice where there is no derivative; `tb_kink_init` sets the defaults: what PyTorch computes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_kink {
    /// `sizeof(tb_kink)`.
    pub struct_size: usize,
    /// A `TB_KINK_` value: which of the fields below count.
    pub kind: tb_kink_kind,
    /// MaxPool: a `TB_JACOBIAN_` value.
    pub jacobian: tb_jacobian,
    /// MaxPool: a `TB_COMPOSITION_` value; counts with `TB_JACOBIAN_BETA`.
    pub composition: tb_composition,
    /// 0.
    pub reserved: i32,
    /// MaxPool: any number within the range of float; counts with `TB_JACOBIAN_BETA`. 0 is native, 1 is minimal.
    pub beta: f64,
    /// MaxPool: counts with `TB_JACOBIAN_RANDOM`.
    pub seed: u64,
    /// ReLU: the derivative at 0, any number within the range of float.
    pub alpha: f64,
    /// Norm pooling: what each element of a window of zeros gets of g, any number within the range of float.
    pub at_zero: f64,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_kink {
    const FIRST_SIZE: usize = 56;
    fn defaults() -> Self {
        tb_kink {
            struct_size: size_of::<Self>(),
            kind: TB_KINK_MAXPOOL,
            jacobian: TB_JACOBIAN_NATIVE,
            composition: TB_COMPOSITION_EXACT,
            reserved: 0,
            beta: 0.0,
            seed: 0,
            alpha: 0.0,
            at_zero: 0.0,
        }
    }
}

/// Fills `kink` with the defaults. `struct_size` is `sizeof(tb_kink)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_kink_init(kink: *mut tb_kink, struct_size: usize) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_kink_init", || unsafe { options::init(kink, struct_size, "kink") })
}

/// The caller's choice.
///
/// # Safety
/// As [`options::read`].
pub(super) unsafe fn read(kink: *const tb_kink, argument: &str) -> Result<Kink, Failure> {
    if kink.is_null() {
        return Err(Failure::null(argument));
    }
    let field = |name: &str, expected: &str, got: i32| -> Failure {
        Error::invalid(format!("{argument}.{name}"), expected, got).into()
    };
    // SAFETY: the caller's promise.
    let kink = unsafe { options::read(kink, argument) }?;
    if kink.reserved != 0 {
        return Err(field("reserved", "0", kink.reserved));
    }
    let choice = match kink.kind {
        TB_KINK_RELU => Kink::Relu(ReluKink { alpha: kink.alpha }),
        TB_KINK_NORM_POOL => Kink::NormPool(NormPoolKink { at_zero: kink.at_zero }),
        TB_KINK_MAXPOOL => {
            let jacobian = match kink.jacobian {
                TB_JACOBIAN_NATIVE => MaxPoolJacobian::Native,
                TB_JACOBIAN_LAST => MaxPoolJacobian::Last,
                TB_JACOBIAN_MINIMAL => MaxPoolJacobian::Minimal,
                TB_JACOBIAN_BETA => MaxPoolJacobian::Beta(kink.beta),
                TB_JACOBIAN_RANDOM => MaxPoolJacobian::Random(kink.seed),
                TB_JACOBIAN_FIRST_COLUMN => MaxPoolJacobian::FirstColumn,
                TB_JACOBIAN_ALL => MaxPoolJacobian::All,
                TB_JACOBIAN_SCALED => MaxPoolJacobian::Scaled,
                other => return Err(field("jacobian", "a TB_JACOBIAN_ value", other)),
            };
            let composition = match kink.composition {
                TB_COMPOSITION_EXACT => Composition::Exact,
                TB_COMPOSITION_SPLIT => Composition::Split,
                TB_COMPOSITION_COUPLED => Composition::Coupled,
                TB_COMPOSITION_FORWARD => Composition::Forward,
                other => return Err(field("composition", "a TB_COMPOSITION_ value", other)),
            };
            Kink::MaxPool(MaxPoolKink { jacobian, composition })
        }
        other => return Err(field("kind", "a TB_KINK_ value", other)),
    };
    choice.validate()?;
    Ok(choice)
}

/// A choice as the caller's struct.
pub(super) fn values(kink: Kink) -> tb_kink {
    let mut values = tb_kink::defaults();
    match kink {
        Kink::MaxPool(MaxPoolKink { jacobian, composition }) => {
            values.kind = TB_KINK_MAXPOOL;
            values.jacobian = match jacobian {
                MaxPoolJacobian::Native => TB_JACOBIAN_NATIVE,
                MaxPoolJacobian::Last => TB_JACOBIAN_LAST,
                MaxPoolJacobian::FirstColumn => TB_JACOBIAN_FIRST_COLUMN,
                MaxPoolJacobian::Minimal => TB_JACOBIAN_MINIMAL,
                MaxPoolJacobian::All => TB_JACOBIAN_ALL,
                MaxPoolJacobian::Scaled => TB_JACOBIAN_SCALED,
                MaxPoolJacobian::Beta(beta) => {
                    values.beta = beta;
                    TB_JACOBIAN_BETA
                }
                MaxPoolJacobian::Random(seed) => {
                    values.seed = seed;
                    TB_JACOBIAN_RANDOM
                }
            };
            values.composition = match composition {
                Composition::Exact => TB_COMPOSITION_EXACT,
                Composition::Split => TB_COMPOSITION_SPLIT,
                Composition::Coupled => TB_COMPOSITION_COUPLED,
                Composition::Forward => TB_COMPOSITION_FORWARD,
            };
        }
        Kink::Relu(ReluKink { alpha }) => (values.kind, values.alpha) = (TB_KINK_RELU, alpha),
        Kink::NormPool(NormPoolKink { at_zero }) => {
            (values.kind, values.at_zero) = (TB_KINK_NORM_POOL, at_zero)
        }
    }
    values
}

/// A choice for an operator of one kind; NULL means the default.
///
/// # Safety
/// As [`read`].
unsafe fn of_kind<K: Default>(
    kink: *const tb_kink,
    wanted: &str,
    open: impl Fn(Kink) -> Option<K>,
) -> Result<K, Failure> {
    if kink.is_null() {
        return Ok(K::default());
    }
    // SAFETY: the caller's promise.
    let kink = unsafe { read(kink, "kink") }?;
    open(kink).ok_or_else(|| {
        let got = match kink {
            Kink::MaxPool(_) => "TB_KINK_MAXPOOL",
            Kink::Relu(_) => "TB_KINK_RELU",
            Kink::NormPool(_) => "TB_KINK_NORM_POOL",
        };
        Error::invalid("kink.kind", wanted, got).into()
    })
}

/// A choice at MaxPool; NULL means native.
///
/// # Safety
/// As [`read`].
pub(super) unsafe fn maxpool(kink: *const tb_kink) -> Result<MaxPoolKink, Failure> {
    // SAFETY: the caller's promise.
    unsafe { of_kind(kink, "TB_KINK_MAXPOOL", |k| if let Kink::MaxPool(k) = k { Some(k) } else { None }) }
}

/// A choice at ReLU; NULL means alpha 0.
///
/// # Safety
/// As [`read`].
pub(super) unsafe fn relu(kink: *const tb_kink) -> Result<ReluKink, Failure> {
    // SAFETY: the caller's promise.
    unsafe { of_kind(kink, "TB_KINK_RELU", |k| if let Kink::Relu(k) = k { Some(k) } else { None }) }
}

/// A choice at norm pooling; NULL means 0.
///
/// # Safety
/// As [`read`].
pub(super) unsafe fn norm_pool(kink: *const tb_kink) -> Result<NormPoolKink, Failure> {
    // SAFETY: the caller's promise.
    unsafe { of_kind(kink, "TB_KINK_NORM_POOL", |k| if let Kink::NormPool(k) = k { Some(k) } else { None }) }
}
