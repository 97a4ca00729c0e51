//! Compiles the C programs in `tests/c` and `examples/c` against this build's shared and static library and runs
//! them. Without a C compiler the tests say so and pass, or fail under `TIEBREAK_REQUIRE_CC=1`.
#![cfg(unix)]

#[path = "support/programs.rs"]
mod programs;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use programs::{
    compiler, has, has_sanitizers, number_after, program, required, root, run, sanitized, shared_library,
    text,
};
use tempfile::TempDir;

/// Warnings of the C programs are errors.
const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Library {
    Shared,
    Static,
}

impl Library {
    /// The static library's own needs are known for Linux (`rustc --print native-static-libs`, without what
    /// the C compiler links anyway); elsewhere the shared one alone is tested.
    fn all() -> &'static [Library] {
        if cfg!(target_os = "linux") { &[Library::Shared, Library::Static] } else { &[Library::Shared] }
    }
}

fn cc() -> Option<String> {
    compiler("CC", "cc")
}

/// Compiles and links one source file; the program's path.
fn build(cc: &str, source: &str, library: Library, flags: &[&str], out: &TempDir) -> PathBuf {
    let source = root().join(source);
    let name = format!("{}_{library:?}", source.file_stem().unwrap().to_str().unwrap());
    let path = out.path().join(name);
    let mut command = Command::new(cc);
    command.args(["-std=c11", "-O1", "-g"]).args(STRICT).arg("-I").arg(root().join("include"));
    command.arg(&source).arg("-o").arg(&path);
    match library {
        Library::Shared => command.arg("-L").arg(shared_library().parent().unwrap()).arg("-ltiebreak"),
        Library::Static => command.arg(programs::library("libtiebreak.a")).arg("-ldl"),
    };
    run(command.args(["-lpthread", "-lm"]).args(flags));
    path
}

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = std::fs::read_to_string(root().join("include/tiebreak.h")).unwrap();
    let mut functions = BTreeSet::new();
    let mut comment = false;
    for line in header.lines() {
        comment |= line.starts_with("/*");
        let declares = !comment && line.starts_with(char::is_alphabetic) && !line.starts_with("typedef");
        if let (true, Some((before, _))) = (declares, line.split_once('(')) {
            let name = before.rsplit([' ', '*']).next().unwrap();
            assert!(name.starts_with("tb_"), "{line}");
            functions.insert(name.to_string());
        }
        comment &= !line.ends_with("*/");
    }
    functions
}

#[test]
fn the_shared_library_exports_what_the_header_declares() {
    let declared = declared();
    assert!(declared.len() >= 100, "{declared:?}");
    if !cfg!(target_os = "linux") {
        return;
    }
    if !has("nm") {
        return;
    }
    let symbols = run(Command::new("nm").args(["-D", "--defined-only"]).arg(shared_library()));
    let exported: BTreeSet<String> =
        symbols.lines().filter_map(|line| line.split_whitespace().nth(2)).map(String::from).collect();
    assert_eq!(exported, declared);
}

/// What a program linked with an older library relies on: functions are added, none goes. A new one is written down by
/// `TIEBREAK_BLESS=1 cargo test --test c_abi symbols`.
#[test]
fn symbols_are_frozen() {
    let path = root().join("tests/c/symbols.txt");
    let declared = declared();
    if std::env::var("TIEBREAK_BLESS").is_ok_and(|v| v == "1") {
        let known: BTreeSet<String> =
            std::fs::read_to_string(&path).unwrap_or_default().lines().map(String::from).collect();
        let all: Vec<String> = known.union(&declared).cloned().collect();
        std::fs::write(&path, all.join("\n") + "\n").unwrap();
    }
    let frozen: BTreeSet<String> =
        std::fs::read_to_string(&path).unwrap().lines().map(String::from).collect();
    let gone: Vec<_> = frozen.difference(&declared).collect();
    assert!(gone.is_empty(), "these functions of an earlier version are gone: {gone:?}");
    let new: Vec<_> = declared.difference(&frozen).collect();
    assert!(new.is_empty(), "not in tests/c/symbols.txt yet: {new:?}");
}

/// The shared library is named by the version of its binary interface, and a program asks for it by that name.
#[test]
fn the_soname_is_the_abi_version() {
    if !cfg!(target_os = "linux") || !has("readelf") {
        return;
    }
    let header = std::fs::read_to_string(root().join("include/tiebreak.h")).unwrap();
    let version = header.split_once("#define TB_ABI_VERSION ").unwrap().1.split_whitespace().next().unwrap();
    let dynamic = run(Command::new("readelf").arg("-d").arg(shared_library()));
    let soname = format!("[libtiebreak.so.{version}]");
    assert!(dynamic.lines().any(|l| l.contains("SONAME") && l.contains(&soname)), "{dynamic}");
}

