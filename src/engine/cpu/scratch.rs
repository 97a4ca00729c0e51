//! Working memory of the kernels: kept by each thread, so that a step allocates nothing after the first.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::engine::meter::Meter;

/// A type whose vectors are kept for reuse.
pub(super) trait Pooled: Copy + Default + 'static {
    fn with_pools<R>(f: impl FnOnce(&mut [Vec<Vec<Self>>; 2]) -> R) -> R;
}

macro_rules! pooled {
    ($($t:ty),*) => {$(
        impl Pooled for $t {
            fn with_pools<R>(f: impl FnOnce(&mut [Vec<Vec<$t>>; 2]) -> R) -> R {
                thread_local! {
                    static POOLS: RefCell<[Vec<Vec<$t>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
                }
                POOLS.with_borrow_mut(f)
            }
        }
    )*};
}
pooled!(f32, f64);

thread_local!(static METER: RefCell<Option<Arc<Meter>>> = const { RefCell::new(None) });

/// Lets `meter` count the working memory of this thread from now on.
pub(super) fn count_with(meter: Arc<Meter>) {
    METER.set(Some(meter));
}

/// A vector on loan from this thread's pool; its contents are arbitrary.
pub(super) struct Scratch<A: Pooled> {
    vec: Vec<A>,
    /// Its capacity when it was lent.
    counted: usize,
    pool: usize,
}

impl<A: Pooled> Scratch<A> {
    /// Of any length.
    pub fn take() -> Scratch<A> {
        Scratch::take_from(0)
    }

    /// For [`Scratch::aligned`]: of vectors that never shrink, which would mean to fill them again.
    pub fn growing() -> Scratch<A> {
        Scratch::take_from(1)
    }

    fn take_from(pool: usize) -> Scratch<A> {
        let vec = A::with_pools(|pools| pools[pool].pop()).unwrap_or_default();
        Scratch { counted: vec.capacity(), vec, pool }
    }

    /// `len` elements from a multiple of 64 bytes on.
    pub fn aligned(&mut self, len: usize) -> &mut [A] {
        const ALIGN: usize = 64;
        let room = len + ALIGN / size_of::<A>();
        if self.vec.len() < room {
            self.vec.resize(room, A::default());
        }
        let first = self.vec.as_ptr().align_offset(ALIGN);
        &mut self.vec[first..][..len]
    }

    /// `len` zeros.
    pub fn zeros(len: usize) -> Scratch<A> {
        let mut scratch = Scratch::take();
        scratch.clear();
        scratch.resize(len, A::default());
        scratch
    }
}

impl<A: Pooled> Drop for Scratch<A> {
    fn drop(&mut self) {
        let vec = std::mem::take(&mut self.vec);
        let grown = vec.capacity().saturating_sub(self.counted) * size_of::<A>();
        METER.with_borrow(|meter| meter.iter().for_each(|meter| meter.grow(grown)));
        A::with_pools(|pools| pools[self.pool].push(vec));
    }
}

impl<A: Pooled> Deref for Scratch<A> {
    type Target = Vec<A>;
    fn deref(&self) -> &Vec<A> {
        &self.vec
    }
}

impl<A: Pooled> DerefMut for Scratch<A> {
    fn deref_mut(&mut self) -> &mut Vec<A> {
        &mut self.vec
    }
}
