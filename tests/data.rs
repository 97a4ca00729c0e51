//! Data sets: reading the files of MNIST, CIFAR-10 and SVHN and folders of photos, augmentation, and the images that
//! need no file.
#![cfg(feature = "lab")]

#[path = "support/mat5.rs"]
mod mat5;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use flate2::Compression;
use flate2::write::GzEncoder;
use image::{ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use mat5::{compressed, element, mat, matrix};
use tempfile::TempDir;
use tiebreak::data::image_folder::{self, ImageFolderOptions};
use tiebreak::data::{
    self, Augmentation, Batches, Dataset, ResizedCrop, Split, cifar10, mnist, svhn, synthetic,
};
use tiebreak::{DType, Error, Prefetch, Result};

const IMAGE: usize = 28 * 28;

fn images(count: u32) -> Vec<u8> {
    let mut file = [0x803u32, count, 28, 28].map(u32::to_be_bytes).concat();
    file.extend((0..count as usize * IMAGE).map(|i| (i % 251) as u8));
    file
}

fn labels(labels: &[u8]) -> Vec<u8> {
    let mut file = [0x801u32, labels.len() as u32].map(u32::to_be_bytes).concat();
    file.extend(labels);
    file
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// Writes the pair of files, reads them, returns what came.
fn read(images: &[u8], labels: &[u8]) -> (TempDir, Result<Dataset>) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("images"), images).unwrap();
    fs::write(dir.path().join("labels"), labels).unwrap();
    let result = mnist::read_pair(dir.path().join("images"), dir.path().join("labels"));
    (dir, result)
}

/// The message of a format error, which must name `file`.
fn format_error<T: std::fmt::Debug>(file: &str, result: Result<T>) -> String {
    match result.unwrap_err() {
        Error::Format { path, message } => {
            assert!(path.ends_with(file), "{path:?}: {message}");
            message
        }
        other => panic!("{other:?}"),
    }
}

fn refusal(file: &str, images: &[u8], labels: &[u8]) -> String {
    format_error(file, read(images, labels).1)
}

/// The folder of a real data set, from `TIEBREAK_<NAME>` or beside the repository.
fn real(name: &str) -> Option<PathBuf> {
    let variable = format!("TIEBREAK_{}", name.to_uppercase());
    let given = std::env::var_os(&variable).map(PathBuf::from);
    let shared = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    let dir = given.unwrap_or_else(shared);
    if !dir.is_dir() {
        eprintln!("skipped: no folder {}; set {variable}", dir.display());
        return None;
    }
    Some(dir)
}

/// Images of each class.
fn counts(data: &Dataset) -> Vec<usize> {
    let count = |class| data.labels.iter().filter(|&&label| usize::from(label) == class).count();
    (0..data.classes).map(count).collect()
}

#[test]
fn plain_and_gzipped_files_give_the_same_images() {
    let (raw_images, raw_labels) = (images(3), labels(&[7, 0, 9]));
    let plain = read(&raw_images, &raw_labels).1.unwrap();
    assert_eq!((plain.len(), plain.shape, plain.classes), (3, [1, 28, 28], 10));
    assert_eq!(plain.labels, [7, 0, 9]);
    assert_eq!(plain.image(1)[..3], [IMAGE % 251, (IMAGE + 1) % 251, (IMAGE + 2) % 251].map(|v| v as u8));
    assert_eq!(read(&gz(&raw_images), &raw_labels).1.unwrap(), plain);
    assert_eq!(read(&raw_images, &gz(&raw_labels)).1.unwrap(), plain);
}

#[test]
fn a_folder_is_found_under_the_usual_names() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: Vec<u8>| fs::write(dir.path().join(name), bytes).unwrap();
    put("train-images-idx3-ubyte.gz", gz(&images(2)));
    put("train-labels.idx1-ubyte", labels(&[1, 2]));
    put("t10k-images.idx3-ubyte", images(1));
    let missing = mnist::load(dir.path()).unwrap_err();
    assert!(matches!(&missing, Error::Io { path, message }
        if path == dir.path() && message.contains("t10k-labels-idx1-ubyte")));
    put("t10k-labels-idx1-ubyte.gz", gz(&labels(&[3])));
    let mnist = mnist::load(dir.path()).unwrap();
    assert_eq!((mnist.train.len(), mnist.test.len()), (2, 1));
    assert_eq!(data::load(dir.path(), 8).unwrap(), mnist);
    assert!(matches!(mnist::load(dir.path().join("nowhere")), Err(Error::Io { .. })));
}

#[test]
fn fashion_mnist_is_told_by_its_folder() {
    let root = tempfile::tempdir().unwrap();
    for (folder, name) in [
        ("fashion_mnist", "fashion-mnist"),
        ("FashionMNIST/raw", "fashion-mnist"),
        ("MNIST/raw", "mnist"),
        ("fashion/other/mnist", "mnist"),
    ] {
        let dir = root.path().join(folder);
        fs::create_dir_all(&dir).unwrap();
        for part in ["train", "t10k"] {
            fs::write(dir.join(format!("{part}-images-idx3-ubyte")), images(1)).unwrap();
            fs::write(dir.join(format!("{part}-labels-idx1-ubyte")), labels(&[9])).unwrap();
        }
        let Split { train, test } = data::load(&dir, 8).unwrap();
        assert_eq!((train.name.as_str(), test.name.as_str()), (name, name), "{folder}");
        assert_eq!((train.mean(), train.std()), (&[0.5][..], &[0.5][..]));
    }
}

