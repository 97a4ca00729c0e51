use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::handle::{self, Handle, Object};
#[cfg(not(feature = "lab"))]
use super::no_lab::{self as source, Augmentation, Dataset, ResizedCrop, image_folder::ImageFolderOptions};
use super::options::{self, Growable};
use super::progress::{listener, tb_progress_callback};
use super::status::tb_status;
use super::view::{Borrows, tb_view_mut};
use super::zoo::sample_shape;
use super::{Failure, copy_text, guard, non_null, non_null_mut, string};
#[cfg(feature = "lab")]
use crate::data::{self as source, Augmentation, Dataset, ResizedCrop, image_folder::ImageFolderOptions};
use crate::error::Error;
use crate::progress::Progress;

/// Labelled images, 8 bits a channel, in host memory, or photos whose files each batch reads. Created by `tb_dataset_open`,
/// `tb_dataset_digits`, `tb_dataset_shapes` or `tb_dataset_create`, given back by `tb_dataset_free`. It never changes. In a
/// build without the feature `lab` those four give `TB_STATUS_UNSUPPORTED`.
pub struct tb_dataset {
    _opaque: [u8; 0],
}

impl Handle for tb_dataset {
    const NAME: &'static str = "tb_dataset";
    type Target = Arc<Dataset>;
    fn open(object: Object) -> Option<Self::Target> {
        match object {
            Object::Dataset(dataset) => Some(dataset),
            _ => None,
        }
    }
}

/// How to read a data set; `tb_dataset_options_init` sets the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_dataset_options {
    /// `sizeof(tb_dataset_options)`.
    pub struct_size: usize,
    /// Photos in folders: height and width of the images, 1 to 65535; default 224.
    pub image_size: usize,
    /// Photos in folders: takes the first so many of each class, by file name; 0, the default, takes all.
    pub limit_per_class: usize,
    /// Keeps the first so many images of each part; 0, the default, keeps all.
    pub limit: usize,
    /// Photos in folders: what the shorter side becomes before the centre is cut out, at least `image_size`; 0, the default:
    /// `image_size`. ImageNet is usually tested with 256 for 224.
    pub resize: usize,
    /// Photos in folders: not 0 reads the files anew for each batch, instead of all of them once into memory; default 0.
    /// A `resized_crop` then cuts from the whole photo instead of the centre that is in memory.
    pub from_files: i32,
    /// 0.
    pub reserved: i32,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_dataset_options {
    const FIRST_SIZE: usize = 32;
    fn defaults() -> Self {
        tb_dataset_options {
            struct_size: size_of::<Self>(),
            image_size: 224,
            limit_per_class: 0,
            limit: 0,
            resize: 0,
            from_files: 0,
            reserved: 0,
        }
    }
}

/// What a data set is; filled by `tb_dataset_info`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_dataset_properties {
    /// `sizeof(tb_dataset_properties)`; set by the caller.
    pub struct_size: usize,
    /// Number of images.
    pub count: usize,
    /// Number of classes.
    pub classes: usize,
    /// `[C, H, W]` of an image.
    pub shape: [i64; 3],
    /// Its name; its first 127 bytes.
    pub name: [c_char; 128],
    /// CRC-32 of pixels, labels and normalisation: tells two data sets of one name apart.
    pub fingerprint: u32,
    /// 0.
    pub reserved: u32,
    /// What batches subtract from pixels of 0 to 1, of the first four channels.
    pub mean: [f64; 4],
    /// What batches then divide by, of the first four channels.
    pub std: [f64; 4],
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_dataset_properties {
    const FIRST_SIZE: usize = 248;
    fn defaults() -> Self {
        tb_dataset_properties {
            struct_size: size_of::<Self>(),
            count: 0,
            classes: 0,
            shape: [0; 3],
            name: [0; 128],
            fingerprint: 0,
            reserved: 0,
            mean: [0.0; 4],
            std: [0.0; 4],
        }
    }
}

