//! Buffers and recorded programs on the device.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::dispatch::{Binding, Params, WordsOf, lower};
use super::{Gpu, MAX_GROUPS, Memory, Pipeline};
use crate::engine::op::{BufferId, Call, Settings, Work};
use crate::engine::session::{KernelTime, ProgramId, Session};
use crate::error::{Error, Result};

/// Bytes that travel at once: larger pieces cost more a byte, in page faults of the staging memory.
const CHUNK: usize = 4 << 20;

const CALLBACK_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct GpuSession {
    gpu: Arc<Gpu>,
    buffers: Vec<Option<Arc<Memory>>>,
    programs: Vec<Option<Program>>,
    /// Memory for reading back, made at the first read and kept.
    staging: Option<wgpu::Buffer>,
}

struct Program {
    steps: Vec<Step>,
    scratch: Option<Memory>,
    /// The params of all steps, as they are on the device.
    params: Memory,
    words: Vec<u32>,
    /// Those that follow the settings, and where they stand in `words`.
    dynamic: Vec<(Range<usize>, WordsOf)>,
}

struct Step {
    name: &'static str,
    site: usize,
    /// That of the call, for its first dispatch.
    work: Work,
    pipeline: Arc<Pipeline>,
    bindings: wgpu::BindGroup,
    groups: [u32; 2],
}

impl GpuSession {
    pub fn new(gpu: Arc<Gpu>) -> GpuSession {
        GpuSession { gpu, buffers: Vec::new(), programs: Vec::new(), staging: None }
    }

    /// A buffer whose memory others may use too.
    pub fn adopt(&mut self, memory: Arc<Memory>) -> BufferId {
        self.buffers.push(Some(memory));
        BufferId(self.buffers.len() as u32 - 1)
    }

    fn buffer(&self, id: BufferId) -> Result<&wgpu::Buffer> {
        let buffer = self.buffers.get(id.0 as usize).and_then(Option::as_ref);
        buffer
            .map(|memory| &memory.buffer)
            .ok_or_else(|| Error::Device(format!("buffer {} is not allocated", id.0)))
    }

    fn program(&self, id: ProgramId) -> Result<&Program> {
        let program = self.programs.get(id.0 as usize).and_then(Option::as_ref);
        program.ok_or_else(|| Error::Device(format!("program {} is not prepared", id.0)))
    }

    /// Writes the params that differ under `settings`.
    fn update(&mut self, program: ProgramId, settings: &Settings) -> Result<()> {
        self.program(program)?;
        let Some(program) = &mut self.programs[program.0 as usize] else { return Ok(()) };
        let mut changed: Option<Range<usize>> = None;
        for (range, words_of) in &program.dynamic {
            let words = words_of(settings);
            if program.words[range.clone()] != words {
                program.words[range.clone()].copy_from_slice(&words);
                changed = Some(changed.map_or(range.start, |c| c.start)..range.end);
            }
        }
        if let Some(changed) = changed {
            let bytes = bytemuck::cast_slice(&program.words[changed.clone()]);
            self.gpu.queue.write_buffer(&program.params, changed.start as u64 * 4, bytes);
        }
        Ok(())
    }
}

/// A number of workgroups as rows of at most [`MAX_GROUPS`]; kernels undo it with `group_index`.
fn fold(groups: usize) -> [u32; 2] {
    let rows = groups.div_ceil(MAX_GROUPS);
    [groups.div_ceil(rows) as u32, rows as u32]
}

fn words_in(bytes: u64) -> usize {
    bytes as usize / 4
}

impl Session for GpuSession {
    fn admit(&self, sizes: &[usize], label: &str) -> Result<()> {
        let largest = sizes.iter().copied().max().unwrap_or(0);
        self.gpu.buffer_size(largest, label).map(drop)
    }

    fn scratch_bytes(&self, calls: &[Call]) -> usize {
        calls.iter().map(|call| lower(call).scratch).max().unwrap_or(0)
    }

    fn allocate(&mut self, bytes: usize, label: &str) -> Result<BufferId> {
        self.gpu.check(label, bytes)?;
        let memory = self.gpu.buffer(bytes, label)?;
        Ok(self.adopt(Arc::new(memory)))
    }

