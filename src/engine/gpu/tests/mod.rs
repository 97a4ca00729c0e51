//! Every operator against its twin in the CPU engine.
//!
//! Without a GPU adapter these tests are skipped, and say so; with `TIEBREAK_REQUIRE_GPU=1` they fail.

mod batchnorm;
mod conv2d;
mod copy_rows;
mod dropout;
mod linear;
mod non_finite;
mod norms;
mod optimizer;
mod pool2d;
mod quantize;
mod tie_census;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use super::*;
use crate::engine::cpu::CpuEngine;
use crate::engine::op::{Call, LinearGeometry, Op, OptimizerSettings, Settings, SgdSettings};
use crate::kink::{Composition, Kink, MaxPoolJacobian, MaxPoolKink, ReluKink};
use crate::precision::ReductionOrder;
use crate::shape::{Conv2dGeometry, Pool2dGeometry, Window2d};
use half::f16;

const DTYPES: [DType; 2] = [DType::F16, DType::F32];

/// Bytes behind each tensor that no kernel may touch.
const GUARD: usize = 64;
const GUARD_BYTE: u8 = 0xa5;

fn new_engine() -> Option<GpuEngine> {
    match GpuEngine::new("", false) {
        Ok(engine) => Some(engine),
        Err(e) if std::env::var("TIEBREAK_REQUIRE_GPU").is_ok_and(|v| v == "1") => panic!("{e}"),
        Err(e) => {
            eprintln!("skipped: no GPU adapter ({e})");
            None
        }
    }
}

/// One engine for all tests, so that each pipeline is compiled once.
fn engine() -> Option<&'static GpuEngine> {
    static ENGINE: OnceLock<Option<GpuEngine>> = OnceLock::new();
    ENGINE.get_or_init(new_engine).as_ref()
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0
    }

    fn values(&mut self, len: usize, kind: Values) -> Vec<f64> {
        let specials = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            0.0,
            -0.0,
            1e-7,
            -3e-8,
            1e-40,
            -2e-42,
            65504.0,
            -6e4,
            3e38,
        ];
        (0..len)
            .map(|_| match kind {
                Values::Smooth => self.uniform(),
                Values::Ties => [-1.0, -0.0, 0.0, 0.5, 1.0][self.below(5)],
                Values::Special if self.below(3) == 0 => specials[self.below(specials.len())],
                Values::Special => [-1.0, 0.0, 1.0, self.uniform()][self.below(4)],
                Values::Lowest if self.below(12) == 0 => self.uniform(),
                Values::Lowest => f64::NEG_INFINITY,
            })
            .collect()
    }

    fn tensor(&mut self, dtype: DType, len: usize, kind: Values) -> Vec<u8> {
        encode(dtype, &self.values(len, kind))
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Values {
    /// Uniform in -1..1.
    Smooth,
    /// Few values, both zeros among them.
    Ties,
    /// NaN, infinities, zeros, subnormals and values that overflow or underflow in f16.
    Special,
    /// Nearly always -inf.
    Lowest,
}

fn encode(dtype: DType, values: &[f64]) -> Vec<u8> {
    match dtype {
        DType::F16 => values.iter().flat_map(|&v| f16::from_f64(v).to_ne_bytes()).collect(),
        DType::F32 => values.iter().flat_map(|&v| (v as f32).to_ne_bytes()).collect(),
        DType::F64 => values.iter().flat_map(|&v| v.to_ne_bytes()).collect(),
    }
}

fn decode(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    match dtype {
        DType::F16 => bytes.chunks(2).map(|b| f16::from_ne_bytes([b[0], b[1]]).to_f64()).collect(),
        _ => bytes.chunks(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]]) as f64).collect(),
    }
}

