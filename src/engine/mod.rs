//! Where kernels run: one operator table ([`op`]), two implementations ([`cpu`], [`gpu`]).

mod adapter;
pub(crate) mod cpu;
mod device_memory;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
pub(crate) mod meter;
pub(crate) mod op;
mod operators;
pub(crate) mod session;

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::dtype::DType;
use crate::error::{Error, Result};
#[cfg(feature = "gpu")]
use crate::precision::Accumulate;
use crate::precision::Precision;
use crate::tensor::{Bytes, BytesMut};
use op::{Op, Settings};
use session::Session;

pub use adapter::{Adapter, AdapterKind, adapters};
pub use device_memory::DeviceMemory;
pub use meter::MemoryUse;
pub use op::Work;
pub use operators::{
    AdamOptions, AdamState, BatchNormGradients, BatchNormOptions, BatchNormParameters, BatchStatistics,
    DropoutOptions, MaxPool2dDiagnosis, RmsPropOptions, RmsPropState, RunningStatistics, SgdOptions,
};
pub(crate) use operators::{class_indices, scalar_f64};

/// Where an engine computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// A hardware GPU where there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU engine: f16, f32 and f64.
    Cpu,
    /// A GPU through wgpu, a software one too: f16 (where the adapter has `SHADER_F16`) and f32. What it
    /// cannot do runs on the CPU engine, and [`Engine::placement`] says so.
    Gpu,
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Device> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "gpu" => Ok(Device::Gpu),
            _ => Err(Error::invalid("device", "auto, cpu or gpu", text)),
        }
    }
}

/// How serious a log message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something was done otherwise than asked, or failed.
    Warning = 1,
    /// What was chosen.
    Info = 2,
}

/// Receives log messages; the library itself prints nothing.
pub type Logger = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;

/// How to create an [`Engine`].
#[derive(Clone, Default)]
pub struct EngineOptions {
    /// Where to compute.
    pub device: Device,
    /// Threads of the CPU engine; 0 takes all cores. Results do not depend on it.
    pub threads: usize,
    /// Part of the name of the GPU adapter to take, in any case; empty takes the best.
    pub adapter: String,
    /// Bytes that one network may hold; 0: on the CPU what the system has available, on a GPU what the driver gives.
    pub memory_limit: usize,
    /// Where log messages go.
    pub logger: Option<Logger>,
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineOptions")
            .field("device", &self.device)
            .field("threads", &self.threads)
            .field("adapter", &self.adapter)
            .field("memory_limit", &self.memory_limit)
            .finish_non_exhaustive()
    }
}

/// What an engine computes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// True where a GPU is in use.
    pub gpu: bool,
    /// Name of the GPU adapter, or "cpu".
    pub name: String,
    /// Driver and version of the GPU, or the CPU's architecture.
    pub driver: String,
    /// True where f16 runs on the GPU.
    pub gpu_f16: bool,
    /// Threads of the CPU engine.
    pub threads: usize,
}

/// Runs operators and networks. Cheap to clone: clones share one engine.
///
/// Its operators work on host memory: outputs are the caller's and must not overlap the inputs, and every tensor of
/// a call has the same dtype unless said otherwise. With a GPU engine the data travel to the device and back; for
/// device-resident work use [`crate::net::Network`].
///
/// May be used from any thread; calls on one engine are serialised.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    cpu: cpu::CpuEngine,
    #[cfg(feature = "gpu")]
    gpu: Option<gpu::GpuEngine>,
    logger: Option<Logger>,
    memory_limit: usize,
    /// Whether it has been logged that the CPU runs operators which the GPU cannot.
    told: AtomicBool,
    /// Held while a call runs.
    serial: Mutex<()>,
}

/// Which engine runs a dtype, and why if it is not the one that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// True where the GPU runs it.
    pub gpu: bool,
    /// Why a GPU engine leaves this dtype to the CPU.
    pub reason: Option<String>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info().fmt(f)
    }
}