/// Random changes of training images, as torchvision's RandomResizedCrop, RandomCrop with padding and RandomHorizontalFlip,
/// in this order; what happens to an image depends on seed, epoch and its index alone. `tb_augmentation_init` sets the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_augmentation {
    /// `sizeof(tb_augmentation)`.
    pub struct_size: usize,
    /// Black pixels added on each side before a part of the image's size is cut out, below height and width; default 0.
    pub crop_padding: usize,
    /// Not 0: mirrors every second image, drawn at random; default 0.
    pub horizontal_flip: i32,
    /// Not 0: takes a random rectangle of the image, resized to the size of the data set's images; default 0.
    pub resized_crop: i32,
    /// Seed; default 0.
    pub seed: u64,
    /// Epoch: other draws in each; default 0.
    pub epoch: u64,
    /// Of `resized_crop`: least and largest share of the area, in (0, 1], uniform between them; default 0.08 and 1.
    pub scale: [f64; 2],
    /// Of `resized_crop`: least and largest ratio of width to height, above 0, its logarithm uniform; default 3/4 and 4/3.
    pub ratio: [f64; 2],
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_augmentation {
    const FIRST_SIZE: usize = 40;
    fn defaults() -> Self {
        tb_augmentation {
            struct_size: size_of::<Self>(),
            crop_padding: 0,
            horizontal_flip: 0,
            resized_crop: 0,
            seed: 0,
            epoch: 0,
            scale: ResizedCrop::USUAL.scale,
            ratio: ResizedCrop::USUAL.ratio,
        }
    }
}

impl tb_augmentation {
    pub(super) fn changes(&self) -> Augmentation {
        let resized_crop = ResizedCrop { scale: self.scale, ratio: self.ratio };
        Augmentation {
            resized_crop: (self.resized_crop != 0).then_some(resized_crop),
            crop_padding: self.crop_padding,
            horizontal_flip: self.horizontal_flip != 0,
        }
    }
}

/// The data set behind a handle.
pub(super) fn get(dataset: *const tb_dataset) -> Result<Arc<Dataset>, Failure> {
    handle::get(dataset, "dataset")
}

fn create(dataset: Dataset) -> *mut tb_dataset {
    handle::create(Object::Dataset(Arc::new(dataset)))
}

/// Fills `options` with the defaults. `struct_size` is `sizeof(tb_dataset_options)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_dataset_options_init(
    options: *mut tb_dataset_options,
    struct_size: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_dataset_options_init", || unsafe { options::init(options, struct_size, "options") })
}

/// Fills `augmentation` with the defaults. `struct_size` is `sizeof(tb_augmentation)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_augmentation_init(
    augmentation: *mut tb_augmentation,
    struct_size: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_augmentation_init", || unsafe { options::init(augmentation, struct_size, "augmentation") })
}

/// Reads whichever data set a folder holds: MNIST or Fashion-MNIST (IDX; told by `fashion` in the name of the folder or of
/// the one that it is in), CIFAR-10's binary version, SVHN (`*_32x32.mat`; trains on `extra`, or `train` where that is not
/// there), or photos (JPEG, PNG) in one folder per class below `train` and `val` or `test`.
///
/// @param path       the folder
/// @param options    NULL for the defaults
/// @param progress   hears of files read; NULL: nobody
/// @param user_data  passed to progress
/// @param train      out: the training part; free it with `tb_dataset_free`. NULL on failure.
/// @param test       out: the test or validation part, likewise
/// @return `TB_STATUS_IO` where there is no such folder, no data set in it, or a file cannot be read; `TB_STATUS_FORMAT`
///         for a damaged file; `TB_STATUS_CANCELLED`; `TB_STATUS_UNSUPPORTED` in a build without the feature `lab`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_dataset_open(
    path: *const c_char,
    options: *const tb_dataset_options,
    progress: tb_progress_callback,
    user_data: *mut c_void,
    train: *mut *mut tb_dataset,
    test: *mut *mut tb_dataset,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_dataset_open", || unsafe {
        let train = non_null_mut(train, "train")?;
        *train = std::ptr::null_mut();
        let test = non_null_mut(test, "test")?;
        *test = std::ptr::null_mut();
        let path = string(path, "path")?;
        let o = options::read(options, "options")?;
        let mut listener = listener(progress, user_data);
        let photos = ImageFolderOptions {
            size: o.image_size,
            resize: (o.resize != 0).then_some(o.resize),
            limit_per_class: (o.limit_per_class != 0).then_some(o.limit_per_class),
            from_files: o.from_files != 0,
        };
        let split = source::load_with(path, &photos, &mut Progress::new(&mut listener))?;
        let limit = if o.limit == 0 { usize::MAX } else { o.limit };
        *train = create(split.train.take(limit));
        *test = create(split.test.take(limit));
        Ok(())
    })
}

