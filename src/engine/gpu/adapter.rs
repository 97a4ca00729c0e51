use super::{check_limits, driver_text, enumerate};
use crate::engine::adapter::{Adapter, AdapterKind};

/// The adapters that there are.
pub(crate) fn adapters() -> Vec<Adapter> {
    enumerate().iter().map(describe).collect()
}

fn describe(adapter: &wgpu::Adapter) -> Adapter {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    Adapter {
        driver: driver_text(&info),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Cpu => AdapterKind::Software,
            wgpu::DeviceType::Other => AdapterKind::Other,
        },
        f16: features.contains(wgpu::Features::SHADER_F16),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        largest_buffer: limits.max_buffer_size,
        largest_binding: limits.max_storage_buffer_binding_size,
        unusable: check_limits(&info, &limits).err().map(|e| e.to_string()),
        name: info.name,
    }
}