#[test]
fn every_function_is_tested() {
    for test in ["abi_test.c", "misuse_test.c"] {
        let source = std::fs::read_to_string(root().join("tests/c").join(test)).unwrap();
        // These cannot fail.
        let infallible = ["tb_abi_version", "tb_version_string", "tb_status_name", "tb_last_error_message"];
        for function in declared() {
            let needed = test == "abi_test.c" || !infallible.contains(&&*function);
            assert!(!needed || source.contains(&format!("{function}(")), "{test} does not call {function}");
        }
    }
}

#[test]
fn the_header_stands_alone() {
    let compile = |compiler: &str, standard: &str, source: &str, extra: &[&str]| {
        let mut command = Command::new(compiler);
        command.arg(format!("-std={standard}")).args(STRICT).args(extra);
        command.arg("-I").arg(root().join("include")).arg(root().join("tests/c").join(source));
        command
    };
    let out = TempDir::new().unwrap();
    for (compiler, source, standards, probe) in [
        (cc(), "header_c.c", &["c99", "c11", "c17", "c2x"][..], "c"),
        (compiler("CXX", "c++"), "header_cpp.cpp", &["c++11", "c++14", "c++17", "c++20"][..], "c++"),
    ] {
        let Some(compiler) = compiler else { continue };
        for standard in standards {
            // The newest may be unknown to an older compiler; the others must not be.
            let knows = Command::new(&compiler)
                .args(["-fsyntax-only", &format!("-std={standard}"), "-x", probe, "/dev/null"])
                .output()
                .unwrap();
            if *standard == "c2x" && !knows.status.success() {
                eprintln!("skipped: {compiler} does not know {standard}");
                continue;
            }
            run(compile(&compiler, standard, source, &["-fsyntax-only"]).arg("-Wshadow"));
        }
        let path = out.path().join(source).with_extension("out");
        let folder = shared_library().parent().unwrap().to_path_buf();
        let mut link = compile(&compiler, standards[1], source, &[]);
        run(link.arg("-o").arg(&path).arg("-L").arg(folder).arg("-ltiebreak"));
        run(&mut program(&path));
    }
}

#[test]
fn abi() {
    let Some(cc) = cc() else { return };
    let out = TempDir::new().unwrap();
    for &library in Library::all() {
        let path = build(&cc, "tests/c/abi_test.c", library, &[], &out);
        let data = TempDir::new().unwrap();
        write_idx(data.path(), "train", 64);
        write_idx(data.path(), "t10k", 64);
        let printed = run(program(&path).env("TIEBREAK_TEST_MNIST", data.path()));
        assert!(printed.contains("0 failed: ok"), "{printed}");
        run(program(&path).arg("auto"));
        let gpu = program(&path).arg("gpu").output().unwrap();
        let text = text(&gpu);
        match gpu.status.code() {
            Some(0) => {}
            Some(77) => {
                assert!(!required("TIEBREAK_REQUIRE_GPU"), "TIEBREAK_REQUIRE_GPU=1: {text}");
                eprint!("{text}");
            }
            _ => panic!("abi_test gpu: {}\n{text}", gpu.status),
        }
    }
}

/// A test program with either library.
fn passes(test: &str) {
    let Some(cc) = cc() else { return };
    let out = TempDir::new().unwrap();
    for &library in Library::all() {
        let path = build(&cc, &format!("tests/c/{test}.c"), library, &[], &out);
        let printed = run(&mut program(&path));
        assert!(printed.contains("0 failed: ok"), "{printed}");
    }
}

#[test]
fn misuse() {
    passes("misuse_test");
}

#[test]
fn threads() {
    passes("threads_test");
}

#[test]
fn structs_of_older_programs() {
    let test = std::fs::read_to_string(root().join("tests/c/prefix_test.c")).unwrap();
    let header = std::fs::read_to_string(root().join("include/tiebreak.h")).unwrap();
    let growing = header.split("typedef struct tb_").skip(1).filter_map(|part| {
        let (name, body) = part.split_once(" {")?;
        body.split_once("\n}")?.0.contains("size_t struct_size;").then_some(name)
    });
    let growing: Vec<&str> = growing.collect();
    assert!(growing.len() > 20, "{growing:?}");
    for name in growing {
        assert!(test.contains(&format!("({name}, ")), "prefix_test.c has no first size of tb_{name}");
    }
    passes("prefix_test");
}

