//! For tests that compile C and C++ programs against this build's libraries and run them.
#![allow(dead_code)] // each test binary uses a part of it

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Cargo builds every crate type of the package for an integration test and puts them beside it.
pub fn library(file: &str) -> PathBuf {
    let mut exe = std::env::current_exe().unwrap();
    exe.pop();
    let folders = [exe.clone(), exe.join("deps"), exe.join("..")];
    let found = folders.iter().map(|f| f.join(file)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("no {file} in {folders:?}")).canonicalize().unwrap()
}

pub fn shared_library() -> PathBuf {
    library(if cfg!(target_os = "macos") { "libtiebreak.dylib" } else { "libtiebreak.so" })
}

pub fn required(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|v| v == "1")
}

/// Says why a test does nothing, or fails under `TIEBREAK_REQUIRE_CC=1`.
fn skip(why: &str) {
    assert!(!required("TIEBREAK_REQUIRE_CC"), "TIEBREAK_REQUIRE_CC=1: {why}");
    eprintln!("skipped: {why}");
}

/// Whether a tool is there. If not, the test says so, or fails under `TIEBREAK_REQUIRE_CC=1`.
pub fn has(tool: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok_and(|o| o.status.success());
    if !there {
        skip(&format!("no {tool}"));
    }
    there
}

/// The compiler that an environment variable names, if it is there.
pub fn compiler(variable: &str, default: &str) -> Option<String> {
    let name = std::env::var(variable).unwrap_or_else(|_| default.into());
    has(&name).then_some(name)
}

/// Whether programs can be built with these sanitizers, which need a runtime library each, and run.
pub fn has_sanitizers(compiler: &str, flags: &[&str]) -> bool {
    let out = tempfile::TempDir::new().unwrap();
    let (source, path) = (out.path().join("probe.c"), out.path().join("probe"));
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let built = Command::new(compiler).args(flags).arg(&source).arg("-o").arg(&path).output();
    let works =
        built.is_ok_and(|o| o.status.success()) && Command::new(&path).output().unwrap().status.success();
    if !works {
        skip(&format!("{compiler} cannot build with {flags:?}"));
    }
    works
}

/// A program with the shared library of this build, whatever else the loader's path names. It writes its files into the
/// folder where it lies.
pub fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    let folder = shared_library().parent().unwrap().to_path_buf();
    command.env("LD_LIBRARY_PATH", &folder).env("DYLD_LIBRARY_PATH", &folder);
    command.env("TIEBREAK_TEST_FOLDER", path.parent().unwrap());
    command
}

/// A program with sanitizers as these tests want them: memory that is not there is an answer, not an error, and what was
/// freed does not count as used for long.
pub fn sanitized(command: &mut Command) -> &mut Command {
    command.env("ASAN_OPTIONS", "allocator_may_return_null=1:quarantine_size_mb=1:detect_leaks=1")
}

/// The number that follows `label` where it last stands.
pub fn number_after(text: &str, label: &str) -> f64 {
    let rest = text.rsplit_once(label).unwrap_or_else(|| panic!("no {label:?} in\n{text}")).1;
    let number = rest.split_whitespace().next().unwrap().trim_end_matches(',');
    number.parse().unwrap_or_else(|_| panic!("{number:?} after {label:?} in\n{text}"))
}

pub fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Runs a command that must succeed; what it prints.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = text(&output);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}
