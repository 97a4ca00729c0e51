//! Names the shared library by the version of its binary interface, so that programs linked with one are not run with
//! another.

use std::path::Path;

/// `TB_ABI_VERSION`.
const ABI_VERSION: u32 = 1;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    let soname = format!("libtiebreak.so.{ABI_VERSION}");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,{soname}");
    // A program that is linked in the build folder looks there for the library's name: <profile>/build/<package>/out.
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    let Some(profile) = Path::new(&out).ancestors().nth(3) else { return };
    for folder in [profile.to_path_buf(), profile.join("deps")] {
        link(&folder.join(&soname));
    }
}

/// A link beside the library; where it cannot be made, the loader's path has to name an installed library.
#[cfg(unix)]
fn link(path: &Path) {
    if !path.exists() {
        let _ = std::fs::remove_file(path);
        let _ = std::os::unix::fs::symlink("libtiebreak.so", path);
    }
}

#[cfg(not(unix))]
fn link(_: &Path) {}
