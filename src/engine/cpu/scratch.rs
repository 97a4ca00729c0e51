//! Working memory of the kernels, kept for reuse: after the first steps nothing is allocated.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::meter::Meter;

/// A type whose vectors are kept for reuse.
pub(super) trait Pooled: Copy + Default + 'static {
    /// Those of this thread: of any length, and never shrunk.
    fn with_own<R>(f: impl FnOnce(&mut [Vec<Vec<Self>>; 2]) -> R) -> R;
    /// Those of all threads of an engine.
    fn shared(pool: &SharedPool) -> &Mutex<Vec<Vec<Self>>>;
}

/// Vectors for whole operators, of which an engine runs one at a time, on any of its threads.
#[derive(Default)]
pub(super) struct SharedPool {
    meter: Arc<Meter>,
    f32: Mutex<Vec<Vec<f32>>>,
    f64: Mutex<Vec<Vec<f64>>>,
}

impl SharedPool {
    /// Its vectors, and those of its threads, are counted by `meter`.
    pub fn new(meter: Arc<Meter>) -> SharedPool {
        SharedPool { meter, ..Default::default() }
    }

    /// Serves this thread from now on.
    pub fn attach(self: Arc<SharedPool>) {
        SHARED.set(Some(self));
    }
}

thread_local!(static SHARED: RefCell<Option<Arc<SharedPool>>> = const { RefCell::new(None) });

macro_rules! pooled {
    ($($t:ident),*) => {$(
        impl Pooled for $t {
            fn with_own<R>(f: impl FnOnce(&mut [Vec<Vec<$t>>; 2]) -> R) -> R {
                thread_local! {
                    static OWN: RefCell<[Vec<Vec<$t>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
                }
                OWN.with_borrow_mut(f)
            }

            fn shared(pool: &SharedPool) -> &Mutex<Vec<Vec<$t>>> {
                &pool.$t
            }
        }
    )*};
}
pooled!(f32, f64);

/// Where a vector goes back to.
#[derive(Clone, Copy)]
enum Pool {
    Own,
    OwnGrowing,
    Shared,
}

impl Pool {
    fn with<A: Pooled, R>(self, f: impl FnOnce(&mut Vec<Vec<A>>) -> R) -> R {
        match self {
            Pool::Own => A::with_own(|[own, _]| f(own)),
            Pool::OwnGrowing => A::with_own(|[_, growing]| f(growing)),
            Pool::Shared => SHARED.with_borrow(|shared| match shared {
                Some(pool) => f(&mut A::shared(pool).lock().unwrap_or_else(PoisonError::into_inner)),
                // Kernels that are tested alone.
                None => A::with_own(|[_, growing]| f(growing)),
            }),
        }
    }
}

/// A vector on loan; its contents are arbitrary.
pub(super) struct Scratch<A: Pooled> {
    vec: Vec<A>,
    /// Its capacity when it was lent.
    counted: usize,
    pool: Pool,
}

impl<A: Pooled> Scratch<A> {
    /// For a task, of any length.
    pub fn take() -> Scratch<A> {
        Scratch::take_from(Pool::Own)
    }

    /// For a task and [`Scratch::aligned`]: of vectors that never shrink, which would mean to fill them again.
    pub fn growing() -> Scratch<A> {
        Scratch::take_from(Pool::OwnGrowing)
    }

    /// For an operator and [`Scratch::aligned`], likewise.
    pub fn shared() -> Scratch<A> {
        Scratch::take_from(Pool::Shared)
    }

    fn take_from(pool: Pool) -> Scratch<A> {
        let vec = pool.with(|vectors| vectors.pop()).unwrap_or_default();
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
        SHARED.with_borrow(|shared| shared.iter().for_each(|pool| pool.meter.grow(grown)));
        self.pool.with(|vectors| vectors.push(vec));
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
