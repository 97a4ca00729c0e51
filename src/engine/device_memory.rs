//! Memory that stays where an engine computes, for operators to work on in place.

use std::borrow::Cow;
use std::sync::Arc;

use bytemuck::{cast_slice, cast_slice_mut};

#[cfg(feature = "gpu")]
use super::gpu::DeviceBuffer;
use super::meter::Meter;
use crate::error::{Error, Result};
use crate::tensor::{Bytes, BytesMut, DeviceBytes, filled};

/// What error messages call it.
pub(super) const LABEL: &str = "a tensor on the device";

/// Memory where an engine computes: on a GPU the device's, else host memory of the engine's own. Made by
/// [`crate::Engine::allocate_device`]; operators take it through [`crate::View::of`] and [`crate::ViewMut::of`], tie sets as
/// it is.
#[derive(Debug)]
pub struct DeviceMemory {
    len: usize,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Host(HostMemory),
    #[cfg(feature = "gpu")]
    Gpu(DeviceBuffer),
}

/// Host memory that is counted while it lives; in words, so that it is aligned for every dtype.
#[derive(Debug)]
struct HostMemory {
    words: Vec<u64>,
    meter: Arc<Meter>,
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        self.meter.shrink(size_of_val(&self.words[..]));
    }
}

impl DeviceMemory {
    pub(super) fn on_host(len: usize, meter: &Arc<Meter>) -> Result<DeviceMemory> {
        let words = filled(0u64, len.div_ceil(size_of::<u64>()), LABEL)?;
        meter.grow(size_of_val(&words[..]));
        Ok(DeviceMemory { len, place: Place::Host(HostMemory { words, meter: meter.clone() }) })
    }

    #[cfg(feature = "gpu")]
    pub(super) fn on_gpu(buffer: DeviceBuffer) -> DeviceMemory {
        DeviceMemory { len: buffer.len(), place: Place::Gpu(buffer) }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True where there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True where it lies on a GPU.
    pub fn on_a_gpu(&self) -> bool {
        !matches!(self.place, Place::Host(_))
    }

    /// The bytes, for operators to read.
    pub fn bytes(&self) -> Bytes<'_> {
        match &self.place {
            Place::Host(memory) => Bytes::Host(&cast_slice(&memory.words)[..self.len]),
            #[cfg(feature = "gpu")]
            Place::Gpu(memory) => Bytes::Device(DeviceBytes { memory, len: self.len }),
        }
    }

    /// The bytes, for operators to write.
    pub fn bytes_mut(&mut self) -> BytesMut<'_> {
        match &mut self.place {
            Place::Host(memory) => BytesMut::Host(&mut cast_slice_mut(&mut memory.words)[..self.len]),
            #[cfg(feature = "gpu")]
            Place::Gpu(memory) => BytesMut::Device(DeviceBytes { memory, len: self.len }),
        }
    }

    /// Whether as many bytes at `start` are this very memory, which its user may hold through DLPack: a copy would read and
    /// write the same places.
    fn is_at(&self, start: *const u8) -> bool {
        matches!(&self.place, Place::Host(memory) if memory.words.as_ptr().cast() == start)
    }

    /// Overwrites all of it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        expect_len(self.len, bytes.len())?;
        if self.is_at(bytes.as_ptr()) {
            return Ok(());
        }
        match self.bytes_mut() {
            BytesMut::Host(to) => {
                to.copy_from_slice(bytes);
                Ok(())
            }
            BytesMut::Device(to) => write_device(to, bytes),
        }
    }

    /// Copies all of it to `bytes`, after everything that operators have written.
    pub fn read(&self, bytes: &mut [u8]) -> Result<()> {
        expect_len(self.len, bytes.len())?;
        if self.is_at(bytes.as_ptr()) {
            return Ok(());
        }
        match self.bytes() {
            Bytes::Host(from) => {
                bytes.copy_from_slice(from);
                Ok(())
            }
            Bytes::Device(from) => read_device(from, bytes),
        }
    }
}

fn expect_len(expected: usize, got: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::shape("bytes", format!("[{expected}]"), &[got]))
}

#[cfg(feature = "gpu")]
fn write_device(to: DeviceBytes, bytes: &[u8]) -> Result<()> {
    DeviceBuffer::of(to)?.write(bytes)
}

#[cfg(feature = "gpu")]
fn read_device(from: DeviceBytes, bytes: &mut [u8]) -> Result<()> {
    DeviceBuffer::of(from)?.read(bytes)
}

#[cfg(not(feature = "gpu"))]
fn write_device(to: DeviceBytes, _: &[u8]) -> Result<()> {
    Err(no_gpu(to))
}

#[cfg(not(feature = "gpu"))]
fn read_device(from: DeviceBytes, _: &mut [u8]) -> Result<()> {
    Err(no_gpu(from))
}

#[cfg(not(feature = "gpu"))]
fn no_gpu(bytes: DeviceBytes) -> Error {
    Error::Unsupported(format!("{:?}: this build has no GPU engine (feature `gpu`)", bytes.memory))
}

/// Bytes for the CPU to read: those of a device are copied.
pub(super) fn on_host<'a>(bytes: &Bytes<'a>) -> Result<Cow<'a, [u8]>> {
    match *bytes {
        Bytes::Host(bytes) => Ok(Cow::Borrowed(bytes)),
        Bytes::Device(from) => {
            let mut copy = filled(0, from.len, LABEL)?;
            read_device(from, &mut copy)?;
            Ok(Cow::Owned(copy))
        }
    }
}

/// Bytes for the CPU to write.
pub(super) enum Hosted<'a> {
    InPlace(&'a mut [u8]),
    /// To be written to the device afterwards.
    Copy(DeviceBytes<'a>, Vec<u64>),
}

/// Bytes for the CPU to write: those of a device are copied, since an operator may update what is there.
pub(super) fn on_host_mut<'a>(bytes: &'a mut BytesMut) -> Result<Hosted<'a>> {
    match bytes {
        BytesMut::Host(bytes) => Ok(Hosted::InPlace(bytes)),
        BytesMut::Device(to) => {
            let mut copy = filled(0u64, to.len.div_ceil(size_of::<u64>()), LABEL)?;
            read_device(*to, &mut cast_slice_mut(&mut copy)[..to.len])?;
            Ok(Hosted::Copy(*to, copy))
        }
    }
}

impl Hosted<'_> {
    pub fn slice(&mut self) -> &mut [u8] {
        match self {
            Hosted::InPlace(bytes) => bytes,
            Hosted::Copy(to, copy) => &mut cast_slice_mut(copy)[..to.len],
        }
    }

    pub fn give_back(self) -> Result<()> {
        match self {
            Hosted::InPlace(_) => Ok(()),
            Hosted::Copy(to, copy) => write_device(to, &cast_slice(&copy)[..to.len]),
        }
    }
}