/// Runs one operator and returns what it wrote, after a check that it wrote nothing else.
fn run(
    session: &mut dyn Session,
    (op, dtype, site): (Op, DType, usize),
    settings: &Settings,
    reads: &[Vec<u8>],
    writes: &[Vec<u8>],
) -> Vec<Vec<u8>> {
    let mut upload = |bytes: &[u8]| {
        let mut guarded = bytes.to_vec();
        guarded.resize(bytes.len() + GUARD, GUARD_BYTE);
        let id = session.allocate(guarded.len(), op.name()).unwrap();
        session.write(id, &guarded).unwrap();
        id
    };
    let read_ids: Vec<_> = reads.iter().map(|b| upload(b)).collect();
    let write_ids: Vec<_> = writes.iter().map(|b| upload(b)).collect();
    let call = Call { op, dtype, reads: read_ids.clone(), writes: write_ids.clone(), site };
    let program = session.prepare(&[call]).unwrap();
    session.run(&[program], settings).unwrap();
    let results = writes.iter().zip(&write_ids).map(|(bytes, &id)| {
        let mut result = vec![0; bytes.len() + GUARD];
        session.read(id, &mut result).unwrap();
        // The last word of a tie set is written whole.
        let guard = &result[bytes.len().next_multiple_of(4)..];
        assert!(guard.iter().all(|&b| b == GUARD_BYTE), "{op:?} {dtype} wrote past the end");
        result.truncate(bytes.len());
        result
    });
    let results = results.collect();
    session.release(&[read_ids, write_ids].concat(), &[program]);
    results
}

/// The results of the GPU engine, run twice, and of the CPU engine.
fn twins(
    gpu: &GpuEngine,
    call: (Op, DType, usize),
    settings: &Settings,
    reads: &[Vec<u8>],
    writes: &[Vec<u8>],
) -> [Vec<Vec<u8>>; 2] {
    static CPU: OnceLock<CpuEngine> = OnceLock::new();
    let cpu = CPU.get_or_init(|| CpuEngine::new(1).unwrap());
    let mut session = gpu.session();
    let result = run(session.as_mut(), call, settings, reads, writes);
    let again = run(session.as_mut(), call, settings, reads, writes);
    assert!(result == again, "{call:?}: other bits in the second run");
    [result, run(cpu.session().as_mut(), call, settings, reads, writes)]
}

/// The same bits; any NaN equals any other.
fn assert_same(context: &str, dtype: DType, [gpu, cpu]: [&[u8]; 2]) {
    for (i, (g, c)) in decode(dtype, gpu).into_iter().zip(decode(dtype, cpu)).enumerate() {
        let same = g.to_bits() == c.to_bits() || g.is_nan() && c.is_nan();
        assert!(same, "{context} {dtype}, element {i}: GPU {g:e}, CPU {c:e}");
    }
}

/// The tolerance of every operator that sums: the engines add in different orders, so an f32 sum may differ by
/// some ulps of its largest partial sum, for which the largest element stands; in f16 the two may also round
/// to neighbours.
fn assert_close(context: &str, dtype: DType, [gpu, cpu]: [&[u8]; 2]) {
    let (gpu, cpu) = (decode(dtype, gpu), decode(dtype, cpu));
    let scale = cpu.iter().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()));
    let ulp = if dtype == DType::F16 { 2f64.powi(-10) } else { 0.0 };
    for (i, (g, c)) in gpu.into_iter().zip(cpu).enumerate() {
        let same = g == c || g.is_nan() && c.is_nan();
        let close = (g - c).abs() <= ulp * c.abs() + 1e-5 * scale + 6e-8 * ulp.signum();
        assert!(same || close, "{context} {dtype}, element {i}: GPU {g:e}, CPU {c:e}");
    }
}

/// With one seed an operator that sums over the batch gives the same bits in every run, with other seeds others, which
/// differ by rounding alone.
fn assert_seeded_order(gpu: &GpuEngine, call: (Op, DType, usize), reads: &[Vec<u8>], writes: &[Vec<u8>]) {
    let seeded = |seed| Settings { reduction: ReductionOrder::Seeded(seed), ..Default::default() };
    let [fixed, _] = twins(gpu, call, &Settings::default(), reads, writes);
    let results = [1, 2, 3 << 40].map(|seed| twins(gpu, call, &seeded(seed), reads, writes));
    for (i, [on_gpu, on_cpu]) in results.iter().enumerate() {
        for (output, ((g, c), f)) in on_gpu.iter().zip(on_cpu).zip(&fixed).enumerate() {
            let context = format!("{call:?}, output {output}");
            assert_close(&context, call.1, [g, c]);
            assert_close(&context, call.1, [g, f]);
            assert!(g != f, "{context}: the bits of the fixed order");
            assert!(g != &results[(i + 1) % 3][0][output], "{context}: the bits of another seed");
        }
    }
}

