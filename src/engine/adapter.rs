/// What an adapter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the host's memory.
    Integrated,
    /// A GPU given to a virtual machine.
    Virtual,
    /// A driver that computes on the CPU.
    Software,
    /// The driver does not say.
    Other,
}

/// A GPU, or a driver that imitates one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// Its name, which [`crate::EngineOptions::adapter`] chooses by.
    pub name: String,
    /// Driver and version.
    pub driver: String,
    /// What it is.
    pub kind: AdapterKind,
    /// Whether f16 runs on it.
    pub f16: bool,
    /// Whether it times kernels, which profiles need.
    pub timestamps: bool,
    /// Bytes of the largest buffer.
    pub largest_buffer: u64,
    /// Bytes that a kernel can reach of one buffer: the largest tensor has the smaller of both.
    pub largest_binding: u64,
    /// Why an engine cannot use it, if it cannot.
    pub unusable: Option<String>,
}

/// The adapters that there are, in the order of the drivers; none without the feature `gpu`.
pub fn adapters() -> Vec<Adapter> {
    #[cfg(feature = "gpu")]
    return super::gpu::adapters();
    #[cfg(not(feature = "gpu"))]
    Vec::new()
}
