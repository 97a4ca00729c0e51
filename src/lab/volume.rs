//! E4: how large is the numerical bifurcation zone of a network?
//!
//! At the weights from which training would start, the gradients with the native and the minimal Jacobian of max pooling
//! are compared on the mini-batches of one epoch in the data set's order, without a step. The volume is the share of the
//! mini-batches with D > tau, D being the sum over the parameters of Linf norms (R. Boustany, TMLR 2024, section 4; tau as
//! in the published code: 1e-3, 1e-7 and 1e-15 in 16, 32 and 64 bits).

use super::columns::Columns;
use super::distance::{self, Order, Pair};
use super::experiment::{Experiment, common_settings};
use super::journal::Record;
use super::protocol::{at_most, positive, protocol};
use super::registry::Images;
use super::statistics::{Spread, distinct};
use super::subject::Subject;
use crate::data::Dataset;
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::kink::{Composition, Kink, MaxPoolKink};
use crate::net::{Initialization, zoo};
use crate::progress::Progress;
use crate::report::page::{Cell, Figure, Page, Table};
use crate::report::plot::{Chart, Mark, Point, Series, chart};

/// A network, the size of its mini-batches, and its arithmetic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeCell {
    /// Its name in the zoo; `_bn` for batch normalisation.
    pub network: String,
    /// Images in a mini-batch.
    pub batch_size: usize,
    /// Storage type.
    pub precision: DType,
}

protocol! {
    /// What can be chosen of [E4](self).
    pub struct VolumeProtocol {
        /// Widths of the storage type: 16, 32, 64
        precisions: Vec<DType> = DType::ALL.to_vec();
        /// Networks of the zoo, `_bn` with batch normalisation, such as vgg11,vgg11_bn; none: all of the paper
        networks: Option<Vec<String>> = Some(vec!["vgg11".into()]), full: None;
        /// Images in a mini-batch, for each network; none: 128, and where the networks are those of the paper, 64 to 1024
        /// for VGG11
        batch_sizes: Option<Vec<usize>> = Some(vec![128]), full: None;
        /// Initialisations of each
        seeds: u64 = 3;
        /// Mini-batches of each, at most; none: an epoch
        mini_batches: Option<usize> = Some(40), full: None;
    }
}

impl VolumeProtocol {
    fn cells(&self) -> Vec<VolumeCell> {
        if self.networks.is_none() && self.batch_sizes.is_none() {
            return Volume::published_cells(&self.precisions);
        }
        let networks = self.networks.clone().unwrap_or_else(|| vec!["vgg11".into()]);
        let sizes = self.batch_sizes.clone().unwrap_or_else(|| vec![128]);
        let mut cells = Vec::new();
        for network in &networks {
            for &batch_size in &sizes {
                let cell = |&precision| VolumeCell { network: network.clone(), batch_size, precision };
                cells.extend(self.precisions.iter().map(cell));
            }
        }
        cells
    }
}

/// The protocol of [E4](self), and its images.
#[derive(Debug, Clone)]
pub struct Volume {
    /// Training images.
    pub data: Dataset,
    /// What is measured.
    pub cells: Vec<VolumeCell>,
    /// Initialisations of each cell.
    pub seeds: Vec<u64>,
    /// Mini-batches of each, at most: 391 are an epoch of CIFAR-10.
    pub mini_batches: usize,
    /// How the weights start.
    pub initialization: Initialization,
}

impl Volume {
    /// With its protocol chosen. Errors: [`Error::InvalidArgument`], [`Error::NotFound`] for an unknown network.
    pub fn create(protocol: VolumeProtocol, images: Images) -> Result<Volume> {
        let cells = protocol.cells();
        for cell in &cells {
            positive("batch_sizes", cell.batch_size)?;
            zoo::by_name(&cell.network, &Default::default())?;
        }
        Ok(Volume {
            data: images.train()?,
            cells,
            seeds: (0..at_most("seeds", protocol.seeds)?).collect(),
            mini_batches: protocol.mini_batches.map_or(Ok(usize::MAX), |n| positive("mini_batches", n))?,
            initialization: Initialization::Volume,
        })
    }

    /// The cells of the published figures: by precision and network, by batch size, with and without batch normalisation.
    ///
    /// @param precisions  of each
    pub fn published_cells(precisions: &[DType]) -> Vec<VolumeCell> {
        let networks = ["vgg11", "vgg11_bn", "vgg13", "vgg16", "vgg19"].map(|network| (network, 128));
        let sizes = [64, 256, 512, 1024].map(|batch_size| ("vgg11", batch_size));
        let mut cells = Vec::new();
        for (network, batch_size) in networks.into_iter().chain(sizes) {
            let cell = |&precision| VolumeCell { network: network.into(), batch_size, precision };
            cells.extend(precisions.iter().map(cell));
        }
        cells
    }

    /// The threshold of the published code.
    pub fn tau(precision: DType) -> f64 {
        match precision {
            DType::F16 => 1e-3,
            DType::F32 => 1e-7,
            DType::F64 => 1e-15,
        }
    }

