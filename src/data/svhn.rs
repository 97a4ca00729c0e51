//! SVHN, house numbers from street views, cropped: 32x32 colour images of 10 classes.

use std::path::Path;

use super::file::format_error;
use super::{Dataset, Split, mat5};
use crate::error::{Error, Result};
use crate::progress::Progress;

const SHAPE: [usize; 3] = [3, 32, 32];

const EXTRA: &str = "extra_32x32.mat";
const TRAIN: &str = "train_32x32.mat";
const TEST: &str = "test_32x32.mat";

/// Reads `test_32x32.mat` of `dir`, and to train on `extra_32x32.mat` (531,131 images, the published choice), or
/// where that is not there `train_32x32.mat` (73,257). The training part is named `svhn (extra)` or `svhn (train)`,
/// so that tables and plots tell. [`read`] takes any one of the files.
///
/// Errors: [`Error::Io`] where the test file or both others are missing; those of [`read`].
pub fn load(dir: impl AsRef<Path>) -> Result<Split> {
    load_with(dir.as_ref(), &mut Progress::silent())
}

/// [`load`], telling how many of the files were read.
pub(super) fn load_with(dir: &Path, progress: &mut Progress) -> Result<Split> {
    let found = [(EXTRA, "svhn (extra)"), (TRAIN, "svhn (train)")];
    let Some((file, name)) = found.into_iter().find(|(file, _)| dir.join(file).is_file()) else {
        return Err(Error::io(dir, format!("no file {EXTRA} or {TRAIN}, to train on")));
    };
    let test = dir.join(TEST);
    if !test.is_file() {
        return Err(Error::io(dir, format!("no file {TEST}")));
    }
    progress.tell(0, 2)?;
    let train = Dataset { name: name.into(), ..read(dir.join(file))? };
    progress.tell(1, 2)?;
    let test = read(test)?;
    progress.tell(2, 2)?;
    Ok(Split { train, test })
}

/// Whether `dir` holds any of the three files.
pub(super) fn is_in(dir: &Path) -> bool {
    [EXTRA, TRAIN, TEST].iter().any(|file| dir.join(file).is_file())
}

/// Reads one file: `X` `[32, 32, 3, N]` and `y`, N labels, where 10 stands for the digit 0. Named `svhn`; normalised
/// with mean 0.5 and standard deviation 0.5.
///
/// Errors: [`Error::Io`] for a file that cannot be read; [`Error::Format`]
/// for one that is no MAT-file of version 5 to 7, is truncated or damaged, or holds images of another size, another
/// number of labels or labels outside 1 to 10.
pub fn read(path: impl AsRef<Path>) -> Result<Dataset> {
    let path = path.as_ref();
    let [x, y] = mat5::read(path, ["X", "y"])?;
    let count = match x.dims[..] {
        [32, 32, 3, count] => count,
        // MATLAB keeps no dimension of 1 at the end.
        [32, 32, 3] => 1,
        _ => {
            let message = format!("{}: X is {:?}, expected [32, 32, 3, N]", x.place(0), x.dims);
            return Err(format_error(path, message));
        }
    };
    if y.values.len() != count {
        let message = format!("{}: {} labels in y, but {count} images in X", y.place(0), y.values.len());
        return Err(format_error(path, message));
    }
    if let Some(i) = y.values.iter().position(|label| !(1..=10).contains(label)) {
        let message = format!("{}: expected a label of 1 to 10, got {}", y.place(i), y.values[i]);
        return Err(format_error(path, message));
    }
    let mut images = x.values;
    images.chunks_exact_mut(32 * 32).for_each(transpose);
    let labels = y.values.iter().map(|label| u16::from(label % 10)).collect();
    Dataset::new("svhn", images, labels, SHAPE, 10)
}

/// Columns become rows.
fn transpose(plane: &mut [u8]) {
    for y in 0..32 {
        for x in 0..y {
            plane.swap(32 * y + x, 32 * x + y);
        }
    }
}
