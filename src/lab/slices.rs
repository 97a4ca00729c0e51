//! E17: what does the bifurcation set look like around given weights?
//!
//! Each weight w moves by s ulps along a direction of signs drawn from the seed, and by t ulps along another one. At each point of the
//! line, or of the plane, the native and the minimal Jacobian of max pooling are compared on one mini-batch: where no tie by
//! accident separates them the point lies outside of the bifurcation set.

use super::branches;
use super::columns::Columns;
use super::experiment::Experiment;
use super::journal::Record;
use super::protocol::{at_most, protocol};
use super::registry::Images;
use super::setup::Probe;
use super::statistics::distinct;
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::net::{Network, ulp};
use crate::progress::Progress;
use crate::report::heat_map::{HeatMap, heat_map};
use crate::report::page::{Cell, Figure, Page, Table};
use crate::report::plot::{Chart, Mark, Point, Series, chart};
use crate::tensor::Tensor;

protocol! {
    /// What can be chosen of [E17](self).
    pub struct SlicesProtocol {
        /// A network of the zoo, or a file *.json that describes one
        network: String = "lenet5".into();
        /// A safetensors file with its weights; none: drawn from the seed
        weights: Option<String> = None;
        /// Widths of the storage type: 16, 32
        precisions: Vec<DType> = vec![DType::F16, DType::F32];
        /// Initialisations, and directions
        seeds: u64 = 1;
        /// Points of the line to either side of the weights
        reach: usize = 60;
        /// Points of the plane to either side, each way; 0: the line alone
        plane: usize = 12, full: 40;
        /// Ulps from one point to the next
        step: f64 = 1.0;
        /// Images in the mini-batch
        batch_size: usize = 32;
    }
}

/// The protocol of [E17](self), its network and its images.
#[derive(Debug, Clone)]
pub struct Slices {
    probe: Probe,
    protocol: SlicesProtocol,
}

/// A line of points: t is fixed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlicesUnit {
    precision: DType,
    seed: u64,
    /// Of the line alone, `None`.
    t: Option<i64>,
}

impl Slices {
    /// With its protocol chosen, on drawn digits where there are no images. Errors: [`Error::InvalidArgument`]; those of
    /// a network that is not known, or does not fit the images.
    pub fn create(protocol: SlicesProtocol, images: Images) -> Result<Slices> {
        at_most("reach", protocol.reach as u64)?;
        at_most("plane", protocol.plane as u64)?;
        at_most("seeds", protocol.seeds)?;
        if !(protocol.step > 0.0 && protocol.step.is_finite()) {
            return Err(Error::invalid("step", "above 0", protocol.step));
        }
        let network = (&*protocol.network, &protocol.weights);
        let probe = Probe::new(network, protocol.batch_size, Some(1), images)?;
        Ok(Slices { probe, protocol })
    }
}

/// A parameter at the start, and +1 or -1 for each of its elements along both directions.
struct Start {
    name: String,
    values: Tensor,
    signs: [Vec<i8>; 2],
}

impl Start {
    fn new(network: &mut Network, number: usize, name: String, seed: u64) -> Result<Start> {
        let values = network.parameter(&name)?;
        let len: usize = values.shape().iter().product();
        let key = [seed as u32, (seed >> 32) as u32];
        let signs = [0, 1].map(|direction| {
            let block = |i: usize| rand_philox::philox4x32_10([i as u32, number as u32, direction, 0], key);
            let bits = (0..len.div_ceil(128))
                .flat_map(block)
                .flat_map(|word| (0..32).map(move |bit| word >> bit & 1));
            bits.take(len).map(|bit| if bit == 0 { 1 } else { -1 }).collect()
        });
        Ok(Start { name, values, signs })
    }
}

/// Moves all parameters to w + (s d1 + t d2) ulp(w).
fn place(network: &mut Network, start: &[Start], [s, t]: [f64; 2]) -> Result<()> {
    let format = network.precision().format();
    for Start { name, values, signs: [first, second] } in start {
        let moved = values.to_f64().into_iter().zip(first.iter().zip(second));
        let moved = moved.map(|(w, (a, b))| w + (s * f64::from(*a) + t * f64::from(*b)) * ulp(format, w));
        let moved = Tensor::from_f64(values.dtype(), values.shape(), &moved.collect::<Vec<f64>>())?;
        network.set_parameter(name, moved.view())?;
    }
    Ok(())
}

