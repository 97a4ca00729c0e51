use super::*;
use crate::precision::ReductionOrder;
use crate::shape::BatchNormGeometry;

const EPS: f64 = 1e-5;

/// f16, f32, and f16 with f32 parameters.
const TYPES: [[DType; 2]; 3] = [[DType::F16, DType::F16], [DType::F32, DType::F32], [DType::F16, DType::F32]];

fn geometries() -> Vec<BatchNormGeometry> {
    // The third and fourth are cut into parts, which begin within a sample.
    let shapes: [&[usize]; 8] = [
        &[4, 3, 5, 4],
        &[6, 5],
        &[37, 1, 20, 21],
        &[3, 2, 61, 67],
        &[300, 7],
        &[2, 300, 1, 2],
        &[2, 1],
        &[1, 2, 16, 17],
    ];
    shapes.map(|shape| BatchNormGeometry::new(shape).unwrap()).to_vec()
}

fn positive(rng: &mut Rng, dtype: DType, len: usize) -> Vec<u8> {
    encode(dtype, &rng.values(len, Values::Smooth).iter().map(|v| v + 1.5).collect::<Vec<_>>())
}

#[test]
fn batch_normalisation_agrees_with_the_cpu() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(19);
    for [dtype, parameters] in TYPES {
        for g in geometries() {
            for (track, reduction) in
                [(true, ReductionOrder::Fixed), (false, ReductionOrder::Seeded(0x1_0000_0007))]
            {
                let settings = Settings { track_running_stats: track, reduction, ..Default::default() };
                let c = g.channels;
                let [x, gy] = [0, 1].map(|_| rng.tensor(dtype, g.len(), Values::Smooth));
                let weight = positive(&mut rng, parameters, c);
                let bias = rng.tensor(parameters, c, Values::Smooth);
                let running = [rng.tensor(parameters, c, Values::Smooth), positive(&mut rng, parameters, c)];
                let f32s = || zeros(DType::F32, c);
                let compare = |op, types: &[DType], reads: &[Vec<u8>], writes: &[Vec<u8>]| {
                    let [on_gpu, on_cpu] = twins(gpu, (op, dtype, 2), &settings, reads, writes);
                    for (i, &dtype) in types.iter().enumerate() {
                        let context = format!("{op:?} {reduction:?} tensor {i}");
                        assert_close(&context, dtype, [&on_gpu[i], &on_cpu[i]]);
                    }
                    on_gpu
                };

                let op = Op::BatchNormForward { geometry: g, eps: EPS, momentum: 0.1, parameters };
                let reads = [x.clone(), weight.clone(), bias.clone()];
                let [running_mean, running_var] = running.clone();
                let writes = [zeros(dtype, g.len()), f32s(), f32s(), running_mean, running_var];
                let types = [dtype, DType::F32, DType::F32, parameters, parameters];
                let results = compare(op, &types, &reads, &writes);
                assert_eq!(results[3..] == writes[3..], !track);

                let op = Op::BatchNormBackward { geometry: g, parameters };
                let [mean, inv_std] = [&results[1], &results[2]].map(|s| s.clone());
                let reads = [x.clone(), gy.clone(), weight.clone(), mean, inv_std];
                let gradients = [zeros(dtype, g.len()), zeros(parameters, c), zeros(parameters, c)];
                compare(op, &[dtype, parameters, parameters], &reads, &gradients);

                let op = Op::BatchNormInferenceBackward { geometry: g, eps: EPS, parameters };
                let [mean, var] = running;
                let reads = [x, gy, weight, mean, var];
                compare(op, &[dtype, parameters, parameters], &reads, &gradients);
            }
        }
    }
}

#[test]
fn inference_has_the_bits_of_the_cpu() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(20);
    for [dtype, parameters] in TYPES {
        for g in geometries() {
            let op = Op::BatchNormInference { geometry: g, eps: EPS, parameters };
            let mut vector = || rng.tensor(parameters, g.channels, Values::Smooth);
            let [weight, bias, mean] = [vector(), vector(), vector()];
            let var = positive(&mut rng, parameters, g.channels);
            let reads = [rng.tensor(dtype, g.len(), Values::Special), weight, bias, mean, var];
            let writes = [zeros(dtype, g.len())];
            let [on_gpu, on_cpu] = twins(gpu, (op, dtype, 0), &Settings::default(), &reads, &writes);
            assert_same(&format!("{op:?}"), dtype, [&on_gpu[0], &on_cpu[0]]);
        }
    }
}

