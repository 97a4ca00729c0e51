use std::ffi::c_char;

use super::options::{self, Growable};
use super::status::tb_status;
use super::{copy_text, guard, non_null_mut};
use crate::engine::{Adapter, AdapterKind, adapters};

/// What an adapter is.
pub type tb_adapter_kind = i32;

/// The driver does not say.
pub const TB_ADAPTER_OTHER: tb_adapter_kind = 0;
/// A GPU with memory of its own.
pub const TB_ADAPTER_DISCRETE: tb_adapter_kind = 1;
/// A GPU that shares the host's memory.
pub const TB_ADAPTER_INTEGRATED: tb_adapter_kind = 2;
/// A GPU given to a virtual machine.
pub const TB_ADAPTER_VIRTUAL: tb_adapter_kind = 3;
/// A driver that computes on the CPU, no hardware.
pub const TB_ADAPTER_SOFTWARE: tb_adapter_kind = 4;

/// A GPU, or a driver that imitates one; filled by `tb_adapters`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_adapter_properties {
    /// `sizeof(tb_adapter_properties)`; set by the caller, of an array in the first.
    pub struct_size: usize,
    /// Its name, which `adapter` of `tb_engine_options` chooses by; its first 255 bytes.
    pub name: [c_char; 256],
    /// Driver and version; their first 255 bytes.
    pub driver: [c_char; 256],
    /// A `TB_ADAPTER_` value.
    pub kind: tb_adapter_kind,
    /// 1 where f16 runs on it, else 0.
    pub f16: i32,
    /// 1 where it times kernels, which `tb_optimizer_profile_step` needs, else 0.
    pub timestamps: i32,
    /// 0.
    pub reserved: i32,
    /// Bytes of the largest buffer.
    pub largest_buffer: u64,
    /// Bytes that a kernel can reach of one buffer: the largest tensor has the smaller of both.
    pub largest_binding: u64,
    /// Why an engine cannot use it; empty where it can.
    pub unusable: [c_char; 256],
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_adapter_properties {
    const FIRST_SIZE: usize = 808;
    fn defaults() -> Self {
        tb_adapter_properties {
            struct_size: size_of::<Self>(),
            name: [0; 256],
            driver: [0; 256],
            kind: TB_ADAPTER_OTHER,
            f16: 0,
            timestamps: 0,
            reserved: 0,
            largest_buffer: 0,
            largest_binding: 0,
            unusable: [0; 256],
        }
    }
}

fn values(adapter: &Adapter) -> tb_adapter_properties {
    let mut values = tb_adapter_properties {
        kind: match adapter.kind {
            AdapterKind::Discrete => TB_ADAPTER_DISCRETE,
            AdapterKind::Integrated => TB_ADAPTER_INTEGRATED,
            AdapterKind::Virtual => TB_ADAPTER_VIRTUAL,
            AdapterKind::Software => TB_ADAPTER_SOFTWARE,
            AdapterKind::Other => TB_ADAPTER_OTHER,
        },
        f16: adapter.f16 as i32,
        timestamps: adapter.timestamps as i32,
        largest_buffer: adapter.largest_buffer,
        largest_binding: adapter.largest_binding,
        ..Growable::defaults()
    };
    copy_text(&adapter.name, &mut values.name);
    copy_text(&adapter.driver, &mut values.driver);
    copy_text(adapter.unusable.as_deref().unwrap_or_default(), &mut values.unusable);
    values
}

/// The GPU adapters that there are; none in a build without a GPU engine.
///
/// @param adapters  in: `struct_size` of the first; out: as many as there is room for; NULL where room is 0
/// @param room      number of structs at adapters
/// @param count     out: number of adapters; those beyond `room` were not written
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_adapters(
    adapters: *mut tb_adapter_properties,
    room: usize,
    count: *mut usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_adapters", || unsafe {
        let count = non_null_mut(count, "count")?;
        options::check_array(adapters, room, "adapters")?;
        let found = self::adapters();
        *count = found.len();
        let written: Vec<_> = found.iter().take(room).map(values).collect();
        options::write_array(adapters, &written, "adapters")
    })
}