#[test]
fn nothing_leaks() {
    let Some(cc) = cc() else { return };
    if !cfg!(target_os = "linux") || !has("valgrind") {
        return;
    }
    let out = TempDir::new().unwrap();
    let path = build(&cc, "tests/c/abi_test.c", Library::Shared, &[], &out);
    let mut valgrind = program(Path::new("valgrind"));
    valgrind.args(["--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
    // Suppresses nothing: the default kinds of errors, and every block that is lost for certain.
    valgrind.env("TIEBREAK_TEST_CPU_ONLY", "1").env("TIEBREAK_TEST_FOLDER", out.path());
    run(valgrind.args(["--show-leak-kinds=definite", "--quiet"]).arg(&path));
}

/// The library itself is not instrumented, but its memory comes from the sanitizer, which sees what it leaks, frees twice
/// or writes into the programs' arrays past their end where the C library does that for it.
#[test]
fn sanitizers_find_nothing() {
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let Some(cc) = cc().filter(|cc| has_sanitizers(cc, &flags)) else { return };
    let out = TempDir::new().unwrap();
    for test in ["abi_test", "misuse_test", "threads_test", "prefix_test"] {
        let path = build(&cc, &format!("tests/c/{test}.c"), Library::Shared, &flags, &out);
        let printed = run(sanitized(&mut program(&path)).env("TIEBREAK_TEST_CPU_ONLY", "1"));
        assert!(printed.contains("0 failed: ok"), "{printed}");
    }
}

/// The README's C program says what it prints, in the comment behind the line that does.
#[test]
fn readme_program() {
    let Some(cc) = cc() else { return };
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let code = readme.split_once("```c\n").unwrap().1.split_once("```").unwrap().0;
    let printed = code.lines().find(|line| line.trim_start().starts_with("printf(")).unwrap();
    let expected = printed.split_once("/*").unwrap().1.split_once("*/").unwrap().0;
    let out = TempDir::new().unwrap();
    let source = out.path().join("first.c");
    std::fs::write(&source, code).unwrap();
    for &library in Library::all() {
        let path = build(&cc, source.to_str().unwrap(), library, &[], &out);
        assert_eq!(run(&mut program(&path)).trim(), expected.trim());
    }
}

#[test]
fn own_trainer() {
    let Some(cc) = cc() else { return };
    let out = TempDir::new().unwrap();
    let mut printed = Vec::new();
    for &library in Library::all() {
        let path = build(&cc, "examples/c/own_trainer.c", library, &[], &out);
        let text = run(&mut program(&path));
        let accuracy = number_after(&text, "test accuracy ");
        assert!(accuracy > 85.0, "{text}");
        let differ = text.matches("windows tie").count();
        assert!(differ == 2 && number_after(&text, "L1 ") > 1e-2, "{text}");
        printed.push(text);
        assert_eq!(program(&path).arg("--unknown").output().unwrap().status.code(), Some(2));
    }
    printed.dedup();
    assert_eq!(printed.len(), 1, "both libraries compute the same");
}

/// Writes `count` images, each a bar whose place is its label, in MNIST's format.
fn write_idx(folder: &Path, part: &str, count: usize) {
    let mut images = [0u32, 0, 0, 0].map(u32::to_be_bytes).concat();
    for (i, value) in [0x803, count as u32, 28, 28].into_iter().enumerate() {
        images[4 * i..4 * i + 4].copy_from_slice(&value.to_be_bytes());
    }
    let mut labels = [0x801, count as u32].map(u32::to_be_bytes).concat();
    for i in 0..count {
        // A fixed sequence without a pattern in the order of the labels.
        let label = (i * i + i / 10) % 10;
        labels.push(label as u8);
        for pixel in 0..28 * 28 {
            let (row, column) = (pixel / 28, pixel % 28);
            let bar = row / 2 == label + 2 && (4..24).contains(&column);
            images.push(if bar { 255 } else { ((pixel * 7 + i * 13) % 32) as u8 });
        }
    }
    std::fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
    std::fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
}

#[test]
fn train_lenet() {
    let Some(cc) = cc() else { return };
    let out = TempDir::new().unwrap();
    let data = TempDir::new().unwrap();
    write_idx(data.path(), "train", 640);
    write_idx(data.path(), "t10k", 100);
    let lenet = |path: &Path, arguments: &[&str]| {
        let mut command = program(path);
        command
            .arg("--data")
            .arg(data.path())
            .args(["--device", "cpu", "--batch-size", "32"])
            .args(arguments);
        command
    };
    for &library in Library::all() {
        let path = build(&cc, "examples/c/train_lenet.c", library, &[], &out);
        let text = run(&mut lenet(&path, &["--epochs", "4"]));
        assert!(text.contains("640 training and 100 test images"), "{text}");
        assert!(number_after(&text, "test accuracy ") > 90.0, "{text}");
    }
    let path = out.path().join("train_lenet_Shared");
    let results = |text: &str| -> Vec<String> {
        let numbers = |line: &str| line.split("  (").next().unwrap().to_string();
        text.lines().filter(|line| line.starts_with("epoch")).map(numbers).collect()
    };
    let native = run(&mut lenet(&path, &["--limit", "96", "--epochs", "1"]));
    for arguments in [
        &["--jacobian", "last"][..],
        &["--jacobian", "minimal", "--precision", "64"],
        &["--jacobian", "random", "--precision", "16"],
        &["--jacobian", "beta", "--beta", "10"],
        &["--jacobian", "beta", "--beta", "10", "--composition", "split", "--precision", "16"],
        &["--jacobian", "beta", "--beta", "-3.5", "--composition", "coupled"],
        &["--jacobian", "beta", "--beta", "10", "--composition", "forward"],
        &["--jacobian", "first_column"],
        &["--jacobian", "all"],
        &["--jacobian", "scaled", "--precision", "64"],
    ] {
        let text = run(lenet(&path, &["--limit", "96", "--epochs", "1"]).args(arguments));
        assert!(text.contains("96 training and 96 test images"), "{text}");
        assert_eq!(results(&text).len(), results(&native).len(), "{text}");
    }
    let again = run(&mut lenet(&path, &["--limit", "96", "--epochs", "1"]));
    assert_eq!(results(&again), results(&native), "the same seed, the same numbers");

    // Wrong options end with 2, wrong data with 1, and both say why.
    let help = run(program(&path).arg("--help"));
    for option in ["--data", "--jacobian", "--composition", "--precision", "--learning-rate", "--limit"] {
        assert!(help.contains(option), "{help}");
    }
    for (arguments, complaint) in [
        (&["--jacobian", "first"][..], "native last minimal beta random first_column all scaled"),
        (&["--precision", "24"], "16, 32 or 64"),
        (&["--epochs", "0"], "--epochs"),
        (&["--beta", "nan"], "--beta"),
        (&["--beta"], "--beta"),
        (&["--speed", "3"], "--speed"),
        (&["extra", "3"], "extra"),
    ] {
        let output = lenet(&path, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output).contains(complaint), "{}", text(&output));
    }
    refuses_damaged_files(&|| lenet(&path, &[]), data.path());
}

fn refuses_damaged_files(lenet: &dyn Fn() -> Command, data: &Path) {
    let refused = |file: &str, change: &dyn Fn(&mut Vec<u8>), complaint: &str| {
        let path = data.join(file);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        change(&mut bad);
        std::fs::write(&path, bad).unwrap();
        let output = lenet().output().unwrap();
        std::fs::write(&path, good).unwrap();
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{file}, {complaint}: {text}");
        assert!(text.contains(complaint) && text.contains(file), "{text}");
    };
    let images = "t10k-images-idx3-ubyte";
    refused(images, &|b| b.truncate(7), "header");
    refused(images, &|b| b.truncate(b.len() - 1), "short");
    refused(images, &|b| b.push(0), "longer");
    refused(images, &|b| b[2] = 9, "IDX");
    refused(images, &|b| b[11] = 27, "28 x 28");
    refused(images, &|b| b[4] = 0xff, "count");
    refused(images, &|b| b[4..8].fill(0), "count");
    refused("t10k-labels-idx1-ubyte", &|b| b[7] -= 1, "number of labels");
    refused("train-labels-idx1-ubyte", &|b| b[8] = 10, "no digit");
    std::fs::remove_file(data.join(images)).unwrap();
    let output = lenet().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("gunzip"), "{}", text(&output));
}

