//! Plots and page of the reliability experiment.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::kink::Composition;
use crate::lab::reliability::{Outcome, REPORT, ReliabilityOptions, belongs, device};
use crate::lab::results::Row;
use crate::lab::statistics::distinct;
use crate::lab::summary::Cell;
use crate::net::{Graph, Network};
use crate::report::page::{self, Figure, Page, Table, Tone};
use crate::report::plot::{self, Chart, Mark, Point, Series};
use crate::report::tie_map::{Tie, TieMap, tie_map};
use crate::report::{power_label, utc};
use crate::whole_file;

/// Writes the page and the plots to `out`.
pub(super) fn write(
    engine: &Engine,
    graph: &Graph,
    options: &ReliabilityOptions,
    outcome: &Outcome,
    rows: &[Vec<Row>],
    out: &Path,
) -> Result<()> {
    let cells = &outcome.cells;
    let ties = Ties::measure(engine, graph, options)?;
    let plots = out.join("plots");
    fs::create_dir_all(&plots).map_err(|e| Error::io(&plots, e))?;
    let save = |named: Vec<(String, String)>| -> Result<Vec<String>> {
        for (name, svg) in &named {
            let path = plots.join(format!("{name}.svg"));
            whole_file::write(&path, svg.as_bytes())?;
        }
        Ok(named.into_iter().map(|(_, svg)| svg).collect())
    };
    let figures = vec![
        Figure {
            drawings: save(accuracy_charts(cells)?)?,
            caption: format!(
                "Test accuracy after {} epochs against beta: mean of the runs, whiskers from the worst to the best. \
                 A cross marks a beta at which at least one run failed. Lines are set a little apart so that \
                 none hides another.",
                options.epochs
            ),
        },
        Figure {
            drawings: save(loss_charts(options.epochs, cells, rows)?)?,
            caption: "Training loss (mean over the mini-batches of an epoch) by epoch, one line for each beta: mean \
                      of the runs, whiskers from the lowest to the highest. A cross marks the epoch in which \
                      a run diverged, at the upper edge where no loss is finite, or the last epoch of a run that did \
                      not train; the mean goes on with the others."
                .into(),
        },
        Figure { drawings: save(vec![("ties".into(), ties.drawing()?)])?, caption: ties.caption() },
    ];
    let page = Page {
        title: "Reliability of training against the choice at MaxPool ties".into(),
        question:
            "MaxPool has no derivative where a window has several maxima. Does it matter for training what \
                   the backward pass computes there, and in which precision? LeNet-5 is trained with \
                   beta · minimal + (1 − beta) · native, for several beta."
                .into(),
        verdict: verdict(outcome),
        tables: tables(cells).into_iter().chain([ties.table()]).collect(),
        figures,
        definitions: definitions(&distinct(cells.iter().map(|c| c.composition))),
        settings: settings(options, outcome),
        provenance: provenance(engine, options, outcome, rows),
    };
    let path = out.join(REPORT);
    whole_file::write(&path, page::render(&page).as_bytes())
}

fn verdict(outcome: &Outcome) -> Vec<String> {
    let mut sentences = outcome.verdict.clone();
    if outcome.cancelled {
        let done = outcome.skipped + outcome.finished;
        sentences.push(format!("Incomplete: {done} of {} runs are finished.", outcome.units));
    }
    sentences
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

/// One chart per precision, a line per composition; x is the place of beta in the list.
fn accuracy_charts(cells: &[Cell]) -> Result<Vec<(String, String)>> {
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
            reference: Some((10.0, "guessing".into())),
            failure: "a run failed".into(),
            series: series.collect(),
        };
        Ok((format!("accuracy-{}", precision.bits()), plot::chart(&chart)?))
    };
    distinct(cells.iter().map(|c| c.precision)).into_iter().map(chart).collect()
}

