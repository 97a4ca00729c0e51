use std::ffi::c_char;

use super::handle::lock;
use super::kink::{self, tb_kink};
use super::network::{self, tb_network};
use super::options::{self, Growable};
use super::status::tb_status;
use super::view::{Borrows, tb_view};
use super::{Failure, copy_text, guard, optional_string};
use crate::error::Error;
use crate::net::{Choice, Comparison, Difference};
use crate::tensor::filled;

/// What one of several alternatives computes at a layer; see `tb_network_compare`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_choice {
    /// Number of the alternative, from 0.
    pub alternative: usize,
    /// The layer's name; NULL for every layer of the kink's kind.
    pub layer: *const c_char,
    /// What it computes there.
    pub kink: *const tb_kink,
}

/// Gradients under the present choices and under an alternative, on the same weights and batch; filled by
/// `tb_network_compare`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_comparison {
    /// `sizeof(tb_comparison)`; set by the caller, of an array in the first.
    pub struct_size: usize,
    /// Sum over the parameters of the L1 norms of the differences.
    pub l1: f64,
    /// Sum over the parameters of the Euclidean norms of the differences.
    pub l2: f64,
    /// Sum over the parameters of the largest absolute differences.
    pub linf: f64,
    /// Number of gradient elements that are not equal.
    pub differing: u64,
    /// Loss under the present choices and under the alternative.
    pub losses: [f64; 2],
    /// 1 where one forward pass served both, 0 where the composition coupled or forward needed its own.
    pub shared_forward: i32,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_comparison {
    const FIRST_SIZE: usize = 64;
    fn defaults() -> Self {
        tb_comparison {
            struct_size: size_of::<Self>(),
            l1: 0.0,
            l2: 0.0,
            linf: 0.0,
            differing: 0,
            losses: [0.0; 2],
            shared_forward: 0,
        }
    }
}

/// How far two gradients of one parameter are apart; filled by `tb_network_compare`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_difference {
    /// `sizeof(tb_difference)`; set by the caller, of an array in the first.
    pub struct_size: usize,
    /// The parameter; its first 127 bytes.
    pub name: [c_char; 128],
    /// Sum of absolute differences.
    pub l1: f64,
    /// Euclidean norm of the difference.
    pub l2: f64,
    /// Largest absolute difference.
    pub linf: f64,
    /// Number of elements that are not equal.
    pub differing: u64,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_difference {
    const FIRST_SIZE: usize = 168;
    fn defaults() -> Self {
        tb_difference {
            struct_size: size_of::<Self>(),
            name: [0; 128],
            l1: 0.0,
            l2: 0.0,
            linf: 0.0,
            differing: 0,
        }
    }
}

/// Norms of the gradient of one parameter; filled by `tb_network_gradient_norms`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_norms {
    /// `sizeof(tb_norms)`; set by the caller, of an array in the first.
    pub struct_size: usize,
    /// The parameter; its first 127 bytes.
    pub name: [c_char; 128],
    /// Sum of absolute values.
    pub l1: f64,
    /// Euclidean norm.
    pub l2: f64,
    /// Largest absolute value.
    pub linf: f64,
    /// Number of elements that are not finite.
    pub non_finite: u64,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_norms {
    const FIRST_SIZE: usize = 168;
    fn defaults() -> Self {
        tb_norms {
            struct_size: size_of::<Self>(),
            name: [0; 128],
            l1: 0.0,
            l2: 0.0,
            linf: 0.0,
            non_finite: 0,
        }
    }
}

/// The choices of each alternative.
///
/// # Safety
/// What `choices` point to must be valid as [`kink::read`] and [`optional_string`] ask for it.
unsafe fn alternatives(choices: &[tb_choice], count: usize) -> Result<Vec<Vec<Choice>>, Failure> {
    let mut alternatives = filled(Vec::new(), count, "alternatives")?;
    for (i, choice) in choices.iter().enumerate() {
        let name = format!("choices[{i}]");
        let list: &mut Vec<Choice> = alternatives.get_mut(choice.alternative).ok_or_else(|| {
            Error::invalid(format!("{name}.alternative"), format!("below {count}"), choice.alternative)
        })?;
        // SAFETY: the caller's promise.
        let layer = unsafe { optional_string(choice.layer, &format!("{name}.layer")) }?;
        // SAFETY: the caller's promise.
        let kink = unsafe { kink::read(choice.kink, &format!("{name}.kink")) }?;
        list.push(Choice { layer: layer.map(str::to_string), kink });
    }
    Ok(alternatives)
}

fn comparison(result: &Comparison) -> tb_comparison {
    tb_comparison {
        l1: result.l1(),
        l2: result.l2(),
        linf: result.linf(),
        differing: result.differing() as u64,
        losses: result.losses,
        shared_forward: result.shared_forward as i32,
        ..Growable::defaults()
    }
}

fn difference(d: &Difference) -> tb_difference {
    let mut values = tb_difference {
        l1: d.l1,
        l2: d.l2,
        linf: d.linf,
        differing: d.differing as u64,
        ..Growable::defaults()
    };
    copy_text(&d.name, &mut values.name);
    values
}

/// Where the caller wants comparisons.
struct Output {
    comparisons: *mut tb_comparison,
    comparison_count: usize,
    differences: *mut tb_difference,
    difference_count: usize,
}

