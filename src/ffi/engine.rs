use std::ffi::{CString, c_char, c_void};
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use super::handle::{self, Handle, Object};
use super::options::{self, Growable};
use super::status::tb_status;
use super::{Failure, copy_text, guard, non_null_mut, optional_string};
use crate::engine::{Device, Engine, EngineOptions, LogLevel, Logger};
use crate::error::Error;

/// Runs operators and networks. Created by `tb_engine_create`, given back by `tb_engine_free`.
pub struct tb_engine {
    _opaque: [u8; 0],
}

/// An engine and what its calls share.
pub(super) struct EngineObject {
    engine: Engine,
    /// Held while a call uses tensors of this engine.
    pub tensors: Mutex<()>,
}

impl Deref for EngineObject {
    type Target = Engine;
    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Handle for tb_engine {
    const NAME: &'static str = "tb_engine";
    type Target = Arc<EngineObject>;
    fn open(object: Object) -> Option<Self::Target> {
        match object {
            Object::Engine(engine) => Some(engine),
            _ => None,
        }
    }
}

/// Where an engine computes.
pub type tb_device = i32;

/// A hardware GPU where there is one, else the CPU.
pub const TB_DEVICE_AUTO: tb_device = 0;
/// The CPU: f16, f32 and f64.
pub const TB_DEVICE_CPU: tb_device = 1;
/// A GPU, a software one too: f16 (where it can) and f32; f64 stays on the CPU.
pub const TB_DEVICE_GPU: tb_device = 2;

/// How serious a log message is.
pub type tb_log_level = i32;

/// Something was done otherwise than asked, or failed.
pub const TB_LOG_LEVEL_WARNING: tb_log_level = 1;
/// What was chosen.
pub const TB_LOG_LEVEL_INFO: tb_log_level = 2;

/// Receives log messages. `message` is valid during the call only. May be called from any thread, by one at a
/// time; must not call the library on the same engine.
pub type tb_log_callback =
    Option<unsafe extern "C" fn(level: tb_log_level, message: *const c_char, user_data: *mut c_void)>;

/// How to create an engine; `tb_engine_options_init` sets the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_engine_options {
    /// `sizeof(tb_engine_options)`.
    pub struct_size: usize,
    /// A `TB_DEVICE_` value; default auto.
    pub device: tb_device,
    /// Threads of the CPU engine; 0, the default, takes all cores. Results do not depend on it.
    pub threads: u32,
    /// Part of the name of the GPU adapter to take, in any case; NULL, the default, takes the best.
    pub adapter: *const c_char,
    /// Where log messages go; NULL, the default: nowhere. The library itself prints nothing.
    pub log: tb_log_callback,
    /// Passed to `log`; must stay valid as long as the engine or a network on it lives.
    pub log_user_data: *mut c_void,
    /// Bytes that one network may hold; 0, the default: on the CPU what the system has available, on a GPU what the
    /// driver gives.
    pub memory_limit: usize,
}

// SAFETY: repr(C), plain numbers and pointers, struct_size first.
unsafe impl Growable for tb_engine_options {
    const FIRST_SIZE: usize = 48;
    fn defaults() -> Self {
        tb_engine_options {
            struct_size: size_of::<Self>(),
            device: TB_DEVICE_AUTO,
            threads: 0,
            adapter: std::ptr::null(),
            log: None,
            log_user_data: std::ptr::null_mut(),
            memory_limit: 0,
        }
    }
}

/// What an engine computes with; filled by `tb_engine_info`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_engine_properties {
    /// `sizeof(tb_engine_properties)`; set by the caller.
    pub struct_size: usize,
    /// 1 where a GPU is in use, else 0.
    pub gpu: i32,
    /// 1 where f16 runs on the GPU, else 0.
    pub gpu_f16: i32,
    /// Threads of the CPU engine.
    pub threads: u32,
    /// Name of the GPU adapter, or "cpu".
    pub name: [c_char; 256],
    /// Driver and version of the GPU, or the CPU's architecture.
    pub driver: [c_char; 256],
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_engine_properties {
    const FIRST_SIZE: usize = 536;
    fn defaults() -> Self {
        tb_engine_properties {
            struct_size: size_of::<Self>(),
            gpu: 0,
            gpu_f16: 0,
            threads: 0,
            name: [0; 256],
            driver: [0; 256],
        }
    }
}

/// Bytes that an engine holds for all its networks and calls; filled by `tb_engine_memory`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_memory_use {
    /// `sizeof(tb_memory_use)`; set by the caller.
    pub struct_size: usize,
    /// In host memory, now: what the CPU computes with.
    pub host_bytes: usize,
    /// The most so far.
    pub host_peak: usize,
    /// On the GPU, now; 0 where there is none.
    pub device_bytes: usize,
    /// The most so far.
    pub device_peak: usize,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_memory_use {
    const FIRST_SIZE: usize = 40;
    fn defaults() -> Self {
        tb_memory_use {
            struct_size: size_of::<Self>(),
            host_bytes: 0,
            host_peak: 0,
            device_bytes: 0,
            device_peak: 0,
        }
    }
}

