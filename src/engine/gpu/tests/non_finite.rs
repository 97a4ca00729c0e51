use super::*;

#[test]
fn the_first_value_that_is_not_finite_is_that_of_the_cpu() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(15);
    for dtype in DTYPES {
        for len in [0, 1, 255, 4097, 50_001] {
            for special in [None, Some(0.0), Some(f64::NAN), Some(f64::INFINITY), Some(-f64::INFINITY)] {
                let mut x = rng.values(len, Values::Ties);
                if let Some(v) = special.filter(|_| len > 0) {
                    x[len / 2] = v;
                    x[len - 1] = -f64::INFINITY;
                }
                let op = Op::FirstNonFinite { len, slot: 2 };
                let reads = [encode(dtype, &x)];
                let writes = [vec![0x55; 24]];
                let [on_gpu, on_cpu] = twins(gpu, (op, dtype, 0), &Settings::default(), &reads, &writes);
                assert_eq!(on_gpu, on_cpu, "{op:?} {dtype} {special:?}");
                assert_eq!(on_gpu[0][..16], [0x55; 16], "other slots stay");
            }
        }
    }
}
