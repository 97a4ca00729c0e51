//! Compiles C++ programs against the bridge's static library, the only Rust library in them, and runs them. Without a
//! C++ compiler nothing here builds at all: cxx needs it too.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Cargo gives the library of a test a name of its own; the newest is this build's.
fn library() -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libtiebreak_cxx") && name.ends_with(".a")
    };
    let libraries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(is_library);
    let newest = libraries.max_by_key(|path| path.metadata().unwrap().modified().unwrap());
    newest.unwrap_or_else(|| panic!("no libtiebreak_cxx.a in {}", folder.display()))
}

/// Runs a command that must succeed; what it prints.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, complained) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{printed}{complained}", output.status);
    printed
}

fn build_and_run(source: &str) -> String {
    let out = TempDir::new().unwrap();
    let program = out.path().join("program");
    let mut compiler = Command::new(std::env::var("CXX").unwrap_or("c++".into()));
    compiler.args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-I", env!("TIEBREAK_CXX_INCLUDE"), "-I"]);
    compiler.arg(root().join("../../include")).arg(root().join(source)).arg("-o").arg(&program);
    run(compiler.arg(library()).args(["-lpthread", "-ldl", "-lm"]));
    run(&mut Command::new(&program))
}

#[test]
fn bridge() {
    let text = build_and_run("tests/bridge_test.cpp");
    assert!(text.contains("bridge_test: 0 failed: ok"), "{text}");
}

#[test]
fn example() {
    let text = build_and_run("examples/compare_jacobians.cpp");
    assert!(text.matches("elements differ").count() == 4 && text.contains("of 50 right"), "{text}");
}

/// The library holds the C API, so that no second Rust library is needed beside it.
#[test]
fn the_c_api_is_in_the_library() {
    let header = std::fs::read_to_string(root().join("../../include/tiebreak.h")).unwrap();
    let declares = |line: &&str| line.starts_with("tb_status tb_") || line.starts_with("const char *tb_");
    let name = |line: &str| {
        let before = line.split('(').next().unwrap();
        before.rsplit([' ', '*']).next().unwrap().to_string()
    };
    let declared: BTreeSet<String> = header.lines().filter(declares).map(name).collect();
    assert!(declared.len() >= 100, "{declared:?}");
    let symbols = run(Command::new("nm").args(["-g", "--defined-only", "-A"]).arg(library()));
    let defined: Vec<&str> = symbols.lines().filter_map(|l| l.rsplit(' ').next()).collect();
    for function in &declared {
        let times = defined.iter().filter(|symbol| *symbol == function).count();
        assert_eq!(times, 1, "{function} is defined {times} times");
    }
}