/// The caller's pointer on its way to the callback.
struct UserData(*mut c_void);

// SAFETY: the header asks the caller for a pointer that any thread may use.
unsafe impl Send for UserData {}
// SAFETY: as above; the library only passes it on.
unsafe impl Sync for UserData {}

fn logger(options: &tb_engine_options) -> Option<Logger> {
    let callback = options.log?;
    let user_data = UserData(options.log_user_data);
    Some(Arc::new(move |level: LogLevel, text: &str| {
        // The whole struct moves in, so that it is the struct that must be Send.
        let UserData(user_data) = &user_data;
        let message = CString::new(text.replace('\0', " ")).unwrap_or_default();
        let level = match level {
            LogLevel::Warning => TB_LOG_LEVEL_WARNING,
            LogLevel::Info => TB_LOG_LEVEL_INFO,
        };
        // SAFETY: the caller's promise about callback and user data.
        unsafe { callback(level, message.as_ptr(), *user_data) };
    }))
}

/// Fills `options` with the defaults. `struct_size` is `sizeof(tb_engine_options)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_engine_options_init(
    options: *mut tb_engine_options,
    struct_size: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_engine_options_init", || unsafe { options::init(options, struct_size, "options") })
}

/// Creates an engine.
///
/// @param options  NULL for the defaults.
/// @param engine   out: the handle; free it with `tb_engine_free`. NULL on failure.
/// @return `TB_STATUS_UNSUPPORTED` where a GPU was asked for and there is none; `TB_STATUS_INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_engine_create(
    options: *const tb_engine_options,
    engine: *mut *mut tb_engine,
) -> tb_status {
    guard("tb_engine_create", || {
        // SAFETY: the caller's promise, as the header states it.
        let engine = unsafe { non_null_mut(engine, "engine") }?;
        *engine = std::ptr::null_mut();
        // SAFETY: the caller's promise.
        let options = unsafe { options::read(options, "options") }?;
        let device = match options.device {
            TB_DEVICE_AUTO => Device::Auto,
            TB_DEVICE_CPU => Device::Cpu,
            TB_DEVICE_GPU => Device::Gpu,
            other => return Err(Error::invalid("options.device", "a TB_DEVICE_ value", other).into()),
        };
        // SAFETY: the caller's promise.
        let adapter = unsafe { optional_string(options.adapter, "options.adapter") }?;
        let created = Engine::new(&EngineOptions {
            device,
            threads: options.threads as usize,
            adapter: adapter.unwrap_or_default().to_string(),
            memory_limit: options.memory_limit,
            logger: logger(&options),
        })?;
        let object = EngineObject { engine: created, tensors: Mutex::default() };
        *engine = handle::create(Object::Engine(Arc::new(object)));
        Ok(())
    })
}

/// Frees an engine. Networks and tensors on it live on. NULL is nothing to do; a handle freed before is
/// `TB_STATUS_INVALID_HANDLE`.
#[unsafe(no_mangle)]
pub extern "C" fn tb_engine_free(engine: *mut tb_engine) -> tb_status {
    guard("tb_engine_free", || handle::free(engine, "engine"))
}

/// What an engine computes with.
///
/// @param properties  in: `struct_size`; out: the rest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_engine_info(
    engine: *const tb_engine,
    properties: *mut tb_engine_properties,
) -> tb_status {
    guard("tb_engine_info", || {
        let info = get(engine)?.info();
        let mut values = tb_engine_properties {
            gpu: info.gpu as i32,
            gpu_f16: info.gpu_f16 as i32,
            threads: info.threads as u32,
            ..Growable::defaults()
        };
        copy_text(&info.name, &mut values.name);
        copy_text(&info.driver, &mut values.driver);
        // SAFETY: the caller's promise.
        unsafe { options::write(properties, values, "properties") }
    })
}

/// Bytes that an engine holds for all its networks and calls.
///
/// @param memory  in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_engine_memory(engine: *const tb_engine, memory: *mut tb_memory_use) -> tb_status {
    guard("tb_engine_memory", || {
        let engine = get(engine)?;
        let (host, device) = (engine.host_memory(), engine.device_memory());
        let values = tb_memory_use {
            host_bytes: host.bytes,
            host_peak: host.peak,
            device_bytes: device.bytes,
            device_peak: device.peak,
            ..Growable::defaults()
        };
        // SAFETY: the caller's promise.
        unsafe { options::write(memory, values, "memory") }
    })
}

/// The engine behind a handle.
pub(super) fn get(engine: *const tb_engine) -> Result<Arc<EngineObject>, Failure> {
    handle::get(engine, "engine")
}
