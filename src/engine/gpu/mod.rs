//! The GPU engine: compute shaders through wgpu, f16 and f32.
//!
//! An operator is lowered to [`dispatch::Dispatch`]es; a [`session::GpuSession`] records them. Every shader
//! has a twin in the CPU engine: elementwise operators, pooling and the optimizer give the same bits where
//! the driver's f32 is IEEE (division correctly rounded, subnormals kept), sums agree within rounding.

mod adapter;
mod add;
mod avgpool2d;
mod batchnorm;
mod conv2d;
mod copy_rows;
mod device_buffer;
mod dispatch;
mod dropout;
mod gemm;
mod linear;
mod loss;
mod maxpool2d;
mod non_finite;
mod norm_pool2d;
mod norms;
mod optimizer;
mod pool2d;
mod quantize;
mod relu;
mod session;
mod shader;
mod tie_census;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::dtype::DType;
use crate::engine::meter::{MemoryUse, Meter};
use crate::engine::session::Session;
use crate::error::{Error, Result};
pub(super) use adapter::adapters;
pub(super) use device_buffer::DeviceBuffer;
use dispatch::{Binding, Kernel};

/// Workgroups that one dimension of a dispatch holds everywhere.
const MAX_GROUPS: usize = 65535;

pub(crate) struct GpuEngine {
    gpu: Arc<Gpu>,
}

impl GpuEngine {
    /// The best adapter whose name contains `adapter`, in any case; with `hardware_only`, no software one.
    pub fn new(adapter: &str, hardware_only: bool) -> Result<GpuEngine> {
        Ok(GpuEngine { gpu: Arc::new(Gpu::new(adapter, hardware_only)?) })
    }

    pub fn name(&self) -> &str {
        &self.gpu.info.name
    }

    pub fn driver(&self) -> &str {
        &self.gpu.driver
    }

    pub fn supports(&self, dtype: DType) -> bool {
        match dtype {
            DType::F16 => self.gpu.device.features().contains(wgpu::Features::SHADER_F16),
            DType::F32 => true,
            DType::F64 => false,
        }
    }

    pub fn memory(&self) -> MemoryUse {
        self.gpu.meter.read()
    }

    /// As where the driver resets the device, or it is pulled out.
    #[cfg(test)]
    pub fn lose(&self) {
        self.gpu.device.destroy();
    }

    pub fn session(&self) -> Box<dyn Session> {
        Box::new(session::GpuSession::new(self.gpu.clone()))
    }
}

/// The device with what all sessions share.
struct Gpu {
    info: wgpu::AdapterInfo,
    driver: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
    limits: wgpu::Limits,
    pipelines: Mutex<HashMap<Kernel, Arc<Pipeline>>>,
    faults: Arc<Mutex<Faults>>,
    meter: Arc<Meter>,
}

/// A buffer that is counted while it lives.
struct Memory {
    buffer: wgpu::Buffer,
    meter: Arc<Meter>,
}

impl std::ops::Deref for Memory {
    type Target = wgpu::Buffer;
    fn deref(&self) -> &wgpu::Buffer {
        &self.buffer
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.meter.shrink(self.buffer.size() as usize);
    }
}

struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// What wgpu reported outside of return values.
#[derive(Default)]
struct Faults {
    lost: Option<String>,
    error: Option<Fault>,
}

enum Fault {
    OutOfMemory(String),
    Other(String),
}

impl Gpu {
    fn new(adapter: &str, hardware_only: bool) -> Result<Gpu> {
        let adapter = choose(enumerate(), adapter, hardware_only)?;
        let info = adapter.get_info();
        let limits = adapter.limits();
        check_limits(&info, &limits)?;
        let wanted = wgpu::Features::SHADER_F16 | wgpu::Features::TIMESTAMP_QUERY;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("tiebreak"),
            required_features: adapter.features() & wanted,
            required_limits: limits.clone(),
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|e| Error::Unsupported(format!("adapter \"{}\" gives no device: {e}", info.name)))?;