/// Hands out what `draw` makes.
///
/// # Safety
///
/// As the header states it for the callback.
unsafe fn drawn(
    dataset: &mut *mut tb_dataset,
    progress: tb_progress_callback,
    user_data: *mut c_void,
    draw: impl FnOnce(&mut Progress) -> crate::Result<source::Dataset>,
) -> Result<(), Failure> {
    *dataset = std::ptr::null_mut();
    // SAFETY: the caller's promise.
    let mut listener = unsafe { listener(progress, user_data) };
    *dataset = create(draw(&mut Progress::new(&mut listener))?);
    Ok(())
}

/// Draws digits `[1, 28, 28]`, a stand-in for MNIST that needs no file. Image i depends on the seed and i alone; take
/// disjoint seeds for training and testing.
///
/// @param count      number of images
/// @param seed       seed
/// @param progress   hears of images drawn; NULL: nobody
/// @param user_data  passed to progress
/// @param dataset    out: the handle; free it with `tb_dataset_free`. NULL on failure.
/// @return `TB_STATUS_CANCELLED`, `TB_STATUS_OUT_OF_MEMORY`; `TB_STATUS_UNSUPPORTED` in a build without the feature `lab`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_dataset_digits(
    count: usize,
    seed: u64,
    progress: tb_progress_callback,
    user_data: *mut c_void,
    dataset: *mut *mut tb_dataset,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_dataset_digits", || unsafe {
        let dataset = non_null_mut(dataset, "dataset")?;
        drawn(dataset, progress, user_data, |progress| source::synthetic::digits_with(count, seed, progress))
    })
}

/// Draws coloured shapes `[3, 32, 32]` of ten classes, a stand-in for CIFAR-10 that needs no file. Image i depends on the
/// seed and i alone; take disjoint seeds for training and testing.
///
/// @param count      number of images
/// @param seed       seed
/// @param progress   hears of images drawn; NULL: nobody
/// @param user_data  passed to progress
/// @param dataset    out: the handle; free it with `tb_dataset_free`. NULL on failure.
/// @return `TB_STATUS_CANCELLED`, `TB_STATUS_OUT_OF_MEMORY`; `TB_STATUS_UNSUPPORTED` in a build without the feature `lab`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_dataset_shapes(
    count: usize,
    seed: u64,
    progress: tb_progress_callback,
    user_data: *mut c_void,
    dataset: *mut *mut tb_dataset,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_dataset_shapes", || unsafe {
        let dataset = non_null_mut(dataset, "dataset")?;
        drawn(dataset, progress, user_data, |progress| source::synthetic::shapes_with(count, seed, progress))
    })
}

/// A data set of the caller's images, which are copied; batches of it have mean 0.5 and standard deviation 0.5 in each
/// channel.
///
/// @param name     what `tb_dataset_info` calls it
/// @param images   pixels `[count, C, H, W]`, 0 to 255
/// @param shape    `[C, H, W]`, 3 numbers
/// @param labels   `count` class numbers
/// @param count    number of images
/// @param classes  number of classes, at most 65536
/// @param dataset  out: the handle; free it with `tb_dataset_free`. NULL on failure.
/// @return `TB_STATUS_UNSUPPORTED` in a build without the feature `lab`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_dataset_create(
    name: *const c_char,
    images: *const u8,
    shape: *const i64,
    labels: *const i64,
    count: usize,
    classes: usize,
    dataset: *mut *mut tb_dataset,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_dataset_create", || unsafe {
        let dataset = non_null_mut(dataset, "dataset")?;
        *dataset = std::ptr::null_mut();
        let name = string(name, "name")?;
        let shape = sample_shape(*non_null(shape.cast::<[i64; 3]>(), "shape")?, "shape")?;
        let pixels = shape.iter().try_fold(count, |n, &d| n.checked_mul(d));
        let pixels =
            pixels.ok_or_else(|| Error::invalid("count", "a size that fits the address space", count))?;
        let mut borrows = Borrows::default();
        let labels = borrows.array(labels, count, "labels")?;
        let images = borrows.array(images, pixels, "images")?;
        let mut numbers = Vec::new();
        for (i, &label) in labels.iter().enumerate() {
            let number = u16::try_from(label).ok().filter(|&n| usize::from(n) < classes);
            let expected = || format!("0 to {}", classes.min(1 << 16) as i64 - 1);
            numbers.push(number.ok_or_else(|| Error::invalid(format!("labels[{i}]"), expected(), label))?);
        }
        *dataset = create(Dataset::new(name, images.to_vec(), numbers, shape, classes)?);
        Ok(())
    })
}