fn zeros(dtype: DType, len: usize) -> Vec<u8> {
    vec![0x55; len * dtype.size()]
}

/// The names in the `#ifdef`s of a shader and of all that it imports.
fn tested_names<'a>(text: &'a str, names: &mut BTreeSet<&'a str>) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("#ifdef"), Some(name)) => {
                names.insert(name);
            }
            (Some("#import"), Some(import)) => {
                let (_, text) = shader::SHARED.iter().find(|(name, _)| *name == import).unwrap();
                tested_names(text, names);
            }
            _ => {}
        }
    }
}

#[test]
fn shaders_are_valid() {
    use wgpu::naga::front::wgsl;
    use wgpu::naga::valid::{Capabilities, ValidationFlags, Validator};
    let mut seen = 0;
    for (kernel, text) in shader::KERNELS {
        // Every combination of the names that the kernel tests for.
        let mut names = BTreeSet::new();
        tested_names(text, &mut names);
        let names: Vec<_> = names.into_iter().collect();
        for choice in 0..1usize << names.len() {
            let defines: Vec<_> =
                names.iter().enumerate().filter(|(i, _)| choice >> i & 1 == 1).map(|(_, n)| *n).collect();
            let source = shader::expand(kernel, &defines).unwrap();
            let path = format!("{kernel}.wgsl {defines:?} (expanded)");
            // For other compilers, such as tint, which also checks that barriers are in uniform flow.
            if let Ok(folder) = std::env::var("TIEBREAK_DUMP_SHADERS") {
                let file = format!("{folder}/{kernel}.{}.wgsl", defines.join("-"));
                std::fs::write(file, &source).unwrap();
            }
            let module = wgsl::parse_str(&source)
                .unwrap_or_else(|e| panic!("{}", e.emit_to_string_with_path(&source, &path)));
            Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16)
                .validate(&module)
                .unwrap_or_else(|e| panic!("{}", e.emit_to_string_with_path(&source, &path)));
            assert!(!module.entry_points.is_empty(), "{path}");
            seen += 1;
        }
    }
    assert!(seen > shader::KERNELS.len());
}

#[test]
fn directives_report_their_place() {
    assert!(shader::expand("no_such_kernel", &[]).is_err());
    let source = shader::expand("relu_forward", &["F16"]).unwrap();
    assert!(source.contains("enable f16;") && !source.contains('#'));
    assert!(!shader::expand("relu_forward", &[]).unwrap().contains("enable f16;"));
}

fn pool_geometries() -> Vec<Pool2dGeometry> {
    let window = |kernel, stride, padding| Window2d { kernel, stride, padding, dilation: [1; 2] };
    let fixed = [
        ([2, 3, 8, 8], Window2d::new(2, 2, 0)),
        ([1, 1, 7, 9], Window2d::new(2, 2, 0)),
        ([2, 2, 7, 9], Window2d::new(3, 2, 1)),
        ([1, 3, 6, 7], Window2d::new(3, 1, 1)),
        ([1, 2, 9, 9], Window2d::new(2, 3, 0)),
        ([2, 1, 11, 5], window([3, 2], [2, 1], [1, 1])),
        ([1, 2, 8, 9], window([4, 8], [1, 1], [2, 4])),
        ([1, 1, 13, 12], Window2d::new(6, 3, 3)),
        ([1, 1, 1, 5], window([1, 5], [1, 1], [0, 2])),
        ([0, 2, 4, 4], Window2d::new(2, 2, 0)),
    ];
    let mut all: Vec<_> = fixed.iter().map(|(x, w)| Pool2dGeometry::new(*x, *w).unwrap()).collect();
    let mut rng = Rng(7);
    while all.len() < 30 {
        let x = [1 + rng.below(3), 1 + rng.below(3), 1 + rng.below(10), 1 + rng.below(10)];
        let mut two = |n| [rng.below(n), rng.below(n)];
        let [kernel, stride, padding] = [two(4).map(|v| v + 1), two(4).map(|v| v + 1), two(3)];
        all.extend(Pool2dGeometry::new(x, Window2d { kernel, stride, padding, dilation: [1; 2] }));
    }
    all
}

