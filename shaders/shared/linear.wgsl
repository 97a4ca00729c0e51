// The passes of a fully connected layer: one tile of the result a workgroup. A shader that imports this defines, beside
// what gemm asks for, params with m, n, k, tiles_m and tiles; row0 and column0 are where its tile begins.
#import gemm

var<private> row0: u32;
var<private> column0: u32;

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
    row0 = tile % params.tiles_m * TILE_M;
    column0 = tile / params.tiles_m * TILE_N;
    gemm(thread, row0, column0, 0u, params.k);
}
