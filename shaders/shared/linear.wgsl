// The passes of a fully connected layer: one tile of the result a workgroup. A shader that imports this defines, beside
// what gemm asks for, params with m, n, k, tiles_m and tiles, and
//   start(), finish(): called before the sums begin, and when they have been written
//   write(index, value): takes one element of the result
#import gemm

fn store(row: u32, even: vec4<f32>, odd: vec4<f32>) {
    let r = first_row + row * ROW_STEP;
    if (r < params.m) {
        store_group(r, 0u, even);
        store_group(r, 1u, odd);
    }
}

fn store_group(row: u32, group: u32, values: vec4<f32>) {
    let n = params.n;
    for (var i = 0u; i < 4u; i += 1u) {
        let column = first_column + (2u * i + group) * COLUMN_STEP;
        if (column < n) {
            write(row * n + column, values[i]);
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = group_index(group, groups);
    if (tile >= params.tiles) {
        return;
    }
    row0 = tile % params.tiles_m * TILE;
    column0 = tile / params.tiles_m * TILE;
    find_block(thread);
    start();
    for (var k = 0u; k < params.k; k += TILE_K) {
        multiply(thread, k, params.k);
    }
    store_block();
    finish();
}
