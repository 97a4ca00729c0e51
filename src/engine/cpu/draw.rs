//! Random words for the elements of a tensor.

use rand_philox::philox4x32_10;

/// What a draw depends on besides its seed and element: the place in the network and the number of optimizer steps.
#[derive(Clone, Copy)]
pub(super) struct Draw {
    pub site: u32,
    pub step: u32,
}

impl Draw {
    /// Words of elements `4 quad .. 4 quad + 4` for one user of the seed: Philox4x32-10 with the counter
    /// `[quad, site, step, user]` and the seed as key, low word first.
    #[inline(always)]
    pub fn words(self, seed: u64, quad: usize, user: u32) -> [u32; 4] {
        philox4x32_10([quad as u32, self.site, self.step, user], [seed as u32, (seed >> 32) as u32])
    }
}
