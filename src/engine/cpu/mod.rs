//! The CPU engine: every dtype, all cores, the reference for each shader.
//!
//! Work is cut into pieces by the shapes alone, never by the number of threads, and each sum has one fixed
//! order: the same input gives the same bits on any number of threads.

mod add;
mod avgpool2d;
mod batchnorm;
mod channels;
mod conv2d;
mod copy_rows;
mod draw;
mod dropout;
mod float_environment;
mod gemm;
mod lanes;
mod linear;
mod loss;
mod maxpool2d;
mod non_finite;
mod norm_pool2d;
mod norms;
mod optimizer;
mod pack;
mod quantize;
mod relu;
mod scratch;
mod session;
mod sum;
mod target;
mod tie_census;

use std::sync::Arc;

use bytemuck::{Pod, cast_slice, cast_slice_mut};

use crate::dtype::{DType, Element, with_element};
use crate::engine::meter::{MemoryUse, Meter};
use crate::engine::op::{NORM_BLOCK, Op, Settings};
use crate::engine::session::Session;
use crate::error::{Error, Result};
use crate::precision::Accumulate;
use crate::shape::BatchNormGeometry;
use draw::Draw;
use half::f16;
use lanes::Lanes;
use scratch::{Pooled, SharedPool};

/// Elements that one task of an elementwise operator takes.
const BLOCK: usize = 1 << 14;

pub(crate) struct CpuEngine {
    pool: Arc<rayon::ThreadPool>,
    meter: Arc<Meter>,
}

impl CpuEngine {
    /// `threads` 0 takes all cores.
    pub fn new(threads: usize) -> Result<CpuEngine> {
        const MAX_THREADS: usize = 1024;
        if threads > MAX_THREADS {
            return Err(Error::invalid("threads", format!("0 (all cores) to {MAX_THREADS}"), threads));
        }
        let meter = Arc::new(Meter::default());
        let shared = Arc::new(SharedPool::new(meter.clone()));
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("tiebreak-{i}"))
            .start_handler(move |_| {
                float_environment::reset();
                shared.clone().attach();
            })
            .build()
            .map_err(|e| Error::Unsupported(format!("cannot start {threads} threads: {e}")))?;
        Ok(CpuEngine { pool: Arc::new(pool), meter })
    }

    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    pub fn memory(&self) -> MemoryUse {
        self.meter.read()
    }

    /// What counts its host memory.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    pub fn session(&self) -> Box<dyn Session> {
        Box::new(session::CpuSession::new(self.pool.clone(), self.meter.clone()))
    }

    pub fn execute(
        &self,
        op: Op,
        dtype: DType,
        reads: &[&[u8]],
        writes: &mut [&mut [u8]],
        site: usize,
        settings: &Settings,
    ) -> Result<()> {
        install(&self.pool, || execute(op, dtype, reads, writes, site, settings));
        Ok(())
    }
}

/// Runs `work` in the pool. A worker of the caller's own rayon pool would take up other jobs of that pool while it
/// waits here, and one of those may want the engine's lock that this call holds; a plain thread just waits.
fn install<R: Send>(pool: &rayon::ThreadPool, work: impl FnOnce() -> R + Send) -> R {
    if rayon::current_thread_index().is_none() {
        return pool.install(work);
    }
    let result = std::thread::scope(|scope| scope.spawn(|| pool.install(work)).join());
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs one operator on slices that hold exactly its tensors, or start with them.
fn execute(
    op: Op,
    dtype: DType,
    reads: &[&[u8]],
    writes: &mut [&mut [u8]],
    site: usize,
    settings: &Settings,
) {
    match (dtype, parameter_type(&op)) {
        (DType::F16, Some(DType::F32)) => execute_pair::<f16, f32>(op, reads, writes, site, settings),
        (DType::F32, Some(DType::F16)) => execute_pair::<f32, f16>(op, reads, writes, site, settings),
        _ => with_element!(dtype, T => execute_typed::<T>(op, reads, writes, site, settings)),
    }
}

/// The second element type of an operator that has one: of a batch normalisation's parameters, or of the gradient
/// that updates master copies.
fn parameter_type(op: &Op) -> Option<DType> {
    match *op {
        Op::BatchNormForward { parameters, .. }
        | Op::BatchNormInference { parameters, .. }
        | Op::BatchNormBackward { parameters, .. }
        | Op::BatchNormInferenceBackward { parameters, .. } => Some(parameters),
        Op::Sgd { master, .. } | Op::Adam { master, .. } | Op::RmsProp { master, .. } => {
            master.then_some(DType::F16)
        }
        _ => None,
    }
}

fn input<'a, T: Pod>(reads: &[&'a [u8]], i: usize, len: usize) -> &'a [T] {
    &cast_slice(&reads[i][..len * size_of::<T>()])[..len]
}

