use std::sync::Arc;
use std::time::Instant;

use bytemuck::{Pod, Zeroable, cast_slice, cast_slice_mut};

use crate::engine::meter::Meter;
use crate::engine::op::{BufferId, Call, Settings};
use crate::engine::session::{KernelTime, ProgramId, Session};
use crate::error::{Error, Result};

/// One cache line, so that every buffer starts on one.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

pub(super) struct CpuSession {
    pool: Arc<rayon::ThreadPool>,
    buffers: Vec<Vec<Line>>,
    programs: Vec<Vec<Call>>,
    meter: Arc<Meter>,
}

impl CpuSession {
    pub fn new(pool: Arc<rayon::ThreadPool>, meter: Arc<Meter>) -> CpuSession {
        CpuSession { pool, buffers: Vec::new(), programs: Vec::new(), meter }
    }

    fn buffer_mut(&mut self, id: BufferId) -> &mut Vec<Line> {
        &mut self.buffers[id.0 as usize]
    }

    /// Runs the calls in order, each through `around`, which gets what to run.
    fn run_each(
        &mut self,
        programs: &[ProgramId],
        settings: &Settings,
        mut around: impl FnMut(&Call, &mut dyn FnMut()) + Send,
    ) {
        let CpuSession { pool, buffers, programs: all, .. } = self;
        super::install(pool, || {
            for call in programs.iter().flat_map(|p| &all[p.0 as usize]) {
                let mut taken = Taken::new(buffers, &call.writes);
                let reads: Vec<&[u8]> =
                    call.reads.iter().map(|r| cast_slice(&taken.others[r.0 as usize])).collect();
                let mut writes: Vec<&mut [u8]> =
                    taken.buffers.iter_mut().map(|w| cast_slice_mut(w)).collect();
                around(call, &mut || {
                    super::execute(call.op, call.dtype, &reads, &mut writes, call.site, settings);
                });
            }
        });
    }
}

/// Written buffers, out of the table while the others are borrowed; back in it afterwards, also after a panic.
struct Taken<'a> {
    others: &'a mut [Vec<Line>],
    ids: &'a [BufferId],
    buffers: Vec<Vec<Line>>,
}

impl<'a> Taken<'a> {
    fn new(all: &'a mut [Vec<Line>], ids: &'a [BufferId]) -> Taken<'a> {
        let buffers = ids.iter().map(|id| std::mem::take(&mut all[id.0 as usize])).collect();
        Taken { others: all, ids, buffers }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for (id, buffer) in self.ids.iter().zip(self.buffers.drain(..)) {
            self.others[id.0 as usize] = buffer;
        }
    }
}

/// Bytes that can be had without the system, or the container, running out of memory, where they tell.
fn available_memory() -> Option<usize> {
    let number = |text: &str| text.split_whitespace().next()?.parse::<usize>().ok();
    let in_system = || {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        number(text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?)?.checked_mul(1024)
    };
    let in_container = || {
        let [max, current] = ["max", "current"].map(|name| {
            let text = std::fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok()?;
            number(&text)
        });
        Some(max?.saturating_sub(current?))
    };
    in_system().into_iter().chain(in_container()).min()
}

impl Session for CpuSession {
    fn admit(&self, sizes: &[usize], label: &str) -> Result<()> {
        let bytes = sizes.iter().fold(0usize, |sum, &size| sum.saturating_add(size));
        match available_memory() {
            // What kernels need beside, and other programs.
            Some(available) if bytes > available / 20 * 19 => Err(Error::OutOfMemory {
                what: label.to_string(),
                bytes,
                detail: format!("{available} bytes are available"),
            }),
            _ => Ok(()),
        }
    }

    fn scratch_bytes(&self, _: &[Call]) -> usize {
        0
    }

    fn allocate(&mut self, bytes: usize, label: &str) -> Result<BufferId> {
        let lines = bytes.div_ceil(size_of::<Line>());
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(lines).map_err(|e| Error::OutOfMemory {
            what: label.to_string(),
            bytes,
            detail: e.to_string(),
        })?;
        buffer.resize(lines, Line([0; 64]));
        self.meter.grow(size_of_val(&buffer[..]));
        self.buffers.push(buffer);
        Ok(BufferId(self.buffers.len() as u32 - 1))
    }

    fn write(&mut self, buffer: BufferId, bytes: &[u8]) -> Result<()> {
        cast_slice_mut(self.buffer_mut(buffer))[..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, buffer: BufferId, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(&cast_slice(self.buffer_mut(buffer))[..bytes.len()]);
        Ok(())
    }

    fn prepare(&mut self, calls: &[Call]) -> Result<ProgramId> {
        self.programs.push(calls.to_vec());
        Ok(ProgramId(self.programs.len() as u32 - 1))
    }

    fn run(&mut self, programs: &[ProgramId], settings: &Settings) -> Result<()> {
        self.run_each(programs, settings, |_, run| run());
        Ok(())
    }

    fn profile(&mut self, programs: &[ProgramId], settings: &Settings) -> Result<Vec<KernelTime>> {
        let mut times = Vec::new();
        self.run_each(programs, settings, |call, run| {
            let start = Instant::now();
            run();
            let seconds = start.elapsed().as_secs_f64();
            times.push(KernelTime { name: call.op.name(), site: call.site, seconds, work: call.work() });
        });
        Ok(times)
    }

    fn release(&mut self, buffers: &[BufferId], programs: &[ProgramId]) {
        for &buffer in buffers {
            let old = std::mem::take(self.buffer_mut(buffer));
            self.meter.shrink(size_of_val(&old[..]));
        }
        for program in programs {
            self.programs[program.0 as usize] = Vec::new();
        }
    }

    fn allocated_bytes(&self) -> usize {
        self.buffers.iter().map(|b| size_of_val(&b[..])).sum()
    }
}

impl Drop for CpuSession {
    fn drop(&mut self) {
        self.meter.shrink(self.allocated_bytes());
    }
}