impl Engine {
    /// Creates an engine.
    ///
    /// Errors: [`Error::Unsupported`] where [`Device::Gpu`] was asked for and there is no adapter (or this
    /// build has no GPU engine); [`Device::Auto`] takes the CPU instead.
    pub fn new(options: &EngineOptions) -> Result<Engine> {
        let log = |level, text: &str| {
            if let Some(logger) = &options.logger {
                logger(level, text);
            }
        };
        let cpu = cpu::CpuEngine::new(options.threads)?;
        #[cfg(feature = "gpu")]
        let gpu = match options.device {
            Device::Cpu => None,
            Device::Gpu => Some(gpu::GpuEngine::new(&options.adapter, false)?),
            Device::Auto => gpu::GpuEngine::new(&options.adapter, true)
                .inspect_err(|e| log(LogLevel::Info, &format!("the CPU engine runs: {e}")))
                .ok(),
        };
        #[cfg(not(feature = "gpu"))]
        if options.device == Device::Gpu {
            return Err(Error::Unsupported("this build has no GPU engine (feature `gpu`)".into()));
        }
        let engine = Engine {
            shared: Arc::new(Shared {
                cpu,
                #[cfg(feature = "gpu")]
                gpu,
                logger: options.logger.clone(),
                memory_limit: options.memory_limit,
                told: AtomicBool::new(false),
                serial: Mutex::new(()),
            }),
        };
        let info = engine.info();
        log(LogLevel::Info, &format!("engine: {} ({}), {} threads", info.name, info.driver, info.threads));
        Ok(engine)
    }

    /// The CPU engine on all cores.
    pub fn cpu() -> Engine {
        Engine::new(&EngineOptions { device: Device::Cpu, ..Default::default() })
            .expect("a CPU engine with default options")
    }

    /// What this engine computes with.
    pub fn info(&self) -> EngineInfo {
        let threads = self.shared.cpu.threads();
        #[cfg(feature = "gpu")]
        if let Some(gpu) = &self.shared.gpu {
            return EngineInfo {
                gpu: true,
                name: gpu.name().to_string(),
                driver: gpu.driver().to_string(),
                gpu_f16: gpu.supports(DType::F16),
                threads,
            };
        }
        let driver = std::env::consts::ARCH.to_string();
        EngineInfo { gpu: false, name: "cpu".into(), driver, gpu_f16: false, threads }
    }

    #[cfg(all(test, feature = "gpu"))]
    pub(crate) fn lose_gpu(&self) {
        self.shared.gpu.as_ref().expect("a GPU engine").lose();
    }

    /// Bytes that the CPU engine holds in host memory: tensors of networks, and working memory of the kernels.
    pub fn host_memory(&self) -> MemoryUse {
        self.shared.cpu.memory()
    }

    /// Bytes that the GPU engine holds on the device; zeros where there is none.
    pub fn device_memory(&self) -> MemoryUse {
        #[cfg(feature = "gpu")]
        if let Some(gpu) = &self.shared.gpu {
            return gpu.memory();
        }
        MemoryUse::default()
    }

    /// Which engine runs a precision (or a [`DType`]): f64, sums accumulated in 16 bits, and f16 without
    /// `SHADER_F16` stay on the CPU.
    pub fn placement(&self, precision: impl Into<Precision>) -> Placement {
        let precision = precision.into();
        #[cfg(feature = "gpu")]
        if let Some(gpu) = &self.shared.gpu {
            let reason = match precision.storage {
                DType::F64 => "f64 always runs on the CPU engine".to_string(),
                DType::F16 if precision.accumulate == Accumulate::Storage => {
                    "accumulation in 16 bits runs on the CPU engine".to_string()
                }
                dtype if gpu.supports(dtype) => return Placement { gpu: true, reason: None },
                dtype => {
                    format!("adapter \"{}\" has no SHADER_F16; {dtype} runs on the CPU engine", gpu.name())
                }
            };
            return Placement { gpu: false, reason: Some(reason) };
        }
        let _ = precision;
        Placement { gpu: false, reason: None }
    }