#[test]
fn damaged_files_are_refused_with_file_and_byte() {
    let (good_images, good_labels) = (images(2), labels(&[1, 2]));
    let message = refusal("images", &good_images[..1000], &good_labels);
    assert!(message.contains("byte 1000") && message.contains("1584 expected"), "{message}");
    let message = refusal("images", &good_images[..9], &good_labels);
    assert!(message.contains("byte 9"), "{message}");
    let message = refusal("images", &[], &good_labels);
    assert!(message.contains("byte 0"), "{message}");
    let message = refusal("images", &good_labels, &good_labels);
    assert!(message.contains("byte 0") && message.contains("labels"), "{message}");
    let message = refusal("images", b"PNG, not IDX, but long enough", &good_labels);
    assert!(message.contains("0x504e472c"), "{message}");
    let message = refusal("labels", &good_images, &labels(&[1, 2, 3]));
    assert!(message.contains("3 labels") && message.contains("2 images"), "{message}");
    let message = refusal("labels", &good_images, &labels(&[1, 10]));
    assert!(message.contains("byte 9") && message.contains("10"), "{message}");
    let message = refusal("images", &[good_images.as_slice(), b"x"].concat(), &good_labels);
    assert!(message.contains("surplus") && message.contains("byte 1584"), "{message}");

    let mut narrow = images(2);
    narrow[15] = 14;
    narrow.truncate(16 + 2 * 28 * 14);
    let message = refusal("images", &narrow, &good_labels);
    assert!(message.contains("28x28") && message.contains("28x14"), "{message}");
    // A header that promises more than any memory.
    let huge = [0x803, u32::MAX, u32::MAX, u32::MAX].map(u32::to_be_bytes).concat();
    assert!(refusal("images", &huge, &good_labels).contains("impossible"));
    let large = [0x803, 1 << 20, 28, 28].map(u32::to_be_bytes).concat();
    assert!(refusal("images", &large, &good_labels).contains("ends at byte 16"));
}

#[test]
fn damaged_gzip_data_are_refused() {
    let zipped = gz(&images(2));
    let labels = labels(&[1, 2]);
    for cut in [2, 12, zipped.len() / 2, zipped.len() - 4] {
        let message = refusal("images", &zipped[..cut], &labels);
        assert!(message.contains("gzip"), "cut at {cut}: {message}");
    }
    let mut flipped = zipped.clone();
    let at = flipped.len() - 6; // in the checksum
    flipped[at] ^= 0x10;
    assert!(refusal("images", &flipped, &labels).contains("gzip"));
    assert!(refusal("images", b"\x1f\x8b, but garbage after that", &labels).contains("gzip"));
}

#[test]
fn real_mnist() {
    let Some(dir) = real("mnist") else { return };
    let mnist = mnist::load(&dir).unwrap();
    assert_eq!((mnist.train.len(), mnist.test.len()), (60_000, 10_000));
    assert_eq!(counts(&mnist.train), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    assert_eq!(mnist.test.labels[..5], [7, 2, 1, 0, 4]);
}

/// `count` records of CIFAR-10: image `i` has the label `i % 10` and the pixels `i`, `i + 1`, ...
fn records(count: usize) -> Vec<u8> {
    let record = |i: usize| std::iter::once(i % 10).chain((0..3072).map(move |p| (i + p) % 256));
    (0..count).flat_map(record).map(|v| v as u8).collect()
}

#[test]
fn cifar10_records_are_label_then_planes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("three.bin");
    fs::write(&file, records(3)).unwrap();
    let data = cifar10::read(&file, 3).unwrap();
    assert_eq!((data.shape, data.classes, data.len()), ([3, 32, 32], 10, 3));
    assert_eq!(data.labels, [0, 1, 2]);
    assert_eq!(data.image(2)[..3], [2, 3, 4]);
    let (x, _) = data.batch(&[1], DType::F64).unwrap();
    let expected = |channel: usize| (1.0 / 255.0 - cifar10::MEAN[channel]) / cifar10::STD[channel];
    assert_eq!([0, 1, 2].map(|c| x.to_f64()[c * 1024]), [0, 1, 2].map(expected));
    fs::write(&file, gz(&records(3))).unwrap();
    assert_eq!(cifar10::read(&file, 3).unwrap(), data);
}

#[test]
fn damaged_cifar10_files_are_refused_with_file_and_byte() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = |bytes: &[u8]| {
        fs::write(dir.path().join("batch.bin"), bytes).unwrap();
        format_error("batch.bin", cifar10::read(dir.path().join("batch.bin"), 3))
    };
    let good = records(3);
    for len in [0, 2 * 3073, 3 * 3073 - 1] {
        let message = refusal(&good[..len]);
        assert!(message.starts_with(&format!("ends at byte {len}, 9219 expected")), "{message}");
    }
    let message = refusal(&[good.as_slice(), b"x"].concat());
    assert!(message.contains("surplus") && message.contains("byte 9219"), "{message}");
    let mut wrong = good.clone();
    wrong[2 * 3073] = 10;
    let message = refusal(&wrong);
    assert!(message.contains("byte 6146") && message.contains("got 10"), "{message}");
    let absurd = cifar10::read(dir.path().join("batch.bin"), usize::MAX);
    assert!(matches!(absurd, Err(Error::InvalidArgument { .. })));
    assert!(matches!(cifar10::read(dir.path().join("none"), 3), Err(Error::Io { path, .. })
        if path.ends_with("none")));
}

