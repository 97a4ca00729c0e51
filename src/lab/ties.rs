//! E2: where do the windows of a max pooling tie?
//!
//! Each window whose maximum is attained more than once is drawn over the image: once for windows of the image itself, as in
//! the paper's picture of a digit (R. Boustany, TMLR 2024), and once for a network's first pooling, after convolution and
//! ReLU, at the weights from which training would start.

use super::columns::Columns;
use super::experiment::{Experiment, common_settings};
use super::journal::Record;
use super::protocol::{at_most, protocol};
use super::registry::Images;
use crate::data::{Dataset, synthetic};
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::kink::MaxPoolKink;
use crate::net::{Layer, Network, NetworkOptions, zoo};
use crate::progress::Progress;
use crate::report::page::{Cell, Figure, Page, Table};
use crate::report::tie_map::{Tie, TieMap, tie_map};
use crate::shape::Window2d;
use crate::tensor::Tensor;

protocol! {
    /// What can be chosen of [E2](self).
    pub struct TieMapsProtocol {
        /// A network of the zoo, whose first max pooling is drawn; none: lenet5 for grey images, else vgg11
        network: Option<String> = None;
        /// Widths of the storage type: 16, 32, 64
        precisions: Vec<DType> = vec![DType::F16, DType::F32];
        /// Places of the images in the training part, from 0 on
        images: Vec<usize> = vec![0];
        /// Initialisations of the network
        seeds: u64 = 1;
    }
}

/// The protocol of [E2](self), and its images.
#[derive(Debug, Clone)]
pub struct TieMaps {
    /// Images to draw.
    pub data: Dataset,
    /// Its name in the zoo.
    pub network: String,
    /// Storage types.
    pub precisions: Vec<DType>,
    /// Which images of the data set.
    pub images: Vec<usize>,
    /// Initialisations of the network.
    pub seeds: Vec<u64>,
}

impl TieMaps {
    /// With its protocol chosen, on drawn digits where there are no images. Errors: [`Error::InvalidArgument`],
    /// [`Error::NotFound`] for an unknown network.
    pub fn create(protocol: TieMapsProtocol, images: Images) -> Result<TieMaps> {
        let last = protocol.images.iter().copied().max().unwrap_or(0);
        at_most("images", last as u64)?;
        let data = images.train.unwrap_or_else(|| synthetic::embedded(last + 1, 0).train);
        let of_shape = if data.shape[0] == 1 { "lenet5" } else { "vgg11" };
        let network = protocol.network.unwrap_or_else(|| of_shape.into());
        zoo::by_name(&network, &Default::default())?;
        Ok(TieMaps {
            data,
            network,
            precisions: protocol.precisions,
            images: protocol.images,
            seeds: (0..at_most("seeds", protocol.seeds)?).collect(),
        })
    }
}

/// What is pooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Image,
    Network,
}

/// An image, before or within the network.
#[derive(Debug, Clone, PartialEq)]
pub struct TieMapUnit {
    place: Place,
    precision: DType,
    image: usize,
    seed: u64,
}

/// How a map of ties is written: a letter for each window. Ties at 0 are `z`, those above or below it `2` to `9` by the number
/// of elements; `.` is no tie.
fn letter(count: u8, zero: bool) -> char {
    match (count, zero) {
        (0 | 1, _) => '.',
        (_, true) => 'z',
        (n, false) => char::from(b'0' + n.min(9)),
    }
}

fn read_letter(letter: u8) -> Tie {
    match letter {
        b'z' => Tie::Masked,
        b'2'..=b'9' => Tie::Equal(letter - b'0'),
        _ => Tie::None,
    }
}

impl Experiment for TieMaps {
    type Unit = TieMapUnit;

