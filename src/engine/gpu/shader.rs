//! The WGSL sources, and the two directives that they may use: `#import name`, which inserts
//! `shaders/shared/name.wgsl` once, and `#ifdef NAME` ... `#else` ... `#endif`.

use crate::error::{Error, Result};

macro_rules! sources {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../shaders/", $folder, $name, ".wgsl")))),*]
    };
}

/// One file for each kernel.
pub(super) const KERNELS: &[(&str, &str)] = sources!("":
    "adam",
    "add",
    "avgpool2d_backward",
    "avgpool2d_forward",
    "batchnorm_backward_input",
    "batchnorm_backward_parameters",
    "batchnorm_backward_sums",
    "batchnorm_mean",
    "batchnorm_normalize",
    "batchnorm_statistics",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "conv2d_backward_weight_reduce",
    "conv2d_forward",
    "copy_rows",
    "count_zeros",
    "cross_entropy_mean",
    "cross_entropy_rows",
    "dropout",
    "first_non_finite",
    "linear_backward_input",
    "linear_backward_weight",
    "linear_forward",
    "maxpool2d_backward",
    "maxpool2d_forward",
    "norm_pool2d_backward",
    "norm_pool2d_forward",
    "norms",
    "quantize",
    "relu_backward",
    "relu_forward",
    "rms_prop",
    "sgd",
    "tie_census",
    "zero_counts",
);

pub(super) const SHARED: &[(&str, &str)] = sources!("shared/":
    "batchnorm",
    "block",
    "channel_terms",
    "convolve",
    "exp_log",
    "gemm",
    "groups",
    "index",
    "linear",
    "optimizer",
    "philox",
    "pool2d",
    "tie_set",
    "tree",
    "types",
);

/// The source of a kernel with its directives resolved.
pub(super) fn expand(kernel: &str, defines: &[&str]) -> Result<String> {
    let mut expansion = Expansion { defines, imported: Vec::new(), output: String::new() };
    expansion.append(kernel, find(KERNELS, kernel)?)?;
    Ok(expansion.output)
}

fn find(sources: &[(&'static str, &'static str)], name: &str) -> Result<&'static str> {
    let found = sources.iter().find(|(n, _)| *n == name).map(|(_, text)| *text);
    found.ok_or_else(|| Error::Device(format!("no shader source named `{name}`")))
}

struct Expansion<'a> {
    defines: &'a [&'a str],
    imported: Vec<&'a str>,
    output: String,
}

impl<'a> Expansion<'a> {
    fn append(&mut self, file: &str, text: &'a str) -> Result<()> {
        // For each open `#ifdef`: whether its lines are wanted now.
        let mut open: Vec<bool> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let fault = |what: &str| Error::Device(format!("{file}.wgsl:{}: {what}", number + 1));
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("#ifdef"), Some(name)) => open.push(self.defines.contains(&name)),
                (Some("#else"), _) => {
                    let top = open.last_mut().ok_or_else(|| fault("#else without #ifdef"))?;
                    *top = !*top;
                }
                (Some("#endif"), _) => {
                    open.pop().ok_or_else(|| fault("#endif without #ifdef"))?;
                }
                _ if open.contains(&false) => {}
                (Some("#import"), Some(name)) => {
                    if !self.imported.contains(&name) {
                        self.imported.push(name);
                        self.append(name, find(SHARED, name)?)?;
                    }
                }
                (Some(word), _) if word.starts_with('#') => return Err(fault("unknown directive")),
                _ => {
                    self.output.push_str(line);
                    self.output.push('\n');
                }
            }
        }
        if open.is_empty() {
            Ok(())
        } else {
            Err(Error::Device(format!("{file}.wgsl: #ifdef without #endif")))
        }
    }
}
