//! Gradients of several choices on the same weights and batch, compared on the device.

use super::network::Network;
use super::run::shares_forward;
use crate::dtype::DType;
use crate::engine::op::{BufferId, Call, NORM_BLOCK, Op, RowsGeometry};
use crate::engine::session::ProgramId;
use crate::error::Result;
use crate::kink::Kink;
use crate::tensor::View;

/// A choice at one layer, or at every layer of its kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The layer; `None` for every layer of the kink's kind.
    pub layer: Option<String>,
    /// What it computes.
    pub kink: Kink,
}

impl From<Kink> for Choice {
    /// At every layer of the kink's kind.
    fn from(kink: Kink) -> Choice {
        Choice { layer: None, kink }
    }
}

/// How far two gradients of one parameter are apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The parameter.
    pub name: String,
    /// Sum of absolute differences.
    pub l1: f64,
    /// Euclidean norm of the difference.
    pub l2: f64,
    /// Largest absolute difference.
    pub linf: f64,
    /// Number of elements that are not equal.
    pub differing: usize,
}

/// Gradients of two choices on the same weights and batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// By parameter.
    pub differences: Vec<Difference>,
    /// Loss under the present and the other choices: equal where they share a forward pass.
    pub losses: [f64; 2],
    /// False where a coupled composition made a second forward pass necessary.
    pub shared_forward: bool,
}

impl Comparison {
    /// Sum over the parameters of the L1 norms, as the published code does for thresholds.
    pub fn l1(&self) -> f64 {
        self.differences.iter().map(|d| d.l1).sum()
    }

    /// Sum over the parameters of the Euclidean norms.
    pub fn l2(&self) -> f64 {
        self.differences.iter().map(|d| d.l2).sum()
    }

    /// Sum over the parameters of the Linf norms, as the published code does for volumes.
    pub fn linf(&self) -> f64 {
        self.differences.iter().map(|d| d.linf).sum()
    }

    /// Number of gradient elements that are not equal.
    pub fn differing(&self) -> usize {
        self.differences.iter().map(|d| d.differing).sum()
    }
}

/// Norms of a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Norms {
    /// Sum of absolute values.
    pub l1: f64,
    /// Euclidean norm.
    pub l2: f64,
    /// Largest absolute value.
    pub linf: f64,
    /// Number of elements that are not finite.
    pub non_finite: usize,
}

/// A program that leaves partial norms of every gradient side by side in one buffer.
struct NormsProgram {
    program: ProgramId,
    gathered: BufferId,
    /// Blocks of each parameter.
    blocks: Vec<usize>,
}

/// What comparisons need on the device, made at the first one and kept.
pub(super) struct Comparer {
    /// Norms of the gradients themselves.
    own: NormsProgram,
    /// Made at the first comparison.
    reference: Option<Reference>,
}

/// A second set of gradients to compare with.
struct Reference {
    /// Copies the gradients there, and back.
    save: ProgramId,
    restore: ProgramId,
    differences: NormsProgram,
}

impl Network {
    /// Gradients under the present choices against those under each of `alternatives`, which are lists of
    /// choices that replace present ones. One stored forward pass serves all of them, but each coupled composition,
    /// which needs its own. The gradients are compared on the device; only the norms leave it.
    ///
    /// Afterwards the choices are what they were, and loss, gradients and stored activations are theirs. Running
    /// statistics of batch normalisation are updated once, as by [`Network::loss_and_gradients`]. After an error of the
    /// device, gradients may be those of another choice: run [`Network::loss_and_gradients`] again.
    pub fn compare(
        &mut self,
        x: View,
        labels: &[i64],
        alternatives: &[Vec<Choice>],
    ) -> Result<Vec<Comparison>> {
        // Every alternative is checked before anything runs.
        let others = self.alternatives(alternatives)?;
        self.loss_and_gradients(x, labels)?;
        self.compare_others(Some((x, labels)), &others)
    }

    /// As [`Network::compare`], on the stored forward pass, such as a [replayed](Network::replay) one.
    ///
    /// Errors: those of [`Network::backward`], also for an alternative that would have another forward pass.
    pub fn compare_stored(&mut self, alternatives: &[Vec<Choice>]) -> Result<Vec<Comparison>> {
        let others = self.alternatives(alternatives)?;
        self.backward()?;
        self.compare_others(None, &others)
    }

