//! Why the windows of a max pooling tie.

use rayon::prelude::*;

use super::graph::Layer;
use super::network::Network;
use super::provenance::members;
use crate::error::Result;
use crate::kink::Kink;
use crate::shape::tie_bytes;

/// The cause of a tie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TieClass {
    /// The window holds a NaN.
    Nan,
    /// One element attains the maximum: there is nothing to choose.
    Untied,
    /// None of the tied elements passes a gradient on through the ReLU before: no choice can be seen.
    Masked,
    /// All tied elements are the same function of the weights, on the branches that the run took: they see the same pixels
    /// through the same active ReLUs and maxima. They are equal over the reals and in any arithmetic, and what a choice does
    /// cancels in the gradients of weights but for rounding.
    Structural,
    /// They are not: rounding has made them equal, or chance. A choice changes the gradient.
    Accidental,
}

impl TieClass {
    /// All of them.
    pub const ALL: [TieClass; 5] =
        [TieClass::Nan, TieClass::Untied, TieClass::Masked, TieClass::Structural, TieClass::Accidental];

    /// As it stands in tables.
    pub fn name(self) -> &'static str {
        match self {
            TieClass::Nan => "nan",
            TieClass::Untied => "untied",
            TieClass::Masked => "masked",
            TieClass::Structural => "structural",
            TieClass::Accidental => "accidental",
        }
    }
}

/// The windows of a max pooling by the cause of their tie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TieClasses {
    /// The layer.
    pub layer: String,
    /// `[N, C, OH, OW]`
    pub shape: [usize; 4],
    /// Of each window.
    pub classes: Vec<TieClass>,
}

impl TieClasses {
    /// Windows of a class.
    pub fn count(&self, class: TieClass) -> u64 {
        self.classes.iter().filter(|c| **c == class).count() as u64
    }
}

impl Network {
    /// Why the windows of each max pooling tied in the last [`Network::loss_and_gradients`]: from the stored tie sets, the
    /// signs before the ReLU in front of a pooling, and a hash of what each element was computed from.
    ///
    /// Errors: [`crate::Error::Unsupported`] where no forward pass is stored.
    pub fn tie_classes(&mut self) -> Result<Vec<TieClasses>> {
        let mut all = Vec::new();
        self.for_each_pooled(|network, index, provenance| {
            let node = &network.graph.nodes[index];
            let Layer::MaxPool2d { window } = node.layer else { unreachable!("a max pooling") };
            let (layer, before) = (node.name.clone(), node.inputs[0].0);
            let geometry = network.pool_geometry(index, window)?;
            let sets = network.tie_sets(index)?;
            let passes = network.passes(before)?;
            let bytes = tie_bytes(window.len());
            let class = |(window, set): (usize, &[u8])| {
                if set[bytes - 1] & 0x80 != 0 {
                    return TieClass::Nan;
                }
                let tied = members(&geometry, window, set);
                if tied.len() < 2 {
                    return TieClass::Untied;
                }
                if passes.as_ref().is_some_and(|passes| !tied.iter().any(|at| passes[*at])) {
                    return TieClass::Masked;
                }
                match tied.iter().all(|at| provenance[*at] == provenance[tied[0]]) {
                    true => TieClass::Structural,
                    false => TieClass::Accidental,
                }
            };
            let classes = sets.par_chunks(bytes).enumerate().map(class).collect();
            all.push(TieClasses { layer, shape: geometry.y_shape(), classes });
            Ok(())
        })?;
        Ok(all)
    }

    /// Which elements of a ReLU's output pass a gradient on; `None` for another layer, which passes all.
    pub(super) fn passes(&mut self, index: usize) -> Result<Option<Vec<bool>>> {
        let node = &self.graph.nodes[index];
        if node.layer != Layer::Relu {
            return Ok(None);
        }
        let at_zero = matches!(self.settings.kinks[index], Some(Kink::Relu(kink)) if kink.alpha != 0.0);
        let before = self.output(node.inputs[0].0)?.to_f64();
        Ok(Some(before.into_iter().map(|v| v > 0.0 || v.is_nan() || at_zero && v == 0.0).collect()))
    }
}