fn output<T: Pod>(bytes: &mut [u8], len: usize) -> &mut [T] {
    cast_slice_mut(&mut bytes[..len * size_of::<T>()])
}

fn execute_typed<T: Element<Acc: Lanes>>(
    op: Op,
    reads: &[&[u8]],
    writes: &mut [&mut [u8]],
    site: usize,
    settings: &Settings,
) {
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let draw = Draw { site: site as u32, step: settings.step as u32 };
    let narrow = settings.accumulate == Accumulate::Storage && size_of::<T>() < size_of::<T::Acc>();
    match op {
        Op::Conv2dForward { geometry: g, bias } => conv2d::forward::<T>(
            &g,
            input(reads, 0, count(&g.x_shape())),
            input(reads, 1, count(&g.weight_shape())),
            bias.then(|| input(reads, 2, g.out_channels)),
            narrow,
            output(writes[0], count(&g.y_shape())),
        ),
        Op::Conv2dBackwardInput { geometry: g } => conv2d::backward_input::<T>(
            &g,
            input(reads, 0, count(&g.y_shape())),
            input(reads, 1, count(&g.weight_shape())),
            narrow,
            output(writes[0], count(&g.x_shape())),
        ),
        Op::Conv2dBackwardWeight { geometry: g, bias } => {
            let (gweight, rest) = writes.split_first_mut().expect("writes gweight");
            conv2d::backward_weight::<T>(
                &g,
                input(reads, 0, count(&g.x_shape())),
                input(reads, 1, count(&g.y_shape())),
                settings.batch_order(site, g.batch).as_deref(),
                narrow,
                output(gweight, count(&g.weight_shape())),
                bias.then(|| output(rest[0], g.out_channels)),
            )
        }
        Op::LinearForward { geometry: g, bias } => linear::forward::<T>(
            &g,
            input(reads, 0, g.batch * g.in_features),
            input(reads, 1, g.out_features * g.in_features),
            bias.then(|| input(reads, 2, g.out_features)),
            narrow,
            output(writes[0], g.batch * g.out_features),
        ),
        Op::LinearBackwardInput { geometry: g } => linear::backward_input::<T>(
            &g,
            input(reads, 0, g.batch * g.out_features),
            input(reads, 1, g.out_features * g.in_features),
            narrow,
            output(writes[0], g.batch * g.in_features),
        ),
        Op::LinearBackwardWeight { geometry: g, bias } => {
            let (gweight, rest) = writes.split_first_mut().expect("writes gweight");
            linear::backward_weight::<T>(
                &g,
                input(reads, 0, g.batch * g.in_features),
                input(reads, 1, g.batch * g.out_features),
                settings.batch_order(site, g.batch).as_deref(),
                narrow,
                output(gweight, g.out_features * g.in_features),
                bias.then(|| output(rest[0], g.out_features)),
            )
        }
        Op::MaxPool2dForward { geometry: g } => {
            let (y, rest) = writes.split_first_mut().expect("writes y and ties");
            maxpool2d::forward::<T>(
                &g,
                settings.maxpool(site).forward_weights(),
                input(reads, 0, g.x_len()),
                output(y, g.windows()),
                output(rest[0], count(&g.ties_shape())),
            )
        }
        Op::MaxPool2dBackward { geometry: g } => maxpool2d::backward::<T>(
            &g,
            &settings.maxpool(site).backward_rule(g.window.len()),
            draw,
            input(reads, 0, g.windows()),
            input(reads, 1, count(&g.ties_shape())),
            output(writes[0], g.x_len()),
        ),
        Op::ReluForward { len } => {
            relu::forward::<T>(input(reads, 0, len), output(writes[0], len));
        }
        Op::ReluBackward { len } => relu::backward::<T>(
            settings.relu(site).alpha,
            input(reads, 0, len),
            input(reads, 1, len),
            output(writes[0], len),
        ),
        Op::Add { len } => {
            add::forward::<T>(input(reads, 0, len), input(reads, 1, len), output(writes[0], len));
        }
        Op::NormPool2dForward { geometry: g } => {
            norm_pool2d::forward::<T>(&g, input(reads, 0, g.x_len()), output(writes[0], g.windows()));
        }
        Op::NormPool2dBackward { geometry: g } => norm_pool2d::backward::<T>(
            &g,
            settings.norm_pool(site).at_zero,
            input(reads, 0, g.x_len()),
            input(reads, 1, g.windows()),
            input(reads, 2, g.windows()),
            output(writes[0], g.x_len()),
        ),
        Op::AvgPool2dForward { geometry: g } => {
            avgpool2d::forward::<T>(&g, narrow, input(reads, 0, g.x_len()), output(writes[0], g.windows()));
        }
        Op::AvgPool2dBackward { geometry: g } => {
            avgpool2d::backward::<T>(&g, narrow, input(reads, 0, g.windows()), output(writes[0], g.x_len()));
        }
        Op::CopyRows { geometry: g } => {
            let [from, to] = [g.from, g.to].map(|side| g.extent(side));
            copy_rows::copy::<T>(&g, input(reads, 0, from), output(writes[0], to));
        }
        Op::DropoutForward { len, p } | Op::DropoutBackward { len, p } => {
            dropout::apply::<T>(p, settings.seed, draw, input(reads, 0, len), output(writes[0], len));
        }
        Op::CrossEntropy { batch, classes, wide_loss } => {
            let [loss, glogits, row_loss] = writes else { panic!("writes loss, glogits and row_loss") };
            let logits = input(reads, 0, batch * classes);
            let labels = input(reads, 1, batch);
            let (glogits, row_loss) = (output(glogits, batch * classes), output(row_loss, batch));
            let scalars = (classes, settings.loss_scale);
            if wide_loss {
                let loss = output::<T::Acc>(loss, 1);
                loss::cross_entropy::<T, _>(scalars, logits, labels, loss, glogits, row_loss);
            } else {
                let loss = output::<T>(loss, 1);
                loss::cross_entropy::<T, _>(scalars, logits, labels, loss, glogits, row_loss);
            }
        }
        Op::Norms { len, difference } => norms::norms::<T>(
            input(reads, 0, len),
            difference.then(|| input(reads, 1, len)),
            output(writes[0], len.div_ceil(NORM_BLOCK) * 4),
        ),
        Op::TieCensus { geometry: g, relu } => tie_census::tie_census::<T>(
            &g,
            input(reads, 0, count(&g.ties_shape())),
            input(reads, 1, g.windows()),
            input(reads, 2, g.windows()),
            relu.then(|| tie_census::Relu {
                x: input(reads, 3, g.x_len()),
                alpha: settings.relu(site).alpha,
            }),
            output(writes[0], (g.window.len() + 1) * 4),
        ),
        Op::CountZeros { len } => {
            tie_census::count_zeros::<T>(input(reads, 0, len), &mut output(writes[0], 1)[0]);
        }
        Op::FirstNonFinite { len, slot } => {
            let records = output(writes[0], 2 * (slot + 1));
            non_finite::first_non_finite::<T>(input(reads, 0, len), &mut records[2 * slot..]);
        }
        Op::Quantize { len, format, rounding } => {
            quantize::quantize::<T>(format, rounding, draw, output(writes[0], len));
        }
        Op::BatchNormForward { .. }
        | Op::BatchNormInference { .. }
        | Op::BatchNormBackward { .. }
        | Op::BatchNormInferenceBackward { .. }
        | Op::Sgd { .. }
        | Op::Adam { .. }
        | Op::RmsProp { .. } => execute_pair::<T, T>(op, reads, writes, site, settings),
    }
}