#[test]
fn cifar10_takes_the_batches_that_are_there_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    let missing = |dir: &Path, file: &str| match cifar10::load(root.path()).unwrap_err() {
        Error::Io { path, message } => assert!(path == dir && message.contains(file), "{path:?}: {message}"),
        other => panic!("{other:?}"),
    };
    // Holes read as zeros: black images of class 0.
    let put = |path: PathBuf| fs::File::create(path).unwrap().set_len(10_000 * 3073).unwrap();
    let sub = root.path().join("cifar-10-batches-bin");
    fs::create_dir(&sub).unwrap();
    missing(root.path(), "test_batch.bin");
    put(sub.join("data_batch_2.bin"));
    missing(&sub.join("test_batch.bin"), "");
    fs::remove_file(sub.join("data_batch_2.bin")).unwrap();
    put(sub.join("test_batch.bin"));
    missing(&sub, "data_batch_1.bin");
    put(sub.join("data_batch_3.bin"));
    let data = cifar10::load(root.path()).unwrap();
    assert_eq!((data.train.name.as_str(), data.train.len()), ("cifar10 (batch 3 of 5)", 10_000));
    assert_eq!((data.test.name.as_str(), data.test.len()), ("cifar10", 10_000));
    assert_eq!(data::load(root.path(), 8).unwrap(), data);
    put(sub.join("data_batch_1.bin"));
    assert_eq!(cifar10::load(&sub).unwrap().train.name, "cifar10 (batches 1, 3 of 5)");
    for batch in [2, 4, 5] {
        put(sub.join(format!("data_batch_{batch}.bin")));
    }
    let data = cifar10::load(&sub).unwrap();
    assert_eq!((data.train.name.as_str(), data.train.len()), ("cifar10", 50_000));
    fs::write(sub.join("data_batch_4.bin"), b"short").unwrap();
    assert!(format_error("data_batch_4.bin", cifar10::load(&sub)).contains("byte 5"));
}

#[test]
fn real_cifar10() {
    let Some(dir) = real("cifar10") else { return };
    let cifar10 = cifar10::load(&dir).unwrap();
    let first = cifar10.train.take(10_000);
    assert_eq!(counts(&first), [1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981]);
    assert_eq!(counts(&cifar10.test), [1000; 10]);
    assert_eq!(cifar10.test.labels[..8], [3, 8, 8, 0, 6, 6, 1, 6]);
    let sums = [0, 1, 2].map(|channel| {
        let planes = (0..first.len()).map(|i| &first.image(i)[channel * 1024..][..1024]);
        planes.flatten().map(|&v| u64::from(v)).sum::<u64>()
    });
    assert_eq!(sums, [1_288_517_123, 1_262_189_222, 1_167_674_233]);
}

/// Pixel (y, x) of a channel of image `i`.
fn house(i: usize, channel: usize, y: usize, x: usize) -> u8 {
    (50 * i + 100 * channel + 3 * y + x) as u8
}

/// `X` of so many images, row index first.
fn houses(count: usize) -> Vec<u8> {
    let pixel = |p: usize| house(p / 3072, p / 1024 % 3, p % 32, p / 32 % 32);
    matrix(b'X', &[32, 32, 3, count as i32], &(0..count * 3072).map(pixel).collect::<Vec<_>>())
}

fn numbers(labels: &[u8]) -> Vec<u8> {
    matrix(b'y', &[labels.len() as i32, 1], labels)
}

#[test]
fn svhn_is_read_compressed_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("some.mat");
    let other = matrix(b'z', &[1, 1], &[7]);
    let (x, y) = (houses(3), numbers(&[1, 10, 9]));
    let mut read = Vec::new();
    for elements in [
        vec![x.clone(), y.clone()],
        vec![compressed(&y), compressed(&other), compressed(&x)],
        vec![other.clone(), compressed(&x), element(99, b"unknown"), y.clone()],
    ] {
        fs::write(&file, mat(&elements)).unwrap();
        read.push(svhn::read(&file).unwrap());
    }
    let data = &read[0];
    assert_eq!((data.shape, data.classes, data.len()), ([3, 32, 32], 10, 3));
    assert_eq!(data.labels, [1, 0, 9]);
    for (i, y, x) in [(0, 0, 0), (1, 31, 2), (2, 5, 30)] {
        assert_eq!(pixel(data, i, y, x), [0, 1, 2].map(|channel| house(i, channel, y, x)));
    }
    assert_eq!((data.mean(), data.std()), (&[0.5; 3][..], &[0.5; 3][..]));
    assert_eq!([&read[1], &read[2]], [data; 2]);
    // One image, of three dimensions.
    let one = matrix(b'X', &[32, 32, 3], &vec![4; 3072]);
    fs::write(&file, mat(&[compressed(&one), matrix(b'y', &[1, 1], &[10])])).unwrap();
    assert_eq!(svhn::read(&file).unwrap().labels, [0]);
}

#[test]
fn svhn_trains_on_extra_where_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, labels: &[u8]| {
        let file = mat(&[compressed(&houses(labels.len())), compressed(&numbers(labels))]);
        fs::write(dir.path().join(name), file).unwrap();
    };
    let missing = |file: &str| match data::load(dir.path(), 8).unwrap_err() {
        Error::Io { path, message } => assert!(path == dir.path() && message.contains(file), "{message}"),
        other => panic!("{other:?}"),
    };
    put("test_32x32.mat", &[1]);
    missing("extra_32x32.mat or train_32x32.mat");
    put("train_32x32.mat", &[2, 3]);
    let data = data::load(dir.path(), 8).unwrap();
    assert_eq!((data.train.name.as_str(), data.train.labels), ("svhn (train)", vec![2, 3]));
    assert_eq!((data.test.name.as_str(), data.test.labels), ("svhn", vec![1]));
    put("extra_32x32.mat", &[4, 5, 6]);
    let train = svhn::load(dir.path()).unwrap().train;
    assert_eq!((train.name.as_str(), train.labels), ("svhn (extra)", vec![4, 5, 6]));
    fs::remove_file(dir.path().join("test_32x32.mat")).unwrap();
    missing("test_32x32.mat");
}