    /// The published volume in percent, one initialisation each; in 16 bits all are 99.7 to 100, in 64 bits 0.
    pub fn published(network: &str, batch_size: usize, precision: u32) -> Option<f64> {
        match (network, batch_size, precision) {
            (_, _, 64) => Some(0.0),
            (_, _, 16) => Some(100.0),
            ("vgg11", 128, 32) => Some(48.6),
            ("vgg13", 128, 32) => Some(43.7),
            ("vgg16", 128, 32) => Some(47.8),
            ("vgg19", 128, 32) => Some(38.1),
            ("vgg11", 64, 32) => Some(26.6),
            ("vgg11", 256, 32) => Some(60.2),
            ("vgg11", 512, 32) => Some(76.5),
            ("vgg11", 1024, 32) => Some(91.8),
            ("vgg11_bn", 128, 32) => Some(79.5),
            _ => None,
        }
    }
}

impl Experiment for Volume {
    type Unit = (VolumeCell, u64);

    fn name(&self) -> &'static str {
        "volume"
    }

    fn units(&self) -> Vec<(VolumeCell, u64)> {
        let of_seed = |&seed: &u64| self.cells.iter().map(move |cell| (cell.clone(), seed));
        self.seeds.iter().flat_map(of_seed).collect()
    }

    fn settings(&self, engine: &Engine, (cell, seed): &(VolumeCell, u64)) -> Columns {
        common_settings(self.name(), engine, cell.precision)
            .with("dataset", self.data.name.as_str())
            .with("data", format!("{:08x}", self.data.fingerprint()))
            .with("network", cell.network.as_str())
            .with("batch_size", cell.batch_size)
            .with("precision", u64::from(cell.precision.bits()))
            .with("initialization", self.initialization.to_string())
            .with("seed", *seed)
            .with("mini_batches", self.mini_batches.min(self.data.len().div_ceil(cell.batch_size)))
            .with("first", "native")
            .with("second", "minimal")
            .with("tau", Volume::tau(cell.precision))
    }

    fn measure(
        &self,
        engine: &Engine,
        (cell, seed): &(VolumeCell, u64),
        progress: &mut Progress,
    ) -> Result<Vec<Columns>> {
        if self.data.shape[0] != 3 {
            return Err(Error::shape("data", "colour images [3, H, W]", &self.data.shape));
        }
        let minimal = MaxPoolKink::beta(1.0, Composition::Exact);
        let pair = Pair {
            seed: *seed,
            order: Order::Fixed,
            kinks: [MaxPoolKink::default(), minimal].map(Kink::MaxPool),
        };
        let limits = (cell.batch_size, self.mini_batches);
        let subject = Subject::of_zoo(&cell.network, &self.data)?.with_initialization(self.initialization);
        let mut network = subject.network(engine, cell.precision, *seed)?;
        let rows = distance::measure(&mut network, &pair, &self.data, limits, progress)?;
        let affected = |row: Columns| {
            let affected = row.number("d_linf") > Volume::tau(cell.precision);
            row.with("affected", affected)
        };
        Ok(rows.into_iter().map(affected).collect())
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

/// The label under which a picture shows a cell, if it does.
type Place<'a> = &'a dyn Fn(&Measured) -> Option<String>;

/// The volumes of one cell, in percent, over the initialisations.
struct Measured {
    network: String,
    batch_size: usize,
    precision: u32,
    volume: Spread,
    mini_batches: usize,
}

impl Measured {
    fn sentence(&self) -> String {
        let Spread { mean, low, high, count } = self.volume;
        let published = match Volume::published(&self.network, self.batch_size, self.precision) {
            Some(published) => format!("; published {published:.1} %"),
            None => String::new(),
        };
        format!(
            "{mean:.1} % of the mini-batches of {} at batch {} ({low:.1} to {high:.1} % over {count} initialisations{published})",
            self.network, self.batch_size
        )
    }
}

fn measured(records: &[Record]) -> Vec<Measured> {
    let key = |r: &Record| {
        let s = &r.settings;
        (s.text("network"), s.number("batch_size") as usize, s.number("precision") as u32)
    };
    let of = |cell: (String, usize, u32)| {
        let records: Vec<&Record> = records.iter().filter(|r| key(r) == cell).collect();
        let share = |r: &&Record| {
            let affected: f64 = r.rows.iter().map(|row| row.number("affected")).sum();
            100.0 * affected / r.rows.len() as f64
        };
        let volume = Spread::of(&records.iter().map(share).collect::<Vec<_>>());
        let mini_batches = records.iter().map(|r| r.rows.len()).min().unwrap_or(0);
        Measured { network: cell.0, batch_size: cell.1, precision: cell.2, volume, mini_batches }
    };
    distinct(records.iter().map(key)).into_iter().map(of).collect()
}

fn page(records: &[Record]) -> Result<Page> {
    let cells = measured(records);
    let row = |m: &Measured| {
        let published = Volume::published(&m.network, m.batch_size, m.precision);
        let texts = [
            m.network.clone(),
            m.batch_size.to_string(),
            m.precision.to_string(),
            format!("{:.1}", m.volume.mean),
            format!("{:.1} to {:.1}", m.volume.low, m.volume.high),
            m.volume.count.to_string(),
            m.mini_batches.to_string(),
            published.map_or("-".into(), |p| format!("{p:.1}")),
        ];
        texts.map(Cell::from).to_vec()
    };
    let head = [
        "network",
        "batch",
        "bits",
        "volume, %",
        "lowest to highest",
        "initialisations",
        "mini-batches",
        "published, %",
    ];
    let table = Table {
        caption: "Share of the mini-batches with D > tau, in percent".into(),
        head: head.map(String::from).to_vec(),
        rows: cells.iter().map(row).collect(),
    };
    let mut verdict = Vec::new();
    for bits in distinct(cells.iter().map(|m| m.precision)) {
        let of_type: Vec<&Measured> = cells.iter().filter(|m| m.precision == bits).collect();
        let all = Spread::of(&of_type.iter().map(|m| m.volume.mean).collect::<Vec<_>>());
        verdict.push(match of_type[..] {
            [one] => format!("{bits} bits: {}.", one.sentence()),
            _ => format!(
                "{bits} bits: {:.1} to {:.1} % of the mini-batches, in the mean {:.1} %.",
                all.low, all.high, all.mean
            ),
        });
    }
    let groups: [(&str, &str, Place); 3] = [
        ("by network", "network, batch 128", &|m| {
            (m.batch_size == 128 && !m.network.ends_with("_bn")).then(|| m.network.clone())
        }),
        ("by batch size", "images in a mini-batch, VGG11", &|m| {
            (m.network == "vgg11").then(|| m.batch_size.to_string())
        }),
        ("with batch normalisation", "VGG11, batch 128", &|m| match (m.network.as_str(), m.batch_size) {
            ("vgg11", 128) => Some("without".into()),
            ("vgg11_bn", 128) => Some("with".into()),
            _ => None,
        }),
    ];
    let mut drawings = Vec::new();
    for (title, x_label, place) in groups {
        if distinct(cells.iter().filter_map(place)).len() > 1 {
            drawings.push(bars(&cells, title, x_label, place)?);
        }
    }
    let figures = match drawings.is_empty() {
        true => vec![],
        false => vec![Figure {
            drawings,
            caption:
                "Mean over the initialisations; whiskers from the lowest to the highest. Published: one \
                      initialisation, 32 bits."
                    .into(),
        }],
    };
    Ok(Page {
        title: "Volume of the numerical bifurcation zone".into(),
        question: "On how many mini-batches do two Jacobians of max pooling, equal almost everywhere over the reals, give \
                   gradients that differ by more than noise?"
            .into(),
        verdict,
        tables: vec![table],
        figures,
        definitions: vec![
            ("D".into(), "sum over the parameters of the largest absolute difference of the two gradients".into()),
            ("tau".into(), "1e-3 in 16 bits, 1e-7 in 32, 1e-15 in 64: thresholds of the published code".into()),
            ("published".into(), "one initialisation each, an epoch of CIFAR-10; by batch size the paper says VGG11, the published \
                notebook ran VGG19".into()),
            ("native, minimal".into(), "the first of the tied elements takes the gradient; each takes an equal share".into()),
        ],
        ..Page::default()
    })
}

fn bars(cells: &[Measured], title: &str, x_label: &str, place: Place) -> Result<String> {
    let mut places = distinct(cells.iter().filter_map(place));
    if places.iter().all(|p| p.parse::<u64>().is_ok()) {
        places.sort_by_key(|p| p.parse::<u64>().unwrap_or(0));
    }
    let x = |m: &Measured| place(m).and_then(|p| places.iter().position(|q| *q == p)).map(|i| i as f64);
    let mut series: Vec<Series> = Vec::new();
    for bits in distinct(cells.iter().map(|m| m.precision)) {
        let of_type = || cells.iter().filter(move |m| m.precision == bits);
        let points = of_type().filter_map(|m| {
            let Spread { mean, low, high, .. } = m.volume;
            Some(Point { x: x(m)?, y: mean, low, high, failed: false })
        });
        series.push(Series { name: format!("{bits} bits"), points: points.collect() });
        if bits == 32 {
            let points = of_type().filter_map(|m| {
                let y = Volume::published(&m.network, m.batch_size, bits)?;
                Some(Point { x: x(m)?, y, low: y, high: y, failed: false })
            });
            series.push(Series { name: "32, published".into(), points: points.collect() });
        }
    }
    chart(&Chart {
        mark: Mark::Bars,
        title: title.into(),
        x_label: x_label.into(),
        y_label: "mini-batches with D > tau, %".into(),
        x_ticks: places.iter().enumerate().map(|(i, p)| (i as f64, p.clone())).collect(),
        y_range: (0.0, 105.0),
        reference: None,
        failure: String::new(),
        series,
    })
}
