//! For tests that compile C and C++ programs against this build's libraries and run them.

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

/// Whether a tool is there. If not, the test says so, or fails under `TIEBREAK_REQUIRE_CC=1`.
pub fn has(tool: &str) -> bool {
    if Command::new(tool).arg("--version").output().is_ok_and(|o| o.status.success()) {
        return true;
    }
    let required = std::env::var("TIEBREAK_REQUIRE_CC").is_ok_and(|v| v == "1");
    assert!(!required, "TIEBREAK_REQUIRE_CC=1: no {tool}");
    eprintln!("skipped: no {tool}");
    false
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
