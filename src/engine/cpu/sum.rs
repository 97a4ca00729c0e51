use crate::dtype::Accumulator;

/// Sum in sixteen interleaved lanes, then over the lanes: a fixed order that vectorises.
pub(super) fn sum_lanes<A: Accumulator>(values: &[A]) -> A {
    const LANES: usize = 16;
    let mut lanes = [A::ZERO; LANES];
    let chunks = values.chunks_exact(LANES);
    let tail = chunks.remainder().iter().fold(A::ZERO, |s, &v| s + v);
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &v)| *lane += v);
    }
    lanes.iter().fold(A::ZERO, |s, &v| s + v) + tail
}
