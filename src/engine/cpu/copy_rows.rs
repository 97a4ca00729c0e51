//! Rows of one matrix into another: `to[r, to_offset + i] = from[r, from_offset + i]`.
//!
//! The slices end with the last element that is copied.

use rayon::prelude::*;

use crate::dtype::Element;
use crate::engine::op::RowsGeometry;

pub(super) fn copy<T: Element>(g: &RowsGeometry, from: &[T], to: &mut [T]) {
    if g.rows == 0 || g.len == 0 {
        return;
    }
    let ([from_stride, from_offset], [to_stride, to_offset]) = (g.from, g.to);
    let rows = to[to_offset..].par_chunks_mut(to_stride).zip(from[from_offset..].par_chunks(from_stride));
    rows.for_each(|(to, from)| to[..g.len].copy_from_slice(&from[..g.len]));
}
