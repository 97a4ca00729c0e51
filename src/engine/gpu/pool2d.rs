//! The host's side of `shaders/shared/pool2d.wgsl` and `shaders/shared/tie_set.wgsl`.

use crate::shape::{Pool2dGeometry, tie_bytes};

/// From `h` to `padding_w`.
pub(super) fn geometry_words(g: &Pool2dGeometry) -> Vec<u32> {
    let window = [g.window.kernel, g.window.stride, g.window.padding];
    let pairs = [g.input, g.output].into_iter().chain(window);
    pairs.flatten().map(|v| v as u32).collect()
}

/// `share` and `words`: binary logarithm of the number of windows that share a word, and words of a window.
pub(super) fn set_layout(g: &Pool2dGeometry) -> [u32; 2] {
    match tie_bytes(g.window.len()) {
        1 => [2, 1],
        2 => [1, 1],
        bytes => [0, bytes as u32 / 4],
    }
}