#[test]
fn damaged_svhn_files_are_refused_with_file_and_byte() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = |bytes: &[u8]| {
        fs::write(dir.path().join("bad.mat"), bytes).unwrap();
        format_error("bad.mat", svhn::read(dir.path().join("bad.mat")))
    };
    let contains = |bytes: &[u8], parts: &[&str]| {
        let message = refusal(bytes);
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    };
    let (x, y) = (houses(2), numbers(&[1, 2]));
    let plain = mat(&[x.clone(), y.clone()]);
    contains(b"", &["byte 0", "128 bytes expected"]);
    contains(&[b' '; 200], &["byte 124"]);
    let at = |at: usize, bytes: &[u8]| {
        let mut file = plain.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    contains(&at(124, &[0, 2]), &["byte 124", "7.3"]);
    contains(&at(124, b"\x01\x00MI"), &["byte 126", "big-endian"]);
    contains(&plain[..128], &["byte 128", "named X"]);
    contains(&plain[..130], &["byte 130", "7 bytes expected"]);
    // Tag of the matrix, flags, dimensions, name, then the tag of the values.
    contains(&plain[..140], &["byte 140", "ends here"]);
    contains(&at(136, &[7]), &["byte 136", "type 7", "flags"]);
    contains(&at(152, &[6]), &["byte 152", "dimensions"]);
    contains(&at(156, &[200]), &["byte 152", "200 bytes", "at most 128"]);
    contains(&at(160, &[31]), &["byte 184", "6144 bytes in X"]);
    contains(&at(172, &[1]), &["byte 184", "6144 bytes in X"]);
    contains(&at(160, &[255; 16]), &["byte 152", "impossible"]);
    contains(&at(176, &[2]), &["byte 176", "name"]);
    contains(&at(184, &[9]), &["byte 184", "type 9", "unsigned bytes"]);
    contains(&plain[..5000], &["byte 5000", "6144 bytes expected"]);
    let labels = plain.len() - 8;
    contains(&at(labels + 1, &[11]), &[&format!("byte {}", labels + 1), "got 11"]);
    contains(&mat(&[x.clone(), numbers(&[1, 2, 3])]), &["3 labels", "2 images", &format!("byte {labels}")]);
    let small = matrix(b'X', &[16, 64, 3, 2], &[0; 6144]);
    contains(&mat(&[small, y.clone()]), &["byte 192", "[16, 64, 3, 2]"]);

    let zipped = mat(&[compressed(&x), compressed(&y)]);
    let end = zipped.len();
    contains(&zipped[..end - 3], &["compressed from byte", "damaged"]);
    contains(&zipped[..500], &["of the data compressed from byte 136 on", "damaged"]);
    let mut flipped = zipped.clone();
    flipped[end - 1] ^= 1; // in the checksum
    contains(&flipped, &["damaged"]);
    contains(&mat(&[compressed(&x), compressed(&numbers(&[1, 0]))]), &["byte 57 of the data", "got 0"]);
    contains(&mat(&[compressed(b"no matrix")]), &["byte 0 of the data compressed from byte 136 on"]);
    // Cut anywhere or with any byte changed it is an error or other data, never a panic.
    for i in (0..600).step_by(5) {
        fs::write(dir.path().join("bad.mat"), &zipped[..i]).unwrap();
        svhn::read(dir.path().join("bad.mat")).unwrap_err();
        fs::write(dir.path().join("bad.mat"), at(i, &[255])).unwrap();
        let _ = svhn::read(dir.path().join("bad.mat"));
    }
    assert!(
        matches!(svhn::read(dir.path().join("none")), Err(Error::Io { path, .. }) if path.ends_with("none"))
    );
}

#[test]
fn real_svhn() {
    let Some(dir) = real("svhn") else { return };
    let test = svhn::read(dir.join("test_32x32.mat")).unwrap();
    assert!(test.len() == 2000 || test.len() == 26_032, "{}", test.len());
    let Split { train: first, test: rest } = test.clone().split_at(2000);
    assert_eq!((first.len(), rest.len()), (2000, test.len() - 2000));
    // 0 comes last in the file's own numbering.
    assert_eq!(counts(&first), [138, 378, 302, 236, 199, 171, 152, 159, 138, 127]);
    assert_eq!(first.labels[..10], [5, 2, 1, 0, 6, 1, 9, 1, 1, 8]);
    // Transposed, or with planes mixed up, neighbours would differ far more than this.
    let step = |from: usize, to: usize| -> f64 {
        let image = |i| test.image(i).iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let steps = (0..100).map(image).map(|v| (v[from] - v[to]).abs());
        steps.sum::<f64>() / 100.0
    };
    assert!(step(528, 529) < 20.0 && step(528, 560) < 20.0, "{} {}", step(528, 529), step(528, 560));
}

/// Writes an image file, with its folder.
fn save(path: &Path, image: impl Into<image::DynamicImage>, format: ImageFormat) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.into().save_with_format(path, format).unwrap();
}

fn flat(colour: [u8; 3]) -> RgbImage {
    RgbImage::from_pixel(20, 10, Rgb(colour))
}

fn at(size: usize) -> ImageFolderOptions {
    ImageFolderOptions { size, ..Default::default() }
}

/// Red, green and blue of one pixel.
fn pixel(data: &Dataset, index: usize, y: usize, x: usize) -> [u8; 3] {
    let [_, h, w] = data.shape;
    [0, 1, 2].map(|channel| data.image(index)[(channel * h + y) * w + x])
}

