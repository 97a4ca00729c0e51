use super::*;

#[test]
fn the_census_has_the_counts_of_the_cpu() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(13);
    let large = Window2d { kernel: [9, 8], stride: [4, 3], padding: [4, 0], dilation: [1; 2] };
    let mut geometries = pool_geometries();
    geometries.truncate(18);
    geometries.push(Pool2dGeometry::new([2, 3, 20, 18], large).unwrap());
    for dtype in DTYPES {
        for g in &geometries {
            for (kind, alpha) in [(Values::Ties, 0.0), (Values::Special, 0.5)] {
                let mut x = rng.values(g.x_len(), kind);
                // Windows whose elements are all equal, more than a workgroup counts by itself.
                x[..g.x_len() / 2].iter_mut().for_each(|v| *v = v.min(0.0));
                let (x, len) = (encode(dtype, &x), g.x_len());
                let run = |op, reads: &[Vec<u8>], writes: &[Vec<u8>]| {
                    let kinks = vec![None, None, Some(Kink::Relu(ReluKink { alpha }))];
                    let settings = Settings { kinks, ..Default::default() };
                    twins(gpu, (op, dtype, 2), &settings, reads, writes)
                };
                let [_, y] = run(Op::ReluForward { len }, std::slice::from_ref(&x), &[zeros(dtype, len)]);
                let tie_len = g.ties_shape().iter().product();
                let writes = [zeros(dtype, g.windows()), vec![0x55; tie_len]];
                let [_, pooled] = run(Op::MaxPool2dForward { geometry: *g }, &y, &writes);
                let gy = rng.tensor(dtype, g.windows(), Values::Ties);
                let mut reads = vec![pooled[1].clone(), pooled[0].clone(), gy, x];
                for relu in [true, false] {
                    let op = Op::TieCensus { geometry: *g, relu };
                    reads.truncate(3 + relu as usize);
                    let [on_gpu, on_cpu] = run(op, &reads, &[vec![0x55; 16 * (g.window.len() + 1)]]);
                    assert!(on_gpu == on_cpu, "{op:?} {dtype} {kind:?}\n{on_gpu:?}\n{on_cpu:?}");
                }
            }
        }
    }
}

#[test]
fn zeros_are_counted_as_on_the_cpu() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(14);
    for dtype in DTYPES {
        for len in [0, 1, 4095, 4097, 50_001] {
            let reads = [rng.tensor(dtype, len, Values::Special)];
            let op = Op::CountZeros { len };
            let [on_gpu, on_cpu] = twins(gpu, (op, dtype, 0), &Settings::default(), &reads, &[vec![0x55; 4]]);
            assert_eq!(on_gpu, on_cpu, "{op:?} {dtype}");
            assert!(len < 100 || on_gpu[0] != [0; 4]);
        }
    }
}
