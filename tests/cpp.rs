//! Compiles the C++ programs in `tests/cpp` and `examples/cpp` against this build's shared and static library and runs them, with each
//! compiler that is installed, under both standards, with and without exceptions. What is missing is skipped, or a
//! failure under `TIEBREAK_REQUIRE_CC=1`.
#![cfg(unix)]

#[path = "support/programs.rs"]
mod programs;

use std::path::{Path, PathBuf};
use std::process::Command;

use programs::{has, has_sanitizers, library, number_after, program, root, run, sanitized, shared_library};
use tempfile::TempDir;

/// Warnings are errors.
const STRICT: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"];

/// How a program takes failures: thrown, returned because it has no exceptions, or at its own wish.
const FAILURES: [&str; 3] = ["-fexceptions", "-fno-exceptions", "-DTIEBREAK_NO_EXCEPTIONS"];

fn compile(compiler: &str, flags: &[&str], sources: &[&str]) -> Command {
    let mut command = Command::new(compiler);
    command.args(STRICT).args(flags).arg("-I").arg(root().join("include"));
    command.args(sources.iter().map(|s| root().join(s)));
    command
}

fn every_function_in_every_mode(compiler: &str) {
    if !has(compiler) {
        return;
    }
    let out = TempDir::new().unwrap();
    let sources = ["tests/cpp/hpp_test.cpp", "tests/cpp/returning.cpp"];
    let passes = |path: &Path| {
        let text = run(&mut program(path));
        assert!(text.contains("hpp_test: ") && text.contains("0 failed: ok"), "{text}");
    };
    // The standard matters little to who returns failures at its own wish.
    let modes = [("-std=c++17", &FAILURES[..]), ("-std=c++20", &FAILURES[..2])];
    for (standard, failures) in modes.into_iter().flat_map(|(s, all)| all.iter().map(move |f| (s, f))) {
        let path = out.path().join(format!("hpp_test{standard}{failures}"));
        let mut command = compile(compiler, &[standard, failures], &sources);
        let folder = shared_library().parent().unwrap().to_path_buf();
        run(command.arg("-o").arg(&path).arg("-L").arg(folder).arg("-ltiebreak"));
        passes(&path);
    }
    if cfg!(target_os = "linux") {
        let path = out.path().join("hpp_test_static");
        let mut command = compile(compiler, &["-std=c++17"], &sources);
        run(command.arg("-o").arg(&path).arg(library("libtiebreak.a")).args(["-lpthread", "-ldl", "-lm"]));
        passes(&path);
    }
}

#[test]
fn gcc() {
    every_function_in_every_mode("g++");
}

#[test]
fn clang() {
    every_function_in_every_mode("clang++");
}