#[test]
fn an_image_folder_is_ordered_by_name_and_becomes_rgb() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, image: image::DynamicImage, format| save(&dir.path().join(name), image, format);
    put("fox/b.PNG", flat([10, 20, 30]).into(), ImageFormat::Png);
    put("fox/a.jpg", flat([200, 100, 50]).into(), ImageFormat::Jpeg);
    put("fox/c.jpeg", image::GrayImage::from_pixel(9, 12, Luma([77])).into(), ImageFormat::Jpeg);
    put("bee/x.png", RgbaImage::from_pixel(8, 8, Rgba([1, 2, 3, 0])).into(), ImageFormat::Png);
    // The content decides.
    put("bee/y.JPEG", flat([4, 5, 6]).into(), ImageFormat::Png);
    for ignored in ["fox/notes.txt", "fox/._a.jpg", "readme.png"] {
        fs::write(dir.path().join(ignored), "no image").unwrap();
    }
    fs::create_dir_all(dir.path().join(".cache/deeper.png")).unwrap();

    let data = image_folder::read(dir.path(), &at(8)).unwrap();
    assert_eq!((data.shape, data.classes, data.len()), ([3, 8, 8], 2, 5));
    assert_eq!(data.labels, [0, 0, 1, 1, 1]);
    assert_eq!((data.mean(), data.std()), (&image_folder::MEAN[..], &image_folder::STD[..]));
    assert_eq!(Some(data.name.as_ref()), dir.path().file_name());
    assert_eq!([pixel(&data, 0, 7, 7), pixel(&data, 1, 0, 0)], [[1, 2, 3], [4, 5, 6]]);
    assert_eq!(pixel(&data, 3, 4, 4), [10, 20, 30]);
    let near = |got: [u8; 3], want: [u8; 3]| got.iter().zip(want).all(|(g, w)| g.abs_diff(w) <= 3);
    assert!(near(pixel(&data, 2, 4, 4), [200, 100, 50]), "{:?}", pixel(&data, 2, 4, 4));
    assert!(near(pixel(&data, 4, 4, 4), [77; 3]), "{:?}", pixel(&data, 4, 4, 4));

    let one =
        image_folder::read(dir.path(), &ImageFolderOptions { limit_per_class: Some(1), ..at(8) }).unwrap();
    assert_eq!((one.labels.as_slice(), one.image(1)), (&[0, 1][..], data.image(2)));
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(alone.install(|| image_folder::read(dir.path(), &at(8))).unwrap(), data);
}

#[test]
fn photos_are_resized_by_area_and_cut_in_the_centre() {
    let dir = tempfile::tempdir().unwrap();
    let photo =
        RgbImage::from_fn(14, 8, |x, y| Rgb([10 * x as u8, 10 * y as u8, if x % 2 == 0 { 0 } else { 200 }]));
    save(&dir.path().join("a/wide.png"), photo.clone(), ImageFormat::Png);
    save(&dir.path().join("b/tall.png"), image::imageops::rotate90(&photo), ImageFormat::Png);
    let whole = image_folder::read(dir.path(), &at(8)).unwrap();
    assert_eq!(pixel(&whole, 0, 5, 0), [30, 50, 200]);
    // A quarter turn: rows of the tall image are columns of the wide one.
    assert_eq!(pixel(&whole, 1, 0, 2), pixel(&whole, 0, 5, 0));
    // Half as large, 7x4: stripes of one pixel merge, and of three columns too many the left side gives two.
    let half = image_folder::read(dir.path(), &at(4)).unwrap();
    let [red, green, blue] = pixel(&half, 0, 1, 0);
    assert!((red, green) == (45, 25) && (95..=105).contains(&blue), "{red} {green} {blue}");
    let shape = |size| image_folder::read(dir.path(), &at(size)).unwrap().shape;
    assert_eq!(shape(25), [3, 25, 25]);
}

#[test]
fn photos_read_from_files_are_those_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..6u32 {
        let photo =
            RgbImage::from_fn(20 + i, 30 - 2 * i, |x, y| Rgb([(9 * x) as u8, (8 * y) as u8, (40 * i) as u8]));
        save(&dir.path().join(format!("{}/{i}.png", i % 2)), photo, ImageFormat::Png);
    }
    let read = |from_files| {
        let options = ImageFolderOptions { resize: Some(14), from_files, ..at(12) };
        image_folder::read(dir.path(), &options).unwrap()
    };
    let (stored, filed) = (read(false), read(true));
    assert!(filed.images.is_empty() && filed.shape == stored.shape && filed.labels == stored.labels);
    let all = [3, 0, 5, 1, 2, 4];
    assert_eq!(filed.batch(&all, DType::F32).unwrap(), stored.batch(&all, DType::F32).unwrap());
    // 14 pixels wide before the centre is cut out, so not the same as 12.
    let narrow = image_folder::read(dir.path(), &at(12)).unwrap();
    assert_ne!(narrow.batch(&all, DType::F32).unwrap(), stored.batch(&all, DType::F32).unwrap());
    let flip = Augmentation { crop_padding: 2, horizontal_flip: true, ..Default::default() };
    let both = [&filed, &stored].map(|data| data.augmented_batch(&all, DType::F16, &flip, 1, 2).unwrap());
    assert_eq!(both[0], both[1]);
    let parts = filed.clone().split_at(4);
    assert_eq!((parts.train.len(), parts.test.len()), (4, 2));
    assert_eq!(parts.test.batch(&[1], DType::F32).unwrap(), filed.batch(&[5], DType::F32).unwrap());
    assert_ne!(filed.fingerprint(), stored.fingerprint());
    assert_eq!(filed.fingerprint(), read(true).fingerprint());

    let cut = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| filed.augmented_batch(&all, DType::F32, &image_folder::AUGMENTATION, 1, 2).unwrap())
    };
    assert_eq!(cut(1), cut(4));

    // Whoever reads the file meets the damage.
    let before = filed.fingerprint();
    fs::write(dir.path().join("1/3.png"), "text").unwrap();
    assert_ne!(filed.fingerprint(), before);
    for threads in [1, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        fs::write(dir.path().join("1/5.png"), "text").unwrap();
        let result = pool.install(|| filed.batch(&[0, 5, 4], DType::F32));
        assert!(format_error("1/5.png", result).contains("byte 0"));
    }
    let outside = ImageFolderOptions { resize: Some(11), ..at(12) };
    assert!(matches!(image_folder::read(dir.path(), &outside),
        Err(Error::InvalidArgument { argument, .. }) if argument == "resize"));
}

