//! What each element of a run has been computed from: elements that are the same function of the weights, on the branches
//! that the run took, are equal in any arithmetic, and so are the gradients that they pass on to weights.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use rayon::prelude::*;

use super::graph::Layer;
use super::network::Network;
use crate::error::Result;
use crate::shape::{Pool2dGeometry, Window2d, tie_bytes};

/// A hash of what was computed, for each element of a layer's output, channels apart: `[N, C, H, W]`. A position's channels
/// have different weights but see the same, so their hashes agree until a ReLU or a max pooling parts them.
pub(super) type Provenance = Vec<u64>;

/// What is 0 and passes no gradient on: an element that a ReLU stops, the border of an image, a pixel that is 0.
const NOTHING: u64 = 0;

/// A hash that is not [`NOTHING`].
fn hashed(write: impl FnOnce(&mut DefaultHasher)) -> u64 {
    let mut hasher = DefaultHasher::new();
    write(&mut hasher);
    hasher.finish().max(1)
}

impl Network {
    /// Calls `visit` with each max pooling and the provenance of what it pools, in the order of the layers.
    pub(super) fn for_each_pooled(
        &mut self,
        mut visit: impl FnMut(&mut Network, usize, &Provenance) -> Result<()>,
    ) -> Result<()> {
        let graph = self.graph.clone();
        let pools = |index: &usize| matches!(graph.nodes[*index].layer, Layer::MaxPool2d { .. });
        let Some(last) = (0..graph.nodes.len()).rev().find(pools) else { return Ok(()) };
        let mut last_use = vec![0; graph.nodes.len()];
        for (index, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|input| last_use[input.0] = index);
        }
        let mut all: Vec<Option<Provenance>> = Vec::new();
        for index in 0..=last {
            let inputs = &graph.nodes[index].inputs;
            if pools(&index) {
                visit(self, index, all[inputs[0].0].as_ref().expect("a pooling sees images"))?;
            }
            let given: Vec<Option<&Provenance>> = inputs.iter().map(|i| all[i.0].as_ref()).collect();
            let own = match graph.nodes[index].shape.len() {
                3 => Some(self.provenance(index, &given)?),
                _ => None,
            };
            all.push(own);
            for input in inputs.iter().filter(|input| last_use[input.0] == index) {
                all[input.0] = None;
            }
        }
        Ok(())
    }

    fn provenance(&mut self, index: usize, inputs: &[Option<&Provenance>]) -> Result<Provenance> {
        let node = &self.graph.nodes[index];
        let (layer, input) = (node.layer, node.inputs.first().map(|i| i.0));
        let [channels, height, width] = node.shape[..] else { unreachable!("called for images") };
        let plane = height * width;
        let first = || inputs[0].expect("images come from images");
        Ok(match layer {
            Layer::Input => {
                let x = self.output(index)?;
                let pixels: Vec<u64> =
                    x.to_f64().iter().map(|v| if *v == 0.0 { NOTHING } else { v.to_bits() }).collect();
                // Two channels of one value are not the same.
                pixels
                    .iter()
                    .enumerate()
                    .map(|(i, bits)| match *bits {
                        NOTHING => NOTHING,
                        bits => hashed(|h| (bits, i / plane % channels).hash(h)),
                    })
                    .collect()
            }
            Layer::Relu => {
                let passes = self.passes(index)?.expect("a ReLU");
                first()
                    .par_iter()
                    .zip(passes)
                    .map(|(hash, passes)| if passes { *hash } else { NOTHING })
                    .collect()
            }
            Layer::BatchNorm { .. } => first().par_iter().map(|hash| *hash.max(&1)).collect(),
            // Its mask is another one for each element.
            Layer::Dropout { .. } => {
                (0..first().len()).into_par_iter().map(|i| hashed(|h| (index, i).hash(h))).collect()
            }
            Layer::Add => {
                let add = |(a, b): (&u64, &u64)| match (*a, *b) {
                    (NOTHING, one) | (one, NOTHING) => one,
                    pair => hashed(|h| pair.hash(h)),
                };
                first().par_iter().zip(inputs[1].expect("images")).map(add).collect()
            }
            Layer::Concat => {
                let batch =
                    first().len() / (self.graph.nodes[input.expect("it has inputs")].shape[0] * plane);
                let part = |sample: usize| {
                    inputs.iter().flatten().flat_map(move |part| {
                        let len = part.len() / batch;
                        part[sample * len..][..len].iter().copied()
                    })
                };
                (0..batch).flat_map(part).collect()
            }
            Layer::Conv2d { window, .. } => {
                let [from, h, w] = self.graph.nodes[input.expect("it has one")].shape[..] else {
                    unreachable!()
                };
                let places = positions(first(), from, h * w);
                let seen = |position: usize| {
                    let (sample, place) = (position / plane, position % plane);
                    let sees = places_of(&window, [h, w], place / width, place % width);
                    hashed(|hasher| {
                        index.hash(hasher);
                        for at in sees {
                            at.map_or(NOTHING, |at| places[sample * h * w + at]).hash(hasher);
                        }
                    })
                };
                let positions = places.len() / (h * w) * plane;
                let seen: Vec<u64> = (0..positions).into_par_iter().map(seen).collect();
                let copy = |i: usize| seen[i / (channels * plane) * plane + i % plane];
                (0..positions * channels).into_par_iter().map(copy).collect()
            }
            Layer::MaxPool2d { window } => {
                let geometry = self.pool_geometry(index, window)?;
                let sets = self.tie_sets(index)?;
                let own = |(window_index, set): (usize, &[u8])| {
                    let tied = members(&geometry, window_index, set);
                    let hash = |at: &usize| first()[*at];
                    match tied.iter().all(|at| hash(at) == hash(&tied[0])) {
                        true => tied.first().map_or(NOTHING, hash),
                        false => hashed(|h| tied.iter().for_each(|at| hash(at).hash(h))),
                    }
                };
                sets.par_chunks(tie_bytes(window.len())).enumerate().map(own).collect()
            }
            Layer::AvgPool2d { window } | Layer::NormPool2d { window } => {
                let [_, h, w] = self.graph.nodes[input.expect("it has one")].shape[..] else {
                    unreachable!()
                };
                let own = |i: usize| {
                    let (image, place) = (i / plane, i % plane);
                    let seen = places_of(&window, [h, w], place / width, place % width);
                    let hashes = seen.map(|at| at.map_or(NOTHING, |at| first()[image * h * w + at]));
                    hashed(|hasher| hashes.for_each(|hash| hash.hash(hasher)))
                };
                let count = first().len() / (h * w) * plane;
                (0..count).into_par_iter().map(own).collect()
            }
            Layer::Flatten | Layer::Linear { .. } => unreachable!("these give no images"),
        })
    }
}

