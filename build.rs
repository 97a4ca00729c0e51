//! Names the shared library after the major version of its binary interface, which programs record and look for:
//! `libtiebreak.so.1`.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=include/tiebreak.h");
    let header = std::fs::read_to_string("include/tiebreak.h").expect("the C header");
    let version = header.lines().find_map(|line| line.strip_prefix("#define TB_ABI_VERSION "));
    let version = version.expect("TB_ABI_VERSION");
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux") => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtiebreak.so.{version}");
            find_beside("libtiebreak.so", &format!("libtiebreak.so.{version}"));
        }
        Ok("macos") => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libtiebreak.{version}.dylib");
            find_beside("libtiebreak.dylib", &format!("libtiebreak.{version}.dylib"));
        }
        _ => {}
    }
}

/// Lets a program that was linked to Cargo's own output run from there: a link by the recorded name beside it.
fn find_beside(library: &str, recorded: &str) {
    let out = env::var_os("OUT_DIR").expect("set by Cargo");
    // <target>/<profile>/build/<package>/out
    let Some(profile) = Path::new(&out).ancestors().nth(3) else { return };
    for folder in [profile.to_path_buf(), profile.join("deps")] {
        #[cfg(unix)]
        // One that is there already is as good; where it cannot be made, programs need the installed library.
        let _ = std::os::unix::fs::symlink(library, folder.join(recorded));
        #[cfg(not(unix))]
        let _ = (library, recorded, folder);
    }
}