#[test]
fn a_resized_crop_is_a_part_of_the_photo() {
    let dir = tempfile::tempdir().unwrap();
    // Red tells the column, green the row.
    let photo = RgbImage::from_fn(200, 100, |x, y| Rgb([x as u8, 2 * y as u8, 77]));
    save(&dir.path().join("a/photo.png"), photo, ImageFormat::Png);
    let options = |from_files| ImageFolderOptions { from_files, ..at(32) };
    let crop = ResizedCrop { scale: [0.1, 0.5], ratio: [0.8, 1.25] };
    let augmentation = Augmentation { resized_crop: Some(crop), ..Default::default() };
    let corners = |from_files, epoch| {
        let data = image_folder::read(dir.path(), &options(from_files)).unwrap();
        let data = data.with_normalization(&[0.0; 3], &[1.0 / 255.0; 3]).unwrap();
        let (x, _) = data.augmented_batch(&[0], DType::F64, &augmentation, 1, epoch).unwrap();
        let x = x.to_f64();
        assert!(x[2048..].iter().all(|&v| (v - 77.0).abs() < 1e-9));
        // Left, right, top, bottom in units of the whole.
        [x[16 * 32] / 200.0, x[16 * 32 + 31] / 200.0, x[1024 + 16] / 200.0, x[1024 + 31 * 32 + 16] / 200.0]
    };
    let (mut left, mut right) = (f64::MAX, 0.0f64);
    for epoch in 0..60 {
        let [l, r, t, b] = corners(true, epoch);
        // The outermost pixels of 32 lie half a pixel inside of the part.
        let (width, height) = ((r - l) * 32.0 / 31.0, (b - t) * 32.0 / 31.0);
        let (share, ratio) = (width * height, 2.0 * width / height);
        assert!((0.08..0.55).contains(&share) && (0.7..1.4).contains(&ratio), "{l} {r} {t} {b}");
        (left, right) = (left.min(l), right.max(r));
        assert_eq!(corners(true, epoch), [l, r, t, b]);
    }
    assert!(left < 0.1 && right > 0.9, "{left} {right}");
    // From memory it is a part of the square in the centre.
    for epoch in 0..20 {
        let [l, r, ..] = corners(false, epoch);
        assert!(l > 0.24 && r < 0.76, "{l} {r}");
    }
}

#[test]
fn batches_are_the_same_ahead_of_the_step() {
    let data = Arc::new(synthetic::shapes(50, 1));
    let augmentation =
        Augmentation { resized_crop: Some(ResizedCrop::USUAL), crop_padding: 4, horizontal_flip: true };
    let source = data.clone();
    let epoch = || {
        let data = source.clone();
        let batch =
            move |indices: Vec<usize>| data.augmented_batch(&indices, DType::F16, &augmentation, 3, 1);
        Batches::shuffled(50, 16, 3, 1).unwrap().map(batch)
    };
    let here: Result<Vec<_>> = epoch().collect();
    let here = here.unwrap();
    assert_eq!(here.iter().map(|(_, labels)| labels.len()).collect::<Vec<_>>(), [16, 16, 16, 2]);
    let ahead: Result<Vec<_>> = Prefetch::new(epoch()).unwrap().collect();
    assert_eq!(ahead.unwrap(), here);
    let wrong = vec![vec![1], vec![50], vec![2]].into_iter();
    let batches = Prefetch::new(wrong.map(move |indices| data.batch(&indices, DType::F32))).unwrap();
    let results: Vec<bool> = batches.map(|batch| batch.is_ok()).collect();
    assert_eq!(results, [true, false]);
}

#[test]
fn an_image_folder_names_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let read = |size| image_folder::read(dir.path(), &at(size));
    let name = dir.path().file_name().unwrap().to_str().unwrap();
    assert!(format_error(name, read(8)).contains("no sub-folders"));
    for class in ["a", "b", "c"] {
        save(&dir.path().join(class).join("good.png"), flat([0; 3]), ImageFormat::Png);
    }
    assert!(matches!(read(0), Err(Error::InvalidArgument { argument, .. }) if argument == "size"));
    let none = ImageFolderOptions { limit_per_class: Some(0), ..at(8) };
    assert!(matches!(image_folder::read(dir.path(), &none),
        Err(Error::InvalidArgument { argument, .. }) if argument == "limit_per_class"));
    assert!(matches!(image_folder::read(dir.path().join("none"), &at(8)), Err(Error::Io { .. })));

    let speckled = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * y) as u8, (x * 7) as u8, (y * 5) as u8]));
    for (class, format) in [("b", ImageFormat::Png), ("c", ImageFormat::Jpeg)] {
        let file = dir.path().join(class).join("photo.jpg");
        save(&file, speckled.clone(), format);
        read(8).unwrap();
        let bytes = fs::read(&file).unwrap();
        // The end of a PNG file holds no pixels.
        let end = if format == ImageFormat::Jpeg { bytes.len() - 1 } else { bytes.len() - 30 };
        for len in [0, 1, 2, 20, bytes.len() / 2, end] {
            fs::write(&file, &bytes[..len]).unwrap();
            let message = format_error(&format!("{class}/photo.jpg"), read(8));
            assert!(message.contains("byte"), "{message}");
        }
        fs::write(&file, bytes).unwrap();
    }
    // Of several the first in order is named.
    for class in ["b", "c"] {
        fs::write(dir.path().join(class).join("photo.jpg"), "text").unwrap();
    }
    format_error("b/photo.jpg", read(8));
    fs::create_dir(dir.path().join("d")).unwrap();
    assert!(format_error("d", read(8)).contains("no JPEG or PNG"));
}

