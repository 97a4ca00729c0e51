//! The host's side of `shaders/shared/gemm.wgsl`.

/// Terms of the sum that are staged at once.
pub(super) const TILE_K: usize = 16;
const TILE_N: usize = 64;

/// How an m x n matrix is cut into tiles.
pub(super) struct Tiling {
    /// Tiles of 16 rows instead of 64.
    pub narrow: bool,
    pub tiles_m: usize,
    pub tiles: usize,
}

impl Tiling {
    pub fn new(m: usize, n: usize) -> Tiling {
        let narrow = m <= 32;
        let tiles_m = m.div_ceil(if narrow { 16 } else { 64 });
        Tiling { narrow, tiles_m, tiles: tiles_m * n.div_ceil(TILE_N) }
    }
}