    fn name(&self) -> &'static str {
        "ties"
    }

    fn units(&self) -> Vec<TieMapUnit> {
        let mut units = Vec::new();
        for &image in &self.images {
            // Pixels are far fewer than the numbers of any storage type: one will do.
            let seed = self.seeds.first().copied().unwrap_or(0);
            units.push(TieMapUnit { place: Place::Image, precision: DType::F32, image, seed });
            for &seed in &self.seeds {
                let unit = |&precision| TieMapUnit { place: Place::Network, precision, image, seed };
                units.extend(self.precisions.iter().map(unit));
            }
        }
        units
    }

    fn settings(&self, engine: &Engine, unit: &TieMapUnit) -> Columns {
        let network = if unit.place == Place::Image { "none" } else { self.network.as_str() };
        common_settings(self.name(), engine, unit.precision)
            .with("dataset", self.data.name.as_str())
            .with("data", format!("{:08x}", self.data.fingerprint()))
            .with("image", unit.image)
            .with("network", network)
            .with("precision", u64::from(unit.precision.bits()))
            .with("seed", unit.seed)
    }

    fn measure(&self, engine: &Engine, unit: &TieMapUnit, progress: &mut Progress) -> Result<Vec<Columns>> {
        if unit.image >= self.data.len() {
            let expected = format!("below {}", self.data.len());
            return Err(Error::invalid("images", expected, unit.image));
        }
        progress.tell(0, 1)?;
        let (x, labels) = self.data.batch(&[unit.image], unit.precision)?;
        let rows = match unit.place {
            Place::Image => of_image(engine, &x),
            Place::Network => self.of_network(engine, unit, &x, &labels),
        }?;
        // The picture goes with its map, so that a page can be made of the results alone.
        let [_, height, width] = self.data.shape;
        let picture = Columns::new().with("layer", "image").with("rows", height).with("columns", width);
        Ok(std::iter::once(picture.with("map", grey(&self.data, unit.image))).chain(rows).collect())
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

impl TieMaps {
    /// At the first max pooling.
    fn of_network(
        &self,
        engine: &Engine,
        unit: &TieMapUnit,
        x: &Tensor,
        labels: &[i64],
    ) -> Result<Vec<Columns>> {
        let data = &self.data;
        let options = zoo::Options { classes: data.classes, input: Some(data.shape), ..Default::default() };
        let graph = zoo::by_name(&self.network, &options)?;
        let initialization = zoo::published_initialization(&self.network, Default::default())?;
        let options = NetworkOptions { precision: unit.precision.into(), seed: unit.seed, initialization };
        let mut network = Network::with_options(engine, &graph, &options)?;
        // One image is no batch for its own statistics.
        network.freeze_batchnorm(true);
        network.loss_and_gradients(x.view(), labels)?;
        let layers = network.layers();
        let pooled = layers.iter().find(|l| matches!(l.layer, Layer::MaxPool2d { .. }));
        let Some(pooling) = pooled else {
            return Err(Error::invalid("network", "one with a max pooling", &self.network));
        };
        let ties = network.ties(&pooling.name)?;
        let y = network.activation(&pooling.name)?.to_f64();
        // The centres of the receptive fields: pixels from one to the next, and the first.
        let stride = data.shape[1] / ties.shape[2];
        let origin = (data.shape[1] - stride * ties.shape[2]) / 2;
        Ok(rows(&pooling.name, &ties.counts, &y, ties.shape, origin, stride))
    }
}

/// Mean of the channels of an image, two hexadecimal figures for each pixel.
pub(super) fn grey(data: &Dataset, image: usize) -> String {
    let pixels = data.image(image);
    let [channels, height, width] = data.shape;
    let plane = height * width;
    let mean = |i| (0..channels).map(|c| usize::from(pixels[c * plane + i])).sum::<usize>() / channels;
    (0..plane).map(|i| format!("{:02x}", mean(i))).collect()
}

/// What [`grey`] wrote.
pub(super) fn read_grey(pixels: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).unwrap_or_default();
        u8::from_str_radix(text, 16).unwrap_or(0)
    };
    pixels.as_bytes().chunks(2).map(byte).collect()
}

/// Windows 2x2 of the image itself.
fn of_image(engine: &Engine, x: &Tensor) -> Result<Vec<Columns>> {
    let [_, channels, height, width] = x.shape()[..] else { unreachable!("a batch of images") };
    let shape = [1, channels, height / 2, width / 2];
    let mut y = Tensor::zeros(x.dtype(), &shape)?;
    let mut sets = vec![0; shape.iter().product()];
    let window = Window2d::new(2, 2, 0);
    engine.maxpool2d_forward(x.view(), window, MaxPoolKink::default(), y.view_mut(), &mut sets)?;
    let counts: Vec<u8> = sets.iter().map(|set| set.count_ones() as u8).collect();
    Ok(rows("input", &counts, &y.to_f64(), shape, 0, 2))
}

/// A row for each channel.
fn rows(
    layer: &str,
    counts: &[u8],
    y: &[f64],
    [_, channels, height, width]: [usize; 4],
    origin: usize,
    stride: usize,
) -> Vec<Columns> {
    let plane = height * width;
    let row = |channel: usize| {
        let part = channel * plane..(channel + 1) * plane;
        let letters = counts[part.clone()].iter().zip(&y[part]).map(|(&n, &v)| letter(n, v == 0.0));
        let map: String = letters.collect();
        let tied = map.bytes().filter(|&b| b != b'.').count();
        let zero = map.bytes().filter(|&b| b == b'z').count();
        Columns::new()
            .with("layer", layer)
            .with("channel", channel)
            .with("rows", height)
            .with("columns", width)
            .with("origin", origin)
            .with("stride", stride)
            .with("windows", plane)
            .with("tied", tied)
            .with("tied_at_zero", zero)
            .with("map", map)
    };
    (0..channels).map(row).collect()
}

