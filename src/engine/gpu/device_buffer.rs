//! Memory of the device that outlives a session, and operators on it.

use std::fmt;
use std::sync::Arc;

use super::session::GpuSession;
use super::{Gpu, GpuEngine, Memory};
use crate::dtype::DType;
use crate::engine::op::{BufferId, Call, Op, Settings};
use crate::engine::session::Session;
use crate::error::{Error, Result};
use crate::tensor::{Bytes, BytesMut, DeviceBytes};

/// Bytes on the device.
pub(crate) struct DeviceBuffer {
    gpu: Arc<Gpu>,
    memory: Arc<Memory>,
    len: usize,
}

impl fmt::Debug for DeviceBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes on {}", self.len, self.gpu.info.name)
    }
}

impl DeviceBuffer {
    /// The buffer behind borrowed bytes.
    pub fn of<'a>(bytes: DeviceBytes<'a>) -> Result<&'a DeviceBuffer> {
        let buffer = bytes.memory.downcast_ref::<DeviceBuffer>();
        buffer.ok_or_else(|| Error::Device("memory of another kind of device".into()))
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut session = GpuSession::new(self.gpu.clone());
        let buffer = session.adopt(self.memory.clone());
        session.write(buffer, bytes)
    }

    pub fn read(&self, bytes: &mut [u8]) -> Result<()> {
        let mut session = GpuSession::new(self.gpu.clone());
        let buffer = session.adopt(self.memory.clone());
        session.read(buffer, bytes)
    }
}

impl GpuEngine {
    /// Zeroed memory.
    pub fn allocate(&self, bytes: usize) -> Result<DeviceBuffer> {
        self.gpu.check("allocate", bytes)?;
        let memory = Arc::new(self.gpu.buffer(bytes, "a tensor")?);
        Ok(DeviceBuffer { gpu: self.gpu.clone(), memory, len: bytes })
    }

    /// Runs one operator. Memory of the device is used in place, and if there is no other nothing waits; memory of the
    /// host travels to the device and back.
    pub fn execute(
        &self,
        op: Op,
        dtype: DType,
        reads: &[Bytes],
        writes: &mut [BytesMut],
        settings: &Settings,
    ) -> Result<()> {
        let mut session = GpuSession::new(self.gpu.clone());
        let mut read_buffers = Vec::new();
        for bytes in reads {
            read_buffers.push(match *bytes {
                Bytes::Host(bytes) => upload(&mut session, bytes, op.name())?,
                Bytes::Device(bytes) => self.adopt(&mut session, bytes)?,
            });
        }
        let mut write_buffers = Vec::new();
        for bytes in &mut *writes {
            write_buffers.push(match bytes {
                BytesMut::Host(bytes) => upload(&mut session, bytes, op.name())?,
                BytesMut::Device(bytes) => self.adopt(&mut session, *bytes)?,
            });
        }
        let call = Call { op, dtype, reads: read_buffers, writes: write_buffers.clone(), site: 0 };
        let program = session.prepare(&[call])?;
        session.run(&[program], settings)?;
        for (buffer, bytes) in write_buffers.into_iter().zip(writes) {
            if let BytesMut::Host(bytes) = bytes {
                session.read(buffer, bytes)?;
            }
        }
        Ok(())
    }

    fn adopt(&self, session: &mut GpuSession, bytes: DeviceBytes) -> Result<BufferId> {
        let buffer = DeviceBuffer::of(bytes)?;
        if !Arc::ptr_eq(&buffer.gpu, &self.gpu) {
            return Err(Error::invalid(
                "tensor",
                "one of the engine that is to run",
                "one of another engine",
            ));
        }
        Ok(session.adopt(buffer.memory.clone()))
    }
}

fn upload(session: &mut GpuSession, bytes: &[u8], label: &str) -> Result<BufferId> {
    let buffer = session.allocate(bytes.len(), label)?;
    session.write(buffer, bytes)?;
    Ok(buffer)
}