fn kinks() -> Vec<MaxPoolKink> {
    let mut kinks: Vec<_> = [
        MaxPoolJacobian::Native,
        MaxPoolJacobian::Last,
        MaxPoolJacobian::FirstColumn,
        MaxPoolJacobian::All,
        MaxPoolJacobian::Scaled,
        MaxPoolJacobian::Minimal,
        MaxPoolJacobian::Random(0x1234_5678_9abc_def0),
    ]
    .map(|jacobian| MaxPoolKink { jacobian, composition: Composition::Exact })
    .to_vec();
    for beta in [0.0, 1.0, 0.3, -2.5, 1e3, 1e4] {
        for composition in
            [Composition::Exact, Composition::Forward, Composition::Split, Composition::Coupled]
        {
            kinks.push(MaxPoolKink::beta(beta, composition));
        }
    }
    kinks
}

#[test]
fn max_pooling_has_the_bits_of_the_cpu() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(1);
    for dtype in DTYPES {
        for g in pool_geometries() {
            for kind in [Values::Smooth, Values::Ties, Values::Special, Values::Lowest] {
                let x = rng.tensor(dtype, g.x_len(), kind);
                let gy_kind = if kind == Values::Special { Values::Special } else { Values::Smooth };
                let gy = rng.tensor(dtype, g.windows(), gy_kind);
                let tie_len = g.ties_shape().iter().product::<usize>();
                let chosen = kinks();
                for kink in
                    [chosen[rng.below(4)], chosen[rng.below(chosen.len())], chosen[rng.below(chosen.len())]]
                {
                    let site = 3;
                    let mut settings = Settings { step: 5 << 33 | 17, ..Default::default() };
                    settings.kinks = vec![None, None, None, Some(Kink::MaxPool(kink))];
                    let context = format!("{g:?} {kink:?} {kind:?}");
                    let op = Op::MaxPool2dForward { geometry: g };
                    let writes = [zeros(dtype, g.windows()), vec![0x55; tie_len]];
                    let [on_gpu, on_cpu] =
                        twins(gpu, (op, dtype, site), &settings, std::slice::from_ref(&x), &writes);
                    assert_same(&context, dtype, [&on_gpu[0], &on_cpu[0]]);
                    assert!(
                        on_gpu[1] == on_cpu[1],
                        "{context} {dtype}: tie sets\n{:x?}\n{:x?}",
                        on_gpu[1],
                        on_cpu[1]
                    );
                    let op = Op::MaxPool2dBackward { geometry: g };
                    let reads = [gy.clone(), on_cpu[1].clone()];
                    let [on_gpu, on_cpu] =
                        twins(gpu, (op, dtype, site), &settings, &reads, &[zeros(dtype, g.x_len())]);
                    assert_same(&context, dtype, [&on_gpu[0], &on_cpu[0]]);
                }
            }
        }
    }
}

#[test]
fn elementwise_operators_have_the_bits_of_the_cpu() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(2);
    for dtype in DTYPES {
        for len in [0, 1, 2, 3, 255, 256, 257, 1031] {
            for kind in [Values::Smooth, Values::Special] {
                let [a, b] = [0, 1].map(|_| rng.tensor(dtype, len, kind));
                let out = [zeros(dtype, len)];
                for alpha in [0.0, 1.0, -0.7, 1e5] {
                    let settings =
                        Settings { kinks: vec![Some(Kink::Relu(ReluKink { alpha }))], ..Default::default() };
                    let op = Op::ReluBackward { len };
                    let [g, c] = twins(gpu, (op, dtype, 0), &settings, &[a.clone(), b.clone()], &out);
                    assert_same(&format!("{op:?} {alpha}"), dtype, [&g[0], &c[0]]);
                }
                for (op, reads) in [
                    (Op::ReluForward { len }, vec![a.clone()]),
                    (Op::Add { len }, vec![a.clone(), b.clone()]),
                ] {
                    let [g, c] = twins(gpu, (op, dtype, 0), &Settings::default(), &reads, &out);
                    assert_same(&format!("{op:?}"), dtype, [&g[0], &c[0]]);
                }
            }
        }
    }
}

