// An 8 x 8 block of a matrix product in the registers of one thread. Its rows are first_row + i ROW_STEP, its columns
// first_column + j COLUMN_STEP, each in two groups of four: even numbers, then odd ones. sum[2 p + q] is row p of
// (0, 2, 4, 6, 1, 3, 5, 7) and column group q. A shader that imports this defines the steps and
//   store(row, even, odd): takes the elements of a row of the block
// With ROW_SUMS, row_sum are the sums over the factors of the two row groups.
var<private> first_row: u32;
var<private> first_column: u32;
var<private> sum: array<vec4<f32>, 16>;
#ifdef ROW_SUMS
var<private> row_sum: array<vec4<f32>, 2>;
#endif

// Adds the outer product of 8 rows, a0 and a1, and 8 columns, b0 and b1.
fn accumulate(a0: vec4<f32>, a1: vec4<f32>, b0: vec4<f32>, b1: vec4<f32>) {
    sum[0] += a0.x * b0;
    sum[1] += a0.x * b1;
    sum[2] += a0.y * b0;
    sum[3] += a0.y * b1;
    sum[4] += a0.z * b0;
    sum[5] += a0.z * b1;
    sum[6] += a0.w * b0;
    sum[7] += a0.w * b1;
    sum[8] += a1.x * b0;
    sum[9] += a1.x * b1;
    sum[10] += a1.y * b0;
    sum[11] += a1.y * b1;
    sum[12] += a1.z * b0;
    sum[13] += a1.z * b1;
    sum[14] += a1.w * b0;
    sum[15] += a1.w * b1;
#ifdef ROW_SUMS
    row_sum[0] += a0;
    row_sum[1] += a1;
#endif
}

fn store_block() {
    store(0u, sum[0], sum[1]);
    store(2u, sum[2], sum[3]);
    store(4u, sum[4], sum[5]);
    store(6u, sum[6], sum[7]);
    store(1u, sum[8], sum[9]);
    store(3u, sum[10], sum[11]);
    store(5u, sum[12], sum[13]);
    store(7u, sum[14], sum[15]);
}
