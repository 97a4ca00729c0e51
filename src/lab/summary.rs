//! From rows to a table and to sentences.

use crate::dtype::DType;
use crate::kink::Composition;
use crate::lab::results::Row;
use crate::report::power_label;

/// All runs of one precision, composition and beta.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
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
    /// Mean final test accuracy of all runs, 0 to 1.
    pub mean: f64,
    /// Sample standard deviation over the runs; 0 for a single run.
    pub std: f64,
    /// Worst run.
    pub min: f64,
    /// Best run.
    pub max: f64,
}

impl Cell {
    /// From the last rows of the runs; `None` where there is none.
    pub(super) fn new(precision: DType, composition: Composition, beta: f64, last: &[&Row]) -> Option<Cell> {
        let accuracy = || last.iter().map(|row| row.test_accuracy);
        let runs = last.len();
        let mean = accuracy().sum::<f64>() / runs as f64;
        let squares: f64 = accuracy().map(|a| (a - mean).powi(2)).sum();
        (runs > 0).then(|| Cell {
            precision,
            composition,
            beta,
            runs,
            diverged: last.iter().filter(|row| row.diverged).count(),
            mean,
            std: (squares / runs.saturating_sub(1).max(1) as f64).sqrt(),
            min: accuracy().fold(f64::INFINITY, f64::min),
            max: accuracy().fold(f64::NEG_INFINITY, f64::max),
        })
    }

    /// More than half of the runs diverged.
    pub fn collapsed(&self) -> bool {
        2 * self.diverged > self.runs
    }
}

/// Different values in the order of their first appearance.
pub(super) fn distinct<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
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
/// compositions part, what that means.
pub(super) fn verdict(cells: &[Cell]) -> Vec<String> {
    let mut sentences = Vec::new();
    for precision in distinct(cells.iter().map(|c| c.precision)) {
        let here: Vec<&Cell> = cells.iter().filter(|c| c.precision == precision).collect();
        for composition in distinct(here.iter().map(|c| c.composition)) {
            let of_composition: Vec<&Cell> =
                here.iter().copied().filter(|c| c.composition == composition).collect();
            sentences.push(format!("{} bits, {composition}: {}.", precision.bits(), clause(&of_composition)));
        }
        sentences.extend(attribution(&here));
    }
    sentences
}

/// How one composition trained in one precision.
fn clause(cells: &[&Cell]) -> String {
    let (collapsed, trained): (Vec<&Cell>, Vec<&Cell>) = cells.iter().partition(|c| c.collapsed());
    let mut parts = Vec::new();
    if !collapsed.is_empty() {
        let (diverged, runs) = collapsed.iter().fold((0, 0), |(d, r), c| (d + c.diverged, r + c.runs));
        let count = if diverged == runs { format!("all {runs}") } else { format!("{diverged} of {runs}") };
        let betas = betas(collapsed.iter().copied());
        parts.push(format!("diverges at beta = {betas} ({count} runs)"));
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
        let single: Vec<&Cell> = trained.iter().copied().filter(|c| c.diverged > 0).collect();
        if !single.is_empty() {
            let (diverged, runs) = single.iter().fold((0, 0), |(d, r), c| (d + c.diverged, r + c.runs));
            parts.push(format!("{diverged} of {runs} runs diverge at beta = {}", betas(single)));
        }
    }
    parts.join("; ")
}

