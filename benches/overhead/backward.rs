//! The Rust side of overhead.py: times `Engine::maxpool2d_backward` and prints a line of JSON.

use std::time::Instant;

use tiebreak::shape::{Pool2dGeometry, Window2d};
use tiebreak::*;

/// Arguments: N C H W, seconds, threads.
fn main() -> Result<()> {
    let arguments: Vec<f64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let [shape @ .., spend, threads] = &arguments[..] else { panic!("N C H W SECONDS THREADS") };
    let shape: [usize; 4] =
        shape.iter().map(|&n| n as usize).collect::<Vec<_>>().try_into().expect("N C H W");
    let engine = Engine::new(&EngineOptions {
        device: Device::Cpu,
        threads: *threads as usize,
        ..Default::default()
    })?;
    let (window, kink) = (Window2d::new(2, 2, 0), MaxPoolKink::default());
    let g = Pool2dGeometry::new(shape, window)?;
    let values = |shape: &[usize], factor: usize| -> Result<Tensor> {
        let value = |i: usize| (i.wrapping_mul(factor) % 2048) as f64 / 1024.0 - 1.0;
        let values: Vec<f64> = (0..shape.iter().product()).map(value).collect();
        Tensor::from_f64(DType::F32, shape, &values)
    };
    let (x, gy) = (values(&shape, 2654435761)?, values(&g.y_shape(), 40503)?);
    let [mut y, mut gx] = [Tensor::zeros(DType::F32, &g.y_shape())?, Tensor::zeros(DType::F32, &shape)?];
    let mut ties = vec![0; g.ties_shape().iter().product()];
    engine.maxpool2d_forward(x.view(), window, kink, y.view_mut(), &mut ties)?;

    engine.maxpool2d_backward(gy.view(), &ties, window, kink, gx.view_mut())?;
    let mut seconds: Vec<f64> = Vec::new();
    let mut spent = 0.0;
    while seconds.len() < 3 || (spent < *spend && seconds.len() < 1000) {
        let start = Instant::now();
        engine.maxpool2d_backward(gy.view(), &ties, window, kink, gx.view_mut())?;
        seconds.push(start.elapsed().as_secs_f64());
        spent += seconds[seconds.len() - 1];
    }
    println!("{}", serde_json::json!({ "seconds": seconds }));
    Ok(())
}
