use std::ffi::c_char;

use super::handle::{self, lock};
use super::network::{self, lock_two, tb_network};
use super::status::tb_status;
use super::view::{Borrows, tb_view, tb_view_mut};
use super::{guard, string};

/// Copies a parameter to the caller's memory.
///
/// @param name    "features.0.weight" ...
/// @param values  out: the parameter's shape, of type `parameter_dtype`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_read_parameter(
    network: *const tb_network,
    name: *const c_char,
    values: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_read_parameter", || unsafe {
        let network = network::get(network)?;
        let mut values = Borrows::default().output(values, "values")?;
        let tensor = lock(&network).parameter(string(name, "name")?)?;
        values.fill(&tensor)
    })
}

/// Overwrites a parameter.
///
/// @param name    "features.0.weight" ...
/// @param values  the parameter's shape, of type `parameter_dtype`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_write_parameter(
    network: *const tb_network,
    name: *const c_char,
    values: *const tb_view,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_write_parameter", || unsafe {
        let network = network::get(network)?;
        let name = string(name, "name")?;
        let values = Borrows::default().input(values, "values")?;
        Ok(lock(&network).set_parameter(name, values.view()?)?)
    })
}

/// Copies the gradient of a parameter, as the last backward pass left it, to the caller's memory.
///
/// @param name    "features.0.weight" ...
/// @param values  out: the parameter's shape, of type `parameter_dtype`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_read_gradient(
    network: *const tb_network,
    name: *const c_char,
    values: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_read_gradient", || unsafe {
        let network = network::get(network)?;
        let mut values = Borrows::default().output(values, "values")?;
        let tensor = lock(&network).gradient(string(name, "name")?)?;
        values.fill(&tensor)
    })
}

/// Copies a buffer (running statistics of batch normalisation) to the caller's memory.
///
/// @param name    "features.3.running_mean" ...
/// @param values  out: the buffer's shape, of type `parameter_dtype`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_read_buffer(
    network: *const tb_network,
    name: *const c_char,
    values: *const tb_view_mut,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_read_buffer", || unsafe {
        let network = network::get(network)?;
        let mut values = Borrows::default().output(values, "values")?;
        let tensor = lock(&network).buffer(string(name, "name")?)?;
        values.fill(&tensor)
    })
}

/// Overwrites a buffer.
///
/// @param name    "features.3.running_mean" ...
/// @param values  the buffer's shape, of type `parameter_dtype`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_write_buffer(
    network: *const tb_network,
    name: *const c_char,
    values: *const tb_view,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_write_buffer", || unsafe {
        let network = network::get(network)?;
        let name = string(name, "name")?;
        let values = Borrows::default().input(values, "values")?;
        Ok(lock(&network).set_buffer(name, values.view()?)?)
    })
}

/// Takes over parameters and buffers of another network of the same graph, each rounded to `parameter_dtype`.
///
/// @param from  another network, which stays as it is; of any precision, on any engine
/// @return `TB_STATUS_INVALID_ARGUMENT` for the same network or one of another graph
#[unsafe(no_mangle)]
pub extern "C" fn tb_network_copy_state(network: *const tb_network, from: *const tb_network) -> tb_status {
    guard("tb_network_copy_state", || {
        let (network, from) = (network::get(network)?, handle::get(from, "from")?);
        let (mut network, mut from) = lock_two(&network, &from, "from")?;
        Ok(network.copy_state(&mut from)?)
    })
}
