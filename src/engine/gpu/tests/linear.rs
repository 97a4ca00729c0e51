//! The fully connected layer.

use super::*;

#[test]
fn agrees_with_the_cpu() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(5);
    for dtype in DTYPES {
        for (i, [batch, in_features, out_features]) in [
            [1, 1, 1],
            [5, 17, 3],
            [64, 256, 120],
            [33, 120, 84],
            [128, 84, 10],
            [70, 65, 130],
            [0, 4, 5],
            [2, 3, 70],
        ]
        .into_iter()
        .enumerate()
        {
            let g = LinearGeometry { batch, in_features, out_features };
            let bias = i % 3 != 0;
            let mut tensor = |len| rng.tensor(dtype, len, Values::Smooth);
            let (x, weight) = (tensor(batch * in_features), tensor(out_features * in_features));
            let (gy, b) = (tensor(batch * out_features), tensor(out_features));
            let mut reads = vec![x.clone(), weight.clone()];
            reads.extend(bias.then_some(b));
            let mut gradients = vec![zeros(dtype, out_features * in_features)];
            gradients.extend(bias.then(|| zeros(dtype, out_features)));
            for (op, reads, writes) in [
                (Op::LinearForward { geometry: g, bias }, reads, vec![zeros(dtype, batch * out_features)]),
                (
                    Op::LinearBackwardInput { geometry: g },
                    vec![gy.clone(), weight],
                    vec![zeros(dtype, batch * in_features)],
                ),
                (Op::LinearBackwardWeight { geometry: g, bias }, vec![x, gy], gradients),
            ] {
                let [on_gpu, on_cpu] = twins(gpu, (op, dtype, 0), &Settings::default(), &reads, &writes);
                for (g, c) in on_gpu.iter().zip(&on_cpu) {
                    assert_close(&format!("{op:?}"), dtype, [g, c]);
                }
            }
        }
    }
}

#[test]
fn a_seed_chooses_the_order_of_the_batch() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(6);
    let dtype = DType::F32;
    let geometry = LinearGeometry { batch: 77, in_features: 19, out_features: 70 };
    let reads = [77 * 19, 77 * 70].map(|len| rng.tensor(dtype, len, Values::Smooth));
    let writes = [zeros(dtype, 19 * 70), zeros(dtype, 70)];
    let op = Op::LinearBackwardWeight { geometry, bias: true };
    assert_seeded_order(gpu, (op, dtype, 1), &reads, &writes);
}
