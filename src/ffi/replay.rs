use super::handle;
use super::network::{self, lock_two, tb_network};
use super::status::tb_status;
use super::{guard, non_null_mut};

/// Takes over the forward pass of the last `tb_network_loss_and_gradients` of another network of the same graph: weights,
/// activations, tie sets and batch statistics, converted to this network's dtypes. `tb_network_backward` and
/// `tb_network_compare_stored` then differentiate, in this network's arithmetic, what the other has computed. With f64 here
/// that tells two causes of a difference between choices apart: one that vanishes was rounding of the other's backward pass,
/// one that stays is there over the reals, on the branches that the other took.
///
/// The loss is computed anew from the other's logits. Gradients are those of the next backward pass.
///
/// @param recorded  another network, which stays as it is; of any precision, on any engine
/// @param loss      out: the mean cross-entropy
/// @return `TB_STATUS_INVALID_ARGUMENT` for the same network or one of another graph, `TB_STATUS_UNSUPPORTED` where
///         recorded has stored nothing since its parameters changed
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_network_replay(
    network: *const tb_network,
    recorded: *const tb_network,
    loss: *mut f64,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_network_replay", || unsafe {
        let loss = non_null_mut(loss, "loss")?;
        let (network, recorded) = (network::get(network)?, handle::get(recorded, "recorded")?);
        let (mut network, mut recorded) = lock_two(&network, &recorded, "recorded")?;
        *loss = network.replay(&mut recorded)?;
        Ok(())
    })
}
