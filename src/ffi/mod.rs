//! The C ABI: one file per noun. The conventions stand at the head of `include/tiebreak.h`.
//!
//! Every export is wrapped in [`guard`]: it checks its pointers, turns errors into a status and a message, and
//! lets no panic out.
#![allow(non_camel_case_types)]

mod adam;
mod adapter;
mod add;
mod avgpool2d;
mod batchnorm;
mod census;
mod compare;
mod concat;
mod conv2d;
mod dataset;
mod dlpack;
mod dropout;
mod engine;
mod epoch;
mod experiment;
mod file;
mod graph;
mod handle;
mod kink;
mod linear;
mod loss;
#[cfg(all(test, feature = "gpu"))]
mod lost_device;
mod maxpool2d;
mod memory;
mod network;
#[cfg(not(feature = "lab"))]
mod no_lab;
mod non_finite;
mod norm_pool2d;
mod optimizer;
mod optimizer_options;
mod options;
mod parameters;
mod pool2d;
mod profile;
mod progress;
mod quantize;
mod relu;
mod replay;
mod rms_prop;
mod run;
mod schedule;
mod sgd;
mod status;
mod tensor;
mod tensor_properties;
mod tie_classes;
mod version;
mod view;
mod zoo;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::error::{Error, Status};
use status::tb_status;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("handles are 64-bit tokens: the C ABI needs a 64-bit target");

/// Why an export fails: its status, and a message without the function's name.
#[derive(Debug)]
struct Failure {
    status: Status,
    message: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { status: error.status(), message: error.to_string() }
    }
}

impl Failure {
    fn null(argument: &str) -> Failure {
        Failure {
            status: Status::NullPointer,
            message: format!("argument `{argument}`: expected a pointer, got NULL"),
        }
    }
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
    /// True while an export runs on this thread.
    static IN_GUARD: Cell<bool> = const { Cell::new(false) };
    /// Text of the last panic on this thread.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs the body of the export `function`; the only way out of the library.
fn guard(function: &'static str, body: impl FnOnce() -> Result<(), Failure>) -> tb_status {
    quiet_panics();
    let outer = IN_GUARD.replace(true);
    let result = catch_unwind(AssertUnwindSafe(body));
    IN_GUARD.set(outer);
    let failure = match result {
        Ok(Ok(())) => return Status::Ok as tb_status,
        Ok(Err(failure)) => failure,
        Err(payload) => Failure {
            status: Status::Panic,
            message: format!("internal error, please report it: {}", panic_text(&*payload)),
        },
    };
    // A message cannot hold a NUL, which ends it in C.
    let text = format!("{function}: {}", failure.message).replace('\0', " ");
    // While a thread ends, its storage may have gone.
    let _ = LAST_ERROR.try_with(|e| e.replace(CString::new(text).unwrap_or_default()));
    failure.status as tb_status
}

/// What a panic said, and where if it was on this thread.
fn panic_text(payload: &(dyn Any + Send)) -> String {
    let here = PANIC.try_with(|p| p.take()).unwrap_or_default();
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        _ if !here.is_empty() => here,
        (Some(text), _) => text.to_string(),
        (_, Some(text)) => text.clone(),
        _ => "no message".to_string(),
    }
}

/// Keeps the text of a panic inside an export instead of printing it; other panics go on as before.
fn quiet_panics() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let worker = std::thread::current().name().is_some_and(|n| n.starts_with("tiebreak-"));
            if IN_GUARD.get() {
                let _ = PANIC.try_with(|p| p.replace(info.to_string()));
            } else if !worker {
                before(info);
            }
        }));
    });
}

/// The target of a pointer that must not be NULL.
///
/// # Safety
/// A non-NULL `pointer` must be valid for reads for as long as the result is used.
unsafe fn non_null<'a, T>(pointer: *const T, argument: &str) -> Result<&'a T, Failure> {
    view::check_pointer(pointer, argument)?;
    // SAFETY: the caller's promise, and the pointer is neither NULL nor misaligned.
    Ok(unsafe { &*pointer })
}

/// The target of an out-parameter that must not be NULL.
///
/// # Safety
/// A non-NULL `pointer` must be valid for writes and not aliased for as long as the result is used.
unsafe fn non_null_mut<'a, T>(pointer: *mut T, argument: &str) -> Result<&'a mut T, Failure> {
    view::check_pointer(pointer, argument)?;
    // SAFETY: the caller's promise, and the pointer is neither NULL nor misaligned.
    Ok(unsafe { &mut *pointer })
}

/// A C string in UTF-8.
///
/// # Safety
/// A non-NULL `pointer` must be a NUL-terminated string that outlives the result.
unsafe fn string<'a>(pointer: *const c_char, argument: &str) -> Result<&'a str, Failure> {
    if pointer.is_null() {
        return Err(Failure::null(argument));
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| Error::invalid(argument, "UTF-8", format!("{text:?}")).into())
}

/// Like [`string`], but NULL is `None`.
///
/// # Safety
/// As [`string`].
unsafe fn optional_string<'a>(pointer: *const c_char, argument: &str) -> Result<Option<&'a str>, Failure> {
    // SAFETY: the caller's promise.
    if pointer.is_null() { Ok(None) } else { unsafe { string(pointer, argument) }.map(Some) }
}

/// `text` in a fixed array of a properties struct, cut at a character where it does not fit.
fn copy_text(text: &str, target: &mut [c_char]) {
    let mut end = text.len().min(target.len() - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    target.fill(0);
    for (to, &from) in target.iter_mut().zip(&text.as_bytes()[..end]) {
        *to = from as c_char;
    }
}

/// `text` in the caller's memory, NUL-terminated and cut at a character where `room` bytes are too few, and the bytes that
/// it takes.
///
/// # Safety
/// A non-NULL `target` must be valid for writes of `room` bytes, a non-NULL `size` for writes.
unsafe fn write_text(text: &str, target: *mut c_char, room: usize, size: *mut usize) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let (size, target) =
        unsafe { (non_null_mut(size, "size")?, view::Borrows::default().array_mut(target, room, "text")?) };
    // A NUL would end it in C.
    let text = text.replace('\0', " ");
    if !target.is_empty() {
        copy_text(&text, target);
    }
    *size = text.len() + 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_status_255_and_the_next_call_works() {
        let status = guard("tb_test", || panic!("what went wrong"));
        assert_eq!(status, Status::Panic as i32);
        let text = LAST_ERROR.with_borrow(|e| e.to_str().unwrap().to_string());
        assert!(text.starts_with("tb_test: ") && text.contains("what went wrong"), "{text}");
        assert_eq!(guard("tb_test", || Ok(())), 0);
        // One on a worker thread too.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "tiebreak-0".into());
        let pool = pool.build().unwrap();
        assert_eq!(guard("tb_test", || pool.install(|| panic!("in a worker"))), 255);
        let text = LAST_ERROR.with_borrow(|e| e.to_str().unwrap().to_string());
        assert!(text.contains("in a worker"), "{text}");
    }

    #[test]
    fn text_is_cut_at_a_character() {
        let mut target = [1 as c_char; 4];
        copy_text("aéé", &mut target);
        // SAFETY: copy_text ends the string.
        assert_eq!(unsafe { CStr::from_ptr(target.as_ptr()) }.to_str().unwrap(), "aé");
    }
}
