//! A few numbers side by side, with the arithmetic of one.

use std::array::from_fn;
use std::ops::{Add, Div, Mul, Sub};

use super::Accumulator;

/// `N` numbers of an accumulate type; an operator takes a chunk or one number for all.
#[derive(Clone, Copy)]
pub(crate) struct Chunk<A, const N: usize>(pub [A; N]);

impl<A: Accumulator, const N: usize> Chunk<A, N> {
    #[inline(always)]
    pub fn map(self, f: impl Fn(A) -> A) -> Self {
        Chunk(from_fn(|i| f(self.0[i])))
    }

    #[inline(always)]
    pub fn zip(self, other: Self, f: impl Fn(A, A) -> A) -> Self {
        Chunk(from_fn(|i| f(self.0[i], other.0[i])))
    }

    #[inline(always)]
    pub fn sqrt(self) -> Self {
        self.map(A::sqrt)
    }
}

macro_rules! arithmetic {
    ($($operator:ident $function:ident),*) => {$(
        impl<A: Accumulator, const N: usize> $operator for Chunk<A, N> {
            type Output = Self;
            #[inline(always)]
            fn $function(self, other: Self) -> Self {
                self.zip(other, A::$function)
            }
        }

        impl<A: Accumulator, const N: usize> $operator<A> for Chunk<A, N> {
            type Output = Self;
            #[inline(always)]
            fn $function(self, other: A) -> Self {
                self.map(|v| v.$function(other))
            }
        }
    )*};
}
arithmetic!(Add add, Sub sub, Mul mul, Div div);
