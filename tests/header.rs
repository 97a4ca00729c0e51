//! `include/tiebreak.h` is what cbindgen makes of `src/ffi`. After a change of the C ABI renew it with
//! `TIEBREAK_BLESS=1 cargo test --test header`.

use std::path::Path;

#[test]
fn header_is_in_step_with_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    // The sources of the ABI alone, in the order of a manual.
    let files = [
        "version",
        "status",
        "view",
        "engine",
        "adapter",
        "tensor_properties",
        "tensor",
        "dlpack",
        "kink",
        "conv2d",
        "pool2d",
        "maxpool2d",
        "norm_pool2d",
        "avgpool2d",
        "relu",
        "batchnorm",
        "linear",
        "add",
        "concat",
        "dropout",
        "loss",
        "quantize",
        "optimizer_options",
        "sgd",
        "adam",
        "rms_prop",
        "zoo",
        "graph",
        "network",
        "parameters",
        "run",
        "compare",
        "census",
        "tie_classes",
        "replay",
        "non_finite",
        "memory",
        "optimizer",
        "profile",
        "progress",
        "dataset",
        "epoch",
        "experiment",
        "schedule",
        "file",
    ];
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in files {
        builder = builder.with_src(root.join(format!("src/ffi/{file}.rs")));
    }
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let path = root.join("include/tiebreak.h");
    if std::env::var("TIEBREAK_BLESS").is_ok_and(|v| v == "1") {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let first = made.lines().zip(committed.lines()).position(|(a, b)| a != b);
    assert!(
        made == committed,
        "include/tiebreak.h is stale from line {}: run TIEBREAK_BLESS=1 cargo test --test header",
        first.map_or(committed.lines().count(), |l| l) + 1
    );
}
