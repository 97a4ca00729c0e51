use super::*;

#[test]
fn dropout_has_the_bits_of_the_cpu() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(17);
    for dtype in DTYPES {
        for (p, seed) in [(0.0, 1), (0.3, 0x1234_5678_9abc_def0), (0.5, 7), (1.0, 1)] {
            for (len, kind) in [(1, Values::Smooth), (1031, Values::Smooth), (302, Values::Special)] {
                let settings = Settings { seed, step: 7 << 32 | 9, ..Default::default() };
                let x = [rng.tensor(dtype, len, kind)];
                let out = [zeros(dtype, len)];
                let op = Op::DropoutForward { len, p };
                let [on_gpu, on_cpu] = twins(gpu, (op, dtype, 5), &settings, &x, &out);
                assert_same(&format!("{op:?} {kind:?}"), dtype, [&on_gpu[0], &on_cpu[0]]);
                let back = Op::DropoutBackward { len, p };
                assert_eq!(on_gpu, twins(gpu, (back, dtype, 5), &settings, &x, &out)[0], "{back:?}");
            }
        }
    }
}
