// Number of a workgroup: more groups than one dimension holds are folded into rows.
fn group_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}