fn page(records: &[Record]) -> Result<Page> {
    let (mut table, mut drawings, mut verdict) = (Vec::new(), Vec::new(), Vec::new());
    for record in records {
        let Some((picture, maps)) = record.rows.split_first().filter(|(_, maps)| !maps.is_empty()) else {
            continue;
        };
        let s = &record.settings;
        let sum = |name: &str| maps.iter().map(|row| row.number(name)).sum::<f64>();
        let [windows, tied, zero] = ["windows", "tied", "tied_at_zero"].map(sum);
        let layer = maps[0].text("layer");
        let place = match layer.as_str() {
            "input" => "the image itself".to_string(),
            layer => format!("{}, {layer}, {} bits", s.text("network"), s.text("precision")),
        };
        let name = format!("{} image {}, {place}", s.text("dataset"), s.text("image"));
        let percent = |part: f64| format!("{:.2}", 100.0 * part / windows);
        verdict.push(format!(
            "{name}: {} % of the {windows} windows tie, {} % away from 0.",
            percent(tied),
            percent(tied - zero)
        ));
        let seed = if layer == "input" { "-".into() } else { s.text("seed") };
        let texts = [name.clone(), seed, windows.to_string(), percent(zero), percent(tied - zero)];
        table.push(texts.map(Cell::from).to_vec());
        drawings.push(tie_map(&map_of(name, picture, maps))?);
    }
    let head = ["pooled", "seed", "windows 2x2", "tied at 0, %", "tied elsewhere, %"];
    Ok(Page {
        title: "Where the windows of a max pooling tie".into(),
        question: "Which windows attain their maximum more than once, so that the gradient is a matter of choice?".into(),
        verdict,
        tables: vec![Table {
            caption: "Windows whose maximum is attained more than once".into(),
            head: head.map(String::from).to_vec(),
            rows: table,
        }],
        figures: vec![Figure {
            drawings,
            caption: "Tied windows over the image, at most nine channels; those of a network at the centre of what they \
                      see."
                .into(),
        }],
        definitions: vec![
            ("tied at 0".into(), "after a ReLU: its derivative at 0 is 0, so that no choice passes on a gradient".into()),
            ("the image itself".into(), "windows of the normalised pixels, of which none is 0".into()),
        ],
        ..Page::default()
    })
}

/// What [`TieMaps::measure`] wrote, to be drawn.
fn map_of(title: String, picture: &Columns, maps: &[Columns]) -> TieMap {
    const CHANNELS: usize = 9;
    let maps = &maps[..maps.len().min(CHANNELS)];
    let number = |row: &Columns, name: &str| row.number(name) as usize;
    let letters = maps.iter().flat_map(|row| row.text("map").into_bytes());
    TieMap {
        title,
        image: read_grey(&picture.text("map")),
        image_shape: [number(picture, "rows"), number(picture, "columns")],
        ties: letters.map(read_letter).collect(),
        shape: [maps.len(), number(&maps[0], "rows"), number(&maps[0], "columns")],
        origin: [number(&maps[0], "origin"); 2],
        stride: number(&maps[0], "stride"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic;

    #[test]
    fn a_map_is_drawn_from_what_was_written() {
        let data = synthetic::embedded(4, 0).train;
        let maps = TieMaps {
            data,
            network: "lenet5".into(),
            precisions: vec![DType::F16],
            images: vec![2],
            seeds: vec![0],
        };
        let engine = Engine::cpu();
        let units = maps.units();
        assert_eq!(units.len(), 2);
        let measure = |unit| maps.measure(&engine, unit, &mut Progress::silent()).unwrap();
        let image = measure(&units[0]);
        // A drawn digit on an empty ground: most of its 14x14 windows are flat.
        let (picture, map) = (&image[0], &image[1]);
        assert_eq!((image.len(), map.number("windows")), (2, 196.0));
        assert!(map.number("tied") > 98.0 && map.number("tied_at_zero") == 0.0);
        let drawn = map_of("digit".into(), picture, &image[1..]);
        assert_eq!(drawn.image, maps.data.image(2));
        for (window, &tie) in drawn.ties.iter().enumerate() {
            let (row, column) = (window / 14 * 2, window % 14 * 2);
            let values = [0, 1, 28, 29].map(|i| drawn.image[row * 28 + column + i]);
            let largest = values.iter().max().unwrap();
            let equal = values.iter().filter(|v| *v == largest).count();
            assert_eq!(tie, Tie::counted(equal as u8, true));
        }
        // Six channels of 12x12 windows behind a 5x5 convolution.
        let network = measure(&units[1]);
        assert_eq!((network.len(), network[1].number("origin")), (7, 2.0));
        assert_eq!(network[6].text("map").len(), 144);
        let records = units.iter().zip([image, network]).map(|(unit, rows)| Record {
            settings: maps.settings(&engine, unit),
            rows,
            seconds: 0.0,
        });
        let page = page(&records.collect::<Vec<_>>()).unwrap();
        assert_eq!(page.figures[0].drawings.len(), 2);
        let wrong = TieMaps { images: vec![4], ..maps };
        assert!(wrong.measure(&engine, &wrong.units()[0], &mut Progress::silent()).is_err());
    }

    #[test]
    fn letters() {
        for (count, zero) in [(1, false), (2, true), (2, false), (4, false), (9, false)] {
            assert_eq!(read_letter(letter(count, zero) as u8), Tie::counted(count, !zero));
        }
    }
}
