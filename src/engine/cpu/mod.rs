//! The CPU engine: every dtype, all cores, the reference for each shader.
//!
//! Work is cut into pieces by the shapes alone, never by the number of threads, and each sum has one fixed
//! order: the same input gives the same bits on any number of threads.

mod add;
mod conv2d;
mod float_environment;
mod gemm;
mod linear;
mod loss;
mod maxpool2d;
mod optimizer;
mod relu;
mod scratch;
mod session;
mod sum;

use std::sync::Arc;

use bytemuck::{Pod, cast_slice, cast_slice_mut};

use crate::dtype::{DType, Element, with_element};
use crate::engine::op::{Op, Settings};
use crate::engine::session::Session;
use crate::error::{Error, Result};
use scratch::Pooled;

/// Elements that one task of an elementwise operator takes.
const BLOCK: usize = 1 << 14;

pub(crate) struct CpuEngine {
    pool: Arc<rayon::ThreadPool>,
}

impl CpuEngine {
    /// `threads` 0 takes all cores.
    pub fn new(threads: usize) -> Result<CpuEngine> {
        const MAX_THREADS: usize = 1024;
        if threads > MAX_THREADS {
            return Err(Error::invalid("threads", format!("0 (all cores) to {MAX_THREADS}"), threads));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("tiebreak-{i}"))
            .start_handler(|_| float_environment::reset())
            .build()
            .map_err(|e| Error::Unsupported(format!("cannot start {threads} threads: {e}")))?;
        Ok(CpuEngine { pool: Arc::new(pool) })
    }

    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    pub fn session(&self) -> Box<dyn Session> {
        Box::new(session::CpuSession::new(self.pool.clone()))
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
    with_element!(dtype, T => execute_typed::<T>(op, reads, writes, site, settings))
}

fn execute_typed<T: Element<Acc: Pooled>>(
    op: Op,
    reads: &[&[u8]],
    writes: &mut [&mut [u8]],
    site: usize,
    settings: &Settings,
) {
    fn input<'a, T: Pod>(reads: &[&'a [u8]], i: usize, len: usize) -> &'a [T] {
        &cast_slice(&reads[i][..len * size_of::<T>()])[..len]
    }
    fn output<T: Pod>(bytes: &mut [u8], len: usize) -> &mut [T] {
        cast_slice_mut(&mut bytes[..len * size_of::<T>()])
    }
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    match op {
        Op::Conv2dForward { geometry: g, bias } => conv2d::forward::<T>(
            &g,
            input(reads, 0, count(&g.x_shape())),
            input(reads, 1, count(&g.weight_shape())),
            bias.then(|| input(reads, 2, g.out_channels)),
            output(writes[0], count(&g.y_shape())),
        ),
        Op::Conv2dBackwardInput { geometry: g } => conv2d::backward_input::<T>(
            &g,
            input(reads, 0, count(&g.y_shape())),
            input(reads, 1, count(&g.weight_shape())),
            output(writes[0], count(&g.x_shape())),
        ),
        Op::Conv2dBackwardWeight { geometry: g, bias } => {
            let (gweight, rest) = writes.split_first_mut().expect("writes gweight");
            conv2d::backward_weight::<T>(
                &g,
                input(reads, 0, count(&g.x_shape())),
                input(reads, 1, count(&g.y_shape())),
                output(gweight, count(&g.weight_shape())),
                bias.then(|| output(rest[0], g.out_channels)),
            )
        }
        Op::LinearForward { geometry: g, bias } => linear::forward::<T>(
            &g,
            input(reads, 0, g.batch * g.in_features),
            input(reads, 1, g.out_features * g.in_features),
            bias.then(|| input(reads, 2, g.out_features)),
            output(writes[0], g.batch * g.out_features),
        ),
        Op::LinearBackwardInput { geometry: g } => linear::backward_input::<T>(
            &g,
            input(reads, 0, g.batch * g.out_features),
            input(reads, 1, g.out_features * g.in_features),
            output(writes[0], g.batch * g.in_features),
        ),
        Op::LinearBackwardWeight { geometry: g, bias } => {
            let (gweight, rest) = writes.split_first_mut().expect("writes gweight");
            linear::backward_weight::<T>(
                &g,
                input(reads, 0, g.batch * g.in_features),
                input(reads, 1, g.batch * g.out_features),
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
        Op::MaxPool2dBackward { geometry: g } => {
            let draw = maxpool2d::Draw { site: site as u32, step: settings.step as u32 };
            maxpool2d::backward::<T>(
                &g,
                &settings.maxpool(site).backward_rule(g.window.len()),
                draw,
                input(reads, 0, g.windows()),
                input(reads, 1, count(&g.ties_shape())),
                output(writes[0], g.x_len()),
            )
        }
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
        Op::CrossEntropy { batch, classes } => {
            let [loss, glogits, row_loss] = writes else { panic!("writes loss, glogits and row_loss") };
            loss::cross_entropy::<T>(
                classes,
                input(reads, 0, batch * classes),
                input(reads, 1, batch),
                output::<T>(loss, 1),
                output(glogits, batch * classes),
                output(row_loss, batch),
            )
        }
        Op::Sgd { len, momentum } => {
            let (param, rest) = writes.split_first_mut().expect("writes param");
            optimizer::sgd::<T>(
                &settings.sgd,
                input(reads, 0, len),
                output(param, len),
                momentum.then(|| output(rest[0], len)),
            )
        }
    }
}