/// The largest loss of accuracy against the smallest beta, where it is larger than the seeds' spread there.
fn drop_clause(trained: &[&Cell]) -> String {
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

/// Coupled changes forward value, rounding and choice; split rounding and choice; exact the choice alone.
fn attribution(here: &[&Cell]) -> Vec<String> {
    let collapsed = |beta: f64, composition| {
        here.iter().find(|c| c.beta == beta && c.composition == composition).map(|c| c.collapsed())
    };
    let where_ = |test: &dyn Fn(f64) -> bool| -> Vec<String> {
        distinct(here.iter().map(|c| c.beta)).into_iter().filter(|&b| test(b)).map(power_label).collect()
    };
    use Composition::{Coupled, Exact, Split};
    let forward = where_(&|b| collapsed(b, Coupled) == Some(true) && collapsed(b, Split) == Some(false));
    let rounding = where_(&|b| {
        let not_forward = collapsed(b, Split) != Some(false);
        collapsed(b, Coupled) == Some(true) && collapsed(b, Exact) == Some(false) && not_forward
    });
    let choice =
        where_(&|b| b != 0.0 && collapsed(b, Exact) == Some(true) && collapsed(0.0, Exact) == Some(false));
    let mut sentences = Vec::new();
    if !forward.is_empty() {
        sentences.push(format!(
            "So at beta = {} it is the forward pass of the published program, which rounds the maximum away, that \
             stops training, not the Jacobian.",
            list(&forward)
        ));
    }
    if !rounding.is_empty() {
        sentences.push(format!(
            "So at beta = {} it is the arithmetic of the published program that stops training, not the choice of \
             the Jacobian: the same choice trains when it is evaluated exactly.",
            list(&rounding)
        ));
    }
    if !choice.is_empty() {
        sentences.push(format!(
            "At beta = {} the choice of the Jacobian alone is enough to stop training.",
            list(&choice)
        ));
    }
    sentences
}

/// The cells as a table in plain text, accuracies in percent.
pub(super) fn text_table(cells: &[Cell]) -> String {
    let head = ["bits", "composition", "beta", "runs", "accuracy %", "std", "min", "max", "diverged"];
    let mut lines = vec![head.map(String::from)];
    lines.extend(cells.iter().map(|c| {
        let percent = |v: f64| format!("{:.2}", 100.0 * v);
        [
            c.precision.bits().to_string(),
            c.composition.to_string(),
            c.beta.to_string(),
            c.runs.to_string(),
            percent(c.mean),
            percent(c.std),
            percent(c.min),
            percent(c.max),
            format!("{}/{}", c.diverged, c.runs),
        ]
    }));
    let widths: [usize; 9] = std::array::from_fn(|i| lines.iter().map(|l| l[i].len()).max().unwrap_or(0));
    let pad = |line: &[String; 9]| {
        let cells = line.iter().zip(widths).enumerate();
        let cells = cells.map(|(i, (cell, w))| match i {
            1 => format!("{cell:<w$}"),
            _ => format!("{cell:>w$}"),
        });
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    lines.iter().map(pad).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::results::tests::row;

    fn cell(composition: Composition, beta: f64, accuracy: [f64; 3]) -> Cell {
        let rows = accuracy.map(|a| row(beta, 0, 2, a));
        Cell::new(DType::F16, composition, beta, &rows.each_ref()).unwrap()
    }

    #[test]
    fn spread_and_divergence_are_counted() {
        let c = cell(Composition::Exact, 1.0, [0.9, 0.96, 0.12]);
        assert_eq!((c.runs, c.diverged, c.min, c.max), (3, 1, 0.12, 0.96));
        assert!((c.mean - 0.66).abs() < 1e-12 && (c.std - 0.4686).abs() < 1e-4, "{c:?}");
        assert!(!c.collapsed() && cell(Composition::Exact, 1.0, [0.9, 0.1, 0.0]).collapsed());
        assert!(Cell::new(DType::F16, Composition::Exact, 0.0, &[]).is_none());
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
        assert!(verdict[2].starts_with("So at beta = 10³ it is the arithmetic"), "{}", verdict[2]);
        assert!(verdict[3].starts_with("At beta = 10⁴ the choice"), "{}", verdict[3]);
        assert_eq!(verdict.len(), 4);
    }

    #[test]
    fn the_table_is_aligned() {
        let table = text_table(&[cell(Composition::Exact, 1e4, [0.5; 3])]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), lines[1].len());
        assert!(lines[1].contains("exact        10000     3       50.00  0.00"), "{}", lines[1]);
    }
}