    pub(crate) fn log(&self, level: LogLevel, text: &str) {
        if let Some(logger) = &self.shared.logger {
            logger(level, text);
        }
    }

    /// Zeroed buffers of these sizes for a session, all or none.
    pub(crate) fn allocate(
        &self,
        session: &mut dyn Session,
        sizes: &[usize],
        label: &str,
    ) -> Result<Vec<op::BufferId>> {
        self.admit(session, sizes, label)?;
        let mut buffers = Vec::new();
        for &bytes in sizes {
            match session.allocate(bytes, label) {
                Ok(buffer) => buffers.push(buffer),
                Err(error) => {
                    session.release(&buffers, &[]);
                    return Err(error);
                }
            }
        }
        Ok(buffers)
    }

    /// Refuses buffers for a session, before any is allocated, where the engine's limit does not allow them.
    fn admit(&self, session: &dyn Session, sizes: &[usize], label: &str) -> Result<()> {
        let bytes = sizes.iter().fold(0usize, |sum, &size| sum.saturating_add(size));
        let (held, limit) = (session.allocated_bytes(), self.shared.memory_limit);
        if limit != 0 && bytes.saturating_add(held) > limit {
            let detail = format!("{held} are held, and the engine's memory_limit is {limit}");
            return Err(Error::OutOfMemory { what: label.to_string(), bytes, detail });
        }
        session.admit(sizes, label)
    }

    /// A lock that serialises calls; a panic while it was held leaves nothing half-done behind it.
    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        self.shared.serial.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Memory and programs on the engine of a placement.
    pub(crate) fn session(&self, placement: &Placement) -> Box<dyn Session> {
        if let Some(reason) = &placement.reason {
            self.log(LogLevel::Warning, reason);
        }
        #[cfg(feature = "gpu")]
        if let (true, Some(gpu)) = (placement.gpu, &self.shared.gpu) {
            return gpu.session();
        }
        self.shared.cpu.session()
    }

    /// Runs one operator where its dtype is placed. Memory that lies there is used in place; other travels there and
    /// back.
    pub(crate) fn execute(
        &self,
        op: Op,
        dtype: DType,
        reads: &[Bytes],
        writes: &mut [BytesMut],
        settings: &Settings,
    ) -> Result<()> {
        let placement = self.placement(dtype);
        if let Some(reason) = &placement.reason
            && !self.shared.told.swap(true, Ordering::Relaxed)
        {
            self.log(LogLevel::Warning, &format!("{}: {reason}; not said again for operators", op.name()));
        }
        let _serial = self.lock();
        #[cfg(feature = "gpu")]
        if let (true, Some(gpu)) = (placement.gpu, &self.shared.gpu) {
            return gpu.execute(op, dtype, reads, writes, settings);
        }
        let reads = reads.iter().map(device_memory::on_host).collect::<Result<Vec<_>>>()?;
        let reads: Vec<&[u8]> = reads.iter().map(|bytes| &**bytes).collect();
        let mut hosted = writes.iter_mut().map(device_memory::on_host_mut).collect::<Result<Vec<_>>>()?;
        let mut slices: Vec<&mut [u8]> = hosted.iter_mut().map(|bytes| bytes.slice()).collect();
        self.shared.cpu.execute(op, dtype, &reads, &mut slices, 0, settings)?;
        hosted.into_iter().try_for_each(|bytes| bytes.give_back())
    }

    /// Zeroed memory of `bytes` bytes where operators of a [`DType`] run.
    pub fn allocate_device(&self, dtype: DType, bytes: usize) -> Result<DeviceMemory> {
        let placement = self.placement(dtype);
        #[cfg(feature = "gpu")]
        if let (true, Some(gpu)) = (placement.gpu, &self.shared.gpu) {
            return Ok(DeviceMemory::on_gpu(gpu.allocate(bytes)?));
        }
        debug_assert!(!placement.gpu, "there is a GPU where one is placed on");
        self.shared.cpu.session().admit(&[bytes], device_memory::LABEL)?;
        DeviceMemory::on_host(bytes, self.shared.cpu.meter())
    }
}
