//! Its tables, plots and page.

use super::verdict::{Cell, verdict};
use crate::dtype::DType;
use crate::error::Result;
use crate::kink::Composition;
use crate::lab::columns::Columns;
use crate::lab::journal::Record;
use crate::lab::statistics::distinct;
use crate::report::page::{self, Figure, Page, Table, Tone};
use crate::report::plot::{self, Chart, Mark, Point, Series};
use crate::report::power_label;

/// The page of finished runs.
pub(super) fn page(records: &[Record]) -> Result<Page> {
    let cells = cells(records)?;
    let first = &records[0].settings;
    let epochs = first.number("epochs") as usize;
    let classes = first.number("classes");
    let figures = vec![
        Figure {
            drawings: accuracy_charts(&cells, classes)?,
            caption: format!(
                "Test accuracy after {epochs} epochs against beta: mean of the runs, whiskers from the worst to the best. \
                 A cross marks a beta at which at least one run failed. Lines are set a little apart so that \
                 none hides another."
            ),
        },
        Figure {
            drawings: loss_charts(epochs, &cells, records)?,
            caption: "Training loss (mean over the mini-batches of an epoch) by epoch, one line for each beta: mean \
                      of the runs, whiskers from the lowest to the highest. A cross marks the epoch in which \
                      a run diverged, at the upper edge where no loss is finite, or the last epoch of a run that did \
                      not train; the mean goes on with the others."
                .into(),
        },
    ];
    Ok(Page {
        title: "Reliability of training against the choice at MaxPool ties".into(),
        question: format!(
            "MaxPool has no derivative where a window has several maxima. Does it matter for training what the backward pass \
             computes there, and in which precision? {} is trained with beta · minimal + (1 − beta) · native, for several beta.",
            first.text("network")
        ),
        verdict: verdict(&cells),
        tables: tables(&cells).into_iter().chain(causes(&cells)).collect(),
        figures,
        definitions: definitions(&distinct(cells.iter().map(|c| c.composition)), classes),
        ..Page::default()
    })
}

type Group = (DType, Composition, f64);

/// Precision, composition and beta of a run.
fn group(record: &Record) -> Result<Group> {
    let settings = &record.settings;
    Ok((settings.text("precision").parse()?, settings.text("composition").parse()?, settings.number("beta")))
}

/// One cell for each precision, composition and beta that has a run, in this order.
fn cells(records: &[Record]) -> Result<Vec<Cell>> {
    let groups = records.iter().map(group).collect::<Result<Vec<Group>>>()?;
    // The records of shards do not come in the order of the experiment.
    let (precisions, compositions) =
        (distinct(groups.iter().map(|g| g.0)), distinct(groups.iter().map(|g| g.1)));
    let place =
        |g: &Group| (precisions.iter().position(|p| *p == g.0), compositions.iter().position(|c| *c == g.1));
    let mut all = distinct(groups.iter().copied());
    all.sort_by(|a, b| place(a).cmp(&place(b)).then(a.2.total_cmp(&b.2)));
    let cell = |of: Group| {
        let here = records.iter().zip(&groups).filter(|(_, g)| **g == of);
        let last: Vec<_> = here.filter_map(|(record, _)| record.rows.last()).collect();
        Cell::new(of.0, of.1, of.2, &last)
    };
    Ok(all.into_iter().map(cell).collect())
}

fn by_beta(cells: &[Cell]) -> Vec<f64> {
    let mut betas = distinct(cells.iter().map(|c| c.beta));
    betas.sort_by(f64::total_cmp);
    betas
}

fn bits(precision: DType) -> String {
    format!("{} bits", precision.bits())
}

/// One table per precision: a row for each beta, a column for each composition.
fn tables(cells: &[Cell]) -> Vec<Table> {
    let table = |precision| {
        let here: Vec<&Cell> = cells.iter().filter(|c| c.precision == precision).collect();
        let compositions = distinct(here.iter().map(|c| c.composition));
        let head = std::iter::once("beta".to_string()).chain(compositions.iter().map(|c| c.to_string()));
        let row = |beta: f64| {
            let cell = |composition: &Composition| {
                let found = here.iter().find(|c| c.composition == *composition && c.beta == beta);
                found.map_or(page::Cell::default(), |c| numbers(c))
            };
            std::iter::once(page::Cell::from(power_label(beta)))
                .chain(compositions.iter().map(cell))
                .collect()
        };
        Table {
            caption: format!(
                "{}: final test accuracy in percent, mean ± standard deviation over the runs; below it the worst \
                 and the best run, and how many runs failed.",
                bits(precision)
            ),
            head: head.collect(),
            rows: by_beta(cells).into_iter().map(row).collect(),
        }
    };
    distinct(cells.iter().map(|c| c.precision)).into_iter().map(table).collect()
}

