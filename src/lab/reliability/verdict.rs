//! From runs to cells, and from these to sentences.

use crate::dtype::DType;
use crate::kink::Composition;
use crate::lab::columns::Columns;
use crate::lab::course::diverged;
use crate::lab::statistics::distinct;
use crate::report::power_label;

/// All runs of one precision, composition and beta.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    /// Storage type.
    pub precision: DType,
    /// How beta was evaluated.
    pub composition: Composition,
    /// beta of the MaxPool Jacobian.
    pub beta: f64,
    /// Number of runs (seeds).
    pub runs: usize,
    /// How many of them diverged.
    pub diverged: usize,
    /// How many of them failed: diverged, or did not train.
    pub failed: usize,
    /// Mean final test accuracy of all runs, 0 to 1.
    pub mean: f64,
    /// Sample standard deviation over the runs; 0 for a single run.
    pub std: f64,
    /// Worst run.
    pub min: f64,
    /// Best run.
    pub max: f64,
    /// Why the first of those that diverged did; empty where none did.
    pub cause: String,
}

impl Cell {
    /// From the last rows of the runs, of which there is one.
    pub fn new(precision: DType, composition: Composition, beta: f64, last: &[&Columns]) -> Cell {
        let accuracy = || last.iter().map(|row| row.number("test_accuracy"));
        let runs = last.len();
        let mean = accuracy().sum::<f64>() / runs as f64;
        let squares: f64 = accuracy().map(|a| (a - mean).powi(2)).sum();
        let (diverged, cause) = diverged(last.iter().copied());
        Cell {
            precision,
            composition,
            beta,
            runs,
            diverged,
            failed: last.iter().filter(|row| row.number("failed") == 1.0).count(),
            mean,
            std: (squares / runs.saturating_sub(1).max(1) as f64).sqrt(),
            min: accuracy().fold(f64::INFINITY, f64::min),
            max: accuracy().fold(f64::NEG_INFINITY, f64::max),
            cause,
        }
    }

    /// More than half of the runs failed.
    pub fn collapsed(&self) -> bool {
        2 * self.failed > self.runs
    }

    fn all_failed(&self) -> bool {
        self.failed == self.runs
    }

    fn none_failed(&self) -> bool {
        self.failed == 0
    }
}

/// `a`, `a and b`, `a, b and c`.
fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn betas<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> String {
    list(&cells.into_iter().map(|c| power_label(c.beta)).collect::<Vec<_>>())
}

/// What the numbers say, in sentences: for each precision how each composition trained, then, where the
/// compositions or the precisions part in all of their runs, what that means. It means nothing where beta = 0
/// fails as well; that is then said first.
pub(super) fn verdict(cells: &[Cell]) -> Vec<String> {
    let native = native_failures(cells);
    let trains = native.is_none();
    let mut sentences: Vec<String> = native.into_iter().collect();
    for precision in distinct(cells.iter().map(|c| c.precision)) {
        let here: Vec<&Cell> = cells.iter().filter(|c| c.precision == precision).collect();
        for composition in distinct(here.iter().map(|c| c.composition)) {
            let of_composition: Vec<&Cell> =
                here.iter().copied().filter(|c| c.composition == composition).collect();
            sentences.push(format!("{} bits, {composition}: {}.", precision.bits(), clause(&of_composition)));
        }
        if trains {
            sentences.extend(arithmetic(&here));
        }
    }
    if trains {
        sentences.extend(choice(cells));
    }
    sentences
}

