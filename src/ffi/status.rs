use std::ffi::c_char;

use super::{LAST_ERROR, Status};

/// What every function returns: `TB_STATUS_OK` (0) or the reason of its failure. The numbers are frozen.
pub type tb_status = i32;

/// Success.
pub const TB_STATUS_OK: tb_status = 0;
/// A pointer that must not be NULL was NULL.
pub const TB_STATUS_NULL_POINTER: tb_status = 1;
/// A handle that was never created, was freed, or is of another type.
pub const TB_STATUS_INVALID_HANDLE: tb_status = 2;
/// A value outside its domain.
pub const TB_STATUS_INVALID_ARGUMENT: tb_status = 3;
/// A tensor of the wrong shape.
pub const TB_STATUS_SHAPE_MISMATCH: tb_status = 4;
/// A tensor of the wrong element type.
pub const TB_STATUS_DTYPE_MISMATCH: tb_status = 5;
/// A name that is not known.
pub const TB_STATUS_NOT_FOUND: tb_status = 6;
/// A file could not be read or written.
pub const TB_STATUS_IO: tb_status = 7;
/// A damaged or foreign file.
pub const TB_STATUS_FORMAT: tb_status = 8;
/// Not possible with this build, engine or state.
pub const TB_STATUS_UNSUPPORTED: tb_status = 9;
/// A GPU call failed.
pub const TB_STATUS_DEVICE: tb_status = 10;
/// The GPU went away: the engine stays unusable; create a new one.
pub const TB_STATUS_DEVICE_LOST: tb_status = 11;
/// Not enough memory.
pub const TB_STATUS_OUT_OF_MEMORY: tb_status = 12;
/// Stopped at the caller's wish.
pub const TB_STATUS_CANCELLED: tb_status = 13;
/// A bug in the library was caught; the program may go on. Please report the message.
pub const TB_STATUS_PANIC: tb_status = 255;

/// The reason of the last failure on the calling thread: function, argument, expected and got.
///
/// Never NULL; empty where nothing has failed. The text belongs to the library and stays valid until the next
/// function fails on this thread. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn tb_last_error_message() -> *const c_char {
    LAST_ERROR.try_with(|e| e.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// The name of a status, such as "TB_STATUS_SHAPE_MISMATCH"; "unknown status" for a number that is none.
///
/// Never NULL; static. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn tb_status_name(status: tb_status) -> *const c_char {
    let name = match status {
        TB_STATUS_OK => c"TB_STATUS_OK",
        TB_STATUS_NULL_POINTER => c"TB_STATUS_NULL_POINTER",
        TB_STATUS_INVALID_HANDLE => c"TB_STATUS_INVALID_HANDLE",
        TB_STATUS_INVALID_ARGUMENT => c"TB_STATUS_INVALID_ARGUMENT",
        TB_STATUS_SHAPE_MISMATCH => c"TB_STATUS_SHAPE_MISMATCH",
        TB_STATUS_DTYPE_MISMATCH => c"TB_STATUS_DTYPE_MISMATCH",
        TB_STATUS_NOT_FOUND => c"TB_STATUS_NOT_FOUND",
        TB_STATUS_IO => c"TB_STATUS_IO",
        TB_STATUS_FORMAT => c"TB_STATUS_FORMAT",
        TB_STATUS_UNSUPPORTED => c"TB_STATUS_UNSUPPORTED",
        TB_STATUS_DEVICE => c"TB_STATUS_DEVICE",
        TB_STATUS_DEVICE_LOST => c"TB_STATUS_DEVICE_LOST",
        TB_STATUS_OUT_OF_MEMORY => c"TB_STATUS_OUT_OF_MEMORY",
        TB_STATUS_CANCELLED => c"TB_STATUS_CANCELLED",
        TB_STATUS_PANIC => c"TB_STATUS_PANIC",
        _ => c"unknown status",
    };
    name.as_ptr()
}

/// The C constants and the Rust enum are the same numbers.
const _: () = {
    assert!(TB_STATUS_OK == Status::Ok as i32);
    assert!(TB_STATUS_NULL_POINTER == Status::NullPointer as i32);
    assert!(TB_STATUS_INVALID_HANDLE == Status::InvalidHandle as i32);
    assert!(TB_STATUS_INVALID_ARGUMENT == Status::InvalidArgument as i32);
    assert!(TB_STATUS_SHAPE_MISMATCH == Status::ShapeMismatch as i32);
    assert!(TB_STATUS_DTYPE_MISMATCH == Status::DTypeMismatch as i32);
    assert!(TB_STATUS_NOT_FOUND == Status::NotFound as i32);
    assert!(TB_STATUS_IO == Status::Io as i32);
    assert!(TB_STATUS_FORMAT == Status::Format as i32);
    assert!(TB_STATUS_UNSUPPORTED == Status::Unsupported as i32);
    assert!(TB_STATUS_DEVICE == Status::Device as i32);
    assert!(TB_STATUS_DEVICE_LOST == Status::DeviceLost as i32);
    assert!(TB_STATUS_OUT_OF_MEMORY == Status::OutOfMemory as i32);
    assert!(TB_STATUS_CANCELLED == Status::Cancelled as i32);
    assert!(TB_STATUS_PANIC == Status::Panic as i32);
};
