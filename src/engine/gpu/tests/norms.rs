use super::*;
use crate::engine::op::NORM_BLOCK;

#[test]
fn norms_agree_with_the_cpu() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(15);
    for dtype in DTYPES {
        for len in [1, 255, 1000, NORM_BLOCK, NORM_BLOCK + 1, 3 * NORM_BLOCK - 5] {
            for kind in [Values::Smooth, Values::Ties, Values::Special] {
                let mut reads = vec![rng.tensor(dtype, len, kind), rng.tensor(dtype, len, kind)];
                for difference in [true, false] {
                    reads.truncate(1 + difference as usize);
                    let op = Op::Norms { len, difference };
                    let writes = [zeros(DType::F32, len.div_ceil(NORM_BLOCK) * 4)];
                    let results = twins(gpu, (op, dtype, 0), &Settings::default(), &reads, &writes);
                    let [g, c] = results.map(|r| decode(DType::F32, &r[0]));
                    for (g, c) in g.chunks(4).zip(c.chunks(4)) {
                        let context = format!("{op:?} {kind:?} {dtype}: GPU {g:?}, CPU {c:?}");
                        for (g, c) in g[..2].iter().zip(c) {
                            // A sum of up to 2^14 terms of one sign.
                            let close = (g - c).abs() <= 1e-5 * c || g.to_bits() == c.to_bits();
                            assert!(close || g.is_nan() && c.is_nan(), "{context}");
                        }
                        assert!(g[2] == c[2] || g[2].is_nan() && c[2].is_nan(), "{context}");
                        assert_eq!(g[3], c[3], "{context}");
                    }
                }
            }
        }
    }
}

#[test]
fn equal_infinities_have_no_difference() {
    let Some(gpu) = engine() else { return };
    let infinity = f64::INFINITY;
    let reads = [[infinity, -infinity, 1.0], [infinity, -infinity, -0.5]].map(|v| encode(DType::F32, &v));
    let op = Op::Norms { len: 3, difference: true };
    let writes = [zeros(DType::F32, 4)];
    let [on_gpu, _] = twins(gpu, (op, DType::F32, 0), &Settings::default(), &reads, &writes);
    assert_eq!(decode(DType::F32, &on_gpu[0]), [1.5, 2.25, 1.5, 1.0]);
}