/// Says so where runs of beta = 0 failed: then nothing can be told about the other betas.
fn native_failures(cells: &[Cell]) -> Option<String> {
    let precisions = distinct(cells.iter().map(|c| c.precision));
    let (mut counts, mut failed, mut diverged) = (Vec::new(), 0, 0);
    for &precision in &precisions {
        let native: Vec<&Cell> = cells.iter().filter(|c| c.precision == precision && c.beta == 0.0).collect();
        let count = Count::of(&native);
        if count.failed > 0 {
            let place =
                if precisions.len() > 1 { format!(" in {}", bits(&[precision])) } else { String::new() };
            counts.push(format!("{} of {} runs{place}", count.failed, count.runs));
        }
        (failed, diverged) = (failed + count.failed, diverged + count.diverged);
    }
    let remedy = match diverged {
        0 => "more epochs or images would be needed",
        _ if diverged == failed => "a smaller learning rate may be needed",
        _ => "other settings would be needed",
    };
    (failed > 0)
        .then(|| format!("Even beta = 0 does not train under these settings ({}); {remedy}.", list(&counts)))
}

/// Runs of several cells.
struct Count {
    runs: usize,
    failed: usize,
    diverged: usize,
}

impl Count {
    fn of(cells: &[&Cell]) -> Count {
        Count {
            runs: cells.iter().map(|c| c.runs).sum(),
            failed: cells.iter().map(|c| c.failed).sum(),
            diverged: cells.iter().map(|c| c.diverged).sum(),
        }
    }

    /// What the failed runs do: one of the words for one, for several.
    fn verb(&self, several: bool) -> &'static str {
        match (self.diverged, several) {
            (d, false) if d == self.failed => "diverges",
            (d, true) if d == self.failed => "diverge",
            (0, false) => "does not train",
            (0, true) => "do not train",
            (_, false) => "fails",
            (_, true) => "fail",
        }
    }
}

fn bits(precisions: &[DType]) -> String {
    let widths: Vec<String> = precisions.iter().map(|p| p.bits().to_string()).collect();
    format!("{} bits", list(&widths))
}

/// How one composition trained in one precision.
fn clause(cells: &[&Cell]) -> String {
    let (collapsed, trained): (Vec<&Cell>, Vec<&Cell>) = cells.iter().partition(|c| c.collapsed());
    let mut parts = Vec::new();
    for verb in distinct(collapsed.iter().map(|c| Count::of(&[c]).verb(false))) {
        let alike: Vec<&Cell> =
            collapsed.iter().copied().filter(|c| Count::of(&[c]).verb(false) == verb).collect();
        let count = Count::of(&alike);
        let of_them = match count.runs {
            1 => "1 run".to_string(),
            runs if runs == count.failed => format!("all {runs} runs"),
            runs => format!("{} of {runs} runs", count.failed),
        };
        parts.push(format!("{verb} at beta = {} ({of_them})", betas(alike)));
    }
    if !trained.is_empty() {
        let low = trained.iter().map(|c| c.mean).fold(f64::INFINITY, f64::min);
        let high = trained.iter().map(|c| c.mean).fold(0.0, f64::max);
        let range = match percent(low) == percent(high) {
            true => percent(low),
            false => format!("{:.1} to {}", 100.0 * low, percent(high)),
        };
        let place = match collapsed.is_empty() {
            true => "every beta".to_string(),
            false => format!("beta = {}", betas(trained.iter().copied())),
        };
        parts.push(format!("{range} test accuracy at {place}{}", drop_clause(&trained)));
        let single: Vec<&Cell> = trained.iter().copied().filter(|c| c.failed > 0).collect();
        if !single.is_empty() {
            let count = Count::of(&single);
            let (failed, runs, verb) = (count.failed, count.runs, count.verb(true));
            parts.push(format!("{failed} of {runs} runs {verb} at beta = {}", betas(single)));
        }
    }
    parts.join("; ")
}