impl Experiment for Slices {
    type Unit = SlicesUnit;

    fn name(&self) -> &'static str {
        "slices"
    }

    fn units(&self) -> Vec<SlicesUnit> {
        let mut units = Vec::new();
        for seed in 0..self.protocol.seeds {
            for &precision in &self.protocol.precisions {
                units.push(SlicesUnit { precision, seed, t: None });
                let far = self.protocol.plane as i64;
                if far > 0 {
                    units.extend((-far..=far).map(|t| SlicesUnit { precision, seed, t: Some(t) }));
                }
            }
        }
        units
    }

    fn settings(&self, engine: &Engine, unit: &SlicesUnit) -> Columns {
        let slice = if unit.t.is_some() { "plane" } else { "line" };
        self.probe
            .settings(self.name(), engine, unit.precision)
            .with("precision", unit.precision.to_string())
            .with("seed", unit.seed)
            .with("slice", slice)
            .with("step", self.protocol.step)
            .with("reach", if unit.t.is_some() { self.protocol.plane } else { self.protocol.reach })
            .with("t", self.protocol.step * unit.t.unwrap_or(0) as f64)
    }

    fn measure(&self, engine: &Engine, unit: &SlicesUnit, progress: &mut Progress) -> Result<Vec<Columns>> {
        let Probe { data, subject, limits: (batch_size, _) } = &self.probe;
        let mut network = subject.network(engine, unit.precision, unit.seed)?;
        let mut exact = subject.network(engine, DType::F64, unit.seed)?;
        let names: Vec<String> = network.parameters().map(|p| p.name.clone()).collect();
        let mut start = Vec::new();
        for (number, name) in names.into_iter().enumerate() {
            start.push(Start::new(&mut network, number, name, unit.seed)?);
        }
        let images: Vec<usize> = (0..data.len().min(*batch_size)).collect();
        let (x, labels) = data.batch(&images, unit.precision)?;
        let far = if unit.t.is_some() { self.protocol.plane } else { self.protocol.reach } as i64;
        let t = self.protocol.step * unit.t.unwrap_or(0) as f64;
        let mut rows = Vec::new();
        for s in -far..=far {
            progress.tell((s + far) as u64, (2 * far + 1) as u64)?;
            let s = self.protocol.step * s as f64;
            place(&mut network, &start, [s, t])?;
            let row = branches::row(&mut network, &mut exact, x.view(), &labels)?;
            rows.push(Columns::new().with("s", s).and(&row));
        }
        Ok(rows)
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

fn page(records: &[Record]) -> Result<Page> {
    let (mut verdict, mut table, mut drawings) = (Vec::new(), Vec::new(), Vec::new());
    let key = |r: &Record| ["network", "precision", "seed"].map(|name| r.settings.text(name));
    for [network, precision, seed] in distinct(records.iter().map(key)) {
        let of = |slice: &str| -> Vec<&Record> {
            let own = [network.clone(), precision.clone(), seed.clone()];
            records.iter().filter(|r| key(r) == own && r.settings.text("slice") == slice).collect()
        };
        for (slice, records) in [("line", of("line")), ("plane", of("plane"))] {
            let Some(first) = records.first() else { continue };
            let step = first.settings.number("step");
            let rows = || records.iter().flat_map(|r| &r.rows);
            let points = rows().count();
            let inside = rows().filter(|row| row.number("bifurcated") > 0.0).count();
            let percent = 100.0 * inside as f64 / points as f64;
            let title = format!("{network}, {precision}, seed {seed}");
            verdict.push(format!(
                "{title}: {percent:.0} % of the {points} points of the {slice}, {step} ulps apart, lie in the bifurcation set."
            ));
            let texts = [
                network.clone(),
                precision.clone(),
                seed.clone(),
                slice.into(),
                points.to_string(),
                format!("{percent:.1}"),
            ];
            table.push(texts.map(Cell::from).to_vec());
            drawings.push(if slice == "line" {
                line(&title, &first.rows)?
            } else {
                plane(&title, &records)?
            });
        }
    }
    let head = ["network", "precision", "seed", "slice", "points", "in the bifurcation set, %"];
    Ok(Page {
        title: "Slices of the bifurcation set".into(),
        question: "Moving all weights by some ulps, where do two Jacobians of max pooling give gradients that differ by more than rounding?".into(),
        verdict,
        tables: vec![Table {
            caption: "Points where the replayed difference of the gradients does not vanish".into(),
            head: head.map(String::from).to_vec(),
            rows: table,
        }],
        figures: vec![Figure {
            drawings,
            caption: "Difference of the gradients with the native and the minimal Jacobian on one mini-batch, replayed in f64 (E12), as a share of \
                      the gradient; at the foot, or white, where it vanishes: outside of the bifurcation set. 0 is the network as it starts."
                .into(),
        }],
        definitions: vec![
            ("s, t".into(), "each weight w is moved by s ulps of w up or down, by a sign drawn for it, and by t ulps along other signs".into()),
            ("bifurcation set".into(), "where the difference of the two gradients, repeated in f64 on the branches that the run took, does not vanish".into()),
        ],
        ..Page::default()
    })
}

/// Smaller shares are drawn at the foot.
const FLOOR: f64 = -8.0;

fn height(row: &Columns) -> f64 {
    let inside = row.number("bifurcated") > 0.0;
    if inside { row.number("bifurcation").log10().clamp(FLOOR, 0.0) } else { FLOOR }
}

fn line(title: &str, rows: &[Columns]) -> Result<String> {
    let point = |row: &Columns| {
        let y = height(row);
        Point { x: row.number("s"), y, low: y, high: y, failed: false }
    };
    let step = rows.len().div_ceil(8).max(1);
    // 0 has a label, and the ends have a place.
    let label = |(i, row): (usize, &Columns)| {
        let marked = i.abs_diff(rows.len() / 2).is_multiple_of(step);
        let end = i == 0 || i + 1 == rows.len();
        (marked || end).then(|| (row.number("s"), if marked { row.text("s") } else { String::new() }))
    };
    chart(&Chart {
        mark: Mark::Lines,
        title: title.into(),
        x_label: "s, ulps of each weight".into(),
        y_label: "log10 of the share that differs".into(),
        x_ticks: rows.iter().enumerate().filter_map(label).collect(),
        y_range: (FLOOR - 0.3, 0.0),
        series: vec![Series { name: "replayed difference".into(), points: rows.iter().map(point).collect() }],
        ..Chart::default()
    })
}

fn plane(title: &str, records: &[&Record]) -> Result<String> {
    let mut lines: Vec<&Record> = records.to_vec();
    lines.sort_by(|a, b| b.settings.number("t").total_cmp(&a.settings.number("t")));
    let columns = lines[0].rows.len();
    let value = |row: &Columns| if row.number("bifurcated") > 0.0 { height(row) } else { f64::NAN };
    let values: Vec<f64> = lines.iter().flat_map(|r| r.rows.iter().map(value)).collect();
    // So that 0 has its label.
    let marked = |(i, n): (usize, usize)| i.abs_diff(n / 2).is_multiple_of(n.div_ceil(6).max(1));
    let place = lines[0].rows.iter().enumerate().filter(|(i, _)| marked((*i, columns)));
    let rows = lines.iter().enumerate().filter(|(i, _)| marked((*i, lines.len())));
    heat_map(&HeatMap {
        title: title.into(),
        x_label: "s, ulps of each weight".into(),
        y_label: "t, ulps".into(),
        value_label: "log10 of the share that differs".into(),
        x_ticks: place.map(|(i, row)| (i, row.text("s"))).collect(),
        y_ticks: rows.map(|(i, r)| (i, r.settings.text("t"))).collect(),
        columns,
        values,
        range: (FLOOR, 0.0),
        texts: vec![],
    })
}
