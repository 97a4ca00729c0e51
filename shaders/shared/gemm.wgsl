// C[m,n] = sum over k in begin..end of A[m,k] B[k,n], in the order of k: one TILE_M x TILE_N tile of C a
// workgroup, 4 x 4 elements a thread. A shader that imports this defines
//   stage_a(thread, k0, end): tile_a[k * STRIDE_A + m / 4] = four rows from m, a multiple of 4, for TILE_K
//                             values of k from k0, 0 outside of A; one group of four a thread
//   stage_b(thread, k0, end): tile_b[k * STRIDE_B + n] = one element of B, 0 outside of it
//   store(row, column, values): takes rows row..row+4 of one column of C, some of them outside of C
#import groups

const TILE_K: u32 = 16u;
const TILE_N: u32 = 64u;
#ifdef NARROW
const TILE_M: u32 = 16u;
#else
const TILE_M: u32 = 64u;
#endif
const THREADS: u32 = TILE_M * TILE_N / 16u;

// Strides that spread a column of a tile over the banks of the shared memory.
const STRIDE_A: u32 = TILE_M / 4u + 1u;
const STRIDE_B: u32 = TILE_N + 1u;

var<workgroup> tile_a: array<vec4<f32>, TILE_K * STRIDE_A>;
var<workgroup> tile_b: array<f32, TILE_K * STRIDE_B>;

fn gemm(thread: u32, row0: u32, column0: u32, begin: u32, end: u32) {
    let ty = thread / 16u;
    let tx = thread % 16u;
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    for (var k0 = begin; k0 < end; k0 += TILE_K) {
        stage_a(thread, k0, end);
        stage_b(thread, k0, end);
        workgroupBarrier();
        for (var k = 0u; k < TILE_K; k += 1u) {
            let a = tile_a[k * STRIDE_A + ty];
            let j = k * STRIDE_B + tx;
            c0 += a * tile_b[j];
            c1 += a * tile_b[j + 16u];
            c2 += a * tile_b[j + 32u];
            c3 += a * tile_b[j + 48u];
        }
        workgroupBarrier();
    }
    store(row0 + ty * 4u, column0 + tx, c0);
    store(row0 + ty * 4u, column0 + tx + 16u, c1);
    store(row0 + ty * 4u, column0 + tx + 32u, c2);
    store(row0 + ty * 4u, column0 + tx + 48u, c3);
}
