use super::*;
use crate::engine::op::RowsGeometry;

#[test]
fn rows_are_copied_and_nothing_else_is_touched() {
    let Some(gpu) = engine() else { return };
    let mut rng = Rng(18);
    for dtype in DTYPES {
        for [rows, len, from, from_offset, to, to_offset] in [
            [1, 1, 1, 0, 1, 0],
            [3, 5, 5, 0, 13, 7],
            [4, 3, 9, 5, 3, 0],
            [7, 301, 700, 1, 401, 99],
            [0, 4, 4, 0, 8, 4],
        ] {
            let op = Op::CopyRows {
                geometry: RowsGeometry { rows, len, from: [from, from_offset], to: [to, to_offset] },
            };
            let reads = [rng.tensor(dtype, rows * from, Values::Special)];
            let writes = [rng.tensor(dtype, rows * to, Values::Smooth)];
            let [on_gpu, on_cpu] = twins(gpu, (op, dtype, 0), &Settings::default(), &reads, &writes);
            assert_same(&format!("{op:?}"), dtype, [&on_gpu[0], &on_cpu[0]]);
        }
    }
}