/// As in `tests/c_abi.rs`.
#[test]
fn sanitizers_find_nothing() {
    let flags = ["-std=c++17", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    if !has("g++") || !has_sanitizers("g++", &flags[2..]) {
        return;
    }
    let out = TempDir::new().unwrap();
    let path = out.path().join("hpp_test");
    let mut command = compile("g++", &flags, &["tests/cpp/hpp_test.cpp", "tests/cpp/returning.cpp"]);
    let folder = shared_library().parent().unwrap().to_path_buf();
    run(command.arg("-o").arg(&path).arg("-L").arg(folder).arg("-ltiebreak"));
    let text = run(sanitized(&mut program(&path)));
    assert!(text.contains("0 failed: ok"), "{text}");
}

fn header() -> String {
    std::fs::read_to_string(root().join("include/tiebreak.h")).unwrap()
}

fn hpp() -> String {
    std::fs::read_to_string(root().join("include/tiebreak.hpp")).unwrap()
}

/// The lines of the header that are no comment.
fn declarations(header: &str) -> Vec<&str> {
    let mut comment = false;
    let mut lines = Vec::new();
    for line in header.lines() {
        comment |= line.trim_start().starts_with("/*");
        if !comment {
            lines.push(line);
        }
        comment &= !line.ends_with("*/");
    }
    lines
}

#[test]
fn every_function_of_the_c_header_is_called() {
    let (header, hpp) = (header(), hpp());
    let mut functions = 0;
    for line in declarations(&header) {
        let declares = line.starts_with(char::is_alphabetic) && !line.starts_with("typedef");
        let (true, Some((before, _))) = (declares, line.split_once('(')) else { continue };
        let name = before.rsplit([' ', '*']).next().unwrap();
        assert!(name.starts_with("tb_"), "{line}");
        functions += 1;
        let calls = [format!("{name}("), format!("TIEBREAK_CALL({name},"), format!("defaults({name}")];
        let frees = format!("{name}>");
        assert!(
            calls.iter().any(|call| hpp.contains(call)) || hpp.contains(&frees),
            "tiebreak.hpp does not call {name}"
        );
    }
    assert!(functions >= 100, "{functions}");
}

#[test]
fn every_field_and_constant_of_the_c_header_is_reachable() {
    let (header, hpp) = (header(), hpp());
    let (mut fields, mut constants, mut of_struct) = (0, 0, Vec::new());
    for line in declarations(&header) {
        if let Some(define) = line.strip_prefix("#define TB_") {
            let name = define.split_whitespace().next().unwrap();
            // The version is for programs of the C header.
            constants += 1;
            assert!(
                name == "ABI_VERSION" || hpp.contains(&format!("TB_{name}")),
                "tiebreak.hpp has no TB_{name}"
            );
        } else if let Some(name) = line.strip_prefix("} ") {
            // Some structs are taken as they are.
            let whole = hpp.contains(&format!(" = {name}"));
            for field in of_struct.drain(..) {
                let reached = whole || hpp.contains(&format!(".{field}"));
                assert!(reached, "tiebreak.hpp does not reach {field} of {name}");
            }
        } else if let Some(field) = line.strip_prefix("    ").and_then(|l| l.strip_suffix(';')) {
            let name = field.rsplit([' ', '*']).next().unwrap().split('[').next().unwrap();
            if line[4..].starts_with(char::is_alphabetic) && !matches!(name, "struct_size" | "reserved") {
                fields += 1;
                of_struct.push(name);
            }
        }
    }
    assert!(fields >= 100 && constants >= 40, "{fields} fields, {constants} constants");
}

/// Compiles an example against the shared library; its path.
fn example(name: &str, out: &TempDir, flags: &[&str]) -> PathBuf {
    let path = out.path().join(name);
    let mut command = Command::new("g++");
    command.args(["-std=c++17", "-O1", "-I"]).arg(root().join("include"));
    command.arg(root().join("examples/cpp").join(name).with_extension("cpp")).arg("-o").arg(&path);
    let folder = shared_library().parent().unwrap().to_path_buf();
    run(command.args(flags).arg("-L").arg(folder).arg("-ltiebreak"));
    path
}

#[test]
fn train_lenet() {
    if !has("g++") {
        return;
    }
    let out = TempDir::new().unwrap();
    let path = example("train_lenet", &out, &STRICT);
    let text = run(program(&path).args(["--device", "cpu", "--jacobian", "minimal", "--epochs", "4"]));
    assert!(number_after(&text, "test accuracy ") > 90.0, "{text}");
    assert!(number_after(&text, "gradients to native ") > 0.0, "{text}");
    assert_eq!(number_after(&text, "to minimal "), 0.0, "{text}");
    for (arguments, complaint) in
        [(&["--speed", "3"][..], "--speed"), (&["--precision", "f8"], "--precision")]
    {
        let output = program(&path).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(programs::text(&output).contains(complaint));
    }
    let output = program(&path).args(["--data", "nowhere"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(programs::text(&output).contains("nowhere/train-images-idx3-ubyte"));
}

/// What both trainers of others must show: they learn, and two Jacobians differ.
fn foreign_trainer(path: &Path, own: &str) {
    let text = run(&mut program(path));
    assert!(number_after(&text, "test accuracy ") > 90.0, "{text}");
    assert!(number_after(&text, "minimal against native L1 ") > 0.0, "{text}");
    let distance = number_after(&text, own);
    assert!((0.0..1e-6).contains(&distance), "{text}");
}

#[test]
fn libtorch_maxpool() {
    let include = "/usr/include/torch/csrc/api/include";
    if !has("g++") || !Path::new(include).join("torch/torch.h").exists() {
        eprintln!("skipped: no LibTorch (Debian: libtorch-dev)");
        return;
    }
    let out = TempDir::new().unwrap();
    let flags = ["-isystem", include, "-ltorch", "-ltorch_cpu", "-lc10"];
    foreign_trainer(&example("libtorch_maxpool", &out, &flags), "native against PyTorch's own L1 ");
}

#[test]
fn dlib_maxpool() {
    let installed = Command::new("pkg-config").args(["--exists", "dlib-1"]).status();
    if !has("g++") || !installed.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no dlib (Debian: libdlib-dev, libblas-dev, liblapack-dev)");
        return;
    }
    let flags = ["-ldlib", "-lblas", "-llapack", "-lpthread"];
    let out = TempDir::new().unwrap();
    foreign_trainer(&example("dlib_maxpool", &out, &flags), "native against dlib's own L1 ");
}
