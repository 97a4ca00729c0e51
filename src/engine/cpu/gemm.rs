//! A safe face for the `gemm` crate: one thread, a fixed order of summation for each shape.

use crate::dtype::Accumulator;

/// A matrix inside a slice: element `(i, j)` lies at `i * row_stride + j * column_stride`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, A> {
    data: &'a [A],
    strides: [usize; 2],
}

impl<'a, A> Matrix<'a, A> {
    /// Rows that begin every `stride` elements.
    pub fn rows(data: &'a [A], stride: usize) -> Matrix<'a, A> {
        Matrix { data, strides: [stride, 1] }
    }

    /// The transpose.
    pub fn t(self) -> Matrix<'a, A> {
        Matrix { data: self.data, strides: [self.strides[1], self.strides[0]] }
    }
}

/// `target = a b`, or `target += a b` with `accumulate`; a is `m` x `k`, b is `k` x `n`, the `m` rows of `target`
/// begin every `stride` elements.
#[allow(unsafe_code)]
pub(super) fn gemm<A: Accumulator>(
    [m, n, k]: [usize; 3],
    target: &mut [A],
    stride: usize,
    accumulate: bool,
    a: Matrix<A>,
    b: Matrix<A>,
) {
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            target.chunks_mut(stride).take(m).for_each(|row| row[..n].fill(A::ZERO));
        }
        return;
    }
    let fits = |x: &Matrix<A>, rows: usize, columns: usize| {
        rows == 0 || columns == 0 || (rows - 1) * x.strides[0] + (columns - 1) * x.strides[1] < x.data.len()
    };
    let target_fits = stride >= n && (m - 1) * stride + n <= target.len();
    assert!(target_fits && fits(&a, m, k) && fits(&b, k, n), "matrix out of bounds");
    // SAFETY: the assertion keeps every address of the three matrices inside its slice, and `target` is
    // borrowed exclusively, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            target.as_mut_ptr(),
            1,
            stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.strides[1] as isize,
            a.strides[0] as isize,
            b.data.as_ptr(),
            b.strides[1] as isize,
            b.strides[0] as isize,
            if accumulate { A::from_f64(1.0) } else { A::ZERO },
            A::from_f64(1.0),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