        let faults = Arc::new(Mutex::new(Faults::default()));
        let recorder = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let fault = match &error {
                wgpu::Error::OutOfMemory { source } => Fault::OutOfMemory(source.to_string()),
                _ => Fault::Other(error.to_string()),
            };
            // The first error is the cause of those that follow.
            lock(&recorder).error.get_or_insert(fault);
        }));
        let recorder = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            lock(&recorder).lost.get_or_insert(format!("{reason:?}: {message}"));
        });

        Ok(Gpu {
            driver: driver_text(&info),
            info,
            device,
            queue,
            limits,
            pipelines: Default::default(),
            faults,
            meter: Default::default(),
        })
    }

    /// The error that wgpu reported since the last call, if any. The loss of the device stays.
    fn check(&self, what: &str, bytes: usize) -> Result<()> {
        let mut faults = lock(&self.faults);
        if faults.error.is_some() && faults.lost.is_none() {
            // wgpu tells of a lost device at a poll only: the errors that the loss causes may come first.
            drop(faults);
            let _ = self.device.poll(wgpu::PollType::Poll);
            faults = lock(&self.faults);
        }
        if let Some(reason) = &faults.lost {
            return Err(Error::DeviceLost(reason.clone()));
        }
        match faults.error.take() {
            None => Ok(()),
            Some(Fault::OutOfMemory(detail)) => {
                Err(Error::OutOfMemory { what: what.to_string(), bytes, detail })
            }
            Some(Fault::Other(message)) => Err(Error::Device(format!("{what}: {message}"))),
        }
    }

    /// The size of a buffer for `bytes`; an error where the adapter allows none so large.
    fn buffer_size(&self, bytes: usize, label: &str) -> Result<u64> {
        // An empty binding is not valid, and sizes are multiples of a word.
        let size = bytes.max(4).checked_next_multiple_of(4).map(|size| size as u64);
        let limit = self.limits.max_buffer_size.min(self.limits.max_storage_buffer_binding_size);
        // Shaders count elements in 32 bits.
        let limit = limit.min(u32::MAX.into());
        size.filter(|&size| size <= limit).ok_or_else(|| Error::OutOfMemory {
            what: label.to_string(),
            bytes,
            detail: format!("adapter \"{}\" allows {limit} bytes in one buffer", self.info.name),
        })
    }

    /// A buffer of zeros that kernels can use; refused before anything is allocated where it is too large.
    fn buffer(&self, bytes: usize, label: &str) -> Result<Memory> {
        let size = self.buffer_size(bytes, label)?;
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.check(label, bytes)?;
        self.meter.grow(size as usize);
        Ok(Memory { buffer, meter: self.meter.clone() })
    }

    /// Waits for everything that was submitted.
    fn wait(&self) -> Result<()> {
        let waited = self.device.poll(wgpu::PollType::wait_indefinitely());
        self.check("wait", 0)?;
        waited.map(drop).map_err(|e| Error::Device(format!("wait: {e}")))
    }

    /// The pipeline of a kernel, compiled at its first use. `bindings` come before its params.
    fn pipeline(&self, kernel: &Kernel, bindings: &[Binding]) -> Result<Arc<Pipeline>> {
        let mut pipelines = lock(&self.pipelines);
        if let Some(pipeline) = pipelines.get(kernel) {
            return Ok(pipeline.clone());
        }
        let source = shader::expand(kernel.shader, &kernel.defines)?;
        let label = Some(kernel.shader);
        let module = self
            .module(wgpu::ShaderModuleDescriptor { label, source: wgpu::ShaderSource::Wgsl(source.into()) });
        let read_only = bindings.iter().map(|b| b.read_only()).chain([true]);
        let entries: Vec<_> = read_only
            .enumerate()
            .map(|(binding, read_only)| wgpu::BindGroupLayoutEntry {
                binding: binding as u32,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        self.check(kernel.shader, 0)?;
        let pipeline = Arc::new(Pipeline { pipeline, layout });
        pipelines.insert(kernel.clone(), pipeline.clone());
        Ok(pipeline)
    }

    /// Debug builds keep wgpu's checks of indices, divisors and loops.
    #[cfg(debug_assertions)]
    fn module(&self, descriptor: wgpu::ShaderModuleDescriptor) -> wgpu::ShaderModule {
        self.device.create_shader_module(descriptor)
    }

    /// Without wgpu's checks, which cost up to the hundredfold in loops.
    #[cfg(not(debug_assertions))]
    #[allow(unsafe_code)]
    fn module(&self, descriptor: wgpu::ShaderModuleDescriptor) -> wgpu::ShaderModule {
        // SAFETY: the sources are this crate's own: every loop is bounded, every divisor is a geometry word
        // of at least 1, and every index is below a length that the host derived from the same geometry as
        // the buffers. The tests run them with the checks on.
        unsafe {
            self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
    }
}

/// A panic while the lock was held leaves nothing half-done behind it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn enumerate() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()))
}

/// Driver, version and programming interface.
fn driver_text(info: &wgpu::AdapterInfo) -> String {
    let backend = info.backend.to_string();
    let parts = [info.driver.as_str(), info.driver_info.as_str(), &backend];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

fn choose(adapters: Vec<wgpu::Adapter>, wanted: &str, hardware_only: bool) -> Result<wgpu::Adapter> {
    let names: Vec<_> = adapters.iter().map(|a| format!("\"{}\"", a.get_info().name)).collect();
    let wanted_lower = wanted.to_lowercase();
    let rank = |adapter: &wgpu::Adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    adapters
        .into_iter()
        .filter(|a| a.get_info().name.to_lowercase().contains(&wanted_lower))
        .filter(|a| !hardware_only || a.get_info().device_type != wgpu::DeviceType::Cpu)
        .min_by_key(rank)
        .ok_or_else(|| {
            let kind = if hardware_only { "hardware GPU adapter" } else { "GPU adapter" };
            let named = if wanted.is_empty() { String::new() } else { format!(" named \"{wanted}\"") };
            let found = if names.is_empty() { "none".into() } else { names.join(", ") };
            Error::Unsupported(format!("no {kind}{named}; found: {found}"))
        })
}

/// What the kernels are written for; wgpu itself does not check the shared memory.
fn check_limits(info: &wgpu::AdapterInfo, limits: &wgpu::Limits) -> Result<()> {
    let needs = [
        ("invocations in a workgroup", limits.max_compute_invocations_per_workgroup, 256),
        ("threads along x", limits.max_compute_workgroup_size_x, 256),
        ("bytes of workgroup memory", limits.max_compute_workgroup_storage_size, 16 << 10),
        ("storage buffers in a stage", limits.max_storage_buffers_per_shader_stage, 8),
        ("workgroups in a dimension", limits.max_compute_workgroups_per_dimension, MAX_GROUPS as u32),
    ];
    match needs.into_iter().find(|(_, has, needed)| has < needed) {
        None => Ok(()),
        Some((what, has, needed)) => Err(Error::Unsupported(format!(
            "adapter \"{}\" has {has} {what}, {needed} are needed",
            info.name
        ))),
    }
}

#[cfg(test)]
mod tests;
