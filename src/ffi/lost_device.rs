//! A GPU that goes away, as C sees it: the engine says so from then on, what it made can be freed, others go on.

use std::ptr::{null, null_mut};

use super::engine::{self, tb_engine, tb_engine_create, tb_engine_free, tb_engine_options};
use super::network::{tb_network_create, tb_network_free};
use super::optimizer::{tb_optimizer_create, tb_optimizer_free, tb_optimizer_train_step, tb_step_report};
use super::options::Growable;
use super::relu::tb_relu_forward;
use super::run::tb_network_forward;
use super::status::{TB_STATUS_DEVICE_LOST, tb_status};
use super::tensor::{tb_tensor_create, tb_tensor_free, tb_tensor_write};
use super::view::{TB_DTYPE_F32, tb_view, tb_view_mut};
use super::*;

fn new_engine() -> Result<*mut tb_engine, String> {
    let options = tb_engine_options { device: engine::TB_DEVICE_GPU, ..Growable::defaults() };
    let mut engine = null_mut();
    // SAFETY: as the header states it.
    let status = unsafe { tb_engine_create(&options, &mut engine) };
    if status == 0 { Ok(engine) } else { Err(message()) }
}

fn message() -> String {
    LAST_ERROR.with_borrow(|e| e.to_str().unwrap().to_string())
}

fn relu(engine: *const tb_engine) -> tb_status {
    let (x, mut y, shape) = ([-1f32, 2.0], [9f32; 2], [2i64]);
    let input = tb_view { data: x.as_ptr().cast(), shape: shape.as_ptr(), rank: 1, dtype: TB_DTYPE_F32 };
    let output =
        tb_view_mut { data: y.as_mut_ptr().cast(), shape: shape.as_ptr(), rank: 1, dtype: TB_DTYPE_F32 };
    // SAFETY: as the header states it.
    let status = unsafe { tb_relu_forward(engine, &input, &output) };
    assert!(status != 0 || y == [0.0, 2.0]);
    status
}

#[test]
fn a_lost_device_is_the_status_of_its_engine_alone() {
    let lost = match new_engine() {
        Ok(engine) => engine,
        Err(e) if std::env::var("TIEBREAK_REQUIRE_GPU").is_ok_and(|v| v == "1") => panic!("{e}"),
        Err(e) => return eprintln!("skipped: {e}"),
    };
    let beside = new_engine().unwrap();
    let (image, shape, logits_shape) = ([0f32; 28 * 28], [1i64, 1, 28, 28], [1i64, 10]);
    let x = tb_view { data: image.as_ptr().cast(), shape: shape.as_ptr(), rank: 4, dtype: TB_DTYPE_F32 };
    let mut logits = [0f32; 10];
    let y = tb_view_mut {
        data: logits.as_mut_ptr().cast(),
        shape: logits_shape.as_ptr(),
        rank: 2,
        dtype: TB_DTYPE_F32,
    };
    let mut report: tb_step_report = Growable::defaults();
    let (mut network, mut optimizer, mut tensor, mut more) = (null_mut(), null_mut(), null_mut(), null_mut());
    let mut another = null_mut();
    // SAFETY: as the header states it.
    unsafe {
        assert_eq!(tb_network_create(lost, c"lenet5".as_ptr(), null(), null(), &mut network), 0);
        assert_eq!(tb_optimizer_create(network, null(), &mut optimizer), 0);
        assert_eq!(tb_tensor_create(lost, TB_DTYPE_F32, shape.as_ptr(), 4, &mut tensor), 0);
        assert_eq!(tb_optimizer_train_step(optimizer, &x, [3].as_ptr(), 1, &mut report), 0);
        engine::get(lost).unwrap().lose_gpu();
        for round in 0..2 {
            let statuses = [
                relu(lost),
                tb_network_forward(network, &x, &y),
                tb_optimizer_train_step(optimizer, &x, [3].as_ptr(), 1, &mut report),
                tb_tensor_write(tensor, &x),
                tb_tensor_create(lost, TB_DTYPE_F32, shape.as_ptr(), 4, &mut more),
                tb_network_create(lost, c"lenet5".as_ptr(), null(), null(), &mut another),
            ];
            assert_eq!(statuses, [TB_STATUS_DEVICE_LOST; 6], "round {round}");
            assert!(more.is_null() && another.is_null());
            assert!(message().contains("GPU lost"), "{}", message());
            assert_eq!(relu(beside), 0);
        }
        assert_eq!([tb_optimizer_free(optimizer), tb_network_free(network), tb_tensor_free(tensor)], [0; 3]);
    }
    assert_eq!(tb_engine_free(lost), 0);
    let new = new_engine().unwrap();
    assert_eq!([relu(new), tb_engine_free(new), tb_engine_free(beside)], [0; 3]);
}
