//! Damaged files of every kind that the library reads: cut, changed, grown, exchanged. Each is read, or refused with an
//! error that names it, in Rust and, every third of them, through C: no panic, and no more memory than such small files
//! can need. Every cut and every header field comes first; `TIEBREAK_FUZZ_FILES` more follow from `TIEBREAK_FUZZ_SEED`.
#![cfg(feature = "lab")]

#[path = "support/mat5.rs"]
mod mat5;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::fs;
use std::io::{Cursor, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use flate2::{Compression, Crc, write::GzEncoder};
use image::{DynamicImage, ImageFormat};
use rand_philox::Philox;
use tiebreak::data::{Split, cifar10, image_folder, mnist, svhn};
use tiebreak::net::{Graph, Network};
use tiebreak::train::{GradScaler, Optimizer, OptimizerOptions};
use tiebreak::{AdamOptions, DType, Engine, Error, Result, Tensor};

/// What the files of this test, of a few KiB, may need: a header must not be trusted with more.
const MOST_MEMORY: usize = 64 << 20;

/// The system's allocator, watched.
struct Watched;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    PEAK.fetch_max(HELD.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

// The C ABI of the library that this test is linked with.
unsafe extern "C" {
    fn tb_last_error_message() -> *const c_char;
    fn tb_dataset_open(
        path: *const c_char,
        options: *const DatasetOptions,
        progress: *const c_void,
        user_data: *const c_void,
        train: *mut *mut c_void,
        test: *mut *mut c_void,
    ) -> i32;
    fn tb_dataset_free(dataset: *mut c_void) -> i32;
    fn tb_engine_create(options: *const c_void, engine: *mut *mut c_void) -> i32;
    fn tb_graph_create(input_shape: *const i64, graph: *mut *mut c_void) -> i32;
    fn tb_graph_batchnorm(
        graph: *const c_void,
        name: *const c_char,
        x: usize,
        options: *const c_void,
        node: *mut usize,
    ) -> i32;
    fn tb_graph_flatten(graph: *const c_void, name: *const c_char, x: usize, node: *mut usize) -> i32;
    fn tb_graph_linear(
        graph: *const c_void,
        name: *const c_char,
        x: usize,
        out_features: usize,
        bias: i32,
        node: *mut usize,
    ) -> i32;
    fn tb_network_create_from_graph(
        engine: *const c_void,
        graph: *const c_void,
        options: *const c_void,
        network: *mut *mut c_void,
    ) -> i32;
    fn tb_network_load(network: *const c_void, path: *const c_char, convert: i32) -> i32;
    fn tb_optimizer_options_init(options: *mut c_void, struct_size: usize, algorithm: i32) -> i32;
    fn tb_optimizer_create(
        network: *const c_void,
        options: *const c_void,
        optimizer: *mut *mut c_void,
    ) -> i32;
    fn tb_optimizer_load(optimizer: *const c_void, path: *const c_char) -> i32;
}

#[repr(C)]
struct DatasetOptions {
    struct_size: usize,
    image_size: usize,
    limit_per_class: usize,
    limit: usize,
}

/// Photos become so large.
const SIDE: usize = 8;

/// One network and its optimizer, in Rust and in C.
struct Readers {
    network: Network,
    optimizer: Optimizer,
    network_handle: *mut c_void,
    optimizer_handle: *mut c_void,
}

impl Readers {
    fn new() -> Readers {
        let mut graph = Graph::new([1, 2, 2]);
        let x = graph.batchnorm("norm", graph.input()).unwrap();
        let x = graph.flatten("flat", x).unwrap();
        graph.linear("head", x, 2, true).unwrap();
        let mut network = Network::new(&Engine::cpu(), &graph, DType::F32, 1).unwrap();
        let adam = AdamOptions { amsgrad: true, ..Default::default() };
        let options = OptimizerOptions { grad_scaler: Some(GradScaler::default()), ..adam.into() };
        let optimizer = Optimizer::new(&mut network, options).unwrap();

        let (mut engine, mut graph) = (null_mut(), null_mut());
        let (mut network_handle, mut optimizer_handle) = (null_mut(), null_mut());
        let mut options = [0u64; 32];
        let node = null_mut();
        // SAFETY: as the header states it; `options` has room for the struct.
        let statuses = unsafe {
            [
                tb_engine_create(null(), &mut engine),
                tb_graph_create([1, 2, 2].as_ptr(), &mut graph),
                tb_graph_batchnorm(graph, c"norm".as_ptr(), 0, null(), node),
                tb_graph_flatten(graph, c"flat".as_ptr(), 1, node),
                tb_graph_linear(graph, c"head".as_ptr(), 2, 2, 1, node),
                tb_network_create_from_graph(engine, graph, null(), &mut network_handle),
                tb_optimizer_options_init(options.as_mut_ptr().cast(), size_of_val(&options), 1),
                {
                    let flags = options.as_mut_ptr().cast::<i32>();
                    *flags.add(AMSGRAD) = 1;
                    *flags.add(GRAD_SCALER) = 1;
                    tb_optimizer_create(network_handle, options.as_ptr().cast(), &mut optimizer_handle)
                },
            ]
        };
        assert_eq!(statuses, [0; 8]);
        Readers { network, optimizer, network_handle, optimizer_handle }
    }

    /// Bits that depend on every parameter and statistic.
    fn logits(&mut self) -> Vec<u64> {
        let logits = self.network.forward(batch().view()).unwrap();
        logits.to_f64().into_iter().map(f64::to_bits).collect()
    }

    /// Goes on with what was read, whatever numbers it holds.
    fn train(&mut self) {
        self.optimizer.train_step(&mut self.network, batch().view(), &[1, 0]).unwrap();
    }
}

/// Places of `tb_optimizer_options`, counted in numbers of 32 bits.
const AMSGRAD: usize = 4;
const GRAD_SCALER: usize = 28;

fn batch() -> Tensor {
    let values = [1.0, 2.0, -3.0, 4.5, 0.5, -1.0, 2.5, 8.0];
    Tensor::from_f64(DType::F32, &[2, 1, 2, 2], &values).unwrap()
}

/// Takes batches of what was read.
fn look_at(split: Split) {
    for part in [split.train, split.test] {
        part.batch(&(0..part.len()).collect::<Vec<_>>(), DType::F32).unwrap();
    }
}

type ReadInRust = fn(&mut Readers, &Path) -> Result<()>;
type ReadInC = fn(&Readers, &Path) -> i32;

/// Files that are read together, in one folder.
struct Kind {
    name: &'static str,
    files: Vec<(&'static str, Vec<u8>)>,
    in_rust: ReadInRust,
    in_c: ReadInC,
}

fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

fn dataset_open(folder: &Path) -> i32 {
    let (mut train, mut test) = (null_mut(), null_mut());
    let options = DatasetOptions { struct_size: 32, image_size: SIDE, limit_per_class: 0, limit: 0 };
    // SAFETY: as the header states it.
    unsafe {
        let status =
            tb_dataset_open(c_path(folder).as_ptr(), &options, null(), null(), &mut train, &mut test);
        assert_eq!([train.is_null(), test.is_null()], [status != 0; 2]);
        assert_eq!([tb_dataset_free(train), tb_dataset_free(test)], [0; 2]);
        status
    }
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn idx() -> Kind {
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>();
    let pixels = (0..2 * 28 * 28).map(|i| (i % 251) as u8).collect::<Vec<u8>>();
    let images = [words(&[0x803, 2, 28, 28]), pixels].concat();
    let labels = [words(&[0x801, 2]), vec![7, 3]].concat();
    let files = vec![
        ("t10k-images-idx3-ubyte.gz", gz(&images)),
        ("t10k-labels-idx1-ubyte.gz", gz(&labels)),
        ("train-images-idx3-ubyte", images),
        ("train-labels-idx1-ubyte", labels),
    ];
    Kind {
        name: "IDX",
        files,
        in_rust: |_, folder| mnist::load(folder).map(look_at),
        in_c: |_, folder| dataset_open(folder),
    }
}

/// C reads files of 10,000 images only: all of these are too short for it.
fn cifar() -> Kind {
    let record = (0..3073).map(|i| (i % 10) as u8).collect();
    Kind {
        name: "CIFAR-10",
        files: vec![("data_batch_1.bin", record)],
        in_rust: |_, folder| {
            let part = cifar10::read(folder.join("data_batch_1.bin"), 1)?;
            part.batch(&[0], DType::F32).map(drop)
        },
        in_c: |_, folder| dataset_open(folder),
    }
}

fn svhn() -> Kind {
    let part = |labels: &[u8]| {
        let pixels: Vec<u8> = (0..labels.len() * 3072).map(|i| (i % 253) as u8).collect();
        let x = mat5::matrix(b'X', &[32, 32, 3, labels.len() as i32], &pixels);
        (x, mat5::matrix(b'y', &[labels.len() as i32, 1], labels))
    };
    let ((x, y), (test_x, test_y)) = (part(&[10, 3]), part(&[1]));
    let files = vec![
        ("train_32x32.mat", mat5::mat(&[mat5::compressed(&x), mat5::compressed(&y)])),
        ("test_32x32.mat", mat5::mat(&[test_x, test_y])),
    ];
    Kind {
        name: "SVHN",
        files,
        in_rust: |_, folder| svhn::load(folder).map(look_at),
        in_c: |_, folder| dataset_open(folder),
    }
}

/// Three planes of 2x2 blocks, all of them grey: what the encoder at hand does not write.
fn progressive_jpeg() -> Vec<u8> {
    [
        &[0xff, 0xd8, 0xff, 0xdb, 0, 67, 0][..],
        &[1; 64],
        &[0xff, 0xc2, 0, 17, 8, 0, 16, 0, 16, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0],
        &[0xff, 0xc4, 0, 20, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 0, 0, 0x00, 0x0f, 0xff, 0xd9],
    ]
    .concat()
}

fn photos() -> Kind {
    let encoded = |image: &DynamicImage, format| {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let colours = image::RgbImage::from_fn(11, 9, |x, y| image::Rgb([x as u8 * 20, y as u8 * 25, 90]));
    let colours = DynamicImage::from(colours);
    let deep = DynamicImage::from(colours.to_rgba16());
    let grey = DynamicImage::from(colours.to_luma8());
    let files = vec![
        ("train/a/1.png", encoded(&colours, ImageFormat::Png)),
        ("train/a/2.png", encoded(&deep, ImageFormat::Png)),
        ("train/b/1.jpg", encoded(&colours, ImageFormat::Jpeg)),
        ("train/b/2.jpg", progressive_jpeg()),
        ("val/a/1.png", encoded(&grey, ImageFormat::Png)),
        ("val/b/1.jpg", encoded(&grey, ImageFormat::Jpeg)),
    ];
    Kind {
        name: "photos",
        files,
        in_rust: |_, folder| {
            let options = image_folder::ImageFolderOptions { size: SIDE, ..Default::default() };
            image_folder::load(folder, &options).map(look_at)
        },
        in_c: |_, folder| dataset_open(folder),
    }
}

fn parameters(readers: &mut Readers, folder: &Path) -> Kind {
    let name = "network.safetensors";
    readers.network.save(folder.join(name)).unwrap();
    Kind {
        name: "parameters",
        files: vec![(name, fs::read(folder.join(name)).unwrap())],
        in_rust: |readers, folder| {
            let before = readers.logits();
            let result = readers.network.load(folder.join("network.safetensors"), true);
            match &result {
                Ok(()) => readers.train(),
                Err(_) => assert_eq!(readers.logits(), before, "a refused file changed the network"),
            }
            result
        },
        in_c: |readers, folder| {
            let path = c_path(&folder.join("network.safetensors"));
            // SAFETY: as the header states it.
            unsafe { tb_network_load(readers.network_handle, path.as_ptr(), 1) }
        },
    }
}

fn run_file(readers: &mut Readers, folder: &Path) -> Kind {
    let name = "run.safetensors";
    readers.train();
    readers.optimizer.save(&mut readers.network, folder.join(name)).unwrap();
    Kind {
        name: "run",
        files: vec![(name, fs::read(folder.join(name)).unwrap())],
        in_rust: |readers, folder| {
            let (before, steps) = (readers.logits(), readers.optimizer.steps());
            let result = readers.optimizer.load(&mut readers.network, folder.join("run.safetensors"));
            match &result {
                Ok(()) => readers.train(),
                Err(_) => {
                    assert_eq!(readers.optimizer.steps(), steps, "a refused file changed the optimizer");
                    assert_eq!(readers.logits(), before, "a refused file changed the network");
                }
            }
            result
        },
        in_c: |readers, folder| {
            let path = c_path(&folder.join("run.safetensors"));
            // SAFETY: as the header states it.
            unsafe { tb_optimizer_load(readers.optimizer_handle, path.as_ptr()) }
        },
    }
}

/// Makes damage.
struct Damage {
    random: Philox,
}

impl Damage {
    fn below(&mut self, n: usize) -> usize {
        self.random.bounded(n.max(1) as u32) as usize
    }

    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        let longest = if self.below(2) == 0 { 9 } else { len };
        start..(start + self.below(longest)).min(len)
    }

    /// The file damaged once, with `other` to take from.
    fn once(&mut self, mut bytes: Vec<u8>, other: &[u8]) -> Vec<u8> {
        let len = bytes.len();
        match self.below(9) {
            0 => bytes.truncate(self.below(len)),
            1 | 2 => {
                // Values stand at the end, of which many are right.
                let from = if self.below(2) == 0 { 0 } else { len - len / 4 };
                for _ in 0..1 + self.below(8) {
                    let (at, bit) = (from + self.below(len - from), self.below(8));
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << bit;
                    }
                }
            }
            3 => {
                let near = self.below(2) == 0;
                let at = self.below(if near { len.min(64) } else { len });
                let value = [0, 1, u64::MAX, u64::MAX >> 1, 1 << 31, 1 << 24, 0xffff][self.below(7)];
                let size = [2, 4, 8][self.below(3)];
                let number = if self.below(2) == 0 {
                    value.to_be_bytes()[8 - size..].to_vec()
                } else {
                    value.to_le_bytes()[..size].to_vec()
                };
                bytes.iter_mut().skip(at).zip(number).for_each(|(to, from)| *to = from);
            }
            4 => drop(bytes.drain(self.range(len))),
            5 => {
                let (at, piece) = (self.below(len + 1), self.range(other.len()));
                bytes.splice(at..at, other[piece].iter().copied());
            }
            6 => {
                let (kept, from) = (self.below(len), self.below(other.len()));
                bytes.truncate(kept);
                bytes.extend(&other[from..]);
            }
            _ => self.edit_header(&mut bytes),
        }
        bytes
    }

    /// Puts something else into the text at the head of a safetensors file, and its length before it.
    fn edit_header(&mut self, bytes: &mut Vec<u8>) {
        let Some(len) = bytes.first_chunk::<8>().map(|n| u64::from_le_bytes(*n) as usize) else { return };
        let Some(text) = bytes.get(8..).and_then(|rest| rest.get(..len)) else { return };
        let Ok(mut text) = String::from_utf8(text.to_vec()) else { return };
        for _ in 0..1 + self.below(3) {
            text = if self.below(3) == 0 { self.other_words(text) } else { self.other_number(text) };
        }
        let head = [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
        bytes.splice(..8 + len, head);
    }

    fn other_words(&mut self, text: String) -> String {
        let (from, to) = [
            ("[", "[0,"),
            ("[", "[1,1,1,1,1,1,1,1,"),
            ("F32", "F64"),
            ("F32", "I64"),
            ("F32", "F8_E4M3"),
            ("I64", "U64"),
            ("F32", "F4"),
            ("}", "},"),
            ("\"", "\\\""),
            ("norm", "norm\\u0000"),
            ("adam", "sgd"),
        ][self.below(11)];
        let places: Vec<usize> = text.match_indices(from).map(|(at, _)| at).collect();
        if places.is_empty() {
            return text;
        }
        let at = places[self.below(places.len())];
        format!("{}{to}{}", &text[..at], &text[at + from.len()..])
    }

    fn other_number(&mut self, text: String) -> String {
        let digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
        let starts: Vec<usize> = (1..text.len()).filter(|&at| digit(at) && !digit(at - 1)).collect();
        if starts.is_empty() {
            return text;
        }
        let start = starts[self.below(starts.len())];
        let end = (start..).find(|&at| !digit(at)).unwrap();
        let numbers = [
            "0",
            "1",
            "2",
            "-1",
            "4294967295",
            "9007199254740993",
            "9223372036854775807",
            "18446744073709551615",
            "18446744073709551616",
            "1e308",
            "1e999",
        ];
        format!("{}{}{}", &text[..start], numbers[self.below(numbers.len())], &text[end..])
    }
}

/// The checksums of a PNG file made right, so that what was damaged is looked at.
fn mend_png(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(head) = bytes.get(at..at + 8) {
        let len = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        let Some(chunk) = bytes.get_mut(at + 4..at + 12 + len) else { return };
        let mut crc = Crc::new();
        crc.update(&chunk[..4 + len]);
        chunk[4 + len..].copy_from_slice(&crc.sum().to_be_bytes());
        at += 12 + len;
    }
}

struct Test {
    readers: Readers,
    kinds: Vec<Kind>,
    folders: Vec<PathBuf>,
    /// By kind: how many were read and how many refused.
    counts: BTreeMap<&'static str, [usize; 2]>,
}

impl Test {
    /// Reads a kind's files with `bytes` in place of one of them. `what` tells which damage it is.
    fn read(&mut self, kind: usize, file: usize, bytes: &[u8], what: &dyn Fn() -> String) {
        let folder = &self.folders[kind];
        let kind = &self.kinds[kind];
        let (name, whole) = &kind.files[file];
        let path = folder.join(name);
        overwrite(&path, bytes);
        let held = HELD.load(Relaxed);
        PEAK.store(held, Relaxed);
        let through_c = self.counts.values().flatten().sum::<usize>() % 3 == 0;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let result = (kind.in_rust)(&mut self.readers, folder);
            let in_c = through_c.then(|| {
                let status = (kind.in_c)(&self.readers, folder);
                // SAFETY: a string of the library.
                (status, unsafe { CStr::from_ptr(tb_last_error_message()) }.to_string_lossy().into_owned())
            });
            (result, in_c)
        }));
        let needed = PEAK.load(Relaxed) - held;
        let fault = match &outcome {
            Err(_) => Some("a panic".to_string()),
            _ if needed > MOST_MEMORY => Some(format!("{needed} bytes of memory")),
            Ok((result, in_c)) => fault(kind.name, name, result, in_c.as_ref()),
        };
        if let Some(fault) = fault {
            let kept = std::env::temp_dir().join(format!("tiebreak-fuzz-{}", name.replace('/', "-")));
            fs::write(&kept, bytes).unwrap();
            panic!("{} ({name}), {}: {fault}; the file is kept as {}", kind.name, what(), kept.display());
        }
        let refused = outcome.is_ok_and(|(result, ..)| result.is_err());
        self.counts.entry(kind.name).or_default()[refused as usize] += 1;
        overwrite(&path, whole);
    }
}

/// As `fs::write`, which some file systems make wait for the disk where a file becomes empty in between.
fn overwrite(path: &Path, bytes: &[u8]) {
    let mut file = fs::File::options().write(true).open(path).unwrap();
    file.write_all(bytes).and_then(|()| file.set_len(bytes.len() as u64)).unwrap();
}

/// What is wrong with the answers in Rust and, where it was asked, in C.
fn fault(kind: &str, file: &str, result: &Result<()>, in_c: Option<&(i32, String)>) -> Option<String> {
    let text = match result {
        Err(e @ (Error::Io { .. } | Error::Format { .. })) => e.to_string(),
        Err(e) => return Some(format!("another error: {e:?}")),
        Ok(()) => file.to_string(),
    };
    if !text.contains(file) {
        return Some(format!("the error does not name it: {text}"));
    }
    let (status, message) = in_c?;
    let expected = result.as_ref().map_or_else(|e| e.status() as i32, |()| 0);
    let short_in_c = kind == "CIFAR-10" && *status == tiebreak::Status::Format as i32;
    if *status != expected && !short_in_c {
        return Some(format!("{result:?} in Rust, {status} in C: {message}"));
    }
    (*status != 0 && !message.contains(file)).then(|| format!("C does not name it: {message}"))
}

#[test]
fn damaged_files_are_read_or_refused() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}: no number: {v}")))
    };
    let (files, seed) = (number("TIEBREAK_FUZZ_FILES", 8_000), number("TIEBREAK_FUZZ_SEED", 1));
    println!("seed {seed}");
    let root = tempfile::TempDir::new().unwrap();
    let mut readers = Readers::new();
    let own = [parameters(&mut readers, root.path()), run_file(&mut readers, root.path())];
    let kinds: Vec<Kind> = [idx(), cifar(), svhn(), photos()].into_iter().chain(own).collect();
    let folders: Vec<PathBuf> = kinds.iter().map(|kind| root.path().join(kind.name)).collect();
    for (kind, folder) in kinds.iter().zip(&folders) {
        for (name, bytes) in &kind.files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        (kind.in_rust)(&mut readers, folder).unwrap_or_else(|e| panic!("the whole files: {e}"));
        let status = (kind.in_c)(&readers, folder);
        assert!(status == 0 || kind.name == "CIFAR-10", "the whole files of {}: {status}", kind.name);
    }
    let all: Vec<(usize, usize)> = (0..kinds.len())
        .flat_map(|kind| (0..kinds[kind].files.len()).map(move |file| (kind, file)))
        .collect();
    let contents: Vec<Vec<u8>> = all.iter().map(|&(kind, file)| kinds[kind].files[file].1.clone()).collect();
    let mut test = Test { readers, kinds, folders, counts: BTreeMap::new() };

    for (&(kind, file), whole) in all.iter().zip(&contents) {
        for len in 0..whole.len() {
            test.read(kind, file, &whole[..len], &|| format!("cut to {len} bytes"));
        }
        for at in 0..whole.len().min(192) {
            for (size, value) in [(1, 0), (1, 0xff), (2, 0xff), (4, 0), (4, 0xff), (8, 0xff)] {
                let mut bytes = whole.clone();
                bytes.iter_mut().skip(at).take(size).for_each(|byte| *byte = value);
                mend_png(&mut bytes);
                test.read(kind, file, &bytes, &|| format!("{size} bytes at {at} are {value:#x}"));
            }
        }
        for (other, bytes) in contents.iter().enumerate() {
            test.read(kind, file, bytes, &|| format!("file {other} in its place"));
        }
    }
    let mut damage = Damage { random: Philox::from_u64_seed_stream(seed, 0) };
    for number in 0..files {
        let which = damage.below(all.len());
        let mut bytes = contents[which].clone();
        for _ in 0..1 + damage.below(3) {
            let other = damage.below(all.len());
            bytes = damage.once(bytes, &contents[other]);
        }
        if damage.below(4) > 0 {
            mend_png(&mut bytes);
        }
        let (kind, file) = all[which];
        test.read(kind, file, &bytes, &|| format!("seed {seed}, file {number}"));
    }
    for (kind, [read, refused]) in &test.counts {
        println!("{kind}: {} files, {read} read, {refused} refused", read + refused);
        assert!(*read > 0 && *refused > 0, "{kind}");
    }
}
