use std::ffi::c_char;

use super::handle::lock;
use super::network::{self, tb_network};
use super::optimizer::{self, tb_optimizer};
use super::status::tb_status;
use super::{guard, string};

/// Writes parameters and buffers to a safetensors file, as a PyTorch `state_dict`. The file appears whole or not at
/// all.
///
/// @param path  where; a file that is there is replaced
/// @return `TB_STATUS_IO`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_save(network: *const tb_network, path: *const c_char) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_save", || unsafe {
        let network = network::get(network)?;
        let path = string(path, "path")?;
        Ok(lock(&network).save(path)?)
    })
}

/// Reads parameters and buffers from a safetensors file, one written by `tb_network_save` or by PyTorch.
///
/// @param path     the file
/// @param convert  not 0: values of another dtype are rounded to `parameter_dtype`; 0: they are refused
/// @return `TB_STATUS_IO`; `TB_STATUS_FORMAT` for a damaged file, or one whose names, shapes or dtypes differ: the
///         message says which. The network then stays as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_load(
    network: *const tb_network,
    path: *const c_char,
    convert: i32,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_load", || unsafe {
        let network = network::get(network)?;
        let path = string(path, "path")?;
        Ok(lock(&network).load(path, convert != 0)?)
    })
}

/// Writes a whole run to a safetensors file: the network's parameters and buffers, the optimizer's state, the counters
/// that random draws and bias corrections depend on, learning rate and loss scale, and the names of precision and
/// algorithm. The file appears whole or not at all.
///
/// Seed, choices at kinks, `tb_network_freeze_batchnorm`, `tb_network_set_reduction_order` and the other scalars of the
/// optimizer are not in it: who goes on with the run sets them again.
///
/// @param path  where; a file that is there is replaced
/// @return `TB_STATUS_IO`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_optimizer_save(optimizer: *const tb_optimizer, path: *const c_char) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_optimizer_save", || unsafe {
        let optimizer = optimizer::get(optimizer)?;
        let path = string(path, "path")?;
        let mut network = lock(&optimizer.network);
        Ok(lock(&optimizer.optimizer).save(&mut network, path)?)
    })
}

/// Goes on with a run that `tb_optimizer_save` wrote, for a network and an optimizer created with the same options,
/// under the same choices: the next steps give the bits that they would have given there.
///
/// @param path  the file
/// @return `TB_STATUS_IO`; `TB_STATUS_FORMAT` for a damaged file, or one of another network, precision or algorithm:
///         the message says what differs. Network and optimizer then stay as they were.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_optimizer_load(optimizer: *const tb_optimizer, path: *const c_char) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_optimizer_load", || unsafe {
        let optimizer = optimizer::get(optimizer)?;
        let path = string(path, "path")?;
        let mut network = lock(&optimizer.network);
        Ok(lock(&optimizer.optimizer).load(&mut network, path)?)
    })
}