/// The operators with a second element type.
fn execute_pair<T: Element<Acc: Pooled>, P: Element<Acc = T::Acc>>(
    op: Op,
    reads: &[&[u8]],
    writes: &mut [&mut [u8]],
    site: usize,
    settings: &Settings,
) {
    match op {
        Op::BatchNormForward { geometry: g, eps, momentum, .. } => {
            let sums = batchnorm::Sums::new(settings, site, g.batch);
            let (x, parameters) = (input(reads, 0, g.len()), [1, 2].map(|i| input(reads, i, g.channels)));
            let [y, mean, inv_std, running_mean, running_var] = writes else { panic!("writes five tensors") };
            let statistics = [mean, inv_std].map(|s| output(s, g.channels));
            let running = settings.track_running_stats.then(|| batchnorm::Running {
                mean: output(running_mean, g.channels),
                var: output(running_var, g.channels),
                momentum,
            });
            let y = output(y, g.len());
            batchnorm::forward::<T, P>(&g, (&sums, eps), x, parameters, y, statistics, running);
        }
        Op::BatchNormInference { geometry: g, eps, .. } => batchnorm::inference::<T, P>(
            &g,
            eps,
            input(reads, 0, g.len()),
            [1, 2].map(|i| input(reads, i, g.channels)),
            [3, 4].map(|i| input(reads, i, g.channels)),
            output(writes[0], g.len()),
        ),
        Op::BatchNormBackward { geometry: g, .. } => {
            let sums = batchnorm::Sums::new(settings, site, g.batch);
            let (inputs, weight) = ([0, 1].map(|i| input(reads, i, g.len())), input(reads, 2, g.channels));
            let statistics = [3, 4].map(|i| input(reads, i, g.channels));
            let gradients = batchnorm_gradients(&g, writes);
            batchnorm::backward::<T, P>(&g, &sums, inputs, weight, statistics, gradients);
        }
        Op::BatchNormInferenceBackward { geometry: g, eps, .. } => {
            let sums = batchnorm::Sums::new(settings, site, g.batch);
            let (inputs, weight) = ([0, 1].map(|i| input(reads, i, g.len())), input(reads, 2, g.channels));
            let running = [3, 4].map(|i| input(reads, i, g.channels));
            let gradients = batchnorm_gradients(&g, writes);
            batchnorm::inference_backward::<T, P>(&g, (&sums, eps), inputs, weight, running, gradients);
        }
        Op::Sgd { len, momentum, master } => {
            let tensors = tensors::<T, P, 1>(reads, writes, len, [momentum], master);
            optimizer::sgd(&settings.sgd(site), settings.grad_scale, tensors);
        }
        Op::Adam { len, amsgrad, master } => {
            let tensors = tensors::<T, P, 3>(reads, writes, len, [true, true, amsgrad], master);
            optimizer::adam(&settings.adam(site), settings.grad_scale, tensors);
        }
        Op::RmsProp { len, momentum, centered, master } => {
            let tensors = tensors::<T, P, 3>(reads, writes, len, [true, momentum, centered], master);
            optimizer::rms_prop(&settings.rms_prop(site), settings.grad_scale, tensors);
        }
        _ => unreachable!("{} has one element type", op.name()),
    }
}

fn batchnorm_gradients<'a, T: Element, P: Element>(
    g: &BatchNormGeometry,
    writes: &'a mut [&mut [u8]],
) -> batchnorm::Gradients<'a, T, P> {
    let [gx, gweight, gbias] = writes else { panic!("writes gx, gweight and gbias") };
    batchnorm::Gradients {
        gx: output(gx, g.len()),
        gweight: output(gweight, g.channels),
        gbias: output(gbias, g.channels),
    }
}

/// The tensors of an optimizer, of whose K state tensors `present` are there.
fn tensors<'a, T: Element, G: Element, const K: usize>(
    reads: &[&'a [u8]],
    writes: &'a mut [&mut [u8]],
    len: usize,
    present: [bool; K],
    master: bool,
) -> optimizer::Tensors<'a, T, G, K> {
    let mut writes = writes.iter_mut();
    let mut next = || writes.next().expect("every tensor of the optimizer");
    optimizer::Tensors {
        grad: input(reads, 0, len),
        param: output(next(), len),
        state: present.map(|present| if present { output(next(), len) } else { Default::default() }),
        copy: if master { output(next(), len) } else { Default::default() },
    }
}
