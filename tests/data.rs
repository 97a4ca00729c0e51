//! Data sets: reading MNIST's files, and the digits that need none.
#![cfg(feature = "lab")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tiebreak::data::{mnist, synthetic};
use tiebreak::{DType, Error};

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
fn read(images: &[u8], labels: &[u8]) -> (tempfile::TempDir, tiebreak::Result<tiebreak::data::Dataset>) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("images"), images).unwrap();
    fs::write(dir.path().join("labels"), labels).unwrap();
    let result = mnist::read_pair(dir.path().join("images"), dir.path().join("labels"));
    (dir, result)
}

/// The message of a format error, which must name `file`.
fn refusal(file: &str, images: &[u8], labels: &[u8]) -> String {
    match read(images, labels).1.unwrap_err() {
        Error::Format { path, message } => {
            assert!(path.ends_with(file), "{path:?}: {message}");
            message
        }
        other => panic!("{other:?}"),
    }
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
    assert!(matches!(mnist::load(dir.path().join("nowhere")), Err(Error::Io { .. })));
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
    let mnist_dir = std::env::var_os("TIEBREAK_MNIST").map(PathBuf::from);
    let dir = mnist_dir.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/mnist"));
    if !dir.is_dir() {
        eprintln!("skipped: no MNIST in {}; set TIEBREAK_MNIST to its folder", dir.display());
        return;
    }
    let mnist = mnist::load(&dir).unwrap();
    assert_eq!((mnist.train.len(), mnist.test.len()), (60_000, 10_000));
    let count = |label| mnist.train.labels.iter().filter(|&&l| l == label).count();
    assert_eq!(
        (0..10).map(count).collect::<Vec<_>>(),
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    );
    assert_eq!(mnist.test.labels[..5], [7, 2, 1, 0, 4]);
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
    for label in 0..10 {
        let count = digits.labels.iter().filter(|&&l| l == label).count();
        assert!((150..250).contains(&count), "{count} images of {label}");
    }
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