/// A few bytes can say that they are a large image; memory for it is had only where they could hold one.
#[test]
fn photos_larger_than_their_file_allows_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/photo");
    let size = |width: u16, height: u16| [height.to_be_bytes(), width.to_be_bytes()].concat();
    for (ending, format) in [("png", ImageFormat::Png), ("jpg", ImageFormat::Jpeg)] {
        let path = path.with_extension(ending);
        // Nothing is packed better than one colour.
        save(&path, image::GrayImage::new(3000, 2000), format);
        image_folder::read(dir.path(), &at(8)).unwrap();
        save(&path, flat([9, 99, 0]), format);
        let mut bytes = fs::read(&path).unwrap();
        if format == ImageFormat::Png {
            bytes[16..24].copy_from_slice(&[0, 0, 0x27, 0x10, 0, 0, 0x23, 0x28]);
            let mut crc = flate2::Crc::new();
            crc.update(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        } else {
            let at = bytes.windows(4).position(|w| w == size(20, 10)).unwrap();
            bytes[at..at + 4].copy_from_slice(&size(10_000, 9_000));
        }
        fs::write(&path, bytes).unwrap();
        let message = format_error(&format!("a/photo.{ending}"), image_folder::read(dir.path(), &at(8)));
        assert!(message.contains("10000x9000 pixels"), "{message}");
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn training_and_validation_folders_must_have_the_same_classes() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, grey| save(&dir.path().join(name), flat([grey; 3]), ImageFormat::Png);
    put("train/a/1.png", 1);
    put("train/b/2.png", 2);
    let missing = |path: &Path, message: &str| match data::load(path, 4).unwrap_err() {
        Error::Io { path: at, message: got } => assert!(at == path && got.contains(message), "{at:?}: {got}"),
        other => panic!("{other:?}"),
    };
    missing(dir.path(), "val or test");
    missing(&dir.path().join("train"), "neither MNIST");
    missing(&dir.path().join("nowhere"), "");
    put("val/b/3.png", 3);
    assert!(format_error("val", image_folder::load(dir.path(), &at(4))).contains("class a"));
    put("val/a/4.png", 4);
    let data = image_folder::load(dir.path(), &at(4)).unwrap();
    assert_eq!((data.train.image(1)[0], data.test.image(0)[0], data.test.image(1)[0]), (2, 4, 3));
    assert_eq!((&data.train.name, data.test.labels), (&data.test.name, vec![0, 1]));
    put("val/c/5.png", 5);
    assert!(format_error("train", image_folder::load(dir.path(), &at(4))).contains("class c"));
    fs::remove_dir_all(dir.path().join("val/c")).unwrap();
    fs::rename(dir.path().join("val"), dir.path().join("test")).unwrap();
    assert_eq!(data::load(dir.path(), 4).unwrap().test.image(0)[0], 4);
}

#[test]
fn real_photos() {
    let Some(dir) = real("imagenette_tiny") else { return };
    let data = image_folder::load(&dir, &at(64)).unwrap();
    assert_eq!((counts(&data.train), counts(&data.test)), (vec![30; 10], vec![10; 10]));
    assert_eq!((data.train.name.as_str(), data.train.shape), ("imagenette_tiny", [3, 64, 64]));
    // What Pillow makes of them: `Image.open(f).convert("RGB").resize((64, 64), Image.BILINEAR)`. JPEG decoders
    // round colours differently.
    let mean = |data: &Dataset, channel: usize| {
        let planes = (0..data.len()).map(|i| &data.image(i)[channel * 4096..][..4096]);
        planes.flatten().map(|&v| f64::from(v)).sum::<f64>() / (data.len() * 4096) as f64
    };
    for (data, expected) in
        [(&data.train, [118.7953, 117.3112, 109.7575]), (&data.test, [121.5976, 121.6233, 113.7077])]
    {
        let got = [0, 1, 2].map(|channel| mean(data, channel));
        assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 0.4), "{got:?}, {expected:?} expected");
    }
    let near = |got: [u8; 3], want: [u8; 3]| got.iter().zip(want).all(|(g, w)| g.abs_diff(w) <= 2);
    assert!(near(pixel(&data.train, 0, 10, 20), [173, 175, 151]), "{:?}", pixel(&data.train, 0, 10, 20));
    assert!(near(pixel(&data.test, 99, 50, 5), [57, 75, 108]), "{:?}", pixel(&data.test, 99, 50, 5));
}

/// One colour image `[3, 12, 10]` many times; every pixel of it is another, none is black.
static COLOURED: LazyLock<Dataset> = LazyLock::new(|| {
    let image: Vec<u8> = (0..360).map(|v| (v % 120 + 1 + 60 * (v / 120)) as u8).collect();
    let data = Dataset::new("coloured", image.repeat(2000), vec![3; 2000], [3, 12, 10], 10).unwrap();
    data.with_normalization(&[0.1, 0.2, 0.3], &[0.5, 0.25, 0.125]).unwrap()
});

const CIFAR_LIKE: Augmentation = cifar10::AUGMENTATION;

#[test]
fn augmented_images_are_shifted_mirrored_and_normalised_after_padding() {
    let data = &*COLOURED;
    let indices: Vec<usize> = (0..data.len()).collect();
    let (x, labels) = data.augmented_batch(&indices, DType::F64, &CIFAR_LIKE, 5, 1).unwrap();
    assert!(x.shape() == [2000, 3, 12, 10] && labels.iter().all(|&label| label == 3));
    let (whole, _) = data.batch(&[0], DType::F64).unwrap();
    let whole = whole.to_f64();
    let black = [0, 1, 2].map(|c| (0.0 - data.mean()[c]) / data.std()[c]);
    // By definition, from the place of a pixel that every crop holds.
    let expected = |top: isize, left: isize, flip: bool| -> Vec<f64> {
        let value = |i: isize| {
            let (c, y, x) = (i / 120, i % 120 / 10 + top, i % 10);
            let x = if flip { 9 - x } else { x } + left;
            let inside = (0..12).contains(&y) && (0..10).contains(&x);
            if inside { whole[(c * 120 + y * 10 + x) as usize] } else { black[c as usize] }
        };
        (0..360).map(value).collect()
    };
    let places: Vec<(Vec<f64>, usize)> =
        (0..9 * 9 * 2).map(|i| (expected(i / 18 - 4, i / 2 % 9 - 4, i % 2 == 1), i as usize)).collect();
    let mut seen = [0; 162];
    for image in x.to_f64().chunks(360) {
        let place = places.iter().find(|(expected, _)| expected == image);
        seen[place.expect("a crop of the padded image").1] += 1;
    }
    // 12.3 expected at each place, mirrored or not.
    assert!(seen.iter().all(|&n| n > 0), "{seen:?}");
    let flips: usize = seen.iter().skip(1).step_by(2).sum();
    assert!((900..1100).contains(&flips), "{flips}");
}