/// The channels of each position together, `[N, H, W]`; nothing of nothing.
fn positions(elements: &[u64], channels: usize, plane: usize) -> Vec<u64> {
    let one = |position: usize| {
        let (sample, place) = (position / plane, position % plane);
        let channel = |c: usize| elements[(sample * channels + c) * plane + place];
        match (0..channels).all(|c| channel(c) == NOTHING) {
            true => NOTHING,
            false => hashed(|h| (0..channels).for_each(|c| channel(c).hash(h))),
        }
    };
    (0..elements.len() / channels).into_par_iter().map(one).collect()
}

/// Flat places in a plane that a window sees, `None` for the border.
fn places_of(
    window: &Window2d,
    [height, width]: [usize; 2],
    row: usize,
    column: usize,
) -> impl Iterator<Item = Option<usize>> {
    let Window2d { kernel, stride, padding, dilation } = *window;
    let place = move |axis: usize, output: usize, k: usize| {
        (output * stride[axis] + k * dilation[axis]).checked_sub(padding[axis])
    };
    (0..kernel[0] * kernel[1]).map(move |i| {
        let at = place(0, row, i / kernel[1]).zip(place(1, column, i % kernel[1]));
        at.filter(|(r, c)| *r < height && *c < width).map(|(r, c)| r * width + c)
    })
}

/// Places, in the pooled tensor, of a window's tied elements.
pub(super) fn members(g: &Pool2dGeometry, window: usize, set: &[u8]) -> Vec<usize> {
    let tied = |&(_, bit): &(usize, usize)| set[bit / 8] >> (bit % 8) & 1 != 0;
    g.elements(window).filter(tied).map(|(place, _)| place).collect()
}
