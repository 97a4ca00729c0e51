use std::ffi::c_void;
use std::ops::ControlFlow;

/// Hears how far long work has come, in the unit that its function says, and may stop it: not 0 ends the call with
/// `TB_STATUS_CANCELLED`, or as its function says. Called on the thread of the call, which holds nothing then: it may call
/// the library. NULL: nobody hears.
pub type tb_progress_callback =
    Option<unsafe extern "C" fn(done: u64, total: u64, user_data: *mut c_void) -> i32>;

/// The caller's callback as a listener.
///
/// # Safety
/// A callback must be valid to call with `user_data` for as long as the result lives.
pub(super) unsafe fn listener(
    callback: tb_progress_callback,
    user_data: *mut c_void,
) -> impl FnMut(u64, u64) -> ControlFlow<()> {
    move |done, total| match callback {
        // SAFETY: the caller's promise.
        Some(callback) if unsafe { callback(done, total, user_data) } != 0 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    }
}