#[test]
fn cross_entropy_agrees_with_the_cpu() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(6);
    for dtype in DTYPES {
        for (batch, classes, spread) in
            [(1, 1, 1.0), (7, 10, 3.0), (128, 10, 20.0), (5, 1000, 8.0), (3, 70, 200.0), (70000, 2, 1.0)]
        {
            for kind in [Values::Smooth, Values::Special] {
                if batch > 1000 && kind == Values::Special {
                    continue;
                }
                let logits: Vec<_> = rng.values(batch * classes, kind).iter().map(|v| v * spread).collect();
                let labels: Vec<u8> =
                    (0..batch).flat_map(|_| (rng.below(classes) as u32).to_ne_bytes()).collect();
                let wide_loss = batch % 2 == 1;
                let loss_type = if wide_loss { DType::F32 } else { dtype };
                let op = Op::CrossEntropy { batch, classes, wide_loss };
                let reads = [encode(dtype, &logits), labels];
                let writes = [zeros(loss_type, 1), zeros(dtype, batch * classes), zeros(DType::F32, batch)];
                let loss_scale = if batch > 5 { 1.0 } else { 1024.0 };
                let settings = Settings { loss_scale, ..Default::default() };
                let [g, c] = twins(gpu, (op, dtype, 0), &settings, &reads, &writes);
                let context = format!("{op:?} {kind:?}");
                assert_close(&context, loss_type, [&g[0], &c[0]]);
                assert_close(&context, dtype, [&g[1], &c[1]]);
                assert_close(&context, DType::F32, [&g[2], &c[2]]);
            }
        }
    }
}

#[test]
fn softmax_is_accurate_to_some_ulps() {
    let Some(gpu) = engine() else { return };
    // Two classes a row, logits 0 and -t: the loss of label 0 is log(1 + exp(-t)).
    let t: Vec<f64> = (0..2000).map(|i| (i as f32 * 0.043) as f64).collect();
    let logits: Vec<f64> = t.iter().flat_map(|t| [0.0, -t]).collect();
    let reads = [encode(DType::F32, &logits), vec![0; 4 * t.len()]];
    let dtype = DType::F32;
    let op = Op::CrossEntropy { batch: t.len(), classes: 2, wide_loss: false };
    let writes = [zeros(dtype, 1), zeros(dtype, 2 * t.len()), zeros(dtype, t.len())];
    let [on_gpu, _] = twins(gpu, (op, dtype, 0), &Settings::default(), &reads, &writes);
    let (gradients, losses) = (decode(dtype, &on_gpu[1]), decode(dtype, &on_gpu[2]));
    for (i, t) in t.iter().enumerate() {
        let e = (-t).exp();
        let p = e / (1.0 + e) / logits.len() as f64 * 2.0;
        assert!((gradients[2 * i + 1] - p).abs() <= 4e-7 * p + 1e-45, "gradient at {t}");
        // Relative to 1 + exp(-t), which is rounded before its logarithm is taken.
        assert!((losses[i] - e.ln_1p()).abs() <= 1e-7 + 2e-7 * e.ln_1p(), "loss at {t}: {}", losses[i]);
    }
}

