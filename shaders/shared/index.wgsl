// Element-wise kernels: one element, or one group of elements, a thread.
#import groups

const THREADS: u32 = 256u;

fn thread_index(group: vec3<u32>, groups: vec3<u32>, thread: u32) -> u32 {
    return group_index(group, groups) * THREADS + thread;
}