    /// The choices of each alternative, all of them checked.
    fn alternatives(&mut self, alternatives: &[Vec<Choice>]) -> Result<Vec<Vec<Option<Kink>>>> {
        let present = self.settings.kinks.clone();
        let mut others = Vec::new();
        for choices in alternatives {
            let set = choices.iter().try_for_each(|c| self.set_kink(c.layer.as_deref(), c.kink));
            others.push(std::mem::replace(&mut self.settings.kinks, present.clone()));
            set?;
        }
        Ok(others)
    }

    /// The gradients that are there against those of other choices.
    fn compare_others(
        &mut self,
        batch: Option<(View, &[i64])>,
        others: &[Vec<Option<Kink>>],
    ) -> Result<Vec<Comparison>> {
        let present = self.settings.kinks.clone();
        let loss = self.loss()?;
        let (save, restore) = self.reference()?;
        self.submit(&[save])?;
        let compared = self.compare_with(batch, loss, others, restore);
        if compared.is_err() {
            // What is there may be another choice's.
            (self.stored, self.last_loss) = (None, None);
        }
        self.settings.kinks = present;
        self.settings.track_running_stats = true;
        compared
    }

    fn compare_with(
        &mut self,
        batch: Option<(View, &[i64])>,
        loss: f64,
        others: &[Vec<Option<Kink>>],
        restore: ProgramId,
    ) -> Result<Vec<Comparison>> {
        let present = self.settings.kinks.clone();
        let shared: Vec<bool> = others.iter().map(|other| shares_forward(&present, other)).collect();
        let mut comparisons: Vec<Option<Comparison>> = vec![None; others.len()];
        // Those that share the forward pass first, while it is there.
        self.settings.track_running_stats = false;
        let mut order: Vec<usize> = (0..others.len()).collect();
        order.sort_by_key(|&i| !shared[i]);
        for i in order {
            self.settings.kinks = others[i].clone();
            let other_loss = match batch {
                Some((x, labels)) if !shared[i] => self.loss_and_gradients(x, labels)?,
                _ => {
                    self.backward()?;
                    loss
                }
            };
            comparisons[i] = Some(Comparison {
                differences: self.differences()?,
                losses: [loss, other_loss],
                shared_forward: shared[i],
            });
        }
        self.settings.kinks = present;
        match batch {
            Some((x, labels)) if shared.contains(&false) => {
                self.loss_and_gradients(x, labels)?;
            }
            _ => self.submit(&[restore])?,
        }
        Ok(comparisons.into_iter().flatten().collect())
    }

    /// Norms of each parameter's gradient, in the order of [`Network::parameters`], taken on the device.
    pub fn gradient_norms(&mut self) -> Result<Vec<Norms>> {
        let scale = self.gradient_scale;
        let comparer = self.comparer()?;
        let (program, gathered, blocks) =
            (comparer.own.program, comparer.own.gathered, comparer.own.blocks.clone());
        let sums = self.norms(program, gathered, &blocks)?;
        let norms = |[l1, squares, linf, count]: [f64; 4]| Norms {
            l1: l1 / scale,
            l2: squares.sqrt() / scale,
            linf: linf / scale,
            non_finite: count as usize,
        };
        Ok(sums.into_iter().map(norms).collect())
    }

    fn differences(&mut self) -> Result<Vec<Difference>> {
        let scale = self.gradient_scale;
        let names: Vec<String> = self.parameters().map(|p| p.name.clone()).collect();
        let comparer = self.comparer()?;
        let norms = &comparer.reference.as_ref().expect("made before").differences;
        let (program, gathered, blocks) = (norms.program, norms.gathered, norms.blocks.clone());
        let sums = self.norms(program, gathered, &blocks)?;
        let difference = |(name, [l1, squares, linf, count]): (String, [f64; 4])| Difference {
            name,
            l1: l1 / scale,
            l2: squares.sqrt() / scale,
            linf: linf / scale,
            differing: count as usize,
        };
        Ok(names.into_iter().zip(sums).map(difference).collect())
    }