fn numbers(cell: &Cell) -> page::Cell {
    let [mean, std, min, max] = [cell.mean, cell.std, cell.min, cell.max].map(|v| 100.0 * v);
    let how = match (cell.diverged, cell.failed - cell.diverged) {
        (_, 0) => format!("{} of {} diverged", cell.diverged, cell.runs),
        (0, untrained) => format!("{untrained} of {} did not train", cell.runs),
        (diverged, untrained) => {
            format!("{diverged} of {0} diverged, {untrained} of {0} did not train", cell.runs)
        }
    };
    page::Cell {
        text: format!("{mean:.2} ± {std:.2}"),
        detail: format!("{min:.2} to {max:.2}; {how}"),
        tone: if cell.failed > 0 { Tone::Bad } else { Tone::Plain },
    }
}

/// Why runs diverged; nothing where none did.
fn causes(cells: &[Cell]) -> Option<Table> {
    let lost: Vec<&Cell> = cells.iter().filter(|c| c.diverged > 0).collect();
    let row = |c: &&Cell| {
        let cells = [
            c.precision.bits().to_string(),
            c.composition.to_string(),
            power_label(c.beta),
            format!("{} of {}", c.diverged, c.runs),
            c.cause.clone(),
        ];
        cells.map(page::Cell::from).to_vec()
    };
    let head = ["bits", "composition", "beta", "diverged", "why the first of them did"];
    (!lost.is_empty()).then(|| Table {
        caption: "The runs that diverged, and where the first value that is not finite arose.".into(),
        head: head.map(String::from).to_vec(),
        rows: lost.iter().map(row).collect(),
    })
}

/// One chart per precision, a line per composition; x is the place of beta in the list.
fn accuracy_charts(cells: &[Cell], classes: f64) -> Result<Vec<String>> {
    let betas = by_beta(cells);
    let chart = |precision: DType| {
        let here: Vec<&Cell> = cells.iter().filter(|c| c.precision == precision).collect();
        let series = distinct(here.iter().map(|c| c.composition)).into_iter().map(|composition| {
            let of_beta = |(x, &beta): (usize, &f64)| {
                let cell = here.iter().find(|c| c.composition == composition && c.beta == beta)?;
                let (y, low, high) = (100.0 * cell.mean, 100.0 * cell.min, 100.0 * cell.max);
                Some(Point { x: x as f64, y, low, high, failed: cell.failed > 0 })
            };
            Series {
                name: composition.to_string(),
                points: betas.iter().enumerate().filter_map(of_beta).collect(),
            }
        });
        let chart = Chart {
            mark: Mark::Lines,
            title: bits(precision),
            x_label: "beta (steps of the list, not to scale)".into(),
            y_label: "test accuracy, %".into(),
            x_ticks: betas.iter().enumerate().map(|(x, &b)| (x as f64, power_label(b))).collect(),
            y_range: (0.0, 100.0),
            reference: Some((100.0 / classes, "guessing".into())),
            failure: "a run failed".into(),
            series: series.collect(),
        };
        plot::chart(&chart)
    };
    distinct(cells.iter().map(|c| c.precision)).into_iter().map(chart).collect()
}

