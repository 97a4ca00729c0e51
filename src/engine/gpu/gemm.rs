//! The host's side of `shaders/shared/gemm.wgsl` and `block.wgsl`.

/// Rows and columns of a matrix product that one workgroup computes.
pub(super) struct Tile {
    pub rows: usize,
    pub columns: usize,
}

/// A tile that is staged through shared memory.
pub(super) const TILE: Tile = Tile { rows: 64, columns: 64 };
/// Terms of the sum that are staged at once.
pub(super) const TILE_K: usize = 16;
/// Threads of a workgroup.
pub(super) const THREADS: usize = 64;
/// Rows and columns of what one thread computes.
pub(super) const BLOCK: usize = 8;

impl Tile {
    /// Tiles that cover an m x n matrix: along its columns, and along its rows.
    pub fn cover(&self, m: usize, n: usize) -> [usize; 2] {
        [m.div_ceil(self.rows), n.div_ceil(self.columns)]
    }
}
