//! Where the elements of a matrix product go.

use std::marker::PhantomData;
use std::ops::Range;

use crate::dtype::Element;

/// Equally spaced indices of one axis.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub first: usize,
    pub step: usize,
    pub count: usize,
}

impl Grid {
    /// All of `len`.
    pub fn all(len: usize) -> Grid {
        Grid { first: 0, step: 1, count: len }
    }

    fn fits(&self, len: usize) -> bool {
        self.step > 0 && (self.count == 0 || self.first + (self.count - 1) * self.step < len)
    }
}

/// How the columns of a product stand for pixels of images: those between the pixels go nowhere.
#[derive(Clone, Copy)]
pub(super) struct Raster {
    /// Columns from one line of pixels to the next one.
    pub line: usize,
    /// Columns from one image to the next one.
    pub image: usize,
}

/// How the columns of a product stand for the elements of a matrix's row.
#[derive(Clone, Copy)]
pub(super) enum Arrangement {
    /// One by one.
    Dense,
    /// `run` elements and columns that go nowhere, together `line` columns, again and again.
    Gapped { run: usize, line: usize },
    /// A row `[count, lines]` in panels: column (panel of `width`, line, lane) is element (panel `width` + lane, line).
    Interleaved { width: usize, lines: usize },
}

impl Arrangement {
    /// Columns for rows of `n` elements.
    pub fn columns(self, n: usize) -> usize {
        match self {
            Arrangement::Dense => n,
            Arrangement::Gapped { run, line } => n / run * line,
            Arrangement::Interleaved { width, lines } => (n / lines).next_multiple_of(width) * lines,
        }
    }
}

/// Distances in a target.
#[derive(Clone, Copy)]
struct Layout {
    part: usize,
    group: usize,
    row: usize,
    columns: Columns,
}

#[derive(Clone, Copy)]
enum Columns {
    Runs(Runs),
    Interleaved(Interleaved),
}

#[derive(Clone, Copy)]
struct Runs {
    image: usize,
    line: usize,
    step: usize,
    first: usize,
    /// Lines of an image, pixels of a line.
    lines: usize,
    pixels: usize,
    raster: Raster,
}

/// Column (panel of `width`, line, lane) lies at (panel `width` + lane) `stride` + line, where there are so many.
#[derive(Clone, Copy)]
pub(super) struct Interleaved {
    pub width: usize,
    pub lines: usize,
    pub count: usize,
    pub stride: usize,
}

impl Runs {
    fn iter(self, range: Range<usize>) -> impl Iterator<Item = (usize, usize, usize)> {
        let Runs { image, line, step, first, lines, pixels, raster } = self;
        let mut column = range.start;
        std::iter::from_fn(move || {
            while column < range.end {
                let (n, within) = (column / raster.image, column % raster.image);
                let (i, j) = (within / raster.line, within % raster.line);
                if i >= lines {
                    column += raster.image - within;
                } else if j >= pixels {
                    column += (raster.line - j).min(raster.image - within);
                } else {
                    let (start, len) = (column, (pixels - j).min(range.end - column));
                    column += len;
                    return Some((start, first + n * image + i * line + j * step, len));
                }
            }
            None
        })
    }
}

/// A tensor that receives the elements of a product from tasks that run at the same time.
pub(super) struct Target<'a, T> {
    data: *mut T,
    len: usize,
    columns: usize,
    layout: Layout,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: the pointer is used in `write` alone, whose callers write to places of their own.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Target<'_, T> {}