/// Frees a data set. NULL is nothing to do; a handle freed before is `TB_STATUS_INVALID_HANDLE`.
#[unsafe(no_mangle)]
pub extern "C" fn tb_dataset_free(dataset: *mut tb_dataset) -> tb_status {
    guard("tb_dataset_free", || handle::free(dataset, "dataset"))
}

/// What a data set is.
///
/// @param properties  in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_dataset_info(
    dataset: *const tb_dataset,
    properties: *mut tb_dataset_properties,
) -> tb_status {
    guard("tb_dataset_info", || {
        let dataset = get(dataset)?;
        let mut values = tb_dataset_properties {
            count: dataset.len(),
            classes: dataset.classes,
            shape: dataset.shape.map(|d| d as i64),
            fingerprint: dataset.fingerprint(),
            ..Growable::defaults()
        };
        copy_text(&dataset.name, &mut values.name);
        for (to, from) in [(&mut values.mean, dataset.mean()), (&mut values.std, dataset.std())] {
            for (to, &from) in to.iter_mut().zip(from) {
                *to = from;
            }
        }
        // SAFETY: the caller's promise, as the header states it.
        unsafe { options::write(properties, values, "properties") }
    })
}

/// The order of an epoch: a permutation of all indices that depends on their number, seed and epoch alone. Mini-batches
/// are its pieces.
///
/// @param seed     seed
/// @param epoch    epoch
/// @param indices  out: `count` numbers
/// @param count    `count` of `tb_dataset_info`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_dataset_order(
    dataset: *const tb_dataset,
    seed: u64,
    epoch: u64,
    indices: *mut usize,
    count: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_dataset_order", || unsafe {
        let dataset = get(dataset)?;
        if count != dataset.len() {
            return Err(Error::invalid("count", dataset.len(), count).into());
        }
        let indices = Borrows::default().array_mut(indices, count, "indices")?;
        if let Some(order) = dataset.batches(count.max(1), seed, epoch)?.next() {
            indices.copy_from_slice(&order);
        }
        Ok(())
    })
}

/// Images as a batch: each channel (v / 255 - mean) / std, rounded once, and their labels.
///
/// @param indices       which
/// @param count         how many
/// @param augmentation  NULL: the images as they are
/// @param x             out: `[count, C, H, W]`, f16, f32 or f64; host memory or a `tb_tensor`
/// @param labels        out: `count` class numbers
/// @return `TB_STATUS_INVALID_ARGUMENT` for an index that is none; `TB_STATUS_IO`, `TB_STATUS_FORMAT` for a photo that is read
///         now and cannot be
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_dataset_batch(
    dataset: *const tb_dataset,
    indices: *const usize,
    count: usize,
    augmentation: *const tb_augmentation,
    x: *const tb_view_mut,
    labels: *mut i64,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_dataset_batch", || unsafe {
        let dataset = get(dataset)?;
        let mut borrows = Borrows::default();
        let indices = borrows.array(indices, count, "indices")?;
        let mut x = borrows.output(x, "x")?;
        let labels = borrows.array_mut(labels, count, "labels")?;
        let [c, h, w] = dataset.shape;
        x.expect_shape(&[count, c, h, w])?;
        let (tensor, classes) = if augmentation.is_null() {
            dataset.batch(indices, x.dtype())?
        } else {
            let a = options::read(augmentation, "augmentation")?;
            dataset.augmented_batch(indices, x.dtype(), &a.changes(), a.seed, a.epoch)?
        };
        x.fill(&tensor)?;
        labels.copy_from_slice(&classes);
        Ok(())
    })
}
