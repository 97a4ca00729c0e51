//! Shared by the integration tests: engines, golden vectors, tolerances.
#![allow(dead_code)] // each test binary uses a part of it

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use tiebreak::{DType, Device, Engine, EngineOptions, Tensor};

/// The CPU engine, and the GPU engine where there is an adapter, software or not.
pub fn engines() -> Vec<(&'static str, Engine)> {
    let mut engines = vec![("cpu", Engine::cpu())];
    engines.extend(gpu().map(|gpu| ("gpu", gpu)));
    engines
}

/// The GPU engine, unless there is none: then the test says so, or fails under `TIEBREAK_REQUIRE_GPU=1`.
pub fn gpu() -> Option<Engine> {
    static GPU: OnceLock<Option<Engine>> = OnceLock::new();
    GPU.get_or_init(|| {
        let options = EngineOptions { device: Device::Gpu, ..Default::default() };
        match Engine::new(&options) {
            Ok(engine) => Some(engine),
            Err(e) if std::env::var("TIEBREAK_REQUIRE_GPU").is_ok_and(|v| v == "1") => {
                panic!("TIEBREAK_REQUIRE_GPU=1: {e}")
            }
            Err(e) => {
                eprintln!("skipped: GPU engine: {e}");
                None
            }
        }
    })
    .clone()
}

/// A folder beside the repository with data that tests use when they are there.
pub fn shared(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// One file of golden vectors.
pub struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    pub fn open(file: &str) -> Option<Golden> {
        let path = shared("golden")?.join(format!("{file}.safetensors"));
        Some(Golden { bytes: std::fs::read(path).unwrap() })
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    pub fn has(&self, key: &str) -> bool {
        self.tensors().tensor(key).is_ok()
    }

    pub fn tensor(&self, key: &str) -> Tensor {
        let all = self.tensors();
        let t = all.tensor(key).unwrap_or_else(|e| panic!("{key}: {e}"));
        let dtype = match t.dtype() {
            Dtype::F16 => DType::F16,
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            other => panic!("{key}: {other:?}"),
        };
        let mut tensor = Tensor::zeros(dtype, t.shape()).unwrap();
        tensor.bytes_mut().copy_from_slice(t.data());
        tensor
    }

    /// A tensor that holds sums. In f16 the vectors made in f64 from the same inputs are the better reference,
    /// rounded once: PyTorch's f16 kernels on the CPU round intermediate sums too.
    pub fn sums(&self, prefix: &str, name: &str) -> Tensor {
        match prefix.strip_suffix("f16.") {
            Some(case) => self.tensor(&format!("{case}f64.{name}")).to_dtype(DType::F16),
            None => self.tensor(&format!("{prefix}{name}")),
        }
    }

    pub fn integers(&self, key: &str) -> Vec<i64> {
        let all = self.tensors();
        let t = all.tensor(key).unwrap_or_else(|e| panic!("{key}: {e}"));
        assert_eq!(t.dtype(), Dtype::I64);
        t.data().chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
    }

    /// Names of the cases, each once.
    pub fn cases(&self) -> Vec<String> {
        let mut cases: Vec<String> =
            self.tensors().names().iter().map(|n| n.split('.').next().unwrap().to_string()).collect();
        cases.sort();
        cases.dedup();
        cases
    }
}

/// The `params` of each case of a golden file, by case name.
pub fn golden_params(file: &str) -> HashMap<String, serde_json::Value> {
    let path = shared("golden").expect("the caller has opened a golden file").join("manifest.json");
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = manifest["cases"].as_array().unwrap().iter().filter(|c| c["file"] == file);
    cases.map(|c| (c["case"].as_str().unwrap().to_string(), c["params"].clone())).collect()
}

/// Unit roundoff.
pub fn epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-11),
        DType::F32 => 2f64.powi(-24),
        DType::F64 => 2f64.powi(-53),
    }
}

/// The tolerance table for sums of `len` products: ours and PyTorch's orders of summation differ.
///
/// f64: 1e-12 of the largest element. f32: 2 ulp of the largest element times the square root of the length,
/// with at least 4 ulp. f16 is accumulated in f32: 2 ulp of the element itself, plus the f32 error of the sum.
pub fn reduction_tolerance(dtype: DType, len: usize, expected: f64, largest: f64) -> f64 {
    let f32_error = 2.0 * 2.0 * epsilon(DType::F32) * (len as f64).sqrt().max(2.0) * largest;
    match dtype {
        DType::F64 => 1e-12 * largest,
        DType::F32 => f32_error,
        DType::F16 => f32_error + 2.0 * ulp(DType::F16, expected),
    }
}

/// Distance to the next number.
pub fn ulp(dtype: DType, x: f64) -> f64 {
    let (digits, smallest) = match dtype {
        DType::F16 => (10, -24),
        DType::F32 => (23, -149),
        DType::F64 => (52, -1074),
    };
    let exponent = if x == 0.0 { smallest } else { x.abs().log2().floor() as i32 - digits };
    2f64.powi(exponent.max(smallest))
}

/// Element by element within [`reduction_tolerance`]; NaN and infinities must agree exactly.
#[track_caller]
pub fn assert_close(what: &str, got: &Tensor, expected: &Tensor, len: usize) {
    let dtype = expected.dtype();
    assert_eq!((got.dtype(), got.shape()), (dtype, expected.shape()), "{what}");
    let (got, expected) = (got.to_f64(), expected.to_f64());
    let largest = expected.iter().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()));
    for (i, (&g, &e)) in got.iter().zip(&expected).enumerate() {
        let ok = g == e
            || (g.is_nan() && e.is_nan())
            || (g - e).abs() <= reduction_tolerance(dtype, len, e, largest);
        assert!(ok, "{what} [{i}]: got {g:e}, expected {e:e}, largest {largest:e}");
    }
}

/// Equal element by element: -0 equals +0, NaN equals NaN.
#[track_caller]
pub fn assert_same(what: &str, got: &Tensor, expected: &Tensor) {
    assert_eq!((got.dtype(), got.shape()), (expected.dtype(), expected.shape()), "{what}");
    for (i, (g, e)) in got.to_f64().into_iter().zip(expected.to_f64()).enumerate() {
        assert!(g == e || (g.is_nan() && e.is_nan()), "{what} [{i}]: got {g:e}, expected {e:e}");
    }
}