impl<'a, T: Element> Target<'a, T> {
    /// `[parts, groups, M, N]`
    pub fn matrix(
        data: &'a mut [T],
        [parts, groups, m, n]: [usize; 4],
        arrangement: Arrangement,
    ) -> Target<'a, T> {
        assert_eq!(data.len(), parts * groups * m * n, "the size of the target");
        let columns = arrangement.columns(n);
        let runs = |run: usize, line: usize| {
            assert!(run <= line && n.is_multiple_of(run.max(1)), "a row of whole runs");
            let raster = Raster { line, image: columns };
            let lines = n / run.max(1);
            Columns::Runs(Runs { image: 0, line: run, step: 1, first: 0, lines, pixels: run, raster })
        };
        let kind = match arrangement {
            Arrangement::Dense => runs(n, n),
            Arrangement::Gapped { run, line } => runs(run, line),
            Arrangement::Interleaved { width, lines } => {
                assert!(n.is_multiple_of(lines), "a row of whole lines");
                Columns::Interleaved(Interleaved { width, lines, count: n / lines, stride: lines })
            }
        };
        let layout = Layout { part: groups * m * n, group: m * n, row: n, columns: kind };
        Target { data: data.as_mut_ptr(), len: data.len(), columns, layout, borrow: PhantomData }
    }

    /// `[images, groups, M, plane]`, whose images are interleaved in panels of `width`.
    pub fn interleaved_planes(
        data: &'a mut [T],
        [images, groups, m]: [usize; 3],
        plane: usize,
        width: usize,
    ) -> Target<'a, T> {
        assert_eq!(data.len(), images * groups * m * plane, "the size of the target");
        let kind = Interleaved { width, lines: plane, count: images, stride: groups * m * plane };
        let columns = images.next_multiple_of(width) * plane;
        let layout = Layout { part: 0, group: m * plane, row: plane, columns: Columns::Interleaved(kind) };
        Target { data: data.as_mut_ptr(), len: data.len(), columns, layout, borrow: PhantomData }
    }

    /// `[images, groups, M, H, W]`, of each plane the rows and columns of a grid.
    pub fn planes(
        data: &'a mut [T],
        [images, groups, m]: [usize; 3],
        [h, w]: [usize; 2],
        [rows, columns]: [Grid; 2],
        raster: Raster,
    ) -> Target<'a, T> {
        assert_eq!(data.len(), images * groups * m * h * w, "the size of the target");
        assert!(rows.fits(h) && columns.fits(w), "the grid lies in the plane");
        let needed = rows.count.saturating_sub(1) * raster.line + columns.count;
        assert!(columns.count <= raster.line && needed <= raster.image, "the grid lies in the raster");
        let runs = Runs {
            image: groups * m * h * w,
            line: rows.step * w,
            step: columns.step,
            first: rows.first * w + columns.first,
            lines: rows.count,
            pixels: columns.count,
            raster,
        };
        // Lines without anything between them are one.
        let joined = columns.step == 1 && runs.line == columns.count && raster.line == columns.count;
        let runs = match joined {
            true => Runs {
                lines: 1,
                pixels: rows.count * columns.count,
                raster: Raster { line: raster.image, ..raster },
                ..runs
            },
            false => runs,
        };
        let layout = Layout { part: 0, group: m * h * w, row: h * w, columns: Columns::Runs(runs) };
        let (len, columns) = (data.len(), images * raster.image);
        Target { data: data.as_mut_ptr(), len, columns, layout, borrow: PhantomData }
    }

    /// Columns of the product.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The first element of a row.
    pub fn row(&self, part: usize, group: usize, row: usize) -> usize {
        part * self.layout.part + group * self.layout.group + row * self.layout.row
    }

    /// The interleaving of the columns, if there is one.
    pub fn interleaved(&self) -> Option<Interleaved> {
        match self.layout.columns {
            Columns::Interleaved(interleaved) => Some(interleaved),
            Columns::Runs(_) => None,
        }
    }

    /// The columns in `range` that go somewhere, in runs: (first column, its distance from the row's first element,
    /// number). None of interleaved ones.
    pub fn runs(&self, range: Range<usize>) -> impl Iterator<Item = (usize, usize, usize)> + use<T> {
        let runs = match self.layout.columns {
            Columns::Runs(runs) => Some(runs),
            Columns::Interleaved(_) => None,
        };
        runs.into_iter().flat_map(move |runs| runs.iter(range.clone()))
    }

    /// Distance between the elements of a run.
    fn step(&self) -> usize {
        match self.layout.columns {
            Columns::Runs(runs) => runs.step,
            Columns::Interleaved(_) => 1,
        }
    }

    /// Rounds the values of a run to their places from `at` on.
    ///
    /// # Safety
    ///
    /// Nobody reads or writes these elements of the product meanwhile.
    #[allow(unsafe_code)]
    pub unsafe fn write(&self, at: usize, values: &[T::Acc], scratch: &mut Vec<T::Acc>) {
        let step = self.step();
        assert!(values.is_empty() || at + (values.len() - 1) * step < self.len, "inside the target");
        if step == 1 {
            // SAFETY: in bounds by the assertion. Elements of the product have places of their own, because the
            // constructors number those of a tensor without repetition; the caller promises the rest.
            let to = unsafe { std::slice::from_raw_parts_mut(self.data.add(at), values.len()) };
            T::demote_into(to, scratch, |to| to.copy_from_slice(values));
        } else {
            for (i, &value) in values.iter().enumerate() {
                // SAFETY: as above.
                unsafe { self.data.add(at + i * step).write(T::from_acc(value)) };
            }
        }
    }
}
