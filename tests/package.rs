//! Installs this build's libraries with CMake and uses the installed tree from a foreign project in each documented
//! way. Without CMake or a compiler the tests say so and pass, or fail under `TIEBREAK_REQUIRE_CC=1`.
#![cfg(target_os = "linux")]

#[path = "support/programs.rs"]
mod programs;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use programs::{has, library, root, run, shared_library};
use tempfile::TempDir;

/// What each program of `tests/package` prints: three of four elements tie.
const PRINTED: &str = "2: 1 1 1 0";

fn tools(tools: &[&str]) -> bool {
    tools.iter().all(|tool| has(tool))
}

fn cmake(arguments: &[&str]) -> Command {
    let mut command = Command::new("cmake");
    command.args(arguments);
    command
}

/// The libraries as an argument of CMake: those of this build, which need not be built again.
fn prebuilt() -> String {
    let folder = shared_library().parent().unwrap().to_path_buf();
    assert_eq!(folder, library("libtiebreak.a").parent().unwrap());
    format!("-DTIEBREAK_PREBUILT={}", folder.display())
}

fn install(out: &Path) -> PathBuf {
    let (build, prefix) = (out.join("build"), out.join("prefix"));
    run(cmake(&["-S"]).arg(root()).arg("-B").arg(&build).arg(prebuilt()).arg("-DCMAKE_INSTALL_LIBDIR=lib"));
    run(cmake(&["--build"]).arg(&build));
    run(cmake(&["--install"]).arg(&build).arg("--prefix").arg(&prefix));
    prefix
}

/// Builds the foreign project and runs its four programs.
fn use_from_cmake(build: &Path, arguments: &[String]) {
    run(cmake(&["-S"]).arg(root().join("tests/package")).arg("-B").arg(build).args(arguments));
    run(cmake(&["--build"]).arg(build));
    for program in ["c_shared", "c_static", "cpp_shared", "cpp_static"] {
        assert_eq!(run(&mut Command::new(build.join(program))).trim(), PRINTED, "{program}");
        let needed = run(Command::new("readelf").arg("-d").arg(build.join(program)));
        assert_eq!(needed.contains("libtiebreak.so.1"), program.ends_with("shared"), "{program}: {needed}");
    }
}

fn pkg_config(prefix: &Path, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.args(arguments).arg("tiebreak").env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
    run(&mut command).split_whitespace().map(String::from).collect()
}

fn use_from_pkg_config(prefix: &Path, out: &Path) {
    let sources: [(&str, &str, &[&str]); 2] = [("cc", "first.c", &[]), ("c++", "first.cpp", &["-std=c++17"])];
    for (compiler, source, flags) in sources {
        let program = out.join(source).with_extension("out");
        let mut command = Command::new(compiler);
        command.args(flags).arg(root().join("tests/package").join(source)).arg("-o").arg(&program);
        run(command.args(pkg_config(prefix, &["--cflags", "--libs"])));
        let printed = run(Command::new(&program).env("LD_LIBRARY_PATH", prefix.join("lib")));
        assert_eq!(printed.trim(), PRINTED);
    }
}

#[test]
fn an_installed_tree_serves_foreign_projects() {
    if !tools(&["cmake", "cc", "c++", "pkg-config", "readelf"]) {
        return;
    }
    let out = TempDir::new().unwrap();
    let prefix = install(out.path());
    let soname = run(Command::new("readelf").arg("-d").arg(prefix.join("lib/libtiebreak.so")));
    assert!(soname.contains("[libtiebreak.so.1]"), "{soname}");
    let link = std::fs::read_link(prefix.join("lib/libtiebreak.so")).unwrap();
    assert_eq!(link, Path::new("libtiebreak.so.1"));

    // It does not know where it was installed.
    let moved = out.path().join("somewhere else");
    std::fs::rename(&prefix, &moved).unwrap();
    std::fs::remove_dir_all(out.path().join("build")).unwrap();
    use_from_cmake(&out.path().join("foreign"), &[format!("-DCMAKE_PREFIX_PATH={}", moved.display())]);
    // A compiler's line is split at spaces.
    let plain = out.path().join("plain");
    std::fs::rename(&moved, &plain).unwrap();
    use_from_pkg_config(&plain, out.path());

    // Without the shared library the same line, with --static, takes the static one.
    for file in ["libtiebreak.so", "libtiebreak.so.1"] {
        std::fs::remove_file(plain.join("lib").join(file)).unwrap();
    }
    let program = out.path().join("first_static");
    let mut command = Command::new("cc");
    command.arg(root().join("tests/package/first.c")).arg("-o").arg(&program);
    run(command.args(pkg_config(&plain, &["--static", "--cflags", "--libs"])));
    assert_eq!(run(&mut Command::new(&program)).trim(), PRINTED);
}

#[test]
fn the_source_tree_serves_as_a_subdirectory() {
    if !tools(&["cmake", "cc", "c++", "readelf"]) {
        return;
    }
    let out = TempDir::new().unwrap();
    let source = format!("-DTIEBREAK_SOURCE={}", root().display());
    use_from_cmake(&out.path().join("foreign"), &[source, prebuilt()]);
}

/// A newer minor version may have changed: before 1.0 it is another one.
#[test]
fn another_version_is_refused() {
    if !tools(&["cmake", "cc", "c++"]) {
        return;
    }
    let out = TempDir::new().unwrap();
    let prefix = install(out.path());
    let project = out.path().join("CMakeLists.txt");
    let text = "cmake_minimum_required(VERSION 3.21)\nproject(p C)\nfind_package(tiebreak 99 REQUIRED)\n";
    std::fs::write(project, text).unwrap();
    let mut configure = cmake(&["-S"]);
    configure.arg(out.path()).arg("-B").arg(out.path().join("p"));
    let output = configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())).output().unwrap();
    assert!(!output.status.success());
    let text = programs::text(&output);
    assert!(text.contains("version") && text.contains("99"), "{text}");
}

/// What CMake runs to build the libraries, with a program in place of cargo that prints what the libraries need.
#[test]
fn the_build_step_checks_what_cargo_says() {
    if !tools(&["cmake"]) {
        return;
    }
    let out = TempDir::new().unwrap();
    let step = |needed: &str| {
        let cargo = out.path().join("cargo");
        std::fs::write(&cargo, format!("#!/bin/sh\necho 'note: native-static-libs: {needed}' >&2\n"))
            .unwrap();
        std::fs::set_permissions(&cargo, PermissionsExt::from_mode(0o755)).unwrap();
        let built = shared_library().parent().unwrap().to_path_buf();
        let path = |name: &str, path: &Path| format!("-D{name}={}", path.display());
        let mut command = cmake(&["-DPROFILE=release", "-DFEATURES=gpu", "-DEXPECTED=-lm -ldl"]);
        command.args([path("CARGO", &cargo), path("SOURCE", root()), path("TARGET_DIR", out.path())]);
        command.args([path("BUILT", &built), path("LIB", &out.path().join("lib"))]);
        command.args(["-DA=libtiebreak.a", "-DSO=libtiebreak.so", "-DSONAME=libtiebreak.so.1", "-P"]);
        command.arg(root().join("bindings/cmake/build.cmake")).output().unwrap()
    };
    let built = step("-ldl -lm");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    assert!(out.path().join("lib/libtiebreak.so").exists());
    let more = step("-ldl -lnew");
    assert!(!more.status.success());
    let said = String::from_utf8_lossy(&more.stderr);
    assert!(said.contains("TIEBREAK_NATIVE_STATIC_LIBS"), "{said}");
}
