//! The planes of some neighbouring channels in all samples of a tensor `[N, C, P]`: what one task takes of an operator that
//! works channel by channel, so that it reads again from the caches what it has read before.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::BLOCK;
use crate::shape::BatchNormGeometry;

/// Bytes that the channels of a task have side by side in a sample, at least.
const RUN: usize = 1 << 14;

/// Some channels of a tensor of the geometry.
#[derive(Debug, Clone)]
pub(super) struct Channels {
    pub range: Range<usize>,
    geometry: BatchNormGeometry,
}

impl Channels {
    /// How many a task takes of a tensor of T.
    pub fn per_task<T>(g: &BatchNormGeometry) -> usize {
        RUN.div_ceil(g.plane * size_of::<T>()).min(g.channels)
    }

    pub fn count(&self) -> usize {
        self.range.len()
    }

    /// Their planes in a sample, `[count, P]`.
    fn run(&self, sample: usize) -> Range<usize> {
        let g = &self.geometry;
        assert!(sample < g.batch && self.range.end <= g.channels, "a plane of the tensor");
        let first = |channel| (sample * g.channels + channel) * g.plane;
        first(self.range.start)..first(self.range.end)
    }

    /// Their planes in a sample of `x`.
    pub fn planes<'a, T>(&self, sample: usize, x: &'a [T]) -> std::slice::ChunksExact<'a, T> {
        x[self.run(sample)].chunks_exact(self.geometry.plane)
    }

    /// Samples of a task that is worth a thread.
    pub fn samples_per_task(&self) -> usize {
        BLOCK.div_ceil(self.count() * self.geometry.plane)
    }
}

/// The tensor from which a task takes its channels to write.
pub(super) struct ChannelsMut<'a, T> {
    pub channels: Channels,
    samples: Range<usize>,
    data: *mut T,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for mutable slices that are its alone: those of its channels in its samples.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for ChannelsMut<'_, T> {}

impl<'a, T: Send> ChannelsMut<'a, T> {
    /// `data` by tasks of so many channels.
    pub fn tasks(
        g: &BatchNormGeometry,
        per_task: usize,
        data: &'a mut [T],
    ) -> impl IndexedParallelIterator<Item = ChannelsMut<'a, T>> {
        assert_eq!(data.len(), g.len(), "the size of the tensor");
        let tasks = (0..g.channels).step_by(per_task).map(|first| ChannelsMut {
            channels: Channels { range: first..(first + per_task).min(g.channels), geometry: *g },
            samples: 0..g.batch,
            data: data.as_mut_ptr(),
            borrow: PhantomData,
        });
        tasks.collect::<Vec<_>>().into_par_iter()
    }

    /// Calls `body(sample, its planes)` for each sample, in parallel where they are large.
    pub fn for_each_sample(&mut self, body: &(impl Fn(usize, std::slice::ChunksExactMut<T>) + Sync)) {
        let samples = self.samples.clone();
        if samples.len() > self.channels.samples_per_task() {
            let middle = samples.start + samples.len() / 2;
            let mut halves = [samples.start..middle, middle..samples.end].map(|samples| ChannelsMut {
                channels: self.channels.clone(),
                samples,
                data: self.data,
                borrow: PhantomData,
            });
            let [first, second] = &mut halves;
            rayon::join(|| first.for_each_sample(body), || second.for_each_sample(body));
            return;
        }
        for sample in samples {
            let run = self.channels.run(sample);
            // SAFETY: inside the tensor by the assertion in `run`; no other task has these samples of these channels.
            #[allow(unsafe_code)]
            let run = unsafe { std::slice::from_raw_parts_mut(self.data.add(run.start), run.len()) };
            body(sample, run.chunks_exact_mut(self.channels.geometry.plane));
        }
    }
}
