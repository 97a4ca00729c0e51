use super::*;
use crate::kink::NormPoolKink;

#[test]
fn average_pooling_has_the_bits_of_the_cpu() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(11);
    for dtype in DTYPES {
        for g in pool_geometries() {
            for kind in [Values::Smooth, Values::Ties, Values::Special] {
                for (op, from, to) in [
                    (Op::AvgPool2dForward { geometry: g }, g.x_len(), g.windows()),
                    (Op::AvgPool2dBackward { geometry: g }, g.windows(), g.x_len()),
                ] {
                    let reads = [rng.tensor(dtype, from, kind)];
                    let [on_gpu, on_cpu] =
                        twins(gpu, (op, dtype, 0), &Settings::default(), &reads, &[zeros(dtype, to)]);
                    assert_same(&format!("{op:?} {kind:?}"), dtype, [&on_gpu[0], &on_cpu[0]]);
                }
            }
        }
    }
}

#[test]
fn norm_pooling_has_the_bits_of_the_cpu() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(12);
    for dtype in DTYPES {
        for g in pool_geometries() {
            for (kind, at_zero) in [(Values::Smooth, 0.0), (Values::Ties, -0.7), (Values::Special, 1.0)] {
                let mut x = rng.values(g.x_len(), kind);
                // Windows of zeros.
                x.chunks_mut(11).skip(1).step_by(2).for_each(|x| x.fill(0.0));
                let x = encode(dtype, &x);
                let gy = rng.tensor(dtype, g.windows(), kind);
                let kinks = vec![None, Some(Kink::NormPool(NormPoolKink { at_zero }))];
                let settings = Settings { kinks, ..Default::default() };
                let op = Op::NormPool2dForward { geometry: g };
                let writes = [zeros(dtype, g.windows())];
                let [on_gpu, on_cpu] =
                    twins(gpu, (op, dtype, 1), &settings, std::slice::from_ref(&x), &writes);
                assert_same(&format!("{op:?} {kind:?}"), dtype, [&on_gpu[0], &on_cpu[0]]);
                let op = Op::NormPool2dBackward { geometry: g };
                let reads = [x, on_cpu[0].clone(), gy];
                let [on_gpu, on_cpu] =
                    twins(gpu, (op, dtype, 1), &settings, &reads, &[zeros(dtype, g.x_len())]);
                assert_same(&format!("{op:?} {kind:?} {at_zero}"), dtype, [&on_gpu[0], &on_cpu[0]]);
            }
        }
    }
}