impl Output {
    /// Looks at it before the work is done.
    ///
    /// # Safety
    /// As [`options::check_array`], for both arrays.
    unsafe fn check(&self, parameters: usize) -> Result<(), Failure> {
        let Output { comparisons, comparison_count, differences, difference_count } = *self;
        if comparison_count == 0 {
            return Err(Error::invalid("comparison_count", "at least 1", 0).into());
        }
        // SAFETY: the caller's promise.
        unsafe { options::check_array(comparisons, comparison_count, "comparisons") }?;
        if !(differences.is_null() && difference_count == 0) {
            // SAFETY: the caller's promise.
            unsafe { options::check_array(differences, difference_count, "differences") }?;
            let expected = comparison_count.saturating_mul(parameters);
            if difference_count != expected {
                return Err(Error::invalid("difference_count", expected, difference_count).into());
            }
        }
        Ok(())
    }

    /// # Safety
    /// As [`options::write_array`], for both arrays.
    unsafe fn fill(&self, results: &[Comparison]) -> Result<(), Failure> {
        let values: Vec<tb_comparison> = results.iter().map(comparison).collect();
        // SAFETY: the caller's promise.
        unsafe { options::write_array(self.comparisons, &values, "comparisons") }?;
        if self.difference_count == 0 {
            return Ok(());
        }
        let values: Vec<tb_difference> =
            results.iter().flat_map(|r| &r.differences).map(difference).collect();
        // SAFETY: the caller's promise.
        unsafe { options::write_array(self.differences, &values, "differences") }
    }
}

/// Gradients under the present choices against those under each of several alternatives, on one stored forward pass,
/// but for the compositions coupled and forward, which need their own. An alternative is the present choices with some replaced; those
/// of one alternative count together. Afterwards choices, gradients and stored activations are the present ones'. After
/// an error of the device, gradients may be those of another choice: run `tb_network_loss_and_gradients` again.
///
/// @param x                 `[N, C, H, W]` of the network's dtype
/// @param labels            N class numbers
/// @param label_count       N
/// @param choices           what replaces present choices
/// @param choice_count      how many
/// @param comparisons       in: `struct_size` of the first; out: one for each alternative
/// @param comparison_count  number of alternatives, at least 1
/// @param differences       in: `struct_size` of the first; out: the parameters' under the first alternative, in the
///                          order of `tb_network_parameter_info`, then under the next ...; NULL where they are not
///                          wanted
/// @param difference_count  `comparison_count` times `parameter_count` of `tb_network_info`; 0 with NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_compare(
    network: *const tb_network,
    x: *const tb_view,
    labels: *const i64,
    label_count: usize,
    choices: *const tb_choice,
    choice_count: usize,
    comparisons: *mut tb_comparison,
    comparison_count: usize,
    differences: *mut tb_difference,
    difference_count: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_compare", || unsafe {
        let network = network::get(network)?;
        let mut network = lock(&network);
        let mut borrows = Borrows::default();
        let x = borrows.input(x, "x")?;
        let labels = borrows.array(labels, label_count, "labels")?;
        let choices = borrows.array(choices, choice_count, "choices")?;
        let output = Output { comparisons, comparison_count, differences, difference_count };
        output.check(network.parameters().count())?;
        let alternatives = alternatives(choices, comparison_count)?;
        output.fill(&network.compare(x.view()?, labels, &alternatives)?)
    })
}

/// As `tb_network_compare`, on the stored forward pass, such as one that `tb_network_replay` took over: no alternative may
/// have another one.
///
/// @param choices           what replaces present choices
/// @param choice_count      how many
/// @param comparisons       in: `struct_size` of the first; out: one for each alternative
/// @param comparison_count  number of alternatives, at least 1
/// @param differences       in: `struct_size` of the first; out: as of `tb_network_compare`; NULL where they are not wanted
/// @param difference_count  `comparison_count` times `parameter_count` of `tb_network_info`; 0 with NULL
/// @return `TB_STATUS_UNSUPPORTED` as of `tb_network_backward`, for an alternative too
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_compare_stored(
    network: *const tb_network,
    choices: *const tb_choice,
    choice_count: usize,
    comparisons: *mut tb_comparison,
    comparison_count: usize,
    differences: *mut tb_difference,
    difference_count: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_compare_stored", || unsafe {
        let network = network::get(network)?;
        let mut network = lock(&network);
        let choices = Borrows::default().array(choices, choice_count, "choices")?;
        let output = Output { comparisons, comparison_count, differences, difference_count };
        output.check(network.parameters().count())?;
        let alternatives = alternatives(choices, comparison_count)?;
        output.fill(&network.compare_stored(&alternatives)?)
    })
}

/// Norms of the gradients that the last backward pass left, taken on the device.
///
/// @param norms       in: `struct_size` of the first; out: one for each parameter, in the order of
///                    `tb_network_parameter_info`
/// @param norm_count  `parameter_count` of `tb_network_info`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_gradient_norms(
    network: *const tb_network,
    norms: *mut tb_norms,
    norm_count: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_gradient_norms", || unsafe {
        let network = network::get(network)?;
        let mut network = lock(&network);
        let names: Vec<String> = network.parameters().map(|p| p.name.clone()).collect();
        if norm_count != names.len() {
            return Err(Error::invalid("norm_count", names.len(), norm_count).into());
        }
        options::check_array(norms, norm_count, "norms")?;
        let mut values = Vec::new();
        for (name, n) in names.iter().zip(network.gradient_norms()?) {
            let mut value = tb_norms {
                l1: n.l1,
                l2: n.l2,
                linf: n.linf,
                non_finite: n.non_finite as u64,
                ..Growable::defaults()
            };
            copy_text(name, &mut value.name);
            values.push(value);
        }
        options::write_array(norms, &values, "norms")
    })
}
