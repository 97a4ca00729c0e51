//! E11: why do windows tie, and does training change it?
//!
//! A tie is masked (no tied element passes a gradient on through the ReLU in front), structural (all are the same function of
//! the weights, so that they are equal in any arithmetic, and what a choice does cancels), or accidental (rounding made them equal).
//! Counted at each max pooling, before training and after each epoch, in each precision.

use super::columns::Columns;
use super::experiment::Experiment;
use super::journal::Record;
use super::protocol::{at_most, protocol};
use super::registry::Images;
use super::setup::{Run, Setup, by_seed, chosen, each_mini_batch};
use super::statistics::distinct;
use super::ties::{grey, read_grey};
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::Result;
use crate::net::{Network, TieClass, TieClasses};
use crate::precision::Precision;
use crate::progress::Progress;
use crate::report::page::{Cell, Figure, Page, Table};
use crate::report::plot::{Chart, Mark, Point, Series, chart};
use crate::report::tie_map::{Tie, TieMap, tie_map};

protocol! {
    /// What can be chosen of [E11](self).
    pub struct TaxonomyProtocol {
        /// A network of the zoo, or a file *.json that describes one
        network: String = "lenet5".into();
        /// A safetensors file with the weights to start from; none: drawn from the seed
        weights: Option<String> = None;
        /// Arithmetic: 16, 32, 64, mixed, or a simulated format such as bf16
        precisions: Vec<Precision> = DType::ALL.map(Precision::from).to_vec();
        /// Initialisations and orders of the images
        seeds: u64 = 1;
        /// Mini-batches on which windows are counted
        mini_batches: usize = 5, full: 50;
        /// Passes over the training images, with native max pooling; 0: the start alone
        epochs: usize = 4, full: 100;
        /// Training images to use; none: all
        limit: Option<usize> = Some(12800), full: None;
        /// Test images to use; none: all
        test_limit: Option<usize> = Some(1000), full: None;
        /// Images in a mini-batch
        batch_size: usize = 128;
        /// Learning rate of SGD (momentum 0.9, weight decay 5e-4) at the start of a cosine to 0; none: the published one
        learning_rate: Option<f64> = None;
    }
}

/// The protocol of [E11](self), its network and its images.
#[derive(Debug, Clone)]
pub struct Taxonomy {
    setup: Setup,
    protocol: TaxonomyProtocol,
}

impl Taxonomy {
    /// With its protocol chosen, on drawn digits where there are no images. Errors: [`crate::Error::InvalidArgument`]; those of
    /// a network that is not known, or does not fit the images.
    pub fn create(protocol: TaxonomyProtocol, images: Images) -> Result<Taxonomy> {
        at_most("seeds", protocol.seeds)?;
        let setup = Setup::new(chosen!(protocol), images)?;
        Ok(Taxonomy { setup, protocol })
    }

    /// The first image with the windows of the first max pooling, a letter each, channel by channel.
    fn map(&self, network: &mut Network, epoch: u64) -> Result<Vec<Columns>> {
        let data = &self.setup.data.train;
        let [_, height, width] = data.shape;
        let picture = grey(data, 0);
        let row = |layer: TieClasses| {
            let [_, channels, rows, columns] = layer.shape;
            let own = &layer.classes[..channels.min(CHANNELS) * rows * columns];
            let stride = height / rows;
            Columns::new()
                .with("row", "map")
                .with("epoch", epoch)
                .with("layer", layer.layer)
                .with("rows", rows)
                .with("columns", columns)
                .with("stride", stride)
                .with("origin", (height - stride * rows) / 2)
                .with("height", height)
                .with("width", width)
                .with("picture", picture.as_str())
                .with("map", own.iter().map(|class| letter(*class)).collect::<String>())
        };
        let images: Vec<usize> = (0..data.len().min(self.setup.limits.0)).collect();
        let (x, labels) = data.batch(&images, network.dtype())?;
        network.loss_and_gradients(x.view(), &labels)?;
        Ok(network.tie_classes()?.into_iter().take(1).map(row).collect())
    }

    /// A row for each max pooling.
    fn count(&self, network: &mut Network, epoch: u64, accuracy: f64) -> Result<Vec<Columns>> {
        let data = &self.setup.data.train;
        let mut counts: Vec<(String, [u64; TieClass::ALL.len()])> = Vec::new();
        each_mini_batch(data, self.setup.limits, &mut Progress::silent(), |_, indices| {
            let (x, labels) = data.batch(indices, network.dtype())?;
            network.loss_and_gradients(x.view(), &labels)?;
            for (i, layer) in network.tie_classes()?.into_iter().enumerate() {
                if counts.len() <= i {
                    counts.push((layer.layer.clone(), Default::default()));
                }
                for (sum, class) in counts[i].1.iter_mut().zip(TieClass::ALL) {
                    *sum += layer.count(class);
                }
            }
            Ok(vec![])
        })?;
        let row = |(layer, counts): (String, [u64; TieClass::ALL.len()])| {
            let row = Columns::new().with("row", "count").with("epoch", epoch).with("layer", layer);
            let row = row.with("windows", counts.iter().sum::<u64>());
            let with_class = |row: Columns, (class, count): (TieClass, u64)| row.with(class.name(), count);
            TieClass::ALL.into_iter().zip(counts).fold(row, with_class).with("test_accuracy", accuracy)
        };
        Ok(counts.into_iter().map(row).collect())
    }
}