/// mean, inv_std, gbias of one channel on the GPU.
fn channel(gpu: &GpuEngine, g: BatchNormGeometry, x: &[f64], reduction: ReductionOrder) -> [f64; 3] {
    let (dtype, parameters) = (DType::F32, DType::F32);
    let settings = Settings { reduction, ..Default::default() };
    let one = || encode(dtype, &[1.0]);
    let x = encode(dtype, x);
    let op = Op::BatchNormForward { geometry: g, eps: 0.0, momentum: 0.1, parameters };
    let writes = [zeros(dtype, g.len()), one(), one(), one(), one()];
    let [forward, _] = twins(gpu, (op, dtype, 0), &settings, &[x.clone(), one(), one()], &writes);
    let op = Op::BatchNormBackward { geometry: g, parameters };
    let reads = [x.clone(), x, one(), forward[1].clone(), forward[2].clone()];
    let [backward, _] = twins(gpu, (op, dtype, 0), &settings, &reads, &[zeros(dtype, g.len()), one(), one()]);
    [&forward[1], &forward[2], &backward[2]].map(|bytes| decode(dtype, bytes)[0])
}

#[test]
fn a_large_mean_does_not_hide_the_variance() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(21);
    let g = BatchNormGeometry::new(&[20, 1, 50, 50]).unwrap();
    let x: Vec<f64> = (0..g.len()).map(|_| (1000.0 + 0.1 * rng.uniform()) as f32 as f64).collect();
    let mean = x.iter().sum::<f64>() / g.len() as f64;
    let var = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / g.len() as f64;
    let [gpu_mean, inv_std, _] = channel(gpu, g, &x, ReductionOrder::Fixed);
    assert!((gpu_mean - mean).abs() <= 6.2e-5, "{gpu_mean} {mean}");
    assert!((inv_std * var.sqrt() - 1.0).abs() <= 1e-5, "{inv_std} {}", 1.0 / var.sqrt());
}

#[test]
fn a_seeded_order_changes_rounding_alone() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(22);
    let g = BatchNormGeometry::new(&[64, 1, 3, 3]).unwrap();
    let x = rng.values(g.len(), Values::Smooth);
    let orders = [ReductionOrder::Fixed, ReductionOrder::Seeded(1), ReductionOrder::Seeded(2)];
    let results = orders.map(|order| channel(gpu, g, &x, order));
    assert_ne!(results[0], results[1]);
    assert_ne!(results[1], results[2]);
    for other in &results[1..] {
        for (a, b) in results[0].iter().zip(other) {
            assert!((a - b).abs() < 1e-5, "{results:?}");
        }
    }
}

#[test]
fn an_empty_batch_is_no_fault() {
    let Some(gpu) = engine() else { return };
    let mut g = BatchNormGeometry::new(&[1, 2, 3, 3]).unwrap();
    g.batch = 0;
    let dtype = DType::F32;
    let two = || encode(dtype, &[1.0, 2.0]);
    let op = Op::BatchNormInferenceBackward { geometry: g, eps: EPS, parameters: dtype };
    for reduction in [ReductionOrder::Fixed, ReductionOrder::Seeded(3)] {
        let settings = Settings { reduction, ..Default::default() };
        let reads = [vec![], vec![], two(), two(), two()];
        let [on_gpu, on_cpu] = twins(gpu, (op, dtype, 0), &settings, &reads, &[vec![], two(), two()]);
        assert_eq!(on_gpu, on_cpu);
        assert_eq!(decode(dtype, &on_gpu[1]), [0.0, 0.0]);
    }
}

#[test]
fn released_programs_give_their_memory_back() {
    let Some(gpu) = engine() else { return };
    let mut session = gpu.session();
    let g = geometries()[2];
    let types = [DType::F32; 2];
    let mut sizes = Vec::new();
    for _ in 0..2 {
        let c = g.channels;
        let op = Op::BatchNormBackward { geometry: g, parameters: types[1] };
        let call = call_on_new_buffers(
            session.as_mut(),
            op,
            types[0],
            &[g.len(), g.len(), c, c, c],
            &[g.len(), c, c],
        );
        let program = session.prepare(std::slice::from_ref(&call)).unwrap();
        session.run(&[program], &Settings::default()).unwrap();
        sizes.push(session.allocated_bytes());
        session.release(&[call.reads, call.writes].concat(), &[program]);
        assert_eq!(session.allocated_bytes(), 0);
    }
    assert!(sizes[0] > 3 * 4 * g.len());
    assert_eq!(sizes[0], sizes[1]);
}
