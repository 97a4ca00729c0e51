// C[m,n] = sum over k of A[m,k] B[k,n]: a 64 x 64 tile of C a workgroup, staged through shared memory for 16 k at a
// time, an 8 x 8 block of it a thread. A shader that imports this defines, beside what block asks for,
//   A_ALONG_K, B_ALONG_K: whether neighbouring threads fetch neighbouring k, or neighbouring rows (columns)
//   load_a(rows, k), load_b(columns, k): four elements, any numbers for rows and columns that do not exist. With
//                    ALONG_K a thread always gets the same k % 16, otherwise always the same rows (columns)
#import groups
#import block

const TILE: u32 = 64u;
const TILE_K: u32 = 16u;
// Groups of four rows or columns of a tile: g, g + 16, g + 32, g + 48, so that threads touch neighbouring elements.
const GROUPS: u32 = 16u;
const GROUP: vec4<u32> = vec4<u32>(0u, 16u, 32u, 48u);
const THREADS: u32 = 64u;
const ROW_STEP: u32 = 8u;
const COLUMN_STEP: u32 = 8u;
// Spreads a column of a tile over the banks of the shared memory.
const STRIDE: u32 = GROUPS + 1u;

// Where the tile begins in C.
var<private> row0: u32;
var<private> column0: u32;
var<workgroup> tile_a: array<vec4<f32>, TILE_K * STRIDE>;
var<workgroup> tile_b: array<vec4<f32>, TILE_K * STRIDE>;

// Adds the products of k0..min(k0 + 16, end).
fn multiply(thread: u32, k0: u32, end: u32) {
    for (var i = thread; i < TILE_K * GROUPS; i += THREADS) {
        let fast = i % 16u;
        let slow = i / 16u;
        let ka = select(slow, fast, A_ALONG_K);
        let row = select(fast, slow, A_ALONG_K);
        let a = load_a(row0 + row + GROUP, min(k0 + ka, end - 1u));
        tile_a[ka * STRIDE + row] = select(vec4<f32>(), a, k0 + ka < end);
        let kb = select(slow, fast, B_ALONG_K);
        let column = select(fast, slow, B_ALONG_K);
        let b = load_b(column0 + column + GROUP, min(k0 + kb, end - 1u));
        tile_b[kb * STRIDE + column] = select(vec4<f32>(), b, k0 + kb < end);
    }
    workgroupBarrier();
    let ty = thread / 8u;
    let tx = thread % 8u;
    for (var k = 0u; k < TILE_K; k += 1u) {
        let a = k * STRIDE + ty;
        let b = k * STRIDE + tx;
        accumulate(tile_a[a], tile_a[a + 8u], tile_b[b], tile_b[b + 8u]);
    }
    workgroupBarrier();
}

// Where the thread's block begins in C.
fn find_block(thread: u32) {
    first_row = row0 + thread / 8u;
    first_column = column0 + thread % 8u;
}