/// One chart per precision and composition, a line per beta.
fn loss_charts(epochs: usize, cells: &[Cell], rows: &[Vec<Row>]) -> Result<Vec<(String, String)>> {
    let all = rows.iter().flatten();
    let finite = |r: &Row| if r.train_loss.is_finite() { Some(r.train_loss) } else { None };
    // A run that diverges may pass through huge losses first: they lie on the upper edge.
    let highest = all.filter_map(finite).fold(0.0, f64::max).clamp(0.1, 3.0);
    let chart = |(precision, composition): (DType, Composition)| {
        let series = by_beta(cells).into_iter().map(|beta| {
            let runs: Vec<&Vec<Row>> =
                rows.iter().filter(|r| belongs(&r[0], precision, composition, beta)).collect();
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
        Ok((format!("loss-{}-{composition}", precision.bits()), plot::chart(&chart)?))
    };
    distinct(cells.iter().map(|c| (c.precision, c.composition))).into_iter().map(chart).collect()
}

/// Mean loss of the runs that are finite in this epoch; nothing once all are lost.
fn loss_point(epoch: usize, runs: &[&Vec<Row>]) -> Option<Point> {
    let before = epoch.checked_sub(1);
    if runs.iter().all(|run| before.is_some_and(|e| !run[e].train_loss.is_finite())) {
        return None;
    }
    let finite = runs.iter().map(|run| run[epoch].train_loss).filter(|loss| loss.is_finite());
    let finite: Vec<f64> = finite.collect();
    Some(Point {
        x: (epoch + 1) as f64,
        y: finite.iter().sum::<f64>() / finite.len() as f64,
        low: finite.iter().copied().fold(f64::INFINITY, f64::min),
        high: finite.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        failed: runs.iter().any(|run| failed_in(run) == Some(epoch)),
    })
}

/// In which epoch, from 0 on, a run failed: diverged for good, or ended without having trained.
fn failed_in(run: &[Row]) -> Option<usize> {
    run.last().filter(|last| last.failed())?;
    let diverged = run.iter().rposition(|row| !row.diverged).map_or(0, |at| at + 1);
    Some(diverged.min(run.len() - 1))
}

/// Ties at the first pooling layer of the untrained network.
struct Ties {
    map: TieMap,
    seed: u64,
    images: usize,
    /// Share of the windows without a tie, tied at 0, and with 2, 3, 4 and more equal positive maxima.
    shares: Vec<(DType, [f64; 5])>,
}

impl Ties {
    fn measure(engine: &Engine, graph: &Graph, options: &ReliabilityOptions) -> Result<Ties> {
        const LAYER: &str = "features.2";
        let (data, seed) = (&options.data.test, options.seeds[0]);
        let images = data.len().min(options.batch_size);
        let indices: Vec<usize> = (0..images).collect();
        let mut shares = Vec::new();
        let mut map = None;
        for precision in distinct(options.precisions.clone()) {
            let mut network = Network::new(engine, graph, precision, seed)?;
            let (x, labels) = data.batch(&indices, precision)?;
            network.loss_and_gradients(x.view(), &labels)?;
            let ties = network.ties(LAYER)?;
            let positive: Vec<bool> = network.activation(LAYER)?.to_f64().iter().map(|&v| v > 0.0).collect();
            let mut count = [0usize; 5];
            for (&n, &positive) in ties.counts.iter().zip(&positive) {
                count[match (n, positive) {
                    (0 | 1, _) => 0,
                    (_, false) => 1,
                    (n, true) => (n as usize).min(4),
                }] += 1;
            }
            shares.push((precision, count.map(|c| c as f64 / ties.counts.len() as f64)));
            let [_, channels, rows, columns] = ties.shape;
            let windows = channels * rows * columns;
            map.get_or_insert_with(|| TieMap {
                title: format!("Ties of the first pooling, {}", bits(precision)),
                image: data.image(0).to_vec(),
                image_shape: [data.shape[1], data.shape[2]],
                ties: ties
                    .counts
                    .iter()
                    .zip(&positive)
                    .map(|(&n, &p)| Tie::counted(n, p))
                    .take(windows)
                    .collect(),
                shape: [channels, rows, columns],
                // The centre of a 5x5 convolution lies 2 pixels from the edge of its input.
                origin: [2, 2],
                stride: 2,
            });
        }
        let map = map.expect("at least one precision, by validate");
        Ok(Ties { map, seed, images, shares })
    }

    fn drawing(&self) -> Result<String> {
        tie_map(&self.map)
    }

    fn caption(&self) -> String {
        format!(
            "The first test image with the 2x2 windows of the first pooling (after convolution and ReLU), for each \
             channel of the untrained network of seed {}; a window lies at the centre of what it sees. Where all \
             four values are 0 ReLU'(0) = 0 stops the gradient, so that the choice has no effect. Ties above 0 come \
             mostly from the flat background, where windows see identical pixels.",
            self.seed
        )
    }

    fn table(&self) -> Table {
        let head = ["", "no tie", "at 0", "2", "3", "4"];
        let row = |(precision, shares): &(DType, [f64; 5])| {
            let shares = shares.iter().map(|s| page::Cell::from(format!("{:.2}", 100.0 * s)));
            std::iter::once(page::Cell::from(bits(*precision))).chain(shares).collect()
        };
        Table {
            caption: format!(
                "Windows of the first pooling in percent, without a tie, with a tie at 0, and with 2, 3 or 4 equal maxima \
                 above 0: the untrained network of seed {} on {} test images.",
                self.seed, self.images
            ),
            head: head.map(String::from).to_vec(),
            rows: self.shares.iter().map(row).collect(),
        }
    }
}

fn definitions(compositions: &[Composition]) -> Vec<(String, String)> {
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
            "The loss of a mini-batch or of the test images was not finite in some epoch; or the test accuracy is \
             below 20 % (twice guessing) after the training loss has risen: its mean over an epoch was more than 5 % \
             above the lowest of the epochs before, where the loss of guessing, ln 10 = 2.30, counts as that of the \
             start. An image with a NaN among its logits counts as wrong.",
        ),
        (
            "did not train",
            "The final test accuracy is below 20 % without that: the run needs more epochs or images, or is stuck.",
        ),
        ("failed", "The run diverged or did not train."),
    ];
    all.extend(counted.map(|(name, text)| (name.to_string(), text.to_string())));
    all
}