/// The largest loss of accuracy against the smallest beta, where it is larger than the seeds' spread there; among
/// the betas at which no run failed.
fn drop_clause(trained: &[&Cell]) -> String {
    let trained: Vec<&Cell> = trained.iter().copied().filter(|c| c.none_failed()).collect();
    let Some(base) = trained.iter().min_by(|a, b| a.beta.abs().total_cmp(&b.beta.abs())) else {
        return String::new();
    };
    let Some(worst) = trained.iter().min_by(|a, b| a.mean.total_cmp(&b.mean)) else { return String::new() };
    let drop = base.mean - worst.mean;
    if base.runs < 2 || drop <= (base.max - base.min).max(0.005) {
        return String::new();
    }
    let (worst, base) = (power_label(worst.beta), power_label(base.beta));
    format!(" (beta = {worst} costs {:.1} points against beta = {base})", 100.0 * drop)
}

/// Coupled changes forward value, rounding and choice; split rounding and choice; exact the choice. Only where one
/// composition fails in every run and the other in none.
fn arithmetic(here: &[&Cell]) -> Vec<String> {
    use Composition::{Coupled, Exact, Split};
    let at = |beta: f64, composition| {
        here.iter().copied().find(|c| c.beta == beta && c.composition == composition)
    };
    let fails = |beta, composition| at(beta, composition).is_some_and(Cell::all_failed);
    let trains = |beta, composition| at(beta, composition).is_some_and(Cell::none_failed);
    let all = distinct(here.iter().map(|c| c.beta));
    let parts = |reference: Composition| -> Vec<f64> {
        let comparable = trains(0.0, Coupled) && trains(0.0, reference);
        let parts = |b: &f64| comparable && fails(*b, Coupled) && trains(*b, reference);
        all.iter().copied().filter(parts).collect()
    };
    let mut forward = parts(Split);
    forward.retain(|&b| at(b, Exact).is_none_or(Cell::none_failed));
    let mut rounding = parts(Exact);
    rounding.retain(|b| !forward.contains(b));
    let place = |betas: Vec<f64>| {
        let width = here[0].precision.bits();
        format!("at beta = {} in {width} bits", list(&betas.into_iter().map(power_label).collect::<Vec<_>>()))
    };
    let mut sentences = Vec::new();
    if !forward.is_empty() {
        sentences.push(format!(
            "So {} it is the forward pass of the published program, which is not exactly the maximum, that stops \
             training, not the Jacobian.",
            place(forward)
        ));
    }
    if !rounding.is_empty() {
        sentences.push(format!(
            "So {} it is the arithmetic of the published program that stops training, not the choice of the \
             Jacobian: the same choice trains when it is evaluated exactly.",
            place(rounding)
        ));
    }
    sentences
}

