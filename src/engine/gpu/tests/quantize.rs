use super::*;
use crate::precision::{Format, Rounding};

#[test]
fn quantization_has_the_bits_of_the_cpu() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(16);
    let mut formats = vec![Format::BF16, Format::TF32, Format::F16, Format::E5M2, Format::E4M3];
    for [e, m] in [[2, 1], [2, 23], [3, 20], [4, 22], [7, 23], [8, 1], [8, 22], [8, 23]] {
        formats.push(Format::new(e, m).unwrap());
    }
    for format in formats {
        for rounding in [Rounding::Nearest, Rounding::Stochastic(0x9876_5432_1012_3456)] {
            let len = 5001;
            let lowest = format.min_exponent() - format.mantissa_bits() as i32;
            let values: Vec<f64> = (0..len)
                .map(|i| match i % 4 {
                    // Any bits, then what the format's own scales are: its numbers, their midpoints, its ends.
                    0 => f32::from_bits(rng.next() as u32) as f64,
                    1 => rng.uniform() * 2f64.powi(lowest + rng.below(30) as i32),
                    2 => (rng.below(600) as f64 - 300.0) * 2f64.powi(lowest - 2),
                    _ => rng.uniform().signum() * format.max_value() * (1.0 + rng.uniform() / 8.0),
                })
                .collect();
            let op = Op::Quantize { len, format, rounding };
            let settings = Settings { step: 3 << 33 | 5, ..Default::default() };
            let writes = [encode(DType::F32, &values)];
            let [on_gpu, on_cpu] = twins(gpu, (op, DType::F32, 4), &settings, &[], &writes);
            assert_same(&format!("{op:?}"), DType::F32, [&on_gpu[0], &on_cpu[0]]);
        }
    }
}