fn settings(options: &ReliabilityOptions, outcome: &Outcome) -> Vec<(String, String)> {
    let data = &options.data;
    let entries = [
        ("network", "LeNet-5, PyTorch's default initialisation".to_string()),
        (
            "data",
            format!("{}: {} training and {} test images", data.train.name, data.train.len(), data.test.len()),
        ),
        ("runs", format!("{}, one for each precision, composition, beta and seed", outcome.units)),
        ("seeds", options.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
        ("epochs", options.epochs.to_string()),
        ("batch size", options.batch_size.to_string()),
        ("optimizer", format!("SGD, momentum {}, weight decay {}", options.momentum, options.weight_decay)),
        ("learning rate", format!("{}, by a cosine to 0, the same for each beta", options.learning_rate)),
    ];
    entries.map(|(name, value)| (name.to_string(), value)).to_vec()
}

fn provenance(
    engine: &Engine,
    options: &ReliabilityOptions,
    outcome: &Outcome,
    rows: &[Vec<Row>],
) -> Vec<(String, String)> {
    let info = engine.info();
    let placed = distinct(options.precisions.clone()).into_iter().map(|precision| {
        let reason = engine.placement(precision).reason.map_or(String::new(), |r| format!(" ({r})"));
        format!("{} on {}{reason}", bits(precision), device(engine, precision))
    });
    let seconds: f64 = rows.iter().flatten().map(|r| r.seconds).sum();
    let entries = [
        ("library", format!("tiebreak {}", env!("CARGO_PKG_VERSION"))),
        ("engine", format!("{} ({}), {} CPU threads", info.name, info.driver, info.threads)),
        ("placement", placed.collect::<Vec<_>>().join("; ")),
        ("written", utc(SystemTime::now())),
        ("training time", format!("{seconds:.0} s in all, {} runs taken from earlier", outcome.skipped)),
        ("data checksum", rows[0][0].data.clone()),
        ("command", options.command.clone()),
    ];
    let entries = entries.into_iter().filter(|(_, value)| !value.is_empty());
    entries.map(|(name, value)| (name.to_string(), value)).collect()
}