/// Where every exact run fails, although beta = 0 trains and no other composition does better: in which precisions
/// that is so, and in which it is not.
fn choice(cells: &[Cell]) -> Vec<String> {
    let exact = |c: &&Cell| c.composition == Composition::Exact;
    let native_trains = |precision| {
        let native = |c: &&Cell| c.precision == precision && c.beta == 0.0;
        cells.iter().filter(exact).find(native).is_some_and(Cell::none_failed)
    };
    let mut sentences: Vec<(String, Vec<String>)> = Vec::new();
    for beta in distinct(cells.iter().map(|c| c.beta)).into_iter().filter(|&b| b != 0.0) {
        let here: Vec<&Cell> = cells.iter().filter(|c| c.beta == beta).collect();
        let stops = |c: &&Cell| {
            let of_precision = |other: &&&Cell| other.precision == c.precision;
            let others_fail = here.iter().filter(of_precision).all(|other| other.collapsed());
            c.all_failed() && native_trains(c.precision) && others_fail
        };
        let here_exact = || here.iter().copied().filter(exact);
        let stopped: Vec<DType> = here_exact().filter(stops).map(|c| c.precision).collect();
        if stopped.is_empty() {
            continue;
        }
        let mut text = format!(
            "the choice of the Jacobian stops training in {} even when it is evaluated exactly",
            bits(&stopped)
        );
        let trained: Vec<DType> = here_exact().filter(|c| c.none_failed()).map(|c| c.precision).collect();
        if !trained.is_empty() {
            text += &format!(", though not in {}", bits(&trained));
        }
        for c in here_exact().filter(|c| !c.none_failed() && !c.all_failed()) {
            text += &format!("; in {} it does so in {} of {} runs", bits(&[c.precision]), c.failed, c.runs);
        }
        match sentences.iter_mut().find(|(same, _)| *same == text) {
            Some((_, betas)) => betas.push(power_label(beta)),
            None => sentences.push((text, vec![power_label(beta)])),
        }
    }
    sentences.into_iter().map(|(text, betas)| format!("At beta = {} {text}.", list(&betas))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end of a run.
    fn row(accuracy: f64, diverged: bool) -> Columns {
        Columns::new()
            .with("test_accuracy", accuracy)
            .with("diverged", diverged)
            .with("failed", accuracy < 0.2)
            .with("non_finite", if diverged { "backward pass" } else { "" })
            .with("non_finite_step", 7u64)
    }

    fn cell_in(precision: DType, composition: Composition, beta: f64, accuracy: [f64; 3]) -> Cell {
        let rows = accuracy.map(|a| row(a, a < 0.2));
        Cell::new(precision, composition, beta, &rows.each_ref())
    }

    fn cell(composition: Composition, beta: f64, accuracy: [f64; 3]) -> Cell {
        cell_in(DType::F16, composition, beta, accuracy)
    }

    /// Runs of which those below 20 % did not diverge.
    fn untrained(composition: Composition, beta: f64, accuracy: [f64; 3]) -> Cell {
        let rows = accuracy.map(|a| row(a, false));
        Cell::new(DType::F16, composition, beta, &rows.each_ref())
    }

    /// What is said beyond one sentence for each precision and composition.
    fn claims(cells: &[Cell]) -> Vec<String> {
        let mut verdict = verdict(cells);
        verdict.retain(|s| !s.contains(" bits, "));
        verdict
    }

    #[test]
    fn spread_and_divergence_are_counted() {
        let c = cell(Composition::Exact, 1.0, [0.9, 0.96, 0.12]);
        assert_eq!((c.runs, c.diverged, c.failed, c.min, c.max), (3, 1, 1, 0.12, 0.96));
        assert_eq!(c.cause, "step 7: backward pass");
        assert!((c.mean - 0.66).abs() < 1e-12 && (c.std - 0.4686).abs() < 1e-4, "{c:?}");
        let c = untrained(Composition::Exact, 1.0, [0.9, 0.19, 0.2]);
        assert_eq!((c.runs, c.diverged, c.failed, c.cause.as_str()), (3, 0, 1, ""));
        assert!(untrained(Composition::Exact, 1.0, [0.9, 0.1, 0.1]).collapsed());
        assert!(!c.collapsed() && cell(Composition::Exact, 1.0, [0.9, 0.1, 0.0]).collapsed());
    }

    #[test]
    fn the_verdict_says_what_the_numbers_say() {
        let good = [0.95, 0.96, 0.955];
        let cells = [
            cell(Composition::Coupled, 0.0, good),
            cell(Composition::Coupled, 1000.0, [0.1, 0.0, 0.1]),
            cell(Composition::Coupled, 1e4, [0.0; 3]),
            cell(Composition::Exact, 0.0, good),
            cell(Composition::Exact, 1000.0, [0.93, 0.93, 0.93]),
            cell(Composition::Exact, 1e4, [0.1, 0.1, 0.9]),
        ];
        let verdict = verdict(&cells);
        let expected = [
            "16 bits, coupled: diverges at beta = 10³ and 10⁴ (all 6 runs); 95.5 % test accuracy at beta = 0.",
            "16 bits, exact: diverges at beta = 10⁴ (2 of 3 runs); 93.0 to 95.5 % test accuracy at beta = 0 and \
             10³ (beta = 10³ costs 2.5 points against beta = 0).",
        ];
        assert_eq!(verdict[..2], expected);
        let arithmetic = "So at beta = 10³ in 16 bits it is the arithmetic of the published program that stops training, \
                          not the choice of the Jacobian: the same choice trains when it is evaluated exactly.";
        assert_eq!(verdict[2..], [arithmetic]);
    }

    const GOOD: [f64; 3] = [0.95, 0.96, 0.955];
    const LOST: [f64; 3] = [0.1; 3];

    fn grid(precision: DType, lines: &[(Composition, [[f64; 3]; 3])]) -> Vec<Cell> {
        let line = |(composition, of_beta): &(Composition, [[f64; 3]; 3])| {
            let betas = [0.0, 1e3, 1e4].into_iter().zip(*of_beta);
            betas.map(|(beta, a)| cell_in(precision, *composition, beta, a)).collect::<Vec<_>>()
        };
        lines.iter().flat_map(line).collect()
    }

    #[test]
    fn the_default_grid_is_told_apart() {
        use Composition::{Coupled, Exact};
        let narrow = grid(DType::F16, &[(Coupled, [GOOD, LOST, LOST]), (Exact, [GOOD, GOOD, LOST])]);
        let wide = grid(DType::F32, &[(Coupled, [GOOD; 3]), (Exact, [GOOD; 3])]);
        let arithmetic = "So at beta = 10³ in 16 bits it is the arithmetic of the published program that stops training, \
                          not the choice of the Jacobian: the same choice trains when it is evaluated exactly.";
        let choice = "At beta = 10⁴ the choice of the Jacobian stops training in 16 bits even when it is evaluated exactly";
        assert_eq!(
            verdict(&[narrow.clone(), wide].concat()),
            [
                "16 bits, coupled: diverges at beta = 10³ and 10⁴ (all 6 runs); 95.5 % test accuracy at beta = 0.",
                "16 bits, exact: diverges at beta = 10⁴ (all 3 runs); 95.5 % test accuracy at beta = 0 and 10³.",
                arithmetic,
                "32 bits, coupled: 95.5 % test accuracy at every beta.",
                "32 bits, exact: 95.5 % test accuracy at every beta.",
                &format!("{choice}, though not in 32 bits."),
            ]
        );
        assert_eq!(claims(&narrow), [arithmetic, &format!("{choice}.")]);
        let mixed = grid(DType::F32, &[(Exact, [GOOD, GOOD, [0.1, 0.9, 0.9]])]);
        let mixed = claims(&[narrow.clone(), mixed].concat());
        assert_eq!(mixed, [arithmetic, &format!("{choice}; in 32 bits it does so in 1 of 3 runs.")]);
        let both = grid(DType::F32, &[(Exact, [GOOD, LOST, LOST])]);
        assert_eq!(
            claims(&[narrow, both].concat())[1..],
            [
                "At beta = 10³ the choice of the Jacobian stops training in 32 bits even when it is evaluated exactly, \
                 though not in 16 bits.",
                &format!("{}.", choice.replace("16 bits", "16 and 32 bits")),
            ]
        );
    }

    #[test]
    fn the_forward_pass_is_blamed_where_it_is_to_blame() {
        use Composition::{Coupled, Exact, Split};
        let lines = [(Coupled, [GOOD, LOST, LOST]), (Split, [GOOD, GOOD, LOST]), (Exact, [GOOD, GOOD, LOST])];
        let expected = [
            "So at beta = 10³ in 16 bits it is the forward pass of the published program, which is not exactly the \
             maximum, that stops training, not the Jacobian.",
            "At beta = 10⁴ the choice of the Jacobian stops training in 16 bits even when it is evaluated exactly.",
        ];
        assert_eq!(claims(&grid(DType::F16, &lines)), expected);
        assert_eq!(claims(&grid(DType::F16, &lines[..2])), expected[..1], "without exact runs");
    }

    #[test]
    fn mixed_numbers_support_no_claim() {
        use Composition::{Coupled, Exact, Split};
        let (one, two) = ([0.1, 0.9, 0.9], [0.1, 0.1, 0.9]);
        let at_1e3 = |of: &[(Composition, [f64; 3])]| {
            let lines: Vec<_> = of.iter().map(|&(c, accuracy)| (c, [GOOD, accuracy, GOOD])).collect();
            claims(&grid(DType::F16, &lines))
        };
        let none: [&str; 0] = [];
        assert_eq!(at_1e3(&[(Coupled, LOST), (Split, one), (Exact, two)]), none);
        assert_eq!(at_1e3(&[(Coupled, two), (Exact, one)]), none);
        assert_eq!(at_1e3(&[(Coupled, two), (Exact, GOOD)]), none);
        assert_eq!(at_1e3(&[(Coupled, LOST), (Exact, one)]), none);
        assert_eq!(at_1e3(&[(Coupled, LOST), (Split, GOOD), (Exact, two)]), none);
        assert_eq!(
            at_1e3(&[(Coupled, LOST), (Split, GOOD), (Exact, LOST)]),
            none,
            "split has the same choice"
        );
        assert_eq!(at_1e3(&[(Coupled, GOOD), (Exact, LOST)]), none, "the same choice trains");
        assert_eq!(at_1e3(&[(Exact, two)]), none);
        // Without beta = 0 there is nothing to compare with.
        let cells = grid(DType::F16, &[(Coupled, [GOOD, LOST, LOST]), (Exact, [GOOD, GOOD, LOST])]);
        let rest: Vec<Cell> = cells.iter().filter(|c| c.beta != 0.0).cloned().collect();
        assert_eq!(claims(&rest), none);
        let one_side = |lost| cells.iter().filter(move |c| c.beta != 0.0 || c.composition != lost).cloned();
        assert_eq!(claims(&one_side(Exact).collect::<Vec<_>>()), none);
        assert_eq!(claims(&one_side(Coupled).collect::<Vec<_>>()).len(), 1, "the choice, by the exact runs");
    }

    #[test]
    fn where_beta_0_fails_nothing_is_blamed() {
        use Composition::{Coupled, Exact};
        let all = [
            untrained(Coupled, 0.0, LOST),
            untrained(Coupled, 1e3, LOST),
            untrained(Exact, 0.0, LOST),
            untrained(Exact, 1e3, GOOD),
        ];
        assert_eq!(
            verdict(&all),
            [
                "Even beta = 0 does not train under these settings (6 of 6 runs); more epochs or images would be needed.",
                "16 bits, coupled: does not train at beta = 0 and 10³ (all 6 runs).",
                "16 bits, exact: does not train at beta = 0 (all 3 runs); 95.5 % test accuracy at beta = 10³.",
            ]
        );
        let kinds = [untrained(Exact, 0.0, GOOD), untrained(Exact, 1e3, LOST), cell(Exact, 1e4, LOST)];
        assert!(
            verdict(&kinds)[0]
                .contains(": does not train at beta = 10³ (all 3 runs); diverges at beta = 10⁴ (all")
        );
        // One run is enough, in any precision; the words fit what happened.
        let narrow =
            grid(DType::F16, &[(Coupled, [[0.9, 0.9, 0.1], LOST, LOST]), (Exact, [GOOD, GOOD, LOST])]);
        let wide = grid(DType::F32, &[(Coupled, [GOOD; 3]), (Exact, [GOOD; 3])]);
        assert_eq!(
            claims(&[narrow.clone(), wide].concat()),
            [
                "Even beta = 0 does not train under these settings (1 of 6 runs in 16 bits); a smaller learning rate may \
              be needed."
            ]
        );
        let both = [untrained(Exact, 0.0, [0.1, 0.9, 0.9]), cell(Coupled, 0.0, [0.1, 0.9, 0.9])];
        let sentence = &verdict(&both)[0];
        assert!(sentence.ends_with("(2 of 6 runs); other settings would be needed."), "{sentence}");
    }
}
