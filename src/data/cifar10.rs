//! CIFAR-10 in its binary version: 32x32 colour images of 10 classes.

use std::path::{Path, PathBuf};

use super::file::{Source, ten_classes};
use super::{Augmentation, Dataset, Split};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Mean by channel (red, green, blue) that published CIFAR-10 trainings normalise with.
pub const MEAN: [f64; 3] = [0.4914, 0.4822, 0.4465];
/// Standard deviation by channel that goes with [`MEAN`].
pub const STD: [f64; 3] = [0.2023, 0.1994, 0.2010];
/// The usual changes of training images: a random crop of the image padded by 4, and a horizontal flip.
pub const AUGMENTATION: Augmentation =
    Augmentation { resized_crop: None, crop_padding: 4, horizontal_flip: true };

/// Images in each file of the original.
pub const IMAGES_PER_FILE: usize = 10_000;

const SHAPE: [usize; 3] = [3, 32, 32];
/// A label, then red, green and blue, row by row.
const RECORD: usize = 1 + 3 * 32 * 32;
const FOLDER: &str = "cifar-10-batches-bin";
const TEST: &str = "test_batch.bin";

/// Reads `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin` in `dir` or its sub-folder
/// `cifar-10-batches-bin`, normalised with [`MEAN`] and [`STD`].
///
/// Training batches that are not there are left out. The training part is named `cifar10` where all five are
/// there, else after those that are, for instance `cifar10 (batches 1, 3 of 5)`, so that tables and plots
/// tell.
///
/// Errors: [`Error::Io`] where the test batch or all training batches are missing, or a file
/// cannot be read; [`Error::Format`] for a file that is not exactly [`IMAGES_PER_FILE`]
/// records long, or has a label above 9.
pub fn load(dir: impl AsRef<Path>) -> Result<Split> {
    load_with(dir.as_ref(), &mut Progress::silent())
}

/// [`load`], telling how many of the files were read.
pub(super) fn load_with(dir: &Path, progress: &mut Progress) -> Result<Split> {
    let Some(folder) = folder(dir) else {
        let message = format!("no file {TEST} here or in {FOLDER} (the binary version of CIFAR-10)");
        return Err(Error::io(dir, message));
    };
    let path = |batch: &usize| folder.join(train_file(*batch));
    let batches: Vec<usize> = (1..=5).filter(|batch| path(batch).is_file()).collect();
    let name = match batches.as_slice() {
        [] => return Err(Error::io(&folder, "none of the files data_batch_1.bin to data_batch_5.bin")),
        [one] => format!("cifar10 (batch {one} of 5)"),
        [_, _, _, _, _] => "cifar10".to_string(),
        some => {
            let numbers: Vec<String> = some.iter().map(usize::to_string).collect();
            format!("cifar10 (batches {} of 5)", numbers.join(", "))
        }
    };
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    let files = batches.len() as u64 + 1;
    for (done, batch) in (0..).zip(&batches) {
        progress.tell(done, files)?;
        read_into(&path(batch), IMAGES_PER_FILE, &mut images, &mut labels)?;
    }
    progress.tell(files - 1, files)?;
    let train = dataset(name, images, labels)?;
    let test = read(folder.join(TEST), IMAGES_PER_FILE)?;
    progress.tell(files, files)?;
    Ok(Split { train, test })
}

/// `dir` or its sub-folder, where any of the six files is.
pub(super) fn folder(dir: &Path) -> Option<PathBuf> {
    let names = || (1..=5).map(train_file).chain([TEST.into()]);
    let folders = [dir.to_path_buf(), dir.join(FOLDER)];
    folders.into_iter().find(|folder| names().any(|name| folder.join(name).is_file()))
}

fn train_file(batch: usize) -> String {
    format!("data_batch_{batch}.bin")
}

/// Reads one file of exactly `count` records, gzipped or not: `IMAGES_PER_FILE` in the original.
///
/// Errors: as for [`load`]; [`Error::InvalidArgument`] for a `count` of more bytes than 2^64.
pub fn read(path: impl AsRef<Path>, count: usize) -> Result<Dataset> {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    read_into(path.as_ref(), count, &mut images, &mut labels)?;
    dataset("cifar10".into(), images, labels)
}

fn dataset(name: String, images: Vec<u8>, labels: Vec<u16>) -> Result<Dataset> {
    Dataset::new(name, images, labels, SHAPE, 10)?.with_normalization(&MEAN, &STD)
}

fn read_into(path: &Path, count: usize, images: &mut Vec<u8>, labels: &mut Vec<u16>) -> Result<()> {
    let what = format!("{count} images of {RECORD} bytes");
    let Some(len) = (count as u64).checked_mul(RECORD as u64) else {
        return Err(Error::invalid("count", "records of fewer than 2^64 bytes", count));
    };
    let bytes = Source::open(path)?.read_rest(len, &what)?;
    let records = || bytes.chunks_exact(RECORD);
    let classes: Vec<u8> = records().map(|record| record[0]).collect();
    labels.extend(ten_classes(path, &classes, |i| i * RECORD)?);
    images.reserve_exact(count * (RECORD - 1));
    records().for_each(|record| images.extend_from_slice(&record[1..]));
    Ok(())
}
