//! Working memory of the kernels: kept by each thread, so that a step allocates nothing after the first.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// A type whose vectors are kept for reuse.
pub(super) trait Pooled: Copy + Default + 'static {
    fn with_pool<R>(f: impl FnOnce(&mut Vec<Vec<Self>>) -> R) -> R;
}

macro_rules! pooled {
    ($($t:ty),*) => {$(
        impl Pooled for $t {
            fn with_pool<R>(f: impl FnOnce(&mut Vec<Vec<$t>>) -> R) -> R {
                thread_local!(static POOL: RefCell<Vec<Vec<$t>>> = const { RefCell::new(Vec::new()) });
                POOL.with_borrow_mut(f)
            }
        }
    )*};
}
pooled!(f32, f64);

/// A vector on loan from this thread's pool; its contents are arbitrary.
pub(super) struct Scratch<A: Pooled>(Vec<A>);

impl<A: Pooled> Scratch<A> {
    /// Of any length.
    pub fn take() -> Scratch<A> {
        Scratch(A::with_pool(|pool| pool.pop()).unwrap_or_default())
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
        let vec = std::mem::take(&mut self.0);
        A::with_pool(|pool| pool.push(vec));
    }
}

impl<A: Pooled> Deref for Scratch<A> {
    type Target = Vec<A>;
    fn deref(&self) -> &Vec<A> {
        &self.0
    }
}

impl<A: Pooled> DerefMut for Scratch<A> {
    fn deref_mut(&mut self) -> &mut Vec<A> {
        &mut self.0
    }
}
