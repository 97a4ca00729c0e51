use std::ffi::{CStr, c_char};

/// Version of the binary interface that this header describes.
pub const TB_ABI_VERSION: u32 = 1;

/// Version of the binary interface of the library in use. Within one version functions and struct fields are
/// only added. Compare with `TB_ABI_VERSION`. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn tb_abi_version() -> u32 {
    TB_ABI_VERSION
}

/// Version of the library, such as "0.1.0". Never NULL; static. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn tb_version_string() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    const TEXT: &CStr = match CStr::from_bytes_with_nul(VERSION.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("the version holds no NUL"),
    };
    TEXT.as_ptr()
}