    /// Where `bytes` ends within a word, the rest of that word becomes 0.
    fn write(&mut self, buffer: BufferId, bytes: &[u8]) -> Result<()> {
        let target = self.buffer(buffer)?;
        self.gpu.check("write", bytes.len())?;
        if bytes.len() as u64 > target.size() {
            return Err(Error::invalid("bytes", format!("at most {}", target.size()), bytes.len()));
        }
        let (whole, rest) = bytes.split_at(bytes.len() / 4 * 4);
        for (i, chunk) in whole.chunks(CHUNK).enumerate() {
            self.gpu.queue.write_buffer(target, (i * CHUNK) as u64, chunk);
        }
        if !rest.is_empty() {
            let mut word = [0; 4];
            word[..rest.len()].copy_from_slice(rest);
            self.gpu.queue.write_buffer(target, whole.len() as u64, &word);
        }
        self.gpu.check("write", bytes.len())
    }

    fn read(&mut self, buffer: BufferId, bytes: &mut [u8]) -> Result<()> {
        let gpu = self.gpu.clone();
        let source = self.buffer(buffer)?.clone();
        gpu.check("read", bytes.len())?;
        if bytes.len() as u64 > source.size() {
            return Err(Error::invalid("bytes", format!("at most {}", source.size()), bytes.len()));
        }
        let needed = bytes.len().clamp(256, CHUNK).next_multiple_of(4) as u64;
        // It comes back at the end: a failed read leaves none that is invalid or still mapped.
        let staging = match self.staging.take().filter(|staging| staging.size() >= needed) {
            Some(staging) => staging,
            None => gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("staging"),
                size: needed,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            }),
        };
        gpu.check("staging memory", needed as usize)?;
        for (i, chunk) in bytes.chunks_mut(CHUNK).enumerate() {
            let size = chunk.len().next_multiple_of(4) as u64;
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(&source, (i * CHUNK) as u64, &staging, 0, size);
            gpu.queue.submit([encoder.finish()]);
            gpu.check("read", chunk.len())?;
            let (sender, receiver) = std::sync::mpsc::channel();
            staging.map_async(wgpu::MapMode::Read, ..size, move |mapped| {
                // The receiver is gone only where the wait below has failed.
                let _ = sender.send(mapped);
            });
            gpu.wait()?;
            // A wait on another thread may have taken the callback, and is about to call it.
            match receiver.recv_timeout(CALLBACK_TIMEOUT) {
                Ok(Ok(())) => {}
                Ok(Err(e)) => return Err(Error::Device(format!("read: {e}"))),
                Err(e) => return Err(Error::Device(format!("read: no answer of the device: {e}"))),
            }
            {
                let mapped =
                    staging.get_mapped_range(..size).map_err(|e| Error::Device(format!("read: {e}")))?;
                chunk.copy_from_slice(&mapped[..chunk.len()]);
            }
            staging.unmap();
        }
        gpu.check("read", bytes.len())?;
        self.staging = Some(staging);
        Ok(())
    }

    fn prepare(&mut self, calls: &[Call]) -> Result<ProgramId> {
        let gpu = self.gpu.clone();
        gpu.check("prepare", 0)?;
        let settings = Settings::default();
        let lowered: Vec<_> = calls.iter().map(lower).collect();

        // One after the other, so they can share their scratch memory.
        let scratch = match lowered.iter().map(|l| l.scratch).max() {
            None | Some(0) => None,
            Some(bytes) => Some(gpu.buffer(bytes, "scratch memory")?),
        };
        let alignment = words_in(gpu.limits.min_storage_buffer_offset_alignment.max(4) as u64);
        let mut words = Vec::new();
        let mut dynamic = Vec::new();
        let mut planned = Vec::new();
        for (call, lowered) in calls.iter().zip(lowered) {
            let mut work = call.work();
            for dispatch in lowered.dispatches.into_iter().filter(|d| d.groups > 0) {
                words.resize(words.len().next_multiple_of(alignment), 0);
                let start = words.len();
                match dispatch.params {
                    Params::Fixed(fixed) => words.extend(fixed),
                    Params::Settings(words_of) => {
                        words.extend(words_of(&settings));
                        dynamic.push((start..words.len(), words_of));
                    }
                }
                let work = std::mem::take(&mut work);
                planned.push((
                    call,
                    work,
                    dispatch.kernel,
                    dispatch.bindings,
                    dispatch.groups,
                    start..words.len(),
                ));
            }
        }
        let params = gpu.buffer(words.len() * 4, "params")?;
        gpu.queue.write_buffer(&params, 0, bytemuck::cast_slice(&words));

        let mut steps = Vec::new();
        for (call, work, kernel, bindings, groups, range) in planned {
            let pipeline = gpu.pipeline(&kernel, &bindings)?;
            let mut resources = Vec::new();
            for binding in &bindings {
                let buffer = match *binding {
                    Binding::Read(i) => self.buffer(call.reads[i])?,
                    Binding::Write(i) | Binding::ReadBack(i) => self.buffer(call.writes[i])?,
                    Binding::ReadScratch | Binding::WriteScratch => {
                        scratch.as_ref().ok_or_else(|| Error::Device("no scratch memory".into()))?
                    }
                };
                resources.push(buffer.as_entire_binding());
            }
            resources.push(wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &params,
                offset: range.start as u64 * 4,
                size: wgpu::BufferSize::new(range.len() as u64 * 4),
            }));
            let entries: Vec<_> = resources
                .into_iter()
                .enumerate()
                .map(|(i, resource)| wgpu::BindGroupEntry { binding: i as u32, resource })
                .collect();
            let bindings = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(kernel.shader),
                layout: &pipeline.layout,
                entries: &entries,
            });
            gpu.check(kernel.shader, 0)?;
            let (name, site, groups) = (kernel.shader, call.site, fold(groups));
            steps.push(Step { name, site, work, pipeline, bindings, groups });
        }
        self.programs.push(Some(Program { steps, scratch, params, words, dynamic }));
        Ok(ProgramId(self.programs.len() as u32 - 1))
    }

    fn run(&mut self, programs: &[ProgramId], settings: &Settings) -> Result<()> {
        self.gpu.check("run", 0)?;
        for &program in programs {
            self.update(program, settings)?;
        }
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for &program in programs {
                for step in &self.program(program)?.steps {
                    pass.set_pipeline(&step.pipeline.pipeline);
                    pass.set_bind_group(0, &step.bindings, &[]);
                    pass.dispatch_workgroups(step.groups[0], step.groups[1], 1);
                }
            }
        }
        self.gpu.queue.submit([encoder.finish()]);
        self.gpu.check("run", 0)
    }

    fn profile(&mut self, programs: &[ProgramId], settings: &Settings) -> Result<Vec<KernelTime>> {
        use wgpu::{BufferUsages, ComputePassDescriptor, ComputePassTimestampWrites};

        let gpu = self.gpu.clone();
        if !gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err(Error::Unsupported(format!("adapter \"{}\" has no TIMESTAMP_QUERY", gpu.info.name)));
        }
        for &program in programs {
            self.update(program, settings)?;
        }
        let set = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let id = self.allocate(16, "timestamps")?;
        let resolved = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 16,
            usage: BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let mut times = Vec::new();
        for &program in programs {
            for i in 0..self.program(program)?.steps.len() {
                let step = &self.program(program)?.steps[i];
                let mut encoder = gpu.device.create_command_encoder(&Default::default());
                let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor {
                    label: None,
                    timestamp_writes: Some(ComputePassTimestampWrites {
                        query_set: &set,
                        beginning_of_pass_write_index: Some(0),
                        end_of_pass_write_index: Some(1),
                    }),
                });
                pass.set_pipeline(&step.pipeline.pipeline);
                pass.set_bind_group(0, &step.bindings, &[]);
                pass.dispatch_workgroups(step.groups[0], step.groups[1], 1);
                drop(pass);
                encoder.resolve_query_set(&set, 0..2, &resolved, 0);
                encoder.copy_buffer_to_buffer(&resolved, 0, self.buffer(id)?, 0, 16);
                let Step { name, site, work, .. } = *step;
                gpu.queue.submit([encoder.finish()]);
                let mut ticks = [0u64; 2];
                self.read(id, bytemuck::cast_slice_mut(&mut ticks))?;
                let period = gpu.queue.get_timestamp_period() as f64;
                let seconds = ticks[1].saturating_sub(ticks[0]) as f64 * period * 1e-9;
                times.push(KernelTime { name, site, seconds, work });
            }
        }
        self.release(&[id], &[]);
        Ok(times)
    }

    fn release(&mut self, buffers: &[BufferId], programs: &[ProgramId]) {
        for program in programs {
            if let Some(program) = self.programs.get_mut(program.0 as usize) {
                *program = None;
            }
        }
        for buffer in buffers {
            if let Some(buffer) = self.buffers.get_mut(buffer.0 as usize) {
                *buffer = None;
            }
        }
    }

    fn allocated_bytes(&self) -> usize {
        let programs = self.programs.iter().flatten();
        let own = programs.flat_map(|p| p.scratch.iter().chain([&p.params]));
        let memory = own.chain(self.buffers.iter().flatten().map(Arc::as_ref)).map(|memory| &memory.buffer);
        memory.chain(&self.staging).map(|b| b.size() as usize).sum()
    }
}