/// The real digits, as they are distributed, if zlib can be linked.
#[test]
fn train_lenet_on_mnist() {
    let Some(cc) = cc() else { return };
    let folder = std::env::var_os("TIEBREAK_MNIST").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| root().join("../shared/data/mnist"));
    if !folder.join("train-images-idx3-ubyte.gz").exists() {
        eprintln!("skipped: no MNIST in {}; set TIEBREAK_MNIST to its folder", folder.display());
        return;
    }
    let out = TempDir::new().unwrap();
    let probe = out.path().join("probe.c");
    std::fs::write(&probe, "#include <zlib.h>\nint main(void) { return zlibVersion() == 0; }\n").unwrap();
    let has_zlib = Command::new(&cc).arg(&probe).arg("-o").arg(out.path().join("probe")).arg("-lz").output();
    if !has_zlib.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: no zlib");
        return;
    }
    let flags = ["-DTIEBREAK_ZLIB", "-lz"];
    let path = build(&cc, "examples/c/train_lenet.c", Library::Shared, &flags, &out);
    let mut lenet = program(&path);
    lenet.arg("--data").arg(&folder);
    lenet.args(["--limit", "6000", "--batch-size", "32", "--learning-rate", "0.01", "--device", "cpu"]);
    let text = run(&mut lenet);
    assert!(number_after(&text, "test accuracy ") > 88.0, "{text}");
    let path = build(&cc, "examples/c/own_trainer.c", Library::Shared, &flags, &out);
    let text = run(program(&path).arg::<&OsStr>(folder.as_ref()));
    assert!(number_after(&text, "test accuracy ") > 80.0, "{text}");
}
