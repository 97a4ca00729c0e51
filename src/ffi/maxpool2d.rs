use super::engine::{self, tb_engine};
use super::guard;
use super::kink::{self, tb_kink};
use super::options::{self, Growable};
use super::pool2d::{self, tb_pool2d_options};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};

/// How often the windows of a max pooling stand on a kink, and how often rounding would put them there; filled by
/// `tb_maxpool2d_diagnose`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_maxpool2d_diagnosis {
    /// `sizeof(tb_maxpool2d_diagnosis)`; set by the caller.
    pub struct_size: usize,
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
    /// max(0, 1 - lead / ulp) over the windows, tied or not, with the lead of the maximum over that element and the
    /// distance ulp of the numbers of f16 around the maximum.
    pub predicted_ties_f16: f64,
    /// The same for bfloat16.
    pub predicted_ties_bf16: f64,
    /// The same for f32.
    pub predicted_ties_f32: f64,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_maxpool2d_diagnosis {
    const FIRST_SIZE: usize = 80;
    fn defaults() -> Self {
        tb_maxpool2d_diagnosis {
            struct_size: size_of::<Self>(),
            windows: 0,
            nan: 0,
            untied: 0,
            tied_at_zero: 0,
            tied_elsewhere: 0,
            alive: 0,
            predicted_ties_f16: 0.0,
            predicted_ties_bf16: 0.0,
            predicted_ties_f32: 0.0,
        }
    }
}

/// Max pooling, and the tie set of each window, which the backward pass needs. A NaN in a window wins.
///
/// A tie set is 1 byte for windows of up to 7 elements, 2 for up to 15, else 4 (len / 32 + 1) bytes: bit i
/// (little endian, row-major in the window) is set where element i attains the maximum. The highest bit of the
/// last byte is set where the window holds a NaN; then the others mark the NaNs.
///
/// @param x          `[N, C, H, W]`
/// @param options    NULL for the defaults: 2x2, stride 2
/// @param kink       a choice of kind `TB_KINK_MAXPOOL`: only `TB_COMPOSITION_COUPLED` and `_FORWARD` change y; NULL:
///                   native
/// @param y          out: `[N, C, OH, OW]`
/// @param ties       out: `ties_size` bytes
/// @param ties_size  as `tb_pool2d_output_shape` gives it; `TB_TIES_TENSOR` where ties is a `tb_tensor` of so many bytes
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_maxpool2d_forward(
    engine: *const tb_engine,
    x: *const tb_view,
    options: *const tb_pool2d_options,
    kink: *const tb_kink,
    y: *const tb_view_mut,
    ties: *mut u8,
    ties_size: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_maxpool2d_forward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let mut y = borrows.output(y, "y")?;
        let ties = borrows.ties_mut(ties, ties_size)?;
        let (window, kink) = (pool2d::read(options)?, kink::maxpool(kink)?);
        Ok(engine.maxpool2d_forward(x.view()?, window, kink, y.view()?, ties)?)
    })
}

/// Gradient with respect to the input of `tb_maxpool2d_forward` under any choice, from the stored tie sets: two
/// choices can be compared on one forward pass.
///
/// @param gy         `[N, C, OH, OW]`
/// @param ties       as the forward pass wrote them
/// @param ties_size  as in the forward pass
/// @param options    as in the forward pass
/// @param kink       a choice of kind `TB_KINK_MAXPOOL`; NULL: native
/// @param gx         out: `[N, C, H, W]`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_maxpool2d_backward(
    engine: *const tb_engine,
    gy: *const tb_view,
    ties: *const u8,
    ties_size: usize,
    options: *const tb_pool2d_options,
    kink: *const tb_kink,
    gx: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_maxpool2d_backward", || unsafe {
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let gy = borrows.input(gy, "gy")?;
        let ties = borrows.ties(ties, ties_size)?;
        let mut gx = borrows.output(gx, "gx")?;
        let (window, kink) = (pool2d::read(options)?, kink::maxpool(kink)?);
        Ok(engine.maxpool2d_backward(gy.view()?, ties, window, kink, gx.view()?)?)
    })
}

/// How often the windows of a max pooling of the caller's own layer tie, and how often they would in narrower arithmetic.
/// The leads that the predictions follow from are those over the reals, but for 1e-16, where x was computed in f64. Counted
/// on the host, whichever engine it is.
///
/// @param x          `[N, C, H, W]`
/// @param gy         `[N, C, OH, OW]`, the gradient of the output, whose zeros `alive` leaves out; NULL: `alive` is of all
///                   tied windows
/// @param options    NULL for the defaults: 2x2, stride 2
/// @param diagnosis  in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_maxpool2d_diagnose(
    engine: *const tb_engine,
    x: *const tb_view,
    gy: *const tb_view,
    options: *const tb_pool2d_options,
    diagnosis: *mut tb_maxpool2d_diagnosis,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_maxpool2d_diagnose", || unsafe {
        options::check(diagnosis, "diagnosis")?;
        let engine = engine::get(engine)?;
        let mut borrows = Borrows::on(&engine);
        let x = borrows.input(x, "x")?;
        let gy = borrows.optional_input(gy, "gy")?;
        let window = pool2d::read(options)?;
        let gy = gy.as_ref().map(|gy| gy.view()).transpose()?;
        let found = engine.maxpool2d_diagnose(x.view()?, gy, window)?;
        let values = tb_maxpool2d_diagnosis {
            windows: found.windows,
            nan: found.nan,
            untied: found.untied,
            tied_at_zero: found.tied_at_zero,
            tied_elsewhere: found.tied_elsewhere,
            alive: found.alive,
            predicted_ties_f16: found.predicted_ties_f16,
            predicted_ties_bf16: found.predicted_ties_bf16,
            predicted_ties_f32: found.predicted_ties_f32,
            ..Growable::defaults()
        };
        options::write(diagnosis, values, "diagnosis")
    })
}