#[test]
fn calls_of_a_program_see_each_others_results() {
    let Some(gpu) = engine() else { return };
    let cpu = CpuEngine::new(1).unwrap();
    // Two layers and the gradients of both: they share their scratch memory and pass tensors on.
    let g = Conv2dGeometry::new([3, 2, 9, 9], 4, Window2d::new(3, 1, 1), 1).unwrap();
    let h = Conv2dGeometry::new(g.y_shape(), 3, Window2d::new(3, 2, 0), 1).unwrap();
    let len = |shape: [usize; 4]| shape.iter().product::<usize>();
    let results = [gpu.session(), cpu.session()].map(|mut session| {
        let mut rng = Rng(10);
        let mut tensor = |len: usize| {
            let id = session.allocate(len * 4, "tensor").unwrap();
            session.write(id, &rng.tensor(DType::F32, len, Values::Smooth)).unwrap();
            id
        };
        let [x, w, v] = [len(g.x_shape()), len(g.weight_shape()), len(h.weight_shape())].map(&mut tensor);
        let [y, z, gy, gw, gv, gx] = [
            len(g.y_shape()),
            len(h.y_shape()),
            len(g.y_shape()),
            len(g.weight_shape()),
            len(h.weight_shape()),
            len(g.x_shape()),
        ]
        .map(&mut tensor);
        let call = |op, reads: &[_], writes: &[_]| Call {
            op,
            dtype: DType::F32,
            reads: reads.to_vec(),
            writes: writes.to_vec(),
            site: 0,
        };
        let forward = [
            call(Op::Conv2dForward { geometry: g, bias: false }, &[x, w], &[y]),
            call(Op::Conv2dForward { geometry: h, bias: false }, &[y, v], &[z]),
        ];
        let backward = [
            call(Op::Conv2dBackwardWeight { geometry: h, bias: false }, &[y, z], &[gv]),
            call(Op::Conv2dBackwardInput { geometry: h }, &[z, v], &[gy]),
            call(Op::Conv2dBackwardWeight { geometry: g, bias: false }, &[x, gy], &[gw]),
            call(Op::Conv2dBackwardInput { geometry: g }, &[gy, w], &[gx]),
        ];
        let programs = [session.prepare(&forward).unwrap(), session.prepare(&backward).unwrap()];
        session.run(&programs, &Settings::default()).unwrap();
        [(gv, len(h.weight_shape())), (gw, len(g.weight_shape())), (gx, len(g.x_shape()))].map(|(id, len)| {
            let mut bytes = vec![0; len * 4];
            session.read(id, &mut bytes).unwrap();
            bytes
        })
    });
    for (on_gpu, on_cpu) in results[0].iter().zip(&results[1]) {
        assert_close("two layers", DType::F32, [on_gpu, on_cpu]);
    }
}

#[test]
fn a_program_follows_the_settings() {
    let Some(gpu) = engine() else { return };
    let mut session = gpu.session();
    let bytes = encode(DType::F32, &[0.0, 1.0, -1.0]);
    let [x, gy, gx] = [0; 3].map(|_| session.allocate(12, "tensor").unwrap());
    session.write(x, &bytes).unwrap();
    session.write(gy, &encode(DType::F32, &[1.0, 1.0, 1.0])).unwrap();
    let call = Call {
        op: Op::ReluBackward { len: 3 },
        dtype: DType::F32,
        reads: vec![x, gy],
        writes: vec![gx],
        site: 0,
    };
    let program = session.prepare(&[call]).unwrap();
    let before = session.allocated_bytes();
    for alpha in [0.0, 2.0, 2.0, -1.0, 0.0] {
        let kinks = vec![Some(Kink::Relu(ReluKink { alpha }))];
        session.run(&[program], &Settings { kinks, ..Default::default() }).unwrap();
        let mut result = vec![0; 12];
        session.read(gx, &mut result).unwrap();
        assert_eq!(decode(DType::F32, &result), [alpha, 1.0, 0.0]);
    }
    assert!(before >= 36);
    session.release(&[x, gy, gx], &[program]);
    assert!(session.allocated_bytes() < before + 300);
    let e = session.run(&[program], &Settings::default()).unwrap_err();
    assert!(matches!(e, Error::Device(_)), "{e}");
}

#[test]
fn buffers_of_any_size_come_back() {
    let Some(gpu) = engine() else { return };
    let mut session = gpu.session();
    for len in [0, 1, 2, 3, 5, (4 << 20) - 1, (4 << 20) + 2, 9_000_001] {
        let id = session.allocate(len, "bytes").unwrap();
        let mut back = vec![1; len];
        session.read(id, &mut back).unwrap();
        assert!(back.iter().all(|&b| b == 0), "{len}: not zero at first");
        let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + i / 251) as u8).collect();
        session.write(id, &bytes).unwrap();
        session.read(id, &mut back).unwrap();
        assert!(back == bytes, "{len}");
        session.release(&[id], &[]);
    }
}