    /// Runs a program of norms and adds its blocks up: for each parameter L1, the sum of squares, Linf, count.
    fn norms(&mut self, program: ProgramId, gathered: BufferId, blocks: &[usize]) -> Result<Vec<[f64; 4]>> {
        self.submit(&[program])?;
        let rows = blocks.iter().sum();
        let partial = self.read_tensor(gathered, self.norms_dtype(), &[rows, 4])?.to_f64();
        let mut rows = partial.chunks(4);
        let sums = blocks.iter().map(|&blocks| {
            rows.by_ref().take(blocks).fold([0.0; 4], |sum, row| {
                // max() would lose a NaN.
                let linf = if row[2] > sum[2] || row[2].is_nan() { row[2] } else { sum[2] };
                [sum[0] + row[0], sum[1] + row[1], linf, sum[3] + row[3]]
            })
        });
        Ok(sums.collect())
    }

    fn norms_dtype(&self) -> DType {
        if self.dtype() == DType::F64 { DType::F64 } else { DType::F32 }
    }

    fn comparer(&mut self) -> Result<&mut Comparer> {
        if self.comparer.is_none() {
            let own = self.norms_program(None)?;
            self.comparer = Some(Comparer { own, reference: None });
        }
        Ok(self.comparer.as_mut().expect("just made"))
    }

    /// The programs that save and restore the gradients.
    fn reference(&mut self) -> Result<(ProgramId, ProgramId)> {
        if self.comparer()?.reference.is_none() {
            let reference = self.make_reference()?;
            self.comparer()?.reference = Some(reference);
        }
        let reference = self.comparer()?.reference.as_ref().expect("just made");
        Ok((reference.save, reference.restore))
    }

    fn make_reference(&mut self) -> Result<Reference> {
        let gradients = self.gradients();
        let sizes: Vec<usize> = gradients.iter().map(|(_, dtype, len)| len * dtype.size()).collect();
        let buffers = self.allocate(&sizes, "gradients to compare with")?;
        let pairs = || gradients.iter().zip(&buffers);
        let save = pairs().map(|(&(from, dtype, len), &to)| copy(dtype, len, from, to, [len, 0]));
        let restore = pairs().map(|(&(to, dtype, len), &from)| copy(dtype, len, from, to, [len, 0]));
        let mut programs = Vec::new();
        let prepare = || -> Result<Reference> {
            for calls in [save.collect(), restore.collect()] {
                programs.push(self.prepare(calls)?);
            }
            let differences = self.norms_program(Some(&buffers))?;
            Ok(Reference { save: programs[0], restore: programs[1], differences })
        };
        let made = prepare();
        if made.is_err() {
            self.release(&buffers, &programs);
        }
        made
    }

    /// Every gradient with its type and length.
    fn gradients(&self) -> Vec<(BufferId, DType, usize)> {
        self.tensors.iter().filter_map(|t| Some((t.gradient?, t.dtype, t.len()))).collect()
    }

    /// Norms of each gradient, or of its difference from `reference`.
    fn norms_program(&mut self, reference: Option<&[BufferId]>) -> Result<NormsProgram> {
        let dtype = self.norms_dtype();
        let gradients = self.gradients();
        let blocks: Vec<usize> = gradients.iter().map(|g| g.2.div_ceil(NORM_BLOCK)).collect();
        let total = 4 * blocks.iter().sum::<usize>();
        let rows = blocks.iter().map(|blocks| blocks * 4).chain([total]);
        let sizes: Vec<usize> = rows.map(|len| len * dtype.size()).collect();
        let buffers = self.allocate(&sizes, "norms of gradients")?;
        let (&gathered, partials) = buffers.split_last().expect("one more than gradients");
        let mut calls = Vec::new();
        let mut offset = 0;
        for (i, (&(gradient, gradient_dtype, len), blocks)) in gradients.iter().zip(&blocks).enumerate() {
            let partial = partials[i];
            let reads = std::iter::once(gradient).chain(reference.map(|r| r[i])).collect();
            let op = Op::Norms { len, difference: reference.is_some() };
            calls.push(Call { op, dtype: gradient_dtype, reads, writes: vec![partial], site: 0 });
            calls.push(copy(dtype, blocks * 4, partial, gathered, [total, offset]));
            offset += blocks * 4;
        }
        let program = self.prepare(calls);
        if program.is_err() {
            self.release(&buffers, &[]);
        }
        Ok(NormsProgram { program: program?, gathered, blocks })
    }
}

fn copy(dtype: DType, len: usize, from: BufferId, to: BufferId, to_row: [usize; 2]) -> Call {
    let geometry = RowsGeometry { rows: 1, len, from: [len, 0], to: to_row };
    Call { op: Op::CopyRows { geometry }, dtype, reads: vec![from], writes: vec![to], site: 0 }
}