/// One chart per precision and composition, a line per beta.
fn loss_charts(epochs: usize, cells: &[Cell], records: &[Record]) -> Result<Vec<String>> {
    let groups = records.iter().map(group).collect::<Result<Vec<Group>>>()?;
    let all = records.iter().flat_map(|r| &r.rows).map(|row| row.number("train_loss"));
    // A run that diverges may pass through huge losses first: they lie on the upper edge.
    let highest = all.filter(|loss| loss.is_finite()).fold(0.0, f64::max).clamp(0.1, 3.0);
    let chart = |(precision, composition): (DType, Composition)| {
        let series = by_beta(cells).into_iter().map(|beta| {
            let here = records.iter().zip(&groups).filter(|(_, g)| **g == (precision, composition, beta));
            let runs: Vec<&[Columns]> = here.map(|(record, _)| &*record.rows).collect();
            let points = (0..epochs).filter_map(|e| loss_point(e, &runs));
            Series { name: format!("beta {}", power_label(beta)), points: points.collect() }
        });
        let every = epochs.div_ceil(10);
        let ticks = (1..=epochs).filter(|e| e % every == 0 || epochs <= 10);
        let chart = Chart {
            mark: Mark::Lines,
            title: format!("{}, {composition}", bits(precision)),
            x_label: "epoch".into(),
            y_label: "training loss".into(),
            x_ticks: ticks.map(|e| (e as f64, e.to_string())).collect(),
            y_range: (0.0, 1.05 * highest),
            reference: None,
            failure: "a run failed".into(),
            series: series.filter(|s| !s.points.is_empty()).collect(),
        };
        plot::chart(&chart)
    };
    distinct(cells.iter().map(|c| (c.precision, c.composition))).into_iter().map(chart).collect()
}

/// Mean loss of the runs that are finite in this epoch; nothing once all are lost.
fn loss_point(epoch: usize, runs: &[&[Columns]]) -> Option<Point> {
    // A run ends with the loss that is not finite.
    let losses: Vec<f64> =
        runs.iter().filter_map(|run| run.get(epoch)).map(|row| row.number("train_loss")).collect();
    if losses.is_empty() {
        return None;
    }
    let finite: Vec<f64> = losses.into_iter().filter(|loss| loss.is_finite()).collect();
    Some(Point {
        x: (epoch + 1) as f64,
        y: finite.iter().sum::<f64>() / finite.len() as f64,
        low: finite.iter().copied().fold(f64::INFINITY, f64::min),
        high: finite.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        failed: runs.iter().any(|run| failed_in(run) == Some(epoch)),
    })
}

/// In which epoch, from 0 on, a run failed: diverged for good, or ended without having trained.
fn failed_in(run: &[Columns]) -> Option<usize> {
    run.last().filter(|last| last.number("failed") == 1.0)?;
    let diverged = run.iter().rposition(|row| row.number("diverged") != 1.0).map_or(0, |at| at + 1);
    Some(diverged.min(run.len() - 1))
}

fn definitions(compositions: &[Composition], classes: f64) -> Vec<(String, String)> {
    let untrained = 200.0 / classes;
    let mut all = vec![(
        "beta".to_string(),
        "In a window whose maximum is attained k times the gradient g is spread as beta · (g/k on each maximum) + \
         (1 − beta) · (g on the first). 0 is what PyTorch computes, 1 the Jacobian of least norm; over the reals all \
         of them are the derivative wherever there is one."
            .to_string(),
    )];
    all.extend(compositions.iter().map(|c| {
        let text = match c {
            Composition::Exact => {
                "The forward pass is the maximum itself; the gradient is multiplied once, and passes unchanged where \
                 there is no tie. Apart from that one rounding only the choice differs from beta = 0."
            }
            Composition::Forward => {
                "The forward pass of the published program, the gradient as for beta = 0: what its forward pass alone does."
            }
            Composition::Split => {
                "The forward pass is the maximum itself; the backward pass adds two rounded branches, as the \
                 published program does."
            }
            Composition::Coupled => {
                "The published program, operation by operation in the storage type: two branches, multiplied by beta \
                 and 1 − beta and added, in the forward pass as well, which is then not exactly the maximum."
            }
        };
        (c.to_string(), text.to_string())
    }));
    let counted = [
        (
            "diverged",
            format!(
                "The loss of a mini-batch or of the test images was not finite in some epoch; or the test accuracy is \
                 below {untrained} % (twice guessing) after the training loss has risen: its mean over an epoch was more \
                 than 5 % above the lowest of the epochs before, where the loss of guessing, {:.2}, counts as that of the \
                 start. An image with a NaN among its logits counts as wrong.",
                classes.ln()
            ),
        ),
        (
            "did not train",
            format!(
                "The final test accuracy is below {untrained} % without that: the run needs more epochs or images, or is \
                 stuck."
            ),
        ),
        ("failed", "The run diverged or did not train.".into()),
    ];
    all.extend(counted.map(|(name, text)| (name.to_string(), text)));
    all
}