impl Experiment for Taxonomy {
    type Unit = (Precision, u64);

    fn name(&self) -> &'static str {
        "taxonomy"
    }

    fn units(&self) -> Vec<(Precision, u64)> {
        by_seed(&self.protocol.precisions, self.protocol.seeds)
    }

    fn settings(&self, engine: &Engine, (precision, seed): &(Precision, u64)) -> Columns {
        self.setup
            .settings(self.name(), engine, precision.storage)
            .with("precision", precision.to_string())
            .with("seed", *seed)
            .with("mini_batches", self.setup.limits.1)
            .with("learning_rate", self.setup.learning_rate(precision))
    }

    fn measure(
        &self,
        engine: &Engine,
        &(precision, seed): &(Precision, u64),
        progress: &mut Progress,
    ) -> Result<Vec<Columns>> {
        // Counting shall not change running statistics: it has a network of its own.
        let mut counted = self.setup.subject.network(engine, precision, seed)?;
        let mut rows = self.count(&mut counted, 0, f64::NAN)?;
        rows.extend(self.map(&mut counted, 0)?);
        let epochs = self.setup.epochs;
        let mut trainer = self.setup.trainer(engine, Run::native(precision, seed))?;
        let (total, mut done) = (epochs * trainer.steps(), 0);
        for epoch in 1..=epochs {
            let row =
                trainer.epoch(epoch, self.setup.learning_rate_at(&precision, epoch - 1), &mut || {
                    done += 1;
                    progress.tell(done, total)
                })?;
            if trainer.ended() {
                break;
            }
            counted.copy_state(trainer.network())?;
            rows.extend(self.count(&mut counted, epoch, row.number("test_accuracy"))?);
            if epoch == epochs {
                rows.extend(self.map(&mut counted, epoch)?);
            }
        }
        Ok(rows)
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

/// Channels whose windows are drawn.
const CHANNELS: usize = 9;

fn letter(class: TieClass) -> char {
    match class {
        TieClass::Nan => 'n',
        TieClass::Untied => '.',
        TieClass::Masked => 'z',
        TieClass::Structural => 's',
        TieClass::Accidental => 'a',
    }
}

fn map_of(title: String, row: &Columns) -> TieMap {
    let number = |name: &str| row.number(name) as usize;
    let tie = |letter: char| match letter {
        'z' => Tie::Masked,
        's' => Tie::Structural,
        'a' => Tie::Accidental,
        _ => Tie::None,
    };
    let ties: Vec<Tie> = row.text("map").chars().map(tie).collect();
    let [rows, columns] = [number("rows"), number("columns")];
    TieMap {
        title,
        image: read_grey(&row.text("picture")),
        image_shape: [number("height"), number("width")],
        shape: [ties.len() / (rows * columns), rows, columns],
        ties,
        origin: [number("origin"); 2],
        stride: number("stride"),
    }
}

/// Shares in percent of the windows of some rows.
fn share(rows: &[&Columns], class: TieClass) -> f64 {
    let sum = |name: &str| rows.iter().map(|row| row.number(name)).sum::<f64>();
    100.0 * sum(class.name()) / sum("windows")
}

fn percent(v: f64) -> String {
    match v {
        0.0 => "0".into(),
        v if v < 0.01 => format!("{v:.1e}"),
        v => format!("{v:.2}"),
    }
}

const TIED: [TieClass; 3] = [TieClass::Accidental, TieClass::Structural, TieClass::Masked];

fn page(records: &[Record]) -> Result<Page> {
    let (mut verdict, mut table) = (Vec::new(), Vec::new());
    let (mut drawings, mut maps) = (Vec::new(), Vec::new());
    let key = |r: &Record| (r.settings.text("network"), r.settings.text("precision"));
    for (network, precision) in distinct(records.iter().map(key)) {
        let (rows, mapped): (Vec<&Columns>, Vec<&Columns>) = records
            .iter()
            .filter(|r| key(r) == (network.clone(), precision.clone()))
            .flat_map(|r| &r.rows)
            .partition(|row| row.text("row") == "count");
        // Those of the first seed.
        for epoch in distinct(mapped.iter().map(|row| row.text("epoch"))) {
            let row = mapped.iter().find(|row| row.text("epoch") == epoch).expect("one of them");
            let title = format!("{network}, {precision}, {}, epoch {epoch}", row.text("layer"));
            maps.push(tie_map(&map_of(title, row))?);
        }
        let epochs = distinct(rows.iter().map(|row| row.number("epoch") as u64));
        let (Some(&first), Some(&last)) = (epochs.first(), epochs.iter().max()) else { continue };
        for layer in distinct(rows.iter().map(|row| row.text("layer"))) {
            let of_layer: Vec<&Columns> = rows.iter().copied().filter(|r| r.text("layer") == layer).collect();
            let at = |epoch: u64| -> Vec<&Columns> {
                of_layer.iter().copied().filter(|row| row.number("epoch") as u64 == epoch).collect()
            };
            for epoch in distinct([first, last]) {
                let rows = at(epoch);
                let mut cells = vec![network.clone(), precision.clone(), layer.clone(), epoch.to_string()];
                cells.extend(
                    [TieClass::Masked, TieClass::Structural, TieClass::Accidental]
                        .map(|c| percent(share(&rows, c))),
                );
                table.push(cells.into_iter().map(Cell::from).collect());
            }
            verdict.push(format!(
                "{network}, {precision}, {layer}: {} % of the windows tie by accident at the start, {} % after {last} epochs; {} and {} % tie by structure.",
                percent(share(&at(first), TieClass::Accidental)),
                percent(share(&at(last), TieClass::Accidental)),
                percent(share(&at(first), TieClass::Structural)),
                percent(share(&at(last), TieClass::Structural)),
            ));
            let lines = TIED.map(|class| Series {
                name: class.name().into(),
                points: epochs
                    .iter()
                    .map(|&epoch| {
                        let y = share(&at(epoch), class);
                        Point { x: epoch as f64, y, low: y, high: y, failed: false }
                    })
                    .collect(),
            });
            drawings.push(areas(
                &format!("{network}, {precision}, {layer}"),
                &epochs,
                lines.to_vec(),
                "tied windows, %",
            )?);
            // What choices change is too thin a line beside the masked ones.
            drawings.push(areas(
                &format!("{network}, {precision}, {layer}: seen by a choice"),
                &epochs,
                lines[..2].to_vec(),
                "windows, %",
            )?);
        }
    }
    let head = ["network", "precision", "layer", "epoch", "masked, %", "structural, %", "accidental, %"];
    Ok(Page {
        title: "Why windows tie".into(),
        question: "Of the windows of a max pooling whose maximum is attained more than once, at how many can a choice be seen, and at how many \
                   does it change the gradient?"
            .into(),
        verdict,
        tables: vec![Table {
            caption: "Tied windows by cause, in percent of all windows".into(),
            head: head.map(String::from).to_vec(),
            rows: table,
        }],
        figures: vec![
            Figure {
                drawings,
                caption: "Tied windows by cause over training, in percent of all windows, stacked; mean over seeds. In the second picture \
                          of each pair the masked ones are left out."
                    .into(),
            },
            Figure {
                drawings: maps,
                caption: "The first training image with the tied windows of the first max pooling, at most nine channels; each at the centre of \
                          what it sees."
                    .into(),
            },
        ],
        definitions: vec![
            ("masked".into(), "none of the tied elements passes a gradient on through the ReLU in front: no choice can be seen".into()),
            (
                "structural".into(),
                "all tied elements are the same function of the weights: the same pixels through the same active ReLUs and maxima, by a hash; equal in any \
                 arithmetic, and the difference of two choices cancels in the gradients of weights, but for rounding"
                    .into(),
            ),
            ("accidental".into(), "they are not: rounding has made them equal".into()),
        ],
        ..Page::default()
    })
}

fn areas(title: &str, epochs: &[u64], series: Vec<Series>, y_label: &str) -> Result<String> {
    let places = series.first().map_or(0, |s| s.points.len());
    let height = |i: usize| series.iter().map(|s| s.points[i].y).filter(|y| y.is_finite()).sum::<f64>();
    let top = (0..places).map(height).fold(0.0, f64::max);
    // A label for each of at most ten epochs.
    let step = epochs.len().div_ceil(10).max(1);
    chart(&Chart {
        mark: Mark::Areas,
        title: title.into(),
        x_label: "epochs".into(),
        y_label: y_label.into(),
        x_ticks: epochs.iter().step_by(step).map(|&e| (e as f64, e.to_string())).collect(),
        y_range: (0.0, if top > 0.0 { top * 1.1 } else { 1.0 }),
        series,
        ..Chart::default()
    })
}
