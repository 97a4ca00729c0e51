//! Builds the Python package around this build's shared library, installs it into an environment of its own under
//! `target`, and runs its tests and examples there. Without Python 3 or without the packages that pip fetches the test
//! says so and passes, or fails under `TIEBREAK_REQUIRE_PYTHON=1`.
//!
//! `TIEBREAK_PYTHON` names another interpreter than `python3`. The layers for PyTorch are tested with the interpreter that
//! `TIEBREAK_TORCH_PYTHON` names, whose environment stays as it is.
#![cfg(unix)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn package() -> PathBuf {
    root().join("bindings/python")
}

/// Where Cargo puts this test, and beside it every crate type of the package.
fn build_folder() -> PathBuf {
    let mut exe = std::env::current_exe().unwrap();
    exe.pop();
    exe
}

fn shared_library() -> PathBuf {
    let file = if cfg!(target_os = "macos") { "libtiebreak.dylib" } else { "libtiebreak.so" };
    let folders = [build_folder(), build_folder().join("..")];
    let found = folders.iter().map(|f| f.join(file)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("no {file} in {folders:?}")).canonicalize().unwrap()
}

/// A folder for environments: `target/python-...`, which further runs find again.
fn environment(name: &str) -> PathBuf {
    // target/debug/deps
    build_folder().ancestors().nth(2).unwrap().join(format!("python-{name}"))
}

/// Says why a test does not run, or fails where it must.
fn skip(why: &str) {
    let required = std::env::var("TIEBREAK_REQUIRE_PYTHON").is_ok_and(|v| v == "1");
    assert!(!required, "TIEBREAK_REQUIRE_PYTHON=1: {why}");
    eprintln!("skipped: {why}");
}

/// Runs a command; what it prints, as an error where it fails.
fn attempt(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let text = format!("{}{}", text(&output.stdout), text(&output.stderr));
    if output.status.success() { Ok(text) } else { Err(format!("{command:?}: {}\n{text}", output.status)) }
}

/// An interpreter that finds nothing but what its own environment holds.
fn python(interpreter: &Path) -> Command {
    let mut command = Command::new(interpreter);
    command.current_dir(package()).env_remove("PYTHONPATH").env_remove("TIEBREAK_LIBRARY");
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn pip(interpreter: &Path) -> Command {
    let mut command = python(interpreter);
    command.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "install"]);
    command
}

/// The environment's interpreter, with the wheel of this build and what its tests need.
fn installed() -> Result<PathBuf, String> {
    let base = std::env::var_os("TIEBREAK_PYTHON").unwrap_or_else(|| OsString::from("python3"));
    let folder = environment("venv");
    let interpreter = folder.join("bin/python");
    if attempt(python(&interpreter).arg("--version")).is_err() {
        attempt(python(Path::new(&base)).args(["-m", "venv", "--clear"]).arg(&folder))?;
    }
    // pip builds a folder's wheel anew each time; what it depends on is there after the first run.
    attempt(pip(&interpreter).arg(".[test,check]").env("TIEBREAK_LIBRARY", shared_library()))?;
    Ok(interpreter)
}

#[test]
fn the_package() {
    let interpreter = match installed() {
        Ok(interpreter) => interpreter,
        Err(why) => return skip(&why),
    };
    let run = |command: &mut Command| print!("{}", attempt(command).unwrap_or_else(|e| panic!("{e}")));
    // The library inside of the package is the one in use.
    let where_it_is = "import tiebreak._library as l; print(l._path())";
    let path = attempt(python(&interpreter).args(["-c", where_it_is])).unwrap();
    assert!(path.contains("site-packages/tiebreak/libtiebreak"), "{path}");
    run(python(&interpreter).args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]));
    run(python(&interpreter).args(["-m", "mypy", "--cache-dir"]).arg(environment("mypy")));
    for check in [&["check", "--no-cache", "--quiet"][..], &["format", "--no-cache", "--check", "--quiet"]] {
        run(python(&interpreter).args(["-m", "ruff"]).args(check).args([".", "../../examples/python"]));
    }
}

#[test]
fn the_layers_for_pytorch() {
    let Some(interpreter) = std::env::var_os("TIEBREAK_TORCH_PYTHON").map(PathBuf::from) else {
        eprintln!("skipped: set TIEBREAK_TORCH_PYTHON to an interpreter with torch");
        return;
    };
    // pytest lies beside that environment, not in it.
    let tools = environment("torch");
    if !tools.join("pytest").exists()
        && let Err(why) = attempt(pip(&interpreter).arg("--target").arg(&tools).arg("pytest"))
    {
        return skip(&why);
    }
    let paths = std::env::join_paths([package().join("src"), tools]).unwrap();
    let mut tests = python(&interpreter);
    tests.env("PYTHONPATH", paths).env("TIEBREAK_LIBRARY", shared_library());
    tests.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--show-capture=no", "-k", "torch", "tests"]);
    let printed = attempt(&mut tests).unwrap_or_else(|e| panic!("{e}"));
    print!("{printed}");
    assert!(!printed.contains("could not import 'torch'"), "{printed}");
}