#[test]
fn too_large_an_allocation_is_an_error() {
    let Some(gpu) = engine() else { return };
    let mut session = gpu.session();
    let Err(Error::OutOfMemory { what, bytes, .. }) = session.allocate(1 << 45, "conv1.weight") else {
        panic!("expected an error")
    };
    assert_eq!((what.as_str(), bytes), ("conv1.weight", 1 << 45));
    assert!(session.allocate(usize::MAX, "x").is_err());
    assert!(session.allocate(16, "x").is_ok());
}

#[test]
fn a_lost_device_is_an_error() {
    let Some(gpu) = new_engine() else { return };
    let mut session = gpu.session();
    let [x, y] = [0; 2].map(|_| session.allocate(16, "x").unwrap());
    let call =
        Call { op: Op::ReluForward { len: 4 }, dtype: DType::F32, reads: vec![x], writes: vec![y], site: 0 };
    let program = session.prepare(std::slice::from_ref(&call)).unwrap();
    session.run(&[program], &Settings::default()).unwrap();
    gpu.lose();
    let mut bytes = [0; 16];
    let results = [
        session.read(y, &mut bytes),
        session.run(&[program], &Settings::default()),
        session.write(x, &bytes),
        session.allocate(16, "x").map(drop),
        session.prepare(&[call]).map(drop),
        gpu.session().allocate(16, "x").map(drop),
    ];
    for (i, result) in results.into_iter().enumerate() {
        assert!(matches!(result, Err(Error::DeviceLost(_))), "call {i}: {result:?}");
    }
}

#[test]
fn an_unknown_adapter_is_named() {
    let Err(e) = GpuEngine::new("no such adapter", false) else { panic!("expected an error") };
    assert!(matches!(&e, Error::Unsupported(text) if text.contains("no such adapter")), "{e}");
}

/// A call on new buffers of the right sizes.
fn call_on_new_buffers(
    session: &mut dyn Session,
    op: Op,
    dtype: DType,
    reads: &[usize],
    writes: &[usize],
) -> Call {
    let mut rng = Rng(9);
    let mut allocate = |len: &usize| {
        let id = session.allocate(len * dtype.size().max(4), op.name()).unwrap();
        session.write(id, &rng.tensor(dtype, *len, Values::Smooth)).unwrap();
        id
    };
    let reads = reads.iter().map(&mut allocate).collect();
    let writes = writes.iter().map(&mut allocate).collect();
    Call { op, dtype, reads, writes, site: 0 }
}

fn conv_calls(session: &mut dyn Session, g: Conv2dGeometry, dtype: DType) -> Vec<Call> {
    let [x, y, w] = [g.x_shape(), g.y_shape(), g.weight_shape()].map(|s| s.iter().product::<usize>());
    let o = g.out_channels;
    [
        (Op::Conv2dForward { geometry: g, bias: true }, vec![x, w, o], vec![y]),
        (Op::Conv2dBackwardInput { geometry: g }, vec![y, w], vec![x]),
        (Op::Conv2dBackwardWeight { geometry: g, bias: true }, vec![x, y], vec![w, o]),
    ]
    .map(|(op, reads, writes)| call_on_new_buffers(session, op, dtype, &reads, &writes))
    .to_vec()
}

#[test]
fn a_profile_names_each_kernel() {
    let Some(gpu) = engine() else { return };
    let mut session = session::GpuSession::new(gpu.gpu.clone());
    let g = Conv2dGeometry::new([2, 3, 8, 8], 4, Window2d::new(3, 1, 1), 1).unwrap();
    let calls = conv_calls(&mut session, g, DType::F32);
    let program = session.prepare(&calls).unwrap();
    let times = match session.profile(&[program], &Settings::default()) {
        Err(Error::Unsupported(e)) => return eprintln!("skipped: {e}"),
        times => times.unwrap(),
    };
    let names: Vec<_> = times.iter().map(|t| t.name).collect();
    let expected = [
        "conv2d_forward",
        "conv2d_backward_input",
        "conv2d_backward_weight",
        "conv2d_backward_weight_reduce",
    ];
    assert_eq!(names, expected);
    assert!(times.iter().all(|t| (0.0..10.0).contains(&t.seconds)), "{times:?}");
}