#[test]
fn augmentation_is_repeatable_image_by_image() {
    let data = &*COLOURED;
    let batch = |indices: &[usize], dtype, seed, epoch| {
        data.augmented_batch(indices, dtype, &CIFAR_LIKE, seed, epoch).unwrap().0
    };
    let one = batch(&[7, 1999, 3], DType::F16, 1, 2);
    assert_eq!(one, batch(&[7, 1999, 3], DType::F16, 1, 2));
    let alone = [7, 1999, 3].map(|i| batch(&[i], DType::F16, 1, 2).to_f64()).concat();
    assert_eq!(one.to_f64(), alone);
    assert_ne!(one, batch(&[7, 1999, 3], DType::F16, 1, 3));
    assert_ne!(one, batch(&[7, 1999, 3], DType::F16, 2, 2));
    let nothing = data.augmented_batch(&[7, 3], DType::F32, &Augmentation::default(), 1, 2).unwrap();
    assert_eq!(nothing, data.batch(&[7, 3], DType::F32).unwrap());

    let cut = |scale, ratio| {
        let resized_crop = Some(ResizedCrop { scale, ratio });
        data.augmented_batch(&[0], DType::F32, &Augmentation { resized_crop, ..Default::default() }, 0, 0)
    };
    assert!(cut([0.5, 1.0], [1.0, 1.0]).is_ok());
    for (scale, ratio, name) in [
        ([0.0, 1.0], [1.0, 1.0], "scale"),
        ([0.5, 1.1], [1.0, 1.0], "scale"),
        ([0.5, 0.4], [1.0, 1.0], "scale"),
        ([f64::NAN, 1.0], [1.0, 1.0], "scale"),
        ([0.5, 1.0], [0.0, 1.0], "ratio"),
        ([0.5, 1.0], [1.0, f64::INFINITY], "ratio"),
    ] {
        let error = cut(scale, ratio).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { argument, .. } if argument == name), "{scale:?}");
    }

    let wide = |crop_padding| Augmentation { crop_padding, ..Augmentation::default() };
    assert!(data.augmented_batch(&[0], DType::F32, &wide(9), 0, 0).is_ok());
    let error = data.augmented_batch(&[0], DType::F32, &wide(10), 0, 0).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { argument, .. } if argument == "crop_padding"));
    assert!(data.augmented_batch(&[2000], DType::F32, &wide(1), 0, 0).is_err());
}

#[test]
fn digits_depend_on_seed_and_index_only() {
    let digits = synthetic::digits(500, 3);
    assert_eq!(digits, synthetic::digits(600, 3).take(500));
    assert_ne!(digits.images, synthetic::digits(500, 4).images);
    // Frozen: tables made with this data must stay comparable.
    assert_eq!(format!("{:08x}", synthetic::digits(100, 1).fingerprint()), FINGERPRINT);
}

const FINGERPRINT: &str = "f601b508";

#[test]
fn digits_are_balanced_and_stand_on_a_flat_background() {
    let digits = synthetic::digits(2000, 0);
    let counts = counts(&digits);
    assert!(counts.iter().all(|count| (150..250).contains(count)), "{counts:?}");
    for i in 0..digits.len() {
        let ink = digits.image(i).iter().filter(|&&v| v > 0).count();
        assert!((15..500).contains(&ink), "image {i} has {ink} pixels of ink");
    }
    // Identical 6x6 fields under a 5x5 convolution and a 2x2 pooling tie whatever the weights are.
    let flat = |image: &[u8], y: usize, x: usize| (0..36).all(|i| image[(y + i / 6) * 28 + x + i % 6] == 0);
    let windows = (0..100).flat_map(|i| (0..144).map(move |w| (i, 2 * (w / 12), 2 * (w % 12))));
    let ties = windows.filter(|&(i, y, x)| flat(digits.image(i), y, x)).count();
    assert!(ties > 144 * 100 / 5, "{ties} flat windows of {}", 144 * 100);
}

#[test]
fn shapes_depend_on_seed_and_index_only() {
    let shapes = synthetic::shapes(300, 3);
    assert_eq!((shapes.shape, shapes.classes), ([3, 32, 32], 10));
    assert_eq!(shapes, synthetic::shapes(400, 3).take(300));
    assert_ne!(shapes.images, synthetic::shapes(300, 4).images);
    // Frozen: tables made with this data must stay comparable.
    assert_eq!(format!("{:08x}", synthetic::shapes(100, 1).fingerprint()), "c62d159f");
}

#[test]
fn shapes_are_balanced_and_half_of_them_flat() {
    let shapes = synthetic::shapes(1000, 0);
    let counts = counts(&shapes);
    assert!(counts.iter().all(|count| (70..130).contains(count)), "{counts:?}");
    // A colour that fills a tenth of the image or more, and another one.
    let flat = |i: usize| {
        let mut pixels: Vec<[u8; 3]> = (0..1024).map(|p| pixel(&shapes, i, p / 32, p % 32)).collect();
        pixels.sort_unstable();
        let runs: Vec<usize> = pixels.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
        runs.into_iter().filter(|&run| run > 50).count() >= 2
    };
    let flat = (0..1000).filter(|&i| flat(i)).count();
    assert!((440..560).contains(&flat), "{flat}");
}

#[test]
fn batches_fit_the_networks() {
    let digits = synthetic::digits(10, 0);
    for dtype in DType::ALL {
        let mut seen = 0;
        for indices in digits.batches(4, 1, 0).unwrap() {
            let (x, labels) = digits.batch(&indices, dtype).unwrap();
            assert_eq!((x.dtype(), x.shape()), (dtype, &[indices.len(), 1, 28, 28][..]));
            assert_eq!(labels.len(), indices.len());
            assert!(x.to_f64().iter().all(|v| (-1.0..=1.0).contains(v)));
            seen += indices.len();
        }
        assert_eq!(seen, 10);
    }
}
